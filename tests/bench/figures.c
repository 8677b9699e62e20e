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
#define RAY_64_CORES(recorded)                                                                                         \
    {                                                                                                                  \
        "Ray on 64 cores", recorded, NULL                                                                              \
    }
#define FUTEX_APART                                                                                                    \
    {                                                                                                                  \
        "futex between two CPUs", 0, "bench_machine"                                                                   \
    }
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
