"""Ids, by their kinds: hexadecimal, compared as text."""


class BaseID:
    __slots__ = ("_hex",)

    def __init__(self, value):
        self._hex = value.hex() if isinstance(value, (bytes, bytearray)) else str(value)

    @classmethod
    def from_hex(cls, text):
        return cls(text)

    @classmethod
    def nil(cls):
        return cls("")

    def hex(self):
        return self._hex

    def binary(self):
        return bytes.fromhex(self._hex)

    def is_nil(self):
        return self._hex == ""

    def __eq__(self, other):
        return type(self) is type(other) and self._hex == other._hex

    def __hash__(self):
        return hash((type(self).__name__, self._hex))

    def __repr__(self):
        return f"{type(self).__name__}({self._hex})"

    def __reduce__(self):
        return type(self), (self._hex,)


class UniqueID(BaseID):
    __slots__ = ()


class TaskID(BaseID):
    __slots__ = ()


class ActorID(BaseID):
    __slots__ = ()


class JobID(BaseID):
    __slots__ = ()


class NodeID(BaseID):
    __slots__ = ()


class WorkerID(BaseID):
    __slots__ = ()


class PlacementGroupID(BaseID):
    __slots__ = ()


class FunctionID(BaseID):
    __slots__ = ()
