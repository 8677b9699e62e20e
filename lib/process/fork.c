/* A template's own end: it waits to be asked, and copies itself.
 *
 * The copy is a child of the node, not of the template (CLONE_PARENT): the node waits for it, and it dies with the
 * node, as with a process that the node has started itself. The C library has no such fork, so this makes the system
 * call, which is sound in a process with one thread alone: no other one can hold a lock that the copy would need. Of
 * what the library's fork sees to besides, two things matter here and are done: its note of the thread's id, by which
 * signals are sent to threads, and the list of robust locks, which the kernel forgets. Handlers of pthread_atfork are
 * not called.
 *
 * A copy does nothing and stays in the template's group until the node has taken it on. A node that has waited in vain
 * kills that group, and may give the same descriptors to another process. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct request {
    char changes[RAYI_TEMPLATE_BYTES_MAX];
    size_t size;
    int fds[RAYI_TEMPLATE_FDS_MAX]; /* to be 1, 2, 3, 4 … */
    size_t num_fds;
} request;

static void close_fds(const request *asked)
{
    for (size_t i = 0; i < asked->num_fds; i++)
        close(asked->fds[i]);
}

/* false: the node has gone. *failed: an error number, of a packet that cannot be followed. */
static bool receive(int socket, request *out, int *failed)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(RAYI_TEMPLATE_FDS_MAX * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = out->changes, .iov_len = sizeof out->changes};
    struct msghdr message;
    ssize_t size;
    do {
        message = (struct msghdr){
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control};
        size = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    if (size <= 0)
        return false;
    const struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    out->size = (size_t)size;
    out->num_fds = 0;
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
        out->num_fds = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(out->fds, CMSG_DATA(head), out->num_fds * sizeof(int));
    }
    if (message.msg_flags & MSG_CTRUNC)
        *failed = EMFILE; /* some had no room here */
    else if (message.msg_flags & MSG_TRUNC || out->num_fds < 3 || out->changes[size - 1])
        *failed = EPROTO;
    return true;
}

static bool send_packet(int socket, const void *packet, size_t size)
{
    ssize_t r;
    do
        r = send(socket, packet, size, MSG_NOSIGNAL);
    while (r < 0 && errno == EINTR);
    return r == (ssize_t)size;
}

/* Those that it has now: that it never had another one is for the program to see to. 0: errno. */
static uint32_t count_threads(void)
{
    struct stat tasks;
    return stat("/proc/self/task", &tasks) == 0 ? (uint32_t)tasks.st_nlink - 2 : 0;
}

/* Where the C library keeps the thread's id; NULL: not to be found out. */
static int *place_of_tid(void)
{
    int *at = NULL;
    return prctl(PR_GET_TID_ADDRESS, &at) == 0 && at && *at == (int)syscall(SYS_gettid) ? at : NULL;
}

/* ---- the copy ---- */

/* The last descriptor: a byte comes when the node has taken this copy on, its end if it has given it up. */
static void await_go(request *asked)
{
    int go = asked->fds[--asked->num_fds];
    char byte;
    ssize_t r;
    do
        r = read(go, &byte, 1);
    while (r < 0 && errno == EINTR);
    if (r != 1)
        _exit(126);
    close(go);
}

static void put_descriptors(request *asked)
{
    int first_free = (int)(1 + asked->num_fds);
    for (size_t i = 0; i < asked->num_fds; i++) { /* none is overwritten before it is used */
        int lifted = fcntl(asked->fds[i], F_DUPFD_CLOEXEC, first_free);
        close(asked->fds[i]);
        asked->fds[i] = lifted;
    }
    for (size_t i = 0; i < asked->num_fds; i++) {
        if (asked->fds[i] < 0 || dup2(asked->fds[i], (int)i + 1) < 0)
            _exit(126);
        close(asked->fds[i]);
    }
}

static void change_environment(request *asked)
{
    char *end = asked->changes + asked->size;
    for (char *change = asked->changes, *next; change < end; change = next) {
        next = change + strlen(change) + 1;
        char *equals = strchr(change, '=');
        if (equals)
            *equals = 0;
        if (equals ? setenv(change, equals + 1, 1) : unsetenv(change))
            _exit(126);
    }
}

/* ---- both ---- */

/* As fork: 0 in the copy, -1 with errno. */
static pid_t fork_sibling(void)
{
    int *tid = place_of_tid();
    void *robust = NULL;
    size_t robust_size = 0;
    if (!tid) {
        errno = ENOSYS;
        return -1;
    }
    (void)syscall(SYS_get_robust_list, 0, &robust, &robust_size);
    /* the last two are the thread's id and its storage, or the other way round; the latter is not looked at */
    long pid =
        syscall(SYS_clone, CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD, NULL, NULL, tid, tid);
    if (pid == 0 && robust)
        (void)syscall(SYS_set_robust_list, robust, robust_size);
    return (pid_t)pid;
}

int rayi_template_ready(int socket)
{
    const uint32_t protocol = RAYI_TEMPLATE_PROTOCOL;
    return send_packet(socket, &protocol, sizeof protocol) ? 0 : rayi_fail(RAY_ERR_NODE_DIED, "the node has gone");
}

int rayi_template_serve(int socket)
{
    static request asked; /* one thread is here, and the stack may be small */
    rayi_template_answer answer = {0};
    int failed = 0;
    if (!receive(socket, &asked, &failed))
        return rayi_fail(RAY_ERR_NODE_DIED, "the node has gone");
    answer.num_threads = count_threads();
    if (failed == 0 && answer.num_threads == 0)
        failed = errno;
    if (failed == 0 && answer.num_threads == 1) {
        fflush(NULL);
        pid_t pid = fork_sibling();
        if (pid == 0) {
            await_go(&asked);
            put_descriptors(&asked);
            change_environment(&asked);
            return 0;
        }
        failed = pid < 0 ? errno : 0;
        answer.pid = (int32_t)pid;
    }
    answer.failed = failed;
    close_fds(&asked);
    return send_packet(socket, &answer, sizeof answer) ? 1 : rayi_fail(RAY_ERR_NODE_DIED, "the node has gone");
}
