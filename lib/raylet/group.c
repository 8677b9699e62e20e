/* Placement groups. A handle is a block of the lane whose content counts the ref that is done when the bundles are
 * reserved; the loop keeps a count of it until the group is removed. What goes on between nodes is in shared.c. */
#include "raylet/inside.h"

#include <stdio.h>
#include <string.h>

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

rayi_record *rayi_group_waits(const ray_placement_group *group)
{
    return group->head.content.pointer;
}

static size_t size_of(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

ray_placement_group *rayi_group_alloc(rayi_thread *thread, const char *name, const char *key)
{
    size_t size = size_of(name) + size_of(key);
    rayi_record *ready = rayi_record_new(thread);
    ray_placement_group *group =
        ready ? (ray_placement_group *)rayi_pool_alloc(thread, RAYI_ITEM, sizeof *group + size) : NULL;

    if (!group) {
        if (ready)
            rayi_record_unref(thread, ready);
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a placement group");
        return NULL;
    }
    memset((char *)group + sizeof group->head, 0, sizeof *group - sizeof group->head);
    group->head.kind = RAY_KIND_REF; /* the content goes with the last count */
    group->head.content.pointer = ready;
    group->number = rayi_executor_number(rayi_executor_of(thread));
    rayi_executor_write_id(rayi_executor_of(thread), group->id, group->number);
    group->name = name ? memcpy(group + 1, name, size_of(name)) : NULL;
    group->key = key ? memcpy((char *)(group + 1) + size_of(name), key, size_of(key)) : NULL;
    return group;
}

typedef struct making {
    ray_placement_group *group;
    rayi_scheduler_group what;
} making;

void rayi_group_link(rayi_node *node, ray_placement_group *group)
{
    rayi_record_ref(&group->head);
    group->next = node->groups;
    node->groups = group;
}

static int make_alone(rayi_node *node, const making *m)
{
    const char *ns = rayi_executor_ns(node->executor), *name = m->group->name;
    int r = name ? rayi_gcs_name_put(node->gcs, RAYI_NAME_GROUP, ns, name, (uintptr_t)m->group) : 0;

    if (r < 0)
        return rayi_fail(r,
                         r == RAY_ERR_EXISTS ? "a placement group of the name %s exists already"
                                             : "the name \"%s\" of a placement group is not usable",
                         name);
    r = rayi_scheduler_group_new(node->scheduler, &m->what, rayi_now_ms());
    if (r < 0 && name)
        (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_GROUP, ns, name, (uintptr_t)m->group);
    return r < 0 ? rayi_fail(r, "out of memory: a placement group") : 0;
}

static int make(rayi_node *node, void *arg)
{
    const making *m = arg;
    int r = node->bundles ? rayi_shared_make(node, m->group, &m->what) : make_alone(node, m);

    if (r == 0)
        rayi_group_link(node, m->group);
    return r;
}

int rayi_bundles_parse(const char *const *bundles, size_t count, rayi_resources **out)
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

static int check(size_t count, const ray_placement_group_options *options)
{
    if (count == 0 || count > RAYI_BUNDLES_MOST)
        return rayi_fail(RAY_ERR_ARGUMENT, "a placement group has 1 to 65,535 bundles, got %zu", count);
    if (options && (unsigned)options->strategy > RAY_STRICT_SPREAD)
        return rayi_fail(RAY_ERR_ARGUMENT, "unknown strategy %d of a placement group", (int)options->strategy);
    if (options && options->detached && !options->name)
        return rayi_fail(RAY_ERR_ARGUMENT, "a detached placement group needs a name, else nobody could find it");
    return 0;
}

ray_placement_group *rayi_group_new(rayi_thread *thread, const char *const *bundles, size_t count,
                                    const ray_placement_group_options *options)
{
    const char *name = options ? options->name : NULL;
    bool has_key = name && rayi_node_of(thread)->cluster;
    char key[RAYI_CALLED_KEY_SIZE];
    making m = {0};
    rayi_resources **parsed;
    int r = check(count, options);

    if (r == 0 && has_key)
        r = rayi_called_key(rayi_executor_of(thread), "a placement group", name, key);
    if (r < 0)
        return NULL;
    parsed = rayi_zalloc(count * sizeof *parsed);
    r = parsed ? rayi_bundles_parse(bundles, count, parsed) : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: bundles");
    if (r == 0) {
        m.group = rayi_group_alloc(thread, name, has_key ? key : NULL);
        r = m.group ? 0 : RAY_ERR_NO_MEMORY;
    }
    if (r == 0) {
        m.group->is_detached = options && options->detached;
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
    rayi_record_ref(rayi_group_waits(group));
    return rayi_group_waits(group);
}

/* ---- finding ---- */

typedef struct search {
    const char *name, *id; /* one of them */
    ray_placement_group *found;
    rayi_called there; /* else; number 0: nowhere */
} search;

/* A node that is in no cluster has the names itself. */
static int find_alone(rayi_node *node, search *s)
{
    uint64_t id;

    if (rayi_gcs_name_get(node->gcs, RAYI_NAME_GROUP, rayi_executor_ns(node->executor), s->name, &id) < 0)
        return rayi_fail(RAY_ERR_NOT_FOUND, "no placement group of the name %s is there", s->name);
    s->found = (ray_placement_group *)(uintptr_t)id;
    return 0;
}

static ray_placement_group *find_id(ray_placement_group *group, const char *id)
{
    while (group && strcmp(group->id, id) != 0)
        group = group->next;
    return group;
}

/* Of a group in which something runs here this node knows the group, or keeps a part that tells whose it is. */
static int find(rayi_node *node, void *arg)
{
    search *s = arg;
    const ray_placement_group *part = s->id ? find_id(node->parts, s->id) : NULL;
    int r = 0;

    if (s->name)
        r = find_alone(node, s);
    else
        s->found = find_id(node->groups, s->id);
    if (s->found)
        rayi_record_ref(&s->found->head);
    else if (part)
        s->there = (rayi_called){part->owner, part->known_as};
    else if (r == 0)
        r = rayi_fail(RAY_ERR_NOT_FOUND, "the placement group is not there any more");
    return r;
}

ray_placement_group *rayi_group_get(rayi_thread *thread, const char *name, const char *id)
{
    search s = {.name = name, .id = id};
    int r = name && rayi_node_of(thread)->cluster ? rayi_called_find_group(thread, name, &s.there)
                                                  : rayi_node_ask(thread, find, &s);

    return r < 0 ? NULL : s.found ? s.found : rayi_shared_get(thread, &s.there);
}

/* ---- its end ---- */

void rayi_group_end(rayi_node *node, ray_placement_group *group, int code, const char *why)
{
    ray_placement_group **at = &node->groups;
    char words[300];

    group->removed = true;
    while (*at != group)
        at = &(*at)->next;
    *at = group->next;
    if (group->name && !node->bundles)
        (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_GROUP, rayi_executor_ns(node->executor), group->name,
                                (uintptr_t)group);
    rayi_shared_unname(node, group);
    rayi_shared_ended(node, group);
    snprintf(words, sizeof words, "placement group %.200s: %s", group->name ? group->name : group->id, why);
    if (group->is_wide)
        rayi_wide_end(node, group, code, words);
    else
        (void)rayi_scheduler_group_remove(node->scheduler, group->number);
    if (!rayi_record_done(rayi_group_waits(group)))
        rayi_record_fail(node->thread, rayi_group_waits(group), rayi_error_new(code, NULL, NULL, "%s", words));
    rayi_record_unref(node->thread, &group->head);
}

typedef struct removing {
    ray_placement_group *group;
    rayi_called there; /* number 0: it is not known to anybody else */
} removing;

static int remove_group(rayi_node *node, void *arg)
{
    ray_placement_group *group = ((removing *)arg)->group;

    if (!group->removed)
        rayi_group_end(node, group, RAY_ERR_GROUP_REMOVED, "it was removed");
    rayi_node_pump(node); /* its tasks and actors have ended when the caller goes on */
    return 0;
}

static int look_there(rayi_node *node, void *arg)
{
    removing *r = arg;

    (void)node;
    r->there = (rayi_called){r->group->owner, r->group->known_as};
    return 0;
}

/* The head has done all that this node has asked of it before. */
static int await_head(rayi_thread *thread)
{
    rayi_answer answer;
    int r = rayi_head_ask(thread, RAYI_OP_HELLO, &(rayi_said){0}, &answer);

    if (r == 0)
        rayi_answer_drop(thread, &answer);
    return r;
}

/* Of another node's, which is not known yet while the head makes it. */
static int remove_there(rayi_thread *thread, removing *m)
{
    rayi_answer answer;
    int r = rayi_node_ask(thread, look_there, m);

    if (r == 0 && !m->there.number)
        r = await_head(thread);
    if (r == 0 && !m->there.number)
        r = rayi_node_ask(thread, look_there, m);
    if (r < 0 || !m->there.number)
        return r;
    r = rayi_node_ask_other(thread, &m->there.node, RAYI_OP_GROUP_END,
                            &(rayi_said){.bytes = &m->there.number, .size = sizeof m->there.number}, &answer);
    if (r == 0)
        rayi_answer_drop(thread, &answer);
    return r == RAY_ERR_NODE_DIED ? 0 : r;
}

int rayi_group_remove(rayi_thread *thread, ray_placement_group *group)
{
    removing m = {.group = group};
    int r = group->is_borrowed ? remove_there(thread, &m) : 0;

    if (r == 0)
        r = rayi_node_ask(thread, remove_group, &m);
    if (r == 0 && group->key && !group->is_borrowed && rayi_has_head_elsewhere(rayi_node_of(thread)))
        r = await_head(thread); /* its name is free now */
    return r;
}

void rayi_group_is_ready(rayi_node *node, uint64_t id)
{
    if (rayi_part_is_ready(node, id))
        return;
    for (ray_placement_group *group = node->groups; group; group = group->next)
        if (group->number == id && !rayi_record_done(rayi_group_waits(group)))
            rayi_record_complete(node->thread, rayi_group_waits(group));
}

void rayi_groups_stop(rayi_node *node)
{
    while (node->groups)
        rayi_group_end(node, node->groups, RAY_ERR_SHUTDOWN, "the runtime was shut down");
    rayi_shared_stop(node);
}
