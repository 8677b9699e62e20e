/* The messages between a node and a worker process of it. Part of the door wire/wire.h.
 *
 * A *number* names a record (an object, a task's result) or an actor for both: records of the node have numbers below
 * RAYI_NUMBERS_OF_WORKERS; what a worker makes it numbers itself, from the range that WELCOME gives it. Each time the
 * node names a record or an actor in a message it counts one hold for the worker, who gives holds back in RELEASE. What
 * a worker names it must hold, or have made.
 *
 * A value is a form and what follows:
 *   NONE
 *   NUMBER    u8 kind, 8 bytes, the number in the first of them
 *   BYTES     u8 kind (STRING, BYTES, STRUCT), holds, u32 size, so many bytes, a NUL
 *   BLOCK     u8 kind, u64 number, u64 size, holds, u8 open [, place]: an object of the store. Open: it is pinned for
 *             the receiver, until CLOSE. From a worker: an object that it has sealed; never open.
 *   REF       u64 number: the ref itself is the value
 *   ACTOR     u64 number, text class, text name
 *   ERROR     i64 code, i64 user_code, text message, text function, text node, i64 pid, i64 signal, text output,
 *             u32 size, payload
 *   AWAITED   u64 number: (arguments from a worker) the value of this ref, once it is done
 *   holds:    u32 count, so many u64 numbers: the refs that the object holds
 *   place:    u64 segment, u64 segment_bytes, u64 offset
 *
 * Start. A worker finds in its environment RAY_WORKER_OF="PID W" (W 1: by way of a wrapper, else 0), and open: 3, a
 * SOCK_SEQPACKET socket; 4, the memory of its channel (lib/ring); 5, the event descriptor that it announces with. Over
 * the socket come segments of the store, each before the first message that names it: one packet, rayi_wire_segment,
 * with one descriptor. Its end is the end of the node: the worker exits. The worker sends READY, the node WELCOME.
 *
 * Options of tasks: u8 given; if 1: see rayi_exchange_write_task_options. */
#ifndef RAYI_WIRE_WORKER_H
#define RAYI_WIRE_WORKER_H

#include <stdint.h>

#define RAYI_WORKER_PROTOCOL    3
#define RAYI_NUMBERS_OF_WORKERS ((uint64_t)1 << 48)
#define RAYI_NUMBERS_A_WORKER   ((uint64_t)1 << 38) /* a process's range: as the first number in WELCOME says */

enum rayi_form {
    RAYI_FORM_NONE,
    RAYI_FORM_NUMBER,
    RAYI_FORM_BYTES,
    RAYI_FORM_BLOCK,
    RAYI_FORM_REF,
    RAYI_FORM_ACTOR,
    RAYI_FORM_ERROR,
    RAYI_FORM_AWAITED
};

/* ---- node to worker ---- */

enum rayi_down {
    RAYI_DOWN_WELCOME = 1, /* u32 protocol, texts: node id, job id, ns; u64 id prefix, first number; i64 timeout_ms; u32
                              log level; u32 count, texts: libraries to load first; text: the code that it is for, or
                              NULL; the first message */
    RAYI_DOWN_FUNCTION, /* u32 function, text name, text description (rayi_function_describe): what later messages call
                           by that number (from 0, in order) */
    RAYI_DOWN_TASK, /* rayi_wire_task [, texts resources, gpus, group id], values: to be run if the offer is taken */
    RAYI_DOWN_COMPLETE,     /* u64 number, value: the record is done */
    RAYI_DOWN_REPLY,        /* u64 request, i64 r [, value ERROR if r < 0, else what the request says] */
    RAYI_DOWN_SEGMENT_GONE, /* u64 segment: unmap it */
    RAYI_DOWN_LOAD,         /* text path: a library more */
    RAYI_DOWN_EXIT,         /* after what runs, exit with 0 */
};

enum rayi_work { RAYI_WORK_TASK, RAYI_WORK_CONSTRUCT, RAYI_WORK_CALL, RAYI_WORK_FINI };
enum { RAYI_WORK_NESTED = 1, RAYI_WORK_CONTEXT = 2, RAYI_WORK_STREAM = 4, RAYI_WORK_TIMED = 8 };

typedef struct rayi_wire_task {
    uint32_t slot, generation;
    uint8_t work;   /* enum rayi_work */
    uint8_t flags;  /* NESTED: by a thread that waits inside a task, too; CONTEXT: texts follow; TIMED: its RESULT is
                       to say when it ran */
    uint16_t group; /* calls: the concurrency group, 0: the default one */
    uint32_t function, num_args;
    uint32_t attempt, restarts;
    uint32_t
        concurrency; /* CONSTRUCT: calls at once; behind the arguments: u32 count, so many u32: those of each group */
    uint64_t number; /* of the task; 0: it never had one */
    uint64_t actor;  /* CONSTRUCT, CALL, FINI */
} rayi_wire_task;

typedef struct rayi_wire_segment {
    uint64_t segment, size_bytes;
    uint32_t writable; /* the worker's own */
    uint32_t reserved;
} rayi_wire_segment;

/* "PID WRAPPED": the node's, and whether a wrapper stands between; of a template RAYI_WORKER_TEMPLATE is added. */
#define RAYI_WORKER_ENV      "RAY_WORKER_OF"
#define RAYI_WORKER_TEMPLATE " template"
enum { RAYI_WORKER_SOCKET = 3, RAYI_WORKER_CHANNEL = 4, RAYI_WORKER_EVENT = 5 };

/* ---- worker to node ---- */

enum rayi_up {
    RAYI_UP_READY = 1, /* u32 protocol, i64 pid: the first message */
    RAYI_UP_FUNCTION,  /* u32 function, text name: what later messages call by that number (from 0, in order) */
    RAYI_UP_RESULT,    /* rayi_wire_result, value: the task of this offer has ended */
    RAYI_UP_YIELD,     /* rayi_wire_result, value: an item of its stream */
    RAYI_UP_SUBMIT,    /* rayi_wire_submit, options of tasks, values: number is the result */
    RAYI_UP_ACTOR,     /* rayi_wire_submit, options of actors, values: number is the actor */
    RAYI_UP_PUT,       /* u64 number, value BYTES: an object of the worker that the node is to know of */
    RAYI_UP_SEAL,      /* u64 number, u64 size, u8 kind, holds: the buffer of this number (CREATE) is an object now */
    RAYI_UP_NEXT,      /* u64 stream, u64 number: that record is the stream's next item */
    RAYI_UP_RELEASE,   /* u64 number, u64 holds: fewer by so many; a buffer that was not sealed: it is thrown away */
    RAYI_UP_RELEASE_ACTOR, /* the same of an actor */
    RAYI_UP_CLOSE,         /* u64 number: one pin less on this block */
    RAYI_UP_BLOCKED,       /* u32 slot, u64 number of what it waits for (0: several), u8 0 if not for long */
    RAYI_UP_RESUMED,       /* u32 slot */
    RAYI_UP_ASK,           /* u64 request, u32 enum rayi_ask, ...: REPLY follows */
    RAYI_UP_LOG,           /* u32 level, text event, text message */
    RAYI_UP_OPENED, /* text why it cannot open the code that it is for, or NULL: it has; before it runs anything */
};

/* What a failed function says of its retry, over the task's retry_failures. */
enum rayi_again { RAYI_AGAIN_NO_WORD, RAYI_AGAIN_YES, RAYI_AGAIN_NO };

typedef struct rayi_wire_result {
    uint32_t slot, generation;
    uint8_t exits; /* the method has called ray_actor_exit */
    uint8_t again; /* enum rayi_again */
    uint8_t reserved[2];
    uint32_t thread;              /* TIMED: which of its threads has run it, from 0 */
    int64_t started_ns, ended_ns; /* TIMED: from its arguments to its return, on CLOCK_MONOTONIC; 0: it did not run */
} rayi_wire_result;

typedef struct rayi_wire_submit {
    uint64_t number;
    uint64_t actor;  /* whose method; 0: a task */
    uint32_t parent; /* slot of the task that submits; UINT32_MAX: none */
    uint32_t function, num_args;
    uint32_t reserved;
} rayi_wire_submit;

/* Requests; what follows them, and → what the reply brings. */
enum rayi_ask {
    RAYI_ASK_CREATE = 1,   /* u64 number, u64 size: a buffer → place, writable */
    RAYI_ASK_OPEN,         /* u64 number, i64 in rayi_now_ns terms: pin it, if it is lost before then → place */
    RAYI_ASK_CANCEL,       /* u64 number, u32 flags */
    RAYI_ASK_KILL,         /* u64 actor, u8 may restart */
    RAYI_ASK_ACTOR_GET,    /* text name → value ACTOR */
    RAYI_ASK_ACTOR_READY,  /* u64 actor, u64 number: that record completes when the actor is ready */
    RAYI_ASK_PUBLISH,      /* text name, u64 number, u32 copies */
    RAYI_ASK_UNPUBLISH,    /* text name */
    RAYI_ASK_LOOKUP,       /* text name → value REF */
    RAYI_ASK_KV_PUT,       /* text key, u32 flags, u32 size, bytes; above 64 KiB: the number of a block instead, size
                              UINT32_MAX */
    RAYI_ASK_KV_GET,       /* text key → value REF: an object with the bytes */
    RAYI_ASK_KV_DEL,       /* text key */
    RAYI_ASK_KV_LIST,      /* text prefix → value REF */
    RAYI_ASK_GROUP_NEW,    /* u32 count, texts: bundles; text name; u32 strategy; u8 detached → u64 number, text id */
    RAYI_ASK_GROUP_GET,    /* text name, text id, one of them NULL → u64 number, text id */
    RAYI_ASK_GROUP_READY,  /* u64 group, u64 number: that record completes when it is ready */
    RAYI_ASK_GROUP_REMOVE, /* u64 group */
    RAYI_ASK_GROUP_RELEASE, /* u64 group: one handle less */
    RAYI_ASK_CLUSTER,       /* → rayi_put_cluster */
    RAYI_ASK_STATE,         /* text query → value REF */
    RAYI_ASK_LOAD,          /* text path, u32 flags */
    RAYI_ASK_TASK_ID,       /* u32 slot, u32 generation: of what runs there → u64 number */
    RAYI_ASK_DRAIN,         /* text node id */
};

#endif
