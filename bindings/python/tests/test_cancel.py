"""Cancelling: before, while and after a task runs, what waits, what it has submitted, and Ctrl-C."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

import libray as ray
from clusters import is_alive
from conftest import await_that

pytestmark = pytest.mark.usefixtures("ray_start")
Cancelled = ray.exceptions.TaskCancelledError


@ray.remote
def sleep(path=None):
    if path:
        path.touch()
    time.sleep(300)


@ray.remote
class Never:
    async def come(self):
        await asyncio.Event().wait()

    async def ping(self):
        return "pong"


def cancelled(ref, **options):
    ray.cancel(ref, **options)
    with pytest.raises(Cancelled):
        ray.get(ref, timeout=60)
    return True


def test_a_task_that_sleeps(tmp_path):
    r = sleep.remote(tmp_path / "runs")
    await_that((tmp_path / "runs").exists)
    assert cancelled(r)
    assert ray.get(ray.remote(lambda: 1).remote()) == 1


def test_at_any_moment(tmp_path):
    """Also just before it sleeps, when the signal that wakes it finds nobody asleep."""
    @ray.remote
    def works_and_sleeps(path, seconds):
        path.touch()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        time.sleep(300)

    for i in range(40):
        r = works_and_sleeps.remote(tmp_path / str(i), i / 500)
        await_that((tmp_path / str(i)).exists)
        assert cancelled(r)


def test_only_once(tmp_path):
    """What it does about it is not interrupted."""
    @ray.remote
    def cleans_up(path):
        try:
            (path / "runs").touch()
            time.sleep(300)
        except KeyboardInterrupt:
            time.sleep(0.4)
            (path / "clean").touch()
            raise

    @ray.remote(num_returns="streaming")
    def stream(path):
        yield 1
        cleans_up._function(path)

    for task in (cleans_up, stream):
        path = tmp_path / task.__name__
        path.mkdir()
        r = task.remote(path)
        await_that((path / "runs").exists)
        ray.cancel(r)
        await_that((path / "clean").exists)


def test_a_task_that_computes(tmp_path):
    @ray.remote
    def computes(path):
        path.touch()
        while True:
            pass

    r = computes.remote(tmp_path / "runs")
    await_that((tmp_path / "runs").exists)
    assert cancelled(r)


def test_a_task_sees_a_keyboard_interrupt(tmp_path):
    @ray.remote
    def notes(path):
        try:
            (path / "runs").touch()
            time.sleep(300)
        except KeyboardInterrupt:
            (path / "seen").touch()
            raise
        finally:
            (path / "finally").touch()

    r = notes.remote(tmp_path)
    await_that((tmp_path / "runs").exists)
    assert cancelled(r)
    await_that((tmp_path / "finally").exists)
    assert (tmp_path / "seen").exists()


def test_a_task_that_has_not_started():
    never = Never.remote()
    waits = sleep.remote(never.come.remote())
    assert cancelled(waits)
    full = [sleep.options(num_cpus=2).remote() for _ in range(3)]
    assert all(cancelled(r) for r in reversed(full))


def test_a_task_in_get(tmp_path):
    @ray.remote
    def gets(refs, path):
        path.touch()
        return ray.get(refs)

    @ray.remote
    def waits(refs, path):
        path.touch()
        return ray.wait(refs)

    never = Never.remote()
    for task in (gets, waits):
        path = tmp_path / task.__name__
        r = task.remote([never.come.remote()], path)
        await_that(path.exists)
        assert cancelled(r)
    assert ray.get(never.ping.remote()) == "pong"


def test_by_force(tmp_path):
    @ray.remote
    def stubborn(path):
        path.touch()
        while True:
            try:
                time.sleep(300)
            except KeyboardInterrupt:
                pass

    r = stubborn.remote(tmp_path / "runs")
    await_that((tmp_path / "runs").exists)
    assert cancelled(r, force=True)


@pytest.mark.parametrize("recursive", [True, False])
def test_what_a_task_has_submitted(tmp_path, recursive):
    @ray.remote
    def parent(path):
        child = sleep.options(num_cpus=0).remote(path / "child")
        keeper = ray.get_actor(f"keeper-{recursive}")
        ray.get(keeper.keep.remote([child]))
        ray.get(child)

    @ray.remote(name=f"keeper-{recursive}")
    class Keeper:
        refs = None

        def keep(self, refs):
            self.refs = refs

        def give(self):
            return self.refs

    keeper = Keeper.remote()
    r = parent.remote(tmp_path)
    await_that((tmp_path / "child").exists)
    await_that(lambda: ray.get(keeper.give.remote()))
    assert cancelled(r, recursive=recursive)
    child = ray.get(keeper.give.remote())[0]
    if recursive:
        with pytest.raises(Cancelled):
            ray.get(child, timeout=60)
    else:
        assert ray.wait([child], timeout=0.2)[0] == []
        cancelled(child)


def test_what_is_done_stays_done():
    r = ray.remote(lambda: 5).remote()
    assert ray.get(r) == 5
    ray.cancel(r)
    ray.cancel(r, force=True)
    assert ray.get(r) == 5
    ray.cancel(ray.put(1))


def test_a_cancelled_task_is_not_tried_again(tmp_path):
    @ray.remote(max_retries=5, retry_exceptions=True)
    def counts(path):
        (path / str(time.monotonic_ns())).touch()
        time.sleep(300)

    r = counts.remote(tmp_path)
    await_that(lambda: len(os.listdir(tmp_path)) == 1)
    assert cancelled(r)
    assert ray.get(ray.remote(num_cpus=2)(lambda: 1).remote()) == 1
    assert len(os.listdir(tmp_path)) == 1


def test_a_generator(tmp_path):
    @ray.remote
    def items(path):
        yield 1
        path.touch()
        time.sleep(300)
        yield 2

    generator = items.remote(tmp_path / "runs")
    assert ray.get(next(generator)) == 1
    await_that((tmp_path / "runs").exists)
    ray.cancel(generator)
    with pytest.raises(Cancelled):
        ray.get(next(generator), timeout=60)
    with pytest.raises(StopIteration):
        next(generator)


def test_a_coroutine():
    never = Never.remote()
    r = never.come.remote()
    ray.get(never.ping.remote())
    assert cancelled(r)
    assert ray.get(never.ping.remote()) == "pong"


def test_a_coroutine_can_clean_up():
    @ray.remote
    class Cleans:
        def __init__(self):
            self.seen = None

        async def come(self):
            try:
                self.seen = "waits"
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.seen = "cancelled"
                raise

        async def get(self):
            return self.seen

    cleans = Cleans.remote()
    r = cleans.come.remote()
    await_that(lambda: ray.get(cleans.get.remote()) == "waits")
    assert cancelled(r)
    await_that(lambda: ray.get(cleans.get.remote()) == "cancelled")


def test_a_coroutine_of_a_class_with_generators():
    @ray.remote
    class Mixed:
        async def come(self):
            await asyncio.Event().wait()

        async def items(self):
            yield 1
            await asyncio.Event().wait()

        async def ping(self):
            return "pong"

    mixed = Mixed.remote()
    r, generator = mixed.come.remote(), mixed.items.remote()
    assert ray.get(next(generator)) == 1
    ray.get(mixed.ping.remote())
    assert cancelled(r)
    ray.cancel(generator)
    with pytest.raises(Cancelled):
        ray.get(next(generator), timeout=60)
    assert ray.get(mixed.ping.remote()) == "pong"


def test_a_method_that_looks(tmp_path):
    @ray.remote
    class Looks:
        def runs(self, path):
            path.touch()
            while not ray.get_runtime_context().is_canceled():
                time.sleep(0.01)

        def ping(self):
            return "pong"

    looks = Looks.remote()
    r, queued = looks.runs.remote(tmp_path / "runs"), looks.ping.remote()
    await_that((tmp_path / "runs").exists)
    assert cancelled(queued) and cancelled(r)
    assert ray.get(looks.ping.remote()) == "pong"


def test_what_is_refused():
    never = Never.remote()
    with pytest.raises(ValueError):
        ray.cancel(never.come.remote(), force=True)
    with pytest.raises(TypeError):
        ray.cancel(never)
    with pytest.raises(TypeError):
        ray.cancel("x")


# ---- Ctrl-C ----

WAITS = {
    "get": "ray.get(sleep.remote())",
    "wait": "ray.wait([sleep.remote()])",
    "generator": "next(items.remote())",
    "actor": "ray.get(A.remote().sleep.remote())",
    "nothing": "sleep.remote(); time.sleep(300)",
}
PROGRAM = """
import os, signal, sys, time
import libray as ray
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
ray.init("local", num_cpus=2)
@ray.remote
def sleep(): time.sleep(300)
@ray.remote
def items():
    time.sleep(300)
    yield 1
@ray.remote
class A:
    def sleep(self): time.sleep(300)
print(ray.get(ray.remote(lambda: os.getpid()).remote()), flush=True)
{}
"""


@pytest.mark.parametrize("what", WAITS)
def test_ctrl_c_ends_a_driver(what):
    driver = subprocess.Popen([sys.executable, "-c", PROGRAM.format(WAITS[what])], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, start_new_session=True)
    worker = int(driver.stdout.readline())
    time.sleep(0.1)  # most likely it waits by then; it must end before, too
    os.killpg(driver.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, errors = driver.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors and driver.returncode == -signal.SIGINT, errors
    await_that(lambda: not is_alive(worker), "the end of the worker process")
