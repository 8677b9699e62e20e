/* Requests, the demands they wait in, and the candidates that decisions look at. */
#include "scheduler/inside.h"

/* ---- one request ---- */

static rayi_request_state next_of_waiting(rayi_request_event event)
{
    switch (event) {
    case RAYI_REQUEST_GRANT:
        return RAYI_REQUEST_OFFERED;
    case RAYI_REQUEST_REFUSE:
        return RAYI_REQUEST_REFUSED;
    case RAYI_REQUEST_REMOVE:
        return RAYI_REQUEST_GONE;
    case RAYI_REQUEST_FETCH:
    case RAYI_REQUEST_BLOCK:
    case RAYI_REQUEST_RESUME:
    case RAYI_REQUEST_FINISH:
        break;
    }
    RAYI_ASSERT(!"a waiting request is granted, refused or removed");
}

static rayi_request_state next_of_offered(rayi_request_event event)
{
    switch (event) {
    case RAYI_REQUEST_REFUSE:
        return RAYI_REQUEST_REFUSED;
    case RAYI_REQUEST_FETCH:
        return RAYI_REQUEST_GRANTED;
    case RAYI_REQUEST_REMOVE:
        return RAYI_REQUEST_GONE;
    case RAYI_REQUEST_GRANT:
    case RAYI_REQUEST_BLOCK:
    case RAYI_REQUEST_RESUME:
    case RAYI_REQUEST_FINISH:
        break;
    }
    RAYI_ASSERT(!"an offered request is fetched, refused or removed");
}

static rayi_request_state next_of_granted(rayi_request_event event, bool blocked)
{
    switch (event) {
    case RAYI_REQUEST_BLOCK:
        RAYI_ASSERT(!blocked);
        return RAYI_REQUEST_BLOCKED;
    case RAYI_REQUEST_RESUME:
        RAYI_ASSERT(blocked);
        return RAYI_REQUEST_GRANTED;
    case RAYI_REQUEST_FINISH:
        return RAYI_REQUEST_GONE;
    case RAYI_REQUEST_GRANT:
    case RAYI_REQUEST_REFUSE:
    case RAYI_REQUEST_FETCH:
    case RAYI_REQUEST_REMOVE:
        break;
    }
    RAYI_ASSERT(!"a granted request blocks, resumes or finishes");
}

rayi_request_state rayi_request_next(rayi_request_state state, rayi_request_event event)
{
    switch (state) {
    case RAYI_REQUEST_WAITING:
        return next_of_waiting(event);
    case RAYI_REQUEST_OFFERED:
        return next_of_offered(event);
    case RAYI_REQUEST_REFUSED:
        RAYI_ASSERT(event == RAYI_REQUEST_FETCH || event == RAYI_REQUEST_REMOVE);
        return RAYI_REQUEST_GONE;
    case RAYI_REQUEST_GRANTED:
    case RAYI_REQUEST_BLOCKED:
        return next_of_granted(event, state == RAYI_REQUEST_BLOCKED);
    case RAYI_REQUEST_GONE:
        break;
    }
    RAYI_ASSERT(!"nothing happens to a request that is gone");
}

void rayi_request_append(rayi_request_list *list, rayi_request *request)
{
    request->next = NULL;
    request->prev = list->tail;
    *(list->tail ? &list->tail->next : &list->head) = request;
    list->tail = request;
}

void rayi_request_unlink(rayi_request_list *list, rayi_request *request)
{
    *(request->prev ? &request->prev->next : &list->head) = request->next;
    *(request->next ? &request->next->prev : &list->tail) = request->prev;
    request->prev = request->next = NULL;
}

rayi_request *rayi_request_find(const rayi_scheduler *scheduler, uint64_t id)
{
    rayi_request *request;
    HASH_FIND(hh, scheduler->requests, &id, sizeof id, request);
    return request;
}

rayi_stock *rayi_request_stock(rayi_scheduler *scheduler, const rayi_request *request)
{
    return request->bundle ? &request->demand->key.group->bundles[request->bundle - 1].stock : &scheduler->stock;
}

void rayi_request_give_back(rayi_scheduler *scheduler, rayi_request *request)
{
    const rayi_shape *shape = request->demand->key.shape;
    rayi_stock *stock = rayi_request_stock(scheduler, request);
    rayi_stock_give(scheduler, stock, shape, request->tail);
    if (request->lasts && request->bundle == 0)
        rayi_stock_note_lasting(scheduler, shape, -1);
    if (request->state == RAYI_REQUEST_BLOCKED)
        stock->available[RAYI_CPU] -= shape->cpu; /* was given back before */
    else if (request->shares)
        scheduler->lane.shared -= shape->cpu;
    scheduler->dirty = true;
}

void rayi_request_free(rayi_scheduler *scheduler, rayi_request *request)
{
    const rayi_memory *memory = scheduler->memory;
    HASH_DELETE(hh, scheduler->requests, request);
    if (request->demand)
        rayi_demand_unref(scheduler, request->demand);
    rayi_memory_free(memory, request);
}

/* ---- candidates ---- */

int rayi_candidate_make_room(rayi_scheduler *scheduler, size_t count)
{
    if (count <= scheduler->candidate_room)
        return 0;
    size_t room = RAYI_MAX(16, scheduler->candidate_room);
    while (room < count)
        room *= 2;
    rayi_candidate **candidates =
        rayi_memory_realloc(scheduler->memory, scheduler->candidates, room * sizeof *candidates);
    if (!candidates)
        return RAY_ERR_NO_MEMORY;
    scheduler->candidates = candidates;
    rayi_candidate **heap = rayi_memory_realloc(scheduler->memory, scheduler->heap, room * sizeof *heap);
    if (!heap)
        return RAY_ERR_NO_MEMORY; /* one array is larger than its room says, which harms nobody */
    scheduler->heap = heap;
    scheduler->candidate_room = room;
    return 0;
}

void rayi_candidate_add(rayi_scheduler *scheduler, rayi_candidate *candidate)
{
    if (candidate->index != RAYI_NOT_A_CANDIDATE)
        return;
    RAYI_ASSERT(scheduler->candidate_count < scheduler->candidate_room);
    candidate->index = (uint32_t)scheduler->candidate_count;
    scheduler->candidates[scheduler->candidate_count++] = candidate;
}

void rayi_candidate_drop(rayi_scheduler *scheduler, rayi_candidate *candidate)
{
    if (candidate->index == RAYI_NOT_A_CANDIDATE)
        return;
    rayi_candidate *last = scheduler->candidates[--scheduler->candidate_count];
    scheduler->candidates[candidate->index] = last;
    last->index = candidate->index;
    candidate->index = RAYI_NOT_A_CANDIDATE;
}

bool rayi_candidate_is_infeasible(const rayi_candidate *candidate)
{
    if (candidate->is_group)
        return ((const rayi_group *)candidate)->infeasible;
    const rayi_demand_key *key = &((const rayi_demand *)candidate)->key;
    return key->shape->short_of || (key->choice && key->choice->unmet);
}

bool *rayi_candidate_warned(rayi_candidate *candidate)
{
    if (candidate->is_group)
        return &((rayi_group *)candidate)->warned;
    const rayi_demand_key *key = &((const rayi_demand *)candidate)->key;
    return key->shape->short_of ? &key->shape->warned : &key->choice->warned;
}

int64_t rayi_candidate_since(const rayi_candidate *candidate)
{
    return candidate->is_group ? ((const rayi_group *)candidate)->since_ms
                               : ((const rayi_demand *)candidate)->list.head->since_ms;
}

int32_t rayi_candidate_priority(const rayi_candidate *candidate)
{
    return candidate->is_group ? 0 : ((const rayi_demand *)candidate)->key.priority;
}

/* ---- demands ---- */

static rayi_demand_serial serial_of(const rayi_demand_key *key)
{
    return (rayi_demand_serial){.shape = key->shape->serial,
                                .choice = key->choice ? key->choice->serial : 0,
                                .group = key->group ? key->group->id : 0,
                                .bundle = key->bundle,
                                .priority = key->priority};
}

static int make_demand(rayi_scheduler *scheduler, const rayi_demand_key *key, rayi_demand **out)
{
    const rayi_memory *memory = scheduler->memory;
    if (rayi_candidate_make_room(scheduler, HASH_COUNT(scheduler->demands) + HASH_COUNT(scheduler->groups) + 1))
        return RAY_ERR_NO_MEMORY;
    rayi_demand *demand = rayi_memory_zalloc(memory, sizeof *demand);
    if (!demand)
        return RAY_ERR_NO_MEMORY;
    demand->key = *key;
    demand->candidate.index = RAYI_NOT_A_CANDIDATE;
    demand->serial = serial_of(key);
    HASH_ADD(hh, scheduler->demands, serial, sizeof demand->serial, demand);
    if (!demand->hh.tbl) {
        rayi_memory_free(memory, demand);
        return RAY_ERR_NO_MEMORY;
    }
    if (key->group)
        key->group->refs++;
    *out = demand;
    return 0;
}

int rayi_demand_get(rayi_scheduler *scheduler, const rayi_demand_key *key, rayi_demand **out)
{
    int r = 0;
    rayi_demand_serial serial = serial_of(key);
    HASH_FIND(hh, scheduler->demands, &serial, sizeof serial, *out);
    if (!*out)
        r = make_demand(scheduler, key, out);
    if (r == 0 && (*out)->refs == 0) /* new: it keeps the counts */
        return 0;
    rayi_shape_unref(scheduler, key->shape);
    rayi_choice_unref(scheduler, key->choice);
    return r;
}

void rayi_demand_drop_if_unused(rayi_scheduler *scheduler, rayi_demand *demand)
{
    if (demand->refs)
        return;
    const rayi_memory *memory = scheduler->memory;
    rayi_candidate_drop(scheduler, &demand->candidate);
    HASH_DELETE(hh, scheduler->demands, demand);
    rayi_shape_unref(scheduler, demand->key.shape);
    rayi_choice_unref(scheduler, demand->key.choice);
    if (demand->key.group)
        rayi_group_unref(scheduler, demand->key.group);
    rayi_memory_free(memory, demand);
}

void rayi_demand_unref(rayi_scheduler *scheduler, rayi_demand *demand)
{
    demand->refs--;
    rayi_demand_drop_if_unused(scheduler, demand);
}

/* After whom `since_ms` belongs; NULL: before all. Comes from the nearer end: inherited work is old, new work is young.
 */
static rayi_request *find_place(const rayi_request_list *list, int64_t since_ms)
{
    if (!list->head || since_ms < list->head->since_ms)
        return NULL;
    if (list->tail->since_ms - since_ms <= since_ms - list->head->since_ms) {
        rayi_request *at = list->tail;
        while (at->since_ms > since_ms)
            at = at->prev;
        return at;
    }
    rayi_request *at = list->head;
    while (at->next && at->next->since_ms <= since_ms)
        at = at->next;
    return at;
}

void rayi_demand_push(rayi_scheduler *scheduler, rayi_demand *demand, rayi_request *request)
{
    rayi_request_list *list = &demand->list;
    rayi_request *after = find_place(list, request->since_ms);
    request->prev = after;
    request->next = after ? after->next : list->head;
    *(request->next ? &request->next->prev : &list->tail) = request;
    *(after ? &after->next : &list->head) = request;
    request->demand = demand;
    demand->waiting++;
    demand->refs++;
    rayi_candidate_add(scheduler, &demand->candidate);
    scheduler->dirty = true;
}

void rayi_demand_pull(rayi_scheduler *scheduler, rayi_request *request)
{
    rayi_demand *demand = request->demand;
    rayi_request_unlink(&demand->list, request);
    if (--demand->waiting == 0)
        rayi_candidate_drop(scheduler, &demand->candidate);
    scheduler->dirty = true;
}
