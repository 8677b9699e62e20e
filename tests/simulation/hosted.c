/* What a node does for others, and what it runs: in virtual time. */
#include "raylet.h"

#include <stdlib.h>
#include <string.h>

/* ---- running ---- */

static void happen(void *arg, uint64_t at, uint64_t what, uint64_t id);

/* To this process of the node, unless it is gone by then. */
static void later(raylet *r, int64_t delay_ms, enum what what, uint64_t number, uint64_t id)
{
    sim_after(r->s, delay_ms, happen, r->w, (uint64_t)r->node | r->incarnation << 8, (uint64_t)what | number << 8, id);
}

static rayi_outcome some_outcome(const raylet *r, const piece *p)
{
    if (p->t->life_of)
        return p->is_cancelled ? RAYI_OUTCOME_CANCELLED : p->came_to;
    if (p->is_cancelled && sim_chance(r->s, 70))
        return RAYI_OUTCOME_CANCELLED;
    if (p->t->is_bad)
        return sim_chance(r->s, 50) ? RAYI_OUTCOME_FAILED : RAYI_OUTCOME_AGAIN;
    if (!sim_is_calm(r->s) && sim_chance(r->s, r->w->crashes))
        return RAYI_OUTCOME_CRASHED;
    if (!sim_is_calm(r->s) && sim_chance(r->s, r->w->failures))
        return sim_chance(r->s, 70) ? RAYI_OUTCOME_FAILED : RAYI_OUTCOME_AGAIN;
    return RAYI_OUTCOME_OK;
}

static void run_over(raylet *r, piece *p)
{
    rayi_outcome outcome = some_outcome(r, p);
    account_stopped(r->w->account, p->t->number, r->node, outcome);
    p->run = 0;
    p->is_blocked = false; /* giving back is all the same to the scheduler */
    rayi_ledger_finished(r->ledger, p->id, outcome);
}

static void block(raylet *r, piece *p, bool blocks)
{
    if (p->is_blocked == blocks)
        return;
    p->is_blocked = blocks;
    (blocks ? rayi_scheduler_block : rayi_scheduler_resume)(r->scheduler, p->id);
    account_blocked(r->w->account, p->t->number, r->node, blocks);
}

/* ---- the lane: a slot that is given runs a task before it goes back ---- */

static void fill_lane(raylet *r)
{
    while (r->lane.waiting && r->lane.running < r->lane.slots) {
        r->lane.waiting--;
        r->lane.running++;
        account_lane(r->w->account, r->node, r->lane.running);
        later(r, 1 + (int64_t)sim_below(r->s, 100), LANE_OVER, 0, 0);
    }
}

static void empty_lane(raylet *r)
{
    uint32_t back = RAYI_MIN(r->lane.owed, r->lane.slots - r->lane.running);
    if (back == 0)
        return;
    r->lane.owed -= back;
    r->lane.slots -= back;
    r->lane.returned += back; /* its threads tell the loop */
    later(r, 0, LANE_RETURNS, 0, 0);
}

static void lane_returns(raylet *r)
{
    uint32_t slots = r->lane.returned;
    r->lane.returned = 0;
    rayi_scheduler_lane_returned(r->scheduler, slots);
}

static void lane_over(raylet *r)
{
    r->lane.running--;
    account_lane(r->w->account, r->node, r->lane.running);
    empty_lane(r);
    fill_lane(r);
}

void hosted_lane_gets(raylet *r, uint32_t slots)
{
    r->lane.slots += slots;
    fill_lane(r);
}

void hosted_lane_owes(raylet *r, uint32_t slots)
{
    r->lane.owed += slots;
    empty_lane(r);
}

void hosted_lane_work(raylet *r, uint32_t tasks)
{
    enum { MOST = 60 };
    r->lane.waiting = RAYI_MIN(r->lane.waiting + tasks, MOST);
    fill_lane(r);
}

static void obey(raylet *r, enum what what, uint64_t number, uint64_t id)
{
    piece *p = raylet_piece(r, id);
    if (what == LANE_OVER) {
        lane_over(r);
    } else if (what == LANE_RETURNS) {
        lane_returns(r);
    } else if (!p || p->run != number) {
        return;
    } else if (what == RUN_OVER) {
        run_over(r, p);
    } else if (what == LIFE_UP) {
        actors_up(r, p);
    } else if (what == CALL_OVER) {
        actors_call_over(r, p);
    } else {
        block(r, p, what == RUN_BLOCKS);
    }
    raylet_pump(r);
}

static void happen(void *arg, uint64_t at, uint64_t what, uint64_t id)
{
    world *w = arg;
    int node = (int)(at & 255);
    raylet *r = sim_self(w->s, node);
    if (!r || r->incarnation != at >> 8)
        return;
    if (!sim_is_running(w->s, node))
        later(r, 100, (enum what)(what & 255), what >> 8, id);
    else
        obey(r, (enum what)(what & 255), what >> 8, id);
}

void hosted_later(raylet *r, int64_t delay_ms, enum what what, const piece *p)
{
    later(r, delay_ms, what, p->run, p->id);
}

static bool lacks_argument(const raylet *r, piece *p)
{
    for (int i = 0; i < ARGS && !p->lost; i++)
        if (p->t->args[i] && !values_can_read(r, &p->places[i]))
            p->lost = p->t->args[i];
    return p->lost != 0;
}

void hosted_run(raylet *r, piece *p)
{
    int64_t span = 1 + (int64_t)sim_below(r->s, sim_chance(r->s, 90) ? 60 : (uint64_t)r->w->long_ms);
    if (p->is_hosted && lacks_argument(r, p)) {
        rayi_ledger_finished(r->ledger, p->id, RAYI_OUTCOME_FAILED);
        return;
    }
    p->run = ++r->last_run;
    account_started(r->w->account, p->t->number, r->node);
    if (p->t->life_of) {
        actors_begin(r, p);
        return;
    }
    if (sim_chance(r->s, r->w->blocks)) {
        later(r, (int64_t)sim_below(r->s, (uint64_t)span), RUN_BLOCKS, p->run, p->id);
        if (sim_chance(r->s, 80))
            later(r, span, RUN_RESUMES, p->run, p->id);
        span += 1 + (int64_t)sim_below(r->s, 50);
    }
    later(r, span, RUN_OVER, p->run, p->id);
}

void hosted_stop(raylet *r, piece *p)
{
    p->is_cancelled = true;
    if (p->run && (p->t->life_of || sim_chance(r->s, 50)))
        later(r, 1 + (int64_t)sim_below(r->s, 20), RUN_OVER, p->run, p->id);
}

/* ---- tasks of others ---- */

static piece *find(const raylet *r, int whose, uint64_t number)
{
    for (piece *p = r->pieces; p; p = p->hh.next)
        if (p->is_hosted && p->whose == whose && p->t->number == number &&
            p->whose_incarnation == r->mesh.sessions[whose].incarnation)
            return p;
    return NULL;
}

piece *hosted_find(const raylet *r, int whose, const letter *l)
{
    piece *p = find(r, whose, l->number);
    return p && p->sending == l->sending ? p : NULL;
}

static void done(raylet *r, int whose)
{
    rayi_peer_done(r->mesh.sessions[whose].peer, 1, raylet_now(r));
    r->is_stirred[whose] = true;
}

static bool is_turned_away(const raylet *r, const letter *l, rayi_planner_return *why)
{
    if (r->w->drained[r->node])
        *why = RAYI_PLANNER_DRAINING;
    else if (r->w->lacks[r->node][world_task(r->w, l->number)->function])
        *why = RAYI_PLANNER_LACKS;
    else if (sim_chance(r->s, r->w->refusals))
        *why = RAYI_PLANNER_FULL;
    else
        return false;
    return true;
}

void hosted_take(raylet *r, int from, const letter *l)
{
    uint64_t incarnation = r->mesh.sessions[from].incarnation;
    rayi_planner_return why;
    if (is_turned_away(r, l, &why)) {
        letter back = {.what = LETTER_REFUSE, .value = (int32_t)why, .number = l->number, .sending = l->sending};
        raylet_say(r, from, incarnation, &back);
        done(r, from);
        return;
    }
    if (find(r, from, l->number))
        sim_fail(r->s, "node %d is sent task %llu twice", r->node, (unsigned long long)l->number);
    piece *p = raylet_add(r, world_task(r->w, l->number), ++r->last_id);
    p->is_hosted = true;
    p->whose = from;
    p->whose_incarnation = incarnation;
    p->sending = l->sending;
    memcpy(p->places, l->places, sizeof p->places);
    p->deadline_ms = l->left_ms == INT64_MAX ? INT64_MAX : raylet_now(r) + l->left_ms;
    if (rayi_ledger_add(r->ledger, p->id, &(rayi_ledger_options){.deadline_ms = p->deadline_ms}, raylet_now(r)))
        sim_fail(r->s, "node %d has no memory", r->node);
}

void hosted_cancel(raylet *r, int from, const letter *l)
{
    piece *p = hosted_find(r, from, l);
    if (!p)
        return;
    (void)rayi_ledger_cancel(r->ledger, p->id);
    hosted_stop(r, p);
}

void hosted_inherit(raylet *r, int from, const letter *l)
{
    piece *p = find(r, from, l->number);
    if (p)
        (void)rayi_scheduler_inherit(r->scheduler, p->id, l->value);
}

void hosted_end(raylet *r, piece *p, rayi_outcome outcome)
{
    letter l = {.what = LETTER_RESULT, .value = (int32_t)outcome, .number = p->t->number, .sending = p->sending};
    if (p->lost && outcome == RAYI_OUTCOME_FAILED) {
        l.what = LETTER_LOST;
        l.value = (int32_t)p->lost;
    }
    if (mesh_talks_to(&r->mesh, p->whose, p->whose_incarnation)) {
        raylet_say(r, p->whose, p->whose_incarnation, &l);
        done(r, p->whose);
    }
    raylet_forget(r, p);
}

void hosted_drop_all(raylet *r, int whose)
{
    for (piece *p = r->pieces, *next; p; p = next) {
        next = p->hh.next;
        if (!p->is_hosted || p->whose != whose || mesh_talks_to(&r->mesh, whose, p->whose_incarnation))
            continue;
        (void)rayi_ledger_cancel(r->ledger, p->id);
        hosted_stop(r, p);
    }
}
