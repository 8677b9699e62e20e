"""ray.get_runtime_context(): where code runs."""

import os
import threading

import pytest

import libray as ray
from conftest import await_that

NAMESPACE = "of these tests"


@pytest.fixture(scope="module", autouse=True)
def runtime():
    ray.shutdown()
    ray.init(num_cpus=2, namespace=NAMESPACE, labels={"zone": "eu"}, runtime_env={"env_vars": {"OF_ALL": "1"}})
    yield
    ray.shutdown()


def get(ref):
    return ray.get(ref, timeout=60)


def what_i_am():
    context = ray.get_runtime_context()
    return {"job": context.get_job_id(), "node": context.get_node_id(), "worker": context.get_worker_id(),
            "task": context.get_task_id(), "actor": context.get_actor_id(), "name": context.get_task_name(),
            "function": context.get_task_function_name(), "actor_name": context.get_actor_name(),
            "namespace": context.namespace, "session": context.get_session_name(),
            "labels": context.get_node_labels(), "group": context.get_placement_group_id(),
            "gcs": context.gcs_address, "temp": context.get_temp_dir()}


@ray.remote
def task():
    return what_i_am()


@ray.remote
class Actor:
    def __init__(self):
        self.at_first = what_i_am()

    def what(self):
        return what_i_am()

    def first(self):
        return self.at_first

    def me(self):
        return ray.get_runtime_context().current_actor

    def me_in_a_thread(self):
        found = []
        thread = threading.Thread(target=lambda: found.append(ray.get_runtime_context().current_actor))
        thread.start()
        thread.join()
        return found[0]

    def pid(self):
        return os.getpid()

    def was_reconstructed(self):
        return ray.get_runtime_context().was_current_actor_reconstructed

    def end(self):
        os._exit(1)


@ray.remote
class Async:
    async def what(self):
        return what_i_am()

    async def me(self):
        return ray.get_runtime_context().current_actor

    async def pid(self):
        return os.getpid()

    async def is_canceled(self):
        return ray.get_runtime_context().is_canceled()


# ---- the driver ----


def test_driver():
    found = what_i_am()
    told = [found[name] for name in ("job", "node", "worker", "session", "temp", "gcs")]
    assert all(isinstance(text, str) and text for text in told)
    assert all(found[name] is None for name in ("task", "actor", "name", "function", "actor_name", "group"))
    assert found["namespace"] == NAMESPACE
    assert found["labels"] == {"zone": "eu"}
    assert found["node"] == ray.nodes()[0]["NodeID"]
    assert ray.get_runtime_context().get_accelerator_ids() == {"GPU": []}
    assert ray.get_runtime_context().runtime_env == {"env_vars": {"OF_ALL": "1"}}


def test_what_is_not_for_the_driver():
    context = ray.get_runtime_context()
    with pytest.raises(RuntimeError):
        context.current_actor
    with pytest.raises(RuntimeError):
        context.is_canceled()
    with pytest.raises(AssertionError):
        context.was_current_actor_reconstructed
    with pytest.raises(AssertionError):
        context.get_assigned_resources()


# ---- tasks ----


def test_task():
    mine, its = what_i_am(), get(task.remote())
    assert all(its[name] == mine[name] for name in ("job", "node", "namespace", "session", "labels", "gcs"))
    assert its["worker"] != mine["worker"]
    assert its["actor"] is its["actor_name"] is its["group"] is None
    assert its["task"] and its["task"] != get(task.remote())["task"]
    assert (its["name"], its["function"]) == ("task", f"{task._function.__module__}.task")


def test_names_of_tasks():
    assert get(task.options(name="by hand").remote())["name"] == "by hand"
    assert get(task.options(name="by hand").remote())["function"].endswith(".task")
    actor = Actor.remote()
    assert get(actor.what.options(name="by hand").remote())["name"] == "by hand"


def test_a_tasks_runtime_env():
    @ray.remote
    def env():
        return ray.get_runtime_context().runtime_env["env_vars"]

    assert get(env.remote()) == {"OF_ALL": "1"}
    assert get(env.options(runtime_env={"env_vars": {"MINE": "2"}}).remote()) == {"OF_ALL": "1", "MINE": "2"}


def test_is_canceled():
    @ray.remote
    def ask():
        return ray.get_runtime_context().is_canceled()

    assert get(ask.remote()) is False

    @ray.remote
    class Waiter:
        saw = None

        def wait(self):
            self.saw = False
            while not ray.get_runtime_context().is_canceled():
                pass
            self.saw = True

        def did_see(self):
            return self.saw

    waiter = Waiter.options(max_concurrency=2).remote()
    ref = waiter.wait.remote()
    await_that(lambda: get(waiter.did_see.remote()) is False)
    ray.cancel(ref)
    await_that(lambda: get(waiter.did_see.remote()))


# ---- actors ----


@pytest.mark.parametrize("cls", [Actor, Async])
def test_actor(cls):
    name = cls.__name__
    actor = cls.options(name=f"an {name}").remote()
    mine, its = what_i_am(), get(actor.what.remote())
    assert all(its[key] == mine[key] for key in ("job", "node", "namespace", "session"))
    assert its["actor"] == actor._actor_id.hex()
    assert its["actor_name"] == f"an {name}"
    assert its["name"] == f"{name}.what"
    assert its["function"] == f"{cls._cls.__module__}.{name}.what"


def test_an_actor_without_a_name():
    assert get(Actor.remote().what.remote())["actor_name"] == ""


def test_in_the_constructor():
    actor = Actor.options(name="made").remote()
    first = get(actor.first.remote())
    assert (first["actor"], first["actor_name"]) == (actor._actor_id.hex(), "made")


@pytest.mark.parametrize("cls", [Actor, Async])
def test_current_actor(cls):
    actor = cls.remote()
    me = get(actor.me.remote())
    assert me == actor
    assert get(me.pid.remote()) == get(actor.pid.remote())


def test_current_actor_in_a_thread():
    actor = Actor.remote()
    assert get(actor.me_in_a_thread.remote()) == actor


def test_is_canceled_is_not_for_coroutines():
    with pytest.raises(RuntimeError, match="async"):
        get(Async.remote().is_canceled.remote())


def test_was_reconstructed():
    actor = Actor.options(max_restarts=1, max_task_retries=-1).remote()
    assert get(actor.was_reconstructed.remote()) is False
    actor.end.options(max_task_retries=0).remote()
    await_that(lambda: get(actor.was_reconstructed.remote()))


# ---- afterwards; last, since it ends the runtime ----


def test_a_context_of_a_runtime_that_is_over():
    context = ray.get_runtime_context()
    ray.shutdown()
    for ask in (context.get_job_id, context.get_node_id, context.get_worker_id, context.get_session_name):
        with pytest.raises(RuntimeError):
            ask()
