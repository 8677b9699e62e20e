/* Placement groups on this node. Every bundle is a stock of its own, filled from the node's when the group is created;
 * what a removed group still runs goes back to the node as it finishes. */
#include <inttypes.h>
#include <stdio.h>

#include "scheduler/inside.h"

rayi_group *rayi_group_find(const rayi_scheduler *scheduler, uint64_t id)
{
    rayi_group *group;
    HASH_FIND(hh, scheduler->groups, &id, sizeof id, group);
    return group;
}

void rayi_group_describe(const rayi_group *group, char *out, size_t out_size)
{
    if (group->name)
        snprintf(out, out_size, "\"%s\"", group->name);
    else
        snprintf(out, out_size, "%" PRIu64, group->id);
}

static void free_group(rayi_scheduler *scheduler, rayi_group *group)
{
    for (uint32_t i = 0; i < group->bundle_count; i++)
        rayi_shape_unref(scheduler, group->bundles[i].shape);
    rayi_memory_free(scheduler->memory, group->sum);
    rayi_memory_free(scheduler->memory, group);
}

void rayi_group_destroy(rayi_scheduler *scheduler, rayi_group *group)
{
    const rayi_memory *memory = scheduler->memory;
    HASH_DELETE(hh, scheduler->groups, group);
    rayi_candidate_drop(scheduler, &group->candidate);
    free_group(scheduler, group);
}

void rayi_group_unref(rayi_scheduler *scheduler, rayi_group *group)
{
    if (--group->refs == 0)
        rayi_group_destroy(scheduler, group);
}

/* ---- making ---- */

/* One block: the group, its bundles, their stocks, their order, their GPUs, the name. */
static rayi_group *allocate(rayi_scheduler *scheduler, const rayi_scheduler_group *wanted)
{
    uint32_t count = wanted->bundle_count;
    size_t stock = rayi_stock_size(scheduler), gpus = scheduler->gpu_count * sizeof(uint16_t), order = sizeof(uint32_t);
    size_t name = wanted->name ? strlen(wanted->name) + 1 : 0;
    rayi_group *group = rayi_memory_zalloc(scheduler->memory,
                                           sizeof *group + count * (sizeof(rayi_bundle) + stock + order + gpus) + name);
    if (!group)
        return NULL;
    char *room = (char *)(group->bundles + count);
    for (uint32_t i = 0; i < count; i++, room += stock)
        rayi_stock_init(scheduler, &group->bundles[i].stock, room);
    group->order = (uint32_t *)(void *)room;
    room += count * order;
    for (uint32_t i = 0; i < count; i++, room += gpus)
        group->bundles[i].gpus = (uint16_t *)(void *)room;
    if (name)
        group->name = memcpy(room, wanted->name, name);
    group->id = wanted->id;
    group->strategy = wanted->strategy;
    group->bundle_count = count;
    group->candidate = (rayi_candidate){.is_group = true, .index = RAYI_NOT_A_CANDIDATE};
    group->refs = 1;
    return group;
}

static int fill_shapes(rayi_scheduler *scheduler, rayi_group *group, const rayi_resources *const *bundles)
{
    uint32_t count = group->bundle_count;
    rayi_shape **shapes = rayi_memory_alloc(scheduler->memory, count * sizeof *shapes);
    if (!shapes)
        return RAY_ERR_NO_MEMORY;
    int r = 0;
    for (uint32_t i = 0; i < count && r == 0; i++) {
        r = rayi_shape_get(scheduler, bundles[i], &group->bundles[i].shape);
        shapes[i] = group->bundles[i].shape;
    }
    if (r == 0)
        r = rayi_shape_sum(scheduler, shapes, count, &group->sum);
    rayi_memory_free(scheduler->memory, shapes);
    return r;
}

/* Bundles of many GPUs first: that packs best. */
static void sort_order(rayi_group *group)
{
    for (uint32_t i = 0; i < group->bundle_count; i++) {
        uint32_t at = i;
        for (; at > 0 && group->bundles[group->order[at - 1]].shape->gpu < group->bundles[i].shape->gpu; at--)
            group->order[at] = group->order[at - 1];
        group->order[at] = i;
    }
}

static bool spreads_too_far(const rayi_group *group)
{
    return group->strategy == RAYI_STRATEGY_STRICT_SPREAD && group->bundle_count > 1;
}

/* Whether the GPUs fit shows only on an unused node: three times 0.6 does not go into two. */
static bool fits_an_empty_node(rayi_scheduler *scheduler, const rayi_group *group)
{
    if (group->sum->short_of || spreads_too_far(group))
        return false;
    int64_t left = scheduler->totals[RAYI_GPU];
    int64_t *empty = scheduler->gpu_scratch + scheduler->gpu_count;
    for (uint32_t i = 0; i < scheduler->gpu_count; i++, left -= RAYI_RESOURCE_UNIT)
        empty[i] = RAYI_MIN(left, RAYI_RESOURCE_UNIT);
    rayi_stock stock = {.gpu_free = empty, .gpu_reserved = empty + scheduler->gpu_count};
    return rayi_group_gpus_fit(scheduler, group, &stock);
}

int rayi_scheduler_group_new(rayi_scheduler *scheduler, const rayi_scheduler_group *wanted, int64_t now_ms)
{
    const rayi_memory *memory = scheduler->memory;
    RAYI_ASSERT(wanted->id != 0 && wanted->bundle_count > 0 && !rayi_group_find(scheduler, wanted->id));
    if (rayi_candidate_make_room(scheduler, HASH_COUNT(scheduler->demands) + HASH_COUNT(scheduler->groups) + 1))
        return RAY_ERR_NO_MEMORY;
    rayi_group *group = allocate(scheduler, wanted);
    if (!group)
        return RAY_ERR_NO_MEMORY;
    int r = fill_shapes(scheduler, group, wanted->bundles);
    if (r)
        goto undo_group;
    HASH_ADD(hh, scheduler->groups, id, sizeof group->id, group);
    r = group->hh.tbl ? 0 : RAY_ERR_NO_MEMORY;
    if (r)
        goto undo_group;
    sort_order(group);
    scheduler->now_ms = RAYI_MAX(scheduler->now_ms, now_ms);
    group->since_ms = scheduler->now_ms;
    group->infeasible = !fits_an_empty_node(scheduler, group);
    rayi_candidate_add(scheduler, &group->candidate);
    scheduler->dirty = true;
    return 0;
undo_group:
    free_group(scheduler, group);
    return r;
}

/* ---- reserving ---- */

/* Places one bundle's GPUs as rayi_stock_take will: whole ones on unused GPUs, a fraction on the fullest with room. */
static bool place_gpus(const rayi_shape *shape, int64_t *free, uint32_t gpu_count)
{
    int64_t each = RAYI_MIN(shape->gpu, RAYI_RESOURCE_UNIT);
    for (uint32_t place = 0; place < shape->gpu_places; place++) {
        uint32_t best = UINT32_MAX;
        for (uint32_t i = 0; i < gpu_count; i++)
            if (free[i] >= each && (best == UINT32_MAX || free[i] < free[best]))
                best = i;
        if (best == UINT32_MAX)
            return false;
        free[best] -= each;
    }
    return true;
}

bool rayi_group_gpus_fit(rayi_scheduler *scheduler, const rayi_group *group, const rayi_stock *stock)
{
    int64_t *left = scheduler->gpu_scratch;
    for (uint32_t i = 0; i < scheduler->gpu_count; i++)
        left[i] = stock->gpu_free[i] - stock->gpu_reserved[i];
    for (uint32_t i = 0; i < group->bundle_count; i++)
        if (!place_gpus(group->bundles[group->order[i]].shape, left, scheduler->gpu_count))
            return false;
    return true;
}

void rayi_group_create(rayi_scheduler *scheduler, rayi_group *group)
{
    RAYI_ASSERT(group->state == RAYI_GROUP_PENDING && !group->infeasible);
    for (uint32_t i = 0; i < group->bundle_count; i++) {
        rayi_bundle *bundle = &group->bundles[group->order[i]];
        rayi_stock_take(scheduler, &scheduler->stock, bundle->shape, bundle->gpus);
        rayi_stock_give(scheduler, &bundle->stock, bundle->shape, bundle->gpus);
    }
    rayi_stock_note_lasting(scheduler, group->sum, 1);
    group->state = RAYI_GROUP_CREATED;
    group->ready = true;
    scheduler->ready_groups++;
    rayi_candidate_drop(scheduler, &group->candidate);
    scheduler->dirty = true; /* its requests may go on */
}

/* ---- removing ---- */

static void refuse_waiting(rayi_scheduler *scheduler, const rayi_group *group)
{
    for (rayi_demand *demand = scheduler->demands; demand; demand = demand->hh.next) {
        while (demand->key.group == group && demand->list.head) {
            rayi_request *request = demand->list.head;
            rayi_demand_pull(scheduler, request);
            request->state = rayi_request_next(request->state, RAYI_REQUEST_REFUSE);
            rayi_request_append(&scheduler->outbox, request);
        }
    }
}

static void refuse_offered(rayi_scheduler *scheduler, const rayi_group *group)
{
    for (rayi_request *request = scheduler->outbox.head; request; request = request->next) {
        if (request->state != RAYI_REQUEST_OFFERED || request->demand->key.group != group)
            continue;
        rayi_request_give_back(scheduler, request);
        request->state = rayi_request_next(request->state, RAYI_REQUEST_REFUSE);
    }
}

static void report_granted(rayi_scheduler *scheduler, rayi_group *group)
{
    while (group->granted.head) {
        rayi_request *request = group->granted.head;
        rayi_request_unlink(&group->granted, request);
        request->bundle = 0; /* what it holds is the node's from now on, */
        request->lasts = 0;  /* and it ends soon */
        request->lost = 1;
        rayi_request_append(&scheduler->outbox, request);
    }
}

bool rayi_scheduler_group_remove(rayi_scheduler *scheduler, uint64_t id)
{
    rayi_group *group = rayi_group_find(scheduler, id);
    if (!group || group->state == RAYI_GROUP_REMOVED)
        return false;
    refuse_offered(scheduler, group);
    refuse_waiting(scheduler, group);
    report_granted(scheduler, group);
    for (uint32_t i = 0; i < group->bundle_count; i++)
        rayi_stock_merge(scheduler, &scheduler->stock, &group->bundles[i].stock);
    if (group->state == RAYI_GROUP_CREATED)
        rayi_stock_note_lasting(scheduler, group->sum, -1);
    if (group->ready)
        scheduler->ready_groups--;
    group->ready = false;
    group->state = RAYI_GROUP_REMOVED;
    rayi_candidate_drop(scheduler, &group->candidate);
    scheduler->dirty = true;
    rayi_group_unref(scheduler, group);
    return true;
}

bool rayi_scheduler_group_has_room(rayi_scheduler *scheduler, uint64_t id, uint32_t bundle,
                                   const rayi_resources *resources)
{
    const rayi_group *group = rayi_group_find(scheduler, id);
    bool has_room = false;
    rayi_shape *shape;
    if (!group || bundle > group->bundle_count)
        return false;
    if (rayi_shape_get(scheduler, resources, &shape) < 0)
        return true;
    for (uint32_t i = bundle ? bundle : 1; i <= (bundle ? bundle : group->bundle_count); i++)
        has_room |= rayi_stock_fits(scheduler, &group->bundles[i - 1].stock, shape);
    rayi_shape_unref(scheduler, shape);
    return has_room;
}
