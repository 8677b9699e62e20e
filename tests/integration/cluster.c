/* cluster.h on one node: context, nodes and resources, state, placement groups, keys, published objects. */
#include "check.h"
#include "json.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static atomic_int gate, started;

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_fetch_add(&started, 1);
    CHECK_AWAIT(gate, (int)nth);
    return nth;
}

/* ---- context ---- */

static RAY_REMOTE(void, check_context, (const char *, node_id), (const char *, job_id))
{
    const ray_context *context = ray_context_get();
    CHECK(context->size >= sizeof *context);
    CHECK_STR(context->node_id, node_id);
    CHECK_STR(context->job_id, job_id);
    CHECK_STR(context->ns, "here");
    CHECK_STR(context->function, "check_context");
    CHECK_STR(context->resources, "CPU=1");
    CHECK(context->task_id && !context->actor_id && !context->group_id);
    CHECK(context->attempt == 0 && context->restarts == 0);
}
static RAY_REMOTE(const char *, own_task_id)
{
    return ray_context_get()->task_id;
}
static RAY_REMOTE(const char *, own_gpus)
{
    const char *gpus = ray_context_get()->gpus;
    return gpus ? gpus : "none";
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell)
{
    self->n = ray_context_get()->actor_id != NULL;
}
static RAY_METHOD(cell, int64_t, constructed_with_id)
{
    return self->n;
}
static RAY_METHOD(cell, const char *, own_id)
{
    (void)self;
    return ray_context_get()->actor_id;
}
static RAY_METHOD(cell, const char *, own_function)
{
    (void)self;
    return ray_context_get()->function;
}

static void context(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .ns = "here")));
    const ray_context *outside = ray_context_get();
    CHECK(outside->node_id && outside->job_id && !outside->task_id && !outside->actor_id && !outside->function);
    CHECK_STR(outside->ns, "here");
    CHECK_REF_OK(ray_remote(check_context, outside->node_id, outside->job_id));
    ray_ref *a = ray_remote(own_task_id), *b = ray_remote(own_task_id);
    const char *id_a, *id_b;
    CHECK_OK(ray_get(a, &id_a));
    CHECK_OK(ray_get(b, &id_b));
    CHECK(strcmp(id_a, id_b) != 0);
    ray_release(a), ray_release(b);
    ray_actor *actor = ray_actor_new(cell);
    CHECK_REF_STR(ray_call(actor, cell_own_id), ray_actor_id(actor));
    CHECK_REF_STR(ray_call(actor, cell_own_function), "cell.own_function");
    CHECK_REF_INT(ray_call(actor, cell_constructed_with_id), 1);
    ray_actor_release(actor);
    check_stop();
}

static void gpus_are_numbered(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2, GPU=2")));
    CHECK_REF_STR(ray_remote(own_gpus), "none");
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "GPU=2"), own_gpus), "0,1");
    ray_ref *one = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "GPU=1"), own_gpus);
    const char *gpu = NULL;
    CHECK_OK(ray_get(one, &gpu));
    CHECK(strcmp(gpu, "0") == 0 || strcmp(gpu, "1") == 0);
    ray_release(one);
    check_stop();
}

/* ---- nodes and resources ---- */

static const ray_resource *find(const ray_resource *resources, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(resources[i].name, name) == 0)
            return &resources[i];
    return NULL;
}

static double available(const char *name)
{
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster);
    const ray_resource *resource = find(cluster->resources, cluster->num_resources, name);
    double left = resource ? resource->available : -1;
    ray_cluster_free(cluster);
    return left;
}

/* A task may be done a moment before what it had is free again. */
static void await_available(const char *name, double want)
{
    for (int64_t end = check_now_ms() + 20000; available(name) != want; check_sleep_ms(1))
        CHECK(check_now_ms() < end);
}

static void nodes_and_resources(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=3, disk=1.5", .labels = "zone=eu")));
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster && cluster->size >= sizeof *cluster && cluster->num_nodes == 1);
    const ray_node *node = cluster->nodes[0];
    CHECK_STR(node->id, ray_context_get()->node_id);
    CHECK_HAS(node->labels, "zone=eu");
    CHECK(node->state == RAY_NODE_ALIVE && node->size >= sizeof *node);
    const ray_resource *cpu = find(node->resources, node->num_resources, "CPU");
    const ray_resource *disk = find(cluster->resources, cluster->num_resources, "disk");
    CHECK(cpu && cpu->total == 3 && cpu->available == 3);
    CHECK(disk && disk->total == 1.5 && disk->available == 1.5);
    ray_cluster_free(cluster);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0.5, disk=1"), pass_gate, 1);
    CHECK_AWAIT(started, 1);
    CHECK(available("CPU") == 2.5 && available("disk") == 0.5);
    atomic_store(&gate, 1);
    CHECK_REF_INT(ref, 1);
    await_available("CPU", 3);
    await_available("disk", 1.5);
    check_stop();
}

static void resources_are_found_out(void)
{
    CHECK_OK(ray_init(NULL));
    CHECK(available("CPU") >= 1);
    CHECK(available("memory") > 1 << 20);
    CHECK(available("unobtainium") == -1);
    check_stop();
}

static void state_is_json(void)
{
    static const char *const queries[] = {"nodes",          "tasks",        "actors", "objects", "placement_groups",
                                          "actors?limit=1", "tasks?limit=2"};
    check_start(1);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "quote\" \\ \n\x01 \xc3\xa4"), cell);
    ray_ref *ref = ray_call(actor, cell_own_id),
            *task = ray_remote_opts(RAY_WITH(ray_task_options, .name = "\"q\""), twice, 1);
    CHECK_OK(ray_get(ref, NULL));
    CHECK_OK(ray_get(task, NULL));
    for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
        ray_view view;
        int r = ray_state(queries[i], &view);
        if (r != 0)
            fprintf(stderr, "query %s\n", queries[i]);
        CHECK_OK(r);
        if (!json_is_valid(view.data, view.size))
            fprintf(stderr, "query %s: %.*s\n", queries[i], (int)view.size, (const char *)view.data);
        CHECK(json_is_valid(view.data, view.size));
        if (strcmp(queries[i], "actors") == 0)
            CHECK_HAS(view.data, ray_actor_id(actor));
        ray_view_release(&view);
    }
    ray_view none = {0};
    CHECK(ray_state("no such thing", &none) != 0 && !none.data);
    ray_release(ref), ray_release(task);
    ray_actor_release(actor);
    check_stop();
}

static void expect_state(const char *query, const char *part, bool there)
{
    ray_view view;
    CHECK_OK(ray_state(query, &view));
    CHECK(json_is_valid(view.data, view.size));
    if ((strstr(view.data, part) != NULL) != there)
        fprintf(stderr, "query %s: %s\n", query, (const char *)view.data);
    CHECK((strstr(view.data, part) != NULL) == there);
    ray_view_release(&view);
}

static void expect_no_state(const char *query, int code, const char *words)
{
    ray_view view = {0};
    CHECK_CODE(ray_state(query, &view), code);
    CHECK(!view.data);
    CHECK_HAS(ray_last_error()->message, words);
}

#define WHERE(key, predicate, value) "filter_keys=" key "&filter_predicates=" predicate "&filter_values=" value

static void state_is_filtered(void)
{
    check_start(1);
    ray_actor *a = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "one & \xff"), cell);
    ray_actor *b = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "two"), cell);
    CHECK_REF_OK(ray_actor_ready(a));
    CHECK_REF_OK(ray_actor_ready(b));
    expect_state("actors", "\"total\": 2, \"num_after_truncation\": 2, \"num_filtered\": 2", true);
    expect_state("actors?" WHERE("name", "=", "two"), ray_actor_id(b), true);
    expect_state("actors?" WHERE("name", "=", "two"), ray_actor_id(a), false);
    expect_state("actors?" WHERE("name", "!%3D", "two"), ray_actor_id(b), false);
    expect_state("actors?" WHERE("name", "=", "one+%26%20%FF"), ray_actor_id(a), true);
    expect_state("actors?limit=1&" WHERE("state", "=", "alive"),
                 "\"total\": 2, \"num_after_truncation\": 2, "
                 "\"num_filtered\": 2",
                 true);
    expect_state("actors?" WHERE("state", "=", "ALIVE") "&" WHERE("name", "=", "three"), "\"num_filtered\": 0", true);
    expect_state("nodes?" WHERE("is_head_node", "=", "true"), ray_context_get()->node_id, true);
    expect_no_state("actors?" WHERE("nam", "=", "two"), RAY_ERR_ARGUMENT, "no field \"nam\"; they have actor_id, ");
    expect_no_state("actors?limit=ten", RAY_ERR_ARGUMENT, "got \"ten\"");
    expect_no_state("actors?page=2", RAY_ERR_ARGUMENT, "got \"page\"");
    expect_no_state("actor", RAY_ERR_NOT_FOUND, "got \"actor\"");
    ray_actor_release(a), ray_actor_release(b);
    check_stop();
}

static void status(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2, disk=1")));
    ray_ref *runs = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0.5, disk=1"), pass_gate, 1);
    CHECK_AWAIT(started, 1);
    ray_ref *waits = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "disk=1"), pass_gate, 1);
    ray_ref *never = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "gold=1"), pass_gate, 1);
    CHECK_CODE(ray_get_timeout(never, 50, NULL), RAY_ERR_TIMEOUT);
    expect_state("status", "\"is_head_node\": true", true);
    expect_state("status", "\"disk\": {\"used\": 1, \"total\": 1}", true);
    expect_state("status", "\"CPU\": {\"used\": 0.5, \"total\": 2}", true);
    expect_state("status", "\"infeasible\": true", true);
    expect_state("status", "\"infeasible\": false", true);
    expect_state("status", "\"warnings\": [\"1 waiting for CPU=1, gold=1: no node has more than gold=0\"]", true);
    expect_no_state("status?" WHERE("a", "=", "b"), RAY_ERR_ARGUMENT, "status is no table");
    CHECK_OK(ray_cancel(never, 0));
    atomic_store(&gate, 1);
    CHECK_REF_INT(runs, 1);
    CHECK_REF_INT(waits, 1);
    ray_release(never);
    expect_state("status", "\"warnings\": []", true);
    check_stop();
}

/* A node whose tasks run in processes has a session, others need none. */
static void sessions_of_this_host(void)
{
    char pid[32];
    snprintf(pid, sizeof pid, "\"pid\": %ld,", (long)getpid());
    check_start(1);
    expect_state("sessions", pid, false);
    check_stop();
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=1", .isolation = RAY_ISOLATION_PROCESS)));
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    expect_state("sessions?limit=10000", pid, true);
    expect_state("sessions?limit=10000&" WHERE("pid", "=", "1"), pid, false);
    check_stop();
}

/* ---- placement groups ---- */

static RAY_REMOTE(const char *, own_group)
{
    const char *id = ray_context_get()->group_id;
    return id ? id : "none";
}

static void groups_reserve(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1, disk=1"};
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=3, disk=1")));
    ray_placement_group *group = ray_placement_group_new(bundles, 2, NULL);
    CHECK(group);
    CHECK_REF_OK(ray_placement_group_ready(group));
    CHECK(available("CPU") == 1 && available("disk") == 0);
    ray_ref *outside = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=2"), twice, 1);
    ray_ref *inside = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 2), own_group);
    const char *id = NULL;
    CHECK_OK(ray_get(inside, &id));
    CHECK(strcmp(id, "none") != 0);
    ray_release(inside);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 1), twice, 2), 4);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), twice, 3), 6);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .resources = "disk=1"), twice, 3), 6);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .resources = "CPU=2"), twice, 3),
              RAY_ERR_UNSCHEDULABLE); /* more than a bundle holds */
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 1, .resources = "disk=1"), twice, 3),
              RAY_ERR_UNSCHEDULABLE);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 3), twice, 3),
              RAY_ERR_UNSCHEDULABLE);
    CHECK_CODE(ray_get_timeout(outside, 20, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_placement_group_remove(group));
    CHECK_REF_INT(outside, 2); /* what was reserved is free again */
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), twice, 3), RAY_ERR_GROUP_REMOVED);
    ray_placement_group_release(group);
    check_stop();
}

static void groups_bound_what_runs_in_them(void)
{
    static const char *const bundle[] = {"CPU=1"};
    check_start(4);
    ray_placement_group *group = ray_placement_group_new(bundle, 1, NULL);
    CHECK(group);
    ray_ref *refs[3];
    for (int i = 0; i < 3; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .group = group), pass_gate, 1);
    CHECK_AWAIT(started, 1);
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_sleep_ms(20);
    CHECK_INT(atomic_load(&started), 1); /* one at a time in a bundle of one CPU */
    atomic_store(&gate, 1);
    for (int i = 0; i < 3; i++)
        CHECK_REF_INT(refs[i], 1);
    ray_placement_group_release(group);
    check_stop();
}

static void groups_wait_for_room(void)
{
    static const char *const two[] = {"CPU=1", "CPU=1"}, *const impossible[] = {"CPU=100"};
    check_start(2);
    ray_placement_group *first = ray_placement_group_new(two, 2, NULL), *second = ray_placement_group_new(two, 2, NULL);
    CHECK(first && second);
    CHECK_REF_OK(ray_placement_group_ready(first));
    ray_ref *ready = ray_placement_group_ready(second);
    ray_ref *task = ray_remote_opts(RAY_WITH(ray_task_options, .group = second), twice, 1);
    CHECK_CODE(ray_get_timeout(ready, 20, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_placement_group_remove(first));
    CHECK_REF_OK(ready);
    CHECK_REF_INT(task, 2);
    CHECK_OK(ray_placement_group_remove(second));
    ray_placement_group_release(first), ray_placement_group_release(second);
    ray_placement_group *never = ray_placement_group_new(impossible, 1, NULL);
    CHECK(never);
    ready = ray_placement_group_ready(never);
    CHECK_CODE(ray_get_timeout(ready, 20, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_placement_group_remove(never));
    CHECK_REF(ready, RAY_ERR_GROUP_REMOVED);
    ray_placement_group_release(never);
    ray_placement_group *spread =
        ray_placement_group_new(two, 2, RAY_WITH(ray_placement_group_options, .strategy = RAY_STRICT_SPREAD));
    CHECK(spread); /* two nodes are needed, and there is one */
    ready = ray_placement_group_ready(spread);
    CHECK_CODE(ray_get_timeout(ready, 20, NULL), RAY_ERR_TIMEOUT);
    ray_release(ready);
    ray_placement_group_release(spread);
    check_stop();
}

static void removing_a_group_ends_what_is_in_it(void)
{
    static const char *const bundles[] = {"CPU=1", "CPU=1"};
    check_start(2);
    ray_placement_group *group = ray_placement_group_new(
        bundles, 2, RAY_WITH(ray_placement_group_options, .name = "mine", .strategy = RAY_STRICT_PACK));
    CHECK(group);
    CHECK_REF_OK(ray_placement_group_ready(group));
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .group = group, .bundle = 1), cell);
    CHECK_REF_OK(ray_actor_ready(actor));
    ray_ref *running = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 2), pass_gate, 1);
    CHECK_AWAIT(started, 1);
    ray_ref *queued = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 2), twice, 1);
    ray_placement_group *same = ray_placement_group_get("mine");
    CHECK(same);
    CHECK_OK(ray_placement_group_remove(same));
    ray_placement_group_release(same);
    CHECK_REF(queued, RAY_ERR_GROUP_REMOVED);
    CHECK_REF(ray_call(actor, cell_own_id), RAY_ERR_GROUP_REMOVED);
    atomic_store(&gate, 1);
    CHECK(ray_get(running, NULL) == RAY_ERR_GROUP_REMOVED);
    ray_release(running);
    CHECK(!ray_placement_group_get("mine"));
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_placement_group_remove(group)); /* again: nothing more */
    ray_placement_group_release(group);
    ray_actor_release(actor);
    await_available("CPU", 2);
    check_stop();
}

static void names_of_groups(void)
{
    static const char *const bundle[] = {"CPU=1"};
    check_start(2);
    const ray_placement_group_options mine = {.size = sizeof mine, .name = "mine"};
    ray_placement_group *group = ray_placement_group_new(bundle, 1, &mine);
    CHECK(group);
    CHECK(!ray_placement_group_new(bundle, 1, &mine));
    CHECK_INT(ray_last_error()->code, RAY_ERR_EXISTS);
    ray_placement_group_release(group); /* the handle only */
    group = ray_placement_group_get("mine");
    CHECK(group);
    CHECK_REF_OK(ray_placement_group_ready(group));
    ray_placement_group_release(group);
    CHECK(!ray_placement_group_get("other/mine"));
    CHECK(!ray_placement_group_new(NULL, 0, NULL));
    CHECK_INT(ray_last_error()->code, RAY_ERR_ARGUMENT);
    check_stop();
}

/* ---- keys ---- */

static void expect_key(const char *key, const char *want)
{
    ray_view view;
    CHECK_OK(ray_kv_get(key, &view));
    CHECK(view.size == strlen(want) && memcmp(view.data, want, view.size) == 0);
    ray_view_release(&view);
}

static void keys(void)
{
    check_start(1);
    ray_view view = {0};
    CHECK_CODE(ray_kv_get("a", &view), RAY_ERR_NOT_FOUND);
    CHECK(!view.data && !view.pin);
    CHECK_OK(ray_kv_put("b/2", "two", 3, RAY_KV_NEW));
    CHECK_OK(ray_kv_put("b/10", "ten", 3, 0));
    CHECK_OK(ray_kv_put("a", "first", 5, 0));
    CHECK_OK(ray_kv_put("c", "", 0, 0));
    CHECK_CODE(ray_kv_put("a", "other", 5, RAY_KV_NEW), RAY_ERR_EXISTS);
    expect_key("a", "first");
    CHECK_OK(ray_kv_get("a", &view));
    CHECK_OK(ray_kv_put("a", "second", 6, 0));
    CHECK(memcmp(view.data, "first", 5) == 0); /* what was obtained stays */
    ray_view_release(&view);
    expect_key("a", "second");
    expect_key("c", "");
    CHECK_OK(ray_kv_list("", &view));
    CHECK(view.size == 13 && memcmp(view.data, "a\0b/10\0b/2\0c\0", 13) == 0);
    ray_view_release(&view);
    CHECK_OK(ray_kv_list("b/", &view));
    CHECK(view.size == 9 && memcmp(view.data, "b/10\0b/2\0", 9) == 0);
    ray_view_release(&view);
    CHECK_OK(ray_kv_list("nothing", &view));
    CHECK_INT(view.size, 0);
    ray_view_release(&view);
    CHECK_OK(ray_kv_del("a"));
    CHECK_CODE(ray_kv_get("a", &view), RAY_ERR_NOT_FOUND);
    CHECK_CODE(ray_kv_del("a"), RAY_ERR_NOT_FOUND);
    CHECK_CODE(ray_kv_put("a", "x", 1, 1u << 30), RAY_ERR_ARGUMENT);
    check_stop();
    check_start(1); /* another cluster */
    CHECK_CODE(ray_kv_get("c", &view), RAY_ERR_NOT_FOUND);
    check_stop();
}

static RAY_REMOTE(int64_t, count_up_in_key, (int64_t, n))
{
    char key[32];
    snprintf(key, sizeof key, "n/%lld", (long long)n);
    CHECK_OK(ray_kv_put(key, &n, sizeof n, RAY_KV_NEW));
    ray_view view;
    CHECK_OK(ray_kv_get(key, &view));
    int64_t found = *(const int64_t *)view.data;
    ray_view_release(&view);
    CHECK_OK(ray_kv_del(key));
    return found;
}

static void keys_from_tasks(void)
{
    check_start(2);
    ray_ref *refs[100];
    for (int64_t i = 0; i < 100; i++)
        refs[i] = ray_remote(count_up_in_key, i);
    for (int64_t i = 0; i < 100; i++)
        CHECK_REF_INT(refs[i], i);
    check_stop();
}

/* ---- published objects ---- */

static RAY_REMOTE(void, publish_inside)
{
    ray_ref *ref = ray_remote(twice, 21);
    CHECK_OK(ray_object_publish("answer", ref, 1));
    ray_release(ref);
}

static void published_objects(void)
{
    check_start(2);
    CHECK_REF(ray_object_lookup("answer"), RAY_ERR_NOT_FOUND);
    CHECK_CODE(ray_object_unpublish("answer"), RAY_ERR_NOT_FOUND);
    CHECK_REF_OK(ray_remote(publish_inside));
    CHECK_REF_INT(ray_object_lookup("answer"), 42);
    ray_ref *ref = ray_put("x", 1);
    CHECK_CODE(ray_object_publish("answer", ref, 0), RAY_ERR_EXISTS);
    CHECK_OK(ray_object_publish("far/away", ref, 0));
    ray_release(ref);
    CHECK_REF_STR(ray_object_lookup("far/away"), "x");
    ref = ray_object_lookup("answer");
    CHECK_OK(ray_object_unpublish("answer"));
    CHECK_REF_INT(ref, 42); /* for those who hold it */
    CHECK_REF(ray_object_lookup("answer"), RAY_ERR_NOT_FOUND);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(context), CHECK_TEST(gpus_are_numbered), CHECK_TEST(nodes_and_resources),
           CHECK_TEST(resources_are_found_out), CHECK_TEST(state_is_json), CHECK_TEST(state_is_filtered),
           CHECK_TEST(status), CHECK_TEST(sessions_of_this_host), CHECK_TEST(groups_reserve),
           CHECK_TEST(groups_bound_what_runs_in_them), CHECK_TEST(groups_wait_for_room),
           CHECK_TEST(removing_a_group_ends_what_is_in_it), CHECK_TEST(names_of_groups), CHECK_TEST(keys),
           CHECK_TEST(keys_from_tasks), CHECK_TEST(published_objects))
