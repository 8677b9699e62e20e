"""Nothing grows: 100,000 tasks, puts and calls leave objects, descriptors, threads and memory as they were."""

import os

import pytest
from conftest import await_that

import libray as ray
from libray.util.state import summarize_objects

ROUND = 1000
ROUNDS = 100
WARM = 20  # rounds; the record of what has run (10,000 tasks) is full after that
WORKER = 20  # descriptors: so many come at most with two worker processes; with a leak one comes each round
LEAK = 20  # bytes a call in one process: one of 50 is seen where two share the calls

pytestmark = pytest.mark.usefixtures("ray_start")


@ray.remote
def echo(x):
    return x


@ray.remote
def pid():
    return os.getpid()


@ray.remote(max_retries=0)
def fail(x):
    raise ValueError(x)


@ray.remote
def count(n):
    yield from range(n)


@ray.remote
class Echo:
    def echo(self, x):
        return x

    def pid(self):
        return os.getpid()


@ray.remote(max_concurrency=4)
class AsyncEcho:
    async def echo(self, x):
        return x

    def pid(self):
        return os.getpid()


class Footprint:
    """Of a process: bytes of memory that is its own, descriptors, threads."""

    def __init__(self, pid):
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(":", 1) for line in file)
        self.memory = int(fields["RssAnon"].split()[0]) << 10
        self.threads = int(fields["Threads"])
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        found = set(map(int, file.read().split()))
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
        except OSError:
            pass  # that thread has ended
    return found


def footprints(pids):
    """Of those that live, by pid."""
    found = {}
    for each in pids:
        try:
            found[each] = Footprint(each)
        except (OSError, KeyError):  # the second: nobody has waited for it yet, and it has no memory any more
            pass  # has ended
    return found


def objects_in_store():
    return summarize_objects()["cluster"]["total_objects"]


def check_that_nothing_grows(run, rounds=ROUNDS, calls=ROUND, actor=None):
    """run() makes so many calls, and keeps nothing of them. Looks at this process, and the actor's, or those that run
    tasks: of a spare one, which begins to run some at any time, nothing can be said."""
    before = objects_in_store()
    for _ in range(max(WARM * rounds // ROUNDS, 1)):
        run()
    pids = {os.getpid(), *ray.get([actor.pid.remote()] if actor else [pid.remote() for _ in range(100)])}
    samples = []
    for i in range(rounds):
        run()
        if (i + 1) % (rounds // 10) == 0:
            samples.append(footprints(pids))
    pids = set.intersection(*(set(sample) for sample in samples))
    assert len(pids) > 1, "no process has run all the time"
    for each in pids:
        check_halves([sample[each] for sample in samples[:5]], [sample[each] for sample in samples[5:]],
                     calls * rounds // 2, f"process {each} (this one is {os.getpid()})")
    await_that(lambda: objects_in_store() <= before, "the end of the objects")


def check_halves(first, second, calls, who):
    for what, more in (("descriptors", WORKER), ("threads", 0)):
        now, then = (min(getattr(sample, what) for sample in half) for half in (second, first))
        assert now <= then + more, f"{who} has {now} {what}, it had {then}"
    grown = min(sample.memory for sample in second) - min(sample.memory for sample in first)
    assert grown < LEAK * calls, f"{who} has grown by {grown} bytes in {calls} calls"


def test_tasks():
    def run():
        assert ray.get([echo.remote(i) for i in range(ROUND)]) == list(range(ROUND))

    check_that_nothing_grows(run)


def test_puts():
    def run():
        refs = [ray.put(i) for i in range(ROUND)]
        assert ray.get(refs) == list(range(ROUND))

    check_that_nothing_grows(run)


def test_calls_of_an_actor():
    actor = Echo.remote()

    def run():
        assert ray.get([actor.echo.remote(i) for i in range(ROUND)]) == list(range(ROUND))

    check_that_nothing_grows(run, actor=actor)


def test_calls_of_an_actor_with_coroutines():
    actor = AsyncEcho.remote()

    def run():
        assert ray.get([actor.echo.remote(i) for i in range(ROUND)]) == list(range(ROUND))

    check_that_nothing_grows(run, actor=actor)


def test_large_objects():
    def run():
        refs = [ray.put(bytes(200_000)) for _ in range(10)]
        assert all(len(value) == 200_000 for value in ray.get([echo.remote(ref) for ref in refs]))

    check_that_nothing_grows(run, rounds=50, calls=10 * 200_000 // LEAK)  # one in a thousand that stays is seen


def test_refs_inside_of_objects():
    def run():
        outer = ray.put([ray.put(i) for i in range(100)])
        [inner] = ray.get([echo.remote([outer])])
        assert ray.get(ray.get(inner)[0]) == list(range(100))

    check_that_nothing_grows(run, rounds=100, calls=100)


def test_failures_and_streams():
    def run():
        for ref in [fail.remote(i) for i in range(100)]:
            with pytest.raises(ValueError):
                ray.get(ref)
        assert [ray.get(ref) for ref in count.remote(100)] == list(range(100))

    check_that_nothing_grows(run, rounds=50, calls=200)


def test_actors_that_come_and_go():
    def run():
        actor = Echo.remote()
        assert ray.get(actor.echo.remote(1)) == 1

    run()
    await_that(lambda: len(children()) <= 4, "the end of the actor's process")
    before = Footprint(os.getpid())
    for _ in range(10):
        run()

    def is_as_before():
        now = Footprint(os.getpid())
        return now.descriptors <= before.descriptors and now.threads <= before.threads

    await_that(is_as_before, "the end of what belonged to the actors")
