"""Metrics of a program."""

import pickle

import pytest

from libray.util.metrics import Counter, Gauge, Histogram, snapshot


def value_of(metric, **tags):
    return snapshot()[metric.info["name"]][tuple(sorted(tags.items()))]


def test_counter():
    counter = Counter("requests", description="how many", tag_keys=("route",))
    counter.inc(tags={"route": "a"})
    counter.inc(2.5, tags={"route": "a"})
    counter.inc(tags={"route": "b"})
    assert value_of(counter, route="a") == 3.5
    assert value_of(counter, route="b") == 1
    assert counter.info == {"name": "requests", "description": "how many", "tag_keys": ("route",), "default_tags": {}}


@pytest.mark.parametrize("value, error", [(0, ValueError), (-1, ValueError), ("1", TypeError), (None, TypeError)])
def test_counters_only_grow(value, error):
    with pytest.raises(error):
        Counter("grows").inc(value)


def test_gauge():
    gauge = Gauge("level")
    gauge.set(3)
    gauge.set(1.5)
    gauge.set(None)
    assert value_of(gauge) == 1.5
    with pytest.raises(TypeError):
        gauge.set("1")


def test_histogram():
    histogram = Histogram("seconds", boundaries=[1, 10])
    for value in (0.5, 1, 5, 100, 1000):
        histogram.observe(value)
    assert value_of(histogram) == {"count": 5, "sum": 1106.5, "buckets": [2, 1, 2]}
    assert histogram.info["boundaries"] == [1, 10]
    with pytest.raises(TypeError):
        histogram.observe("1")


@pytest.mark.parametrize("boundaries", [None, [], [0, 1], [-1, 1]])
def test_boundaries(boundaries):
    with pytest.raises(ValueError, match="boundaries"):
        Histogram("bad", boundaries=boundaries)


def test_default_tags():
    counter = Counter("tagged", tag_keys=("a", "b"))
    assert counter.set_default_tags({"a": "1"}) is counter
    counter.inc(tags={"b": "2"})
    counter.inc(tags={"a": "3", "b": "2"})
    assert value_of(counter, a="1", b="2") == 1
    assert value_of(counter, a="3", b="2") == 1
    assert counter.info["default_tags"] == {"a": "1"}
    with pytest.raises(ValueError, match="b"):
        counter.inc()
    with pytest.raises(TypeError):
        counter.inc(tags={"b": 2})
    with pytest.raises(ValueError):
        counter.set_default_tags({"c": "1"})
    with pytest.raises(TypeError):
        counter.set_default_tags({"a": 1})


def test_bad_names_and_keys():
    with pytest.raises(ValueError):
        Counter("")
    with pytest.raises(TypeError):
        Counter("keys", tag_keys=["a"])
    with pytest.raises(TypeError):
        Counter("keys", tag_keys=(1,))
    with pytest.warns(UserWarning, match="9lives"):
        discarded = Counter("9lives")
    discarded.inc()
    assert "9lives" not in snapshot()


def test_metrics_travel():
    histogram = pickle.loads(pickle.dumps(Histogram("far", "d", [1], ("a",)).set_default_tags({"a": "1"})))
    assert histogram.info == {"name": "far", "description": "d", "tag_keys": ("a",), "default_tags": {"a": "1"},
                              "boundaries": [1]}
