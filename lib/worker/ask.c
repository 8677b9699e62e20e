/* Requests and their replies. The thread that receives a reply takes what it names out of it at once, in order with the
 * messages behind it; the asker only looks at its own rayi_asking once `done` is set. */
#include "worker/inside.h"

#include <sched.h>
#include <string.h>

#define SPIN_NS  50000
#define BLOCK_NS 2000000 /* then the node may give our CPU to others */

void rayi_ask_begin(rayi_writer *writer, enum rayi_ask what)
{
    rayi_writer_init(writer);
    rayi_put_u64(writer, 0); /* the request's number goes here */
    rayi_put_u32(writer, what);
}

void rayi_ask_tell(rayi_worker *worker, rayi_writer *writer)
{
    (void)rayi_worker_send_written(worker, RAYI_UP_ASK, writer);
    rayi_writer_fini(writer);
}

static void link_asking(rayi_worker *worker, rayi_asking *asking)
{
    pthread_mutex_lock(&worker->asks_lock);
    asking->request = ++worker->next_request;
    asking->next = worker->asks;
    worker->asks = asking;
    pthread_mutex_unlock(&worker->asks_lock);
}

static rayi_asking *unlink_asking(rayi_worker *worker, uint64_t request)
{
    rayi_asking **at, *found;

    pthread_mutex_lock(&worker->asks_lock);
    for (at = &worker->asks; *at && (*at)->request != request;)
        at = &(*at)->next;
    found = *at;
    if (found)
        *at = found->next;
    pthread_mutex_unlock(&worker->asks_lock);
    return found;
}

static bool is_done(rayi_asking *asking)
{
    return atomic_load_explicit(&asking->done, memory_order_acquire) != 0;
}

/* Most answers take some ten microseconds; some wait for room in the store. */
static void wait_for(rayi_worker *worker, rayi_thread *thread, rayi_asking *asking)
{
    int64_t now = rayi_now_ns(), end = now + SPIN_NS;

    while (worker->num_cpus > 1 && !is_done(asking) && rayi_now_ns() < end) {
        for (int i = 0; i < 32 && !is_done(asking); i++)
            (void)rayi_worker_receive(worker, thread);
        sched_yield();
    }
    rayi_waits_quietly = true;
    if (!rayi_thread_park(thread, &asking->done, now + BLOCK_NS)) {
        bool blocked = rayi_lane_block(thread, NULL) == 0;
        (void)rayi_thread_park(thread, &asking->done, INT64_MAX);
        if (blocked)
            rayi_lane_unblock(thread);
    }
    rayi_waits_quietly = false;
}

int rayi_ask_wait(rayi_thread *thread, rayi_writer *writer, rayi_asking *asking)
{
    rayi_worker *worker = rayi_worker_of(thread);
    int r;

    asking->thread = thread;
    atomic_store_explicit(&asking->done, 0, memory_order_relaxed);
    link_asking(worker, asking);
    memcpy(writer->data, &asking->request, sizeof asking->request);
    r = rayi_worker_send_written(worker, RAYI_UP_ASK, writer);
    rayi_writer_fini(writer);
    if (r < 0) {
        (void)unlink_asking(worker, asking->request);
        return r;
    }
    wait_for(worker, thread, asking);
    return asking->error ? rayi_error_set_last(asking->error) : 0;
}

int rayi_ask(rayi_thread *thread, rayi_writer *writer)
{
    rayi_asking asking = {0};
    int r = rayi_ask_wait(thread, writer, &asking);

    rayi_free(asking.data);
    return r;
}

/* What it brings is the asker's; of one that nobody waits for it is given back. */
static void take_answer(rayi_worker *worker, rayi_thread *thread, rayi_reader *reader, rayi_asking *asking)
{
    if (asking->brings_value) {
        if (rayi_exchange_read(&worker->port, thread, reader, &asking->value) && !asking->value.error)
            return;
        asking->error = asking->value.error ? asking->value.error : rayi_error_plain(RAY_ERR_NO_MEMORY);
        asking->value.error = NULL;
        rayi_result_drop(thread, &asking->value);
        return;
    }
    asking->size = rayi_reader_left(reader);
    asking->data = rayi_alloc(asking->size + 1);
    if (asking->data && asking->size > 0)
        memcpy(asking->data, reader->at, asking->size);
    else if (!asking->data)
        asking->error = rayi_error_plain(RAY_ERR_NO_MEMORY);
}

void rayi_ask_replied(rayi_worker *worker, rayi_thread *thread, rayi_reader *reader)
{
    uint64_t request = rayi_take_u64(reader);
    int64_t r = rayi_take_i64(reader);
    rayi_asking *asking = reader->failed ? NULL : unlink_asking(worker, request);
    rayi_thread *asker;
    rayi_result why = {0};

    if (!asking)
        return;
    asker = asking->thread;
    asking->data = NULL;
    if (r >= 0) {
        take_answer(worker, thread, reader, asking);
    } else if (rayi_exchange_read(&worker->port, thread, reader, &why) && why.error) {
        asking->error = why.error;
    } else {
        rayi_result_drop(thread, &why);
        asking->error = rayi_error_plain((int)r);
    }
    atomic_store_explicit(&asking->done, 1, memory_order_release); /* from here on it may be gone */
    rayi_thread_wake(asker);
}
