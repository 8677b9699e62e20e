/* isolation: the worker processes of a node. They run what must not run in the node's own process.
 *
 * It owns the processes, the channel to each of them, what each holds of the node's records, and the tasks and calls
 * that are theirs to run. The node owns what its workers make: when one dies, nothing is lost but what it was writing.
 *
 * Invariants:
 *  - A task or call that was handed over is in exactly one place: the backlog, one offer of one guest, or a chore that
 *    brings its arguments from disk. It ends by that guest's RESULT, by the guest's death, or by being taken back,
 *    whichever comes first under the guest's lock.
 *  - A guest that sends what it may not is ended, with a log line ("worker.rubbish") that says what it sent.
 *  - A plain task takes one of the lane's slots as long as its guest has something to run and is not blocked; tasks
 * that the scheduler granted and actors have their own resources and take none.
 *
 * Locks, in this order: guests_lock (read: who looks at all guests; write: the loop, when a channel comes or goes) →
 * guest.rx (who receives) → isolation.lock (backlog, who is busy) → guest.lock (sending, offers, what it holds). The
 * executor is called with the first two at most, and never waits there. */
#ifndef RAYI_ISOLATION_H
#define RAYI_ISOLATION_H

#include "executor/executor.h"
#include "process/process.h"

#define RAYI_WORKERS_MAX 1024 /* worker processes of a node */

typedef struct rayi_isolation rayi_isolation;

/* What the node gives. */
typedef struct rayi_isolation_node {
    void *node;
    rayi_executor *executor;
    const rayi_body *body; /* called on the loop */
    uv_loop_t *loop;
    rayi_thread *thread; /* the loop's */
    /* Has fn(arg) called on the loop. False: the loop has ended, it will not be. */
    bool (*post)(void *node, void (*fn)(void *arg), void *arg);
    const char *(*session_logs)(void *node);  /* NULL: none */
    uint64_t (*task_memory)(rayi_task *task); /* bytes of its grant; 0: no limit */
    uint64_t (*actor_memory)(ray_actor *actor);
    const char *(*task_gpus)(rayi_task *task); /* visible devices of its grant; NULL: none */
    const char *(*actor_gpus)(ray_actor *actor);
    /* On a thread of its own, which may wait: the library comes to this node. 0 and its path, or the last error's code.
     */
    int (*bring)(void *node, rayi_thread *thread, rayi_code *code, char *path, size_t size);
    const char *command; /* words that start a worker; NULL: this executable again */
    bool has_template;   /* that command can be one, from which the others are copied */
    uint32_t max_workers, num_cpus;
    int64_t idle_ms, timeout_ms;
} rayi_isolation_node;

/* On the loop. Opens the event descriptor and, later, processes. SYSTEM, NO_MEMORY. */
int rayi_isolation_start(const rayi_isolation_node *node, rayi_isolation **out);
void rayi_isolation_prestart(rayi_isolation *isolation); /* on the loop: the first processes, ahead of demand */
/* On the loop, when nothing of the lane runs any more: ends all processes. done(node) on the loop when none is left. */
void rayi_isolation_stop(rayi_isolation *isolation, void (*done)(void *node));
void rayi_isolation_free(rayi_isolation *isolation); /* after done */
/* Takes everything out that waits or runs, and fails it with SHUTDOWN. On the loop. */
void rayi_isolation_fail_all(rayi_isolation *isolation);

/* For the hooks of the executor; from any thread. See rayi_executor_hooks. */
void rayi_isolation_dispatch(rayi_isolation *isolation, rayi_thread *thread, rayi_task *task);
void rayi_isolation_slot_free(rayi_isolation *isolation);
void rayi_isolation_poll(rayi_isolation *isolation, rayi_thread *thread, enum rayi_poll when);
void rayi_isolation_tell(rayi_isolation *isolation, rayi_thread *thread, rayi_task *task, bool force);
void rayi_isolation_credit(rayi_isolation *isolation, rayi_task *task);
void rayi_isolation_actor_begin(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor, uint32_t life);
bool rayi_isolation_actor_send(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor, rayi_task *call,
                               uint32_t life);
void rayi_isolation_actor_fini(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor);
rayi_task *rayi_isolation_actor_take(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor,
                                     bool started_too);
void rayi_isolation_actor_end(rayi_isolation *isolation, ray_actor *actor);
rayi_task *rayi_isolation_actor_park(rayi_isolation *isolation, rayi_thread *thread, ray_actor *actor, bool parks);
/* A library was loaded here: the workers load it, too. On the loop. */
void rayi_isolation_load(rayi_isolation *isolation, const char *path);

/* Code belongs to no job any more: its processes end when they have done what they do. On the loop. */
void rayi_isolation_code_gone(rayi_isolation *isolation, const rayi_code *code);

/* A segment of the store is gone: who knows of it unmaps it. From any thread. */
void rayi_isolation_segment_gone(rayi_isolation *isolation, uint64_t segment);

/* Visits the worker processes, on the loop. */
void rayi_isolation_for_each(rayi_isolation *isolation,
                             void (*visit)(void *arg, int64_t pid, const char *state, const char *runs), void *arg);

#endif
