/* Actors, as the library that ships has them (lib/executor/actor_life.c, lib/cluster/actors.c, residents.c): the owner
 * keeps the state and the mailbox, a life is placed like a task and lasts on its node until it is told to end. Calls go
 * to the life in their order, and run there one at a time. */
#include "raylet.h"

#include <stdlib.h>

/* ---- at who has a life ---- */

static bool is_ours(const piece *p)
{
    return !p->is_hosted;
}

static void hear(raylet *r, piece *p, const letter *l);

static void tell_owner(raylet *r, piece *p, letter_kind what, uint64_t of, int64_t came_to)
{
    letter l = {.what = what, .number = p->t->number, .sending = p->sending, .value = (int32_t)of, .left_ms = came_to};
    if (is_ours(p))
        hear(r, p, &l);
    else if (mesh_talks_to(&r->mesh, p->whose, p->whose_incarnation))
        (void)raylet_say(r, p->whose, p->whose_incarnation, &l);
}

static void go_on(raylet *r, piece *p)
{
    enum { CALL_MS = 20, LONG_CALL_MS = 1000 };
    uint64_t most_ms = sim_chance(r->s, 90) ? CALL_MS : LONG_CALL_MS;
    if (!p->is_up || p->is_busy)
        return;
    if (p->is_ending) { /* fini runs */
        p->came_to = RAYI_OUTCOME_OK;
        hosted_later(r, 1 + (int64_t)sim_below(r->s, most_ms), RUN_OVER, p);
    } else if (p->heard) {
        p->is_busy = true;
        cast_started(r->w->cast, p->heard->number, p->t, r->node);
        hosted_later(r, 1 + (int64_t)sim_below(r->s, most_ms),
                     world_call(r->w, p->heard->number)->breaks ? RUN_OVER : CALL_OVER, p);
    }
}

void actors_begin(raylet *r, piece *p)
{
    enum { CONSTRUCTOR_MS = 50, BREAKS_MS = 1000 };
    p->came_to = RAYI_OUTCOME_CRASHED;
    hosted_later(r, 1 + (int64_t)sim_below(r->s, CONSTRUCTOR_MS), LIFE_UP, p);
    if (!sim_is_calm(r->s) && sim_chance(r->s, r->w->crashes))
        hosted_later(r, (int64_t)sim_below(r->s, BREAKS_MS), RUN_OVER, p);
    tell_owner(r, p, LETTER_BEGUN, 0, 0);
}

void actors_up(raylet *r, piece *p)
{
    if (!sim_is_calm(r->s) && sim_chance(r->s, r->w->failures / 2)) {
        p->came_to = RAYI_OUTCOME_FAILED;
        hosted_later(r, 0, RUN_OVER, p);
        return;
    }
    p->is_up = true;
    tell_owner(r, p, LETTER_UP, 0, 0);
    go_on(r, p);
}

void actors_call_over(raylet *r, piece *p)
{
    heard *h = p->heard;
    uint64_t number = h->number;
    bool exits = world_call(r->w, number)->exits;
    DL_DELETE(p->heard, h);
    free(h);
    p->is_busy = false;
    p->is_ending |= exits;
    cast_stopped(r->w->cast, number, p->t);
    tell_owner(r, p, LETTER_RETURN, number, exits);
    go_on(r, p);
}

/* CALL, FINI. */
void actors_take(raylet *r, piece *p, const letter *l)
{
    if (!p->is_up)
        sim_fail(r->s, "node %d hears of calls of an actor that is not up", r->node);
    if (l->what == LETTER_FINI) {
        p->is_ending = true;
    } else {
        heard *h = calloc(1, sizeof *h);
        if (!h)
            abort();
        h->number = (uint64_t)l->value;
        DL_APPEND(p->heard, h);
    }
    go_on(r, p);
}

void actors_forget(piece *p)
{
    heard *h, *next;
    DL_FOREACH_SAFE(p->heard, h, next)
    free(h);
}

/* ---- the owner ---- */

static mailbox *find(const raylet *r, uint64_t number)
{
    mailbox *m;
    HASH_FIND(hh, r->mailboxes, &number, sizeof number, m);
    return m;
}

static bool waits_for_place(const mailbox *m)
{
    return m->state == RAYI_ACTOR_PENDING || m->state == RAYI_ACTOR_RESTARTING;
}

static void tell_life(raylet *r, const mailbox *m, letter_kind what, uint64_t of)
{
    piece *p = raylet_piece(r, m->life);
    letter l = {.what = what, .number = m->life, .sending = p->sending, .value = (int32_t)of};
    if (p->where == AWAY)
        (void)raylet_say(r, p->there, r->mesh.sessions[p->there].incarnation, &l);
    else
        actors_take(r, p, &l);
}

static void begin_life(raylet *r, mailbox *m)
{
    const task *t = world_life(r->w, m->a);
    m->is_due = false;
    m->life = t->number;
    cast_life(r->w->cast, m->a);
    account_submitted(r->w->account, t);
    raylet_enter(r, t, 0);
}

/* It is counted on no more; another begins when it is known to be over. */
static void stop_life(raylet *r, mailbox *m)
{
    if (!m->life || m->is_stopped)
        return;
    m->is_stopped = true;
    cast_left(r->w->cast, m->life);
    raylet_stop(r, raylet_piece(r, m->life));
}

static void end_call(raylet *r, mailbox *m, waiting_call *c, call_end how)
{
    cast_ended(r->w->cast, c->number, how);
    DL_DELETE(m->calls, c);
    free(c);
}

/* A few at a time; the rest waits in the mailbox. */
static void send_calls(raylet *r, mailbox *m)
{
    enum { MOST = 4 };
    int under_way = 0;
    for (waiting_call *c = m->calls; c && m->is_open && ++under_way <= MOST; c = c->next) {
        if (c->is_sent)
            continue;
        c->is_sent = true;
        cast_sent(r->w->cast, c->number, m->life);
        tell_life(r, m, LETTER_CALL, c->number);
    }
}

/* Those under way run again, if they may and the actor is to live, in the order in which they were. */
static void fail_running(raylet *r, mailbox *m, bool lives)
{
    waiting_call *c, *next;
    DL_FOREACH_SAFE(m->calls, c, next)
    {
        if (!c->is_sent)
            continue;
        c->is_sent = false;
        if (c->retries_left == 0 || !lives)
            end_call(r, m, c, CALL_DIED);
        else if (c->retries_left > 0)
            c->retries_left--;
    }
}

static void fail_calls(raylet *r, mailbox *m)
{
    waiting_call *c, *next;
    DL_FOREACH_SAFE(m->calls, c, next)
    if (!c->is_sent)
        end_call(r, m, c, CALL_DIED);
}

static void apply(raylet *r, mailbox *m, rayi_actor_event event)
{
    rayi_actor_step step = rayi_actor_next(m->state, event, m->restarts_left);
    sim_trace(r->s, "actor %llu: %s, event %d, now %s", (unsigned long long)m->number, rayi_actor_state_name(m->state),
              (int)event, rayi_actor_state_name(step.state));
    if (step.state == RAYI_ACTOR_DEAD && m->state != RAYI_ACTOR_DEAD)
        cast_dead(r->w->cast, m->a);
    m->state = step.state;
    m->restarts_left = step.restarts_left;
    m->is_due = (m->is_due || step.todo & RAYI_ACTOR_SUBMIT) && !(step.todo & RAYI_ACTOR_WITHDRAW);
    if (step.todo & (RAYI_ACTOR_WITHDRAW | RAYI_ACTOR_GIVE_BACK))
        stop_life(r, m);
    if (step.todo & RAYI_ACTOR_FAIL_RUNNING)
        fail_running(r, m, step.state != RAYI_ACTOR_DEAD);
    if (step.todo & RAYI_ACTOR_FAIL_CALLS)
        fail_calls(r, m);
    if (step.todo & RAYI_ACTOR_RUN_FINI)
        tell_life(r, m, LETTER_FINI, 0);
    if (m->is_due && !m->life)
        begin_life(r, m);
    if (step.todo & (RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_FAIL_CALLS | RAYI_ACTOR_RUN_FINI))
        m->is_open = false;
    if (step.todo & RAYI_ACTOR_RUN_CALLS)
        m->is_open = true;
    send_calls(r, m);
}

/* Its last handle is gone, and nothing is left to do. */
static void maybe_release(raylet *r, mailbox *m)
{
    if (m->is_released && !m->calls && m->state == RAYI_ACTOR_ALIVE)
        apply(r, m, RAYI_ACTOR_RELEASED);
}

static void returned(raylet *r, mailbox *m, const letter *l)
{
    waiting_call *c;
    DL_FOREACH (m->calls, c)
        if (c->number == (uint64_t)l->value && c->is_sent)
            break;
    if (c)
        end_call(r, m, c, CALL_OK);
    if (l->left_ms)
        apply(r, m, RAYI_ACTOR_EXIT);
    else
        send_calls(r, m);
}

/* BEGUN, UP, RETURN: from a life that is ours. */
static void hear(raylet *r, piece *p, const letter *l)
{
    mailbox *m = find(r, p->t->life_of);
    if (m->life != p->t->number || m->is_stopped)
        return;
    if (l->what == LETTER_BEGUN)
        apply(r, m, RAYI_ACTOR_GRANTED);
    else if (l->what == LETTER_UP)
        apply(r, m, RAYI_ACTOR_CONSTRUCTED);
    else
        returned(r, m, l);
    maybe_release(r, m);
}

void actors_hear(raylet *r, piece *p, const letter *l)
{
    hear(r, p, l);
}

static rayi_actor_event event_of(const mailbox *m, rayi_outcome outcome)
{
    if (m->state == RAYI_ACTOR_ENDING && outcome == RAYI_OUTCOME_OK)
        return RAYI_ACTOR_FINI_DONE;
    if (m->state == RAYI_ACTOR_STARTING && outcome == RAYI_OUTCOME_FAILED)
        return RAYI_ACTOR_CONSTRUCTOR_FAILED;
    return RAYI_ACTOR_KILL_MAY_RESTART;
}

/* A life is over, and its place is free. */
void actors_ended(raylet *r, const piece *p, rayi_outcome outcome)
{
    mailbox *m = find(r, p->t->life_of);
    bool was_stopped = m->is_stopped;
    m->life = 0;
    m->is_stopped = false;
    if (!was_stopped) {
        cast_left(r->w->cast, p->t->number);
        if (waits_for_place(m)) /* it had begun before it was gone, for all that is known */
            apply(r, m, RAYI_ACTOR_GRANTED);
        rayi_actor_event event = event_of(m, outcome);
        if (event == RAYI_ACTOR_FINI_DONE)
            fail_running(r, m, false); /* what came behind the last call has not run */
        apply(r, m, event);
    }
    if (m->is_due)
        begin_life(r, m);
}

void raylet_add_actor(raylet *r, const actor *a)
{
    const rayi_memory *memory = rayi_heap;
    mailbox *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->number = a->number;
    m->a = a;
    m->state = RAYI_ACTOR_PENDING;
    m->restarts_left = a->restarts;
    HASH_ADD(hh, r->mailboxes, number, sizeof m->number, m);
    begin_life(r, m);
    raylet_pump(r);
}

void raylet_call(raylet *r, const call *c)
{
    mailbox *m = find(r, c->of->number);
    waiting_call *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->number = c->number;
    w->retries_left = c->retries;
    DL_APPEND(m->calls, w);
    if (m->state == RAYI_ACTOR_DEAD || m->state == RAYI_ACTOR_ENDING)
        end_call(r, m, w, CALL_DIED);
    else
        send_calls(r, m);
    raylet_pump(r);
}

void raylet_end_actor(raylet *r, const actor *a, rayi_actor_event how)
{
    mailbox *m = find(r, a->number);
    cast_asked(r->w->cast, a, how != RAYI_ACTOR_KILL_MAY_RESTART);
    if (how == RAYI_ACTOR_RELEASED) {
        m->is_released = true;
        maybe_release(r, m);
    } else {
        apply(r, m, how);
    }
    raylet_pump(r);
}

void actors_check(const raylet *r)
{
    for (const mailbox *m = r->mailboxes; m; m = m->hh.next)
        if (m->state != RAYI_ACTOR_DEAD || m->life || m->calls)
            sim_fail(r->s, "actor %llu of node %d is %s%s%s", (unsigned long long)m->number, r->node,
                     rayi_actor_state_name(m->state), m->life ? ", and has a life" : "", m->calls ? ", and calls" : "");
}

void actors_free(raylet *r)
{
    const rayi_memory *memory = rayi_heap;
    for (mailbox *m; (m = r->mailboxes);) {
        waiting_call *c, *next;
        DL_FOREACH_SAFE(m->calls, c, next)
        free(c);
        HASH_DEL(r->mailboxes, m);
        free(m);
    }
}
