/* The scenario of the raylets: see fleet.h. */
#include "fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIT RAYI_RESOURCE_UNIT

const char *const kind_names[KINDS] = {"CPU", "GPU", "disk"};
const shape shapes[SHAPES] = {
    {"CPU=1", {UNIT, 0, 0}},
    {"CPU=2", {2 * UNIT, 0, 0}},
    {"CPU=0.5", {UNIT / 2, 0, 0}},
    {"CPU=4", {4 * UNIT, 0, 0}},
    {"CPU=1, GPU=1", {UNIT, UNIT, 0}},
    {"GPU=0.5", {0, UNIT / 2, 0}},
    {"CPU=1, disk=3", {UNIT, 0, 3 * UNIT}},
    {"", {0, 0, 0}},
};

task *world_task(const world *w, uint64_t number)
{
    return w->tasks[number - 1];
}

static bool has_any(const world *w, int node)
{
    return w->totals[node][CPU] > 0;
}

static bool offers(const world *w, int of_shape, int node)
{
    bool asks = false;
    for (int k = 0; k < KINDS; k++) {
        if (shapes[of_shape].amounts[k] > w->totals[node][k])
            return false;
        asks |= shapes[of_shape].amounts[k] > 0;
    }
    return asks || has_any(w, node);
}

bool world_could_run(const world *w, const task *t, int node)
{
    return offers(w, t->shape, node) && !w->lacks[node][t->function] && (t->tie < 0 || t->tie_soft || t->tie == node);
}

static bool somebody_could_run(const world *w, const task *t)
{
    for (int i = 0; i < sim_nodes(w->s); i++)
        if (world_could_run(w, t, i))
            return true;
    return false;
}

group *world_group(const world *w, uint64_t number)
{
    return w->groups[number - 1];
}

/* Bundles are alike, so they fit if there are places for as many. */
bool world_could_place(const world *w, const group *g)
{
    int64_t each = shapes[g->shape].amounts[CPU], all = 0, most = 0, nodes = 0;
    for (int i = 0; i < sim_nodes(w->s); i++) {
        int64_t places = w->totals[i][CPU] / each;
        all += places;
        nodes += places > 0;
        most = places > most ? places : most;
    }
    switch (g->strategy) {
    case RAYI_STRATEGY_PACK:
    case RAYI_STRATEGY_SPREAD:
        return all >= g->count;
    case RAYI_STRATEGY_STRICT_PACK:
        return most >= g->count;
    case RAYI_STRATEGY_STRICT_SPREAD:
        return nodes >= g->count;
    }
    return false;
}

/* ---- work ---- */

static task *add_task(world *w)
{
    w->tasks = sim_grown(w->tasks, w->count, &w->room, sizeof(task *));
    w->tasks[w->count] = calloc(1, sizeof **w->tasks);
    if (!w->tasks[w->count])
        abort();
    w->tasks[w->count]->number = w->count + 1;
    return w->tasks[w->count++];
}

const task *world_life(world *w, const actor *a)
{
    task *t = add_task(w);
    t->owner = a->owner;
    t->incarnation = a->incarnation;
    t->shape = a->shape;
    t->function = a->function;
    t->tie = NOWHERE_TO;
    t->left_ms = INT64_MAX;
    t->life_of = a->number;
    return t;
}

const call *world_call(const world *w, uint64_t number)
{
    return w->calls[number - 1];
}

const task *world_again(world *w, const task *t, int32_t retries)
{
    task *again = add_task(w);
    uint64_t number = again->number;
    *again = *t;
    again->number = number;
    again->again_of = t->number;
    again->retries = retries;
    again->left_ms = INT64_MAX; /* it has met its deadline */
    return again;
}

/* One of the last few of the same owner, who still has its handle. */
static uint64_t some_argument(const world *w, const task *of)
{
    uint64_t back = 1 + sim_below(w->s, 40);
    if (back >= of->number)
        return 0;
    const task *t = world_task(w, of->number - back);
    bool is_ours = t->owner == of->owner && t->incarnation == of->incarnation;
    return is_ours && raylet_has_handle(sim_self(w->s, t->owner), t->number) ? t->number : 0;
}

static void choose_tie(world *w, task *t)
{
    static const unsigned tied = 12, soft = 50;
    t->tie = NOWHERE_TO;
    if (!sim_chance(w->s, tied))
        return;
    int node = (int)sim_below(w->s, (uint64_t)sim_nodes(w->s));
    if (!raylet_knows(sim_self(w->s, t->owner), node))
        return;
    t->tie = node;
    t->tie_soft = sim_chance(w->s, soft);
}

static void choose(world *w, task *t, int owner)
{
    static const int32_t retries[] = {0, 0, 1, 3, 3, -1};
    t->owner = owner;
    t->incarnation = sim_incarnation(w->s, owner);
    t->retries = retries[sim_below(w->s, RAYI_COUNT_OF(retries))];
    t->retry_failures = sim_chance(w->s, 20);
    t->priority = sim_chance(w->s, 80) ? 0 : (int32_t)sim_below(w->s, 5) - 1;
    t->spread = sim_chance(w->s, 20);
    t->is_bad = t->retries >= 0 && sim_chance(w->s, 5);
    t->left_ms = sim_chance(w->s, 90) ? INT64_MAX : 1 + (int64_t)sim_below(w->s, 3000);
    for (int i = 0; i < ARGS; i++) {
        t->args[i] = sim_chance(w->s, w->argued) ? some_argument(w, t) : 0;
        if (t->args[i])
            t->height = RAYI_MAX(t->height, world_task(w, t->args[i])->height);
    }
    t->height++;
    t->size_bytes = 1 + sim_below(w->s, 100);
    t->cannot_stay = sim_chance(w->s, 3);
    do {
        t->shape = (int)sim_below(w->s, SHAPES);
        t->function = (int)sim_below(w->s, FUNCTIONS);
        choose_tie(w, t);
    } while (w->lacks[owner][t->function] || !somebody_could_run(w, t));
}

static void drop_later(void *arg, uint64_t number, uint64_t unused, uint64_t unused_too)
{
    world *w = arg;
    const task *t = world_task(w, number);
    raylet *r = sim_self(w->s, t->owner);
    (void)unused, (void)unused_too;
    if (!r || t->incarnation != sim_incarnation(w->s, t->owner))
        return;
    if (!sim_is_running(w->s, t->owner))
        sim_after(w->s, 100, drop_later, w, number, 0, 0);
    else
        raylet_drop(r, number);
}

static void submit_one(world *w, int owner)
{
    enum { LONG_MS = 30000, SHORT_MS = 3000 };
    task *t = add_task(w);
    choose(w, t, owner);
    account_submitted(w->account, t);
    sim_after(w->s, (int64_t)sim_below(w->s, sim_chance(w->s, 30) ? LONG_MS : SHORT_MS), drop_later, w, t->number, 0,
              0);
    raylet_submit(sim_self(w->s, owner), t);
}

static group *add_group(world *w)
{
    w->groups = sim_grown(w->groups, w->group_count, &w->group_room, sizeof(group *));
    group *g = w->groups[w->group_count++] = calloc(1, sizeof *g);
    if (!g)
        abort();
    g->number = w->group_count;
    return g;
}

static void make_group(world *w, int owner)
{
    enum { CPU_ONE, CPU_TWO, MOST = 4, MOST_GROUPS = 8, MOST_LASTING = 1 };
    static const rayi_strategy strategies[] = {RAYI_STRATEGY_PACK, RAYI_STRATEGY_SPREAD, RAYI_STRATEGY_STRICT_PACK,
                                               RAYI_STRATEGY_STRICT_SPREAD};
    if (account_groups(w->account) >= MOST_GROUPS)
        return;
    group *g = add_group(w);
    g->owner = owner;
    g->incarnation = sim_incarnation(w->s, owner);
    g->shape = sim_chance(w->s, 70) ? CPU_ONE : CPU_TWO;
    g->count = 1 + (uint32_t)sim_below(w->s, MOST);
    g->strategy = strategies[sim_below(w->s, RAYI_COUNT_OF(strategies))];
    g->lasts = w->lasting < MOST_LASTING && sim_chance(w->s, 20) && world_could_place(w, g);
    w->lasting += g->lasts;
    account_group_added(w->account, g);
    raylet_add_group(sim_self(w->s, owner), g);
}

/* ---- actors ---- */

static bool is_there(const world *w, const actor *a)
{
    return sim_is_running(w->s, a->owner) && sim_incarnation(w->s, a->owner) == a->incarnation && !a->is_over;
}

static void end_one(void *arg, uint64_t number, uint64_t unused, uint64_t unused_too)
{
    static const rayi_actor_event ends[] = {RAYI_ACTOR_KILL, RAYI_ACTOR_KILL_MAY_RESTART, RAYI_ACTOR_RELEASED,
                                            RAYI_ACTOR_SHUTDOWN};
    world *w = arg;
    actor *a = w->actors[number - 1];
    (void)unused, (void)unused_too;
    if (!is_there(w, a))
        return;
    rayi_actor_event how = ends[sim_below(w->s, RAYI_COUNT_OF(ends))];
    a->is_over = how != RAYI_ACTOR_KILL_MAY_RESTART;
    if (!a->is_over)
        sim_after(w->s, (int64_t)sim_below(w->s, 1000), end_one, w, number, 0, 0);
    raylet_end_actor(sim_self(w->s, a->owner), a, how);
}

static void make_actor(world *w, int owner)
{
    enum { MOST = 6, LASTS_MS = 4000 };
    static const int32_t restarts[] = {0, 1, 1, 3, -1};
    static const int small[] = {0, 2, 7}; /* shapes */
    size_t count = 0;
    for (size_t i = 0; i < w->actor_count; i++)
        count += is_there(w, w->actors[i]);
    if (count >= MOST)
        return;
    w->actors = sim_grown(w->actors, w->actor_count, &w->actor_room, sizeof(actor *));
    actor *a = w->actors[w->actor_count++] = calloc(1, sizeof *a);
    if (!a)
        abort();
    *a = (actor){.number = w->actor_count, .owner = owner, .incarnation = sim_incarnation(w->s, owner)};
    a->restarts = restarts[sim_below(w->s, RAYI_COUNT_OF(restarts))];
    do
        a->function = (int)sim_below(w->s, FUNCTIONS);
    while (w->lacks[owner][a->function]);
    a->shape = small[sim_below(w->s, RAYI_COUNT_OF(small))];
    cast_actor(w->cast, a);
    sim_after(w->s, (int64_t)sim_below(w->s, LASTS_MS), end_one, w, a->number, 0, 0);
    raylet_add_actor(sim_self(w->s, owner), a);
}

static void call_some(world *w, int owner)
{
    static const int32_t retries[] = {0, 0, 1, 3, -1};
    for (size_t i = 0; i < w->actor_count; i++) {
        const actor *a = w->actors[i];
        if (a->owner != owner || !is_there(w, a) || sim_chance(w->s, 50))
            continue;
        w->calls = sim_grown(w->calls, w->call_count, &w->call_room, sizeof(call *));
        call *c = w->calls[w->call_count++] = calloc(1, sizeof *c);
        if (!c)
            abort();
        *c = (call){.number = w->call_count, .of = a, .caller = (int)sim_below(w->s, CALLERS)};
        c->retries = retries[sim_below(w->s, RAYI_COUNT_OF(retries))];
        c->exits = sim_chance(w->s, 2);
        c->breaks = c->retries >= 0 && w->crashes && sim_chance(w->s, 5);
        cast_call(w->cast, c);
        raylet_call(sim_self(w->s, owner), c);
    }
}

static void end_actors(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    for (size_t i = 0; i < w->actor_count; i++) {
        if (!is_there(w, w->actors[i]))
            continue;
        w->actors[i]->is_over = true;
        raylet_end_actor(sim_self(w->s, w->actors[i]->owner), w->actors[i], RAYI_ACTOR_RELEASED);
    }
}

/* One of the last hundred is cancelled, or somebody important waits for it. */
static void meddle(world *w, int owner)
{
    uint64_t back = sim_below(w->s, 100);
    if (back >= w->count)
        return;
    const task *t = world_task(w, w->count - back);
    if (t->owner != owner || t->incarnation != sim_incarnation(w->s, owner) || t->life_of)
        return;
    raylet_get(sim_self(w->s, owner), t->number);
    if (sim_chance(w->s, 50))
        raylet_cancel(sim_self(w->s, owner), t->number);
    else
        raylet_inherit(sim_self(w->s, owner), t->number, (int32_t)sim_below(w->s, 6));
}

static void work(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    if (sim_is_calm(w->s))
        return;
    int node = (int)sim_below(w->s, (uint64_t)sim_nodes(w->s));
    uint64_t count = sim_chance(w->s, 10) ? sim_below(w->s, 30) : 1;
    for (uint64_t i = 0; i < count && sim_is_running(w->s, node) && account_waiting(w->account) < MOST_WAITING; i++)
        submit_one(w, node);
    if (sim_is_running(w->s, node) && sim_chance(w->s, 15))
        meddle(w, node);
    if (sim_is_running(w->s, node) && sim_chance(w->s, w->grouped))
        make_group(w, node);
    if (sim_is_running(w->s, node) && sim_chance(w->s, w->acted))
        make_actor(w, node);
    if (sim_is_running(w->s, node) && sim_chance(w->s, 50))
        call_some(w, node);
    if (sim_is_running(w->s, node) && sim_chance(w->s, w->lane))
        raylet_lane_work(sim_self(w->s, node), 1 + (uint32_t)sim_below(w->s, 20));
    sim_after(w->s, 1 + (int64_t)sim_below(w->s, w->rate_ms), work, w, 0, 0, 0);
}

/* ---- tables: each hears now and then what each other said some time before ---- */

static void hear(world *w, int node)
{
    for (int of = 0; of < sim_nodes(w->s); of++) {
        row heard = w->rows[of];
        if (of == node || heard.incarnation == 0 || !sim_is_running(w->s, node) || sim_chance(w->s, 15))
            continue;
        heard.suspect = !sim_is_calm(w->s) && !sim_is_quiet(w->s) && sim_chance(w->s, 5);
        raylet_hear(sim_self(w->s, node), of, &heard);
    }
}

static void publish(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    for (int i = 0; i < sim_nodes(w->s); i++)
        hear(w, i);
    for (int i = 0; i < sim_nodes(w->s); i++)
        if (sim_is_running(w->s, i))
            raylet_describe(sim_self(w->s, i), &w->rows[i]);
    sim_after(w->s, 50 + (int64_t)sim_below(w->s, 300), publish, w, 0, 0, 0);
}

/* All that anybody has: each is there, or is made again, or there is a reason. */
static void get_all(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    for (size_t i = 0; i < w->count; i++)
        if (sim_is_running(w->s, w->tasks[i]->owner) &&
            w->tasks[i]->incarnation == sim_incarnation(w->s, w->tasks[i]->owner))
            raylet_get(sim_self(w->s, w->tasks[i]->owner), w->tasks[i]->number);
}

/* Groups that have lasted are whole again by now; and go, so that others' tasks have their room. */
static void end_groups(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    for (size_t i = 0; i < w->group_count; i++) {
        const group *g = w->groups[i];
        raylet *r = sim_self(w->s, g->owner);
        if (!g->lasts || g->incarnation != sim_incarnation(w->s, g->owner))
            continue;
        account_check_group(w->account, g);
        raylet_remove_group(r, g);
    }
}

/* ---- deaths and other trouble ---- */

static void declare(void *node_self, int with, uint64_t incarnation)
{
    raylet_declare_dead(node_self, with, incarnation);
}

static void crashed(void *self, int node, uint64_t incarnation)
{
    world *w = self;
    account_crashed(w->account, node, incarnation);
    deaths_of_crash(&w->deaths, node, incarnation);
    sim_after(w->s, (int64_t)sim_below(w->s, 9000), get_all, w, 0, 0, 0);
}

static void oddity(void *self)
{
    world *w = self;
    int node = (int)sim_below(w->s, (uint64_t)sim_nodes(w->s));
    if (sim_chance(w->s, 50))
        deaths_of_the_living(&w->deaths);
    else
        w->drained[node] = !w->drained[node];
}

/* ---- the scenario ---- */

static void parse(const char *text, rayi_resources **out)
{
    char why[128];
    if (rayi_resources_parse(rayi_heap, text, NULL, out, why, sizeof why)) {
        fprintf(stderr, "%s: %s\n", text, why);
        abort();
    }
}

static void equip(world *w, int node)
{
    char text[64];
    int64_t *has = w->totals[node];
    has[CPU] = sim_chance(w->s, 15) && node > 0 ? 0 : 1 + (int64_t)sim_below(w->s, 5);
    has[GPU] = sim_chance(w->s, 50) || has[CPU] == 0 ? 0 : 1 + (int64_t)sim_below(w->s, 2);
    has[DISK] = sim_chance(w->s, 50) || has[CPU] == 0 ? 0 : 3 + (int64_t)sim_below(w->s, 6);
    if (node == 0) /* somebody can run everything but what is tied to others */
        has[CPU] = 4, has[GPU] = 1, has[DISK] = 3;
    snprintf(text, sizeof text, "CPU=%d, GPU=%d, disk=%d", (int)has[CPU], (int)has[GPU], (int)has[DISK]);
    parse(text, &w->offers[node]);
    for (int k = 0; k < KINDS; k++)
        has[k] *= UNIT;
    for (int i = 1; i < FUNCTIONS && node > 0; i++)
        w->lacks[node][i] = sim_chance(w->s, 15);
}

static unsigned some_percent(sim *s, unsigned most)
{
    return sim_chance(s, 40) ? 0 : (unsigned)sim_below(s, most);
}

static void *begin(sim *s)
{
    world *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->s = s;
    w->deaths = (deaths){.s = s, .declare = declare};
    w->account = account_new(w);
    w->goods = goods_new(w);
    w->cast = cast_new(w);
    w->options.window = RAYI_PEER_FIRST_CREDIT + (uint32_t)sim_below(s, 50);
    w->options.beat_ms = 200 + (int64_t)sim_below(s, 1000);
    for (int i = 0; i < SHAPES; i++)
        parse(shapes[i].text, &w->resources[i]);
    for (int i = 0; i < sim_nodes(s); i++)
        equip(w, i);
    w->rate_ms = 2 + sim_below(s, 80);
    w->lineage_bytes = sim_chance(s, 50) ? 1000 * 1000 : 100 + sim_below(s, 3000);
    w->long_ms = sim_chance(s, 50) ? 100 : 2000;
    w->crashes = some_percent(s, 20);
    w->failures = some_percent(s, 30);
    w->blocks = some_percent(s, 50);
    w->refusals = some_percent(s, 10);
    w->lane = some_percent(s, 30);
    w->out_of_memory = some_percent(s, 20);
    w->grouped = some_percent(s, 20);
    w->acted = some_percent(s, 20);
    w->argued = sim_chance(s, 50) ? 20 : 50;
    if (sim_is_quiet(s))
        w->crashes = w->refusals = w->out_of_memory = 0;
    sim_after(s, 1, publish, w, 0, 0, 0);
    sim_after(s, 1, work, w, 0, 0, 0);
    return w;
}

static void calm(void *self)
{
    world *w = self; /* the work ends by itself */
    memset(w->drained, 0, sizeof w->drained);
    w->refusals = w->out_of_memory = 0;
    sim_after(w->s, 10000, end_actors, w, 0, 0, 0);
    sim_after(w->s, 15000, get_all, w, 0, 0, 0); /* who is dead is known to be by now */
    sim_after(w->s, 80000, end_groups, w, 0, 0, 0);
}

static void check(void *self)
{
    world *w = self;
    account_check(w->account);
    for (int i = 0; i < sim_nodes(w->s); i++)
        raylet_check(sim_self(w->s, i));
}

static void end(void *self)
{
    world *w = self;
    account_free(w->account);
    goods_free(w->goods);
    cast_free(w->cast);
    for (size_t i = 0; i < w->actor_count; i++)
        free(w->actors[i]);
    free(w->actors);
    for (size_t i = 0; i < w->call_count; i++)
        free(w->calls[i]);
    free(w->calls);
    for (size_t i = 0; i < w->count; i++)
        free(w->tasks[i]);
    free(w->tasks);
    for (size_t i = 0; i < w->group_count; i++)
        free(w->groups[i]);
    free(w->groups);
    for (int i = 0; i < SHAPES; i++)
        rayi_resources_free(rayi_heap, w->resources[i]);
    for (int i = 0; i < sim_nodes(w->s); i++)
        rayi_resources_free(rayi_heap, w->offers[i]);
    free(w);
}

const sim_scenario sim_raylet = {
    .name = "raylet",
    .node = &raylet_calls,
    .calm_ms = 200000,
    .begin = begin,
    .crashed = crashed,
    .oddity = oddity,
    .calm = calm,
    .check = check,
    .end = end,
};
