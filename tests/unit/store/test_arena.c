/* Arenas: segments of one process each, a capacity of all; segments handed to other processes. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static rayi_arena *make_arena(rayi_store *store)
{
    rayi_arena *arena = NULL;
    CHECK_OK(rayi_arena_new(store, &arena));
    return arena;
}

static rayi_block *make_block_in(rayi_store *store, rayi_arena *arena, size_t size)
{
    rayi_block *block = NULL;
    CHECK_OK(rayi_store_alloc_in(store, arena, size, 0, &block));
    return block;
}

static rayi_place place_of(rayi_block *block)
{
    rayi_place place;
    rayi_block_place(block, &place);
    return place;
}

Test(arena, has_segments_of_its_own_and_none_before_the_first_block)
{
    open_files before = look_at_files();
    rayi_store *store = make_store(256 * MIB);
    rayi_arena *a = make_arena(store), *b = make_arena(store);
    cr_assert_eq(look_at_files().count, before.count);
    rayi_block *blocks[] = {make_block(store, MIB), make_block_in(store, a, MIB), make_block_in(store, b, MIB),
                            make_block_in(store, a, MIB)};
    rayi_place places[4];
    for (size_t i = 0; i < 4; i++)
        places[i] = place_of(blocks[i]);
    cr_assert(places[0].segment != places[1].segment && places[0].segment != places[2].segment &&
              places[1].segment != places[2].segment);
    cr_assert_eq(places[1].segment, places[3].segment);
    cr_assert_neq(places[1].offset, places[3].offset);
    cr_assert_lt(places[1].segment_bytes, 10 * MIB, "many processes are cheap");
    for (size_t i = 0; i < 4; i++) {
        cr_assert_leq(places[i].offset + MIB, places[i].segment_bytes);
        rayi_block_unref(blocks[i]);
    }
    rayi_arena_close(a);
    cr_assert_eq(usage_of(store).num_segments, 2);
    rayi_arena_close(b);
    rayi_arena_close(NULL);
    cr_assert_eq(usage_of(store).num_segments, 1);
    rayi_store_close(store);
    cr_assert_eq(look_at_files().count, before.count);
}

Test(arena, one_capacity_for_all)
{
    rayi_store *store = make_store(16 * MIB);
    rayi_arena *arena = make_arena(store);
    rayi_block *one = make_block(store, 10 * MIB), *two = make_block_in(store, arena, 6 * MIB), *more = NULL;
    CHECK_FAILS(rayi_store_try_alloc_in(store, arena, 1, &more), RAY_ERR_STORE_FULL);
    CHECK_FAILS(rayi_store_alloc_in(store, arena, 17 * MIB, INT64_MAX, &more), RAY_ERR_STORE_FULL);
    write_marks(one, 1);
    rayi_block_unref(one);
    more = make_block_in(store, arena, 10 * MIB); /* the node's warm room is not for it, and goes */
    write_marks(more, 2);
    cr_assert_neq(place_of(more).segment, 1);
    cr_assert_leq(look_at_files().store_bytes, 16 * MIB + 3 * page_bytes());
    rayi_block_unref(two);
    rayi_block_unref(more);
    rayi_arena_close(arena);
    rayi_store_close(store);
}

Test(arena, room_is_warm_for_its_own_process_only)
{
    rayi_store *store = make_store(64 * MIB);
    rayi_arena *a = make_arena(store), *b = make_arena(store);
    rayi_block *block = make_block_in(store, a, 4 * MIB);
    rayi_place before = place_of(block), other, after;
    write_marks(block, 1);
    rayi_block_unref(block);
    block = make_block_in(store, b, 4 * MIB);
    other = place_of(block);
    rayi_block_unref(block);
    block = make_block_in(store, a, 4 * MIB);
    after = place_of(block);
    cr_assert(after.segment == before.segment && after.offset == before.offset);
    cr_assert_neq(other.segment, before.segment);
    rayi_block_unref(block);
    rayi_arena_close(a);
    rayi_arena_close(b);
    rayi_store_close(store);
}

Test(arena, segments_grow_with_the_appetite)
{
    rayi_store *store = make_store(1024 * MIB);
    rayi_arena *arena = make_arena(store);
    rayi_block *blocks[200];
    for (size_t i = 0; i < RAYI_COUNT_OF(blocks); i++)
        blocks[i] = make_block_in(store, arena, 2 * MIB);
    cr_assert_lt(usage_of(store).num_segments, 12);
    rayi_block *large = make_block_in(store, arena, 300 * MIB);
    cr_assert_geq(place_of(large).segment_bytes, 300 * MIB);
    rayi_arena_close(arena);
    for (size_t i = 0; i < RAYI_COUNT_OF(blocks); i++)
        rayi_block_unref(blocks[i]);
    cr_assert_eq(usage_of(store).num_segments, 1);
    rayi_block_unref(large);
    cr_assert_eq(usage_of(store).num_segments, 0);
    rayi_store_close(store);
}

/* --- closing ------------------------------------------------------------------------------------------------------ */

typedef struct told {
    rayi_store *store;
    uint64_t last;
    int count;
} told;

static void tell(void *arg, uint64_t segment)
{
    told *of = arg;
    rayi_store_usage usage;
    int fd;
    of->last = segment;
    of->count++;
    rayi_store_stats(of->store, &usage); /* no lock is held */
    cr_assert_eq(rayi_store_share(of->store, segment, false, &fd), RAY_ERR_NOT_FOUND);
}

Test(arena, segments_go_with_the_last_block_and_tell)
{
    rayi_store *store = make_store(64 * MIB);
    told heard = {.store = store};
    rayi_store_on_segment_gone(store, tell, &heard);
    rayi_arena *arena = make_arena(store);
    rayi_block *one = make_block_in(store, arena, MIB), *two = make_block_in(store, arena, MIB), *more = NULL;
    uint64_t segment = place_of(one).segment;
    write_marks(one, 1);
    write_marks(two, 2);
    rayi_block_seal(two);
    rayi_block_unref(one);
    cr_assert_eq(heard.count, 0);
    rayi_arena_close(arena);
    cr_assert_eq(heard.count, 0);
    cr_assert(has_marks(two, 2));
    rayi_block_unref(two);
    cr_assert_eq(heard.count, 1);
    cr_assert_eq(heard.last, segment);
    more = make_block(store, MIB);
    cr_assert_gt(place_of(more).segment, segment, "a number is never used again");
    rayi_block_unref(more);
    cr_assert_eq(rayi_store_trim(store, 0), MIB + page_bytes());
    cr_assert_eq(heard.count, 2);
    rayi_store_close(store);
}

Test(arena, outlives_its_store)
{
    rayi_store *store = make_store(64 * MIB);
    rayi_arena *arena = make_arena(store);
    rayi_block *block = make_block_in(store, arena, MIB);
    write_marks(block, 1);
    rayi_store_close(store);
    cr_assert(has_marks(block, 1));
    rayi_block_unref(block);
    rayi_arena_close(arena);
    cr_assert_eq(look_at_files().of_store, 0);
}

typedef struct asker {
    pthread_t thread;
    rayi_store *store;
    rayi_arena *arena;
    int r;
} asker;

static void *ask(void *arg)
{
    asker *self = arg;
    rayi_block *block = NULL;
    self->r = rayi_store_alloc_in(self->store, self->arena, MIB, INT64_MAX, &block);
    rayi_block_unref(block);
    return NULL;
}

Test(arena, close_ends_the_waits_for_it, .timeout = 60)
{
    rayi_store *store = make_store(4 * MIB);
    rayi_block *all = make_block(store, 4 * MIB);
    asker own = {.store = store, .arena = make_arena(store)}, other = {.store = store, .arena = make_arena(store)};
    pthread_create(&own.thread, NULL, ask, &own);
    pthread_create(&other.thread, NULL, ask, &other);
    while (usage_of(store).num_waiters < 2)
        usleep(1000);
    rayi_arena_close(own.arena);
    pthread_join(own.thread, NULL);
    cr_assert_eq(own.r, RAY_ERR_SHUTDOWN);
    cr_assert_eq(usage_of(store).num_waiters, 1);
    rayi_block_unref(all);
    pthread_join(other.thread, NULL);
    cr_assert_eq(other.r, 0);
    rayi_arena_close(other.arena);
    rayi_store_close(store);
}

/* --- other processes ---------------------------------------------------------------------------------------------- */

Test(arena, a_shared_segment_can_be_read_and_not_written)
{
    rayi_store *store = make_store(64 * MIB);
    rayi_block *block = make_block(store, MIB);
    rayi_place place = place_of(block);
    int fd = -1;
    write_marks(block, 7);
    CHECK_OK(rayi_store_share(store, place.segment, false, &fd));
    cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    struct stat status;
    cr_assert(fstat(fd, &status) == 0 && (size_t)status.st_size == place.segment_bytes);
    cr_assert_eq(mmap(NULL, place.segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
    cr_assert(ftruncate(fd, 0) != 0 && write(fd, "x", 1) < 0);
    const unsigned char *map = mmap(NULL, place.segment_bytes, PROT_READ, MAP_SHARED, fd, 0);
    cr_assert_neq(map, MAP_FAILED);
    cr_assert_eq(memcmp(map + place.offset, rayi_block_data(block), MIB), 0);
    munmap((void *)map, place.segment_bytes);
    close(fd);
    rayi_block_unref(block);
    rayi_store_close(store);
}

Test(arena, another_process_writes_its_segment)
{
    rayi_store *store = make_store(64 * MIB);
    rayi_arena *arena = make_arena(store);
    rayi_block *block = make_block_in(store, arena, MIB);
    rayi_place place = place_of(block);
    int fd = -1, status = 0;
    CHECK_OK(rayi_store_share(store, place.segment, true, &fd));
    pid_t child = fork();
    if (child == 0) {
        char *map = mmap(NULL, place.segment_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED || ftruncate(fd, 0) == 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0)
            _exit(1); /* sealed: nobody here can get SIGBUS */
        memset(map + place.offset, 0x5a, MIB);
        _exit(0);
    }
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    rayi_block_seal(block);
    for (size_t i = 0; i < MIB; i++)
        cr_assert_eq(BYTES_OF(block)[i], 0x5a);
    cr_assert_eq(BYTES_OF(block)[MIB], 0);
    close(fd);
    rayi_arena_close(arena);
    rayi_block_unref(block);
    CHECK_FAILS(rayi_store_share(store, place.segment, false, &fd), RAY_ERR_NOT_FOUND);
    rayi_store_close(store);
}

Test(arena, many_processes)
{
    enum { COUNT = 100 };
    rayi_store *store = make_store(512 * MIB);
    rayi_arena *arenas[COUNT];
    rayi_block *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        arenas[i] = make_arena(store);
        write_marks(blocks[i] = make_block_in(store, arenas[i], 4 * MIB), i);
        rayi_block_seal(blocks[i]);
        if (i % 3 == 0)
            rayi_arena_close(arenas[i]);
    }
    for (size_t i = 0; i < COUNT; i++) {
        cr_assert(has_marks(blocks[i], i));
        rayi_block_unref(blocks[i]);
        if (i % 3)
            rayi_arena_close(arenas[i]);
    }
    cr_assert_eq(usage_of(store).num_segments, 0);
    rayi_store_close(store);
}
