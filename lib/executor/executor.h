/* executor: what records mean. Functions, values, the bytes of objects, and running user code on threads.
 *
 * It owns the table of functions, the contents of records and the actors. It decides nothing that concerns more than
 * this process: a task that the lane can't place (resources, priority, deadline, group) and an actor with resources are
 * handed to the hooks, which the raylet provides. Functions that return a ray_ref * never return NULL. Lock order:
 * actor.lock → mailbox.lock; bucket → stream.lock; codes_lock → what its visitors take; functions_lock, actors_lock:
 * innermost. */
#ifndef RAYI_EXECUTOR_H
#define RAYI_EXECUTOR_H

#include "lane/lane.h"
#include "store/store.h"

#include "executor/body.h"
#include "executor/events.h"
#include "executor/exchange.h"

#include <ray/ray.h>

typedef struct rayi_executor rayi_executor;
typedef struct rayi_function rayi_function;

#define RAYI_ID_SIZE     33          /* 32 hex digits and a NUL */
#define RAYI_INLINE_MAX  (100 << 10) /* bytes of an object that is kept on the heap */
#define RAYI_ARGS_MAX    65535
#define RAYI_STRUCT_MAX  (64 << 10)
#define RAYI_PAYLOAD_MAX (64 << 10)

typedef struct rayi_outside rayi_outside;

typedef struct rayi_executor_hooks {
    /* The lane cannot place this task, which is not published yet: take note of it. 0, or the last error's code. */
    int (*escape)(rayi_thread *thread, rayi_task *task, const ray_task_options *options);
    void (*escaped_ready)(rayi_thread *thread, rayi_task *task);
    /* It failed: true if it will be tried again (rayi_task_retry) or ended (rayi_task_fail) later. again: what the
     * function says of that (enum rayi_again). */
    bool (*escaped_failed)(rayi_thread *thread, rayi_task *task, rayi_error *error, bool crashed, unsigned again);
    void (*escaped_ended)(rayi_thread *thread, rayi_task *task); /* it has been completed */
    /* It blocks on the record (or NULL), or goes on. */
    void (*escaped_blocked)(rayi_thread *thread, rayi_task *task, rayi_record *record, bool blocks);
    void (*escaped_freed)(void *escape);
    const char *(*escaped_resources)(rayi_task *task, const char **gpus, const char **group_id, uint32_t *attempt);
    /* The actor has a name, and is registered or *instead is the one that has it, obtained; or it needs resources, and
     * rayi_actor_granted or rayi_actor_refused will follow. 0, or the last error's code. */
    int (*place)(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, ray_actor **instead);
    /* For an actor that lives in a worker process. begin: start one, run the constructor there, then
     * rayi_actor_constructed. send: a call, in order; false: no room, rayi_actor_has_room will follow. fini: run it,
     * then rayi_actor_fini_ran. end: this life is over, kill the process if it is there. take: the calls that are
     * there, oldest first, linked by head.next, their counts too; the started ones are flagged RAYI_TAKEN. */
    void (*actor_begin)(rayi_thread *thread, ray_actor *actor, uint32_t life);
    bool (*actor_send)(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t life);
    void (*actor_fini)(rayi_thread *thread, ray_actor *actor);
    rayi_task *(*actor_take)(rayi_thread *thread, ray_actor *actor, bool started_too);
    void (*actor_end)(rayi_thread *thread, ray_actor *actor);
    /* It is parked: no call is sent to its process any more, and those that have not been started are returned, as of
     * actor_take. Or it goes on: NULL. */
    rayi_task *(*actor_park)(rayi_thread *thread, ray_actor *actor, bool parks);
    /* Is it to live on another node? Then *afar is what the raylet knows of it, and these five go there. 0, or the last
     * error's code. */
    int (*actor_afar)(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, void **afar);
    void (*afar_freed)(void *afar);
    void (*hosted_died)(rayi_thread *thread, void *host);   /* of rayi_actor_set_host: once */
    const rayi_outside *neighbours;                         /* what stand-ins for records of other nodes ask; or NULL */
    void (*unplace)(rayi_thread *thread, ray_actor *actor); /* it is dead: its place and its name go */
    void (*place_freed)(void *place);
    const char *(*actor_resources)(ray_actor *actor, const char **gpus, const char **group_id);
    /* A task of the lane or of the scheduler whose turn has come is for a worker process (RAYI_ELSEWHERE): the lane's
     * count goes along. slot_free, poll, sleep, stir: see rayi_lane_ops. */
    void (*dispatch)(rayi_thread *thread, rayi_task *task);
    void (*slot_free)(void *node);
    void (*poll)(rayi_thread *thread, enum rayi_poll when);
    void (*sleep)(rayi_thread *thread, atomic_uint *word, int64_t deadline_ns);
    void (*stir)(void *node);
    /* There is work for worker processes: see that there can be one. 0, or the last error's code. */
    int (*elsewhere)(rayi_thread *thread);
    /* A task or call has new flags (CANCEL, LATE), which processes should see that run it or its children; force: the
     * process that runs it is killed. */
    void (*tell)(rayi_thread *thread, rayi_task *task, bool force);
    bool (*is_away)(rayi_task *task);                         /* another node runs it: that one knows how */
    void (*forget)(rayi_thread *thread, rayi_record *record); /* one with RAYI_NAMED goes: a stand-in; or NULL */
    /* The stream of a task that may run in a worker process or on another node has news: it may go on, or nobody
     * reads. */
    void (*credit)(rayi_thread *thread, rayi_task *task);
    void (*loaded)(void *node, const char *path); /* a library was opened: worker processes do likewise. Or NULL */
    /* The library at path is open here, and other nodes are to have it. 0, or the last error's code; or NULL. */
    int (*everywhere)(rayi_thread *thread, const char *path);
    void (*functions_grew)(void *node); /* there may be more of them than before, behind loaded. Or NULL */
    /* NULL, or: the nodes that had the bytes of this object are dead. Waits until they are somewhere again: 0; TIMEOUT
     * at deadline_ns, after which they are still looked for, or made again; else the last error's code; 1: it is for
     * the source alone to say. The thread counts as blocked. */
    int (*find)(rayi_thread *thread, rayi_record *object, int64_t deadline_ns);
    void (*slot_returned)(void *node, unsigned slots);
    bool (*congested)(void *node);
    void (*freed)(void *node);
} rayi_executor_hooks;

/* In a worker process: what its node does for it (lib/worker). Of a node: what others do for its stand-ins (submit,
 * release_actor, kill, actor_ready and cancel only). What is made here and passed on is known to both by a
 * number; actors, and tasks that are not run here, are stand-ins: records that the node completes. */
struct rayi_outside {
    /* The node is to run this; its arguments go with the call. actor: whose method; NULL: a task. The record is
     * completed with rayi_task_complete. 0, or the last error's code. */
    int (*submit)(rayi_thread *thread, rayi_task *task, ray_actor *actor, const ray_task_options *options);
    int (*create)(rayi_thread *thread, ray_actor *actor, rayi_task *creation, const ray_actor_options *options);
    void (*release_actor)(rayi_thread *thread, ray_actor *actor); /* the last handle here is gone */
    int (*kill)(rayi_thread *thread, ray_actor *actor, bool may_restart);
    rayi_record *(*actor_ready)(rayi_thread *thread, ray_actor *actor);
    int (*cancel)(rayi_thread *thread, rayi_record *record, unsigned flags);
    rayi_record *(*next)(rayi_thread *thread, rayi_record *stream);
    int (*yield)(rayi_thread *thread, rayi_task *task,
                 rayi_result *item); /* waits for credit; takes what item counts */
    /* Room for the bytes of an object that is too large for the heap: object->next and ->content.buffer.data; its flag
     * is RAYI_FAR. 0, or the last error's code. */
    int (*room)(rayi_thread *thread, rayi_record *object, size_t size_bytes); /* and one byte more, for a NUL */
    void (*sealed)(rayi_thread *thread, rayi_record *object);
    /* Its bytes are there, until close; 0 or the last error's code. A lost one is waited for until deadline_ns. */
    int (*open)(rayi_thread *thread, rayi_record *object, int64_t deadline_ns);
    void (*close)(rayi_thread *thread, rayi_record *object);
    void (*forget)(rayi_thread *thread, rayi_record *record);            /* it has a number, or is far, and goes */
    bool (*cancelled)(const rayi_thread *thread, const rayi_task *task); /* of one that runs here */
    /* Of a task or call that runs on this thread: by which it is known when it has parted; UINT32_MAX: it may not. */
    uint32_t (*slot)(const rayi_task *task);
    bool (*slot_cancelled)(const rayi_thread *thread, uint32_t slot);
    void (*threads)(rayi_thread *thread, uint32_t most); /* so many are enough for the actor that lives here */
    void (*attend)(rayi_thread *thread);                 /* records are to be done even if no thread waits in a call */
    void (*context)(rayi_thread *thread, const rayi_task *task, ray_context *context);
    void (*blocked)(rayi_thread *thread, rayi_task *task, rayi_record *record, bool blocks);
    int (*load)(rayi_thread *thread, const char *path, unsigned flags); /* before it is opened here */
};

/* A record's flags, next to the executor's own. */
enum {
    RAYI_FAR = RAYI_FLAGS_OF_EXECUTOR * 8, /* of objects: next is what outside knows of the bytes */
    RAYI_STAND_IN = RAYI_FAR,              /* of tasks: the node has the stream, this record only its end */
};

typedef struct rayi_executor_config {
    rayi_lane_config lane;
    uint64_t store_bytes;
    const char *ns; /* NULL: one of its own */
    int64_t timeout_ms;
    bool lane_is_off;            /* the node has not one whole CPU: every task is the scheduler's */
    const rayi_outside *outside; /* in a worker process */
    /* Asked with the node for a directory when the store is full: rayi_store_set_spill_later. NULL: never spill. */
    int (*spill_directory)(void *node, char *out, size_t size);
    const char *node_id, *job_id; /* of the node that this process works for; NULL: of its own */
    uint64_t id_prefix, first_number;
    bool processes;  /* functions run in worker processes unless they or a call say otherwise */
    uint64_t events; /* so many runs are kept on record; 0: none */
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
int64_t rayi_executor_timeout_ms(const rayi_executor *executor);
uint64_t rayi_executor_id_prefix(const rayi_executor *executor); /* of the ids that are made of numbers */
uint64_t rayi_executor_number(rayi_executor *executor);          /* never 0, never given twice */
void rayi_executor_write_id(const rayi_executor *executor, char out[RAYI_ID_SIZE], uint64_t number);
static inline rayi_executor *rayi_executor_of(const rayi_thread *thread)
{
    return rayi_lane_owner(thread->lane);
}

/* Plain tasks that the lane has no free slot for are the scheduler's from now on, or the lane's again. Any thread. */
void rayi_executor_set_overflows(rayi_executor *executor, bool overflows);

/* ---- functions ---- */

/* Before any executor is there these only put the record on a list. */
int rayi_function_register(rayi_executor *executor, ray_function *record); /* executor may be NULL */
int rayi_struct_register(rayi_executor *executor, ray_struct *description);
ray_function *rayi_function_get(rayi_executor *executor, const char *name); /* NULL: last error */
/* Visits the libraries that have functions, some more than once. */
void rayi_libraries_for_each(void (*visit)(void *arg, const char *path), void *arg);
/* Settings of a function; executor may be NULL. */
int rayi_function_set(rayi_executor *executor, ray_function *record, const ray_function_options *options);
rayi_function *rayi_function_find(rayi_executor *executor, const char *name); /* resolved; NULL: last error */
const char *rayi_function_name(const rayi_function *function);
uint32_t rayi_function_number(const rayi_function *function); /* in this executor, from 0 */
uint32_t rayi_function_max_calls(const rayi_function *function);
ray_isolation rayi_function_isolation(const rayi_function *function); /* unless a call says otherwise */
const ray_function *rayi_function_record(const rayi_function *function);
/* What it can be called by: its record, or a stand-in of its name if a wildcard stands for it, whose record that is.
 * NULL: last error */
ray_function *rayi_function_handle(const rayi_function *function);
/* Functions that are not here may be on other nodes: calls of them are tasks of the raylet's from now on. Any thread.
 */
void rayi_executor_set_abroad(rayi_executor *executor, bool may);
/* One that is not here, by its name and sort (RAY_FUNCTION_ACTOR, _METHOD or 0). NULL: last error. */
rayi_function *rayi_function_abroad(rayi_executor *executor, const char *name, uint32_t flags);
bool rayi_function_is_abroad(const rayi_function *function);
/* A node that has one that is not here has it by this description; the first counts. False: it was another. */
bool rayi_function_agree(rayi_executor *executor, const rayi_function *function, const char *description);
/* The signature with the layout of structs, to be compared between processes; appended. Of one that is not here: as the
 * first who has it has told, or nothing; on one thread with rayi_function_agree. */
void rayi_function_describe(const rayi_function *function, rayi_text *text);
/* executor may be NULL; else the caller is attached to its lane. TOLD: outside knows of it. */
#define RAYI_LOAD_TOLD (1u << 31)
int rayi_function_load(rayi_executor *executor, const char *path, unsigned flags);

/* ---- code that travels: code.c ---- */

#define RAYI_CODE_HASH_SIZE 65 /* 64 hex digits and a NUL */
#define RAYI_CODE_NAME_MAX  255

/* A library that nodes send each other, known by the hash of its bytes. In a process that has opened it itself its
 * functions are that process's own; for others they are *foreign*: of known types, and for worker processes only, which
 * open it. Lasts as long as the executor. */
typedef struct rayi_code {
    UT_hash_handle hh; /* in the executor's */
    char hash[RAYI_CODE_HASH_SIZE];
    char *name;                       /* of its file, for people */
    rayi_function *functions;         /* the foreign ones, by name; functions_lock */
    struct rayi_code_source *sources; /* lib/cluster's: where its bytes are */
    pthread_mutex_t file_lock;        /* the rest is lib/raylet's */
    char *file;                       /* where it is on this node; NULL: it is not */
} rayi_code;

rayi_code *rayi_code_find(rayi_executor *executor, const char *hash); /* NULL: there is none */
/* The same, or a new one. NULL: last error. */
rayi_code *rayi_code_enter(rayi_executor *executor, const char *hash, const char *name);
void rayi_codes_for_each(rayi_executor *executor, void (*visit)(void *arg, rayi_code *code), void *arg);
/* A function for who is to know it as a foreign one, and there: entered unless it is known. Without memory it is not;
 * code NULL: it is only looked at. False: rubbish. */
void rayi_code_put_function(rayi_writer *writer, const rayi_function *function);
bool rayi_code_take_function(rayi_executor *executor, rayi_code *code, rayi_reader *reader);
/* What this process has from the library at path, which is open, is of this code. LOAD: it is of another one, so the
 * file has changed since. */
int rayi_code_claim(rayi_executor *executor, rayi_code *code, const char *path);
/* Its functions, foreign or not; under a lock. */
void rayi_code_functions(rayi_executor *executor, const rayi_code *code,
                         void (*visit)(void *arg, const rayi_function *function), void *arg);
/* What that name means to a process that has opened it: a function of this process's own, or one of the code's. code
 * may be NULL. NULL: last error */
rayi_function *rayi_code_function(rayi_executor *executor, rayi_code *code, const char *name);
rayi_code *rayi_function_code(const rayi_function *function); /* NULL: it does not travel */
bool rayi_function_is_foreign(const rayi_function *function);
/* hooks->everywhere, for all libraries that were loaded so before there was an executor. 0, or the last error's code */
int rayi_codes_share(rayi_thread *thread);

/* ---- objects ---- */

rayi_record *rayi_object_failed(rayi_thread *thread, rayi_error *error); /* takes the error's count */
rayi_record *rayi_object_failed_last(rayi_thread *thread);               /* with this thread's last error */
rayi_record *rayi_object_fixed(int code);          /* needs no memory and no runtime; the same for all */
rayi_record *rayi_record_new(rayi_thread *thread); /* of no value, not done; NULL: last error */
void rayi_record_fail(rayi_thread *thread, rayi_record *record, rayi_error *error); /* takes the error's count */
/* The error of a failed, done record; NULL: it did not fail. Not counted. */
rayi_error *rayi_record_error(const rayi_record *record);
bool rayi_record_failed(const rayi_record *record); /* of a done one */
rayi_record *rayi_object_put(rayi_thread *thread, const void *data, size_t size_bytes);
ray_buffer *rayi_buffer_new(rayi_thread *thread, size_t size_bytes); /* NULL: last error */
int rayi_buffer_hold(rayi_thread *thread, ray_buffer *buffer, rayi_record *record);
rayi_record *rayi_buffer_seal(rayi_thread *thread, ray_buffer *buffer);
rayi_record *rayi_buffer_record(ray_buffer *buffer);
/* The bytes that a view of this pin shows hold a ref of this index: counted; NULL: last error. */
rayi_record *rayi_view_ref(rayi_thread *thread, const ray_view *view, size_t index);
/* Another view of what that one shows, whose pin is an object or a view. */
int rayi_view_retain(rayi_thread *thread, const ray_view *view, ray_view *out);
rayi_record *rayi_view_object(const ray_view *view); /* that the view shows; NULL: none. Not counted */
const char *rayi_record_id(rayi_thread *thread, rayi_record *record);
/* What the id is made of: the same for all processes of a node; 0: no memory. set: one that was given elsewhere. */
uint64_t rayi_record_number(rayi_thread *thread, rayi_record *record);
uint64_t rayi_record_number_if(const rayi_record *record); /* 0: it has none yet */
bool rayi_record_set_number(rayi_thread *thread, rayi_record *record, uint64_t number);
/* True if it has exactly this number now. */
bool rayi_record_set_number_once(rayi_thread *thread, rayi_record *record, uint64_t number);
/* A record that ends as another does: obtained; NULL: no memory. */
rayi_record *rayi_record_following(rayi_thread *thread, rayi_record *record);
bool rayi_record_follow(rayi_thread *thread, rayi_record *to, rayi_record *record); /* the same with a pending one */
/* Room for an object in segments of that arena, unsealed; NULL: last error (STORE_FULL after the deadline; 0: at once).
 */
rayi_record *rayi_object_new_in(rayi_thread *thread, rayi_arena *arena, size_t size_bytes, int64_t deadline_ns);
bool rayi_object_is_far(const rayi_record *object); /* its bytes are not on the heap */
enum rayi_maker { RAYI_MADE_BY_PUT, RAYI_MADE_BY_TASK, RAYI_MADE_BY_CALL };
enum rayi_maker rayi_object_maker(const rayi_record *object); /* of one whose bytes are not on the heap */
/* Bytes that are not on the heap may be moved or spilled while nobody pins them. pin may wait for room and the disk; 0,
 * or the last error's code; one that was lost with its node is waited for until lost_ns, then TIMEOUT. data: of a
 * pinned object, or one that is not far. */
int rayi_object_pin(rayi_thread *thread, rayi_record *object, int64_t lost_ns);
void rayi_object_unpin(rayi_thread *thread, rayi_record *object);
const void *rayi_object_data(const rayi_record *object);
rayi_block *rayi_object_block(const rayi_record *object); /* that has its bytes; NULL: none. Not counted */
/* An object whose bytes are in this block; takes the block's count. Of a sealed block it is done; else finish it. NULL:
 * last error, nothing taken. */
rayi_record *rayi_object_of_block(rayi_thread *thread, unsigned kind, rayi_block *block);

/* ---- tasks ---- */

rayi_record *rayi_task_submit(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                              const ray_task_options *options);
/* The same for a task or call that another node owns, which says how it stands. */
typedef struct rayi_hosting {
    uint32_t attempt;           /* earlier tries */
    uint64_t credit, delivered; /* of a stream: items that it may have yielded, and those that its reader has */
} rayi_hosting;
rayi_record *rayi_task_submit_hosted(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                                     const ray_task_options *options, const rayi_hosting *hosting);
rayi_record *rayi_actor_submit_hosted(rayi_thread *thread, ray_actor *actor, ray_function *record,
                                      const ray_value *args, size_t num_args, const ray_task_options *options,
                                      const rayi_hosting *hosting);
/* What the function of a failed task or call said of another try (enum rayi_again). */
unsigned rayi_record_again(const rayi_record *record);
int rayi_record_get(rayi_thread *thread, rayi_record *record, int64_t timeout_ms, ray_value *out);
int rayi_record_wait_many(rayi_thread *thread, rayi_record *const *records, size_t count, size_t num_ready,
                          int64_t timeout_ms, bool *ready);
int rayi_record_cancel(rayi_thread *thread, rayi_record *record, unsigned flags);
/* Of a task that runs elsewhere: an item it has yielded, the index-th of this try (takes what it counts); and how many
 * items it may have yielded. */
int rayi_stream_put(rayi_thread *thread, rayi_task *task, uint64_t index, rayi_result *item);
uint64_t rayi_stream_credit(rayi_task *task, bool *abandoned);
uint64_t rayi_stream_delivered(rayi_task *task); /* by all tries */
/* Of a task of another node, started with rayi_hosting: what its credit is now; abandoned: nobody reads on. */
void rayi_stream_grant(rayi_thread *thread, rayi_task *task, uint64_t credit, bool abandoned);
rayi_record *rayi_stream_next(rayi_thread *thread, rayi_record *stream);
int rayi_stream_yield(rayi_thread *thread, const ray_value *item);
/* The task has ended, and its arguments were kept (RAYI_KEPT): may they stay for another run, and what counts as kept
 * by them; and that run, as a task of its own. */
bool rayi_task_can_stay(const rayi_task *task, uint64_t *size_bytes);
rayi_record *rayi_task_again(rayi_thread *thread, const rayi_task *task, const ray_task_options *options);
/* For the raylet: a task that it holds ends so, or runs (again). Each takes over the lane's count. */
void rayi_task_fail(rayi_thread *thread, rayi_task *task, rayi_error *error); /* the caller has claimed it */
/* Ends a task or call that nobody has started, with a count of its own: whoever holds the lane's keeps it. False: too
 * late. Takes the error's count. */
bool rayi_task_end_unstarted(rayi_thread *thread, rayi_task *task, rayi_error *error);
/* It never ran, because it was asked to stop, or its deadline was over. */
rayi_error *rayi_task_cancelled_error(const rayi_task *task);
rayi_error *rayi_task_late_error(const rayi_task *task);
void rayi_task_retry(rayi_task *task); /* a failed one is pending again */
/* A task that ran elsewhere has ended, or what ran it broke (tried again, if it may be). Takes what the result counts,
 * or the error's count, and the lane's count on the task. */
void rayi_task_ran(rayi_thread *thread, rayi_task *task, rayi_result *result);
void rayi_task_crashed(rayi_thread *thread, rayi_task *task, rayi_error *error);
/* In a worker process: the node has ended what this task stands for. Takes what the result counts. */
void rayi_task_complete(rayi_thread *thread, rayi_task *task, rayi_result *result);
void **rayi_task_escape(rayi_task *task); /* where the raylet keeps what it knows of it */
const char *rayi_task_name(const rayi_task *task);

/* The record of what ran; NULL: none is kept. It stays as long as the executor. */
rayi_events *rayi_executor_events(const rayi_executor *executor);
typedef struct rayi_run_span {
    int64_t started_ns, ended_ns; /* in rayi_now_ns terms */
    uint32_t pid, thread;         /* of a worker process */
} rayi_run_span;
/* For the record: a task, or a call or constructor of this actor, has run in another process, and came to that (0, or
 * an error's code). The caller has a count on it. */
void rayi_ran_there(rayi_thread *thread, rayi_task *task, const ray_actor *actor, const rayi_run_span *span, int code);

typedef struct rayi_task_row {
    const char *id, *name, *state;
} rayi_task_row;
/* A picture of the tasks and calls that are not done and of those whose refs are kept, but not of those that other
 * nodes have submitted. */
void rayi_tasks_for_each(rayi_thread *thread, void (*visit)(void *arg, const rayi_task_row *row), void *arg);

/* For a worker process, which runs what its node has: */

/* A task or call with its arguments packed; pending is 1 above what is missing; refs is 2: the user's and the lane's.
 * NULL: last error. */
rayi_task *rayi_task_new(rayi_thread *thread, enum rayi_type type, rayi_function *function, const ray_value *args,
                         size_t num_args);
void rayi_task_drop_arguments(rayi_thread *thread, rayi_task *task);
void rayi_task_undo(rayi_thread *thread, rayi_task *task); /* of one that was never published */
/* Runs the function of a claimed task; a failed argument or a cancelled ancestor is a result, too. */
void rayi_run_function(rayi_thread *thread, rayi_task *task, ray_actor *actor, void *self, uint32_t life,
                       rayi_result *result);
/* Completes a record of rayi_record_new; takes what the result counts. */
void rayi_record_fill(rayi_thread *thread, rayi_record *record, const rayi_result *result);
rayi_record *const *rayi_object_held(const rayi_record *object, size_t *count); /* the refs that it holds */

/* ---- tasks that run in another process ---- */

rayi_function *rayi_task_function(const rayi_task *task);
char *const *rayi_task_env(const rayi_task *task);            /* or NULL */
char **rayi_env_copy(const char *const *env);                 /* one allocation; NULL: no memory */
rayi_record *rayi_task_next_argument(rayi_task *task);        /* the first that is not done: counted, or NULL */
rayi_error *rayi_task_failed_argument(const rayi_task *task); /* the first that failed: its error, counted, or NULL */
/* The objects that the arguments of a task are: all pinned, or none. May wait for room and the disk. */
int rayi_task_pin_arguments(rayi_thread *thread, const rayi_task *task);
void rayi_task_unpin_arguments(rayi_thread *thread, const rayi_task *task);
/* The same apart from the task, whose arguments are done, and which somebody else may end meanwhile. */
typedef struct rayi_pins {
    rayi_record **objects; /* counted */
    size_t count;
    bool taken;
    bool finds; /* what is lost is waited for; else whoever has submitted the task sees to it */
} rayi_pins;
int rayi_pins_of(rayi_task *task, rayi_pins *out); /* lists them; NO_MEMORY */
int rayi_pins_take(rayi_thread *thread, rayi_pins *pins);
void rayi_pins_drop(rayi_thread *thread, rayi_pins *pins);
/* Some of them are objects of the store. Likewise. */
bool rayi_task_has_far_arguments(rayi_task *task);
/* Resources, devices, group, attempt and restarts of a task, or of a call of this actor (task NULL: its fini). */
void rayi_task_describe(rayi_thread *thread, rayi_task *task, ray_actor *actor, ray_context *out);
ray_actor *rayi_call_actor(const rayi_task *call); /* NULL: its node is another one */
uint32_t rayi_call_group(const rayi_task *call);   /* the concurrency group it asked for; 0: the one without a name */
/* It waits for the record (or NULL) in its process, or goes on: of one that the scheduler granted. */
void rayi_task_blocked(rayi_thread *thread, rayi_task *task, rayi_record *record, bool blocks);

typedef struct rayi_frame {
    struct rayi_frame *outer;
    rayi_task *task;     /* or NULL: fini of an actor */
    ray_actor *actor;    /* or NULL */
    uint32_t life;       /* of the actor, from 1; 0: whichever it is in */
    rayi_error *failure; /* what ray_fail said */
    ray_later *later;    /* ray_complete_later was called */
    uint64_t outer_caller;
    uint64_t yielded; /* items, by this try */
    uint8_t again;    /* enum rayi_again */
    bool exits;       /* ray_actor_exit was called */
    bool has_context; /* context is filled in */
    bool in_disguise; /* something is done in the name of a task that runs in another process */
    uint64_t number;  /* in_disguise: which that process has given to what it submits; 0: none */
    ray_context context;
} rayi_frame;

/* While something is done in the name of a task in another process (or NULL): what is submitted is its child, and calls
 * of actors have the order of that caller. */
typedef rayi_frame rayi_frame_guise;
void rayi_guise_begin(rayi_thread *thread, rayi_frame_guise *frame, rayi_task *task, uint64_t caller);
void rayi_guise_end(rayi_thread *thread, rayi_frame_guise *frame);

/* ---- inside a task ---- */

int rayi_frame_fail(rayi_thread *thread, rayi_error *error); /* NOT_HERE outside; takes the error's count */
int rayi_frame_fail_again(rayi_thread *thread, bool again);
const char *rayi_frame_function(const rayi_thread *thread); /* NULL: outside */
bool rayi_frame_cancelled(const rayi_thread *thread);
const ray_context *rayi_frame_context(rayi_thread *thread);

/* ---- results that come later ---- */

ray_later *rayi_later_new(rayi_thread *thread); /* of what runs here; NULL: last error */
/* Each of these takes the handle; thread is of its lane. Refs and buffers in the value are given away, as by ray_yield;
 * of a value that does not fit the task fails, with the code that is returned. */
int rayi_later_complete(rayi_thread *thread, ray_later *later, const ray_value *value);
void rayi_later_fail(rayi_thread *thread, ray_later *later, rayi_error *error); /* takes the error's count */
void rayi_later_free_late(ray_later *later);                                    /* its runtime is over */
void rayi_later_say_again(ray_later *later, bool again);
bool rayi_later_cancelled(rayi_thread *thread, const ray_later *later);
rayi_lane *rayi_later_lane(const ray_later *later);
const char *rayi_later_function(const ray_later *later);

/* For whoever ran a function that left result->later: true: finish will be called with what it comes to (takes it) on
 * the thread that does, and may have been. False: it has come, in *result. */
typedef void (*rayi_finish)(rayi_thread *thread, rayi_task *task, uint64_t arg, rayi_result *result);
bool rayi_later_part(rayi_thread *thread, ray_later *later, rayi_finish finish, uint64_t arg, rayi_result *result);

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
int rayi_actor_threads(rayi_thread *thread, uint32_t most);
void rayi_actor_granted(rayi_thread *thread, ray_actor *actor);
void rayi_actor_refused(rayi_thread *thread, ray_actor *actor, rayi_error *error); /* takes the error's count */
void rayi_actor_lost(rayi_thread *thread, ray_actor *actor, rayi_error *error); /* its place is gone; takes the count */
void **rayi_actor_place(ray_actor *actor); /* where the raylet keeps what it knows of it */
/* Visits the actors that are not freed, under a lock. */
void rayi_actors_for_each(rayi_executor *executor, void (*visit)(void *arg, ray_actor *actor), void *arg);

uint64_t rayi_actor_number(const ray_actor *actor);                        /* what its id is made of */
ray_actor *rayi_actor_by_number(rayi_executor *executor, uint64_t number); /* one that lives: obtained; or NULL */
/* Lives here, in this life, for an actor of another node: without restarts, wherever the raylet would have it. */
ray_actor *rayi_actor_new_hosted(rayi_thread *thread, ray_function *record, const ray_value *args, size_t num_args,
                                 const ray_actor_options *options, uint32_t life);
/* hooks->hosted_died will tell of its death, maybe at once. */
void rayi_actor_set_host(rayi_thread *thread, ray_actor *actor, void *host);
void *rayi_actor_host(const ray_actor *actor);  /* NULL: none, or it has been told of the death */
void *rayi_actor_afar(const ray_actor *actor);  /* NULL: it lives here */
bool rayi_actor_is_of_others(ray_actor *actor); /* another node has made it: it lives here for that, or is a handle */
bool rayi_actor_stands_in(const ray_actor *actor);
void rayi_actor_finish(rayi_thread *thread, ray_actor *actor); /* it ends in order, as with its last handle */
bool rayi_actor_is_ending(ray_actor *actor);                   /* in order: its fini is due, or runs */
rayi_error *rayi_actor_cause(ray_actor *actor);                /* of its death: counted */
/* A handle to an actor of the node, or of another one; NULL: no memory (last error). */
ray_actor *rayi_actor_stand_in(rayi_thread *thread, uint64_t number, const char *class, const char *name);

/* ---- actors that live in a worker process ---- */

void **rayi_actor_guest(ray_actor *actor); /* where its process's keeper is kept */
const char *const *rayi_actor_env(const ray_actor *actor);
const rayi_task *rayi_actor_creation(const ray_actor *actor);
uint32_t rayi_actor_concurrency(const ray_actor *actor);
uint32_t rayi_actor_calls_away(const ray_actor *actor); /* so many may be in its process, started or not */
uint32_t rayi_actor_num_groups(const ray_actor *actor); /* concurrency groups with a name; they count from 1 */
const char *rayi_actor_group_name(const ray_actor *actor, uint32_t index);
uint32_t rayi_actor_group_concurrency(const ray_actor *actor, uint32_t index);
const rayi_function *rayi_actor_fini(const ray_actor *actor); /* or NULL */
bool rayi_actor_is_in_life(ray_actor *actor, uint32_t life);  /* not dead, and not a later one */
bool rayi_actor_was_killed(ray_actor *actor);                 /* it is dead, or between lives, without its fini */
bool rayi_actor_is_awaited(ray_actor *actor, const rayi_record *record); /* it is done once the actor is, or later */
/* The constructor of this life has ended, or could not be run. Takes what the result counts. */
void rayi_actor_constructed(rayi_thread *thread, ray_actor *actor, uint32_t life, rayi_result *result);
/* A call has ended; takes what the result counts, and the count of the call. */
void rayi_actor_call_ran(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t life, rayi_result *result);
void rayi_actor_fini_ran(rayi_thread *thread, ray_actor *actor);
/* The process of this life has died; takes the count of why. */
void rayi_actor_crashed(rayi_thread *thread, ray_actor *actor, uint32_t life, rayi_error *why);
void rayi_actor_has_room(rayi_thread *thread, ray_actor *actor); /* after actor_send said no */

/* ---- actors of a node without a lease: park.c ---- */

/* So long this node acts in its cluster's name, in rayi_now_ms terms; INT64_MAX, as at first: always. */
void rayi_executor_set_lease(rayi_executor *executor, int64_t until_ms);
/* An actor has met the end of the lease by itself, and is parked, since this was asked. */
bool rayi_executor_missed_lease(rayi_executor *executor);
void rayi_actor_set_parks(ray_actor *actor); /* it parks without a lease, as what has a name does */
bool rayi_call_parks(const rayi_task *call); /* its actor does, and lives here */
/* All that park start no call from now on, or go on. How many: of those that are alive. */
uint32_t rayi_actors_park(rayi_thread *thread, bool parks);
void rayi_actors_end_parked(rayi_thread *thread); /* others may live in their place: all that park die */

/* ---- waitsets ---- */

ray_waitset *rayi_waitset_new(rayi_thread *thread);
int rayi_waitset_add(rayi_thread *thread, ray_waitset *set, rayi_record *record, void *tag);
rayi_record *rayi_waitset_next(rayi_thread *thread, ray_waitset *set, int64_t timeout_ms, void **tag);
int rayi_waitset_fd(ray_waitset *set);
void rayi_waitset_free(rayi_thread *thread, ray_waitset *set); /* thread NULL: after shutdown */

#endif
