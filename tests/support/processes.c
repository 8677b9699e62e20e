/* Looks at processes. */
#include "check.h"

#include <dirent.h>

size_t check_children(int64_t *pids, size_t room)
{
    size_t count = 0;
    DIR *threads = opendir("/proc/self/task");
    CHECK(threads);
    for (struct dirent *entry; (entry = readdir(threads));) {
        char path[300];
        snprintf(path, sizeof path, "/proc/self/task/%s/children", entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "re") : NULL;
        for (long long pid; file && fscanf(file, "%lld", &pid) == 1; count++)
            if (count < room)
                pids[count] = pid;
        if (file)
            fclose(file);
    }
    closedir(threads);
    return count;
}

bool check_is_gone(int64_t pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z';
    if (file)
        fclose(file);
    return state == 'Z' || state == 'X';
}

void check_await_gone(int64_t pid, int64_t timeout_ms)
{
    int64_t end = check_now_ms() + timeout_ms;
    while (!check_is_gone(pid)) {
        CHECK(check_now_ms() < end);
        check_sleep_ms(1);
    }
}
