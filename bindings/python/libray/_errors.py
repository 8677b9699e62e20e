"""From libray's error codes to Ray's exceptions, and from an exception of a task to what travels.

A failed task carries user_code PICKLED and a pickled (RayTaskError) payload, or, if that would be too large or cannot
be pickled, TEXT and the traceback alone.
"""

import os
import pickle
import re
import traceback

from . import _lib, exceptions as ex

PICKLED, TEXT = 1, 2
PAYLOAD_MAX = 64 << 10
MESSAGE_MAX = 1000
PART_MAX = 8 << 10  # of one argument of an exception

(ARGUMENT, TYPE, NO_MEMORY, NOT_INITIALIZED, ALREADY_INITIALIZED, NOT_HERE, FORKED, TIMEOUT, NOT_FOUND, EXISTS, LIMIT,
 UNSUPPORTED, LOAD) = range(-101, -114, -1)
OBJECT_LOST, OWNER_DIED, REBUILD_FAILED, FETCH_TIMEOUT, CORRUPT, STORE_FULL, DISK_FULL = range(-201, -208, -1)
(TASK_FAILED, CANCELLED, DEADLINE, WORKER_CRASHED, OUT_OF_MEMORY, UNKNOWN_FUNCTION, SIGNATURE, UNSCHEDULABLE,
 GROUP_REMOVED, STREAM_END) = range(-301, -311, -1)
ACTOR_DIED, ACTOR_UNAVAILABLE, ACTOR_BUSY = range(-401, -404, -1)
NODE_DIED, SHUTDOWN, SYSTEM, INTERNAL = range(-501, -505, -1)
HEAD_UNREACHABLE, AUTH, VERSION, NODE_REFUSED = range(-601, -605, -1)


def _object(kind):
    return lambda words, actor: kind(message=words)


def _actor(kind):
    return lambda words, actor: kind(words, actor_id=actor)


def _plain(kind):
    return lambda words, actor: kind(words)


def _either(task, actor_kind):
    return lambda words, actor: (actor_kind if actor or _is_of_class() else task)(words)


_CLASSES = (b"pyc:", b"pyd:")  # as _functions.py has them


def _is_of_class():
    """Was it an actor or a call of one that failed last?"""
    return (_lib.quick.ray_last_error().contents.function or b"").startswith(_CLASSES)


class _ActorGroupRemoved(ex.ActorPlacementGroupRemoved, ex.ActorDiedError):
    """Ray says ActorDiedError where the actor was alive; libray does not know whether it was."""


_OF_CODE = {
    ARGUMENT: _plain(ValueError),
    TYPE: _plain(TypeError),
    NO_MEMORY: _plain(MemoryError),
    NOT_INITIALIZED: _plain(ex.RaySystemError),
    FORKED: _plain(RuntimeError),
    TIMEOUT: _plain(ex.GetTimeoutError),
    NOT_FOUND: _plain(ValueError),
    EXISTS: _plain(ex.ActorAlreadyExistsError),
    LIMIT: _plain(ValueError),
    UNSUPPORTED: _plain(NotImplementedError),
    LOAD: _plain(ex.RuntimeEnvSetupError),
    OBJECT_LOST: _object(ex.ObjectLostError),
    OWNER_DIED: _object(ex.OwnerDiedError),
    REBUILD_FAILED: _object(ex.ObjectReconstructionFailedError),
    FETCH_TIMEOUT: _object(ex.ObjectFetchTimedOutError),
    STORE_FULL: _plain(ex.ObjectStoreFullError),
    DISK_FULL: _plain(ex.OutOfDiskError),
    CANCELLED: lambda words, actor: ex.TaskCancelledError(error_message=words),
    DEADLINE: lambda words, actor: ex.TaskCancelledError(error_message=words),
    WORKER_CRASHED: _plain(ex.WorkerCrashedError),
    OUT_OF_MEMORY: _plain(ex.OutOfMemoryError),
    UNSCHEDULABLE: _either(ex.TaskUnschedulableError, ex.ActorUnschedulableError),
    GROUP_REMOVED: _either(ex.TaskPlacementGroupRemoved, _ActorGroupRemoved),
    STREAM_END: _plain(ex.ObjectRefStreamEndOfStreamError),
    ACTOR_DIED: _actor(ex.ActorDiedError),
    ACTOR_UNAVAILABLE: _actor(ex.ActorUnavailableError),
    ACTOR_BUSY: _plain(ex.PendingCallsLimitExceeded),
    NODE_DIED: _plain(ex.NodeDiedError),
    SHUTDOWN: _plain(ex.RaySystemError),
    HEAD_UNREACHABLE: _plain(ex.RpcError),
    AUTH: _plain(ex.AuthenticationError),
}


_FULL_NAMES = re.compile(r"\bpy[scd]?:[0-9a-f]{32}\|")  # as _functions.py makes them


def without_full_names(words):
    """Names of functions in it as people know them."""
    return _FULL_NAMES.sub("", words)


def _words(error):
    words = without_full_names(_lib.text(error.message) or _lib.text(_lib.lib.ray_strerror(error.code)))
    output = _lib.text(error.output)
    return f"{words}\nIt wrote last:\n{output}" if output else words


def _of_payload(error):
    payload = _lib.ctypes.string_at(error.payload, error.payload_size)
    if error.user_code == PICKLED:
        try:
            return pickle.loads(payload)
        except Exception:
            lines = traceback.format_exc()
            return ex.RaySystemError(ex.UnserializableException(_lib.text(error.message)), lines)
    return ex.RayTaskError(_name(error), payload.decode(errors="replace"),
                           ex.RayError(_lib.text(error.message)), pid=error.pid)


def _name(error):
    name = _lib.text(error.function) or "a task"
    return name.split("|", 1)[-1]


def from_last(actor=None):
    """The exception for what failed last on this thread. actor: the id, where it was about an actor."""
    error = _lib.quick.ray_last_error().contents
    if error.payload:
        found = _of_payload(error)
        if error.code == TASK_FAILED:
            return found.as_instanceof_cause() if isinstance(found, ex.RayTaskError) else found
        if error.code == ACTOR_DIED and isinstance(found, ex.RayTaskError):
            died = ex.ActorDiedError(f"The actor died because its constructor raised: {found}",
                                     actor_id=actor or found._actor_id, actor_init_failed=True)
            died.__cause__ = found
            return died
    if error.code == TASK_FAILED:
        return ex.RayTaskError(_name(error), _words(error), ex.RayError(_words(error)), pid=error.pid)
    make = _OF_CODE.get(error.code, _plain(ex.RaySystemError))
    return make(_words(error), actor)


def last_code():
    return _lib.quick.ray_last_error().contents.code


def check(code):
    """Raises for a negative code of a call just made."""
    if code < 0:
        raise from_last()
    return code


def own(pointer):
    """Raises for a NULL of a call just made."""
    if not pointer:
        raise from_last()
    return pointer


# ---- on the side that fails ----


def _without_frames_of_ours(tb):
    """The traceback from the user's function on."""
    here = os.path.dirname(os.path.abspath(__file__))
    while tb is not None and os.path.dirname(os.path.abspath(tb.tb_frame.f_code.co_filename)) == here:
        tb = tb.tb_next
    return tb


def _cut(lines, size):
    data = lines.encode(errors="backslashreplace")
    if len(data) <= size:
        return data
    half = size // 2 - 32
    return data[:half] + b"\n  ... cut ...\n" + data[-half:]


def _shorten(exception):
    """Leaves its class, and the beginnings of long texts."""
    exception.args = tuple(_shortened(value) for value in exception.args)
    for name, value in list(vars(exception).items()):
        setattr(exception, name, _shortened(value))


def _shortened(value):
    return value[:MESSAGE_MAX] if isinstance(value, (str, bytes)) else value


def pack_plain(exception):
    """(user_code, message, payload) for ray_fail_with, of what the caller is to see as it is."""
    from ._serialization import dumps_plain
    return PICKLED, str(exception), dumps_plain(exception)


def _light(value):
    """The value, or its repr where it cannot travel with an exception, or would be too much."""
    from ._serialization import dumps_plain
    try:
        if len(dumps_plain(value)) <= PART_MAX:
            return value
    except Exception:
        pass
    return _cut(repr(value), 200).decode(errors="replace")


def _without_burden(cause):
    """An exception of the same class, so that `except` finds it, without what cannot go with it: refs, large arrays,
    locks."""
    made = type(cause).__new__(type(cause))
    made.args = tuple(_light(value) for value in cause.args)
    made.__dict__.update((name, _light(value)) for name, value in vars(cause).items())
    return made


def _try(error, cause):
    """The pickle of error with that cause; None where it cannot be, or not be read, or is too long."""
    from ._serialization import dumps_plain
    try:
        error.cause = cause
        error.args = error.args[:2] + (cause,) + error.args[3:]
        payload = dumps_plain(error)
        pickle.loads(payload)
    except Exception:
        return None
    return payload if len(payload) <= PAYLOAD_MAX else None


def pack(exception, function_name, title, actor_repr=None, actor_id=None):
    """(user_code, message, payload) for ray_fail_with: what a task that raised `exception` tells its caller."""
    from ._serialization import dumps_plain

    if isinstance(exception, ex.RayTaskError):
        lines = str(exception) if exception.__traceback__ is None else "".join(
            traceback.format_exception(type(exception), exception, _without_frames_of_ours(exception.__traceback__)))
        cause = exception.cause
    else:
        lines = "".join(traceback.format_exception(type(exception), exception,
                                                   _without_frames_of_ours(exception.__traceback__)))
        cause = exception
    message = _cut(f"{type(cause).__name__}: {cause}", MESSAGE_MAX).decode(errors="replace").replace("\0", "?")
    error = ex.RayTaskError(function_name, _cut(lines, PAYLOAD_MAX // 2).decode(errors="replace"), cause, title,
                            os.getpid(), None, actor_repr, actor_id)
    cause.__traceback__ = None
    try:
        payload = dumps_plain(error)
        pickle.loads(payload)
    except Exception as why:
        try:
            payload = _try(error, _without_burden(cause))
        except Exception:
            payload = None  # a class that allows no such copy
        if payload:
            return PICKLED, message, payload
        name = f"{type(cause).__module__}.{type(cause).__qualname__}"
        error.cause = ex.RayError(f"{name} cannot be pickled: {why}\n{error.traceback_str}")
        error.args = error.args[:2] + (error.cause,) + error.args[3:]
        payload = dumps_plain(error)
    if len(payload) > PAYLOAD_MAX:
        try:
            _shorten(error.cause)
            payload = dumps_plain(error)
        except Exception:
            pass  # a class that does not want it
    if len(payload) > PAYLOAD_MAX:
        try:
            payload = _try(error, _without_burden(cause)) or payload
        except Exception:
            pass
    if len(payload) > PAYLOAD_MAX:
        return TEXT, message, _cut(lines, PAYLOAD_MAX)
    return PICKLED, message, payload
