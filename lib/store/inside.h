/* What the files of store share with each other and nobody else. Where no lock is named, all under store->lock. */
#ifndef RAYI_STORE_INSIDE_H
#define RAYI_STORE_INSIDE_H

#include "store/room.h"
#include "store/spill.h"
#include "store/store.h"

#include <pthread.h>

/* What a block's bytes are doing. block.c has the edges. */
typedef enum rayi_block_state {
    RAYI_BLOCK_OPEN,    /* its maker writes them: in memory, with the maker's pin */
    RAYI_BLOCK_HERE,    /* sealed, in memory; with a pin, if that is another process's */
    RAYI_BLOCK_WRITTEN, /* in memory; somebody writes them to disk and holds a count meanwhile */
    RAYI_BLOCK_AWAY,    /* not in memory: on disk, or wherever its source has them */
    RAYI_BLOCK_READ,    /* the same; somebody brings them, with a count of the caller's */
} rayi_block_state;

struct rayi_block {
    rayi_store *store;
    rayi_extent *extent;   /* NULL: not in memory of ours */
    rayi_foreign *foreign; /* in this segment, not counted: its source keeps it until unmap; then it counts no pages */
    char *data;            /* of the extent, or in foreign */
    rayi_early *early;     /* while READ with room: who reads it already */
    rayi_extent *arriving; /* that room */
    bool spoiled;          /* one of its pins is for ever */
    size_t size_bytes, charged_pages;
    _Atomic uint32_t refs;
    _Atomic uint32_t pins;               /* goes from and to 0 under the lock, up and down from 1 without */
    _Atomic rayi_block_state state;      /* changes under the lock */
    bool wanted;                         /* was pinned while it was written: it stays */
    rayi_spilled copy;                   /* on disk; lasts, unless the disk is full; none with a source */
    _Atomic(const rayi_source *) source; /* NULL: none; goes under the lock, while the bytes are here */
    void *source_arg;
    rayi_block *prev, *next;               /* of the candidates, while HERE and not pinned */
    rayi_block *copied_prev, *copied_next; /* of those in memory with a copy */
};

struct rayi_early {
    rayi_block *block;
    rayi_extent *extent; /* once the fetch has failed: the room, which goes with the last pin */
    uint32_t pins;
    bool is_over, is_here; /* the fetch is; is_here: its pins are the block's now */
};

struct rayi_foreign {
    rayi_store *store; /* which it has a hold on */
    rayi_foreign *prev, *next;
    uint32_t refs;
    int fd;
    uint64_t number;
    size_t size_bytes, unmapped_bytes; /* unmapped_bytes: of its end */
    char *base;
};

struct rayi_arena {
    rayi_store *store;
    rayi_arena *prev, *next;
    rayi_room room;
    size_t segment_bytes; /* of its next segment */
    size_t holds;         /* calls that take room in it */
    bool closed;
};

typedef struct rayi_waiter {
    struct rayi_waiter *prev, *next;
    pthread_cond_t wake;
    const rayi_arena *arena;
    size_t pages;
    bool granted;
    bool stirred; /* it is to look again, even if it was not asleep */
} rayi_waiter;

/* Of blocks: how many, and their sizes. */
typedef struct rayi_tally {
    uint64_t num, bytes;
} rayi_tally;

struct rayi_store {
    const rayi_memory *memory;
    size_t page_bytes, limit_pages;
    rayi_spill *spill; /* NULL: never */
    void (*segment_gone)(void *arg, uint64_t segment);
    void *segment_gone_arg;
    bool (*warm)(void *arg);
    void *warm_arg;
    size_t keep_warm_pages;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t read;  /* a block is READ no longer, or those who wait for that give up */
    rayi_room_sums sums;
    rayi_arena own, *arenas; /* the list has own, too */
    rayi_block *candidates;  /* for spilling, the one to go first ahead */
    rayi_block *fetchable;   /* the same of those that have a source: all of them go before any candidate */
    rayi_block *copied;      /* blocks in memory with a copy on disk */
    rayi_waiter *waiters;    /* oldest first */
    uint64_t last_segment;
    size_t used_pages, peak_pages, pinned_pages, wanted_pages, written_pages;
    size_t num_blocks, num_here, most_here, holds;
    uint64_t written_bytes;
    rayi_tally spilled, far;      /* not in memory now: on disk, with a source */
    rayi_tally restored, fetched; /* brought from there so far */
    rayi_tally mapped;            /* in segments of other processes now */
    rayi_foreign *foreigns;
    bool cancelled, closed;
    bool told_warm;  /* and whoever was told calls rayi_store_cool */
    bool files_gone; /* what is on disk is lost, and nothing goes there any more */
};

static inline size_t rayi_store_pages(const rayi_store *store, size_t size_bytes)
{
    return (size_bytes + store->page_bytes - 1) / store->page_bytes;
}
static inline size_t rayi_store_charge(const rayi_store *store, size_t size_bytes)
{
    return RAYI_MAX(rayi_store_pages(store, size_bytes), (size_t)1);
}
static inline uint64_t rayi_store_bytes(const rayi_store *store, size_t pages)
{
    return (uint64_t)pages * store->page_bytes;
}

/* From there on a block that has a source and is not in memory has no way back. */
static inline bool rayi_store_fetches_no_more(const rayi_store *store)
{
    return store->cancelled || store->files_gone;
}

/* ---- store.c ---- */

/* Drops one hold; unlocks; lets go of what was evicted; the last one ends the store. */
void rayi_store_unlock_and_drop(rayi_store *store, rayi_eviction *gone);

/* ---- arena.c: pages ---- */

void rayi_arena_init(rayi_arena *arena, rayi_store *store, size_t segment_bytes);
/* Gives up the lock meanwhile; the pages are granted. 0, NO_MEMORY without a message, SYSTEM, SHUTDOWN. */
int rayi_arena_take(rayi_arena *arena, size_t pages, rayi_extent **spare, rayi_extent **out);
char *rayi_extent_data(const rayi_store *store, const rayi_extent *extent);
/* Frees an extent as warm; its segment may be idle then. */
void rayi_arena_put(rayi_extent *extent, rayi_eviction *out);
/* It stays as it is, of no block any more, until its segment goes whole. */
void rayi_arena_spoil(rayi_extent *extent, rayi_eviction *out);
void rayi_arena_drop(rayi_arena *arena); /* one of its holds */
/* One more extent is in use by a block; its leaving is num_here--. */
static inline void rayi_arena_count(rayi_store *store)
{
    store->num_here++;
    store->most_here = RAYI_MAX(store->most_here, store->num_here);
}
/* Chooses the warm pages that go since pages in use and warm ones are more than the capacity (and the NULs) allow. */
void rayi_arena_evict_excess(rayi_store *store, rayi_eviction *out);
/* From here on it is seen what stays warm. */
void rayi_arena_look(rayi_store *store);
void rayi_arena_detach_idle(rayi_store *store, rayi_eviction *out);
/* Without the lock, but with a hold on the store. */
void rayi_arena_give_back(rayi_store *store, rayi_eviction *gone);

/* ---- grant.c: capacity ---- */

/* May give up the lock meanwhile. 0, STORE_FULL and SHUTDOWN without a message, DISK_FULL with one. It makes room by
 * dropping what was fetched and, with spills, by writing. */
int rayi_grant_get(rayi_store *store, const rayi_arena *arena, size_t pages, int64_t deadline_ns, bool spills);
void rayi_grant_return(rayi_store *store, size_t pages);
void rayi_grant_stir(rayi_store *store); /* those who wait look again: a candidate has appeared, or it is over */
void rayi_grant_unpinned(rayi_store *store,
                         size_t pages); /* so many more may be written, or have gone; under the lock */
/* The words for what rayi_grant_get, rayi_arena_take or a wait for another's pin found; without the lock. */
int rayi_grant_fail(rayi_store *store, int r, size_t size_bytes);

/* ---- foreign.c ---- */

/* Another count on the one of this number; NULL: there is none. Under the lock. */
rayi_foreign *rayi_foreign_find(rayi_store *store, uint64_t number);
int rayi_foreign_share(rayi_foreign *foreign, int *fd); /* 0 or an errno */

/* ---- evict.c: out of memory ---- */

/* Makes so many pages free or as many as can be without waiting, and gives up the lock meanwhile. How many; less than
 * wanted may have gone for all sorts of reasons; 0 with *failed: a code with words, nothing could be written. */
size_t rayi_evict(rayi_store *store, size_t wanted_pages, int *failed);
/* The same without I/O: takes the bytes of blocks that can be fetched again, unless that is over. */
size_t rayi_evict_fetched(rayi_store *store, size_t wanted_pages);

/* A block in memory has a copy on disk now, or goes. */
void rayi_evict_add_copied(rayi_block *block);
void rayi_evict_remove_copied(rayi_block *block);

/* ---- block.c ---- */

void rayi_block_move(rayi_block *block, rayi_block_state to); /* asserts the edge */
/* It is not in memory from here on, or (false) no longer. */
void rayi_block_count_away(rayi_block *block, bool away);
static inline const rayi_source *rayi_block_source(const rayi_block *block)
{
    return atomic_load_explicit(&block->source, memory_order_relaxed);
}

#endif
