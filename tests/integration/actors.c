/* Actors while they live: order of calls, concurrency, handles, streams, limits, resources. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_int started, running, most, gate;

typedef struct counter {
    int64_t n;
} counter;
static RAY_ACTOR(counter, (int64_t, start))
{
    self->n = start;
}
static RAY_METHOD(counter, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
static RAY_METHOD(counter, ray_stream(int64_t), upto)
{
    for (int64_t i = 0; i < self->n; i++)
        if (ray_yield(&i) != 0)
            return;
}
static RAY_METHOD(counter, int64_t, fail)
{
    self->n++;
    return ray_fail("number %lld", (long long)self->n);
}
static RAY_METHOD(counter, int64_t, pass_gate, (int64_t, nth))
{
    atomic_fetch_add(&started, 1);
    CHECK_AWAIT(gate, (int)nth);
    return self->n;
}
static RAY_METHOD(counter, void, open_gate, (int64_t, nth))
{
    (void)self;
    atomic_store(&gate, (int)nth);
}
static RAY_METHOD(counter, ray_actor *, me)
{
    (void)self;
    return ray_actor_self();
}
/* Notes how many of it run at once. Waits until so many do, and then a little, so that one too many would be seen. */
static RAY_METHOD(counter, void, crowd, (int64_t, want))
{
    (void)self;
    int now = atomic_fetch_add(&running, 1) + 1, seen = atomic_load(&most);
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
        continue;
    CHECK_AWAIT(most, (int)want);
    check_sleep_ms(20);
    atomic_fetch_sub(&running, 1);
}

typedef struct list {
    int count;
    int items[64];
} list;
static RAY_ACTOR(list)
{
    self->count = 0;
}
static RAY_METHOD(list, int64_t, append, (int64_t, item))
{
    self->items[self->count++] = (int)item;
    return self->count;
}
static RAY_METHOD(list, int64_t, at, (int64_t, i))
{
    return self->items[i];
}

static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    CHECK_AWAIT(gate, (int)nth);
    return nth;
}
static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}

static void calls_in_order(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new(counter, 100);
    CHECK(actor);
    ray_ref *refs[500];
    for (int i = 0; i < 500; i++)
        refs[i] = ray_call(actor, counter_add, 1);
    for (int i = 0; i < 500; i++)
        CHECK_REF_INT(refs[i], 101 + i);
    for (int i = 0; i < 500; i++)
        ray_release(ray_call(actor, counter_add, 1));
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 1100);
    ray_actor_release(actor);
    check_stop();
}

/* A call that waits for its argument is not overtaken by later ones of the same caller. */
static void calls_wait_for_their_refs(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new(list);
    ray_ref *late = ray_remote(pass_gate, 1);
    ray_ref *first = ray_call(actor, list_append, late), *second = ray_call(actor, list_append, 2);
    ray_ref *third = ray_call(actor, list_append, second);
    CHECK_CODE(ray_get_timeout(second, 30, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&gate, 1);
    CHECK_REF_INT(third, 3);
    static const int want[] = {1, 2, 2};
    for (int i = 0; i < 3; i++)
        CHECK_REF_INT(ray_call(actor, list_at, i), want[i]);
    ray_release(late), ray_release(first), ray_release(second);
    ray_actor_release(actor);
    check_stop();
}

static void *call_once(void *actor)
{
    CHECK_REF_OK(ray_call(actor, list_append, 7));
    return NULL;
}

/* The order is that of each caller: another thread's call does not wait. */
static void callers_do_not_wait_for_each_other(void)
{
    pthread_t thread;
    check_start(2);
    ray_actor *actor = ray_actor_new(list);
    ray_ref *late = ray_remote(pass_gate, 1), *mine = ray_call(actor, list_append, late);
    CHECK(pthread_create(&thread, NULL, call_once, actor) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    atomic_store(&gate, 1);
    CHECK_REF_INT(mine, 2);
    ray_release(late);
    ray_actor_release(actor);
    check_stop();
}

static void constructor_waits_for_its_refs(void)
{
    check_start(2);
    ray_ref *late = ray_remote(pass_gate, 1);
    ray_actor *actor = ray_actor_new(counter, late);
    ray_ref *call = ray_call(actor, counter_add, 10), *ready = ray_actor_ready(actor);
    CHECK_CODE(ray_get_timeout(ready, 20, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&gate, 1);
    CHECK_REF_INT(call, 11);
    CHECK_REF_OK(ready);
    ray_release(late);
    ray_actor_release(actor);
    check_stop();
}

static void *add_many(void *actor)
{
    for (int i = 0; i < 1000; i++)
        ray_release(ray_call(actor, counter_add, 1));
    return NULL;
}

static void one_call_at_a_time(void)
{
    pthread_t threads[4];
    check_start(2);
    ray_actor *actor = ray_actor_new(counter, 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, add_many, actor) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 4000); /* all of them were queued before this one */
    ray_actor_release(actor);
    check_stop();
}

static void max_concurrency(void)
{
    check_start(2);
    for (uint32_t at_once = 1; at_once <= 4; at_once += 3) {
        atomic_store(&most, 0);
        ray_ref *refs[12];
        ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_concurrency = at_once), counter, 0);
        for (int i = 0; i < 12; i++)
            refs[i] = ray_call(actor, counter_crowd, at_once);
        for (int i = 0; i < 12; i++)
            CHECK_REF_OK(refs[i]);
        CHECK_INT(atomic_load(&most), at_once);
        ray_actor_release(actor);
    }
    check_stop();
}

/* However alone the first one was when it was taken up. */
static void a_call_waits_for_a_later_one(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_concurrency = 2), counter, 5);
    CHECK_REF_OK(ray_actor_ready(actor));
    for (int i = 1; i <= 20; i++) {
        ray_ref *waits = ray_call(actor, counter_pass_gate, i);
        CHECK_AWAIT(started, i);
        check_sleep_ms(i % 3);
        CHECK_REF_OK(ray_call(actor, counter_open_gate, i));
        CHECK_REF_INT(waits, 5);
    }
    ray_actor_release(actor);
    check_stop();
}

static void max_pending_calls(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_pending_calls = 3), counter, 7);
    CHECK_REF_OK(ray_actor_ready(actor));
    ray_ref *first = ray_call(actor, counter_pass_gate, 1), *refs[10];
    CHECK_AWAIT(started, 1);
    int busy = 0;
    for (int i = 0; i < 10; i++)
        refs[i] = ray_call(actor, counter_add, 1);
    atomic_store(&gate, 1);
    for (int i = 0; i < 10; i++) {
        int r = ray_get(refs[i], NULL);
        CHECK(r == 0 || r == RAY_ERR_ACTOR_BUSY);
        busy += r != 0;
        ray_release(refs[i]);
    }
    CHECK(busy == 7 || busy == 8); /* the one that runs may count */
    CHECK_REF_INT(first, 7);
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 17 - busy);
    ray_actor_release(actor);
    check_stop();
}

static void failing_calls(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new(counter, 0);
    ray_ref *failed = ray_call(actor, counter_fail), *fed = ray_call(actor, counter_add, failed);
    CHECK_CODE(ray_get(failed, NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "number 1");
    CHECK_STR(ray_last_error()->function, "counter.fail");
    CHECK_REF(fed, RAY_ERR_TASK_FAILED); /* not run */
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 1);
    ray_release(failed);
    CHECK_REF(ray_call_opts(RAY_WITH(ray_task_options, .retry_failures = true, .max_retries = 2), actor, counter_fail),
              RAY_ERR_TASK_FAILED);
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 4);
    ray_actor_release(actor);
    check_stop();
}

static void methods_of_another_class(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new(counter, 0);
    ray_ref *ref = ray_call(actor, list_append, 1);
    CHECK(ray_get(ref, NULL) != 0);
    CHECK_HAS(ray_last_error()->message, "list");
    ray_release(ref);
    ref = ray_actor_submit(actor, &ray_fn_twice, &RAY_VALUE(&(int64_t){1}), 1, NULL); /* no method */
    CHECK(ray_get(ref, NULL) != 0);
    ray_release(ref);
    ref = ray_submit(&ray_fn_counter_add, &RAY_VALUE(&(int64_t){1}), 1, NULL); /* no task */
    CHECK(ray_get(ref, NULL) != 0);
    ray_release(ref);
    ray_actor *none = ray_actor_create(&ray_fn_twice, &RAY_VALUE(&(int64_t){1}), 1, NULL); /* no class */
    CHECK(none);
    ref = ray_actor_ready(none);
    CHECK(ray_get(ref, NULL) != 0);
    ray_release(ref);
    ray_actor_release(none);
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 0);
    ray_actor_release(actor);
    check_stop();
}

/* ---- handles ---- */

static RAY_REMOTE(int64_t, add_through, (ray_actor *, actor), (int64_t, n))
{
    int64_t y = 0;
    ray_ref *ref = ray_call(actor, counter_add, n);
    CHECK_OK(ray_get(ref, &y));
    ray_release(ref);
    return y;
}
static RAY_REMOTE(ray_actor *, make_counter, (int64_t, start))
{
    return ray_actor_new(counter, start);
}

static void handles_travel(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new(counter, 0), *made = NULL, *same = NULL;
    CHECK_REF_INT(ray_remote(add_through, actor, 5), 5);
    ray_ref *ref = ray_call(actor, counter_me);
    CHECK_OK(ray_get(ref, &same));
    ray_release(ref);
    CHECK_STR(ray_actor_id(same), ray_actor_id(actor));
    CHECK_REF_INT(ray_call(same, counter_add, 1), 6);
    ray_actor_release(same);
    ref = ray_remote(make_counter, 30);
    CHECK_REF_INT(ray_remote(add_through, ref, 1), 31); /* a ref to an actor for an actor */
    CHECK_OK(ray_get(ref, &made));
    ray_release(ref);
    CHECK(strcmp(ray_actor_id(made), ray_actor_id(actor)) != 0);
    CHECK_REF_INT(ray_call(made, counter_add, 1), 32);
    ray_actor_release(made);
    CHECK(ray_actor_retain(actor) == actor);
    ray_actor_release(actor);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 7);
    ray_actor_release(actor);
    CHECK(!ray_actor_self());
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_HERE);
    check_stop();
}

static void method_streams(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new(counter, 30);
    ray_ref *stream = ray_call(actor, counter_upto), *after = ray_call(actor, counter_add, 1);
    CHECK_CODE(ray_get_timeout(after, 30, NULL), RAY_ERR_TIMEOUT); /* one at a time: behind the stream */
    for (int64_t i = 0; i < 30; i++)
        CHECK_REF_INT(ray_next(stream), i);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF_INT(after, 31);
    ray_release(stream);
    ray_actor_release(actor);
    check_stop();
}

/* ---- actors that call actors ---- */

typedef struct relay {
    ray_actor *next;
} relay;
static RAY_ACTOR(relay, (ray_actor *, next))
{
    self->next = ray_actor_retain(next);
}
static RAY_METHOD(relay, void, fini)
{
    ray_actor_release(self->next);
}
static RAY_METHOD(relay, int64_t, add, (int64_t, n))
{
    int64_t y = 0;
    ray_ref *ref = ray_call(self->next, counter_add, n);
    CHECK_OK(ray_get(ref, &y));
    ray_release(ref);
    return y;
}

static void actors_that_call_actors(void)
{
    check_start(1);
    ray_actor *end = ray_actor_new(counter, 0), *relays[5];
    for (int i = 0; i < 5; i++)
        relays[i] = ray_actor_new(relay, end);
    ray_actor_release(end);
    ray_ref *refs[50];
    for (int i = 0; i < 50; i++)
        refs[i] = ray_call(relays[i % 5], relay_add, 1);
    for (int i = 0; i < 50; i++)
        CHECK_REF_OK(refs[i]);
    CHECK_REF_INT(ray_call(relays[0], relay_add, 0), 50);
    for (int i = 0; i < 5; i++)
        ray_actor_release(relays[i]);
    check_stop();
}

/* ---- resources ---- */

static void resources_for_life(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=1, disk=1", .num_threads = 2)));
    ray_actor *idle = ray_actor_new(counter, 1), *more = ray_actor_new(counter, 2); /* no CPU while they run */
    CHECK_REF_OK(ray_actor_ready(idle));
    CHECK_REF_OK(ray_actor_ready(more));
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    ray_actor *owner = ray_actor_new_opts(RAY_WITH(ray_actor_options, .resources = "CPU=1, disk=1"), counter, 3);
    CHECK_REF_OK(ray_actor_ready(owner));
    ray_ref *queued = ray_remote(twice, 2);
    ray_actor *waiting = ray_actor_new_opts(RAY_WITH(ray_actor_options, .resources = "CPU=0, disk=0.5"), counter, 4);
    ray_ref *ready = ray_actor_ready(waiting);
    CHECK_CODE(ray_get_timeout(queued, 50, NULL), RAY_ERR_TIMEOUT);
    CHECK_CODE(ray_get_timeout(ready, 0, NULL), RAY_ERR_TIMEOUT);
    CHECK_REF_INT(ray_call(owner, counter_add, 0), 3); /* calls need no more than the actor has */
    CHECK_REF_INT(ray_call(idle, counter_add, 0), 1);
    ray_actor_release(owner);
    CHECK_REF_INT(queued, 4);
    CHECK_REF_OK(ready);
    ray_actor_release(waiting), ray_actor_release(idle), ray_actor_release(more);
    check_stop();
}

static void many_actors(void)
{
    enum { N = 2000 };
    static ray_actor *actors[N];
    static ray_ref *refs[N];
    check_start(2);
    for (int i = 0; i < N; i++) {
        actors[i] = ray_actor_new(counter, i);
        refs[i] = ray_call(actors[i], counter_add, 1);
    }
    for (int i = 0; i < N; i++)
        CHECK_REF_INT(refs[i], i + 1);
    for (int i = 0; i < N; i++)
        ray_actor_release(actors[i]);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(calls_in_order), CHECK_TEST(calls_wait_for_their_refs),
           CHECK_TEST(callers_do_not_wait_for_each_other), CHECK_TEST(constructor_waits_for_its_refs),
           CHECK_TEST(one_call_at_a_time), CHECK_TEST(max_concurrency), CHECK_TEST(a_call_waits_for_a_later_one),
           CHECK_TEST(max_pending_calls), CHECK_TEST(failing_calls), CHECK_TEST(methods_of_another_class),
           CHECK_TEST(handles_travel), CHECK_TEST(method_streams), CHECK_TEST(actors_that_call_actors),
           CHECK_TEST(resources_for_life), CHECK_TEST(many_actors))
