/* A member: what its seat in the cluster wants done. Its link to the head is dialled again and again; what that link
 * says of the table is what its neighbours are. */
#include "cluster/inside.h"

#define DIAL_MS 3000

static void send_message(rayi_cluster *cluster, const rayi_member_message *message)
{
    if (cluster->seat)
        rayi_connection_send_member(cluster->seat, message);
}

static void hang_up(rayi_cluster *cluster)
{
    if (cluster->seat)
        rayi_connection_close(cluster->seat);
}

static void dial(rayi_cluster *cluster)
{
    int r;

    hang_up(cluster);
    r = rayi_connection_dial(cluster, cluster->head_address, "head", DIAL_MS, RAYI_CONNECTION_SEAT, &cluster->seat);
    if (r == RAY_ERR_ARGUMENT) /* trying again would not help */
        cluster->node.refused(cluster->node.node, rayi_error_last());
    if (r < 0)
        rayi_membership_unlinked(cluster->membership, rayi_error_last_public()->message, rayi_cluster_now());
}

/* What it has begun for others, and what others do for it, counts no more. */
static void part(rayi_cluster *cluster)
{
    rayi_neighbour *n, *next;

    HASH_ITER (hh, cluster->neighbours, n, next)
        rayi_neighbour_die(n);
    rayi_neighbours_pump(cluster);
    rayi_broken_forget_all(cluster);
}

/* It was declared dead. */
static void fence(rayi_cluster *cluster)
{
    rayi_log(RAY_LOG_WARNING, "node.fenced", rayi_executor_node_id(cluster->node.executor),
             "the head has declared this node dead; it joins anew");
    rayi_park_fenced(cluster);
    part(cluster);
    rayi_park_end(cluster); /* what was held is nobody's any more */
    rayi_membership_discarded(cluster->membership, rayi_cluster_now());
}

static void end(rayi_cluster *cluster, const rayi_membership_action *action)
{
    int code = action->end == RAYI_MEMBERSHIP_REFUSED
                   ? action->refusal == RAYI_REFUSAL_VERSION ? RAY_ERR_VERSION : RAY_ERR_NODE_REFUSED
                   : RAY_ERR_HEAD_UNREACHABLE;

    rayi_error *why =
        action->end == RAYI_MEMBERSHIP_LEFT ? NULL : rayi_error_new(code, NULL, NULL, "%s", action->words);

    cluster->node.ended(cluster->node.node, why, action->end == RAYI_MEMBERSHIP_ENDED);
    if (why) /* nobody would say any more which of them have died */
        part(cluster);
    rayi_park_end(cluster);
}

void rayi_member_pump(rayi_cluster *cluster)
{
    rayi_membership_action action;
    bool changed = false, loads;

    while (rayi_membership_next(cluster->membership, rayi_cluster_now(), &action)) {
        switch (action.what) {
        case RAYI_MEMBERSHIP_PARK:
            rayi_park(cluster);
            break;
        case RAYI_MEMBERSHIP_UNPARK:
            rayi_unpark(cluster);
            break;
        case RAYI_MEMBERSHIP_FENCE:
            fence(cluster);
            break;
        case RAYI_MEMBERSHIP_SEND:
            send_message(cluster, action.message);
            break;
        case RAYI_MEMBERSHIP_HANG_UP:
            hang_up(cluster);
            break;
        case RAYI_MEMBERSHIP_END:
            end(cluster, &action);
            break;
        case RAYI_MEMBERSHIP_JOINED:
            cluster->incarnation = action.incarnation;
            cluster->is_drained = false;
            cluster->objects = RAYI_NOT_MOVED;
            cluster->node.joined(cluster->node.node);
            changed = true;
            break;
        case RAYI_MEMBERSHIP_DRAIN:
            cluster->is_drained = true;
            rayi_log(RAY_LOG_INFO, "node.drained", rayi_executor_node_id(cluster->node.executor),
                     "this node is being drained: it leaves the cluster when what it has is done");
            break;
        case RAYI_MEMBERSHIP_DIAL:
            dial(cluster);
            break;
        case RAYI_MEMBERSHIP_UNREACHABLE:
            rayi_log(RAY_LOG_WARNING, "head.unreachable", NULL, "%s", action.words);
            break;
        case RAYI_MEMBERSHIP_CHANGED:
            changed = true;
            break;
        }
    }
    rayi_park_look(cluster);
    loads = cluster->seen_version != rayi_membership_version(cluster->membership);
    cluster->seen_version = rayi_membership_version(cluster->membership);
    if (changed)
        rayi_cluster_sync(cluster);
    else if (loads) /* who is there is as before, but not what they have free */
        cluster->node.changed(cluster->node.node);
}

/* ---- the link to the head ---- */

void rayi_member_linked(rayi_connection *c)
{
    rayi_membership_linked(c->cluster->membership, rayi_cluster_now());
}

void rayi_member_unlinked(rayi_connection *c, rayi_link_why why)
{
    rayi_cluster *cluster = c->cluster;

    if (why == RAYI_LINK_AUTH || why == RAYI_LINK_VERSION) /* trying again would not help */
        cluster->node.refused(cluster->node.node, rayi_error_last());
    rayi_membership_unlinked(cluster->membership, rayi_link_why_text(why), rayi_cluster_now());
}

void rayi_member_take_message(rayi_connection *c, const void *bytes, size_t size)
{
    rayi_cluster *cluster = c->cluster;
    rayi_member_message message;
    int r = rayi_member_message_take(bytes, size, &message);

    if (r == 0)
        r = rayi_membership_take(cluster->membership, &message, rayi_cluster_now());
    if (r != RAY_ERR_ARGUMENT)
        return;
    rayi_membership_unlinked(cluster->membership, "it sends what no head sends", rayi_cluster_now());
    hang_up(cluster);
}

void rayi_member_take_hint(rayi_connection *c, const void *bytes, size_t size)
{
    rayi_cluster *cluster = c->cluster;

    (void)rayi_membership_hint(cluster->membership, bytes, size, rayi_cluster_now()); /* rubbish or not: only a hint */
    rayi_cluster_pump(cluster);
}

/* ---- start and end ---- */

int rayi_member_start(rayi_cluster *cluster, int64_t head_wait_ms)
{
    rayi_membership_options options = {
        .node = &cluster->self, .head = cluster->head_address, .give_up_ms = RAYI_MAX(head_wait_ms, 0)};
    int r;

    rayi_random_bytes(&options.seed, sizeof options.seed);
    r = rayi_membership_new(rayi_heap, &options, rayi_cluster_now(), &cluster->membership);
    return r == RAY_ERR_NO_MEMORY  ? rayi_fail(r, "out of memory: the table of nodes")
           : r == RAY_ERR_ARGUMENT ? rayi_fail(r, "this node's labels or resources are more than a cluster takes")
                                   : r;
}

void rayi_member_stop(rayi_cluster *cluster)
{
    rayi_membership_leave(cluster->membership, rayi_cluster_now());
    rayi_member_pump(cluster);
}
