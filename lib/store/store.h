/* store: the bytes of objects too large to travel inline, in shared memory.
 *
 * It owns segments (memfds, mapped whole) and lends out blocks: one block holds the bytes of one object. Nothing is
 * opened or mapped before the first block, nothing ever has a name in a file system, and every descriptor is
 * close-on-exec. The memory handed to rayi_store_new holds the bookkeeping only and outlives the last block.
 *
 * What always holds:
 * - The blocks never count more than the capacity together. A block counts its size rounded up to whole pages, one page
 *   at least; the capacity is rounded up likewise.
 * - A request that fits into capacity minus used is granted: fragments never stand in its way, because the room that is
 *   scarce is touched pages, not addresses. Touched pages of free room are kept warm for the next block (a first touch
 *   costs ten times the copy) and go back to the system when others need them, so that the pages in use and the warm
 *   ones stay within the capacity, too, but for one page for each of the most blocks that there were at once.
 * - A block's data starts at a page boundary, does not move, and one byte behind its size is NUL.
 * - Warm room is taken before cold room, the smallest that fits first.
 *
 * Threads: every function from any thread. The store's table has one lock, never held over a system call; the bytes
 * have none: whoever holds a count may read them, and until the block is sealed its maker alone writes.
 *
 * Lifetime: a store is closed, not freed. Blocks that outlive it stay valid; the last one takes the rest with it.
 *
 * Sharing (to come): a segment is a memfd that may not shrink or grow, so it can be handed to a neighbour and mapped
 * there without fear of SIGBUS. Hand over a read-only descriptor (/proc/self/fd/N opened again). F_SEAL_FUTURE_WRITE
 * remains open to be added, but it also forbids punching holes: such a segment would be given back only whole. */
#ifndef RAYI_STORE_H
#define RAYI_STORE_H

#include "base/base.h"

typedef struct rayi_store rayi_store;
typedef struct rayi_block rayi_block;

/* RAY_ERR_NO_MEMORY. */
int rayi_store_new(const rayi_memory *memory, uint64_t capacity_bytes, rayi_store **out);

/* Every call that waits for room, now or later, fails with RAY_ERR_SHUTDOWN; calls that need not wait go on. */
void rayi_store_cancel_waits(rayi_store *store);

/* Gives up the caller's hold on the store (NULL: nothing happens): cancels the waits, gives all free room back to the
 * system. No new call may begin on the store; its blocks may be read, sealed, shrunk, counted. Does not block. */
void rayi_store_close(rayi_store *store);

/* A block of size_bytes (0 is fine) for one object, with one count, its content undefined. Waits for room until
 * deadline_ns (rayi_now_ns terms; 0: does not wait; INT64_MAX: for ever). Room that is freed goes to the oldest waiter
 * that it is enough for. A caller inside a task gives its CPU back before it waits.
 * RAY_ERR_STORE_FULL: no room in time, or, at once, larger than the whole store. RAY_ERR_NO_MEMORY: heap or
 * addresses. RAY_ERR_SYSTEM: the system refused a segment otherwise (descriptors, file size). RAY_ERR_SHUTDOWN: would
 * have to wait after rayi_store_cancel_waits. */
int rayi_store_alloc(rayi_store *store, size_t size_bytes, int64_t deadline_ns, rayi_block **out);

/* The same, but never waits, and RAY_ERR_STORE_FULL comes without touching the thread's last error: a caller that may
 * wait turns to rayi_store_alloc then, and one that may not calls it with deadline 0 for the message. */
int rayi_store_try_alloc(rayi_store *store, size_t size_bytes, rayi_block **out);

/* Copies size_bytes to this offset of an unsealed block, the fastest way: into room that was never touched through the
 * descriptor, which spares the page faults and the zeroing; else as rayi_store_copy_in. */
void rayi_block_fill(rayi_block *block, size_t offset, const void *source, size_t size_bytes);

void *rayi_block_data(rayi_block *block);
size_t rayi_block_size(const rayi_block *block);

/* Lowers the size of an unsealed block; a substantial tail goes back to the store. Only its maker calls it. */
void rayi_block_shrink(rayi_block *block, size_t size_bytes);

/* Nobody writes from here on. Its maker calls it, once, before it shows the block to anyone. */
void rayi_block_seal(rayi_block *block);
bool rayi_block_is_sealed(const rayi_block *block);

rayi_block *rayi_block_ref(rayi_block *block); /* returns block */
void rayi_block_unref(rayi_block *block);      /* NULL: nothing happens; the last one frees the room, wakes waiters */

/* memcpy for bytes that are not read again soon: large copies go around the caches (1.6 times as fast). */
void rayi_store_copy_in(void *restrict to, const void *restrict from, size_t size_bytes);

/* Gives warm room back to the system until at most keep_bytes of it are left. Returns how many bytes went. Takes about
 * 0.15 s per GiB. */
uint64_t rayi_store_trim(rayi_store *store, uint64_t keep_bytes);

typedef struct rayi_store_usage {
    uint64_t capacity_bytes;
    uint64_t used_bytes;   /* what the blocks and the requests under way count */
    uint64_t peak_bytes;   /* the most that used_bytes ever was */
    uint64_t pinned_bytes; /* of blocks that more than one count holds */
    uint64_t warm_bytes;   /* free room whose pages are kept */
    uint64_t mapped_bytes; /* addresses of all segments; pages that were never touched cost nothing */
    uint64_t num_blocks, num_segments, num_waiters;
} rayi_store_usage;

/* For people and metrics: walks all blocks for pinned_bytes. */
void rayi_store_stats(rayi_store *store, rayi_store_usage *out);

#endif
