/* Plain tasks of a node with CPUs of its own, in a cluster. The lane takes them first. What it has no free slot for
 * goes to the planner, and so perhaps elsewhere, as long as others have CPUs free; unless the tasks are so short that
 * the lane has run them sooner than the planner would have chosen a node. How long they are shows when the lane is
 * looked at now and then while tasks overflow: nothing is measured otherwise. */
#include "raylet/inside.h"

#include <string.h>

#define SHORT_US INT64_C(100) /* planned tasks cost some 5 µs of the loop here, and a round trip of some 50 */
#define LOOK_MS  2            /* enough to see thousands of short ones */
#define REST_MS  20           /* then the tasks may be others */

static void find_room(void *arg, const rayi_member *member)
{
    rayi_node *node = arg;

    if (member->state != RAYI_NODE_ALIVE || (member->flags & (RAYI_MEMBER_DRAINED | RAYI_MEMBER_DRIVER)) ||
        rayi_cluster_is_self(node->cluster, &member->id) || rayi_cluster_is_broken(node->cluster, member))
        return;
    for (uint32_t i = 0; i < member->resource_count; i++)
        if (member->resources[i].available >= RAYI_RESOURCE_UNIT && strcmp(member->resources[i].name, "CPU") == 0)
            node->overflow.has_room = true;
}

static void settle(rayi_node *node)
{
    rayi_executor_set_overflows(node->executor, node->overflow.has_room && !node->overflow.is_short);
}

void rayi_overflow_changed(rayi_node *node)
{
    node->overflow.has_room = false;
    rayi_roster_each(rayi_cluster_roster(node->cluster), find_room, node);
    settle(node);
}

void rayi_overflow_end(rayi_node *node)
{
    node->overflow.has_room = false;
    settle(node);
}

/* Are those short that have run since the last look? If fewer ran than the lane could have, it does not matter which
 * way they go. */
static bool are_short(const rayi_node *node, uint64_t ran, int64_t passed_ms)
{
    return (int64_t)ran * SHORT_US > passed_ms * 1000 * node->num_cpus;
}

void rayi_overflow_look(rayi_node *node)
{
    int64_t now = rayi_now_ms(), passed = now - node->overflow.looked_ms;
    uint64_t ran;

    if (!node->overflow.has_room || passed < (node->overflow.is_short ? REST_MS : LOOK_MS))
        return;
    ran = rayi_lane_progress(rayi_executor_lane(node->executor));
    node->overflow.is_short = are_short(node, ran - node->overflow.ran, passed);
    node->overflow.ran = ran;
    node->overflow.looked_ms = now;
    settle(node);
}

int64_t rayi_overflow_wake_ms(const rayi_node *node)
{
    return node->overflow.has_room && node->overflow.is_short ? node->overflow.looked_ms + REST_MS : INT64_MAX;
}
