/* uthash, told to take its memory from a rayi_memory and to survive its lack. A function that adds to a table has a
 * local or parameter `memory` in scope; after HASH_ADD_… it looks at element->hh.tbl: NULL means no memory, not added.
 *
 * Keys of 8 bytes are numbers that were given out one after the other, mostly: those of a block of 64 lie together in
 * the table, as what was made together is asked for together, and hardly two collide, whatever their step. Other keys
 * are scattered. A table doubles when it has more items than chains, and only then; uthash's own rule, which looks at
 * the longest chain only, would let all of those of numbers become ten items long. */
#ifndef RAYI_HASH_H
#define RAYI_HASH_H

#include "base/memory.h"

#include <string.h>

#define HASH_NONFATAL_OOM                  1
#define uthash_nonfatal_oom(element)       ((void)(element))
#define uthash_malloc(size_bytes)          rayi_memory_alloc(memory, size_bytes)
#define uthash_free(block, size_bytes)     rayi_memory_free(memory, block)
#define HASH_FUNCTION(key, size, hash_out) ((hash_out) = rayi_hash_of((key), (size)))

#include <uthash.h>
#include <utlist.h>

/* Read where an item was put in front of the chain _ha_head. No chain is so long that it makes a table grow that is not
 * full, and no table gives up growing because its chains were uneven once. */
#undef HASH_BKT_CAPACITY_THRESH
#define HASH_BKT_CAPACITY_THRESH                                                                                       \
    (_ha_head->hh_head->tbl->num_items > _ha_head->hh_head->tbl->num_buckets ? 2U : 1U << 20)
#undef uthash_noexpand_fyi
#define uthash_noexpand_fyi(table) ((table)->noexpand = 0)

static inline unsigned rayi_hash_of(const void *key, size_t size_bytes)
{
    unsigned hash;
    uint64_t number, scattered;

    if (size_bytes != sizeof number) {
        HASH_JEN(key, size_bytes, hash);
        return hash;
    }
    memcpy(&number, key, sizeof number);
    scattered = (number >> 6) * UINT64_C(0x9e3779b97f4a7c15); /* blocks of 64 stay together */
    return (unsigned)(scattered >> 32) << 6 ^ ((unsigned)(scattered >> 58) ^ (unsigned)(number & 63));
}

#endif
