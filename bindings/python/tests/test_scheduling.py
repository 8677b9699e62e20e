"""Where tasks and actors go: resources, GPUs, and scheduling strategies."""

import os

import pytest

import libray as ray
from clusters import Cluster, printed, run_script
from conftest import await_that
from libray.exceptions import ActorUnschedulableError, GetTimeoutError, TaskUnschedulableError
from libray.util import get_placement_group, placement_group, placement_group_table, remove_placement_group
from libray.util.scheduling_strategies import (DoesNotExist, Exists, In, NodeAffinitySchedulingStrategy,
                                               NodeLabelSchedulingStrategy, NotIn, PlacementGroupSchedulingStrategy)

NOBODY = "ab" * 16


@pytest.fixture(scope="module")
def one_node():
    ray.init(num_cpus=4, num_gpus=2, resources={"disk": 4, "accelerator_type:A100": 1},
             labels={"zone": "eu", "kind": "large"})
    yield ray.get_runtime_context().get_node_id()
    ray.shutdown()


class _Places(dict):
    """The ids of nodes by their names."""

    def __init__(self, ids, cluster):
        super().__init__(ids)
        self.cluster = cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    ray.shutdown()
    cluster = Cluster(str(tmp_path_factory.mktemp("cluster")))
    try:
        ray.init(address=cluster.address, namespace="of these tests")
        ids = {name: node["NodeID"] for node in ray.nodes() for name in ("left", "right") if name in node["Resources"]}
        yield _Places(ids, cluster)
    finally:
        ray.shutdown()
        cluster.end()


def what_i_have():
    context = ray.get_runtime_context()
    return {"resources": context.get_assigned_resources(), "gpus": ray.get_gpu_ids(),
            "ids": context.get_accelerator_ids()["GPU"], "visible": os.environ.get("CUDA_VISIBLE_DEVICES")}


task = ray.remote(what_i_have)


@ray.remote
class Actor:
    def have(self):
        return what_i_have()

    def node(self):
        return ray.get_runtime_context().get_node_id()


@ray.remote
def node():
    return ray.get_runtime_context().get_node_id()


def get(ref):
    return ray.get(ref, timeout=60)


# ---- resources ----


def test_assigned_resources(one_node):
    assert get(task.remote())["resources"] == {"CPU": 1}
    assert get(task.options(num_cpus=0.5, resources={"disk": 1.5}).remote())["resources"] == {"CPU": 0.5, "disk": 1.5}
    assert get(Actor.remote().have.remote())["resources"] == {}
    assert get(Actor.options(num_cpus=1, resources={"disk": 1}).remote().have.remote())["resources"] == {
        "CPU": 1, "disk": 1}


def test_a_task_without_resources(one_node):
    assert get(task.options(num_cpus=0).remote())["resources"] == {}


def test_resources_of_the_cluster(one_node):
    total = ray.cluster_resources()
    assert (total["CPU"], total["GPU"], total["disk"]) == (4, 2, 4)
    assert total["memory"] > 0 and total["object_store_memory"] > 0
    actor = Actor.options(num_cpus=1.5, num_gpus=0.5, resources={"disk": 0.25}).remote()
    get(actor.node.remote())
    await_that(lambda: ray.available_resources() == {**total, "CPU": 2.5, "GPU": 1.5, "disk": 3.75})
    del actor
    await_that(lambda: ray.available_resources() == total)


def test_fractions_share(one_node):
    actors = [Actor.options(num_cpus=0, resources={"disk": 0.5}).remote() for _ in range(8)]
    get([actor.node.remote() for actor in actors])
    late = Actor.options(num_cpus=0, resources={"disk": 0.0001}).remote().node.remote()
    assert ray.wait([late], timeout=0.2) == ([], [late])
    actors.clear()
    assert get(late) == one_node


def test_more_than_there_is_waits(one_node):
    for wish in ({"num_cpus": 100}, {"resources": {"nothing": 1}}, {"num_gpus": 3}, {"memory": 1 << 45}):
        ref = task.options(**wish).remote()
        with pytest.raises(GetTimeoutError):
            ray.get(ref, timeout=0.05)
        ray.cancel(ref)


@pytest.mark.parametrize("options, error", [
    ({"num_cpus": -1}, ValueError), ({"num_gpus": -1}, ValueError), ({"resources": {"disk": -1}}, ValueError),
    ({"memory": -1}, ValueError), ({"num_cpus": "1"}, TypeError), ({"resources": [1]}, TypeError),
    ({"resources": {"disk": "1"}}, TypeError), ({"resources": {"CPU": 1}}, ValueError),
    ({"resources": {"GPU": 1}}, ValueError), ({"num_gpus": 1.5}, ValueError)])
def test_bad_resources(options, error):
    with pytest.raises(error):
        task.options(**options).remote()
    with pytest.raises(error):
        Actor.options(**options).remote()


# ---- GPUs ----


def test_accelerator_type(one_node):
    assert get(node.options(accelerator_type="A100").remote()) == one_node
    ref = node.options(accelerator_type="H100").remote()
    assert ray.wait([ref], timeout=0.05) == ([], [ref])
    ray.cancel(ref)


def test_without_gpus(one_node):
    assert get(task.remote()) == {"resources": {"CPU": 1}, "gpus": [], "ids": [], "visible": None}
    assert ray.get_gpu_ids() == []


def test_gpus_of_a_task(one_node):
    found = get(task.options(num_gpus=1).remote())
    assert found["resources"] == {"CPU": 1, "GPU": 1}
    assert found["gpus"] in ([0], [1])
    assert found["ids"] == [str(gpu) for gpu in found["gpus"]]
    assert found["visible"] == ",".join(found["ids"])
    assert sorted(get(task.options(num_gpus=2).remote())["gpus"]) == [0, 1]
    assert len(get(task.options(num_gpus=0.5).remote())["gpus"]) == 1


def test_actors_have_gpus_of_their_own(one_node):
    actors = [Actor.options(num_gpus=1).remote() for _ in range(2)]
    found = get([actor.have.remote() for actor in actors])
    assert sorted(have["visible"] for have in found) == ["0", "1"]
    assert all(have["gpus"] == [int(have["visible"])] for have in found)


def test_parts_of_a_gpu_are_of_one(one_node):
    actors = [Actor.options(num_gpus=0.5, num_cpus=0).remote() for _ in range(4)]
    assert sorted(have["visible"] for have in get([actor.have.remote() for actor in actors])) == ["0", "0", "1", "1"]


# ---- nodes ----


def test_affinity(one_node):
    strategy = NodeAffinitySchedulingStrategy(one_node, soft=False)
    assert get(node.options(scheduling_strategy=strategy).remote()) == one_node
    assert get(Actor.options(scheduling_strategy=strategy).remote().node.remote()) == one_node


def test_affinity_to_nobody(one_node):
    hard, soft = (NodeAffinitySchedulingStrategy(NOBODY, soft=soft) for soft in (False, True))
    with pytest.raises(TaskUnschedulableError):
        get(node.options(scheduling_strategy=hard).remote())
    with pytest.raises(ActorUnschedulableError):
        get(Actor.options(scheduling_strategy=hard).remote().node.remote())
    assert get(node.options(scheduling_strategy=soft).remote()) == one_node
    assert get(Actor.options(scheduling_strategy=soft).remote().node.remote()) == one_node


def test_affinity_takes_ids():
    assert NodeAffinitySchedulingStrategy(ray.NodeID.from_hex(NOBODY), False).node_id == NOBODY
    for bad in ("", "zz", "abcd", "zz" * 16):
        with pytest.raises(ValueError, match="node_id"):
            NodeAffinitySchedulingStrategy(bad, soft=False)
    with pytest.raises(ValueError):
        NodeAffinitySchedulingStrategy(NOBODY, soft=False, _spill_on_unavailable=True)
    with pytest.raises(ValueError):
        NodeAffinitySchedulingStrategy(NOBODY, soft=True, _fail_on_unavailable=True)


@pytest.mark.parametrize("hard", [{"zone": In("eu", "us")}, {"zone": NotIn("us")}, {"zone": Exists()},
                                  {"cloud": DoesNotExist()}, {"zone": In("eu"), "kind": NotIn("small")}])
def test_labels_that_are_met(one_node, hard):
    strategy = NodeLabelSchedulingStrategy(hard)
    assert get(node.options(scheduling_strategy=strategy).remote()) == one_node
    assert get(Actor.options(scheduling_strategy=strategy).remote().node.remote()) == one_node


@pytest.mark.parametrize("hard", [{"zone": In("us")}, {"zone": NotIn("eu", "us")}, {"cloud": Exists()},
                                  {"zone": DoesNotExist()}, {"zone": In("eu"), "kind": In("small")}])
def test_labels_that_are_not_met(one_node, hard):
    ref = node.options(scheduling_strategy=NodeLabelSchedulingStrategy(hard)).remote()
    assert ray.wait([ref], timeout=0.05) == ([], [ref])
    ray.cancel(ref)


@pytest.mark.parametrize("selector, others", [
    ({"zone": "eu"}, [{"zone": "us"}]), ({"zone": "us"}, [{"zone": "asia"}, {"zone": "eu"}]),
    ({"zone": "!eu"}, [{"kind": "in(small, large)"}]), ({"zone": "in(us, asia)"}, [{"cloud": "!in(theirs)"}]),
    ({"zone": "us"}, [{}]), (None, [{"zone": "us"}])])
def test_fallback(one_node, selector, others):
    options = {"label_selector": selector, "fallback_strategy": [{"label_selector": other} for other in others]}
    assert get(node.options(**options).remote()) == one_node
    assert get(Actor.options(**options).remote().node.remote()) == one_node


def test_fallback_that_no_node_satisfies_either(one_node):
    far = node.options(label_selector={"zone": "us"}, fallback_strategy=[{"label_selector": {"zone": "asia"}}])
    large = node.options(num_cpus=100, label_selector={"zone": "us"}, fallback_strategy=[{"label_selector": {}}])
    refs = [far.remote(), large.remote()]
    assert ray.wait(refs, timeout=0.05) == ([], refs)
    for ref in refs:
        ray.cancel(ref)


@pytest.mark.parametrize("strategy, error", [
    ({"label_selector": {}}, TypeError), ("us", TypeError), (["us"], ValueError), ([{}], ValueError),
    ([{"num_cpus": 1}], ValueError), ([{"label_selector": {"zone": "in()"}}], ValueError),
    ([{"label_selector": "us"}], TypeError)])
def test_fallbacks_that_are_none(one_node, strategy, error):
    with pytest.raises(error, match="fallback_strategy|label_selector"):
        node.options(fallback_strategy=strategy)


def test_soft_labels_only_prefer(one_node):
    strategy = NodeLabelSchedulingStrategy(hard={}, soft={"zone": In("us")})
    assert get(node.options(scheduling_strategy=strategy).remote()) == one_node


@pytest.mark.parametrize("make", [
    lambda: In(), lambda: In(1), lambda: NotIn(), lambda: NodeLabelSchedulingStrategy({}),
    lambda: NodeLabelSchedulingStrategy(None), lambda: NodeLabelSchedulingStrategy({"zone": "eu"}),
    lambda: NodeLabelSchedulingStrategy({1: In("eu")}), lambda: NodeLabelSchedulingStrategy([In("eu")])])
def test_bad_rules(make):
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize("selector, is_met", [
    ({"zone": "eu"}, True), ({"zone": "!us"}, True), ({"zone": "in(eu, us)"}, True), ({"zone": "!in(us,asia)"}, True),
    ({"zone": "us"}, False), ({"zone": "!eu"}, False), ({"zone": "in(us,asia)"}, False), ({"zone": "!in(eu)"}, False),
    ({"zone": "eu", "kind": "small"}, False)])
def test_label_selector(one_node, selector, is_met):
    ref = node.options(label_selector=selector).remote()
    if is_met:
        assert get(ref) == one_node
        assert get(Actor.options(label_selector=selector).remote().node.remote()) == one_node
    else:
        assert ray.wait([ref], timeout=0.05) == ([], [ref])
        ray.cancel(ref)


def test_bad_selectors():
    for bad, error in (([1], TypeError), ("zone=eu", TypeError), ({"zone": "in()"}, ValueError),
                       ({"zone": "in(eu"}, ValueError), ({"zone": "-eu"}, ValueError)):
        with pytest.raises(error):
            node.options(label_selector=bad)


def test_bad_strategies():
    with pytest.raises(ValueError, match="BEST"):
        node.options(scheduling_strategy="BEST").remote()
    with pytest.raises(TypeError):
        node.options(scheduling_strategy=3)


def test_spread_and_default_on_one_node(one_node):
    for strategy in ("SPREAD", "DEFAULT", None, PlacementGroupSchedulingStrategy(None)):
        assert get(node.options(scheduling_strategy=strategy).remote()) == one_node


# ---- a cluster: these come last, its module-wide fixture ends that of one node ----


@ray.remote
class Held:
    """Keeps its CPU."""

    def node(self):
        return ray.get_runtime_context().get_node_id()


# Nothing is sent to a node that the others have not heard of for a second, since the machine has much to do.


def test_spread(cluster):
    def is_spread():
        actors = [Held.options(num_cpus=1, scheduling_strategy="SPREAD").remote() for _ in range(2)]
        return set(get([actor.node.remote() for actor in actors])) == set(cluster.values())

    await_that(is_spread)


def test_spread_tasks(cluster):
    spread = node.options(scheduling_strategy="SPREAD")
    await_that(lambda: set(get([spread.remote() for _ in range(8)])) == set(cluster.values()))


def test_affinity_is_soft_where_there_is_less(cluster):
    strategy = NodeAffinitySchedulingStrategy(cluster["right"], soft=True)
    assert get(node.options(resources={"left": 1}, scheduling_strategy=strategy).remote()) == cluster["left"]


def test_affinity_chooses(cluster):
    for id in cluster.values():
        strategy = NodeAffinitySchedulingStrategy(id, soft=False)
        assert get(node.options(scheduling_strategy=strategy).remote()) == id
        assert get(Actor.options(scheduling_strategy=strategy).remote().node.remote()) == id


def test_resources_choose(cluster):
    for name, id in cluster.items():
        assert get(node.options(resources={name: 0.5}).remote()) == id
        assert get(Actor.options(resources={name: 1}).remote().node.remote()) == id


def places_of(group, state="CREATED"):
    """Once it has that state: the table has no row of it while its owner is late with the answer."""
    row = {}

    def has_state():
        row.update(placement_group_table(group))
        return row["state"] == state
    await_that(has_state)
    return row["bundles_to_node_id"]


def test_strict_spread_and_strict_pack(cluster, make_group):
    spread = make_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert get(spread.ready()) == spread
    places = places_of(spread)
    assert set(places.values()) == set(cluster.values())
    for i, id in places.items():
        assert get(node.options(scheduling_strategy=PlacementGroupSchedulingStrategy(spread, i)).remote()) == id
    remove_placement_group(spread)
    packed = make_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_PACK")
    assert get(packed.ready()) == packed
    assert len(set(places_of(packed).values())) == 1


@ray.remote(num_cpus=0)
def use(group):
    assert group.bundle_specs == [{"CPU": 1.0}]
    return ray.get(node.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group)).remote(), timeout=60)


def test_a_group_is_used_from_other_nodes(cluster, make_group):
    group = make_group([{"CPU": 1}])
    assert group.wait(60)
    place = places_of(group)[0]
    assert get([use.options(resources={name: 1}).remote(group) for name in cluster]) == [place] * 2


@ray.remote(num_cpus=0)
def find(name):
    return get_placement_group(name)


def test_a_group_is_found_by_name_from_other_nodes(cluster, make_group):
    group = make_group([{"CPU": 1}], name="everybody's")
    assert get([find.options(resources={name: 1}).remote("everybody's") for name in cluster]) == [group] * 2


def test_a_detached_group_outlives_its_job(cluster, tmp_path):
    made = run_script(tmp_path, """
        import ray, sys
        from ray.util.placement_group import PlacementGroup
        ray.init(address=sys.argv[1], namespace="of these tests")
        for name, lifetime in (("stays", "detached"), ("goes", None)):
            assert ray.util.placement_group([{"CPU": 0.5}], name=name, lifetime=lifetime).wait(60)
        print(ray.util.get_placement_group("stays").id.hex())
        """, cluster.cluster.address)
    group = get_placement_group("stays")
    assert group.bundle_specs == [{"CPU": 0.5}]
    assert group.id.hex() == printed(made)
    strategy = PlacementGroupSchedulingStrategy(group)
    assert get(node.options(num_cpus=0.5, scheduling_strategy=strategy).remote()) in cluster.values()
    await_that(lambda: "goes" not in [row["name"] for row in placement_group_table().values()])
    remove_placement_group(group)
    with pytest.raises(ValueError):
        get_placement_group("stays")


@ray.remote(num_cpus=0)
def job_of(place, names):
    """(job, namespace), as the tasks see it that go on from place to place."""
    context = ray.get_runtime_context()
    here = context.get_job_id(), context.namespace, ray.get_actor("known").node.remote() is not None
    return [here, *(get(job_of.options(resources={names[0]: 1}).remote(names[0], names[1:])) if names else ())]


def test_the_job_is_the_same_on_all_nodes(cluster):
    actor = Actor.options(name="known").remote()
    get(actor.node.remote())
    context = ray.get_runtime_context()
    places = ["left", "right", "left"]
    assert get(job_of.remote("", places)) == [(context.get_job_id(), "of these tests", True)] * 4


_PROGRAM = """
    import ray, sys
    ray.init(address=sys.argv[1], namespace=sys.argv[2])

    @ray.remote(num_cpus=0, resources={"right": 0.5})
    def inner():
        return ray.get_runtime_context().namespace

    @ray.remote(num_cpus=0, resources={"right": 0.5})
    def outer():
        return ray.get(inner.remote())

    print(set(ray.get([outer.remote() for _ in range(4)])))
    """


def test_processes_that_serve_two_jobs(cluster, tmp_path):
    for namespace in ("one", "two"):
        assert printed(run_script(tmp_path, _PROGRAM, cluster.cluster.address, namespace)) == str({namespace})


# ---- last, since a node dies ----


def test_a_node_that_dies(cluster, make_group):
    group = make_group([{"left": 1}, {"right": 1}])
    assert group.wait(60)
    cluster.cluster.workers["left"].end(kill=True)
    assert places_of(group, "RESCHEDULING") == {0: "", 1: cluster["right"]}
    with pytest.raises(TaskUnschedulableError):
        get(node.options(scheduling_strategy=NodeAffinitySchedulingStrategy(cluster["left"], soft=False)).remote())
    soft = NodeAffinitySchedulingStrategy(cluster["left"], soft=True)
    assert get(node.options(scheduling_strategy=soft).remote()) == cluster["right"]
