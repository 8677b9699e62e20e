/* The task, the actor and the loops over them that several themes measure, on this side of a border or the other. */
#include "themes.h"

RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}

RAY_ACTOR(tally, (int64_t, start))
{
    self->calls = start;
}
RAY_METHOD(tally, int64_t, twice, (int64_t, x))
{
    self->calls++;
    return 2 * x;
}

static ray_ref *refs[BENCH_BATCH];

void take_all(ray_ref *const *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (take(all[i]) != 2 * (int64_t)i)
            bench_fail("task %zu: wrong result", i);
    }
}

void task_by_task(size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (take(ray_remote(twice, i)) != 2 * (int64_t)i)
            bench_fail("task %zu: wrong result", i);
    }
}

void tasks_at_once(size_t n, void *arg)
{
    (void)arg;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < BENCH_BATCH; i++)
            refs[i] = ray_remote(twice, i);
        take_all(refs, BENCH_BATCH);
    }
}

void call_by_call(size_t n, void *arg)
{
    for (size_t i = 0; i < n; i++) {
        if (take(ray_call(arg, tally_twice, i)) != 2 * (int64_t)i)
            bench_fail("call %zu: wrong result", i);
    }
}

void calls_at_once(size_t n, void *arg)
{
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < BENCH_BATCH; i++)
            refs[i] = ray_call(arg, tally_twice, i);
        take_all(refs, BENCH_BATCH);
    }
}
