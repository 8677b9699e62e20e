/* The scenario of the session: see talk.h. */
#include "talk.h"

/* ---- work ---- */

static void work(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    if (sim_is_calm(w->s))
        return;
    int node = (int)sim_below(w->s, (uint64_t)sim_nodes(w->s)), to = (int)sim_below(w->s, (uint64_t)sim_nodes(w->s));
    uint64_t count = sim_chance(w->s, 10) ? sim_below(w->s, 60) : 1; /* sometimes more than there is credit for */
    for (uint64_t i = 0; i < count && node != to && sim_is_running(w->s, node); i++)
        talker_send(sim_self(w->s, node), to, sim_chance(w->s, w->requests) ? TALK_REQUEST : TALK_NOTE, ++w->serial);
    if (node != to && sim_is_running(w->s, node) && !sim_is_quiet(w->s) && sim_chance(w->s, 2))
        talker_wake(sim_self(w->s, node), to);
    sim_after(w->s, 1 + (int64_t)sim_below(w->s, w->rate_ms), work, w, 0, 0, 0);
}

/* A node that nobody can dial has to be there by itself. */
static void meet(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    for (int i = 1; i < sim_nodes(w->s) && sim_is_running(w->s, 0); i++)
        talker_meet(sim_self(w->s, 0), i);
    sim_after(w->s, 300, meet, w, 0, 0, 0);
}

/* A note from each to each. */
static void greet_all(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    for (int i = 0; i < sim_nodes(w->s); i++)
        for (int j = 0; j < sim_nodes(w->s); j++)
            if (i != j && sim_self(w->s, i))
                talker_send(sim_self(w->s, i), j, TALK_NOTE, ++w->serial);
}

static void have_credit(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    world *w = arg;
    (void)a, (void)b, (void)c;
    for (int i = 0; i < sim_nodes(w->s); i++)
        if (sim_self(w->s, i))
            talker_check_credit(sim_self(w->s, i));
}

static void settle(void *arg, uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    wire_settle(((world *)arg)->wire);
}

/* ---- deaths ---- */

static void declare(void *node_self, int with, uint64_t incarnation)
{
    talker_declare_dead(node_self, with, incarnation);
}

static void crashed(void *self, int node, uint64_t incarnation)
{
    deaths_of_crash(&((world *)self)->deaths, node, incarnation);
}

static void oddity(void *self)
{
    deaths_of_the_living(&((world *)self)->deaths);
}

/* ---- the scenario ---- */

static void *begin(sim *s)
{
    world *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->s = s;
    w->deaths = (deaths){.s = s, .declare = declare};
    w->truth = truth_new(s);
    w->wire = wire_new(s);
    w->options.window = RAYI_PEER_FIRST_CREDIT + (uint32_t)sim_below(s, 50);
    w->options.link_bytes = 1 + sim_below(s, 5000);
    w->options.ack_ms = 1 + (int64_t)sim_below(s, 20);
    w->options.beat_ms = sim_chance(s, 50) ? -1 : 200 + (int64_t)sim_below(s, 1000);
    w->options.dials = sim_chance(s, 20) ? RAYI_PEER_DIALS_ALWAYS : RAYI_PEER_DIALS_WHEN_NEEDED;
    truth_set_window(w->truth, w->options.window);
    w->rate_ms = 1 + sim_below(s, 60);
    w->out_of_memory = sim_chance(s, 70) ? 0 : (unsigned)sim_below(s, 30);
    w->requests = sim_chance(s, 30) ? 100 : 60;
    w->linger_ms = sim_chance(s, 30) ? 5000 : 300;
    w->hidden = sim_chance(s, 15);
    if (w->hidden && w->options.beat_ms < 0) /* node 0 alone can replace a link that hangs: it has to find it out */
        w->options.beat_ms = 500;
    sim_after(s, 1, work, w, 0, 0, 0);
    if (w->hidden)
        sim_after(s, 1, meet, w, 0, 0, 0);
    return w;
}

static void calm(void *self)
{
    world *w = self; /* the work ends by itself, with more requests than there is credit for */
    for (int i = 0; i < sim_nodes(w->s); i++)
        for (uint64_t n = sim_below(w->s, 100); n > 0 && sim_is_running(w->s, i); n--)
            talker_send(sim_self(w->s, i), i ? 0 : 1, TALK_REQUEST, ++w->serial);
    w->out_of_memory = 0;
    if (w->options.beat_ms < 0) /* else beats find connections that hang */
        sim_after(w->s, 8000, greet_all, w, 0, 0, 0);
    sim_after(w->s, 17000, have_credit, w, 0, 0, 0);
    sim_after(w->s, 18000, greet_all, w, 0, 0, 0);
    sim_after(w->s, 20000, settle, w, 0, 0, 0);
}

static void check(void *self)
{
    world *w = self;
    for (int i = 0; i < sim_nodes(w->s); i++)
        talker_check(sim_self(w->s, i));
    truth_check(w->truth);
    if (w->options.beat_ms > 0)
        wire_check(w->wire);
}

static void end(void *self)
{
    world *w = self;
    truth_free(w->truth);
    wire_free(w->wire);
    free(w);
}

const sim_scenario sim_session = {
    .name = "session",
    .node = &talker_calls,
    .calm_ms = 25000,
    .begin = begin,
    .crashed = crashed,
    .oddity = oddity,
    .calm = calm,
    .check = check,
    .end = end,
};
