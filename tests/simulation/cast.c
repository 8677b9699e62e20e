/* The account of actors: how many lives each has had, where its calls have run, and what they came to. */
#include "fleet.h"

#include <stdlib.h>

typedef struct role { /* an actor */
    const actor *a;
    uint64_t lives;
    bool asked, shaken, exited, is_dead; /* asked: somebody wanted it to end; shaken: or this life */
} role;

typedef struct line { /* a call */
    const call *c;
    uint64_t tries, starts;
    uint64_t tried_in, ran_in; /* lives: the last that it was sent to, and in which it came to its end */
    bool ended;
} line;

struct cast {
    world *w;
    role *roles; /* by number */
    line *lines; /* by number */
    bool *left;  /* lives that their owners count on no more, by the number of the task */
    size_t role_count, role_room, line_count, line_room, left_room;
};

cast *cast_new(world *w)
{
    cast *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->w = w;
    return c;
}

void cast_free(cast *c)
{
    free(c->roles);
    free(c->lines);
    free(c->left);
    free(c);
}

static unsigned long long say(uint64_t number)
{
    return (unsigned long long)number;
}

static role *role_of(const cast *c, const actor *a)
{
    return &c->roles[a->number - 1];
}

void cast_actor(cast *c, const actor *a)
{
    c->roles = sim_grown(c->roles, c->role_count, &c->role_room, sizeof *c->roles);
    c->roles[c->role_count++] = (role){.a = a};
}

void cast_call(cast *c, const call *of)
{
    c->lines = sim_grown(c->lines, c->line_count, &c->line_room, sizeof *c->lines);
    c->lines[c->line_count++] = (line){.c = of};
}

/* ---- lives ---- */

void cast_life(cast *c, const actor *a)
{
    role *r = role_of(c, a);
    if (r->is_dead)
        sim_fail(c->w->s, "actor %llu begins a life after its death", say(a->number));
    if (a->restarts >= 0 && r->lives > (uint64_t)a->restarts)
        sim_fail(c->w->s, "actor %llu may begin anew %d times, and begins life %llu", say(a->number), (int)a->restarts,
                 say(r->lives + 1));
    r->lives++;
}

static bool is_left(const cast *c, uint64_t life)
{
    return life <= c->left_room && c->left[life - 1];
}

void cast_left(cast *c, uint64_t life)
{
    size_t had = c->left_room;
    while (c->left_room < life)
        c->left = sim_grown(c->left, c->left_room, &c->left_room, sizeof *c->left);
    for (size_t i = had; i < c->left_room; i++)
        c->left[i] = false;
    c->left[life - 1] = true;
}

bool cast_counts_on(const cast *c, const task *life)
{
    return !is_left(c, life->number);
}

void cast_asked(cast *c, const actor *a, bool for_good)
{
    role *r = role_of(c, a);
    r->asked |= for_good;
    r->shaken = true;
}

void cast_dead(cast *c, const actor *a)
{
    role *r = role_of(c, a);
    bool used_up = a->restarts >= 0 && r->lives == 1 + (uint64_t)a->restarts && (r->shaken || !sim_is_quiet(c->w->s));
    if (r->is_dead)
        sim_fail(c->w->s, "actor %llu dies twice", say(a->number));
    if (!r->asked && !r->exited && !used_up && !account_has_failed_life(c->w->account, a->number))
        sim_fail(c->w->s, "actor %llu dies in life %llu for no reason", say(a->number), say(r->lives));
    r->is_dead = true;
}

/* ---- calls ---- */

static line *line_of(const cast *c, uint64_t number)
{
    return &c->lines[number - 1];
}

void cast_sent(cast *c, uint64_t number, uint64_t life)
{
    line *l = line_of(c, number);
    if (l->tried_in && !is_left(c, l->tried_in))
        sim_fail(c->w->s, "call %llu is sent to life %llu, and is with life %llu", say(number), say(life),
                 say(l->tried_in));
    l->tries++;
    l->tried_in = life;
}

void cast_started(cast *c, uint64_t number, const task *life, int node)
{
    line *l = line_of(c, number);
    const call *of = l->c;
    sim_trace(c->w->s, "call %llu of actor %llu starts on node %d", say(number), say(of->of->number), node);
    if (is_left(c, life->number) || account_is_for_nobody(c->w->account, life->number, node))
        return;
    if (l->ended)
        sim_fail(c->w->s, "call %llu starts after its end", say(number));
    if (of->retries >= 0 && l->starts > (uint64_t)of->retries)
        sim_fail(c->w->s, "call %llu starts for the %lluth time", say(number), say(l->starts + 1));
    for (size_t i = 0; i + 1 < number; i++) {
        const line *before = &c->lines[i];
        if (before->c->of == of->of && before->c->caller == of->caller && !before->ended &&
            before->ran_in != life->number)
            sim_fail(c->w->s, "call %llu starts before call %llu, which the same caller has made earlier", say(number),
                     say(before->c->number));
    }
    l->starts++;
}

void cast_stopped(cast *c, uint64_t number, const task *life)
{
    line *l = line_of(c, number);
    l->ran_in = life->number;
    role_of(c, l->c->of)->exited |= l->c->exits && !is_left(c, life->number);
}

static bool may_have_died(const cast *c, const line *l)
{
    const role *r = role_of(c, l->c->of);
    return r->asked || r->exited || r->is_dead ||
           (l->c->retries >= 0 && l->tries > (uint64_t)l->c->retries && is_left(c, l->tried_in));
}

void cast_ended(cast *c, uint64_t number, call_end how)
{
    line *l = line_of(c, number);
    sim_trace(c->w->s, "call %llu ends: %s", say(number), how == CALL_OK ? "ok" : "died");
    if (l->ended)
        sim_fail(c->w->s, "call %llu ends twice", say(number));
    if (how == CALL_OK && !l->ran_in)
        sim_fail(c->w->s, "call %llu has returned, and has not run", say(number));
    if (how == CALL_DIED && !may_have_died(c, l))
        sim_fail(c->w->s, "call %llu is said to have died with its actor for no reason", say(number));
    l->ended = true;
}

void cast_check(const cast *c)
{
    for (size_t i = 0; i < c->line_count; i++) {
        const line *l = &c->lines[i];
        const actor *a = l->c->of;
        if (!l->ended && sim_self(c->w->s, a->owner) && sim_incarnation(c->w->s, a->owner) == a->incarnation)
            sim_fail(c->w->s, "call %llu of actor %llu has not ended", say(l->c->number), say(a->number));
    }
}
