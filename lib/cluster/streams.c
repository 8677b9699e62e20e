/* Streams whose function runs on another node than their reader. The items go in order, each once a try, before the
 * RESULT that ends the stream.
 *
 * The reader's end says in the TASK how many items there may be by now, and how many it has from earlier tries; in a
 * CREDIT each time that has changed. The function's end (a *flow*) has an ordinary stream, of which that is the limit;
 * its loop asks for one item at a time and waits for it with a waiter, so that it never blocks and no item is asked for
 * of which nobody has heard. Credit has no order of its own: what the reader's end last said is true. */
#include "cluster/inside.h"

/* ---- the reader's end ---- */

void rayi_stream_describe(rayi_away *a, rayi_task *task, rayi_between_task *head)
{
    bool abandoned;

    a->is_stream = task->head.flags & RAYI_WATCHED;
    if (!a->is_stream)
        return;
    a->credit = head->credit = rayi_stream_credit(task, &abandoned);
    head->delivered = rayi_stream_delivered(task);
}

static void send_credit(rayi_neighbour *n, const rayi_away *a)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_CREDIT);
    rayi_put_u64(&writer, a->id);
    rayi_put_u64(&writer, a->credit);
    rayi_put_u8(&writer, a->is_abandoned);
    rayi_between_say(n, &writer);
}

static void tell_credit(rayi_neighbour *n, rayi_away *a)
{
    rayi_task *task = rayi_away_task(a);
    uint64_t credit;
    bool abandoned;

    if (!task)
        return;
    credit = rayi_stream_credit(task, &abandoned);
    rayi_record_unref(n->cluster->node.thread, &task->head);
    if (credit == a->credit && abandoned == a->is_abandoned)
        return;
    a->credit = credit;
    a->is_abandoned = abandoned;
    send_credit(n, a);
}

/* What it says of its stream may have changed while it waited. The call of an actor is sent under its lock, where its
 * task is not to be asked for: then the next look finds what has changed. */
void rayi_stream_went(rayi_neighbour *n, rayi_away *a)
{
    if (!a->is_stream || a->message)
        return;
    DL_APPEND2(n->streams, a, prev_stream, next_stream);
    rayi_away_look(n->cluster, RAYI_LOOK_CREDIT);
}

void rayi_stream_left(rayi_neighbour *n, rayi_away *a)
{
    if (a->is_stream && !a->message)
        DL_DELETE2(n->streams, a, prev_stream, next_stream);
}

void rayi_streams_look(rayi_neighbour *n)
{
    rayi_away *a;

    DL_FOREACH2(n->streams, a, next_stream)
    tell_credit(n, a);
}

/* Takes what the item counts. False: nobody could have asked for it. */
static bool put(rayi_neighbour *n, rayi_away *a, uint64_t index, rayi_result *item)
{
    rayi_thread *thread = n->cluster->node.thread;
    rayi_task *task = a->is_broken ? NULL : rayi_away_task(a);
    bool abandoned = false, may = true;

    if (task)
        may = index < rayi_stream_credit(task, &abandoned) || abandoned;
    if (!task || !may)
        rayi_result_drop(thread, item);
    else if (rayi_stream_put(thread, task, index, item) < 0)
        a->is_broken = true; /* those that follow must not move up */
    if (task)
        rayi_record_unref(thread, &task->head);
    return may;
}

bool rayi_stream_take_item(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_thread *thread = n->cluster->node.thread;
    uint64_t id = rayi_take_u64(reader);
    uint32_t attempt = rayi_take_u32(reader);
    uint64_t index = rayi_take_u64(reader);
    rayi_between_port port;
    rayi_result item;
    rayi_away *a;
    bool read;

    if (reader->failed)
        return false;
    rayi_between_port_init(&port, n);
    read = rayi_exchange_read(&port.port, thread, reader, &item);
    rayi_between_port_fini(&port, true);
    a = rayi_away_find(n, id);
    if (!read && a && a->attempt == attempt)
        a->is_broken = true; /* rubbish, or there was no memory for it: it does not come again */
    if (!read)
        return false;
    if (item.error || (a && !a->is_stream)) {
        rayi_result_drop(thread, &item);
        return false;
    }
    if (a && a->attempt == attempt)
        return put(n, a, index, &item);
    rayi_result_drop(thread, &item);
    return true;
}

/* ---- the function's end ---- */

typedef struct rayi_flow {
    rayi_hosted *of;
    uint64_t next, credit;     /* the index of the next item; how many there may be */
    rayi_record *item;         /* counted: it has been asked for */
    bool is_watched, is_dry;   /* waiter will fire; no item comes after the last one */
    bool has_ended, is_broken; /* has_ended: rayi_hosted_over is due when it is dry */
    rayi_waiter waiter;
    rayi_finished finished;
} rayi_flow;

static rayi_thread *thread_of(const rayi_flow *f)
{
    return f->of->whose->cluster->node.thread;
}

static void break_off(rayi_flow *f)
{
    f->is_broken = f->is_dry = true;
    (void)rayi_record_cancel(thread_of(f), f->of->record, 0);
}

static void send_item(rayi_flow *f)
{
    rayi_neighbour *n = f->of->whose;
    rayi_result content = rayi_record_content(f->item);
    rayi_between_port port;
    rayi_writer writer;
    bool sent;

    rayi_between_port_init(&port, n);
    rayi_between_begin(&writer, RAYI_BETWEEN_ITEM);
    rayi_put_u64(&writer, f->of->id);
    rayi_put_u32(&writer, f->of->attempt);
    rayi_put_u64(&writer, f->next);
    sent = rayi_exchange_write(&port.port, thread_of(f), &writer, &content, false) == 0 &&
           rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer) == 0;
    rayi_between_port_fini(&port, sent);
    rayi_writer_fini(&writer);
    if (!sent)
        break_off(f);
    f->next++;
}

/* False: there is nothing to ask for, now or ever. */
static bool ask(rayi_flow *f)
{
    if (f->is_dry || !f->of->is_known || (!f->has_ended && f->next >= f->credit))
        return false;
    f->item = rayi_stream_next(thread_of(f), f->of->record);
    return true;
}

/* An error stands for the end, which the RESULT tells; or there was no memory for an item. */
static void take(rayi_flow *f)
{
    const rayi_error *error = rayi_record_error(f->item);

    if (!rayi_record_failed(f->item) && f->of->is_known)
        send_item(f);
    else if (rayi_record_failed(f->item) && !rayi_record_done(f->of->record) &&
             (!error || rayi_error_code(error) == RAY_ERR_NO_MEMORY))
        break_off(f);
    else
        f->is_dry = true;
    rayi_record_unref(thread_of(f), f->item);
    f->item = NULL;
}

/* True: nothing is under way. */
static bool pump(rayi_flow *f)
{
    while (!f->is_watched && !rayi_park_holds(f->of)) {
        if (!f->item && !ask(f))
            return true;
        if (rayi_record_done(f->item))
            take(f);
        else
            f->is_watched = rayi_record_watch(f->item, &f->waiter);
    }
    return false;
}

static void tell(rayi_cluster *cluster, rayi_finished *finished)
{
    rayi_flow *f = rayi_container_of(finished, rayi_flow, finished);

    (void)cluster;
    f->is_watched = false;
    if (pump(f) && f->has_ended)
        rayi_hosted_over(f->of);
}

static void fire(rayi_thread *thread, rayi_waiter *waiter)
{
    rayi_flow *f = rayi_container_of(waiter, rayi_flow, waiter);

    (void)thread;
    rayi_cluster_finish(f->of->whose->cluster, &f->finished);
}

rayi_flow *rayi_flow_new(rayi_hosted *of, const rayi_between_task *head)
{
    rayi_flow *f = rayi_zalloc(sizeof *f);

    if (!f)
        return NULL;
    f->of = of;
    f->next = head->delivered;
    f->credit = head->credit;
    f->waiter.fire = fire;
    f->finished.tell = tell;
    return f;
}

void rayi_flow_start(rayi_flow *f)
{
    (void)pump(f);
}

bool rayi_flow_end(rayi_flow *f)
{
    f->has_ended = true;
    if (!f->of->is_known && f->is_watched && rayi_record_unwatch(f->item, &f->waiter)) {
        f->is_watched = false;
        rayi_record_unref(thread_of(f), f->item);
        f->item = NULL;
    }
    return pump(f);
}

void rayi_flow_go_on(rayi_flow *f)
{
    if (pump(f) && f->has_ended)
        rayi_hosted_over(f->of);
}

bool rayi_flow_is_broken(const rayi_flow *f)
{
    return f->is_broken;
}

void rayi_flow_free(rayi_flow *f)
{
    rayi_free(f);
}

bool rayi_flow_take_credit(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t id = rayi_take_u64(reader), credit = rayi_take_u64(reader);
    bool abandoned = rayi_take_u8(reader) != 0;
    rayi_hosted *h = reader->failed ? NULL : rayi_hosted_find(n, id);

    if (reader->failed)
        return false;
    if (!h || !h->flow || rayi_record_done(h->record))
        return true;
    h->flow->credit = credit;
    rayi_stream_grant(n->cluster->node.thread, (rayi_task *)h->record, credit, abandoned);
    (void)pump(h->flow);
    return true;
}
