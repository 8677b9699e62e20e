/* A template: the node's end of it. How it copies itself: fork.c.
 *
 * starting: until its first packet. ready: a copy is asked for with one packet (the environment's changes, and the
 * descriptors), and the answer, its pid, is waited for. Then it is given a process group of its own, and told to go on.
 * ended: it has died, or was killed with its group since it did not answer; nothing is asked of it any more. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define ANSWER_MS  1000 /* the loop stands still meanwhile; a copy takes some milliseconds */
#define STRAY_NAPS 100  /* of a millisecond, likewise */

struct rayi_template {
    rayi_template_state state;
    rayi_process *process;
    pid_t pid;
    bool has_strays; /* copies, maybe, whose pids were not told */
    int socket;
    uv_poll_t poll; /* of socket, until it is ready */
    void (*changed)(void *arg);
    void *arg;
    void (*closed)(void *arg);
    void *closed_arg;
    unsigned num_handles;
};

static void free_template(rayi_template *template)
{
    void (*closed)(void *arg) = template->closed;
    void *arg = template->closed_arg;
    if (--template->num_handles > 0)
        return;
    close(template->socket);
    rayi_free(template);
    if (closed)
        closed(arg);
}

static void on_poll_closed(uv_handle_t *handle)
{
    free_template(handle->data);
}

/* They were killed with its group, which they have never left; the system may take a moment. */
static void reap_strays(const rayi_template *template)
{
    for (int naps = 0; naps < STRAY_NAPS;) {
        siginfo_t info = {0};
        if (waitid(P_PGID, (id_t) template->pid, &info, WEXITED | WNOHANG) < 0 && errno != EINTR)
            return; /* there is none any more */
        if (info.si_pid == 0) {
            rayi_nap_ms(1);
            naps++;
        }
    }
}

static void on_process_closed(void *arg)
{
    rayi_template *template = arg;
    if (template->has_strays)
        reap_strays(template);
    free_template(template);
}

static void on_end(rayi_process *process, void *arg, const rayi_process_end *end)
{
    rayi_template *template = arg;
    (void)process, (void)end;
    template->state = RAYI_TEMPLATE_ENDED;
    template->changed(template->arg);
}

static void on_first_packet(uv_poll_t *poll, int status, int events)
{
    rayi_template *template = poll->data;
    uint32_t protocol = 0;
    ssize_t size = recv(template->socket, &protocol, sizeof protocol, 0);
    (void)status, (void)events;
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    uv_poll_stop(poll);
    if (template->state != RAYI_TEMPLATE_STARTING)
        return;
    if (size == sizeof protocol && protocol == RAYI_TEMPLATE_PROTOCOL)
        template->state = RAYI_TEMPLATE_READY;
    else /* its end is told */
        rayi_process_kill(template->process, SIGKILL);
    if (template->state == RAYI_TEMPLATE_READY)
        template->changed(template->arg);
}

int rayi_template_start(uv_loop_t *loop, const rayi_process_options *options, void (*changed)(void *arg), void *arg,
                        rayi_template **out)
{
    rayi_template *template = rayi_zalloc(sizeof *template);
    rayi_process_options all = *options;
    int ends[2], r;
    if (!template)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a template");
    r = rayi_process_pair(SOCK_SEQPACKET, ends);
    if (r < 0)
        goto undo_template;
    template->socket = ends[0];
    template->changed = changed;
    template->arg = arg;
    r = uv_poll_init(loop, &template->poll, ends[0]);
    if (r < 0) {
        r = rayi_fail(RAY_ERR_SYSTEM, "a template cannot be watched: %s", uv_strerror(r));
        goto undo_ends;
    }
    template->poll.data = template;
    template->num_handles = 1;
    all.fds = &ends[1];
    all.num_fds = 1;
    all.on_end = on_end;
    all.arg = template;
    r = rayi_process_start(loop, &all, &template->process);
    close(ends[1]);
    if (r < 0) {
        uv_close((uv_handle_t *)&template->poll, on_poll_closed);
        return r;
    }
    template->num_handles = 2;
    template->pid = (pid_t)rayi_process_pid(template->process);
    uv_poll_start(&template->poll, UV_READABLE, on_first_packet);
    *out = template;
    return 0;

undo_ends:
    close(ends[0]);
    close(ends[1]);
undo_template:
    rayi_free(template);
    return r;
}

rayi_template_state rayi_template_look(const rayi_template *template)
{
    return template->state;
}

void rayi_template_close(rayi_template *template, void (*closed)(void *arg), void *arg)
{
    template->state = RAYI_TEMPLATE_ENDED;
    template->closed = closed;
    template->closed_arg = arg;
    uv_close((uv_handle_t *)&template->poll, on_poll_closed);
    rayi_process_close(template->process, on_process_closed, template);
}

/* ---- copies ---- */

/* "NAME=VALUE" and "NAME", each with its NUL. 0: they do not fit. */
static size_t write_changes(const char *const *changes, char *out, size_t size)
{
    size_t used = 0;
    for (; *changes; changes++) {
        size_t length = strlen(*changes) + 1;
        if (length > size - used)
            return 0;
        memcpy(out + used, *changes, length);
        used += length;
    }
    return used;
}

/* go: what the copy waits for, last of all. 0, or an error number: nothing was sent. */
static int ask(const rayi_template *template, const rayi_process_options *options, int out_fd, int err_fd, int go)
{
    char changes[RAYI_TEMPLATE_BYTES_MAX];
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(RAYI_TEMPLATE_FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = changes, .iov_len = write_changes(options->environment, changes, sizeof changes)};
    int fds[RAYI_TEMPLATE_FDS_MAX] = {out_fd, err_fd};
    size_t count = 3 + options->num_fds;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = CMSG_SPACE(count * sizeof *fds)};
    RAYI_ASSERT(count <= RAYI_TEMPLATE_FDS_MAX);
    if (part.iov_len == 0)
        return E2BIG;
    for (size_t i = 0; i < options->num_fds; i++)
        fds[2 + i] = options->fds[i];
    fds[count - 1] = go;
    control.head =
        (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(count * sizeof *fds)};
    memcpy(CMSG_DATA(&control.head), fds, count * sizeof *fds);
    for (;;) {
        if (sendmsg(template->socket, &message, MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno != EINTR)
            return errno;
    }
}

static int await_answer(const rayi_template *template, rayi_template_answer *out)
{
    int64_t deadline = rayi_now_ms() + ANSWER_MS;
    for (;;) {
        ssize_t size = recv(template->socket, out, sizeof *out, 0);
        if (size == (ssize_t)sizeof *out)
            return 0;
        if (size >= 0)
            return EPROTO;
        if (errno != EAGAIN && errno != EINTR)
            return errno;
        struct pollfd one = {.fd = template->socket, .events = POLLIN};
        int64_t left = deadline - rayi_now_ms();
        if (left <= 0)
            return ETIMEDOUT;
        (void)poll(&one, 1, (int)left);
    }
}

static int cannot_copy(const rayi_template *template, int reason)
{
    return rayi_fail(RAY_ERR_SYSTEM, "the template (pid %lld) cannot be copied: %s", (long long)template->pid,
                     strerror(reason));
}

static int judge(const rayi_template *template, const rayi_template_answer *answer)
{
    if (answer->num_threads > 1)
        return rayi_fail(RAY_ERR_UNSUPPORTED,
                         "the template (pid %lld) has %u threads, and only a process that never had a second one is "
                         "copied",
                         (long long)template->pid, (unsigned)answer->num_threads);
    if (answer->failed == ENOSYS)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "the system does not let a template be copied");
    return answer->failed == 0 && answer->pid > 0 ? 0 : cannot_copy(template, answer->failed);
}

/* It is stopped, hangs or has died, and may have made the copy. */
static int give_up(rayi_template *template, int reason)
{
    template->state = RAYI_TEMPLATE_ENDED;
    template->has_strays = true;
    rayi_process_kill(template->process, SIGKILL);
    return rayi_fail(RAY_ERR_SYSTEM, "the template (pid %lld) does not answer: %s", (long long)template->pid,
                     strerror(reason));
}

int rayi_template_copy(rayi_template *template, const rayi_process_options *options, int out_fd, int err_fd,
                       pid_t *out_pid)
{
    rayi_template_answer answer = {0};
    int go[2], failed, r;
    RAYI_ASSERT(options->environment);
    if (template->state != RAYI_TEMPLATE_READY)
        return rayi_fail(RAY_ERR_SYSTEM, "the template has ended");
    r = rayi_process_pair(SOCK_STREAM, go);
    if (r < 0)
        return r;
    failed = ask(template, options, out_fd, err_fd, go[0]);
    close(go[0]);
    if (failed == 0) {
        failed = await_answer(template, &answer);
        r = failed ? give_up(template, failed) : judge(template, &answer);
    } else {
        r = failed == EPIPE || failed == ECONNRESET ? give_up(template, failed) : cannot_copy(template, failed);
    }
    if (r == 0) {
        (void)setpgid(answer.pid, answer.pid); /* its parent may, as long as it has not called exec */
        (void)send(go[1], "", 1, MSG_NOSIGNAL);
        *out_pid = answer.pid;
    }
    close(go[1]); /* one that was given up ends by that, too */
    return r;
}
