/* Run queues: a ring for each thread, which that thread fills and everybody empties, and an overflow list for all.
 *
 * Memory order of a ring. Only its owner stores `tail`, with release, after the slot; who takes loads `tail` with
 * acquire and so sees the slot and the record behind it. Takers, the owner among them, move `head` by compare-and-swap,
 * one record or half of all at a time. A slot is read before the swap and may meanwhile have been refilled, but the
 * owner refills it only after it has seen `head` pass (acquire), in which case the swap fails and what was read is
 * dropped. `head` and `tail` count for ever and wrap together.
 *
 * A record in a queue carries one count. A task may be claimed elsewhere while it stands here (by a waiting thread, by
 * cancel): then it is stale, and whoever meets it drops the count. */
#include "lane/inside.h"

/* Up to max records, at most half of what is there (rounded up), into batch. */
static unsigned ring_grab(rayi_ring *ring, rayi_record **batch, unsigned max)
{
    unsigned head = atomic_load_explicit(&ring->head, memory_order_acquire);

    for (;;) {
        unsigned there = atomic_load_explicit(&ring->tail, memory_order_acquire) - head;
        unsigned count = RAYI_MIN(there - there / 2, max);
        if (there == 0)
            return 0;
        if (there > RAYI_RING) { /* head and tail were read at different times */
            head = atomic_load_explicit(&ring->head, memory_order_acquire);
            continue;
        }
        for (unsigned i = 0; i < count; i++)
            batch[i] = atomic_load_explicit(&ring->slot[(head + i) % RAYI_RING], memory_order_relaxed);
        if (atomic_compare_exchange_weak_explicit(&ring->head, &head, head + count, memory_order_acq_rel,
                                                  memory_order_acquire))
            return count;
    }
}

static bool ring_put(rayi_ring *ring, rayi_record *record)
{
    unsigned tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    if (tail - atomic_load_explicit(&ring->head, memory_order_acquire) == RAYI_RING)
        return false;
    atomic_store_explicit(&ring->slot[tail % RAYI_RING], record, memory_order_relaxed);
    atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
    return true;
}

static void overflow_put(rayi_overflow *overflow, rayi_record *first, rayi_record *last, unsigned count)
{
    pthread_mutex_lock(&overflow->lock);
    if (overflow->last)
        overflow->last->next = first;
    else
        overflow->first = first;
    overflow->last = last;
    atomic_fetch_add_explicit(&overflow->count, count, memory_order_relaxed);
    pthread_mutex_unlock(&overflow->lock);
}

/* Moves records to the overflow list, dropping the stale ones. */
static void spill(rayi_thread *thread, int kind, rayi_record **batch, unsigned count)
{
    rayi_record *first = NULL, *last = NULL;
    unsigned kept = 0;

    for (unsigned i = 0; i < count; i++) {
        rayi_record *record = batch[i];
        if (record->type != RAYI_RUNNER &&
            (atomic_load_explicit(&record->state, memory_order_relaxed) & RAYI_PHASE) != RAYI_QUEUED) {
            rayi_record_unref(thread, record);
            continue;
        }
        record->next = NULL;
        if (last)
            last->next = record;
        else
            first = record;
        last = record;
        kept++;
    }
    if (kept > 0)
        overflow_put(&thread->lane->overflow[kind], first, last, kept);
}

void rayi_queue_push(rayi_thread *thread, int kind, rayi_record *record)
{
    rayi_record *batch[RAYI_RING / 2];

    while (!ring_put(&thread->ring[kind], record))
        spill(thread, kind, batch, ring_grab(&thread->ring[kind], batch, RAYI_RING / 2));
}

bool rayi_queue_unpush(rayi_thread *thread, int kind, rayi_record *record)
{
    rayi_ring *ring = &thread->ring[kind];
    unsigned head = atomic_load_explicit(&ring->head, memory_order_relaxed);

    if (atomic_load_explicit(&ring->tail, memory_order_relaxed) - head != 1 ||
        atomic_load_explicit(&ring->slot[head % RAYI_RING], memory_order_relaxed) != record)
        return false;
    return atomic_compare_exchange_strong_explicit(&ring->head, &head, head + 1, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* The first record of the batch that is not stale; the rest goes into this thread's ring. Between the two rings nobody
 * can see it: a thread may have looked, found nothing and gone to sleep, so this is an enqueue like any other. */
static rayi_record *keep(rayi_thread *thread, int kind, rayi_record **batch, unsigned count)
{
    rayi_record *first = NULL;
    bool moved = false;

    for (unsigned i = 0; i < count; i++) {
        if (first) {
            rayi_queue_push(thread, kind, batch[i]);
            moved = true;
        } else if (batch[i]->type == RAYI_RUNNER || rayi_record_claim_queued(batch[i]))
            first = batch[i];
        else
            rayi_record_unref(thread, batch[i]);
    }
    if (moved) {
        if (thread->searching)
            rayi_lane_stop_searching(thread);
        atomic_thread_fence(memory_order_seq_cst);
        rayi_lane_wake(thread->lane);
    }
    return first;
}

static rayi_record *take_overflow(rayi_thread *thread, int kind)
{
    rayi_overflow *overflow = &thread->lane->overflow[kind];
    rayi_record *batch[RAYI_RING / 2], *first = NULL;
    unsigned count;

    while (!first && atomic_load_explicit(&overflow->count, memory_order_relaxed) > 0) {
        pthread_mutex_lock(&overflow->lock);
        for (count = 0; count < RAYI_COUNT_OF(batch) && overflow->first; count++) {
            batch[count] = overflow->first;
            overflow->first = overflow->first->next;
        }
        if (!overflow->first)
            overflow->last = NULL;
        atomic_fetch_sub_explicit(&overflow->count, count, memory_order_relaxed);
        pthread_mutex_unlock(&overflow->lock);
        first = keep(thread, kind, batch, count);
    }
    return first;
}

static rayi_record *take_own(rayi_thread *thread, int kind)
{
    rayi_record *batch[1], *first = NULL;

    while (!first && ring_grab(&thread->ring[kind], batch, 1) > 0)
        first = keep(thread, kind, batch, 1);
    return first;
}

static rayi_record *steal(rayi_thread *thread, int kind)
{
    rayi_lane *lane = thread->lane;
    unsigned contexts = atomic_load_explicit(&lane->num_contexts, memory_order_acquire);
    rayi_record *batch[RAYI_RING / 2];

    for (unsigned i = 1; i < contexts; i++) {
        rayi_thread *other = atomic_load_explicit(&lane->thread[(thread->index + i) % contexts], memory_order_acquire);
        unsigned count;
        while (other && (count = ring_grab(&other->ring[kind], batch, RAYI_RING / 2)) > 0) {
            rayi_record *first = keep(thread, kind, batch, count);
            if (first)
                return first;
        }
    }
    return NULL;
}

rayi_record *rayi_queue_take(rayi_thread *thread, int kind)
{
    rayi_record *record = NULL;

    /* What waits in the overflow is older than what the rings hold; look there now and then. */
    if (++thread->ticks_since_overflow % 64 == 0)
        record = take_overflow(thread, kind);
    if (!record)
        record = take_own(thread, kind);
    if (!record)
        record = take_overflow(thread, kind);
    if (!record)
        record = steal(thread, kind);
    return record;
}

bool rayi_queue_visible(rayi_lane *lane, int kind)
{
    unsigned contexts = atomic_load_explicit(&lane->num_contexts, memory_order_acquire);

    if (atomic_load_explicit(&lane->overflow[kind].count, memory_order_relaxed) > 0)
        return true;
    for (unsigned i = 0; i < contexts; i++) {
        rayi_thread *thread = atomic_load_explicit(&lane->thread[i], memory_order_acquire);
        if (thread && atomic_load_explicit(&thread->ring[kind].head, memory_order_relaxed) !=
                          atomic_load_explicit(&thread->ring[kind].tail, memory_order_relaxed))
            return true;
    }
    return false;
}

void rayi_queue_empty(rayi_thread *thread)
{
    rayi_record *batch[RAYI_RING / 2];
    unsigned count;

    for (int kind = 0; kind < RAYI_KINDS_OF_WORK; kind++)
        while ((count = ring_grab(&thread->ring[kind], batch, RAYI_COUNT_OF(batch))) > 0)
            spill(thread, kind, batch, count);
}
