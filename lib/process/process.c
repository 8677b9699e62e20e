/* The life of a process.
 *
 * started: pidfd, pipes and timers are watched. ended: on_end was called; the child is a zombie still (it was looked at
 * with WNOWAIT), so its pid and its group cannot be given to anybody else, and what it left behind in the group can be
 * killed safely. closing: reaped, or killed and waited for until then; handles are closed, and the last one that libuv
 * lets go of frees it all.
 *
 * Where the system gives no pidfd (before Linux 5.3, or refused), or one that tells of an end that cannot be waited for
 * (a debugger holds the zombie), the tick looks instead. The end of a pipe is no sign: it comes a moment before the
 * process can be waited for, or much earlier, or never.
 *
 * Lock order: label_lock is a leaf, held for a copy only. All else belongs to the loop's thread. */
#include "process/inside.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* ---- looking ---- */

typedef enum outcome { RUNS, ENDED, GONE } outcome; /* GONE: somebody else reaped it */

static outcome look(const rayi_process *process, int flags, siginfo_t *info)
{
    int r = -1;
    *info = (siginfo_t){0};
    errno = EINVAL;
    if (process->pidfd >= 0)
        r = waitid((idtype_t)P_PIDFD, (id_t)process->pidfd, info, WEXITED | WNOHANG | flags);
    if (r < 0 && errno == EINVAL) /* no pidfd, or waitid knows none (before 5.4) */
        r = waitid(P_PID, (id_t)process->pid, info, WEXITED | WNOHANG | flags);
    if (r < 0)
        return errno == ECHILD ? GONE : RUNS;
    return info->si_pid ? ENDED : RUNS;
}

static rayi_process_end story(const rayi_process *process, outcome found, const siginfo_t *info)
{
    rayi_process_end end = {.known = found == ENDED, .exit_code = -1};
    if (end.known && info->si_code == CLD_EXITED)
        end.exit_code = info->si_status;
    else if (end.known)
        end.signal = info->si_status;
    end.core_dumped = end.known && info->si_code == CLD_DUMPED;
    end.out_of_memory = (!end.known || end.signal == SIGKILL) && rayi_process_was_limited(process);
    return end;
}

static void stop_watching(rayi_process *process)
{
    if (process->has_watch)
        uv_poll_stop(&process->watch);
    process->polls_end = false;
    process->limit_bytes = 0;
    rayi_process_set_tick(process);
}

static void close_all(rayi_process *process);

/* Has it ended? Then tells, or, when it is being closed, goes on with that. */
static void check_end(rayi_process *process)
{
    siginfo_t info;
    if (process->ended || process->reaped)
        return;
    outcome found = look(process, process->closing ? 0 : WNOWAIT, &info);
    if (found == RUNS)
        return;
    process->reaped = process->closing || found == GONE;
    rayi_process_end end = story(process, found, &info);
    stop_watching(process);
    process->ended = true;
    if (process->closing) {
        close_all(process);
        return;
    }
    rayi_process_drain(process, true);
    process->in_end = true;
    process->on_end(process, process->arg, &end);
    process->in_end = false; /* it is here still: libuv lets go of handles later */
}

static void on_watch(uv_poll_t *poll, int status, int events)
{
    rayi_process *process = poll->data;
    (void)status;
    (void)events;
    check_end(process);
    if (!process->ended) { /* it is readable and would be for ever */
        uv_poll_stop(poll);
        process->polls_end = true;
        rayi_process_set_tick(process);
    }
}

static void on_tick(uv_timer_t *timer)
{
    rayi_process *process = timer->data;
    if (process->limit_bytes)
        rayi_process_watch_memory(process);
    if (process->polls_end || process->closing)
        check_end(process);
    if (process->closing && !process->ended && rayi_now_ms() >= process->close_at_ms) {
        rayi_log(RAY_LOG_WARNING, "worker.stuck", process->node_id,
                 "process %lld was killed and does not end: it is left to the system", (long long)process->pid);
        process->ended = process->reaped = true;
        close_all(process);
    }
}

void rayi_process_set_tick(rayi_process *process)
{
    bool wanted = !process->ended && (process->limit_bytes || process->polls_end || process->closing);
    if (uv_is_closing((uv_handle_t *)&process->tick) || wanted == (bool)uv_is_active((uv_handle_t *)&process->tick))
        return;
    if (wanted)
        uv_timer_start(&process->tick, on_tick, RAYI_PROCESS_TICK_MS, RAYI_PROCESS_TICK_MS);
    else
        uv_timer_stop(&process->tick);
}

/* ---- making ---- */

static void free_process(rayi_process *process)
{
    void (*closed)(void *arg) = process->closed;
    void *arg = process->closed_arg;
    for (size_t i = 0; i < RAYI_COUNT_OF(process->streams); i++)
        rayi_free(process->streams[i].partial);
    pthread_mutex_destroy(&process->label_lock);
    rayi_free(process->log_path);
    rayi_free(process->node_id);
    rayi_free(process);
    if (closed)
        closed(arg);
}

void rayi_process_handle_closed(uv_handle_t *handle)
{
    rayi_process *process = handle->data;
    if (--process->num_handles == 0)
        free_process(process);
}

static void close_handle(rayi_process *process, uv_handle_t *handle)
{
    handle->data = process;
    uv_close(handle, rayi_process_handle_closed);
}

/* The timers are open until here, so this frees the process, but not before the loop goes on. */
static void close_all(rayi_process *process)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(process->streams); i++)
        rayi_process_stream_close(&process->streams[i]);
    if (process->has_watch)
        close_handle(process, (uv_handle_t *)&process->watch);
    if (process->pidfd >= 0)
        close(process->pidfd);
    rayi_process_leash_close(process->leash);
    close_handle(process, (uv_handle_t *)&process->tick);
    close_handle(process, (uv_handle_t *)&process->notice);
    rayi_process_limit_close(process);
}

static int make_streams(rayi_process *process, int writers[2])
{
    for (size_t i = 0; i < 2; i++) {
        rayi_process_stream *stream = &process->streams[i];
        int fds[2];
        int r = rayi_process_pipe(fds);
        if (r < 0)
            return r;
        writers[i] = fds[1];
        r = uv_poll_init(process->loop, &stream->poll, fds[0]);
        if (r < 0) {
            close(fds[0]);
            return rayi_fail(RAY_ERR_SYSTEM, "the output of a process cannot be watched: %s", uv_strerror(r));
        }
        stream->fd = fds[0];
        stream->poll.data = process;
        process->num_handles++;
        uv_poll_start(&stream->poll, UV_READABLE, rayi_process_on_output);
    }
    return 0;
}

static int make_process(uv_loop_t *loop, const rayi_process_options *options, rayi_process **out)
{
    rayi_process *process = rayi_zalloc(sizeof *process);
    if (!process)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a process");
    process->loop = loop;
    process->outlet = options->outlet;
    process->pidfd = process->leash[0] = process->leash[1] = -1;
    process->on_end = options->on_end;
    process->arg = options->arg;
    if (options->log_path)
        process->log_path = rayi_strdup(options->log_path);
    if (options->node_id)
        process->node_id = rayi_strdup(options->node_id);
    if ((options->log_path && !process->log_path) || (options->node_id && !process->node_id)) {
        rayi_free(process->log_path);
        rayi_free(process->node_id);
        rayi_free(process);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a process");
    }
    for (size_t i = 0; i < 2; i++)
        process->streams[i] = (rayi_process_stream){.process = process, .fd = -1, .is_error = i == 1};
    pthread_mutex_init(&process->label_lock, NULL);
    rayi_process_label(process, options->label ? options->label : "worker");
    process->bucket.credit_ms = (uint64_t)RAYI_PROCESS_BURST_LINES * RAYI_PROCESS_LINE_MS;
    process->bucket.filled_at_ms = uv_now(loop);
    uv_timer_init(loop, &process->tick);
    uv_timer_init(loop, &process->notice);
    process->tick.data = process->notice.data = process;
    process->num_handles = 2;
    *out = process;
    return 0;
}

/* What cannot be had here has a substitute, so this does not fail. */
static void watch_end(rayi_process *process)
{
    process->pidfd = rayi_process_pidfd(process->pid);
    if (process->pidfd >= 0 && uv_poll_init(process->loop, &process->watch, process->pidfd) == 0) {
        process->has_watch = true;
        process->num_handles++;
        process->watch.data = process;
        uv_poll_start(&process->watch, UV_READABLE, on_watch);
    } else {
        process->polls_end = true;
        rayi_process_set_tick(process);
    }
}

int rayi_process_start(uv_loop_t *loop, const rayi_process_options *options, rayi_process **out)
{
    int writers[2] = {-1, -1};
    rayi_process *process = NULL;
    RAYI_ASSERT((options->from || (options->command && options->command[0])) && options->on_end);
    int r = make_process(loop, options, &process);
    if (r < 0)
        return r;
    r = make_streams(process, writers);
    if (r == 0)
        r = rayi_process_pair(SOCK_STREAM, process->leash);
    if (r == 0)
        r = options->from ? rayi_template_copy(options->from, options, writers[0], writers[1], &process->pid)
                          : rayi_process_spawn(options, writers[0], writers[1], &process->pid);
    for (size_t i = 0; i < 2; i++)
        if (writers[i] >= 0)
            close(writers[i]);
    if (r < 0) {
        close_all(process);
        return r;
    }
    rayi_process_leash_tie(process->leash, process->pid);
    watch_end(process);
    *out = process;
    return 0;
}

/* ---- what others ask of it ---- */

int64_t rayi_process_pid(const rayi_process *process)
{
    return process->pid;
}

bool rayi_process_ended(const rayi_process *process)
{
    return process->ended;
}

/* The group first: while the leader is ours, alive or a zombie, the group's number is nobody else's. Once somebody else
 * has reaped it that holds as good as certainly until on_end returns, and not later. */
void rayi_process_kill(rayi_process *process, int signal)
{
    if (process->reaped && !process->in_end)
        return;
    if (signal == SIGKILL) {
        kill(-process->pid, SIGKILL);
        if (process->ended)
            return; /* a killed zombie is one still, and a reaped one has no pid */
    }
    if (process->ended)
        return;
    if (process->pidfd < 0 || syscall(SYS_pidfd_send_signal, process->pidfd, signal, NULL, 0) < 0)
        kill(process->pid, signal);
}

void rayi_process_label(rayi_process *process, const char *name)
{
    size_t size = rayi_process_whole(name, strnlen(name, RAYI_PROCESS_LABEL_MAX));
    pthread_mutex_lock(&process->label_lock);
    memcpy(process->label, name, size);
    process->label[size] = 0;
    pthread_mutex_unlock(&process->label_lock);
}

void rayi_process_close(rayi_process *process, void (*closed)(void *arg), void *arg)
{
    siginfo_t info;
    RAYI_ASSERT(!process->closing);
    process->closed = closed;
    process->closed_arg = arg;
    if (process->ended) {
        process->closing = true;
        if (!process->reaped)
            (void)look(process, 0, &info);
        process->reaped = true;
        rayi_process_drain(process, true);
        close_all(process);
        return;
    }
    rayi_process_kill(process, SIGKILL);
    rayi_process_drain(process, true);
    process->closing = true;
    process->close_at_ms = rayi_now_ms() + RAYI_PROCESS_STUCK_MS;
    for (size_t i = 0; i < RAYI_COUNT_OF(process->streams); i++)
        rayi_process_stream_close(&process->streams[i]);
    rayi_process_set_tick(process);
}
