/* bundles: on which nodes the bundles of placement groups go, reserved all or none. Part of the door
 * scheduler/scheduler.h. A brain, as the planner: events in, actions out. It belongs to the node that owns the groups.
 *
 *              ┌──────────── refused, late, or a node is gone: all is given back ────────────┐
 *              ▼                                                                             │
 *   add ──▶ WAITING ──a node for each bundle: RESERVE on all of them──▶ TRYING ──all reserved──▶ PLACED
 *              ▲                                                                             │
 *              └──────────────── a node is gone: LOST; its bundles are placed anew ──────────┘
 *
 * What a node reserves for one group in one attempt is a *part*: some of its bundles, with a number that is never used
 * again. A node that is asked keeps room for a part as soon as it has it, and says so; it may wait for that, as other
 * work ends. A part is told to be released exactly once, unless its node is gone, and never before it was asked for;
 * where that could not be said (rayi_bundles_not_released), once more.
 *
 * Where: on nodes that have room now, as far as is known; a group that has found none for RAYI_SCHEDULER_DRAIN_MS takes
 * any that could ever have it, since a node that always has work makes room only for who waits there; those that have
 * failed it come last, whatever is known of them. Of what is possible, PACK takes few nodes, SPREAD many, STRICT_PACK
 * one, STRICT_SPREAD another for each bundle. Whether there is any way is found out exactly for the strict ones; the
 * others may miss one that only a search of all would find. What fits nowhere waits for nodes, with a warning.
 *
 * Competing groups never wait for each other for ever. A group holds what it has not all of for its span at most, then
 * holds nothing for a while, so that no circle of holding and waiting lasts; that is with any number of owners, none of
 * which knows of the others. That two do not meet again and again is a matter of chance: the pause is random, from a
 * seed, and grows with each failure. So does the span: of those that compete, who has failed most stays longest. Of one
 * owner the oldest group chooses first, and others take nothing that it holds or has asked for.
 *
 * Calls that return int fail with RAY_ERR_NO_MEMORY and then have changed nothing; the others cannot fail. What a
 * decision needs and cannot have is asked for again a little later. now_ms is any clock that does not go back. */
#ifndef RAYI_SCHEDULER_BUNDLES_H
#define RAYI_SCHEDULER_BUNDLES_H

#include "scheduler/planner.h"

#define RAYI_BUNDLES_SPAN_MS    2000 /* until all of an attempt must be reserved: at first, and at last */
#define RAYI_BUNDLES_SPAN_MOST  16000
#define RAYI_BUNDLES_PAUSE_MS   200 /* after a failed one, on average: at first, and at last */
#define RAYI_BUNDLES_PAUSE_MOST 12800

typedef struct rayi_bundles rayi_bundles;
struct rayi_scheduler_group;

/* The seed makes pauses differ, and which of equal nodes is taken. */
int rayi_bundles_new(const rayi_memory *memory, uint64_t seed, rayi_bundles **out);
void rayi_bundles_free(rayi_bundles *bundles);

/* As rayi_planner_node_put, _gone; labels, tag and load are not looked at. All bundles of a node that is gone are. */
int rayi_bundles_node_put(rayi_bundles *bundles, const rayi_planner_node *node, int64_t now_ms);
void rayi_bundles_node_gone(rayi_bundles *bundles, const rayi_planner_id *id, int64_t now_ms);

/* A group is to be placed; everything is copied. Its id is of no other one that is there. */
int rayi_bundles_add(rayi_bundles *bundles, const struct rayi_scheduler_group *group, int64_t now_ms);
/* It is no more; its parts are released. False: unknown. */
bool rayi_bundles_remove(rayi_bundles *bundles, uint64_t group, int64_t now_ms);

/* What a node says of a part. Nothing for one that was released, is unknown, or was asked of another node. */
void rayi_bundles_reserved(rayi_bundles *bundles, const rayi_planner_id *by, uint64_t part, int64_t now_ms);
void rayi_bundles_refused(rayi_bundles *bundles, const rayi_planner_id *by, uint64_t part, int64_t now_ms);

void rayi_bundles_tick(rayi_bundles *bundles, int64_t now_ms);
/* When the next tick could change something; INT64_MAX: not before the next event. */
int64_t rayi_bundles_wake_ms(const rayi_bundles *bundles);

/* ---- actions ---- */

typedef enum rayi_bundles_do {
    RAYI_BUNDLES_RESERVE, /* node is to keep room for part: numbers, count */
    RAYI_BUNDLES_RELEASE, /* node is to give part back */
    RAYI_BUNDLES_PLACED,  /* all bundles of group are reserved: for the first time, or again */
    RAYI_BUNDLES_LOST,    /* some are not any more */
    RAYI_BUNDLES_WARN,    /* no nodes of the cluster could ever hold group: message; once a group */
} rayi_bundles_do;

typedef struct rayi_bundles_action {
    rayi_bundles_do what;
    uint64_t group, part;
    rayi_planner_id node;
    const uint32_t *numbers; /* of the group's bundles, from 1; valid until the next call, as is message */
    uint32_t count;
    const char *message; /* one sentence */
} rayi_bundles_action;

/* The next thing to do; false: nothing. */
bool rayi_bundles_next(rayi_bundles *bundles, rayi_bundles_action *out);

/* The RELEASE that was fetched last could not be told: it comes again, a little later. */
void rayi_bundles_not_released(rayi_bundles *bundles, int64_t now_ms);

/* ---- what there is ---- */

typedef struct rayi_bundle_place {
    rayi_planner_id node;
    uint64_t part;
    uint32_t number; /* among those of the part, from 1 */
} rayi_bundle_place;

/* Where a bundle of a group, from 1, is reserved. False: it is not, or there is none. */
bool rayi_bundles_place(const rayi_bundles *bundles, uint64_t group, uint32_t number, rayi_bundle_place *out);
uint32_t rayi_bundles_waiting(const rayi_bundles *bundles); /* groups that are not PLACED */

#endif
