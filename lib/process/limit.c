/* A process's limit of memory.
 *
 * The kernel keeps it where we may make a control group (v2) below our own: that takes the memory controller in our
 * group's subtree_control, which only a group without processes of its own can have, or the root. So mostly in a
 * container whose root we are. Elsewhere the private part of the resident size of all in its process group is looked
 * at. We never leave our own group, nor make one beside it: who started us may count on it, and systemd is the only
 * writer of what stands above.
 *
 * Groups are named ray-NODE-CHILD by pids. A node that was killed leaves its own empty: the next one removes them. */
#include "process/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_ROOM = 1024 };

/* ---- small files ---- */

/* A path that is too long is nobody's. */
static bool join(char out[PATH_ROOM], const char *folder, const char *name)
{
    int size = snprintf(out, PATH_ROOM, "%s%s%s", folder, *name ? "/" : "", name);
    return size >= 0 && size < PATH_ROOM;
}

static bool read_small(const char *folder, const char *name, char *out, size_t size)
{
    char path[PATH_ROOM];
    ssize_t count;
    int fd = join(path, folder, name) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    count = read(fd, out, size - 1);
    close(fd);
    if (count < 0)
        return false;
    out[count] = 0;
    return true;
}

static bool write_small(const char *folder, const char *name, const char *text)
{
    char path[PATH_ROOM];
    int fd = join(path, folder, name) ? open(path, O_WRONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    ssize_t count = write(fd, text, strlen(text));
    close(fd);
    return count == (ssize_t)strlen(text);
}

static bool has_word(const char *text, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += size)
        if ((at == text || at[-1] == ' ') && (at[size] == 0 || at[size] == ' ' || at[size] == '\n'))
            return true;
    return false;
}

/* ---- control groups ---- */

/* Our own group's folder, from the line "0::/path". */
static bool find_own(const char *file, const char *root, char out[PATH_ROOM])
{
    char text[4096];
    if (!read_small(file, "", text, sizeof text))
        return false;
    for (char *line = text; line; line = strchr(line, '\n'), line += line ? 1 : 0) {
        if (strncmp(line, "0::/", 4) != 0)
            continue;
        size_t size = strcspn(line + 3, "\n");
        while (size > 0 && line[3 + size - 1] == '/')
            size--;
        return snprintf(out, PATH_ROOM, "%s%.*s", root, (int)size, line + 3) < PATH_ROOM - 64;
    }
    return false;
}

static bool may_limit(const char *own)
{
    char words[1024];
    if (!read_small(own, "cgroup.controllers", words, sizeof words) || !has_word(words, "memory"))
        return false;
    if (read_small(own, "cgroup.subtree_control", words, sizeof words) && has_word(words, "memory"))
        return true;
    return write_small(own, "cgroup.subtree_control", "+memory");
}

/* Only an empty group can be removed, so nothing is lost where another system of pids is looked at. */
static void sweep(const char *own)
{
    DIR *dir = opendir(own);
    long node, child;
    int end;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        end = 0;
        if (sscanf(entry->d_name, "ray-%ld-%ld%n", &node, &child, &end) == 2 && entry->d_name[end] == 0 && node > 0 &&
            kill((pid_t)node, 0) < 0 && errno == ESRCH)
            (void)unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
    }
    if (dir)
        closedir(dir);
}

int rayi_process_group_make(const char *file, const char *root, pid_t pid, uint64_t memory_bytes, char **out)
{
    char own[PATH_ROOM], group[PATH_ROOM + 64], text[32];
    if (!find_own(file, root, own) || !may_limit(own))
        return RAY_ERR_UNSUPPORTED;
    sweep(own);
    snprintf(group, sizeof group, "%s/ray-%ld-%ld", own, (long)getpid(), (long)pid);
    if (mkdir(group, 0755) < 0 && errno != EEXIST) /* there: left by one that had our pid */
        return RAY_ERR_UNSUPPORTED;
    snprintf(text, sizeof text, "%ld", (long)pid);
    char *path = rayi_strdup(group);
    if (!path || rayi_process_group_limit(group, memory_bytes) < 0 || !write_small(group, "cgroup.procs", text)) {
        rayi_free(path);
        (void)rmdir(group);
        return RAY_ERR_UNSUPPORTED;
    }
    (void)write_small(group, "memory.oom.group", "1"); /* since 4.19; without it the kernel picks one of the group */
    (void)write_small(group, "memory.swap.max", "0");  /* there only where swap is counted */
    *out = path;
    return 0;
}

int rayi_process_group_limit(const char *group, uint64_t memory_bytes)
{
    char text[32];
    uint64_t used =
        memory_bytes && read_small(group, "memory.current", text, sizeof text) ? strtoull(text, NULL, 10) : 0;
    snprintf(text, sizeof text, "%llu", (unsigned long long)(used + memory_bytes));
    if (!memory_bytes)
        strcpy(text, "max");
    return write_small(group, "memory.max", text) ? 0 : -1;
}

bool rayi_process_group_killed(const char *group)
{
    char text[1024], *line;
    if (!read_small(group, "memory.events", text, sizeof text))
        return false;
    line = strstr(text, "oom_kill ");
    return line && (line == text || line[-1] == '\n') && strtoull(line + strlen("oom_kill "), NULL, 10) > 0;
}

/* ---- of a process ---- */

int rayi_process_limit(rayi_process *process, uint64_t memory_bytes)
{
    if (process->ended || process->closing)
        return rayi_fail(RAY_ERR_SYSTEM, "process %lld has ended: it can't be limited", (long long)process->pid);
    if (!process->group && !process->no_group && memory_bytes)
        process->no_group = rayi_process_group_make("/proc/self/cgroup", "/sys/fs/cgroup", process->pid, memory_bytes,
                                                    &process->group) < 0;
    else if (process->group && rayi_process_group_limit(process->group, memory_bytes) < 0)
        process->no_group = true; /* the group keeps its old limit, and the watch sees the new one */
    process->limit_bytes = process->no_group ? memory_bytes : 0;
    if (process->limit_bytes)
        process->limit_bytes += (uint64_t)rayi_process_private_bytes(process);
    rayi_process_set_tick(process);
    if (process->limit_bytes)
        rayi_process_watch_memory(process);
    return 0;
}

/* The process itself at each look; what it has forked as often as that is cheap. */
static bool is_over(rayi_process *process)
{
    int64_t limit = (int64_t)RAYI_MIN(process->limit_bytes, INT64_MAX), begin = rayi_now_ns();
    if (rayi_process_private_bytes(process) > limit)
        return true;
    if (begin < process->group_look_at_ns)
        return false;
    bool is_over = rayi_process_group_bytes(process, limit) > limit;
    process->group_look_at_ns = begin + (rayi_now_ns() - begin) * RAYI_PROCESS_LOOK_SHARE;
    return is_over;
}

void rayi_process_watch_memory(rayi_process *process)
{
    if (process->ended || !is_over(process))
        return;
    process->over_limit = true;
    process->limit_bytes = 0;
    rayi_process_kill(process, SIGKILL);
    rayi_process_set_tick(process);
}

bool rayi_process_was_limited(const rayi_process *process)
{
    return process->over_limit || (process->group && rayi_process_group_killed(process->group));
}

/* What it left behind may hold the group: then the next node removes it. */
void rayi_process_limit_close(rayi_process *process)
{
    if (process->group)
        (void)rmdir(process->group);
    rayi_free(process->group);
    process->group = NULL;
}
