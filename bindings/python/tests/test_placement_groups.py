"""Placement groups: making, waiting, finding, using and removing them."""

import pytest

import libray as ray
from conftest import await_that
from libray.exceptions import (ActorDiedError, ActorPlacementGroupRemoved, RaySystemError, TaskPlacementGroupRemoved)
from libray.util import (get_current_placement_group, get_placement_group, placement_group, placement_group_table,
                         remove_placement_group)
from libray.util.placement_group import PlacementGroup
from libray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

pytestmark = pytest.mark.usefixtures("ray_start")


def inside(function, group, **options):
    """A remote function or actor class that runs in a group."""
    return function.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group), **options)


@ray.remote
def where():
    return get_current_placement_group()


@ray.remote
class Actor:
    def where(self):
        return get_current_placement_group()


# ---- making ----


def test_ready_gives_the_group(make_group):
    group = make_group([{"CPU": 1}])
    assert ray.get(group.ready(), timeout=60) == group
    assert group.wait(60)
    assert ray.wait([group.ready()], timeout=60)[0] == [group.ready()]


def test_what_a_group_says_of_itself(make_group):
    group = make_group([{"CPU": 1}, {"CPU": 0.5}])
    assert isinstance(group.id, ray.PlacementGroupID)
    assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 0.5}]
    assert group.bundle_count == 2
    assert not group.is_empty


def test_empty_group():
    empty = PlacementGroup.empty()
    assert empty.is_empty
    assert ray.get(empty.ready(), timeout=60).is_empty
    strategy = PlacementGroupSchedulingStrategy(empty)
    assert ray.get(where.options(scheduling_strategy=strategy).remote(), timeout=60) is None


@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_PACK"])
def test_strategies_on_one_node(make_group, strategy):
    group = make_group([{"CPU": 1}, {"CPU": 1}], strategy=strategy)
    assert group.wait(60)
    assert placement_group_table(group)["strategy"] == strategy


def test_a_group_that_does_not_fit_waits(make_group):
    group = make_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert not group.wait(0.1)
    assert not group.wait(0)
    assert placement_group_table(group)["state"] == "PENDING"


def test_a_group_takes_its_resources(make_group):
    group = make_group([{"CPU": 1.5}])
    assert group.wait(60)
    await_that(lambda: ray.available_resources()["CPU"] == 0.5)
    remove_placement_group(group)
    await_that(lambda: ray.available_resources()["CPU"] == 2)


@pytest.mark.parametrize("bundles", [[], [{}], [{"CPU": 0}], {"CPU": 1}, [{"CPU": "1"}], [{1: 1}], [{"CPU": -1}], [1]])
def test_bad_bundles(bundles):
    with pytest.raises(ValueError, match="bundle"):
        placement_group(bundles)


@pytest.mark.parametrize("options", [
    {"strategy": "BEST"}, {"lifetime": "forever"}, {"_soft_target_node_id": "ab"}, {"bundle_label_selector": []},
    {"bundle_label_selector": [{"a": 1}]}, {"bundle_label_selector": {"a": "b"}},
    {"strategy": "PACK", "topology_strategy": {}}, {"topology_strategy": {"ray.io/node-id": "BEST"}}])
def test_bad_options(options):
    with pytest.raises(ValueError):
        placement_group([{"CPU": 1}], **options)


def test_what_is_absent():
    with pytest.raises(NotImplementedError, match="labels"):
        placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "eu"}])


# ---- using ----


def test_tasks_and_actors_run_in_it(make_group):
    group = make_group([{"CPU": 1}])
    assert ray.get(inside(where, group).remote(), timeout=60) == group
    actor = inside(Actor, group).remote()
    assert ray.get(actor.where.remote(), timeout=60) == group
    assert ray.get(where.remote(), timeout=60) is None
    assert get_current_placement_group() is None
    assert ray.get(inside(current_id, group).remote(), timeout=60) == group.id.hex()


@ray.remote
def current_id():
    return ray.get_runtime_context().get_placement_group_id()


@ray.remote(num_cpus=0)
def children(depth):
    """Where what it submits runs: a task, with no strategy and with "DEFAULT", an actor, and theirs."""
    task, actor = where.options(num_cpus=0), Actor.options(num_cpus=0).remote()
    found = ray.get([task.remote(), task.options(scheduling_strategy="DEFAULT").remote(), actor.where.remote()],
                    timeout=60)
    return [found, *(ray.get(children.remote(depth - 1), timeout=60) if depth else ())]


@ray.remote(num_cpus=0)
class Parent:
    def children(self):
        return ray.get(children.remote(0), timeout=60)


@pytest.mark.parametrize("captures", [True, False, None])
def test_child_tasks(make_group, captures):
    group = make_group([{"CPU": 1}])
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=captures)
    place = group if captures else None
    for depth in (1, 0) if captures else (0,):
        found = ray.get(children.options(scheduling_strategy=strategy).remote(depth), timeout=60)
        assert found == [[place, None, place]] * (depth + 1)
        assert ray.get(children.remote(0), timeout=60) == [[None] * 3]
    parent = Parent.options(scheduling_strategy=strategy).remote()
    assert ray.get(parent.children.remote(), timeout=60) == [[place, None, place]]


def test_old_options(make_group):
    group = make_group([{"CPU": 1}])
    task = where.options(placement_group=group, placement_group_bundle_index=0)
    assert ray.get(task.remote(), timeout=60) == group
    with pytest.raises(ValueError, match="not both"):
        where.options(placement_group=group, scheduling_strategy="SPREAD").remote()


def test_bundles_hold_what_they_have(make_group):
    group = make_group([{"CPU": 1}, {"CPU": 1}])
    first, second = [Actor.options(num_cpus=1, scheduling_strategy=PlacementGroupSchedulingStrategy(group, i)).remote()
                     for i in range(2)]
    assert ray.get([first.where.remote(), second.where.remote()], timeout=60) == [group, group]
    third = Actor.options(num_cpus=1, scheduling_strategy=PlacementGroupSchedulingStrategy(group, 0)).remote()
    ref = third.where.remote()
    assert ray.wait([ref], timeout=0.2) == ([], [ref])
    del first
    assert ray.get(ref, timeout=60) == group


@pytest.mark.parametrize("index", [1, 5, -2])
def test_bundle_index_out_of_range(make_group, index):
    task = where.options(scheduling_strategy=PlacementGroupSchedulingStrategy(make_group([{"CPU": 1}]), index))
    with pytest.raises(ValueError, match="bundle index"):
        task.remote()


def test_more_than_a_bundle_holds(make_group):
    group = make_group([{"CPU": 1}, {"CPU": 0.5}])
    for what in (inside(where, group, num_cpus=2), inside(Actor, group, num_cpus=2),
                 where.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, 1)),
                 Actor.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, 1))):
        with pytest.raises(ValueError, match="more than a bundle"):
            what.remote()


@ray.remote(num_cpus=0)
def use(group, wrapped):
    """From elsewhere: what the handle says, and does."""
    assert group == wrapped[0]
    assert group.bundle_specs == [{"CPU": 1.0}]
    assert group.wait(60)
    return ray.get(inside(where, group).remote(), timeout=60)


def test_a_handle_works_in_a_task(make_group):
    group = make_group([{"CPU": 1}])
    assert ray.get(use.remote(group, [group]), timeout=60) == group
    assert ray.get(ray.put(group), timeout=60) == group


@ray.remote(num_cpus=0)
def make_one(name):
    group = placement_group([{"CPU": 1}], name=name)
    assert group.wait(60)
    return group


def test_a_group_made_by_a_task():
    group = ray.get(make_one.remote("of a task"), timeout=60)
    assert get_placement_group("of a task") == group
    assert ray.get(inside(where, group).remote(), timeout=60) == group
    remove_placement_group(group)


@ray.remote(num_cpus=0)
def remove(group):
    remove_placement_group(group)


def test_a_task_removes_it(make_group):
    group = make_group([{"CPU": 1}])
    assert group.wait(60)
    ray.get(remove.remote(group), timeout=60)
    await_that(lambda: placement_group_table(group)["state"] == "REMOVED")


# ---- finding ----


def test_get_by_name(make_group):
    group = make_group([{"CPU": 1}], name="mine")
    found = get_placement_group("mine")
    assert found == group
    assert found.bundle_specs == [{"CPU": 1.0}]
    assert ray.get(inside(where, found).remote(), timeout=60) == group
    remove_placement_group(found)
    with pytest.raises(ValueError, match="mine"):
        get_placement_group("mine")


def test_get_of_no_name():
    for name in ("nobody", "", None):
        with pytest.raises(ValueError):
            get_placement_group(name)


def test_a_name_is_taken_once(make_group):
    make_group([{"CPU": 1}], name="once")
    with pytest.raises(RaySystemError, match="once"):
        placement_group([{"CPU": 1}], name="once")
    with pytest.raises(TypeError):
        placement_group([{"CPU": 1}], name=3)


def test_table(make_group):
    group, other = make_group([{"CPU": 1}, {"CPU": 0.5}], name="told"), make_group([{"CPU": 0.5}])
    assert group.wait(60) and other.wait(60)
    here = ray.get_runtime_context().get_node_id()
    row = placement_group_table(group)
    assert (row["placement_group_id"], row["name"], row["state"]) == (group.id.hex(), "told", "CREATED")
    assert row["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 0.5}}
    assert row["bundles_to_node_id"] == {0: here, 1: here}
    everything = placement_group_table()
    assert everything[group.id.hex()] == row
    assert everything[other.id.hex()]["name"] == ""


# ---- removing ----


def test_a_name_that_is_used_again(make_group):
    old = make_group([{"CPU": 1}], name="again")
    kept = ray.put(old)
    remove_placement_group(old)
    new = make_group([{"CPU": 0.5}], name="again")
    assert new != old
    assert get_placement_group("again") == new
    with pytest.raises(TaskPlacementGroupRemoved):
        inside(where, ray.get(kept)).remote()
    remove_placement_group(old)
    assert get_placement_group("again").bundle_specs == [{"CPU": 0.5}]


def test_remove_again(make_group):
    group = make_group([{"CPU": 1}])
    assert group.wait(60)
    remove_placement_group(group)
    remove_placement_group(group)
    assert placement_group_table(group)["state"] == "REMOVED"
    with pytest.raises(TypeError):
        remove_placement_group(None)


def test_waiting_for_a_group_that_is_removed(make_group):
    group = make_group([{"CPU": 100}])
    ref = group.ready()
    remove_placement_group(group)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(ref, timeout=60)
    with pytest.raises(TaskPlacementGroupRemoved):
        group.wait(60)


@ray.remote(num_cpus=1, max_retries=0)
def hang():
    import time
    time.sleep(1000)


def test_what_runs_in_it_ends(make_group):
    group = make_group([{"CPU": 1}, {"CPU": 1}])
    actor = inside(Actor, group, num_cpus=1).remote()
    ray.get(actor.where.remote(), timeout=60)
    refs = [inside(hang, group).remote() for _ in range(2)]
    remove_placement_group(group)
    for ref in refs:
        with pytest.raises(TaskPlacementGroupRemoved):
            ray.get(ref, timeout=60)
    for error in (ActorDiedError, ActorPlacementGroupRemoved):
        with pytest.raises(error):
            ray.get(actor.where.remote(), timeout=60)
    with pytest.raises(TaskPlacementGroupRemoved):
        ray.get(inside(where, group).remote(), timeout=60)
