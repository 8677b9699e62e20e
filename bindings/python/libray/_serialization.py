"""Values as bytes of the object store, and back.

An object is a head (_HEAD: form, number of buffers, size of the pickle), the place and size of each buffer, the pickle,
and the buffers, each at a multiple of 64. Buffers are pickle protocol 5's out-of-band ones: the bytes of NumPy arrays,
Arrow tables and bytearrays are written once, into the store, and read where they lie, through views that pin it.
Bytes are an object of their own form, without a pickle.

Refs and actors are not bytes. While something is packed, an ObjectRef or ActorHandle in it leaves its place in a list,
and the object holds what is on that list (ray_buffer_hold); while it is unpacked, each is found by its place there
(ray_view_ref).
"""

import collections
import ctypes
import io
import pickle
import struct
import threading
import traceback
import types

import cloudpickle

from . import _errors, _lib

_HEAD = struct.Struct("<IIQ")
_PLACE = struct.Struct("<QQ")
_PICKLE, _BYTES = 0, 1
ALIGN = 64
INLINE_MAX = 100 << 10  # what is larger goes through the store, as in Ray
_SIMPLE = frozenset([int, float, bool, type(None), str, complex])

_state = threading.local()  # .held: list, while packing; .view: _lib.View, while unpacking


class Packed:
    """A value as it is to be written: `write` puts it into `size` bytes."""

    __slots__ = ("form", "data", "buffers", "held", "size", "_places")

    def __init__(self, form, data, buffers, held):
        self.form = form
        self.data = data
        self.buffers = buffers
        self.held = held
        at = _HEAD.size + _PLACE.size * len(buffers) + len(data)
        self._places = []
        for buffer in buffers:
            at = (at + ALIGN - 1) & -ALIGN
            self._places.append(at)
            at += buffer.nbytes
        self.size = at

    def to_bytes(self):
        if not self.buffers:
            return _HEAD.pack(self.form, 0, len(self.data)) + self.data
        room = bytearray(self.size)
        self.write(memoryview(room))
        return bytes(room)

    def write(self, room):
        _HEAD.pack_into(room, 0, self.form, len(self.buffers), len(self.data))
        at = _HEAD.size
        for place, buffer in zip(self._places, self.buffers):
            _PLACE.pack_into(room, at, place, buffer.nbytes)
            at += _PLACE.size
        _copy(room, at, self.data)
        for place, buffer in zip(self._places, self.buffers):
            _copy(room, place, buffer)

    def to_buffer(self):
        """A _lib.Buffer with the bytes and what they hold: for ray_seal, or to be returned."""
        buffer = _errors.own(_lib.lib.ray_create(self.size))
        try:
            room = (ctypes.c_char * self.size).from_address(buffer.contents.data or 0) if self.size else bytearray()
            self.write(memoryview(room).cast("B"))
            for held in self.held:
                _errors.check(_lib.lib.ray_buffer_hold(buffer, held._c))
        except BaseException:
            _lib.lib.ray_buffer_free(buffer)
            raise
        return buffer


_LARGE = 1 << 20
_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_release_buffer = ctypes.pythonapi.PyBuffer_Release


class _PyBuffer(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("obj", ctypes.py_object), ("len", ctypes.c_ssize_t),
                ("rest", ctypes.c_byte * 128)]


_get_buffer.argtypes = [ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int]
_release_buffer.argtypes = [ctypes.POINTER(_PyBuffer)]
_release_buffer.restype = None


def _copy(room, at, source):
    """Much of it without the interpreter's lock."""
    size = source.nbytes if isinstance(source, memoryview) else len(source)
    if size < _LARGE:
        room[at:at + size] = source
        return
    taken = _PyBuffer()
    _get_buffer(source, taken, 0)
    try:
        start = ctypes.addressof(ctypes.c_char.from_buffer(room)) + at
        ctypes.memmove(start, taken.buf, size)
    finally:
        _release_buffer(taken)


# ---- packing ----

_serializers = {}  # class: (to what can be pickled, back)


def register_serializer(cls, *, serializer, deserializer):
    """Values of exactly this class are packed as `serializer(value)`, and unpacked by `deserializer`, here and in the
    processes to which values go from here. As `ray.util.register_serializer`."""
    _serializers[cls] = (serializer, deserializer)


def deregister_serializer(cls):
    """Undoes `register_serializer`; nothing when there is none."""
    _serializers.pop(cls, None)


def _rebuild(deserializer, value):
    return deserializer(value)


def _reduce_code(code):
    """As cloudpickle, with the name of the file, which it leaves out: tracebacks show it, and lines of what is here."""
    make, arguments = cloudpickle.Pickler.dispatch_table[types.CodeType](code)
    return make, tuple(code.co_filename if argument == "<dynamic-code>" else argument for argument in arguments)


class _Pickler(cloudpickle.Pickler):
    dispatch_table = collections.ChainMap({types.CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table)

    def reducer_override(self, value):
        found = _serializers.get(type(value)) if _serializers else None
        if found:
            return _rebuild, (found[1], found[0](value))
        return super().reducer_override(value)


def _is_array(value):
    kind = type(value)
    return kind.__name__ == "ndarray" and kind.__module__ == "numpy" and not value.dtype.hasobject


def _is_simple(value):
    kind = type(value)
    return kind in _SIMPLE or (kind is bytes and len(value) < INLINE_MAX)


def dumps_plain(value):
    """cloudpickle, without refs and buffers of their own."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(value)
    return file.getvalue()


def _pickle(value, buffers, fast):
    keep = _keep_large(buffers)
    if fast:
        return pickle.dumps(value, 5, buffer_callback=keep)
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=keep).dump(value)
    return file.getvalue()


def _keep_large(buffers):
    def keep(buffer):
        try:
            raw = buffer.raw()
        except BufferError:
            return True  # not contiguous: in the pickle
        buffers.append(raw)
        return False
    return keep


def pack(value, fast=False):
    """A value as Packed. fast: plain pickle will do, nothing in it is of the program's own."""
    if type(value) is bytes and len(value) >= INLINE_MAX:
        return Packed(_BYTES, value, (), ())
    if fast or _is_simple(value):
        return Packed(_PICKLE, pickle.dumps(value, 5), (), ())
    buffers, outer = [], getattr(_state, "held", None)
    _state.held = held = []
    try:
        data = _pickle(value, buffers, _is_array(value) and not _serializers)
    finally:
        _state.held = outer
    return Packed(_PICKLE, data, buffers, held)


def refusal(words, value, error):
    """The TypeError that says which part of the value cannot be pickled, after the error that pickling it gave."""
    from .util.check_serialize import inspect_serializability
    parts = [" -> ".join(found.path) for found in inspect_serializability(value, print_file=io.StringIO())[1]]
    where = f" (in it: {', '.join(sorted(parts))})" if any(parts) else ""
    return TypeError(f"{words} cannot be pickled{where}: {error}. Make it where it is used, leave it out of what is "
                     "sent (__getstate__), or say how with ray.util.register_serializer")


def are_simple(values):
    """Can plain pickle pack these arguments?"""
    for value in values:
        if not _is_simple(value):
            return False
    return True


def holds(ref):
    """The place of a ref (a C pointer) in what is being packed; TypeError where nothing is."""
    held = getattr(_state, "held", None)
    if held is None:
        raise TypeError("an ObjectRef or ActorHandle can be pickled only as (part of) an argument, a result or the"
                        " value of ray.put: libray counts who holds it, and could not count a pickle of your own")
    held.append(ref)
    return len(held) - 1


# ---- unpacking ----


class Pin:
    """Owns a _lib.View; what is read out of it keeps this."""

    __slots__ = ("view",)

    def __init__(self, view):
        self.view = view

    def __del__(self, release=_lib.lib.ray_view_release):
        release(self.view)


def _slice(pin, address, size):
    if size == 0:
        return memoryview(b"")
    room = (ctypes.c_char * size).from_address(address)
    room._pin = pin
    return memoryview(room).cast("B").toreadonly()


def _loads(view, data, buffers):
    outer = getattr(_state, "view", None)
    _state.view = view
    try:
        return pickle.loads(data, buffers=buffers)
    except Exception as error:
        raise _errors.ex.RaySystemError(error, traceback.format_exc()) from error
    finally:
        _state.view = outer


def unpack(view, pin=None):
    """The value that a _lib.View shows. pin(): a Pin of the same bytes for what reads them where they lie; None: such
    parts are copied."""
    address, size = view.data, view.size
    if size <= 4096:
        head = ctypes.string_at(address, size)
        form, count, length = _HEAD.unpack_from(head)
        if count == 0 and form == _PICKLE:
            return _loads(view, head[_HEAD.size:], ())
    else:
        form, count, length = _HEAD.unpack(ctypes.string_at(address, _HEAD.size))
    if form == _BYTES:
        return ctypes.string_at(address + _HEAD.size, length)
    at = _HEAD.size + _PLACE.size * count
    places = ctypes.string_at(address + _HEAD.size, _PLACE.size * count)
    owner = pin() if pin and count else None
    buffers = []
    for i in range(count):
        start, extent = _PLACE.unpack_from(places, _PLACE.size * i)
        buffers.append(_slice(owner, address + start, extent) if owner
                       else ctypes.string_at(address + start, extent))
    return _loads(view, ctypes.string_at(address + at, length), buffers)


def held_at(place):
    """The ref of that place in what is being unpacked: obtained."""
    view = getattr(_state, "view", None)
    if view is None:
        raise TypeError("this pickle of an ObjectRef or ActorHandle is part of a libray object: it is unpacked by"
                        " ray.get, or as an argument")
    return _lib.lib.ray_view_ref(view, place)
