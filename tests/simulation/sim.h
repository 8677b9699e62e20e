/* The simulator: N nodes in one process and one thread, with one virtual clock, one seeded generator of chance and a
 * network that misbehaves. What runs in a node is a brain of lib with hands made for the simulator; a set of them, with
 * its work and its checkers, is a scenario. A run follows from its seed alone: a failure is run again with
 *
 *   simulate --seed SEED [--nodes N] [--trace]
 *
 * Without a seed, the fixed ones run and then fresh ones until --seconds are over. Each run prints nothing unless it
 * fails. With --caught a failure is what is expected: the exit status is 0 if some seed fails (for broken brains).
 *
 * Nodes. A process of a node has an incarnation, from 1, and a clock of its own, which differs from the others' by up
 * to a day and goes at the same rate. It crashes, starts again as the next incarnation, or is paused for a while, as by
 * SIGSTOP: what comes meanwhile comes all at once afterwards, timers late.
 *
 * Connections. A pipe is what TCP makes of a network: whole messages, in order, each way with a delay of its own. A
 * dial is answered (each end learns it at a different time), refused, or not answered at all. A pipe
 *  - breaks: of what is under way each way a suffix is lost, of any length; each end is told at a different time,
 *    behind what still comes;
 *  - hangs, one way or both: what is sent that way is never heard of again, and nobody is told;
 *  - is closed by one end: the same as a break, but for this end at once.
 * A partition, one way or both, holds what is under way until it heals, as TCP sends again; dials are not answered. The
 * kernel takes a few kilobytes each way at once, so `wrote` comes with delay where the other end does not read.
 *
 * A run has two phases: some seconds of virtual time with faults; then everything heals (partitions, pauses, nodes that
 * are down; pipes that hang stay so), and the scenario is asked whether all is well after a given span.
 *
 * Each run has delays of its own, up to 400 ms, which differ from pipe to pipe. One in ten is quiet: no faults, and the
 * pipes between two nodes are about as fast as each other, so that checkers may expect that all goes smoothly.
 *
 * To plug in brains: fill a sim_scenario and add it to the table of main.c. Callbacks may call everything here. The
 * scenario's own events (work, declared deaths) go through sim_after. Checkers call sim_fail. */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_NODES_MAX 64

typedef struct sim sim;
typedef uint64_t sim_end; /* one end of a pipe; from 1, never used again */

/* What a node's process does. All run on its behalf; self is what start returned. */
typedef struct sim_node_calls {
    void *(*start)(sim *sim, int node, uint64_t incarnation);
    void (*crash)(void *self);                           /* it is gone: free all, say nothing */
    void (*up)(void *self, sim_end end);                 /* a dial of this node's was answered */
    void (*accepted)(void *self, sim_end end, int from); /* another's */
    void (*down)(void *self, sim_end end);               /* refused, broken, closed by the other; not after close */
    void (*message)(void *self, sim_end end, const void *bytes, size_t size);
    void (*wrote)(void *self, sim_end end, size_t size); /* so much of what was sent is the kernel's now */
    void (*timer)(void *self);
    int64_t (*next_timer)(const void *self); /* by the node's clock; INT64_MAX: none */
} sim_node_calls;

typedef struct sim_scenario {
    const char *name;
    const sim_node_calls *node;
    int64_t calm_ms;                                             /* after healing, all is to be well within this span */
    void *(*begin)(sim *sim);                                    /* before any node starts */
    void (*crashed)(void *self, int node, uint64_t incarnation); /* right after */
    void (*oddity)(void *self);                                  /* a fault of the scenario's own; NULL: none */
    void (*calm)(void *self);                                    /* everything has healed: end the work */
    void (*check)(void *self);                                   /* calm_ms later */
    void (*end)(void *self);                                     /* frees; the nodes are gone */
} sim_scenario;

/* ---- for the nodes ---- */

int64_t sim_now(const sim *sim, int node); /* by its clock */
sim_end sim_dial(sim *sim, int node, int to);
void sim_send(sim *sim, sim_end end, const void *bytes, size_t size); /* nothing if the pipe is over */
void sim_close(sim *sim, sim_end end);                                /* nothing more is heard of it */

/* ---- for scenarios ---- */

int sim_nodes(const sim *sim);
int64_t sim_time(const sim *sim);  /* ms of the run, nobody's clock */
bool sim_is_calm(const sim *sim);  /* the faults are over */
bool sim_is_quiet(const sim *sim); /* there are none in this run, only delays */
void *sim_world(const sim *sim);   /* what begin returned */
uint64_t sim_random(sim *sim);
uint64_t sim_below(sim *sim, uint64_t below); /* 0 … below - 1 */
bool sim_chance(sim *sim, unsigned percent);
void *sim_self(const sim *sim, int node);      /* NULL: it is down */
bool sim_is_running(const sim *sim, int node); /* neither down nor paused */
uint64_t sim_incarnation(const sim *sim, int node);
void sim_crash(sim *sim, int node); /* it starts again some time later. Not from within a callback of that node */
/* Calls fn in delay_ms. The numbers are the caller's. */
void sim_after(sim *sim, int64_t delay_ms, void (*fn)(void *arg, uint64_t a, uint64_t b, uint64_t c), void *arg,
               uint64_t a, uint64_t b, uint64_t c);
/* Watches what is sent and closed: for checkers that look at the wire. */
typedef struct sim_watch {
    void *arg;
    void (*dialled)(void *arg, int node, int to, sim_end end);
    void (*sent)(void *arg, int node, int to, sim_end end, const void *bytes, size_t size);
    void (*over)(void *arg, int node, sim_end end); /* closed by this end, or it was told of the break */
} sim_watch;
void sim_set_watch(sim *sim, const sim_watch *watch);

_Noreturn void sim_fail(const sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3))); /* with --trace */

/* ---- for main ---- */

typedef struct sim_result {
    uint64_t events, digest; /* the same for the same seed */
    int64_t virtual_ms;
} sim_result;

typedef struct sim_options {
    uint64_t seed;
    int nodes; /* 0: by the seed */
    bool trace;
    int status_of_failure; /* what the process exits with */
} sim_options;

sim_result sim_run(const sim_scenario *scenario, const sim_options *options);

extern const sim_scenario sim_session; /* session.c */
extern const sim_scenario sim_raylet;  /* fleet.c */

/* The block, perhaps elsewhere, with room for one more behind count of them. */
void *sim_grown(void *block, size_t count, size_t *room, size_t size_each);

#endif
