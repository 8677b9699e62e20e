"""libray.so: where it is found, and what of its C API the binding uses. Everything else stands on this file.

Structures and functions are as in include/ray/*.h; what they mean is said there. A function that waits is called
through `lib`, which gives up the interpreter's lock meanwhile. `quick` keeps it: for what takes no lock that another
thread may hold while it tells of an event (ray_set_log), for which it wants the interpreter's.
"""

import ctypes
import os
from ctypes import (CFUNCTYPE, POINTER, Structure, c_bool, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t,
                    c_uint, c_uint32, c_uint64, c_void_p)

from . import _version

KIND_STRING = 12
KIND_BYTES, KIND_REF, KIND_ACTOR, KIND_BUFFER, KIND_VALUE = 13, 15, 16, 17, 18
FUNCTION_STREAM, FUNCTION_ACTOR, FUNCTION_METHOD = 1, 2, 4
ISOLATION_THREAD, ISOLATION_PROCESS = 1, 2
ROLE_AUTO, ROLE_DRIVER, ROLE_WORKER, ROLE_HEAD, ROLE_OBSERVER = range(5)
NO_RETRIES = -2
CANCEL_FORCE, CANCEL_ONLY_THIS = 1, 2
KV_NEW = 1
FOREVER = -1
LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG = 1, 2, 3, 4


class View(Structure):
    _fields_ = [("data", c_void_p), ("size", c_size_t), ("pin", c_void_p)]


class ByteView(Structure):
    """A View of a bytes object: assigning to data keeps that alive."""

    _fields_ = [("data", c_char_p), ("size", c_size_t), ("pin", c_void_p)]


class Value(Structure):
    _fields_ = [("kind", c_uint32), ("reserved", c_uint32), ("size", c_size_t), ("data", c_void_p)]


class Buffer(Structure):
    _fields_ = [("data", c_void_p), ("size", c_size_t)]


class Frame(Structure):
    _fields_ = [("size", c_size_t), ("function", c_void_p), ("name", c_char_p), ("self", c_void_p),
                ("args", POINTER(Value)), ("num_args", c_size_t), ("result", Value)]


Trampoline = CFUNCTYPE(None, POINTER(Frame))


class Function(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("signature", c_char_p), ("types", c_void_p),
                ("num_params", c_size_t), ("flags", c_uint32), ("reserved0", c_uint32), ("state_size", c_size_t),
                ("call", Trampoline), ("context", c_void_p), ("reserved", c_void_p * 4)]


class FunctionOptions(Structure):
    _fields_ = [("size", c_size_t), ("isolation", c_int), ("max_calls", c_uint32)]


class TaskOptions(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("resources", c_char_p), ("labels", c_char_p),
                ("node_id", c_char_p), ("node_soft", c_bool), ("spread", c_bool), ("retry_failures", c_bool),
                ("own_thread", c_bool), ("isolation", c_int), ("max_retries", c_int32), ("priority", c_int32),
                ("max_ahead", c_uint32), ("bundle", c_uint32), ("deadline_ms", c_int64), ("group", c_void_p),
                ("env", POINTER(c_char_p)), ("concurrency_group", c_char_p)]


class ActorOptions(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("resources", c_char_p), ("labels", c_char_p),
                ("node_id", c_char_p), ("node_soft", c_bool), ("spread", c_bool), ("detached", c_bool),
                ("get_if_exists", c_bool), ("isolation", c_int), ("max_restarts", c_int32),
                ("max_task_retries", c_int32), ("max_concurrency", c_uint32), ("max_pending_calls", c_uint32),
                ("bundle", c_uint32), ("group", c_void_p), ("env", POINTER(c_char_p)),
                ("concurrency_groups", c_char_p)]


class Config(Structure):
    _fields_ = [("size", c_size_t), ("role", c_int), ("isolation", c_int), ("address", c_char_p),
                ("key_file", c_char_p), ("ns", c_char_p), ("resources", c_char_p), ("labels", c_char_p),
                ("spill_dir", c_char_p), ("journal", c_char_p), ("http", c_char_p), ("store_bytes", c_uint64),
                ("num_threads", c_uint32), ("timeout_ms", c_int64), ("worker_command", c_char_p),
                ("max_workers", c_uint32), ("worker_idle_ms", c_int64), ("listen", c_char_p), ("no_key", c_bool),
                ("any_port", c_bool), ("head_wait_ms", c_int64), ("timeline_tasks", c_int64),
                ("worker_template", c_bool)]


class Error(Structure):
    _fields_ = [("size", c_size_t), ("code", c_int), ("user_code", c_int), ("message", c_char_p),
                ("function", c_char_p), ("node_id", c_char_p), ("pid", c_int64), ("signal", c_int),
                ("output", c_char_p), ("payload", c_void_p), ("payload_size", c_size_t)]


class Context(Structure):
    _fields_ = [("size", c_size_t), ("ns", c_char_p), ("job_id", c_char_p), ("node_id", c_char_p),
                ("task_id", c_char_p), ("actor_id", c_char_p), ("function", c_char_p), ("group_id", c_char_p),
                ("resources", c_char_p), ("gpus", c_char_p), ("attempt", c_uint32), ("restarts", c_uint32)]


class Resource(Structure):
    _fields_ = [("name", c_char_p), ("total", c_double), ("available", c_double)]


class Node(Structure):
    _fields_ = [("size", c_size_t), ("id", c_char_p), ("address", c_char_p), ("labels", c_char_p), ("state", c_int),
                ("is_head", c_bool), ("num_resources", c_size_t), ("resources", POINTER(Resource)),
                ("is_driver", c_bool)]


class Cluster(Structure):
    _fields_ = [("size", c_size_t), ("num_nodes", c_size_t), ("nodes", POINTER(POINTER(Node))),
                ("num_resources", c_size_t), ("resources", POINTER(Resource))]


class GroupOptions(Structure):
    _fields_ = [("size", c_size_t), ("name", c_char_p), ("strategy", c_int), ("detached", c_bool)]


class LogEvent(Structure):
    _fields_ = [("size", c_size_t), ("level", c_int), ("event", c_char_p), ("message", c_char_p),
                ("node_id", c_char_p)]


LogFunction = CFUNCTYPE(None, c_void_p, POINTER(LogEvent))

_PROTOTYPES = {
    "ray_version": (c_int, []),
    "ray_version_string": (c_char_p, []),
    "ray_strerror": (c_char_p, [c_int]),
    "ray_error_name": (c_char_p, [c_int]),
    "ray_last_error": (POINTER(Error), []),
    "ray_fail_with": (c_int, [c_int, c_char_p, c_char_p, c_size_t]),
    "ray_fail_again": (c_int, [c_bool]),
    "ray_init": (c_int, [POINTER(Config)]),
    "ray_template_fork": (c_int, []),
    "ray_serve": (c_int, []),
    "ray_shutdown": (c_int, []),
    "ray_is_initialized": (c_bool, []),
    "ray_set_log": (c_int, [LogFunction, c_void_p, c_int]),
    "ray_register": (c_int, [POINTER(Function)]),
    "ray_function_get": (c_void_p, [c_char_p]),
    "ray_function_set": (c_int, [c_void_p, POINTER(FunctionOptions)]),
    "ray_submit": (c_void_p, [c_void_p, POINTER(Value), c_size_t, POINTER(TaskOptions)]),
    "ray_yield": (c_int, [POINTER(Value)]),
    "ray_cancelled": (c_bool, []),
    "ray_complete_later": (c_void_p, []),
    "ray_complete": (c_int, [c_void_p, POINTER(Value)]),
    "ray_complete_failed": (c_int, [c_void_p, c_int, c_char_p, c_char_p, c_size_t]),
    "ray_later_free": (None, [c_void_p]),
    "ray_later_cancelled": (c_bool, [c_void_p]),
    "ray_later_fail_again": (c_int, [c_void_p, c_bool]),
    "ray_actor_create": (c_void_p, [c_void_p, POINTER(Value), c_size_t, POINTER(ActorOptions)]),
    "ray_actor_submit": (c_void_p, [c_void_p, c_void_p, POINTER(Value), c_size_t, POINTER(TaskOptions)]),
    "ray_actor_get": (c_void_p, [c_char_p]),
    "ray_actor_self": (c_void_p, []),
    "ray_actor_ready": (c_void_p, [c_void_p]),
    "ray_actor_id": (c_char_p, [c_void_p]),
    "ray_actor_retain": (c_void_p, [c_void_p]),
    "ray_actor_release": (None, [c_void_p]),
    "ray_kill": (c_int, [c_void_p, c_bool]),
    "ray_actor_exit": (c_int, []),
    "ray_actor_threads": (c_int, [c_uint32]),
    "ray_put": (c_void_p, [c_char_p, c_size_t]),
    "ray_create": (POINTER(Buffer), [c_size_t]),
    "ray_buffer_hold": (c_int, [POINTER(Buffer), c_void_p]),
    "ray_seal": (c_void_p, [POINTER(Buffer)]),
    "ray_buffer_free": (None, [POINTER(Buffer)]),
    "ray_get": (c_int, [c_void_p, POINTER(Value)]),
    "ray_get_timeout": (c_int, [c_void_p, c_int64, POINTER(Value)]),
    "ray_view_release": (None, [POINTER(View)]),
    "ray_view_retain": (c_int, [POINTER(View), POINTER(View)]),
    "ray_view_ref": (c_void_p, [POINTER(View), c_size_t]),
    "ray_wait": (c_int, [POINTER(c_void_p), c_size_t, c_size_t, c_int64, POINTER(c_bool)]),
    "ray_cancel": (c_int, [c_void_p, c_uint]),
    "ray_retain": (c_void_p, [c_void_p]),
    "ray_release": (None, [c_void_p]),
    "ray_ref_id": (c_char_p, [c_void_p]),
    "ray_next": (c_void_p, [c_void_p]),
    "ray_waitset_new": (c_void_p, []),
    "ray_waitset_add": (c_int, [c_void_p, c_void_p, c_void_p]),
    "ray_waitset_next": (c_void_p, [c_void_p, c_int64, POINTER(c_void_p)]),
    "ray_waitset_free": (None, [c_void_p]),
    "ray_context_get": (POINTER(Context), []),
    "ray_cluster_get": (POINTER(Cluster), []),
    "ray_cluster_free": (None, [POINTER(Cluster)]),
    "ray_state": (c_int, [c_char_p, POINTER(View)]),
    "ray_placement_group_new": (c_void_p, [POINTER(c_char_p), c_size_t, POINTER(GroupOptions)]),
    "ray_placement_group_get": (c_void_p, [c_char_p]),
    "ray_placement_group_ready": (c_void_p, [c_void_p]),
    "ray_placement_group_remove": (c_int, [c_void_p]),
    "ray_placement_group_release": (None, [c_void_p]),
    "ray_kv_put": (c_int, [c_char_p, c_char_p, c_size_t, c_uint]),
    "ray_kv_get": (c_int, [c_char_p, POINTER(View)]),
    "ray_kv_del": (c_int, [c_char_p]),
    "ray_kv_list": (c_int, [c_char_p, POINTER(View)]),
}


def _candidates():
    named = os.environ.get("LIBRAY_LIBRARY")
    if named:
        return [named]
    return [os.path.join(os.path.dirname(os.path.abspath(__file__)), "libray.so.0"), "libray.so.0"]


def _load():
    tried = []
    for path in _candidates():
        try:
            return path, ctypes.CDLL(path), ctypes.PyDLL(path)
        except OSError as error:
            tried.append(f"{path}: {error}")
    raise ImportError("libray.so.0 was not found, or cannot be loaded: build the wheel (pip install ./bindings/python),"
                      " or set LIBRAY_LIBRARY to its path. Tried " + "; ".join(tried))


def _declare(library):
    for name, (result, arguments) in _PROTOTYPES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"{path} has no {name}: it is of another version than this package "
                              f"({_version.__version__})") from None
        function.restype = result
        function.argtypes = arguments


path, lib, quick = _load()
_declare(lib)
_declare(quick)
if lib.ray_version() // 100 != _version.C_API // 100:
    raise ImportError(f"{path} is libray {lib.ray_version_string().decode()}, this package needs "
                      f"{_version.C_API // 10000}.{_version.C_API // 100 % 100}")


# Kinds of C values that are Python's, too.
PLAIN_KINDS = {1: c_bool, 2: ctypes.c_int8, 3: ctypes.c_int16, 4: c_int32, 5: c_int64, 6: ctypes.c_uint8,
               7: ctypes.c_uint16, 8: c_uint32, 9: c_uint64, 10: ctypes.c_float, 11: c_double, KIND_STRING: c_char_p}


def text(value):
    """A C string as str; None stays None."""
    return value.decode(errors="replace") if value is not None else None


def encode(value):
    """A str as a C string; None stays None."""
    return None if value is None else value.encode()
