/* The tables of ray_state, as rows (rows.h). Fields are named as Ray's state API has them. */
#include "isolation/isolation.h"
#include "raylet/inside.h"
#include "raylet/rows.h"

#include <string.h>

typedef struct listing {
    rayi_node *node;
    rayi_rows *rows;
} listing;

static const char *own_id(const listing *l)
{
    return rayi_executor_node_id(l->node->executor);
}

/* ---- tables ---- */

/* What there is to say of its state. */
static const char *state_message(const rayi_member *member)
{
    if (member->state == RAYI_NODE_DEAD)
        return rayi_death_text(member->cause);
    return member->state == RAYI_NODE_SUSPECT    ? "late: it gets no new work"
           : member->flags & RAYI_MEMBER_DRAINED ? "being drained: it gets no new work, and leaves when it is done"
                                                 : NULL;
}

static void write_resources(rayi_text *out, const rayi_member *member)
{
    char amount[RAYI_AMOUNT_TEXT];

    for (uint32_t i = 0; i < member->resource_count; i++) {
        rayi_amount_format(amount, member->resources[i].name, member->resources[i].total);
        rayi_text_printf(out, "%s%s=%s", i > 0 ? ", " : "", member->resources[i].name, amount);
    }
}

static void list_node(void *arg, const rayi_member *member)
{
    rayi_rows *rows = ((listing *)arg)->rows;
    char id[RAYI_ID_SIZE];
    rayi_text resources;

    if (!rayi_rows_begin(rows))
        return;
    rayi_text_init(&resources, rows->text.memory);
    rayi_hex(id, member->id.bytes, sizeof member->id.bytes);
    write_resources(&resources, member);
    rayi_rows_text(rows, "node_id", id);
    rayi_rows_text(rows, "state", rayi_node_state_name(member->state));
    rayi_rows_text(rows, "state_message", state_message(member));
    rayi_rows_bool(rows, "is_head_node", (member->flags & RAYI_MEMBER_HEAD) != 0);
    rayi_rows_bool(rows, "is_driver_node", (member->flags & RAYI_MEMBER_DRIVER) != 0);
    rayi_rows_text(rows, "node_ip", member->address);
    rayi_rows_text(rows, "labels", member->labels);
    rayi_rows_text(rows, "resources_total", resources.data ? resources.data : "");
    rayi_rows_end(rows);
    rows->text.failed |= resources.failed;
    rayi_text_fini(&resources);
}

static int list_nodes(listing *l)
{
    rayi_member_resource items[RAYI_MEMBER_RESOURCES_MAX];
    rayi_member self;

    if (l->node->cluster) {
        rayi_roster_each(rayi_cluster_roster(l->node->cluster), list_node, l);
    } else {
        rayi_self_member(l->node, &self, items);
        list_node(l, &self);
    }
    return 0;
}

static void list_job(void *arg, const rayi_gcs_job *row)
{
    rayi_rows *rows = ((listing *)arg)->rows;

    if (!rayi_rows_begin(rows))
        return;
    rayi_rows_text(rows, "job_id", row->id);
    rayi_rows_text(rows, "status", row->end_ms ? "SUCCEEDED" : "RUNNING");
    rayi_rows_text(rows, "namespace", row->ns);
    rayi_rows_text(rows, "driver_node_id", row->driver);
    rayi_rows_int(rows, "start_time", row->start_ms);
    rayi_rows_int(rows, "end_time", row->end_ms);
    rayi_rows_end(rows);
}

static int list_jobs(listing *l)
{
    rayi_gcs_jobs(l->node->gcs, list_job, l);
    return 0;
}

bool rayi_actor_is_ours(ray_actor *actor)
{
    return !rayi_actor_is_of_others(actor) || rayi_cluster_is_orphan(actor);
}

static void list_actor(void *arg, ray_actor *actor)
{
    listing *l = arg;
    rayi_rows *rows = l->rows;
    const rayi_node_id *where = rayi_afar_where(actor);
    char there[RAYI_ID_SIZE];

    if (!rayi_actor_is_ours(actor) || !rayi_rows_begin(rows))
        return;
    if (where)
        rayi_hex(there, where->bytes, sizeof where->bytes);
    rayi_rows_text(rows, "actor_id", rayi_actor_id(actor));
    rayi_rows_text(rows, "class_name", rayi_actor_class(actor));
    rayi_rows_text(rows, "state", rayi_actor_state_text(actor));
    rayi_rows_text(rows, "name", rayi_actor_name(actor));
    rayi_rows_text(rows, "node_id", where ? there : rayi_actor_afar(actor) ? NULL : own_id(l));
    rayi_rows_end(rows);
}

static int list_actors(listing *l)
{
    rayi_actors_for_each(l->node->executor, list_actor, l);
    return 0;
}

static const char *const strategies[] = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"};

static void list_group(void *arg, const rayi_scheduler_group_row *row)
{
    static const char *const states[] = {"PENDING", "CREATED", "REMOVED"};
    listing *l = arg;
    rayi_rows *rows = l->rows;
    char id[RAYI_ID_SIZE];

    if (!rayi_rows_begin(rows))
        return;
    rayi_executor_write_id(l->node->executor, id, row->id);
    rayi_rows_text(rows, "placement_group_id", id);
    rayi_rows_text(rows, "name", row->name);
    rayi_rows_text(rows, "state", states[row->state]);
    rayi_rows_text(rows, "strategy", strategies[row->strategy]);
    rayi_rows_int(rows, "bundles", row->bundle_count);
    rayi_rows_end(rows);
}

/* The nodes of its bundles in order, "-" for one that is nowhere. */
static int write_nodes(const listing *l, const rayi_wide_row *row, rayi_text *out)
{
    rayi_bundle_place place;
    char hex[2 * sizeof place.node.bytes + 1];

    rayi_text_init(out, rayi_heap);
    for (uint32_t i = 1; i <= row->bundles; i++) {
        if (rayi_bundles_place(l->node->bundles, rayi_group_number(row->group), i, &place))
            rayi_hex(hex, place.node.bytes, sizeof place.node.bytes);
        else
            strcpy(hex, "-");
        rayi_text_printf(out, "%s%s", i > 1 ? ", " : "", hex);
    }
    return out->failed ? RAY_ERR_NO_MEMORY : 0;
}

static void list_wide(void *arg, const rayi_wide_row *row)
{
    listing *l = arg;
    rayi_rows *rows = l->rows;
    rayi_text nodes;

    if (!rayi_rows_begin(rows))
        return;
    rows->text.failed |= write_nodes(l, row, &nodes) < 0;
    rayi_rows_text(rows, "placement_group_id", rayi_group_id(row->group));
    rayi_rows_text(rows, "name", row->group->name);
    rayi_rows_text(rows, "state", row->is_placed ? "CREATED" : row->was_placed ? "RESCHEDULING" : "PENDING");
    rayi_rows_text(rows, "strategy", strategies[row->strategy]);
    rayi_rows_int(rows, "bundles", row->bundles);
    rayi_rows_bool(rows, "is_detached", row->group->is_detached);
    rayi_rows_text(rows, "bundles_nodes", nodes.data);
    rayi_rows_end(rows);
    rayi_text_fini(&nodes);
}

static int list_groups(listing *l)
{
    if (l->node->bundles) { /* those of the scheduler are parts of these, and of others' */
        rayi_wide_each(l->node, list_wide, l);
        return 0;
    }
    rayi_scheduler_groups(l->node->scheduler, list_group, l);
    return 0;
}

static void list_task(void *arg, const rayi_task_row *row)
{
    rayi_rows *rows = ((listing *)arg)->rows;

    if (!rayi_rows_begin(rows))
        return;
    rayi_rows_text(rows, "task_id", row->id);
    rayi_rows_text(rows, "name", row->name);
    rayi_rows_text(rows, "state", row->state);
    rayi_rows_end(rows);
}

static int list_tasks(listing *l)
{
    rayi_tasks_for_each(l->node->thread, list_task, l);
    return 0;
}

static int list_objects(listing *l)
{
    rayi_rows *rows = l->rows;
    rayi_store_usage usage;

    if (!rayi_rows_begin(rows))
        return 0;
    rayi_store_stats(rayi_executor_store(l->node->executor), &usage);
    rayi_rows_text(rows, "node_id", own_id(l));
    rayi_rows_int(rows, "store_capacity_bytes", (int64_t)usage.capacity_bytes);
    rayi_rows_int(rows, "store_used_bytes", (int64_t)usage.used_bytes);
    rayi_rows_int(rows, "store_pinned_bytes", (int64_t)usage.pinned_bytes);
    rayi_rows_int(rows, "store_objects", (int64_t)usage.num_blocks);
    rayi_rows_int(rows, "store_peak_bytes", (int64_t)usage.peak_bytes);
    rayi_rows_int(rows, "store_spilled_bytes", (int64_t)usage.spilled_bytes);
    rayi_rows_int(rows, "store_spilled_objects", (int64_t)usage.num_spilled);
    rayi_rows_int(rows, "store_spilled_total_bytes", (int64_t)usage.spilled_total_bytes);
    rayi_rows_int(rows, "store_restored_objects", (int64_t)usage.num_restored);
    rayi_rows_int(rows, "store_restored_total_bytes", (int64_t)usage.restored_total_bytes);
    rayi_rows_int(rows, "store_far_bytes", (int64_t)usage.far_bytes);
    rayi_rows_int(rows, "store_far_objects", (int64_t)usage.num_far);
    rayi_rows_int(rows, "store_fetched_objects", (int64_t)usage.num_fetched);
    rayi_rows_int(rows, "store_fetched_total_bytes", (int64_t)usage.fetched_total_bytes);
    rayi_rows_end(rows);
    return 0;
}

static void list_worker(void *arg, int64_t pid, const char *state, const char *runs)
{
    listing *l = arg;
    rayi_rows *rows = l->rows;

    if (!rayi_rows_begin(rows))
        return;
    rayi_rows_int(rows, "pid", pid);
    rayi_rows_text(rows, "state", state);
    rayi_rows_text(rows, "runs", runs);
    rayi_rows_text(rows, "node_id", own_id(l));
    rayi_rows_end(rows);
}

static int list_workers(listing *l)
{
    rayi_isolation *isolation = atomic_load(&l->node->isolation);

    if (isolation)
        rayi_isolation_for_each(isolation, list_worker, l);
    return 0;
}

static int list_published(listing *l)
{
    rayi_published_list(l->node, l->rows);
    return 0;
}

static void list_session(void *arg, const rayi_session_row *row)
{
    rayi_rows *rows = ((listing *)arg)->rows;

    if (!rayi_rows_begin(rows))
        return;
    rayi_rows_int(rows, "pid", row->pid);
    rayi_rows_text(rows, "role", row->role);
    rayi_rows_text(rows, "address", row->address);
    rayi_rows_text(rows, "path", row->path);
    rayi_rows_end(rows);
}

static int list_sessions(listing *l)
{
    return rayi_sessions_each(NULL, list_session, l);
}

static int list_logs(listing *l)
{
    return rayi_logs_list(l->node, l->rows);
}

static const struct table {
    const char *name;
    int (*list)(listing *l);
    bool of_nodes; /* each node has its own part of it */
} tables[] = {{"nodes", list_nodes, false},         {"jobs", list_jobs, false},
              {"actors", list_actors, true},        {"tasks", list_tasks, true},
              {"objects", list_objects, true},      {"placement_groups", list_groups, true},
              {"workers", list_workers, true},      {"logs", list_logs, true},
              {"published", list_published, false}, {"sessions", list_sessions, false}};

/* ---- the query ---- */

/* NULL: last error. */
static const struct table *find_table(const char *name)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(tables); i++)
        if (strcmp(tables[i].name, name) == 0)
            return &tables[i];
    (void)rayi_fail(RAY_ERR_NOT_FOUND,
                    "ray_state: expected nodes, jobs, actors, tasks, objects, placement_groups, workers, logs, "
                    "published, sessions, status, timeline or logs/file, got \"%.60s\"",
                    name);
    return NULL;
}

bool rayi_state_is_of_nodes(const char *name)
{
    const struct table *table = find_table(name);

    return table && table->of_nodes;
}

int rayi_state_list(rayi_node *node, rayi_rows *rows)
{
    const struct table *table = find_table(rows->query->table);

    return table ? table->list(&(listing){.node = node, .rows = rows}) : RAY_ERR_NOT_FOUND;
}

int rayi_state_check_node(const rayi_query *query)
{
    const struct table *table = find_table(query->table);

    if (!query->node_id || !table || table->of_nodes)
        return 0; /* of one that there is not, who lists it says so */
    return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: %s are not a node's own: expected no node_id", query->table);
}

int rayi_state_check_status(const rayi_query *query)
{
    if (query->node_id)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: status is of all nodes: expected no node_id");
    if (query->num_filters == 0)
        return 0;
    return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: status is no table: expected no filter, got one on \"%.60s\"",
                     query->filters[0].key);
}

/* ---- what this node alone has to say ---- */

typedef struct state_query {
    rayi_query query;
    rayi_answer answer;
} state_query;

static int write_table(rayi_node *node, const rayi_query *query, rayi_text *out)
{
    rayi_rows rows;
    int r = rayi_state_check_node(query);

    if (r < 0)
        return r;
    if (!rayi_is_asked_of(node, query))
        return rayi_no_such_node(query->node_id);
    rayi_rows_init(&rows, query, rayi_heap);
    r = rayi_state_list(node, &rows);
    if (r == 0)
        r = rayi_rows_answer(&rows, NULL, out);
    rayi_rows_fini(&rows);
    return r;
}

static int write_piece(rayi_node *node, const rayi_query *query, rayi_text *out)
{
    return rayi_is_asked_of(node, query) ? rayi_piece_write(node, query, out) : rayi_no_such_node(query->node_id);
}

static int write_status(rayi_node *node, const rayi_query *query, rayi_text *out)
{
    rayi_demands demands = {0};
    rayi_text object;
    int r = rayi_state_check_status(query);

    if (r < 0)
        return r;
    rayi_text_init(&object, rayi_heap);
    rayi_demands_of(node, &demands);
    r = rayi_status_write(node, &demands, NULL, &object);
    if (r == 0)
        r = rayi_rows_answer_one(&object, NULL, out);
    rayi_demands_fini(&demands);
    rayi_text_fini(&object);
    return r;
}

/* Of sessions, which are read from files, by who asks: the loop does not wait for disks. */
static int state(rayi_node *node, void *arg)
{
    state_query *q = arg;
    rayi_text all;
    int r;

    rayi_text_init(&all, rayi_heap);
    r = (strcmp(q->query.table, "status") == 0 ? write_status
         : rayi_piece_is_one(q->query.table)   ? write_piece
                                               : write_table)(node, &q->query, &all);
    if (r < 0)
        rayi_text_fini(&all);
    else
        q->answer = (rayi_answer){.bytes = all.data, .size = all.size};
    return r;
}

/* ---- asking ---- */

static int ask_head(rayi_thread *thread, const char *query, rayi_answer *out)
{
    rayi_writer writer;
    int r;

    rayi_writer_init(&writer);
    rayi_put_text(&writer, query);
    r = rayi_head_ask(thread, RAYI_OP_STATE, &(rayi_said){.bytes = writer.data, .size = writer.size}, out);
    rayi_writer_fini(&writer);
    return r;
}

int rayi_node_query(rayi_thread *thread, const char *query, ray_view *out)
{
    rayi_node *node = rayi_node_of(thread);
    state_query q = {0};
    int r = rayi_query_parse(query, &q.query);

    if (r == 0 && strcmp(q.query.table, "sessions") == 0)
        r = state(node, &q);
    else if (r == 0 && (node->cluster || node->observer))
        r = ask_head(thread, query, &q.answer);
    else if (r == 0)
        r = rayi_node_ask(thread, state, &q);
    return r < 0 ? r : rayi_answer_view(thread, &q.answer, out);
}
