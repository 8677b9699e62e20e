/* Actors: calls one at a time and all at once, and many actors. */
#include "themes.h"

static ray_ref *refs[BENCH_BATCH];

static void measure_sync(double seconds)
{
    ray_actor *actor = ray_actor_new(tally, 0);
    bench_emit("actor_sync_thread", bench_rate(seconds, call_by_call, actor));
    ray_actor_release(actor);
}

static void measure_async(double seconds)
{
    ray_actor *actor = ray_actor_new(tally, 0);
    bench_emit("actor_async_thread", BENCH_BATCH * bench_rate(seconds, calls_at_once, actor));
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
