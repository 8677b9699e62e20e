"""The options of tasks, actors and calls: Ray's names and checks, as structures of the C API.

An Options is made once for a set of options and used for every call: building it costs more than a call.
"""

import ctypes
import re

from . import _lib

_COMMON = {"accelerator_type", "enable_task_events", "fallback_strategy", "label_selector", "memory", "name",
           "num_cpus",
           "num_gpus", "placement_group", "placement_group_bundle_index", "placement_group_capture_child_tasks",
           "resources", "runtime_env", "scheduling_strategy", "_labels", "_metadata", "object_store_memory", "priority",
           "isolation"}
TASK = _COMMON | {"max_calls", "max_retries", "num_returns", "retry_exceptions", "_generator_backpressure_num_objects",
                  "timeout_s"}
ACTOR = _COMMON | {"allow_out_of_order_execution", "concurrency_groups", "get_if_exists", "lifetime", "max_concurrency",
                   "max_pending_calls", "max_restarts", "max_task_retries", "namespace"} - {"priority"}
METHOD = {"num_returns", "max_task_retries", "retry_exceptions", "concurrency_group", "enable_task_events", "name",
          "_generator_backpressure_num_objects", "generator_backpressure_num_objects", "tensor_transport"}


def _refuse(name, what):
    raise ValueError(f"the option {name!r} {what}")


def _number(options, name, whole=False):
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise TypeError(f"the option {name!r} must be {'an integer' if whole else 'a number'} or None, got "
                        f"{type(value).__name__}")
    if value < 0:
        _refuse(name, f"must be 0 or more, got {value}")
    return value


def _at_least_minus_one(options, name):
    value = options.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"the option {name!r} must be an integer or None, got {type(value).__name__}")
    if value < -1:
        _refuse(name, f"must be 0 or more, or -1, got {value}")


def _check_resources(options):
    for name in ("num_cpus", "num_gpus", "memory", "object_store_memory"):
        _number(options, name)
    gpus = options.get("num_gpus") or 0
    if gpus > 1 and gpus != int(gpus):
        _refuse("num_gpus", f"must be a part of one, or a whole number, got {gpus}")
    resources = options.get("resources")
    if resources is None:
        return
    if not isinstance(resources, dict):
        raise TypeError(f"the option 'resources' must be a dict, got {type(resources).__name__}")
    for name, instead in (("CPU", "num_cpus"), ("GPU", "num_gpus"), ("memory", "memory")):
        if name in resources:
            _refuse("resources", f"may not have {name!r}: use {instead}=")
    for name, amount in resources.items():
        if not isinstance(name, str):
            raise TypeError(f"the option 'resources' must have names as keys, got {name!r}")
        if _number({f"resources[{name}]": amount}, f"resources[{name}]") is None:
            raise TypeError(f"the option 'resources' must have numbers as amounts, got {name}={amount}")


def _check_returns(value):
    if value in (None, "dynamic", "streaming"):
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"the option 'num_returns' must be an integer, 'dynamic' or 'streaming', got {value!r}")
    if value < 0:
        _refuse("num_returns", f"must be 0 or more, got {value}")


def _check_retry_exceptions(value):
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"the option 'retry_exceptions' must be a bool or a list of exception classes, got {value!r}")
    if not all(isinstance(e, type) and issubclass(e, BaseException) for e in value):
        _refuse("retry_exceptions", f"must be a bool or a list of exception classes, got {value!r}")


_TYPES = {"name": str, "namespace": str, "runtime_env": dict, "get_if_exists": bool}


def _check_types(options):
    for name, kind in _TYPES.items():
        value = options.get(name)
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"the option {name!r} must be a {kind.__name__} or None, got {type(value).__name__}")


def check(options, allowed, what):
    """Raises ValueError or TypeError for options that Ray would refuse."""
    for name in options:
        if name not in allowed:
            raise ValueError(f"{what} has no option {name!r}; there are {', '.join(sorted(allowed))}")
    _check_resources(options)
    _check_returns(options.get("num_returns"))
    _check_retry_exceptions(options.get("retry_exceptions"))
    _check_types(options)
    for name in ("max_retries", "max_restarts", "max_task_retries", "max_pending_calls"):
        _at_least_minus_one(options, name)
    for name in ("max_calls", "max_concurrency"):
        _number(options, name, whole=True)
    if options.get("lifetime") not in (None, "detached", "non_detached"):
        _refuse("lifetime", f"must be None, 'detached' or 'non_detached', got {options['lifetime']!r}")
    if options.get("max_calls") and allowed is ACTOR:
        _refuse("max_calls", "is for tasks")
    labels_text(options.get("label_selector"))
    _check_fallback(options.get("fallback_strategy"))
    strategy = options.get("scheduling_strategy")
    if strategy is not None and not isinstance(strategy, str):
        _check_strategy(strategy)


def _check_strategy(strategy):
    from .util import scheduling_strategies as s
    if not isinstance(strategy, (s.PlacementGroupSchedulingStrategy, s.NodeAffinitySchedulingStrategy,
                                 s.NodeLabelSchedulingStrategy)):
        raise TypeError("the option 'scheduling_strategy' must be 'DEFAULT', 'SPREAD' or one of "
                        f"ray.util.scheduling_strategies, got a {type(strategy).__name__}")


def _amount(value):
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _named_resources(options):
    named = {}
    if options.get("num_cpus") is not None:
        named["CPU"] = options["num_cpus"]
    if options.get("num_gpus") is not None:
        named["GPU"] = options["num_gpus"]
    if options.get("memory") is not None:
        named["memory"] = int(options["memory"])
    if options.get("accelerator_type"):
        named[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    named.update(options.get("resources") or {})
    return named


def resources_text(options, default_cpus=None):
    """Resources as C takes them; None: nothing was named."""
    named = _named_resources(options)
    if not named:
        return None
    if "CPU" not in named and default_cpus is not None:
        named["CPU"] = default_cpus
    return ", ".join(f"{name}={_amount(amount)}" for name, amount in named.items() if amount or name == "CPU")


_LABEL = r"[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,61}[a-zA-Z0-9])?"
_LABEL_RULE = re.compile(rf"!?in\({_LABEL}(, ?{_LABEL})*\)|!?{_LABEL}|")


def _read_rule(rule):
    """Whether one of the values must not be there, and the values: "a", "!a", "in(a, b)", "!in(a, b)"."""
    text = str(rule).strip()
    values = text.removeprefix("!")
    values = values[3:-1].split(",") if values.startswith("in(") and values.endswith(")") else [values]
    return text.startswith("!"), [value.strip() for value in values]


def labels_text(selector):
    """Ray's label_selector as C's labels: "!v" is not v, "in(a,b)" any of them, "!in(a,b)" none."""
    if selector is None:
        return None
    if not isinstance(selector, dict):
        raise TypeError(f"the option 'label_selector' must be a dict, got {type(selector).__name__}")
    terms = []
    for key, value in selector.items():
        text = str(value).strip()
        if not _LABEL_RULE.fullmatch(text):
            _refuse("label_selector", f"has rules 'a', '!a', 'in(a, b)' or '!in(a, b)' of letters, digits, '-', '_' "
                                      f"and '.', got {key}={value!r}")
        is_not, values = _read_rule(value)
        terms.append(f"{key}{'!=' if is_not else '='}{'|'.join(values)}")
    return ", ".join(terms)


def _check_fallback(strategy):
    if strategy is None:
        return
    if not isinstance(strategy, list):
        raise TypeError(f"the option 'fallback_strategy' must be a list, got {type(strategy).__name__}")
    for entry in strategy:
        if not isinstance(entry, dict) or set(entry) != {"label_selector"}:
            _refuse("fallback_strategy", f"must have dicts with 'label_selector' and nothing else, got {entry!r}")
        labels_text(entry["label_selector"])


def _could_take(node, selector, resources):
    """May a node of ray.nodes() ever run what asks for that?"""
    for key, rule in selector.items():
        is_not, values = _read_rule(rule)
        if (node["Labels"].get(key, "") in values) == is_not:
            return False
    return node["Alive"] and all(node["Resources"].get(name, 0) >= amount for name, amount in resources.items())


def _selector(options):
    """The label_selector; where no node could ever satisfy it, the first of fallback_strategy that one could."""
    wanted, others = options.get("label_selector"), options.get("fallback_strategy")
    if others:
        from . import _runtime
        nodes, resources = _runtime.nodes(), _named_resources(options)
        for selector in (wanted or {}, *(entry["label_selector"] for entry in others)):
            if any(_could_take(node, selector, resources) for node in nodes):
                return selector
    return wanted


def _join(*parts):
    return ", ".join(part for part in parts if part) or None


class Options:
    """A TaskOptions or ActorOptions, with all that it points at. `c` is it, by reference; None where all is default."""

    __slots__ = ("c", "_struct", "_kept", "num_returns", "retry", "env")

    def __init__(self, struct_type, fields, kept=()):
        self._struct = struct_type(size=ctypes.sizeof(struct_type), **fields) if fields else None
        self._kept = (fields, kept)
        self.c = ctypes.byref(self._struct) if fields else None


def _env_array(variables):
    items = [f"{name}={value}".encode() for name, value in variables.items()]
    return (ctypes.c_char_p * (len(items) + 1))(*items, None)


def _strategy_fields(strategy, fields, kept, labels, resources):
    """Of scheduling_strategy; returns the labels, with its own."""
    from .util import scheduling_strategies as s
    if strategy is None or strategy == "DEFAULT":
        return labels
    if strategy == "SPREAD":
        fields["spread"] = True
    elif isinstance(strategy, s.NodeAffinitySchedulingStrategy):
        fields["node_id"] = strategy.node_id.encode()
        fields["node_soft"] = bool(strategy.soft)
    elif isinstance(strategy, s.NodeLabelSchedulingStrategy):
        labels = _join(labels, strategy.to_text())
    elif isinstance(strategy, s.PlacementGroupSchedulingStrategy):
        group, index = strategy.placement_group, strategy.placement_group_bundle_index
        if group is not None and not group.is_empty:
            from .util.placement_group import check_place
            check_place(group, index, resources)
            fields["group"] = group._pointer()
            fields["bundle"] = index + 1
            kept.append(group)
    else:
        raise ValueError(f"the option 'scheduling_strategy' must be 'DEFAULT', 'SPREAD' or one of "
                         f"ray.util.scheduling_strategies, got {strategy!r}")
    return labels


def _group_of_old_options(options):
    """placement_group=, which scheduling_strategy= has replaced."""
    group = options.get("placement_group")
    from . import _runtime
    from .util.scheduling_strategies import PlacementGroupSchedulingStrategy
    if group in (None, "default"):
        strategy = options.get("scheduling_strategy")
        captured = _runtime.captured() if strategy is None else None
        return PlacementGroupSchedulingStrategy(captured, -1, True) if captured else strategy
    if options.get("scheduling_strategy") is not None:
        raise ValueError("give either placement_group or scheduling_strategy, not both")
    return PlacementGroupSchedulingStrategy(group, options.get("placement_group_bundle_index", -1),
                                            options.get("placement_group_capture_child_tasks"))


def group_of(options):
    """What goes with a task of its placement group: the group, and whether it captures what is submitted there."""
    strategy = _group_of_old_options(options)
    group = getattr(strategy, "placement_group", None)
    if group is None or group.is_empty:
        return {}
    return {"group": group, "captures": bool(strategy.placement_group_capture_child_tasks)}


def _common(options, fields, kept, resources, env):
    labels = labels_text(_selector(options))
    labels = _strategy_fields(_group_of_old_options(options), fields, kept, labels, resources)
    for name, value in (("resources", resources), ("labels", labels)):
        if value is not None:
            fields[name] = value.encode()
    if env:
        array = _env_array(env)
        kept.append(array)
        fields["env"] = array
    if options.get("isolation") is not None:
        fields["isolation"] = {"thread": 1, "process": 2}[options["isolation"]]


def _retries(value):
    return _lib.NO_RETRIES if value == 0 else value


def for_task(options, env=None):
    fields, kept = {}, []
    _common(options, fields, kept, resources_text(options, 1), env)
    if options.get("max_retries") is not None and options["max_retries"] != 3:
        fields["max_retries"] = _retries(options["max_retries"])
    if options.get("retry_exceptions") is True:
        fields["retry_failures"] = True
    if options.get("priority"):
        fields["priority"] = options["priority"]
    ahead = options.get("_generator_backpressure_num_objects")
    if ahead:
        fields["max_ahead"] = ahead
    if options.get("name"):
        fields["name"] = options["name"].encode()
    return Options(_lib.TaskOptions, fields, kept)


def for_call(options):
    fields = {}
    if options.get("max_task_retries") is not None:
        fields["max_retries"] = _retries(options["max_task_retries"])
    if options.get("retry_exceptions") is True:
        fields["retry_failures"] = True
    if options.get("concurrency_group"):
        fields["concurrency_group"] = options["concurrency_group"].encode()
    if options.get("name"):
        fields["name"] = options["name"].encode()
    ahead = options.get("_generator_backpressure_num_objects") or options.get("generator_backpressure_num_objects")
    if ahead:
        fields["max_ahead"] = ahead
    return Options(_lib.TaskOptions, fields)


def for_actor(options, name, max_concurrency, env=None):
    fields, kept = {}, []
    _common(options, fields, kept, resources_text(options, 0), env)
    if name:
        fields["name"] = name.encode()
    fields["detached"] = options.get("lifetime") == "detached"
    fields["get_if_exists"] = bool(options.get("get_if_exists"))
    fields["max_restarts"] = options.get("max_restarts") or 0
    fields["max_task_retries"] = options.get("max_task_retries") or 0
    fields["max_concurrency"] = max_concurrency
    pending = options.get("max_pending_calls")
    fields["max_pending_calls"] = 0 if pending in (None, -1) else pending
    groups = options.get("concurrency_groups")
    if groups:
        fields["concurrency_groups"] = ", ".join(f"{key}={value}" for key, value in groups.items()).encode()
    return Options(_lib.ActorOptions, fields, kept)
