/* The account of values: who has them, what is kept for making them again, and why one is said to be lost. */
#include "fleet.h"

#include <stdlib.h>

typedef struct copy {
    struct copy *next;
    int node;
    uint64_t incarnation;
} copy;

typedef struct good {
    const task *t;
    copy *copies;   /* the latest first */
    uint64_t again; /* the task that makes it again now; 0: none */
    uint64_t kept;  /* when its arguments were; 0: they are not */
    bool is_made, was_not_made, is_lost, is_wanted;
} good;

struct goods {
    world *w;
    good *goods; /* by number */
    size_t count, room;
    uint64_t last_kept;
    uint32_t tallest;
    /* Of the process of each node: */
    uint64_t made[SIM_NODES_MAX], most[SIM_NODES_MAX]; /* bytes, if all were kept, and the most of it */
    uint64_t kept[SIM_NODES_MAX];                      /* of those that are not made again now */
};

goods *goods_new(world *w)
{
    goods *g = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->w = w;
    return g;
}

void goods_free(goods *g)
{
    for (size_t i = 0; i < g->count; i++)
        for (copy *c; (c = g->goods[i].copies);) {
            g->goods[i].copies = c->next;
            free(c);
        }
    free(g->goods);
    free(g);
}

static unsigned long long say(uint64_t number)
{
    return (unsigned long long)number;
}

static good *good_of(const goods *g, const task *t)
{
    return &g->goods[(t->again_of ? t->again_of : t->number) - 1];
}

static bool lives(const goods *g, const copy *c)
{
    return sim_self(g->w->s, c->node) && sim_incarnation(g->w->s, c->node) == c->incarnation;
}

static bool owner_lives(const goods *g, const task *t)
{
    return sim_self(g->w->s, t->owner) && sim_incarnation(g->w->s, t->owner) == t->incarnation;
}

/* All who had it are dead, and its owner knows. */
static bool is_known_to_be_gone(const goods *g, const good *v)
{
    for (const copy *c = v->copies; c; c = c->next)
        if (c->node == v->t->owner || !account_has_buried(g->w->account, v->t->owner, c->node, c->incarnation))
            return false;
    return true;
}

static void count_kept(goods *g, const good *v, bool more)
{
    uint64_t *kept = &g->kept[v->t->owner];
    *kept = more ? *kept + v->t->size_bytes : *kept - v->t->size_bytes;
}

static void begin_again(goods *g, const task *t)
{
    good *v = good_of(g, t);
    if (!v->is_made || v->again)
        sim_fail(g->w->s, "the value of task %llu is made again %s", say(v->t->number),
                 v->again ? "twice at once" : "and was never made");
    if (!is_known_to_be_gone(g, v))
        sim_fail(g->w->s, "the value of task %llu is made again, and is on node %d", say(v->t->number),
                 v->copies->node);
    if (!v->kept)
        sim_fail(g->w->s, "the value of task %llu is made again without its arguments", say(v->t->number));
    v->again = t->number;
    count_kept(g, v, false);
}

void goods_submitted(goods *g, const task *t)
{
    g->goods = sim_grown(g->goods, g->count, &g->room, sizeof *g->goods);
    g->goods[g->count++] = (good){.t = t};
    g->tallest = RAYI_MAX(g->tallest, t->height);
    if (t->again_of)
        begin_again(g, t);
}

void goods_ran(goods *g, const task *t, int node)
{
    good *v = good_of(g, t);
    copy *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    *c = (copy){.next = v->copies, .node = node, .incarnation = sim_incarnation(g->w->s, node)};
    v->copies = c;
}

void goods_ended(goods *g, const task *t, rayi_outcome outcome)
{
    good *v = good_of(g, t);
    uint64_t *made = &g->made[t->owner], *most = &g->most[t->owner];
    if (t->again_of) {
        v->again = 0;
        v->was_not_made = outcome != RAYI_OUTCOME_OK;
        if (v->kept) {
            v->kept = ++g->last_kept;
            count_kept(g, v, true);
        }
    } else if (outcome == RAYI_OUTCOME_OK) {
        v->is_made = true;
        *made += t->size_bytes;
        *most = RAYI_MAX(*most, *made);
    }
}

void goods_crashed(goods *g, int node, uint64_t incarnation)
{
    for (size_t i = 0; i < g->count; i++) {
        good *v = &g->goods[i];
        if (v->t->owner == node && v->t->incarnation == incarnation)
            v->is_wanted = false;
    }
    g->made[node] = g->most[node] = g->kept[node] = 0;
}

bool goods_can_be_read(const goods *g, uint64_t number)
{
    for (const copy *c = g->goods[number - 1].copies; c; c = c->next)
        if (lives(g, c))
            return true;
    return false;
}

bool goods_is_lost(const goods *g, uint64_t number)
{
    return g->goods[number - 1].is_lost;
}

/* ---- what its owner says ---- */

void goods_too_much(goods *g, const task *t)
{
    const good *v = good_of(g, t);
    if (v->again)
        sim_fail(g->w->s, "the arguments of task %llu are dropped while they are needed", say(v->t->number));
    for (size_t i = 0; i < g->count && !v->t->cannot_stay; i++) {
        const good *other = &g->goods[i];
        if (other->t->owner == v->t->owner && other->t->incarnation == v->t->incarnation && !other->again &&
            other->kept && other->kept < v->kept)
            sim_fail(g->w->s,
                     "the arguments of task %llu are dropped, and those of task %llu have been kept for longer",
                     say(v->t->number), say(other->t->number));
    }
}

void goods_kept(goods *g, const task *t, bool are_kept)
{
    good *v = good_of(g, t);
    if (are_kept == (v->kept > 0))
        sim_fail(g->w->s, "the arguments of task %llu are %s twice", say(t->number), are_kept ? "kept" : "dropped");
    v->kept = are_kept ? ++g->last_kept : 0;
    if (!v->again)
        count_kept(g, v, are_kept);
}

void goods_obeyed(goods *g, int node)
{
    if (g->kept[node] > g->w->lineage_bytes)
        sim_fail(g->w->s, "node %d keeps %llu bytes of arguments, and may keep %llu", node, say(g->kept[node]),
                 say(g->w->lineage_bytes));
}

void goods_wanted(goods *g, uint64_t number)
{
    g->goods[number - 1].is_wanted = true;
}

static bool may_be(const goods *g, const good *v, finding what)
{
    switch (what) {
    case VALUE_FOUND:
        return !is_known_to_be_gone(g, v);
    case VALUE_NO_RETRIES:
        return is_known_to_be_gone(g, v) && !account_may_try_more(g->w->account, v->t->number);
    case VALUE_DROPPED:
        return is_known_to_be_gone(g, v) && !v->kept &&
               (v->t->cannot_stay || g->most[v->t->owner] > g->w->lineage_bytes);
    case VALUE_TOO_DEEP:
        return is_known_to_be_gone(g, v) && g->tallest > RAYI_LINEAGE_DEPTH;
    case VALUE_NOT_MADE:
        return is_known_to_be_gone(g, v) && v->was_not_made;
    }
    return false;
}

void goods_answered(goods *g, uint64_t number, finding what)
{
    static const char *const names[] = {"found", "used up", "dropped", "too deep", "not made"};
    good *v = &g->goods[number - 1];
    sim_trace(g->w->s, "the value of task %llu was lost: %s", say(number), names[what]);
    if (!may_be(g, v, what))
        sim_fail(g->w->s, "the value of task %llu is said to be \"%s\" for no reason", say(number), names[what]);
    v->is_lost = what != VALUE_FOUND;
    v->is_wanted = false;
}

void goods_gone(goods *g, const task *t)
{
    const good *v = good_of(g, t);
    if (v->is_wanted)
        sim_fail(g->w->s, "the value of task %llu is forgotten, and somebody waits for it", say(t->number));
    if (v->is_made)
        g->made[t->owner] -= t->size_bytes;
}

void goods_check(const goods *g)
{
    for (size_t i = 0; i < g->count; i++) {
        const good *v = &g->goods[i];
        if (v->is_wanted && owner_lives(g, v->t))
            sim_fail(g->w->s, "somebody waits for the value of task %llu", say(v->t->number));
    }
}
