"""ray.util: results as they come, names of actors, addresses, what cannot be pickled; joblib."""

import functools
import io
import socket
import threading

import pytest

import libray as ray
from conftest import await_that

pytestmark = pytest.mark.usefixtures("ray_start")


@ray.remote
def double(x):
    return 2 * x


@ray.remote
def fail(x):
    raise KeyError(x)


@ray.remote(num_cpus=0)
class Gate:
    def __init__(self):
        import asyncio
        self.event = asyncio.Event()

    async def wait(self, x):
        await self.event.wait()
        return x

    async def open(self):
        self.event.set()


# ---- as_completed, map_unordered ----


def test_as_completed_gives_results_before_all_are_there():
    gate = Gate.remote()
    refs = [gate.wait.remote("late"), *(double.remote(i) for i in range(5))]
    results = ray.util.as_completed(refs, chunk_size=1)
    assert sorted(next(results) for _ in range(5)) == [0, 2, 4, 6, 8]
    ray.get(gate.open.remote())
    assert list(results) == ["late"]


def test_as_completed_in_chunks_and_as_refs():
    refs = [double.remote(i) for i in range(25)]
    assert sorted(ray.util.as_completed(refs)) == [2 * i for i in range(25)]
    assert set(ray.util.as_completed(refs, chunk_size=4, yield_obj_refs=True)) == set(refs)
    assert list(ray.util.as_completed([])) == []
    assert list(ray.util.as_completed(refs[:2], timeout=60)) == [0, 2]


def test_as_completed_raises_what_a_task_has_raised():
    with pytest.raises(KeyError):
        list(ray.util.as_completed([double.remote(1), fail.remote("x")]))


def test_map_unordered():
    assert sorted(ray.util.map_unordered(double, range(30), backpressure_size=3, chunk_size=2)) == \
        [2 * i for i in range(30)]
    assert sorted(ray.util.map_unordered(double, iter([1, 2]), backpressure_size=None)) == [2, 4]
    refs = list(ray.util.map_unordered(double, [1], yield_obj_refs=True))
    assert ray.get(refs) == [2]


def test_map_unordered_does_not_run_ahead():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    results = ray.util.map_unordered(double, items(), backpressure_size=4, chunk_size=1)
    next(results)
    assert len(taken) == 4


def test_bad_arguments():
    refs = [double.remote(1)]
    for results in (ray.util.as_completed(refs, chunk_size=0), ray.util.as_completed(refs, num_returns=1),
                    ray.util.map_unordered(double, [1], chunk_size=0),
                    ray.util.map_unordered(double, [1], backpressure_size=0)):
        with pytest.raises(ValueError):
            next(results)


# ---- names, addresses ----


@ray.remote(num_cpus=0)
class Named:
    def ping(self):
        pass


def test_list_named_actors():
    here = ray.get_runtime_context().namespace
    kept = [Named.options(name="one").remote(), Named.options(name="two", namespace="elsewhere").remote(),
            Named.options(name="three", namespace=here).remote(), Named.remote()]
    gone = Named.options(name="gone").remote()
    ray.get([actor.ping.remote() for actor in (*kept, gone)])
    ray.kill(gone)
    await_that(lambda: sorted(ray.util.list_named_actors()) == ["one", "three"], "the names")
    found = ray.util.list_named_actors(all_namespaces=True)
    assert sorted(found, key=lambda a: a["name"]) == [
        {"name": "one", "namespace": here}, {"name": "three", "namespace": here},
        {"name": "two", "namespace": "elsewhere"}]
    assert sorted(ray.get(ray.remote(ray.util.list_named_actors).remote())) == ["one", "three"]


def test_get_node_ip_address():
    here = ray.get_runtime_context().get_node_id()
    address = next(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == here)
    assert ray.util.get_node_ip_address() == address
    assert ray.get(ray.remote(ray.util.get_node_ip_address).remote()) == address
    socket.inet_aton(address)


# ---- inspect_serializability ----

lock = threading.Lock()


class Holder:
    def __init__(self, value):
        self.number = 1
        self.held = value


def look(value, **options):
    """(can it be pickled?, {path: what is there}, what was printed)"""
    printed = io.StringIO()
    is_fine, failures = ray.util.inspect_serializability(value, print_file=printed, **options)
    return is_fine, {failure.path: failure.obj for failure in failures}, printed.getvalue()


def test_what_can_be_pickled():
    for value in (3, [1, "two"], double, Named, lambda x: x + 1, Holder(2), [ray.put(1)], Named.remote()):
        assert look(value)[:2] == (True, {})


def test_what_a_function_refers_to():
    local = threading.Lock()

    def closes_over():
        return local

    def has_default(x=1, *, y=local):
        return x, y

    # As in a script: the functions of modules that can be imported are not pickled at all.
    script = {"__name__": "__main__", "shared": local}
    exec("def uses_global(): return [shared for _ in range(2)]", script)
    remote = ray.remote(script["uses_global"])
    assert look(closes_over, name="f")[:2] == (False, {("f", "local"): local})
    assert look(has_default, name="f")[:2] == (False, {("f", "y"): local})
    assert look(functools.partial(closes_over))[1] == {("func", "local"): local}
    assert look(remote, name="f")[:2] == (False, {("f", "shared"): local})


def test_attributes_classes_and_containers():
    class Method:
        def run(self, default=lock):
            return default

    assert look(Holder(lock), name="holder")[:2] == (False, {("holder", "held"): lock})
    assert look(Holder([{"k": lock}]), depth=4)[1] == {("held", "[0]", "['k']"): lock}
    assert look(Method, name="Method")[1] == {("Method", "run", "default"): lock}
    assert look(ray.remote(Method), name="Method")[1] == {("Method", "run", "default"): lock}
    assert look(lock, name="lock")[:2] == (False, {("lock",): lock})
    assert look(lock)[1] == {(): lock}


def test_several_culprits_and_cycles():
    other = threading.Lock()
    holder = Holder([lock, other])
    holder.self = holder
    assert look(holder)[1] == {("held", "[0]"): lock, ("held", "[1]"): other}


def test_depth_and_what_is_printed(capsys):
    holder = Holder({"k": lock})
    assert look(holder, depth=0)[1] == {(): holder}
    assert look(holder, depth=1)[1] == {("held",): holder.held}
    printed = look(holder, name="holder")[2]
    assert "holder" in printed and "cannot pickle '_thread.lock' object" in printed and "holder -> held" in printed
    is_fine, failures = ray.util.inspect_serializability(holder, name="holder")
    assert "holder -> held" in capsys.readouterr().out
    failure, = failures
    assert failure.parent is holder.held and "path=holder -> held -> ['k']" in repr(failure)


# ---- joblib ----


@pytest.fixture(scope="module")
def joblib(ray_start):
    module = pytest.importorskip("joblib")
    from libray.util.joblib import register_ray
    register_ray()
    return module


def test_joblib_runs_on_the_pool(joblib):
    import os
    with joblib.parallel_backend("ray", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(50)) == [i * i for i in range(50)]
        assert os.getpid() not in joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(4))
    assert joblib.Parallel(n_jobs=-1, backend="ray")(joblib.delayed(abs)(-i) for i in range(3)) == [0, 1, 2]
    assert joblib.Parallel(n_jobs=1, backend="ray")(joblib.delayed(abs)(-i) for i in range(3)) == [0, 1, 2]


def test_joblib_sees_the_cluster(joblib):
    with joblib.parallel_backend("ray"):
        assert joblib.effective_n_jobs(-1) == 2
    with pytest.raises(ValueError):
        joblib.Parallel(n_jobs=3, backend="ray")(joblib.delayed(abs)(i) for i in range(3))


def test_joblib_raises_what_a_call_has_raised(joblib):
    with pytest.raises(ZeroDivisionError):
        joblib.Parallel(n_jobs=2, backend="ray")(joblib.delayed(divmod)(1, i) for i in range(-2, 3))


def test_joblib_sends_large_arguments_once(joblib):
    numpy = pytest.importorskip("numpy")
    large = numpy.ones(1 << 18)

    def look_at(array, factor, offset=None):
        return array.sum() * factor + offset[-1], array.flags.writeable

    found = joblib.Parallel(n_jobs=2, backend="ray")(
        joblib.delayed(look_at)(large, i, offset=large) for i in range(20))
    assert found == [(i * (1 << 18) + 1, False) for i in range(20)]


def test_joblib_nests(joblib):
    def inner(i):
        return sum(joblib.Parallel(n_jobs=2)(joblib.delayed(abs)(-j) for j in range(i)))

    assert joblib.Parallel(n_jobs=2, backend="ray")(joblib.delayed(inner)(i) for i in range(5)) == [0, 0, 1, 3, 6]
