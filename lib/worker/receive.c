/* What the node says. Everything here happens under rx, in the order in which it was sent. */
#include "worker/inside.h"

#include <string.h>

static void rubbish(rayi_worker *worker, const char *what)
{
    char why[128] = "the node has sent rubbish: ";

    strncat(why, what, sizeof why - strlen(why) - 1);
    rayi_worker_die(worker, why);
}

/* ---- functions and libraries ---- */

static void function(rayi_worker *worker, rayi_reader *reader)
{
    uint32_t number = rayi_take_u32(reader);
    const char *name = rayi_take_text(reader), *description = rayi_take_text(reader);
    size_t size = name ? strlen(name) + 1 : 0;
    rayi_callee *made, **more;

    if (reader->failed || !name || number != worker->num_callees)
        rubbish(worker, "FUNCTION");
    made = rayi_zalloc(sizeof *made + size + (description ? strlen(description) + 1 : 0));
    more = rayi_memory_realloc(rayi_heap, worker->callees, (worker->num_callees + 1) * sizeof *more);
    if (more)
        worker->callees = more;
    if (!made || !more)
        rayi_worker_die(worker, "out of memory: the table of functions");
    pthread_mutex_init(&made->lock, NULL);
    memcpy(made->name, name, size);
    if (description)
        made->description = strcpy(made->name + size, description);
    worker->callees[worker->num_callees++] = made;
}

/* Constructors of the library run here: they register functions, and may not wait for anything. */
static void load(rayi_worker *worker, rayi_reader *reader)
{
    const char *path = rayi_take_text(reader);

    if (!path)
        rubbish(worker, "LOAD");
    if (rayi_function_load(worker->executor, path, RAYI_LOAD_TOLD) < 0)
        rayi_log(RAY_LOG_WARNING, "worker.load", rayi_executor_node_id(worker->executor), "%s",
                 rayi_error_last_public()->message);
}

/* ---- tasks ---- */

typedef struct keeping {
    rayi_worker *worker;
    rayi_thread *thread;
    rayi_job *job;
} keeping;

/* A ref that a task brings is completed by a later message: it must be there by then, whenever the task runs. */
static void keep(void *arg, enum rayi_naming what, uint64_t number)
{
    keeping *k = arg;
    rayi_job *job = k->job;
    rayi_record **more, *record;

    if (what != RAYI_NAMES_RECORD || job->broken)
        return;
    more = job->kept;
    if ((job->num_kept & (job->num_kept + 1)) == 0) /* 0, 1, 3, 7, … are full */
        more = rayi_memory_realloc(rayi_heap, job->kept, (2 * job->num_kept + 1) * sizeof *more);
    if (more)
        job->kept = more;
    record = more ? rayi_name_find(k->worker, k->thread, number, false) : NULL;
    if (record)
        job->kept[job->num_kept++] = record;
    else
        job->broken = true;
}

static void skip_context(rayi_reader *reader)
{
    for (int i = 0; i < 3; i++)
        (void)rayi_take_text(reader);
}

/* Without memory the task fails, and what it brings is given back. */
static void refuse(rayi_worker *worker, const rayi_wire_task *head, rayi_reader reader)
{
    rayi_wire_result result = {.slot = head->slot, .generation = head->generation};
    rayi_writer writer;

    if (!rayi_offer_take(worker->channel, head->slot, head->generation))
        goto drop;
    rayi_writer_init(&writer);
    rayi_exchange_write_error(&writer, rayi_error_plain(RAY_ERR_NO_MEMORY));
    (void)rayi_worker_send(worker, RAYI_UP_RESULT, &result, sizeof result, writer.data, writer.size);
    rayi_writer_fini(&writer);
drop:
    if (head->flags & RAYI_WORK_CONTEXT)
        skip_context(&reader);
    rayi_drop_values(worker, reader, head->num_args);
}

static void task(rayi_worker *worker, rayi_thread *thread, rayi_reader *reader)
{
    const void *bytes = rayi_take_bytes(reader, sizeof(rayi_wire_task));
    rayi_wire_task head;
    rayi_reader rest;
    rayi_job *job;
    keeping k;

    if (!bytes)
        rubbish(worker, "TASK");
    memcpy(&head, bytes, sizeof head);
    if (head.slot >= RAYI_OFFERS || head.function >= worker->num_callees || head.work > RAYI_WORK_FINI)
        rubbish(worker, "TASK");
    job = rayi_alloc(sizeof *job + rayi_reader_left(reader));
    if (!job) {
        refuse(worker, &head, *reader);
        return;
    }
    *job = (rayi_job){.callee = worker->callees[head.function], .head = head, .size = rayi_reader_left(reader)};
    if (job->size > 0)
        memcpy(job->data, reader->at, job->size);
    rest = *reader;
    if (head.flags & RAYI_WORK_CONTEXT)
        skip_context(&rest);
    k = (keeping){.worker = worker, .thread = thread, .job = job};
    for (uint32_t i = 0; i < head.num_args; i++)
        if (!rayi_walk_value(&rest, keep, &k))
            rubbish(worker, "the arguments of a TASK");
    rayi_serve_add(worker, job);
}

/* ---- what is done ---- */

static void complete(rayi_worker *worker, rayi_thread *thread, rayi_reader *reader)
{
    uint64_t number = rayi_take_u64(reader);
    rayi_record *record = rayi_name_known(worker, number);
    rayi_result result = {0};

    if (!record || rayi_record_done(record)) {
        rayi_drop_values(worker, *reader, 1);
    } else if (!rayi_exchange_read(&worker->port, thread, reader, &result)) {
        if (reader->failed)
            rubbish(worker, "COMPLETE");
        rayi_result_drop(thread, &result);
        result.error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    }
    if (!record)
        return;
    if (rayi_record_done(record)) {
        rayi_record_unref(thread, record);
    } else if (record->type == RAYI_TASK || record->type == RAYI_CALL) {
        rayi_task_complete(thread, (rayi_task *)record, &result); /* with our count */
    } else {
        rayi_record_fill(thread, record, &result);
        rayi_record_unref(thread, record);
    }
}

void rayi_worker_take(rayi_worker *worker, rayi_thread *thread, const rayi_received *message)
{
    rayi_reader reader = rayi_reader_of(message->data, message->size);

    switch (message->type) {
    case RAYI_DOWN_FUNCTION:
        function(worker, &reader);
        return;
    case RAYI_DOWN_TASK:
        task(worker, thread, &reader);
        return;
    case RAYI_DOWN_COMPLETE:
        complete(worker, thread, &reader);
        return;
    case RAYI_DOWN_REPLY:
        rayi_ask_replied(worker, thread, &reader);
        return;
    case RAYI_DOWN_SEGMENT_GONE:
        rayi_far_segment_gone(worker, rayi_take_u64(&reader));
        return;
    case RAYI_DOWN_LOAD:
        load(worker, &reader);
        return;
    case RAYI_DOWN_EXIT:
        rayi_serve_exit(worker);
        return;
    default:
        rubbish(worker, "a message of an unknown type");
    }
}
