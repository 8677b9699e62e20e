/* Running functions: frames, results, and how tasks begin and end.
 *
 * A frame lies on the stack of the thread that runs a function; thread->frame is the innermost. The result is gathered
 * in a rayi_result and becomes the record's content only when it is certain that this run ends the record. */
#include "executor/inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ARGS_ON_STACK 8

/* ---- frames ---- */

void rayi_frame_enter(rayi_thread *thread, rayi_frame *frame, rayi_task *task, ray_actor *actor, uint32_t life)
{
    frame->outer = thread->frame;
    frame->task = task;
    frame->actor = actor;
    frame->life = life;
    frame->failure = NULL;
    frame->exits = frame->has_context = false;
    frame->outer_caller = thread->caller;
    thread->caller = ++thread->callers;
    thread->frame = frame;
}

void rayi_frame_leave(rayi_thread *thread, rayi_frame *frame)
{
    thread->frame = frame->outer;
    thread->caller = frame->outer_caller;
}

const char *rayi_task_name(const rayi_task *task)
{
    const rayi_extra *extra = rayi_extra_if(&task->head);

    return extra && extra->name ? extra->name : ((const rayi_function *)task->function)->name;
}

const char *rayi_frame_function(const rayi_thread *thread)
{
    const rayi_frame *frame = thread->frame;

    if (!frame)
        return NULL;
    return frame->task ? ((const rayi_function *)frame->task->function)->name : rayi_actor_class(frame->actor);
}

int rayi_frame_fail(rayi_thread *thread, rayi_error *error)
{
    rayi_frame *frame = thread->frame;

    if (!frame) {
        rayi_error_unref(error);
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_fail is for running tasks; nothing runs on this thread");
    }
    rayi_error_unref(frame->failure);
    frame->failure = error;
    return RAY_ERR_TASK_FAILED;
}

bool rayi_frame_cancelled(const rayi_thread *thread)
{
    const rayi_frame *frame = thread->frame;

    if (!frame)
        return false;
    return rayi_lane_stopping(thread->lane) || (frame->task && rayi_task_cancelled(frame->task)) ||
           (frame->actor && rayi_actor_cancelled(frame->actor, frame->life));
}

static const char *lasting_id(rayi_thread *thread, rayi_record *record)
{
    const char *id = rayi_record_id(thread, record);

    return id ? id : "";
}

const ray_context *rayi_frame_context(rayi_thread *thread)
{
    static _Thread_local ray_context outside;
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_frame *frame = thread->frame;
    ray_context *context = frame ? &frame->context : &outside;

    if (frame && frame->has_context)
        return context;
    *context = (ray_context){
        .size = sizeof *context, .ns = executor->ns, .job_id = executor->job_id, .node_id = executor->node_id};
    if (!frame)
        return context;
    frame->has_context = true;
    context->function = rayi_frame_function(thread);
    context->resources = "";
    if (frame->task) {
        context->task_id = lasting_id(thread, &frame->task->head);
        if (frame->task->head.type == RAYI_TASK)
            context->resources = "CPU=1";
        if (frame->task->head.type == RAYI_TASK && (frame->task->head.flags & RAYI_ESCAPED))
            context->resources =
                executor->hooks->escaped_resources(frame->task, &context->gpus, &context->group_id, &context->attempt);
    }
    if (frame->actor) {
        context->actor_id = rayi_actor_id(frame->actor);
        context->restarts = rayi_actor_restarts(frame->actor);
        context->resources = executor->hooks->actor_resources(frame->actor, &context->gpus, &context->group_id);
    }
    return context;
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
    if (run.failure) {
        fail(result, run.failure);
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
}

static void call_with_arguments(rayi_thread *thread, rayi_task *task, ray_actor *actor, void *self, uint32_t life,
                                ray_value *values, rayi_scratch *scratch, rayi_result *result)
{
    const rayi_function *function = task->function;
    char why[256];
    int r = rayi_task_load(task, values, scratch, why, sizeof why);

    if (r < 0)
        fail(result,
             rayi_error_new(r, function->name, rayi_executor_of(thread)->node_id, "%s: %s", function->name, why));
    else
        call(thread, task, actor, self, life, values, result);
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
static bool was_asked_to_stop(const rayi_task *task)
{
    unsigned state = atomic_load_explicit(&task->head.state, memory_order_relaxed);

    return (state & RAYI_CANCEL) || (!(state & RAYI_LATE) && rayi_task_cancelled(task));
}

void rayi_run_function(rayi_thread *thread, rayi_task *task, ray_actor *actor, void *self, uint32_t life,
                       rayi_result *result)
{
    rayi_error *error = NULL;

    result->error = NULL;
    result->kind = RAY_KIND_NONE;
    result->size = 0;
    result->exits = false;
    if (rayi_lane_stopping(thread->lane))
        error = rayi_error_shutdown();
    else if (rayi_task_cancelled(task))
        error = rayi_error_new(RAY_ERR_CANCELLED, rayi_task_name(task), NULL, "%s was cancelled before it started",
                               rayi_task_name(task));
    else
        error = rayi_task_failed_argument(task);
    if (error) {
        fail(result, error);
        return;
    }
    if (task->num_args <= ARGS_ON_STACK) {
        ray_value values[ARGS_ON_STACK];
        rayi_scratch scratch[ARGS_ON_STACK];
        call_with_arguments(thread, task, actor, self, life, values, scratch, result);
    } else {
        call_with_many(thread, task, actor, self, life, result);
    }
    /* Asked to stop while it ran: its value does not count. */
    if ((!result->error || rayi_error_code(result->error) == RAY_ERR_TASK_FAILED) && was_asked_to_stop(task)) {
        bool exits = result->exits;
        rayi_result_drop(thread, result);
        result->exits = exits;
        if (atomic_load_explicit(&task->head.state, memory_order_relaxed) & RAYI_GROUP_LOST)
            fail(result, rayi_error_new(RAY_ERR_GROUP_REMOVED, rayi_task_name(task), NULL,
                                        "the placement group of %s was removed while it ran", rayi_task_name(task)));
        else
            fail(result, rayi_error_new(RAY_ERR_CANCELLED, rayi_task_name(task), NULL, "%s was cancelled while it ran",
                                        rayi_task_name(task)));
    }
}

/* ---- the end of tasks ---- */

void rayi_result_store(const rayi_result *result, rayi_record *record)
{
    if (result->error) {
        rayi_content_error(record, result->error);
        return;
    }
    record->kind = result->kind;
    record->size = result->size;
    memcpy(record->content.bytes, result->bytes, sizeof result->bytes);
}

void rayi_task_publish(rayi_thread *thread, rayi_task *task, rayi_result *result)
{
    bool escaped = task->head.flags & RAYI_ESCAPED;

    if (task->head.flags & RAYI_STREAMS)
        rayi_stream_end(thread, task, result->error);
    rayi_result_store(result, &task->head);
    /* Of one that was ended while arguments were missing, those that come later still hold it; they go with it. */
    if (atomic_load_explicit(&task->pending, memory_order_acquire) == 0 &&
        !(atomic_load_explicit(&task->head.state, memory_order_relaxed) & RAYI_TAKEN))
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

void rayi_task_run(rayi_thread *thread, rayi_task *task)
{
    rayi_result result;

    rayi_run_function(thread, task, NULL, NULL, 0, &result);
    if (__builtin_expect(result.error != NULL, 0) && (task->head.flags & RAYI_ESCAPED) &&
        rayi_executor_of(thread)->hooks->escaped_failed(thread, task, result.error))
        return;
    rayi_task_publish(thread, task, &result);
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

/* Options that the lane knows nothing of make the scheduler decide. */
static bool escapes(const rayi_executor *executor, const ray_task_options *options)
{
    if (executor->lane_is_off)
        return true;
    if (!options)
        return false;
    return (options->resources && strcmp(options->resources, "CPU=1") != 0) || options->labels || options->node_id ||
           options->priority != 0 || options->bundle != 0 || options->deadline_ms != 0 || options->group ||
           options->retry_failures;
}

/* What both kinds of tasks take from their options; the task is not published. */
static int apply_options(rayi_task *task, const ray_task_options *options)
{
    const rayi_function *function = task->function;
    rayi_extra *extra;

    if (options && options->own_thread)
        task->head.flags |= RAYI_OWN_THREAD;
    if (options && options->name) {
        extra = rayi_extra_of(&task->head);
        if (!extra || !(extra->name = rayi_strdup(options->name)))
            return rayi_error_set_last(rayi_error_no_memory("a task's name"));
    }
    if (function->record->flags & RAY_FUNCTION_STREAM)
        return rayi_stream_start(task, options && options->max_ahead ? options->max_ahead : 16);
    return 0;
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
    if (options && options->isolation == RAY_ISOLATION_PROCESS)
        return rayi_fail(RAY_ERR_UNSUPPORTED,
                         "%s: this version runs functions in threads only, not in worker processes", function->name);
    return 0;
}

static rayi_record *refused(rayi_thread *thread, rayi_task *task)
{
    rayi_record *failed = rayi_object_failed_last(thread);

    if (task)
        rayi_task_undo(thread, task);
    return failed;
}

/* Work waits that fills its share of memory: outside tasks the caller waits, inside it runs the child itself. */
static void hold_back(rayi_thread *thread, rayi_record *child)
{
    if (thread->frame)
        (void)rayi_lane_help(thread, child);
    else
        rayi_lane_wait_for_room(thread);
}

rayi_record *rayi_task_submit(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                              const ray_task_options *options)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_function *function = rayi_function_resolve(executor, record);
    rayi_task *task;

    if (rayi_lane_stopping(thread->lane))
        return rayi_object_fixed(RAY_ERR_SHUTDOWN);
    if (!function || check_options(function, options) < 0)
        return rayi_object_failed_last(thread);
    task = rayi_task_new(thread, RAYI_TASK, function, args, num_args);
    if (!task)
        return rayi_object_failed_last(thread);
    if ((options || (function->record->flags & RAY_FUNCTION_STREAM)) && apply_options(task, options) < 0)
        return refused(thread, task);
    if (escapes(executor, options)) {
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
    rayi_task *task = (rayi_task *)record;
    unsigned before;

    if (flags & ~(unsigned)(RAY_CANCEL_FORCE | RAY_CANCEL_ONLY_THIS))
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_cancel: unknown flags 0x%x", flags);
    if (record->type == RAYI_CALL && (flags & RAY_CANCEL_FORCE))
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_cancel: a call of an actor cannot be forced to end; use ray_kill");
    if (rayi_record_done(record))
        return 0;
    if (record->type != RAYI_TASK && record->type != RAYI_CALL)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_cancel: an item of a stream cannot be cancelled; cancel the stream");
    if ((flags & RAY_CANCEL_FORCE) && (atomic_load(&record->state) & RAYI_PHASE) == RAYI_RUNNING)
        return refuse_force(task);
    before = rayi_record_ask_cancel(record, !(flags & RAY_CANCEL_ONLY_THIS));
    if ((before & RAYI_PHASE) != RAYI_RUNNING)
        (void)rayi_task_end_unstarted(thread, task,
                                      rayi_error_new(RAY_ERR_CANCELLED, rayi_task_name(task),
                                                     rayi_executor_of(thread)->node_id,
                                                     "%s was cancelled before it started", rayi_task_name(task)));
    return 0;
}
