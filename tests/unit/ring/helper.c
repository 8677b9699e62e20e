#include "helper.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

rayi_ring_memory *map_again(const rayi_channel *channel)
{
    void *base = mmap(NULL, sizeof(rayi_ring_memory), PROT_READ | PROT_WRITE, MAP_SHARED, rayi_channel_fd(channel), 0);
    cr_assert_neq(base, MAP_FAILED);
    return base;
}

ends make_ends(void)
{
    ends both = {0};
    CHECK_OK(rayi_channel_new(rayi_heap, &both.node));
    int fd = dup(rayi_channel_fd(both.node));
    cr_assert_geq(fd, 0);
    CHECK_OK(rayi_channel_open(rayi_heap, fd, &both.worker));
    both.memory = map_again(both.node);
    return both;
}

void free_ends(ends *both)
{
    munmap(both->memory, sizeof *both->memory);
    rayi_channel_free(both->worker);
    rayi_channel_free(both->node);
}

int make_event_fd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cr_assert_geq(fd, 0);
    return fd;
}

uint64_t read_event_fd(int fd)
{
    uint64_t count = 0;
    return read(fd, &count, sizeof count) == (ssize_t)sizeof count ? count : 0;
}

bool wait_event_fd(int fd, int64_t deadline_ns)
{
    struct pollfd one = {.fd = fd, .events = POLLIN};
    int64_t left = deadline_ns - rayi_now_ns();
    int count = poll(&one, 1, left > 0 ? (int)(left / MS) + 1 : 0);
    (void)read_event_fd(fd);
    return count != 0; /* a signal counts as a wake-up */
}

int count_maps(void)
{
    char line[512];
    int count = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file))
        count += strstr(line, "ray-ring") != NULL;
    fclose(file);
    return count;
}

uint64_t next_random(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

static unsigned char byte_at(size_t at, uint64_t seed)
{
    return (unsigned char)((seed * 31 + at * 7 + at / 251) & 255);
}

void fill_bytes(void *bytes, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        ((unsigned char *)bytes)[i] = byte_at(i, seed);
}

bool has_bytes(const void *bytes, size_t size, uint64_t seed)
{
    for (size_t i = 0; i < size; i++)
        if (((const unsigned char *)bytes)[i] != byte_at(i, seed))
            return false;
    return true;
}

void send_bytes(rayi_channel *from, uint32_t type, size_t size, uint64_t seed)
{
    unsigned char *bytes = malloc(size + 1);
    size_t half = size / 3;
    fill_bytes(bytes, size, seed);
    bool sent = rayi_channel_send(from, type, bytes, half, bytes + half, size - half);
    free(bytes);
    cr_assert(sent, "no room for %zu bytes", size);
}

void expect_bytes(rayi_channel *at, uint32_t type, size_t size, uint64_t seed)
{
    rayi_received got = {0};
    cr_assert(rayi_channel_has_mail(at));
    int r = rayi_channel_receive(at, &got);
    cr_assert_eq(r, 1, "%d", r);
    cr_assert_eq(got.type, type, "%u", got.type);
    cr_assert_eq(got.size, size, "%zu instead of %zu", got.size, size);
    cr_assert_eq((uintptr_t)got.data % 64, 0);
    cr_assert(has_bytes(got.data, size, seed), "content of size %zu", size);
}

void expect_nothing(rayi_channel *at)
{
    rayi_received got;
    cr_assert_not(rayi_channel_has_mail(at));
    cr_assert_eq(rayi_channel_receive(at, &got), 0);
}
