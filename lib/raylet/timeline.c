/* The record of what ran on this node, as JSON, a page at a time. The cursor of a page says where the next one begins,
 * until when events are told (when the first page was asked for: else a busy node would have another page for ever),
 * and how far this node's clock is from that of people, which is the same for all pages. */
#include "raylet/inside.h"
#include "raylet/rows.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct cursor {
    uint64_t position;
    int64_t until_ns, wall_ns; /* wall_ns: to be added to rayi_now_ns */
} cursor;

static int read_cursor(const char *text, cursor *out)
{
    int size = 0;

    if (!text) {
        out->position = 0;
        out->until_ns = rayi_now_ns();
        out->wall_ns = rayi_wall_ns() - out->until_ns;
        return 0;
    }
    if (sscanf(text, "%" SCNx64 "_%" SCNd64 "_%" SCNd64 "%n", &out->position, &out->until_ns, &out->wall_ns, &size) !=
            3 ||
        text[size] || out->until_ns < 0 || out->wall_ns < -INT64_MAX / 2 || out->wall_ns > INT64_MAX / 2)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: expected a cursor that an answer has named, got \"%.60s\"",
                         text);
    return 0;
}

static void add_id(rayi_text *out, const rayi_executor *executor, const char *key, uint64_t number)
{
    char id[RAYI_ID_SIZE];

    rayi_text_printf(out, ", \"%s\": ", key);
    if (number)
        rayi_executor_write_id(executor, id, number);
    rayi_text_add_json(out, number ? id : NULL);
}

static void add_event(rayi_text *out, const rayi_executor *executor, const rayi_event *e, int64_t wall_ns)
{
    static const char *const kinds[] = {"task", "actor_creation", "actor_call"};
    static const char *const outcomes[] = {"ok", "failed", "cancelled", "later"};

    rayi_text_add(out, "{\"name\": ");
    rayi_text_add_json(out, *e->own_name ? e->own_name : e->name);
    rayi_text_add(out, ", \"function\": ");
    rayi_text_add_json(out, e->name);
    rayi_text_printf(out, ", \"kind\": \"%s\", \"outcome\": \"%s\", \"attempt\": %" PRIu32, kinds[e->kind],
                     outcomes[e->outcome], e->attempt);
    add_id(out, executor, "task_id", e->number);
    add_id(out, executor, "actor_id", e->actor);
    rayi_text_printf(out, ", \"pid\": %" PRIu32 ", \"thread\": %" PRIu32, e->pid, e->thread);
    rayi_text_printf(out, ", \"start_ns\": %" PRId64 ", \"duration_ns\": %" PRId64 "}", e->started_ns + wall_ns,
                     e->ended_ns - e->started_ns);
}

/* False: there is nothing behind it. */
static bool add_page(rayi_text *out, const rayi_executor *executor, cursor *c, size_t limit)
{
    rayi_events *events = rayi_executor_events(executor);
    rayi_event e;

    for (size_t count = 0; events && count < limit;) {
        if (!rayi_events_next(events, &c->position, &e))
            return false;
        if (e.ended_ns > c->until_ns)
            continue;
        rayi_text_add(out, count++ > 0 ? ", " : "");
        add_event(out, executor, &e, c->wall_ns);
    }
    return events != NULL;
}

int rayi_timeline_write(rayi_node *node, const rayi_query *query, rayi_text *out)
{
    rayi_events *events = rayi_executor_events(node->executor);
    rayi_events_counts counts = {0};
    cursor c;
    int r = read_cursor(query->cursor, &c);

    if (r < 0)
        return r;
    if (query->limit == 0)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: timeline: expected a limit from 1 to %d, got 0",
                         RAYI_ROWS_LIMIT_MAX);
    rayi_text_add(out, "{\"node_id\": ");
    rayi_text_add_json(out, rayi_executor_node_id(node->executor));
    rayi_text_printf(out, ", \"is_recording\": %s, \"events\": [", events ? "true" : "false");
    if (add_page(out, node->executor, &c, query->limit))
        rayi_text_printf(out, "], \"next\": \"%" PRIx64 "_%" PRId64 "_%" PRId64 "\"", c.position, c.until_ns,
                         c.wall_ns);
    else
        rayi_text_add(out, "], \"next\": null");
    if (events)
        counts = rayi_events_count(events);
    rayi_text_printf(out, ", \"recorded\": %" PRIu64 ", \"lost\": %" PRIu64 "}", counts.put, counts.lost);
    return 0;
}
