"""Functions and classes on their way to worker processes.

Each is pickled once in a process and put into the cluster's table under the hash of that pickle, in pieces that fit
there; a worker process fetches it once. One that refers to refs or actors is put into an object instead, whose ref
goes with its calls. Its name for libray is "KIND:HASH|NAME": KIND says by which record it runs (_RECORDS), NAME is for
people.
"""

import os
import pickle
import struct
import sys
import threading

from . import _errors, _lib, _refs
from . import _serialization as ser

TASK, STREAM, CLASS, STREAM_CLASS, HANDLE = "py", "pys", "pyc", "pyd", "pyhandle"
_PIECE = 1 << 20
_SIZE = struct.Struct("<Q")    # of a blob, before it
_AROUND = struct.Struct("<Q")  # of what _surroundings says, before that
_NAME_MAX = 160

# The same in every process of a cluster: name, signature, flags, bytes of state.
_RECORDS = [
    (TASK + ":*", "ray_buffer *(ray_view, ray_value...)", 0, 0),
    (STREAM + ":*", "ray_stream(ray_buffer *)(ray_view, ray_value...)", _lib.FUNCTION_STREAM, 0),
    (CLASS + ":*", "ray_buffer *(ray_value...)", _lib.FUNCTION_ACTOR | _lib.FUNCTION_METHOD, 8),
    (STREAM_CLASS + ":*", "ray_stream(ray_buffer *)(ray_value...)",
     _lib.FUNCTION_ACTOR | _lib.FUNCTION_METHOD | _lib.FUNCTION_STREAM, 8),
    (HANDLE, "ray_actor *(ray_actor *)", 0, 0),
]
_kept = []  # records and trampolines live as long as the process


def register(call, call_handle):
    """Makes the records known to libray: call runs all of Python's, call_handle is HANDLE."""
    if _kept:
        return
    trampoline, of_handle = _lib.Trampoline(call), _lib.Trampoline(call_handle)
    for name, signature, flags, state_size in _RECORDS:
        record = _lib.Function(size=_lib.ctypes.sizeof(_lib.Function), name=name.encode(),
                               signature=signature.encode(), flags=flags, state_size=state_size,
                               call=of_handle if name == HANDLE else trampoline)
        _errors.check(_lib.lib.ray_register(record))
        _kept.append((record, trampoline, of_handle))


# ---- sending ----

_sent = {}  # id of what was exported, with it: its name; while this runtime lasts
_lock = threading.Lock()


def forget():
    """The runtime has ended, and with it the table."""
    with _lock:
        _sent.clear()
        _objects.clear()


def _surroundings():
    """What a function that is pickled by reference needs to be imported elsewhere."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return {"path": list(sys.path), "is_ray": getattr(sys.modules.get("ray"), "__name__", None) == "libray",
            "main": main}


def _key(digest, at):
    return f"py-code:{digest}/{at}"


def _kv_put(key, data):
    code = _lib.lib.ray_kv_put(key.encode(), data, len(data), _lib.KV_NEW)
    if code != _errors.EXISTS:
        _errors.check(code)


def put_blob(data):
    """Puts bytes of any size into the table: the hash by which get_blob finds them."""
    import hashlib  # brings OpenSSL, of which a worker process mostly needs nothing
    digest = hashlib.blake2b(data, digest_size=16).hexdigest()
    data = _SIZE.pack(len(data)) + data
    for at in reversed(range(0, len(data), _PIECE)):  # who finds the first piece finds them all
        _kv_put(_key(digest, at), data[at:at + _PIECE])
    return digest


def export(what, kind):
    """The name of a function or class for libray; it is in the table when this returns."""
    with _lock:
        found = _sent.get((id(what), kind))
        if found and found[0] is what:
            return found[1]
    try:
        data = ser.dumps_plain(what)
    except Exception:
        digest = _put_object(what)
    else:
        around = pickle.dumps(_surroundings())
        digest = put_blob(_AROUND.pack(len(around)) + around + data)
    readable = getattr(what, "__qualname__", type(what).__name__).replace("<locals>.", "")[:_NAME_MAX]
    name = f"{kind}:{digest}|{readable}"
    with _lock:
        _sent[(id(what), kind)] = (what, name)
    return name


# ---- those that refer to refs or actors ----

_objects = {}  # digest: a ref; the table cannot hold what others count, an object can


class _Around:
    """In front of a function in its object: what lets the function be unpickled."""

    def __reduce__(self):
        return _adopt, (_surroundings(),)


def _put_object(what):
    """Its digest, a name for the object."""
    try:
        packed = ser.pack([_Around(), what])
    except TypeError as error:
        kind = "class" if isinstance(what, type) else "function"
        raise ser.refusal(f"the {kind} {getattr(what, '__qualname__', what)}", what, error) from error
    digest = os.urandom(16).hex()
    _objects[digest] = _refs.ObjectRef(_lib.lib.ray_seal(packed.to_buffer()))
    return digest


def carried(name):
    """What goes with each call of what was exported under this name: its object, if it is one."""
    digest = split(name)[1]
    return {"code": (digest, _objects[digest])} if digest in _objects else {}


def receive(digest, ref):
    """Before load: of an object."""
    if digest not in _loaded:
        _loaded[digest] = _refs.read(ref)[1]


def record_of(name):
    """The C record of a name."""
    return _errors.own(_lib.lib.ray_function_get(name.encode()))


# ---- receiving ----

_loaded = {}


def _kv_get(key):
    view = _lib.View()
    _errors.check(_lib.lib.ray_kv_get(key.encode(), view))
    data = _lib.ctypes.string_at(view.data, view.size)
    _lib.lib.ray_view_release(view)
    return data


def _adopt(surroundings):
    for entry in surroundings["path"]:
        if entry not in sys.path:
            sys.path.append(entry)
    if surroundings["is_ray"]:
        from . import _alias
        _alias.install()


def get_blob(digest):
    """What put_blob has put there."""
    data = _kv_get(_key(digest, 0))
    size = _SIZE.size + _SIZE.unpack_from(data)[0]
    pieces = [data]
    for at in range(_PIECE, size, _PIECE):
        pieces.append(_kv_get(_key(digest, at)))
    return b"".join(pieces)[_SIZE.size:]


def split(name):
    """(kind, digest, what people call it) of a name for libray."""
    kind, _, rest = name.partition(":")
    digest, _, readable = rest.partition("|")
    return kind, digest, readable


def load(digest):
    """The function or class of that hash."""
    found = _loaded.get(digest)
    if found is None:
        data = get_blob(digest)
        code = _AROUND.size + _AROUND.unpack_from(data)[0]
        _adopt(pickle.loads(data[_AROUND.size:code]))
        try:
            found = _loaded[digest] = pickle.loads(data[code:])
        except Exception as error:
            raise RuntimeError(f"failed to import what runs here: {error}. Modules are not sent: they must be where "
                               "this process looks for them (sys.path), or go with runtime_env's py_modules") from error
    return found


def load_early(digest):
    """Before the arguments are read: they may want the modules that it wants, and so the path that comes with it. An
    object, which comes with the arguments, waits for those."""
    if digest not in _loaded:
        try:
            load(digest)
        except ValueError:
            pass


def table_value(key):
    """The bytes of a key of the cluster's table; None: there is none."""
    try:
        return _kv_get(key)
    except ValueError:
        return None
