/* Values: where those of this node's tasks lie, who needs them, and making them again, as the raylet that ships has it
 * (lib/raylet/lineage.c, escape.c). A value is where its task has run, and goes with that process. Whoever reads it is
 * told by its connection that the process is gone; the owner makes it again when it has heard that it is dead. */
#include "raylet.h"

#include <stdlib.h>

static value *find(const raylet *r, uint64_t number)
{
    value *v;
    HASH_FIND(hh, r->values, &number, sizeof number, v);
    return v;
}

bool values_can_read(const raylet *r, const place *from)
{
    return sim_self(r->s, from->node) && sim_incarnation(r->s, from->node) == from->incarnation;
}

static bool is_buried(const raylet *r, const value *v)
{
    return v->there.node != r->node && r->buried[v->there.node] >= v->there.incarnation;
}

/* ---- who needs it ---- */

static void release(raylet *r, uint64_t number);

static void drop_arguments(raylet *r, value *v)
{
    if (!v->has_arguments)
        return;
    v->has_arguments = false;
    goods_kept(r->w->goods, v->t, false);
    for (int i = 0; i < ARGS; i++)
        release(r, v->t->args[i]);
}

/* From here on it may be gone. */
static void let_go(raylet *r, value *v)
{
    const rayi_memory *memory = rayi_heap;
    if (v->has_handle || v->needed || !v->is_over)
        return;
    HASH_DEL(r->values, v);
    if (v->is_made)
        rayi_lineage_remove(r->lineage, v->number);
    drop_arguments(r, v);
    goods_gone(r->w->goods, v->t);
    free(v);
}

static void release(raylet *r, uint64_t number)
{
    value *v = number ? find(r, number) : NULL;
    if (!v)
        return;
    v->needed--;
    let_go(r, v);
}

static void need_all(raylet *r, const task *t)
{
    for (int i = 0; i < ARGS; i++)
        if (t->args[i])
            find(r, t->args[i])->needed++;
}

void values_need(raylet *r, const piece *p)
{
    need_all(r, p->t);
}

void values_new(raylet *r, const task *t)
{
    const rayi_memory *memory = rayi_heap;
    value *v = calloc(1, sizeof *v);
    if (!v)
        abort();
    v->number = t->number;
    v->t = t;
    v->has_handle = true;
    HASH_ADD(hh, r->values, number, sizeof v->number, v);
}

bool raylet_has_handle(const raylet *r, uint64_t number)
{
    const value *v = find(r, number);
    return v && v->has_handle;
}

void raylet_drop(raylet *r, uint64_t number)
{
    value *v = find(r, number);
    if (!v || !v->has_handle)
        return;
    v->has_handle = false;
    let_go(r, v);
    raylet_pump(r);
}

void values_free(raylet *r)
{
    const rayi_memory *memory = rayi_heap;
    for (value *v; (v = r->values);) {
        HASH_DEL(r->values, v);
        free(v);
    }
}

/* ---- making it again ---- */

static void drop_what_is_too_much(raylet *r)
{
    uint64_t id;
    while (rayi_lineage_next_dropped(r->lineage, &id)) {
        value *v = find(r, id);
        if (v->has_arguments)
            goods_too_much(r->w->goods, v->t);
        drop_arguments(r, v);
    }
    goods_obeyed(r->w->goods, r->node);
}

/* To all who wait for it; from here on it may be gone. */
static void answer(raylet *r, value *v, finding what)
{
    if (what != VALUE_FOUND || v->is_wanted)
        goods_answered(r->w->goods, v->number, what);
    for (piece *p = r->pieces; p; p = p->hh.next) {
        if (p->is_hosted || p->lost != v->number)
            continue;
        p->lost = 0;
        if (what == VALUE_FOUND)
            rayi_ledger_ready(r->ledger, p->id);
        else
            (void)rayi_ledger_cancel(r->ledger, p->id);
    }
    if (!v->is_wanted)
        return;
    v->is_wanted = false;
    release(r, v->number);
}

static finding of_verdict(rayi_lineage_verdict verdict)
{
    switch (verdict) {
    case RAYI_LINEAGE_NO_RETRIES:
        return VALUE_NO_RETRIES;
    case RAYI_LINEAGE_WAS_DROPPED:
        return VALUE_DROPPED;
    case RAYI_LINEAGE_TOO_DEEP:
        return VALUE_TOO_DEEP;
    case RAYI_LINEAGE_RUN:
        break;
    }
    return VALUE_FOUND;
}

static void make_again(raylet *r, value *v)
{
    int32_t retries = 0;
    rayi_lineage_verdict verdict = rayi_lineage_lost(r->lineage, v->number, v->depth, &retries);
    v->is_awaited = false;
    if (verdict != RAYI_LINEAGE_RUN) {
        answer(r, v, of_verdict(verdict));
        return;
    }
    const task *again = world_again(r->w, v->t, retries);
    sim_trace(r->s, "the value of task %llu is made again by task %llu", (unsigned long long)v->number,
              (unsigned long long)again->number);
    v->is_again = true;
    account_submitted(r->w->account, again);
    raylet_enter(r, again, v->depth + 1);
}

/* Somebody waits for it. */
static void want(raylet *r, value *v, uint32_t depth)
{
    if (v->is_again || v->is_awaited)
        return;
    v->depth = depth;
    if (is_buried(r, v))
        make_again(r, v);
    else if (values_can_read(r, &v->there))
        answer(r, v, VALUE_FOUND);
    else
        v->is_awaited = true;
}

static value *next_buried(const raylet *r, int node)
{
    value *v = r->values;
    while (v && (!v->is_awaited || v->there.node != node || !is_buried(r, v)))
        v = v->hh.next;
    return v;
}

void values_buried(raylet *r, int node)
{
    for (value *v; (v = next_buried(r, node));)
        make_again(r, v);
}

static void put_there(value *v, const piece *p)
{
    v->there = (place){p->there, p->there_incarnation};
}

static void again_ended(raylet *r, const piece *p, rayi_outcome outcome)
{
    value *v = find(r, p->t->again_of); /* gone, if nobody wants it any more */
    rayi_lineage_ended(r->lineage, p->t->again_of, p->attempt);
    drop_what_is_too_much(r);
    if (!v)
        return;
    v->is_again = false;
    if (outcome == RAYI_OUTCOME_OK)
        put_there(v, p);
    if (outcome != RAYI_OUTCOME_OK)
        answer(r, v, VALUE_NOT_MADE);
    else if (is_buried(r, v))
        make_again(r, v);
    else
        answer(r, v, VALUE_FOUND);
}

/* It has come to a value: what may be needed to make it again is kept. */
static void made(raylet *r, value *v, const piece *p)
{
    const task *t = p->t;
    int32_t retries = t->retries < 0 ? -1 : t->retries - (int32_t)RAYI_MIN(p->attempt, (uint32_t)t->retries);
    uint64_t size_bytes = retries == 0 ? 0 : t->cannot_stay ? UINT64_MAX : t->size_bytes;
    put_there(v, p);
    v->is_made = true;
    if (rayi_lineage_add(r->lineage, t->number, size_bytes, retries))
        sim_fail(r->s, "node %d has no memory", r->node);
    if (retries != 0) {
        v->has_arguments = true;
        goods_kept(r->w->goods, t, true);
        need_all(r, t);
    }
    drop_what_is_too_much(r);
}

void values_ended(raylet *r, piece *p, rayi_outcome outcome)
{
    const task *t = p->t;
    value *v = find(r, t->number);
    if (t->again_of) {
        again_ended(r, p, outcome);
    } else {
        v->is_over = true;
        if (outcome == RAYI_OUTCOME_OK)
            made(r, v, p);
        let_go(r, v);
    }
    for (int i = 0; i < ARGS; i++)
        release(r, t->args[i]);
}

/* ---- arguments ---- */

void values_put_places(const raylet *r, const piece *p, place *out)
{
    for (int i = 0; i < ARGS; i++)
        if (p->t->args[i])
            out[i] = find(r, p->t->args[i])->there;
}

void values_lack(raylet *r, piece *p, uint64_t number)
{
    p->lost = number;
    rayi_ledger_missing(r->ledger, p->id);
    want(r, find(r, number), p->depth);
}

bool values_hold(raylet *r, piece *p)
{
    for (int i = 0; i < ARGS; i++) {
        if (!p->t->args[i] || values_can_read(r, &find(r, p->t->args[i])->there))
            continue;
        values_lack(r, p, p->t->args[i]);
        return true;
    }
    return false;
}

void raylet_get(raylet *r, uint64_t number)
{
    value *v = find(r, number);
    if (!v || !v->is_made || !v->has_handle || v->is_wanted)
        return;
    v->is_wanted = true;
    v->needed++;
    goods_wanted(r->w->goods, number);
    want(r, v, 0);
    raylet_pump(r);
}
