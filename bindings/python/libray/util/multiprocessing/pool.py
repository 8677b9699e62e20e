"""A pool of actors with the interface of multiprocessing.Pool."""

import collections
import itertools
import logging
import os
import threading
import time
import weakref
from multiprocessing import TimeoutError
from multiprocessing.pool import ExceptionWithTraceback

import libray as ray

__all__ = ["AsyncResult", "IMapIterator", "Pool"]


class _PoolActor:
    def __init__(self, initializer, initargs):
        if initializer is not None:
            initializer(*initargs)

    def run(self, func, calls):
        """A (did it return?, value or exception) for each (args, kwargs) of calls."""
        return [_run(func, args, kwargs) for args, kwargs in calls]


def _run(func, args, kwargs):
    try:
        return True, func(*args, **kwargs)
    except Exception as error:
        return False, ExceptionWithTraceback(error, error.__traceback__)


def _await_all(refs, timeout=None):
    """Have all ended, in that time?"""
    return not refs or not ray.wait(refs, num_returns=len(refs), timeout=timeout)[1]


def _outcomes_of(ref):
    """What _PoolActor.run has returned, or one failure in its place."""
    try:
        return ray.get(ref)
    except Exception as error:
        return [(False, error)]


class AsyncResult:
    """What the `_async` methods of a Pool return."""

    def __init__(self, refs, is_single, callback=None, error_callback=None):
        self._refs = refs
        self._is_single = is_single
        self._outcome = None
        self._teller = None
        if callback is not None or error_callback is not None:
            self._teller = threading.Thread(target=self._tell, args=(callback, error_callback), daemon=True)
            self._teller.start()

    def _tell(self, callback, error_callback):
        value, error = self._read()
        call, with_what = (callback, value) if error is None else (error_callback, error)
        if call is not None:
            call(with_what)

    def _read(self):
        """(value, None) or (None, the first error in order), when all has ended."""
        if self._outcome is None:
            _await_all(self._refs)
            outcomes = [outcome for ref in self._refs for outcome in _outcomes_of(ref)]
            error = next((value for has_returned, value in outcomes if not has_returned), None)
            values = [value for _, value in outcomes]
            self._outcome = (None, error) if error is not None else (values[0] if self._is_single else values, None)
        return self._outcome

    def wait(self, timeout=None):
        """Until it is there, or `timeout` seconds are over."""
        if self._teller is not None:
            self._teller.join(timeout)
        else:
            _await_all(self._refs, timeout)

    def ready(self):
        """Is it there, and has the callback, if there is one, returned?"""
        if self._teller is not None:
            return not self._teller.is_alive()
        return _await_all(self._refs, 0)

    def get(self, timeout=None):
        """The result, or the list of them; raises what the first of them to fail has raised. multiprocessing's
        TimeoutError after `timeout` seconds."""
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError(f"the result was not there within {timeout} s")
        value, error = self._read()
        if error is not None:
            raise error
        return value

    def successful(self):
        """Did all calls return? ValueError: they have not ended yet."""
        if not self.ready():
            raise ValueError("successful() can be asked only when ready() is true: wait() first")
        return self._read()[1] is None


class IMapIterator:
    """The results of imap and imap_unordered. Each actor has one chunk at a time; further ones are submitted as results
    are taken."""

    def __init__(self, pool, func, iterable, chunksize, is_ordered):
        self._pool = pool
        self._func = func
        self._chunksize = chunksize
        self._is_ordered = is_ordered
        self._items = iter(iterable)
        self._running = {}  # ref: number of its actor
        self._ended = set()
        self._queue = collections.deque()  # of refs: in this order they are handed out
        self._outcomes = collections.deque()
        for slot in range(pool._size):
            self._submit(slot)

    def _submit(self, slot):
        """False: all items are submitted."""
        calls = [((item,), {}) for item in itertools.islice(self._items, self._chunksize)]
        if calls:
            ref = self._pool._submit(self._func, calls, slot)
            self._running[ref] = slot
            if self._is_ordered:
                self._queue.append(ref)
        return bool(calls)

    def _submit_all(self):
        """Before the pool closes."""
        for slot in itertools.cycle(range(self._pool._size)):
            if not self._submit(slot):
                return

    def _await_one(self, deadline, timeout):
        left = None if deadline is None else max(0, deadline - time.monotonic())
        done, _ = ray.wait(list(self._running), timeout=left)
        if not done:
            raise TimeoutError(f"the next result was not there within {timeout} s")
        slot = self._running.pop(done[0])
        self._ended.add(done[0])
        if not self._is_ordered:
            self._queue.append(done[0])
        self._submit(slot)

    def _fill(self, timeout):
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (self._queue and self._queue[0] in self._ended):
            if not self._running:
                raise StopIteration
            self._await_one(deadline, timeout)
        ref = self._queue.popleft()
        self._ended.remove(ref)
        self._outcomes.extend(_outcomes_of(ref))

    def next(self, timeout=None):
        """The next result; raises what that call has raised, after which the iterator goes on. multiprocessing's
        TimeoutError after `timeout` seconds."""
        if not self._outcomes:
            self._fill(timeout)
        has_returned, value = self._outcomes.popleft()
        if not has_returned:
            raise value
        return value

    __next__ = next

    def __iter__(self):
        return self


class Pool:
    """multiprocessing.Pool whose processes are actors, on any node of the cluster. Starts libray if nobody has.

    processes: how many (default: the cluster's CPUs; ValueError: it has fewer). initializer(*initargs) is called in
    each as it starts. maxtasksperchild: after so many chunks a process is replaced by a new one. context is taken for
    multiprocessing's sake, without effect. ray_address: a cluster to join, as the address of `ray.init`.
    ray_remote_args: options of the actors, which take no CPUs without them.
    """

    def __init__(self, processes=None, initializer=None, initargs=None, maxtasksperchild=None, context=None,
                 ray_address=None, ray_remote_args=None):
        if context is not None:
            logging.getLogger(__name__).warning("Pool: context has no effect: libray starts the processes")
        self._size = _start(processes, ray_address)
        self._actor_class = ray.remote(num_cpus=0)(_PoolActor).options(**(ray_remote_args or {}))
        self._initializer = initializer
        self._initargs = tuple(initargs or ())
        self._max_chunks = maxtasksperchild
        self._is_closed = False
        self._lock = threading.RLock()
        self._next_slot = 0
        self._imaps = weakref.WeakSet()
        self._ending = []  # (actor, ref of its end)
        self._actors = [self._new_actor() for _ in range(self._size)]
        self._counts = [0] * self._size
        ray.get([actor.__ray_ready__.remote() for actor in self._actors])

    def _new_actor(self):
        return self._actor_class.remote(self._initializer, self._initargs)

    def _check_open(self):
        if self._is_closed:
            raise ValueError("the pool is closed: make another Pool")

    def _submit(self, func, calls, slot=None):
        """To the actor of that number, or the next one in turn."""
        with self._lock:
            self._check_open()
            if slot is None:
                slot, self._next_slot = self._next_slot, (self._next_slot + 1) % self._size
            ref = self._actors[slot].run.remote(func, calls)
            self._counts[slot] += 1
            if self._counts[slot] == self._max_chunks:
                self._end(self._actors[slot])
                self._actors[slot], self._counts[slot] = self._new_actor(), 0
            return ref

    def _end(self, actor):
        """When it has done what it has to do."""
        self._ending = [(a, ref) for a, ref in self._ending if not _await_all([ref], 0)]
        self._ending.append((actor, actor.__ray_terminate__.remote()))

    def apply(self, func, args=None, kwargs=None):
        """func(*args, **kwargs) in one of the processes: what it returns, or raises."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(self, func, args=None, kwargs=None, callback=None, error_callback=None):
        """apply, as an AsyncResult. callback gets the result, error_callback the exception; they are called on a thread
        of their own."""
        ref = self._submit(func, [(args or (), kwargs or {})])
        return AsyncResult([ref], True, callback, error_callback)

    def _map(self, func, calls, chunksize, callback=None, error_callback=None):
        self._check_open()
        if chunksize is None:
            chunksize = self._chunksize_for(len(calls))
        refs = [self._submit(func, calls[i:i + chunksize]) for i in range(0, len(calls), _checked(chunksize))]
        return AsyncResult(refs, False, callback, error_callback)

    def _chunksize_for(self, count):
        return max(1, -(-count // (4 * self._size)))

    def map(self, func, iterable, chunksize=None):
        """The list of func(item) for all items. chunksize: so many are a task (default: as makes four for each
        process)."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(self, func, iterable, chunksize=None, callback=None, error_callback=None):
        """map, as an AsyncResult. callback gets the list of results, error_callback the first exception, when all calls
        have ended."""
        return self._map(func, [((item,), {}) for item in iterable], chunksize, callback, error_callback)

    def starmap(self, func, iterable, chunksize=None):
        """The list of func(*item) for all items."""
        return self._map(func, [(tuple(item), {}) for item in iterable], chunksize).get()

    def starmap_async(self, func, iterable, callback=None, error_callback=None):
        """starmap, as an AsyncResult."""
        return self._map(func, [(tuple(item), {}) for item in iterable], None, callback, error_callback)

    def imap(self, func, iterable, chunksize=1):
        """An iterator over func(item), in order, which submits no more than a chunk for each process at a time: for
        what is long, or large."""
        return self._imap(func, iterable, chunksize, True)

    def imap_unordered(self, func, iterable, chunksize=1):
        """imap, but results come as they are made."""
        return self._imap(func, iterable, chunksize, False)

    def _imap(self, func, iterable, chunksize, is_ordered):
        self._check_open()
        if chunksize is None:
            chunksize = self._chunksize_for(len(iterable)) if hasattr(iterable, "__len__") else 1
        iterator = IMapIterator(self, func, iterable, _checked(chunksize), is_ordered)
        self._imaps.add(iterator)
        return iterator

    def close(self):
        """Takes no more work; the processes end when they have done what they have."""
        with self._lock:
            if self._is_closed:
                return
            for iterator in list(self._imaps):
                iterator._submit_all()
            self._is_closed = True
            for actor in self._actors:
                self._end(actor)

    def terminate(self):
        """Ends the processes at once; results that are not there yet fail."""
        with self._lock:
            self._is_closed = True
            for actor in [*self._actors, *(actor for actor, _ in self._ending)]:
                ray.kill(actor)

    def join(self):
        """Waits until the processes of a closed pool have ended. ValueError: it is open."""
        if not self._is_closed:
            raise ValueError("join() is for a pool that is closed: call close() or terminate() first")
        _await_all([ref for _, ref in self._ending])

    def __enter__(self):
        self._check_open()
        return self

    def __exit__(self, *args):
        self.terminate()


def _checked(chunksize):
    if chunksize < 1:
        raise ValueError(f"chunksize must be 1 or more, got {chunksize}")
    return chunksize


def _start(processes, ray_address):
    """How many processes there are to be."""
    if processes is not None and processes <= 0:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    if not ray.is_initialized():
        address = ray_address or os.environ.get("RAY_ADDRESS") or "local"
        ray.init(address, num_cpus=processes if address == "local" else None)
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if (processes or 1) > cpus:
        raise ValueError(f"a pool of {processes or 1} processes needs as many CPUs, and the cluster has {cpus}: give a "
                         "lower number, or none for one process per CPU")
    return processes or cpus
