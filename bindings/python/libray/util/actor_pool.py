"""A fixed set of actors that share work: `ray.util.ActorPool`."""

import collections

import libray as ray


class ActorPool:
    """Gives each value to an actor that is free; what finds none waits its turn.

    pool = ActorPool([Worker.remote(), Worker.remote()])
    list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3]))

    The functions get (actor, value), and return the ref of a call of that actor (or a list of refs, of a call with
    several results). An actor that has died leaves the pool.
    """

    def __init__(self, actors):
        self._idle = list(actors)
        self._actors = {}  # key of what runs: (its number, its actor)
        self._running = {}  # number: ref or refs, in the order of submission
        self._waiting = collections.deque()
        self._next_number = 0
        self._next_result = 0

    def map(self, fn, values):
        """An iterator over the results, in the order of the values, which are all submitted now. Results that are still
        pending from before are dropped."""
        return self._map(fn, values, self.get_next)

    def map_unordered(self, fn, values):
        """As map, but the results come as they are made."""
        return self._map(fn, values, self.get_next_unordered)

    def _map(self, fn, values, get_next):
        while self.has_next():
            self._take(next(iter(self._running)))
        for value in values:
            self.submit(fn, value)
        return self._results(get_next)

    def _results(self, get_next):
        while self.has_next():
            yield get_next()

    def submit(self, fn, value):
        """Runs fn(actor, value) now if an actor is free, else when one is; get_next or get_next_unordered returns the
        result."""
        if not self._idle:
            self._waiting.append((fn, value))
            return
        actor = self._idle.pop()
        result = fn(actor, value)
        number, self._next_number = self._next_number, self._next_number + 1
        self._actors[_key(result)] = (number, actor)
        self._running[number] = result

    def has_next(self):
        """Is there a result that was not taken yet?"""
        return bool(self._running)

    def get_next(self, timeout=None, ignore_if_timedout=False):
        """The next result in the order of submission. TimeoutError after `timeout` seconds; ignore_if_timedout: and
        that result is dropped. StopIteration: there is none. ValueError: after get_next_unordered has taken a later
        one."""
        self._check_next()
        if self._next_result not in self._running:
            raise ValueError("get_next() cannot follow get_next_unordered(), which has taken results out of order")
        number = self._next_result
        done, _ = ray.wait([_key(self._running[number])], timeout=timeout)
        return self._finish(number, done, timeout, ignore_if_timedout)

    def get_next_unordered(self, timeout=None, ignore_if_timedout=False):
        """The result that is there first. TimeoutError after `timeout` seconds; ignore_if_timedout: and the result that
        was submitted first is dropped. StopIteration: there is none."""
        self._check_next()
        done, _ = ray.wait(list(self._actors), timeout=timeout)
        number = self._actors[done[0]][0] if done else next(iter(self._running))
        return self._finish(number, done, timeout, ignore_if_timedout)

    def _check_next(self):
        if not self.has_next():
            raise StopIteration("the pool has no more results")

    def _finish(self, number, done, timeout, ignore_if_timedout):
        if done:
            return self._get(number)
        if ignore_if_timedout:
            self._take(number)
        raise TimeoutError(f"no result within {timeout} s" + ("; it is dropped" if ignore_if_timedout else ""))

    def _get(self, number):
        is_alive = True
        try:
            return ray.get(self._running[number])
        except ray.exceptions.ActorDiedError:
            is_alive = False
            raise
        finally:
            self._take(number, is_alive)

    def _take(self, number, is_alive=True):
        """Forgets what runs under this number: its actor is free."""
        _, actor = self._actors.pop(_key(self._running.pop(number)))
        self._next_result = max(self._next_result, number + 1)
        self._release(actor if is_alive else None)

    def _release(self, actor):
        if actor is not None:
            self._idle.append(actor)
        if self._waiting and self._idle:
            self.submit(*self._waiting.popleft())

    def has_free(self):
        """Is an actor free, and nothing waiting for it?"""
        return bool(self._idle) and not self._waiting

    def pop_idle(self):
        """Takes a free actor out of the pool; None when there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor):
        """Adds an actor. ValueError: it is in the pool."""
        if actor in self._idle or any(actor == busy for _, busy in self._actors.values()):
            raise ValueError(f"{actor} is in this pool already: an actor is added once")
        self._release(actor)


def _key(result):
    """Of several refs of a call the first: they are done together."""
    return result[0] if isinstance(result, list) else result
