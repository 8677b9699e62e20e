/* What the files of worker share with each other and nobody else. */
#ifndef RAYI_WORKER_INSIDE_H
#define RAYI_WORKER_INSIDE_H

#include "ring/ring.h"
#include "wire/wire.h"
#include "worker/worker.h"

/* ---- names ---- */

enum rayi_sort { RAYI_SORT_RECORD, RAYI_SORT_BLOCK, RAYI_SORT_ACTOR, RAYI_SORT_GROUP };

typedef struct rayi_name_key {
    uint64_t number, sort;
} rayi_name_key;

/* What a number stands for here. Not counted: it goes with the record. */
typedef struct rayi_name {
    UT_hash_handle hh;
    rayi_name_key key;
    void *what;              /* rayi_record *, or ray_actor * */
    uint64_t holds;          /* that the node counts for us */
    struct rayi_name *older; /* of the same key: it is going, its record was found too late to be kept */
} rayi_name;

/* ---- work ---- */

/* A function as the node numbers it; looked up when it is called first. Never freed. */
typedef struct rayi_callee {
    pthread_mutex_t lock;
    _Atomic(rayi_function *) function;
    char *description; /* behind the name */
    char name[];
} rayi_callee;

/* A TASK message that waits for its turn. */
typedef struct rayi_job {
    struct rayi_job *next;
    rayi_callee *callee;
    rayi_wire_task head;
    rayi_record **kept; /* refs that it names: they are there when they are completed */
    size_t num_kept;
    bool broken;                  /* no memory for kept */
    bool too_deep;                /* a waiting thread has no stack left for it */
    uint32_t thread;              /* which has run it */
    int64_t started_ns, ended_ns; /* when, if the node wants to know */
    uint32_t queue;               /* under way: whose it was, of calls: until its result is there; UINT32_MAX: none's */
    size_t size;
    char data[]; /* what follows the head */
} rayi_job;

/* Jobs of one concurrency group, in order. */
typedef struct rayi_jobs {
    rayi_job *first, *last;
    uint32_t limit, running; /* at once */
} rayi_jobs;

/* A task under way on this thread. */
typedef struct rayi_running {
    struct rayi_running *outer;
    const rayi_wire_task *head;
    rayi_task *task;
    uint64_t yielded;
    const char *resources, *gpus, *group_id;
    char id[RAYI_ID_SIZE];
} rayi_running;

/* The actor that lives here. */
typedef struct rayi_resident {
    uint64_t number; /* 0: none */
    ray_actor *self; /* a stand-in of its own, that no message is about */
    void *state, *state_block;
    uint32_t restarts;
} rayi_resident;

/* ---- requests ---- */

typedef struct rayi_asking {
    struct rayi_asking *next;
    uint64_t request;
    rayi_thread *thread;
    atomic_uint done;
    bool brings_value; /* the reply is a value, else bytes */
    int r;
    rayi_error *error;
    rayi_result value;
    char *data;
    size_t size;
} rayi_asking;

/* ---- objects of the store ---- */

typedef struct rayi_segment {
    UT_hash_handle hh;
    uint64_t segment;
    size_t size;
    int fd; /* -1: not here yet, or mapped */
    void *base;
    uint64_t uses; /* pins and buffers */
    bool writable, known, gone;
} rayi_segment;

/* Where the bytes of a far object are: its record's `next`. */
typedef struct rayi_far {
    uint64_t number;
    uint64_t segment, segment_bytes, offset; /* good while opens > 0 */
    uint64_t pins;                           /* of readers here */
    uint64_t opens;                          /* of the node, for us */
    bool own, sealed;
    rayi_segment *mapped; /* while pins > 0, or it is being written */
} rayi_far;

/* ---- the worker ---- */

typedef struct rayi_worker {
    rayi_executor *executor;
    rayi_lane *lane;
    rayi_channel *channel;
    int socket;
    int64_t node_pid;
    bool wrapped;
    uint32_t num_cpus;
    int64_t timeout_ms;
    rayi_port port;
    pthread_mutex_t rx, tx;

    pthread_mutex_t naming; /* recursive */
    uint32_t *up;           /* by the executor's number of a function: the node's of it and 1, or 0 */
    size_t num_up;
    uint32_t next_up;
    struct {
        int code;
        uint64_t number;
    } fixed[64]; /* the fixed errors that the node was told of */
    size_t num_fixed;

    pthread_mutex_t names_lock;
    rayi_name *names;

    pthread_mutex_t far_lock;
    pthread_cond_t segment_came;
    rayi_segment *segments;

    pthread_mutex_t asks_lock;
    rayi_asking *asks;
    uint64_t next_request;

    pthread_mutex_t queue_lock; /* and from here on down */
    pthread_cond_t work_came;
    rayi_jobs *jobs; /* one, or with the groups of the actor */
    uint32_t num_jobs;
    uint32_t running, idle;            /* what runs, or has no result yet; threads that wait for work_came */
    uint32_t num_threads, max_threads; /* that serve */
    uint32_t num_starting;             /* of them */
    bool leader;                       /* a thread waits for messages on behalf of all */
    atomic_uint num_nested;            /* jobs in the queues that a waiting thread may run */
    bool attended;
    atomic_bool exiting, leaves; /* leaves: a method has called ray_actor_exit, no call starts any more */

    rayi_callee **callees; /* under rx */
    size_t num_callees;
    rayi_resident resident; /* written by CONSTRUCT, before the calls */
} rayi_worker;

static inline rayi_worker *rayi_worker_of(const rayi_thread *thread)
{
    return rayi_executor_node(rayi_executor_of(thread));
}

/* ---- talk.c: sending, receiving, sleeping ---- */

extern const rayi_executor_hooks rayi_worker_hooks;
/* Sends whole, in parts if it is long, with nothing of others in between; waits for room. LIMIT: larger than a message
 * can be. */
int rayi_worker_send(rayi_worker *worker, uint32_t type, const void *head, size_t head_size, const void *body,
                     size_t body_size);
int rayi_worker_may_send(const rayi_writer *writer); /* 0: it can be sent, whenever; LIMIT, NO_MEMORY */
int rayi_worker_send_written(rayi_worker *worker, uint32_t type, const rayi_writer *writer);
/* Receives what is there; false: somebody else does. */
bool rayi_worker_receive(rayi_worker *worker, rayi_thread *thread);
/* Receives, or runs something, or sleeps; seen: the bell before the last look. */
void rayi_worker_nap(rayi_worker *worker, rayi_thread *thread, uint32_t seen, int64_t deadline_ns);
_Noreturn void rayi_worker_die(rayi_worker *worker, const char *why); /* NULL: the node has ended */

/* ---- receive.c: what messages from the node mean ---- */

void rayi_worker_take(rayi_worker *worker, rayi_thread *thread, const rayi_received *message); /* rx is held */

/* ---- names.c ---- */

void rayi_names_init(rayi_worker *worker);
/* Enters what a number of this worker's own, or one that the node was just told of, stands for; one hold. */
int rayi_name_add(rayi_worker *worker, uint64_t number, enum rayi_sort sort, void *what);
/* A pending record under a number of our own that the node will complete; counted; NULL: last error. */
rayi_record *rayi_name_item(rayi_thread *thread, uint64_t *number);
/* The record that this number stands for, made if there is none; counted; naming: the node has counted it, too. */
rayi_record *rayi_name_find(rayi_worker *worker, rayi_thread *thread, uint64_t number, bool naming);
rayi_record *rayi_name_known(rayi_worker *worker, uint64_t number); /* counted; NULL: none */
/* The node counts one more for what this number stands for here; false: for nothing. */
bool rayi_name_hold(rayi_worker *worker, uint64_t number, enum rayi_sort sort);
void rayi_name_forget(rayi_thread *thread, rayi_record *record);
void rayi_name_release_actor(rayi_thread *thread, ray_actor *actor);
rayi_record *rayi_name_block(rayi_worker *worker, rayi_thread *thread, uint64_t number, unsigned kind, uint64_t size);
uint64_t rayi_name_function(rayi_worker *worker, const rayi_function *function); /* and 1; 0: no memory */
void rayi_name_seal(rayi_thread *thread, rayi_record *object);                   /* outside->sealed */

/* Visits what a value names. False: rubbish. */
enum rayi_naming { RAYI_NAMES_RECORD, RAYI_NAMES_BLOCK, RAYI_NAMES_OPEN_BLOCK, RAYI_NAMES_ACTOR };
bool rayi_walk_value(rayi_reader *reader, void (*visit)(void *arg, enum rayi_naming what, uint64_t number), void *arg);
void rayi_drop_values(rayi_worker *worker, rayi_reader reader, size_t count); /* gives back what they count */

/* ---- serve.c ---- */

extern _Thread_local bool rayi_waits_quietly; /* for an answer of the node: nothing is run meanwhile */
int rayi_serve_init(rayi_worker *worker);
/* For an actor: so many calls at once, and of each group so many. */
int rayi_serve_widen(rayi_worker *worker, uint32_t concurrency, const uint32_t *groups, uint32_t num_groups);
void rayi_serve_add(rayi_worker *worker, rayi_job *job);         /* takes it */
void rayi_serve_ended(rayi_worker *worker, const rayi_job *job); /* one that was run or passed over */
void rayi_serve_thin(rayi_worker *worker, uint32_t most);        /* so many threads are enough */
void rayi_serve_attend(rayi_worker *worker); /* from now on messages are received though nobody waits */
void rayi_serve_exit(rayi_worker *worker);   /* after what runs */
void rayi_serve(rayi_worker *worker, rayi_thread *thread);
bool rayi_serve_nested(rayi_worker *worker, rayi_thread *thread); /* runs one, if there is one and it may */
rayi_running *rayi_running_of(const rayi_task *task);             /* NULL: it does not run on this thread */
uint32_t rayi_running_slot(const rayi_thread *thread);            /* of the innermost; UINT32_MAX: none */
void rayi_job_free(rayi_thread *thread, rayi_job *job);

/* ---- run.c ---- */

/* Takes the job. False: it will end later (rayi_serve_ended). */
bool rayi_job_run(rayi_worker *worker, rayi_thread *thread, rayi_job *job);

/* ---- submit.c ---- */

extern const rayi_outside rayi_worker_outside;
bool rayi_submit_keep(rayi_port *port, rayi_thread *thread, rayi_record *record); /* port->keep */
rayi_record *rayi_group_item(rayi_thread *thread, uint64_t group);                /* done when the group is ready */

/* ---- ask.c ---- */

void rayi_ask_begin(rayi_writer *writer, enum rayi_ask what);
/* Sends the request that was written and waits for its reply; fini's the writer. asking->value or ->data is the
 * caller's then. 0, or the last error's code. */
int rayi_ask_wait(rayi_thread *thread, rayi_writer *writer, rayi_asking *asking);
int rayi_ask(rayi_thread *thread, rayi_writer *writer);       /* one whose reply brings nothing */
void rayi_ask_tell(rayi_worker *worker, rayi_writer *writer); /* one whose reply is of no interest */
void rayi_ask_replied(rayi_worker *worker, rayi_thread *thread, rayi_reader *reader);

/* ---- far.c ---- */

int rayi_far_room(rayi_thread *thread, rayi_record *object, size_t size_bytes);
int rayi_far_open(rayi_thread *thread, rayi_record *object, int64_t lost_ns);
void rayi_far_close(rayi_thread *thread, rayi_record *object);
/* What write_place has written; the object is far. */
bool rayi_far_read_place(rayi_worker *worker, rayi_record *object, rayi_reader *reader);
void rayi_far_free(rayi_worker *worker, rayi_record *object); /* the record goes */
void rayi_far_sealed(rayi_worker *worker, rayi_record *object);
void rayi_far_segment_came(rayi_worker *worker, const rayi_wire_segment *what, int fd); /* takes fd */
void rayi_far_segment_gone(rayi_worker *worker, uint64_t segment);
static inline rayi_far *rayi_far_of(const rayi_record *object)
{
    return (rayi_far *)object->next;
}

/* ---- body.c ---- */

uint64_t rayi_remote_group_number(const ray_placement_group *group);

/* ---- template.c ---- */

typedef enum rayi_worker_role {                        /* what RAY_WORKER_OF says of this process */
                                RAYI_WORKER_ROLE_NONE, /* it is not there, or not what a node sets: the outputs mean
                                                          nothing */
                                RAYI_WORKER_ROLE_WORKER,
                                RAYI_WORKER_ROLE_TEMPLATE,
} rayi_worker_role;
rayi_worker_role rayi_worker_read_role(int64_t *out_node, bool *out_wrapped);

#endif
