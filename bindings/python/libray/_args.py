"""Arguments of a call on their way to C, and from there.

The first C argument is the payload: (args, kwargs), and, if there are any, slots: for each ref or actor that is an
argument of its own its place in args (a number) or kwargs (a name), and what is needed to make it up again. These are
the C arguments behind the payload, so that libray waits for them and hands over their values.
"""

import ctypes

from . import _errors, _lib
from . import _serialization as ser
from ._refs import ObjectRef, ObjectRefGenerator

_VIEW = ctypes.sizeof(_lib.View)
_ACTOR_PART = -2


_SIMPLE_EXTRA = {"job"}  # texts, too


def _payload(args, kwargs, slots, extra):
    try:
        is_simple = ser.are_simple(args) and (not kwargs or ser.are_simple(kwargs.values()))
        if slots or extra:
            return ser.pack((args, kwargs, slots, extra),
                            fast=is_simple and not slots and extra.keys() == _SIMPLE_EXTRA)
        return ser.pack((args, kwargs), fast=is_simple)
    except TypeError as error:
        raise ser.refusal("an argument", {**dict(enumerate(args)), **kwargs}, error) from error


class Arguments:
    """C's values for a call. `values` and `count` are to be passed; keep this until the call has returned, then call
    `done`."""

    __slots__ = ("values", "count", "_kept", "_ref")

    def __init__(self, args, kwargs, extra=None):
        from .actor import ActorHandle
        slots = pointers = None
        for sequence in (enumerate(args), kwargs.items()):
            for place, value in sequence:
                kind = type(value)
                if kind is ObjectRef:
                    slot = (place, value._part, None)
                    pointer = (_lib.KIND_REF, value._c)
                elif kind is ActorHandle:
                    slot = (place, _ACTOR_PART, value._meta)
                    pointer = (_lib.KIND_ACTOR, value._c)
                elif kind is ObjectRefGenerator:
                    value.__reduce__()
                else:
                    continue
                if slots is None:
                    slots, pointers = [], []
                    args, kwargs = list(args), dict(kwargs)
                slots.append(slot)
                pointers.append(pointer)
                if type(place) is int:
                    args[place] = None
                else:
                    kwargs[place] = None
        packed = _payload(tuple(args), kwargs, slots, extra)
        self.count = 1 + len(pointers or ())
        self.values = (_lib.Value * self.count)()
        self._kept = []
        self._set_payload(packed)
        for i, (kind, pointer) in enumerate(pointers or (), 1):
            self._set_pointer(i, kind, pointer)

    def _set_payload(self, packed):
        self._ref = None
        if packed.size <= ser.INLINE_MAX and not packed.held:
            view = _lib.ByteView(packed.to_bytes(), packed.size)
            self._kept.append(view)
            first = self.values[0]
            first.kind, first.size, first.data = _lib.KIND_BYTES, _VIEW, ctypes.addressof(view)
        else:
            self._ref = _lib.lib.ray_seal(packed.to_buffer())
            self._set_pointer(0, _lib.KIND_REF, self._ref)

    def _set_pointer(self, index, kind, pointer):
        room = ctypes.c_void_p(pointer)
        self._kept.append(room)
        value = self.values[index]
        value.kind, value.size, value.data = kind, 8, ctypes.addressof(room)

    def done(self):
        if self._ref:
            _lib.lib.ray_release(self._ref)
            self._ref = None


# ---- what a function takes ----


def signature_of(function, is_bound=False):
    """What a function takes, as it stands in its definition, without defaults' values: "a, b=None, *rest". None: that
    is not known. is_bound: without the first, which is self."""
    import inspect
    try:
        found = list(inspect.signature(function).parameters.values())[is_bound:]
    except (TypeError, ValueError):
        return None
    plain = [p.replace(annotation=p.empty, default=p.empty if p.default is p.empty else None) for p in found]
    return str(inspect.Signature(plain))[1:-1]


def checker(signature, name):
    """A function that takes just that and raises Python's own TypeError at anything else; None where there is no
    signature."""
    if signature is None:
        return None
    check = eval(f"lambda {signature}: None", {})
    check.__name__ = check.__qualname__ = name
    return check


# ---- in the process that runs it ----


def _inner(value):
    return _lib.Value.from_address(value.data) if value.kind == _lib.KIND_VALUE else value


def _view_of(value):
    return _lib.View.from_address(value.data)


def _unpack(view):
    def pin():
        more = _lib.View()
        return ser.Pin(more) if _lib.lib.ray_view_retain(view, more) == 0 else None

    return ser.unpack(view, pin)


def _value_of(value, part, meta):
    from .actor import handle_of
    value = _inner(value)
    if value.kind == _lib.KIND_BYTES:
        found = _unpack(_view_of(value))
        return found[part] if part >= 0 else found
    if value.kind == _lib.KIND_ACTOR:
        pointer = ctypes.c_void_p.from_address(value.data).value
        return handle_of(_lib.lib.ray_actor_retain(pointer), meta)
    return _plain_value(value)


def _plain_value(value):
    """What a C function has returned."""
    if value.kind == 0:
        return None
    kind = _lib.PLAIN_KINDS.get(value.kind)
    if kind is None:
        raise TypeError(f"an argument of kind {value.kind} has no meaning in Python")
    found = kind.from_address(value.data).value
    return _lib.text(found) if value.kind == _lib.KIND_STRING else found


def arguments_of(frame):
    """(args, kwargs, extra) of a frame."""
    if frame.num_args == 0:
        return (), {}, None
    values = frame.args
    payload = _unpack(_view_of(_inner(values[0])))
    if len(payload) == 2:
        return payload[0], payload[1], None
    args, kwargs, slots, extra = payload
    if slots:
        args = list(args)
        for i, (place, part, meta) in enumerate(slots, 1):
            value = _value_of(values[i], part, meta)
            if type(place) is int:
                args[place] = value
            else:
                kwargs[place] = value
    return args, kwargs, extra
