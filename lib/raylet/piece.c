/* Queries of ray_state that are for one node, and of which the answer is a piece: what a node has much of goes in as
 * many answers as who asks wants, so none is large. The head passes question and answer on. */
#include "raylet/inside.h"
#include "raylet/rows.h"

#include <string.h>

#define PATIENCE_MS 2000

static const struct piece {
    const char *name;
    int (*write)(rayi_node *node, const rayi_query *query, rayi_text *out);
} pieces[] = {{"timeline", rayi_timeline_write}, {"logs/file", rayi_logs_write}};

static const struct piece *find(const char *name)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(pieces); i++)
        if (strcmp(pieces[i].name, name) == 0)
            return &pieces[i];
    return NULL;
}

bool rayi_piece_is_one(const char *name)
{
    return find(name) != NULL;
}

int rayi_piece_write(rayi_node *node, const rayi_query *query, rayi_text *out)
{
    const struct piece *piece = find(query->table);
    int r;

    if (!piece || query->num_filters > 0)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: %s is no table: expected no filter", query->table);
    r = piece->write(node, query, out);
    return r == 0 && out->failed ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the answer of ray_state") : r;
}

/* ---- whose ---- */

bool rayi_is_asked_of(const rayi_node *node, const rayi_query *query)
{
    return !query->node_id || strcmp(query->node_id, rayi_executor_node_id(node->executor)) == 0;
}

int rayi_no_such_node(const char *id)
{
    return rayi_fail(RAY_ERR_NOT_FOUND, "ray_state: no node that lives has the id \"%.60s\"", id);
}

int rayi_find_member(const rayi_node *node, const char *id, rayi_node_id *out)
{
    if (strlen(id) != RAYI_ID_SIZE - 1 || strspn(id, "0123456789abcdef") != RAYI_ID_SIZE - 1)
        return rayi_no_such_node(id);
    rayi_cluster_id_parse(id, out);
    return rayi_find_alive(node, out) ? 0 : rayi_no_such_node(id);
}

/* ---- at the head ---- */

typedef struct passing {
    rayi_node *node;
    rayi_reply_to to;
} passing;

static void on_answered(void *arg, const rayi_said *answer, rayi_error *error)
{
    passing *p = arg;

    rayi_reply(p->node, &p->to, error ? NULL : &(rayi_said){.bytes = answer->bytes, .size = answer->size}, error);
    rayi_free(p);
}

static int pass_on(rayi_node *node, const rayi_reply_to *to, const char *id, const char *text)
{
    passing *p = rayi_alloc(sizeof *p);
    rayi_node_id which;
    rayi_writer writer;
    int r = rayi_find_member(node, id, &which);

    rayi_writer_init(&writer);
    rayi_put_text(&writer, text);
    if (r == 0 && (!p || writer.failed))
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a question to another node");
    if (r == 0) {
        *p = (passing){.node = node, .to = *to};
        r = rayi_cluster_ask(node->cluster, &which, RAYI_OP_PIECE,
                             &(rayi_said){.bytes = writer.data, .size = writer.size}, PATIENCE_MS, on_answered, p);
    }
    rayi_writer_fini(&writer);
    if (r < 0)
        rayi_free(p);
    return r;
}

void rayi_piece_ask(rayi_node *node, const rayi_reply_to *to, const rayi_query *query, const char *text)
{
    rayi_text out;

    if (!rayi_is_asked_of(node, query)) {
        if (pass_on(node, to, query->node_id, text) < 0)
            rayi_reply_last(node, to);
        return;
    }
    rayi_text_init(&out, rayi_heap);
    if (rayi_piece_write(node, query, &out) < 0)
        rayi_reply_last(node, to);
    else
        rayi_reply(node, to, &(rayi_said){.bytes = out.data, .size = out.size}, NULL);
    rayi_text_fini(&out);
}
