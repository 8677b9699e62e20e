/* Results that come later: a function has asked for a handle, and whoever has that ends the task.
 *
 * Two sides let go of a task: the function, which returns, and the handle's holder, who completes it. The one that
 * comes second ends it. The function's side first hands over how to end it (`finish`), and by that goes on without it;
 * so a PARTED one is ended by the handle, or by the runtime that stops.
 *
 *   RUNS ──part──▶ PARTED ──complete──▶ (finish, freed)
 *     │               └──the runtime stops──▶ OVER ──complete──▶ (freed)
 *     ├──complete──▶ EARLY ──the function has returned──▶ (freed)
 *     └──the function failed, or was taken from its thread──▶ OVER
 *
 * All of this is under executor.laters_lock, an innermost lock; finish is called without it. The handle counts its
 * task, and with that its actor and the lane's memory, until it is given back, also after the runtime is over. */
#include "executor/actor.h"

#include <string.h>

enum later_state { RUNS, EARLY, PARTED, OVER };

struct ray_later {
    ray_later *next, *before; /* of those that are not OVER */
    enum later_state state;
    uint8_t again;
    rayi_task *task;  /* counted */
    ray_actor *actor; /* or NULL */
    uint32_t life;
    uint32_t slot;      /* in a worker process: by which outside knows it */
    rayi_result result; /* EARLY */
    rayi_finish finish; /* PARTED */
    uint64_t arg;
    bool exits;
};

/* ---- the list; laters_lock is held ---- */

static void enter(rayi_executor *executor, ray_later *later)
{
    later->next = executor->laters;
    if (later->next)
        later->next->before = later;
    executor->laters = later;
}

static void leave(rayi_executor *executor, ray_later *later, enum later_state state)
{
    if (later->before)
        later->before->next = later->next;
    else
        executor->laters = later->next;
    if (later->next)
        later->next->before = later->before;
    later->state = state;
}

/* ---- the function's side ---- */

static int refuse(const rayi_frame *frame, uint32_t slot)
{
    const rayi_function *function = frame && frame->task ? frame->task->function : NULL;

    if (!function || slot == UINT32_MAX || (frame->actor && frame->task == frame->actor->creation))
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_complete_later is for running tasks and methods");
    if (function->record->flags & RAY_FUNCTION_STREAM)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "%s: a stream ends when its function returns", function->name);
    if (frame->later)
        return rayi_fail(RAY_ERR_EXISTS, "%s has called ray_complete_later before", function->name);
    return 0;
}

ray_later *rayi_later_new(rayi_thread *thread)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_frame *frame = thread->frame;
    uint32_t slot = executor->outside && frame && frame->task ? executor->outside->slot(frame->task) : 0;
    ray_later *later;

    if (refuse(frame, slot) < 0)
        return NULL;
    later = rayi_zalloc(sizeof *later);
    if (!later) {
        rayi_error_set_last(rayi_error_no_memory("a result that comes later"));
        return NULL;
    }
    later->state = RUNS;
    later->task = frame->task;
    later->actor = frame->actor;
    later->life = frame->life;
    later->slot = slot;
    rayi_record_ref(&later->task->head);
    pthread_mutex_lock(&executor->laters_lock);
    enter(executor, later);
    pthread_mutex_unlock(&executor->laters_lock);
    frame->later = later;
    return later;
}

static void later_free(rayi_thread *thread, ray_later *later)
{
    rayi_record_unref(thread, &later->task->head);
    rayi_free(later);
}

/* laters_lock is held: what came early is the result. What the function said of its actor's exit stays. */
static void take_early(ray_later *later, rayi_result *result)
{
    bool exits = result->exits;

    *result = later->result;
    result->exits = exits;
}

/* The function has returned. True: its task is to be parted from. */
bool rayi_later_returned(rayi_thread *thread, ray_later *later, rayi_result *result)
{
    rayi_executor *executor = rayi_executor_of(thread);
    bool early, failed = result->error != NULL;

    pthread_mutex_lock(&executor->laters_lock);
    early = later->state == EARLY;
    if (early && !failed)
        take_early(later, result);
    else if (!early && failed)
        leave(executor, later, OVER);
    pthread_mutex_unlock(&executor->laters_lock);
    if (early && failed)
        rayi_result_drop(thread, &later->result);
    if (early)
        later_free(thread, later);
    return !early && !failed;
}

bool rayi_later_part(rayi_thread *thread, ray_later *later, rayi_finish finish, uint64_t arg, rayi_result *result)
{
    rayi_executor *executor = rayi_executor_of(thread);
    bool early;

    result->later = NULL;
    pthread_mutex_lock(&executor->laters_lock);
    early = later->state == EARLY;
    if (early) {
        take_early(later, result);
    } else if (rayi_lane_stopping(thread->lane)) { /* who stops it may have looked for it already */
        leave(executor, later, OVER);
        result->error = rayi_error_shutdown();
    } else {
        later->finish = finish;
        later->arg = arg;
        later->exits = result->exits;
        later->state = PARTED;
    }
    pthread_mutex_unlock(&executor->laters_lock);
    if (early)
        later_free(thread, later);
    return !early && !result->error;
}

void rayi_later_lose(rayi_thread *thread, ray_later *later)
{
    rayi_executor *executor = rayi_executor_of(thread);
    bool early;

    pthread_mutex_lock(&executor->laters_lock);
    early = later->state == EARLY;
    if (!early)
        leave(executor, later, OVER);
    pthread_mutex_unlock(&executor->laters_lock);
    if (early) {
        rayi_result_drop(thread, &later->result);
        later_free(thread, later);
    }
}

/* ---- the handle's side ---- */

rayi_lane *rayi_later_lane(const ray_later *later)
{
    return rayi_pool_lane(&later->task->head);
}

/* Takes the handle and what the result counts. */
static void complete(rayi_thread *thread, ray_later *later, rayi_result *result)
{
    rayi_executor *executor = rayi_executor_of(thread);
    enum later_state state;

    pthread_mutex_lock(&executor->laters_lock);
    state = later->state;
    if (state == RUNS) {
        later->result = *result;
        leave(executor, later, EARLY); /* the function's side has it now */
    } else if (state == PARTED) {
        leave(executor, later, OVER);
    }
    pthread_mutex_unlock(&executor->laters_lock);
    if (state == RUNS)
        return;
    if (state == PARTED) {
        result->exits = later->exits;
        later->finish(thread, later->task, later->arg, result);
    } else {
        rayi_result_drop(thread, result);
    }
    later_free(thread, later);
}

int rayi_later_complete(rayi_thread *thread, ray_later *later, const ray_value *value)
{
    const rayi_function *function = later->task->function;
    rayi_result result = {0};
    int r = 0;

    if (value->kind != RAY_KIND_NONE && !value->data)
        r = rayi_fail(RAY_ERR_ARGUMENT, "%s: ray_complete: expected a value with data", function->name);
    else if (value->kind != RAY_KIND_NONE || function->result.kind != RAY_KIND_NONE)
        r = rayi_result_give(thread, function, value, "ray_complete", &result);
    if (r < 0)
        result.error = rayi_error_last();
    if (r < 0 && !result.error)
        result.error = rayi_error_plain(r);
    complete(thread, later, &result);
    return r;
}

void rayi_later_fail(rayi_thread *thread, ray_later *later, rayi_error *error)
{
    rayi_result result = {.error = error, .again = later->again};

    complete(thread, later, &result);
}

void rayi_later_say_again(ray_later *later, bool again)
{
    later->again = again ? RAYI_AGAIN_YES : RAYI_AGAIN_NO;
}

const char *rayi_later_function(const ray_later *later)
{
    return ((const rayi_function *)later->task->function)->name;
}

bool rayi_later_cancelled(rayi_thread *thread, const ray_later *later)
{
    const rayi_outside *outside = rayi_executor_of(thread)->outside;

    return rayi_lane_stopping(thread->lane) || rayi_task_cancelled(later->task) ||
           (outside ? outside->slot_cancelled(thread, later->slot)
                    : later->actor && rayi_actor_cancelled(later->actor, later->life));
}

void rayi_later_free_late(ray_later *later)
{
    rayi_record_unref_late(&later->task->head);
    rayi_free(later);
}

/* ---- shutdown ---- */

/* Nobody says when those that have parted would end. What is asked for behind us finds the lane stopping. */
void rayi_laters_stop(rayi_thread *thread)
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_result result;
    ray_later *later, copy;

    for (;;) {
        pthread_mutex_lock(&executor->laters_lock);
        later = executor->laters;
        while (later && later->state != PARTED)
            later = later->next;
        if (later) {
            leave(executor, later, OVER); /* its holder may free it as soon as the lock is dropped */
            copy = *later;
            rayi_record_ref(&copy.task->head);
        }
        pthread_mutex_unlock(&executor->laters_lock);
        if (!later)
            return;
        result = (rayi_result){.error = rayi_error_shutdown(), .exits = copy.exits};
        copy.finish(thread, copy.task, copy.arg, &result);
        rayi_record_unref(thread, &copy.task->head);
    }
}
