#!/usr/bin/env python3
"""check.py BENCH: runs the bench quickly and checks that every figure is there, positive, and nothing failed.

Targets are not judged: machines wander."""
import json
import os
import subprocess
import sys
import tempfile

NAMES = """init_local_ms tasks_sync_thread handoff_us handoff_us_p50 handoff_us_p99 handoff_spin_us
    tasks_async_thread tasks_async_recorded tasks_nested_fib tasks_sync_process tasks_async_process actor_sync_process
    actor_async_process pass_100mb_us pass_100mb_first_us worker_start_ms crash_to_retry_ms process_idle_pss_mb
    actor_sync_thread actor_async_thread put_small get_small put_large_gib_s spill_gib_s restore_gib_s
    create_seal_large_us get_view_us wait_1k_per_s queued_1m_s queued_bytes_per_task args_10k_ms get_10k_ms
    returns_3k_ms actors_10k_per_s pss_idle_mb threads_idle lib_stripped_kb
    head_start_ms join_ms remote_task_rtt_us remote_tasks_async remote_actor_sync remote_actor_async
    transfer_plain_gib_s transfer_sealed_gib_s same_host_map_us broadcast_8_ratio broadcast_8_s broadcast_8_sent
    queue_infeasible_100k_s node_dead_ms node_retry_ms blackout_5s_lost blackout_5s_back_ms worker_pss_mb head_pss_mb
    sim_10_per_s sim_100_per_s sim_1000_per_s sim_5000_per_s sim_5000_growth
    sim_10_bus_bytes sim_100_bus_bytes sim_1000_bus_bytes sim_5000_bus_bytes
    sim_broadcast_8_ratio""".split()
SKIPPED = ["blackout_5s_lost", "blackout_5s_back_ms"]  # where network namespaces are forbidden


def problems(results):
    seen = {result["name"]: result for result in results}
    for name in NAMES:
        if name not in seen:
            yield f"{name}: missing"
    for name, result in seen.items():
        if set(result) != {"name", "unit", "value", "limit", "limit_name", "peers"}:
            yield f"{name}: other fields than the issue's: {sorted(result)}"
        elif result["value"] is None and name in SKIPPED:
            continue
        elif name == "blackout_5s_lost":
            if result["value"] != 0:
                yield f"{name}: {result['value']} nodes or outcomes, not 0"
        elif not (result["value"] or 0) > 0:
            yield f"{name}: no positive value"
        elif result["limit_name"] and not (result["limit"] or 0) > 0:
            yield f"{name}: no positive limit ({result['limit_name']})"


def main(bench):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bench.json")
        code = subprocess.run([bench, "--quick", "--json", path], check=False).returncode
        with open(path, encoding="utf-8") as file:
            found = list(problems(json.load(file)["results"]))
    print(*found, sep="\n")
    return 1 if found or code else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
