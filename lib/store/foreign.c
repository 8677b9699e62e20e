/* Segments of other processes' stores, mapped to read.
 *
 * The way to one is its owner's descriptor in /proc, which the kernel opens for processes of the same user that may
 * look at the owner (ptrace's rules for reading). What is found there is compared with what the owner says it is, and
 * must not be able to shrink: then a stray number can map another process's memory, or a file, at no time, and reading
 * never raises SIGBUS. The descriptor stays open as long as the mapping, for worker processes that are to map it, too.
 */
#include "store/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_that(int fd, const rayi_export *of)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);
    return fstat(fd, &status) == 0 && status.st_dev == of->device && status.st_ino == of->inode &&
           (uint64_t)status.st_size == of->segment_bytes && seals >= 0 && (seals & F_SEAL_SHRINK);
}

/* 0, or an errno. */
static int map(rayi_foreign *foreign, int64_t pid, const rayi_export *of)
{
    char path[64];
    int r;
    snprintf(path, sizeof path, "/proc/%" PRId64 "/fd/%d", pid, of->fd);
    foreign->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (foreign->fd < 0)
        return errno;
    errno = ESTALE;
    if (!is_that(foreign->fd, of))
        goto undo_fd;
    foreign->size_bytes = (size_t)of->segment_bytes;
    foreign->base = mmap(NULL, foreign->size_bytes, PROT_READ, MAP_SHARED, foreign->fd, 0);
    if (foreign->base == MAP_FAILED)
        goto undo_fd;
    return 0;

undo_fd:
    r = errno;
    close(foreign->fd);
    return r;
}

int rayi_foreign_open(rayi_store *store, int64_t pid, const rayi_export *of, rayi_foreign **out)
{
    rayi_foreign *foreign = rayi_memory_zalloc(store->memory, sizeof *foreign);
    int r = foreign ? map(foreign, pid, of) : ENOMEM;
    if (r) {
        rayi_memory_free(store->memory, foreign);
        return r == ENOMEM ? rayi_fail(RAY_ERR_NO_MEMORY, "no memory to map a segment of process %" PRId64, pid)
                           : rayi_fail(RAY_ERR_SYSTEM, "a segment of process %" PRId64 " cannot be mapped: %s", pid,
                                       strerror(r));
    }
    foreign->store = store;
    foreign->refs = 1;
    pthread_mutex_lock(&store->lock);
    foreign->number = ++store->last_segment;
    DL_APPEND(store->foreigns, foreign);
    store->holds++;
    pthread_mutex_unlock(&store->lock);
    *out = foreign;
    return 0;
}

bool rayi_foreign_holds(const rayi_foreign *foreign, size_t offset, size_t size_bytes)
{
    return offset <= foreign->size_bytes && size_bytes < foreign->size_bytes - offset;
}

size_t rayi_foreign_unmap(rayi_foreign *foreign, size_t most_bytes)
{
    size_t left = foreign->size_bytes - foreign->unmapped_bytes;
    size_t page = foreign->store->page_bytes, size = RAYI_MIN(left, most_bytes / page * page);
    if (size == 0)
        return 0;
    munmap(foreign->base + (left - size), size);
    foreign->unmapped_bytes += size;
    return size;
}

void rayi_foreign_unref(rayi_foreign *foreign)
{
    rayi_store *store = foreign->store;
    rayi_eviction nothing = {0};
    pthread_mutex_lock(&store->lock);
    if (--foreign->refs > 0) {
        pthread_mutex_unlock(&store->lock);
        return;
    }
    DL_DELETE(store->foreigns, foreign);
    pthread_mutex_unlock(&store->lock);
    if (store->segment_gone)
        store->segment_gone(store->segment_gone_arg, foreign->number);
    if (foreign->unmapped_bytes < foreign->size_bytes)
        munmap(foreign->base, foreign->size_bytes - foreign->unmapped_bytes);
    close(foreign->fd);
    rayi_memory_free(store->memory, foreign);
    pthread_mutex_lock(&store->lock);
    rayi_store_unlock_and_drop(store, &nothing);
}

rayi_foreign *rayi_foreign_find(rayi_store *store, uint64_t number)
{
    rayi_foreign *foreign;
    DL_FOREACH (store->foreigns, foreign)
        if (foreign->number == number) {
            foreign->refs++;
            return foreign;
        }
    return NULL;
}

int rayi_foreign_share(rayi_foreign *foreign, int *fd)
{
    int opened = fcntl(foreign->fd, F_DUPFD_CLOEXEC, 3);
    if (opened < 0)
        return errno;
    *fd = opened;
    return 0;
}
