/* Published objects, where their table is: at the head; a node alone is its own. Which nodes keep one the brain says
 * (gcs/keepers.h); they are told by questions (keep.c), this node by the same one.
 *
 * What is published is done, and its record is the table's. It is there under its name from then on; who has published
 * it hears when so many nodes keep it as are wanted, or as there are. */
#include "raylet/inside.h"

#include <string.h>

#define KEEP_MS INT64_C(7200000) /* a keeper answers long before, or dies */

struct rayi_published {
    UT_hash_handle hh; /* in node.published, by number, once it is entered */
    uint64_t number;
    rayi_node *node;
    rayi_waiter waiter; /* until it is done */
    rayi_message message;
    rayi_record *record; /* counted */
    uint32_t want;
    bool is_awaited; /* by */
    rayi_reply_to to;
    int64_t due_ms;  /* until then */
    rayi_error *why; /* of the last refusal */
    char *ns, *name; /* behind it */
};
typedef struct rayi_published published;

static published *find_number(const rayi_node *node, uint64_t number)
{
    published *p;

    HASH_FIND(hh, node->published, &number, sizeof number, p);
    return p;
}

/* NULL: last error. */
static published *find_name(rayi_node *node, const char *ns, const char *name)
{
    uint64_t id;
    int r = rayi_gcs_name_get(node->gcs, RAYI_NAME_OBJECT, ns, name, &id);

    if (r == 0)
        return (published *)(uintptr_t)id;
    (void)rayi_names_fail(r, "published object", name);
    return NULL;
}

/* ---- its end ---- */

static void free_published(rayi_thread *thread, published *p)
{
    rayi_record_unref(thread, p->record);
    rayi_error_unref(p->why);
    rayi_free(p);
}

/* Takes the error's count; NULL: all is well. */
static void answer(published *p, rayi_error *error)
{
    if (p->is_awaited)
        rayi_reply(p->node, &p->to, error ? NULL : &(rayi_said){0}, error);
    p->is_awaited = false;
    rayi_error_unref(error);
}

static void withdraw(published *p)
{
    const rayi_memory *memory = rayi_heap;
    rayi_node *node = p->node;

    (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_OBJECT, p->ns, p->name, (uintptr_t)p);
    rayi_keepers_remove(node->keepers, p->number);
    HASH_DEL(node->published, p);
    if (p->is_awaited)
        answer(p, node->stopping ? rayi_error_plain(RAY_ERR_SHUTDOWN)
                                 : rayi_error_new(RAY_ERR_NOT_FOUND, NULL, NULL,
                                                  "published object %s was unpublished meanwhile", p->name));
    free_published(node->thread, p);
}

void rayi_published_stop(rayi_node *node)
{
    while (node->published)
        withdraw(node->published);
}

/* ---- what the brain wants ---- */

typedef struct keeping {
    rayi_node *node;
    uint64_t number, ask;
    rayi_node_id by;
} keeping;

static void set_why(published *p, rayi_error *error)
{
    rayi_error_unref(p->why);
    p->why = rayi_error_ref(error);
}

/* One that makes no sense is none: it is found there when it is wanted. */
static void take_place(const keeping *k, const published *p, const rayi_said *said)
{
    rayi_reader in = rayi_reader_of(said->bytes, said->size);
    rayi_record *object = rayi_keep_bytes_of(p->record);

    if (object && k->node->cluster)
        (void)rayi_cluster_take_kept(k->node->cluster, object, &k->by, &in);
}

static void on_answered(void *arg, const rayi_said *said, rayi_error *error)
{
    keeping *k = arg;
    rayi_node *node = k->node;
    published *p = find_number(node, k->number);

    if (!error) {
        if (p)
            take_place(k, p, said);
        rayi_keepers_kept(node->keepers, k->number, k->ask);
    } else {
        if (p)
            set_why(p, error);
        rayi_keepers_refused(node->keepers, k->number, k->ask, rayi_now_ms());
    }
    rayi_free(k);
    if (atomic_load(&node->running))
        rayi_node_stir(node);
}

static void on_let_go(void *arg, const rayi_said *said, rayi_error *error)
{
    (void)arg, (void)said, (void)error; /* it has, or is dead */
}

static bool is_self(const rayi_node *node, const rayi_node_id *id)
{
    rayi_node_id self;

    rayi_cluster_id_parse(rayi_executor_node_id(node->executor), &self);
    return memcmp(&self, id, sizeof self) == 0;
}

/* Of that node; this one answers by the same way. */
static int ask(rayi_node *node, const rayi_node_id *whom, uint8_t op, const rayi_said *question, rayi_answered answered,
               void *arg)
{
    if (!is_self(node, whom))
        return rayi_cluster_ask(node->cluster, whom, op, question, KEEP_MS, answered, arg);
    rayi_serve_local(node, op, question, answered, arg);
    return 0;
}

static int send_keep(rayi_node *node, const rayi_keepers_action *action, keeping *k, const published *p)
{
    rayi_writer writer;
    int r;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, action->number);
    rayi_put_text(&writer, p->ns);
    rayi_put_text(&writer, p->name);
    r = writer.failed
            ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a question")
            : ask(node, &action->node, RAYI_OP_KEEP,
                  &(rayi_said){.bytes = writer.data, .size = writer.size, .record = p->record}, on_answered, k);
    rayi_writer_fini(&writer);
    return r;
}

static void tell_keep(rayi_node *node, const rayi_keepers_action *action)
{
    published *p = find_number(node, action->number);
    keeping *k = rayi_alloc(sizeof *k);
    int r = k ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a published object");
    rayi_error *error;

    if (k)
        *k = (keeping){.node = node, .number = action->number, .ask = action->ask, .by = action->node};
    if (r == 0)
        r = send_keep(node, action, k, p);
    if (r == 0)
        return;
    rayi_free(k);
    error = rayi_error_last();
    set_why(p, error);
    rayi_error_unref(error);
    rayi_keepers_refused(node->keepers, action->number, action->ask, rayi_now_ms());
}

static void tell_let_go(rayi_node *node, const rayi_keepers_action *action)
{
    const rayi_said question = {.bytes = &action->number, .size = sizeof action->number};

    if (ask(node, &action->node, RAYI_OP_LET_GO, &question, on_let_go, NULL) < 0)
        rayi_keepers_unsaid(node->keepers, action->number, &action->node, rayi_now_ms());
}

static void say_count(const published *p, const rayi_keepers_action *action)
{
    bool is_whole = strchr(p->name, '/') != NULL;
    const char *ns = is_whole ? "" : p->ns, *slash = is_whole ? "" : "/";

    if (action->count == 0)
        rayi_log(RAY_LOG_WARNING, "object.copies", p->name, "published object %s%s%s: no node keeps it any more", ns,
                 slash, p->name);
    else if (!action->is_first || action->count < action->want)
        rayi_log(RAY_LOG_INFO, "object.copies", p->name, "published object %s%s%s is kept on %u nodes of %u", ns, slash,
                 p->name, action->count, action->want);
}

static void settled(rayi_node *node, const rayi_keepers_action *action)
{
    published *p = find_number(node, action->number);

    if (action->is_first && action->count == 0) {
        answer(p, p->why ? rayi_error_ref(p->why) : rayi_error_plain(RAY_ERR_NO_MEMORY));
        withdraw(p);
        return;
    }
    say_count(p, action);
    answer(p, NULL);
}

bool rayi_published_pump(rayi_node *node)
{
    rayi_keepers_action action;
    bool any = false;

    while (rayi_keepers_next(node->keepers, rayi_now_ms(), &action)) {
        any = true;
        switch (action.what) {
        case RAYI_KEEPERS_KEEP:
            tell_keep(node, &action);
            break;
        case RAYI_KEEPERS_LET_GO:
            tell_let_go(node, &action);
            break;
        case RAYI_KEEPERS_SETTLED:
            settled(node, &action);
            break;
        }
    }
    return any;
}

/* ---- time ---- */

int64_t rayi_published_wake_ms(const rayi_node *node)
{
    return RAYI_MIN(node->published_due_ms, rayi_keepers_next_deadline(node->keepers));
}

void rayi_published_tick(rayi_node *node, int64_t now_ms)
{
    rayi_keepers_tick(node->keepers, now_ms);
    if (now_ms < node->published_due_ms)
        return;
    node->published_due_ms = INT64_MAX;
    for (published *p = node->published; p; p = p->hh.next) {
        if (!p->is_awaited)
            continue;
        if (p->due_ms <= now_ms)
            answer(p,
                   rayi_error_new(RAY_ERR_TIMEOUT, NULL, NULL,
                                  "published object %s is there, but not yet on as many nodes as are wanted", p->name));
        else
            node->published_due_ms = RAYI_MIN(node->published_due_ms, p->due_ms);
    }
}

/* ---- nodes ---- */

static void put_keeper(void *arg, const rayi_member *member)
{
    rayi_node *node = arg;
    bool leaves = (member->flags & RAYI_MEMBER_DRAINED) != 0, is_driver = (member->flags & RAYI_MEMBER_DRIVER) != 0;

    if (member->state == RAYI_NODE_DEAD)
        rayi_keepers_gone(node->keepers, &member->id);
    else /* no memory: with the next table */
        (void)rayi_keepers_node(node->keepers,
                                &(rayi_keeper){.id = member->id,
                                               .incarnation = member->incarnation,
                                               .host = member->host,
                                               .may_keep = member->state == RAYI_NODE_ALIVE && !is_driver && !leaves,
                                               .leaves = leaves,
                                               .is_head = (member->flags & RAYI_MEMBER_HEAD) != 0});
}

void rayi_published_changed(rayi_node *node)
{
    if (!rayi_cluster_is_head(node->cluster))
        return;
    rayi_roster_each(rayi_cluster_roster(node->cluster), put_keeper, node);
    rayi_node_stir(node);
}

void rayi_published_gone(rayi_node *node, const rayi_node_id *id)
{
    rayi_keepers_gone(node->keepers, id);
    rayi_node_stir(node);
}

int rayi_published_init(rayi_node *node)
{
    rayi_member self = {.incarnation = 1, .flags = RAYI_MEMBER_HEAD, .state = RAYI_NODE_ALIVE};
    int r = rayi_keepers_new(rayi_heap, &node->keepers);

    node->published_due_ms = INT64_MAX;
    if (r < 0)
        return r;
    rayi_cluster_id_parse(rayi_executor_node_id(node->executor), &self.id);
    put_keeper(node, &self); /* alone, until there is a table */
    return 0;
}

/* ---- publishing ---- */

static int add_keepers(rayi_node *node, published *p)
{
    rayi_record *object = rayi_keep_bytes_of(p->record);
    rayi_node_id near[RAYI_KEEPERS_NEAR_MOST];
    uint32_t count = 1;
    uint64_t size_bytes = object ? object->size : rayi_record_content(p->record).size;

    if (object && node->cluster)
        count = rayi_cluster_nodes_of(node->cluster, object, near, RAYI_KEEPERS_NEAR_MOST);
    else
        rayi_cluster_id_parse(rayi_executor_node_id(node->executor), &near[0]);
    return rayi_keepers_add(node->keepers, p->number, p->want, size_bytes, near, count);
}

static int enter_number(rayi_node *node, published *p)
{
    const rayi_memory *memory = rayi_heap;

    p->number = ++node->last_published;
    HASH_ADD(hh, node->published, number, sizeof p->number, p);
    if (!p->hh.tbl)
        return RAY_ERR_NO_MEMORY;
    if (add_keepers(node, p) == 0)
        return 0;
    HASH_DEL(node->published, p);
    return RAY_ERR_NO_MEMORY;
}

static int enter(rayi_node *node, published *p)
{
    rayi_result content = rayi_record_content(p->record);
    int r;

    if (content.error)
        return rayi_error_set_last(rayi_error_ref(content.error));
    r = rayi_gcs_name_put(node->gcs, RAYI_NAME_OBJECT, p->ns, p->name, (uintptr_t)p);
    if (r == 0) {
        r = enter_number(node, p);
        if (r < 0)
            (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_OBJECT, p->ns, p->name, (uintptr_t)p);
    }
    return r < 0 ? rayi_names_fail(r, "published object", p->name) : 0;
}

static void done(rayi_node *node, rayi_message *message)
{
    published *p = rayi_container_of(message, published, message);

    if (enter(node, p) < 0) {
        rayi_reply_last(node, &p->to);
        free_published(node->thread, p);
        return;
    }
    p->is_awaited = true;
    p->due_ms = rayi_moment_ms(rayi_executor_timeout_ms(node->executor));
    node->published_due_ms = RAYI_MIN(node->published_due_ms, p->due_ms);
    (void)rayi_published_pump(node);
}

static void fire(rayi_thread *thread, rayi_waiter *waiter)
{
    published *p = rayi_container_of(waiter, published, waiter);

    if (!rayi_loop_post(p->node, &p->message))
        free_published(thread, p); /* who would be told has gone, too */
}

static published *make(rayi_node *node, const rayi_reply_to *to, const rayi_said *question)
{
    rayi_reader in = rayi_reader_of(question->bytes, question->size);
    const char *ns = rayi_take_text(&in), *name = rayi_take_text(&in);
    uint32_t want = rayi_take_u32(&in);
    published *p;

    if (in.failed || !ns || !name || !question->record) {
        (void)rayi_fail(RAY_ERR_ARGUMENT, "a question about no name");
        return NULL;
    }
    p = rayi_zalloc(sizeof *p + strlen(ns) + strlen(name) + 2);
    if (!p) {
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: published object %s", name);
        return NULL;
    }
    p->waiter.fire = fire;
    p->message.handle = done;
    p->to = *to;
    p->node = node;
    p->want = RAYI_MAX(want, 1U);
    p->record = question->record;
    p->ns = strcpy((char *)(p + 1), ns);
    p->name = strcpy(p->ns + strlen(ns) + 1, name);
    rayi_record_ref(p->record);
    return p;
}

void rayi_publish(rayi_node *node, const rayi_reply_to *to, const rayi_said *question)
{
    published *p = make(node, to, question);

    if (!p)
        rayi_reply_last(node, to);
    else if (!rayi_record_watch(p->record, &p->waiter))
        done(node, &p->message);
}

/* ---- by name ---- */

int rayi_published_lookup(rayi_node *node, const char *ns, const char *name, rayi_record **out)
{
    published *p = find_name(node, ns, name);

    if (!p)
        return rayi_error_last_public()->code;
    *out = p->record;
    rayi_record_ref(*out);
    return 0;
}

int rayi_published_remove(rayi_node *node, const char *ns, const char *name)
{
    published *p = find_name(node, ns, name);

    if (!p)
        return rayi_error_last_public()->code;
    withdraw(p);
    (void)rayi_published_pump(node);
    return 0;
}

/* ---- what there is ---- */

static void add_node(void *arg, const rayi_node_id *node)
{
    char id[RAYI_ID_SIZE];
    rayi_text *text = arg;

    rayi_hex(id, node->bytes, sizeof node->bytes);
    rayi_text_printf(text, "%s%s", text->size > 0 ? ", " : "", id);
}

static void list_one(void *arg, const rayi_gcs_name_row *row)
{
    rayi_rows *rows = arg;
    const published *p = (const published *)(uintptr_t)row->id;
    rayi_text nodes;
    uint32_t want = 0, count;

    if (!rayi_rows_begin(rows))
        return;
    rayi_text_init(&nodes, rayi_heap);
    count = rayi_keepers_each(p->node->keepers, p->number, add_node, &nodes, &want);
    rayi_rows_text(rows, "name", row->name);
    rayi_rows_text(rows, "ray_namespace", row->ns);
    rayi_rows_int(rows, "object_size", (int64_t)rayi_record_content(p->record).size);
    rayi_rows_int(rows, "copies", count);
    rayi_rows_int(rows, "copies_wanted", p->want);
    rayi_rows_text(rows, "nodes", nodes.size > 0 ? nodes.data : "");
    rayi_rows_end(rows);
    rayi_text_fini(&nodes);
}

void rayi_published_list(rayi_node *node, rayi_rows *rows)
{
    rayi_gcs_names(node->gcs, RAYI_NAME_OBJECT, list_one, rows);
}
