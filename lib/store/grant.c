/* Capacity: who may have room, and who waits for it.
 *
 * Capacity is granted before pages are looked for, in pages that the block counts. Freed room is granted by the thread
 * that frees it, to the oldest waiter that it is enough for: neither can a newcomer take it first, nor does one that
 * waits for much hold up those that need little (which may be what it waits for).
 *
 * A waiter makes room itself, its own share of what all waiters want beyond what is free or being written already;
 * several do at once. It sleeps when there is nothing to drop or to write: what frees room grants it, what makes a
 * candidate or leaves more to be written (an unpin, a seal, a shrink, the end of an open block, a write that came to
 * nothing) stirs it, asleep or not: it gives up the lock to write, and looks again. If the disk refuses it tries again
 * ten times a second until its deadline: files may go meanwhile. */
#include "store/inside.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { TRY_AGAIN_NS = 100000000 };

static bool grant(rayi_store *store, size_t pages)
{
    if (pages > store->limit_pages - store->used_pages)
        return false;
    store->used_pages += pages;
    store->peak_pages = RAYI_MAX(store->peak_pages, store->used_pages);
    return true;
}

void rayi_grant_return(rayi_store *store, size_t pages)
{
    store->used_pages -= pages;
    for (rayi_waiter *each = store->waiters, *next; each && store->used_pages < store->limit_pages; each = next) {
        next = each->next;
        if (!grant(store, each->pages))
            continue;
        each->granted = true;
        store->wanted_pages -= each->pages;
        DL_DELETE(store->waiters, each);
        pthread_cond_signal(&each->wake);
    }
}

void rayi_grant_stir(rayi_store *store)
{
    for (rayi_waiter *each = store->waiters; each; each = each->next) {
        each->stirred = true;
        pthread_cond_signal(&each->wake);
    }
}

void rayi_grant_unpinned(rayi_store *store, size_t pages)
{
    store->pinned_pages -= pages;
    rayi_grant_stir(store);
}

static void init_waiter(rayi_waiter *self, const rayi_arena *arena, size_t pages)
{
    pthread_condattr_t attributes;
    *self = (rayi_waiter){.arena = arena, .pages = pages};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&self->wake, &attributes);
    pthread_condattr_destroy(&attributes);
}

static void sleep_until(rayi_store *store, rayi_waiter *self, int64_t until_ns)
{
    const struct timespec until = {.tv_sec = until_ns / 1000000000, .tv_nsec = until_ns % 1000000000};
    if (until_ns == INT64_MAX)
        pthread_cond_wait(&self->wake, &store->lock);
    else
        (void)pthread_cond_timedwait(&self->wake, &store->lock, &until);
}

/* Evicts this waiter's share of what is missing. Was anything freed? */
static bool make_room(rayi_store *store, const rayi_waiter *self, int *failed)
{
    size_t coming = store->limit_pages - store->used_pages + store->written_pages;
    *failed = 0;
    if (store->wanted_pages <= coming || self->pages > store->limit_pages - store->pinned_pages)
        return false; /* others are at it, or nothing that could be written would be enough */
    return rayi_evict(store, RAYI_MIN(store->wanted_pages - coming, self->pages), failed) > 0;
}

static bool is_over(const rayi_store *store, const rayi_waiter *self)
{
    return store->cancelled || self->arena->closed;
}

/* A look at what can go, and a nap; until granted, over or late. */
static int wait_in_line(rayi_store *store, rayi_waiter *self, int64_t deadline_ns)
{
    int failed = 0;
    int64_t try_ns = 0, now;
    while (!self->granted && !is_over(store, self)) {
        self->stirred = false;
        now = rayi_now_ns();
        if (now >= try_ns) {
            if (make_room(store, self, &failed) || self->granted || is_over(store, self))
                continue;
            now = rayi_now_ns();
            try_ns = failed ? now + TRY_AGAIN_NS : 0;
        }
        if (now >= deadline_ns)
            break;
        if (self->stirred && !failed) /* while it wrote, without the lock, what nobody may take now */
            continue;
        sleep_until(store, self, failed ? RAYI_MIN(deadline_ns, try_ns) : deadline_ns);
    }
    return failed;
}

static int wait_for_grant(rayi_store *store, const rayi_arena *arena, size_t pages, int64_t deadline_ns)
{
    rayi_waiter self;
    init_waiter(&self, arena, pages);
    DL_APPEND(store->waiters, &self);
    store->wanted_pages += pages;
    int failed = wait_in_line(store, &self, deadline_ns);
    if (!self.granted) {
        DL_DELETE(store->waiters, &self);
        store->wanted_pages -= pages;
    }
    pthread_cond_destroy(&self.wake);
    if (self.granted)
        return 0;
    if (is_over(store, &self))
        return RAY_ERR_SHUTDOWN;
    if (failed)
        return failed == RAY_ERR_NO_MEMORY ? failed : RAY_ERR_DISK_FULL;
    return RAY_ERR_STORE_FULL;
}

/* Drops what was fetched if that is enough. Others who wait may be granted it first. */
static int grant_at_once(rayi_store *store, size_t pages)
{
    size_t missing = pages - (store->limit_pages - store->used_pages), found = 0;
    for (const rayi_block *block = store->fetchable; block && found < missing; block = block->next)
        found += block->charged_pages;
    if (found >= missing)
        rayi_evict_fetched(store, missing);
    return grant(store, pages) ? 0 : RAY_ERR_STORE_FULL;
}

int rayi_grant_get(rayi_store *store, const rayi_arena *arena, size_t pages, int64_t deadline_ns, bool spills)
{
    if (grant(store, pages))
        return 0;
    if (deadline_ns <= 0 && !spills)
        return grant_at_once(store, pages);
    if (store->cancelled)
        return RAY_ERR_SHUTDOWN;
    return wait_for_grant(store, arena, pages, deadline_ns);
}

int rayi_grant_fail(rayi_store *store, int r, size_t size_bytes)
{
    char words[RAYI_MESSAGE_MAX + 1];
    switch (r) {
    case RAY_ERR_STORE_FULL:
        pthread_mutex_lock(&store->lock);
        uint64_t used_bytes = rayi_store_bytes(store, store->used_pages);
        uint64_t pinned_bytes = rayi_store_bytes(store, store->pinned_pages);
        pthread_mutex_unlock(&store->lock);
        return rayi_fail(r,
                         "no room for %zu bytes in the object store: %" PRIu64 " of %" PRIu64
                         " bytes are used, %" PRIu64 " of them by objects that are being read or written",
                         size_bytes, used_bytes, rayi_store_bytes(store, store->limit_pages), pinned_bytes);
    case RAY_ERR_DISK_FULL:
        snprintf(words, sizeof words, "%s", rayi_error_last_public()->message);
        return rayi_fail(r, "no room for %zu bytes in the object store: %s", size_bytes, words);
    case RAY_ERR_SHUTDOWN:
        return rayi_fail(r,
                         "%zu bytes wait for the object store in vain: the runtime was shut down, or the process that "
                         "they were for has ended",
                         size_bytes);
    case RAY_ERR_NO_MEMORY:
        return rayi_fail(r, "no memory to keep a block of %zu bytes", size_bytes);
    case RAY_ERR_FETCH_TIMEOUT:
        return rayi_fail(r, "an object of %zu bytes did not come from another node in time", size_bytes);
    default: /* it has words */
        return r;
    }
}
