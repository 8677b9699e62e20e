/* Out of memory: which blocks go, and how.
 *
 * What was fetched and nobody has pinned goes first, the least recently unpinned ahead: its source has the bytes. That
 * takes neither I/O nor patience, so it is done for those, too, who don't wait. No more of it goes than is wanted.
 *
 * The rest goes to disk. Candidates are sealed blocks that nobody has pinned, the least recently unpinned ahead. One
 * whose bytes are on disk already goes at once. Any other is written first, outside the lock, by a thread that holds a
 * count on it: meanwhile it can be read, and if somebody did, it stays, with its copy. What could not be written stays,
 * too, ahead of the others as before.
 *
 * When the disk refuses more, copies of blocks that are in memory give way: those that nobody reads go from memory,
 * whatever their turn, and those that are pinned give up the copy. */
#include "store/inside.h"

enum {
    BATCH = 64,
    BATCH_BYTES = 16 << 20,
    LEAST_BYTES = 1 << 20 /* fewer are not worth a call: the room will soon be wanted */
};

typedef struct batch {
    rayi_block *blocks[BATCH];
    rayi_spilled copies[BATCH];
    size_t count, written, pages;
} batch;

/* A count, unless the last one is gone: whoever dropped that waits for the lock to free the block. */
static bool try_ref(rayi_block *block)
{
    uint32_t refs = atomic_load_explicit(&block->refs, memory_order_relaxed);
    while (refs > 0)
        if (atomic_compare_exchange_weak_explicit(&block->refs, &refs, refs + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void rayi_evict_add_copied(rayi_block *block)
{
    DL_APPEND2(block->store->copied, block, copied_prev, copied_next);
}

void rayi_evict_remove_copied(rayi_block *block)
{
    DL_DELETE2(block->store->copied, block, copied_prev, copied_next);
}

/* Its bytes are on disk or with its source, and nobody reads them. Returns the pages it counted, which the caller
 * returns. */
static size_t leave(rayi_store *store, rayi_block *block, rayi_eviction *gone)
{
    if (block->copy.file)
        rayi_evict_remove_copied(block);
    rayi_arena_put(block->extent, gone);
    block->extent = NULL;
    block->data = NULL;
    store->num_here--;
    rayi_block_count_away(block, true);
    rayi_block_move(block, RAYI_BLOCK_AWAY);
    return block->charged_pages;
}

size_t rayi_evict_fetched(rayi_store *store, size_t wanted_pages)
{
    rayi_eviction gone = {0};
    size_t freed = 0;
    while (freed < wanted_pages && store->fetchable && !rayi_store_fetches_no_more(store)) {
        rayi_block *block = store->fetchable;
        DL_DELETE(store->fetchable, block);
        freed += leave(store, block, &gone);
    }
    if (freed > 0)
        rayi_grant_return(store, freed);
    if (gone.segments) {
        pthread_mutex_unlock(&store->lock);
        rayi_arena_give_back(store, &gone);
        pthread_mutex_lock(&store->lock);
    }
    return freed;
}

/* Candidates from the oldest on: gathers those to write, lets go of those that are on disk; returns their pages. */
static size_t choose(rayi_store *store, size_t wanted_pages, batch *out, rayi_eviction *gone)
{
    size_t freed = 0;
    for (rayi_block *block = store->candidates, *next;
         block && freed + out->pages < wanted_pages && out->count < BATCH &&
         rayi_store_bytes(store, out->pages) < BATCH_BYTES;
         block = next) {
        next = block->next;
        if (!block->copy.file && !try_ref(block))
            continue;
        DL_DELETE(store->candidates, block);
        if (block->copy.file) {
            freed += leave(store, block, gone);
            continue;
        }
        rayi_block_move(block, RAYI_BLOCK_WRITTEN);
        block->wanted = false;
        out->pages += block->charged_pages;
        out->blocks[out->count++] = block;
    }
    return freed;
}

/* Lets go of candidates that are on disk already. */
static size_t free_written(rayi_store *store, size_t wanted_pages, rayi_eviction *gone)
{
    size_t freed = 0;
    for (rayi_block *block = store->candidates, *next; block && freed < wanted_pages; block = next) {
        next = block->next;
        if (!block->copy.file)
            continue;
        DL_DELETE(store->candidates, block);
        freed += leave(store, block, gone);
    }
    return freed;
}

static int write_all(rayi_store *store, batch *of)
{
    rayi_spill_part parts[BATCH];
    int r = 0;
    for (size_t i = 0; i < of->count; i++)
        parts[i] = (rayi_spill_part){.data = of->blocks[i]->data, .size_bytes = of->blocks[i]->size_bytes};
    while (r == 0 && of->written < of->count) {
        size_t at = of->written, written;
        r = rayi_spill_write(store->spill, parts + at, of->count - at, of->copies + at, &written);
        of->written += written;
    }
    return r;
}

/* Takes the copies of pinned blocks away; gives up the lock meanwhile. Was there any? */
static bool drop_copies(rayi_store *store)
{
    rayi_block *blocks[BATCH];
    rayi_spilled copies[BATCH];
    size_t count = 0;
    for (rayi_block *block = store->copied, *next; block && count < BATCH; block = next) {
        next = block->copied_next;
        if (atomic_load_explicit(&block->pins, memory_order_relaxed) == 0 || !try_ref(block))
            continue;
        rayi_evict_remove_copied(block);
        copies[count] = block->copy;
        block->copy = (rayi_spilled){0};
        blocks[count++] = block;
    }
    if (count == 0)
        return false;
    pthread_mutex_unlock(&store->lock);
    for (size_t i = 0; i < count; i++) {
        rayi_spill_drop(store->spill, &copies[i], blocks[i]->size_bytes);
        rayi_block_unref(blocks[i]);
    }
    pthread_mutex_lock(&store->lock);
    return true;
}

/* What has become of a block of the batch; returns the pages that its leaving freed. */
static size_t settle(rayi_store *store, batch *of, size_t index, rayi_eviction *gone)
{
    rayi_block *block = of->blocks[index];
    bool pinned = atomic_load_explicit(&block->pins, memory_order_relaxed) > 0;
    if (index < of->written) {
        block->copy = of->copies[index];
        rayi_evict_add_copied(block);
        store->written_bytes += block->size_bytes;
        if (!pinned && !block->wanted && !store->files_gone)
            return leave(store, block, gone);
    }
    rayi_block_move(block, RAYI_BLOCK_HERE);
    if (pinned)
        return 0;
    if (index < of->written)
        DL_APPEND(store->candidates, block);
    else
        DL_PREPEND(store->candidates, block);
    return 0;
}

/* From the last to the first, so that those that come back to the head are in order. */
static size_t settle_all(rayi_store *store, batch *of, rayi_eviction *gone)
{
    size_t freed = 0;
    for (size_t i = of->count; i-- > 0;)
        freed += settle(store, of, i, gone);
    return freed;
}

static size_t spill(rayi_store *store, size_t wanted_pages, int *failed)
{
    batch chosen;
    rayi_eviction gone = {0};
    *failed = 0;
    if (!store->spill || store->files_gone)
        return 0;
    chosen.count = chosen.written = chosen.pages = 0;
    size_t freed = choose(store, wanted_pages, &chosen, &gone);
    int r = 0;
    if (chosen.count > 0) {
        store->written_pages += chosen.pages;
        pthread_mutex_unlock(&store->lock);
        r = write_all(store, &chosen);
        pthread_mutex_lock(&store->lock);
        store->written_pages -= chosen.pages;
        freed += settle_all(store, &chosen, &gone);
        if (r && freed < wanted_pages && !store->files_gone)
            freed += free_written(store, wanted_pages - freed, &gone);
    }
    if (freed > 0)
        rayi_grant_return(store, freed);
    if (freed < chosen.pages)
        rayi_grant_stir(store); /* others may have relied on it */
    if (chosen.count > 0 || gone.segments) {
        pthread_mutex_unlock(&store->lock);
        rayi_arena_give_back(store, &gone);
        for (size_t i = 0; i < chosen.count; i++)
            rayi_block_unref(chosen.blocks[i]);
        pthread_mutex_lock(&store->lock);
    }
    *failed = freed > 0 ? 0 : r;
    return freed;
}

size_t rayi_evict(rayi_store *store, size_t wanted_pages, int *failed)
{
    size_t least = RAYI_MIN(LEAST_BYTES / store->page_bytes, store->limit_pages / 16);
    size_t freed = rayi_evict_fetched(store, wanted_pages);
    *failed = 0;
    if (freed > 0)
        return freed;
    wanted_pages = RAYI_MAX(wanted_pages, least);
    freed = spill(store, wanted_pages, failed);
    if (*failed == RAY_ERR_DISK_FULL && drop_copies(store))
        freed = spill(store, wanted_pages, failed);
    return freed;
}
