/* One worker process as its node sees it: what it is sent, and what it was offered. */
#include "isolation/inside.h"

#include <string.h>
#include <unistd.h>

rayi_guest *rayi_guest_new(rayi_isolation *isolation, uint32_t index)
{
    rayi_guest *guest = rayi_zalloc(sizeof *guest);

    if (!guest)
        return NULL;
    guest->offers = rayi_zalloc(RAYI_OFFERS * sizeof *guest->offers);
    if (!guest->offers) {
        rayi_free(guest);
        return NULL;
    }
    guest->of = isolation;
    guest->index = index;
    guest->socket = -1;
    guest->chores.max = RAYI_CHORES_A_GUEST;
    guest->oldest = guest->newest = RAYI_NO_SLOT;
    for (uint32_t i = 0; i < RAYI_OFFERS; i++)
        guest->offers[i].next = i + 1 < RAYI_OFFERS ? i + 1 : RAYI_NO_SLOT;
    pthread_mutex_init(&guest->rx, NULL);
    pthread_mutex_init(&guest->lock, NULL);
    return guest;
}

void rayi_guest_free(rayi_guest *guest)
{
    if (!guest)
        return;
    pthread_mutex_destroy(&guest->rx);
    pthread_mutex_destroy(&guest->lock);
    rayi_free(guest->offers);
    rayi_free(guest->told);
    rayi_free(guest->functions);
    rayi_free(guest);
}

/* ---- sending ---- */

static bool keep(rayi_guest *guest, uint32_t type, const void *head, size_t head_size, const void *body,
                 size_t body_size)
{
    rayi_parcel *parcel = rayi_alloc(sizeof *parcel + head_size + body_size);

    if (!parcel)
        return false;
    *parcel = (rayi_parcel){.type = type, .size = head_size + body_size};
    if (head_size > 0)
        memcpy(parcel->data, head, head_size);
    if (body_size > 0)
        memcpy(parcel->data + head_size, body, body_size);
    if (guest->last)
        guest->last->next = parcel;
    else
        guest->first = parcel;
    guest->last = parcel;
    return true;
}

void rayi_guest_flush(rayi_guest *guest)
{
    rayi_parcel *parcel;

    while (guest->open && (parcel = guest->first) &&
           rayi_channel_send_long(guest->channel, parcel->type, parcel->data, parcel->size, NULL, 0, &parcel->sent)) {
        guest->first = parcel->next;
        if (!guest->first)
            guest->last = NULL;
        rayi_free(parcel);
    }
}

/* A worker that makes room rings, but need not have said anything. */
bool rayi_guest_has_news(rayi_guest *guest)
{
    bool room;

    if (rayi_channel_has_mail(guest->channel))
        return true;
    if (!guest->first)
        return false;
    pthread_mutex_lock(&guest->lock);
    room = guest->open && guest->first && rayi_channel_wants_room(guest->channel);
    pthread_mutex_unlock(&guest->lock);
    return room;
}

/* A long message is kept first, so that it goes whole or not at all, and behind it all that comes before its last part
 * is sent. */
bool rayi_guest_send(rayi_guest *guest, uint32_t type, const void *head, size_t head_size, const void *body,
                     size_t body_size)
{
    bool is_long = head_size + body_size > RAYI_RING_MESSAGE_MAX;

    if (!guest->open)
        return false;
    if (guest->first)
        rayi_guest_flush(guest);
    if (!is_long && !guest->first && rayi_channel_send(guest->channel, type, head, head_size, body, body_size))
        return true;
    if (!keep(guest, type, head, head_size, body, body_size))
        return false;
    if (is_long)
        rayi_guest_flush(guest);
    return true;
}

bool rayi_guest_send_now(rayi_guest *guest, uint32_t type, const rayi_writer *writer)
{
    bool sent;

    pthread_mutex_lock(&guest->lock);
    sent = !writer->failed && rayi_guest_send(guest, type, writer->data, writer->size, NULL, 0);
    if (sent)
        rayi_channel_wake_worker(guest->channel);
    pthread_mutex_unlock(&guest->lock);
    return sent;
}

/* ---- functions ---- */

/* The guest learns a function at its first use, and by which number it goes from then on (*out); the lock is held. */
static bool tell_function(rayi_guest *guest, const rayi_function *function, uint32_t *out)
{
    uint32_t number = rayi_function_number(function);
    rayi_writer writer;
    rayi_text text;
    bool told = false;

    if (number >= guest->told_size) {
        size_t size = ((size_t)number + 1) * 2;
        uint32_t *more = rayi_memory_realloc(rayi_heap, guest->told, size * sizeof *more);
        if (!more)
            return false;
        memset(more + guest->told_size, 0, (size - guest->told_size) * sizeof *more);
        guest->told = more;
        guest->told_size = size;
    }
    if (guest->told[number]) {
        *out = guest->told[number] - 1;
        return true;
    }
    rayi_text_init(&text, rayi_heap);
    rayi_writer_init(&writer);
    rayi_function_describe(function, &text);
    rayi_put_u32(&writer, guest->num_told);
    rayi_put_text(&writer, rayi_function_name(function));
    rayi_put_text(&writer, text.data);
    if (!text.failed && !writer.failed)
        told = rayi_guest_send(guest, RAYI_DOWN_FUNCTION, writer.data, writer.size, NULL, 0);
    if (told) {
        *out = guest->num_told;
        guest->told[number] = ++guest->num_told;
    }
    rayi_writer_fini(&writer);
    rayi_text_fini(&text);
    return told;
}

/* ---- offers; the lock is held ---- */

static uint32_t take_slot(rayi_guest *guest)
{
    uint32_t slot = guest->free_slot;
    rayi_offer *offer;

    if (slot == RAYI_NO_SLOT)
        return slot;
    offer = &guest->offers[slot];
    guest->free_slot = offer->next;
    *offer = (rayi_offer){.used = true, .generation = ++guest->generation, .prev = guest->newest, .next = RAYI_NO_SLOT};
    if (guest->newest != RAYI_NO_SLOT)
        guest->offers[guest->newest].next = slot;
    else
        guest->oldest = slot;
    guest->newest = slot;
    atomic_fetch_add_explicit(&guest->busy, 1, memory_order_relaxed);
    return slot;
}

rayi_offer rayi_guest_take_out(rayi_guest *guest, uint32_t slot)
{
    rayi_offer *offer = &guest->offers[slot], out = *offer;

    if (offer->prev != RAYI_NO_SLOT)
        guest->offers[offer->prev].next = offer->next;
    else
        guest->oldest = offer->next;
    if (offer->next != RAYI_NO_SLOT)
        guest->offers[offer->next].prev = offer->prev;
    else
        guest->newest = offer->prev;
    *offer = (rayi_offer){.next = guest->free_slot};
    guest->free_slot = slot;
    atomic_fetch_sub_explicit(&guest->busy, 1, memory_order_relaxed);
    return out;
}

uint32_t rayi_guest_slot_of(const rayi_guest *guest, const rayi_task *task)
{
    uint32_t slot = guest->oldest;

    while (slot != RAYI_NO_SLOT && guest->offers[slot].task != task)
        slot = guest->offers[slot].next;
    return slot;
}

static const rayi_function *function_of(const rayi_task *task, ray_actor *actor, enum rayi_work work)
{
    return work == RAYI_WORK_FINI ? rayi_actor_fini(actor) : rayi_task_function(task);
}

static int encode(rayi_guest_port *port, rayi_thread *thread, rayi_task *task, ray_actor *actor, rayi_wire_task *head,
                  rayi_writer *writer)
{
    ray_context context = {0};
    int r = 0;

    rayi_task_describe(thread, task, actor, &context);
    head->attempt = context.attempt;
    head->restarts = context.restarts;
    if (context.gpus || context.group_id ||
        (context.resources && (*context.resources || head->work == RAYI_WORK_TASK))) {
        head->flags |= RAYI_WORK_CONTEXT;
        rayi_put_text(writer, context.resources);
        rayi_put_text(writer, context.gpus);
        rayi_put_text(writer, context.group_id);
    }
    if (task) {
        head->number = rayi_record_number_if(&task->head);
        head->num_args = task->num_args;
        r = rayi_exchange_write_args(&port->port, thread, writer, task, true);
    }
    if (head->work == RAYI_WORK_CONSTRUCT) {
        uint32_t count = rayi_actor_num_groups(actor);
        head->concurrency = rayi_actor_concurrency(actor);
        rayi_put_u32(writer, count);
        for (uint32_t i = 0; i < count; i++)
            rayi_put_u32(writer, rayi_actor_group_concurrency(actor, i));
    }
    return r == 0 && writer->failed ? RAY_ERR_NO_MEMORY : r;
}

/* The lock is held: from the slot to the message, so that nobody sees an offer that was not made. */
static int send_offer(rayi_guest *guest, rayi_task *task, ray_actor *actor, uint32_t life, rayi_wire_task *head,
                      const rayi_writer *writer)
{
    const rayi_function *function = function_of(task, actor, head->work);
    rayi_offer *offer;

    if (!guest->open || (guest->doomed && head->work == RAYI_WORK_CALL))
        return RAYI_GONE;
    if (guest->parked && head->work == RAYI_WORK_CALL)
        return RAYI_HELD;
    /* Who cancels sets the flag, then looks for the offer under this lock: either it finds it, or we see the flag. */
    if (task && (head->work == RAYI_WORK_TASK || head->work == RAYI_WORK_CALL) && rayi_task_cancelled(task))
        return RAYI_STOPPED;
    if (!tell_function(guest, function, &head->function))
        return RAY_ERR_NO_MEMORY;
    head->slot = take_slot(guest);
    if (head->slot == RAYI_NO_SLOT)
        return RAY_ERR_LIMIT;
    offer = &guest->offers[head->slot];
    offer->task = task;
    offer->life = life;
    offer->work = head->work;
    offer->nested = head->flags & RAYI_WORK_NESTED;
    head->generation = offer->generation;
    if (rayi_executor_events(guest->of->node.executor)) {
        offer->offered_ns = rayi_now_ns();
        head->flags |= RAYI_WORK_TIMED;
    }
    rayi_offer_make(guest->channel, head->slot, offer->generation);
    if (task && (atomic_load(&task->head.state) & RAYI_LATE))
        rayi_offer_flag(guest->channel, head->slot, RAYI_OFFER_LATE);
    if (head->flags & RAYI_WORK_STREAM) {
        bool abandoned;
        rayi_offer_credit(guest->channel, head->slot, rayi_stream_credit(task, &abandoned));
        if (abandoned)
            rayi_offer_flag(guest->channel, head->slot, RAYI_OFFER_ABANDONED);
    }
    if (!rayi_guest_send(guest, RAYI_DOWN_TASK, head, sizeof *head, writer->data, writer->size)) {
        (void)rayi_guest_take_out(guest, head->slot); /* its task stays the caller's */
        return RAY_ERR_NO_MEMORY;
    }
    if (guest->process && guest->labelled != (const void *)function) {
        guest->labelled = function;
        rayi_process_label(guest->process, actor ? rayi_actor_class(actor) : rayi_function_name(function));
    }
    rayi_channel_wake_worker(guest->channel);
    return 0;
}

int rayi_guest_offer(rayi_guest *guest, uint32_t life, rayi_thread *thread, rayi_task *task, ray_actor *actor,
                     uint32_t of_actor, enum rayi_work work, bool nested)
{
    rayi_wire_task head = {.work = (uint8_t)work, .actor = actor ? rayi_actor_number(actor) : 0};
    rayi_guest_port port;
    rayi_writer writer;
    int r;

    if (nested)
        head.flags |= RAYI_WORK_NESTED;
    if (task && (task->head.flags & RAYI_STREAMS))
        head.flags |= RAYI_WORK_STREAM;
    if (work == RAYI_WORK_CALL)
        head.group = rayi_call_group(task);
    rayi_guest_port_init(&port, guest);
    port.life = life;
    rayi_writer_init(&writer);
    r = encode(&port, thread, task, actor, &head, &writer);
    if (r == 0) {
        pthread_mutex_lock(&guest->lock);
        r = atomic_load(&guest->life) == life ? send_offer(guest, task, actor, of_actor, &head, &writer) : RAYI_GONE;
        pthread_mutex_unlock(&guest->lock);
    }
    if (r < 0 && atomic_load(&guest->life) != life)
        r = RAYI_GONE;
    if (r == RAYI_GONE)
        rayi_spawn_lost(guest, life);
    if (r == 0)
        rayi_guest_port_done(&port, thread);
    else
        rayi_guest_port_undo(&port, thread);
    rayi_writer_fini(&writer);
    return r;
}

bool rayi_guest_has_room(rayi_guest *guest, const ray_actor *actor)
{
    return guest->open && !guest->first && atomic_load(&guest->busy) < rayi_actor_calls_away(actor);
}

rayi_task *rayi_guest_take_back(rayi_guest *guest, uint32_t life, uint32_t max)
{
    rayi_task *taken = NULL;
    uint32_t slot, before;

    pthread_mutex_lock(&guest->lock);
    slot = atomic_load(&guest->life) == life ? guest->newest : RAYI_NO_SLOT;
    for (; slot != RAYI_NO_SLOT && max > 0; slot = before) {
        rayi_offer *offer = &guest->offers[slot];
        before = offer->prev;
        if (offer->work != RAYI_WORK_TASK || offer->blocked || guest->lied || !guest->channel ||
            !rayi_offer_revoke(guest->channel, slot))
            continue;
        offer->task->head.next = taken ? &taken->head : NULL;
        taken = rayi_guest_take_out(guest, slot).task; /* not blocked, so nothing else is counted */
        max--;
    }
    pthread_mutex_unlock(&guest->lock);
    return taken;
}
