/* Placement groups that others than their maker know: found by name, detached, borrowed by tasks that run inside. */
#include "nodes_common.h"

#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

static const char *const ones[] = {"CPU=1", "CPU=1"};

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

static void await_ready(ray_placement_group *group)
{
    ray_ref *ready = ray_placement_group_ready(group);
    CHECK_OK(ray_get_timeout(ready, patience(), NULL));
    ray_release(ready);
}

static int64_t int_of(ray_ref *ref)
{
    int64_t got = -1;
    CHECK_OK(ray_get_timeout(ref, patience(), &got));
    ray_release(ref);
    return got;
}

static int64_t pid_of(ray_placement_group *group, uint32_t bundle)
{
    return int_of(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = bundle), own_pid));
}

static ray_placement_group *make(const char *name, bool detached)
{
    ray_placement_group *group = ray_placement_group_new(
        ones, 2,
        RAY_WITH(ray_placement_group_options, .name = name, .strategy = RAY_STRICT_SPREAD, .detached = detached));
    CHECK(group);
    return group;
}

static ray_placement_group *get(const char *name)
{
    ray_placement_group *group = ray_placement_group_get(name);
    CHECK(group);
    return group;
}

/* A node that keeps no bundles, and runs the tasks of `on`. */
static node *start_aside(const node *head, ray_isolation isolation)
{
    return node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                    .address = node_address(head),
                                    .resources = "CPU=0, aside=8",
                                    .num_threads = 2,
                                    .isolation = isolation});
}

static ray_task_options on(const node *n)
{
    return (ray_task_options){.size = sizeof(ray_task_options),
                              .resources = "CPU=0, aside=1",
                              .node_id = node_id(n),
                              .max_retries = RAY_NO_RETRIES};
}

/* ---- by name ---- */

/* From a node that has not made it: all that a maker can do with it. */
static RAY_REMOTE(int64_t, use_by_name, (const char *, name))
{
    ray_placement_group *group = get(name), *again = get(name);
    await_ready(group);
    int64_t first = pid_of(group, 1), second = pid_of(again, 2), any = pid_of(group, 0);
    CHECK(first != second && (any == first || any == second));
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = again, .bundle = 2), dweller);
    CHECK_INT(int_of(ray_call(actor, dweller_pid)), second);
    ray_actor_release(actor);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .resources = "CPU=2"), own_pid),
              RAY_ERR_UNSCHEDULABLE);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 3), own_pid), RAY_ERR_UNSCHEDULABLE);
    ray_placement_group_release(group), ray_placement_group_release(again);
    return first;
}

static void use_from(const char *name, const node *aside, int64_t first)
{
    ray_task_options options = on(aside);
    CHECK_INT(int_of(ray_remote_opts(&options, use_by_name, name)), first);
}

static void by_name(void)
{
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=1"), node_worker(head, "CPU=1");
    node *aside = start_aside(head, RAY_ISOLATION_THREAD), *apart = start_aside(head, RAY_ISOLATION_PROCESS);
    nodes_join(head);
    CHECK(!ray_placement_group_get("nobody"));
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    ray_placement_group *group = make("all/ours", false), *other;
    await_ready(group);
    other = make("all/lasting", true);
    ray_ref *ready = ray_placement_group_ready(other);
    use_from("all/ours", aside, pid_of(group, 1));
    use_from("all/ours", apart, pid_of(group, 1));
    CHECK_CODE(ray_get_timeout(ready, 0, NULL), RAY_ERR_TIMEOUT); /* there is no room */
    CHECK_OK(ray_placement_group_remove(group));
    ray_placement_group_release(group);
    CHECK(!ray_placement_group_get("all/ours"));
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_get_timeout(ready, patience(), NULL));
    use_from("all/lasting", aside, pid_of(other, 1));
    use_from("all/lasting", apart, pid_of(other, 1));
    ray_release(ready);
    CHECK_OK(ray_placement_group_remove(other));
    ray_placement_group_release(other);
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

/* ---- its name ---- */

static void exists(ray_placement_group *group)
{
    ray_ref *ready = ray_placement_group_ready(group);
    CHECK_CODE(ray_get_timeout(ready, patience(), NULL), RAY_ERR_EXISTS);
    CHECK_HAS(ray_last_error()->message, "all/one");
    ray_release(ready);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), own_pid), RAY_ERR_GROUP_REMOVED);
    CHECK_OK(ray_placement_group_remove(group));
    ray_placement_group_release(group);
}

/* It is taken from the first word of it until its group is removed, from whatever node; and then free at once. */
static RAY_REMOTE(int64_t, remove_it, (const char *, name))
{
    ray_placement_group *group = get(name);
    CHECK_OK(ray_placement_group_remove(group));
    CHECK_OK(ray_placement_group_remove(group));
    ray_placement_group_release(group);
    group = make(name, true);
    await_ready(group);
    ray_placement_group_release(group);
    return 1;
}

static void names(void)
{
    char text[300];
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=1"), node_worker(head, "CPU=1");
    node *asides[2] = {start_aside(head, RAY_ISOLATION_THREAD), start_aside(head, RAY_ISOLATION_PROCESS)};
    nodes_join(head);
    for (int i = 0; i < 8; i++) {
        ray_placement_group *group = make("all/one", i & 1);
        exists(make("all/one", i & 2));
        ray_task_options options = on(asides[i / 4]);
        CHECK_INT(int_of(ray_remote_opts(&options, remove_it, "all/one")), 1);
        CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), own_pid), RAY_ERR_GROUP_REMOVED);
        ray_placement_group_release(group);
        group = get("all/one");
        CHECK_OK(ray_placement_group_remove(group));
        ray_placement_group_release(group);
    }
    for (int i = 0; i < 20; i++) { /* not even known yet */
        ray_placement_group *group = make("all/brief", i & 1);
        CHECK_OK(ray_placement_group_remove(group));
        CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), own_pid), RAY_ERR_GROUP_REMOVED);
        ray_placement_group_release(group);
        CHECK(!ray_placement_group_get("all/brief"));
    }
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    CHECK(!ray_placement_group_new(ones, 2, RAY_WITH(ray_placement_group_options, .name = text)));
    CHECK_INT(ray_last_error()->code, RAY_ERR_LIMIT);
    CHECK(!ray_placement_group_new(ones, 2, RAY_WITH(ray_placement_group_options, .name = "")));
    CHECK_INT(ray_last_error()->code, RAY_ERR_ARGUMENT);
    CHECK(!ray_placement_group_get(NULL));
    CHECK_INT(ray_last_error()->code, RAY_ERR_ARGUMENT);
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(int64_t, race, (int64_t, detached))
{
    int64_t won;
    atomic_fetch_add(&page()->started, 1);
    CHECK_AWAIT(page()->gate, 1);
    ray_placement_group *group = make("all/raced", detached != 0);
    ray_ref *ready = ray_placement_group_ready(group);
    int r = ray_get_timeout(ready, patience(), NULL);
    CHECK(r == 0 || r == RAY_ERR_EXISTS);
    won = r == 0;
    ray_release(ready);
    atomic_fetch_add(&page()->stopped, 1);
    CHECK_AWAIT(page()->stopped, 3); /* all have tried while it is there */
    CHECK_OK(ray_placement_group_remove(group));
    ray_placement_group_release(group);
    return won;
}

/* Of three that know nothing of each other one has it. */
static void raced(void)
{
    node *asides[3], *head = node_head("CPU=0");
    node_worker(head, "CPU=1"), node_worker(head, "CPU=1");
    for (int i = 0; i < 3; i++)
        asides[i] = start_aside(head, RAY_ISOLATION_THREAD);
    nodes_join(head);
    for (int round = 0; round < 5; round++) {
        ray_ref *refs[3];
        int64_t won = 0;
        atomic_store(&page()->gate, 0), atomic_store(&page()->started, 0), atomic_store(&page()->stopped, 0);
        for (int i = 0; i < 3; i++) {
            ray_task_options options = on(asides[i]);
            refs[i] = ray_remote_opts(&options, race, (i + round) % 2);
        }
        CHECK_AWAIT(page()->started, 3);
        atomic_store(&page()->gate, 1);
        for (int i = 0; i < 3; i++)
            won += int_of(refs[i]);
        CHECK_INT(won, 1);
        CHECK(!ray_placement_group_get("all/raced"));
    }
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

/* ---- who outlives whom ---- */

static void shows(const char *part)
{
    ray_view state;
    bool has = false;
    for (int64_t end = check_now_ms() + patience(); !has && check_now_ms() < end; check_sleep_ms(5)) {
        CHECK_OK(ray_state("placement_groups", &state));
        has = strstr(state.data, part) != NULL;
        if (!has)
            ray_view_release(&state);
    }
    CHECK(has);
    CHECK_HAS(state.data, "all/lasting");
    CHECK_HAS(state.data, "\"is_detached\": true");
    ray_view_release(&state);
}

/* Its job ends, a node with one of its bundles dies, and another job goes on with it. */
static void outlives_its_job(void)
{
    node *head = node_head("CPU=0"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1");
    nodes_join(head);
    ray_placement_group *group = make("all/lasting", true);
    ray_ref *running = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 2), go_on, 1);
    int64_t first = pid_of(group, 1);
    CHECK_AWAIT(page()->started, 1);
    ray_release(running);
    ray_placement_group_release(group);
    check_stop();
    CHECK_AWAIT(page()->stopped, 1); /* the job's task ends with it */
    nodes_join(head);
    shows("\"state\": \"CREATED\"");
    group = get("all/lasting");
    await_ready(group);
    CHECK_INT(pid_of(group, 1), first);
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .bundle = 1, .max_restarts = 1), dweller);
    CHECK_INT(int_of(ray_call(actor, dweller_pid)), first);
    atomic_store(&page()->started, 0);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 1), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    node_kill(first == node_pid(a) ? a : b);
    shows("\"state\": \"RESCHEDULING\"");
    node *late = node_worker(head, "CPU=1");
    CHECK_AWAIT(page()->started, 2);
    atomic_store(&page()->gate, 1);
    CHECK_INT(int_of(ref), 1);
    CHECK_INT(pid_of(group, 1), node_pid(late));
    for (int64_t pid = 0; pid != node_pid(late);) {
        ray_ref *call = ray_call(actor, dweller_pid);
        if (ray_get_timeout(call, patience(), &pid) < 0)
            pid = 0;
        ray_release(call);
    }
    ray_actor_release(actor);
    CHECK_OK(ray_placement_group_remove(group));
    ray_placement_group_release(group);
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(int64_t, make_and_stay, (const char *, name), (int64_t, detached))
{
    ray_placement_group *group = make(name, detached != 0);
    await_ready(group);
    atomic_fetch_add(&page()->started, 1);
    check_sleep_ms(1000000);
    return detached;
}

/* What is detached goes on without its maker, what is not ends with it, for all who use it. */
static void killed_maker(void)
{
    node *head = node_head("CPU=0");
    for (int i = 0; i < 4; i++)
        node_worker(head, "CPU=1");
    node *maker = start_aside(head, RAY_ISOLATION_THREAD);
    nodes_join(head);
    ray_task_options options = on(maker);
    ray_ref *kept = ray_remote_opts(&options, make_and_stay, "all/kept", 1);
    ray_ref *lost = ray_remote_opts(&options, make_and_stay, "all/lost", 0);
    CHECK_AWAIT(page()->started, 2);
    ray_placement_group *groups[2] = {get("all/kept"), get("all/lost")};
    int64_t first = pid_of(groups[0], 1);
    ray_ref *running[2], *waiting[2];
    for (int i = 0; i < 2; i++) {
        ray_task_options inside = {.size = sizeof inside, .group = groups[i], .bundle = 1};
        running[i] = i == 0 ? ray_remote_opts(&inside, pass_gate, 1) : ray_remote_opts(&inside, go_on, 1);
        CHECK_AWAIT(page()->started, 3 + i);
        waiting[i] = ray_remote_opts(&inside, twice, 3);
    }
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = groups[1], .bundle = 2), dweller);
    CHECK(int_of(ray_call(actor, dweller_pid)) > 0);
    node_kill(maker);
    CHECK_REF(kept, RAY_ERR_NODE_DIED);
    CHECK_REF(lost, RAY_ERR_NODE_DIED);
    CHECK_REF(running[1], RAY_ERR_GROUP_REMOVED);
    CHECK_REF(waiting[1], RAY_ERR_GROUP_REMOVED);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = groups[1]), twice, 3), RAY_ERR_GROUP_REMOVED);
    ray_ref *call = ray_call(actor, dweller_pid);
    CHECK(ray_get_timeout(call, patience(), NULL) < 0);
    ray_release(call);
    ray_actor_release(actor);
    CHECK(!ray_placement_group_get("all/lost"));
    atomic_store(&page()->gate, 1);
    CHECK_INT(int_of(running[0]), 1);
    CHECK_INT(int_of(waiting[0]), 6);
    CHECK_INT(pid_of(groups[0], 1), first);
    ray_placement_group_release(groups[1]);
    groups[1] = make("all/lost", false); /* the name is free */
    await_ready(groups[1]);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(ray_placement_group_remove(groups[i]));
        ray_placement_group_release(groups[i]);
    }
    nodes_await_available("CPU", 4);
    check_stop();
    nodes_stop();
}

/* The head is lost, and all that it owned: who waits for a group of its is told. */
static void lost_head(void)
{
    static const char *const bundles[] = {"nowhere=1"};
    node *head = node_head("CPU=0");
    /* a join may take so long, too */
    nodes_join_as(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = node_address(head),
                           .head_wait_ms = 5000 * check_slowness()));
    ray_placement_group *group = ray_placement_group_new(
        bundles, 1, RAY_WITH(ray_placement_group_options, .name = "all/never", .detached = true));
    ray_placement_group_release(get("all/never"));
    ray_ref *ready = ray_placement_group_ready(group);
    ray_ref *task =
        ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .resources = "CPU=0, nowhere=1"), own_pid);
    node_kill(head);
    CHECK(ray_get_timeout(ready, patience(), NULL) < 0);
    CHECK(ray_last_error()->code != RAY_ERR_TIMEOUT);
    CHECK(ray_get_timeout(task, patience(), NULL) < 0);
    CHECK(ray_last_error()->code != RAY_ERR_TIMEOUT);
    check_expect_log("cluster.left", "", patience());
    check_allow_log("head.unreachable", "");
    check_allow_log("task.unplaceable", ""); /* nobody has what it asks for, but that is said after 10 s */
    check_allow_log("group.unplaceable", "");
    ray_release(ready), ray_release(task);
    ray_placement_group_release(group);
    check_stop();
    nodes_stop();
}

/* A head that answers late has made it all the same: it can be used, and removed. */
static void late_head(void)
{
    enum { TIMEOUT_MS = 2000 }; /* the head is away for longer, but not for the 4 s after which links are given up */
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=1"), node_worker(head, "CPU=1");
    nodes_join_as(
        RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = node_address(head), .timeout_ms = TIMEOUT_MS));
    node_pause(head);
    ray_placement_group *group = make("all/late", true);
    ray_ref *ready = ray_placement_group_ready(group);
    CHECK_CODE(ray_get_timeout(ready, TIMEOUT_MS + 500, NULL), RAY_ERR_TIMEOUT);
    node_resume(head);
    CHECK_OK(ray_get_timeout(ready, patience(), NULL));
    ray_release(ready);
    ray_placement_group_release(get("all/late"));
    CHECK_OK(ray_placement_group_remove(group));
    CHECK(!ray_placement_group_get("all/late"));
    ray_placement_group_release(group);
    nodes_await_available("CPU", 2);
    nodes_allow_log("head.unreachable", ""); /* on a slow machine they are given up all the same */
    check_allow_log("head.unreachable", "");
    check_stop();
    nodes_stop();
}

/* ---- its end while it is used ---- */

static RAY_REMOTE(int64_t, run_inside, (const char *, name), (int64_t, bundle))
{
    ray_placement_group *group = get(name);
    ray_ref *running =
        ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = (uint32_t)bundle), go_on, bundle);
    ray_ref *waiting = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = (uint32_t)bundle), own_pid);
    CHECK_REF(running, RAY_ERR_GROUP_REMOVED);
    CHECK_REF(waiting, RAY_ERR_GROUP_REMOVED);
    ray_placement_group_release(group);
    return bundle;
}

static void removed_while_used(void)
{
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=1"), node_worker(head, "CPU=1");
    node *asides[2] = {start_aside(head, RAY_ISOLATION_THREAD), start_aside(head, RAY_ISOLATION_PROCESS)};
    nodes_join(head);
    for (int i = 0; i < 2; i++) {
        ray_placement_group *group = make("all/used", i == 0);
        await_ready(group);
        ray_ref *refs[2];
        atomic_store(&page()->started, 0), atomic_store(&page()->stopped, 0);
        for (int k = 0; k < 2; k++) {
            ray_task_options options = on(asides[k]);
            refs[k] = ray_remote_opts(&options, run_inside, "all/used", k + 1);
        }
        CHECK_AWAIT(page()->started, 2);
        CHECK_OK(ray_placement_group_remove(group));
        for (int k = 0; k < 2; k++)
            CHECK_INT(int_of(refs[k]), k + 1);
        CHECK_AWAIT(page()->stopped, 2);
        ray_placement_group_release(group);
        nodes_await_available("CPU", 2);
    }
    check_stop();
    nodes_stop();
}

/* ---- from inside ---- */

/* A task, or an actor, that puts others into the group in which it runs. */
static int64_t go_on_inside(void)
{
    ray_placement_group *own = ray_placement_group_get(NULL);
    CHECK(own && ray_context_get()->group_id);
    await_ready(own);
    int64_t second = pid_of(own, 2);
    CHECK(pid_of(own, 1) != second); /* in the room that it lends while it waits */
    ray_placement_group_release(own);
    return second;
}
static RAY_REMOTE(int64_t, inside)
{
    return go_on_inside();
}
static RAY_METHOD(dweller, int64_t, inside)
{
    self->calls++;
    return go_on_inside();
}

static void from_inside(void)
{
    static const char *const bundles[] = {"CPU=1, first=1", "CPU=1, second=1"};
    static const ray_isolation isolations[] = {RAY_ISOLATION_THREAD, RAY_ISOLATION_PROCESS};
    for (int i = 0; i < 2; i++) {
        node *head = node_head("CPU=0");
        node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                 .address = node_address(head),
                                 .resources = "CPU=1, first=1",
                                 .isolation = isolations[i]});
        node *b = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                           .address = node_address(head),
                                           .resources = "CPU=1, second=1",
                                           .isolation = RAY_ISOLATION_THREAD});
        nodes_join(head);
        ray_placement_group *group = ray_placement_group_new(bundles, 2, NULL);
        CHECK_INT(int_of(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 1), inside)),
                  node_pid(b));
        ray_actor *actor = ray_actor_new_opts(
            RAY_WITH(ray_actor_options, .group = group, .bundle = 1, .resources = "CPU=0, first=1"), dweller);
        CHECK_INT(int_of(ray_call(actor, dweller_inside)), node_pid(b));
        ray_actor_release(actor);
        CHECK_OK(ray_placement_group_remove(group));
        ray_placement_group_release(group);
        nodes_await_available("CPU", 2);
        check_stop();
        nodes_stop();
    }
}

/* ---- two users of any bundle ---- */

static RAY_REMOTE(int64_t, use_any, (const char *, name), (int64_t, taken))
{
    ray_placement_group *group = get(name);
    for (int i = 0; i < 5; i++)
        CHECK(pid_of(group, 0) != taken);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .resources = "CPU=1"), dweller);
    int64_t there = int_of(ray_call(actor, dweller_pid));
    CHECK(there != taken);
    atomic_store(&page()->started, 1);
    CHECK_AWAIT(page()->gate, 1);
    ray_actor_release(actor);
    ray_placement_group_release(group);
    return there;
}

/* What could go to any bundle does not wait for one that another node's actor has for as long as it likes. */
static void any_bundle_of_two(void)
{
    for (int detached = 0; detached < 2; detached++) {
        node *head = node_head("CPU=0");
        node_worker(head, "CPU=1"), node_worker(head, "CPU=1");
        node *aside = start_aside(head, RAY_ISOLATION_THREAD);
        nodes_join(head);
        ray_placement_group *group = make("all/halves", detached != 0);
        ray_actor *actor =
            ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .resources = "CPU=1"), dweller);
        int64_t taken = int_of(ray_call(actor, dweller_pid));
        atomic_store(&page()->started, 0), atomic_store(&page()->gate, 0);
        ray_task_options options = on(aside);
        ray_ref *other = ray_remote_opts(&options, use_any, "all/halves", taken);
        CHECK_AWAIT(page()->started, 1);
        ray_ref *task = ray_remote_opts(RAY_WITH(ray_task_options, .group = group), own_pid);
        ray_actor *late =
            ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .resources = "CPU=1"), dweller);
        CHECK_CODE(ray_get_timeout(task, 200, NULL), RAY_ERR_TIMEOUT);
        atomic_store(&page()->gate, 1);
        int64_t there = int_of(other);
        CHECK_INT(int_of(ray_call(late, dweller_pid)), there);
        ray_actor_release(late);
        CHECK_INT(int_of(task), there);
        ray_actor_release(actor);
        CHECK_OK(ray_placement_group_remove(group));
        ray_placement_group_release(group);
        nodes_await_available("CPU", 2);
        check_stop();
        nodes_stop();
    }
}

/* ---- a bundle that was full once ---- */

static RAY_REMOTE(int64_t, hold_any, (const char *, name))
{
    ray_placement_group *group = get(name);
    int64_t held = int_of(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), pass_gate, 1));
    ray_placement_group_release(group);
    return held;
}

/* It is tried again when another node's task there has ended, though an actor of ours goes on in it. */
static void full_beside_ours(void)
{
    static const char *const pair[] = {"CPU=2"};
    node *head = node_head("CPU=0");
    node_worker(head, "CPU=2");
    node *aside = start_aside(head, RAY_ISOLATION_THREAD);
    nodes_join(head);
    ray_placement_group *group =
        ray_placement_group_new(pair, 1, RAY_WITH(ray_placement_group_options, .name = "all/pair"));
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .resources = "CPU=1"), dweller);
    int64_t there = int_of(ray_call(actor, dweller_pid));
    ray_task_options options = on(aside);
    ray_ref *other = ray_remote_opts(&options, hold_any, "all/pair");
    CHECK_AWAIT(page()->started, 1);
    ray_ref *task = ray_remote_opts(RAY_WITH(ray_task_options, .group = group), own_pid);
    CHECK_CODE(ray_get_timeout(task, 300, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&page()->gate, 1);
    CHECK_INT(int_of(other), 1);
    CHECK_INT(int_of(task), there);
    ray_actor_release(actor);
    CHECK_OK(ray_placement_group_remove(group));
    ray_placement_group_release(group);
    nodes_await_available("CPU", 2);
    check_stop();
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(by_name), CHECK_TEST(names), CHECK_TEST(raced), CHECK_TEST(outlives_its_job),
           CHECK_TEST(killed_maker), CHECK_TEST(lost_head), CHECK_TEST(removed_while_used), CHECK_TEST(from_inside),
           CHECK_TEST(any_bundle_of_two), CHECK_TEST(late_head), CHECK_TEST(full_beside_ours))
