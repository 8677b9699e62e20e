/* A store's life and figures.
 *
 * The rest: block.c has blocks and their pins, grant.c who may have room and who waits for it, evict.c what goes
 * from memory, spill.c the files, arena.c pages and segments, room.c which page is whose.
 *
 * A block needs one byte more than it counts, the NUL: a page more for an object of whole pages. Hence the capacity and
 * the touched pages may differ by a page a block, and a standard segment is a little larger than 64 MiB.
 *
 * Lock order: store->lock is a leaf; inside it only the allocator is called. System calls happen outside. `holds` keeps
 * the store: one for the owner, each arena but its own, each block and each call that gives up the lock. */
#include "store/inside.h"

#include <time.h>
#include <unistd.h>

enum { MAX_SEGMENTS = 256 }; /* about so many standard ones make up the capacity: descriptors are few */
#define SEGMENT_BYTES ((size_t)64 << 20)

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

int rayi_store_new(const rayi_memory *memory, uint64_t capacity_bytes, rayi_store **out)
{
    rayi_store *store = rayi_memory_zalloc(memory, sizeof *store);
    if (!store)
        return rayi_fail(RAY_ERR_NO_MEMORY, "no memory for an object store");
    store->memory = memory;
    store->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    store->limit_pages = rayi_store_pages(store, (size_t)RAYI_MIN(capacity_bytes, (uint64_t)PTRDIFF_MAX / 4));
    size_t whole = store->limit_pages * store->page_bytes;
    size_t share = store->limit_pages / MAX_SEGMENTS * store->page_bytes;
    store->holds = 1;
    pthread_mutex_init(&store->lock, NULL);
    init_condition(&store->read);
    rayi_arena_init(&store->own, store, RAYI_MIN(RAYI_MAX(SEGMENT_BYTES, share), whole));
    *out = store;
    return 0;
}

static void replace_spill(rayi_store *store, rayi_spill *spill)
{
    RAYI_ASSERT(store->num_blocks == 0);
    rayi_spill_close(store->spill);
    rayi_spill_free(store->spill);
    store->spill = spill;
}

int rayi_store_set_spill(rayi_store *store, const char *directory)
{
    rayi_spill *spill = NULL;
    if (directory && *directory) {
        int r = rayi_spill_new(store->memory, directory, NULL, NULL, &spill);
        if (r)
            return r;
    }
    replace_spill(store, spill);
    return 0;
}

int rayi_store_set_spill_later(rayi_store *store, int (*ask)(void *arg, char *out, size_t size), void *arg)
{
    rayi_spill *spill;
    int r = rayi_spill_new(store->memory, NULL, ask, arg, &spill);
    if (r)
        return r;
    replace_spill(store, spill);
    return 0;
}

void rayi_store_on_segment_gone(rayi_store *store, void (*told)(void *arg, uint64_t segment), void *arg)
{
    RAYI_ASSERT(store->num_blocks == 0);
    store->segment_gone = told;
    store->segment_gone_arg = arg;
}

void rayi_store_on_warm(rayi_store *store, uint64_t keep_bytes, bool (*told)(void *arg), void *arg)
{
    RAYI_ASSERT(store->num_blocks == 0);
    store->warm = told;
    store->warm_arg = arg;
    store->keep_warm_pages = (size_t)(keep_bytes / store->page_bytes);
}

static void destroy(rayi_store *store)
{
    RAYI_ASSERT(!store->own.room.segments && !store->waiters && store->num_blocks == 0);
    RAYI_ASSERT(!store->candidates && !store->fetchable && !store->foreigns);
    RAYI_ASSERT(store->arenas == &store->own && !store->own.next);
    rayi_spill_free(store->spill);
    pthread_cond_destroy(&store->read);
    pthread_mutex_destroy(&store->lock);
    rayi_memory_free(store->memory, store);
}

/* Under the lock, which it gives up meanwhile; the caller has a hold. */
static void tell_of_warmth(rayi_store *store)
{
    if (!store->warm || store->told_warm || store->closed || store->sums.warm_pages <= store->keep_warm_pages)
        return;
    store->told_warm = true;
    rayi_arena_look(store);
    pthread_mutex_unlock(&store->lock);
    bool heard = store->warm(store->warm_arg);
    pthread_mutex_lock(&store->lock);
    if (!heard)
        store->told_warm = false;
}

void rayi_store_unlock_and_drop(rayi_store *store, rayi_eviction *gone)
{
    if (gone->segments || gone->extents) { /* while the hold keeps the store */
        pthread_mutex_unlock(&store->lock);
        rayi_arena_give_back(store, gone);
        pthread_mutex_lock(&store->lock);
    }
    tell_of_warmth(store);
    bool last = --store->holds == 0;
    pthread_mutex_unlock(&store->lock);
    if (last)
        destroy(store);
}

static void cancel_waits(rayi_store *store)
{
    store->cancelled = true;
    rayi_grant_stir(store);
    pthread_cond_broadcast(&store->read);
}

void rayi_store_cancel_waits(rayi_store *store)
{
    pthread_mutex_lock(&store->lock);
    cancel_waits(store);
    pthread_mutex_unlock(&store->lock);
}

void rayi_store_end_spilling(rayi_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->files_gone = true;
    pthread_cond_broadcast(&store->read);
    pthread_mutex_unlock(&store->lock);
    rayi_spill_close(store->spill);
}

void rayi_store_close(rayi_store *store)
{
    if (!store)
        return;
    rayi_store_end_spilling(store);
    rayi_store_trim(store, 0);
    rayi_eviction gone = {0};
    pthread_mutex_lock(&store->lock);
    store->closed = store->own.closed = true;
    cancel_waits(store);
    rayi_arena_detach_idle(store, &gone);
    rayi_store_unlock_and_drop(store, &gone);
}

void rayi_store_stats(rayi_store *store, rayi_store_usage *out)
{
    pthread_mutex_lock(&store->lock);
    size_t num_waiters = 0;
    for (rayi_waiter *each = store->waiters; each; each = each->next)
        num_waiters++;
    *out = (rayi_store_usage){
        .capacity_bytes = rayi_store_bytes(store, store->limit_pages),
        .used_bytes = rayi_store_bytes(store, store->used_pages),
        .peak_bytes = rayi_store_bytes(store, store->peak_pages),
        .pinned_bytes = rayi_store_bytes(store, store->pinned_pages),
        .warm_bytes = rayi_store_bytes(store, store->sums.warm_pages),
        .mapped_bytes = rayi_store_bytes(store, store->sums.mapped_pages),
        .num_blocks = store->num_blocks,
        .num_segments = store->sums.num_segments,
        .num_waiters = num_waiters,
        .spilled_bytes = store->spilled.bytes,
        .num_spilled = store->spilled.num,
        .spilled_total_bytes = store->written_bytes,
        .restored_total_bytes = store->restored.bytes,
        .num_restored = store->restored.num,
        .far_bytes = store->far.bytes,
        .num_far = store->far.num,
        .fetched_total_bytes = store->fetched.bytes,
        .num_fetched = store->fetched.num,
        .mapped_far_bytes = store->mapped.bytes,
        .num_mapped_far = store->mapped.num,
    };
    pthread_mutex_unlock(&store->lock);
}
