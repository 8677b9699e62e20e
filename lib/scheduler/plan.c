/* Deciding. All candidates that could run go into a heap by (effective priority, waiting time); the first is served or
 * put aside until none is left. What is put aside for want of CPU alone claims slots of the lane, as far as it may.
 *
 * Sharing with the lane. While lane tasks wait, requests of priority 0 are entitled to half of the CPUs that change
 * hands (what they got while the lane waited, plus what the lane holds); who has less gets the next CPU, and at a tie
 * they take turns. A request of more than its side's half waits until it drains, then takes turns with the lane as a
 * whole. */
#include "scheduler/inside.h"

#define UNIT RAYI_RESOURCE_UNIT

/* What one decision has found so far about the node's CPUs. */
typedef struct plan {
    rayi_scheduler *scheduler;
    int64_t claim;    /* what those put aside want and may take from the lane */
    int64_t hold;     /* what the one that drains keeps, but may not take from the lane */
    int64_t slots;    /* the lane must come up with, those asked for before included */
    bool lane_served; /* before those of priority below 0 */
    bool bundles_drain;
} plan;

/* ---- the heap ---- */

static bool before(const rayi_candidate *a, const rayi_candidate *b)
{
    if (a->rank != b->rank)
        return a->rank > b->rank;
    if (a->since_ms != b->since_ms)
        return a->since_ms < b->since_ms;
    return a->turn < b->turn;
}

void rayi_candidate_sink(rayi_candidate **heap, size_t count, size_t at)
{
    for (;;) {
        size_t first = at, left = 2 * at + 1;
        for (size_t child = left; child < count && child <= left + 1; child++)
            if (before(heap[child], heap[first]))
                first = child;
        if (first == at)
            return;
        rayi_candidate *moved = heap[at];
        heap[at] = heap[first];
        heap[first] = moved;
        at = first;
    }
}

static void rank(const rayi_scheduler *scheduler, rayi_candidate *candidate)
{
    candidate->since_ms = rayi_candidate_since(candidate);
    candidate->rank =
        rayi_candidate_priority(candidate) + (scheduler->now_ms - candidate->since_ms) / RAYI_SCHEDULER_AGE_MS;
}

static bool may_run(const rayi_scheduler *scheduler, const rayi_candidate *candidate)
{
    if (rayi_candidate_is_infeasible(candidate))
        return false;
    if (candidate->is_group)
        return rayi_stock_could_have(scheduler, ((const rayi_group *)candidate)->sum);
    const rayi_demand_key *key = &((const rayi_demand *)candidate)->key;
    return key->group ? key->group->state == RAYI_GROUP_CREATED : rayi_stock_could_have(scheduler, key->shape);
}

static size_t fill_heap(rayi_scheduler *scheduler)
{
    size_t count = 0;
    for (size_t i = 0; i < scheduler->candidate_count; i++) {
        rayi_candidate *candidate = scheduler->candidates[i];
        if (!may_run(scheduler, candidate))
            continue;
        rank(scheduler, candidate);
        scheduler->heap[count++] = candidate;
    }
    for (size_t i = count / 2; i-- > 0;)
        rayi_candidate_sink(scheduler->heap, count, i);
    return count;
}

/* ---- CPUs and the lane ---- */

static int64_t slots_for(int64_t cpu)
{
    return cpu <= 0 ? 0 : (cpu + UNIT - 1) / UNIT;
}

/* CPU that nobody holds and nobody drains for. */
static int64_t idle_cpu(const rayi_scheduler *scheduler)
{
    return scheduler->stock.available[RAYI_CPU] - scheduler->stock.reserved[RAYI_CPU];
}

/* Slots that the lane has and was not asked for. */
static int64_t lane_keeps(const rayi_scheduler *scheduler)
{
    return (int64_t)scheduler->lane.held - scheduler->lane.asked;
}

static void lane_give(rayi_scheduler *scheduler, int64_t slots)
{
    if (slots <= 0)
        return;
    scheduler->lane.give += (uint32_t)slots;
    scheduler->lane.held += (uint32_t)slots;
    scheduler->lane.lanes_turn = false;
    scheduler->stock.available[RAYI_CPU] -= slots * UNIT;
}

static void lane_ask(rayi_scheduler *scheduler, int64_t slots)
{
    slots -= scheduler->lane.asked;
    if (slots <= 0)
        return;
    scheduler->lane.ask += (uint32_t)slots;
    scheduler->lane.asked += (uint32_t)slots;
}

/* How a candidate stands to a lane that waits. */
typedef enum standing { BEHIND_LANE = -1, BESIDE_LANE = 0, BEFORE_LANE = 1 } standing;

static standing standing_of(const rayi_scheduler *scheduler, const rayi_candidate *candidate)
{
    int32_t priority = rayi_candidate_priority(candidate);
    if (!scheduler->lane.waiting || priority > 0)
        return BEFORE_LANE;
    return priority == 0 || candidate->rank >= 0 ? BESIDE_LANE : BEHIND_LANE;
}

/* No request has got a CPU for long: all that their side has may be held for good. */
static bool is_starved(const rayi_scheduler *scheduler, const rayi_candidate *candidate)
{
    return scheduler->now_ms - candidate->since_ms >= RAYI_SCHEDULER_AGE_MS &&
           scheduler->now_ms - scheduler->cpu_grant_ms >= RAYI_SCHEDULER_AGE_MS;
}

/* Beside the lane, one that drains may take what it needs if its side's half would never do. */
static bool may_exceed(const rayi_scheduler *scheduler, const rayi_candidate *candidate, int64_t cpu)
{
    const rayi_lane_trade *lane = &scheduler->lane;
    if (standing_of(scheduler, candidate) == BEHIND_LANE)
        return false;
    int64_t idle = RAYI_MAX(0, scheduler->stock.available[RAYI_CPU]);
    return 2 * cpu > lane->held * (int64_t)UNIT + lane->shared + idle || is_starved(scheduler, candidate);
}

/* Before a request beside the lane takes idle CPU: if it is the lane's turn, the lane gets as much first. */
static void offer_turn(plan *p, int64_t cpu)
{
    rayi_scheduler *scheduler = p->scheduler;
    rayi_lane_trade *lane = &scheduler->lane;
    int64_t lane_cpu = lane_keeps(scheduler) * UNIT;
    if (lane->shared < lane_cpu || (lane->shared == lane_cpu && !lane->lanes_turn))
        return;
    int64_t idle = (idle_cpu(scheduler) - p->claim) / UNIT;
    if (idle <= 0)
        return;
    lane_give(scheduler, RAYI_MIN(idle, slots_for(cpu)));
}

/* CPU that claims are met from before slots are asked for; below 0 when overdrawn. */
static int64_t spare_cpu(const plan *p)
{
    int64_t available = p->scheduler->stock.available[RAYI_CPU];
    return available - RAYI_MIN(p->hold, RAYI_MAX(0, available));
}

static int64_t slots_needed(const plan *p, int64_t claim)
{
    return slots_for(claim - spare_cpu(p));
}

/* How many slots, those asked for before included, a candidate may make the lane give back. */
static int64_t slots_allowed(const rayi_scheduler *scheduler, standing side)
{
    const rayi_lane_trade *lane = &scheduler->lane;
    int64_t idle = RAYI_MAX(0, scheduler->stock.available[RAYI_CPU]); /* is as good as theirs */
    int64_t surplus = (int64_t)lane->held * UNIT - lane->shared - idle;
    switch (side) {
    case BEFORE_LANE:
        return lane->held;
    case BESIDE_LANE: /* until both sides have the same, or the requests just more */
        return surplus <= 0 ? 0 : (surplus + 2 * UNIT - 1) / (2 * UNIT);
    case BEHIND_LANE:
        return 0;
    }
    RAYI_ASSERT(!"there are three sides of the lane");
}

/* What those that have resumed hold too much, as far as the lane is to come up with it: all it has if it does nothing
 * with it, else until both sides have the same. */
static int64_t overdrawn(const rayi_scheduler *scheduler)
{
    int64_t allowed = slots_allowed(scheduler, scheduler->lane.waiting ? BESIDE_LANE : BEFORE_LANE);
    return RAYI_MIN(slots_for(-scheduler->stock.available[RAYI_CPU]), allowed);
}

/* `most` candidates lack nothing but `cpu` each: claims for as many as are allowed. False: not even for one. */
static bool claim_cpu(plan *p, int64_t cpu, uint64_t most, int64_t allowed)
{
    if (slots_needed(p, p->claim + cpu) > allowed)
        return false;
    int64_t first = p->claim + cpu;
    int64_t beyond = allowed * UNIT + spare_cpu(p) - first;
    int64_t more = beyond <= 0 ? 0 : RAYI_MIN((int64_t)RAYI_MIN(most - 1, (uint64_t)INT32_MAX), beyond / cpu);
    p->claim = first + more * cpu;
    p->slots = RAYI_MAX(p->slots, slots_needed(p, p->claim));
    return true;
}

static bool drains(const rayi_scheduler *scheduler, const rayi_candidate *candidate, const rayi_stock *stock)
{
    return !stock->draining && scheduler->now_ms - candidate->since_ms >= RAYI_SCHEDULER_DRAIN_MS;
}

/* A candidate for the node's stock that lacks nothing but CPU. */
static void wait_for_cpu(plan *p, rayi_candidate *candidate, const rayi_shape *shape, uint64_t most)
{
    rayi_scheduler *scheduler = p->scheduler;
    int64_t allowed = slots_allowed(scheduler, standing_of(scheduler, candidate));
    bool first = drains(scheduler, candidate, &scheduler->stock);
    if (first && may_exceed(scheduler, candidate, shape->cpu))
        allowed = scheduler->lane.held;
    bool claimed = claim_cpu(p, shape->cpu, most, allowed);
    if (!first)
        return;
    rayi_stock_reserve(scheduler, &scheduler->stock, shape, true);
    if (!claimed)
        p->hold = shape->cpu;
}

/* ---- serving ---- */

static void grant(rayi_scheduler *scheduler, rayi_demand *demand, rayi_stock *stock, uint32_t bundle)
{
    rayi_request *request = demand->list.head;
    rayi_demand_pull(scheduler, request);
    request->bundle = bundle;
    request->state = rayi_request_next(request->state, RAYI_REQUEST_GRANT);
    rayi_stock_take(scheduler, stock, demand->key.shape, request->tail);
    if (request->lasts && bundle == 0)
        rayi_stock_note_lasting(scheduler, demand->key.shape, 1);
    rayi_request_append(&scheduler->outbox, request);
    demand->candidate.turn = ++scheduler->turn;
}

static bool serve_from_bundle(rayi_scheduler *scheduler, rayi_demand *demand, uint32_t number)
{
    rayi_stock *stock = &demand->key.group->bundles[number - 1].stock;
    if (!rayi_stock_fits(scheduler, stock, demand->key.shape))
        return false;
    grant(scheduler, demand, stock, number);
    return true;
}

static bool serve_from_group(plan *p, rayi_demand *demand)
{
    rayi_scheduler *scheduler = p->scheduler;
    rayi_group *group = demand->key.group;
    uint32_t from = demand->key.bundle ? demand->key.bundle : 1;
    uint32_t to = demand->key.bundle ? demand->key.bundle : group->bundle_count;
    for (uint32_t number = from; number <= to; number++)
        if (serve_from_bundle(scheduler, demand, number))
            return true;
    for (uint32_t number = from; number <= to; number++) {
        rayi_bundle *bundle = &group->bundles[number - 1];
        if (!rayi_shape_holds(bundle->shape, demand->key.shape))
            continue;
        if (drains(scheduler, &demand->candidate, &bundle->stock)) {
            rayi_stock_reserve(scheduler, &bundle->stock, demand->key.shape, true);
            p->bundles_drain = true;
        }
        break;
    }
    return false;
}

/* True: `shape` can be taken from the node now. Otherwise what its waiting means has been noted. */
static bool node_has(plan *p, rayi_candidate *candidate, const rayi_shape *shape, bool others_fit, uint64_t most)
{
    rayi_scheduler *scheduler = p->scheduler;
    if (!others_fit) {
        /* Its CPU it does not keep yet: nobody knows for how long that would lie idle. */
        if (drains(scheduler, candidate, &scheduler->stock))
            rayi_stock_reserve(scheduler, &scheduler->stock, shape, false);
        return false;
    }
    if (shape->cpu == 0)
        return true;
    if (standing_of(scheduler, candidate) == BESIDE_LANE && !is_starved(scheduler, candidate))
        offer_turn(p, shape->cpu);
    if (idle_cpu(scheduler) >= shape->cpu)
        return true;
    wait_for_cpu(p, candidate, shape, most);
    return false;
}

/* The CPUs of the node went to a request or a group. */
static void note_cpu(rayi_scheduler *scheduler, standing side)
{
    scheduler->cpu_grant_ms = scheduler->now_ms;
    if (side == BESIDE_LANE)
        scheduler->lane.lanes_turn = true;
}

static bool serve_from_node(plan *p, rayi_demand *demand)
{
    rayi_scheduler *scheduler = p->scheduler;
    const rayi_shape *shape = demand->key.shape;
    standing side = standing_of(scheduler, &demand->candidate);
    uint64_t room = rayi_stock_room(scheduler, &scheduler->stock, shape, demand->waiting);
    if (!node_has(p, &demand->candidate, shape, room > 0, room))
        return false;
    rayi_request *request = demand->list.head;
    grant(scheduler, demand, &scheduler->stock, 0);
    if (shape->cpu == 0)
        return true;
    note_cpu(scheduler, side);
    request->shares = side == BESIDE_LANE;
    if (request->shares)
        scheduler->lane.shared += shape->cpu;
    return true;
}

/* Its GPUs are checked bundle by bundle, everything else as a sum. */
static bool bundles_fit_but_cpu(rayi_scheduler *scheduler, const rayi_group *group)
{
    const rayi_stock *stock = &scheduler->stock;
    for (uint32_t i = 0; i < group->sum->count; i++) {
        const rayi_shape_item *item = &group->sum->items[i];
        if (stock->available[item->kind] - stock->reserved[item->kind] < item->amount)
            return false;
    }
    return rayi_group_gpus_fit(scheduler, group, stock);
}

static bool serve_group(plan *p, rayi_group *group)
{
    rayi_scheduler *scheduler = p->scheduler;
    standing side = standing_of(scheduler, &group->candidate);
    if (!node_has(p, &group->candidate, group->sum, bundles_fit_but_cpu(scheduler, group), 1))
        return false;
    rayi_group_create(scheduler, group);
    if (group->sum->cpu)
        note_cpu(scheduler, side);
    return true;
}

static bool serve(plan *p, rayi_candidate *candidate)
{
    if (candidate->is_group)
        return serve_group(p, (rayi_group *)candidate);
    rayi_demand *demand = (rayi_demand *)candidate;
    return demand->key.group ? serve_from_group(p, demand) : serve_from_node(p, demand);
}

static void serve_lane(plan *p)
{
    lane_give(p->scheduler, (idle_cpu(p->scheduler) - p->claim) / UNIT);
}

static void clear_reservations(const plan *p)
{
    rayi_scheduler *scheduler = p->scheduler;
    if (scheduler->stock.draining)
        rayi_stock_unreserve(scheduler, &scheduler->stock);
    for (size_t i = 0; p->bundles_drain && i < scheduler->candidate_count; i++) {
        const rayi_candidate *candidate = scheduler->candidates[i];
        rayi_group *group = candidate->is_group ? NULL : ((const rayi_demand *)candidate)->key.group;
        for (uint32_t k = 0; group && k < group->bundle_count; k++)
            if (group->bundles[k].stock.draining)
                rayi_stock_unreserve(scheduler, &group->bundles[k].stock);
    }
}

/* One pass over all candidates; true: a group was created, whose requests this pass has not looked at. */
static bool pass(plan *p)
{
    rayi_scheduler *scheduler = p->scheduler;
    bool created = false;
    for (size_t count = fill_heap(scheduler); count > 0; rayi_candidate_sink(scheduler->heap, count, 0)) {
        rayi_candidate *first = scheduler->heap[0];
        if (!p->lane_served && standing_of(scheduler, first) == BEHIND_LANE) {
            serve_lane(p);
            p->lane_served = true;
        }
        bool served = serve(p, first);
        created |= served && first->is_group;
        if (served && first->index != RAYI_NOT_A_CANDIDATE)
            rank(scheduler, first);
        else
            scheduler->heap[0] = scheduler->heap[--count];
    }
    return created;
}

void rayi_plan(rayi_scheduler *scheduler)
{
    plan p;
    for (bool again = true; again;) {
        p = (plan){.scheduler = scheduler};
        again = pass(&p);
        if (!again)
            serve_lane(&p);
        clear_reservations(&p);
    }
    lane_ask(scheduler, RAYI_MAX(p.slots, overdrawn(scheduler)));
    scheduler->dirty = false;
}
