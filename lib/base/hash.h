/* uthash, told to take its memory from a rayi_memory and to survive its lack. A function that adds to a table has a
 * local or parameter `memory` in scope; after HASH_ADD_… it looks at element->hh.tbl: NULL means no memory, not added.
 */
#ifndef RAYI_HASH_H
#define RAYI_HASH_H

#include "base/memory.h"

#define HASH_NONFATAL_OOM              1
#define uthash_nonfatal_oom(element)   ((void)(element))
#define uthash_malloc(size_bytes)      rayi_memory_alloc(memory, size_bytes)
#define uthash_free(block, size_bytes) rayi_memory_free(memory, block)

#include <uthash.h>
#include <utlist.h>

#endif
