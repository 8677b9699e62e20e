/* What a process and its group use, from /proc.
 *
 * The members of a group are found by asking for the group of each process there is, which costs a directory's listing
 * and a cheap call each. Pages that a fork shares until somebody writes count in both processes' sizes; so where the
 * sum of these is too much the kernel's shares of private pages (Pss_Anon) are asked for, which walks page tables. A
 * child between vfork and exec has its parent's very memory, and no share tells that: it is passed over. */
#include "process/inside.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MEMBERS_MOST = 256 }; /* more are not counted */

/* In bytes: all that is mapped, what of it is resident, and what of that is shared with files and others. */
typedef struct sizes {
    int64_t mapped, resident, shared;
} sizes;

static sizes sizes_of(pid_t pid)
{
    char text[128];
    long long mapped, resident, shared, page = sysconf(_SC_PAGESIZE);
    if (!rayi_process_read(pid, "statm", text, sizeof text) ||
        sscanf(text, "%lld %lld %lld", &mapped, &resident, &shared) != 3)
        return (sizes){0};
    return (sizes){mapped * page, resident * page, shared * page};
}

int64_t rayi_process_rss_bytes(const rayi_process *process)
{
    return process->reaped ? 0 : sizes_of(process->pid).resident;
}

int64_t rayi_process_private_bytes(const rayi_process *process)
{
    sizes own = process->reaped ? (sizes){0} : sizes_of(process->pid);
    return RAYI_MAX(own.resident - own.shared, 0);
}

char rayi_process_state(const rayi_process *process)
{
    char text[512], *after; /* the name before it has at most 64 bytes, and may hold anything */
    if (process->reaped || !rayi_process_read(process->pid, "stat", text, sizeof text))
        return 0;
    after = strrchr(text, ')');
    return after && after[1] == ' ' && isalpha((unsigned char)after[2]) ? after[2] : 0;
}

/* ---- a group ---- */

static size_t find_members(pid_t group, pid_t members[MEMBERS_MOST])
{
    size_t count = 0;
    DIR *list = opendir("/proc");
    for (struct dirent *entry; list && count < MEMBERS_MOST && (entry = readdir(list));) {
        pid_t pid = isdigit((unsigned char)entry->d_name[0]) ? (pid_t)atol(entry->d_name) : 0;
        if (pid > 0 && getpgid(pid) == group)
            members[count++] = pid;
    }
    if (list)
        closedir(list);
    return count;
}

/* Its share of the private pages; 0 where the kernel does not tell (before 5.3). */
static int64_t private_share(pid_t pid)
{
    static const char name[] = "\nPss_Anon:";
    char text[2048], *at;
    if (!rayi_process_read(pid, "smaps_rollup", text, sizeof text) || !(at = strstr(text, name)))
        return 0;
    return strtoll(at + sizeof name - 1, NULL, 10) * 1024;
}

/* Where the system does not say (seccomp), equal sizes do: that counts too little rather than too much. */
static bool has_same_memory(pid_t one, const sizes *of_one, pid_t other, const sizes *of_other)
{
    long order = syscall(SYS_kcmp, one, other, KCMP_VM, 0, 0);
    return order >= 0 ? order == 0 : memcmp(of_one, of_other, sizeof *of_one) == 0;
}

int64_t rayi_process_group_bytes(const rayi_process *process, int64_t enough)
{
    pid_t members[MEMBERS_MOST];
    sizes of[MEMBERS_MOST];
    int64_t sum = 0;
    size_t count = process->reaped ? 0 : find_members(process->pid, members);
    for (size_t i = 0; i < count; i++) {
        of[i] = sizes_of(members[i]);
        sum += RAYI_MAX(of[i].resident - of[i].shared, 0);
    }
    if (sum <= enough || count < 2)
        return sum;
    sum = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_new = true;
        for (size_t k = 0; k < i && is_new; k++)
            is_new = !has_same_memory(members[k], &of[k], members[i], &of[i]);
        sum += is_new ? private_share(members[i]) : 0;
    }
    return sum;
}
