/* Pins: the bytes of an object in the store stay where they are only while somebody pins them.
 *
 * Whoever reads them pins for as long as it reads: a copy out of an object for the copy, a task's arguments for its
 * run, a view until it is released (its pin is a record of its own, so that it goes like any other, also after
 * shutdown), a const char * that ray_get gave as long as the object. Objects on the heap have nothing to pin and pay
 * nothing.
 *
 * Many arguments are pinned at once or not at all, since threads that hold some and wait for room for the rest could
 * wait for each other: only one thread at a time, whose turn it is, waits while it holds pins. What another node has is
 * brought before that, without holding any: a slow node then holds up nobody's turn.
 *
 * What is lost with its node may be found again, or made again (hooks->find), which takes as long as it takes. Of the
 * arguments of a task that the ledger has, here or at its owner, it does not wait for that: it would keep what making
 * it again may need. Such a task fails with OBJECT_LOST, and comes again later. */
#include "executor/inside.h"

#include <stdio.h>
#include <time.h>

enum { COUNTED_ARGS = 256 }; /* so many are compared with each other */
enum { FINDS_MOST = 3 };     /* so often it may be found where it is lost again before it is here */

rayi_block *rayi_object_block(const rayi_record *object)
{
    return object->type == RAYI_OBJECT && (object->flags & RAYI_BLOCK) ? (rayi_block *)object->next : NULL;
}

rayi_record *rayi_object_of_block(rayi_thread *thread, unsigned kind, rayi_block *block)
{
    rayi_record *object = rayi_pool_alloc(thread, RAYI_OBJECT, sizeof *object);

    if (!object) {
        rayi_error_set_last(rayi_error_no_memory("an object"));
        return NULL;
    }
    atomic_store_explicit(&object->state, RAYI_RUNNING, memory_order_relaxed);
    object->kind = (uint8_t)kind;
    object->flags |= RAYI_BLOCK;
    object->next = (rayi_record *)block;
    object->size = object->content.buffer.size = rayi_block_size(block);
    if (rayi_block_is_sealed(block))
        atomic_store_explicit(&object->waiters, RAYI_CLOSED, memory_order_release);
    else
        object->content.buffer.data = rayi_block_data(block);
    return object;
}

/* One that is lost is waited for until lost_ns; 0: not at all. The thread counts as blocked. */
static int bring(rayi_thread *thread, rayi_record *object, int64_t deadline_ns, int64_t lost_ns)
{
    const rayi_executor *executor = rayi_executor_of(thread);
    rayi_block *block = rayi_object_block(object);
    int r = rayi_block_pin_until(block, deadline_ns);

    for (int i = 0; r == RAY_ERR_OBJECT_LOST && lost_ns && executor->hooks->find && i < FINDS_MOST; i++) {
        int found = executor->hooks->find(thread, object, lost_ns);
        if (found != 0)
            return found < 0 ? found : r;
        r = rayi_block_pin_until(block, rayi_deadline_ns(executor->timeout_ms));
    }
    return r;
}

static int wait_for_block(rayi_thread *thread, rayi_record *object, int64_t lost_ns)
{
    int r = rayi_lane_block(thread, NULL);

    if (r < 0)
        return r;
    r = bring(thread, object, rayi_deadline_ns(rayi_executor_of(thread)->timeout_ms), lost_ns);
    rayi_lane_unblock(thread);
    return r;
}

int rayi_object_pin(rayi_thread *thread, rayi_record *object, int64_t lost_ns)
{
    rayi_block *block = rayi_object_block(object);

    if (block)
        return rayi_block_try_pin(block) ? 0 : wait_for_block(thread, object, lost_ns);
    return object->flags & RAYI_FAR ? rayi_executor_of(thread)->outside->open(thread, object, lost_ns) : 0;
}

void rayi_object_unpin(rayi_thread *thread, rayi_record *object)
{
    rayi_block *block = rayi_object_block(object);

    if (block)
        rayi_block_unpin(block);
    else if (object->flags & RAYI_FAR)
        rayi_executor_of(thread)->outside->close(thread, object);
}

const void *rayi_object_data(const rayi_record *object)
{
    rayi_block *block = rayi_object_block(object);

    return block ? rayi_block_data(block) : object->content.buffer.data;
}

void rayi_pins_init(rayi_executor *executor)
{
    pthread_condattr_t attributes;

    pthread_mutex_init(&executor->pin_lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&executor->pin_free, &attributes);
    pthread_condattr_destroy(&attributes);
}

void rayi_pins_fini(rayi_executor *executor)
{
    pthread_cond_destroy(&executor->pin_free);
    pthread_mutex_destroy(&executor->pin_lock);
}

/* ---- views and texts ---- */

int rayi_object_view(rayi_thread *thread, rayi_record *object, int64_t lost_ns, ray_view *out)
{
    rayi_record *pin = rayi_pool_alloc(thread, RAYI_OBJECT, sizeof *pin);
    int r = pin ? rayi_object_pin(thread, object, lost_ns) : rayi_error_set_last(rayi_error_no_memory("a view"));

    if (r < 0) {
        if (pin)
            rayi_pool_free(thread, pin);
        return r;
    }
    rayi_record_ref(object);
    atomic_store_explicit(&pin->state, RAYI_RUNNING, memory_order_relaxed);
    pin->kind = RAY_KIND_NONE;
    pin->flags |= RAYI_PIN;
    pin->content.pointer = object;
    atomic_store_explicit(&pin->waiters, RAYI_CLOSED, memory_order_release);
    *out = (ray_view){.data = rayi_object_data(object), .size = object->size, .pin = pin};
    return 0;
}

void rayi_pin_drop(rayi_thread *thread, rayi_record *pin)
{
    rayi_record *object = pin->content.pointer;

    rayi_object_unpin(thread, object);
    rayi_record_unref(thread, object);
}

rayi_record *rayi_view_object(const ray_view *view)
{
    rayi_record *pin = view->pin;

    return pin && pin->type == RAYI_OBJECT && (pin->flags & RAYI_PIN) ? pin->content.pointer : pin;
}

int rayi_view_retain(rayi_thread *thread, const ray_view *view, ray_view *out)
{
    rayi_record *object = rayi_view_object(view);
    ray_view whole = {.pin = object};
    int r = 0;

    if (rayi_object_is_far(object))
        r = rayi_object_view(thread, object, INT64_MAX, &whole); /* at once: it is pinned already */
    else
        rayi_record_ref(object);
    if (r == 0)
        *out = (ray_view){.data = view->data, .size = view->size, .pin = whole.pin};
    return r;
}

int rayi_object_keep(rayi_thread *thread, rayi_record *object, int64_t lost_ns)
{
    int r;

    if (atomic_load_explicit(&object->state, memory_order_acquire) & RAYI_TEXT_PINNED)
        return 0;
    r = rayi_object_pin(thread, object, lost_ns);
    if (r == 0 && (atomic_fetch_or_explicit(&object->state, RAYI_TEXT_PINNED, memory_order_acq_rel) & RAYI_TEXT_PINNED))
        rayi_object_unpin(thread, object); /* another thread was faster */
    return r;
}

void rayi_object_unkeep(rayi_thread *thread, rayi_record *object)
{
    if (atomic_load_explicit(&object->state, memory_order_acquire) & RAYI_TEXT_PINNED)
        rayi_object_unpin(thread, object);
}

/* ---- the arguments of a task ---- */

/* The object that has the bytes of an argument and must be pinned; NULL: none. */
static rayi_record *argument(const rayi_task *task, size_t index)
{
    rayi_record *record = rayi_task_awaited(task, index), *object;

    if (!record || !rayi_value_has_bytes(record->kind))
        return NULL;
    object = rayi_record_bytes(record);
    return rayi_object_is_far(object) ? object : NULL;
}

/* What is to be pinned: the arguments of a task, or a list. */
typedef struct targets {
    const rayi_task *task;
    rayi_record *const *list;
    size_t count;
    bool finds;
} targets;

static bool finds_arguments(const rayi_task *task)
{
    return task->head.type == RAYI_CALL ||
           (!(task->head.flags & RAYI_ESCAPED) &&
            !(atomic_load_explicit(&task->head.state, memory_order_relaxed) & RAYI_HOSTED));
}

static targets arguments_of(const rayi_task *task)
{
    return (targets){.task = task, .count = task->num_args, .finds = finds_arguments(task)};
}

static rayi_record *target(const targets *what, size_t index)
{
    return what->list ? what->list[index] : argument(what->task, index);
}

static void unpin_first(rayi_thread *thread, const targets *what, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        rayi_record *object = target(what, i);
        if (object)
            rayi_object_unpin(thread, object);
    }
}

static bool try_pin_all(rayi_thread *thread, const targets *what)
{
    for (size_t i = 0; i < what->count; i++) {
        rayi_record *object = target(what, i);
        if (object && !rayi_block_try_pin(rayi_object_block(object))) {
            unpin_first(thread, what, i);
            return false;
        }
    }
    return true;
}

/* One after the other, waiting for each; the thread counts as blocked. */
static int pin_all(rayi_thread *thread, const targets *what, int64_t deadline_ns)
{
    for (size_t i = 0; i < what->count; i++) {
        rayi_record *object = target(what, i);
        int r = object ? rayi_block_pin_until(rayi_object_block(object), deadline_ns) : 0;
        if (r < 0) {
            unpin_first(thread, what, i);
            return r;
        }
    }
    return 0;
}

static bool came_before(const targets *what, size_t index, const rayi_record *object)
{
    for (size_t i = 0; i < index; i++)
        if (target(what, i) == object)
            return true;
    return false;
}

/* Waiting would be in vain if they don't fit into the store all at once. */
static int check_room(const rayi_executor *executor, const targets *what)
{
    rayi_store_usage usage;
    uint64_t bytes = 0;

    rayi_store_stats(executor->store, &usage);
    for (size_t i = 0; i < RAYI_MIN(what->count, COUNTED_ARGS); i++) {
        rayi_record *object = target(what, i);
        if (object && !came_before(what, i, object))
            bytes += object->size;
    }
    if (bytes <= usage.capacity_bytes)
        return 0;
    return rayi_fail(RAY_ERR_STORE_FULL,
                     "its arguments are larger together than the object store: %llu bytes, the store has %llu",
                     (unsigned long long)bytes, (unsigned long long)usage.capacity_bytes);
}

static bool take_turn(rayi_executor *executor, int64_t deadline_ns)
{
    const struct timespec deadline = {.tv_sec = deadline_ns / 1000000000, .tv_nsec = deadline_ns % 1000000000};
    bool taken;

    pthread_mutex_lock(&executor->pin_lock);
    while (executor->pin_taken && rayi_now_ns() < deadline_ns)
        (void)pthread_cond_timedwait(&executor->pin_free, &executor->pin_lock, &deadline);
    taken = !executor->pin_taken;
    if (taken)
        executor->pin_taken = true;
    pthread_mutex_unlock(&executor->pin_lock);
    return taken;
}

static void end_turn(rayi_executor *executor)
{
    pthread_mutex_lock(&executor->pin_lock);
    executor->pin_taken = false;
    pthread_cond_signal(&executor->pin_free);
    pthread_mutex_unlock(&executor->pin_lock);
}

/* Each of them into memory that is on another node. It may be gone again when all are to be pinned. */
static int fetch_each(rayi_thread *thread, const targets *what, int64_t deadline_ns)
{
    for (size_t i = 0; i < what->count; i++) {
        rayi_record *object = target(what, i);
        rayi_block *block = object ? rayi_object_block(object) : NULL;
        int r;

        if (!block || !rayi_block_is_far(block))
            continue;
        r = bring(thread, object, deadline_ns, what->finds ? INT64_MAX : 0);
        if (r < 0)
            return r;
        rayi_block_unpin(block);
    }
    return 0;
}

static int pin_all_in_turn(rayi_thread *thread, const targets *what, int64_t deadline_ns)
{
    rayi_executor *executor = rayi_executor_of(thread);
    int r;

    if (!take_turn(executor, deadline_ns))
        return rayi_fail(RAY_ERR_STORE_FULL, "other tasks waited so long for room for their arguments in the object "
                                             "store that this one's turn did not come");
    r = pin_all(thread, what, deadline_ns);
    end_turn(executor);
    return r;
}

static int wait_for_all(rayi_thread *thread, const targets *what)
{
    rayi_executor *executor = rayi_executor_of(thread);
    int64_t deadline_ns = rayi_deadline_ns(executor->timeout_ms);
    int r = check_room(executor, what);

    if (r == 0)
        r = rayi_lane_block(thread, NULL);
    if (r < 0)
        return r;
    r = fetch_each(thread, what, deadline_ns);
    if (r == 0 && !try_pin_all(thread, what))
        r = pin_all_in_turn(thread, what, deadline_ns);
    rayi_lane_unblock(thread);
    return r;
}

static int pin_far(rayi_thread *thread, const targets *what)
{
    for (size_t i = 0; i < what->count; i++) {
        rayi_record *object = target(what, i);
        int r = object ? rayi_object_pin(thread, object, INT64_MAX) : 0;
        if (r < 0) {
            unpin_first(thread, what, i);
            return r;
        }
    }
    return 0;
}

/* The way of almost all tasks. */
static bool no_refs(const rayi_task *task)
{
    return task->num_args <= 32 && task->refs_mask == 0;
}

int rayi_task_pin_arguments(rayi_thread *thread, const rayi_task *task)
{
    targets what;

    if (no_refs(task))
        return 0;
    what = arguments_of(task);
    if (rayi_executor_of(thread)->outside)
        return pin_far(thread, &what);
    return try_pin_all(thread, &what) ? 0 : wait_for_all(thread, &what);
}

void rayi_task_unpin_arguments(rayi_thread *thread, const rayi_task *task)
{
    targets what;

    if (no_refs(task))
        return;
    what = arguments_of(task);
    unpin_first(thread, &what, what.count);
}

/* ---- the same apart from the task, which may end meanwhile ---- */

/* The record is locked; out may be NULL. */
static size_t list_arguments(const rayi_task *task, rayi_record **out)
{
    size_t count = 0;

    for (size_t i = 0; task->args && i < task->num_args; i++) {
        rayi_record *object = argument(task, i);
        if (!object)
            continue;
        if (out) {
            out[count] = object;
            rayi_record_ref(object);
        }
        count++;
    }
    return count;
}

bool rayi_task_has_far_arguments(rayi_task *task)
{
    bool found;

    if (no_refs(task))
        return false;
    rayi_record_lock(&task->head);
    found = list_arguments(task, NULL) > 0;
    rayi_record_unlock(&task->head);
    return found;
}

int rayi_pins_of(rayi_task *task, rayi_pins *out)
{
    *out = (rayi_pins){0};
    if (no_refs(task))
        return 0;
    out->objects = rayi_alloc((size_t)task->num_args * sizeof *out->objects);
    if (!out->objects)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the arguments of %s", rayi_task_name(task));
    out->finds = finds_arguments(task);
    rayi_record_lock(&task->head);
    out->count = list_arguments(task, out->objects);
    rayi_record_unlock(&task->head);
    return 0;
}

int rayi_pins_take(rayi_thread *thread, rayi_pins *pins)
{
    targets what = {.list = pins->objects, .count = pins->count, .finds = pins->finds};
    int r = pins->count == 0 || try_pin_all(thread, &what) ? 0 : wait_for_all(thread, &what);

    pins->taken = r == 0;
    return r;
}

void rayi_pins_drop(rayi_thread *thread, rayi_pins *pins)
{
    targets what = {.list = pins->objects, .count = pins->count};

    if (pins->taken)
        unpin_first(thread, &what, what.count);
    for (size_t i = 0; i < pins->count; i++)
        rayi_record_unref(thread, pins->objects[i]);
    rayi_free(pins->objects);
    *pins = (rayi_pins){0};
}
