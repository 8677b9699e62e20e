"""Errors: the tree, what a task's exception becomes, and what is said about wrong input."""

import asyncio
import io
import os
import pickle
import subprocess
import sys
import threading
import traceback

import pytest

import libray as ray
from conftest import await_that
from libray import exceptions as ex

pytestmark = pytest.mark.usefixtures("ray_start")

PARENTS = {
    "RayTaskError": "RayError", "TaskCancelledError": "RayError", "WorkerCrashedError": "RayError",
    "NodeDiedError": "RayError", "LocalRayletDiedError": "RayError", "RayActorError": "RayError",
    "ActorDiedError": "RayActorError", "ActorUnavailableError": "RayActorError", "ObjectLostError": "RayError",
    "ObjectFetchTimedOutError": "ObjectLostError", "ObjectFreedError": "ObjectLostError",
    "OwnerDiedError": "ObjectLostError", "ObjectReconstructionFailedError": "ObjectLostError",
    "GetTimeoutError": "RayError TimeoutError", "ObjectStoreFullError": "RayError", "OutOfDiskError": "RayError",
    "OutOfMemoryError": "RayError", "TaskUnschedulableError": "RayError", "ActorUnschedulableError": "RayError",
    "TaskPlacementGroupRemoved": "RayError", "ActorPlacementGroupRemoved": "RayError",
    "PendingCallsLimitExceeded": "RayError", "RuntimeEnvSetupError": "RayError", "AsyncioActorExit": "RayError",
    "RpcError": "RayError", "AuthenticationError": "RayError", "ObjectRefStreamEndOfStreamError": "RayError",
    "ActorAlreadyExistsError": "ValueError RayError", "RaySystemError": "RayError", "CrossLanguageError": "RayError",
    "UnserializableException": "RayError"}


class Own(Exception):
    def __init__(self, code, detail=None):
        super().__init__(f"own {code}")
        self.code, self.detail = code, detail

    def __reduce__(self):
        return Own, (self.code, self.detail)


@ray.remote
def raises(make, *args):
    raise make(*args)


@ray.remote
def echo(x):
    return x


def error_of(ref):
    with pytest.raises(BaseException) as caught:
        ray.get(ref, timeout=60)
    return caught.value


# ---- the tree ----


@pytest.mark.parametrize("name", PARENTS)
def test_the_tree(name):
    cls = getattr(ex, name)
    for parent in PARENTS[name].split():
        assert issubclass(cls, getattr(ex, parent, None) or getattr(__import__("builtins"), parent))
    assert issubclass(cls, ex.RayError) and name in ex.__all__ and cls.__doc__


@pytest.mark.parametrize("error", [
    ex.TaskCancelledError("id", "words"), ex.ActorDiedError("words", "id", True), ex.GetTimeoutError("words"),
    ex.ObjectLostError("id", message="words"), ex.RaySystemError("words"), ex.RuntimeEnvSetupError("words"),
    ex.RpcError("words"), ex.WorkerCrashedError("words"), ex.ActorAlreadyExistsError("words"),
    ex.RayTaskError("f", "Traceback: words", ValueError("x")),
    ex.RayTaskError("f", "Traceback: words", ValueError("x")).as_instanceof_cause()],
    ids=lambda error: type(error).__name__)
def test_errors_can_be_pickled(error):
    again = pickle.loads(pickle.dumps(error))
    assert [c.__name__ for c in type(again).__mro__] == [c.__name__ for c in type(error).__mro__]
    assert str(again) == str(error) and "words" in str(again)
    assert getattr(again, "actor_init_failed", False) == getattr(error, "actor_init_failed", False)


# ---- what a task raises ----


def test_an_error_is_also_of_its_class():
    error = error_of(raises.remote(Own, 7, {"a": 1}))
    assert isinstance(error, ex.RayTaskError) and isinstance(error, Own)
    assert (error.code, error.detail) == (7, {"a": 1}) and type(error.cause) is Own and error.cause.code == 7
    assert error.function_name == "raises" and error.pid > 0 and "own 7" in error.traceback_str
    assert error.as_instanceof_cause().code == 7


@pytest.mark.parametrize("cls, args", [
    (ValueError, ("x",)), (KeyError, ("k",)), (FileNotFoundError, (2, "none", "name")), (StopIteration, (1,)),
    (UnicodeDecodeError, ("utf-8", b"x", 0, 1, "r")), (AssertionError, ()), (ZeroDivisionError, ("z",)),
    (TimeoutError, ("t",)), (asyncio.CancelledError, ()), (GeneratorExit, ()), (BaseException, ("b",)),
    (ex.WorkerCrashedError, ("w",)), (ex.GetTimeoutError, ("g",)), (RecursionError, ("r",)), (MemoryError, ("m",)),
    (ImportError, ("i",)), (SyntaxError, ("s",))])
def test_exceptions_of_python(cls, args):
    error = error_of(raises.options(max_retries=0).remote(cls, *args))
    assert isinstance(error, ex.RayTaskError) and isinstance(error, cls)
    assert type(error.cause) is cls and error.cause.args == cls(*args).args


def test_a_traceback_names_file_and_line():
    def inner():
        raise ValueError("at the bottom")

    @ray.remote
    def outer():
        inner()

    words = str(error_of(outer.remote()))
    assert "ray::test_a_traceback_names_file_and_line.outer()" in words and f'File "{__file__}"' in words
    assert 'raise ValueError("at the bottom")' in words and "in inner" in words
    assert "_run.py" not in words and words.rstrip().endswith("ValueError: at the bottom")


def test_an_error_goes_through_tasks():
    bad = raises.remote(Own, 1)
    for ref in (echo.remote(bad), echo.remote(echo.remote(bad)), ray.remote(lambda r: ray.get(r[0])).remote([bad])):
        error = error_of(ref)
        assert isinstance(error, Own) and isinstance(error, ex.RayTaskError) and error.code == 1

    @ray.remote
    def catches(refs):
        try:
            ray.get(refs[0])
        except Own as error:
            return error.code
        return None

    assert ray.get(catches.remote([bad])) == 1


def test_causes_and_groups():
    @ray.remote
    def chained():
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    words = str(error_of(chained.remote()))
    assert "KeyError: 'first'" in words and "direct cause" in words and "ValueError: second" in words
    error = error_of(raises.remote(ExceptionGroup, "two", [ValueError("a"), KeyError("b")]))
    assert isinstance(error, ExceptionGroup) and isinstance(error, ex.RayTaskError)
    assert [type(e) for e in error.exceptions] == [ValueError, KeyError]


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("has a lock")
        self.lock = threading.Lock()


class Unloadable(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize("make, args, words", [(Unpicklable, (), "has a lock"), (Unloadable, (1, 2), "1 and 2")])
def test_exceptions_that_cannot_be_sent_are_told(make, args, words):
    error = error_of(ray.remote(lambda: (_ for _ in ()).throw(make(*args))).remote())
    assert type(error) is ex.RayTaskError
    assert words in str(error) and make.__name__ in str(error) and isinstance(error.cause, ex.RayError)


def test_a_class_without_subclasses():
    class Final(Exception):
        def __init_subclass__(cls):
            raise TypeError("no subclasses")

    error = error_of(raises.remote(Final))
    assert type(error) is ex.RayTaskError and type(error.cause).__name__ == "Final"


def test_a_huge_message():
    error = error_of(raises.remote(ValueError, "x" * 3_000_000))
    assert isinstance(error, ValueError) and len(str(error)) < 100_000 and "xxx" in str(error)
    error = error_of(raises.remote(Own, 1, b"x" * 3_000_000))
    assert isinstance(error, ex.RayTaskError) and "own 1" in str(error)


def test_odd_messages():
    for words in ("", "\0zero", "\ud800", "line\nline", "€" * 1000):
        error = error_of(raises.remote(ValueError, words))
        assert isinstance(error, ValueError) and error.cause.args == (words,)


def test_an_exception_whose_str_raises():
    class Mute(Exception):
        def __str__(self):
            raise KeyError("no words")

    error = error_of(ray.remote(max_retries=0)(lambda: (_ for _ in ()).throw(Mute())).remote())
    assert isinstance(error, ex.RayTaskError)


def test_deep_recursion():
    @ray.remote
    def falls(n=0):
        def deeper(k):
            return deeper(k + 1)
        return deeper(0)

    assert isinstance(error_of(falls.remote()), RecursionError)


def test_an_error_of_a_method_names_it():
    @ray.remote
    class A:
        def __repr__(self):
            return "A-of-test"

        def fails(self):
            raise ValueError("of a method")

        async def awaits(self):
            raise ValueError("of a coroutine")

    a = A.remote()
    words = str(error_of(a.fails.remote()))
    assert "A.fails()" in words and "repr=A-of-test" in words and "actor_id=" in words
    assert "of a coroutine" in str(error_of(a.awaits.remote()))


def test_errors_can_be_formatted_and_raised_again():
    error = error_of(raises.remote(Own, 3))
    assert "own 3" in "".join(traceback.format_exception(error))
    with pytest.raises(Own):
        raise error
    assert repr(error).startswith("RayTaskError(Own)")


def test_a_crash_says_what_the_process_wrote_last():
    @ray.remote(max_retries=0)
    def dies():
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)

    error = error_of(dies.remote())
    assert type(error) is ex.WorkerCrashedError and "last words" in str(error) and "code 3" in str(error)


def test_no_names_of_libray_in_messages():
    @ray.remote(max_retries=0)
    def dies():
        os._exit(1)

    assert "py:" not in str(error_of(dies.remote()))


# ---- wrong input ----


def test_calling_directly():
    with pytest.raises(TypeError, match=r"echo\.remote\(\)"):
        echo(1)


@pytest.mark.parametrize("wrong", [1, "x", None, (), {}, echo])
def test_get_of_what_is_no_ref(wrong):
    with pytest.raises(ValueError, match="ObjectRef"):
        ray.get(wrong)
    with pytest.raises(TypeError, match="ObjectRef"):
        ray.get([ray.put(1), wrong])


def test_wait_with_wrong_input():
    r = ray.put(1)
    for wrong in (r, (r,), 5, [1]):
        with pytest.raises(TypeError, match="ray.wait takes a list"):
            ray.wait(wrong)
    with pytest.raises(ValueError, match="twice"):
        ray.wait([r, r])
    for number in (0, -1, 2):
        with pytest.raises(ValueError, match="num_returns"):
            ray.wait([r], num_returns=number)
    with pytest.raises(ValueError, match="timeout"):
        ray.wait([r], timeout=-1)


def test_remote_with_wrong_input():
    for wrong in (5, "f", echo):
        with pytest.raises(TypeError):
            ray.remote(wrong)
    with pytest.raises(TypeError):
        ray.remote()

    async def coroutine():
        return 1

    with pytest.raises(ValueError, match="async def"):
        ray.remote(coroutine)
    with pytest.raises(ValueError, match="yield"):
        ray.remote(num_returns="streaming")(lambda: 1)


def test_an_import_error_in_the_worker(tmp_path):
    (tmp_path / "only_here.py").write_text("def f(): return 1\nclass C:\n    def m(self): return 1\n")
    sys.path.insert(0, str(tmp_path))
    try:
        import only_here
        f, cls, value = ray.remote(only_here.f), ray.remote(only_here.C), only_here.C()
        (tmp_path / "only_here.py").unlink()
        error = error_of(f.remote())
        assert isinstance(error, RuntimeError) and "No module named 'only_here'" in str(error)
        assert isinstance(error_of(echo.remote(value)), ex.RaySystemError)
        error = error_of(cls.remote().m.remote())
        assert isinstance(error, ex.ActorDiedError) and error.actor_init_failed and "only_here" in str(error)
    finally:
        sys.path.remove(str(tmp_path))


def test_init_twice():
    with pytest.raises(RuntimeError, match="ray.shutdown"):
        ray.init()
    assert ray.init(ignore_reinit_error=True)["address"]


def test_output_of_workers_is_printed_with_the_name_of_the_task(monkeypatch):
    @ray.remote
    def speaks():
        print("hello from a worker")

    seen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", seen)
    ray.get(speaks.remote())
    await_that(lambda: "hello from a worker" in seen.getvalue())
    line = next(line for line in seen.getvalue().splitlines() if "hello from a worker" in line)
    assert line.startswith("(test_output_of_workers_is_printed_with_the_name_of_the_task.speaks pid=")


# ---- in a process of its own ----


def run(program, **environment):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
                          env={**os.environ, **environment})


def test_a_library_that_is_not_there(tmp_path):
    done = run("import libray", LIBRAY_LIBRARY=str(tmp_path / "libray.so.0"))
    assert done.returncode == 1 and "ImportError" in done.stderr
    assert "LIBRAY_LIBRARY" in done.stderr and str(tmp_path) in done.stderr


def test_a_library_that_is_none_of_libray():
    done = run("import libray", LIBRAY_LIBRARY="libc.so.6")
    assert done.returncode == 1 and "another version" in done.stderr and "ImportError" in done.stderr


@pytest.mark.parametrize("name", ["allreduce", "init_collective_group", "barrier", "send"])
def test_collective_says_that_it_is_not_there(name):
    from libray.util import collective
    with pytest.raises(NotImplementedError, match=f"collective.{name} is not there yet"):
        getattr(collective, name)([1], group_name="default")
    assert not collective.nccl_available() and not collective.gloo_available()


@pytest.mark.parametrize("call, error, words", [
    ("ray.init(local_mode=True)", "RuntimeError", "local_mode"),
    ("ray.init(nothing=1)", "RuntimeError", "nothing"),
    ("ray.init('local', num_cpus=-1)", "ValueError", "num_cpus"),
    ("ray.init('local', num_cpus='2')", "TypeError", "num_cpus"),
    ("ray.init('local', resources={'CPU': 1})", "ValueError", "num_cpus"),
    ("ray.init('auto')", "ConnectionError", ""),
    ("ray.init('ray://localhost:10001')", "NotImplementedError", "client"),
    ("ray.init('127.0.0.1:1', num_cpus=1)", "ValueError", "num_cpus"),
    ("ray.init('local', runtime_env={'pip': ['x']})", "NotImplementedError", "pip"),
    ("ray.init('local', runtime_env={'other': 1})", "ValueError", "other")])
def test_init_with_wrong_input(call, error, words):
    done = run(f"import libray as ray\ntry: {call}\nexcept BaseException as e: print(type(e).__name__, e)",
               RAY_ADDRESS="")
    assert done.stdout.startswith(error) and words in done.stdout, done


# ---- exceptions that cannot travel as they are ----


class Carrier(Exception):
    pass


@pytest.mark.parametrize("what", ["ref", "lock", "array", "long"])
def test_an_exception_keeps_its_class_whatever_it_carries(ray_start, what):
    @ray.remote
    def fail():
        import threading
        import numpy
        load = {"ref": lambda: ray.put(3), "lock": threading.Lock, "array": lambda: numpy.zeros(100000),
                "long": lambda: {"a": "x" * 200000}}[what]()
        raise Carrier("words", load)

    with pytest.raises(Carrier) as caught:
        ray.get(fail.remote())
    assert caught.value.cause.args[0] == "words"
