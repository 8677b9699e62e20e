/* Where the head of a queue goes. */
#include "scheduler/planner_inside.h"

#define NOBODY UINT32_MAX

/* ---- searching a need's tree, but for those that lack the function ---- */

static const uint64_t *tree_of(const rayi_planner_need *need)
{
    return need->tree.data;
}

static bool is_lacking(const rayi_planner *planner, const rayi_planner_function *function, size_t at)
{
    return at >= planner->room && rayi_planner_function_lacks(function, (uint32_t)(at - planner->room));
}

/* The least key below `at` and below `best`; best, if there is none. */
static uint64_t least_but_lacking(const rayi_planner *planner, const rayi_planner_queue *queue, size_t at,
                                  uint64_t best)
{
    const uint64_t *tree = tree_of(queue->need);
    if (tree[at] >= best || is_lacking(planner, queue->function, at))
        return best;
    if (at >= planner->room)
        return tree[at];
    size_t first = tree[2 * at] <= tree[2 * at + 1] ? 2 * at : 2 * at + 1;
    best = least_but_lacking(planner, queue, first, best);
    return least_but_lacking(planner, queue, first ^ 1, best);
}

static uint64_t least(const rayi_planner *planner, const rayi_planner_queue *queue)
{
    if (queue->function->lacking == 0)
        return tree_of(queue->need)[1];
    return least_but_lacking(planner, queue, 1, RAYI_PLANNER_NOT_AT_ALL);
}

/* The first slot from `from` on with a key below `limit`; `at` has `span` slots from `start`. */
static uint32_t first_below(const rayi_planner *planner, const rayi_planner_queue *queue, size_t at, uint32_t start,
                            uint32_t span, uint32_t from, uint64_t limit)
{
    if (start + span <= from || tree_of(queue->need)[at] >= limit || is_lacking(planner, queue->function, at))
        return NOBODY;
    if (span == 1)
        return start;
    uint32_t half = span / 2, found = first_below(planner, queue, 2 * at, start, half, from, limit);
    return found != NOBODY ? found : first_below(planner, queue, 2 * at + 1, start + half, half, from, limit);
}

/* ---- policies: each finds a key, the least of all for NOT_AT_ALL ---- */

static uint64_t next_in_turn(const rayi_planner *planner, const rayi_planner_queue *queue)
{
    uint64_t best = least(planner, queue), limit = (((best >> 61) + 1) << 61);
    if (best == RAYI_PLANNER_NOT_AT_ALL)
        return best;
    uint32_t slot = first_below(planner, queue, 1, 0, planner->room, queue->turn, limit);
    if (slot == NOBODY)
        slot = first_below(planner, queue, 1, 0, planner->room, 0, limit);
    return tree_of(queue->need)[planner->room + slot];
}

/* The best key that is still true; those that are not are put right on the way. */
static uint64_t find(rayi_planner *planner, rayi_planner_queue *queue)
{
    for (;;) {
        uint64_t key = queue->key.spread ? next_in_turn(planner, queue) : least(planner, queue);
        if (key == RAYI_PLANNER_NOT_AT_ALL || rayi_planner_need_key(planner, queue->need, (uint32_t)key) == key)
            return key;
    }
}

static uint64_t key_at(rayi_planner *planner, rayi_planner_queue *queue, const rayi_planner_peer *peer)
{
    if (!peer || rayi_planner_function_lacks(queue->function, peer->slot))
        return RAYI_PLANNER_NOT_AT_ALL;
    return rayi_planner_need_key(planner, queue->need, peer->slot);
}

static bool may_take(const rayi_planner *planner, const rayi_planner_queue *queue, uint64_t key)
{
    bool late = rayi_planner_queue_is_late(planner, queue);
    bool quick = rayi_planner_function_is_quick(queue->function) && !queue->need->limited;
    switch (rayi_planner_key_stage(key)) {
    case RAYI_PLANNER_FITS:
    case RAYI_PLANNER_AHEAD:
        return true;
    case RAYI_PLANNER_FIRST_AHEAD:
        return quick || late;
    case RAYI_PLANNER_FAR_AHEAD:
        return quick;
    case RAYI_PLANNER_IN_LINE:
        return late;
    case RAYI_PLANNER_STAGES_END:
        return false;
    }
    RAYI_ASSERT(!"a key has a stage");
}

/* Of those who hold the arguments the one with most of them that may be taken, and has room if anybody has. */
static uint64_t find_holder(rayi_planner *planner, rayi_planner_queue *queue, bool any_fits)
{
    const rayi_planner_task *task = rayi_planner_queue_head(queue);
    for (uint32_t i = 0; i < task->holder_count; i++) {
        uint64_t key = key_at(planner, queue, rayi_planner_peer_find(planner, &task->holders[i].node));
        if (any_fits ? rayi_planner_key_stage(key) == RAYI_PLANNER_FITS : may_take(planner, queue, key))
            return key;
    }
    return RAYI_PLANNER_NOT_AT_ALL;
}

/* Is home the only place? Soft ties end where home could never run it, or may not now. */
static bool is_tied(const rayi_planner_queue *queue, const rayi_planner_peer *home)
{
    if (queue->key.tie == RAYI_PLANNER_SOFT)
        return home && rayi_planner_peer_may_serve(home) && rayi_planner_need_could(queue->need, home->slot) &&
               !rayi_planner_function_lacks(queue->function, home->slot);
    return queue->key.tie == RAYI_PLANNER_HARD;
}

static rayi_planner_peer *home_of(const rayi_planner *planner, const rayi_planner_queue *queue)
{
    return queue->key.tie == RAYI_PLANNER_FREE ? NULL : rayi_planner_peer_find(planner, &queue->key.home);
}

static uint64_t find_place(rayi_planner *planner, rayi_planner_queue *queue)
{
    const rayi_planner_peer *home = home_of(planner, queue);
    if (is_tied(queue, home)) {
        queue->turn = home ? home->slot : 0;
        return key_at(planner, queue, home);
    }
    uint64_t key = find(planner, queue);
    if (queue->key.spread || !may_take(planner, queue, key))
        return key;
    uint64_t holder = find_holder(planner, queue, rayi_planner_key_stage(key) == RAYI_PLANNER_FITS);
    return holder == RAYI_PLANNER_NOT_AT_ALL ? key : holder;
}

rayi_planner_peer *rayi_planner_choose(rayi_planner *planner, rayi_planner_queue *queue, rayi_planner_stage *stage)
{
    rayi_planner_need_refresh(planner, queue->need);
    uint64_t key = find_place(planner, queue);
    *stage = rayi_planner_key_stage(key);
    if (!may_take(planner, queue, key))
        return NULL;
    uint32_t slot = (uint32_t)key;
    if (queue->key.spread)
        queue->turn = (slot + 1) & (planner->room - 1);
    return rayi_planner_peer_at(planner, slot);
}

/* ---- is there anybody at all? ---- */

static bool could(const rayi_planner_queue *queue, uint32_t slot)
{
    return rayi_planner_need_could(queue->need, slot) && !rayi_planner_function_lacks(queue->function, slot);
}

bool rayi_planner_is_infeasible(const rayi_planner *planner, const rayi_planner_queue *queue)
{
    const rayi_planner_peer *home = home_of(planner, queue);
    if (is_tied(queue, home))
        return !home || !could(queue, home->slot);
    if (queue->need->feasible > queue->function->lacking)
        return false;
    for (uint32_t slot = 0; slot < planner->room; slot++)
        if (could(queue, slot))
            return false;
    return true;
}

bool rayi_planner_lacks_function(const rayi_planner *planner, const rayi_planner_queue *queue)
{
    const rayi_planner_peer *home = home_of(planner, queue);
    if (is_tied(queue, home))
        return home && rayi_planner_need_could(queue->need, home->slot);
    return queue->need->feasible > 0;
}
