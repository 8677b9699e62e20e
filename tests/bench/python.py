#!/usr/bin/env python3
"""What the Python binding costs, by the names of Ray's own microbenchmark.

    python.py [--quick] [--only NAME]... [--json FILE] [--ray PYTHON]

Runs each row on libray, and with --ray, an interpreter that has Ray, on Ray too; prints both, their ratio (above 1:
libray is that much better) and what is asked. The package libray has to be importable. Each runtime runs in processes
of its own and never beside the other one. --only takes a part of a row's name.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

CPUS = 2
BATCH = 1000
HERE = os.path.abspath(__file__)


class Row:
    """A measure: a name, a unit, what is asked (of libray: at least, or with `less` at most), and how it is taken."""

    def __init__(self, name, unit, asked, take, less=False, times_ray=None):
        self.name, self.unit, self.asked, self.take = name, unit, asked, take
        self.less = less
        self.times_ray = times_ray  # asked as so many times Ray's


class Bench:
    """What the rows use: the runtime, how long to measure, and what one row leaves for the next."""

    def __init__(self, ray, quick):
        self.ray = ray
        self.quick = quick
        self.seconds = 0.4 if quick else 2.0
        self.memcpy = None

        @ray.remote
        def small_value():
            return b"ok"

        @ray.remote
        class Actor:
            def small_value(self):
                return b"ok"

            def small_value_arg(self, x):
                return b"ok"

        @ray.remote
        class AsyncActor:
            async def small_value(self):
                return b"ok"

        self.small_value, self.Actor, self.AsyncActor = small_value, Actor, AsyncActor

    def rate(self, run, count=1):
        """Runs of run() a second, times count: the median of three spells, after as much to warm up."""
        found = []
        for spell in range(4):
            rounds, start = 0, time.perf_counter()
            while True:
                run()
                rounds += 1
                took = time.perf_counter() - start
                if took >= self.seconds / (1 if spell else 2):
                    break
            found.append(rounds * count / took)
        return statistics.median(found[1:])

    def ready(self, cls, count=1):
        """Actors that live."""
        actors = [cls.remote() for _ in range(count)]
        self.ray.get([actor.small_value.remote() for actor in actors])
        return actors

    def calls_sync(self, cls):
        [actor] = self.ready(cls)
        return self.rate(lambda: self.ray.get(actor.small_value.remote()))

    def calls_async(self, cls):
        [actor] = self.ready(cls)
        return self.rate(lambda: self.ray.get([actor.small_value.remote() for _ in range(BATCH)]), BATCH)


# ---- rows that start runtimes of their own ----

_FIVE_TASKS = """
import {module} as ray
ray.init("local", num_cpus={cpus})
@ray.remote
def f(x):
    return 2 * x
assert ray.get([f.remote(i) for i in range(5)]) == [0, 2, 4, 6, 8]
ray.shutdown()
"""

_IDLE = """
import os, time
import {module} as ray
ray.init("local", num_cpus={cpus})
@ray.remote
def pid():
    time.sleep(0.2)
    return os.getpid()
while len(set(ray.get([pid.remote() for _ in range({cpus})]))) < {cpus}:
    pass

def family():
    children = {{}}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{{name}}/stat") as file:
                parent = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(name))
    found = [os.getpid()]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found

def pss(pid):
    with open(f"/proc/{{pid}}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))

time.sleep(12)  # processes that a runtime keeps only for a while have ended
pids = family()
print("FOUND", sum(map(pss, pids)) / 1024, len(pids))
ray.shutdown()
"""


def _program(bench, text):
    """(seconds, output) of a Python program in a fresh process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", text.format(module=bench.ray.__name__, cpus=CPUS)], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=120)
    return time.perf_counter() - start, done.stdout


def start_and_stop(bench):
    return statistics.median(_program(bench, _FIVE_TASKS)[0] for _ in range(1 if bench.quick else 5))


def idle(bench):
    words = _program(bench, _IDLE)[1].partition("FOUND")[2].split()
    bench.num_processes = int(words[1])
    return float(words[0])


def idle_processes(bench):
    if not hasattr(bench, "num_processes"):
        idle(bench)
    return bench.num_processes


# ---- rows in the runtime of this process ----


def tasks_sync(bench):
    return bench.rate(lambda: bench.ray.get(bench.small_value.remote()))


def tasks_async(bench):
    return bench.rate(lambda: bench.ray.get([bench.small_value.remote() for _ in range(BATCH)]), BATCH)


def calls_n_to_n(bench):
    ray, count = bench.ray, BATCH
    actors = bench.ready(bench.Actor, CPUS)

    @ray.remote
    def work(actors):
        ray.get([actors[i % len(actors)].small_value.remote() for i in range(count)])

    return bench.rate(lambda: ray.get([work.remote(actors) for _ in range(4)]), 4 * BATCH)


def calls_with_arg(bench):
    ray, count = bench.ray, BATCH

    @ray.remote
    class Client:
        def __init__(self, server):
            self.server = server

        def small_value(self):
            return b"ok"

        def small_value_batch_arg(self):
            x = ray.put(0)
            ray.get([self.server.small_value_arg.remote(x) for _ in range(count)])

    clients = [Client.remote(actor) for actor in bench.ready(bench.Actor, CPUS)]
    ray.get([client.small_value.remote() for client in clients])
    return bench.rate(lambda: ray.get([client.small_value_batch_arg.remote() for client in clients]), CPUS * BATCH)


def put_small(bench):
    return bench.rate(lambda: [bench.ray.put(0) for _ in range(100)], 100)


def get_small(bench):
    ref = bench.ray.put(0)
    return bench.rate(lambda: [bench.ray.get(ref) for _ in range(100)], 100)


def _array(size):
    import numpy
    return numpy.ones(size // 8, dtype=numpy.int64)


def _large(bench):
    return (200 if bench.quick else 800) << 20


def memcpy(bench):
    import numpy
    source = _array(_large(bench))
    target = source.copy()
    bench.memcpy = bench.rate(lambda: numpy.copyto(target, source), source.nbytes / 1e9)
    return bench.memcpy


def put_gigabytes(bench):
    source = _array(_large(bench))
    return bench.rate(lambda: bench.ray.put(source), source.nbytes / 1e9)


def put_share(bench):
    return 100 * put_gigabytes(bench) / (bench.memcpy or memcpy(bench))


def wait_1k_refs(bench):
    ray = bench.ray

    def run():
        rest = [bench.small_value.remote() for _ in range(BATCH)]
        while rest:
            _, rest = ray.wait(rest)

    return bench.rate(run)


def get_10k_refs(bench):
    ray = bench.ray

    @ray.remote
    def refs():
        return [ray.put(1) for _ in range(10000)]

    ref = refs.remote()
    ray.wait([ref])
    return bench.rate(lambda: ray.get(ref))


def actor_start(bench):
    """All at once, up to a call that each has answered; they have ended before the next row."""
    ray, count = bench.ray, 20 if bench.quick else 50
    start = time.perf_counter()
    actors = [bench.Actor.options(num_cpus=0).remote() for _ in range(count)]
    ray.get([actor.small_value.remote() for actor in actors])
    took = time.perf_counter() - start
    for actor in actors:
        ray.kill(actor)
    return count / took


def pass_array(bench):
    """A task whose argument is an array that the caller has put; less what the same task costs without one."""
    ray = bench.ray
    ref = ray.put(_array((100 if bench.quick else 1024) << 20))

    @ray.remote
    def last(array):
        return array[-1] if array is not None else 1

    def seconds(arg):
        found = []
        for _ in range(50):
            start = time.perf_counter()
            ray.get(last.remote(arg))
            found.append(time.perf_counter() - start)
        return statistics.median(found)

    small = ray.put(None)
    seconds(ref), seconds(small)  # warm
    return max(seconds(ref) - seconds(small), 1e-7) * 1e6


ROWS = [
    Row("import, init, 5 tasks, shutdown", "s", 0.25, start_and_stop, less=True),
    Row("idle", "MB PSS", 60, idle, less=True),
    Row("idle processes", "", 1 + CPUS, idle_processes, less=True),
    Row("single client tasks sync", "/s", 10e3, tasks_sync),
    Row("single client tasks async", "/s", 50e3, tasks_async),
    Row("1:1 actor calls sync", "/s", 10e3, lambda bench: bench.calls_sync(bench.Actor)),
    Row("1:1 actor calls async", "/s", 50e3, lambda bench: bench.calls_async(bench.Actor)),
    Row("1:1 actor calls concurrent", "/s", 50e3,
        lambda bench: bench.calls_async(bench.Actor.options(max_concurrency=16))),
    Row("n:n actor calls async", "/s", 50e3, calls_n_to_n),
    Row("n:n actor calls with arg async", "/s", 20e3, calls_with_arg),
    Row("1:1 async-actor calls sync", "/s", 8e3, lambda bench: bench.calls_sync(bench.AsyncActor)),
    Row("1:1 async-actor calls async", "/s", 30e3, lambda bench: bench.calls_async(bench.AsyncActor)),
    Row("single client put calls", "/s", 100e3, put_small),
    Row("single client get calls", "/s", 200e3, get_small),
    Row("memcpy of the same bytes", "GB/s", None, memcpy),
    Row("single client put gigabytes", "GB/s", None, put_gigabytes),
    Row("put gigabytes, of memcpy", "%", 80, put_share),
    Row("single client wait 1k refs", "/s", None, wait_1k_refs, times_ray=50),
    Row("single client get object containing 10k refs", "/s", None, get_10k_refs, times_ray=50),
    Row("actor start", "/s", 200, actor_start),
    Row("pass a 1 GiB array (100 MiB with --quick)", "us", 1000, pass_array, less=True),
]
ALONE = (start_and_stop, idle, idle_processes)  # while no runtime is up here


# ---- one runtime ----


def measure(module, names, quick):
    """In a process of its own: a line of JSON for each row as it is taken."""
    warnings.simplefilter("ignore")
    bench = Bench(importlib.import_module(module), quick)
    rows = [row for row in ROWS if row.name in names]
    for row in sorted(rows, key=lambda row: row.take not in ALONE):
        if row.take not in ALONE and not bench.ray.is_initialized():
            bench.ray.init("local", num_cpus=CPUS)
        print("ROW", json.dumps([row.name, row.take(bench)]), flush=True)
    bench.ray.shutdown()


def environment(module, folder):
    """With modules compiled once, as those of an installed package are, and not at each start."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if module == "libray":
        found["PYTHONPYCACHEPREFIX"] = folder
    return found


def figures(python, module, names, quick):
    """{name: value} of one runtime."""
    command = [python, HERE, "--measure", module, *(["--quick"] if quick else [])]
    for name in names:
        command += ["--only", name]
    found = {}
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment(module, folder)) as process:
        for line in process.stdout:
            if line.startswith("ROW "):
                name, found[name] = json.loads(line[4:])
                print(f"  {module}: {name}: {short(found[name])}", file=sys.stderr, flush=True)
    if process.returncode != 0:
        print(f"{module} ended with {process.returncode} after {len(found)} of {len(names)} rows", file=sys.stderr)
    return found


# ---- the table ----


def short(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def asked_of(row):
    if row.times_ray:
        return f">= {row.times_ray} x Ray"
    return "" if row.asked is None else f"{'<=' if row.less else '>='} {short(row.asked)}"


def ratio(row, ours, theirs):
    if not ours or not theirs:
        return None
    return theirs / ours if row.less else ours / theirs


def is_met(row, ours, theirs):
    """None: nothing is asked, or nothing is there to judge by."""
    bound = row.asked if not row.times_ray else theirs and row.times_ray * theirs
    if ours is None or bound is None:
        return None
    return ours <= bound if row.less else ours >= bound


def report(rows, ours, theirs):
    found = []
    print(f"{'':46} {'libray':>10} {'Ray':>10} {'ratio':>8}  asked")
    for row in rows:
        mine, other = ours.get(row.name), theirs.get(row.name)
        times, met = ratio(row, mine, other), is_met(row, mine, other)
        found.append({"name": row.name, "unit": row.unit, "libray": mine, "ray": other, "ratio": times,
                      "asked": asked_of(row), "met": met})
        print(f"{row.name:46} {short(mine):>10} {short(other):>10} {short(times):>8}  {asked_of(row):12} "
              f"{row.unit:7}{'' if met is not False else ' NOT MET'}")
    return found


def main():
    parser = argparse.ArgumentParser(description="The Python binding's figures, beside Ray's.")
    parser.add_argument("--quick", action="store_true", help="less time a row, smaller arrays")
    parser.add_argument("--only", action="append", metavar="NAME", help="rows with this in their name")
    parser.add_argument("--json", metavar="FILE", help="write the table there, too")
    parser.add_argument("--ray", metavar="PYTHON", help="an interpreter that has Ray: the same rows on it")
    parser.add_argument("--measure", metavar="MODULE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure, given.only, given.quick)
        return 0
    rows = [row for row in ROWS if not given.only or any(part in row.name for part in given.only)]
    if not rows:
        parser.error("no row has that in its name; there are: " + "; ".join(row.name for row in ROWS))
    names = [row.name for row in rows]
    ours = figures(sys.executable, "libray", names, given.quick)
    theirs = figures(given.ray, "ray", names, given.quick) if given.ray else {}
    found = report(rows, ours, theirs)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
            file.write("\n")
    return 0 if len(ours) == len(rows) and (not given.ray or len(theirs) == len(rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
