/* A node in this process: what it offers, its start and its end. */
#include "isolation/isolation.h"
#include "raylet/inside.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIN_STORE_BYTES    ((uint64_t)64 << 20)
#define MIN_PENDING_BYTES  ((int64_t)1 << 30)
#define MAX_THREADS        1024
#define DEFAULT_TIMEOUT_MS 30000

/* ---- what there is ---- */

static uint32_t count_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    return (uint32_t)RAYI_MAX(sysconf(_SC_NPROCESSORS_ONLN), 1);
}

/* Of the machine, or less where a control group says so. */
static uint64_t count_memory(void)
{
    uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    unsigned long long limit;

    if (file) {
        if (fscanf(file, "%llu", &limit) == 1 && limit < bytes)
            bytes = limit;
        fclose(file);
    }
    return bytes;
}

/* CUDA_VISIBLE_DEVICES is the whole inventory of GPUs; without it there are none. */
static uint32_t count_gpus(void)
{
    const char *ids = getenv("CUDA_VISIBLE_DEVICES");
    uint32_t count = 0;

    if (!ids || !*ids || strcmp(ids, "-1") == 0 || strcmp(ids, "none") == 0 || strcmp(ids, "NoDevFiles") == 0)
        return 0;
    for (count = 1; *ids; ids++)
        count += *ids == ',';
    return count;
}

typedef struct offer {
    uint32_t cpus;
    uint64_t memory_bytes, store_bytes;
    rayi_resources *resources;
    rayi_labels *labels;
} offer;

static void offer_fini(offer *o)
{
    rayi_resources_free(rayi_heap, o->resources);
    rayi_labels_free(rayi_heap, o->labels);
}

/* What is not found out but for that: a driver of a cluster brings no work force. */
static const char *usual_resources(const ray_config *config)
{
    if (config->resources)
        return config->resources;
    return rayi_join_address(config) && rayi_node_role(config) == RAY_ROLE_DRIVER ? "CPU=0, GPU=0, memory=0" : NULL;
}

static int find_offer(const ray_config *config, offer *o)
{
    const char *resources = usual_resources(config);
    rayi_resources *found;
    char text[160], why[256];
    int r;

    o->cpus = count_cpus();
    o->memory_bytes = count_memory();
    o->store_bytes = config->store_bytes ? config->store_bytes : RAYI_MAX(o->memory_bytes / 10 * 3, MIN_STORE_BYTES);
    snprintf(text, sizeof text, "CPU=%u, GPU=%u, memory=%llu, object_store_memory=%llu", o->cpus, count_gpus(),
             (unsigned long long)o->memory_bytes, (unsigned long long)o->store_bytes);
    r = rayi_resources_parse(rayi_heap, text, NULL, &found, why, sizeof why);
    if (r < 0)
        return rayi_fail(r, "this machine's resources \"%s\": %s", text, why);
    r = rayi_resources_parse(rayi_heap, resources, found, &o->resources, why, sizeof why);
    rayi_resources_free(rayi_heap, found);
    if (r < 0)
        return rayi_fail(r, "ray_config.resources \"%s\": %s", resources ? resources : "", why);
    r = rayi_labels_parse(rayi_heap, config->labels, &o->labels, why, sizeof why);
    if (r < 0)
        return rayi_fail(r, "ray_config.labels \"%s\": %s", config->labels ? config->labels : "", why);
    return 0;
}

/* ---- what this version can be ---- */

ray_role rayi_node_role(const ray_config *config)
{
    static const char *const names[] = {"", "driver", "worker", "head", "observer"};
    const char *role = getenv("RAY_ROLE");

    if (config->role != RAY_ROLE_AUTO || !role || !*role)
        return config->role == RAY_ROLE_AUTO ? RAY_ROLE_DRIVER : config->role;
    for (int i = RAY_ROLE_DRIVER; i <= RAY_ROLE_OBSERVER; i++)
        if (strcmp(role, names[i]) == 0)
            return (ray_role)i;
    (void)rayi_fail(RAY_ERR_ARGUMENT, "RAY_ROLE: expected driver, worker, head or observer, got \"%.40s\"", role);
    return RAY_ROLE_AUTO;
}

static int check_config(const ray_config *config)
{
    ray_role role;

    if (config->role < RAY_ROLE_AUTO || config->role > RAY_ROLE_OBSERVER)
        return rayi_fail(RAY_ERR_ARGUMENT, "unknown role %d in ray_config", (int)config->role);
    role = rayi_node_role(config);
    if (role == RAY_ROLE_AUTO)
        return RAY_ERR_ARGUMENT;
    if (role == RAY_ROLE_WORKER && !rayi_join_address(config))
        return rayi_fail(RAY_ERR_ARGUMENT, "a worker needs the head's address: set ray_config.address or RAY_ADDRESS");
    if (role == RAY_ROLE_OBSERVER && !config->address && !rayi_join_address(config)) /* "local": it looks around here */
        return rayi_fail(RAY_ERR_ARGUMENT,
                         "an observer needs the head's address: set ray_config.address or RAY_ADDRESS");
    if (config->isolation < RAY_ISOLATION_AUTO || config->isolation > RAY_ISOLATION_PROCESS)
        return rayi_fail(RAY_ERR_ARGUMENT, "unknown isolation %d in ray_config", (int)config->isolation);
    if (config->timeout_ms < 0)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_config.timeout_ms is 0 (30,000) or more, got %lld",
                         (long long)config->timeout_ms);
    if (config->num_threads > MAX_THREADS / 2)
        return rayi_fail(RAY_ERR_LIMIT, "ray_config.num_threads is at most %d, got %u", MAX_THREADS / 2,
                         config->num_threads);
    if (config->max_workers > RAYI_WORKERS_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "ray_config.max_workers is at most %d, got %u", RAYI_WORKERS_MAX,
                         config->max_workers);
    if (config->journal || config->http)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "ray_config.%s is for heads; this version has none",
                         config->journal ? "journal" : "http");
    if (config->ns && (!*config->ns || strchr(config->ns, '/') || strlen(config->ns) > RAYI_GCS_KEY_MAX))
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_config.ns has 1 to %d bytes and no slash, got \"%.40s\"",
                         RAYI_GCS_KEY_MAX, config->ns);
    return 0;
}

/* ---- start ---- */

static int find_timeline(const ray_config *config, uint64_t *out)
{
    const char *value = getenv("RAY_TIMELINE_TASKS");
    char *end = NULL;

    *out = (uint64_t)RAYI_MAX(config->timeline_tasks, 0);
    if (config->timeline_tasks != 0 || !value || !*value)
        return 0;
    *out = strtoull(value, &end, 10);
    if (*end || *value < '0' || *value > '9')
        return rayi_fail(RAY_ERR_ARGUMENT, "RAY_TIMELINE_TASKS: expected a number of tasks, got \"%.40s\"", value);
    return 0;
}

/* has_job: it is a program with tasks of its own, and no part of a cluster, in which drivers tell the head. */
static int make_brains(rayi_node *node, const offer *o, bool has_job)
{
    const char *node_id = rayi_executor_node_id(node->executor), *job_id = rayi_executor_job_id(node->executor);
    rayi_scheduler_options options = {
        .node_id = node_id, .total = o->resources, .labels = o->labels, .gpu_ids = getenv("CUDA_VISIBLE_DEVICES")};
    char why[256];
    int r;

    if (options.gpu_ids && rayi_resources_amount(o->resources, "GPU") != (int64_t)count_gpus() * RAYI_RESOURCE_UNIT)
        options.gpu_ids = NULL; /* the configuration says otherwise */
    r = rayi_scheduler_new(rayi_heap, &options, &node->scheduler, why, sizeof why);
    if (r < 0)
        return rayi_fail(r, "this node's resources: %s", r == RAY_ERR_NO_MEMORY ? "out of memory" : why);
    r = rayi_ledger_new(rayi_heap, &node->ledger);
    if (r == 0)
        r = rayi_lineage_init(node, o->store_bytes);
    if (r == RAY_ERR_ARGUMENT)
        return r;
    if (r == 0)
        r = rayi_gcs_new(rayi_heap, &node->gcs);
    if (r == 0)
        r = rayi_gcs_new(rayi_heap, &node->actor_names);
    if (r == 0)
        r = rayi_published_init(node);
    if (r == 0)
        r = rayi_gcs_new(rayi_heap, &node->group_names);
    node->started_ms = rayi_wall_ms();
    if (r == 0 && has_job)
        r = rayi_gcs_job_put(node->gcs, &(rayi_gcs_job){.id = job_id,
                                                        .ns = rayi_executor_ns(node->executor),
                                                        .start_ms = node->started_ms,
                                                        .driver = node_id});
    node->labels = r == 0 ? rayi_strdup(o->labels->text) : NULL;
    return node->labels ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the node's tables");
}

static void free_brains(rayi_node *node)
{
    if (node->scheduler)
        rayi_scheduler_free(node->scheduler);
    if (node->ledger)
        rayi_ledger_free(node->ledger);
    rayi_lineage_fini(node);
    if (node->gcs)
        rayi_gcs_free(node->gcs);
    if (node->actor_names)
        rayi_gcs_free(node->actor_names);
    rayi_keepers_free(node->keepers);
    node->keepers = NULL;
    if (node->group_names)
        rayi_gcs_free(node->group_names);
    node->actor_names = node->group_names = NULL;
    rayi_free(node->labels);
    rayi_resources_free(rayi_heap, node->own_resources);
    rayi_labels_free(rayi_heap, node->own_labels);
    node->own_resources = NULL;
    node->own_labels = NULL;
    node->scheduler = NULL;
    node->ledger = NULL;
    node->gcs = NULL;
    node->labels = NULL;
}

static void give_up(rayi_node *node)
{
    rayi_error *error = rayi_error_last();

    (void)rayi_lane_attach_last(rayi_executor_lane(node->executor));
    rayi_node_stop(node);
    rayi_node_close(node);
    rayi_error_set_last(error);
}

static bool joins(const ray_config *config)
{
    return rayi_node_role(config) == RAY_ROLE_HEAD || rayi_join_address(config);
}

int rayi_node_new(const ray_config *config, void (*on_ended)(const rayi_error *why), rayi_node **out)
{
    rayi_node *node = NULL;
    offer o = {0};
    rayi_executor_config executor;
    uint64_t timeline_tasks = 0;
    int r = check_config(config);

    if (r == 0)
        r = find_offer(config, &o);
    if (r == 0)
        r = find_timeline(config, &timeline_tasks);
    if (r < 0)
        goto out;
    node = rayi_zalloc(sizeof *node);
    if (!node) {
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the node");
        goto out;
    }
    r = rayi_spill_init(node, config->spill_dir);
    if (r < 0) {
        rayi_free(node);
        goto out;
    }
    pthread_mutex_init(&node->start_lock, NULL);
    pthread_mutex_init(&node->made_lock, NULL);
    rayi_known_terms_init(&node->known_terms);
    executor = (rayi_executor_config){
        .lane = {.num_threads = config->num_threads ? config->num_threads : o.cpus,
                 .max_threads = MAX_THREADS,
                 .num_cpus = o.cpus,
                 .pending_limit_bytes = RAYI_MAX((int64_t)(o.memory_bytes / 8), MIN_PENDING_BYTES)},
        .store_bytes = o.store_bytes,
        .spill_directory = config->spill_dir && !*config->spill_dir ? NULL : rayi_spill_directory,
        .processes = config->isolation == RAY_ISOLATION_PROCESS,
        .events = timeline_tasks,
        .ns = config->ns,
        .timeout_ms = config->timeout_ms ? config->timeout_ms : DEFAULT_TIMEOUT_MS,
        .lane_is_off = rayi_resources_amount(o.resources, "CPU") < RAYI_RESOURCE_UNIT};
    r = rayi_executor_new(&executor, &rayi_node_hooks, node, &node->executor);
    if (r < 0) {
        rayi_free(node->spill_base);
        rayi_free(node);
        goto out;
    }
    r = make_brains(node, &o, !joins(config));
    if (r < 0) {
        free_brains(node);
        rayi_executor_close(node->executor); /* and the node with it */
        goto out;
    }
    node->own_resources = o.resources;
    node->own_labels = o.labels;
    o.resources = NULL;
    o.labels = NULL;
    rayi_store_on_segment_gone(rayi_executor_store(node->executor), rayi_workers_segment_gone, node);
    rayi_cool_init(node);
    node->num_cpus = o.cpus;
    node->max_workers =
        config->max_workers ? config->max_workers : RAYI_MIN(RAYI_WORKERS_MAX, RAYI_MAX(64, 4 * o.cpus));
    node->worker_template = config->worker_template;
    node->worker_idle_ms = config->worker_idle_ms > 0 ? config->worker_idle_ms : 10000;
    node->worker_command = config->worker_command ? rayi_strdup(config->worker_command) : NULL;
    node->on_ended = on_ended;
    rayi_node_pump(node); /* the lane gets its slots */
    if (joins(config)) {
        r = rayi_join(node, config, rayi_node_role(config));
        if (r < 0)
            give_up(node);
    }
    *out = node;
out:
    offer_fini(&o);
    return r;
}

rayi_executor *rayi_node_executor(rayi_node *node)
{
    return node->executor;
}

int rayi_node_open_session(rayi_node *node)
{
    if (node->session)
        return 0;
    rayi_spill_clear(node);
    return rayi_session_open(NULL, &node->session);
}

/* ---- end ---- */

static int end_all(rayi_node *node, void *arg)
{
    (void)arg;
    node->stopping = true;
    rayi_escape_stop(node);
    rayi_lineage_stop(node);
    rayi_place_stop(node);
    rayi_plan_stop(node);
    rayi_workers_fail_all(node);
    return 0;
}

static void between(void *of)
{
    rayi_node *node = of;

    if (atomic_load(&node->running))
        (void)rayi_node_ask(rayi_self, end_all, NULL);
}

static int end_tables(rayi_node *node, void *arg)
{
    (void)arg;
    rayi_groups_stop(node);
    rayi_keep_stop(node);
    rayi_published_stop(node);
    return 0;
}

void rayi_node_stop(rayi_node *node)
{
    rayi_thread *thread = rayi_self;

    node->stopper = thread;
    if (node->cluster)
        rayi_cluster_stop_fetching(node->cluster);
    rayi_executor_stop(thread, between);
    rayi_spill_end(node);
    rayi_workers_stop(node, thread);
    rayi_join_leave(node, thread);
    if (atomic_load(&node->running))
        (void)rayi_node_ask(thread, end_tables, NULL);
    rayi_loop_stop(node);
    rayi_workers_free(node);
    rayi_join_free(node);
    rayi_session_close(node->session, node->keeps_logs);
    rayi_free(node->worker_command);
    free_brains(node);
}

void rayi_node_close(rayi_node *node)
{
    rayi_executor_close(node->executor);
    rayi_lane_detach();
}

/* ---- what it answers ---- */

const rayi_body rayi_node_body = {
    .find_actor = rayi_node_find_actor,
    .publish = rayi_node_publish,
    .unpublish = rayi_node_unpublish,
    .lookup = rayi_node_lookup,
    .kv_put = rayi_node_kv_put,
    .kv_get = rayi_node_kv_get,
    .kv_del = rayi_node_kv_del,
    .kv_list = rayi_node_kv_list,
    .group_new = rayi_group_new,
    .group_get = rayi_group_get,
    .group_ready = rayi_group_ready,
    .group_remove = rayi_group_remove,
    .group_record = rayi_group_record,
    .cluster = rayi_node_cluster,
    .query = rayi_node_query,
    .drain = rayi_node_drain,
};
