/* What the files of the simulator share; scenarios do not see it. */
#ifndef SIM_INSIDE_H
#define SIM_INSIDE_H

#include "sim.h"

#define NEVER INT64_MAX

typedef enum event_kind {
    EVENT_TIMER,    /* a: when it was asked for */
    EVENT_CALL,     /* fn */
    EVENT_FAULT,    /* the next one is due */
    EVENT_RESUME,   /* node */
    EVENT_RESTART,  /* node */
    EVENT_HEAL,     /* a: from, b: to */
    EVENT_ACCEPTED, /* end */
    EVENT_UP,       /* end */
    EVENT_DOWN,     /* end: a dial that was refused */
    EVENT_ARRIVAL,  /* end: something has come to it */
    EVENT_WROTE,    /* end, a: bytes */
} event_kind;

typedef struct event {
    int64_t at_ms;
    uint64_t serial; /* of two at the same time the earlier made comes first */
    event_kind kind;
    int node; /* to whom it happens; -1: nobody */
    uint64_t incarnation;
    sim_end end;
    void (*fn)(void *arg, uint64_t a, uint64_t b, uint64_t c);
    void *arg;
    uint64_t a, b, c;
} event;

typedef struct node {
    void *self; /* NULL: down */
    uint64_t incarnation;
    int64_t offset_ms;
    int64_t timer_ms; /* by the run's clock: the event that is under way; NEVER: none */
    bool paused;
    event *missed; /* while paused */
    size_t num_missed, missed_room;
} node;

/* What is under way to one end. */
typedef struct item {
    struct item *next;
    int64_t at_ms;
    size_t size;
    bool last;    /* no bytes: the end is told that the pipe is over */
    bool written; /* the sender knows that the kernel has it */
    unsigned char bytes[];
} item;

typedef struct side {
    int node; /* who is at this end */
    uint64_t incarnation;
    bool open;       /* it may send, and is told what comes */
    bool hangs, cut; /* what comes to it: nothing more, ever, or no more than is under way */
    item *first, **last;
    int64_t last_ms;     /* when the last of them comes */
    size_t kernel_bytes; /* written, and still under way */
} side;

typedef struct pipe {
    sim_end number; /* of side 0, who dialled; side 1 is the next */
    int64_t delay_ms;
    side sides[2];
} pipe;

typedef struct plan { /* how bad it gets, by the seed */
    int64_t faults_ms, mean_ms;
    int64_t delay_least_ms, delay_spread_ms;
    unsigned refuse, hang_dial; /* percent */
    unsigned weights[8];        /* of each kind of fault */
    bool quiet;                 /* no faults at all */
} plan;

struct sim {
    const sim_scenario *scenario;
    void *world; /* the scenario's */
    sim_options options;
    uint64_t random;
    int64_t now_ms;
    uint64_t serial, digest, num_events;
    bool calm;
    event *heap;
    size_t num_heap, heap_room;
    int num_nodes;
    node nodes[SIM_NODES_MAX];
    bool blocked[SIM_NODES_MAX][SIM_NODES_MAX];   /* from, to */
    int64_t delays[SIM_NODES_MAX][SIM_NODES_MAX]; /* of two nodes in a quiet run; 0: not rolled yet */
    pipe **pipes;                                 /* the number of the first end / 2 */
    size_t num_pipes, pipes_room;
    sim_watch watch;
    plan plan;
};

/* sim.c */
void sim_push(sim *s, event e, int64_t delay_ms);
void sim_start_node(sim *s, int index);
void sim_stop_node(sim *s, int index);

/* pipes.c */
pipe *sim_pipe_of(const sim *s, sim_end end); /* NULL: gone */
void sim_pipe_event(sim *s, const event *e);  /* ACCEPTED, UP, DOWN, ARRIVAL, WROTE */
void sim_pipe_break(sim *s, pipe *p);
void sim_pipe_orphan(sim *s, pipe *p, int index, bool told); /* the process at one end is gone */
void sim_pipes_flow(sim *s, int from, int to);               /* a partition has healed */
void sim_pipes_free(sim *s);

/* faults.c */
void sim_plan(sim *s);
void sim_fault(sim *s);
void sim_heal_all(sim *s);

#endif
