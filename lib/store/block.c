/* Blocks: made, pinned, brought, freed.
 *
 * Pins. A block that is pinned is in memory. The count goes from and to 0 under the lock, where the block leaves or
 * joins the candidates for spilling; while it is above 0 it goes up and down without, so readers of one block do not
 * meet at the lock. What a pin makes visible: who restored the bytes stores the first pin with release, all later
 * changes are read-modify-writes, so each pin that acquires a value acquires that store, too (a release sequence); an
 * unpin releases what its thread read, the last one acquires that and hands it on through the lock to whoever takes the
 * room.
 *
 * A block that is not in memory is brought by the first thread that wants it, from disk or by its source; others wait
 * for that one, and try themselves if it fails.
 *
 * Sources. A block with a source is never written to disk, so it never has a copy there; it loses the source only while
 * its bytes are in memory, under the lock. Hence whoever brings it may use the source without the lock.
 *
 * Mapped. A source may know the bytes to lie in a segment that is mapped here. Then the block is HERE without room of
 * its own as long as it is pinned, and AWAY with its last pin: so nothing that looks for room ever meets it. */
#include "store/inside.h"

#include <string.h>
#include <time.h>

enum {
    GIVE_BACK_PAGES = 16,     /* a tail of so many pages is worth a cut */
    WRITE_FROM_BYTES = 65536, /* so many bytes are worth the calls to write them through the descriptor */
};
#define PIN_PATIENCE_NS INT64_C(30000000000)

static bool may_move(rayi_block_state from, rayi_block_state to)
{
    switch (from) {
    case RAYI_BLOCK_OPEN:
        return to == RAYI_BLOCK_HERE;
    case RAYI_BLOCK_HERE:
        return to == RAYI_BLOCK_WRITTEN || to == RAYI_BLOCK_AWAY;
    case RAYI_BLOCK_WRITTEN:
    case RAYI_BLOCK_READ:
        return to == RAYI_BLOCK_HERE || to == RAYI_BLOCK_AWAY;
    case RAYI_BLOCK_AWAY:
        return to == RAYI_BLOCK_READ;
    }
    return false;
}

static bool is_away(rayi_block_state state)
{
    return state == RAYI_BLOCK_AWAY || state == RAYI_BLOCK_READ;
}

static rayi_block_state state_of(const rayi_block *block)
{
    return atomic_load_explicit(&block->state, memory_order_relaxed);
}

void rayi_block_move(rayi_block *block, rayi_block_state to)
{
    RAYI_ASSERT(may_move(state_of(block), to));
    atomic_store_explicit(&block->state, to, memory_order_release);
}

void rayi_block_count_away(rayi_block *block, bool away)
{
    rayi_store *store = block->store;
    rayi_tally *tally = rayi_block_source(block) ? &store->far : &store->spilled;
    tally->num += away ? 1 : (uint64_t)-1;
    tally->bytes += away ? block->size_bytes : -(uint64_t)block->size_bytes;
}

/* Where a block is while it is HERE and not pinned. */
static rayi_block **list_of(const rayi_block *block)
{
    return rayi_block_source(block) ? &block->store->fetchable : &block->store->candidates;
}

/* --- making them -------------------------------------------------------------------------------------------------- */

/* Granted pages of an arena become a block's. Under the lock. */
static void settle_in(rayi_block *block, rayi_extent *extent, size_t charged_pages)
{
    rayi_store *store = block->store;
    block->extent = extent;
    block->data = rayi_extent_data(store, extent);
    block->charged_pages = charged_pages;
    store->pinned_pages += charged_pages;
    atomic_store_explicit(&block->pins, 1, memory_order_release); /* others may count on it without the lock */
}

/* The codes and words of rayi_grant_get and rayi_arena_take. */
static int fill_with_room(rayi_store *store, rayi_arena *arena, rayi_block *block, rayi_extent **spare,
                          int64_t deadline_ns)
{
    size_t charge = rayi_store_charge(store, block->size_bytes);
    rayi_eviction gone = {0};
    rayi_extent *extent;
    pthread_mutex_lock(&store->lock);
    store->holds++;
    arena->holds++;
    int r = arena->closed ? RAY_ERR_SHUTDOWN : rayi_grant_get(store, arena, charge, deadline_ns, deadline_ns > 0);
    if (r)
        goto undo_holds;
    r = rayi_arena_take(arena, rayi_store_pages(store, block->size_bytes + 1), spare, &extent);
    if (r)
        goto undo_grant;
    settle_in(block, extent, charge);
    store->num_blocks++;
    rayi_arena_count(store);
    rayi_arena_evict_excess(store, &gone);
    rayi_arena_drop(arena);
    pthread_mutex_unlock(&store->lock);
    rayi_arena_give_back(store, &gone);
    return 0;

undo_grant:
    rayi_grant_return(store, charge);
undo_holds:
    if (arena->closed)
        rayi_arena_detach_idle(store, &gone);
    rayi_arena_drop(arena);
    rayi_store_unlock_and_drop(store, &gone);
    return r;
}

static rayi_block *new_block(rayi_store *store, size_t size_bytes)
{
    rayi_block *block = rayi_memory_zalloc(store->memory, sizeof *block);
    if (!block)
        return NULL;
    block->store = store;
    block->size_bytes = size_bytes;
    atomic_store_explicit(&block->refs, 1, memory_order_relaxed);
    return block;
}

static int alloc(rayi_store *store, rayi_arena *arena, size_t size_bytes, int64_t deadline_ns, rayi_block **out)
{
    rayi_block *block = new_block(store, size_bytes);
    rayi_extent *spare = rayi_memory_zalloc(store->memory, sizeof *spare);
    int r = RAY_ERR_NO_MEMORY;
    if (block && spare)
        r = fill_with_room(store, arena ? arena : &store->own, block, &spare, deadline_ns);
    rayi_memory_free(store->memory, spare);
    if (r) {
        rayi_memory_free(store->memory, block);
        return r;
    }
    block->data[size_bytes] = '\0';
    *out = block;
    return 0;
}

static bool fits_ever(const rayi_store *store, size_t size_bytes)
{
    return size_bytes <= rayi_store_bytes(store, store->limit_pages) && store->limit_pages > 0;
}

static int fail_too_large(const rayi_store *store, size_t size_bytes)
{
    return rayi_fail(RAY_ERR_STORE_FULL, "an object of %zu bytes is larger than the object store: %llu bytes",
                     size_bytes, (unsigned long long)rayi_store_bytes(store, store->limit_pages));
}

int rayi_store_try_alloc_in(rayi_store *store, rayi_arena *arena, size_t size_bytes, rayi_block **out)
{
    if (!fits_ever(store, size_bytes))
        return RAY_ERR_STORE_FULL;
    int r = alloc(store, arena, size_bytes, 0, out);
    return r == RAY_ERR_STORE_FULL ? r : rayi_grant_fail(store, r, size_bytes);
}

int rayi_store_alloc_in(rayi_store *store, rayi_arena *arena, size_t size_bytes, int64_t deadline_ns, rayi_block **out)
{
    if (!fits_ever(store, size_bytes))
        return fail_too_large(store, size_bytes);
    return rayi_grant_fail(store, alloc(store, arena, size_bytes, deadline_ns, out), size_bytes);
}

int rayi_store_try_alloc(rayi_store *store, size_t size_bytes, rayi_block **out)
{
    return rayi_store_try_alloc_in(store, NULL, size_bytes, out);
}

int rayi_store_alloc(rayi_store *store, size_t size_bytes, int64_t deadline_ns, rayi_block **out)
{
    return rayi_store_alloc_in(store, NULL, size_bytes, deadline_ns, out);
}

int rayi_block_new_far(rayi_store *store, size_t size_bytes, const rayi_source *source, void *arg, rayi_block **out)
{
    rayi_block *block = new_block(store, size_bytes);
    if (!block)
        return rayi_grant_fail(store, RAY_ERR_NO_MEMORY, size_bytes);
    atomic_store_explicit(&block->source, source, memory_order_relaxed);
    block->source_arg = arg;
    atomic_store_explicit(&block->state, RAYI_BLOCK_AWAY, memory_order_relaxed); /* from the start, so by no edge */
    pthread_mutex_lock(&store->lock);
    store->holds++;
    store->num_blocks++;
    rayi_block_count_away(block, true);
    pthread_mutex_unlock(&store->lock);
    *out = block;
    return 0;
}

/* --- filling them ------------------------------------------------------------------------------------------------- */

void *rayi_block_data(rayi_block *block)
{
    return block->data;
}
size_t rayi_block_size(const rayi_block *block)
{
    return block->size_bytes;
}

void rayi_block_place(rayi_block *block, rayi_place *out)
{
    RAYI_ASSERT(atomic_load_explicit(&block->pins, memory_order_relaxed) > 0);
    const rayi_segment *segment;
    if (block->foreign) {
        *out = (rayi_place){.segment = block->foreign->number,
                            .segment_bytes = block->foreign->size_bytes,
                            .offset = (size_t)(block->data - block->foreign->base)};
        return;
    }
    segment = block->extent->segment;
    *out = (rayi_place){.segment = segment->number,
                        .segment_bytes = segment->size_bytes,
                        .offset = (size_t)(block->data - segment->base)};
}

void rayi_block_fill(rayi_block *block, size_t offset, const void *source, size_t size_bytes)
{
    RAYI_ASSERT(offset <= block->size_bytes && size_bytes <= block->size_bytes - offset);
    RAYI_ASSERT(!rayi_block_is_sealed(block));
    rayi_segment *segment = block->extent->segment;
    size_t done = 0;
    if (block->extent->cold && size_bytes >= WRITE_FROM_BYTES)
        done = rayi_segment_write(segment, (size_t)(block->data - segment->base) + offset, source, size_bytes);
    rayi_store_copy_in(block->data + offset + done, (const char *)source + done, size_bytes - done);
}

void rayi_block_shrink(rayi_block *block, size_t size_bytes)
{
    RAYI_ASSERT(size_bytes <= block->size_bytes && !rayi_block_is_sealed(block));
    rayi_store *store = block->store;
    size_t pages = rayi_store_pages(store, size_bytes + 1);
    block->size_bytes = size_bytes;
    block->data[size_bytes] = '\0';
    if (block->extent->num_pages < pages + GIVE_BACK_PAGES)
        return;
    rayi_extent *spare = rayi_memory_zalloc(store->memory, sizeof *spare);
    if (!spare) /* then it keeps the tail */
        return;
    rayi_eviction nothing = {0};
    pthread_mutex_lock(&store->lock);
    store->holds++;
    size_t freed = block->charged_pages - rayi_store_charge(store, size_bytes);
    rayi_room_cut(block->extent->segment->room, block->extent, pages, &spare);
    block->charged_pages -= freed;
    rayi_grant_unpinned(store, freed);
    rayi_grant_return(store, freed);
    rayi_store_unlock_and_drop(store, &nothing);
}

static void count_mapped(rayi_block *block, bool mapped)
{
    rayi_tally *tally = &block->store->mapped;
    tally->num += mapped ? 1 : (uint64_t)-1;
    tally->bytes += mapped ? block->size_bytes : -(uint64_t)block->size_bytes;
    rayi_block_count_away(block, !mapped);
}

/* Under the lock; maybe the last one. True: it was the last one of a mapped block, whose source is to be told. */
static bool drop_pin(rayi_block *block)
{
    rayi_store *store = block->store;
    if (atomic_fetch_sub_explicit(&block->pins, 1, memory_order_acq_rel) != 1)
        return false;
    if (block->foreign) {
        block->foreign = NULL;
        block->data = NULL;
        rayi_block_move(block, RAYI_BLOCK_AWAY);
        count_mapped(block, false);
        return true;
    }
    if (state_of(block) == RAYI_BLOCK_HERE) /* else it is being written: whoever does that will see */
        DL_APPEND(*list_of(block), block);
    rayi_grant_unpinned(store, block->charged_pages);
    return false;
}

void rayi_block_seal(rayi_block *block)
{
    RAYI_ASSERT(!rayi_block_is_sealed(block));
    rayi_store *store = block->store;
    block->data[block->size_bytes] = '\0'; /* whoever wrote one byte too many must not spoil texts for readers */
    pthread_mutex_lock(&store->lock);
    rayi_block_move(block, RAYI_BLOCK_HERE);
    (void)drop_pin(block); /* the maker's */
    pthread_mutex_unlock(&store->lock);
}

bool rayi_block_is_sealed(const rayi_block *block)
{
    return atomic_load_explicit(&block->state, memory_order_acquire) != RAYI_BLOCK_OPEN;
}

bool rayi_block_is_spilled(const rayi_block *block)
{
    return is_away(atomic_load_explicit(&block->state, memory_order_acquire)) && !rayi_block_source(block);
}

void *rayi_block_source_arg(const rayi_block *block)
{
    return rayi_block_source(block) ? block->source_arg : NULL;
}

bool rayi_block_is_far(const rayi_block *block)
{
    return is_away(atomic_load_explicit(&block->state, memory_order_acquire)) && rayi_block_source(block);
}

/* --- pins --------------------------------------------------------------------------------------------------------- */

/* One more pin of a block that has some. */
static bool pin_pinned(rayi_block *block)
{
    uint32_t pins = atomic_load_explicit(&block->pins, memory_order_relaxed);
    while (pins > 0) {
        RAYI_ASSERT(pins < UINT32_MAX);
        if (atomic_compare_exchange_weak_explicit(&block->pins, &pins, pins + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    }
    return false;
}

/* Under the lock: a pin, if it is in memory. */
static bool pin_here(rayi_block *block)
{
    rayi_store *store = block->store;
    rayi_block_state state = state_of(block);
    RAYI_ASSERT(state != RAYI_BLOCK_OPEN);
    if (is_away(state))
        return false;
    if (atomic_fetch_add_explicit(&block->pins, 1, memory_order_relaxed) > 0)
        return true;
    store->pinned_pages += block->charged_pages;
    if (state == RAYI_BLOCK_HERE)
        DL_DELETE(*list_of(block), block);
    else
        block->wanted = true;
    return true;
}

void rayi_block_unpin(rayi_block *block)
{
    rayi_store *store = block->store;
    uint32_t pins = atomic_load_explicit(&block->pins, memory_order_relaxed);
    while (pins > 1)
        if (atomic_compare_exchange_weak_explicit(&block->pins, &pins, pins - 1, memory_order_release,
                                                  memory_order_relaxed))
            return;
    RAYI_ASSERT(pins > 0);
    pthread_mutex_lock(&store->lock);
    bool unmaps = drop_pin(block);
    pthread_mutex_unlock(&store->lock);
    if (unmaps) /* it has its source for as long as it is mapped, and the caller's count */
        rayi_block_source(block)->unmap(block->source_arg);
}

void rayi_block_spoil(rayi_block *block)
{
    pthread_mutex_lock(&block->store->lock);
    RAYI_ASSERT(block->extent && atomic_load_explicit(&block->pins, memory_order_relaxed) > 0);
    bool again = block->spoiled;
    block->spoiled = true;
    pthread_mutex_unlock(&block->store->lock);
    if (again) /* one such pin is enough */
        rayi_block_unpin(block);
}

bool rayi_block_export(rayi_block *block, rayi_export *out)
{
    RAYI_ASSERT(atomic_load_explicit(&block->pins, memory_order_relaxed) > 0);
    if (block->foreign)
        return false;
    const rayi_segment *segment = block->extent->segment;
    *out = (rayi_export){.fd = segment->fd,
                         .device = segment->device,
                         .inode = segment->inode,
                         .segment = segment->number,
                         .segment_bytes = segment->size_bytes,
                         .offset = (uint64_t)(block->data - segment->base)};
    return true;
}

/* It is not in memory: is there no way back any more? */
static bool is_lost(const rayi_block *block)
{
    return rayi_block_source(block) ? rayi_store_fetches_no_more(block->store) : block->store->files_gone;
}

/* --- into memory again -------------------------------------------------------------------------------------------- */

/* Room of the node's own arena. The codes and words of whatever fails. */
static int find_room(rayi_block *block, int64_t deadline_ns, rayi_extent **out)
{
    rayi_store *store = block->store;
    size_t charge = rayi_store_charge(store, block->size_bytes);
    rayi_eviction gone = {0};
    rayi_extent *spare = rayi_memory_zalloc(store->memory, sizeof *spare);
    if (!spare)
        return RAY_ERR_NO_MEMORY;
    pthread_mutex_lock(&store->lock);
    int r = rayi_grant_get(store, &store->own, charge, deadline_ns, true);
    if (r)
        goto unlock;
    r = rayi_arena_take(&store->own, rayi_store_pages(store, block->size_bytes + 1), &spare, out);
    if (r) {
        rayi_grant_return(store, charge);
        goto unlock;
    }
    rayi_arena_count(store);
    rayi_arena_evict_excess(store, &gone);

unlock:
    pthread_mutex_unlock(&store->lock);
    rayi_arena_give_back(store, &gone);
    rayi_memory_free(store->memory, spare);
    return r;
}

static void give_room_back(rayi_block *block, rayi_extent *extent)
{
    rayi_store *store = block->store;
    rayi_eviction gone = {0};
    pthread_mutex_lock(&store->lock);
    store->holds++;
    store->num_here--;
    rayi_arena_put(extent, &gone);
    rayi_grant_return(store, rayi_store_charge(store, block->size_bytes));
    rayi_store_unlock_and_drop(store, &gone);
}

/* The bytes, from where they are. 0, or a code with words. */
static int read_to(rayi_block *block, char *data, int64_t deadline_ns)
{
    const rayi_source *source = rayi_block_source(block);
    int r = source ? source->fetch(block->source_arg, data, block->size_bytes, deadline_ns)
                   : rayi_spill_read(block->store->spill, &block->copy, data, block->size_bytes);
    data[block->size_bytes] = '\0';
    return r;
}

static void come_back(rayi_block *block, rayi_extent *extent)
{
    rayi_store *store = block->store;
    rayi_tally *tally = rayi_block_source(block) ? &store->fetched : &store->restored;
    settle_in(block, extent, rayi_store_charge(store, block->size_bytes));
    if (block->copy.file)
        rayi_evict_add_copied(block);
    rayi_block_count_away(block, false);
    tally->num++;
    tally->bytes += block->size_bytes;
}

static void settle_mapped(rayi_block *block, rayi_foreign *segment, size_t offset)
{
    RAYI_ASSERT(rayi_foreign_holds(segment, offset, block->size_bytes));
    block->foreign = segment;
    block->data = segment->base + offset;
    block->charged_pages = 0;
    count_mapped(block, true);
    atomic_store_explicit(&block->pins, 1, memory_order_release);
}

/* A READ block, whose bytes may lie in a segment that is mapped. */
static bool map_it(rayi_block *block, int64_t deadline_ns)
{
    const rayi_source *source = rayi_block_source(block);
    rayi_store *store = block->store;
    rayi_foreign *segment;
    size_t offset;
    if (!source || !source->map || !source->map(block->source_arg, block->size_bytes, deadline_ns, &segment, &offset))
        return false;
    pthread_mutex_lock(&store->lock);
    settle_mapped(block, segment, offset);
    rayi_block_move(block, RAYI_BLOCK_HERE);
    pthread_cond_broadcast(&store->read);
    pthread_mutex_unlock(&store->lock);
    return true;
}

/* The fetch into this room is over, under the lock. True: those who read it early keep the room. */
static bool end_early(rayi_block *block, rayi_extent *extent, bool is_here)
{
    rayi_early *early = block->early;
    block->early = NULL;
    block->arriving = NULL;
    if (!early)
        return false;
    if (early->pins == 0) {
        rayi_memory_free(block->store->memory, early);
        return false;
    }
    early->is_over = true;
    early->is_here = is_here;
    if (is_here)
        atomic_fetch_add_explicit(&block->pins, early->pins, memory_order_relaxed);
    else
        early->extent = extent;
    return true;
}

static int copy_it(rayi_block *block, int64_t deadline_ns)
{
    rayi_store *store = block->store;
    rayi_extent *extent = NULL;
    int r = fits_ever(store, block->size_bytes)
                ? rayi_grant_fail(store, find_room(block, deadline_ns, &extent), block->size_bytes)
                : fail_too_large(store, block->size_bytes);
    if (r == 0) {
        pthread_mutex_lock(&store->lock);
        block->arriving = extent;
        pthread_mutex_unlock(&store->lock);
        r = read_to(block, rayi_extent_data(store, extent), deadline_ns);
    }
    pthread_mutex_lock(&store->lock);
    if (r == 0)
        come_back(block, extent);
    if (end_early(block, extent, r == 0))
        extent = NULL;
    rayi_block_move(block, r ? RAYI_BLOCK_AWAY : RAYI_BLOCK_HERE);
    pthread_cond_broadcast(&store->read);
    pthread_mutex_unlock(&store->lock);
    if (r && extent)
        give_room_back(block, extent);
    return r;
}

/* An AWAY block, under the lock, which it gives up for good. 0: it is pinned; else a code with words. */
static int bring(rayi_block *block, int64_t deadline_ns)
{
    rayi_block_move(block, RAYI_BLOCK_READ);
    pthread_mutex_unlock(&block->store->lock);
    return map_it(block, deadline_ns) ? 0 : copy_it(block, deadline_ns);
}

/* An AWAY block that is perhaps mapped at once; likewise. */
static bool try_bring(rayi_block *block)
{
    rayi_block_move(block, RAYI_BLOCK_READ);
    pthread_mutex_unlock(&block->store->lock);
    if (map_it(block, 0))
        return true;
    pthread_mutex_lock(&block->store->lock);
    rayi_block_move(block, RAYI_BLOCK_AWAY);
    pthread_cond_broadcast(&block->store->read);
    pthread_mutex_unlock(&block->store->lock);
    return false;
}

bool rayi_block_try_pin(rayi_block *block)
{
    if (pin_pinned(block))
        return true;
    pthread_mutex_lock(&block->store->lock);
    bool pinned = pin_here(block);
    const rayi_source *source = rayi_block_source(block);
    if (!pinned && state_of(block) == RAYI_BLOCK_AWAY && source && source->map && !is_lost(block))
        return try_bring(block);
    pthread_mutex_unlock(&block->store->lock);
    return pinned;
}

rayi_early *rayi_block_pin_early(rayi_block *block)
{
    rayi_store *store = block->store;
    pthread_mutex_lock(&store->lock);
    if (block->arriving && !block->early && (block->early = rayi_memory_zalloc(store->memory, sizeof *block->early)))
        block->early->block = block;
    rayi_early *early = block->early;
    if (early)
        early->pins++;
    pthread_mutex_unlock(&store->lock);
    return early;
}

void rayi_early_unpin(rayi_early *early)
{
    rayi_block *block = early->block;
    rayi_store *store = block->store;
    pthread_mutex_lock(&store->lock);
    RAYI_ASSERT(early->pins > 0);
    bool is_here = early->is_here, ends = --early->pins == 0 && early->is_over;
    rayi_extent *extent = ends ? early->extent : NULL;
    if (ends)
        rayi_memory_free(store->memory, early);
    pthread_mutex_unlock(&store->lock);
    if (is_here)
        rayi_block_unpin(block);
    else if (extent)
        give_room_back(block, extent);
}

/* Under the lock, which it gives up meanwhile: until somebody else has brought it, or failed to. */
static int wait_for_other(rayi_block *block, int64_t deadline_ns)
{
    rayi_store *store = block->store;
    const struct timespec until = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    if (rayi_now_ns() >= deadline_ns)
        return rayi_block_source(block) ? RAY_ERR_FETCH_TIMEOUT : RAY_ERR_STORE_FULL;
    if (deadline_ns == INT64_MAX)
        pthread_cond_wait(&store->read, &store->lock);
    else
        (void)pthread_cond_timedwait(&store->read, &store->lock, &until);
    return 0;
}

int rayi_block_pin_until(rayi_block *block, int64_t deadline_ns)
{
    rayi_store *store = block->store;
    int r = 0;
    if (pin_pinned(block))
        return 0;
    pthread_mutex_lock(&store->lock);
    while (r == 0 && !pin_here(block)) {
        if (is_lost(block))
            r = RAY_ERR_SHUTDOWN;
        else if (state_of(block) == RAYI_BLOCK_AWAY)
            return bring(block, deadline_ns);
        else
            r = wait_for_other(block, deadline_ns);
    }
    pthread_mutex_unlock(&store->lock);
    return rayi_grant_fail(store, r, block->size_bytes);
}

int rayi_block_pin(rayi_block *block)
{
    return rayi_block_try_pin(block) ? 0 : rayi_block_pin_until(block, rayi_now_ns() + PIN_PATIENCE_NS);
}

int rayi_block_keep(rayi_block *block)
{
    rayi_store *store = block->store;
    const rayi_source *source;
    void *arg = block->source_arg;
    pthread_mutex_lock(&store->lock);
    source = rayi_block_source(block);
    if (source && (is_away(state_of(block)) || block->foreign)) {
        pthread_mutex_unlock(&store->lock);
        return rayi_fail(RAY_ERR_NOT_FOUND,
                         "an object of %zu bytes cannot be kept: its bytes are on another node, not in this store",
                         block->size_bytes);
    }
    bool waits = source && atomic_load_explicit(&block->pins, memory_order_relaxed) == 0;
    if (waits)
        DL_DELETE(store->fetchable, block);
    atomic_store_explicit(&block->source, NULL, memory_order_relaxed);
    if (waits)
        DL_APPEND(store->candidates, block);
    pthread_mutex_unlock(&store->lock);
    if (source)
        source->forget(arg);
    return 0;
}

/* --- counts ------------------------------------------------------------------------------------------------------- */

rayi_block *rayi_block_ref(rayi_block *block)
{
    uint32_t refs = atomic_fetch_add_explicit(&block->refs, 1, memory_order_relaxed);
    RAYI_ASSERT(refs > 0 && refs < UINT32_MAX);
    return block;
}

/* Takes the block out of all lists and sums; returns the pages to give back. Under the lock. */
static size_t leave_store(rayi_block *block, rayi_eviction *gone)
{
    rayi_store *store = block->store;
    rayi_block_state state = state_of(block);
    RAYI_ASSERT(state != RAYI_BLOCK_WRITTEN && state != RAYI_BLOCK_READ); /* whoever does that has a count */
    store->num_blocks--;
    if (state == RAYI_BLOCK_AWAY) {
        rayi_block_count_away(block, false);
        return 0;
    }
    bool pinned = state == RAYI_BLOCK_OPEN || block->spoiled;
    RAYI_ASSERT(atomic_load_explicit(&block->pins, memory_order_relaxed) == pinned);
    if (pinned)
        rayi_grant_unpinned(store, block->charged_pages);
    else
        DL_DELETE(*list_of(block), block);
    if (block->copy.file)
        rayi_evict_remove_copied(block);
    store->num_here--;
    if (block->spoiled)
        rayi_arena_spoil(block->extent, gone);
    else
        rayi_arena_put(block->extent, gone);
    return block->charged_pages;
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
    const rayi_source *source = rayi_block_source(block);
    void *source_arg = block->source_arg;
    rayi_eviction gone = {0};
    if (block->copy.file) /* whoever may add a copy has a count; who finds the block on disk now does not read it */
        rayi_spill_drop(store->spill, &block->copy, block->size_bytes);
    pthread_mutex_lock(&store->lock);
    size_t charge = leave_store(block, &gone);
    rayi_memory_free(store->memory, block);
    if (charge > 0)
        rayi_grant_return(store, charge);
    rayi_store_unlock_and_drop(store, &gone);
    if (source)
        source->forget(source_arg);
}
