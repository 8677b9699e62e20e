/* Results that come later (ray_complete_later). Every sub-test runs twice: in threads and in worker processes. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

typedef struct common {
    atomic_int started, gate, completed, finis, constructed, saw_cancel;
} common;
static bool apart;

static common *all(void)
{
    return check_shared();
}
static void start(unsigned cpus)
{
    if (apart)
        check_start_workers(cpus);
    else
        check_start(cpus);
}

/* ---- a thread of the user's own that completes what it is given ---- */

typedef struct order {
    ray_later *later;
    int64_t value, at_gate;
    enum { VALUE, FAIL, FAIL_AGAIN, FAIL_NOT_AGAIN, FREE, WRONG, CANCELLED } how;
} order;

static void *complete(void *arg)
{
    order *o = arg;
    ray_value value = {.kind = RAY_KIND_I64, .size = sizeof o->value, .data = &o->value};
    const char *wrong = "text";
    for (int tries = 0; atomic_load(&all()->gate) < (int)o->at_gate && tries < 60000; tries++) {
        if (ray_later_cancelled(o->later)) {
            atomic_fetch_add(&all()->saw_cancel, 1);
            break;
        }
        check_sleep_ms(1);
    }
    atomic_fetch_add(&all()->completed, 1);
    switch (o->how) {
    case VALUE:
    case CANCELLED:
        CHECK_OK(ray_complete(o->later, &value));
        break;
    case FAIL_AGAIN:
    case FAIL_NOT_AGAIN:
        CHECK_OK(ray_later_fail_again(o->later, o->how == FAIL_AGAIN)); /* fall through */
    case FAIL:
        CHECK_OK(ray_complete_failed(o->later, (int)o->value, "later", "payload", 8));
        break;
    case FREE:
        ray_later_free(o->later);
        break;
    case WRONG:
        value = (ray_value){.kind = RAY_KIND_STRING, .size = sizeof wrong, .data = &wrong};
        CHECK_CODE(ray_complete(o->later, &value), RAY_ERR_TYPE);
        break;
    }
    free(o);
    return NULL;
}

static void order_completion(order what)
{
    order *o = malloc(sizeof *o);
    pthread_t thread;
    CHECK(o);
    *o = what;
    o->later = ray_complete_later();
    CHECK(o->later);
    CHECK(pthread_create(&thread, NULL, complete, o) == 0);
    pthread_detach(thread);
}

/* ---- tasks ---- */

static RAY_REMOTE(int64_t, later_task, (int64_t, value), (int64_t, gate), (int64_t, how))
{
    atomic_fetch_add(&all()->started, 1);
    order_completion((order){.value = value, .at_gate = gate, .how = (int)how});
    return -1;
}
static RAY_REMOTE(int64_t, early_task, (int64_t, value), (int64_t, fails))
{
    ray_later *later = ray_complete_later();
    ray_value given = {.kind = RAY_KIND_I64, .size = sizeof value, .data = &value};
    CHECK(later && !ray_complete_later());
    CHECK_INT(ray_last_error()->code, RAY_ERR_EXISTS);
    CHECK(!ray_later_cancelled(later));
    CHECK_OK(ray_complete(later, &given));
    if (fails)
        return ray_fail("after its own result");
    return -1;
}
/* The ref that it gave away must not be lost with its own result. */
static RAY_REMOTE(ray_ref *, early_ref)
{
    ray_ref *ref = ray_put("given away", 10);
    CHECK_OK(ray_complete(ray_complete_later(), &(ray_value){.kind = RAY_KIND_REF, .size = sizeof ref, .data = &ref}));
    ray_fail("after its own result");
    return NULL;
}
static RAY_REMOTE(int64_t, plus_one, (int64_t, x))
{
    return x + 1;
}

static void a_task_ends_later(void)
{
    start(2);
    ray_ref *ref = ray_remote(later_task, 42, 1, VALUE), *next = ray_remote(plus_one, ref);
    CHECK_AWAIT(all()->started, 1);
    CHECK_CODE(ray_get_timeout(ref, 30, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&all()->gate, 1);
    CHECK_REF_INT(next, 43);
    CHECK_REF_INT(ref, 42);
    check_stop();
}

static void it_may_end_before_it_returns(void)
{
    start(2);
    CHECK_REF_INT(ray_remote(early_task, 5, 0), 5);
    CHECK_REF(ray_remote(early_task, 5, 1), RAY_ERR_TASK_FAILED);
    CHECK_HAS(ray_last_error()->message, "after its own result");
    CHECK_REF(ray_remote(early_ref), RAY_ERR_TASK_FAILED);
    check_stop();
}

static void it_may_fail_later(void)
{
    start(2);
    CHECK_REF(ray_remote(later_task, 17, 0, FAIL), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, 17);
    CHECK_STR(ray_last_error()->message, "later");
    CHECK_STR(ray_last_error()->function, "later_task");
    CHECK_INT(ray_last_error()->payload_size, 8);
    CHECK_STR(ray_last_error()->payload, "payload");
    CHECK(ray_last_error()->pid != 0 && ray_last_error()->node_id);
    CHECK_REF(ray_remote(later_task, 1, 0, FREE), RAY_ERR_TASK_FAILED);
    CHECK_HAS(ray_last_error()->message, "without a result");
    CHECK_REF(ray_remote(later_task, 1, 0, WRONG), RAY_ERR_TYPE);
    check_stop();
}

/* A hundred tasks wait for their results on two CPUs, and leave room for others. */
static void many_wait_at_once(void)
{
    ray_ref *refs[100];
    start(2);
    for (int i = 0; i < 100; i++)
        refs[i] = ray_remote(later_task, i, 1, VALUE);
    CHECK_AWAIT(all()->started, 100);
    CHECK_REF_INT(ray_remote(plus_one, 1), 2);
    atomic_store(&all()->gate, 1);
    for (int i = 0; i < 100; i++)
        CHECK_REF_INT(refs[i], i);
    check_stop();
}

static RAY_REMOTE(int64_t, later_when_cancelled, (int64_t, value))
{
    order_completion((order){.value = value, .at_gate = 1, .how = CANCELLED});
    atomic_fetch_add(&all()->started, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    return -1;
}

/* It was asked to stop before it returned: it is over when its handle is, and not before. */
static void cancelled_before_it_returns(void)
{
    start(2);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .own_thread = true), later_when_cancelled, 1);
    CHECK_AWAIT(all()->started, 1);
    CHECK_OK(ray_cancel(ref, 0));
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    CHECK_INT(atomic_load(&all()->completed), 1);
    check_stop();
}

/* What was asked for by name is kept until the end. */
static void resources_are_kept(void)
{
    start(2);
    const ray_task_options *two = RAY_WITH(ray_task_options, .resources = "CPU=2");
    ray_ref *first = ray_remote_opts(two, later_task, 1, 1, VALUE), *second = ray_remote_opts(two, plus_one, 1);
    CHECK_AWAIT(all()->started, 1);
    CHECK_CODE(ray_get_timeout(second, 50, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&all()->gate, 1);
    CHECK_REF_INT(second, 2);
    CHECK_REF_INT(first, 1);
    check_stop();
}

/* ---- actors ---- */

typedef struct desk {
    int64_t life;
} desk;
static RAY_ACTOR(desk)
{
    CHECK(!ray_complete_later());
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_HERE);
    self->life = ray_context_get()->restarts + 1;
    atomic_fetch_add(&all()->constructed, 1);
}
static RAY_METHOD(desk, int64_t, later, (int64_t, value), (int64_t, gate), (int64_t, how))
{
    int tries = atomic_fetch_add(&all()->started, 1);
    if (how == FAIL_AGAIN && tries > 1) /* the third try is fine */
        how = VALUE;
    order_completion((order){.value = value * 10 + self->life, .at_gate = gate, .how = (int)how});
    return -1;
}
static RAY_METHOD(desk, int64_t, now, (int64_t, value))
{
    return value * 10 + self->life;
}
static RAY_METHOD(desk, int64_t, later_and_leave, (int64_t, value), (int64_t, gate))
{
    (void)self;
    atomic_fetch_add(&all()->started, 1);
    order_completion((order){.value = value, .at_gate = gate, .how = VALUE});
    CHECK_OK(ray_actor_exit());
    return -1;
}
static RAY_METHOD(desk, int64_t, early_and_leave)
{
    CHECK_OK(ray_complete(ray_complete_later(),
                          &(ray_value){.kind = RAY_KIND_I64, .size = sizeof self->life, .data = &self->life}));
    CHECK_OK(ray_actor_exit());
    return -1;
}
static RAY_METHOD(desk, int64_t, leave)
{
    CHECK_OK(ray_actor_exit());
    return self->life;
}
static RAY_METHOD(desk, void, fini)
{
    (void)self;
    CHECK(!ray_complete_later());
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_HERE);
    atomic_fetch_add(&all()->finis, 1);
}

static ray_actor *new_desk(uint32_t width, const char *groups, int32_t restarts)
{
    ray_actor *actor = ray_actor_new_opts(
        RAY_WITH(ray_actor_options, .max_concurrency = width, .concurrency_groups = groups, .max_restarts = restarts),
        desk);
    CHECK(actor);
    return actor;
}

static void one_at_a_time(void)
{
    start(2);
    ray_actor *actor = new_desk(1, NULL, 0);
    ray_ref *later = ray_call(actor, desk_later, 1, 1, VALUE), *now = ray_call(actor, desk_now, 2);
    CHECK_AWAIT(all()->started, 1);
    CHECK_CODE(ray_get_timeout(now, 50, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&all()->gate, 1);
    CHECK_REF_INT(now, 21);
    CHECK_INT(atomic_load(&all()->completed), 1);
    CHECK_REF_INT(later, 11);
    for (int i = 0; i < 200; i++)
        CHECK_REF_INT(ray_call(actor, desk_later, i, 1, VALUE), i * 10 + 1);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&all()->finis), 1);
}

/* Calls that wait for their results let others run, up to max_concurrency in all; so in each group. */
static void so_many_at_a_time(void)
{
    ray_ref *refs[8];
    start(1);
    ray_actor *actor = new_desk(3, "io=2", 0);
    for (int i = 0; i < 8; i++)
        refs[i] = ray_call(actor, desk_later, i, 1, VALUE);
    CHECK_AWAIT(all()->started, 3);
    ray_ref *now = ray_call(actor, desk_now, 9);
    for (int i = 0; i < 2; i++)
        CHECK_REF_INT(ray_call_opts(RAY_WITH(ray_task_options, .concurrency_group = "io"), actor, desk_now, i),
                      i * 10 + 1);
    CHECK_CODE(ray_get_timeout(now, 50, NULL), RAY_ERR_TIMEOUT);
    CHECK_INT(atomic_load(&all()->started), 3);
    atomic_store(&all()->gate, 1);
    for (int i = 0; i < 8; i++)
        CHECK_REF_INT(refs[i], i * 10 + 1);
    CHECK_REF_INT(now, 91);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&all()->finis), 1);
}

enum { KEPT = 900 };
static struct {
    pthread_mutex_t lock;
    ray_later *laters[KEPT];
    int count;
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static RAY_METHOD(desk, int64_t, keep)
{
    (void)self;
    ray_later *later = ray_complete_later();
    pthread_mutex_lock(&kept.lock);
    kept.laters[kept.count++] = later;
    pthread_mutex_unlock(&kept.lock);
    atomic_fetch_add(&all()->started, 1);
    return -1;
}
static RAY_METHOD(desk, int64_t, complete_kept)
{
    (void)self;
    int64_t threads = (int64_t)check_threads();
    for (int64_t i = 0; i < kept.count; i++)
        CHECK_OK(ray_complete(kept.laters[i], &(ray_value){.kind = RAY_KIND_I64, .size = sizeof i, .data = &i}));
    return threads;
}

/* Hundreds of calls wait for their results: that needs no thread each. */
static void waiting_costs_no_threads(void)
{
    static ray_ref *refs[KEPT];
    int64_t threads = 0, sum = 0, value;
    start(2);
    ray_actor *actor = new_desk(KEPT, "last=1", 0);
    for (int i = 0; i < KEPT; i++)
        refs[i] = ray_call(actor, desk_keep);
    CHECK_AWAIT(all()->started, KEPT);
    ray_ref *last = ray_call_opts(RAY_WITH(ray_task_options, .concurrency_group = "last"), actor, desk_complete_kept);
    CHECK_OK(ray_get(last, &threads));
    CHECK(threads < 60 * check_slowness());
    for (int i = 0; i < KEPT; i++) {
        CHECK_OK(ray_get(refs[i], &value));
        sum += value;
        ray_release(refs[i]);
    }
    CHECK_INT(sum, (int64_t)KEPT * (KEPT - 1) / 2);
    ray_release(last);
    ray_actor_release(actor);
    check_stop();
}

static void cancel_is_seen(void)
{
    start(2);
    ray_actor *actor = new_desk(1, NULL, 0);
    ray_ref *call = ray_call(actor, desk_later, 1, 1, VALUE), *task = ray_remote(later_task, 2, 1, VALUE);
    CHECK_AWAIT(all()->started, 2);
    CHECK_OK(ray_cancel(call, 0));
    CHECK_REF(call, RAY_ERR_CANCELLED);
    CHECK_INT(atomic_load(&all()->saw_cancel), 1);
    CHECK_OK(ray_cancel(task, 0));
    CHECK_REF(task, RAY_ERR_CANCELLED);
    CHECK_INT(atomic_load(&all()->saw_cancel), 2);
    CHECK_REF_INT(ray_call(actor, desk_now, 3), 31);
    ray_actor_release(actor);
    check_stop();
}

/* A killed actor's calls fail at once; what completes them afterwards is dropped. */
static void kill_ends_them(void)
{
    ray_ref *refs[3];
    start(2);
    ray_actor *actor = new_desk(2, NULL, 0);
    for (int i = 0; i < 3; i++)
        refs[i] = ray_call(actor, desk_later, i, 1, CANCELLED);
    CHECK_AWAIT(all()->started, 2);
    CHECK_OK(ray_kill(actor, false));
    for (int i = 0; i < 3; i++)
        CHECK_REF(refs[i], RAY_ERR_ACTOR_DIED);
    if (!apart) { /* the threads that complete them have seen it */
        CHECK_AWAIT(all()->completed, 2);
        CHECK_INT(atomic_load(&all()->saw_cancel), 2);
    }
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&all()->started), 2);
}

/* In the next life a call that may runs again: the old handle is not its own any more. */
static void restart_runs_them_again(void)
{
    start(2);
    ray_actor *actor = new_desk(2, NULL, 1);
    ray_ref *again = ray_call_opts(RAY_WITH(ray_task_options, .max_retries = 1), actor, desk_later, 1, 2, VALUE);
    ray_ref *once = ray_call(actor, desk_later, 2, 2, VALUE), *waits = ray_call(actor, desk_now, 3);
    CHECK_AWAIT(all()->started, 2);
    CHECK_OK(ray_kill(actor, true));
    CHECK_REF(once, RAY_ERR_ACTOR_DIED);
    CHECK_AWAIT(all()->started, 3);
    CHECK_CODE(ray_get_timeout(again, 30, NULL), RAY_ERR_TIMEOUT);
    CHECK_REF_INT(waits, 32);
    atomic_store(&all()->gate, 2);
    CHECK_REF_INT(again, 12);
    CHECK_REF_INT(ray_call(actor, desk_now, 4), 42);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&all()->finis), 1);
}

/* The last handle's release, and an exit, wait for them; fini comes behind. */
static void the_end_waits_for_them(void)
{
    start(2);
    ray_actor *actor = new_desk(2, NULL, 0), *other = new_desk(2, NULL, 0), *third = new_desk(2, NULL, 0);
    ray_ref *refs[3] = {ray_call(actor, desk_later, 1, 1, VALUE), ray_call(other, desk_later_and_leave, 2, 1),
                        ray_call(third, desk_later, 3, 1, VALUE)};
    CHECK_AWAIT(all()->started, 3);
    CHECK_REF_INT(ray_call(third, desk_leave), 1);
    ray_actor_release(actor), ray_actor_release(third);
    check_sleep_ms(30);
    CHECK_INT(atomic_load(&all()->finis), 0);
    atomic_store(&all()->gate, 1);
    CHECK_REF_INT(refs[0], 11);
    CHECK_REF_INT(refs[1], 2);
    CHECK_REF_INT(refs[2], 31);
    CHECK_AWAIT(all()->finis, 3);
    CHECK_REF(ray_call(other, desk_now, 1), RAY_ERR_ACTOR_DIED);
    ray_actor_release(other);
    other = new_desk(1, NULL, 0);
    CHECK_REF_INT(ray_call(other, desk_early_and_leave), 1);
    CHECK_AWAIT(all()->finis, 4);
    CHECK_REF(ray_call(other, desk_now, 1), RAY_ERR_ACTOR_DIED);
    ray_actor_release(other);
    check_stop();
}

static void failures_of_calls_are_tried_again(void)
{
    start(2);
    ray_actor *actor = new_desk(1, NULL, 0);
    ray_ref *again = ray_call_opts(RAY_WITH(ray_task_options, .max_retries = 2), actor, desk_later, 1, 0, FAIL_AGAIN);
    CHECK_REF_INT(again, 11);
    CHECK_INT(atomic_load(&all()->started), 3);
    CHECK_REF(ray_call_opts(RAY_WITH(ray_task_options, .max_retries = 5, .retry_failures = true), actor, desk_later, 1,
                            0, FAIL_NOT_AGAIN),
              RAY_ERR_TASK_FAILED);
    CHECK_INT(atomic_load(&all()->started), 4);
    CHECK_REF(ray_call_opts(RAY_WITH(ray_task_options, .max_retries = 2, .retry_failures = true), actor, desk_later, 1,
                            0, FAIL),
              RAY_ERR_TASK_FAILED);
    CHECK_INT(atomic_load(&all()->started), 7);
    ray_actor_release(actor);
    check_stop();
}

/* ---- shutdown ---- */

static void *complete_after(void *arg)
{
    int64_t value = 1;
    while (ray_is_initialized())
        check_sleep_ms(1);
    check_sleep_ms(20);
    CHECK(ray_later_cancelled(arg));
    CHECK_OK(ray_complete(arg, &(ray_value){.kind = RAY_KIND_I64, .size = sizeof value, .data = &value}));
    return NULL;
}
static pthread_t outliving[2];
static atomic_int num_outliving;
static RAY_REMOTE(int64_t, outlive)
{
    ray_later *later = ray_complete_later();
    CHECK(pthread_create(&outliving[atomic_fetch_add(&num_outliving, 1)], NULL, complete_after, later) == 0);
    atomic_fetch_add(&all()->started, 1);
    return -1;
}
static RAY_METHOD(desk, int64_t, outlive)
{
    (void)self;
    return outlive();
}

static RAY_REMOTE(int64_t, outlive_late)
{
    atomic_fetch_add(&all()->started, 1);
    while (!ray_cancelled()) /* the runtime stops */
        check_sleep_ms(1);
    return outlive();
}
static void *get_in_vain(void *ref)
{
    int r = ray_get(ref, NULL);
    CHECK(r == RAY_ERR_SHUTDOWN);
    return NULL;
}

/* What is asked for while the runtime stops ends with it, too. */
static void shutdown_while_they_begin(void)
{
    pthread_t thread;
    start(2);
    ray_ref *task = ray_remote_opts(RAY_WITH(ray_task_options, .own_thread = true), outlive_late);
    CHECK_AWAIT(all()->started, 1);
    CHECK(pthread_create(&thread, NULL, get_in_vain, task) == 0);
    check_sleep_ms(20);
    check_stop();
    CHECK(pthread_join(thread, NULL) == 0);
    ray_release(task);
    for (int i = 0; i < atomic_load(&num_outliving); i++)
        CHECK(pthread_join(outliving[i], NULL) == 0);
}

/* What nobody has completed by then fails; its handle can still be given back. */
static void shutdown_ends_them(void)
{
    start(2);
    ray_actor *actor = new_desk(1, NULL, 0);
    ray_ref *task = ray_remote(outlive), *call = ray_call(actor, desk_outlive), *waits = ray_call(actor, desk_now, 1);
    CHECK_AWAIT(all()->started, 2);
    check_stop();
    ray_release(task), ray_release(call), ray_release(waits);
    ray_actor_release(actor);
    for (int i = 0; i < atomic_load(&num_outliving); i++)
        CHECK(pthread_join(outliving[i], NULL) == 0);
    if (!apart)
        CHECK_INT(atomic_load(&all()->finis), 1);
}

/* ---- where it is not allowed ---- */

static RAY_REMOTE(ray_stream(int64_t), items)
{
    int64_t one = 1;
    CHECK(!ray_complete_later());
    CHECK_INT(ray_last_error()->code, RAY_ERR_UNSUPPORTED);
    ray_yield(&one);
}

static void not_everywhere(void)
{
    CHECK(!ray_complete_later());
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_INITIALIZED);
    start(1);
    CHECK(!ray_complete_later());
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_HERE);
    CHECK_CODE(ray_complete(NULL, NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_complete_failed(NULL, 0, NULL, NULL, 0), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_later_fail_again(NULL, true), RAY_ERR_ARGUMENT);
    CHECK(!ray_later_cancelled(NULL));
    ray_later_free(NULL);
    ray_ref *stream = ray_remote(items);
    CHECK_REF_INT(ray_next(stream), 1);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    ray_release(stream);
    check_stop();
}

/* ---- many at once ---- */

enum { POOL = 4, MANY = 2000 };
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    ray_later *waiting[2 * MANY + POOL];
    int64_t values[2 * MANY + POOL];
    int count;
    bool running;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void *complete_many(void *arg)
{
    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.count == 0)
            pthread_cond_wait(&pool.changed, &pool.lock);
        ray_later *later = pool.waiting[--pool.count];
        int64_t value = pool.values[pool.count];
        pthread_mutex_unlock(&pool.lock);
        if (value < 0)
            return arg;
        CHECK_OK(ray_complete(later, &(ray_value){.kind = RAY_KIND_I64, .size = sizeof value, .data = &value}));
        pthread_mutex_lock(&pool.lock);
    }
}
static void hand_to_pool(ray_later *later, int64_t value)
{
    pthread_t thread;
    pthread_mutex_lock(&pool.lock);
    for (int i = 0; i < POOL && !pool.running; i++) {
        CHECK(pthread_create(&thread, NULL, complete_many, NULL) == 0);
        pthread_detach(thread);
    }
    pool.running = true;
    CHECK(pool.count < 2 * MANY + POOL);
    pool.waiting[pool.count] = later;
    pool.values[pool.count++] = value;
    pthread_cond_signal(&pool.changed);
    pthread_mutex_unlock(&pool.lock);
}
static RAY_REMOTE(int64_t, pooled, (int64_t, value))
{
    hand_to_pool(ray_complete_later(), value);
    return -1;
}
static RAY_METHOD(desk, int64_t, pooled, (int64_t, value))
{
    (void)self;
    return pooled(value);
}
static RAY_REMOTE(void, end_pool)
{
    for (int i = 0; i < POOL; i++)
        hand_to_pool(NULL, -1);
}

static void many_from_many_threads(void)
{
    static ray_ref *refs[2 * MANY];
    start(2);
    ray_actor *actor = new_desk(20, NULL, 0);
    for (int i = 0; i < MANY; i++) {
        refs[2 * i] = ray_remote(pooled, i);
        refs[2 * i + 1] = ray_call(actor, desk_pooled, i);
    }
    for (int i = 0; i < 2 * MANY; i++)
        CHECK_REF_INT(refs[i], i / 2);
    if (!apart) { /* threads of this process go with it, those of workers with theirs */
        CHECK_REF_OK(ray_remote(end_pool));
        check_sleep_ms(20);
    }
    ray_actor_release(actor);
    check_stop();
}

/* ---- twice ---- */

#define APART(test)                                                                                                    \
    static void test##_apart(void)                                                                                     \
    {                                                                                                                  \
        apart = true;                                                                                                  \
        test();                                                                                                        \
    }
APART(a_task_ends_later)
APART(it_may_end_before_it_returns)
APART(it_may_fail_later)
APART(many_wait_at_once)
APART(cancelled_before_it_returns)
APART(resources_are_kept)
APART(one_at_a_time)
APART(so_many_at_a_time)
APART(waiting_costs_no_threads)
APART(cancel_is_seen)
APART(kill_ends_them)
APART(restart_runs_them_again)
APART(the_end_waits_for_them)
APART(failures_of_calls_are_tried_again)
APART(shutdown_ends_them)
APART(shutdown_while_they_begin)
APART(not_everywhere)
APART(many_from_many_threads)

CHECK_MAIN(CHECK_TEST(a_task_ends_later), CHECK_TEST(it_may_end_before_it_returns), CHECK_TEST(it_may_fail_later),
           CHECK_TEST(many_wait_at_once), CHECK_TEST(cancelled_before_it_returns), CHECK_TEST(resources_are_kept),
           CHECK_TEST(one_at_a_time), CHECK_TEST(so_many_at_a_time), CHECK_TEST(waiting_costs_no_threads),
           CHECK_TEST(cancel_is_seen), CHECK_TEST(kill_ends_them), CHECK_TEST(restart_runs_them_again),
           CHECK_TEST(the_end_waits_for_them), CHECK_TEST(failures_of_calls_are_tried_again),
           CHECK_TEST(shutdown_ends_them), CHECK_TEST(shutdown_while_they_begin), CHECK_TEST(not_everywhere),
           CHECK_TEST(many_from_many_threads), CHECK_TEST(a_task_ends_later_apart),
           CHECK_TEST(it_may_end_before_it_returns_apart), CHECK_TEST(it_may_fail_later_apart),
           CHECK_TEST(many_wait_at_once_apart), CHECK_TEST(cancelled_before_it_returns_apart),
           CHECK_TEST(resources_are_kept_apart), CHECK_TEST(one_at_a_time_apart), CHECK_TEST(so_many_at_a_time_apart),
           CHECK_TEST(waiting_costs_no_threads_apart), CHECK_TEST(cancel_is_seen_apart),
           CHECK_TEST(kill_ends_them_apart), CHECK_TEST(restart_runs_them_again_apart),
           CHECK_TEST(the_end_waits_for_them_apart), CHECK_TEST(failures_of_calls_are_tried_again_apart),
           CHECK_TEST(shutdown_ends_them_apart), CHECK_TEST(shutdown_while_they_begin_apart),
           CHECK_TEST(not_everywhere_apart), CHECK_TEST(many_from_many_threads_apart))
