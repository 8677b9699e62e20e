"""The rows of `ray.util.state`: Ray's names. What libray does not know of a thing is None."""

from dataclasses import asdict, fields, make_dataclass

DEFAULT_RPC_TIMEOUT = 30
DEFAULT_LIMIT = 100
RAY_MAX_LIMIT_FROM_API_SERVER = 10000


class StateSchema:
    """A row: its fields are attributes, and items of the same names."""

    def asdict(self):
        return asdict(self)

    @classmethod
    def columns(cls):
        """The names of all fields."""
        return {field.name for field in fields(cls)}

    @classmethod
    def detail_only(cls):
        """Those that are None unless detail=True was asked for."""
        return {field.name for field in fields(cls) if field.metadata.get("detail")}

    def __getitem__(self, key):
        return getattr(self, key)

    def __setitem__(self, key, value):
        setattr(self, key, value)

    def get(self, key, default=None):
        return getattr(self, key, default)


def _schema(name, doc, columns, detail=""):
    from dataclasses import field
    made = [(column, object, field(default=None)) for column in columns.split()]
    made += [(column, object, field(default=None, metadata={"detail": True})) for column in detail.split()]
    cls = make_dataclass(name, made, bases=(StateSchema,))
    cls.__module__, cls.__doc__ = __name__, doc
    return cls


ActorState = _schema(
    "ActorState", "An actor. libray tells actor_id, class_name, state, name, ray_namespace and node_id, and pid where "
    "its node has only one actor of the class.",
    "actor_id class_name state job_id name node_id pid ray_namespace",
    "serialized_runtime_env required_resources death_cause is_detached placement_group_id repr_name num_restarts"
    " num_restarts_due_to_lineage_reconstruction num_restarts_due_to_node_preemption call_site label_selector"
    " fallback_strategy")

PlacementGroupState = _schema(
    "PlacementGroupState", "A placement group that was not removed. stats and creator_job_id are not known.",
    "placement_group_id name creator_job_id state",
    "bundles is_detached stats topology_strategy topology_assignments")

NodeState = _schema(
    "NodeState", "A node. A driver that has joined a cluster is one of its own.",
    "node_id node_ip is_head_node state state_message node_name resources_total labels", "start_time_ms end_time_ms")

WorkerState = _schema(
    "WorkerState", "A worker process that lives, or starts.",
    "worker_id is_alive worker_type exit_type node_id ip pid",
    "exit_detail worker_launch_time_ms worker_launched_time_ms start_time_ms end_time_ms debugger_port"
    " num_paused_threads")

JobState = _schema(
    "JobState", "A job: a driver. start_time and end_time are in ms.",
    "job_id submission_id entrypoint type status message error_type driver_info",
    "start_time end_time metadata runtime_env driver_agent_http_address driver_node_id driver_exit_code")

TaskState = _schema(
    "TaskState", "A task, or a call of an actor. Of one that has ended libray keeps the end: task_id is None if nobody "
    "had asked for it, and of one that waits or runs type, ids of actor and worker and times are not known.",
    "task_id attempt_number name state job_id actor_id type func_or_class_name parent_task_id node_id worker_id"
    " worker_pid error_type",
    "language required_resources runtime_env_info placement_group_id events profiling_data creation_time_ms"
    " start_time_ms end_time_ms task_log_info error_message is_debugger_paused call_site label_selector"
    " fallback_strategy")

ObjectState = _schema(
    "ObjectState", "An object. libray sums objects up by nodes (summarize_objects) and lists none.",
    "object_id object_size task_status attempt_number reference_type call_site type pid ip")

RuntimeEnvState = _schema(
    "RuntimeEnvState", "A runtime environment. libray lists none.",
    "runtime_env success creation_time_ms node_id", "ref_cnt error")

ClusterEventState = _schema(
    "ClusterEventState", "An event. libray keeps none.", "severity time source_type message event_id", "custom_fields")
