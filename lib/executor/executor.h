/* executor: what records mean. Functions, values, the bytes of objects, and running user code on threads.
 *
 * It owns the table of functions, the contents of records and the actors. It decides nothing that concerns more than
 * this process: a task that the lane can't place (resources, priority, deadline, group) and an actor with resources are
 * handed to the hooks, which the raylet provides. Functions that return a ray_ref * never return NULL. Lock order:
 * actor.lock → mailbox.lock; bucket → stream.lock; functions.lock, actors_lock: innermost. */
#ifndef RAYI_EXECUTOR_H
#define RAYI_EXECUTOR_H

#include "lane/lane.h"
#include "store/store.h"

#include <ray/ray.h>

typedef struct rayi_executor rayi_executor;
typedef struct rayi_function rayi_function;

#define RAYI_ID_SIZE     33          /* 32 hex digits and a NUL */
#define RAYI_INLINE_MAX  (100 << 10) /* bytes of an object that is kept on the heap */
#define RAYI_STRUCT_MAX  (64 << 10)
#define RAYI_PAYLOAD_MAX (64 << 10)

typedef struct rayi_executor_hooks {
    /* The lane cannot place this task, which is not published yet: take note of it. 0, or the last error's code. */
    int (*escape)(rayi_thread *thread, rayi_task *task, const ray_task_options *options);
    void (*escaped_ready)(rayi_thread *thread, rayi_task *task);
    /* It failed: true if it will be tried again (rayi_task_retry) or ended (rayi_task_fail) later. */
    bool (*escaped_failed)(rayi_thread *thread, rayi_task *task, rayi_error *error);
    void (*escaped_ended)(rayi_thread *thread, rayi_task *task); /* it has been completed */
    /* It blocks on the record (or NULL), or goes on. */
    void (*escaped_blocked)(rayi_thread *thread, rayi_task *task, rayi_record *record, bool blocks);
    void (*escaped_freed)(void *escape);
    const char *(*escaped_resources)(rayi_task *task, const char **gpus, const char **group_id, uint32_t *attempt);
    /* The actor has a name, and is registered or *instead is the one that has it, obtained; or it needs resources, and
     * rayi_actor_granted or rayi_actor_refused will follow. 0, or the last error's code. */
    int (*place)(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, ray_actor **instead);
    void (*unplace)(rayi_thread *thread, ray_actor *actor); /* it is dead: its place and its name go */
    void (*place_freed)(void *place);
    const char *(*actor_resources)(ray_actor *actor, const char **gpus, const char **group_id);
    void (*slot_returned)(void *node, unsigned slots);
    bool (*congested)(void *node);
    void (*freed)(void *node);
} rayi_executor_hooks;

typedef struct rayi_executor_config {
    rayi_lane_config lane;
    uint64_t store_bytes;
    const char *ns; /* NULL: one of its own */
    int64_t timeout_ms;
    bool lane_is_off; /* the node has not one whole CPU: every task is the scheduler's */
} rayi_executor_config;

/* Gathers the functions registered so far: EXISTS, TYPE, NO_MEMORY, SYSTEM. The executor goes with its lane, after
 * rayi_executor_close and the last block; hooks->freed is told. */
int rayi_executor_new(const rayi_executor_config *config, const rayi_executor_hooks *hooks, void *node,
                      rayi_executor **out);
/* Fails all that waits, runs fini of living actors, waits for running functions; no block ends by it. between is called
 * again and again until no thread is left: it ends what the raylet still holds. */
void rayi_executor_stop(rayi_thread *thread, void (*between)(void *node));
void rayi_executor_close(rayi_executor *executor);

rayi_lane *rayi_executor_lane(rayi_executor *executor);
rayi_store *rayi_executor_store(rayi_executor *executor);
void *rayi_executor_node(rayi_executor *executor);
const char *rayi_executor_node_id(const rayi_executor *executor);
const char *rayi_executor_job_id(const rayi_executor *executor);
const char *rayi_executor_ns(const rayi_executor *executor);
uint64_t rayi_executor_number(rayi_executor *executor); /* never 0, never given twice */
void rayi_executor_write_id(const rayi_executor *executor, char out[RAYI_ID_SIZE], uint64_t number);
static inline rayi_executor *rayi_executor_of(const rayi_thread *thread)
{
    return rayi_lane_owner(thread->lane);
}

/* ---- functions ---- */

/* Before any executor is there these only put the record on a list. */
int rayi_function_register(rayi_executor *executor, ray_function *record); /* executor may be NULL */
int rayi_struct_register(rayi_executor *executor, ray_struct *description);
ray_function *rayi_function_get(rayi_executor *executor, const char *name); /* NULL: last error */
int rayi_function_load(rayi_executor *executor, const char *path, unsigned flags);

/* ---- objects ---- */

rayi_record *rayi_object_failed(rayi_thread *thread, rayi_error *error); /* takes the error's count */
rayi_record *rayi_object_failed_last(rayi_thread *thread);               /* with this thread's last error */
rayi_record *rayi_object_fixed(int code);          /* needs no memory and no runtime; the same for all */
rayi_record *rayi_record_new(rayi_thread *thread); /* of no value, not done; NULL: last error */
void rayi_record_fail(rayi_thread *thread, rayi_record *record, rayi_error *error); /* takes the error's count */
bool rayi_record_failed(const rayi_record *record);                                 /* of a done one */
rayi_record *rayi_object_put(rayi_thread *thread, const void *data, size_t size_bytes);
ray_buffer *rayi_buffer_new(rayi_thread *thread, size_t size_bytes); /* NULL: last error */
int rayi_buffer_hold(rayi_thread *thread, ray_buffer *buffer, rayi_record *record);
rayi_record *rayi_buffer_seal(rayi_thread *thread, ray_buffer *buffer);
rayi_record *rayi_buffer_record(ray_buffer *buffer);
/* The bytes that a view of this pin shows hold a ref of this index: counted; NULL: last error. */
rayi_record *rayi_view_ref(rayi_thread *thread, const ray_view *view, size_t index);
const char *rayi_record_id(rayi_thread *thread, rayi_record *record);

/* ---- tasks ---- */

rayi_record *rayi_task_submit(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                              const ray_task_options *options);
int rayi_record_get(rayi_thread *thread, rayi_record *record, int64_t timeout_ms, ray_value *out);
int rayi_record_wait_many(rayi_thread *thread, rayi_record *const *records, size_t count, size_t num_ready,
                          int64_t timeout_ms, bool *ready);
int rayi_record_cancel(rayi_thread *thread, rayi_record *record, unsigned flags);
rayi_record *rayi_stream_next(rayi_thread *thread, rayi_record *stream);
int rayi_stream_yield(rayi_thread *thread, const ray_value *item);
/* For the raylet: a task that it holds ends so, or runs (again). Each takes over the lane's count. */
void rayi_task_fail(rayi_thread *thread, rayi_task *task, rayi_error *error); /* the caller has claimed it */
/* Ends a task or call that nobody has started, with a count of its own: whoever holds the lane's keeps it. False: too
 * late. Takes the error's count. */
bool rayi_task_end_unstarted(rayi_thread *thread, rayi_task *task, rayi_error *error);
void rayi_task_retry(rayi_task *task);    /* a failed one is pending again */
void **rayi_task_escape(rayi_task *task); /* where the raylet keeps what it knows of it */
const char *rayi_task_name(const rayi_task *task);

typedef struct rayi_task_row {
    const char *id, *name, *state;
} rayi_task_row;
/* A picture of the tasks and calls that are not done and of those whose refs are kept. */
void rayi_tasks_for_each(rayi_thread *thread, void (*visit)(void *arg, const rayi_task_row *row), void *arg);

/* ---- inside a task ---- */

int rayi_frame_fail(rayi_thread *thread, rayi_error *error); /* NOT_HERE outside; takes the error's count */
const char *rayi_frame_function(const rayi_thread *thread);  /* NULL: outside */
bool rayi_frame_cancelled(const rayi_thread *thread);
const ray_context *rayi_frame_context(rayi_thread *thread);

/* ---- actors ---- */

ray_actor *rayi_actor_new(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                          const ray_actor_options *options);
ray_actor *rayi_actor_failed(rayi_thread *thread, rayi_error *error); /* takes the error's count */
ray_actor *rayi_actor_fixed(int code);
bool rayi_actor_is_fixed(const ray_actor *actor);
rayi_record *rayi_actor_submit(rayi_thread *thread, ray_actor *actor, ray_function *record, const ray_value *args,
                               size_t num_args, const ray_task_options *options);
ray_actor *rayi_actor_self(rayi_thread *thread); /* obtained; NULL: outside */
rayi_record *rayi_actor_ready(rayi_thread *thread, ray_actor *actor);
const char *rayi_actor_id(const ray_actor *actor);
const char *rayi_actor_name(const ray_actor *actor);
const char *rayi_actor_class(const ray_actor *actor);
const char *rayi_actor_state_text(ray_actor *actor);
rayi_record *rayi_actor_record(ray_actor *actor); /* the block behind it, for its lane */
bool rayi_actor_try_retain(ray_actor *actor);     /* false: the last handle is gone */
void rayi_actor_retain(ray_actor *actor);
void rayi_actor_release(rayi_thread *thread, ray_actor *actor);
void rayi_actor_release_late(ray_actor *actor);
int rayi_actor_kill(rayi_thread *thread, ray_actor *actor, bool may_restart);
int rayi_actor_exit(rayi_thread *thread);
void rayi_actor_granted(rayi_thread *thread, ray_actor *actor);
void rayi_actor_refused(rayi_thread *thread, ray_actor *actor, rayi_error *error); /* takes the error's count */
void rayi_actor_lost(rayi_thread *thread, ray_actor *actor, rayi_error *error); /* its place is gone; takes the count */
void **rayi_actor_place(ray_actor *actor); /* where the raylet keeps what it knows of it */
/* Visits the actors that are not freed, under a lock. */
void rayi_actors_for_each(rayi_executor *executor, void (*visit)(void *arg, ray_actor *actor), void *arg);

/* ---- waitsets ---- */

ray_waitset *rayi_waitset_new(rayi_thread *thread);
int rayi_waitset_add(rayi_thread *thread, ray_waitset *set, rayi_record *record, void *tag);
rayi_record *rayi_waitset_next(rayi_thread *thread, ray_waitset *set, int64_t timeout_ms, void **tag);
int rayi_waitset_fd(ray_waitset *set);
void rayi_waitset_free(rayi_thread *thread, ray_waitset *set); /* thread NULL: after shutdown */

#endif
