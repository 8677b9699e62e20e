"""Sessions: the directory that each node has to itself on its host.

libray makes it and removes it, with all that is in it, when the node ends; that of a node that was killed goes when the
next one of the same user makes its own on that host, at the latest with its first worker process. `python -m libray
head` leaves a mark in its own, by which ray.init() finds it: a head that hosts no Python, as raylaunch's, is not taken
for one.
"""

import fcntl
import os
import stat

HEAD_MARK = "python-head"  # in the session of a head that hosts Python: its address
LAUNCHED_MARK = "raylaunch"  # by which raylaunch stop knows what was started from a shell
_PATH_MOST = 87  # of a session: libray goes to /tmp where it would be longer

node_pid = None  # in a worker process: that of its node


def _home():
    """Where this user's sessions are, as libray finds it."""
    base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    below = f"/ray-{os.geteuid()}"
    try:
        base = os.path.realpath(base, strict=True)
    except OSError:
        base = "/tmp"
    return (base if len(f"{base}{below}/s-{os.getpid()}-XXXXXX") <= _PATH_MOST else "/tmp") + below


def _lives(session):
    """Does its node hold the lock? Who can have it is alone with what is left."""
    try:
        lock = os.open(os.path.join(session, "lock"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(lock)


def _marked(home):
    """(when it was marked, session) of each that a head of Python has marked."""
    status = os.lstat(home)
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or not stat.S_ISDIR(status.st_mode):
        return  # libray would not use it either: somebody else could have written there
    for name in os.listdir(home):
        session = os.path.join(home, name)
        try:
            yield os.stat(os.path.join(session, HEAD_MARK), follow_symlinks=False).st_mtime_ns, session
        except OSError:
            continue


def export_home():
    """Worker processes look there for the session of their node, whatever else they are told of TMPDIR."""
    os.environ["LIBRAY_SESSIONS"] = _home()


def of(pid):
    """The session of the node with that pid: this process, or the one whose worker process this is. None: there is
    none."""
    home = os.environ["LIBRAY_SESSIONS"]
    try:
        sessions = [os.path.join(home, name) for name in os.listdir(home) if name.startswith(f"s-{pid}-")]
    except FileNotFoundError:
        return None  # no node has needed one yet
    return next(filter(_lives, sessions), None)


def find_head():
    """The address of the latest head of this user on this host that hosts Python and lives; None: there is none."""
    try:
        for _, session in sorted(_marked(_home()), reverse=True):
            if _lives(session):
                with open(os.path.join(session, HEAD_MARK)) as file:
                    return file.read().strip() or None
    except OSError:
        pass
    return None


def mark(session, name, words=""):
    """Leaves a file there, whole when it appears."""
    path = os.path.join(session, name)
    with open(f"{path}.new", "w") as file:
        file.write(words)
    os.replace(f"{path}.new", path)
