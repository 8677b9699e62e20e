"""A driver, a head and two workers: what a program sees of more than one node."""

import os
import tempfile

import numpy as np
import pytest

import libray as ray
from clusters import PACKAGE, Cluster, printed, run, run_script
from conftest import await_that


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("nodes"))
    yield found
    ray.shutdown()
    found.end()


@pytest.fixture
def driver(cluster):
    if not ray.is_initialized():
        ray.init(cluster.address, namespace="tests")
    return cluster


@pytest.fixture
def elsewhere():
    """A directory for other sessions, short enough for what is in them: no cluster is found there."""
    with tempfile.TemporaryDirectory(prefix="libray-") as folder:
        yield folder


@ray.remote
def where():
    return ray.get_runtime_context().get_node_id()


@ray.remote
class Counter:
    def __init__(self, other=None):
        self.n = 0
        self.other = other

    def add(self, n=1):
        self.n += n
        return self.n

    def add_to_other(self, n):
        return ray.get(self.other.add.remote(n))

    def where(self):
        return ray.get_runtime_context().get_node_id()


def on(name):
    return {"resources": {name: 1}}


# ---- what runs where ----


def test_tasks_spread_over_the_nodes(driver):
    spread = where.options(scheduling_strategy="SPREAD")
    # A node that the others have not heard of for a second, since the machine has much to do, counts for nothing then.
    await_that(lambda: ray.cluster_resources()["CPU"] == 4)
    await_that(lambda: len(set(ray.get([spread.remote() for _ in range(8)]))) == 2)


def test_more_tasks_than_one_node_has_room_for_run_on_both(driver, tmp_path):
    @ray.remote
    def attend(path, who):
        (path / str(who)).touch()
        await_that(lambda: len(os.listdir(path)) == 3)  # a node has room for two; in ray.get they would lend their CPUs
        return ray.get_runtime_context().get_node_id()

    assert len(set(ray.get([attend.remote(tmp_path, i) for i in range(3)]))) == 2


def test_a_task_goes_where_its_resource_is(driver):
    left, right = (ray.get([where.options(**on(name)).remote() for _ in range(3)]) for name in ("left", "right"))
    assert len(set(left)) == len(set(right)) == 1 and set(left) != set(right)


def test_an_actor_calls_another_on_another_node(driver):
    right = Counter.options(**on("right")).remote()
    left = Counter.options(**on("left")).remote(right)
    assert ray.get(left.where.remote()) != ray.get(right.where.remote())
    assert ray.get([left.add_to_other.remote(5) for _ in range(2)]) == [5, 10]
    assert ray.get(right.add.remote()) == 11


def test_an_exception_crosses_nodes(driver):
    @ray.remote
    def fails():
        raise KeyError("there")

    with pytest.raises(KeyError, match="there"):
        ray.get(fails.options(**on("right")).remote())


# ---- objects between nodes ----


@ray.remote
def make(n):
    return np.arange(n)


@ray.remote
def total(array):
    return int(array.sum()), array.flags.writeable


def test_a_large_array_goes_from_node_to_node(driver):
    n = 3_000_000
    array = make.options(**on("left")).remote(n)
    expected = n * (n - 1) // 2
    assert ray.get(total.options(**on("right")).remote(array)) == (expected, False)
    assert int(ray.get(array).sum()) == expected


def test_a_large_array_of_the_driver_is_read_on_all_nodes(driver):
    ref = ray.put(np.ones(2_000_000))
    assert ray.get([total.options(**on(name)).remote(ref) for name in ("left", "right")]) == [(2_000_000, False)] * 2


def test_a_generator_on_another_node_is_read_as_it_goes(driver):
    @ray.remote
    def blocks(n):
        for i in range(n):
            yield np.full(200_000, i)

    assert [int(ray.get(ref)[0]) for ref in blocks.options(**on("left")).remote(5)] == list(range(5))


# ---- other drivers ----


def test_another_driver_finds_a_named_actor_in_its_namespace_alone(driver, tmp_path):
    counter = Counter.options(name="shared").remote()
    ray.get(counter.add.remote(41))
    source = """
        import sys, ray
        ray.init(namespace=sys.argv[1])
        try:
            print(ray.get(ray.get_actor("shared").add.remote()))
        except ValueError:
            print("absent")
        """
    assert printed(run_script(tmp_path, source, "tests", RAY_ADDRESS=driver.address)) == "42"
    assert printed(run_script(tmp_path, source, "another", RAY_ADDRESS=driver.address)) == "absent"
    assert ray.get(counter.add.remote()) == 43


def test_a_detached_actor_outlives_its_driver_and_another_does_not(driver, tmp_path):
    source = """
        import ray
        ray.init(namespace="tests")

        @ray.remote
        class Kept:
            def __init__(self):
                self.calls = 0

            def call(self):
                self.calls += 1
                return self.calls

        kept = Kept.options(name="kept", lifetime="detached").remote()
        other = Kept.options(name="other").remote()
        print(ray.get([kept.call.remote(), other.call.remote()]))
        """
    assert printed(run_script(tmp_path, source, RAY_ADDRESS=driver.address)) == "[1, 1]"
    kept = ray.get_actor("kept")
    assert ray.get(kept.call.remote()) == 2
    ray.kill(kept)

    def is_gone():
        try:
            ray.get_actor("other")
        except ValueError:
            return True
        return False

    await_that(is_gone, "the end of the other actor")


def test_the_word_count_runs_over_the_cluster_unchanged(cluster, tmp_path):
    for i in range(20):
        (tmp_path / f"{i}.txt").write_text(f"word{i % 3} other\n" * 500)
    result = run("-m", "libray", os.path.join(PACKAGE, "examples", "wordcount.py"), "--check", "--chunk", "5K",
                 "--top", "2", tmp_path, RAY_ADDRESS=cluster.address)
    lines = printed(result).splitlines()
    assert lines[:2] == ["10000  other", "        3500  word0"]
    assert lines[-1].startswith("check     same table")


# ---- joining ----


def test_init_finds_the_cluster_of_this_host(cluster, tmp_path):
    source = """
        import sys, ray
        print(ray.init(*sys.argv[1:]).address_info["address"])
        """
    assert printed(run_script(tmp_path, source)) == cluster.address
    assert printed(run_script(tmp_path, source, "auto")) == cluster.address
    assert printed(run_script(tmp_path, source, "local")) == "local"
    assert printed(run_script(tmp_path, source, RAY_ADDRESS="local")) == "local"


def test_who_joins_brings_nothing(cluster, tmp_path):
    source = """
        import sys, ray
        for options in ({"num_cpus": 1}, {"num_gpus": 0}, {"resources": {"a": 1}}, {"labels": {"a": "b"}},
                        {"object_store_memory": 1 << 30}):
            try:
                ray.init(*sys.argv[1:], **options)
                print("joined with", options)
            except ValueError as error:
                assert list(options)[0] in str(error)
        """
    assert printed(run_script(tmp_path, source)) == ""
    assert printed(run_script(tmp_path, source, cluster.address)) == ""
    assert printed(run_script(tmp_path, source, RAY_ADDRESS=cluster.address)) == ""


def test_auto_without_a_cluster_is_a_connection_error(tmp_path, elsewhere):
    source = """
        import ray
        try:
            ray.init("auto")
        except ConnectionError as error:
            print(error)
        ray.init()
        print(ray.get_runtime_context().gcs_address)
        """
    words = printed(run_script(tmp_path, source, RAY_TMPDIR=elsewhere)).splitlines()
    assert "no cluster is found on this host" in words[0] and words[1] == "local"


def test_a_head_that_was_killed_is_not_found(start_node, tmp_path, elsewhere):
    head = start_node("head", "--address", "127.0.0.1:0", "--num-cpus", "1", RAY_TMPDIR=elsewhere)
    source = "import ray; print(ray.init().address_info['address'])"
    assert printed(run_script(tmp_path, source, RAY_TMPDIR=elsewhere)) == head.address
    head.end(kill=True)
    assert printed(run_script(tmp_path, source, RAY_TMPDIR=elsewhere)) == "local"


def test_the_key_decides_who_joins(cluster, tmp_path, elsewhere):
    """With a directory for sessions of its own a program finds no key by itself, as on another host."""
    key = cluster.head.read().split("--key-file ")[1].split()[0]
    other = tmp_path / "other-key"
    other.write_text(open(key).read()[:-6] + "AAAA=\n")
    os.chmod(other, 0o600)
    source = """
        import ray
        try:
            ray.init()
            print(len(ray.nodes()) > 2)
        except ray.exceptions.AuthenticationError:
            print("refused")
        except ConnectionError as error:
            print("another cluster key" in str(error) and "refused")
        """
    there = {"RAY_ADDRESS": cluster.address, "RAY_TMPDIR": elsewhere}
    assert printed(run_script(tmp_path, source, RAY_KEY_FILE=key, **there)) == "True"
    assert printed(run_script(tmp_path, source, RAY_KEY_FILE=str(other), **there)) == "refused"


def test_another_version_of_python_is_refused(cluster, tmp_path):
    source = """
        import ray, libray._runtime
        libray._runtime.python_version = lambda: "3.99"
        try:
            ray.init()
        except RuntimeError as error:
            print(error, ray.is_initialized())
        """
    words = printed(run_script(tmp_path, source, RAY_ADDRESS=cluster.address))
    assert "3.99" in words and words.endswith("False")


# ---- nodes that go ----


def test_a_worker_that_dies_is_seen_and_its_task_runs_elsewhere(driver, start_node, tmp_path):
    third = start_node("worker", "--address", driver.address, "--num-cpus", "1", "--labels", "place=third")

    def rows():
        return [node for node in ray.nodes() if node["Labels"].get("place") == "third"]

    await_that(rows, "the third worker")
    node_id = rows()[0]["NodeID"]
    soft = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_id, soft=True)

    @ray.remote(scheduling_strategy=soft)
    def wait_there(mark, died):
        import time
        open(mark, "w").close()
        while ray.get_runtime_context().get_node_id() == died:
            time.sleep(0.01)
        return ray.get_runtime_context().get_node_id()

    mark = tmp_path / "runs"
    ref = wait_there.remote(str(mark), node_id)
    await_that(mark.exists, "the task's start")
    third.end(kill=True)
    assert ray.get(ref, timeout=60) != node_id
    await_that(lambda: not any(node["Alive"] for node in rows()), "the word that it is dead")
