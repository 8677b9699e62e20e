/* body: what the public calls ask of whoever is behind this process: the node in it, or, in a worker process, the node
 * that started it. Part of the door executor/executor.h. Functions as their namesakes in include/ray; each waits for an
 * answer. NULL and negative codes leave a last error. */
#ifndef RAYI_EXECUTOR_BODY_H
#define RAYI_EXECUTOR_BODY_H

#include "lane/lane.h"

#include <ray/ray.h>

typedef struct rayi_body {
    ray_actor *(*find_actor)(rayi_thread *thread, const char *name);
    int (*publish)(rayi_thread *thread, const char *name, rayi_record *record, uint32_t copies);
    int (*unpublish)(rayi_thread *thread, const char *name);
    rayi_record *(*lookup)(rayi_thread *thread, const char *name);
    int (*kv_put)(rayi_thread *thread, const char *key, const void *data, size_t size_bytes, unsigned flags);
    int (*kv_get)(rayi_thread *thread, const char *key, ray_view *out);
    int (*kv_del)(rayi_thread *thread, const char *key);
    int (*kv_list)(rayi_thread *thread, const char *prefix, ray_view *out);
    ray_placement_group *(*group_new)(rayi_thread *thread, const char *const *bundles, size_t count,
                                      const ray_placement_group_options *options);
    ray_placement_group *(*group_get)(rayi_thread *thread, const char *name, const char *id); /* one of them */
    rayi_record *(*group_ready)(rayi_thread *thread, ray_placement_group *group);
    int (*group_remove)(rayi_thread *thread, ray_placement_group *group);
    rayi_record *(*group_record)(
        ray_placement_group *group);              /* the block behind it, which carries the handle's counts */
    ray_cluster *(*cluster)(rayi_thread *thread); /* freed with rayi_free */
    int (*query)(rayi_thread *thread, const char *query, ray_view *out);
    int (*drain)(rayi_thread *thread, const char *node_id);
} rayi_body;

#endif
