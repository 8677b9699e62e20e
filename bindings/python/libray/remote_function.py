"""Remote functions: what `@ray.remote` makes of a function."""

import functools
import inspect

from . import _errors, _functions, _lib, _options
from ._args import Arguments, checker, signature_of
from ._refs import ObjectRef, ObjectRefGenerator


class RemoteFunction:
    """A function whose calls, `f.remote(...)`, are tasks. `f.options(...)` is the same with other options."""

    def __init__(self, function, options):
        if inspect.iscoroutinefunction(function):
            raise ValueError("'async def' functions cannot be remote tasks: only methods of actors can be coroutines. "
                             "Wrap it: def f(): return asyncio.run(g())")
        _options.check(options, _options.TASK, "a remote function")
        if options.get("num_returns") in ("streaming", "dynamic") and not inspect.isgeneratorfunction(function):
            raise ValueError(f"num_returns={options['num_returns']!r} is for generators, and the function has no yield")
        self._function = function
        self._options = options
        self._is_generator = inspect.isgeneratorfunction(function)
        self._prepared = None  # for this runtime: what a call needs
        functools.update_wrapper(self, function)
        self.__name__ = getattr(function, "__name__", type(function).__name__)  # a partial has none

    def __call__(self, *args, **kwargs):
        raise TypeError(f"a remote function cannot be called directly: instead of {self.__name__}() write "
                        f"{self.__name__}.remote()")

    def options(self, **options):
        """The same function with these options instead of its own, for one call: `f.options(num_cpus=2).remote(x)`."""
        return RemoteFunction(self._function, {**self._options, **options})

    def bind(self, *args, **kwargs):
        raise NotImplementedError("libray has no DAGs: call .remote() with the refs of what it depends on")

    def remote(self, *args, **kwargs):
        """Submits a task, at once: an ObjectRef to its result, a list of several (num_returns), an ObjectRefGenerator,
        or None (num_returns=0). Refs among the arguments are waited for, and become their values."""
        from . import _runtime
        prepared = self._prepared
        if prepared is None or prepared.epoch != _runtime.epoch:
            prepared = self._prepare(_runtime.ensure())
        if prepared.check:
            prepared.check(*args, **kwargs)
        arguments = Arguments(args, kwargs, prepared.extra)
        pointer = _lib.lib.ray_submit(prepared.record, arguments.values, arguments.count, prepared.c_options)
        arguments.done()
        return prepared.wrap(pointer)

    def _prepare(self, epoch):
        self._prepared = _Prepared(self, epoch)
        return self._prepared

    def __reduce__(self):
        return _restore, (self._function, self._options)


def _restore(function, options):
    return RemoteFunction(function, options)


def wrap_results(pointer, num_returns):
    """What a call returns for the C ref of its result."""
    if num_returns == 1 or num_returns == "dynamic":
        return ObjectRef(pointer)
    if num_returns == "streaming":
        return ObjectRefGenerator(pointer)
    refs = [ObjectRef(_lib.lib.ray_retain(pointer), i) for i in range(num_returns)]
    _lib.lib.ray_release(pointer)
    return refs if refs else None


class _Prepared:
    """What the calls of a function with its options have in common."""

    __slots__ = ("epoch", "record", "options", "c_options", "num_returns", "extra", "wrap", "check")

    def __init__(self, remote, epoch):
        from . import _runtime, _runtime_env
        options = remote._options
        num_returns = options.get("num_returns")
        if num_returns is None:
            num_returns = "streaming" if remote._is_generator else 1
        self.epoch = None if options.get("fallback_strategy") else epoch  # nodes may have come or gone by the next call
        name = _functions.export(remote._function,
                                 _functions.STREAM if num_returns == "streaming" else _functions.TASK)
        self.record = _functions.record_of(name)
        env = _runtime_env.prepare(options.get("runtime_env"))
        self.options = _options.for_task(options, env)
        self.c_options = self.options.c
        self.num_returns = num_returns
        self.check = checker(signature_of(remote._function), remote.__name__)
        self.wrap = ObjectRef if num_returns == 1 else functools.partial(wrap_results, num_returns=num_returns)
        self.extra = _functions.carried(name)
        if num_returns != 1 and num_returns != "streaming":
            self.extra["returns"] = num_returns
        if isinstance(options.get("retry_exceptions"), (list, tuple)):
            self.extra["again"] = tuple(options["retry_exceptions"])
        if options.get("name"):
            self.extra["name"] = options["name"]
        self.extra.update(_options.group_of(options))
        if _runtime.job():
            self.extra["job"] = _runtime.job()
        self.extra = self.extra or None
        max_calls = options.get("max_calls")
        if max_calls is None and options.get("num_gpus"):
            max_calls = 1
        if max_calls:
            settings = _lib.FunctionOptions(size=_lib.ctypes.sizeof(_lib.FunctionOptions),
                                            isolation=_lib.ISOLATION_PROCESS, max_calls=max_calls)
            _errors.check(_lib.lib.ray_function_set(self.record, settings))
