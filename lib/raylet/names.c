/* The tables that users see: key-value and published objects. */
#include "raylet/inside.h"

#include <string.h>

/* ---- published objects ---- */

typedef struct publication {
    const char *name;
    rayi_record *record;
} publication;

static int fail(int r, const char *what, const char *name)
{
    switch (r) {
    case RAY_ERR_EXISTS:
        return rayi_fail(r, "%s %s exists already", what, name);
    case RAY_ERR_NOT_FOUND:
        return rayi_fail(r, "there is no %s %s", what, name);
    case RAY_ERR_LIMIT:
        return rayi_fail(r, "%s %.40s…: at most %d bytes of name and %d of value are possible", what, name,
                         RAYI_GCS_KEY_MAX, RAYI_GCS_VALUE_MAX);
    case RAY_ERR_NO_MEMORY:
        return rayi_fail(r, "out of memory: %s %s", what, name);
    default:
        return rayi_fail(r, "\"%s\" cannot be the name of a %s", name, what);
    }
}

static int publish(rayi_node *node, void *arg)
{
    publication *p = arg;
    int r =
        rayi_gcs_name_put(node->gcs, RAYI_NAME_OBJECT, rayi_executor_ns(node->executor), p->name, (uintptr_t)p->record);

    if (r < 0)
        return fail(r, "published object", p->name);
    rayi_record_ref(p->record);
    return 0;
}

static int lookup(rayi_node *node, void *arg)
{
    publication *p = arg;
    uint64_t id;
    int r = rayi_gcs_name_get(node->gcs, RAYI_NAME_OBJECT, rayi_executor_ns(node->executor), p->name, &id);

    if (r < 0)
        return fail(r, "published object", p->name);
    p->record = (rayi_record *)(uintptr_t)id;
    rayi_record_ref(p->record);
    return 0;
}

static int unpublish(rayi_node *node, void *arg)
{
    publication *p = arg;
    int r = lookup(node, p);

    if (r < 0)
        return r;
    (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_OBJECT, rayi_executor_ns(node->executor), p->name,
                            (uintptr_t)p->record);
    rayi_record_unref(node->thread, p->record); /* the lookup's */
    rayi_record_unref(node->thread, p->record); /* the table's */
    return 0;
}

int rayi_node_publish(rayi_thread *thread, const char *name, rayi_record *record, uint32_t copies)
{
    publication p = {.name = name, .record = record};

    if (copies > 1)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "%u copies of an object need as many nodes; this is one", copies);
    return rayi_node_ask(thread, publish, &p);
}

int rayi_node_unpublish(rayi_thread *thread, const char *name)
{
    return rayi_node_ask(thread, unpublish, &(publication){.name = name});
}

rayi_record *rayi_node_lookup(rayi_thread *thread, const char *name)
{
    publication p = {.name = name};

    return rayi_node_ask(thread, lookup, &p) == 0 ? p.record : rayi_object_failed_last(thread);
}

static void drop_row(void *arg, const rayi_gcs_name_row *row)
{
    rayi_node *node = arg;

    rayi_record_unref(node->thread, (rayi_record *)(uintptr_t)row->id);
}

void rayi_names_stop(rayi_node *node)
{
    (void)rayi_gcs_names(node->gcs, RAYI_NAME_OBJECT, drop_row, node);
}

/* ---- key-value ---- */

typedef struct pair {
    rayi_thread *thread;
    const char *key;
    const void *data;
    size_t size;
    unsigned flags;
    rayi_record *object; /* the answer */
} pair;

static int kv_put(rayi_node *node, void *arg)
{
    pair *p = arg;
    int r = rayi_gcs_kv_put(node->gcs, p->key, p->data, p->size, p->flags & RAY_KV_NEW);

    return r < 0 ? fail(r, "key", p->key) : 0;
}

static int kv_get(rayi_node *node, void *arg)
{
    pair *p = arg;
    const void *data;
    size_t size;
    int r = rayi_gcs_kv_get(node->gcs, p->key, &data, &size);

    if (r < 0)
        return fail(r, "key", p->key);
    p->object = rayi_object_put(node->thread, data, size);
    return 0;
}

static int kv_del(rayi_node *node, void *arg)
{
    pair *p = arg;
    int r = rayi_gcs_kv_del(node->gcs, p->key);

    return r < 0 ? fail(r, "key", p->key) : 0;
}

static int kv_list(rayi_node *node, void *arg)
{
    pair *p = arg;
    rayi_text keys;
    int r;

    rayi_text_init(&keys, rayi_heap);
    r = rayi_gcs_kv_list(node->gcs, p->key, &keys);
    if (r == 0 && !keys.failed)
        p->object = rayi_object_put(node->thread, keys.data ? keys.data : "", keys.size);
    else
        r = fail(RAY_ERR_NO_MEMORY, "list of keys", p->key);
    rayi_text_fini(&keys);
    return r;
}

/* The bytes of an object that holds an answer, as a view that is obtained. */
int rayi_answer_view(rayi_thread *thread, rayi_record *object, ray_view *out)
{
    ray_view view = {0};
    ray_value value = {.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view};
    int r = rayi_record_get(thread, object, 0, &value);

    rayi_record_unref(thread, object);
    if (r == 0)
        *out = view;
    return r;
}

static int ask_view(rayi_thread *thread, int (*fn)(rayi_node *node, void *arg), const char *key, ray_view *out)
{
    pair p = {.key = key};
    int r = rayi_node_ask(thread, fn, &p);

    return r < 0 ? r : rayi_answer_view(thread, p.object, out);
}

int rayi_node_kv_put(rayi_thread *thread, const char *key, const void *data, size_t size_bytes, unsigned flags)
{
    return rayi_node_ask(thread, kv_put, &(pair){.key = key, .data = data, .size = size_bytes, .flags = flags});
}

int rayi_node_kv_get(rayi_thread *thread, const char *key, ray_view *out)
{
    return ask_view(thread, kv_get, key, out);
}

int rayi_node_kv_del(rayi_thread *thread, const char *key)
{
    return rayi_node_ask(thread, kv_del, &(pair){.key = key});
}

int rayi_node_kv_list(rayi_thread *thread, const char *prefix, ray_view *out)
{
    return ask_view(thread, kv_list, prefix, out);
}
