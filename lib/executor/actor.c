/* Actors: a mailbox of calls, a state, and a life.
 *
 * What may happen next is decided by rayi_actor_next, a pure function, under actor.lock; what it asks for is done outside
 * the lock by whoever brought the event. The constructor, the calls and fini run in the mailbox's runners. Each life of an
 * actor has a state block of its own, counted, so that a call which still runs when its actor is killed keeps what it
 * works on. A dead actor's calls fail with its cause; a name that is taken, or a missing class, makes an actor that was
 * dead from the start.
 *
 * Counts: `handles` are users' (with them goes the actor, in order), the runner's count is everybody's (with it goes the
 * memory): all handles together hold one, as does each call that is not done and each runner. */
#include "core/core.h"
#include "executor/inside.h"

#include <stdio.h>
#include <string.h>

/* The state of one life, its bytes aligned for any type. */
typedef struct life {
    atomic_uint refs;
    void *block;
    _Alignas(64) unsigned char self[];
} life;

struct ray_actor {
    rayi_mailbox mailbox; /* first: the runner is the block's head */
    rayi_function *class, *fini;
    rayi_task *creation; /* the constructor's arguments, for every life */
    atomic_uint handles;
    atomic_uint num_calls; /* not done; counted only if max_pending_calls is set */
    pthread_mutex_t lock;
    _Atomic(rayi_actor_state) state;
    rayi_error *cause; /* of death */
    life *life;
    uint32_t restarts;
    int32_t restarts_left, max_task_retries;
    uint32_t max_concurrency, max_pending_calls;
    bool constructing, fini_due;
    atomic_bool released, unplaced; /* unplaced: waits for the raylet */
    rayi_record *ready;    /* who waits for the constructor, or NULL; counted */
    ray_actor *waits_for;  /* the actor whose call a method of this one waits for; under actors_lock */
    ray_actor *next, *before;
    void *place; /* the raylet's */
    char *name;
    char id[RAYI_ID_SIZE];
};

static ray_actor *actor_of(rayi_mailbox *mailbox) { return (ray_actor *)mailbox; }
static ray_actor *actor_of_call(const rayi_task *call) { return (ray_actor *)call->mailbox; }
static void apply(rayi_thread *thread, ray_actor *actor, rayi_actor_event event, uint32_t of_life, rayi_error *cause);

/* ---- lives ---- */

static life *life_new(size_t size_bytes)
{
    void *block = rayi_zalloc(sizeof(life) + size_bytes + 64);
    life *made = (life *)(((uintptr_t)block + 63) & ~(uintptr_t)63);

    if (!block)
        return NULL;
    atomic_init(&made->refs, 1);
    made->block = block;
    return made;
}

static void life_unref(life *l)
{
    if (l && atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) == 1)
        rayi_free(l->block);
}

static life *life_ref(ray_actor *actor)
{
    life *l;

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
    ray_actor *actor = actor_of_call(call);

    if (actor->max_pending_calls)
        atomic_fetch_sub_explicit(&actor->num_calls, 1, memory_order_relaxed);
}

static rayi_error *death(ray_actor *actor)
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
            rayi_task_fail(thread, call, death(actor));
        } else {
            rayi_record_unref(thread, &call->head);
        }
    }
}

static bool runs_again(rayi_task *call)
{
    rayi_extra *extra = rayi_extra_if(&call->head);

    if (!extra || extra->retries == 0 ||
        atomic_load_explicit(&actor_of_call(call)->state, memory_order_relaxed) == RAYI_ACTOR_DEAD)
        return false;
    if (extra->retries > 0)
        extra->retries--;
    return true;
}

static void fail_running(rayi_thread *thread, ray_actor *actor)
{
    rayi_task *call = rayi_mailbox_take_running(&actor->mailbox, runs_again), *next;
    rayi_error *error;

    for (; call; call = next) {
        next = (rayi_task *)call->head.next;
        error = rayi_error_new(RAY_ERR_ACTOR_DIED, rayi_task_name(call), rayi_executor_of(thread)->node_id,
                               "%s was under way when its actor was killed; it may have run in part",
                               rayi_task_name(call));
        if (call->head.flags & RAYI_STREAMS)
            rayi_stream_end(thread, call, error);
        rayi_content_error(&call->head, error);
        rayi_call_ended(call);
        rayi_lane_account(thread, -(int64_t)sizeof *call);
        rayi_record_complete(thread, &call->head); /* its arguments go with it, when it has returned */
        rayi_record_unref(thread, &call->head);
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
        rayi_content_error(ready, death(actor));
    rayi_record_complete(thread, ready);
    rayi_record_unref(thread, ready);
}

/* ---- events ---- */

static void run_fini(rayi_thread *thread, ray_actor *actor)
{
    life *l = life_ref(actor);
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
    life_unref(l);
    apply(thread, actor, RAYI_ACTOR_FINI_DONE, 0, NULL);
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
    life *l;

    pthread_mutex_lock(&actor->lock);
    l = actor->life;
    actor->life = NULL;
    pthread_mutex_unlock(&actor->lock);
    life_unref(l);
}

static void stop_waiting_for_place(rayi_thread *thread, ray_actor *actor)
{
    if (atomic_exchange(&actor->unplaced, false))
        rayi_task_ready(thread, actor->creation);
}

/* Does what a step asks for, in the order of its bits. */
static void perform(rayi_thread *thread, ray_actor *actor, unsigned todo)
{
    const rayi_executor_hooks *hooks = rayi_executor_of(thread)->hooks;
    bool dead = atomic_load(&actor->state) == RAYI_ACTOR_DEAD;

    if (todo & RAYI_ACTOR_FAIL_RUNNING) {
        fail_running(thread, actor);
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
        stop_waiting_for_place(thread, actor);
        hooks->unplace(thread, actor);
    }
    /* On this one node an actor keeps its place from life to life. */
    if (todo & RAYI_ACTOR_SUBMIT)
        apply(thread, actor, RAYI_ACTOR_GRANTED, 0, NULL);
    if (todo & RAYI_ACTOR_RUN_CONSTRUCTOR)
        rayi_mailbox_poke(thread, &actor->mailbox, 1);
    if (todo & RAYI_ACTOR_RUN_CALLS) {
        tell_ready(thread, actor);
        rayi_mailbox_poke(thread, &actor->mailbox, actor->max_concurrency);
    }
}

/* cause: of death, if the event brings it; its count is taken. of_life: what happened belongs to the life of this number
 * (restarts + 1), later ones ignore it; 0: to any. */
static void apply(rayi_thread *thread, ray_actor *actor, rayi_actor_event event, uint32_t of_life, rayi_error *cause)
{
    rayi_actor_state before;
    rayi_actor_step step = {0};
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
        if (!actor->cause && (step.state == RAYI_ACTOR_DEAD || step.state == RAYI_ACTOR_ENDING)) {
            actor->cause = cause;
            cause = NULL;
        }
        atomic_store(&actor->state, step.state);
    }
    pthread_mutex_unlock(&actor->lock);
    rayi_error_unref(cause);
    if (!stale)
        perform(thread, actor, step.todo);
}

static rayi_error *died(ray_actor *actor, const char *why)
{
    return rayi_error_new(RAY_ERR_ACTOR_DIED, actor->class ? actor->class->name : NULL, NULL, "actor %s%s%s: %s",
                          actor->class ? actor->class->name : "", actor->name ? " " : "",
                          actor->name ? actor->name : "", why);
}

/* ---- serving ---- */

static void construct(rayi_thread *thread, ray_actor *actor, uint32_t number)
{
    life *l = life_new(actor->class->record->state_size);
    rayi_result result = {0};
    rayi_error *cause;
    char why[RAYI_MESSAGE_MAX + 1];

    if (l) {
        life *old;
        pthread_mutex_lock(&actor->lock);
        old = actor->life;
        actor->life = l;
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
        pthread_mutex_unlock(&actor->lock);
        life_unref(old);
        rayi_run_function(thread, actor->creation, actor, l->self, number, &result);
        life_unref(l);
    } else {
        result.error = rayi_error_no_memory("the state of an actor");
    }
    pthread_mutex_lock(&actor->lock);
    actor->constructing = false;
    pthread_mutex_unlock(&actor->lock);
    if (!result.error) {
        apply(thread, actor, RAYI_ACTOR_CONSTRUCTED, number, NULL);
        if (result.exits)
            apply(thread, actor, RAYI_ACTOR_EXIT, number, died(actor, "it has called ray_actor_exit"));
        return;
    }
    snprintf(why, sizeof why, "its constructor failed: %s", rayi_error_public(result.error)->message);
    cause = rayi_error_code(result.error) == RAY_ERR_SHUTDOWN ? rayi_error_ref(result.error) : died(actor, why);
    rayi_result_drop(thread, &result);
    apply(thread, actor, RAYI_ACTOR_CONSTRUCTOR_FAILED, number, cause);
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
static life *life_for_call(ray_actor *actor, uint32_t number)
{
    life *l = NULL;

    pthread_mutex_lock(&actor->lock);
    if (atomic_load(&actor->state) == RAYI_ACTOR_ALIVE && actor->restarts + 1 == number) {
        l = actor->life;
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&actor->lock);
    return l;
}

/* False: the call was taken from this runner. */
static bool run_call(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t number, uint32_t epoch)
{
    life *l = life_for_call(actor, number);
    rayi_result result = {0};
    bool ours;

    if (l) {
        do {
            rayi_run_function(thread, call, actor, l->self, number, &result);
        } while (result.error && tries_again(call, &result) && (rayi_result_drop(thread, &result), true));
    }
    ours = rayi_mailbox_ran(&actor->mailbox, call, epoch, !l);
    if (result.exits)
        apply(thread, actor, RAYI_ACTOR_EXIT, number, died(actor, "it has called ray_actor_exit"));
    if (ours && l) {
        rayi_task_publish(thread, call, &result);
    } else {
        rayi_result_drop(thread, &result);
        if (!ours)
            rayi_record_unref(thread, &call->head);
    }
    life_unref(l);
    return ours;
}

static bool nothing_left(ray_actor *actor)
{
    return atomic_load(&actor->released) && atomic_load(&actor->mailbox.num_held) == 0 &&
           !rayi_mailbox_busy(&actor->mailbox) && atomic_load(&actor->state) == RAYI_ACTOR_ALIVE;
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
            apply(thread, actor, RAYI_ACTOR_RELEASED, 0, died(actor, "its last handle was released"));
            continue;
        }
        if (rayi_mailbox_rest(mailbox, runner))
            return false;
    }
    return true;
}

/* ---- making actors ---- */

static void register_actor(rayi_executor *executor, ray_actor *actor)
{
    pthread_mutex_lock(&executor->actors_lock);
    actor->next = executor->actors;
    if (actor->next)
        actor->next->before = actor;
    executor->actors = actor;
    pthread_mutex_unlock(&executor->actors_lock);
}

static void unregister_actor(rayi_executor *executor, ray_actor *actor)
{
    pthread_mutex_lock(&executor->actors_lock);
    if (actor->before)
        actor->before->next = actor->next;
    else
        executor->actors = actor->next;
    if (actor->next)
        actor->next->before = actor->before;
    for (ray_actor *other = actor->waits_for ? executor->actors : NULL; other; other = other->next)
        if (other->waits_for == actor)
            other->waits_for = NULL;
    pthread_mutex_unlock(&executor->actors_lock);
}

void rayi_actors_for_each(rayi_executor *executor, void (*visit)(void *arg, ray_actor *actor), void *arg)
{
    pthread_mutex_lock(&executor->actors_lock);
    for (ray_actor *actor = executor->actors; actor; actor = actor->next)
        visit(arg, actor);
    pthread_mutex_unlock(&executor->actors_lock);
}

static ray_actor *actor_alloc(rayi_thread *thread)
{
    ray_actor *actor = (ray_actor *)rayi_pool_alloc(thread, RAYI_RUNNER, sizeof *actor);

    if (!actor) {
        rayi_error_set_last(rayi_error_no_memory("an actor"));
        return NULL;
    }
    memset((char *)actor + sizeof actor->mailbox, 0, sizeof *actor - sizeof actor->mailbox);
    rayi_mailbox_init(&actor->mailbox);
    pthread_mutex_init(&actor->lock, NULL);
    actor->max_concurrency = 1;
    atomic_store(&actor->handles, 1);
    rayi_executor_write_id(rayi_executor_of(thread), actor->id, rayi_executor_number(rayi_executor_of(thread)));
    register_actor(rayi_executor_of(thread), actor);
    return actor;
}

bool rayi_actor_is_fixed(const ray_actor *actor) { return ((const rayi_record *)actor)->type == RAYI_FIXED; }

ray_actor *rayi_actor_fixed(int code) { return (ray_actor *)rayi_object_fixed(code); }

ray_actor *rayi_actor_failed(rayi_thread *thread, rayi_error *error)
{
    ray_actor *actor = actor_alloc(thread);

    if (!actor) {
        rayi_error_unref(error);
        return rayi_actor_fixed(RAY_ERR_NO_MEMORY);
    }
    atomic_store(&actor->state, RAYI_ACTOR_DEAD);
    actor->cause = error;
    rayi_mailbox_poke(thread, &actor->mailbox, 1);
    return actor;
}

static ray_actor *failed_last(rayi_thread *thread)
{
    rayi_error *error = rayi_error_last();

    return error ? rayi_actor_failed(thread, error) : rayi_actor_fixed(RAY_ERR_INTERNAL);
}

static void apply_options(ray_actor *actor, const ray_actor_options *options)
{
    actor->restarts_left = options->max_restarts;
    actor->max_task_retries = options->max_task_retries;
    actor->max_concurrency = options->max_concurrency ? options->max_concurrency : 1;
    actor->max_pending_calls = options->max_pending_calls;
}

static int check_options(const rayi_function *class, const ray_actor_options *options)
{
    if (!(class->record->flags & RAY_FUNCTION_ACTOR))
        return rayi_fail(RAY_ERR_ARGUMENT, "%s is a function, not a class of actors: define it with RAY_ACTOR",
                         class->name);
    if (!options)
        return 0;
    if (options->isolation == RAY_ISOLATION_PROCESS)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "%s: this version runs actors in threads only, not in worker processes",
                         class->name);
    if (options->detached && !options->name)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: a detached actor needs a name, else nobody could find it", class->name);
    if (options->max_restarts < -1 || options->max_task_retries < -1)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: max_restarts and max_task_retries are -1 (for ever), 0 or more",
                         class->name);
    return 0;
}

static rayi_function *find_fini(rayi_executor *executor, const rayi_function *class)
{
    char name[256 + 8];
    rayi_function *found = NULL;

    snprintf(name, sizeof name, "%s.fini", class->record->name);
    pthread_mutex_lock(&executor->functions_lock);
    HASH_FIND_STR(executor->functions, name, found);
    pthread_mutex_unlock(&executor->functions_lock);
    return found && found->num_params == 0 ? found : NULL;
}

void rayi_actor_created(rayi_thread *thread, rayi_task *creation)
{
    ray_actor *actor = actor_of_call(creation);

    apply(thread, actor, RAYI_ACTOR_GRANTED, 0, NULL);
    rayi_record_unref(thread, &actor->mailbox.runner); /* the way here had a count */
}

/* Places and names the actor. *instead: one that has the name already. */
static int settle(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, ray_actor **instead)
{
    bool placed = options && (options->resources || options->labels || options->node_id || options->group);
    int r;

    if (!options || (!placed && !options->name))
        return 0;
    if (options->name && !(actor->name = rayi_strdup(options->name)))
        return rayi_error_set_last(rayi_error_no_memory("the name of an actor"));
    if (placed) {
        atomic_store(&actor->unplaced, true);
        atomic_fetch_add(&actor->creation->pending, 1);
    }
    r = rayi_executor_of(thread)->hooks->place(thread, actor, options, instead);
    if (r < 0 || *instead)
        atomic_store(&actor->unplaced, false);
    return r;
}

ray_actor *rayi_actor_new(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                          const ray_actor_options *options)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_function *class = rayi_function_resolve(executor, record);
    ray_actor *actor, *instead = NULL;

    if (rayi_lane_stopping(thread->lane))
        return rayi_actor_fixed(RAY_ERR_SHUTDOWN);
    if (!class || check_options(class, options) < 0)
        return failed_last(thread);
    actor = actor_alloc(thread);
    if (!actor)
        return rayi_actor_fixed(RAY_ERR_NO_MEMORY);
    actor->class = class;
    actor->fini = find_fini(executor, class);
    if (options)
        apply_options(actor, options);
    actor->creation = rayi_task_new(thread, RAYI_CALL, class, args, num_args);
    if (!actor->creation || settle(thread, actor, options, &instead) < 0 || instead) {
        actor->cause = instead ? NULL : rayi_error_last();
        atomic_store(&actor->state, RAYI_ACTOR_DEAD);
        rayi_mailbox_poke(thread, &actor->mailbox, 1);
        if (!instead)
            return actor;
        rayi_actor_release(thread, actor);
        return instead;
    }
    actor->creation->mailbox = &actor->mailbox;
    actor->creation->head.flags |= RAYI_ESCAPED;
    rayi_record_ref(&actor->mailbox.runner); /* for the way to rayi_actor_created */
    rayi_task_watch_arguments(thread, actor->creation);
    rayi_task_ready(thread, actor->creation);
    return actor;
}

void rayi_actor_granted(rayi_thread *thread, ray_actor *actor) { stop_waiting_for_place(thread, actor); }

void rayi_actor_refused(rayi_thread *thread, ray_actor *actor, rayi_error *error)
{
    apply(thread, actor, RAYI_ACTOR_REFUSED, 0, error);
}

void rayi_actor_lost(rayi_thread *thread, ray_actor *actor, rayi_error *error)
{
    apply(thread, actor, RAYI_ACTOR_KILL, 0, error);
}

/* ---- calls ---- */

static int check_call(const ray_actor *actor, const rayi_function *method, const ray_task_options *options)
{
    const char *class = actor->class ? actor->class->record->name : "";
    size_t size = strlen(class);

    if (!(method->record->flags & RAY_FUNCTION_METHOD) && method->record->name[strlen(method->record->name) - 1] != '*')
        return rayi_fail(RAY_ERR_ARGUMENT, "%s is not a method: define it with RAY_METHOD", method->name);
    if (actor->class && (strncmp(method->name, class, size) != 0 || method->name[size] != '.'))
        return rayi_fail(RAY_ERR_ARGUMENT, "expected a method of %s, got %s", class, method->name);
    if (options && options->isolation == RAY_ISOLATION_PROCESS)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "%s: a call runs where its actor is, in this process", method->name);
    return 0;
}

static int apply_call_options(ray_actor *actor, rayi_task *call, const ray_task_options *options)
{
    const rayi_function *method = call->function;
    int32_t retries = options && options->max_retries ? options->max_retries : actor->max_task_retries;
    bool retry_failures = options && options->retry_failures;
    rayi_extra *extra;

    if (retries != 0 || retry_failures) {
        extra = rayi_extra_of(&call->head);
        if (!extra)
            return RAY_ERR_NO_MEMORY;
        extra->retries = retries == RAY_NO_RETRIES ? 0 : retries != 0 ? retries : 3;
        extra->retry_failures = retry_failures;
    }
    if (options && options->name) {
        extra = rayi_extra_of(&call->head);
        if (!extra || !(extra->name = rayi_strdup(options->name)))
            return rayi_error_set_last(rayi_error_no_memory("a call's name"));
    }
    if (method->record->flags & RAY_FUNCTION_STREAM)
        return rayi_stream_start(call, options && options->max_ahead ? options->max_ahead : 16);
    return 0;
}

/* Takes a place among the calls that are not done. */
static int count_call(ray_actor *actor)
{
    if (actor->max_pending_calls &&
        atomic_fetch_add_explicit(&actor->num_calls, 1, memory_order_relaxed) >= actor->max_pending_calls) {
        atomic_fetch_sub_explicit(&actor->num_calls, 1, memory_order_relaxed);
        return rayi_fail(RAY_ERR_ACTOR_BUSY, "actor %s has %u calls pending, its max_pending_calls",
                         actor->class ? actor->class->name : "", actor->max_pending_calls);
    }
    return 0;
}

static bool must_wait(const rayi_task *call)
{
    rayi_record *argument = rayi_task_next_argument((rayi_task *)call);

    if (argument)
        rayi_record_unref(rayi_self, argument);
    return argument != NULL;
}

rayi_record *rayi_actor_submit(rayi_thread *thread, ray_actor *actor, ray_function *record, const ray_value *args,
                               size_t num_args, const ray_task_options *options)
{
    rayi_actor_state state = atomic_load_explicit(&actor->state, memory_order_acquire);
    rayi_function *method = rayi_function_resolve(rayi_executor_of(thread), record);
    rayi_task *call;
    bool posted;

    if (rayi_lane_stopping(thread->lane))
        return rayi_object_fixed(RAY_ERR_SHUTDOWN);
    if (state == RAYI_ACTOR_DEAD || state == RAYI_ACTOR_ENDING)
        return rayi_object_failed(thread, death(actor));
    if (!method || check_call(actor, method, options) < 0)
        return rayi_object_failed_last(thread);
    call = rayi_task_new(thread, RAYI_CALL, method, args, num_args);
    if (!call)
        return rayi_object_failed_last(thread);
    if (apply_call_options(actor, call, options) < 0 || count_call(actor) < 0) {
        rayi_record *failed = rayi_object_failed_last(thread);
        rayi_task_undo(thread, call);
        return failed;
    }
    call->mailbox = &actor->mailbox;
    rayi_record_ref(&actor->mailbox.runner); /* until the call is destroyed */
    rayi_lane_account(thread, sizeof *call);
    if (!must_wait(call)) {
        atomic_store_explicit(&call->pending, 0, memory_order_relaxed);
        posted = rayi_mailbox_post(thread, &actor->mailbox, call);
    } else {
        posted = rayi_mailbox_post(thread, &actor->mailbox, call);
        if (posted) {
            rayi_task_watch_arguments(thread, call);
            rayi_task_ready(thread, call);
        }
    }
    if (!posted && rayi_record_claim(&call->head)) {
        atomic_store_explicit(&call->pending, 0, memory_order_relaxed);
        rayi_task_fail(thread, call, rayi_error_no_memory("the queue of an actor"));
    }
    if (__builtin_expect(rayi_lane_full(thread->lane), 0) && !thread->frame)
        rayi_lane_wait_for_room(thread);
    return &call->head;
}

/* ---- handles ---- */

bool rayi_actor_try_retain(ray_actor *actor)
{
    unsigned handles = atomic_load_explicit(&actor->handles, memory_order_relaxed);

    while (handles > 0)
        if (atomic_compare_exchange_weak_explicit(&actor->handles, &handles, handles + 1, memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    return false;
}

void rayi_actor_retain(ray_actor *actor)
{
    if (!rayi_actor_is_fixed(actor))
        atomic_fetch_add_explicit(&actor->handles, 1, memory_order_relaxed);
}

void rayi_actor_release(rayi_thread *thread, ray_actor *actor)
{
    if (rayi_actor_is_fixed(actor) || atomic_fetch_sub_explicit(&actor->handles, 1, memory_order_acq_rel) != 1)
        return;
    atomic_store(&actor->released, true);
    if (atomic_load(&actor->state) == RAYI_ACTOR_ALIVE)
        rayi_mailbox_poke(thread, &actor->mailbox, actor->max_concurrency);
    rayi_record_unref(thread, &actor->mailbox.runner);
}

/* After shutdown all actors are dead: only the memory is left. */
void rayi_actor_release_late(ray_actor *actor)
{
    if (atomic_fetch_sub_explicit(&actor->handles, 1, memory_order_acq_rel) == 1)
        rayi_record_unref_late(&actor->mailbox.runner);
}

void rayi_actor_destroy(rayi_thread *thread, rayi_record *runner)
{
    ray_actor *actor = runner->content.pointer;

    unregister_actor(rayi_executor_of(thread), actor);
    if (actor->creation) {
        actor->creation->mailbox = NULL;
        rayi_record_unref(thread, &actor->creation->head);
        rayi_record_unref(thread, &actor->creation->head);
    }
    if (actor->ready)
        rayi_record_unref(thread, actor->ready);
    if (actor->place)
        rayi_executor_of(thread)->hooks->place_freed(actor->place);
    life_unref(actor->life);
    rayi_error_unref(actor->cause);
    rayi_free(actor->name);
    pthread_mutex_destroy(&actor->lock);
    rayi_mailbox_fini(&actor->mailbox);
    rayi_pool_free(thread, runner);
}

int rayi_actor_kill(rayi_thread *thread, ray_actor *actor, bool may_restart)
{
    if (atomic_load(&actor->state) == RAYI_ACTOR_DEAD)
        return 0;
    apply(thread, actor, may_restart ? RAYI_ACTOR_KILL_MAY_RESTART : RAYI_ACTOR_KILL, 0,
          died(actor, "it was ended by ray_kill"));
    return 0;
}

int rayi_actor_exit(rayi_thread *thread)
{
    rayi_frame *frame = thread->frame;

    if (!frame || !frame->actor || !frame->task)
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_actor_exit is for methods of actors");
    frame->exits = true;
    return 0;
}

ray_actor *rayi_actor_self(rayi_thread *thread)
{
    rayi_frame *frame = thread->frame;

    if (!frame || !frame->actor) {
        (void)rayi_fail(RAY_ERR_NOT_HERE, "ray_actor_self is for methods of actors");
        return NULL;
    }
    if (!rayi_actor_try_retain(frame->actor)) {
        (void)rayi_fail(RAY_ERR_ACTOR_DIED, "ray_actor_self: the last handle of this actor is gone; it ends");
        return NULL;
    }
    return frame->actor;
}

rayi_record *rayi_actor_ready(rayi_thread *thread, ray_actor *actor)
{
    rayi_record *ready = rayi_record_new(thread);
    rayi_record *given = NULL;
    rayi_error *error = NULL;

    if (!ready)
        return rayi_object_fixed(RAY_ERR_NO_MEMORY);
    pthread_mutex_lock(&actor->lock);
    switch (atomic_load(&actor->state)) {
    case RAYI_ACTOR_PENDING:
    case RAYI_ACTOR_STARTING:
    case RAYI_ACTOR_RESTARTING:
        if (actor->ready) {
            given = actor->ready;
        } else {
            given = actor->ready = ready;
            ready = NULL;
        }
        rayi_record_ref(given);
        break;
    case RAYI_ACTOR_ALIVE:
        break;
    case RAYI_ACTOR_ENDING:
    case RAYI_ACTOR_DEAD:
        error = actor->cause ? rayi_error_ref(actor->cause) : rayi_error_plain(RAY_ERR_ACTOR_DIED);
        break;
    }
    pthread_mutex_unlock(&actor->lock);
    if (!given) {
        if (error)
            rayi_content_error(ready, error);
        atomic_store_explicit(&ready->waiters, RAYI_CLOSED, memory_order_release);
        return ready;
    }
    if (ready)
        rayi_record_unref(thread, ready);
    return given;
}

const char *rayi_actor_id(const ray_actor *actor) { return actor->id; }
const char *rayi_actor_name(const ray_actor *actor) { return actor->name; }
const char *rayi_actor_class(const ray_actor *actor) { return actor->class ? actor->class->name : "?"; }
const char *rayi_actor_state_text(ray_actor *actor) { return rayi_actor_state_name(atomic_load(&actor->state)); }
rayi_record *rayi_actor_record(ray_actor *actor) { return (rayi_record *)actor; } /* also of a fixed one */
void **rayi_actor_place(ray_actor *actor) { return &actor->place; }
uint32_t rayi_actor_restarts(const ray_actor *actor) { return actor->restarts; }

bool rayi_actor_cancelled(ray_actor *actor, uint32_t number)
{
    bool over;

    pthread_mutex_lock(&actor->lock);
    over = atomic_load(&actor->state) == RAYI_ACTOR_DEAD || (number && number != actor->restarts + 1);
    pthread_mutex_unlock(&actor->lock);
    return over;
}

/* ---- actors that wait for each other ---- */

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
                         at->name ? at->name : "", at->id + 16);
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
    actor->waits_for = record ? actor_of_call((rayi_task *)record) : NULL;
    for (at = actor->waits_for; at && at != actor; at = at->waits_for)
        if (at->waits_for == at)
            break;
    if (at == actor)
        warn_of_cycle(executor, actor);
    pthread_mutex_unlock(&executor->actors_lock);
}

/* ---- shutdown ---- */

/* No thread of the lane is left: each actor ends with its fini. */
void rayi_actors_stop(rayi_thread *thread)
{
    rayi_executor *executor = rayi_executor_of(thread);
    ray_actor *actor;

    for (;;) {
        pthread_mutex_lock(&executor->actors_lock);
        for (actor = executor->actors; actor && atomic_load(&actor->state) == RAYI_ACTOR_DEAD;)
            actor = actor->next;
        if (actor)
            rayi_record_ref(&actor->mailbox.runner);
        pthread_mutex_unlock(&executor->actors_lock);
        if (!actor)
            return;
        apply(thread, actor, RAYI_ACTOR_SHUTDOWN, 0,
              rayi_error_new(RAY_ERR_SHUTDOWN, NULL, NULL, "the runtime was shut down and the actor with it"));
        rayi_record_unref(thread, &actor->mailbox.runner);
    }
}
