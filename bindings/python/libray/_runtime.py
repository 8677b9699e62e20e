"""Starting, stopping, and the calls of `ray` itself."""

import array
import atexit
import os
import shlex
import sys
import threading
import time

from . import _errors, _functions, _lib, _options, _refs, _run, _runtime_env, _session
from . import _serialization as ser
from ._refs import ObjectRef

lib = _lib.lib
epoch = 0  # counts runtimes of this process; 0: none
_is_up = False
_starts = 0
_WORKERS_MOST = 1024  # each actor has a process; Ray has no limit, libray's highest is this
_lock = threading.RLock()
_log_is_set = False
_namespace = None
_options_of_init = {}
_owner_pid = None

# What ray.init takes and libray needs nothing of: no dashboard yet, one way to log, no ports to choose.
_IGNORED = {"include_dashboard", "dashboard_host", "dashboard_port", "configure_logging", "logging_format",
            "logging_config", "enable_resource_isolation", "system_reserved_cpu", "system_reserved_memory",
            "_enable_object_reconstruction", "_redis_max_memory", "_plasma_directory", "_node_ip_address",
            "_driver_object_store_memory", "_memory", "_redis_username", "_redis_password", "_temp_dir",
            "_metrics_export_port", "_system_config", "_tracing_startup_hook", "_node_name",
            "object_spilling_directory", "job_config", "logging_level"}


# ---- what is printed ----


class Printer:
    """Lines of workers, as they come."""

    def __init__(self):
        self.is_on = True
        self.function = _lib.LogFunction(self._event)

    def _event(self, arg, pointer):
        try:
            event = pointer.contents
            if event.event == b"worker.output":
                if self.is_on:
                    print(_errors.without_full_names(_lib.text(event.message)), file=sys.stderr, flush=True)
            elif event.event in _TOLD or (event.level <= _lib.LOG_WARNING and event.event not in _QUIET):
                print(f"libray: {_errors.without_full_names(_lib.text(event.message))}", file=sys.stderr, flush=True)
        except Exception:
            pass  # nobody to tell


_TOLD = {b"cluster.ended"}  # though it is no warning
_QUIET = {b"worker.died", b"worker.killed"}  # the error of the task says it
_printer = Printer()


def _set_log():
    global _log_is_set
    if not _log_is_set:
        _errors.check(lib.ray_set_log(_printer.function, None, _lib.LOG_INFO))
        _log_is_set = True


# ---- starting ----


class RayContext:
    """What `ray.init` returns: `address_info`, `disconnect()`; a context manager that shuts down."""

    def __init__(self, info):
        self.address_info = info
        self.dashboard_url = None
        self.python_version = "{}.{}.{}".format(*sys.version_info[:3])
        from . import _version
        self.ray_version = _version.RAY
        self.ray_commit = f"libray {_version.__version__}"

    def __getitem__(self, key):
        return self.address_info[key]

    def __contains__(self, key):
        return key in self.address_info

    def keys(self):
        return self.address_info.keys()

    def disconnect(self):
        shutdown()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        shutdown()

    def __repr__(self):
        return f"RayContext({self.address_info})"


def _resources_text(num_cpus, num_gpus, resources, memory):
    options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": resources, "memory": memory}
    _options._check_resources(options)
    return _options.resources_text(options)


def worker_command():
    """What a node is to start for Python: this interpreter, with these modules. -P: no file of the current directory is
    to stand in for one of the standard library's."""
    return shlex.join([sys.executable, "-P", "-m", "libray._worker"])


def _resolved(address):
    """Where to: what was asked for, RAY_ADDRESS, a cluster on this host that hosts Python, else "local"."""
    return address or os.environ.get("RAY_ADDRESS") or _session.find_head() or "local"


def _check_init(address, num_cpus, num_gpus, resources, labels, object_store_memory, local_mode, kwargs):
    if local_mode:
        raise RuntimeError("local_mode was removed from Ray, and libray has none: debug with ray.init(num_cpus=1), or "
                           "call the undecorated function (f._function)")
    unknown = [name for name in kwargs if name not in _IGNORED]
    if unknown:
        raise RuntimeError(f"ray.init has no {unknown[0]!r}")
    if address and address.startswith("ray://"):
        raise NotImplementedError("ray:// (the Ray client) is not there yet: join the cluster as a driver, with "
                                  "address='HOST:PORT'")
    _options._number({"object_store_memory": object_store_memory}, "object_store_memory")
    for name, value in (("num_cpus", num_cpus), ("num_gpus", num_gpus), ("resources", resources), ("labels", labels),
                        ("object_store_memory", object_store_memory)):
        if address != "local" and value is not None:
            raise ValueError(f"{name} cannot be given to join a cluster (at {address}): who joins offers it nothing; "
                             "ray.init('local', ...) starts another one")


def _config(address, ns, resources, labels, object_store_memory):
    return _lib.Config(size=_lib.ctypes.sizeof(_lib.Config), role=_lib.ROLE_DRIVER,
                       isolation=_lib.ISOLATION_PROCESS, address=_lib.encode(address), ns=_lib.encode(ns),
                       resources=_lib.encode(resources), labels=_lib.encode(labels),
                       store_bytes=int(object_store_memory or 0), num_threads=1,
                       worker_command=worker_command().encode(), max_workers=_WORKERS_MOST, timeline_tasks=10000,
                       worker_template=True)


def _start(config):
    code = lib.ray_init(config)
    if code in (_errors.HEAD_UNREACHABLE, _errors.NOT_FOUND):  # no answer, or no head on this host for "auto"
        raise ConnectionError(str(_errors.from_last()))
    _errors.check(code)


def _export_path():
    """The worker processes find this package where this process has found it."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if here not in paths and not here.endswith("-packages"):
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *paths])
    os.environ.setdefault("LIBRAY_LIBRARY", os.path.abspath(_lib.path) if os.sep in _lib.path else _lib.path)


def begin_process():
    """What comes before ray_init, in a process that hosts Python."""
    _set_log()
    _export_path()
    _session.export_home()
    _functions.register(_run.refuse, _run.call_handle)


def hold():
    """The runtime that ray_init has just started is this process's."""
    global epoch, _is_up, _starts, _namespace, _owner_pid
    _owner_pid = os.getpid()
    _starts += 1
    epoch, _is_up = _starts, True
    _namespace = None


_VERSION_KEY = "py-version"


def python_version():
    """What must be equal wherever pickled code goes."""
    return "{}.{}".format(*sys.version_info)


def publish_version():
    """By a head: for those who join."""
    data = python_version().encode()
    _errors.check(lib.ray_kv_put(_VERSION_KEY.encode(), data, len(data), 0))


def check_version():
    """RuntimeError where the head is of another Python: functions of one cannot be loaded in the other."""
    theirs = _functions.table_value(_VERSION_KEY)
    if theirs and theirs.decode() != python_version():
        raise RuntimeError(f"this is Python {python_version()}, and the head of the cluster is Python "
                           f"{theirs.decode()}: functions go from one to the other, so both must be of one version")


def init(address=None, *, num_cpus=None, num_gpus=None, resources=None, labels=None, object_store_memory=None,
         local_mode=False, ignore_reinit_error=False, log_to_driver=True, namespace=None, runtime_env=None, **kwargs):
    """Starts libray in this process, or joins a cluster. Returns a RayContext.

    address: HOST:PORT of a head; "auto": the cluster on this host (ConnectionError if there is none); "local": a new
    one, of this process; None: RAY_ADDRESS, else that of `python -m libray head` on this host, else a new one.
    num_cpus, num_gpus, resources (a dict), labels (a dict), object_store_memory in bytes (default: 30 % of memory): of
    a new one; ValueError with a cluster to join. namespace: of the names of actors (default: one of its own).
    runtime_env: of all tasks and actors. log_to_driver: print here what worker processes of this node print.
    ignore_reinit_error: a second init does nothing, instead of raising RuntimeError. Further options of Ray are taken
    and have no effect; which, says doc/reference/ray-differences.md.
    """
    with _lock:
        if _run.in_worker or (_is_up and _owner_pid == os.getpid()):
            if ignore_reinit_error or _run.in_worker:
                return RayContext(_address_info(address))
            raise RuntimeError("ray.init was called before: call ray.shutdown() first, or give "
                               "ignore_reinit_error=True")
        address = _resolved(address)
        _check_init(address, num_cpus, num_gpus, resources, labels, object_store_memory, local_mode, kwargs)
        text = _resources_text(num_cpus, num_gpus, resources, kwargs.get("_memory"))
        _runtime_env.check(runtime_env)
        _printer.is_on = log_to_driver
        begin_process()
        labels_text = ", ".join(f"{k}={v}" for k, v in (labels or {}).items()) or None
        _start(_config(address, namespace, text, labels_text, object_store_memory))
        hold()
        try:
            if address != "local":
                check_version()
                _carry_job()
            _runtime_env.set_job(runtime_env)
        except BaseException:
            shutdown()
            raise
        return RayContext(_address_info(address))


def _address_info(address):
    context = lib.ray_context_get().contents
    return {"address": head_address() if address != "local" else "local", "node_id": _lib.text(context.node_id),
            "job_id": _lib.text(context.job_id), "node_ip_address": "127.0.0.1",
            "session_dir": None if _run.in_worker else _session.of(os.getpid()), "object_store_address": None,
            "raylet_ip_address": "127.0.0.1"}


def ensure():
    """Starts libray with defaults if nobody has. The number of this runtime."""
    if not _is_up and not _run.in_worker:
        with _lock:
            if not _is_up:
                init()
    elif _owner_pid is not None and _owner_pid != os.getpid():
        _start_in_child()
    return epoch


def _start_in_child():
    raise RuntimeError("this process was forked from one in which ray.init had been called, and cannot use its runtime:"
                       " start it with multiprocessing's 'spawn', or call ray.init only after the fork")


def shutdown(_exiting_interpreter=False):
    """Ends libray in this process: actors that are not detached end, and running tasks, which are asked to stop and
    then waited for, for some seconds. Without a runtime it does nothing."""
    global epoch, _is_up, _owner_pid, _job
    with _lock:
        if not _is_up or _owner_pid != os.getpid() or _run.in_worker:
            return
        _is_up = False
        _job = None
        epoch = 0
        _owner_pid = None
        _functions.forget()
        _refs.forget_watcher()
        _errors.check(lib.ray_shutdown())


atexit.register(shutdown, True)


def is_initialized():
    """Has `ray.init` been called, and `ray.shutdown` not since?"""
    return _run.in_worker or (_is_up and _owner_pid == os.getpid())


_job = None  # (id, namespace) of the job, where it goes with each of its tasks
_captured = None  # the placement group in which what is submitted here runs unless it says where


def job():
    return _job


def _carry_job():
    """In a driver that has joined a cluster: what runs on another node has that node's job and namespace for libray."""
    global _job
    context = lib.ray_context_get().contents
    _job = _lib.text(context.job_id), _lib.text(context.ns)


def captured():
    return _captured


def take_job(extra):
    """In a worker process, when a task or an actor begins or goes on. What was prepared for other calls is no more."""
    global _job, _captured, epoch
    found = (extra.get("job"), extra.get("group") if extra.get("captures") else None) if extra else (None, None)
    if found != (_job, _captured):
        _job, _captured = found
        epoch += 1


def namespace():
    global _namespace
    if _run.in_worker:  # of what runs now
        from .runtime_context import get_runtime_context
        return get_runtime_context().namespace
    if _namespace is None:
        _namespace = _lib.text(lib.ray_context_get().contents.ns)
    return _namespace


# ---- objects ----


def put(value, *, _owner=None, _tensor_transport=None):
    """The value as an object: its ref. A ref is refused (TypeError): it is one already. Blocks while the store is
    full."""
    ensure()
    if type(value) is ObjectRef:
        raise TypeError("ray.put was given an ObjectRef: it is an object already; to keep the ref itself, put it into "
                        "a list")
    try:
        packed = ser.pack(value)
    except TypeError as error:
        raise ser.refusal(f"ray.put: a {type(value).__name__}", value, error) from error
    if packed.held or packed.size > ser.INLINE_MAX:
        return ObjectRef(lib.ray_seal(packed.to_buffer()))
    data = packed.to_bytes()
    return ObjectRef(lib.ray_put(data, len(data)))


def _get_one(ref, deadline):
    if type(ref) is not ObjectRef:
        raise ValueError(f"ray.get takes an ObjectRef or a list of them, got a {type(ref).__name__}")
    return _refs.read(ref, deadline)


def _checked_timeout(timeout):
    if timeout is None:
        return None
    if isinstance(timeout, (bool, str)) or not hasattr(timeout, "__float__"):
        raise TypeError(f"timeout must be a number of seconds or None, got {timeout!r}")
    if timeout < 0:
        raise ValueError(f"timeout must be 0 or more, got {timeout}")
    return float(timeout)


def get(object_refs, *, timeout=None, _use_object_store=False):
    """The value of a ref, or the values of a list of them, in order. Waits, at most `timeout` seconds (0: not at all):
    GetTimeoutError. Raises the first error there is: what a task raised, as RayTaskError that is also of the class of
    the exception. Large arrays are read-only views of the store, which they pin."""
    ensure()
    if isinstance(object_refs, _refs.ObjectRefGenerator):
        return object_refs  # as Ray: its items are refs
    timeout = _checked_timeout(None if timeout == -1 else timeout)  # what Ray means by -1
    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        if isinstance(object_refs, list):
            for ref in object_refs:
                if type(ref) is not ObjectRef:
                    raise TypeError(f"ray.get takes a list of ObjectRefs, got a {type(ref).__name__} in it")
            return [_get_one(ref, deadline) for ref in object_refs]
        return _get_one(object_refs, deadline)
    except _errors.ex.GetTimeoutError as error:
        if timeout is None or type(error) is not _errors.ex.GetTimeoutError:
            raise  # of a task that raised one
        raise _errors.ex.GetTimeoutError(f"ray.get: not done after {timeout:g} s; the task goes on") from None


def _pointer_to_wait_for(ref):
    if isinstance(ref, ObjectRef):
        return ref._c
    if isinstance(ref, _refs.ObjectRefGenerator):
        return None
    raise TypeError(f"ray.wait takes a list of ObjectRefs, got a {type(ref).__name__} in it")


def wait(ray_waitables, *, num_returns=1, timeout=None, fetch_local=True):
    """(done, not done): waits until num_returns of the refs are done, failed ones too, or `timeout` seconds are over.
    Both lists keep the order; done has at most num_returns. Generators are done when their next item is there."""
    ensure()
    if isinstance(ray_waitables, ObjectRef):
        raise TypeError("ray.wait takes a list of ObjectRefs, got one ObjectRef: write [ref]")
    if not isinstance(ray_waitables, list):
        raise TypeError(f"ray.wait takes a list of ObjectRefs, got a {type(ray_waitables).__name__}")
    timeout = _checked_timeout(timeout)
    if not ray_waitables:
        return [], []
    pointers = [ref._c if type(ref) is ObjectRef else _pointer_to_wait_for(ref) for ref in ray_waitables]
    if len(set(pointers)) != len(pointers) and len(set(ray_waitables)) != len(ray_waitables):
        raise ValueError("ray.wait takes each ObjectRef once; one is in the list twice")
    if isinstance(num_returns, bool) or not isinstance(num_returns, int):
        raise TypeError(f"num_returns must be an integer, got {num_returns!r}")
    if num_returns <= 0:
        raise ValueError(f"num_returns must be 1 or more, got {num_returns}")
    if num_returns > len(ray_waitables):
        raise ValueError(f"num_returns is {num_returns}, but there are only {len(ray_waitables)} refs")
    generators = [(i, ref) for i, ref in enumerate(ray_waitables) if pointers[i] is None]
    held = []
    for i, generator in generators:
        if generator.is_finished():
            pointers[i] = generator.completed()._c
        else:
            held.append(generator._peek())
            pointers[i] = held[-1]._c
    return _part(ray_waitables, _wait(pointers, num_returns, timeout), num_returns)


def _part(refs, marks, most):
    """(the first `most` of the refs that are marked, the others): few are, so the rest is taken in slices."""
    done, rest, last = [], [], 0
    while len(done) < most and (i := marks.find(1, last)) >= 0:
        done.append(refs[i])
        rest += refs[last:i]
        last = i + 1
    return done, rest + refs[last:]


def _wait(pointers, num_returns, timeout):
    count = len(pointers)
    addresses, marks = array.array("Q", pointers), bytearray(count)  # a ctypes array would need a type for each length
    refs, flags = _lib.c_void_p.from_buffer(addresses), _lib.c_bool.from_buffer(marks)
    deadline = None if timeout is None else time.monotonic() + timeout
    for timeout_ms in _refs.slices(deadline):
        if _errors.check(lib.ray_wait(refs, count, num_returns, timeout_ms, flags)) >= num_returns:
            break
    return marks


def cancel(ray_waitable, *, force=False, recursive=True):
    """Cancels the task behind a ref, and with recursive what it has submitted. Not yet started: it fails with
    TaskCancelledError at once. Running: KeyboardInterrupt is raised in it (a coroutine is cancelled; a method of any
    actor can ask `ray.get_runtime_context().is_canceled()`), with force its process ends. Done: nothing happens.
    ValueError: force of a call of an actor. Never retried."""
    ensure()
    ref = ray_waitable.completed() if isinstance(ray_waitable, _refs.ObjectRefGenerator) else ray_waitable
    if not isinstance(ref, ObjectRef):
        raise TypeError(f"ray.cancel takes an ObjectRef, got a {type(ref).__name__}")
    ref = getattr(ref, "_task", ref)
    flags = (_lib.CANCEL_FORCE if force else 0) | (0 if recursive else _lib.CANCEL_ONLY_THIS)
    code = lib.ray_cancel(ref._c, flags)
    if code == _errors.ARGUMENT and not force:
        return  # of ray.put: nothing to cancel
    _errors.check(code)


def kill(actor, *, no_restart=True):
    """Ends an actor at once: calls queued and under way fail with ActorDiedError; its atexit handlers do not run.
    no_restart=False: it may live again, within max_restarts."""
    from .actor import ActorHandle
    ensure()
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"ray.kill takes the handle of an actor, got a {type(actor).__name__}"
                         + (": ray.cancel ends tasks" if isinstance(actor, ObjectRef) else ""))
    _errors.check(lib.ray_kill(actor._c, not no_restart))


# ---- what there is ----


def _snapshot():
    ensure()
    pointer = _errors.own(lib.ray_cluster_get())
    try:
        cluster = pointer.contents
        nodes = [cluster.nodes[i].contents for i in range(cluster.num_nodes)]
        yield_nodes = [_node_row(node) for node in nodes]
        totals = [cluster.resources[i] for i in range(cluster.num_resources)]
        sums = [(_lib.text(r.name), r.total, r.available) for r in totals]
    finally:
        lib.ray_cluster_free(pointer)
    return yield_nodes, sums


def _labels_of(text):
    pairs = (part.strip().partition("=") for part in (text or "").split(",") if part.strip())
    return {key: value for key, _, value in pairs}


def _node_row(node):
    address = _lib.text(node.address) or ""
    host, _, port = address.rpartition(":")
    resources = {_lib.text(r.name): r.total for r in (node.resources[i] for i in range(node.num_resources)) if r.total}
    return {"NodeID": _lib.text(node.id), "Alive": node.state != 2, "NodeManagerAddress": host or "127.0.0.1",
            "NodeManagerHostname": os.uname().nodename if not host or host.startswith("127.") else host,
            "NodeManagerPort": int(port) if port.isdigit() else 0, "ObjectManagerPort": 0,
            "ObjectStoreSocketName": None, "RayletSocketName": None, "MetricsExportPort": 0,
            "NodeName": host or "127.0.0.1", "RuntimeEnvAgentPort": 0, "alive": node.state != 2,
            "Resources": resources, "Labels": _labels_of(_lib.text(node.labels)), "IsHead": bool(node.is_head),
            "IsDriver": bool(node.is_driver)}


def nodes():
    """The nodes of the cluster: a dict each, with NodeID, Alive, NodeManagerAddress, Resources, Labels."""
    return _snapshot()[0]


def head_address():
    """HOST:PORT of the cluster's head; "local" for a node alone."""
    return next((f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}" for node in nodes()
                 if node["IsHead"] and node["NodeManagerPort"]), "local")


def cluster_resources():
    """What the nodes that are alive have, summed: {"CPU": 8.0, ...}."""
    return {name: total for name, total, _ in _snapshot()[1] if total}


def available_resources():
    """What of it is free."""
    return {name: available for name, _, available in _snapshot()[1] if available > 0}


def get_gpu_ids():
    """The GPUs that the calling task or actor was given: their numbers, or their names."""
    gpus = _lib.text(_lib.quick.ray_context_get().contents.gpus) if _run.in_worker else None
    return [int(gpu) if gpu.isdigit() else gpu for gpu in gpus.split(",")] if gpus else []
