/* Queues of tasks, and the tasks' states. */
#include "scheduler/planner_inside.h"

#define IDLE_MOST                                                                                                      \
    64 /* unused queues that are kept, for what was learnt about them and for the trees of their needs                 \
        */

/* ---- the life of a task ---- */

rayi_planner_state rayi_planner_state_next(rayi_planner_state state, rayi_planner_event event)
{
    switch (state) {
    case RAYI_PLANNER_IS_WAITING:
        RAYI_ASSERT(event == RAYI_PLANNER_ON_ASSIGN || event == RAYI_PLANNER_ON_REFUSE ||
                    event == RAYI_PLANNER_ON_REMOVE);
        return event == RAYI_PLANNER_ON_ASSIGN   ? RAYI_PLANNER_IS_ASSIGNED
               : event == RAYI_PLANNER_ON_REFUSE ? RAYI_PLANNER_IS_REFUSED
                                                 : RAYI_PLANNER_IS_GONE;
    case RAYI_PLANNER_IS_REFUSED:
        RAYI_ASSERT(event == RAYI_PLANNER_ON_FETCH || event == RAYI_PLANNER_ON_REMOVE);
        return RAYI_PLANNER_IS_GONE;
    case RAYI_PLANNER_IS_ASSIGNED:
        RAYI_ASSERT(event == RAYI_PLANNER_ON_FINISH || event == RAYI_PLANNER_ON_RETURN);
        return event == RAYI_PLANNER_ON_FINISH ? RAYI_PLANNER_IS_GONE : RAYI_PLANNER_IS_WAITING;
    case RAYI_PLANNER_IS_GONE:
        break;
    }
    RAYI_ASSERT(!"nothing happens to a task that is gone");
}

/* ---- candidates: the queues with waiting tasks ---- */

static int make_room(rayi_planner *planner, size_t count)
{
    if (count <= planner->candidate_room)
        return 0;
    size_t room = RAYI_MAX(16, 2 * planner->candidate_room);
    rayi_candidate **grown = rayi_memory_realloc(planner->memory, planner->candidates, room * sizeof *grown);
    if (!grown)
        return RAY_ERR_NO_MEMORY;
    planner->candidates = grown;
    grown = rayi_memory_realloc(planner->memory, planner->heap, room * sizeof *grown);
    if (!grown)
        return RAY_ERR_NO_MEMORY; /* one array is larger than its room says, which harms nobody */
    planner->heap = grown;
    planner->candidate_room = room;
    return 0;
}

static void add_candidate(rayi_planner *planner, rayi_planner_queue *queue)
{
    if (queue->candidate.index != RAYI_NOT_A_CANDIDATE)
        return;
    queue->need->queues++;
    queue->candidate.turn = ++planner->turn; /* of equal age, who came first */
    queue->candidate.index = (uint32_t)planner->candidate_count;
    planner->candidates[planner->candidate_count++] = &queue->candidate;
}

static void drop_candidate(rayi_planner *planner, rayi_planner_queue *queue)
{
    rayi_candidate *last = planner->candidates[--planner->candidate_count];
    planner->candidates[queue->candidate.index] = last;
    last->index = queue->candidate.index;
    queue->candidate.index = RAYI_NOT_A_CANDIDATE;
    queue->need->queues--;
    queue->blocked = false;
    queue->starved_ms = INT64_MAX;
}

/* ---- making and keeping ---- */

/* Takes over the counts of need and function, also when it fails. */
static int make(rayi_planner *planner, const rayi_planner_queue_key *key, rayi_planner_need *need,
                rayi_planner_function *function, rayi_planner_queue **out)
{
    const rayi_memory *memory = planner->memory;
    rayi_planner_queue *queue = NULL;
    if (make_room(planner, HASH_COUNT(planner->queues) + 1) == 0)
        queue = rayi_memory_zalloc(memory, sizeof *queue);
    if (queue) {
        queue->key = *key;
        HASH_ADD(hh, planner->queues, key, sizeof queue->key, queue);
    }
    if (!queue || !queue->hh.tbl) {
        rayi_memory_free(memory, queue);
        rayi_planner_need_unref(planner, need);
        rayi_planner_function_unref(planner, function);
        return RAY_ERR_NO_MEMORY;
    }
    queue->candidate.index = RAYI_NOT_A_CANDIDATE;
    queue->need = need;
    queue->function = function;
    queue->starved_ms = INT64_MAX;
    *out = queue;
    return 0;
}

void rayi_planner_queue_free(rayi_planner *planner, rayi_planner_queue *queue)
{
    const rayi_memory *memory = planner->memory;
    HASH_DELETE(hh, planner->queues, queue);
    rayi_planner_need_unref(planner, queue->need);
    rayi_planner_function_unref(planner, queue->function);
    rayi_memory_free(memory, queue);
}

static void keep_idle(rayi_planner *planner, rayi_planner_queue *queue)
{
    DL_APPEND(planner->idle, queue);
    if (++planner->idle_count <= IDLE_MOST)
        return;
    rayi_planner_queue *first = planner->idle;
    DL_DELETE(planner->idle, first);
    planner->idle_count--;
    rayi_planner_queue_free(planner, first);
}

/* One more count; idle queues have none. */
void rayi_planner_queue_ref(rayi_planner *planner, rayi_planner_queue *queue)
{
    if (queue->refs++ == 0) {
        DL_DELETE(planner->idle, queue);
        planner->idle_count--;
    }
}

void rayi_planner_queue_unref(rayi_planner *planner, rayi_planner_queue *queue)
{
    if (--queue->refs == 0)
        keep_idle(planner, queue);
}

static rayi_planner_queue_key key_of(const rayi_planner_request *request, const rayi_planner_need *need)
{
    rayi_planner_queue_key key = {.need = need->serial,
                                  .function = request->function,
                                  .priority = request->priority,
                                  .tie = !request->node_id    ? RAYI_PLANNER_FREE
                                         : request->node_soft ? RAYI_PLANNER_SOFT
                                                              : RAYI_PLANNER_HARD,
                                  .spread = request->spread};
    if (request->node_id)
        key.home = *request->node_id;
    return key;
}

/* The queue of key, with one count more, made of need and function, whose counts are taken over in any case. */
static int get(rayi_planner *planner, const rayi_planner_queue_key *key, rayi_planner_need *need,
               rayi_planner_function *function, rayi_planner_queue **out)
{
    rayi_planner_queue *queue;
    HASH_FIND(hh, planner->queues, key, sizeof *key, queue);
    if (queue) {
        rayi_planner_need_unref(planner, need);
        rayi_planner_function_unref(planner, function);
        rayi_planner_queue_ref(planner, queue);
    } else {
        int r = make(planner, key, need, function, &queue);
        if (r)
            return r;
        queue->refs = 1;
    }
    *out = queue;
    return 0;
}

int rayi_planner_queue_get(rayi_planner *planner, const rayi_planner_request *request, rayi_planner_queue **out)
{
    rayi_planner_need *need;
    rayi_planner_function *function;
    int r = rayi_planner_need_get(planner, request->resources, request->labels, &need);
    if (r)
        return r;
    r = rayi_planner_function_get(planner, request->function, request->function_name, &function);
    if (r) {
        rayi_planner_need_unref(planner, need);
        return r;
    }
    rayi_planner_queue_key key = key_of(request, need);
    return get(planner, &key, need, function, out);
}

int rayi_planner_queue_raised(rayi_planner *planner, const rayi_planner_queue *queue, int32_t priority,
                              rayi_planner_queue **out)
{
    rayi_planner_queue_key key = queue->key;
    key.priority = priority;
    queue->need->refs++;
    queue->function->refs++;
    return get(planner, &key, queue->need, queue->function, out);
}

/* ---- the tasks in it ---- */

rayi_planner_task *rayi_planner_queue_head(const rayi_planner_queue *queue)
{
    if (!queue->fresh || (queue->old && queue->old->since_ms <= queue->fresh->since_ms))
        return queue->old;
    return queue->fresh;
}

/* In order of since_ms, from the nearer end: DL lists know their tail as head->prev. */
static void insert_old(rayi_planner_queue *queue, rayi_planner_task *task)
{
    rayi_planner_task *head = queue->old, *at = head;
    if (head && head->prev->since_ms - task->since_ms > task->since_ms - head->since_ms) {
        while (at->since_ms < task->since_ms)
            at = at->next; /* ends at the tail, which is younger */
        DL_PREPEND_ELEM(queue->old, at, task);
        return;
    }
    for (at = head ? head->prev : NULL; at && at->since_ms > task->since_ms;)
        at = at == head ? NULL : at->prev;
    if (at)
        DL_APPEND_ELEM(queue->old, at, task);
    else
        DL_PREPEND(queue->old, task);
}

void rayi_planner_queue_push(rayi_planner *planner, rayi_planner_queue *queue, rayi_planner_task *task, bool old)
{
    task->queue = queue;
    task->old = old;
    if (old)
        insert_old(queue, task);
    else
        DL_APPEND(queue->fresh, task);
    queue->waiting++;
    planner->waiting++;
    add_candidate(planner, queue);
    planner->dirty = true;
}

void rayi_planner_queue_pull(rayi_planner *planner, rayi_planner_task *task)
{
    rayi_planner_queue *queue = task->queue;
    if (task->old)
        DL_DELETE(queue->old, task);
    else
        DL_DELETE(queue->fresh, task);
    planner->waiting--;
    if (--queue->waiting == 0)
        drop_candidate(planner, queue);
}

bool rayi_planner_queue_is_late(const rayi_planner *planner, const rayi_planner_queue *queue)
{
    return planner->now_ms - rayi_planner_queue_head(queue)->since_ms >= RAYI_SCHEDULER_DRAIN_MS;
}
