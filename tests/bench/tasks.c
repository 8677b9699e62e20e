/* Tasks: one at a time, all at once, handed over, nested, queued, with many arguments, with many results. */
#include "themes.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

static ray_ref *refs[BENCH_BATCH];

static void measure_sync(double seconds)
{
    bench_emit("tasks_sync_thread", bench_rate(seconds, task_by_task, NULL));
}

static void measure_async(double seconds)
{
    bench_emit("tasks_async_thread", BENCH_BATCH * bench_rate(seconds, tasks_at_once, NULL));
}

/* The same with each run on record, as on nodes of raylaunch. */
static void measure_recorded(double seconds)
{
    require(ray_shutdown());
    require(ray_init(RAY_WITH(ray_config, .timeline_tasks = 65536)));
    bench_emit("tasks_async_recorded", BENCH_BATCH * bench_rate(seconds, tasks_at_once, NULL));
}

/* To another thread and back: the waiting one may not help. */

static void handoffs(size_t n, void *arg)
{
    for (size_t i = 0; i < n; i++)
        (void)take(ray_remote_opts(arg, twice, i));
}

static double handoff_us(void *arg)
{
    double start = bench_now();
    handoffs(1, arg);
    return (bench_now() - start) * 1e6;
}

static void measure_handoff(double seconds)
{
    bench_emit_sleepy("handoff_us", seconds, handoff_us, RAY_WITH(ray_task_options, .own_thread = true));
}

static void measure_handoff_spin(double seconds)
{
    ray_task_options *options = RAY_WITH(ray_task_options, .own_thread = true);
    bench_emit("handoff_spin_us", 1e6 / bench_rate(seconds, handoffs, options));
}

/* Fibonacci: each call is a task that waits for two more. How deep each thread's stack gets is watched on the way. */

static _Atomic size_t deepest;

static void watch_stack(void)
{
    static _Thread_local size_t top;
    size_t here = (size_t)__builtin_frame_address(0);
    if (!top) {
        pthread_attr_t attributes;
        void *lowest;
        size_t size;
        pthread_getattr_np(pthread_self(), &attributes);
        pthread_attr_getstack(&attributes, &lowest, &size);
        pthread_attr_destroy(&attributes);
        top = (size_t)lowest + size;
    }
    size_t seen = atomic_load_explicit(&deepest, memory_order_relaxed);
    while (top - here > seen && !atomic_compare_exchange_weak(&deepest, &seen, top - here))
        continue;
}

static RAY_REMOTE(int64_t, fib, (int64_t, n))
{
    watch_stack();
    if (n < 2)
        return n;
    ray_ref *a = ray_remote(fib, n - 1), *b = ray_remote(fib, n - 2);
    return take(a) + take(b);
}

static void fibs(size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (take(ray_remote(fib, BENCH_FIB)) != BENCH_FIB_RESULT)
            bench_fail("fib: wrong result");
    }
}

static void measure_fib(double seconds)
{
    bench_emit("tasks_nested_fib", (double)bench_fib_calls() * bench_rate(seconds, fibs, NULL));
    bench_emit("fib_stack_kb", (double)deepest / 1024);
}

/* A million tasks behind others that hold all CPUs until the gate opens. */

static sem_t entered, gate;

static void wait_quietly(sem_t *semaphore)
{
    while (sem_wait(semaphore) != 0)
        continue;
}

static RAY_REMOTE(int64_t, hold_cpu, (int64_t, x))
{
    sem_post(&entered);
    wait_quietly(&gate);
    return 2 * x;
}

static void close_gate(ray_ref **holders, size_t count)
{
    sem_init(&entered, 0, 0);
    sem_init(&gate, 0, 0);
    for (size_t i = 0; i < count; i++)
        holders[i] = ray_remote_opts(RAY_WITH(ray_task_options, .own_thread = true), hold_cpu, i);
    for (size_t i = 0; i < count; i++)
        wait_quietly(&entered);
}

static void open_gate(ray_ref *const *holders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sem_post(&gate);
    take_all(holders, count);
}

static void measure_queued(double seconds)
{
    (void)seconds;
    size_t cpus = bench_num_cpus();
    ray_ref **holders = bench_memory(cpus * sizeof *holders), **many = bench_memory(BENCH_MILLION * sizeof *many);
    tasks_at_once(1, NULL);
    close_gate(holders, cpus);
    double rss = bench_rss_bytes(), start = bench_now();
    for (size_t i = 0; i < BENCH_MILLION; i++)
        many[i] = ray_remote(twice, i);
    double submitted = bench_now(), bytes = bench_rss_bytes() - rss, opened = bench_now();
    open_gate(holders, cpus);
    take_all(many, BENCH_MILLION);
    bench_emit("queued_1m_s", bench_now() - opened + submitted - start);
    bench_emit("queued_bytes_per_task", bytes / BENCH_MILLION);
}

/* Many arguments, many results. */

static void sum_all(ray_frame *frame)
{
    int64_t sum = 0;
    for (size_t i = 0; i < frame->num_args; i++)
        sum += *(const int64_t *)frame->args[i].data;
    *(int64_t *)frame->result.data = sum;
}

static ray_function sum_function = {
    .size = sizeof sum_function, .name = "sum_all", .signature = "int64_t(int64_t...)", .call = sum_all};

static double args_10k_ms(void *arg)
{
    double start = bench_now();
    int64_t sum = take(ray_submit(&sum_function, arg, BENCH_BATCH, NULL));
    if (sum != (int64_t)BENCH_BATCH * (BENCH_BATCH - 1) / 2)
        bench_fail("sum of arguments: wrong result");
    return (bench_now() - start) * 1e3;
}

static void measure_args(double seconds)
{
    static ray_value values[BENCH_BATCH];
    require(ray_register(&sum_function));
    for (int64_t i = 0; i < BENCH_BATCH; i++) {
        refs[i] = ray_put(&i, sizeof i);
        values[i] = RAY_VALUE(&refs[i]);
    }
    bench_emit("args_10k_ms", bench_median(seconds, args_10k_ms, values));
    for (size_t i = 0; i < BENCH_BATCH; i++)
        ray_release(refs[i]);
}

static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++) {
        if (ray_yield(&i) != 0)
            return;
    }
}

static double returns_3k_ms(void *arg)
{
    (void)arg;
    double start = bench_now();
    ray_ref *stream = ray_remote(count_to, 3000);
    for (int64_t i = 0; i < 3000; i++) {
        if (take(ray_next(stream)) != i)
            bench_fail("item %lld: wrong result", (long long)i);
    }
    ray_release(stream);
    return (bench_now() - start) * 1e3;
}

static void measure_returns(double seconds)
{
    bench_emit("returns_3k_ms", bench_median(seconds, returns_3k_ms, NULL));
}

const struct bench_measure task_measures[] = {
    {"tasks_sync", measure_sync},
    {"tasks_async", measure_async},
    {"handoff", measure_handoff},
    {"fib", measure_fib},
    {"queued", measure_queued},
    {"handoff_spin", measure_handoff_spin},
    {"args", measure_args},
    {"returns", measure_returns},
    {"tasks_recorded", measure_recorded},
    {NULL, NULL},
};
