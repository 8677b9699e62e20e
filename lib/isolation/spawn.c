/* The processes: starting them ahead of demand, and ending those that nobody needs. On the loop. */
#include "isolation/inside.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LEAVE_MS 2000 /* a worker that was told to exit and does not is killed */

/* ---- asked for by other threads ---- */

typedef struct errand {
    rayi_isolation *isolation;
    uint32_t guest, life;
    rayi_guest_why why;
    uint64_t bytes;
    uint32_t slot, generation;
} errand;

/* False: no memory for it. What must be done all the same stands in the guest, too, and the timer looks there. */
static bool post(rayi_isolation *isolation, void (*fn)(void *), errand what)
{
    errand *e = rayi_alloc(sizeof *e);

    if (!e)
        return false;
    *e = what;
    e->isolation = isolation;
    if (isolation->node.post(isolation->node.node, fn, e))
        return true;
    rayi_free(e);
    return false;
}

static void kill_now(rayi_guest *guest, rayi_guest_why why)
{
    pthread_mutex_lock(&guest->of->lock);
    if (guest->state != RAYI_GUEST_NONE) {
        guest->state = RAYI_GUEST_LEAVING;
        if (guest->why == RAYI_WHY_NONE || why == RAYI_WHY_RUBBISH)
            guest->why = why;
    }
    pthread_mutex_unlock(&guest->of->lock);
    if (guest->process)
        rayi_process_kill(guest->process, SIGKILL);
}

static void do_kill(void *arg)
{
    errand *e = arg;
    rayi_guest *guest = e->isolation->guests[e->guest];

    if (atomic_load(&guest->life) == e->life)
        kill_now(guest, e->why);
    rayi_free(e);
}

void rayi_spawn_kill(rayi_guest *guest, uint32_t life, rayi_guest_why why)
{
    bool is_it;

    pthread_mutex_lock(&guest->of->lock);
    is_it = atomic_load(&guest->life) == life;
    if (is_it && guest->state == RAYI_GUEST_READY) /* it gets nothing more */
        guest->state = RAYI_GUEST_LEAVING;
    if (is_it)
        guest->to_kill = why;
    pthread_mutex_unlock(&guest->of->lock);
    if (why == RAYI_WHY_RUBBISH) {
        pthread_mutex_lock(&guest->lock);
        is_it = atomic_load(&guest->life) == life;
        if (is_it) {
            guest->open = false; /* nothing more is read from it */
            guest->lied = true;
        }
        pthread_mutex_unlock(&guest->lock);
    }
    if (is_it)
        (void)post(guest->of, do_kill, (errand){.guest = guest->index, .life = life, .why = why});
}

/* Whether that offer is there still. */
static bool is_offered(rayi_guest *guest, uint32_t slot, uint32_t generation)
{
    bool is;

    pthread_mutex_lock(&guest->lock);
    is = guest->offers[slot].used && guest->offers[slot].generation == generation;
    pthread_mutex_unlock(&guest->lock);
    return is;
}

static bool is_awake(const rayi_process *process)
{
    char state = rayi_process_state(process);

    return state == 'R' || state == 'S' || state == 'D';
}

enum { STOP_TRIES = 100, STOP_NAP_US = 50 };

/* The process may have finished that task and begun another one. Once it is stopped, all that it has finished has been
 * sent: it is killed if the task is still there then, and goes on if not. */
static void do_kill_offer(void *arg)
{
    errand *e = arg;
    rayi_guest *guest = e->isolation->guests[e->guest];

    if (atomic_load(&guest->life) == e->life && guest->process && is_offered(guest, e->slot, e->generation)) {
        bool stopped = rayi_process_state(guest->process) == 'T';
        if (!stopped)
            rayi_process_kill(guest->process, SIGSTOP);
        for (int i = 0; i < STOP_TRIES && is_awake(guest->process); i++)
            usleep(STOP_NAP_US);
        rayi_guest_receive(guest, e->isolation->node.thread, true);
        if (is_offered(guest, e->slot, e->generation))
            kill_now(guest, RAYI_WHY_CANCELLED);
        else if (!stopped)
            rayi_process_kill(guest->process, SIGCONT);
    }
    rayi_free(e);
}

void rayi_spawn_kill_offer(rayi_guest *guest, uint32_t life, uint32_t slot, uint32_t generation)
{
    errand what = {.guest = guest->index, .life = life, .slot = slot, .generation = generation};

    if (!post(guest->of, do_kill_offer, what)) /* the timer finds it */
        rayi_spawn_kill(guest, life, RAYI_WHY_CANCELLED);
}

void rayi_spawn_lost(rayi_guest *guest, uint32_t life)
{
    bool is_it;

    pthread_mutex_lock(&guest->of->lock);
    is_it = atomic_load(&guest->life) == life && guest->state == RAYI_GUEST_READY;
    if (is_it)
        guest->state = RAYI_GUEST_LEAVING;
    pthread_mutex_unlock(&guest->of->lock);
    if (is_it)
        (void)post(guest->of, do_kill, (errand){.guest = guest->index, .life = life, .why = RAYI_WHY_NONE});
}

static void exit_now(rayi_guest *guest, rayi_guest_why why)
{
    if (!guest->process || guest->killed_at_ms != 0)
        return;
    guest->killed_at_ms = rayi_now_ms() + LEAVE_MS;
    pthread_mutex_lock(&guest->of->lock);
    guest->state = RAYI_GUEST_LEAVING;
    if (guest->why == RAYI_WHY_NONE)
        guest->why = why;
    pthread_mutex_unlock(&guest->of->lock);
    pthread_mutex_lock(&guest->lock);
    (void)rayi_guest_send(guest, RAYI_DOWN_EXIT, NULL, 0, NULL, 0);
    if (guest->open)
        rayi_channel_wake_worker(guest->channel);
    pthread_mutex_unlock(&guest->lock);
}

static void do_exit(void *arg)
{
    errand *e = arg;
    rayi_guest *guest = e->isolation->guests[e->guest];

    if (atomic_load(&guest->life) == e->life)
        exit_now(guest, e->why);
    rayi_free(e);
}

void rayi_spawn_exit(rayi_guest *guest, uint32_t life, rayi_guest_why why)
{
    bool is_it;

    pthread_mutex_lock(&guest->of->lock);
    is_it = atomic_load(&guest->life) == life;
    if (is_it)
        guest->to_exit = why;
    pthread_mutex_unlock(&guest->of->lock);
    if (is_it)
        (void)post(guest->of, do_exit, (errand){.guest = guest->index, .life = life, .why = why});
}

static void do_limit(void *arg)
{
    errand *e = arg;
    rayi_guest *guest = e->isolation->guests[e->guest];

    if (atomic_load(&guest->life) == e->life && guest->process)
        (void)rayi_process_limit(guest->process, e->bytes);
    rayi_free(e);
}

void rayi_spawn_limit(rayi_guest *guest, uint32_t life, uint64_t memory_bytes)
{
    (void)post(guest->of, do_limit, (errand){.guest = guest->index, .life = life, .bytes = memory_bytes});
}

/* ---- the start of a process ---- */

static rayi_guest *free_guest(rayi_isolation *isolation)
{
    unsigned count = atomic_load(&isolation->num_guests);
    rayi_guest *guest = NULL;

    pthread_mutex_lock(&isolation->lock);
    for (unsigned i = 0; i < count && !guest; i++)
        if (isolation->guests[i]->state == RAYI_GUEST_NONE)
            guest = isolation->guests[i];
    pthread_mutex_unlock(&isolation->lock);
    if (guest)
        return guest;
    guest = count < RAYI_WORKERS_MAX ? rayi_guest_new(isolation, count) : NULL;
    if (!guest)
        return NULL;
    isolation->guests[count] = guest;
    atomic_store(&isolation->num_guests, count + 1);
    return guest;
}

static bool welcome(rayi_guest *guest)
{
    rayi_isolation *isolation = guest->of;
    rayi_executor *executor = isolation->node.executor;
    rayi_writer writer;
    bool sent;

    rayi_writer_init(&writer);
    rayi_put_u32(&writer, RAYI_WORKER_PROTOCOL);
    rayi_put_text(&writer, rayi_executor_node_id(executor));
    rayi_put_text(&writer, rayi_executor_job_id(executor));
    rayi_put_text(&writer, rayi_executor_ns(executor));
    rayi_put_u64(&writer, rayi_executor_id_prefix(executor));
    rayi_put_u64(&writer, guest->first_number);
    rayi_put_i64(&writer, isolation->node.timeout_ms);
    rayi_put_u32(&writer, rayi_log_wants(RAY_LOG_DEBUG)     ? RAY_LOG_DEBUG
                          : rayi_log_wants(RAY_LOG_INFO)    ? RAY_LOG_INFO
                          : rayi_log_wants(RAY_LOG_WARNING) ? RAY_LOG_WARNING
                                                            : RAY_LOG_ERROR);
    rayi_put_u32(&writer, (uint32_t)isolation->num_libraries);
    for (size_t i = 0; i < isolation->num_libraries; i++)
        rayi_put_text(&writer, isolation->libraries[i]);
    rayi_put_text(&writer, guest->class->path);
    sent = rayi_guest_send_now(guest, RAYI_DOWN_WELCOME, &writer);
    rayi_writer_fini(&writer);
    return sent;
}

int rayi_spawn_command(const rayi_isolation *isolation, char ***out)
{
    return isolation->command ? rayi_process_split(isolation->command, out) : rayi_process_own_command(out);
}

static int start_process(rayi_guest *guest, int worker_socket)
{
    rayi_isolation *isolation = guest->of;
    const char *visible_name = "CUDA_VISIBLE_DEVICES=";
    char **own = NULL, of[64], *gpus = NULL;
    const char *environment[RAYI_ENV_MAX + 4];
    int fds[] = {worker_socket, rayi_channel_fd(guest->channel), isolation->event_fd};
    const char *wrapper = getenv("RAY_WORKER_WRAPPER");
    rayi_process *process = NULL;
    size_t count = 0;
    int r = rayi_spawn_command(isolation, &own);

    if (r < 0)
        return r;
    snprintf(of, sizeof of, "%s=%lld %d", RAYI_WORKER_ENV, (long long)getpid(), wrapper && *wrapper ? 1 : 0);
    environment[count++] = of;
    for (size_t i = 0; guest->class->env && guest->class->env[i]; i++)
        environment[count++] = guest->class->env[i];
    if (guest->class->gpus) {
        gpus = rayi_alloc(strlen(visible_name) + strlen(guest->class->gpus) + 1);
        if (gpus) {
            strcat(strcpy(gpus, visible_name), guest->class->gpus);
            environment[count++] = gpus;
        }
    }
    environment[count] = NULL;
    rayi_process_options options = {.command = (const char *const *)own,
                                    .wrapper = wrapper,
                                    .environment = environment,
                                    .fds = fds,
                                    .num_fds = RAYI_COUNT_OF(fds),
                                    .outlet = isolation->outlet,
                                    .label = guest->actor ? rayi_actor_class(guest->actor) : "worker",
                                    .log_path = isolation->node.session_logs(isolation->node.node),
                                    .node_id = rayi_executor_node_id(isolation->node.executor),
                                    .on_end = rayi_guest_on_end,
                                    .arg = guest};
    r = rayi_template_try(isolation, guest->class, &options, &process);
    if (r < 0)
        r = rayi_process_start(isolation->node.loop, &options, &process);
    pthread_mutex_lock(&guest->lock);
    guest->process = r == 0 ? process : NULL;
    pthread_mutex_unlock(&guest->lock);
    rayi_free(gpus);
    rayi_free(own);
    return r;
}

rayi_guest *rayi_spawn_guest(rayi_isolation *isolation, rayi_class *class, ray_actor *actor, uint32_t life)
{
    rayi_guest *guest = free_guest(isolation);
    int ends[2] = {-1, -1}, r;
    rayi_channel *channel = NULL;

    if (!guest) {
        (void)rayi_fail(RAY_ERR_LIMIT, "at most %d worker processes", RAYI_WORKERS_MAX);
        return NULL;
    }
    r = rayi_channel_new(rayi_heap, &channel);
    if (r == 0)
        r = rayi_arena_new(rayi_executor_store(isolation->node.executor), &guest->arena);
    if (r == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        r = rayi_fail(RAY_ERR_SYSTEM, "no socket for a worker process: %s", strerror(errno));
    if (r < 0)
        goto undo;
    pthread_mutex_lock(&isolation->lock);
    guest->state = RAYI_GUEST_STARTING;
    guest->starting = true;
    guest->opening = guest->unopened = false;
    guest->first_number = RAYI_NUMBERS_OF_WORKERS + isolation->num_started++ * RAYI_NUMBERS_A_WORKER;
    guest->class = class;
    guest->actor = actor;
    guest->actor_life = life;
    guest->why = guest->to_kill = guest->to_exit = RAYI_WHY_NONE;
    guest->idle_since_ms = rayi_now_ms();
    guest->retire = false;
    if (actor) {
        rayi_record_ref(rayi_actor_record(actor));
        *rayi_actor_guest(actor) = guest;
    }
    class->num_starting++;
    isolation->num_workers++;
    pthread_mutex_unlock(&isolation->lock);
    pthread_rwlock_wrlock(&isolation->guests_lock);
    pthread_mutex_lock(&guest->lock);
    guest->channel = channel;
    guest->socket = ends[0];
    guest->open = true;
    rayi_channel_arm(channel);
    pthread_mutex_unlock(&guest->lock);
    pthread_rwlock_unlock(&isolation->guests_lock);
    r = start_process(guest, ends[1]);
    close(ends[1]);
    if (r == 0) {
        pthread_mutex_lock(&guest->lock); /* calls may lie there already, and be taken out again */
        guest->pid = rayi_process_pid(guest->process);
        pthread_mutex_unlock(&guest->lock);
        isolation->handles++;
        (void)welcome(guest);
        return guest;
    }
    {
        rayi_error *error = rayi_error_last();
        rayi_guest_clear(guest, isolation->node.thread);
        pthread_mutex_lock(&isolation->lock);
        guest->state = RAYI_GUEST_NONE;
        guest->starting = false;
        class->num_starting--;
        isolation->num_workers--;
        if (actor)
            *rayi_actor_guest(actor) = NULL;
        guest->actor = NULL;
        pthread_mutex_unlock(&isolation->lock);
        if (actor)
            rayi_record_unref(isolation->node.thread, rayi_actor_record(actor));
        if (error)
            rayi_error_set_last(error);
        return NULL;
    }

undo:
    rayi_channel_free(channel);
    if (guest->arena)
        rayi_arena_close(guest->arena);
    guest->arena = NULL;
    return NULL;
}

/* ---- how many there should be ---- */

static uint32_t count_spares(rayi_isolation *isolation, const rayi_class *class)
{
    unsigned count = atomic_load(&isolation->num_guests);
    uint32_t spares = 0;

    for (unsigned i = 0; i < count; i++) {
        const rayi_guest *guest = isolation->guests[i];
        spares += rayi_guest_is_idle(guest) && guest->class == class && rayi_guest_takes_more(guest);
    }
    return spares;
}

static bool somebody_waits(const rayi_isolation *isolation)
{
    for (const rayi_class *class = &isolation->classes; class; class = class->next)
        if (class->num_plain > 0 || class->num_granted > 0)
            return true;
    return isolation->begins != NULL;
}

/* So many more of a class: one for each granted task that waits; for plain ones as many as there are slots, be it that
 * they wait in the backlog or behind others in a process; and a spare one of the ordinary class ahead of demand, but
 * not while somebody waits: starting it would take the CPU from who is needed. isolation.lock is held. */
static uint32_t missing(rayi_isolation *isolation, const rayi_class *class)
{
    uint32_t ready = count_spares(isolation, class) + class->num_starting, wanted = class->num_granted;
    uint32_t plain = rayi_pool_count_waiting(isolation, class);

    if (plain > 0)
        wanted += RAYI_MIN(plain, rayi_pool_free_slots(isolation));
    else if (class == &isolation->classes && wanted == 0 && !somebody_waits(isolation))
        wanted = 1;
    return wanted > ready ? wanted - ready : 0;
}

/* At the cap: an idle process of another class makes room, or one that gets nothing more. */
bool rayi_spawn_make_room(rayi_isolation *isolation, const rayi_class *class)
{
    unsigned count = atomic_load(&isolation->num_guests);
    rayi_guest *idle = NULL;

    pthread_mutex_lock(&isolation->lock);
    for (unsigned i = 0; i < count && !idle; i++) {
        rayi_guest *guest = isolation->guests[i];
        if (rayi_guest_is_idle(guest) && (guest->class != class || !rayi_guest_takes_more(guest))) {
            idle = guest;
            idle->state = RAYI_GUEST_LEAVING;
        }
    }
    pthread_mutex_unlock(&isolation->lock);
    if (idle)
        exit_now(idle, RAYI_WHY_IDLE);
    return idle != NULL;
}

/* Whoever has waited so long for a process gets the place of one that others keep busy with plain tasks. */
#define PATIENCE_MS 100

/* isolation.lock is held. NULL: none, or one makes way already. but: not one that serves this class. */
static rayi_guest *who_makes_way(rayi_isolation *isolation, const rayi_class *but)
{
    unsigned count = atomic_load(&isolation->num_guests);
    rayi_guest *found = NULL;

    for (unsigned i = 0; i < count; i++) {
        rayi_guest *guest = isolation->guests[i];
        if (guest->makes_way || guest->state == RAYI_GUEST_LEAVING || guest->state == RAYI_GUEST_STARTING)
            return NULL;
        if (guest->state == RAYI_GUEST_READY && !guest->actor && guest->has_slot && guest->num_blocked == 0 &&
            guest->class != but && (!found || guest->num_offered > found->num_offered))
            found = guest;
    }
    if (found)
        found->retire = found->makes_way = true;
    return found;
}

static void make_way(rayi_isolation *isolation, const rayi_class *but)
{
    rayi_guest *guest;

    pthread_mutex_lock(&isolation->lock);
    guest = who_makes_way(isolation, but);
    pthread_mutex_unlock(&isolation->lock);
    if (guest) /* it leaves when it has done what it has begun */
        (void)rayi_pool_take_back(guest, atomic_load(&guest->life), RAYI_OFFERS);
}

/* isolation.lock is held: so long has work of this class waited of which no process does any. */
static bool is_starved(rayi_isolation *isolation, rayi_class *class, int64_t now)
{
    unsigned count = atomic_load(&isolation->num_guests);
    bool served = class->granted[0] == NULL || (class->code && !class->path);

    if (served && class->granted[0] == NULL) { /* plain tasks only: any process of the class will come to them */
        served = class->plain[0] == NULL;
        for (unsigned i = 0; i < count && !served; i++)
            served = isolation->guests[i]->class == class && !isolation->guests[i]->actor &&
                     rayi_guest_takes_more(isolation->guests[i]);
    }
    if (served)
        class->waits_since_ms = 0;
    else if (class->waits_since_ms == 0)
        class->waits_since_ms = now;
    return !served && now - class->waits_since_ms >= PATIENCE_MS;
}

/* At the cap each class, and each actor, gets its turn. */
static void look_for_starved(rayi_isolation *isolation, int64_t now)
{
    for (rayi_class *class = &isolation->classes, *next; class; class = next) {
        bool starved, granted;
        pthread_mutex_lock(&isolation->lock);
        next = class->next;
        starved = is_starved(isolation, class, now) && !rayi_pool_may_start(isolation);
        granted = class->granted[0];
        pthread_mutex_unlock(&isolation->lock);
        if (starved)
            make_way(isolation, granted ? NULL : class);
    }
    if (!isolation->begins || rayi_template_starts(isolation))
        isolation->begins_since_ms = now;
    else if (now - isolation->begins_since_ms >= PATIENCE_MS && !isolation->stopping)
        make_way(isolation, NULL);
}

/* As many of a class as are missing and may be. */
static void start_of_class(rayi_isolation *isolation, rayi_class *class)
{
    uint32_t count;
    bool may, has_tasks;

    pthread_mutex_lock(&isolation->lock);
    count = missing(isolation, class);
    may = rayi_pool_may_start(isolation) && isolation->start_failures < RAYI_START_FAILURES;
    has_tasks = class->num_granted > 0 || class->num_plain > 0;
    pthread_mutex_unlock(&isolation->lock);
    if (count > 0 && (!rayi_class_is_open(isolation, class) || (may && rayi_template_awaited(isolation, class))))
        return;
    if (count > 0 && !may && has_tasks && isolation->start_failures == 0 && !isolation->stopping)
        (void)rayi_spawn_make_room(isolation, class);
    for (; count > 0 && may; count--) {
        if (!rayi_spawn_guest(isolation, class, NULL, 0)) {
            rayi_isolation_start_failed(isolation, class, rayi_error_last_public()->message);
            break;
        }
        pthread_mutex_lock(&isolation->lock);
        may = rayi_pool_may_start(isolation);
        pthread_mutex_unlock(&isolation->lock);
    }
}

/* Which class has waited for its turn the longest (look_for_starved); NULL: none. */
static rayi_class *longest_waiting(rayi_isolation *isolation)
{
    rayi_class *found = NULL;

    pthread_mutex_lock(&isolation->lock);
    for (rayi_class *class = &isolation->classes; class; class = class->next)
        if (class->waits_since_ms && (!found || class->waits_since_ms < found->waits_since_ms))
            found = class;
    pthread_mutex_unlock(&isolation->lock);
    return found;
}

/* Classes go on this thread only. */
static void start_what_is_missing(rayi_isolation *isolation)
{
    rayi_class *first = longest_waiting(isolation);

    if (first)
        start_of_class(isolation, first);
    for (rayi_class *class = &isolation->classes, *next; class; class = next) {
        pthread_mutex_lock(&isolation->lock);
        next = class->next;
        pthread_mutex_unlock(&isolation->lock);
        start_of_class(isolation, class);
    }
}

static void do_want(void *arg)
{
    errand *e = arg;
    rayi_isolation *isolation = e->isolation;

    pthread_mutex_lock(&isolation->lock);
    isolation->tick_posted = false;
    pthread_mutex_unlock(&isolation->lock);
    rayi_free(e);
    rayi_isolation_begin_waiting(isolation);
    start_what_is_missing(isolation);
}

void rayi_spawn_want(rayi_isolation *isolation)
{
    bool posted;

    pthread_mutex_lock(&isolation->lock);
    posted = isolation->tick_posted;
    isolation->tick_posted = true;
    pthread_mutex_unlock(&isolation->lock);
    if (!posted && !post(isolation, do_want, (errand){0})) { /* the timer will look */
        pthread_mutex_lock(&isolation->lock);
        isolation->tick_posted = false;
        pthread_mutex_unlock(&isolation->lock);
    }
}

/* ---- now and then ---- */

static bool is_stopped(const rayi_guest *guest)
{
    return guest->process && rayi_process_state(guest->process) == 'T';
}

/* One that was asked to stop, and is itself stopped (SIGSTOP), will never hear of it. */
static bool is_deaf(rayi_guest *guest)
{
    bool asked = false;

    pthread_mutex_lock(&guest->lock);
    for (uint32_t slot = guest->oldest; slot != RAYI_NO_SLOT; slot = guest->offers[slot].next)
        asked |= guest->offers[slot].asked_to_stop;
    pthread_mutex_unlock(&guest->lock);
    return asked && is_stopped(guest);
}

/* It has not taken what it was offered first. */
static bool is_late(rayi_guest *guest)
{
    bool late;

    pthread_mutex_lock(&guest->lock);
    late = guest->open && guest->oldest != RAYI_NO_SLOT && guest->offers[guest->oldest].work == RAYI_WORK_TASK &&
           (rayi_offer_look(guest->channel, guest->oldest) & RAYI_OFFER_STATE) == RAYI_OFFER_MADE;
    pthread_mutex_unlock(&guest->lock);
    return late;
}

/* What a stopped process has not begun is for others; it is offered nothing until it goes on. */
static void look_for_stopped(rayi_guest *guest)
{
    rayi_isolation *isolation = guest->of;
    bool was, is;

    pthread_mutex_lock(&isolation->lock);
    was = guest->stopped;
    pthread_mutex_unlock(&isolation->lock);
    is = (was || is_late(guest)) && is_stopped(guest);
    if (was == is)
        return;
    pthread_mutex_lock(&isolation->lock);
    guest->stopped = is;
    pthread_mutex_unlock(&isolation->lock);
    if (is)
        (void)rayi_pool_take_back(guest, atomic_load(&guest->life), RAYI_OFFERS);
    rayi_pool_feed(isolation, isolation->node.thread);
}

/* One process; *spares: how many idle ones of the ordinary class have been met. */
static void look_after(rayi_guest *guest, int64_t now, uint32_t *spares)
{
    rayi_isolation *isolation = guest->of;
    rayi_guest_why to_kill, to_exit;
    bool idle, late;

    pthread_mutex_lock(&isolation->lock);
    to_kill = guest->to_kill;
    to_exit = guest->to_exit;
    idle = guest->state == RAYI_GUEST_READY && !guest->actor && guest->num_offered == 0;
    late = guest->state == RAYI_GUEST_STARTING && now - guest->idle_since_ms > RAYI_START_MS;
    if (idle && guest->class == &isolation->classes)
        ++*spares;
    idle = idle && (*spares > 1 || guest->class != &isolation->classes) &&
           now - guest->idle_since_ms >= isolation->node.idle_ms;
    if (idle)
        guest->state = RAYI_GUEST_LEAVING;
    pthread_mutex_unlock(&isolation->lock);
    if (to_kill)
        kill_now(guest, to_kill);
    if (idle || to_exit)
        exit_now(guest, to_exit ? to_exit : RAYI_WHY_IDLE);
    if (late || (guest->killed_at_ms && now >= guest->killed_at_ms))
        kill_now(guest, late ? RAYI_WHY_LATE : RAYI_WHY_IDLE);
    if (is_deaf(guest))
        kill_now(guest, RAYI_WHY_STOPPED);
    else
        look_for_stopped(guest);
}

void rayi_spawn_on_timer(uv_timer_t *timer)
{
    rayi_isolation *isolation = timer->data;
    unsigned count = atomic_load(&isolation->num_guests);
    int64_t now = rayi_now_ms();
    uint32_t spares = 0;

    for (unsigned i = 0; i < count; i++) {
        if (isolation->guests[i]->process)
            look_after(isolation->guests[i], now, &spares);
        rayi_chores_go_on(isolation, &isolation->guests[i]->chores);
    }
    rayi_chores_go_on(isolation, &isolation->fetches);
    rayi_chores_go_on(isolation, &isolation->brings);
    if (isolation->start_failures > 0)
        isolation->start_failures--;
    rayi_template_on_timer(isolation, now);
    rayi_pool_sweep(isolation, now);
    rayi_isolation_begin_waiting(isolation);
    if (!isolation->stopping)
        start_what_is_missing(isolation);
    look_for_starved(isolation, now);
    rayi_cap_look(isolation, now);
    rayi_isolation_maybe_done(isolation);
}
