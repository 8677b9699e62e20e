/* events: a bounded record of what ran of late: which function, when, where, and what it came to. Part of the door
 * executor.h.
 *
 * Any thread puts, any thread looks, nobody waits: what is put goes over the oldest, and who looks passes over what is
 * being written. Memory for a part of the record is taken when its first event comes. */
#ifndef RAYI_EXECUTOR_EVENTS_H
#define RAYI_EXECUTOR_EVENTS_H

#include "base/base.h"

#define RAYI_EVENT_NAME_MAX 39

enum rayi_event_kind { RAYI_EVENT_TASK, RAYI_EVENT_CREATION, RAYI_EVENT_CALL };
/* LATER: it has returned, its result came after that (ray_complete_later). */
enum rayi_event_outcome { RAYI_EVENT_OK, RAYI_EVENT_FAILED, RAYI_EVENT_CANCELLED, RAYI_EVENT_LATER };

/* One run, from its arguments to its return. */
typedef struct rayi_event {
    int64_t started_ns, ended_ns;           /* in rayi_now_ns terms */
    const char *name;                       /* must stay as long as the record */
    char own_name[RAYI_EVENT_NAME_MAX + 1]; /* what it was submitted as, cut; "": it has no other */
    uint64_t number;                        /* what its id is made of; 0: nobody has asked for one */
    uint64_t actor;                         /* the actor's; 0: none */
    uint32_t attempt;                       /* earlier tries of a task; of an actor's: earlier lives */
    uint32_t pid;                           /* of the worker process; 0: a thread of the node */
    uint32_t thread;                        /* in there, from 0 */
    uint8_t kind, outcome;
} rayi_event;

typedef struct rayi_events rayi_events;

/* Keeps about so many (at most 2^24), for so many threads that put most of the time. NULL: no memory. */
rayi_events *rayi_events_new(uint64_t count, uint32_t threads);
void rayi_events_free(rayi_events *events); /* nobody puts or looks any more; takes NULL */

/* writer: any number; threads with different ones seldom meet. Out of memory the event is lost. */
void rayi_events_put(rayi_events *events, uint32_t writer, const rayi_event *event);

/* The next one at or behind *position (0: from the beginning), which goes behind it; false: there is none, for now. Of
 * each writer the oldest comes first, and none comes twice. */
bool rayi_events_next(rayi_events *events, uint64_t *position, rayi_event *out);

typedef struct rayi_events_counts {
    uint64_t put, lost; /* since the beginning; the lost are among the put, and there is nothing to look at any more */
} rayi_events_counts;
rayi_events_counts rayi_events_count(rayi_events *events);

#endif
