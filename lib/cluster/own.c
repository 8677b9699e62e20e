/* This node as a neighbour of its own: for what may be here or there, and is not to be done in two ways. What is sent
 * comes back with the next pump, in order; nothing is copied between nodes that are none, since the names of both ends
 * are kept apart anyway (names.c), and bytes that come back are found to be our own. It has no session: it is there
 * from the first message to the end of the cluster, and does not die. */
#include "cluster/inside.h"

#include <unistd.h>

typedef struct rayi_echo {
    struct rayi_echo *next;
    rayi_frame_kind kind;
    size_t size;
    unsigned char bytes[];
} rayi_echo;

static rayi_neighbour *make(rayi_cluster *cluster)
{
    rayi_neighbour *n = rayi_zalloc(sizeof *n);

    if (!n)
        return NULL;
    n->id = cluster->id;
    n->cluster = cluster;
    n->refs = 1; /* until the end of the cluster */
    n->is_own = true;
    n->pid = getpid();
    n->tick_ms = INT64_MAX;
    rayi_hex(n->name, n->id.bytes, sizeof n->id.bytes);
    return n;
}

rayi_neighbour *rayi_neighbour_or_own(rayi_cluster *cluster, const rayi_node_id *id)
{
    if (!rayi_cluster_is_self(cluster, id))
        return rayi_neighbour_find(cluster, id);
    if (!cluster->own && !cluster->is_closing)
        cluster->own = make(cluster);
    return cluster->own;
}

int rayi_own_send(rayi_neighbour *own, rayi_frame_kind kind, const rayi_writer *writer)
{
    rayi_echo *echo = NULL;

    if (own->cluster->own != own)
        return RAY_ERR_NODE_DIED;
    if (!writer->failed)
        echo = rayi_alloc(sizeof *echo + writer->size);
    if (!echo)
        return RAY_ERR_NO_MEMORY;
    echo->next = NULL;
    echo->kind = kind;
    echo->size = writer->size;
    memcpy(echo->bytes, writer->data, writer->size);
    if (own->echoes)
        own->last_echo->next = echo;
    else
        own->echoes = echo;
    own->last_echo = echo;
    rayi_neighbour_mark(own);
    return 0;
}

void rayi_own_pump(rayi_neighbour *own)
{
    for (rayi_echo *echo; (echo = own->echoes);) {
        own->echoes = echo->next;
        if (!rayi_neighbour_take(own, echo->kind, echo->bytes, echo->size))
            rayi_log(RAY_LOG_ERROR, "node.corrupt", own->name,
                     "this node has sent itself a message that cannot be (kind %u, %zu bytes)",
                     echo->size ? echo->bytes[0] : 0, echo->size);
        rayi_free(echo);
    }
}

void rayi_own_end(rayi_cluster *cluster)
{
    rayi_neighbour *own = cluster->own;

    if (!own)
        return;
    cluster->own = NULL; /* nothing is sent any more */
    for (rayi_echo *echo; (echo = own->echoes);) {
        own->echoes = echo->next;
        rayi_free(echo);
    }
    rayi_neighbour_end(own);
    rayi_neighbour_unref(own);
}
