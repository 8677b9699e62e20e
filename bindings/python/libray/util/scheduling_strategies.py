"""Where tasks and actors go: values of the option scheduling_strategy, besides "DEFAULT" and "SPREAD"."""

import re


class PlacementGroupSchedulingStrategy:
    """In a bundle of a placement group; -1: in any. None: in no group. That the bundle is there and large enough is
    looked at when the task or actor is submitted (ValueError). placement_group_capture_child_tasks: what it submits
    runs in the group, too, and what that submits, unless it has a scheduling_strategy ("DEFAULT" for none)."""

    def __init__(self, placement_group, placement_group_bundle_index=-1, placement_group_capture_child_tasks=None):
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


_NODE_ID = re.compile(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{56}")  # libray's, or one of Ray's


class NodeAffinitySchedulingStrategy:
    """On the node of that id, where it waits for its resources, with a warning if they are more than the node has. With
    soft on any other node if that one is not in the cluster, or has less; else, if it is not in the cluster, it fails:
    TaskUnschedulableError or ActorUnschedulableError. ValueError: that is no node's id."""

    def __init__(self, node_id, soft, _spill_on_unavailable=False, _fail_on_unavailable=False):
        self.node_id = node_id if isinstance(node_id, str) else node_id.hex()
        self.soft = soft
        if not _NODE_ID.fullmatch(self.node_id):
            raise ValueError(f"node_id must be the id of a node, in hexadecimal as ray.nodes() tells it, got "
                             f"{node_id!r}")
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable needs soft=True")
        if _fail_on_unavailable and soft:
            raise ValueError("_fail_on_unavailable needs soft=False")


def _checked(rule, values):
    if not values:
        raise ValueError(f"{rule} needs a value: {rule}('a', 'b')")
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{rule} takes strings, got {value!r}")
    return list(values)


class In:
    """The label has one of these values."""

    def __init__(self, *values):
        self.values = _checked("In", values)


class NotIn:
    """The label has none of these values."""

    def __init__(self, *values):
        self.values = _checked("NotIn", values)


class Exists:
    """The label is there."""


class DoesNotExist:
    """The label is not there."""


def _term(key, rule):
    if isinstance(rule, In):
        return f"{key}={'|'.join(rule.values)}"
    if isinstance(rule, NotIn):
        return f"{key}!={'|'.join(rule.values)}"
    return key if isinstance(rule, Exists) else f"!{key}"


def _checked_rules(rules, name):
    if rules is None:
        return {}
    if not isinstance(rules, dict):
        raise ValueError(f"{name} must be a dict of rules, {{'zone': In('eu')}}, got a {type(rules).__name__}")
    for key, rule in rules.items():
        if not isinstance(key, str):
            raise ValueError(f"{name} must have the names of labels as keys, got {key!r}")
        if not isinstance(rule, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(f"a rule for the label {key!r} is In, NotIn, Exists or DoesNotExist, got {rule!r}")
    return rules


class NodeLabelSchedulingStrategy:
    """On nodes whose labels meet all rules of hard, {"zone": In("eu", "us")}; it waits for one. soft, which would only
    prefer, is taken without effect."""

    def __init__(self, hard, *, soft=None):
        self.hard, self.soft = _checked_rules(hard, "hard"), _checked_rules(soft, "soft")
        if not self.hard and not self.soft:
            raise ValueError("hard or soft must have a rule")

    def to_text(self):
        """The rules as C takes them; None: no hard ones."""
        return ", ".join(_term(key, rule) for key, rule in self.hard.items()) or None
