/* Frames: what a function that runs can say and ask of itself. A frame lies on the stack of the thread that runs it;
 * thread->frame is the innermost. */
#include "executor/inside.h"

void rayi_frame_enter(rayi_thread *thread, rayi_frame *frame, rayi_task *task, ray_actor *actor, uint32_t life)
{
    frame->outer = thread->frame;
    frame->task = task;
    frame->actor = actor;
    frame->life = life;
    frame->failure = NULL;
    frame->later = NULL;
    frame->yielded = 0;
    frame->again = RAYI_AGAIN_NO_WORD;
    frame->exits = frame->has_context = frame->in_disguise = false;
    frame->outer_caller = thread->caller;
    thread->caller = ++thread->callers;
    thread->frame = frame;
}

void rayi_frame_leave(rayi_thread *thread, rayi_frame *frame)
{
    thread->frame = frame->outer;
    thread->caller = frame->outer_caller;
}

void rayi_guise_begin(rayi_thread *thread, rayi_frame_guise *frame, rayi_task *task, uint64_t caller)
{
    *frame = (rayi_frame){.outer = thread->frame, .task = task, .outer_caller = thread->caller, .in_disguise = true};
    thread->caller = caller;
    thread->frame = frame;
}

void rayi_guise_end(rayi_thread *thread, rayi_frame_guise *frame)
{
    rayi_frame_leave(thread, frame);
}

/* What another process submits is known by the number that it has chosen, from before it can run: its own run, or who
 * looks at it, may want a number sooner than its submission is over. Without memory it has none. */
void rayi_guise_number(rayi_thread *thread, rayi_task *task)
{
    const rayi_frame *frame = thread->frame;

    if (frame && frame->in_disguise && frame->number)
        (void)rayi_record_set_number(thread, &task->head, frame->number);
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
    frame->again = RAYI_AGAIN_NO_WORD;
    return RAY_ERR_TASK_FAILED;
}

int rayi_frame_fail_again(rayi_thread *thread, bool again)
{
    rayi_frame *frame = thread->frame;

    if (!frame)
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_fail_again is for running tasks; nothing runs on this thread");
    if (!frame->failure)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_fail_again: the task has not failed: call ray_fail first");
    frame->again = again ? RAYI_AGAIN_YES : RAYI_AGAIN_NO;
    return 0;
}

bool rayi_frame_cancelled(const rayi_thread *thread)
{
    const rayi_frame *frame = thread->frame;

    if (!frame)
        return false;
    return rayi_lane_stopping(thread->lane) || (frame->task && rayi_task_cancelled(frame->task)) ||
           (frame->actor && rayi_actor_cancelled(frame->actor, frame->life)) ||
           (frame->task && rayi_executor_of(thread)->outside &&
            rayi_executor_of(thread)->outside->cancelled(thread, frame->task));
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
    if (executor->outside) {
        context->actor_id = frame->actor ? rayi_actor_id(frame->actor) : NULL;
        executor->outside->context(thread, frame->task, context);
        return context;
    }
    if (frame->task) {
        context->task_id = lasting_id(thread, &frame->task->head);
        if (frame->task->head.type == RAYI_TASK) {
            context->resources = "CPU=1";
            rayi_task_describe(thread, frame->task, NULL, context);
        }
    }
    if (frame->actor) {
        context->actor_id = rayi_actor_id(frame->actor);
        rayi_task_describe(thread, frame->task, frame->actor, context);
    }
    return context;
}
