/* Placement groups, as the raylet that ships has them (lib/raylet/wide.c): what an owner's brain wants kept where, and
 * what is kept here. */
#include "raylet.h"

#include <stdlib.h>

static int node_of(const rayi_planner_id *id)
{
    return id->bytes[0] - 1;
}

/* ---- who keeps room ---- */

static part *find(const raylet *r, int whose, uint64_t number)
{
    part *p;
    DL_FOREACH (r->parts, p)
        if (p->whose == whose && p->number == number && p->whose_incarnation == r->mesh.sessions[whose].incarnation)
            return p;
    return NULL;
}

static void answered(raylet *r, int by, uint64_t number, bool is_reserved)
{
    rayi_planner_id id = raylet_id_of(by);
    (is_reserved ? rayi_bundles_reserved : rayi_bundles_refused)(r->bundles, &id, number, raylet_now(r));
}

static void answer(raylet *r, int whose, uint64_t number, bool is_reserved)
{
    letter l = {.what = LETTER_ANSWER, .number = number, .value = is_reserved};
    if (whose == r->node)
        answered(r, r->node, number, is_reserved);
    else
        (void)raylet_say(r, whose, r->mesh.sessions[whose].incarnation, &l);
}

static void drop(raylet *r, part *p)
{
    if (p->is_kept)
        account_part(r->w->account, r->node, p->g, p->number, p->count, false);
    (void)rayi_scheduler_group_remove(r->scheduler, p->id);
    DL_DELETE(r->parts, p);
    free(p);
}

static int start(raylet *r, part *p)
{
    const rayi_resources *bundles[16];
    rayi_scheduler_group what = {
        .id = p->id, .bundles = bundles, .bundle_count = p->count, .strategy = RAYI_STRATEGY_PACK};
    RAYI_ASSERT(p->count <= RAYI_COUNT_OF(bundles));
    for (uint32_t i = 0; i < p->count; i++)
        bundles[i] = r->w->resources[p->g->shape];
    return rayi_scheduler_group_new(r->scheduler, &what, raylet_now(r));
}

static void reserve(raylet *r, int whose, const letter *l)
{
    if (find(r, whose, l->number))
        sim_fail(r->s, "node %d is asked for part %llu of node %d twice", r->node, (unsigned long long)l->number,
                 whose);
    if (sim_chance(r->s, r->w->refusals)) {
        answer(r, whose, l->number, false);
        return;
    }
    part *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    *p = (part){.number = l->number,
                .whose = whose,
                .whose_incarnation = r->mesh.sessions[whose].incarnation,
                .g = world_group(r->w, l->sending),
                .count = (uint32_t)l->value,
                .id = ++r->last_id};
    DL_APPEND(r->parts, p);
    if (start(r, p))
        sim_fail(r->s, "node %d has no memory", r->node);
}

static void release(raylet *r, int whose, const letter *l)
{
    part *p = find(r, whose, l->number);
    if (p)
        drop(r, p);
}

void groups_ready(raylet *r, uint64_t id)
{
    part *p;
    DL_FOREACH (r->parts, p)
        if (p->id == id)
            break;
    if (!p)
        return;
    p->is_kept = true;
    account_part(r->w->account, r->node, p->g, p->number, p->count, true);
    answer(r, p->whose, p->number, true);
}

void groups_drop_all(raylet *r, int whose)
{
    part *p, *next;
    DL_FOREACH_SAFE(r->parts, p, next)
    if (p->whose == whose && !mesh_talks_to(&r->mesh, whose, p->whose_incarnation))
        drop(r, p);
}

void groups_free(raylet *r)
{
    part *p, *next;
    DL_FOREACH_SAFE(r->parts, p, next)
    free(p);
}

void groups_take(raylet *r, int from, const letter *l)
{
    if (l->what == LETTER_RESERVE)
        reserve(r, from, l);
    else if (l->what == LETTER_RELEASE)
        release(r, from, l);
    else
        answered(r, from, l->number, l->value);
}

/* ---- the owner ---- */

/* False: it cannot be told. */
static bool tell(raylet *r, int node, const letter *l)
{
    if (node != r->node)
        return r->known[node] && raylet_say(r, node, r->known[node], l);
    groups_take(r, node, l);
    return true;
}

static void remove_later(void *arg, uint64_t number, uint64_t unused, uint64_t unused_too)
{
    world *w = arg;
    const group *g = world_group(w, number);
    raylet *r = sim_self(w->s, g->owner);
    (void)unused, (void)unused_too;
    if (!r || r->incarnation != g->incarnation)
        return;
    if (!sim_is_running(w->s, g->owner))
        sim_after(w->s, 100, remove_later, w, number, 0, 0);
    else
        raylet_remove_group(r, g);
}

static void obey(raylet *r, const rayi_bundles_action *action)
{
    letter l = {.number = action->part, .sending = action->group, .value = (int32_t)action->count};
    sim_trace(r->s, "groups of node %d: action %d, group %llu, part %llu, node %d", r->node, (int)action->what,
              (unsigned long long)action->group, (unsigned long long)action->part, node_of(&action->node));
    switch (action->what) {
    case RAYI_BUNDLES_RESERVE:
        l.what = LETTER_RESERVE;
        if (!tell(r, node_of(&action->node), &l))
            answered(r, node_of(&action->node), action->part, false);
        break;
    case RAYI_BUNDLES_RELEASE:
        l.what = LETTER_RELEASE;
        account_part_released(r->w->account, r->node, action->part);
        (void)tell(r, node_of(&action->node), &l);
        break;
    case RAYI_BUNDLES_PLACED:
        account_group_placed(r->w->account, world_group(r->w, action->group), true);
        if (!world_group(r->w, action->group)->lasts)
            sim_after(r->s, (int64_t)sim_below(r->s, 2000), remove_later, r->w, action->group, 0, 0);
        break;
    case RAYI_BUNDLES_LOST:
        account_group_placed(r->w->account, world_group(r->w, action->group), false);
        break;
    case RAYI_BUNDLES_WARN:
        break;
    }
}

bool groups_pump(raylet *r)
{
    enum { ACTIONS_MOST = 10000 };
    rayi_bundles_action action;
    int count = 0;
    while (rayi_bundles_next(r->bundles, &action)) {
        obey(r, &action);
        if (++count > ACTIONS_MOST)
            sim_fail(r->s, "node %d: no end of actions for groups", r->node);
    }
    return count > 0;
}

void raylet_add_group(raylet *r, const group *g)
{
    const rayi_resources *bundles[16];
    rayi_scheduler_group what = {
        .id = g->number, .bundles = bundles, .bundle_count = g->count, .strategy = g->strategy};
    for (uint32_t i = 0; i < g->count; i++)
        bundles[i] = r->w->resources[g->shape];
    if (rayi_bundles_add(r->bundles, &what, raylet_now(r)))
        sim_fail(r->s, "node %d has no memory", r->node);
    if (!g->lasts && sim_chance(r->s, 10)) /* whether it is placed or not */
        sim_after(r->s, (int64_t)sim_below(r->s, 3000), remove_later, r->w, g->number, 0, 0);
    raylet_pump(r);
}

void raylet_remove_group(raylet *r, const group *g)
{
    if (!rayi_bundles_remove(r->bundles, g->number, raylet_now(r)))
        return;
    account_group_removed(r->w->account, g);
    raylet_pump(r);
}
