/* The clock, the events, the nodes. */
#include "inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- chance ---- */

uint64_t sim_random(sim *s)
{
    uint64_t x = s->random += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

uint64_t sim_below(sim *s, uint64_t below)
{
    return below > 1 ? sim_random(s) % below : 0;
}

bool sim_chance(sim *s, unsigned percent)
{
    return sim_below(s, 100) < percent;
}

/* ---- words ---- */

void sim_fail(const sim *s, const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fprintf(stderr, "%s at %lld ms: ", s->scenario->name, (long long)s->now_ms);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nagain with: --seed %llu --nodes %d\n", (unsigned long long)s->options.seed, s->num_nodes);
    exit(s->options.status_of_failure);
}

void sim_trace(sim *s, const char *format, ...)
{
    va_list args;
    if (!s->options.trace)
        return;
    printf("%8lld ", (long long)s->now_ms);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

/* ---- the events ---- */

void *sim_grown(void *block, size_t count, size_t *room, size_t size_each)
{
    if (count < *room)
        return block;
    *room = *room ? 2 * *room : 64;
    block = realloc(block, *room * size_each);
    if (!block)
        abort();
    return block;
}

static bool before(const event *a, const event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->serial < b->serial);
}

void sim_push(sim *s, event e, int64_t delay_ms)
{
    e.at_ms = s->now_ms + delay_ms;
    e.serial = s->serial++;
    s->heap = sim_grown(s->heap, s->num_heap, &s->heap_room, sizeof *s->heap);
    size_t at = s->num_heap++;
    for (; at > 0 && before(&e, &s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = e;
}

static event pop(sim *s)
{
    event top = s->heap[0], e = s->heap[--s->num_heap];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < s->num_heap; at = child) {
        if (child + 1 < s->num_heap && before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!before(&s->heap[child], &e))
            break;
        s->heap[at] = s->heap[child];
    }
    s->heap[at] = e;
    return top;
}

void sim_after(sim *s, int64_t delay_ms, void (*fn)(void *arg, uint64_t a, uint64_t b, uint64_t c), void *arg,
               uint64_t a, uint64_t b, uint64_t c)
{
    sim_push(s, (event){.kind = EVENT_CALL, .node = -1, .fn = fn, .arg = arg, .a = a, .b = b, .c = c}, delay_ms);
}

/* ---- nodes ---- */

int sim_nodes(const sim *s)
{
    return s->num_nodes;
}

void *sim_world(const sim *s)
{
    return s->world;
}

int64_t sim_time(const sim *s)
{
    return s->now_ms;
}

int64_t sim_now(const sim *s, int index)
{
    return s->now_ms + s->nodes[index].offset_ms;
}

bool sim_is_quiet(const sim *s)
{
    return s->plan.quiet;
}

bool sim_is_calm(const sim *s)
{
    return s->calm;
}

void *sim_self(const sim *s, int index)
{
    return s->nodes[index].self;
}

bool sim_is_running(const sim *s, int index)
{
    return s->nodes[index].self && !s->nodes[index].paused;
}

uint64_t sim_incarnation(const sim *s, int index)
{
    return s->nodes[index].incarnation;
}

void sim_set_watch(sim *s, const sim_watch *watch)
{
    s->watch = *watch;
}

void sim_start_node(sim *s, int index)
{
    node *n = &s->nodes[index];
    n->incarnation++;
    n->offset_ms = (int64_t)sim_below(s, 2 * 86400000) - 86400000;
    n->timer_ms = NEVER;
    n->self = s->scenario->node->start(s, index, n->incarnation);
    sim_trace(s, "node %d starts, incarnation %llu", index, (unsigned long long)n->incarnation);
}

void sim_stop_node(sim *s, int index)
{
    node *n = &s->nodes[index];
    s->scenario->node->crash(n->self);
    n->self = NULL;
    n->paused = false;
    n->num_missed = 0;
}

/* Timers follow from what the node says after each event that it has. An event that is early does no harm. */
static void watch_timer(sim *s, int index)
{
    node *n = &s->nodes[index];
    if (!n->self)
        return;
    int64_t at = s->scenario->node->next_timer(n->self);
    if (at == NEVER)
        return;
    at = at - n->offset_ms < s->now_ms ? s->now_ms : at - n->offset_ms;
    if (at >= n->timer_ms)
        return;
    n->timer_ms = at;
    sim_push(s, (event){.kind = EVENT_TIMER, .node = index, .incarnation = n->incarnation, .a = (uint64_t)at},
             at - s->now_ms);
}

static void run_timer(sim *s, const event *e)
{
    node *n = &s->nodes[e->node];
    if (n->timer_ms == (int64_t)e->a)
        n->timer_ms = NEVER;
    if (s->scenario->node->next_timer(n->self) <= sim_now(s, e->node))
        s->scenario->node->timer(n->self);
}

static void miss(node *n, const event *e)
{
    n->missed = sim_grown(n->missed, n->num_missed, &n->missed_room, sizeof *n->missed);
    n->missed[n->num_missed++] = *e;
}

static void happen(sim *s, const event *e);

static void resume(sim *s, int index)
{
    node *n = &s->nodes[index];
    if (!n->paused)
        return;
    n->paused = false;
    sim_trace(s, "node %d goes on", index);
    size_t count = n->num_missed;
    n->num_missed = 0;
    event *missed = n->missed;
    n->missed = NULL;
    n->missed_room = 0;
    for (size_t i = 0; i < count; i++)
        happen(s, &missed[i]);
    free(missed);
}

/* ---- a run ---- */

static void digest(sim *s, const event *e)
{
    const uint64_t words[] = {(uint64_t)s->now_ms, (uint64_t)e->kind, (uint64_t)e->node, e->end, s->random};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        s->digest = (s->digest ^ words[i]) * UINT64_C(0x100000001B3);
    s->num_events++;
}

static void happen(sim *s, const event *e)
{
    node *n = e->node >= 0 ? &s->nodes[e->node] : NULL;
    bool to_process = e->kind == EVENT_TIMER || e->kind >= EVENT_ACCEPTED;
    if (to_process && (!n->self || n->incarnation != e->incarnation))
        return;
    if (to_process && n->paused) {
        miss(n, e);
        return;
    }
    digest(s, e);
    switch (e->kind) {
    case EVENT_TIMER:
        run_timer(s, e);
        break;
    case EVENT_CALL:
        e->fn(e->arg, e->a, e->b, e->c);
        break;
    case EVENT_FAULT:
        sim_fault(s);
        break;
    case EVENT_RESUME:
        resume(s, e->node);
        break;
    case EVENT_RESTART:
        if (!n->self)
            sim_start_node(s, e->node);
        break;
    case EVENT_HEAL:
        s->blocked[e->a][e->b] = false;
        sim_pipes_flow(s, (int)e->a, (int)e->b);
        break;
    case EVENT_ACCEPTED:
    case EVENT_UP:
    case EVENT_DOWN:
    case EVENT_ARRIVAL:
    case EVENT_WROTE:
        sim_pipe_event(s, e);
        break;
    }
    for (int i = 0; i < s->num_nodes; i++) /* a call of the scenario may have touched any */
        if (i == e->node || e->node < 0)
            watch_timer(s, i);
}

static void run_until(sim *s, int64_t until_ms)
{
    while (s->num_heap && s->heap[0].at_ms <= until_ms) {
        event e = pop(s);
        s->now_ms = e.at_ms;
        happen(s, &e);
    }
    s->now_ms = until_ms;
}

static void finish(sim *s)
{
    for (int i = 0; i < s->num_nodes; i++) {
        if (s->nodes[i].self)
            sim_stop_node(s, i);
        free(s->nodes[i].missed);
    }
    s->scenario->end(s->world);
    sim_pipes_free(s);
    free(s->heap);
}

sim_result sim_run(const sim_scenario *scenario, const sim_options *options)
{
    sim *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->scenario = scenario;
    s->options = *options;
    s->random = options->seed;
    s->digest = UINT64_C(0xCBF29CE484222325);
    s->num_nodes = 2 + (int)sim_below(s, 4);
    if (options->nodes)
        s->num_nodes = options->nodes;
    sim_plan(s);
    s->world = scenario->begin(s);
    for (int i = 0; i < s->num_nodes; i++) {
        sim_start_node(s, i);
        watch_timer(s, i);
    }
    sim_push(s, (event){.kind = EVENT_FAULT, .node = -1}, 0);
    run_until(s, s->plan.faults_ms);
    s->calm = true;
    sim_heal_all(s);
    scenario->calm(s->world);
    run_until(s, s->now_ms + scenario->calm_ms);
    scenario->check(s->world);
    sim_result result = {s->num_events, s->digest, s->now_ms};
    finish(s);
    free(s);
    return result;
}
