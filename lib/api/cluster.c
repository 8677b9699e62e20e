#include "api/api.h"

const ray_context *ray_context_get(void)
{
    static const ray_context nowhere = {.size = sizeof(ray_context)};
    rayi_thread *thread = rayi_enter();

    return thread ? rayi_frame_context(thread) : &nowhere;
}

ray_cluster *ray_cluster_get(void)
{
    rayi_thread *thread = rayi_enter();

    return thread ? rayi_body_now()->cluster(thread) : NULL;
}

void ray_cluster_free(ray_cluster *cluster)
{
    if (!rayi_in_forked_child())
        rayi_snapshot_free(cluster);
}

int ray_state(const char *query, ray_view *out)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(query, "ray_state", "a query") ||
        !rayi_check_pointer(out, "ray_state", "a place for the view"))
        return rayi_error_last_public()->code;
    return rayi_body_now()->query(thread, query, out);
}

int ray_node_drain(const char *node_id)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(node_id, "ray_node_drain", "the id of a node"))
        return rayi_error_last_public()->code;
    return rayi_body_now()->drain(thread, node_id);
}

/* ---- placement groups ---- */

ray_placement_group *ray_placement_group_new(const char *const *bundles, size_t count,
                                             const ray_placement_group_options *options)
{
    rayi_thread *thread = rayi_enter();
    ray_placement_group_options room;

    if (!thread || !rayi_check_pointer((const void *)bundles, "ray_placement_group_new", "bundles"))
        return NULL;
    return rayi_body_now()->group_new(thread, bundles, count, rayi_full_options(options, &room, sizeof room));
}

ray_placement_group *ray_placement_group_get(const char *name)
{
    rayi_thread *thread = rayi_enter();
    const char *own = thread && !name ? rayi_frame_context(thread)->group_id : NULL;

    if (!thread || (!own && !rayi_check_pointer(name, "ray_placement_group_get",
                                                "a name (NULL is for what runs in a placement group)")))
        return NULL;
    return rayi_body_now()->group_get(thread, name, own);
}

static bool check_group(rayi_thread *thread, ray_placement_group *group, const char *call)
{
    if (!group)
        return rayi_check_pointer(group, call, "a placement group");
    return rayi_check_ref(thread, rayi_body_now()->group_record(group), call);
}

ray_ref *ray_placement_group_ready(ray_placement_group *group)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !check_group(thread, group, "ray_placement_group_ready"))
        return rayi_failed_ref();
    return rayi_body_now()->group_ready(thread, group);
}

int ray_placement_group_remove(ray_placement_group *group)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !check_group(thread, group, "ray_placement_group_remove"))
        return rayi_error_last_public()->code;
    return rayi_body_now()->group_remove(thread, group);
}

void ray_placement_group_release(ray_placement_group *group)
{
    rayi_drop(group ? rayi_body_now()->group_record(group) : NULL);
}

/* ---- key-value ---- */

static rayi_thread *enter_with_key(const char *key, const char *call)
{
    rayi_thread *thread = rayi_enter();

    return thread && rayi_check_pointer(key, call, "a key") ? thread : NULL;
}

int ray_kv_put(const char *key, const void *data, size_t size_bytes, unsigned flags)
{
    rayi_thread *thread = enter_with_key(key, "ray_kv_put");

    if (!thread || (size_bytes > 0 && !rayi_check_pointer(data, "ray_kv_put", "data")))
        return rayi_error_last_public()->code;
    if (flags & ~RAY_KV_NEW)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_kv_put: unknown flags 0x%x", flags);
    return rayi_body_now()->kv_put(thread, key, data, size_bytes, flags);
}

int ray_kv_get(const char *key, ray_view *out)
{
    rayi_thread *thread = enter_with_key(key, "ray_kv_get");

    if (!thread || !rayi_check_pointer(out, "ray_kv_get", "a place for the view"))
        return rayi_error_last_public()->code;
    return rayi_body_now()->kv_get(thread, key, out);
}

int ray_kv_del(const char *key)
{
    rayi_thread *thread = enter_with_key(key, "ray_kv_del");

    return thread ? rayi_body_now()->kv_del(thread, key) : rayi_error_last_public()->code;
}

int ray_kv_list(const char *prefix, ray_view *out)
{
    rayi_thread *thread = enter_with_key(prefix, "ray_kv_list");

    if (!thread || !rayi_check_pointer(out, "ray_kv_list", "a place for the view"))
        return rayi_error_last_public()->code;
    return rayi_body_now()->kv_list(thread, prefix, out);
}
