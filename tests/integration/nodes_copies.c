/* Published objects with copies on several nodes: who keeps them, when those die, leave, or are too few; what is there
 * without the head. */
#include "nodes_common.h"

#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000, WORKERS_MOST = 4 };
#define LARGE ((size_t)6 << 20)

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

/* Processes of one host copy, as those of several do. */
static void as_on_other_hosts(void)
{
    CHECK(setenv("RAY_MAP_NEIGHBOURS", "0", 1) == 0);
}

static void join_for(const node *head, int64_t timeout_ms)
{
    nodes_join_as(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = node_address(head), .ns = "here",
                           .timeout_ms = timeout_ms));
}

static void join_as(const node *head)
{
    join_for(head, 0);
}

static node *start(size_t count, node **workers)
{
    node *head = node_head("CPU=1");
    for (size_t i = 0; i < count; i++)
        workers[i] = node_worker(head, "CPU=1");
    join_as(head);
    nodes_await(count + 2, RAY_NODE_ALIVE, patience());
    return head;
}

/* ---- what they are ---- */

static char *pattern(size_t size)
{
    char *bytes = malloc(size);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 31 + i / 4096);
    return bytes;
}

static int64_t check_published(const char *name)
{
    ray_ref *ref = ray_object_lookup(name);
    ray_view view;
    if (ray_get_timeout(ref, patience(), &view) != 0) {
        ray_fail("%s: %s", ray_error_name(ray_last_error()->code), ray_last_error()->message);
        ray_release(ref);
        return -1;
    }
    int64_t size = (int64_t)view.size;
    char *want = pattern(view.size);
    CHECK(memcmp(view.data, want, view.size) == 0);
    free(want);
    ray_view_release(&view);
    ray_release(ref);
    return size;
}
static RAY_REMOTE(int64_t, read_published, (const char *, name))
{
    return check_published(name);
}
static RAY_REMOTE(void, publish_there, (const char *, name), (int64_t, size), (int64_t, copies))
{
    char *bytes = pattern((size_t)size);
    ray_ref *ref = ray_put(bytes, (size_t)size);
    CHECK_OK(ray_object_publish(name, ref, (uint32_t)copies));
    ray_release(ref);
    free(bytes);
}

static void publish(const char *name, size_t size, uint32_t copies)
{
    char *bytes = pattern(size);
    ray_ref *ref = ray_put(bytes, size);
    CHECK_OK(ray_object_publish(name, ref, copies));
    ray_release(ref);
    free(bytes);
}

static int64_t read_on(const node *n, const char *name)
{
    int64_t size = 0;
    char whole[64];
    snprintf(whole, sizeof whole, "here/%s", name);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(n)), read_published, whole);
    int r = ray_get_timeout(ref, 2 * patience(), &size);
    if (r != 0)
        fprintf(stderr, "%s\n", ray_last_error()->message);
    CHECK_OK(r);
    ray_release(ref);
    return size;
}

/* ---- who keeps them ---- */

static void query_of(const char *name, char query[128])
{
    snprintf(query, 128, "published?filter_keys=name&filter_predicates=%%3D&filter_values=%s", name);
}

static bool keeps(const node *n, const char *name)
{
    char query[128];
    query_of(name, query);
    return state_has(query, node_id(n));
}

static void await_copies(const char *name, unsigned count)
{
    char query[128], part[32];
    ray_view view;
    query_of(name, query);
    snprintf(part, sizeof part, "\"copies\": %u,", count);
    for (int64_t end = check_now_ms() + patience(); !state_has(query, part); check_sleep_ms(10)) {
        if (check_now_ms() < end)
            continue;
        CHECK_OK(ray_state(query, &view));
        fprintf(stderr, "not %u copies: %.*s\n", count, (int)view.size, (const char *)view.data);
        CHECK(!"in time");
    }
}

static node *keeper_of(const char *name, node *const *workers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (workers[i] && keeps(workers[i], name))
            return workers[i];
    CHECK(!"a worker keeps it");
    return NULL;
}

static void forget(node **workers, size_t count, const node *gone)
{
    for (size_t i = 0; i < count; i++)
        if (workers[i] == gone)
            workers[i] = NULL;
}

/* A keeper that is stopped takes what it keeps with it: so nobody keeps anything then. */
static void finish(void)
{
    static const char *const names[] = {"model", "small", "number"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)ray_object_unpublish(names[i]);
    check_stop();
    nodes_stop();
}

/* ---- sub-tests ---- */

/* The object outlives its owner, whose program ends, and each of its keepers but the last. */
static void keepers_die(void)
{
    node *workers[WORKERS_MOST], *head;
    as_on_other_hosts();
    head = start(WORKERS_MOST, workers);
    publish("model", LARGE, 3);
    await_copies("model", 3);
    CHECK(!keeps(head, "model")); /* as long as there are others */
    check_stop();
    join_as(head);
    nodes_await(WORKERS_MOST + 2, RAY_NODE_ALIVE, patience());
    await_copies("model", 3);
    CHECK_INT(check_published("model"), (int64_t)LARGE);
    for (unsigned left = WORKERS_MOST; left > 0; left--) { /* made up for by those who are left, at last the head */
        node *victim = keeper_of("model", workers, WORKERS_MOST);
        node_kill(victim);
        forget(workers, WORKERS_MOST, victim);
        nodes_await(left + 1, RAY_NODE_ALIVE, patience()); /* the head, a driver, and one fewer */
        await_copies("model", left < 3 ? left : 3);
        CHECK_INT(read_on(head, "model"), (int64_t)LARGE);
    }
    CHECK(keeps(head, "model"));
    workers[0] = node_worker(head, "CPU=1"); /* those who come later make up for them, too */
    nodes_await(3, RAY_NODE_ALIVE, patience());
    await_copies("model", 2);
    CHECK(keeps(workers[0], "model"));
    CHECK_INT(read_on(workers[0], "model"), (int64_t)LARGE);
    finish();
}

/* Mapped copies are as good: the pages stay when the process goes that has made them. */
static void mapped_keepers_die(void)
{
    node *workers[3], *head = start(3, workers);
    CHECK_REF_OK(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(workers[0])), publish_there,
                                 "here/model", (int64_t)LARGE, 2));
    CHECK(keeps(workers[0], "model")); /* it has the bytes already */
    await_copies("model", 2);
    node_kill(workers[0]);
    workers[0] = NULL;
    nodes_await(4, RAY_NODE_ALIVE, patience());
    await_copies("model", 2);
    node *victim = keeper_of("model", workers, 3);
    node_kill(victim);
    forget(workers, 3, victim);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    await_copies("model", 2);
    CHECK_INT(read_on(head, "model"), (int64_t)LARGE);
    CHECK_INT(check_published("model"), (int64_t)LARGE);
    finish();
}

/* The owner dies at once, and so do all keepers but one: what is left is enough. */
static void owner_is_killed(void)
{
    node *workers[3], *head;
    as_on_other_hosts();
    head = start(3, workers);
    CHECK_REF_OK(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(workers[1])), publish_there,
                                 "here/model", (int64_t)LARGE, 2));
    node_kill(workers[1]);
    CHECK_INT(read_on(head, "model"), (int64_t)LARGE);
    CHECK_INT(read_on(workers[0], "model"), (int64_t)LARGE);
    await_copies("model", 2);
    CHECK_INT(read_on(workers[2], "model"), (int64_t)LARGE);
    finish();
}

/* One node is the least: a driver is none that would stay. */
static void one_copy(void)
{
    node *workers[1], *head;
    as_on_other_hosts();
    head = start(1, workers);
    publish("model", LARGE, 0);
    publish("small", 1000, 1);
    CHECK(keeps(workers[0], "model"));
    CHECK(keeps(head, "small"));
    check_stop();
    join_as(head);
    CHECK_INT(check_published("model"), (int64_t)LARGE);
    CHECK_INT(check_published("small"), 1000);
    finish();
}

static void small_values(void)
{
    node *workers[2], *head = start(2, workers);
    int64_t number = 0;
    ray_ref *task = ray_remote(twice, 21);
    publish("small", 1000, 2);
    CHECK_OK(ray_object_publish("number", task, 3));
    ray_release(task);
    await_copies("small", 2);
    await_copies("number", 3);
    node *keeper = keeper_of("small", workers, 2);
    node_kill(keeper);
    await_copies("number", 2);
    await_copies("small", 2);
    check_stop();
    join_as(head);
    CHECK_INT(check_published("small"), 1000);
    ray_ref *found = ray_object_lookup("number");
    CHECK_OK(ray_get(found, &number));
    CHECK_INT(number, 42);
    ray_release(found);
    finish();
}

/* It does what there is, and says so; those who come later make up for it. */
static void too_few_nodes(void)
{
    node *workers[3] = {NULL}, *head;
    as_on_other_hosts();
    head = start(1, workers);
    publish("model", LARGE, 4);
    await_copies("model", 2);
    node_expect_log(head, "object.copies", "published object here/model is kept on 2 nodes of 4", patience());
    for (unsigned i = 1; i < 3; i++) {
        workers[i] = node_worker(head, "CPU=1");
        await_copies("model", 2 + i);
    }
    node_expect_log(head, "object.copies", "published object here/model is kept on 4 nodes of 4", patience());
    nodes_await(5, RAY_NODE_ALIVE, patience());
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(read_on(workers[i], "model"), (int64_t)LARGE);
    finish();
}

/* Who is drained stays until another node keeps what it kept. */
static void keeper_is_drained(void)
{
    node *workers[2], *head;
    as_on_other_hosts();
    head = start(2, workers);
    publish("model", LARGE, 1);
    check_stop(); /* the owner is gone: nobody else has it */
    join_as(head);
    node *keeper = keeper_of("model", workers, 2);
    CHECK_OK(ray_node_drain(node_id(keeper)));
    node_await_end(keeper, 0, "", patience());
    forget(workers, 2, keeper);
    await_copies("model", 1);
    (void)keeper_of("model", workers, 2);
    CHECK_INT(check_published("model"), (int64_t)LARGE);
    keeper = keeper_of("model", workers, 2);
    CHECK_OK(ray_node_drain(node_id(keeper))); /* now there is only the head */
    node_await_end(keeper, 0, "", patience());
    await_copies("model", 1);
    CHECK(keeps(head, "model"));
    CHECK_INT(read_on(head, "model"), (int64_t)LARGE);
    finish();
}

static void await_empty_stores(size_t count)
{
    for (int64_t end = check_now_ms() + patience(); count_in("objects", "\"store_used_bytes\": 0,") != count;
         check_sleep_ms(10))
        CHECK(check_now_ms() < end);
}

/* What it has made itself goes on elsewhere, too, for the name and for who has a ref. */
static void owner_is_drained(void)
{
    node *workers[2], *head;
    as_on_other_hosts();
    head = start(2, workers);
    CHECK_REF_OK(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(workers[0])), publish_there,
                                 "here/model", (int64_t)LARGE, 1));
    CHECK(keeps(workers[0], "model"));
    ray_ref *ref = ray_object_lookup("model");
    CHECK_OK(ray_get(ref, NULL));
    CHECK_OK(ray_node_drain(node_id(workers[0])));
    node_await_end(workers[0], 0, "", patience());
    await_copies("model", 1);
    CHECK(keeps(workers[1], "model"));
    CHECK_INT(read_on(head, "model"), (int64_t)LARGE);
    ray_view view;
    CHECK_OK(ray_get(ref, &view));
    CHECK_INT(view.size, LARGE);
    ray_view_release(&view);
    ray_release(ref);
    finish();
}

static void unpublished(void)
{
    node *workers[2];
    as_on_other_hosts();
    (void)start(2, workers);
    publish("model", LARGE, 3);
    await_copies("model", 3);
    ray_ref *ref = ray_object_lookup("model");
    CHECK_OK(ray_object_unpublish("model"));
    CHECK_REF(ray_object_lookup("model"), RAY_ERR_NOT_FOUND);
    CHECK_CODE(ray_object_unpublish("model"), RAY_ERR_NOT_FOUND);
    publish("model", 1000, 3); /* the name is free */
    CHECK_INT(check_published("model"), 1000);
    CHECK_OK(ray_object_unpublish("model"));
    ray_view view;
    CHECK_OK(ray_get(ref, &view)); /* refs to the object stay good */
    CHECK_INT(view.size, LARGE);
    ray_view_release(&view);
    ray_release(ref);
    await_empty_stores(4); /* of all, the driver's own too */
    finish();
}

/* What a node keeps it finds without the head, by its name. */
static void head_is_away(void)
{
    node *workers[2], *head;
    as_on_other_hosts();
    head = start(2, workers);
    publish("model", LARGE, 2);
    publish("small", 1000, 3);
    await_copies("model", 2);
    await_copies("small", 3);
    check_stop();
    join_for(head, 3000 * check_slowness()); /* each answer, and the join, must come in that */
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *known = ray_object_lookup("model");
    CHECK_OK(ray_get(known, NULL));
    for (size_t i = 0; i < 2; i++) /* who does not know this driver cannot learn of it without the head */
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(workers[i])), twice, 1), 2);
    nodes_allow_log("head.unreachable", "");
    node_kill(head);
    for (size_t i = 0; i < 2; i++) {
        CHECK_INT(read_on(workers[i], "model"), (int64_t)LARGE);
        CHECK_INT(read_on(workers[i], "small"), 1000);
    }
    CHECK_REF(ray_object_lookup("model"), RAY_ERR_HEAD_UNREACHABLE); /* a driver keeps nothing */
    ray_view view;
    CHECK_OK(ray_get(known, &view)); /* but the ref that it has is as good as before */
    CHECK_INT(view.size, LARGE);
    ray_view_release(&view);
    ray_release(known);
    check_expect_log("head.unreachable", "", patience());
    check_stop();
    for (size_t i = 0; i < 2; i++)
        node_kill(workers[i]);
    nodes_stop();
}

static node *start_small(ray_role role, const char *address)
{
    return node_start(
        &(ray_config){.role = role, .address = address, .resources = "CPU=1", .store_bytes = 1 << 20, .spill_dir = ""});
}

/* Who has no room says so, and another one is asked; if there is none the object has no name. */
static void no_room(void)
{
    as_on_other_hosts();
    nodes_make_key();
    node *head = start_small(RAY_ROLE_HEAD, "127.0.0.1:0"), *small = start_small(RAY_ROLE_WORKER, node_address(head));
    char *bytes = pattern(LARGE);
    join_as(head);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    ray_ref *ref = ray_put(bytes, LARGE);
    CHECK_CODE(ray_object_publish("model", ref, 2), RAY_ERR_STORE_FULL);
    CHECK_REF(ray_object_lookup("model"), RAY_ERR_NOT_FOUND);
    node *large = node_worker(head, "CPU=1");
    nodes_await(4, RAY_NODE_ALIVE, patience());
    CHECK_OK(ray_object_publish("model", ref, 2));
    ray_release(ref);
    await_copies("model", 1);
    CHECK(keeps(large, "model") && !keeps(small, "model"));
    CHECK_INT(read_on(large, "model"), (int64_t)LARGE);
    free(bytes);
    finish();
}

/* The loop of a node does not wait for what its worker processes publish. */
static void from_worker_processes(void)
{
    nodes_make_key();
    node *head = node_start(&(ray_config){
        .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1", .isolation = RAY_ISOLATION_PROCESS});
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                            .address = node_address(head),
                                            .resources = "CPU=1",
                                            .isolation = RAY_ISOLATION_PROCESS});
    const node *const all[] = {head, worker};
    join_as(head);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    for (size_t i = 0; i < 2; i++) {
        CHECK_REF_OK(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(all[i])), publish_there,
                                     i ? "here/small" : "here/model", (int64_t)LARGE, 2));
        await_copies(i ? "small" : "model", 2);
    }
    CHECK_INT(read_on(head, "small"), (int64_t)LARGE);
    CHECK_INT(read_on(worker, "model"), (int64_t)LARGE);
    finish();
}

/* Without a cluster there is one node, which will do. */
static void alone(void)
{
    check_start(2);
    publish("model", LARGE, 3);
    publish("small", 10, 2);
    CHECK(state_has("published", "\"copies\": 1, \"copies_wanted\": 3"));
    CHECK_INT(check_published("model"), (int64_t)LARGE);
    CHECK_OK(ray_object_unpublish("model"));
    CHECK_REF(ray_object_lookup("model"), RAY_ERR_NOT_FOUND);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(keepers_die), CHECK_TEST(mapped_keepers_die), CHECK_TEST(owner_is_killed), CHECK_TEST(one_copy),
           CHECK_TEST(small_values), CHECK_TEST(too_few_nodes), CHECK_TEST(keeper_is_drained),
           CHECK_TEST(owner_is_drained), CHECK_TEST(unpublished), CHECK_TEST(head_is_away), CHECK_TEST(no_room),
           CHECK_TEST(from_worker_processes), CHECK_TEST(alone))
