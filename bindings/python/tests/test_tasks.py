"""Tasks: arguments, results, generators, retries, waiting."""

import functools
import os
import threading
import time

import numpy as np
import pytest

import libray as ray
from conftest import await_that

pytestmark = pytest.mark.usefixtures("ray_start")


@ray.remote
def echo(*args, **kwargs):
    return args, kwargs


@ray.remote
def add(a, b=10):
    return a + b


@ray.remote
class Gate:
    """Opens once, for all who wait at it."""

    def __init__(self):
        import asyncio
        self.event, self.arrived = asyncio.Event(), 0

    async def wait(self):
        self.arrived += 1
        await self.event.wait()
        return "open"

    async def open(self):
        self.event.set()

    async def count(self):
        return self.arrived


@ray.remote
class Counter:
    def __init__(self):
        self.n = 0

    def add(self):
        self.n += 1
        return self.n

    def get(self):
        return self.n


# ---- arguments ----


def test_arguments_and_defaults():
    assert ray.get(echo.remote()) == ((), {})
    assert ray.get(echo.remote(1, "two", x=[3])) == ((1, "two"), {"x": [3]})
    assert ray.get(add.remote(1)) == 11
    assert ray.get(add.remote(1, b=2)) == 3


def test_a_ref_of_its_own_is_its_value_and_a_nested_one_stays():
    r = ray.put(5)
    (top, nested), kwargs = ray.get(echo.remote(r, [r], k=r, d={"r": r}))
    assert (top, kwargs["k"]) == (5, 5)
    assert isinstance(nested[0], ray.ObjectRef) and isinstance(kwargs["d"]["r"], ray.ObjectRef)
    assert ray.get(nested[0]) == 5 and nested[0] == r


def test_results_of_tasks_are_arguments_of_others():
    x = add.remote(1, 1)
    for _ in range(20):
        x = add.remote(x, x) if ray.get(x) < 100 else add.remote(x, 0)
    assert ray.get(x) >= 100


def test_the_same_ref_many_times():
    r = ray.put("x")
    assert ray.get(echo.remote(*[r] * 300))[0] == ("x",) * 300


def test_many_arguments_by_name():
    names = {f"k{i}": i for i in range(500)}
    assert ray.get(echo.remote(**names)) == ((), names)


@pytest.mark.parametrize("size", [0, 1, 100_000, 102_400, 102_401, 5_000_000])
def test_arguments_of_all_sizes(size):
    (data, array), kwargs = ray.get(echo.remote(b"x" * size, np.ones(size, dtype=np.uint8), k="y" * size))
    assert data == b"x" * size and array.sum() == size and kwargs["k"] == "y" * size


def test_the_number_of_arguments_is_checked_at_the_call():
    with pytest.raises(TypeError, match=r"add\(\) missing 1 required positional argument: 'a'"):
        add.remote()
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3 were given"):
        add.remote(1, 2, 3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'c'"):
        add.remote(1, c=3)


def test_functions_with_all_kinds_of_parameters():
    @ray.remote
    def f(a, /, b, *rest, c, d=4, **more):
        return a, b, rest, c, d, more

    assert ray.get(f.remote(1, 2, 3, c=5, e=6)) == (1, 2, (3,), 5, 4, {"e": 6})
    with pytest.raises(TypeError):
        f.remote(a=1, b=2, c=3)


# ---- what can be a function ----


def test_lambdas_closures_and_partials():
    factor = 7
    assert ray.get(ray.remote(lambda x: x * factor).remote(6)) == 42
    assert ray.get(ray.remote(functools.partial(pow, 2)).remote(5)) == 32
    assert ray.get(ray.remote(len).remote([1, 2, 3])) == 3


def test_a_closure_is_taken_as_it_is_at_the_first_call():
    words = ["a"]

    @ray.remote
    def f():
        return list(words)

    assert ray.get(f.remote()) == ["a"]
    words.append("b")
    assert ray.get(f.remote()) == ["a"]


def test_recursion_and_mutual_recursion():
    @ray.remote
    def even(n):
        return True if n == 0 else ray.get(odd.remote(n - 1))

    @ray.remote
    def odd(n):
        return False if n == 0 else ray.get(even.remote(n - 1))

    assert ray.get(even.remote(6)) and not ray.get(even.remote(5))


def test_tasks_in_tasks_give_up_their_cpu_while_they_wait():
    @ray.remote
    def tree(depth):
        return 1 if depth == 0 else sum(ray.get([tree.remote(depth - 1) for _ in range(2)]))

    assert ray.get(tree.remote(4)) == 16  # fifteen wait at once, on two CPUs


def test_a_remote_function_defined_in_a_task():
    @ray.remote
    def outer():
        @ray.remote
        def inner(x):
            return x + 1
        return ray.get(inner.remote(1)), ray.get(add.remote(1))

    assert ray.get(outer.remote()) == (2, 11)


def test_a_remote_function_as_an_argument_and_its_attributes():
    @ray.remote
    def calls(f):
        return ray.get(f.remote(1))

    assert ray.get(calls.remote(add)) == 11
    assert add.__name__ == "add" and echo.__doc__ is None
    assert add._function(1, 2) == 3


# ---- results ----


def test_several_results():
    @ray.remote(num_returns=3)
    def three():
        return 1, [2], "three"

    a, b, c = three.remote()
    assert ray.get([c, b, a]) == ["three", [2], 1]
    assert len({a, b, c}) == 3
    assert ray.get(add.remote(a, 1)) == 2  # one of several, as an argument
    (top, nested), _ = ray.get(echo.remote(b, [c]))
    assert top == [2] and ray.get(nested[0]) == "three"


def test_several_results_of_which_one_stays():
    @ray.remote(num_returns=2)
    def arrays():
        return np.zeros(100_000), np.ones(100_000)

    a, b = arrays.remote()
    del a
    assert ray.get(b).sum() == 100_000


def test_no_result():
    gate = Gate.remote()

    @ray.remote(num_returns=0)
    def passes(gate):
        ray.get(gate.open.remote())

    assert passes.remote(gate) is None
    assert ray.get(gate.wait.remote()) == "open"


def test_the_wrong_number_of_results():
    f = echo.options(num_returns=3)
    with pytest.raises(ValueError, match="num_returns=3"):
        ray.get(f.remote())
    with pytest.raises(TypeError):
        ray.get(ray.remote(num_returns=2)(lambda: 5).remote())


def test_dynamic_results():
    @ray.remote(num_returns="dynamic")
    def split(n):
        for i in range(n):
            yield np.full(20_000, i)

    refs = list(ray.get(split.remote(4)))
    assert all(isinstance(r, ray.ObjectRef) for r in refs)
    assert [ray.get(r)[0] for r in refs] == [0, 1, 2, 3]


def test_a_task_that_nobody_asks_about_runs():
    gate = Gate.remote()

    @ray.remote
    def opens(gate):
        ray.get(gate.open.remote())

    opens.remote(gate)
    assert ray.get(gate.wait.remote()) == "open"


def test_large_results_and_arguments_that_are_refs():
    @ray.remote
    def ones(n):
        return np.ones(n)

    @ray.remote
    def total(x, y):
        return float(x.sum() + y.sum())

    assert ray.get(total.remote(ones.remote(1_000_000), ones.remote(10))) == 1_000_010


# ---- generators ----


def test_a_generator_gives_refs_as_it_goes():
    gate = Gate.remote()

    @ray.remote
    def waits_between(gate):
        yield 1
        yield ray.get(gate.wait.remote())

    generator = waits_between.remote(gate)
    assert isinstance(generator, ray.ObjectRefGenerator)
    assert ray.get(next(generator)) == 1
    second = next_or_none(generator)
    assert second is None
    ray.get(gate.open.remote())
    assert [ray.get(r) for r in generator] == ["open"]
    with pytest.raises(StopIteration):
        next(generator)


def next_or_none(generator):
    done, _ = ray.wait([generator], timeout=0.05)
    return next(done[0]) if done else None


def test_a_generator_of_large_items_and_of_none():
    @ray.remote
    def arrays(n):
        for i in range(n):
            yield np.full(100_000, i)

    assert [int(ray.get(r)[0]) for r in arrays.remote(5)] == [0, 1, 2, 3, 4]
    assert list(arrays.remote(0)) == []


def test_an_error_of_a_generator_is_its_next_ref():
    @ray.remote
    def fails():
        yield 1
        raise ValueError("after one")

    generator = fails.remote()
    assert ray.get(next(generator)) == 1
    bad = next(generator)
    with pytest.raises(ValueError, match="after one"):
        ray.get(bad)
    assert list(generator) == []


def test_get_of_a_generator_is_the_generator():
    @ray.remote
    def count(n):
        for i in range(n):
            yield i

    generator = ray.get(count.remote(2))
    assert [ray.get(r) for r in generator] == [0, 1]


def test_completed_of_a_generator():
    @ray.remote
    def count(n):
        for i in range(n):
            yield i

    generator = count.remote(3)
    ray.get(generator.completed())
    assert [ray.get(r) for r in generator] == [0, 1, 2]


def test_a_generator_that_nobody_reads_waits_and_ends_with_its_reader():
    counter = Counter.remote()

    @ray.remote(_generator_backpressure_num_objects=2)
    def endless(counter):
        while True:
            ray.get(counter.add.remote())
            yield bytes(10)

    generator = endless.remote(counter)
    ray.get(next(generator))
    await_that(lambda: ray.get(counter.get.remote()) >= 3)
    time.sleep(0.2)
    assert ray.get(counter.get.remote()) <= 5
    del generator
    assert ray.get(add.remote(1)) == 11


def test_a_generator_cannot_be_passed_on():
    @ray.remote
    def count():
        yield 1

    with pytest.raises(TypeError):
        echo.remote(count.remote())


# ---- options ----


def test_options_leave_the_function_as_it_was():
    named = add.options(num_cpus=1, name="sum")
    assert ray.get(named.remote(1, 2)) == 3 and ray.get(add.remote(1, 2)) == 3
    assert ray.get(ray.remote(num_cpus=0.5)(lambda: 1).options(num_cpus=0).remote()) == 1


def test_resources_are_what_the_task_has():
    @ray.remote
    def resources():
        return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(resources.remote()) == {"CPU": 1.0}
    assert ray.get(resources.options(num_cpus=2).remote()) == {"CPU": 2.0}
    assert ray.get(resources.options(num_cpus=0.5).remote()) == {"CPU": 0.5}


def test_a_task_of_two_cpus_has_them_alone(tmp_path):
    @ray.remote(num_cpus=2)
    def is_alone(path):
        (path / "started").touch()
        while not (path / "go").exists():  # not in ray.get, which would give the CPUs back
            time.sleep(0.01)
        return not (path / "other").exists()

    @ray.remote
    def other(path):
        (path / "other").touch()

    both = is_alone.remote(tmp_path)
    await_that((tmp_path / "started").exists)  # one that needs less may overtake it until then
    # It may have waited for its code and lent its CPUs meanwhile; that it goes on is told a moment later.
    await_that(lambda: "CPU" not in ray.available_resources())
    after = other.remote(tmp_path)
    done, _ = ray.wait([after], timeout=0.2)
    (tmp_path / "go").touch()
    assert done == []
    assert ray.get([both, after]) == [True, None]
    await_that(lambda: ray.available_resources().get("CPU") == 2)


@pytest.mark.parametrize("options", [{"num_cpu": 1}, {"num_cpus": -1}, {"num_gpus": -1}, {"memory": -1},
                                     {"num_returns": -1}, {"max_retries": -2}, {"resources": {"CPU": 1}},
                                     {"resources": {"x": -1}}, {"max_calls": -1}, {"lifetime": "detached"}])
def test_options_that_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        ray.remote(**options)(lambda: 1)
    with pytest.raises(ValueError, match=next(iter(options))):
        add.options(**options)


# ---- retries ----


def _tried(counter, until, error):
    if ray.get(counter.add.remote()) < until:
        raise error
    return "done"


@pytest.mark.parametrize("options, error, tries", [
    ({}, ValueError, 1), ({"retry_exceptions": True}, ValueError, 4),
    ({"retry_exceptions": [ValueError]}, ValueError, 4),
    ({"retry_exceptions": [KeyError]}, ValueError, 1), ({"retry_exceptions": [LookupError]}, KeyError, 4),
    ({"retry_exceptions": True, "max_retries": 0}, ValueError, 1),
    ({"retry_exceptions": True, "max_retries": 1}, ValueError, 2)])
def test_how_often_a_task_that_raises_is_tried(options, error, tries):
    counter = Counter.remote()
    with pytest.raises(error):
        ray.get(ray.remote(max_calls=0, **options)(_tried).remote(counter, 100, error("x")))
    assert ray.get(counter.get.remote()) == tries


def test_a_retry_that_succeeds():
    counter = Counter.remote()
    task = ray.remote(retry_exceptions=True, max_retries=-1)(_tried)
    assert ray.get(task.remote(counter, 6, ValueError("x"))) == "done"


def _dies(counter, until):
    if ray.get(counter.add.remote()) < until:
        os._exit(1)
    return "alive"


def test_a_crash_is_tried_again():
    counter = Counter.remote()
    assert ray.get(ray.remote(_dies).remote(counter, 3)) == "alive"
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ray.remote(max_retries=0)(_dies).remote(Counter.remote(), 2))


def test_max_calls_ends_the_process():
    @ray.remote(max_calls=1)
    def pid():
        return os.getpid()

    assert len({ray.get(pid.remote()) for _ in range(3)}) == 3


# ---- waiting ----


def test_wait():
    gate = Gate.remote()
    never, now = gate.wait.remote(), ray.put(1)
    assert ray.wait([never, now]) == ([now], [never])
    assert ray.wait([never], timeout=0) == ([], [never])
    assert ray.wait([never, now], num_returns=2, timeout=0.05) == ([now], [never])
    gate.open.remote()
    assert ray.wait([never, now], num_returns=2) == ([never, now], [])
    assert ray.wait([]) == ([], [])


def test_wait_gives_no_more_than_was_asked_for():
    refs = [ray.put(i) for i in range(5)]
    assert ray.wait(refs, num_returns=2) == (refs[:2], refs[2:])
    assert ray.wait(refs, num_returns=5) == (refs, [])


def test_wait_counts_failures_as_done():
    @ray.remote
    def fails():
        raise ValueError

    r = fails.remote()
    assert ray.wait([r]) == ([r], [])


def test_get_with_a_timeout():
    gate = Gate.remote()
    never = gate.wait.remote()
    with pytest.raises(ray.exceptions.GetTimeoutError, match="0.05 s") as caught:
        ray.get(never, timeout=0.05)
    assert isinstance(caught.value, TimeoutError)
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get([ray.put(1), never], timeout=0)
    ray.get(gate.open.remote())
    assert ray.get(never, timeout=60) == "open"
    assert ray.get(ray.put(1), timeout=0) == 1 and ray.get(ray.put(1), timeout=np.float32(0.5)) == 1
    for wrong, error in (("1", TypeError), (-5, ValueError)):
        with pytest.raises(error, match="timeout"):
            ray.get(never, timeout=wrong)


def test_get_of_lists():
    refs = [ray.put(i) for i in range(100)]
    assert ray.get(refs) == list(range(100))
    assert ray.get([]) == []
    assert ray.get(refs[:2] * 2) == [0, 1, 0, 1]


def test_threads_of_the_driver():
    found = []

    def run(k):
        found.append(sum(ray.get([add.remote(i, k) for i in range(20)])))

    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == [190 + 20 * k for k in range(8)]


def test_threads_that_wait_for_the_same_ref():
    gate = Gate.remote()
    ref, found = gate.wait.remote(), []
    threads = [threading.Thread(target=lambda: found.append(ray.get(ref))) for _ in range(8)]
    for thread in threads:
        thread.start()
    ray.get(gate.open.remote())
    for thread in threads:
        thread.join(60)
    assert found == ["open"] * 8


def test_threads_in_a_task():
    @ray.remote
    def runs_threads():
        found = []
        threads = [threading.Thread(target=lambda k=k: found.append(ray.get(add.remote(k)))) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(found)

    assert ray.get(runs_threads.remote()) == [10, 11, 12, 13]


def test_many_tasks():
    assert ray.get([add.remote(i, i) for i in range(2000)]) == [2 * i for i in range(2000)]


def test_a_future_of_a_ref():
    assert add.remote(1, 2).future().result(60) == 3
    future = ray.remote(max_retries=0)(lambda: 1 / 0).remote().future()
    assert isinstance(future.exception(60), ZeroDivisionError)


# ---- the next item is asked for in several ways ----


@ray.remote
def four():
    yield from range(1, 5)


def test_no_item_is_lost_between_the_ways_to_wait_for_it(ray_start):
    import asyncio
    items = four.remote()
    ray.wait([items])
    assert items.next_ready() in (True, False)

    async def read_on():
        return [ray.get(ref) async for ref in items]

    assert asyncio.run(read_on()) == [1, 2, 3, 4]


def test_no_item_is_lost_where_nobody_waited_long_enough(ray_start):
    import asyncio

    @ray.remote
    def slow():
        import time
        for i in range(3):
            time.sleep(0.2)
            yield i

    async def read_impatiently():
        items, found = slow.remote(), []
        while True:
            try:
                found.append(ray.get(await asyncio.wait_for(items.__anext__(), 0.05)))
            except asyncio.TimeoutError:
                continue
            except StopAsyncIteration:
                return found

    assert asyncio.run(read_impatiently()) == [0, 1, 2]
