/* Published objects that this node keeps, because the head says so (published.c). It holds the record, and the bytes as
 * if they were its own; under their name they are found here while the head is away. The head lets go of them.
 *
 * One that is to be kept waits until it is done, is looked for if its node has died meanwhile, and is brought. If it is
 * let go in between, it goes when that is over. */
#include "raylet/inside.h"

#include <string.h>

struct rayi_kept {
    UT_hash_handle hh; /* in node.kept, by number */
    uint64_t number;
    rayi_node *node;
    rayi_record *record; /* counted */
    rayi_reply_to to;
    rayi_waiter waiter;
    rayi_message message;
    rayi_finding finding;
    bool is_kept, is_let_go;
    char *ns, *name; /* behind it */
};
typedef struct rayi_kept kept;

rayi_record *rayi_keep_bytes_of(rayi_record *record)
{
    rayi_record *object = rayi_lineage_value(record);

    return object && rayi_object_block(object) ? object : NULL;
}

static kept *find(const rayi_node *node, uint64_t number)
{
    kept *k;

    HASH_FIND(hh, node->kept, &number, sizeof number, k);
    return k;
}

/* ---- its end ---- */

static void free_kept(kept *k)
{
    const rayi_memory *memory = rayi_heap;
    rayi_node *node = k->node;

    if (k->is_kept && rayi_has_head_elsewhere(node))
        (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_OBJECT, k->ns, k->name, (uintptr_t)k);
    HASH_DEL(node->kept, k);
    rayi_record_unref(node->thread, k->record);
    rayi_free(k);
}

static void fail(kept *k, rayi_error *error)
{
    rayi_reply(k->node, &k->to, NULL, error);
    free_kept(k);
}

static void fail_last(kept *k)
{
    rayi_error *error = rayi_error_last();

    fail(k, error);
    rayi_error_unref(error);
}

static void refuse_late(kept *k)
{
    (void)rayi_fail(RAY_ERR_CANCELLED, "it was let go meanwhile");
    fail_last(k);
}

static void let_go(kept *k)
{
    k->is_let_go = true;
    if (k->is_kept)
        free_kept(k);
    else if (rayi_record_unwatch(k->record, &k->waiter))
        refuse_late(k);
}

void rayi_keep_stop(rayi_node *node)
{
    kept *k, *next;

    HASH_ITER (hh, node->kept, k, next)
        let_go(k);
}

/* ---- keeping ---- */

/* At the head the name is that of the object itself. */
static int enter_name(kept *k)
{
    rayi_node *node = k->node;
    int r = rayi_has_head_elsewhere(node) ? rayi_gcs_name_put(node->gcs, RAYI_NAME_OBJECT, k->ns, k->name, (uintptr_t)k)
                                          : 0;

    return r < 0 ? rayi_names_fail(r, "published object", k->name) : 0;
}

static void finish(kept *k)
{
    rayi_record *object = rayi_keep_bytes_of(k->record);
    rayi_node *node = k->node;
    rayi_writer writer;

    if (k->is_let_go) {
        refuse_late(k);
        return;
    }
    if (enter_name(k) < 0) {
        fail_last(k);
        return;
    }
    k->is_kept = true;
    rayi_writer_init(&writer);
    if (object && node->cluster)
        rayi_cluster_put_kept(node->cluster, &writer, object);
    rayi_reply(node, &k->to, &(rayi_said){.bytes = writer.data, .size = writer.failed ? 0 : writer.size}, NULL);
    rayi_writer_fini(&writer);
}

static void on_brought(void *arg, rayi_error *error)
{
    kept *k = arg;

    if (error)
        fail(k, error);
    else
        finish(k);
}

static void on_found(rayi_node *node, rayi_finding *finding, rayi_error *error)
{
    kept *k = rayi_container_of(finding, kept, finding);
    int r;

    if (error) {
        fail(k, error);
        return;
    }
    r = k->is_let_go ? 1 : rayi_cluster_keep(node->cluster, rayi_keep_bytes_of(k->record), on_brought, k);
    if (r < 0)
        fail_last(k);
    else if (r > 0)
        finish(k);
}

static void done(rayi_node *node, rayi_message *message)
{
    kept *k = rayi_container_of(message, kept, message);
    rayi_error *error = rayi_record_content(k->record).error;
    rayi_record *object = rayi_keep_bytes_of(k->record);

    if (error)
        fail(k, error);
    else if (object && node->cluster && !k->is_let_go)
        rayi_lineage_find(node, object, 0, &k->finding);
    else
        finish(k);
}

static void fire(rayi_thread *thread, rayi_waiter *waiter)
{
    kept *k = rayi_container_of(waiter, kept, waiter);

    (void)thread;
    (void)rayi_loop_post(k->node, &k->message); /* a loop that has ended lets go of all before */
}

/* ---- what the head says ---- */

/* NULL: last error. */
static kept *make(rayi_node *node, const rayi_reply_to *to, const rayi_said *question)
{
    const rayi_memory *memory = rayi_heap;
    rayi_reader in = rayi_reader_of(question->bytes, question->size);
    uint64_t number = rayi_take_u64(&in);
    const char *ns = rayi_take_text(&in), *name = rayi_take_text(&in);
    kept *k = NULL;

    if (in.failed || !ns || !name || !question->record || !rayi_is_of_head(node, to) || find(node, number)) {
        (void)rayi_fail(RAY_ERR_ARGUMENT, "no object that could be kept");
        return NULL;
    }
    k = rayi_zalloc(sizeof *k + strlen(ns) + strlen(name) + 2);
    if (k) {
        k->number = number;
        HASH_ADD(hh, node->kept, number, sizeof k->number, k);
    }
    if (!k || !k->hh.tbl) {
        rayi_free(k);
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: published object %s", name);
        return NULL;
    }
    k->node = node;
    k->to = *to;
    k->waiter.fire = fire;
    k->message.handle = done;
    k->finding.found = on_found;
    k->ns = strcpy((char *)(k + 1), ns);
    k->name = strcpy(k->ns + strlen(ns) + 1, name);
    k->record = question->record;
    rayi_record_ref(k->record);
    return k;
}

void rayi_keep_serve(rayi_node *node, const rayi_reply_to *to, const rayi_said *question)
{
    kept *k = make(node, to, question);

    if (!k)
        rayi_reply_last(node, to);
    else if (!rayi_record_watch(k->record, &k->waiter))
        done(node, &k->message);
}

int rayi_keep_let_go(rayi_node *node, const rayi_reply_to *to, rayi_reader *in)
{
    uint64_t number = rayi_take_u64(in);
    kept *k = in->failed || !rayi_is_of_head(node, to) ? NULL : find(node, number);

    if (k && !k->is_let_go)
        let_go(k);
    return 0;
}

/* ---- by name, while the head is away ---- */

rayi_record *rayi_keep_lookup(rayi_node *node, const char *ns, const char *name)
{
    uint64_t id;

    if (!rayi_has_head_elsewhere(node) || rayi_gcs_name_get(node->gcs, RAYI_NAME_OBJECT, ns, name, &id) < 0)
        return NULL;
    return ((const kept *)(uintptr_t)id)->record;
}
