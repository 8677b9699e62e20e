"""`python -m libray`: programs that say `import ray`, nodes, and what is raylaunch's."""

import os
import signal
import subprocess
import sys

import pytest

from clusters import PACKAGE, WAIT_S, printed, run, run_script
from conftest import await_that

# ---- programs ----


def test_a_script_is_run_as_python_would(tmp_path):
    source = """
        import os, sys
        print([__name__, os.path.basename(__file__), sys.argv[1:], sys.path[0] == os.path.dirname(__file__), __spec__
               if "__spec__" in globals() else None, sys.modules["__main__"].__dict__ is globals()])
        """
    assert printed(run_script(tmp_path, source, "a", "-b", "--help")) == str(
        ["__main__", "script.py", ["a", "-b", "--help"], True, None, True])


def test_ray_is_libray_whichever_way_it_is_imported(tmp_path):
    source = """
        import ray
        import ray.exceptions
        import ray.util.queue as q
        from ray.exceptions import GetTimeoutError
        from ray.util.queue import Queue
        from ray.util import ActorPool
        import libray, libray.util.queue
        print(ray is libray, q is libray.util.queue, GetTimeoutError is libray.exceptions.GetTimeoutError,
              Queue is q.Queue, ray.util.queue is q, ray.__name__)
        """
    assert printed(run_script(tmp_path, source)) == "True True True True True libray"


def test_what_libray_has_not_says_so(tmp_path):
    result = run_script(tmp_path, "import ray.data")
    assert result.returncode == 1 and "libray has no ray.data" in result.stderr


def test_functions_and_classes_of_the_script_run_in_workers(tmp_path):
    source = """
        import ray
        from dataclasses import dataclass
        FACTOR = 3

        @dataclass
        class Point:
            x: int

        class Oops(Exception):
            pass

        def scaled(point):
            return Point(point.x * FACTOR)

        @ray.remote
        def scale(point):
            return scaled(point)

        @ray.remote
        class Last:
            def keep(self, point):
                self.point = point
                return self.point

        @ray.remote
        def fail():
            raise Oops("here")

        if __name__ == "__main__":
            print(ray.get(scale.remote(Point(2))), ray.get(Last.remote().keep.remote(Point(5))))
            try:
                ray.get(fail.remote())
            except Oops as error:
                print("Oops", isinstance(error, ray.exceptions.RayTaskError))
        """
    assert printed(run_script(tmp_path, source)) == "Point(x=6) Point(x=5)\nOops True"


def test_modules_beside_the_script_are_found_here_and_in_workers(tmp_path):
    (tmp_path / "beside.py").write_text("import ray\n@ray.remote\ndef name():\n    return __name__, ray.__name__\n")
    source = "import ray, beside; print(ray.get(beside.name.remote()))"
    assert printed(run_script(tmp_path, source)) == "('beside', 'libray')"


def test_code_and_modules_are_run_too(tmp_path):
    code = "import ray, sys; print(sys.argv, ray.get(ray.remote(lambda: 7).remote()))"
    assert printed(run("-m", "libray", "-c", code, "x")) == "['-c', 'x'] 7"
    (tmp_path / "program.py").write_text("import ray, sys\n@ray.remote\ndef seven(): return 7\n"
                                         "print(__name__, sys.argv[1:], ray.get(seven.remote()))\n")
    assert printed(run("-m", "libray", "-m", "program", "x", PYTHONPATH=f"{PACKAGE}:{tmp_path}")) == \
        "__main__ ['x'] 7"


def test_the_examples_run(tmp_path):
    examples = os.path.join(PACKAGE, "examples")
    assert printed(run("-m", "libray", os.path.join(examples, "five_tasks.py"))) == "[0, 2, 4, 6, 8]"
    (tmp_path / "a").write_text("one two one")
    (tmp_path / "b").write_text("two one\n" * 1000)
    (tmp_path / "c").write_bytes(b"one\0")
    result = run("-m", "libray", os.path.join(examples, "wordcount.py"), "--check", "--chunk", "1001", tmp_path)
    assert result.returncode == 1  # something was skipped
    # Processes that had to be started, since copies of a template took too long, are told of besides.
    assert [line for line in result.stderr.splitlines() if not line.startswith("libray: ")] == \
        [f"wordcount: {os.path.realpath(tmp_path)}/c: skipped: binary file"]
    lines = result.stdout.splitlines()
    assert lines[:5] == ["        1002  one", "        1001  two", "files     2", "bytes     8011",
                         "words     2003, 2 different"]
    assert lines[5] == "skipped   1: 1 binary, 0 unreadable, 0 empty, 0 missing"
    assert lines[-1].startswith("check     same table")


def test_a_program_ends_as_it_wants_to(tmp_path):
    assert run_script(tmp_path, "raise SystemExit(7)").returncode == 7
    result = run_script(tmp_path, "def f():\n    1 / 0\nf()")
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):" and "script.py" in lines[1]
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert run("-m", "libray", "-c", "x =").stderr.splitlines()[-1].startswith("SyntaxError")
    assert "No module named nowhere_at_all" in run("-m", "libray", "-m", "nowhere_at_all").stderr


# ---- usage ----


def test_help_is_complete():
    words = printed(run("-m", "libray", "--help"))
    for word in ("SCRIPT", "-m MODULE", "-c CODE", "head", "worker", "status", "list", "get", "summary", "logs",
                 "timeline", "drain", "stop"):
        assert word in words
    for role in ("head", "worker"):
        words = printed(run("-m", "libray", role, "--help"))
        for option in ("--address", "--num-cpus", "--num-gpus", "--resources", "--memory", "--object-store-memory",
                       "--labels", "--key-file", "--address-file", "--help", "raylaunch worker"):
            assert option in words
        assert all(len(line) <= 120 for line in words.splitlines())


@pytest.mark.parametrize("arguments, words", [
    ([], "expected a script"),
    (["nowhere.py"], "cannot open 'nowhere.py': No such file or directory"),
    (["--what"], "there is no option --what"),
    (["-c"], "-c needs an argument"),
    (["head", "--num-cpus", "many"], "--num-cpus: expected a number from 0 to 1000000, got 'many'"),
    (["head", "--resources", "disk"], "--resources: expected JSON"),
    (["head", "--resources", '{"CPU": 2}'], "use num_cpus"),
    (["head", "--labels", "zone"], "--labels: expected NAME=VALUE"),
    (["head", "--memory", "2 GB"], "--memory: expected bytes"),
    (["head", "--address-file"], "--address-file: expected one argument"),
    (["head", "--listen", "127.0.0.1:0"], "--listen"),
    (["worker"], "expected --address HOST:PORT"),
    (["worker", "--address", "local"], "expected --address HOST:PORT"),
    (["worker", "more"], "more"),
])
def test_wrong_usage_says_what_is_wrong(arguments, words):
    result = run("-m", "libray", *arguments)
    assert result.returncode == 2 and words in result.stderr and "--help" in result.stderr


def test_other_commands_are_raylaunchs(tmp_path):
    raylaunch = tmp_path / "raylaunch"
    raylaunch.write_text('#!/bin/sh\necho "$@"\nexit 3\n')
    raylaunch.chmod(0o755)
    result = run("-m", "libray", "list", "nodes", "--limit", "3", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.stdout == "list nodes --limit 3\n" and result.returncode == 3


# ---- nodes ----


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_head_in_order_and_nothing_is_left(start_node, tmp_path, number):
    head = start_node("head", "--address", "127.0.0.1:0", "--num-cpus", "1")
    assert f"The head serves at {head.address}" in head.read()
    session = head.read().split("--session ")[1].split()[0]
    assert os.path.isdir(session)
    assert printed(run_script(tmp_path, "import ray; print(ray.get(ray.remote(lambda: 1).remote()))",
                              RAY_ADDRESS=head.address)) == "1"
    head.process.send_signal(number)
    assert head.process.wait(WAIT_S) == 0
    assert not os.path.exists(session)


def test_a_worker_ends_with_its_head(start_node):
    head = start_node("head", "--address", "127.0.0.1:0", "--num-cpus", "0")
    worker = start_node("worker", "--address", "auto", "--num-cpus", "1")
    assert f"serves the cluster at {head.address}" in worker.read()
    assert head.end() == 0
    assert worker.process.wait(WAIT_S) == 0
    assert "has ended, and the cluster with it" in worker.read()


def test_a_worker_without_a_cluster_says_so():
    result = run("-m", "libray", "worker", "--address", "auto")
    assert result.returncode == 1 and "no cluster is found on this host" in result.stderr


def test_a_head_at_an_address_in_use_says_so(start_node):
    head = start_node("head", "--address", "127.0.0.1:0", "--num-cpus", "0")
    result = run("-m", "libray", "head", "--address", head.address)
    assert result.returncode == 1 and "Address already in use" in result.stderr


def test_the_next_signal_ends_a_node_whose_task_goes_on(start_node, tmp_path):
    head = start_node("head", "--address", "127.0.0.1:0", "--num-cpus", "1")
    mark = tmp_path / "runs"
    source = f"""
        import ray, time
        @ray.remote(max_retries=0)
        def forever():
            open({str(mark)!r}, "w").close()
            time.sleep(1000)
        ray.get(forever.remote())
        """
    (tmp_path / "forever.py").write_text(source.replace("\n        ", "\n"))
    program = subprocess.Popen([sys.executable, "-m", "libray", str(tmp_path / "forever.py")],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "RAY_ADDRESS": head.address})
    await_that(mark.exists, "the task's start")
    head.process.terminate()
    await_that(lambda: "the next signal ends it at once" in head.read(), "the word of the first signal")
    head.process.terminate()
    assert head.process.wait(WAIT_S) in (0, 128 + signal.SIGTERM)
    program.kill()
    program.wait()
