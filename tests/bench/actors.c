/* Actors: calls one at a time and all at once, and many actors. */
#include "themes.h"

typedef struct tally {
    int64_t calls;
} tally;
static RAY_ACTOR(tally, (int64_t, start))
{
    self->calls = start;
}
static RAY_METHOD(tally, int64_t, twice, (int64_t, x))
{
    self->calls++;
    return 2 * x;
}

static ray_ref *refs[BENCH_BATCH];

static void one_at_a_time(size_t n, void *arg)
{
    for (size_t i = 0; i < n; i++) {
        if (take(ray_call(arg, tally_twice, i)) != 2 * (int64_t)i)
            bench_fail("call %zu: wrong result", i);
    }
}

static void measure_sync(double seconds)
{
    ray_actor *actor = ray_actor_new(tally, 0);
    bench_emit("actor_sync_thread", bench_rate(seconds, one_at_a_time, actor));
    ray_actor_release(actor);
}

static void all_at_once(size_t n, void *arg)
{
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < BENCH_BATCH; i++)
            refs[i] = ray_call(arg, tally_twice, i);
        take_all(refs, BENCH_BATCH);
    }
}

static void measure_async(double seconds)
{
    ray_actor *actor = ray_actor_new(tally, 0);
    bench_emit("actor_async_thread", BENCH_BATCH * bench_rate(seconds, all_at_once, actor));
    ray_actor_release(actor);
}

/* Ten thousand actors that are all alive, and the first call of each. */
static void actors(size_t n, void *arg)
{
    ray_actor **all = arg;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < BENCH_BATCH; i++) {
            all[i] = ray_actor_new(tally, 0);
            refs[i] = ray_call(all[i], tally_twice, i);
        }
        take_all(refs, BENCH_BATCH);
        for (size_t i = 0; i < BENCH_BATCH; i++)
            ray_actor_release(all[i]);
    }
}

static void measure_actors(double seconds)
{
    static ray_actor *all[BENCH_BATCH];
    bench_emit("actors_10k_per_s", BENCH_BATCH * bench_rate(seconds, actors, all));
}

const struct bench_measure actor_measures[] = {
    {"actor_sync", measure_sync},
    {"actor_async", measure_async},
    {"actors", measure_actors},
    {NULL, NULL},
};
