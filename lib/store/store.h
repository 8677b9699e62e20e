/* store: the bytes of objects too large to travel inline, in shared memory, and on disk when there is too little of it,
 * or wherever a source can bring them from.
 *
 * It owns segments (memfds, mapped whole), arenas (the segments that one process may write) and the files that blocks
 * are spilled to; it lends out blocks: one block holds the bytes of one object. Nothing is opened or mapped before the
 * first block, no shared memory ever has a name in a file system, and every descriptor is close-on-exec. The memory
 * handed to rayi_store_new holds the bookkeeping only and outlives the last block.
 *
 * What always holds:
 * - The blocks in memory never count more than the capacity together, whatever arenas they are in. A block counts its
 *   size rounded up to whole pages, one page at least; the capacity is rounded up likewise.
 * - A request that fits into capacity minus used is granted: fragments never stand in its way, because the room that is
 *   scarce is touched pages, not addresses. Touched pages of free room are kept warm for the next block of the same
 *   arena (a first touch costs ten times the copy) and go back to the system when others need them, so that the pages
 *   in use and the warm ones stay within the capacity, too, but for one page for each of the most blocks that there
 *   were at once.
 * - A block's data starts at a page boundary, one byte behind its size is NUL, and it stays where it is while the block
 *   is unsealed or pinned. At other times its room may be taken, least recently unpinned first, once its bytes are on
 *   disk; a pin brings them back, perhaps elsewhere, always into the node's own arena, and checks them.
 * - Bytes that a source brought are in memory only as long as there is room that nobody else wants: whenever some is
 *   wanted, by whoever does not want to wait, too, they are dropped, before anything is written to disk, and never go
 *   there themselves.
 * - Bytes on disk are written once: a block that was restored and is spilled again costs no I/O. Its share of a file
 *   lasts as long as the block, unless the disk is full.
 * - Warm room is taken before cold room, the smallest that fits first.
 *
 * Threads: every function from any thread. The store's table has one lock, never held over a system call; the bytes
 * have none: whoever holds a count and a pin may read them, and until the block is sealed its maker alone writes.
 *
 * Lifetime: a store is closed, not freed. Blocks that outlive it stay valid; the last one takes the rest with it. What
 * is on disk then is gone.
 *
 * Sharing: a segment is a memfd that may not shrink or grow, so it can be handed to a neighbour and mapped there
 * without fear of SIGBUS. F_SEAL_FUTURE_WRITE stays out: it forbids punching holes, too. What a neighbour has mapped
 * stays as it is while its block is pinned here for it, and for good once this process has ended. */
#ifndef RAYI_STORE_H
#define RAYI_STORE_H

#include "base/base.h"

typedef struct rayi_store rayi_store;
typedef struct rayi_block rayi_block;
typedef struct rayi_arena rayi_arena;

/* RAY_ERR_NO_MEMORY. */
int rayi_store_new(const rayi_memory *memory, uint64_t capacity_bytes, rayi_store **out);

/* Every call that waits for room, now or later, fails with RAY_ERR_SHUTDOWN; calls that need not wait go on. No fetch
 * begins any more (the same code); to end one that has begun is its source's business. What was fetched and is in
 * memory stays there. */
void rayi_store_cancel_waits(rayi_store *store);

/* Gives up the caller's hold on the store (NULL: nothing happens): cancels the waits, gives all free room back to the
 * system, removes its files: what is on disk or far can no longer be pinned. No new call may begin on the store; its
 * blocks may be read, sealed, shrunk, pinned, counted. Does not wait. */
void rayi_store_close(rayi_store *store);

/* Where blocks are spilled; before the first block; the text is copied. NULL or "": never, a full store is full. The
 * directory is there and private; files named "spill-NUMBER" in it are the store's. NO_MEMORY. */
int rayi_store_set_spill(rayi_store *store, const char *directory);
/* The same, but the directory is asked for when the first block has to go: it writes a path of fewer than size bytes.
 * 0, or a code with words as the last error; then it is asked again at the next need. NO_MEMORY. */
int rayi_store_set_spill_later(rayi_store *store, int (*ask)(void *arg, char *out, size_t size), void *arg);

/* Removes the files for good: what is on disk only or far can't be pinned any more (RAY_ERR_SHUTDOWN), and nothing is
 * written or dropped. For an owner whose blocks may outlive it by long. */
void rayi_store_end_spilling(rayi_store *store);

/* A block of size_bytes (0 is fine) for one object, with one count, its content undefined. Waits for room until
 * deadline_ns (rayi_now_ns terms; 0: does not wait; INT64_MAX: for ever). Room that is freed goes to the oldest waiter
 * that it is enough for. A caller inside a task gives its CPU back before it waits.
 * With a deadline it spills others to make room, and writes their bytes itself; without one it drops fetched ones.
 * RAY_ERR_STORE_FULL: no room in time, or, at once, larger than the whole store. RAY_ERR_DISK_FULL: the same, and what
 * could go could not be written; the words have the directory and the system's reason. RAY_ERR_NO_MEMORY: heap or
 * addresses. RAY_ERR_SYSTEM: the system refused a segment otherwise (descriptors, file size). RAY_ERR_SHUTDOWN: would
 * have to wait after rayi_store_cancel_waits. */
int rayi_store_alloc(rayi_store *store, size_t size_bytes, int64_t deadline_ns, rayi_block **out);

/* The same, but never waits, and RAY_ERR_STORE_FULL comes without touching the thread's last error: a caller that may
 * wait turns to rayi_store_alloc then, and one that may not calls it with deadline 0 for the message. */
int rayi_store_try_alloc(rayi_store *store, size_t size_bytes, rayi_block **out);

/* ---- arenas: the segments that one process may write ---- */

/* No segment is made before the first block. RAY_ERR_NO_MEMORY. */
int rayi_arena_new(rayi_store *store, rayi_arena **out);
/* Its process is gone: no new block (requests under way fail with RAY_ERR_SHUTDOWN); its segments go with their last
 * block. NULL: nothing happens. */
void rayi_arena_close(rayi_arena *arena);
void rayi_arena_hold(rayi_arena *arena);   /* it may be named until unhold, closed or not */
void rayi_arena_unhold(rayi_arena *arena); /* NULL: nothing happens */
/* As rayi_store_alloc and rayi_store_try_alloc, in this arena; NULL: the node's own. */
int rayi_store_alloc_in(rayi_store *store, rayi_arena *arena, size_t size_bytes, int64_t deadline_ns, rayi_block **out);
int rayi_store_try_alloc_in(rayi_store *store, rayi_arena *arena, size_t size_bytes, rayi_block **out);

typedef struct rayi_place {
    uint64_t segment; /* a number that is never used twice in a store */
    size_t segment_bytes, offset;
} rayi_place;
/* Of an unsealed or pinned block. */
void rayi_block_place(rayi_block *block, rayi_place *out);

/* A new descriptor of a segment, for another process; the caller closes it. NOT_FOUND: it is gone. SYSTEM.
 * writable: not of a segment of another process's store. */
int rayi_store_share(rayi_store *store, uint64_t segment, bool writable, int *fd);
/* Before a segment's memory goes: whoever mapped it unmaps it, nothing in it is in use. Before the first block; told
 * without a lock of the store, on the thread that freed the last block, until the last block is gone. */
void rayi_store_on_segment_gone(rayi_store *store, void (*told)(void *arg, uint64_t segment), void *arg);

/* ---- segments of other processes' stores, mapped to read ---- */

typedef struct rayi_export { /* where a block's bytes are, for another process of this user that sees our pids */
    int32_t fd;              /* of the segment in this process, open as long as the block is pinned */
    uint32_t spare;
    uint64_t device, inode; /* of what is open there: a descriptor's number may be used again */
    uint64_t segment, segment_bytes, offset;
} rayi_export;
/* Of a pinned block. False: it is in another process's segment itself. */
bool rayi_block_export(rayi_block *block, rayi_export *out);
/* The caller's pin will not end, since nobody can say whether whoever mapped the block still reads it: its room is
 * never used again, and goes back to the system when nobody has it mapped any more. What it counted is free with the
 * block. */
void rayi_block_spoil(rayi_block *block);

typedef struct rayi_foreign rayi_foreign;
/* Maps a whole segment of that process, with one count; it gets a number of its own in this store, as any segment.
 * SYSTEM: the system refuses (another user's process, no /proc), or what is open there is not that segment. NO_MEMORY.
 */
int rayi_foreign_open(rayi_store *store, int64_t pid, const rayi_export *of, rayi_foreign **out);
/* Is there room for so many bytes and their NUL at this offset? */
bool rayi_foreign_holds(const rayi_foreign *foreign, size_t offset, size_t size_bytes);
/* Of one that nobody reads or will: unmaps a part, so that it need not all be done at once (20 ms per GiB that was
 * touched). How many bytes; 0: none are left. */
size_t rayi_foreign_unmap(rayi_foreign *foreign, size_t most_bytes);
void rayi_foreign_unref(rayi_foreign *foreign); /* the last one unmaps what is left */

/* ---- blocks ---- */

/* Copies size_bytes to this offset of an unsealed block, the fastest way: into room that was never touched through the
 * descriptor, which spares the page faults and the zeroing; else as rayi_store_copy_in. */
void rayi_block_fill(rayi_block *block, size_t offset, const void *source, size_t size_bytes);

void *rayi_block_data(rayi_block *block); /* of an unsealed or pinned block */
size_t rayi_block_size(const rayi_block *block);

/* Lowers the size of an unsealed block; a substantial tail goes back to the store. Only its maker calls it. */
void rayi_block_shrink(rayi_block *block, size_t size_bytes);

/* Nobody writes from here on, and it may be spilled. Its maker calls it, once, before it shows the block to anyone. */
void rayi_block_seal(rayi_block *block);
bool rayi_block_is_sealed(const rayi_block *block);

/* A sealed block's bytes are in memory, at rayi_block_data, until rayi_block_unpin. Needs a count of the caller's. May
 * have to read them from disk, or to have them fetched, and to spill others for their room, which waits until
 * deadline_ns (0: for nobody, but it reads and writes; a fetch is up to its source). Of several threads one brings the
 * bytes; the others wait for it and, if it fails, try themselves, one after the other.
 * RAY_ERR_CORRUPT: what is on disk is not what was written. RAY_ERR_SYSTEM: it cannot be read. RAY_ERR_STORE_FULL,
 * RAY_ERR_DISK_FULL: no room in time. RAY_ERR_FETCH_TIMEOUT: another thread's fetch took too long. What the fetch said.
 * RAY_ERR_NO_MEMORY, RAY_ERR_SHUTDOWN. */
int rayi_block_pin_until(rayi_block *block, int64_t deadline_ns);
int rayi_block_pin(rayi_block *block);      /* waits half a minute for room, or for the source */
bool rayi_block_try_pin(rayi_block *block); /* the same if that needs neither I/O nor waiting */
void rayi_block_unpin(rayi_block *block);
bool rayi_block_is_spilled(const rayi_block *block); /* on disk only, at the moment */

/* ---- blocks whose bytes are on another node ---- */

/* Somebody who can bring a block's bytes, as often as it is asked. Static. */
typedef struct rayi_source {
    /* Brings size_bytes bytes to `to`, fresh room of the store, and waits for them until deadline_ns (as of a pin). On
     * the thread that pins, which has a count on the block; no lock of the store is held, but it must not pin the same
     * block, and its room counts as used meanwhile. 0, or the last error's code, with words: then nothing of what it
     * wrote is kept, and the pin fails so. */
    int (*fetch)(void *arg, void *to, size_t size_bytes, int64_t deadline_ns);
    /* NULL, or: the bytes lie in a segment that is mapped here, or can be: this one, at this offset, until unmap, with
     * a NUL behind them. False: they are to be fetched. Asked first, on the same terms; without a deadline (0) it does
     * not wait, and may be asked on any thread. Such a block counts nothing, and is far again with its last pin. */
    bool (*map)(void *arg, size_t size_bytes, int64_t deadline_ns, rayi_foreign **segment, size_t *offset);
    void (*unmap)(void *arg); /* for each map that was true. Any thread; no lock is held; does not wait */
    /* The source is not needed any more: the block is gone, or keeps its bytes itself. Once, on any thread, with no
     * lock of the store held, perhaps after the store was closed; no fetch is under way. Does not wait. */
    void (*forget)(void *arg);
} rayi_source;

/* A sealed block with one count whose bytes are not here; a pin fetches them. It counts nothing until then. One that is
 * larger than the store can be made, but not pinned (RAY_ERR_STORE_FULL). RAY_ERR_NO_MEMORY: nothing is forgotten. */
int rayi_block_new_far(rayi_store *store, size_t size_bytes, const rayi_source *source, void *arg, rayi_block **out);
void *rayi_block_source_arg(const rayi_block *block); /* NULL: it never had one, or needs none any more */
bool rayi_block_is_far(const rayi_block *block);      /* a pin would have to fetch it, at the moment */
/* Drops the source of a block that is in memory (for certain only while the caller has it pinned): from here on it is
 * like any other, and may be spilled. 0, also if there was no source. RAY_ERR_NOT_FOUND: its bytes are not in memory of
 * this store. */
int rayi_block_keep(rayi_block *block);

/* While its source is bringing a block, others may read what is there already, as far as the source knows it: the room
 * stays as it is until the end of the early pin, whatever becomes of the fetch. Whoever asks knows that fetch's memory
 * to be that room, and has a count on the block. NULL: it is not being fetched, or no memory. */
typedef struct rayi_early rayi_early;
rayi_early *rayi_block_pin_early(rayi_block *block);
void rayi_early_unpin(rayi_early *early);

/* ---- counts ---- */

rayi_block *rayi_block_ref(rayi_block *block); /* returns block */
void rayi_block_unref(rayi_block *block);      /* NULL: nothing happens; the last one frees the room, wakes waiters */

/* memcpy for bytes that are not read again soon: large copies go around the caches (1.6 times as fast). */
void rayi_store_copy_in(void *restrict to, const void *restrict from, size_t size_bytes);

/* Gives warm room back to the system until at most keep_bytes of it are left. Returns how many bytes went. Takes about
 * 0.15 s per GiB. */
uint64_t rayi_store_trim(rayi_store *store, uint64_t keep_bytes);

/* ---- a store at rest ---- */

/* Told when more than keep_bytes of room lie warm: without a lock of the store, on the thread that has freed some,
 * before the last block is gone, and not again until rayi_store_cool says RAYI_COOL. False: it could not be heard, and
 * whoever frees next tells it again. Before the first block. */
void rayi_store_on_warm(rayi_store *store, uint64_t keep_bytes, bool (*told)(void *arg), void *arg);

typedef enum rayi_coolness {
    RAYI_COOL,    /* nothing to do until it is told again */
    RAYI_WARM,    /* look again after a while */
    RAYI_COOLING, /* more is to go, soon */
} rayi_coolness;
/* Gives back to the system what lay warm all the time since the last look, room that nobody has wanted for so long:
 * about most_bytes a call (rayi_store_trim has the time), and keep_bytes of it stay. A call that finds nothing looks
 * anew; so it is to be told, and WARM, that the next look is due. */
rayi_coolness rayi_store_cool(rayi_store *store, uint64_t most_bytes);

typedef struct rayi_store_usage {
    uint64_t capacity_bytes;
    uint64_t used_bytes;   /* what the blocks in memory and the requests under way count */
    uint64_t peak_bytes;   /* the most that used_bytes ever was */
    uint64_t pinned_bytes; /* of blocks in memory that are pinned or not sealed yet */
    uint64_t warm_bytes;   /* free room whose pages are kept */
    uint64_t mapped_bytes; /* addresses of all segments; pages that were never touched cost nothing */
    uint64_t num_blocks, num_segments, num_waiters;
    uint64_t spilled_bytes, num_spilled;         /* sizes of the blocks that are on disk only */
    uint64_t spilled_total_bytes;                /* written since the store was made */
    uint64_t restored_total_bytes, num_restored; /* read back since then */
    uint64_t far_bytes, num_far;                 /* sizes of the blocks that only their sources have */
    uint64_t fetched_total_bytes, num_fetched;   /* brought by sources since the store was made */
    uint64_t mapped_far_bytes, num_mapped_far;   /* of blocks that are read in other processes' segments now */
} rayi_store_usage;

/* For people and metrics. */
void rayi_store_stats(rayi_store *store, rayi_store_usage *out);

#endif
