"""For tests: nodes of `python -m libray`, programs that are run, and processes."""

import os
import signal
import subprocess
import sys
import textwrap

from conftest import await_that

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WAIT_S = 60


def run(*arguments, **environment):
    """`python ARGUMENT...` to its end, with what it has written. An environment variable that is None is unset."""
    variables = {**os.environ, **environment}
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=WAIT_S,
                          env={name: value for name, value in variables.items() if value is not None})


def run_script(folder, source, *arguments, **environment):
    """A program that says `import ray`, by python -m libray."""
    script = os.path.join(folder, "script.py")
    with open(script, "w") as file:
        file.write(textwrap.dedent(source))
    return run("-m", "libray", script, *arguments, **environment)


def printed(result):
    """What a program that has succeeded has printed."""
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def is_alive(pid):
    """Does that process run? Not if it has ended and nobody has waited for it yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second: it has been waited for since the file was opened
        return False


def hear_ctrl_c():
    """A shell's background jobs, which the tests may be, ignore it, and so would what they start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Node:
    """A node in a process of its own."""

    def __init__(self, folder, role, *options, **environment):
        self.folder = os.path.join(folder, f"{role}-{len(os.listdir(folder))}")
        os.mkdir(self.folder)
        address_file = os.path.join(self.folder, "address")
        self.output = os.path.join(self.folder, "output")
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "libray", role, *options, "--address-file", address_file], stdout=output,
                stderr=subprocess.STDOUT, env={**os.environ, **environment}, preexec_fn=hear_ctrl_c)
        try:
            await_that(lambda: "--session" in self.read() or self.process.poll() is not None, f"the {role}")
            with open(address_file) as file:
                self.address = file.read().strip()
        except BaseException:
            self.process.kill()
            print(self.read())
            raise

    def read(self):
        with open(self.output) as output:
            return output.read()

    def end(self, kill=False):
        """Its exit status."""
        self.process.kill() if kill else self.process.terminate()
        return self.process.wait(WAIT_S)


class Cluster:
    """A head without CPUs and two workers of two CPUs, each with a resource of its own: left, right."""

    def __init__(self, folder):
        self.head = Node(folder, "head", "--address", "127.0.0.1:0", "--num-cpus", "0")
        self.address = self.head.address
        self.workers = {}
        try:
            for name in ("left", "right"):
                self.workers[name] = Node(folder, "worker", "--address", self.address, "--num-cpus", "2",
                                          "--resources", f'{{"{name}": 8}}')
        except BaseException:
            self.end()
            raise

    def end(self):
        for node in (*self.workers.values(), self.head):
            node.end()
