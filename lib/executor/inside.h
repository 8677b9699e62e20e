/* What the files of executor share with each other and nobody else. */
#ifndef RAYI_EXECUTOR_INSIDE_H
#define RAYI_EXECUTOR_INSIDE_H

#include "executor/executor.h"

#define RAYI_KIND_ERROR 200 /* a record's content: pointer is a rayi_error, or NULL and size is -code */

/* A record's flags, of objects. */
enum {
    RAYI_HEAP = RAYI_FLAGS_OF_EXECUTOR,      /* next: the heap's block with the bytes */
    RAYI_BLOCK = RAYI_FLAGS_OF_EXECUTOR * 2, /* next: the store's block with the bytes */
    RAYI_PIN = RAYI_FLAGS_OF_EXECUTOR * 4,   /* the pin of a view: content.pointer is the object, counted */
};

/* In the state of an object. */
enum {
    RAYI_TEXT_PINNED = 1u << 16, /* it is pinned until it goes */
    RAYI_OF_TASK = 1u << 17,     /* a task has made it, or a call of an actor; else ray_put */
    RAYI_OF_CALL = 1u << 18,
};

typedef struct rayi_abroad rayi_abroad; /* abroad.c */

struct rayi_executor {
    rayi_lane *lane;
    rayi_store *store;
    const rayi_executor_hooks *hooks;
    void *node;
    char node_id[RAYI_ID_SIZE], job_id[RAYI_ID_SIZE];
    char *ns;
    int64_t timeout_ms;
    pthread_mutex_t pin_lock; /* of pin_taken: one thread at a time may wait for pins while it holds some */
    pthread_cond_t pin_free;
    bool pin_taken;
    bool lane_is_off, processes;
    atomic_bool overflows; /* what the lane has no room for is the scheduler's */
    const rayi_outside *outside;
    rayi_events *events; /* NULL: what runs is not recorded */
    uint64_t id_prefix;
    _Atomic(uint64_t) next_id;
    pthread_mutex_t functions_lock;
    rayi_function *functions; /* by name */
    rayi_abroad *abroad;      /* those that are not here */
    atomic_bool may_be_abroad;
    uint32_t num_functions;
    rayi_code *codes; /* by hash; with */
    pthread_mutex_t codes_lock;
    pthread_mutex_t actors_lock;
    ray_actor *actors;
    _Atomic(int64_t) lease_ms; /* park.c */
    atomic_bool missed_lease;
    pthread_mutex_t laters_lock;
    ray_later *laters;
};

/* ---- function.c, signature.c ---- */

typedef struct rayi_param {
    uint8_t kind;
    size_t size;
    const char *name; /* of the type, as written in C */
    const ray_struct *layout;
} rayi_param;

/* A function ready to be called: the record's types resolved. */
struct rayi_function {
    const ray_function *record;
    char *name; /* asked for; differs from the record's for "py:*" */
    rayi_param result;
    uint32_t num_params;
    bool variadic;                /* the last parameter stands for any number of its type */
    ray_isolation isolation;      /* where it runs unless a call says otherwise */
    uint32_t max_calls;           /* of a worker process, then it ends; 0: no limit */
    uint32_t number;              /* in the executor's list */
    bool has_own_settings;        /* of a name that a wildcard stands for: not those of the wildcard */
    bool simple;                  /* all parameters are numbers, no more than two of them: they fit into the record */
    rayi_error *broken;           /* calls fail with it: a struct that nobody described */
    _Atomic(rayi_code *) code;    /* that it is of; NULL: it does not travel */
    struct rayi_foreign *foreign; /* of code that this process has not opened: its record; else NULL */
    rayi_abroad *abroad;          /* it is not here: calls go to a node that has it; or NULL */
    UT_hash_handle hh;
    char *types_text; /* what the types' names point into, if they were parsed */
    rayi_param params[];
};

/* The function behind a record that is registered or a stand-in; *out NULL: there is none here. NO_MEMORY */
int rayi_function_look(rayi_executor *executor, ray_function *record, rayi_function **out);
/* The function behind a record, looked up once; NULL: last error. */
rayi_function *rayi_function_resolve(rayi_executor *executor, ray_function *record);
/* What ray_function_set has left in this record; false: nothing. functions_lock is held. */
bool rayi_function_apply_settings(rayi_function *function, const ray_function *record);
int rayi_functions_gather(rayi_executor *executor);
void rayi_functions_free(rayi_executor *executor);
void rayi_function_free(rayi_function *function); /* takes NULL */
/* Ready to be called but for its number: takes a parsed function; its name is copied. NULL: last error, it is freed. */
rayi_function *rayi_function_ready(rayi_function *function, const ray_function *record, const char *name);
/* functions_lock is held. */
rayi_function *rayi_function_wildcard(rayi_function *functions, const char *name);
const char *rayi_library_of(const ray_function *record); /* the file that it lies in; NULL: the program itself */

/* ---- code.c ---- */

struct rayi_foreign;
const char *rayi_foreign_description(const struct rayi_foreign *foreign);
void rayi_codes_free(rayi_executor *executor);
const ray_struct *rayi_struct_find(const char *name);
/* Parses "R(T, T...)" into a function without name and record; NULL: last error. */
rayi_function *rayi_signature_parse(const char *signature, const char *name);
/* Writes the signature of a function in C's words. */
void rayi_signature_write(rayi_text *text, const rayi_function *function);
static inline const rayi_param *rayi_function_param(const rayi_function *function, size_t index)
{
    return &function->params[index < function->num_params ? index : function->num_params - 1];
}

/* ---- abroad.c ---- */

/* As rayi_function_resolve, for who may have others run it; flags: RAY_FUNCTION_ACTOR, _METHOD or 0. */
rayi_function *rayi_function_called(rayi_executor *executor, ray_function *record, uint32_t flags);
void rayi_abroad_describe(const rayi_function *function, rayi_text *text);            /* nothing: it is not known */
void rayi_abroad_apply_settings(rayi_executor *executor, const ray_function *record); /* functions_lock is held */
void rayi_abroad_free_all(rayi_executor *executor);

/* ---- value.c ---- */

static inline bool rayi_is_number(unsigned kind)
{
    return kind >= RAY_KIND_BOOL && kind <= RAY_KIND_F64;
}
size_t rayi_number_size(unsigned kind);
const char *rayi_kind_name(unsigned kind);
/* Into a number or struct at to->data, of to->kind and to->size: 0 or TYPE with words (no last error is set). */
int rayi_value_convert(const ray_value *from, const ray_value *to, char *why, size_t why_size);
/* The bytes of a STRING, BYTES or STRUCT value. */
ray_view rayi_value_bytes(const ray_value *value);
bool rayi_value_has_bytes(unsigned kind);

/* ---- object.c ---- */

typedef struct rayi_stream rayi_stream;

/* The rarely used part of a record. */
typedef struct rayi_extra {
    char id[RAYI_ID_SIZE];
    _Atomic(uint64_t) number; /* what id is made of, written before it; 0: none yet */
    char *name;
    char **env;         /* of the worker process that is to run it, or NULL */
    rayi_record **held; /* refs that the object holds */
    size_t num_held;
    rayi_stream *stream;
    void *escape;     /* the raylet's */
    int32_t retries;  /* left, of a call whose actor restarts or a task whose process dies; -1: for ever */
    uint32_t attempt; /* of a task: earlier tries that no ledger of this node has counted */
    uint32_t group;   /* of a call: the concurrency group, from 1 */
    bool has_retries; /* of a task: else as many as is usual */
    uint8_t again;    /* enum rayi_again: what its function said at its end */
    bool retry_failures;
    int64_t deadline_ms; /* of a call, in rayi_now_ms terms; 0: none */
} rayi_extra;

rayi_extra *rayi_extra_of(rayi_record *record); /* made on first use; NULL: no memory, last error */
static inline rayi_extra *rayi_extra_if(const rayi_record *record)
{
    return atomic_load_explicit(&((rayi_record *)record)->extra, memory_order_acquire);
}

rayi_record *rayi_object_new(rayi_thread *thread, unsigned kind, size_t size_bytes); /* not done; NULL: last error */
void rayi_object_finish(rayi_record *object);                                        /* before anyone else knows it */
/* What a done record holds, as a value whose data lies in the record (or in *room for bytes, which are pinned). */
ray_value rayi_record_value(rayi_record *record, ray_view *room);
/* The object record that has the bytes of this done record's content. */
rayi_record *rayi_record_bytes(rayi_record *record);
/* Fills the content of a record that this thread ends. */
void rayi_content_error(rayi_record *record, rayi_error *error); /* takes its count */
void rayi_record_destroy(rayi_thread *thread, rayi_record *record);
rayi_error *rayi_error_no_memory(const char *what);

/* ---- pin.c ---- */

void rayi_pins_init(rayi_executor *executor);
void rayi_pins_fini(rayi_executor *executor);
/* A view of an object, which its pin counts and pins. lost_ns: as of rayi_object_pin. */
int rayi_object_view(rayi_thread *thread, rayi_record *object, int64_t lost_ns, ray_view *out);
void rayi_pin_drop(rayi_thread *thread, rayi_record *pin); /* what a record with RAYI_PIN counts and pins */
int rayi_object_keep(rayi_thread *thread, rayi_record *object, int64_t lost_ns); /* pinned until it goes */
void rayi_object_unkeep(rayi_thread *thread, rayi_record *object);

/* ---- submit.c ---- */

void rayi_task_watch_arguments(rayi_thread *thread, rayi_task *task);
rayi_record *rayi_task_awaited(const rayi_task *task, size_t index); /* the ref that came for it; NULL: none */

/* Where a resolved argument is put for the time of a run. */
typedef union rayi_scratch {
    uint64_t number;
    void *pointer;
    const char *string;
    ray_view view;
    struct {
        ray_value value;
        ray_view view;
    } any;
} rayi_scratch;
/* The arguments as the function declares them; TYPE with words. */
int rayi_task_load(rayi_task *task, ray_value *values, rayi_scratch *scratch, char *why, size_t why_size);

/* ---- frame.c ---- */
void rayi_guise_number(rayi_thread *thread, rayi_task *task);

/* ---- run.c ---- */

void rayi_frame_enter(rayi_thread *thread, rayi_frame *frame, rayi_task *task, ray_actor *actor, uint32_t life);
void rayi_frame_leave(rayi_thread *thread, rayi_frame *frame);
/* Makes the result the content of a record that this thread ends; what it counts goes along. */
void rayi_result_store(const rayi_result *result, rayi_record *record);
/* Of a task that was asked to stop while it ran the value does not count: CANCELLED, or why else. */
void rayi_task_settle(rayi_thread *thread, rayi_task *task, rayi_result *result);
/* Ends the task with this result; takes the lane's count. */
void rayi_task_publish(rayi_thread *thread, rayi_task *task, rayi_result *result);
void rayi_task_run(rayi_thread *thread, rayi_task *task);
bool rayi_task_was_asked_to_stop(const rayi_task *task);
/* A failed run may have had a word for whoever decides on another try. */
void rayi_task_keep_word(rayi_task *task, const rayi_result *result);
/* Turns what a function returned or yielded (result_kind, at data) into a record's content. */
void rayi_result_take(rayi_thread *thread, const rayi_param *type, void *data, rayi_result *result);
rayi_error *rayi_error_shutdown(void);
int rayi_env_check(const char *who, const char *const *env); /* ARGUMENT, LIMIT */
bool rayi_goes_elsewhere(const rayi_executor *executor, const rayi_function *function, ray_isolation isolation,
                         bool has_env);
rayi_record *rayi_submit_outside(rayi_thread *thread, rayi_task *task, ray_actor *actor,
                                 const ray_task_options *options, const rayi_hosting *hosting);

/* ---- ran.c ---- */

/* For the record, which there is: it has run on this thread since then. */
void rayi_ran_here(rayi_thread *thread, rayi_task *task, const ray_actor *actor, int64_t started_ns,
                   const rayi_result *result);

/* ---- stream.c ---- */

/* options, hosting: or NULL. NO_MEMORY: last error */
int rayi_stream_start(rayi_task *task, const ray_task_options *options, const rayi_hosting *hosting);
void rayi_stream_end(rayi_thread *thread, rayi_task *task,
                     rayi_error *error); /* the function has returned, or never ran */
void rayi_stream_abandoned(rayi_thread *thread, rayi_record *record);
bool rayi_task_is_elsewhere(const rayi_task *task); /* a worker process runs it, or will */
void rayi_stream_free(rayi_thread *thread, rayi_stream *stream);

/* What a caller gives as the value of a function, or an item of it, as a result; "ray_yield: " goes before the words.
 * 0, or the last error's code. */
int rayi_result_give(rayi_thread *thread, const rayi_function *function, const ray_value *given, const char *call,
                     rayi_result *result);

/* ---- later.c ---- */

/* The function has returned so. True: the handle is still out; false: it has come, in *result, or counts no more. */
bool rayi_later_returned(rayi_thread *thread, ray_later *later, rayi_result *result);
void rayi_later_lose(rayi_thread *thread, ray_later *later); /* whatever comes, nobody wants it */
void rayi_laters_stop(rayi_thread *thread);

/* ---- actor.c ---- */

bool rayi_actor_serve(rayi_thread *thread, rayi_record *runner, unsigned max);
void rayi_actor_destroy(rayi_thread *thread, rayi_record *runner);
void rayi_actors_stop(rayi_thread *thread);
void rayi_actors_fail_waiting(rayi_thread *thread);
void rayi_actor_created(rayi_thread *thread, rayi_task *creation); /* arguments and place are there */
void rayi_call_ended(rayi_task *call);                             /* it is done */
void rayi_actor_blocked(rayi_thread *thread, rayi_record *record);
uint32_t rayi_actor_restarts(const ray_actor *actor);
bool rayi_actor_cancelled(ray_actor *actor, uint32_t number);

#endif
