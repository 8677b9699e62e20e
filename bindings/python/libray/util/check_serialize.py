"""Which part of a value cannot be pickled: `ray.util.inspect_serializability`."""

import dis
import functools
import inspect
import types

from .. import _serialization as ser
from ..actor import ActorClass
from ..remote_function import RemoteFunction


class FailureTuple:
    """What cannot be pickled: obj; path, the names by which it is reached; parent, what refers to it."""

    def __init__(self, obj, path, parent):
        self.obj = obj
        self.path = path
        self.parent = parent

    def __repr__(self):
        name = self.path[-1] if self.path else "unknown"
        return f"FailTuple({name} [path={' -> '.join(self.path)}, obj={self.obj}, parent={self.parent}])"


def inspect_serializability(base_obj, name=None, depth=3, print_file=None):
    """Looks for what keeps base_obj from being pickled: in the globals, the closure and the default arguments of
    functions, in attributes, classes and containers, `depth` levels down. Prints what it finds, to print_file (default:
    standard output). Returns (can it be pickled, the set of FailureTuples of the innermost culprits)."""
    if isinstance(base_obj, (RemoteFunction, ActorClass)):
        base_obj = base_obj._function if isinstance(base_obj, RemoteFunction) else base_obj._cls
    search = _Search(print_file)
    called = name or getattr(base_obj, "__qualname__", None) or f"a {type(base_obj).__qualname__}"
    search.print(0, f"Can {called} be pickled?")
    is_fine = search.look(base_obj, name, None, (), depth)
    if is_fine:
        search.print(0, "Yes.")
    else:
        search.print(0, "No, because of:")
        for failure in search.failures:
            search.print(1, f"{' -> '.join(failure.path) or called}: {_short(failure.obj)}")
        search.print(0, "Make it where it is used, inside the function or method, or leave it out of what is sent "
                        "(__getstate__, ray.util.register_serializer).")
    return is_fine, search.failures


class _Search:
    def __init__(self, print_file):
        self.failures = set()
        self._file = print_file
        self._seen = {}  # id: the value, which keeps the id its own

    def print(self, level, line):
        print("    " * level + line, file=self._file)

    def look(self, value, name, parent, path, depth):
        """Can it be pickled? If not, what is to blame is among the failures."""
        try:
            ser.pack(value)
            return True
        except Exception as error:
            why = error
        if id(value) in self._seen:
            return False
        self._seen[id(value)] = value
        path = path if name is None else (*path, str(name))
        self.print(len(path), f"{name or _short(value)}: {type(why).__name__}: {why}")
        found = False
        if depth > 0:
            for part_name, part in _parts(value):
                if not self.look(part, part_name, value, path, depth - 1):
                    found = True
        if not found:
            self.failures.add(FailureTuple(value, path, parent))
        return False


def _short(value):
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= 100 else text[:97] + "..."


# ---- what a value consists of: (name, part) ----


def _parts(value):
    if inspect.isfunction(value):
        return _parts_of_function(value)
    if inspect.ismethod(value):
        return [("__self__", value.__self__), ("__func__", value.__func__)]
    if inspect.isclass(value):
        return _parts_of_class(value)
    if isinstance(value, dict):
        return [(f"[{key!r}]", item) for key, item in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [(f"[{i}]", item) for i, item in enumerate(value)]
    if isinstance(value, functools.partial):
        return [("func", value.func), ("args", value.args), ("keywords", value.keywords)]
    return _parts_of_instance(value)


def _globals_used(code):
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals_used(constant)


def _parts_of_function(function):
    for name in dict.fromkeys(_globals_used(function.__code__)):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        try:
            yield name, cell.cell_contents
        except ValueError:
            pass  # nothing was assigned yet
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.default is not parameter.empty:
            yield name, parameter.default
    yield from vars(function).items()


def _parts_of_class(cls):
    for name, attribute in vars(cls).items():
        attribute = getattr(attribute, "__func__", attribute)  # of static and class methods
        if inspect.isfunction(attribute) or not name.startswith("__"):
            yield name, attribute
    for base in cls.__bases__:
        yield base.__name__, base


def _parts_of_instance(value):
    yield from getattr(value, "__dict__", {}).items()
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name) and name not in ("__dict__", "__weakref__"):
                yield name, getattr(value, name)
    yield type(value).__name__, type(value)
