/* Placement groups over a cluster of processes: where their bundles go, and what becomes of them. */
#include "nodes_common.h"

#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, MOST = 8 };

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

static RAY_REMOTE(const char *, own_group)
{
    const char *id = ray_context_get()->group_id;
    return id ? id : "none";
}

/* An actor that says where it is. */
typedef struct dweller {
    int64_t calls;
} dweller;
static RAY_ACTOR(dweller)
{
    self->calls = 0;
}
static RAY_METHOD(dweller, int64_t, pid)
{
    self->calls++;
    return getpid();
}
static RAY_METHOD(dweller, int64_t, count)
{
    return self->calls;
}

static ray_placement_group *make(ray_strategy strategy, size_t count, const char *const *bundles)
{
    ray_placement_group *group =
        ray_placement_group_new(bundles, count, RAY_WITH(ray_placement_group_options, .strategy = strategy));
    CHECK(group);
    return group;
}

static void await_ready(ray_placement_group *group)
{
    ray_ref *ready = ray_placement_group_ready(group);
    CHECK_OK(ray_get_timeout(ready, patience(), NULL));
    ray_release(ready);
}

static void await_int(ray_ref *ref, int64_t want)
{
    int64_t got = -1;
    CHECK_OK(ray_get_timeout(ref, patience(), &got));
    CHECK_INT(got, want);
    ray_release(ref);
}

static int64_t pid_of(ray_placement_group *group, uint32_t bundle)
{
    int64_t pid = 0;
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = bundle), own_pid);
    CHECK_OK(ray_get_timeout(ref, patience(), &pid));
    ray_release(ref);
    return pid;
}

/* On how many nodes the bundles are. */
static unsigned spread_over(ray_placement_group *group, uint32_t count)
{
    int64_t pids[MOST];
    unsigned nodes = 0;
    for (uint32_t i = 0; i < count; i++) {
        bool is_new = true;
        pids[i] = pid_of(group, i + 1);
        for (uint32_t k = 0; k < i; k++)
            is_new &= pids[k] != pids[i];
        nodes += is_new;
    }
    return nodes;
}

static void end(ray_placement_group *group)
{
    CHECK_OK(ray_placement_group_remove(group));
    ray_placement_group_release(group);
}

static void strategies(void)
{
    static const char *const ones[] = {"CPU=1", "CPU=1", "CPU=1", "CPU=1", "CPU=1", "CPU=1"};
    node *head = node_head("CPU=2");
    node_worker(head, "CPU=2"), node_worker(head, "CPU=3");
    nodes_join(head);
    ray_placement_group *group = make(RAY_STRICT_SPREAD, 3, ones);
    await_ready(group);
    CHECK_INT(spread_over(group, 3), 3);
    end(group);
    nodes_await_available("CPU", 7);
    group = make(RAY_STRICT_PACK, 3, ones);
    await_ready(group);
    CHECK_INT(spread_over(group, 3), 1);
    end(group);
    nodes_await_available("CPU", 7);
    group = make(RAY_SPREAD, 6, ones);
    await_ready(group);
    CHECK_INT(spread_over(group, 6), 3);
    end(group);
    nodes_await_available("CPU", 7);
    group = make(RAY_PACK, 5, ones);
    await_ready(group);
    CHECK_INT(spread_over(group, 5), 2);
    nodes_await_available("CPU", 2);
    end(group);
    nodes_await_available("CPU", 7);
    check_stop();
    nodes_stop();
}

/* The node that makes the group has bundles of it, too. */
static void tasks_inside(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1, disk=1"};
    nodes_make_key();
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1", .num_threads = 1)));
    ray_cluster *cluster = ray_cluster_get();
    char address[64];
    snprintf(address, sizeof address, "%s", cluster->nodes[0]->address);
    ray_cluster_free(cluster);
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER, .address = address, .resources = "CPU=1, disk=1"});
    nodes_await(2, RAY_NODE_ALIVE, patience());
    ray_placement_group *group = make(RAY_SPREAD, 2, bundles);
    await_ready(group);
    CHECK_INT(pid_of(group, 1), getpid());
    CHECK_INT(pid_of(group, 2), node_pid(worker));
    const char *ids[2] = {NULL, NULL};
    ray_ref *refs[40];
    for (uint32_t i = 0; i < 2; i++) {
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = i + 1), own_group);
        CHECK_OK(ray_get_timeout(refs[i], patience(), &ids[i]));
    }
    CHECK(strcmp(ids[0], "none") != 0);
    CHECK_STR(ids[0], ids[1]);
    ray_release(refs[0]), ray_release(refs[1]);
    for (int i = 0; i < 40; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .group = group), count_run, i);
    for (int i = 0; i < 40; i++)
        await_int(refs[i], i);
    for (int i = 0; i < 40; i++)
        CHECK_INT(atomic_load(&page()->runs[i]), 1);
    await_int(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .resources = "disk=1"), twice, 3), 6);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .resources = "CPU=2"), twice, 3),
              RAY_ERR_UNSCHEDULABLE);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 1, .resources = "disk=1"), twice, 3),
              RAY_ERR_UNSCHEDULABLE);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 3), twice, 3),
              RAY_ERR_UNSCHEDULABLE);
    ray_view state;
    CHECK_OK(ray_state("placement_groups", &state));
    CHECK(strstr(state.data, "\"state\": \"CREATED\"") && strstr(state.data, node_id(worker)));
    CHECK(strstr(state.data, ray_context_get()->node_id));
    ray_view_release(&state);
    end(group);
    CHECK(!ray_placement_group_get("nobody"));
    nodes_await_available("CPU", 2);
    nodes_stop();
    check_stop();
}

/* A parent that waits lends its bundle to its child. */
static ray_placement_group *outer;
static RAY_REMOTE(int64_t, ask_child, (int64_t, x))
{
    int64_t got = -1;
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .group = outer, .bundle = 1), twice, x);
    if (ray_get(ref, &got) < 0)
        got = -2;
    ray_release(ref);
    return got;
}

static void nested_inside(void)
{
    static const char *const bundles[] = {"CPU=1"};
    nodes_make_key();
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1", .num_threads = 2)));
    outer = make(RAY_PACK, 1, bundles);
    ray_ref *refs[5];
    for (int i = 0; i < 5; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .group = outer), ask_child, i);
    for (int i = 0; i < 5; i++)
        await_int(refs[i], 2 * i);
    end(outer);
    check_stop();
    nodes_stop();
}

/* What no nodes could ever hold waits, with a warning, until there is one. */
static void too_large(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1", "CPU=1"}, *const large[] = {"CPU=4"};
    node *head = node_head("CPU=1");
    node_worker(head, "CPU=1");
    nodes_join(head);
    ray_placement_group *group = make(RAY_STRICT_SPREAD, 3, bundles), *wide = make(RAY_PACK, 1, large);
    ray_ref *ready = ray_placement_group_ready(group), *other = ray_placement_group_ready(wide);
    ray_ref *task = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 3), twice, 4);
    check_expect_log("group.unplaceable", "STRICT_SPREAD", patience());
    check_expect_log("group.unplaceable", "more than any node", patience());
    CHECK_CODE(ray_get_timeout(ready, 0, NULL), RAY_ERR_TIMEOUT);
    CHECK_CODE(ray_get_timeout(other, 0, NULL), RAY_ERR_TIMEOUT);
    CHECK(nodes_available("CPU") == 2); /* nothing is kept for what cannot be */
    node_worker(head, "CPU=5");
    CHECK_OK(ray_get_timeout(ready, patience(), NULL));
    CHECK_OK(ray_get_timeout(other, patience(), NULL));
    await_int(task, 8);
    ray_release(ready), ray_release(other);
    end(group), end(wide);
    check_stop();
    nodes_stop();
}

/* Of a task that holds a CPU and of groups that each need most nodes: all have their turn. */
static void competing(void)
{
    enum { GROUPS = 6 };
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    ray_placement_group *groups[GROUPS];
    node *head = node_head("CPU=1");
    node_worker(head, "CPU=1"), node_worker(head, "CPU=1");
    nodes_join(head);
    for (int i = 0; i < GROUPS; i++)
        groups[i] = make(i % 2 ? RAY_STRICT_SPREAD : RAY_SPREAD, 2, bundles);
    for (int done = 0; done < GROUPS;) {
        for (int i = 0; i < GROUPS; i++) {
            ray_ref *ready = groups[i] ? ray_placement_group_ready(groups[i]) : NULL;
            if (ready && ray_get_timeout(ready, 20, NULL) == 0) {
                CHECK_INT(spread_over(groups[i], 2), 2);
                end(groups[i]);
                groups[i] = NULL;
                done++;
            }
            ray_release(ready);
        }
    }
    nodes_await_available("CPU", 3);
    check_stop();
    nodes_stop();
}

/* Drivers that know nothing of each other, each making a group over both nodes, again and again. */
static RAY_REMOTE(int64_t, take_turns, (int64_t, nth))
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    for (int i = 0; i < 3; i++) {
        ray_placement_group *group = make(RAY_STRICT_SPREAD, 2, bundles);
        await_ready(group);
        CHECK_INT(atomic_fetch_add(&page()->order, 1), 0); /* no two are there at once */
        CHECK_INT(spread_over(group, 2), 2);
        atomic_fetch_sub(&page()->order, 1);
        end(group);
    }
    atomic_fetch_add(&page()->stopped, 1);
    return nth;
}

static void competing_owners(void)
{
    node *owners[3], *head = node_head("CPU=1");
    node_worker(head, "CPU=1");
    /* Each owner is a node without CPUs of these groups, that runs one task of ours, which makes them. */
    for (int i = 0; i < 3; i++)
        owners[i] = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                             .address = node_address(head),
                                             .resources = "CPU=0, owner=1",
                                             .isolation = RAY_ISOLATION_THREAD});
    nodes_join(head);
    ray_ref *refs[3];
    for (int i = 0; i < 3; i++)
        refs[i] = ray_remote_opts(
            RAY_WITH(ray_task_options, .resources = "CPU=0, owner=1", .node_id = node_id(owners[i])), take_turns, i);
    for (int i = 0; i < 3; i++) {
        int64_t got = -1;
        CHECK_OK(ray_get_timeout(refs[i], 3 * patience(), &got));
        CHECK_INT(got, i);
        ray_release(refs[i]);
    }
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

static void removed(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    node *head = node_head("CPU=1");
    node_worker(head, "CPU=1");
    nodes_join(head);
    ray_placement_group *group = make(RAY_STRICT_SPREAD, 2, bundles);
    ray_ref *running[2], *waiting[4];
    for (uint32_t i = 0; i < 2; i++)
        running[i] = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = i + 1), go_on, 1);
    CHECK_AWAIT(page()->started, 2);
    for (int i = 0; i < 4; i++)
        waiting[i] = ray_remote_opts(RAY_WITH(ray_task_options, .group = group), twice, i);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .bundle = 1), dweller);
    CHECK_OK(ray_placement_group_remove(group));
    for (int i = 0; i < 2; i++)
        CHECK_REF(running[i], RAY_ERR_GROUP_REMOVED);
    for (int i = 0; i < 4; i++)
        CHECK_REF(waiting[i], RAY_ERR_GROUP_REMOVED);
    CHECK_AWAIT(page()->stopped, 2);
    ray_ref *call = ray_call(actor, dweller_pid);
    CHECK(ray_get_timeout(call, patience(), NULL) < 0);
    ray_release(call);
    ray_actor_release(actor);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), twice, 3), RAY_ERR_GROUP_REMOVED);
    ray_placement_group_release(group);
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

/* What was on a dead node is placed anew, and what ran there is tried again. */
static void killed_node(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_placement_group *group = make(RAY_STRICT_SPREAD, 2, bundles);
    await_ready(group);
    int64_t first = pid_of(group, 1);
    node *victim = first == node_pid(a) ? a : b, *other = victim == a ? b : a;
    CHECK_INT(pid_of(group, 2), node_pid(other));
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .bundle = 1, .max_restarts = 1), dweller);
    await_int(ray_call(actor, dweller_pid), first);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 1), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    node_kill(victim);
    node *late = node_worker(head, "CPU=1");
    CHECK_AWAIT(page()->started, 2);
    atomic_store(&page()->gate, 1);
    await_int(ref, 1);
    CHECK_INT(pid_of(group, 1), node_pid(late));
    CHECK_INT(pid_of(group, 2), node_pid(other));
    for (int64_t pid = 0; pid != node_pid(late);) {
        ray_ref *call = ray_call(actor, dweller_pid);
        if (ray_get_timeout(call, patience(), &pid) < 0)
            pid = 0;
        ray_release(call);
    }
    ray_actor_release(actor);
    end(group);
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(int64_t, take_and_keep, (int64_t, nth))
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    ray_placement_group *group = make(RAY_SPREAD, 2, bundles);
    await_ready(group);
    atomic_fetch_add(&page()->started, 1);
    check_sleep_ms(1000000);
    return nth;
}

/* Reservations go with the node that has made them. */
static void killed_owner(void)
{
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=1"), node_worker(head, "CPU=1");
    node *owner = node_start(
        &(ray_config){.role = RAY_ROLE_WORKER, .address = node_address(head), .resources = "CPU=0, owner=1"});
    nodes_join(head);
    ray_ref *ref = ray_remote_opts(
        RAY_WITH(ray_task_options, .resources = "CPU=0, owner=1", .max_retries = RAY_NO_RETRIES), take_and_keep, 1);
    CHECK_AWAIT(page()->started, 1);
    nodes_await_available("CPU", 0);
    node_kill(owner);
    CHECK_REF(ref, RAY_ERR_NODE_DIED);
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

static void actors_inside(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    nodes_make_key();
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1", .num_threads = 1)));
    ray_cluster *cluster = ray_cluster_get();
    char address[64];
    snprintf(address, sizeof address, "%s", cluster->nodes[0]->address);
    ray_cluster_free(cluster);
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER, .address = address, .resources = "CPU=1"});
    nodes_await(2, RAY_NODE_ALIVE, patience());
    ray_placement_group *group = make(RAY_STRICT_SPREAD, 2, bundles);
    ray_actor *actors[2]; /* made before it is known where they will be */
    int64_t pids[2];
    for (uint32_t i = 0; i < 2; i++)
        actors[i] = ray_actor_new_opts(
            RAY_WITH(ray_actor_options, .group = group, .bundle = i + 1, .resources = "CPU=1"), dweller);
    for (int i = 0; i < 2; i++) {
        ray_ref *ref = ray_call(actors[i], dweller_pid);
        CHECK_OK(ray_get_timeout(ref, patience(), &pids[i]));
        ray_release(ref);
        for (int k = 0; k < 20; k++)
            ray_release(ray_call(actors[i], dweller_pid));
        await_int(ray_call(actors[i], dweller_count), 21);
    }
    CHECK(pids[0] != pids[1]);
    CHECK(pids[0] == getpid() || pids[1] == getpid());
    CHECK(pids[0] == node_pid(worker) || pids[1] == node_pid(worker));
    ray_ref *task = ray_remote_opts(RAY_WITH(ray_task_options, .group = group), twice, 1);
    CHECK_CODE(ray_get_timeout(task, 50, NULL), RAY_ERR_TIMEOUT); /* all that is reserved is held */
    ray_actor_release(actors[0]);
    await_int(task, 2);
    CHECK_OK(ray_placement_group_remove(group));
    ray_ref *call = ray_call(actors[1], dweller_pid);
    CHECK(ray_get_timeout(call, patience(), NULL) < 0);
    ray_release(call);
    ray_actor_release(actors[1]);
    ray_placement_group_release(group);
    nodes_await_available("CPU", 2);
    nodes_stop();
    check_stop();
}

static RAY_METHOD(dweller, int64_t, weigh, (ray_view, bytes), (int64_t, more))
{
    int64_t sum = more;
    for (size_t i = 0; i < bytes.size; i++)
        sum += ((const unsigned char *)bytes.data)[i];
    return sum;
}
static RAY_METHOD(dweller, ray_view, echo, (ray_view, bytes))
{
    return bytes;
}
static RAY_REMOTE(int64_t, call_dweller, (ray_actor *, actor))
{
    int64_t got = -1;
    ray_ref *ref = ray_call(actor, dweller_pid);
    if (ray_get(ref, &got) < 0)
        got = -2;
    ray_release(ref);
    return got;
}

/* What goes to an actor of the owner's own node takes the same way as between nodes. */
static void actors_take_anything(void)
{
    enum { SIZE = 3 << 20 };
    static const char *const bundles[] = {"CPU=1"};
    nodes_make_key();
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=2", .num_threads = 2)));
    ray_placement_group *group = make(RAY_PACK, 1, bundles);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group), dweller);
    char *bytes = malloc(SIZE);
    memset(bytes, 1, SIZE);
    ray_ref *put = ray_put(bytes, SIZE), *late = ray_remote(twice, 21);
    await_int(ray_call(actor, dweller_weigh, put, late), SIZE + 42);
    await_int(ray_call(actor, dweller_weigh, ray_view_of(bytes, 10), 5), 15);
    ray_ref *echo = ray_call(actor, dweller_echo, put);
    ray_view got;
    CHECK_OK(ray_get_timeout(echo, patience(), &got));
    CHECK(got.size == SIZE && memcmp(got.data, bytes, SIZE) == 0);
    ray_view_release(&got);
    await_int(ray_call(actor, dweller_weigh, echo, 0), SIZE);
    await_int(ray_remote(call_dweller, actor), getpid());
    ray_release(echo), ray_release(put), ray_release(late);
    free(bytes);
    CHECK_OK(ray_kill(actor, false));
    ray_ref *call = ray_call(actor, dweller_pid);
    CHECK_REF(call, RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    end(group);
    check_stop();
    nodes_stop();
}

/* Bundles of a node whose tasks run in worker processes. */
static void worker_processes(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    node *head = node_head("CPU=0");
    for (int i = 0; i < 2; i++)
        node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                 .address = node_address(head),
                                 .resources = "CPU=1",
                                 .isolation = RAY_ISOLATION_PROCESS});
    nodes_join(head);
    ray_placement_group *group = make(RAY_STRICT_SPREAD, 2, bundles);
    CHECK_INT(spread_over(group, 2), 2);
    ray_ref *ids[2], *running = NULL;
    const char *id[2] = {NULL, NULL};
    for (uint32_t i = 0; i < 2; i++) {
        ids[i] = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = i + 1), own_group);
        CHECK_OK(ray_get_timeout(ids[i], patience(), &id[i]));
    }
    CHECK(strcmp(id[0], "none") != 0);
    CHECK_STR(id[0], id[1]);
    ray_release(ids[0]), ray_release(ids[1]);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .bundle = 2), dweller);
    await_int(ray_call(actor, dweller_count), 0);
    running = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 1), go_on, 1);
    CHECK_AWAIT(page()->started, 1);
    end(group);
    CHECK_REF(running, RAY_ERR_GROUP_REMOVED);
    CHECK_AWAIT(page()->stopped, 1);
    ray_actor_release(actor);
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(int64_t, end_badly, (int64_t, nth))
{
    atomic_fetch_add(&page()->started, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    _exit((int)nth);
}

/* What the end of its group has stopped says so, however it stops. */
static void stops_badly(void)
{
    static const char *const bundles[] = {"CPU=1"};
    node *head = node_head("CPU=0");
    node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                             .address = node_address(head),
                             .resources = "CPU=1",
                             .isolation = RAY_ISOLATION_PROCESS});
    nodes_join(head);
    ray_placement_group *group = make(RAY_PACK, 1, bundles);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .group = group), end_badly, 3);
    nodes_allow_log("worker.died", "exited with code 3");
    CHECK_AWAIT(page()->started, 1);
    end(group);
    CHECK_REF(ref, RAY_ERR_GROUP_REMOVED);
    nodes_await_available("CPU", 1);
    check_stop();
    nodes_stop();
}

/* It gets nothing new, but what goes on in its bundle does, until the group is removed. */
static void drained_node(void)
{
    static const char *const one[] = {"CPU=1"};
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=2");
    nodes_join(head);
    ray_placement_group *group = make(RAY_PACK, 1, one);
    await_ready(group);
    CHECK_OK(ray_node_drain(node_id(worker)));
    node_expect_log(worker, "node.drained", "", patience());
    ray_ref *outside = ray_remote(own_pid);
    ray_placement_group *late = make(RAY_PACK, 1, one);
    await_int(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), own_pid), node_pid(worker));
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group), dweller);
    await_int(ray_call(actor, dweller_pid), node_pid(worker));
    ray_actor_release(actor);
    CHECK_OK(ray_placement_group_remove(group));
    ray_placement_group_release(group);
    node_await_end(worker, 0, "", 2 * patience());
    node *other = node_worker(head, "CPU=2");
    await_int(outside, node_pid(other));
    await_int(ray_remote_opts(RAY_WITH(ray_task_options, .group = late), own_pid), node_pid(other));
    CHECK_OK(ray_placement_group_remove(late));
    ray_placement_group_release(late);
    check_allow_log("task.unplaceable", ""); /* the nodes may take over 10 s to start */
    check_allow_log("group.unplaceable", "");
    check_stop();
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(strategies), CHECK_TEST(tasks_inside), CHECK_TEST(nested_inside), CHECK_TEST(too_large),
           CHECK_TEST(competing), CHECK_TEST(competing_owners), CHECK_TEST(removed), CHECK_TEST(killed_node),
           CHECK_TEST(killed_owner), CHECK_TEST(actors_inside), CHECK_TEST(actors_take_anything),
           CHECK_TEST(worker_processes), CHECK_TEST(stops_badly), CHECK_TEST(drained_node))
