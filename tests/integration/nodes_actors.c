/* Actors of a cluster of real processes: where they live, their calls from everywhere, their names, their deaths. */
#include "nodes_common.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct tally {
    int64_t n;
} tally;

static RAY_ACTOR(tally, (int64_t, start))
{
    if (start < 0)
        ray_fail("tally: expected a start of 0 or more, got %lld", (long long)start);
    self->n = start;
    atomic_fetch_add(&page()->started, 1);
}
static RAY_METHOD(tally, int64_t, add, (int64_t, x))
{
    return self->n += x;
}
static RAY_METHOD(tally, int64_t, pid)
{
    (void)self;
    return getpid();
}
static RAY_METHOD(tally, int64_t, lives)
{
    (void)self;
    return ray_context_get()->restarts;
}
static RAY_METHOD(tally, int64_t, fails, (int64_t, x))
{
    return ray_fail("tally.fails: %lld", (long long)(self->n + x));
}
static RAY_METHOD(tally, void, leave)
{
    (void)self;
    ray_actor_exit();
}
static RAY_METHOD(tally, int64_t, waits, (int64_t, nth))
{
    (void)self;
    atomic_store(&page()->pid, getpid());
    CHECK_AWAIT(page()->gate, (int)nth);
    return nth;
}
static RAY_METHOD(tally, void, fini)
{
    (void)self;
    atomic_fetch_add(&page()->stopped, 1);
}

/* Calls through a handle that came as an argument. */
static RAY_REMOTE(int64_t, add_often, (ray_actor *, actor), (int64_t, x), (int64_t, times))
{
    int64_t sum = -1;
    for (int64_t i = 0; i < times; i++) {
        ray_ref *ref = ray_call(actor, tally_add, x);
        int r = ray_get(ref, &sum);
        ray_release(ref);
        if (r < 0)
            return ray_fail("%s", ray_last_error()->message);
    }
    return sum;
}
static RAY_REMOTE(int64_t, add_named, (const char *, name), (int64_t, x))
{
    int64_t sum = -1;
    ray_actor *actor = ray_actor_get(name);
    if (!actor)
        return ray_fail("%s", ray_last_error()->message);
    ray_ref *ref = ray_call(actor, tally_add, x);
    int r = ray_get(ref, &sum);
    ray_release(ref);
    ray_actor_release(actor);
    return r < 0 ? ray_fail("%s", ray_last_error()->message) : sum;
}

static void far_away(void)
{
    node *head = node_head("CPU=0");
    node *worker = node_worker(head, "CPU=2");
    nodes_join(head);
    ray_actor *actor = ray_actor_new(tally, 10);
    CHECK_REF_OK(ray_actor_ready(actor));
    CHECK_REF_INT(ray_call(actor, tally_pid), node_pid(worker));
    for (int i = 1; i <= 100; i++)
        CHECK_REF_INT(ray_call(actor, tally_add, 1), 10 + i);
    ray_ref *failed = ray_call(actor, tally_fails, 1);
    CHECK_CODE(ray_get_timeout(failed, 30000, NULL), RAY_ERR_TASK_FAILED);
    CHECK_HAS(ray_last_error()->message, "tally.fails: 111");
    ray_release(failed);
    ray_actor_release(actor);
    CHECK_AWAIT(page()->stopped, 1); /* its fini, there */
    check_stop();
    nodes_stop();
}

enum { MANY = 3000 };

static void order_of_calls(void)
{
    static ray_ref *refs[MANY];
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=2");
    nodes_join(head);
    ray_actor *actor = ray_actor_new(tally, 0);
    for (int i = 0; i < MANY; i++)
        refs[i] = ray_call(actor, tally_add, 1);
    for (int i = 0; i < MANY; i++)
        CHECK_REF_INT(refs[i], i + 1);
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

static void handles_travel(void)
{
    node *head = node_head("CPU=1");
    (void)node_worker(head, "CPU=1");
    (void)node_worker(head, "CPU=1");
    nodes_join(head);
    ray_actor *actor = ray_actor_new(tally, 0);
    ray_ref *refs[6];
    for (int i = 0; i < 6; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .spread = true), add_often, actor, 1, 20);
    for (int i = 0; i < 6; i++)
        CHECK_REF_OK(refs[i]);
    CHECK_REF_INT(ray_call(actor, tally_add, 0), 120);
    ray_ref *last = ray_remote(add_often, actor, 1, 30);
    ray_actor_release(actor); /* the task's own is the last */
    CHECK_REF_INT(last, 150);
    CHECK_AWAIT(page()->stopped, 1);
    check_stop();
    nodes_stop();
}

static void constructor_fails(void)
{
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=1");
    nodes_join(head);
    ray_actor *actor = ray_actor_new(tally, -1);
    ray_ref *ref = ray_call(actor, tally_add, 1);
    CHECK_CODE(ray_get_timeout(ref, 30000, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "expected a start of 0 or more");
    ray_release(ref);
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

static void ends(void)
{
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=1");
    nodes_join(head);
    ray_actor *actor = ray_actor_new(tally, 1);
    CHECK_REF_OK(ray_call(actor, tally_leave));
    ray_ref *ref = ray_call(actor, tally_add, 1);
    CHECK_CODE(ray_get_timeout(ref, 30000, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "ray_actor_exit");
    ray_release(ref);
    ray_actor_release(actor);

    actor = ray_actor_new(tally, 1);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 2);
    CHECK_OK(ray_kill(actor, 0));
    ref = ray_call(actor, tally_add, 1);
    CHECK_CODE(ray_get_timeout(ref, 30000, NULL), RAY_ERR_ACTOR_DIED);
    ray_release(ref);
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

static node *of_pid(node *a, node *b, int64_t pid)
{
    CHECK(node_pid(a) == pid || node_pid(b) == pid);
    return node_pid(a) == pid ? a : b;
}

/* A call that meets its death may have to be repeated. */
static int64_t pid_of(ray_actor *actor)
{
    for (int64_t pid = 0;;) {
        ray_ref *ref = ray_call(actor, tally_pid);
        int r = ray_get_timeout(ref, 30000, &pid);
        ray_release(ref);
        if (r == 0)
            return pid;
        CHECK_INT(r, RAY_ERR_ACTOR_UNAVAILABLE);
    }
}

static void restarts_elsewhere(void)
{
    node *head = node_head("CPU=0");
    node *a = node_worker(head, "CPU=1, place=1"), *b = node_worker(head, "CPU=1, place=1");
    nodes_join(head);
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 1, .resources = "place=1"), tally, 5);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 6);
    CHECK_REF_INT(ray_call(actor, tally_lives), 0);
    int64_t pid = pid_of(actor);
    node_kill(of_pid(a, b, pid));
    CHECK(pid_of(actor) != pid);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 6); /* built anew */
    CHECK_REF_INT(ray_call(actor, tally_lives), 1);
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

static void dies_with_its_node(void)
{
    node *head = node_head("CPU=0");
    node *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_actor *actor = ray_actor_new(tally, 5),
              *retried =
                  ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 1, .max_task_retries = 1), tally, 7);
    ray_ref *under_way = ray_call(actor, tally_waits, 1), *again = ray_call(retried, tally_waits, 1);
    CHECK_AWAIT(page()->started, 2);
    while (atomic_load(&page()->pid) == 0)
        check_sleep_ms(1);
    node_kill(worker);
    CHECK_CODE(ray_get_timeout(under_way, 30000, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "may have run in part");
    ray_release(under_way);
    (void)node_worker(head, "CPU=1");
    atomic_store(&page()->gate, 1);
    CHECK_REF_INT(again, 1);
    ray_actor_release(actor);
    ray_actor_release(retried);
    check_stop();
    nodes_stop();
}

static void names(void)
{
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=2");
    nodes_join(head);
    const ray_actor_options named = {.size = sizeof named, .name = "shared/sum"};
    ray_actor *actor = ray_actor_new_opts(&named, tally, 0);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 1);
    CHECK_REF_INT(ray_remote(add_named, "shared/sum", 10), 11);
    CHECK(!ray_actor_get("shared/other"));
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    ray_actor *second = ray_actor_new_opts(&named, tally, 0);
    ray_ref *ref = ray_call(second, tally_add, 1);
    CHECK_CODE(ray_get_timeout(ref, 30000, NULL), RAY_ERR_EXISTS);
    ray_release(ref);
    ray_actor_release(second);
    second = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "shared/sum", .get_if_exists = true), tally, 0);
    CHECK_REF_INT(ray_call(second, tally_add, 1), 12);
    ray_actor_release(second);
    ray_actor_release(actor);
    CHECK_AWAIT(page()->stopped, 1);
    for (int64_t end = check_now_ms() + 30000; (actor = ray_actor_get("shared/sum")); ray_actor_release(actor))
        CHECK(check_now_ms() < end);
    actor = ray_actor_new_opts(&named, tally, 100); /* the name is free */
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 101);
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

static bool lists(const char *query, const char *part)
{
    ray_view view;
    CHECK_OK(ray_state(query, &view));
    bool has = strstr(view.data, part) != NULL;
    ray_view_release(&view);
    return has;
}

static void detached(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=2");
    nodes_join(head);
    const ray_actor_options options = {.size = sizeof options, .name = "all/stays", .detached = true};
    ray_actor *actor = ray_actor_new_opts(&options, tally, 0);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 1);
    CHECK_REF_INT(ray_remote(add_named, "all/stays", 1), 2);
    ray_actor_release(actor);
    check_stop(); /* its driver goes */
    nodes_join(head);
    actor = ray_actor_get("all/stays");
    CHECK(actor);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 3);
    CHECK_INT(page()->stopped, 0);
    CHECK(lists("actors", "\"tally\"")); /* by the node where it lives */
    CHECK_OK(ray_node_drain(node_id(worker)));
    check_sleep_ms(100);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 4); /* it is waited for */
    CHECK_OK(ray_kill(actor, 0));
    ray_actor_release(actor);
    for (int64_t end = check_now_ms() + 30000; (actor = ray_actor_get("all/stays")); ray_actor_release(actor))
        CHECK(check_now_ms() < end);
    node_await_end(worker, 0, "", (int64_t)30000 * check_slowness());
    check_stop();
    nodes_stop();
}

static void in_processes(void)
{
    node *head = node_head("CPU=0");
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                            .address = node_address(head),
                                            .resources = "CPU=2",
                                            .isolation = RAY_ISOLATION_PROCESS});
    nodes_allow_log("worker.died", "");
    nodes_join(head);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 1), tally, 3);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 4);
    int64_t pid = pid_of(actor);
    CHECK(pid != node_pid(worker) && pid != getpid());
    kill((pid_t)pid, SIGKILL);
    CHECK(pid_of(actor) != pid);
    CHECK_REF_INT(ray_call(actor, tally_lives), 1);
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

/* Each life is another actor there, of the same name. */
static void restarts_under_its_name(void)
{
    node *head = node_head("CPU=0");
    node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                             .address = node_address(head),
                             .resources = "CPU=2",
                             .isolation = RAY_ISOLATION_PROCESS});
    nodes_allow_log("worker.died", "");
    nodes_join(head);
    ray_actor *actor = ray_actor_new_opts(
        RAY_WITH(ray_actor_options, .name = "all/again", .detached = true, .max_restarts = 2), tally, 1);
    for (int64_t life = 0; life < 3; life++) {
        int64_t pid = pid_of(actor);
        CHECK_REF_INT(ray_remote(add_named, "all/again", 1), 2);
        ray_actor *named = ray_actor_get("all/again");
        CHECK(named);
        CHECK_REF_INT(ray_call(named, tally_add, 1), 3);
        CHECK_REF_INT(ray_call(actor, tally_lives), life);
        ray_actor_release(named);
        if (life < 2)
            kill((pid_t)pid, SIGKILL);
        while (life < 2 && pid_of(actor) == pid) /* its death is not known yet */
            check_sleep_ms(1);
    }
    CHECK_OK(ray_kill(actor, 0));
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(int64_t, make_named, (const char *, name))
{
    ray_actor *actor = ray_actor_new_opts(
        RAY_WITH(ray_actor_options, .name = name, .detached = true, .resources = "CPU=0, place=1"), tally, 1);
    ray_ref *ref = ray_call(actor, tally_add, 0);
    int r = ray_get(ref, NULL);
    ray_release(ref);
    ray_actor_release(actor);
    return r;
}

/* Makes so many calls that wait, and cancels half of them, the latest first: how long that takes. */
static int64_t cancel_half(ray_actor *actor, ray_ref **refs, int count)
{
    for (int i = 0; i < count; i++)
        refs[i] = ray_call(actor, tally_add, 1);
    int64_t begun = check_now_ms();
    for (int i = count; i-- > count / 2;) {
        CHECK_OK(ray_cancel(refs[i], 0));
        CHECK_REF(refs[i], RAY_ERR_CANCELLED);
    }
    int64_t took = check_now_ms() - begun;
    fprintf(stderr, "%d cancelled and awaited, one by one, in %lld ms\n", count / 2, (long long)took);
    return took;
}

static void cancel_rest(ray_ref **refs, int count)
{
    for (int i = count / 2; i-- > 0;)
        CHECK_OK(ray_cancel(refs[i], 0));
    for (int i = count / 2; i-- > 0;)
        CHECK_REF(refs[i], RAY_ERR_CANCELLED);
}

/* Calls through a handle that wait for another one, the latest first: each costs the same however many there are. */
static void cancels_in_a_burst(void)
{
    enum { COUNT = 20000, TIMES = 10 };
    static ray_ref *refs[COUNT];
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=2, place=1");
    nodes_join(head);
    CHECK_REF_INT(ray_remote(make_named, "all/burst"), 0);
    ray_actor *actor = ray_actor_get("all/burst");
    ray_ref *first = ray_call(actor, tally_waits, 1);
    CHECK_AWAIT(page()->started, 1);
    int64_t few = cancel_half(actor, refs, COUNT / TIMES);
    cancel_rest(refs, COUNT / TIMES);
    int64_t many = cancel_half(actor, refs, COUNT);
    CHECK(many < 2500 * check_slowness() || many < 5 * TIMES * few); /* a slow machine is slow with few, too */
    cancel_rest(refs, COUNT);
    atomic_store(&page()->gate, 1);
    CHECK_REF_INT(first, 1);
    CHECK_REF_INT(ray_call(actor, tally_add, 1), 2);
    CHECK_OK(ray_kill(actor, 0));
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

/* Nobody has what it asks for. */
static ray_actor *homeless(void)
{
    return ray_actor_new_opts(RAY_WITH(ray_actor_options, .resources = "moon=1"), tally, 1);
}

/* The end of the runtime waits neither for a place nor for who would take it. */
static void nowhere_at_the_end(void)
{
    node *head = node_head("CPU=1");
    int64_t took = INT64_MAX;
    for (int i = 0; i < 3 && took >= 2500; i++) { /* 3 s, each time, would be for who runs its fini */
        nodes_join(head);
        ray_actor *released = homeless(), *kept = homeless();
        ray_ref *sum = ray_call(kept, tally_add, 1);
        ray_actor_release(released);
        int64_t before = check_now_ms();
        check_stop();
        took = check_now_ms() - before;
        CHECK_INT(ray_get(sum, NULL), RAY_ERR_SHUTDOWN);
        ray_release(sum);
        ray_actor_release(kept);
    }
    CHECK(took < 2500);
    nodes_stop();
}

/* Nor does it wait any more when this node is out of its cluster. */
static void nowhere_without_a_head(void)
{
    node *head = node_head("CPU=1");
    /* a join may take so long, too */
    nodes_join_as(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = node_address(head),
                           .head_wait_ms = 5000 * check_slowness()));
    ray_actor *early = homeless();
    ray_ref *sum = ray_call(early, tally_add, 1);
    node_kill(head);
    CHECK_REF(sum, RAY_ERR_HEAD_UNREACHABLE);
    ray_actor *late = homeless();
    CHECK_REF(ray_call(late, tally_add, 1), RAY_ERR_HEAD_UNREACHABLE);
    ray_actor_release(early);
    ray_actor_release(late);
    check_stop();
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(far_away), CHECK_TEST(order_of_calls), CHECK_TEST(handles_travel), CHECK_TEST(constructor_fails),
           CHECK_TEST(ends), CHECK_TEST(restarts_elsewhere), CHECK_TEST(dies_with_its_node), CHECK_TEST(names),
           CHECK_TEST(detached), CHECK_TEST(in_processes), CHECK_TEST(restarts_under_its_name),
           CHECK_TEST(cancels_in_a_burst), CHECK_TEST(nowhere_at_the_end),
           CHECK_TEST_WITH(nowhere_without_a_head, CHECK_WARNINGS))
