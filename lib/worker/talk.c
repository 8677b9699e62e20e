/* Sending, receiving and sleeping.
 *
 * Any thread may receive, one at a time: a try-lock suffices, since whoever has the lock looks again until nothing is
 * there, and a thread that goes to sleep looks at the channel once more itself (rayi_channel_sleep). What the receiver
 * does for others, completing what they wait for or giving them work, stirs the sleepers: the bell moves after their
 * word was set, and each of them has read the bell before it looked at its word.
 *
 * A thread that waits inside a task may run others of the node's meanwhile (RAYI_WORK_NESTED), unless it waits for an
 * answer of the node, which comes at once. */
#include "worker/inside.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

void rayi_worker_die(rayi_worker *worker, const char *why)
{
    if (why) { /* the node is there, and clears away what we leave behind */
        dprintf(STDERR_FILENO, "libray: worker process %lld ends: %s\n", (long long)getpid(), why);
        _exit(71);
    }
    /* What this process has forked goes with it; a wrapper leads our group. */
    if (getpgrp() == getpid() || worker->wrapped)
        kill(0, SIGKILL);
    _exit(0);
}

static void announce(rayi_worker *worker)
{
    if (!rayi_channel_announce(worker->channel, RAYI_WORKER_EVENT))
        rayi_worker_die(worker, "the task has closed descriptors that are libray's");
}

static int check_size(size_t size_bytes)
{
    if (size_bytes > RAYI_RING_LONG_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "a message to the node has at most %d bytes, this one has %zu",
                         RAYI_RING_LONG_MAX, size_bytes);
    return 0;
}

int rayi_worker_send(rayi_worker *worker, uint32_t type, const void *head, size_t head_size, const void *body,
                     size_t body_size)
{
    size_t size = head_size + body_size, sent = 0;
    int r = check_size(size);

    if (r < 0)
        return r;
    pthread_mutex_lock(&worker->tx);
    while (!rayi_channel_send_long(worker->channel, type, head, head_size, body, body_size, &sent))
        if (!rayi_channel_wait_for_room(worker->channel, RAYI_MIN(size - sent, (size_t)RAYI_RING_MESSAGE_MAX),
                                        RAYI_WORKER_EVENT, INT64_MAX))
            rayi_worker_die(worker, "the channel to its node is damaged");
    pthread_mutex_unlock(&worker->tx);
    announce(worker);
    return 0;
}

int rayi_worker_may_send(const rayi_writer *writer)
{
    if (writer->failed)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a message to the node");
    return check_size(writer->size);
}

int rayi_worker_send_written(rayi_worker *worker, uint32_t type, const rayi_writer *writer)
{
    int r = rayi_worker_may_send(writer);

    return r < 0 ? r : rayi_worker_send(worker, type, writer->data, writer->size, NULL, 0);
}

bool rayi_worker_receive(rayi_worker *worker, rayi_thread *thread)
{
    rayi_received message;
    int r;

    if (!rayi_channel_has_mail(worker->channel))
        return true;
    if (pthread_mutex_trylock(&worker->rx))
        return false;
    while ((r = rayi_channel_receive(worker->channel, &message)) > 0)
        rayi_worker_take(worker, thread, &message);
    pthread_mutex_unlock(&worker->rx);
    if (r < 0)
        rayi_worker_die(worker, rayi_error_last_public()->message);
    announce(worker); /* the node may wait for the room, also when all that came was a part of something */
    return true;
}

/* ---- for the lane ---- */

static void poll(rayi_thread *thread, enum rayi_poll when)
{
    (void)when; /* news come by themselves to those who sleep, since they look themselves */
    (void)rayi_worker_receive(rayi_worker_of(thread), thread);
}

void rayi_worker_nap(rayi_worker *worker, rayi_thread *thread, uint32_t seen, int64_t deadline_ns)
{
    if (!rayi_serve_nested(worker, thread))
        (void)rayi_channel_sleep(worker->channel, seen, deadline_ns);
    (void)rayi_worker_receive(worker, thread);
}

static void sleep_until(rayi_thread *thread, atomic_uint *word, int64_t deadline_ns)
{
    rayi_worker *worker = rayi_worker_of(thread);
    uint32_t bell = rayi_channel_bell(worker->channel);

    (void)rayi_worker_receive(worker, thread);
    if (atomic_load_explicit(word, memory_order_acquire) == 0)
        rayi_worker_nap(worker, thread, bell, deadline_ns);
}

static void stir(void *of)
{
    rayi_channel_stir(((rayi_worker *)of)->channel);
}

static bool congested(void *of)
{
    (void)of;
    return false;
}

static void freed(void *of)
{
    (void)of; /* it lasts as long as the process */
}

/* The rest is the node's: nothing here is queued, granted or placed. */
const rayi_executor_hooks rayi_worker_hooks = {
    .poll = poll,
    .sleep = sleep_until,
    .stir = stir,
    .congested = congested,
    .freed = freed,
};
