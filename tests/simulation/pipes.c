/* Connections. A side's list is what is under way to it; each item has an ARRIVAL event of its own, which takes the
 * first of the list if that is due. Where a partition holds it, or the side is paused, it stays. */
#include "inside.h"

#include <stdlib.h>
#include <string.h>

enum { KERNEL_BYTES = 3000 };

static side *other(pipe *p, const side *to)
{
    return &p->sides[to == &p->sides[0]];
}

static sim_end end_of(const pipe *p, const side *at)
{
    return p->number + (uint64_t)(at - p->sides);
}

pipe *sim_pipe_of(const sim *s, sim_end end)
{
    size_t index = (size_t)(end / 2 - 1);
    return end >= 2 && index < s->num_pipes ? s->pipes[index] : NULL;
}

static side *side_of(const sim *s, sim_end end, pipe **out)
{
    *out = sim_pipe_of(s, end);
    return *out ? &(*out)->sides[end & 1] : NULL;
}

static event event_at(const pipe *p, const side *at, event_kind kind)
{
    return (event){.kind = kind, .node = at->node, .incarnation = at->incarnation, .end = end_of(p, at)};
}

static int64_t some_delay(sim *s)
{
    return s->plan.delay_least_ms + (int64_t)sim_below(s, (uint64_t)s->plan.delay_spread_ms + 1);
}

/* The same for two nodes, but for a quarter. */
static int64_t steady_delay(sim *s, int a, int b)
{
    int64_t *base = &s->delays[a < b ? a : b][a < b ? b : a];
    if (*base == 0)
        *base = 1 + some_delay(s);
    return *base + (int64_t)sim_below(s, 1 + (uint64_t)*base / 4);
}

/* ---- what is under way ---- */

static void drop_from(side *to, item **at)
{
    while (*at) {
        item *gone = *at;
        *at = gone->next;
        to->kernel_bytes -= gone->written ? gone->size : 0;
        free(gone);
    }
    to->last = at;
}

/* The sender is told of what the kernel has room for. What hangs stays in there. */
static void tell_written(sim *s, pipe *p, side *to)
{
    size_t size = 0;
    for (item *i = to->first; i; i = i->next) {
        if (i->written || i->last)
            continue;
        if (to->kernel_bytes && to->kernel_bytes + i->size > KERNEL_BYTES)
            break;
        i->written = true;
        to->kernel_bytes += i->size;
        size += i->size;
    }
    side *from = other(p, to);
    if (!size || !from->open)
        return;
    event e = event_at(p, from, EVENT_WROTE);
    e.a = size;
    sim_push(s, e, 0);
}

static void add(sim *s, pipe *p, side *to, const void *bytes, size_t size, int64_t delay_ms)
{
    item *i = malloc(sizeof *i + size);
    if (!i)
        abort();
    *i = (item){.at_ms = s->now_ms + delay_ms, .size = size, .last = !bytes};
    if (i->at_ms < to->last_ms)
        i->at_ms = to->last_ms;
    to->last_ms = i->at_ms;
    if (bytes)
        memcpy(i->bytes, bytes, size);
    if (!to->last)
        to->last = &to->first;
    *to->last = i;
    to->last = &i->next;
    sim_push(s, event_at(p, to, EVENT_ARRIVAL), i->at_ms - s->now_ms);
    tell_written(s, p, to);
}

/* No more than a prefix of what is under way comes, then the end of it. */
static void cut(sim *s, pipe *p, side *to, int64_t delay_ms)
{
    size_t count = 0;
    if (to->cut || !to->open)
        return;
    to->cut = true;
    if (to->hangs)
        return;
    for (item *i = to->first; i; i = i->next)
        count++;
    item **at = &to->first;
    for (size_t kept = sim_below(s, count + 1); kept > 0; kept--)
        at = &(*at)->next;
    if (!sim_chance(s, 30)) /* a plain end loses nothing */
        drop_from(to, at);
    add(s, p, to, NULL, 0, delay_ms);
}

static void shut(sim *s, pipe *p, side *at)
{
    if (!at->open)
        return;
    at->open = false;
    drop_from(at, &at->first);
    if (s->watch.over)
        s->watch.over(s->watch.arg, at->node, end_of(p, at));
}

static void arrive(sim *s, pipe *p, side *to)
{
    item *i = to->first;
    if (!to->open || to->hangs || !i || i->at_ms > s->now_ms || s->blocked[other(p, to)->node][to->node])
        return;
    to->first = i->next;
    if (!to->first)
        to->last = &to->first;
    to->kernel_bytes -= i->written ? i->size : 0;
    tell_written(s, p, to);
    void *self = s->nodes[to->node].self;
    if (i->last) {
        sim_trace(s, "%d: end %llu is over", to->node, (unsigned long long)end_of(p, to));
        shut(s, p, to);
        s->scenario->node->down(self, end_of(p, to));
    } else {
        s->scenario->node->message(self, end_of(p, to), i->bytes, i->size);
    }
    free(i);
}

void sim_pipes_flow(sim *s, int from, int to)
{
    for (size_t n = 0; n < s->num_pipes; n++) {
        pipe *p = s->pipes[n];
        for (int at = 0; at < 2; at++) {
            side *receiver = &p->sides[at];
            if (receiver->node != to || other(p, receiver)->node != from || !receiver->open)
                continue;
            int64_t least = s->now_ms + p->delay_ms; /* sent again */
            for (item *i = receiver->first; i; i = i->next) {
                least = i->at_ms = i->at_ms > least ? i->at_ms : least;
                sim_push(s, event_at(p, receiver, EVENT_ARRIVAL), i->at_ms - s->now_ms);
            }
            receiver->last_ms = least > receiver->last_ms ? least : receiver->last_ms;
        }
    }
}

/* ---- dialling ---- */

sim_end sim_dial(sim *s, int index, int to)
{
    pipe *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    s->pipes = sim_grown(s->pipes, s->num_pipes, &s->pipes_room, sizeof *s->pipes);
    p->number = 2 * (++s->num_pipes);
    s->pipes[s->num_pipes - 1] = p;
    p->delay_ms = s->plan.quiet ? steady_delay(s, index, to) : some_delay(s);
    p->sides[0] = (side){.node = index, .incarnation = s->nodes[index].incarnation, .open = true};
    p->sides[1] = (side){.node = to, .incarnation = s->nodes[to].incarnation};
    bool lost = s->blocked[index][to] || s->blocked[to][index] || (!s->calm && sim_chance(s, s->plan.hang_dial));
    sim_trace(s, "%d dials %d: end %llu%s", index, to, (unsigned long long)p->number, lost ? ", lost" : "");
    if (s->watch.dialled)
        s->watch.dialled(s->watch.arg, index, to, p->number);
    if (lost)
        return p->number;
    if (!s->nodes[to].self || (!s->calm && sim_chance(s, s->plan.refuse))) {
        sim_push(s, event_at(p, &p->sides[0], EVENT_DOWN), 2 * p->delay_ms);
        return p->number;
    }
    int64_t answer_ms = 2 * p->delay_ms + (int64_t)sim_below(s, 1 + (uint64_t)p->delay_ms / 4);
    p->sides[1].open = true;
    p->sides[1].last_ms = s->now_ms + p->delay_ms; /* nothing comes before */
    p->sides[0].last_ms = s->now_ms + answer_ms;
    sim_push(s, event_at(p, &p->sides[1], EVENT_ACCEPTED), p->delay_ms);
    sim_push(s, event_at(p, &p->sides[0], EVENT_UP), answer_ms);
    return p->number;
}

void sim_send(sim *s, sim_end end, const void *bytes, size_t size)
{
    pipe *p;
    side *from = side_of(s, end, &p);
    if (!from || !from->open)
        sim_fail(s, "something is sent over end %llu, which is over", (unsigned long long)end);
    side *to = other(p, from);
    if (s->watch.sent)
        s->watch.sent(s->watch.arg, from->node, to->node, end, bytes, size);
    if (!to->open || to->cut)
        return;
    add(s, p, to, bytes, size, p->delay_ms + (int64_t)sim_below(s, 1 + (uint64_t)p->delay_ms / 4));
}

void sim_close(sim *s, sim_end end)
{
    pipe *p;
    side *at = side_of(s, end, &p);
    if (!at || !at->open)
        return;
    sim_trace(s, "%d closes end %llu", at->node, (unsigned long long)end);
    shut(s, p, at);
    cut(s, p, other(p, at), s->plan.quiet ? p->delay_ms : some_delay(s));
}

/* ---- what happens to them ---- */

void sim_pipe_event(sim *s, const event *e)
{
    pipe *p;
    side *at = side_of(s, e->end, &p);
    if (!at || !at->open)
        return;
    void *self = s->nodes[at->node].self;
    switch (e->kind) {
    case EVENT_ACCEPTED:
        s->scenario->node->accepted(self, e->end, other(p, at)->node);
        break;
    case EVENT_UP:
        s->scenario->node->up(self, e->end);
        break;
    case EVENT_DOWN:
        shut(s, p, at);
        s->scenario->node->down(self, e->end);
        break;
    case EVENT_ARRIVAL:
        arrive(s, p, at);
        break;
    case EVENT_WROTE:
        s->scenario->node->wrote(self, e->end, (size_t)e->a);
        break;
    case EVENT_TIMER:
    case EVENT_CALL:
    case EVENT_FAULT:
    case EVENT_RESUME:
    case EVENT_RESTART:
    case EVENT_HEAL:
        break;
    }
}

void sim_pipe_break(sim *s, pipe *p)
{
    for (int i = 0; i < 2; i++)
        cut(s, p, &p->sides[i], (int64_t)sim_below(s, sim_chance(s, 80) ? 50 : 3000));
}

void sim_pipe_orphan(sim *s, pipe *p, int index, bool told)
{
    for (int i = 0; i < 2; i++) {
        side *at = &p->sides[i];
        if (at->node != index || !at->open)
            continue;
        shut(s, p, at);
        if (told)
            cut(s, p, other(p, at), some_delay(s));
        else
            other(p, at)->hangs = true;
    }
}

void sim_pipes_free(sim *s)
{
    for (size_t n = 0; n < s->num_pipes; n++) {
        for (int i = 0; i < 2; i++)
            drop_from(&s->pipes[n]->sides[i], &s->pipes[n]->sides[i].first);
        free(s->pipes[n]);
    }
    free(s->pipes);
}
