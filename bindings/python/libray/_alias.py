"""`import ray` as `import libray`, for programs that were written for Ray."""

import importlib
import importlib.abc
import importlib.machinery
import sys


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules `ray` and `ray.*` are those of this package."""

    def find_spec(self, name, path=None, target=None):
        if name != "ray" and not name.startswith("ray."):
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        try:
            module = importlib.import_module("libray" + spec.name[3:])
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("libray"):
                raise  # what the module itself needs
            raise ModuleNotFoundError(f"libray has no {spec.name}: it is Ray Core alone, without Ray's libraries "
                                      "(see doc/reference/ray-differences.md)", name=spec.name) from error
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module):
        module.__spec__ = module.__spec__.loader_state  # it stays what it was
        # What came with it needs no import of its own, which would set an attribute: ray.util.placement_group is a
        # function, of a module of that name.
        sys.modules.update({name[3:]: found for name, found in list(sys.modules.items()) if name.startswith("libray.")})


def install():
    """From now on in this process; nothing where it was done, or Ray itself is imported."""
    if "ray" in sys.modules or any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    importlib.import_module("ray")
