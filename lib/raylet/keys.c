/* The key-value table in a cluster: it is the head's, and has copies on two other nodes, from which it is read while
 * the head is away. These are the two that have been in the cluster longest, as everybody's table of nodes says, so
 * nobody has to be told who they are; drivers, and who is being drained, are none.
 *
 * The head sends what has changed, one message at a time to each, the next when that was taken. So what a node hears of
 * the head behind a change, its copy has. */
#include "raylet/inside.h"

#include <string.h>

#define CHUNK_BYTES ((size_t)1 << 20)
#define TAKE_MS     INT64_C(60000)
#define AGAIN_MS    1000          /* after one that could not take it */
#define PATIENCE_MS INT64_C(1000) /* with one that is asked, before the other one is */

enum { MORE = 1, NONE = 2 }; /* what a COPY says: u8 this; MORE: as rayi_gcs_kv_since */

/* ---- who they are ---- */

static void add_member(void *arg, const rayi_member *member)
{
    rayi_key_copies *c = arg;
    rayi_key_copier m = {.id = member->id, .incarnation = member->incarnation};
    uint32_t i;

    if (member->state == RAYI_NODE_DEAD ||
        (member->flags & (RAYI_MEMBER_HEAD | RAYI_MEMBER_DRIVER | RAYI_MEMBER_DRAINED)))
        return;
    for (i = c->count; i > 0 && c->items[i - 1].incarnation > m.incarnation; i--)
        if (i < RAYI_KEY_COPIES)
            c->items[i] = c->items[i - 1];
    if (i < RAYI_KEY_COPIES) {
        c->items[i] = m;
        c->count = RAYI_MIN(c->count + 1, (uint32_t)RAYI_KEY_COPIES);
    }
}

/* Those that stay go on where they were. */
void rayi_keys_changed(rayi_node *node)
{
    rayi_key_copies now = {0};

    rayi_roster_each(rayi_cluster_roster(node->cluster), add_member, &now);
    for (uint32_t i = 0; i < now.count; i++)
        for (uint32_t j = 0; j < node->copies.count; j++)
            if (node->copies.items[j].incarnation == now.items[i].incarnation)
                now.items[i] = node->copies.items[j];
    node->copies = now;
    rayi_keys_pump(node);
}

static rayi_key_copier *find_copier(rayi_node *node, uint64_t incarnation)
{
    for (uint32_t i = 0; i < node->copies.count; i++)
        if (node->copies.items[i].incarnation == incarnation)
            return &node->copies.items[i];
    return NULL;
}

/* ---- the head ---- */

typedef struct sending {
    rayi_node *node;
    uint64_t incarnation;
} sending;

static void begin_anew(rayi_node *node, rayi_key_copier *c)
{
    c->cursor = (rayi_gcs_cursor){0};
    c->was_dropped = false;
    c->again_ms = rayi_moment_ms(AGAIN_MS);
    if (atomic_load(&node->running))
        rayi_node_stir(node); /* its timer is to know */
}

static void on_taken(void *arg, const rayi_said *answer, rayi_error *error)
{
    sending *s = arg;
    rayi_node *node = s->node;
    rayi_key_copier *c = find_copier(node, s->incarnation);

    (void)answer;
    if (c) {
        c->is_asked = false;
        if (error)
            begin_anew(node, c);
    }
    rayi_free(s);
    rayi_keys_pump(node);
}

static bool is_too_long(const rayi_node *node)
{
    return rayi_gcs_kv_bytes(node->gcs) > RAYI_GCS_COPY_MOST;
}

static bool wants_some(const rayi_node *node, const rayi_key_copier *c)
{
    if (c->is_asked || rayi_now_ms() < c->again_ms)
        return false;
    if (is_too_long(node))
        return !c->was_dropped;
    return !c->cursor.begun || c->cursor.at < rayi_gcs_kv_version(node->gcs);
}

static void write_copy(rayi_node *node, rayi_key_copier *c, rayi_writer *writer)
{
    rayi_writer_init(writer);
    c->was_dropped = is_too_long(node);
    if (c->was_dropped)
        rayi_log(RAY_LOG_INFO, "keys.not_copied", rayi_executor_node_id(node->executor),
                 "the table of keys has more than %d bytes: it has no copies", RAYI_GCS_COPY_MOST);
    rayi_put_u8(writer, c->was_dropped ? NONE : MORE);
    if (c->was_dropped)
        c->cursor = (rayi_gcs_cursor){0};
    else
        rayi_gcs_kv_since(node->gcs, &c->cursor, CHUNK_BYTES, writer);
}

static void send_copy(rayi_node *node, rayi_key_copier *c)
{
    sending *s = rayi_alloc(sizeof *s);
    rayi_writer writer;
    int r = RAY_ERR_NO_MEMORY;

    write_copy(node, c, &writer);
    if (s)
        *s = (sending){.node = node, .incarnation = c->incarnation};
    c->is_asked = true;
    if (s && !writer.failed)
        r = rayi_cluster_ask(node->cluster, &c->id, RAYI_OP_KV_COPY,
                             &(rayi_said){.bytes = writer.data, .size = writer.size}, TAKE_MS, on_taken, s);
    rayi_writer_fini(&writer);
    if (r == 0)
        return;
    rayi_free(s);
    c->is_asked = false;
    begin_anew(node, c);
}

void rayi_keys_pump(rayi_node *node)
{
    if (!node->cluster || !rayi_cluster_is_head(node->cluster) || node->stopping)
        return;
    for (uint32_t i = 0; i < node->copies.count; i++)
        if (wants_some(node, &node->copies.items[i]))
            send_copy(node, &node->copies.items[i]);
}

void rayi_keys_tick(rayi_node *node, int64_t now_ms)
{
    if (now_ms < rayi_keys_wake_ms(node))
        return;
    for (uint32_t i = 0; i < node->copies.count; i++)
        if (node->copies.items[i].again_ms <= now_ms)
            node->copies.items[i].again_ms = 0;
    rayi_keys_pump(node);
}

int64_t rayi_keys_wake_ms(const rayi_node *node)
{
    int64_t wake_ms = INT64_MAX;

    for (uint32_t i = 0; i < node->copies.count; i++)
        if (node->copies.items[i].again_ms)
            wake_ms = RAYI_MIN(wake_ms, node->copies.items[i].again_ms);
    return wake_ms;
}

/* ---- a copy ---- */

int rayi_keys_take(rayi_node *node, const rayi_reply_to *to, rayi_reader *in)
{
    uint8_t what = rayi_take_u8(in);
    int r = 0;

    if (in->failed || (what != MORE && what != NONE) || !rayi_is_of_head(node, to))
        return rayi_fail(RAY_ERR_ARGUMENT, "no copy of the table of keys");
    if (what == MORE)
        r = rayi_gcs_kv_take(node->gcs, in);
    else
        rayi_gcs_kv_drop(node->gcs);
    return r < 0 ? rayi_fail(r, "a piece of the table of keys that cannot be taken here") : 0;
}

void rayi_keys_forget(rayi_node *node)
{
    rayi_gcs_kv_drop(node->gcs);
}

static bool is_copier(const rayi_node *node)
{
    for (uint32_t i = 0; i < node->copies.count; i++)
        if (rayi_cluster_is_self(node->cluster, &node->copies.items[i].id))
            return rayi_gcs_kv_is_whole(node->gcs);
    return false;
}

bool rayi_keys_may_answer(const rayi_node *node, uint8_t op)
{
    return (op == RAYI_OP_KV_GET || op == RAYI_OP_KV_LIST) && is_copier(node);
}

/* ---- reading while the head is away ---- */

bool rayi_keys_has_copies(const rayi_node *node, uint8_t op)
{
    return (op == RAYI_OP_KV_GET || op == RAYI_OP_KV_LIST) && rayi_has_head_elsewhere(node) && node->copies.count > 0;
}

typedef struct reading {
    uint8_t op;
    const rayi_said *question;
    rayi_answer *answer;
    rayi_error *error;
    rayi_node_id others[RAYI_KEY_COPIES];
    uint32_t count;
    bool is_here;
} reading;

static void on_read(void *arg, const rayi_said *answer, rayi_error *error)
{
    reading *r = arg;

    r->error = error ? rayi_error_ref(error) : rayi_answer_keep(r->answer, answer);
}

static int read_here(rayi_node *node, void *arg)
{
    reading *r = arg;

    for (uint32_t i = 0; i < node->copies.count; i++)
        if (!rayi_cluster_is_self(node->cluster, &node->copies.items[i].id))
            r->others[r->count++] = node->copies.items[i].id;
    r->is_here = !node->left && rayi_keys_may_answer(node, r->op);
    if (r->is_here)
        rayi_serve_local(node, r->op, r->question, on_read, r);
    return r->error ? rayi_error_set_last(r->error) : 0;
}

/* Without a head nobody says that a copier is dead: none is waited for for long before the other was asked. */
static int read_there(rayi_thread *thread, const reading *all, int64_t timeout_ms, rayi_answer *out)
{
    rayi_node *node = rayi_node_of(thread);
    uint32_t first = atomic_load_explicit(&node->copies_first, memory_order_relaxed);
    int r = RAY_ERR_HEAD_UNREACHABLE;

    for (uint32_t i = 0; i < all->count; i++) {
        uint32_t at = (first + i) % all->count;
        r = rayi_node_ask_within(thread, &all->others[at], timeout_ms, all->op, all->question, out);
        if (r != 0 && r != RAY_ERR_NOT_FOUND)
            continue;
        atomic_store_explicit(&node->copies_first, at, memory_order_relaxed);
        break;
    }
    return r;
}

int rayi_keys_read_copy(rayi_thread *thread, uint8_t op, const rayi_said *question, rayi_answer *out)
{
    int64_t timeout_ms = rayi_executor_timeout_ms(rayi_executor_of(thread));
    rayi_error *why = rayi_error_last();
    reading all = {.op = op, .question = question, .answer = out};
    int r = rayi_node_ask(thread, read_here, &all);

    if (!all.is_here)
        r = read_there(thread, &all, RAYI_MIN(timeout_ms, PATIENCE_MS), out);
    if (r == RAY_ERR_TIMEOUT && timeout_ms > PATIENCE_MS)
        r = read_there(thread, &all, timeout_ms, out);
    if (r != 0 && r != RAY_ERR_NOT_FOUND)
        return rayi_error_set_last(why);
    rayi_error_unref(why);
    return r;
}
