"""A queue that tasks and actors share: `ray.util.queue.Queue`."""

import asyncio
import queue
from collections.abc import Iterable

import libray as ray

__all__ = ["Empty", "Full", "Queue"]


class Empty(queue.Empty):
    """Nothing was in the queue, or not in time."""


class Full(queue.Full):
    """The queue had no room, or not in time."""


class Queue:
    """First in, first out; pass it to tasks and actors as any value. It lives in an actor of its own.

    maxsize: how many items it holds (0: any number). actor_options: options of that actor, {"num_cpus": 1}.
    """

    def __init__(self, maxsize=0, actor_options=None):
        self.maxsize = maxsize
        self.actor = ray.remote(_QueueActor).options(**(actor_options or {})).remote(maxsize)

    def __len__(self):
        return self.size()

    def size(self):
        """How many items are in it."""
        return ray.get(self.actor.qsize.remote())

    def qsize(self):
        """How many items are in it."""
        return self.size()

    def empty(self):
        """Is nothing in it?"""
        return ray.get(self.actor.empty.remote())

    def full(self):
        """Has it no room?"""
        return ray.get(self.actor.full.remote())

    def put(self, item, block=True, timeout=None):
        """Adds an item. Full: there was no room, with block=False now, else for `timeout` seconds (None: it waits).
        ValueError: timeout is negative."""
        try:
            ray.get(self._put(item, block, timeout))
        except asyncio.QueueFull:
            raise _full(self.maxsize) from None

    async def put_async(self, item, block=True, timeout=None):
        """put, to be awaited."""
        try:
            await self._put(item, block, timeout)
        except asyncio.QueueFull:
            raise _full(self.maxsize) from None

    def _put(self, item, block, timeout):
        if not block:
            return self.actor.put_nowait.remote(item)
        return self.actor.put.remote(item, _checked(timeout))

    def get(self, block=True, timeout=None):
        """Takes the oldest item. Empty: there was none, with block=False now, else for `timeout` seconds (None: it
        waits). ValueError: timeout is negative."""
        try:
            return ray.get(self._get(block, timeout))
        except asyncio.QueueEmpty:
            raise _empty() from None

    async def get_async(self, block=True, timeout=None):
        """get, to be awaited."""
        try:
            return await self._get(block, timeout)
        except asyncio.QueueEmpty:
            raise _empty() from None

    def _get(self, block, timeout):
        return self.actor.get.remote(_checked(timeout)) if block else self.actor.get_nowait.remote()

    def put_nowait(self, item):
        """put(item, block=False)"""
        self.put(item, block=False)

    def get_nowait(self):
        """get(block=False)"""
        return self.get(block=False)

    def put_nowait_batch(self, items):
        """Adds all items, in order, in one call; Full: there is no room for all of them, and none is added."""
        if not isinstance(items, Iterable):
            raise TypeError(f"items must be iterable, got a {type(items).__name__}")
        ray.get(self.actor.put_nowait_batch.remote(list(items)))

    def get_nowait_batch(self, num_items):
        """A list of the num_items oldest items, taken in one call; Empty: there are fewer, and none is taken."""
        if not isinstance(num_items, int):
            raise TypeError(f"num_items must be an integer, got a {type(num_items).__name__}")
        if num_items < 0:
            raise ValueError(f"num_items must be 0 or more, got {num_items}")
        return ray.get(self.actor.get_nowait_batch.remote(num_items))

    def shutdown(self, force=False, grace_period_s=5):
        """Ends the queue's actor: at once with force, else when it has done what was asked of it before, or after
        grace_period_s. The queue cannot be used any more."""
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            done, _ = ray.wait([actor.__ray_terminate__.remote()], timeout=grace_period_s)
            if done:
                return
        ray.kill(actor)


def _checked(timeout):
    if timeout is not None and timeout < 0:
        raise ValueError(f"timeout must be 0 or more, got {timeout}")
    return timeout


def _full(maxsize):
    return Full(f"the queue is full: it has {maxsize} items")


def _empty():
    return Empty("the queue is empty")


class _QueueActor:
    def __init__(self, maxsize):
        self.maxsize = maxsize
        self.queue = asyncio.Queue(maxsize)

    def qsize(self):
        return self.queue.qsize()

    def empty(self):
        return self.queue.empty()

    def full(self):
        return self.queue.full()

    async def put(self, item, timeout):
        try:
            await asyncio.wait_for(self.queue.put(item), timeout)
        except asyncio.TimeoutError:
            raise Full(f"the queue had no room for {timeout} s: it has {self.maxsize} items") from None

    async def get(self, timeout):
        try:
            return await asyncio.wait_for(self.queue.get(), timeout)
        except asyncio.TimeoutError:
            raise Empty(f"the queue was empty for {timeout} s") from None

    def put_nowait(self, item):
        self.queue.put_nowait(item)

    def get_nowait(self):
        return self.queue.get_nowait()

    def put_nowait_batch(self, items):
        if 0 < self.maxsize < self.queue.qsize() + len(items):
            raise Full(f"the queue has no room for {len(items)} items: it has {self.queue.qsize()} of {self.maxsize}")
        for item in items:
            self.queue.put_nowait(item)

    def get_nowait_batch(self, num_items):
        if num_items > self.queue.qsize():
            raise Empty(f"{num_items} items were asked for, and {self.queue.qsize()} are in the queue")
        return [self.queue.get_nowait() for _ in range(num_items)]
