/* membership: a node's side of members.h. Part of the door gcs/gcs.h. A brain.
 *
 *   JOINING ──accepted──▶ MEMBER ──expired──▶ PARKED        any but OUT ──refused, left, gave up, ended──▶ OUT
 *      ▲                    ▲──granted, accepted──┘
 *      └──discarded── FENCED ◀──fenced── JOINING, MEMBER, PARKED
 *
 * A MEMBER holds a lease: it may act in the cluster's name until RAYI_LEASE_MS after it asked for the latest that was
 * granted. now_ms is a clock that does not go back and that counts the time in which the machine was suspended: one
 * that stops then would let a node believe in a lease that the head no longer does.
 *
 * It keeps a copy of the table. What comes by bus may be lost, doubled, late or in disorder: what does not follow on
 * what is there is pulled from the head, by link. Of another cluster, or an earlier head than the latest known, nothing
 * is taken. */
#ifndef RAYI_GCS_MEMBERSHIP_H
#define RAYI_GCS_MEMBERSHIP_H

#include "gcs/members.h"

#define RAYI_RENEW_MS     2000  /* a lease is asked for so often */
#define RAYI_BEAT_MS      350   /* it says something at least so often */
#define RAYI_TELL_MS      1000  /* its load at most so often */
#define RAYI_HANGUP_MS    4000  /* of a silent head's link */
#define RAYI_PATIENCE_MS  15000 /* with a former life of this node that is not dead yet */
#define RAYI_SPREAD_MS    1000  /* at most, over which nodes spread what all of them do at once */
#define RAYI_DIAL_MOST_MS 1000  /* between two dials */

typedef enum rayi_membership_state {
    RAYI_MEMBERSHIP_JOINING,
    RAYI_MEMBERSHIP_MEMBER,
    RAYI_MEMBERSHIP_PARKED, /* its lease has run out */
    RAYI_MEMBERSHIP_FENCED, /* it was declared dead: its state is to be discarded */
    RAYI_MEMBERSHIP_OUT,    /* for good */
} rayi_membership_state;

typedef enum rayi_membership_event {
    RAYI_MEMBERSHIP_ON_ACCEPTED,
    RAYI_MEMBERSHIP_ON_GRANTED,
    RAYI_MEMBERSHIP_ON_EXPIRED,
    RAYI_MEMBERSHIP_ON_FENCED,
    RAYI_MEMBERSHIP_ON_DISCARDED,
    RAYI_MEMBERSHIP_ON_END, /* refused, left, gave up, or the head has ended */
} rayi_membership_event;

/* Illegal pairs assert. */
rayi_membership_state rayi_membership_next_state(rayi_membership_state state, rayi_membership_event event);

typedef struct rayi_membership rayi_membership;

typedef struct rayi_membership_options {
    const rayi_member *node; /* what it proposes; life and incarnation are not read */
    const char *head;        /* its address, for words */
    rayi_cluster_id cluster; /* none: whichever it is */
    uint64_t seed;           /* random: lives and jitter follow from it */
    int64_t give_up_ms;      /* without a head; 0: never */
} rayi_membership_options;

/* Everything is copied. ARGUMENT (the node is not sound), NO_MEMORY */
int rayi_membership_new(const rayi_memory *memory, const rayi_membership_options *options, int64_t now_ms,
                        rayi_membership **out);
void rayi_membership_free(rayi_membership *membership);

/* ---- events ---- */

void rayi_membership_linked(rayi_membership *membership, int64_t now_ms); /* after a DIAL */
/* The dial failed, or the link is closed. */
void rayi_membership_unlinked(rayi_membership *membership, const char *reason, int64_t now_ms);
void rayi_membership_heard(rayi_membership *membership, int64_t now_ms); /* any byte, by link */
/* A message, by link. ARGUMENT: no such message comes from a head, or a table is malformed; NO_MEMORY: it will ask
 * again. */
int rayi_membership_take(rayi_membership *membership, const rayi_member_message *message, int64_t now_ms);
int rayi_membership_hint(rayi_membership *membership, const void *bytes, size_t size, int64_t now_ms); /* by bus */
void rayi_membership_spoke(rayi_membership *membership, int64_t now_ms); /* other bytes went to the head: no beat */
/* In the order of the node's resources. */
void rayi_membership_load(rayi_membership *membership, uint32_t load, const int64_t *available, int64_t now_ms);
void rayi_membership_discarded(rayi_membership *membership, int64_t now_ms); /* after FENCED */
void rayi_membership_leave(rayi_membership *membership, int64_t now_ms);
void rayi_membership_tick(rayi_membership *membership, int64_t now_ms);
int64_t rayi_membership_next_deadline(const rayi_membership *membership); /* INT64_MAX: none */

/* ---- actions ---- */

typedef enum rayi_membership_do {
    RAYI_MEMBERSHIP_PARK,        /* no lease: restartable and named actors stop, their replies are held */
    RAYI_MEMBERSHIP_FENCE,       /* discard all state, then say so: rayi_membership_discarded */
    RAYI_MEMBERSHIP_SEND,        /* message, by link */
    RAYI_MEMBERSHIP_HANG_UP,     /* close the link, if there is one, and do not report that; words say why */
    RAYI_MEMBERSHIP_END,         /* it is OUT: end, words */
    RAYI_MEMBERSHIP_JOINED,      /* as this incarnation, and not parked */
    RAYI_MEMBERSHIP_UNPARK,      /* go on, send what was held */
    RAYI_MEMBERSHIP_DRAIN,       /* take no new work; leave when the rest is done */
    RAYI_MEMBERSHIP_DIAL,        /* then linked or unlinked */
    RAYI_MEMBERSHIP_UNREACHABLE, /* words, for the log and for who waits */
    RAYI_MEMBERSHIP_CHANGED,     /* another node: id, incarnation, state, cause */
} rayi_membership_do;

typedef enum rayi_membership_end {
    RAYI_MEMBERSHIP_REFUSED, /* refusal says why */
    RAYI_MEMBERSHIP_GAVE_UP,
    RAYI_MEMBERSHIP_LEFT,
    RAYI_MEMBERSHIP_ENDED, /* the head has said good-bye */
} rayi_membership_end;

typedef struct rayi_membership_action {
    rayi_membership_do what;
    rayi_membership_end end;
    rayi_refusal refusal;
    uint64_t incarnation;
    const rayi_member_message *message; /* lent until the next call, as words */
    const char *words;
    rayi_node_id id;
    rayi_node_state state;
    rayi_death cause;
} rayi_membership_action;

/* PARK comes before everything else. Of an incarnation of a node that was told of, DEAD is told before another. */
bool rayi_membership_next(rayi_membership *membership, int64_t now_ms, rayi_membership_action *out);

/* ---- what there is ---- */

/* May it act in the cluster's name now? The exact moment; PARK and UNPARK follow. */
bool rayi_membership_may_act(const rayi_membership *membership, int64_t now_ms);
int64_t
rayi_membership_lease_ms(const rayi_membership *membership); /* until when; INT64_MAX: it holds none to act by */
rayi_membership_state rayi_membership_state_of(const rayi_membership *membership);
uint64_t rayi_membership_incarnation(const rayi_membership *membership); /* 0: none */
uint64_t rayi_membership_generation(const rayi_membership *membership);  /* of the latest head; 0: none */
uint64_t rayi_membership_version(const rayi_membership *membership);     /* of the copy */
const rayi_roster *rayi_membership_roster(const rayi_membership *membership);
/* "cannot reach head at A: REASON (tried for T)"; NULL: it is reached. Lent until the next call. */
const char *rayi_membership_why(rayi_membership *membership, int64_t now_ms);

#endif
