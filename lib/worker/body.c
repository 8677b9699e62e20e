/* What the public calls ask of the node. A placement group is here a block that carries its number; it goes by
 * rayi_name_forget as records do. */
#include "worker/inside.h"

#include <string.h>

#define KV_INLINE_MAX ((size_t)64 << 10)

/* ---- names of actors and objects ---- */

static ray_actor *find_actor(rayi_thread *thread, const char *name)
{
    rayi_asking asking = {.brings_value = true};
    ray_actor *actor;
    rayi_writer writer;

    rayi_ask_begin(&writer, RAYI_ASK_ACTOR_GET);
    rayi_put_text(&writer, name);
    if (rayi_ask_wait(thread, &writer, &asking) < 0)
        return NULL;
    if (asking.value.kind != RAY_KIND_ACTOR) {
        rayi_result_drop(thread, &asking.value);
        (void)rayi_fail(RAY_ERR_CORRUPT, "the node's answer is no actor");
        return NULL;
    }
    memcpy(&actor, asking.value.bytes, sizeof actor);
    return actor;
}

/* The record that a reply brings; NULL: last error. */
static rayi_record *ask_ref(rayi_thread *thread, rayi_writer *writer)
{
    rayi_asking asking = {.brings_value = true};
    rayi_record *record;

    if (rayi_ask_wait(thread, writer, &asking) < 0)
        return NULL;
    if (asking.value.kind != RAY_KIND_REF) {
        rayi_result_drop(thread, &asking.value);
        (void)rayi_fail(RAY_ERR_CORRUPT, "the node's answer is no ref");
        return NULL;
    }
    memcpy(&record, asking.value.bytes, sizeof record);
    return record;
}

/* The bytes of the object that a reply brings, as a view that is obtained. */
static int ask_view(rayi_thread *thread, rayi_writer *writer, ray_view *out)
{
    rayi_record *record = ask_ref(thread, writer);
    ray_view view = {0};
    ray_value value = {.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view};
    int r;

    if (!record)
        return rayi_error_last_public()->code;
    r = rayi_record_get(thread, record, RAY_FOREVER, &value);
    rayi_record_unref(thread, record);
    if (r == 0)
        *out = view;
    return r;
}

/* Waits for the object here, so that the node need not. */
static int publish(rayi_thread *thread, const char *name, rayi_record *record, uint32_t copies)
{
    rayi_worker *worker = rayi_worker_of(thread);
    int r = rayi_record_get(thread, record, worker->timeout_ms, NULL);
    uint64_t number = r == 0 ? worker->port.name_record(&worker->port, thread, record) : 0;
    rayi_writer writer;

    if (!number)
        return rayi_error_last_public()->code;
    rayi_ask_begin(&writer, RAYI_ASK_PUBLISH);
    rayi_put_text(&writer, name);
    rayi_put_u64(&writer, number);
    rayi_put_u32(&writer, copies);
    return rayi_ask(thread, &writer);
}

static int ask_about(rayi_thread *thread, enum rayi_ask what, const char *text)
{
    rayi_writer writer;

    rayi_ask_begin(&writer, what);
    rayi_put_text(&writer, text);
    return rayi_ask(thread, &writer);
}

static int view_about(rayi_thread *thread, enum rayi_ask what, const char *text, ray_view *out)
{
    rayi_writer writer;

    rayi_ask_begin(&writer, what);
    rayi_put_text(&writer, text);
    return ask_view(thread, &writer, out);
}

static int unpublish(rayi_thread *thread, const char *name)
{
    return ask_about(thread, RAYI_ASK_UNPUBLISH, name);
}

static rayi_record *lookup(rayi_thread *thread, const char *name)
{
    rayi_record *record;
    rayi_writer writer;

    rayi_ask_begin(&writer, RAYI_ASK_LOOKUP);
    rayi_put_text(&writer, name);
    record = ask_ref(thread, &writer);
    return record ? record : rayi_object_failed_last(thread);
}

/* ---- key-value ---- */

static int kv_put(rayi_thread *thread, const char *key, const void *data, size_t size_bytes, unsigned flags)
{
    rayi_worker *worker = rayi_worker_of(thread);
    bool within = size_bytes <= KV_INLINE_MAX;
    rayi_record *object = within ? NULL : rayi_object_put(thread, data, size_bytes);
    uint64_t number = within ? 0 : worker->port.name_record(&worker->port, thread, object);
    rayi_writer writer;
    int r;

    rayi_ask_begin(&writer, RAYI_ASK_KV_PUT);
    rayi_put_text(&writer, key);
    rayi_put_u32(&writer, flags);
    rayi_put_u32(&writer, within ? (uint32_t)size_bytes : UINT32_MAX);
    if (within)
        rayi_put_bytes(&writer, data, size_bytes);
    else
        rayi_put_u64(&writer, number);
    if (within || number) {
        r = rayi_ask(thread, &writer);
    } else {
        r = rayi_error_last_public()->code;
        rayi_writer_fini(&writer);
    }
    if (object)
        rayi_record_unref(thread, object);
    return r;
}

static int kv_get(rayi_thread *thread, const char *key, ray_view *out)
{
    return view_about(thread, RAYI_ASK_KV_GET, key, out);
}

static int kv_del(rayi_thread *thread, const char *key)
{
    return ask_about(thread, RAYI_ASK_KV_DEL, key);
}

static int kv_list(rayi_thread *thread, const char *prefix, ray_view *out)
{
    return view_about(thread, RAYI_ASK_KV_LIST, prefix, out);
}

static int query(rayi_thread *thread, const char *text, ray_view *out)
{
    return view_about(thread, RAYI_ASK_STATE, text, out);
}

/* ---- placement groups ---- */

/* raylet has another struct of this name: a handle is used by the side that made it only. */
struct ray_placement_group {
    rayi_record head; /* refs are the handle's */
    uint64_t number;
};

uint64_t rayi_remote_group_number(const ray_placement_group *group)
{
    return group->number;
}

static ray_placement_group *ask_group(rayi_thread *thread, rayi_writer *writer)
{
    rayi_worker *worker = rayi_worker_of(thread);
    rayi_asking asking = {0};
    ray_placement_group *group;
    rayi_reader reader;

    if (rayi_ask_wait(thread, writer, &asking) < 0)
        return NULL;
    reader = rayi_reader_of(asking.data, asking.size);
    group = (ray_placement_group *)rayi_pool_alloc(thread, RAYI_ITEM, sizeof *group);
    if (!group) {
        rayi_free(asking.data);
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a placement group");
        return NULL;
    }
    group->number = rayi_take_u64(&reader);
    rayi_free(asking.data);
    if (rayi_record_set_number(thread, &group->head, group->number) &&
        rayi_name_add(worker, group->number, RAYI_SORT_GROUP, group) == 0)
        return group;
    rayi_record_unref(thread, &group->head);
    return NULL;
}

static ray_placement_group *group_new(rayi_thread *thread, const char *const *bundles, size_t count,
                                      const ray_placement_group_options *options)
{
    rayi_writer writer;

    if (count > UINT16_MAX) {
        (void)rayi_fail(RAY_ERR_ARGUMENT, "a placement group has 1 to 65,535 bundles, got %zu", count);
        return NULL;
    }
    rayi_ask_begin(&writer, RAYI_ASK_GROUP_NEW);
    rayi_put_u32(&writer, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        rayi_put_text(&writer, bundles[i]);
    rayi_put_text(&writer, options ? options->name : NULL);
    rayi_put_u32(&writer, options ? (uint32_t)options->strategy : RAY_PACK);
    rayi_put_u8(&writer, options && options->detached);
    return ask_group(thread, &writer);
}

static ray_placement_group *group_get(rayi_thread *thread, const char *name, const char *id)
{
    rayi_writer writer;

    rayi_ask_begin(&writer, RAYI_ASK_GROUP_GET);
    rayi_put_text(&writer, name);
    rayi_put_text(&writer, id);
    return ask_group(thread, &writer);
}

static rayi_record *group_ready(rayi_thread *thread, ray_placement_group *group)
{
    return rayi_group_item(thread, group->number);
}

static int group_remove(rayi_thread *thread, ray_placement_group *group)
{
    rayi_writer writer;

    rayi_ask_begin(&writer, RAYI_ASK_GROUP_REMOVE);
    rayi_put_u64(&writer, group->number);
    return rayi_ask(thread, &writer);
}

static rayi_record *group_record(ray_placement_group *group)
{
    return &group->head;
}

/* ---- the cluster ---- */

static ray_cluster *cluster(rayi_thread *thread)
{
    rayi_asking asking = {0};
    rayi_writer writer;
    rayi_reader reader;
    ray_cluster *taken;

    rayi_ask_begin(&writer, RAYI_ASK_CLUSTER);
    if (rayi_ask_wait(thread, &writer, &asking) < 0)
        return NULL;
    reader = rayi_reader_of(asking.data, asking.size);
    taken = rayi_take_cluster(&reader);
    rayi_free(asking.data);
    return taken;
}

static int drain(rayi_thread *thread, const char *node_id)
{
    return ask_about(thread, RAYI_ASK_DRAIN, node_id);
}

const rayi_body rayi_worker_body = {
    .find_actor = find_actor,
    .publish = publish,
    .unpublish = unpublish,
    .lookup = lookup,
    .kv_put = kv_put,
    .kv_get = kv_get,
    .kv_del = kv_del,
    .kv_list = kv_list,
    .group_new = group_new,
    .group_get = group_get,
    .group_ready = group_ready,
    .group_remove = group_remove,
    .group_record = group_record,
    .cluster = cluster,
    .query = query,
    .drain = drain,
};
