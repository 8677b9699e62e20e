/* What goes over the wire: messages and acknowledgements of one node to another use one pipe at a time, and once a node
 * has left a pipe it has closed it. Without faults it dials but a few times: two nodes that dial at once agree. */
#include "talk.h"

struct wire {
    sim *s;
    sim_end used[SIM_NODES_MAX][SIM_NODES_MAX]; /* 0: none */
    unsigned dials[SIM_NODES_MAX][SIM_NODES_MAX];
    bool settled;
};

static void dialled(void *arg, int node, int to, sim_end end)
{
    enum { MOST = 2 };
    wire *w = arg;
    (void)end;
    w->dials[node][to]++;
    if (w->dials[node][to] + w->dials[to][node] > MOST && sim_is_quiet(w->s))
        sim_fail(w->s, "%d dials %d again and again", node, to);
}

static void sent(void *arg, int node, int to, sim_end end, const void *bytes, size_t size)
{
    wire *w = arg;
    const unsigned char *frame = bytes;
    enum { AT_KIND = 4, REQUEST = 2, ACK = 4, HEAD = 48 };
    if (size < HEAD)
        sim_fail(w->s, "%d sends %zu bytes", node, size);
    if (frame[AT_KIND] < REQUEST || frame[AT_KIND] > ACK)
        return;
    sim_end *used = &w->used[node][to];
    if (*used && *used != end)
        sim_fail(w->s, "%d uses end %llu to %d while it has end %llu", node, (unsigned long long)end, to,
                 (unsigned long long)*used);
    *used = end;
}

static void over(void *arg, int node, sim_end end)
{
    wire *w = arg;
    for (int to = 0; to < SIM_NODES_MAX; to++)
        if (w->used[node][to] == end)
            w->used[node][to] = 0;
    if (w->settled)
        sim_fail(w->s, "%d gives up end %llu for no reason", node, (unsigned long long)end);
}

wire *wire_new(sim *s)
{
    wire *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->s = s;
    sim_set_watch(s, &(sim_watch){w, dialled, sent, over});
    return w;
}

void wire_settle(wire *w)
{
    w->settled = true;
}

void wire_free(wire *w)
{
    free(w);
}

void wire_check(wire *w)
{
    for (int a = 0; a < sim_nodes(w->s); a++)
        for (int b = 0; b < a; b++)
            if (w->used[a][b] / 2 != w->used[b][a] / 2)
                sim_fail(w->s, "%d uses end %llu, %d uses end %llu", a, (unsigned long long)w->used[a][b], b,
                         (unsigned long long)w->used[b][a]);
}
