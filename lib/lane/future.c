/* Futures: who waits for a record, and its completion.
 *
 * Memory order. The content is written before completion, which is either a release compare-and-swap of `waiters` from
 * 0 to CLOSED or, when somebody waits, an exchange under the bucket's lock; whoever sees CLOSED with acquire sees the
 * content. The list is changed only under the lock of its bucket, so a waiter can be taken out again while it has not
 * been fired; the lock-free swap succeeds only while the list is empty. A waiter is added by a compare-and-swap under
 * the lock because that lock-free completion may come in between. Waiters are fired after the lock is dropped: who
 * finds that it can't take its waiter out any more must wait for the call of fire.
 *
 * A task is claimed by an acquire compare-and-swap of its phase. Its publication was a release store of a ring's tail,
 * a lock, or the last decrement of `pending` (acquire-release). */
#include "lane/inside.h"

#include <string.h>

static pthread_mutex_t *bucket_of(rayi_record *record)
{
    uintptr_t address = (uintptr_t)record / 64;

    return &rayi_pool_lane(record)->bucket[(address ^ address >> 7) % RAYI_BUCKETS];
}

void rayi_record_lock(rayi_record *record)
{
    pthread_mutex_lock(bucket_of(record));
}
void rayi_record_unlock(rayi_record *record)
{
    pthread_mutex_unlock(bucket_of(record));
}

bool rayi_record_watch(rayi_record *record, rayi_waiter *waiter)
{
    uintptr_t list;

    if (rayi_record_done(record))
        return false;
    rayi_record_lock(record);
    list = atomic_load_explicit(&record->waiters, memory_order_acquire);
    do {
        if (list == RAYI_CLOSED)
            break;
        waiter->next = (rayi_waiter *)list;
    } while (!atomic_compare_exchange_weak_explicit(&record->waiters, &list, (uintptr_t)waiter, memory_order_acq_rel,
                                                    memory_order_acquire));
    rayi_record_unlock(record);
    return list != RAYI_CLOSED;
}

bool rayi_record_unwatch(rayi_record *record, rayi_waiter *waiter)
{
    uintptr_t list;
    bool found = false;

    rayi_record_lock(record);
    list = atomic_load_explicit(&record->waiters, memory_order_acquire);
    if (list == (uintptr_t)waiter) {
        /* With a waiter in the list only holders of the lock change it. */
        atomic_store_explicit(&record->waiters, (uintptr_t)waiter->next, memory_order_release);
        found = true;
    } else if (list != RAYI_CLOSED) {
        for (rayi_waiter *at = (rayi_waiter *)list; at && !found; at = at->next)
            if (at->next == waiter) {
                at->next = waiter->next;
                found = true;
            }
    }
    rayi_record_unlock(record);
    return found;
}

void rayi_record_complete(rayi_thread *thread, rayi_record *record)
{
    uintptr_t none = 0;
    rayi_waiter *waiter, *next;

    if (atomic_compare_exchange_strong_explicit(&record->waiters, &none, RAYI_CLOSED, memory_order_acq_rel,
                                                memory_order_acquire))
        return;
    RAYI_ASSERT(none != RAYI_CLOSED); /* a record is completed once */
    rayi_record_lock(record);
    waiter = (rayi_waiter *)atomic_exchange_explicit(&record->waiters, RAYI_CLOSED, memory_order_acq_rel);
    rayi_record_unlock(record);
    for (; waiter; waiter = next) {
        next = waiter->next;
        waiter->fire(thread, waiter);
    }
}

bool rayi_record_claim_queued(rayi_record *record)
{
    unsigned state = atomic_load_explicit(&record->state, memory_order_relaxed);

    while ((state & RAYI_PHASE) == RAYI_QUEUED)
        if (atomic_compare_exchange_weak_explicit(&record->state, &state,
                                                  (state & ~(unsigned)RAYI_PHASE) | RAYI_RUNNING, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* The release pairs with the next claim's acquire: who claims it sees what we did meanwhile. */
void rayi_record_unclaim(rayi_record *record)
{
    unsigned state = atomic_load_explicit(&record->state, memory_order_relaxed);

    while (!atomic_compare_exchange_weak_explicit(&record->state, &state, (state & ~(unsigned)RAYI_PHASE) | RAYI_QUEUED,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

bool rayi_record_claim(rayi_record *record)
{
    unsigned state = atomic_load_explicit(&record->state, memory_order_relaxed);

    while ((state & RAYI_PHASE) != RAYI_RUNNING)
        if (atomic_compare_exchange_weak_explicit(&record->state, &state,
                                                  (state & ~(unsigned)RAYI_PHASE) | RAYI_RUNNING, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}

unsigned rayi_record_ask_cancel(rayi_record *record, bool children)
{
    return atomic_fetch_or_explicit(&record->state, children ? RAYI_CANCEL | RAYI_CANCEL_CHILDREN : RAYI_CANCEL,
                                    memory_order_acq_rel);
}

/* An ancestor's block may have been given to another task meanwhile, so all that is read of it is atomic, and its
 * generation is read again behind it: unchanged, what was read belonged to the ancestor. */
bool rayi_task_cancelled(const rayi_task *task)
{
    unsigned gen, state = atomic_load_explicit(&task->head.state, memory_order_relaxed);
    rayi_task *parent = atomic_load_explicit(&task->parent, memory_order_relaxed), *grandparent;

    if (state & (RAYI_CANCEL | RAYI_LATE))
        return true;
    gen = atomic_load_explicit(&task->parent_gen, memory_order_relaxed);
    while (parent) {
        unsigned next_gen = atomic_load_explicit(&parent->parent_gen, memory_order_acquire);
        state = atomic_load_explicit(&parent->head.state, memory_order_acquire);
        grandparent = atomic_load_explicit(&parent->parent, memory_order_acquire);
        if (atomic_load_explicit(&parent->head.gen, memory_order_relaxed) != gen)
            return false;
        if (state & RAYI_CANCEL_CHILDREN)
            return true;
        parent = grandparent;
        gen = next_gen;
    }
    return false;
}

void rayi_record_unref_slow(rayi_thread *thread, rayi_record *record)
{
    rayi_lane *lane = thread->lane;
    unsigned before;

    if (record->flags & RAYI_WATCHED) {
        /* Under the lock, so that the holder of the last count can't drop it while it is told. */
        rayi_record_lock(record);
        before = atomic_fetch_sub_explicit(&record->refs, 1, memory_order_acq_rel);
        if (before == 2 || (before == 3 && (record->flags & RAYI_ESCAPED))) /* the ledger has one, too */
            lane->ops.abandoned(thread, record);
        rayi_record_unlock(record);
        if (before != 1)
            return;
    }
    /* Content may hold the last count of other records, and so on for ever: put those off instead of recursing. Nobody
     * waits for them any more, so the word of their waiters can link them. */
    if (thread->destroying) {
        atomic_store_explicit(&record->waiters, (uintptr_t)thread->doomed, memory_order_relaxed);
        thread->doomed = record;
        return;
    }
    thread->destroying = true;
    lane->ops.destroy(thread, record);
    while ((record = thread->doomed)) {
        thread->doomed = (rayi_record *)atomic_load_explicit(&record->waiters, memory_order_relaxed);
        lane->ops.destroy(thread, record);
    }
    thread->destroying = false;
}
