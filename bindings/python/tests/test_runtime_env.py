"""runtime_env: variables, directories and modules that go with tasks and actors, on one node and between nodes."""

import os
import signal
import sys
import zipfile

import pytest

import libray as ray
from clusters import Cluster


@pytest.fixture(scope="module", params=["local", "cluster"])
def address(request, tmp_path_factory):
    if request.param == "local":
        yield "local"
        return
    cluster = Cluster(tmp_path_factory.mktemp("nodes"))
    yield cluster.address
    ray.shutdown()
    cluster.end()


@pytest.fixture
def init(address):
    """Joins, or starts, with that runtime_env for the job."""
    ray.shutdown()
    yield lambda **runtime_env: ray.init(address, runtime_env=runtime_env)
    ray.shutdown()


@pytest.fixture
def project(tmp_path):
    """A directory as of a project of somebody."""
    for path, words in {"data.txt": "data", "code_here.py": "NAME = 'here'\n", "below/deep.txt": "deep",
                        "__pycache__/x.pyc": "", ".git/config": "", "logs/a.log": "", "logs/kept.log": "", "out/b": "",
                        ".gitignore": "*.log\n!kept.log\n", "below/.gitignore": "/secret\n", "below/secret": "",
                        "secret": "", "big.bin": "x"}.items():
        file = tmp_path / "project" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(words)
    return tmp_path / "project"


def tree():
    return sorted(os.path.relpath(os.path.join(folder, name), ".") for folder, _, names in os.walk(".")
                  for name in names)


@ray.remote
def read_variable(name):
    return os.environ.get(name)


@ray.remote
class Reader:
    def read_variable(self, name):
        return os.environ.get(name)

    def pid(self):
        return os.getpid()

    def directory(self):
        return os.getcwd()


# ---- env_vars ----


def test_variables_of_the_job_reach_tasks_and_actors(init):
    init(env_vars={"COLOUR": "red"})
    assert ray.get([read_variable.remote("COLOUR"), Reader.remote().read_variable.remote("COLOUR")]) == ["red", "red"]
    assert "COLOUR" not in os.environ


def test_variables_of_a_task_are_added_to_those_of_the_job(init):
    init(env_vars={"COLOUR": "red", "SIZE": "3"})
    other = read_variable.options(runtime_env={"env_vars": {"COLOUR": "blue"}})
    assert ray.get([other.remote("COLOUR"), other.remote("SIZE"), read_variable.remote("COLOUR")]) == \
        ["blue", "3", "red"]
    actor = Reader.options(runtime_env={"env_vars": {"COLOUR": "green"}}).remote()
    assert ray.get(actor.read_variable.remote("COLOUR")) == "green"


def test_variables_may_name_those_of_the_node(init):
    init(env_vars={"PATH": "/first:${PATH}", "OTHER": "$HOME and ${ABSENT_HERE}none"})
    found = ray.get([read_variable.remote("PATH"), read_variable.remote("OTHER")])
    assert found == [f"/first:{os.environ['PATH']}", f"{os.environ['HOME']} and none"]


def test_what_a_task_submits_inherits_its_runtime_env(init, project):
    @ray.remote
    def outer():
        inner = ray.get([read_variable.remote("COLOUR"), Reader.remote().read_variable.remote("COLOUR"),
                         read_variable.options(runtime_env={"env_vars": {"SIZE": "1"}}).remote("COLOUR")])
        return inner, os.path.exists("data.txt"), ray.get(exists.remote("data.txt"))

    @ray.remote
    def exists(path):
        return os.path.exists(path)

    init()
    env = {"env_vars": {"COLOUR": "red"}, "working_dir": str(project)}
    assert ray.get(outer.options(runtime_env=env).remote()) == (["red"] * 3, True, True)
    assert ray.get(read_variable.remote("COLOUR")) is None


def test_the_runtime_context_tells_it(init):
    @ray.remote
    def tell():
        return ray.get_runtime_context().runtime_env

    init(env_vars={"COLOUR": "red"})
    assert ray.get(tell.remote())["env_vars"] == {"COLOUR": "red"}
    assert ray.get_runtime_context().runtime_env["env_vars"] == {"COLOUR": "red"}


# ---- files ----


def test_the_working_directory_is_there_without_what_is_ignored(init, project):
    @ray.remote
    def look():
        import code_here
        return tree(), code_here.NAME, open("data.txt").read()

    init(working_dir=str(project), excludes=["out", "*.bin"])
    files, name, data = ray.get(look.remote())
    assert files == [".gitignore", "below/.gitignore", "below/deep.txt", "code_here.py", "data.txt", "logs/kept.log",
                     "secret"]
    assert (name, data) == ("here", "data")


def test_an_actor_lives_in_the_working_directory(init, project):
    init(working_dir=str(project))
    actor = Reader.remote()
    assert os.path.realpath(ray.get(actor.directory.remote())) != os.path.realpath(os.getcwd())


def test_changed_files_are_other_files(init, project):
    @ray.remote
    def read():
        return open("data.txt").read()

    init()
    env = {"working_dir": str(project)}
    assert ray.get(read.options(runtime_env=env).remote()) == "data"
    (project / "data.txt").write_text("changed")
    assert ray.get(read.options(runtime_env=env).remote()) == "changed"


def test_a_zip_is_a_working_directory_too(init, tmp_path):
    @ray.remote
    def read():
        return tree()

    with zipfile.ZipFile(tmp_path / "files.zip", "w") as archive:
        archive.writestr("a/b.txt", "b")
    init()
    assert ray.get(read.options(runtime_env={"working_dir": str(tmp_path / "files.zip")}).remote()) == ["a/b.txt"]


@pytest.fixture
def modules(tmp_path):
    """A package and a module that cannot be imported where the workers are, unless they are sent."""
    for path, words in {"sent_package/__init__.py": "from .inner import Value\n",
                        "sent_package/inner.py": "class Value:\n    def __init__(self, x):\n        self.x = x\n",
                        "sent_module.py": "NAME = __name__\n"}.items():
        file = tmp_path / "modules" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(words)
    yield tmp_path / "modules"
    for name in [name for name in sys.modules if name.startswith("sent_")]:
        del sys.modules[name]


@pytest.mark.parametrize("how", ["path", "module"])
def test_modules_are_sent_and_arguments_of_their_classes_arrive(init, modules, monkeypatch, how):
    @ray.remote
    def use(value):
        import sent_module
        from sent_package.inner import Value
        return isinstance(value, Value), value.x, sent_module.NAME

    init()
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(modules))
        import sent_module
        import sent_package
    sent = [sent_package, sent_module] if how == "module" else [str(modules / "sent_package"),
                                                                str(modules / "sent_module.py")]
    value = sent_package.Value(4)
    assert ray.get(use.options(runtime_env={"py_modules": sent}).remote(value)) == (True, 4, "sent_module")


def test_files_of_more_than_a_piece_arrive_whole(init, tmp_path):
    @ray.remote
    def read():
        return open("noise", "rb").read()

    noise = os.urandom(3_500_000)  # the table takes 1 MiB at once
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "noise").write_bytes(noise)
    init(working_dir=str(tmp_path / "large"))
    assert ray.get(read.remote()) == noise


# ---- what is left behind ----


@pytest.mark.parametrize("node", ["driver", "head that ends", "head that is killed"])
def test_unpacked_files_go_with_their_node_though_a_worker_was_killed(ray_alone, start_node, project, node):
    head = None if node == "driver" else start_node("head", "--address", "127.0.0.1:0", "--num-cpus", "1")
    ray.init(head.address if head else "local", runtime_env={"working_dir": str(project)})
    actor, other = Reader.remote(), Reader.remote()
    directory = ray.get(actor.directory.remote())
    assert ray.get(other.directory.remote()) == directory and directory.startswith(os.environ["RAY_TMPDIR"])
    os.kill(ray.get(actor.pid.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(actor.pid.remote())
    assert os.path.isdir(directory)
    if head:
        head.end(kill=node == "head that is killed")
    ray.shutdown()
    if node == "head that is killed":
        ray.init("local")  # the next node of this user with worker processes clears away what it left
        ray.get(read_variable.remote("HOME"))
    assert not os.path.exists(directory)


# ---- what is refused ----


@pytest.mark.parametrize("runtime_env, error, words", [
    ({"working_dir": "/nowhere/at/all"}, ValueError, "does not exist"),
    ({"working_dir": "s3://bucket/a.zip"}, NotImplementedError, "of this machine"),
    ({"working_dir": __file__}, ValueError, "a directory or a .zip"),
    ({"py_modules": ["/nowhere/at/all"]}, ValueError, "does not exist"),
    ({"py_modules": "one"}, TypeError, "a list"),
    ({"excludes": "one"}, TypeError, "a list"),
    ({"env_vars": {"A": 1}}, TypeError, "strings"),
    ({"pip": ["numpy"]}, NotImplementedError, "installs nothing"),
    ({"colour": "red"}, ValueError, "colour"),
    ("red", TypeError, "dict"),
])
def test_what_cannot_be_had_is_refused(ray_alone, runtime_env, error, words):
    with pytest.raises(error, match=words):
        ray.init("local", runtime_env=runtime_env)
    assert not ray.is_initialized()
    ray.init("local", num_cpus=1)
    with pytest.raises(error, match=words):
        read_variable.options(runtime_env=runtime_env).remote("A")
