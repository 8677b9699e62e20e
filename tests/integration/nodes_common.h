/* What the programs about clusters share: functions that every node knows, a ledger of outcomes, and looks at the
 * state. */
#ifndef INTEGRATION_NODES_H
#define INTEGRATION_NODES_H

#include "nodes.h"

#include <stdatomic.h>

/* In the page that all processes of a sub-test share. */
typedef struct nodes_page {
    atomic_int gate, started, stopped, failures, order;
    atomic_llong pid; /* of the process that runs a task */
    atomic_int runs[200000];
} nodes_page;
nodes_page *page(void);

RAY_REMOTE_DECLARE(int64_t, twice, (int64_t, x));
RAY_REMOTE_DECLARE(int64_t, own_pid);
RAY_REMOTE_DECLARE(const char *, own_node);
/* Counts that it ran, in the page. */
RAY_REMOTE_DECLARE(int64_t, count_run, (int64_t, nth));
/* Tells its process and waits for the gate to be at least so far open. */
RAY_REMOTE_DECLARE(int64_t, pass_gate, (int64_t, nth));
/* Goes on until it is asked to stop. */
RAY_REMOTE_DECLARE(int64_t, go_on, (int64_t, nth));

/* Takes count outcomes of count_run out of the set, each of which must be there, right, and there once. */
void collect(ray_waitset *set, int64_t count);
/* Submits count_run so often, into the set. */
void submit_counted(ray_waitset *set, int64_t first, int64_t count);

/* Whether that part is in what ray_state tells; waits until it is. */
bool state_has(const char *query, const char *part);
void await_state(const char *query, const char *part);
size_t count_in(const char *query, const char *part); /* how often it is there */
/* Waits until it is there so often: nodes that answer late are left out. */
void await_count(const char *query, const char *part, size_t count);

#endif
