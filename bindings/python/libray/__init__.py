"""libray for Python: Ray Core's names and meaning over libray.so.

    import libray as ray
    ray.init()

    @ray.remote
    def twice(x):
        return 2 * x

    print(ray.get([twice.remote(i) for i in range(5)]))
    ray.shutdown()

`python -m libray script.py` runs a script that says `import ray`. What differs from Ray is in
doc/reference/ray-differences.md.
"""

import inspect as _inspect

from . import exceptions
from ._ids import ActorID, FunctionID, JobID, NodeID, PlacementGroupID, TaskID, UniqueID, WorkerID
from ._refs import DynamicObjectRefGenerator, ObjectRef, ObjectRefGenerator
from ._runtime import (available_resources, cancel, cluster_resources, get, get_gpu_ids, init, is_initialized, kill,
                       nodes, put, shutdown, wait)
from ._version import RAY as _RAY
from ._version import __version__ as __libray_version__
from .actor import ActorClass, ActorHandle, get_actor, method
from .remote_function import RemoteFunction
from .runtime_context import get_runtime_context

__version__ = _RAY  # programs look at it for what Ray can do; __libray_version__ is this package's

__all__ = ["ActorClass", "ActorHandle", "ActorID", "DynamicObjectRefGenerator", "FunctionID", "JobID", "LoggingConfig",
           "NodeID", "ObjectRef", "ObjectRefGenerator", "PlacementGroupID", "TaskID", "UniqueID", "WorkerID", "actor",
           "available_resources", "cancel", "cluster_resources", "exceptions", "get", "get_actor", "get_gpu_ids",
           "get_runtime_context", "init", "is_initialized", "kill", "method", "nodes", "put", "remote", "shutdown",
           "timeline", "util", "wait"]


def _make(what, options):
    if _inspect.isclass(what):
        return ActorClass(what, options)
    if callable(what) and not isinstance(what, (RemoteFunction, ActorClass)):
        return RemoteFunction(what, options)
    raise TypeError(f"@ray.remote is for functions and classes, got a {type(what).__name__}")


def remote(*args, **options):
    """Makes a function remote, or a class one of actors: `@ray.remote`, or with options, `@ray.remote(num_cpus=2)`;
    also `ray.remote(f)`. Options of tasks: num_cpus (1), num_gpus, memory, resources, num_returns (1; "streaming" for
    generators; "dynamic"), max_retries (3), retry_exceptions (False, True, classes), max_calls, runtime_env,
    scheduling_strategy, label_selector, accelerator_type, name. Of actors: name, namespace, lifetime, get_if_exists,
    max_restarts (0), max_task_retries (0), max_concurrency (1; 1000 with coroutines), max_pending_calls,
    concurrency_groups, and of the above what is not about results and retries."""
    if len(args) == 1 and not options and callable(args[0]):
        return _make(args[0], {})
    if args or not options:
        raise TypeError("@ray.remote stands alone (@ray.remote) or takes options by name (@ray.remote(num_cpus=2))")
    return lambda what: _make(what, options)


def timeline(filename=None):
    """What has run when and where, as a list of events for ui.perfetto.dev; with a filename it is written there."""
    from ._timeline import timeline as found
    return found(filename)


class LoggingConfig:
    """Taken, without effect: worker processes print, and logging in them is theirs."""

    def __init__(self, encoding="TEXT", log_level="INFO", additional_log_standard_attrs=()):
        self.encoding, self.log_level = encoding, log_level
        self.additional_log_standard_attrs = list(additional_log_standard_attrs)


def client(*args, **kwargs):
    raise NotImplementedError("ray.client is not there yet: join the cluster as a driver, ray.init('HOST:PORT')")


def __getattr__(name):
    if name == "util":  # an attribute of the package, as in Ray, which not every worker process has to load
        import importlib
        return importlib.import_module(".util", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
