#include "watched.h"

#include "base/base.h"

#include <ray/ray.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *event;
    bool (*must_fail)(void);
    atomic_long live, before, events;
} watched;

static bool is_given(void)
{
    return !watched.must_fail || !watched.must_fail();
}

static void *count_alloc(void *arg, size_t size)
{
    void *block = is_given() ? malloc(size > 0 ? size : 1) : NULL;

    (void)arg;
    atomic_fetch_add(&watched.live, block != NULL);
    return block;
}

static void *count_realloc(void *arg, void *block, size_t size)
{
    void *moved = is_given() ? realloc(block, size > 0 ? size : 1) : NULL;

    (void)arg;
    atomic_fetch_add(&watched.live, !block && moved);
    return moved;
}

static void count_free(void *arg, void *block)
{
    (void)arg;
    atomic_fetch_sub(&watched.live, block != NULL);
    free(block);
}

static void on_log(void *arg, const ray_log_event *event)
{
    (void)arg;
    if (strcmp(event->event, watched.event) == 0)
        atomic_fetch_add(&watched.events, 1);
}

void watched_begin(const char *event, bool (*must_fail)(void))
{
    static const ray_allocator allocator = {sizeof allocator, NULL, count_alloc, count_realloc, count_free};

    watched.event = event;
    watched.must_fail = must_fail;
    RAYI_ASSERT(ray_set_allocator(&allocator) == 0 && ray_set_log(on_log, NULL, RAY_LOG_ERROR) == 0);
}

void watched_mark(void)
{
    atomic_store(&watched.before, atomic_load(&watched.live));
}

long watched_left_over(void)
{
    long before = atomic_load(&watched.before);

    for (int tries = 0; atomic_load(&watched.live) != before && tries < 200; tries++)
        rayi_nap_ms(5);
    return atomic_load(&watched.live) - before;
}

long watched_events(void)
{
    return atomic_load(&watched.events);
}
