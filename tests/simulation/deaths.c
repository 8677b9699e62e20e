#include "deaths.h"

/* The news reaches a node that is paused when it goes on. */
static void declare(void *arg, uint64_t at, uint64_t with, uint64_t incarnation)
{
    deaths *d = arg;
    if (!sim_self(d->s, (int)at))
        return;
    if (sim_is_running(d->s, (int)at))
        d->declare(sim_self(d->s, (int)at), (int)with, incarnation);
    else
        sim_after(d->s, 100, declare, d, at, with, incarnation);
}

static void declare_everywhere(deaths *d, int node, uint64_t incarnation, uint64_t span_ms)
{
    d->dead[node] = incarnation;
    for (int i = 0; i < sim_nodes(d->s); i++)
        if (i != node)
            sim_after(d->s, (int64_t)sim_below(d->s, span_ms), declare, d, (uint64_t)i, (uint64_t)node, incarnation);
}

void deaths_of_crash(deaths *d, int node, uint64_t incarnation)
{
    declare_everywhere(d, node, incarnation, 8000);
}

static void fence(void *arg, uint64_t node, uint64_t incarnation, uint64_t unused)
{
    deaths *d = arg;
    (void)unused;
    if (sim_self(d->s, (int)node) && sim_incarnation(d->s, (int)node) == incarnation)
        sim_crash(d->s, (int)node);
}

void deaths_of_the_living(deaths *d)
{
    int node = (int)sim_below(d->s, (uint64_t)sim_nodes(d->s));
    if (!sim_self(d->s, node))
        return;
    sim_trace(d->s, "node %d is declared dead", node);
    declare_everywhere(d, node, sim_incarnation(d->s, node), 2000);
    sim_after(d->s, (int64_t)sim_below(d->s, 6000), fence, d, (uint64_t)node, sim_incarnation(d->s, node), 0);
}
