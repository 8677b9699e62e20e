/* What the head answers about the whole cluster: its own tables at once; of what each node has itself, when all that
 * live have said theirs, or have not in time. */
#include "raylet/inside.h"
#include "raylet/rows.h"

#include <string.h>

#define PATIENCE_MS 2000

typedef struct gathering {
    rayi_node *node;
    rayi_reply_to to;
    unsigned waiting; /* for so many, this node itself among them until it has asked all */
    bool is_status;
    rayi_query query;
    rayi_rows rows;
    rayi_demands demands; /* of a status */
    rayi_text missing;    /* who has not answered: what people are to know; empty: all have */
    char text[RAYI_ROWS_QUERY_MAX + 1];
} gathering;

typedef struct part { /* of one node */
    gathering *of;
    rayi_node_id id;
} part;

/* ---- the answer ---- */

static int write_status(gathering *g, const char *missing, rayi_text *out)
{
    rayi_text object;
    int r;

    rayi_text_init(&object, rayi_heap);
    r = rayi_status_write(g->node, &g->demands, missing, &object);
    if (r == 0)
        r = rayi_rows_answer_one(&object, missing, out);
    rayi_text_fini(&object);
    return r;
}

static void gathering_free(gathering *g)
{
    rayi_text_fini(&g->missing);
    rayi_demands_fini(&g->demands);
    rayi_rows_fini(&g->rows);
    rayi_free(g);
}

static void finish(gathering *g)
{
    const char *missing = g->missing.size > 0 ? g->missing.data : NULL;
    rayi_text all;
    int r;

    rayi_text_init(&all, rayi_heap);
    r = g->is_status ? write_status(g, missing, &all) : rayi_rows_answer(&g->rows, missing, &all);
    if (r < 0)
        rayi_reply_last(g->node, &g->to);
    else
        rayi_reply(g->node, &g->to, &(rayi_said){.bytes = all.data, .size = all.size}, NULL);
    rayi_text_fini(&all);
    gathering_free(g);
}

static void one_less(gathering *g)
{
    if (--g->waiting == 0)
        finish(g);
}

static void miss(gathering *g, const rayi_node_id *id, const char *why)
{
    char name[RAYI_ID_SIZE];

    rayi_hex(name, id->bytes, sizeof id->bytes);
    rayi_text_printf(&g->missing, "%snode %s is left out: %s", g->missing.size > 0 ? "; " : "", name, why);
}

/* ---- the nodes ---- */

static void on_answered(void *arg, const rayi_said *answer, rayi_error *error)
{
    part *p = arg;
    gathering *g = p->of;
    rayi_reader in;

    if (error) {
        miss(g, &p->id, rayi_error_public(error)->message);
    } else {
        in = rayi_reader_of(answer->bytes, answer->size);
        if (!(g->is_status ? rayi_demands_take(&g->demands, &in) : rayi_rows_take(&g->rows, &in)))
            miss(g, &p->id, "its answer makes no sense");
    }
    rayi_free(p);
    one_less(g);
}

static bool is_asked(const gathering *g, const rayi_node_id *id)
{
    char name[RAYI_ID_SIZE];

    rayi_hex(name, id->bytes, sizeof id->bytes);
    return !g->query.node_id || strcmp(g->query.node_id, name) == 0;
}

static void ask(void *arg, const rayi_member *member)
{
    gathering *g = arg;
    part *p;
    rayi_writer writer;
    int r;

    if (member->state == RAYI_NODE_DEAD || rayi_cluster_is_self(g->node->cluster, &member->id) ||
        !is_asked(g, &member->id))
        return;
    p = rayi_alloc(sizeof *p);
    rayi_writer_init(&writer);
    if (!g->is_status)
        rayi_put_text(&writer, g->text);
    r = p && !writer.failed ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory");
    if (r == 0) {
        *p = (part){.of = g, .id = member->id};
        r = rayi_cluster_ask(g->node->cluster, &member->id, g->is_status ? RAYI_OP_DEMAND : RAYI_OP_ROWS,
                             &(rayi_said){.bytes = writer.data, .size = writer.size}, PATIENCE_MS, on_answered, p);
    }
    rayi_writer_fini(&writer);
    if (r == 0) {
        g->waiting++;
        return;
    }
    miss(g, &member->id, rayi_error_last_public()->message);
    rayi_free(p);
}

static bool is_of_nodes(const gathering *g)
{
    return g->is_status || rayi_state_is_of_nodes(g->query.table);
}

/* What is known here. */
static int begin(gathering *g)
{
    rayi_node_id asked;

    if (g->query.node_id && !g->is_status && rayi_state_check_node(&g->query) < 0)
        return RAY_ERR_ARGUMENT;
    if (g->query.node_id && !g->is_status && rayi_find_member(g->node, g->query.node_id, &asked) < 0)
        return RAY_ERR_NOT_FOUND;
    if (!g->is_status)
        return rayi_is_asked_of(g->node, &g->query) ? rayi_state_list(g->node, &g->rows) : 0;
    rayi_demands_of(g->node, &g->demands);
    return rayi_state_check_status(&g->query);
}

/* NULL: last error. */
static gathering *make(rayi_node *node, const rayi_reply_to *to, const rayi_said *question)
{
    rayi_reader in = rayi_reader_of(question->bytes, question->size);
    const char *text = rayi_take_text(&in);
    gathering *g = text ? rayi_zalloc(sizeof *g) : NULL;

    if (!g) {
        (void)(text ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the answer of ray_state")
                    : rayi_fail(RAY_ERR_ARGUMENT, "ray_state: expected a query"));
        return NULL;
    }
    if (rayi_query_parse(text, &g->query) < 0) {
        rayi_free(g);
        return NULL;
    }
    strcpy(g->text, text); /* or it would not have been read */
    g->node = node;
    g->to = *to;
    g->waiting = 1;
    g->is_status = strcmp(g->query.table, "status") == 0;
    rayi_rows_init(&g->rows, &g->query, rayi_heap);
    rayi_text_init(&g->missing, rayi_heap);
    return g;
}

void rayi_gather(rayi_node *node, const rayi_reply_to *to, const rayi_said *question)
{
    gathering *g = make(node, to, question);

    if (g && rayi_piece_is_one(g->query.table)) {
        rayi_piece_ask(node, to, &g->query, g->text);
        gathering_free(g);
        return;
    }
    if (!g || begin(g) < 0) {
        rayi_reply_last(node, to);
        if (g)
            gathering_free(g);
        return;
    }
    if (is_of_nodes(g))
        rayi_roster_each(rayi_cluster_roster(node->cluster), ask, g);
    one_less(g);
}
