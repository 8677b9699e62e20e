/* The tables that users see: key-value and published objects. They are the head's; a node alone is its own. Here are
 * the calls, which put a question, and what the table's node answers; of published objects in published.c. */
#include "raylet/inside.h"

#include <string.h>

#define KEPT_PATIENCE_MS 1000 /* with the head, for the name of an object that is kept here */

int rayi_names_fail(int r, const char *what, const char *name)
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

/* ---- key-value: answers ---- */

static int kv_get(rayi_node *node, const char *key, rayi_writer *out)
{
    const void *data;
    size_t size;
    int r = rayi_gcs_kv_get(node->gcs, key, &data, &size);

    if (r == 0)
        rayi_put_bytes(out, data, size);
    return r;
}

static int kv_list(rayi_node *node, const char *prefix, rayi_writer *out)
{
    rayi_text keys;
    int r;

    rayi_text_init(&keys, rayi_heap);
    r = rayi_gcs_kv_list(node->gcs, prefix, &keys);
    if (r == 0)
        rayi_put_bytes(out, keys.data, keys.size);
    out->failed |= keys.failed;
    rayi_text_fini(&keys);
    return r;
}

static int kv(rayi_node *node, uint8_t op, rayi_reader *in, rayi_writer *out)
{
    const char *key = rayi_take_text(in);
    uint32_t flags = op == RAYI_OP_KV_PUT ? rayi_take_u32(in) : 0;
    int r;

    if (in->failed || !key)
        return rayi_fail(RAY_ERR_ARGUMENT, "a question about no key");
    r = op == RAYI_OP_KV_PUT   ? rayi_gcs_kv_put(node->gcs, key, in->at, rayi_reader_left(in), flags & RAY_KV_NEW)
        : op == RAYI_OP_KV_GET ? kv_get(node, key, out)
        : op == RAYI_OP_KV_DEL ? rayi_gcs_kv_del(node->gcs, key)
                               : kv_list(node, key, out);
    if (r == 0 && (op == RAYI_OP_KV_PUT || op == RAYI_OP_KV_DEL))
        rayi_keys_pump(node); /* before anybody hears of it */
    return r < 0 ? rayi_names_fail(r, op == RAYI_OP_KV_LIST ? "list of keys" : "key", key) : 0;
}

/* ---- answers ---- */

int rayi_tables_answer(rayi_node *node, uint8_t op, rayi_reader *in, rayi_writer *out, rayi_record **record)
{
    const char *ns, *name;

    if (op != RAYI_OP_LOOKUP && op != RAYI_OP_UNPUBLISH)
        return kv(node, op, in, out);
    ns = rayi_take_text(in);
    name = rayi_take_text(in);
    if (in->failed || !ns || !name)
        return rayi_fail(RAY_ERR_ARGUMENT, "a question about no name");
    return op == RAYI_OP_LOOKUP ? rayi_published_lookup(node, ns, name, record) : rayi_published_remove(node, ns, name);
}

/* ---- calls ---- */

typedef struct call {
    uint8_t op;
    const rayi_said *question;
    rayi_answer *answer;
    rayi_error *error;
} call;

static void on_answered(void *arg, const rayi_said *answer, rayi_error *error)
{
    call *c = arg;

    c->error = error ? rayi_error_ref(error) : rayi_answer_keep(c->answer, answer);
}

/* Where no other node has a part in it all of these are answered at once. */
static int serve_here(rayi_node *node, void *arg)
{
    call *c = arg;

    rayi_serve_local(node, c->op, c->question, on_answered, c);
    return c->error ? rayi_error_set_last(c->error) : 0;
}

static bool is_away(int code)
{
    return code == RAY_ERR_HEAD_UNREACHABLE || code == RAY_ERR_TIMEOUT || code == RAY_ERR_NODE_DIED;
}

static int ask(rayi_thread *thread, uint8_t op, rayi_writer *writer, rayi_record *record, rayi_answer *out)
{
    const rayi_said question = {.bytes = writer->data, .size = writer->size, .record = record};
    int r;

    *out = (rayi_answer){0};
    if (writer->failed)
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a question of %zu bytes", writer->size);
    else if (rayi_has_head_elsewhere(rayi_node_of(thread)) || (op == RAYI_OP_PUBLISH && rayi_node_of(thread)->cluster))
        r = rayi_head_ask(thread, op, &question, out);
    else
        r = rayi_node_ask(thread, serve_here, &(call){.op = op, .question = &question, .answer = out});
    if ((op == RAYI_OP_KV_GET || op == RAYI_OP_KV_LIST) && is_away(r) && rayi_has_head_elsewhere(rayi_node_of(thread)))
        r = rayi_keys_read_copy(thread, op, &question, out);
    rayi_writer_fini(writer);
    return r;
}

/* Nothing but that it is done. */
static int ask_for_nothing(rayi_thread *thread, uint8_t op, rayi_writer *writer, rayi_record *record)
{
    rayi_answer answer;
    int r = ask(thread, op, writer, record, &answer);

    rayi_answer_drop(thread, &answer);
    return r;
}

static int ask_view(rayi_thread *thread, uint8_t op, const char *key, ray_view *out)
{
    rayi_answer answer;
    rayi_writer writer;
    int r;

    rayi_writer_init(&writer);
    rayi_put_text(&writer, key);
    r = ask(thread, op, &writer, NULL, &answer);
    return r < 0 ? r : rayi_answer_view(thread, &answer, out);
}

int rayi_node_kv_put(rayi_thread *thread, const char *key, const void *data, size_t size_bytes, unsigned flags)
{
    rayi_writer writer;

    if (size_bytes > RAYI_GCS_VALUE_MAX)
        return rayi_names_fail(RAY_ERR_LIMIT, "key", key);
    rayi_writer_init(&writer);
    rayi_put_text(&writer, key);
    rayi_put_u32(&writer, flags);
    rayi_put_bytes(&writer, data, size_bytes);
    return ask_for_nothing(thread, RAYI_OP_KV_PUT, &writer, NULL);
}

int rayi_node_kv_get(rayi_thread *thread, const char *key, ray_view *out)
{
    return ask_view(thread, RAYI_OP_KV_GET, key, out);
}

int rayi_node_kv_del(rayi_thread *thread, const char *key)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_text(&writer, key);
    return ask_for_nothing(thread, RAYI_OP_KV_DEL, &writer, NULL);
}

int rayi_node_kv_list(rayi_thread *thread, const char *prefix, ray_view *out)
{
    return ask_view(thread, RAYI_OP_KV_LIST, prefix, out);
}

static void put_name(rayi_thread *thread, rayi_writer *writer, const char *name)
{
    rayi_writer_init(writer);
    rayi_put_text(writer, rayi_executor_ns(rayi_executor_of(thread)));
    rayi_put_text(writer, name);
}

int rayi_node_publish(rayi_thread *thread, const char *name, rayi_record *record, uint32_t copies)
{
    int64_t timeout_ms = rayi_executor_timeout_ms(rayi_executor_of(thread));
    rayi_writer writer;
    int r;

    r = rayi_record_get(thread, record, thread->never_waits ? 0 : timeout_ms, NULL);
    if (r < 0)
        return r;
    put_name(thread, &writer, name);
    rayi_put_u32(&writer, copies);
    return ask_for_nothing(thread, RAYI_OP_PUBLISH, &writer, record);
}

int rayi_node_unpublish(rayi_thread *thread, const char *name)
{
    rayi_writer writer;

    put_name(thread, &writer, name);
    return ask_for_nothing(thread, RAYI_OP_UNPUBLISH, &writer, NULL);
}

/* ---- looking up, which does not wait ---- */

typedef struct looking_up {
    rayi_message message;
    rayi_node *node;
    rayi_record *record; /* counted */
    rayi_writer writer;
} looking_up;

/* What this node keeps itself; NULL: nothing of that name. */
static rayi_record *kept_here(const looking_up *l)
{
    rayi_reader in = rayi_reader_of(l->writer.data, l->writer.size);
    const char *ns = rayi_take_text(&in), *name = rayi_take_text(&in);

    return in.failed || !ns || !name ? NULL : rayi_keep_lookup(l->node, ns, name);
}

static void found(void *arg, const rayi_said *answer, rayi_error *error)
{
    looking_up *l = arg;
    rayi_thread *thread = l->node->thread;
    rayi_record *record = !error ? answer->record : is_away(rayi_error_code(error)) ? kept_here(l) : NULL;

    if (error && !record)
        rayi_record_fail(thread, l->record, rayi_error_ref(error));
    else if (!record || !rayi_record_follow(thread, l->record, record))
        rayi_record_fail(thread, l->record, rayi_error_plain(RAY_ERR_NO_MEMORY));
    rayi_record_unref(thread, l->record);
    rayi_writer_fini(&l->writer);
    rayi_free(l);
}

/* For what is kept here the head is not waited for for long. */
static void look_up(rayi_node *node, rayi_message *message)
{
    looking_up *l = rayi_container_of(message, looking_up, message);
    const rayi_said question = {.bytes = l->writer.data, .size = l->writer.size};
    int64_t timeout_ms = rayi_executor_timeout_ms(node->executor);
    rayi_error *error = NULL;

    if (!l->writer.failed && kept_here(l)) {
        timeout_ms = RAYI_MIN(timeout_ms, KEPT_PATIENCE_MS);
        error = rayi_cluster_away(node->cluster);
    }
    if (!error && !l->writer.failed && rayi_head_ask_within(node, timeout_ms, RAYI_OP_LOOKUP, &question, found, l) == 0)
        return;
    if (!error)
        error = l->writer.failed ? rayi_error_plain(RAY_ERR_NO_MEMORY) : rayi_error_last();
    found(l, NULL, error);
    rayi_error_unref(error);
}

static rayi_record *look_up_later(rayi_thread *thread, const char *name)
{
    looking_up *l = rayi_alloc(sizeof *l);
    rayi_record *record = l ? rayi_record_new(thread) : NULL;

    if (!record) {
        rayi_free(l);
        return rayi_object_fixed(RAY_ERR_NO_MEMORY);
    }
    l->message.handle = look_up;
    l->node = rayi_node_of(thread);
    l->record = record;
    put_name(thread, &l->writer, name);
    rayi_record_ref(record);
    if (!rayi_loop_post(l->node, &l->message)) {
        rayi_record_fail(thread, record, rayi_error_plain(RAY_ERR_SHUTDOWN));
        rayi_record_unref(thread, record);
        rayi_writer_fini(&l->writer);
        rayi_free(l);
    }
    return record;
}

rayi_record *rayi_node_lookup(rayi_thread *thread, const char *name)
{
    rayi_answer answer;
    rayi_writer writer;
    rayi_record *record;

    if (rayi_has_head_elsewhere(rayi_node_of(thread)))
        return look_up_later(thread, name);
    put_name(thread, &writer, name);
    if (ask(thread, RAYI_OP_LOOKUP, &writer, NULL, &answer) < 0)
        return rayi_object_failed_last(thread);
    record = answer.object;
    answer.object = NULL;
    rayi_answer_drop(thread, &answer);
    return record;
}
