/* Looking for places: the question for bundles_choose.c, from what is known of the nodes, and what comes of its answer.
 */
#include <inttypes.h>
#include <stdio.h>

#include "scheduler/bundles_inside.h"

typedef rayi_bundles_part part;
typedef rayi_bundles_node node;
typedef rayi_bundles_bundle bundle;
typedef rayi_bundles_group group;

static bool is_shy(const group *g, const rayi_planner_id *id)
{
    for (uint32_t i = 0; i < RAYI_MIN(g->shy_count, (uint32_t)RAYI_BUNDLES_SHY_MOST); i++)
        if (memcmp(&g->shy[i], id, sizeof *id) == 0)
            return true;
    return false;
}

enum how {
    NOW_BUT_SHY, /* nodes with room, but those that were shy */
    NOW,
    LATE_BUT_SHY, /* nodes that could have room, were it not for others' work */
    LATE,
    EVER, /* as if nothing was anywhere */
};

typedef struct look {
    rayi_bundles *b;
    group *g;
    rayi_siting siting;
    node **nodes;
    uint32_t *numbers;       /* of the bundles that want a place */
    const int64_t **amounts; /* theirs */
    void *block;
} look;

static bool may_be(const look *l, const node *n, enum how how)
{
    if (n->flags & (RAYI_PLANNER_DRAINED | RAYI_PLANNER_NO_WORK))
        return false;
    if (how == EVER)
        return true;
    return !(n->flags & RAYI_PLANNER_SUSPECT) && !((how == NOW_BUT_SHY || how == LATE_BUT_SHY) && is_shy(l->g, &n->id));
}

static void subtract(const look *l, const part *p, int64_t *row)
{
    const group *theirs = p->group, *g = l->g;
    for (uint32_t k = 0; k < g->kinds; k++)
        for (uint32_t j = 0; j < theirs->kinds; j++) {
            if (strcmp(g->names[k], theirs->names[j]) != 0)
                continue;
            for (uint32_t i = 0; i < p->count; i++)
                row[k] -= theirs->bundles[p->numbers[i] - 1].amounts[j];
        }
}

static void fill_row(const look *l, const node *n, enum how how, uint32_t at)
{
    int64_t *row = l->siting.left + (size_t)at * l->g->kinds;
    bool now = how == NOW || how == NOW_BUT_SHY;
    part *p;
    for (uint32_t k = 0; k < l->g->kinds; k++) {
        row[k] = 0;
        for (uint32_t i = 0; i < n->count; i++)
            if (strcmp(n->items[i].name, l->g->names[k]) == 0)
                row[k] = now ? n->items[i].available : n->items[i].total;
    }
    l->siting.has[at] = 0;
    DL_FOREACH2(n->parts, p, on_next)
    {
        if (p->group == l->g)
            l->siting.has[at] += p->count;
        if (how != EVER && (!now || !rayi_bundles_is_counted(p)))
            subtract(l, p, row);
    }
}

/* The nodes in an order that begins anywhere, so that owners do not all begin with the same one. */
static void fill_nodes(look *l, enum how how)
{
    uint32_t all = HASH_COUNT(l->b->nodes), first = all ? (uint32_t)(rayi_bundles_draw(l->b) % all) : 0, at = 0;
    l->siting.nodes = 0;
    for (uint32_t round = 0; round < 2; round++) {
        at = 0;
        for (node *n = l->b->nodes; n; n = n->hh.next, at++)
            if ((at >= first) == (round == 0) && may_be(l, n, how)) {
                fill_row(l, n, how, l->siting.nodes);
                l->nodes[l->siting.nodes++] = n;
            }
    }
}

static void fill_bundles(look *l)
{
    l->siting.bundles = 0;
    for (uint32_t i = 0; i < l->g->count; i++)
        if (!l->g->bundles[i].part) {
            l->numbers[l->siting.bundles] = i + 1;
            l->amounts[l->siting.bundles++] = l->g->bundles[i].amounts;
        }
}

static int look_begin(rayi_bundles *b, group *g, look *l)
{
    size_t nodes = HASH_COUNT(b->nodes), kinds = g->kinds, count = g->count;
    char *room;
    *l = (look){.b = b, .g = g, .siting = {.strategy = g->strategy, .kinds = g->kinds}};
    l->block = room =
        rayi_memory_alloc(b->memory, nodes * (kinds * sizeof(int64_t) + sizeof(node *) + sizeof(uint32_t)) +
                                         count * (sizeof(int64_t *) + 2 * sizeof(uint32_t)) + 1);
    if (!room)
        return RAY_ERR_NO_MEMORY;
    l->siting.left = (int64_t *)(void *)room;
    l->nodes = (node **)(void *)(l->siting.left + nodes * kinds);
    l->amounts = (const int64_t **)(void *)(l->nodes + nodes);
    l->siting.has = (uint32_t *)(void *)(l->amounts + count);
    l->siting.out = l->siting.has + nodes;
    l->numbers = l->siting.out + count;
    l->siting.amounts = l->amounts;
    return 0;
}

static int ask(look *l, enum how how)
{
    fill_nodes(l, how);
    fill_bundles(l);
    return rayi_choose_nodes(l->b->memory, &l->siting);
}

/* ---- an attempt ---- */

static part *part_on(look *l, part **all, uint32_t at)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < l->siting.bundles; i++)
        count += l->siting.out[i] == at;
    part *p = rayi_memory_zalloc(l->b->memory, sizeof *p + count * sizeof *p->numbers);
    if (!p)
        return NULL;
    for (uint32_t i = 0; i < l->siting.bundles; i++)
        if (l->siting.out[i] == at)
            p->numbers[p->count++] = l->numbers[i];
    p->group = l->g;
    p->node = l->nodes[at];
    p->id = p->node->id;
    DL_APPEND(*all, p);
    return p;
}

/* A part for each node that was chosen; false: no memory, and nothing has happened. */
static bool make_parts(look *l)
{
    part *all = NULL, *p, *next;
    bool ok = true;
    memset(l->siting.has, 0, l->siting.nodes * sizeof *l->siting.has);
    for (uint32_t i = 0; i < l->siting.bundles; i++)
        l->siting.has[l->siting.out[i]] = 1;
    for (uint32_t at = 0; ok && at < l->siting.nodes; at++)
        ok = !l->siting.has[at] || part_on(l, &all, at);
    DL_FOREACH_SAFE(all, p, next)
    {
        if (!ok) {
            rayi_memory_free(l->b->memory, p);
            continue;
        }
        p->number = ++l->b->numbers;
        DL_APPEND2(p->node->parts, p, on_prev, on_next);
    }
    if (ok)
        DL_CONCAT(l->g->parts, all);
    return ok;
}

/* Who is late believes nodes that have failed it less than tables, which may be old: else it would ask the same ones
 * for ever, while others have room of which no table tells. */
int rayi_bundles_look(rayi_bundles *b, group *g, bool late)
{
    static const enum how in_time[] = {NOW_BUT_SHY, NOW}, too_late[] = {NOW_BUT_SHY, LATE_BUT_SHY, NOW, LATE};
    const enum how *hows = late ? too_late : in_time;
    look l;
    int r = look_begin(b, g, &l);
    for (uint32_t i = 0; r == 0 && i < (late ? RAYI_COUNT_OF(too_late) : RAYI_COUNT_OF(in_time)); i++)
        r = (hows[i] == NOW_BUT_SHY || hows[i] == LATE_BUT_SHY) && !g->shy_count ? 0 : ask(&l, hows[i]);
    if (r > 0)
        r = make_parts(&l) ? 1 : RAY_ERR_NO_MEMORY;
    rayi_memory_free(b->memory, l.block);
    return r;
}

/* ---- what is said of those that fit nowhere ---- */

static const bundle *too_large(const rayi_bundles *b, const group *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        bool any = false;
        for (const node *n = b->nodes; n && !any; n = n->hh.next) {
            any = !(n->flags & (RAYI_PLANNER_DRAINED | RAYI_PLANNER_NO_WORK));
            for (uint32_t k = 0; k < g->kinds && any; k++) {
                int64_t total = 0;
                for (uint32_t j = 0; j < n->count; j++)
                    if (strcmp(n->items[j].name, g->names[k]) == 0)
                        total = n->items[j].total;
                any = total >= g->bundles[i].amounts[k];
            }
        }
        if (!any)
            return &g->bundles[i];
    }
    return NULL;
}

static void say_why(rayi_bundles *b, const group *g)
{
    static const char *const strategies[] = {"PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"};
    const bundle *large = too_large(b, g);
    char name[80];
    if (g->name)
        snprintf(name, sizeof name, "\"%.60s\"", g->name);
    else
        snprintf(name, sizeof name, "%" PRIu64, g->id);
    if (large)
        snprintf(
            b->message, sizeof b->message,
            "bundle %u \"%.200s\" of placement group %s is more than any node of the cluster has in total; it waits",
            (unsigned)(large - g->bundles) + 1, large->text, name);
    else
        snprintf(b->message, sizeof b->message,
                 "the %" PRIu32 " bundles of placement group %s find no place, %s, on the %u nodes of the cluster; it "
                 "waits",
                 g->count, name, strategies[g->strategy], HASH_COUNT(b->nodes));
}

int rayi_bundles_could(rayi_bundles *b, group *g)
{
    look l;
    int r = look_begin(b, g, &l);
    if (r == 0)
        r = ask(&l, EVER);
    rayi_memory_free(b->memory, l.block);
    if (r == 0)
        say_why(b, g);
    return r;
}
