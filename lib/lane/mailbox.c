/* Mailboxes: the queue of an actor's calls.
 *
 * Submitters push calls whose arguments are done onto `inbox`, a stack that a compare-and-swap extends (release);
 * whoever finds it IDLE has to schedule a runner. Runners, one for each call that may be under way, take the whole
 * stack (exchange, acquire), turn it round and append it to the queue `first`…`last`, all under the lock, which
 * submitters on this path never take. The inbox becomes IDLE again only by a compare-and-swap from empty, under the
 * lock: when a runner finds nothing to do, and when one takes the last call while more runners are allowed and all
 * that there are are in calls, which they may not leave before a later call has done something. So a call is either
 * seen by a runner or schedules one; a runner that finds an inbox IDLE by another's doing has nothing to do either.
 *
 * Order. Calls of one caller keep the order of submission. A call whose arguments are not done is held in its caller's
 * list, and so is every later call of that caller while that list is not empty; when arguments resolve, the head of
 * each list that is ready moves on to the inbox, under the lock. A caller itself submits from one thread, sees its own
 * changes of num_held, and meets a decrement by others (release) only after the calls were pushed.
 *
 * Of an actor that lives elsewhere the one runner of a queue takes calls and sends them; when that process dies the
 * sent ones are put back at the head, by whoever notices, newest first. They came before the one that the runner has
 * just taken and finds it cannot send: that returns behind the first of those that were put back since it was taken.
 *
 * A call may part from its runner and end later. The runner goes on, but with `allowed` calls under way it gets none:
 * it rests with calls left in the queue, and whoever ends a parted call schedules one again. */
#include "lane/inside.h"

#include <string.h>

typedef struct rayi_held {
    struct rayi_held *next;
    uint64_t caller;
    rayi_task *first, *last;
} rayi_held;

int rayi_mailbox_init(rayi_mailbox *mailbox)
{
    mailbox->runner.content.pointer = mailbox;
    mailbox->owner = &mailbox->runner;
    atomic_store_explicit(&mailbox->inbox, RAYI_IDLE, memory_order_relaxed);
    atomic_store_explicit(&mailbox->num_held, 0, memory_order_relaxed);
    mailbox->first = mailbox->last = mailbox->behind = mailbox->running = NULL;
    mailbox->held = NULL;
    mailbox->num_running = mailbox->runners = mailbox->allowed = mailbox->epoch = 0;
    mailbox->runner_busy = mailbox->poked = false;
    return pthread_mutex_init(&mailbox->lock, NULL) ? rayi_fail(RAY_ERR_SYSTEM, "no mutex for an actor") : 0;
}

int rayi_mailbox_init_further(rayi_mailbox *mailbox, rayi_mailbox *first)
{
    int r;

    memset(mailbox, 0, sizeof *mailbox);
    r = rayi_mailbox_init(mailbox);
    mailbox->runner.type = RAYI_RUNNER;
    mailbox->runner.flags = first->runner.flags;
    mailbox->owner = first->owner;
    return r;
}

void rayi_mailbox_fini(rayi_mailbox *mailbox)
{
    RAYI_ASSERT(!mailbox->first && !mailbox->running && !mailbox->held);
    pthread_mutex_destroy(&mailbox->lock);
}

/* One runner more goes into a queue; the lock is held. False: no memory for it, the others will do. */
static rayi_record *new_runner(rayi_thread *thread, rayi_mailbox *mailbox)
{
    rayi_record *runner = &mailbox->runner;

    if (mailbox->runner_busy) {
        runner = rayi_pool_alloc(thread, RAYI_RUNNER, sizeof *runner);
        if (!runner)
            return NULL;
        runner->content.pointer = mailbox;
        runner->flags = mailbox->runner.flags;
    }
    mailbox->runner_busy = true;
    mailbox->runners++;
    rayi_record_ref(mailbox->owner); /* for as long as it is in a queue or serves */
    return runner;
}

/* Schedules a runner if one may be had: a call was put into an idle inbox, say. */
static void schedule(rayi_thread *thread, rayi_mailbox *mailbox)
{
    rayi_record *runner = NULL;

    pthread_mutex_lock(&mailbox->lock);
    if (mailbox->runners < mailbox->allowed)
        runner = new_runner(thread, mailbox);
    pthread_mutex_unlock(&mailbox->lock);
    if (runner)
        rayi_lane_enqueue(thread, runner);
}

/* True: the inbox was idle. */
static bool push(rayi_mailbox *mailbox, rayi_task *call)
{
    uintptr_t head = atomic_load_explicit(&mailbox->inbox, memory_order_relaxed);

    do
        call->head.next = head == RAYI_IDLE ? NULL : (rayi_record *)head;
    while (!atomic_compare_exchange_weak_explicit(&mailbox->inbox, &head, (uintptr_t)call, memory_order_acq_rel,
                                                  memory_order_relaxed));
    return head == RAYI_IDLE;
}

static rayi_held *held_of(rayi_mailbox *mailbox, uint64_t caller)
{
    rayi_held *held = mailbox->held;

    while (held && held->caller != caller)
        held = held->next;
    return held;
}

/* The lock is held. */
static bool hold(rayi_mailbox *mailbox, rayi_task *call, uint64_t caller)
{
    rayi_held *held = held_of(mailbox, caller);

    if (!held) {
        held = rayi_alloc(sizeof *held);
        if (!held)
            return false;
        *held = (rayi_held){.next = mailbox->held, .caller = caller};
        mailbox->held = held;
    }
    call->head.next = NULL;
    if (held->last)
        held->last->head.next = &call->head;
    else
        held->first = call;
    held->last = call;
    atomic_fetch_add_explicit(&mailbox->num_held, 1, memory_order_relaxed);
    return true;
}

bool rayi_mailbox_post(rayi_thread *thread, rayi_mailbox *mailbox, rayi_task *call)
{
    bool ready = atomic_load_explicit(&call->pending, memory_order_acquire) == 0, posted = true, wake = false;

    if (ready && atomic_load_explicit(&mailbox->num_held, memory_order_acquire) == 0) {
        wake = push(mailbox, call);
    } else {
        pthread_mutex_lock(&mailbox->lock);
        if (!ready || held_of(mailbox, thread->caller))
            posted = hold(mailbox, call, thread->caller);
        else
            wake = push(mailbox, call);
        pthread_mutex_unlock(&mailbox->lock);
    }
    if (wake)
        schedule(thread, mailbox);
    return posted;
}

void rayi_mailbox_ready(rayi_thread *thread, rayi_mailbox *mailbox)
{
    bool wake = false;
    rayi_held **at, *held;

    pthread_mutex_lock(&mailbox->lock);
    for (at = &mailbox->held; (held = *at);) {
        while (held->first && atomic_load_explicit(&held->first->pending, memory_order_acquire) == 0) {
            rayi_task *call = held->first;
            held->first = (rayi_task *)call->head.next;
            wake |= push(mailbox, call);
            atomic_fetch_sub_explicit(&mailbox->num_held, 1, memory_order_release);
        }
        if (held->first) {
            at = &held->next;
        } else {
            *at = held->next;
            rayi_free(held);
        }
    }
    pthread_mutex_unlock(&mailbox->lock);
    if (wake)
        schedule(thread, mailbox);
}

void rayi_mailbox_poke(rayi_thread *thread, rayi_mailbox *mailbox, uint32_t allowed)
{
    pthread_mutex_lock(&mailbox->lock);
    mailbox->allowed = allowed;
    mailbox->poked = true;
    pthread_mutex_unlock(&mailbox->lock);
    schedule(thread, mailbox); /* those that there are may all be in calls */
}

/* Moves the inbox to the end of the queue; the lock is held. With a runner about, the inbox stays its to rest. */
static void collect(rayi_mailbox *mailbox)
{
    uintptr_t head = atomic_load_explicit(&mailbox->inbox, memory_order_relaxed);
    rayi_record *first = NULL, *last;

    if (head == RAYI_IDLE || head == 0)
        return;
    last = (rayi_record *)atomic_exchange_explicit(&mailbox->inbox, mailbox->runners > 0 ? 0 : RAYI_IDLE,
                                                   memory_order_acquire);
    for (rayi_record *call = last, *next; call; call = next) {
        next = call->next;
        call->next = first;
        first = call;
    }
    if (mailbox->last)
        mailbox->last->head.next = first;
    else
        mailbox->first = (rayi_task *)first;
    mailbox->last = (rayi_task *)last;
}

static rayi_task *pop(rayi_mailbox *mailbox)
{
    rayi_task *call = mailbox->first;

    if (call) {
        mailbox->first = (rayi_task *)call->head.next;
        if (!mailbox->first)
            mailbox->last = NULL;
    }
    return call;
}

/* The lock is held; what was cancelled meanwhile goes to *stale. */
static rayi_task *pop_claimed(rayi_mailbox *mailbox, rayi_record **stale)
{
    rayi_task *call;

    while ((call = pop(mailbox)) && !rayi_record_claim(&call->head)) {
        call->head.next = *stale;
        *stale = &call->head;
    }
    return call;
}

static void drop_stale(rayi_thread *thread, rayi_record *stale)
{
    for (rayi_record *next; stale; stale = next) {
        next = stale->next;
        rayi_record_unref(thread, stale);
    }
}

/* So many calls are under way as may be; the lock is held. */
static bool full(const rayi_mailbox *mailbox)
{
    return mailbox->num_running >= mailbox->allowed;
}

/* Whoever pushes the next call schedules a runner. False: there are calls; the lock is held. */
static bool let_idle(rayi_mailbox *mailbox)
{
    uintptr_t none = 0;

    return atomic_compare_exchange_strong_explicit(&mailbox->inbox, &none, RAYI_IDLE, memory_order_acq_rel,
                                                   memory_order_relaxed) ||
           none == RAYI_IDLE;
}

rayi_task *rayi_mailbox_next(rayi_thread *thread, rayi_mailbox *mailbox, uint32_t *epoch)
{
    rayi_record *runner = NULL, *stale = NULL;
    rayi_task *call = NULL;

    pthread_mutex_lock(&mailbox->lock);
    mailbox->poked = false;
    *epoch = mailbox->epoch;
    if (!mailbox->first)
        collect(mailbox);
    if (!full(mailbox))
        call = pop_claimed(mailbox, &stale);
    if (call) {
        call->head.next = mailbox->running ? &mailbox->running->head : NULL;
        mailbox->running = call;
        mailbox->num_running++;
        /* With all runners in calls, as this one is from here on, nobody would look at what is left, or comes. */
        if (mailbox->runners <= mailbox->num_running && mailbox->runners < mailbox->allowed && !full(mailbox) &&
            (mailbox->first || !let_idle(mailbox)))
            runner = new_runner(thread, mailbox);
    }
    pthread_mutex_unlock(&mailbox->lock);
    if (runner)
        rayi_lane_enqueue(thread, runner);
    drop_stale(thread, stale);
    return call;
}

/* To the head of the queue; the lock is held. */
static void unpop(rayi_mailbox *mailbox, rayi_task *call)
{
    atomic_fetch_and_explicit(&call->head.state, ~(unsigned)RAYI_PHASE, memory_order_release); /* pending */
    call->head.next = (rayi_record *)mailbox->first;
    mailbox->first = call;
    if (!mailbox->last)
        mailbox->last = call;
}

rayi_task *rayi_mailbox_take(rayi_thread *thread, rayi_mailbox *mailbox)
{
    rayi_record *stale = NULL;
    rayi_task *call;

    pthread_mutex_lock(&mailbox->lock);
    mailbox->poked = false;
    mailbox->behind = NULL;
    if (!mailbox->first)
        collect(mailbox);
    call = pop_claimed(mailbox, &stale);
    pthread_mutex_unlock(&mailbox->lock);
    drop_stale(thread, stale);
    return call;
}

void rayi_mailbox_put_back(rayi_mailbox *mailbox, rayi_task *call)
{
    pthread_mutex_lock(&mailbox->lock);
    unpop(mailbox, call);
    if (!mailbox->behind)
        mailbox->behind = call;
    pthread_mutex_unlock(&mailbox->lock);
}

void rayi_mailbox_return(rayi_mailbox *mailbox, rayi_task *call)
{
    rayi_task *behind;

    pthread_mutex_lock(&mailbox->lock);
    behind = mailbox->behind;
    if (behind) { /* in the queue still: only this runner takes calls out, or all go */
        atomic_fetch_and_explicit(&call->head.state, ~(unsigned)RAYI_PHASE, memory_order_release);
        call->head.next = behind->head.next;
        behind->head.next = &call->head;
        if (mailbox->last == behind)
            mailbox->last = call;
    } else {
        unpop(mailbox, call);
    }
    mailbox->behind = NULL;
    pthread_mutex_unlock(&mailbox->lock);
}

bool rayi_mailbox_pause(rayi_mailbox *mailbox, const rayi_record *runner)
{
    bool pauses;

    pthread_mutex_lock(&mailbox->lock);
    pauses = !mailbox->poked;
    mailbox->poked = false;
    if (pauses) {
        mailbox->runners--;
        if (runner == &mailbox->runner)
            mailbox->runner_busy = false;
    }
    pthread_mutex_unlock(&mailbox->lock);
    return pauses;
}

static void leave_running(rayi_mailbox *mailbox, rayi_task *call)
{
    rayi_task *at = mailbox->running;

    mailbox->num_running--;
    if (at == call) {
        mailbox->running = (rayi_task *)call->head.next;
        return;
    }
    while (at->head.next != &call->head)
        at = (rayi_task *)at->head.next;
    at->head.next = call->head.next;
}

bool rayi_mailbox_ran(rayi_mailbox *mailbox, rayi_task *call, uint32_t epoch, bool put_back)
{
    bool ours;

    pthread_mutex_lock(&mailbox->lock);
    ours = epoch == mailbox->epoch;
    if (ours)
        leave_running(mailbox, call);
    if (ours && put_back)
        unpop(mailbox, call);
    pthread_mutex_unlock(&mailbox->lock);
    return ours;
}

bool rayi_mailbox_part(rayi_mailbox *mailbox, rayi_task *call, uint32_t epoch)
{
    bool ours;

    pthread_mutex_lock(&mailbox->lock);
    ours = epoch == mailbox->epoch;
    if (ours)
        atomic_fetch_or_explicit(&call->head.state, RAYI_PARTED, memory_order_relaxed);
    pthread_mutex_unlock(&mailbox->lock);
    return ours;
}

enum rayi_ran rayi_mailbox_ran_parted(rayi_thread *thread, rayi_mailbox *mailbox, rayi_task *call, uint32_t epoch,
                                      bool (*again)(rayi_task *call, void *arg), void *arg)
{
    enum rayi_ran how = RAYI_RAN_TAKEN;
    rayi_record *runner = NULL;

    pthread_mutex_lock(&mailbox->lock);
    if (epoch == mailbox->epoch) {
        how = again(call, arg) ? RAYI_RAN_AGAIN : RAYI_RAN;
        leave_running(mailbox, call);
        atomic_fetch_and_explicit(&call->head.state, ~(unsigned)RAYI_PARTED, memory_order_relaxed);
        if (how == RAYI_RAN_AGAIN)
            unpop(mailbox, call);
        /* Runners that found no room for a call have rested, and the inbox is as they left it. */
        if (mailbox->runners < mailbox->allowed &&
            (mailbox->first || atomic_load_explicit(&mailbox->inbox, memory_order_relaxed) != RAYI_IDLE))
            runner = new_runner(thread, mailbox);
    }
    pthread_mutex_unlock(&mailbox->lock);
    if (runner)
        rayi_lane_enqueue(thread, runner);
    return how;
}

void rayi_mailbox_forget(rayi_mailbox *mailbox, const rayi_record *runner)
{
    pthread_mutex_lock(&mailbox->lock);
    if (runner == &mailbox->runner)
        mailbox->runner_busy = false;
    pthread_mutex_unlock(&mailbox->lock);
}

bool rayi_mailbox_busy(rayi_mailbox *mailbox)
{
    bool busy;

    pthread_mutex_lock(&mailbox->lock);
    busy = mailbox->running != NULL;
    pthread_mutex_unlock(&mailbox->lock);
    return busy;
}

bool rayi_mailbox_empty(rayi_mailbox *mailbox)
{
    bool empty;

    pthread_mutex_lock(&mailbox->lock);
    empty = !mailbox->running && !mailbox->first && !mailbox->held &&
            atomic_load_explicit(&mailbox->inbox, memory_order_acquire) <= RAYI_IDLE;
    pthread_mutex_unlock(&mailbox->lock);
    return empty;
}

bool rayi_mailbox_rest(rayi_mailbox *mailbox, const rayi_record *runner)
{
    bool rests;

    pthread_mutex_lock(&mailbox->lock);
    rests = !mailbox->poked && (!mailbox->first || full(mailbox));
    mailbox->poked = false;
    if (rests && !mailbox->first)
        rests = let_idle(mailbox);
    if (rests) {
        mailbox->runners--;
        if (runner == &mailbox->runner)
            mailbox->runner_busy = false;
    }
    pthread_mutex_unlock(&mailbox->lock);
    return rests;
}

#define CALLS_AT_ONCE 256 /* then others have their turn */

void rayi_mailbox_serve(rayi_thread *thread, rayi_record *runner)
{
    rayi_mailbox *mailbox = runner->content.pointer;

    if (thread->lane->ops.serve(thread, runner, CALLS_AT_ONCE)) {
        rayi_lane_enqueue(thread, runner);
        return;
    }
    if (runner != &mailbox->runner) /* else it may be in a queue again already */
        rayi_pool_free(thread, runner);
    rayi_record_unref(thread, mailbox->owner);
}

rayi_task *rayi_mailbox_take_waiting(rayi_mailbox *mailbox)
{
    rayi_task *first, **end;
    rayi_held *held;

    pthread_mutex_lock(&mailbox->lock);
    collect(mailbox);
    first = mailbox->first;
    end = &first;
    while (*end)
        end = (rayi_task **)&(*end)->head.next;
    while ((held = mailbox->held)) {
        *end = held->first;
        while (*end)
            end = (rayi_task **)&(*end)->head.next;
        mailbox->held = held->next;
        rayi_free(held);
    }
    atomic_store_explicit(&mailbox->num_held, 0, memory_order_release);
    mailbox->first = mailbox->last = mailbox->behind = NULL;
    pthread_mutex_unlock(&mailbox->lock);
    return first;
}

rayi_task *rayi_mailbox_take_running(rayi_mailbox *mailbox, bool (*again)(rayi_task *call))
{
    rayi_task *taken = NULL, *call, *next;

    pthread_mutex_lock(&mailbox->lock);
    mailbox->epoch++;
    call = mailbox->running;
    mailbox->running = NULL;
    mailbox->num_running = 0;
    for (; call; call = next) {
        next = (rayi_task *)call->head.next;
        if (atomic_load_explicit(&call->head.state, memory_order_relaxed) & RAYI_PARTED) {
            atomic_fetch_and_explicit(&call->head.state, ~(unsigned)RAYI_PARTED, memory_order_relaxed);
        } else {
            mailbox->runners--;           /* its runner is on its own */
            rayi_record_ref(&call->head); /* and keeps what it works on */
            atomic_fetch_or_explicit(&call->head.state, RAYI_TAKEN, memory_order_relaxed);
        }
        if (again(call)) {
            unpop(mailbox, call);
        } else {
            call->head.next = (rayi_record *)taken;
            taken = call;
        }
    }
    pthread_mutex_unlock(&mailbox->lock);
    return taken;
}
