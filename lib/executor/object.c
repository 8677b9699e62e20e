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

/* number: the one that another process has given it; 0: any. */
static rayi_extra *numbered(rayi_thread *thread, rayi_record *record, uint64_t number)
{
    rayi_extra *extra = rayi_extra_of(record);

    if (!extra)
        return NULL;
    rayi_record_lock(record);
    if (!extra->number) {
        number = number ? number : rayi_executor_number(rayi_executor_of(thread));
        rayi_executor_write_id(rayi_executor_of(thread), extra->id, number);
        extra->number = number;
    }
    rayi_record_unlock(record);
    return extra;
}

const char *rayi_record_id(rayi_thread *thread, rayi_record *record)
{
    rayi_extra *extra;

    if (record->type == RAYI_FIXED)
        return "00000000000000000000000000000000";
    extra = numbered(thread, record, 0);
    return extra ? extra->id : NULL;
}

uint64_t rayi_record_number(rayi_thread *thread, rayi_record *record)
{
    rayi_extra *extra = numbered(thread, record, 0);

    return extra ? extra->number : 0;
}

bool rayi_record_set_number(rayi_thread *thread, rayi_record *record, uint64_t number)
{
    return numbered(thread, record, number) != NULL;
}

uint64_t rayi_record_number_if(const rayi_record *record)
{
    const rayi_extra *extra = rayi_extra_if(record);

    return extra ? extra->number : 0;
}

bool rayi_record_set_number_once(rayi_thread *thread, rayi_record *record, uint64_t number)
{
    rayi_extra *extra = numbered(thread, record, number);

    return extra && extra->number == number;
}

bool rayi_object_is_far(const rayi_record *object)
{
    return object->flags & (RAYI_BLOCK | RAYI_FAR);
}

enum rayi_maker rayi_object_maker(const rayi_record *object)
{
    unsigned state = atomic_load_explicit(&object->state, memory_order_relaxed);

    return state & RAYI_OF_TASK ? RAYI_MADE_BY_TASK : state & RAYI_OF_CALL ? RAYI_MADE_BY_CALL : RAYI_MADE_BY_PUT;
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

void rayi_record_fill(rayi_thread *thread, rayi_record *record, const rayi_result *result)
{
    rayi_result_store(result, record);
    rayi_record_complete(thread, record);
}

rayi_record *const *rayi_object_held(const rayi_record *object, size_t *count)
{
    const rayi_extra *extra = rayi_extra_if(object);

    *count = extra ? extra->num_held : 0;
    return extra ? extra->held : NULL;
}

typedef struct following {
    rayi_waiter waiter;
    rayi_record *from, *to; /* counted */
} following;

/* Of bytes that may be lost with a node the task that can make them again is known by its record, here or where this
 * one stands in for it: it stays as long as who follows it. Without memory for that it goes. */
static bool keep_source(following *f)
{
    rayi_record *object = f->from->type == RAYI_OBJECT ? NULL : f->from->content.pointer;
    rayi_extra *extra;

    if (!object || !rayi_value_has_bytes(f->from->kind) || !rayi_object_is_far(object))
        return false;
    extra = rayi_extra_of(f->to);
    if (extra && !extra->held)
        extra->held = rayi_alloc(sizeof *extra->held);
    if (!extra || !extra->held)
        return false;
    extra->held[0] = f->from;
    extra->num_held = 1;
    return true;
}

static void follow(rayi_thread *thread, rayi_waiter *waiter)
{
    following *f = rayi_container_of(waiter, following, waiter);
    rayi_result content = rayi_record_content(f->from);
    bool is_kept;
    void *pointer;

    memcpy(&pointer, content.bytes, sizeof pointer);
    if (content.error)
        rayi_error_ref(content.error);
    else if (rayi_value_has_bytes(content.kind) || content.kind == RAY_KIND_REF)
        rayi_record_ref(pointer);
    else if (content.kind == RAY_KIND_ACTOR)
        rayi_actor_retain(pointer);
    rayi_result_store(&content, f->to);
    is_kept = keep_source(f);
    rayi_record_complete(thread, f->to);
    rayi_record_unref(thread, f->to);
    if (!is_kept)
        rayi_record_unref(thread, f->from);
    rayi_free(f);
}

bool rayi_record_follow(rayi_thread *thread, rayi_record *to, rayi_record *record)
{
    following *f = rayi_alloc(sizeof *f);

    if (!f)
        return false;
    *f = (following){.waiter.fire = follow, .from = record, .to = to};
    rayi_record_ref(record);
    rayi_record_ref(to);
    if (!rayi_record_watch(record, &f->waiter))
        follow(thread, &f->waiter);
    return true;
}

rayi_record *rayi_record_following(rayi_thread *thread, rayi_record *record)
{
    rayi_record *to = rayi_record_new(thread);

    if (to && !rayi_record_follow(thread, to, record)) {
        rayi_record_unref(thread, to);
        to = NULL;
    }
    return to;
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

rayi_record *rayi_object_new_in(rayi_thread *thread, rayi_arena *arena, size_t size_bytes, int64_t deadline_ns)
{
    rayi_store *store = rayi_executor_of(thread)->store;
    rayi_record *object = rayi_pool_alloc(thread, RAYI_OBJECT, sizeof *object);
    rayi_block *block;
    int r;

    if (!object) {
        rayi_error_set_last(rayi_error_no_memory("an object"));
        return NULL;
    }
    r = rayi_store_alloc_in(store, arena, size_bytes, deadline_ns, &block);
    if (r < 0) {
        rayi_pool_free(thread, object);
        return NULL;
    }
    atomic_store_explicit(&object->state, RAYI_RUNNING, memory_order_relaxed);
    object->kind = RAY_KIND_BYTES;
    object->flags |= RAYI_BLOCK;
    object->next = (rayi_record *)block;
    object->content.buffer.data = rayi_block_data(block);
    object->size = object->content.buffer.size = size_bytes;
    return object;
}

static int store_bytes(rayi_thread *thread, rayi_record *object, size_t size_bytes)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_block *block;
    int r;

    if (executor->outside)
        return executor->outside->room(thread, object, size_bytes);
    r = rayi_store_try_alloc(executor->store, size_bytes, &block);

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
        rayi_free(rayi_extra_if(object)); /* it may have had a number already */
        rayi_pool_free(thread, object);
        return NULL;
    }
    object->size = object->content.buffer.size = size_bytes;
    return object;
}

void rayi_object_finish(rayi_record *object)
{
    if (object->flags & RAYI_BLOCK) {
        object->content.buffer.data = NULL; /* they may move from here on: see pin.c */
        rayi_block_seal((rayi_block *)object->next);
    } else {
        ((char *)object->content.buffer.data)[object->size] = 0; /* of a far one, too: room was made for it */
    }
    atomic_store_explicit(&object->waiters, RAYI_CLOSED, memory_order_release);
}

/* The same of one that user code has filled: the node is told of one that lies in its store. */
static void finish(rayi_thread *thread, rayi_record *object)
{
    rayi_object_finish(object);
    if (object->flags & RAYI_FAR)
        rayi_executor_of(thread)->outside->sealed(thread, object);
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
    finish(thread, object);
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
    finish(thread, object);
    return object;
}

rayi_record *rayi_view_ref(rayi_thread *thread, const ray_view *view, size_t index)
{
    rayi_record *object = rayi_view_object(view);
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
    *room = (ray_view){.data = rayi_object_data(object), .size = object->size, .pin = object};
    value.data = record->kind == RAY_KIND_BYTES    ? (void *)room
                 : record->kind == RAY_KIND_STRING ? (void *)&room->data
                                                   : (void *)room->data;
    return value;
}

static void drop_content(rayi_thread *thread, rayi_record *record)
{
    if (record->kind == RAYI_KIND_ERROR) {
        rayi_error_unref(record->content.pointer);
    } else if (record->type == RAYI_OBJECT) {
        if (record->flags & RAYI_PIN)
            rayi_pin_drop(thread, record);
        else if (record->flags & RAYI_BLOCK)
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
    rayi_free(extra->env);
    rayi_free(extra);
}

void rayi_record_destroy(rayi_thread *thread, rayi_record *record)
{
    rayi_extra *extra = rayi_extra_if(record);
    const rayi_outside *outside;

    if (record->type == RAYI_RUNNER) {
        rayi_actor_destroy(thread, record);
        return;
    }
    if (record->type == RAYI_OBJECT && rayi_object_is_far(record))
        rayi_object_unkeep(thread, record);
    outside = rayi_executor_of(thread)->outside;
    if (outside && ((extra && extra->number) || (record->type == RAYI_OBJECT && (record->flags & RAYI_FAR))))
        outside->forget(thread, record);
    else if (!outside && (atomic_load_explicit(&record->state, memory_order_relaxed) & RAYI_NAMED))
        rayi_executor_of(thread)->hooks->forget(thread, record);
    if (record->type == RAYI_TASK || record->type == RAYI_CALL)
        rayi_task_drop_arguments(thread, (rayi_task *)record);
    if (record->type == RAYI_CALL && ((rayi_task *)record)->mailbox)
        rayi_record_unref(thread, ((rayi_task *)record)->mailbox->owner);
    drop_content(thread, record);
    if (extra)
        extra_free(thread, extra);
    rayi_pool_free(thread, record);
}
