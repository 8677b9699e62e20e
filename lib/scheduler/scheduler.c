/* Events: they change the state and note that there is something to decide. */
#include "scheduler/scheduler.h"

#include <inttypes.h>
#include <stdio.h>

#include "scheduler/inside.h"

#define GPU_MAX 1024

/* ---- making and unmaking ---- */

static int say(char *why, size_t why_size, int code, const char *words)
{
    if (why_size)
        snprintf(why, why_size, "%s", words);
    return code;
}

static int count_gpus(const rayi_resources *total, const char *gpu_ids, uint32_t *out, char *why, size_t why_size)
{
    int64_t gpus = (rayi_resources_amount(total, "GPU") + RAYI_RESOURCE_UNIT - 1) / RAYI_RESOURCE_UNIT;
    if (gpus > GPU_MAX)
        return say(why, why_size, RAY_ERR_LIMIT, "a node has at most 1024 GPUs");
    int64_t named = gpu_ids && *gpu_ids ? 1 : 0;
    for (const char *c = gpu_ids; c && *c; c++)
        named += *c == ',';
    if (gpu_ids && named != gpus) {
        if (why_size)
            snprintf(why, why_size, "expected the names of %" PRId64 " GPUs, but came \"%s\"", gpus, gpu_ids);
        return RAY_ERR_ARGUMENT;
    }
    *out = (uint32_t)gpus;
    return 0;
}

/* Kinds are CPU, GPU, then what else the node has. */
static void fill_kinds(rayi_scheduler *scheduler, const rayi_resources *total, char *room)
{
    scheduler->kinds[RAYI_CPU] = "CPU";
    scheduler->kinds[RAYI_GPU] = "GPU";
    scheduler->kind_count = RAYI_FIRST_OTHER;
    for (uint32_t i = 0; i < total->count; i++) {
        const rayi_resource *item = &total->items[i];
        uint32_t kind = strcmp(item->name, "CPU") == 0   ? RAYI_CPU
                        : strcmp(item->name, "GPU") == 0 ? RAYI_GPU
                                                         : scheduler->kind_count++;
        scheduler->totals[kind] = item->amount;
        scheduler->kinds[kind] = strcpy(room, item->name);
        room += strlen(room) + 1;
    }
}

/* "0,3" is cut at the commas, in a copy. */
static void fill_gpu_ids(rayi_scheduler *scheduler, const char *gpu_ids, char *room)
{
    for (uint32_t i = 0; i < scheduler->gpu_count; i++) {
        scheduler->gpu_ids[i] = room;
        if (!gpu_ids) {
            room += sprintf(room, "%" PRIu32, i) + 1;
            continue;
        }
        while (*gpu_ids == ' ')
            gpu_ids++;
        while (*gpu_ids && *gpu_ids != ',')
            *room++ = *gpu_ids++;
        *room++ = 0;
        gpu_ids += *gpu_ids == ',';
    }
}

static void fill_stock(rayi_scheduler *scheduler, void *arrays)
{
    rayi_stock_init(scheduler, &scheduler->stock, arrays);
    memcpy(scheduler->stock.available, scheduler->totals, scheduler->kind_count * sizeof(int64_t));
    int64_t left = scheduler->totals[RAYI_GPU];
    for (uint32_t i = 0; i < scheduler->gpu_count; i++, left -= RAYI_RESOURCE_UNIT)
        scheduler->stock.gpu_free[i] = RAYI_MIN(left, RAYI_RESOURCE_UNIT);
}

/* One block: totals, what lasts, stock, scratch, the two arrays of names, then texts. */
static int fill_block(rayi_scheduler *scheduler, const rayi_scheduler_options *options)
{
    const rayi_resources *total = options->total;
    size_t gpus = scheduler->gpu_count, kinds = total->count + (size_t)RAYI_FIRST_OTHER, names = 0;
    for (uint32_t i = 0; i < total->count; i++)
        names += strlen(total->items[i].name) + 1;
    size_t gpu_text = options->gpu_ids ? strlen(options->gpu_ids) + 2 : gpus * 5 + 1;
    size_t numbers = 2 * kinds + 2 * (kinds + gpus) + 3 * gpus, pointers = kinds + gpus;
    scheduler->block = rayi_memory_zalloc(scheduler->memory,
                                          numbers * sizeof(int64_t) + pointers * sizeof(char *) + names + 2 * gpu_text);
    if (!scheduler->block)
        return RAY_ERR_NO_MEMORY;
    scheduler->totals = scheduler->block;
    scheduler->lasting = scheduler->totals + kinds;
    int64_t *stock = scheduler->lasting + kinds;
    scheduler->gpu_scratch = stock + 2 * (kinds + gpus);
    scheduler->kinds = (const char **)(scheduler->gpu_scratch + 3 * gpus);
    scheduler->gpu_ids = scheduler->kinds + kinds;
    char *texts = (char *)(scheduler->gpu_ids + gpus);
    scheduler->gpu_text = texts + names;
    fill_kinds(scheduler, total, texts);
    fill_gpu_ids(scheduler, options->gpu_ids, scheduler->gpu_text + gpu_text);
    fill_stock(scheduler, stock);
    return 0;
}

int rayi_scheduler_new(const rayi_memory *memory, const rayi_scheduler_options *options, rayi_scheduler **out,
                       char *why, size_t why_size)
{
    uint32_t gpus;
    int r = count_gpus(options->total, options->gpu_ids, &gpus, why, why_size);
    if (r)
        return r;
    rayi_scheduler *scheduler = rayi_memory_zalloc(memory, sizeof *scheduler);
    if (!scheduler)
        return say(why, why_size, RAY_ERR_NO_MEMORY, "out of memory");
    scheduler->memory = memory;
    scheduler->gpu_count = gpus;
    scheduler->now_ms = scheduler->cpu_grant_ms = INT64_MIN / 2;
    scheduler->dirty = true; /* the lane gets its slots */
    scheduler->node_id = rayi_memory_strdup(memory, options->node_id);
    r = rayi_labels_parse(memory, options->labels ? options->labels->text : "", &scheduler->labels, why, why_size);
    if (!r)
        r = fill_block(scheduler, options);
    if (r || !scheduler->node_id) {
        rayi_scheduler_free(scheduler);
        return say(why, why_size, RAY_ERR_NO_MEMORY, "out of memory");
    }
    *out = scheduler;
    return 0;
}

void rayi_scheduler_free(rayi_scheduler *scheduler)
{
    if (!scheduler)
        return;
    const rayi_memory *memory = scheduler->memory;
    while (scheduler->requests)
        rayi_request_free(scheduler, scheduler->requests);
    while (scheduler->groups)
        rayi_group_destroy(scheduler, scheduler->groups);
    rayi_labels_free(memory, scheduler->labels);
    rayi_memory_free(memory, scheduler->candidates);
    rayi_memory_free(memory, scheduler->heap);
    rayi_memory_free(memory, scheduler->node_id);
    rayi_memory_free(memory, scheduler->block);
    rayi_memory_free(memory, scheduler);
}

/* ---- submitting ---- */

static int add_request(rayi_scheduler *scheduler, uint64_t id, size_t tail, rayi_request **out)
{
    const rayi_memory *memory = scheduler->memory;
    RAYI_ASSERT(!rayi_request_find(scheduler, id));
    /* The whole struct at least: fields next to each other may be read as one word, padding included. */
    size_t size = RAYI_MAX(sizeof(rayi_request), offsetof(rayi_request, tail) + tail);
    rayi_request *request = rayi_memory_zalloc(memory, size);
    if (!request)
        return RAY_ERR_NO_MEMORY;
    request->id = id;
    request->since_ms = scheduler->now_ms;
    HASH_ADD(hh, scheduler->requests, id, sizeof request->id, request);
    if (!request->hh.tbl) {
        rayi_memory_free(memory, request);
        return RAY_ERR_NO_MEMORY;
    }
    *out = request;
    return 0;
}

/* Why it can never run here, with a message in scheduler->message; 0: it may. */
static int judge_group(rayi_scheduler *scheduler, const rayi_scheduler_request *wanted, const rayi_group *group,
                       const rayi_shape *shape)
{
    char *out = scheduler->message, name[RAYI_RESOURCE_NAME_MAX + 3];
    size_t size = sizeof scheduler->message;
    if (!group || group->state == RAYI_GROUP_REMOVED) {
        snprintf(out, size, "placement group %" PRIu64 " was removed", wanted->group);
        return RAY_ERR_GROUP_REMOVED;
    }
    rayi_group_describe(group, name, sizeof name);
    if (wanted->bundle > group->bundle_count) {
        snprintf(out, size, "expected a bundle from 1 to %" PRIu32 " of placement group %s, but came %" PRIu32,
                 group->bundle_count, name, wanted->bundle);
        return RAY_ERR_UNSCHEDULABLE;
    }
    uint32_t from = wanted->bundle ? wanted->bundle : 1, to = wanted->bundle ? wanted->bundle : group->bundle_count;
    for (uint32_t i = from; i <= to; i++)
        if (rayi_shape_holds(group->bundles[i - 1].shape, shape))
            return 0;
    if (wanted->bundle)
        snprintf(out, size, "\"%s\" is more than the \"%s\" of bundle %" PRIu32 " of placement group %s", shape->text,
                 group->bundles[from - 1].shape->text, wanted->bundle, name);
    else
        snprintf(out, size, "\"%s\" is more than any bundle of placement group %s holds", shape->text, name);
    return RAY_ERR_UNSCHEDULABLE;
}

static int judge(rayi_scheduler *scheduler, const rayi_scheduler_request *wanted, const rayi_group *group,
                 const rayi_shape *shape)
{
    if (wanted->node_id && !wanted->node_soft && strcmp(wanted->node_id, scheduler->node_id) != 0) {
        snprintf(scheduler->message, sizeof scheduler->message, "node %s is not in the cluster", wanted->node_id);
        return RAY_ERR_UNSCHEDULABLE;
    }
    return wanted->group ? judge_group(scheduler, wanted, group, shape) : 0;
}

/* code and the message in scheduler->message wait in the outbox. */
static int refuse(rayi_scheduler *scheduler, uint64_t id, int code)
{
    size_t size = strlen(scheduler->message) + 1;
    rayi_request *request;
    int r = add_request(scheduler, id, size, &request);
    if (r)
        return r;
    memcpy(request->tail, scheduler->message, size);
    request->code = code;
    request->state = rayi_request_next(RAYI_REQUEST_WAITING, RAYI_REQUEST_REFUSE);
    rayi_request_append(&scheduler->outbox, request);
    return 0;
}

/* Takes over the count of shape. */
static int enqueue(rayi_scheduler *scheduler, const rayi_scheduler_request *wanted, rayi_group *group,
                   rayi_shape *shape)
{
    size_t gpus = shape->gpu_places * sizeof(uint16_t);
    rayi_demand_key key = {.shape = shape, .group = group, .bundle = wanted->bundle, .priority = wanted->priority};
    int r = rayi_choice_get(scheduler, wanted->labels, &key.choice);
    if (r) {
        rayi_shape_unref(scheduler, shape);
        return r;
    }
    rayi_demand *demand;
    r = rayi_demand_get(scheduler, &key, &demand);
    if (r)
        return r;
    rayi_request *request;
    r = add_request(scheduler, wanted->id, gpus, &request);
    if (r) {
        rayi_demand_drop_if_unused(scheduler, demand);
        return r;
    }
    request->lasts = wanted->lasts;
    rayi_demand_push(scheduler, demand, request);
    return 0;
}

int rayi_scheduler_submit(rayi_scheduler *scheduler, const rayi_scheduler_request *wanted, int64_t now_ms)
{
    scheduler->now_ms = RAYI_MAX(scheduler->now_ms, now_ms);
    rayi_group *group = wanted->group ? rayi_group_find(scheduler, wanted->group) : NULL;
    rayi_shape *shape;
    int r = rayi_shape_get(scheduler, wanted->resources, &shape);
    if (r)
        return r;
    int code = judge(scheduler, wanted, group, shape);
    if (code == 0)
        return enqueue(scheduler, wanted, group, shape);
    rayi_shape_unref(scheduler, shape);
    return refuse(scheduler, wanted->id, code);
}

/* ---- the rest of a request's life ---- */

bool rayi_scheduler_remove(rayi_scheduler *scheduler, uint64_t id)
{
    rayi_request *request = rayi_request_find(scheduler, id);
    if (!request || request->state == RAYI_REQUEST_GRANTED || request->state == RAYI_REQUEST_BLOCKED)
        return false;
    rayi_request_state before = request->state;
    if (before == RAYI_REQUEST_WAITING)
        rayi_demand_pull(scheduler, request);
    else
        rayi_request_unlink(&scheduler->outbox, request);
    if (before == RAYI_REQUEST_OFFERED)
        rayi_request_give_back(scheduler, request);
    request->state = rayi_request_next(before, RAYI_REQUEST_REMOVE);
    rayi_request_free(scheduler, request);
    return true;
}

static rayi_request *find_granted(const rayi_scheduler *scheduler, uint64_t id)
{
    rayi_request *request = rayi_request_find(scheduler, id);
    RAYI_ASSERT(request);
    return request;
}

void rayi_scheduler_finish(rayi_scheduler *scheduler, uint64_t id)
{
    rayi_request *request = find_granted(scheduler, id);
    rayi_group *group = request->demand ? request->demand->key.group : NULL;
    rayi_request_state after = rayi_request_next(request->state, RAYI_REQUEST_FINISH);
    if (request->lost)
        rayi_request_unlink(&scheduler->outbox, request);
    else if (group && group->state != RAYI_GROUP_REMOVED)
        rayi_request_unlink(&group->granted, request);
    rayi_request_give_back(scheduler, request);
    request->state = after;
    rayi_request_free(scheduler, request);
}

/* Its CPU changes hands: sign -1 away from the stock, +1 back to it. */
static void move_cpu(rayi_scheduler *scheduler, const rayi_request *request, int sign)
{
    int64_t cpu = request->demand->key.shape->cpu * sign;
    rayi_request_stock(scheduler, request)->available[RAYI_CPU] += cpu;
    if (request->shares)
        scheduler->lane.shared -= cpu;
    scheduler->dirty = true;
}

void rayi_scheduler_block(rayi_scheduler *scheduler, uint64_t id)
{
    rayi_request *request = find_granted(scheduler, id);
    request->state = rayi_request_next(request->state, RAYI_REQUEST_BLOCK);
    move_cpu(scheduler, request, 1);
}

void rayi_scheduler_resume(rayi_scheduler *scheduler, uint64_t id)
{
    rayi_request *request = find_granted(scheduler, id);
    request->state = rayi_request_next(request->state, RAYI_REQUEST_RESUME);
    move_cpu(scheduler, request, -1);
}

int rayi_scheduler_inherit(rayi_scheduler *scheduler, uint64_t id, int32_t priority)
{
    rayi_request *request = rayi_request_find(scheduler, id);
    if (!request || request->state != RAYI_REQUEST_WAITING || priority <= request->demand->key.priority)
        return 0;
    rayi_demand *from = request->demand, *to;
    rayi_demand_key key = from->key;
    key.priority = priority;
    rayi_shape_ref(key.shape);
    if (key.choice)
        key.choice->refs++;
    int r = rayi_demand_get(scheduler, &key, &to);
    if (r)
        return r;
    rayi_demand_pull(scheduler, request);
    rayi_demand_push(scheduler, to, request);
    rayi_demand_unref(scheduler, from);
    return 0;
}

/* ---- time and the lane ---- */

void rayi_scheduler_tick(rayi_scheduler *scheduler, int64_t now_ms)
{
    scheduler->now_ms = RAYI_MAX(scheduler->now_ms, now_ms);
    scheduler->warn = scheduler->candidate_count > 0;
    scheduler->dirty |= scheduler->candidate_count > 0;
}

int64_t rayi_scheduler_wake_ms(const rayi_scheduler *scheduler)
{
    int64_t wake = INT64_MAX;
    for (size_t i = 0; i < scheduler->candidate_count; i++) {
        rayi_candidate *candidate = scheduler->candidates[i];
        if (rayi_candidate_is_infeasible(candidate) && *rayi_candidate_warned(candidate))
            continue;
        int64_t since = rayi_candidate_since(candidate), waited = scheduler->now_ms - since, after;
        if (rayi_candidate_is_infeasible(candidate))
            after = RAYI_SCHEDULER_WARN_MS;
        else if (waited < RAYI_SCHEDULER_DRAIN_MS)
            after = RAYI_SCHEDULER_DRAIN_MS;
        else
            after = (waited / RAYI_SCHEDULER_AGE_MS + 1) * RAYI_SCHEDULER_AGE_MS;
        wake = RAYI_MIN(wake, since + after);
    }
    return wake;
}

void rayi_scheduler_lane_returned(rayi_scheduler *scheduler, uint32_t slots)
{
    rayi_lane_trade *lane = &scheduler->lane;
    RAYI_ASSERT(slots <= lane->held - lane->give); /* what it has, not what it is about to get */
    lane->held -= slots;
    lane->asked -= RAYI_MIN(lane->asked, slots);
    lane->ask = RAYI_MIN(lane->ask, lane->asked);
    scheduler->stock.available[RAYI_CPU] += (int64_t)slots * RAYI_RESOURCE_UNIT;
    scheduler->dirty = true;
}

void rayi_scheduler_lane_waiting(rayi_scheduler *scheduler, bool waiting)
{
    scheduler->dirty |= scheduler->lane.waiting != waiting;
    scheduler->lane.waiting = waiting;
}
