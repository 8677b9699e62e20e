/* Many owners over the same nodes, each with its own brain, its own old tables, messages that take their time, nodes
 * that die, come and are busy, and a heap that fails at times. The nodes are simulated: they keep room for a part once
 * they have it, in the order of asking, and never more than they have. At the end nothing happens any more, and every
 * group that could be placed is. */
#include <stdarg.h>

#include "bundled.h"

enum { OWNERS = 4, NODES = 8, GROUPS = 12, MESSAGES = 4096, PARTS = 256, UNIT = RAYI_RESOURCE_UNIT };

typedef enum word { RESERVE, RELEASE, RESERVED } word;

typedef struct message {
    int64_t at_ms;
    word what;
    uint32_t owner, node, life;
    uint64_t part;
    int64_t cpus;
} message;

typedef struct kept { /* by a node */
    uint32_t owner;
    uint64_t part;
    int64_t cpus;
    bool is_used, is_reserved;
} kept;

typedef struct host {
    bool is_alive;
    uint32_t life;
    int64_t total, busy; /* busy: others' work */
    kept parts[PARTS];   /* in the order of asking */
    uint32_t count;
} host;

typedef struct made {
    bool is_there, is_placed;
    rayi_strategy strategy;
    uint32_t count;
    int64_t each;
} made;

typedef struct world {
    uint64_t seed;
    int64_t now_ms;
    bundled owners[OWNERS];
    made groups[OWNERS][GROUPS]; /* id: place + 1 + GROUPS * how often it was used */
    uint64_t ids[OWNERS][GROUPS];
    host hosts[NODES];
    message messages[MESSAGES];
    uint32_t count;
    int64_t last_ms[OWNERS][NODES][2]; /* of each direction: messages keep their order */
    uint64_t placed;
} world;

static void post(world *w, message m)
{
    bool up = m.what == RESERVED;
    int64_t *last = &w->last_ms[m.owner][m.node][up];
    cr_assert_lt(w->count, MESSAGES);
    int64_t at_ms = w->now_ms + 1 + roll(&w->seed, 50);
    m.at_ms = RAYI_MAX(*last, at_ms);
    *last = m.at_ms;
    w->messages[w->count++] = m;
}

static int64_t held(const host *h)
{
    int64_t sum = h->busy;
    for (uint32_t i = 0; i < h->count; i++)
        sum += h->parts[i].is_used && h->parts[i].is_reserved ? h->parts[i].cpus : 0;
    return sum;
}

static void serve(world *w, uint32_t node)
{
    host *h = &w->hosts[node];
    for (uint32_t i = 0; i < h->count; i++) {
        kept *k = &h->parts[i];
        if (!k->is_used || k->is_reserved || held(h) + k->cpus > h->total)
            continue;
        k->is_reserved = true;
        post(w, (message){.what = RESERVED, .owner = k->owner, .node = node, .life = h->life, .part = k->part});
    }
}

static kept *find(host *h, uint32_t owner, uint64_t part)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->parts[i].is_used && h->parts[i].owner == owner && h->parts[i].part == part)
            return &h->parts[i];
    return NULL;
}

static void tidy(host *h)
{
    uint32_t to = 0;
    for (uint32_t i = 0; i < h->count; i++)
        if (h->parts[i].is_used)
            h->parts[to++] = h->parts[i];
    h->count = to;
}

static void deliver(world *w, const message *m)
{
    host *h = &w->hosts[m->node];
    rayi_planner_id from = node_of(m->node), other = node_of((m->node + 1) % NODES);
    kept *k;
    if (m->life != h->life)
        return; /* the session has ended */
    switch (m->what) {
    case RESERVE:
        cr_assert(!find(h, m->owner, m->part), "asked for twice");
        tidy(h);
        cr_assert_lt(h->count, PARTS);
        h->parts[h->count++] = (kept){.owner = m->owner, .part = m->part, .cpus = m->cpus, .is_used = true};
        break;
    case RELEASE:
        k = find(h, m->owner, m->part);
        cr_assert(k, "released what is not there");
        k->is_used = false;
        break;
    case RESERVED:
        rayi_bundles_refused(w->owners[m->owner].bundles, &other, m->part, w->now_ms); /* a liar */
        rayi_bundles_reserved(w->owners[m->owner].bundles, &from, m->part, w->now_ms);
        break;
    }
    if (h->is_alive)
        serve(w, m->node);
    cr_assert(held(h) <= h->total, "more is reserved than there is");
}

static void deliver_due(world *w)
{
    for (uint32_t i = 0; i < w->count;) {
        if (w->messages[i].at_ms > w->now_ms) {
            i++;
            continue;
        }
        message m = w->messages[i];
        w->count--;
        memmove(&w->messages[i], &w->messages[i + 1], (w->count - i) * sizeof m);
        deliver(w, &m);
        i = 0;
    }
}

static made *group_of(world *w, uint32_t owner, uint64_t id)
{
    for (uint32_t i = 0; i < GROUPS; i++)
        if (w->groups[owner][i].is_there && w->ids[owner][i] == id)
            return &w->groups[owner][i];
    return NULL;
}

/* What its brain says of a group that is placed must be what the nodes say. */
static void check_placed(world *w, uint32_t owner, uint64_t id, const made *g)
{
    uint32_t nodes[16];
    for (uint32_t i = 0; i < g->count; i++) {
        rayi_bundle_place at;
        cr_assert(rayi_bundles_place(w->owners[owner].bundles, id, i + 1, &at));
        nodes[i] = number_of(&at.node);
        host *h = &w->hosts[nodes[i]];
        kept *k = h->is_alive ? find(h, owner, at.part) : NULL;
        cr_assert(!h->is_alive || (k && k->is_reserved && k->cpus >= g->each));
        for (uint32_t j = 0; j < i; j++) {
            cr_assert(g->strategy != RAYI_STRATEGY_STRICT_SPREAD || nodes[j] != nodes[i]);
            cr_assert(g->strategy != RAYI_STRATEGY_STRICT_PACK || nodes[j] == nodes[i]);
        }
    }
}

static void obey(world *w, uint32_t owner)
{
    rayi_bundles_action a;
    bundled *b = &w->owners[owner];
    rayi_bundles_tick(b->bundles, w->now_ms);
    while (rayi_bundles_next(b->bundles, &a)) {
        made *g = a.group ? group_of(w, owner, a.group) : NULL;
        uint32_t node = number_of(&a.node);
        message m = {.owner = owner, .node = node, .life = w->hosts[node].life, .part = a.part};
        cr_assert(!a.group || g);
        switch (a.what) {
        case RAYI_BUNDLES_RESERVE:
            m.what = RESERVE;
            m.cpus = a.count * g->each;
            post(w, m);
            break;
        case RAYI_BUNDLES_RELEASE:
            m.what = RELEASE;
            post(w, m);
            break;
        case RAYI_BUNDLES_PLACED:
            g->is_placed = true;
            w->placed++;
            check_placed(w, owner, a.group, g);
            break;
        case RAYI_BUNDLES_LOST:
            g->is_placed = false;
            break;
        case RAYI_BUNDLES_WARN:
            break;
        }
    }
}

static void put(world *w, uint32_t owner, uint32_t node)
{
    host *h = &w->hosts[node];
    rayi_planner_resource cpu = {"CPU", h->total, h->total - held(h)};
    rayi_planner_node what = {.id = node_of(node), .resources = &cpu, .resource_count = 1};
    (void)rayi_bundles_node_put(w->owners[owner].bundles, &what, w->now_ms);
}

static void tables(world *w)
{
    for (uint32_t node = 0; node < NODES; node++)
        for (uint32_t owner = 0; owner < OWNERS; owner++)
            if (w->hosts[node].is_alive && w->now_ms % 200 == (37 * node + 11 * owner) % 200)
                put(w, owner, node);
}

static void start_host(world *w, uint32_t node)
{
    host *h = &w->hosts[node];
    h->is_alive = true;
    h->total = (1 + roll(&w->seed, 6)) * UNIT;
}

static void kill_host(world *w, uint32_t node)
{
    host *h = &w->hosts[node];
    h->is_alive = false;
    h->busy = 0;
    h->count = 0;
    h->life++;
    for (uint32_t owner = 0; owner < OWNERS; owner++) { /* every owner hears of it at once */
        rayi_planner_id id = node_of(node);
        rayi_bundles_node_gone(w->owners[owner].bundles, &id, w->now_ms);
    }
}

static void change_group(world *w, uint32_t owner, uint32_t at)
{
    made *g = &w->groups[owner][at];
    bundled *b = &w->owners[owner];
    if (g->is_there) {
        g->is_there = g->is_placed = false;
        cr_assert(rayi_bundles_remove(b->bundles, w->ids[owner][at], w->now_ms));
        return;
    }
    static const char *const each[] = {"CPU=1", "CPU=2", "CPU=3"};
    char text[128] = "";
    uint32_t size = roll(&w->seed, 3);
    *g =
        (made){.strategy = (rayi_strategy)roll(&w->seed, 4), .count = 1 + roll(&w->seed, 4), .each = (size + 1) * UNIT};
    for (uint32_t i = 0; i < g->count; i++)
        sprintf(text + strlen(text), "%s%s", i ? ";" : "", each[size]);
    w->ids[owner][at] += w->ids[owner][at] ? GROUPS : at + 1;
    b->now_ms = w->now_ms;
    g->is_there = add_as(b, w->ids[owner][at], g->strategy, text) == 0;
}

static void event(world *w)
{
    uint32_t node = roll(&w->seed, NODES), owner = roll(&w->seed, OWNERS);
    host *h = &w->hosts[node];
    switch (roll(&w->seed, 40)) {
    case 0:
        if (h->is_alive)
            kill_host(w, node);
        else
            start_host(w, node);
        break;
    case 1:
    case 2:
    case 3:
        if (h->is_alive && held(h) + UNIT <= h->total)
            h->busy += UNIT;
        break;
    case 4:
    case 5:
    case 6:
    case 7:
        h->busy = 0;
        if (h->is_alive)
            serve(w, node);
        break;
    case 8:
        counted_fail(&w->owners[owner].heap, 1 + roll(&w->seed, 20));
        break;
    default:
        if (roll(&w->seed, 8) == 0)
            change_group(w, owner, roll(&w->seed, GROUPS));
    }
}

static void step(world *w)
{
    w->now_ms++;
    tables(w);
    deliver_due(w);
    for (uint32_t owner = 0; owner < OWNERS; owner++)
        if (w->now_ms >= rayi_bundles_wake_ms(w->owners[owner].bundles) || w->now_ms % 7 == owner)
            obey(w, owner);
}

/* How much is kept for groups that are not placed. */
static int64_t kept_for_nobody(const world *w)
{
    int64_t sum = 0;
    for (uint32_t node = 0; node < NODES; node++)
        sum += w->hosts[node].is_alive ? held(&w->hosts[node]) : 0;
    for (uint32_t owner = 0; owner < OWNERS; owner++)
        for (uint32_t i = 0; i < GROUPS; i++) {
            const made *g = &w->groups[owner][i];
            sum -= g->is_there && g->is_placed ? g->count * g->each : 0;
        }
    return sum;
}

static uint32_t waiting(const world *w)
{
    uint32_t count = 0;
    for (uint32_t owner = 0; owner < OWNERS; owner++)
        count += rayi_bundles_waiting(w->owners[owner].bundles);
    return count;
}

/* One after the other is removed when it is placed: so each group that fits the empty cluster has its turn. */
static void drain(world *w)
{
    int64_t end = w->now_ms + 600000;
    for (uint32_t node = 0; node < NODES; node++) {
        w->hosts[node].busy = 0;
        if (!w->hosts[node].is_alive)
            start_host(w, node);
        w->hosts[node].total = 12 * UNIT;
        serve(w, node);
    }
    while (waiting(w) > 0 || w->count > 0) {
        cr_assert(w->now_ms < end, "%u groups still wait", waiting(w));
        step(w);
        for (uint32_t owner = 0; owner < OWNERS; owner++)
            for (uint32_t i = 0; i < GROUPS; i++)
                if (w->groups[owner][i].is_there && w->groups[owner][i].is_placed && roll(&w->seed, 20) == 0)
                    change_group(w, owner, i);
    }
    for (int i = 0; i < 1000; i++)
        step(w);
    cr_assert_eq(kept_for_nobody(w), 0);
}

Test(bundles, random_owners)
{
    static world w;
    uint64_t placed = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        w = (world){.seed = seed, .now_ms = 1000};
        for (uint32_t owner = 0; owner < OWNERS; owner++)
            bundled_init(&w.owners[owner], seed * 31 + owner);
        for (uint32_t node = 0; node < NODES; node++)
            start_host(&w, node);
        for (int i = 0; i < 20000; i++) {
            event(&w);
            step(&w);
        }
        for (uint32_t owner = 0; owner < OWNERS; owner++)
            counted_fail(&w.owners[owner].heap, 0);
        drain(&w);
        placed += w.placed;
        for (uint32_t owner = 0; owner < OWNERS; owner++)
            bundled_fini(&w.owners[owner]);
    }
    cr_assert_gt(placed, 5000, "%" PRIu64 " were placed", placed);
}
