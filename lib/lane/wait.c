/* Handing work over, and waiting for it.
 *
 * A thread that waits for a task which nobody runs yet runs it itself, or a task that it needs: the result is there
 * sooner and no other thread need be woken. It takes a slot for that, or uses the one it has, and it must have stack
 * left. What runs already is waited for: first by spinning, if a CPU is free for that, then asleep. */
#include "lane/inside.h"

#include <sched.h>

void rayi_lane_enqueue(rayi_thread *thread, rayi_record *record)
{
    if (record->type == RAYI_RUNNER && (record->flags & RAYI_ELSEWHERE)) {
        rayi_mailbox_serve(thread, record);
        return;
    }
    rayi_queue_push(thread, rayi_kind_of_work(record), record);
    atomic_thread_fence(memory_order_seq_cst);
    rayi_lane_wake(thread->lane);
}

void rayi_task_ready(rayi_thread *thread, rayi_task *task)
{
    if (atomic_fetch_sub_explicit(&task->pending, 1, memory_order_acq_rel) != 1)
        return;
    if (task->head.flags & RAYI_ESCAPED)
        thread->lane->ops.ready(thread, task);
    else if (task->head.type == RAYI_CALL)
        rayi_mailbox_ready(thread, task->mailbox);
    else
        rayi_task_enqueue(thread, task);
}

void rayi_task_enqueue(rayi_thread *thread, rayi_task *task)
{
    unsigned state = atomic_load_explicit(&task->head.state, memory_order_relaxed);

    while ((state & RAYI_PHASE) == RAYI_PENDING)
        if (atomic_compare_exchange_weak_explicit(&task->head.state, &state, state | RAYI_QUEUED, memory_order_release,
                                                  memory_order_relaxed)) {
            if (task->head.flags & RAYI_ELSEWHERE)
                thread->lane->ops.dispatch(thread, task);
            else
                rayi_lane_enqueue(thread, &task->head);
            return;
        }
    rayi_record_unref(thread, &task->head); /* cancelled meanwhile */
}

/* ---- bounds on pending work ---- */

#define ACCOUNT_BATCH 65536

void rayi_lane_account(rayi_thread *thread, int64_t bytes)
{
    rayi_lane *lane = thread->lane;
    int64_t all;

    thread->pending_bytes += bytes;
    if (bytes != 0 && thread->pending_bytes < ACCOUNT_BATCH && thread->pending_bytes > -ACCOUNT_BATCH)
        return;
    all = atomic_fetch_add(&lane->pending_bytes, thread->pending_bytes) + thread->pending_bytes;
    thread->pending_bytes = 0;
    if (atomic_load(&lane->full_waiters) > 0 && all <= lane->config.pending_limit_bytes) {
        pthread_mutex_lock(&lane->full_lock);
        pthread_cond_broadcast(&lane->full_cond);
        pthread_mutex_unlock(&lane->full_lock);
    }
}

bool rayi_lane_full(const rayi_lane *lane)
{
    return atomic_load_explicit(&lane->pending_bytes, memory_order_relaxed) > lane->config.pending_limit_bytes;
}

void rayi_lane_wait_for_room(rayi_thread *thread)
{
    rayi_lane *lane = thread->lane;

    rayi_lane_account(thread, 0);
    pthread_mutex_lock(&lane->full_lock);
    atomic_fetch_add(&lane->full_waiters, 1);
    while (atomic_load(&lane->pending_bytes) > lane->config.pending_limit_bytes && !rayi_lane_stopping(lane))
        pthread_cond_wait(&lane->full_cond, &lane->full_lock);
    atomic_fetch_sub(&lane->full_waiters, 1);
    pthread_mutex_unlock(&lane->full_lock);
}

/* ---- helping ---- */

bool rayi_lane_help(rayi_thread *thread, rayi_record *record)
{
    bool escaped = record->flags & RAYI_ESCAPED, borrowed = false;

    if (record->type != RAYI_TASK || (record->flags & (RAYI_OWN_THREAD | RAYI_ELSEWHERE)) ||
        (atomic_load_explicit(&record->state, memory_order_relaxed) & RAYI_PHASE) != RAYI_QUEUED ||
        (char *)__builtin_frame_address(0) < thread->stack_low)
        return false;
    if (!escaped && !thread->has_slot) {
        if (!rayi_slot_acquire(thread))
            return false;
        borrowed = true;
    }
    if (rayi_record_claim_queued(record)) {
        if (!rayi_queue_unpush(thread, rayi_kind_of_work(record), record))
            rayi_record_ref(record); /* the queue keeps its count until somebody meets the stale entry */
        atomic_store_explicit(&thread->ticks, atomic_load_explicit(&thread->ticks, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        thread->lane->ops.run(thread, (rayi_task *)record);
    }
    if (borrowed)
        rayi_slot_drop(thread);
    return true;
}

/* Helps with the record or, while its arguments are not done, with the first of those, and so on. */
static bool help_toward(rayi_thread *thread, rayi_record *record)
{
    bool helped = false, counted = false;

    while (record) {
        rayi_record *next = NULL;
        helped = rayi_lane_help(thread, record);
        if (!helped && record->type == RAYI_TASK && !rayi_record_done(record) &&
            (atomic_load_explicit(&record->state, memory_order_relaxed) & RAYI_PHASE) == RAYI_PENDING)
            next = thread->lane->ops.next_argument((rayi_task *)record);
        if (counted)
            rayi_record_unref(thread, record);
        record = next;
        counted = true;
    }
    return helped;
}

/* ---- waiting ---- */

typedef struct sleeper {
    rayi_waiter waiter;
    rayi_thread *thread;
    atomic_uint fired;
} sleeper;

static void fire_sleeper(rayi_thread *thread, rayi_waiter *waiter)
{
    sleeper *self = rayi_container_of(waiter, sleeper, waiter);
    rayi_thread *woken = self->thread; /* the sleeper's stack may be gone once fired is set */

    (void)thread;
    atomic_store_explicit(&self->fired, 1, memory_order_release);
    rayi_thread_wake(woken);
}

int rayi_lane_block(rayi_thread *thread, rayi_record *record)
{
    rayi_lane *lane = thread->lane;

    if (thread->never_waits)
        return rayi_fail(RAY_ERR_STORE_FULL, "the node's loop waits neither for room in the object store nor for bytes "
                                             "that are on disk or on another node");
    if (!thread->frame)
        return 0;
    if (thread->executor && atomic_fetch_add(&lane->num_blocked, 1) + 1 >= lane->config.max_threads) {
        atomic_fetch_sub(&lane->num_blocked, 1);
        return rayi_fail(
            RAY_ERR_LIMIT,
            "all %u threads of this node wait for something: none is left to do it; use fewer nested waits",
            lane->config.max_threads);
    }
    thread->gave_slot = thread->has_slot;
    if (thread->has_slot)
        rayi_slot_drop(thread);
    lane->ops.blocked(thread, record, true);
    atomic_thread_fence(memory_order_seq_cst);
    if (!rayi_lane_has_work(lane))
        return 0;
    if (rayi_lane_wake(lane) || !thread->executor ||
        atomic_load(&lane->num_executors) > atomic_load(&lane->num_blocked) || rayi_lane_stopping(lane))
        return 0;
    rayi_lane_unblock(thread); /* every thread would wait, and there is work that nobody could do */
    return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: no thread can be started to do what this task waits for");
}

void rayi_lane_unblock(rayi_thread *thread)
{
    if (!thread->frame)
        return;
    thread->lane->ops.blocked(thread, NULL, false);
    if (thread->gave_slot)
        rayi_slot_resume(thread);
    if (thread->executor)
        atomic_fetch_sub(&thread->lane->num_blocked, 1);
}

/* Who waits for news of other processes takes them in itself, sooner than the loop would. */
static bool may_spin(const rayi_lane *lane, bool polls)
{
    return (polls || !atomic_load_explicit(&lane->loop_searches, memory_order_relaxed)) && rayi_lane_has_free_cpu(lane);
}

/* Spins while a CPU is free for it and the record runs somewhere; true: done. */
static bool spin_for(rayi_thread *thread, rayi_record *record, int64_t deadline_ns)
{
    rayi_lane *lane = thread->lane;
    int64_t end;
    bool polls;

    polls = atomic_load_explicit(&lane->polled, memory_order_relaxed);
    if (!may_spin(lane, polls))
        return rayi_record_done(record);
    end = RAYI_MIN(deadline_ns, rayi_now_ns() + RAYI_SPIN_NS);
    if (polls)
        lane->ops.poll(thread, RAYI_POLL_BEGIN);
    do {
        for (int i = 0; i < (polls ? 128 : 32); i++) {
            if (rayi_record_done(record))
                break;
            rayi_pause();
            if (polls)
                lane->ops.poll(thread, RAYI_POLL_AGAIN);
        }
        if (rayi_record_done(record))
            break;
        sched_yield(); /* whom we wait for may stand behind us on this CPU, where our wake-up has put it */
    } while (rayi_now_ns() < end && may_spin(lane, polls));
    if (polls)
        lane->ops.poll(thread, RAYI_POLL_END);
    return rayi_record_done(record);
}

static int sleep_for(rayi_thread *thread, rayi_record *record, int64_t deadline_ns)
{
    sleeper self = {.waiter.fire = fire_sleeper, .thread = thread};
    rayi_lane *lane = thread->lane;
    int r;

    if (deadline_ns != INT64_MAX && rayi_now_ns() >= deadline_ns)
        return RAY_ERR_TIMEOUT;
    thread->has_deadline = rayi_is_soon(deadline_ns);
    r = rayi_lane_block(thread, record);
    thread->has_deadline = false;
    if (r < 0)
        return r;
    if (atomic_load(&lane->num_executors) == 0 && rayi_lane_has_work(lane))
        rayi_lane_wake(lane); /* there was no memory for the first thread: try again */
    if (rayi_record_watch(record, &self.waiter) && !rayi_thread_park(thread, &self.fired, deadline_ns)) {
        if (rayi_record_unwatch(record, &self.waiter))
            r = RAY_ERR_TIMEOUT;
        else
            rayi_thread_park(thread, &self.fired, INT64_MAX);
    }
    rayi_lane_unblock(thread);
    return r;
}

int rayi_lane_wait(rayi_thread *thread, rayi_record *record, int64_t deadline_ns, unsigned flags)
{
    for (;;) {
        if (rayi_record_done(record))
            return 0;
        if ((flags & RAYI_MAY_HELP) && help_toward(thread, record))
            continue;
        if (spin_for(thread, record, deadline_ns))
            return 0;
        if (!(flags & RAYI_MAY_HELP) ||
            (atomic_load_explicit(&record->state, memory_order_relaxed) & RAYI_PHASE) != RAYI_QUEUED ||
            !rayi_lane_help(thread, record))
            return sleep_for(thread, record, deadline_ns);
    }
}
