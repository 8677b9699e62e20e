/* The scenario of the raylets: nodes that submit tasks and run each other's, with the planner, the scheduler, the
 * ledger and the brain of placement groups that ship. The body between them is a small one of the simulator: it carries
 * what they want over the sessions that ship, and "runs" tasks in virtual time. An account is kept from the outside; it
 * knows what was asked for, where something runs and what it came to, and shares no code with any of them.
 *
 *   fleet.c     the scenario: the work, the tables, what must hold in the end
 *   raylet.c    a node: the brains, and who has a task
 *   hosted.c    what others want of it, and what runs
 *   groups.c    placement groups: what an owner wants kept where, and what is kept here
 *   values.c    where values of tasks lie, who needs them, and making them again
 *   actors.c    actors: the owner's mailboxes, and lives of those of others
 *   account.c   the account
 *   goods.c     the account of values
 *   cast.c      the account of actors */
#ifndef FLEET_H
#define FLEET_H

#include "core/core.h"
#include "deaths.h"
#include "mesh.h"
#include "scheduler/scheduler.h"

enum { CPU, GPU, DISK, KINDS };
enum { SHAPES = 8, FUNCTIONS = 3, ARGS = 2, NOWHERE_TO = -1, MOST_WAITING = 150 };

typedef struct shape {
    const char *text;
    int64_t amounts[KINDS]; /* in 0.0001 */
} shape;

extern const shape shapes[SHAPES];
extern const char *const kind_names[KINDS];

/* What is submitted; it lasts as long as the world. */
typedef struct task {
    uint64_t number; /* from 1 */
    int owner;
    uint64_t incarnation; /* of the owner */
    int shape, function;
    int32_t priority, retries;
    bool retry_failures, spread, tie_soft;
    int tie;             /* to a node, or NOWHERE_TO */
    int64_t left_ms;     /* until its deadline; INT64_MAX: none */
    uint64_t args[ARGS]; /* tasks of the same owner, whose values it needs; 0: none */
    bool is_bad;         /* one that fails whenever it runs */
    uint64_t life_of;    /* the actor of which it is a life; 0: none */
    uint64_t again_of;   /* the task whose value it is to make again; 0: none */
    uint64_t size_bytes; /* of its arguments, as they count in lineage */
    bool cannot_stay;    /* its arguments cannot be kept for another run */
    uint32_t height;     /* so many tasks, each an argument of the next, end with it */
} task;

/* What a search for a value came to. */
typedef enum finding { VALUE_FOUND, VALUE_NO_RETRIES, VALUE_DROPPED, VALUE_TOO_DEEP, VALUE_NOT_MADE } finding;

typedef struct group { /* a placement group, of bundles that are all alike */
    uint64_t number;   /* from 1 */
    int owner;
    uint64_t incarnation; /* of the owner */
    int shape;
    uint32_t count;
    rayi_strategy strategy;
    bool lasts; /* it is not removed before all is calm */
} group;

typedef struct actor {
    uint64_t number; /* from 1 */
    int owner;
    uint64_t incarnation; /* of the owner */
    int shape, function;
    int32_t restarts;
    bool is_over; /* nobody calls it any more */
} actor;

enum { CALLERS = 3 };

typedef struct call { /* of an actor, by its owner's node */
    uint64_t number;  /* from 1 */
    const actor *of;
    int caller;
    int32_t retries;
    bool exits;  /* the actor, with it */
    bool breaks; /* the life in which it runs */
} call;

typedef enum call_end { CALL_OK, CALL_DIED } call_end;

typedef struct row { /* of the table of nodes */
    uint64_t incarnation;
    int64_t available[KINDS];
    uint32_t load;
    bool drained, suspect;
} row;

typedef struct account account;
typedef struct goods goods;
typedef struct cast cast;

typedef struct world {
    sim *s;
    account *account;
    goods *goods;
    cast *cast;
    deaths deaths;
    rayi_peer_options options; /* of all sessions */
    rayi_resources *resources[SHAPES];
    int64_t totals[SIM_NODES_MAX][KINDS];
    rayi_resources *offers[SIM_NODES_MAX];
    bool lacks[SIM_NODES_MAX][FUNCTIONS];
    bool drained[SIM_NODES_MAX];
    row rows[SIM_NODES_MAX]; /* as they were published last */
    task **tasks;            /* by number */
    size_t count, room;
    group **groups; /* by number */
    size_t group_count, group_room;
    int lasting; /* groups */
    actor **actors;
    size_t actor_count, actor_room;
    call **calls;
    size_t call_count, call_room;
    uint64_t rate_ms;
    uint64_t lineage_bytes; /* so much each node keeps for making values again */
    int64_t long_ms;        /* how long the longest tasks run */
    unsigned crashes, failures, blocks, refusals, lane, out_of_memory, grouped, argued, acted; /* percent */
} world;

task *world_task(const world *w, uint64_t number);
group *world_group(const world *w, uint64_t number);
bool world_could_place(const world *w, const group *g);
bool world_could_run(const world *w, const task *t, int node); /* by what the node is */
const task *world_again(world *w, const task *t,
                        int32_t retries); /* one that makes its value again; not submitted yet */

const task *world_life(world *w, const actor *a); /* not submitted yet */
const call *world_call(const world *w, uint64_t number);

/* ---- the account ---- */

account *account_new(world *w);
void account_free(account *a);
void account_crashed(account *a, int node, uint64_t incarnation);
/* By its owner. A try begins, here or elsewhere; it was none, since it has not started. */
void account_submitted(account *a, const task *t);
void account_tried(account *a, uint64_t number);
void account_returned(account *a, uint64_t number);
void account_cancelled(account *a, uint64_t number);
void account_ended(account *a, uint64_t number, rayi_outcome outcome);
void account_buried(account *a, int by, int node, uint64_t incarnation); /* what it had there is over for it */
/* At who runs it. */
void account_started(account *a, uint64_t number, int node);
void account_blocked(account *a, uint64_t number, int node, bool blocked);
void account_stopped(account *a, uint64_t number, int node, rayi_outcome outcome);
void account_lane(account *a, int node, int64_t running); /* so many tasks of its lane run now */
/* Room for count bundles of a group is kept at node, or not any more: part, which its owner has asked for. */
void account_part(account *a, int node, const group *g, uint64_t part, uint32_t count, bool is_kept);
void account_part_released(account *a, int owner, uint64_t part);
void account_group_added(account *a, const group *g);
void account_group_placed(account *a, const group *g, bool is_placed); /* says its owner */
void account_group_removed(account *a, const group *g);
uint64_t account_groups(const account *a);                  /* that are there */
void account_check_group(const account *a, const group *g); /* all has been calm for long: it has all its bundles */
uint64_t account_waiting(const account *a);                 /* that have not ended, and whose owners live */
bool account_has_ended(const account *a, uint64_t number, rayi_outcome *outcome);
bool account_may_try_more(const account *a, uint64_t number); /* or have its value made again */
bool account_has_buried(const account *a, int who, int node, uint64_t incarnation);
bool account_has_failed_life(const account *a, uint64_t of);
bool account_is_for_nobody(const account *a, uint64_t number,
                           int node); /* its owner is gone, or has buried that node */
void account_check(account *a);       /* in the end */

/* ---- the account of values: each has the number of its task, also when another one makes it again ---- */

goods *goods_new(world *w);
void goods_free(goods *g);
void goods_crashed(goods *g, int node, uint64_t incarnation);
void goods_submitted(goods *g, const task *t);
void goods_ran(goods *g, const task *t, int node); /* to its end, and its owner counts on that node */
void goods_ended(goods *g, const task *t, rayi_outcome outcome);
bool goods_can_be_read(const goods *g, uint64_t number); /* somebody lives who has it */
bool goods_is_lost(const goods *g, uint64_t number);     /* for good: its owner has said so, and was right */
/* By its owner. */
void goods_kept(goods *g, const task *t, bool are_kept); /* the arguments, for another run */
void goods_too_much(goods *g, const task *t);            /* is kept, so these arguments are to go */
void goods_obeyed(goods *g, int node);                   /* it keeps no more than it may */
void goods_wanted(goods *g, uint64_t number);            /* somebody waits for it */
void goods_answered(goods *g, uint64_t number, finding what);
void goods_gone(goods *g, const task *t); /* nobody wants it any more */
void goods_check(const goods *g);         /* in the end */

/* ---- the account of actors; a life has the number of its task ---- */

cast *cast_new(world *w);
void cast_free(cast *c);
void cast_actor(cast *c, const actor *a);
void cast_call(cast *c, const call *of);
void cast_started(cast *c, uint64_t number, const task *life, int node); /* at who has the life */
void cast_stopped(cast *c, uint64_t number, const task *life);
bool cast_counts_on(const cast *c, const task *life);
/* By its owner. */
void cast_life(cast *c, const actor *a);                 /* one begins */
void cast_left(cast *c, uint64_t life);                  /* it is counted on no more */
void cast_asked(cast *c, const actor *a, bool for_good); /* to end */
void cast_dead(cast *c, const actor *a);
void cast_sent(cast *c, uint64_t number, uint64_t life);
void cast_ended(cast *c, uint64_t number, call_end how);
void cast_check(const cast *c); /* in the end */

/* ---- a node ---- */

typedef struct raylet raylet;

extern const sim_node_calls raylet_calls;
void raylet_submit(raylet *r, const task *t);
void raylet_cancel(raylet *r, uint64_t number);
void raylet_inherit(raylet *r, uint64_t number, int32_t priority);
void raylet_add_group(raylet *r, const group *g);
void raylet_remove_group(raylet *r, const group *g);
void raylet_get(raylet *r, uint64_t number);  /* the value is wanted: it is there, or found, or lost for good */
void raylet_drop(raylet *r, uint64_t number); /* the handle */
bool raylet_has_handle(const raylet *r, uint64_t number);
void raylet_add_actor(raylet *r, const actor *a);
void raylet_call(raylet *r, const call *c);
void raylet_end_actor(raylet *r, const actor *a, rayi_actor_event how); /* RELEASED: once its calls have ended */
void raylet_lane_work(raylet *r, uint32_t tasks);
void raylet_declare_dead(raylet *r, int with, uint64_t incarnation);
void raylet_describe(raylet *r, row *out);
void raylet_hear(raylet *r, int of, const row *said); /* of the table */
bool raylet_knows(const raylet *r, int node);
void raylet_check(raylet *r); /* in the end: nothing is left of what has ended */

#endif
