"""A worker process of Python: what a node starts (`python -m libray._worker`), or a copy of such a process."""

import ctypes
import gc
import os
import signal
import sys


def _stand_as_template(lib):
    """Waits until copies of this process are wanted, and returns in each of them. The interpreter has to know of a fork
    that it has not made itself. False: the node has gone."""
    before, parent, child = (getattr(ctypes.pythonapi, f"PyOS_{name}")
                             for name in ("BeforeFork", "AfterFork_Parent", "AfterFork_Child"))
    gc.collect()
    gc.freeze()  # else the first collection of a copy would write to all that it shares
    while True:
        before()
        copies = lib.ray_template_fork()
        if copies == 0:
            child()
            return True
        parent()
        if copies < 0:
            return False


def main():
    if not os.environ.get("RAY_WORKER_OF"):
        print("this is a worker process of libray's Python binding; a node starts it", file=sys.stderr)
        return 2
    for file in (sys.stdout, sys.stderr):
        file.reconfigure(line_buffering=True)
    from . import _functions, _lib, _run, _runtime, _session
    of = os.environ.pop("RAY_WORKER_OF")  # what user code starts from here is no worker
    _session.node_pid = int(of.split()[0])
    _lib.ctypes.CDLL(None).setenv(b"RAY_WORKER_OF", of.encode(), 1)  # for ray_init, which removes it, too
    _run.in_worker = True
    _runtime.epoch = 1
    signal.signal(signal.SIGINT, _run._on_sigint)
    _functions.register(_run.call, _run.call_handle)
    if of.endswith(" template") and not _stand_as_template(_lib.quick):
        return 1
    code = _run.lib.ray_init(None)  # serves, and ends the process
    print(f"this worker process cannot serve: {_run.lib.ray_last_error().contents.message.decode()} ({code})",
          file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.modules["libray._worker"] = sys.modules["__main__"]
    sys.exit(main())
