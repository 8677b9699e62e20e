"""In a worker process: running what libray hands over.

libray calls `call` on the main thread (which is in ray_init), and for actors with several calls at once on threads of
its own. Tasks and methods end through a handle (ray_complete_later), so that there is one way for those that return,
those that fail and coroutines, and so that another thread can see that a task is cancelled; streams end by returning.
"""

import collections
import contextvars
import ctypes
import inspect
import os
import signal
import sys
import threading
import time

from . import _errors, _functions, _lib, _runtime_env
from . import _serialization as ser
from ._args import arguments_of
from ._refs import DynamicObjectRefGenerator
from .actor import ActorExit

lib, quick = _lib.lib, _lib.quick
in_worker = False
_BUFFER_SIZE = 8
_THREADS_BESIDE_A_LOOP = 2  # they only hand calls over, and wait for the interpreter's lock


# ---- what runs ----


class Job:
    """One run: for `ray.get_runtime_context()`, and to be cancelled."""

    __slots__ = ("later", "name", "title", "method", "extra", "exits", "context", "task", "loop", "thread",
                 "streams", "reached")

    def __init__(self, name, title):
        self.name = name
        self.title = title
        self.later = self.extra = self.context = self.task = self.loop = self.thread = None
        self.exits = self.streams = self.reached = False


_job = contextvars.ContextVar("libray_job", default=None)
_thread = threading.local()


def current():
    """The Job of the calling code; None outside of tasks."""
    return _job.get() or getattr(_thread, "job", None)


class Resident:
    """The actor that lives in this process."""

    def __init__(self):
        self.instance = None
        self.cls = None
        self.loop = None
        self.actor_id = None
        self.name = None  # that it was created with
        self.meta = None  # of its handles
        self.group = None  # its placement group
        self.pointer = None  # its C handle
        self.context = None  # of its calls, for code outside of libray's threads

    def describe(self):
        try:
            text = repr(self.instance)
        except Exception:
            return None
        return None if text.startswith(f"<{type(self.instance).__module__}.") and " object at " in text else text


resident = Resident()


# ---- results ----


def _checked_returns(value, returns):
    if returns == "dynamic":
        from . import _runtime
        return DynamicObjectRefGenerator([_runtime.put(item) for item in value])
    if returns == 0:
        return None
    try:
        values = tuple(value)
    except TypeError:
        raise TypeError(f"num_returns={returns}, but the function returned a {type(value).__name__}") from None
    if len(values) != returns:
        raise ValueError(f"num_returns={returns}, but the function returned {len(values)} values")
    return values


def _buffer_of(value, job):
    if job.extra and "returns" in job.extra:
        value = _checked_returns(value, job.extra["returns"])
    try:
        packed = ser.pack(value)
    except TypeError as error:
        raise ser.refusal(f"the result of {job.name}", value, error) from error
    return packed.to_buffer()


def _value_of(buffer):
    value = _lib.Value(kind=_lib.KIND_BUFFER, size=_BUFFER_SIZE, data=ctypes.addressof(buffer))
    value._room = buffer  # a POINTER: its own bytes are what data points at
    return value


def _complete(job, value):
    """The end of a task that has returned."""
    try:
        buffer = _buffer_of(value, job)
    except BaseException as error:
        _complete_failed(job, error)
        return
    later, job.later = job.later, None
    quick.ray_complete(later, _value_of(buffer))  # to give up the lock for that would cost a switch of threads a call


def _packed_error(job, error):
    if isinstance(error, ActorExit):
        return _errors.pack_plain(_errors.ex.ActorDiedError("the actor has called exit_actor in this call",
                                                            resident.actor_id))
    if isinstance(error, KeyboardInterrupt):  # of the program itself: what _Watch caused, libray knows
        error = _errors.ex.TaskCancelledError(error_message="interrupted").with_traceback(error.__traceback__)
    what = resident.describe() if resident.instance is not None else None
    try:
        return _errors.pack(error, job.name, job.title, what, resident.actor_id)
    except Exception as why:  # such as a __str__ that raises: the task is to end all the same
        words = f"{type(error).__qualname__}, which cannot be described: {type(why).__qualname__}"
        return _errors.TEXT, words, words.encode(errors="backslashreplace")


def _may_again(job, error):
    """What the caller has said of exceptions of this class; None: nothing."""
    if isinstance(error, ActorExit):
        return False
    classes = job.extra.get("again") if job.extra else None
    return None if classes is None else isinstance(error, classes)


def _complete_failed(job, error):
    if isinstance(error, SystemExit):
        _leave(error)
    code, message, payload = _packed_error(job, error)
    later, job.later = job.later, None
    again = _may_again(job, error)
    if again is not None:
        lib.ray_later_fail_again(later, again)
    lib.ray_complete_failed(later, code, message.encode(), payload, len(payload))


def _fail(job, error):
    """Of what has no handle."""
    if isinstance(error, SystemExit):
        _leave(error)
    code, message, payload = _packed_error(job, error)
    lib.ray_fail_with(code, message.encode(), payload, len(payload))
    again = _may_again(job, error)
    if again is not None:
        lib.ray_fail_again(again)


def _leave(error):
    """sys.exit() ends the process, as it does in Ray."""
    for file in (sys.stdout, sys.stderr):
        try:
            file.flush()
        except Exception:
            pass
    code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    if not isinstance(error.code, (int, type(None))):
        print(error.code, file=sys.stderr, flush=True)
    os._exit(code)


# ---- cancelling ----


class _Watch:
    """A thread that looks, while tasks run, whether they are cancelled: every 50 ms, so not at all at short ones. What
    has no handle, a stream, it cannot ask: that looks itself, when it is woken by the signal. A signal may come just
    before a call that sleeps, and is noticed after it: so it is sent until the task has heard, and not again. A task
    that waits for another one on the same thread hears when that has ended."""

    PERIOD_S = 0.05

    def __init__(self):
        self.jobs = set()
        self.idle = False
        self.wake = threading.Event()
        threading.Thread(target=self._run, name="libray-cancel", daemon=True).start()

    def add(self, job):
        self.jobs.add(job)
        if self.idle:
            self.wake.set()

    def remove(self, job):
        self.jobs.discard(job)

    def _run(self):
        quiet = 0
        while True:
            time.sleep(self.PERIOD_S)
            jobs = list(self.jobs)
            quiet = 0 if jobs else quiet + 1
            if quiet > 20:
                self.wake.clear()
                self.idle = True
                if not self.jobs:
                    self.wake.wait()
                self.idle = False
            for job in jobs:
                # With the interpreter's lock held from the look at job.later to the answer, it cannot end between.
                if job.streams or (job.later and quick.ray_later_cancelled(job.later)):
                    self._cancel(job)
                elif not job.later:  # it has ended, and a signal came in the middle of removing it
                    self.jobs.discard(job)

    def _cancel(self, job):
        if job.task is not None:
            self.jobs.discard(job)
            job.loop.call_soon_threadsafe(job.task.cancel)
        elif job.reached or job.thread != threading.main_thread().ident:
            self.jobs.discard(job)
        elif signal.getsignal(signal.SIGINT) is _on_sigint:
            signal.pthread_kill(job.thread, signal.SIGINT)


_watch = None


def _on_sigint(signum, frame):
    """Comes from _Watch, perhaps late: for a task that has ended meanwhile, or once more."""
    job = getattr(_thread, "job", None)
    if job is None or job.reached:
        return
    if quick.ray_cancelled() if job.streams else job.later and quick.ray_later_cancelled(job.later):
        job.reached = True
        raise KeyboardInterrupt


def _begin_watch(job):
    global _watch
    if _watch is None:
        _watch = _Watch()
    _watch.add(job)


# ---- tasks ----


def _prepare(frame, job):
    args, kwargs, extra = arguments_of(frame)
    job.extra = extra
    if resident.cls is None:
        from . import _runtime
        _runtime.take_job(extra)
    if extra and "code" in extra:
        _functions.receive(*extra["code"])
    return args, kwargs


def _resume(outer):
    """After a task: the one that waits below it on this thread goes on, if there is one."""
    _thread.job = outer
    if outer is not None and resident.cls is None:
        from . import _runtime
        _runtime.take_job(outer.extra)


def _run_task(frame, digest, job):
    job.later = quick.ray_complete_later()
    if not job.later:
        raise _errors.from_last()
    job.thread = threading.get_ident()
    outer, _thread.job = getattr(_thread, "job", None), job
    _begin_watch(job)
    try:
        _functions.load_early(digest)
        args, kwargs = _prepare(frame, job)
        value = _functions.load(digest)(*args, **kwargs)
    except BaseException as error:
        _watch.remove(job)
        _complete_failed(job, error)
    else:
        _watch.remove(job)
        _complete(job, value)
    finally:
        _resume(outer)


def _yield(job, item):
    """False: nobody reads on."""
    try:
        buffer = ser.pack(item).to_buffer()
    except TypeError as error:
        raise ser.refusal(f"an item of {job.name}", item, error) from error
    code = lib.ray_yield(_value_of(buffer))
    if code < 0 and code != _errors.CANCELLED:
        raise _errors.from_last()
    return code == 0


def _yield_all(job, items):
    if not hasattr(items, "__next__"):
        raise TypeError(f"num_returns='streaming', but {job.name} is no generator: it returned a "
                        f"{type(items).__name__}")
    for item in items:
        if not _yield(job, item):
            items.close() if hasattr(items, "close") else None
            return


def _run_stream(frame, digest, job):
    outer, _thread.job = getattr(_thread, "job", None), job
    job.thread, job.streams = threading.get_ident(), True
    _begin_watch(job)
    try:
        _functions.load_early(digest)
        args, kwargs = _prepare(frame, job)
        _yield_all(job, _functions.load(digest)(*args, **kwargs))
    except BaseException as error:
        _fail(job, error)
    finally:
        _thread.job = outer  # first: a signal that comes here is not for a task that has ended
        _watch.remove(job)
        _resume(outer)


# ---- actors ----


def _construct(frame, digest, job):
    outer, _thread.job = getattr(_thread, "job", None), job
    try:
        _functions.load_early(digest)
        args, kwargs = _prepare(frame, job)
        resident.cls = _functions.load(digest)
        context = quick.ray_context_get().contents
        resident.actor_id = _lib.text(context.actor_id)
        from .actor import is_async_class
        resident.name, resident.meta, resident.group = (job.extra.get(key) for key in ("name", "meta", "group"))
        resident.pointer = lib.ray_actor_self()
        if is_async_class(resident.cls):
            resident.loop = _start_loop()
            if not resident.meta.is_streaming:  # whose calls keep their threads
                _errors.check(lib.ray_actor_threads(_THREADS_BESIDE_A_LOOP))
        resident.instance = resident.cls(*args, **kwargs)
        ctypes.c_uint64.from_address(frame.self).value = 1
        _give_nothing(frame)
    except BaseException as error:
        _fail(job, error)
    finally:
        _thread.job = outer


def _give_nothing(frame):
    """Constructors have the methods' type, which wants a buffer; nobody looks at it."""
    if frame.result.kind == _lib.KIND_BUFFER and frame.result.data:
        buffer = _errors.own(lib.ray_create(0))
        ctypes.c_void_p.from_address(frame.result.data).value = ctypes.cast(buffer, ctypes.c_void_p).value


class _Inbox:
    """Coroutines on their way to the loop's thread, which is woken once for all that come until it looks."""

    def __init__(self):
        self.waiting = collections.deque()
        self.is_woken = False

    def add(self, job, coroutine):
        self.waiting.append((job, coroutine))
        if not self.is_woken:
            self.is_woken = True
            resident.loop.call_soon_threadsafe(self.empty)

    def empty(self):
        self.is_woken = False  # before the look: what comes after it wakes again
        while self.waiting:
            job, coroutine = self.waiting.popleft()
            job.task = resident.loop.create_task(coroutine)


_inbox = _Inbox()


def _start_loop():
    global asyncio
    import asyncio  # here, as it takes longer than the rest of a worker's start
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="libray-asyncio", daemon=True).start()
    return loop


def _shut_down():
    """An orderly end: what a class may want to do then."""
    call = getattr(resident.instance, "__ray_shutdown__", None)
    if call:
        call()


def _built_in(name):
    if name == "__ray_ready__":
        return lambda: True
    if name == "__ray_call__":
        return lambda function, *args, **kwargs: function(resident.instance, *args, **kwargs)
    if name == "__ray_terminate__":
        return exit_now
    return None


def exit_now():
    exit_actor()
    raise ActorExit()


def exit_actor():
    job = current()
    if resident.instance is None or job is None:
        raise TypeError("ray.actor.exit_actor() is for methods of actors")
    job.exits = True


def _method(name):
    return _built_in(name) or getattr(resident.instance, name)


async def _await(job, function, args, kwargs):
    _job.set(job)
    _begin_watch(job)
    try:
        value = function(*args, **kwargs)
        if inspect.iscoroutine(value) or inspect.isawaitable(value):
            value = await value
    except BaseException as error:
        _watch.remove(job)
        _complete_failed(job, error)
    else:
        _watch.remove(job)
        _complete(job, value)
    if job.exits:  # the call has returned to libray long ago, which could have ended the actor by it
        lib.ray_kill(resident.pointer, False)


def _call_async(frame, name, job):
    job.later = quick.ray_complete_later()
    if not job.later:
        raise _errors.from_last()
    if resident.context is None:
        resident.context = {**snapshot(), "task_id": None}
    job.loop = resident.loop
    job.context = resident.context
    try:
        args, kwargs = _prepare(frame, job)
        function = _method(name)
    except BaseException as error:
        _complete_failed(job, error)
        return
    _inbox.add(job, _await(job, function, args, kwargs))


def _call_sync(frame, name, job):
    outer, _thread.job = getattr(_thread, "job", None), job
    job.later = quick.ray_complete_later()
    try:
        args, kwargs = _prepare(frame, job)
        value = _method(name)(*args, **kwargs)
    except BaseException as error:
        _complete_failed(job, error)
    else:
        _complete(job, value)
    finally:
        _thread.job = outer
        if job.exits:
            lib.ray_actor_exit()


def _on_loop(coroutine):
    """Its result, from the loop's thread; cancelled with the call that waits for it here."""
    import concurrent.futures
    future = asyncio.run_coroutine_threadsafe(coroutine, resident.loop)
    while True:
        try:
            return future.result(_Watch.PERIOD_S)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise  # its own
            if quick.ray_cancelled():
                future.cancel()


def _items_of(agen):
    """Of an asynchronous generator."""
    while True:
        try:
            yield _on_loop(agen.__anext__())
        except StopAsyncIteration:
            return


def _call_stream(frame, name, job):
    outer, _thread.job = getattr(_thread, "job", None), job
    try:
        args, kwargs = _prepare(frame, job)
        value = _method(name)(*args, **kwargs)
        if inspect.isasyncgen(value):
            _yield_all(job, _items_of(value))
        elif inspect.isgenerator(value) and "returns" not in (job.extra or ()):
            _yield_all(job, value)
        else:
            if inspect.isawaitable(value):
                value = _on_loop(_only(job, value))
            if job.extra and "returns" in job.extra:
                value = _checked_returns(value, job.extra["returns"])
            _yield(job, value)
    except BaseException as error:
        _fail(job, error)
    finally:
        _thread.job = outer
        if job.exits:
            lib.ray_actor_exit()


async def _only(job, awaitable):
    _job.set(job)
    return await awaitable


# ---- where libray calls ----


def snapshot():
    """What ray_context_get says, for code that goes on elsewhere."""
    # On a thread that is new to it, it takes a lock that ray_init holds while it may tell of events.
    context = (quick if in_worker else lib).ray_context_get().contents
    return {name: (_lib.text(value) if isinstance(value := getattr(context, name), (bytes, type(None))) else value)
            for name, _ in _lib.Context._fields_ if name != "size"}


def _keep_thread_state():
    """A thread of libray's has its interpreter state made for each call and thrown away after it; with one more count
    it stays as long as the thread."""
    if not getattr(_thread, "kept", False):
        _thread.kept = True
        if threading.current_thread() is not threading.main_thread():
            ctypes.pythonapi.PyGILState_Ensure()


_routes = {}


def _route(name):
    """(function that runs it, its second argument, the name for people, the title) of a name for libray."""
    _runtime_env.adopt()
    kind, digest, readable = _functions.split(name.decode())
    if kind == _functions.TASK:
        return _run_task, digest, readable, f"ray::{readable}()"
    if kind == _functions.STREAM:
        return _run_stream, digest, readable, f"ray::{readable}()"
    if resident.cls is None:
        return _construct, digest, f"{readable}.__init__", f"ray::{readable}.__init__()"
    method = readable.rpartition(".")[2]
    if kind == _functions.STREAM_CLASS:
        return _call_stream, method, readable, f"ray::{readable}()"
    return (_call_async if resident.loop else _call_sync), method, readable, f"ray::{readable}()"


def call(pointer):
    """The trampoline of all of Python's records."""
    frame = pointer.contents
    name = frame.name
    job = None
    try:
        _keep_thread_state()
        route = _routes.get(name)
        if route is None:
            route = _route(name)
            if route[0] is not _construct:
                _routes[name] = route
        run, what, readable, title = route
        job = Job(readable, title)
        if frame.num_args == 0 and what == "fini":
            _shut_down()
            _give_nothing(frame)
        else:
            run(frame, what, job)
    except BaseException as error:
        if job and job.later:
            _complete_failed(job, error)
        else:
            _fail(job or Job("a task", "a task"), error)


def call_handle(pointer):
    """The record that gives back the actor it is given (actor.py)."""
    frame = pointer.contents
    given = ctypes.c_void_p.from_address(frame.args[0].data).value
    ctypes.c_void_p.from_address(frame.result.data).value = lib.ray_actor_retain(given)


def refuse(pointer):
    """In a process that is no worker."""
    words = b"functions of Python run in worker processes of Python only"
    lib.ray_fail_with(_errors.TEXT, words, words, len(words))
