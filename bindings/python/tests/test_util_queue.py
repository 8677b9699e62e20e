"""ray.util.queue.Queue."""

import asyncio
import queue
import threading

import pytest

import libray as ray
from conftest import await_that
from libray.util.queue import Empty, Full, Queue

pytestmark = pytest.mark.usefixtures("ray_start")


def test_first_in_first_out():
    q = Queue()
    assert q.empty() and not q.full()
    for i in range(3):
        q.put(i)
    assert q.qsize() == q.size() == len(q) == 3
    assert [q.get() for _ in range(3)] == [0, 1, 2]
    assert q.empty()


def test_empty():
    q = Queue()
    for take in (q.get_nowait, lambda: q.get(block=False), lambda: q.get(timeout=0.01), lambda: q.get(timeout=0),
                 lambda: q.get_nowait_batch(1)):
        with pytest.raises(Empty):
            take()
    assert issubclass(Empty, queue.Empty)


def test_full():
    q = Queue(maxsize=1)
    q.put("a")
    assert q.full()
    for add in (lambda: q.put_nowait("b"), lambda: q.put("b", block=False), lambda: q.put("b", timeout=0.01),
                lambda: q.put_nowait_batch(["b"])):
        with pytest.raises(Full):
            add()
    assert q.get() == "a" and q.empty()
    assert issubclass(Full, queue.Full)


def test_batches_are_all_or_nothing():
    q = Queue(maxsize=3)
    q.put_nowait_batch(i for i in range(2))
    with pytest.raises(Full):
        q.put_nowait_batch([2, 3])
    assert q.qsize() == 2
    with pytest.raises(Empty):
        q.get_nowait_batch(3)
    assert q.get_nowait_batch(0) == []
    assert q.get_nowait_batch(2) == [0, 1]


def test_bad_arguments():
    q = Queue()
    for call in (lambda: q.put(1, timeout=-1), lambda: q.get(timeout=-1), lambda: q.get_nowait_batch(-1)):
        with pytest.raises(ValueError):
            call()
    for call in (lambda: q.put_nowait_batch(1), lambda: q.get_nowait_batch("1")):
        with pytest.raises(TypeError):
            call()


def test_put_and_get_wait_for_each_other():
    q = Queue(maxsize=1)
    got = []
    reader = threading.Thread(target=lambda: got.extend(q.get() for _ in range(5)))
    reader.start()
    for i in range(5):
        q.put(i)
    reader.join()
    assert got == [0, 1, 2, 3, 4]


def test_async():
    async def use(q):
        await q.put_async(1)
        with pytest.raises(Full):
            await q.put_async(2, block=False)
        with pytest.raises(Full):
            await q.put_async(2, timeout=0.01)
        with pytest.raises(ValueError):
            await q.put_async(2, timeout=-1)
        assert await q.get_async() == 1
        with pytest.raises(Empty):
            await q.get_async(block=False)
        with pytest.raises(Empty):
            await q.get_async(timeout=0.01)
        later = asyncio.ensure_future(q.get_async())
        await q.put_async(3)
        assert await later == 3

    asyncio.run(use(Queue(maxsize=1)))


def test_tasks_and_actors_share_it():
    q, back = Queue(), Queue()

    @ray.remote
    def produce(q, count):
        for i in range(count):
            q.put(i)

    @ray.remote
    class Consumer:
        def __init__(self, q):
            self.q = q

        async def sum(self, count, back):
            total = 0
            for _ in range(count):
                total += await self.q.get_async(timeout=60)
            await back["queue"].put_async(total)

    consumer = Consumer.remote(q)
    done = consumer.sum.remote(20, {"queue": back})
    ray.get([produce.remote(q, 10) for _ in range(2)])
    assert back.get(timeout=60) == 90
    ray.get(done)


def test_values_of_every_kind():
    q = Queue()
    ref = ray.put("x")
    q.put(None)
    q.put([ref])
    q.put(b"0" * 300_000)
    q.put(lambda: "called")
    assert q.get() is None
    del ref
    assert ray.get(q.get()[0]) == "x"
    assert len(q.get()) == 300_000
    assert q.get()() == "called"


def test_options_of_the_actor():
    q = Queue(actor_options={"num_cpus": 1, "name": "the-queue"})
    q.put(1)
    assert ray.available_resources().get("CPU") == 1
    assert ray.get(ray.get_actor("the-queue").qsize.remote()) == 1
    q.shutdown()
    await_that(lambda: ray.available_resources().get("CPU") == 2, "the queue's CPU")


@pytest.mark.parametrize("force", [False, True])
def test_shutdown(force):
    q = Queue()
    actor = q.actor
    q.put(1)
    q.shutdown(force=force)
    q.shutdown(force=force)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.qsize.remote(), timeout=60)
