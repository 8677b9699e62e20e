/* The account: each task that was submitted, where it has run, and what is used where. */
#include "fleet.h"

#include <stdlib.h>

typedef struct run {
    uint64_t number;
    int node;
    uint64_t incarnation;
    bool over, blocked, resumed;
    bool is_stale;        /* when it was over its owner had buried the node already */
    rayi_outcome outcome; /* once it is over */
} run;

typedef struct fate { /* of a task */
    const task *t;
    bool ended, cancelled, is_void; /* void: its owner has crashed */
    rayi_outcome outcome;
    uint64_t tries, starts; /* tries: of one whose value is made again, those that do so as well */
    uint64_t wasted;        /* times it was to be made again and no try was made: each has used up a retry */
    int64_t submitted_ms;
    run *runs;
    size_t count, room;
} fate;

typedef struct kept { /* room for bundles of a group */
    struct kept *next;
    const group *g;
    int node;
    uint64_t part;
    uint32_t count;
} kept;

typedef struct gone { /* a part that its owner has given back; its node may not have heard it yet */
    int owner;
    uint64_t incarnation, part;
} gone;

typedef struct lot { /* of a group */
    const group *g;
    bool is_over, was_placed;
} lot;

struct account {
    world *w;
    fate *fates; /* by number */
    size_t count, room;
    uint64_t waiting;
    kept *kept;
    gone *released;
    size_t released_count, released_room;
    lot *lots; /* of groups, by number */
    size_t lot_count, lot_room;
    uint64_t groups;                    /* that are there */
    int64_t used[SIM_NODES_MAX][KINDS]; /* by tasks that run and are not blocked (of what is not CPU: or are) */
    int64_t resumed[SIM_NODES_MAX];     /* CPU of those that have resumed, which may be more than there is */
    int64_t lane[SIM_NODES_MAX];        /* CPUs of its lane */
    uint64_t heard[SIM_NODES_MAX][SIM_NODES_MAX]; /* who: the last incarnation of whom that it has buried */
};

static const char *const names[] = {"ok", "failed", "again", "crashed", "cancelled", "expired", "refused"};

account *account_new(world *w)
{
    account *a = calloc(1, sizeof *a);
    if (!a)
        abort();
    a->w = w;
    return a;
}

void account_free(account *a)
{
    for (size_t i = 0; i < a->count; i++)
        free(a->fates[i].runs);
    for (kept *k = a->kept, *next; k; k = next) {
        next = k->next;
        free(k);
    }
    free(a->fates);
    free(a->lots);
    free(a->released);
    free(a);
}

static unsigned long long say(uint64_t number)
{
    return (unsigned long long)number;
}

static fate *fate_of(const account *a, uint64_t number)
{
    if (number == 0 || number > a->count)
        sim_fail(a->w->s, "there is no task %llu", say(number));
    return &a->fates[number - 1];
}

/* ---- resources ---- */

static void use(account *a, int node, const task *t, int sign, bool with_cpu, bool with_rest)
{
    for (int k = 0; k < KINDS; k++)
        if (k == CPU ? with_cpu : with_rest)
            a->used[node][k] += sign * shapes[t->shape].amounts[k];
}

static bool is_buried(const account *a, const fate *f, int node, uint64_t incarnation)
{
    return a->heard[f->t->owner][node] >= incarnation;
}

static void end_run(account *a, const fate *f, run *r, rayi_outcome outcome)
{
    use(a, r->node, f->t, -1, !r->blocked, true);
    a->resumed[r->node] -= r->resumed ? shapes[f->t->shape].amounts[CPU] : 0;
    r->over = true;
    r->resumed = false;
    r->is_stale = is_buried(a, f, r->node, r->incarnation);
    r->outcome = outcome;
}

/* What has just begun fits, beside so much CPU that is there already. */
static void check_room(const account *a, int node, const int64_t *wanted, int64_t cpu)
{
    for (int k = 0; k < KINDS; k++) {
        int64_t used = a->used[node][k] + (k == CPU ? cpu : 0);
        if (wanted[k] > 0 && used > a->w->totals[node][k])
            sim_fail(a->w->s, "node %d has %lld of %s, and %lld are used", node, (long long)a->w->totals[node][k],
                     kind_names[k], (long long)used);
    }
}

void account_lane(account *a, int node, int64_t running)
{
    static const int64_t cpu[KINDS] = {[CPU] = RAYI_RESOURCE_UNIT};
    bool more = running * RAYI_RESOURCE_UNIT > a->lane[node];
    a->lane[node] = running * RAYI_RESOURCE_UNIT;
    if (more) /* the slot was given to it before the others resumed */
        check_room(a, node, cpu, a->lane[node] - a->resumed[node]);
}

/* ---- a task at its owner ---- */

void account_submitted(account *a, const task *t)
{
    if (t->number != a->count + 1)
        sim_fail(a->w->s, "task %llu is submitted out of turn", say(t->number));
    if (a->count == a->room) {
        a->room = a->room ? 2 * a->room : 256;
        a->fates = realloc(a->fates, a->room * sizeof *a->fates);
        if (!a->fates)
            abort();
    }
    a->fates[a->count++] = (fate){.t = t, .submitted_ms = sim_time(a->w->s)};
    a->waiting++;
    goods_submitted(a->w->goods, t);
}

/* The one of which it counts as a try. */
static fate *first_of(const account *a, const fate *f)
{
    return fate_of(a, f->t->again_of ? f->t->again_of : f->t->number);
}

static bool may_try_more(const account *a, const fate *f)
{
    const fate *first = first_of(a, f);
    return first->t->retries < 0 || first->tries + first->wasted < 1 + (uint64_t)first->t->retries;
}

bool account_may_try_more(const account *a, uint64_t number)
{
    return may_try_more(a, fate_of(a, number));
}

bool account_has_buried(const account *a, int who, int node, uint64_t incarnation)
{
    return a->heard[who][node] >= incarnation;
}

void account_tried(account *a, uint64_t number)
{
    fate *f = fate_of(a, number), *first = first_of(a, f);
    if (f->ended)
        sim_fail(a->w->s, "task %llu is tried after its end", say(number));
    if (first->t->retries >= 0 && first->tries > (uint64_t)first->t->retries)
        sim_fail(a->w->s, "task %llu may be tried again %d times, and %llu tries were made", say(first->t->number),
                 (int)first->t->retries, say(first->tries));
    first->tries++;
    f->tries += f != first;
    sim_trace(a->w->s, "task %llu: a try begins", say(number));
}

void account_returned(account *a, uint64_t number)
{
    fate *f = fate_of(a, number), *first = first_of(a, f);
    if (f->tries == 0)
        sim_fail(a->w->s, "task %llu comes back from nowhere", say(number));
    first->tries--;
    f->tries -= f != first;
    sim_trace(a->w->s, "task %llu comes back unstarted", say(number));
}

void account_cancelled(account *a, uint64_t number)
{
    fate_of(a, number)->cancelled = true;
    sim_trace(a->w->s, "task %llu is cancelled", say(number));
}

void account_buried(account *a, int by, int node, uint64_t incarnation)
{
    if (incarnation > a->w->deaths.dead[node])
        sim_fail(a->w->s, "%d takes node %d for dead", by, node);
    a->heard[by][node] = incarnation;
}

/* Is it known to its owner that this run is over? */
static bool may_be_over(const account *a, const fate *f, const run *r)
{
    return r->over || is_buried(a, f, r->node, r->incarnation);
}

static bool has_run_to(const fate *f, rayi_outcome outcome)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->runs[i].over && !f->runs[i].is_stale && f->runs[i].outcome == outcome)
            return true;
    return false;
}

static bool an_argument_failed(const account *a, const task *t)
{
    for (int i = 0; i < ARGS; i++)
        if (t->args[i] && fate_of(a, t->args[i])->ended &&
            (fate_of(a, t->args[i])->outcome != RAYI_OUTCOME_OK || goods_is_lost(a->w->goods, t->args[i])))
            return true;
    return false;
}

static bool arguments_are_there(const account *a, const task *t)
{
    for (int i = 0; i < ARGS; i++)
        if (t->args[i] && (!fate_of(a, t->args[i])->ended || fate_of(a, t->args[i])->outcome != RAYI_OUTCOME_OK))
            return false;
    return true;
}

/* Why it may have come to that; NULL: it may not. */
static const char *reason(const account *a, const fate *f, rayi_outcome outcome)
{
    const task *t = f->t;
    switch (outcome) {
    case RAYI_OUTCOME_OK:
        return has_run_to(f, outcome) ? "it has run" : NULL;
    case RAYI_OUTCOME_FAILED:
        return has_run_to(f, outcome) && (!t->retry_failures || !may_try_more(a, f)) ? "it failed" : NULL;
    case RAYI_OUTCOME_AGAIN:
        return has_run_to(f, outcome) && !may_try_more(a, f) ? "it failed" : NULL;
    case RAYI_OUTCOME_CRASHED:
        return !may_try_more(a, f) && !sim_is_quiet(a->w->s) ? "it crashed" : NULL;
    case RAYI_OUTCOME_CANCELLED:
        return f->cancelled || an_argument_failed(a, t) ? "it was to" : NULL;
    case RAYI_OUTCOME_EXPIRED:
        return sim_time(a->w->s) - f->submitted_ms >= t->left_ms ? "it was late" : NULL;
    case RAYI_OUTCOME_REFUSED:
        return t->tie >= 0 && !t->tie_soft && a->w->deaths.dead[t->tie] > 0 ? "that node is gone" : NULL;
    }
    return NULL;
}

void account_ended(account *a, uint64_t number, rayi_outcome outcome)
{
    fate *f = fate_of(a, number);
    if (f->ended)
        sim_fail(a->w->s, "task %llu ends twice: %s, and %s", say(number), names[f->outcome], names[outcome]);
    if (f->is_void)
        sim_fail(a->w->s, "task %llu ends after its owner", say(number));
    for (size_t i = 0; i < f->count; i++)
        if (!may_be_over(a, f, &f->runs[i]))
            sim_fail(a->w->s, "task %llu ends, and runs on node %d", say(number), f->runs[i].node);
    if (!reason(a, f, outcome))
        sim_fail(a->w->s, "task %llu came to \"%s\" for no reason", say(number), names[outcome]);
    f->ended = true;
    f->outcome = outcome;
    a->waiting--;
    first_of(a, f)->wasted += f->t->again_of && f->tries == 0;
    goods_ended(a->w->goods, f->t, outcome);
    sim_trace(a->w->s, "task %llu ends: %s", say(number), names[outcome]);
}

bool account_has_ended(const account *a, uint64_t number, rayi_outcome *outcome)
{
    const fate *f = fate_of(a, number);
    *outcome = f->outcome;
    return f->ended;
}

uint64_t account_waiting(const account *a)
{
    return a->waiting;
}

/* ---- a task at who runs it ---- */

static run *run_at(const account *a, uint64_t number, int node)
{
    const fate *f = fate_of(a, number);
    for (size_t i = f->count; i-- > 0;)
        if (!f->runs[i].over && f->runs[i].node == node && f->runs[i].incarnation == sim_incarnation(a->w->s, node))
            return &f->runs[i];
    sim_fail(a->w->s, "task %llu does not run on node %d", say(number), node);
}

/* Its owner is gone, or takes this node for dead, and the node will hear of it. */
static bool is_for_nobody(const account *a, const fate *f, int node)
{
    return f->is_void || is_buried(a, f, node, sim_incarnation(a->w->s, node));
}

bool account_is_for_nobody(const account *a, uint64_t number, int node)
{
    return is_for_nobody(a, fate_of(a, number), node);
}

bool account_has_failed_life(const account *a, uint64_t of)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->fates[i].t->life_of == of && a->fates[i].outcome == RAYI_OUTCOME_FAILED)
            return true;
    return false;
}

/* An actor lives in one place. */
static void check_life(const account *a, const task *t)
{
    for (size_t i = 0; i < a->count; i++) {
        const fate *f = &a->fates[i];
        for (size_t k = 0; k < f->count && f->t->life_of == t->life_of; k++)
            if (!may_be_over(a, f, &f->runs[k]))
                sim_fail(a->w->s, "actor %llu begins to live as task %llu, and lives on node %d", say(t->life_of),
                         say(t->number), f->runs[k].node);
    }
}

static void check_start(const account *a, const fate *f, int node)
{
    const task *t = f->t;
    if (!arguments_are_there(a, t))
        sim_fail(a->w->s, "task %llu starts on node %d without its arguments", say(t->number), node);
    if (!world_could_run(a->w, t, node))
        sim_fail(a->w->s, "task %llu starts on node %d, which cannot run it", say(t->number), node);
    if (is_for_nobody(a, f, node))
        return;
    for (int i = 0; i < ARGS; i++)
        if (t->args[i] && !goods_can_be_read(a->w->goods, t->args[i]))
            sim_fail(a->w->s, "task %llu starts on node %d without the value of task %llu", say(t->number), node,
                     say(t->args[i]));
    if (t->life_of)
        check_life(a, t);
    if (f->ended)
        sim_fail(a->w->s, "task %llu starts on node %d after its end", say(t->number), node);
    for (size_t i = 0; i < f->count; i++)
        if (!may_be_over(a, f, &f->runs[i]))
            sim_fail(a->w->s, "task %llu starts on node %d, and runs on node %d", say(t->number), node,
                     f->runs[i].node);
    if (t->retries >= 0 && f->starts > (uint64_t)t->retries)
        sim_fail(a->w->s, "task %llu starts for the %lluth time", say(t->number), say(f->starts + 1));
}

void account_started(account *a, uint64_t number, int node)
{
    fate *f = fate_of(a, number);
    sim_trace(a->w->s, "task %llu starts on node %d", say(number), node);
    check_start(a, f, node);
    f->starts += !is_for_nobody(a, f, node);
    if (f->count == f->room) {
        f->room = f->room ? 2 * f->room : 2;
        f->runs = realloc(f->runs, f->room * sizeof *f->runs);
        if (!f->runs)
            abort();
    }
    f->runs[f->count++] = (run){.number = number, .node = node, .incarnation = sim_incarnation(a->w->s, node)};
    use(a, node, f->t, 1, true, true);
    check_room(a, node, shapes[f->t->shape].amounts, a->lane[node]); /* nothing begins beside what is too much */
}

void account_blocked(account *a, uint64_t number, int node, bool blocked)
{
    const fate *f = fate_of(a, number);
    run *r = run_at(a, number, node);
    int was_resumed = r->resumed;
    if (r->blocked == blocked)
        sim_fail(a->w->s, "task %llu blocks twice", say(number));
    r->blocked = blocked;
    r->resumed = !blocked;
    use(a, node, f->t, blocked ? -1 : 1, true, false);
    a->resumed[node] += (blocked ? -was_resumed : 1) * shapes[f->t->shape].amounts[CPU];
}

void account_stopped(account *a, uint64_t number, int node, rayi_outcome outcome)
{
    sim_trace(a->w->s, "task %llu stops on node %d: %s", say(number), node, names[outcome]);
    fate *f = fate_of(a, number);
    run *r = run_at(a, number, node);
    end_run(a, f, r, outcome);
    if (outcome == RAYI_OUTCOME_OK && !r->is_stale)
        goods_ran(a->w->goods, f->t, node);
}

/* ---- placement groups: what is kept for them counts as used ---- */

static void keep(account *a, const kept *k, int sign)
{
    for (int i = 0; i < KINDS; i++)
        a->used[k->node][i] += sign * (int64_t)k->count * shapes[k->g->shape].amounts[i];
}

static kept **find_kept(account *a, int node, const group *g, uint64_t part)
{
    kept **at = &a->kept;
    while (*at && ((*at)->node != node || (*at)->g != g || (*at)->part != part))
        at = &(*at)->next;
    return at;
}

static void let_go(account *a, kept **at)
{
    kept *k = *at;
    *at = k->next;
    keep(a, k, -1);
    free(k);
}

void account_part(account *a, int node, const group *g, uint64_t part, uint32_t count, bool is_kept)
{
    kept **at = find_kept(a, node, g, part);
    sim_trace(a->w->s, "group %llu: node %d %s %u bundles", say(g->number), node, is_kept ? "keeps" : "lets go of",
              (unsigned)count);
    if (is_kept == (*at != NULL))
        sim_fail(a->w->s, "node %d keeps room for part %llu of group %llu %s", node, say(part), say(g->number),
                 is_kept ? "twice" : "no more");
    if (!is_kept) {
        let_go(a, at);
        return;
    }
    kept *k = calloc(1, sizeof *k);
    if (!k)
        abort();
    *k = (kept){.next = a->kept, .g = g, .node = node, .part = part, .count = count};
    a->kept = k;
    keep(a, k, 1);
    check_room(a, node, shapes[g->shape].amounts, a->lane[node]);
}

static lot *lot_of(const account *a, const group *g)
{
    return &a->lots[g->number - 1];
}

void account_group_added(account *a, const group *g)
{
    if (a->lot_count == a->lot_room) {
        a->lot_room = a->lot_room ? 2 * a->lot_room : 64;
        a->lots = realloc(a->lots, a->lot_room * sizeof *a->lots);
        if (!a->lots)
            abort();
    }
    a->lots[a->lot_count++] = (lot){.g = g};
    a->groups++;
}

void account_part_released(account *a, int owner, uint64_t part)
{
    if (a->released_count == a->released_room) {
        a->released_room = a->released_room ? 2 * a->released_room : 64;
        a->released = realloc(a->released, a->released_room * sizeof *a->released);
        if (!a->released)
            abort();
    }
    for (size_t i = 0; i < a->released_count; i++)
        if (a->released[i].owner == owner && a->released[i].incarnation == sim_incarnation(a->w->s, owner) &&
            a->released[i].part == part)
            sim_fail(a->w->s, "node %d gives part %llu back twice", owner, say(part));
    a->released[a->released_count++] = (gone){owner, sim_incarnation(a->w->s, owner), part};
}

/* Does its owner count on it? */
static bool is_counted_on(const account *a, const kept *k)
{
    if (a->heard[k->g->owner][k->node] >= sim_incarnation(a->w->s, k->node))
        return false;
    for (size_t i = 0; i < a->released_count; i++)
        if (a->released[i].owner == k->g->owner && a->released[i].incarnation == k->g->incarnation &&
            a->released[i].part == k->part)
            return false;
    return true;
}

/* All its bundles are kept by nodes, as its strategy has it; some may have died that the owner does not know of. */
void account_group_placed(account *a, const group *g, bool is_placed)
{
    uint32_t bundles = 0, parts = 0;
    bool any_died = a->w->deaths.dead[g->owner] >= g->incarnation; /* or it is dead itself, and will hear of it */
    sim_trace(a->w->s, "group %llu is %s", say(g->number), is_placed ? "placed" : "not placed any more");
    for (int i = 0; i < sim_nodes(a->w->s); i++)
        any_died |= i != g->owner && a->heard[g->owner][i] + 1 < sim_incarnation(a->w->s, i) + !sim_self(a->w->s, i);
    for (const kept *k = a->kept; k; k = k->next) {
        if (k->g != g || !is_counted_on(a, k))
            continue;
        parts++;
        bundles += k->count;
        if (is_placed && g->strategy == RAYI_STRATEGY_STRICT_SPREAD && k->count != 1)
            sim_fail(a->w->s, "group %llu has %u bundles on node %d", say(g->number), (unsigned)k->count, k->node);
    }
    lot_of(a, g)->was_placed |= is_placed;
    if (!is_placed || any_died)
        return;
    if (bundles < g->count)
        sim_fail(a->w->s, "group %llu is placed, and has %u of %u bundles", say(g->number), (unsigned)bundles,
                 (unsigned)g->count);
    if (g->strategy == RAYI_STRATEGY_STRICT_PACK && parts > 1)
        sim_fail(a->w->s, "group %llu is placed on %u nodes", say(g->number), (unsigned)parts);
}

void account_check_group(const account *a, const group *g)
{
    uint32_t bundles = 0;
    for (const kept *k = a->kept; k; k = k->next)
        bundles += k->g == g && is_counted_on(a, k) ? k->count : 0;
    if (!lot_of(a, g)->is_over && bundles != g->count && world_could_place(a->w, g))
        sim_fail(a->w->s, "group %llu has %u of %u bundles", say(g->number), (unsigned)bundles, (unsigned)g->count);
}

void account_group_removed(account *a, const group *g)
{
    lot *l = lot_of(a, g);
    a->groups -= !l->is_over;
    l->is_over = true;
}

uint64_t account_groups(const account *a)
{
    return a->groups;
}

static void crash_groups(account *a, int node, uint64_t incarnation)
{
    for (kept **at = &a->kept; *at;)
        if ((*at)->node == node)
            let_go(a, at);
        else
            at = &(*at)->next;
    for (size_t i = 0; i < a->lot_count; i++)
        if (a->lots[i].g->owner == node && a->lots[i].g->incarnation == incarnation)
            account_group_removed(a, a->lots[i].g);
}

static void check_groups(const account *a)
{
    for (size_t i = 0; i < a->lot_count; i++) {
        const lot *l = &a->lots[i];
        if (!l->is_over && !l->was_placed && world_could_place(a->w, l->g))
            sim_fail(a->w->s, "group %llu of node %d, %u of \"%s\" with strategy %d, was never placed",
                     say(l->g->number), l->g->owner, (unsigned)l->g->count, shapes[l->g->shape].text,
                     (int)l->g->strategy);
    }
    if (a->kept)
        sim_fail(a->w->s, "node %d still keeps room for group %llu", a->kept->node, say(a->kept->g->number));
}

/* ---- the rest ---- */

void account_crashed(account *a, int node, uint64_t incarnation)
{
    for (size_t i = 0; i < a->count; i++) {
        fate *f = &a->fates[i];
        for (size_t k = 0; k < f->count; k++)
            if (!f->runs[k].over && f->runs[k].node == node)
                end_run(a, f, &f->runs[k], RAYI_OUTCOME_CRASHED);
        if (f->t->owner == node && f->t->incarnation == incarnation && !f->ended && !f->is_void) {
            f->is_void = true;
            a->waiting--;
        }
    }
    a->lane[node] = 0;
    goods_crashed(a->w->goods, node, incarnation);
    crash_groups(a, node, incarnation);
    for (int k = 0; k < KINDS; k++)
        if (a->used[node][k])
            sim_fail(a->w->s, "node %d is gone, and %lld of %s are used there", node, (long long)a->used[node][k],
                     kind_names[k]);
}

void account_check(account *a)
{
    for (size_t i = 0; i < a->count; i++) {
        const fate *f = &a->fates[i];
        if (!f->ended && !f->is_void)
            sim_fail(a->w->s, "task %llu of node %d has not ended", say(f->t->number), f->t->owner);
        for (size_t k = 0; k < f->count; k++)
            if (!f->runs[k].over)
                sim_fail(a->w->s, "task %llu still runs on node %d", say(f->t->number), f->runs[k].node);
    }
    check_groups(a);
    goods_check(a->w->goods);
    cast_check(a->w->cast);
    for (int n = 0; n < sim_nodes(a->w->s); n++)
        for (int k = 0; k < KINDS; k++)
            if (a->used[n][k])
                sim_fail(a->w->s, "nothing runs on node %d, and %lld of %s are used", n, (long long)a->used[n][k],
                         kind_names[k]);
}
