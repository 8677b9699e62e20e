#!/usr/bin/env python3
"""peer_ray.py MEASURE SECONDS: Ray, measured as bench_ray measures worker processes. Needs the Python package ray."""
import os
import signal
import sys
import tempfile
import time

import ray

from peer_pool import BATCH, WORKERS, check, rate, twice

OUT = os.dup(1)


@ray.remote
def remote_twice(x):
    return twice(x)


@ray.remote
class Distant:
    def twice(self, x):
        return twice(x)


@ray.remote(max_retries=1)
def stay(path):
    """The first time: tells its pid, and stays."""
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
    except FileExistsError:
        return 1
    time.sleep(1000)
    return 0


def emit(series, value):
    """On the standard output of the start: what Ray prints goes elsewhere."""
    os.write(OUT, f"{series} {value}\n".encode())


def one_at_a_time(call):
    return lambda n: check([ray.get(call(i)) for i in range(n)])


def all_at_once(call):
    def run(n):
        for _ in range(n):
            check(ray.get([call(i) for i in range(BATCH)]))
    return run


def rates(name, call, seconds):
    if name.endswith("_sync_process"):
        emit(name, rate(seconds, one_at_a_time(call)))
    else:
        emit(name, BATCH * rate(seconds, all_at_once(call)))


def crash(_seconds):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pid")
        ref, line = stay.remote(path), ""
        while not line.endswith("\n"):
            time.sleep(0.01)
            if os.path.exists(path):
                with open(path, encoding="ascii") as file:
                    line = file.read()
        start = time.monotonic()
        os.kill(int(line), signal.SIGKILL)
        if ray.get(ref) != 1:
            sys.exit("the retry: wrong result")
        emit("crash_to_retry_ms", (time.monotonic() - start) * 1e3)


def main():
    measure, seconds = sys.argv[1], float(sys.argv[2])
    os.dup2(2, 1)
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False)
    ray.get(remote_twice.remote(1))
    if measure == "crash":
        crash(seconds)
    elif measure.startswith("actor_"):
        rates(measure, Distant.remote().twice.remote, seconds)
    else:
        rates(measure, remote_twice.remote, seconds)
    ray.shutdown()


if __name__ == "__main__":
    main()
