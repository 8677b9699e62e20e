"""Small helpers of `ray.util`: results as they come, names of actors, addresses."""

import socket

import libray as ray
from .. import _runtime


def as_completed(refs, *, chunk_size=10, yield_obj_refs=False, **kwargs):
    """Iterates over the results of a list of refs as they are made, chunk_size at a time (those of a chunk in the
    order of refs); over the refs themselves with yield_obj_refs. Raises what a task has raised. kwargs go to
    `ray.wait`. ValueError: chunk_size is below 1."""
    _check(chunk_size, kwargs)
    while refs:
        done, refs = _next_chunk(refs, chunk_size, yield_obj_refs, kwargs)
        yield from done


def map_unordered(fn, items, *, backpressure_size=100, chunk_size=10, yield_obj_refs=False, **kwargs):
    """Iterates over the results of fn.remote(item), as `as_completed` does, where fn is a remote function or a method
    of an actor. At most backpressure_size calls are under way (None: all items are submitted at once).
    ValueError: backpressure_size or chunk_size is below 1."""
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError(f"backpressure_size must be 1 or more, or None, got {backpressure_size}")
    _check(chunk_size, kwargs)
    refs = []
    for item in items:
        refs.append(fn.remote(item))
        if backpressure_size is not None and len(refs) >= backpressure_size:
            done, refs = _next_chunk(refs, chunk_size, yield_obj_refs, kwargs)
            yield from done
    yield from as_completed(refs, chunk_size=chunk_size, yield_obj_refs=yield_obj_refs, **kwargs)


def _check(chunk_size, kwargs):
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be 1 or more, got {chunk_size}")
    if "num_returns" in kwargs:
        raise ValueError("num_returns cannot be given: chunk_size is the same")


def _next_chunk(refs, chunk_size, yield_obj_refs, kwargs):
    done, rest = ray.wait(refs, num_returns=min(chunk_size, len(refs)), **kwargs)
    return (done if yield_obj_refs else ray.get(done)), rest


def list_named_actors(all_namespaces=False):
    """The names of the actors of this namespace that have one; with all_namespaces of all, as
    {"name": ..., "namespace": ...}."""
    from .state._query import table
    _runtime.ensure()
    found = []
    for row in table("actors")[0]:
        if row["name"] is not None and row["state"] != "DEAD":
            namespace, _, name = row["name"].rpartition("/")
            found.append({"name": name, "namespace": namespace})
    return found if all_namespaces else [a["name"] for a in found if a["namespace"] == _runtime.namespace()]


def get_node_ip_address(address=None):
    """The address by which other nodes reach this one, as in `ray.nodes()`; before `ray.init` that of the network
    interface towards `address` (HOST:PORT; default: the Internet)."""
    if ray.is_initialized():
        here = ray.get_runtime_context().get_node_id()
        return next(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == here)
    host, _, port = (address or "8.8.8.8:53").rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as towards:  # of UDP: connecting sends nothing
        try:
            towards.connect((host, int(port)))
            return towards.getsockname()[0]
        except OSError:
            return "127.0.0.1"
