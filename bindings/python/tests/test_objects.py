"""Objects: what can be put and read, arrays without a copy, refs in values, what is freed."""

import array
import collections
import copy
import ctypes
import dataclasses
import datetime
import decimal
import enum
import fractions
import gc
import io
import json
import pathlib
import re
import threading
import uuid

import numpy as np
import pytest

import libray as ray
from conftest import await_that
from libray import _lib

pytestmark = pytest.mark.usefixtures("ray_start")


def objects_held():
    """How many are in the store."""
    view = _lib.View()
    assert _lib.lib.ray_state(b"objects?limit=10000", view) == 0
    found = json.loads(ctypes.string_at(view.data, view.size))
    _lib.lib.ray_view_release(view)
    return sum(node["store_objects"] for node in found["data"]["result"]["result"])


@ray.remote
def echo(x):
    return x


class Colour(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: int
    y: list


class Slots:
    __slots__ = ("a",)

    def __init__(self, a):
        self.a = a

    def __eq__(self, other):
        return self.a == other.a


VALUES = [None, True, 0, -1, 2**63, -2**200, 1.5, float("inf"), 2j, "", "text", "\U0001f40d", "\ud800", b"", b"bytes",
          bytearray(b"bytes"), (), (1, (2,)), [], [[[]]], {}, {"a": {1: (2,)}}, {1, 2}, frozenset("ab"), range(5),
          slice(1, 2), ..., NotImplemented, int, len, print, ValueError, datetime.datetime(2026, 1, 2),
          datetime.timedelta(1), decimal.Decimal("1.1"), fractions.Fraction(1, 3), uuid.UUID(int=5), Colour.RED,
          Point(1, [2]), Slots(3), collections.OrderedDict(a=1), collections.Counter("aab"), collections.deque([1]),
          pathlib.PurePosixPath("/x"), re.compile("a+"), array.array("d", [1.0, 2.0])]


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_values_come_back_as_they_were(value):
    for found in (ray.get(ray.put(value)), ray.get(echo.remote(value))):
        assert found == value and type(found) is type(value)


ARRAYS = [np.arange(10), np.zeros(0), np.zeros((3, 0, 2)), np.array(5), np.float32(1.5), np.arange(6).reshape(2, 3).T,
          np.arange(20)[::2], np.asfortranarray(np.ones((3, 4))), np.array(["a", "bc"]),
          np.array([1, None, "x"], object),
          np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]), np.array(["2026-01-01"], dtype="datetime64[D]"),
          np.ma.array([1, 2], mask=[0, 1]), np.arange(1_000_000), np.ones((500, 500))[::2, ::3]]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda v: f"{v.dtype}{v.shape}")
def test_arrays(value):
    for found in (ray.get(ray.put(value)), ray.get(echo.remote(value)), ray.get(ray.put([value]))[0]):
        assert np.array_equal(found, value) and found.dtype == value.dtype and type(found) is type(value)


def test_an_array_is_a_view_that_cannot_be_written():
    r = ray.put(np.zeros(1_000_000))
    one, two = ray.get(r), ray.get(r)
    assert not one.flags.owndata and not one.flags.writeable
    assert one.__array_interface__["data"][0] == two.__array_interface__["data"][0]
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 1


def test_a_view_stays_when_its_ref_is_gone():
    kept = [ray.get(ray.put(np.full(200_000, i))) for i in range(20)]
    slices = [a[100:200] for a in kept[:5]]
    del kept[:5]
    gc.collect()
    for _ in range(20):  # others would take its place
        ray.get(ray.put(np.full(200_000, -1)))
    assert all((a == i).all() for i, a in enumerate(kept, 5))
    assert all((a == i).all() for i, a in enumerate(slices))


def test_an_actor_keeps_arrays_of_its_arguments():
    @ray.remote
    class Keeper:
        def __init__(self):
            self.kept = []

        def keep(self, a, b, nested):
            self.kept += [a, b, nested["x"]]

        def sums(self):
            return [int(a.sum()) for a in self.kept]

    keeper = Keeper.remote()
    for i in range(10):
        ray.get(keeper.keep.remote(np.full(50_000, i), ray.put(np.full(50_000, i)), {"x": np.full(10, i)}))
        ray.put(np.full(50_000, -1))
    assert ray.get(keeper.sums.remote()) == [n * i for i in range(10) for n in (50_000, 50_000, 10)]


@pytest.mark.parametrize("size", [0, 1, 102_399, 102_400, 102_401, 20_000_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_bytes(kind, size):
    value = kind(b"\x01") * size
    for found in (ray.get(ray.put(value)), ray.get(echo.remote(value)), ray.get(ray.put((value,)))[0]):
        assert type(found) is kind and found == value


def test_a_bytearray_is_the_readers_own():
    r = ray.put(bytearray(b"x" * 1_000_000))
    ray.get(r)[0] = 0
    assert ray.get(r)[0] == ord("x")


def test_what_is_put_is_as_it_was_then():
    value = [np.zeros(200_000), [1]]
    r = ray.put(value)
    value[0][0], value[1][0] = 5, 5
    found = ray.get(r)
    assert found[0][0] == 0 and found[1] == [1]


def test_the_same_array_twice_in_a_value():
    a = np.arange(200_000)
    found = ray.get(ray.put([a, a]))
    assert found[0] is found[1]


def test_classes_and_functions_of_the_program():
    class Local:
        def __init__(self, x):
            self.x = x

        def twice(self):
            return 2 * self.x

    assert ray.get(ray.put(Local(4))).twice() == 8
    assert ray.get(echo.remote(Local))(5).twice() == 10
    assert ray.get(ray.put(lambda x: x + 1))(1) == 2


# ---- refs ----


def test_a_ref_is_refused():
    with pytest.raises(TypeError, match="ObjectRef"):
        ray.put(ray.put(1))


def test_refs_are_equal_where_they_are_of_one_object():
    r = ray.put(1)
    again = ray.get(ray.put([r]))[0]
    assert again == r and hash(again) == hash(r) and len({r, again}) == 1
    assert r != ray.put(1) and r != 1
    assert copy.deepcopy([r])[0] == r
    with pytest.raises(ValueError, match="twice"):
        ray.wait([r, again])
    assert r.hex() in repr(r) and bytes.fromhex(r.hex()) == r.binary()


def test_an_object_that_holds_refs_keeps_them():
    inner = ray.put(np.ones(50_000))
    outer = ray.put({"deep": [(inner,)]})
    del inner
    gc.collect()
    found = ray.get(outer)["deep"][0][0]
    del outer
    gc.collect()
    assert ray.get(found).sum() == 50_000


def test_a_chain_of_refs():
    r = ray.put("end")
    for _ in range(50):
        r = ray.put([r])
    gc.collect()
    for _ in range(50):
        r = ray.get(r)[0]
    assert ray.get(r) == "end"


def test_refs_out_of_tasks():
    @ray.remote
    def puts():
        return [ray.put(np.full(50_000, 7)), echo.remote(8)]

    a, b = ray.get(puts.remote())
    assert ray.get(a)[0] == 7 and ray.get(b) == 8


def test_refs_that_an_actor_keeps():
    @ray.remote
    class Keeper:
        def keep(self, refs):
            self.refs = refs

        def give(self):
            return ray.get(self.refs)[0].sum(), self.refs

    keeper = Keeper.remote()
    ray.get(keeper.keep.remote([ray.put(np.ones(50_000))]))
    gc.collect()
    total, refs = ray.get(keeper.give.remote())
    assert total == 50_000 and ray.get(refs[0]).sum() == 50_000


def test_an_object_of_ten_thousand_refs():
    refs = [ray.put(i) for i in range(10_000)]
    outer = ray.put(refs)
    del refs
    gc.collect()
    found = ray.get(outer)
    assert len(found) == 10_000 and ray.get(found[::1000]) == list(range(0, 10_000, 1000))

    @ray.remote
    def total(refs):
        return sum(ray.get(refs))

    assert ray.get(total.remote(found)) == sum(range(10_000))


def test_a_pickle_of_ones_own_cannot_hold_a_ref():
    import pickle
    with pytest.raises(TypeError, match="counts"):
        pickle.dumps(ray.put(1))


def test_objects_go_with_their_refs():
    gc.collect()
    before = objects_held()
    refs = [ray.put(np.zeros(50_000)) for _ in range(20)]
    results = [echo.remote(np.ones(50_000)) for _ in range(5)]
    outer = ray.put(refs)
    ray.get(results)
    assert objects_held() > before
    del refs, results
    assert objects_held() > before  # outer holds them
    del outer
    gc.collect()
    await_that(lambda: objects_held() <= before, "the end of all objects")


def test_memory_is_free_again():
    for _ in range(30):  # thirty times 100 MB, of which each goes before the next is made
        assert ray.get(ray.put(np.zeros(12_500_000)))[-1] == 0


# ---- what cannot be sent, and what is sent otherwise ----


class Handmade:
    def __init__(self, x):
        self.x = x
        self.lock = threading.Lock()


def test_a_serializer_for_a_class():
    with pytest.raises(TypeError):
        ray.put(Handmade(1))
    ray.util.register_serializer(Handmade, serializer=lambda h: h.x, deserializer=lambda x: Handmade(x * 10))
    try:
        assert ray.get(ray.put(Handmade(1))).x == 10
        assert ray.get(ray.put([Handmade(2)]))[0].x == 20
        assert ray.get(ray.remote(lambda h: h.x).remote(Handmade(3))) == 30
    finally:
        ray.util.deregister_serializer(Handmade)
    with pytest.raises(TypeError):
        ray.put(Handmade(1))


def test_what_cannot_be_pickled_is_named():
    lock = threading.Lock()
    with pytest.raises(TypeError, match=r"'deep'.*lock"):
        ray.put({"deep": [lock]})
    with pytest.raises(TypeError, match=r"\[1\].*lock"):
        ray.remote(lambda x, y: 1).remote(1, lock)
    with pytest.raises(TypeError, match=r"'y'.*lock"):
        ray.remote(lambda x, y: 1).remote(1, y=lock)
    with pytest.raises(TypeError, match=r"in it: lock.*register_serializer"):
        ray.remote(lambda: lock).remote()
    with pytest.raises(TypeError, match="handmade.*lock"):
        ray.remote(lambda handmade=Handmade(1): 1).remote()
    with pytest.raises(TypeError, match="result of"):
        ray.get(ray.remote(lambda: io.BufferedReader(io.BytesIO())).remote())


def test_a_value_that_cannot_be_read_is_a_system_error():
    class Unloadable:
        def __reduce__(self):
            return int, ("no number",)

    with pytest.raises(ray.exceptions.RaySystemError, match="no number"):
        ray.get(ray.put(Unloadable()))
    with pytest.raises(ray.exceptions.RaySystemError, match="no number"):
        ray.get(echo.remote(Unloadable()))


def test_an_exception_of_reduce_comes_through():
    class Refuses:
        def __reduce__(self):
            raise KeyError("not me")

    with pytest.raises(KeyError, match="not me"):
        ray.put(Refuses())


# ---- refs that exist only while something is packed ----


class Lazy:
    def __init__(self, value):
        self.value = value

    def __reduce__(self):
        return read_lazy, (ray.put(self.value),)


def read_lazy(ref):
    return ray.get(ref)


def test_refs_made_while_packing(ray_start):
    for i in range(50):
        assert ray.get(ray.put([Lazy(i)])) == [i]
        assert ray.get(ray.remote(lambda x: x).remote(Lazy(i))) == i


def test_small_arrays_of_arguments_are_read_only_as_well(ray_start):
    @ray.remote
    def is_writable(x):
        return x.flags.writeable

    assert not ray.get(is_writable.remote(np.zeros(10)))
    assert not ray.get(is_writable.remote(np.zeros(100000)))


def test_one_handle_packed_by_many_threads(ray_start):
    import threading

    @ray.remote
    class A:
        def get(self):
            return 1

    handle, errors = A.remote(), []

    def pack():
        try:
            ray.get(ray.put([handle]))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=pack) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
