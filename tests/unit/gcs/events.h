/* What is going to happen in a played cluster, in order: a heap. Of what happens at one moment the first comes first.
 */
#ifndef TEST_EVENTS_H
#define TEST_EVENTS_H

#include "cluster.h"

typedef enum event_kind {
    TO_HEAD,
    TO_NODE,
    HINT,
    LINKED,
    DIAL_FAILED,
    NODE_LINK_CLOSED,
    HEAD_LINK_CLOSED,
    DISCARDED,
    SAVED,
    PROBE_REFUSED,
    PROCESS_GONE,
    NODE_TICK,
    HEAD_TICK,
} event_kind;

struct event {
    int64_t at_us;
    uint64_t sequence;
    event_kind kind;
    uint32_t node, boot;   /* boot: of the process that it is for; others never see it */
    uint64_t link, number; /* number: a version, an incarnation */
    bytes *what;
};

/* ---- events in order ---- */

static inline bool before(const event *a, const event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->sequence < b->sequence;
}

static inline void sift_up(cluster *c, size_t at)
{
    event moved = c->events[at];
    for (; at > 0 && before(&moved, &c->events[(at - 1) / 2]); at = (at - 1) / 2)
        c->events[at] = c->events[(at - 1) / 2];
    c->events[at] = moved;
}

static inline void push_again(cluster *c, event e)
{
    if (c->event_count == c->event_room) {
        c->event_room = RAYI_MAX(1024, 2 * c->event_room);
        c->events = realloc(c->events, c->event_room * sizeof e);
    }
    c->events[c->event_count++] = e;
    sift_up(c, c->event_count - 1);
}

static inline void push(cluster *c, event e)
{
    e.sequence = ++c->sequence;
    push_again(c, e);
}

static inline event pop(cluster *c)
{
    event first = c->events[0], moved = c->events[--c->event_count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < c->event_count; at = child) {
        if (child + 1 < c->event_count && before(&c->events[child + 1], &c->events[child]))
            child++;
        if (!before(&c->events[child], &moved))
            break;
        c->events[at] = c->events[child];
    }
    c->events[at] = moved;
    return first;
}

#endif
