/* The program that measures libray. */
#include "themes.h"

void require(int code)
{
    if (code != 0)
        bench_fail("%s: %s", ray_error_name(code), ray_last_error()->message);
}

int64_t take(ray_ref *ref)
{
    int64_t value;
    require(ray_get(ref, &value));
    ray_release(ref);
    return value;
}

void take_all(ray_ref *const *refs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (take(refs[i]) != 2 * (int64_t)i)
            bench_fail("task %zu: wrong result", i);
    }
}

RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}

int main(int argc, char **argv)
{
    double seconds = bench_seconds(argc, argv);
    if (bench_run(start_measures, argv[1], seconds))
        return 0;
    require(ray_init(NULL));
    if (!bench_run(task_measures, argv[1], seconds) && !bench_run(actor_measures, argv[1], seconds) &&
        !bench_run(object_measures, argv[1], seconds))
        bench_fail("%s: no such measure", argv[1]);
    require(ray_shutdown());
    return 0;
}
