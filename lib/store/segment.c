/* Segments. Measured on a 2-core VM (6.18, shmem_enabled never), 64 MiB that were never touched: copying into the
 * mapping 1.33 GiB/s (a fault, a page and its zeroing for each 4 KiB); fallocate first 1.4; MADV_POPULATE_WRITE first
 * 1.1; pwrite, then mapping what it made with MADV_POPULATE_READ 2.0. Hence rayi_segment_write. */
#include "store/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* Not executable where the kernel (6.3) knows of it: some systems refuse any other memfd. */
static int make_memfd(void)
{
    int fd = memfd_create("ray-store", MFD_CLOEXEC | MFD_NOEXEC_SEAL | MFD_ALLOW_SEALING);
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("ray-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return fd;
}

static int map_segment(rayi_segment *segment)
{
    struct rlimit most;
    int r;
    if (getrlimit(RLIMIT_FSIZE, &most) == 0 && segment->size_bytes > most.rlim_cur)
        return EFBIG; /* ftruncate would raise SIGXFSZ */
    segment->fd = make_memfd();
    if (segment->fd < 0)
        return errno;
    struct stat status;
    if (fstat(segment->fd, &status) || ftruncate(segment->fd, (off_t)segment->size_bytes) ||
        fcntl(segment->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        goto undo_fd;
    void *base = mmap(NULL, segment->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, segment->fd, 0);
    if (base == MAP_FAILED)
        goto undo_fd;
    /* Helps where the administrator set shmem_enabled to "advise"; refused elsewhere, and nothing lost. */
    (void)madvise(base, segment->size_bytes, MADV_HUGEPAGE);
    segment->base = base;
    segment->device = status.st_dev;
    segment->inode = status.st_ino;
    return 0;

undo_fd:
    r = errno;
    close(segment->fd);
    return r;
}

int rayi_segment_new(const rayi_memory *memory, size_t size_bytes, rayi_segment **out)
{
    rayi_segment *segment = rayi_memory_zalloc(memory, sizeof *segment);
    if (!segment)
        return ENOMEM;
    segment->size_bytes = size_bytes;
    atomic_flag_clear(&segment->written);
    int r = map_segment(segment);
    if (r) {
        rayi_memory_free(memory, segment);
        return r;
    }
    *out = segment;
    return 0;
}

void rayi_segment_free(const rayi_memory *memory, rayi_segment *segment)
{
    munmap(segment->base, segment->size_bytes);
    close(segment->fd);
    rayi_memory_free(memory, segment);
}

bool rayi_segment_forget(rayi_segment *segment, size_t offset, size_t size_bytes)
{
    int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, r;
    do
        r = fallocate(segment->fd, mode, (off_t)offset, (off_t)size_bytes);
    while (r && errno == EINTR);
    return r == 0;
}

size_t rayi_segment_write(rayi_segment *segment, size_t offset, const char *source, size_t size_bytes)
{
    size_t done = 0;
    if (atomic_flag_test_and_set_explicit(&segment->written, memory_order_acquire))
        return 0;
    while (done < size_bytes) {
        ssize_t count = pwrite(segment->fd, source + done, size_bytes - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    atomic_flag_clear_explicit(&segment->written, memory_order_release);
    size_t start = offset - offset % (size_t)sysconf(_SC_PAGESIZE);
    if (done > 0) /* refused (before 5.14): the reader takes the faults */
        (void)madvise(segment->base + start, offset + done - start, MADV_POPULATE_READ);
    return done;
}

int rayi_segment_open(const rayi_segment *segment, bool writable, int *fd)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", segment->fd);
    int opened = writable ? fcntl(segment->fd, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    if (opened < 0)
        return errno;
    *fd = opened;
    return 0;
}
