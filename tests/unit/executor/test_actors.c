/* A visit to each actor, from which others go meanwhile. */
#include "api/api.h"
#include "executor/actor.h"

#include <criterion/criterion.h>

enum { AT_ONCE = 64, ACTORS = 150 }; /* so many are counted at once; and more than twice as many */

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell)
{
    self->n = 0;
}
static RAY_METHOD(cell, int64_t, count)
{
    return ++self->n;
}

static ray_actor *actors[ACTORS];
static unsigned visits[ACTORS], visited;

static void count_one(void *out, ray_actor *actor)
{
    (void)actor;
    ++*(unsigned *)out;
}

static unsigned count_all(rayi_thread *thread)
{
    unsigned count = 0;

    rayi_actors_for_each(rayi_executor_of(thread), count_one, &count);
    return count;
}

/* When those that were counted together have been visited all are gone but the last, which the visit holds. */
static void let_go(rayi_thread *thread, ray_actor *actor, void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ACTORS; i++) {
        if (actors[i] != actor)
            continue;
        visits[i]++;
        actors[i] = NULL;
        ray_actor_release(actor);
    }
    visited++;
    for (int tries = 0; visited % AT_ONCE == 0 && count_all(thread) > ACTORS - visited + 1 && tries < 10000; tries++)
        rayi_nap_ms(1);
}

Test(actors, are_visited_once_each_though_they_go)
{
    cr_assert_eq(ray_init(RAY_WITH(ray_config, .num_threads = 2)), 0);
    for (unsigned i = 0; i < ACTORS; i++) {
        int64_t n = 0;
        actors[i] = ray_actor_new(cell);
        ray_ref *ref = ray_call(actors[i], cell_count);
        cr_assert_eq(ray_get(ref, &n), 0);
        ray_release(ref);
    }
    rayi_actors_visit(rayi_enter(), let_go, NULL);
    for (unsigned i = 0; i < ACTORS; i++)
        cr_expect_eq(visits[i], 1, "%u: %u", i, visits[i]);
    cr_assert_eq(ray_shutdown(), 0);
}
