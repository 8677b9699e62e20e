/* A directory of this process alone: PARENT/PREFIXs-PID-XXXXXX/ with the file `lock`.
 *
 * It is alive as long as somebody holds the lock on it and on the file (a cleaner of /tmp may remove an old file, but
 * leaves locked directories alone); the system gives both up with the process. A new one is made as PREFIXn-PID-XXXXXX,
 * which nobody clears away for an hour, and gets its name when it is locked and signed: there is never an s- that is
 * alive and not locked, and nobody waits for a lock.
 *
 * A parent may be shared with other machines (a home directory), and whether locks reach there is the file system's
 * affair: `lock` names the machine, and only one's own dead are cleared away. It may be shared with other users too
 * (/tmp): what they own is left alone.
 *
 * Who clears away holds the dead one's locks meanwhile; of two that try, one goes on. */
#include "process/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { UNFINISHED_S = 3600, TRIES = 16 };

struct rayi_folder {
    int parent, dir, lock; /* descriptors */
    char name[RAYI_FOLDER_NAME_SIZE];
    char path[];
};

int rayi_folder_fails(const char *cannot, const char *path, int reason)
{
    return rayi_fail(reason == ENOSPC || reason == EDQUOT ? RAY_ERR_DISK_FULL : RAY_ERR_SYSTEM, "%s %s: %s", cannot,
                     path, strerror(reason));
}

/* ---- which machine ---- */

/* "BOOT HOST": after a reboot the host is the same still, and in another container the boot is. Empty if unknown. */
typedef struct machine {
    char boot[40], host[65];
} machine;

static machine this_machine(void)
{
    machine here = {0};
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t size = read(fd, here.boot, sizeof here.boot - 1);
        here.boot[size > 0 ? size : 0] = 0;
        here.boot[strcspn(here.boot, " \n")] = 0;
        close(fd);
    }
    if (gethostname(here.host, sizeof here.host - 1) < 0)
        here.host[0] = 0;
    return here;
}

static int sign(int lock)
{
    char text[128];
    machine here = this_machine();
    int size = snprintf(text, sizeof text, "%s %s\n", here.boot, here.host);
    ssize_t count = write(lock, text, (size_t)size);
    return count == size ? 0 : count < 0 ? errno : ENOSPC;
}

/* One without a name, as without a lock file, has no claim. */
static bool is_from_here(int lock)
{
    char text[128];
    machine here = this_machine(), there = {0};
    ssize_t size = pread(lock, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = 0;
    char *blank = strchr(text, ' '), *end = strchr(text, '\n');
    if (!blank || !end || blank > end)
        return true;
    snprintf(there.boot, sizeof there.boot, "%.*s", (int)RAYI_MIN(blank - text, 39), text);
    snprintf(there.host, sizeof there.host, "%.*s", (int)RAYI_MIN(end - blank - 1, 64), blank + 1);
    return strcmp(there.boot, here.boot) == 0 || strcmp(there.host, here.host) == 0;
}

/* ---- dead ones ---- */

/* A descriptor that holds the lock, -1: somebody else does, or it is nothing of ours. */
static int lock_folder(int home, const char *name)
{
    struct stat status;
    int fd = openat(home, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    if (fstat(fd, &status) == 0 && status.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    close(fd);
    return -1;
}

/* -1 with ENOENT: there is none. */
static int lock_file(int dir)
{
    int fd = openat(dir, "lock", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
        close(fd);
        errno = EWOULDBLOCK;
        return -1;
    }
    return fd;
}

/* What is no name in keep, and the directory itself unless there are some. */
static void empty(int parent, const char *name, int dir, const char *const *keep)
{
    (void)rayi_remove_inside(dir, keep);
    if (!keep)
        (void)unlinkat(parent, name, AT_REMOVEDIR);
}

static void clear_one(int parent, const char *name, rayi_folder_keeps *keeps, void *arg)
{
    int dir = lock_folder(parent, name);
    if (dir < 0)
        return;
    int lock = lock_file(dir);
    if (lock >= 0 ? is_from_here(lock) : errno == ENOENT || errno == ELOOP)
        empty(parent, name, dir, keeps ? keeps(arg, parent, name, dir) : NULL);
    if (lock >= 0)
        close(lock);
    close(dir);
}

static bool is_one(const char *name, const char *prefix, char kind)
{
    long pid;
    int end = 0;
    size_t skipped = strlen(prefix);
    if (strlen(name) >= RAYI_FOLDER_NAME_SIZE || strncmp(name, prefix, skipped) != 0)
        return false;
    name += skipped;
    return name[0] == kind && sscanf(name + 1, "-%ld-%*6[0-9a-f]%n", &pid, &end) == 1 && end > 0 && name[1 + end] == 0;
}

/* One that was never finished: its maker has died, for making takes no hour. */
static bool is_old(int parent, const char *name)
{
    struct stat status;
    return fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && time(NULL) - status.st_mtime > UNFINISHED_S;
}

/* What stands in a directory that is open; NULL if it cannot be read. */
static DIR *open_list(int dir)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (!list && fd >= 0)
        close(fd);
    return list;
}

void rayi_folder_clear(int parent, const char *prefix, rayi_folder_keeps *keeps, void *arg)
{
    DIR *list = open_list(parent);
    if (!list)
        return;
    for (struct dirent *entry; (entry = readdir(list));)
        if (is_one(entry->d_name, prefix, 's') || (is_one(entry->d_name, prefix, 'n') && is_old(parent, entry->d_name)))
            clear_one(parent, entry->d_name, keeps, arg);
    closedir(list);
}

/* ---- those that live ---- */

/* A reader's lock is enough to see that there is none: of two that look, neither takes the other for the owner. */
static bool is_locked(int dir)
{
    if (flock(dir, LOCK_SH | LOCK_NB) < 0)
        return errno == EWOULDBLOCK;
    (void)flock(dir, LOCK_UN);
    return false;
}

static void visit_one(int parent, const char *name, rayi_folder_visit *visit, void *arg)
{
    struct stat status;
    int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return;
    int lock = openat(dir, "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fstat(dir, &status) == 0 && status.st_uid == geteuid() && is_locked(dir) && (lock < 0 || is_from_here(lock)))
        visit(arg, name, dir);
    if (lock >= 0)
        close(lock);
    close(dir);
}

void rayi_folder_each(int parent, const char *prefix, rayi_folder_visit *visit, void *arg)
{
    DIR *list = open_list(parent);
    if (!list)
        return;
    for (struct dirent *entry; (entry = readdir(list));)
        if (is_one(entry->d_name, prefix, 's'))
            visit_one(parent, entry->d_name, visit, arg);
    closedir(list);
}

/* ---- a new one ---- */

/* Under a name that nobody touches. An error number. */
static int make(rayi_folder *folder, const char *prefix)
{
    unsigned char bytes[3];
    char digits[7];
    for (int i = 0; i < TRIES; i++) {
        rayi_random_bytes(bytes, sizeof bytes);
        rayi_hex(digits, bytes, sizeof bytes);
        int size = snprintf(folder->name, sizeof folder->name, "%sn-%ld-%s", prefix, (long)getpid(), digits);
        RAYI_ASSERT(size < RAYI_FOLDER_NAME_SIZE);
        if (mkdirat(folder->parent, folder->name, 0700) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return errno;
}

/* Locks, signs and names it; its kind is the letter of the name at that index. An error number. */
static int finish(rayi_folder *folder, size_t kind)
{
    char name[RAYI_FOLDER_NAME_SIZE];
    folder->dir = openat(folder->parent, folder->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder->dir < 0)
        return errno;
    folder->lock = openat(folder->dir, "lock", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (folder->lock < 0)
        return errno;
    if (flock(folder->dir, LOCK_EX | LOCK_NB) < 0 || flock(folder->lock, LOCK_EX | LOCK_NB) < 0)
        return errno;
    int r = sign(folder->lock);
    if (r)
        return r;
    strcpy(name, folder->name);
    name[kind] = 's';
    if (renameat2(folder->parent, folder->name, folder->parent, name, RENAME_NOREPLACE) < 0 &&
        (errno != EINVAL || renameat(folder->parent, folder->name, folder->parent, name) < 0))
        return errno;
    strcpy(folder->name, name);
    return 0;
}

static void close_all(rayi_folder *folder)
{
    if (folder->lock >= 0)
        close(folder->lock);
    if (folder->dir >= 0)
        close(folder->dir);
    close(folder->parent);
    rayi_free(folder);
}

int rayi_folder_make(int parent, const char *path, const char *prefix, const char *cannot, rayi_folder **out)
{
    size_t size = strlen(path) + 1 + RAYI_FOLDER_NAME_SIZE;
    rayi_folder *folder = rayi_zalloc(sizeof *folder + size);
    if (!folder) {
        close(parent);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: %s %s", cannot, path);
    }
    *folder = (rayi_folder){.parent = parent, .dir = -1, .lock = -1};
    int failed = make(folder, prefix);
    if (failed)
        goto undo_folder;
    failed = finish(folder, strlen(prefix));
    if (failed) {
        (void)rayi_remove_at(parent, folder->name);
        goto undo_folder;
    }
    snprintf(folder->path, size, "%s/%s", path, folder->name);
    *out = folder;
    return 0;

undo_folder:
    close_all(folder);
    return rayi_folder_fails(cannot, path, failed);
}

int rayi_folder_open(const char *path, const char *prefix, const char *cannot, rayi_folder **out)
{
    int parent = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return rayi_folder_fails(cannot, path, errno);
    rayi_folder_clear(parent, prefix, NULL, NULL);
    return rayi_folder_make(parent, path, prefix, cannot, out);
}

void rayi_folder_clear_dead(const char *path, const char *prefix)
{
    int parent = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0)
        return;
    rayi_folder_clear(parent, prefix, NULL, NULL);
    close(parent);
}

void rayi_folder_close(rayi_folder *folder, const char *const *keep)
{
    if (!folder)
        return;
    empty(folder->parent, folder->name, folder->dir, keep);
    close_all(folder);
}

const char *rayi_folder_path(const rayi_folder *folder)
{
    return folder->path;
}

int rayi_folder_dir(const rayi_folder *folder)
{
    return folder->dir;
}
