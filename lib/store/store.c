/* The store: who may have room, who waits for it, and how long a block lives.
 *
 * Capacity is granted first, in pages that the block counts; only then are pages looked for. With the grant in hand the
 * pages are always found: in warm room, in cold room, or in a new segment, since addresses are not what is scarce. If
 * the touched pages then exceed the capacity, warm room elsewhere goes back to the system.
 *
 * A block needs one byte more than it counts, the NUL: a page more for an object of whole pages. Hence the capacity and
 * the touched pages may differ by a page a block, and a standard segment is a little larger than 64 MiB.
 *
 * Freed room is granted by the thread that frees it, to the oldest waiter that it is enough for: neither can a newcomer
 * take it first, nor does one that waits for much hold up those that need little (which may be what it waits for).
 *
 * Lock order: store->lock is a leaf; inside it only the allocator is called. System calls happen outside: what is
 * evicted is marked as used meanwhile. `holds` keeps the store: one for the owner, each block and each call to alloc.
 */
#include "store/store.h"
#include "store/room.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAX_SEGMENTS = 256,      /* about so many standard ones make up the capacity: descriptors are few */
    GIVE_BACK_PAGES = 16,    /* a tail of so many pages is worth a cut */
    WRITE_FROM_BYTES = 65536 /* so many bytes are worth the calls to write them through the descriptor */
};
#define SEGMENT_BYTES       ((size_t)64 << 20)
#define SEGMENT_EXTRA_BYTES ((size_t)256 << 10) /* for the NULs: 64 objects of 1 MiB fit, or 1 of 64 */

typedef struct waiter {
    struct waiter *prev, *next;
    pthread_cond_t wake;
    size_t pages;
    bool granted;
} waiter;

struct rayi_store {
    const rayi_memory *memory;
    size_t page_bytes, limit_pages, segment_bytes;
    pthread_mutex_t lock; /* of all below */
    rayi_room room;
    waiter *waiters; /* oldest first */
    size_t used_pages, peak_pages, num_blocks, holds;
    bool cancelled, closed;
};

static size_t pages_of(const rayi_store *store, size_t size_bytes)
{
    return (size_bytes + store->page_bytes - 1) / store->page_bytes;
}

static size_t charge_of(const rayi_store *store, size_t size_bytes)
{
    return RAYI_MAX(pages_of(store, size_bytes), (size_t)1);
}

static uint64_t bytes_of(const rayi_store *store, size_t pages)
{
    return (uint64_t)pages * store->page_bytes;
}

int rayi_store_new(const rayi_memory *memory, uint64_t capacity_bytes, rayi_store **out)
{
    rayi_store *store = rayi_memory_zalloc(memory, sizeof *store);
    if (!store)
        return rayi_fail(RAY_ERR_NO_MEMORY, "no memory for an object store");
    store->memory = memory;
    store->page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    store->limit_pages = pages_of(store, (size_t)RAYI_MIN(capacity_bytes, (uint64_t)PTRDIFF_MAX / 4));
    size_t whole = store->limit_pages * store->page_bytes;
    size_t share = store->limit_pages / MAX_SEGMENTS * store->page_bytes;
    store->segment_bytes = RAYI_MIN(RAYI_MAX(SEGMENT_BYTES, share), whole) + SEGMENT_EXTRA_BYTES;
    store->holds = 1;
    rayi_room_init(&store->room, memory, store->page_bytes);
    pthread_mutex_init(&store->lock, NULL);
    *out = store;
    return 0;
}

static void destroy(rayi_store *store)
{
    RAYI_ASSERT(!store->room.segments && !store->waiters && store->num_blocks == 0);
    pthread_mutex_destroy(&store->lock);
    rayi_memory_free(store->memory, store);
}

/* --- room that goes back to the system ---------------------------------------------------------------------------- */

/* After extents became COLD or blocks went: segments that hold nothing any more, or nothing but warm room if no block
 * will come. Under the lock. */
static void detach_if_idle(rayi_store *store, rayi_segment *segment, rayi_eviction *out)
{
    if (segment->used_pages == 0 && (store->closed || segment->warm_pages == 0))
        rayi_room_detach(&store->room, segment, out);
}

static void detach_idle(rayi_store *store, rayi_eviction *out)
{
    for (rayi_segment *segment = store->room.segments, *next; segment; segment = next) {
        next = segment->next;
        detach_if_idle(store, segment, out);
    }
}

static void free_segments(rayi_store *store, rayi_eviction *gone)
{
    while (gone->segments) {
        rayi_segment *segment = gone->segments;
        gone->segments = segment->next;
        rayi_segment_free(store->memory, segment);
    }
}

/* Lets go of what was evicted. The caller has a hold on the store, not its lock. */
static void give_back(rayi_store *store, rayi_eviction *gone)
{
    free_segments(store, gone);
    if (!gone->extents)
        return;
    for (rayi_block *extent = gone->extents; extent; extent = extent->next)
        extent->cold = rayi_segment_forget(extent->segment, extent->first_page * store->page_bytes,
                                           extent->num_pages * store->page_bytes);
    pthread_mutex_lock(&store->lock);
    while (gone->extents) {
        rayi_block *extent = gone->extents;
        rayi_segment *segment = extent->segment;
        gone->extents = extent->next;
        rayi_room_put(&store->room, extent, extent->cold ? RAYI_EXTENT_COLD : RAYI_EXTENT_WARM);
        detach_if_idle(store, segment, gone);
    }
    pthread_mutex_unlock(&store->lock);
    free_segments(store, gone);
}

uint64_t rayi_store_trim(rayi_store *store, uint64_t keep_bytes)
{
    rayi_eviction gone = {0};
    pthread_mutex_lock(&store->lock);
    size_t keep_pages = (size_t)RAYI_MIN(keep_bytes / store->page_bytes, (uint64_t)SIZE_MAX);
    size_t warm_pages = store->room.warm_pages;
    size_t pages = warm_pages > keep_pages ? rayi_room_evict(&store->room, warm_pages - keep_pages, &gone) : 0;
    detach_idle(store, &gone); /* one that was made for a thread that found room elsewhere meanwhile */
    pthread_mutex_unlock(&store->lock);
    give_back(store, &gone);
    return bytes_of(store, pages);
}

/* Drops one hold; unlocks; the last one ends the store. */
static void unlock_and_drop(rayi_store *store, rayi_eviction *gone)
{
    bool last = --store->holds == 0;
    pthread_mutex_unlock(&store->lock);
    free_segments(store, gone);
    if (last)
        destroy(store);
}

static void cancel_waits(rayi_store *store)
{
    store->cancelled = true;
    for (waiter *each = store->waiters; each; each = each->next)
        pthread_cond_signal(&each->wake);
}

void rayi_store_cancel_waits(rayi_store *store)
{
    pthread_mutex_lock(&store->lock);
    cancel_waits(store);
    pthread_mutex_unlock(&store->lock);
}

void rayi_store_close(rayi_store *store)
{
    if (!store)
        return;
    rayi_store_trim(store, 0);
    rayi_eviction gone = {0};
    pthread_mutex_lock(&store->lock);
    store->closed = true;
    cancel_waits(store);
    detach_idle(store, &gone);
    unlock_and_drop(store, &gone);
}

/* --- capacity ----------------------------------------------------------------------------------------------------- */

static bool grant(rayi_store *store, size_t pages)
{
    if (pages > store->limit_pages - store->used_pages)
        return false;
    store->used_pages += pages;
    store->peak_pages = RAYI_MAX(store->peak_pages, store->used_pages);
    return true;
}

static void ungrant(rayi_store *store, size_t pages)
{
    store->used_pages -= pages;
    for (waiter *each = store->waiters, *next; each && store->used_pages < store->limit_pages; each = next) {
        next = each->next;
        if (!grant(store, each->pages))
            continue;
        each->granted = true;
        DL_DELETE(store->waiters, each);
        pthread_cond_signal(&each->wake);
    }
}

static void init_waiter(waiter *self, size_t pages)
{
    pthread_condattr_t attributes;
    *self = (waiter){.pages = pages};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&self->wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

/* Under the lock, which it gives up meanwhile. 0, RAY_ERR_STORE_FULL or RAY_ERR_SHUTDOWN, without a message. */
static int wait_for_grant(rayi_store *store, size_t pages, int64_t deadline_ns)
{
    const struct timespec until = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    waiter self;
    int waited = 0;
    init_waiter(&self, pages);
    DL_APPEND(store->waiters, &self);
    while (!self.granted && !store->cancelled && waited != ETIMEDOUT)
        if (deadline_ns == INT64_MAX)
            pthread_cond_wait(&self.wake, &store->lock);
        else
            waited = pthread_cond_timedwait(&self.wake, &store->lock, &until);
    if (!self.granted)
        DL_DELETE(store->waiters, &self);
    pthread_cond_destroy(&self.wake);
    if (self.granted)
        return 0;
    return store->cancelled ? RAY_ERR_SHUTDOWN : RAY_ERR_STORE_FULL;
}

static int get_grant(rayi_store *store, size_t pages, int64_t deadline_ns)
{
    if (grant(store, pages))
        return 0;
    if (deadline_ns <= 0)
        return RAY_ERR_STORE_FULL;
    return store->cancelled ? RAY_ERR_SHUTDOWN : wait_for_grant(store, pages, deadline_ns);
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

/* A new segment in which so many pages fit. 0 or an errno. */
static int make_segment(rayi_store *store, size_t pages)
{
    size_t size_bytes = RAYI_MAX(store->segment_bytes, pages * store->page_bytes);
    rayi_segment *segment;
    rayi_block *extent = rayi_memory_zalloc(store->memory, sizeof *extent);
    if (!extent)
        return ENOMEM;
    int r = rayi_segment_new(store->memory, size_bytes, &segment);
    if (r) {
        rayi_memory_free(store->memory, extent);
        return r;
    }
    extent->store = store;
    pthread_mutex_lock(&store->lock);
    rayi_room_add(&store->room, segment, extent);
    pthread_mutex_unlock(&store->lock);
    return 0;
}

/* Descriptors or addresses may have run out while segments lie idle. */
static int grow(rayi_store *store, size_t pages)
{
    int r = make_segment(store, pages);
    if (r && rayi_store_trim(store, 0) > 0)
        r = make_segment(store, pages);
    if (r == 0)
        return 0;
    return r == ENOMEM ? RAY_ERR_NO_MEMORY
                       : rayi_fail(RAY_ERR_SYSTEM, "cannot make a segment for %zu bytes of the object store: %s",
                                   pages * store->page_bytes, strerror(r));
}

/* Under the lock, which it gives up meanwhile; the pages are granted. */
static int take_pages(rayi_store *store, size_t pages, rayi_block **spare, rayi_block **out)
{
    rayi_block *block;
    while (!(block = rayi_room_take(&store->room, pages, spare))) {
        pthread_mutex_unlock(&store->lock);
        int r = grow(store, pages);
        pthread_mutex_lock(&store->lock);
        if (r)
            return r;
    }
    *out = block;
    return 0;
}

/* Chooses the warm pages that go since pages in use and warm ones are more than the capacity (and the NULs) allow. */
static void evict_excess(rayi_store *store, rayi_eviction *gone)
{
    size_t touched = store->room.used_pages + store->room.warm_pages;
    size_t allowed = store->limit_pages + store->num_blocks;
    if (touched > allowed)
        rayi_room_evict(&store->room, touched - allowed, gone);
}

/* Under the lock, for rayi_store_stats. */
static void begin_block(rayi_store *store, rayi_block *block, size_t size_bytes, size_t charged_pages)
{
    store->num_blocks++;
    block->size_bytes = size_bytes;
    block->charged_pages = charged_pages;
    atomic_store_explicit(&block->refs, 1, memory_order_relaxed);
    atomic_store_explicit(&block->sealed, false, memory_order_relaxed);
}

/* RAY_ERR_STORE_FULL, RAY_ERR_SHUTDOWN and RAY_ERR_NO_MEMORY without a message. */
static int alloc(rayi_store *store, size_t size_bytes, int64_t deadline_ns, rayi_block **out)
{
    size_t charge = charge_of(store, size_bytes);
    rayi_eviction gone = {0};
    rayi_block *block;
    rayi_block *spare = rayi_memory_zalloc(store->memory, sizeof *spare);
    if (!spare)
        return RAY_ERR_NO_MEMORY;
    pthread_mutex_lock(&store->lock);
    store->holds++;
    int r = get_grant(store, charge, deadline_ns);
    if (r)
        goto undo_spare;
    r = take_pages(store, pages_of(store, size_bytes + 1), &spare, &block);
    if (r)
        goto undo_grant;
    begin_block(store, block, size_bytes, charge);
    evict_excess(store, &gone);
    pthread_mutex_unlock(&store->lock);
    give_back(store, &gone);
    rayi_memory_free(store->memory, spare);
    block->data[size_bytes] = '\0';
    *out = block;
    return 0;

undo_grant:
    ungrant(store, charge);
undo_spare:
    rayi_memory_free(store->memory, spare);
    unlock_and_drop(store, &gone);
    return r;
}

static bool fits_ever(const rayi_store *store, size_t size_bytes)
{
    return size_bytes <= bytes_of(store, store->limit_pages) && store->limit_pages > 0;
}

int rayi_store_try_alloc(rayi_store *store, size_t size_bytes, rayi_block **out)
{
    if (!fits_ever(store, size_bytes))
        return RAY_ERR_STORE_FULL;
    int r = alloc(store, size_bytes, 0, out);
    if (r == RAY_ERR_NO_MEMORY)
        return rayi_fail(r, "no memory to keep a block of %zu bytes", size_bytes);
    return r;
}

static int fail_full(rayi_store *store, size_t size_bytes)
{
    pthread_mutex_lock(&store->lock);
    uint64_t used_bytes = bytes_of(store, store->used_pages);
    pthread_mutex_unlock(&store->lock);
    return rayi_fail(RAY_ERR_STORE_FULL,
                     "no room for %zu bytes in the object store: %" PRIu64 " of %" PRIu64 " bytes are used", size_bytes,
                     used_bytes, bytes_of(store, store->limit_pages));
}

int rayi_store_alloc(rayi_store *store, size_t size_bytes, int64_t deadline_ns, rayi_block **out)
{
    if (!fits_ever(store, size_bytes))
        return rayi_fail(RAY_ERR_STORE_FULL,
                         "an object of %zu bytes is larger than the object store: %" PRIu64 " bytes", size_bytes,
                         bytes_of(store, store->limit_pages));
    int r = alloc(store, size_bytes, deadline_ns, out);
    if (r == RAY_ERR_STORE_FULL)
        return fail_full(store, size_bytes);
    if (r == RAY_ERR_SHUTDOWN)
        return rayi_fail(r, "the runtime was shut down while %zu bytes waited for room in the object store",
                         size_bytes);
    if (r == RAY_ERR_NO_MEMORY)
        return rayi_fail(r, "no memory to keep a block of %zu bytes", size_bytes);
    return r;
}

/* --- blocks ------------------------------------------------------------------------------------------------------- */

void *rayi_block_data(rayi_block *block)
{
    return block->data;
}
size_t rayi_block_size(const rayi_block *block)
{
    return block->size_bytes;
}

void rayi_block_fill(rayi_block *block, size_t offset, const void *source, size_t size_bytes)
{
    RAYI_ASSERT(offset <= block->size_bytes && size_bytes <= block->size_bytes - offset);
    RAYI_ASSERT(!rayi_block_is_sealed(block));
    size_t done = 0;
    if (block->cold && size_bytes >= WRITE_FROM_BYTES)
        done = rayi_segment_write(block->segment, (size_t)(block->data - block->segment->base) + offset, source,
                                  size_bytes);
    rayi_store_copy_in(block->data + offset + done, (const char *)source + done, size_bytes - done);
}

void rayi_block_shrink(rayi_block *block, size_t size_bytes)
{
    RAYI_ASSERT(size_bytes <= block->size_bytes && !rayi_block_is_sealed(block));
    rayi_store *store = block->store;
    size_t pages = pages_of(store, size_bytes + 1);
    rayi_block *spare = NULL;
    block->size_bytes = size_bytes;
    block->data[size_bytes] = '\0';
    if (block->num_pages < pages + GIVE_BACK_PAGES)
        return;
    spare = rayi_memory_zalloc(store->memory, sizeof *spare);
    if (!spare) /* then it keeps the tail */
        return;
    pthread_mutex_lock(&store->lock);
    size_t charge = charge_of(store, size_bytes);
    rayi_room_cut(&store->room, block, pages, &spare);
    ungrant(store, block->charged_pages - charge);
    block->charged_pages = charge;
    pthread_mutex_unlock(&store->lock);
}

void rayi_block_seal(rayi_block *block)
{
    RAYI_ASSERT(!rayi_block_is_sealed(block));
    block->data[block->size_bytes] = '\0'; /* whoever wrote one byte too many must not spoil texts for readers */
    atomic_store_explicit(&block->sealed, true, memory_order_release);
}

bool rayi_block_is_sealed(const rayi_block *block)
{
    return atomic_load_explicit(&block->sealed, memory_order_acquire);
}

rayi_block *rayi_block_ref(rayi_block *block)
{
    uint32_t refs = atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    RAYI_ASSERT(refs > 0 && refs < UINT32_MAX);
    return block;
}

void rayi_block_unref(rayi_block *block)
{
    if (!block)
        return;
    uint32_t refs = atomic_fetch_sub_explicit(&block->refs, 1, memory_order_acq_rel);
    RAYI_ASSERT(refs > 0);
    if (refs > 1)
        return;
    rayi_store *store = block->store;
    rayi_segment *segment = block->segment;
    rayi_eviction gone = {0};
    pthread_mutex_lock(&store->lock);
    size_t charge = block->charged_pages;
    rayi_room_put(&store->room, block, RAYI_EXTENT_WARM);
    store->num_blocks--;
    detach_if_idle(store, segment, &gone);
    ungrant(store, charge);
    unlock_and_drop(store, &gone);
}

/* --- figures ------------------------------------------------------------------------------------------------------ */

static size_t pinned_pages(const rayi_store *store)
{
    size_t pages = 0;
    for (const rayi_segment *segment = store->room.segments; segment; segment = segment->next)
        for (rayi_block *extent = segment->first; extent; extent = extent->right)
            if (extent->state == RAYI_EXTENT_USED && atomic_load_explicit(&extent->refs, memory_order_relaxed) > 1)
                pages += extent->charged_pages;
    return pages;
}

void rayi_store_stats(rayi_store *store, rayi_store_usage *out)
{
    pthread_mutex_lock(&store->lock);
    size_t num_waiters = 0;
    for (waiter *each = store->waiters; each; each = each->next)
        num_waiters++;
    *out = (rayi_store_usage){
        .capacity_bytes = bytes_of(store, store->limit_pages),
        .used_bytes = bytes_of(store, store->used_pages),
        .peak_bytes = bytes_of(store, store->peak_pages),
        .pinned_bytes = bytes_of(store, pinned_pages(store)),
        .warm_bytes = bytes_of(store, store->room.warm_pages),
        .mapped_bytes = bytes_of(store, store->room.mapped_pages),
        .num_blocks = store->num_blocks,
        .num_segments = store->room.num_segments,
        .num_waiters = num_waiters,
    };
    pthread_mutex_unlock(&store->lock);
}
