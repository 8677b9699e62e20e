#include "helper.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

size_t charge_of(size_t size)
{
    size_t pages = (size + page_bytes() - 1) / page_bytes();
    return (pages ? pages : 1) * page_bytes();
}

rayi_store *make_store(uint64_t capacity)
{
    rayi_store *store = NULL;
    CHECK_OK(rayi_store_new(rayi_heap, capacity, &store));
    return store;
}

rayi_block *make_block(rayi_store *store, size_t size)
{
    rayi_block *block = NULL;
    CHECK_OK(rayi_store_alloc(store, size, 0, &block));
    return block;
}

rayi_store_usage usage_of(rayi_store *store)
{
    rayi_store_usage usage;
    rayi_store_stats(store, &usage);
    return usage;
}

char *make_directory(char out[64])
{
    strcpy(out, "/var/tmp/ray-test-XXXXXX"); /* rather a disk than a tmpfs */
    cr_assert_neq(mkdtemp(out), NULL);
    return out;
}

rayi_store *make_spilling_store(uint64_t capacity, const char *directory)
{
    rayi_store *store = make_store(capacity);
    CHECK_OK(rayi_store_set_spill(store, directory));
    return store;
}

rayi_block *make_sealed(rayi_store *store, size_t size, uint64_t tag)
{
    rayi_block *block = NULL;
    CHECK_OK(rayi_store_alloc(store, size, INT64_MAX, &block));
    write_marks(block, tag);
    rayi_block_seal(block);
    return block;
}

void check_marks(rayi_block *block, uint64_t tag)
{
    CHECK_OK(rayi_block_pin(block));
    cr_assert(has_marks(block, tag), "content of the block of tag %llu", (unsigned long long)tag);
    rayi_block_unpin(block);
}

open_files look_at_files(void)
{
    open_files found = {0};
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], target[256];
        struct stat status;
        snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length < 0)
            continue;
        target[length] = '\0';
        found.count++;
        if (!strstr(target, "memfd:ray-store"))
            continue;
        int fd = atoi(entry->d_name);
        found.of_store++;
        found.kept_on_exec += !(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        if (fstat(fd, &status) == 0)
            found.store_bytes += (uint64_t)status.st_blocks * 512;
    }
    closedir(dir);
    return found;
}

size_t files_in(const char *path)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        count += strncmp(entry->d_name, "bxfi", 4) != 0; /* the test runner's, of tests that run at the same time */
    if (dir)
        closedir(dir);
    return count;
}

long faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt + usage.ru_majflt;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint64_t next_random(uint64_t *state)
{
    return mix(*state += UINT64_C(0x9e3779b97f4a7c15));
}

unsigned char mark_of(uint64_t tag, size_t offset)
{
    return (unsigned char)mix(tag * 1000003 + offset);
}

static void mark_end(unsigned char *bytes, size_t size, uint64_t tag)
{
    if (size > 0)
        bytes[size - 1] = mark_of(tag, ~(size_t)0);
}

void mark_last(rayi_block *block, uint64_t tag)
{
    mark_end(BYTES_OF(block), rayi_block_size(block), tag);
}

void write_marks_to(void *bytes, size_t size, uint64_t tag)
{
    for (size_t i = 0; i < size; i += 4093)
        ((unsigned char *)bytes)[i] = mark_of(tag, i);
    mark_end(bytes, size, tag);
}

void write_marks(rayi_block *block, uint64_t tag)
{
    write_marks_to(rayi_block_data(block), rayi_block_size(block), tag);
}

bool has_marks(rayi_block *block, uint64_t tag)
{
    size_t last = rayi_block_size(block) - 1;
    if (rayi_block_size(block) > 0 && BYTES_OF(block)[last] != mark_of(tag, ~(size_t)0))
        return false;
    for (size_t i = 0; i < rayi_block_size(block); i += 4093)
        if (i != last && BYTES_OF(block)[i] != mark_of(tag, i))
            return false;
    return BYTES_OF(block)[rayi_block_size(block)] == 0;
}

static void *failing_alloc(void *arg, size_t size_bytes)
{
    failing_heap *heap = arg;
    if (heap->until > 0 && --heap->until == 0)
        return NULL;
    void *block = malloc(size_bytes);
    heap->live += block != NULL;
    return block;
}

static void *failing_realloc(void *arg, void *block, size_t size_bytes)
{
    (void)arg, (void)block, (void)size_bytes;
    return NULL; /* the store has no use for it */
}

static void failing_free(void *arg, void *block)
{
    ((failing_heap *)arg)->live -= block != NULL;
    free(block);
}

rayi_memory memory_of(failing_heap *heap)
{
    return (rayi_memory){sizeof(rayi_memory), heap, failing_alloc, failing_realloc, failing_free};
}
