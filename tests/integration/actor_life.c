/* The life of an actor: names, how it ends and what runs then, restarts, constructors that fail. */
#include "check.h"

#include <stdatomic.h>

static atomic_int started, gate, finis, constructed;

typedef struct counter {
    int64_t n;
} counter;
static RAY_ACTOR(counter, (int64_t, start))
{
    atomic_fetch_add(&constructed, 1);
    self->n = start;
}
static RAY_METHOD(counter, void, fini)
{
    atomic_fetch_add(&finis, self->n > 0 ? 1 : 100);
}
static RAY_METHOD(counter, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
static RAY_METHOD(counter, int64_t, restarts)
{
    (void)self;
    return ray_context_get()->restarts;
}
static RAY_METHOD(counter, int64_t, leave, (int64_t, n))
{
    CHECK_OK(ray_actor_exit());
    return self->n + n;
}
static RAY_METHOD(counter, int64_t, pass_gate, (int64_t, nth))
{
    atomic_fetch_add(&started, 1);
    CHECK_AWAIT(gate, (int)nth);
    return self->n;
}
static RAY_METHOD(counter, int64_t, until_cancelled)
{
    (void)self;
    atomic_fetch_add(&started, 1);
    int64_t end = check_now_ms() + 60000;
    while (!ray_cancelled() && atomic_load(&gate) == 0)
        CHECK(check_now_ms() < end);
    return 0;
}

static ray_actor *named(const char *name)
{
    return ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = name), counter, 1);
}

/* ---- names ---- */

static void names(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .ns = "home")));
    CHECK(!ray_actor_get("nobody"));
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    CHECK_HAS(ray_last_error()->message, "nobody");
    ray_actor *visits = named("visits"), *away = named("away/visits"), *found = ray_actor_get("visits");
    CHECK(found); /* at once, started or not */
    CHECK_STR(ray_actor_id(found), ray_actor_id(visits));
    ray_actor_release(found);
    found = ray_actor_get("home/visits");
    CHECK(found);
    CHECK_STR(ray_actor_id(found), ray_actor_id(visits));
    ray_actor_release(found);
    found = ray_actor_get("away/visits");
    CHECK(found);
    CHECK_STR(ray_actor_id(found), ray_actor_id(away));
    ray_actor_release(found), ray_actor_release(away);

    ray_actor *taken = named("visits"); /* its calls fail */
    CHECK_REF(ray_call(taken, counter_add, 1), RAY_ERR_EXISTS);
    CHECK_REF(ray_actor_ready(taken), RAY_ERR_EXISTS);
    ray_actor_release(taken);
    ray_actor *same =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "visits", .get_if_exists = true), counter, 50);
    CHECK_STR(ray_actor_id(same), ray_actor_id(visits));
    CHECK_REF_INT(ray_call(same, counter_add, 1), 2);
    CHECK_OK(ray_kill(visits, false));
    ray_actor_release(same), ray_actor_release(visits);
    visits = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "visits", .get_if_exists = true), counter, 50);
    CHECK_REF_INT(ray_call(visits, counter_add, 1), 51); /* the name was free again */
    ray_actor_release(visits);
    for (int tries = 0; (found = ray_actor_get("visits")) != NULL; tries++) { /* and is so after the last release */
        ray_actor_release(found);
        CHECK(tries < 5000);
        check_sleep_ms(1);
    }
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    check_stop();
}

static void namespaces_of_jobs(void)
{
    check_start(1);
    ray_actor *actor = named("visits"), *found = ray_actor_get("visits");
    CHECK(found);
    ray_actor_release(found), ray_actor_release(actor);
    actor = named("/");
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ARGUMENT);
    ray_actor_release(actor);
    check_stop();
}

static void detached_actors(void)
{
    check_start(1);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .detached = true), counter, 1);
    CHECK_REF(ray_actor_ready(actor), RAY_ERR_ARGUMENT); /* it needs a name */
    ray_actor_release(actor);
    actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "stays", .detached = true), counter, 1);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 2);
    ray_actor_release(actor);
    check_sleep_ms(20);
    actor = ray_actor_get("stays");
    CHECK(actor);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 3);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&finis), 1); /* with the cluster, which was this process */
}

/* ---- ends ---- */

static void release_ends_it(void)
{
    check_start(1);
    ray_actor *actor = ray_actor_new(counter, 1);
    ray_ref *last = NULL;
    for (int i = 0; i < 20; i++) {
        ray_release(last);
        last = ray_call(actor, counter_add, 1);
    }
    ray_actor_release(actor); /* after the calls that are queued */
    CHECK_REF_INT(last, 21);
    CHECK_AWAIT(finis, 1);
    actor = ray_actor_new(counter, 1); /* never called */
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&finis), atomic_load(&constructed));
}

static void shutdown_ends_it(void)
{
    check_start(1);
    ray_actor *actor = ray_actor_new(counter, 1);
    CHECK_REF_OK(ray_actor_ready(actor));
    check_stop();
    CHECK_INT(atomic_load(&finis), 1);
    ray_actor_release(actor);
    CHECK_INT(atomic_load(&finis), 1);
}

static void exit_ends_it(void)
{
    check_start(1);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1), counter, 1);
    ray_ref *left = ray_call(actor, counter_leave, 4), *after = ray_call(actor, counter_add, 1);
    CHECK_REF_INT(left, 5); /* its result counts */
    CHECK_REF(after, RAY_ERR_ACTOR_DIED);
    CHECK_AWAIT(finis, 1);
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ACTOR_DIED);
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ACTOR_DIED);
    CHECK_INT(atomic_load(&constructed), 1); /* for good: no restart */
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&finis), 1);
}

static void kill_ends_it(void)
{
    check_start(2);
    ray_actor *actor = named("victim");
    ray_ref *under_way = ray_call(actor, counter_until_cancelled), *queued = ray_call(actor, counter_add, 1);
    CHECK_AWAIT(started, 1);
    CHECK_OK(ray_kill(actor, false));
    CHECK_REF(under_way, RAY_ERR_ACTOR_DIED); /* at once */
    CHECK_CODE(ray_get(queued, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "kill");
    ray_release(queued);
    CHECK(!ray_actor_get("victim"));
    CHECK_OK(ray_kill(actor, false)); /* again: nothing more */
    CHECK_REF(ray_actor_ready(actor), RAY_ERR_ACTOR_DIED);
    atomic_store(&gate, 1);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&finis), 0); /* no fini */
}

static void kill_before_it_has_started(void)
{
    check_start(1);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .resources = "unobtainium=1"), counter, 1);
    ray_ref *call = ray_call(actor, counter_add, 1);
    CHECK_CODE(ray_get_timeout(call, 20, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_kill(actor, false));
    CHECK_REF(call, RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .resources = "unobtainium=1"), counter, 1);
    ray_actor_release(actor); /* never placed, let go of */
    check_stop();
    CHECK_INT(atomic_load(&constructed), 0);
}

static void calls_keep_it_alive(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new(counter, 1);
    ray_ref *slow = ray_call(actor, counter_pass_gate, 1), *after = ray_call(actor, counter_add, slow);
    CHECK_AWAIT(started, 1);
    ray_actor_release(actor);
    atomic_store(&gate, 1);
    CHECK_REF_INT(after, 2);
    CHECK_REF_INT(slow, 1);
    CHECK_AWAIT(finis, 1);
    check_stop();
}

/* ---- restarts ---- */

static void restarts(void)
{
    check_start(2);
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "phoenix", .max_restarts = 2), counter, 10);
    for (int64_t life = 0; life < 3; life++) {
        CHECK_REF_INT(ray_call(actor, counter_add, 1), 11); /* the same arguments, a fresh state */
        CHECK_REF_INT(ray_call(actor, counter_restarts), life);
        CHECK_OK(ray_kill(actor, true));
        ray_actor *found = ray_actor_get("phoenix");
        CHECK(life < 2 ? found != NULL : !found);
        ray_actor_release(found);
    }
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ACTOR_DIED); /* used up */
    ray_actor_release(actor);
    actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1), counter, 10);
    for (int i = 0; i < 20; i++)
        CHECK_OK(ray_kill(actor, true));
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 11);
    CHECK_OK(ray_kill(actor, false)); /* this one is final */
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&finis), 0);
}

/* Calls that were under way when it died fail, or run again if the actor or the call says so. */
static void calls_under_way_at_a_restart(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 1), counter, 5);
    ray_ref *under_way = ray_call(actor, counter_until_cancelled);
    CHECK_AWAIT(started, 1);
    CHECK_OK(ray_kill(actor, true));
    int r = ray_get(under_way, NULL);
    CHECK(r == RAY_ERR_ACTOR_DIED || r == RAY_ERR_ACTOR_UNAVAILABLE); /* it may have run */
    ray_release(under_way);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 6);
    ray_actor_release(actor);

    actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 1, .max_task_retries = 1), counter, 5);
    under_way = ray_call(actor, counter_pass_gate, 1);
    ray_ref *queued = ray_call(actor, counter_add, 1);
    CHECK_AWAIT(started, 2);
    CHECK_OK(ray_kill(actor, true));
    CHECK_AWAIT(started, 3); /* once more, in the second life */
    atomic_store(&gate, 1);
    CHECK_REF_INT(under_way, 5);
    CHECK_REF_INT(queued, 6);
    ray_actor_release(actor);
    check_stop();
}

/* ---- constructors ---- */

typedef struct fussy {
    int64_t n;
} fussy;
static RAY_ACTOR(fussy, (int64_t, n))
{
    self->n = n;
    atomic_fetch_add(&constructed, 1);
    if (n < 0)
        ray_fail("negative: %lld", (long long)n);
}
static RAY_METHOD(fussy, int64_t, value)
{
    return self->n;
}
static RAY_METHOD(fussy, void, fini)
{
    atomic_fetch_add(&finis, self->n < 0 ? 100 : 1);
}

static void constructor_that_fails(void)
{
    check_start(1);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "fussy"), fussy, -1);
    ray_ref *ref = ray_call(actor, fussy_value);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "negative: -1");
    ray_release(ref);
    ref = ray_actor_ready(actor);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "negative: -1");
    ray_release(ref);
    CHECK_REF(ray_call(actor, fussy_value), RAY_ERR_ACTOR_DIED);
    CHECK(!ray_actor_get("fussy"));
    ray_actor_release(actor);
    actor = ray_actor_new(fussy, (ray_ref *)NULL); /* the argument's error */
    CHECK_REF(ray_call(actor, fussy_value), RAY_ERR_ARGUMENT);
    ray_actor_release(actor);
    actor = ray_actor_new(fussy, 3);
    CHECK_REF_INT(ray_call(actor, fussy_value), 3);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&finis), 1); /* only of the one that lived */
    CHECK_INT(atomic_load(&constructed), 2);
}

typedef struct quitter {
    int64_t n;
} quitter;
static RAY_ACTOR(quitter)
{
    self->n = 0;
}
static RAY_METHOD(quitter, int64_t, fail_and_leave)
{
    self->n++;
    CHECK_OK(ray_actor_exit());
    return ray_fail("and out");
}

static void failing_and_leaving(void)
{
    check_start(1);
    ray_actor *actor = ray_actor_new(quitter);
    CHECK_REF(ray_call(actor, quitter_fail_and_leave), RAY_ERR_TASK_FAILED);
    CHECK_REF(ray_call(actor, quitter_fail_and_leave), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    check_stop();
}

static void identity(void)
{
    check_start(1);
    ray_actor *a = ray_actor_new(counter, 1), *b = ray_actor_new(counter, 1);
    const char *id = ray_actor_id(a);
    CHECK(id && strlen(id) >= 16 && strspn(id, "0123456789abcdef") == strlen(id));
    CHECK(strcmp(id, ray_actor_id(b)) != 0);
    ray_actor_release(b);
    CHECK_STR(ray_actor_id(a), id);
    ray_actor_release(a);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(names), CHECK_TEST(namespaces_of_jobs), CHECK_TEST(detached_actors), CHECK_TEST(release_ends_it),
           CHECK_TEST(shutdown_ends_it), CHECK_TEST(exit_ends_it), CHECK_TEST(kill_ends_it),
           CHECK_TEST(kill_before_it_has_started), CHECK_TEST(calls_keep_it_alive), CHECK_TEST(restarts),
           CHECK_TEST(calls_under_way_at_a_restart), CHECK_TEST(constructor_that_fails),
           CHECK_TEST(failing_and_leaving), CHECK_TEST(identity))
