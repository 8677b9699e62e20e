/* Slots: whole CPUs, which the scheduler has granted in advance.
 *
 * A thread that finds tasks but no slot sets `starved`, then looks at `slots` again; who gives a slot back adds
 * to `slots`, then looks at `starved`. Both are sequentially consistent, so one of them sees the other. A thread keeps
 * its slot from task to task, and hands it over between two tasks when it is wanted (the scheduler) or owed (resumed
 * tasks).
 *
 * What runs in other processes takes slots without a thread (rayi_lane_take_slot); `refused` is to it what `starved` is
 * to threads. */
#include "lane/inside.h"

static bool acquire(rayi_lane *lane)
{
    int free = atomic_load_explicit(&lane->slots, memory_order_relaxed);

    while (free > 0)
        if (atomic_compare_exchange_weak_explicit(&lane->slots, &free, free - 1, memory_order_seq_cst,
                                                  memory_order_relaxed))
            return true;
    return false;
}

bool rayi_slot_acquire(rayi_thread *thread)
{
    thread->has_slot = acquire(thread->lane);
    return thread->has_slot;
}

/* True: one slot less is wanted, and the caller owes it to the scheduler. */
static bool take_wanted(rayi_lane *lane)
{
    int wanted = atomic_load_explicit(&lane->wanted, memory_order_relaxed);

    while (wanted > 0)
        if (atomic_compare_exchange_weak_explicit(&lane->wanted, &wanted, wanted - 1, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return true;
    return false;
}

/* Hands free slots back as long as they are wanted. Who wants one adds to `wanted`, then looks at `slots`; who gives
 * one back adds to `slots`, then looks at `wanted`: both sequentially consistent, so one of them sees the other. */
static void return_wanted(rayi_lane *lane)
{
    while (atomic_load_explicit(&lane->wanted, memory_order_seq_cst) > 0) {
        int free = atomic_load_explicit(&lane->slots, memory_order_seq_cst);
        if (free <= 0)
            return;
        if (!atomic_compare_exchange_weak_explicit(&lane->slots, &free, free - 1, memory_order_seq_cst,
                                                   memory_order_seq_cst))
            continue;
        if (take_wanted(lane)) {
            lane->ops.slot_returned(lane, 1);
        } else {
            rayi_lane_grant(lane, 1);
            return;
        }
    }
}

/* tell: who was refused a slot for another process; not from inside of his own locks. */
static void give(rayi_lane *lane, bool tell)
{
    if (atomic_load_explicit(&lane->slots, memory_order_relaxed) >= 0 && take_wanted(lane)) {
        lane->ops.slot_returned(lane, 1);
        return;
    }
    if (atomic_fetch_add_explicit(&lane->slots, 1, memory_order_seq_cst) < 0)
        return;
    return_wanted(lane);
    if (atomic_load_explicit(&lane->starved, memory_order_seq_cst)) {
        atomic_store_explicit(&lane->starved, 0, memory_order_relaxed);
        rayi_lane_wake(lane);
    }
    if (tell && atomic_load(&lane->refused) && atomic_exchange(&lane->refused, false))
        lane->ops.slot_free(lane);
    if (atomic_load(&lane->promised) && atomic_exchange(&lane->promised, false))
        lane->ops.slot_returned(lane, 0);
}

void rayi_slot_drop(rayi_thread *thread)
{
    thread->has_slot = false;
    give(thread->lane, true);
}

/* As with `starved`: either who gives a slot back sees that we were refused, or our second look sees the slot. */
bool rayi_lane_take_slot(rayi_lane *lane)
{
    if (acquire(lane))
        return true;
    atomic_store(&lane->refused, true);
    return acquire(lane);
}

void rayi_lane_give_slot(rayi_lane *lane)
{
    give(lane, false); /* the caller looks for work for it itself */
}

void rayi_lane_resume_slot(rayi_lane *lane)
{
    atomic_fetch_sub_explicit(&lane->slots, 1, memory_order_seq_cst);
}

bool rayi_lane_must_return(const rayi_lane *lane)
{
    return atomic_load_explicit(&lane->slots, memory_order_relaxed) < 0 ||
           atomic_load_explicit(&lane->wanted, memory_order_relaxed) > 0;
}

void rayi_lane_count_elsewhere(rayi_lane *lane, int64_t tasks)
{
    atomic_fetch_add(&lane->elsewhere, tasks);
}

void rayi_lane_set_polled(rayi_lane *lane, bool polled)
{
    atomic_store(&lane->polled, polled);
}

void rayi_slot_resume(rayi_thread *thread)
{
    atomic_fetch_sub_explicit(&thread->lane->slots, 1, memory_order_seq_cst);
    thread->has_slot = true;
}

void rayi_lane_grant(rayi_lane *lane, unsigned slots)
{
    atomic_fetch_add_explicit(&lane->slots, (int)slots, memory_order_seq_cst);
    if (atomic_exchange_explicit(&lane->starved, 0, memory_order_seq_cst))
        rayi_lane_wake(lane);
    if (atomic_load(&lane->refused) && atomic_exchange(&lane->refused, false))
        lane->ops.slot_free(lane);
}

void rayi_lane_reclaim(rayi_lane *lane, unsigned slots)
{
    atomic_fetch_add_explicit(&lane->wanted, (int)slots, memory_order_seq_cst);
    return_wanted(lane); /* those that nobody uses come back at once */
}

static bool starved(rayi_lane *lane)
{
    return atomic_load(&lane->slots) <= 0 &&
           (rayi_queue_visible(lane, RAYI_NEEDS_SLOT) || atomic_load(&lane->elsewhere) > 0);
}

bool rayi_lane_watch_slots(rayi_lane *lane)
{
    if (atomic_load(&lane->slots) > 0)
        return true;
    atomic_store(&lane->promised, true);
    return atomic_load(&lane->slots) > 0;
}

/* Who says yes promises to tell when that may be over: either the thread that frees the next slot sees the promise, or
 * the second look sees the slot. */
bool rayi_lane_starved(rayi_lane *lane)
{
    if (!starved(lane))
        return false;
    atomic_store(&lane->promised, true);
    return starved(lane);
}
