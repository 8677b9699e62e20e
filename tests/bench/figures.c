#include "figures.h"

#define STARPU(recorded)                                                                                               \
    {                                                                                                                  \
        "StarPU", recorded, "peer_starpu"                                                                              \
    }
#define OPENMP(recorded)                                                                                               \
    {                                                                                                                  \
        "OpenMP", recorded, "peer_openmp"                                                                              \
    }
#define RAY(recorded)                                                                                                  \
    {                                                                                                                  \
        "Ray", recorded, NULL                                                                                          \
    }
#define RAY_HERE(recorded)                                                                                             \
    {                                                                                                                  \
        "Ray", recorded, "peer_ray.py"                                                                                 \
    }
#define POOL(recorded)                                                                                                 \
    {                                                                                                                  \
        "ProcessPoolExecutor", recorded, "peer_pool.py"                                                                \
    }
#define RAY_64_CORES(recorded)                                                                                         \
    {                                                                                                                  \
        "Ray on 64 cores", recorded, NULL                                                                              \
    }
#define FUTEX_APART                                                                                                    \
    {                                                                                                                  \
        "futex between two CPUs", 0, "bench_machine"                                                                   \
    }
#define FUTEX_PROCESSES                                                                                                \
    {                                                                                                                  \
        "futex between two processes", 0, "bench_machine"                                                              \
    }
#define ONCE      .once = true
#define SIMULATED .program = "bench_sim", .once = true
#define REACH(value)                                                                                                   \
    {                                                                                                                  \
        TARGET_VALUE, value, NULL                                                                                      \
    }
#define REACH_LIMIT(factor)                                                                                            \
    {                                                                                                                  \
        TARGET_LIMIT, factor, NULL                                                                                     \
    }
#define REACH_PEER(factor, of)                                                                                         \
    {                                                                                                                  \
        TARGET_PEER, factor, of                                                                                        \
    }

/* clang-format off */
const struct figure figures[] = {
    {"init_local_ms", "ms", false, "init", {REACH(5)},
     "threads", "threads_ms", "create+join CPUs+1 threads", {STARPU(180), OPENMP(0), RAY(5000)}},

    {"tasks_sync_thread", "/s", true, "tasks_sync", {REACH(1e6), REACH_PEER(50, "StarPU")},
     "call", "call_per_s", "malloc+call+free", {STARPU(11800), OPENMP(0), RAY(345)}},
    {"handoff_us", "us", false, "handoff", {REACH_LIMIT(1.2)},
     "futex", "futex_us", "futex round trip, median", {FUTEX_APART}},
    {"handoff_us_p50", "us", false, "handoff", {REACH_LIMIT(1.2)},
     "futex", "futex_us_p50", "futex round trip, median", {FUTEX_APART}},
    {"handoff_us_p99", "us", false, "handoff", {REACH_LIMIT(1.2)},
     "futex", "futex_us_p99", "futex round trip, 99 %", {FUTEX_APART}},
    {"handoff_spin_us", "us", false, "handoff_spin", {REACH(1)},
     "spin", "spin_us", "spinning round trip", {{0}}},
    {"tasks_async_thread", "/s", true, "tasks_async", {REACH(3e6), REACH_PEER(10, "StarPU")},
     "batch", "batch_per_s", "malloc all, call+free all", {STARPU(240000), OPENMP(22e6), RAY(1235)}},
    {"tasks_async_recorded", "/s", true, "tasks_recorded", {REACH(2e6)},
     "batch", "batch_per_s", "malloc all, call+free all", {{0}}},
    {"tasks_nested_fib", "/s", true, "fib", {REACH(3e6)},
     "tree", "tree_per_s", "malloc+call+free, nested", {OPENMP(0)}},
    {"fib_stack_kb", "KB", false, "fib", {REACH(8192 - 256)},
     NULL, NULL, NULL, {{0}}},

    {"actor_sync_thread", "/s", true, "actor_sync", {REACH(500e3)},
     "spin", "spin_per_s", "spinning round trips", {RAY(906)}},
    {"actor_async_thread", "/s", true, "actor_async", {REACH(2e6)},
     "batch", "batch_per_s", "malloc all, call+free all", {RAY(4689)}},
    {"actors_10k_per_s", "/s", true, "actors", {REACH(200e3)},
     "batch", "half_batch_per_s", "malloc two, call+free two", {RAY_64_CORES(551)}},

    {"put_small", "/s", true, "put_small", {REACH(3e6)},
     "call", "call_per_s", "malloc+call+free", {RAY(1716)}},
    {"get_small", "/s", true, "get_small", {REACH(10e6)},
     "read", "read_per_s", "acquire load + load", {RAY(5760)}},
    {"put_large_gib_s", "GiB/s", true, "put_large", {REACH_LIMIT(0.8)},
     "memcpy", "memcpy_gib_s", "memcpy of 64 MiB, warm", {RAY(1.54)}},
    {"create_seal_large_us", "us", false, "large", {REACH(20)},
     "mmap", "mmap_us", "mmap+munmap of 64 MiB", {{0}}},
    {"get_view_us", "us", false, "view", {REACH(1)},
     "retain", "retain_us", "one atomic up and down", {{0}}},
    {"spill_gib_s", "GiB/s", true, "spill", {REACH_LIMIT(0.7)},
     "disk", "disk_write_gib_s", "write of 1 MiB, as dd", {{0}}},
    {"restore_gib_s", "GiB/s", true, "spill", {REACH_LIMIT(0.7)},
     "disk", "disk_read_gib_s", "read of 1 MiB, cold, as dd", {{0}}},
    {"wait_1k_per_s", "/s", true, "wait", {REACH_PEER(1000, "Ray")},
     "round", "round_per_s", "1,000 x malloc+call+free", {RAY(1.1)}},

    {"queued_1m_s", "s", false, "queued", {REACH(2)},
     "million", "million_s", "malloc all, call+free all", {RAY_64_CORES(184)}},
    {"queued_bytes_per_task", "B", false, "queued", {REACH(400)},
     "million", "million_bytes", "malloc of 128 B", {{0}}},
    {"args_10k_ms", "ms", false, "args", {REACH(20)},
     "retain", "retain_10k_ms", "10,000 atomics up and down", {RAY_64_CORES(17200)}},
    {"get_10k_ms", "ms", false, "get_10k", {REACH(20)},
     "read", "read_10k_ms", "10,000 acquire loads", {RAY_64_CORES(23500)}},
    {"returns_3k_ms", "ms", false, "returns", {REACH(20)},
     "spin", "spin_3k_ms", "3,000 spinning round trips", {{0}}},

    {"tasks_sync_process", "/s", true, "tasks_sync_process", {REACH(20e3), REACH_PEER(60, "Ray")},
     "process_spin", "process_spin_per_s", "two processes, spinning", {FUTEX_PROCESSES, POOL(2100), RAY_HERE(345)}},
    {"tasks_async_process", "/s", true, "tasks_async_process", {REACH(500e3), REACH_PEER(300, "Ray")},
     "process_batch", "process_batch_per_s", "cache lines there and back", {POOL(3070), RAY_HERE(1235)}},
    {"actor_sync_process", "/s", true, "actor_sync_process", {REACH(20e3)},
     "process_spin", "process_spin_per_s", "two processes, spinning", {RAY_HERE(906)}},
    {"actor_async_process", "/s", true, "actor_async_process", {REACH(500e3)},
     "process_batch", "process_batch_per_s", "cache lines there and back", {RAY_HERE(4689)}},
    {"pass_100mb_us", "us", false, "pass_100mb", {REACH(100)},
     "map", "map_us", "mmap+2 pages+munmap", {{0}}},
    {"pass_100mb_first_us", "us", false, "pass_100mb", {{0}},
     "map", "map_us", "mmap+2 pages+munmap", {{0}}},
    {"worker_start_ms", "ms", false, "worker_start", {REACH(5)},
     "spawn", "spawn_ms", "posix_spawn to a first byte", {POOL(0)}},
    {"crash_to_retry_ms", "ms", false, "crash", {REACH(20)},
     "kill", "kill_ms", "kill -9 to the pidfd's word", {RAY_HERE(1100)}},
    {"process_idle_pss_mb", "MB", false, "process_idle", {REACH(4)},
     "pss", "pss_mb", "a process without libray", {{0}}},

    {"head_start_ms", "ms", false, "head_start", {REACH(50)},
     "spawn", "spawn_ms", "posix_spawn to a first byte", {RAY(5000)}},
    {"join_ms", "ms", false, "join", {REACH(50)},
     "spawn", "spawn_ms", "posix_spawn to a first byte", {RAY(1650)}},
    {"remote_task_rtt_us", "us", false, "remote_rtt", {REACH_LIMIT(2.5), REACH(1e6 / 268 / 15)},
     "tcp", "tcp_us", "TCP round trip, loopback", {RAY(1e6 / 268)}},
    {"remote_tasks_async", "/s", true, "remote_tasks", {REACH(200e3)},
     "tcp", "tcp_batch_per_s", "64 B there and back", {RAY(1058)}},
    {"remote_actor_sync", "/s", true, "remote_actor", {REACH_LIMIT(0.4), REACH(15 * 268)},
     "tcp", "tcp_per_s", "TCP round trips, loopback", {RAY(268)}},
    {"remote_actor_async", "/s", true, "remote_actor", {REACH(200e3)},
     "tcp", "tcp_batch_per_s", "64 B there and back", {RAY(1058)}},
    {"transfer_plain_gib_s", "GiB/s", true, "transfer_plain", {REACH_LIMIT(0.8)},
     "stream", "stream_gib_s", "TCP stream, loopback", {RAY(0.26)}},
    {"transfer_sealed_gib_s", "GiB/s", true, "transfer_sealed", {REACH_LIMIT(0.8)},
     "sealed", "sealed_gib_s", "seal, send, open", {RAY(0.26)}},
    {"same_host_map_us", "us", false, "same_host_map", {REACH(200)},
     "map", "map_us", "mmap+2 pages+munmap", {{0}}},
    {"same_host_first_us", "us", false, "same_host_map", {{0}},
     "map", "map_us", "mmap+2 pages+munmap", {{0}}},
    {"broadcast_8_ratio", "", false, "broadcast", {REACH(1.3)},
     NULL, NULL, NULL, {{0}}, ONCE},
    {"broadcast_8_s", "s", false, "broadcast", {{0}},
     NULL, NULL, NULL, {{0}}, ONCE},
    {"broadcast_8_sent", "", false, "broadcast", {REACH(2)},
     NULL, NULL, NULL, {{0}}, ONCE},
    {"queue_infeasible_100k_s", "s", false, "infeasible", {REACH(0.2)},
     "batch", "batch_100k_s", "malloc all, call+free all", {RAY(11)}},
    {"node_dead_ms", "ms", false, "node_loss", {REACH(50)},
     "kill", "kill_ms", "kill -9 to the pidfd's word", {RAY(14900)}},
    {"node_retry_ms", "ms", false, "node_loss", {REACH(100)},
     "kill", "kill_ms", "kill -9 to the pidfd's word", {RAY(2300)}},
    {"blackout_5s_lost", "", false, "blackout", {REACH(0)},
     NULL, NULL, NULL, {{0}}, ONCE},
    {"blackout_5s_back_ms", "ms", false, "blackout", {{0}},
     NULL, NULL, NULL, {{0}}, ONCE},
    {"worker_pss_mb", "MB", false, "nodes_pss", {REACH(12)},
     "pss", "pss_mb", "a process without libray", {{0}}},
    {"head_pss_mb", "MB", false, "nodes_pss", {REACH(16)},
     "pss", "pss_mb", "a process without libray", {{0}}},

    {"sim_10_per_s", "/s", true, "sim", {{0}}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_100_per_s", "/s", true, "sim", {{0}}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_1000_per_s", "/s", true, "sim", {{0}}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_5000_per_s", "/s", true, "sim", {{0}}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_5000_growth", "", false, "sim", {REACH(1)}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_10_bus_bytes", "B/s", false, "sim_bus", {{0}}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_100_bus_bytes", "B/s", false, "sim_bus", {{0}}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_1000_bus_bytes", "B/s", false, "sim_bus", {{0}}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_5000_bus_bytes", "B/s", false, "sim_bus", {{0}}, NULL, NULL, NULL, {{0}}, SIMULATED},
    {"sim_broadcast_8_ratio", "", false, "sim_broadcast", {REACH(2)}, NULL, NULL, NULL, {{0}}, SIMULATED},

    {"pss_idle_mb", "MB", false, "pss", {REACH(8)},
     "pss", "pss_mb", "a process without libray", {RAY(836)}},
    {"pss_growth_mb", "MB", false, "pss", {{0}},
     NULL, NULL, NULL, {{0}}},
    {"threads_idle", "", false, "threads", {REACH_LIMIT(1)},
     "threads", "cpus_and_one", "CPUs + 1", {RAY(221)}},
    {"lib_stripped_kb", "KB", false, "size", {REACH(400)},
     NULL, NULL, NULL, {RAY(75300)}},
};
/* clang-format on */
const size_t num_figures = sizeof figures / sizeof *figures;
