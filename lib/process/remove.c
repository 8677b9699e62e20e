/* Removing trees, by descriptors: a name that is exchanged for a link in between is unlinked, not followed. */
#include "process/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEEPEST = 32, ROUNDS = 3 }; /* each level holds a descriptor */

static bool remove_inside(int dir, const char *const *keep, int depth);

static bool is_kept(const char *name, const char *const *keep)
{
    for (; keep && *keep; keep++)
        if (strcmp(name, *keep) == 0)
            return true;
    return false;
}

static bool remove_folder(int dir, const char *name, int depth)
{
    struct stat outer, inner;
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        if (depth < DEEPEST && fstat(dir, &outer) == 0 && fstat(fd, &inner) == 0 && outer.st_dev == inner.st_dev)
            (void)remove_inside(fd, NULL, depth + 1);
        close(fd);
    }
    return unlinkat(dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

static bool remove_entry(int dir, const char *name, int depth)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT)
        return true;
    return (errno == EISDIR || errno == EPERM) && remove_folder(dir, name, depth);
}

/* Whether a directory that changes while it is read shows all is the file system's affair: look again until nothing
 * more could be removed. */
static bool remove_inside(int dir, const char *const *keep, int depth)
{
    size_t num_left = 1, num_gone = 1;
    for (int round = 0; round < ROUNDS && num_left > 0 && num_gone > 0; round++) {
        int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *list = copy >= 0 ? fdopendir(copy) : NULL;
        if (!list) {
            if (copy >= 0)
                close(copy);
            return false;
        }
        num_left = num_gone = 0;
        for (struct dirent *entry; (entry = readdir(list));) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 || is_kept(entry->d_name, keep))
                continue;
            if (remove_entry(dir, entry->d_name, depth))
                num_gone++;
            else
                num_left++;
        }
        closedir(list);
        if (num_left == 0 && num_gone > 0)
            num_left = 1; /* one more look */
    }
    return num_left == 0;
}

bool rayi_remove_inside(int dir, const char *const *keep)
{
    return remove_inside(dir, keep, 0);
}

bool rayi_remove_at(int dir, const char *name)
{
    return remove_entry(dir, name, 0);
}
