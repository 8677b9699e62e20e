"""The wheel: built from what LIBRAY_PREBUILT has, installed into an environment of its own, used there."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile

import cloudpickle
import pytest

from clusters import PACKAGE, WAIT_S, printed

pytestmark = pytest.mark.skipif("LIBRAY_PREBUILT" not in os.environ,
                                reason="LIBRAY_PREBUILT names no Meson build directory to take libray.so from")


def run(*command, **environment):
    """A variable that is None is unset. Not from here, where the sources would be found first."""
    variables = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=2 * WAIT_S,
                          env=variables, cwd="/")


def build_wheel(folder, **environment):
    return run(sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w", folder,
               PACKAGE, PYTHONPATH=None, **environment)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    printed(build_wheel(folder))
    found, = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """That of a new environment with the wheel; cloudpickle is seen where it is now."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, system_site_packages=True, with_pip=False)
    found = folder / "bin" / "python"
    printed(run(sys.executable, "-m", "pip", "--python", found, "install", "--no-deps", "--no-index", wheel,
                PYTHONPATH=None))
    packages = printed(run(found, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    with open(os.path.join(packages, "outer.pth"), "w") as file:
        print(os.path.dirname(os.path.dirname(cloudpickle.__file__)), file=file)
    return found


def in_environment(python, *arguments, **environment):
    return run(python, *arguments, PYTHONPATH=None, LIBRAY_LIBRARY=None, **environment)


def test_it_is_for_any_python_3_of_this_platform_and_carries_the_library(wheel):
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name.endswith(f"-py3-none-{platform}.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        mode = archive.getinfo("libray/raylaunch").external_attr >> 16
    assert {"libray/libray.so.0", "libray/raylaunch", "libray/py.typed", "libray/util/__init__.py"} <= names
    assert not any(name.startswith(("tests/", "examples/")) for name in names)
    assert mode & 0o111
    assert "Requires-Python: >=3.11" in metadata and "Requires-Dist: cloudpickle" in metadata


def test_building_leaves_nothing_in_the_sources(wheel):
    assert not [name for name in os.listdir(PACKAGE) if name == "build" or name.endswith(".egg-info")]


def test_the_five_tasks_run_with_the_carried_library(python):
    where = printed(in_environment(python, "-c", "import libray._lib; print(libray._lib.path)"))
    assert where.startswith(str(python.parent.parent)) and where.endswith("libray.so.0")
    script = os.path.join(PACKAGE, "examples", "five_tasks.py")
    assert printed(in_environment(python, "-m", "libray", script)) == "[0, 2, 4, 6, 8]"


def test_the_carried_raylaunch_runs(python):
    assert printed(in_environment(python, "-m", "libray", "list", "sessions", PATH="/nowhere")) == "There are none."


def test_a_missing_meson_is_named(tmp_path):
    result = build_wheel(tmp_path, LIBRAY_PREBUILT=None, PATH=str(tmp_path))
    assert result.returncode != 0
    assert "needs meson" in result.stdout + result.stderr and "apt-get install" in result.stdout + result.stderr


def test_a_directory_without_the_library_is_refused(tmp_path):
    result = build_wheel(tmp_path, LIBRAY_PREBUILT=str(tmp_path))
    assert result.returncode != 0 and "LIBRAY_PREBUILT must name a directory" in result.stdout + result.stderr
