/* Requests of worker processes. Every request gets one REPLY, or the process has gone.
 *
 * What the node's body answers is asked on the loop, which never waits: an answer that would have to wait for room in
 * the store or for the head of the cluster fails there with STORE_FULL, and is asked for once more by a chore, which
 * may. Room for a buffer and blocks
 * to be opened are there at once or, likewise, are a chore's. Chores end in an `after` on the loop, where processes
 * come and go: it looks whether the one that asked is there still. */
#include "isolation/inside.h"

#include <string.h>

/* What a chore answers. */
typedef struct late {
    rayi_guest_port port;
    rayi_writer body;
} late;

typedef struct request {
    rayi_isolation *isolation;
    uint32_t guest, life;
    uint64_t id;
    uint32_t op;
    size_t size;
    rayi_chore chore; /* if it has to wait */
    late *late;
    rayi_record *record; /* counted */
    rayi_arena *arena;   /* held */
    uint64_t number;
    int64_t lost_ns; /* of OPEN: so long one that is lost is waited for */
    char data[];
} request;

static void put_status(rayi_writer *reply, uint64_t id, int r)
{
    rayi_put_u64(reply, id);
    rayi_put_i64(reply, r);
    if (r < 0) {
        rayi_error *error = rayi_error_last();
        rayi_exchange_write_error(reply, error ? error : rayi_error_plain(r));
        rayi_error_unref(error);
    }
}

static rayi_guest *guest_of(const request *q)
{
    return q->isolation->guests[q->guest];
}

/* ---- answers that are objects ---- */

static int put_ref(rayi_guest_port *port, rayi_thread *thread, rayi_writer *reply, rayi_record *record)
{
    rayi_result content = {.kind = RAY_KIND_REF, .size = sizeof record};

    memcpy(content.bytes, &record, sizeof record);
    return rayi_exchange_write(&port->port, thread, reply, &content, false);
}

static int put_view(rayi_guest_port *port, rayi_thread *thread, rayi_writer *reply, ray_view *view)
{
    int r = put_ref(port, thread, reply, rayi_view_object(view));

    rayi_record_unref(thread, view->pin);
    return r;
}

/* ---- on the loop ---- */

static int ask_cluster(const rayi_body *body, rayi_thread *thread, rayi_writer *reply)
{
    ray_cluster *cluster = body->cluster(thread);

    if (!cluster)
        return rayi_error_last_public()->code;
    rayi_put_cluster(reply, cluster);
    rayi_free(cluster);
    return 0;
}

static int ask_kv_put(rayi_guest_port *port, rayi_thread *thread, rayi_reader *in)
{
    const rayi_body *body = port->guest->of->node.body;
    const char *key = rayi_take_text(in);
    uint32_t flags = rayi_take_u32(in), size = rayi_take_u32(in);
    rayi_record *object;
    ray_view view;
    int r;

    if (in->failed || !key)
        return RAY_ERR_CORRUPT;
    if (size != UINT32_MAX) {
        const void *bytes = rayi_take_bytes(in, size);
        return bytes ? body->kv_put(thread, key, bytes, size, flags) : RAY_ERR_CORRUPT;
    }
    object = port->port.record_of(&port->port, thread, rayi_take_u64(in));
    if (!object)
        return RAY_ERR_CORRUPT;
    r = rayi_record_get(thread, object, thread->never_waits ? 0 : port->guest->of->node.timeout_ms,
                        &(ray_value){.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view});
    if (r == 0) {
        r = body->kv_put(thread, key, view.data, view.size, flags);
        rayi_record_unref(thread, view.pin);
    }
    rayi_record_unref(thread, object);
    return r;
}

/* A handle more for the worker. */
static int put_group(const request *q, rayi_thread *thread, rayi_writer *reply, ray_placement_group *group)
{
    uint64_t number = rayi_guest_name_group(guest_of(q), thread, group);

    rayi_put_u64(reply, number);
    rayi_put_text(reply, rayi_record_id(thread, q->isolation->node.body->group_record(group)));
    return number ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a placement group");
}

static int ask_group_new(const request *q, rayi_thread *thread, rayi_reader *in, rayi_writer *reply)
{
    uint32_t count = rayi_take_count(in, sizeof(uint32_t));
    const char **bundles = rayi_alloc(RAYI_MAX(count, 1) * sizeof *bundles);
    ray_placement_group_options options = {.size = sizeof options};
    ray_placement_group *group = NULL;

    if (!bundles)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a placement group");
    for (uint32_t i = 0; i < count; i++)
        bundles[i] = rayi_take_text(in);
    options.name = rayi_take_text(in);
    options.strategy = (ray_strategy)rayi_take_u32(in);
    options.detached = rayi_take_u8(in) != 0;
    if (!in->failed)
        group = q->isolation->node.body->group_new(thread, bundles, count, &options);
    rayi_free((void *)bundles);
    if (in->failed)
        return RAY_ERR_CORRUPT;
    return group ? put_group(q, thread, reply, group) : rayi_error_last_public()->code;
}

static int ask_group_get(const request *q, rayi_thread *thread, rayi_reader *in, rayi_writer *reply)
{
    const char *name = rayi_take_text(in), *id = rayi_take_text(in);
    ray_placement_group *group;

    if (in->failed || !name == !id)
        return RAY_ERR_CORRUPT;
    group = q->isolation->node.body->group_get(thread, name, id);
    return group ? put_group(q, thread, reply, group) : rayi_error_last_public()->code;
}

/* A record of the node that completes later, under a number of the worker's. */
static int enter(const request *q, rayi_thread *thread, uint64_t number, rayi_record *record)
{
    if (!rayi_guest_owns_number(guest_of(q), number)) {
        rayi_record_unref(thread, record);
        return RAY_ERR_CORRUPT;
    }
    if (record->type == RAYI_FIXED || !rayi_record_set_number_once(thread, record, number)) {
        /* It has a number of its own: an item that ends as it does. */
        rayi_record *stand_in = rayi_record_following(thread, record);
        rayi_record_unref(thread, record);
        record = stand_in;
        if (!record || !rayi_record_set_number_once(thread, record, number))
            return RAY_ERR_NO_MEMORY;
    }
    if (rayi_guest_enter(guest_of(q), number, RAYI_ENTRY_RECORD, record, true, thread))
        return 0;
    rayi_record_unref(thread, record);
    return RAY_ERR_CORRUPT;
}

static int ask_about_record(const request *q, rayi_guest_port *port, rayi_thread *thread, rayi_reader *in)
{
    const rayi_body *body = q->isolation->node.body;
    const char *name = q->op == RAYI_ASK_PUBLISH ? rayi_take_text(in) : NULL;
    uint64_t number = rayi_take_u64(in);
    uint32_t extra = rayi_take_u32(in);
    rayi_record *record = in->failed ? NULL : port->port.record_of(&port->port, thread, number);
    int r;

    if (!record || (q->op == RAYI_ASK_PUBLISH && (!name || !rayi_record_done(record)))) {
        if (record)
            rayi_record_unref(thread, record);
        return RAY_ERR_CORRUPT;
    }
    r = q->op == RAYI_ASK_PUBLISH ? body->publish(thread, name, record, extra)
                                  : rayi_record_cancel(thread, record, extra);
    rayi_record_unref(thread, record);
    return r;
}

static int ask_about_actor(const request *q, rayi_guest_port *port, rayi_thread *thread, rayi_reader *in)
{
    uint64_t actor_number = rayi_take_u64(in);
    uint64_t second = q->op == RAYI_ASK_KILL ? rayi_take_u8(in) : rayi_take_u64(in);
    ray_actor *actor = in->failed ? NULL : port->port.actor_of(&port->port, thread, actor_number, NULL, NULL);
    int r;

    if (!actor)
        return RAY_ERR_CORRUPT;
    r = q->op == RAYI_ASK_KILL ? rayi_actor_kill(thread, actor, second != 0)
                               : enter(q, thread, second, rayi_actor_ready(thread, actor));
    rayi_actor_release(thread, actor);
    return r;
}

static int ask_about_group(const request *q, rayi_guest_port *port, rayi_thread *thread, rayi_reader *in)
{
    const rayi_body *body = q->isolation->node.body;
    uint64_t number = rayi_take_u64(in), ready = q->op == RAYI_ASK_GROUP_READY ? rayi_take_u64(in) : 0;
    ray_placement_group *group = in->failed ? NULL : port->port.group_of(&port->port, number);

    if (!group)
        return RAY_ERR_CORRUPT;
    if (q->op == RAYI_ASK_GROUP_READY)
        return enter(q, thread, ready, body->group_ready(thread, group));
    if (q->op == RAYI_ASK_GROUP_REMOVE)
        return body->group_remove(thread, group);
    return rayi_guest_release(guest_of(q), thread, number, 1, RAYI_ENTRY_GROUP) ? 0 : RAY_ERR_CORRUPT;
}

static int ask_by_name(const request *q, rayi_guest_port *port, rayi_thread *thread, rayi_reader *in,
                       rayi_writer *reply)
{
    const rayi_body *body = q->isolation->node.body;
    const char *name = rayi_take_text(in);
    rayi_result content = {.kind = RAY_KIND_ACTOR, .size = sizeof(void *)};
    rayi_record *record;
    ray_actor *actor;
    ray_view view;
    int r;

    if (!name)
        return RAY_ERR_CORRUPT;
    switch (q->op) {
    case RAYI_ASK_ACTOR_GET:
        actor = body->find_actor(thread, name);
        if (!actor)
            return rayi_error_last_public()->code;
        memcpy(content.bytes, &actor, sizeof actor);
        r = rayi_exchange_write(&port->port, thread, reply, &content, false);
        rayi_actor_release(thread, actor);
        return r;
    case RAYI_ASK_UNPUBLISH:
        return body->unpublish(thread, name);
    case RAYI_ASK_KV_DEL:
        return body->kv_del(thread, name);
    case RAYI_ASK_DRAIN:
        return body->drain(thread, name);
    case RAYI_ASK_LOOKUP:
        record = body->lookup(thread, name);
        r = put_ref(port, thread, reply, record);
        rayi_record_unref(thread, record);
        return r;
    default:
        r = q->op == RAYI_ASK_KV_GET    ? body->kv_get(thread, name, &view)
            : q->op == RAYI_ASK_KV_LIST ? body->kv_list(thread, name, &view)
                                        : body->query(thread, name, &view);
        return r < 0 ? r : put_view(port, thread, reply, &view);
    }
}

static int ask_load(const request *q, rayi_reader *in)
{
    const char *path = rayi_take_text(in);
    uint32_t flags = rayi_take_u32(in);

    if (in->failed || !path)
        return RAY_ERR_CORRUPT;
    return rayi_function_load(q->isolation->node.executor, path, flags); /* which tells the workers, too */
}

/* So that a task knows itself by the id that its ref has in the node. */
static int ask_task_id(rayi_guest *guest, rayi_thread *thread, rayi_reader *in, rayi_writer *reply)
{
    uint32_t slot = rayi_take_u32(in), generation = rayi_take_u32(in);
    rayi_task *task = NULL;
    uint64_t number;

    pthread_mutex_lock(&guest->lock);
    if (!in->failed && slot < RAYI_OFFERS && guest->offers[slot].used && guest->offers[slot].generation == generation)
        task = guest->offers[slot].task;
    if (task)
        rayi_record_ref(&task->head);
    pthread_mutex_unlock(&guest->lock);
    if (!task)
        return rayi_fail(RAY_ERR_NOT_FOUND, "the task has ended");
    number = rayi_record_number(thread, &task->head);
    rayi_record_unref(thread, &task->head);
    rayi_put_u64(reply, number);
    return number ? 0 : RAY_ERR_NO_MEMORY;
}

static int answer(const request *q, rayi_guest_port *port, rayi_thread *thread, rayi_reader *in, rayi_writer *reply)
{
    switch (q->op) {
    case RAYI_ASK_CANCEL:
    case RAYI_ASK_PUBLISH:
        return ask_about_record(q, port, thread, in);
    case RAYI_ASK_KILL:
    case RAYI_ASK_ACTOR_READY:
        return ask_about_actor(q, port, thread, in);
    case RAYI_ASK_ACTOR_GET:
    case RAYI_ASK_UNPUBLISH:
    case RAYI_ASK_LOOKUP:
    case RAYI_ASK_KV_GET:
    case RAYI_ASK_KV_DEL:
    case RAYI_ASK_KV_LIST:
    case RAYI_ASK_STATE:
    case RAYI_ASK_DRAIN:
        return ask_by_name(q, port, thread, in, reply);
    case RAYI_ASK_KV_PUT:
        return ask_kv_put(port, thread, in);
    case RAYI_ASK_GROUP_NEW:
        return ask_group_new(q, thread, in, reply);
    case RAYI_ASK_GROUP_GET:
        return ask_group_get(q, thread, in, reply);
    case RAYI_ASK_GROUP_READY:
    case RAYI_ASK_GROUP_REMOVE:
    case RAYI_ASK_GROUP_RELEASE:
        return ask_about_group(q, port, thread, in);
    case RAYI_ASK_CLUSTER:
        return ask_cluster(q->isolation->node.body, thread, reply);
    case RAYI_ASK_LOAD:
        return ask_load(q, in);
    case RAYI_ASK_TASK_ID:
        return ask_task_id(guest_of(q), thread, in, reply);
    default:
        return RAY_ERR_CORRUPT;
    }
}

static void send_reply(request *q, rayi_thread *thread, rayi_guest_port *port, int r, const rayi_writer *body)
{
    rayi_guest *guest = guest_of(q);
    rayi_writer reply;

    if (r == RAYI_GONE) { /* it takes no descriptors any more */
        rayi_guest_port_undo(port, thread);
        rayi_spawn_lost(guest, q->life);
        return;
    }
    rayi_writer_init(&reply);
    put_status(&reply, q->id, r);
    if (r == 0 && body)
        rayi_put_bytes(&reply, body->data, body->size);
    if (port->life == q->life && rayi_guest_send_now(guest, RAYI_DOWN_REPLY, &reply)) {
        rayi_guest_port_done(port, thread);
    } else {
        rayi_guest_port_undo(port, thread);
        rayi_guest_cut_off(guest, q->life);
    }
    rayi_writer_fini(&reply);
}

static void request_free(request *q)
{
    if (q->late) {
        rayi_writer_fini(&q->late->body);
        rayi_free(q->late);
    }
    rayi_arena_unhold(q->arena);
    rayi_free(q);
}

static bool is_there(const request *q)
{
    return atomic_load(&guest_of(q)->life) == q->life;
}

/* ---- what may wait ---- */

/* Has it done by a chore, or answers that it cannot be. */
static void leave_to_chore(request *q, rayi_thread *thread, int (*work)(rayi_chore *, rayi_thread *),
                           void (*after)(rayi_chore *))
{
    rayi_guest_port port;

    q->chore = (rayi_chore){.isolation = q->isolation, .work = work, .after = after};
    if (rayi_chore_begin(&guest_of(q)->chores, &q->chore))
        return;
    rayi_guest_port_init(&port, guest_of(q));
    send_reply(q, thread, &port, RAY_ERR_SYSTEM, NULL);
    if (q->record)
        rayi_record_unref(thread, q->record);
    request_free(q);
}

static int answer_late(rayi_chore *chore, rayi_thread *thread)
{
    request *q = rayi_container_of(chore, request, chore);
    rayi_reader in = rayi_reader_of(q->data, q->size);

    return is_there(q) ? answer(q, &q->late->port, thread, &in, &q->late->body) : RAY_ERR_NOT_FOUND;
}

static void after_answer(rayi_chore *chore)
{
    request *q = rayi_container_of(chore, request, chore);
    rayi_thread *thread = q->isolation->node.thread;

    if (chore->error)
        rayi_error_set_last(chore->error);
    if (chore->r == RAY_ERR_CORRUPT && is_there(q))
        rayi_guest_rubbish(guest_of(q), q->life, "a request that cannot be");
    if (is_there(q))
        send_reply(q, thread, &q->late->port, chore->r, &q->late->body);
    else
        rayi_guest_port_undo(&q->late->port, thread);
    request_free(q);
}

/* False: no memory. */
static bool ask_again(request *q, rayi_thread *thread)
{
    q->late = rayi_alloc(sizeof *q->late);
    if (!q->late)
        return false;
    rayi_guest_port_init(&q->late->port, guest_of(q));
    q->late->port.life = q->life;
    rayi_writer_init(&q->late->body);
    leave_to_chore(q, thread, answer_late, after_answer);
    return true;
}

static void on_loop(void *arg)
{
    request *q = arg;
    rayi_guest *guest = guest_of(q);
    rayi_thread *thread = q->isolation->node.thread;
    rayi_reader in = rayi_reader_of(q->data, q->size);
    rayi_guest_port port;
    rayi_writer body;
    int r;

    if (!is_there(q)) {
        request_free(q);
        return;
    }
    rayi_guest_port_init(&port, guest);
    rayi_writer_init(&body);
    r = answer(q, &port, thread, &in, &body);
    if (r == RAY_ERR_STORE_FULL && ask_again(q, thread)) {
        rayi_guest_port_undo(&port, thread);
    } else {
        if (r == RAY_ERR_CORRUPT)
            rayi_guest_rubbish(guest, q->life, "a request that cannot be");
        send_reply(q, thread, &port, r, &body);
        request_free(q);
    }
    rayi_writer_fini(&body);
}

static int create_or_pin(rayi_chore *chore, rayi_thread *thread)
{
    request *q = rayi_container_of(chore, request, chore);
    uint64_t size;

    if (!is_there(q))
        return RAY_ERR_NOT_FOUND;
    if (q->op != RAYI_ASK_CREATE)
        return rayi_object_pin(thread, q->record, q->lost_ns);
    memcpy(&size, q->data, sizeof size);
    q->record = rayi_object_new_in(thread, q->arena, (size_t)size, rayi_deadline_ns(q->isolation->node.timeout_ms));
    return q->record ? 0 : rayi_error_last_public()->code;
}

static void after_waiting(rayi_chore *chore)
{
    request *q = rayi_container_of(chore, request, chore);
    rayi_guest *guest = guest_of(q);
    rayi_thread *thread = q->isolation->node.thread;
    bool pinned = chore->r == 0 && q->op == RAYI_ASK_OPEN;
    rayi_guest_port port;
    rayi_writer body;
    int r = chore->r;

    rayi_guest_port_init(&port, guest);
    rayi_writer_init(&body);
    if (chore->error)
        rayi_error_set_last(chore->error);
    if (r == 0 && !is_there(q))
        r = RAY_ERR_NOT_FOUND;
    else if (r == 0)
        r = q->op == RAYI_ASK_CREATE ? rayi_guest_enter_buffer(guest, thread, q->number, q->record, &body)
                                     : rayi_guest_port_pin(&port, q->record, q->number, &body);
    if (pinned)
        rayi_block_unpin(rayi_object_block(q->record)); /* the guest's own pin holds it now */
    if (q->record && (q->op == RAYI_ASK_OPEN || r != 0))
        rayi_record_unref(thread, q->record);
    if (is_there(q))
        send_reply(q, thread, &port, r, &body);
    else
        rayi_guest_port_undo(&port, thread);
    rayi_writer_fini(&body);
    request_free(q);
}

/* At once if that is possible: 0, answered; RAYI_LATER: not; negative: rubbish. Under the guest's rx, which keeps its
 * arena. */
static int at_once(request *q, rayi_guest *guest, rayi_thread *thread, rayi_reader *in)
{
    rayi_guest_port port;
    rayi_writer body;
    uint64_t size = 0;
    int r;

    q->number = rayi_take_u64(in);
    if (q->op == RAYI_ASK_CREATE)
        size = rayi_take_u64(in);
    else
        q->lost_ns = rayi_take_i64(in);
    if (in->failed)
        return RAY_ERR_CORRUPT;
    rayi_guest_port_init(&port, guest);
    rayi_writer_init(&body);
    if (q->op == RAYI_ASK_CREATE) {
        memcpy(q->data, &size, sizeof size);
        q->record = rayi_object_new_in(thread, guest->arena, (size_t)size, 0);
        r = q->record ? rayi_guest_enter_buffer(guest, thread, q->number, q->record, &body)
            : rayi_error_last_public()->code == RAY_ERR_STORE_FULL ? RAYI_LATER
                                                                   : rayi_error_last_public()->code;
    } else {
        q->record = port.port.record_of(&port.port, thread, q->number);
        r = q->record && rayi_object_is_far(q->record) && q->record->type == RAYI_OBJECT
                ? rayi_guest_port_pin(&port, q->record, q->number, &body)
                : RAY_ERR_CORRUPT;
    }
    if (r != RAYI_LATER && q->record && (q->op == RAYI_ASK_OPEN || r != 0))
        rayi_record_unref(thread, q->record);
    if (r != RAYI_LATER && r != RAY_ERR_CORRUPT)
        send_reply(q, thread, &port, r, &body);
    else
        rayi_guest_port_done(&port, thread);
    rayi_writer_fini(&body);
    return r == RAYI_LATER || r == RAY_ERR_CORRUPT ? r : 0;
}

/* Takes the request. False: rubbish. */
static bool create_or_open(request *q, rayi_guest *guest, rayi_thread *thread, rayi_reader *in)
{
    int r = at_once(q, guest, thread, in);

    if (r != RAYI_LATER) {
        request_free(q);
        return r == 0;
    }
    if (q->op == RAYI_ASK_CREATE) {
        q->arena = guest->arena;
        rayi_arena_hold(q->arena);
    }
    leave_to_chore(q, thread, create_or_pin, after_waiting);
    return true;
}

bool rayi_guest_ask(rayi_guest *guest, rayi_thread *thread, rayi_reader *reader)
{
    uint64_t id = rayi_take_u64(reader);
    uint32_t op = rayi_take_u32(reader);
    size_t size = rayi_reader_left(reader);
    request *q = reader->failed ? NULL : rayi_zalloc(sizeof *q + RAYI_MAX(size, sizeof(uint64_t)));

    if (!q)
        return false;
    q->isolation = guest->of;
    q->guest = guest->index;
    q->life = atomic_load(&guest->life);
    q->id = id;
    q->op = op;
    q->size = size;
    if (op == RAYI_ASK_CREATE || op == RAYI_ASK_OPEN)
        return create_or_open(q, guest, thread, reader);
    if (size > 0)
        memcpy(q->data, reader->at, size);
    if (q->isolation->node.post(q->isolation->node.node, on_loop, q))
        return true;
    request_free(q);
    return false; /* nobody would ever tell the worker */
}
