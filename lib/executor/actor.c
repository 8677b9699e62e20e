/* Actors as users have them: making them, calling them, and their handles. What then happens is in actor_life.c. */
#include "executor/actor.h"

#include <stdio.h>
#include <string.h>

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
    pthread_mutex_unlock(&executor->actors_lock);
}

void rayi_actors_for_each(rayi_executor *executor, void (*visit)(void *arg, ray_actor *actor), void *arg)
{
    pthread_mutex_lock(&executor->actors_lock);
    for (ray_actor *actor = executor->actors; actor; actor = actor->next)
        visit(arg, actor);
    pthread_mutex_unlock(&executor->actors_lock);
}

ray_actor *rayi_actor_by_number(rayi_executor *executor, uint64_t number)
{
    ray_actor *actor;

    pthread_mutex_lock(&executor->actors_lock);
    for (actor = executor->actors; actor; actor = actor->next)
        if (actor->number == number && !actor->stands_in && atomic_load(&actor->state) != RAYI_ACTOR_DEAD &&
            rayi_actor_try_retain(actor))
            break;
    pthread_mutex_unlock(&executor->actors_lock);
    return actor;
}

/* number: the one that another process has given it; 0: a new one. */
static ray_actor *actor_alloc(rayi_thread *thread, uint64_t number)
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
    actor->number = number ? number : rayi_executor_number(rayi_executor_of(thread));
    rayi_executor_write_id(rayi_executor_of(thread), actor->id, actor->number);
    register_actor(rayi_executor_of(thread), actor);
    return actor;
}

bool rayi_actor_is_fixed(const ray_actor *actor)
{
    return ((const rayi_record *)actor)->type == RAYI_FIXED;
}

ray_actor *rayi_actor_fixed(int code)
{
    return (ray_actor *)rayi_object_fixed(code);
}

ray_actor *rayi_actor_failed(rayi_thread *thread, rayi_error *error)
{
    ray_actor *actor = actor_alloc(thread, 0);

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
    if (options->env && options->isolation == RAY_ISOLATION_THREAD)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: .env is of a worker process: it does not go with RAY_ISOLATION_THREAD",
                         class->name);
    if (rayi_env_check(class->name, options->env) < 0)
        return RAY_ERR_ARGUMENT;
    if (options->detached && !options->name)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: a detached actor needs a name, else nobody could find it", class->name);
    if (options->max_restarts < -1 || options->max_task_retries < -1)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: max_restarts and max_task_retries are -1 (for ever), 0 or more",
                         class->name);
    return 0;
}

/* A class of a language ("py:*") has whatever methods it has: it is called, if it can be without arguments, and knows.
 */
static rayi_function *find_fini(rayi_executor *executor, const rayi_function *class)
{
    bool any = class->record->name[strlen(class->record->name) - 1] == '*';
    char name[256 + 8];
    rayi_function *found = NULL;

    if (class->abroad)
        return NULL;
    snprintf(name, sizeof name, "%s.fini", class->name);
    if (any) {
        found = strlen(name) > 255 ? NULL : rayi_code_function(executor, rayi_function_code(class), name);
        return found && found->num_params == (found->variadic ? 1 : 0) && found->result.kind != RAY_KIND_STRUCT ? found
                                                                                                                : NULL;
    }
    pthread_mutex_lock(&executor->functions_lock);
    HASH_FIND_STR(class->foreign ? rayi_function_code(class)->functions : executor->functions, name, found);
    pthread_mutex_unlock(&executor->functions_lock);
    return found && found->num_params == 0 ? found : NULL;
}

void rayi_actor_created(rayi_thread *thread, rayi_task *creation)
{
    ray_actor *actor = rayi_actor_of_call(creation);

    rayi_actor_apply(thread, actor, RAYI_ACTOR_GRANTED, 0, NULL);
    rayi_record_unref(thread, &actor->mailbox.runner); /* the way here had a count */
}

/* Places and names the actor. *instead: one that has the name already. */
static int settle(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, ray_actor **instead)
{
    bool placed =
        options && !actor->afar && (options->resources || options->labels || options->node_id || options->group);
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

/* An actor for another node, or for a worker process of its own. */
static int go_elsewhere(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, bool hosted)
{
    rayi_executor *executor = rayi_executor_of(thread);
    const char *const *env = options ? options->env : NULL;
    int r =
        hosted || !executor->hooks->actor_afar ? 0 : executor->hooks->actor_afar(thread, actor, options, &actor->afar);

    if (r < 0)
        return r;
    if (actor->afar) {
        actor->mailbox.runner.flags |= RAYI_ELSEWHERE;
        return 0;
    }
    if (actor->class->abroad)
        return rayi_fail(RAY_ERR_UNKNOWN_FUNCTION,
                         "no class of the name %s is on this node, on which alone the actor may live",
                         actor->class->name);
    if (!rayi_goes_elsewhere(executor, actor->class, options ? options->isolation : RAY_ISOLATION_AUTO, env != NULL))
        return 0;
    actor->mailbox.runner.flags |= RAYI_ELSEWHERE;
    if (env && !(actor->env = rayi_env_copy(env)))
        return rayi_error_set_last(rayi_error_no_memory("the environment of an actor"));
    return executor->hooks->elsewhere(thread);
}

/* The node has it: this one stands in for it. */
static ray_actor *create_outside(rayi_thread *thread, ray_actor *actor, const ray_value *args, size_t num_args,
                                 const ray_actor_options *options)
{
    atomic_store(&actor->state, RAYI_ACTOR_ALIVE);
    actor->creation = rayi_task_new(thread, RAYI_CALL, actor->class, args, num_args);
    if (actor->creation && rayi_executor_of(thread)->outside->create(thread, actor, actor->creation, options) == 0) {
        rayi_task_undo(thread, actor->creation);
        actor->creation = NULL;
        return actor;
    }
    actor->cause = rayi_error_last();
    atomic_store(&actor->state, RAYI_ACTOR_DEAD);
    return actor;
}

ray_actor *rayi_actor_stand_in(rayi_thread *thread, uint64_t number, const char *class, const char *name)
{
    rayi_executor *executor = rayi_executor_of(thread);
    ray_actor *actor = actor_alloc(thread, number);
    ray_function *record;

    if (!actor)
        return NULL;
    atomic_store(&actor->state, RAYI_ACTOR_ALIVE);
    record = rayi_function_get(executor, class);
    actor->class = record ? rayi_function_resolve(executor, record) : NULL;
    actor->stands_in = true;
    actor->class_name = rayi_strdup(class);
    actor->name = name ? rayi_strdup(name) : NULL;
    if (actor->class_name && (actor->name || !name))
        return actor;
    atomic_store(&actor->state, RAYI_ACTOR_DEAD);
    rayi_actor_release(thread, actor);
    return NULL;
}

/* restarts: of an actor that lives here for another node; else -1. */
static ray_actor *new_actor(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                            const ray_actor_options *options, int64_t restarts)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_function *class = rayi_function_called(executor, record, RAY_FUNCTION_ACTOR);
    ray_actor *actor, *instead = NULL;

    if (rayi_lane_stopping(thread->lane))
        return rayi_actor_fixed(RAY_ERR_SHUTDOWN);
    if (!class || check_options(class, options) < 0)
        return failed_last(thread);
    actor = actor_alloc(thread, 0);
    if (!actor)
        return rayi_actor_fixed(RAY_ERR_NO_MEMORY);
    actor->class = class;
    actor->fini = find_fini(executor, class);
    if (options)
        apply_options(actor, options);
    if (restarts > 0)
        atomic_store(&actor->restarts, (unsigned)restarts);
    if (executor->outside)
        return create_outside(thread, actor, args, num_args, options);
    actor->creation = rayi_task_new(thread, RAYI_CALL, class, args, num_args);
    if (!actor->creation || go_elsewhere(thread, actor, options, restarts >= 0) < 0 ||
        rayi_actor_make_groups(actor, options ? options->concurrency_groups : NULL) < 0 ||
        settle(thread, actor, options, &instead) < 0 || instead) {
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

ray_actor *rayi_actor_new(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                          const ray_actor_options *options)
{
    return new_actor(thread, record, args, num_args, options, -1);
}

ray_actor *rayi_actor_new_hosted(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                                 const ray_actor_options *options, uint32_t life)
{
    return new_actor(thread, record, args, num_args, options, (int64_t)life - 1);
}

bool rayi_actor_is_of_others(ray_actor *actor)
{
    return actor->stands_in || atomic_load(&actor->host);
}

void *rayi_actor_host(const ray_actor *actor)
{
    return atomic_load(&actor->host);
}

/* Sequentially consistent, as the state is: either who ends it sees the host, or we see that it has ended. */
void rayi_actor_set_host(rayi_thread *thread, ray_actor *actor, void *host)
{
    atomic_store(&actor->host, host);
    if (atomic_load(&actor->state) == RAYI_ACTOR_DEAD && atomic_exchange(&actor->host, NULL))
        rayi_executor_of(thread)->hooks->hosted_died(thread, host);
}

void rayi_actor_granted(rayi_thread *thread, ray_actor *actor)
{
    rayi_actor_stop_waiting(thread, actor);
}

void rayi_actor_refused(rayi_thread *thread, ray_actor *actor, rayi_error *error)
{
    rayi_actor_apply(thread, actor, RAYI_ACTOR_REFUSED, 0, error);
}

void rayi_actor_lost(rayi_thread *thread, ray_actor *actor, rayi_error *error)
{
    rayi_actor_apply(thread, actor, RAYI_ACTOR_KILL, 0, error);
}

/* ---- calls ---- */

static int check_call(const ray_actor *actor, const rayi_function *method, const ray_task_options *options)
{
    const char *class = actor->class ? actor->class->name : "";
    size_t size = strlen(class);

    if (!(method->record->flags & RAY_FUNCTION_METHOD) && method->record->name[strlen(method->record->name) - 1] != '*')
        return rayi_fail(RAY_ERR_ARGUMENT, "%s is not a method: define it with RAY_METHOD", method->name);
    if (actor->class && (strncmp(method->name, class, size) != 0 || method->name[size] != '.'))
        return rayi_fail(RAY_ERR_ARGUMENT, "expected a method of %s, got %s", class, method->name);
    if (options && (options->isolation != RAY_ISOLATION_AUTO || options->env))
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: a call runs where its actor is: .isolation and .env are the actor's",
                         method->name);
    return 0;
}

static int apply_call_options(ray_actor *actor, rayi_task *call, const ray_task_options *options,
                              const rayi_hosting *hosting)
{
    const rayi_function *method = call->function;
    int32_t retries = options && options->max_retries ? options->max_retries : actor->max_task_retries;
    bool retry_failures = options && options->retry_failures;
    rayi_extra *extra;
    uint32_t group;

    if (rayi_actor_find_group(actor, method, options ? options->concurrency_group : NULL, &group) < 0)
        return RAY_ERR_ARGUMENT;
    if (retries != 0 || retry_failures || group || (options && options->deadline_ms != 0)) {
        extra = rayi_extra_of(&call->head);
        if (!extra)
            return RAY_ERR_NO_MEMORY;
        extra->group = group;
        extra->retries = retries == RAY_NO_RETRIES ? 0 : retries == 0 && retry_failures ? 3 : retries;
        extra->retry_failures = retry_failures;
        extra->deadline_ms = options && options->deadline_ms != 0 ? rayi_moment_ms(options->deadline_ms) : 0;
    }
    if (options && options->name) {
        extra = rayi_extra_of(&call->head);
        if (!extra || !(extra->name = rayi_strdup(options->name)))
            return rayi_error_set_last(rayi_error_no_memory("a call's name"));
    }
    if (method->record->flags & RAY_FUNCTION_STREAM)
        return rayi_stream_start(call, options, hosting);
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

/* Where the actor is somebody else finds the method. */
static rayi_function *find_method(rayi_executor *executor, const ray_actor *actor, ray_function *record)
{
    if (actor->afar || actor->stands_in || executor->outside)
        return rayi_function_called(executor, record, RAY_FUNCTION_METHOD);
    return rayi_function_resolve(executor, record);
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
    return rayi_actor_submit_hosted(thread, actor, record, args, num_args, options, NULL);
}

rayi_record *rayi_actor_submit_hosted(rayi_thread *thread, ray_actor *actor, ray_function *record,
                                      const ray_value *args, size_t num_args, const ray_task_options *options,
                                      const rayi_hosting *hosting)
{
    rayi_actor_state state = atomic_load_explicit(&actor->state, memory_order_acquire);
    rayi_function *method = find_method(rayi_executor_of(thread), actor, record);
    rayi_task *call;
    bool posted;

    if (rayi_lane_stopping(thread->lane))
        return rayi_object_fixed(RAY_ERR_SHUTDOWN);
    if (state == RAYI_ACTOR_DEAD || state == RAYI_ACTOR_ENDING)
        return rayi_object_failed(thread, rayi_actor_death(actor));
    if (!method || check_call(actor, method, options) < 0)
        return rayi_object_failed_last(thread);
    call = rayi_task_new(thread, RAYI_CALL, method, args, num_args);
    if (!call)
        return rayi_object_failed_last(thread);
    if (rayi_executor_of(thread)->outside)
        return rayi_submit_outside(thread, call, actor, options, hosting);
    rayi_guise_number(thread, call);
    if (actor->stands_in)
        return rayi_submit_outside(thread, call, actor, options, hosting);
    if (apply_call_options(actor, call, options, hosting) < 0 || count_call(actor) < 0) {
        rayi_record *failed = rayi_object_failed_last(thread);
        rayi_task_undo(thread, call);
        return failed;
    }
    call->mailbox = rayi_actor_mailbox(actor, rayi_call_group(call));
    rayi_record_ref(&actor->mailbox.runner); /* until the call is destroyed */
    rayi_lane_account(thread, sizeof *call);
    if (!must_wait(call)) {
        atomic_store_explicit(&call->pending, 0, memory_order_relaxed);
        posted = rayi_mailbox_post(thread, call->mailbox, call);
    } else {
        posted = rayi_mailbox_post(thread, call->mailbox, call);
        if (posted) {
            rayi_task_watch_arguments(thread, call);
            rayi_task_ready(thread, call);
        }
    }
    if (!posted && rayi_record_claim(&call->head)) {
        atomic_store_explicit(&call->pending, 0, memory_order_relaxed);
        rayi_task_fail(thread, call, rayi_error_no_memory("the queue of an actor"));
    }
    if (__builtin_expect(rayi_lane_stopping(thread->lane), 0))
        (void)rayi_task_end_unstarted(thread, call, rayi_error_shutdown());
    if (__builtin_expect(rayi_lane_full(thread->lane), 0) && !thread->frame)
        rayi_lane_wait_for_room(thread);
    return &call->head;
}

/* ---- handles ---- */

/* Whom to ask about it; NULL: it is ours. */
static const rayi_outside *outside_of(const rayi_thread *thread, const ray_actor *actor)
{
    const rayi_executor *executor = rayi_executor_of(thread);

    return executor->outside ? executor->outside : actor->stands_in ? executor->hooks->neighbours : NULL;
}

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
    if (outside_of(thread, actor) && !actor->cause)
        outside_of(thread, actor)->release_actor(thread, actor);
    else if (atomic_load(&actor->state) == RAYI_ACTOR_ALIVE)
        rayi_mailbox_poke(thread, &actor->mailbox, actor->max_concurrency);
    rayi_record_unref(thread, &actor->mailbox.runner);
}

/* Its handles stay valid, as those of a dead one do. */
void rayi_actor_finish(rayi_thread *thread, ray_actor *actor)
{
    rayi_actor_apply(thread, actor, RAYI_ACTOR_RELEASED, 0, rayi_actor_died(actor, "its last handle was released"));
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
    if (actor->afar)
        rayi_executor_of(thread)->hooks->afar_freed(actor->afar);
    rayi_life_unref(actor->life);
    rayi_error_unref(actor->cause);
    rayi_free(actor->name);
    rayi_free(actor->class_name);
    rayi_free(actor->env);
    rayi_actor_free_groups(actor);
    pthread_mutex_destroy(&actor->lock);
    rayi_mailbox_fini(&actor->mailbox);
    rayi_pool_free(thread, runner);
}

int rayi_actor_kill(rayi_thread *thread, ray_actor *actor, bool may_restart)
{
    if (atomic_load(&actor->state) == RAYI_ACTOR_DEAD)
        return 0;
    if (outside_of(thread, actor))
        return outside_of(thread, actor)->kill(thread, actor, may_restart);
    rayi_actor_apply(thread, actor, may_restart ? RAYI_ACTOR_KILL_MAY_RESTART : RAYI_ACTOR_KILL, 0,
                     rayi_actor_died(actor, "it was ended by ray_kill"));
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

int rayi_actor_threads(rayi_thread *thread, uint32_t most)
{
    const rayi_outside *outside = rayi_executor_of(thread)->outside;
    const rayi_frame *frame = thread->frame;

    if (!frame || !frame->actor)
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_actor_threads is for constructors of actors");
    if (outside)
        outside->threads(thread, most);
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

    if (outside_of(thread, actor) && !actor->cause) {
        if (ready)
            rayi_record_unref(thread, ready);
        return outside_of(thread, actor)->actor_ready(thread, actor);
    }
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

const char *rayi_actor_id(const ray_actor *actor)
{
    return actor->id;
}
const char *rayi_actor_name(const ray_actor *actor)
{
    return actor->name;
}
const char *rayi_actor_class(const ray_actor *actor)
{
    return actor->class ? actor->class->name : actor->class_name ? actor->class_name : "?";
}
const char *rayi_actor_state_text(ray_actor *actor)
{
    return rayi_actor_state_name(atomic_load(&actor->state));
}
rayi_record *rayi_actor_record(ray_actor *actor)
{
    return (rayi_record *)actor;
} /* also of a fixed one */
void **rayi_actor_place(ray_actor *actor)
{
    return &actor->place;
}
uint64_t rayi_actor_number(const ray_actor *actor)
{
    return actor->number;
}
ray_actor *rayi_call_actor(const rayi_task *call)
{
    return rayi_actor_of_call(call);
}
void *rayi_actor_afar(const ray_actor *actor)
{
    return actor->afar;
}
bool rayi_actor_stands_in(const ray_actor *actor)
{
    return actor->stands_in;
}
bool rayi_actor_is_ending(ray_actor *actor)
{
    return atomic_load(&actor->state) == RAYI_ACTOR_ENDING;
}
rayi_error *rayi_actor_cause(ray_actor *actor)
{
    return rayi_actor_death(actor);
}
void **rayi_actor_guest(ray_actor *actor)
{
    return &actor->guest;
}
const char *const *rayi_actor_env(const ray_actor *actor)
{
    return (const char *const *)actor->env;
}
const rayi_task *rayi_actor_creation(const ray_actor *actor)
{
    return actor->creation;
}
bool rayi_actor_is_awaited(ray_actor *actor, const rayi_record *record)
{
    bool ready;

    if (record->type == RAYI_CALL)
        return rayi_actor_of_call((const rayi_task *)record) == actor;
    pthread_mutex_lock(&actor->lock);
    ready = record == actor->ready;
    pthread_mutex_unlock(&actor->lock);
    return ready || (actor->creation && record == &actor->creation->head);
}
uint32_t rayi_actor_concurrency(const ray_actor *actor)
{
    return actor->max_concurrency;
}
const rayi_function *rayi_actor_fini(const ray_actor *actor)
{
    return actor->fini;
}
bool rayi_actor_is_in_life(ray_actor *actor, uint32_t life)
{
    bool is;

    pthread_mutex_lock(&actor->lock);
    is = atomic_load(&actor->state) != RAYI_ACTOR_DEAD && atomic_load(&actor->restarts) + 1 == life;
    pthread_mutex_unlock(&actor->lock);
    return is;
}
bool rayi_actor_was_killed(ray_actor *actor)
{
    rayi_actor_state state = atomic_load(&actor->state);

    return state == RAYI_ACTOR_RESTARTING || state == RAYI_ACTOR_STARTING ||
           (state == RAYI_ACTOR_DEAD && !actor->fini_ran);
}
uint32_t rayi_actor_restarts(const ray_actor *actor)
{
    return actor->restarts;
}

bool rayi_actor_cancelled(ray_actor *actor, uint32_t number)
{
    bool over;

    pthread_mutex_lock(&actor->lock);
    over = atomic_load(&actor->state) == RAYI_ACTOR_DEAD || (number && number != actor->restarts + 1);
    pthread_mutex_unlock(&actor->lock);
    return over;
}
