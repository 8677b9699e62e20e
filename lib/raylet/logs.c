/* The files in the logs directory of this node's session, for who asks from elsewhere. They are read on the loop, which
 * writes them, a piece at a time. A file is known by its name and its inode, since one that has grown large is renamed
 * and another one takes its name. */
#include "raylet/inside.h"
#include "raylet/rows.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_BYTES (64 << 10)

/* -1: there is none. */
static int open_logs(const rayi_node *node)
{
    return node->session
               ? open(rayi_session_logs(node->session), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
               : -1;
}

/* ---- which there are ---- */

static bool is_name(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) <= NAME_MAX;
}

static void list_file(const rayi_node *node, int dir, const char *name, rayi_rows *rows)
{
    struct stat status;

    if (!is_name(name) || fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(status.st_mode) ||
        !rayi_rows_begin(rows))
        return;
    rayi_rows_text(rows, "name", name);
    rayi_rows_int(rows, "size_bytes", (int64_t)status.st_size);
    rayi_rows_int(rows, "inode", (int64_t)status.st_ino);
    rayi_rows_text(rows, "node_id", rayi_executor_node_id(node->executor));
    rayi_rows_end(rows);
}

int rayi_logs_list(rayi_node *node, rayi_rows *rows)
{
    int dir = open_logs(node);
    DIR *list = dir >= 0 ? fdopendir(dir) : NULL;
    const struct dirent *entry;

    if (!list) {
        if (dir >= 0)
            close(dir);
        return 0;
    }
    while ((entry = readdir(list)))
        list_file(node, dir, entry->d_name, rows);
    closedir(list);
    return 0;
}

/* ---- a piece of one ---- */

static int fail(const rayi_query *query)
{
    return rayi_fail(errno == ENOENT ? RAY_ERR_NOT_FOUND : RAY_ERR_SYSTEM, "ray_state: the log file \"%.255s\": %s",
                     query->filename, strerror(errno));
}

/* The descriptor, or an error. */
static int open_file(const rayi_node *node, const rayi_query *query)
{
    struct stat status;
    int dir, fd;

    if (!query->filename || !is_name(query->filename))
        return rayi_fail(RAY_ERR_ARGUMENT,
                         "ray_state: logs/file: expected the filename of a log, without a slash, got \"%.60s\"",
                         query->filename ? query->filename : "");
    dir = open_logs(node);
    if (dir < 0)
        return rayi_fail(RAY_ERR_NOT_FOUND, "ray_state: the node has no logs");
    fd = openat(dir, query->filename, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    close(dir);
    if (fd < 0)
        return fail(query);
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && (!query->inode || query->inode == status.st_ino))
        return fd;
    close(fd);
    return rayi_fail(RAY_ERR_NOT_FOUND, "ray_state: \"%.255s\" is another file now", query->filename);
}

int rayi_logs_write(rayi_node *node, const rayi_query *query, rayi_text *out)
{
    int fd = open_file(node, query), r = 0;
    char *bytes;
    ssize_t size;

    if (fd < 0)
        return fd;
    bytes = rayi_alloc(PIECE_BYTES);
    size = bytes ? pread(fd, bytes, PIECE_BYTES, (off_t)(query->offset & INT64_MAX)) : 0;
    if (!bytes)
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a piece of a log");
    else if (size < 0)
        r = fail(query);
    else
        rayi_text_add_bytes(out, bytes, (size_t)size);
    rayi_free(bytes);
    close(fd);
    return r;
}
