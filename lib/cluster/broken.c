/* Neighbours that are broken: they have sent twice, in one session, what no node sends. The second time shows that it
 * was no accident, and what else they say is not to be trusted, so this node takes them for dead: the session ends,
 * with all that it was about. To the others, and to the head, they are what they were.
 *
 * That is so for the incarnation that it was. It is refused when it dials, by which it learns that its session with
 * this node has ended, and ends it there, too. A node that joins anew begins anew. */
#include "cluster/inside.h"

#include <stdio.h>

#define SPARE_BYTES 65536

struct rayi_broken {
    UT_hash_handle hh;
    rayi_node_id id;
    uint64_t incarnation;
};

static struct rayi_broken *find(const rayi_cluster *cluster, const rayi_node_id *id)
{
    struct rayi_broken *b;

    HASH_FIND(hh, cluster->broken, id, sizeof *id, b);
    return b;
}

static void forget(rayi_cluster *cluster, struct rayi_broken *b)
{
    const rayi_memory *memory = rayi_heap;

    HASH_DEL(cluster->broken, b);
    rayi_free(b);
}

bool rayi_broken_is(const rayi_cluster *cluster, const rayi_node_id *id, uint64_t incarnation)
{
    const struct rayi_broken *b = find(cluster, id);

    return b && incarnation <= b->incarnation;
}

bool rayi_cluster_is_broken(const rayi_cluster *cluster, const rayi_member *member)
{
    return rayi_broken_is(cluster, &member->id, member->incarnation);
}

void rayi_broken_prune(rayi_cluster *cluster)
{
    struct rayi_broken *b, *next;

    HASH_ITER (hh, cluster->broken, b, next)
        if (!rayi_roster_get(rayi_cluster_roster(cluster), &b->id))
            forget(cluster, b);
}

void rayi_broken_forget_all(rayi_cluster *cluster)
{
    struct rayi_broken *b, *next;

    HASH_ITER (hh, cluster->broken, b, next)
        forget(cluster, b);
}

/* Out of memory it is met again, and counted anew. */
void rayi_broken_remember(rayi_neighbour *n)
{
    const rayi_memory *memory = rayi_heap;
    struct rayi_broken *b = find(n->cluster, &n->id);

    if (b) {
        b->incarnation = n->incarnation;
        return;
    }
    b = rayi_zalloc(sizeof *b);
    if (!b)
        return;
    b->id = n->id;
    b->incarnation = n->incarnation;
    HASH_ADD(hh, n->cluster->broken, id, sizeof b->id, b);
    if (!b->hh.tbl)
        rayi_free(b);
}

/* What cannot be read for want of memory looks the same, and is nobody's fault. */
static bool is_memory_short(size_t size_bytes)
{
    void *spare = rayi_alloc(size_bytes + SPARE_BYTES);

    rayi_free(spare);
    return !spare;
}

void rayi_broken_message(rayi_neighbour *n, const void *bytes, size_t size)
{
    bool is_short = is_memory_short(size);
    char what[80];

    snprintf(what, sizeof what, "a message that cannot be (kind %u, %zu bytes)",
             size > 0 ? *(const unsigned char *)bytes : 0, size);
    rayi_log(RAY_LOG_ERROR, "node.corrupt", n->name, "node %s has sent %s%s", n->name, what,
             is_short ? ", or there was no memory for it" : "");
    if (!is_short)
        rayi_broken_count(n, what);
}

void rayi_broken_count(rayi_neighbour *n, const char *what)
{
    if (n->is_broken || ++n->num_faults < n->cluster->faults_most)
        return;
    n->is_broken = true;
    rayi_log(RAY_LOG_ERROR, "node.broken", n->name,
             "node %s has sent for the second time what no node sends, now %s: this node takes it for dead until it "
             "joins anew",
             n->name, what);
}
