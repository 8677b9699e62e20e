"""`python -m libray`: runs programs that were written for Ray, starts nodes that host Python, and looks at clusters."""

import importlib.util
import io
import os
import runpy
import sys
import types
from importlib.machinery import SourceFileLoader

from . import _alias, _raylaunch, _version

_HELP = """\
usage: python -m libray SCRIPT [ARGUMENT...]
       python -m libray -m MODULE [ARGUMENT...]
       python -m libray -c CODE [ARGUMENT...]
       python -m libray COMMAND [OPTION...]
       python -m libray --help | --version | COMMAND --help

Runs a Python program in which `import ray` means libray: the program is not changed. Or starts and looks at clusters:

  head      starts a cluster that runs Python's tasks and actors
  worker    joins a cluster and works for it
""" + "".join(f"  {name:<9} {what}\n" for name, what in _raylaunch.COMMANDS.items()) + """
A cluster for Python is made of nodes of `python -m libray head` and `python -m libray worker`: those of `raylaunch
head` and `raylaunch worker` do not have Python's functions. The other commands are raylaunch's, which is in this
package.
A script whose name is that of a command is run by its path: ./head

Exit status: that of the program or command; 2 wrong usage.
"""


def _usage(words):
    print(f"python -m libray: {words}\ntry: python -m libray --help", file=sys.stderr)
    return 2


def _run(program):
    """Its exit status. What it does not catch is told as python tells it: from the program's own frames on."""
    try:
        program()
    except Exception as error:
        tb = error.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename in (__file__, runpy.run_module.__code__.co_filename):
            tb = tb.tb_next
        sys.excepthook(type(error), error.with_traceback(tb), tb)
        return 1
    return 0


def _run_in_main(source, name, arguments, path_entry, **names):
    """As python itself would: in a module __main__ of its own."""
    main = types.ModuleType("__main__")
    main.__dict__.update(names, __builtins__=__builtins__)
    sys.modules["__main__"] = main
    sys.argv[:] = arguments
    if not sys.flags.safe_path:
        sys.path[0] = path_entry
    return _run(lambda: exec(compile(source, name, "exec"), main.__dict__))


def _run_script(path, arguments):
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        return _usage(f"cannot open {path!r}: {error.strerror}; expected a script or a command")
    return _run_in_main(source, path, [path, *arguments], os.path.dirname(os.path.realpath(path)), __file__=path,
                        __cached__=None, __loader__=SourceFileLoader("__main__", path))


def _run_module(name, arguments):
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        print(f"{sys.executable}: No module named {name}", file=sys.stderr)
        return 1
    sys.argv[:] = [found.origin, *arguments]
    return _run(lambda: runpy.run_module(name, run_name="__main__", alter_sys=True))


def main(arguments):
    if not arguments:
        return _usage("expected a script, -m MODULE, -c CODE or a command")
    first, rest = arguments[0], arguments[1:]
    if first in ("-h", "--help"):
        print(_HELP, end="")
        return 0
    if first == "--version":
        print(f"libray {_version.__version__}")
        return 0
    if first in ("head", "worker"):
        from . import _node
        return _node.serve(first, rest)
    if first in _raylaunch.COMMANDS:
        return _raylaunch.become(first, rest)
    if first in ("-c", "-m") and not rest:
        return _usage(f"{first} needs an argument")
    if first.startswith("-") and first not in ("-c", "-m"):
        return _usage(f"there is no option {first}")
    _alias.install()
    if first == "-c":
        return _run_in_main(rest[0], "<string>", ["-c", *rest[1:]], "")
    if first == "-m":
        return _run_module(rest[0], rest[1:])
    return _run_script(first, rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
