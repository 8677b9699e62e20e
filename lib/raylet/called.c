/* Named actors and placement groups of a cluster. The head keeps under which number which node knows the one of a name;
 * the name holds nothing. Who looks one up asks the head, then that node, for a handle.
 *
 * An actor is found there if it lives and has handles left. An entry whose actor is gone makes way for the next actor
 * of that name, which tells the head what it has found. A detached actor of a driver is entered by the node where it
 * lives, for that is who has it when the driver is gone.
 *
 * A group's entry is taken back by the node that owns it when it ends (shared.c). */
#include "raylet/inside.h"

#include <string.h>

typedef rayi_called entry;

static int out_of_memory(void)
{
    return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the table of names");
}

void rayi_called_put(rayi_writer *writer, const entry *e)
{
    rayi_put_bytes(writer, &e->node, sizeof e->node);
    rayi_put_u64(writer, e->number);
}

bool rayi_called_take(rayi_reader *reader, entry *out)
{
    const void *node = rayi_take_bytes(reader, sizeof out->node);

    if (node)
        memcpy(&out->node, node, sizeof out->node);
    out->number = rayi_take_u64(reader);
    return !reader->failed;
}

entry rayi_called_own(const rayi_node *node, uint64_t number)
{
    entry e = {.number = number};

    rayi_cluster_id_parse(rayi_executor_node_id(node->executor), &e.node);
    return e;
}

int rayi_called_key(rayi_executor *executor, const char *what, const char *name, char out[RAYI_CALLED_KEY_SIZE])
{
    const char *ns = strchr(name, '/') ? "" : rayi_executor_ns(executor);

    if (!*name || strlen(name) > RAYI_GCS_KEY_MAX || strlen(ns) + strlen(name) + 1 > RAYI_GCS_KEY_MAX)
        return rayi_fail(*name ? RAY_ERR_LIMIT : RAY_ERR_ARGUMENT,
                         "a name of %s has 1 to %d bytes with its namespace, got \"%.40s\"", what, RAYI_GCS_KEY_MAX,
                         name);
    snprintf(out, RAYI_CALLED_KEY_SIZE, "%s%s%s", ns, *ns ? "/" : "", name);
    return 0;
}

static int put_key(rayi_writer *writer, rayi_executor *executor, const char *name)
{
    char key[RAYI_CALLED_KEY_SIZE];
    int r = rayi_called_key(executor, "an actor", name, key);

    if (r == 0)
        rayi_put_text(writer, key);
    return r;
}

/* ---- the head, and who has an actor; on the loop ---- */

static bool get(const rayi_gcs *names, const char *key, entry *out)
{
    const void *bytes;
    size_t size;

    if (rayi_gcs_kv_get(names, key, &bytes, &size) < 0 || size != sizeof *out)
        return false;
    memcpy(out, bytes, sizeof *out);
    return true;
}

/* now.number 0: what had the name gives it back. has: what has it, if that is neither of the two. */
static int enter(rayi_node *node, rayi_gcs *names, const char *key, const entry *before, const entry *now, entry *has)
{
    bool is_taken = get(names, key, has) && rayi_find_alive(node, &has->node); /* of a dead node nobody has it */
    bool is_ours = is_taken && memcmp(has, before, sizeof *has) == 0;

    if (is_taken && !is_ours)
        return 0;
    *has = (entry){0};
    if (now->number)
        return rayi_gcs_kv_put(names, key, now, sizeof *now, false) < 0 ? out_of_memory() : 0;
    if (is_ours)
        (void)rayi_gcs_kv_del(names, key);
    return 0;
}

static int answer_put(rayi_node *node, rayi_gcs *names, rayi_reader *in, rayi_writer *out)
{
    const char *key = rayi_take_text(in);
    entry before, now, has;
    int r;

    if (!rayi_called_take(in, &before) || !rayi_called_take(in, &now) || !key || (!now.number && !before.number))
        return rayi_fail(RAY_ERR_ARGUMENT, "a name that makes no sense");
    r = enter(node, names, key, &before, &now, &has);
    rayi_called_put(out, &has);
    return r;
}

static int answer_find(rayi_node *node, uint8_t op, rayi_reader *in, rayi_writer *out)
{
    const char *key = rayi_take_text(in);
    bool is_group = op == RAYI_OP_GROUP_FIND;
    entry has;

    if (!key || !get(is_group ? node->group_names : node->actor_names, key, &has) || !rayi_find_alive(node, &has.node))
        return rayi_fail(RAY_ERR_NOT_FOUND, "no %s of the name %s is %s", is_group ? "placement group" : "actor",
                         key ? key : "", is_group ? "there" : "alive");
    rayi_called_put(out, &has);
    return 0;
}

int rayi_called_enter_group(rayi_node *node, const char *key, uint64_t number)
{
    entry now = rayi_called_own(node, number), has;
    int r = enter(node, node->group_names, key, &(entry){0}, &now, &has);

    if (r == 0 && has.number)
        return rayi_fail(RAY_ERR_EXISTS, "a placement group of the name %s exists already", key);
    return r;
}

static int answer_get(rayi_node *node, rayi_reader *in, rayi_record **record)
{
    uint64_t number = rayi_take_u64(in);
    ray_actor *actor = in->failed ? NULL : rayi_actor_by_number(node->executor, number);
    rayi_result result = {.kind = RAY_KIND_ACTOR, .size = sizeof actor};

    if (!actor)
        return rayi_fail(RAY_ERR_NOT_FOUND, "the actor is not alive any more");
    *record = rayi_record_new(node->thread);
    if (!*record) {
        rayi_actor_release(node->thread, actor);
        return out_of_memory();
    }
    memcpy(result.bytes, &actor, sizeof actor);
    rayi_record_fill(node->thread, *record, &result);
    return 0;
}

int rayi_called_answer(rayi_node *node, uint8_t op, rayi_reader *in, rayi_writer *out, rayi_record **record)
{
    switch ((enum rayi_op)op) {
    case RAYI_OP_ACTOR_PUT:
        return answer_put(node, node->actor_names, in, out);
    case RAYI_OP_GROUP_PUT:
        return answer_put(node, node->group_names, in, out);
    case RAYI_OP_ACTOR_GET:
        return answer_get(node, in, record);
    default:
        return answer_find(node, op, in, out);
    }
}

/* ---- asking; by threads that may wait ---- */

/* A handle of the actor behind an entry: obtained; NULL: last error. */
static ray_actor *get_handle(rayi_thread *thread, const entry *e)
{
    rayi_node *node = rayi_node_of(thread);
    ray_actor *actor = NULL;
    rayi_writer question;
    rayi_answer answer;
    int r;

    if (rayi_cluster_is_self(node->cluster, &e->node)) {
        actor = rayi_actor_by_number(node->executor, e->number);
        if (!actor)
            (void)rayi_fail(RAY_ERR_NOT_FOUND, "the actor is not alive any more");
        return actor;
    }
    rayi_writer_init(&question);
    rayi_put_u64(&question, e->number);
    r = rayi_node_ask_other(thread, &e->node, RAYI_OP_ACTOR_GET,
                            &(rayi_said){.bytes = question.data, .size = question.size}, &answer);
    rayi_writer_fini(&question);
    if (r < 0)
        return NULL;
    if (answer.object) {
        ray_value value = {.kind = RAY_KIND_ACTOR, .size = sizeof actor, .data = &actor};
        if (rayi_record_get(thread, answer.object, rayi_executor_timeout_ms(node->executor), &value) < 0)
            actor = NULL;
    }
    rayi_answer_drop(thread, &answer);
    return actor;
}

static int ask_entry(rayi_thread *thread, uint8_t op, const rayi_writer *question, entry *out)
{
    rayi_answer answer;
    rayi_reader reader;
    int r = question->failed
                ? out_of_memory()
                : rayi_head_ask(thread, op, &(rayi_said){.bytes = question->data, .size = question->size}, &answer);

    if (r < 0)
        return r;
    reader = rayi_reader_of(answer.bytes, answer.size);
    if (!rayi_called_take(&reader, out))
        r = rayi_fail(RAY_ERR_CORRUPT, "the head's answer about a name makes no sense");
    rayi_answer_drop(thread, &answer);
    return r;
}

static int write_put(rayi_writer *writer, rayi_executor *executor, const char *name, const entry *before,
                     const entry *now)
{
    int r = put_key(writer, executor, name);

    rayi_called_put(writer, before);
    rayi_called_put(writer, now);
    return r;
}

static entry own_entry(rayi_node *node, const ray_actor *actor)
{
    return rayi_called_own(node, rayi_actor_number(actor));
}

int rayi_called_enter(rayi_thread *thread, ray_actor *actor, bool get_if_exists, ray_actor **instead)
{
    rayi_node *node = rayi_node_of(thread);
    const char *name = rayi_actor_name(actor);
    entry before = {0}, now = own_entry(node, actor), has;
    rayi_writer writer;
    int r;

    for (int tries = 0; tries < 8; tries++) {
        rayi_writer_init(&writer);
        r = write_put(&writer, node->executor, name, &before, &now);
        if (r == 0)
            r = ask_entry(thread, RAYI_OP_ACTOR_PUT, &writer, &has);
        rayi_writer_fini(&writer);
        if (r < 0 || has.number == 0)
            return r;
        *instead = get_handle(thread, &has);
        if (*instead && get_if_exists)
            return 0;
        if (*instead) {
            rayi_actor_release(thread, *instead);
            *instead = NULL;
            return rayi_fail(RAY_ERR_EXISTS, "an actor of the name %s exists already", name);
        }
        if (rayi_error_last_public()->code != RAY_ERR_NOT_FOUND)
            return rayi_error_last_public()->code;
        before = has;
    }
    return rayi_fail(RAY_ERR_EXISTS, "actors of the name %s come and go", name);
}

/* ---- on the loop, which cannot wait ---- */

typedef struct entering {
    rayi_node *node;
    ray_actor *actor; /* its record is counted */
} entering;

static void on_entered(void *arg, const rayi_said *answer, rayi_error *error)
{
    entering *e = arg;
    rayi_thread *thread = e->node->thread;
    rayi_reader reader = rayi_reader_of(answer ? answer->bytes : NULL, answer ? answer->size : 0);
    entry has = {0};

    if (error)
        rayi_actor_lost(thread, e->actor, rayi_error_ref(error));
    else if (rayi_called_take(&reader, &has) && has.number != 0)
        rayi_actor_lost(thread, e->actor,
                        rayi_error_new(RAY_ERR_EXISTS, rayi_actor_class(e->actor), NULL,
                                       "an actor of the name %s exists already", rayi_actor_name(e->actor)));
    rayi_record_unref(thread, rayi_actor_record(e->actor));
    rayi_free(e);
}

/* It is the actor's death if the name is taken. The entry is now, instead of what we had entered before. */
static int enter_later(rayi_node *node, ray_actor *actor, const entry *before, const entry *now)
{
    entering *e = rayi_zalloc(sizeof *e);
    rayi_writer writer;
    int r;

    if (!e)
        return out_of_memory();
    e->node = node;
    e->actor = actor;
    rayi_record_ref(rayi_actor_record(actor));
    rayi_writer_init(&writer);
    r = write_put(&writer, node->executor, rayi_actor_name(actor), before, now);
    if (r == 0 && writer.failed)
        r = out_of_memory();
    if (r == 0)
        r = rayi_head_ask_later(node, RAYI_OP_ACTOR_PUT, &(rayi_said){.bytes = writer.data, .size = writer.size},
                                on_entered, e);
    rayi_writer_fini(&writer);
    if (r < 0) {
        rayi_record_unref(node->thread, rayi_actor_record(actor));
        rayi_free(e);
    }
    return r;
}

int rayi_called_enter_later(rayi_node *node, ray_actor *actor)
{
    entry now = own_entry(node, actor);

    return enter_later(node, actor, &(entry){0}, &now);
}

void rayi_called_moved(void *of, ray_actor *actor, const rayi_node_id *there, uint64_t number)
{
    rayi_node *node = of;
    entry *last = rayi_afar_named(actor);
    entry before = last->number ? *last : own_entry(node, actor), now = {.node = *there, .number = number};

    if (rayi_actor_name(actor) && enter_later(node, actor, &before, &now) == 0)
        *last = now;
}

/* ---- looking up ---- */

ray_actor *rayi_called_find(rayi_thread *thread, const char *name)
{
    rayi_node *node = rayi_node_of(thread);
    ray_actor *actor;
    rayi_writer writer;
    entry has;
    int r;

    rayi_writer_init(&writer);
    r = put_key(&writer, node->executor, name);
    if (r == 0)
        r = ask_entry(thread, RAYI_OP_ACTOR_FIND, &writer, &has);
    rayi_writer_fini(&writer);
    actor = r == 0 ? get_handle(thread, &has) : NULL;
    if (!actor && rayi_error_last_public()->code == RAY_ERR_NOT_FOUND)
        (void)rayi_fail(RAY_ERR_NOT_FOUND, "no actor of the name %s is alive", name);
    return actor;
}

int rayi_called_find_group(rayi_thread *thread, const char *name, rayi_called *out)
{
    char key[RAYI_CALLED_KEY_SIZE];
    rayi_writer writer;
    int r = rayi_called_key(rayi_executor_of(thread), "a placement group", name, key);

    if (r < 0)
        return r;
    rayi_writer_init(&writer);
    rayi_put_text(&writer, key);
    r = ask_entry(thread, RAYI_OP_GROUP_FIND, &writer, out);
    rayi_writer_fini(&writer);
    return r;
}
