/* Wishes: what a task or an actor asks of the scheduler. Parsed by the submitting thread, then the loop's. */
#include "raylet/inside.h"

#include <string.h>

int rayi_wish_fill(rayi_thread *thread, rayi_wish *wish, const char *resources, const rayi_resources *otherwise,
                   const char *labels, const char *node_id, bool node_soft, ray_placement_group *group, uint32_t bundle,
                   const char *who)
{
    char why[256];
    int r = rayi_terms_get(&rayi_node_of(thread)->known_terms, resources, otherwise, &wish->terms, why, sizeof why);

    wish->id = rayi_executor_number(rayi_executor_of(thread));
    if (r < 0)
        return rayi_fail(r, "%s: %s", who, why);
    wish->resources = rayi_terms_resources(wish->terms);
    if (labels) {
        r = rayi_selector_parse(rayi_heap, labels, &wish->labels, why, sizeof why);
        if (r < 0)
            return rayi_fail(r, "%s: %s", who, why);
    }
    if (node_id && !(wish->node_id = rayi_strdup(node_id)))
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the options of %s", who);
    wish->node_soft = node_soft;
    wish->bundle = bundle;
    if (group) {
        wish->group = rayi_group_number(group);
        wish->is_wide = group->is_wide; /* the owner of a borrowed one is known when it is placed */
        memcpy(wish->group_id, rayi_group_id(group), RAYI_ID_SIZE);
    } else if (bundle) {
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: bundle %u of no group: set .group, too", who, bundle);
    }
    return rayi_loop_start(rayi_node_of(thread));
}

void rayi_wish_empty(rayi_wish *wish)
{
    rayi_terms_unref(wish->terms);
    rayi_selector_free(rayi_heap, wish->labels);
    rayi_free(wish->node_id);
    rayi_free(wish->gpus);
}

int rayi_wish_add(rayi_node *node, rayi_wish *wish)
{
    const rayi_memory *memory = rayi_heap;

    HASH_ADD(hh, node->wishes, id, sizeof wish->id, wish);
    return wish->hh.tbl ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the table of what waits for resources");
}

void rayi_wish_remove(rayi_node *node, rayi_wish *wish)
{
    const rayi_memory *memory = rayi_heap;

    HASH_DEL(node->wishes, wish);
}

int rayi_wish_submit(rayi_node *node, rayi_wish *wish)
{
    rayi_scheduler_request request = {.id = wish->id,
                                      .resources = wish->resources,
                                      .labels = wish->labels,
                                      .node_id = wish->node_id,
                                      .node_soft = wish->node_soft,
                                      .priority = wish->priority,
                                      .group = wish->group,
                                      .bundle = wish->bundle,
                                      .lasts = wish->actor != NULL};

    if (wish->is_wide) { /* it was assigned to a part that is here, unless that has gone meanwhile */
        ray_placement_group *part = rayi_parts_here(node->cluster, &wish->owner, wish->part);
        request.group = part ? part->number : wish->group;
        request.bundle = wish->part_bundle;
        request.labels = NULL;
    }
    int r = rayi_scheduler_submit(node->scheduler, &request, rayi_now_ms());

    wish->submitted = r == 0;
    return r;
}
