/* Objects: small, large, viewed, waited for. */
#include "themes.h"

static void put_small(size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++)
        ray_release(ray_put(&i, sizeof i));
}

static void measure_put(double seconds)
{
    bench_emit("put_small", bench_rate(seconds, put_small, NULL));
}

static void get_small(size_t n, void *arg)
{
    int64_t value;
    for (size_t i = 0; i < n; i++)
        require(ray_get(arg, &value));
}

static void measure_get(double seconds)
{
    int64_t value = 42;
    ray_ref *ref = ray_put(&value, sizeof value);
    bench_emit("get_small", bench_rate(seconds, get_small, ref));
    ray_release(ref);
}

static double get_10k_ms(void *arg)
{
    ray_ref **refs = arg;
    double start = bench_now();
    for (int64_t i = 0, value; i < BENCH_BATCH; i++) {
        require(ray_get(refs[i], &value));
        if (value != i)
            bench_fail("object %lld: wrong value", (long long)i);
    }
    return (bench_now() - start) * 1e3;
}

static void measure_get_10k(double seconds)
{
    static ray_ref *refs[BENCH_BATCH];
    for (int64_t i = 0; i < BENCH_BATCH; i++)
        refs[i] = ray_put(&i, sizeof i);
    bench_emit("get_10k_ms", bench_median(seconds, get_10k_ms, refs));
    for (size_t i = 0; i < BENCH_BATCH; i++)
        ray_release(refs[i]);
}

/* Large objects: of 64 MiB; 16 of them are 1 GiB. */

static double put_gib_s(void *arg)
{
    double start = bench_now();
    for (int i = 0; i < 16; i++) {
        ray_ref *ref = ray_put(arg, BENCH_LARGE);
        require(ray_get(ref, NULL));
        ray_release(ref);
    }
    return 1 / (bench_now() - start);
}

static void measure_put_large(double seconds)
{
    bench_emit("put_large_gib_s", bench_median(seconds, put_gib_s, bench_memory(BENCH_LARGE)));
}

static void create_seal(size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        ray_buffer *buffer = ray_create(BENCH_LARGE);
        if (!buffer)
            require(ray_last_error()->code);
        else
            ray_release(ray_seal(buffer));
    }
}

static void view(size_t n, void *arg)
{
    for (size_t i = 0; i < n; i++) {
        ray_view bytes;
        require(ray_get(arg, &bytes));
        if (bytes.size != BENCH_LARGE)
            bench_fail("a view of the wrong size");
        ray_view_release(&bytes);
    }
}

static void measure_view(double seconds)
{
    ray_ref *ref = ray_put(bench_memory(BENCH_LARGE), BENCH_LARGE);
    bench_emit("get_view_us", 1e6 / bench_rate(seconds, view, ref));
    ray_release(ref);
}

static void measure_create(double seconds)
{
    ray_release(ray_put(bench_memory(BENCH_LARGE), BENCH_LARGE)); /* warms the memory */
    bench_emit("create_seal_large_us", 1e6 / bench_rate(seconds, create_seal, NULL));
}

/* A round: 1,000 tasks are submitted, then taken out one by one as they get done. */

static void rounds_of_waits(size_t n, void *arg)
{
    ray_ref **refs = arg;
    bool ready[1000];
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < 1000; i++)
            refs[i] = ray_remote(twice, i);
        for (size_t left = 1000; left > 0; left--) {
            size_t i = 0;
            if (ray_wait(refs, left, 1, RAY_FOREVER, ready) < 1)
                require(ray_last_error()->code);
            while (!ready[i])
                i++;
            ray_release(refs[i]);
            refs[i] = refs[left - 1];
        }
    }
}

static void measure_wait(double seconds)
{
    ray_ref *refs[1000];
    bench_emit("wait_1k_per_s", bench_rate(seconds, rounds_of_waits, refs));
}

const struct bench_measure object_measures[] = {
    {"put_small", measure_put},   {"get_small", measure_get},
    {"get_10k", measure_get_10k}, {"put_large", measure_put_large},
    {"large", measure_create},    {"wait", measure_wait},
    {"view", measure_view},       {NULL, NULL},
};
