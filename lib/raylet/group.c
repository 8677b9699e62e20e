/* Placement groups. A handle is a block of the lane whose content counts the ref that is done when the bundles are
 * reserved; the loop keeps a count of it until the group is removed. */
#include "raylet/inside.h"

#include <string.h>

struct ray_placement_group {
    rayi_record head; /* refs are the handle's; content.pointer: the ref that waits */
    uint64_t number;
    char id[RAYI_ID_SIZE];
    bool removed;                     /* the loop's */
    struct ray_placement_group *next; /* node.groups */
    char *name;                       /* lies behind; or NULL */
};

uint64_t rayi_group_number(const ray_placement_group *group)
{
    return group->number;
}
const char *rayi_group_id(const ray_placement_group *group)
{
    return group->id;
}
rayi_record *rayi_group_record(ray_placement_group *group)
{
    return &group->head;
}

static rayi_record *ready_of(ray_placement_group *group)
{
    return group->head.content.pointer;
}

static ray_placement_group *group_alloc(rayi_thread *thread, const char *name)
{
    size_t size = name ? strlen(name) + 1 : 0;
    rayi_record *ready = rayi_record_new(thread);
    ray_placement_group *group =
        ready ? (ray_placement_group *)rayi_pool_alloc(thread, RAYI_ITEM, sizeof *group + size) : NULL;

    if (!group) {
        if (ready)
            rayi_record_unref(thread, ready);
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a placement group");
        return NULL;
    }
    group->head.kind = RAY_KIND_REF; /* the content goes with the last count */
    group->head.content.pointer = ready;
    group->number = rayi_executor_number(rayi_executor_of(thread));
    rayi_executor_write_id(rayi_executor_of(thread), group->id, group->number);
    group->removed = false;
    group->next = NULL;
    group->name = name ? memcpy(group + 1, name, size) : NULL;
    return group;
}

typedef struct making {
    ray_placement_group *group;
    rayi_scheduler_group what;
} making;

static int make(rayi_node *node, void *arg)
{
    making *m = arg;
    const char *ns = rayi_executor_ns(node->executor);
    int r = 0;

    if (m->group->name) {
        r = rayi_gcs_name_put(node->gcs, RAYI_NAME_GROUP, ns, m->group->name, (uintptr_t)m->group);
        if (r < 0)
            return rayi_fail(r,
                             r == RAY_ERR_EXISTS ? "a placement group of the name %s exists already"
                                                 : "the name \"%s\" of a placement group is not usable",
                             m->group->name);
    }
    r = rayi_scheduler_group_new(node->scheduler, &m->what, rayi_now_ms());
    if (r < 0) {
        if (m->group->name)
            (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_GROUP, ns, m->group->name, (uintptr_t)m->group);
        return rayi_fail(r, "out of memory: a placement group");
    }
    rayi_record_ref(&m->group->head);
    m->group->next = node->groups;
    node->groups = m->group;
    return 0;
}

static int parse_bundles(const char *const *bundles, size_t count, rayi_resources **out)
{
    char why[256];

    for (size_t i = 0; i < count; i++) {
        int r = bundles[i] ? rayi_resources_parse(rayi_heap, bundles[i], NULL, &out[i], why, sizeof why)
                           : rayi_fail(RAY_ERR_ARGUMENT, "bundle %zu is NULL", i + 1);
        if (r < 0)
            return bundles[i] ? rayi_fail(r, "bundle %zu \"%s\": %s", i + 1, bundles[i], why) : r;
        if (out[i]->count == 0)
            return rayi_fail(RAY_ERR_ARGUMENT, "bundle %zu asks for nothing: expected resources as in \"CPU=1\"",
                             i + 1);
    }
    return 0;
}

ray_placement_group *rayi_group_new(rayi_thread *thread, const char *const *bundles, size_t count,
                                    const ray_placement_group_options *options)
{
    making m = {0};
    rayi_resources **parsed;
    int r;

    if (count == 0 || count > 65535) {
        (void)rayi_fail(RAY_ERR_ARGUMENT, "a placement group has 1 to 65,535 bundles, got %zu", count);
        return NULL;
    }
    if (options && (unsigned)options->strategy > RAY_STRICT_SPREAD) {
        (void)rayi_fail(RAY_ERR_ARGUMENT, "unknown strategy %d of a placement group", (int)options->strategy);
        return NULL;
    }
    if (options && options->detached && !options->name) {
        (void)rayi_fail(RAY_ERR_ARGUMENT, "a detached placement group needs a name, else nobody could find it");
        return NULL;
    }
    parsed = rayi_zalloc(count * sizeof *parsed);
    r = parsed ? parse_bundles(bundles, count, parsed) : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: bundles");
    if (r == 0) {
        m.group = group_alloc(thread, options ? options->name : NULL);
        r = m.group ? 0 : RAY_ERR_NO_MEMORY;
    }
    if (r == 0) {
        m.what = (rayi_scheduler_group){.id = m.group->number,
                                        .name = m.group->name,
                                        .bundles = (const rayi_resources *const *)parsed,
                                        .bundle_count = (uint32_t)count,
                                        .strategy = options ? (rayi_strategy)options->strategy : RAYI_STRATEGY_PACK};
        r = rayi_node_ask(thread, make, &m);
    }
    for (size_t i = 0; parsed && i < count; i++)
        rayi_resources_free(rayi_heap, parsed[i]);
    rayi_free(parsed);
    if (r < 0 && m.group)
        rayi_record_unref(thread, &m.group->head);
    return r < 0 ? NULL : m.group;
}

rayi_record *rayi_group_ready(rayi_thread *thread, ray_placement_group *group)
{
    (void)thread;
    rayi_record_ref(ready_of(group));
    return ready_of(group);
}

typedef struct search {
    const char *name;
    ray_placement_group *found;
} search;

static int find(rayi_node *node, void *arg)
{
    search *s = arg;
    uint64_t id;

    if (rayi_gcs_name_get(node->gcs, RAYI_NAME_GROUP, rayi_executor_ns(node->executor), s->name, &id) < 0)
        return rayi_fail(RAY_ERR_NOT_FOUND, "no placement group of the name %s", s->name);
    s->found = (ray_placement_group *)(uintptr_t)id;
    rayi_record_ref(&s->found->head);
    return 0;
}

ray_placement_group *rayi_group_get(rayi_thread *thread, const char *name)
{
    search s = {.name = name};

    return rayi_node_ask(thread, find, &s) == 0 ? s.found : NULL;
}

static void end(rayi_node *node, ray_placement_group *group, int code, const char *why)
{
    ray_placement_group **at = &node->groups;

    group->removed = true;
    while (*at != group)
        at = &(*at)->next;
    *at = group->next;
    if (group->name)
        (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_GROUP, rayi_executor_ns(node->executor), group->name,
                                (uintptr_t)group);
    (void)rayi_scheduler_group_remove(node->scheduler, group->number);
    if (!rayi_record_done(ready_of(group)))
        rayi_record_fail(
            node->thread, ready_of(group),
            rayi_error_new(code, NULL, NULL, "placement group %s: %s", group->name ? group->name : group->id, why));
    rayi_record_unref(node->thread, &group->head);
}

static int remove_group(rayi_node *node, void *arg)
{
    ray_placement_group *group = arg;

    if (!group->removed)
        end(node, group, RAY_ERR_GROUP_REMOVED, "it was removed");
    rayi_node_pump(node); /* its tasks and actors have ended when the caller goes on */
    return 0;
}

int rayi_group_remove(rayi_thread *thread, ray_placement_group *group)
{
    return rayi_node_ask(thread, remove_group, group);
}

void rayi_group_is_ready(rayi_node *node, uint64_t id)
{
    for (ray_placement_group *group = node->groups; group; group = group->next)
        if (group->number == id && !rayi_record_done(ready_of(group)))
            rayi_record_complete(node->thread, ready_of(group));
}

void rayi_groups_stop(rayi_node *node)
{
    while (node->groups)
        end(node, node->groups, RAY_ERR_SHUTDOWN, "the runtime was shut down");
}
