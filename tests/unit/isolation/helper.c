#include "helper.h"

#include <stdlib.h>

RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
RAY_REMOTE(int64_t, size_of, (ray_view, bytes))
{
    return (int64_t)bytes.size;
}
RAY_REMOTE(int64_t, of_ref, (ray_ref *, ref))
{
    return ref != NULL;
}
RAY_REMOTE(int64_t, once_more, (int64_t, x))
{
    return x;
}
RAY_ACTOR(cell, (int64_t, n))
{
    self->n = n;
}
RAY_METHOD(cell, int64_t, add, (int64_t, n))
{
    return self->n += n;
}

const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

/* ---- the node ---- */

void start_with_store(uint32_t max_workers, uint64_t store_bytes)
{
    static const ray_function_options two = {.size = sizeof two, .max_calls = 2};

    played_watch();
    cr_assert_eq(ray_function_set(&ray_fn_once_more, &two), 0);
    cr_assert(played_start(max_workers, store_bytes, false), "%s", ray_last_error()->message);
    played_settle();
}

void start(uint32_t max_workers)
{
    start_with_store(max_workers, 64 << 20);
}

void stop(void)
{
    cr_assert_eq(played_stop(), 0);
    cr_assert_eq(played_left_over(), 0, "%ld blocks of memory are left", played_left_over());
}

rayi_guest *guest_at(uint32_t index)
{
    rayi_guest *guest = played_guest(index);

    cr_assert_not_null(guest);
    return guest;
}

rayi_guest *ready(uint32_t index)
{
    rayi_guest *guest = guest_at(index);
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u32(&writer, RAYI_WORKER_PROTOCOL);
    rayi_put_i64(&writer, 1);
    say_well(guest, RAYI_UP_READY, &writer);
    return guest;
}

/* ---- what the node has ---- */

uint32_t num_offers(rayi_guest *guest)
{
    return atomic_load(&guest->busy);
}

uint32_t nth_offer(rayi_guest *guest, uint32_t n)
{
    uint32_t slot;

    pthread_mutex_lock(&guest->lock);
    for (slot = guest->oldest; n > 0 && slot != RAYI_NO_SLOT; n--)
        slot = guest->offers[slot].next;
    pthread_mutex_unlock(&guest->lock);
    cr_assert_neq(slot, RAYI_NO_SLOT, "there are not so many offers");
    return slot;
}

rayi_task *task_at(rayi_guest *guest, uint32_t slot)
{
    rayi_task *task;

    pthread_mutex_lock(&guest->lock);
    task = guest->offers[slot].task;
    pthread_mutex_unlock(&guest->lock);
    return task;
}

rayi_entry *entry_of(rayi_guest *guest, uint64_t number)
{
    rayi_entry *entry;

    pthread_mutex_lock(&guest->lock);
    entry = rayi_guest_find(guest, number);
    pthread_mutex_unlock(&guest->lock);
    return entry;
}

uint64_t holds_of(rayi_guest *guest, uint64_t number)
{
    const rayi_entry *entry = entry_of(guest, number);

    return entry ? entry->holds : 0;
}

int64_t free_slots(void)
{
    rayi_lane_counts counts;

    rayi_lane_count(rayi_self->lane, &counts);
    return counts.slots;
}

void check_counts(rayi_guest *guest)
{
    uint32_t used = 0, listed = 0, waiting = 0, before = RAYI_NO_SLOT;

    pthread_mutex_lock(&guest->of->lock);
    pthread_mutex_lock(&guest->lock);
    for (uint32_t i = 0; i < RAYI_OFFERS; i++)
        used += guest->offers[i].used;
    for (uint32_t slot = guest->oldest; slot != RAYI_NO_SLOT; slot = guest->offers[slot].next) {
        cr_assert(guest->offers[slot].used && guest->offers[slot].prev == before && ++listed <= used);
        waiting += guest->offers[slot].blocked;
        before = slot;
    }
    cr_assert_eq(guest->newest, before);
    cr_assert_eq(listed, used);
    cr_assert_eq(num_offers(guest), used);
    cr_assert_eq(guest->num_offered, used, "%u are counted, %u are there", guest->num_offered, used);
    cr_assert_eq(guest->num_blocked, waiting, "%u are counted as blocked, %u are", guest->num_blocked, waiting);
    pthread_mutex_unlock(&guest->lock);
    pthread_mutex_unlock(&guest->of->lock);
}

void expect_int(ray_ref *ref, int64_t number)
{
    int64_t got = 0;
    int r = ray_get_timeout(ref, 0, &got);

    cr_assert_eq(r, 0, "%s", ray_last_error()->message);
    cr_assert_eq(got, number, "%lld instead of %lld", (long long)got, (long long)number);
    ray_release(ref);
}

void expect_code(ray_ref *ref, int code)
{
    int r = ray_get_timeout(ref, 0, NULL);

    cr_assert_eq(r, code, "%d instead of %d: %s", r, code, ray_last_error()->message);
    ray_release(ref);
}

/* ---- what the worker says ---- */

void say(rayi_guest *guest, uint32_t type, const rayi_writer *writer)
{
    cr_assert(played_send(guest, type, writer->data, writer->size));
    played_settle();
}

void say_rubbish(rayi_guest *guest, uint32_t type, rayi_writer *writer)
{
    long before = played_rubbish();
    uint32_t life = atomic_load(&guest->life);

    say(guest, type, writer);
    rayi_writer_fini(writer);
    cr_assert_eq(played_rubbish(), before + 1, "it is not called rubbish");
    cr_assert_eq(atomic_load(&guest->life), life + 1, "it lives on");
}

void say_well(rayi_guest *guest, uint32_t type, rayi_writer *writer)
{
    long before = played_rubbish();

    say(guest, type, writer);
    rayi_writer_fini(writer);
    cr_assert_eq(played_rubbish(), before, "it is called rubbish");
}

void take(rayi_guest *guest, uint32_t slot)
{
    cr_assert(rayi_offer_take(played_process(guest)->worker, slot, guest->offers[slot].generation));
}

void result(rayi_guest *guest, uint32_t slot, uint32_t generation, int64_t number, sayer how)
{
    rayi_wire_result head = {.slot = slot, .generation = generation};
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_bytes(&writer, &head, sizeof head);
    rayi_put_u8(&writer, RAYI_FORM_NUMBER);
    rayi_put_u8(&writer, RAY_KIND_I64);
    rayi_put_i64(&writer, number);
    how(guest, RAYI_UP_RESULT, &writer);
}

void finish(rayi_guest *guest, uint32_t slot, int64_t number)
{
    take(guest, slot);
    result(guest, slot, guest->offers[slot].generation, number, say_well);
}

void blocked(rayi_guest *guest, uint32_t slot, uint64_t number, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u32(&writer, slot);
    rayi_put_u64(&writer, number);
    rayi_put_u8(&writer, 1);
    how(guest, RAYI_UP_BLOCKED, &writer);
}

void resumed(rayi_guest *guest, uint32_t slot, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u32(&writer, slot);
    how(guest, RAYI_UP_RESUMED, &writer);
}

void release(rayi_guest *guest, uint32_t type, uint64_t number, uint64_t holds, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    rayi_put_u64(&writer, holds);
    how(guest, type, &writer);
}

void put(rayi_guest *guest, uint64_t number, const char *text, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    rayi_put_u8(&writer, RAYI_FORM_BYTES);
    rayi_put_u8(&writer, RAY_KIND_STRING);
    rayi_put_u32(&writer, 0);
    rayi_put_text(&writer, text);
    how(guest, RAYI_UP_PUT, &writer);
}

void seal(rayi_guest *guest, uint64_t number, uint64_t size, uint64_t held, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    rayi_put_u64(&writer, size);
    rayi_put_u8(&writer, RAY_KIND_BYTES);
    rayi_put_u32(&writer, held != 0);
    if (held)
        rayi_put_u64(&writer, held);
    how(guest, RAYI_UP_SEAL, &writer);
}

void number_alone(rayi_guest *guest, uint32_t type, uint64_t number, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    how(guest, type, &writer);
}

void ask(rayi_guest *guest, uint32_t op, rayi_writer *follows, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, 77);
    rayi_put_u32(&writer, op);
    rayi_put_bytes(&writer, follows->data, follows->size);
    rayi_writer_fini(follows);
    how(guest, RAYI_UP_ASK, &writer);
}

void create(rayi_guest *guest, uint64_t number, uint64_t size, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    rayi_put_u64(&writer, size);
    ask(guest, RAYI_ASK_CREATE, &writer, how);
}

void ask_number(rayi_guest *guest, uint32_t op, uint64_t number, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    ask(guest, op, &writer, how);
}

void ask_open(rayi_guest *guest, uint64_t number, sayer how)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, number);
    rayi_put_i64(&writer, INT64_MAX);
    ask(guest, RAYI_ASK_OPEN, &writer, how);
}

bool told(rayi_guest *guest, uint32_t type, rayi_reader *out)
{
    static char kept[RAYI_RING_MESSAGE_MAX];
    rayi_process *process = played_process(guest);
    rayi_received got;
    bool found = false;

    while (process && rayi_channel_receive(process->worker, &got) > 0)
        if (got.type == type) {
            memcpy(kept, got.data, got.size);
            *out = rayi_reader_of(kept, got.size);
            found = true;
        }
    return found;
}
