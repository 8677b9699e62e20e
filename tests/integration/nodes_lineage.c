/* Values of tasks that are lost with their node: found with who has a copy, made again, or lost by name. */
#include "nodes_common.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };
#define MIB ((int64_t)1 << 20)

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

static int runs(int64_t seed)
{
    return atomic_load(&page()->runs[seed]);
}

/* ---- what they do ---- */

static ray_buffer *filled(int64_t size, int64_t seed)
{
    ray_buffer *buffer = ray_create((size_t)size);
    if (buffer)
        memset(buffer->data, (int)(seed + 1), (size_t)size);
    return buffer;
}

static RAY_REMOTE(ray_buffer *, blob, (int64_t, size), (int64_t, seed))
{
    atomic_fetch_add(&page()->runs[seed], 1);
    return filled(size, seed);
}
/* The next of a chain: as large, of the next number. */
static RAY_REMOTE(ray_buffer *, next_blob, (ray_view, before), (int64_t, seed))
{
    atomic_fetch_add(&page()->runs[seed], 1);
    if (*(const unsigned char *)before.data != seed)
        ray_fail("expected %d, got %d", (int)seed, *(const unsigned char *)before.data);
    return filled((int64_t)before.size, seed);
}
/* Another size each time. */
static RAY_REMOTE(ray_buffer *, fickle, (int64_t, seed))
{
    return filled(MIB + atomic_fetch_add(&page()->runs[seed], 1), seed);
}
static RAY_REMOTE(ray_buffer *, once, (int64_t, seed))
{
    if (atomic_fetch_add(&page()->runs[seed], 1) > 0)
        ray_fail("not twice");
    return filled(MIB, seed);
}
static RAY_REMOTE(int64_t, first_byte, (ray_view, bytes))
{
    return *(const unsigned char *)bytes.data;
}
static RAY_REMOTE(int64_t, read_inside, (ray_ref *, ref))
{
    ray_view v;
    if (ray_get(ref, &v) < 0)
        return ray_last_error()->code;
    int64_t first = *(const unsigned char *)v.data;
    ray_view_release(&v);
    return first;
}
static RAY_REMOTE(int64_t, hold_bytes, (ray_view, bytes))
{
    atomic_fetch_add(&page()->started, 1);
    while (atomic_load(&page()->gate) == 0)
        usleep(1000);
    return *(const unsigned char *)bytes.data;
}
static RAY_REMOTE(ray_ref *, put_there, (int64_t, size))
{
    char *bytes = calloc(1, (size_t)size);
    ray_ref *ref = ray_put(bytes, (size_t)size);
    free(bytes);
    return ref;
}

#define SUBMIT_ON(where, ...) ray_remote_opts(RAY_WITH(ray_task_options, .resources = where), __VA_ARGS__)

static void await(ray_ref *ref)
{
    CHECK_INT(ray_wait(&ref, 1, 1, patience(), NULL), 1);
}

static void check_value(ray_ref *ref, int64_t size, int64_t seed)
{
    ray_view v;
    CHECK_OK(ray_get(ref, &v));
    CHECK(v.size == (size_t)size && *(const unsigned char *)v.data == seed + 1 &&
          ((const unsigned char *)v.data)[v.size - 1] == seed + 1);
    ray_view_release(&v);
}

static void check_lost(ray_ref *ref, int code, const char *words, const node *of)
{
    ray_view v;
    CHECK_CODE(ray_get(ref, &v), code);
    CHECK_HAS(ray_last_error()->message, words);
    CHECK_HAS(ray_last_error()->message, node_id(of));
}

static void done(void)
{
    check_stop();
    nodes_stop();
}

/* ---- made again ---- */

static void a_value(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ref = ray_remote(blob, 4 * MIB, (int64_t)1);
    await(ref);
    node_kill(first);
    node_worker(head, "CPU=1");
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_value(ref, 4 * MIB, 1);
    CHECK_INT(runs(1), 2);
    check_value(ref, 4 * MIB, 1);
    CHECK_INT(runs(1), 2);
    ray_release(ref);
    done();
}

static void a_chain(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *a = ray_remote(blob, 2 * MIB, (int64_t)1), *b = ray_remote(next_blob, a, (int64_t)2),
            *c = ray_remote(next_blob, b, (int64_t)3);
    ray_release(a);
    ray_release(b);
    await(c);
    node_kill(first);
    node_worker(head, "CPU=1");
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_value(c, 2 * MIB, 3);
    for (int64_t i = 1; i <= 3; i++)
        CHECK_INT(runs(i), 2);
    ray_release(c);
    done();
}

static void several_at_once(void)
{
    enum { COUNT = 8 };
    ray_ref *refs[COUNT], *sums[COUNT];
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=2");
    nodes_join(head);
    for (int64_t i = 0; i < COUNT; i++)
        refs[i] = ray_remote(blob, MIB, i);
    for (int i = 0; i < COUNT; i++)
        await(refs[i]);
    node_kill(first);
    node_worker(head, "CPU=2");
    nodes_await(1, RAY_NODE_DEAD, patience());
    for (int i = 0; i < COUNT; i++) /* what is an argument of a task, and wanted here as well */
        sums[i] = ray_remote(first_byte, refs[i]);
    for (int64_t i = 0; i < COUNT; i++) {
        check_value(refs[i], MIB, i);
        CHECK_REF_INT(sums[i], i + 1);
        CHECK_INT(runs(i), 2);
        ray_release(refs[i]);
    }
    done();
}

static void *kill_soon(void *arg)
{
    usleep(30000);
    kill((pid_t)node_pid(arg), SIGKILL);
    return NULL;
}

/* Without waiting for its death to be known, and with a part of it here. */
static void in_the_middle(void)
{
    pthread_t killer;
    setenv("RAY_MAP_NEIGHBOURS", "0", 1);
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1, a=1");
    nodes_join(head);
    ray_ref *ref = ray_remote(blob, 192 * MIB, (int64_t)1);
    await(ref);
    node_worker(head, "CPU=1, b=1");
    nodes_await(4, RAY_NODE_ALIVE, patience());
    CHECK(pthread_create(&killer, NULL, kill_soon, first) == 0);
    check_value(ref, 192 * MIB, 1);
    pthread_join(killer, NULL);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    ray_release(ref);
    done();
}

/* It runs where its options say, and is read where it was not before. */
static void for_another_node(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1, a=1");
    node_worker(head, "CPU=1, b=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *ref = SUBMIT_ON("CPU=1, a=1", blob, 4 * MIB, (int64_t)1);
    await(ref);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    ray_ref *inside = SUBMIT_ON("b=1", read_inside, ref), *argument = SUBMIT_ON("b=1", first_byte, ref);
    check_sleep_ms(100);
    node_worker(head, "CPU=1, a=1");
    CHECK_REF_INT(inside, 2);
    CHECK_REF_INT(argument, 2);
    CHECK_INT(runs(1), 2);
    ray_release(ref);
    done();
}

/* This node can run it itself. */
static void made_here(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1, x=1");
    nodes_join_as(RAY_WITH(ray_config, .address = node_address(head), .resources = "CPU=0, x=1"));
    node *second = node_worker(head, "CPU=1, c=1");
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *ref = ray_remote_opts(
        RAY_WITH(ray_task_options, .resources = "CPU=0, x=0.5", .node_id = node_id(first), .node_soft = true), blob,
        4 * MIB, (int64_t)1);
    await(ref);
    ray_ref *later = SUBMIT_ON("c=1", read_inside, ref);
    CHECK_REF_INT(later, 2);
    node_kill(first);
    node_kill(second);
    nodes_await(2, RAY_NODE_DEAD, patience());
    check_value(ref, 4 * MIB, 1);
    CHECK_INT(runs(1), 2);
    node_worker(head, "CPU=1, c=1");
    CHECK_REF_INT(SUBMIT_ON("c=1", read_inside, ref), 2);
    CHECK_REF_INT(SUBMIT_ON("c=1", first_byte, ref), 2);
    CHECK_INT(runs(1), 2);
    ray_release(ref);
    done();
}

static void a_copy_is_used(void)
{
    setenv("RAY_MAP_NEIGHBOURS", "0", 1);
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1, a=1");
    node_worker(head, "CPU=1, b=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *ref = SUBMIT_ON("CPU=1, a=1", blob, 8 * MIB, (int64_t)1);
    await(ref);
    ray_ref *held = SUBMIT_ON("b=1", hold_bytes, ref);
    CHECK_AWAIT(page()->started, 1);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_value(ref, 8 * MIB, 1);
    CHECK_INT(runs(1), 1);
    atomic_store(&page()->gate, 1);
    CHECK_REF_INT(held, 2);
    ray_release(ref);
    done();
}

/* The node of the copy dies as well, with tasks that wait for it. */
static void the_copy_dies_too(void)
{
    setenv("RAY_MAP_NEIGHBOURS", "0", 1);
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1, a=1"),
         *second = node_worker(head, "CPU=1, b=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *ref = SUBMIT_ON("CPU=1, a=1", blob, 8 * MIB, (int64_t)1);
    await(ref);
    ray_ref *held = SUBMIT_ON("b=1", hold_bytes, ref);
    CHECK_AWAIT(page()->started, 1);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    ray_ref *inside = SUBMIT_ON("CPU=0, c=1", read_inside, ref); /* nobody has a c yet */
    ray_ref *sum = SUBMIT_ON("CPU=0, b=1", first_byte, ref);     /* nobody has a b left */
    node_kill(second);
    nodes_await(2, RAY_NODE_DEAD, patience());
    node_worker(head, "CPU=2, a=1, b=2");
    node_worker(head, "CPU=1, c=1");
    CHECK_REF_INT(inside, 2);
    CHECK_REF_INT(sum, 2);
    atomic_store(&page()->gate, 1);
    CHECK_REF_INT(held, 2); /* it was tried again */
    CHECK_INT(runs(1), 2);
    ray_release(ref);
    done();
}

/* ---- found by a name, and the ref that was published is released ---- */

static RAY_REMOTE(int64_t, look_up_and_wait, (const char *, name))
{
    ray_view v;
    ray_ref *ref = ray_object_lookup(name);
    if (ray_wait(&ref, 1, 1, patience(), NULL) != 1)
        return ray_fail("it is not there");
    atomic_fetch_add(&page()->started, 1);
    CHECK_AWAIT(page()->gate, 1);
    int r = ray_get(ref, &v);
    if (r < 0)
        return ray_fail("%s", ray_last_error()->message);
    int64_t first = *(const unsigned char *)v.data;
    ray_view_release(&v);
    ray_release(ref);
    return first;
}

static void a_name(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1, a=1");
    node_worker(head, "CPU=1, b=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *ref = SUBMIT_ON("CPU=1, a=1", blob, 4 * MIB, (int64_t)1);
    await(ref);
    CHECK_OK(ray_object_publish("all/lineage", ref, 0));
    ray_ref *here = ray_object_lookup("all/lineage"), *there = SUBMIT_ON("b=1", look_up_and_wait, "all/lineage");
    await(here);
    CHECK_AWAIT(page()->started, 1);
    CHECK_OK(ray_object_unpublish("all/lineage"));
    ray_release(ref); /* those that were found are refs to it */
    check_sleep_ms(200);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    node_worker(head, "CPU=1, a=1");
    check_value(here, 4 * MIB, 1);
    CHECK_INT(runs(1), 2);
    ray_release(here);
    atomic_store(&page()->gate, 1);
    CHECK_REF_INT(there, 2);
    done();
}

/* ---- lost ---- */

static void retries_are_used_up(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *never = ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), blob, MIB, (int64_t)1);
    ray_ref *again = ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = 1), blob, MIB, (int64_t)2);
    await(never);
    await(again);
    node_kill(first);
    node *second = node_worker(head, "CPU=1");
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_lost(never, RAY_ERR_REBUILD_FAILED, "no retries left", first);
    CHECK_REF_INT(ray_remote(first_byte, again), 3);
    CHECK_INT(runs(2), 2);
    node_kill(second);
    node_worker(head, "CPU=1");
    nodes_await(2, RAY_NODE_DEAD, patience());
    check_lost(again, RAY_ERR_REBUILD_FAILED, "no retries left", second);
    ray_ref *sum = ray_remote(first_byte, again);
    int64_t n;
    CHECK_CODE(ray_get(sum, &n), RAY_ERR_REBUILD_FAILED);
    CHECK_HAS(ray_last_error()->message, "first_byte: an argument is lost");
    CHECK_INT(runs(1), 1);
    CHECK_INT(runs(2), 2);
    ray_release(sum);
    ray_release(never);
    ray_release(again);
    done();
}

static void arguments_are_dropped(void)
{
    setenv("RAY_LINEAGE_BYTES", "3000000", 1);
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    char *bytes = calloc(1, 2 * MIB);
    memset(bytes, 2, 2 * MIB);
    ray_ref *base = ray_put(bytes, 2 * MIB), *old = ray_remote(next_blob, base, (int64_t)2);
    free(bytes);
    await(old);
    ray_ref *young = ray_remote(next_blob, base, (int64_t)2);
    await(young);
    node_kill(first);
    node_worker(head, "CPU=1");
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_lost(old, RAY_ERR_REBUILD_FAILED, "RAY_LINEAGE_BYTES", first);
    check_value(young, 2 * MIB, 2);
    ray_release(base);
    ray_release(old);
    ray_release(young);
    done();
}

static void what_no_task_has_made(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *outer = ray_remote(put_there, MIB), *inner = NULL;
    CHECK_OK(ray_get(outer, &inner));
    await(inner);
    node_kill(first);
    node_worker(head, "CPU=1");
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_lost(inner, RAY_ERR_OBJECT_LOST, "it was put or yielded there", first);
    ray_release(outer);
    ray_release(inner);
    done();
}

/* Submits it to another node: the ref is this node's. */
static RAY_REMOTE(ray_ref *, submit_there, (const char *, resources))
{
    return SUBMIT_ON(resources, blob, MIB, (int64_t)1);
}

static void the_owner_dies_too(void)
{
    node *head = node_head("CPU=0"), *owner = node_worker(head, "CPU=1, a=1"), *host = node_worker(head, "CPU=1, b=1");
    nodes_join(head);
    ray_ref *outer = SUBMIT_ON("a=1", submit_there, "b=1"), *inner = NULL;
    CHECK_OK(ray_get(outer, &inner));
    await(inner);
    node_kill(owner);
    node_kill(host);
    nodes_await(2, RAY_NODE_DEAD, patience());
    node_worker(head, "CPU=1, b=1");
    check_lost(inner, RAY_ERR_OWNER_DIED, "the node that submitted the task", host);
    CHECK_INT(runs(1), 1);
    ray_release(outer);
    ray_release(inner);
    done();
}

static void not_the_same(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *other = ray_remote(fickle, (int64_t)1), *fails = ray_remote(once, (int64_t)2);
    await(other);
    await(fails);
    node_kill(first);
    node_worker(head, "CPU=1");
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_lost(other, RAY_ERR_REBUILD_FAILED, "another type or size", first);
    check_lost(fails, RAY_ERR_REBUILD_FAILED, "not twice", first);
    ray_release(other);
    ray_release(fails);
    done();
}

/* ---- in time ---- */

static void check_late(ray_ref *ref, int64_t timeout_ms)
{
    ray_view v;
    int64_t before = check_now_ms();
    CHECK_CODE(ray_get_timeout(ref, timeout_ms, &v), RAY_ERR_TIMEOUT);
    CHECK_HAS(ray_last_error()->message, "made again");
    int64_t took = check_now_ms() - before;
    CHECK(took >= timeout_ms && took < patience());
}

typedef struct getting {
    ray_ref *ref;
    int64_t timeout_ms;
    int code;
    pthread_t thread;
} getting;

static void *get_it(void *arg)
{
    getting *g = arg;
    ray_view v = {0};
    g->code = ray_get_timeout(g->ref, g->timeout_ms, &v);
    ray_view_release(&v);
    return NULL;
}

static void begin_get(getting *g, ray_ref *ref, int64_t timeout_ms)
{
    *g = (getting){.ref = ref, .timeout_ms = timeout_ms};
    CHECK(pthread_create(&g->thread, NULL, get_it, g) == 0);
}

static int end_get(getting *g)
{
    CHECK(pthread_join(g->thread, NULL) == 0);
    return g->code;
}

static RAY_REMOTE(int64_t, read_in_time, (ray_ref *, ref), (int64_t, timeout_ms))
{
    ray_view v;
    if (ray_get_timeout(ref, timeout_ms, &v) < 0)
        return ray_last_error()->code;
    ray_view_release(&v);
    return 0;
}

/* Who does not wait any longer gets it later; who waits longer is not disturbed. */
static void a_time_out(void)
{
    getting patient, hasty;
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ref = ray_remote(blob, 4 * MIB, (int64_t)1);
    await(ref);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_late(ref, 0); /* it is made again from here on, once somebody can */
    begin_get(&patient, ref, RAY_FOREVER);
    begin_get(&hasty, ref, 50);
    check_late(ref, 200);
    for (int i = 0; i < 1000; i++)
        check_late(ref, 0);
    CHECK_INT(end_get(&hasty), RAY_ERR_TIMEOUT);
    node_worker(head, "CPU=1");
    CHECK_INT(end_get(&patient), 0);
    CHECK_INT(runs(1), 2);
    ray_view v;
    CHECK_OK(ray_get_timeout(ref, 0, &v));
    ray_view_release(&v);
    ray_release(ref);
    done();
}

/* The ref goes while it is still looked for. */
static void a_time_out_and_no_ref(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ref = ray_remote(blob, MIB, (int64_t)1);
    await(ref);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_late(ref, 20);
    ray_release(ref);
    ray_ref *other = ray_remote(blob, MIB, (int64_t)2);
    node_worker(head, "CPU=1");
    check_value(other, MIB, 2);
    ray_release(other);
    done();
}

/* In a worker process, and on a node that has the object from its owner. */
static void a_time_out_elsewhere(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1, a=1");
    node_worker(head, "CPU=1, b=1");
    (void)node_start(RAY_WITH(ray_config, .role = RAY_ROLE_WORKER, .address = node_address(head),
                              .resources = "CPU=1, c=1", .isolation = RAY_ISOLATION_PROCESS));
    nodes_join(head);
    nodes_await(5, RAY_NODE_ALIVE, patience());
    ray_ref *ref = SUBMIT_ON("CPU=1, a=1", blob, 4 * MIB, (int64_t)1);
    await(ref);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    CHECK_REF_INT(SUBMIT_ON("b=1", read_in_time, ref, (int64_t)100), RAY_ERR_TIMEOUT);
    CHECK_REF_INT(SUBMIT_ON("c=1", read_in_time, ref, (int64_t)100), RAY_ERR_TIMEOUT);
    node_worker(head, "CPU=1, a=1");
    CHECK_REF_INT(SUBMIT_ON("b=1", read_in_time, ref, (int64_t)RAY_FOREVER), 0);
    CHECK_REF_INT(SUBMIT_ON("c=1", read_in_time, ref, patience()), 0);
    CHECK_INT(runs(1), 2);
    ray_release(ref);
    done();
}

/* Nobody waits for ever when the end comes first. */
static void the_end_comes_first(void)
{
    node *head = node_head("CPU=0"), *first = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ref = ray_remote(blob, MIB, (int64_t)1);
    await(ref);
    node_kill(first);
    nodes_await(1, RAY_NODE_DEAD, patience());
    ray_ref *sum = ray_remote(first_byte, ref); /* nobody can run what it needs */
    getting endless, long_enough;
    begin_get(&endless, ref, RAY_FOREVER);
    begin_get(&long_enough, ref, 10 * patience());
    check_sleep_ms(200);
    check_stop();
    CHECK_INT(end_get(&endless), RAY_ERR_SHUTDOWN);
    CHECK_INT(end_get(&long_enough), RAY_ERR_SHUTDOWN);
    ray_release(sum);
    ray_release(ref);
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST_WITH(a_value, CHECK_WARNINGS), CHECK_TEST_WITH(a_chain, CHECK_WARNINGS),
           CHECK_TEST_WITH(several_at_once, CHECK_WARNINGS), CHECK_TEST_WITH(in_the_middle, CHECK_WARNINGS),
           CHECK_TEST_WITH(for_another_node, CHECK_WARNINGS), CHECK_TEST_WITH(made_here, CHECK_WARNINGS),
           CHECK_TEST_WITH(a_copy_is_used, CHECK_WARNINGS), CHECK_TEST_WITH(the_copy_dies_too, CHECK_WARNINGS),
           CHECK_TEST_WITH(retries_are_used_up, CHECK_WARNINGS), CHECK_TEST_WITH(arguments_are_dropped, CHECK_WARNINGS),
           CHECK_TEST_WITH(what_no_task_has_made, CHECK_WARNINGS), CHECK_TEST_WITH(the_owner_dies_too, CHECK_WARNINGS),
           CHECK_TEST_WITH(not_the_same, CHECK_WARNINGS), CHECK_TEST_WITH(a_name, CHECK_WARNINGS),
           CHECK_TEST_WITH(a_time_out, CHECK_WARNINGS), CHECK_TEST_WITH(a_time_out_and_no_ref, CHECK_WARNINGS),
           CHECK_TEST_WITH(a_time_out_elsewhere, CHECK_WARNINGS), CHECK_TEST_WITH(the_end_comes_first, CHECK_WARNINGS))
