/* One job, from its message to its RESULT. */
#include "worker/inside.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static _Thread_local rayi_running *innermost;

rayi_running *rayi_running_of(const rayi_task *task)
{
    rayi_running *running = innermost;

    while (running && running->task != task)
        running = running->outer;
    return running;
}

uint32_t rayi_running_slot(const rayi_thread *thread)
{
    return thread->frame && innermost ? innermost->head->slot : UINT32_MAX;
}

void rayi_job_free(rayi_thread *thread, rayi_job *job)
{
    for (size_t i = 0; i < job->num_kept; i++)
        rayi_record_unref(thread, job->kept[i]);
    rayi_free(job->kept);
    rayi_free(job);
}

/* ---- functions ---- */

/* The same name, and the same types as there? */
static rayi_function *look_up(rayi_worker *worker, const rayi_callee *callee)
{
    rayi_function *function = rayi_function_find(worker->executor, callee->name);
    rayi_text text;
    bool same;

    if (!function && rayi_error_last_public()->code == RAY_ERR_NO_MEMORY)
        return NULL;
    if (!function) {
        (void)rayi_fail(RAY_ERR_UNKNOWN_FUNCTION,
                        "the worker process %lld has no function %s: register it before main calls ray_init, or "
                        "ray_load its library in every process",
                        (long long)getpid(), callee->name);
        return NULL;
    }
    if (!callee->description)
        return function;
    rayi_text_init(&text, rayi_heap);
    rayi_function_describe(function, &text);
    same = text.data && strcmp(text.data, callee->description) == 0;
    if (text.failed)
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the signature of %s", callee->name);
    else if (!same)
        (void)rayi_fail(RAY_ERR_SIGNATURE, "%s is %s in the node and %s in the worker process %lld", callee->name,
                        callee->description, text.data, (long long)getpid());
    rayi_text_fini(&text);
    return same ? function : NULL;
}

/* Asked again each time while it is not there: a library may bring it. */
static rayi_function *function_of(rayi_worker *worker, rayi_callee *callee)
{
    rayi_function *function = atomic_load_explicit(&callee->function, memory_order_acquire);

    if (function)
        return function;
    pthread_mutex_lock(&callee->lock);
    function = look_up(worker, callee);
    atomic_store_explicit(&callee->function, function, memory_order_release);
    pthread_mutex_unlock(&callee->lock);
    return function;
}

/* ---- results ---- */

static void send_error(rayi_worker *worker, const rayi_wire_result *head, const rayi_error *error)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_exchange_write_error(&writer, error);
    if (writer.failed) { /* the table's words fit into the writer */
        rayi_writer_fini(&writer);
        rayi_exchange_write_error(&writer, rayi_error_plain(RAY_ERR_NO_MEMORY));
    }
    (void)rayi_worker_send(worker, RAYI_UP_RESULT, head, sizeof *head, writer.data, writer.size);
    rayi_writer_fini(&writer);
}

static void send_result(rayi_worker *worker, rayi_thread *thread, const rayi_job *job, rayi_result *result)
{
    rayi_wire_result head = {.slot = job->head.slot,
                             .generation = job->head.generation,
                             .exits = result->exits,
                             .again = result->again,
                             .thread = job->thread,
                             .started_ns = job->started_ns,
                             .ended_ns = job->ended_ns};
    rayi_writer writer;
    rayi_error *error;

    if (result->error) {
        send_error(worker, &head, result->error);
        return;
    }
    rayi_writer_init(&writer);
    if (rayi_exchange_write(&worker->port, thread, &writer, result, false) < 0 ||
        rayi_worker_send(worker, RAYI_UP_RESULT, &head, sizeof head, writer.data, writer.size) < 0) {
        error = rayi_error_last();
        send_error(worker, &head, error ? error : rayi_error_plain(RAY_ERR_INTERNAL));
        rayi_error_unref(error);
    }
    rayi_writer_fini(&writer);
}

/* It could not be run; this thread's last error says why. */
static void send_last(rayi_worker *worker, const rayi_job *job)
{
    rayi_wire_result head = {.slot = job->head.slot, .generation = job->head.generation};
    ray_error about = *rayi_error_last_public();
    rayi_error *error;

    about.function = job->callee->name;
    about.node_id = rayi_executor_node_id(worker->executor);
    about.pid = getpid();
    error = about.code ? rayi_error_copy(&about) : rayi_error_plain(RAY_ERR_INTERNAL);
    send_error(worker, &head, error);
    rayi_error_unref(error);
}

/* ---- the actor ---- */

static int widen(rayi_worker *worker, const rayi_wire_task *head, rayi_reader *reader)
{
    uint32_t count = rayi_take_count(reader, sizeof(uint32_t)), *groups = NULL;
    int r;

    if (count > 0 && !(groups = rayi_alloc(count * sizeof *groups)))
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the groups of an actor");
    for (uint32_t i = 0; i < count; i++)
        groups[i] = rayi_take_u32(reader);
    r = reader->failed ? rayi_fail(RAY_ERR_CORRUPT, "the node's message makes no sense")
                       : rayi_serve_widen(worker, head->concurrency, groups, count);
    rayi_free(groups);
    return r;
}

/* The state of the actor, before its constructor runs. Calls come when the node has heard that it has run. */
static int make_resident(rayi_worker *worker, rayi_thread *thread, const rayi_wire_task *head,
                         const rayi_function *function, rayi_reader *reader)
{
    rayi_resident *resident = &worker->resident;
    size_t size = rayi_function_record(function)->state_size;

    if (resident->number)
        return rayi_fail(RAY_ERR_INTERNAL, "a worker process has an actor already");
    resident->state_block = rayi_zalloc(size + 64);
    resident->self =
        resident->state_block ? rayi_actor_stand_in(thread, head->actor, rayi_function_name(function), NULL) : NULL;
    if (!resident->self) {
        rayi_free(resident->state_block);
        resident->state_block = NULL;
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an actor of %zu bytes", size);
    }
    resident->state = (void *)(((uintptr_t)resident->state_block + 63) & ~(uintptr_t)63);
    resident->number = head->actor;
    resident->restarts = head->restarts;
    return widen(worker, head, reader);
}

/* ---- running ---- */

static void end(rayi_worker *worker, rayi_thread *thread, rayi_job *job, rayi_task *task, rayi_result *result)
{
    if (result->exits)
        atomic_store(&worker->leaves, true);
    send_result(worker, thread, job, result);
    rayi_result_drop(thread, result);
    rayi_task_undo(thread, task);
}

/* The result of a task that had returned before. */
static void end_later(rayi_thread *thread, rayi_task *task, uint64_t arg, rayi_result *result)
{
    rayi_worker *worker = rayi_worker_of(thread);
    rayi_job *job = (rayi_job *)(uintptr_t)arg;

    end(worker, thread, job, task, result);
    rayi_serve_ended(worker, job);
    rayi_job_free(thread, job);
}

/* Refs where a value is wanted, a result that is a ref itself say: their values follow the message. */
static int wait_for_arguments(rayi_thread *thread, rayi_task *task)
{
    rayi_record *record;
    int r = 0;

    while (r == 0 && (record = rayi_task_next_argument(task))) {
        r = rayi_lane_wait(thread, record, INT64_MAX, 0);
        rayi_record_unref(thread, record);
    }
    return r;
}

/* Since it was offered. */
static bool was_cancelled(rayi_worker *worker, const rayi_wire_task *head)
{
    return (head->work == RAYI_WORK_TASK || head->work == RAYI_WORK_CALL) &&
           (rayi_offer_look(worker->channel, head->slot) & RAYI_OFFER_CANCEL);
}

/* False: its result comes later. */
static bool run_task(rayi_worker *worker, rayi_thread *thread, rayi_job *job, rayi_running *running)
{
    rayi_resident *resident = &worker->resident;
    bool in_actor = job->head.work != RAYI_WORK_TASK;
    rayi_result result = {0};

    if (job->head.flags & RAYI_WORK_STREAM)
        running->task->head.flags |= RAYI_STREAMS;
    if (was_cancelled(worker, &job->head))
        atomic_fetch_or(&running->task->head.state, RAYI_CANCEL); /* it never starts */
    else if (job->head.flags & RAYI_WORK_TIMED)
        job->started_ns = rayi_now_ns();
    running->outer = innermost;
    innermost = running;
    rayi_run_function(thread, running->task, in_actor ? resident->self : NULL, in_actor ? resident->state : NULL, 0,
                      &result);
    innermost = running->outer;
    if (job->started_ns) {
        job->ended_ns = rayi_now_ns();
        job->thread = thread->index;
    }
    if (result.later && rayi_later_part(thread, result.later, end_later, (uintptr_t)job, &result))
        return false;
    end(worker, thread, job, running->task, &result);
    return true;
}

/* The arguments; then, of a constructor, its groups. NULL: last error. */
static rayi_task *make_task(rayi_worker *worker, rayi_thread *thread, rayi_job *job, rayi_reader *reader,
                            rayi_function *function)
{
    rayi_task *task;
    rayi_args args;

    if (!rayi_exchange_read_args(&worker->port, thread, reader, job->head.num_args, &args)) {
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the arguments of a task");
        return NULL;
    }
    task = rayi_task_new(thread, job->head.work == RAYI_WORK_TASK ? RAYI_TASK : RAYI_CALL, function, args.values,
                         args.count);
    rayi_args_drop(thread, &args);
    return task;
}

static bool run(rayi_worker *worker, rayi_thread *thread, rayi_job *job, rayi_reader *reader)
{
    rayi_running running = {.head = &job->head};
    rayi_function *function = function_of(worker, job->callee);

    if (job->head.flags & RAYI_WORK_CONTEXT) {
        running.resources = rayi_take_text(reader);
        running.gpus = rayi_take_text(reader);
        running.group_id = rayi_take_text(reader);
    }
    if (function && job->too_deep)
        (void)rayi_fail(RAY_ERR_LIMIT,
                        "%s: tasks wait for each other deeper than a stack holds, and there may be no more worker "
                        "processes (ray_config.max_workers) to run it in",
                        job->callee->name);
    else if (function && job->broken)
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the arguments of a task");
    if (!function || job->broken || job->too_deep) {
        send_last(worker, job);
        rayi_drop_values(worker, *reader, job->head.num_args);
        return true;
    }
    running.task = make_task(worker, thread, job, reader, function);
    if (running.task && wait_for_arguments(thread, running.task) == 0 &&
        (job->head.work != RAYI_WORK_CONSTRUCT || make_resident(worker, thread, &job->head, function, reader) == 0))
        return run_task(worker, thread, job, &running);
    send_last(worker, job);
    if (running.task)
        rayi_task_undo(thread, running.task);
    return true;
}

static void pass_over(rayi_worker *worker, const rayi_job *job, rayi_reader reader)
{
    if (job->head.flags & RAYI_WORK_CONTEXT)
        for (int i = 0; i < 3; i++)
            (void)rayi_take_text(&reader);
    rayi_drop_values(worker, reader, job->head.num_args);
}

bool rayi_job_run(rayi_worker *worker, rayi_thread *thread, rayi_job *job)
{
    rayi_reader reader = rayi_reader_of(job->data, job->size);
    bool over = atomic_load(&worker->leaves) && job->head.work == RAYI_WORK_CALL;

    if (over || !rayi_offer_take(worker->channel, job->head.slot, job->head.generation))
        pass_over(worker, job, reader);
    else if (!run(worker, thread, job, &reader))
        return false;
    rayi_serve_ended(worker, job);
    rayi_job_free(thread, job);
    return true;
}
