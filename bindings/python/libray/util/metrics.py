"""Metrics of a program: Counter, Gauge, Histogram.

Nothing exports them yet: their values stay in the process that records them, where `snapshot` shows them.
"""

import bisect
import re
import threading
import warnings

__all__ = ["Counter", "Gauge", "Histogram"]

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_lock = threading.Lock()
_values = {}  # (kind, name): {tags as sorted pairs: value}; of equal metrics of a process the values are one


def snapshot():
    """What was recorded in this process: {name: {tags as sorted pairs: value}}; of a histogram the value is a dict with
    count, sum and buckets (how many were at most each boundary, and above the last one)."""
    with _lock:
        return {name: {tags: dict(value, buckets=list(value["buckets"])) if isinstance(value, dict) else value
                       for tags, value in values.items()} for (_, name), values in _values.items()}


def _is_usable(name):
    if not name:
        raise ValueError("a metric needs a name")
    if _NAME.fullmatch(name):
        return True
    warnings.warn(f"the metric {name!r} is not recorded: a name has letters, digits, '_' and ':', and begins with no "
                  "digit", UserWarning, stacklevel=4)
    return False


def _check_number(value):
    if not isinstance(value, (int, float)):
        raise TypeError(f"the value of a metric must be a number, got a {type(value).__name__}")


class Metric:
    """What the metrics have in common. tag_keys: a tuple of the names that each record must have a tag for, of its own
    or by default."""

    def __init__(self, name, description="", tag_keys=None):
        self._is_recorded = _is_usable(name)
        self._name, self._description = name, description
        self._tag_keys = tag_keys or ()
        self._default_tags = {}
        if not isinstance(self._tag_keys, tuple):
            raise TypeError(f"tag_keys must be a tuple, got a {type(self._tag_keys).__name__}")
        for key in self._tag_keys:
            if not isinstance(key, str):
                raise TypeError(f"tag_keys must have strings, got {key!r}")

    def set_default_tags(self, default_tags):
        """Tags for each record that has no others; returns this metric. ValueError: a key that tag_keys has not;
        TypeError: a value that is no string."""
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"the metric {self._name!r} has no tag {key!r}; it has {self._tag_keys}")
            self._check_tag(key, value)
        self._default_tags = default_tags
        return self

    @property
    def info(self):
        """{"name", "description", "tag_keys", "default_tags"}"""
        return {"name": self._name, "description": self._description, "tag_keys": self._tag_keys,
                "default_tags": self._default_tags}

    def _check_tag(self, key, value):
        if not isinstance(value, str):
            raise TypeError(f"the tag {key!r} of the metric {self._name!r} must be a string, got {value!r}")

    def _record(self, value, tags):
        """Changes the value of these tags as _merge says."""
        for key, tag in (tags or {}).items():
            self._check_tag(key, tag)
        tags = {**self._default_tags, **(tags or {})}
        missing = [key for key in self._tag_keys if key not in tags]
        if not self._is_recorded:
            return
        if missing:
            raise ValueError(f"the metric {self._name!r} needs a value for the tags {', '.join(missing)}")
        key = tuple(sorted(tags.items()))
        with _lock:
            values = _values.setdefault((type(self).__name__, self._name), {})
            values[key] = self._merge(values.get(key), value)

    def __reduce__(self):
        return _restore, (type(self), self._arguments(), self._default_tags)

    def _arguments(self):
        return self._name, self._description, self._tag_keys


def _restore(cls, arguments, default_tags):
    return cls(*arguments).set_default_tags(default_tags)


class Counter(Metric):
    """Grows."""

    def inc(self, value=1.0, tags=None):
        """Adds a value above 0 (ValueError)."""
        _check_number(value)
        if value <= 0:
            raise ValueError(f"the value must be above 0, got {value}")
        self._record(value, tags)

    @staticmethod
    def _merge(before, value):
        return (before or 0) + value


class Gauge(Metric):
    """Keeps the last value."""

    def set(self, value, tags=None):
        """None: nothing happens."""
        if value is None:
            return
        _check_number(value)
        self._record(value, tags)

    @staticmethod
    def _merge(before, value):
        return value


class Histogram(Metric):
    """Counts values by boundaries: a list of numbers above 0, which must be given (ValueError)."""

    def __init__(self, name, description="", boundaries=None, tag_keys=None):
        super().__init__(name, description, tag_keys)
        if not boundaries:
            raise ValueError("a Histogram needs boundaries: Histogram('name', boundaries=[1, 10])")
        if any(boundary <= 0 for boundary in boundaries):
            raise ValueError(f"the boundaries must be above 0, got {boundaries}")
        self.boundaries = boundaries

    def observe(self, value, tags=None):
        """Counts a value."""
        _check_number(value)
        self._record(value, tags)

    @property
    def info(self):
        """As of the others, with "boundaries"."""
        return {**super().info, "boundaries": self.boundaries}

    def _merge(self, before, value):
        found = before or {"count": 0, "sum": 0.0, "buckets": [0] * (len(self.boundaries) + 1)}
        found["count"] += 1
        found["sum"] += value
        found["buckets"][bisect.bisect_left(self.boundaries, value)] += 1
        return found

    def _arguments(self):
        return self._name, self._description, self.boundaries, self._tag_keys
