/* Who else of this user is on this host: sessions that are alive, and what they have announced.
 *
 * The file `cluster` in a session has a word and its value in each line: role, address, and process, by which a pid is
 * known to be still the same process: the namespace it counts in and when it started. So a container that shares the
 * directory, and whoever has got the pid of a session whose lock somebody holds to clear it away, are not taken for the
 * one that wrote it. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "cluster"
#define NEW_NAME  "cluster.new"

enum { PROCESS_SIZE = 96, TEXT_SIZE = 1024 };

/* "pid:[4026531836]/1234567"; what the system does not tell is empty. */
static void name_process(pid_t pid, char out[PROCESS_SIZE])
{
    char namespace[40] = "", stat[1024] = "";
    unsigned long long start = 0;
    ssize_t size = readlink("/proc/self/ns/pid", namespace, sizeof namespace - 1);
    namespace[size > 0 ? size : 0] = 0;
    if (rayi_process_read(pid, "stat", stat, sizeof stat)) {
        const char *at = strrchr(stat, ')'); /* the name before it may hold anything */
        if (at)
            (void)sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                         &start);
    }
    snprintf(out, PROCESS_SIZE, "%s/%llu", namespace, start);
}

/* ---- to announce ---- */

static int check_word(const char *what, const char *word)
{
    if (*word && strlen(word) <= RAYI_SESSION_WORD_MAX && !strpbrk(word, " \t\r\n"))
        return 0;
    return rayi_fail(RAY_ERR_ARGUMENT, "a session's %s: expected 1 to %d bytes without blanks, got \"%.40s\"", what,
                     RAYI_SESSION_WORD_MAX, word);
}

/* An error number. */
static int write_file(int dir, const char *text, size_t size)
{
    int fd = openat(dir, NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    ssize_t count = write(fd, text, size);
    int failed = count == (ssize_t)size ? 0 : count < 0 ? errno : ENOSPC;
    if (close(fd) < 0 && !failed)
        failed = errno;
    if (!failed && renameat(dir, NEW_NAME, dir, FILE_NAME) < 0)
        failed = errno;
    if (failed)
        (void)unlinkat(dir, NEW_NAME, 0);
    return failed;
}

int rayi_session_announce(const rayi_session *session, const char *role, const char *address)
{
    char text[TEXT_SIZE], process[PROCESS_SIZE];
    int r = check_word("role", role);
    if (r == 0 && address)
        r = check_word("address", address);
    if (r < 0)
        return r;
    name_process(getpid(), process);
    int size = snprintf(text, sizeof text, "role %s\n%s%s%sprocess %s\n", role, address ? "address " : "",
                        address ? address : "", address ? "\n" : "", process);
    RAYI_ASSERT(size < (int)sizeof text);
    int failed = write_file(rayi_session_dir(session), text, (size_t)size);
    return failed ? rayi_folder_fails("this node cannot be announced in", rayi_session_path(session), failed) : 0;
}

/* ---- to look around ---- */

typedef struct look {
    const char *home;
    void (*visit)(void *arg, const rayi_session_row *row);
    void *arg;
} look;

/* What a line of the file says: the rest of the one that begins with the word, copied; NULL: there is none. */
static const char *read_word(const char *text, const char *word, char out[TEXT_SIZE])
{
    size_t skipped = strlen(word);
    for (const char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        if (strncmp(line, word, skipped) != 0 || line[skipped] != ' ')
            continue;
        snprintf(out, TEXT_SIZE, "%.*s", (int)((size_t)(end - line) - skipped - 1), line + skipped + 1);
        return out;
    }
    return NULL;
}

/* What it holds, and since when; empty if there is nothing of ours. */
static int64_t read_file(int dir, char text[TEXT_SIZE])
{
    struct stat status;
    int64_t since_ns = 0;
    text[0] = 0;
    int fd = openat(dir, FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid()) {
        ssize_t size = read(fd, text, TEXT_SIZE - 1);
        text[size > 0 ? size : 0] = 0;
        since_ns = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    }
    close(fd);
    return since_ns;
}

static void look_at(void *arg, const char *name, int dir)
{
    const look *l = arg;
    char path[PATH_MAX + RAYI_FOLDER_NAME_SIZE], process[PROCESS_SIZE];
    char text[TEXT_SIZE], announced[TEXT_SIZE], role[TEXT_SIZE], address[TEXT_SIZE];
    rayi_session_row row = {.path = path, .pid = strtol(name + strlen("s-"), NULL, 10)};
    row.since_ns = read_file(dir, text);
    if (read_word(text, "process", announced)) {
        name_process((pid_t)row.pid, process);
        if (strcmp(announced, process) != 0)
            return;
    } else if (kill((pid_t)row.pid, 0) < 0 && errno == ESRCH) {
        return;
    }
    snprintf(path, sizeof path, "%s/%s", l->home, name);
    row.role = read_word(text, "role", role);
    row.address = read_word(text, "address", address);
    l->visit(l->arg, &row);
}

int rayi_sessions_each(const char *base, void (*visit)(void *arg, const rayi_session_row *row), void *arg)
{
    char home[PATH_MAX];
    int fd;
    int r = rayi_session_home(base, false, home, &fd);
    if (r < 0 || fd < 0)
        return r;
    rayi_folder_each(fd, "", look_at, &(look){.home = home, .visit = visit, .arg = arg});
    close(fd);
    return 0;
}

typedef struct search {
    rayi_session_place *out;
    int64_t since_ns;
} search;

static void look_for_head(void *arg, const rayi_session_row *row)
{
    search *s = arg;
    if (!row->role || strcmp(row->role, "head") != 0 || !row->address || row->since_ns < s->since_ns)
        return;
    s->since_ns = row->since_ns;
    s->out->pid = row->pid;
    snprintf(s->out->path, sizeof s->out->path, "%s", row->path);
    snprintf(s->out->address, sizeof s->out->address, "%s", row->address);
}

int rayi_session_find_head(const char *base, rayi_session_place *out)
{
    char home[PATH_MAX];
    int fd;
    rayi_session_place found = {.pid = 0};
    int r = rayi_session_home(base, false, home, &fd);
    if (r < 0)
        return r;
    if (fd >= 0) {
        rayi_folder_each(fd, "", look_at,
                         &(look){.home = home, .visit = look_for_head, .arg = &(search){.out = &found}});
        close(fd);
    }
    if (found.pid == 0)
        return rayi_fail(RAY_ERR_NOT_FOUND,
                         "no cluster is found on this host: no head of this user has its session in "
                         "%s; start one, or name an address instead of \"auto\"",
                         home);
    *out = found;
    return 0;
}
