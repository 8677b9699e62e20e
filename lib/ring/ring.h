/* ring: the channel of shared memory between a node and one of its worker processes.
 *
 * Owns one sealed memfd, mapped by both ends: a page of counters and bells, the claim words and credits of offers, and
 * two rings of 64-byte cells, DOWN (node to worker) and UP (worker to node). It knows nothing of what messages mean.
 * Invariants:
 *  - What the other end may write is never trusted: it is read once, and the copy is checked. A broken other end can
 *    make this one see RAY_ERR_CORRUPT, rubbish within a message's bounds or no message; never more than that.
 *  - A message is sent whole or not at all, and received once, in order. One that is longer than a ring takes at once
 * is sent in parts, with nothing in between; the receiver has it when the last of them has come.
 *  - No wake-up is lost between two ends that keep the order of calls written here: who sleeps looks again after it has
 *    said so, who sends looks for sleepers after it has published.
 * There are no locks in here: callers bring one for each end's senders and one for its receivers. The memory-ordering
 * arguments stand at the heads of channel.c, bell.c and offer.c. */
#ifndef RAYI_RING_H
#define RAYI_RING_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct rayi_channel rayi_channel; /* one end */

enum {
    RAYI_RING_BYTES = 512 << 10,       /* each direction */
    RAYI_RING_MESSAGE_MAX = 128 << 10, /* bytes of a payload, or of a part of a long one */
    RAYI_RING_LONG_MAX = 64 << 20,     /* bytes of a long one that the node takes from a worker, all parts together */
    RAYI_OFFERS = 1024,
};

/* The node's end; NO_MEMORY, SYSTEM (last error). */
int rayi_channel_new(const rayi_memory *memory, rayi_channel **out);
/* The worker's end: takes over fd on success; CORRUPT when it is no channel of this version (size, seals, magic, layout
 * version), NO_MEMORY, SYSTEM. */
int rayi_channel_open(const rayi_memory *memory, int fd, rayi_channel **out);
int rayi_channel_fd(const rayi_channel *channel);
void rayi_channel_free(rayi_channel *channel); /* NULL: nothing */

/* ---- messages ---- */

/* Sending: one sender at a time (the caller's lock). Two parts are written behind each other; a size of 0 goes with any
 * pointer. Both together are at most RAYI_RING_MESSAGE_MAX; type is anything but UINT32_MAX. False: no room now,
 * nothing written. Publishing is a release store of the tail. Nobody is woken. */
bool rayi_channel_send(rayi_channel *channel, uint32_t type, const void *head, size_t head_size, const void *body,
                       size_t body_size);
/* The same of any size. *sent says how much of it has gone: 0 at first. False: no room for all that is left; called
 * again with the same bytes, later, and until it is true nothing else is sent. From a worker at most
 * RAYI_RING_LONG_MAX. */
bool rayi_channel_send_long(rayi_channel *channel, uint32_t type, const void *head, size_t head_size, const void *body,
                            size_t body_size, size_t *sent);
/* Room for a payload of so many bytes; a false counts as a send that found no room. */
bool rayi_channel_can_send(rayi_channel *channel, size_t size);

typedef struct rayi_received {
    uint32_t type;
    size_t size;
    const void
        *data; /* in a private buffer, good until the next receive; aligned to 64, that of a long message to 16 */
} rayi_received;

/* Receiving: one receiver at a time (the caller's lock). 1: a message, 0: none, negative: RAY_ERR_CORRUPT, for good, or
 * RAY_ERR_NO_MEMORY to put a long message together, and CORRUPT from then on. Frees the cells at once, those of parts
 * too, so 0 may have freed some. A sender that finds rubbish in the other end's counters has no other voice than this
 * one. */
int rayi_channel_receive(rayi_channel *channel, rayi_received *out);
/* One load of shared memory, no lock: from any thread. True also when receive would say CORRUPT. */
bool rayi_channel_has_mail(const rayi_channel *channel);

/* ---- bells, down ----
 * The worker's threads sleep on one word that counts up; the node's senders ring after they have sent. */

uint32_t rayi_channel_bell(const rayi_channel *channel); /* worker: read before the last look */
/* Worker: registers as a sleeper, passes a seq_cst fence, returns at once if the bell has moved or mail is there, else
 * sleeps (shared futex, CLOCK_MONOTONIC, absolute; INT64_MAX: no deadline) until it moves. False: deadline. May wake
 * for no reason. */
bool rayi_channel_sleep(rayi_channel *channel, uint32_t seen, int64_t deadline_ns);
/* Node, after sends: moves the bell and wakes all if somebody sleeps there; a fence and a load when nobody does. */
void rayi_channel_wake_worker(rayi_channel *channel);
/* Worker: moves the bell and wakes all sleepers of this end, whoever they are: for wake-ups inside the process. */
void rayi_channel_stir(rayi_channel *channel);

/* ---- bells, up ----
 * The node has one eventfd for all its workers (given by the caller); a worker writes to it only when the node sleeps
 * and nobody polls. */

void rayi_channel_poll_begin(rayi_channel *channel); /* node: a thread looks again and again (counted) */
void rayi_channel_poll_end(rayi_channel *channel);   /* and no longer: the caller looks once more AFTER this */
/* Node: about to sleep in its event loop; the caller looks once more AFTER this. */
void rayi_channel_arm(rayi_channel *channel);
/* Worker, after sends, and before it sleeps if it has received: seq_cst fence; if armed, nobody polls and mail of ours
 * is not received yet: disarms (exchange) and writes 1 to event_fd. Also if cells were freed since the node's last send
 * that found no room, whoever polls. False: the node cannot be woken, event_fd has been closed or replaced. */
bool rayi_channel_announce(rayi_channel *channel, int event_fd);

/* ---- room ---- */

/* A worker whose send found no room waits, without its senders' lock if it likes: rings event_fd whatever the arming
 * says, then sleeps (naps on the bell, at most 1 ms each) until there is room; false: deadline, or the node writes
 * rubbish. */
bool rayi_channel_wait_for_room(rayi_channel *channel, size_t size, int event_fd, int64_t deadline_ns);
/* Node, under its senders' lock, for one that keeps what it could not send: has the other end freed cells since a send
 * found no room? True at most once for each time it got false from send and cells were freed since. */
bool rayi_channel_wants_room(rayi_channel *channel);

/* ---- offers: the claim words ----
 * Slot numbers are the node's to give out; one that is RAYI_OFFERS or more is a bug of the caller. Any thread. */

enum {
    RAYI_OFFER_FREE = 0,
    RAYI_OFFER_MADE = 1,
    RAYI_OFFER_TAKEN = 2,
    RAYI_OFFER_REVOKED = 3,
    RAYI_OFFER_STATE = 3, /* mask; the flags: */
    RAYI_OFFER_CANCEL = 4,
    RAYI_OFFER_LATE = 8,
    RAYI_OFFER_ABANDONED = 16,
};

void rayi_offer_make(rayi_channel *channel, uint32_t slot, uint32_t generation); /* node: MADE, no flags, credit 0 */
bool rayi_offer_take(rayi_channel *channel, uint32_t slot,
                     uint32_t generation); /* worker: MADE to TAKEN, if it is that offer still; keeps the flags */
bool rayi_offer_revoke(rayi_channel *channel, uint32_t slot);              /* node: MADE to REVOKED */
void rayi_offer_flag(rayi_channel *channel, uint32_t slot, unsigned flag); /* node: or */
unsigned rayi_offer_look(const rayi_channel *channel, uint32_t slot);      /* either end: state and flags */
/* Node: so many stream items may have been yielded in all (only grows). The worker can write these words too: the node
 * counts what it gets. */
void rayi_offer_credit(rayi_channel *channel, uint32_t slot, uint64_t items);
uint64_t rayi_offer_credit_of(const rayi_channel *channel, uint32_t slot);

#endif
