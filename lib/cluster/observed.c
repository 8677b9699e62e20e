/* Observers, as the head sees them: links that ask, of processes that have the cluster's key and are no nodes. An
 * answer to one that has gone meanwhile is dropped. */
#include "cluster/inside.h"

static rayi_connection *find(const rayi_cluster *cluster, uint64_t number)
{
    rayi_connection *c;

    DL_FOREACH (cluster->connections, c) {
        if (c->kind == RAYI_CONNECTION_OBSERVER && c->observer == number)
            return c;
    }
    return NULL;
}

static int send_answer(rayi_connection *c, uint64_t id, const rayi_said *answer, const rayi_error *error)
{
    rayi_writer writer;
    int r;

    rayi_writer_init(&writer);
    r = rayi_asks_write_answer(NULL, c->cluster->node.thread, &writer, id, answer, error)
            ? rayi_link_send(c->link, RAYI_LINK_TOLD, writer.data, writer.size)
            : RAY_ERR_NO_MEMORY;
    rayi_writer_fini(&writer);
    return r;
}

/* What cannot be told ends the link: the observer dials again, or gives up. */
void rayi_observed_answer(rayi_cluster *cluster, const rayi_asker *asker, const rayi_said *answer, rayi_error *error)
{
    rayi_connection *c = find(cluster, asker->observer);

    if (!c)
        return;
    RAYI_ASSERT(c->unanswered > 0);
    c->unanswered--;
    if (send_answer(c, asker->id, answer, error) < 0)
        rayi_connection_close(c);
}

static void say_where(rayi_connection *c, uint64_t id)
{
    rayi_error *error =
        rayi_error_new(RAY_ERR_HEAD_UNREACHABLE, NULL, NULL, "this node is not the head of its cluster, which is at %s",
                       c->cluster->head_address);

    if (send_answer(c, id, NULL, error) < 0)
        rayi_connection_close(c);
    rayi_error_unref(error);
}

void rayi_observed_take(rayi_connection *c, const void *bytes, size_t size)
{
    rayi_cluster *cluster = c->cluster;
    rayi_reader reader = rayi_reader_of(bytes, size);
    rayi_asker asker = {.observer = c->observer, .id = rayi_take_u64(&reader)};
    uint8_t op = rayi_take_u8(&reader), has_record = rayi_take_u8(&reader);
    rayi_said question = {.bytes = reader.at, .size = rayi_reader_left(&reader)};

    if (reader.failed || has_record || c->unanswered == RAYI_ASKS_OBSERVING) {
        rayi_log(RAY_LOG_WARNING, "link.corrupt", NULL, "%s: a message that no observer sends; the link is closed",
                 rayi_link_address(c->link));
        rayi_connection_close(c);
        return;
    }
    if (!cluster->is_head) {
        say_where(c, asker.id);
        return;
    }
    c->unanswered++;
    cluster->node.serve(cluster->node.node, &asker, op, &question);
}
