/* What worker processes send. Nothing in it is trusted: numbers are looked up in the guest's own table, slots and
 * generations in its offers, ranges are its own; what does not fit ends the guest (rayi_guest_rubbish). Any thread
 * receives, one at a time for each guest; nothing here waits. */
#include "isolation/inside.h"

#include <stdio.h>
#include <string.h>

static const char no_memory[] = "(no memory for what it sent)";

typedef struct incoming {
    rayi_guest *guest;
    rayi_thread *thread;
    rayi_guest_port port;
    rayi_reader reader;
    uint32_t life; /* of the guest: rx keeps it */
    bool feed;     /* somebody may have less to do now */
} incoming;

void rayi_guest_rubbish(rayi_guest *guest, uint32_t life, const char *what)
{
    rayi_log(RAY_LOG_ERROR, "worker.rubbish", rayi_executor_node_id(guest->of->node.executor),
             "worker process %lld is ended: it sent what no worker sends: %s", (long long)guest->pid, what);
    rayi_spawn_kill(guest, life, RAYI_WHY_RUBBISH);
}

void rayi_guest_cut_off(rayi_guest *guest, uint32_t life)
{
    bool open;

    pthread_mutex_lock(&guest->lock);
    open = guest->open && atomic_load(&guest->life) == life;
    pthread_mutex_unlock(&guest->lock);
    if (!open)
        return;
    rayi_log(RAY_LOG_ERROR, "worker.no_memory", rayi_executor_node_id(guest->of->node.executor),
             "worker process %lld is ended: it waits for what cannot be sent to it, for lack of memory",
             (long long)guest->pid);
    rayi_spawn_kill(guest, life, RAYI_WHY_RUBBISH);
}

/* A process that has opened code means that code's functions, too. */
static ray_function *function_of(rayi_executor *executor, rayi_code *code, const char *name)
{
    rayi_function *function = code ? rayi_code_function(executor, code, name) : NULL;

    return function ? rayi_function_handle(function) : rayi_function_get(executor, name);
}

/* The functions that a worker calls, by its own numbers. */
static bool take_function(incoming *in)
{
    rayi_guest *guest = in->guest;
    uint32_t number = rayi_take_u32(&in->reader);
    const char *name = rayi_take_text(&in->reader);
    ray_function **more, *function;
    rayi_code *code;

    if (in->reader.failed || !name || number != guest->num_functions || number >= 1u << 20)
        return false;
    pthread_mutex_lock(&guest->of->lock);
    code = guest->class ? guest->class->code : NULL;
    pthread_mutex_unlock(&guest->of->lock);
    function = function_of(guest->of->node.executor, code, name);
    more = rayi_memory_realloc(rayi_heap, guest->functions, (number + 1) * sizeof *more);
    if (!more)
        return false;
    more[number] = function; /* NULL: a name that cannot be; calls of it fail */
    guest->functions = more;
    guest->num_functions = number + 1;
    return true;
}

/* It may be given something to do from now on; isolation.lock is held. */
static void is_ready(rayi_guest *guest)
{
    guest->starting = guest->opening = false;
    guest->class->num_starting--;
    guest->idle_since_ms = rayi_now_ms();
    if (guest->state == RAYI_GUEST_STARTING) /* else it was told to leave already */
        guest->state = RAYI_GUEST_READY;
}

static bool take_ready(incoming *in)
{
    rayi_isolation *isolation = in->guest->of;
    uint32_t protocol = rayi_take_u32(&in->reader);
    bool first;

    (void)rayi_take_i64(&in->reader);
    if (in->reader.failed || protocol != RAYI_WORKER_PROTOCOL)
        return false;
    pthread_mutex_lock(&isolation->lock);
    first = in->guest->starting && !in->guest->opening && !in->guest->unopened;
    if (first && in->guest->class->code)
        in->guest->opening = true;
    else if (first)
        is_ready(in->guest);
    pthread_mutex_unlock(&isolation->lock);
    in->feed = true;
    return first;
}

static bool take_opened(incoming *in)
{
    rayi_isolation *isolation = in->guest->of;
    const char *words = rayi_take_text(&in->reader);
    bool is_due;

    if (in->reader.failed)
        return false;
    pthread_mutex_lock(&isolation->lock);
    is_due = in->guest->opening;
    in->guest->opening = false;
    in->guest->unopened = words != NULL;
    if (is_due && !words)
        is_ready(in->guest);
    pthread_mutex_unlock(&isolation->lock);
    if (is_due)
        rayi_code_opened(in->guest, in->thread, words);
    in->feed = true;
    return is_due;
}

/* The offer that a result is about, taken out of the table if it ends. */
static bool find_offer(incoming *in, const rayi_wire_result *head, bool ends, rayi_offer *out)
{
    rayi_guest *guest = in->guest;
    bool found;

    pthread_mutex_lock(&guest->lock);
    found = head->slot < RAYI_OFFERS && guest->offers[head->slot].used &&
            guest->offers[head->slot].generation == head->generation;
    if (found) {
        *out = guest->offers[head->slot];
        if (ends) {
            (void)rayi_guest_take_out(guest, head->slot);
        } else {
            guest->offers[head->slot].yielded++;
            if (out->task)
                rayi_record_ref(&out->task->head);
        }
    }
    pthread_mutex_unlock(&guest->lock);
    return found;
}

/* What the worker says of its clock is cut to what can be. */
static void note_run(const incoming *in, const rayi_wire_result *head, const rayi_offer *offer, const rayi_error *error)
{
    rayi_run_span span = {.pid = (uint32_t)in->guest->pid, .thread = head->thread};
    int64_t now_ns, started_ns = head->started_ns, ended_ns = head->ended_ns;

    if (!offer->offered_ns || started_ns == 0 || !offer->task || offer->work == RAYI_WORK_FINI)
        return;
    now_ns = rayi_now_ns();
    span.started_ns = RAYI_MIN(RAYI_MAX(started_ns, offer->offered_ns), now_ns);
    span.ended_ns = RAYI_MIN(RAYI_MAX(ended_ns, span.started_ns), now_ns);
    rayi_ran_there(in->thread, offer->task, offer->work == RAYI_WORK_TASK ? NULL : in->guest->actor, &span,
                   error ? rayi_error_code(error) : 0);
}

static void constructed(incoming *in, const rayi_offer *offer, rayi_result *result)
{
    rayi_actor_constructed(in->thread, in->guest->actor, offer->life, result);
    if (offer->task)
        rayi_record_unref(in->thread, &offer->task->head);
}

static bool take_result(incoming *in)
{
    rayi_guest *guest = in->guest;
    const rayi_wire_result *head = rayi_take_bytes(&in->reader, sizeof *head);
    rayi_result result;
    rayi_offer offer;

    if (!head || head->again > RAYI_AGAIN_NO || !rayi_exchange_read(&in->port.port, in->thread, &in->reader, &result))
        return false;
    if (!find_offer(in, head, true, &offer)) {
        rayi_result_drop(in->thread, &result);
        return false;
    }
    guest->proven = true;
    result.exits = head->exits;
    result.again = head->again;
    note_run(in, head, &offer, result.error);
    rayi_pool_settle(guest, in->life, in->thread, &offer);
    in->feed = true;
    switch (offer.work) {
    case RAYI_WORK_TASK:
        rayi_task_ran(in->thread, offer.task, &result);
        break;
    case RAYI_WORK_CALL:
        rayi_actor_call_ran(in->thread, guest->actor, offer.task, offer.life, &result);
        break;
    case RAYI_WORK_CONSTRUCT:
        constructed(in, &offer, &result);
        break;
    default:
        rayi_result_drop(in->thread, &result);
        rayi_actor_fini_ran(in->thread, guest->actor);
    }
    return true;
}

/* Credit only grows, until nobody reads any more. */
static bool is_within_credit(const rayi_offer *offer)
{
    bool abandoned;
    uint64_t credit = rayi_stream_credit(offer->task, &abandoned);

    return abandoned || offer->yielded < credit;
}

static bool take_yield(incoming *in)
{
    const rayi_wire_result *head = rayi_take_bytes(&in->reader, sizeof *head);
    rayi_result result;
    rayi_offer offer;
    bool streams;

    if (!head || !rayi_exchange_read(&in->port.port, in->thread, &in->reader, &result))
        return false;
    if (!find_offer(in, head, false, &offer)) {
        rayi_result_drop(in->thread, &result);
        return false;
    }
    streams = offer.task && (offer.task->head.flags & RAYI_STREAMS) && is_within_credit(&offer);
    if (!streams)
        rayi_result_drop(in->thread, &result);
    else if (rayi_stream_put(in->thread, offer.task, offer.yielded, &result) < 0)
        rayi_guest_cut_off(in->guest, in->life); /* without memory: those that follow must not move up */
    if (offer.task)
        rayi_record_unref(in->thread, &offer.task->head);
    return streams;
}

/* While something is done in a worker's name: what it submits has its task for a parent, and its own order of calls. */
static bool begin_guise(incoming *in, uint32_t parent, rayi_frame_guise *frame)
{
    rayi_guest *guest = in->guest;
    rayi_task *task = NULL;
    bool found = parent == RAYI_NO_SLOT;

    pthread_mutex_lock(&guest->lock);
    if (parent < RAYI_OFFERS && guest->offers[parent].used) {
        task = guest->offers[parent].task; /* ray_kill may take it away meanwhile */
        if (task)
            rayi_record_ref(&task->head);
        found = true;
    }
    pthread_mutex_unlock(&guest->lock);
    rayi_guise_begin(in->thread, frame, task,
                     ((uint64_t)1 << 63) | (uint64_t)guest->index << 32 | (atomic_load(&guest->life) & 0xffffffff));
    return found;
}

static void end_guise(incoming *in, rayi_frame_guise *frame)
{
    rayi_task *task = frame->task;

    rayi_guise_end(in->thread, frame);
    if (task)
        rayi_record_unref(in->thread, &task->head);
}

/* A submission that fails still has a ref: the worker waits for that number. */
static bool enter_record(incoming *in, uint64_t number, rayi_record *record)
{
    if (!rayi_guest_owns_number(in->guest, number)) {
        rayi_record_unref(in->thread, record);
        return false;
    }
    if (record->type == RAYI_FIXED || !rayi_record_set_number_once(in->thread, record, number)) {
        rayi_error *error = rayi_record_done(record) ? rayi_record_error(record) : NULL; /* it may be running */
        rayi_record *failed =
            rayi_object_failed(in->thread, error ? rayi_error_ref(error) : rayi_error_plain(RAY_ERR_NO_MEMORY));
        rayi_record_unref(in->thread, record);
        record = failed;
        if (record->type == RAYI_FIXED || !rayi_record_set_number_once(in->thread, record, number)) {
            rayi_record_unref(in->thread, record);
            return false;
        }
    }
    if (rayi_guest_enter(in->guest, number, RAYI_ENTRY_RECORD, record, true, in->thread))
        return true;
    rayi_record_unref(in->thread, record);
    return false;
}

static rayi_record *submit(incoming *in, const rayi_wire_submit *head, const rayi_args *args,
                           const ray_task_options *options)
{
    ray_function *function = in->guest->functions[head->function];
    ray_actor *actor;
    rayi_record *record;

    if (!function)
        return rayi_object_failed(in->thread, rayi_error_plain(RAY_ERR_UNKNOWN_FUNCTION));
    if (!head->actor)
        return rayi_task_submit(in->thread, function, args->values, args->count, options);
    actor = in->port.port.actor_of(&in->port.port, in->thread, head->actor, NULL, NULL);
    if (!actor)
        return NULL;
    record = rayi_actor_submit(in->thread, actor, function, args->values, args->count, options);
    rayi_actor_release(in->thread, actor);
    return record;
}

static bool take_submit(incoming *in)
{
    const rayi_wire_submit *given = rayi_take_bytes(&in->reader, sizeof *given);
    rayi_wire_submit head;
    const char *env[RAYI_ENV_MAX];
    rayi_frame_guise frame;
    ray_task_options options;
    rayi_record *record;
    rayi_args args;
    bool has_options;

    if (!given)
        return false;
    memcpy(&head, given, sizeof head);
    if (head.function >= in->guest->num_functions || !rayi_guest_owns_number(in->guest, head.number) ||
        head.num_args > RAYI_ARGS_MAX ||
        !rayi_exchange_read_task_options(&in->port.port, &in->reader, &options, &has_options, env) ||
        !rayi_exchange_read_args(&in->port.port, in->thread, &in->reader, head.num_args, &args))
        return false;
    if (!begin_guise(in, head.parent, &frame)) {
        end_guise(in, &frame);
        rayi_args_drop(in->thread, &args);
        return false;
    }
    frame.number = head.number;
    record = submit(in, &head, &args, has_options ? &options : NULL);
    end_guise(in, &frame);
    rayi_args_drop(in->thread, &args);
    return record && enter_record(in, head.number, record);
}

static bool take_actor(incoming *in)
{
    const rayi_wire_submit *given = rayi_take_bytes(&in->reader, sizeof *given);
    rayi_wire_submit head;
    const char *env[RAYI_ENV_MAX];
    rayi_frame_guise frame;
    ray_actor_options options;
    ray_actor *actor = NULL;
    rayi_args args;
    bool has_options;

    if (!given)
        return false;
    memcpy(&head, given, sizeof head);
    if (head.function >= in->guest->num_functions || !rayi_guest_owns_number(in->guest, head.number) ||
        head.num_args > RAYI_ARGS_MAX ||
        !rayi_exchange_read_actor_options(&in->port.port, &in->reader, &options, &has_options, env) ||
        !rayi_exchange_read_args(&in->port.port, in->thread, &in->reader, head.num_args, &args))
        return false;
    if (begin_guise(in, head.parent, &frame))
        actor = in->guest->functions[head.function]
                    ? rayi_actor_new(in->thread, in->guest->functions[head.function], args.values, args.count,
                                     has_options ? &options : NULL)
                    : rayi_actor_failed(in->thread, rayi_error_plain(RAY_ERR_UNKNOWN_FUNCTION));
    end_guise(in, &frame);
    rayi_args_drop(in->thread, &args);
    if (actor && rayi_actor_is_fixed(actor))
        actor = rayi_actor_failed(in->thread, rayi_error_plain(RAY_ERR_SHUTDOWN));
    if (!actor || rayi_actor_is_fixed(actor))
        return false;
    if (rayi_guest_enter(in->guest, head.number, RAYI_ENTRY_ACTOR, actor, false, in->thread))
        return true;
    rayi_actor_release(in->thread, actor);
    return false;
}

static bool take_put(incoming *in)
{
    uint64_t number = rayi_take_u64(&in->reader);
    rayi_record *object;
    rayi_result content;

    if (!rayi_guest_owns_number(in->guest, number))
        return false;
    if (!rayi_exchange_read(&in->port.port, in->thread, &in->reader, &content))
        return false;
    if (content.error) {
        object = rayi_object_failed(in->thread, content.error);
    } else if (content.kind == RAY_KIND_NONE) {
        object = rayi_record_new(in->thread);
        if (object)
            rayi_record_complete(in->thread, object);
    } else if (content.kind != RAY_KIND_BYTES && content.kind != RAY_KIND_STRING && content.kind != RAY_KIND_STRUCT) {
        rayi_result_drop(in->thread, &content);
        return false;
    } else {
        memcpy(&object, content.bytes, sizeof object);
    }
    if (!object || object->type == RAYI_FIXED)
        return false;
    if (rayi_record_set_number_once(in->thread, object, number) &&
        rayi_guest_enter(in->guest, number, RAYI_ENTRY_RECORD, object, false, in->thread))
        return true;
    rayi_record_unref(in->thread, object);
    return false;
}

static bool take_seal(incoming *in)
{
    uint64_t number = rayi_take_u64(&in->reader), size = rayi_take_u64(&in->reader);
    unsigned kind = rayi_take_u8(&in->reader);
    uint32_t holds = rayi_take_count(&in->reader, sizeof(uint64_t));
    rayi_record *object = NULL;
    rayi_entry *entry;

    if (in->reader.failed || (kind != RAY_KIND_BYTES && kind != RAY_KIND_STRING && kind != RAY_KIND_STRUCT))
        return false;
    pthread_mutex_lock(&in->guest->lock);
    entry = rayi_guest_find(in->guest, number);
    if (entry && entry->kind == RAYI_ENTRY_BUFFER && size <= entry->record->size)
        object = entry->record;
    pthread_mutex_unlock(&in->guest->lock);
    if (!object)
        return false;
    for (; holds > 0; holds--) {
        rayi_record *held = in->port.port.record_of(&in->port.port, in->thread, rayi_take_u64(&in->reader));
        int r = held ? rayi_buffer_hold(in->thread, &object->content.buffer, held) : RAY_ERR_NOT_FOUND;
        if (held)
            rayi_record_unref(in->thread, held);
        if (r < 0)
            return false;
    }
    object->kind = (uint8_t)kind;
    object->content.buffer.size = (size_t)size;
    (void)rayi_buffer_seal(in->thread, &object->content.buffer); /* the count stays the entry's */
    pthread_mutex_lock(&in->guest->lock);
    entry->kind = RAYI_ENTRY_RECORD; /* only this receiver could have dropped it */
    if (rayi_block_try_pin(rayi_object_block(object)))
        entry->pins++; /* until CLOSE: the worker may still read it where it wrote it */
    pthread_mutex_unlock(&in->guest->lock);
    return true;
}

static bool take_next(incoming *in)
{
    uint64_t stream = rayi_take_u64(&in->reader), number = rayi_take_u64(&in->reader);
    rayi_record *record = in->reader.failed ? NULL : in->port.port.record_of(&in->port.port, in->thread, stream);
    rayi_record *item;

    if (!record)
        return false;
    item = rayi_stream_next(in->thread, record);
    rayi_record_unref(in->thread, record);
    return enter_record(in, number, item);
}

/* The offer is blocked on what the worker waits for, or goes on. */
static bool take_blocked(incoming *in, bool blocked)
{
    rayi_guest *guest = in->guest;
    uint32_t slot = rayi_take_u32(&in->reader);
    uint64_t number = blocked ? rayi_take_u64(&in->reader) : 0;
    bool patient = blocked && rayi_take_u8(&in->reader) != 0;
    rayi_record *before = NULL, *awaited = NULL;
    rayi_task *task = NULL;
    rayi_entry *entry;
    bool known;

    pthread_mutex_lock(&guest->lock);
    known =
        !in->reader.failed && slot < RAYI_OFFERS && guest->offers[slot].used && guest->offers[slot].blocked != blocked;
    if (known) {
        rayi_offer *offer = &guest->offers[slot];
        entry = number ? rayi_guest_find(guest, number) : NULL;
        before = offer->awaited;
        offer->blocked = blocked;
        offer->patient = patient;
        offer->awaited = awaited = entry && entry->kind == RAYI_ENTRY_RECORD ? entry->record : NULL;
        if (awaited)
            rayi_record_ref(awaited);
        task = offer->task;
        if (task)
            rayi_record_ref(&task->head);
    }
    pthread_mutex_unlock(&guest->lock);
    if (!known)
        return false;
    if (before)
        rayi_record_unref(in->thread, before);
    if (task && task->head.type == RAYI_TASK && (task->head.flags & RAYI_ESCAPED))
        rayi_task_blocked(in->thread, task, awaited, blocked);
    if (task)
        rayi_record_unref(in->thread, &task->head);
    rayi_pool_blocked(guest, in->life, blocked);
    in->feed |= blocked;
    return true;
}

static bool take_log(incoming *in)
{
    uint32_t level = rayi_take_u32(&in->reader);
    const char *event = rayi_take_text(&in->reader), *message = rayi_take_text(&in->reader);

    if (in->reader.failed || !event || !message || level < RAY_LOG_ERROR || level > RAY_LOG_DEBUG || strlen(event) > 64)
        return false;
    rayi_log((ray_log_level)level, event, rayi_executor_node_id(in->guest->of->node.executor), "%s", message);
    return true;
}

static bool take_release(incoming *in, bool actor)
{
    uint64_t number = rayi_take_u64(&in->reader), holds = rayi_take_u64(&in->reader);

    return !in->reader.failed &&
           rayi_guest_release(in->guest, in->thread, number, holds, actor ? RAYI_ENTRY_ACTOR : RAYI_ENTRY_RECORD);
}

static bool take_close(incoming *in)
{
    uint64_t number = rayi_take_u64(&in->reader);

    return !in->reader.failed && rayi_guest_close(in->guest, number);
}

static bool take(incoming *in, uint32_t type)
{
    switch (type) {
    case RAYI_UP_READY:
        return take_ready(in);
    case RAYI_UP_OPENED:
        return take_opened(in);
    case RAYI_UP_FUNCTION:
        return take_function(in);
    case RAYI_UP_RESULT:
        return take_result(in);
    case RAYI_UP_YIELD:
        return take_yield(in);
    case RAYI_UP_SUBMIT:
        return take_submit(in);
    case RAYI_UP_ACTOR:
        return take_actor(in);
    case RAYI_UP_PUT:
        return take_put(in);
    case RAYI_UP_SEAL:
        return take_seal(in);
    case RAYI_UP_NEXT:
        return take_next(in);
    case RAYI_UP_RELEASE:
    case RAYI_UP_RELEASE_ACTOR:
        return take_release(in, type == RAYI_UP_RELEASE_ACTOR);
    case RAYI_UP_CLOSE:
        return take_close(in);
    case RAYI_UP_BLOCKED:
    case RAYI_UP_RESUMED:
        return take_blocked(in, type == RAYI_UP_BLOCKED);
    case RAYI_UP_ASK:
        return rayi_guest_ask(in->guest, in->thread, &in->reader);
    case RAYI_UP_LOG:
        return take_log(in);
    default:
        return false;
    }
}

typedef struct errand {
    rayi_isolation *isolation;
    uint32_t guest, life;
} errand;

static void receive_on_loop(void *arg)
{
    errand *e = arg;
    rayi_guest *guest = e->isolation->guests[e->guest];

    if (atomic_load(&guest->life) == e->life)
        rayi_guest_receive(guest, e->isolation->node.thread, true);
    rayi_free(e);
}

/* Making an actor may ask the loop for a name or resources and wait for it, which the loop's own thread alone may do
 * here: others hold this guest's rx. So the message is kept, and the loop goes on from there. rx is held. */
static bool leave_to_loop(incoming *in, const rayi_received *message)
{
    rayi_isolation *isolation = in->guest->of;
    rayi_parcel *parcel;
    errand *e;

    if (message->type != RAYI_UP_ACTOR || in->thread == isolation->node.thread)
        return false;
    parcel = rayi_alloc(sizeof *parcel + message->size);
    e = rayi_alloc(sizeof *e);
    if (parcel && e) {
        *parcel = (rayi_parcel){.type = message->type, .size = message->size};
        memcpy(parcel->data, message->data, message->size);
        *e = (errand){.isolation = isolation, .guest = in->guest->index, .life = atomic_load(&in->guest->life)};
        in->guest->kept = parcel;
        if (isolation->node.post(isolation->node.node, receive_on_loop, e))
            return true;
        in->guest->kept = NULL;
    }
    rayi_free(parcel);
    rayi_free(e);
    rayi_guest_rubbish(in->guest, in->life, no_memory);
    return true;
}

static bool take_one(incoming *in, const rayi_received *message)
{
    char what[64];
    bool taken;

    in->reader = rayi_reader_of(message->data, message->size);
    rayi_guest_port_init(&in->port, in->guest);
    taken = take(in, message->type);
    rayi_guest_port_done(&in->port, in->thread);
    if (!taken && in->guest->doomed)
        taken = true;
    if (!taken) {
        snprintf(what, sizeof what, "message %u of %zu bytes", message->type, message->size);
        rayi_guest_rubbish(in->guest, in->life, what);
    }
    return taken;
}

/* False: what was kept for the loop stands before all else. */
static bool take_kept(incoming *in)
{
    rayi_parcel *kept = in->guest->kept;
    rayi_received message;

    if (!kept)
        return true;
    if (in->thread != in->guest->of->node.thread)
        return false;
    in->guest->kept = NULL;
    message = (rayi_received){.type = kept->type, .size = kept->size, .data = kept->data};
    if (in->guest->open)
        (void)take_one(in, &message);
    rayi_free(kept);
    return true;
}

static void receive_all(incoming *in)
{
    rayi_guest *guest = in->guest;
    rayi_received message;
    unsigned received = 0;
    int r;

    if (!take_kept(in))
        return;
    while (guest->open && (r = rayi_channel_receive(guest->channel, &message)) != 0) {
        if (r < 0) {
            rayi_guest_rubbish(guest, in->life, r == RAY_ERR_NO_MEMORY ? no_memory : rayi_error_last_public()->message);
            break;
        }
        if (leave_to_loop(in, &message) || !take_one(in, &message))
            break;
        if (in->feed && ++received % 32 == 0)
            rayi_pool_feed(guest->of, in->thread);
    }
    pthread_mutex_lock(&guest->lock);
    if (guest->open && guest->first) {
        rayi_guest_flush(guest);
        rayi_channel_wake_worker(guest->channel);
    }
    pthread_mutex_unlock(&guest->lock);
}

void rayi_guest_receive(rayi_guest *guest, rayi_thread *thread, bool blocks)
{
    incoming in = {.guest = guest, .thread = thread};
    ray_actor *waits;

    if (blocks)
        pthread_mutex_lock(&guest->rx);
    else if (pthread_mutex_trylock(&guest->rx) != 0)
        return;
    in.life = atomic_load(&guest->life);
    receive_all(&in);
    pthread_mutex_lock(&guest->lock);
    waits = guest->actor_waits && rayi_guest_has_room(guest, guest->actor) ? guest->actor : NULL;
    if (waits) {
        guest->actor_waits = false;
        rayi_record_ref(rayi_actor_record(waits));
    }
    pthread_mutex_unlock(&guest->lock);
    pthread_mutex_unlock(&guest->rx);
    if (in.feed)
        rayi_pool_feed(guest->of, thread);
    if (waits) {
        rayi_actor_has_room(thread, waits);
        rayi_record_unref(thread, rayi_actor_record(waits));
    }
}
