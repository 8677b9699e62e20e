/* How long until many nodes have a large object that all want, played: who fetches from whom is what ships
 * (cluster/copies.h), and each node has a link that brings one chunk a tick each way, shared by all who fetch from it.
 * What a node has it has from the next tick on. */
#ifndef TESTS_SPREAD_H
#define TESTS_SPREAD_H

#include "base/base.h"
#include "cluster/copies.h"

#include <string.h>

enum { SPREAD_MOST = 64 };

typedef struct spread {
    rayi_copies *copies;
    uint32_t nodes, chunks;
    uint32_t have[SPREAD_MOST + 1];   /* chunks, in order; of node 0, whose object it is, all */
    uint32_t parent[SPREAD_MOST + 1]; /* once it has begun */
    uint32_t served[SPREAD_MOST + 1]; /* whom of its children a node has sent the last chunk */
} spread;

static inline rayi_object_place spread_place(uint32_t node)
{
    rayi_object_place place = {.number = node};
    memcpy(place.node.bytes, &node, sizeof node);
    return place;
}

/* -1: no memory. */
static inline int spread_begin(spread *s, uint32_t node)
{
    rayi_object_place who = spread_place(node), from;
    int r = rayi_copies_begin(s->copies, &who, &from);
    s->parent[node] = r > 0 ? (uint32_t)from.number : 0;
    return r < 0 ? -1 : 0;
}

/* The child whose turn it is at a node that had so many chunks when the tick began; 0: none lacks what it has. */
static inline uint32_t spread_next(const spread *s, uint32_t node, const uint32_t *had, uint32_t begun)
{
    for (uint32_t i = 0; i < s->nodes; i++) {
        uint32_t child = (s->served[node] + i) % s->nodes + 1;
        if (child <= begun && s->parent[child] == node && had[child] < had[node])
            return child;
    }
    return 0;
}

static inline void spread_tick(spread *s, uint32_t begun)
{
    uint32_t had[SPREAD_MOST + 1];
    memcpy(had, s->have, sizeof had);
    for (uint32_t node = 0; node <= begun; node++) {
        uint32_t child = spread_next(s, node, had, begun);
        if (!child)
            continue;
        s->served[node] = child;
        if (++s->have[child] < s->chunks)
            continue;
        rayi_object_place whole = spread_place(child);
        rayi_copies_whole(s->copies, &whole.node);
    }
}

/* Ticks until all have it, of which one node alone needs `chunks`; each begins `apart` ticks after the one before. 0:
 * no memory, or it does not end. */
static inline uint32_t spread_ticks(uint32_t nodes, uint32_t chunks, uint32_t apart)
{
    spread s = {.nodes = nodes, .chunks = chunks, .have = {chunks}};
    uint32_t begun = 0, left = nodes, tick = 0, most = nodes * (chunks + apart) + 1;
    if (nodes > SPREAD_MOST || rayi_copies_new(rayi_heap, &s.copies))
        return 0;
    for (; left > 0 && tick < most; tick++) {
        for (; begun < nodes && tick >= begun * apart; begun++)
            if (spread_begin(&s, begun + 1))
                most = 0;
        spread_tick(&s, begun);
        left = 0;
        for (uint32_t i = 1; i <= nodes; i++)
            left += s.have[i] < chunks;
    }
    rayi_copies_free(s.copies);
    return left ? 0 : tick;
}

#endif
