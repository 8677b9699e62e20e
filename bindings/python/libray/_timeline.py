"""`ray.timeline`: what has run when and where, as events of Chrome's traces."""

import json

from . import _runtime
from .util.state import _query
from .util.state.api import _plain

_COLOURS = {"failed": "terrible", "cancelled": "grey"}
_ARGS = ("attempt", "task_id", "actor_id", "outcome")


def _thread(event):
    pid, thread = event["pid"], event["thread"]
    return (f"worker:{pid}.{thread}", f"worker process {pid}, thread {thread}") if pid else (f"worker:thread-{thread}",
                                                                                             f"thread {thread}")


def _name(what, pid, name, tid=None):
    made = {"ph": "M", "name": what, "pid": pid, "args": {"name": name}}
    return made if tid is None else {**made, "tid": tid}


def _run(event, node_id, tid):
    made = {"cat": event["kind"], "name": _plain(event["name"]), "pid": node_id, "tid": tid,
            "ts": event["start_ns"] / 1000, "dur": event["duration_ns"] / 1000, "ph": "X",
            "args": {**{key: event[key] for key in _ARGS}, "function": _plain(event["function"])}}
    colour = _COLOURS.get(event["outcome"])
    return {**made, "cname": colour} if colour else made


def _events_of(node):
    node_id, seen = node["node_id"], set()
    role = "head" if node["is_head_node"] else "driver" if node["is_driver_node"] else "worker"
    yield _name("process_name", node_id, f"{role} {node['node_ip'] or node_id}")
    for event in _query.timeline(node_id):
        tid, name = _thread(event)
        if tid not in seen:
            seen.add(tid)
            yield _name("thread_name", node_id, name, tid)
        yield _run(event, node_id, tid)


def timeline(filename=None):
    """The events of all nodes that live, of each the last runs on its record; with a filename they are written there,
    as JSON, and None is returned."""
    _runtime.ensure()
    events = [event for node in _query.table("nodes")[0] if node["state"] != "DEAD" for event in _events_of(node)]
    if filename is None:
        return events
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None
