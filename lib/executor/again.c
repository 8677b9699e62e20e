/* Tasks that have ended and whose arguments are kept (RAYI_KEPT), so that the same function can run once more with the
 * same arguments, in a task of its own. */
#include "executor/inside.h"

/* An argument as it is packed: what rayi_task_new would pack into the same. */
static ray_value packed(const rayi_task *task, size_t index)
{
    uint64_t *slot = (uint64_t *)task->args + index;
    const rayi_param *param = rayi_function_param(task->function, index);
    ray_value value = {.kind = param->kind, .size = param->size, .data = slot};

    if (rayi_task_awaited(task, index))
        return (ray_value){.kind = RAY_KIND_REF, .size = sizeof(void *), .data = slot};
    if (param->kind == RAY_KIND_BYTES || param->kind == RAY_KIND_STRUCT)
        value.data = (void *)(uintptr_t)*slot;
    else if (param->kind == RAY_KIND_VALUE)
        value = *(ray_value *)(uintptr_t)*slot;
    return value;
}

rayi_record *rayi_task_again(rayi_thread *thread, const rayi_task *task, const ray_task_options *options)
{
    const rayi_function *function = task->function;
    ray_value *values = task->num_args > 0 ? rayi_alloc(task->num_args * sizeof *values) : NULL;
    rayi_record *record;

    if (task->num_args > 0 && !values) {
        rayi_error_set_last(rayi_error_no_memory("the arguments of a task"));
        return rayi_object_failed_last(thread);
    }
    for (size_t i = 0; i < task->num_args; i++)
        values[i] = packed(task, i);
    record = rayi_task_submit(thread, (ray_function *)function->record, values, task->num_args, options);
    rayi_free(values);
    return record;
}

/* Of a stream, who reads on is told by its counts. */
static bool ref_may_stay(const rayi_record *ref)
{
    return !(ref->flags & (RAYI_STREAMS | RAYI_WATCHED)) && (!rayi_record_done(ref) || ref->kind != RAY_KIND_ACTOR);
}

static size_t held_bytes(rayi_record *ref)
{
    return rayi_record_done(ref) && rayi_value_has_bytes(ref->kind) ? rayi_record_bytes(ref)->size : 0;
}

bool rayi_task_can_stay(const rayi_task *task, uint64_t *size_bytes)
{
    *size_bytes = sizeof *task + task->num_args * sizeof(uint64_t);
    for (size_t i = 0; i < task->num_args; i++) {
        const ray_value value = packed(task, i);
        if (value.kind == RAY_KIND_ACTOR) /* it would live on for that */
            return false;
        if (value.kind == RAY_KIND_REF) {
            rayi_record *ref = *(rayi_record **)value.data;
            if (!ref_may_stay(ref))
                return false;
            *size_bytes += held_bytes(ref);
        } else if (rayi_value_has_bytes(value.kind)) {
            *size_bytes += rayi_value_bytes(&value).size;
        }
    }
    return true;
}
