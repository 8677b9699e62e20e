#!/usr/bin/env python3
"""peer_pool.py MEASURE SECONDS: a ProcessPoolExecutor, measured as bench_ray measures worker processes."""
import concurrent.futures
import sys
import time

BATCH = 1000  # it is slow: a tenth of what libray is given
WORKERS = 2


def twice(x):
    return 2 * x


def rate(seconds, run):
    """Calls of run(n) with growing n until it is warm, then for about so many seconds: n per second."""
    n, took = 1, 0.0
    while took < seconds / 4:
        start = time.monotonic()
        run(n)
        took = time.monotonic() - start
        if took < seconds / 4:
            n *= 2
    n = int(n * seconds / took) + 1
    start = time.monotonic()
    run(n)
    return n / (time.monotonic() - start)


def check(results):
    if any(result != 2 * i for i, result in enumerate(results)):
        sys.exit("wrong result")


def one_at_a_time(pool):
    return lambda n: check([pool.submit(twice, i).result() for i in range(n)])


def all_at_once(pool):
    def run(n):
        for _ in range(n):
            futures = [pool.submit(twice, i) for i in range(BATCH)]
            check([future.result() for future in futures])
    return run


def tasks_sync(seconds):
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        print("tasks_sync_process", rate(seconds, one_at_a_time(pool)))


def tasks_async(seconds):
    with concurrent.futures.ProcessPoolExecutor(WORKERS) as pool:
        print("tasks_async_process", BATCH * rate(seconds, all_at_once(pool)))


def worker_start(_seconds):
    start = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(1) as pool:
        check([pool.submit(twice, 0).result()])
        print("worker_start_ms", (time.monotonic() - start) * 1e3)


MEASURES = {"tasks_sync_process": tasks_sync, "tasks_async_process": tasks_async, "worker_start": worker_start}

if __name__ == "__main__":
    MEASURES[sys.argv[1]](float(sys.argv[2]))
