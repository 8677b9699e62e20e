"""The life of a runtime: it starts by itself, ends, starts again; forks and children; nothing is left behind."""

import glob
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

import libray as ray
from clusters import is_alive
from conftest import await_that


@ray.remote
def add(a, b):
    return a + b


def test_it_starts_by_itself(ray_alone):
    assert not ray.is_initialized()
    assert ray.get(add.remote(1, 2)) == 3
    assert ray.is_initialized()


@pytest.mark.parametrize("call", [lambda: ray.put(1), lambda: ray.get_runtime_context(), lambda: ray.wait([ray.put(1)]),
                                  lambda: ray.nodes() and ray.cluster_resources()])
def test_what_starts_it(ray_alone, call):
    call()
    assert ray.is_initialized()


def test_one_after_the_other(ray_alone):
    @ray.remote
    class Counter:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

    jobs = set()
    for cpus in (1, 2, 3):
        context = ray.init(num_cpus=cpus)
        assert ray.cluster_resources()["CPU"] == cpus
        assert ray.get(add.remote(1, cpus)) == 1 + cpus
        assert ray.get(Counter.options(name="same").remote().add.remote()) == 1
        jobs.add(context["job_id"])
        ray.shutdown()
        assert not ray.is_initialized()
    ray.shutdown()
    assert len(jobs) == 3


def test_a_runtime_as_a_context(ray_alone):
    with ray.init(num_cpus=1) as context:
        assert context["node_id"] and ray.is_initialized()
    assert not ray.is_initialized()


def test_refs_of_a_runtime_that_is_over(ray_alone):
    ray.init(num_cpus=1)
    old, handle = ray.put(1), ray.remote(type("A", (), {"m": lambda self: 1})).remote()
    ray.shutdown()
    ray.init(num_cpus=1)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(old)
    with pytest.raises(ray.exceptions.RayError):
        ray.get(handle.m.remote())
    assert ray.get(add.remote(1, 1)) == 2


def test_shutdown_ends_what_waits(ray_alone):
    import threading
    ray.init(num_cpus=1)

    @ray.remote
    def sleep():
        time.sleep(300)

    found, ref = [], sleep.remote()

    def wait():
        try:
            ray.get(ref)
        except ray.exceptions.RayError as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.1)
    ray.shutdown()
    thread.join(60)
    assert len(found) == 1


def test_modules_in_the_current_directory_are_not_those_of_python(tmp_path):
    """A worker process imports what the driver does: not what happens to lie where it was started."""
    for name in ("types", "random", "pickle", "enum"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current directory')")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "program.py").write_text("""
import libray as ray
ray.init("local", num_cpus=1)
print(ray.get(ray.remote(lambda: 5).remote()))
""")
    done = subprocess.run([sys.executable, "deeper/program.py"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=120)
    assert done.stdout == "5\n", done.stderr


# ---- children ----


def test_a_forked_child_is_told(ray_alone):
    ray.init(num_cpus=1)
    ref = ray.put(1)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for call in (lambda: ray.get(ref), lambda: add.remote(1, 2), lambda: ray.put(1)):
            try:
                call()
            except RuntimeError as error:
                os.write(writer, f"{error}\n".encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as file:
        words = file.read()
    assert os.waitpid(child, 0)[1] == 0
    assert words.count("forked") == 3 and "spawn" in words
    assert ray.get(add.remote(1, 2)) == 3


def test_init_after_a_fork(tmp_path):
    """A child that was forked before has a runtime of its own."""
    program = """
import os, libray as ray
if os.fork() == 0:
    ray.init("local", num_cpus=1)
    assert ray.get(ray.remote(lambda: 5).remote()) == 5
    ray.shutdown()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 7
ray.init("local", num_cpus=1)
assert ray.get(ray.remote(lambda: 6).remote()) == 6
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def child(queue):
    import libray as ray
    before = ray.is_initialized()
    ray.init("local", num_cpus=1)
    queue.put((before, ray.get(ray.remote(lambda: os.getppid()).remote())))
    ray.shutdown()


def test_a_spawned_child_has_its_own(ray_alone):
    ray.init(num_cpus=1)
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue()
    process = spawn.Process(target=child, args=(queue,))
    process.start()
    assert queue.get(timeout=60) == (False, process.pid)
    process.join(60)
    assert process.exitcode == 0 and ray.get(add.remote(1, 2)) == 3


# ---- nothing is left ----

PROGRAM = """
import os, sys, time
import numpy as np
import libray as ray
ray.init("local", num_cpus=2, log_to_driver=False)
@ray.remote
class A:
    def m(self): return os.getpid()
@ray.remote
def pid():
    time.sleep(0.05)
    return os.getpid()
@ray.remote
def items():
    yield np.ones(100_000)
    time.sleep(300)
a = A.options(name="n", lifetime="detached").remote()
kept = [ray.put(np.ones(1_000_000)), ray.get(ray.put(np.ones(1_000_000))), next(items.remote())]
pids = {ray.get(a.m.remote()), *ray.get([pid.remote() for _ in range(4)])}
print(*pids, flush=True)
"""
ENDS = {"return": "", "sys.exit": "sys.exit(0)", "exception": "raise ValueError", "shutdown": "ray.shutdown()",
        "os._exit": "os._exit(0)", "SIGTERM": "time.sleep(300)", "SIGKILL": "time.sleep(300)"}


def shared_memory_of(pids):
    """Files in /dev/shm, and mappings of them, that processes have."""
    return [path for path in glob.glob("/dev/shm/*") if any(str(pid) in path for pid in pids)]


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left(end, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "RAY_TMPDIR": ""}
    driver = subprocess.Popen([sys.executable, "-c", PROGRAM + ENDS[end]], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, env=environment)
    workers = [int(pid) for pid in driver.stdout.readline().split()]
    assert len(workers) >= 2
    if end.startswith("SIG"):
        driver.send_signal(getattr(signal, end))
    driver.communicate(timeout=60)
    await_that(lambda: not any(is_alive(pid) for pid in workers), "the end of the worker processes")
    assert shared_memory_of([driver.pid, *workers]) == []
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    if end in ("return", "sys.exit", "exception", "shutdown"):
        assert left == []
    else:  # a node that was killed is cleared away when the next one starts
        subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, timeout=60,
                       stdout=subprocess.DEVNULL)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# ---- after the end ----


def test_refs_can_be_shown_and_kept_in_sets_when_all_is_over(ray_alone):
    ray.init("local", num_cpus=1)
    ref = ray.put(1)
    known = {ray.put(2)}
    ray.shutdown()
    assert "ObjectRef(" in repr(ref) and ref == ref and ref not in known


def test_threads_that_start_it_together(ray_alone):
    import threading
    errors = []

    def put():
        try:
            ray.get(ray.put(1))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=put) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and ray.is_initialized()


def test_awaiting_leaves_no_thread_behind(ray_alone):
    import threading
    for _ in range(3):
        ray.init("local", num_cpus=1)
        assert ray.put(1).future().result(timeout=60) == 1
        ray.shutdown()
    await_that(lambda: not any(t.name == "libray-watcher" for t in threading.enumerate()), "the end of the watchers")
