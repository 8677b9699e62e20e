/* Over a cluster of processes: streams, what a task learns of itself, cancelling, priority, late results. */
#include "nodes_common.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000 };

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

/* A node whose tasks run in worker processes. */
static node *node_of_processes(const node *head, const char *resources)
{
    return node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                    .address = node_address(head),
                                    .resources = resources,
                                    .isolation = RAY_ISOLATION_PROCESS});
}

/* ---- streams ---- */

/* Its items in page()->runs[0], and that it has returned in stopped; started: whether it was told that nobody reads. */
static void yield_numbers(int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int r = ray_yield(&i);
        if (r != 0) {
            CHECK_INT(r, RAY_ERR_CANCELLED);
            atomic_fetch_add(&page()->started, 1);
            break;
        }
        atomic_fetch_add(&page()->runs[0], 1);
    }
    atomic_fetch_add(&page()->stopped, 1);
}

static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    yield_numbers(n);
}
static RAY_REMOTE(ray_stream(int64_t), fail_after, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        ray_yield(&i);
    ray_fail_with(5, "after some", "p", 1);
}
static RAY_REMOTE(ray_stream(const char *), words)
{
    char text[] = "one";
    ray_yield(&(const char *){text});
    memcpy(text, "two", 3);
    ray_yield(&(const char *){text});
}
static RAY_REMOTE(ray_stream(ray_buffer *), blocks, (size_t, size))
{
    for (int i = 0; i < 3; i++) {
        ray_buffer *buffer = ray_create(size);
        CHECK(buffer);
        memset(buffer->data, 'a' + i, size);
        if (ray_yield(&buffer) != 0)
            return;
    }
}
static RAY_REMOTE(ray_stream(ray_ref *), refs_of, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++) {
        ray_ref *ref = ray_remote(twice, i);
        if (ray_yield(&ref) != 0)
            return;
    }
}
static RAY_REMOTE(ray_stream(int64_t), nothing_at_all) {}

static void check_numbers(ray_ref *stream, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        CHECK_REF_INT(ray_next(stream), i);
    for (int i = 0; i < 2; i++)
        CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF_OK(stream);
}

static void check_items(void)
{
    enum { K = 40 };
    check_numbers(ray_remote(count_to, 500), 500);
    check_numbers(ray_remote(nothing_at_all), 0);
    ray_ref *stream = ray_remote(count_to, K), *items[K + 1]; /* asked for before they are there */
    for (int i = 0; i <= K; i++)
        items[i] = ray_next(stream);
    ray_release(stream); /* the items are enough */
    CHECK_REF_INT(ray_remote(twice, items[K - 1]), 2 * (K - 1));
    CHECK_REF(items[K], RAY_ERR_STREAM_END);
    for (int i = K - 1; i >= 0; i--)
        CHECK_REF_INT(items[i], i);
    stream = ray_remote(words);
    CHECK_REF_STR(ray_next(stream), "one");
    CHECK_REF_STR(ray_next(stream), "two");
    ray_release(stream);
    for (size_t size = 1; size < 1000000; size *= 100) {
        stream = ray_remote(blocks, size);
        for (int i = 0; i < 3; i++) {
            ray_view view;
            ray_ref *item = ray_next(stream);
            CHECK_OK(ray_get_timeout(item, patience(), &view));
            CHECK(view.size == size && ((const char *)view.data)[0] == 'a' + i &&
                  ((const char *)view.data)[size - 1] == 'a' + i);
            ray_view_release(&view);
            ray_release(item);
        }
        CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
        ray_release(stream);
    }
    stream = ray_remote(refs_of, 5);
    for (int64_t i = 0; i < 5; i++) {
        ray_ref *inner = NULL, *item = ray_next(stream);
        CHECK_OK(ray_get_timeout(item, patience(), &inner));
        ray_release(item);
        CHECK_REF_INT(inner, 2 * i);
    }
    ray_release(stream);
    stream = ray_remote(fail_after, 2);
    CHECK_REF_INT(ray_next(stream), 0);
    CHECK_REF_INT(ray_next(stream), 1);
    ray_ref *last = ray_next(stream);
    CHECK_CODE(ray_get_timeout(last, patience(), NULL), RAY_ERR_TASK_FAILED);
    CHECK(ray_last_error()->user_code == 5 && ray_last_error()->payload_size == 1);
    ray_release(last);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF(stream, RAY_ERR_TASK_FAILED);
}

static void stream_items(void)
{
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=2");
    nodes_join(head);
    check_items();
    check_stop();
    nodes_stop();
}

static void stream_items_of_processes(void)
{
    node *head = node_head("CPU=0");
    (void)node_of_processes(head, "CPU=2");
    nodes_join(head);
    check_items();
    check_stop();
    nodes_stop();
}

/* A function that is ahead waits for its reader, and learns that the reader has gone. */
static void check_ahead(ray_ref *stream)
{
    CHECK_AWAIT(page()->runs[0], 4);
    for (int64_t i = 0; i < 3; i++)
        CHECK_REF_INT(ray_next(stream), i);
    CHECK_AWAIT(page()->runs[0], 7);
    check_sleep_ms(100);
    CHECK_INT(page()->runs[0], 7);
    CHECK_INT(page()->stopped, 0);
    ray_release(stream);
    CHECK_AWAIT(page()->stopped, 1);
    CHECK_INT(page()->started, 1);
    CHECK_INT(page()->runs[0], 7);
    atomic_store(&page()->stopped, 0);
    atomic_store(&page()->started, 0);
    atomic_store(&page()->runs[0], 0);
}

static void stream_ahead(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_of_processes(head, "CPU=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    check_ahead(ray_remote_opts(RAY_WITH(ray_task_options, .max_ahead = 4, .node_id = node_id(a)), count_to, 1000000));
    check_ahead(ray_remote_opts(RAY_WITH(ray_task_options, .max_ahead = 4, .node_id = node_id(b)), count_to, 1000000));
    ray_ref *stream = ray_remote(count_to, 1000000); /* cancelled, it ends as well */
    CHECK_REF_INT(ray_next(stream), 0);
    CHECK_OK(ray_cancel(stream, 0));
    CHECK_CODE(ray_get_timeout(stream, patience(), NULL), RAY_ERR_CANCELLED);
    ray_release(stream);
    CHECK_AWAIT(page()->stopped, 1);
    check_stop();
    nodes_stop();
}

/* Each try tells its items apart; what an earlier one has delivered is not delivered again. */
static RAY_REMOTE(ray_stream(int64_t), tries, (int64_t, nth))
{
    int64_t attempt = ray_context_get()->attempt;
    atomic_store(&page()->pid, getpid());
    for (int64_t i = 0; i < 6; i++) {
        int64_t item = 100 * attempt + i;
        if (i == 3 && attempt == 0 && nth == 0) {
            ray_fail("the first try");
            ray_fail_again(true);
            return;
        }
        if (i == 3 && attempt == 0) {
            atomic_fetch_add(&page()->started, 1);
            CHECK_AWAIT(page()->gate, 1);
        }
        if (ray_yield(&item) != 0)
            return;
    }
}

static void check_tries(ray_ref *stream)
{
    for (int64_t i = 3; i < 6; i++)
        CHECK_REF_INT(ray_next(stream), 100 + i);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF_OK(stream);
}

static void stream_retries(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    for (int64_t nth = 0; nth < 2; nth++) {
        ray_ref *stream = ray_remote(tries, nth);
        for (int64_t i = 0; i < 3; i++)
            CHECK_REF_INT(ray_next(stream), i);
        if (nth == 1) {
            CHECK_AWAIT(page()->started, 1);
            node_kill(page()->pid == node_pid(a) ? a : b);
        }
        check_tries(stream);
    }
    check_stop();
    nodes_stop();
}

/* ---- streams of actors ---- */

typedef struct source {
    int64_t calls;
} source;

RAY_ACTOR(source)
{
    atomic_store(&page()->pid, getpid());
    self->calls = 0;
}
RAY_METHOD(source, ray_stream(int64_t), numbers, (int64_t, n))
{
    self->calls++;
    yield_numbers(n);
}
RAY_METHOD(source, int64_t, num_calls)
{
    return self->calls;
}
RAY_METHOD(source, int64_t, stay)
{
    atomic_fetch_add(&page()->started, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    atomic_fetch_add(&page()->stopped, 1);
    return 0;
}
RAY_METHOD(source, int64_t, lives)
{
    return ray_context_get()->restarts;
}
RAY_METHOD(source, int64_t, fail_first, (bool, again))
{
    if (self->calls++ == 0) {
        ray_fail("the first call");
        ray_fail_again(again);
    }
    return self->calls;
}
RAY_METHOD(source, void, crash)
{
    raise(SIGKILL);
}

static void streams_of_actors(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_of_processes(head, "CPU=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    const char *ids[] = {node_id(a), node_id(b)};
    for (int i = 0; i < 2; i++) {
        ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .node_id = ids[i]), source);
        CHECK_REF_OK(ray_actor_ready(actor));
        CHECK(page()->pid != getpid());
        check_numbers(ray_call(actor, source_numbers, 200), 200);
        atomic_store(&page()->stopped, 0);
        atomic_store(&page()->runs[0], 0);
        check_ahead(ray_call_opts(RAY_WITH(ray_task_options, .max_ahead = 4), actor, source_numbers, 1000000));
        CHECK_REF_INT(ray_call(actor, source_num_calls), 2);
        ray_actor_release(actor);
    }
    check_stop();
    nodes_stop();
}

/* What a reader elsewhere finds with a handle. */
static RAY_REMOTE(int64_t, read_numbers, (ray_actor *, actor), (int64_t, n))
{
    ray_ref *stream = ray_call(actor, source_numbers, n);
    int64_t sum = 0, x;
    for (int64_t i = 0; i < n; i++) {
        ray_ref *item = ray_next(stream);
        if (ray_get_timeout(item, patience(), &x) < 0 || x != i)
            return ray_fail("item %d: %s", (int)i, ray_last_error() ? ray_last_error()->message : "another one");
        sum += x;
        ray_release(item);
    }
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF_OK(stream);
    return sum;
}
static RAY_REMOTE(int64_t, leave_numbers, (ray_actor *, actor))
{
    check_ahead(ray_call_opts(RAY_WITH(ray_task_options, .max_ahead = 4), actor, source_numbers, 1000000));
    return 0;
}

static void streams_through_handles(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1"),
         *c = node_of_processes(head, "CPU=1");
    nodes_join(head);
    nodes_await(5, RAY_NODE_ALIVE, patience());
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .node_id = node_id(a)), source);
    const char *readers[] = {node_id(a), node_id(b), node_id(c)};
    for (int i = 0; i < 3; i++) {
        CHECK_REF_INT(
            ray_remote_opts(RAY_WITH(ray_task_options, .node_id = readers[i]), read_numbers, actor, (int64_t)100),
            4950);
        atomic_store(&page()->stopped, 0);
        atomic_store(&page()->runs[0], 0);
        CHECK_REF_OK(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = readers[i]), leave_numbers, actor));
    }
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

/* ---- what a task learns of itself ---- */

static RAY_REMOTE(const char *, context_text)
{
    static _Thread_local char text[200];
    const ray_context *context = ray_context_get();
    snprintf(text, sizeof text, "%s|%s|%s|%u", context->function, context->node_id, context->resources,
             context->attempt);
    return text;
}
static RAY_REMOTE(int64_t, fail_until, (int64_t, attempts), (bool, again))
{
    uint32_t attempt = ray_context_get()->attempt;
    if (attempt < (uint32_t)attempts) {
        ray_fail("try %u", attempt);
        ray_fail_again(again);
    }
    return attempt;
}
static RAY_REMOTE(int64_t, crash_until, (int64_t, attempts))
{
    uint32_t attempt = ray_context_get()->attempt;
    if (attempt < (uint32_t)attempts)
        raise(SIGKILL);
    return attempt;
}
static RAY_REMOTE(const char *, variable, (const char *, name))
{
    const char *value = getenv(name);
    return value ? value : "";
}
static void check_context(const char *id, const char *resources, const char *want)
{
    char text[200];
    snprintf(text, sizeof text, "context_text|%s|%s|0", id, want);
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = id, .resources = resources), context_text),
                  text);
}

static void contexts(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1, disk=2"), *b = node_of_processes(head, "CPU=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    check_context(node_id(a), NULL, "CPU=1");
    check_context(node_id(b), NULL, "CPU=1");
    check_context(node_id(a), "disk=2", "CPU=1, disk=2");
    check_context(node_id(a), "CPU=0.5, disk=1", "CPU=0.5, disk=1");
    ray_task_options on_a = {.node_id = node_id(a)}, on_b = {.node_id = node_id(b)};
    ray_task_options with_disk = {.resources = "disk=1"};
    CHECK_REF_INT(ray_remote_opts(&on_a, fail_until, 2, true), 2); /* asks for it itself */
    CHECK_REF_INT(ray_remote_opts(&on_b, fail_until, 2, true), 2);
    CHECK_REF_INT(ray_remote_opts(&with_disk, fail_until, 1, true), 1);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .retry_failures = true), fail_until, 1, false),
              RAY_ERR_TASK_FAILED); /* or asks not to be tried */
    CHECK_REF_INT(ray_remote_opts(&on_b, crash_until, 2), 2);
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .node_id = node_id(b), .max_restarts = 1), source);
    CHECK_REF_INT(ray_call(actor, source_lives), 0);
    ray_ref *crash = ray_call(actor, source_crash);
    CHECK(ray_get_timeout(crash, patience(), NULL) < 0);
    ray_release(crash);
    CHECK_REF_OK(ray_actor_ready(actor));
    CHECK_REF_INT(ray_call(actor, source_lives), 1);
    CHECK_REF_INT(ray_call_opts(RAY_WITH(ray_task_options, .max_retries = 2), actor, source_fail_first, true), 2);
    ray_actor_release(actor);
    actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .node_id = node_id(a)), source);
    CHECK_REF(ray_call_opts(RAY_WITH(ray_task_options, .max_retries = 2, .retry_failures = true), actor,
                            source_fail_first, false),
              RAY_ERR_TASK_FAILED);
    CHECK_REF_INT(ray_call(actor, source_num_calls), 1);
    ray_actor_release(actor);
    nodes_allow_log("worker.died", "");
    check_stop();
    nodes_stop();
}

static void how_it_runs(void)
{
    static const char *const env[] = {"COLOUR=blue", NULL};
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    int64_t pid = 0;
    CHECK_REF_INT(ray_remote(own_pid), node_pid(worker));
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS), own_pid);
    CHECK_OK(ray_get_timeout(ref, patience(), &pid));
    CHECK(pid != node_pid(worker) && pid != getpid());
    ray_release(ref);
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .env = env), variable, "COLOUR"), "blue");
    CHECK_REF_STR(ray_remote(variable, "COLOUR"), "");
    CHECK_OK(ray_function_set(&ray_fn_own_pid, &(ray_function_options){.isolation = RAY_ISOLATION_PROCESS}));
    ref = ray_remote(own_pid);
    CHECK_OK(ray_get_timeout(ref, patience(), &pid));
    CHECK(pid != node_pid(worker) && pid != getpid());
    ray_release(ref);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_THREAD), own_pid),
                  node_pid(worker));
    ref = ray_remote_opts(RAY_WITH(ray_task_options, .name = "known to people", .isolation = RAY_ISOLATION_PROCESS,
                                   .max_retries = RAY_NO_RETRIES, .own_thread = true),
                          crash_until, 1);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_WORKER_CRASHED);
    CHECK_HAS(ray_last_error()->message, "known to people"); /* the words are those of the node that ran it */
    CHECK_STR(ray_last_error()->node_id, node_id(worker));
    ray_release(ref);
    nodes_allow_log("worker.died", "");
    check_stop();
    nodes_stop();
}

/* ---- cancelling ---- */

/* Does not look whether it is to stop. */
static RAY_REMOTE(int64_t, stay_deaf, (int64_t, nth))
{
    atomic_store(&page()->pid, getpid());
    atomic_fetch_add(&page()->started, 1);
    CHECK_AWAIT(page()->gate, 1);
    return nth;
}

static void by_force(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_of_processes(head, "CPU=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(b)), stay_deaf, 0);
    CHECK_AWAIT(page()->started, 1);
    int64_t pid = page()->pid;
    CHECK_OK(ray_cancel(ref, 0)); /* which it does not hear */
    CHECK_CODE(ray_get_timeout(ref, 50, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE));
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    check_await_gone(pid, patience());
    ref = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(b)), stay_deaf, 1);
    CHECK_AWAIT(page()->started, 2);
    CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE));
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    ref = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(a)), go_on, 2);
    CHECK_AWAIT(page()->started, 3);
    CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE)); /* a thread: politely */
    node_expect_log(a, "task.not_forced", "go_on runs on a thread", patience());
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    CHECK_INT(page()->stopped, 1);
    check_stop();
    nodes_stop();
}

/* Ends when the gate is open, or when it is asked to stop. */
static RAY_REMOTE(int64_t, pass_or_stop, (int64_t, nth))
{
    atomic_fetch_add(&page()->started, 1);
    while (!ray_cancelled() && page()->gate < nth)
        check_sleep_ms(1);
    atomic_fetch_add(ray_cancelled() ? &page()->stopped : &page()->runs[7], 1);
    return nth;
}
/* Submits a task for another node, and goes on until it is cancelled. */
static RAY_REMOTE(int64_t, begin_child)
{
    ray_ref *child = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "far=1"), pass_or_stop, (int64_t)1);
    atomic_fetch_add(&page()->started, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    atomic_fetch_add(&page()->order, 1);
    ray_release(child);
    return 0;
}

static RAY_REMOTE(int64_t, stay_with_child)
{
    int64_t x = begin_child();
    CHECK_AWAIT(page()->gate, 1);
    return x;
}

static void children(void)
{
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=1, near=1");
    (void)node_worker(head, "CPU=1, far=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_task_options near = {.resources = "near=1"};
    ray_ref *parent = ray_remote_opts(&near, begin_child);
    CHECK_AWAIT(page()->started, 2);
    CHECK_OK(ray_cancel(parent, 0));
    CHECK_REF(parent, RAY_ERR_CANCELLED);
    CHECK_AWAIT(page()->stopped, 1); /* the child, on its node */
    parent = ray_remote_opts(&near, begin_child);
    CHECK_AWAIT(page()->started, 4);
    CHECK_OK(ray_cancel(parent, RAY_CANCEL_ONLY_THIS));
    CHECK_REF(parent, RAY_ERR_CANCELLED);
    CHECK_INT(page()->order, 2);
    check_sleep_ms(50);
    CHECK_INT(page()->stopped, 1);
    atomic_store(&page()->gate, 1);
    CHECK_AWAIT(page()->runs[7], 1); /* it has gone on to its end */
    atomic_store(&page()->gate, 0);
    parent = ray_remote_opts(&near, stay_with_child);
    CHECK_AWAIT(page()->started, 6);
    CHECK_OK(ray_cancel(parent, RAY_CANCEL_ONLY_THIS));
    CHECK_AWAIT(page()->order, 3);
    CHECK_OK(ray_cancel(parent, 0)); /* and then the child, too */
    CHECK_AWAIT(page()->stopped, 2);
    atomic_store(&page()->gate, 1);
    CHECK_REF(parent, RAY_ERR_CANCELLED);
    nodes_await_available("far", 1);
    check_stop();
    nodes_stop();
}

/* Calls through a handle and cancels: what became of the call. */
static RAY_REMOTE(int64_t, cancel_call, (ray_actor *, actor))
{
    ray_ref *running = ray_call(actor, source_stay), *waiting = ray_call(actor, source_stay);
    CHECK_AWAIT(page()->started, 1);
    CHECK_OK(ray_cancel(waiting, 0));
    CHECK_REF(waiting, RAY_ERR_CANCELLED);
    CHECK_INT(page()->stopped, 0);
    CHECK_CODE(ray_cancel(running, RAY_CANCEL_FORCE), RAY_ERR_ARGUMENT);
    CHECK_OK(ray_cancel(running, 0));
    CHECK_REF(running, RAY_ERR_CANCELLED);
    CHECK_INT(page()->stopped, 1);
    return 1;
}

static void calls(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1"),
         *c = node_of_processes(head, "CPU=1");
    nodes_join(head);
    nodes_await(5, RAY_NODE_ALIVE, patience());
    const char *homes[] = {node_id(a), node_id(c)};
    for (int i = 0; i < 2; i++) {
        ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .node_id = homes[i]), source);
        ray_ref *running = ray_call(actor, source_stay), *waiting = ray_call(actor, source_stay);
        CHECK_AWAIT(page()->started, 1);
        CHECK_OK(ray_cancel(waiting, 0));
        CHECK_REF(waiting, RAY_ERR_CANCELLED);
        CHECK_INT(page()->stopped, 0);
        CHECK_OK(ray_cancel(running, 0));
        CHECK_REF(running, RAY_ERR_CANCELLED);
        CHECK_INT(page()->stopped, 1);
        atomic_store(&page()->started, 0);
        atomic_store(&page()->stopped, 0);
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(b)), cancel_call, actor), 1);
        CHECK_REF_INT(ray_call(actor, source_num_calls), 0);
        atomic_store(&page()->started, 0);
        atomic_store(&page()->stopped, 0);
        ray_actor_release(actor);
    }
    check_stop();
    nodes_stop();
}

/* ---- priority ---- */

static RAY_REMOTE(int64_t, take_turn)
{
    return atomic_fetch_add(&page()->order, 1);
}
/* Submits a task of some priority to its own node, where it keeps the only CPU until the gate is open. One more is
 * ahead of it: the next one has its place without a choice. */
static RAY_REMOTE(ray_ref *, keep_busy, (int64_t, priority))
{
    ray_ref *ahead = ray_remote_opts(RAY_WITH(ray_task_options, .priority = 20, .resources = "w=1"), twice, 1);
    ray_ref *next = ray_remote_opts(
        RAY_WITH(ray_task_options, .resources = "CPU=0", .node_id = ray_context_get()->node_id, .own_thread = true),
        own_pid);
    while (ray_get_timeout(next, 0, NULL) == RAY_ERR_TIMEOUT) /* without giving its CPU back meanwhile */
        check_sleep_ms(1);
    ray_release(next);
    atomic_fetch_add(&page()->started, 1);
    CHECK_AWAIT(page()->gate, 1);
    ray_ref *ref =
        ray_remote_opts(RAY_WITH(ray_task_options, .priority = (int32_t)priority, .resources = "w=1"), take_turn);
    ray_release(ahead);
    atomic_fetch_add(&page()->started, 1);
    CHECK_AWAIT(page()->gate, 2);
    return ref;
}
static RAY_REMOTE(int64_t, wait_for, (ray_ref *, ref))
{
    int64_t turn = -1;
    atomic_fetch_add(&page()->stopped, 1);
    CHECK_OK(ray_get(ref, &turn));
    return turn;
}

/* Comes back when what was said to that node before has arrived: it is said in order. */
static void pass_by(const node *n)
{
    CHECK_REF_INT(
        ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0", .node_id = node_id(n), .own_thread = true),
                        own_pid),
        node_pid(n));
}

/* A task that is there already, of less priority than another one, comes first if one of more priority waits for it
 * here. */
static void awaited_from_elsewhere(void)
{
    nodes_make_key();
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1", .num_threads = 1)));
    ray_cluster *cluster = ray_cluster_get();
    char address[64];
    CHECK(cluster);
    snprintf(address, sizeof address, "%s", cluster->nodes[0]->address);
    ray_cluster_free(cluster);
    node *worker = node_start(
        &(ray_config){.role = RAY_ROLE_WORKER, .address = address, .resources = "CPU=1, w=9", .num_threads = 1});
    nodes_await(2, RAY_NODE_ALIVE, patience());
    for (int awaited = 0; awaited < 2; awaited++) {
        ray_ref *busy = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(worker)), keep_busy, 5);
        CHECK_AWAIT(page()->started, 1 + 2 * awaited);
        ray_ref *low = ray_remote_opts(RAY_WITH(ray_task_options, .priority = 1, .resources = "w=1"), take_turn),
                *high = NULL;
        check_sleep_ms(100);
        pass_by(worker); /* it is there */
        atomic_store(&page()->gate, 1);
        CHECK_AWAIT(page()->started, 2 + 2 * awaited);
        if (awaited) {
            high = ray_remote_opts(
                RAY_WITH(ray_task_options, .priority = 10, .node_id = ray_context_get()->node_id, .own_thread = true),
                wait_for, low);
            CHECK_AWAIT(page()->stopped, 1);
            check_sleep_ms(2000 * check_slowness()); /* nothing tells that it waits now */
            pass_by(worker);
        }
        atomic_store(&page()->gate, 2);
        ray_ref *other = NULL;
        int64_t turn = -1, others = -1;
        CHECK_OK(ray_get_timeout(busy, patience(), &other));
        CHECK_OK(ray_get_timeout(low, patience(), &turn));
        CHECK_OK(ray_get_timeout(other, patience(), &others));
        CHECK_INT(turn < others, awaited);
        if (high)
            CHECK_REF_INT(high, turn);
        ray_release(busy);
        ray_release(low);
        ray_release(other);
        atomic_store(&page()->gate, 0);
    }
    nodes_stop();
    check_stop();
}

/* ---- late results ---- */

static RAY_REMOTE(int64_t, run_nth, (int64_t, nth))
{
    int64_t run = atomic_fetch_add(&page()->runs[nth], 1);
    atomic_store(&page()->pid, getpid());
    atomic_fetch_add(&page()->started, 1);
    if (run == 0)
        CHECK_AWAIT(page()->gate, 1);
    atomic_fetch_add(&page()->stopped, 1);
    return run;
}
static RAY_REMOTE(ray_stream(int64_t), yield_nth, (int64_t, nth))
{
    int64_t run = atomic_fetch_add(&page()->runs[nth], 1);
    for (int64_t i = 0; i < 6; i++) {
        int64_t item = 100 * run + i;
        if (i == 3)
            atomic_fetch_add(&page()->started, 1);
        if (i == 3 && run == 0)
            CHECK_AWAIT(page()->gate, 1);
        if (ray_yield(&item) != 0)
            break;
    }
    atomic_fetch_add(&page()->stopped, 1);
}

/* A node that hangs is declared dead, and its tasks run elsewhere; what it says once it is back is not heard. */
static void late_results(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=2, old=1");
    nodes_join(head);
    ray_ref *ref = ray_remote(run_nth, 0), *stream = ray_remote(yield_nth, 1);
    for (int64_t i = 0; i < 3; i++)
        CHECK_REF_INT(ray_next(stream), i);
    CHECK_AWAIT(page()->started, 2);
    node_pause(worker);
    (void)node_worker(head, "CPU=2");
    for (int64_t i = 3; i < 6; i++)
        CHECK_REF_INT(ray_next(stream), 100 + i);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF_OK(stream);
    CHECK_OK(ray_get_timeout(ref, patience(), NULL));
    atomic_store(&page()->gate, 1);
    node_resume(worker);
    nodes_allow_log("node.fenced", "");
    nodes_allow_log("head.unreachable", "");
    CHECK_AWAIT(page()->stopped, 4);
    CHECK_REF_INT(ref, 1);
    CHECK_INT(page()->runs[0], 2);
    CHECK_INT(page()->runs[1], 2);
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    check_stop();
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(stream_items), CHECK_TEST(stream_items_of_processes), CHECK_TEST(stream_ahead),
           CHECK_TEST(stream_retries), CHECK_TEST(streams_of_actors), CHECK_TEST(streams_through_handles),
           CHECK_TEST(contexts), CHECK_TEST_WITH(how_it_runs, CHECK_KEEPS), CHECK_TEST(by_force), CHECK_TEST(children),
           CHECK_TEST(calls), CHECK_TEST(awaited_from_elsewhere), CHECK_TEST(late_results))
