/* The store under strain: random sequences against a model, many threads, refusals of the heap and the system. */
#include "helper.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- against a model ---------------------------------------------------------------------------------------------- */

enum { SLOTS = 60 };

typedef struct model {
    rayi_store *store;
    rayi_block *blocks[SLOTS];
    uint64_t tags[SLOTS];
    size_t charges[SLOTS];
    size_t capacity, used, count;
    uint64_t random;
} model;

static size_t random_size(model *m)
{
    size_t limit = (size_t)1 << next_random(&m->random) % 28; /* up to 128 MiB */
    return next_random(&m->random) % limit;
}

static void model_alloc(model *m, size_t slot)
{
    size_t size = random_size(m), charge = charge_of(size);
    int r = rayi_store_try_alloc(m->store, size, &m->blocks[slot]);
    cr_assert_eq(r, charge <= m->capacity - m->used ? 0 : RAY_ERR_STORE_FULL, "%zu bytes, %zu of %zu used", size,
                 m->used, m->capacity);
    if (r)
        return;
    m->used += charge;
    m->count++;
    m->charges[slot] = charge;
    m->tags[slot] = next_random(&m->random);
    write_marks(m->blocks[slot], m->tags[slot]);
}

static void model_free(model *m, size_t slot)
{
    cr_assert(has_marks(m->blocks[slot], m->tags[slot]), "content of slot %zu", slot);
    rayi_block_unref(m->blocks[slot]);
    m->blocks[slot] = NULL;
    m->used -= m->charges[slot];
    m->count--;
}

static void model_shrink(model *m, size_t slot)
{
    size_t size = rayi_block_size(m->blocks[slot]), before = (size_t)usage_of(m->store).used_bytes;
    rayi_block_shrink(m->blocks[slot], size ? next_random(&m->random) % size : 0);
    mark_last(m->blocks[slot], m->tags[slot]);
    size_t freed = before - (size_t)usage_of(m->store).used_bytes;
    cr_assert_leq(freed, m->charges[slot]);
    m->used -= freed;
    m->charges[slot] -= freed;
    cr_assert_geq(m->charges[slot], charge_of(rayi_block_size(m->blocks[slot])));
}

static void model_check(model *m)
{
    rayi_store_usage usage = usage_of(m->store);
    open_files files = look_at_files();
    cr_assert_eq(usage.used_bytes, m->used);
    cr_assert_eq(usage.num_blocks, m->count);
    cr_assert_leq(m->used, m->capacity);
    cr_assert_eq(files.of_store, usage.num_segments);
    cr_assert_leq(files.store_bytes, m->capacity + SLOTS * page_bytes(), "more pages than the capacity");
    cr_assert_leq(usage.used_bytes + usage.warm_bytes, m->capacity + SLOTS * page_bytes());
}

Test(store_hard, random_sequences_against_a_model, .timeout = 250)
{
    const char *given = getenv("STORE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)rayi_now_ns();
    model m = {.capacity = 256 * MIB, .random = seed};
    printf("STORE_SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    m.store = make_store(m.capacity);
    for (int step = 0; step < 6000; step++) {
        size_t slot = next_random(&m.random) % SLOTS, dice = next_random(&m.random) % 100;
        if (!m.blocks[slot])
            model_alloc(&m, slot);
        else if (dice < 15)
            model_shrink(&m, slot);
        else
            model_free(&m, slot);
        if (dice == 99)
            rayi_store_trim(m.store, next_random(&m.random) % m.capacity);
        if (step % 10 == 0)
            model_check(&m);
    }
    for (size_t slot = 0; slot < SLOTS; slot++)
        if (m.blocks[slot])
            model_free(&m, slot);
    model_check(&m);
    rayi_store_close(m.store);
    cr_assert_eq(look_at_files().of_store, 0);
}

/* --- threads ------------------------------------------------------------------------------------------------------ */

typedef struct worker {
    pthread_t thread;
    rayi_store *store;
    rayi_block *_Atomic *shared; /* a slot through which threads hand blocks on */
    uint64_t random;
    int rounds;
    const char *problem;
} worker;

static const char *work_once(worker *self)
{
    size_t size = next_random(&self->random) % (next_random(&self->random) % 8 ? 300 * KIB : 6 * MIB);
    uint64_t tag = size; /* so that a reader knows it, too */
    rayi_block *block;
    int r = rayi_store_try_alloc(self->store, size, &block);
    if (r == RAY_ERR_STORE_FULL)
        r = rayi_store_alloc(self->store, size, INT64_MAX, &block);
    if (r)
        return "no block";
    write_marks(block, tag);
    if (next_random(&self->random) % 4 == 0) {
        rayi_block_shrink(block, size / 2);
        write_marks(block, tag = size / 2);
    }
    rayi_block_seal(block);
    if (next_random(&self->random) % 2) {
        block = atomic_exchange(self->shared, block); /* goes on with another's */
        if (!block)
            return NULL;
    }
    rayi_block *again = rayi_block_ref(block);
    bool good = has_marks(again, rayi_block_size(again));
    rayi_block_unref(block);
    rayi_block_unref(again);
    if (next_random(&self->random) % 64 == 0)
        rayi_store_trim(self->store, MIB);
    return good ? NULL : "content";
}

static void *work(void *arg)
{
    worker *self = arg;
    for (int i = 0; i < self->rounds && !self->problem; i++)
        self->problem = work_once(self);
    rayi_block_unref(atomic_exchange(self->shared, NULL)); /* others may wait for its room */
    return NULL;
}

Test(store_hard, many_threads, .timeout = 250)
{
    enum { THREADS = 6 };
    /* Each holds one block of 6 MiB at most, and one lies in the slot, so that somebody can always go on. */
    rayi_store *store = make_store(20 * MIB);
    rayi_block *_Atomic shared = NULL;
    worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){.store = store, .shared = &shared, .random = (uint64_t)i, .rounds = 1500};
        cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        cr_assert_null(workers[i].problem, "thread %d: %s", i, workers[i].problem);
    }
    rayi_store_usage usage = usage_of(store);
    cr_assert_eq(usage.used_bytes + usage.num_blocks + usage.num_waiters, 0);
    rayi_store_close(store);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

/* Everything that asks for memory: a first segment, a cut, a shrink, an eviction. */
static int exercise(const rayi_memory *memory)
{
    rayi_store *store;
    rayi_block *one = NULL, *two = NULL, *three = NULL;
    int r = rayi_store_new(memory, 16 * MIB, &store);
    if (r)
        return r;
    r = rayi_store_alloc(store, 8 * MIB, 0, &one);
    if (r == 0)
        r = rayi_store_alloc(store, 8 * MIB, 0, &two);
    if (r == 0) {
        rayi_block_shrink(two, 2 * MIB); /* cannot fail; without memory it keeps its room */
        rayi_block_unref(one);
        one = NULL;
        r = rayi_store_try_alloc(store, usage_of(store).used_bytes == 2 * MIB ? 14 * MIB : 8 * MIB, &three);
    }
    if (r)
        cr_assert_eq(rayi_error_last_public()->code, r);
    rayi_block_unref(one);
    rayi_block_unref(two);
    rayi_block_unref(three);
    cr_assert_eq(usage_of(store).used_bytes, 0);
    one = NULL;
    if (r)
        cr_assert_eq(rayi_store_alloc(store, 16 * MIB, 0, &one), 0, "the next call works");
    rayi_block_unref(one);
    rayi_store_close(store);
    return r;
}

Test(store_hard, every_allocation_may_fail)
{
    failing_heap heap = {0};
    const rayi_memory memory = memory_of(&heap);
    open_files before = look_at_files();
    int failures = 0;
    long nth = 1;
    for (;; nth++) {
        heap.until = nth;
        int r = exercise(&memory);
        bool reached = heap.until == 0;
        cr_assert(r == 0 || r == RAY_ERR_NO_MEMORY, "%d", r);
        cr_assert_eq(heap.live, 0, "allocation %ld: %ld blocks leak", nth, heap.live);
        cr_assert_eq(look_at_files().count, before.count);
        failures += r != 0;
        if (!reached)
            break;
    }
    cr_assert_gt(nth, 6);
    cr_assert_gt(failures, 4);
}

static void limit_files(rlim_t count)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = count;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Descriptors are handed out from the lowest: so many more can be opened. */
static void allow_more_files(int count)
{
    int fds[8];
    for (int i = 0; i < count; i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    limit_files((rlim_t)next);
    close(next);
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

Test(store_hard, no_descriptor)
{
    rayi_store *store = make_store(64 * MIB);
    rayi_block *block = NULL;
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    allow_more_files(0);
    CHECK_FAILS(rayi_store_alloc(store, MIB, INT64_MAX, &block), RAY_ERR_SYSTEM);
    cr_assert(strstr(rayi_error_last_public()->message, "Too many open files"), "%s",
              rayi_error_last_public()->message);
    CHECK_FAILS(rayi_store_try_alloc(store, MIB, &block), RAY_ERR_SYSTEM);
    cr_assert_null(block);
    cr_assert_eq(usage_of(store).used_bytes, 0);
    limit_files(before.rlim_cur);
    rayi_block_unref(make_block(store, MIB));
    rayi_store_close(store);
}

Test(store_hard, idle_segments_make_way_when_descriptors_run_out)
{
    rayi_store *store = make_store(512 * MIB);
    rayi_block *block;
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    allow_more_files(1);
    block = make_block(store, 10 * MIB);
    write_marks(block, 1);
    rayi_block_unref(block);
    block = make_block(store, 100 * MIB); /* does not fit into the idle segment, and both cannot be open */
    cr_assert_eq(usage_of(store).num_segments, 1);
    rayi_block_unref(block);
    rayi_store_close(store);
    limit_files(before.rlim_cur);
}

Test(store_hard, no_file_size)
{
    struct rlimit before, small;
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1024;
    rayi_store *store = make_store(64 * MIB);
    rayi_block *block = NULL;
    setrlimit(RLIMIT_FSIZE, &small);
    int r = rayi_store_alloc(store, MIB, 0, &block); /* and no SIGXFSZ */
    setrlimit(RLIMIT_FSIZE, &before);
    cr_assert_eq(r, RAY_ERR_SYSTEM);
    rayi_store_close(store);
}
