/* What the executor calls here where it would act in a node. */
#include "worker/inside.h"

#include <sched.h>
#include <string.h>

#define SPIN_NS  50000
#define YIELD_NS 20000000 /* a look now and then, whatever the bells say */

/* ---- tasks, calls, actors ---- */

/* Arguments that became objects of their own: alive until the message is sent. */
static _Thread_local struct {
    rayi_record **records;
    size_t count;
} outlined;

bool rayi_submit_keep(rayi_port *port, rayi_thread *thread, rayi_record *record)
{
    rayi_record **more;

    (void)port;
    if ((outlined.count & (outlined.count + 1)) == 0) { /* 0, 1, 3, 7, … are full */
        more = rayi_memory_realloc(rayi_heap, outlined.records, (2 * outlined.count + 1) * sizeof *more);
        if (!more) {
            rayi_record_unref(thread, record);
            return false;
        }
        outlined.records = more;
    }
    outlined.records[outlined.count++] = record;
    return true;
}

static void drop_outlined(rayi_thread *thread)
{
    for (size_t i = 0; i < outlined.count; i++)
        rayi_record_unref(thread, outlined.records[i]);
    rayi_free(outlined.records);
    outlined.records = NULL;
    outlined.count = 0;
}

static int write_submit(rayi_worker *worker, rayi_thread *thread, rayi_writer *writer, const rayi_task *task,
                        uint64_t number, uint64_t actor)
{
    rayi_wire_submit head = {
        .number = number, .actor = actor, .parent = rayi_running_slot(thread), .num_args = task->num_args};
    uint64_t function = number ? rayi_name_function(worker, task->function) : 0;

    if (!function)
        return RAY_ERR_NO_MEMORY;
    head.function = (uint32_t)(function - 1);
    rayi_put_bytes(writer, &head, sizeof head);
    return 0;
}

static int submit(rayi_thread *thread, rayi_task *task, ray_actor *actor, const ray_task_options *options)
{
    rayi_worker *worker = rayi_worker_of(thread);
    uint64_t number = rayi_record_number(thread, &task->head);
    rayi_writer writer;
    int r;

    rayi_writer_init(&writer);
    r = write_submit(worker, thread, &writer, task, number, actor ? rayi_actor_number(actor) : 0);
    if (r == 0) {
        rayi_exchange_write_task_options(&worker->port, &writer, options);
        r = rayi_exchange_write_args(&worker->port, thread, &writer, task, false);
    }
    if (r == 0)
        r = rayi_worker_may_send(&writer);
    if (r == 0)
        r = rayi_name_add(worker, number, RAYI_SORT_RECORD, task);
    if (r == 0) {
        (void)rayi_worker_send_written(worker, RAYI_UP_SUBMIT, &writer);
        rayi_task_drop_arguments(thread, task);
        rayi_record_unref(thread, &task->head); /* the lane's: who finds it by its number has a count then */
    }
    rayi_writer_fini(&writer);
    drop_outlined(thread);
    return r;
}

static int create(rayi_thread *thread, ray_actor *actor, rayi_task *creation, const ray_actor_options *options)
{
    rayi_worker *worker = rayi_worker_of(thread);
    uint64_t number = rayi_actor_number(actor);
    rayi_writer writer;
    int r;

    rayi_writer_init(&writer);
    r = write_submit(worker, thread, &writer, creation, number, 0);
    if (r == 0) {
        rayi_exchange_write_actor_options(&worker->port, &writer, options);
        r = rayi_exchange_write_args(&worker->port, thread, &writer, creation, false);
    }
    if (r == 0)
        r = rayi_worker_may_send(&writer);
    if (r == 0)
        r = rayi_name_add(worker, number, RAYI_SORT_ACTOR, actor);
    if (r == 0)
        (void)rayi_worker_send_written(worker, RAYI_UP_ACTOR, &writer);
    rayi_writer_fini(&writer);
    drop_outlined(thread);
    return r;
}

static int kill_actor(rayi_thread *thread, ray_actor *actor, bool may_restart)
{
    rayi_writer writer;

    rayi_ask_begin(&writer, RAYI_ASK_KILL);
    rayi_put_u64(&writer, rayi_actor_number(actor));
    rayi_put_u8(&writer, may_restart);
    return rayi_ask(thread, &writer);
}

/* A ref that the node completes, asked for. */
static rayi_record *ask_item(rayi_thread *thread, enum rayi_ask what, uint64_t about)
{
    uint64_t number;
    rayi_record *item = rayi_name_item(thread, &number);
    rayi_writer writer;

    if (!item)
        return rayi_object_failed_last(thread);
    rayi_ask_begin(&writer, what);
    rayi_put_u64(&writer, about);
    rayi_put_u64(&writer, number);
    if (rayi_ask(thread, &writer) == 0)
        return item;
    rayi_record_unref(thread, item);
    return rayi_object_failed_last(thread);
}

static rayi_record *actor_ready(rayi_thread *thread, ray_actor *actor)
{
    return ask_item(thread, RAYI_ASK_ACTOR_READY, rayi_actor_number(actor));
}

rayi_record *rayi_group_item(rayi_thread *thread, uint64_t group)
{
    return ask_item(thread, RAYI_ASK_GROUP_READY, group);
}

static int cancel(rayi_thread *thread, rayi_record *record, unsigned flags)
{
    rayi_worker *worker = rayi_worker_of(thread);
    uint64_t number = worker->port.name_record(&worker->port, thread, record);
    rayi_writer writer;

    if (!number)
        return rayi_error_last_public()->code;
    rayi_ask_begin(&writer, RAYI_ASK_CANCEL);
    rayi_put_u64(&writer, number);
    rayi_put_u32(&writer, flags);
    return rayi_ask(thread, &writer);
}

/* ---- streams ---- */

static rayi_record *next(rayi_thread *thread, rayi_record *stream)
{
    rayi_worker *worker = rayi_worker_of(thread);
    uint64_t message[2];
    rayi_record *item;

    message[0] = worker->port.name_record(&worker->port, thread, stream);
    item = message[0] ? rayi_name_item(thread, &message[1]) : NULL;
    if (!item)
        return rayi_object_failed_last(thread);
    (void)rayi_worker_send(worker, RAYI_UP_NEXT, message, sizeof message, NULL, 0);
    return item;
}

/* 1: an item may go; 0: not yet; negative: nobody reads on. */
static int may_yield(rayi_worker *worker, const rayi_running *running)
{
    unsigned flags = rayi_offer_look(worker->channel, running->head->slot);

    if (flags & (RAYI_OFFER_CANCEL | RAYI_OFFER_LATE))
        return RAY_ERR_CANCELLED;
    if (rayi_offer_credit_of(worker->channel, running->head->slot) > running->yielded)
        return 1;
    return flags & RAYI_OFFER_ABANDONED ? RAY_ERR_CANCELLED : 0;
}

static int spin_for_credit(rayi_worker *worker, rayi_thread *thread, const rayi_running *running)
{
    int64_t end = rayi_now_ns() + SPIN_NS;
    int may;

    while ((may = may_yield(worker, running)) == 0 && worker->num_cpus > 1 && rayi_now_ns() < end) {
        (void)rayi_worker_receive(worker, thread);
        sched_yield();
    }
    return may;
}

static int wait_for_credit(rayi_worker *worker, rayi_thread *thread, const rayi_running *running)
{
    int may = may_yield(worker, running), r;

    if (may == 0)
        may = spin_for_credit(worker, thread, running);
    if (may != 0)
        return may;
    r = rayi_lane_block(thread, NULL);
    if (r < 0)
        return r;
    for (;;) {
        uint32_t bell = rayi_channel_bell(worker->channel);
        may = may_yield(worker, running);
        if (may != 0)
            break;
        rayi_worker_nap(worker, thread, bell, rayi_now_ns() + YIELD_NS);
    }
    rayi_lane_unblock(thread);
    return may;
}

static int yield(rayi_thread *thread, rayi_task *task, rayi_result *item)
{
    rayi_worker *worker = rayi_worker_of(thread);
    rayi_running *running = rayi_running_of(task);
    rayi_wire_result head;
    rayi_writer writer;
    int r;

    RAYI_ASSERT(running);
    r = wait_for_credit(worker, thread, running);
    if (r == RAY_ERR_CANCELLED)
        (void)rayi_fail(r, "%s: nobody reads the stream on", rayi_task_name(task));
    if (r < 0)
        goto drop;
    head = (rayi_wire_result){.slot = running->head->slot, .generation = running->head->generation};
    rayi_writer_init(&writer);
    r = rayi_exchange_write(&worker->port, thread, &writer, item, false);
    if (r == 0)
        r = rayi_worker_send(worker, RAYI_UP_YIELD, &head, sizeof head, writer.data, writer.size);
    rayi_writer_fini(&writer);
    if (r == 0)
        running->yielded++;
drop:
    rayi_result_drop(thread, item);
    return r;
}

/* ---- the running task ---- */

static uint32_t slot(const rayi_task *task)
{
    const rayi_running *running = rayi_running_of(task);
    bool may = running && (running->head->work == RAYI_WORK_TASK || running->head->work == RAYI_WORK_CALL);

    return may ? running->head->slot : UINT32_MAX;
}

static bool slot_cancelled(const rayi_thread *thread, uint32_t number)
{
    return number < RAYI_OFFERS &&
           (rayi_offer_look(rayi_worker_of(thread)->channel, number) & (RAYI_OFFER_CANCEL | RAYI_OFFER_LATE));
}

static bool cancelled(const rayi_thread *thread, const rayi_task *task)
{
    const rayi_running *running = rayi_running_of(task);

    return running && slot_cancelled(thread, running->head->slot);
}

static void threads(rayi_thread *thread, uint32_t most)
{
    rayi_serve_thin(rayi_worker_of(thread), most);
}

static void attend(rayi_thread *thread)
{
    rayi_serve_attend(rayi_worker_of(thread));
}

/* The node gives the ref of this task an id now. If it cannot, the task goes without. */
static void ask_for_id(rayi_thread *thread, rayi_running *running)
{
    rayi_asking asking = {0};
    rayi_writer writer;
    rayi_reader reply;

    if (*running->id)
        return;
    rayi_ask_begin(&writer, RAYI_ASK_TASK_ID);
    rayi_put_u32(&writer, running->head->slot);
    rayi_put_u32(&writer, running->head->generation);
    if (rayi_ask_wait(thread, &writer, &asking) == 0) {
        reply = rayi_reader_of(asking.data, asking.size);
        rayi_executor_write_id(rayi_executor_of(thread), running->id, rayi_take_u64(&reply));
    }
    rayi_free(asking.data);
}

static void context(rayi_thread *thread, const rayi_task *task, ray_context *out)
{
    rayi_running *running = rayi_running_of(task);
    const rayi_wire_task *head = running ? running->head : NULL;

    if (!head)
        return;
    if (head->number)
        rayi_executor_write_id(rayi_executor_of(thread), running->id, head->number);
    else
        ask_for_id(thread, running);
    out->task_id = running->id;
    out->resources = running->resources ? running->resources : running->head->work == RAYI_WORK_TASK ? "CPU=1" : "";
    out->gpus = running->gpus;
    out->group_id = running->group_id;
    out->attempt = head->attempt;
    out->restarts = head->restarts;
}

static void blocked(rayi_thread *thread, rayi_task *task, rayi_record *record, bool blocks)
{
    const rayi_running *running = rayi_running_of(task);
    unsigned char message[sizeof(uint32_t) + sizeof(uint64_t) + 1];
    uint64_t number = 0;

    if (!running)
        return;
    if (blocks && record && (atomic_load_explicit(&record->state, memory_order_acquire) & RAYI_NAMED))
        number = rayi_record_number(thread, record);
    memcpy(message, &running->head->slot, sizeof(uint32_t));
    memcpy(message + sizeof(uint32_t), &number, sizeof number);
    message[sizeof message - 1] = !thread->has_deadline;
    (void)rayi_worker_send(rayi_worker_of(thread), blocks ? RAYI_UP_BLOCKED : RAYI_UP_RESUMED, message,
                           blocks ? sizeof message : sizeof(uint32_t), NULL, 0);
}

static int load(rayi_thread *thread, const char *path, unsigned flags)
{
    rayi_writer writer;

    rayi_ask_begin(&writer, RAYI_ASK_LOAD);
    rayi_put_text(&writer, path);
    rayi_put_u32(&writer, flags);
    return rayi_ask(thread, &writer);
}

const rayi_outside rayi_worker_outside = {
    .submit = submit,
    .create = create,
    .release_actor = rayi_name_release_actor,
    .kill = kill_actor,
    .actor_ready = actor_ready,
    .cancel = cancel,
    .next = next,
    .yield = yield,
    .room = rayi_far_room,
    .sealed = rayi_name_seal,
    .open = rayi_far_open,
    .close = rayi_far_close,
    .forget = rayi_name_forget,
    .cancelled = cancelled,
    .slot = slot,
    .slot_cancelled = slot_cancelled,
    .threads = threads,
    .attend = attend,
    .context = context,
    .blocked = blocked,
    .load = load,
};
