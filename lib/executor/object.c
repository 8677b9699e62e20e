/* Objects: records that are bytes; and the contents of records of every type.
 *
 * An object of up to RAYI_POOL_MAX bytes lies behind its own head, a larger one on the heap, one above RAYI_INLINE_MAX
 * in a block of the store. A ray_buffer * points at the content of an object record that is not done yet. A record of
 * another type whose result is bytes counts an object record that has them. */
#include "executor/inside.h"

#include <string.h>

rayi_error *rayi_error_no_memory(const char *what)
{
    return rayi_error_new(RAY_ERR_NO_MEMORY, NULL, NULL, "out of memory: %s", what);
}

/* ---- fixed records: for refs that must be had without memory, or without a runtime ---- */

#define FIXED(label, number, text)                                                                                     \
    {.refs = 1u << 30,                                                                                                 \
     .state = RAYI_RUNNING,                                                                                            \
     .waiters = RAYI_CLOSED,                                                                                           \
     .type = RAYI_FIXED,                                                                                               \
     .kind = RAYI_KIND_ERROR,                                                                                          \
     .size = (size_t) - (number)},
static rayi_record fixed[] = {RAY_ERROR_TABLE(FIXED)};
#undef FIXED

rayi_record *rayi_object_fixed(int code)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(fixed); i++)
        if (fixed[i].size == (size_t)-code)
            return &fixed[i];
    return rayi_object_fixed(RAY_ERR_INTERNAL);
}

rayi_error *rayi_record_error(const rayi_record *record)
{
    if (record->kind != RAYI_KIND_ERROR)
        return NULL;
    return record->content.pointer ? record->content.pointer : rayi_error_plain(-(int)record->size);
}

/* ---- the rarely used part ---- */

rayi_extra *rayi_extra_of(rayi_record *record)
{
    rayi_extra *extra = rayi_extra_if(record), *made;
    void *none = NULL;

    if (extra)
        return extra;
    made = rayi_zalloc(sizeof *made);
    if (!made) {
        rayi_error_set_last(rayi_error_no_memory("a record's extra part"));
        return NULL;
    }
    if (atomic_compare_exchange_strong_explicit(&record->extra, &none, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    rayi_free(made);
    return none;
}

const char *rayi_record_id(rayi_thread *thread, rayi_record *record)
{
    rayi_extra *extra;

    if (record->type == RAYI_FIXED)
        return "00000000000000000000000000000000";
    extra = rayi_extra_of(record);
    if (!extra)
        return NULL;
    rayi_record_lock(record);
    if (!*extra->id)
        rayi_executor_write_id(rayi_executor_of(thread), extra->id, rayi_executor_number(rayi_executor_of(thread)));
    rayi_record_unlock(record);
    return extra->id;
}

/* ---- records of others ---- */

rayi_record *rayi_record_new(rayi_thread *thread)
{
    rayi_record *record = rayi_pool_alloc(thread, RAYI_ITEM, sizeof *record);

    if (!record) {
        rayi_error_set_last(rayi_error_no_memory("a ref"));
        return NULL;
    }
    atomic_store_explicit(&record->state, RAYI_RUNNING, memory_order_relaxed);
    return record;
}

void rayi_record_fail(rayi_thread *thread, rayi_record *record, rayi_error *error)
{
    rayi_content_error(record, error);
    rayi_record_complete(thread, record);
}

bool rayi_record_failed(const rayi_record *record)
{
    return record->kind == RAYI_KIND_ERROR;
}

/* ---- making objects ---- */

static int heap_bytes(rayi_record *object, size_t size_bytes)
{
    void *block = rayi_alloc(size_bytes + 1 + 63);

    if (!block)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an object of %zu bytes", size_bytes);
    object->next = block;
    object->flags |= RAYI_HEAP;
    object->content.buffer.data = (void *)(((uintptr_t)block + 63) & ~(uintptr_t)63);
    return 0;
}

static int store_bytes(rayi_thread *thread, rayi_record *object, size_t size_bytes)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_block *block;
    int r = rayi_store_try_alloc(executor->store, size_bytes, &block);

    if (r == RAY_ERR_STORE_FULL) {
        r = rayi_lane_block(thread, NULL);
        if (r < 0)
            return r;
        r = rayi_store_alloc(executor->store, size_bytes, rayi_deadline_ns(executor->timeout_ms), &block);
        rayi_lane_unblock(thread);
    }
    if (r < 0)
        return r;
    object->next = (rayi_record *)block;
    object->flags |= RAYI_BLOCK;
    object->content.buffer.data = rayi_block_data(block);
    return 0;
}

rayi_record *rayi_object_new(rayi_thread *thread, unsigned kind, size_t size_bytes)
{
    bool within = size_bytes < RAYI_POOL_MAX - sizeof(rayi_record);
    rayi_record *object =
        rayi_pool_alloc(thread, RAYI_OBJECT, within ? sizeof *object + size_bytes + 1 : sizeof *object);
    int r = 0;

    if (!object) {
        rayi_error_set_last(rayi_error_no_memory("an object"));
        return NULL;
    }
    atomic_store_explicit(&object->state, RAYI_RUNNING, memory_order_relaxed);
    object->kind = (uint8_t)kind;
    object->content.buffer.data = object + 1;
    if (!within)
        r = size_bytes <= RAYI_INLINE_MAX ? heap_bytes(object, size_bytes) : store_bytes(thread, object, size_bytes);
    if (r < 0) {
        rayi_pool_free(thread, object);
        return NULL;
    }
    object->size = object->content.buffer.size = size_bytes;
    return object;
}

void rayi_object_finish(rayi_record *object)
{
    if (object->flags & RAYI_BLOCK)
        rayi_block_seal((rayi_block *)object->next);
    else
        ((char *)object->content.buffer.data)[object->size] = 0;
    atomic_store_explicit(&object->waiters, RAYI_CLOSED, memory_order_release);
}

rayi_record *rayi_object_failed(rayi_thread *thread, rayi_error *error)
{
    rayi_record *object = rayi_pool_alloc(thread, RAYI_OBJECT, sizeof *object);

    if (!object) {
        rayi_error_unref(error);
        return rayi_object_fixed(RAY_ERR_NO_MEMORY);
    }
    atomic_store_explicit(&object->state, RAYI_RUNNING, memory_order_relaxed);
    rayi_content_error(object, error);
    atomic_store_explicit(&object->waiters, RAYI_CLOSED, memory_order_release);
    return object;
}

rayi_record *rayi_object_failed_last(rayi_thread *thread)
{
    rayi_error *error = rayi_error_last();

    return error ? rayi_object_failed(thread, error) : rayi_object_fixed(RAY_ERR_INTERNAL);
}

rayi_record *rayi_object_put(rayi_thread *thread, const void *data, size_t size_bytes)
{
    rayi_record *object = rayi_object_new(thread, RAY_KIND_BYTES, size_bytes);

    if (!object)
        return rayi_object_failed_last(thread);
    if (object->flags & RAYI_BLOCK)
        rayi_block_fill((rayi_block *)object->next, 0, data, size_bytes);
    else if (size_bytes > 0)
        memcpy(object->content.buffer.data, data, size_bytes);
    rayi_object_finish(object);
    return object;
}

/* ---- buffers ---- */

rayi_record *rayi_buffer_record(ray_buffer *buffer)
{
    return rayi_container_of(buffer, rayi_record, content.buffer);
}

ray_buffer *rayi_buffer_new(rayi_thread *thread, size_t size_bytes)
{
    rayi_record *object = rayi_object_new(thread, RAY_KIND_BYTES, size_bytes);

    return object ? &object->content.buffer : NULL;
}

int rayi_buffer_hold(rayi_thread *thread, ray_buffer *buffer, rayi_record *record)
{
    rayi_extra *extra = rayi_extra_of(rayi_buffer_record(buffer));
    rayi_record **held;

    (void)thread;
    if (!extra)
        return RAY_ERR_NO_MEMORY;
    if ((extra->num_held & (extra->num_held + 1)) == 0) { /* 0, 1, 3, 7, … are full */
        held = rayi_memory_realloc(rayi_heap, extra->held, (2 * extra->num_held + 1) * sizeof *held);
        if (!held)
            return rayi_error_set_last(rayi_error_no_memory("a ref that an object holds"));
        extra->held = held;
    }
    rayi_record_ref(record);
    extra->held[extra->num_held++] = record;
    return (int)(extra->num_held - 1);
}

rayi_record *rayi_buffer_seal(rayi_thread *thread, ray_buffer *buffer)
{
    rayi_record *object = rayi_buffer_record(buffer);

    if (buffer->size > object->size) {
        (void)rayi_fail(RAY_ERR_ARGUMENT,
                        "a buffer's size may be lowered, not raised: it was made with %zu bytes, now %zu", object->size,
                        buffer->size);
        rayi_record_unref(thread, object);
        return rayi_object_failed_last(thread);
    }
    if (buffer->size < object->size) {
        object->size = buffer->size;
        if (object->flags & RAYI_BLOCK)
            rayi_block_shrink((rayi_block *)object->next, object->size);
    }
    rayi_object_finish(object);
    return object;
}

rayi_record *rayi_view_ref(rayi_thread *thread, const ray_view *view, size_t index)
{
    rayi_record *object = view->pin;
    rayi_extra *extra = object ? rayi_extra_if(object) : NULL;
    size_t count = extra ? extra->num_held : 0;

    if (index >= count) {
        (void)rayi_fail(object ? RAY_ERR_NOT_FOUND : RAY_ERR_ARGUMENT,
                        object ? "the object holds %zu refs; there is none of index %zu"
                               : "this view is not of an object: it holds %zu refs, index %zu was asked for",
                        count, index);
        return rayi_object_failed_last(thread);
    }
    rayi_record_ref(extra->held[index]);
    return extra->held[index];
}

/* ---- contents ---- */

void rayi_content_error(rayi_record *record, rayi_error *error)
{
    record->kind = RAYI_KIND_ERROR;
    record->content.pointer = error;
}

rayi_record *rayi_record_bytes(rayi_record *record)
{
    return record->type == RAYI_OBJECT ? record : record->content.pointer;
}

ray_value rayi_record_value(rayi_record *record, ray_view *room)
{
    ray_value value = {.kind = record->kind, .size = record->size, .data = &record->content};
    rayi_record *object;

    if (!rayi_value_has_bytes(record->kind))
        return value;
    object = rayi_record_bytes(record);
    *room = (ray_view){.data = object->content.buffer.data, .size = object->size, .pin = object};
    value.data = record->kind == RAY_KIND_BYTES    ? (void *)room
                 : record->kind == RAY_KIND_STRING ? (void *)&room->data
                                                   : object->content.buffer.data;
    return value;
}

static void drop_content(rayi_thread *thread, rayi_record *record)
{
    if (record->kind == RAYI_KIND_ERROR) {
        rayi_error_unref(record->content.pointer);
    } else if (record->type == RAYI_OBJECT) {
        if (record->flags & RAYI_BLOCK)
            rayi_block_unref((rayi_block *)record->next);
        else if (record->flags & RAYI_HEAP)
            rayi_free(record->next);
    } else if (rayi_value_has_bytes(record->kind) || record->kind == RAY_KIND_REF) {
        rayi_record_unref(thread, record->content.pointer);
    } else if (record->kind == RAY_KIND_ACTOR) {
        rayi_actor_release(thread, record->content.pointer);
    }
}

static void extra_free(rayi_thread *thread, rayi_extra *extra)
{
    for (size_t i = 0; i < extra->num_held; i++)
        rayi_record_unref(thread, extra->held[i]);
    if (extra->stream)
        rayi_stream_free(thread, extra->stream);
    if (extra->escape)
        rayi_executor_of(thread)->hooks->escaped_freed(extra->escape);
    rayi_free(extra->held);
    rayi_free(extra->name);
    rayi_free(extra);
}

void rayi_record_destroy(rayi_thread *thread, rayi_record *record)
{
    rayi_extra *extra = rayi_extra_if(record);

    if (record->type == RAYI_RUNNER) {
        rayi_actor_destroy(thread, record);
        return;
    }
    if (record->type == RAYI_TASK || record->type == RAYI_CALL)
        rayi_task_drop_arguments(thread, (rayi_task *)record);
    if (record->type == RAYI_CALL && ((rayi_task *)record)->mailbox)
        rayi_record_unref(thread, &((rayi_task *)record)->mailbox->runner);
    drop_content(thread, record);
    if (extra)
        extra_free(thread, extra);
    rayi_pool_free(thread, record);
}
