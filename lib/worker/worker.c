/* The worker's life: how it joins its node, and the thread that watches the node's end.
 *
 * There is one worker in a process, made once and never freed: the process ends with it. */
#include "worker/inside.h"

#include "process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WELCOME_NS       ((int64_t)30000000000)
#define WATCHER_STACK    ((size_t)128 << 10)
#define NEVER_USED_STORE ((uint64_t)1 << 20) /* objects that are not small have room in the node's */

static rayi_worker *the_worker;

bool rayi_worker_is_one(void)
{
    const char *of = getenv(RAYI_WORKER_ENV);

    return of && *of;
}

/* ---- the node's end ---- */

/* One packet: a segment and its descriptor. False: the socket has ended. */
static bool receive_segment(rayi_worker *worker)
{
    rayi_wire_segment what;
    struct iovec part = {.iov_base = &what, .iov_len = sizeof what};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *head;
    ssize_t size = recvmsg(worker->socket, &message, MSG_CMSG_CLOEXEC);
    int fd = -1;

    if (size < 0 && errno == EINTR)
        return true;
    if (size <= 0)
        return false;
    head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS &&
        head->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
    if (fd < 0) /* it will not be told of that segment again */
        rayi_worker_die(worker, "out of descriptors: a segment of the object store could not be received");
    if (size == sizeof what)
        rayi_far_segment_came(worker, &what, fd);
    else
        close(fd);
    return true;
}

static void *watch(void *arg)
{
    rayi_worker *worker = arg;

    while (receive_segment(worker))
        ;
    rayi_worker_die(worker, NULL);
}

/* Signals are for the threads of user code. */
static int start_watcher(rayi_worker *worker)
{
    sigset_t all, before;
    pthread_attr_t attr;
    pthread_t watcher;
    int failed;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attr, WATCHER_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&watcher, &attr, watch, worker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return failed ? rayi_fail(RAY_ERR_SYSTEM, "a worker process cannot start a thread: %s", strerror(failed)) : 0;
}

/* ---- joining ---- */

static int read_environment(rayi_worker *worker)
{
    const char *of = getenv(RAYI_WORKER_ENV);

    switch (rayi_worker_read_role(&worker->node_pid, &worker->wrapped)) {
    case RAYI_WORKER_ROLE_WORKER:
        return 0;
    case RAYI_WORKER_ROLE_TEMPLATE:
        return rayi_fail(RAY_ERR_NOT_HERE,
                         "this is the template of worker processes (ray_config.worker_template), which "
                         "calls ray_template_fork, and ray_init when that returns 0");
    case RAYI_WORKER_ROLE_NONE:
        break;
    }
    return rayi_fail(RAY_ERR_CORRUPT, "%s=\"%s\" is not what a node sets", RAYI_WORKER_ENV, of ? of : "");
}

static int check_descriptors(rayi_worker *worker)
{
    static const int fds[] = {RAYI_WORKER_SOCKET, RAYI_WORKER_CHANNEL, RAYI_WORKER_EVENT};
    int type;
    socklen_t size = sizeof type;

    for (size_t i = 0; i < RAYI_COUNT_OF(fds); i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0)
            return rayi_fail(RAY_ERR_CORRUPT,
                             "descriptor %d of a worker process is not open: programs that close all descriptors "
                             "before ray_init must leave 3 to 5 alone",
                             fds[i]);
    if (getsockopt(RAYI_WORKER_SOCKET, SOL_SOCKET, SO_TYPE, &type, &size) || type != SOCK_SEQPACKET)
        return rayi_fail(RAY_ERR_CORRUPT, "descriptor %d of a worker process is not its node's socket",
                         RAYI_WORKER_SOCKET);
    worker->socket = RAYI_WORKER_SOCKET;
    return rayi_channel_open(rayi_heap, RAYI_WORKER_CHANNEL, &worker->channel);
}

static int say_ready(rayi_worker *worker)
{
    rayi_writer writer;
    int r;

    rayi_writer_init(&writer);
    rayi_put_u32(&writer, RAYI_WORKER_PROTOCOL);
    rayi_put_i64(&writer, getpid());
    r = rayi_worker_send_written(worker, RAYI_UP_READY, &writer);
    rayi_writer_fini(&writer);
    return r;
}

/* The node's first message; it lies in the channel until the next one is received. */
static int await_welcome(rayi_worker *worker, rayi_received *out)
{
    int64_t deadline = rayi_now_ns() + WELCOME_NS;
    int r;

    for (;;) {
        uint32_t bell = rayi_channel_bell(worker->channel);
        r = rayi_channel_receive(worker->channel, out);
        if (r != 0)
            break;
        if (rayi_now_ns() >= deadline)
            return rayi_fail(RAY_ERR_TIMEOUT, "the node (pid %lld) has not answered its worker process in 30 s",
                             (long long)worker->node_pid);
        (void)rayi_channel_announce(worker->channel, RAYI_WORKER_EVENT); /* it may wait for room for the rest */
        (void)rayi_channel_sleep(worker->channel, bell, deadline);
    }
    if (r > 0 && out->type != RAYI_DOWN_WELCOME)
        return rayi_fail(RAY_ERR_CORRUPT, "the node's first message is of type %u, not WELCOME", out->type);
    return r < 0 ? r : 0;
}

/* ---- the log ---- */

/* May come from any thread of the library, and from inside of most of it, but for the sending itself. */
static void forward(void *arg, const ray_log_event *event)
{
    rayi_worker *worker = arg;
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u32(&writer, event->level);
    rayi_put_text(&writer, event->event);
    rayi_put_text(&writer, event->message);
    if (!writer.failed && writer.size <= RAYI_RING_LONG_MAX)
        (void)rayi_worker_send(worker, RAYI_UP_LOG, writer.data, writer.size, NULL, 0);
    rayi_writer_fini(&writer);
}

/* ---- the executor ---- */

static uint32_t count_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) > 0)
        return (uint32_t)CPU_COUNT(&set);
    return 1;
}

static int make_executor(rayi_worker *worker, rayi_reader *reader)
{
    rayi_executor_config config = {.lane = {.num_threads = 1, /* for what ends at once: nothing else is queued */
                                            .max_threads = 2,
                                            .num_cpus = worker->num_cpus,
                                            .pending_limit_bytes = INT64_MAX},
                                   .store_bytes = NEVER_USED_STORE,
                                   .outside = &rayi_worker_outside};
    uint32_t protocol = rayi_take_u32(reader), level;

    if (protocol != RAYI_WORKER_PROTOCOL)
        return rayi_fail(RAY_ERR_VERSION, "the node speaks protocol %u, this worker process %d", protocol,
                         RAYI_WORKER_PROTOCOL);
    config.node_id = rayi_take_text(reader);
    config.job_id = rayi_take_text(reader);
    config.ns = rayi_take_text(reader);
    config.id_prefix = rayi_take_u64(reader);
    config.first_number = rayi_take_u64(reader);
    config.timeout_ms = worker->timeout_ms = rayi_take_i64(reader);
    level = rayi_take_u32(reader);
    if (reader->failed || !config.node_id || !config.job_id)
        return rayi_fail(RAY_ERR_CORRUPT, "the node's WELCOME makes no sense");
    if (level >= RAY_LOG_ERROR && level <= RAY_LOG_DEBUG && !rayi_log_wants(RAY_LOG_ERROR))
        rayi_log_install(forward, worker, (ray_log_level)level);
    return rayi_executor_new(&config, &rayi_worker_hooks, worker, &worker->executor);
}

static int load_libraries(rayi_worker *worker, rayi_reader *reader)
{
    uint32_t count = rayi_take_count(reader, sizeof(uint32_t));

    for (uint32_t i = 0; i < count; i++) {
        const char *path = rayi_take_text(reader);
        int r = path ? rayi_function_load(worker->executor, path, RAYI_LOAD_TOLD) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

/* The code that this process is for. What its constructors do is done before the node offers anything. */
static int open_code(rayi_worker *worker, rayi_reader *reader)
{
    const char *path = rayi_take_text(reader);
    rayi_writer writer;
    int r, sent;

    if (!path)
        return 0;
    r = rayi_function_load(worker->executor, path, RAYI_LOAD_TOLD);
    rayi_writer_init(&writer);
    rayi_put_text(&writer, r < 0 ? rayi_error_last_public()->message : NULL);
    sent = rayi_worker_send_written(worker, RAYI_UP_OPENED, &writer);
    rayi_writer_fini(&writer);
    return r < 0 ? r : sent;
}

static int join(rayi_worker *worker)
{
    rayi_received welcome;
    rayi_reader reader;
    int r = say_ready(worker);

    if (r == 0)
        r = await_welcome(worker, &welcome);
    if (r < 0)
        return r;
    reader = rayi_reader_of(welcome.data, welcome.size);
    r = make_executor(worker, &reader);
    if (r < 0)
        return r;
    worker->lane = rayi_executor_lane(worker->executor);
    rayi_lane_set_polled(worker->lane, true);
    if (!rayi_lane_attach(worker->lane))
        return rayi_error_last_public()->code;
    r = load_libraries(worker, &reader);
    return r < 0 ? r : open_code(worker, &reader);
}

static int init_locks(rayi_worker *worker)
{
    pthread_mutex_t *const locks[] = {&worker->rx, &worker->tx, &worker->names_lock, &worker->far_lock,
                                      &worker->asks_lock};
    pthread_mutexattr_t again;
    pthread_condattr_t attr;

    for (size_t i = 0; i < RAYI_COUNT_OF(locks); i++)
        pthread_mutex_init(locks[i], NULL);
    pthread_mutexattr_init(&again);
    pthread_mutexattr_settype(&again, PTHREAD_MUTEX_RECURSIVE); /* an object is told of by writing what it holds */
    pthread_mutex_init(&worker->naming, &again);
    pthread_mutexattr_destroy(&again);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&worker->segment_came, &attr);
    pthread_condattr_destroy(&attr);
    return rayi_serve_init(worker);
}

int rayi_worker_start(const ray_config *config, rayi_executor **out)
{
    rayi_worker *worker = rayi_zalloc(sizeof *worker);
    int r;

    (void)config; /* a worker process is what its node made it */
    if (!worker)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a worker process");
    worker->num_cpus = count_cpus();
    rayi_names_init(worker);
    r = init_locks(worker);
    if (r == 0)
        r = read_environment(worker);
    if (r == 0)
        r = rayi_process_bind_to_parent(worker->node_pid);
    if (r == 0)
        r = check_descriptors(worker);
    if (r == 0)
        r = start_watcher(worker);
    if (r == 0)
        r = join(worker);
    if (r < 0)
        return r;                    /* and the process ends */
    (void)unsetenv(RAYI_WORKER_ENV); /* what user code starts from here is no worker */
    the_worker = worker;
    *out = worker->executor;
    return 0;
}

int rayi_worker_run(void)
{
    rayi_worker *worker = the_worker;

    rayi_serve(worker, rayi_lane_attach(worker->lane));
    return 0;
}
