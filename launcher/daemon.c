/* Going on in the background. The process that was called forks before anything of libray is used, and stays until the
 * other one says that it serves: one byte in a pipe, whose end without that byte is the other's end. Until then the
 * other's words go where those of the first one go. */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The other has ended; its words have been said. */
static int status_of(const struct command *command, pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return complain(command, STATUS_FAILED, "cannot find out how it ended: %s", strerror(errno));
    if (WIFSIGNALED(status))
        return complain(command, STATUS_FAILED, "it was ended by signal %d (%s) before it served", WTERMSIG(status),
                        strsignal(WTERMSIG(status)));
    return WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : STATUS_FAILED;
}

static int wait_for(const struct command *command, pid_t pid, int ready)
{
    char byte;
    ssize_t count;
    do
        count = read(ready, &byte, 1);
    while (count < 0 && errno == EINTR);
    close(ready);
    return count == 1 ? 0 : status_of(command, pid);
}

/* False with errno. */
static bool redirect(const char *path, int flags, int first, int last)
{
    int fd = open(path, flags | O_CLOEXEC, 0600);
    bool done = fd >= 0;
    for (int to = first; done && to <= last; to++)
        done = dup2(fd, to) >= 0;
    if (fd > 2)
        close(fd);
    return done;
}

bool daemon_fork(const struct command *command, int *out_ready, int *status)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0) {
        *status = complain(command, STATUS_FAILED, "--daemon: no pipe: %s", strerror(errno));
        return false;
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        (void)setsid();
        (void)redirect("/dev/null", O_RDONLY, STDIN_FILENO, STDIN_FILENO);
        *out_ready = ends[1];
        return true;
    }
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        *status = complain(command, STATUS_FAILED, "--daemon: no process: %s", strerror(errno));
    } else {
        *status = wait_for(command, pid, ends[0]);
    }
    return false;
}

bool daemon_ready(int ready, const char *log)
{
    bool done =
        redirect(log ? log : "/dev/null", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, STDOUT_FILENO, STDERR_FILENO);
    ssize_t count = -1;
    while (done && (count = write(ready, "", 1)) < 0 && errno == EINTR)
        continue;
    close(ready);
    return done && count == 1;
}
