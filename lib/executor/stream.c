/* Streams: the items that a function yields, each an object record of its own.
 *
 * The reader asks for item after item and gets refs at once; the function yields item after item. Whichever comes first
 * makes the record, the other one finds it: `items` are those that were yielded and not asked for, or asked for and not
 * yielded, never both. A function that is max_ahead items before its reader waits; it is told to return when the
 * stream's own ref has gone and nothing that was asked for is missing. Of a stream of another node that node says how
 * far its function may go (granted), whatever has been asked for here. */
#include "executor/inside.h"

#include <string.h>

struct rayi_stream {
    pthread_mutex_t lock;
    rayi_record *first, *last; /* by next; counted: the stream's */
    uint64_t asked, yielded;
    uint32_t max_ahead;
    uint64_t granted;
    bool ended, abandoned, is_granted;
    rayi_error *error;   /* the item after the last one, once */
    rayi_thread *yields; /* waits for the reader */
    atomic_uint wake;
};

static rayi_stream *stream_of(const rayi_record *record)
{
    return rayi_extra_if(record)->stream;
}

int rayi_stream_start(rayi_task *task, const ray_task_options *options, const rayi_hosting *hosting)
{
    rayi_extra *extra = rayi_extra_of(&task->head);
    rayi_stream *stream = extra ? rayi_zalloc(sizeof *stream) : NULL;

    if (!stream)
        return rayi_error_set_last(rayi_error_no_memory("a stream"));
    pthread_mutex_init(&stream->lock, NULL);
    stream->max_ahead = options && options->max_ahead ? options->max_ahead : 16;
    if (hosting) {
        stream->is_granted = true;
        stream->granted = hosting->credit;
        stream->asked = stream->yielded = hosting->delivered;
    }
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

/* A worker process or a node that yields has more credit now, or nobody who reads. */
static void tell_elsewhere(rayi_thread *thread, rayi_task *task)
{
    bool runs = (atomic_load_explicit(&task->head.state, memory_order_relaxed) & RAYI_PHASE) == RAYI_RUNNING;

    if ((task->head.flags & RAYI_STAND_IN) ||
        (runs && ((task->head.flags & RAYI_ESCAPED) || rayi_task_is_elsewhere(task))))
        rayi_executor_of(thread)->hooks->credit(thread, task);
}

/* So many items may have been yielded; the lock is held. */
static uint64_t limit(const rayi_stream *stream)
{
    if (stream->is_granted)
        return stream->granted;
    return stream->asked + (stream->abandoned ? 0 : stream->max_ahead);
}

uint64_t rayi_stream_credit(rayi_task *task, bool *abandoned)
{
    rayi_stream *stream = stream_of(&task->head);
    uint64_t credit;

    pthread_mutex_lock(&stream->lock);
    credit = limit(stream);
    *abandoned = stream->abandoned;
    pthread_mutex_unlock(&stream->lock);
    return credit;
}

uint64_t rayi_stream_delivered(rayi_task *task)
{
    rayi_stream *stream = stream_of(&task->head);
    uint64_t delivered;

    pthread_mutex_lock(&stream->lock);
    delivered = stream->yielded;
    pthread_mutex_unlock(&stream->lock);
    return delivered;
}

void rayi_stream_grant(rayi_thread *thread, rayi_task *task, uint64_t credit, bool abandoned)
{
    rayi_stream *stream = stream_of(&task->head);

    pthread_mutex_lock(&stream->lock);
    stream->granted = credit;
    stream->abandoned |= abandoned;
    wake_function(stream);
    pthread_mutex_unlock(&stream->lock);
    tell_elsewhere(thread, task);
}

/* In a worker process a ref that came from the node may stand for a stream, too. */
static bool is_outside(rayi_thread *thread, const rayi_record *record)
{
    if (!rayi_executor_of(thread)->outside)
        return false;
    return record->type == RAYI_ITEM ||
           ((record->type == RAYI_TASK || record->type == RAYI_CALL) && (record->flags & RAYI_STAND_IN));
}

rayi_record *rayi_stream_next(rayi_thread *thread, rayi_record *record)
{
    rayi_extra *extra = rayi_extra_if(record);
    rayi_stream *stream = extra ? extra->stream : NULL;
    rayi_record *item = NULL;
    rayi_error *error = NULL;

    if (is_outside(thread, record))
        return rayi_executor_of(thread)->outside->next(thread, record);
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
        tell_elsewhere(thread, (rayi_task *)record);
    if (item)
        return item;
    return error ? rayi_object_failed(thread, error) : rayi_object_failed_last(thread);
}

/* Waits while the reader is behind; the lock is held before and after. */
static int wait_for_reader(rayi_thread *thread, rayi_task *task, rayi_stream *stream)
{
    int r = 0;

    while (r == 0 && stream->yielded >= limit(stream) && !stream->abandoned && !rayi_frame_cancelled(thread)) {
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
        (stream->ended || (stream->abandoned && stream->yielded >= limit(stream)) || rayi_frame_cancelled(thread)))
        r = rayi_fail(RAY_ERR_CANCELLED, "%s: nobody reads the stream on", rayi_task_name(task));
    return r;
}

/* index: the item's among those of this try, if it ran elsewhere: what an earlier try has delivered is dropped. */
static int deliver(rayi_thread *thread, rayi_task *task, rayi_result *result, const uint64_t *index)
{
    rayi_stream *stream = stream_of(&task->head);
    rayi_record *item = NULL;
    int r;

    pthread_mutex_lock(&stream->lock);
    r = index ? 0 : wait_for_reader(thread, task, stream);
    if (index && (*index < stream->yielded || stream->ended)) {
        pthread_mutex_unlock(&stream->lock);
        return 0;
    }
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

/* By an earlier try of this task. */
static bool was_delivered(rayi_task *task, uint64_t index)
{
    rayi_stream *stream = stream_of(&task->head);
    bool was;

    pthread_mutex_lock(&stream->lock);
    was = index < stream->yielded;
    pthread_mutex_unlock(&stream->lock);
    return was;
}

int rayi_stream_put(rayi_thread *thread, rayi_task *task, uint64_t index, rayi_result *item)
{
    int r = deliver(thread, task, item, &index);

    rayi_result_drop(thread, item);
    return r;
}

int rayi_result_give(rayi_thread *thread, const rayi_function *function, const ray_value *given, const char *call,
                     rayi_result *result)
{
    ray_value to = {.kind = function->result.kind, .size = function->result.size};
    uint64_t small[3] = {0};
    char why[256];
    int r;

    if (rayi_is_number(to.kind) && rayi_is_number(given->kind)) {
        to.data = small;
        r = rayi_value_convert(given, &to, why, sizeof why);
        if (r < 0)
            return rayi_fail(r, "%s: %s: %s", function->name, call, why);
    } else if (given->kind != to.kind || given->size != to.size) {
        return rayi_fail(RAY_ERR_TYPE, "%s: %s: expected a value of type %s (%zu bytes), got %s (%zu bytes)",
                         function->name, call, function->result.name, to.size, rayi_kind_name(given->kind),
                         given->size);
    } else {
        to.data = given->data;
    }
    rayi_result_take(thread, &function->result, to.data, result);
    return result->error ? rayi_error_set_last(rayi_error_ref(result->error)) : 0;
}

int rayi_stream_yield(rayi_thread *thread, const ray_value *given)
{
    rayi_frame *frame = thread->frame;
    rayi_task *task = frame ? frame->task : NULL;
    const rayi_function *function = task ? task->function : NULL;
    rayi_result result = {0};
    int r;

    if (!task || !(task->head.flags & RAYI_STREAMS))
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_yield is for functions of type ray_stream(T)%s%s",
                         function ? ", not for " : "", function ? function->name : "");
    if (frame->failure)
        return rayi_error_set_last(rayi_error_ref(frame->failure));
    r = rayi_result_give(thread, function, given, "ray_yield", &result);
    if (r < 0)
        return r;
    if (rayi_executor_of(thread)->outside)
        return rayi_executor_of(thread)->outside->yield(thread, task, &result);
    r = was_delivered(task, frame->yielded) ? 0 : deliver(thread, task, &result, NULL);
    frame->yielded += r == 0;
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

/* Whoever counts the record for a moment may have us come here again. Of a stream of another node its reader there says
 * whether anybody reads on. */
void rayi_stream_abandoned(rayi_thread *thread, rayi_record *record)
{
    rayi_stream *stream = stream_of(record);
    bool is_news;

    pthread_mutex_lock(&stream->lock);
    is_news = !stream->abandoned && !stream->is_granted;
    stream->abandoned |= is_news;
    wake_function(stream);
    pthread_mutex_unlock(&stream->lock);
    if (is_news)
        tell_elsewhere(thread, (rayi_task *)record);
}
