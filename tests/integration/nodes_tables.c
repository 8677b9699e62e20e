/* What a cluster of processes knows in common: keys, published objects, jobs, its state; who looks on; who leaves. */
#include "json.h"
#include "nodes_common.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000 };
#define WHERE(key, predicate, value) "filter_keys=" key "&filter_predicates=" predicate "&filter_values=" value

static int64_t patience(void)
{
    return (int64_t)PATIENCE_MS * check_slowness();
}

static void join_as(const node *head, const char *ns, int64_t timeout_ms)
{
    nodes_join_as(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = node_address(head), .ns = ns,
                           .timeout_ms = timeout_ms));
}

static void observe(const char *address)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_OBSERVER, .address = address, .resources = "CPU=1",
                               .timeout_ms = 4000 * check_slowness(), .num_threads = 1)));
}

/* ---- keys ---- */

static RAY_REMOTE(const char *, value_of, (const char *, key))
{
    static _Thread_local char value[64];
    ray_view view;
    if (ray_kv_get(key, &view) != 0) {
        ray_fail("%s", ray_error_name(ray_last_error()->code));
        return NULL;
    }
    snprintf(value, sizeof value, "%.*s", (int)view.size, (const char *)view.data);
    ray_view_release(&view);
    return value;
}
static RAY_REMOTE(int64_t, put_and_list, (const char *, key))
{
    ray_view view;
    int64_t count = 0;
    CHECK_OK(ray_kv_put(key, "of a task", 9, 0));
    CHECK_CODE(ray_kv_put(key, "again", 5, RAY_KV_NEW), RAY_ERR_EXISTS);
    CHECK_CODE(ray_kv_del("nothing"), RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_kv_list("task/", &view));
    for (size_t i = 0; i < view.size; i++)
        count += ((const char *)view.data)[i] == 0;
    ray_view_release(&view);
    return count;
}

static const char *on(const node *n)
{
    return node_id(n);
}

static void keys(void)
{
    node *head = node_head("CPU=1"), *a = node_worker(head, "CPU=1"), *b = node_worker(head, "CPU=1");
    ray_view view;
    nodes_join(head);
    CHECK_CODE(ray_kv_get("colour", &view), RAY_ERR_NOT_FOUND);
    CHECK_HAS(ray_last_error()->message, "there is no key colour");
    CHECK_OK(ray_kv_put("colour", "blue", 4, RAY_KV_NEW));
    CHECK_CODE(ray_kv_put("colour", "red", 3, RAY_KV_NEW), RAY_ERR_EXISTS);
    CHECK_CODE(ray_kv_put("", "red", 3, 0), RAY_ERR_ARGUMENT);
    const node *const all[] = {head, a, b};
    for (size_t i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "task/%zu", i);
        CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(all[i])), value_of, "colour"), "blue");
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(all[i])), put_and_list, key), i + 1);
    }
    CHECK_OK(ray_kv_get("task/1", &view));
    CHECK_INT(view.size, 9);
    CHECK(((const char *)view.data)[9] == 0);
    ray_view_release(&view);
    CHECK_OK(ray_kv_del("colour"));
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(b)), value_of, "colour");
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TASK_FAILED);
    CHECK_HAS(ray_last_error()->message, "RAY_ERR_NOT_FOUND");
    ray_release(ref);
    check_stop();
    nodes_stop();
}

static void large_values(void)
{
    node *head = node_head("CPU=1");
    size_t most = 1 << 20;
    char *bytes = malloc(most + 1);
    ray_view view;
    nodes_join(head);
    memset(bytes, 'x', most + 1);
    CHECK_OK(ray_kv_put("large", bytes, most, 0));
    CHECK_CODE(ray_kv_put("larger", bytes, most + 1, 0), RAY_ERR_LIMIT);
    CHECK_OK(ray_kv_get("large", &view));
    CHECK(view.size == most && memcmp(view.data, bytes, most) == 0);
    ray_view_release(&view);
    for (int i = 0; i < 300; i++) {
        char key[256];
        snprintf(key, sizeof key, "many/%0240d", i);
        CHECK_OK(ray_kv_put(key, NULL, 0, 0));
    }
    CHECK_OK(ray_kv_list("many/", &view));
    CHECK_INT(view.size, 300 * 246);
    ray_view_release(&view);
    free(bytes);
    check_stop();
    nodes_stop();
}

/* The loop of a node never waits: what its worker processes ask the head for is waited for elsewhere. */
static void keys_from_worker_processes(void)
{
    node *head = node_head("CPU=1");
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                            .address = node_address(head),
                                            .resources = "CPU=2",
                                            .isolation = RAY_ISOLATION_PROCESS});
    ray_ref *refs[8];
    nodes_join(head);
    CHECK_OK(ray_kv_put("colour", "blue", 4, 0));
    for (int i = 0; i < 8; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(worker)), value_of, "colour");
    for (int i = 0; i < 8; i++)
        CHECK_REF_STR(refs[i], "blue");
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(worker)), put_and_list, "task/1"), 1);
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(worker)), value_of, "task/1"), "of a task");
    check_stop();
    nodes_stop();
}

static void check_keys_here(void)
{
    ray_view view;
    CHECK_OK(ray_kv_get("colour", &view));
    CHECK_STR(view.data, "blue");
    ray_view_release(&view);
    CHECK_CODE(ray_kv_get("shape", &view), RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_kv_get("large/2", &view));
    CHECK_INT(view.size, 1 << 20);
    CHECK_INT(((const char *)view.data)[77], 'c');
    ray_view_release(&view);
    CHECK_OK(ray_kv_list("large/", &view));
    CHECK_INT(view.size, 3 * sizeof "large/0");
    ray_view_release(&view);
}

/* Two of those that have been there longest have a copy; of one that dies the next takes the place. What has been heard
 * of the head last is what is read without it. */
static void keys_without_a_head(void)
{
    node *head = node_head("CPU=1"), *workers[4];
    char *bytes = malloc(1 << 20);
    for (int i = 0; i < 3; i++)
        workers[i] = node_worker(head, "CPU=1");
    join_as(head, NULL, 3000 * (int64_t)check_slowness());
    CHECK_OK(ray_kv_put("colour", "red", 3, 0));
    CHECK_OK(ray_kv_put("shape", "round", 5, 0));
    for (char i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "large/%d", i);
        memset(bytes, 'a' + i, 1 << 20);
        CHECK_OK(ray_kv_put(key, bytes, 1 << 20, 0));
    }
    free(bytes);
    node_kill(workers[0]);
    nodes_await(1, RAY_NODE_DEAD, patience());
    CHECK_OK(ray_kv_put("colour", "blue", 4, 0));
    CHECK_OK(ray_kv_del("shape"));
    node_kill(workers[1]);
    nodes_await(2, RAY_NODE_DEAD, patience());
    workers[3] = node_worker(head, "CPU=1");
    nodes_await(4, RAY_NODE_ALIVE, patience());
    for (int i = 2; i < 4; i++) /* a copy has what its node has heard of the head, once each piece was asked for */
        for (int j = 0; j < 5; j++)
            CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(workers[i])), value_of, "colour"),
                          "blue");
    nodes_allow_log("head.unreachable", "");
    node_kill(head);
    check_keys_here();
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(workers[3])), value_of, "colour"), "blue");
    int r = ray_kv_put("colour", "green", 5, 0);
    CHECK(r == RAY_ERR_HEAD_UNREACHABLE || r == RAY_ERR_TIMEOUT);
    CHECK(ray_kv_del("colour") < 0);
    node_kill(workers[2]); /* nobody says that it is dead; the other one has a copy, too */
    check_keys_here();
    check_expect_log("head.unreachable", "", patience());
    check_stop();
    node_kill(workers[3]);
    nodes_stop();
}

/* One that is silent is away after 4 s; one that is back is asked again. */
static void keys_of_a_silent_head(void)
{
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=1");
    ray_view view;
    nodes_join(head);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    CHECK_OK(ray_kv_put("colour", "red", 3, 0));
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(worker)), value_of, "colour"), "red");
    nodes_allow_log("head.unreachable", "");
    node_pause(head);
    int64_t begun = check_now_ms();
    CHECK_OK(ray_kv_get("colour", &view));
    CHECK_STR(view.data, "red");
    ray_view_release(&view);
    CHECK(check_now_ms() - begun < patience());
    node_resume(head);
    CHECK_OK(ray_kv_put("colour", "blue", 4, 0));
    CHECK_OK(ray_kv_get("colour", &view));
    CHECK_STR(view.data, "blue");
    ray_view_release(&view);
    check_allow_log("head.unreachable", "");
    check_stop();
    nodes_stop();
}

/* Many threads at once. */
static void *put_many(void *arg)
{
    const int *nth = arg;
    char key[32], value[32];
    ray_view view;
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "%d/%d", *nth, i % 7);
        snprintf(value, sizeof value, "%d", i);
        CHECK_OK(ray_kv_put(key, value, strlen(value), 0));
        CHECK_OK(ray_kv_get(key, &view));
        CHECK_STR(view.data, value);
        ray_view_release(&view);
    }
    return NULL;
}

static void keys_from_threads(void)
{
    node *head = node_head("CPU=1");
    static const int numbers[4] = {0, 1, 2, 3};
    pthread_t threads[4];
    nodes_join(head);
    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, put_many, (void *)&numbers[i]) == 0);
    for (size_t i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    check_stop();
    nodes_stop();
}

/* ---- published objects ---- */

static RAY_REMOTE(int64_t, size_of_published, (const char *, name))
{
    ray_ref *ref = ray_object_lookup(name);
    ray_view view;
    if (ray_get(ref, &view) != 0) {
        ray_fail("%s", ray_error_name(ray_last_error()->code));
        ray_release(ref);
        return -1;
    }
    int64_t size = (int64_t)view.size;
    ray_view_release(&view);
    ray_release(ref);
    return size;
}
static RAY_REMOTE(void, publish_there, (const char *, name))
{
    ray_ref *ref = ray_put("of a task", 9);
    CHECK_OK(ray_object_publish(name, ref, 0));
    ray_release(ref);
}

static void published_objects(void)
{
    node *head = node_head("CPU=1"), *a = node_worker(head, "CPU=1");
    join_as(head, "here", 0);
    CHECK_REF(ray_object_lookup("model"), RAY_ERR_NOT_FOUND);
    CHECK_CODE(ray_object_unpublish("model"), RAY_ERR_NOT_FOUND);
    ray_ref *small = ray_put("a model of the world", 20);
    CHECK_OK(ray_object_publish("model", small, 0));
    CHECK_CODE(ray_object_publish("model", small, 1), RAY_ERR_EXISTS);
    CHECK_CODE(ray_object_publish("here/model", small, 1), RAY_ERR_EXISTS);
    ray_release(small);
    CHECK_REF_STR(ray_object_lookup("here/model"), "a model of the world");
    const node *const all[] = {head, a};
    for (size_t i = 0; i < 2; i++)
        CHECK_REF_INT(
            ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(all[i])), size_of_published, "here/model"), 20);
    CHECK_REF_OK(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(a)), publish_there, "here/theirs"));
    CHECK_REF_STR(ray_object_lookup("theirs"), "of a task");
    ray_ref *late = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(a)), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    atomic_store(&page()->gate, 1);
    CHECK_OK(ray_object_publish("late", late, 0)); /* it waits for it */
    ray_release(late);
    CHECK_REF_INT(ray_object_lookup("late"), 1);
    ray_ref *failed = ray_remote(size_of_published, "nothing");
    CHECK_CODE(ray_object_publish("failed", failed, 0), RAY_ERR_TASK_FAILED);
    ray_release(failed);
    check_stop();

    join_as(head, "here", 0); /* small ones outlive who published them */
    CHECK_REF_STR(ray_object_lookup("model"), "a model of the world");
    CHECK_REF_STR(ray_object_lookup("theirs"), "of a task");
    CHECK_OK(ray_object_unpublish("model"));
    CHECK_REF(ray_object_lookup("model"), RAY_ERR_NOT_FOUND);
    check_stop();
    nodes_stop();
}

static void large_published_objects(void)
{
    node *head = node_head("CPU=1"), *a = node_worker(head, "CPU=1");
    size_t size = 3 << 20;
    char *bytes = calloc(1, size);
    join_as(head, "here", 0);
    ray_ref *ref = ray_put(bytes, size);
    CHECK_OK(ray_object_publish("large", ref, 0));
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(a)), size_of_published, "here/large"),
                  (int64_t)size);
    ray_release(ref);
    CHECK_OK(ray_object_unpublish("large"));
    free(bytes);
    check_stop();
    nodes_stop();
}

/* ---- state ---- */

static void state_of_all(void)
{
    node *head = node_head("CPU=1"), *a = node_worker(head, "CPU=1");
    (void)node_worker(head, "CPU=1, disk=2");
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(a), .name = "waits"), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    CHECK_INT(count_in("nodes", "\"node_id\""), 4);
    CHECK_INT(count_in("nodes?" WHERE("is_head_node", "=", "true"), "\"node_id\""), 1);
    CHECK_INT(count_in("nodes?limit=2", "\"node_id\""), 2);
    await_count("objects", "\"node_id\"", 4);
    await_count("objects?limit=3", "\"node_id\"", 3);
    await_state("objects?limit=3", "\"total\": 4, \"num_after_truncation\": 4, \"num_filtered\": 4");
    await_state("objects", "\"partial_failure_warning\": \"\"");
    await_state("tasks?" WHERE("state", "=", "RUNNING"), "\"num_filtered\": 1,"); /* here and there, but told once */
    CHECK_INT(count_in("jobs", "\"RUNNING\""), 1);
    CHECK(state_has("jobs", ray_context_get()->job_id));
    CHECK(state_has("nodes", "disk=2"));
    ray_view view = {0};
    CHECK_CODE(ray_state("tasks?" WHERE("colour", "=", "blue"), &view), RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "tasks have no field \"colour\"");
    CHECK_CODE(ray_state("birds", &view), RAY_ERR_NOT_FOUND);
    CHECK_CODE(ray_state("status?" WHERE("a", "=", "b"), &view), RAY_ERR_ARGUMENT);
    CHECK(!view.data);
    atomic_store(&page()->gate, 1);
    CHECK_REF_OK(ref);
    node_stop(a);
    nodes_await(1, RAY_NODE_DEAD, patience());
    CHECK(state_has("nodes?" WHERE("state", "=", "DEAD"), "\"state_message\": \"it left\""));
    await_count("objects", "\"node_id\"", 3);
    check_stop();
    nodes_stop();
}

static void jobs(void)
{
    node *head = node_head("CPU=2"), *driver = node_driver(head, "count_run", 3);
    nodes_join(head);
    await_state("jobs", "\"total\": 2,");
    node_stop(driver);
    await_state("jobs?" WHERE("status", "=", "SUCCEEDED"), "\"num_filtered\": 1,");
    CHECK(state_has("jobs?" WHERE("status", "=", "RUNNING"), ray_context_get()->job_id));
    check_stop();
    nodes_stop();
}

static void status_of_all(void)
{
    node *head = node_head("CPU=1"), *a = node_worker(head, "CPU=1, disk=1");
    nodes_join(head);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    ray_ref *never[3];
    for (int i = 0; i < 3; i++)
        never[i] = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "disk=2"), pass_gate, 1);
    await_state("status", "\"count\": 3");
    await_state("status", "3 waiting for CPU=1, disk=2: no node has more than disk=1");
    CHECK(state_has("status", "\"disk\": {\"used\": 0, \"total\": 1}"));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(ray_cancel(never[i], 0));
        ray_release(never[i]);
    }
    await_state("status", "\"demand\": []");
    node_pause(a); /* it is late, then does not answer */
    char words[96];
    snprintf(words, sizeof words, "node %s is left out", node_id(a));
    await_state("objects", words);
    CHECK(state_has("status", words));
    node_resume(a); /* before it is dead */
    await_state("objects", "\"partial_failure_warning\": \"\"");
    node_pause(a);
    snprintf(words, sizeof words, "node %s at %s is late", node_id(a), node_address(a));
    await_state("status", words);
    node_resume(a);
    await_state("objects", "\"partial_failure_warning\": \"\"");
    nodes_allow_log("head.unreachable", ""); /* after 4 s of silence it gives its link up */
    check_stop();
    nodes_stop();
}

/* ---- a head that is away ---- */

static void head_is_silent(void)
{
    node *head = node_head("CPU=1");
    ray_view view = {0};
    join_as(head, NULL, 700); /* three times that, before links are given up after 4 s */
    int r;
    for (int64_t end = check_now_ms() + patience(); (r = ray_kv_put("a", "b", 1, 0)) != 0 && check_now_ms() < end;)
        CHECK_INT(r, RAY_ERR_TIMEOUT); /* a slow machine */
    CHECK_OK(r);
    node_pause(head);
    int64_t before = check_now_ms();
    CHECK_CODE(ray_kv_put("a", "c", 1, 0), RAY_ERR_TIMEOUT);
    CHECK_HAS(ray_last_error()->message, "the head, node ");
    CHECK_HAS(ray_last_error()->message, "has not answered for ");
    CHECK(check_now_ms() - before < patience());
    CHECK_CODE(ray_state("nodes", &view), RAY_ERR_TIMEOUT);
    CHECK_REF(ray_object_lookup("x"), RAY_ERR_TIMEOUT);
    node_resume(head); /* what was given up is answered now; nobody minds */
    for (int64_t end = check_now_ms() + patience(); (r = ray_kv_get("a", &view)) != 0 && check_now_ms() < end;)
        CHECK(r == RAY_ERR_TIMEOUT || r == RAY_ERR_HEAD_UNREACHABLE);
    CHECK_STR(view.data, "c");
    ray_view_release(&view);
    check_allow_log("head.unreachable", ""); /* if it was away for over 4 s */
    check_stop();
    nodes_stop();
}

static void head_has_died(void)
{
    node *head = node_head("CPU=1");
    ray_view view;
    join_as(head, NULL, 700);
    node_kill(head);
    int r = RAY_ERR_TIMEOUT;
    for (int64_t end = check_now_ms() + patience(); r == RAY_ERR_TIMEOUT && check_now_ms() < end;)
        r = ray_kv_get("a", &view);
    CHECK_INT(r, RAY_ERR_HEAD_UNREACHABLE);
    CHECK_HAS(ray_last_error()->message, "cannot reach head at ");
    CHECK_HAS(ray_last_error()->message, node_address(head));
    CHECK_HAS(ray_last_error()->message, "(tried for ");
    CHECK_REF(ray_object_lookup("x"), RAY_ERR_HEAD_UNREACHABLE);
    check_expect_log("head.unreachable", "", patience());
    check_stop();
    nodes_stop();
}

/* ---- observers ---- */

static void observer(void)
{
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=1, disk=1");
    ray_view view;
    nodes_make_key();
    observe(node_address(head));
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster && cluster->num_nodes == 2 && cluster->nodes[0]->is_head);
    for (size_t i = 0; i < 2; i++)
        CHECK(strcmp(cluster->nodes[i]->id, ray_context_get()->node_id) != 0);
    ray_cluster_free(cluster);
    await_count("objects", "\"node_id\"", 2);
    CHECK(state_has("status", "\"disk\""));
    CHECK(state_has("jobs", "\"total\": 0,"));
    CHECK_CODE(ray_state("birds", &view), RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_state("sessions", &view)); /* of this host: nobody is asked */
    ray_view_release(&view);
    CHECK_REF_INT(ray_remote(own_pid), getpid()); /* a node of its own */
    CHECK_OK(ray_kv_put("mine", "1", 1, 0));
    CHECK_CODE(ray_node_drain(node_id(head)), RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "is the head: only workers can be drained");
    check_stop();
    nodes_join(head);
    CHECK_CODE(ray_kv_get("mine", &view), RAY_ERR_NOT_FOUND);
    check_stop();
    observe(node_address(head));
    node_stop(worker);
    await_state("nodes", "\"DEAD\"");
    node_kill(head);
    CHECK_CODE(ray_state("nodes", &view), RAY_ERR_HEAD_UNREACHABLE);
    check_stop();
    nodes_stop();
}

/* Its good-bye is no rubbish to who only looks. */
static void observer_of_a_head_that_ends(void)
{
    node *head = node_head("CPU=1");
    ray_view view;
    nodes_make_key();
    observe(node_address(head));
    CHECK_INT(count_in("nodes", "\"node_id\""), 1);
    node_stop(head);
    CHECK_CODE(ray_state("nodes", &view), RAY_ERR_HEAD_UNREACHABLE);
    CHECK_HAS(ray_last_error()->message, "connection refused: nobody listens there");
    check_stop();
    nodes_stop();
}

static int try_to_observe(const char *address, int64_t timeout_ms)
{
    return ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_OBSERVER, .address = address, .timeout_ms = timeout_ms));
}

static void who_cannot_observe(void)
{
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=1");
    CHECK_CODE(try_to_observe(node_address(worker), patience()), RAY_ERR_HEAD_UNREACHABLE);
    CHECK_HAS(ray_last_error()->message, "not the head of its cluster, which is at ");
    CHECK_HAS(ray_last_error()->message, node_address(head));
    int64_t before = check_now_ms();
    CHECK_CODE(try_to_observe("127.0.0.1:1", 900), RAY_ERR_HEAD_UNREACHABLE);
    CHECK_HAS(ray_last_error()->message, "cannot reach head at 127.0.0.1:1: connection refused: nobody listens there");
    CHECK_HAS(ray_last_error()->message, "(tried for ");
    long long tried = 0;
    char unit[4] = "";
    CHECK_INT(sscanf(strstr(ray_last_error()->message, "(tried for "), "(tried for %lld %3[a-z])", &tried, unit), 2);
    CHECK(strcmp(unit, "ms") == 0 ? tried >= 900 : strcmp(unit, "s") == 0 && tried * 1000 < patience());
    CHECK(check_now_ms() - before >= 900 && check_now_ms() - before < patience());
    CHECK_CODE(try_to_observe("nowhere", 600), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_OBSERVER)), RAY_ERR_ARGUMENT);
    char key[64];
    snprintf(key, sizeof key, "%s", getenv("RAY_CLUSTER_KEY"));
    key[20] = key[20] == 'A' ? 'B' : 'A';
    CHECK(setenv("RAY_CLUSTER_KEY", key, 1) == 0);
    CHECK_CODE(try_to_observe(node_address(head), patience()), RAY_ERR_AUTH);
    CHECK(!ray_is_initialized());
    nodes_stop();
}

/* ---- draining ---- */

static void drain(void)
{
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=2");
    nodes_join(head);
    ray_ref *runs = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(worker)), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    CHECK_OK(ray_node_drain(node_id(worker)));
    CHECK_OK(ray_node_drain(node_id(worker)));
    await_state("nodes", "being drained");
    for (int i = 0; i < 20; i++)
        CHECK_REF_STR(ray_remote(own_node), node_id(head));
    CHECK(state_has("nodes?" WHERE("state", "=", "ALIVE"), node_id(worker)));
    atomic_store(&page()->gate, 1);
    CHECK_REF_INT(runs, 1);
    node_await_end(worker, 0, "", patience());
    await_state("nodes?" WHERE("state", "=", "DEAD"), "it left");
    CHECK_CODE(ray_node_drain(node_id(worker)), RAY_ERR_NOT_FOUND);
    CHECK_CODE(ray_node_drain(node_id(head)), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_node_drain(ray_context_get()->node_id), RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "is a driver");
    CHECK_CODE(ray_node_drain("this one"), RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "expected the id of a node, 32 hexadecimal digits, got \"this one\"");
    CHECK_CODE(ray_node_drain("00000000000000000000000000000000"), RAY_ERR_NOT_FOUND);
    check_stop();
    nodes_stop();
}

static RAY_REMOTE(void, drain_this_one)
{
    CHECK_OK(ray_node_drain(ray_context_get()->node_id));
}

/* From a worker process of the very node. */
static void drain_from_inside(void)
{
    node *head = node_head("CPU=1");
    node *worker = node_start(&(ray_config){.role = RAY_ROLE_WORKER,
                                            .address = node_address(head),
                                            .resources = "CPU=1",
                                            .isolation = RAY_ISOLATION_PROCESS});
    nodes_join(head);
    CHECK_REF_OK(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = on(worker)), drain_this_one));
    node_await_end(worker, 0, "", patience());
    check_stop();
    nodes_stop();
}

static void no_cluster(void)
{
    check_start(1);
    CHECK_CODE(ray_node_drain(ray_context_get()->node_id), RAY_ERR_UNSUPPORTED);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(keys), CHECK_TEST(large_values), CHECK_TEST(keys_from_worker_processes),
           CHECK_TEST(keys_without_a_head), CHECK_TEST(keys_of_a_silent_head), CHECK_TEST(keys_from_threads),
           CHECK_TEST(published_objects), CHECK_TEST(large_published_objects), CHECK_TEST(state_of_all),
           CHECK_TEST(jobs), CHECK_TEST(status_of_all), CHECK_TEST(head_is_silent), CHECK_TEST(head_has_died),
           CHECK_TEST(observer), CHECK_TEST(observer_of_a_head_that_ends), CHECK_TEST(who_cannot_observe),
           CHECK_TEST(drain), CHECK_TEST(drain_from_inside), CHECK_TEST(no_cluster))
