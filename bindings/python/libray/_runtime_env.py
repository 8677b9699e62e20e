"""runtime_env: what a task or actor finds around it in its process.

Variables are set when the process starts (those that name others right after that), and processes with other variables
are other processes. One of them, _VARIABLE, holds the runtime_env itself, for what the process does before it runs
anything, and for what it submits: working_dir and py_modules are in it as the hashes of packed files, which lie in the
cluster's table. They are unpacked in the session of the node, once for all its processes, so that they go with it,
whatever becomes of the process that has unpacked them.
"""

import io
import json
import os
import re
import sys

from . import _errors, _functions, _session

KNOWN = {"env_vars", "working_dir", "py_modules", "excludes", "config"}
ABSENT = {"pip", "uv", "conda", "container", "image_uri", "py_executable", "worker_process_setup_hook", "java_jars",
          "nsight", "mpi"}
EXCLUDED = [".git", ".venv", "venv", "__pycache__"]
IGNORE_FILES = (".gitignore", ".rayignore")
SIZE_MAX = 512 << 20
DEEPEST = 28  # directories below one: libray removes a session of at most 32 levels
_VARIABLE = "LIBRAY_RUNTIME_ENV"
_PACKED = "libray://"  # before the hash of what is packed already

_job = {}  # packed: of ray.init; in a worker process, of what runs there


def job():
    """The runtime_env of what submits."""
    return dict(_job)


def check(runtime_env):
    """Raises for what cannot be had."""
    if runtime_env is None:
        return
    if not isinstance(runtime_env, dict):
        raise TypeError(f"runtime_env must be a dict, got {type(runtime_env).__name__}")
    for name in runtime_env:
        if name in ABSENT:
            raise NotImplementedError(f"runtime_env[{name!r}]: libray installs nothing; install what is needed where "
                                      "its worker processes run, or send code with py_modules")
        if name not in KNOWN:
            raise ValueError(f"runtime_env has no {name!r}; there are {', '.join(sorted(KNOWN))}")
    variables = runtime_env.get("env_vars")
    if variables is not None and not (isinstance(variables, dict) and all(
            isinstance(k, str) and isinstance(v, str) for k, v in variables.items())):
        raise TypeError("runtime_env['env_vars'] must be a dict of strings")
    for name in ("py_modules", "excludes"):
        if not isinstance(runtime_env.get(name) or [], (list, tuple)):
            raise TypeError(f"runtime_env[{name!r}] must be a list, got {type(runtime_env[name]).__name__}")
    if runtime_env.get("working_dir") is not None:
        _path_of(runtime_env["working_dir"], is_module=False)
    for module in runtime_env.get("py_modules") or ():
        _path_of(module, is_module=True)


def set_job(runtime_env):
    """Of all that is submitted from now on without one of its own. Needs the cluster's table."""
    global _job
    _job = {}
    _job = _packed(runtime_env or {})


def prepare(runtime_env):
    """The variables of a task's or actor's processes, for its runtime_env over what it inherits."""
    check(runtime_env)
    packed = _packed(runtime_env) if runtime_env else _job
    if not packed:
        return {}
    variables = {name: value for name, value in packed.get("env_vars", {}).items() if "$" not in value}
    return {**variables, _VARIABLE: json.dumps(packed, sort_keys=True)}


def _packed(runtime_env):
    """It over _job, with hashes instead of paths; nothing that is empty."""
    excludes = runtime_env.get("excludes") or ()
    packed = dict(_job)
    if runtime_env.get("working_dir") is not None:
        packed["working_dir"] = _send(runtime_env["working_dir"], excludes, is_module=False)
    if runtime_env.get("py_modules"):
        packed["py_modules"] = [_send(module, excludes, is_module=True) for module in runtime_env["py_modules"]]
    if runtime_env.get("env_vars"):
        packed["env_vars"] = {**packed.get("env_vars", {}), **runtime_env["env_vars"]}
    return packed


# ---- sending ----


def _path_of(what, is_module):
    if isinstance(what, type(sys)):
        what = os.path.dirname(what.__file__) if hasattr(what, "__path__") else what.__file__
    path = os.fspath(what)
    if path.startswith(_PACKED):
        return path
    if "://" in path:
        raise NotImplementedError(f"runtime_env: {path}: only files and directories of this machine can be sent")
    path = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(path):
        raise ValueError(f"runtime_env: {path} does not exist")
    if not is_module and not os.path.isdir(path) and not _is_archive(path):
        raise ValueError(f"runtime_env['working_dir'] must be a directory or a .zip file, got {path}")
    return path


def _is_archive(path):
    return path.endswith((".zip", ".whl")) and os.path.isfile(path)


_TOKENS = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|\[!?[^]]+\]|.", re.DOTALL)
_REGEX_OF = {"**/": "(?:.*/)?", "/**": "/.*", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _rules_of(lines, below=""):
    """(expression for paths, is it taken back with "!", is it for directories alone) of each line as of .gitignore."""
    rules = []
    for line in lines:
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        inside = line.lstrip("!").strip("/")
        is_anchored = "/" in line.lstrip("!").rstrip("/")
        regex = "".join(_REGEX_OF.get(t) or (t.replace("[!", "[^") if len(t) > 1 else re.escape(t))
                        for t in _TOKENS.findall(inside))
        rules.append((re.compile(re.escape(below) + ("" if is_anchored else "(?:.*/)?") + regex, re.DOTALL),
                      line.startswith("!"), line.endswith("/")))
    return rules


def _is_excluded(path, is_directory, rules):
    """The last rule that is about it says."""
    return next((not taken_back for regex, taken_back, of_directories in reversed(rules)
                 if (is_directory or not of_directories) and regex.fullmatch(path)), False)


def _files_below(path, excludes, ignored=(), below=""):
    """Paths relative to it, in order."""
    for name in IGNORE_FILES:
        ignore = os.path.join(path, below, name)
        if os.path.isfile(ignore):
            with open(ignore, errors="replace") as file:
                ignored = [*ignored, *_rules_of(file, below)]
    for entry in sorted(os.scandir(os.path.join(path, below)), key=lambda entry: entry.name):
        inside = below + entry.name
        if any(_is_excluded(inside, entry.is_dir(), rules) for rules in (excludes, ignored)):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(path, excludes, ignored, inside + "/")
        elif entry.is_file():
            yield inside


def _pack(path, excludes, is_module):
    """The files as a zip: equal files are equal bytes, so without times."""
    if os.path.isfile(path):
        path, inside = os.path.split(path)
        found, above = [inside], ""
    else:
        found = _files_below(path, _rules_of([*EXCLUDED, *excludes]))
        above = os.path.basename(path) if is_module else ""
    import zipfile
    room, size = io.BytesIO(), 0
    with zipfile.ZipFile(room, "w", zipfile.ZIP_DEFLATED) as archive:
        for inside in found:
            whole = os.path.join(path, inside)
            status = os.stat(whole)
            size += status.st_size
            if size > SIZE_MAX:
                raise ValueError(f"runtime_env: {path} has more than {SIZE_MAX >> 20} MiB: name what is not needed in "
                                 "'excludes', or in .gitignore")
            entry = zipfile.ZipInfo(os.path.join(above, inside))
            entry.external_attr = (status.st_mode & 0o777) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            with open(whole, "rb") as file:
                archive.writestr(entry, file.read())
    return room.getvalue()


def _send(what, excludes, is_module):
    """What stands for it in a packed runtime_env; the bytes are in the table."""
    path = _path_of(what, is_module)
    if path.startswith(_PACKED):
        return path
    if not _is_archive(path):
        return _PACKED + _functions.put_blob(_pack(path, excludes, is_module))
    with open(path, "rb") as file:
        return _PACKED + _functions.put_blob(file.read())


# ---- receiving ----

_is_adopted = False


def _extract(data, into):
    import zipfile
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            if entry.filename.count("/") > DEEPEST:
                raise ValueError(f"{entry.filename} is more than {DEEPEST} directories deep")
            target = archive.extract(entry, into)
            if not entry.is_dir():
                os.chmod(target, (entry.external_attr >> 16) & 0o777 or 0o644)


def _unpacked(name):
    """The directory with the files: another process of this node may have unpacked them, or be about to."""
    digest = name.removeprefix(_PACKED)
    files = os.path.join(_session.of(_session.node_pid), "files")
    target = os.path.join(files, digest)
    if not os.path.isdir(target):
        import shutil
        import tempfile
        os.makedirs(files, mode=0o700, exist_ok=True)
        making = tempfile.mkdtemp(prefix="new-", dir=files)
        _extract(_functions.get_blob(digest), making)
        try:
            os.rename(making, target)
        except OSError:
            shutil.rmtree(making)
            if not os.path.isdir(target):
                raise
    return target


def _expand(variables):
    """Those that name others, "${PATH}:/more", mean the ones of the node."""
    for name, value in variables.items():
        if "$" in value:
            os.environ[name] = re.sub(r"\$\{\w+\}", "", os.path.expandvars(value))


def adopt():
    """In a worker process, before anything of the user's: its modules can be imported, its directory is the current
    one, and what it submits inherits."""
    global _job, _is_adopted
    if _is_adopted:
        return
    try:
        packed = json.loads(os.environ.pop(_VARIABLE, "{}"))
        _expand(packed.get("env_vars", {}))
        paths = [_unpacked(module) for module in packed.get("py_modules", ())]
        if "working_dir" in packed:
            paths.insert(0, _unpacked(packed["working_dir"]))
            os.chdir(paths[0])
    except Exception as error:
        raise _errors.ex.RuntimeEnvSetupError(f"the files of runtime_env cannot be had: {error}") from error
    sys.path[:0] = paths
    _job, _is_adopted = packed, True
