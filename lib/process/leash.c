/* What holds a process's group to the life of this process: a pair of sockets, both ends here and nowhere else. When
 * this process dies, however it dies, the kernel closes one end after the other, the first makes the second one hang
 * up, and that is told by a signal to the owner that we have named: SIGKILL, to the group.
 *
 * The signal that a child may ask for at its parent's death reaches that child alone, and what this has forked would
 * stay; a thread in the child that watches a socket comes too late when that signal is SIGKILL. Here no code has to
 * run: it works where the child spins, is stopped, blocks signals, closes descriptors or has become another program.
 *
 * Children that the host has forked without exec hold the ends as well. While one of them outlives the host, nothing is
 * told. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int rayi_process_lift(int fd)
{
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, 3), failed = errno;
    close(fd);
    errno = failed;
    return lifted;
}

int rayi_process_pair(int type, int ends[2])
{
    int made[2], failed;
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, made) < 0) {
        failed = errno;
        goto fail;
    }
    ends[0] = rayi_process_lift(made[0]);
    failed = errno;
    ends[1] = rayi_process_lift(made[1]);
    if (ends[0] >= 0 && ends[1] >= 0)
        return 0;
    failed = ends[0] < 0 ? failed : errno;
    for (size_t i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
        ends[i] = -1;
    }
fail:
    return rayi_fail(RAY_ERR_SYSTEM, "no descriptors for a new process: %s", strerror(failed));
}

/* Where the system refuses, what the child itself does has to suffice. */
void rayi_process_leash_tie(const int ends[2], pid_t group)
{
    for (size_t i = 0; i < 2; i++)
        if (fcntl(ends[i], F_SETOWN, -group) == 0 && fcntl(ends[i], F_SETSIG, SIGKILL) == 0)
            (void)fcntl(ends[i], F_SETFL, O_ASYNC);
}

void rayi_process_leash_close(int ends[2])
{
    for (size_t i = 0; i < 2; i++)
        if (ends[i] >= 0)
            (void)fcntl(ends[i], F_SETFL, 0);
    for (size_t i = 0; i < 2; i++) {
        if (ends[i] >= 0)
            close(ends[i]);
        ends[i] = -1;
    }
}
