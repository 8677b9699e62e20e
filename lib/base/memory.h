/* Memory: all of libray's heap goes through a rayi_memory, the process-wide one being what ray_set_allocator installed.
 * Every allocation may fail with NULL. Brains receive theirs in a parameter named `memory`. */
#ifndef RAYI_MEMORY_H
#define RAYI_MEMORY_H

#include <ray/config.h>

typedef ray_allocator rayi_memory;

extern const rayi_memory *const rayi_heap; /* the process-wide heap */

/* Installs a host's allocator; NULL: malloc. Before any allocation is made. */
void rayi_memory_install(const ray_allocator *allocator);

static inline void *rayi_memory_alloc(const rayi_memory *memory, size_t size_bytes)
{
    return memory->alloc(memory->arg, size_bytes);
}
static inline void *rayi_memory_realloc(const rayi_memory *memory, void *block, size_t size_bytes)
{
    return memory->realloc(memory->arg, block, size_bytes);
}
static inline void rayi_memory_free(const rayi_memory *memory, void *block)
{
    if (block)
        memory->free(memory->arg, block);
}
void *rayi_memory_zalloc(const rayi_memory *memory, size_t size_bytes); /* zeroed */
char *rayi_memory_strdup(const rayi_memory *memory, const char *text);

/* The same on the process-wide heap. */
static inline void *rayi_alloc(size_t size_bytes)
{
    return rayi_memory_alloc(rayi_heap, size_bytes);
}
static inline void *rayi_zalloc(size_t size_bytes)
{
    return rayi_memory_zalloc(rayi_heap, size_bytes);
}
static inline void rayi_free(void *block)
{
    rayi_memory_free(rayi_heap, block);
}
static inline char *rayi_strdup(const char *text)
{
    return rayi_memory_strdup(rayi_heap, text);
}

#endif
