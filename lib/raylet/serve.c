/* What this node answers when others ask: the head, of the cluster's tables; every node, of what it has itself. */
#include "raylet/inside.h"
#include "raylet/rows.h"

#include <string.h>

void rayi_reply(rayi_node *node, const rayi_reply_to *to, const rayi_said *answer, rayi_error *error)
{
    if (to->local)
        to->local(to->arg, answer, error);
    else if (node->cluster)
        rayi_cluster_answer(node->cluster, &to->asker, answer, error);
}

void rayi_reply_last(rayi_node *node, const rayi_reply_to *to)
{
    rayi_error *error = rayi_error_last();

    rayi_reply(node, to, NULL, error);
    rayi_error_unref(error);
}

bool rayi_is_of_head(const rayi_node *node, const rayi_reply_to *to)
{
    const rayi_member *member;

    if (to->local)
        return true;
    member = rayi_roster_get(rayi_cluster_roster(node->cluster), &to->asker.node);
    return member && (member->flags & RAYI_MEMBER_HEAD);
}

static int no_sense(uint8_t op)
{
    return rayi_fail(RAY_ERR_ARGUMENT, "a question that makes no sense (%u)", op);
}

static int answer_rows(rayi_node *node, rayi_reader *in, rayi_writer *out)
{
    const char *text = rayi_take_text(in);
    rayi_query query;
    rayi_rows rows;
    int r = text ? rayi_query_parse(text, &query) : no_sense(RAYI_OP_ROWS);

    if (r < 0)
        return r;
    rayi_rows_init(&rows, &query, rayi_heap);
    r = rayi_state_list(node, &rows);
    if (r == 0)
        rayi_rows_put(&rows, out);
    rayi_rows_fini(&rows);
    return r;
}

static int answer_piece(rayi_node *node, rayi_reader *in, rayi_writer *out)
{
    const char *text = rayi_take_text(in);
    rayi_query query;
    rayi_text piece;
    int r = text ? rayi_query_parse(text, &query) : no_sense(RAYI_OP_PIECE);

    if (r < 0)
        return r;
    rayi_text_init(&piece, rayi_heap);
    r = rayi_piece_write(node, &query, &piece);
    if (r == 0)
        rayi_put_bytes(out, piece.data, piece.size);
    rayi_text_fini(&piece);
    return r;
}

static int answer_demand(rayi_node *node, rayi_writer *out)
{
    rayi_demands demands = {0};

    rayi_demands_of(node, &demands);
    rayi_demands_put(&demands, out);
    rayi_demands_fini(&demands);
    return 0;
}

static int answer_drain(rayi_node *node, rayi_reader *in)
{
    const char *id = rayi_take_text(in);

    return id ? rayi_drain(node, id) : no_sense(RAYI_OP_DRAIN);
}

/* What can be answered at once. record: counted. */
static int answer(rayi_node *node, const rayi_reply_to *to, uint8_t op, const rayi_said *question, rayi_writer *out,
                  rayi_record **record)
{
    rayi_reader in = rayi_reader_of(question->bytes, question->size);

    switch ((enum rayi_op)op) {
    case RAYI_OP_HELLO:
        return 0;
    case RAYI_OP_SNAPSHOT:
        return rayi_snapshot_write(node, out);
    case RAYI_OP_DRAIN:
        return answer_drain(node, &in);
    case RAYI_OP_KV_PUT:
    case RAYI_OP_KV_GET:
    case RAYI_OP_KV_DEL:
    case RAYI_OP_KV_LIST:
    case RAYI_OP_UNPUBLISH:
    case RAYI_OP_LOOKUP:
        return rayi_tables_answer(node, op, &in, out, record);
    case RAYI_OP_JOB:
        return rayi_jobs_take(node, &to->asker.node, &in);
    case RAYI_OP_ROWS:
        return answer_rows(node, &in, out);
    case RAYI_OP_DEMAND:
        return answer_demand(node, out);
    case RAYI_OP_PIECE:
        return answer_piece(node, &in, out);
    case RAYI_OP_ACTOR_PUT:
    case RAYI_OP_ACTOR_FIND:
    case RAYI_OP_ACTOR_GET:
    case RAYI_OP_GROUP_PUT:
    case RAYI_OP_GROUP_FIND:
        return rayi_called_answer(node, op, &in, out, record);
    case RAYI_OP_GROUP_NEW:
    case RAYI_OP_GROUP_GET:
        return rayi_shared_answer(node, op, &in, out);
    case RAYI_OP_SEEK:
        return rayi_lineage_seek(node, to, &in, out);
    case RAYI_OP_LET_GO:
        return rayi_keep_let_go(node, to, &in);
    case RAYI_OP_KV_COPY:
        return rayi_keys_take(node, to, &in);
    case RAYI_OP_STATE:
    case RAYI_OP_PUBLISH:
    case RAYI_OP_FIND:
    case RAYI_OP_KEEP:
    case RAYI_OP_GROUP_END:
        break;
    }
    return no_sense(op);
}

static void serve(rayi_node *node, const rayi_reply_to *to, uint8_t op, const rayi_said *question)
{
    rayi_record *record = NULL;
    rayi_writer out;
    int r;

    if (op == RAYI_OP_STATE) {
        rayi_gather(node, to, question);
        return;
    }
    if (op == RAYI_OP_FIND) {
        rayi_lineage_serve(node, to, question);
        return;
    }
    if (op == RAYI_OP_GROUP_END) {
        rayi_shared_end(node, to, question);
        return;
    }
    if (op == RAYI_OP_PUBLISH) {
        rayi_publish(node, to, question);
        return;
    }
    if (op == RAYI_OP_KEEP) {
        rayi_keep_serve(node, to, question);
        return;
    }
    rayi_writer_init(&out);
    r = answer(node, to, op, question, &out, &record);
    if (r == 0 && out.failed)
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an answer");
    if (r < 0)
        rayi_reply_last(node, to);
    else
        rayi_reply(node, to, &(rayi_said){.bytes = out.data, .size = out.size, .record = record}, NULL);
    if (record)
        rayi_record_unref(node->thread, record);
    rayi_writer_fini(&out);
}

void rayi_serve_local(rayi_node *node, uint8_t op, const rayi_said *question, rayi_answered answered, void *arg)
{
    serve(node, &(rayi_reply_to){.local = answered, .arg = arg}, op, question);
}

void rayi_serve_asked(void *of, const rayi_asker *asker, uint8_t op, const rayi_said *question)
{
    rayi_node *node = of;
    const rayi_reply_to to = {.asker = *asker};

    if (node->stopping)
        (void)rayi_fail(RAY_ERR_SHUTDOWN, "the node that was asked is being shut down");
    else if (asker->incarnation == 0 && op > RAYI_OP_OF_OBSERVERS)
        (void)rayi_fail(RAY_ERR_ARGUMENT, "an observer may only look");
    else if (op < RAYI_OP_OF_NODES && !rayi_cluster_is_head(node->cluster) && !rayi_keys_may_answer(node, op))
        (void)rayi_fail(RAY_ERR_ARGUMENT, "the node that was asked is not the head");
    else {
        serve(node, &to, op, question);
        return;
    }
    rayi_reply_last(node, &to);
}
