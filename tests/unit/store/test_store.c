/* What the store promises: sizes, room, content, pages, waiting. */
#include "helper.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- what a store promises ---------------------------------------------------------------------------------------- */

Test(store, opens_nothing_before_the_first_block)
{
    open_files before = look_at_files();
    rayi_store *store = make_store(1024 * MIB);
    rayi_store_usage usage = usage_of(store);
    cr_assert_eq(look_at_files().count, before.count);
    cr_assert_eq(usage.capacity_bytes, 1024 * MIB);
    cr_assert_eq(usage.mapped_bytes + usage.used_bytes + usage.num_blocks + usage.num_segments, 0);
    rayi_store_close(store);
    rayi_store_close(NULL);
    rayi_block_unref(NULL);
}

Test(store, sizes)
{
    const size_t capacity = 256 * MIB;
    const size_t sizes[] = {0,         1,
                            63,        64,
                            65,        4095,
                            4096,      4097,
                            100 * KIB, 100 * KIB + 1,
                            MIB - 1,   64 * MIB - 1,
                            64 * MIB,  64 * MIB + 1,
                            100 * MIB, capacity - 1,
                            capacity};
    rayi_store *store = make_store(capacity);
    for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
        rayi_block *block = make_block(store, sizes[i]);
        cr_assert_eq(rayi_block_size(block), sizes[i]);
        cr_assert_eq((uintptr_t)rayi_block_data(block) % 64, 0);
        cr_assert_eq(BYTES_OF(block)[sizes[i]], 0, "no NUL at %zu", sizes[i]);
        cr_assert_eq(usage_of(store).used_bytes, charge_of(sizes[i]));
        write_marks(block, i);
        BYTES_OF(block)[sizes[i]] = 'x'; /* a maker that writes a byte too many */
        rayi_block_seal(block);
        cr_assert(rayi_block_is_sealed(block));
        cr_assert(has_marks(block, i), "content of size %zu", sizes[i]);
        rayi_block_unref(block);
        cr_assert_eq(usage_of(store).used_bytes, 0);
    }
    cr_assert_eq(usage_of(store).peak_bytes, capacity);
    rayi_store_close(store);
}

Test(store, larger_than_the_store)
{
    const size_t sizes[] = {MIB + 1, 2 * MIB, SIZE_MAX / 2, SIZE_MAX - 1, SIZE_MAX};
    rayi_store *store = make_store(MIB);
    rayi_block *block = NULL;
    for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
        char size_text[32];
        snprintf(size_text, sizeof size_text, "%zu", sizes[i]);
        CHECK_FAILS(rayi_store_alloc(store, sizes[i], INT64_MAX, &block), RAY_ERR_STORE_FULL); /* never waits */
        cr_assert(strstr(rayi_error_last_public()->message, size_text), "%s", rayi_error_last_public()->message);
        cr_assert(strstr(rayi_error_last_public()->message, "1048576"), "%s", rayi_error_last_public()->message);
        CHECK_FAILS(rayi_store_try_alloc(store, sizes[i], &block), RAY_ERR_STORE_FULL);
    }
    cr_assert_null(block);
    rayi_store_close(store);
    store = make_store(0);
    CHECK_FAILS(rayi_store_alloc(store, 0, INT64_MAX, &block), RAY_ERR_STORE_FULL);
    rayi_store_close(store);
}

Test(store, capacity_need_not_be_whole_pages)
{
    rayi_store *store = make_store(100001);
    rayi_block *block = make_block(store, 100001);
    cr_assert_eq(usage_of(store).capacity_bytes, charge_of(100001));
    rayi_block_unref(block);
    rayi_store_close(store);
}

Test(store, exhaustion_and_recovery)
{
    enum { COUNT = 16 };
    rayi_store *store = make_store(COUNT * MIB);
    rayi_block *blocks[COUNT], *more = NULL;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++)
            write_marks(blocks[i] = make_block(store, MIB), i);
        cr_assert_eq(usage_of(store).used_bytes, COUNT * MIB);
        CHECK_FAILS(rayi_store_alloc(store, 12345, 0, &more), RAY_ERR_STORE_FULL);
        cr_assert(strstr(rayi_error_last_public()->message, "12345") &&
                      strstr(rayi_error_last_public()->message, "16777216"),
                  "%s", rayi_error_last_public()->message);
        for (size_t i = 0; i < COUNT; i++)
            cr_assert(has_marks(blocks[i], i));
        rayi_block_unref(blocks[3]);
        blocks[3] = make_block(store, MIB);
        for (size_t i = 0; i < COUNT; i++)
            rayi_block_unref(blocks[i]);
    }
    rayi_store_close(store);
}

Test(store, try_alloc_is_quiet_when_full)
{
    rayi_store *store = make_store(MIB);
    rayi_block *block = make_block(store, MIB), *more = NULL;
    rayi_fail(RAY_ERR_NOT_FOUND, "something else");
    CHECK_FAILS(rayi_store_try_alloc(store, 1, &more), RAY_ERR_STORE_FULL);
    cr_assert_str_eq(rayi_error_last_public()->message, "something else");
    cr_assert_null(more);
    rayi_block_unref(block);
    CHECK_OK(rayi_store_try_alloc(store, 1, &more));
    rayi_block_unref(more);
    rayi_store_close(store);
}

Test(store, fragments_never_stand_in_the_way)
{
    enum { COUNT = 128 };
    rayi_store *store = make_store(COUNT * MIB);
    rayi_block *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        write_marks(blocks[i] = make_block(store, MIB), i);
    for (size_t i = 0; i < COUNT; i += 2)
        rayi_block_unref(blocks[i]);
    rayi_block *half = make_block(store, COUNT / 2 * MIB); /* between blocks of 1 MiB that all stay */
    memset(rayi_block_data(half), 1, rayi_block_size(half));
    for (size_t i = 1; i < COUNT; i += 2)
        cr_assert(has_marks(blocks[i], i));
    cr_assert_leq(look_at_files().store_bytes, COUNT * MIB + (COUNT + 1) * page_bytes());
    for (size_t i = 1; i < COUNT; i += 2)
        rayi_block_unref(blocks[i]);
    rayi_block_unref(half);
    rayi_store_close(store);
}

Test(store, shrink_gives_the_tail_back)
{
    rayi_store *store = make_store(64 * MIB);
    rayi_block *block = make_block(store, 64 * MIB), *other;
    unsigned char *data = rayi_block_data(block);
    memset(data, 0xee, 64 * MIB);
    rayi_block_shrink(block, 64 * MIB - 1); /* too little to cut off */
    cr_assert_eq(usage_of(store).used_bytes, 64 * MIB);
    cr_assert_eq(data[64 * MIB - 1], 0);
    rayi_block_shrink(block, MIB);
    cr_assert_eq(usage_of(store).used_bytes, MIB);
    cr_assert_eq(rayi_block_size(block), MIB);
    other = make_block(store, 63 * MIB);
    memset(rayi_block_data(other), 0xdd, 63 * MIB);
    cr_assert(rayi_block_data(block) == data && data[0] == 0xee && data[MIB - 1] == 0xee && data[MIB] == 0);
    rayi_block_shrink(block, 0);
    cr_assert_eq(data[0], 0);
    cr_assert_eq(usage_of(store).used_bytes, 63 * MIB + page_bytes());
    rayi_block_unref(block);
    rayi_block_unref(other);
    cr_assert_eq(usage_of(store).used_bytes, 0);
    rayi_store_close(store);
}

Test(store, counts_and_figures)
{
    rayi_store *store = make_store(8 * MIB);
    rayi_block *one = make_block(store, MIB), *two = make_block(store, 2 * MIB);
    cr_assert_eq(usage_of(store).pinned_bytes, 3 * MIB); /* their maker may write */
    rayi_block_seal(one);
    cr_assert_eq(usage_of(store).pinned_bytes, 2 * MIB);
    cr_assert(rayi_block_ref(one) == one);
    rayi_store_usage usage = usage_of(store);
    cr_assert_eq(usage.pinned_bytes, 2 * MIB);
    cr_assert_eq(usage.num_blocks, 2);
    cr_assert_eq(usage.num_segments, 1);
    cr_assert_eq(usage.used_bytes, 3 * MIB);
    CHECK_OK(rayi_block_pin(one));
    cr_assert(rayi_block_try_pin(one));
    cr_assert_eq(usage_of(store).pinned_bytes, 3 * MIB);
    rayi_block_unpin(one);
    cr_assert_eq(usage_of(store).pinned_bytes, 3 * MIB);
    rayi_block_unpin(one);
    cr_assert_eq(usage_of(store).pinned_bytes, 2 * MIB);
    rayi_block_unref(two);
    rayi_block_unref(one);
    cr_assert_eq(usage_of(store).used_bytes, MIB);
    rayi_block_unref(one);
    usage = usage_of(store);
    cr_assert_eq(usage.used_bytes + usage.num_blocks + usage.pinned_bytes, 0);
    cr_assert_eq(usage.peak_bytes, 3 * MIB);
    cr_assert_eq(usage.warm_bytes, 3 * MIB + 2 * page_bytes());
    rayi_store_close(store);
}

Test(store, fill_after_seal_is_a_bug, .signal = SIGABRT)
{
    rayi_block *block = make_block(make_store(MIB), 10);
    rayi_block_seal(block);
    rayi_block_fill(block, 0, "text", 5);
}

/* --- copies ------------------------------------------------------------------------------------------------------- */

Test(store, copy_in_copies)
{
    const size_t sizes[] = {0, 1, 63, 64, 65, 100 * KIB, 4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 5 * MIB + 77};
    unsigned char *from = malloc(6 * MIB), *to = malloc(6 * MIB);
    for (size_t i = 0; i < 6 * MIB; i++)
        from[i] = mark_of(1, i);
    for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++)
        for (size_t shift = 0; shift < 130; shift += 43) {
            memset(to, 0xaa, 6 * MIB);
            rayi_store_copy_in(to + 1 + shift, from + shift / 2, sizes[i]);
            cr_assert_eq(memcmp(to + 1 + shift, from + shift / 2, sizes[i]), 0, "%zu bytes, %zu", sizes[i], shift);
            cr_assert(to[shift] == 0xaa && to[1 + shift + sizes[i]] == 0xaa);
        }
    free(from);
    free(to);
}

Test(store, fill_in_pieces_cold_and_warm)
{
    const size_t size = 9 * MIB + 12345;
    const size_t pieces[] = {1, 70001, 64 * KIB, 5 * MIB + 3, 4096, SIZE_MAX};
    unsigned char *from = malloc(size);
    for (size_t i = 0; i < size; i++)
        from[i] = mark_of(2, i);
    rayi_store *store = make_store(32 * MIB);
    for (int round = 0; round < 2; round++) { /* cold, warm */
        rayi_block *block = make_block(store, size);
        for (size_t i = 0, at = 0; i < RAYI_COUNT_OF(pieces); i++) {
            size_t count = RAYI_MIN(pieces[i], size - at);
            rayi_block_fill(block, at, from + at, count);
            at += count;
        }
        cr_assert_eq(memcmp(rayi_block_data(block), from, size), 0);
        cr_assert_eq(BYTES_OF(block)[size], 0);
        rayi_block_unref(block);
    }
    free(from);
    rayi_store_close(store);
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

Test(store, freed_room_is_reused_warm)
{
    const size_t size = 64 * MIB;
    char *from = malloc(size);
    memset(from, 3, size);
    rayi_store *store = make_store(4 * size);
    rayi_block *block = make_block(store, size);
    void *data = rayi_block_data(block);
    rayi_block_fill(block, 0, from, size);
    long before = faults();
    memset(data, 4, size);
    cr_assert(SANITIZED || faults() - before < 16, "filling did not map the pages: %ld faults", faults() - before);
    for (int round = 0; round < 5; round++) {
        rayi_block_unref(block);
        before = faults();
        block = make_block(store, size);
        cr_assert_eq(rayi_block_data(block), data);
        rayi_block_fill(block, 0, from, size);
        cr_assert(SANITIZED || faults() - before < 16, "%ld faults", faults() - before);
    }
    cr_assert_eq(usage_of(store).num_segments, 1);
    rayi_block_unref(block);
    free(from);
    rayi_store_close(store);
}

static int64_t cpu_ns(void) /* of this thread */
{
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return used.tv_sec * INT64_C(1000000000) + used.tv_nsec;
}

Test(store, warm_alloc_and_free_are_quick)
{
    enum { ROUNDS = 2000 };
    rayi_store *store = make_store(256 * MIB);
    rayi_block *block = make_block(store, 64 * MIB);
    write_marks(block, 1);
    rayi_block_unref(block);
    int64_t start = cpu_ns(); /* page faults are in it, and other processes are not */
    for (int i = 0; i < ROUNDS; i++)
        rayi_block_unref(make_block(store, 64 * MIB));
    double each_us = (double)(cpu_ns() - start) / 1e3 / ROUNDS;
    cr_log_info("alloc and free of 64 MiB: %.2f us", each_us);
    cr_assert(SANITIZED || each_us < 50, "%.2f us", each_us);
    rayi_store_close(store);
}

Test(store, trim)
{
    rayi_store *store = make_store(256 * MIB);
    rayi_block *one = make_block(store, 100 * MIB), *two = make_block(store, 50 * MIB),
               *three = make_block(store, 9 * MIB);
    write_marks(one, 1);
    write_marks(two, 2);
    write_marks(three, 3);
    cr_assert_eq(rayi_store_trim(store, 0), 0);
    rayi_block_unref(one);
    rayi_block_unref(two);
    cr_assert_geq(usage_of(store).warm_bytes, 150 * MIB);
    cr_assert_geq(rayi_store_trim(store, 120 * MIB), 30 * MIB);
    cr_assert_leq(usage_of(store).warm_bytes, 120 * MIB);
    cr_assert_leq(look_at_files().store_bytes, 129 * MIB + 3 * page_bytes());
    rayi_store_trim(store, 0);
    cr_assert_eq(usage_of(store).warm_bytes, 0);
    cr_assert_eq(usage_of(store).num_segments, 1);
    cr_assert_leq(look_at_files().store_bytes, 9 * MIB + page_bytes());
    cr_assert(has_marks(three, 3));
    rayi_block_unref(three);
    rayi_store_trim(store, 0);
    cr_assert_eq(look_at_files().of_store, 0);
    rayi_store_close(store);
}

static bool count_told(void *arg)
{
    int *left_deaf = arg;
    return (*left_deaf)-- <= 0;
}

/* One look: what has lain free since the last one goes, in steps. Returns what is left warm. */
static uint64_t cool(rayi_store *store)
{
    uint64_t before = usage_of(store).warm_bytes, after;
    while (rayi_store_cool(store, 8 * MIB) == RAYI_COOLING) {
        after = usage_of(store).warm_bytes;
        cr_assert(after < before && before - after <= 8 * MIB + 256 * page_bytes(),
                  "a step from %" PRIu64 " to %" PRIu64, before, after);
        before = after;
    }
    return before;
}

Test(store, cools_down_when_nobody_wants_room)
{
    int left_deaf = 1;
    rayi_store *store = make_store(256 * MIB);
    rayi_store_on_warm(store, 16 * MIB, count_told, &left_deaf);
    rayi_block *one = make_block(store, 100 * MIB), *two = make_block(store, 50 * MIB);
    write_marks(one, 1);
    write_marks(two, 2);
    rayi_block_unref(make_block(store, 10 * MIB));
    cr_assert_eq(left_deaf, 1, "told of less than what is kept");
    rayi_block_unref(one);
    cr_assert_eq(left_deaf, 0, "not told");
    rayi_block_unref(make_block(store, MIB));
    cr_assert_eq(left_deaf, -1, "not told again after nobody has heard");
    rayi_block_unref(two);
    cr_assert_eq(left_deaf, -1, "told twice");
    uint64_t warm = cool(store);
    cr_assert_geq(warm, 50 * MIB, "what was freed a moment ago went");
    cr_assert_leq(cool(store), 16 * MIB + 256 * page_bytes());
    cr_assert_leq(look_at_files().store_bytes, 16 * MIB + 256 * page_bytes());
    cr_assert_eq(rayi_store_cool(store, MIB), RAYI_COOL);

    one = make_block(store, 40 * MIB);
    write_marks(one, 3);
    cr_assert(has_marks(one, 3));
    rayi_block_unref(one);
    cr_assert_eq(left_deaf, -2, "not told when it is warm once more");
    rayi_store_close(store);
}

/* However much lies free beside it, and wherever. */
static void use_one_size(size_t stale, size_t size, bool apart)
{
    int left_deaf = 0;
    rayi_store *store = make_store(512 * MIB);
    rayi_arena *theirs = NULL;
    rayi_block *block, *other;
    rayi_store_on_warm(store, 16 * MIB, count_told, &left_deaf);
    if (apart)
        CHECK_OK(rayi_arena_new(store, &theirs));
    CHECK_OK(rayi_store_try_alloc_in(store, theirs, stale, &other));
    block = make_block(store, size);
    write_marks(other, 1);
    write_marks(block, 2);
    rayi_block_unref(other);
    rayi_block_unref(block);
    for (int look = 0; look < 6; look++) {
        for (int i = 0; i < 5; i++) {
            long before = faults();
            block = make_block(store, size);
            write_marks(block, 3);
            cr_assert(SANITIZED || faults() - before < 64, "%zu beside %zu: %ld faults after look %d", size, stale,
                      faults() - before, look);
            rayi_block_unref(block);
        }
        cool(store);
    }
    cr_assert_leq(usage_of(store).warm_bytes, size + 17 * MIB + 256 * page_bytes(), "%zu beside %zu", size, stale);
    rayi_arena_close(theirs);
    rayi_store_close(store);
}

Test(store, who_uses_its_room_again_and_again_does_not_lose_it)
{
    use_one_size(1000, 60 * MIB, false);
    use_one_size(20 * MIB, 60 * MIB, false);
    use_one_size(100 * MIB, 60 * MIB, false);
    use_one_size(100 * MIB, MIB, false);
    use_one_size(28 * MIB, 32 * MIB, false);
    use_one_size(80 * MIB, 100 * MIB, true);
}

/* Between the steps, too. */
Test(store, room_that_is_wanted_while_it_cools)
{
    int left_deaf = 0;
    rayi_store *store = make_store(512 * MIB);
    rayi_store_on_warm(store, 16 * MIB, count_told, &left_deaf);
    rayi_block_unref(make_block(store, 200 * MIB));
    cr_assert_eq(rayi_store_cool(store, 16 * MIB), RAYI_COOLING);
    do {
        rayi_block_unref(make_block(store, 150 * MIB));
        cr_assert_leq(usage_of(store).warm_bytes, 201 * MIB);
    } while (rayi_store_cool(store, 16 * MIB) == RAYI_COOLING);
    cr_assert_geq(usage_of(store).warm_bytes, 150 * MIB);
    rayi_store_close(store);
}

Test(store, nothing_is_left_behind)
{
    open_files before = look_at_files();
    size_t shm = files_in("/dev/shm");
    for (int round = 0; round < 20; round++) {
        rayi_store *store = make_store(512 * MIB);
        rayi_block *blocks[10];
        for (size_t i = 0; i < 10; i++)
            write_marks(blocks[i] = make_block(store, (i + 1) * 4 * MIB), i);
        cr_assert_eq(look_at_files().kept_on_exec, 0);
        for (size_t i = 0; i < 10; i++)
            rayi_block_unref(blocks[i]);
        rayi_store_close(store);
    }
    cr_assert_eq(look_at_files().count, before.count);
    for (int i = 0; i < 200 && files_in("/dev/shm") > shm; i++) /* others of this machine may have some for a while */
        rayi_nap_ms(50);
    cr_assert_leq(files_in("/dev/shm"), shm);
}

Test(store, blocks_outlive_their_store)
{
    open_files before = look_at_files();
    rayi_store *store = make_store(512 * MIB);
    rayi_block *one = make_block(store, 100 * MIB), *two = make_block(store, MIB), *gone = make_block(store, 100 * MIB);
    write_marks(one, 1);
    write_marks(two, 2);
    rayi_block_unref(gone);
    rayi_store_close(store);
    cr_assert_eq(look_at_files().of_store, 2, "idle segments go at once");
    cr_assert(has_marks(one, 1));
    rayi_block_unref(one);
    cr_assert_eq(look_at_files().of_store, 1);
    rayi_block_shrink(two, 100);
    mark_last(two, 2);
    rayi_block_seal(two);
    cr_assert(has_marks(two, 2));
    rayi_block_unref(two);
    cr_assert_eq(look_at_files().count, before.count);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static void nap_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

typedef struct asker {
    pthread_t thread;
    rayi_store *store;
    size_t size;
    int64_t deadline_ns;
    rayi_block *block;
    char message[256];
    _Atomic int result; /* 1: not there yet */
} asker;

static void *ask(void *arg)
{
    asker *self = arg;
    int r = rayi_store_alloc(self->store, self->size, self->deadline_ns, &self->block);
    snprintf(self->message, sizeof self->message, "%s", rayi_error_last_public()->message);
    self->result = r;
    return NULL;
}

static void start_asker(asker *self, rayi_store *store, size_t size, int64_t deadline_ns)
{
    uint64_t waiting = usage_of(store).num_waiters;
    *self = (asker){.store = store, .size = size, .deadline_ns = deadline_ns, .result = 1};
    cr_assert_eq(pthread_create(&self->thread, NULL, ask, self), 0);
    while (usage_of(store).num_waiters == waiting && self->result == 1)
        nap_ms(1);
}

static int join_asker(asker *self)
{
    pthread_join(self->thread, NULL);
    return self->result;
}

Test(store, waits_for_room, .timeout = 60)
{
    rayi_store *store = make_store(8 * MIB);
    rayi_block *small = make_block(store, MIB), *large = make_block(store, 7 * MIB);
    asker waits;
    start_asker(&waits, store, 7 * MIB, INT64_MAX);
    rayi_block_unref(small);
    nap_ms(20);
    cr_assert_eq(waits.result, 1, "1 MiB is not enough");
    rayi_block_unref(large);
    cr_assert_eq(join_asker(&waits), 0);
    cr_assert_eq(rayi_block_size(waits.block), 7 * MIB);
    rayi_block_unref(waits.block);
    cr_assert_eq(usage_of(store).used_bytes, 0);
    rayi_store_close(store);
}

Test(store, room_goes_to_the_oldest_waiter_it_is_enough_for, .timeout = 60)
{
    rayi_store *store = make_store(8 * MIB);
    rayi_block *small = make_block(store, 2 * MIB), *large = make_block(store, 6 * MIB), *more = NULL;
    asker first, second, third;
    start_asker(&first, store, 4 * MIB, INT64_MAX);
    start_asker(&second, store, 2 * MIB, INT64_MAX);
    start_asker(&third, store, 2 * MIB, INT64_MAX);
    cr_assert_eq(usage_of(store).num_waiters, 3);
    rayi_block_unref(small);
    CHECK_FAILS(rayi_store_try_alloc(store, 1, &more), RAY_ERR_STORE_FULL); /* granted already */
    cr_assert_eq(join_asker(&second), 0);
    cr_assert(first.result == 1 && third.result == 1);
    rayi_block_unref(large);
    cr_assert_eq(join_asker(&first), 0);
    cr_assert_eq(join_asker(&third), 0);
    rayi_block_unref(first.block);
    rayi_block_unref(second.block);
    rayi_block_unref(third.block);
    rayi_store_close(store);
}

Test(store, shrink_wakes_a_waiter, .timeout = 60)
{
    rayi_store *store = make_store(8 * MIB);
    rayi_block *block = make_block(store, 8 * MIB);
    asker waits;
    start_asker(&waits, store, 7 * MIB, INT64_MAX);
    rayi_block_shrink(block, MIB);
    cr_assert_eq(join_asker(&waits), 0);
    rayi_block_unref(waits.block);
    rayi_block_unref(block);
    rayi_store_close(store);
}

Test(store, deadline, .timeout = 60)
{
    rayi_store *store = make_store(MIB);
    rayi_block *block = make_block(store, MIB), *more = NULL;
    int64_t start = rayi_now_ns();
    CHECK_FAILS(rayi_store_alloc(store, 4096, start + 50000000, &more), RAY_ERR_STORE_FULL);
    cr_assert_geq(rayi_now_ns() - start, 50000000);
    cr_assert(strstr(rayi_error_last_public()->message, "1048576 of 1048576"), "%s", rayi_error_last_public()->message);
    CHECK_FAILS(rayi_store_alloc(store, 4096, start, &more), RAY_ERR_STORE_FULL); /* past */
    CHECK_FAILS(rayi_store_alloc(store, 4096, 0, &more), RAY_ERR_STORE_FULL);
    cr_assert_eq(usage_of(store).num_waiters, 0);
    rayi_block_unref(block);
    CHECK_OK(rayi_store_alloc(store, 4096, start, &more)); /* room counts, not the deadline */
    rayi_block_unref(more);
    rayi_store_close(store);
}

Test(store, cancel_waits, .timeout = 60)
{
    rayi_store *store = make_store(MIB);
    rayi_block *block = make_block(store, MIB), *more = NULL;
    asker waits, bounded;
    start_asker(&waits, store, 5000, INT64_MAX);
    start_asker(&bounded, store, 5000, rayi_now_ns() + INT64_C(60000000000));
    rayi_store_cancel_waits(store);
    cr_assert_eq(join_asker(&waits), RAY_ERR_SHUTDOWN);
    cr_assert(strstr(waits.message, "5000"), "%s", waits.message);
    cr_assert_eq(join_asker(&bounded), RAY_ERR_SHUTDOWN);
    CHECK_FAILS(rayi_store_alloc(store, 1, INT64_MAX, &more), RAY_ERR_SHUTDOWN); /* also later ones */
    CHECK_FAILS(rayi_store_alloc(store, 1, 0, &more), RAY_ERR_STORE_FULL);
    rayi_block_unref(block);
    CHECK_OK(rayi_store_alloc(store, 1, INT64_MAX, &more)); /* need not wait */
    rayi_block_unref(more);
    rayi_store_close(store);
}

Test(store, close_ends_waits, .timeout = 60)
{
    rayi_store *store = make_store(MIB);
    rayi_block *block = make_block(store, MIB);
    asker waits;
    start_asker(&waits, store, 1, INT64_MAX);
    rayi_store_close(store);
    cr_assert_eq(join_asker(&waits), RAY_ERR_SHUTDOWN);
    rayi_block_unref(block);
    cr_assert_eq(look_at_files().of_store, 0);
}
