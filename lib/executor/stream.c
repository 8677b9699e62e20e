/* Streams: the items that a function yields, each an object record of its own.
 *
 * The reader asks for item after item and gets refs at once; the function yields item after item. Whichever comes first
 * makes the record, the other one finds it: `items` are those that were yielded and not asked for, or asked for and not
 * yielded, never both. A function that is max_ahead items before its reader waits; it is told to return when the
 * stream's own ref has gone and nothing that was asked for is missing. */
#include "executor/inside.h"

#include <string.h>

struct rayi_stream {
    pthread_mutex_t lock;
    rayi_record *first, *last; /* by next; counted: the stream's */
    uint64_t asked, yielded;
    uint32_t max_ahead;
    bool ended, abandoned;
    rayi_error *error;   /* the item after the last one, once */
    rayi_thread *yields; /* waits for the reader */
    atomic_uint wake;
};

static rayi_stream *stream_of(const rayi_record *record)
{
    return rayi_extra_if(record)->stream;
}

int rayi_stream_start(rayi_task *task, uint32_t max_ahead)
{
    rayi_extra *extra = rayi_extra_of(&task->head);
    rayi_stream *stream = extra ? rayi_zalloc(sizeof *stream) : NULL;

    if (!stream)
        return rayi_error_set_last(rayi_error_no_memory("a stream"));
    pthread_mutex_init(&stream->lock, NULL);
    stream->max_ahead = max_ahead;
    extra->stream = stream;
    task->head.flags |= RAYI_STREAMS | RAYI_WATCHED;
    return 0;
}

void rayi_stream_free(rayi_thread *thread, rayi_stream *stream)
{
    rayi_record *item;

    while ((item = stream->first)) {
        stream->first = item->next;
        rayi_record_unref(thread, item);
    }
    rayi_error_unref(stream->error);
    pthread_mutex_destroy(&stream->lock);
    rayi_free(stream);
}

static void append(rayi_stream *stream, rayi_record *item)
{
    item->next = NULL;
    if (stream->last)
        stream->last->next = item;
    else
        stream->first = item;
    stream->last = item;
}

static rayi_record *pop(rayi_stream *stream)
{
    rayi_record *item = stream->first;

    stream->first = item->next;
    if (!stream->first)
        stream->last = NULL;
    item->next = NULL;
    return item;
}

static void wake_function(rayi_stream *stream)
{
    if (stream->yields) {
        atomic_store_explicit(&stream->wake, 1, memory_order_release);
        rayi_thread_wake(stream->yields);
    }
}

static rayi_error *end_error(rayi_task *task)
{
    const rayi_function *function = task->function;

    return rayi_error_new(RAY_ERR_STREAM_END, function->name, NULL, "%s: the stream has no more items", function->name);
}

rayi_record *rayi_stream_next(rayi_thread *thread, rayi_record *record)
{
    rayi_extra *extra = rayi_extra_if(record);
    rayi_stream *stream = extra ? extra->stream : NULL;
    rayi_record *item = NULL;
    rayi_error *error = NULL;

    if (!(record->flags & RAYI_STREAMS)) {
        error = rayi_record_done(record) ? rayi_record_error(record) : NULL;
        if (error)
            return rayi_object_failed(thread, rayi_error_ref(error));
        (void)rayi_fail(RAY_ERR_TYPE, "ray_next: expected the ref of a stream, got the ref of another object");
        return rayi_object_failed_last(thread);
    }
    pthread_mutex_lock(&stream->lock);
    if (stream->asked < stream->yielded) {
        item = pop(stream);
        stream->asked++;
        wake_function(stream);
    } else if (stream->ended) {
        error = stream->error;
        stream->error = NULL;
        if (!error)
            error = end_error((rayi_task *)record);
    } else if ((item = rayi_record_new(thread))) {
        rayi_record_ref(item);
        append(stream, item);
        stream->asked++;
        wake_function(stream);
    }
    pthread_mutex_unlock(&stream->lock);
    if (item)
        return item;
    return error ? rayi_object_failed(thread, error) : rayi_object_failed_last(thread);
}

/* Waits while the reader is behind; the lock is held before and after. */
static int wait_for_reader(rayi_thread *thread, rayi_task *task, rayi_stream *stream)
{
    int r = 0;

    while (r == 0 && stream->yielded >= stream->asked + stream->max_ahead && !stream->abandoned &&
           !rayi_frame_cancelled(thread)) {
        atomic_store_explicit(&stream->wake, 0, memory_order_relaxed);
        stream->yields = thread;
        pthread_mutex_unlock(&stream->lock);
        r = rayi_lane_block(thread, NULL);
        if (r == 0) {
            /* A cancel has nobody to wake it: look now and then. */
            (void)rayi_thread_park(thread, &stream->wake, rayi_now_ns() + 20000000);
            rayi_lane_unblock(thread);
        }
        pthread_mutex_lock(&stream->lock);
        stream->yields = NULL;
    }
    if (r == 0 &&
        (stream->ended || (stream->abandoned && stream->yielded >= stream->asked) || rayi_frame_cancelled(thread)))
        r = rayi_fail(RAY_ERR_CANCELLED, "%s: nobody reads the stream on", rayi_task_name(task));
    return r;
}

static int yield(rayi_thread *thread, rayi_task *task, rayi_result *result)
{
    rayi_stream *stream = stream_of(&task->head);
    rayi_record *item = NULL;
    int r;

    pthread_mutex_lock(&stream->lock);
    r = wait_for_reader(thread, task, stream);
    if (r == 0 && stream->yielded < stream->asked) {
        item = pop(stream);
        stream->yielded++;
    } else if (r == 0) {
        rayi_record *ahead = rayi_record_new(thread);
        if (ahead) {
            rayi_result_store(result, ahead);
            *result = (rayi_result){0};
            atomic_store_explicit(&ahead->waiters, RAYI_CLOSED, memory_order_release);
            append(stream, ahead);
            stream->yielded++;
        } else {
            r = RAY_ERR_NO_MEMORY;
        }
    }
    pthread_mutex_unlock(&stream->lock);
    if (item) {
        rayi_result_store(result, item);
        *result = (rayi_result){0};
        rayi_record_complete(thread, item);
        rayi_record_unref(thread, item);
    }
    return r;
}

int rayi_stream_yield(rayi_thread *thread, const ray_value *given)
{
    rayi_frame *frame = thread->frame;
    rayi_task *task = frame ? frame->task : NULL;
    const rayi_function *function = task ? task->function : NULL;
    rayi_result result = {0};
    uint64_t small[3] = {0};
    ray_value to = {.data = small};
    char why[256];
    int r;

    if (!task || !(task->head.flags & RAYI_STREAMS))
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_yield is for functions of type ray_stream(T)%s%s",
                         function ? ", not for " : "", function ? function->name : "");
    if (frame->failure)
        return rayi_error_set_last(rayi_error_ref(frame->failure));
    to.kind = function->result.kind;
    to.size = function->result.size;
    if (rayi_is_number(to.kind) && rayi_is_number(given->kind)) {
        r = rayi_value_convert(given, &to, why, sizeof why);
        if (r < 0)
            return rayi_fail(r, "%s: ray_yield: %s", function->name, why);
    } else if (given->kind != to.kind || given->size != to.size) {
        return rayi_fail(RAY_ERR_TYPE, "%s: ray_yield: expected an item of type %s (%zu bytes), got %s (%zu bytes)",
                         function->name, function->result.name, to.size, rayi_kind_name(given->kind), given->size);
    } else {
        to.data = given->data;
    }
    rayi_result_take(thread, &function->result, to.data, &result);
    if (result.error) {
        r = rayi_error_code(result.error);
        rayi_error_set_last(result.error);
        return r;
    }
    r = yield(thread, task, &result);
    rayi_result_drop(thread, &result);
    return r;
}

/* What was asked for and will not come: the first of it is the error, if there was one. */
void rayi_stream_end(rayi_thread *thread, rayi_task *task, rayi_error *error)
{
    rayi_stream *stream = stream_of(&task->head);
    rayi_record *missing = NULL, *next;
    rayi_error *first = NULL;

    pthread_mutex_lock(&stream->lock);
    stream->ended = true;
    stream->error = error ? rayi_error_ref(error) : NULL;
    if (stream->asked > stream->yielded) {
        missing = stream->first;
        stream->first = stream->last = NULL;
        first = stream->error;
        stream->error = NULL;
    }
    pthread_mutex_unlock(&stream->lock);
    for (; missing; missing = next) {
        next = missing->next;
        missing->next = NULL;
        rayi_content_error(missing, first ? first : end_error(task));
        first = NULL;
        rayi_record_complete(thread, missing);
        rayi_record_unref(thread, missing);
    }
}

void rayi_stream_abandoned(rayi_thread *thread, rayi_record *record)
{
    rayi_stream *stream = stream_of(record);

    (void)thread;
    pthread_mutex_lock(&stream->lock);
    stream->abandoned = true;
    wake_function(stream);
    pthread_mutex_unlock(&stream->lock);
}
