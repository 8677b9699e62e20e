/* Nodes of a cluster for the measures that need one, each a process of its own: this program once more, as `bench_ray
   node ROLE ADDRESS RESOURCES FD`, which tells its address through the descriptor when it serves. They share a key of
   the bench's own ($BENCH_PLAIN: none), and die with the thread that started them. What fails ends the program. */
#ifndef CLUSTER_H
#define CLUSTER_H
#include "themes.h"

#include <sys/types.h>

enum { NODES_MOST = 12 };

struct node {
    pid_t pid; /* 0: killed */
    char address[64];
};

extern const char bench_key[];        /* of nobody's cluster but the bench's */
extern struct node nodes[NODES_MOST]; /* in the order of their start: the head first */
extern int num_nodes;

/* role: "head", at that address, or "worker" of the head at that one. Returns when it serves. */
struct node *start_node(const char *role, const char *address, const char *resources);
void kill_node(struct node *n); /* kill -9, and waits until it is gone */
const char *head_address(void);
void join_cluster(void); /* this process is a driver now */

/* A head without CPUs, so many workers with so much each, and this driver. */
void start_cluster(int workers, const char *resources);
void stop_cluster(void); /* the driver in order, the others not */
#endif
