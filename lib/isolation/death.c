/* The end of a worker process: what it had to do is done again or has failed, what it held goes. On the loop. */
#include "isolation/inside.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *signal_name(int number)
{
    const char *name = sigabbrev_np(number);

    return name ? name : "?";
}

/* How a process ended; what is known of it. */
typedef struct obituary {
    const rayi_process_end *end;
    rayi_guest_why why;
    bool started;        /* it had been ready */
    const char *culprit; /* what ran in it while the task waited; NULL: the task itself */
    char output[2048 + 1];
} obituary;

/* Ctrl-C goes to the group of the terminal's foreground, of which a process is until it has one of its own: one that
 * was just being started may die of it. Another one takes its place. */
static bool is_of_terminal(const obituary *o)
{
    return !o->started && o->why == RAYI_WHY_NONE && o->end->known &&
           (o->end->signal == SIGINT || o->end->signal == SIGQUIT);
}

static void say_how(const obituary *o, char *out, size_t size)
{
    const rayi_process_end *end = o->end;

    if (end->out_of_memory)
        snprintf(out, size, "went over its memory limit and was ended");
    else if (o->why == RAYI_WHY_RUBBISH)
        snprintf(out, size, "sent what no worker sends and was ended");
    else if (o->why == RAYI_WHY_LATE)
        snprintf(out, size, "did not get to ray_init in %d s and was killed", RAYI_START_MS / 1000);
    else if (o->why == RAYI_WHY_STOPPED)
        snprintf(out, size, "was stopped (SIGSTOP), could not hear that it should end, and was killed");
    else if (!end->known)
        snprintf(out, size, "ended; how is not known, the program takes the status of its children itself");
    else if (end->signal)
        snprintf(out, size, "was ended by signal %d (SIG%s)%s", end->signal, signal_name(end->signal),
                 end->core_dumped ? ", core dumped" : "");
    else
        snprintf(out, size, "exited with code %d", end->exit_code);
}

/* Why what ran there, or was to run there, did not end: for people, and with all that is known. function may be NULL.
 */
static rayi_error *describe(rayi_guest *guest, const obituary *o, int code, const char *function)
{
    char message[RAYI_MESSAGE_MAX + 1], how[160], who[320];
    ray_error about = {.size = sizeof about,
                       .code = o->end->out_of_memory && code == RAY_ERR_WORKER_CRASHED ? RAY_ERR_OUT_OF_MEMORY : code,
                       .message = message,
                       .function = function,
                       .node_id = rayi_executor_node_id(guest->of->node.executor),
                       .pid = guest->pid,
                       .signal = o->end->known ? o->end->signal : 0,
                       .output = *o->output ? o->output : NULL};
    const char *command = guest->of->command;

    say_how(o, how, sizeof how);
    snprintf(who, sizeof who, "%s%s%s", code == RAY_ERR_ACTOR_DIED ? "actor " : "", function ? function : "",
             function ? ": " : "");
    if (o->started)
        snprintf(message, sizeof message, "%sworker process %lld %s%s%s", who, (long long)guest->pid, how,
                 o->culprit ? " while it waited and the process ran "
                 : function ? " while it ran it"
                            : "",
                 o->culprit ? o->culprit : "");
    else
        snprintf(message, sizeof message, "%sworker process %lld, started as %s%s%s, %s before it was ready", who,
                 (long long)guest->pid, command ? "\"" : "", command ? command : "this program again",
                 command ? "\"" : "", how);
    return rayi_error_copy(&about);
}

static void log_death(rayi_guest *guest, const obituary *o)
{
    rayi_error *error = describe(guest, o, RAY_ERR_WORKER_CRASHED, NULL);
    const char *hint = o->started || guest->class->code ? ""
                       : guest->of->command
                           ? ": the command must start a program that serves as a worker, by ray_init or "
                             "as raylaunch worker-process does"
                           : ": ray_init must be called early in main, and the same program with the "
                             "same arguments must get there";

    rayi_log(o->started ? RAY_LOG_WARNING : RAY_LOG_ERROR, o->started ? "worker.died" : "worker.start_failed",
             rayi_executor_node_id(guest->of->node.executor), "%s%s%s%s", rayi_error_public(error)->message, hint,
             *o->output ? "; its last words: " : "", o->output);
    rayi_error_unref(error);
}

/* What the process ran for tasks that waited in it; a name of the function table, which stays. NULL: nothing. */
static const char *runs_nested(rayi_guest *guest)
{
    const char *name = NULL;

    pthread_mutex_lock(&guest->lock);
    for (uint32_t slot = guest->oldest; slot != RAYI_NO_SLOT; slot = guest->offers[slot].next)
        if (guest->offers[slot].nested && !guest->offers[slot].blocked)
            name = rayi_function_name(rayi_task_function(guest->offers[slot].task));
    pthread_mutex_unlock(&guest->lock);
    return name;
}

void rayi_offer_crashed(rayi_thread *thread, rayi_task *task, int64_t offered_ns, int64_t pid, const ray_actor *actor)
{
    rayi_run_span span = {.started_ns = offered_ns, .ended_ns = rayi_now_ns(), .pid = (uint32_t)pid};

    if (offered_ns && task)
        rayi_ran_there(thread, task, actor, &span,
                       rayi_task_cancelled(task) ? RAY_ERR_CANCELLED : RAY_ERR_WORKER_CRASHED);
}

/* Takes all offers out of a dead guest: those that it had not started are put back, the others have crashed. Whether it
 * had started one stands in its memory, where it may have written anything: at worst a task runs once more or once
 * less often than it might, within its retries. */
static void settle_offers(rayi_guest *guest, rayi_thread *thread, obituary *o)
{
    const char *culprit = runs_nested(guest);
    uint32_t life = atomic_load(&guest->life), slot;
    rayi_offer offer;

    (void)rayi_pool_take_back(guest, life, RAYI_OFFERS);
    pthread_mutex_lock(&guest->lock);
    guest->open = false;
    pthread_mutex_unlock(&guest->lock);
    (void)rayi_pool_take_back(guest, life, RAYI_OFFERS); /* what was offered between the two */
    for (;;) {
        pthread_mutex_lock(&guest->lock);
        slot = guest->oldest;
        while (slot != RAYI_NO_SLOT && guest->offers[slot].work != RAYI_WORK_TASK)
            slot = guest->offers[slot].next;
        if (slot != RAYI_NO_SLOT)
            offer = rayi_guest_take_out(guest, slot);
        pthread_mutex_unlock(&guest->lock);
        if (slot == RAYI_NO_SLOT)
            return;
        rayi_offer_crashed(thread, offer.task, offer.offered_ns, guest->pid, NULL);
        rayi_pool_settle(guest, life, thread, &offer);
        o->culprit = offer.blocked ? culprit : NULL;
        rayi_task_crashed(thread, offer.task, describe(guest, o, RAY_ERR_WORKER_CRASHED, rayi_task_name(offer.task)));
    }
}

/* It died in its constructor. */
static void note_constructor(rayi_guest *guest, rayi_thread *thread)
{
    rayi_offer offer = {0};

    pthread_mutex_lock(&guest->lock);
    for (uint32_t slot = guest->oldest; slot != RAYI_NO_SLOT; slot = guest->offers[slot].next)
        if (guest->offers[slot].work == RAYI_WORK_CONSTRUCT)
            offer = guest->offers[slot]; /* drop_offers takes it out */
    pthread_mutex_unlock(&guest->lock);
    rayi_offer_crashed(thread, offer.task, offer.offered_ns, guest->pid, guest->actor);
}

static void settle_actor(rayi_guest *guest, rayi_thread *thread, const obituary *o)
{
    ray_actor *actor = guest->actor;
    bool lives;

    note_constructor(guest, thread);
    pthread_mutex_lock(&guest->of->lock);
    lives = *rayi_actor_guest(actor) == guest;
    pthread_mutex_unlock(&guest->of->lock);
    if (lives && o->why != RAYI_WHY_ACTOR)
        rayi_actor_crashed(thread, actor, guest->actor_life,
                           describe(guest, o, RAY_ERR_ACTOR_DIED, rayi_actor_class(actor)));
    pthread_mutex_lock(&guest->of->lock);
    if (*rayi_actor_guest(actor) == guest)
        *rayi_actor_guest(actor) = NULL;
    guest->actor = NULL;
    pthread_mutex_unlock(&guest->of->lock);
    rayi_record_unref(thread, rayi_actor_record(actor));
}

/* What is left: a constructor, a fini. */
static void drop_offers(rayi_guest *guest, rayi_thread *thread)
{
    rayi_offer offer;
    uint32_t slot;

    for (;;) {
        pthread_mutex_lock(&guest->lock);
        slot = guest->oldest;
        if (slot != RAYI_NO_SLOT)
            offer = rayi_guest_take_out(guest, slot);
        pthread_mutex_unlock(&guest->lock);
        if (slot == RAYI_NO_SLOT)
            return;
        RAYI_ASSERT(offer.work == RAYI_WORK_CONSTRUCT || offer.work == RAYI_WORK_FINI);
        rayi_pool_settle(guest, atomic_load(&guest->life), thread, &offer);
        if (offer.task)
            rayi_record_unref(thread, &offer.task->head);
    }
}

static void closed(void *arg)
{
    rayi_isolation *isolation = arg;

    isolation->handles--;
    rayi_isolation_maybe_done(isolation);
}

/* Its memory goes; its place may be used again. */
void rayi_guest_clear(rayi_guest *guest, rayi_thread *thread)
{
    rayi_isolation *isolation = guest->of;
    rayi_channel *channel;
    rayi_parcel *parcel;
    int socket;

    pthread_rwlock_wrlock(&isolation->guests_lock);
    pthread_mutex_lock(&guest->rx); /* nobody receives */
    pthread_mutex_lock(&guest->lock);
    guest->open = false;
    channel = guest->channel;
    guest->channel = NULL;
    socket = guest->socket;
    guest->socket = -1;
    atomic_fetch_add(&guest->life, 1);
    while ((parcel = guest->first)) {
        guest->first = parcel->next;
        rayi_free(parcel);
    }
    guest->last = NULL;
    if (guest->told)
        memset(guest->told, 0, guest->told_size * sizeof *guest->told);
    guest->num_told = 0;
    guest->proven = guest->doomed = guest->lied = guest->parked = false;
    guest->num_functions = 0;
    rayi_free(guest->kept);
    guest->kept = NULL;
    guest->labelled = NULL;
    guest->fetching = guest->actor_waits = false;
    guest->process = NULL;
    pthread_mutex_unlock(&guest->lock);
    pthread_mutex_unlock(&guest->rx);
    pthread_rwlock_unlock(&isolation->guests_lock);
    rayi_guest_drop_all(guest, thread);
    rayi_channel_free(channel);
    if (socket >= 0)
        close(socket);
    if (guest->arena)
        rayi_arena_close(guest->arena);
    guest->arena = NULL;
}

/* It has not opened the code of its class, and says nothing more of why. */
static void judge_opening(rayi_guest *guest, const obituary *o)
{
    rayi_error *error;

    if (guest->unopened) /* it has said so, and what waited for it has heard */
        return;
    error = describe(guest, o, RAY_ERR_LOAD, NULL);
    rayi_code_start_failed(guest, rayi_error_public(error)->message);
    rayi_error_unref(error);
}

/* One that is killed from outside says nothing about whether another would get further. */
static void judge_start(rayi_guest *guest, const obituary *o, bool proven)
{
    const rayi_process_end *end = o->end;
    bool is_own = (o->why == RAYI_WHY_NONE && !(end->known && end->signal == SIGKILL)) || o->why == RAYI_WHY_RUBBISH ||
                  o->why == RAYI_WHY_LATE;

    if (proven)
        guest->of->start_failures = 0;
    else if (is_of_terminal(o))
        return;
    else if (is_own && guest->class->code && !o->started)
        judge_opening(guest, o);
    else if (is_own)
        rayi_isolation_start_failed(guest->of, guest->class, o->started ? NULL : o->output);
}

/* Its place is free again. */
static void vacate(rayi_guest *guest)
{
    rayi_isolation *isolation = guest->of;

    pthread_mutex_lock(&isolation->lock);
    if (guest->has_slot)
        rayi_pool_give_slot(guest);
    guest->state = RAYI_GUEST_NONE;
    guest->class = NULL;
    guest->num_offered = guest->num_blocked = guest->num_calls = guest->max_calls = 0;
    guest->granted = guest->retire = guest->stopped = guest->limited = guest->makes_way = false;
    guest->why = guest->to_kill = guest->to_exit = RAYI_WHY_NONE;
    guest->killed_at_ms = 0;
    isolation->num_workers--;
    pthread_mutex_unlock(&isolation->lock);
}

static void ended(rayi_guest *guest, const rayi_process_end *end)
{
    rayi_isolation *isolation = guest->of;
    rayi_thread *thread = isolation->node.thread;
    rayi_process *process = guest->process;
    obituary o = {.end = end};
    bool proven;

    rayi_guest_receive(guest, thread, true); /* what it had finished counts */
    rayi_process_last_words(process, o.output, sizeof o.output);
    pthread_mutex_lock(&isolation->lock);
    o.why = guest->why;
    o.started = !guest->starting;
    proven = guest->proven;
    if (!o.started)
        guest->class->num_starting--;
    guest->starting = false;
    guest->state = RAYI_GUEST_LEAVING;
    pthread_mutex_unlock(&isolation->lock);
    judge_start(guest, &o, proven); /* before its actor asks for another one */
    settle_offers(guest, thread, &o);
    o.culprit = NULL;
    if (guest->actor)
        settle_actor(guest, thread, &o);
    drop_offers(guest, thread);
    if ((o.why == RAYI_WHY_NONE || o.why == RAYI_WHY_LATE) && !is_of_terminal(&o))
        log_death(guest, &o);
    rayi_process_kill(process, SIGKILL); /* what it has left behind in its group */
    rayi_guest_clear(guest, thread);
    vacate(guest);
    rayi_process_close(process, closed, isolation);
    rayi_isolation_begin_waiting(isolation);
    rayi_pool_feed(isolation, thread);
    rayi_spawn_want(isolation);
}

void rayi_guest_on_end(rayi_process *process, void *arg, const rayi_process_end *end)
{
    (void)process;
    ended(arg, end);
}
