/* The process-wide heap is what the host installed before ray_init, or malloc. It is written once, before any thread of
 * ours exists, and only read afterwards. */
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static void *malloc_alloc(void *arg, size_t size_bytes)
{
    (void)arg;
    return malloc(size_bytes);
}

static void *malloc_realloc(void *arg, void *block, size_t size_bytes)
{
    (void)arg;
    return realloc(block, size_bytes);
}

static void malloc_free(void *arg, void *block)
{
    (void)arg;
    free(block);
}

#define MALLOC_HEAP                                                                                                    \
    {                                                                                                                  \
        .size = sizeof(rayi_memory), .alloc = malloc_alloc, .realloc = malloc_realloc, .free = malloc_free             \
    }

static rayi_memory process_heap = MALLOC_HEAP;
const rayi_memory *const rayi_heap = &process_heap;

void rayi_memory_install(const ray_allocator *allocator)
{
    process_heap = allocator ? *allocator : (rayi_memory)MALLOC_HEAP;
}

void *rayi_memory_zalloc(const rayi_memory *memory, size_t size_bytes)
{
    void *block = rayi_memory_alloc(memory, size_bytes);

    return block ? memset(block, 0, size_bytes) : NULL;
}

char *rayi_memory_strdup(const rayi_memory *memory, const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = rayi_memory_alloc(memory, size);

    return copy ? memcpy(copy, text, size) : NULL;
}
