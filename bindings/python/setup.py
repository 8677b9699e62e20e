"""The wheel carries libray.so.0 and raylaunch, which are built here: from the C sources two directories up, with Meson
and Ninja, or taken from a build directory that is there already, LIBRAY_PREBUILT=DIR."""

import atexit
import os
import pathlib
import shutil
import subprocess
import tempfile

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # setuptools before 70.1
    from wheel.bdist_wheel import bdist_wheel

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NEEDED = ("gcc libc6-dev meson ninja-build pkg-config libuv1-dev uthash-dev libxxhash-dev libsodium-dev libnng-dev "
          "libjansson-dev")

# Nothing of building stays in the sources.
scratch = tempfile.mkdtemp(prefix="libray-build-")
atexit.register(shutil.rmtree, scratch, ignore_errors=True)


def run(*command):
    # pip hides the packages of the system from what it starts, and with them those that meson is made of.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    try:
        subprocess.run([str(word) for word in command], check=True, env=environment)
    except FileNotFoundError:
        raise SystemExit(f"libray: building the C library needs {command[0]}, which is not here. On Debian 12: "
                         f"apt-get install {NEEDED}") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"libray: the C library cannot be built: {command[0]} has failed ({error.returncode}); what it"
                         f" said stands above. If a library is missing, on Debian 12: apt-get install {NEEDED}"
                         ) from None


def built(version):
    """The build directory with both files."""
    prebuilt = os.environ.get("LIBRAY_PREBUILT")
    if prebuilt:
        return pathlib.Path(prebuilt)
    if not (ROOT / "meson.build").is_file():
        raise SystemExit(f"libray: the C sources are expected in {ROOT}, and are not there: install from a clone of "
                         "the repository (pip install ./bindings/python), or set LIBRAY_PREBUILT to a build directory")
    build = pathlib.Path(scratch, "c")
    run("meson", "setup", "--libdir=lib", "--buildtype=release", build, ROOT)
    run("ninja", "-C", build, f"lib/libray.so.{version}", "launcher/raylaunch")
    return build


class Build(build_py):
    def run(self):
        super().run()
        if getattr(self, "editable_mode", False):  # LIBRAY_LIBRARY says where it is
            return
        version = self.distribution.get_version()
        build, package = built(version), pathlib.Path(self.build_lib, "libray")
        for name, as_name in ((f"lib/libray.so.{version}", "libray.so.0"), ("launcher/raylaunch", "raylaunch")):
            if not (build / name).is_file():
                raise SystemExit(f"libray: {build / name} is not there: LIBRAY_PREBUILT must name a directory in which "
                                 f"Meson and Ninja have built libray {version}")
            self.copy_file(str(build / name), str(package / as_name))


class Wheel(bdist_wheel):
    """For any Python 3 of this platform: nothing in it is compiled against Python."""

    def finalize_options(self):
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


class WithBinaries(Distribution):
    def has_ext_modules(self):
        return True


setup(cmdclass={"build_py": Build, "bdist_wheel": Wheel}, distclass=WithBinaries,
      options={"build": {"build_base": os.path.join(scratch, "build")}, "egg_info": {"egg_base": scratch}})
