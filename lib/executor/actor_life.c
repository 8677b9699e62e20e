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

static ray_actor *actor_of(rayi_mailbox *mailbox)
{
    return (ray_actor *)mailbox;
}

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

    if (actor->max_pending_calls)
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

static void fail_waiting(rayi_thread *thread, ray_actor *actor)
{
    rayi_task *call = rayi_mailbox_take_waiting(&actor->mailbox), *next;

    for (; call; call = next) {
        next = (rayi_task *)call->head.next;
        if (rayi_record_claim(&call->head)) {
            rayi_task_fail(thread, call,
                           rayi_lane_stopping(thread->lane) ? rayi_error_shutdown() : rayi_actor_death(actor));
        } else {
            rayi_record_unref(thread, &call->head);
        }
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

/* Ends calls that were taken from their runners. Their arguments go with them, when they have returned. */
static void fail_taken(rayi_thread *thread, rayi_task *call)
{
    rayi_task *next;
    rayi_error *error;

    for (; call; call = next) {
        next = (rayi_task *)call->head.next;
        error =
            rayi_error_new(RAY_ERR_ACTOR_DIED, rayi_task_name(call), rayi_executor_of(thread)->node_id,
                           "%s was under way when its actor was killed; it may have run in part", rayi_task_name(call));
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
    rayi_frame run;
    ray_frame frame = {.size = sizeof frame, .self = l ? l->self : NULL};

    if (l && actor->fini) {
        frame.function = actor->fini->record;
        frame.name = actor->fini->name;
        rayi_frame_enter(thread, &run, NULL, actor, 0);
        actor->fini->record->call(&frame);
        rayi_frame_leave(thread, &run);
        rayi_error_unref(run.failure);
    }
    rayi_life_unref(l);
    rayi_actor_apply(thread, actor, RAYI_ACTOR_FINI_DONE, 0, NULL);
}

/* fini waits until the calls under way have returned. */
static void maybe_fini(rayi_thread *thread, ray_actor *actor)
{
    bool due;

    pthread_mutex_lock(&actor->lock);
    due = actor->fini_due && !rayi_mailbox_busy(&actor->mailbox);
    if (due)
        actor->fini_due = false;
    pthread_mutex_unlock(&actor->lock);
    if (due)
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

/* Does what a step asks for, in the order of its bits. */
static void perform(rayi_thread *thread, ray_actor *actor, unsigned todo, rayi_task *taken)
{
    const rayi_executor_hooks *hooks = rayi_executor_of(thread)->hooks;
    bool dead = atomic_load(&actor->state) == RAYI_ACTOR_DEAD;

    if (todo & RAYI_ACTOR_FAIL_RUNNING) {
        fail_taken(thread, taken);
        drop_life(actor);
    }
    if (todo & RAYI_ACTOR_FAIL_CALLS) {
        fail_waiting(thread, actor);
        tell_ready(thread, actor);
        rayi_mailbox_poke(thread, &actor->mailbox, actor->max_concurrency); /* what comes later fails there */
    }
    if (todo & RAYI_ACTOR_RUN_FINI)
        maybe_fini(thread, actor);
    if (dead && todo) {
        drop_life(actor);
        rayi_actor_stop_waiting(thread, actor);
        hooks->unplace(thread, actor);
    }
    /* On this one node an actor keeps its place from life to life. */
    if (todo & RAYI_ACTOR_SUBMIT)
        rayi_actor_apply(thread, actor, RAYI_ACTOR_GRANTED, 0, NULL);
    if (todo & RAYI_ACTOR_RUN_CONSTRUCTOR)
        rayi_mailbox_poke(thread, &actor->mailbox, 1);
    if (todo & RAYI_ACTOR_RUN_CALLS) {
        tell_ready(thread, actor);
        rayi_mailbox_poke(thread, &actor->mailbox, actor->max_concurrency);
    }
}

void rayi_actor_apply(rayi_thread *thread, ray_actor *actor, rayi_actor_event event, uint32_t of_life,
                      rayi_error *cause)
{
    rayi_actor_state before;
    rayi_actor_step step = {0};
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
        if (step.todo & RAYI_ACTOR_FAIL_RUNNING) /* before a running call can see that it is over, and return */
            taken = rayi_mailbox_take_running(&actor->mailbox,
                                              step.state == RAYI_ACTOR_DEAD ? runs_never_again : runs_again);
        if (!actor->cause && (step.state == RAYI_ACTOR_DEAD || step.state == RAYI_ACTOR_ENDING)) {
            actor->cause = cause;
            cause = NULL;
        }
        atomic_store(&actor->state, step.state);
    }
    pthread_mutex_unlock(&actor->lock);
    rayi_error_unref(cause);
    if (!stale)
        perform(thread, actor, step.todo, taken);
}

rayi_error *rayi_actor_died(ray_actor *actor, const char *why)
{
    return rayi_error_new(RAY_ERR_ACTOR_DIED, actor->class ? actor->class->name : NULL, NULL, "actor %s%s%s: %s",
                          actor->class ? actor->class->name : "", actor->name ? " " : "",
                          actor->name ? actor->name : "", why);
}

/* ---- serving ---- */

static void construct(rayi_thread *thread, ray_actor *actor, uint32_t number)
{
    rayi_life *l = life_new(actor->class->record->state_size);
    rayi_result result = {0};
    rayi_error *cause;
    char why[RAYI_MESSAGE_MAX + 1];

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
    if (!result.error) {
        rayi_actor_apply(thread, actor, RAYI_ACTOR_CONSTRUCTED, number, NULL);
        if (result.exits)
            rayi_actor_apply(thread, actor, RAYI_ACTOR_EXIT, number,
                             rayi_actor_died(actor, "it has called ray_actor_exit"));
        return;
    }
    snprintf(why, sizeof why, "its constructor failed: %s", rayi_error_public(result.error)->message);
    cause =
        rayi_error_code(result.error) == RAY_ERR_SHUTDOWN ? rayi_error_ref(result.error) : rayi_actor_died(actor, why);
    rayi_result_drop(thread, &result);
    rayi_actor_apply(thread, actor, RAYI_ACTOR_CONSTRUCTOR_FAILED, number, cause);
}

enum turn { TURN_CONSTRUCT, TURN_LEAVE, TURN_FAIL, TURN_SERVE };

static enum turn whose_turn(ray_actor *actor, uint32_t *number)
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
        turn = actor->constructing ? TURN_LEAVE : TURN_CONSTRUCT;
        actor->constructing = true;
        break;
    case RAYI_ACTOR_ALIVE:
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
    rayi_extra *extra = rayi_extra_if(&call->head);

    if (!extra || !extra->retry_failures || extra->retries == 0 ||
        rayi_error_code(result->error) != RAY_ERR_TASK_FAILED)
        return false;
    if (extra->retries > 0)
        extra->retries--;
    return true;
}

/* The state for a call in the life of this number; NULL: that life is over. */
static rayi_life *life_for_call(ray_actor *actor, uint32_t number)
{
    rayi_life *l = NULL;

    pthread_mutex_lock(&actor->lock);
    if (atomic_load(&actor->state) == RAYI_ACTOR_ALIVE && actor->restarts + 1 == number) {
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

/* False: the call was taken from this runner. */
static bool run_call(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t number, uint32_t epoch)
{
    rayi_life *l = life_for_call(actor, number);
    rayi_result result = {0};
    bool ours;

    if (l && is_late(call)) {
        result.error = rayi_error_new(RAY_ERR_DEADLINE, rayi_task_name(call), NULL,
                                      "%s had not started by its deadline", rayi_task_name(call));
    } else if (l) {
        do {
            rayi_run_function(thread, call, actor, l->self, number, &result);
        } while (result.error && tries_again(call, &result) && (rayi_result_drop(thread, &result), true));
    }
    ours = rayi_mailbox_ran(&actor->mailbox, call, epoch, !l);
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

/* What was submitted before the last handle went is in the mailbox by the time `released` is seen. */
static bool nothing_left(ray_actor *actor)
{
    return atomic_load(&actor->released) && rayi_mailbox_empty(&actor->mailbox) &&
           atomic_load(&actor->state) == RAYI_ACTOR_ALIVE;
}

bool rayi_actor_serve(rayi_thread *thread, rayi_record *runner, unsigned max)
{
    rayi_mailbox *mailbox = runner->content.pointer;
    ray_actor *actor = actor_of(mailbox);
    rayi_task *call = NULL;
    uint32_t number, epoch;

    for (unsigned n = 0; n < max; n++) {
        enum turn turn = whose_turn(actor, &number);
        if (turn == TURN_CONSTRUCT) {
            construct(thread, actor, number);
            continue;
        }
        if (turn == TURN_LEAVE && rayi_mailbox_leave(mailbox, runner))
            return false;
        if (turn == TURN_LEAVE)
            return true; /* the only one: come back later */
        if (turn == TURN_FAIL) {
            maybe_fini(thread, actor);
            fail_waiting(thread, actor);
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

/* ---- actors that wait for each other ---- */

#define MAX_CYCLE 1000 /* actors */

static ray_actor *running_actor(const rayi_thread *thread)
{
    const rayi_frame *frame = thread->frame;

    while (frame && !frame->actor)
        frame = frame->outer;
    return frame && frame->actor->max_concurrency == 1 ? frame->actor : NULL;
}

/* actors_lock is held. */
static void warn_of_cycle(rayi_executor *executor, ray_actor *actor)
{
    rayi_text words;
    ray_actor *at = actor;

    rayi_text_init(&words, rayi_heap);
    do {
        rayi_text_printf(&words, "%s%s%s (%.8s…) waits for ", rayi_actor_class(at), at->name ? " " : "",
                         at->name ? at->name : "", at->id + RAYI_ID_SIZE - 9);
        at = at->waits_for;
    } while (at != actor);
    rayi_text_printf(&words, "%s%s%s: none of them can go on", rayi_actor_class(actor), actor->name ? " " : "",
                     actor->name ? actor->name : "");
    if (!words.failed)
        rayi_log(RAY_LOG_WARNING, "actor.cycle", executor->node_id, "%s", words.data);
    rayi_text_fini(&words);
}

void rayi_actor_blocked(rayi_thread *thread, rayi_record *record)
{
    rayi_executor *executor = rayi_executor_of(thread);
    ray_actor *actor = running_actor(thread), *at;

    if (!actor || (!record && !actor->waits_for) || (record && record->type != RAYI_CALL))
        return;
    pthread_mutex_lock(&executor->actors_lock);
    actor->waits_for = record ? rayi_actor_of_call((rayi_task *)record) : NULL;
    at = actor->waits_for;
    for (unsigned steps = 0; at && at != actor; steps++) /* others may go in a circle without this one */
        at = steps < MAX_CYCLE ? at->waits_for : NULL;
    if (at == actor)
        warn_of_cycle(executor, actor);
    pthread_mutex_unlock(&executor->actors_lock);
}

/* ---- shutdown ---- */

#define ACTORS_AT_ONCE 64

/* Calls that wait for an actor which itself waits: nobody else would end them. */
void rayi_actors_fail_waiting(rayi_thread *thread)
{
    rayi_executor *executor = rayi_executor_of(thread);
    ray_actor *some[ACTORS_AT_ONCE];
    size_t count, skipped = 0;

    do {
        size_t at = 0;
        count = 0;
        pthread_mutex_lock(&executor->actors_lock);
        for (ray_actor *actor = executor->actors; actor && count < ACTORS_AT_ONCE; actor = actor->next)
            if (at++ >= skipped && rayi_record_try_ref(&actor->mailbox.runner))
                some[count++] = actor;
        pthread_mutex_unlock(&executor->actors_lock);
        skipped += count;
        for (size_t i = 0; i < count; i++) {
            fail_waiting(thread, some[i]);
            rayi_record_unref(thread, &some[i]->mailbox.runner);
        }
    } while (count == ACTORS_AT_ONCE);
}

/* No thread of the lane is left: each actor ends with its fini. */
void rayi_actors_stop(rayi_thread *thread)
{
    rayi_executor *executor = rayi_executor_of(thread);
    ray_actor *actor;

    for (;;) {
        pthread_mutex_lock(&executor->actors_lock);
        for (actor = executor->actors; actor; actor = actor->next)
            if (atomic_load(&actor->state) != RAYI_ACTOR_DEAD && rayi_record_try_ref(&actor->mailbox.runner))
                break;
        pthread_mutex_unlock(&executor->actors_lock);
        if (!actor)
            return;
        rayi_actor_apply(
            thread, actor, RAYI_ACTOR_SHUTDOWN, 0,
            rayi_error_new(RAY_ERR_SHUTDOWN, NULL, NULL, "the runtime was shut down and the actor with it"));
        rayi_record_unref(thread, &actor->mailbox.runner);
    }
}
