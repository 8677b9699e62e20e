"""The plain core from Python's ctypes: one record "py:*" for all functions, payloads as bytes. Argument: libray.so."""

import ctypes as c
import pickle
import sys

LIBRARY = c.CDLL(sys.argv[1])
KIND_BYTES = 13


class View(c.Structure):
    _fields_ = [('data', c.c_void_p), ('size', c.c_size_t), ('pin', c.c_void_p)]


class Buffer(c.Structure):
    _fields_ = [('data', c.c_void_p), ('size', c.c_size_t)]


class Value(c.Structure):
    _fields_ = [('kind', c.c_uint32), ('reserved', c.c_uint32), ('size', c.c_size_t), ('data', c.c_void_p)]


class Frame(c.Structure):
    _fields_ = [('size', c.c_size_t), ('function', c.c_void_p), ('name', c.c_char_p), ('self', c.c_void_p),
                ('args', c.POINTER(Value)), ('num_args', c.c_size_t), ('result', Value)]


Trampoline = c.CFUNCTYPE(None, c.POINTER(Frame))


class Function(c.Structure):
    _fields_ = [('size', c.c_size_t), ('name', c.c_char_p), ('signature', c.c_char_p), ('types', c.c_void_p),
                ('num_params', c.c_size_t), ('flags', c.c_uint32), ('reserved0', c.c_uint32),
                ('state_size', c.c_size_t), ('call', Trampoline), ('context', c.c_void_p), ('reserved', c.c_void_p * 4)]


class Error(c.Structure):
    _fields_ = [('size', c.c_size_t), ('code', c.c_int), ('user_code', c.c_int), ('message', c.c_char_p)]


def declare(name, result, *parameters):
    """A function of the library with its types."""
    function = getattr(LIBRARY, name)
    function.restype, function.argtypes = result, parameters
    return function


ray_init = declare('ray_init', c.c_int, c.c_void_p)
ray_shutdown = declare('ray_shutdown', c.c_int)
ray_register = declare('ray_register', c.c_int, c.c_void_p)
ray_function_get = declare('ray_function_get', c.c_void_p, c.c_char_p)
ray_submit = declare('ray_submit', c.c_void_p, c.c_void_p, c.c_void_p, c.c_size_t, c.c_void_p)
ray_get = declare('ray_get', c.c_int, c.c_void_p, c.c_void_p)
ray_release = declare('ray_release', None, c.c_void_p)
ray_view_of = declare('ray_view_of', View, c.c_char_p, c.c_size_t)
ray_view_release = declare('ray_view_release', None, c.c_void_p)
ray_create = declare('ray_create', c.POINTER(Buffer), c.c_size_t)
ray_fail_with = declare('ray_fail_with', c.c_int, c.c_int, c.c_char_p, c.c_char_p, c.c_size_t)
ray_last_error = declare('ray_last_error', c.POINTER(Error))

FUNCTIONS = {b'py:greet': lambda *names: 'hello ' + ' '.join(names)}


def bytes_of(value):
    """The bytes of an argument of kind BYTES."""
    view = c.cast(value.data, c.POINTER(View))[0]
    return c.string_at(view.data, view.size)


@Trampoline
def call(frame):
    """Runs the Python function whose key was asked for."""
    f = frame[0]
    try:
        arguments = [pickle.loads(bytes_of(f.args[i])) for i in range(f.num_args)]
        result = pickle.dumps(FUNCTIONS[f.name](*arguments))
    except Exception as failure:  # any failure of user code is the task's
        pickled = pickle.dumps(failure)
        ray_fail_with(1, repr(failure).encode(), pickled, len(pickled))
        return
    buffer = ray_create(len(result))
    c.memmove(buffer[0].data, result, len(result))
    c.cast(f.result.data, c.POINTER(c.c_void_p))[0] = c.cast(buffer, c.c_void_p)


def remote(key, *values):
    """Submits the function of a key."""
    payloads = [pickle.dumps(value) for value in values]  # alive until the call has copied them
    views = [ray_view_of(payload, len(payload)) for payload in payloads]
    arguments = (Value * len(views))(*[Value(KIND_BYTES, 0, c.sizeof(View), c.addressof(v)) for v in views])
    return ray_submit(ray_function_get(key), arguments, len(views), None)


def get(ref):
    """The result; releases the ref."""
    view = View()
    out = Value(KIND_BYTES, 0, c.sizeof(View), c.addressof(view))
    code = ray_get(ref, c.byref(out))
    ray_release(ref)
    if code:
        raise RuntimeError(ray_last_error()[0].message.decode())
    result = pickle.loads(c.string_at(view.data, view.size))
    ray_view_release(c.byref(view))
    return result


record = Function(size=c.sizeof(Function), name=b'py:*', signature=b'ray_buffer *(ray_view...)', call=call)
assert ray_register(c.byref(record)) == 0 and ray_init(None) == 0, ray_last_error()[0].message
assert get(remote(b'py:greet', 'big', 'world')) == 'hello big world'
try:
    get(remote(b'py:greet', 5))
except RuntimeError as refused:
    assert 'TypeError' in str(refused), refused
else:
    raise AssertionError('joining a number should fail')
assert ray_shutdown() == 0
