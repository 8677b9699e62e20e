/* Running functions: results, and how tasks begin and end.
 *
 * The result is gathered in a rayi_result and becomes the record's content only when it is certain that this run ends
 * the record. */
#include "core/core.h"
#include "executor/inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ARGS_ON_STACK 8

/* ---- what others ask of tasks ---- */

rayi_function *rayi_task_function(const rayi_task *task)
{
    return task->function;
}

char *const *rayi_task_env(const rayi_task *task)
{
    const rayi_extra *extra = rayi_extra_if(&task->head);

    return extra ? extra->env : NULL;
}

void rayi_task_describe(rayi_thread *thread, rayi_task *task, ray_actor *actor, ray_context *out)
{
    const rayi_executor_hooks *hooks = rayi_executor_of(thread)->hooks;
    const rayi_extra *extra = task ? rayi_extra_if(&task->head) : NULL;

    if (actor) {
        out->restarts = rayi_actor_restarts(actor);
        out->resources = hooks->actor_resources(actor, &out->gpus, &out->group_id);
    } else {
        if (task->head.flags & RAYI_ESCAPED)
            out->resources = hooks->escaped_resources(task, &out->gpus, &out->group_id, &out->attempt);
        out->attempt += extra ? extra->attempt : 0;
    }
}

void rayi_task_blocked(rayi_thread *thread, rayi_task *task, rayi_record *record, bool blocks)
{
    rayi_executor_of(thread)->hooks->escaped_blocked(thread, task, record, blocks);
}

const char *rayi_task_name(const rayi_task *task)
{
    const rayi_extra *extra = rayi_extra_if(&task->head);

    return extra && extra->name ? extra->name : ((const rayi_function *)task->function)->name;
}

/* ---- results ---- */

rayi_error *rayi_error_shutdown(void)
{
    return rayi_error_new(RAY_ERR_SHUTDOWN, NULL, NULL, "the runtime was shut down before this was done");
}

void rayi_result_drop(rayi_thread *thread, rayi_result *result)
{
    void *pointer;

    memcpy(&pointer, result->bytes, sizeof pointer);
    rayi_error_unref(result->error);
    if (rayi_value_has_bytes(result->kind) || result->kind == RAY_KIND_REF)
        rayi_record_unref(thread, pointer);
    else if (result->kind == RAY_KIND_ACTOR)
        rayi_actor_release(thread, pointer);
    *result = (rayi_result){0};
}

static void fail(rayi_result *result, rayi_error *error)
{
    rayi_error_unref(result->error);
    result->error = error;
    result->kind = RAY_KIND_NONE;
}

static void fail_last(rayi_result *result)
{
    rayi_error *error = rayi_error_last();

    fail(result, error ? error : rayi_error_plain(RAY_ERR_INTERNAL));
}

static void set_object(rayi_result *result, unsigned kind, rayi_record *object)
{
    object->kind = (uint8_t)kind;
    result->kind = (uint8_t)kind;
    result->size = object->size;
    memcpy(result->bytes, &object, sizeof object);
}

static void copy_bytes(rayi_thread *thread, unsigned kind, ray_view bytes, rayi_result *result)
{
    rayi_record *object = rayi_object_new(thread, kind, bytes.size);

    if (!object) {
        fail_last(result);
        return;
    }
    if (bytes.size > 0)
        rayi_store_copy_in(object->content.buffer.data, bytes.data, bytes.size);
    rayi_object_finish(object);
    set_object(result, kind, object);
}

void rayi_result_take(rayi_thread *thread, const rayi_param *type, void *data, rayi_result *result)
{
    void *pointer = NULL;

    switch (type->kind) {
    case RAY_KIND_NONE:
        return;
    case RAY_KIND_STRING:
    case RAY_KIND_REF:
    case RAY_KIND_ACTOR:
    case RAY_KIND_BUFFER:
        memcpy(&pointer, data, sizeof pointer);
        if (!pointer) {
            if (type->kind == RAY_KIND_BUFFER)
                fail_last(result); /* ray_create has said why, or whatever failed last */
            else
                fail(result, rayi_error_new(RAY_ERR_TYPE, rayi_frame_function(thread), NULL,
                                            "expected a result of type %s, got NULL", type->name));
            return;
        }
        break;
    case RAY_KIND_BYTES:
        copy_bytes(thread, RAY_KIND_BYTES, *(ray_view *)data, result);
        return;
    case RAY_KIND_STRUCT:
        copy_bytes(thread, RAY_KIND_STRUCT, (ray_view){.data = data, .size = type->size}, result);
        return;
    default: /* a number */
        result->kind = type->kind;
        result->size = type->size;
        memcpy(result->bytes, data, type->size);
        return;
    }
    if (type->kind == RAY_KIND_STRING) {
        copy_bytes(thread, RAY_KIND_STRING, (ray_view){.data = pointer, .size = strlen(pointer)}, result);
    } else if (type->kind == RAY_KIND_BUFFER) {
        rayi_record *object = rayi_buffer_seal(thread, pointer);
        if (object->kind == RAYI_KIND_ERROR) {
            fail(result, rayi_error_ref(rayi_record_error(object)));
            rayi_record_unref(thread, object);
        } else {
            set_object(result, RAY_KIND_BYTES, object);
        }
    } else {
        result->kind = type->kind;
        result->size = sizeof pointer;
        memcpy(result->bytes, &pointer, sizeof pointer);
    }
}

/* What a failed run returned all the same: counted things must not be lost. */
static void drop_returned(rayi_thread *thread, const rayi_param *type, const void *data)
{
    void *pointer;

    memcpy(&pointer, data, sizeof pointer);
    if (!pointer)
        return;
    if (type->kind == RAY_KIND_REF)
        rayi_record_unref(thread, pointer);
    else if (type->kind == RAY_KIND_ACTOR)
        rayi_actor_release(thread, pointer);
    else if (type->kind == RAY_KIND_BUFFER)
        rayi_record_unref(thread, rayi_buffer_record(pointer));
}

/* ---- one run ---- */

/* Calls the function with loaded arguments. A struct's result needs room of its own. */
static void call(rayi_thread *thread, rayi_task *task, ray_actor *actor, void *self, uint32_t life,
                 const ray_value *values, rayi_result *result)
{
    const rayi_function *function = task->function;
    bool stream = function->record->flags & RAY_FUNCTION_STREAM;
    rayi_record *room = NULL;
    uint64_t small[3] = {0};
    rayi_frame run;
    ray_frame frame = {.size = sizeof frame,
                       .function = function->record,
                       .name = function->name,
                       .self = self,
                       .args = values,
                       .num_args = task->num_args,
                       .result = {.kind = function->result.kind, .size = function->result.size, .data = small}};

    if (function->result.kind == RAY_KIND_STRUCT && !stream) {
        room = rayi_object_new(thread, RAY_KIND_STRUCT, function->result.size);
        if (!room) {
            fail_last(result);
            return;
        }
        frame.result.data = memset(room->content.buffer.data, 0, room->size);
    }
    rayi_frame_enter(thread, &run, task, actor, life);
    function->record->call(&frame);
    result->exits = run.exits;
    result->later = run.later;
    if (run.failure || run.later) {
        if (run.failure)
            fail(result, run.failure);
        result->again = run.again;
        if (!stream)
            drop_returned(thread, &function->result, small);
        if (room)
            rayi_record_unref(thread, room);
    } else if (room) {
        rayi_object_finish(room);
        set_object(result, RAY_KIND_STRUCT, room);
    } else if (!stream) {
        rayi_result_take(thread, &function->result, small, result);
    }
    rayi_frame_leave(thread, &run);
    if (run.later && !rayi_later_returned(thread, run.later, result))
        result->later = NULL;
}

static void call_with_arguments(rayi_thread *thread, rayi_task *task, ray_actor *actor, void *self, uint32_t life,
                                ray_value *values, rayi_scratch *scratch, rayi_result *result)
{
    const rayi_function *function = task->function;
    const char *node_id = rayi_executor_of(thread)->node_id;
    char why[256];
    int r = rayi_task_pin_arguments(thread, task);

    if (r < 0) {
        fail(result, rayi_error_new(r, function->name, node_id, "%s: an argument cannot be read: %s", function->name,
                                    rayi_error_last_public()->message));
        return;
    }
    r = rayi_task_load(task, values, scratch, why, sizeof why);
    if (r < 0)
        fail(result, rayi_error_new(r, function->name, node_id, "%s: %s", function->name, why));
    else
        call(thread, task, actor, self, life, values, result);
    rayi_task_unpin_arguments(thread, task);
}

static __attribute__((noinline)) void call_with_many(rayi_thread *thread, rayi_task *task, ray_actor *actor, void *self,
                                                     uint32_t life, rayi_result *result)
{
    size_t count = task->num_args;
    ray_value *values = rayi_alloc(count * (sizeof *values + sizeof(rayi_scratch)));

    if (!values) {
        fail(result, rayi_error_no_memory("the arguments of a task"));
        return;
    }
    call_with_arguments(thread, task, actor, self, life, values, (rayi_scratch *)(values + count), result);
    rayi_free(values);
}

/* By ray_cancel, of it or of a task that it descends from; not by its deadline. */
bool rayi_task_was_asked_to_stop(const rayi_task *task)
{
    unsigned state = atomic_load_explicit(&task->head.state, memory_order_relaxed);

    return (state & RAYI_CANCEL) || (!(state & RAYI_LATE) && rayi_task_cancelled(task));
}

static rayi_error *stopped(const rayi_task *task, const char *when)
{
    bool is_lost = atomic_load_explicit(&task->head.state, memory_order_relaxed) & RAYI_GROUP_LOST;
    const char *name = rayi_task_name(task);

    if (is_lost)
        return rayi_error_new(RAY_ERR_GROUP_REMOVED, name, NULL, "the placement group of %s was removed %s", name,
                              when);
    return rayi_error_new(RAY_ERR_CANCELLED, name, NULL, "%s was cancelled %s", name, when);
}

static void stop(rayi_thread *thread, const rayi_task *task, const char *when, rayi_result *result)
{
    bool exits = result->exits;

    rayi_result_drop(thread, result);
    result->exits = exits;
    fail(result, stopped(task, when));
}

/* Asked to stop while it ran: its value does not count. A worker process that has not begun with it knows only that it
 * is not to, not why. */
void rayi_task_settle(rayi_thread *thread, rayi_task *task, rayi_result *result)
{
    int code = result->error ? rayi_error_code(result->error) : 0;

    if ((code == 0 || code == RAY_ERR_TASK_FAILED) && rayi_task_was_asked_to_stop(task))
        stop(thread, task, "while it ran", result);
    else if (code == RAY_ERR_CANCELLED && (atomic_load(&task->head.state) & RAYI_GROUP_LOST))
        stop(thread, task, "before it started", result);
}

void rayi_run_function(rayi_thread *thread, rayi_task *task, ray_actor *actor, void *self, uint32_t life,
                       rayi_result *result)
{
    int64_t started_ns = 0;
    rayi_error *error = NULL;

    result->error = NULL;
    result->kind = RAY_KIND_NONE;
    result->size = 0;
    result->exits = false;
    result->again = RAYI_AGAIN_NO_WORD;
    result->later = NULL;
    if (rayi_lane_stopping(thread->lane))
        error = rayi_error_shutdown();
    else if (rayi_task_cancelled(task))
        error = rayi_task_cancelled_error(task);
    else
        error = rayi_task_failed_argument(task);
    if (error) {
        fail(result, error);
        return;
    }
    if (__builtin_expect(rayi_executor_of(thread)->events != NULL, 0))
        started_ns = rayi_now_ns();
    if (task->num_args <= ARGS_ON_STACK) {
        ray_value values[ARGS_ON_STACK];
        rayi_scratch scratch[ARGS_ON_STACK];
        call_with_arguments(thread, task, actor, self, life, values, scratch, result);
    } else {
        call_with_many(thread, task, actor, self, life, result);
    }
    if (!result->later)
        rayi_task_settle(thread, task, result);
    if (__builtin_expect(started_ns != 0, 0))
        rayi_ran_here(thread, task, actor, started_ns, result);
}

/* ---- the end of tasks ---- */

/* What it is lost as, if its node dies. */
static void note_maker(rayi_record *object, const rayi_record *record)
{
    if (record->type != RAYI_ITEM && rayi_object_is_far(object))
        atomic_fetch_or_explicit(&object->state, record->type == RAYI_CALL ? RAYI_OF_CALL : RAYI_OF_TASK,
                                 memory_order_relaxed);
}

void rayi_result_store(const rayi_result *result, rayi_record *record)
{
    if (result->error) {
        rayi_content_error(record, result->error);
        return;
    }
    record->kind = result->kind;
    record->size = result->size;
    memcpy(record->content.bytes, result->bytes, sizeof result->bytes);
    if (rayi_value_has_bytes(result->kind))
        note_maker(record->content.pointer, record);
}

void rayi_task_publish(rayi_thread *thread, rayi_task *task, rayi_result *result)
{
    bool escaped = task->head.flags & RAYI_ESCAPED;

    if (task->head.flags & RAYI_WATCHED) /* its stream is here */
        rayi_stream_end(thread, task, result->error);
    rayi_result_store(result, &task->head);
    /* Of one that was ended while arguments were missing, those that come later still hold it; they go with it. */
    if (atomic_load_explicit(&task->pending, memory_order_acquire) == 0 &&
        !(atomic_load_explicit(&task->head.state, memory_order_relaxed) & (RAYI_TAKEN | RAYI_KEPT)))
        rayi_task_drop_arguments(thread, task);
    rayi_lane_account(thread, -(int64_t)sizeof *task);
    if (task->head.type == RAYI_CALL)
        rayi_call_ended(task);
    rayi_record_complete(thread, &task->head);
    if (escaped)
        rayi_executor_of(thread)->hooks->escaped_ended(thread, task);
    rayi_record_unref(thread, &task->head);
}

void rayi_task_fail(rayi_thread *thread, rayi_task *task, rayi_error *error)
{
    rayi_result result = {.error = error};

    rayi_task_publish(thread, task, &result);
}

bool rayi_task_end_unstarted(rayi_thread *thread, rayi_task *task, rayi_error *error)
{
    if (!rayi_record_claim(&task->head)) {
        rayi_error_unref(error);
        return false;
    }
    rayi_record_ref(&task->head);
    rayi_task_fail(thread, task, error);
    return true;
}

/* One that no ledger knows goes back to the queues, if it may be tried again. */
static bool try_again(rayi_thread *thread, rayi_task *task, rayi_outcome outcome, rayi_result *result)
{
    rayi_extra *extra = rayi_extra_of(&task->head);
    int32_t retries = !extra ? 0 : extra->has_retries ? extra->retries : 3;

    if (rayi_lane_stopping(thread->lane) ||
        !rayi_outcome_tries_again(outcome, rayi_task_was_asked_to_stop(task), false, &retries))
        return false;
    extra->retries = retries;
    extra->has_retries = true;
    extra->attempt++;
    rayi_result_drop(thread, result);
    rayi_task_retry(task);
    rayi_task_enqueue(thread, task); /* behind what waits there */
    return true;
}

void rayi_task_keep_word(rayi_task *task, const rayi_result *result)
{
    rayi_extra *extra = result->again == RAYI_AGAIN_NO_WORD ? NULL : rayi_extra_of(&task->head);

    if (extra)
        extra->again = result->again;
}

unsigned rayi_record_again(const rayi_record *record)
{
    const rayi_extra *extra = rayi_extra_if(record);

    return extra ? extra->again : RAYI_AGAIN_NO_WORD;
}

static bool failed(rayi_thread *thread, rayi_task *task, rayi_result *result)
{
    rayi_task_keep_word(task, result);
    if (task->head.flags & RAYI_ESCAPED)
        return rayi_executor_of(thread)->hooks->escaped_failed(thread, task, result->error, false, result->again);
    return result->again == RAYI_AGAIN_YES && rayi_error_code(result->error) == RAY_ERR_TASK_FAILED &&
           try_again(thread, task, RAYI_OUTCOME_AGAIN, result);
}

static void ended_later(rayi_thread *thread, rayi_task *task, uint64_t arg, rayi_result *result)
{
    (void)arg;
    rayi_task_ran(thread, task, result);
}

void rayi_task_run(rayi_thread *thread, rayi_task *task)
{
    rayi_result result;

    rayi_run_function(thread, task, NULL, NULL, 0, &result);
    if (__builtin_expect(result.later != NULL, 0)) {
        if (!rayi_later_part(thread, result.later, ended_later, 0, &result))
            rayi_task_ran(thread, task, &result);
        return;
    }
    if (__builtin_expect(result.error != NULL, 0) && failed(thread, task, &result))
        return;
    rayi_task_publish(thread, task, &result);
}

void rayi_task_complete(rayi_thread *thread, rayi_task *task, rayi_result *result)
{
    if (!rayi_record_claim(&task->head)) {
        rayi_result_drop(thread, result);
        return;
    }
    atomic_store_explicit(&task->pending, 0, memory_order_release);
    rayi_task_publish(thread, task, result);
}

void rayi_task_ran(rayi_thread *thread, rayi_task *task, rayi_result *result)
{
    rayi_task_settle(thread, task, result);
    if (result->error && failed(thread, task, result))
        return;
    rayi_task_publish(thread, task, result);
}

void rayi_task_crashed(rayi_thread *thread, rayi_task *task, rayi_error *error)
{
    rayi_result result = {.error = error};

    if (rayi_lane_stopping(thread->lane) ||
        rayi_task_was_asked_to_stop(task)) { /* that is why, whatever it looks like */
        rayi_error_unref(error);
        result.error = rayi_lane_stopping(thread->lane) ? rayi_error_shutdown()
                                                        : stopped(task, "while it ran; its process was ended");
    }
    if (task->head.flags & RAYI_ESCAPED) {
        if (!rayi_executor_of(thread)->hooks->escaped_failed(thread, task, result.error, true, RAYI_AGAIN_NO_WORD))
            rayi_task_publish(thread, task, &result);
    } else if (!try_again(thread, task, RAYI_OUTCOME_CRASHED, &result)) {
        rayi_task_publish(thread, task, &result);
    }
}

rayi_error *rayi_task_cancelled_error(const rayi_task *task)
{
    return stopped(task, "before it started");
}

rayi_error *rayi_task_late_error(const rayi_task *task)
{
    return rayi_error_new(RAY_ERR_DEADLINE, rayi_task_name(task), NULL, "%s had not started by its deadline",
                          rayi_task_name(task));
}

void rayi_task_retry(rayi_task *task)
{
    unsigned state = atomic_load(&task->head.state);

    while (!atomic_compare_exchange_weak(&task->head.state, &state, (state & ~(unsigned)RAYI_PHASE) | RAYI_PENDING))
        ;
}

void **rayi_task_escape(rayi_task *task)
{
    rayi_extra *extra = rayi_extra_of(&task->head);

    return extra ? &extra->escape : NULL;
}

/* ---- submitting ---- */

void rayi_executor_set_overflows(rayi_executor *executor, bool overflows)
{
    atomic_store_explicit(&executor->overflows, overflows, memory_order_relaxed);
}

/* When its arguments come, the lane may have room or not; the scheduler will know. */
static bool waits_for_arguments(rayi_thread *thread, rayi_task *task)
{
    rayi_record *argument = rayi_task_next_argument(task);

    if (argument)
        rayi_record_unref(thread, argument);
    return argument != NULL;
}

/* The lane first; what another node has submitted does not go on from here. */
static bool overflows(rayi_thread *thread, rayi_task *task, const rayi_hosting *hosting)
{
    return atomic_load_explicit(&rayi_executor_of(thread)->overflows, memory_order_relaxed) && !hosting &&
           (!rayi_lane_has_room(thread) || waits_for_arguments(thread, task));
}

/* Options that the lane knows nothing of make the scheduler decide; what is not here the planner. */
static bool escapes(const rayi_executor *executor, const rayi_function *function, const ray_task_options *options)
{
    if (executor->lane_is_off || function->abroad)
        return true;
    if (!options)
        return false;
    return (options->resources && strcmp(options->resources, "CPU=1") != 0) || options->labels || options->node_id ||
           options->spread || options->priority != 0 || options->bundle != 0 || options->deadline_ms != 0 ||
           options->group || options->retry_failures;
}

/* What both kinds of tasks take from their options; the task is not published. */
static int apply_options(rayi_task *task, const ray_task_options *options, const rayi_hosting *hosting)
{
    const rayi_function *function = task->function;
    rayi_extra *extra;

    if (hosting) {
        extra = rayi_extra_of(&task->head);
        if (!extra)
            return RAY_ERR_NO_MEMORY;
        extra->attempt = hosting->attempt;
        atomic_fetch_or_explicit(&task->head.state, RAYI_HOSTED, memory_order_relaxed);
    }
    if (options && options->own_thread)
        task->head.flags |= RAYI_OWN_THREAD;
    if (options && options->name) {
        extra = rayi_extra_of(&task->head);
        if (!extra || !(extra->name = rayi_strdup(options->name)))
            return rayi_error_set_last(rayi_error_no_memory("a task's name"));
    }
    if (options && options->max_retries != 0) { /* else the ledger's */
        extra = rayi_extra_of(&task->head);
        if (!extra)
            return RAY_ERR_NO_MEMORY;
        extra->retries = options->max_retries == RAY_NO_RETRIES ? 0 : options->max_retries;
        extra->has_retries = true;
    }
    if (function->record->flags & RAY_FUNCTION_STREAM)
        return rayi_stream_start(task, options, hosting);
    return 0;
}

int rayi_env_check(const char *who, const char *const *env)
{
    size_t count = 0;

    for (; env && env[count]; count++) {
        if (*env[count] == '=' || !strchr(env[count], '='))
            return rayi_fail(RAY_ERR_ARGUMENT, "%s: .env: expected \"NAME=VALUE\", got \"%s\"", who, env[count]);
        if (strncmp(env[count], RAYI_WORKER_ENV "=", sizeof RAYI_WORKER_ENV) == 0)
            return rayi_fail(RAY_ERR_ARGUMENT, "%s: .env: %s is libray's own", who, RAYI_WORKER_ENV);
    }
    if (count >= RAYI_ENV_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "%s: .env has at most %d variables, got %zu", who, RAYI_ENV_MAX - 1, count);
    return 0;
}

bool rayi_goes_elsewhere(const rayi_executor *executor, const rayi_function *function, ray_isolation isolation,
                         bool has_env)
{
    if ((isolation == RAY_ISOLATION_AUTO && has_env) || function->foreign)
        return true;
    if (isolation == RAY_ISOLATION_AUTO)
        isolation = function->isolation;
    return isolation == RAY_ISOLATION_PROCESS || (isolation == RAY_ISOLATION_AUTO && executor->processes);
}

static int check_options(const rayi_function *function, const ray_task_options *options)
{
    if (function->record->flags & (RAY_FUNCTION_ACTOR | RAY_FUNCTION_METHOD))
        return rayi_fail(RAY_ERR_ARGUMENT, "%s is %s, not a task: use %s", function->name,
                         function->record->flags & RAY_FUNCTION_ACTOR ? "a class of actors" : "a method",
                         function->record->flags & RAY_FUNCTION_ACTOR ? "ray_actor_create" : "ray_actor_submit");
    if (options && (unsigned)options->isolation > RAY_ISOLATION_PROCESS)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: unknown isolation %d", function->name, (int)options->isolation);
    if (options && options->max_retries < RAY_NO_RETRIES)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: max_retries is -1 (for ever), RAY_NO_RETRIES, 0 or more, got %d",
                         function->name, options->max_retries);
    if (options && options->env && options->isolation == RAY_ISOLATION_THREAD)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: .env is of a worker process: it does not go with RAY_ISOLATION_THREAD",
                         function->name);
    if (options && options->concurrency_group)
        return rayi_fail(RAY_ERR_ARGUMENT, "%s: .concurrency_group is for calls of actors", function->name);
    return rayi_env_check(function->name, options ? options->env : NULL);
}

static int keep_env(rayi_task *task, const char *const *env)
{
    rayi_extra *extra = rayi_extra_of(&task->head);

    if (!extra || !(extra->env = rayi_env_copy(env)))
        return rayi_error_set_last(rayi_error_no_memory("the environment of a task"));
    return 0;
}

/* In what it is to run; of a function that is not here the node says that runs it. */
static int settle_isolation(rayi_thread *thread, rayi_task *task, const ray_task_options *options)
{
    rayi_executor *executor = rayi_executor_of(thread);
    const rayi_function *function = task->function;
    const char *const *env = options ? options->env : NULL;

    if (function->abroad)
        return env ? keep_env(task, env) : 0;
    if (!rayi_goes_elsewhere(executor, function, options ? options->isolation : RAY_ISOLATION_AUTO, env != NULL))
        return 0;
    task->head.flags |= RAYI_ELSEWHERE;
    if (env && keep_env(task, env) < 0)
        return RAY_ERR_NO_MEMORY;
    return executor->hooks->elsewhere(thread);
}

static rayi_record *refused(rayi_thread *thread, rayi_task *task)
{
    rayi_record *failed = rayi_object_failed_last(thread);

    if (task)
        rayi_task_undo(thread, task);
    return failed;
}

/* The node runs it: the record stands in for its own. */
rayi_record *rayi_submit_outside(rayi_thread *thread, rayi_task *task, ray_actor *actor,
                                 const ray_task_options *options, const rayi_hosting *hosting)
{
    const rayi_function *function = task->function;
    const rayi_outside *outside = rayi_executor_of(thread)->outside;
    bool streams = function->record->flags & RAY_FUNCTION_STREAM;

    if (streams && outside)
        task->head.flags |= RAYI_STREAMS | RAYI_STAND_IN;
    if (!outside) { /* another node sends the items of a stream here */
        outside = rayi_executor_of(thread)->hooks->neighbours;
        task->head.flags |= RAYI_STAND_IN;
        if (streams && rayi_stream_start(task, options, hosting) < 0)
            return refused(thread, task);
    }
    if (outside->submit(thread, task, actor, options) < 0)
        return refused(thread, task);
    rayi_lane_account(thread, sizeof *task);
    return &task->head;
}

/* Work waits that fills its share of memory: outside tasks the caller waits, inside it runs the child itself. */
static void hold_back(rayi_thread *thread, rayi_record *child)
{
    if (thread->frame && ((rayi_frame *)thread->frame)->in_disguise)
        return; /* its process cannot wait for us, nor we for it */
    if (thread->frame)
        (void)rayi_lane_help(thread, child);
    else
        rayi_lane_wait_for_room(thread);
}

rayi_record *rayi_task_submit(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                              const ray_task_options *options)
{
    return rayi_task_submit_hosted(thread, record, args, num_args, options, NULL);
}

rayi_record *rayi_task_submit_hosted(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                                     const ray_task_options *options, const rayi_hosting *hosting)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_function *function = rayi_function_called(executor, record, 0);
    rayi_task *task;

    if (rayi_lane_stopping(thread->lane))
        return rayi_object_fixed(RAY_ERR_SHUTDOWN);
    if (!function || check_options(function, options) < 0)
        return rayi_object_failed_last(thread);
    task = rayi_task_new(thread, RAYI_TASK, function, args, num_args);
    if (!task)
        return rayi_object_failed_last(thread);
    if (executor->outside)
        return rayi_submit_outside(thread, task, NULL, options, NULL);
    rayi_guise_number(thread, task);
    if (settle_isolation(thread, task, options) < 0)
        return refused(thread, task);
    if ((options || (function->record->flags & RAY_FUNCTION_STREAM)) && apply_options(task, options, hosting) < 0)
        return refused(thread, task);
    if (escapes(executor, function, options) || overflows(thread, task, hosting)) {
        task->head.flags |= RAYI_ESCAPED;
        if (executor->hooks->escape(thread, task, options) < 0)
            return refused(thread, task);
    }
    rayi_lane_account(thread, sizeof *task);
    rayi_task_watch_arguments(thread, task);
    rayi_task_ready(thread, task);
    if (__builtin_expect(rayi_lane_stopping(thread->lane), 0))
        (void)rayi_task_end_unstarted(thread, task,
                                      rayi_error_shutdown()); /* the queues may have been looked at last */
    if (__builtin_expect(rayi_lane_full(thread->lane), 0))
        hold_back(thread, &task->head);
    return &task->head;
}

bool rayi_task_is_elsewhere(const rayi_task *task)
{
    return (task->head.flags & RAYI_ELSEWHERE) ||
           (task->head.type == RAYI_CALL && task->mailbox && (task->mailbox->runner.flags & RAYI_ELSEWHERE));
}

static int refuse_force(const rayi_task *task)
{
    return rayi_fail(
        RAY_ERR_UNSUPPORTED,
        "%s runs on a thread, which cannot be ended by force: cancel it politely, it sees ray_cancelled(); "
        "process isolation would allow more",
        rayi_task_name(task));
}

int rayi_record_cancel(rayi_thread *thread, rayi_record *record, unsigned flags)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_task *task = (rayi_task *)record;
    unsigned before;

    if (flags & ~(unsigned)(RAY_CANCEL_FORCE | RAY_CANCEL_ONLY_THIS))
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_cancel: unknown flags 0x%x", flags);
    if (record->type == RAYI_CALL && (flags & RAY_CANCEL_FORCE))
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_cancel: a call of an actor cannot be forced to end; use ray_kill");
    if (rayi_record_done(record))
        return 0;
    if (executor->outside) /* where a ref that came from the node may stand for a task */
        return executor->outside->cancel(thread, record, flags);
    if (record->type == RAYI_CALL && (record->flags & RAYI_STAND_IN))
        return executor->hooks->neighbours->cancel(thread, record, flags);
    if (record->type != RAYI_TASK && record->type != RAYI_CALL)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_cancel: an item of a stream cannot be cancelled; cancel the stream");
    if ((flags & RAY_CANCEL_FORCE) && !(record->flags & RAYI_ELSEWHERE) &&
        (atomic_load(&record->state) & RAYI_PHASE) == RAYI_RUNNING && !executor->hooks->is_away(task))
        return refuse_force(task);
    before = rayi_record_ask_cancel(record, !(flags & RAY_CANCEL_ONLY_THIS));
    if ((before & RAYI_PHASE) == RAYI_RUNNING) /* itself, or its children, may be in other processes */
        executor->hooks->tell(thread, task, (flags & RAY_CANCEL_FORCE) != 0);
    if ((before & RAYI_PHASE) != RAYI_RUNNING)
        (void)rayi_task_end_unstarted(thread, task,
                                      rayi_error_new(RAY_ERR_CANCELLED, rayi_task_name(task),
                                                     rayi_executor_of(thread)->node_id,
                                                     "%s was cancelled before it started", rayi_task_name(task)));
    return 0;
}
