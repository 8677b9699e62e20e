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
    int64_t end = check_now_ms() + (int64_t)20000 * check_slowness();
    while (heap_live() != 0 && check_now_ms() < end)
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

/* ---- each allocation in turn ---- */

enum { MAX_ALLOCATIONS = 3000, TRIES = 20, PAUSE_MS = 100 };

static int run_again(const heap_scenario *scenario)
{
    int r = scenario->run();
    for (int tries = 0; r != 0 && r == scenario->again && tries < TRIES; tries++) {
        check_sleep_ms(PAUSE_MS);
        r = scenario->run();
    }
    return r;
}

/* One life of the runtime in which the nth allocation of the scenario fails; whether there were so many. */
static bool fail_nth(const heap_scenario *scenario, long nth, bool ever)
{
    if (scenario->begin)
        scenario->begin();
    heap_fail(nth, ever);
    int r = scenario->run();
    bool reached = heap_failures() > 0;
    heap_fail(0, false);
    if (r != 0 && (!scenario->is_fair(r) || !reached)) {
        fprintf(stderr, "allocation %ld fails %s: %s\n", nth, ever ? "and all that follow" : "once", ray_error_name(r));
        CHECK_CODE(r, reached ? RAY_ERR_NO_MEMORY : 0);
    }
    r = run_again(scenario);
    if (r != 0)
        fprintf(stderr, "after allocation %ld failed %s\n", nth, ever ? "with all that followed" : "once");
    CHECK_OK(r);
    if (scenario->begin)
        check_stop();
    heap_forget_last_error();
    if (heap_left() != 0)
        fprintf(stderr, "allocation %ld fails %s: %ld blocks left\n", nth, ever ? "and all that follow" : "once",
                heap_live());
    CHECK_INT(heap_left(), 0);
    return reached;
}

void heap_fail_each(const heap_scenario *scenario)
{
    for (int ever = 0; ever < 2; ever++) {
        long nth = 1;
        while (fail_nth(scenario, nth, ever))
            CHECK(nth++ < MAX_ALLOCATIONS);
    }
}
