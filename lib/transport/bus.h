/* bus: what the head tells all nodes, and asks them, in one go. Part of the door transport/transport.h.
 *
 * Over nng's publish and survey patterns. Both ways lose, late, and now and then repeat after a close and an open what
 * was said: the bus carries hints, and what must arrive goes by link. A node is on the bus with a ticket, which it got
 * from the head over its link.
 *
 *   head ──publish──▶ all nodes
 *   head ──survey───▶ nodes of a slice ──answer──▶ head
 *
 * Invariants:
 * - A frame is taken only when it is sealed under the current or the previous secret, and from the head only when it is
 *   signed by the head of the ticket, and newer than all of its kind before. What is not is dropped and counted.
 * - Without a secret the same frames go unsealed (still signed), between loopback addresses only; a bus with a secret
 *   takes none of them, and the other way round.
 * - The head takes one answer a node and survey, and none of another survey.
 * - Nobody makes us hold more than two frames for each of max_peers connections, and RAYI_BUS_QUEUE_BYTES of frames
 *   that the loop has not come to: the oldest are dropped.
 * - Any member can answer in the name of another one: answers are hints, too.
 * - Nothing blocks but rayi_bus_open_head with a host's name. nng starts its threads, which are the process's and stay,
 *   with the first bus, and all signals are blocked in them. After a fork without an exec nothing may be called.
 * - A call that fails makes no callback. Callbacks come from the loop, never from inside a call. In a callback anything
 *   may be called, closing included; after a close no callback comes.
 *
 * Everything is called on the thread of the loop, except for secrets and tickets (any thread). */
#ifndef RAYI_BUS_H
#define RAYI_BUS_H

#include "base/base.h"
#include "wire/wire.h"

#include <uv.h>

#define RAYI_BUS_BYTES_MAX   ((size_t)(256 << 10) - 256) /* of what is published or asked */
#define RAYI_BUS_ANSWER_MAX  ((size_t)(64 << 10) - 256)  /* of an answer */
#define RAYI_BUS_QUEUE_BYTES ((size_t)4 << 20)
#define RAYI_BUS_QUEUE_MOST  256 /* frames in it */
#define RAYI_BUS_SLICE       64  /* nodes that are asked at once, at most */

enum { RAYI_BUS_KEY_BYTES = 32, RAYI_BUS_ADDRESS_SIZE = 272 };

/* ---- secrets and tickets ---- */

typedef struct rayi_bus_secret {
    uint32_t epoch; /* from 1; each has a higher one than those before */
    uint8_t bytes[RAYI_BUS_KEY_BYTES];
} rayi_bus_secret;

int rayi_bus_secret_make(uint32_t epoch, rayi_bus_secret *out); /* a new one. SYSTEM */
void rayi_bus_secret_wipe(rayi_bus_secret *secret);

/* What a node needs to be on the bus of a head. */
typedef struct rayi_bus_ticket {
    char publish[RAYI_BUS_ADDRESS_SIZE], survey[RAYI_BUS_ADDRESS_SIZE]; /* "HOST:PORT", to be dialled */
    uint64_t generation, published, surveyed; /* what the head said last; nothing up to there is believed */
    rayi_bus_secret secret;                   /* epoch 0: there is none */
    uint8_t signer[RAYI_BUS_KEY_BYTES];       /* public key of this run of the head */
} rayi_bus_ticket;

void rayi_bus_ticket_put(rayi_writer *writer, const rayi_bus_ticket *ticket);
/* Checks all of it; out is set only then. CORRUPT, and the reader has failed */
int rayi_bus_ticket_take(rayi_reader *reader, rayi_bus_ticket *out);
void rayi_bus_ticket_wipe(rayi_bus_ticket *ticket);

/* ---- the bus ---- */

typedef struct rayi_bus rayi_bus;

typedef struct rayi_bus_events { /* any may be NULL. Bytes are lent until the return, and aligned to nothing */
    /* Of a node. */
    void (*on_publish)(void *arg, const void *bytes, size_t size_bytes);
    /* What is put into answer is the answer, at most RAYI_BUS_ANSWER_MAX bytes. NULL: an empty answer. */
    void (*on_survey)(void *arg, const void *bytes, size_t size_bytes, rayi_writer *answer);
    /* Of the head. */
    void (*on_answer)(void *arg, uint32_t node, const void *bytes, size_t size_bytes);
    /* The span of a survey's last slice is over; so many answers came. */
    void (*on_surveyed)(void *arg, uint32_t answers);
} rayi_bus_events;

typedef struct rayi_bus_head_options {
    const char *host;              /* that is listened on, at two free ports: "10.0.0.7", "::", a name */
    const char *shown;             /* the host of the ticket; NULL: host, which must not mean all addresses then */
    uint64_t generation;           /* of the head: above that of every head before */
    const rayi_bus_secret *secret; /* copied; NULL: none, and host is loopback */
    uint32_t span_ms;              /* for the answers of a slice; 0: 100 */
    uint32_t max_peers;            /* connections at a port; 0: 4,096 */
    const rayi_bus_events *events; /* the caller's, outlive the bus */
    void *arg;
} rayi_bus_head_options;

/* ARGUMENT (the host; no loopback, and there is no secret), NOT_FOUND (no such host), SYSTEM NO_MEMORY */
int rayi_bus_open_head(uv_loop_t *loop, const rayi_bus_head_options *options, rayi_bus **out);
/* The node's number says to which slice it belongs; the head gives each member one, the lowest that is free. It is
 * dialled, again and again, from when this returns: a head that is not there is no error. events as above. ARGUMENT (no
 * secret, and an address that is no loopback), SYSTEM NO_MEMORY */
int rayi_bus_open_node(uv_loop_t *loop, const rayi_bus_ticket *ticket, uint32_t number, const rayi_bus_events *events,
                       void *arg, rayi_bus **out);
/* closed(arg) (may be NULL) when it is gone. That takes some 50 ms; after 2 s the loop is told so in any case, and what
 * nng still holds is left to a thread (event "bus.left"). */
void rayi_bus_close(rayi_bus *bus, void (*closed)(void *arg), void *arg);

/* For who joins now. Of the head. */
void rayi_bus_ticket_get(const rayi_bus *bus, rayi_bus_ticket *out);
/* A higher epoch from now on; the one before is still accepted, older ones not. The same secret again changes nothing.
 * The head is told last, once the members have it: who lacks it is deaf until he has. ARGUMENT */
int rayi_bus_set_secret(rayi_bus *bus, const rayi_bus_secret *secret);
/* To all nodes that are connected now, copied. Of the head. LIMIT NO_MEMORY */
int rayi_bus_publish(rayi_bus *bus, const void *bytes, size_t size_bytes);
/* A node is going, as its link or its process says: what the head says from now on leaves 100 ms later (500 ms, while
 * further ones go), when nng is done with that connection: bus_net.c says why. Of the head. */
void rayi_bus_hush(rayi_bus *bus);
bool rayi_bus_is_hushed(const rayi_bus *bus); /* a survey would be over before its answers came */
/* Asks the nodes whose numbers are below num_numbers, copied: at most RAYI_BUS_SLICE at once, a span for each slice. Of
 * one that is under way nothing comes any more. Of the head. LIMIT NO_MEMORY */
int rayi_bus_survey(rayi_bus *bus, uint32_t num_numbers, const void *bytes, size_t size_bytes);
/* Connections: who is there on both ports, or who dials there in our name. */
uint32_t rayi_bus_peers(const rayi_bus *bus);

/* Why a frame was dropped, or a connection. */
typedef enum rayi_bus_reason {
    RAYI_BUS_OVERRUN,   /* more came than the loop could take */
    RAYI_BUS_UNSENT,    /* more was sent than could leave, or it could not be made: too long an answer, no memory */
    RAYI_BUS_REFUSED,   /* connections beyond max_peers */
    RAYI_BUS_MALFORMED, /* no frame, or none of a kind that belongs here */
    RAYI_BUS_PLAIN,     /* not sealed, and there is a secret; or sealed, and there is none */
    RAYI_BUS_EPOCH,     /* under a secret that is not, or no longer, known */
    RAYI_BUS_SEAL,      /* not from who has the secret, or changed on the way */
    RAYI_BUS_SIGNATURE, /* not from the head of the ticket */
    RAYI_BUS_REPLAYED,  /* not newer than the latest */
    RAYI_BUS_STALE,     /* an answer to another survey, or of who was not asked */
    RAYI_BUS_DOUBLE,    /* another answer of the same node */
    RAYI_BUS_REASONS
} rayi_bus_reason;

uint64_t rayi_bus_dropped(const rayi_bus *bus, rayi_bus_reason reason); /* since it was opened */

#endif
