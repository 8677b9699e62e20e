/* What the files of a raylet share. */
#ifndef RAYLET_H
#define RAYLET_H

#include "fleet.h"

/* As in the raylet that ships: who has a task, and has to be told when it is over. */
typedef enum whereabouts { NOWHERE, PLANNED, HERE, AWAY } whereabouts;

typedef struct place { /* a process */
    int node;
    uint64_t incarnation;
} place;

typedef struct value { /* of a task of ours, from its submission on */
    UT_hash_handle hh;
    uint64_t number; /* the task's */
    const task *t;
    bool has_handle;
    uint32_t needed;    /* by tasks, by arguments that are kept, by who waits for it */
    bool is_over;       /* the task */
    bool is_made;       /* it has come to a value, and lineage knows it */
    bool has_arguments; /* kept for another run; each is needed */
    bool is_wanted;     /* by raylet_get */
    place there;
    bool is_awaited; /* whoever has it is gone; it is searched for once that is known */
    uint32_t depth;  /* of the search */
    bool is_again;   /* a task makes it again */
} value;

typedef struct heard { /* a call that has come to a life */
    struct heard *prev, *next;
    uint64_t number;
} heard;

typedef struct waiting_call { /* in a mailbox until it has ended */
    struct waiting_call *prev, *next;
    uint64_t number;
    int32_t retries_left;
    bool is_sent;
} waiting_call;

typedef struct mailbox { /* of an actor of ours */
    UT_hash_handle hh;
    uint64_t number;
    const actor *a;
    rayi_actor_state state;
    int32_t restarts_left;
    uint64_t life;   /* that has not ended; 0: none */
    bool is_stopped; /* the life, which is counted on no more */
    bool is_due;     /* another */
    bool is_released;
    bool is_open; /* calls go to the life */
    waiting_call *calls;
} mailbox;

typedef struct piece { /* a task of ours, or one of another node that is hosted here */
    UT_hash_handle hh;
    uint64_t id; /* in the brains: the task's number; of one that is hosted a number of its own */
    const task *t;
    whereabouts where;
    bool is_assigned; /* the planner counts it */
    bool is_cancelled;
    int64_t deadline_ms; /* by this node's clock */
    int there;           /* AWAY; of one that has run: where */
    uint64_t there_incarnation;
    uint64_t sending;          /* of ours: so many times it was sent away; of one that is hosted: which that was */
    bool is_unsent;            /* AWAY, and there is no credit for it yet */
    struct piece *prev, *next; /* of those of one neighbour */
    int missing;               /* arguments */
    uint32_t attempt, depth;   /* depth: of ours: so many are made again for whose sake it runs */
    uint64_t lost;             /* the argument that is; 0: none */
    place places[ARGS];        /* of one that is hosted: where its arguments are */
    bool is_hosted;
    int whose;
    uint64_t whose_incarnation;
    uint64_t run; /* 0: it does not run */
    bool is_blocked;
    /* of a life: */
    bool is_up, is_busy, is_ending;
    rayi_outcome came_to; /* once it is over */
    heard *heard;         /* the first runs, if it is busy */
} piece;

typedef enum letter_kind {
    LETTER_TASK,
    LETTER_REFUSE,
    LETTER_RESULT,
    LETTER_CANCEL,
    LETTER_INHERIT,
    LETTER_RESERVE,
    LETTER_RELEASE,
    LETTER_ANSWER,
    LETTER_LOST, /* a task has not started for want of an argument: value */
    LETTER_BEGUN,
    LETTER_UP,
    LETTER_CALL,
    LETTER_RETURN, /* left_ms: does the actor exit? */
    LETTER_FINI
} letter_kind;

typedef struct letter {
    letter_kind what;
    int32_t value; /* why it is refused, what it came to, the priority, how many bundles, whether they are reserved */
    uint64_t number, sending; /* of a task; of a part, and its group */
    int64_t left_ms;
    place places[ARGS]; /* of the arguments */
} letter;

typedef struct part { /* room that is kept here for bundles of a group */
    struct part *prev, *next;
    uint64_t number; /* the owner's */
    int whose;
    uint64_t whose_incarnation;
    const group *g;
    uint32_t count;
    uint64_t id; /* of the scheduler's group */
    bool is_kept;
} part;

struct raylet {
    world *w;
    sim *s;
    int node;
    uint64_t incarnation;
    counted heap;
    mesh mesh;
    bool is_stirred[SIM_NODES_MAX]; /* its session has something to say */
    uint64_t known[SIM_NODES_MAX];  /* of the table; 0: not there */
    rayi_ledger *ledger;
    rayi_planner *planner;
    rayi_scheduler *scheduler;
    rayi_bundles *bundles;
    rayi_lineage *lineage;
    value *values;
    mailbox *mailboxes;
    uint64_t buried[SIM_NODES_MAX]; /* what was there is over */
    part *parts;
    piece *pieces;
    piece *unsent[SIM_NODES_MAX];
    uint64_t last_id, last_run;
    int64_t timer_ms; /* the last timer's moment, and how often it came there */
    int timers;
    struct {
        uint32_t slots, running, waiting;
        uint32_t owed, returned; /* slots that it is to give back, and has, which nobody has heard yet */
    } lane;
};

/* raylet.c */
int64_t raylet_now(const raylet *r);
rayi_planner_id raylet_id_of(int node);
piece *raylet_piece(const raylet *r, uint64_t id);
piece *raylet_add(raylet *r, const task *t, uint64_t id);
void raylet_forget(raylet *r, piece *p);
void raylet_pump(raylet *r);
/* False: it cannot be told to who has that incarnation. */
bool raylet_say(raylet *r, int to, uint64_t incarnation, const letter *l);
void raylet_enter(raylet *r, const task *t, uint32_t depth); /* a task of ours */
void raylet_stop(raylet *r, piece *p);                       /* and never again */
void raylet_submit_here(raylet *r, piece *p);
void raylet_came_back(raylet *r, piece *p, rayi_planner_return why);
bool raylet_asks(const raylet *r, unsigned percent); /* chance */

/* values.c */
void values_new(raylet *r, const task *t);
void values_need(raylet *r, const piece *p);                  /* its arguments */
void values_ended(raylet *r, piece *p, rayi_outcome outcome); /* it needs none any more */
bool values_hold(raylet *r, piece *p);                        /* for an argument that is lost; false: there are all */
void values_lack(raylet *r, piece *p, uint64_t number);       /* it has not started for want of this one */
void values_put_places(const raylet *r, const piece *p, place *out);
bool values_can_read(const raylet *r, const place *from);
void values_buried(raylet *r, int node);
void values_free(raylet *r);

/* actors.c */
void actors_begin(raylet *r, piece *p); /* a life */
void actors_up(raylet *r, piece *p);
void actors_call_over(raylet *r, piece *p);
void actors_take(raylet *r, piece *p, const letter *l); /* CALL, FINI */
void actors_hear(raylet *r, piece *p, const letter *l); /* BEGUN, UP, RETURN */
void actors_ended(raylet *r, const piece *p, rayi_outcome outcome);
void actors_forget(piece *p);
void actors_check(const raylet *r);
void actors_free(raylet *r);

/* groups.c */
bool groups_pump(raylet *r);
void groups_ready(raylet *r, uint64_t id);              /* says the scheduler */
void groups_take(raylet *r, int from, const letter *l); /* RESERVE, RELEASE, ANSWER */
void groups_drop_all(raylet *r, int whose);             /* who is dead */
void groups_free(raylet *r);

/* hosted.c */
void hosted_take(raylet *r, int from, const letter *l);     /* TASK */
void hosted_cancel(raylet *r, int from, const letter *l);   /* CANCEL */
void hosted_inherit(raylet *r, int from, const letter *l);  /* INHERIT */
void hosted_end(raylet *r, piece *p, rayi_outcome outcome); /* the ledger says what it came to */
void hosted_drop_all(raylet *r, int whose);                 /* who is dead */
piece *hosted_find(const raylet *r, int whose, const letter *l);
/* To what runs, unless it is over by then. */
enum what { RUN_OVER, RUN_BLOCKS, RUN_RESUMES, LANE_OVER, LANE_RETURNS, LIFE_UP, CALL_OVER };
void hosted_later(raylet *r, int64_t delay_ms, enum what what, const piece *p);
void hosted_run(raylet *r, piece *p);
void hosted_stop(raylet *r, piece *p); /* what runs is asked to */
void hosted_lane_gets(raylet *r, uint32_t slots);
void hosted_lane_owes(raylet *r, uint32_t slots);
void hosted_lane_work(raylet *r, uint32_t tasks);

#endif
