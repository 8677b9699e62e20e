/* What the files of lane share with each other and nobody else. */
#ifndef RAYI_LANE_INSIDE_H
#define RAYI_LANE_INSIDE_H

#include "lane/lane.h"

#define RAYI_MAX_CONTEXTS 4096 /* threads that use one lane at the same time */
#define RAYI_BUCKETS      64
#define RAYI_IDLE         ((uintptr_t)1) /* of a mailbox's inbox: empty, and no runner will look */
#define RAYI_SPIN_NS      50000

typedef struct rayi_slab rayi_slab;

/* Blocks that no thread keeps: lists of a batch each, linked through their first blocks. */
typedef struct rayi_pool {
    pthread_mutex_t lock;
    rayi_record *batches[RAYI_CLASSES];
    rayi_slab *carving[RAYI_CLASSES]; /* where fresh blocks come from */
    rayi_slab *slabs;
    void *chunks; /* what the heap gave, linked */
    char *fresh;  /* slabs of the newest chunk that nobody uses yet */
    unsigned fresh_slabs;
} rayi_pool;

/* Records that do not fit into their thread's ring, first in, first out. */
typedef struct rayi_overflow {
    pthread_mutex_t lock;
    rayi_record *first, *last;
    atomic_uint count; /* read without the lock */
} rayi_overflow;

struct rayi_lane {
    rayi_lane_config config;
    rayi_lane_ops ops;
    void *owner, *block;

    _Alignas(64) atomic_int slots;
    atomic_int wanted;          /* slots to hand back when they get free */
    atomic_uint starved;        /* somebody found tasks but no slot */
    atomic_bool promised;       /* to tell when a slot is free: rayi_lane_starved */
    atomic_bool refused;        /* rayi_lane_take_slot found none */
    _Atomic(int64_t) elsewhere; /* tasks that wait for a slot, not in our queues */
    atomic_bool polled;
    atomic_bool loop_searches;          /* so none of our threads need */
    _Alignas(64) atomic_uint searching; /* 1: an awake thread looks for work */
    atomic_uint num_asleep;
    atomic_uint num_executors, num_blocked;
    _Alignas(64) _Atomic(rayi_thread *) thread[RAYI_MAX_CONTEXTS];
    atomic_uint num_contexts; /* places of `thread` that were ever used */
    rayi_overflow overflow[RAYI_KINDS_OF_WORK];
    pthread_mutex_t bucket[RAYI_BUCKETS];

    pthread_mutex_t sleep_lock;
    rayi_thread *sleepers; /* latest first */

    pthread_mutex_t threads_lock;
    rayi_thread *spare_contexts; /* linked by next_sleeper */
    unsigned num_spare;
    pthread_cond_t threads_ended;
    pthread_t ended; /* the executor that ended last, not joined yet */
    bool has_ended;
    atomic_uint attached;
    _Atomic(uint64_t) num_callers;

    atomic_bool stopping, closed;
    atomic_bool congested;
    uint64_t last_progress; /* the monitor's */

    _Alignas(64) _Atomic(int64_t) pending_bytes;
    atomic_uint full_waiters;
    pthread_mutex_t full_lock;
    pthread_cond_t full_cond;

    rayi_pool pool;
    pthread_mutex_t late_lock;
    rayi_thread late; /* the context of releases after shutdown, under late_lock */
};

/* pool.c */
int rayi_pool_init(rayi_lane *lane);
void rayi_pool_fini(rayi_lane *lane);
void rayi_pool_flush(rayi_thread *thread); /* gives all kept blocks to the pool */
bool rayi_pool_unused(rayi_lane *lane);    /* no block is out */

/* queue.c */
void rayi_queue_push(rayi_thread *thread, int kind, rayi_record *record);
/* A claimed task or a runner, with the queue's count; NULL: none in sight. */
rayi_record *rayi_queue_take(rayi_thread *thread, int kind);
bool rayi_queue_visible(rayi_lane *lane, int kind);
/* Takes the record out if it is the only one in this thread's ring. */
bool rayi_queue_unpush(rayi_thread *thread, int kind, rayi_record *record);
void rayi_queue_empty(rayi_thread *thread); /* moves a parting thread's records to where others find them */

/* lane.c */
rayi_thread *rayi_thread_new(rayi_lane *lane, unsigned keep);
void rayi_thread_part(rayi_thread *thread);
void rayi_thread_find_stack(rayi_thread *thread);
void rayi_lane_unattach(rayi_lane *lane);
void rayi_lane_stop_searching(rayi_thread *thread); /* of one that is */
bool rayi_lane_wake(rayi_lane *lane);               /* after a sequentially consistent fence that follows the enqueue */
bool rayi_slot_acquire(rayi_thread *thread);
void rayi_slot_drop(rayi_thread *thread);
void rayi_slot_resume(rayi_thread *thread);
bool rayi_lane_has_work(rayi_lane *lane);

/* mailbox.c */
void rayi_mailbox_ready(rayi_thread *thread, rayi_mailbox *mailbox); /* a held call's arguments are done */
void rayi_mailbox_serve(rayi_thread *thread, rayi_record *runner);   /* takes the queue's count */

static inline int rayi_kind_of_work(const rayi_record *record)
{
    return record->type == RAYI_RUNNER || (record->flags & RAYI_ESCAPED) ? RAYI_NEEDS_NONE : RAYI_NEEDS_SLOT;
}

#endif
