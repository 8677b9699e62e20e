/* Which node is for which bundle: a pure function for each strategy.
 *
 * Bundles are taken in order of their size, the largest first, size being the sum of what a bundle asks for, as shares
 * of the best node. Equal ones are then neighbours: a *run*, of which a node takes as many as fit by a division.
 */
#include "scheduler/bundles_inside.h"

#include <stdlib.h>

#define NOBODY UINT32_MAX

typedef struct sized {
    double size;
    uint32_t bundle;
} sized;

typedef struct run {
    uint32_t start, count; /* in order */
    uint32_t left;
} run;

typedef struct search {
    rayi_siting *siting;
    double *most;    /* [kinds]: of the best node, at least 1 */
    sized *order;    /* [bundles] */
    run *runs;       /* [bundles] */
    uint32_t *queue; /* [bundles]: of a search for a path */
    uint32_t *holds; /* [nodes]: the bundle that has it, in a matching */
    uint32_t *from;  /* [nodes]: the bundle that has reached it */
    int64_t *row;    /* [kinds] */
    uint32_t run_count;
} search;

static int64_t *row_of(const rayi_siting *c, uint32_t node)
{
    return c->left + (size_t)node * c->kinds;
}

static bool fits(const rayi_siting *c, const int64_t *row, const int64_t *amounts)
{
    for (uint32_t k = 0; k < c->kinds; k++)
        if (amounts[k] > 0 && row[k] < amounts[k])
            return false;
    return true;
}

static void put(rayi_siting *c, uint32_t bundle, uint32_t node)
{
    int64_t *row = row_of(c, node);
    for (uint32_t k = 0; k < c->kinds; k++)
        row[k] -= c->amounts[bundle][k];
    c->has[node]++;
    c->out[bundle] = node;
}

/* ---- preparing ---- */

static int compare(const void *a, const void *b)
{
    const sized *x = a, *y = b;
    if (x->size != y->size)
        return x->size > y->size ? -1 : 1;
    return x->bundle < y->bundle ? -1 : 1;
}

static void sort(search *s)
{
    const rayi_siting *c = s->siting;
    for (uint32_t k = 0; k < c->kinds; k++) {
        s->most[k] = 1;
        for (uint32_t n = 0; n < c->nodes; n++)
            s->most[k] = RAYI_MAX(s->most[k], (double)row_of(c, n)[k]);
    }
    for (uint32_t i = 0; i < c->bundles; i++) {
        s->order[i] = (sized){.bundle = i};
        for (uint32_t k = 0; k < c->kinds; k++)
            s->order[i].size += (double)c->amounts[i][k] / s->most[k];
    }
    qsort(s->order, c->bundles, sizeof *s->order, compare);
    s->run_count = 0;
    for (uint32_t i = 0; i < c->bundles; i++) {
        const int64_t *one = c->amounts[s->order[i].bundle];
        const run *last = s->run_count ? &s->runs[s->run_count - 1] : NULL;
        if (last && memcmp(one, c->amounts[s->order[last->start].bundle], c->kinds * sizeof *one) == 0)
            s->runs[s->run_count - 1].count++;
        else
            s->runs[s->run_count++] = (run){.start = i, .count = 1};
    }
}

static void *take(char **room, size_t size_bytes)
{
    void *block = *room;
    *room += (size_bytes + 7) & ~(size_t)7;
    return block;
}

/* One allocation; NULL: no memory. */
static void *prepare(const rayi_memory *memory, rayi_siting *c, search *s)
{
    size_t b = c->bundles, n = c->nodes, k = c->kinds;
    char *block = rayi_memory_alloc(memory, k * (sizeof *s->most + sizeof *s->row) +
                                                b * (sizeof *s->order + sizeof *s->runs + sizeof *s->queue) +
                                                n * (sizeof *s->holds + sizeof *s->from) + 7 * 8);
    char *room = block;
    if (!block)
        return NULL;
    s->siting = c;
    s->most = take(&room, k * sizeof *s->most);
    s->row = take(&room, k * sizeof *s->row);
    s->order = take(&room, b * sizeof *s->order);
    s->runs = take(&room, b * sizeof *s->runs);
    s->queue = take(&room, b * sizeof *s->queue);
    s->holds = take(&room, n * sizeof *s->holds);
    s->from = take(&room, n * sizeof *s->from);
    sort(s);
    return block;
}

/* How much of a node would be left, as shares of the best; less is tighter. */
static double slack(const search *s, uint32_t node)
{
    double sum = 0;
    for (uint32_t k = 0; k < s->siting->kinds; k++)
        sum += (double)row_of(s->siting, node)[k] / s->most[k];
    return sum;
}

/* ---- one node for all ---- */

/* The sum of all bundles, in s->row; false: more than anybody has. */
static bool sum_up(const search *s)
{
    const rayi_siting *c = s->siting;
    for (uint32_t k = 0; k < c->kinds; k++)
        s->row[k] = 0;
    for (uint32_t i = 0; i < c->bundles; i++)
        for (uint32_t k = 0; k < c->kinds; k++) {
            s->row[k] += c->amounts[i][k];
            if (s->row[k] > RAYI_RESOURCE_AMOUNT_MAX)
                return false;
        }
    return true;
}

static bool on_one(search *s)
{
    rayi_siting *c = s->siting;
    uint32_t best = NOBODY;
    double best_slack = 0;
    if (!sum_up(s))
        return false;
    for (uint32_t n = 0; n < c->nodes; n++) {
        if (!fits(c, row_of(c, n), s->row) || (best != NOBODY && slack(s, n) >= best_slack))
            continue;
        best = n;
        best_slack = slack(s, n);
    }
    for (uint32_t i = 0; best != NOBODY && i < c->bundles; i++)
        put(c, i, best);
    return best != NOBODY;
}

/* ---- on few: again and again the node that takes most of what is left ---- */

static uint32_t fit_of_run(const search *s, const run *r, const int64_t *row)
{
    const int64_t *amounts = s->siting->amounts[s->order[r->start].bundle];
    int64_t count = r->left;
    for (uint32_t k = 0; k < s->siting->kinds; k++)
        if (amounts[k] > 0)
            count = RAYI_MIN(count, RAYI_MAX(row[k], 0) / amounts[k]);
    return (uint32_t)count;
}

static uint32_t fill(search *s, uint32_t node, bool for_good)
{
    rayi_siting *c = s->siting;
    uint32_t total = 0;
    memcpy(s->row, row_of(c, node), c->kinds * sizeof *s->row);
    for (uint32_t i = 0; i < s->run_count; i++) {
        run *r = &s->runs[i];
        uint32_t count = fit_of_run(s, r, s->row);
        const int64_t *amounts = c->amounts[s->order[r->start].bundle];
        for (uint32_t k = 0; k < c->kinds; k++)
            s->row[k] -= count * amounts[k];
        for (uint32_t j = 0; for_good && j < count; j++)
            put(c, s->order[r->start + r->count - r->left--].bundle, node);
        total += count;
    }
    return total;
}

static bool on_few(search *s)
{
    rayi_siting *c = s->siting;
    for (uint32_t i = 0; i < s->run_count; i++)
        s->runs[i].left = s->runs[i].count;
    for (uint32_t left = c->bundles; left > 0;) {
        uint32_t best = NOBODY, best_count = 0;
        for (uint32_t n = 0; n < c->nodes; n++) {
            uint32_t count = fill(s, n, false);
            if (count > best_count || (count > 0 && count == best_count && c->has[n] > 0 && c->has[best] == 0)) {
                best = n;
                best_count = count;
            }
        }
        if (best == NOBODY)
            return false;
        left -= fill(s, best, true);
    }
    return true;
}

/* ---- on many: each where the fewest are ---- */

static bool on_many(search *s)
{
    rayi_siting *c = s->siting;
    for (uint32_t i = 0; i < c->bundles; i++) {
        uint32_t bundle = s->order[i].bundle, best = NOBODY;
        for (uint32_t n = 0; n < c->nodes; n++) {
            if (!fits(c, row_of(c, n), c->amounts[bundle]))
                continue;
            if (best == NOBODY || c->has[n] < c->has[best] ||
                (c->has[n] == c->has[best] && slack(s, n) > slack(s, best)))
                best = n;
        }
        if (best == NOBODY)
            return false;
        put(c, bundle, best);
    }
    return true;
}

/* ---- each on another: a matching, made larger bundle by bundle along the shortest path ---- */

static bool reach(search *s, uint32_t bundle, uint32_t *end, uint32_t *queued)
{
    const rayi_siting *c = s->siting;
    for (uint32_t n = 0; n < c->nodes; n++) {
        if (s->from[n] != NOBODY || c->has[n] > 0 || !fits(c, row_of(c, n), c->amounts[bundle]))
            continue;
        s->from[n] = bundle;
        if (s->holds[n] == NOBODY) {
            *end = n;
            return true;
        }
        s->queue[(*queued)++] = s->holds[n];
    }
    return false;
}

static bool match(search *s, uint32_t bundle)
{
    rayi_siting *c = s->siting;
    uint32_t end = NOBODY, queued = 0;
    memset(s->from, 0xFF, c->nodes * sizeof *s->from);
    bool found = reach(s, bundle, &end, &queued);
    for (uint32_t at = 0; !found && at < queued; at++)
        found = reach(s, s->queue[at], &end, &queued);
    while (found && end != NOBODY) { /* each on the path moves on by one */
        uint32_t mover = s->from[end], before = c->out[mover];
        s->holds[end] = mover;
        c->out[mover] = end;
        end = before;
    }
    return found;
}

static bool on_different(search *s)
{
    rayi_siting *c = s->siting;
    if (c->bundles > c->nodes)
        return false;
    memset(s->holds, 0xFF, c->nodes * sizeof *s->holds);
    memset(c->out, 0xFF, c->bundles * sizeof *c->out);
    for (uint32_t i = 0; i < c->bundles; i++)
        if (!match(s, s->order[i].bundle))
            return false;
    return true;
}

/* ---- the strategies ---- */

/* Tries one way, and if there is none, puts back what it has used. */
static bool try_way(search *s, bool (*way)(search *s), const int64_t *left, const uint32_t *has)
{
    rayi_siting *c = s->siting;
    if (way(s))
        return true;
    memcpy(c->left, left, (size_t)c->nodes * c->kinds * sizeof *left);
    memcpy(c->has, has, c->nodes * sizeof *has);
    return false;
}

int rayi_choose_nodes(const rayi_memory *memory, rayi_siting *c)
{
    search s;
    size_t left_size = (size_t)c->nodes * c->kinds * sizeof *c->left, has_size = c->nodes * sizeof *c->has;
    if (c->nodes == 0)
        return 0;
    int64_t *left = rayi_memory_alloc(memory, left_size + has_size);
    void *block = left ? prepare(memory, c, &s) : NULL;
    bool found = false;
    if (!block) {
        rayi_memory_free(memory, left);
        return RAY_ERR_NO_MEMORY;
    }
    uint32_t *has = memcpy((char *)memcpy(left, c->left, left_size) + left_size, c->has, has_size);
    switch (c->strategy) {
    case RAYI_STRATEGY_PACK:
        found = try_way(&s, on_one, left, has) || try_way(&s, on_few, left, has) || try_way(&s, on_many, left, has);
        break;
    case RAYI_STRATEGY_SPREAD:
        found = try_way(&s, on_many, left, has) || try_way(&s, on_few, left, has);
        break;
    case RAYI_STRATEGY_STRICT_PACK:
        found = on_one(&s);
        break;
    case RAYI_STRATEGY_STRICT_SPREAD:
        found = on_different(&s);
        break;
    }
    rayi_memory_free(memory, block);
    rayi_memory_free(memory, left);
    return found;
}
