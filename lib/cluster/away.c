/* Tasks of ours that run on another node. One is known there by its id and attempt; what it comes to is taken only as
 * long as that very attempt is away, so a late result of an earlier one is dropped. It ends with the first of: its
 * result; a refusal (it has not started and comes back); the end of the neighbour.
 *
 * Requests need credit. Those that have none wait in order (unsent), written already: the functions and shapes that
 * they name have been told. */
#include "cluster/inside.h"

#include <stdio.h>

rayi_away *rayi_away_find(rayi_neighbour *n, uint64_t id)
{
    rayi_away *a;

    HASH_FIND(hh, n->away, &id, sizeof id, a);
    return a;
}

static void leave_unsent(rayi_neighbour *n, rayi_away *a)
{
    if (!a->message)
        return;
    DL_DELETE(n->unsent, a);
    rayi_free(a->message);
}

static void leave_index(rayi_cluster *cluster, rayi_away *a)
{
    const rayi_memory *memory = rayi_heap;

    if (a->what)
        HASH_DELETE(hr, cluster->away_of, a);
    a->what = NULL;
}

/* It is away no more; what it counts is the caller's. */
static rayi_away detach(rayi_neighbour *n, rayi_away *a)
{
    const rayi_memory *memory = rayi_heap;
    rayi_away out = *a;

    leave_unsent(n, a);
    rayi_stream_left(n, a);
    leave_index(n->cluster, a);
    HASH_DEL(n->away, a);
    rayi_free(a);
    if (out.kind == RAYI_AWAY_TASK)
        n->cluster->node.away_ended(n->cluster->node.node, out.task, &n->id);
    return out;
}

/* What was asked for through a handle comes to this; takes what the result counts. */
static void end_handle(rayi_thread *thread, const rayi_away *a, rayi_result *result)
{
    if (a->task) {
        rayi_task_complete(thread, a->task, result);
    } else {
        rayi_record_fill(thread, a->record, result);
        rayi_record_unref(thread, a->record);
    }
}

/* Of a value whose bytes are on another node; else NULL. */
static rayi_wanted *wanted_result(const rayi_result *result)
{
    bool has_bytes =
        result->kind == RAY_KIND_BYTES || result->kind == RAY_KIND_STRING || result->kind == RAY_KIND_STRUCT;
    rayi_record *object = NULL;

    if (!result->error && has_bytes)
        memcpy(&object, result->bytes, sizeof object);
    return object ? rayi_wanted_of(object) : NULL;
}

static void end_task(rayi_cluster *cluster, rayi_task *task, rayi_result *result)
{
    bool is_there = wanted_result(result) != NULL;

    if (!is_there) {
        rayi_task_ran(cluster->node.thread, task, result);
        return;
    }
    rayi_record_ref(&task->head);
    atomic_fetch_or(&task->head.state, RAYI_KEPT);
    rayi_task_ran(cluster->node.thread, task, result);
    cluster->node.away_made(cluster->node.node, task);
    rayi_record_unref(cluster->node.thread, &task->head);
}

static void end(rayi_neighbour *n, rayi_away *entry, bool crashed, rayi_result *result)
{
    rayi_wanted *wanted;
    rayi_thread *thread = n->cluster->node.thread;
    rayi_away a = detach(n, entry);

    if (a.is_broken) {
        rayi_result_drop(thread, result);
        result->error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    }
    switch (a.kind) {
    case RAYI_AWAY_TASK:
        if (crashed)
            rayi_task_crashed(thread, a.task, result->error);
        else
            end_task(n->cluster, a.task, result);
        break;
    case RAYI_AWAY_CALL:
        wanted = wanted_result(result);
        if (wanted)
            wanted->maker = RAYI_MADE_BY_CALL;
        rayi_afar_result(n->cluster, a.call, result);
        break;
    case RAYI_AWAY_HANDLE:
        end_handle(thread, &a, result);
        break;
    }
}

/* ---- what the other end has to know first ---- */

rayi_told *rayi_told_find(rayi_told *all, const char *text)
{
    rayi_told *told;

    HASH_FIND_STR(all, text, told);
    return told;
}

rayi_told *rayi_told_tell(rayi_neighbour *n, rayi_told **all, uint32_t *count, const char *text, rayi_writer *message)
{
    const rayi_memory *memory = rayi_heap;
    size_t size = strlen(text) + 1;
    bool may = *count < RAYI_TOLD_MOST && n->told_bytes + message->size <= RAYI_TOLD_BYTES_MOST;
    rayi_told *told = may ? rayi_zalloc(sizeof *told + size) : NULL;

    if (!told)
        return NULL;
    memcpy(told->text, text, size);
    told->number = *count;
    told->bytes = message->size;
    HASH_ADD_STR(*all, text, told);
    if (told->hh.tbl && rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, message) == 0) {
        ++*count;
        n->told_bytes += message->size; /* more than the texts alone: so there is always less heard */
        return told;
    }
    if (told->hh.tbl)
        HASH_DEL(*all, told);
    rayi_free(told);
    return NULL;
}

/* What a function goes by among those that were told: the same name in other code is another one, and so is one that is
 * not here. */
static void name_told(const rayi_function *function, const rayi_code *code, char out[RAYI_CODE_HASH_SIZE + 256])
{
    if (rayi_function_is_abroad(function))
        snprintf(out, RAYI_CODE_HASH_SIZE + 256, "\n%u", (unsigned)rayi_function_number(function));
    else
        snprintf(out, RAYI_CODE_HASH_SIZE + 256, "%s%s%s", code ? code->hash : "", code ? "/" : "",
                 rayi_function_name(function));
}

bool rayi_away_name_function(rayi_neighbour *n, const rayi_function *function, uint32_t *out)
{
    rayi_code *code = rayi_function_code(function);
    char name[RAYI_CODE_HASH_SIZE + 256];
    rayi_told *told;
    rayi_text description;
    rayi_writer message;

    name_told(function, code, name);
    told = rayi_told_find(n->functions, name);
    if (code && !rayi_code_tell(n, code))
        return false;
    if (!told) {
        rayi_writer_init(&message);
        rayi_text_init(&description, rayi_heap);
        rayi_function_describe(function, &description);
        rayi_put_u8(&message, RAYI_BETWEEN_FUNCTION);
        rayi_put_u32(&message, n->num_functions);
        rayi_put_text(&message, rayi_function_name(function));
        rayi_put_text(&message, description.failed ? NULL : description.data);
        if (code)
            rayi_put_text(&message, code->hash);
        message.failed |= description.failed;
        told = rayi_told_tell(n, &n->functions, &n->num_functions, name, &message);
        if (told)
            told->function = function;
        rayi_text_fini(&description);
        rayi_writer_fini(&message);
    }
    if (told)
        *out = told->number;
    return told != NULL;
}

static rayi_told *find_number(const rayi_neighbour *n, uint32_t number)
{
    rayi_told *told = n->functions;

    while (told && told->number != number)
        told = told->hh.next;
    return told;
}

/* Who has it by another description than the first is told that with the next call, and refuses it. */
bool rayi_away_known(rayi_neighbour *n, rayi_reader *reader)
{
    uint32_t number = rayi_take_u32(reader);
    const char *description = rayi_take_text(reader);
    rayi_told *told = reader->failed || !description ? NULL : find_number(n, number);
    const rayi_function *function;

    if (!told)
        return false;
    function = told->function;
    if (rayi_function_is_abroad(function) && !rayi_function_agree(n->cluster->node.executor, function, description))
        rayi_told_forget(&n->functions, told->text);
    n->cluster->node.knows(n->cluster->node.node, &n->id, rayi_function_number(function));
    return true;
}

/* 0 stands for CPU=1. */
static bool name_shape(rayi_neighbour *n, const char *resources, uint32_t *out)
{
    rayi_told *told;
    rayi_writer message;

    *out = 0;
    if (!resources)
        return true;
    told = rayi_told_find(n->shapes, resources);
    if (!told) {
        rayi_between_begin(&message, RAYI_BETWEEN_SHAPE);
        rayi_put_u32(&message, n->num_shapes + 1);
        rayi_put_text(&message, resources);
        told = rayi_told_tell(n, &n->shapes, &n->num_shapes, resources, &message);
        rayi_writer_fini(&message);
    }
    if (told)
        *out = told->number + 1;
    return told != NULL;
}

/* ---- sending ---- */

/* Of the options of a task, those that say how it is to run where it goes. False: none does. */
static bool find_options(const rayi_task *task, const rayi_away_options *options, ray_task_options *out)
{
    const char *name = rayi_task_name(task);

    *out = (ray_task_options){.size = sizeof *out,
                              .name = name == rayi_function_name(rayi_task_function(task)) ? NULL : name,
                              .isolation = options->isolation,
                              .env = (const char *const *)rayi_task_env(task),
                              .own_thread = task->head.flags & RAYI_OWN_THREAD};
    return out->name || out->isolation != RAY_ISOLATION_AUTO || out->env || out->own_thread;
}

static bool write_task(rayi_neighbour *n, rayi_between_port *port, rayi_writer *writer, rayi_away *a,
                       const rayi_away_options *options)
{
    rayi_task *task = a->task;
    ray_task_options how;
    rayi_between_task head = {.id = options->id,
                              .attempt = options->attempt,
                              .num_args = task->num_args,
                              .priority = options->priority,
                              .tries = options->tries,
                              .left_ms = INT64_MAX,
                              .part = options->part,
                              .bundle = options->bundle,
                              .part_owner = options->part_owner,
                              .any_bundle = options->any_bundle,
                              .has_options = find_options(task, options, &how)};

    rayi_stream_describe(a, task, &head);
    if (options->deadline_ms != INT64_MAX)
        head.left_ms = RAYI_MAX(options->deadline_ms - rayi_cluster_now(), 1);
    if (!rayi_away_name_function(n, rayi_task_function(task), &head.function) ||
        !name_shape(n, options->resources, &head.shape))
        return false;
    rayi_put_u8(writer, RAYI_BETWEEN_TASK);
    rayi_put_bytes(writer, &head, sizeof head);
    if (head.has_options)
        rayi_exchange_write_task_options(&port->port, writer, &how);
    return rayi_exchange_write_args(&port->port, n->cluster->node.thread, writer, task, true) == 0;
}

static bool keep_unsent(rayi_neighbour *n, rayi_away *a, const rayi_writer *writer)
{
    a->message = rayi_alloc(writer->size);
    if (!a->message)
        return false;
    memcpy(a->message, writer->data, writer->size);
    a->size = writer->size;
    DL_APPEND(n->unsent, a);
    return true;
}

bool rayi_away_put(rayi_neighbour *n, rayi_away *a, const rayi_writer *writer)
{
    const rayi_memory *memory = rayi_heap;
    int r;

    HASH_ADD(hh, n->away, id, sizeof a->id, a);
    if (!a->hh.tbl)
        return false;
    a->there = n;
    if (a->what)
        HASH_ADD(hr, n->cluster->away_of, what, sizeof a->what, a);
    if (a->what && !a->hr.tbl) {
        a->what = NULL;
        HASH_DEL(n->away, a);
        return false;
    }
    r = n->unsent ? RAY_ERR_LIMIT : rayi_neighbour_send(n, RAYI_FRAME_REQUEST, writer);
    if (r == 0 || (r == RAY_ERR_LIMIT && keep_unsent(n, a, writer))) {
        rayi_stream_went(n, a);
        return true;
    }
    leave_index(n->cluster, a);
    HASH_DEL(n->away, a);
    return false;
}

bool rayi_away_send(rayi_cluster *cluster, const rayi_node_id *to, rayi_task *task, const rayi_away_options *options)
{
    rayi_neighbour *n = rayi_neighbour_or_own(cluster, to);
    rayi_away *a = n ? rayi_zalloc(sizeof *a) : NULL;
    rayi_between_port port;
    rayi_writer writer;
    bool sent;

    if (!a)
        return false;
    a->id = options->id;
    a->attempt = options->attempt;
    a->task = task;
    rayi_between_port_init(&port, n);
    rayi_writer_init(&writer);
    sent = write_task(n, &port, &writer, a, options) && rayi_away_put(n, a, &writer);
    rayi_between_port_fini(&port, sent);
    rayi_writer_fini(&writer);
    if (!sent)
        rayi_free(a);
    return sent;
}

void rayi_away_go_on(rayi_neighbour *n)
{
    while (n->unsent) {
        rayi_away *a = n->unsent;
        rayi_writer writer = {.data = a->message, .size = a->size};
        if (rayi_neighbour_send(n, RAYI_FRAME_REQUEST, &writer) < 0)
            return;
        leave_unsent(n, a);
        a->message = NULL;
        rayi_stream_went(n, a);
    }
}

/* ---- news of what is away ---- */

static void send_cancel(rayi_neighbour *n, uint64_t id, unsigned flags)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_CANCEL);
    rayi_put_u64(&writer, id);
    rayi_put_u32(&writer, flags);
    rayi_between_say(n, &writer);
}

static void come_back(rayi_neighbour *n, rayi_away *entry, int code);

static void end_unsent(rayi_neighbour *n, rayi_away *a, rayi_task *task)
{
    rayi_result result = {0};

    if (a->kind == RAYI_AWAY_TASK) { /* whose home knows what it comes to */
        come_back(n, a, RAY_ERR_CANCELLED);
        return;
    }
    result.error = rayi_task_cancelled_error(task);
    end(n, a, false, &result);
}

/* By ray_cancel, of it or of one that it descends from; its deadline they know there, and the end of its group. */
static bool was_cancelled(const rayi_task *task)
{
    unsigned state = atomic_load(&task->head.state);

    if (state & RAYI_GROUP_LOST)
        return false;
    return (state & RAYI_CANCEL) || (!(state & RAYI_LATE) && rayi_task_cancelled(task));
}

static void stop(rayi_neighbour *n, rayi_away *a, rayi_task *task)
{
    unsigned state = atomic_load(&task->head.state);
    bool only_this = (state & RAYI_CANCEL) && !(state & RAYI_CANCEL_CHILDREN);

    if (!was_cancelled(task) || (only_this && a->told == RAYI_TOLD_THIS))
        return;
    if (a->message) {
        end_unsent(n, a, task);
        return;
    }
    a->told = only_this ? RAYI_TOLD_THIS : RAYI_TOLD_ALL;
    send_cancel(n, a->id, only_this ? RAY_CANCEL_ONLY_THIS : 0);
}

rayi_task *rayi_away_task(const rayi_away *a)
{
    if (a->kind == RAYI_AWAY_CALL)
        return rayi_afar_call_task(a->call);
    if (a->task)
        rayi_record_ref(&a->task->head);
    return a->task;
}

static void stop_cancelled(rayi_neighbour *n)
{
    rayi_away *a, *next;

    HASH_ITER (hh, n->away, a, next) {
        rayi_task *task = a->told == RAYI_TOLD_ALL ? NULL : rayi_away_task(a);
        if (!task)
            continue;
        stop(n, a, task);
        rayi_record_unref(n->cluster->node.thread, &task->head);
    }
}

/* One that was taken back from there leaves its entry, without a task. */
static void stop_call(rayi_cluster *cluster, const rayi_record *call)
{
    for (rayi_away *a;;) {
        rayi_task *task;
        HASH_FIND(hr, cluster->away_of, &call, sizeof call, a);
        if (!a)
            return;
        task = rayi_away_task(a);
        if (task && a->told != RAYI_TOLD_ALL)
            stop(a->there, a, task);
        else if (!task)
            leave_index(cluster, a);
        if (!task)
            continue;
        rayi_record_unref(cluster->node.thread, &task->head);
        return;
    }
}

typedef struct rayi_cancelled {
    struct rayi_cancelled *next;
    rayi_record *call; /* counted */
} rayi_cancelled;

/* Without memory for its name it is looked for among all. */
void rayi_away_cancel(rayi_cluster *cluster, rayi_record *call)
{
    rayi_cancelled *c = rayi_alloc(sizeof *c);

    if (!c) {
        rayi_away_look(cluster, RAYI_LOOK_CANCELS);
        return;
    }
    rayi_record_ref(call);
    c->call = call;
    pthread_mutex_lock(&cluster->names_lock);
    if (!cluster->cancelled)
        rayi_cluster_stir(cluster);
    c->next = cluster->cancelled;
    cluster->cancelled = c;
    pthread_mutex_unlock(&cluster->names_lock);
}

static void stop_calls(rayi_cluster *cluster)
{
    rayi_cancelled *all, *next;

    pthread_mutex_lock(&cluster->names_lock);
    all = cluster->cancelled;
    cluster->cancelled = NULL;
    pthread_mutex_unlock(&cluster->names_lock);
    for (; all; all = next) {
        next = all->next;
        stop_call(cluster, all->call);
        rayi_record_unref(cluster->node.thread, all->call);
        rayi_free(all);
    }
}

void rayi_away_look(rayi_cluster *cluster, unsigned what)
{
    pthread_mutex_lock(&cluster->names_lock);
    if (!cluster->looks)
        rayi_cluster_stir(cluster);
    cluster->looks |= what;
    pthread_mutex_unlock(&cluster->names_lock);
}

static void look(rayi_neighbour *n, unsigned what)
{
    if (what & RAYI_LOOK_CREDIT)
        rayi_streams_look(n);
    if (what & RAYI_LOOK_CANCELS)
        stop_cancelled(n);
}

void rayi_away_look_now(rayi_cluster *cluster)
{
    rayi_neighbour *n, *next;
    unsigned what;

    stop_calls(cluster);
    pthread_mutex_lock(&cluster->names_lock);
    what = cluster->looks;
    cluster->looks = 0;
    pthread_mutex_unlock(&cluster->names_lock);
    if (!what)
        return;
    HASH_ITER (hh, cluster->neighbours, n, next)
        look(n, what);
    if (cluster->own)
        look(cluster->own, what);
}

static rayi_away *find_at(rayi_cluster *cluster, const rayi_node_id *to, uint64_t id, rayi_neighbour **out)
{
    *out = rayi_neighbour_or_own(cluster, to);
    return *out ? rayi_away_find(*out, id) : NULL;
}

void rayi_away_stop(rayi_cluster *cluster, const rayi_node_id *to, uint64_t id)
{
    rayi_neighbour *n;
    rayi_away *a = find_at(cluster, to, id, &n);
    rayi_task *task = a && a->told != RAYI_TOLD_ALL ? rayi_away_task(a) : NULL;

    if (!task)
        return;
    stop(n, a, task);
    rayi_record_unref(cluster->node.thread, &task->head);
}

void rayi_away_force(rayi_cluster *cluster, const rayi_node_id *to, uint64_t id)
{
    rayi_neighbour *n;
    rayi_away *a = find_at(cluster, to, id, &n);
    bool only_this = a && !(atomic_load(&a->task->head.state) & RAYI_CANCEL_CHILDREN);

    if (!a || a->message) /* what has not been sent ends as a politely cancelled one does */
        return;
    a->told = only_this ? RAYI_TOLD_THIS : RAYI_TOLD_ALL;
    send_cancel(n, id, RAY_CANCEL_FORCE | (only_this ? RAY_CANCEL_ONLY_THIS : 0));
}

void rayi_away_late(rayi_cluster *cluster, const rayi_node_id *to, uint64_t id)
{
    rayi_neighbour *n;
    rayi_away *a = find_at(cluster, to, id, &n);

    if (a && a->message)
        come_back(n, a, RAY_ERR_DEADLINE);
}

void rayi_away_inherit(rayi_cluster *cluster, const rayi_node_id *to, uint64_t id, int32_t priority)
{
    rayi_neighbour *n;
    rayi_away *a = find_at(cluster, to, id, &n);
    rayi_writer writer;

    if (!a)
        return;
    rayi_between_begin(&writer, RAYI_BETWEEN_INHERIT);
    rayi_put_u64(&writer, id);
    rayi_put_i64(&writer, priority);
    rayi_between_say(n, &writer);
}

/* ---- what comes back ---- */

bool rayi_away_result(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_thread *thread = n->cluster->node.thread;
    uint64_t id = rayi_take_u64(reader);
    uint32_t attempt = rayi_take_u32(reader);
    bool crashed = rayi_take_u8(reader) != 0, read;
    uint8_t again = rayi_take_u8(reader);
    rayi_between_port port;
    rayi_result result;
    rayi_away *a;

    if (reader->failed)
        return false;
    rayi_between_port_init(&port, n);
    read = rayi_exchange_read(&port.port, thread, reader, &result);
    rayi_between_port_fini(&port, true);
    if (read && ((crashed && !result.error) || again > RAYI_AGAIN_NO)) {
        rayi_result_drop(thread, &result);
        return false;
    }
    if (!read) /* rubbish, or there was no memory for it: it does not come again */
        result.error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    result.again = again;
    a = rayi_away_find(n, id);
    if (!a || a->attempt != attempt)
        rayi_result_drop(thread, &result);
    else
        end(n, a, read && crashed, &result);
    return read;
}

static rayi_error *died(const rayi_neighbour *n, const rayi_away *a)
{
    if (a->kind == RAYI_AWAY_TASK)
        return rayi_neighbour_error(n, rayi_task_name(a->task));
    return rayi_error_new(RAY_ERR_ACTOR_DIED, a->task ? rayi_task_name(a->task) : NULL, n->name,
                          "%s%sthe actor's owner, node %s, died", a->task ? rayi_task_name(a->task) : "",
                          a->task ? ": " : "", n->name);
}

/* A call that was refused goes with its actor's life; its end is on the way. */
static void come_back(rayi_neighbour *n, rayi_away *entry, int code)
{
    rayi_cluster *cluster = n->cluster;
    rayi_away a = detach(n, entry);
    rayi_result result;

    switch (a.kind) {
    case RAYI_AWAY_TASK:
        cluster->node.away_refused(cluster->node.node, a.task, &n->id, code);
        break;
    case RAYI_AWAY_CALL:
        rayi_afar_call_drop(cluster, a.call);
        break;
    case RAYI_AWAY_HANDLE:
        result = (rayi_result){.error = rayi_error_plain(RAY_ERR_ACTOR_DIED)};
        end_handle(cluster->node.thread, &a, &result);
        break;
    }
}

bool rayi_away_refused(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t id = rayi_take_u64(reader);
    uint32_t attempt = rayi_take_u32(reader);
    int code = (int)rayi_take_i64(reader);
    rayi_away *a = reader->failed ? NULL : rayi_away_find(n, id);

    if (reader->failed || code >= 0)
        return false;
    if (a && a->attempt == attempt)
        come_back(n, a, code);
    return true;
}

void rayi_told_forget(rayi_told **all, const char *text)
{
    const rayi_memory *memory = rayi_heap;
    rayi_told *told = rayi_told_find(*all, text);

    if (told)
        HASH_DEL(*all, told);
    rayi_free(told);
}

static void forget_all(rayi_told **all)
{
    const rayi_memory *memory = rayi_heap;
    rayi_told *told, *next;

    HASH_ITER (hh, *all, told, next) {
        HASH_DEL(*all, told);
        rayi_free(told);
    }
}

static void end_with_node(rayi_neighbour *n, rayi_away *a)
{
    rayi_result result = {0};

    if (a->kind == RAYI_AWAY_CALL) {
        rayi_afar_call_drop(n->cluster, detach(n, a).call);
    } else if (a->kind == RAYI_AWAY_TASK && a->message) { /* it has not started */
        come_back(n, a, RAY_ERR_NODE_DIED);
    } else {
        result.error = died(n, a);
        end(n, a, true, &result);
    }
}

void rayi_away_end(rayi_neighbour *n)
{
    while (n->away)
        end_with_node(n, n->away);
    forget_all(&n->functions);
    forget_all(&n->shapes);
    forget_all(&n->codes);
}
