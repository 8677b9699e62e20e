/* Which host this is, as far as processes can see each other. */
#include "process/inside.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* The id of the boot, and of the namespace by the inode of its file. Where one cannot be read the other has to do. */
uint64_t rayi_process_host(void)
{
    char boot[64] = "";
    struct stat status = {0};
    uint64_t hash = UINT64_C(1469598103934665603); /* FNV-1a */
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, boot, sizeof boot) : 0;

    if (fd >= 0)
        close(fd);
    for (ssize_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)boot[i]) * UINT64_C(1099511628211);
    (void)stat("/proc/self/ns/pid", &status);
    return (hash ^ (uint64_t)status.st_ino) * UINT64_C(1099511628211);
}
