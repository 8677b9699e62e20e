/* What the files of executor share with each other and nobody else. */
#ifndef RAYI_EXECUTOR_INSIDE_H
#define RAYI_EXECUTOR_INSIDE_H

#include "executor/executor.h"

#define RAYI_KIND_ERROR 200 /* a record's content: pointer is a rayi_error, or NULL and size is -code */

/* A record's flags, of objects. */
enum {
    RAYI_HEAP = RAYI_FLAGS_OF_EXECUTOR,      /* next: the heap's block with the bytes */
    RAYI_BLOCK = RAYI_FLAGS_OF_EXECUTOR * 2, /* next: the store's block with the bytes */
};

struct rayi_executor {
    rayi_lane *lane;
    rayi_store *store;
    const rayi_executor_hooks *hooks;
    void *node;
    char node_id[RAYI_ID_SIZE], job_id[RAYI_ID_SIZE];
    char *ns;
    int64_t timeout_ms;
    bool lane_is_off;
    uint64_t id_prefix;
    _Atomic(uint64_t) next_id;
    pthread_mutex_t functions_lock;
    rayi_function *functions; /* by name */
    pthread_mutex_t actors_lock;
    ray_actor *actors;
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
    bool variadic;      /* the last parameter stands for any number of its type */
    bool simple;        /* all parameters are numbers, no more than two of them: they fit into the record */
    rayi_error *broken; /* calls fail with it: a struct that nobody described */
    UT_hash_handle hh;
    char *types_text; /* what the types' names point into, if they were parsed */
    rayi_param params[];
};

/* The function behind a record, looked up once; NULL: last error. */
rayi_function *rayi_function_resolve(rayi_executor *executor, ray_function *record);
int rayi_functions_gather(rayi_executor *executor);
void rayi_functions_free(rayi_executor *executor);
const ray_struct *rayi_struct_find(const char *name);
/* Parses "R(T, T...)" into a function without name and record; NULL: last error. */
rayi_function *rayi_signature_parse(const char *signature, const char *name);
/* Writes the signature of a function in C's words. */
void rayi_signature_write(rayi_text *text, const rayi_function *function);
static inline const rayi_param *rayi_function_param(const rayi_function *function, size_t index)
{
    return &function->params[index < function->num_params ? index : function->num_params - 1];
}

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
    char *name;
    rayi_record **held; /* refs that the object holds */
    size_t num_held;
    rayi_stream *stream;
    void *escape;    /* the raylet's */
    int32_t retries; /* left, of a call whose actor restarts; -1: for ever */
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
/* The error of a failed, done record; NULL: it did not fail. Not counted. */
rayi_error *rayi_record_error(const rayi_record *record);
/* What a done record holds, as a value whose data lies in the record (or in *room for bytes). */
ray_value rayi_record_value(rayi_record *record, ray_view *room);
/* The object record that has the bytes of this done record's content. */
rayi_record *rayi_record_bytes(rayi_record *record);
/* Fills the content of a record that this thread ends. */
void rayi_content_error(rayi_record *record, rayi_error *error); /* takes its count */
void rayi_record_destroy(rayi_thread *thread, rayi_record *record);
rayi_error *rayi_error_no_memory(const char *what);

/* ---- submit.c ---- */

/* A task or call with its arguments packed; pending is 1 above what is missing; refs is 2: the user's and the lane's.
 * NULL: last error. */
rayi_task *rayi_task_new(rayi_thread *thread, enum rayi_type type, rayi_function *function, const ray_value *args,
                         size_t num_args);
void rayi_task_watch_arguments(rayi_thread *thread, rayi_task *task);
void rayi_task_drop_arguments(rayi_thread *thread, rayi_task *task);
void rayi_task_undo(rayi_thread *thread, rayi_task *task); /* of one that was never published */
rayi_record *rayi_task_next_argument(rayi_task *task);
/* The error of the first argument that failed: counted; NULL: none did. */
rayi_error *rayi_task_failed_argument(const rayi_task *task);

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

/* ---- run.c ---- */

typedef struct rayi_frame {
    struct rayi_frame *outer;
    rayi_task *task;     /* or NULL: fini of an actor */
    ray_actor *actor;    /* or NULL */
    uint32_t life;       /* of the actor, from 1; 0: whichever it is in */
    rayi_error *failure; /* what ray_fail said */
    uint64_t outer_caller;
    bool exits;       /* ray_actor_exit was called */
    bool has_context; /* context is filled in */
    ray_context context;
} rayi_frame;

/* What a run left behind, until it is published. */
typedef struct rayi_result {
    rayi_error *error;
    uint8_t kind;
    size_t size;
    unsigned char bytes[16]; /* as in a record's content */
    bool exits;
} rayi_result;

void rayi_frame_enter(rayi_thread *thread, rayi_frame *frame, rayi_task *task, ray_actor *actor, uint32_t life);
void rayi_frame_leave(rayi_thread *thread, rayi_frame *frame);
/* Runs the function of a claimed task; a failed argument or a cancelled ancestor is a result, too. */
void rayi_run_function(rayi_thread *thread, rayi_task *task, ray_actor *actor, void *self, uint32_t life,
                       rayi_result *result);
/* Makes the result the content of a record that this thread ends; what it counts goes along. */
void rayi_result_store(const rayi_result *result, rayi_record *record);
void rayi_result_drop(rayi_thread *thread, rayi_result *result);
/* Ends the task with this result; takes the lane's count. */
void rayi_task_publish(rayi_thread *thread, rayi_task *task, rayi_result *result);
void rayi_task_run(rayi_thread *thread, rayi_task *task);
/* Turns what a function returned or yielded (result_kind, at data) into a record's content. */
void rayi_result_take(rayi_thread *thread, const rayi_param *type, void *data, rayi_result *result);
rayi_error *rayi_error_shutdown(void);

/* ---- stream.c ---- */

int rayi_stream_start(rayi_task *task, uint32_t max_ahead); /* NO_MEMORY: last error */
void rayi_stream_end(rayi_thread *thread, rayi_task *task,
                     rayi_error *error); /* the function has returned, or never ran */
void rayi_stream_abandoned(rayi_thread *thread, rayi_record *record);
void rayi_stream_free(rayi_thread *thread, rayi_stream *stream);

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
