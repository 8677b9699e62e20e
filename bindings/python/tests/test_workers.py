"""Worker processes: copies of one that has imported what they all need, each with a life of its own."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid

import pytest

import libray as ray
from clusters import is_alive
from conftest import await_that


@ray.remote(num_cpus=0)
class Resident:
    def pid(self):
        return os.getpid()

    def parent(self):
        return os.getppid()

    def is_copy(self):
        return gc.get_freeze_count() > 0

    def chance(self):
        return random.random(), uuid.uuid4(), os.urandom(8)

    def main_thread(self):
        main = threading.main_thread()
        return main is threading.current_thread(), threading.get_native_id() == os.getpid(), threading.active_count()

    def children(self):
        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            return subprocess.run(["echo", "one"], stdout=subprocess.PIPE).stdout, pool.map(abs, [-1, -2])


@pytest.fixture
def residents(ray_start):
    actors = [Resident.remote() for _ in range(4)]
    yield actors
    for actor in actors:
        ray.kill(actor)


def are_copies(actors):
    return all(ray.get([actor.is_copy.remote() for actor in actors]))


def some_are_copies(count):
    """A template that has not answered for a second is given up, and what waits for it is started; later ones are
    copies again."""
    actors = [Resident.remote() for _ in range(count)]
    try:
        return are_copies(actors)
    finally:
        for actor in actors:
            ray.kill(actor)


def test_they_are_copies(residents):
    if not are_copies(residents):
        await_that(lambda: some_are_copies(4))
    assert ray.get([actor.parent.remote() for actor in residents]) == [os.getpid()] * 4
    assert len(set(ray.get([actor.pid.remote() for actor in residents]))) == 4


def test_chance_differs(residents):
    for kind in zip(*ray.get([actor.chance.remote() for actor in residents])):
        assert len(set(kind)) == 4


def test_python_knows_that_it_was_forked(residents):
    assert ray.get([actor.main_thread.remote() for actor in residents]) == [(True, True, 1)] * 4


def test_they_have_children_of_their_own(residents):
    assert ray.get(residents[0].children.remote()) == (b"one\n", [1, 2])


def workers_of(pid):
    """Its children that run libray._worker: pid, threads, whether it was started as a template (copies of one were,
    too). Other tests may have left children of their own, a resource tracker of multiprocessing's."""
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/stat") as stat, open(f"/proc/{name}/cmdline") as command, \
                    open(f"/proc/{name}/environ") as environment:
                fields = stat.read().rpartition(")")[2].split()
                if "libray._worker" in command.read() and int(fields[1]) == pid and fields[0] != "Z":
                    yield int(name), int(fields[17]), " template\0" in environment.read()
        except OSError:
            pass  # it has ended, or is none


def template_of(pid):
    """The one with one thread alone, for a while: each worker process has one that watches its node's end, but not at
    once."""
    found = []

    def is_found():
        before = found[:]
        found[:] = [worker for worker, threads, _ in workers_of(pid) if threads == 1]
        time.sleep(0.05)
        return len(found) == 1 and found == before
    await_that(is_found, "one process with one thread")
    return found[0]


def test_the_template_is_killed(ray_start):
    for _ in range(3):
        template = template_of(os.getpid())
        os.kill(template, signal.SIGKILL)
        await_that(lambda: not is_alive(template), "the end of the template")
        await_that(lambda: some_are_copies(3))


def test_what_has_an_environment_of_its_own_is_started(ray_start):
    @ray.remote(runtime_env={"env_vars": {"OF_ITS_OWN": "yes"}})
    def look():
        return os.environ["OF_ITS_OWN"], gc.get_freeze_count() > 0

    assert ray.get(look.remote()) == ("yes", False)


def test_threads_in_the_template(tmp_path):
    """What runs at Python's start may have begun a thread: then nothing is copied, and all works."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, threading, time\n"
        "if '-m' in sys.orig_argv and 'libray._worker' in sys.orig_argv:\n"
        "    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n")
    program = ("import gc, libray as ray, os, sys\n"
               "sys.path[:0] = [sys.argv[1]]\n"
               "from test_workers import await_that, workers_of\n"
               "ray.init(num_cpus=1)\n"
               "print(ray.get(ray.remote(lambda: gc.get_freeze_count() > 0).remote()))\n"
               "assert list(workers_of(os.getpid()))\n"
               "await_that(lambda: not any(worker[2] for worker in workers_of(os.getpid())),\n"
               "           'the end of the template')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    end = subprocess.run([sys.executable, "-c", program, os.path.dirname(__file__)], text=True, timeout=60,
                         env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "2 threads" in end.stderr and end.returncode == 0
    assert end.stdout == "False\n"
