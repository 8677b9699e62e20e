/* Nodes of a cluster for a sub-test, each a process of its own: this very program once more, which calls ray_init as it
 * is told and serves. At its orderly end a node is held to what a sub-test is held to (heap, threads, descriptors,
 * processes). What it logs is seen by the sub-test; a warning that was not expected of it fails the sub-test.
 *
 * All share a cluster key of the sub-test's own. They die with the thread that started them. One thread at a time. */
#ifndef NODES_H
#define NODES_H

#include "check.h"

typedef struct node node; /* stays until nodes_stop */

/* Each returns when it is up, and fails the sub-test when it cannot be; texts are copied. */
node *node_start(const ray_config *config);
node *node_start_as(const char *program, const ray_config *config); /* one with check_main, or NULL */
node *node_head(const char *resources);                             /* at a free port of 127.0.0.1, tasks in threads */
node *node_worker(const node *head, const char *resources);         /* tasks in threads */
/* A driver that submits so many tasks of that function, with their number from 0, and waits for its end. */
node *node_driver(const node *head, const char *function, unsigned count);
void nodes_join(const node *head); /* this process is a driver now */
/* It is what that says. As with all nodes here, the join may take so long that a warning is logged. With a timeout_ms
 * the join is tried again until it succeeds, as that is meant for what is asked later. */
void nodes_join_as(const ray_config *config);
void nodes_make_key(void); /* RAY_CLUSTER_KEY, unless it is set; the others do it, too */

void nodes_may_keep(void); /* those that are started from now on: as CHECK_KEEPS */

const char *node_address(const node *n);
const char *node_id(const node *n); /* as it was when it was started */
int64_t node_pid(const node *n);

void node_stop(node *n);   /* in order, SIGTERM; it must end well */
void node_kill(node *n);   /* kill -9, and waits until it is gone */
void node_pause(node *n);  /* SIGSTOP */
void node_resume(node *n); /* SIGCONT */
/* Waits until ray_serve returns that code there, with those words, and the process has ended well. */
void node_await_end(node *n, int code, const char *words, int64_t timeout_ms);

/* Waits for a warning of that node, and expects it from now on. */
void node_expect_log(node *n, const char *event, const char *part, int64_t timeout_ms);
void nodes_allow_log(const char *event, const char *part); /* of any node; it may come or not */

/* What the cluster's table says, for a sub-test that is a node: waits until so many nodes are in that state. */
void nodes_await(size_t count, ray_node_state state, int64_t timeout_ms);
double nodes_available(const char *resource); /* the cluster's; -1: it has none */
void nodes_await_available(const char *resource, double want);

/* Stops those that run, the last one first, clears away what killed ones left, and looks through all logs. */
void nodes_stop(void);

/* For check_main: this process is a node. */
int nodes_main(void);
#define NODES_ARGUMENT "--node"

#endif
