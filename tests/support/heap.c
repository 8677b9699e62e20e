#include "heap.h"
#include "check.h"

#include <stdatomic.h>
#include <stdlib.h>

static atomic_long live, failures, until; /* until the next failure */
static atomic_bool failing, for_ever;

static bool must_fail(void)
{
    if (!atomic_load(&failing))
        return false;
    long left = atomic_fetch_sub(&until, 1) - 1;
    if (left > 0 || (left < 0 && !atomic_load(&for_ever)))
        return false;
    atomic_fetch_add(&failures, 1);
    return true;
}

static void *heap_alloc(void *arg, size_t size_bytes)
{
    (void)arg;
    void *block = must_fail() ? NULL : malloc(size_bytes ? size_bytes : 1);
    atomic_fetch_add(&live, block != NULL);
    return block;
}

static void *heap_realloc(void *arg, void *block, size_t size_bytes)
{
    (void)arg;
    if (must_fail())
        return NULL;
    void *moved = realloc(block, size_bytes ? size_bytes : 1);
    atomic_fetch_add(&live, !block && moved);
    return moved;
}

static void heap_free(void *arg, void *block)
{
    (void)arg;
    atomic_fetch_sub(&live, block != NULL);
    free(block);
}

void heap_install(void)
{
    static const ray_allocator allocator = {sizeof allocator, NULL, heap_alloc, heap_realloc, heap_free};
    CHECK_OK(ray_set_allocator(&allocator));
}

long heap_live(void)
{
    return atomic_load(&live);
}
long heap_failures(void)
{
    return atomic_load(&failures);
}

long heap_left(void)
{
    for (int tries = 0; heap_live() != 0 && tries < 200; tries++)
        check_sleep_ms(5);
    return heap_live();
}

void heap_fail(long nth, bool ever)
{
    atomic_store(&failing, false);
    atomic_store(&failures, 0);
    atomic_store(&until, nth);
    atomic_store(&for_ever, ever);
    atomic_store(&failing, nth > 0);
}

void heap_forget_last_error(void)
{
    if (ray_last_error()->code == 0)
        return;
    heap_fail(1, true);
    CHECK(ray_get(NULL, NULL) != 0);
    heap_fail(0, false);
}
