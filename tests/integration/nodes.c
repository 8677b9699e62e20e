/* Tasks over a cluster of processes: what they take and give, where they go, how they end. */
#include "nodes_common.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000 };

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

/* ---- the first steps ---- */

static void five_tasks(void)
{
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=2");
    ray_ref *refs[5];
    nodes_join(head);
    for (int i = 0; i < 5; i++)
        refs[i] = ray_remote(twice, i);
    for (int i = 0; i < 5; i++)
        CHECK_REF_INT(refs[i], 2 * i);
    int64_t pid = 0;
    ray_ref *ref = ray_remote(own_pid);
    CHECK_OK(ray_get(ref, &pid));
    CHECK(pid == node_pid(head) || pid == node_pid(worker));
    ray_release(ref);
    check_stop();
    nodes_stop();
}

/* A head that has CPUs may be the program itself. */
static void head_is_driver(void)
{
    nodes_make_key();
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1", .num_threads = 1)));
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster && cluster->num_nodes == 1 && cluster->nodes[0]->is_head && cluster->nodes[0]->address);
    char address[64];
    snprintf(address, sizeof address, "%s", cluster->nodes[0]->address);
    ray_cluster_free(cluster);
    CHECK_REF_INT(ray_remote(own_pid), getpid());
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER, .address = address, .resources = "CPU=1, far=1"});
    nodes_await(2, RAY_NODE_ALIVE, patience());
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "far=1"), own_pid), node_pid(worker));
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(worker)), own_pid), node_pid(worker));
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    ray_waitset *set = ray_waitset_new();
    submit_counted(set, 0, 2000);
    collect(set, 2000);
    ray_waitset_free(set);
    nodes_stop();
    check_stop();
}

/* Longer than the loop needs to see that there is room elsewhere. */
static RAY_REMOTE(int64_t, slow_pid, (int64_t, ms))
{
    check_sleep_ms(ms);
    return getpid();
}

#define FAN 6
/* How many of those ran in other processes than this one. */
static RAY_REMOTE(int64_t, fan_out)
{
    ray_ref *refs[FAN];
    int64_t elsewhere = 0;
    for (int i = 0; i < FAN; i++)
        refs[i] = ray_remote(slow_pid, 200);
    for (int i = 0; i < FAN; i++) {
        int64_t pid = 0;
        if (ray_get(refs[i], &pid) < 0)
            return ray_last_error()->code;
        elsewhere += pid != getpid();
        ray_release(refs[i]);
    }
    return elsewhere;
}

/* What a node with CPUs has no room for itself runs on others, also what its tasks submit. */
static void overflow(void)
{
    nodes_make_key();
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1", .num_threads = 1)));
    ray_cluster *cluster = ray_cluster_get();
    char address[64];
    snprintf(address, sizeof address, "%s", cluster->nodes[0]->address);
    ray_cluster_free(cluster);
    for (int i = 0; i < 2; i++)
        (void)node_start(&(ray_config){.role = RAY_ROLE_WORKER, .address = address, .resources = "CPU=1"});
    nodes_await(3, RAY_NODE_ALIVE, patience());
    nodes_await_available("CPU", 3);
    int64_t elsewhere = 0;
    ray_ref *fan = ray_remote(fan_out); /* takes the CPU here, until it waits */
    CHECK_OK(ray_get_timeout(fan, patience(), &elsewhere));
    ray_release(fan);
    CHECK(elsewhere >= 2 && elsewhere < FAN);
    nodes_await_available("CPU", 3);
    fan =
        ray_remote_opts(RAY_WITH(ray_task_options, .node_id = ray_context_get()->node_id, .node_soft = true), fan_out);
    CHECK_OK(ray_get_timeout(fan, patience(), &elsewhere));
    ray_release(fan);
    CHECK(elsewhere >= 2);
    nodes_stop();
    check_stop();
}

/* ---- values ---- */

typedef struct probe {
    int32_t n;
    double grid[4];
    bool is_on;
} probe;
RAY_STRUCT(probe, n, grid, is_on);

static RAY_REMOTE(bool, flip, (bool, x))
{
    return !x;
}
static RAY_REMOTE(int8_t, next_i8, (int8_t, x))
{
    return (int8_t)(x + 1);
}
static RAY_REMOTE(uint16_t, next_u16, (uint16_t, x))
{
    return (uint16_t)(x + 1);
}
static RAY_REMOTE(uint64_t, next_u64, (uint64_t, x))
{
    return x + 1;
}
static RAY_REMOTE(float, half, (float, x))
{
    return x / 2;
}
static RAY_REMOTE(double, root, (double, x))
{
    return sqrt(x);
}
static RAY_REMOTE(const char *, same_text, (const char *, text))
{
    return text;
}
static RAY_REMOTE(ray_view, same_bytes, (ray_view, bytes))
{
    return bytes;
}
static RAY_REMOTE(probe, grow, (probe, p))
{
    p.n++;
    for (int i = 0; i < 4; i++)
        p.grid[i] *= 2;
    p.is_on = !p.is_on;
    return p;
}
static RAY_REMOTE(void, nothing) {}
static RAY_REMOTE(int64_t, add_all, (int64_t, a), (int32_t, b), (double, c), (const char *, d), (ray_view, e))
{
    return a + b + (int64_t)c + (int64_t)strlen(d) + (int64_t)e.size;
}

#define CHECK_VALUE(T, ref, condition)                                                                                 \
    do {                                                                                                               \
        ray_ref *ref_ = (ref);                                                                                         \
        T got;                                                                                                         \
        CHECK_OK(ray_get_timeout(ref_, patience(), &got));                                                             \
        CHECK(condition);                                                                                              \
        ray_release(ref_);                                                                                             \
    } while (0)

static void check_bytes(size_t size)
{
    char *bytes = malloc(size + 1);
    ray_view got;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 31);
    ray_ref *ref = ray_remote(same_bytes, ray_view_of(bytes, size));
    CHECK_OK(ray_get_timeout(ref, patience(), &got));
    CHECK(got.size == size && (size == 0 || memcmp(got.data, bytes, size) == 0));
    ray_view_release(&got);
    ray_release(ref);
    free(bytes);
}

static void values(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=2");
    nodes_join(head);
    CHECK_REF_INT(ray_remote(own_pid), node_pid(worker));
    CHECK_VALUE(bool, ray_remote(flip, true), !got);
    CHECK_VALUE(int8_t, ray_remote(next_i8, INT8_MIN), got == INT8_MIN + 1);
    CHECK_VALUE(uint16_t, ray_remote(next_u16, 65534), got == 65535);
    CHECK_VALUE(uint64_t, ray_remote(next_u64, UINT64_MAX - 1), got == UINT64_MAX);
    CHECK_VALUE(float, ray_remote(half, 3.0f), got == 1.5f);
    CHECK_VALUE(double, ray_remote(root, 2.25), got == 1.5);
    CHECK_VALUE(double, ray_remote(root, -1.0), isnan(got));
    CHECK_REF_STR(ray_remote(same_text, ""), "");
    CHECK_REF_STR(ray_remote(same_text, "gr\xc3\xbc\xc3\x9f"
                                        "e"),
                  "gr\xc3\xbc\xc3\x9f"
                  "e");
    static const size_t sizes[] = {0, 1, 63, 4096, 65535, 100 << 10};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        check_bytes(sizes[i]);
    probe p = {41, {1, 2, 3, 4}, false};
    CHECK_VALUE(probe, ray_remote(grow, p), got.n == 42 && got.grid[3] == 8 && got.is_on);
    CHECK_REF_OK(ray_remote(nothing));
    CHECK_REF_INT(ray_remote(add_all, 1, 2, 3.5, "four", ray_view_of("fives", 5)), 15);
    check_stop();
    nodes_stop();
}

/* ---- refs ---- */

static RAY_REMOTE(int64_t, read_ref, (ray_ref *, ref))
{
    int64_t x = 0;
    if (ray_get(ref, &x) < 0)
        ray_fail("read_ref: %s", ray_last_error()->message);
    return x;
}
static RAY_REMOTE(int64_t, sum_bytes, (ray_ref *, ref))
{
    ray_view view = {0};
    int64_t sum = 0;
    if (ray_get(ref, &view) < 0)
        return ray_fail("sum_bytes: %s", ray_last_error()->message);
    for (size_t i = 0; i < view.size; i++)
        sum += ((const unsigned char *)view.data)[i];
    ray_view_release(&view);
    return sum;
}
static RAY_REMOTE(int64_t, measure, (ray_view, bytes))
{
    return (int64_t)bytes.size;
}
static RAY_REMOTE(ray_ref *, make_bytes, (int64_t, size))
{
    static const char zeros[256];
    return ray_put(zeros, (size_t)size);
}
static RAY_REMOTE(ray_ref *, begin_twice, (int64_t, x))
{
    return ray_remote(twice, x);
}
static RAY_REMOTE(ray_ref *, same_ref, (ray_ref *, ref))
{
    return ray_retain(ref);
}

/* A ref whose value is a ref: that one. */
static ray_ref *inner_of(ray_ref *outer)
{
    ray_ref *inner = NULL;
    CHECK_OK(ray_get_timeout(outer, patience(), &inner));
    ray_release(outer);
    return inner;
}

static void refs(void)
{
    node *head = node_head("CPU=1");
    (void)node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ours = ray_put("\1\2\3", 3);
    CHECK_REF_INT(ray_remote(sum_bytes, ours), 6);
    CHECK_REF_INT(ray_remote(measure, ours), 3); /* its value, where one is wanted */
    ray_ref *chain = ray_remote(twice, 1);
    for (int i = 0; i < 10; i++) { /* each of the last */
        ray_ref *next = ray_remote(twice, chain);
        ray_release(chain);
        chain = next;
    }
    CHECK_REF_INT(ray_remote(read_ref, chain), 2048);
    CHECK_REF_INT(chain, 2048);
    CHECK_REF_INT(inner_of(ray_remote(begin_twice, 21)), 42);
    ray_ref *theirs = inner_of(ray_remote(make_bytes, 200));
    CHECK_REF_INT(ray_remote(measure, theirs), 200); /* of one node, through us, to any */
    ray_view view;
    CHECK_OK(ray_get_timeout(theirs, patience(), &view));
    CHECK(view.size == 200);
    ray_view_release(&view);
    ray_ref *again = inner_of(ray_remote(same_ref, theirs));
    ray_release(theirs);
    CHECK_REF_INT(ray_remote(measure, again), 200);
    ray_release(again);
    ray_ref *back = inner_of(ray_remote(same_ref, ours));
    ray_release(ours);
    CHECK_REF_INT(ray_remote(sum_bytes, back), 6);
    ray_release(back);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(int64_t, fibonacci, (int64_t, n))
{
    int64_t a = 0, b = 0;
    if (n < 2)
        return n;
    ray_ref *first = ray_remote(fibonacci, n - 1), *second = ray_remote(fibonacci, n - 2);
    if (ray_get(first, &a) < 0 || ray_get(second, &b) < 0)
        ray_fail("fibonacci(%d): %s", (int)n, ray_last_error()->message);
    ray_release(first);
    ray_release(second);
    return a + b;
}

static void nested_tasks(void)
{
    node *head = node_head("CPU=1");
    (void)node_worker(head, "CPU=1");
    (void)node_worker(head, "CPU=2");
    nodes_join(head);
    CHECK_REF_INT(ray_remote(fibonacci, 12), 144);
    check_stop();
    nodes_stop();
}

/* ---- where ---- */

static ray_ref *ask_node(const ray_task_options *options)
{
    return ray_submit(&ray_fn_own_node, NULL, 0, options);
}

static void resources_and_labels(void)
{
    node *head = node_head("CPU=1");
    node *a = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                       .address = node_address(head),
                                       .resources = "CPU=2, disk=1",
                                       .labels = "zone=eu, kind=small"});
    node *b = node_start(&(ray_config){
        .role = RAY_ROLE_WORKER, .address = node_address(head), .resources = "CPU=4", .labels = "zone=us, kind=large"});
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    CHECK_REF_STR(ask_node(&(ray_task_options){.resources = "disk=0.5"}), node_id(a));
    CHECK_REF_STR(ask_node(&(ray_task_options){.resources = "CPU=3"}), node_id(b));
    CHECK_REF_STR(ask_node(&(ray_task_options){.labels = "zone=eu"}), node_id(a));
    CHECK_REF_STR(ask_node(&(ray_task_options){.labels = "kind=large, zone!=eu"}), node_id(b));
    CHECK_REF(ask_node(&(ray_task_options){.node_id = "x"}), RAY_ERR_UNSCHEDULABLE);
    CHECK_REF(ask_node(&(ray_task_options){.node_id = "no node has an id that is as long as this one"}),
              RAY_ERR_UNSCHEDULABLE);
    ray_ref *two[2];
    for (int i = 0; i < 2; i++) /* both fit at once */
        two[i] = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0.5, disk=0.5"), pass_gate, 1);
    CHECK_AWAIT(page()->started, 2);
    nodes_await_available("disk", 0);
    ray_ref *third = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "disk=0.5"), pass_gate, 0);
    CHECK_CODE(ray_get_timeout(third, 100, NULL), RAY_ERR_TIMEOUT);
    CHECK_INT(page()->started, 2);
    atomic_store(&page()->gate, 1);
    CHECK_REF_OK(two[0]);
    CHECK_REF_OK(two[1]);
    CHECK_REF_OK(third);
    nodes_await_available("disk", 1);
    nodes_await_available("CPU", 7);
    check_stop();
    nodes_stop();
}

static void affinity(void)
{
    node *head = node_head("CPU=1"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    for (int i = 0; i < 3; i++) {
        CHECK_REF_STR(ask_node(&(ray_task_options){.node_id = node_id(a)}), node_id(a));
        CHECK_REF_STR(ask_node(&(ray_task_options){.node_id = node_id(b)}), node_id(b));
        CHECK_REF_STR(ask_node(&(ray_task_options){.node_id = node_id(head), .node_soft = true}), node_id(head));
    }
    char gone[40];
    snprintf(gone, sizeof gone, "%s", node_id(b));
    node_stop(b);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    ray_ref *ref = ask_node(&(ray_task_options){.node_id = gone});
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_UNSCHEDULABLE);
    CHECK_HAS(ray_last_error()->message, gone);
    ray_release(ref);
    CHECK_REF_OK(ask_node(&(ray_task_options){.node_id = gone, .node_soft = true}));
    check_stop();
    nodes_stop();
}

static void spread(void)
{
    node *head = node_head("CPU=2"), *nodes[3] = {head, node_worker(head, "CPU=2"), node_worker(head, "CPU=2")};
    int counts[3] = {0};
    ray_ref *refs[6];
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    for (int i = 0; i < 6; i++)
        refs[i] = ask_node(&(ray_task_options){.spread = true});
    for (int i = 0; i < 6; i++) {
        const char *id;
        CHECK_OK(ray_get_timeout(refs[i], patience(), &id));
        for (int j = 0; j < 3; j++)
            counts[j] += strcmp(id, node_id(nodes[j])) == 0;
        ray_release(refs[i]);
    }
    for (int j = 0; j < 3; j++)
        CHECK_INT(counts[j], 2);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(int64_t, take_turn)
{
    return atomic_fetch_add(&page()->order, 1);
}

static void priority_and_deadline(void)
{
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *first = ray_remote(pass_gate, 1), *low[3], *high[3];
    CHECK_AWAIT(page()->started, 1);
    ray_ref *ahead = ray_remote(pass_gate, 1); /* one is sent before there is room: not one of those below */
    check_sleep_ms(20);
    for (int i = 0; i < 3; i++)
        low[i] = ray_remote_opts(RAY_WITH(ray_task_options, .priority = 1), take_turn);
    for (int i = 0; i < 3; i++)
        high[i] = ray_remote_opts(RAY_WITH(ray_task_options, .priority = 50), take_turn);
    int64_t begun = check_now_ms();
    ray_ref *late = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 200), twice, 1);
    CHECK_REF(late, RAY_ERR_DEADLINE);
    CHECK(check_now_ms() - begun >= 200 && check_now_ms() - begun < 5000 * check_slowness());
    ray_ref *running = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 600000), twice, 1);
    atomic_store(&page()->gate, 1);
    CHECK_REF_OK(first);
    CHECK_REF_OK(ahead);
    for (int i = 0; i < 3; i++) {
        int64_t turn = 0;
        CHECK_OK(ray_get_timeout(high[i], patience(), &turn));
        CHECK(turn < 3);
        CHECK_OK(ray_get_timeout(low[i], patience(), &turn));
        CHECK(turn >= 3);
        ray_release(high[i]);
        ray_release(low[i]);
    }
    CHECK_REF_INT(running, 2);
    check_stop();
    nodes_stop();
}

/* ---- errors ---- */

static RAY_REMOTE(int64_t, fail_at, (int64_t, nth))
{
    int runs = atomic_fetch_add(&page()->runs[nth], 1) + 1;
    if (runs < 3)
        ray_fail("try %d of %d", runs, (int)nth);
    return runs;
}
static RAY_REMOTE(int64_t, fail_with, (int64_t, code))
{
    return ray_fail_with((int)code, "seven bytes of it", "payload", 7);
}

static void errors(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .name = "known to people"), fail_with, 77);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_TASK_FAILED);
    const ray_error *error = ray_last_error();
    CHECK_STR(error->message, "seven bytes of it");
    CHECK_STR(error->function, "fail_with");
    CHECK_STR(error->node_id, node_id(worker));
    CHECK_INT(error->pid, node_pid(worker));
    CHECK_INT(error->user_code, 77);
    CHECK(error->payload_size == 7 && memcmp(error->payload, "payload", 7) == 0);
    ray_ref *next = ray_remote(twice, ref); /* who waits for it fails with it */
    CHECK_CODE(ray_get_timeout(next, patience(), NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->function, "fail_with");
    ray_release(next);
    ray_release(ref);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .retry_failures = true), fail_at, 3), 3);
    ref = ray_remote_opts(RAY_WITH(ray_task_options, .retry_failures = true, .max_retries = 1), fail_at, 4);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "try 2 of 4");
    ray_release(ref);
    CHECK_REF(ray_remote(fail_at, 5), RAY_ERR_TASK_FAILED);
    CHECK_INT(page()->runs[5], 1);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(int64_t, stay_once, (int64_t, nth))
{
    atomic_store(&page()->pid, getpid());
    if (atomic_fetch_add(&page()->runs[nth], 1) == 0) {
        atomic_fetch_add(&page()->started, 1);
        CHECK_AWAIT(page()->gate, 1);
    }
    return nth;
}

static node *node_that_runs(node *a, node *b)
{
    int64_t pid = atomic_load(&page()->pid);
    CHECK(pid == node_pid(a) || pid == node_pid(b));
    return pid == node_pid(a) ? a : b;
}

static void killed_node(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *ref = ray_remote(stay_once, 0);
    CHECK_AWAIT(page()->started, 1);
    node *first = node_that_runs(a, b);
    node_kill(first);
    CHECK_REF_INT(ref, 0); /* tried again */
    CHECK_INT(page()->runs[0], 2);
    node *second = first == a ? b : a;
    ref = ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), stay_once, 1);
    CHECK_AWAIT(page()->started, 2);
    CHECK(node_that_runs(second, second) == second);
    node_kill(second);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_NODE_DIED);
    CHECK_HAS(ray_last_error()->message, node_id(second));
    CHECK_STR(ray_last_error()->node_id, node_id(second));
    CHECK_STR(ray_last_error()->function, "stay_once");
    CHECK_INT(page()->runs[1], 1);
    ray_release(ref);
    nodes_await(2, RAY_NODE_DEAD, patience());
    check_stop();
    nodes_stop();
}

static void other_signature(void)
{
    node *head = node_head("CPU=1");
    (void)node_start_as(
        STRANGER, &(ray_config){.role = RAY_ROLE_WORKER, .address = node_address(head), .resources = "CPU=1, odd=1"});
    nodes_join(head);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "odd=1"), twice, 1);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_SIGNATURE);
    CHECK_STR(ray_last_error()->function, "twice");
    CHECK_HAS(ray_last_error()->message, "int64_t(int64_t)");
    CHECK_HAS(ray_last_error()->message, "double(double)");
    ray_release(ref);
    CHECK_REF_INT(ray_remote(own_pid), node_pid(head)); /* the other lacks it */
    CHECK_REF_INT(ray_remote(own_pid), node_pid(head));
    check_stop();
    nodes_stop();
}

static void unknown_function(void)
{
    node *head =
        node_start_as(STRANGER, &(ray_config){.role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1"});
    nodes_join(head);
    ray_ref *ref = ray_remote(own_pid), *other = ray_remote(count_run, 5);
    CHECK_OK(ray_cancel(other, 0));
    CHECK_REF(other, RAY_ERR_CANCELLED);
    check_expect_log("task.unplaceable", "own_pid", patience());
    CHECK_CODE(ray_get_timeout(ref, 0, NULL), RAY_ERR_TIMEOUT);
    node *worker = node_worker(head, "CPU=1");
    CHECK_REF_INT(ref, node_pid(worker));
    check_stop();
    nodes_stop();
}

/* ---- cancel ---- */

static void cancel(void)
{
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=1");
    nodes_join(head);
    ray_ref *running = ray_remote(go_on, 0);
    CHECK_AWAIT(page()->started, 1);
    ray_ref *waiting[3];
    for (int i = 0; i < 3; i++)
        waiting[i] = ray_remote(count_run, i);
    CHECK_OK(ray_cancel(waiting[1], 0));
    CHECK_REF(waiting[1], RAY_ERR_CANCELLED);
    CHECK_INT(page()->stopped, 0);
    CHECK_OK(ray_cancel(running, 0));
    CHECK_REF(running, RAY_ERR_CANCELLED);
    CHECK_INT(page()->stopped, 1);
    CHECK_REF_INT(waiting[0], 0);
    CHECK_REF_INT(waiting[2], 2);
    CHECK_INT(page()->runs[1], 0);
    check_stop();
    nodes_stop();
}

/* ---- many ---- */

static void many_tasks(void)
{
    enum { COUNT = 10000 };
    node *head = node_head("CPU=1");
    (void)node_worker(head, "CPU=2");
    (void)node_worker(head, "CPU=2");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_waitset *set = ray_waitset_new();
    submit_counted(set, 0, COUNT);
    collect(set, COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK_INT(page()->runs[i], 1);
    ray_waitset_free(set);
    nodes_await_available("CPU", 5);
    check_stop();
    nodes_stop();
}

/* ---- nodes come and go ---- */

static void killed_driver(void)
{
    node *head = node_head("CPU=1");
    (void)node_worker(head, "CPU=2");
    node *driver = node_driver(head, "go_on", 20);
    CHECK_AWAIT(page()->started, 3);
    node_kill(driver);
    CHECK_AWAIT(page()->stopped, 3);
    nodes_join(head);
    nodes_await_available("CPU", 3);
    CHECK_REF_INT(ray_remote(twice, 3), 6);
    CHECK_INT(page()->started, page()->stopped); /* what had not begun never does */
    check_stop();
    nodes_stop();
}

static void late_worker(void)
{
    node *head = node_head("CPU=1");
    nodes_join(head);
    ray_ref *refs[3];
    for (int i = 0; i < 3; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=2, late=1"), own_pid);
    CHECK_CODE(ray_get_timeout(refs[0], 200, NULL), RAY_ERR_TIMEOUT);
    node *worker = node_worker(head, "CPU=2, late=1");
    for (int i = 0; i < 3; i++)
        CHECK_REF_INT(refs[i], node_pid(worker));
    check_allow_log("task.unplaceable", ""); /* the nodes may take over 10 s to start */
    check_stop();
    nodes_stop();
}

static const ray_resource *find(const ray_resource *resources, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(resources[i].name, name) == 0)
            return &resources[i];
    return NULL;
}

static void table_of_nodes(void)
{
    node *head = node_head("CPU=1");
    node *a = node_start(&(ray_config){
        .role = RAY_ROLE_WORKER, .address = node_address(head), .resources = "CPU=2, disk=1.5", .labels = "zone=eu"});
    node *b = node_worker(head, "CPU=3");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    node_kill(b);
    nodes_await(1, RAY_NODE_DEAD, patience());
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster && cluster->num_nodes == 4);
    size_t heads = 0, seen = 0;
    for (size_t i = 0; i < cluster->num_nodes; i++) {
        const ray_node *n = cluster->nodes[i];
        heads += n->is_head;
        CHECK(!n->is_head || strcmp(n->id, node_id(head)) == 0);
        if (strcmp(n->id, node_id(a)) == 0) {
            const ray_resource *disk = find(n->resources, n->num_resources, "disk");
            CHECK_STR(n->labels, "zone=eu");
            CHECK_STR(n->address, node_address(a));
            CHECK(disk && disk->total == 1.5 && disk->available == 1.5 && n->state == RAY_NODE_ALIVE);
            seen++;
        }
        if (strcmp(n->id, node_id(b)) == 0)
            seen += n->state == RAY_NODE_DEAD;
        if (strcmp(n->id, ray_context_get()->node_id) == 0)
            seen += n->state == RAY_NODE_ALIVE;
    }
    CHECK(heads == 1 && seen == 3);
    const ray_resource *cpu = find(cluster->resources, cluster->num_resources, "CPU");
    CHECK(cpu && cpu->total == 3 && cpu->available == 3); /* those of the dead are not counted */
    ray_cluster_free(cluster);
    check_stop();
    nodes_stop();
}

/* Tasks run in worker processes of a node elsewhere, and one that crashes there is tried again there. */
static RAY_REMOTE(int64_t, crash_once, (int64_t, nth))
{
    if (atomic_fetch_add(&page()->runs[nth], 1) == 0)
        raise(SIGKILL);
    return getpid();
}

static void worker_processes(void)
{
    node *head = node_head("CPU=0");
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                            .address = node_address(head),
                                            .resources = "CPU=2",
                                            .isolation = RAY_ISOLATION_PROCESS});
    nodes_join(head);
    int64_t pid = 0;
    ray_ref *ref = ray_remote(crash_once, 0);
    CHECK_OK(ray_get_timeout(ref, patience(), &pid));
    CHECK(pid != node_pid(worker) && pid != node_pid(head) && pid != getpid());
    CHECK_INT(page()->runs[0], 2);
    ray_release(ref);
    ref = ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), crash_once, 1);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_WORKER_CRASHED);
    CHECK_STR(ray_last_error()->node_id, node_id(worker));
    CHECK_INT(ray_last_error()->signal, SIGKILL);
    ray_release(ref);
    CHECK_REF_INT(ray_remote(twice, 8), 16);
    nodes_allow_log("worker.died", "");
    check_stop();
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(five_tasks), CHECK_TEST(head_is_driver), CHECK_TEST(overflow), CHECK_TEST(values),
           CHECK_TEST(refs), CHECK_TEST(nested_tasks), CHECK_TEST(resources_and_labels), CHECK_TEST(affinity),
           CHECK_TEST(spread), CHECK_TEST(priority_and_deadline), CHECK_TEST(errors), CHECK_TEST(killed_node),
           CHECK_TEST(other_signature), CHECK_TEST(unknown_function), CHECK_TEST(cancel), CHECK_TEST(many_tasks),
           CHECK_TEST(killed_driver), CHECK_TEST(late_worker), CHECK_TEST(table_of_nodes), CHECK_TEST(worker_processes))
