/* core: the ledger of tasks that others must know of (they wait for something, may be tried again, have a deadline),
 * the life of actors, and lineage. A brain: events in, actions out.
 *
 * Invariants: an entry gets exactly one END; a GIVE_BACK answers each grant; nothing is submitted while it is submitted
 * or granted. Calls that return int fail with RAY_ERR_NO_MEMORY and then have changed nothing; the others cannot fail.
 */
#ifndef RAYI_CORE_H
#define RAYI_CORE_H

#include "base/base.h"
#include "core/actor.h"
#include "core/lineage.h"

typedef struct rayi_ledger rayi_ledger;

/*  HELD ──ready──▶ WAITING ──granted──▶ GRANTED ──finished──▶ ENDED
 *   ▲                 ▲──── try again, returned ────┤
 *   └───────────────────── missing ─────────────────┘
 *  stopped, or the deadline over: HELD, WAITING ──▶ ENDED; of a granted one it is remembered until it finishes. */
typedef enum rayi_ledger_state {
    RAYI_LEDGER_HELD,    /* arguments missing */
    RAYI_LEDGER_WAITING, /* with the scheduler */
    RAYI_LEDGER_GRANTED, /* in a run queue, or running */
    RAYI_LEDGER_ENDED,   /* gone once its END is fetched */
} rayi_ledger_state;

typedef enum rayi_outcome {
    RAYI_OUTCOME_OK,
    RAYI_OUTCOME_FAILED,    /* by the user's function; tried again only with retry_failures */
    RAYI_OUTCOME_AGAIN,     /* the same, and it asked to be tried again itself, with or without */
    RAYI_OUTCOME_CRASHED,   /* what ran it broke; tried again while retries are left */
    RAYI_OUTCOME_CANCELLED, /* never tried again, as the rest */
    RAYI_OUTCOME_EXPIRED,   /* RAY_ERR_DEADLINE */
    RAYI_OUTCOME_REFUSED,   /* by the scheduler, or an argument failed: the body knows the error */
} rayi_outcome;

/* Is there another try after this outcome? asked_to_stop: it was cancelled, or its deadline is over. Counts *retries
 * (-1: for ever) down. A pure function, for whoever keeps the state. */
bool rayi_outcome_tries_again(rayi_outcome outcome, bool asked_to_stop, bool retry_failures, int32_t *retries);

typedef struct rayi_ledger_options {
    bool held; /* until rayi_ledger_ready */
    bool retry_failures;
    int32_t retries;     /* further tries; -1: for ever */
    int64_t deadline_ms; /* a moment, not a span; INT64_MAX: none */
} rayi_ledger_options;

int rayi_ledger_new(const rayi_memory *memory, rayi_ledger **out);
void rayi_ledger_free(rayi_ledger *ledger);

/* ---- events ---- */

/* id is of no other entry. A deadline that is over by now_ms ends it at once. */
int rayi_ledger_add(rayi_ledger *ledger, uint64_t id, const rayi_ledger_options *options, int64_t now_ms);
void rayi_ledger_ready(rayi_ledger *ledger, uint64_t id);   /* HELD: all arguments are there; nothing if it has ended */
void rayi_ledger_granted(rayi_ledger *ledger, uint64_t id); /* WAITING: the scheduler's GRANT */
/* GRANTED: this try is over. Of one that was cancelled or has expired meanwhile any failure becomes that outcome; a
 * success stays one. */
void rayi_ledger_finished(rayi_ledger *ledger, uint64_t id, rayi_outcome outcome);
/* GRANTED: it has not started where it was to run, and waits again; that was no try. */
void rayi_ledger_returned(rayi_ledger *ledger, uint64_t id);
/* GRANTED: an argument was lost before it started; that was no try. It is HELD until rayi_ledger_ready. */
void rayi_ledger_missing(rayi_ledger *ledger, uint64_t id);
/* HELD or WAITING: it cannot run (REFUSED). The scheduler does not have it. */
void rayi_ledger_refused(rayi_ledger *ledger, uint64_t id);
/* HELD, WAITING: ends as CANCELLED. GRANTED: is not tried again; the body asks the running one. False: unknown, or
 * ended. */
bool rayi_ledger_cancel(rayi_ledger *ledger, uint64_t id);
void rayi_ledger_tick(rayi_ledger *ledger, int64_t now_ms);
int64_t rayi_ledger_next_deadline(const rayi_ledger *ledger); /* INT64_MAX: none */

/* ---- actions ---- */

typedef enum rayi_ledger_do {                        /* of one entry they come in this order */
                              RAYI_LEDGER_WITHDRAW,  /* rayi_scheduler_remove: it is WAITING no more */
                              RAYI_LEDGER_GIVE_BACK, /* rayi_scheduler_finish */
                              RAYI_LEDGER_RETRY,     /* make the record ready for another try: attempt */
                              RAYI_LEDGER_SUBMIT,    /* rayi_scheduler_submit */
                              RAYI_LEDGER_RUN,       /* put it on a run queue: attempt */
                              RAYI_LEDGER_EXPIRE, /* granted and late: not started: finish it as EXPIRED; else ask it to
                                                     cancel */
                              RAYI_LEDGER_END,    /* complete it: outcome; the id is free again */
} rayi_ledger_do;

typedef struct rayi_ledger_action {
    rayi_ledger_do what;
    rayi_outcome outcome; /* END */
    uint64_t id;
    uint32_t attempt; /* from 0 */
} rayi_ledger_action;

bool rayi_ledger_next(rayi_ledger *ledger, rayi_ledger_action *out);

/* ---- for ray_state ---- */

bool rayi_ledger_get(const rayi_ledger *ledger, uint64_t id, rayi_ledger_state *state, uint32_t *attempt);
size_t rayi_ledger_count(const rayi_ledger *ledger, rayi_ledger_state state);

#endif
