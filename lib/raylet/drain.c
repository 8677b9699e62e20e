/* Draining: a node gets no new work, and leaves the cluster when it has nothing left to do. The head says so; the node
 * finds out when that is. */
#include "raylet/inside.h"

#include <string.h>

/* ---- the head ---- */

int rayi_drain(rayi_node *node, const char *id)
{
    const rayi_member *member;
    rayi_node_id which;

    if (strlen(id) != RAYI_ID_SIZE - 1 || strspn(id, "0123456789abcdef") != RAYI_ID_SIZE - 1)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected the id of a node, %d hexadecimal digits, got \"%.60s\"",
                         RAYI_ID_SIZE - 1, id);
    rayi_cluster_id_parse(id, &which);
    member = rayi_roster_get(rayi_cluster_roster(node->cluster), &which);
    if (member && (member->flags & (RAYI_MEMBER_HEAD | RAYI_MEMBER_DRIVER)))
        return rayi_fail(RAY_ERR_ARGUMENT, "node %s is %s: only workers can be drained", id,
                         member->flags & RAYI_MEMBER_HEAD ? "the head" : "a driver, which ends with its program");
    return rayi_cluster_drain(node->cluster, &which);
}

/* ---- the node ---- */

static void look_at_actor(void *arg, ray_actor *actor)
{
    bool *lives = arg;

    *lives |= rayi_actor_is_ours(actor) && strcmp(rayi_actor_state_text(actor), "DEAD") != 0;
}

bool rayi_drain_is_idle(void *of)
{
    rayi_node *node = of;
    rayi_member_resource items[RAYI_MEMBER_RESOURCES_MAX];
    uint32_t load, count = rayi_cluster_load(node->executor, node->scheduler, items, &load);
    bool lives = false;

    for (uint32_t i = 0; i < count; i++)
        if (items[i].available < items[i].total)
            return false;
    rayi_actors_for_each(node->executor, look_at_actor, &lives);
    return load == 0 && !lives && !node->wishes && !node->kept; /* these others are to keep first */
}

/* ---- the call ---- */

int rayi_node_drain(rayi_thread *thread, const char *node_id)
{
    rayi_node *node = rayi_node_of(thread);
    rayi_answer answer;
    rayi_writer writer;
    int r;

    if (!node->cluster && !node->observer)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "this node is in no cluster: there is none to drain");
    rayi_writer_init(&writer);
    rayi_put_text(&writer, node_id);
    r = writer.failed
            ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the id of a node")
            : rayi_head_ask(thread, RAYI_OP_DRAIN, &(rayi_said){.bytes = writer.data, .size = writer.size}, &answer);
    if (r == 0)
        rayi_answer_drop(thread, &answer);
    rayi_writer_fini(&writer);
    return r;
}
