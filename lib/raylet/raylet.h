/* raylet: the body of a node. One event loop carries what the brains (ledger, scheduler, tables) say to the hands and
 * back; it is a thread that starts with the first thing it is needed for.
 *
 * It owns the brains: the loop's thread alone touches them. Others post messages; a call that needs an answer
 * (rayi_node_ask) waits for the loop, some ten microseconds. A task the lane cannot place has an escape here, an actor
 * with a name or resources a place: both are written by the submitting thread until their first message and by the loop
 * afterwards, but for what is marked atomic. Invariant: each posted message is handled before the loop ends, and a node
 * goes with the lane of its executor (executor.h). */
#ifndef RAYI_RAYLET_H
#define RAYI_RAYLET_H

#include "executor/executor.h"

typedef struct rayi_node rayi_node;

extern const rayi_body rayi_node_body; /* what this node answers, for lib/api and for worker processes */

/* Starts a node in this process, and joins the cluster that the configuration names: ARGUMENT, UNSUPPORTED, NO_MEMORY,
 * SYSTEM, EXISTS, TYPE, LIMIT, those of rayi_join. on_ended: it is out of the cluster, on the loop; must not wait. */
int rayi_node_new(const ray_config *config, void (*on_ended)(const rayi_error *why), rayi_node **out);
ray_role rayi_node_role(const ray_config *config); /* what it says, or the environment does */
/* Ends all work and the loop; returns when no thread of the node is left. Calls that come in fail with SHUTDOWN. */
void rayi_node_stop(rayi_node *node);
/* Gives the stopped node up and detaches the calling thread. What is still held keeps its memory. */
void rayi_node_close(rayi_node *node);
rayi_executor *rayi_node_executor(rayi_node *node);

ray_actor *rayi_node_find_actor(rayi_thread *thread, const char *name); /* obtained; NULL: last error */

int rayi_node_publish(rayi_thread *thread, const char *name, rayi_record *record, uint32_t copies);
int rayi_node_unpublish(rayi_thread *thread, const char *name);
rayi_record *rayi_node_lookup(rayi_thread *thread, const char *name);

int rayi_node_kv_put(rayi_thread *thread, const char *key, const void *data, size_t size_bytes, unsigned flags);
int rayi_node_kv_get(rayi_thread *thread, const char *key, ray_view *out);
int rayi_node_kv_del(rayi_thread *thread, const char *key);
int rayi_node_kv_list(rayi_thread *thread, const char *prefix, ray_view *out);

ray_placement_group *rayi_group_new(rayi_thread *thread, const char *const *bundles, size_t count,
                                    const ray_placement_group_options *options);            /* NULL: last error */
ray_placement_group *rayi_group_get(rayi_thread *thread, const char *name, const char *id); /* of that name, or id */
rayi_record *rayi_group_ready(rayi_thread *thread, ray_placement_group *group);
int rayi_group_remove(rayi_thread *thread, ray_placement_group *group);
rayi_record *rayi_group_record(ray_placement_group *group); /* the block behind it, which carries the handle's counts */

ray_cluster *rayi_node_cluster(rayi_thread *thread); /* NULL: last error */
void rayi_snapshot_free(ray_cluster *cluster);
int rayi_node_query(rayi_thread *thread, const char *query, ray_view *out);
int rayi_node_drain(rayi_thread *thread, const char *node_id);

#endif
