"""ray.util.state and ray.timeline: what there is, and what has run."""

import json

import pytest

import libray as ray
from clusters import Cluster
from conftest import await_that
from libray.util import placement_group, remove_placement_group
from libray.util import state
from libray.util.state.common import ActorState, NodeState, TaskState
from libray.util.state.exception import RayStateApiException


@ray.remote
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return ray.get_runtime_context().get_worker_id()


@ray.remote
def square(x):
    return x * x


@ray.remote(max_retries=0)
def fail():
    raise ValueError("on purpose")


@pytest.fixture(scope="module")
def busy():
    """A node on which something has run."""
    ray.shutdown()
    ray.init(num_cpus=2, resources={"disk": 2}, labels={"zone": "eu"})
    counter = Counter.options(name="the counter").remote()
    ray.get([counter.add.remote() for _ in range(2)] + [square.remote(i) for i in range(3)], timeout=60)
    with pytest.raises(ValueError):
        ray.get(fail.remote(), timeout=60)
    await_that(lambda: len(state.list_tasks()) >= 7)
    yield counter
    ray.shutdown()


def here():
    return ray.get_runtime_context().get_node_id()


# ---- lists ----


def test_actors(busy):
    [row] = state.list_actors()
    assert isinstance(row, ActorState)
    assert (row.actor_id, row.class_name, row.state, row.name) == (busy._actor_id.hex(), "Counter", "ALIVE",
                                                                   "the counter")
    assert row["node_id"] == row.get("node_id") == here()
    assert row.pid == int(ray.get(busy.add.remote(), timeout=60)[-8:], 16)
    assert row.asdict()["class_name"] == "Counter"
    assert state.get_actor(row.actor_id).actor_id == row.actor_id
    assert state.get_actor("00") is None


def test_nodes(busy):
    [row] = state.list_nodes()
    assert isinstance(row, NodeState)
    assert (row.node_id, row.state, row.is_head_node, row.labels) == (here(), "ALIVE", True, {"zone": "eu"})
    assert {name: row.resources_total[name] for name in ("CPU", "disk")} == {"CPU": 2, "disk": 2}
    assert row.resources_total["memory"] == ray.cluster_resources()["memory"]
    assert state.get_node(here()).node_id == here()


def test_jobs(busy):
    [row] = state.list_jobs(detail=True)
    assert (row.job_id, row.type, row.status) == (ray.get_runtime_context().get_job_id(), "DRIVER", "RUNNING")
    assert row.start_time > 1e12 and row.end_time is None
    assert state.get_job(row.job_id).status == "RUNNING"


def test_workers(busy):
    rows = state.list_workers()
    assert all((row.worker_type, row.is_alive, row.node_id) == ("WORKER", True, here()) for row in rows)
    its = ray.get(busy.add.remote(), timeout=60)
    assert its in [row.worker_id for row in rows]
    assert state.get_worker(its).pid == int(its[-8:], 16)


def test_tasks(busy):
    rows = {}
    for row in state.list_tasks(detail=True):
        rows.setdefault(row.name, []).append(row)
    assert {row.state for row in rows["square"]} == {"FINISHED"} and len(rows["square"]) == 3
    [failed] = rows["fail"]
    assert isinstance(failed, TaskState)
    assert (failed.state, failed.type, failed.error_type) == ("FAILED", "NORMAL_TASK", "TASK_EXECUTION_EXCEPTION")
    assert failed.node_id == here() and failed.attempt_number == 0
    assert failed.end_time_ms >= failed.start_time_ms > 1e12
    assert {row.type for row in rows["Counter.add"]} == {"ACTOR_TASK"}
    assert {row.actor_id for row in rows["Counter.add"]} == {busy._actor_id.hex()}
    assert [row.type for row in rows["Counter"]] == ["ACTOR_CREATION_TASK"]


def test_a_task_that_waits(busy):
    ref = square.options(num_cpus=100).remote(1)
    row = state.get_task(ref)
    assert row.name == "square" and row.state.startswith("PENDING")
    assert state.get_task(ref.task_id().hex()).name == "square"
    ray.cancel(ref)
    assert state.get_task("00" * 16) is None


def test_placement_groups(busy):
    group = placement_group([{"CPU": 1}, {"disk": 1}], name="a group")
    assert group.wait(60)
    [row] = state.list_placement_groups(detail=True)
    assert (row.placement_group_id, row.name, row.state) == (group.id.hex(), "a group", "CREATED")
    assert [bundle["unit_resources"] for bundle in row.bundles] == [{"CPU": 1.0}, {"disk": 1.0}]
    assert [bundle["node_id"] for bundle in row.bundles] == [here(), here()]
    assert state.get_placement_group(group.id.hex()).name == "a group"
    remove_placement_group(group)
    await_that(lambda: not state.list_placement_groups())


def test_what_is_not_listed(busy):
    assert state.list_objects() == state.list_runtime_envs() == state.list_cluster_events() == []
    assert state.get_objects("00") == []


# ---- parameters ----


def test_filters(busy):
    assert {row.name for row in state.list_tasks(filters=[("state", "=", "failed")])} == {"fail"}
    assert "square" not in {row.name for row in state.list_tasks(filters=[("name", "!=", "square")])}
    assert len(state.list_tasks(filters=[("name", "=", "square"), ("state", "=", "FINISHED")])) == 3
    assert state.list_tasks(filters=[("name", "=", "square"), ("state", "=", "FAILED")]) == []
    assert state.list_nodes(filters=[("is_head_node", "=", True)]) == state.list_nodes(
        filters=[("is_head_node", "=", "true")]) == state.list_nodes()
    pid = state.list_workers()[0].pid
    assert [row.pid for row in state.list_workers(filters=[("pid", "=", pid)])] == [pid]


def test_limit(busy):
    assert len(state.list_tasks(limit=2)) == 2
    with pytest.warns(UserWarning, match="limit"):
        state.list_tasks(limit=2, _explain=True)
    with pytest.raises(RayStateApiException, match="10000"):
        state.list_tasks(limit=10001)


def test_detail(busy):
    assert all(row.start_time_ms is None for row in state.list_tasks())
    assert state.list_placement_groups() == []


def test_bad_filters(busy):
    with pytest.raises(ValueError):
        state.list_tasks(filters=[("state", ">", "FAILED")])
    with pytest.raises(ValueError):
        state.list_tasks(filters=[("state", "FAILED")])
    with pytest.raises(RayStateApiException, match="colour"):
        state.list_tasks(filters=[("colour", "=", "red")])


def test_asked_from_a_task(busy):
    @ray.remote
    def ask():
        return [row.name for row in state.list_actors()]

    assert ray.get(ask.remote(), timeout=60) == ["the counter"]


def test_without_a_cluster(ray_alone, monkeypatch):
    with pytest.raises(ConnectionError):
        state.list_nodes()


# ---- sums; these start their own runtime again, since the test above has ended it ----


@pytest.fixture(scope="module")
def sums():
    ray.init(num_cpus=2)
    actors = [Counter.remote() for _ in range(2)]
    ray.get([actor.add.remote() for actor in actors] + [square.remote(1)], timeout=60)
    with pytest.raises(ValueError):
        ray.get(fail.remote(), timeout=60)
    await_that(lambda: len(state.list_tasks()) == 6)
    yield actors
    ray.shutdown()


def test_summarize_tasks(sums):
    told = state.summarize_tasks()["cluster"]
    assert told["summary"]["square"] == {"func_or_class_name": "square", "type": "NORMAL_TASK",
                                         "state_counts": {"FINISHED": 1}}
    assert told["summary"]["fail"]["state_counts"] == {"FAILED": 1}
    assert (told["total_tasks"], told["total_actor_tasks"], told["total_actor_scheduled"]) == (2, 2, 2)
    assert told["summary_by"] == "func_name"


def test_summarize_actors(sums):
    told = state.summarize_actors()["cluster"]
    assert told == {"summary": {"Counter": {"class_name": "Counter", "state_counts": {"ALIVE": 2}}}, "total_actors": 2,
                    "summary_by": "class"}


def test_summarize_objects(sums):
    before = state.summarize_objects()["cluster"]
    ref = ray.put(b"x" * (2 << 20))
    after = state.summarize_objects()["cluster"]
    assert after["total_objects"] == before["total_objects"] + 1
    assert after["total_size_mb"] - before["total_size_mb"] == pytest.approx(2, rel=0.1)
    del ref


def test_timeline(sums, tmp_path):
    events = ray.timeline()
    runs = {event["name"]: event for event in events if event["ph"] == "X"}
    assert {"square", "fail", "Counter", "Counter.add"} <= set(runs)
    run = runs["square"]
    assert run["pid"] == here() and run["tid"].startswith("worker:") and run["dur"] >= 0
    assert run["args"]["outcome"] == "ok" and runs["fail"]["cname"] == "terrible"
    assert {"process_name", "thread_name"} == {event["name"] for event in events if event["ph"] == "M"}
    assert ray.timeline(str(tmp_path / "trace.json")) is None
    with open(tmp_path / "trace.json") as file:
        assert [event["name"] for event in json.load(file)] == [event["name"] for event in events]


# ---- logs, which nodes of their own keep ----


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    ray.shutdown()
    cluster = Cluster(str(tmp_path_factory.mktemp("cluster")))
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.end()


@ray.remote
class Talker:
    def say(self, words):
        import os
        print(words)
        return ray.get_runtime_context().get_node_id(), os.getpid()


def log(**place):
    return "".join(state.get_log(**place))


def told(ask, *args, **kwargs):
    """What a cluster answers once all its nodes are in time: those that need over 2 s are missed, with an error."""
    answers = []

    def is_told():
        try:
            answers.append(ask(*args, **kwargs))
        except RayStateApiException:
            return False
        return True
    await_that(is_told)
    return answers[0]


def test_logs(cluster):
    actor = Talker.remote()
    node, pid = ray.get(actor.say.remote("first\nsecond"), timeout=60)
    file = f"worker-{pid}.out"
    await_that(lambda: told(log, node_id=node, filename=file) == "first\nsecond\n")
    await_that(lambda: file in state.list_logs(node_id=node).get("worker_out", []))
    assert state.list_logs(node_id=node, glob_filter="nothing*") == {}
    assert told(log, node_id=node, pid=pid) == "first\nsecond\n"
    assert told(log, node_id=node, pid=pid, tail=1) == "second\n"
    assert told(lambda: list(state.get_log(node_id=node, pid=pid, encoding=None))) == [b"first\nsecond\n"]
    assert told(state.get_actor, actor._actor_id.hex()).pid == pid
    assert told(log, actor_id=actor._actor_id.hex()) == "first\nsecond\n"
    following = state.get_log(node_id=node, pid=pid, follow=True)
    assert next(following) == "first\nsecond\n"
    ray.get(actor.say.remote("third"), timeout=60)
    assert next(following) == "third\n"
    following.close()


def test_no_such_log(cluster):
    node = next(row.node_id for row in told(state.list_nodes) if row.is_head_node)
    with pytest.raises(RayStateApiException):
        log(node_id=node, filename="nothing")
    with pytest.raises(RayStateApiException):
        log(actor_id="00")
    with pytest.raises(AssertionError):
        state.list_logs()


def test_states_of_all_nodes(cluster):
    actors = [Talker.options(resources={name: 1}).remote() for name in cluster.workers]
    places = {place for place, _ in ray.get([actor.say.remote("") for actor in actors], timeout=60)}
    assert {row.node_id for row in told(state.list_actors) if row.state == "ALIVE"} >= places
    say = [("name", "=", "Talker.say")]
    await_that(lambda: {row.node_id for row in told(state.list_tasks, filters=say)} >= places)
    assert {event["pid"] for event in told(ray.timeline)} >= places
