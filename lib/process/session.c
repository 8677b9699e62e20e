/* The session directory: BASE/ray-UID/s-PID-XXXXXX/ with lock and logs/. What folder.c says of such a directory holds
 * here; logs that are to be kept outlive it. */
#include "process/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SOCKET_NAME_MAX = 107, /* sun_path without its NUL */
    NAME_ROOM = 20,        /* for what is added to the session's path */
    PATH_MOST = SOCKET_NAME_MAX - NAME_ROOM,
    KEPT_MOST = 5
};

#define CANNOT    "the session directory cannot be made in"
#define KEEP_MARK "keep-logs"

static const char *const kept_names[] = {"logs", KEEP_MARK, NULL};

struct rayi_session {
    rayi_folder *folder;
    char logs[PATH_MOST + 8];
};

/* ---- where ---- */

static int home_fails(const char *home, const char *reason)
{
    return rayi_fail(RAY_ERR_SYSTEM, "%s %s: set RAY_TMPDIR to a directory of your own", home, reason);
}

/* BASE/ray-UID, without links. A base that nobody named for us is not insisted on. */
static int find_home(const char *base, char out[PATH_MAX])
{
    char real[PATH_MAX];
    bool insists = base != NULL;
    if (!base) {
        base = getenv("RAY_TMPDIR");
        insists = base && *base;
        if (!insists)
            base = getenv("TMPDIR");
    }
    if (!base || !*base)
        base = "/tmp";
    if (!realpath(base, real)) {
        if (insists || !realpath("/tmp", real))
            return rayi_fail(RAY_ERR_SYSTEM, "the directory %s for sessions cannot be used: %s", base, strerror(errno));
    }
    /* "/ray-UID/s-PID-XXXXXX" at its longest */
    size_t added = (size_t)snprintf(NULL, 0, "/ray-%u/s-%ld-XXXXXX", (unsigned)geteuid(), (long)getpid());
    if (strlen(real) + added > PATH_MOST)
        strcpy(real, "/tmp");
    snprintf(out, PATH_MAX, "%.*s/ray-%u", PATH_MOST, strcmp(real, "/") == 0 ? "" : real, (unsigned)geteuid());
    return 0;
}

static int open_home(const char *home, bool make, int *out_fd)
{
    struct stat status;
    if (make && mkdir(home, 0700) < 0 && errno != EEXIST)
        return rayi_folder_fails(CANNOT, home, errno);
    int fd = open(home, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && !make) {
        *out_fd = -1;
        return 0;
    }
    if (fd < 0)
        return errno == ELOOP || errno == ENOTDIR ? home_fails(home, "is no directory but a link or a file")
                                                  : home_fails(home, strerror(errno));
    if (fstat(fd, &status) < 0 || status.st_uid != geteuid()) {
        close(fd);
        return home_fails(home, "belongs to someone else");
    }
    if (status.st_mode & 077) {
        close(fd);
        return home_fails(home, "is open to others (chmod 700 makes it usable)");
    }
    *out_fd = fd;
    return 0;
}

int rayi_session_home(const char *base, bool make, char out[PATH_MAX], int *out_fd)
{
    int r = find_home(base, out);
    return r < 0 ? r : open_home(out, make, out_fd);
}

/* ---- logs that are kept ---- */

static bool is_empty(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    size_t count = 0;
    if (!list) {
        if (fd >= 0)
            close(fd);
        return true;
    }
    while (readdir(list))
        count++;
    closedir(list);
    return count <= 2;
}

/* When its logs were marked as to be kept, in ns; 0: they were not, or there are none. */
static int64_t kept_since(int dir)
{
    struct stat status;
    if (fstatat(dir, KEEP_MARK, &status, AT_SYMLINK_NOFOLLOW) < 0 || is_empty(dir, "logs"))
        return 0;
    return (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec + 1;
}

/* The newest logs so far; since is 0 where a place is free. */
typedef struct kept {
    char names[KEPT_MOST][RAYI_FOLDER_NAME_SIZE];
    int64_t since[KEPT_MOST];
} kept;

/* What stays of a dead one: its logs, if they are to be kept and there are no KEPT_MOST that are newer. Then the oldest
 * makes way. */
static const char *const *keeps(void *arg, int home, const char *name, int dir)
{
    kept *all = arg;
    size_t oldest = 0;
    int64_t since = kept_since(dir);
    for (size_t i = 1; i < KEPT_MOST; i++)
        if (all->since[i] < all->since[oldest])
            oldest = i;
    if (since <= all->since[oldest])
        return NULL;
    if (all->since[oldest])
        (void)rayi_remove_at(home, all->names[oldest]);
    strcpy(all->names[oldest], name);
    all->since[oldest] = since;
    return kept_names;
}

/* ---- a session ---- */

int rayi_session_open(const char *base, rayi_session **out)
{
    char path[PATH_MAX];
    kept all = {0};
    int home = -1;
    rayi_session *session = rayi_zalloc(sizeof *session);
    if (!session)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the session");
    int r = rayi_session_home(base, true, path, &home);
    if (r < 0)
        goto undo_session;
    rayi_folder_clear(home, "", keeps, &all);
    r = rayi_folder_make(home, path, "", CANNOT, &session->folder);
    if (r < 0)
        goto undo_session;
    int size = snprintf(session->logs, sizeof session->logs, "%s/logs", rayi_folder_path(session->folder));
    RAYI_ASSERT(size <= PATH_MOST + (int)strlen("/logs"));
    if (mkdirat(rayi_folder_dir(session->folder), "logs", 0700) < 0) {
        r = rayi_folder_fails(CANNOT, path, errno);
        rayi_folder_close(session->folder, NULL);
        goto undo_session;
    }
    *out = session;
    return 0;

undo_session:
    rayi_free(session);
    return r;
}

void rayi_session_close(rayi_session *session, bool keep_logs)
{
    if (!session)
        return;
    int dir = rayi_folder_dir(session->folder), mark = -1;
    if (keep_logs && !is_empty(dir, "logs"))
        mark = openat(dir, KEEP_MARK, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    rayi_folder_close(session->folder, mark >= 0 ? kept_names : NULL);
    if (mark >= 0)
        close(mark);
    rayi_free(session);
}

int rayi_session_dir(const rayi_session *session)
{
    return rayi_folder_dir(session->folder);
}

const char *rayi_session_path(const rayi_session *session)
{
    return rayi_folder_path(session->folder);
}

const char *rayi_session_logs(const rayi_session *session)
{
    return session->logs;
}
