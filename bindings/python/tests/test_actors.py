"""Actors: calls, concurrency, names, lives and ends, handles."""

import asyncio
import copy
import gc
import os
import threading
import time

import numpy as np
import pytest

import libray as ray
from clusters import is_alive
from conftest import await_that

pytestmark = pytest.mark.usefixtures("ray_start")
ActorDied = ray.exceptions.ActorDiedError


@ray.remote
class Counter:
    """Counts."""

    def __init__(self, start=0, *, step=1):
        self.n, self.step = start, step

    def add(self, k=None):
        self.n += self.step if k is None else k
        return self.n

    def get(self):
        return self.n

    def pid(self):
        return os.getpid()

    def fails(self):
        raise KeyError("k")

    def crash(self):
        os._exit(1)

    def sleep(self):
        time.sleep(300)


# ---- calls ----


def test_calls_run_in_order_and_keep_state():
    counter = Counter.remote(5, step=2)
    assert ray.get([counter.add.remote() for _ in range(100)]) == list(range(7, 207, 2))
    assert ray.get(counter.add.remote(k=3)) == 208


def test_a_class_without_a_constructor():
    @ray.remote
    class Bare:
        x = 5

        def get(self):
            return self.x

    assert ray.get(Bare.remote().get.remote()) == 5
    with pytest.raises(TypeError):
        Bare.remote(1)


def test_inheritance_static_and_class_methods():
    class Base:
        def __init__(self, x):
            self.x = x

        def who(self):
            return "base", self.x

    @ray.remote
    class Derived(Base):
        def __init__(self, x):
            super().__init__(x + 1)

        def who(self):
            return "derived", *super().who()

        @staticmethod
        def twice(x):
            return 2 * x

        @classmethod
        def name(cls):
            return cls.__name__

    derived = Derived.remote(1)
    assert ray.get(derived.who.remote()) == ("derived", "base", 2)
    assert ray.get(derived.twice.remote(4)) == 8 and ray.get(derived.name.remote()) == "Derived"


def test_wrong_arguments_and_methods():
    counter = Counter.remote()
    with pytest.raises(TypeError, match="takes from 0 to 1 positional arguments but 2 were given"):
        counter.add.remote(1, 2)
    with pytest.raises(TypeError):
        counter.get.remote(1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        Counter.remote(stop=1)
    with pytest.raises(AttributeError, match="no method 'subtract'"):
        counter.subtract
    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        counter.add()
    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        Counter()
    with pytest.raises(TypeError, match="inherited"):
        class Derived(Counter):
            pass


def test_an_error_of_a_method_leaves_the_actor_alive():
    counter = Counter.remote()
    with pytest.raises(KeyError):
        ray.get(counter.fails.remote())
    assert ray.get(counter.add.remote()) == 1


def test_several_results_of_a_method():
    @ray.remote
    class A:
        @ray.method(num_returns=2)
        def two(self):
            return 1, np.ones(50_000)

        def three(self):
            return 1, 2, 3

    a = A.remote()
    one, ones = a.two.remote()
    assert ray.get(one) == 1 and ray.get(ones).sum() == 50_000
    assert ray.get(a.three.options(num_returns=3).remote()) == [1, 2, 3]
    assert a.three.options(num_returns=0).remote() is None


def test_generators():
    @ray.remote
    class A:
        def count(self, n):
            for i in range(n):
                yield i

        def plain(self):
            return "plain"

        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

        def fails(self):
            yield 1
            raise ValueError("after one")

    a = A.remote()
    assert [ray.get(r) for r in a.count.remote(5)] == [0, 1, 2, 3, 4]
    assert ray.get(a.plain.remote()) == "plain" and ray.get(a.two.remote()) == [1, 2]
    good, bad = a.fails.remote()
    assert ray.get(good) == 1
    with pytest.raises(ValueError):
        ray.get(bad)
    with pytest.raises(ValueError):
        a.plain.options(num_returns="streaming").remote()


def test_generators_of_coroutines():
    @ray.remote
    class A:
        async def count(self, n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i

        async def plain(self, x):
            return x

    a = A.remote()
    generators = [a.count.remote(n) for n in (3, 4)]
    assert [[ray.get(r) for r in g] for g in generators] == [[0, 1, 2], [0, 1, 2, 3]]
    assert ray.get([a.plain.remote(i) for i in range(10)]) == list(range(10))


def test_what_every_actor_has():
    counter = Counter.remote(5)
    assert ray.get(counter.__ray_ready__.remote()) is True
    assert ray.get(counter.__ray_call__.remote(lambda self, k: self.n + k, 2)) == 7
    with pytest.raises(ActorDied):
        ray.get(counter.__ray_terminate__.remote())
    with pytest.raises(ActorDied):
        ray.get(counter.get.remote())


def test_methods_that_call_each_other_and_their_own_actor():
    @ray.remote
    class Asks:
        def ask(self, other, depth):
            return depth if depth == 0 else ray.get(other.ask.remote(None, depth - 1)) + 1

        def myself(self):
            return ray.get_runtime_context().current_actor

    a, b = Asks.remote(), Asks.remote()
    assert ray.get(a.ask.remote(b, 1)) == 1
    assert ray.get(a.myself.remote()) == a


# ---- concurrency ----


def test_threads():
    @ray.remote(max_concurrency=4)
    class Threads:
        def __init__(self):
            self.barrier = threading.Barrier(4)

        def meet(self):
            return self.barrier.wait(60) >= 0

        def one(self):
            return ray.get(ray.remote(lambda: 1).remote())

    threads = Threads.remote()
    assert ray.get([threads.meet.remote() for _ in range(8)]) == [True] * 8
    assert ray.get([threads.one.remote() for _ in range(8)]) == [1] * 8


def test_coroutines():
    @ray.remote
    class Coroutines:
        def __init__(self):
            self.n = 0

        async def meet(self, all_of):
            self.n += 1
            while self.n < all_of:
                await asyncio.sleep(0.001)
            return self.n

        async def fails(self):
            await asyncio.sleep(0)
            raise ValueError("of a coroutine")

        def plain(self):
            return threading.current_thread() is threading.main_thread()

    coroutines = Coroutines.remote()
    assert ray.get([coroutines.meet.remote(200) for _ in range(200)]) == [200] * 200
    with pytest.raises(ValueError, match="of a coroutine"):
        ray.get(coroutines.fails.remote())
    assert ray.get(coroutines.plain.remote()) in (True, False)


def test_max_concurrency_of_coroutines():
    @ray.remote(max_concurrency=2)
    class Limited:
        def __init__(self):
            self.now, self.most = 0, 0

        async def come(self):
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0.005)
            self.now -= 1
            return self.most

    limited = Limited.remote()
    assert max(ray.get([limited.come.remote() for _ in range(20)])) == 2


def test_concurrency_groups():
    @ray.remote(concurrency_groups={"io": 2, "compute": 1})
    class Groups:
        def __init__(self):
            self.event = asyncio.Event()

        @ray.method(concurrency_group="io")
        async def waits(self):
            await self.event.wait()
            return "waited"

        @ray.method(concurrency_group="compute")
        async def opens(self):
            self.event.set()

        async def plain(self):
            return "plain"

    groups = Groups.remote()
    waiting = [groups.waits.remote() for _ in range(3)]
    assert ray.get(groups.plain.remote()) == "plain"
    assert ray.get(groups.plain.options(concurrency_group="compute").remote()) == "plain"
    assert ray.wait(waiting, timeout=0)[0] == []
    ray.get(groups.opens.remote())
    assert ray.get(waiting) == ["waited"] * 3
    with pytest.raises(ValueError, match="concurrency group 'other'"):
        groups.plain.options(concurrency_group="other").remote()


def test_concurrency_groups_of_threads():
    @ray.remote(concurrency_groups={"io": 1})
    class Groups:
        def __init__(self):
            self.event = threading.Event()

        def waits(self):
            return self.event.wait(60)

        @ray.method(concurrency_group="io")
        def opens(self):
            self.event.set()

    groups = Groups.remote()
    waiting = groups.waits.remote()
    ray.get(groups.opens.remote())
    assert ray.get(waiting) is True


def test_awaiting_refs_in_the_driver():
    counter = Counter.remote()

    @ray.remote
    def fails():
        raise ValueError("awaited")

    @ray.remote
    def items(n):
        for i in range(n):
            yield i

    async def main():
        with pytest.raises(ValueError, match="awaited"):
            await fails.remote()
        found = [await r async for r in items.remote(3)]
        found.append(await asyncio.wait_for(counter.add.remote(), 60))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(counter.sleep.remote().as_future()), 0.05)
        done, rest = await asyncio.wait([asyncio.wrap_future(ray.put(5).future())])
        return found + [d.result() for d in done], rest, await asyncio.gather(*(ray.put(i) for i in range(50)))

    found, rest, many = asyncio.run(main())
    assert found == [0, 1, 2, 1, 5] and not rest and many == list(range(50))
    assert asyncio.run(main_again()) == 5  # in another loop
    ray.kill(counter)


async def main_again():
    return await ray.put(5)


def test_awaiting_refs_in_an_actor():
    @ray.remote
    class Awaits:
        async def one(self, refs):
            return await refs[0]

        async def many(self, refs):
            return await asyncio.gather(*refs)

        async def tasks(self, n):
            twice = ray.remote(lambda x: 2 * x)
            return sum(await asyncio.gather(*(twice.remote(i) for i in range(n))))

    awaits = Awaits.remote()
    refs = [ray.put(i) for i in range(20)]
    assert ray.get(awaits.one.remote(refs)) == 0
    assert ray.get(awaits.many.remote(refs)) == list(range(20))
    assert ray.get(awaits.tasks.remote(10)) == 90


def test_max_pending_calls():
    @ray.remote(max_pending_calls=2)
    class Full:
        async def come(self):
            await asyncio.Event().wait()

    full = Full.remote()
    waiting = [full.come.remote() for _ in range(2)]
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded):
        ray.get(full.come.remote(), timeout=60)
    assert ray.wait(waiting, timeout=0)[0] == []


# ---- names ----


def test_names():
    counter = Counter.options(name="test-names").remote()
    found = ray.get_actor("test-names")
    assert found == counter and ray.get(found.add.remote()) == 1 and ray.get(counter.get.remote()) == 1
    with pytest.raises(ray.exceptions.ActorAlreadyExistsError, match="test-names"):
        Counter.options(name="test-names").remote()
    assert Counter.options(name="test-names", get_if_exists=True).remote() == counter
    other = Counter.options(name="test-names", namespace="elsewhere").remote()
    assert other != counter and ray.get_actor("test-names", namespace="elsewhere") == other
    assert ray.get(ray.remote(lambda: ray.get(ray.get_actor("test-names").get.remote())).remote()) == 1
    ray.kill(counter)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(counter.get.remote())
    await_that(lambda: not is_there("test-names"))
    again = Counter.options(name="test-names", get_if_exists=True).remote(7)
    assert ray.get(again.get.remote()) == 7


def is_there(name):
    try:
        return ray.get_actor(name) is not None
    except ValueError:
        return False


@pytest.mark.parametrize("name", ["absent", "", None])
def test_names_that_are_not_there(name):
    with pytest.raises(ValueError):
        ray.get_actor(name)


def test_options_of_names():
    with pytest.raises(ValueError):
        Counter.options(name="").remote()
    with pytest.raises(ValueError):
        Counter.options(lifetime="detached").remote()
    with pytest.raises(ValueError):
        Counter.options(get_if_exists=True).remote()
    with pytest.raises(TypeError):
        Counter.options(name=5)


def test_a_detached_actor_outlives_its_handles():
    Counter.options(name="test-detached", lifetime="detached").remote()
    gc.collect()
    assert ray.get(ray.get_actor("test-detached").add.remote()) == 1
    assert ray.get(ray.get_actor("test-detached").add.remote()) == 2
    ray.kill(ray.get_actor("test-detached"))


# ---- handles ----


def test_handles_in_arguments_objects_and_results():
    counter = Counter.remote()

    @ray.remote
    def add(c):
        return ray.get(c.add.remote())

    @ray.remote
    def add_nested(d):
        return ray.get(d["c"][0].add.remote())

    @ray.remote
    def make():
        return Counter.remote(100)

    assert ray.get(add.remote(counter)) == 1
    assert ray.get(add_nested.remote({"c": [counter]})) == 2
    kept = ray.put([counter])
    assert ray.get(ray.get(kept)[0].add.remote()) == 3
    assert ray.get(kept)[0] == counter and hash(ray.get(kept)[0]) == hash(counter)
    assert ray.get(ray.get(make.remote()).add.remote()) == 101


def test_methods_and_copies_of_handles():
    counter = Counter.remote()
    assert copy.copy(counter) == counter and copy.deepcopy([counter])[0] == counter
    assert ray.get(ray.remote(lambda method: ray.get(method.remote(5))).remote(counter.add)) == 5
    add = counter.add
    del counter
    gc.collect()
    assert ray.get(add.remote()) == 6  # a method has the handle


def test_an_actor_ends_with_its_last_handle():
    counter = Counter.remote()
    pid = ray.get(counter.pid.remote())
    kept = ray.put([counter])
    del counter
    gc.collect()
    assert ray.get(ray.get(kept)[0].add.remote()) == 1  # the object has one
    del kept
    gc.collect()
    await_that(lambda: not is_alive(pid))


def test_calls_that_are_queued_run_before_an_actor_out_of_scope_ends():
    counter = Counter.remote()
    refs = [counter.add.remote() for _ in range(50)]
    del counter
    gc.collect()
    assert ray.get(refs)[-1] == 50
    assert ray.get(Counter.remote(3).get.remote()) == 3


def test_a_handle_that_an_actor_keeps():
    @ray.remote
    class Keeper:
        def keep(self, handle):
            self.handle = handle

        def call(self):
            return ray.get(self.handle.add.remote())

        def drop(self):
            self.handle = None

    counter, keeper = Counter.remote(), Keeper.remote()
    pid = ray.get(counter.pid.remote())
    ray.get(keeper.keep.remote(counter))
    del counter
    gc.collect()
    assert ray.get(keeper.call.remote()) == 1
    ray.get(keeper.drop.remote())
    await_that(lambda: not is_alive(pid))


# ---- ends ----


def test_kill():
    counter = Counter.remote()
    pid, under_way = ray.get(counter.pid.remote()), counter.sleep.remote()
    queued = counter.add.remote()
    ray.kill(counter)
    for r in (under_way, queued, counter.add.remote()):
        with pytest.raises(ActorDied):
            ray.get(r, timeout=60)
    await_that(lambda: not is_alive(pid))
    for wrong in (5, under_way):
        with pytest.raises(ValueError):
            ray.kill(wrong)


def test_a_constructor_that_raises():
    @ray.remote
    class Fails:
        def __init__(self, x):
            raise ValueError(f"not {x}")

        def m(self):
            return 1

    fails = Fails.remote(5)
    for _ in range(2):
        with pytest.raises(ActorDied, match="not 5") as caught:
            ray.get(fails.m.remote())
        assert caught.value.actor_init_failed
        assert isinstance(caught.value, ray.exceptions.RayActorError) and "in __init__" in str(caught.value)


def test_a_crash():
    counter = Counter.remote()
    with pytest.raises(ActorDied):
        ray.get(counter.crash.remote())
    with pytest.raises(ActorDied):
        ray.get(counter.add.remote())


def test_restarts():
    counter = Counter.options(max_restarts=1).remote(5)
    first = ray.get(counter.pid.remote())
    ray.get(counter.add.remote())
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(counter.crash.remote())
    assert ray.get(counter.get.remote()) == 5 and ray.get(counter.pid.remote()) != first
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(counter.crash.remote())
    with pytest.raises(ActorDied):
        ray.get(counter.get.remote())


def test_kill_with_restart():
    counter = Counter.options(max_restarts=-1).remote()
    first = ray.get(counter.pid.remote())
    ray.kill(counter, no_restart=False)
    await_that(lambda: not is_alive(first))
    assert ray.get(counter.pid.remote()) != first
    ray.kill(counter)
    with pytest.raises(ActorDied):
        ray.get(counter.get.remote())


def test_calls_that_are_tried_again(tmp_path):
    @ray.remote(max_restarts=-1, max_task_retries=5)
    class Dies:
        def work(self, path):
            (path / str(os.getpid())).touch()
            if len(os.listdir(path)) < 3:
                os._exit(1)
            return "done"

    assert ray.get(Dies.remote().work.remote(tmp_path)) == "done"


def test_errors_that_are_tried_again():
    @ray.remote
    class Fails:
        def __init__(self):
            self.n = 0

        @ray.method(max_task_retries=5, retry_exceptions=[ValueError])
        def work(self, until=3):
            self.n += 1
            if self.n < until:
                raise ValueError(f"{self.n}")
            return self.n

    assert ray.get(Fails.remote().work.remote()) == 3
    assert ray.get(Fails.remote().work.options(max_task_retries=-1, retry_exceptions=True).remote(8)) == 8
    with pytest.raises(ValueError):
        ray.get(Fails.remote().work.options(retry_exceptions=[KeyError]).remote())
    with pytest.raises(ValueError, match="2"):
        ray.get(Fails.remote().work.options(max_task_retries=1).remote())


@pytest.mark.parametrize("kind", ["plain", "coroutine", "generators", "threads"])
def test_exit_actor(kind):
    class Plain:
        def stop(self):
            ray.actor.exit_actor()

        def pid(self):
            return os.getpid()

    class Coroutine(Plain):
        async def stop(self):
            await asyncio.sleep(0)
            ray.actor.exit_actor()

    class Generators(Coroutine):
        def count(self):
            yield 1

    cls = {"plain": Plain, "coroutine": Coroutine, "generators": Generators, "threads": Plain}[kind]
    actor = ray.remote(max_restarts=5, max_concurrency=2 if kind == "threads" else 1)(cls).remote()
    pid = ray.get(actor.pid.remote())
    with pytest.raises(ActorDied):
        ray.get(actor.stop.remote(), timeout=60)
    with pytest.raises(ActorDied):
        ray.get(actor.pid.remote(), timeout=60)
    await_that(lambda: not is_alive(pid))


def test_exit_actor_elsewhere():
    with pytest.raises(TypeError):
        ray.actor.exit_actor()
    with pytest.raises(TypeError):
        ray.get(ray.remote(lambda: ray.actor.exit_actor()).remote())


def test_sys_exit_ends_the_actor():
    @ray.remote
    class Leaves:
        def leave(self):
            raise SystemExit

    with pytest.raises(ActorDied):
        ray.get(Leaves.remote().leave.remote())


def test_more_actors_than_cpus():
    counters = [Counter.remote(i) for i in range(6)]
    assert ray.get([c.get.remote() for c in counters]) == list(range(6))


def test_an_actor_that_takes_its_cpus_for_life():
    held = Counter.options(num_cpus=2).remote()
    assert ray.get(held.get.remote()) == 0
    waits = ray.remote(lambda: 1).remote()
    assert ray.wait([waits], timeout=0.1)[0] == []
    ray.kill(held)
    assert ray.get(waits, timeout=60) == 1


def test_what_a_class_looks_like():
    assert "Counter" in repr(Counter) and Counter.__doc__ == "Counts."
    counter = Counter.remote()
    assert repr(counter).startswith("Actor(Counter, ") and {"add", "get"} <= set(dir(counter))
    assert type(Counter).__name__.startswith("ActorClass")
