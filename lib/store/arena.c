/* Arenas: where pages come from, and how they go back to the system.
 *
 * Whoever takes pages has been granted them, so they are always found: in warm room of the arena, in its cold room, or
 * in a new segment, since addresses are not what is scarce. If the touched pages of all arenas then exceed the
 * capacity, warm room elsewhere goes back to the system: that of closed arenas first, which nobody will use, then that
 * of the arena that has the most.
 *
 * An arena lasts while it has an owner, a call under way or a segment; it has a hold on its store. System calls happen
 * outside the lock: what goes is marked as used meanwhile, or no longer in any list. */
#include "store/inside.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define WORKER_SEGMENT_BYTES ((size_t)8 << 20)
#define LARGEST_STEP_BYTES   ((size_t)64 << 20)
#define EXTRA_BYTES          ((size_t)256 << 10) /* for the NULs: 64 objects of 1 MiB fit, or 1 of 64 */

char *rayi_extent_data(const rayi_store *store, const rayi_extent *extent)
{
    return extent->segment->base + extent->first_page * store->page_bytes;
}

void rayi_arena_init(rayi_arena *arena, rayi_store *store, size_t segment_bytes)
{
    *arena = (rayi_arena){.store = store, .segment_bytes = segment_bytes, .holds = 1};
    rayi_room_init(&arena->room, store->memory, store->page_bytes, &store->sums);
    DL_APPEND(store->arenas, arena);
}

int rayi_arena_new(rayi_store *store, rayi_arena **out)
{
    rayi_arena *arena = rayi_memory_zalloc(store->memory, sizeof *arena);
    if (!arena)
        return rayi_fail(RAY_ERR_NO_MEMORY, "no memory for an arena of the object store");
    size_t whole = (size_t)rayi_store_bytes(store, store->limit_pages);
    pthread_mutex_lock(&store->lock);
    rayi_arena_init(arena, store, RAYI_MIN(WORKER_SEGMENT_BYTES, whole));
    store->holds++;
    pthread_mutex_unlock(&store->lock);
    *out = arena;
    return 0;
}

/* The caller has a hold on the store besides the arena's. */
static void end_if_over(rayi_arena *arena)
{
    rayi_store *store = arena->store;
    if (arena->holds > 0 || arena->room.segments)
        return;
    RAYI_ASSERT(arena != &store->own && store->holds > 1);
    DL_DELETE(store->arenas, arena);
    store->holds--;
    rayi_memory_free(store->memory, arena);
}

void rayi_arena_drop(rayi_arena *arena)
{
    arena->holds--;
    end_if_over(arena);
}

/* --- room that goes back to the system ---------------------------------------------------------------------------- */

static rayi_arena *arena_of(const rayi_segment *segment)
{
    return rayi_container_of(segment->room, rayi_arena, room);
}

/* After room became free: a segment that holds nothing any more, or nothing but warm room that nobody will use. */
static void detach_if_idle(rayi_segment *segment, rayi_eviction *out)
{
    rayi_arena *arena = arena_of(segment);
    if (!rayi_segment_is_idle(segment) || (segment->warm_pages > 0 && !arena->closed))
        return;
    rayi_room_detach(&arena->room, segment, out);
    end_if_over(arena);
}

static void detach_idle(rayi_arena *arena, rayi_eviction *out)
{
    arena->holds++; /* it would go with its last segment, and the list is read on */
    for (rayi_segment *segment = arena->room.segments, *next; segment; segment = next) {
        next = segment->next;
        detach_if_idle(segment, out);
    }
    rayi_arena_drop(arena);
}

void rayi_arena_detach_idle(rayi_store *store, rayi_eviction *out)
{
    for (rayi_arena *arena = store->arenas, *next; arena; arena = next) {
        next = arena->next;
        detach_idle(arena, out);
    }
}

void rayi_arena_put(rayi_extent *extent, rayi_eviction *out)
{
    rayi_segment *segment = extent->segment;
    rayi_room_put(segment->room, extent, RAYI_EXTENT_WARM);
    detach_if_idle(segment, out);
}

void rayi_arena_spoil(rayi_extent *extent, rayi_eviction *out)
{
    rayi_segment *segment = extent->segment;
    segment->spoiled_pages += extent->num_pages;
    detach_if_idle(segment, out);
}

static void free_segments(rayi_store *store, rayi_eviction *gone)
{
    while (gone->segments) {
        rayi_segment *segment = gone->segments;
        gone->segments = segment->next;
        if (store->segment_gone)
            store->segment_gone(store->segment_gone_arg, segment->number);
        rayi_segment_free(store->memory, segment);
    }
}

void rayi_arena_give_back(rayi_store *store, rayi_eviction *gone)
{
    free_segments(store, gone);
    if (!gone->extents)
        return;
    for (rayi_extent *extent = gone->extents; extent; extent = extent->next)
        extent->cold = rayi_segment_forget(extent->segment, extent->first_page * store->page_bytes,
                                           extent->num_pages * store->page_bytes);
    pthread_mutex_lock(&store->lock);
    while (gone->extents) {
        rayi_extent *extent = gone->extents;
        rayi_segment *segment = extent->segment;
        gone->extents = extent->next;
        rayi_room_put(segment->room, extent, extent->cold ? RAYI_EXTENT_COLD : RAYI_EXTENT_WARM);
        detach_if_idle(segment, gone);
    }
    pthread_mutex_unlock(&store->lock);
    free_segments(store, gone);
}

/* Whose warm room is missed the least; NULL: there is none. */
static rayi_arena *warmest(rayi_store *store)
{
    rayi_arena *best = NULL;
    for (rayi_arena *arena = store->arenas; arena; arena = arena->next) {
        if (arena->room.warm_pages == 0)
            continue;
        if (arena->closed)
            return arena;
        if (!best || arena->room.warm_pages > best->room.warm_pages)
            best = arena;
    }
    return best;
}

static size_t evict_warm(rayi_store *store, size_t pages, rayi_eviction *out)
{
    size_t gone = 0;
    rayi_arena *arena;
    while (gone < pages && (arena = warmest(store))) {
        gone += rayi_room_evict(&arena->room, pages - gone, out);
        end_if_over(arena);
    }
    return gone;
}

void rayi_arena_evict_excess(rayi_store *store, rayi_eviction *out)
{
    size_t touched = store->sums.used_pages + store->sums.warm_pages;
    size_t allowed = store->limit_pages + store->most_here;
    if (touched > allowed)
        evict_warm(store, touched - allowed, out);
}

/* Under the lock. */
static size_t cool(rayi_store *store, size_t pages, rayi_eviction *out)
{
    size_t least = 0, gone = 0;
    for (rayi_arena *arena = store->arenas; arena; arena = arena->next)
        least += arena->room.least_warm_pages;
    pages = RAYI_MIN(pages, least > store->keep_warm_pages ? least - store->keep_warm_pages : 0);
    for (rayi_arena *arena = store->arenas, *next; arena && gone < pages; arena = next) {
        next = arena->next;
        gone += rayi_room_cool(&arena->room, pages - gone, out);
        end_if_over(arena);
    }
    return gone;
}

void rayi_arena_look(rayi_store *store)
{
    store->sums.look++;
    for (rayi_arena *arena = store->arenas; arena; arena = arena->next)
        arena->room.least_warm_pages = arena->room.warm_pages;
}

rayi_coolness rayi_store_cool(rayi_store *store, uint64_t most_bytes)
{
    rayi_eviction gone = {0};
    rayi_coolness r = RAYI_COOLING;
    pthread_mutex_lock(&store->lock);
    if (cool(store, (size_t)RAYI_MIN(most_bytes / store->page_bytes, (uint64_t)SIZE_MAX), &gone) == 0) {
        rayi_arena_look(store);
        store->told_warm = store->sums.warm_pages > store->keep_warm_pages;
        r = store->told_warm ? RAYI_WARM : RAYI_COOL;
    }
    pthread_mutex_unlock(&store->lock);
    rayi_arena_give_back(store, &gone);
    return r;
}

uint64_t rayi_store_trim(rayi_store *store, uint64_t keep_bytes)
{
    rayi_eviction gone = {0};
    pthread_mutex_lock(&store->lock);
    size_t keep_pages = (size_t)RAYI_MIN(keep_bytes / store->page_bytes, (uint64_t)SIZE_MAX);
    size_t warm_pages = store->sums.warm_pages;
    size_t pages = warm_pages > keep_pages ? evict_warm(store, warm_pages - keep_pages, &gone) : 0;
    rayi_arena_detach_idle(store, &gone); /* one that was made for a thread that found room elsewhere meanwhile */
    pthread_mutex_unlock(&store->lock);
    rayi_arena_give_back(store, &gone);
    return rayi_store_bytes(store, pages);
}

void rayi_arena_close(rayi_arena *arena)
{
    if (!arena)
        return;
    rayi_store *store = arena->store;
    rayi_eviction gone = {0};
    pthread_mutex_lock(&store->lock);
    store->holds++;
    arena->closed = true;
    rayi_grant_stir(store);
    detach_idle(arena, &gone);
    rayi_arena_drop(arena);
    rayi_store_unlock_and_drop(store, &gone);
}

void rayi_arena_hold(rayi_arena *arena)
{
    pthread_mutex_lock(&arena->store->lock);
    arena->holds++;
    pthread_mutex_unlock(&arena->store->lock);
}

void rayi_arena_unhold(rayi_arena *arena)
{
    if (!arena)
        return;
    rayi_store *store = arena->store;
    rayi_eviction gone = {0};
    pthread_mutex_lock(&store->lock);
    store->holds++;
    rayi_arena_drop(arena);
    rayi_store_unlock_and_drop(store, &gone);
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

/* A new segment in which so many pages fit. 0 or an errno. */
static int make_segment(rayi_arena *arena, size_t pages)
{
    rayi_store *store = arena->store;
    size_t size_bytes = RAYI_MAX(arena->segment_bytes + EXTRA_BYTES, pages * store->page_bytes);
    rayi_segment *segment;
    rayi_extent *extent = rayi_memory_zalloc(store->memory, sizeof *extent);
    if (!extent)
        return ENOMEM;
    int r = rayi_segment_new(store->memory, size_bytes, &segment);
    if (r) {
        rayi_memory_free(store->memory, extent);
        return r;
    }
    pthread_mutex_lock(&store->lock);
    segment->number = ++store->last_segment;
    rayi_room_add(&arena->room, segment, extent);
    if (arena != &store->own &&
        arena->segment_bytes < LARGEST_STEP_BYTES) /* a process that needs much gets fewer, larger ones */
        arena->segment_bytes *= 2;
    pthread_mutex_unlock(&store->lock);
    return 0;
}

/* Descriptors or addresses may have run out while segments lie idle. */
static int grow(rayi_arena *arena, size_t pages)
{
    int r = make_segment(arena, pages);
    if (r && rayi_store_trim(arena->store, 0) > 0)
        r = make_segment(arena, pages);
    if (r == 0)
        return 0;
    return r == ENOMEM ? RAY_ERR_NO_MEMORY
                       : rayi_fail(RAY_ERR_SYSTEM, "cannot make a segment for %zu bytes of the object store: %s",
                                   pages * arena->store->page_bytes, strerror(r));
}

int rayi_arena_take(rayi_arena *arena, size_t pages, rayi_extent **spare, rayi_extent **out)
{
    rayi_store *store = arena->store;
    rayi_extent *extent;
    while (!arena->closed && !(extent = rayi_room_take(&arena->room, pages, spare))) {
        pthread_mutex_unlock(&store->lock);
        int r = grow(arena, pages);
        pthread_mutex_lock(&store->lock);
        if (r)
            return r;
    }
    if (arena->closed)
        return RAY_ERR_SHUTDOWN;
    *out = extent;
    return 0;
}

/* --- segments for other processes --------------------------------------------------------------------------------- */

static rayi_segment *find_segment(rayi_store *store, uint64_t number)
{
    for (rayi_arena *arena = store->arenas; arena; arena = arena->next)
        for (rayi_segment *segment = arena->room.segments; segment; segment = segment->next)
            if (segment->number == number)
                return segment;
    return NULL;
}

static int fail_share(int error)
{
    return rayi_fail(RAY_ERR_SYSTEM, "cannot open a segment of the object store for another process: %s",
                     strerror(error));
}

static int share_foreign(rayi_foreign *foreign, int *fd)
{
    int r = rayi_foreign_share(foreign, fd);
    rayi_foreign_unref(foreign);
    return r ? fail_share(r) : 0;
}

int rayi_store_share(rayi_store *store, uint64_t number, bool writable, int *fd)
{
    rayi_eviction gone = {0};
    int r = 0;
    pthread_mutex_lock(&store->lock);
    rayi_segment *segment = find_segment(store, number);
    rayi_foreign *foreign = segment ? NULL : rayi_foreign_find(store, number);
    if (foreign) {
        pthread_mutex_unlock(&store->lock);
        return share_foreign(foreign, fd);
    }
    if (!segment) {
        pthread_mutex_unlock(&store->lock);
        return rayi_fail(RAY_ERR_NOT_FOUND, "the object store has no segment %" PRIu64 " any more", number);
    }
    store->holds++;
    segment->num_guests++;
    pthread_mutex_unlock(&store->lock);
    r = rayi_segment_open(segment, writable, fd);
    pthread_mutex_lock(&store->lock);
    segment->num_guests--;
    detach_if_idle(segment, &gone);
    rayi_store_unlock_and_drop(store, &gone);
    return r ? fail_share(r) : 0;
}
