/* A node without a lease. It may have been declared dead, and its actors may have been restarted elsewhere: those that
 * have a name, or whose owners would restart them, start no call (lib/executor/park.c), and what calls of theirs come
 * to is not sent. All else goes on. When the head is reached in time all goes on where it was, and what was held is
 * sent; when it says that this node was declared dead, they end and it is dropped.
 *
 * The brain tells of the lease's end as soon as the loop looks (PARK). What is to be sent before that is held by the
 * clock; rayi_park_look then releases it if the lease has come back before anybody was told. */
#include "cluster/inside.h"

#include <inttypes.h>

static bool may_act(const rayi_cluster *cluster)
{
    return !cluster->is_parked &&
           (!cluster->membership || rayi_now_ms() < rayi_membership_lease_ms(cluster->membership));
}

bool rayi_park_holds(const rayi_hosted *h)
{
    return h->is_known && h->record->type == RAYI_CALL && !may_act(h->whose->cluster) &&
           rayi_call_parks((const rayi_task *)h->record);
}

void rayi_park_hold(rayi_cluster *cluster, rayi_finished *finished)
{
    finished->next = cluster->held;
    cluster->held = finished;
}

/* Streams: their items are not asked for while they are held. */
static void go_on_with_streams(rayi_cluster *cluster)
{
    rayi_neighbour *n, *next_n;
    rayi_hosted *h, *next;

    HASH_ITER (hh, cluster->neighbours, n, next_n)
        HASH_ITER (hh, n->hosted, h, next)
            if (h->flow)
                rayi_flow_go_on(h->flow);
}

static void release(rayi_cluster *cluster)
{
    rayi_finished *held = cluster->held;

    cluster->held = NULL;
    rayi_finished_tell(cluster, held);
    go_on_with_streams(cluster);
}

void rayi_park_end(rayi_cluster *cluster)
{
    cluster->is_parked = false;
    (void)rayi_actors_park(cluster->node.thread, false);
    release(cluster);
}

void rayi_park(rayi_cluster *cluster)
{
    uint32_t count;

    if (cluster->is_parked)
        return;
    cluster->is_parked = true;
    count = rayi_actors_park(cluster->node.thread, true);
    if (count > 0)
        rayi_log(RAY_LOG_WARNING, "node.parked", rayi_executor_node_id(cluster->node.executor),
                 "the head has not been reached for so long that this node may be taken for dead: %" PRIu32
                 " actors that have a name or may be restarted elsewhere start no calls until it is",
                 count);
}

void rayi_unpark(rayi_cluster *cluster)
{
    rayi_park_end(cluster);
    rayi_log(RAY_LOG_INFO, "node.unparked", rayi_executor_node_id(cluster->node.executor),
             "the head has been reached in time: all actors go on");
}

void rayi_park_fenced(rayi_cluster *cluster)
{
    rayi_actors_end_parked(cluster->node.thread);
}

void rayi_park_look(rayi_cluster *cluster)
{
    rayi_executor *executor = cluster->node.executor;

    rayi_executor_set_lease(executor, rayi_membership_lease_ms(cluster->membership));
    if (may_act(cluster) && rayi_executor_missed_lease(executor))
        rayi_park_end(cluster);
    else if (may_act(cluster) && cluster->held)
        release(cluster);
}
