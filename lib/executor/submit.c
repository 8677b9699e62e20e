/* Packing arguments into a task, and unpacking them for a run.
 *
 * The argument area holds a slot of 8 bytes for each argument; above 32 arguments a bit for each that came as a ref; a
 * dependency for each that is a ref not done yet; then what slots point at. A slot is a number, a pointer into the area
 * (const char *, ray_view *, the struct, ray_value *), a ref or an actor (counted). The area lies in the task's own
 * block if that is not too large, else on the heap. It is laid out twice by the same code: once to learn its size. */
#include "executor/inside.h"

#include <stdio.h>
#include <string.h>

#define MASK_BITS 32

typedef struct dependency {
    rayi_waiter waiter;
    rayi_task *task;
} dependency;

/* Where things are placed: base is NULL while only the size is wanted. */
typedef struct area {
    char *base;
    size_t size;
} area;

#define AREA_START offsetof(rayi_task, room)

static void *place(area *at, size_t size_bytes, size_t align)
{
    size_t start = (at->size + align - 1) & ~(align - 1);

    at->size = start + size_bytes;
    return at->base ? at->base + start : NULL;
}

/* ---- which arguments are refs ---- */

/* slots is task->args, or what it was. */
static uint32_t *mask_words(const rayi_task *task, const uint64_t *slots)
{
    return task->num_args <= MASK_BITS ? (uint32_t *)&task->refs_mask : (uint32_t *)(slots + task->num_args);
}

static bool came_as_ref(const rayi_task *task, const uint64_t *slots, size_t index)
{
    return mask_words(task, slots)[index / 32] >> index % 32 & 1;
}

static bool no_refs(const rayi_task *task)
{
    return task->num_args <= MASK_BITS && task->refs_mask == 0;
}

/* The ref that argument index waits for; NULL: none. */
static rayi_record *awaited(const rayi_task *task, size_t index)
{
    const uint64_t *slots = task->args;

    return came_as_ref(task, slots, index) ? (rayi_record *)(uintptr_t)slots[index] : NULL;
}

rayi_record *rayi_task_awaited(const rayi_task *task, size_t index)
{
    return awaited(task, index);
}

/* ---- packing ---- */

typedef struct packing {
    rayi_thread *thread;
    const rayi_function *function;
    char why[256];
    size_t bad; /* the argument that why is about */
} packing;

/* What a ray_value holds is the argument. */
static const ray_value *unwrap(const ray_value *arg)
{
    return arg->kind == RAY_KIND_VALUE && arg->data ? arg->data : arg;
}

/* An argument that goes in as bytes but is too large for the way becomes an object of its own. */
static bool too_large(const ray_value *arg, const rayi_param *param)
{
    return (param->kind == RAY_KIND_BYTES || param->kind == RAY_KIND_STRING || param->kind == RAY_KIND_VALUE) &&
           rayi_value_has_bytes(arg->kind) && rayi_value_bytes(arg).size > RAYI_INLINE_MAX;
}

static bool is_awaited(const ray_value *arg, const rayi_param *param)
{
    return arg->kind == RAY_KIND_REF && param->kind != RAY_KIND_REF;
}

/* Checks an argument against its parameter, but for the range of numbers; 0, or a code with words in p->why. */
static int check(packing *p, const ray_value *arg, const rayi_param *param)
{
    void *pointer = NULL;

    if (!arg->data) {
        snprintf(p->why, sizeof p->why, "expected %s, got a ray_value without data", param->name);
        return RAY_ERR_ARGUMENT;
    }
    if (arg->kind == RAY_KIND_REF || arg->kind == RAY_KIND_ACTOR || arg->kind == RAY_KIND_STRING) {
        memcpy(&pointer, arg->data, sizeof pointer);
        if (!pointer) {
            snprintf(p->why, sizeof p->why, "expected %s, got NULL", param->name);
            return RAY_ERR_ARGUMENT;
        }
    }
    if (arg->kind == RAY_KIND_BYTES && !((const ray_view *)arg->data)->data &&
        ((const ray_view *)arg->data)->size > 0) {
        snprintf(p->why, sizeof p->why, "expected bytes, got a view of %zu bytes at NULL",
                 ((const ray_view *)arg->data)->size);
        return RAY_ERR_ARGUMENT;
    }
    if (arg->kind == RAY_KIND_REF) {
        const rayi_record *ref = pointer;
        if (atomic_load(&((rayi_record *)pointer)->refs) == 0) {
#ifdef RAYI_DEBUG
            RAYI_ASSERT(!"a handle is not used after its release");
#endif
            snprintf(p->why, sizeof p->why, "expected %s, got a ref that was released", param->name);
            return RAY_ERR_ARGUMENT;
        }
        if (ref->type != RAYI_FIXED && rayi_pool_lane(ref) != p->thread->lane) {
            snprintf(p->why, sizeof p->why, "expected %s, got a ref of a runtime that was shut down", param->name);
            return RAY_ERR_SHUTDOWN;
        }
        return 0;
    }
    if (arg->kind == RAY_KIND_NONE || arg->kind >= RAY_KIND_BUFFER) {
        snprintf(p->why, sizeof p->why, "expected %s, got %s", param->name, rayi_kind_name(arg->kind));
        return RAY_ERR_TYPE;
    }
    if (param->kind == RAY_KIND_VALUE ||
        (param->kind == arg->kind && !rayi_is_number(arg->kind) && arg->kind != RAY_KIND_STRUCT) ||
        ((param->kind == RAY_KIND_BYTES || param->kind == RAY_KIND_STRING) && rayi_value_has_bytes(arg->kind) &&
         !(param->kind == RAY_KIND_STRING && arg->kind == RAY_KIND_STRUCT)))
        return 0;
    if (rayi_is_number(param->kind) || param->kind == RAY_KIND_STRUCT)
        return 0; /* rayi_value_convert will tell */
    snprintf(p->why, sizeof p->why, "expected %s, got %s", param->name, rayi_kind_name(arg->kind));
    return RAY_ERR_TYPE;
}

static ray_view *place_bytes(area *at, ray_view bytes)
{
    ray_view *view = place(at, sizeof *view, 8);
    char *copy = place(at, bytes.size + 1, 64);

    if (at->base) {
        if (bytes.size > 0)
            memcpy(copy, bytes.data, bytes.size);
        copy[bytes.size] = 0;
        *view = (ray_view){.data = copy, .size = bytes.size};
    }
    return view;
}

static ray_value *place_value(area *at, const ray_value *arg)
{
    ray_value *value = place(at, sizeof *value, 8);
    void *data;

    if (rayi_value_has_bytes(arg->kind)) {
        ray_view *view = place_bytes(at, rayi_value_bytes(arg));
        data = arg->kind == RAY_KIND_BYTES    ? (void *)view
               : arg->kind == RAY_KIND_STRING ? (view ? (void *)&view->data : NULL)
                                              : (view ? (void *)view->data : NULL);
    } else {
        data = place(at, 8, 8);
        if (at->base && arg->size > 0)
            memcpy(data, arg->data, RAYI_MIN(arg->size, 8));
    }
    if (at->base) {
        *value = (ray_value){.kind = arg->kind, .size = arg->size, .data = data};
        if (arg->kind == RAY_KIND_ACTOR)
            rayi_actor_retain(*(ray_actor **)data);
    }
    return value;
}

/* Puts one argument into its slot and behind. While sizes are measured slot is NULL. */
static int pack_one(packing *p, area *at, uint64_t *slot, const ray_value *arg, const rayi_param *param)
{
    void *placed = NULL;
    bool string = param->kind == RAY_KIND_STRING;

    if (arg->kind == RAY_KIND_REF || param->kind == RAY_KIND_ACTOR) {
        if (!slot)
            return 0;
        memcpy(slot, arg->data, sizeof(void *));
        if (arg->kind == RAY_KIND_REF)
            rayi_record_ref(*(rayi_record *const *)arg->data);
        else
            rayi_actor_retain(*(ray_actor *const *)arg->data);
        return 0;
    }
    if (rayi_is_number(param->kind)) {
        uint64_t measured = 0;
        ray_value to = {.kind = param->kind, .size = param->size, .data = slot ? slot : &measured};
        return rayi_value_convert(arg, &to, p->why, sizeof p->why);
    }
    if (param->kind == RAY_KIND_STRUCT) {
        ray_value to = {.kind = param->kind, .size = param->size, .data = placed = place(at, param->size, 64)};
        if (slot) {
            *slot = (uintptr_t)placed;
            return rayi_value_convert(arg, &to, p->why, sizeof p->why);
        }
        return 0;
    }
    if (param->kind == RAY_KIND_VALUE)
        placed = place_value(at, arg);
    else
        placed = place_bytes(at, rayi_value_bytes(arg));
    if (slot)
        *slot = (uintptr_t)(string ? ((ray_view *)placed)->data : placed);
    return 0;
}

/* Slots, mask and dependencies, in this order, before what slots point at. */
static void layout_fixed(area *at, size_t num_args, size_t num_awaited)
{
    at->size = AREA_START;
    place(at, num_args * sizeof(uint64_t), 8);
    if (num_args > MASK_BITS)
        place(at, (num_args + 31) / 32 * sizeof(uint32_t), 8);
    place(at, num_awaited * sizeof(dependency), 8);
}

static dependency *dependencies(const rayi_task *task)
{
    size_t mask = task->num_args > MASK_BITS ? ((size_t)task->num_args + 31) / 32 * sizeof(uint32_t) : 0;

    return (dependency *)((char *)task->args + task->num_args * sizeof(uint64_t) + ((mask + 7) & ~(size_t)7));
}

static int measure(packing *p, area *at, const ray_value *args, size_t num_args)
{
    size_t num_awaited = 0;
    int r = 0;

    for (size_t i = 0; i < num_args && r == 0; i++) {
        p->bad = i;
        r = check(p, unwrap(&args[i]), rayi_function_param(p->function, i));
        num_awaited += is_awaited(unwrap(&args[i]), rayi_function_param(p->function, i));
    }
    layout_fixed(at, num_args, num_awaited);
    for (size_t i = 0; i < num_args && r == 0; i++) {
        p->bad = i;
        r = pack_one(p, at, NULL, unwrap(&args[i]), rayi_function_param(p->function, i));
    }
    return r;
}

static rayi_task *task_alloc(rayi_thread *thread, enum rayi_type type, size_t size_bytes)
{
    bool within = size_bytes <= RAYI_POOL_MAX;
    rayi_task *task =
        (rayi_task *)rayi_pool_alloc(thread, type, within ? RAYI_MAX(size_bytes, sizeof *task) : sizeof *task);
    void *block;

    if (task && within) {
        task->args = task->room;
        return task;
    }
    block = task ? rayi_alloc(size_bytes + 64) : NULL;
    if (!block) {
        if (task)
            rayi_pool_free(thread, &task->head);
        rayi_error_set_last(rayi_error_no_memory("a task"));
        return NULL;
    }
    task->room[0] = (uintptr_t)block;
    task->args = (char *)(((uintptr_t)block + 63) & ~(uintptr_t)63) + AREA_START;
    return task;
}

static void pack(packing *p, rayi_task *task, const ray_value *args)
{
    area at = {.base = (char *)task->args - AREA_START};
    uint64_t *slots = task->args;
    size_t num_awaited = 0;
    uint32_t *mask = mask_words(task, slots);

    for (size_t i = 0; i < task->num_args; i++)
        num_awaited += is_awaited(unwrap(&args[i]), rayi_function_param(p->function, i));
    layout_fixed(&at, task->num_args, num_awaited);
    for (size_t i = 0; i < task->num_args; i += 32)
        mask[i / 32] = 0;
    for (size_t i = 0; i < task->num_args; i++) {
        const rayi_param *param = rayi_function_param(p->function, i);
        int r = pack_one(p, &at, &slots[i], unwrap(&args[i]), param);
        RAYI_ASSERT(r == 0 || param->kind == RAY_KIND_STRUCT); /* measure has seen all else */
        if (is_awaited(unwrap(&args[i]), param))
            mask[i / 32] |= 1u << i % 32;
    }
}

static int refuse(packing *p, int r)
{
    return rayi_fail(r, "%s: argument %zu: %s", p->function->name, p->bad + 1, p->why);
}

static int check_number(const rayi_function *function, size_t num_args)
{
    size_t least = function->num_params - (function->variadic ? 1 : 0);

    if (num_args > RAYI_ARGS_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "%s: at most 65,535 arguments, got %zu", function->name, num_args);
    if (num_args < least || (num_args > least && !function->variadic))
        return rayi_fail(RAY_ERR_TYPE, "%s: expected %s%zu argument%s, got %zu", function->name,
                         function->variadic ? "at least " : "", least, least == 1 ? "" : "s", num_args);
    return 0;
}

static void task_init(rayi_thread *thread, rayi_task *task, rayi_function *function, size_t num_args)
{
    rayi_frame *frame = thread->frame;

    task->function = function;
    task->num_args = (uint32_t)num_args;
    task->refs_mask = 0;
    task->mailbox = NULL;
    atomic_store_explicit(&task->pending, 1, memory_order_relaxed);
    atomic_store_explicit(&task->head.refs, 2, memory_order_relaxed);
    atomic_store_explicit(&task->parent, frame ? frame->task : NULL, memory_order_relaxed);
    if (frame && frame->task)
        atomic_store_explicit(&task->parent_gen, atomic_load_explicit(&frame->task->head.gen, memory_order_relaxed),
                              memory_order_relaxed);
}

/* The way of small numbers: no layout, no second pass. NULL: take the other way. */
static rayi_task *task_of_numbers(rayi_thread *thread, enum rayi_type type, rayi_function *function,
                                  const ray_value *args)
{
    rayi_task *task;

    for (uint32_t i = 0; i < function->num_params; i++)
        if (args[i].kind != function->params[i].kind || !args[i].data)
            return NULL;
    task = (rayi_task *)rayi_pool_alloc(thread, type, sizeof *task);
    if (!task)
        return NULL;
    task_init(thread, task, function, function->num_params);
    task->args = task->room;
    for (uint32_t i = 0; i < function->num_params; i++) {
        if (function->params[i].size == 8)
            memcpy(&task->room[i], args[i].data, 8);
        else
            memcpy(&task->room[i], args[i].data, function->params[i].size);
    }
    return task;
}

/* Copies of the arguments in which the large ones are objects; *made is how many refs there are to drop. */
static ray_value *put_large(packing *p, const ray_value *args, size_t num_args, rayi_record ***made)
{
    ray_value *copies = rayi_alloc(num_args * (sizeof *copies + sizeof **made));

    if (!copies) {
        rayi_error_set_last(rayi_error_no_memory("a task's arguments"));
        return NULL;
    }
    *made = (rayi_record **)(copies + num_args);
    for (size_t i = 0; i < num_args; i++) {
        const ray_value *arg = unwrap(&args[i]);
        copies[i] = *arg;
        (*made)[i] = NULL;
        if (arg->data && too_large(arg, rayi_function_param(p->function, i))) {
            ray_view bytes = rayi_value_bytes(arg);
            (*made)[i] = rayi_object_put(p->thread, bytes.data, bytes.size);
            copies[i] = (ray_value){.kind = RAY_KIND_REF, .size = sizeof(void *), .data = &(*made)[i]};
        }
    }
    return copies;
}

static rayi_task *task_of_values(packing *p, enum rayi_type type, rayi_function *function, const ray_value *args,
                                 size_t num_args)
{
    area at = {0};
    rayi_task *task;
    int r = measure(p, &at, args, num_args);

    if (r < 0) {
        refuse(p, r);
        return NULL;
    }
    task = task_alloc(p->thread, type, at.size);
    if (!task)
        return NULL;
    task_init(p->thread, task, function, num_args);
    pack(p, task, args);
    return task;
}

static bool any_large(const rayi_function *function, const ray_value *args, size_t num_args)
{
    for (size_t i = 0; i < num_args; i++) {
        const ray_value *arg = unwrap(&args[i]);
        const void *pointer = NULL;
        if (arg->data && arg->kind == RAY_KIND_STRING)
            memcpy(&pointer, arg->data, sizeof pointer);
        if (arg->data && (arg->kind != RAY_KIND_STRING || pointer) && too_large(arg, rayi_function_param(function, i)))
            return true;
    }
    return false;
}

rayi_task *rayi_task_new(rayi_thread *thread, enum rayi_type type, rayi_function *function, const ray_value *args,
                         size_t num_args)
{
    packing p = {.thread = thread, .function = function};
    rayi_record **made = NULL;
    ray_value *copies;
    rayi_task *task;

    if (function->broken) {
        rayi_error_set_last(rayi_error_ref(function->broken));
        return NULL;
    }
    if (check_number(function, num_args) < 0)
        return NULL;
    if (num_args > 0 && !args) {
        (void)rayi_fail(RAY_ERR_ARGUMENT, "%s: %zu arguments at NULL", function->name, num_args);
        return NULL;
    }
    if (function->simple && (task = task_of_numbers(thread, type, function, args)))
        return task;
    if (!any_large(function, args, num_args))
        return task_of_values(&p, type, function, args, num_args);
    copies = put_large(&p, args, num_args, &made);
    if (!copies)
        return NULL;
    task = task_of_values(&p, type, function, copies, num_args);
    for (size_t i = 0; i < num_args; i++)
        if (made[i])
            rayi_record_unref(thread, made[i]);
    rayi_free(copies);
    return task;
}

/* ---- arguments that are not done yet ---- */

static void fire_dependency(rayi_thread *thread, rayi_waiter *waiter)
{
    rayi_task *task = rayi_container_of(waiter, dependency, waiter)->task;

    rayi_task_ready(thread, task);
    rayi_record_unref(thread, &task->head); /* which kept the dependency's memory */
}

void rayi_task_watch_arguments(rayi_thread *thread, rayi_task *task)
{
    dependency *next = dependencies(task);

    if (no_refs(task))
        return;
    for (size_t i = 0; i < task->num_args; i++) {
        rayi_record *record = awaited(task, i);
        if (!record || rayi_record_done(record))
            continue;
        *next = (dependency){.waiter.fire = fire_dependency, .task = task};
        atomic_fetch_add_explicit(&task->pending, 1, memory_order_relaxed);
        rayi_record_ref(&task->head);
        if (!rayi_record_watch(record, &next->waiter)) {
            atomic_fetch_sub_explicit(&task->pending, 1, memory_order_relaxed);
            rayi_record_unref(thread, &task->head);
        }
        next++;
    }
}

/* The caller holds a count on the task but does not know whether its arguments are still there. */
rayi_record *rayi_task_next_argument(rayi_task *task)
{
    rayi_record *found = NULL;

    if (no_refs(task))
        return NULL;
    rayi_record_lock(&task->head);
    for (size_t i = 0; task->args && i < task->num_args && !found; i++) {
        rayi_record *record = awaited(task, i);
        if (record && !rayi_record_done(record)) {
            rayi_record_ref(record);
            found = record;
        }
    }
    rayi_record_unlock(&task->head);
    return found;
}

rayi_error *rayi_task_failed_argument(const rayi_task *task)
{
    if (no_refs(task))
        return NULL;
    for (size_t i = 0; i < task->num_args; i++) {
        rayi_record *record = awaited(task, i);
        rayi_error *error = record ? rayi_record_error(record) : NULL;
        if (error)
            return rayi_error_ref(error);
    }
    return NULL;
}

static void drop_one(rayi_thread *thread, unsigned kind, bool is_ref, uint64_t slot)
{
    ray_value *value;

    if (is_ref || kind == RAY_KIND_REF) {
        rayi_record_unref(thread, (rayi_record *)(uintptr_t)slot);
    } else if (kind == RAY_KIND_ACTOR) {
        rayi_actor_release(thread, (ray_actor *)(uintptr_t)slot);
    } else if (kind == RAY_KIND_VALUE) {
        value = (ray_value *)(uintptr_t)slot;
        if (value->kind == RAY_KIND_ACTOR)
            rayi_actor_release(thread, *(ray_actor **)value->data);
    }
}

void rayi_task_drop_arguments(rayi_thread *thread, rayi_task *task)
{
    uint64_t *slots = task->args;
    const rayi_function *function = task->function;

    if (!slots)
        return;
    if (no_refs(task)) {
        task->args = NULL;
        if (function->simple)
            return;
    } else { /* a thread that wants to help may be looking at them */
        rayi_record_lock(&task->head);
        task->args = NULL;
        rayi_record_unlock(&task->head);
    }
    for (size_t i = 0; i < task->num_args; i++)
        drop_one(thread, rayi_function_param(function, i)->kind, came_as_ref(task, slots, i), slots[i]);
    if (slots != task->room)
        rayi_free((void *)(uintptr_t)task->room[0]);
}

void rayi_task_undo(rayi_thread *thread, rayi_task *task)
{
    rayi_task_drop_arguments(thread, task);
    rayi_record_unref(thread, &task->head);
    rayi_record_unref(thread, &task->head);
}

/* ---- unpacking ---- */

/* What a ref's object gives for a parameter of another type. */
static int resolve(rayi_record *record, const rayi_param *param, ray_value *value, rayi_scratch *scratch, char *why,
                   size_t why_size)
{
    ray_view room = {0};
    ray_value from = rayi_record_value(record, &room);

    *value = (ray_value){.kind = param->kind, .size = param->size, .data = scratch};
    if (param->kind == RAY_KIND_VALUE) {
        scratch->any.view = room;
        scratch->any.value = rayi_record_value(record, &scratch->any.view);
        return 0;
    }
    if ((param->kind == RAY_KIND_BYTES && rayi_value_has_bytes(from.kind)) ||
        (param->kind == RAY_KIND_STRING && (from.kind == RAY_KIND_STRING || from.kind == RAY_KIND_BYTES))) {
        room.pin = param->kind == RAY_KIND_BYTES ? room.pin : NULL;
        scratch->view = room; /* a const char * is its first member */
        return 0;
    }
    if (param->kind == RAY_KIND_STRUCT && rayi_value_has_bytes(from.kind) && from.kind != RAY_KIND_STRING &&
        room.size == param->size) {
        value->data = (void *)room.data; /* read only, aligned to 64 */
        return 0;
    }
    if (param->kind == RAY_KIND_ACTOR && from.kind == RAY_KIND_ACTOR) {
        value->data = &record->content;
        return 0;
    }
    if (rayi_is_number(param->kind) || param->kind == RAY_KIND_STRUCT)
        return rayi_value_convert(&from, value, why, why_size);
    snprintf(why, why_size, "expected %s, got a ref to %s", param->name, rayi_kind_name(from.kind));
    return RAY_ERR_TYPE;
}

int rayi_task_load(rayi_task *task, ray_value *values, rayi_scratch *scratch, char *why, size_t why_size)
{
    uint64_t *slots = task->args;
    int r = 0;

    for (size_t i = 0; i < task->num_args && r == 0; i++) {
        const rayi_param *param = rayi_function_param(task->function, i);
        if (came_as_ref(task, slots, i)) {
            size_t used;
            r = resolve(awaited(task, i), param, &values[i], &scratch[i], why, why_size);
            if (r < 0) {
                used = strlen(why);
                snprintf(why + used, why_size - used, " (argument %zu)", i + 1);
            }
            continue;
        }
        values[i] = (ray_value){.kind = param->kind, .size = param->size, .data = &slots[i]};
        if (param->kind == RAY_KIND_BYTES || param->kind == RAY_KIND_STRUCT)
            values[i].data = (void *)(uintptr_t)slots[i];
        else if (param->kind == RAY_KIND_VALUE)
            values[i].data = (void *)(uintptr_t)slots[i];
    }
    return r;
}
