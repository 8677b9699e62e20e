/* What ran, as the record of events has it: events.h. Each run is told once, by who knows that it has ended, while the
 * task is certain to be there. */
#include "executor/inside.h"

#include <string.h>

static uint8_t kind_of(const rayi_task *task, const ray_actor *actor)
{
    return task->head.type == RAYI_TASK                  ? RAYI_EVENT_TASK
           : actor && rayi_actor_creation(actor) == task ? RAYI_EVENT_CREATION
                                                         : RAYI_EVENT_CALL;
}

static uint32_t attempt_of(rayi_thread *thread, rayi_task *task, const ray_actor *actor, const rayi_extra *extra)
{
    const char *gpus, *group;
    uint32_t attempt = 0;

    if (task->head.type == RAYI_CALL)
        return actor ? rayi_actor_restarts(actor) : 0;
    if (task->head.flags & RAYI_ESCAPED)
        (void)rayi_executor_of(thread)->hooks->escaped_resources(task, &gpus, &group, &attempt);
    return attempt + (extra ? extra->attempt : 0);
}

static uint8_t outcome_of(const rayi_task *task, int code)
{
    if ((code == 0 || code == RAY_ERR_TASK_FAILED) && rayi_task_was_asked_to_stop(task))
        return RAYI_EVENT_CANCELLED;
    return code == 0 ? RAYI_EVENT_OK : code == RAY_ERR_CANCELLED ? RAYI_EVENT_CANCELLED : RAYI_EVENT_FAILED;
}

/* An id is made for it only where the memory is there already: one of which nobody has asked anything has none. */
static void tell(rayi_thread *thread, rayi_task *task, const ray_actor *actor, rayi_event *e)
{
    const rayi_function *function = task->function;
    const rayi_extra *extra = rayi_extra_if(&task->head);

    e->name = function->name;
    e->kind = kind_of(task, actor);
    e->attempt = attempt_of(thread, task, actor, extra);
    e->actor = actor ? rayi_actor_number(actor) : 0;
    e->number = extra ? rayi_record_number(thread, &task->head) : 0;
    e->own_name[0] = 0;
    if (extra && extra->name) {
        size_t size = strnlen(extra->name, RAYI_EVENT_NAME_MAX);
        memcpy(e->own_name, extra->name, size);
        e->own_name[size] = 0;
    }
    rayi_events_put(rayi_executor_of(thread)->events, thread->index, e);
}

void rayi_ran_here(rayi_thread *thread, rayi_task *task, const ray_actor *actor, int64_t started_ns,
                   const rayi_result *result)
{
    rayi_event e;

    e.started_ns = started_ns;
    e.ended_ns = rayi_now_ns();
    e.pid = 0;
    e.thread = thread->index;
    e.outcome = result->later   ? RAYI_EVENT_LATER
                : result->error ? outcome_of(task, rayi_error_code(result->error))
                                : RAYI_EVENT_OK; /* what was cancelled has failed by now */
    tell(thread, task, actor, &e);
}

void rayi_ran_there(rayi_thread *thread, rayi_task *task, const ray_actor *actor, const rayi_run_span *span, int code)
{
    rayi_event e;

    if (!rayi_executor_of(thread)->events)
        return;
    e.started_ns = span->started_ns;
    e.ended_ns = span->ended_ns;
    e.pid = span->pid;
    e.thread = span->thread;
    e.outcome = outcome_of(task, code);
    tell(thread, task, actor, &e);
}

rayi_events *rayi_executor_events(const rayi_executor *executor)
{
    return executor->events;
}
