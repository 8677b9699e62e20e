"""What there is in the cluster: its nodes, jobs, workers, actors, tasks, placement groups and logs.

All functions ask the cluster of this process. address: of a cluster to join where it is in none yet (None: the one on
this host; ConnectionError without one). timeout is taken: how long is waited for the head is libray's own setting.
Failures are RayStateApiException.
"""

import codecs
import fnmatch
import re
import time
import warnings

from ... import _functions, _runtime
from ..._refs import ObjectRef
from . import _query
from .common import (DEFAULT_LIMIT, DEFAULT_RPC_TIMEOUT, RAY_MAX_LIMIT_FROM_API_SERVER, ActorState, ClusterEventState,
                     JobState, NodeState, ObjectState, PlacementGroupState, RuntimeEnvState, TaskState, WorkerState)
from .exception import RayStateApiException


def _connect(address):
    if not _runtime.is_initialized():
        _runtime.init(address or "auto")


def _plain(name):
    """A function or class as people call it."""
    return (name and _functions.split(name)[2]) or name


# ---- rows, with Ray's names ----


_ACTOR_STATES = {"PENDING": "PENDING_CREATION", "STARTING": "PENDING_CREATION", "ENDING": "ALIVE"}


def _actor(row, pid):
    namespace, _, name = (row["name"] or "").rpartition("/")
    return ActorState(actor_id=row["actor_id"], class_name=_plain(row["class_name"]), name=name,
                      state=_ACTOR_STATES.get(row["state"], row["state"]), node_id=row["node_id"], pid=pid,
                      ray_namespace=namespace or None)


def _actors():
    """A worker process tells the class of its actor: it is known whose it is when the node has one of that class."""
    rows, total, trouble = _query.table("actors")
    alive, pids = {}, {}
    for row in rows:
        if row["state"] == "ALIVE":
            alive.setdefault((row["node_id"], row["class_name"]), []).append(row)
    for row in _query.table("workers")[0]:
        runs = row["runs"] or ""
        for name in (runs, runs.rpartition(".")[0]):  # the class, or a method of it
            pids.setdefault((row["node_id"], name), []).append(row["pid"])

    def pid_of(row):
        key = row["node_id"], row["class_name"]
        return pids[key][0] if alive.get(key) == [row] and len(pids.get(key, ())) == 1 else None

    return [_actor(row, pid_of(row)) for row in rows], total - len(rows), trouble


_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def _amount(text):
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text).groups()
    return float(number) * _UNITS.get(unit, 1)


def _pairs(text):
    return dict(part.strip().split("=", 1) for part in (text or "").split(",") if "=" in part)


def _node(row):
    ip = (row["node_ip"] or "127.0.0.1").rpartition(":")[0] or row["node_ip"] or "127.0.0.1"
    return NodeState(node_id=row["node_id"], node_ip=ip, node_name=ip, is_head_node=row["is_head_node"],
                     state="DEAD" if row["state"] == "DEAD" else "ALIVE", state_message=row["state_message"],
                     resources_total={name: _amount(text) for name, text in _pairs(row["resources_total"]).items()},
                     labels=_pairs(row["labels"]))


def _worker(row):
    return WorkerState(worker_id=f"{row['node_id']}{row['pid']:08x}", is_alive=True, worker_type="WORKER",
                       node_id=row["node_id"], pid=row["pid"])


def _job(row):
    return JobState(job_id=row["job_id"], type="DRIVER", status=row["status"], start_time=row["start_time"],
                    end_time=row["end_time"] or None, driver_node_id=row["driver_node_id"])


def _group(row):
    from ..placement_group import table_row
    told = table_row(row)
    bundles = [{"bundle_id": {"placement_group_id": told["placement_group_id"], "bundle_index": i},
                "node_id": told["bundles_to_node_id"][i] or None, "unit_resources": bundle}
               for i, bundle in told["bundles"].items()]
    return PlacementGroupState(placement_group_id=told["placement_group_id"], name=told["name"], state=told["state"],
                               bundles=bundles, is_detached=row.get("is_detached", False))


def _groups():
    from ..placement_group import placement_group_rows
    return [_group(row) for row in placement_group_rows()], 0, ""


def _kind(name):
    """Of a task that has not ended."""
    kind, _, readable = _functions.split(name or "")
    if kind in (_functions.CLASS, _functions.STREAM_CLASS):
        return "ACTOR_TASK" if "." in readable else "ACTOR_CREATION_TASK"
    return "NORMAL_TASK"


def _task(row):
    name = _plain(row["name"])
    return TaskState(task_id=row["task_id"], name=name, func_or_class_name=name, state=row["state"],
                     type=_kind(row["name"]))


_TYPES = {"task": "NORMAL_TASK", "actor_creation": "ACTOR_CREATION_TASK", "actor_call": "ACTOR_TASK"}
_ERRORS = {"failed": "TASK_EXECUTION_EXCEPTION", "cancelled": "TASK_CANCELLED"}


def _ended(event, node_id):
    error = _ERRORS.get(event["outcome"])
    pid, start = event["pid"] or None, event["start_ns"]
    return TaskState(task_id=event["task_id"], name=_plain(event["name"]), func_or_class_name=_plain(event["function"]),
                     state="FAILED" if error else "FINISHED", type=_TYPES[event["kind"]], error_type=error,
                     attempt_number=event["attempt"], actor_id=event["actor_id"], node_id=node_id, worker_pid=pid,
                     worker_id=f"{node_id}{pid:08x}" if pid else None, start_time_ms=start // 1000000,
                     end_time_ms=(start + event["duration_ns"]) // 1000000)


# ---- lists ----


def _listed(table, make):
    def source():
        rows, total, trouble = _query.table(table)
        return [make(row) for row in rows], total - len(rows), trouble
    return source


def _tasks():
    """Those that the nodes have on record, and those that have not ended."""
    trouble, found = [], []
    for node in _query.table("nodes")[0]:
        if node["state"] == "DEAD":
            continue
        try:
            found += [_ended(event, node["node_id"]) for event in _query.timeline(node["node_id"])]
        except RayStateApiException as error:
            trouble.append(str(error))
    known = {task.task_id for task in found if task.task_id}
    rows, total, failed = _query.table("tasks")
    found += [_task(row) for row in rows if row["task_id"] not in known]
    if failed:
        trouble.append(failed)
    return found, total - len(rows), "; ".join(trouble)


def _none():
    return [], 0, ""


_SOURCES = {ActorState: _actors, NodeState: _listed("nodes", _node), JobState: _listed("jobs", _job),
            WorkerState: _listed("workers", _worker), PlacementGroupState: _groups,
            TaskState: _tasks, ObjectState: _none, RuntimeEnvState: _none, ClusterEventState: _none}


def _same(found, wanted):
    if isinstance(wanted, str) and found is not None and not isinstance(found, (dict, list)):
        return str(found).lower() == wanted.lower()
    return found == wanted


def _check_filters(filters, schema):
    for given in filters or ():
        if len(given) != 3:
            raise ValueError(f"a filter is a tuple (name, '=' or '!=', value), got {given!r}")
        name, predicate, _ = given
        if predicate not in ("=", "!="):
            raise ValueError(f"the predicate of a filter is '=' or '!=', got {predicate!r}")
        if name.lower() not in schema.columns():
            known = ", ".join(sorted(schema.columns()))
            raise RayStateApiException(f"{schema.__name__} has no {name!r}; it has {known}")


def _passes(row, filters):
    return all(_same(row[name.lower()], wanted) == (predicate == "=") for name, predicate, wanted in filters or ())


def _list(schema, address=None, filters=None, limit=DEFAULT_LIMIT, timeout=DEFAULT_RPC_TIMEOUT, detail=False,
          raise_on_missing_output=True, _explain=False):
    _check_filters(filters, schema)
    if limit > RAY_MAX_LIMIT_FROM_API_SERVER:
        raise RayStateApiException(f"limit must be {RAY_MAX_LIMIT_FROM_API_SERVER} or less, got {limit}")
    _connect(address)
    rows, missing, trouble = _SOURCES[schema]()
    if missing or trouble:
        words = trouble or f"{missing} more are there than can be told"
        if raise_on_missing_output:
            raise RayStateApiException(f"not all could be listed: {words}. With raise_on_missing_output=False you get "
                                       "the rest")
        if _explain:
            warnings.warn(words)
    rows = [row for row in rows if _passes(row, filters)]
    if _explain and len(rows) > limit:
        warnings.warn(f"these are {limit} of {len(rows)}: give filters, or a higher limit")
    rows = rows[:limit]
    for name in () if detail else schema.detail_only():
        for row in rows:
            row[name] = None
    return rows


def _lister(name, schema, what):
    def function(address=None, filters=None, limit=DEFAULT_LIMIT, timeout=DEFAULT_RPC_TIMEOUT, detail=False,
                 raise_on_missing_output=True, _explain=False):
        return _list(schema, address, filters, limit, timeout, detail, raise_on_missing_output, _explain)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"""{what}: a list of {schema.__name__}, at most limit of them (10,000 at most).

    filters: tuples (name, "=" or "!=", value), all of which must hold; letters' case makes no difference. detail: with
    the fields that are None otherwise. raise_on_missing_output: RayStateApiException when a node did not answer, or
    there are too many; False: what there is. _explain: warn of such."""
    return function


list_actors = _lister("list_actors", ActorState, "Actors, dead ones too while there are handles to them")
list_nodes = _lister("list_nodes", NodeState, "Nodes")
list_jobs = _lister("list_jobs", JobState, "Jobs")
list_workers = _lister("list_workers", WorkerState, "Worker processes")
list_placement_groups = _lister("list_placement_groups", PlacementGroupState, "Placement groups that were not removed")
list_tasks = _lister("list_tasks", TaskState, "Tasks and calls of actors, of those that have ended the last ones")
list_objects = _lister("list_objects", ObjectState, "Always empty, libray lists no objects (see summarize_objects)")
list_runtime_envs = _lister("list_runtime_envs", RuntimeEnvState, "Always empty, libray lists no runtime_envs")
list_cluster_events = _lister("list_cluster_events", ClusterEventState, "Always empty, libray keeps no events")


# ---- one ----


def _all_of(schema, key, id, address, timeout, _explain):
    return _list(schema, address, [(key, "=", id)], RAY_MAX_LIMIT_FROM_API_SERVER, timeout, True, True, _explain)


def _getter(name, schema, key):
    def function(id, address=None, timeout=DEFAULT_RPC_TIMEOUT, _explain=False):
        found = _all_of(schema, key, id, address, timeout, _explain)
        return found[0] if found else None

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"The {schema.__name__} of that id, with all details; None: there is none."
    return function


get_actor = _getter("get_actor", ActorState, "actor_id")
get_node = _getter("get_node", NodeState, "node_id")
get_job = _getter("get_job", JobState, "job_id")
get_worker = _getter("get_worker", WorkerState, "worker_id")
get_placement_group = _getter("get_placement_group", PlacementGroupState, "placement_group_id")


def get_task(id, address=None, timeout=DEFAULT_RPC_TIMEOUT, _explain=False):
    """The TaskState of that id, or of what makes that ObjectRef; a list, when it was tried several times; None: it is
    not on record, or ended before anybody had asked for its id."""
    if isinstance(id, ObjectRef):
        id = id.task_id().hex()
    found = _all_of(TaskState, "task_id", id, address, timeout, _explain)
    return found if len(found) > 1 else found[0] if found else None


def get_objects(id, address=None, timeout=DEFAULT_RPC_TIMEOUT, _explain=False):
    """The ObjectStates of that id: always empty, libray lists no objects."""
    return _all_of(ObjectState, "object_id", id, address, timeout, _explain)


# ---- sums ----


def _count(counts, state):
    counts[state] = counts.get(state, 0) + 1


def _everything(schema, address, timeout, raise_on_missing_output, _explain):
    return _list(schema, address, limit=RAY_MAX_LIMIT_FROM_API_SERVER, timeout=timeout,
                 raise_on_missing_output=raise_on_missing_output, _explain=_explain)


def summarize_tasks(address=None, timeout=DEFAULT_RPC_TIMEOUT, raise_on_missing_output=True, _explain=False):
    """Tasks and calls by name, each in its states: {"cluster": {"summary": {name: {"func_or_class_name", "type",
    "state_counts"}}, "total_tasks", "total_actor_tasks", "total_actor_scheduled", "summary_by"}}."""
    summary, types = {}, dict.fromkeys(_TYPES.values(), 0)
    for task in _everything(TaskState, address, timeout, raise_on_missing_output, _explain):
        group = summary.setdefault(task.name, {"func_or_class_name": task.name, "type": task.type, "state_counts": {}})
        _count(group["state_counts"], task.state)
        types[task.type] += 1
    return {"cluster": {"summary": summary, "total_tasks": types["NORMAL_TASK"],
                        "total_actor_tasks": types["ACTOR_TASK"], "total_actor_scheduled": types["ACTOR_CREATION_TASK"],
                        "summary_by": "func_name"}}


def summarize_actors(address=None, timeout=DEFAULT_RPC_TIMEOUT, raise_on_missing_output=True, _explain=False):
    """Actors by class, each in its states: {"cluster": {"summary": {class: {"class_name", "state_counts"}},
    "total_actors", "summary_by"}}."""
    summary, total = {}, 0
    for actor in _everything(ActorState, address, timeout, raise_on_missing_output, _explain):
        group = summary.setdefault(actor.class_name, {"class_name": actor.class_name, "state_counts": {}})
        _count(group["state_counts"], actor.state)
        total += 1
    return {"cluster": {"summary": summary, "total_actors": total, "summary_by": "class"}}


def summarize_objects(address=None, timeout=DEFAULT_RPC_TIMEOUT, raise_on_missing_output=True, _explain=False):
    """How many objects the stores of all nodes hold, and their size: {"cluster": {"summary", "total_objects",
    "total_size_mb", "callsite_enabled", "summary_by"}}. The summary by call sites is empty."""
    _connect(address)
    rows, _, trouble = _query.table("objects")
    if trouble and raise_on_missing_output:
        raise RayStateApiException(f"not all nodes have answered: {trouble}")
    return {"cluster": {"summary": {}, "total_objects": sum(row["store_objects"] for row in rows),
                        "total_size_mb": sum(row["store_used_bytes"] for row in rows) / (1 << 20),
                        "callsite_enabled": False, "summary_by": "callsite"}}


# ---- logs ----


def _node_of(node_id, node_ip):
    if node_id is None and node_ip is not None:
        node_id = next((node.node_id for node in _list(NodeState, filters=[("node_ip", "=", node_ip)])), None)
        if node_id is None:
            raise RayStateApiException(f"there is no node at {node_ip!r}")
    return node_id


def _group_of_log(name):
    kind = re.match(r"(worker)-\d+\.(out|err)", name)
    return f"{kind[1]}_{kind[2]}" if kind else "raylet"


def list_logs(address=None, node_id=None, node_ip=None, glob_filter=None, timeout=DEFAULT_RPC_TIMEOUT):
    """The names of the log files that a node (node_id, or node_ip) keeps, of those that match: {"worker_out": [...],
    "worker_err": [...], "raylet": [...]}. A program that is a node itself keeps none, its workers print there."""
    if node_id is None and node_ip is None:
        raise AssertionError("list_logs needs node_id or node_ip")
    _connect(address)
    found = {}
    for row in _query.table("logs", _node_of(node_id, node_ip))[0]:
        if fnmatch.fnmatchcase(row["name"], glob_filter or "*"):
            found.setdefault(_group_of_log(row["name"]), []).append(row["name"])
    return found


def _place_of_log(node_id, filename, actor_id, task_id, pid, suffix):
    """(node, file name)"""
    if filename:
        return node_id, filename
    if pid is None:
        node_id, pid = _worker_of(actor_id, task_id)
    return node_id, f"worker-{pid}.{suffix}"


def _worker_of(actor_id, task_id):
    """(node, pid) of what runs, or has run it."""
    actor = actor_id and get_actor(actor_id)
    if actor and actor.pid:
        return actor.node_id, actor.pid
    key, id = ("actor_id", actor_id) if actor_id else ("task_id", task_id)
    ran = [task for task in _tasks()[0] if task.worker_pid and id and task[key] == id]
    if not ran:
        raise RayStateApiException("get_log needs filename, pid, or the id of an actor or a task of which it is known "
                                   "where it runs")
    return ran[-1].node_id, ran[-1].worker_pid


def _last_lines(pieces, count):
    text = b"".join(iter(lambda: next(pieces), b""))
    return text if count < 0 else b"".join(text.splitlines(True)[-count:] if count else ())


def get_log(address=None, node_id=None, node_ip=None, filename=None, actor_id=None, task_id=None, pid=None,
            follow=False, tail=-1, timeout=DEFAULT_RPC_TIMEOUT, suffix="out", encoding="utf-8", errors="strict",
            submission_id=None, attempt_number=0, _interval=None, filter_ansi_code=False):
    """Yields a log file in pieces of text (encoding=None: bytes): the file of that name, or of the worker process with
    that pid, on a node (node_id or node_ip); or of what ran that actor or task. suffix: "out" or "err". tail: only so
    many last lines. follow: goes on with what comes. RayStateApiException: there is no such file."""
    if submission_id is not None:
        raise NotImplementedError("get_log: libray has no job submissions")
    _connect(address)
    node_id, filename = _place_of_log(_node_of(node_id, node_ip), filename, actor_id, task_id, pid, suffix)
    pieces = _query.log_pieces(node_id, filename)
    decode = bytes if encoding is None else codecs.getincrementaldecoder(encoding)(errors).decode
    yield decode(_plain_bytes(_last_lines(pieces, tail), filter_ansi_code))
    while follow:
        piece = next(pieces)
        if piece:
            yield decode(_plain_bytes(piece, filter_ansi_code))
        else:
            time.sleep(_interval or 0.2)


def _plain_bytes(piece, filter_ansi_code):
    return re.sub(rb"\x1b\[[0-9;]*[A-Za-z]", b"", piece) if filter_ansi_code else piece
