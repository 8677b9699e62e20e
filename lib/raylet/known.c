/* Which nodes have a function: what is known of that, and what waits for it.
 *
 * Nobody is asked. The planner takes a node for one that has whatever functions there are until that node refuses a
 * task or an actor for want of one; then nothing of it goes there until the node says that it has it. Of this node it
 * is no different: a function that it lacks is sent to it as to any other (cluster/own.c), and refused. */
#include "raylet/inside.h"

/* ---- those of this node ---- */

static void forget_lacks(void *arg, const rayi_member *member)
{
    rayi_node *node = arg;
    rayi_planner_id id = rayi_plan_id(&member->id);

    rayi_planner_node_functions_changed(node->planner, &id);
}

/* What is new here may travel (RAY_LOAD_EVERYWHERE), so that who lacked it need not any more. */
static void on_grown(rayi_node *node, rayi_message *message)
{
    (void)message;
    atomic_store(&node->grown_posted, false);
    if (!node->cluster)
        return;
    rayi_cluster_functions_grew(node->cluster);
    rayi_roster_each(rayi_cluster_roster(node->cluster), forget_lacks, node);
    rayi_wide_forget_lacks(node);
    rayi_node_stir(node);
}

void rayi_known_grew(void *of)
{
    rayi_node *node = of;

    if (atomic_load(&node->running) && !atomic_exchange(&node->grown_posted, true)) {
        node->grown_message.handle = on_grown;
        (void)rayi_loop_post(node, &node->grown_message);
    }
}

/* ---- those of others, and what this one was found to lack ---- */

void rayi_known_there(void *of, const rayi_node_id *id, uint32_t function)
{
    rayi_node *node = of;
    rayi_planner_id there = rayi_plan_id(id);

    rayi_planner_node_knows(node->planner, &there, function);
    rayi_wide_knows(node, id, function);
    rayi_node_stir(node);
}
