/* A channel's memory: how it is made, what is refused, and that nothing of it stays. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)

Test(ring_channel, is_sealed_and_closed_on_exec)
{
    struct stat stat;
    ends both = make_ends();
    int fd = rayi_channel_fd(both.node);
    cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    cr_assert_eq(fcntl(rayi_channel_fd(both.worker), F_GETFD), FD_CLOEXEC);
    cr_assert_eq(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
    cr_assert_eq(fstat(fd, &stat), 0);
    cr_assert_eq(ftruncate(fd, stat.st_size - 1), -1);
    cr_assert_eq(ftruncate(fd, stat.st_size + 1), -1);
    cr_assert_geq(stat.st_blocks * 512, (blkcnt_t)sizeof(rayi_ring_memory), "its pages are there from the start");
    free_ends(&both);
}

Test(ring_channel, keeps_hot_words_on_lines_of_their_own)
{
    const size_t at[] = {
        offsetof(rayi_ring_memory, stamp),     offsetof(rayi_ring_memory, bell),
        offsetof(rayi_ring_memory, sleepers),  offsetof(rayi_ring_memory, armed),
        offsetof(rayi_ring_memory, polling),   offsetof(rayi_ring_memory, hungry),
        offsetof(rayi_ring_memory, down.tail), offsetof(rayi_ring_memory, down.head),
        offsetof(rayi_ring_memory, up.tail),   offsetof(rayi_ring_memory, up.head),
        offsetof(rayi_ring_memory, claim),     offsetof(rayi_ring_memory, credit),
    };
    for (size_t i = 1; i < RAYI_COUNT_OF(at); i++)
        cr_assert_geq(at[i] / 64, at[i - 1] / 64 + 1, "word %zu shares a line", i);
    cr_assert_eq(offsetof(rayi_ring_memory, down_cells) % 4096, 0);
}

Test(ring_channel, leaves_nothing_behind)
{
    size_t files = check_open_fds();
    rayi_channel_free(NULL);
    for (int i = 0; i < 50; i++) {
        ends both = make_ends();
        send_bytes(both.node, 1, 1000, 1);
        free_ends(&both);
    }
    cr_assert_eq(check_open_fds(), files);
    cr_assert_eq(count_maps(), 0);
}

Test(ring_channel, a_second_opener_goes_on_where_the_first_was)
{
    ends both = make_ends();
    rayi_channel *again;
    send_bytes(both.node, 1, 100, 1);
    send_bytes(both.node, 2, 200, 2);
    expect_bytes(both.worker, 1, 100, 1);
    send_bytes(both.worker, 3, 300, 3);
    CHECK_OK(rayi_channel_open(rayi_heap, dup(rayi_channel_fd(both.node)), &again));
    expect_bytes(again, 2, 200, 2);
    expect_nothing(again);
    send_bytes(again, 4, 400, 4);
    expect_bytes(both.node, 3, 300, 3);
    expect_bytes(both.node, 4, 400, 4);
    rayi_channel_free(again);
    free_ends(&both);
}

/* ---- what is no channel ---- */

static void expect_refused(int fd, int code, const char *what)
{
    rayi_channel *channel = (rayi_channel *)&channel, *before = channel;
    int flags = fcntl(fd, F_GETFD);
    int r = rayi_channel_open(rayi_heap, fd, &channel);
    cr_assert_eq(r, code, "%s: %d", what, r);
    cr_assert_eq(rayi_error_last_public()->code, code);
    cr_assert_gt(strlen(rayi_error_last_public()->message), 20);
    cr_assert_eq(channel, before, "%s: an output was set", what);
    cr_assert_eq(fcntl(fd, F_GETFD), flags, "%s: the descriptor was touched", what);
}

static int make_memfd(off_t size, int seals, const rayi_ring_stamp *stamp)
{
    int fd = memfd_create("test", MFD_ALLOW_SEALING);
    cr_assert_geq(fd, 0);
    cr_assert_eq(ftruncate(fd, size), 0);
    if (stamp)
        cr_assert_eq(pwrite(fd, stamp, sizeof *stamp, 0), (ssize_t)sizeof *stamp);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void expect_memfd(off_t size, int seals, const rayi_ring_stamp *stamp, int code, const char *what)
{
    int fd = make_memfd(size, seals, stamp);
    if (code)
        expect_refused(fd, code, what);
    else {
        rayi_channel *channel;
        CHECK_OK(rayi_channel_open(rayi_heap, fd, &channel));
        rayi_channel_free(channel);
        return;
    }
    close(fd);
}

Test(ring_channel, refuses_what_is_none)
{
    const off_t size = sizeof(rayi_ring_memory);
    ends both = make_ends();
    rayi_ring_stamp good = both.memory->stamp, bad;
    size_t files = check_open_fds();
    int maps = count_maps();

    expect_memfd(size, SEALS, &good, 0, "a channel");
    expect_memfd(size, SEALS, NULL, RAY_ERR_CORRUPT, "zeros");
    expect_memfd(size - 4096, SEALS, &good, RAY_ERR_CORRUPT, "too small");
    expect_memfd(size + 4096, SEALS, &good, RAY_ERR_CORRUPT, "too large");
    expect_memfd(0, SEALS, NULL, RAY_ERR_CORRUPT, "empty");
    expect_memfd(size, SEALS & ~F_SEAL_SHRINK, &good, RAY_ERR_CORRUPT, "may shrink");
    expect_memfd(size, SEALS & ~F_SEAL_GROW, &good, RAY_ERR_CORRUPT, "may grow");
    expect_memfd(size, SEALS & ~F_SEAL_SEAL, &good, RAY_ERR_CORRUPT, "may be sealed");
    expect_memfd(size, SEALS | F_SEAL_WRITE, &good, RAY_ERR_CORRUPT, "may not be written");
    for (size_t i = 0; i < sizeof bad; i++) {
        bad = good;
        ((unsigned char *)&bad)[i] ^= 1;
        expect_memfd(size, SEALS, &bad, RAY_ERR_CORRUPT, "another stamp");
    }

    int pair[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    FILE *plain = tmpfile();
    cr_assert_eq(pipe(pair), 0);
    cr_assert_eq(ftruncate(fileno(plain), size), 0);
    expect_refused(-1, RAY_ERR_SYSTEM, "no descriptor");
    expect_refused(null, RAY_ERR_CORRUPT, "a device");
    expect_refused(pair[0], RAY_ERR_CORRUPT, "a pipe");
    expect_refused(fileno(plain), RAY_ERR_CORRUPT, "a file");
    close(null), close(pair[0]), close(pair[1]), fclose(plain);

    cr_assert_eq(check_open_fds(), files);
    cr_assert_eq(count_maps(), maps);
    free_ends(&both);
}

/* ---- what is lacking ---- */

static void *alloc_none(void *arg, size_t size_bytes)
{
    (void)size_bytes;
    ++*(int *)arg;
    return NULL;
}

Test(ring_channel, without_memory)
{
    int asked = 0;
    rayi_memory none = *rayi_heap;
    rayi_channel *channel = NULL;
    ends both = make_ends();
    size_t files = check_open_fds();
    int maps = count_maps(), fd = dup(rayi_channel_fd(both.node));
    none.alloc = alloc_none;
    none.arg = &asked;
    cr_assert_eq(rayi_channel_new(&none, &channel), RAY_ERR_NO_MEMORY);
    cr_assert_eq(rayi_channel_open(&none, fd, &channel), RAY_ERR_NO_MEMORY);
    cr_assert_null(channel);
    cr_assert_eq(asked, 2);
    close(fd);
    cr_assert_eq(check_open_fds(), files);
    cr_assert_eq(count_maps(), maps);
    free_ends(&both);
}

/* The allocator may give any address that suits max_align_t. */
static void *alloc_odd(void *arg, size_t size_bytes)
{
    char *block = aligned_alloc(64, (size_bytes + 64 + 63) / 64 * 64);
    *(void **)arg = block;
    return block ? block + 16 : NULL;
}

static void free_odd(void *arg, void *block)
{
    (void)arg;
    free((char *)block - 16);
}

Test(ring_channel, with_another_allocator)
{
    void *last = NULL;
    rayi_memory odd = {.size = sizeof odd, .alloc = alloc_odd, .free = free_odd, .arg = &last};
    rayi_channel *node, *worker;
    CHECK_OK(rayi_channel_new(&odd, &node));
    cr_assert_eq((uintptr_t)node % 64, 0);
    CHECK_OK(rayi_channel_open(&odd, dup(rayi_channel_fd(node)), &worker));
    send_bytes(node, 1, RAYI_RING_MESSAGE_MAX, 1);
    expect_bytes(worker, 1, RAYI_RING_MESSAGE_MAX, 1);
    rayi_channel_free(node);
    rayi_channel_free(worker);
}

Test(ring_channel, where_the_system_refuses)
{
    struct rlimit before, low;
    rayi_channel *channel = NULL;
    size_t files = check_open_fds();

    getrlimit(RLIMIT_FSIZE, &before);
    low = before;
    low.rlim_cur = 65536; /* beyond it the kernel would send SIGXFSZ */
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    cr_assert_eq(rayi_channel_new(rayi_heap, &channel), RAY_ERR_SYSTEM);
    setrlimit(RLIMIT_FSIZE, &before);

    int probe = dup(0);
    close(probe);
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = (rlim_t)probe;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    int r = rayi_channel_new(rayi_heap, &channel);
    setrlimit(RLIMIT_NOFILE, &before);
    cr_assert_eq(r, RAY_ERR_SYSTEM);
    cr_assert_null(channel);
    cr_assert_eq(check_open_fds(), files);
    cr_assert_eq(count_maps(), 0);
}
