/* The scenario of the session: nodes that send each other requests, replies and notes, and an account of what was sent
 * and what came of it, which is kept from the outside and knows nothing of how the session works.
 *
 *   session.c   the scenario: the work, the deaths, what must hold in the end
 *   talker.c    a node: the session with hands on the simulator
 *   truth.c     the account
 *   wire.c      what goes over the wire */
#ifndef TALK_H
#define TALK_H

#include "../unit/scheduler/counted.h"
#include "deaths.h"
#include "sim.h"
#include "transport/session.h"

enum { NOTES_MOST = 40, BACKLOG_MOST = 50, PAYLOAD_MOST = 400 };

typedef enum talk_kind { TALK_REQUEST, TALK_NOTE, TALK_REPLY } talk_kind;

typedef struct payload {
    uint32_t from, to, kind, size; /* size: of the whole */
    uint64_t from_incarnation, to_incarnation;
    uint64_t serial; /* of a reply: that of its request */
    unsigned char filler[PAYLOAD_MOST];
} payload;
#define PAYLOAD_LEAST offsetof(payload, filler)

/* ---- the account ---- */

typedef struct truth truth;

truth *truth_new(sim *s);
void truth_free(truth *t);
void truth_sent(truth *t, const payload *sent);
/* At `node`, by its session with incarnation `with_incarnation` of node `with`. */
void truth_delivered(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation,
                     rayi_frame_kind kind, const void *bytes, size_t size);
void truth_given_back(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation, uint64_t tag,
                      const void *bytes, size_t size);
/* A request was done with at node; how many may be under way is the window. */
void truth_done(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation);
void truth_set_window(truth *t, uint64_t window);
/* node holds that incarnation for dead, from now on; and has given back all. */
void truth_dead(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation);
void truth_settled(truth *t, int node, uint64_t incarnation, int with, uint64_t with_incarnation);
void truth_check(truth *t); /* in the end: all that can have arrived has, and requests were answered */
uint64_t truth_count(const truth *t);

/* ---- the wire ---- */

typedef struct wire wire;

wire *wire_new(sim *s); /* watches from now on */
void wire_free(wire *w);
void wire_settle(wire *w); /* from now on no connection is given up */
void wire_check(wire *w);  /* in the end: both ends of a pair use the same pipe */

/* ---- the world ---- */

typedef struct world {
    sim *s;
    truth *truth;
    wire *wire;
    deaths deaths;
    rayi_peer_options options; /* of all sessions; ends and chance are set for each */
    uint64_t rate_ms;          /* of the work */
    unsigned out_of_memory;    /* percent */
    unsigned requests;         /* percent; the rest are notes */
    uint64_t linger_ms;        /* of requests, after the reply */
    uint64_t serial;
    bool hidden; /* nobody can dial node 0 */
} world;

/* ---- a node ---- */

typedef struct talker talker;

extern const sim_node_calls talker_calls;
/* Sends one, if it can: a request without credit goes when there is some. */
void talker_send(talker *t, int to, talk_kind kind, uint64_t serial);
void talker_declare_dead(talker *t, int with, uint64_t incarnation);
void talker_meet(talker *t, int with); /* has a session, if it can */
void talker_wake(talker *t, int with); /* dials now, if it has no connection */
void talker_check_credit(talker *t);   /* some time later there is some */
void talker_check(talker *t);          /* in the end */

#endif
