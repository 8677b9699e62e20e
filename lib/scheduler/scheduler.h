/* scheduler: which task may start when. A brain: events in, actions out, no clock and no thread of its own. On which
 * node of a cluster is for planner.h and, of placement groups, bundles.h, parts of this door.
 *
 * It owns the node's resources, the queue of requests for them and the placement groups. Every request ends in exactly
 * one of: GRANT (later ended by finish), REFUSE, or a remove that returned true. Nothing is granted twice; what is
 * granted never exceeds what there is, but for the CPU of blocked tasks that resumed.
 *
 * Order: higher effective priority first, effective being priority plus one for each RAYI_SCHEDULER_AGE_MS waited; then
 * the longer wait. What does not fit is overtaken by what does, until it has waited RAYI_SCHEDULER_DRAIN_MS: then the
 * first such request of each pool (the node, each bundle) drains, that is, nothing behind it may use what it needs. It
 * keeps CPUs idle only once everything else it needs is there. What does not fit on the node beside that which
 * lasts, actors and groups, waits for the end of those, and holds up nobody meanwhile; later ones may keep it out.
 *
 * The lane runs tasks of exactly CPU=1 that never come here, in slots of one CPU each. All whole CPUs that nobody here
 * waits for are given to it. It gives back what it is asked for: at once from idle slots, otherwise when the task in a
 * slot ends; a slot given while lane tasks wait runs at least one before it comes back, or the lane would starve. While
 * the lane waits, requests of priority above 0 go before it, those of 0 share half and half with it and take turns for
 * the last CPU, those below 0 get what it leaves (ageing lifts them to 0, never above).
 *
 * Calls that return int fail with RAY_ERR_NO_MEMORY and then have changed nothing; the others cannot fail. Decisions
 * are made when actions are fetched, so several events may be told before. now_ms is any clock that does not go back.
 */
#ifndef RAYI_SCHEDULER_H
#define RAYI_SCHEDULER_H

#include "base/base.h"
#include "scheduler/bundles.h"
#include "scheduler/labels.h"
#include "scheduler/planner.h"
#include "scheduler/resources.h"

#define RAYI_SCHEDULER_AGE_MS   10000
#define RAYI_SCHEDULER_DRAIN_MS 500
#define RAYI_SCHEDULER_WARN_MS  10000

typedef struct rayi_scheduler rayi_scheduler;

typedef struct rayi_scheduler_options {
    const char *node_id;
    const rayi_resources *total;
    const rayi_labels *labels; /* NULL: none */
    const char *gpu_ids;       /* names of the GPUs, "0,3"; NULL: 0, 1, … */
} rayi_scheduler_options;

/* Everything is copied. RAY_ERR_ARGUMENT with why if gpu_ids does not name as many GPUs as total has, _LIMIT above
 * 1,024 GPUs, _NO_MEMORY. */
int rayi_scheduler_new(const rayi_memory *memory, const rayi_scheduler_options *options, rayi_scheduler **out,
                       char *why, size_t why_size);
void rayi_scheduler_free(rayi_scheduler *scheduler);

/* ---- requests ---- */

typedef struct rayi_scheduler_request {
    uint64_t id; /* the body's; of no other request that is waiting or granted */
    const rayi_resources *resources;
    const rayi_selector *labels; /* NULL: any node */
    const char *node_id;         /* NULL: any node */
    bool node_soft;              /* elsewhere if node_id is unknown */
    int32_t priority;
    uint64_t group;  /* 0: none */
    uint32_t bundle; /* of the group, from 1; 0: any */
    bool lasts;      /* an actor's: nobody can tell when it will end */
} rayi_scheduler_request;

int rayi_scheduler_submit(rayi_scheduler *scheduler, const rayi_scheduler_request *request, int64_t now_ms);
/* Takes back what was not fetched as GRANT or REFUSE yet: true, and neither will come. False: too late, or unknown. */
bool rayi_scheduler_remove(rayi_scheduler *scheduler, uint64_t id);
/* A granted request, blocked or not, gives back what it holds. */
void rayi_scheduler_finish(rayi_scheduler *scheduler, uint64_t id);
/* A granted task waits in ray_get: it gives back its CPU, nothing else. */
void rayi_scheduler_block(rayi_scheduler *scheduler, uint64_t id);
/* It goes on: it has its CPU again at once, even if that makes less than nothing available; what the lane does not need
 * is asked back then, and, if it needs it, what it has beyond its half. */
void rayi_scheduler_resume(rayi_scheduler *scheduler, uint64_t id);
/* Somebody of this priority waits for it: raises, never lowers; nothing for what is granted or unknown. */
int rayi_scheduler_inherit(rayi_scheduler *scheduler, uint64_t id, int32_t priority);

/* ---- time ---- */

void rayi_scheduler_tick(rayi_scheduler *scheduler, int64_t now_ms);
/* When the next tick could change something; INT64_MAX: not before the next event. */
int64_t rayi_scheduler_wake_ms(const rayi_scheduler *scheduler);

/* ---- the lane ---- */

/* The lane gave back slots, asked for or of its own. */
void rayi_scheduler_lane_returned(rayi_scheduler *scheduler, uint32_t slots);
/* The lane has (no longer) tasks that wait for a slot. */
void rayi_scheduler_lane_waiting(rayi_scheduler *scheduler, bool waiting);

/* ---- placement groups ---- */

typedef enum rayi_strategy { /* as in ray_strategy */
                             RAYI_STRATEGY_PACK,
                             RAYI_STRATEGY_SPREAD,
                             RAYI_STRATEGY_STRICT_PACK,
                             RAYI_STRATEGY_STRICT_SPREAD,
} rayi_strategy;

typedef struct rayi_scheduler_group {
    uint64_t id;      /* the body's, not 0, never used again */
    const char *name; /* for messages; NULL: none */
    const rayi_resources *const *bundles;
    uint32_t bundle_count; /* at least 1 */
    rayi_strategy strategy;
} rayi_scheduler_group;

/* All bundles are reserved at once, then GROUP_READY comes; until then it queues with priority 0. */
int rayi_scheduler_group_new(rayi_scheduler *scheduler, const rayi_scheduler_group *group, int64_t now_ms);
/* Its waiting requests are refused with RAY_ERR_GROUP_REMOVED, its granted ones reported as LOST (they still end by
 * finish). Later requests of it are refused. False: unknown or removed before. */
bool rayi_scheduler_group_remove(rayi_scheduler *scheduler, uint64_t id);

/* ---- actions ---- */

typedef enum rayi_scheduler_do {
    RAYI_SCHEDULER_GRANT,       /* id may start: resources, gpus, bundle */
    RAYI_SCHEDULER_REFUSE,      /* id never will: code, message */
    RAYI_SCHEDULER_LOST,        /* id runs, but its group is removed: code, message; fail or cancel it, then finish */
    RAYI_SCHEDULER_WARN,        /* id (0: the group) waits for what nobody has: message; once a shape */
    RAYI_SCHEDULER_GROUP_READY, /* group */
    RAYI_SCHEDULER_LANE_GIVE,   /* slots more for the lane */
    RAYI_SCHEDULER_LANE_ASK,    /* slots wanted back, beyond those asked for before */
} rayi_scheduler_do;

typedef struct rayi_scheduler_action {
    rayi_scheduler_do what;
    int code; /* RAY_ERR_… */
    uint64_t id;
    uint64_t group;
    uint32_t bundle; /* that a GRANT was taken from, from 1; 0: none */
    uint32_t slots;
    const char *resources; /* granted, "CPU=1, disk=0.5"; valid until finish */
    const char *gpus;      /* granted, "0,3", "" for none; valid until the next call */
    const char *message;   /* one sentence; valid until the next call */
} rayi_scheduler_action;

/* The next thing to do; false: nothing. */
bool rayi_scheduler_next(rayi_scheduler *scheduler, rayi_scheduler_action *out);

/* ---- what there is, for ray_cluster_get and ray_state ---- */

typedef struct rayi_scheduler_resource {
    const char *name;
    int64_t total;
    int64_t available; /* at least 0; without the lane's slots, of which only the lane knows how many are idle */
} rayi_scheduler_resource;

uint32_t rayi_scheduler_resource_count(const rayi_scheduler *scheduler);
rayi_scheduler_resource rayi_scheduler_resource_at(const rayi_scheduler *scheduler, uint32_t index);
uint32_t rayi_scheduler_lane_slots(const rayi_scheduler *scheduler); /* that the lane holds, or was given */

typedef enum rayi_group_state {
    RAYI_GROUP_PENDING,
    RAYI_GROUP_CREATED,
    RAYI_GROUP_REMOVED, /* tasks of it still run */
} rayi_group_state;

typedef struct rayi_scheduler_group_row {
    uint64_t id;
    const char *name; /* or NULL */
    rayi_group_state state;
    rayi_strategy strategy;
    uint32_t bundle_count;
} rayi_scheduler_group_row;

typedef struct rayi_scheduler_demand_row { /* waiting requests of one kind */
    const char *resources, *labels;
    uint64_t group;
    uint32_t bundle;
    int32_t priority;
    uint64_t count;
    int64_t waited_ms; /* of the first */
    bool infeasible;   /* nobody here has that much, or such a label */
} rayi_scheduler_demand_row;

/* These call fn for each row; the scheduler must not be changed from there. */
void rayi_scheduler_groups(const rayi_scheduler *scheduler, void (*fn)(void *arg, const rayi_scheduler_group_row *row),
                           void *arg);
void rayi_scheduler_demand(const rayi_scheduler *scheduler, void (*fn)(void *arg, const rayi_scheduler_demand_row *row),
                           void *arg);
/* Whether this would be granted at once in that bundle (0: in any) if nothing else waited. True without memory to see.
 */
bool rayi_scheduler_group_has_room(rayi_scheduler *scheduler, uint64_t id, uint32_t bundle,
                                   const rayi_resources *resources);
bool rayi_scheduler_group_get(const rayi_scheduler *scheduler, uint64_t id, rayi_scheduler_group_row *out);

#endif
