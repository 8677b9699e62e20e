/* One end of a channel: its memory, made by the node and checked by the worker.
 *
 * The memory is a memfd of fixed size. It is sealed against shrinking, so that no end takes a bus error because the
 * other has cut it off, and its pages are had from the kernel at the start, so that a lack of memory shows here and not
 * at the first write of a message. 1 MiB a worker is little beside the worker. */
#include "ring/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)

static const rayi_ring_stamp the_stamp = {
    .magic = 0x676e697279617200, /* "\0rayring", or its mirror on a machine of the other byte order */
    .layout = 2,
    .memory_bytes = sizeof(rayi_ring_memory),
    .ring_bytes = RAYI_RING_BYTES,
    .message_max = RAYI_RING_MESSAGE_MAX,
    .offers = RAYI_OFFERS,
    .cell = RAYI_CELL,
};
_Static_assert(sizeof(rayi_ring_stamp) == 32, "no padding: stamps are compared as bytes");

static int refused(int error, const char *what)
{
    int code = error == ENOMEM || error == ENOSPC ? RAY_ERR_NO_MEMORY : RAY_ERR_SYSTEM;
    return rayi_fail(code, "a worker's channel: %s: %s", what, strerror(error));
}

/* A channel without memory yet; the receiver's buffer lies behind it, touched only as far as messages are long.
 * Allocators promise 16 bytes of alignment, the struct wants 64. */
static rayi_channel *alloc_end(const rayi_memory *allocator, bool is_node)
{
    const size_t align = _Alignof(rayi_channel);
    void *block = rayi_memory_alloc(allocator, align - 1 + sizeof(rayi_channel) + RAYI_RING_MESSAGE_MAX);
    if (!block)
        return NULL;
    rayi_channel *channel = (rayi_channel *)(((uintptr_t)block + align - 1) & ~(uintptr_t)(align - 1));
    memset(channel, 0, sizeof *channel);
    channel->in.copy = (unsigned char *)(channel + 1);
    channel->allocator = allocator;
    channel->block = block;
    channel->is_node = is_node;
    channel->fd = -1;
    return channel;
}

static void free_end(rayi_channel *channel)
{
    rayi_memory_free(channel->allocator, channel->block);
}

/* Takes up both rings where this end's own counters stand: at 0 in a new channel. */
static void attach(rayi_channel *channel, rayi_ring_memory *memory)
{
    rayi_ring_out *out = &channel->out;
    rayi_ring_in *in = &channel->in;
    channel->memory = memory;
    out->shared = channel->is_node ? &memory->down : &memory->up;
    out->cells = channel->is_node ? memory->down_cells : memory->up_cells;
    in->shared = channel->is_node ? &memory->up : &memory->down;
    in->cells = channel->is_node ? memory->up_cells : memory->down_cells;
    uint64_t tail = atomic_load_explicit(&out->shared->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&in->shared->head, memory_order_relaxed);
    atomic_init(&out->tail, tail);
    atomic_init(&in->head, head);
    out->seen_head = tail - RAYI_CELLS; /* no room until the other end's counter has been seen */
    in->seen_tail = head;
}

static int map_memory(int fd, rayi_ring_memory **out)
{
    void *base = mmap(NULL, sizeof(rayi_ring_memory), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return errno;
    *out = base;
    return 0;
}

/* Not executable where the kernel (6.3) knows of it: some systems refuse any other memfd. */
static int make_memfd(void)
{
    int fd = memfd_create("ray-ring", MFD_CLOEXEC | MFD_NOEXEC_SEAL | MFD_ALLOW_SEALING);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("ray-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

/* Gives the memfd its size, its pages and its seals; 0 or errno. */
static int fill_memfd(int fd)
{
    struct rlimit most;
    int r;
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && sizeof(rayi_ring_memory) > most.rlim_cur)
        return EFBIG; /* ftruncate would raise SIGXFSZ */
    if (ftruncate(fd, sizeof(rayi_ring_memory)))
        return errno;
    do
        r = fallocate(fd, 0, 0, sizeof(rayi_ring_memory));
    while (r && errno == EINTR);
    if (r && errno != EOPNOTSUPP && errno != ENOSYS)
        return errno;
    return fcntl(fd, F_ADD_SEALS, SEALS) ? errno : 0;
}

int rayi_channel_new(const rayi_memory *memory, rayi_channel **out)
{
    rayi_ring_memory *shared = NULL;
    int r;
    rayi_channel *channel = alloc_end(memory, true);
    if (!channel)
        return rayi_fail(RAY_ERR_NO_MEMORY, "a worker's channel: out of memory");
    channel->fd = make_memfd();
    if (channel->fd < 0) {
        r = refused(errno, "cannot make shared memory");
        goto undo_channel;
    }
    r = fill_memfd(channel->fd);
    if (r) {
        r = refused(r, "cannot size shared memory");
        goto undo_fd;
    }
    r = map_memory(channel->fd, &shared);
    if (r) {
        r = refused(r, "cannot map shared memory");
        goto undo_fd;
    }
    shared->stamp = the_stamp;
    attach(channel, shared);
    *out = channel;
    return 0;

undo_fd:
    close(channel->fd);
undo_channel:
    free_end(channel);
    return r;
}

/* Is it as big as a channel, and will it stay so? */
static int check_memfd(int fd)
{
    struct stat stat;
    if (fstat(fd, &stat))
        return refused(errno, "cannot look at the descriptor");
    if (!S_ISREG(stat.st_mode) || stat.st_size != (off_t)sizeof(rayi_ring_memory))
        return rayi_fail(RAY_ERR_CORRUPT, "descriptor %d is no channel of this version: %lld bytes, expected %zu", fd,
                         (long long)stat.st_size, sizeof(rayi_ring_memory));
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || (seals & F_SEAL_WRITE))
        return rayi_fail(RAY_ERR_CORRUPT, "descriptor %d is no channel: its seals are %d, expected %d", fd, seals,
                         SEALS);
    return 0;
}

int rayi_channel_open(const rayi_memory *memory, int fd, rayi_channel **out)
{
    rayi_ring_memory *shared = NULL;
    rayi_ring_stamp stamp;
    rayi_channel *channel;
    int r = check_memfd(fd);
    if (r)
        return r;
    channel = alloc_end(memory, false);
    if (!channel)
        return rayi_fail(RAY_ERR_NO_MEMORY, "a worker's channel: out of memory");
    r = map_memory(fd, &shared);
    if (r) {
        r = refused(r, "cannot map shared memory");
        goto undo_channel;
    }
    memcpy(&stamp, &shared->stamp, sizeof stamp);
    if (memcmp(&stamp, &the_stamp, sizeof stamp)) {
        r = rayi_fail(RAY_ERR_CORRUPT, "descriptor %d is no channel of this version: magic %llx, layout %u", fd,
                      (unsigned long long)stamp.magic, stamp.layout);
        goto undo_map;
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC)) {
        r = refused(errno, "cannot close the descriptor on exec");
        goto undo_map;
    }
    channel->fd = fd;
    attach(channel, shared);
    *out = channel;
    return 0;

undo_map:
    munmap(shared, sizeof *shared);
undo_channel:
    free_end(channel);
    return r;
}

int rayi_channel_fd(const rayi_channel *channel)
{
    return channel->fd;
}

void rayi_channel_free(rayi_channel *channel)
{
    if (!channel)
        return;
    munmap(channel->memory, sizeof *channel->memory);
    close(channel->fd);
    rayi_ring_drop_joined(channel);
    free_end(channel);
}
