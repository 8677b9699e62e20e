/* Events, and the rounds of decisions that they lead to. In a round the queues whose place may have changed since they
 * were blocked are served in order, each until its head finds no place: placing only ever takes, so nothing that was
 * blocked in a round need be looked at again in it. An event ends the round. */
#include "scheduler/planner.h"

#include "scheduler/planner_inside.h"

#define FIRST_ROOM 64

/* ---- making and unmaking ---- */

int rayi_planner_new(const rayi_memory *memory, uint64_t seed, rayi_planner **out)
{
    rayi_planner *planner = rayi_memory_zalloc(memory, sizeof *planner);
    if (!planner)
        return RAY_ERR_NO_MEMORY;
    planner->memory = memory;
    planner->seed = seed;
    planner->now_ms = INT64_MIN / 2;
    planner->room = FIRST_ROOM;
    rayi_text_init(&planner->scratch, memory);
    if (rayi_planner_column_init(planner, &planner->slots, sizeof(rayi_planner_peer *)) ||
        rayi_planner_column_init(planner, &planner->log, 2 * sizeof(uint32_t))) {
        rayi_planner_free(planner);
        return RAY_ERR_NO_MEMORY;
    }
    *out = planner;
    return 0;
}

static void free_task(rayi_planner *planner, rayi_planner_task *task)
{
    const rayi_memory *memory = planner->memory;
    HASH_DELETE(hh, planner->tasks, task);
    rayi_planner_queue_unref(planner, task->queue);
    rayi_memory_free(memory, task);
}

void rayi_planner_free(rayi_planner *planner)
{
    if (!planner)
        return;
    const rayi_memory *memory = planner->memory;
    while (planner->tasks) {
        rayi_planner_task *task = planner->tasks;
        if (task->state == RAYI_PLANNER_IS_WAITING)
            rayi_planner_queue_pull(planner, task);
        else if (task->state == RAYI_PLANNER_IS_ASSIGNED)
            rayi_planner_peer_give(planner, task->peer, task->queue->need);
        free_task(planner, task);
    }
    while (planner->queues)
        rayi_planner_queue_free(planner, planner->queues);
    while (planner->peers) {
        rayi_planner_peer *peer = planner->peers;
        HASH_DELETE(hh, planner->peers, peer);
        rayi_planner_peer_free(planner, peer);
    }
    rayi_planner_column_fini(planner, &planner->slots);
    rayi_planner_column_fini(planner, &planner->log);
    rayi_text_fini(&planner->scratch);
    rayi_memory_free(memory, planner->candidates);
    rayi_memory_free(memory, planner->heap);
    rayi_memory_free(memory, planner);
}

/* ---- events ---- */

static void pass_time(rayi_planner *planner, int64_t now_ms)
{
    planner->now_ms = RAYI_MAX(planner->now_ms, now_ms);
}

static rayi_planner_task *find(const rayi_planner *planner, uint64_t id)
{
    rayi_planner_task *task;
    HASH_FIND(hh, planner->tasks, &id, sizeof id, task);
    return task;
}

void rayi_planner_unblock_all(rayi_planner *planner)
{
    for (size_t i = 0; i < planner->candidate_count; i++)
        ((rayi_planner_queue *)planner->candidates[i])->blocked = false;
    planner->dirty = true;
}

static void refuse(rayi_planner *planner, rayi_planner_task *task)
{
    task->state = rayi_planner_state_next(task->state, RAYI_PLANNER_ON_REFUSE);
    DL_APPEND(planner->refused, task);
}

void rayi_planner_refuse_all(rayi_planner *planner, rayi_planner_queue *queue)
{
    while (queue->waiting) {
        rayi_planner_task *task = rayi_planner_queue_head(queue);
        rayi_planner_queue_pull(planner, task);
        refuse(planner, task);
    }
}

/* Those with most, most first, of equal ones the first. */
static void keep_holders(rayi_planner_task *task, const rayi_planner_request *request)
{
    for (uint32_t i = 0; i < request->holder_count; i++) {
        rayi_planner_holder holder = request->holders[i];
        uint32_t at = task->holder_count;
        if (holder.bytes <= RAYI_PLANNER_LOCAL_BYTES)
            continue;
        if (at < RAYI_PLANNER_LOCAL_MOST)
            task->holder_count++;
        else if (task->holders[--at].bytes >= holder.bytes)
            continue;
        for (; at > 0 && task->holders[at - 1].bytes < holder.bytes; at--)
            task->holders[at] = task->holders[at - 1];
        task->holders[at] = holder;
    }
}

static rayi_planner_task *make_task(rayi_planner *planner, const rayi_planner_request *request)
{
    const rayi_memory *memory = planner->memory;
    RAYI_ASSERT(!find(planner, request->id));
    size_t holders = RAYI_MIN(request->holder_count, RAYI_PLANNER_LOCAL_MOST);
    rayi_planner_task *task = rayi_memory_alloc(memory, sizeof *task + holders * sizeof(rayi_planner_holder));
    if (!task)
        return NULL;
    *task = (rayi_planner_task){.id = request->id, .since_ms = planner->now_ms};
    HASH_ADD(hh, planner->tasks, id, sizeof task->id, task);
    if (!task->hh.tbl) {
        rayi_memory_free(memory, task);
        return NULL;
    }
    keep_holders(task, request);
    return task;
}

/* Is it for a node alone that is not in the cluster (yet)? */
static bool is_of_stranger(const rayi_planner *planner, const rayi_planner_queue *queue)
{
    return queue->key.tie == RAYI_PLANNER_HARD && !rayi_planner_peer_find(planner, &queue->key.home);
}

int rayi_planner_submit(rayi_planner *planner, const rayi_planner_request *request, int64_t now_ms)
{
    rayi_planner_queue *queue;
    pass_time(planner, now_ms);
    int r = rayi_planner_queue_get(planner, request, &queue);
    if (r)
        return r;
    rayi_planner_task *task = make_task(planner, request);
    if (!task) {
        rayi_planner_queue_unref(planner, queue);
        return RAY_ERR_NO_MEMORY;
    }
    if (is_of_stranger(planner, queue) && !request->node_may_come) {
        task->queue = queue;
        refuse(planner, task);
    } else {
        rayi_planner_queue_push(planner, queue, task, false);
    }
    return 0;
}

bool rayi_planner_remove(rayi_planner *planner, uint64_t id)
{
    rayi_planner_task *task = find(planner, id);
    if (!task || task->state == RAYI_PLANNER_IS_ASSIGNED)
        return false;
    if (task->state == RAYI_PLANNER_IS_WAITING)
        rayi_planner_queue_pull(planner, task);
    else
        DL_DELETE(planner->refused, task);
    task->state = rayi_planner_state_next(task->state, RAYI_PLANNER_ON_REMOVE);
    free_task(planner, task);
    planner->dirty = true;
    return true;
}

/* How long it ran; what stood in line before it took as long each. */
static void note_end(rayi_planner *planner, rayi_planner_task *task)
{
    int64_t took_ms = RAYI_MIN(planner->now_ms - task->assigned_ms, 1000000);
    uint32_t took_us = (uint32_t)took_ms * 1000;
    rayi_planner_function_note_run(task->queue->function, took_us / task->depth);
    if (!task->peer->gone)
        rayi_planner_peer_note_end(task->peer, took_us, planner->now_ms);
}

void rayi_planner_finished(rayi_planner *planner, uint64_t id, int64_t now_ms)
{
    rayi_planner_task *task = find(planner, id);
    RAYI_ASSERT(task);
    pass_time(planner, now_ms);
    task->state = rayi_planner_state_next(task->state, RAYI_PLANNER_ON_FINISH);
    note_end(planner, task);
    rayi_planner_peer_give(planner, task->peer, task->queue->need);
    free_task(planner, task);
    planner->dirty = true;
}

static void note_return(rayi_planner *planner, rayi_planner_queue *queue, rayi_planner_peer *peer,
                        rayi_planner_return why)
{
    switch (why) {
    case RAYI_PLANNER_FULL:
        rayi_planner_peer_note_full(peer, queue->need);
        return;
    case RAYI_PLANNER_LACKS:
        rayi_planner_function_mark(queue->function, peer->slot, true);
        rayi_planner_unblock_all(planner);
        return;
    case RAYI_PLANNER_DRAINING:
        peer->draining = true;
        rayi_planner_unblock_all(planner);
        return;
    }
}

void rayi_planner_returned(rayi_planner *planner, uint64_t id, rayi_planner_return why, int64_t now_ms)
{
    rayi_planner_task *task = find(planner, id);
    RAYI_ASSERT(task);
    pass_time(planner, now_ms);
    task->state = rayi_planner_state_next(task->state, RAYI_PLANNER_ON_RETURN);
    rayi_planner_queue *queue = task->queue;
    rayi_planner_peer *peer = task->peer;
    bool gone = peer->gone;
    task->peer = NULL;
    rayi_planner_peer_give(planner, peer, queue->need);
    if (!gone)
        note_return(planner, queue, peer, why);
    rayi_planner_queue_push(planner, queue, task, true);
    if (is_of_stranger(planner, queue))
        rayi_planner_refuse_all(planner, queue);
}

int rayi_planner_inherit(rayi_planner *planner, uint64_t id, int32_t priority)
{
    rayi_planner_task *task = find(planner, id);
    if (!task || task->state != RAYI_PLANNER_IS_WAITING || priority <= task->queue->key.priority)
        return 0;
    rayi_planner_queue *from = task->queue, *to;
    int r = rayi_planner_queue_raised(planner, from, priority, &to);
    if (r)
        return r;
    rayi_planner_queue_pull(planner, task);
    rayi_planner_queue_push(planner, to, task, true);
    rayi_planner_queue_unref(planner, from);
    return 0;
}

/* ---- time ---- */

static int64_t stranger_due_ms(const rayi_planner_queue *queue)
{
    return rayi_planner_queue_head(queue)->since_ms + RAYI_PLANNER_STRANGER_MS;
}

static void refuse_late_strangers(rayi_planner *planner)
{
    for (size_t i = 0; i < planner->candidate_count;) {
        rayi_planner_queue *queue = (rayi_planner_queue *)planner->candidates[i];
        while (queue->waiting && is_of_stranger(planner, queue) && stranger_due_ms(queue) <= planner->now_ms) {
            rayi_planner_task *task = rayi_planner_queue_head(queue);
            rayi_planner_queue_pull(planner, task);
            refuse(planner, task);
        }
        i += queue->waiting ? 1 : 0; /* else another one is here now */
    }
}

void rayi_planner_tick(rayi_planner *planner, int64_t now_ms)
{
    pass_time(planner, now_ms);
    refuse_late_strangers(planner);
    planner->warn = planner->candidate_count > 0;
    planner->dirty |= planner->candidate_count > 0;
}

int64_t rayi_planner_wake_ms(const rayi_planner *planner)
{
    int64_t wake = INT64_MAX;
    for (size_t i = 0; i < planner->candidate_count; i++) {
        const rayi_planner_queue *queue = (const rayi_planner_queue *)planner->candidates[i];
        if (queue->starved_ms != INT64_MAX && !queue->warned)
            wake = RAYI_MIN(wake, queue->starved_ms + RAYI_SCHEDULER_WARN_MS);
        if (queue->starved_ms == INT64_MAX && !rayi_planner_queue_is_late(planner, queue))
            wake = RAYI_MIN(wake, rayi_planner_queue_head(queue)->since_ms + RAYI_SCHEDULER_DRAIN_MS);
        if (is_of_stranger(planner, queue))
            wake = RAYI_MIN(wake, stranger_due_ms(queue));
    }
    return wake;
}

/* ---- a round ---- */

static void rank(const rayi_planner *planner, rayi_planner_queue *queue)
{
    rayi_candidate *candidate = &queue->candidate;
    candidate->since_ms = rayi_planner_queue_head(queue)->since_ms;
    candidate->rank = queue->key.priority + (planner->now_ms - candidate->since_ms) / RAYI_SCHEDULER_AGE_MS;
}

/* May the others of its need not go far ahead while it waits? Bound by less, they would never let it have a turn. */
static bool limits_others(const rayi_planner_queue *queue)
{
    return queue->need->queues > 1 && queue->key.tie == RAYI_PLANNER_FREE && queue->function->lacking == 0 &&
           !rayi_planner_function_is_quick(queue->function);
}

/* Changes when a place for queue may have become better. */
static uint64_t version_for(const rayi_planner *planner, const rayi_planner_queue *queue)
{
    if (queue->key.tie != RAYI_PLANNER_HARD)
        return queue->need->version;
    return ((const uint64_t *)queue->need->tree.data)[planner->room + queue->turn];
}

/* Was it blocked, and has nothing become better since? */
static bool is_still_blocked(rayi_planner *planner, rayi_planner_queue *queue)
{
    queue->need->limited = false;
    rayi_planner_need_refresh(planner, queue->need);
    return queue->blocked && queue->blocked_version == version_for(planner, queue) && !limits_others(queue) &&
           queue->blocked_late == rayi_planner_queue_is_late(planner, queue);
}

static void begin_round(rayi_planner *planner)
{
    size_t count = 0;
    for (size_t i = 0; i < planner->candidate_count; i++) {
        rayi_planner_queue *queue = (rayi_planner_queue *)planner->candidates[i];
        if (is_still_blocked(planner, queue))
            continue;
        rank(planner, queue);
        planner->heap[count++] = &queue->candidate;
    }
    for (size_t i = count / 2; i-- > 0;)
        rayi_candidate_sink(planner->heap, count, i);
    planner->heap_count = count;
    planner->dirty = false;
}

static void leave_heap(rayi_planner *planner)
{
    planner->heap[0] = planner->heap[--planner->heap_count];
    rayi_candidate_sink(planner->heap, planner->heap_count, 0);
}

/* What is missing next is told of anew: what was is there now. */
static void note_starved(const rayi_planner *planner, rayi_planner_queue *queue)
{
    bool was_starved = queue->starved_ms != INT64_MAX, starved = rayi_planner_is_infeasible(planner, queue);
    bool lacks_function = starved && rayi_planner_lacks_function(planner, queue);
    if (!starved || lacks_function != queue->lacks_function)
        queue->warned = false;
    if (!starved)
        queue->starved_ms = INT64_MAX;
    else if (!was_starved || lacks_function != queue->lacks_function)
        queue->starved_ms = planner->now_ms;
    queue->lacks_function = lacks_function;
}

static void block(rayi_planner *planner, rayi_planner_queue *queue)
{
    queue->blocked = !queue->need->limited; /* that may end without any key becoming better */
    queue->need->limited |= limits_others(queue);
    queue->blocked_late = rayi_planner_queue_is_late(planner, queue);
    queue->blocked_version = version_for(planner, queue);
    if (queue->need->feasible)
        queue->need->warned = false;
    note_starved(planner, queue);
}

static void assign(rayi_planner *planner, rayi_planner_queue *queue, rayi_planner_peer *peer, bool ahead,
                   rayi_planner_action *out)
{
    rayi_planner_task *task = rayi_planner_queue_head(queue);
    int32_t room = ahead ? RAYI_MAX(1, rayi_planner_peer_room(peer, queue->need)) : 1;
    task->state = rayi_planner_state_next(task->state, RAYI_PLANNER_ON_ASSIGN);
    task->peer = peer;
    task->assigned_ms = planner->now_ms;
    task->depth = (uint16_t)(ahead ? 1 + peer->outstanding / (uint32_t)room : 1);
    rayi_planner_queue_pull(planner, task);
    rayi_planner_peer_take(planner, peer, queue->need);
    *out = (rayi_planner_action){
        .what = RAYI_PLANNER_ASSIGN, .id = task->id, .node = peer->id, .tag = peer->tag, .ahead = ahead};
}

static bool fetch_assignment(rayi_planner *planner, rayi_planner_action *out)
{
    if (planner->dirty)
        begin_round(planner);
    while (planner->heap_count) {
        rayi_planner_queue *queue = (rayi_planner_queue *)planner->heap[0];
        rayi_planner_stage stage;
        rayi_planner_peer *peer = rayi_planner_choose(planner, queue, &stage);
        if (!peer) {
            block(planner, queue);
            leave_heap(planner);
            continue;
        }
        assign(planner, queue, peer, stage != RAYI_PLANNER_FITS, out);
        queue->candidate.turn = ++planner->turn;
        if (queue->waiting) {
            rank(planner, queue);
            rayi_candidate_sink(planner->heap, planner->heap_count, 0);
        } else {
            leave_heap(planner);
        }
        return true;
    }
    return false;
}

static bool fetch_refusal(rayi_planner *planner, rayi_planner_action *out)
{
    rayi_planner_task *task = planner->refused;
    if (!task)
        return false;
    DL_DELETE(planner->refused, task);
    task->state = rayi_planner_state_next(task->state, RAYI_PLANNER_ON_FETCH);
    rayi_planner_say_gone(planner, &task->queue->key.home);
    *out = (rayi_planner_action){.what = RAYI_PLANNER_REFUSE,
                                 .code = RAY_ERR_UNSCHEDULABLE,
                                 .id = task->id,
                                 .node = task->queue->key.home,
                                 .message = planner->message};
    free_task(planner, task);
    return true;
}

/* What no node has is said once for all who need it; what else is missing, once a queue. */
static bool fetch_warning(rayi_planner *planner, rayi_planner_action *out)
{
    for (size_t i = 0; planner->warn && i < planner->candidate_count; i++) {
        rayi_planner_queue *queue = (rayi_planner_queue *)planner->candidates[i];
        if (queue->warned || queue->starved_ms == INT64_MAX ||
            planner->now_ms - queue->starved_ms < RAYI_SCHEDULER_WARN_MS)
            continue;
        queue->warned = true;
        if (queue->need->feasible == 0 && queue->need->warned)
            continue;
        queue->need->warned |= queue->need->feasible == 0;
        rayi_planner_say_missing(planner, queue);
        *out = (rayi_planner_action){
            .what = RAYI_PLANNER_WARN, .id = rayi_planner_queue_head(queue)->id, .message = planner->message};
        return true;
    }
    planner->warn = false;
    return false;
}

bool rayi_planner_next(rayi_planner *planner, rayi_planner_action *out)
{
    return fetch_refusal(planner, out) || fetch_assignment(planner, out) || fetch_warning(planner, out);
}

/* ---- what there is ---- */

uint64_t rayi_planner_waiting(const rayi_planner *planner)
{
    return planner->waiting;
}

void rayi_planner_demand(const rayi_planner *planner, void (*fn)(void *arg, const rayi_planner_demand_row *row),
                         void *arg)
{
    for (size_t i = 0; i < planner->candidate_count; i++) {
        const rayi_planner_queue *queue = (const rayi_planner_queue *)planner->candidates[i];
        const rayi_planner_need *need = queue->need;
        rayi_planner_demand_row row = {.resources = need->resources,
                                       .labels = need->selector ? need->selector->text : "",
                                       .function = queue->key.function,
                                       .priority = queue->key.priority,
                                       .count = queue->waiting,
                                       .waited_ms = planner->now_ms - rayi_planner_queue_head(queue)->since_ms,
                                       .infeasible = queue->starved_ms != INT64_MAX,
                                       .lacks_function = queue->starved_ms != INT64_MAX && queue->lacks_function,
                                       .function_name = queue->function->name};
        fn(arg, &row);
    }
}
