/* A heap for the unit tests of brains: counts what lives and fails at a chosen allocation. */
#ifndef TEST_COUNTED_H
#define TEST_COUNTED_H

#include <stdlib.h>

#include "base/base.h"

typedef struct counted {
    rayi_memory memory;
    long live;     /* blocks */
    long requests; /* allocations asked for */
    long fail_at;  /* the request that fails; 0: none */
    size_t bytes;  /* asked for in all, for sizes of what is never freed */
} counted;

static inline bool counted_fails(counted *heap)
{
    return ++heap->requests == heap->fail_at;
}

static inline void *counted_alloc(void *arg, size_t size_bytes)
{
    counted *heap = arg;
    if (counted_fails(heap))
        return NULL;
    heap->live++;
    heap->bytes += size_bytes;
    return malloc(size_bytes);
}

static inline void *counted_realloc(void *arg, void *block, size_t size_bytes)
{
    counted *heap = arg;
    if (counted_fails(heap))
        return NULL;
    heap->live += !block;
    return realloc(block, size_bytes);
}

static inline void counted_free(void *arg, void *block)
{
    ((counted *)arg)->live -= block != NULL;
    free(block);
}

static inline void counted_init(counted *heap)
{
    *heap = (counted){.memory = {sizeof heap->memory, heap, counted_alloc, counted_realloc, counted_free}};
}

/* Fails the nth request from now; 0: none. */
static inline void counted_fail(counted *heap, long nth)
{
    heap->fail_at = nth ? heap->requests + nth : 0;
}

/* Numbers that look random and depend on the seed alone. */
static inline uint64_t rolled(uint64_t *seed)
{
    uint64_t x = (*seed += UINT64_C(0x9E3779B97F4A7C15));
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static inline uint32_t roll(uint64_t *seed, uint32_t below)
{
    return (uint32_t)(rolled(seed) % below);
}

#endif
