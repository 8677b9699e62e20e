/* Files of /proc/PID. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

bool rayi_process_read(pid_t pid, const char *name, char *out, size_t size)
{
    char path[64];
    ssize_t count;
    snprintf(path, sizeof path, "/proc/%lld/%s", (long long)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    do
        count = read(fd, out, size - 1);
    while (count < 0 && errno == EINTR);
    close(fd);
    out[count > 0 ? count : 0] = 0;
    return count > 0;
}
