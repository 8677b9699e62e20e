/* What there is: the snapshot that ray_cluster_get takes, and the JSON of ray_state. */
#include "raylet/inside.h"

#include <stdlib.h>
#include <string.h>

/* ---- the snapshot ---- */

typedef struct snapshot {
    ray_cluster cluster; /* first */
    ray_node node;
    const ray_node *nodes[1];
    char id[RAYI_ID_SIZE];
    ray_resource resources[]; /* their names and the labels lie behind */
} snapshot;

static int take(rayi_node *node, void *arg)
{
    uint32_t count = rayi_scheduler_resource_count(node->scheduler);
    size_t texts = strlen(node->labels) + 1;
    rayi_lane_counts lane;
    snapshot *s;
    char *at;

    for (uint32_t i = 0; i < count; i++)
        texts += strlen(rayi_scheduler_resource_at(node->scheduler, i).name) + 1;
    s = rayi_zalloc(sizeof *s + count * sizeof *s->resources + texts);
    if (!s)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a picture of the cluster");
    at = (char *)&s->resources[count];
    rayi_lane_count(rayi_executor_lane(node->executor), &lane);
    for (uint32_t i = 0; i < count; i++) {
        rayi_scheduler_resource r = rayi_scheduler_resource_at(node->scheduler, i);
        s->resources[i] = (ray_resource){.name = strcpy(at, r.name),
                                         .total = (double)r.total / RAYI_RESOURCE_UNIT,
                                         .available = (double)r.available / RAYI_RESOURCE_UNIT};
        if (strcmp(r.name, "CPU") == 0)
            s->resources[i].available += (double)RAYI_MAX(lane.slots, 0);
        at += strlen(at) + 1;
    }
    memcpy(s->id, rayi_executor_node_id(node->executor), sizeof s->id);
    s->node = (ray_node){.size = sizeof s->node,
                         .id = s->id,
                         .labels = strcpy(at, node->labels),
                         .state = RAY_NODE_ALIVE,
                         .is_head = true,
                         .num_resources = count,
                         .resources = s->resources};
    s->nodes[0] = &s->node;
    s->cluster = (ray_cluster){.size = sizeof s->cluster,
                               .num_nodes = 1,
                               .nodes = s->nodes,
                               .num_resources = count,
                               .resources = s->resources};
    *(ray_cluster **)arg = &s->cluster;
    return 0;
}

ray_cluster *rayi_node_cluster(rayi_thread *thread)
{
    ray_cluster *cluster = NULL;

    return rayi_node_ask(thread, take, &cluster) == 0 ? cluster : NULL;
}

void rayi_cluster_free(ray_cluster *cluster)
{
    rayi_free(cluster);
}

/* ---- ray_state: the envelope of Ray's state API ---- */

#define DEFAULT_LIMIT 100
#define MAX_LIMIT     10000

typedef struct listing {
    rayi_node *node;
    rayi_text *out;
    size_t limit, total, shown;
} listing;

static bool begin_row(listing *l)
{
    if (l->total++ >= l->limit)
        return false;
    rayi_text_add(l->out, l->shown++ ? ", {" : "{");
    return true;
}

static void add_field(listing *l, const char *before, const char *key, const char *value)
{
    rayi_text_printf(l->out, "%s\"%s\": ", before, key);
    rayi_text_add_json(l->out, value);
}

static void list_node(void *arg, const rayi_gcs_node *row)
{
    static const char *const states[] = {"ALIVE", "SUSPECT", "DEAD"};
    listing *l = arg;

    if (!begin_row(l))
        return;
    add_field(l, "", "node_id", row->id);
    add_field(l, ", ", "state", states[row->state]);
    rayi_text_printf(l->out, ", \"is_head_node\": %s", row->is_head ? "true" : "false");
    add_field(l, ", ", "node_ip", row->address);
    add_field(l, ", ", "labels", row->labels);
    add_field(l, ", ", "resources_total", row->resources);
    rayi_text_add(l->out, "}");
}

static void list_job(void *arg, const rayi_gcs_job *row)
{
    listing *l = arg;

    if (!begin_row(l))
        return;
    add_field(l, "", "job_id", row->id);
    add_field(l, ", ", "status", row->end_ms ? "SUCCEEDED" : "RUNNING");
    add_field(l, ", ", "namespace", row->ns);
    rayi_text_printf(l->out, ", \"start_time\": %lld}", (long long)row->start_ms);
}

static void list_actor(void *arg, ray_actor *actor)
{
    listing *l = arg;

    if (!begin_row(l))
        return;
    add_field(l, "", "actor_id", rayi_actor_id(actor));
    add_field(l, ", ", "class_name", rayi_actor_class(actor));
    add_field(l, ", ", "state", rayi_actor_state_text(actor));
    add_field(l, ", ", "name", rayi_actor_name(actor));
    add_field(l, ", ", "node_id", rayi_executor_node_id(l->node->executor));
    rayi_text_add(l->out, "}");
}

static void list_group(void *arg, const rayi_scheduler_group_row *row)
{
    static const char *const states[] = {"PENDING", "CREATED", "REMOVED"};
    static const char *const strategies[] = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"};
    listing *l = arg;
    char id[RAYI_ID_SIZE];

    if (!begin_row(l))
        return;
    rayi_executor_write_id(l->node->executor, id, row->id);
    add_field(l, "", "placement_group_id", id);
    add_field(l, ", ", "name", row->name);
    add_field(l, ", ", "state", states[row->state]);
    add_field(l, ", ", "strategy", strategies[row->strategy]);
    rayi_text_printf(l->out, ", \"bundles\": %u}", row->bundle_count);
}

static void list_task(void *arg, const rayi_task_row *row)
{
    listing *l = arg;

    if (!begin_row(l))
        return;
    add_field(l, "", "task_id", row->id);
    add_field(l, ", ", "name", row->name);
    add_field(l, ", ", "state", row->state);
    rayi_text_add(l->out, "}");
}

static void list_objects(listing *l)
{
    rayi_store_usage usage;

    rayi_store_stats(rayi_executor_store(l->node->executor), &usage);
    if (!begin_row(l))
        return;
    add_field(l, "", "node_id", rayi_executor_node_id(l->node->executor));
    rayi_text_printf(l->out,
                     ", \"store_capacity_bytes\": %llu, \"store_used_bytes\": %llu, \"store_pinned_bytes\": %llu, "
                     "\"store_objects\": %llu, \"store_peak_bytes\": %llu}",
                     (unsigned long long)usage.capacity_bytes, (unsigned long long)usage.used_bytes,
                     (unsigned long long)usage.pinned_bytes, (unsigned long long)usage.num_blocks,
                     (unsigned long long)usage.peak_bytes);
}

static void list_nodes(listing *l)
{
    rayi_gcs_nodes(l->node->gcs, list_node, l);
}
static void list_jobs(listing *l)
{
    rayi_gcs_jobs(l->node->gcs, list_job, l);
}
static void list_actors(listing *l)
{
    rayi_actors_for_each(l->node->executor, list_actor, l);
}
static void list_groups(listing *l)
{
    rayi_scheduler_groups(l->node->scheduler, list_group, l);
}
static void list_tasks(listing *l)
{
    rayi_tasks_for_each(l->node->thread, list_task, l);
}

static const struct {
    const char *name;
    void (*list)(listing *l);
} tables[] = {{"nodes", list_nodes}, {"jobs", list_jobs},       {"actors", list_actors},
              {"tasks", list_tasks}, {"objects", list_objects}, {"placement_groups", list_groups}};

typedef struct state_query {
    const char *text;
    rayi_record *object;
} state_query;

static int parse_limit(const char *text, size_t *limit)
{
    char *end;
    unsigned long n;

    *limit = DEFAULT_LIMIT;
    if (!*text)
        return 0;
    if (strncmp(text, "?limit=", 7) != 0)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "ray_state: expected ?limit=N, got \"%s\"", text);
    n = strtoul(text + 7, &end, 10);
    if (*end || end == text + 7 || n > MAX_LIMIT)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: expected a limit from 0 to %d, got \"%s\"", MAX_LIMIT, text + 7);
    *limit = n;
    return 0;
}

static int state(rayi_node *node, void *arg)
{
    state_query *query = arg;
    size_t size = strcspn(query->text, "?"), which = 0;
    rayi_text rows, all;
    listing l = {.node = node, .out = &rows};
    int r = parse_limit(query->text + size, &l.limit);

    if (r < 0)
        return r;
    while (which < RAYI_COUNT_OF(tables) &&
           (strlen(tables[which].name) != size || strncmp(tables[which].name, query->text, size) != 0))
        which++;
    if (which == RAYI_COUNT_OF(tables))
        return rayi_fail(RAY_ERR_NOT_FOUND,
                         "ray_state: expected nodes, jobs, actors, tasks, objects or placement_groups, got \"%s\"",
                         query->text);
    rayi_text_init(&rows, rayi_heap);
    rayi_text_init(&all, rayi_heap);
    tables[which].list(&l);
    rayi_text_printf(&all,
                     "{\"result\": true, \"msg\": \"\", \"data\": {\"result\": {\"total\": %zu, "
                     "\"num_after_truncation\": %zu, \"num_filtered\": %zu, \"result\": [",
                     l.total, l.shown, l.total);
    rayi_text_add_bytes(&all, rows.data, rows.size);
    rayi_text_add(&all, "], \"partial_failure_warning\": \"\", \"warnings\": null}}}");
    if (rows.failed || all.failed)
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the state of %s", tables[which].name);
    else
        query->object = rayi_object_put(node->thread, all.data, all.size);
    rayi_text_fini(&rows);
    rayi_text_fini(&all);
    return r;
}

int rayi_node_query(rayi_thread *thread, const char *query, ray_view *out)
{
    state_query q = {.text = query};
    int r = rayi_node_ask(thread, state, &q);

    return r < 0 ? r : rayi_answer_view(thread, q.object, out);
}
