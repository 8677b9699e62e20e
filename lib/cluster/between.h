/* What nodes say to each other: doc/protocol.md. For the files of cluster alone. */
#ifndef RAYI_CLUSTER_BETWEEN_H
#define RAYI_CLUSTER_BETWEEN_H

#include "cluster/cluster.h"

/* ---- what goes over links: the type of a link's message ---- */

enum rayi_link_type {
    RAYI_LINK_MEMBER = 1, /* between a node and the head (gcs/members.h) */
    RAYI_LINK_FRAME,      /* of a session (transport/session.h) */
    RAYI_LINK_TICKET,     /* for the bus: u32 number, rayi_bus_ticket */
    RAYI_LINK_HINT,       /* a TABLE that nobody has asked for: what the bus brings, to who has none */
    RAYI_LINK_OBSERVE,    /* from an observer: as a BETWEEN_ASK, to the head */
    RAYI_LINK_TOLD,       /* to an observer: as a BETWEEN_ANSWER */
};

/* ---- what goes over sessions: u8, and what it says. Values and options are those of wire/worker.h ---- */

enum rayi_between {
    /* owner to host */
    RAYI_BETWEEN_FUNCTION = 1, /* u32 number (from 0, in order), texts name, description (NULL: the sender has heard of
                                  none) [, hash of its code] */
    RAYI_BETWEEN_SHAPE,        /* u32 number (from 1, in order), text resources */
    RAYI_BETWEEN_TASK,         /* a request: rayi_between_task [, options of tasks], values */
    RAYI_BETWEEN_CANCEL,       /* u64 id, u32 flags */
    RAYI_BETWEEN_CREDIT,       /* u64 id, u64 items that the stream may have yielded, u8 nobody reads on */
    RAYI_BETWEEN_INHERIT,      /* u64 id, i64 priority of one that waits for it */
    /* host to owner */
    RAYI_BETWEEN_RESULT, /* u64 id, u32 attempt, u8 crashed, u8 enum rayi_again, value */
    RAYI_BETWEEN_ITEM,   /* u64 id, u32 attempt, u64 index, value: of a stream, in order, before its RESULT */
    RAYI_BETWEEN_REFUSE, /* u64 id, u32 attempt, i64 code: it has not started here */
    /* both ways */
    RAYI_BETWEEN_COMPLETE, /* u64 number, value: that record of the sender is done */
    RAYI_BETWEEN_RELEASE,  /* u64 number, u64 holds: so many fewer of the receiver's record */
    /* actors: owner to host */
    RAYI_BETWEEN_ACTOR,     /* rayi_between_actor, options of actors, values: let it live there */
    RAYI_BETWEEN_ACTOR_END, /* u64 actor, u32 life, u8 kill: else in order, with its fini */
    /* host to owner */
    RAYI_BETWEEN_ACTOR_UP,   /* u64 actor, u32 life, u64 its number there: its constructor has returned */
    RAYI_BETWEEN_ACTOR_GONE, /* u64 actor, u32 life, u8 crashed, value ERROR: the last about this life */
    /* from who has a handle to whose actor it is */
    RAYI_BETWEEN_HANDLE_KILL,    /* u64 actor, u8 may restart */
    RAYI_BETWEEN_HANDLE_READY,   /* a request: u64 actor, u64 id: RESULT of that id when it is ready */
    RAYI_BETWEEN_HANDLE_RELEASE, /* u64 actor, u64 holds */
    RAYI_BETWEEN_ASK,            /* u64 id, u8 op, said: ANSWER follows */
    RAYI_BETWEEN_ANSWER,         /* u64 id, i64 r, said; r < 0: a value ERROR instead */
    /* said: u8 whether there is a record [, value REF], bytes to the end */

    /* objects: between processes of one host (maps.c) */
    RAYI_BETWEEN_MAP = 32, /* u64 number: where is it? Then it is pinned for the sender, until UNMAP */
    RAYI_BETWEEN_MAPPED,   /* u64 number, u8 yes, rayi_export if so */
    RAYI_BETWEEN_UNMAP,    /* u64 number */
    /* and between a node that an object comes from and those who have copies of it (fetch.c) */
    RAYI_BETWEEN_COPY,   /* u64 number, u8 rayi_copy_news, and if it begins: u64 its number of the copy, text where */
    RAYI_BETWEEN_PLACES, /* u64 the number of the receiver's copy, places: answers one that begins; none: ours */
    RAYI_BETWEEN_KEEP,   /* u64 number: bring it, and keep it for all who hold it (moves.c) */
    RAYI_BETWEEN_KEPT,   /* u64 number, u8 yes, its place if so */
    RAYI_BETWEEN_MOVED,  /* 16 bytes the node that it comes from, u64 number there, a place more */
    /* parts of placement groups (scheduler/bundles.h): owner to host */
    RAYI_BETWEEN_PART_RESERVE, /* u64 part, u64 the group's number, text its id, u32 count, of each bundle: text */
    RAYI_BETWEEN_PART_RELEASE, /* u64 part: what runs in it ends */
    /* host to owner */
    RAYI_BETWEEN_PART_ANSWER, /* u64 part, u8 reserved: else refused, and not there */
    /* from who knows a group to its owner, and back */
    RAYI_BETWEEN_GROUP_WATCH,  /* u64 group: NEWS of it come from now on */
    RAYI_BETWEEN_GROUP_NEWS,   /* u64 group, i64 code; 0: u8 placed, u32 count, of each bundle 16 bytes node, u64 part,
                                  u32  its number there */
    RAYI_BETWEEN_ACTOR_REFUSE, /* host to owner: u64 actor, u32 life, i64 code (UNKNOWN_FUNCTION; LIMIT: there is no
                                  room now): it has not begun there */
    /* code that travels (code.c): before functions of it. 65 bytes hash and NUL, 16 bytes its owner, text name, u32
     * count, so many functions (rayi_code_put_function); value BYTES: the library */
    RAYI_BETWEEN_CODE,
    /* functions: host to owner */
    RAYI_BETWEEN_KNOWN, /* u32 number of a FUNCTION, text description: it is there, by that */
};

/* Whose call a TASK is. */
enum rayi_callee { RAYI_CALLS_NOBODY, RAYI_CALLS_HOSTED, RAYI_CALLS_HANDLE };

typedef struct rayi_between_task {
    uint64_t id;
    uint32_t attempt, function, num_args, shape; /* shape 0: CPU=1 */
    int32_t priority;
    uint32_t tries;             /* that were before this one */
    int64_t left_ms;            /* until its deadline; INT64_MAX: none */
    uint64_t actor;             /* whose method, by callee: that lives there for the sender; or of the receiver's own */
    uint64_t credit, delivered; /* of a stream: items that it may have yielded, and those that are there already */
    uint8_t callee;             /* enum rayi_callee */
    uint8_t has_options;        /* they follow */
    uint8_t any_bundle;         /* of the group would do, not only this one */
    uint8_t reserved[5];
    uint64_t part; /* of a group that is there; 0: none */
    uint32_t bundle, reserved_too;
    rayi_node_id part_owner; /* whose group that is; zeros: the sender's */
} rayi_between_task;

typedef struct rayi_between_actor {
    uint64_t actor;
    uint32_t life, function, num_args;
    uint32_t bundle; /* of the part */
    uint64_t part;   /* as of a task, and these */
    rayi_node_id part_owner;
    uint8_t any_bundle;
    uint8_t parks; /* it may live elsewhere while its host has no lease: it stops then */
    uint8_t reserved[6];
} rayi_between_actor;

enum rayi_copy_news { RAYI_COPY_BEGINS = 1, RAYI_COPY_WHOLE = 2, RAYI_COPY_GONE = 4 };

/* In a number: it is the receiver's own. */
#define RAYI_YOURS ((uint64_t)1 << 63)
/* In the key of a stand-in: for the bytes of that object, not for a ref. */
#define RAYI_BLOCK_KEY ((uint64_t)1 << 62)

#endif
