/* Actors of nodes that may have been declared dead: they stop, and go on or end; none lives twice. */
#include "cable.h"
#include "nodes_common.h"

#include <unistd.h>

enum { LAST_OLD = 100000, FIRST_NEW }; /* in page()->runs, below by number of the call: moments of page()->order */

static int64_t patience(void)
{
    return (int64_t)20000 * check_slowness();
}

static int runs(int64_t nth)
{
    return atomic_load(&page()->runs[nth]);
}

/* ---- actors ---- */

typedef struct clerk {
    int64_t n;
} clerk;

static RAY_ACTOR(clerk)
{
    self->n = 0;
}
/* Notes that it starts, and when: calls of the first life, and of later ones. */
static RAY_METHOD(clerk, int64_t, note, (int64_t, nth), (int64_t, took_ms))
{
    int now = atomic_fetch_add(&page()->order, 1) + 1, none = 0;
    if (ray_context_get()->restarts == 0)
        atomic_store(&page()->runs[LAST_OLD], now);
    else
        (void)atomic_compare_exchange_strong(&page()->runs[FIRST_NEW], &none, now);
    atomic_fetch_add(&page()->runs[nth], 1);
    if (atomic_load(&page()->gate) == 0)
        check_sleep_ms(took_ms);
    return ++self->n;
}
static RAY_METHOD(clerk, int64_t, waits, (int64_t, nth))
{
    (void)self;
    atomic_fetch_add(&page()->started, 1);
    CHECK_AWAIT(page()->gate, (int)nth);
    atomic_fetch_add(&page()->stopped, 1);
    return nth;
}
static RAY_METHOD(clerk, ray_stream(int64_t), counts, (int64_t, n))
{
    (void)self;
    atomic_fetch_add(&page()->started, 1);
    CHECK_AWAIT(page()->gate, 1);
    for (int64_t i = 0; i < n; i++)
        (void)ray_yield(&i);
    atomic_fetch_add(&page()->stopped, 1);
}

static ray_actor *restartable(const char *resources)
{
    return ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 1, .resources = resources), clerk);
}

static void check_pending(ray_ref *ref)
{
    CHECK_CODE(ray_get_timeout(ref, 0, NULL), RAY_ERR_TIMEOUT);
}

/* ---- a head that is silent, and comes back in time ---- */

enum { QUEUED = 8 };

/* A call under way, one that streams, of another actor, and calls behind the first. */
typedef struct work {
    ray_actor *actor, *other;
    ray_ref *under_way, *stream, *queued[QUEUED];
} work;

static void begin_work(work *w)
{
    w->actor = restartable("place=1");
    w->other = restartable("place=1");
    CHECK_REF_INT(ray_call(w->actor, clerk_note, QUEUED, 0), 1);
    w->under_way = ray_call(w->actor, clerk_waits, 1);
    w->stream = ray_call(w->other, clerk_counts, 3);
    CHECK_AWAIT(page()->started, 2);
    for (int64_t i = 0; i < QUEUED; i++)
        w->queued[i] = ray_call(w->actor, clerk_note, i, 0);
}

/* What ran has ended there, and nobody has heard of it; what did not run does not start. */
static void check_parked(work *w)
{
    ray_ref *item = ray_next(w->stream);
    atomic_store(&page()->gate, 1);
    CHECK_AWAIT(page()->stopped, 2);
    check_sleep_ms(500);
    check_pending(w->under_way);
    check_pending(item);
    for (int64_t i = 0; i < QUEUED; i++)
        CHECK_INT(runs(i), 0);
    ray_release(item);
}

static void end_work(work *w)
{
    CHECK_REF_INT(w->under_way, 1);
    for (int64_t i = 0; i < QUEUED; i++) {
        CHECK_REF_INT(w->queued[i], 2 + i);
        CHECK_INT(runs(i), 1);
    }
    CHECK_REF_INT(ray_next(w->stream), 1); /* the first was asked for when it was held */
    CHECK_REF_INT(ray_next(w->stream), 2);
    CHECK_REF(ray_next(w->stream), RAY_ERR_STREAM_END);
    ray_release(w->stream);
    ray_actor_release(w->actor);
    ray_actor_release(w->other);
}

static void silent_head(ray_isolation isolation)
{
    work w;
    node *head = node_head("CPU=0");
    node *worker = node_start(RAY_WITH(ray_config, .role = RAY_ROLE_WORKER, .address = node_address(head),
                                       .resources = "CPU=3, place=2", .isolation = isolation, .num_threads = 3));
    nodes_join(head);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    ray_actor *plain = ray_actor_new(clerk);
    CHECK_REF_INT(ray_call(plain, clerk_note, QUEUED, 0), 1);
    begin_work(&w);
    node_pause(head);
    node_expect_log(worker, "node.parked", "2 actors", patience());
    check_parked(&w);
    CHECK_REF_INT(ray_call(plain, clerk_note, QUEUED, 0), 2); /* others go on, without a head */
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    node_resume(head);
    end_work(&w);
    CHECK_REF_INT(ray_call(plain, clerk_note, QUEUED, 0), 3);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    ray_actor_release(plain);
    nodes_allow_log("head.unreachable", "");
    check_allow_log("head.unreachable", "");
    check_stop();
    nodes_stop();
}

static void in_threads(void)
{
    silent_head(RAY_ISOLATION_AUTO);
}

static void in_processes(void)
{
    silent_head(RAY_ISOLATION_PROCESS);
}

/* A name is to be one actor's, whosever node it lives on. */
static void one_with_a_name(void)
{
    node *head = node_head("CPU=0");
    nodes_join_as(RAY_WITH(ray_config, .address = node_address(head), .resources = "CPU=1", .num_threads = 2));
    node *worker = node_worker(head, "CPU=1, there=1");
    nodes_await(3, RAY_NODE_ALIVE, patience());
    ray_actor *here = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "n/here"), clerk),
              *there = ray_actor_new_opts(
                  RAY_WITH(ray_actor_options, .name = "n/there", .detached = true, .resources = "there=1"), clerk);
    CHECK_REF_INT(ray_call(here, clerk_note, 0, 0), 1);
    CHECK_REF_INT(ray_call(there, clerk_note, 0, 0), 1);
    node_pause(head);
    check_expect_log("node.parked", "1 actors", patience());
    node_expect_log(worker, "node.parked", "1 actors", patience());
    ray_ref *first = ray_call(here, clerk_note, 1, 0), *second = ray_call(there, clerk_note, 2, 0);
    check_sleep_ms(500);
    CHECK_INT(runs(1) + runs(2), 0);
    node_resume(head);
    CHECK_REF_INT(first, 2);
    CHECK_REF_INT(second, 2);
    CHECK_OK(ray_kill(there, 0));
    ray_actor_release(here);
    ray_actor_release(there);
    nodes_allow_log("head.unreachable", "");
    check_allow_log("head.unreachable", "");
    check_stop();
    nodes_stop();
}

/* ---- a node that is declared dead ---- */

enum { MANY = 2000 }; /* more than end before the lease does */

static ray_actor *begin_many(ray_ref **refs, const ray_actor_options *options)
{
    ray_actor *actor = ray_actor_new_opts(options, clerk);
    for (int64_t i = 0; i < MANY; i++)
        refs[i] = ray_call(actor, clerk_note, i, 20);
    CHECK_AWAIT(page()->runs[2], 1);
    return actor;
}

static void end_many(ray_actor *actor, ray_ref **refs)
{
    atomic_store(&page()->gate, 1); /* the rest in no time */
    for (int64_t i = 0; i < MANY; i++)
        CHECK_REF_OK(refs[i]);
    ray_actor_release(actor);
    nodes_await_available("place", 2);
    nodes_allow_log("head.unreachable", "");
    nodes_allow_log("node.parked", "");
}

/* It was stopped when its lease ran out, so nobody there was told: whoever would start a call looks himself. */
static void stopped_host(void)
{
    static ray_ref *refs[MANY];
    node *head = node_head("CPU=0"), *old = node_worker(head, "CPU=1, place=1");
    nodes_join(head);
    ray_actor *actor = begin_many(
        refs, RAY_WITH(ray_actor_options, .max_restarts = 1, .max_task_retries = -1, .resources = "place=1"));
    node_worker(head, "CPU=1, place=1");
    nodes_await(4, RAY_NODE_ALIVE, patience());
    node_pause(old);
    CHECK_AWAIT(page()->runs[FIRST_NEW], 1);
    int last = runs(LAST_OLD);
    CHECK(last < runs(FIRST_NEW));
    node_resume(old);
    node_expect_log(old, "node.fenced", "joins anew", patience());
    nodes_await(4, RAY_NODE_ALIVE, patience());
    end_many(actor, refs);
    CHECK_INT(runs(LAST_OLD), last);
    check_stop();
    nodes_stop();
}

/* Its lease ran out, but it comes back before it is declared dead, as a rule; whichever it is, nothing stands still. */
static void stopped_host_for_less(void)
{
    static ray_ref *refs[MANY];
    node *head = node_head("CPU=0"), *old = node_worker(head, "CPU=1, place=1");
    nodes_join(head);
    ray_actor *actor = begin_many(
        refs, RAY_WITH(ray_actor_options, .max_restarts = 1, .max_task_retries = -1, .resources = "place=1"));
    node_worker(head, "CPU=1, place=1");
    node_pause(old);
    check_sleep_ms(8500);
    node_resume(old);
    end_many(actor, refs);
    CHECK(!runs(FIRST_NEW) || runs(LAST_OLD) < runs(FIRST_NEW));
    nodes_allow_log("node.fenced", "");
    check_stop();
    nodes_stop();
}

/* Its node is cut off, and goes on otherwise. */
static void cut_off_host(void)
{
    static ray_ref *refs[MANY];
    cable sides;
    const char *why = cable_lay(&sides);
    if (why)
        check_skip(why);
    node *head = node_start(
        &(ray_config){.role = RAY_ROLE_HEAD, .address = CABLE_NEAR ":0", .resources = "CPU=0", .num_threads = 1});
    CHECK(cable_enter(sides.far) == 0);
    node *far = node_worker(head, "CPU=2, place=1");
    CHECK(cable_enter(sides.near) == 0);
    nodes_join(head);
    ray_actor *actor = begin_many(
        refs, RAY_WITH(ray_actor_options, .max_restarts = 1, .max_task_retries = -1, .resources = "place=1"));
    node_worker(head, "CPU=1, place=1");
    nodes_await(4, RAY_NODE_ALIVE, patience());
    CHECK(cable_pull() == 0);
    node_expect_log(far, "node.parked", "1 actors", patience());
    int last = runs(LAST_OLD);
    CHECK_INT(runs(FIRST_NEW), 0);
    CHECK_AWAIT(page()->runs[FIRST_NEW], 1);
    CHECK(cable_plug_in() == 0);
    node_expect_log(far, "node.fenced", "joins anew", patience());
    nodes_await(4, RAY_NODE_ALIVE, patience());
    end_many(actor, refs);
    CHECK(runs(LAST_OLD) <= last + 1); /* one may have been about to begin */
    CHECK(runs(LAST_OLD) < runs(FIRST_NEW));
    check_stop();
    nodes_stop();
    cable_remove(&sides);
}

CHECK_MAIN(CHECK_TEST(in_threads), CHECK_TEST(in_processes), CHECK_TEST(one_with_a_name), CHECK_TEST(stopped_host),
           CHECK_TEST(stopped_host_for_less), CHECK_TEST(cut_off_host))
