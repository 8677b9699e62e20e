/* A node: its brains, as the raylet that ships has them (lib/raylet/loop.c, escape.c, plan.c), and who has a task. */
#include "raylet.h"

#include <stdlib.h>
#include <string.h>

static void on_ended_of(raylet *r, const task *t, rayi_outcome outcome);

int64_t raylet_now(const raylet *r)
{
    return sim_now(r->s, r->node);
}

/* ---- tasks ---- */

piece *raylet_piece(const raylet *r, uint64_t id)
{
    piece *p;
    HASH_FIND(hh, r->pieces, &id, sizeof id, p);
    return p;
}

piece *raylet_add(raylet *r, const task *t, uint64_t id)
{
    const rayi_memory *memory = rayi_heap;
    piece *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->id = id;
    p->t = t;
    HASH_ADD(hh, r->pieces, id, sizeof p->id, p);
    return p;
}

static void leave_unsent(raylet *r, piece *p)
{
    if (p->is_unsent)
        DL_DELETE(r->unsent[p->there], p);
    p->is_unsent = false;
}

void raylet_forget(raylet *r, piece *p)
{
    const rayi_memory *memory = rayi_heap;
    leave_unsent(r, p);
    HASH_DEL(r->pieces, p);
    actors_forget(p);
    free(p);
}

/* It waits no more, or has ended, wherever it was. */
static void plan_over(raylet *r, piece *p)
{
    if (p->where == PLANNED)
        (void)rayi_planner_remove(r->planner, p->id);
    else if (p->is_assigned)
        rayi_planner_finished(r->planner, p->id, raylet_now(r));
    leave_unsent(r, p);
    p->is_assigned = false;
    p->where = NOWHERE;
}

/* ---- what is said ---- */

static rayi_frame_kind kind_of(const letter *l)
{
    return l->what == LETTER_TASK ? RAYI_FRAME_REQUEST : RAYI_FRAME_MESSAGE;
}

static int post(raylet *r, int to, const letter *l)
{
    int code = rayi_peer_send(r->mesh.sessions[to].peer, kind_of(l), l->number, l, sizeof *l, NULL, 0, raylet_now(r));
    r->is_stirred[to] = true;
    return code;
}

bool raylet_say(raylet *r, int to, uint64_t incarnation, const letter *l)
{
    return mesh_session_with(&r->mesh, to, incarnation) && post(r, to, l) == 0;
}

static letter letter_of(const raylet *r, const piece *p)
{
    letter l = {.what = LETTER_TASK, .number = p->t->number, .sending = p->sending, .left_ms = INT64_MAX};
    if (p->deadline_ms != INT64_MAX)
        l.left_ms = RAYI_MAX(p->deadline_ms - raylet_now(r), 1);
    values_put_places(r, p, l.places);
    return l;
}

void raylet_came_back(raylet *r, piece *p, rayi_planner_return why)
{
    leave_unsent(r, p);
    if (p->is_cancelled) {
        rayi_ledger_finished(r->ledger, p->id, RAYI_OUTCOME_CANCELLED);
        return;
    }
    account_returned(r->w->account, p->t->number);
    rayi_planner_returned(r->planner, p->id, why, raylet_now(r));
    p->is_assigned = false;
    p->where = PLANNED;
    rayi_ledger_returned(r->ledger, p->id);
}

static void send_away(raylet *r, piece *p)
{
    p->sending++;
    sim_trace(r->s, "task %llu (%s) goes from node %d to node %d", (unsigned long long)p->t->number,
              shapes[p->t->shape].text, r->node, p->there);
    letter l = letter_of(r, p);
    int code = RAY_ERR_NODE_DIED;
    if (r->known[p->there] && mesh_session_with(&r->mesh, p->there, r->known[p->there]))
        code = r->unsent[p->there] ? RAY_ERR_LIMIT : post(r, p->there, &l);
    if (code == RAY_ERR_LIMIT) {
        p->is_unsent = true;
        DL_APPEND(r->unsent[p->there], p);
    } else if (code) {
        raylet_came_back(r, p, RAYI_PLANNER_FULL);
    }
}

static void on_credit(void *self, int with)
{
    raylet *r = self;
    while (r->unsent[with]) {
        letter l = letter_of(r, r->unsent[with]);
        if (post(r, with, &l))
            return;
        leave_unsent(r, r->unsent[with]);
    }
}

/* ---- what the ledger wants ---- */

void raylet_submit_here(raylet *r, piece *p)
{
    rayi_scheduler_request request = {
        .id = p->id, .resources = r->w->resources[p->t->shape], .priority = p->t->priority};
    p->where = HERE;
    if (rayi_scheduler_submit(r->scheduler, &request, raylet_now(r)))
        sim_fail(r->s, "node %d has no memory", r->node);
}

rayi_planner_id raylet_id_of(int node)
{
    return (rayi_planner_id){{(uint8_t)(node + 1)}};
}

static void submit(raylet *r, piece *p)
{
    const task *t = p->t;
    rayi_planner_id tie = raylet_id_of(t->tie);
    rayi_planner_request request = {.id = p->id,
                                    .resources = r->w->resources[t->shape],
                                    .node_id = t->tie >= 0 ? &tie : NULL,
                                    .node_soft = t->tie_soft,
                                    .spread = t->spread,
                                    .priority = t->priority,
                                    .function = (uint32_t)t->function};
    if (p->where == PLANNED)
        return;
    if (p->is_hosted) {
        raylet_submit_here(r, p);
        return;
    }
    if (rayi_planner_submit(r->planner, &request, raylet_now(r)))
        sim_fail(r->s, "node %d has no memory", r->node);
    p->where = PLANNED;
}

static void give_back(raylet *r, piece *p)
{
    if (p->where == HERE)
        rayi_scheduler_finish(r->scheduler, p->id);
    if (p->where != PLANNED)
        plan_over(r, p);
    p->is_blocked = false;
}

static void end(raylet *r, piece *p, rayi_outcome outcome)
{
    const task *t = p->t;
    plan_over(r, p);
    if (p->is_hosted) {
        hosted_end(r, p, outcome);
        return;
    }
    account_ended(r->w->account, t->number, outcome);
    if (t->life_of)
        actors_ended(r, p, outcome);
    else
        values_ended(r, p, outcome);
    raylet_forget(r, p);
    on_ended_of(r, t, outcome);
}

/* One that is away is late there, too, and they know it. */
static void expire(raylet *r, piece *p)
{
    if (p->is_unsent)
        raylet_came_back(r, p, RAYI_PLANNER_FULL);
    else if (p->where != AWAY)
        hosted_stop(r, p);
}

static void obey_ledger(raylet *r, const rayi_ledger_action *action)
{
    piece *p = raylet_piece(r, action->id);
    if (!p)
        sim_fail(r->s, "the ledger of %d wants something of who has ended", r->node);
    switch (action->what) {
    case RAYI_LEDGER_WITHDRAW:
        if (p->where == HERE)
            (void)rayi_scheduler_remove(r->scheduler, p->id);
        plan_over(r, p);
        break;
    case RAYI_LEDGER_GIVE_BACK:
        give_back(r, p);
        break;
    case RAYI_LEDGER_RETRY:
        break;
    case RAYI_LEDGER_SUBMIT:
        submit(r, p);
        break;
    case RAYI_LEDGER_RUN:
        if (!p->is_hosted && values_hold(r, p))
            break;
        p->attempt = action->attempt;
        if (!p->is_hosted)
            account_tried(r->w->account, p->t->number);
        if (p->where == AWAY)
            send_away(r, p);
        else
            hosted_run(r, p);
        break;
    case RAYI_LEDGER_EXPIRE:
        expire(r, p);
        break;
    case RAYI_LEDGER_END:
        end(r, p, action->outcome);
        break;
    }
}

/* ---- what planner and scheduler want ---- */

static void obey_planner(raylet *r, const rayi_planner_action *action)
{
    piece *p = raylet_piece(r, action->id);
    if (action->what == RAYI_PLANNER_WARN)
        return;
    if (!p || p->where != PLANNED)
        sim_fail(r->s, "the planner of %d has task %llu, which does not wait", r->node, (unsigned long long)action->id);
    if (action->what == RAYI_PLANNER_REFUSE) {
        p->where = NOWHERE;
        rayi_ledger_refused(r->ledger, p->id);
        return;
    }
    p->is_assigned = true;
    p->there = action->node.bytes[0] - 1;
    p->there_incarnation = p->there == r->node ? r->incarnation : action->tag;
    if (p->there == r->node) {
        raylet_submit_here(r, p);
        return;
    }
    if (r->known[p->there] != action->tag)
        sim_fail(r->s, "the planner of %d sends to an incarnation of %d that is gone", r->node, p->there);
    p->where = AWAY;
    rayi_ledger_granted(r->ledger, p->id);
}

static void obey_scheduler(raylet *r, const rayi_scheduler_action *action)
{
    switch (action->what) {
    case RAYI_SCHEDULER_GRANT:
        rayi_ledger_granted(r->ledger, action->id);
        break;
    case RAYI_SCHEDULER_LANE_GIVE:
        hosted_lane_gets(r, action->slots);
        break;
    case RAYI_SCHEDULER_LANE_ASK:
        hosted_lane_owes(r, action->slots);
        break;
    case RAYI_SCHEDULER_WARN:
        break;
    case RAYI_SCHEDULER_GROUP_READY:
        groups_ready(r, action->group);
        break;
    case RAYI_SCHEDULER_REFUSE:
    case RAYI_SCHEDULER_LOST:
        sim_fail(r->s, "the scheduler of %d does %d", r->node, (int)action->what);
    }
}

static void count_demand(void *arg, const rayi_scheduler_demand_row *demand)
{
    *(uint32_t *)arg += (uint32_t)demand->count;
}

void raylet_describe(raylet *r, row *out)
{
    *out = (row){.incarnation = r->incarnation, .drained = r->w->drained[r->node]};
    for (uint32_t i = 0; i < rayi_scheduler_resource_count(r->scheduler); i++) {
        rayi_scheduler_resource has = rayi_scheduler_resource_at(r->scheduler, i);
        for (int k = 0; k < KINDS; k++)
            if (strcmp(has.name, kind_names[k]) == 0)
                out->available[k] = has.available;
    }
    out->available[CPU] += (int64_t)(r->lane.slots + r->lane.returned - r->lane.running) * RAYI_RESOURCE_UNIT;
    rayi_scheduler_demand(r->scheduler, count_demand, &out->load);
    out->load += r->lane.waiting > 0;
}

/* False: no memory; the next table comes soon. */
static bool put(raylet *r, int node, const row *has)
{
    rayi_planner_resource items[KINDS];
    rayi_planner_node what = {.id = raylet_id_of(node), .tag = has->incarnation, .load = has->load, .resources = items};
    for (int k = 0; k < KINDS; k++)
        if (r->w->totals[node][k])
            items[what.resource_count++] =
                (rayi_planner_resource){kind_names[k], r->w->totals[node][k], has->available[k]};
    what.flags = (node == r->node ? RAYI_PLANNER_SELF : 0u) | (has->drained ? RAYI_PLANNER_DRAINED : 0u) |
                 (has->suspect ? RAYI_PLANNER_SUSPECT : 0u) | (what.resource_count ? 0u : RAYI_PLANNER_DRIVER);
    if (node != r->node && sim_chance(r->s, r->w->out_of_memory))
        counted_fail(&r->heap, 1 + (long)sim_below(r->s, 5));
    int code = rayi_planner_node_put(r->planner, &what, raylet_now(r));
    (void)rayi_bundles_node_put(r->bundles, &what, raylet_now(r));
    counted_fail(&r->heap, 0);
    return code == 0;
}

static void put_self(raylet *r)
{
    row self;
    raylet_describe(r, &self);
    (void)put(r, r->node, &self);
}

/* ---- the loop ---- */

static bool ask_brains(raylet *r)
{
    enum { ACTIONS_MOST = 100000 };
    rayi_ledger_action ledger;
    rayi_planner_action planner;
    rayi_scheduler_action scheduler;
    bool any = false;
    while (rayi_ledger_next(r->ledger, &ledger)) {
        obey_ledger(r, &ledger);
        any = true;
    }
    any |= groups_pump(r);
    if (rayi_planner_waiting(r->planner) > 0 || rayi_bundles_waiting(r->bundles) > 0)
        put_self(r);
    while (rayi_planner_next(r->planner, &planner)) {
        obey_planner(r, &planner);
        any = true;
    }
    for (int count = 0; rayi_scheduler_next(r->scheduler, &scheduler); count++) {
        obey_scheduler(r, &scheduler);
        any = true;
        if (count > ACTIONS_MOST)
            sim_fail(r->s, "node %d: no end of the scheduler's actions", r->node);
    }
    return any;
}

void raylet_pump(raylet *r)
{
    enum { ROUNDS_MOST = 10000 };
    int rounds = 0;
    bool any;
    rayi_scheduler_lane_waiting(r->scheduler, r->lane.waiting > 0);
    do {
        any = ask_brains(r);
        if (++rounds > ROUNDS_MOST)
            sim_fail(r->s, "node %d: no end of actions", r->node);
        for (int i = 0; i < sim_nodes(r->s); i++) {
            if (!r->is_stirred[i])
                continue;
            r->is_stirred[i] = false;
            mesh_fetch(&r->mesh, i);
            any = true;
        }
    } while (any);
}

/* ---- what comes ---- */

static piece *away_at(const raylet *r, int there, const letter *l)
{
    piece *p = raylet_piece(r, l->number);
    return p && p->where == AWAY && p->there == there && !p->is_unsent && p->sending == l->sending ? p : NULL;
}

static void on_letter(void *self, int from, const rayi_peer_action *a)
{
    raylet *r = self;
    letter l;
    memcpy(&l, a->bytes, sizeof l);
    piece *p = away_at(r, from, &l);
    switch (l.what) {
    case LETTER_TASK:
        hosted_take(r, from, &l);
        break;
    case LETTER_REFUSE:
        if (p)
            raylet_came_back(r, p, (rayi_planner_return)l.value);
        break;
    case LETTER_RESULT:
        if (p)
            rayi_ledger_finished(r->ledger, p->id, (rayi_outcome)l.value);
        break;
    case LETTER_LOST:
        if (p) {
            account_returned(r->w->account, p->t->number);
            values_lack(r, p, (uint64_t)l.value);
        }
        break;
    case LETTER_BEGUN:
    case LETTER_UP:
    case LETTER_RETURN:
        if (p)
            actors_hear(r, p, &l);
        break;
    case LETTER_CALL:
    case LETTER_FINI:
        p = hosted_find(r, from, &l);
        if (p)
            actors_take(r, p, &l);
        break;
    case LETTER_CANCEL:
        hosted_cancel(r, from, &l);
        break;
    case LETTER_INHERIT:
        hosted_inherit(r, from, &l);
        break;
    case LETTER_RESERVE:
    case LETTER_RELEASE:
    case LETTER_ANSWER:
        groups_take(r, from, &l);
        break;
    }
}

/* Nothing more goes there. */
static void on_dead(void *self, int with)
{
    raylet *r = self;
    rayi_planner_id id = raylet_id_of(with);
    rayi_planner_node_gone(r->planner, &id, raylet_now(r));
    rayi_bundles_node_gone(r->bundles, &id, raylet_now(r));
    r->known[with] = 0;
}

/* What was there is over. */
static void on_settled(void *self, int with)
{
    raylet *r = self;
    account_buried(r->w->account, r->node, with, r->mesh.sessions[with].incarnation);
    r->buried[with] = r->mesh.sessions[with].incarnation;
    for (piece *p = r->pieces, *next; p; p = next) {
        next = p->hh.next;
        if (p->where != AWAY || p->there != with)
            continue;
        if (p->is_unsent)
            raylet_came_back(r, p, RAYI_PLANNER_FULL);
        else
            rayi_ledger_finished(r->ledger, p->id, RAYI_OUTCOME_CRASHED);
    }
    hosted_drop_all(r, with);
    groups_drop_all(r, with);
    values_buried(r, with);
}

static const mesh_calls calls = {.deliver = on_letter, .credit = on_credit, .dead = on_dead, .settled = on_settled};

void raylet_hear(raylet *r, int of, const row *said)
{
    const mesh_session *session = &r->mesh.sessions[of];
    if (said->incarnation <= session->dead || said->incarnation < session->incarnation)
        return;
    if (!mesh_session_with(&r->mesh, of, said->incarnation)) /* what was before is dead */
        return;
    if (put(r, of, said))
        r->known[of] = said->incarnation;
    raylet_pump(r);
}

bool raylet_knows(const raylet *r, int node)
{
    return node == r->node || r->known[node] > 0;
}

void raylet_declare_dead(raylet *r, int with, uint64_t incarnation)
{
    mesh_declare_dead(&r->mesh, with, incarnation);
    raylet_pump(r);
}

/* ---- work ---- */

static void fail_for_argument(raylet *r, piece *p)
{
    (void)rayi_ledger_cancel(r->ledger, p->id);
}

/* Those who wait for it are told; of tasks of this owner only. */
static void on_ended_of(raylet *r, const task *t, rayi_outcome outcome)
{
    for (piece *p = r->pieces, *next; p; p = next) {
        next = p->hh.next;
        for (int i = 0; i < ARGS && !p->is_hosted; i++) {
            if (p->t->args[i] != t->number)
                continue;
            if (outcome != RAYI_OUTCOME_OK)
                fail_for_argument(r, p);
            else if (--p->missing == 0)
                rayi_ledger_ready(r->ledger, p->id);
        }
    }
}

void raylet_enter(raylet *r, const task *t, uint32_t depth)
{
    piece *p = raylet_add(r, t, t->number);
    rayi_ledger_options options = {.held = true,
                                   .retry_failures = t->retry_failures,
                                   .retries = t->retries,
                                   .deadline_ms = t->left_ms == INT64_MAX ? INT64_MAX : raylet_now(r) + t->left_ms};
    rayi_outcome outcome;
    bool failed = false;
    p->depth = depth;
    values_need(r, p);
    p->deadline_ms = options.deadline_ms;
    for (int i = 0; i < ARGS; i++) {
        bool ended = !t->args[i] || account_has_ended(r->w->account, t->args[i], &outcome);
        p->missing += !ended;
        failed |= t->args[i] && ended && outcome != RAYI_OUTCOME_OK;
    }
    if (rayi_ledger_add(r->ledger, p->id, &options, raylet_now(r)))
        sim_fail(r->s, "node %d has no memory", r->node);
    if (failed)
        fail_for_argument(r, p);
    else if (p->missing == 0)
        rayi_ledger_ready(r->ledger, p->id);
}

void raylet_submit(raylet *r, const task *t)
{
    values_new(r, t);
    raylet_enter(r, t, 0);
    raylet_pump(r);
}

void raylet_stop(raylet *r, piece *p)
{
    uint64_t number = p->t->number;
    account_cancelled(r->w->account, number);
    (void)rayi_ledger_cancel(r->ledger, number);
    p->is_cancelled = true;
    if (p->where == AWAY && p->is_unsent) {
        raylet_came_back(r, p, RAYI_PLANNER_FULL);
    } else if (p->where == AWAY) {
        letter l = {.what = LETTER_CANCEL, .number = number, .sending = p->sending};
        (void)raylet_say(r, p->there, r->mesh.sessions[p->there].incarnation, &l);
    } else {
        hosted_stop(r, p);
    }
}

void raylet_cancel(raylet *r, uint64_t number)
{
    piece *p = raylet_piece(r, number);
    if (!p || p->is_cancelled)
        return;
    raylet_stop(r, p);
    raylet_pump(r);
}

void raylet_inherit(raylet *r, uint64_t number, int32_t priority)
{
    const piece *p = raylet_piece(r, number);
    if (!p)
        return;
    if (p->where == PLANNED) {
        (void)rayi_planner_inherit(r->planner, number, priority);
    } else if (p->where == HERE) {
        (void)rayi_scheduler_inherit(r->scheduler, number, priority);
    } else if (p->where == AWAY && !p->is_unsent) {
        letter l = {.what = LETTER_INHERIT, .number = number, .sending = p->sending, .value = priority};
        (void)raylet_say(r, p->there, r->mesh.sessions[p->there].incarnation, &l);
    }
    raylet_pump(r);
}

void raylet_lane_work(raylet *r, uint32_t tasks)
{
    if (r->w->totals[r->node][CPU] == 0)
        return;
    hosted_lane_work(r, tasks);
    raylet_pump(r);
}

/* ---- calls of the simulator ---- */

static void make_brains(raylet *r)
{
    rayi_scheduler_options options = {.node_id = "this", .total = r->w->offers[r->node]};
    char why[128];
    if (rayi_ledger_new(&r->heap.memory, &r->ledger) ||
        rayi_lineage_new(&r->heap.memory, r->w->lineage_bytes, &r->lineage) ||
        rayi_planner_new(&r->heap.memory, sim_chance(r->s, 50) ? 0 : sim_random(r->s), &r->planner) ||
        rayi_bundles_new(&r->heap.memory, sim_random(r->s), &r->bundles) ||
        rayi_scheduler_new(&r->heap.memory, &options, &r->scheduler, why, sizeof why))
        abort();
}

static void *start(sim *s, int node, uint64_t incarnation)
{
    raylet *r = calloc(1, sizeof *r);
    if (!r)
        abort();
    *r = (raylet){.w = sim_world(s), .s = s, .node = node, .incarnation = incarnation, .last_id = UINT64_C(1) << 40};
    counted_init(&r->heap);
    r->mesh = (mesh){.s = s,
                     .node = node,
                     .incarnation = incarnation,
                     .calls = &calls,
                     .owner = r,
                     .memory = &r->heap.memory,
                     .options = r->w->options};
    mesh_init(&r->mesh);
    r->w->deaths.known[node] = incarnation;
    for (int i = 0; i < sim_nodes(s); i++)
        r->mesh.sessions[i].dead = r->w->deaths.dead[i];
    make_brains(r);
    put_self(r);
    raylet_pump(r);
    return r;
}

static void crash(void *self)
{
    raylet *r = self;
    rayi_ledger_free(r->ledger);
    rayi_lineage_free(r->lineage);
    rayi_planner_free(r->planner);
    rayi_bundles_free(r->bundles);
    rayi_scheduler_free(r->scheduler);
    mesh_fini(&r->mesh);
    if (r->heap.live)
        sim_fail(r->s, "%d leaves %ld blocks behind", r->node, r->heap.live);
    while (r->pieces)
        raylet_forget(r, r->pieces);
    groups_free(r);
    values_free(r);
    actors_free(r);
    free(r);
}

static void up(void *self, sim_end end)
{
    mesh_up(&((raylet *)self)->mesh, end);
    raylet_pump(self);
}

static void accepted(void *self, sim_end end, int from)
{
    (void)from;
    mesh_accepted(&((raylet *)self)->mesh, end);
}

static void down(void *self, sim_end end)
{
    mesh_down(&((raylet *)self)->mesh, end);
    raylet_pump(self);
}

static void message(void *self, sim_end end, const void *bytes, size_t size)
{
    mesh_message(&((raylet *)self)->mesh, end, bytes, size);
    raylet_pump(self);
}

static void wrote(void *self, sim_end end, size_t size)
{
    mesh_wrote(&((raylet *)self)->mesh, end, size);
    raylet_pump(self);
}

static int64_t next_timer(const void *self)
{
    const raylet *r = self;
    int64_t next = RAYI_MIN(rayi_ledger_next_deadline(r->ledger), rayi_scheduler_wake_ms(r->scheduler));
    next = RAYI_MIN(next, rayi_planner_wake_ms(r->planner));
    next = RAYI_MIN(next, rayi_bundles_wake_ms(r->bundles));
    return RAYI_MIN(next, mesh_next_timer(&r->mesh));
}

static void timer(void *self)
{
    enum { AT_ONCE_MOST = 1000 };
    raylet *r = self;
    int64_t now = raylet_now(r);
    r->timers = now == r->timer_ms ? r->timers + 1 : 0;
    r->timer_ms = now;
    if (r->timers > AT_ONCE_MOST)
        sim_fail(r->s, "node %d is woken again and again", r->node);
    rayi_ledger_tick(r->ledger, now);
    rayi_scheduler_tick(r->scheduler, now);
    rayi_planner_tick(r->planner, now);
    rayi_bundles_tick(r->bundles, now);
    mesh_timer(&r->mesh);
    raylet_pump(r);
}

const sim_node_calls raylet_calls = {start, crash, up, accepted, down, message, wrote, timer, next_timer};

/* ---- in the end ---- */

void raylet_check(raylet *r)
{
    row has;
    for (const piece *p = r->pieces; p; p = p->hh.next)
        sim_fail(r->s, "node %d still has task %llu", r->node, (unsigned long long)p->t->number);
    for (const value *v = r->values; v; v = v->hh.next)
        sim_fail(r->s, "node %d still has the value of task %llu", r->node, (unsigned long long)v->number);
    if (rayi_lineage_size_bytes(r->lineage))
        sim_fail(r->s, "the lineage of node %d keeps %llu bytes of nothing", r->node,
                 (unsigned long long)rayi_lineage_size_bytes(r->lineage));
    for (const part *p = r->parts; p; p = p->next)
        sim_fail(r->s, "node %d still keeps room for group %llu", r->node, (unsigned long long)p->g->number);
    actors_check(r);
    raylet_describe(r, &has);
    for (int k = 0; k < KINDS; k++)
        if (has.available[k] != r->w->totals[r->node][k])
            sim_fail(r->s, "node %d has %lld of %s left, and nothing runs there", r->node, (long long)has.available[k],
                     kind_names[k]);
    if (has.load || rayi_planner_waiting(r->planner))
        sim_fail(r->s, "something waits on node %d", r->node);
    for (int i = 0; i < sim_nodes(r->s); i++) {
        rayi_planner_id id = raylet_id_of(i);
        if (rayi_planner_outstanding(r->planner, &id))
            sim_fail(r->s, "node %d believes to have something on node %d", r->node, i);
    }
}
