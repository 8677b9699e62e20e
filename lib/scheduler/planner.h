/* planner: to which node a task goes, this one or another: the second level of scheduling. Part of the door
 * scheduler/scheduler.h. A brain, as the scheduler: events in, actions out. It belongs to a node that owns tasks.
 *
 *   submit ──▶ WAITING ──ASSIGN──▶ assigned ──finished──▶ gone
 *                 ▲                   │
 *                 └───── returned ────┘      (WAITING also ends by REFUSE, or by a remove that returns true)
 *
 * It knows other nodes coarsely, from a table that comes a few times a second, and to the last task what it has sent
 * to each itself. What a node has for us is what it told to be available, less what we have sent and it cannot have
 * counted yet, plus what has come back since.
 *
 * Where, of the nodes that could ever run it (resources, labels, function; not suspect, drained, without work, or a
 * driver that has no resources):
 *  - hard affinity: there, or it waits; REFUSE once that node is not in the cluster. Soft: there while that node could
 *    ever run it, else anywhere;
 *  - SPREAD: the next one in turn with room;
 *  - else that with the most bytes of its large arguments (over RAYI_PLANNER_LOCAL_BYTES) that has room;
 *  - else, hybrid: of those of which no resource is used to half the first in order, this node before all; beyond, the
 *    least used one. (Tasks that ask for nothing use 1/1024 of a node.)
 * If no node has room, tasks are sent ahead, so that nobody idles for a round trip: to nodes where few others wait, up
 * to the *bound*: what would fit if we had nothing there and one more, or, if such tasks end quickly, twice what would
 * fit and as many as ended there for us in the last few ms; at most RAYI_PLANNER_AHEAD_MOST. Who has waited for
 * RAYI_SCHEDULER_DRAIN_MS may also stand in line, whatever the bound, on a node that has none of its shape from us: or
 * wide tasks, and owners whose neighbours are busier, would never have a turn.
 *
 * The order of who is placed first is the scheduler's: priority plus one for each RAYI_SCHEDULER_AGE_MS waited, then
 * the longer wait; what finds no place is overtaken.
 *
 * When a node is gone, what was assigned to it is not taken back: the body says finished of each.
 *
 * Calls that return int fail with RAY_ERR_NO_MEMORY and then have changed nothing; the others cannot fail. Decisions
 * are made one by one as actions are fetched. now_ms is any clock that does not go back. */
#ifndef RAYI_SCHEDULER_PLANNER_H
#define RAYI_SCHEDULER_PLANNER_H

#include "base/base.h"
#include "scheduler/labels.h"
#include "scheduler/resources.h"

#define RAYI_PLANNER_LOCAL_BYTES (UINT64_C(100) << 10) /* what a node holds less of does not draw a task there */
#define RAYI_PLANNER_LOCAL_MOST  4                     /* holders that are considered, those with most */
#define RAYI_PLANNER_AHEAD_MOST  1024                  /* outstanding on a node, where no more fits */
#define RAYI_PLANNER_STRANGER_MS 3000 /* the bus has told of a node by then, if a frame was lost, too */

typedef struct rayi_planner rayi_planner;

typedef struct rayi_planner_id { /* of a node: a rayi_node_id, which this folder does not know */
    uint8_t bytes[16];
} rayi_planner_id;

/* seed 0: nodes are ordered as they came; else each seed has an order of its own, so that the planners of many nodes
 * do not all fill the same node first. */
int rayi_planner_new(const rayi_memory *memory, uint64_t seed, rayi_planner **out);
void rayi_planner_free(rayi_planner *planner);

/* ---- nodes ---- */

enum {
    RAYI_PLANNER_SELF = 1u,     /* this one; of a node always or never */
    RAYI_PLANNER_SUSPECT = 2u,  /* nothing goes there for now */
    RAYI_PLANNER_DRAINED = 4u,  /* nothing goes there any more */
    RAYI_PLANNER_DRIVER = 8u,   /* nothing goes there unless it has resources */
    RAYI_PLANNER_NO_WORK = 16u, /* nothing goes there at all */
};

typedef struct rayi_planner_resource {
    const char *name;
    int64_t total, available; /* available: at most total; below 0 where CPUs are overdrawn */
} rayi_planner_resource;

typedef struct rayi_planner_node {
    rayi_planner_id id;
    uint64_t tag; /* the body's; comes back with ASSIGN */
    unsigned flags;
    uint32_t load;                          /* tasks that wait there for what others hold */
    const char *labels;                     /* canonical text; NULL: none */
    const rayi_planner_resource *resources; /* any order, nothing twice */
    uint32_t resource_count;
} rayi_planner_node;

/* A node is there, or something of it has changed, or a table says what it has now. Of this node (SELF) available and
 * load are taken to count all that was assigned so far, of others what was when the table before came, or later.
 * RAY_ERR_ARGUMENT, _LIMIT: labels that are none, a resource named twice; then nothing has changed. */
int rayi_planner_node_put(rayi_planner *planner, const rayi_planner_node *node, int64_t now_ms);
/* It is dead, or left. Put again, it is another node. Nothing for one that is unknown. */
void rayi_planner_node_gone(rayi_planner *planner, const rayi_planner_id *id, int64_t now_ms);
/* It has this function, which it may have lacked before; or may have any that it lacked. */
void rayi_planner_node_knows(rayi_planner *planner, const rayi_planner_id *id, uint32_t function);
void rayi_planner_node_functions_changed(rayi_planner *planner, const rayi_planner_id *id);
/* What it has refused for want of room may find some now: what is not ours there is free, or may be. */
void rayi_planner_node_try_again(rayi_planner *planner, const rayi_planner_id *id);

/* ---- requests ---- */

typedef struct rayi_planner_holder {
    rayi_planner_id node;
    uint64_t bytes; /* of the request's arguments, that it holds */
} rayi_planner_holder;

typedef struct rayi_planner_request {
    uint64_t id; /* the body's; of no other request that is waiting or assigned */
    const rayi_resources *resources;
    const rayi_selector *labels;    /* NULL: any node */
    const rayi_planner_id *node_id; /* NULL: any node */
    bool node_soft;                 /* elsewhere if that node cannot run it */
    bool node_may_come;             /* nothing was heard of it ever: wait RAYI_PLANNER_STRANGER_MS */
    bool spread;                    /* false: hybrid */
    int32_t priority;
    uint32_t function;
    const char *function_name; /* for messages; NULL: its number */
    const rayi_planner_holder *holders;
    uint32_t holder_count; /* each node once */
} rayi_planner_request;

typedef enum rayi_planner_return {
    RAYI_PLANNER_FULL,     /* the node had no room: not again before it tells what it has, or one of ours ends there */
    RAYI_PLANNER_LACKS,    /* it lacks the function: not again before it knows it, or its functions have changed */
    RAYI_PLANNER_DRAINING, /* it takes no more: not again before it is put */
} rayi_planner_return;

/* Everything is copied. */
int rayi_planner_submit(rayi_planner *planner, const rayi_planner_request *request, int64_t now_ms);
/* Takes back what was not fetched as ASSIGN or REFUSE yet, or was returned: true, and neither will come. False: too
 * late, or unknown. */
bool rayi_planner_remove(rayi_planner *planner, uint64_t id);
/* An assigned one has ended, however: what it held there is free again. */
void rayi_planner_finished(rayi_planner *planner, uint64_t id, int64_t now_ms);
/* An assigned one comes back unstarted: it waits again, as long as it has. */
void rayi_planner_returned(rayi_planner *planner, uint64_t id, rayi_planner_return why, int64_t now_ms);
/* Somebody of this priority waits for it: raises, never lowers; nothing for what does not wait. */
int rayi_planner_inherit(rayi_planner *planner, uint64_t id, int32_t priority);

/* ---- time ---- */

void rayi_planner_tick(rayi_planner *planner, int64_t now_ms);
/* When the next tick could change something; INT64_MAX: not before the next event. */
int64_t rayi_planner_wake_ms(const rayi_planner *planner);

/* ---- actions ---- */

typedef enum rayi_planner_do {
    RAYI_PLANNER_ASSIGN, /* id goes to node: tag, ahead */
    RAYI_PLANNER_REFUSE, /* id never will: code, message */
    RAYI_PLANNER_WARN,   /* id has waited for RAYI_SCHEDULER_WARN_MS for what nobody has: message; once a shape, or, if
                            that is the function, once a queue of it */
} rayi_planner_do;

typedef struct rayi_planner_action {
    rayi_planner_do what;
    int code; /* RAY_ERR_… */
    uint64_t id;
    rayi_planner_id node;
    uint64_t tag;
    bool ahead;          /* it will have to wait there */
    const char *message; /* one sentence; valid until the next call */
} rayi_planner_action;

/* The next thing to do; false: nothing. */
bool rayi_planner_next(rayi_planner *planner, rayi_planner_action *out);

/* ---- what there is ---- */

uint64_t rayi_planner_waiting(const rayi_planner *planner);
/* Assigned to it and not ended; 0 for one that is unknown. */
uint32_t rayi_planner_outstanding(const rayi_planner *planner, const rayi_planner_id *id);

typedef struct rayi_planner_demand_row { /* waiting requests of one kind */
    const char *resources, *labels;
    uint32_t function;
    int32_t priority;
    uint64_t count;
    int64_t waited_ms;   /* of the first */
    bool infeasible;     /* as far as it was tried: nobody could ever run it */
    bool lacks_function; /* infeasible, and only the function is missing: its name, or NULL, in */
    const char *function_name;
} rayi_planner_demand_row;

/* Calls fn for each row; the planner must not be changed from there. */
void rayi_planner_demand(const rayi_planner *planner, void (*fn)(void *arg, const rayi_planner_demand_row *row),
                         void *arg);

#endif
