/* Concurrency groups: further queues of an actor, each with an order and a number of calls at once of its own. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

/* Also of the worker processes: every sub-test runs twice, with the actor in threads and in a process. */
typedef struct common {
    atomic_int gates[4], started, running[4], most[4], finis;
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

typedef struct desk {
    int64_t life;
    int count;
    int items[256];
} desk;
static RAY_ACTOR(desk)
{
    self->life = ray_context_get()->restarts + 1;
}
/* One of the lane `which`: counts how many there are at once, waits for the gate, says its number in the order. */
static RAY_METHOD(desk, int64_t, work, (int64_t, which), (int64_t, gate))
{
    int now = atomic_fetch_add(&all()->running[which], 1) + 1, seen = atomic_load(&all()->most[which]);
    while (now > seen && !atomic_compare_exchange_weak(&all()->most[which], &seen, now))
        continue;
    atomic_fetch_add(&all()->started, 1);
    for (int tries = 0; atomic_load(&all()->gates[which]) < (int)gate && !ray_cancelled() && tries < 60000; tries++)
        check_sleep_ms(1);
    atomic_fetch_sub(&all()->running[which], 1);
    return self->life;
}
static RAY_METHOD(desk, int64_t, append, (int64_t, item))
{
    self->items[self->count++] = (int)item;
    return self->count;
}
static RAY_METHOD(desk, int64_t, open, (int64_t, which))
{
    atomic_store(&all()->gates[which], 1);
    return self->life;
}
static RAY_METHOD(desk, int64_t, at, (int64_t, i))
{
    return self->items[i];
}
static RAY_METHOD(desk, int64_t, leave)
{
    CHECK_OK(ray_actor_exit());
    return self->life;
}
static RAY_METHOD(desk, void, fini)
{
    CHECK(self->life > 0);
    if (self->life == 1) /* else those of earlier lives may not have returned, or were killed in the middle */
        CHECK_INT(atomic_load(&all()->running[0]) + atomic_load(&all()->running[1]) + atomic_load(&all()->running[2]),
                  0);
    atomic_fetch_add(&all()->finis, 1);
}
static RAY_REMOTE(int64_t, open_gate, (int64_t, which), (int64_t, value))
{
    CHECK_AWAIT(all()->gates[3], 1);
    atomic_store(&all()->gates[which], (int)value);
    return value;
}

static ray_actor *new_desk(const char *groups, uint32_t width, int32_t restarts)
{
    ray_actor *actor = ray_actor_new_opts(
        RAY_WITH(ray_actor_options, .concurrency_groups = groups, .max_concurrency = width, .max_restarts = restarts),
        desk);
    CHECK(actor);
    return actor;
}
#define IN(group) RAY_WITH(ray_task_options, .concurrency_group = (group))

/* Each queue runs beside the others, with its own number at once. */
static void groups_run_beside_each_other(void)
{
    ray_ref *refs[24];
    int count = 0;
    start(2);
    ray_actor *actor = new_desk(" io=2 ,\tcompute = 3", 1, 0);
    for (int i = 0; i < 8; i++) {
        refs[count++] = ray_call(actor, desk_work, 0, 1);
        refs[count++] = ray_call_opts(IN("io"), actor, desk_work, 1, 1);
        refs[count++] = ray_call_opts(IN("compute"), actor, desk_work, 2, 1);
    }
    CHECK_AWAIT(all()->started, 6);
    check_sleep_ms(50);
    CHECK_INT(atomic_load(&all()->started), 6);
    atomic_store(&all()->gates[1], 1); /* one queue empties while the others stand */
    for (int i = 1; i < count; i += 3)
        CHECK_REF_INT(refs[i], 1);
    CHECK_INT(atomic_load(&all()->started), 12);
    atomic_store(&all()->gates[0], 1);
    atomic_store(&all()->gates[2], 1);
    for (int i = 0; i < count; i++)
        if (i % 3 != 1)
            CHECK_REF_INT(refs[i], 1);
    CHECK_INT(atomic_load(&all()->most[0]), 1);
    CHECK_INT(atomic_load(&all()->most[1]), 2);
    CHECK_INT(atomic_load(&all()->most[2]), 3);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&all()->finis), 1);
}

static void order_within_a_group(void)
{
    start(2);
    ray_actor *actor = new_desk("one=1", 1, 0);
    for (int i = 0; i < 200; i++)
        ray_release(ray_call_opts(IN("one"), actor, desk_append, i));
    CHECK_REF_INT(ray_call_opts(IN("one"), actor, desk_append, 200), 201);
    for (int i = 0; i < 200; i++)
        CHECK_REF_INT(ray_call_opts(IN("one"), actor, desk_at, i), i);
    ray_actor_release(actor);
    check_stop();
}

/* A call that waits for its ref holds up those behind it in its group, and no others of the same caller. */
static void a_held_call_holds_its_group_only(void)
{
    start(2);
    ray_actor *actor = new_desk("io=1, compute=1", 1, 0);
    ray_ref *late = ray_remote(open_gate, 0, 7);
    ray_ref *held = ray_call_opts(IN("io"), actor, desk_append, late);
    ray_ref *behind = ray_call_opts(IN("io"), actor, desk_append, 1);
    CHECK_REF_INT(ray_call_opts(IN("compute"), actor, desk_work, 1, 0), 1);
    CHECK_REF_INT(ray_call(actor, desk_work, 1, 0), 1);
    CHECK_CODE(ray_get_timeout(behind, 30, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&all()->gates[3], 1);
    CHECK_REF_INT(behind, 2);
    CHECK_REF_INT(held, 1);
    CHECK_REF_INT(ray_call(actor, desk_at, 0), 7);
    ray_release(late);
    ray_actor_release(actor);
    check_stop();
}

/* However many wait in one queue for something, the call of another queue that brings it gets there. */
static void a_full_group_leaves_room(void)
{
    enum { MANY = 3000 };
    static ray_ref *refs[MANY];
    start(2);
    ray_actor *actor = new_desk("io=1, rest=1", 4, 0);
    for (int i = 0; i < MANY; i++)
        refs[i] = i % 2 ? ray_call(actor, desk_work, 0, 1) : ray_call_opts(IN("rest"), actor, desk_work, 0, 1);
    CHECK_AWAIT(all()->started, 5);
    CHECK_REF_INT(ray_call_opts(IN("io"), actor, desk_open, 0), 1);
    for (int i = 0; i < MANY; i++)
        CHECK_REF_INT(refs[i], 1);
    ray_actor_release(actor);
    check_stop();
}

static void bad_groups(void)
{
    static const char *const bad[] = {"io",       "io=",          "=2",       "io=0",      "io=2,",
                                      "io=2;c=3", "io=65536",     "io=-1",    "io=2 c=3",  "io=99999999999999999999",
                                      ",io=2",    "io=2,,c=1",    "i o=2",    "io=2,io=3", "io==2",
                                      "io=0x2",   "io=2, c=3, x", "io=2 \t3", "\xc3\xa4=2"};
    char many[256 * 8] = "";
    start(1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ray_actor *actor = new_desk(bad[i], 1, 0);
        CHECK_REF(ray_call(actor, desk_at, 0), RAY_ERR_ARGUMENT);
        CHECK_HAS(ray_last_error()->message, "concurrency_groups");
        CHECK_REF(ray_actor_ready(actor), RAY_ERR_ARGUMENT);
        ray_actor_release(actor);
    }
    for (int i = 0; i < 256; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "%sg%d=1", i ? "," : "", i);
    ray_actor *actor = new_desk(many, 1, 0);
    CHECK_REF(ray_call(actor, desk_at, 0), RAY_ERR_ARGUMENT);
    ray_actor_release(actor);
    *strrchr(many, ',') = 0;
    actor = new_desk(many, 1, 0);
    CHECK_REF_INT(ray_call_opts(IN("g254"), actor, desk_append, 1), 1);
    CHECK_REF(ray_call_opts(IN("g255"), actor, desk_append, 1), RAY_ERR_ARGUMENT);
    ray_actor_release(actor);
    check_stop();
}

static void unknown_groups(void)
{
    static const char *const bad[] = {"compute", "", "i", "io2", "IO", "io=2"};
    start(1);
    ray_actor *actor = new_desk("io=2", 1, 0), *plain = new_desk("", 1, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_REF(ray_call_opts(IN(bad[i]), actor, desk_append, 1), RAY_ERR_ARGUMENT);
        CHECK_HAS(ray_last_error()->message, "has no concurrency group");
    }
    CHECK_REF(ray_call_opts(IN("io"), plain, desk_append, 1), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote_opts(IN("io"), open_gate, 0, 0), RAY_ERR_ARGUMENT);
    CHECK_REF_INT(ray_call_opts(IN("io"), actor, desk_append, 1), 1);
    ray_actor_release(actor), ray_actor_release(plain);
    check_stop();
}

/* Every queue's calls fail with the actor, running and waiting ones. */
static void kill_reaches_all_groups(void)
{
    ray_ref *refs[12];
    start(2);
    ray_actor *actor = new_desk("io=2, compute=1", 1, 0);
    for (int i = 0; i < 4; i++) {
        refs[3 * i] = ray_call(actor, desk_work, 0, 1);
        refs[3 * i + 1] = ray_call_opts(IN("io"), actor, desk_work, 1, 1);
        refs[3 * i + 2] = ray_call_opts(IN("compute"), actor, desk_work, 2, 1);
    }
    CHECK_AWAIT(all()->started, 4);
    CHECK_OK(ray_kill(actor, false));
    for (int i = 0; i < 12; i++)
        CHECK_REF(refs[i], RAY_ERR_ACTOR_DIED);
    CHECK_REF(ray_call_opts(IN("io"), actor, desk_append, 1), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&all()->started), 4);
    CHECK_INT(atomic_load(&all()->finis), 0);
}

/* What waits in a queue outlives the life; what runs does if it may. */
static void restart_keeps_all_groups(void)
{
    ray_ref *waiting[3], *run[3];
    start(2);
    ray_actor *actor = new_desk("io=1, compute=1", 1, 1);
    const ray_task_options *in[3] = {NULL, IN("io"), IN("compute")};
    for (int i = 0; i < 3; i++) {
        ray_task_options again = in[i] ? *in[i] : (ray_task_options){.size = sizeof again};
        again.max_retries = i == 1 ? 1 : RAY_NO_RETRIES;
        run[i] = ray_call_opts(&again, actor, desk_work, i, 1);
        waiting[i] = ray_call_opts(in[i], actor, desk_work, i, 1);
    }
    CHECK_AWAIT(all()->started, 3);
    CHECK_OK(ray_kill(actor, true));
    CHECK_REF(run[0], RAY_ERR_ACTOR_DIED);
    CHECK_REF(run[2], RAY_ERR_ACTOR_DIED);
    for (int i = 0; i < 3; i++)
        atomic_store(&all()->gates[i], 1);
    CHECK_REF_INT(run[1], 2);
    for (int i = 0; i < 3; i++)
        CHECK_REF_INT(waiting[i], 2);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&all()->finis), 1);
}

/* Released, it ends behind the last call of any queue; fini finds none running. */
static void the_end_waits_for_all_groups(void)
{
    start(2);
    ray_actor *actor = new_desk("io=1", 1, 0);
    ray_ref *first = ray_call(actor, desk_work, 0, 1), *second = ray_call_opts(IN("io"), actor, desk_work, 1, 1);
    ray_ref *waits = ray_call_opts(IN("io"), actor, desk_work, 1, 1);
    CHECK_AWAIT(all()->started, 2);
    ray_actor_release(actor);
    atomic_store(&all()->gates[0], 1);
    CHECK_REF_INT(first, 1);
    check_sleep_ms(20);
    CHECK_INT(atomic_load(&all()->finis), 0);
    atomic_store(&all()->gates[1], 1);
    CHECK_REF_INT(second, 1);
    CHECK_REF_INT(waits, 1);
    CHECK_AWAIT(all()->finis, 1);
    check_stop();
    CHECK_INT(atomic_load(&all()->finis), 1);
}

/* ray_actor_exit in one group: others' running calls end first, what waits anywhere fails. */
static void exit_from_a_group(void)
{
    start(2);
    ray_actor *actor = new_desk("io=1, quit=1", 1, 0);
    ray_ref *running_one = ray_call_opts(IN("io"), actor, desk_work, 1, 1);
    ray_ref *waiting_one = ray_call_opts(IN("io"), actor, desk_work, 1, 1);
    CHECK_AWAIT(all()->started, 1);
    CHECK_REF_INT(ray_call_opts(IN("quit"), actor, desk_leave), 1);
    CHECK_REF(waiting_one, RAY_ERR_ACTOR_DIED);
    CHECK_INT(atomic_load(&all()->finis), 0);
    atomic_store(&all()->gates[1], 1);
    CHECK_REF_INT(running_one, 1);
    CHECK_AWAIT(all()->finis, 1);
    ray_actor_release(actor);
    check_stop();
}

static void pending_calls_of_all_groups_count(void)
{
    start(1);
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .concurrency_groups = "io=1", .max_pending_calls = 2), desk);
    ray_ref *one = ray_call(actor, desk_work, 0, 1), *two = ray_call_opts(IN("io"), actor, desk_work, 1, 1);
    CHECK_REF(ray_call_opts(IN("io"), actor, desk_append, 1), RAY_ERR_ACTOR_BUSY);
    CHECK_REF(ray_call(actor, desk_append, 1), RAY_ERR_ACTOR_BUSY);
    atomic_store(&all()->gates[0], 1), atomic_store(&all()->gates[1], 1);
    CHECK_REF_INT(one, 1), CHECK_REF_INT(two, 1);
    CHECK_REF_INT(ray_call_opts(IN("io"), actor, desk_append, 1), 1);
    ray_actor_release(actor);
    check_stop();
}

static void cancel_in_a_group(void)
{
    start(2);
    ray_actor *actor = new_desk("io=1", 1, 0);
    ray_ref *runs = ray_call_opts(IN("io"), actor, desk_work, 1, 1),
            *waits = ray_call_opts(IN("io"), actor, desk_at, 0);
    CHECK_AWAIT(all()->started, 1);
    CHECK_OK(ray_cancel(waits, 0));
    CHECK_REF(waits, RAY_ERR_CANCELLED);
    CHECK_OK(ray_cancel(runs, 0));
    CHECK_REF(runs, RAY_ERR_CANCELLED);
    CHECK_REF_INT(ray_call_opts(IN("io"), actor, desk_append, 1), 1);
    ray_actor_release(actor);
    check_stop();
}

/* ---- many at once ---- */

enum { CALLERS = 4, CALLS = 400 };
static ray_actor *shared;

static void *call_all(void *arg)
{
    static const char *const names[] = {NULL, "a", "b", "c"};
    unsigned seed = (unsigned)(uintptr_t)arg;
    ray_ref *refs[CALLS];
    for (int i = 0; i < CALLS; i++) {
        seed = seed * 1103515245 + 12345;
        refs[i] = ray_call_opts(IN(names[seed >> 16 & 3]), shared, desk_work, seed >> 18 & 1, 0);
    }
    for (int i = 0; i < CALLS; i++) {
        int r = ray_get(refs[i], NULL);
        CHECK(r == 0 || r == RAY_ERR_ACTOR_DIED);
        ray_release(refs[i]);
    }
    return NULL;
}

static void many_callers_and_kills(void)
{
    pthread_t threads[CALLERS];
    start(2);
    shared = new_desk("a=1, b=2, c=3", 2, -1);
    for (int i = 0; i < CALLERS; i++)
        CHECK(pthread_create(&threads[i], NULL, call_all, (void *)(uintptr_t)(i + 1)) == 0);
    for (int i = 0; i < 20; i++) {
        check_sleep_ms(2);
        CHECK_OK(ray_kill(shared, true));
    }
    for (int i = 0; i < CALLERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_REF_OK(ray_call_opts(IN("c"), shared, desk_work, 0, 0));
    ray_actor_release(shared);
    check_stop();
    CHECK_INT(atomic_load(&all()->finis), 1);
}

static void shutdown_with_calls_in_groups(void)
{
    ray_ref *refs[8];
    start(2);
    ray_actor *actor = new_desk("io=1, compute=1", 1, 0);
    for (int i = 0; i < 8; i++)
        refs[i] = ray_call_opts(IN(i & 1 ? "io" : "compute"), actor, desk_work, i & 1, 1);
    CHECK_AWAIT(all()->started, 2);
    check_stop();
    for (int i = 0; i < 8; i++)
        ray_release(refs[i]);
    ray_actor_release(actor);
    CHECK_INT(atomic_load(&all()->started), 2);
    CHECK_INT(atomic_load(&all()->finis), 1);
}

/* ---- fewer threads than calls at once ---- */

typedef struct thin {
    int64_t unused;
} thin;
static RAY_ACTOR(thin)
{
    self->unused = 0;
    CHECK_CODE(ray_actor_threads(0), RAY_ERR_ARGUMENT);
    CHECK_OK(ray_actor_threads(2));
}
static RAY_METHOD(thin, void, work)
{
    (void)self;
    int now = atomic_fetch_add(&all()->running[0], 1) + 1, seen = atomic_load(&all()->most[0]);
    while (now > seen && !atomic_compare_exchange_weak(&all()->most[0], &seen, now))
        continue;
    check_sleep_ms(5);
    atomic_fetch_sub(&all()->running[0], 1);
}

/* Where the actor lives in a process, which has threads for it alone. */
static void threads_may_be_few(void)
{
    ray_ref *refs[40];
    check_start_workers(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_concurrency = 20), thin);
    for (int i = 0; i < 40; i++)
        refs[i] = ray_call(actor, thin_work);
    for (int i = 0; i < 40; i++)
        CHECK_REF_OK(refs[i]);
    CHECK(atomic_load(&all()->most[0]) <= 2);
    ray_actor_release(actor);
    check_stop();
}

/* ---- the same in worker processes ---- */

#define APART(test)                                                                                                    \
    static void test##_apart(void)                                                                                     \
    {                                                                                                                  \
        apart = true;                                                                                                  \
        test();                                                                                                        \
    }
APART(groups_run_beside_each_other)
APART(order_within_a_group)
APART(a_held_call_holds_its_group_only)
APART(a_full_group_leaves_room)
APART(bad_groups)
APART(unknown_groups)
APART(kill_reaches_all_groups)
APART(restart_keeps_all_groups)
APART(the_end_waits_for_all_groups)
APART(exit_from_a_group)
APART(pending_calls_of_all_groups_count)
APART(cancel_in_a_group)
APART(many_callers_and_kills)
APART(shutdown_with_calls_in_groups)

CHECK_MAIN(CHECK_TEST(groups_run_beside_each_other), CHECK_TEST(order_within_a_group),
           CHECK_TEST(a_held_call_holds_its_group_only), CHECK_TEST(a_full_group_leaves_room), CHECK_TEST(bad_groups),
           CHECK_TEST(unknown_groups), CHECK_TEST(kill_reaches_all_groups), CHECK_TEST(restart_keeps_all_groups),
           CHECK_TEST(the_end_waits_for_all_groups), CHECK_TEST(exit_from_a_group),
           CHECK_TEST(pending_calls_of_all_groups_count), CHECK_TEST(cancel_in_a_group),
           CHECK_TEST(many_callers_and_kills), CHECK_TEST(shutdown_with_calls_in_groups),
           CHECK_TEST(groups_run_beside_each_other_apart), CHECK_TEST(order_within_a_group_apart),
           CHECK_TEST(a_held_call_holds_its_group_only_apart), CHECK_TEST(a_full_group_leaves_room_apart),
           CHECK_TEST(bad_groups_apart), CHECK_TEST(unknown_groups_apart), CHECK_TEST(kill_reaches_all_groups_apart),
           CHECK_TEST(restart_keeps_all_groups_apart), CHECK_TEST(the_end_waits_for_all_groups_apart),
           CHECK_TEST(exit_from_a_group_apart), CHECK_TEST(pending_calls_of_all_groups_count_apart),
           CHECK_TEST(cancel_in_a_group_apart), CHECK_TEST(many_callers_and_kills_apart),
           CHECK_TEST(shutdown_with_calls_in_groups_apart), CHECK_TEST(threads_may_be_few))
