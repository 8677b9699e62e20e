"""ray.util.ActorPool and ray.util.multiprocessing.Pool."""

import os
import threading

import pytest

import libray as ray
from conftest import await_that
from libray.util import ActorPool
from libray.util.multiprocessing import Pool, TimeoutError as PoolTimeoutError

pytestmark = pytest.mark.usefixtures("ray_start")


@ray.remote(num_cpus=0)
class Worker:
    def double(self, x):
        return 2 * x

    def both(self, x):
        return x, -x

    def fail(self, x):
        raise KeyError(x)

    def die(self, x):
        os._exit(1)

    async def wait_for(self, refs):
        await refs[0]
        return "at last"


@ray.remote(num_cpus=0)
class Gate:
    """A ref that is done when the test says so."""

    def __init__(self):
        import asyncio
        self.event = asyncio.Event()

    async def wait(self):
        await self.event.wait()

    async def open(self):
        self.event.set()


@pytest.fixture
def gate():
    return Gate.remote()


def double(actor, value):
    return actor.double.remote(value)


def wait_for(actor, ref):
    return actor.wait_for.remote([ref])


def pool_of(count):
    return ActorPool([Worker.remote() for _ in range(count)])


# ---- ActorPool ----


def test_map_keeps_the_order_of_the_values():
    assert list(pool_of(2).map(double, range(10))) == [2 * i for i in range(10)]


def test_map_unordered_gives_what_is_ready_first(gate):
    pool = pool_of(2)
    closed = gate.wait.remote()
    results = pool.map_unordered(lambda a, v: wait_for(a, closed) if v == 0 else double(a, v), range(5))
    assert sorted(next(results) for _ in range(4)) == [2, 4, 6, 8]
    ray.get(gate.open.remote())
    assert list(results) == ["at last"]


def test_submit_waits_for_a_free_actor_and_results_come_in_order():
    pool = pool_of(1)
    for i in range(3):
        pool.submit(double, i)
    assert not pool.has_free() and pool.pop_idle() is None
    assert [pool.get_next() for _ in range(3)] == [0, 2, 4]
    assert not pool.has_next() and pool.has_free()
    with pytest.raises(StopIteration):
        pool.get_next()
    with pytest.raises(StopIteration):
        pool.get_next_unordered()


def test_a_result_that_is_late_stays_or_is_dropped(gate):
    pool = pool_of(1)
    closed = gate.wait.remote()
    pool.submit(wait_for, closed)
    for get_next in (pool.get_next, pool.get_next_unordered):
        with pytest.raises(TimeoutError):
            get_next(timeout=0.01)
    assert pool.has_next()
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.01, ignore_if_timedout=True)
    assert not pool.has_next() and pool.has_free()
    pool.submit(wait_for, closed)
    with pytest.raises(TimeoutError):
        pool.get_next_unordered(timeout=0.01, ignore_if_timedout=True)
    assert not pool.has_next() and pool.has_free()
    ray.get(gate.open.remote())


def test_map_drops_what_is_pending_from_before():
    pool = pool_of(1)
    pool.submit(double, 100)
    pool.submit(double, 200)
    assert list(pool.map(double, [1, 2])) == [2, 4]


def test_get_next_cannot_follow_get_next_unordered(gate):
    pool = pool_of(2)
    pool.submit(wait_for, gate.wait.remote())
    pool.submit(double, 1)
    assert pool.get_next_unordered() == 2
    with pytest.raises(ValueError, match="get_next_unordered"):
        pool.get_next()
    ray.get(gate.open.remote())
    assert pool.get_next_unordered() == "at last"


def test_a_call_with_several_results():
    pool = pool_of(2)

    def both(actor, value):
        return actor.both.options(num_returns=2).remote(value)

    assert list(pool.map(both, [1, 2, 3])) == [[1, -1], [2, -2], [3, -3]]
    assert sorted(pool.map_unordered(both, [1, 2])) == [[1, -1], [2, -2]]


def test_an_error_is_raised_and_frees_the_actor():
    pool = pool_of(1)
    pool.submit(lambda a, v: a.fail.remote(v), "k")
    pool.submit(double, 4)
    with pytest.raises(KeyError):
        pool.get_next()
    assert pool.get_next() == 8


def test_an_actor_that_dies_leaves_the_pool():
    pool = pool_of(1)
    pool.submit(lambda a, v: a.die.remote(v), 0)
    pool.submit(double, 4)
    with pytest.raises(ray.exceptions.ActorDiedError):
        pool.get_next()
    assert not pool.has_free() and not pool.has_next()
    pool.push(Worker.remote())  # takes what was waiting
    assert pool.get_next() == 8


def test_push_and_pop():
    first, second = Worker.remote(), Worker.remote()
    pool = ActorPool([first])
    with pytest.raises(ValueError):
        pool.push(first)
    pool.submit(double, 1)
    with pytest.raises(ValueError):
        pool.push(first)
    pool.push(second)
    assert pool.pop_idle() == second
    assert pool.pop_idle() is None
    assert pool.get_next() == 2
    assert pool.pop_idle() == first


# ---- multiprocessing.Pool ----


@pytest.fixture(scope="module")
def pool(ray_start):
    with Pool() as made:
        yield made


def divide(a, b=1):
    return a / b


def test_map_and_starmap(pool):
    assert pool.map(lambda x: x * x, range(10)) == [x * x for x in range(10)]
    assert pool.map(lambda x: x + 1, (i for i in range(5)), chunksize=2) == [1, 2, 3, 4, 5]
    assert pool.map(divide, []) == []
    assert pool.starmap(divide, [(4, 2), (9, 3)]) == [2, 3]
    assert pool.starmap_async(divide, iter([(4, 2), (9, 3)])).get() == [2, 3]
    assert pool.map_async(abs, [-1, -2]).get(timeout=60) == [1, 2]


def test_apply(pool):
    assert pool.apply(divide, (6,), {"b": 3}) == 2
    assert pool.apply(os.getpid) != os.getpid()
    assert len({pool.apply(os.getpid) for _ in range(4)}) == 2


def test_the_exception_of_a_call_is_raised_as_it_is(pool):
    for call in (lambda: pool.apply(divide, (1, 0)), lambda: pool.starmap(divide, [(1, 1), (1, 0)]),
                 lambda: next(pool.imap(lambda x: 1 / x, [0]))):
        with pytest.raises(ZeroDivisionError) as caught:
            call()
        assert type(caught.value) is ZeroDivisionError
        assert "divi" in str(caught.value.__cause__)  # where it was raised


def test_an_async_result(pool, gate):
    closed = gate.wait.remote()
    result = pool.apply_async(lambda refs: ray.get(refs[0]), ([closed],))
    with pytest.raises(PoolTimeoutError):
        result.get(timeout=0.01)
    result.wait(0.01)
    assert not result.ready()
    with pytest.raises(ValueError):
        result.successful()
    ray.get(gate.open.remote())
    result.wait()
    assert result.ready() and result.successful() and result.get() is None
    failed = pool.apply_async(divide, (1, 0))
    failed.wait()
    assert failed.ready() and not failed.successful()


def test_callbacks(pool):
    told = []
    for begin, arguments in ((pool.apply_async, (4, 2)), (pool.map_async, [1, 2, 3])):
        result = begin(divide, arguments, callback=told.append)
        result.wait()
        assert result.ready()
    failed = pool.map_async(lambda x: 1 / x, [1, 0], callback=told.append, error_callback=told.append)
    failed.wait()
    assert told[:2] == [2, [1, 2, 3]]
    assert len(told) == 3 and isinstance(told[2], ZeroDivisionError)


def test_a_callback_may_use_the_pool(pool):
    told = []
    pool.apply_async(divide, (4, 2), callback=lambda x: told.append(pool.apply(divide, (x, 2)))).wait()
    assert told == [1]


def test_imap_and_imap_unordered(pool):
    assert list(pool.imap(lambda x: x + 1, range(7), chunksize=2)) == [1, 2, 3, 4, 5, 6, 7]
    assert list(pool.imap(lambda x: x + 1, range(7), chunksize=None)) == [1, 2, 3, 4, 5, 6, 7]
    assert sorted(pool.imap_unordered(lambda x: x + 1, iter(range(7)))) == [1, 2, 3, 4, 5, 6, 7]
    assert list(pool.imap(divide, [])) == []


def test_imap_takes_items_as_results_are_taken(pool):
    taken = []

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    results = pool.imap(divide, items())
    assert next(results) == 0
    assert len(taken) < 10


def test_imap_goes_on_after_a_failure_and_has_a_timeout(pool, gate):
    results = pool.imap(lambda x: 1 / x, [1, 0, 2])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 0.5
    closed = gate.wait.remote()
    for imap in (pool.imap, pool.imap_unordered):
        with pytest.raises(PoolTimeoutError):
            imap(lambda refs: ray.get(refs[0]), [[closed]]).next(timeout=0.01)
    ray.get(gate.open.remote())


def test_close_and_join():
    pool = Pool(1)
    with pytest.raises(ValueError):
        pool.join()
    results, more = pool.map_async(divide, range(5)), pool.imap(divide, range(20))
    pool.close()
    pool.join()
    assert results.get() == list(range(5)) and list(more) == list(range(20))
    for use in (lambda: pool.map(divide, [1]), lambda: pool.apply_async(divide, (1,)), lambda: pool.imap(divide, [1]),
                lambda: pool.map(divide, []), pool.__enter__):
        with pytest.raises(ValueError):
            use()


def test_terminate_ends_what_runs(gate):
    closed = gate.wait.remote()
    with Pool(1) as pool:
        result = pool.apply_async(lambda refs: ray.get(refs[0]), ([closed],))
    pool.join()
    with pytest.raises(ray.exceptions.RayActorError):
        result.get(timeout=60)
    ray.get(gate.open.remote())


def test_initializer():
    def initialize(name, value):
        os.environ[name] = value

    with Pool(2, initializer=initialize, initargs=("POOL_TEST", "here")) as pool:
        assert pool.map(os.getenv, ["POOL_TEST"] * 4) == ["here"] * 4
    with pytest.raises(ray.exceptions.ActorDiedError):
        Pool(1, initializer=divide, initargs=(1, 0))


def test_maxtasksperchild():
    with Pool(1, maxtasksperchild=2) as pool:
        pids = [pool.apply(os.getpid) for _ in range(6)]
    assert pids[0] == pids[1] and pids[2] == pids[3] and len(set(pids)) == 3


def test_a_process_that_dies_is_an_error():
    with Pool(1) as pool:
        with pytest.raises(ray.exceptions.ActorDiedError):
            pool.apply(os._exit, (1,))


def test_sizes_that_cannot_be_had():
    for processes in (0, -1, 3):
        with pytest.raises(ValueError):
            Pool(processes)
    with Pool(1) as pool, pytest.raises(ValueError):
        pool.map(divide, [1, 2], chunksize=0)


def test_ray_remote_args():
    with Pool(1, ray_remote_args={"num_cpus": 1}) as pool:
        assert pool.apply(ray.available_resources).get("CPU") == 1
    await_that(lambda: ray.available_resources().get("CPU") == 2, "the CPU of the pool")


def test_several_threads_share_a_pool(pool):
    found = []
    threads = [threading.Thread(target=lambda i=i: found.extend(pool.map(divide, [i] * 10))) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([i for i in range(4) for _ in range(10)])
