"""Where the calling code runs: `ray.get_runtime_context()`."""

import os

from . import _functions, _lib, _run


class RuntimeContext:
    """Ids are hexadecimal; outside of tasks and actors what does not apply is None."""

    def _all(self):
        from . import _runtime
        if not _runtime.is_initialized():
            raise RuntimeError("the runtime of this context is over: call ray.init first")
        job = _run.current()
        found = job.context if job is not None and job.context is not None else _run.snapshot()
        carried = _runtime.job()
        return {**found, "job_id": carried[0], "ns": carried[1]} if carried else found

    def get_job_id(self):
        return self._all()["job_id"]

    def get_node_id(self):
        return self._all()["node_id"]

    def get_worker_id(self):
        return f"{self.get_node_id()}{os.getpid():08x}"

    def get_task_id(self):
        return self._all()["task_id"]

    def get_actor_id(self):
        return self._all()["actor_id"]

    def get_placement_group_id(self):
        from .util.placement_group import get_current_placement_group
        group = self._all() and get_current_placement_group()
        return group and group.id.hex()

    def get_task_name(self):
        """The option name of the task, else the name of its function: "f", "A.f"."""
        job = _run.current()
        return job and ((job.extra or {}).get("name") or job.name)

    def get_task_function_name(self):
        """The name of its function, with its module: "module.f"."""
        job = _run.current()
        if job is None:
            return None
        what = _run.resident.cls or _functions.load(_functions.split(self._all()["function"])[1])
        return f"{what.__module__}.{job.name}"

    def get_actor_name(self):
        """The name it was created with; "" without one, None outside of actors."""
        if self.get_actor_id() is None:
            return None
        return _run.resident.name or ""

    def get_assigned_resources(self):
        """What the task or actor has, {"CPU": 1.0}; {} of an actor that named nothing. AssertionError elsewhere."""
        if not _run.in_worker:
            raise AssertionError("get_assigned_resources is for tasks and actors")
        found = {}
        for part in (self._all()["resources"] or "").split(","):
            name, _, amount = part.strip().partition("=")
            if name:
                found[name] = float(amount)
        return found

    def get_accelerator_ids(self):
        """{"GPU": ["0", "1"]}"""
        gpus = self._all()["gpus"]
        return {"GPU": gpus.split(",") if gpus else []}

    def get_node_labels(self):
        from . import _runtime
        here = self.get_node_id()
        return next((node["Labels"] for node in _runtime.nodes() if node["NodeID"] == here), {})

    def get_temp_dir(self):
        return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"

    def get_session_name(self):
        """The same in all processes of the cluster."""
        from . import _runtime
        here = self.get_node_id()
        return f"session_{next((node['NodeID'] for node in _runtime.nodes() if node['IsHead']), here)}"

    def get_runtime_env_string(self):
        import json
        from . import _runtime_env
        return json.dumps(_runtime_env.job(), default=str)

    @property
    def namespace(self):
        return self._all()["ns"]

    @property
    def runtime_env(self):
        from . import _runtime_env
        return _runtime_env.job()

    @property
    def current_actor(self):
        """A handle to the actor in which this runs. RuntimeError elsewhere."""
        from .actor import handle_of
        if _run.resident.pointer is None:
            raise RuntimeError("current_actor is for methods of actors")
        return handle_of(_lib.lib.ray_actor_retain(_run.resident.pointer), _run.resident.meta)

    @property
    def was_current_actor_reconstructed(self):
        """Has the actor lived before? AssertionError outside of actors."""
        if self.get_actor_id() is None:
            raise AssertionError("was_current_actor_reconstructed is for methods of actors")
        return self._all()["restarts"] > 0

    @property
    def gcs_address(self):
        """HOST:PORT of the cluster's head; "local" where there is none."""
        from . import _runtime
        return _runtime.head_address()

    def get_resource_ids(self):
        return self.get_accelerator_ids()

    def is_canceled(self):
        """Was the running task cancelled? RuntimeError in the driver, and in coroutines, which are cancelled
        themselves."""
        if not _run.in_worker:
            raise RuntimeError("is_canceled is for tasks and actors")
        if _run.resident.loop is not None:
            raise RuntimeError("is_canceled is not for async actors: a coroutine that is cancelled gets CancelledError")
        job = _run.current()
        if job is not None and job.later:
            return _lib.lib.ray_later_cancelled(job.later)
        return _lib.quick.ray_cancelled()


_context = RuntimeContext()


def get_runtime_context():
    """Where the calling code runs. Starts libray if nobody has."""
    from . import _runtime
    _runtime.ensure()
    return _context
