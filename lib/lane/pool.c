/* Blocks for records and small objects.
 *
 * A chunk from the heap is cut into slabs of 64 KiB, aligned to that size, so that a block's slab, and through it the
 * lane, is found from its address. A slab holds blocks of one class for as long as the lane lives, so a pointer kept
 * too long still points at the head of some record: reading its count and generation is safe. Each thread keeps free
 * blocks of its own and exchanges batches of them with the pool under a lock, so that a thread that only allocates and
 * one that only frees stay in balance.
 *
 * A free block has refs 0, keeps its class and generation, and is linked by `next`. */
#include "lane/inside.h"

#include <string.h>

#if defined __SANITIZE_ADDRESS__
#define RAYI_ASAN 1
#elif defined __has_feature
#if __has_feature(address_sanitizer)
#define RAYI_ASAN 1
#endif
#endif
#ifdef RAYI_ASAN
#include <sanitizer/asan_interface.h>
#endif

#define SLAB_BYTES     ((size_t)64 << 10)
#define SLABS_IN_CHUNK 8
#define BATCH          32

struct rayi_slab {
    rayi_lane *lane;
    rayi_slab *next;
    uint32_t class, carved, room;
};

#define SIZES       11
#define CLASS_SIZES 64, 128, 192, 256, 320, 384, 512, 768, 1024, 2048, RAYI_POOL_MAX
static const uint16_t class_bytes[RAYI_CLASSES] = {CLASS_SIZES, CLASS_SIZES};
/* The class of a size, by 64-byte steps up to 512 and then by search. */
static const uint8_t small_class[] = {0, 0, 1, 2, 3, 4, 5, 6, 6};

static unsigned class_of(size_t size_bytes)
{
    unsigned class = 7;

    if (size_bytes <= 512)
        return small_class[(size_bytes + 63) / 64];
    while (class_bytes[class] < size_bytes)
        class ++;
    return class;
}

/* What of a free block others may look at, late: its head, and who submitted a task. */
static size_t open_bytes(const rayi_record *block)
{
    return block->class < SIZES ? RAYI_MIN(class_bytes[block->class], sizeof(rayi_task)) : sizeof *block;
}

/* The rest is nobody's: under the address sanitizer a touch is an error. */
static void forbid(rayi_record *block)
{
#ifdef RAYI_ASAN
    size_t open = open_bytes(block);
    ASAN_POISON_MEMORY_REGION((char *)block + open, class_bytes[block->class] - open);
#else
    (void)open_bytes(block);
#endif
}

static void allow(rayi_record *block)
{
#ifdef RAYI_ASAN
    ASAN_UNPOISON_MEMORY_REGION(block, class_bytes[block->class]);
#else
    (void)block;
#endif
}

static rayi_slab *slab_of(const rayi_record *block)
{
    return (rayi_slab *)((uintptr_t)block & ~(SLAB_BYTES - 1));
}

rayi_lane *rayi_pool_lane(const rayi_record *block)
{
    return slab_of(block)->lane;
}

int rayi_pool_init(rayi_lane *lane)
{
    return pthread_mutex_init(&lane->pool.lock, NULL) ? RAY_ERR_SYSTEM : 0;
}

void rayi_pool_fini(rayi_lane *lane)
{
    void *chunk = lane->pool.chunks, *next;

    for (; chunk; chunk = next) {
        next = *(void **)chunk;
#ifdef RAYI_ASAN
        ASAN_UNPOISON_MEMORY_REGION(chunk, (SLABS_IN_CHUNK + 1) * SLAB_BYTES);
#endif
        rayi_free(chunk);
    }
    pthread_mutex_destroy(&lane->pool.lock);
}

/* A chunk begins with the link to the one before it; its slabs with the first aligned address behind that. */
static bool add_chunk(rayi_pool *pool)
{
    char *chunk = rayi_alloc((SLABS_IN_CHUNK + 1) * SLAB_BYTES);

    if (!chunk)
        return false;
    *(void **)chunk = pool->chunks;
    pool->chunks = chunk;
    pool->fresh = (char *)(((uintptr_t)chunk + sizeof(void *) + SLAB_BYTES - 1) & ~(SLAB_BYTES - 1));
    pool->fresh_slabs = SLABS_IN_CHUNK;
    return true;
}

static rayi_slab *add_slab(rayi_lane *lane, unsigned class)
{
    rayi_pool *pool = &lane->pool;
    rayi_slab *slab;

    if (pool->fresh_slabs == 0 && !add_chunk(pool))
        return NULL;
    slab = (rayi_slab *)pool->fresh;
    pool->fresh += SLAB_BYTES;
    pool->fresh_slabs--;
    *slab = (rayi_slab){
        .lane = lane, .next = pool->slabs, .class = class, .room = (uint32_t)((SLAB_BYTES - 64) / class_bytes[class])};
    pool->slabs = slab;
    return slab;
}

/* A list of fresh blocks; pool.lock is held. */
static rayi_record *carve(rayi_lane *lane, unsigned class)
{
    rayi_slab *slab = lane->pool.carving[class];
    rayi_record *first = NULL;

    if (!slab || slab->carved == slab->room) {
        slab = add_slab(lane, class);
        if (!slab)
            return NULL;
        lane->pool.carving[class] = slab;
    }
    for (unsigned i = 0; i < BATCH && slab->carved < slab->room; i++) {
        rayi_record *block = (rayi_record *)((char *)slab + 64 + (size_t)slab->carved++ * class_bytes[class]);
        memset(block, 0, RAYI_MIN(class_bytes[class], sizeof(rayi_task))); /* all that others may look at */
        block->class = (uint8_t) class;
        block->next = first;
        forbid(block);
        first = block;
    }
    return first;
}

static bool refill(rayi_thread *thread, unsigned class)
{
    rayi_pool *pool = &thread->lane->pool;
    rayi_record *first;

    pthread_mutex_lock(&pool->lock);
    first = pool->batches[class];
    if (first)
        pool->batches[class] = first->content.pointer;
    else
        first = carve(thread->lane, class);
    pthread_mutex_unlock(&pool->lock);
    thread->free[class].first = first;
    thread->free[class].count = 0;
    for (rayi_record *block = first; block; block = block->next)
        thread->free[class].count++;
    return first != NULL;
}

rayi_record *rayi_pool_alloc(rayi_thread *thread, enum rayi_type type, size_t size_bytes)
{
    unsigned class = class_of(size_bytes) + (type == RAYI_TASK || type == RAYI_CALL ? 0 : SIZES);
    rayi_free_list *list = &thread->free[class];
    rayi_record *block;

    if (__builtin_expect(!list->first, 0) && !refill(thread, class))
        return NULL;
    block = list->first;
    list->first = block->next;
    list->count--;
    allow(block);
    atomic_store_explicit(&thread->allocs, atomic_load_explicit(&thread->allocs, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&block->state, RAYI_PENDING, memory_order_relaxed);
    atomic_store_explicit(&block->waiters, 0, memory_order_relaxed);
    atomic_store_explicit(&block->gen, atomic_load_explicit(&block->gen, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    atomic_store_explicit(&block->extra, NULL, memory_order_relaxed);
    block->type = (uint8_t)type;
    block->flags = block->kind = 0;
    block->size = 0;
    block->next = NULL;
    atomic_store_explicit(&block->refs, 1, memory_order_relaxed);
    return block;
}

/* Gives the first BATCH blocks of a thread's list to the pool. */
static void give(rayi_thread *thread, unsigned class, unsigned count)
{
    rayi_pool *pool = &thread->lane->pool;
    rayi_free_list *list = &thread->free[class];
    rayi_record *first = list->first, *last = first;

    for (unsigned i = 1; i < count; i++)
        last = last->next;
    list->first = last->next;
    list->count -= count;
    last->next = NULL;
    pthread_mutex_lock(&pool->lock);
    first->content.pointer = pool->batches[class];
    pool->batches[class] = first;
    pthread_mutex_unlock(&pool->lock);
}

void rayi_pool_free(rayi_thread *thread, rayi_record *block)
{
    rayi_free_list *list = &thread->free[block->class];

    atomic_store_explicit(&block->refs, 0, memory_order_relaxed);
    forbid(block);
    block->next = list->first;
    list->first = block;
    atomic_store_explicit(&thread->frees, atomic_load_explicit(&thread->frees, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (++list->count >= 4 * BATCH)
        give(thread, block->class, 2 * BATCH);
}

void rayi_pool_flush(rayi_thread *thread)
{
    for (unsigned class = 0; class < RAYI_CLASSES; class ++)
        while (thread->free[class].count > 0)
            give(thread, class, RAYI_MIN(thread->free[class].count, BATCH));
}

bool rayi_pool_unused(rayi_lane *lane)
{
    uint64_t out = 0;
    unsigned contexts = atomic_load(&lane->num_contexts);

    for (unsigned i = 0; i <= contexts; i++) {
        rayi_thread *thread = i < contexts ? atomic_load(&lane->thread[i]) : &lane->late;
        if (thread)
            out += atomic_load(&thread->allocs) - atomic_load(&thread->frees);
    }
    return out == 0;
}

void rayi_pool_for_each(rayi_lane *lane, void (*visit)(void *arg, rayi_record *record), void *arg)
{
    pthread_mutex_lock(&lane->pool.lock);
    for (rayi_slab *slab = lane->pool.slabs; slab; slab = slab->next)
        for (uint32_t i = 0; i < slab->carved; i++)
            visit(arg, (rayi_record *)((char *)slab + 64 + (size_t)i * class_bytes[slab->class]));
    pthread_mutex_unlock(&lane->pool.lock);
}
