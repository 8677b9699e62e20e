/* StarPU on CPU workers, under the names of the figures it stands beside. Each is measured under its simple schedulers,
   and the best counts. */
#include "bench.h"

#include <starpu.h>
#include <stdlib.h>

static const char *const schedulers[] = {"eager", "lws", NULL};

static void twice(void *buffers[], void *arg)
{
    (void)buffers;
    int64_t *x = arg;
    *x *= 2;
}

static struct starpu_codelet codelet = {.cpu_funcs = {twice}, .cpu_funcs_name = {"twice"}, .nbuffers = 0};

static void require(int code)
{
    if (code != 0)
        bench_fail("StarPU: error %d", code);
}

static void start(const char *scheduler)
{
    struct starpu_conf conf;
    require(starpu_conf_init(&conf));
    conf.sched_policy_name = scheduler;
    conf.ncpus = (int)bench_num_cpus();
    conf.ncuda = conf.nopencl = 0;
    conf.calibrate = conf.bus_calibrate = 0;
    require(starpu_init(&conf));
}

static void submit(int64_t *x, bool synchronous)
{
    struct starpu_task *task = starpu_task_create();
    task->cl = &codelet;
    task->cl_arg = x;
    task->synchronous = synchronous;
    require(starpu_task_submit(task));
}

static void one_at_a_time(size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        int64_t x = (int64_t)i;
        submit(&x, true);
        if (x != 2 * (int64_t)i)
            bench_fail("task %zu: wrong result", i);
    }
}

static void all_at_once(size_t n, void *arg)
{
    static int64_t x[BENCH_BATCH];
    (void)arg;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < BENCH_BATCH; i++) {
            x[i] = (int64_t)i;
            submit(&x[i], false);
        }
        require(starpu_task_wait_for_all());
        for (size_t i = 0; i < BENCH_BATCH; i++) {
            if (x[i] != 2 * (int64_t)i)
                bench_fail("task %zu: wrong result", i);
        }
    }
}

static double best_rate(double seconds, void (*run)(size_t n, void *arg))
{
    double best = 0;
    for (const char *const *scheduler = schedulers; *scheduler; scheduler++) {
        start(*scheduler);
        double rate = bench_rate(seconds, run, NULL);
        best = rate > best ? rate : best;
        starpu_shutdown();
    }
    return best;
}

static void measure_init(double seconds)
{
    (void)seconds;
    double began = bench_now();
    start(schedulers[0]);
    one_at_a_time(5, NULL);
    starpu_shutdown();
    bench_emit("init_local_ms", (bench_now() - began) * 1e3);
}

static void measure_sync(double seconds)
{
    bench_emit("tasks_sync_thread", best_rate(seconds, one_at_a_time));
}

static void measure_async(double seconds)
{
    bench_emit("tasks_async_thread", BENCH_BATCH * best_rate(seconds, all_at_once));
}

int main(int argc, char **argv)
{
    static const struct bench_measure measures[] = {
        {"init", measure_init},
        {"tasks_sync", measure_sync},
        {"tasks_async", measure_async},
        {NULL, NULL},
    };
    setenv("STARPU_SILENT", "1", 1);
    setenv("STARPU_WORKERS_GETBIND", "1", 0); /* stay on the CPUs that everybody is measured on */
    return bench_main(argc, argv, measures);
}
