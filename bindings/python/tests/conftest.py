"""What the tests share: one runtime of two CPUs for the tests of a file, and waiting for what comes in its own time."""

import os
import tempfile
import time

import pytest

import libray as ray


@pytest.fixture(scope="session", autouse=True)
def own_sessions():
    """So that ray.init() joins no cluster that is somebody's on this host."""
    os.environ.pop("RAY_ADDRESS", None)
    with tempfile.TemporaryDirectory(prefix="libray-") as folder:
        os.environ["RAY_TMPDIR"] = folder
        yield folder


@pytest.fixture(scope="module")
def ray_start():
    ray.init(num_cpus=2)
    yield ray
    ray.shutdown()


@pytest.fixture
def ray_alone():
    """A runtime for one test; the test may end it, or start another."""
    ray.shutdown()
    yield ray
    ray.shutdown()


@pytest.fixture
def start_node(tmp_path):
    """start_node("head", OPTION...): a node in a process of its own (clusters.Node), that ends with the test."""
    from clusters import Node
    nodes = []

    def start(role, *options, **environment):
        nodes.append(Node(tmp_path, role, *options, **environment))
        return nodes[-1]

    yield start
    for node in reversed(nodes):
        node.end()


@pytest.fixture
def make_group():
    """placement_group, whose groups are removed after the test."""
    made = []

    def make(*args, **kwargs):
        made.append(ray.util.placement_group(*args, **kwargs))
        return made[-1]

    yield make
    for group in made:
        ray.util.remove_placement_group(group)


def await_that(condition, what="what was waited for", timeout_s=60):
    """Until condition() is true."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{what} did not come in {timeout_s} s"
        time.sleep(0.01)
