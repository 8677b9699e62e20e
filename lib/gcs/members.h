/* members: who is in the cluster. Part of the door gcs/gcs.h: the rows, the messages between a node and the head, and
 * the head's table; the node's side is in membership.h. A brain.
 *
 *   ALIVE ──late──▶ SUSPECT ──ended──▶ DEAD ──reborn──▶ ALIVE, as another incarnation
 *     ▲──── heard ────┘   (an ALIVE one can end, too)
 *
 * A node proposes its id; the head binds it to the key that the link has proved, for as long as it remembers the node.
 * A *life* is the time from which a node has state until it discards it; the node draws a number for it. The head gives
 * each life an *incarnation*: a number that no other life of any node has had or will have. A node that is declared
 * DEAD stays so in this incarnation: whatever it says later is answered FENCED.
 *
 * Who is declared dead holds no lease: it has no process any more (which was seen, or its dial was refused twice, or it
 * said so), or it has been silent for RAYI_DEAD_MS of the time in which the head was awake, and a lease, measured from
 * when it was asked for, ends RAYI_LEASE_MS after the last byte. Of the leases of the head before it a head knows only
 * that they end RAYI_LEASE_MS after its own start.
 *
 * Each change has a *version*. A table since a version holds every row that changed later, as it is now, so nothing is
 * kept for it but the names of rows that are gone. What must outlive the head (not load and suspicion) is *saved*
 * before anybody hears of it. Versions of a later head are above those of an earlier one.
 *
 * That there is one head at a time is not seen to here: who opens the journal locks it. */
#ifndef RAYI_GCS_MEMBERS_H
#define RAYI_GCS_MEMBERS_H

#include "base/base.h"
#include "wire/wire.h"

#define RAYI_MEMBERS_PROTOCOL     1
#define RAYI_LEASE_MS             8000
#define RAYI_SUSPECT_MS           1000
#define RAYI_DEAD_MS              10000
#define RAYI_PUBLISH_MS           250 /* at least, between two publications of loads */
#define RAYI_PUBLISH_NEWS_MS      20  /* of who has come or gone, a few times: */
#define RAYI_PUBLISH_BURST        4
#define RAYI_MEMBERS_MOST         10000 /* nodes that are not dead */
#define RAYI_MEMBERS_DEAD_MOST    1000  /* dead ones that are remembered */
#define RAYI_MEMBER_RESOURCES_MAX 64
#define RAYI_MEMBER_NAME_MAX      255             /* bytes of a resource's name, and of an address */
#define RAYI_MEMBER_LABELS_MAX    32768           /* bytes of all labels together */
#define RAYI_MEMBER_AMOUNT_MAX    (INT64_MAX / 4) /* as RAYI_RESOURCE_AMOUNT_MAX */

/* ---- rows ---- */

typedef struct rayi_node_id {
    uint8_t bytes[16];
} rayi_node_id;

typedef struct rayi_cluster_id {
    uint8_t bytes[16]; /* all 0: none */
} rayi_cluster_id;

typedef struct rayi_node_key {
    uint8_t bytes[32];
} rayi_node_key;

typedef enum rayi_node_state {
    RAYI_NODE_ALIVE,
    RAYI_NODE_SUSPECT,
    RAYI_NODE_DEAD
} rayi_node_state; /* as ray_node_state */

typedef enum rayi_node_event {
    RAYI_NODE_HEARD,
    RAYI_NODE_LATE,   /* silent for RAYI_SUSPECT_MS, or without a link */
    RAYI_NODE_ENDED,  /* declared dead */
    RAYI_NODE_REBORN, /* joins as another incarnation */
} rayi_node_event;

/* Illegal pairs assert: the dead are neither heard nor late, they are fenced. */
rayi_node_state rayi_node_next(rayi_node_state state, rayi_node_event event);
const char *rayi_node_state_name(rayi_node_state state); /* "ALIVE" */

typedef enum rayi_death {
    RAYI_DEATH_NONE,     /* it is not dead; of a death: its cause is not known */
    RAYI_DEATH_SILENT,   /* for RAYI_DEAD_MS */
    RAYI_DEATH_GONE,     /* its process was seen to end */
    RAYI_DEATH_REFUSED,  /* nobody listens where it did */
    RAYI_DEATH_LEFT,     /* it said so */
    RAYI_DEATH_REPLACED, /* a head, by a later one */
} rayi_death;
const char *rayi_death_text(rayi_death cause); /* "silent for 10 s" */

enum {
    RAYI_MEMBER_HEAD = 1u,
    RAYI_MEMBER_DRIVER = 2u,
    RAYI_MEMBER_DRAINED = 4u, /* no new work */
    RAYI_MEMBER_FLAGS = 7u,
};

typedef struct rayi_member_resource {
    const char *name;
    int64_t total, available; /* as in rayi_resource; total above 0, available below 0 where CPUs are overdrawn */
} rayi_member_resource;

typedef struct rayi_member {
    rayi_node_id id;
    rayi_node_key key;
    uint64_t life, incarnation;
    uint64_t host; /* the same for processes that see each other's pids: of one host and one pid namespace */
    int64_t pid;
    unsigned flags; /* RAYI_MEMBER_HEAD | … */
    rayi_node_state state;
    rayi_death cause;
    uint32_t load;                         /* tasks that wait there */
    const char *address;                   /* NULL: it cannot be dialled */
    const char *labels;                    /* canonical text */
    const rayi_member_resource *resources; /* sorted by name, nothing twice */
    uint32_t resource_count;
} rayi_member;

/* ---- messages: by link, in order; as everything in wire, in the byte order of the machine ---- */

typedef enum rayi_member_what {
    RAYI_MEMBER_JOIN = 1, /* from a node: on each new link first */
    RAYI_MEMBER_RENEW,
    RAYI_MEMBER_TELL, /* its load */
    RAYI_MEMBER_BEAT, /* nothing but that it lives */
    RAYI_MEMBER_PULL,
    RAYI_MEMBER_LEAVE,
    RAYI_MEMBER_ANSWER, /* from the head */
    RAYI_MEMBER_DEATH,
    RAYI_MEMBER_TABLE, /* also by bus */
    RAYI_MEMBER_END,   /* the head ends in order, and the cluster with it */
} rayi_member_what;

typedef enum rayi_verdict {
    RAYI_VERDICT_ACCEPTED, /* a JOIN; a lease, too */
    RAYI_VERDICT_GRANTED,  /* a RENEW */
    RAYI_VERDICT_REFUSED,  /* a JOIN */
    RAYI_VERDICT_FENCED,   /* this life, or incarnation, has ended */
} rayi_verdict;

typedef enum rayi_refusal {
    RAYI_REFUSAL_NONE,
    RAYI_REFUSAL_VERSION,   /* another protocol */
    RAYI_REFUSAL_CLUSTER,   /* it belongs to another cluster */
    RAYI_REFUSAL_OLD_HEAD,  /* it knows a later head than this one */
    RAYI_REFUSAL_ID,        /* its id is bound to another key */
    RAYI_REFUSAL_KEY,       /* its key is that of another node, not dead (yet) */
    RAYI_REFUSAL_ALIVE,     /* its id is that of a node, not dead (yet), in another life */
    RAYI_REFUSAL_FULL,      /* too many nodes */
    RAYI_REFUSAL_MALFORMED, /* what no honest node would propose */
} rayi_refusal;
const char *rayi_refusal_text(rayi_refusal refusal);

typedef struct rayi_member_join {
    uint32_t protocol;
    rayi_cluster_id cluster; /* that it belongs to; none: any */
    uint64_t generation;     /* the latest head it knows; 0: none */
    int64_t asked_ms;        /* its clock; comes back with the answer */
    rayi_member node;        /* incarnation 0: a new life. The key is what the link proved, whatever came */
} rayi_member_join;

typedef struct rayi_member_renew {
    uint64_t incarnation;
    int64_t asked_ms;
} rayi_member_renew;

typedef struct rayi_member_tell {
    uint64_t incarnation;
    uint32_t load, count;
    int64_t available[RAYI_MEMBER_RESOURCES_MAX]; /* in the order of its resources */
} rayi_member_tell;

typedef struct rayi_member_answer {
    rayi_verdict verdict;
    rayi_refusal refusal;
    rayi_cluster_id cluster;
    uint64_t generation;
    uint64_t life;        /* JOIN: that of the proposal, else 0 */
    uint64_t incarnation; /* ACCEPTED: that of this life; GRANTED, FENCED: the one that asked */
    int64_t asked_ms;
    uint64_t version; /* of the table: who has less lacks something */
    uint32_t nodes;   /* how many there are, for spreading what all of them do */
    unsigned flags;   /* of this node */
} rayi_member_answer;

typedef struct rayi_member_death {
    rayi_node_id id;
    uint64_t incarnation; /* this one and those before are dead */
    rayi_death cause;
} rayi_member_death;

typedef struct rayi_member_message {
    rayi_member_what what;
    union {
        rayi_member_join join;
        rayi_member_renew renew;
        rayi_member_tell tell;
        uint64_t incarnation; /* BEAT, LEAVE */
        uint64_t since;       /* PULL */
        uint64_t generation;  /* END */
        rayi_member_answer answer;
        rayi_member_death death;
        struct {
            const void *bytes; /* with the tag, for rayi_membership_hint and rayi_members_restore */
            size_t size;
        } table;
    } as;
    rayi_member_resource room[RAYI_MEMBER_RESOURCES_MAX]; /* those of a JOIN that was taken */
} rayi_member_message;

/* TABLE is written by rayi_members_since and the like. Of a message nothing but texts that are within limits. */
void rayi_member_message_put(rayi_writer *writer, const rayi_member_message *message);
/* Checks all there is to check without a table. Texts are lent from the bytes. A TABLE is only recognised.
 * RAY_ERR_ARGUMENT */
int rayi_member_message_take(const void *bytes, size_t size, rayi_member_message *out);

/* ---- the head's table ---- */

typedef struct rayi_members rayi_members;

typedef struct rayi_members_options {
    rayi_cluster_id cluster;
    uint64_t generation; /* from 1, above that of every head before; below 2^24 */
    uint64_t host;
    uint32_t most, dead_most; /* 0: RAYI_MEMBERS_MOST, RAYI_MEMBERS_DEAD_MOST */
    bool unsaved;             /* nothing is saved: all may be told at once */
} rayi_members_options;

/* now_ms is any clock that does not go back; it may stop while the machine is suspended. NO_MEMORY */
int rayi_members_new(const rayi_memory *memory, const rayi_members_options *options, int64_t now_ms,
                     rayi_members **out);
void rayi_members_free(rayi_members *members);
/* What heads before saved, in that order, before any event. ARGUMENT, NO_MEMORY: then only free it. */
int rayi_members_restore(rayi_members *members, const void *bytes, size_t size);
/* The head's own node, before any event but restore: it needs no lease. That of an earlier head is dead with this.
 * NO_MEMORY: then only free it. */
int rayi_members_lead(rayi_members *members, const rayi_member *node, int64_t now_ms, uint64_t *incarnation);

/* The head's own load, in the order of its resources. */
void rayi_members_tell_self(rayi_members *members, uint32_t load, const int64_t *available, int64_t now_ms);

typedef struct rayi_members_reply {
    bool answers, tables;      /* there is an answer; a table is asked for: rayi_members_since(since) */
    rayi_member_answer answer; /* to be sent once `after` is saved */
    uint64_t after, since;
} rayi_members_reply;

/* A message that came over the link of node `from` (its JOIN says who that is). ARGUMENT: no such message comes from a
 * node; NO_MEMORY: nothing has changed, it will ask again. */
int rayi_members_serve(rayi_members *members, const rayi_node_id *from, const rayi_member_message *message,
                       int64_t now_ms, rayi_members_reply *reply);
/* Other bytes of it. False: this incarnation has ended; answer what rayi_members_fence says. */
bool rayi_members_heard(rayi_members *members, const rayi_node_id *id, uint64_t incarnation, int64_t now_ms);
void rayi_members_fence(const rayi_members *members, const rayi_node_id *id, uint64_t incarnation,
                        rayi_members_reply *reply);
/* These do nothing to an incarnation that has ended. link_closed: no link to it is left. */
void rayi_members_link_closed(rayi_members *members, const rayi_node_id *id, uint64_t incarnation, int64_t now_ms);
void rayi_members_dial_refused(rayi_members *members, const rayi_node_id *id, uint64_t incarnation, int64_t now_ms);
void rayi_members_process_gone(rayi_members *members, const rayi_node_id *id, uint64_t incarnation, int64_t now_ms);
int rayi_members_drain(rayi_members *members, const rayi_node_id *id, int64_t now_ms); /* NOT_FOUND */
void rayi_members_tick(rayi_members *members, int64_t now_ms);
int64_t rayi_members_next_deadline(const rayi_members *members); /* INT64_MAX: none */

typedef enum rayi_members_do {
    RAYI_MEMBERS_SAVE,    /* rayi_members_journal, then rayi_members_saved */
    RAYI_MEMBERS_DEATH,   /* tell everybody, by session: id, incarnation, cause */
    RAYI_MEMBERS_WATCH,   /* its process is on this host: id, incarnation, pid; say when it is gone */
    RAYI_MEMBERS_PROBE,   /* dial it: id, incarnation, address; say if that is refused */
    RAYI_MEMBERS_PUBLISH, /* rayi_members_publish, to the bus */
} rayi_members_do;

typedef struct rayi_members_action {
    rayi_members_do what;
    rayi_node_id id;
    uint64_t incarnation;
    rayi_death cause;
    int64_t pid;
    const char *address; /* lent until the next event */
} rayi_members_action;

bool rayi_members_next(rayi_members *members, int64_t now_ms, rayi_members_action *out);

/* A TABLE of what changed after since; of all, if that is not known any more. The writer may fail. */
void rayi_members_since(const rayi_members *members, uint64_t since, rayi_writer *writer);
/* A TABLE of what was not published before; if that is longer than limit_bytes, only that it is there to be pulled. */
void rayi_members_publish(rayi_members *members, size_t limit_bytes, rayi_writer *writer);
/* A TABLE of what is to be saved and was not written before; all: of everything, to start a journal with. Returns what
 * to say to rayi_members_saved once it is on disk; 0: the writer has failed. */
uint64_t rayi_members_journal(rayi_members *members, bool all, rayi_writer *writer);
void rayi_members_saved(rayi_members *members, uint64_t version);

uint64_t rayi_members_generation(const rayi_members *members);
uint64_t rayi_members_version(const rayi_members *members); /* the latest that may be told */

/* ---- for users, of either side's table ---- */

typedef struct rayi_roster rayi_roster;
const rayi_roster *rayi_members_roster(const rayi_members *members);

/* In order of their coming. What is lent stays until the next event. */
void rayi_roster_each(const rayi_roster *roster, void (*fn)(void *arg, const rayi_member *member), void *arg);
const rayi_member *rayi_roster_get(const rayi_roster *roster, const rayi_node_id *id); /* NULL: not known */

typedef struct rayi_member_sums {
    uint32_t count, nodes; /* nodes: that are ALIVE, over which these are the sums */
    rayi_member_resource items[];
} rayi_member_sums;
/* Sorted by name; the names are lent until the next event. For rayi_memory_free. NULL: no memory. */
rayi_member_sums *rayi_roster_sum(const rayi_roster *roster, const rayi_memory *memory);

#endif
