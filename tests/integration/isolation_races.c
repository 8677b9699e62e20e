/* What meets what is just being handed to a worker process: kills, cancels. Nothing is lost, and nobody is hit that was
 * not meant. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { TIME_MS = 2000, CALLERS = 3, BURST = 40 };

typedef struct common {
    atomic_int started, gate;
} common;

static common *shared(void)
{
    return check_shared();
}

static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, linger)
{
    while (!ray_cancelled())
        check_sleep_ms(1);
    return 0;
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell, (int64_t, n))
{
    self->n = n;
}
static RAY_METHOD(cell, int64_t, add, (int64_t, n))
{
    return self->n += n;
}

static int64_t end_ms;
static atomic_bool over;
static ray_actor *_Atomic actor;
static atomic_long num_calls, num_kills;

static void *call_and_get(void *arg)
{
    ray_ref *refs[BURST];
    (void)arg;
    while (!atomic_load(&over)) {
        for (int i = 0; i < BURST; i++)
            refs[i] = ray_call(atomic_load(&actor), cell_add, 1);
        for (int i = 0; i < BURST; i++) {
            int r = ray_get_timeout(refs[i], 20000 * check_slowness(), NULL);
            CHECK(r == 0 || r == RAY_ERR_ACTOR_DIED || r == RAY_ERR_ACTOR_UNAVAILABLE);
            ray_release(refs[i]);
        }
        atomic_fetch_add(&num_calls, BURST);
    }
    return NULL;
}

/* Each call ends, whatever it was doing when its actor's process was killed. */
static void calls_meet_kills(void)
{
    pthread_t callers[CALLERS];
    check_start_workers(2);
    end_ms = check_now_ms() + TIME_MS;
    actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1), cell, 1);
    for (int i = 0; i < CALLERS; i++)
        CHECK(pthread_create(&callers[i], NULL, call_and_get, NULL) == 0);
    while (check_now_ms() < end_ms || atomic_load(&num_kills) <= 20) { /* few a second where the machine is busy */
        CHECK_OK(ray_kill(actor, true));
        atomic_fetch_add(&num_kills, 1);
        check_sleep_ms(atomic_load(&num_kills) % 3);
    }
    atomic_store(&over, true);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(callers[i], NULL);
    ray_actor_release(actor);
    check_stop();
}

/* A task that is being handed over when it is cancelled ends all the same. */
static void cancels_meet_offers(void)
{
    ray_ref *refs[BURST];
    check_start_workers(2);
    end_ms = check_now_ms() + TIME_MS;
    for (int round = 0; check_now_ms() < end_ms; round++) {
        for (int i = 0; i < BURST; i++)
            refs[i] = ray_remote(linger);
        for (int i = 0; i < BURST; i++)
            CHECK_OK(ray_cancel(refs[i], 0));
        for (int i = 0; i < BURST; i++) {
            CHECK_CODE(ray_get_timeout(refs[i], 20000 * check_slowness(), NULL), RAY_ERR_CANCELLED);
            ray_release(refs[i]);
        }
    }
    check_stop();
}

/* What is being handed over when its placement group is removed ends with that reason, like the rest of it. */
static void removals_meet_offers(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    ray_ref *refs[8];
    check_start_workers(2);
    end_ms = check_now_ms() + TIME_MS;
    for (int round = 0; check_now_ms() < end_ms; round++) {
        ray_placement_group *group = ray_placement_group_new(bundles, 2, NULL);
        CHECK_REF_OK(ray_placement_group_ready(group));
        for (int i = 0; i < 8; i++)
            refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .group = group), linger);
        if (round % 2)
            check_sleep_ms(round % 5);
        CHECK_OK(ray_placement_group_remove(group));
        ray_placement_group_release(group);
        for (int i = 0; i < 8; i++) {
            CHECK_CODE(ray_get_timeout(refs[i], 20000 * check_slowness(), NULL), RAY_ERR_GROUP_REMOVED);
            ray_release(refs[i]);
        }
    }
    check_stop();
}

/* A cancel by force ends the process only while it runs that task. */
static void force_hits_nobody_else(void)
{
    ray_ref *refs[BURST];
    long hit = 0;
    check_start_workers(2);
    end_ms = check_now_ms() + TIME_MS;
    while (check_now_ms() < end_ms) {
        for (int i = 0; i < BURST; i++)
            refs[i] = ray_remote_opts(&once, twice, i);
        for (int i = 0; i < BURST; i += 4)
            CHECK_OK(ray_cancel(refs[i], RAY_CANCEL_FORCE));
        for (int i = 0; i < BURST; i++) {
            int r = ray_get_timeout(refs[i], 20000 * check_slowness(), NULL);
            CHECK(r == 0 || (r == RAY_ERR_CANCELLED && i % 4 == 0));
            hit += r != 0;
            ray_release(refs[i]);
        }
    }
    CHECK(hit > 0);
    check_stop();
}

static RAY_REMOTE(int64_t, add_many, (ray_actor *, other), (int64_t, count))
{
    ray_ref *refs[BURST];
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i += BURST) {
        for (int k = 0; k < BURST; k++)
            refs[k] = ray_call_opts(RAY_WITH(ray_task_options, .name = "add one"), other, cell_add, 1);
        for (int k = 0; k < BURST; k++) {
            CHECK_OK(ray_get(refs[k], &sum));
            ray_release(refs[k]);
        }
    }
    return sum;
}

/* A call may be over, and on record under its id, before the thread that submits it for its caller's process has gone
 * on: another thread waits for something and takes in the result meanwhile. */
static void calls_are_faster_than_their_submission(void)
{
    enum { COUNT = 2000 };
    ray_actor *cells[3];
    ray_ref *refs[2];
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .resources = "CPU=2", .isolation = RAY_ISOLATION_PROCESS, .timeline_tasks = 1000)));
    for (int i = 0; i < 3; i++) {
        cells[i] = ray_actor_new(cell, 0);
        CHECK_REF_OK(ray_actor_ready(cells[i]));
    }
    for (int i = 0; i < 2; i++)
        refs[i] = ray_remote(add_many, cells[i], COUNT);
    while (ray_wait(refs, 2, 2, 0, NULL) < 2)
        CHECK_REF_OK(ray_call(cells[2], cell_add, 1));
    for (int i = 0; i < 2; i++)
        CHECK_REF_INT(refs[i], COUNT);
    for (int i = 0; i < 3; i++)
        ray_actor_release(cells[i]);
    check_stop();
}

static RAY_METHOD(cell, int64_t, die)
{
    (void)self;
    raise(SIGKILL);
    return 0;
}

static RAY_METHOD(cell, int64_t, leave)
{
    CHECK_OK(ray_actor_exit());
    return self->n;
}
static RAY_METHOD(cell, int64_t, die_later, (int64_t, ms))
{
    atomic_store(&shared()->started, 1);
    CHECK_AWAIT(shared()->gate, 1);
    check_sleep_ms(ms);
    return cell_die(self);
}

/* A call that is under way when the actor has left, and then kills the process: there is no other life to come. */
static void calls_die_after_the_actor_has_left(void)
{
    check_start_workers(2);
    ray_actor *doomed = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_concurrency = 2), cell, 1);
    CHECK_REF_OK(ray_actor_ready(doomed));
    ray_ref *dies = ray_call(doomed, cell_die_later, 200);
    CHECK_AWAIT(shared()->started, 1);
    CHECK_REF_INT(ray_call(doomed, cell_leave), 1);
    atomic_store(&shared()->gate, 1);
    CHECK_CODE(ray_get_timeout(dies, 20000 * check_slowness(), NULL), RAY_ERR_ACTOR_DIED);
    ray_release(dies), ray_actor_release(doomed);
    check_stop();
}

/* Its process dies in a call while the actor ends, since nobody has a handle any more, or all is over. */
static void actors_die_while_they_end(void)
{
    for (int i = 0; i < 24; i++) {
        check_start_workers(2);
        ray_actor *doomed = ray_actor_new(cell, 1);
        CHECK_REF_OK(ray_actor_ready(doomed));
        ray_ref *ref = ray_call(doomed, cell_die);
        if (i % 3 != 0)
            ray_actor_release(doomed);
        check_sleep_ms(i % 8);
        if (i % 2)
            CHECK_CODE(ray_get_timeout(ref, 20000 * check_slowness(), NULL), RAY_ERR_ACTOR_DIED);
        ray_release(ref);
        if (i % 3 == 0)
            ray_actor_release(doomed);
        check_stop();
    }
}

CHECK_MAIN(CHECK_TEST(calls_meet_kills), CHECK_TEST_WITH(actors_die_while_they_end, CHECK_WARNINGS),
           CHECK_TEST_WITH(calls_die_after_the_actor_has_left, CHECK_WARNINGS),
           CHECK_TEST(calls_are_faster_than_their_submission), CHECK_TEST(cancels_meet_offers),
           CHECK_TEST(removals_meet_offers), CHECK_TEST(force_hits_nobody_else))
