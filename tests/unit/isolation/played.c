#include "played.h"

#include "../watched.h"

#include "api/api.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
    rayi_node *node;
    rayi_process *first; /* of those that have not been closed; the loop's */
    rayi_process *ended; /* the others: kept until the end, since the test may be looking at them; the loop's */
    int64_t last_pid;
    bool over;   /* the loop's: what starts ends */
    bool chores; /* somebody waits for the store */
    bool holds;  /* the loop's */
    atomic_int dying;
} played;

/* ---- memory, and the log ---- */

void played_watch(void)
{
    watched_begin("worker.rubbish", NULL);
}

long played_rubbish(void)
{
    return watched_events();
}

long played_left_over(void)
{
    return watched_left_over();
}

/* ---- the door of lib/process ---- */

static void ends_now(uv_timer_t *timer)
{
    rayi_process *process = timer->data;

    process->ended = true;
    process->on_end(process, process->arg, &process->end);
    atomic_fetch_sub(&played.dying, 1);
}

static void die(rayi_process *process, int signal)
{
    if (process->dying)
        return;
    process->end = (rayi_process_end){.known = true, .exit_code = signal ? -1 : 0, .signal = signal};
    process->condemned = true;
    if (played.holds)
        return;
    process->dying = true;
    atomic_fetch_add(&played.dying, 1);
    uv_timer_start(&process->timer, ends_now, 0, 0);
}

int rayi_process_start(uv_loop_t *loop, const rayi_process_options *options, rayi_process **out)
{
    rayi_process *process = rayi_zalloc(sizeof *process);
    int fd = dup(options->fds[1]), r;

    RAYI_ASSERT(process && fd >= 0 && options->num_fds == 3);
    r = rayi_channel_open(rayi_heap, fd, &process->worker);
    RAYI_ASSERT(r == 0);
    process->socket = dup(options->fds[0]);
    process->event = dup(options->fds[2]);
    process->pid = ++played.last_pid;
    process->on_end = options->on_end;
    process->arg = options->arg;
    uv_timer_init(loop, &process->timer);
    process->timer.data = process;
    process->next = played.first;
    played.first = process;
    *out = process;
    if (played.over)
        die(process, 0);
    return 0;
}

static void timer_closed(uv_handle_t *handle)
{
    rayi_process *process = handle->data;

    process->next = played.ended;
    played.ended = process;
    if (process->closed)
        process->closed(process->closed_arg);
}

static void free_ended(void)
{
    for (rayi_process *process = played.ended, *next; process; process = next) {
        next = process->next;
        rayi_channel_free(process->worker);
        close(process->socket);
        close(process->event);
        rayi_free(process);
    }
    played.ended = NULL;
}

void rayi_process_close(rayi_process *process, void (*closed)(void *arg), void *arg)
{
    rayi_process **at = &played.first;

    while (*at != process)
        at = &(*at)->next;
    *at = process->next;
    process->closed = closed;
    process->closed_arg = arg;
    uv_close((uv_handle_t *)&process->timer, timer_closed);
}

int64_t rayi_process_pid(const rayi_process *process)
{
    return process->pid;
}

bool rayi_process_ended(const rayi_process *process)
{
    return process->ended;
}

void rayi_process_kill(rayi_process *process, int signal)
{
    if (signal != SIGSTOP && signal != SIGCONT)
        die(process, signal);
}

void rayi_process_label(rayi_process *process, const char *name)
{
    (void)process, (void)name;
}

size_t rayi_process_last_words(rayi_process *process, char *out, size_t size)
{
    (void)process;
    if (size > 0)
        *out = 0;
    return 0;
}

int64_t rayi_process_rss_bytes(const rayi_process *process)
{
    (void)process;
    return 0;
}

char rayi_process_state(const rayi_process *process)
{
    return process->ended ? 'Z' : 'S';
}

int rayi_process_limit(rayi_process *process, uint64_t memory_bytes)
{
    (void)process, (void)memory_bytes;
    return 0;
}

int rayi_process_outlet_open(uv_loop_t *loop, const char *node_id, int64_t window_ms, rayi_process_outlet **out)
{
    (void)loop, (void)node_id, (void)window_ms;
    *out = NULL;
    return 0;
}

void rayi_process_outlet_close(rayi_process_outlet *outlet)
{
    (void)outlet;
}

/* ---- the node ---- */

rayi_node *played_node(void)
{
    return played.node;
}

rayi_isolation *played_isolation(void)
{
    return atomic_load(&played.node->isolation);
}

bool played_start(uint32_t max_workers, uint64_t store_bytes, bool spills)
{
    ray_config config = {.size = sizeof config,
                         .isolation = RAY_ISOLATION_PROCESS,
                         .resources = "CPU=4, thing=2",
                         .spill_dir = spills ? NULL : "",
                         .store_bytes = store_bytes,
                         .num_threads = 1,
                         .timeout_ms = 30,
                         .worker_command = "played",
                         .max_workers = max_workers,
                         .timeline_tasks = 64};
    rayi_thread *thread;

    watched_mark();
    if (ray_init(&config) < 0 || !(thread = rayi_enter()))
        return false;
    played.node = rayi_node_of(thread);
    played.over = played.chores = played.holds = false;
    return rayi_workers_elsewhere(thread) == 0;
}

typedef struct job {
    void (*fn)(void *arg);
    void *arg;
} job;

static int do_job(rayi_node *node, void *arg)
{
    const job *j = arg;

    (void)node;
    if (j->fn)
        j->fn(j->arg);
    return 0;
}

void played_on_loop(void (*fn)(void *arg), void *arg)
{
    (void)rayi_node_ask(rayi_self, do_job, &(job){fn, arg});
}

static void all_end(void *arg)
{
    (void)arg;
    played.over = true;
    played.holds = false;
    for (rayi_process *process = played.first; process; process = process->next)
        die(process, SIGKILL);
}

int played_stop(void)
{
    int r;

    played_on_loop(all_end, NULL);
    r = ray_shutdown();
    free_ended();
    played.node = NULL;
    return r;
}

/* ---- the seats ---- */

rayi_guest *played_guest(uint32_t index)
{
    rayi_isolation *isolation = played_isolation();

    return index < atomic_load(&isolation->num_guests) ? isolation->guests[index] : NULL;
}

rayi_process *played_process(rayi_guest *guest)
{
    rayi_process *process;

    pthread_mutex_lock(&guest->lock);
    process = guest->open ? guest->process : NULL;
    pthread_mutex_unlock(&guest->lock);
    return process;
}

static bool has_mail(rayi_guest *guest)
{
    rayi_process *process = played_process(guest);
    const rayi_ring_counters *up = process ? &process->worker->memory->up : NULL;

    return up && atomic_load(&up->head) != atomic_load(&up->tail);
}

/* Whoever takes the mail has done all of it when rx is free; what that leaves to the loop stands in front of us there.
 */
static bool look_at_all(void)
{
    bool any = atomic_load(&played.dying) > 0;
    rayi_guest *guest;

    for (uint32_t i = 0; (guest = played_guest(i)); i++) {
        any |= has_mail(guest);
        pthread_mutex_lock(&guest->rx);
        any |= guest->kept != NULL;
        pthread_mutex_unlock(&guest->rx);
    }
    return any;
}

static void look_for_chores(void *arg)
{
    (void)arg;
    played.chores = played_isolation()->num_chores > 0;
}

void played_settle(void)
{
    for (int quiet = 0, tries = 0; quiet < 4; tries++) {
        quiet = look_at_all() || played.chores ? 0 : quiet + 1;
        played_on_loop(look_for_chores, NULL);
        if (tries > 50)
            rayi_nap_ms(1);
    }
}

bool played_send(rayi_guest *guest, uint32_t type, const void *bytes, size_t size)
{
    rayi_process *process = played_process(guest);

    if (!process || !rayi_channel_send(process->worker, type, bytes, size, NULL, 0))
        return false;
    (void)rayi_channel_announce(process->worker, process->event);
    return true;
}

static bool take_segment(int socket)
{
    rayi_wire_segment what;
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec bytes = {.iov_base = &what, .iov_len = sizeof what};
    struct msghdr message = {
        .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head;
    int fd;

    if (recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
        return false;
    head = CMSG_FIRSTHDR(&message);
    if (head && head->cmsg_type == SCM_RIGHTS) {
        memcpy(&fd, CMSG_DATA(head), sizeof fd);
        close(fd);
    }
    return true;
}

void played_drain(rayi_guest *guest)
{
    rayi_process *process = played_process(guest);
    rayi_received got;

    if (!process)
        return;
    while (rayi_channel_receive(process->worker, &got) > 0)
        ;
    while (take_segment(process->socket))
        ;
    (void)rayi_channel_announce(process->worker, process->event);
}

typedef struct death {
    rayi_guest *guest;
    int signal;
} death;

static void die_on_loop(void *arg)
{
    const death *d = arg;

    if (d->guest->process)
        die(d->guest->process, d->signal);
}

void played_die(rayi_guest *guest, int signal)
{
    played_on_loop(die_on_loop, &(death){guest, signal});
    played_settle();
}

static void set_hold(void *arg)
{
    played.holds = *(bool *)arg;
    for (rayi_process *process = played.first; process && !played.holds; process = process->next)
        if (process->condemned)
            die(process, process->end.signal);
}

void played_hold_deaths(bool hold)
{
    played_on_loop(set_hold, &hold);
    played_settle();
}
