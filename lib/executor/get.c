/* Waiting for records, and taking out what they hold. */
#include "executor/inside.h"

#include <stdio.h>
#include <string.h>

#define LONG_AGO_NS 1 /* a deadline; 0 would say that nothing is waited for */

static int refuse(const ray_value *out, const ray_value *from)
{
    return rayi_fail(RAY_ERR_TYPE, "ray_get: expected %s, got %s", rayi_kind_name(out->kind),
                     from->kind == RAY_KIND_NONE ? "the result of a void function" : rayi_kind_name(from->kind));
}

static int convert(const ray_value *from, const ray_value *out)
{
    char why[256];
    int r = rayi_value_convert(from, out, why, sizeof why);

    return r < 0 ? rayi_fail(r, "ray_get: %s", why) : 0;
}

/* The same as take, of bytes that must be pinned to be read. */
static int take_far(rayi_thread *thread, rayi_record *record, int64_t lost_ns, ray_value *out)
{
    rayi_record *object = rayi_record_bytes(record);
    ray_value from = {.kind = record->kind, .size = object->size};
    ray_view room;
    const void *text;
    int r;

    switch (out->kind) {
    case RAY_KIND_STRING:
        if (from.kind == RAY_KIND_STRUCT)
            return refuse(out, &from);
        r = rayi_object_keep(thread, object, lost_ns);
        if (r < 0)
            return r;
        text = rayi_object_data(object);
        memcpy(out->data, &text, sizeof text);
        return 0;
    case RAY_KIND_BYTES:
        r = rayi_object_view(thread, object, lost_ns, &room);
        if (r == 0)
            memcpy(out->data, &room, sizeof room);
        return r;
    case RAY_KIND_REF:
    case RAY_KIND_ACTOR:
        return refuse(out, &from);
    default:
        r = rayi_object_pin(thread, object, lost_ns);
        if (r < 0)
            return r;
        from = rayi_record_value(record, &room);
        r = convert(&from, out);
        rayi_object_unpin(thread, object);
        return r;
    }
}

/* Puts the content of a done, not failed record where out says. */
static int take(rayi_thread *thread, rayi_record *record, int64_t lost_ns, ray_value *out)
{
    bool has_bytes = rayi_value_has_bytes(record->kind);
    bool far = has_bytes && rayi_object_is_far(rayi_record_bytes(record));
    bool known = rayi_is_number(out->kind) || (out->kind >= RAY_KIND_STRING && out->kind <= RAY_KIND_ACTOR);
    ray_view room = {0};
    ray_value from;

    if (far && known)
        return take_far(thread, record, lost_ns, out);
    from = far ? (ray_value){.kind = record->kind} : rayi_record_value(record, &room);
    switch (out->kind) {
    case RAY_KIND_NONE: /* only asks what there is */
        if (out->data)
            return rayi_fail(RAY_ERR_TYPE, "ray_get: a value of no kind takes no data");
        out->kind = from.kind;
        out->size = has_bytes ? rayi_record_bytes(record)->size : from.size;
        return 0;
    case RAY_KIND_STRING:
        if (from.kind != RAY_KIND_STRING && from.kind != RAY_KIND_BYTES)
            return refuse(out, &from);
        memcpy(out->data, &room.data, sizeof room.data);
        return 0;
    case RAY_KIND_BYTES:
        if (!rayi_value_has_bytes(from.kind))
            return refuse(out, &from);
        rayi_record_ref(room.pin);
        memcpy(out->data, &room, sizeof room);
        return 0;
    case RAY_KIND_REF:
    case RAY_KIND_ACTOR:
        if (from.kind != out->kind)
            return refuse(out, &from);
        if (out->kind == RAY_KIND_REF)
            rayi_record_ref(record->content.pointer);
        else
            rayi_actor_retain(record->content.pointer);
        memcpy(out->data, &record->content.pointer, sizeof record->content.pointer);
        return 0;
    default:
        if (!rayi_is_number(out->kind) && out->kind != RAY_KIND_STRUCT)
            return rayi_fail(RAY_ERR_TYPE, "ray_get: %s cannot be taken out of a ref", rayi_kind_name(out->kind));
        if (from.kind == RAY_KIND_NONE)
            return refuse(out, &from);
        return convert(&from, out);
    }
}

int rayi_record_get(rayi_thread *thread, rayi_record *record, int64_t timeout_ms, ray_value *out)
{
    int64_t deadline_ns = timeout_ms < 0 ? INT64_MAX : timeout_ms > 0 ? rayi_deadline_ns(timeout_ms) : LONG_AGO_NS;
    rayi_error *error;

    if (!rayi_record_done(record)) {
        int r = timeout_ms == 0 ? RAY_ERR_TIMEOUT
                                : rayi_lane_wait(thread, record, deadline_ns, timeout_ms < 0 ? RAYI_MAY_HELP : 0);
        if (r == RAY_ERR_TIMEOUT)
            return rayi_fail(r, "not done after %lld ms; the task goes on", (long long)timeout_ms);
        if (r < 0)
            return r;
    }
    error = rayi_record_error(record);
    if (error)
        return rayi_error_set_last(rayi_error_ref(error));
    return out ? take(thread, record, deadline_ns, out) : 0;
}

/* ---- waiting for several ---- */

typedef struct many {
    rayi_thread *thread;
    atomic_uint enough;
    _Atomic(int64_t) missing; /* how many more must fire; raised to its true value when all are watched */
} many;

typedef struct one_of_many {
    rayi_waiter waiter;
    many *of;
    bool watched;
    atomic_uint fired;
} one_of_many;

static void count_down(many *of, int64_t by)
{
    if (atomic_fetch_sub_explicit(&of->missing, by, memory_order_acq_rel) <= by)
        atomic_store_explicit(&of->enough, 1, memory_order_release);
}

static void fire_one(rayi_thread *thread, rayi_waiter *waiter)
{
    one_of_many *one = rayi_container_of(waiter, one_of_many, waiter);
    rayi_thread *woken = one->of->thread;

    (void)thread;
    count_down(one->of, 1);
    atomic_store_explicit(&one->fired, 1, memory_order_release); /* from here on the waiting thread may be gone */
    rayi_thread_wake(woken);
}

/* Until num_ready of the records are done or the deadline passes. */
static int sleep_for_many(rayi_thread *thread, rayi_record *const *records, size_t count, size_t num_ready,
                          int64_t deadline_ns)
{
    one_of_many *ones = rayi_zalloc(count * sizeof *ones);
    many of = {.thread = thread};
    int64_t done = 0;
    int r;

    thread->has_deadline = rayi_is_soon(deadline_ns);
    r = ones ? rayi_lane_block(thread, count == 1 ? records[0] : NULL)
             : rayi_error_set_last(rayi_error_no_memory("waiting for refs"));
    thread->has_deadline = false;
    if (r < 0) {
        rayi_free(ones);
        return r;
    }
    atomic_init(&of.missing, (int64_t)(count + num_ready)); /* so that none is enough before all are watched */
    for (size_t i = 0; i < count; i++) {
        ones[i].waiter.fire = fire_one;
        ones[i].of = &of;
        ones[i].watched = rayi_record_watch(records[i], &ones[i].waiter);
        done += !ones[i].watched;
    }
    count_down(&of, (int64_t)count + done);
    (void)rayi_thread_park(thread, &of.enough, deadline_ns);
    for (size_t i = 0; i < count; i++)
        if (ones[i].watched && !rayi_record_unwatch(records[i], &ones[i].waiter))
            (void)rayi_thread_park(thread, &ones[i].fired, INT64_MAX);
    rayi_lane_unblock(thread);
    rayi_free(ones);
    return 0;
}

/* Marks the first num_ready of the done ones (0: all of them) and returns how many it marked. */
static size_t mark_done(rayi_record *const *records, size_t count, size_t num_ready, bool *ready)
{
    size_t found = 0;

    if (ready)
        memset(ready, 0, count * sizeof *ready);
    for (size_t i = 0; i < count && (num_ready == 0 || found < num_ready); i++)
        if (rayi_record_done(records[i])) {
            found++;
            if (ready)
                ready[i] = true;
        }
    return found;
}

int rayi_record_wait_many(rayi_thread *thread, rayi_record *const *records, size_t count, size_t num_ready,
                          int64_t timeout_ms, bool *ready)
{
    size_t found = mark_done(records, count, num_ready, ready);
    int r;

    if (found < num_ready && timeout_ms != 0) {
        r = sleep_for_many(thread, records, count, num_ready, rayi_deadline_ns(timeout_ms));
        if (r < 0)
            return r;
        found = mark_done(records, count, num_ready, ready);
    }
    return (int)found;
}
