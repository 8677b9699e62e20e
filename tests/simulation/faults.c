/* What goes wrong, and how often: a plan that follows from the seed. */
#include "inside.h"

enum { BREAK, HANG, PARTITION, ONE_WAY, CRASH, PAUSE, ODDITY, NOTHING };

void sim_plan(sim *s)
{
    plan *p = &s->plan;
    p->faults_ms = 5000 + (int64_t)sim_below(s, 25000);
    p->mean_ms = 50 + (int64_t)sim_below(s, 1500);
    p->delay_least_ms = (int64_t)sim_below(s, 10);
    p->delay_spread_ms = (int64_t)sim_below(s, sim_chance(s, 30) ? 400 : 30);
    p->refuse = sim_chance(s, 50) ? 0 : (unsigned)sim_below(s, 40);
    p->hang_dial = sim_chance(s, 50) ? 0 : (unsigned)sim_below(s, 30);
    for (int i = 0; i < NOTHING; i++) /* some kinds not at all, so that others are seen alone */
        p->weights[i] = sim_chance(s, 40) ? 0 : 1 + (unsigned)sim_below(s, 10);
    p->weights[CRASH] = (p->weights[CRASH] + 3) / 4;
    p->weights[ODDITY] = (p->weights[ODDITY] + 3) / 4;
    p->weights[NOTHING] = 1;
    p->quiet = sim_chance(s, 10);
    if (p->quiet)
        p->refuse = p->hang_dial = 0;
}

static int any_node(sim *s)
{
    return (int)sim_below(s, (uint64_t)s->num_nodes);
}

static int64_t some_span(sim *s)
{
    return (int64_t)sim_below(s, sim_chance(s, 70) ? 1500 : 12000);
}

static pipe *any_pipe(sim *s)
{
    size_t from = s->num_pipes > 20 ? s->num_pipes - 20 : 0; /* an older one is mostly over */
    return s->num_pipes ? s->pipes[from + sim_below(s, s->num_pipes - from)] : NULL;
}

static void block(sim *s, int from, int to, int64_t span_ms)
{
    if (from == to || s->blocked[from][to])
        return;
    sim_trace(s, "from %d to %d nothing comes through", from, to);
    s->blocked[from][to] = true;
    sim_push(s, (event){.kind = EVENT_HEAL, .node = -1, .a = (uint64_t)from, .b = (uint64_t)to}, span_ms);
}

/* Half of the nodes from the others, or one pair. */
static void partition(sim *s)
{
    int64_t span = some_span(s);
    uint64_t half = sim_random(s);
    int a = any_node(s), b = any_node(s);
    bool pair = sim_chance(s, 50);
    for (int i = 0; i < s->num_nodes; i++)
        for (int j = 0; j < s->num_nodes; j++)
            if (pair ? (i == a && j == b) || (i == b && j == a) : (half >> i & 1) != (half >> j & 1))
                block(s, i, j, span);
}

void sim_crash(sim *s, int index)
{
    node *n = &s->nodes[index];
    if (!n->self)
        return;
    uint64_t incarnation = n->incarnation;
    bool told = sim_chance(s, 70); /* else the machine is gone as well */
    sim_trace(s, "node %d crashes, %s", index, told ? "its connections end" : "its connections hang");
    sim_stop_node(s, index);
    for (size_t i = 0; i < s->num_pipes; i++)
        sim_pipe_orphan(s, s->pipes[i], index, told);
    sim_push(s, (event){.kind = EVENT_RESTART, .node = index}, s->calm ? 100 : some_span(s));
    if (s->scenario->crashed)
        s->scenario->crashed(s->world, index, incarnation);
}

static void pause_node(sim *s, int index)
{
    node *n = &s->nodes[index];
    if (!n->self || n->paused)
        return;
    sim_trace(s, "node %d pauses", index);
    n->paused = true;
    sim_push(s, (event){.kind = EVENT_RESUME, .node = index}, some_span(s));
}

static void hang(sim *s, pipe *p)
{
    uint64_t which = sim_below(s, 3);
    for (int i = 0; i < 2; i++)
        if (which == 2 || which == (uint64_t)i) {
            sim_trace(s, "nothing comes to end %llu any more", (unsigned long long)p->number + (uint64_t)i);
            p->sides[i].hangs = true;
        }
}

static void happen(sim *s, int kind)
{
    pipe *p = any_pipe(s);
    switch (kind) {
    case BREAK:
        if (p)
            sim_pipe_break(s, p);
        break;
    case HANG:
        if (p)
            hang(s, p);
        break;
    case PARTITION:
        partition(s);
        break;
    case ONE_WAY:
        block(s, any_node(s), any_node(s), some_span(s));
        break;
    case CRASH:
        sim_crash(s, any_node(s));
        break;
    case PAUSE:
        pause_node(s, any_node(s));
        break;
    case ODDITY:
        if (s->scenario->oddity)
            s->scenario->oddity(s->world);
        break;
    default:
        break;
    }
}

void sim_fault(sim *s)
{
    unsigned sum = 0;
    if (s->calm || s->plan.quiet)
        return;
    for (int i = 0; i <= NOTHING; i++)
        sum += s->plan.weights[i];
    unsigned chosen = (unsigned)sim_below(s, sum);
    int kind = 0;
    for (; chosen >= s->plan.weights[kind]; kind++)
        chosen -= s->plan.weights[kind];
    happen(s, kind);
    sim_push(s, (event){.kind = EVENT_FAULT, .node = -1}, (int64_t)sim_below(s, 2 * (uint64_t)s->plan.mean_ms));
}

/* All connections break once more when there may be no traffic to find it out by. */
static void last_blow(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    sim *s = arg;
    (void)a, (void)b, (void)c;
    for (size_t i = 0; i < s->num_pipes; i++)
        sim_pipe_break(s, s->pipes[i]);
}

void sim_heal_all(sim *s)
{
    sim_trace(s, "all heals");
    if (!s->plan.quiet && sim_chance(s, 30))
        sim_after(s, 1 + (int64_t)sim_below(s, 3000), last_blow, s, 0, 0, 0);
    for (int i = 0; i < s->num_nodes; i++) {
        for (int j = 0; j < s->num_nodes; j++)
            if (s->blocked[i][j])
                sim_push(s, (event){.kind = EVENT_HEAL, .node = -1, .a = (uint64_t)i, .b = (uint64_t)j}, 0);
        sim_push(s, (event){.kind = EVENT_RESUME, .node = i}, 0);
        sim_push(s, (event){.kind = EVENT_RESTART, .node = i}, 0);
    }
}
