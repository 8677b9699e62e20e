/* Files that a session keeps: each is whole when it appears, for its owner only, and goes with the session. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int rayi_write_all(int fd, const char *bytes, size_t size_bytes)
{
    while (size_bytes > 0) {
        ssize_t wrote = write(fd, bytes, size_bytes);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return wrote < 0 ? errno : EIO;
        bytes += wrote;
        size_bytes -= (size_t)wrote;
    }
    return 0;
}

/* 0, or errno. */
static int write_file(int dir, const char *name, const void *bytes, size_t size_bytes)
{
    static atomic_uint count; /* of two that write the same file each has one of its own first */
    char draft[RAYI_SESSION_NAME_MAX + 32];
    int fd, failed;

    snprintf(draft, sizeof draft, "%s.%u", name, atomic_fetch_add(&count, 1));
    fd = openat(dir, draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0700);
    if (fd < 0)
        return errno;
    failed = rayi_write_all(fd, bytes, size_bytes);
    if (close(fd) < 0 && !failed)
        failed = errno;
    if (!failed && renameat(dir, draft, dir, name) < 0)
        failed = errno;
    if (failed)
        (void)unlinkat(dir, draft, 0);
    return failed;
}

int rayi_session_keep(const rayi_session *session, const char *folder, const char *name, const void *bytes,
                      size_t size_bytes, char *path, size_t path_size)
{
    int at = rayi_session_dir(session), dir = -1, failed = 0;

    if (strlen(name) > RAYI_SESSION_NAME_MAX ||
        (size_t)snprintf(path, path_size, "%s/%s/%s", rayi_session_path(session), folder, name) >= path_size)
        return rayi_fail(RAY_ERR_LIMIT, "the name %.40s is too long for the session directory", name);
    if (mkdirat(at, folder, 0700) < 0 && errno != EEXIST)
        failed = errno;
    if (!failed && (dir = openat(at, folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
        failed = errno;
    if (!failed)
        failed = write_file(dir, name, bytes, size_bytes);
    if (dir >= 0)
        close(dir);
    return failed ? rayi_folder_fails("cannot write", path, failed) : 0;
}
