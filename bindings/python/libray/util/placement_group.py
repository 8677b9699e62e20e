"""Placement groups: resources reserved together, in bundles, for tasks and actors that name the group.

libray finds a group by its name alone, and its id for it may change (the head takes over those that are detached). So
one without a name has a hidden one here, and what the handles in all processes have in common, an id and the bundles,
is in the cluster's table under the name.
"""

import pickle
import uuid

from .. import _errors, _lib
from .._ids import PlacementGroupID
from .._refs import ObjectRef

__all__ = ["PlacementGroup", "get_current_placement_group", "get_placement_group", "placement_group",
           "placement_group_table", "remove_placement_group"]

_lib_ = _lib.lib
_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")  # in the order of ray_strategy
_NODE_LABEL = "ray.io/node-id"
_HIDDEN = "py-group-"


class PlacementGroup:
    """A handle to a placement group. It can be passed to tasks and kept in objects. id: a PlacementGroupID."""

    def __init__(self, id, bundle_cache=None, _name=None):
        self.id = id
        self.bundle_cache = bundle_cache
        self._name = _name  # with its namespace
        self._c = self._ready = None
        self._epoch = 0

    @staticmethod
    def empty():
        """The handle of no group."""
        return PlacementGroup(PlacementGroupID.nil())

    @property
    def is_empty(self):
        return self.id.is_nil()

    def ready(self):
        """An ObjectRef that becomes this group when all its bundles are reserved. Removed: `ray.get` of it raises
        TaskPlacementGroupRemoved."""
        from .. import _runtime
        from ..remote_function import RemoteFunction
        from .scheduling_strategies import PlacementGroupSchedulingStrategy
        if self.is_empty:
            return _runtime.put(self)
        if self._ready is None or self._epoch != _runtime.epoch:
            # What runs in the group runs when it has its bundles, and fails when it is removed.
            give = RemoteFunction(_same, {"num_cpus": 0, "name": "placement_group.ready",
                                          "scheduling_strategy": PlacementGroupSchedulingStrategy(self)})
            self._ready = give.remote(self)
        return self._ready

    def wait(self, timeout_seconds=30):
        """Waits for all bundles to be reserved: False when they are not in that time. TaskPlacementGroupRemoved: the
        group was removed."""
        from .. import _runtime
        reserved = ObjectRef(_lib_.ray_placement_group_ready(self._pointer()))
        if not _runtime.wait([reserved], timeout=timeout_seconds)[0]:
            return False
        _runtime.get(reserved)
        return True

    @property
    def bundle_specs(self):
        """The bundles: a list of dicts, {"CPU": 1.0}."""
        self._learn()
        return self.bundle_cache

    @property
    def bundle_count(self):
        return len(self.bundle_specs)

    def _learn(self):
        if self._name is None:
            row = next((row for row in placement_group_rows() if row["id"] == self.id.hex()), None)
            if row is None:
                raise ValueError(f"there is no placement group with the id {self.id.hex()!r}: it was removed, or has "
                                 "ended with the job that made it")
            self._name, self.bundle_cache = row["name"], row["specs"]

    def _pointer(self):
        """The C handle, which this keeps."""
        from .. import _runtime
        epoch = _runtime.ensure()
        if self._c is None or self._epoch != epoch:
            self._learn()
            pointer = _find(self._name)
            record = pointer and _record_of(self._name)
            if not record or record[0] != self.id.hex():  # another one has its name
                _lib_.ray_placement_group_release(pointer)
                raise _errors.ex.TaskPlacementGroupRemoved(f"placement group {self.id.hex()} was removed, or has ended "
                                                           "with the job that made it")
            self._adopt(pointer, epoch)
        return self._c

    def _adopt(self, pointer, epoch):
        if self._c:
            _lib_.ray_placement_group_release(self._c)
        self._c, self._epoch, self._ready = pointer, epoch, None

    def __del__(self, release=_lib_.ray_placement_group_release):
        pointer = self.__dict__.get("_c")
        if pointer:
            release(pointer)

    def __reduce__(self):
        return PlacementGroup, (self.id, self.bundle_cache, self._name)

    def __eq__(self, other):
        return isinstance(other, PlacementGroup) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"PlacementGroup({self.id.hex()})"


def _same(group):
    return group


# ---- checks ----


def _check_bundles(bundles):
    if not isinstance(bundles, list):
        raise ValueError(f"the bundles of a placement group must be a list, got a {type(bundles).__name__}")
    if not bundles:
        raise ValueError("a placement group needs a bundle: [{'CPU': 1}], got an empty list")
    for bundle in bundles:
        if not isinstance(bundle, dict) or not all(
                isinstance(name, str) and isinstance(amount, (int, float)) for name, amount in bundle.items()):
            raise ValueError(f"a bundle is a dict of names and amounts, as {{'CPU': 1}}, got {bundle!r}")
        if not any(bundle.values()):
            raise ValueError(f"a bundle must ask for something, got {bundle!r}")
        if any(amount < 0 for amount in bundle.values()):
            raise ValueError(f"the amounts of a bundle must be 0 or more, got {bundle!r}")


def _check_selectors(selectors, bundles):
    if selectors is None:
        return
    if not isinstance(selectors, list) or len(selectors) != len(bundles):
        raise ValueError(f"bundle_label_selector must be a list with a dict for each of the {len(bundles)} bundles, "
                         f"got {selectors!r}")
    for selector in selectors:
        if not isinstance(selector, dict) or not all(
                isinstance(key, str) and isinstance(value, str) for key, value in selector.items()):
            raise ValueError(f"bundle_label_selector must have dicts of strings, got {selector!r}")
    if any(selectors):
        raise NotImplementedError("bundle_label_selector: the bundles of libray's placement groups have no labels; "
                                  "give the nodes a resource of their own (resources={'spot': 1}) and ask for that")


def _strategy_of(strategy, topology):
    if topology is not None:
        if strategy is not None:
            raise ValueError("give either strategy or topology_strategy, not both")
        if not isinstance(topology, dict):
            raise ValueError(f"topology_strategy must be a dict, got a {type(topology).__name__}")
        if set(topology) - {_NODE_LABEL}:
            raise NotImplementedError(f"topology_strategy: libray places bundles by node only, {_NODE_LABEL!r}")
        strategy = topology.get(_NODE_LABEL)
    strategy = "PACK" if strategy is None else strategy
    if strategy not in _STRATEGIES:
        raise ValueError(f"the strategy of a placement group must be one of {', '.join(_STRATEGIES)}, got {strategy!r}")
    return strategy


def _check_target(node_id, strategy):
    if not node_id:
        return
    if strategy != "STRICT_PACK":
        raise ValueError(f"_soft_target_node_id is for STRICT_PACK, got {strategy}")


def check_place(group, index, resources):
    """ValueError for what can never run in a group: an index it has not, resources that no bundle holds. resources: as
    C takes them; None: an actor that takes one CPU while it starts."""
    bundles = group.bundle_specs
    if not -1 <= index < len(bundles):
        raise ValueError(f"the placement group has bundles 0 to {len(bundles) - 1} (-1: any), got bundle index {index}")
    candidates = bundles if index < 0 else [bundles[index]]
    wanted = {name: float(amount) for name, _, amount in
              (part.partition("=") for part in (resources or "CPU=1").split(", "))}
    if not any(all(bundle.get(name, 0) >= amount for name, amount in wanted.items()) for bundle in candidates):
        raise ValueError(f"{resources or 'an actor, which needs CPU=1 to start,'} is more than a bundle of the "
                         f"placement group holds: {candidates}. Make the bundles larger, or ask for less (num_cpus=0)")


# ---- what libray knows of groups ----


def _bundle_text(bundle):
    from .._options import _amount
    return ", ".join(f"{name}={_amount(int(amount) if name == 'memory' else float(amount))}"
                     for name, amount in bundle.items() if amount)


def _key(name):
    return f"py-group:{name}"


def _remember(name, id, bundles):
    data = pickle.dumps((id, bundles))
    _errors.check(_lib_.ray_kv_put(_key(name).encode(), data, len(data), 0))


def _record_of(name):
    """(id, bundles) of a group; None: it was not made by Python."""
    from .._functions import table_value
    data = table_value(_key(name))
    return pickle.loads(data) if data is not None else None


def placement_group_rows():
    """What ray_state says of the groups that are there, with "id" and "specs" as handles have them."""
    from .state._query import table
    found = []
    for row in table("placement_groups")[0]:
        id, specs = (row["name"] and _record_of(row["name"])) or (row["placement_group_id"], [{}] * row["bundles"])
        found.append({**row, "id": id, "specs": specs})
    return found


def _full(name):
    """With the namespace: a worker process's node may have another one than its job."""
    from .. import _runtime
    return name if "/" in name else f"{_runtime.namespace()}/{name}"


def _find(name):
    """The C handle of a name; None: there is none."""
    pointer = _lib_.ray_placement_group_get(name.encode())
    if not pointer and _errors.last_code() != _errors.NOT_FOUND:
        raise _errors.from_last()
    return pointer


# ---- what Ray has ----


def placement_group(bundles, strategy=None, name="", lifetime=None, _soft_target_node_id=None,
                    bundle_label_selector=None, topology_strategy=None):
    """Reserves bundles of resources, [{"CPU": 2}, {"GPU": 1}], each on one node: a PlacementGroup, at once; `ready()`
    or `wait()` tell when it has them.

    strategy: "PACK" (the default: on few nodes), "SPREAD" (on many), "STRICT_PACK" (all on one), "STRICT_SPREAD" (each
    on another); the strict ones wait rather than compromise. name: for `get_placement_group`. lifetime: None, the group
    ends with the job; "detached", it stays until it is removed. ValueError: bad bundles, strategy or lifetime.
    RaySystemError: the name is taken. _soft_target_node_id, which is a hint, is taken without effect;
    bundle_label_selector with labels is not there (NotImplementedError)."""
    from .. import _runtime
    epoch = _runtime.ensure()
    strategy = _strategy_of(strategy, topology_strategy)
    _check_target(_soft_target_node_id, strategy)
    _check_bundles(bundles)
    _check_selectors(bundle_label_selector, bundles)
    if lifetime not in (None, "detached"):
        raise ValueError(f"the lifetime of a placement group must be None or 'detached', got {lifetime!r}")
    if not isinstance(name, str):
        raise TypeError(f"the name of a placement group must be a string, got a {type(name).__name__}")
    full = _full(name or _HIDDEN + uuid.uuid4().hex)
    texts = (_lib.c_char_p * len(bundles))(*(_bundle_text(bundle).encode() for bundle in bundles))
    options = _lib.GroupOptions(size=_lib.ctypes.sizeof(_lib.GroupOptions), name=full.encode(),
                                strategy=_STRATEGIES.index(strategy), detached=lifetime == "detached")
    taken = name and _find(full)
    pointer = None if taken else _lib_.ray_placement_group_new(texts, len(bundles), options)
    if taken:
        _lib_.ray_placement_group_release(taken)
    if taken or (not pointer and _errors.last_code() == _errors.EXISTS):
        raise _errors.ex.RaySystemError(f"the name {name!r} of a placement group is taken: get_placement_group finds "
                                        "that group")
    _errors.own(pointer)
    specs = [{key: float(amount) for key, amount in bundle.items()} for bundle in bundles]
    id = uuid.uuid4().hex
    group = PlacementGroup(PlacementGroupID(id), specs, full)
    group._adopt(pointer, epoch)
    _remember(full, id, specs)
    return group


def remove_placement_group(placement_group):
    """Gives the resources back. What runs in the group ends, and fails with TaskPlacementGroupRemoved or
    ActorPlacementGroupRemoved. Nothing happens to one that was removed already."""
    if not isinstance(placement_group, PlacementGroup):
        raise TypeError(f"remove_placement_group takes a PlacementGroup, got a {type(placement_group).__name__}")
    if placement_group.is_empty:
        return
    try:
        code = _lib_.ray_placement_group_remove(placement_group._pointer())
    except (ValueError, _errors.ex.TaskPlacementGroupRemoved):
        return  # nobody knows it any more
    if code != _errors.NOT_FOUND:
        _errors.check(code)
    record = _record_of(placement_group._name)
    if record and record[0] == placement_group.id.hex():
        _lib_.ray_kv_del(_key(placement_group._name).encode())


def get_placement_group(placement_group_name):
    """The group of that name. ValueError when there is none."""
    from .. import _runtime
    if not placement_group_name:
        raise ValueError("get_placement_group needs a name")
    epoch = _runtime.ensure()
    full = _full(placement_group_name)
    pointer = _find(full)
    record = pointer and _record_of(full)
    if record is None:
        _lib_.ray_placement_group_release(pointer)
        raise ValueError(f"there is no placement group named {placement_group_name!r} in the namespace "
                         f"{_runtime.namespace()!r}: it was not created, or has ended")
    group = PlacementGroup(PlacementGroupID(record[0]), record[1], full)
    group._adopt(pointer, epoch)
    return group


def get_current_placement_group():
    """The group in which the calling task or actor runs; None outside of one."""
    from .. import _run, _runtime
    _runtime.ensure()
    job = _run.current()
    return (job and job.extra and job.extra.get("group")) or _run.resident.group


def _bundle_places(row):
    count = row["bundles"]
    places = row.get("bundles_nodes")
    if places is None:  # a node that is in no cluster has them all
        from ..runtime_context import get_runtime_context
        places = ", ".join([get_runtime_context().get_node_id()] * count) if row["state"] == "CREATED" else ""
    found = [place.strip() for place in places.split(",")]
    return {i: found[i] if i < len(found) and found[i] != "-" else "" for i in range(count)}


def table_row(row):
    """A row of placement_group_rows as placement_group_table has it."""
    name = (row["name"] or "").rpartition("/")[2]
    return {"placement_group_id": row["id"], "name": "" if name.startswith(_HIDDEN) else name,
            "bundles": dict(enumerate(row["specs"])), "bundles_to_node_id": _bundle_places(row),
            "strategy": row["strategy"], "state": row["state"], "stats": {}}


def placement_group_table(placement_group=None):
    """What there is to say of a group: a dict with placement_group_id, name, bundles, bundles_to_node_id, strategy,
    state (PENDING, CREATED, RESCHEDULING, REMOVED) and stats, which libray has none of. Without a group: of all that
    are not removed, by their ids."""
    from .. import _runtime
    _runtime.ensure()
    rows = {row["id"]: table_row(row) for row in placement_group_rows()}
    if placement_group is None:
        return rows
    id, bundles = placement_group.id.hex(), placement_group.bundle_cache or []
    return rows.get(id) or {"placement_group_id": id, "name": "", "bundles": dict(enumerate(bundles)), "stats": {},
                            "bundles_to_node_id": dict.fromkeys(range(len(bundles)), ""), "strategy": None,
                            "state": "REMOVED"}
