/* The life of actors: a mailbox of calls, and a state.
 *
 * What may happen next is decided by rayi_actor_next, a pure function, under actor.lock; what it asks for is done
 * outside the lock by whoever brought the event. The constructor, the calls and fini run in the mailbox's runners. Each
 * life of an actor has a state block of its own, counted, so that a call which still runs when its actor is killed
 * keeps what it works on. A dead actor's calls fail with its cause; a name that is taken, or a missing class, makes an
 * actor that was dead from the start.
 *
 * Counts: `handles` are users' (with them goes the actor, in order), the runner's count is everybody's (with it goes
 * the memory): all handles together hold one, as does each call that is not done and each runner. */
#include "executor/actor.h"

#include <stdio.h>
#include <string.h>

/* ---- lives ---- */

static rayi_life *life_new(size_t size_bytes)
{
    void *block = rayi_zalloc(sizeof(rayi_life) + size_bytes + 64);
    rayi_life *made = (rayi_life *)(((uintptr_t)block + 63) & ~(uintptr_t)63);

    if (!block)
        return NULL;
    atomic_init(&made->refs, 1);
    made->block = block;
    return made;
}

void rayi_life_unref(rayi_life *l)
{
    if (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        rayi_free(l->block);
}

static rayi_life *life_ref(ray_actor *actor)
{
    rayi_life *l;

    pthread_mutex_lock(&actor->lock);
    l = actor->life;
    if (l)
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&actor->lock);
    return l;
}

/* ---- ends of calls ---- */

void rayi_call_ended(rayi_task *call)
{
    ray_actor *actor = rayi_actor_of_call(call);

    if (actor && actor->max_pending_calls) /* a stand-in has no mailbox */
        atomic_fetch_sub_explicit(&actor->num_calls, 1, memory_order_relaxed);
}

rayi_error *rayi_actor_death(ray_actor *actor)
{
    rayi_error *cause;

    pthread_mutex_lock(&actor->lock);
    cause = actor->cause ? rayi_error_ref(actor->cause) : NULL;
    pthread_mutex_unlock(&actor->lock);
    return cause ? cause : rayi_error_plain(RAY_ERR_ACTOR_DIED);
}

void rayi_actor_fail_waiting(rayi_thread *thread, ray_actor *actor)
{
    rayi_task *call, *next;

    for (uint32_t i = 0; i <= actor->num_groups; i++)
        for (call = rayi_mailbox_take_waiting(rayi_actor_mailbox(actor, i)); call; call = next) {
            next = (rayi_task *)call->head.next;
            if (rayi_record_claim(&call->head))
                rayi_task_fail(thread, call,
                               rayi_lane_stopping(thread->lane) ? rayi_error_shutdown() : rayi_actor_death(actor));
            else
                rayi_record_unref(thread, &call->head);
        }
}

static bool runs_again(rayi_task *call)
{
    rayi_extra *extra = rayi_extra_if(&call->head);

    if (!extra || extra->retries == 0 || (call->head.flags & RAYI_STREAMS)) /* its items are half out */
        return false;
    if (extra->retries > 0)
        extra->retries--;
    return true;
}

static bool runs_never_again(rayi_task *call)
{
    (void)call;
    return false;
}

static rayi_error *died_under_way(rayi_thread *thread, rayi_task *call, const rayi_error *why)
{
    ray_error about = why ? *rayi_error_public(why) : (ray_error){0};
    /* Of a crash (it has a pid), and with another life to come. */
    rayi_actor_state state = atomic_load(&rayi_actor_of_call(call)->state);
    bool lives_on = about.pid != 0 && state != RAYI_ACTOR_DEAD && state != RAYI_ACTOR_ENDING;
    char message[RAYI_MESSAGE_MAX + 1];

    snprintf(message, sizeof message, "%s was under way when its actor died; it may have run in part: %s",
             rayi_task_name(call), why ? about.message : "it was killed");
    about.size = sizeof about;
    about.code = lives_on ? RAY_ERR_ACTOR_UNAVAILABLE : RAY_ERR_ACTOR_DIED;
    about.message = message;
    about.function = rayi_task_name(call);
    about.node_id = rayi_executor_of(thread)->node_id;
    return rayi_error_copy(&about);
}

/* Ends calls that were taken from their runners. Their arguments go with them, when they have returned. */
static void fail_taken(rayi_thread *thread, rayi_task *call, const rayi_error *why)
{
    rayi_task *next;
    rayi_error *error;

    for (; call; call = next) {
        next = (rayi_task *)call->head.next;
        error = died_under_way(thread, call, why);
        rayi_task_fail(thread, call, error);
    }
}

static void tell_ready(rayi_thread *thread, ray_actor *actor)
{
    rayi_actor_state state = atomic_load(&actor->state);
    rayi_record *ready;

    pthread_mutex_lock(&actor->lock);
    ready = actor->ready;
    actor->ready = NULL;
    pthread_mutex_unlock(&actor->lock);
    if (!ready)
        return;
    if (state == RAYI_ACTOR_DEAD || state == RAYI_ACTOR_ENDING)
        rayi_content_error(ready, rayi_actor_death(actor));
    rayi_record_complete(thread, ready);
    rayi_record_unref(thread, ready);
}

/* ---- events ---- */

static void run_fini(rayi_thread *thread, ray_actor *actor)
{
    rayi_life *l = life_ref(actor);
    rayi_result result = {0};
    uint64_t small[3] = {0}; /* a language's may have a result, which nobody wants */
    rayi_frame run;
    ray_frame frame = {.size = sizeof frame, .self = l ? l->self : NULL};

    if (l && actor->fini) {
        frame.function = actor->fini->record;
        frame.name = actor->fini->name;
        frame.result = (ray_value){.kind = actor->fini->result.kind, .size = actor->fini->result.size, .data = small};
        rayi_frame_enter(thread, &run, NULL, actor, 0);
        actor->fini->record->call(&frame);
        rayi_result_take(thread, &actor->fini->result, small, &result);
        rayi_result_drop(thread, &result);
        rayi_frame_leave(thread, &run);
        rayi_error_unref(run.failure);
    }
    rayi_life_unref(l);
    rayi_actor_apply(thread, actor, RAYI_ACTOR_FINI_DONE, 0, NULL);
}

static bool busy(ray_actor *actor)
{
    bool any = atomic_load(&actor->num_away) > 0;

    for (uint32_t i = 0; i <= actor->num_groups && !any; i++)
        any = rayi_mailbox_busy(rayi_actor_mailbox(actor, i));
    return any;
}

/* fini waits until the calls under way have returned. */
static void maybe_fini(rayi_thread *thread, ray_actor *actor)
{
    bool due;

    pthread_mutex_lock(&actor->lock);
    due = actor->fini_due && !busy(actor);
    if (due)
        actor->fini_due = false;
    pthread_mutex_unlock(&actor->lock);
    if (due && rayi_actor_is_elsewhere(actor) && (actor->fini || actor->class->abroad)) /* there may be one, there */
        rayi_executor_of(thread)->hooks->actor_fini(thread, actor);
    else if (due && rayi_actor_is_elsewhere(actor))
        rayi_actor_fini_ran(thread, actor);
    else if (due)
        run_fini(thread, actor);
}

static void drop_life(ray_actor *actor)
{
    rayi_life *l;

    pthread_mutex_lock(&actor->lock);
    l = actor->life;
    actor->life = NULL;
    pthread_mutex_unlock(&actor->lock);
    rayi_life_unref(l);
}

void rayi_actor_stop_waiting(rayi_thread *thread, ray_actor *actor)
{
    if (atomic_exchange(&actor->unplaced, false))
        rayi_task_ready(thread, actor->creation);
}

/* Lets runners look at every queue. One feeds a worker process, which has the threads that concurrency needs. */
void rayi_actor_poke_all(rayi_thread *thread, ray_actor *actor)
{
    for (uint32_t i = 0; i <= actor->num_groups; i++)
        rayi_mailbox_poke(thread, rayi_actor_mailbox(actor, i),
                          rayi_actor_is_elsewhere(actor) ? 1
                          : i                            ? actor->groups[i - 1].concurrency
                                                         : actor->max_concurrency);
}

/* The calls under way that are not to run again. */
static rayi_task *take_running(ray_actor *actor, bool (*again)(rayi_task *call))
{
    rayi_task *taken = NULL, *more, *next;

    for (uint32_t i = 0; i <= actor->num_groups; i++)
        for (more = rayi_mailbox_take_running(rayi_actor_mailbox(actor, i), again); more; more = next) {
            next = (rayi_task *)more->head.next;
            more->head.next = taken ? &taken->head : NULL;
            taken = more;
        }
    return taken;
}

/* Calls that were in a worker process: those that had not been started, or may run again, go back to the head of the
 * queue in their order, unless the actor is dead; the rest is for the caller to fail. */
static rayi_task *take_away(rayi_thread *thread, ray_actor *actor, bool dead)
{
    rayi_task *call = rayi_executor_of(thread)->hooks->actor_take(thread, actor, true), *next, *back = NULL,
              *taken = NULL;

    for (; call; call = next) {
        bool started = atomic_load(&call->head.state) & RAYI_TAKEN;
        next = (rayi_task *)call->head.next;
        (void)rayi_actor_came_back(actor, call->mailbox);
        atomic_fetch_and(&call->head.state, ~(unsigned)RAYI_TAKEN); /* nobody works on its arguments any more */
        if (!dead && (!started || runs_again(call))) {
            call->head.next = (rayi_record *)back;
            back = call;
        } else {
            call->head.next = (rayi_record *)taken;
            taken = call;
        }
    }
    for (; back; back = next) {
        next = (rayi_task *)back->head.next;
        rayi_mailbox_put_back(back->mailbox, back);
    }
    return taken;
}

/* Of an actor that ends: what its process has not started fails as what is in the queue does. */
static void fail_unstarted(rayi_thread *thread, ray_actor *actor)
{
    rayi_task *call = rayi_executor_of(thread)->hooks->actor_take(thread, actor, false), *next;

    for (; call; call = next) {
        next = (rayi_task *)call->head.next;
        (void)rayi_actor_came_back(actor, call->mailbox);
        rayi_task_fail(thread, call, rayi_actor_death(actor));
    }
}

/* Does what a step asks for, in the order of its bits. */
static void perform(rayi_thread *thread, ray_actor *actor, unsigned todo, rayi_task *taken, const rayi_error *why)
{
    const rayi_executor_hooks *hooks = rayi_executor_of(thread)->hooks;
    bool dead = atomic_load(&actor->state) == RAYI_ACTOR_DEAD;
    void *host;

    if ((todo & RAYI_ACTOR_FAIL_RUNNING) && rayi_actor_is_elsewhere(actor))
        hooks->actor_end(thread, actor);
    if (todo & RAYI_ACTOR_FAIL_RUNNING) {
        fail_taken(thread, taken, why);
        drop_life(actor);
    }
    if ((todo & RAYI_ACTOR_FAIL_CALLS) && rayi_actor_is_elsewhere(actor))
        fail_unstarted(thread, actor);
    if (todo & RAYI_ACTOR_FAIL_CALLS) {
        rayi_actor_fail_waiting(thread, actor);
        tell_ready(thread, actor);
        rayi_actor_poke_all(thread, actor); /* what comes later fails there */
    }
    if (todo & RAYI_ACTOR_RUN_FINI)
        maybe_fini(thread, actor);
    if (dead && todo) {
        if (rayi_actor_is_elsewhere(actor))
            hooks->actor_end(thread, actor);
        drop_life(actor);
        rayi_actor_stop_waiting(thread, actor);
        hooks->unplace(thread, actor);
        host = atomic_exchange(&actor->host, NULL);
        if (host)
            hooks->hosted_died(thread, host);
    }
    /* On this one node an actor keeps its place from life to life. */
    if (todo & RAYI_ACTOR_SUBMIT)
        rayi_actor_apply(thread, actor, RAYI_ACTOR_GRANTED, 0, NULL);
    if ((todo & RAYI_ACTOR_RUN_CONSTRUCTOR) && rayi_actor_is_elsewhere(actor)) {
        if (!rayi_actor_begins_later(actor))
            hooks->actor_begin(thread, actor, actor->restarts + 1);
    } else if (todo & RAYI_ACTOR_RUN_CONSTRUCTOR) {
        rayi_mailbox_poke(thread, &actor->mailbox, 1);
    }
    if (todo & RAYI_ACTOR_RUN_CALLS) {
        tell_ready(thread, actor);
        rayi_actor_poke_all(thread, actor);
    }
}

void rayi_actor_apply(rayi_thread *thread, ray_actor *actor, rayi_actor_event event, uint32_t of_life,
                      rayi_error *cause)
{
    rayi_actor_state before;
    rayi_actor_step step = {0};
    rayi_error *why = cause ? rayi_error_ref(cause) : NULL;
    rayi_task *taken = NULL;
    bool stale;

    pthread_mutex_lock(&actor->lock);
    before = atomic_load(&actor->state);
    stale = (of_life && of_life != actor->restarts + 1) ||
            (event == RAYI_ACTOR_RELEASED && before != RAYI_ACTOR_ALIVE) ||
            (event == RAYI_ACTOR_GRANTED && before != RAYI_ACTOR_PENDING && before != RAYI_ACTOR_RESTARTING);
    if (!stale) {
        step = rayi_actor_next(before, event, actor->restarts_left);
        actor->restarts_left = step.restarts_left;
        if (step.state == RAYI_ACTOR_RESTARTING && before != RAYI_ACTOR_RESTARTING)
            actor->restarts++;
        if (step.todo & RAYI_ACTOR_RUN_FINI)
            actor->fini_due = true;
        if ((step.todo & RAYI_ACTOR_FAIL_RUNNING) && rayi_actor_is_elsewhere(actor))
            taken = take_away(thread, actor, step.state == RAYI_ACTOR_DEAD);
        else if (step.todo & RAYI_ACTOR_FAIL_RUNNING) /* before a running call can see that it is over, and return */
            taken = take_running(actor, step.state == RAYI_ACTOR_DEAD ? runs_never_again : runs_again);
        if (!actor->cause && (step.state == RAYI_ACTOR_DEAD || step.state == RAYI_ACTOR_ENDING)) {
            actor->cause = cause;
            cause = NULL;
        }
        atomic_store(&actor->state, step.state);
    }
    pthread_mutex_unlock(&actor->lock);
    rayi_error_unref(cause);
    if (!stale)
        perform(thread, actor, step.todo, taken, why);
    rayi_error_unref(why);
}

rayi_error *rayi_actor_died(ray_actor *actor, const char *why)
{
    return rayi_error_new(RAY_ERR_ACTOR_DIED, actor->class ? actor->class->name : NULL, NULL, "actor %s%s%s: %s",
                          actor->class ? actor->class->name : "", actor->name ? " " : "",
                          actor->name ? actor->name : "", why);
}

/* ---- serving ---- */

/* The death of an actor whose constructor failed, with the payload of that failure: a language's own exception. */
static rayi_error *died_of(ray_actor *actor, const rayi_error *failure)
{
    const ray_error *told = rayi_error_public(failure);
    char why[RAYI_MESSAGE_MAX + 1];
    rayi_error *plain, *died;
    ray_error about;

    snprintf(why, sizeof why, "its constructor failed: %s", told->message);
    plain = rayi_actor_died(actor, why);
    about = *rayi_error_public(plain);
    about.user_code = told->user_code;
    about.payload = told->payload;
    about.payload_size = told->payload_size;
    died = rayi_error_copy(&about);
    rayi_error_unref(plain);
    return died;
}

/* Its constructor has ended in this. */
static void constructed(rayi_thread *thread, ray_actor *actor, uint32_t number, rayi_result *result)
{
    rayi_error *cause;

    if (!result->error) {
        rayi_actor_apply(thread, actor, RAYI_ACTOR_CONSTRUCTED, number, NULL);
        if (result->exits)
            rayi_actor_apply(thread, actor, RAYI_ACTOR_EXIT, number,
                             rayi_actor_died(actor, "it has called ray_actor_exit"));
        rayi_result_drop(thread, result);
        return;
    }
    cause = rayi_error_code(result->error) == RAY_ERR_SHUTDOWN ? rayi_error_ref(result->error)
                                                               : died_of(actor, result->error);
    rayi_result_drop(thread, result);
    rayi_actor_apply(thread, actor, RAYI_ACTOR_CONSTRUCTOR_FAILED, number, cause);
}

static void construct(rayi_thread *thread, ray_actor *actor, uint32_t number)
{
    rayi_life *l = life_new(actor->class->record->state_size);
    rayi_result result = {0};

    if (l) {
        rayi_life *old;
        pthread_mutex_lock(&actor->lock);
        old = actor->life;
        actor->life = l;
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
        pthread_mutex_unlock(&actor->lock);
        rayi_life_unref(old);
        rayi_run_function(thread, actor->creation, actor, l->self, number, &result);
        rayi_life_unref(l);
    } else {
        result.error = rayi_error_no_memory("the state of an actor");
    }
    pthread_mutex_lock(&actor->lock);
    actor->constructing = false;
    pthread_mutex_unlock(&actor->lock);
    constructed(thread, actor, number, &result);
}

enum turn { TURN_CONSTRUCT, TURN_LEAVE, TURN_FAIL, TURN_SERVE };

static enum turn whose_turn(rayi_thread *thread, ray_actor *actor, uint32_t *number)
{
    enum turn turn = TURN_SERVE;

    pthread_mutex_lock(&actor->lock);
    *number = actor->restarts + 1;
    switch (atomic_load(&actor->state)) {
    case RAYI_ACTOR_PENDING:
    case RAYI_ACTOR_RESTARTING:
        turn = TURN_LEAVE;
        break;
    case RAYI_ACTOR_STARTING:
        turn = actor->constructing || !rayi_actor_may_start(thread, actor) ? TURN_LEAVE : TURN_CONSTRUCT;
        actor->constructing |= turn == TURN_CONSTRUCT;
        break;
    case RAYI_ACTOR_ALIVE:
        turn = rayi_actor_may_start(thread, actor) ? TURN_SERVE : TURN_LEAVE;
        break;
    case RAYI_ACTOR_ENDING:
    case RAYI_ACTOR_DEAD:
        turn = TURN_FAIL;
        break;
    }
    pthread_mutex_unlock(&actor->lock);
    return turn;
}

/* A call that failed and may be tried again at once, where it stands. */
static bool tries_again(rayi_task *call, rayi_result *result)
{
    rayi_extra *extra;

    rayi_task_keep_word(call, result);
    extra = rayi_extra_if(&call->head);
    if (!extra || extra->retries == 0 || rayi_error_code(result->error) != RAY_ERR_TASK_FAILED ||
        result->again == RAYI_AGAIN_NO || (result->again == RAYI_AGAIN_NO_WORD && !extra->retry_failures))
        return false;
    if (extra->retries > 0)
        extra->retries--;
    return true;
}

/* The state for a call in the life of this number; NULL: that life is over, or parked. */
static rayi_life *life_for_call(rayi_thread *thread, ray_actor *actor, uint32_t number)
{
    rayi_life *l = NULL;

    pthread_mutex_lock(&actor->lock);
    if (atomic_load(&actor->state) == RAYI_ACTOR_ALIVE && actor->restarts + 1 == number &&
        rayi_actor_may_start(thread, actor)) {
        l = actor->life;
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&actor->lock);
    return l;
}

static bool is_late(const rayi_task *call)
{
    const rayi_extra *extra = rayi_extra_if(&call->head);

    return extra && extra->deadline_ms != 0 && rayi_now_ms() >= extra->deadline_ms;
}

/* What was submitted before the last handle went is in a mailbox by the time `released` is seen; what is on its way to
 * a worker process is counted before it leaves the mailbox, and after it is back. */
static bool nothing_left(ray_actor *actor)
{
    bool left = !atomic_load(&actor->released);

    for (uint32_t i = 0; i <= actor->num_groups && !left; i++)
        left = !rayi_mailbox_empty(rayi_actor_mailbox(actor, i));
    return !left && atomic_load(&actor->state) == RAYI_ACTOR_ALIVE && atomic_load(&actor->num_away) == 0;
}

static bool parted_again(rayi_task *call, void *arg)
{
    rayi_result *result = arg;

    return result->error && !result->exits && tries_again(call, result);
}

/* A call that was parted from has ended: as run_call ends one. What arg holds: see part_call. */
static void call_ended_later(rayi_thread *thread, rayi_task *call, uint64_t arg, rayi_result *result)
{
    ray_actor *actor = rayi_actor_of_call(call);
    rayi_mailbox *mailbox = call->mailbox;
    bool exits = result->exits;

    rayi_task_settle(thread, call, result);
    rayi_record_ref(&actor->mailbox.runner); /* the call has the last count of it, maybe */
    if (rayi_mailbox_ran_parted(thread, mailbox, call, (uint32_t)arg, parted_again, result) != RAYI_RAN) {
        rayi_result_drop(thread, result);
        rayi_record_unref(thread, &actor->mailbox.runner);
        return;
    }
    if (exits)
        rayi_actor_apply(thread, actor, RAYI_ACTOR_EXIT, (uint32_t)(arg >> 32),
                         rayi_actor_died(actor, "it has called ray_actor_exit"));
    rayi_task_publish(thread, call, result);
    maybe_fini(thread, actor);
    if (nothing_left(actor))
        rayi_actor_apply(thread, actor, RAYI_ACTOR_RELEASED, 0, rayi_actor_died(actor, "its last handle was released"));
    rayi_record_unref(thread, &actor->mailbox.runner);
}

/* The method has returned, its result comes later. False: the call was taken from this runner. */
static bool part_call(rayi_thread *thread, rayi_task *call, uint32_t number, uint32_t epoch, rayi_result *result)
{
    uint64_t arg = (uint64_t)number << 32 | epoch;

    if (!rayi_mailbox_part(call->mailbox, call, epoch)) {
        rayi_later_lose(thread, result->later);
        rayi_record_unref(thread, &call->head);
        return false;
    }
    if (!rayi_later_part(thread, result->later, call_ended_later, arg, result))
        call_ended_later(thread, call, arg, result);
    return true;
}

/* False: the call was taken from this runner. */
static bool run_call(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t number, uint32_t epoch)
{
    rayi_life *l = life_for_call(thread, actor, number);
    rayi_result result = {0};
    bool ours;

    if (l && is_late(call)) {
        result.error = rayi_task_late_error(call);
    } else if (l) {
        do {
            rayi_run_function(thread, call, actor, l->self, number, &result);
        } while (result.error && tries_again(call, &result) && (rayi_result_drop(thread, &result), true));
    }
    if (result.later) {
        rayi_life_unref(l); /* what comes later finds its state by itself */
        return part_call(thread, call, number, epoch, &result);
    }
    ours = rayi_mailbox_ran(call->mailbox, call, epoch, !l);
    if (result.exits)
        rayi_actor_apply(thread, actor, RAYI_ACTOR_EXIT, number,
                         rayi_actor_died(actor, "it has called ray_actor_exit"));
    if (ours && l) {
        rayi_task_publish(thread, call, &result);
    } else {
        rayi_result_drop(thread, &result);
        if (!ours)
            rayi_record_unref(thread, &call->head);
    }
    rayi_life_unref(l);
    return ours;
}

/* A call that is to run elsewhere, and counts as away. False: there is no room now. */
static bool send_call(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t number)
{
    rayi_mailbox *mailbox = call->mailbox;
    rayi_result result = {0};

    result.error = rayi_task_cancelled(call) ? rayi_task_cancelled_error(call)
                   : is_late(call)           ? rayi_task_late_error(call)
                                             : rayi_task_failed_argument(call);
    if (result.error) {
        rayi_task_publish(thread, call, &result);
        atomic_fetch_sub(&actor->num_away, 1);
        return true;
    }
    if (rayi_actor_may_send(actor, mailbox)) {
        rayi_actor_sent(actor, mailbox);
        if (rayi_executor_of(thread)->hooks->actor_send(thread, actor, call, number))
            return true;
        rayi_mailbox_return(mailbox, call);
        (void)rayi_actor_came_back(actor, mailbox);
    } else {
        rayi_mailbox_return(mailbox, call);
        atomic_fetch_sub(&actor->num_away, 1);
    }
    return false;
}

/* The runner of an actor in a worker process: hands on what is there, as long as there is room. It never asks to be
 * queued again; it pauses until a poke: when there is room, or the actor's state has changed. */
static bool serve_elsewhere(rayi_thread *thread, ray_actor *actor, rayi_record *runner)
{
    rayi_mailbox *mailbox = runner->content.pointer;
    rayi_task *call;
    uint32_t number;

    for (;;) {
        enum turn turn = whose_turn(thread, actor, &number);
        if (turn == TURN_FAIL) {
            maybe_fini(thread, actor);
            rayi_actor_fail_waiting(thread, actor);
        } else if (turn == TURN_SERVE) {
            atomic_fetch_add(&actor->num_away, 1);
            if ((call = rayi_mailbox_take(thread, mailbox))) {
                if (send_call(thread, actor, call, number) || !rayi_mailbox_pause(mailbox, runner))
                    continue;
                return false;
            }
            atomic_fetch_sub(&actor->num_away, 1);
            maybe_fini(thread, actor); /* who wanted that meanwhile has seen our count */
            if (nothing_left(actor)) {
                rayi_actor_apply(thread, actor, RAYI_ACTOR_RELEASED, 0,
                                 rayi_actor_died(actor, "its last handle was released"));
                continue;
            }
        } else if (rayi_mailbox_pause(mailbox, runner)) {
            return false;
        } else {
            continue;
        }
        if (rayi_mailbox_rest(mailbox, runner))
            return false;
    }
}

/* ---- what comes back from a worker process ---- */

void rayi_actor_constructed(rayi_thread *thread, ray_actor *actor, uint32_t life, rayi_result *result)
{
    constructed(thread, actor, life, result);
}

void rayi_actor_call_ran(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t life, rayi_result *result)
{
    bool exits = result->exits;

    if (result->error && !exits && !rayi_task_cancelled(call) && tries_again(call, result)) {
        rayi_mailbox *mailbox = call->mailbox;
        rayi_result_drop(thread, result);
        rayi_record_ref(&actor->mailbox.runner); /* the call may end as soon as it is back */
        rayi_mailbox_put_back(mailbox, call);
        (void)rayi_actor_came_back(actor, mailbox);
        rayi_mailbox_poke(thread, mailbox, 1);
        rayi_record_unref(thread, &actor->mailbox.runner);
        return;
    }
    if (__builtin_expect(rayi_actor_came_back(actor, call->mailbox), 0))
        rayi_mailbox_poke(thread, call->mailbox, 1);
    if (exits)
        rayi_actor_apply(thread, actor, RAYI_ACTOR_EXIT, life, rayi_actor_died(actor, "it has called ray_actor_exit"));
    rayi_task_settle(thread, call, result);
    rayi_record_ref(&actor->mailbox.runner); /* the call has the last count of it, maybe */
    rayi_task_publish(thread, call, result);
    if (__builtin_expect(actor->fini_due, 0))
        maybe_fini(thread, actor);
    if (__builtin_expect(nothing_left(actor), 0))
        rayi_actor_apply(thread, actor, RAYI_ACTOR_RELEASED, 0, rayi_actor_died(actor, "its last handle was released"));
    rayi_record_unref(thread, &actor->mailbox.runner);
}

void rayi_actor_fini_ran(rayi_thread *thread, ray_actor *actor)
{
    actor->fini_ran = true;
    rayi_actor_apply(thread, actor, RAYI_ACTOR_FINI_DONE, 0, NULL);
}

void rayi_actor_give_up(rayi_thread *thread, ray_actor *actor)
{
    fail_taken(thread, take_away(thread, actor, true), NULL);
    rayi_executor_of(thread)->hooks->actor_end(thread, actor);
    rayi_actor_fini_ran(thread, actor);
}

void rayi_actor_crashed(rayi_thread *thread, ray_actor *actor, uint32_t life, rayi_error *why)
{
    bool ending = atomic_load(&actor->state) == RAYI_ACTOR_ENDING;

    if (ending) {
        fail_taken(thread, take_away(thread, actor, true), why); /* calls that it waited for before its fini */
        rayi_error_unref(why);
        rayi_actor_apply(thread, actor, RAYI_ACTOR_FINI_DONE, 0, NULL);
    } else {
        rayi_actor_apply(thread, actor, RAYI_ACTOR_KILL_MAY_RESTART, life, why);
    }
}

void rayi_actor_has_room(rayi_thread *thread, ray_actor *actor)
{
    rayi_actor_poke_all(thread, actor);
}

bool rayi_actor_serve(rayi_thread *thread, rayi_record *runner, unsigned max)
{
    rayi_mailbox *mailbox = runner->content.pointer;
    ray_actor *actor = rayi_actor_of_mailbox(mailbox);
    rayi_task *call = NULL;
    uint32_t number, epoch;

    if (rayi_actor_is_elsewhere(actor))
        return serve_elsewhere(thread, actor, runner);
    for (unsigned n = 0; n < max; n++) {
        enum turn turn = whose_turn(thread, actor, &number);
        if (turn == TURN_CONSTRUCT) {
            construct(thread, actor, number);
            continue;
        }
        if (turn == TURN_LEAVE && rayi_mailbox_pause(mailbox, runner)) /* until its state changes */
            return false;
        if (turn == TURN_LEAVE)
            continue;
        if (turn == TURN_FAIL) {
            maybe_fini(thread, actor);
            rayi_actor_fail_waiting(thread, actor);
        } else if ((call = rayi_mailbox_next(thread, mailbox, &epoch))) {
            if (!run_call(thread, actor, call, number, epoch)) {
                rayi_mailbox_forget(mailbox, runner);
                return false;
            }
            maybe_fini(thread, actor);
            continue;
        } else if (nothing_left(actor)) {
            rayi_actor_apply(thread, actor, RAYI_ACTOR_RELEASED, 0,
                             rayi_actor_died(actor, "its last handle was released"));
            continue;
        }
        if (rayi_mailbox_rest(mailbox, runner))
            return false;
    }
    return true;
}
