"""Functions and classes that refer to refs and actors by their globals, closures and defaults."""

import os
import threading

import pytest

import libray as ray
from conftest import await_that

pytestmark = pytest.mark.usefixtures("ray_start")


@ray.remote(num_cpus=0)
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


def reader_of(value):
    ref = ray.put(value)

    @ray.remote
    def read():
        return ray.get(ref)

    return read


def test_a_task_reads_a_ref_of_its_closure():
    read = reader_of("kept")
    assert ray.get([read.remote(), read.options(num_cpus=0).remote()]) == ["kept"] * 2


def test_functions_of_the_same_code_have_refs_of_their_own():
    assert ray.get([reader_of(i).remote() for i in range(5)]) == list(range(5))


def test_a_task_calls_an_actor_of_its_closure():
    counter = Counter.remote()

    @ray.remote
    def add():
        return ray.get(counter.add.remote())

    assert sorted(ray.get([add.remote() for _ in range(4)])) == [1, 2, 3, 4]


def test_a_generator_and_a_nested_task():
    ref, read = ray.put(3), reader_of("inner")

    @ray.remote
    def count():
        yield from range(ray.get(ref))

    @ray.remote
    def outer():
        return ray.get(read.remote())

    assert [ray.get(item) for item in count.remote()] == [0, 1, 2]
    assert ray.get(outer.remote()) == "inner"


def test_an_actor_class_also_after_a_restart():
    ref = ray.put("default")

    @ray.remote(max_restarts=1)
    class Reader:
        def __init__(self, held=ref):
            self.held = held

        def read(self):
            return ray.get(self.held)

        def die(self):
            os._exit(1)

    reader = Reader.remote()
    assert ray.get(reader.read.remote()) == "default"
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(reader.die.remote())

    def reads_again():
        try:
            return ray.get(reader.read.remote()) == "default"
        except ray.exceptions.ActorUnavailableError:
            return False

    await_that(reads_again, "the restarted actor")


def test_what_cannot_be_pickled_besides_is_named():
    ref, lock = ray.put(1), threading.Lock()

    @ray.remote
    def both():
        return ref, lock

    with pytest.raises(TypeError, match="_thread.lock"):
        both.remote()
