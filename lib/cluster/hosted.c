/* Tasks of other nodes that run here. Each is an ordinary task of this node, without retries: its owner decides on
 * those. The thread that completes it hands it to the loop (rayi_cluster_finish), which sends what it came to. It is
 * counted by its neighbour's table as long as the session lasts; when that ends, what it has begun here is asked to
 * stop, and what it comes to is dropped. */
#include "cluster/inside.h"

#include <limits.h>

/* ---- what was told before ---- */

/* Room for one more of size bytes, which double; false: no memory. */
static bool grow(void **list, uint32_t count, size_t size)
{
    void *more;

    if (count & (count - 1)) /* 0, 1, 2, 4, 8, … are full */
        return true;
    more = rayi_memory_realloc(rayi_heap, *list, (size_t)RAYI_MAX(2 * count, 1) * size);
    if (more)
        *list = more;
    return more != NULL;
}

/* False: it has told too much. */
static bool count_heard(rayi_neighbour *n, size_t bytes)
{
    n->heard_bytes += bytes;
    return n->heard_bytes <= RAYI_TOLD_BYTES_MOST;
}

static rayi_error *judge_signature(const rayi_function *function, const char *description)
{
    rayi_error *error = NULL;
    rayi_text own;

    rayi_text_init(&own, rayi_heap);
    rayi_function_describe(function, &own);
    if (own.failed)
        error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    else if (strcmp(own.data, description) != 0)
        error = rayi_error_new(RAY_ERR_SIGNATURE, rayi_function_name(function), NULL,
                               "%s: the submitting node knows it as \"%s\", this one as \"%s\"",
                               rayi_function_name(function), description, own.data);
    rayi_text_fini(&own);
    return error;
}

/* Who has never seen the function reads no stream: their record of the call has no items. */
static rayi_error *judge_sort(const rayi_function *function, const char *name)
{
    rayi_text own;
    rayi_error *error;

    if (!(rayi_function_record(function)->flags & RAY_FUNCTION_STREAM))
        return NULL;
    rayi_text_init(&own, rayi_heap);
    rayi_function_describe(function, &own);
    error = rayi_error_new(RAY_ERR_UNSUPPORTED, name, NULL,
                           "%s is a stream, \"%s\": who calls it must have the function, too", name,
                           own.failed ? "?" : own.data);
    rayi_text_fini(&own);
    return error;
}

/* Its code may have become known since it was told. */
static void look_up(rayi_neighbour *n, rayi_callable *c)
{
    rayi_executor *executor = n->cluster->node.executor;

    c->function = rayi_code_function(executor, c->hash ? rayi_code_find(executor, c->hash) : NULL, c->name);
    if (c->function)
        c->error = c->description ? judge_signature(c->function, c->description) : judge_sort(c->function, c->name);
    c->handle = c->function ? rayi_function_handle(c->function) : NULL;
    if (c->function && !c->handle && !c->error)
        c->error = rayi_error_plain(RAY_ERR_NO_MEMORY);
}

static void say_known(rayi_neighbour *n, uint32_t number, const rayi_callable *c)
{
    rayi_text description;
    rayi_writer writer;

    rayi_text_init(&description, rayi_heap);
    rayi_function_describe(c->function, &description);
    rayi_between_begin(&writer, RAYI_BETWEEN_KNOWN);
    rayi_put_u32(&writer, number);
    rayi_put_text(&writer, description.data);
    writer.failed |= description.failed;
    rayi_between_say(n, &writer);
    rayi_text_fini(&description);
}

/* What was lost for want of memory keeps its number. False: there is still none. */
static bool make_callables(rayi_neighbour *n, uint32_t count)
{
    while (n->num_callables < count) {
        void *list = n->callables;
        if (!grow(&list, n->num_callables, sizeof *n->callables))
            return false;
        n->callables = list;
        n->callables[n->num_callables++] = (rayi_callable){.error = rayi_error_plain(RAY_ERR_NO_MEMORY)};
    }
    return true;
}

bool rayi_hosted_function(rayi_neighbour *n, rayi_reader *reader)
{
    uint32_t number = rayi_take_u32(reader);
    const char *name = rayi_take_text(reader), *description = rayi_take_text(reader);
    const char *hash = rayi_code_take_hash(reader);
    rayi_callable *c;

    if (reader->failed || !name || number != n->functions_told || number >= RAYI_TOLD_MOST ||
        !count_heard(n, strlen(name) + (description ? strlen(description) : 0)))
        return false;
    n->functions_told++;
    if (!make_callables(n, n->functions_told))
        return true;
    c = &n->callables[number];
    *c = (rayi_callable){.hash = hash ? rayi_strdup(hash) : NULL,
                         .name = rayi_strdup(name),
                         .description = description ? rayi_strdup(description) : NULL};
    if (c->name && (c->description || !description) && (c->hash || !hash))
        look_up(n, c);
    else
        c->error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    if (c->function && !description)
        say_known(n, number, c);
    return true;
}

static void look_again(rayi_neighbour *n)
{
    for (uint32_t i = 0; i < n->num_callables; i++) {
        rayi_callable *c = rayi_hosted_callable(n, i);
        if (!c->is_missed || !c->function)
            continue;
        c->is_missed = false;
        say_known(n, i, c);
    }
}

void rayi_hosted_look_again(rayi_cluster *cluster)
{
    for (rayi_neighbour *n = cluster->neighbours; n; n = n->hh.next)
        look_again(n);
    if (cluster->own)
        look_again(cluster->own);
}

void rayi_cluster_functions_grew(rayi_cluster *cluster)
{
    rayi_hosted_look_again(cluster);
    rayi_neighbours_pump(cluster);
}

/* As its owner has it, canonical, so that what is not named is none: an option would take CPU=1 for granted. *out NULL:
 * no memory. False: those are no resources. */
static bool option_of(const char *text, char **out)
{
    rayi_resources *parsed;
    rayi_text option;
    int r = rayi_resources_parse(rayi_heap, text, NULL, &parsed, NULL, 0);

    *out = NULL;
    if (r < 0)
        return r == RAY_ERR_NO_MEMORY;
    rayi_text_init(&option, rayi_heap);
    if (rayi_resources_amount(parsed, "CPU") == 0)
        rayi_text_add(&option, parsed->count > 0 ? "CPU=0, " : "CPU=0");
    rayi_text_add(&option, parsed->text);
    rayi_resources_free(rayi_heap, parsed);
    *out = option.failed ? NULL : option.data;
    return true;
}

static bool make_texts(rayi_neighbour *n, uint32_t count)
{
    while (n->num_texts < count) {
        void *list = n->texts;
        if (!grow(&list, n->num_texts, sizeof *n->texts))
            return false;
        n->texts = list;
        n->texts[n->num_texts++] = NULL;
    }
    return true;
}

bool rayi_hosted_shape(rayi_neighbour *n, rayi_reader *reader)
{
    uint32_t number = rayi_take_u32(reader);
    const char *text = rayi_take_text(reader);

    if (reader->failed || !text || number != n->shapes_told + 1 || number > RAYI_TOLD_MOST ||
        !count_heard(n, strlen(text)))
        return false;
    n->shapes_told++;
    return !make_texts(n, number) || option_of(text, &n->texts[number - 1]);
}

/* ---- answering ---- */

static void hosted_free(rayi_cluster *cluster, rayi_hosted *h)
{
    const rayi_memory *memory = rayi_heap;

    if (h->is_known)
        HASH_DEL(h->whose->hosted, h);
    rayi_flow_free(h->flow);
    rayi_record_unref(cluster->node.thread, h->record);
    rayi_neighbour_unref(h->whose);
    rayi_free(h);
}

static void refuse(rayi_neighbour *n, uint64_t id, uint32_t attempt, int code)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_REFUSE);
    rayi_put_u64(&writer, id);
    rayi_put_u32(&writer, attempt);
    rayi_put_i64(&writer, code);
    rayi_between_say(n, &writer);
    rayi_neighbour_done(n, 1);
}

rayi_callable *rayi_hosted_callable(rayi_neighbour *n, uint32_t function)
{
    bool is_there = function < n->functions_told && make_callables(n, function + 1);
    rayi_callable *c = is_there ? &n->callables[function] : NULL;

    if (c && !c->function && !c->error) /* a library may have been loaded since */
        look_up(n, c);
    return c;
}

static bool is_crash(const rayi_error *error)
{
    int code = error ? rayi_error_code(error) : 0;

    return code == RAY_ERR_WORKER_CRASHED || code == RAY_ERR_OUT_OF_MEMORY || code == RAY_ERR_NODE_DIED ||
           code == RAY_ERR_SHUTDOWN;
}

static bool write_result(rayi_neighbour *n, rayi_between_port *port, rayi_writer *writer, uint64_t id, uint32_t attempt,
                         const rayi_result *content)
{
    rayi_put_u8(writer, RAYI_BETWEEN_RESULT);
    rayi_put_u64(writer, id);
    rayi_put_u32(writer, attempt);
    rayi_put_u8(writer, is_crash(content->error));
    rayi_put_u8(writer, content->again);
    return rayi_exchange_write(&port->port, n->cluster->node.thread, writer, content, false) == 0;
}

static void send_result(rayi_neighbour *n, uint64_t id, uint32_t attempt, const rayi_result *content)
{
    rayi_between_port port;
    rayi_writer writer;
    bool sent;

    rayi_between_port_init(&port, n);
    rayi_writer_init(&writer);
    if (!write_result(n, &port, &writer, id, attempt, content)) {
        rayi_result failed = {.error = rayi_error_last()};
        rayi_writer_fini(&writer);
        rayi_writer_init(&writer);
        (void)write_result(n, &port, &writer, id, attempt, &failed);
        rayi_error_unref(failed.error);
    }
    sent = rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer) == 0;
    rayi_between_port_fini(&port, sent);
    rayi_writer_fini(&writer);
}

/* There is no memory for it: a task may run elsewhere, a call cannot. */
static void give_up(rayi_neighbour *n, const rayi_between_task *head)
{
    rayi_result failed = {.error = rayi_error_plain(RAY_ERR_NO_MEMORY)};

    if (head->callee == RAYI_CALLS_NOBODY) {
        refuse(n, head->id, head->attempt, RAY_ERR_NO_MEMORY);
    } else {
        send_result(n, head->id, head->attempt, &failed);
        rayi_neighbour_done(n, 1);
    }
    rayi_error_unref(failed.error);
}

static void tell(rayi_cluster *cluster, rayi_finished *finished)
{
    rayi_hosted *h = rayi_container_of(finished, rayi_hosted, finished);

    if (rayi_park_holds(h))
        rayi_park_hold(cluster, finished);
    else if (!h->flow || rayi_flow_end(h->flow))
        rayi_hosted_over(h);
}

static void answer(rayi_hosted *h)
{
    bool is_broken = h->flow && rayi_flow_is_broken(h->flow);
    rayi_result content = {0};

    if (is_broken) {
        content.error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    } else {
        content = rayi_record_content(h->record);
        content.again = (uint8_t)rayi_record_again(h->record);
    }
    if (!(h->of && rayi_resident_is_over(content.error)))
        send_result(h->whose, h->id, h->attempt, &content);
    if (is_broken)
        rayi_error_unref(content.error);
    rayi_neighbour_done(h->whose, 1);
}

/* What nobody waits for any more may still run (rayi_hosted_end): its record is not read then. */
void rayi_hosted_over(rayi_hosted *h)
{
    rayi_cluster *cluster = h->whose->cluster;
    struct rayi_resident *of = h->of;

    if (h->is_known)
        answer(h);
    hosted_free(cluster, h);
    if (of)
        rayi_resident_count(of, -1);
}

static void fire(rayi_thread *thread, rayi_waiter *waiter)
{
    rayi_hosted *h = rayi_container_of(waiter, rayi_hosted, waiter);

    (void)thread;
    rayi_cluster_finish(h->whose->cluster, &h->finished);
}

/* ---- taking ---- */

rayi_hosted *rayi_hosted_find(rayi_neighbour *n, uint64_t id)
{
    rayi_hosted *h;

    HASH_FIND(hh, n->hosted, &id, sizeof id, h);
    return h;
}

void rayi_hosted_host(rayi_neighbour *n, const rayi_between_task *head, rayi_record *record, struct rayi_resident *of)
{
    const rayi_memory *memory = rayi_heap;
    rayi_hosted *h = rayi_zalloc(sizeof *h);
    bool streams = record->flags & RAYI_WATCHED;

    if (h) {
        h->id = head->id;
        h->attempt = head->attempt;
        h->of = of;
        h->record = record;
        h->whose = n;
        h->waiter.fire = fire;
        h->finished.tell = tell;
        h->flow = streams ? rayi_flow_new(h, head) : NULL;
        if (h->flow || !streams)
            HASH_ADD(hh, n->hosted, id, sizeof h->id, h);
    }
    if (!h || !h->hh.tbl) {
        rayi_flow_free(h ? h->flow : NULL);
        rayi_free(h);
        (void)rayi_record_cancel(n->cluster->node.thread, record, 0);
        rayi_record_unref(n->cluster->node.thread, record);
        give_up(n, head);
        return;
    }
    h->is_known = true;
    if (record->type != RAYI_FIXED)
        atomic_fetch_or_explicit(&record->state, RAYI_HOSTED, memory_order_relaxed);
    rayi_neighbour_ref(n);
    if (of)
        rayi_resident_count(of, 1);
    if (record->type == RAYI_FIXED || !rayi_record_watch(record, &h->waiter))
        rayi_cluster_finish(n->cluster, &h->finished);
    if (h->flow)
        rayi_flow_start(h->flow);
}

static rayi_hosting hosting_of(const rayi_between_task *head)
{
    return (rayi_hosting){.attempt = head->tries, .credit = head->credit, .delivered = head->delivered};
}

/* given: how it is to run; NULL: as usual. */
static void begin(rayi_neighbour *n, const rayi_between_task *head, const rayi_callable *c, const rayi_args *args,
                  const ray_task_options *given)
{
    rayi_hosting hosting = hosting_of(head);
    ray_task_options options = {.size = sizeof options,
                                .name = given ? given->name : NULL,
                                .isolation = given ? given->isolation : RAY_ISOLATION_AUTO,
                                .env = given ? given->env : NULL,
                                .own_thread = given && given->own_thread,
                                .resources =
                                    head->shape && head->shape <= n->num_texts ? n->texts[head->shape - 1] : NULL,
                                .priority = head->priority,
                                .max_retries = RAY_NO_RETRIES,
                                .deadline_ms = head->left_ms == INT64_MAX ? 0 : head->left_ms,
                                .bundle = head->bundle,
                                .group = head->part ? rayi_parts_find(n, &head->part_owner, head->part) : NULL};

    if (head->part && !options.group) {
        refuse(n, head->id, head->attempt, RAY_ERR_GROUP_REMOVED);
        return;
    }
    if (head->shape && !options.resources) {
        give_up(n, head);
        return;
    }
    if (options.group && !rayi_parts_admit(n, options.group, head->any_bundle, head->bundle, options.resources)) {
        refuse(n, head->id, head->attempt, RAY_ERR_LIMIT);
        return;
    }
    rayi_hosted_host(
        n, head,
        rayi_task_submit_hosted(n->cluster->node.thread, c->handle, args->values, args->count, &options, &hosting),
        NULL);
}

/* A call: of an actor that lives here for them, or of one of ours that they have a handle of. */
static void begin_call(rayi_neighbour *n, const rayi_between_task *head, const rayi_callable *c, const rayi_args *args,
                       const ray_task_options *options)
{
    struct rayi_resident *of = NULL;
    ray_actor *actor = head->callee == RAYI_CALLS_HOSTED ? rayi_resident_find(n, head->actor, &of)
                                                         : rayi_handles_given(n, head->actor & ~RAYI_YOURS);
    rayi_hosting hosting = hosting_of(head);

    if (!actor) {
        refuse(n, head->id, head->attempt, RAY_ERR_ACTOR_DIED);
        return;
    }
    rayi_hosted_host(n, head,
                     rayi_actor_submit_hosted(n->cluster->node.thread, actor, c->handle, args->values, args->count,
                                              options, &hosting),
                     of);
}

static bool is_sound(rayi_neighbour *n, const rayi_between_task *head)
{
    return !rayi_hosted_find(n, head->id) && head->function < n->functions_told && head->shape <= n->shapes_told &&
           head->num_args <= RAYI_ARGS_MAX && head->left_ms > 0 && head->callee <= RAYI_CALLS_HANDLE;
}

/* True: it was answered. */
static bool turn_away(rayi_neighbour *n, const rayi_between_task *head, const rayi_callable *c)
{
    rayi_result failed = {.error = c->error};

    bool is_new = head->callee == RAYI_CALLS_NOBODY && !head->part; /* a part that is kept here is waited for */
    bool takes_none = n->cluster->is_closing || (n->cluster->is_drained && is_new);

    if (c->function && !c->error && !takes_none)
        return false;
    if (!c->function && !c->error && head->callee != RAYI_CALLS_NOBODY)
        failed.error = rayi_error_new(RAY_ERR_UNKNOWN_FUNCTION, c->name, NULL,
                                      "%s: no such method on the node where its actor is", c->name);
    if (!failed.error) {
        refuse(n, head->id, head->attempt, c->function ? RAY_ERR_SHUTDOWN : RAY_ERR_UNKNOWN_FUNCTION);
        return true;
    }
    send_result(n, head->id, head->attempt, &failed);
    rayi_neighbour_done(n, 1);
    if (failed.error != c->error)
        rayi_error_unref(failed.error);
    return true;
}

static void take(rayi_neighbour *n, const rayi_between_task *head, const rayi_args *args,
                 const ray_task_options *options)
{
    rayi_callable *told = rayi_hosted_callable(n, head->function), c;

    if (!told) {
        give_up(n, head);
        return;
    }
    c = *told;
    if (!c.function && !c.error && head->callee == RAYI_CALLS_HANDLE) { /* its actor may live on a third node */
        c.function = rayi_function_abroad(n->cluster->node.executor, c.name, RAY_FUNCTION_METHOD);
        c.handle = c.function ? rayi_function_handle(c.function) : NULL;
    }
    if (turn_away(n, head, &c))
        told->is_missed = told->is_missed || !c.function;
    else if (head->callee == RAYI_CALLS_NOBODY)
        begin(n, head, &c, args, options);
    else
        begin_call(n, head, &c, args, options);
}

/* What comes with one that is turned away is read, too: it is held here until it is given back. */
bool rayi_hosted_take(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_thread *thread = n->cluster->node.thread;
    const void *bytes = rayi_take_bytes(reader, sizeof(rayi_between_task));
    const char *env[RAYI_ENV_MAX];
    ray_task_options options;
    rayi_between_task head;
    rayi_between_port port;
    rayi_args args;
    bool given = false, read = true;

    if (!bytes)
        return false;
    memcpy(&head, bytes, sizeof head);
    if (!is_sound(n, &head))
        return false;
    rayi_between_port_init(&port, n);
    if (head.has_options)
        read = rayi_exchange_read_task_options(&port.port, reader, &options, &given, env);
    read = read && rayi_exchange_read_args(&port.port, thread, reader, head.num_args, &args);
    rayi_between_port_fini(&port, true);
    if (!read) { /* rubbish, or there was no memory for it: then nobody else answers it */
        give_up(n, &head);
        return false;
    }
    take(n, &head, &args, given ? &options : NULL);
    rayi_args_drop(thread, &args);
    return true;
}

bool rayi_hosted_cancel(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t id = rayi_take_u64(reader);
    uint32_t flags = rayi_take_u32(reader);
    rayi_thread *thread = n->cluster->node.thread;
    rayi_hosted *h = reader->failed ? NULL : rayi_hosted_find(n, id);

    if (reader->failed || (flags & ~(RAY_CANCEL_FORCE | RAY_CANCEL_ONLY_THIS)))
        return false;
    if (!h || rayi_record_cancel(thread, h->record, flags) != RAY_ERR_UNSUPPORTED)
        return true;
    rayi_log(RAY_LOG_WARNING, "task.not_forced", rayi_executor_node_id(n->cluster->node.executor),
             "node %s wanted it to end by force: %s", n->name, rayi_error_last_public()->message);
    (void)rayi_record_cancel(thread, h->record, flags & ~RAY_CANCEL_FORCE);
    return true;
}

bool rayi_hosted_inherit(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t id = rayi_take_u64(reader);
    int64_t priority = rayi_take_i64(reader);
    rayi_hosted *h = reader->failed ? NULL : rayi_hosted_find(n, id);

    if (reader->failed || priority < INT32_MIN || priority > INT32_MAX)
        return false;
    if (h && h->record->type == RAYI_TASK && !rayi_record_done(h->record))
        n->cluster->node.inherits(n->cluster->node.thread, (rayi_task *)h->record, (int32_t)priority);
    return true;
}

void rayi_hosted_end(rayi_neighbour *n)
{
    const rayi_memory *memory = rayi_heap;
    rayi_thread *thread = n->cluster->node.thread;
    rayi_hosted *h, *next;

    HASH_ITER (hh, n->hosted, h, next) {
        HASH_DEL(n->hosted, h);
        h->is_known = false;
        if (h->record->type != RAYI_OBJECT)
            (void)rayi_record_cancel(thread, h->record, 0);
        if (h->record->type != RAYI_FIXED && rayi_record_unwatch(h->record, &h->waiter))
            rayi_cluster_finish(n->cluster, &h->finished);
    }
    for (uint32_t i = 0; i < n->num_callables; i++) {
        rayi_error_unref(n->callables[i].error);
        rayi_free(n->callables[i].hash);
        rayi_free(n->callables[i].name);
        rayi_free(n->callables[i].description);
    }
    for (uint32_t i = 0; i < n->num_texts; i++)
        rayi_free(n->texts[i]);
    rayi_free(n->callables);
    rayi_free(n->texts);
    n->callables = NULL;
    n->texts = NULL;
    n->num_callables = n->num_texts = n->functions_told = n->shapes_told = 0;
}
