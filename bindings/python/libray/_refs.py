"""ObjectRef, and the generators that hand them out."""

import threading
import time

from . import _errors, _lib
from . import _serialization as ser

_release = _lib.lib.ray_release
_retain = _lib.lib.ray_retain


class ObjectRef:
    """An object that exists or will: the result of a task, or what `ray.put` made. It counts: the object goes with its
    last ref.

    Can be awaited (`await ref`), and passed to tasks: as an argument of its own it becomes its value there, inside
    another value it stays a ref. `future()` is a concurrent.futures.Future of it.
    """

    __slots__ = ("_c", "_part", "_id", "_task", "__weakref__")  # _task, where there is one: the ref to cancel instead

    def __init__(self, pointer, part=-1):
        self._c = pointer
        self._part = part  # of several results, which travel as one tuple
        self._id = None

    def __del__(self, release=_release):
        pointer, self._c = self._c, None
        if pointer:
            release(pointer)

    def hex(self):
        """The object's id."""
        if self._id is None:
            text = _lib.text(_lib.lib.ray_ref_id(self._c)) or f"{self._c:032x}"  # its runtime is over
            self._id = text if self._part < 0 else f"{text}{self._part:04x}"
        return self._id

    def binary(self):
        return bytes.fromhex(self.hex())

    def is_nil(self):
        return False

    def task_id(self):
        from ._ids import TaskID
        return TaskID(self.hex())

    def __repr__(self):
        return f"ObjectRef({self.hex()})"

    def __hash__(self):
        return hash(self.hex())

    def __eq__(self, other):
        if not isinstance(other, ObjectRef):
            return NotImplemented
        return (self._c == other._c and self._part == other._part) or self.hex() == other.hex()

    def __reduce__(self):
        return _restore, (ser.holds(self), self._part)

    def __copy__(self):
        return ObjectRef(_retain(self._c), self._part)

    def __deepcopy__(self, memo):
        return self.__copy__()

    def future(self):
        """A concurrent.futures.Future with the value, or the error."""
        import concurrent.futures
        future = concurrent.futures.Future()
        when_done(self, lambda: _settle(future, self))
        return future

    def as_future(self, loop=None):
        """An asyncio future with the value, or the error."""
        import asyncio
        return asyncio.wrap_future(self.future(), loop=loop)

    def __await__(self):
        return self.as_future().__await__()

    def __class_getitem__(cls, item):
        return cls


def _restore(place, part):
    return ObjectRef(ser.held_at(place), part)


# ---- reading ----

_BYTES_SIZE = _lib.ctypes.sizeof(_lib.View)
_SLICE_MS = 100


def slices(deadline):
    """Timeouts in ms for waits in C, one after the other, until the deadline (None: for ever). In a main thread they
    are short: Python runs a signal's handler only between calls of C, and there Ctrl-C arrives in a driver, and
    that a task is cancelled in a worker."""
    short = threading.get_ident() == threading.main_thread().ident
    while True:
        left = _lib.FOREVER if deadline is None else max(0, int((deadline - time.monotonic()) * 1000 + 0.999))
        if not short or 0 <= left <= _SLICE_MS:
            yield left
            return
        yield _SLICE_MS


def _part_of(ref, value):
    return value if ref._part < 0 else value[ref._part]


def _await_value(ref, out, deadline):
    get = _lib.lib.ray_get_timeout
    for timeout_ms in slices(deadline):
        code = get(ref._c, timeout_ms, out)
        if code != _errors.TIMEOUT:
            break
        if is_done(ref):  # since then; or a timeout is what it has failed with
            return get(ref._c, 0, out)
    return code


def read(ref, deadline=None):
    """The value of a ref; raises its error, or GetTimeoutError."""
    view = _lib.View()
    out = _lib.Value(kind=_lib.KIND_BYTES, size=_BYTES_SIZE, data=_lib.ctypes.addressof(view))
    code = _await_value(ref, out, deadline)
    if code < 0:
        if code == _errors.TYPE:
            return _read_other(ref)
        raise _errors.from_last()
    owner = []

    def pin():
        owner.append(ser.Pin(view))
        return owner[0]

    try:
        return _part_of(ref, ser.unpack(view, pin))
    finally:
        if not owner:
            _lib.lib.ray_view_release(view)


def _read_other(ref):
    """What C functions return, and placement groups' ready: numbers, texts, nothing."""
    c = _lib.ctypes
    what = _lib.Value()
    _errors.check(_lib.lib.ray_get(ref._c, what))
    if what.kind == 0:
        return None
    if what.kind == _lib.KIND_ACTOR:
        from .actor import handle_of
        actor = c.c_void_p()
        _errors.check(_lib.lib.ray_get(ref._c, _lib.Value(kind=what.kind, size=8, data=c.addressof(actor))))
        return handle_of(actor.value)
    kind = _lib.PLAIN_KINDS.get(what.kind)
    if kind is None:
        raise _errors.from_last()
    room = kind()
    _errors.check(_lib.lib.ray_get(ref._c, _lib.Value(kind=what.kind, size=c.sizeof(room), data=c.addressof(room))))
    return _lib.text(room.value) if what.kind == _lib.KIND_STRING else room.value


def is_done(ref, timeout_ms=0):
    """Has it come to its end, one way or the other, in that time?"""
    return _lib.lib.ray_wait((_lib.c_void_p * 1)(ref._c), 1, 1, timeout_ms, None) == 1


# ---- being told ----


def _settle(future, ref):
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(read(ref))
    except BaseException as error:
        future.set_exception(error)


class _Watcher:
    """A thread that waits for all refs of which somebody is to be told. It is there from the first one on."""

    def __init__(self):
        self._set = _errors.own(_lib.lib.ray_waitset_new())
        self._calls, self._next, self._lock = {}, 0, threading.Lock()
        self._more = threading.Semaphore(0)
        threading.Thread(target=self._run, name="libray-watcher", daemon=True).start()

    def add(self, ref, call):
        with self._lock:
            self._next += 1
            tag = self._next
            self._calls[tag] = (ref, call)
        _errors.check(_lib.lib.ray_waitset_add(self._set, ref._c, tag))
        self._more.release()

    def _run(self):
        tag = _lib.c_void_p()
        while True:
            self._more.acquire()
            pointer = _lib.lib.ray_waitset_next(self._set, _lib.FOREVER, tag)
            if not pointer:
                _lib.lib.ray_waitset_free(self._set)
                return  # the runtime is over
            _release(pointer)
            with self._lock:
                _, call = self._calls.pop(tag.value)
            try:
                call()
            except Exception:
                pass  # a loop that is closed wants to hear nothing


_watcher = None
_watcher_lock = threading.Lock()


def when_done(ref, call):
    """call() once, on another thread, when ref is done."""
    global _watcher
    with _watcher_lock:
        if _watcher is None:
            _watcher = _Watcher()
    _watcher.add(ref, call)


def forget_watcher():
    """After the runtime has ended: the next one needs another."""
    global _watcher
    with _watcher_lock:
        if _watcher is not None:
            _watcher._more.release()  # finds nothing, and ends
        _watcher = None


# ---- generators ----


class ObjectRefGenerator:
    """The items of a streaming task, as refs, as they are made: iterate, also with `async for`. `completed()` is a ref
    that is done when the task has ended."""

    def __init__(self, pointer):
        self._stream = ObjectRef(pointer)
        self._ended = False
        self._pending = None  # the item that comes next, once it was asked for
        self._lock = threading.Lock()

    def _peek(self):
        with self._lock:
            if self._pending is None:
                self._pending = self._take()
            return self._pending

    def _claim(self, ref):
        """Takes the peeked item; False: another thread has."""
        with self._lock:
            if self._pending is not ref:
                return False
            self._pending = None
            return True

    def __iter__(self):
        return self

    def _take(self):
        return ObjectRef(_errors.own(_lib.lib.ray_next(self._stream._c)))

    def _judge(self, ref):
        code = _lib.lib.ray_get_timeout(ref._c, 0, None)
        if code == _errors.STREAM_END:
            self._ended = True
            return None
        return ref

    def __next__(self):
        return self._next_sync()

    def _next_sync(self, timeout_s=None):
        """The next item's ref; nil_ref() when it is not there in time."""
        if self._ended:
            raise StopIteration
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            ref = self._peek()
            if not any(is_done(ref, timeout_ms) for timeout_ms in slices(deadline)):
                return None
            if self._judge(ref) is None:
                raise StopIteration
            if self._claim(ref):
                return ref

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self._ended:
            raise StopAsyncIteration
        import asyncio
        loop = asyncio.get_running_loop()
        while True:
            ref, done = self._peek(), loop.create_future()
            when_done(ref, lambda: loop.call_soon_threadsafe(lambda: done.done() or done.set_result(None)))
            await done
            if self._judge(ref) is None:
                raise StopAsyncIteration
            if self._claim(ref):
                return ref

    def completed(self):
        return self._stream

    def is_finished(self):
        return self._ended

    def next_ready(self):
        """Would `next` return at once?"""
        if self._ended:
            return True
        return is_done(self._peek())

    def __repr__(self):
        return f"ObjectRefGenerator({self._stream.hex()})"

    def __reduce__(self):
        raise TypeError("an ObjectRefGenerator is its caller's alone and cannot be passed on; pass the refs it gives")


class DynamicObjectRefGenerator:
    """What `ray.get` gives for num_returns="dynamic": the refs of the items."""

    def __init__(self, refs):
        self._refs = list(refs)

    def __iter__(self):
        return iter(self._refs)

    def __len__(self):
        return len(self._refs)

    def __getitem__(self, index):
        return self._refs[index]
