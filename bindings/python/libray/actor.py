"""Actor classes and handles: what `@ray.remote` makes of a class."""

import functools
import inspect
import pickle

from . import _errors, _functions, _lib, _options
from . import _serialization as ser
from ._args import Arguments, checker, signature_of
from ._refs import ObjectRef, ObjectRefGenerator

__all__ = ["ActorClass", "ActorHandle", "ActorMethod", "exit_actor", "method"]

ASYNC_CONCURRENCY = 1000
_BUILT_IN = ("__ray_ready__", "__ray_call__", "__ray_terminate__")


def method(*args, **options):
    """Options of a method, in the class: `@ray.method(num_returns=2)`; concurrency_group, max_task_retries,
    retry_exceptions. Alone, `@ray.method`, it says nothing."""
    if len(args) == 1 and not options and callable(args[0]):
        return args[0]
    if args or not options:
        raise TypeError("@ray.method stands alone or takes options by name: @ray.method(num_returns=2)")
    _options.check(options, _options.METHOD, "a method")

    def decorate(function):
        function.__ray_method_options__ = options
        return function

    return decorate


class Meta:
    """What a handle knows of its class: its name for libray, and its methods' options. It travels with the handle."""

    __slots__ = ("name", "methods", "is_async", "groups", "__weakref__")

    def __init__(self, name, methods, is_async, groups):
        self.name = name
        self.methods = methods  # name: options
        self.is_async = is_async
        self.groups = groups

    def __reduce__(self):
        return Meta, (self.name, self.methods, self.is_async, self.groups)

    @property
    def is_streaming(self):
        return self.name.startswith(_functions.STREAM_CLASS + ":")


def _is_generator(function):
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def is_async_class(cls):
    """Has it methods that are coroutines?"""
    return any(inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f)
               for _, f in inspect.getmembers(cls, inspect.isroutine))


def _methods_of(cls):
    found = {}
    for name, function in inspect.getmembers(cls, inspect.isroutine):
        if name.startswith("__") and name.endswith("__") and name != "__call__":
            continue
        options = dict(getattr(function, "__ray_method_options__", {}))
        if _is_generator(function):
            options["generates"] = True
            if options.get("num_returns") is None:
                options["num_returns"] = "streaming"
        is_bound = not isinstance(inspect.getattr_static(cls, name), (staticmethod, classmethod))
        options["signature"] = signature_of(function, is_bound)
        found[name] = options
    for name in _BUILT_IN:
        found[name] = {}
    return found


def _signature_of_constructor(cls):
    if cls.__init__ is not object.__init__:
        return signature_of(cls.__init__, True)
    return "" if cls.__new__ is object.__new__ else None


class ActorClassInheritanceException(TypeError):
    """A class was derived from an actor class."""


class ActorClass:
    """A class whose instances, `C.remote(...)`, live in worker processes. `C.options(...)` is the same with other
    options."""

    def __init__(self, cls, options):
        _options.check(options, _options.ACTOR, "an actor class")
        self._cls = cls
        self._options = options
        self._prepared = None
        self._check = checker(_signature_of_constructor(cls), cls.__name__)
        self.__name__, self.__qualname__ = cls.__name__, cls.__qualname__
        self.__module__, self.__doc__ = cls.__module__, cls.__doc__

    def __call__(self, *args, **kwargs):
        raise TypeError(f"an actor class cannot be instantiated directly: instead of {self.__name__}() write "
                        f"{self.__name__}.remote()")

    def __mro_entries__(self, bases):
        raise ActorClassInheritanceException(f"{self.__name__} is an actor class and cannot be inherited from: "
                                             "decorate the derived class, and leave its base undecorated")

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._cls, name)

    def options(self, **options):
        """The same class with these options instead of its own: `C.options(name="n").remote()`."""
        return ActorClass(self._cls, {**self._options, **options})

    def bind(self, *args, **kwargs):
        raise NotImplementedError("libray has no DAGs: call .remote()")

    def remote(self, *args, **kwargs):
        """Creates an actor: a handle, at once. What goes wrong, in the constructor too, is the error of its calls."""
        from . import _runtime
        epoch = _runtime.ensure()
        if self._check:
            self._check(*args, **kwargs)
        options = self._options
        name = _full_name(options)
        if options.get("lifetime") == "detached" and not name:
            raise ValueError("a detached actor needs a name: without one nobody could find it again")
        if options.get("get_if_exists") and not name:
            raise ValueError("get_if_exists=True needs a name")
        if name and options.get("get_if_exists"):
            found = _find(name)
            if found:
                return found
        elif name and _find(name):
            raise _errors.ex.ActorAlreadyExistsError(
                f"the name {options['name']!r} is taken (in namespace {_namespace_of(name)!r}): ray.get_actor finds "
                "that actor, and get_if_exists=True takes it instead of making another")
        prepared = self._prepared
        if prepared is None or prepared.epoch != epoch:
            prepared = self._prepared = _PreparedClass(self, epoch)
        arguments = Arguments(args, kwargs, {"name": options.get("name") or "", "meta": prepared.meta,
                                             "job": _runtime.job(), **_options.group_of(options),
                                             **_functions.carried(prepared.meta.name)})
        pointer = _lib.lib.ray_actor_create(prepared.record, arguments.values, arguments.count, prepared.options.c)
        arguments.done()
        handle = ActorHandle(pointer, prepared.meta)
        if name:
            _remember(name, handle._meta)
        return handle

    def __reduce__(self):
        return ActorClass, (self._cls, self._options)

    def __repr__(self):
        return f"ActorClass({self.__qualname__})"


class _PreparedClass:
    __slots__ = ("epoch", "record", "meta", "options")

    def __init__(self, actor_class, epoch):
        from . import _runtime_env
        cls, options = actor_class._cls, actor_class._options
        methods = _methods_of(cls)
        is_async = is_async_class(cls)
        streams = any(m.get("num_returns") == "streaming" for m in methods.values())
        groups = options.get("concurrency_groups")
        if isinstance(groups, list):
            groups = {group["name"]: group["max_concurrency"] for group in groups}
        self.epoch = None if options.get("fallback_strategy") else epoch  # nodes may have come or gone by the next
        name = _functions.export(cls, _functions.STREAM_CLASS if streams else _functions.CLASS)
        self.record = _functions.record_of(name)
        self.meta = Meta(name, methods, is_async, tuple(groups or ()))
        concurrency = options.get("max_concurrency") or (ASYNC_CONCURRENCY if is_async else 1)
        if is_async and groups:
            concurrency = max(1, min(concurrency, ASYNC_CONCURRENCY - sum(groups.values())))
        env = _runtime_env.prepare(options.get("runtime_env"))
        self.options = _options.for_actor({**options, "concurrency_groups": groups}, _full_name(options), concurrency,
                                          env)


# ---- names ----


def _full_name(options):
    name, namespace = options.get("name"), options.get("namespace")
    if name == "" or namespace == "":
        raise ValueError(f"{'name' if name == '' else 'namespace'} is empty: leave it out, or give None")
    if not name:
        return None
    from . import _runtime
    return f"{namespace or _runtime.namespace()}/{name}"  # always with it: ray_state shows names as they were given


def _namespace_of(name):
    from . import _runtime
    return name.rpartition("/")[0] or _runtime.namespace()


def _meta_key(name):
    return f"py-actor:{_namespace_of(name)}/{name.rpartition('/')[2]}"  # an actor's id differs between processes


def _remember(name, meta):
    """So that others who find the actor by its name know what methods it has."""
    data = ser.dumps_plain(meta)
    _errors.check(_lib.lib.ray_kv_put(_meta_key(name).encode(), data, len(data), 0))


def _find(name):
    """The handle of that name, or None."""
    pointer = _lib.lib.ray_actor_get(name.encode())
    if not pointer:
        if _errors.last_code() != _errors.NOT_FOUND:
            raise _errors.from_last()
        return None
    meta = _functions.table_value(_meta_key(name))
    return handle_of(pointer, pickle.loads(meta) if meta is not None else None)


def get_actor(name, namespace=None):
    """The named actor. ValueError when there is none."""
    from . import _runtime
    if not name:
        raise ValueError("ray.get_actor needs a name")
    _runtime.ensure()
    found = _find(name if "/" in name else f"{namespace or _runtime.namespace()}/{name}")
    if found is None:
        raise ValueError(f"there is no actor named {name!r} in the namespace "
                         f"{namespace or _runtime.namespace()!r}: it was not created, or has ended; names hold within a"
                         " namespace (ray.init(namespace=...))")
    return found


# ---- handles ----


class ActorMethod:
    """A method of an actor: `handle.method.remote(...)`."""

    __slots__ = ("_handle", "_name", "_options", "_prepared")

    def __init__(self, handle, name, options):
        self._handle = handle
        self._name = name
        self._options = options
        self._prepared = None

    def __call__(self, *args, **kwargs):
        raise TypeError(f"a method of an actor cannot be called directly: instead of .{self._name}() write "
                        f".{self._name}.remote()")

    def options(self, **options):
        """The same method with these options instead of its own: num_returns, concurrency_group, max_task_retries."""
        _options.check(options, _options.METHOD, "a method")
        return ActorMethod(self._handle, self._name, {**self._options, **options})

    def bind(self, *args, **kwargs):
        raise NotImplementedError("libray has no DAGs: call .remote()")

    def remote(self, *args, **kwargs):
        """Calls it, as a task: what RemoteFunction.remote returns."""
        handle = self._handle
        record, c_options, wrap, extra, check = self._prepared or self._prepare()
        if check:
            check(*args, **kwargs)
        arguments = Arguments(args, kwargs, extra)
        pointer = _lib.lib.ray_actor_submit(handle._c, record, arguments.values, arguments.count, c_options.c)
        arguments.done()
        return wrap(pointer)

    def __reduce__(self):
        return ActorMethod, (self._handle, self._name, self._options)

    def _prepare(self):
        handle, options = self._handle, self._options
        num_returns = options.get("num_returns")
        num_returns = 1 if num_returns is None else num_returns
        group = options.get("concurrency_group")
        if group and group not in handle._meta.groups:
            raise ValueError(f"the actor has no concurrency group {group!r}; it has "
                             f"{', '.join(handle._meta.groups) or 'none'}")
        extra = {}
        if num_returns not in (1, "streaming"):
            extra["returns"] = num_returns
        if isinstance(options.get("retry_exceptions"), (list, tuple)):
            extra["again"] = tuple(options["retry_exceptions"])
        if options.get("name"):
            extra["name"] = options["name"]
        streams = handle._meta.is_streaming
        if num_returns == "streaming" and not options.get("generates"):
            raise ValueError(f"{self._name} is no generator, so it cannot be called with num_returns='streaming'")
        if streams:
            wrap = functools.partial(_wrap_streamed, num_returns=num_returns)
        elif num_returns == 1:
            wrap = ObjectRef
        else:
            wrap = functools.partial(_wrap_some, num_returns=num_returns)
        record = _functions.record_of(f"{handle._meta.name}.{self._name}")
        self._prepared = (record, _options.for_call(options), wrap, extra or None,
                          checker(options.get("signature"), self._name))
        return self._prepared


def _wrap_some(pointer, num_returns):
    from .remote_function import wrap_results
    return wrap_results(pointer, num_returns)


def _wrap_streamed(pointer, num_returns):
    """Every method of a class with generators is a stream; of one that is none it has one item."""
    if num_returns == "streaming":
        return ObjectRefGenerator(pointer)
    found = _wrap_some(_lib.lib.ray_next(pointer), num_returns)
    stream = ObjectRef(pointer)
    for ref in found if isinstance(found, list) else [found] if found else []:
        ref._task = stream
    return found


class ActorHandle:
    """A handle to an actor: its methods are called with `.remote()`. An actor without a name, or that is not detached,
    ends with its last handle, wherever that is."""

    def __init__(self, pointer, meta):
        self._c = pointer
        self._meta = meta
        self._as_ref = None

    def __del__(self, release=_lib.lib.ray_actor_release):
        pointer = self.__dict__.get("_c")
        if pointer:
            release(pointer)

    def __getattr__(self, name):
        options = self._meta.methods.get(name)
        if options is None:
            raise AttributeError(f"the actor class {_functions.split(self._meta.name)[2]} has no method {name!r}")
        made = ActorMethod(self, name, options)
        # Kept by the handle, it must not keep the handle: so each access makes one, but prepares it once.
        prepared = self.__dict__.setdefault("_prepared_methods", {}).get(name)
        if prepared is None and not name.startswith("__ray_call"):
            prepared = self._prepared_methods[name] = made._prepare()
        made._prepared = prepared
        return made

    def __dir__(self):
        return [*object.__dir__(self), *self._meta.methods]

    def _id(self):
        return _lib.text(_lib.lib.ray_actor_id(self._c)) or f"{self._c:032x}"  # its runtime is over

    @property
    def _actor_id(self):
        from ._ids import ActorID
        return ActorID(self._id())

    _ray_actor_id = _actor_id

    def __repr__(self):
        return f"Actor({_functions.split(self._meta.name)[2]}, {self._id()})"

    def __hash__(self):
        return hash(self._id())

    def __eq__(self, other):
        return self._id() == other._id() if isinstance(other, ActorHandle) else NotImplemented

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        ref = self._as_ref
        if ref is None:
            ref = self._as_ref = _ref_to(self._c)
        return _restore, (ser.holds(ref), self._meta)


_HANDLE_OPTIONS = _lib.TaskOptions(size=_lib.ctypes.sizeof(_lib.TaskOptions), resources=b"CPU=0",
                                   isolation=_lib.ISOLATION_THREAD)


def _ref_to(pointer):
    """A ref whose value is that actor: what an object can hold. Made by a task that gives back what it is given."""
    room = _lib.c_void_p(pointer)
    value = _lib.Value(kind=_lib.KIND_ACTOR, size=8, data=_lib.ctypes.addressof(room))
    record = _functions.record_of(_functions.HANDLE)
    return ObjectRef(_lib.lib.ray_submit(record, value, 1, _HANDLE_OPTIONS))


def _restore(place, meta):
    ref = ObjectRef(ser.held_at(place))
    room = _lib.c_void_p()
    value = _lib.Value(kind=_lib.KIND_ACTOR, size=8, data=_lib.ctypes.addressof(room))
    _errors.check(_lib.lib.ray_get(ref._c, value))
    handle = handle_of(room.value, meta)
    handle._as_ref = ref
    return handle


def handle_of(pointer, meta=None):
    """A handle that takes over the count of a C actor. Without meta only methods that every actor has are known."""
    return ActorHandle(pointer, meta or Meta("", {}, False, ()))


# ---- inside an actor ----


class ActorExit(BaseException):
    """Goes through user code to its end: the actor is to end with this call."""


def exit_actor():
    """Inside a method: the actor ends for good, and this call with it, whose result is None."""
    from . import _run
    _run.exit_actor()
    raise ActorExit()
