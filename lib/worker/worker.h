/* worker: the runtime inside a worker process. It runs what its node offers, and gives user code there the whole API.
 *
 * It owns the process's end of the channel, the names that both ends know (what each number stands for here, and how
 * often the node has counted it), the segments of the store that are mapped here, and the actor that lives here, if
 * one does. Invariants:
 *  - Nothing is ever queued in this process's lane: what is submitted is a stand-in that the node completes.
 *  - What a message names the node has been told of before, in an earlier message.
 *  - A task that was taken (rayi_offer_take) is answered with one RESULT; what was not taken is never answered.
 *  - Whoever waits receives: there is no thread whose absence could keep a message from being read.
 *  - The end of the socket is the end of the process.
 *
 * Locks, in this order: rx (who receives) → naming (who tells the node of a record, or of a function) → names (the
 * table) → far (segments, pins) → asks, queue → tx (who sends). tx is held while the ring is full: the node never waits
 * for a worker, so it goes on receiving. */
#ifndef RAYI_WORKER_H
#define RAYI_WORKER_H

#include "executor/executor.h"

/* Was this process started as a worker? RAY_WORKER_OF is in its environment. */
bool rayi_worker_is_one(void);
/* In the template of a node: what ray_template_fork says. In others 0. */
int rayi_worker_template_fork(void);
/* Joins its node: returns once the node has welcomed it. config is what main has given, and NULL is fine. NODE_DIED,
 * CORRUPT, VERSION, TIMEOUT, SYSTEM, NO_MEMORY, and EXISTS or TYPE for what was registered before. */
int rayi_worker_start(const ray_config *config, rayi_executor **out);
/* Serves on the calling thread until the node says that it is over; returns the exit code. */
int rayi_worker_run(void);

extern const rayi_body rayi_worker_body;

#endif
