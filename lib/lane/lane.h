/* lane: the fast path of a node. Records (tasks, actor calls, objects), futures, run queues, the threads that serve
 * them, waiting and waking, actor mailboxes.
 *
 * The lane owns records and futures. It runs nothing itself: what a record means is the executor's affair, reached
 * through rayi_lane_ops. Invariants:
 *  - A record lives in a slab that keeps its type as long as the lane lives: reading the words `refs` and `gen` of a
 *    released record is safe, and `refs` is 0 until the block is used again.
 *  - A record is claimed once (state PENDING or QUEUED to RUNNING, one compare-and-swap) and completed once.
 *  - `waiters` is 0 while nobody waits, RAYI_CLOSED once done, else a list guarded by a lock of its bucket.
 *  - Slots are whole CPUs that the scheduler granted in advance: a task that wants one CPU takes a slot while it runs
 * and is not blocked. The count may go negative, since resuming never waits. Lock order: mailbox → nothing; bucket →
 * what ops->abandoned takes; lane.threads_lock → lane.sleep_lock; pool → nothing. The memory-ordering argument stands
 * at the head of queue.c, future.c and lane.c. */
#ifndef RAYI_LANE_H
#define RAYI_LANE_H

#include "base/base.h"

#include <ray/value.h>

#include <pthread.h>
#include <stdatomic.h>

typedef struct rayi_lane rayi_lane;
typedef struct rayi_thread rayi_thread;
typedef struct rayi_waiter rayi_waiter;
typedef struct rayi_mailbox rayi_mailbox;
typedef struct ray_ref rayi_record; /* what a ray_ref * points at */
typedef struct rayi_task rayi_task;

/* ---- records ---- */

enum rayi_type { RAYI_TASK = 1, RAYI_CALL, RAYI_OBJECT, RAYI_ITEM, RAYI_RUNNER, RAYI_FIXED };

/* state: the phase in the low bits, requests to cancel above it. */
enum {
    RAYI_PENDING = 0, /* waits for arguments, for the scheduler or in a mailbox */
    RAYI_QUEUED = 1,  /* in a run queue */
    RAYI_RUNNING = 2, /* claimed; done when its waiters are closed */
    RAYI_PHASE = 3,
    RAYI_CANCEL = 4,          /* it was asked to stop */
    RAYI_CANCEL_CHILDREN = 8, /* and so are the tasks that it submitted */
    RAYI_LATE = 64,           /* its deadline passed while it ran: ray_cancelled() says so, its value counts */
    RAYI_GROUP_LOST = 128,    /* with CANCEL: because its placement group was removed */
    RAYI_NAMED = 256,         /* it stands in for another process's and is found by its number; set by one who has a
                                 count */
    RAYI_HOSTED = 512,        /* another node has submitted it, and tells of it */
    RAYI_KEPT = 1024,         /* of a task: its arguments stay when it is done */
};

/* flags: set before the record is published. */
enum {
    RAYI_OWN_THREAD = 1, /* no waiting thread runs it */
    RAYI_ESCAPED = 2,    /* known to the ledger: the scheduler decides when it runs; needs no slot */
    RAYI_STREAMS = 4,    /* it has a stream of items */
    RAYI_WATCHED = 8,    /* the holder of the next-to-last count is told of (ops->abandoned) */
    RAYI_FLAGS_OF_EXECUTOR = 16,
    RAYI_ELSEWHERE = 16, /* of tasks: a worker process runs it, ops->dispatch sees to it */
};

#define RAYI_CLOSED ((uintptr_t)1)

struct ray_ref {
    atomic_uint refs;
    atomic_uint state;
    _Atomic(uintptr_t) waiters;
    atomic_uint gen; /* of the block: goes up when it is used again */
    uint8_t type;    /* enum rayi_type */
    uint8_t flags;
    uint8_t kind;  /* of the content, the executor's */
    uint8_t class; /* of the block, the pool's */
    size_t size;   /* of the content, the executor's */
    union {
        unsigned char bytes[16];
        void *pointer;
        ray_buffer buffer;
    } content;             /* the executor's; written before completion, read after it */
    struct ray_ref *next;  /* in whichever queue the record is */
    _Atomic(void *) extra; /* the executor's rarely used part */
};

struct rayi_task {
    struct ray_ref head;
    void *function;      /* the executor's */
    atomic_uint pending; /* arguments that are not done, and one while they are counted */
    uint32_t num_args;
    _Atomic(rayi_task *) parent; /* the task that submitted it, as long as parent->head.gen == parent_gen */
    atomic_uint parent_gen;
    uint32_t refs_mask;    /* which of the first 32 arguments came as refs */
    rayi_mailbox *mailbox; /* of a call */
    void *args;            /* the executor's: slots and what they point at; NULL once released */
    uint64_t room[2];      /* the smallest argument lists live here */
};
_Static_assert(sizeof(struct ray_ref) == 64 && sizeof(rayi_task) == 128, "the hot part of a task is two cache lines");

/* ---- what the lane asks of its owner ---- */

enum rayi_poll { RAYI_POLL_BEGIN, RAYI_POLL_AGAIN, RAYI_POLL_END };

typedef struct rayi_lane_ops {
    /* Runs a claimed task; completes it, now or later. The lane's count on the task has been taken over. */
    void (*run)(rayi_thread *thread, rayi_task *task);
    /* Runs up to max calls of the runner's mailbox; true if calls may be left, false after rayi_mailbox_rest said so.
     */
    bool (*serve)(rayi_thread *thread, rayi_record *runner, unsigned max);
    /* The last count went: gives back what the content holds, then the block (rayi_pool_free). */
    void (*destroy)(rayi_thread *thread, rayi_record *record);
    /* One count is left of a record with RAYI_WATCHED; its bucket is locked. */
    void (*abandoned)(rayi_thread *thread, rayi_record *record);
    /* An escaped task's arguments are done. */
    void (*ready)(rayi_thread *thread, rayi_task *task);
    /* The thread, in a task, is about to block on the record (NULL: on something else), or blocks no more. */
    void (*blocked)(rayi_thread *thread, rayi_record *record, bool blocks);
    /* A task with RAYI_ELSEWHERE is in its turn (QUEUED); the lane's count on it goes along. */
    void (*dispatch)(rayi_thread *thread, rayi_task *task);
    /* A slot may be free for what rayi_lane_take_slot was refused; no lock is held. */
    void (*slot_free)(rayi_lane *lane);
    /* Looks for what other processes have sent. NULL, or: BEGIN and END stand around a while of looking again and
     * again; END is the last look, after which news come by themselves. */
    void (*poll)(rayi_thread *thread, enum rayi_poll when);
    /* In a worker process, else NULL: sleeps until *word may have changed, news of the node are there, or the deadline;
     * stir wakes all who sleep so. */
    void (*sleep)(rayi_thread *thread, atomic_uint *word, int64_t deadline_ns);
    void (*stir)(rayi_lane *lane);
    /* The first argument of a pending task that is not done, counted; NULL: none, or not to be seen. */
    rayi_record *(*next_argument)(rayi_task *task);
    /* So many slots that were asked back (rayi_lane_reclaim) are free; 0: a look at rayi_lane_starved is worth while.
     */
    void (*slot_returned)(rayi_lane *lane, unsigned slots);
    /* The lane is gone, its owner's last chance to go too. */
    void (*freed)(void *owner);
    /* Work waits and every thread is busy: rayi_lane_unstick should be called every 10 ms while it says so. */
    bool (*congested)(rayi_lane *lane); /* false: nobody can */
} rayi_lane_ops;

/* ---- threads ---- */

#define RAYI_RING    256
#define RAYI_CLASSES 22 /* sizes of blocks, once for tasks and once for all else */

/* A queue that one thread fills and every thread empties. */
typedef struct rayi_ring {
    _Alignas(64) atomic_uint head; /* the next to take */
    _Alignas(64) atomic_uint tail; /* the next to fill: its owner's */
    _Atomic(rayi_record *) slot[RAYI_RING];
} rayi_ring;

/* Two kinds of runnable things: those that need a slot, and those that do not (calls of actors, granted tasks). */
enum { RAYI_NEEDS_SLOT = 0, RAYI_NEEDS_NONE = 1, RAYI_KINDS_OF_WORK = 2 };

typedef struct rayi_free_list {
    rayi_record *first;
    unsigned count;
} rayi_free_list;

/* What the lane knows of a thread that uses it. Fields without a comment are touched by that thread only. */
struct rayi_thread {
    rayi_ring ring[RAYI_KINDS_OF_WORK];
    _Alignas(64) rayi_lane *lane;
    rayi_free_list free[RAYI_CLASSES];
    _Atomic(uint64_t) allocs, frees; /* of pool blocks; read by all */
    rayi_record *doomed;             /* records whose destruction was put off, or NULL */
    void *frame;                     /* the executor's: what runs here, innermost first */
    uint64_t caller;                 /* who calls: this thread, or the task that runs on it */
    uint64_t callers;                /* how many have called from here */
    char *stack_low;                 /* below it helping stops */
    bool destroying, executor, has_slot, gave_slot, searching;
    bool never_waits;  /* of a loop: what would wait fails (rayi_lane_block) */
    bool has_deadline; /* what it waits for next is given up soon; for ops->blocked */
    uint32_t index;
    uint32_t ticks_since_overflow;
    int64_t pending_bytes;           /* not yet added to the lane's count */
    _Atomic(uint64_t) ticks;         /* records run here; read by the monitor */
    _Alignas(64) atomic_uint parked; /* futex: 1 when somebody has woken it */
    rayi_thread *next_sleeper;       /* under sleep_lock */
    bool asleep;                     /* in the list of sleepers; under sleep_lock */
    void *block;                     /* as the heap gave it */
};

/* A wait until then is too short for something else to be run on top of it. */
#define RAYI_SOON_NS INT64_C(5000000000)
static inline bool rayi_is_soon(int64_t deadline_ns)
{
    return deadline_ns != INT64_MAX && deadline_ns - rayi_now_ns() < RAYI_SOON_NS;
}

extern _Thread_local rayi_thread *rayi_self __attribute__((tls_model("initial-exec")));

/* ---- the lane ---- */

typedef struct rayi_lane_config {
    uint32_t num_threads; /* executor threads */
    uint32_t max_threads; /* with those that stand in for blocked ones */
    uint32_t num_cpus;    /* spinning makes sense with more than one */
    int64_t pending_limit_bytes;
} rayi_lane_config;

int rayi_lane_new(const rayi_lane_config *config, const rayi_lane_ops *ops, void *owner, rayi_lane **out);
void *rayi_lane_owner(const rayi_lane *lane);
/* Its end, step by step. From set_stopping on ops->run and serve are expected to end what they are given without
 * running it; executors end when the queues are empty; drain does their work once more, for what turned up behind them.
 */
void rayi_lane_set_stopping(rayi_lane *lane);
bool rayi_lane_stopping(const rayi_lane *lane);
void rayi_lane_drain(rayi_thread *thread);
bool rayi_lane_join(rayi_lane *lane, int64_t deadline_ns); /* waits a second at most; true: no executor is left */
/* The lane and its memory go with the last attached thread and the last block. */
void rayi_lane_close(rayi_lane *lane);

/* The calling thread's context, made on first use; NULL: no memory or too many threads (last error set). */
rayi_thread *rayi_lane_attach(rayi_lane *lane);
rayi_thread *rayi_lane_attach_last(rayi_lane *lane); /* of the thread that ends the lane: never fails */
void rayi_lane_detach(void);

/* Slots: given by the scheduler, asked back by it. */
void rayi_lane_grant(rayi_lane *lane, unsigned slots);
void rayi_lane_reclaim(rayi_lane *lane, unsigned slots);
/* For what runs in other processes: a slot is taken while a worker has something to do (false: none is free, and
 * ops->slot_free will be told), and given back; resuming never waits, as everywhere. must_return: the lane owes slots,
 * give this one back at the next occasion. */
bool rayi_lane_take_slot(rayi_lane *lane);
void rayi_lane_give_slot(rayi_lane *lane);
void rayi_lane_resume_slot(rayi_lane *lane);
bool rayi_lane_must_return(const rayi_lane *lane);
/* How many tasks wait elsewhere for a slot: they count as waiting for the lane's (rayi_lane_starved). */
void rayi_lane_count_elsewhere(rayi_lane *lane, int64_t tasks);
/* Other processes may send: threads that wait look for it (ops->poll). */
void rayi_lane_set_polled(rayi_lane *lane, bool polled);
/* Tasks wait for a slot; when that may be over ops->slot_returned comes. */
bool rayi_lane_starved(rayi_lane *lane);
/* Is a slot free? If none is, ops->slot_returned comes when one is. */
bool rayi_lane_watch_slots(rayi_lane *lane);
/* A thread is started if work waits and none has been taken up since the last call; true while work waits. */
bool rayi_lane_unstick(rayi_lane *lane);

typedef struct rayi_lane_counts {
    uint32_t threads, blocked, asleep;
    int64_t slots, pending_bytes;
} rayi_lane_counts;
void rayi_lane_count(rayi_lane *lane, rayi_lane_counts *out);
/* There are CPUs, more than one, that its executors leave idle: one may be spent on waiting for what comes soon. */
bool rayi_lane_has_free_cpu(const rayi_lane *lane);
/* The node's loop waits for news awake: the lane's threads sleep meanwhile, since one that searches is enough. */
void rayi_lane_set_loop_searches(rayi_lane *lane, bool searches);
uint64_t rayi_lane_progress(const rayi_lane *lane); /* how much its threads have run; goes down when one ends */
/* Free slots that no task waits for which this thread has put into its queue: what it submits now starts at once. */
bool rayi_lane_has_room(const rayi_thread *thread);

/* ---- blocks and counts ---- */

#define RAYI_POOL_MAX 4096 /* bytes of the largest block */

/* A block of at least size_bytes, aligned to 64, with that type and refs 1, all else of its head 0. NULL: no memory.
 * Blocks of tasks and calls are never used for anything else, so that `parent` can be followed with atomic loads. */
rayi_record *rayi_pool_alloc(rayi_thread *thread, enum rayi_type type, size_t size_bytes);
void rayi_pool_free(rayi_thread *thread, rayi_record *block);
/* The lane that a block belongs to: also after shutdown. */
rayi_lane *rayi_pool_lane(const rayi_record *block);
/* Drops a count from a thread that is not attached to the record's lane, also after shutdown. */
void rayi_record_unref_late(rayi_record *record);
/* Visits every block that was ever used, under the pool's lock; refs 0: free now. */
void rayi_pool_for_each(rayi_lane *lane, void (*visit)(void *arg, rayi_record *record), void *arg);

static inline void rayi_record_ref(rayi_record *record)
{
    atomic_fetch_add_explicit(&record->refs, 1, memory_order_relaxed);
}
/* A count on a mailbox's runner that was found in a list which holds none: false, it is going. */
static inline bool rayi_record_try_ref(rayi_record *record)
{
    unsigned refs = atomic_load_explicit(&record->refs, memory_order_relaxed);

    while (refs > 0)
        if (atomic_compare_exchange_weak_explicit(&record->refs, &refs, refs + 1, memory_order_acquire,
                                                  memory_order_relaxed))
            return true;
    return false;
}
void rayi_record_unref_slow(rayi_thread *thread, rayi_record *record);
static inline void rayi_record_unref(rayi_thread *thread, rayi_record *record)
{
    /* The only count is ours: nobody else can raise it, so no read-modify-write is needed. Those that can be found by
     * other ways than a count (runners, through the list of actors) are the exception. */
    bool alone = record->type != RAYI_RUNNER && !(record->flags & RAYI_WATCHED) &&
                 atomic_load_explicit(&record->refs, memory_order_acquire) == 1 &&
                 !(atomic_load_explicit(&record->state, memory_order_relaxed) & RAYI_NAMED);

    if (!alone && !(record->flags & RAYI_WATCHED) &&
        atomic_fetch_sub_explicit(&record->refs, 1, memory_order_acq_rel) != 1)
        return;
    rayi_record_unref_slow(thread, record);
}

/* ---- futures ---- */

/* Somebody who wants to know. fire is called once, by the completing thread, with no lock held; the waiter may be gone
 * when it returns. */
struct rayi_waiter {
    rayi_waiter *next;
    void (*fire)(rayi_thread *thread, rayi_waiter *waiter);
};

static inline bool rayi_record_done(const rayi_record *record)
{
    return atomic_load_explicit(&record->waiters, memory_order_acquire) == RAYI_CLOSED;
}
/* False: it is done already, fire will not be called. */
bool rayi_record_watch(rayi_record *record, rayi_waiter *waiter);
/* False: too late, fire has been or is being called. */
bool rayi_record_unwatch(rayi_record *record, rayi_waiter *waiter);
void rayi_record_complete(rayi_thread *thread, rayi_record *record);
/* True for one caller only: who claims a task ends it. */
bool rayi_record_claim(rayi_record *record);
bool rayi_record_claim_queued(rayi_record *record); /* only if it stands in a run queue */
void rayi_record_unclaim(rayi_record *record);      /* by who claimed it and has not begun: QUEUED again */
/* Asks to cancel; returns the state before. */
unsigned rayi_record_ask_cancel(rayi_record *record, bool children);
/* Was it, or an unfinished ancestor with its children, asked to stop? */
bool rayi_task_cancelled(const rayi_task *task);

/* Guards the list of arguments of a task while somebody else looks into it. */
void rayi_record_lock(rayi_record *record);
void rayi_record_unlock(rayi_record *record);

/* ---- running ---- */

/* Hands over a task whose arguments are counted in `pending`: the last one done makes it runnable. The caller has a
 * count on the task, and on the mailbox of a call: another thread may run and free it meanwhile. */
void rayi_task_ready(rayi_thread *thread, rayi_task *task);
/* A pending task whose turn has come goes into this thread's run queue, unless it was cancelled (then its count goes).
 */
void rayi_task_enqueue(rayi_thread *thread, rayi_task *task);
/* Puts a record into this thread's run queue and sees to it that somebody comes. */
void rayi_lane_enqueue(rayi_thread *thread, rayi_record *record);
/* How many bytes of work this thread has submitted (or, negative, finished). */
void rayi_lane_account(rayi_thread *thread, int64_t bytes);
bool rayi_lane_full(const rayi_lane *lane);
void rayi_lane_wait_for_room(rayi_thread *thread); /* until it is not full or stops */

/* ---- waiting ---- */

enum { RAYI_MAY_HELP = 1 };
/* Waits until the record is done or the deadline (rayi_now_ns terms) passes; 0, RAY_ERR_TIMEOUT or RAY_ERR_LIMIT (last
 * error set). */
int rayi_lane_wait(rayi_thread *thread, rayi_record *record, int64_t deadline_ns, unsigned flags);
/* Between these the thread blocks somewhere else: its slot is given back and a thread may stand in for it. */
int rayi_lane_block(rayi_thread *thread, rayi_record *record);
void rayi_lane_unblock(rayi_thread *thread);
/* Sleeps until *word is not 0 or the deadline passes (false). Whoever sets it then calls rayi_thread_wake. */
bool rayi_thread_park(rayi_thread *thread, atomic_uint *word, int64_t deadline_ns);
void rayi_thread_wake(rayi_thread *thread);
/* Runs a queued task on this thread if it may (room on the stack, a slot). */
bool rayi_lane_help(rayi_thread *thread, rayi_record *record);
/* ---- mailboxes ---- */

/* In a call's state: TAKEN: from a runner that still works on its arguments, which go with the record; PARTED: it is
 * under way, but no runner has it: it ends later. */
enum { RAYI_TAKEN = 16, RAYI_PARTED = 32 };

/* A queue of calls of which up to `concurrency` run at once. Calls of one caller keep their order, also while their
 * arguments resolve. The runner's counts are the mailbox's counts; a further mailbox has those of its first one. */
struct rayi_mailbox {
    rayi_record runner;       /* what stands in run queues for it; content.pointer is the mailbox */
    rayi_record *owner;       /* the runner whose counts keep the mailbox: its own, or the first one's */
    _Atomic(uintptr_t) inbox; /* RAYI_IDLE, or a stack of calls, newest first */
    atomic_uint num_held;     /* calls whose turn has not come */
    _Alignas(64) pthread_mutex_t lock;
    rayi_task *first, *last; /* calls in order */
    rayi_task *behind;       /* put back first since one was taken last; or NULL */
    rayi_task *running;      /* those under way, linked by head.next */
    struct rayi_held *held;  /* callers with calls whose arguments are not done */
    uint32_t num_running;
    uint32_t runners; /* in queues or serving */
    uint32_t epoch;   /* how often running calls were taken from their runners */
    bool runner_busy; /* the runner within is in a queue or serving; more of them are blocks of the pool */
    bool poked;       /* look again before resting */
    uint32_t allowed; /* runners, and calls, at once: 0 until calls may run, then up to concurrency */
};
/* In the first bytes of a block that rayi_pool_alloc gave with type RAYI_RUNNER. */
int rayi_mailbox_init(rayi_mailbox *mailbox);
/* A further queue of whoever has the first one, with no calls in common; in any memory of 64 bytes' alignment that
 * lives as long. */
int rayi_mailbox_init_further(rayi_mailbox *mailbox, rayi_mailbox *first);
void rayi_mailbox_fini(rayi_mailbox *mailbox);
/* Takes the call's place in the queue; arguments may be pending. False: no memory, the call has no place. */
bool rayi_mailbox_post(rayi_thread *thread, rayi_mailbox *mailbox, rayi_task *call);
/* Allows so many runners at once, and sees to it that one looks at the mailbox even with no call in it. */
void rayi_mailbox_poke(rayi_thread *thread, rayi_mailbox *mailbox, uint32_t allowed);
/* For ops->serve: the next call, claimed, or NULL; and the epoch in which it runs. */
rayi_task *rayi_mailbox_next(rayi_thread *thread, rayi_mailbox *mailbox, uint32_t *epoch);
/* For ops->serve, after the call has run, or if it is to be put back instead. False: it was taken meanwhile; the runner
 * drops the count that it was left, forgets the mailbox and ends. */
bool rayi_mailbox_ran(rayi_mailbox *mailbox, rayi_task *call, uint32_t epoch, bool put_back);
void rayi_mailbox_forget(rayi_mailbox *mailbox, const rayi_record *runner);
/* For ops->serve, instead of ran: the call goes on without its runner, and counts among those at once until it has
 * ended, in whichever thread. False as with ran. */
bool rayi_mailbox_part(rayi_mailbox *mailbox, rayi_task *call, uint32_t epoch);
/* A parted call has ended. TAKEN: meanwhile; whoever did that ends it. AGAIN: again said yes, under the lock: it is at
 * the head of the queue. */
enum rayi_ran { RAYI_RAN, RAYI_RAN_TAKEN, RAYI_RAN_AGAIN };
enum rayi_ran rayi_mailbox_ran_parted(rayi_thread *thread, rayi_mailbox *mailbox, rayi_task *call, uint32_t epoch,
                                      bool (*again)(rayi_task *call, void *arg), void *arg);
bool rayi_mailbox_busy(rayi_mailbox *mailbox);  /* calls are under way */
bool rayi_mailbox_empty(rayi_mailbox *mailbox); /* no call is under way, waits or is held */
/* For ops->serve: a rest with calls left, until a poke. False: poked meanwhile, look again. */
bool rayi_mailbox_pause(rayi_mailbox *mailbox, const rayi_record *runner);
/* For ops->serve, when next gave none: false means look again. */
bool rayi_mailbox_rest(rayi_mailbox *mailbox, const rayi_record *runner);
/* For the runner of calls that run elsewhere (RAYI_ELSEWHERE among its flags: it serves at once, on the thread that
 * would have queued it): the next call, claimed, that is no longer the mailbox's; or it returns to where it was. */
rayi_task *rayi_mailbox_take(rayi_thread *thread, rayi_mailbox *mailbox);
void rayi_mailbox_return(rayi_mailbox *mailbox, rayi_task *call);
/* For anybody: one that was taken before the last one, and sent, is back at the head; of several the newest first. */
void rayi_mailbox_put_back(rayi_mailbox *mailbox, rayi_task *call);
/* Takes all waiting calls out, held ones included, for the caller to end: linked by head.next, each must be claimed. */
rayi_task *rayi_mailbox_take_waiting(rayi_mailbox *mailbox);
/* Takes the calls that are under way from their runners, for the caller to end: linked likewise, claimed. Those that
 * again says yes to go back to the head of the queue instead. */
rayi_task *rayi_mailbox_take_running(rayi_mailbox *mailbox, bool (*again)(rayi_task *call));

#endif
