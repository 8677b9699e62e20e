/* Over a cluster of processes of which not all know the same functions: who runs what, and what waits for whom. */
#include "nodes_common.h"

#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

static node *knowing(const node *head, const char *resources)
{
    return node_start_as(KNOWING,
                         &(ray_config){.role = RAY_ROLE_WORKER, .address = node_address(head), .resources = resources});
}

static RAY_REMOTE(int64_t, load, (const char *, path))
{
    return ray_load(path, 0);
}

static ray_ref *call(const char *name, const ray_value *args, size_t num_args, const ray_task_options *options)
{
    ray_function *function = ray_function_get(name);
    CHECK(function);
    return ray_submit(function, args, num_args, options);
}

static ray_ref *triple(int64_t x, const ray_task_options *options)
{
    const ray_value arg = RAY_VALUE(&x);
    return call("plugin_triple", &arg, 1, options);
}

#define LACKS(name) "\"function\": \"" name "\""

/* ---- tasks ---- */

static void by_name(void)
{
    node *head = node_head("CPU=1");
    node *worker = knowing(head, "CPU=1");
    nodes_join(head);
    CHECK_REF_INT(triple(5, NULL), 15);
    CHECK_REF_INT(call("plugin_process", NULL, 0, NULL), node_pid(worker));
    CHECK_REF_INT(ray_remote(own_pid), node_pid(head)); /* which that worker lacks */
    for (int64_t i = 0; i < 200; i++)
        CHECK_REF_INT(triple(i, NULL), 3 * i);
    ray_ref *of[50];
    for (int64_t i = 0; i < 50; i++) {
        ray_ref *two = ray_remote(twice, i);
        const ray_value arg = RAY_VALUE(&two);
        of[i] = call("plugin_triple", &arg, 1, NULL);
        ray_release(two);
    }
    for (int64_t i = 0; i < 50; i++)
        CHECK_REF_INT(of[i], 6 * i);
    check_stop();
    nodes_stop();
}

static void of_all_sorts(void)
{
    node *head = node_head("CPU=1");
    (void)knowing(head, "CPU=1");
    nodes_join(head);
    size_t size = (size_t)1 << 20;
    char *bytes = calloc(1, size);
    ray_ref *large = ray_put(bytes, size), *x = ray_remote(twice, 4);
    const char *text = "four";
    ray_view view = {.data = bytes, .size = 300000};
    const ray_value given[] = {RAY_VALUE(&text), RAY_VALUE(&view), RAY_VALUE(&x)};
    const ray_value by_ref[] = {RAY_VALUE(&text), RAY_VALUE(&large), RAY_VALUE(&x)};
    CHECK_REF_INT(call("plugin_measure", given, 3, NULL), 4 + 300000 + 8);
    CHECK_REF_INT(call("plugin_measure", by_ref, 3, NULL), 4 + (int64_t)size + 8);
    const char *const env[] = {"A=b", NULL};
    CHECK_REF_INT(triple(1, RAY_WITH(ray_task_options, .name = "with options", .priority = 3, .env = env)), 3);
    CHECK_REF_INT(triple(2, RAY_WITH(ray_task_options, .resources = "CPU=0.5", .spread = true)), 6);
    ray_release(large);
    ray_release(x);
    free(bytes);
    check_stop();
    nodes_stop();
}

/* The name is the caller's, whatever it is registered by. */
static void of_a_language(void)
{
    nodes_may_keep(); /* the names */
    node *head = node_head("CPU=1");
    (void)knowing(head, "CPU=1");
    nodes_join(head);
    CHECK_REF_STR(call("wild:one", NULL, 0, NULL), "wild:one");
    CHECK_REF_STR(call("wild:two", NULL, 0, NULL), "wild:two");
    ray_actor *actor = ray_actor_create(ray_function_get("tame:lion"), NULL, 0, NULL);
    CHECK_REF_STR(ray_actor_submit(actor, ray_function_get("tame:lion.roar"), NULL, 0, NULL), "tame:lion.roar");
    ray_actor_release(actor);
    check_stop();
    nodes_stop();
}

/* As where the function is known. */
static void wrong_calls(void)
{
    node *head = node_head("CPU=1");
    (void)knowing(head, "CPU=1");
    nodes_join(head);
    int64_t x = 1;
    const char *text = "one";
    const ray_value two[] = {RAY_VALUE(&x), RAY_VALUE(&x)}, word = RAY_VALUE(&text);
    ray_ref *ref = call("plugin_triple", two, 2, NULL);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_TYPE);
    CHECK_HAS(ray_last_error()->message, "plugin_triple: expected 1 argument, got 2");
    ray_release(ref);
    ref = call("plugin_triple", &word, 1, NULL);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_TYPE);
    CHECK_HAS(ray_last_error()->message, "plugin_triple: argument 1");
    ray_release(ref);
    ref = call("plugin_count", two, 1, NULL);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_UNSUPPORTED);
    CHECK_HAS(ray_last_error()->message, "ray_stream(int64_t)(int64_t)");
    ray_release(ref);
    CHECK_REF(call("plugin_tally", two, 2, NULL), RAY_ERR_ARGUMENT);
    ray_ref *failed = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=lots"), twice, 1);
    const ray_value arg = RAY_VALUE(&failed);
    CHECK_REF(call("plugin_triple", &arg, 1, NULL), RAY_ERR_ARGUMENT); /* of its argument */
    ray_release(failed);
    check_stop();
    nodes_stop();
}

/* Who has it by another signature than the first is refused, with both named. */
static void two_signatures(void)
{
    node *head = node_head("CPU=0");
    (void)knowing(head, "CPU=1, one=1");
    (void)node_start_as(
        STRANGER, &(ray_config){.role = RAY_ROLE_WORKER, .address = node_address(head), .resources = "CPU=1, two=1"});
    nodes_join(head);
    double x = 1, y = 0;
    const ray_value arg = RAY_VALUE(&x);
    ray_ref *ref = call("known_to_few", &arg, 1, RAY_WITH(ray_task_options, .resources = "one=1"));
    CHECK_OK(ray_get_timeout(ref, patience(), &y));
    CHECK(y == 0);
    ray_release(ref);
    for (;;) { /* one may have gone there before it was known */
        ref = call("known_to_few", &arg, 1, RAY_WITH(ray_task_options, .resources = "two=1"));
        if (ray_get_timeout(ref, patience(), &y) == RAY_ERR_SIGNATURE)
            break;
        ray_release(ref);
    }
    CHECK_STR(ray_last_error()->function, "known_to_few");
    CHECK_HAS(ray_last_error()->message, "int64_t(int64_t)");
    CHECK_HAS(ray_last_error()->message, "double(double)");
    ray_release(ref);
    check_stop();
    nodes_stop();
}

/* ---- that nobody has ---- */

static void nobody_has_it(void)
{
    node *head = node_head("CPU=1");
    nodes_join(head);
    ray_ref *waiting = triple(7, NULL), *other = triple(8, NULL);
    ray_ref *late = triple(9, RAY_WITH(ray_task_options, .deadline_ms = 300));
    CHECK_CODE(ray_get_timeout(waiting, 50, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_cancel(other, 0));
    CHECK_REF(other, RAY_ERR_CANCELLED);
    CHECK_REF(late, RAY_ERR_DEADLINE);
    await_state("status", LACKS("plugin_triple"));
    await_state("status", "1 waiting for the function plugin_triple: no node with CPU=1 has it (start workers with "
                          "--load, or ray_load it)");
    CHECK(!state_has("status", "there is no such node"));
    check_expect_log("task.unplaceable", "function plugin_triple, but no node that could run it has it", patience());
    CHECK_CODE(ray_get_timeout(waiting, 0, NULL), RAY_ERR_TIMEOUT);
    (void)knowing(head, "CPU=1");
    CHECK_REF_INT(waiting, 21);
    await_state("status", "\"demand\": []");
    check_stop();
    nodes_stop();
}

/* A resource is missing first, and then the function. */
static void one_after_the_other(void)
{
    node *head = node_head("CPU=1");
    nodes_join(head);
    ray_ref *waiting = triple(7, RAY_WITH(ray_task_options, .resources = "CPU=1, disk=1"));
    await_state("status", "1 waiting for CPU=1, disk=1: no node has more than disk=0");
    CHECK(!state_has("status", LACKS("plugin_triple")));
    (void)node_worker(head, "CPU=1, disk=1");
    await_state("status", "the function plugin_triple: no node with CPU=1, disk=1 has it");
    (void)knowing(head, "CPU=1, disk=1");
    CHECK_REF_INT(waiting, 21);
    check_allow_log("task.unplaceable", ""); /* the nodes may take over 10 s to start */
    check_stop();
    nodes_stop();
}

static void shutdown_while_it_waits(void)
{
    node *head = node_head("CPU=1");
    nodes_join(head);
    ray_ref *waiting = triple(7, NULL);
    await_state("status", LACKS("plugin_triple"));
    check_stop();
    CHECK_CODE(ray_get(waiting, NULL), RAY_ERR_SHUTDOWN);
    ray_release(waiting);
    nodes_stop();
}

/* ---- that somebody gets ---- */

static void loaded_there(ray_isolation isolation)
{
    nodes_may_keep(); /* the library */
    node *head = node_head("CPU=0");
    (void)node_start(&(ray_config){
        .role = RAY_ROLE_WORKER, .address = node_address(head), .resources = "CPU=1", .isolation = isolation});
    nodes_join(head);
    ray_ref *waiting[20];
    for (int64_t i = 0; i < 20; i++)
        waiting[i] = triple(i, NULL);
    await_state("status", "20 waiting for the function plugin_triple");
    CHECK_REF_INT(ray_remote(load, PLUGIN), 0);
    for (int64_t i = 0; i < 20; i++)
        CHECK_REF_INT(waiting[i], 3 * i);
    check_allow_log("task.unplaceable", ""); /* the nodes may take over 10 s to start */
    check_stop();
    nodes_stop();
}

static void loaded_by_a_thread(void)
{
    loaded_there(RAY_ISOLATION_THREAD);
}

static void loaded_by_a_process(void)
{
    loaded_there(RAY_ISOLATION_PROCESS);
}

static void call_late(ray_frame *frame)
{
    int64_t x;
    memcpy(&x, frame->args[0].data, sizeof x);
    x += 100;
    memcpy(frame->result.data, &x, sizeof x);
}
static ray_function late = {.size = sizeof late, .name = "late", .signature = "int64_t(int64_t)", .call = call_late};
static RAY_REMOTE(int64_t, register_late)
{
    return ray_register(&late);
}

static void registered_there(void)
{
    node *head = node_head("CPU=0");
    (void)node_worker(head, "CPU=1");
    nodes_join(head);
    int64_t x = 5;
    const ray_value arg = RAY_VALUE(&x);
    ray_ref *waiting = call("late", &arg, 1, NULL);
    await_state("status", LACKS("late"));
    CHECK_REF_INT(ray_remote(register_late), 0);
    CHECK_REF_INT(waiting, 105);
    check_allow_log("task.unplaceable", ""); /* the nodes may take over 10 s to start */
    check_stop();
    nodes_stop();
}

/* What waits was packed by who did not know it. */
static void loaded_here(void)
{
    node *head = node_head("CPU=0");
    nodes_join_as(RAY_WITH(ray_config, .address = node_address(head), .resources = "CPU=2"));
    ray_ref *two = ray_remote(twice, 2);
    const ray_value arg = RAY_VALUE(&two);
    ray_ref *waiting = triple(7, NULL), *of_ref = call("plugin_triple", &arg, 1, NULL);
    await_state("status", LACKS("plugin_triple"));
    CHECK_OK(ray_load(PLUGIN, 0));
    CHECK_REF_INT(waiting, 21);
    CHECK_REF_INT(of_ref, 12);
    CHECK_REF_INT(triple(8, NULL), 24);
    CHECK_REF_INT(call("plugin_process", NULL, 0, NULL), getpid());
    ray_release(two);
    check_allow_log("task.unplaceable", ""); /* the nodes may take over 10 s to start */
    check_stop();
    nodes_stop();
}

/* What others were found to lack travels to them now. */
static void sent_there(void)
{
    nodes_may_keep(); /* what travels */
    node *head = node_head("CPU=0");
    (void)node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                   .address = node_address(head),
                                   .resources = "CPU=1",
                                   .isolation = RAY_ISOLATION_PROCESS});
    nodes_join(head);
    CHECK_OK(ray_load(PLUGIN, 0));
    ray_ref *waiting = triple(7, NULL);
    await_state("status", LACKS("plugin_triple"));
    CHECK_OK(ray_load(PLUGIN, RAY_LOAD_EVERYWHERE));
    CHECK_REF_INT(waiting, 21);
    check_allow_log("task.unplaceable", ""); /* the nodes may take over 10 s to start */
    check_stop();
    nodes_stop();
}

/* ---- that the driver has and others lack ---- */

static void driver_alone_has_it(void)
{
    node *head =
        node_start_as(KNOWING, &(ray_config){.role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .resources = "CPU=1"});
    nodes_join(head);
    ray_ref *ref = ray_remote(own_pid);
    await_state("status", "1 waiting for the function own_pid: no node with CPU=1 has it");
    CHECK_CODE(ray_get_timeout(ref, 0, NULL), RAY_ERR_TIMEOUT);
    node *worker = node_worker(head, "CPU=1");
    CHECK_REF_INT(ref, node_pid(worker));
    check_allow_log("task.unplaceable", ""); /* the nodes may take over 10 s to start */
    check_stop();
    nodes_stop();
}

/* ---- from elsewhere ---- */

/* In a worker process, which asks its node. */
static RAY_REMOTE(int64_t, triple_by_name, (int64_t, x))
{
    const ray_value arg = RAY_VALUE(&x);
    ray_ref *ref = ray_submit(ray_function_get("plugin_triple"), &arg, 1, NULL);
    int64_t y = 0;
    int r = ray_get(ref, &y);
    ray_release(ref);
    return r < 0 ? ray_fail("%s", ray_last_error()->message) : y;
}

static void nested(void)
{
    nodes_may_keep(); /* the name */
    node *head = node_head("CPU=0");
    (void)node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                   .address = node_address(head),
                                   .resources = "CPU=1",
                                   .isolation = RAY_ISOLATION_PROCESS});
    (void)knowing(head, "CPU=1");
    nodes_join(head);
    for (int64_t i = 0; i < 10; i++)
        CHECK_REF_INT(ray_remote(triple_by_name, i), 3 * i);
    check_stop();
    nodes_stop();
}

/* ---- bundles ---- */

static void in_a_group(void)
{
    nodes_may_keep(); /* the library */
    node *head = node_head("CPU=0");
    node *worker = node_worker(head, "CPU=1, here=1");
    nodes_join(head);
    const char *bundles[] = {"CPU=1, here=1"};
    ray_placement_group *group = ray_placement_group_new(bundles, 1, NULL);
    CHECK(group);
    ray_ref *waiting = triple(7, RAY_WITH(ray_task_options, .group = group));
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), own_pid), node_pid(worker));
    CHECK_CODE(ray_get_timeout(waiting, 100, NULL), RAY_ERR_TIMEOUT);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), load, PLUGIN), 0);
    CHECK_REF_INT(waiting, 21);
    ray_placement_group_remove(group);
    ray_placement_group_release(group);
    check_stop();
    nodes_stop();
}

/* ---- actors ---- */

typedef struct owned {
    ray_actor *actor;
    char file[64];
} owned;

static owned make_tally(int64_t start, const ray_actor_options *options)
{
    owned o;
    snprintf(o.file, sizeof o.file, "/tmp/nodes_known.%d", (int)getpid());
    const char *file = o.file;
    const ray_value args[] = {RAY_VALUE(&start), RAY_VALUE(&file)};
    o.actor = ray_actor_create(ray_function_get("plugin_tally"), args, 2, options);
    CHECK(o.actor);
    return o;
}

static ray_ref *add_to(ray_actor *actor, int64_t x)
{
    const ray_value arg = RAY_VALUE(&x);
    return ray_actor_submit(actor, ray_function_get("plugin_tally.add"), &arg, 1, NULL);
}

static ray_ref *process_of(ray_actor *actor)
{
    return ray_actor_submit(actor, ray_function_get("plugin_tally.process"), NULL, 0, NULL);
}

/* Its fini leaves a file. */
static void await_fini(const char *file)
{
    for (int64_t end = check_now_ms() + patience(); access(file, F_OK) != 0; check_sleep_ms(5))
        CHECK(check_now_ms() < end);
    CHECK_INT(unlink(file), 0);
}

static void actors_by_name(void)
{
    node *head = node_head("CPU=1");
    node *worker = knowing(head, "CPU=1");
    nodes_join(head);
    owned o = make_tally(100, NULL);
    for (int64_t i = 1; i <= 50; i++)
        CHECK_REF_INT(add_to(o.actor, 1), 100 + i);
    CHECK_REF_INT(process_of(o.actor), node_pid(worker));
    ray_ref *ref = ray_actor_submit(o.actor, ray_function_get("plugin_tally.missing"), NULL, 0, NULL);
    CHECK_CODE(ray_get_timeout(ref, patience(), NULL), RAY_ERR_UNKNOWN_FUNCTION);
    CHECK_HAS(ray_last_error()->message, "plugin_tally.missing");
    ray_release(ref);
    CHECK_REF_INT(add_to(o.actor, 1), 151);
    ray_actor_release(o.actor);
    await_fini(o.file);
    check_stop();
    nodes_stop();
}

static void actors_wait(void)
{
    node *head = node_head("CPU=1");
    nodes_join(head);
    owned o = make_tally(10, NULL), killed = make_tally(20, NULL);
    ray_ref *ref = add_to(o.actor, 1), *ready = ray_actor_ready(o.actor);
    await_state("status", LACKS("plugin_tally"));
    check_expect_log("task.unplaceable", "function plugin_tally, but no node that could run it has it", patience());
    CHECK_CODE(ray_get_timeout(ready, 0, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_kill(killed.actor, 0));
    CHECK_REF(add_to(killed.actor, 1), RAY_ERR_ACTOR_DIED);
    ray_actor_release(killed.actor);
    (void)knowing(head, "CPU=1");
    CHECK_REF_OK(ready);
    CHECK_REF_INT(ref, 11);
    ray_actor_release(o.actor);
    await_fini(o.file);
    check_stop();
    nodes_stop();
}

/* Its next life is where the class is, too. */
static void actors_restart(void)
{
    node *head = node_head("CPU=1");
    node *worker = knowing(head, "CPU=1");
    nodes_join(head);
    owned o = make_tally(10, RAY_WITH(ray_actor_options, .max_restarts = 1));
    CHECK_REF_INT(process_of(o.actor), node_pid(worker));
    node_kill(worker);
    nodes_allow_log("node.dead", NULL);
    nodes_await(1, RAY_NODE_DEAD, patience());
    node *next = knowing(head, "CPU=1");
    CHECK_REF_OK(ray_actor_ready(o.actor));
    CHECK_REF_INT(process_of(o.actor), node_pid(next));
    ray_actor_release(o.actor);
    await_fini(o.file);
    check_stop();
    nodes_stop();
}

/* Through a handle: by way of the driver, which has neither class nor method. */
static RAY_REMOTE(int64_t, add_by_name, (ray_actor *, actor), (int64_t, x))
{
    const ray_value arg = RAY_VALUE(&x);
    ray_ref *ref = ray_actor_submit(actor, ray_function_get("plugin_tally.add"), &arg, 1, NULL);
    int64_t y = 0;
    int r = ray_get(ref, &y);
    ray_release(ref);
    return r < 0 ? ray_fail("%s", ray_last_error()->message) : y;
}

static void handles(void)
{
    nodes_may_keep(); /* the name */
    node *head = node_head("CPU=1");
    (void)knowing(head, "CPU=1");
    nodes_join(head);
    owned o = make_tally(10, NULL);
    CHECK_REF_INT(ray_remote(add_by_name, o.actor, 5), 15);
    CHECK_REF_INT(ray_remote(add_by_name, o.actor, 5), 20);
    ray_actor_release(o.actor);
    await_fini(o.file);
    check_stop();
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST_WITH(by_name, CHECK_KEEPS), CHECK_TEST_WITH(of_all_sorts, CHECK_KEEPS),
           CHECK_TEST_WITH(of_a_language, CHECK_KEEPS), CHECK_TEST_WITH(wrong_calls, CHECK_KEEPS),
           CHECK_TEST_WITH(two_signatures, CHECK_KEEPS), CHECK_TEST_WITH(nobody_has_it, CHECK_KEEPS),
           CHECK_TEST_WITH(one_after_the_other, CHECK_KEEPS), CHECK_TEST_WITH(shutdown_while_it_waits, CHECK_KEEPS),
           CHECK_TEST_WITH(loaded_by_a_thread, CHECK_KEEPS), CHECK_TEST_WITH(loaded_by_a_process, CHECK_KEEPS),
           CHECK_TEST_WITH(registered_there, CHECK_KEEPS), CHECK_TEST_WITH(loaded_here, CHECK_KEEPS),
           CHECK_TEST_WITH(sent_there, CHECK_KEEPS), CHECK_TEST_WITH(driver_alone_has_it, CHECK_KEEPS),
           CHECK_TEST_WITH(nested, CHECK_KEEPS), CHECK_TEST_WITH(in_a_group, CHECK_KEEPS),
           CHECK_TEST_WITH(actors_by_name, CHECK_KEEPS), CHECK_TEST_WITH(actors_wait, CHECK_KEEPS),
           CHECK_TEST_WITH(actors_restart, CHECK_KEEPS), CHECK_TEST_WITH(handles, CHECK_KEEPS))
