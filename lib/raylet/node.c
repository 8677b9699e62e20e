/* A node in this process: what it offers, its start and its end. */
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

static int find_offer(const ray_config *config, offer *o)
{
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
    r = rayi_resources_parse(rayi_heap, config->resources, found, &o->resources, why, sizeof why);
    rayi_resources_free(rayi_heap, found);
    if (r < 0)
        return rayi_fail(r, "ray_config.resources \"%s\": %s", config->resources ? config->resources : "", why);
    r = rayi_labels_parse(rayi_heap, config->labels, &o->labels, why, sizeof why);
    if (r < 0)
        return rayi_fail(r, "ray_config.labels \"%s\": %s", config->labels ? config->labels : "", why);
    return 0;
}

/* ---- what this version can be ---- */

static int check_config(const ray_config *config)
{
    const char *role = getenv("RAY_ROLE"), *address = config->address ? config->address : getenv("RAY_ADDRESS");

    if (config->role == RAY_ROLE_WORKER || config->role == RAY_ROLE_HEAD ||
        (config->role == RAY_ROLE_AUTO && role && *role && strcmp(role, "driver") != 0))
        return rayi_fail(RAY_ERR_UNSUPPORTED,
                         "role %s: this version runs one node inside one process; leave role and RAY_ROLE alone",
                         config->role == RAY_ROLE_AUTO   ? role
                         : config->role == RAY_ROLE_HEAD ? "head"
                                                         : "worker");
    if (config->role < RAY_ROLE_AUTO || config->role > RAY_ROLE_HEAD)
        return rayi_fail(RAY_ERR_ARGUMENT, "unknown role %d in ray_config", (int)config->role);
    if (address && *address && strcmp(address, "local") != 0)
        return rayi_fail(
            RAY_ERR_UNSUPPORTED,
            "address %s: this version joins no cluster; use \"local\", or leave address and RAY_ADDRESS alone",
            address);
    if (config->isolation == RAY_ISOLATION_PROCESS)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "this version runs functions in threads only, not in worker processes");
    if (config->isolation < RAY_ISOLATION_AUTO || config->isolation > RAY_ISOLATION_PROCESS)
        return rayi_fail(RAY_ERR_ARGUMENT, "unknown isolation %d in ray_config", (int)config->isolation);
    if (config->timeout_ms < 0)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_config.timeout_ms is 0 (30,000) or more, got %lld",
                         (long long)config->timeout_ms);
    if (config->num_threads > MAX_THREADS / 2)
        return rayi_fail(RAY_ERR_LIMIT, "ray_config.num_threads is at most %d, got %u", MAX_THREADS / 2,
                         config->num_threads);
    if (config->journal || config->http)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "ray_config.%s is for heads; this version has none",
                         config->journal ? "journal" : "http");
    if (config->ns && (!*config->ns || strchr(config->ns, '/') || strlen(config->ns) > RAYI_GCS_KEY_MAX))
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_config.ns has 1 to %d bytes and no slash, got \"%.40s\"",
                         RAYI_GCS_KEY_MAX, config->ns);
    return 0;
}

/* ---- start ---- */

static int make_brains(rayi_node *node, const offer *o)
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
        r = rayi_gcs_new(rayi_heap, &node->gcs);
    if (r == 0)
        r = rayi_gcs_node_put(node->gcs, &(rayi_gcs_node){.id = node_id,
                                                          .labels = o->labels->text,
                                                          .resources = o->resources->text,
                                                          .state = RAYI_NODE_ALIVE,
                                                          .is_head = true});
    if (r == 0)
        r = rayi_gcs_job_put(
            node->gcs,
            &(rayi_gcs_job){.id = job_id, .ns = rayi_executor_ns(node->executor), .start_ms = rayi_wall_ms()});
    node->labels = r == 0 ? rayi_strdup(o->labels->text) : NULL;
    return node->labels ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the node's tables");
}

static void free_brains(rayi_node *node)
{
    if (node->scheduler)
        rayi_scheduler_free(node->scheduler);
    if (node->ledger)
        rayi_ledger_free(node->ledger);
    if (node->gcs)
        rayi_gcs_free(node->gcs);
    rayi_free(node->labels);
    node->scheduler = NULL;
    node->ledger = NULL;
    node->gcs = NULL;
    node->labels = NULL;
}

int rayi_node_new(const ray_config *config, rayi_node **out)
{
    rayi_node *node = NULL;
    offer o = {0};
    rayi_executor_config executor;
    int r = check_config(config);

    if (r == 0)
        r = find_offer(config, &o);
    if (r < 0)
        goto out;
    node = rayi_zalloc(sizeof *node);
    if (!node) {
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the node");
        goto out;
    }
    pthread_mutex_init(&node->start_lock, NULL);
    executor = (rayi_executor_config){
        .lane = {.num_threads = config->num_threads ? config->num_threads : o.cpus,
                 .max_threads = MAX_THREADS,
                 .num_cpus = o.cpus,
                 .pending_limit_bytes = RAYI_MAX((int64_t)(o.memory_bytes / 8), MIN_PENDING_BYTES)},
        .store_bytes = o.store_bytes,
        .ns = config->ns,
        .timeout_ms = config->timeout_ms ? config->timeout_ms : DEFAULT_TIMEOUT_MS,
        .lane_is_off = rayi_resources_amount(o.resources, "CPU") < RAYI_RESOURCE_UNIT};
    r = rayi_executor_new(&executor, &rayi_node_hooks, node, &node->executor);
    if (r < 0) {
        rayi_free(node);
        goto out;
    }
    r = make_brains(node, &o);
    if (r < 0) {
        free_brains(node);
        rayi_executor_close(node->executor); /* and the node with it */
        goto out;
    }
    rayi_node_pump(node); /* the lane gets its slots */
    *out = node;
out:
    offer_fini(&o);
    return r;
}

rayi_executor *rayi_node_executor(rayi_node *node)
{
    return node->executor;
}

/* ---- end ---- */

static int end_all(rayi_node *node, void *arg)
{
    (void)arg;
    node->stopping = true;
    rayi_escape_stop(node);
    rayi_place_stop(node);
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
    rayi_names_stop(node);
    return 0;
}

void rayi_node_stop(rayi_node *node)
{
    rayi_thread *thread = rayi_self;

    node->stopper = thread;
    rayi_executor_stop(thread, between);
    if (atomic_load(&node->running))
        (void)rayi_node_ask(thread, end_tables, NULL);
    rayi_loop_stop(node);
    free_brains(node);
}

void rayi_node_close(rayi_node *node)
{
    pthread_mutex_destroy(&node->start_lock);
    rayi_executor_close(node->executor);
    rayi_lane_detach();
}
