/* Files of spilled bytes, written a MiB a call, large blocks in pieces and small ones gathered: on ext4 a call for each
 * 128 KiB reaches but two thirds of that. A file is opened for one writer at a time (a file system takes writes to one
 * file one after the other anyway), filled until it has FILE_BYTES, then closed; so there are never more descriptors
 * than writers at once, and small blocks need no file of their own each. Bytes start at multiples of 4 KiB, so that
 * those that are dropped can be punched out of a file that lives on; what lies between is whatever the pages of the
 * blocks held there. There is no fsync: after a crash nobody
 * wants the bytes.
 *
 * The checksum is XXH3 over pieces, each seeded with the sum so far: a piece is summed while a cache has it for the
 * copy into the file or after the one out of it.
 *
 * Lock order: spill->lock is a leaf; it is held over making a file and asking for the directory, which is rare, and not
 * over reads, writes and removals. */
#include "store/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { ALIGN_BYTES = 4096, PIECE_BYTES = 1 << 20, GATHERED = 64, NAME_SIZE = 32 };
#define FILE_BYTES    ((uint64_t)64 << 20)
#define RESERVE_BYTES ((uint64_t)16 << 20)
#define TMPFS_MAGIC   0x01021994

struct rayi_spill_file {
    rayi_spill_file *prev, *next;           /* all of them */
    rayi_spill_file *open_prev, *open_next; /* those with fd that nobody writes to */
    uint64_t number, end, reserved;         /* reserved: blocks of the disk are, up to there */
    size_t num_live;                        /* blocks that have bytes in it */
    int fd;                                 /* -1: nothing is added any more */
    bool busy, nameless;
};

struct rayi_spill {
    const rayi_memory *memory;
    rayi_spill_ask ask;
    void *ask_arg;
    pthread_mutex_t lock; /* of all below; dir and path do not change any more once dir is there */
    char *path;
    int dir; /* -1: nothing was written yet */
    atomic_bool reserves;
    rayi_spill_file *files, *open;
    uint64_t last_number;
    bool closed;
};

int rayi_spill_new(const rayi_memory *memory, const char *directory, rayi_spill_ask ask, void *arg, rayi_spill **out)
{
    rayi_spill *spill = rayi_memory_zalloc(memory, sizeof *spill);
    if (spill && directory)
        spill->path = rayi_memory_strdup(memory, directory);
    if (!spill || (directory && !spill->path)) {
        rayi_memory_free(memory, spill);
        return rayi_fail(RAY_ERR_NO_MEMORY, "no memory for spilling");
    }
    spill->memory = memory;
    spill->ask = ask;
    spill->ask_arg = arg;
    spill->dir = -1;
    pthread_mutex_init(&spill->lock, NULL);
    *out = spill;
    return 0;
}

void rayi_spill_free(rayi_spill *spill)
{
    if (!spill)
        return;
    RAYI_ASSERT(!spill->files);
    if (spill->dir >= 0)
        close(spill->dir);
    pthread_mutex_destroy(&spill->lock);
    rayi_memory_free(spill->memory, spill->path);
    rayi_memory_free(spill->memory, spill);
}

/* --- the directory and its files ---------------------------------------------------------------------------------- */

static void name_of(const rayi_spill_file *file, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "spill-%" PRIu64, file->number);
}

static int fail_directory(const char *path, int reason)
{
    return rayi_fail(RAY_ERR_DISK_FULL, "objects cannot be spilled to %s: %s", path, strerror(reason));
}

/* Under the lock. 0, or a code with words. */
static int open_directory(rayi_spill *spill)
{
    char asked[PATH_MAX];
    struct statfs status;
    if (spill->dir >= 0)
        return 0;
    if (!spill->path) {
        int r = spill->ask(spill->ask_arg, asked, sizeof asked);
        if (r)
            return r;
        spill->path = rayi_memory_strdup(spill->memory, asked);
        if (!spill->path)
            return rayi_fail(RAY_ERR_NO_MEMORY, "no memory for spilling");
    }
    spill->dir = open(spill->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spill->dir < 0)
        return fail_directory(spill->path, errno);
    atomic_store(&spill->reserves, fstatfs(spill->dir, &status) == 0 && status.f_type != TMPFS_MAGIC);
    return 0;
}

/* Under the lock: a file for one writer. 0, or a code with words. */
static int make_file(rayi_spill *spill, rayi_spill_file **out)
{
    rayi_spill_file *file = rayi_memory_zalloc(spill->memory, sizeof *file);
    char name[NAME_SIZE];
    if (!file)
        return rayi_fail(RAY_ERR_NO_MEMORY, "no memory for a file of spilled objects");
    do { /* past the files of another store in the same directory */
        file->number = ++spill->last_number;
        name_of(file, name);
        file->fd = openat(spill->dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    } while (file->fd < 0 && errno == EEXIST);
    if (file->fd < 0) {
        int reason = errno;
        rayi_memory_free(spill->memory, file);
        return fail_directory(spill->path, reason);
    }
    DL_APPEND(spill->files, file);
    *out = file;
    return 0;
}

/* Without the lock; the file is in no list any more. */
static void remove_file(rayi_spill *spill, rayi_spill_file *file)
{
    char name[NAME_SIZE];
    name_of(file, name);
    if (!file->nameless) /* else the name may be another's by now */
        (void)unlinkat(spill->dir, name, 0);
    if (file->fd >= 0)
        close(file->fd);
    rayi_memory_free(spill->memory, file);
}

/* Under the lock: is it of no use any more? Then it is in no list, and the caller removes it. */
static bool take_out_if_over(rayi_spill *spill, rayi_spill_file *file)
{
    if (file->busy || file->num_live > 0)
        return false;
    if (file->fd >= 0)
        DL_DELETE2(spill->open, file, open_prev, open_next);
    DL_DELETE(spill->files, file);
    return true;
}

void rayi_spill_close(rayi_spill *spill)
{
    char name[NAME_SIZE];
    if (!spill)
        return;
    pthread_mutex_lock(&spill->lock);
    spill->closed = true;
    for (rayi_spill_file *file = spill->files; file; file = file->next) {
        name_of(file, name);
        file->nameless = true;
        (void)unlinkat(spill->dir, name, 0); /* who reads or writes it can finish; its record goes with its blocks */
    }
    pthread_mutex_unlock(&spill->lock);
}

static int fail_closed(void)
{
    return rayi_fail(RAY_ERR_SHUTDOWN, "the runtime was shut down: spilled objects are gone");
}

/* --- writing ------------------------------------------------------------------------------------------------------ */

static uint64_t most_bytes(void)
{
    struct rlimit most;
    if (getrlimit(RLIMIT_FSIZE, &most) || most.rlim_cur == RLIM_INFINITY)
        return UINT64_MAX;
    return most.rlim_cur; /* a write beyond it would raise SIGXFSZ */
}

/* Under the lock: a file with room, now the caller's alone. */
static int borrow_file(rayi_spill *spill, size_t size_bytes, rayi_spill_file **out)
{
    uint64_t most = most_bytes();
    rayi_spill_file *file;
    if (spill->closed)
        return fail_closed();
    int r = open_directory(spill);
    if (r)
        return r;
    if (size_bytes > most)
        return fail_directory(spill->path, EFBIG);
    for (file = spill->open; file; file = file->open_next)
        if (file->end + size_bytes <= most)
            break;
    if (file)
        DL_DELETE2(spill->open, file, open_prev, open_next);
    else if ((r = make_file(spill, &file)))
        return r;
    file->busy = true;
    *out = file;
    return 0;
}

/* Under the lock. True: the caller removes it. */
static bool return_file(rayi_spill *spill, rayi_spill_file *file)
{
    file->busy = false;
    if (file->end >= FILE_BYTES || spill->closed) {
        if (file->reserved > file->end)
            (void)!ftruncate(file->fd, (off_t)file->end); /* gives back what was reserved */
        close(file->fd);
        file->fd = -1;
    } else {
        DL_PREPEND2(spill->open, file, open_prev, open_next);
    }
    return take_out_if_over(spill, file);
}

/* All of the vectors, which it uses up. 0 or an errno. */
static int write_vectors(int fd, struct iovec *vectors, int count, uint64_t offset)
{
    for (ssize_t done = 0;;) {
        offset += (uint64_t)done;
        for (; count > 0 && (size_t)done >= vectors->iov_len; count--) /* empty ones, too */
            done -= (ssize_t)(vectors++)->iov_len;
        if (count == 0)
            return 0;
        vectors->iov_base = (char *)vectors->iov_base + done;
        vectors->iov_len -= (size_t)done;
        do
            done = pwritev(fd, vectors, count, (off_t)offset);
        while (done < 0 && errno == EINTR);
        if (done <= 0)
            return done < 0 ? errno : ENOSPC;
    }
}

static size_t aligned(size_t size_bytes)
{
    return (size_bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

/* One block, a piece after the other. 0 or an errno. */
static int write_large(int fd, const rayi_spill_part *part, uint64_t offset, rayi_spilled *out)
{
    size_t end = aligned(part->size_bytes);
    uint64_t sum = part->size_bytes;
    for (size_t at = 0; at < end; at += PIECE_BYTES) {
        char *data = (char *)part->data + at;
        struct iovec vector = {.iov_base = data, .iov_len = RAYI_MIN((size_t)PIECE_BYTES, end - at)};
        sum = rayi_sum(data, RAYI_MIN(vector.iov_len, part->size_bytes - at), sum);
        int r = write_vectors(fd, &vector, 1, offset + at);
        if (r)
            return r;
    }
    out->offset = offset;
    out->checksum = sum;
    return 0;
}

/* As many small blocks as make a piece, with one call. 0 or an errno. */
static int write_small(int fd, const rayi_spill_part *parts, size_t count, uint64_t offset, rayi_spilled *out)
{
    struct iovec vectors[GATHERED];
    uint64_t at = offset;
    for (size_t i = 0; i < count; i++) {
        const rayi_spill_part *part = &parts[i];
        out[i].offset = at;
        out[i].checksum = part->size_bytes;
        if (part->size_bytes > 0)
            out[i].checksum = rayi_sum(part->data, part->size_bytes, part->size_bytes);
        vectors[i] = (struct iovec){.iov_base = (char *)part->data, .iov_len = aligned(part->size_bytes)};
        at += vectors[i].iov_len;
    }
    return write_vectors(fd, vectors, (int)count, offset);
}

/* How many parts go with the next call: such as are a piece together, and fit below `most`. */
static size_t gather(const rayi_spill_part *parts, size_t count, uint64_t end, uint64_t most, uint64_t *size_bytes)
{
    size_t n = 0;
    *size_bytes = 0;
    while (n < count && n < GATHERED && end + *size_bytes + aligned(parts[n].size_bytes) <= most) {
        if (n > 0 && *size_bytes + parts[n].size_bytes > PIECE_BYTES)
            break;
        *size_bytes += aligned(parts[n++].size_bytes);
    }
    return n;
}

/* Blocks are reserved some MiB at a time: ext4 then takes a third less time for the writes themselves. Without effect
 * where that can't be done, or where the disk is nearly full. */
static void reserve(rayi_spill *spill, rayi_spill_file *file, uint64_t until, uint64_t most)
{
    if (until <= file->reserved || !atomic_load_explicit(&spill->reserves, memory_order_relaxed))
        return;
    uint64_t from = RAYI_MAX(file->reserved, file->end);
    uint64_t to = RAYI_MAX(until, RAYI_MIN(RAYI_MIN(from + RESERVE_BYTES, FILE_BYTES), most));
    if (fallocate(file->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from)) == 0)
        file->reserved = to;
    else if (errno != ENOSPC && errno != EINTR)
        atomic_store_explicit(&spill->reserves, false, memory_order_relaxed);
}

/* From the file's end on, until it is full. How many; less than count, too, with an errno in *reason. */
static size_t write_parts(rayi_spill *spill, rayi_spill_file *file, const rayi_spill_part *parts, size_t count,
                          rayi_spilled *out, int *reason)
{
    uint64_t most = most_bytes(), size_bytes;
    size_t done = 0, n;
    while (done < count && file->end < FILE_BYTES &&
           (n = gather(parts + done, count - done, file->end, most, &size_bytes))) {
        reserve(spill, file, file->end + size_bytes, most);
        *reason = n == 1 ? write_large(file->fd, &parts[done], file->end, &out[done])
                         : write_small(file->fd, &parts[done], n, file->end, &out[done]);
        if (*reason)
            break;
        file->end += size_bytes;
        for (; n > 0; n--)
            out[done++].file = file;
    }
    return done;
}

int rayi_spill_write(rayi_spill *spill, const rayi_spill_part *parts, size_t count, rayi_spilled *out, size_t *written)
{
    rayi_spill_file *file = NULL;
    int reason = 0;
    pthread_mutex_lock(&spill->lock);
    int r = borrow_file(spill, aligned(parts->size_bytes), &file);
    pthread_mutex_unlock(&spill->lock);
    *written = 0;
    if (r)
        return r;
    size_t done = write_parts(spill, file, parts, count, out, &reason);
    if (reason) {
        (void)!ftruncate(file->fd, (off_t)file->end);
        file->reserved = file->end;
    }
    pthread_mutex_lock(&spill->lock);
    file->num_live += done;
    bool over = return_file(spill, file);
    pthread_mutex_unlock(&spill->lock);
    if (over)
        remove_file(spill, file);
    *written = done;
    if (reason)
        return rayi_fail(RAY_ERR_DISK_FULL, "an object of %zu bytes cannot be spilled to %s: %s",
                         parts[done].size_bytes, spill->path, strerror(reason));
    return 0;
}

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* How much was read: less than size_bytes at the end of the file, or with *reason. */
static size_t read_piece(int fd, char *to, size_t size_bytes, uint64_t offset, int *reason)
{
    size_t done = 0;
    while (done < size_bytes) {
        ssize_t count = pread(fd, to + done, size_bytes - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            *reason = errno;
        if (count <= 0)
            break;
        done += (size_t)count;
    }
    return done;
}

static size_t read_bytes(int fd, char *to, size_t size_bytes, uint64_t offset, uint64_t *checksum, int *reason)
{
    uint64_t sum = size_bytes;
    size_t at = 0;
    (void)posix_fadvise(fd, (off_t)offset, (off_t)size_bytes, POSIX_FADV_SEQUENTIAL);
    for (size_t piece; at < size_bytes; at += piece) {
        piece = RAYI_MIN((size_t)PIECE_BYTES, size_bytes - at);
        size_t done = read_piece(fd, to + at, piece, offset + at, reason);
        if (done < piece)
            return at + done;
        sum = rayi_sum(to + at, piece, sum);
    }
    *checksum = sum;
    return at;
}

static int fail_read(const rayi_spill *spill, const char *name, size_t size_bytes, int reason)
{
    return rayi_fail(RAY_ERR_SYSTEM, "a spilled object of %zu bytes cannot be read from %s/%s: %s", size_bytes,
                     spill->path, name, strerror(reason));
}

int rayi_spill_read(rayi_spill *spill, const rayi_spilled *from, void *to, size_t size_bytes)
{
    char name[NAME_SIZE];
    uint64_t checksum = 0;
    int reason = 0;
    name_of(from->file, name);
    int fd = openat(spill->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        reason = errno;
        pthread_mutex_lock(&spill->lock);
        bool closed = spill->closed;
        pthread_mutex_unlock(&spill->lock);
        return closed ? fail_closed() : fail_read(spill, name, size_bytes, reason);
    }
    size_t done = read_bytes(fd, to, size_bytes, from->offset, &checksum, &reason);
    close(fd);
    if (reason)
        return fail_read(spill, name, size_bytes, reason);
    if (done < size_bytes)
        return rayi_fail(RAY_ERR_CORRUPT, "a spilled object of %zu bytes is damaged: %s/%s has but %zu of them",
                         size_bytes, spill->path, name, done);
    if (size_bytes > 0 && checksum != from->checksum)
        return rayi_fail(RAY_ERR_CORRUPT,
                         "a spilled object of %zu bytes is damaged: the checksum of what is in %s/%s is wrong",
                         size_bytes, spill->path, name);
    return 0;
}

/* --- dropping ----------------------------------------------------------------------------------------------------- */

static void punch(rayi_spill *spill, const char *name, uint64_t offset, size_t size_bytes)
{
    int fd = openat(spill->dir, name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)aligned(size_bytes));
    close(fd);
}

void rayi_spill_drop(rayi_spill *spill, const rayi_spilled *gone, size_t size_bytes)
{
    rayi_spill_file *file = gone->file;
    char name[NAME_SIZE];
    name_of(file, name);
    pthread_mutex_lock(&spill->lock);
    file->num_live--;
    bool over = take_out_if_over(spill, file);
    bool closed = spill->closed;
    pthread_mutex_unlock(&spill->lock);
    if (over)
        remove_file(spill, file);
    else if (!closed && size_bytes > 0)
        punch(spill, name, gone->offset, size_bytes);
}
