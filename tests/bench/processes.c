/* Worker processes: tasks, actors and objects on the other side of a process border, and what the processes cost.

   A worker is this program once more: see main in ray.c. Each measure has a runtime of its own, whose functions run in
   processes; `worker_start` begins without any. */
#include "themes.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WORKERS = 2, OBJECT = 100 * 1000 * 1000 };

static void start(uint32_t workers)
{
    char resources[32];
    snprintf(resources, sizeof resources, "CPU=%u", workers);
    require(ray_init(
        RAY_WITH(ray_config, .isolation = RAY_ISOLATION_PROCESS, .num_threads = workers, .resources = resources)));
}

/* ---- Tasks ---- */

static void measure_tasks_sync(double seconds)
{
    start(1);
    bench_emit("tasks_sync_process", bench_rate(seconds, task_by_task, NULL));
    require(ray_shutdown());
}

static void measure_tasks_async(double seconds)
{
    start(WORKERS);
    bench_emit("tasks_async_process", BENCH_BATCH * bench_rate(seconds, tasks_at_once, NULL));
    require(ray_shutdown());
}

/* ---- Actors ---- */

static void with_actor(const char *series, double factor, double seconds, void (*run)(size_t n, void *arg))
{
    start(1);
    ray_actor *actor = ray_actor_new(tally, 0);
    bench_emit(series, factor * bench_rate(seconds, run, actor));
    ray_actor_release(actor);
    require(ray_shutdown());
}

static void measure_actor_sync(double seconds)
{
    with_actor("actor_sync_process", 1, seconds, call_by_call);
}

static void measure_actor_async(double seconds)
{
    with_actor("actor_async_process", BENCH_BATCH, seconds, calls_at_once);
}

/* ---- An object that is there: what it takes to see its first and its last byte in another process ---- */

static RAY_REMOTE(double, touch_us, (ray_ref *, object))
{
    double begin = bench_now();
    ray_view view;
    if (ray_get(object, &view) != 0)
        return ray_fail("%s", ray_last_error()->message);
    const volatile unsigned char *bytes = view.data;
    unsigned both = bytes[0] + 256u * bytes[view.size - 1];
    double took = (bench_now() - begin) * 1e6;
    size_t size = view.size;
    ray_view_release(&view);
    return both == 0x201 && size == OBJECT ? took : ray_fail("another object");
}

static double pass_us(void *arg)
{
    double us;
    ray_ref *object = arg, *ref = ray_remote(touch_us, object);
    require(ray_get(ref, &us));
    ray_release(ref);
    return us;
}

static void measure_pass(double seconds)
{
    start(1);
    unsigned char *bytes = bench_memory(OBJECT);
    bytes[OBJECT - 1] = 2;
    ray_ref *object = ray_put(bytes, OBJECT);
    (void)take(ray_remote(twice, 1)); /* the process is there */
    bench_emit("pass_100mb_first_us", pass_us(object));
    bench_emit("pass_100mb_us", bench_median(seconds, pass_us, object));
    ray_release(object);
    require(ray_shutdown());
}

/* ---- Processes: starting one, losing one, keeping them ---- */

/* From nothing: a node of threads, whose first task in a process this is. */
static void measure_start(double seconds)
{
    (void)seconds;
    require(ray_init(NULL));
    (void)take(ray_remote(twice, 1));
    double begin = bench_now();
    (void)take(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS), twice, 1));
    bench_emit("worker_start_ms", (bench_now() - begin) * 1e3);
    require(ray_shutdown());
}

/* Tells through the pipe at path which process it is, and stays; a second try returns. */
static RAY_REMOTE(int64_t, stay, (const char *, path))
{
    if (ray_context_get()->attempt > 0)
        return 1;
    int64_t pid = getpid();
    FILE *out = fopen(path, "w");
    if (!out || fwrite(&pid, sizeof pid, 1, out) != 1 || fclose(out) != 0)
        return ray_fail("%s: %s", path, strerror(errno));
    for (;;)
        pause();
}

static double crash_ms(void *arg)
{
    const int *ends = arg;
    char path[64];
    int64_t pid;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", getpid(), ends[1]);
    ray_ref *ref = ray_remote(stay, path);
    if (read(ends[0], &pid, sizeof pid) != sizeof pid)
        bench_fail("the pipe has ended");
    bench_nap(0.01); /* it has come to rest, and so has whoever starts processes ahead of demand */
    double begin = bench_now();
    kill((pid_t)pid, SIGKILL);
    if (take(ref) != 1)
        bench_fail("the retry: wrong result");
    return (bench_now() - begin) * 1e3;
}

static void measure_crash(double seconds)
{
    int ends[2];
    if (pipe(ends) != 0)
        bench_fail("pipe: %s", strerror(errno));
    start(WORKERS);
    bench_emit("crash_to_retry_ms", bench_median(seconds, crash_ms, ends));
    require(ray_shutdown());
}

static RAY_REMOTE(int64_t, process)
{
    return getpid();
}

static void measure_idle(double seconds)
{
    start(1);
    for (size_t i = 0; i < 100; i++)
        (void)take(ray_remote(twice, i));
    int64_t pid = take(ray_remote(process));
    bench_nap(seconds < 0.1 ? 0.1 : seconds);
    bench_emit("process_idle_pss_mb", bench_pss_mb_of((int)pid));
    require(ray_shutdown());
}

const struct bench_measure process_measures[] = {
    {"tasks_sync_process", measure_tasks_sync},
    {"tasks_async_process", measure_tasks_async},
    {"actor_sync_process", measure_actor_sync},
    {"actor_async_process", measure_actor_async},
    {"pass_100mb", measure_pass},
    {"worker_start", measure_start},
    {"crash", measure_crash},
    {"process_idle", measure_idle},
    {NULL, NULL},
};
