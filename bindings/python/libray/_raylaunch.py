"""raylaunch, the program that looks at clusters: where it is, and running it in the place of this process."""

import os
import shutil
import sys

from . import _lib

COMMANDS = {"status": "nodes, use and demand of a cluster", "list": "nodes, tasks, actors and more of a cluster",
            "get": "one of them", "summary": "counts of tasks, actors, placement groups and objects",
            "logs": "what a node and its worker processes have printed", "timeline": "what ran when and where, a file",
            "drain": "has a worker finish what it has, and leave", "stop": "ends your nodes on this host"}


def _path():
    """What the package carries, else what lies beside its library, or in PATH; None: there is none."""
    beside = [os.path.dirname(os.path.abspath(__file__))]
    if os.sep in _lib.path:
        beside.append(os.path.dirname(os.path.abspath(_lib.path)))
    return shutil.which("raylaunch", path=os.pathsep.join(beside)) or shutil.which("raylaunch")


def become(command, arguments):
    """Does not return, unless it is not there: the exit status."""
    path = _path()
    if path is None:
        print(f"libray: {command} is a command of raylaunch, which is neither in this package nor in PATH: build the "
              "wheel (pip install ./bindings/python), or install libray", file=sys.stderr)
        return 1
    environment = dict(os.environ)
    if os.sep in _lib.path:  # raylaunch in a package finds its libray.so.0 by this alone
        before = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = os.path.dirname(os.path.abspath(_lib.path)) + (f":{before}" if before else "")
    sys.stdout.flush()
    os.execve(path, [path, command, *arguments], environment)
