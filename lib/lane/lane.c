/* The lane's threads: who runs, who sleeps, who is woken; the lane's life.
 *
 * Who comes for work. A submitter stores the record (release), passes a sequentially consistent fence and then looks
 * whether somebody searches; if nobody does, it wakes a sleeper, giving it the right to search. A thread that finds
 * nothing gives that right up, puts itself among the sleepers, passes a sequentially consistent fence and looks once
 * more before it
 * sleeps; if there is something now it searches again, since others may have relied on its search. Of the two fences
 * one comes first: either the submitter sees that nobody searches and a sleeper is there, or the sleeper sees the
 * record. At most one thread searches, so a burst of submissions wakes one; a searcher that finds work wakes the next
 * if there is more. A thread spins for at most 50 µs, not at all on one CPU, nor while the node's loop searches.
 *
 * A thread that blocks counts as absent: while fewer threads than num_threads are present, a wake starts another one,
 * up to max_threads. One that finds itself in excess ends after a second without work. Work that nobody takes up for 10
 * ms while all threads run user code (calls of actors that sleep) gets another thread from the monitor,
 * rayi_lane_unstick. */
#include "lane/inside.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXCESS_IDLE_NS 1000000000
#define KEPT_CONTEXTS  2
#define STACK_RESERVE  ((size_t)256 << 10)

_Thread_local rayi_thread *rayi_self __attribute__((tls_model("initial-exec")));

static pthread_key_t self_key;
static pthread_once_t self_key_once = PTHREAD_ONCE_INIT;
static bool have_self_key;

/* ---- sleeping and waking ---- */

static void futex_wake(atomic_uint *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Until *word is no longer 0, the deadline, or for no reason. */
static void futex_wait(atomic_uint *word, int64_t deadline_ns)
{
    struct timespec until = {deadline_ns / 1000000000, deadline_ns % 1000000000};

    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, 0, deadline_ns == INT64_MAX ? NULL : &until, NULL,
            FUTEX_BITSET_MATCH_ANY);
}

void rayi_thread_wake(rayi_thread *thread)
{
    rayi_lane *lane = thread->lane;

    if (atomic_exchange_explicit(&thread->parked, 1, memory_order_acq_rel) == 0)
        futex_wake(&thread->parked);
    if (lane->ops.stir)
        lane->ops.stir(lane);
}

bool rayi_thread_park(rayi_thread *thread, atomic_uint *word, int64_t deadline_ns)
{
    while (atomic_load_explicit(word, memory_order_acquire) == 0) {
        if (deadline_ns != INT64_MAX && rayi_now_ns() >= deadline_ns)
            return false;
        if (thread->lane->ops.sleep)
            thread->lane->ops.sleep(thread, word, deadline_ns);
        else if (atomic_exchange_explicit(&thread->parked, 0, memory_order_acq_rel) == 0)
            futex_wait(&thread->parked, deadline_ns);
    }
    return true;
}

static uint32_t num_awake(const rayi_lane *lane)
{
    unsigned absent = atomic_load_explicit(&lane->num_asleep, memory_order_relaxed) +
                      atomic_load_explicit(&lane->num_blocked, memory_order_relaxed);
    unsigned all = atomic_load_explicit(&lane->num_executors, memory_order_relaxed);

    return all > absent ? all - absent : 0;
}

bool rayi_lane_has_free_cpu(const rayi_lane *lane)
{
    return lane->config.num_cpus > 1 && num_awake(lane) < lane->config.num_cpus;
}

void rayi_lane_set_loop_searches(rayi_lane *lane, bool searches)
{
    atomic_store_explicit(&lane->loop_searches, searches, memory_order_relaxed);
}

bool rayi_lane_has_work(rayi_lane *lane)
{
    if (rayi_queue_visible(lane, RAYI_NEEDS_NONE))
        return true;
    if (!rayi_queue_visible(lane, RAYI_NEEDS_SLOT))
        return false;
    if (atomic_load_explicit(&lane->slots, memory_order_seq_cst) > 0 || rayi_lane_stopping(lane))
        return true;
    atomic_store_explicit(&lane->starved, 1, memory_order_seq_cst);
    return atomic_load_explicit(&lane->slots, memory_order_seq_cst) > 0;
}

/* The sleeper gets the right to search before it can notice that it was popped. */
static rayi_thread *pop_sleeper(rayi_lane *lane, bool searching)
{
    rayi_thread *sleeper;

    pthread_mutex_lock(&lane->sleep_lock);
    sleeper = lane->sleepers;
    if (sleeper) {
        lane->sleepers = sleeper->next_sleeper;
        sleeper->asleep = false;
        sleeper->searching = searching;
        atomic_fetch_sub_explicit(&lane->num_asleep, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&lane->sleep_lock);
    return sleeper;
}

/* False: somebody has popped it, and a wake-up is on its way. */
static bool leave_sleepers(rayi_thread *thread)
{
    rayi_lane *lane = thread->lane;
    bool left = false;

    pthread_mutex_lock(&lane->sleep_lock);
    if (thread->asleep) {
        rayi_thread **at = &lane->sleepers;
        while (*at != thread)
            at = &(*at)->next_sleeper;
        *at = thread->next_sleeper;
        thread->asleep = false;
        atomic_fetch_sub_explicit(&lane->num_asleep, 1, memory_order_relaxed);
        left = true;
    }
    pthread_mutex_unlock(&lane->sleep_lock);
    return left;
}

static bool spawn(rayi_lane *lane, bool searching);

static bool may_spawn(const rayi_lane *lane)
{
    unsigned all = atomic_load_explicit(&lane->num_executors, memory_order_relaxed);
    unsigned blocked = atomic_load_explicit(&lane->num_blocked, memory_order_relaxed);

    return !rayi_lane_stopping(lane) && all < lane->config.max_threads && all < lane->config.num_threads + blocked;
}

static void ask_for_monitor(rayi_lane *lane)
{
    if (!atomic_load_explicit(&lane->congested, memory_order_relaxed) &&
        !atomic_exchange_explicit(&lane->congested, true, memory_order_acq_rel) && !lane->ops.congested(lane))
        atomic_store(&lane->congested, false);
}

bool rayi_lane_wake(rayi_lane *lane)
{
    unsigned none = 0;
    rayi_thread *sleeper;

    if (atomic_load_explicit(&lane->searching, memory_order_seq_cst) != 0)
        return true;
    if (atomic_load_explicit(&lane->num_asleep, memory_order_seq_cst) == 0 && !may_spawn(lane)) {
        ask_for_monitor(lane);
        return true;
    }
    if (!atomic_compare_exchange_strong_explicit(&lane->searching, &none, 1, memory_order_seq_cst,
                                                 memory_order_seq_cst))
        return true;
    sleeper = pop_sleeper(lane, true);
    if (sleeper) {
        rayi_thread_wake(sleeper);
    } else if (!may_spawn(lane)) {
        /* Who slept has seen work and got up by itself. It takes one record, and could not become a searcher, who would
         * look for more, while we were one: what it leaves is for the monitor if all are busy. */
        atomic_store_explicit(&lane->searching, 0, memory_order_seq_cst);
        ask_for_monitor(lane);
    } else if (!spawn(lane, true)) {
        atomic_store_explicit(&lane->searching, 0, memory_order_seq_cst);
        ask_for_monitor(lane); /* the system may have a thread for us later */
        return false;
    }
    return true;
}

void rayi_lane_stop_searching(rayi_thread *thread)
{
    thread->searching = false;
    atomic_store_explicit(&thread->lane->searching, 0, memory_order_seq_cst);
}

/* Looks for work for a while; true: there is some. */
static bool spin(rayi_thread *thread)
{
    rayi_lane *lane = thread->lane;
    int64_t end;

    if (lane->config.num_cpus < 2)
        return false;
    if (atomic_load_explicit(&lane->loop_searches, memory_order_relaxed))
        return false;
    end = rayi_now_ns() + RAYI_SPIN_NS;
    do {
        for (int i = 0; i < 32; i++) {
            if (rayi_queue_visible(lane, RAYI_NEEDS_NONE) ||
                (rayi_queue_visible(lane, RAYI_NEEDS_SLOT) &&
                 atomic_load_explicit(&lane->slots, memory_order_relaxed) > 0))
                return true;
            rayi_pause();
        }
        sched_yield(); /* whom we wait for may stand behind us on this CPU, where our wake-up has put it */
    } while (rayi_now_ns() < end && !atomic_load_explicit(&lane->loop_searches, memory_order_relaxed));
    return false;
}

static bool in_excess(rayi_thread *thread)
{
    rayi_lane *lane = thread->lane;

    return atomic_load(&lane->num_executors) > lane->config.num_threads + atomic_load(&lane->num_blocked);
}

/* Returns when there may be work; false: this thread should end. */
static bool idle(rayi_thread *thread)
{
    rayi_lane *lane = thread->lane;
    unsigned none = 0;
    int64_t deadline;

    if (thread->has_slot)
        rayi_slot_drop(thread);
    if (!thread->searching)
        thread->searching = atomic_compare_exchange_strong(&lane->searching, &none, 1);
    if (thread->searching) {
        if (spin(thread))
            return true;
        rayi_lane_stop_searching(thread);
    }
    atomic_store_explicit(&thread->parked, 0, memory_order_relaxed);
    pthread_mutex_lock(&lane->sleep_lock);
    thread->next_sleeper = lane->sleepers;
    lane->sleepers = thread;
    thread->asleep = true;
    atomic_fetch_add_explicit(&lane->num_asleep, 1, memory_order_seq_cst);
    pthread_mutex_unlock(&lane->sleep_lock);
    atomic_thread_fence(memory_order_seq_cst);
    if ((rayi_lane_has_work(lane) || rayi_lane_stopping(lane)) && leave_sleepers(thread)) {
        /* Whoever submitted this relied on our search: be a searcher again, who wakes the next if there is more. */
        none = 0;
        thread->searching = atomic_compare_exchange_strong(&lane->searching, &none, 1);
        return !rayi_lane_stopping(lane) || rayi_lane_has_work(lane);
    }
    deadline = in_excess(thread) ? rayi_now_ns() + EXCESS_IDLE_NS : INT64_MAX;
    while (atomic_load_explicit(&thread->parked, memory_order_acquire) == 0) {
        if (deadline != INT64_MAX && rayi_now_ns() >= deadline)
            break;
        futex_wait(&thread->parked, deadline);
    }
    /* Woken for work, late by somebody whose news had been seen, or by time. */
    return !leave_sleepers(thread) || !in_excess(thread) || rayi_lane_has_work(lane);
}

/* ---- executors ---- */

static void found(rayi_thread *thread)
{
    if (!thread->searching)
        return;
    rayi_lane_stop_searching(thread);
    atomic_thread_fence(memory_order_seq_cst);
    if (rayi_lane_has_work(thread->lane))
        rayi_lane_wake(thread->lane);
}

static rayi_record *find_task(rayi_thread *thread)
{
    rayi_lane *lane = thread->lane;

    if (!rayi_queue_visible(lane, RAYI_NEEDS_SLOT))
        return NULL;
    if (!thread->has_slot && !rayi_slot_acquire(thread) && !rayi_lane_stopping(lane))
        return NULL;
    return rayi_queue_take(thread, RAYI_NEEDS_SLOT);
}

static rayi_record *find(rayi_thread *thread)
{
    bool tasks_first = atomic_load_explicit(&thread->ticks, memory_order_relaxed) & 1;
    rayi_record *record = NULL;

    if (tasks_first)
        record = find_task(thread);
    if (!record && rayi_queue_visible(thread->lane, RAYI_NEEDS_NONE))
        record = rayi_queue_take(thread, RAYI_NEEDS_NONE);
    if (!record && !tasks_first)
        record = find_task(thread);
    return record;
}

static void run(rayi_thread *thread, rayi_record *record)
{
    rayi_lane *lane = thread->lane;
    bool needs_slot = rayi_kind_of_work(record) == RAYI_NEEDS_SLOT;

    found(thread);
    atomic_store_explicit(&thread->ticks, atomic_load_explicit(&thread->ticks, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (!needs_slot && thread->has_slot)
        rayi_slot_drop(thread);
    if (record->type == RAYI_RUNNER)
        rayi_mailbox_serve(thread, record);
    else
        lane->ops.run(thread, (rayi_task *)record);
    if (thread->has_slot && (atomic_load_explicit(&lane->slots, memory_order_relaxed) < 0 ||
                             atomic_load_explicit(&lane->wanted, memory_order_relaxed) > 0))
        rayi_slot_drop(thread);
}

/* Each executor that ends joins the one that ended before it, so that joining the last joins them all. What is here
 * after the unlock must not touch the lane. */
static void executor_ended(rayi_lane *lane, const pthread_t *self)
{
    pthread_t before;
    bool join = false;

    pthread_mutex_lock(&lane->threads_lock);
    if (self) {
        join = lane->has_ended;
        before = lane->ended;
        lane->has_ended = true;
        lane->ended = *self;
    }
    atomic_fetch_sub(&lane->num_executors, 1);
    pthread_cond_broadcast(&lane->threads_ended);
    pthread_mutex_unlock(&lane->threads_lock);
    if (join)
        pthread_join(before, NULL);
}

static void *executor_main(void *arg)
{
    rayi_thread *thread = arg;
    rayi_lane *lane = thread->lane;
    pthread_t self = pthread_self();
    rayi_record *record;

    rayi_self = thread;
    rayi_thread_find_stack(thread);
    do {
        while ((record = find(thread)))
            run(thread, record);
    } while (idle(thread));
    rayi_self = NULL;
    rayi_thread_part(thread);
    rayi_lane_unattach(lane);
    executor_ended(lane, &self);
    return NULL;
}

static bool spawn(rayi_lane *lane, bool searching)
{
    rayi_thread *thread = rayi_thread_new(lane, atomic_load(&lane->num_executors) == 0 ? 1 : KEPT_CONTEXTS);
    sigset_t all, old;
    pthread_t id;
    int failed;

    if (!thread)
        return false;
    thread->executor = true;
    thread->searching = searching;
    atomic_fetch_add(&lane->num_executors, 1);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    failed = pthread_create(&id, NULL, executor_main, thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        rayi_thread_part(thread);
        rayi_lane_unattach(lane);
        executor_ended(lane, NULL);
    }
    return !failed;
}

uint64_t rayi_lane_progress(const rayi_lane *lane)
{
    unsigned contexts = atomic_load(&lane->num_contexts);
    uint64_t progress = 0;

    for (unsigned i = 0; i < contexts; i++) {
        const rayi_thread *thread = atomic_load(&lane->thread[i]);
        progress += thread ? atomic_load(&thread->ticks) : 0;
    }
    return progress;
}

bool rayi_lane_has_room(const rayi_thread *thread)
{
    const rayi_ring *ring = &thread->ring[RAYI_NEEDS_SLOT];
    unsigned waits = atomic_load_explicit(&ring->tail, memory_order_relaxed) -
                     atomic_load_explicit(&ring->head, memory_order_relaxed);
    int free = atomic_load_explicit(&thread->lane->slots, memory_order_relaxed);

    return free > 0 && waits < (unsigned)free;
}

bool rayi_lane_unstick(rayi_lane *lane)
{
    uint64_t progress = rayi_lane_progress(lane);
    bool work = rayi_lane_has_work(lane);

    if (work && progress == lane->last_progress && atomic_load(&lane->num_asleep) == 0 &&
        atomic_load(&lane->num_executors) < lane->config.max_threads)
        spawn(lane, false);
    lane->last_progress = progress;
    if (!work) {
        atomic_store(&lane->congested, false);
        work = rayi_lane_has_work(lane) && !atomic_exchange(&lane->congested, true);
    }
    return work;
}

/* ---- contexts ---- */

void rayi_thread_find_stack(rayi_thread *thread)
{
    pthread_attr_t attr;
    void *low;
    size_t size, guard;

    thread->stack_low = NULL;
    if (pthread_getattr_np(pthread_self(), &attr))
        return;
    if (!pthread_attr_getstack(&attr, &low, &size) && !pthread_attr_getguardsize(&attr, &guard) &&
        size > guard + STACK_RESERVE)
        thread->stack_low = (char *)low + guard + STACK_RESERVE;
    pthread_attr_destroy(&attr);
}

/* A parted thread's context is used again: others may be looking at its rings at any time. Of those that nobody uses
 * `keep` are left: two for all but the first executor, which may leave one, for the thread that ends the lane. */
rayi_thread *rayi_thread_new(rayi_lane *lane, unsigned keep)
{
    rayi_thread *thread;
    void *block;
    unsigned index;

    pthread_mutex_lock(&lane->threads_lock);
    thread = lane->spare_contexts;
    if (lane->num_spare > keep) {
        lane->spare_contexts = thread->next_sleeper;
        lane->num_spare--;
        goto made;
    }
    thread = NULL;
    index = atomic_load(&lane->num_contexts);
    if (index == RAYI_MAX_CONTEXTS) {
        (void)rayi_fail(RAY_ERR_LIMIT, "more than %d threads use libray at the same time", RAYI_MAX_CONTEXTS);
        goto out;
    }
    block = rayi_zalloc(sizeof *thread + 64);
    if (!block) {
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a thread's context of %zu bytes", sizeof *thread);
        goto out;
    }
    thread = (rayi_thread *)(((uintptr_t)block + 63) & ~(uintptr_t)63);
    thread->block = block;
    thread->index = index;
    thread->lane = lane;
    atomic_store_explicit(&lane->thread[index], thread, memory_order_release);
    atomic_store_explicit(&lane->num_contexts, index + 1, memory_order_release);
made:
    thread->caller = (uint64_t)atomic_fetch_add(&lane->num_callers, 1) << 40;
    thread->callers = thread->caller;
    thread->executor = thread->has_slot = thread->searching = false;
    atomic_store(&thread->parked, 0);
    atomic_fetch_add(&lane->attached, 1);
out:
    pthread_mutex_unlock(&lane->threads_lock);
    return thread;
}

void rayi_thread_part(rayi_thread *thread)
{
    rayi_lane *lane = thread->lane;

    if (thread->searching)
        rayi_lane_stop_searching(thread);
    if (thread->has_slot)
        rayi_slot_drop(thread);
    rayi_lane_account(thread, 0);
    rayi_queue_empty(thread);
    rayi_pool_flush(thread);
    pthread_mutex_lock(&lane->threads_lock);
    thread->next_sleeper = lane->spare_contexts;
    lane->spare_contexts = thread;
    lane->num_spare++;
    pthread_mutex_unlock(&lane->threads_lock);
    atomic_thread_fence(memory_order_seq_cst);
    if (!rayi_lane_stopping(lane) && rayi_lane_has_work(lane))
        rayi_lane_wake(lane);
}

static void thread_ends(void *arg)
{
    (void)arg;
    rayi_lane_detach();
}

static void make_self_key(void)
{
    have_self_key = pthread_key_create(&self_key, thread_ends) == 0;
}

static rayi_thread *attach(rayi_lane *lane, bool last)
{
    rayi_thread *thread = rayi_self;

    if (thread && thread->lane == lane)
        return thread;
    if (thread)
        rayi_lane_detach();
    thread = rayi_thread_new(lane, last ? 0 : KEPT_CONTEXTS);
    if (!thread)
        return NULL;
    rayi_thread_find_stack(thread);
    if ((!have_self_key || pthread_setspecific(self_key, thread)) && !last) { /* the last detaches by itself */
        rayi_thread_part(thread);
        rayi_lane_unattach(lane);
        (void)rayi_fail(RAY_ERR_SYSTEM, "the process has no thread-specific key left (pthread_key_create)");
        return NULL;
    }
    rayi_self = thread;
    return thread;
}

rayi_thread *rayi_lane_attach(rayi_lane *lane)
{
    return attach(lane, false);
}

rayi_thread *rayi_lane_attach_last(rayi_lane *lane)
{
    return attach(lane, true);
}

void rayi_lane_detach(void)
{
    rayi_thread *thread = rayi_self;
    rayi_lane *lane;

    if (!thread)
        return;
    lane = thread->lane;
    if (rayi_lane_stopping(lane))
        rayi_lane_drain(thread); /* what was submitted too late has been ended; the queues' counts go here */
    rayi_self = NULL;
    pthread_setspecific(self_key, NULL);
    rayi_thread_part(thread);
    rayi_lane_unattach(lane);
}

/* ---- the lane's life ---- */

static void lane_free(rayi_lane *lane)
{
    for (unsigned i = 0; i < atomic_load(&lane->num_contexts); i++)
        rayi_free(atomic_load(&lane->thread[i])->block);
    for (int i = 0; i < RAYI_BUCKETS; i++)
        pthread_mutex_destroy(&lane->bucket[i]);
    for (int i = 0; i < RAYI_KINDS_OF_WORK; i++)
        pthread_mutex_destroy(&lane->overflow[i].lock);
    pthread_mutex_destroy(&lane->sleep_lock);
    pthread_mutex_destroy(&lane->threads_lock);
    pthread_cond_destroy(&lane->threads_ended);
    pthread_mutex_destroy(&lane->full_lock);
    pthread_cond_destroy(&lane->full_cond);
    pthread_mutex_destroy(&lane->late_lock);
    rayi_pool_fini(lane);
    if (lane->ops.freed)
        lane->ops.freed(lane->owner);
    rayi_free(lane->block);
}

int rayi_lane_new(const rayi_lane_config *config, const rayi_lane_ops *ops, void *owner, rayi_lane **out)
{
    void *block = rayi_zalloc(sizeof(rayi_lane) + 64);
    rayi_thread *kept[KEPT_CONTEXTS] = {NULL};
    bool made = true;
    rayi_lane *lane;

    if (!block)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the lane of %zu bytes", sizeof *lane);
    pthread_once(&self_key_once, make_self_key);
    lane = (rayi_lane *)(((uintptr_t)block + 63) & ~(uintptr_t)63);
    lane->block = block;
    lane->config = *config;
    lane->ops = *ops;
    lane->owner = owner;
    for (int i = 0; i < RAYI_BUCKETS; i++)
        pthread_mutex_init(&lane->bucket[i], NULL);
    for (int i = 0; i < RAYI_KINDS_OF_WORK; i++)
        pthread_mutex_init(&lane->overflow[i].lock, NULL);
    pthread_mutex_init(&lane->sleep_lock, NULL);
    pthread_mutex_init(&lane->threads_lock, NULL);
    pthread_cond_init(&lane->threads_ended, NULL);
    pthread_mutex_init(&lane->full_lock, NULL);
    pthread_cond_init(&lane->full_cond, NULL);
    pthread_mutex_init(&lane->late_lock, NULL);
    rayi_pool_init(lane);
    lane->late.lane = lane;
    atomic_store(&lane->attached, 1); /* until closed */
    for (unsigned i = 0; i < KEPT_CONTEXTS && made; i++) {
        kept[i] = rayi_thread_new(lane, KEPT_CONTEXTS);
        made = kept[i] != NULL;
    }
    for (unsigned i = 0; i < KEPT_CONTEXTS && kept[i]; i++) {
        rayi_thread_part(kept[i]);
        rayi_lane_unattach(lane);
    }
    if (!made) {
        lane->ops.freed = NULL;
        rayi_lane_close(lane);
        return RAY_ERR_NO_MEMORY;
    }
    *out = lane;
    return 0;
}

bool rayi_lane_stopping(const rayi_lane *lane)
{
    return atomic_load_explicit(&lane->stopping, memory_order_acquire);
}

void *rayi_lane_owner(const rayi_lane *lane)
{
    return lane->owner;
}

void rayi_lane_set_stopping(rayi_lane *lane)
{
    atomic_store(&lane->stopping, true);
    pthread_mutex_lock(&lane->full_lock);
    pthread_cond_broadcast(&lane->full_cond);
    pthread_mutex_unlock(&lane->full_lock);
}

void rayi_lane_drain(rayi_thread *thread)
{
    rayi_record *record;

    for (int kind = 0; kind < RAYI_KINDS_OF_WORK; kind++)
        while ((record = rayi_queue_take(thread, kind)))
            run(thread, record);
}

bool rayi_lane_join(rayi_lane *lane, int64_t deadline_ns)
{
    struct timespec until;
    rayi_thread *sleeper;
    int64_t left;
    bool joined;

    while ((sleeper = pop_sleeper(lane, false)))
        rayi_thread_wake(sleeper);
    clock_gettime(CLOCK_REALTIME, &until);
    left = RAYI_MAX(0, RAYI_MIN(deadline_ns - rayi_now_ns(), 1000000000)) + until.tv_nsec;
    until.tv_sec += left / 1000000000;
    until.tv_nsec = left % 1000000000;
    pthread_mutex_lock(&lane->threads_lock);
    while (atomic_load(&lane->num_executors) > 0 &&
           !pthread_cond_timedwait(&lane->threads_ended, &lane->threads_lock, &until))
        ;
    joined = atomic_load(&lane->num_executors) == 0;
    pthread_mutex_unlock(&lane->threads_lock);
    if (joined && lane->has_ended) {
        lane->has_ended = false;
        pthread_join(lane->ended, NULL);
    }
    return joined;
}

void rayi_lane_unattach(rayi_lane *lane)
{
    bool last;

    pthread_mutex_lock(&lane->late_lock);
    last = atomic_fetch_sub(&lane->attached, 1) == 1 && rayi_pool_unused(lane);
    pthread_mutex_unlock(&lane->late_lock);
    if (last)
        lane_free(lane);
}

void rayi_lane_close(rayi_lane *lane)
{
    atomic_store(&lane->closed, true);
    rayi_lane_unattach(lane);
}

/* The lane cannot go while a block of it is out. With no thread attached, what is here is all that can touch it. */
void rayi_record_unref_late(rayi_record *record)
{
    rayi_lane *lane = rayi_pool_lane(record);
    bool last;

    pthread_mutex_lock(&lane->late_lock);
    rayi_record_unref(&lane->late, record);
    last = atomic_load(&lane->closed) && atomic_load(&lane->attached) == 0 && rayi_pool_unused(lane);
    pthread_mutex_unlock(&lane->late_lock);
    if (last)
        lane_free(lane);
}

void rayi_lane_count(rayi_lane *lane, rayi_lane_counts *out)
{
    *out = (rayi_lane_counts){.threads = atomic_load(&lane->num_executors),
                              .blocked = atomic_load(&lane->num_blocked),
                              .asleep = atomic_load(&lane->num_asleep),
                              .slots = atomic_load(&lane->slots),
                              .pending_bytes = atomic_load(&lane->pending_bytes)};
}
