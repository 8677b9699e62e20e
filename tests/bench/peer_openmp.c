/* OpenMP tasks, under the names of the figures they stand beside. */
#include "bench.h"

static int64_t twice(int64_t x)
{
    return 2 * x;
}

static int64_t (*volatile unknown)(int64_t x) = twice; /* so that no compiler inlines the call */

static void check(size_t i, int64_t result)
{
    if (result != 2 * (int64_t)i)
        bench_fail("task %zu: wrong result", i);
}

static void one_at_a_time(size_t n, void *arg)
{
    (void)arg;
#pragma omp parallel
#pragma omp single
    for (size_t i = 0; i < n; i++) {
        int64_t result = 0;
#pragma omp task shared(result)
        result = unknown((int64_t)i);
#pragma omp taskwait
        check(i, result);
    }
}

static void all_at_once(size_t n, void *arg)
{
    static int64_t results[BENCH_BATCH];
    (void)arg;
#pragma omp parallel
#pragma omp single
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < BENCH_BATCH; i++) {
#pragma omp task shared(results)
            results[i] = unknown((int64_t)i);
        }
#pragma omp taskwait
        for (size_t i = 0; i < BENCH_BATCH; i++)
            check(i, results[i]);
    }
}

static int64_t fib(int64_t n)
{
    if (n < 2)
        return n;
    int64_t a, b;
#pragma omp task shared(a)
    a = fib(n - 1);
#pragma omp task shared(b)
    b = fib(n - 2);
#pragma omp taskwait
    return a + b;
}

static void fibs(size_t n, void *arg)
{
    (void)arg;
#pragma omp parallel
#pragma omp single
    for (size_t i = 0; i < n; i++) {
        if (fib(BENCH_FIB) != BENCH_FIB_RESULT)
            bench_fail("fib: wrong result");
    }
}

static void measure_init(double seconds)
{
    (void)seconds;
    double start = bench_now();
    one_at_a_time(5, NULL);
    bench_emit("init_local_ms", (bench_now() - start) * 1e3);
}

static void measure_sync(double seconds)
{
    bench_emit("tasks_sync_thread", bench_rate(seconds, one_at_a_time, NULL));
}

static void measure_async(double seconds)
{
    bench_emit("tasks_async_thread", BENCH_BATCH * bench_rate(seconds, all_at_once, NULL));
}

static void measure_fib(double seconds)
{
    bench_emit("tasks_nested_fib", (double)bench_fib_calls() * bench_rate(seconds, fibs, NULL));
}

int main(int argc, char **argv)
{
    static const struct bench_measure measures[] = {
        {"init", measure_init}, {"tasks_sync", measure_sync}, {"tasks_async", measure_async}, {"fib", measure_fib},
        {NULL, NULL},
    };
    return bench_main(argc, argv, measures);
}
