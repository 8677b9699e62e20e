/* Spilling: what goes to disk, when, in which order, and how it comes back; disks that are full or lie. */
#include "base/sum.h"
#include "helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define FILES(directory) (files_in(directory) - 2) /* but "." and ".." */

/* --- more than fits ----------------------------------------------------------------------------------------------- */

Test(spill, more_than_fits_comes_back)
{
    enum { COUNT = 100 };
    char directory[64];
    rayi_store *store = make_spilling_store(16 * MIB, make_directory(directory));
    rayi_block *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = make_sealed(store, MIB - i, i);
    rayi_store_usage usage = usage_of(store);
    cr_assert_eq(usage.num_blocks, COUNT);
    cr_assert_eq(usage.num_spilled, COUNT - 16);
    cr_assert_leq(usage.used_bytes, 16 * MIB);
    cr_assert_eq(usage.spilled_bytes, usage.spilled_total_bytes);
    cr_assert_eq(usage.restored_total_bytes + usage.num_restored + usage.pinned_bytes, 0);
    for (size_t i = 0; i < COUNT; i++) {
        CHECK_OK(rayi_block_pin(blocks[i]));
        cr_assert(has_marks(blocks[i], i), "block %zu", i);
        cr_assert_eq((uintptr_t)rayi_block_data(blocks[i]) % page_bytes(), 0);
        cr_assert(!rayi_block_is_spilled(blocks[i]));
        rayi_block_unpin(blocks[i]);
    }
    usage = usage_of(store);
    cr_assert_eq(usage.num_restored, COUNT);
    cr_assert_eq(usage.num_spilled, COUNT - 16);
    cr_assert_leq(look_at_files().store_bytes, 16 * MIB + 17 * page_bytes());
    for (size_t i = 0; i < COUNT; i++)
        rayi_block_unref(blocks[i]);
    usage = usage_of(store);
    cr_assert_eq(usage.num_blocks + usage.num_spilled + usage.spilled_bytes + usage.used_bytes, 0);
    cr_assert_eq(FILES(directory), 0);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, a_copy_on_disk_is_written_once)
{
    enum { COUNT = 8 };
    char directory[64];
    rayi_store *store = make_spilling_store(4 * MIB, make_directory(directory));
    rayi_block *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = make_sealed(store, MIB, i);
    for (size_t round = 0; round < 5; round++)
        for (size_t i = 0; i < COUNT; i++)
            check_marks(blocks[i], i);
    rayi_store_usage usage = usage_of(store);
    cr_assert_eq(usage.spilled_total_bytes, COUNT * MIB);
    cr_assert_eq(usage.num_restored, 5 * COUNT);
    for (size_t i = 0; i < COUNT; i++)
        rayi_block_unref(blocks[i]);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, the_least_recently_unpinned_goes_first)
{
    char directory[64];
    rayi_store *store = make_spilling_store(4 * MIB, make_directory(directory));
    rayi_block *blocks[6];
    for (size_t i = 0; i < 4; i++)
        blocks[i] = make_sealed(store, MIB, i);
    check_marks(blocks[0], 0);
    CHECK_OK(rayi_block_pin(blocks[1]));
    CHECK_OK(rayi_block_pin(blocks[2]));
    rayi_block_unpin(blocks[2]);
    rayi_block_unpin(blocks[1]); /* now 3, 0, 2, 1 */
    blocks[4] = make_sealed(store, MIB, 4);
    cr_assert(rayi_block_is_spilled(blocks[3]) && usage_of(store).num_spilled == 1);
    blocks[5] = make_sealed(store, 2 * MIB, 5);
    cr_assert(rayi_block_is_spilled(blocks[0]) && rayi_block_is_spilled(blocks[2]) && usage_of(store).num_spilled == 3);
    cr_assert(!rayi_block_try_pin(blocks[0]));
    cr_assert(rayi_block_try_pin(blocks[1]));
    rayi_block_unpin(blocks[1]);
    for (size_t i = 0; i < 6; i++) {
        check_marks(blocks[i], i);
        rayi_block_unref(blocks[i]);
    }
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, what_is_pinned_or_open_stays)
{
    char directory[64];
    rayi_store *store = make_spilling_store(4 * MIB, make_directory(directory));
    rayi_block *open = make_block(store, MIB), *pinned = make_sealed(store, MIB, 1), *first, *more = NULL;
    void *place = rayi_block_data(open);
    write_marks(open, 0);
    CHECK_OK(rayi_block_pin(pinned));
    void *pinned_place = rayi_block_data(pinned);
    first = make_sealed(store, 2 * MIB, 2);
    more = make_sealed(store, 2 * MIB, 3);
    cr_assert(rayi_block_is_spilled(first) && !rayi_block_is_spilled(pinned));
    rayi_block *large = NULL;
    CHECK_FAILS(rayi_store_alloc(store, 3 * MIB, rayi_now_ns() + 10000000, &large), RAY_ERR_STORE_FULL);
    cr_assert(strstr(rayi_error_last_public()->message, "2097152"), "%s", rayi_error_last_public()->message);
    cr_assert(!rayi_block_is_spilled(more), "what is not enough is not written");
    CHECK_FAILS(rayi_store_alloc(store, 5 * MIB, INT64_MAX, &large), RAY_ERR_STORE_FULL);
    CHECK_FAILS(rayi_store_try_alloc(store, 1, &large), RAY_ERR_STORE_FULL);
    cr_assert(rayi_block_data(open) == place && rayi_block_data(pinned) == pinned_place);
    cr_assert(has_marks(open, 0) && has_marks(pinned, 1));
    rayi_block_unpin(pinned);
    rayi_block_unref(open);
    CHECK_OK(rayi_store_alloc(store, 3 * MIB, rayi_now_ns() + 10000000, &large));
    cr_assert(rayi_block_is_spilled(more) && !rayi_block_is_spilled(pinned));
    rayi_block_unref(large);
    check_marks(pinned, 1);
    check_marks(first, 2);
    check_marks(more, 3);
    rayi_block_unref(pinned);
    rayi_block_unref(first);
    rayi_block_unref(more);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, sizes)
{
    const size_t sizes[] = {0, 0, 1, 4095, 4096, 256 * KIB, 256 * KIB + 1, MIB - 1, 3 * MIB + 5, 8 * MIB};
    char directory[64];
    rayi_store *store = make_spilling_store(8 * MIB, make_directory(directory));
    rayi_block *blocks[RAYI_COUNT_OF(sizes)];
    for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++)
        blocks[i] = make_sealed(store, sizes[i], i);
    for (int round = 0; round < 2; round++)
        for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++)
            check_marks(blocks[i], i);
    for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++)
        rayi_block_unref(blocks[i]);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, a_block_of_a_process_comes_back_to_the_node)
{
    char directory[64];
    rayi_store *store = make_spilling_store(4 * MIB, make_directory(directory));
    rayi_arena *arena;
    rayi_block *block, *others[4];
    rayi_place before, after;
    CHECK_OK(rayi_arena_new(store, &arena));
    CHECK_OK(rayi_store_alloc_in(store, arena, MIB, 0, &block));
    write_marks(block, 9);
    rayi_block_place(block, &before);
    rayi_block_seal(block);
    for (size_t i = 0; i < 4; i++)
        others[i] = make_sealed(store, MIB, i);
    cr_assert(rayi_block_is_spilled(block));
    rayi_arena_close(arena);
    CHECK_OK(rayi_block_pin(block));
    rayi_block_place(block, &after);
    cr_assert_neq(after.segment, before.segment);
    cr_assert(has_marks(block, 9));
    rayi_block_unpin(block);
    rayi_block_unref(block);
    for (size_t i = 0; i < 4; i++)
        rayi_block_unref(others[i]);
    cr_assert_eq(usage_of(store).num_segments, 1);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, never_without_a_directory)
{
    rayi_store *store = make_store(MIB);
    rayi_block *block, *more = NULL;
    CHECK_OK(rayi_store_set_spill(store, NULL));
    CHECK_OK(rayi_store_set_spill(store, ""));
    block = make_sealed(store, MIB, 1);
    CHECK_FAILS(rayi_store_alloc(store, MIB, rayi_now_ns() + 10000000, &more), RAY_ERR_STORE_FULL);
    check_marks(block, 1);
    rayi_block_unref(block);
    rayi_store_close(store);
}

typedef struct asked {
    const char *directory;
    int count, code;
} asked;

static int tell_directory(void *arg, char *out, size_t size)
{
    asked *of = arg;
    of->count++;
    if (of->code)
        return rayi_fail(of->code, "no such luck");
    cr_assert_lt(snprintf(out, size, "%s", of->directory), (int)size);
    return 0;
}

Test(spill, the_directory_is_asked_for_when_it_is_needed)
{
    char directory[64];
    asked of = {.directory = make_directory(directory), .code = RAY_ERR_SYSTEM};
    rayi_store *store = make_store(2 * MIB);
    rayi_block *one, *two, *three = NULL;
    CHECK_OK(rayi_store_set_spill_later(store, tell_directory, &of));
    one = make_sealed(store, MIB, 1);
    two = make_sealed(store, MIB, 2);
    cr_assert_eq(of.count, 0);
    CHECK_FAILS(rayi_store_alloc(store, MIB, rayi_now_ns() + 1000000, &three), RAY_ERR_DISK_FULL);
    cr_assert(strstr(rayi_error_last_public()->message, "no such luck"), "%s", rayi_error_last_public()->message);
    cr_assert_geq(of.count, 1);
    of.code = of.count = 0;
    three = make_sealed(store, 2 * MIB, 3);
    cr_assert_eq(of.count, 1);
    check_marks(one, 1);
    check_marks(two, 2);
    cr_assert_eq(of.count, 1);
    rayi_block_unref(one);
    rayi_block_unref(two);
    rayi_block_unref(three);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

/* --- checksums ---------------------------------------------------------------------------------------------------- */

Test(spill, sums_are_those_of_xxhash)
{
    unsigned char bytes[5000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = mark_of(3, i);
    cr_assert_eq(rayi_sum(bytes, 0, 0), UINT64_C(0x2d06800538d394c2)); /* as xxhsum -H3 says */
    cr_assert_eq(rayi_sum("abc", 3, 0), UINT64_C(0x78af5f94892f3950));
    for (size_t size = 0; size <= sizeof bytes; size += size < 300 ? 1 : 97)
        cr_assert_eq(rayi_sum(bytes, size, size), XXH3_64bits_withSeed(bytes, size, size), "%zu bytes", size);
    for (size_t i = 0; i < sizeof bytes; i += 61) { /* each bit counts */
        uint64_t before = rayi_sum(bytes, sizeof bytes, 1);
        bytes[i] ^= 1u << i % 8;
        cr_assert_neq(rayi_sum(bytes, sizeof bytes, 1), before);
    }
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static uint64_t bytes_on_disk(const char *directory)
{
    uint64_t bytes = 0;
    struct stat status;
    DIR *dir = opendir(directory);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (*entry->d_name != '.' && fstatat(dirfd(dir), entry->d_name, &status, 0) == 0) {
            cr_assert_eq(status.st_mode & 07777, 0600);
            bytes += (uint64_t)status.st_blocks * 512;
        }
    closedir(dir);
    return bytes;
}

Test(spill, files_are_shared_and_shrink)
{
    enum { COUNT = 300 };
    char directory[64];
    rayi_store *store = make_spilling_store(MIB, make_directory(directory));
    open_files before = look_at_files();
    rayi_block *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = make_sealed(store, 500 * KIB, i);
    cr_assert_leq(FILES(directory), 3, "%zu files", FILES(directory)); /* 147 MiB */
    cr_assert_leq(look_at_files().count, before.count + 3);            /* segment, directory, a file */
    cr_assert_eq(look_at_files().kept_on_exec, 0);
    for (size_t i = 1; i < COUNT; i++)
        if (i % 100)
            rayi_block_unref(blocks[i]);
    sync();
    cr_assert_leq(bytes_on_disk(directory), (5 + 16) * MIB, /* some is reserved in the last one */
                  "%llu bytes", (unsigned long long)bytes_on_disk(directory));
    for (size_t i = 0; i < COUNT; i += 100) {
        check_marks(blocks[i], i);
        rayi_block_unref(blocks[i]);
    }
    cr_assert_eq(FILES(directory), 0);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, other_files_are_left_alone)
{
    char directory[64], path[96];
    make_directory(directory);
    snprintf(path, sizeof path, "%s/spill-1", directory);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert(fd >= 0 && write(fd, "mine", 4) == 4);
    rayi_store *store = make_spilling_store(MIB, directory);
    rayi_block *one = make_sealed(store, MIB, 1), *two = make_sealed(store, MIB, 2);
    cr_assert_eq(FILES(directory), 2);
    check_marks(one, 1);
    rayi_block_unref(one);
    rayi_block_unref(two);
    rayi_store_close(store);
    struct stat status;
    cr_assert(fstat(fd, &status) == 0 && status.st_size == 4 && status.st_nlink == 1);
    close(fd);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, close_removes_all_files)
{
    char directory[64];
    rayi_store *store = make_spilling_store(2 * MIB, make_directory(directory));
    rayi_block *blocks[8];
    for (size_t i = 0; i < 8; i++)
        blocks[i] = make_sealed(store, MIB, i);
    CHECK_OK(rayi_block_pin(blocks[7]));
    rayi_store_close(store);
    cr_assert_eq(FILES(directory), 0);
    cr_assert_eq(rmdir(directory), 0);
    CHECK_FAILS(rayi_block_pin(blocks[0]), RAY_ERR_SHUTDOWN);
    check_marks(blocks[6], 6); /* was in memory */
    cr_assert(has_marks(blocks[7], 7));
    rayi_block_unpin(blocks[7]);
    for (size_t i = 0; i < 8; i++)
        rayi_block_unref(blocks[i]);
    cr_assert_eq(look_at_files().of_store, 0);
}

Test(spill, the_end_of_spilling_keeps_what_is_in_memory)
{
    char directory[64];
    rayi_store *store = make_spilling_store(2 * MIB, make_directory(directory));
    rayi_block *blocks[4], *more = NULL;
    for (size_t i = 0; i < 4; i++)
        blocks[i] = make_sealed(store, MIB, i);
    check_marks(blocks[0], 0); /* in memory, with a copy */
    rayi_store_end_spilling(store);
    cr_assert_eq(rmdir(directory), 0);
    CHECK_FAILS(rayi_store_alloc(store, MIB, rayi_now_ns() + 10000000, &more), RAY_ERR_STORE_FULL);
    CHECK_FAILS(rayi_block_pin(blocks[1]), RAY_ERR_SHUTDOWN);
    check_marks(blocks[0], 0);
    check_marks(blocks[3], 3);
    for (size_t i = 0; i < 4; i++)
        rayi_block_unref(blocks[i]);
    rayi_store_close(store);
}

/* --- files that lie ----------------------------------------------------------------------------------------------- */

static int open_only_file(const char *directory)
{
    char path[400] = "";
    DIR *dir = opendir(directory);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (*entry->d_name != '.')
            snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
    closedir(dir);
    return open(path, O_RDWR | O_CLOEXEC);
}

static void check_message(const char *one, const char *two)
{
    const char *message = rayi_error_last_public()->message;
    cr_assert(strstr(message, one) && strstr(message, two), "%s", message);
}

Test(spill, damage_is_noticed)
{
    const size_t size = 700001, places[] = {0, 300000, 700000};
    char directory[64], byte;
    rayi_store *store = make_spilling_store(MIB, make_directory(directory));
    rayi_block *block = make_sealed(store, size, 1), *other = make_sealed(store, size, 2);
    int fd = open_only_file(directory);
    for (size_t i = 0; i < RAYI_COUNT_OF(places); i++) {
        cr_assert_eq(pread(fd, &byte, 1, (off_t)places[i]), 1);
        byte ^= 0x10;
        cr_assert_eq(pwrite(fd, &byte, 1, (off_t)places[i]), 1);
        CHECK_FAILS(rayi_block_pin(block), RAY_ERR_CORRUPT);
        check_message(directory, "700001");
        byte ^= 0x10;
        cr_assert_eq(pwrite(fd, &byte, 1, (off_t)places[i]), 1);
        check_marks(block, 1);
        check_marks(other, 2); /* which makes the first one go again */
    }
    cr_assert(rayi_block_is_spilled(block));
    cr_assert_eq(ftruncate(fd, 600000), 0);
    CHECK_FAILS(rayi_block_pin(block), RAY_ERR_CORRUPT);
    check_message("700001", "600000");
    cr_assert_eq(usage_of(store).used_bytes, 0); /* nothing is kept of what failed */
    close(fd);
    rayi_block_unref(block);
    rayi_block_unref(other);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, a_file_that_is_gone)
{
    char directory[64], command[128];
    rayi_store *store = make_spilling_store(MIB, make_directory(directory));
    rayi_block *block = make_sealed(store, MIB, 1), *other = make_sealed(store, MIB, 2);
    snprintf(command, sizeof command, "rm %s/*", directory);
    cr_assert_eq(system(command), 0);
    CHECK_FAILS(rayi_block_pin(block), RAY_ERR_SYSTEM);
    check_message(directory, strerror(ENOENT));
    rayi_block_unref(block);
    rayi_block_unref(other);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, no_directory)
{
    rayi_store *store = make_spilling_store(MIB, "/nonexistent/spill");
    rayi_block *block = make_sealed(store, MIB, 1), *more = NULL;
    CHECK_FAILS(rayi_store_alloc(store, 12345, rayi_now_ns() + 1000000, &more), RAY_ERR_DISK_FULL);
    check_message("/nonexistent/spill", strerror(ENOENT));
    check_message("12345", "");
    check_marks(block, 1);
    rayi_block_unref(block);
    rayi_store_close(store);
}

/* --- a full disk -------------------------------------------------------------------------------------------------- */

Test(spill, a_full_disk_loses_nothing, .timeout = 60)
{
    enum { COUNT = 12 };
    char directory[64];
    make_directory(directory);
    if (mount("tmpfs", directory, "tmpfs", 0, "size=4500K")) /* and half of a fifth one */
        cr_skip_test("no tmpfs can be mounted here: %s", strerror(errno));
    rayi_store *store = make_spilling_store(8 * MIB, directory);
    rayi_block *blocks[COUNT], *more = NULL;
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = make_sealed(store, MIB, i);
    int64_t start = rayi_now_ns();
    CHECK_FAILS(rayi_store_alloc(store, 777777, start + 250000000, &more), RAY_ERR_DISK_FULL);
    cr_assert_geq(rayi_now_ns() - start, 250000000, "room may appear until the deadline");
    check_message(directory, strerror(ENOSPC));
    check_message("777777", "");
    rayi_store_usage usage = usage_of(store);
    cr_assert_eq(usage.num_spilled, 4);
    cr_assert_eq(usage.num_waiters, 0);
    cr_assert_eq(bytes_on_disk(directory), 4 * MIB, "nothing is left of what failed");
    rayi_block_unref(blocks[0]); /* room on the disk */
    blocks[0] = make_sealed(store, MIB, 0);
    CHECK_FAILS(rayi_store_alloc(store, 1, rayi_now_ns() + 1000000, &more), RAY_ERR_DISK_FULL);
    CHECK_FAILS(rayi_block_pin_until(blocks[1], rayi_now_ns() + 1000000), RAY_ERR_DISK_FULL);
    rayi_block_unref(blocks[COUNT - 1]); /* room in memory */
    for (size_t i = 0; i < COUNT - 1; i++)
        check_marks(blocks[i], i);
    for (size_t i = 0; i < COUNT - 1; i++)
        rayi_block_unref(blocks[i]);
    cr_assert_eq(FILES(directory), 0);
    rayi_store_close(store);
    cr_assert_eq(umount(directory), 0);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, a_full_disk_takes_copies_from_what_is_pinned, .timeout = 60)
{
    enum { COUNT = 8 };
    char directory[64];
    make_directory(directory);
    if (mount("tmpfs", directory, "tmpfs", 0, "size=4M"))
        cr_skip_test("no tmpfs can be mounted here: %s", strerror(errno));
    rayi_store *store = make_spilling_store(8 * MIB, directory);
    rayi_block *blocks[COUNT + 4];
    for (size_t i = 0; i < COUNT + 4; i++)
        blocks[i] = make_sealed(store, MIB, i);
    for (size_t i = 0; i < 4; i++)
        cr_assert(rayi_block_is_spilled(blocks[i]));
    for (size_t i = COUNT; i < COUNT + 4; i++)
        rayi_block_unref(blocks[i]);
    for (size_t i = 0; i < 4; i++) /* now in memory and on disk, which is full */
        CHECK_OK(rayi_block_pin(blocks[i]));
    rayi_block *more = NULL;
    CHECK_OK(rayi_store_alloc(store, 3 * MIB, rayi_now_ns() + 5000000000, &more));
    for (size_t i = 0; i < 4; i++) {
        cr_assert(has_marks(blocks[i], i));
        rayi_block_unpin(blocks[i]);
    }
    rayi_block_unref(more);
    for (size_t i = 0; i < COUNT; i++) {
        check_marks(blocks[i], i);
        rayi_block_unref(blocks[i]);
    }
    cr_assert_eq(FILES(directory), 0);
    rayi_store_close(store);
    cr_assert_eq(umount(directory), 0);
    cr_assert_eq(rmdir(directory), 0);
}

typedef struct later {
    pthread_t thread;
    rayi_store *store;
    int r;
    size_t size; /* 0: a MiB */
} later;

static void *alloc_later(void *arg)
{
    later *self = arg;
    rayi_block *block = NULL;
    self->r = rayi_store_alloc(self->store, self->size ? self->size : MIB, rayi_now_ns() + 20000000000, &block);
    rayi_block_unref(block);
    return NULL;
}

Test(spill, it_goes_on_when_the_disk_has_room, .timeout = 60)
{
    char directory[64];
    make_directory(directory);
    if (mount("tmpfs", directory, "tmpfs", 0, "size=500K"))
        cr_skip_test("no tmpfs can be mounted here: %s", strerror(errno));
    rayi_store *store = make_spilling_store(4 * MIB, directory);
    rayi_block *blocks[4];
    for (size_t i = 0; i < 4; i++)
        blocks[i] = make_sealed(store, MIB, i);
    later waits = {.store = store};
    pthread_create(&waits.thread, NULL, alloc_later, &waits);
    while (usage_of(store).num_waiters == 0)
        usleep(1000);
    usleep(150000);
    cr_assert_eq(mount("tmpfs", directory, "tmpfs", MS_REMOUNT, "size=8M"), 0);
    pthread_join(waits.thread, NULL);
    cr_assert_eq(waits.r, 0);
    for (size_t i = 0; i < 4; i++) {
        check_marks(blocks[i], i);
        rayi_block_unref(blocks[i]);
    }
    rayi_store_close(store);
    cr_assert_eq(umount(directory), 0);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, a_limit_on_the_size_of_files_raises_no_signal)
{
    char directory[64];
    struct rlimit before, small;
    rayi_store *store = make_spilling_store(4 * MIB, make_directory(directory));
    rayi_block *blocks[6], *more = NULL;
    blocks[0] = make_sealed(store, 2 * MIB, 0);
    blocks[1] = make_sealed(store, 2 * MIB, 1);
    getrlimit(RLIMIT_FSIZE, &before);
    small = before;
    small.rlim_cur = 1 * MIB;
    setrlimit(RLIMIT_FSIZE, &small);
    int r = rayi_store_alloc(store, MIB, rayi_now_ns() + 1000000, &more);
    small.rlim_cur = 2 * MIB;
    setrlimit(RLIMIT_FSIZE, &small);
    int r2 = rayi_store_alloc(store, MIB, rayi_now_ns() + 1000000, &more);
    setrlimit(RLIMIT_FSIZE, &before);
    cr_assert_eq(r, RAY_ERR_DISK_FULL);
    cr_assert_eq(r2, 0);
    rayi_block_unref(more);
    check_marks(blocks[0], 0);
    check_marks(blocks[1], 1);
    rayi_block_unref(blocks[0]);
    rayi_block_unref(blocks[1]);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

Test(spill, an_unpin_wakes_who_waits, .timeout = 60)
{
    char directory[64];
    rayi_store *store = make_spilling_store(MIB, make_directory(directory));
    rayi_block *block = make_sealed(store, MIB, 1);
    later waits = {.store = store};
    CHECK_OK(rayi_block_pin(block));
    pthread_create(&waits.thread, NULL, alloc_later, &waits);
    while (usage_of(store).num_waiters == 0)
        usleep(1000);
    rayi_block_unpin(block);
    pthread_join(waits.thread, NULL);
    cr_assert_eq(waits.r, 0);
    check_marks(block, 1);
    rayi_block_unref(block);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, a_seal_wakes_who_waits, .timeout = 60)
{
    char directory[64];
    rayi_store *store = make_spilling_store(MIB, make_directory(directory));
    rayi_block *block = make_block(store, MIB);
    later waits = {.store = store};
    pthread_create(&waits.thread, NULL, alloc_later, &waits);
    while (usage_of(store).num_waiters == 0)
        usleep(1000);
    write_marks(block, 1);
    rayi_block_seal(block);
    pthread_join(waits.thread, NULL);
    cr_assert_eq(waits.r, 0);
    check_marks(block, 1);
    rayi_block_unref(block);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

/* What waits needs the room of an open block and that of a sealed one, which goes to disk once the other is free. */
static void wait_for_both(bool shrinks)
{
    char directory[64];
    rayi_store *store = make_spilling_store(MIB, make_directory(directory));
    rayi_block *sealed = make_sealed(store, 300 * KIB, 1), *open = make_block(store, 600 * KIB);
    later waits = {.store = store, .size = 900 * KIB};
    int64_t begun = rayi_now_ns();
    pthread_create(&waits.thread, NULL, alloc_later, &waits);
    while (usage_of(store).num_waiters == 0)
        usleep(1000);
    usleep(20000);
    if (shrinks)
        rayi_block_shrink(open, 0);
    else
        rayi_block_unref(open);
    pthread_join(waits.thread, NULL);
    cr_assert_eq(waits.r, 0);
    cr_assert(rayi_now_ns() - begun < INT64_C(10000000000), "it slept until its deadline");
    if (shrinks)
        rayi_block_unref(open);
    rayi_block_unref(sealed);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, the_end_of_an_open_block_wakes_who_waits, .timeout = 60)
{
    wait_for_both(false);
}

Test(spill, a_shrink_wakes_who_waits, .timeout = 60)
{
    wait_for_both(true);
}

Test(spill, a_pin_without_patience_reads_but_does_not_wait)
{
    char directory[64];
    rayi_store *store = make_spilling_store(2 * MIB, make_directory(directory));
    rayi_block *one = make_sealed(store, MIB, 1), *two = make_sealed(store, MIB, 2),
               *three = make_sealed(store, MIB, 3);
    cr_assert(rayi_block_is_spilled(one));
    CHECK_OK(rayi_block_pin_until(two, 0));
    CHECK_OK(rayi_block_pin_until(one, 0)); /* spills three */
    CHECK_FAILS(rayi_block_pin_until(three, 0), RAY_ERR_STORE_FULL);
    rayi_block_unpin(two);
    CHECK_OK(rayi_block_pin_until(three, 0));
    cr_assert(has_marks(one, 1) && has_marks(three, 3));
    rayi_block_unpin(one);
    rayi_block_unpin(three);
    rayi_block_unref(one);
    rayi_block_unref(two);
    rayi_block_unref(three);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, cancelled_waits_end_restores, .timeout = 60)
{
    char directory[64];
    rayi_store *store = make_spilling_store(2 * MIB, make_directory(directory));
    rayi_block *one = make_sealed(store, 2 * MIB, 1), *two = make_sealed(store, 2 * MIB, 2);
    CHECK_OK(rayi_block_pin(two));
    rayi_store_cancel_waits(store);
    CHECK_FAILS(rayi_block_pin(one), RAY_ERR_SHUTDOWN);
    rayi_block_unpin(two);
    CHECK_FAILS(rayi_block_pin(one), RAY_ERR_SHUTDOWN);
    rayi_block_unref(two);
    check_marks(one, 1); /* need not wait */
    rayi_block_unref(one);
    rayi_store_close(store);
    cr_assert_eq(rmdir(directory), 0);
}

Test(spill, unpin_without_a_pin_is_a_bug, .signal = SIGABRT)
{
    rayi_block_unpin(make_sealed(make_store(MIB), 10, 1));
}
