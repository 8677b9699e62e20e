"""The exceptions of Ray: same names, same tree. Which of libray's codes becomes which is in _errors.py."""

__all__ = [
    "ActorAlreadyExistsError", "ActorDiedError", "ActorHandleNotFoundError", "ActorPlacementGroupRemoved",
    "ActorUnavailableError", "ActorUnschedulableError", "AsyncioActorExit", "AuthenticationError",
    "CrossLanguageError", "GetTimeoutError", "LocalRayletDiedError", "NodeDiedError", "ObjectFetchTimedOutError",
    "ObjectFreedError", "ObjectLostError", "ObjectReconstructionFailedError", "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError", "OutOfDiskError", "OutOfMemoryError", "OwnerDiedError", "PendingCallsLimitExceeded",
    "RayActorError", "RayError", "RaySystemError", "RayTaskError", "RpcError", "RuntimeEnvSetupError",
    "TaskCancelledError", "TaskPlacementGroupRemoved", "TaskUnschedulableError", "UnserializableException",
    "WorkerCrashedError",
]


class RayError(Exception):
    """The root of what libray raises about tasks, actors and objects."""


class CrossLanguageError(RayError):
    """A function of another language failed."""


class TaskCancelledError(RayError):
    """The task was cancelled, before it started or while it ran."""

    def __init__(self, task_id=None, error_message=None):
        super().__init__(task_id, error_message)
        self.task_id = task_id
        self.error_message = error_message

    def __str__(self):
        return self.error_message or (f"task {self.task_id} was cancelled" if self.task_id else "cancelled")


class RayTaskError(RayError):
    """A task raised an exception. What `ray.get` raises is also an instance of that exception's class.

    function_name, pid and ip say what failed and where; traceback_str is the traceback there; cause is the exception
    itself, or a RayError that describes it when it could not be pickled.
    """

    def __init__(self, function_name, traceback_str, cause, proctitle=None, pid=None, ip=None, actor_repr=None,
                 actor_id=None):
        super().__init__(function_name, traceback_str, cause, proctitle, pid, ip, actor_repr, actor_id)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle
        self.pid = pid
        self.ip = ip
        self.actor_repr = actor_repr
        self._actor_id = actor_id

    def as_instanceof_cause(self):
        """This error as one that `except` clauses for the cause's class catch, too; itself where that class allows no
        subclass."""
        cause_class = type(self.cause)
        if issubclass(RayTaskError, cause_class):
            return self
        try:
            return _both(self, cause_class)
        except Exception:
            return self

    def __str__(self):
        where = f"pid={self.pid}" + (f", ip={self.ip}" if self.ip else "")
        who = f", actor_id={self._actor_id}" if self._actor_id else ""
        what = f", repr={self.actor_repr}" if self.actor_repr else ""
        return f"{self.proctitle or self.function_name} ({where}{who}{what})\n{self.traceback_str.rstrip()}"


def _restore_both(error):
    return error.as_instanceof_cause()


def _both(error, cause_class):
    """Of a class made for the occasion: RayTaskError and the cause's. It is not initialised as a cause would be, since
    nobody knows with which arguments; the cause's attributes are found by delegation."""

    def __init__(self, *args):
        pass

    def __getattr__(self, name):
        if name == "cause":
            raise AttributeError(name)
        return getattr(self.cause, name)

    def __reduce__(self):
        return _restore_both, (error,)

    def __str__(self):
        return RayTaskError.__str__(error)

    body = {"__init__": __init__, "__getattr__": __getattr__, "__reduce__": __reduce__, "__str__": __str__,
            "__module__": __name__, "args": property(lambda self: (self.cause,), lambda self, value: None)}
    name = f"RayTaskError({cause_class.__name__})"
    made = type(name, (RayTaskError, cause_class), body)
    if isinstance(error.cause, BaseExceptionGroup):
        instance = made(error.cause.message, error.cause.exceptions)
    else:
        instance = made()
    for key, value in error.__dict__.items():
        instance.__dict__[key] = value
    return instance


class WorkerCrashedError(RayError):
    """The worker process that ran the task died."""


class NodeDiedError(RayError):
    """The node that ran the task died."""


class LocalRayletDiedError(RayError):
    """This process has lost its node."""


class RayActorError(RayError):
    """An actor cannot be reached, for ever or for now. actor_id is its id, or None."""

    def __init__(self, error_message="The actor died unexpectedly.", actor_id=None, actor_init_failed=False,
                 preempted=False):
        super().__init__(error_message)
        self.error_msg = error_message
        self.actor_id = actor_id
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    def __reduce__(self):
        return type(self), (self.error_msg, self.actor_id, self._actor_init_failed, self._preempted)

    def __str__(self):
        return self.error_msg

    @property
    def actor_init_failed(self):
        """Did its constructor raise?"""
        return self._actor_init_failed

    @property
    def preempted(self):
        return self._preempted


class ActorDiedError(RayActorError):
    """The actor is dead and will not come back."""


class ActorUnavailableError(RayActorError):
    """The actor died while the call was under way, and may live again: the call may have run."""


class RaySystemError(RayError):
    """Something went wrong in libray or in the operating system."""

    def __init__(self, client_exc, traceback_str=None):
        super().__init__(client_exc, traceback_str)
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self):
        return f"System error: {self.client_exc}" + (f"\n{self.traceback_str}" if self.traceback_str else "")


class AuthenticationError(RayError):
    """The cluster refuses this process's key, or it has none."""


class ObjectStoreFullError(RayError):
    """The object store has no room, and nothing in it can be spilled."""


class OutOfDiskError(RayError):
    """The disk to which objects are spilled is full."""


class OutOfMemoryError(RayError):
    """The task or actor went beyond its memory limit, or the machine had no memory left."""


class ObjectLostError(RayError):
    """The object was lost with the node or process that had it. object_ref_hex says which, if that is known."""

    def __init__(self, object_ref_hex=None, owner_address=None, call_site="", message=None):
        super().__init__(object_ref_hex, owner_address, call_site, message)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        self.message = message

    def __str__(self):
        return self.message or f"object {self.object_ref_hex} was lost"


class ObjectFetchTimedOutError(ObjectLostError):
    """The object could not be brought here in time."""


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand."""


class OwnerDiedError(ObjectLostError):
    """The process that owned the object died."""


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost, and could not be made again."""


class GetTimeoutError(RayError, TimeoutError):
    """`ray.get` with a timeout: it has passed. The task goes on."""


class RpcError(RayError):
    """The head of the cluster cannot be reached."""

    def __init__(self, message, rpc_code=None):
        super().__init__(message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self):
        return self.message


class AsyncioActorExit(RayError):
    """Raised by `ray.actor.exit_actor()` in an async actor."""


class RuntimeEnvSetupError(RayError):
    """The runtime_env of a task or actor could not be set up."""

    def __init__(self, error_message=None):
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self):
        return f"the runtime_env could not be set up: {self.error_message}"


class TaskPlacementGroupRemoved(RayError):
    """The placement group of the task was removed."""


class ActorPlacementGroupRemoved(RayError):
    """The placement group of the actor was removed."""


class PendingCallsLimitExceeded(RayError):
    """The actor has max_pending_calls calls waiting."""


class TaskUnschedulableError(RayError):
    """The task can never be placed."""

    def __init__(self, error_message):
        super().__init__(error_message)
        self.error_message = error_message


class ActorUnschedulableError(RayError):
    """The actor can never be placed."""

    def __init__(self, error_message):
        super().__init__(error_message)
        self.error_message = error_message


class ObjectRefStreamEndOfStreamError(RayError):
    """The generator has no more items."""


class UnserializableException(RayError):
    """Stands for an exception that could not be unpickled here; its text has the traceback."""

    def __init__(self, original_stack_trace):
        super().__init__(original_stack_trace)
        self.original_stack_trace = original_stack_trace


class ActorAlreadyExistsError(ValueError, RayError):
    """The name of the actor is taken."""


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to a runtime that is over."""
