/* The record of events: what is kept of what was put, in which order, and what a reader sees while others put. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "executor/executor.h"

/* Everything in it follows from the number, so that a mixture of two shows. */
static rayi_event event_of(uint64_t number)
{
    rayi_event e = {.started_ns = (int64_t)number * 10,
                    .ended_ns = (int64_t)number * 10 + 7,
                    .name = number % 2 ? "odd" : "even",
                    .number = number,
                    .actor = ~number,
                    .attempt = (uint32_t)number + 1,
                    .pid = (uint32_t)number + 2,
                    .thread = (uint32_t)number + 3,
                    .kind = number % 3,
                    .outcome = number % 4};

    if (number % 5 == 0)
        snprintf(e.own_name, sizeof e.own_name, "own %035llu", (unsigned long long)number);
    return e;
}

static void check_event(const rayi_event *e)
{
    rayi_event want = event_of(e->number);

    cr_assert_eq(e->started_ns, want.started_ns, "%llu", (unsigned long long)e->number);
    cr_assert_eq(e->ended_ns, want.ended_ns);
    cr_assert_eq(e->name, want.name);
    cr_assert_str_eq(e->own_name, want.own_name);
    cr_assert_eq(e->actor, want.actor);
    cr_assert_eq(e->attempt, want.attempt);
    cr_assert_eq(e->pid, want.pid);
    cr_assert_eq(e->thread, want.thread);
    cr_assert_eq(e->kind, want.kind);
    cr_assert_eq(e->outcome, want.outcome);
}

static void put(rayi_events *events, uint32_t writer, uint64_t number)
{
    rayi_event e = event_of(number);

    rayi_events_put(events, writer, &e);
}

/* Those from there on must be these numbers, in this order, and no more. */
static void check_rest(rayi_events *events, uint64_t *position, uint64_t first, uint64_t count)
{
    rayi_event e;

    for (uint64_t i = 0; i < count; i++) {
        cr_assert(rayi_events_next(events, position, &e), "there are only %llu", (unsigned long long)i);
        cr_assert_eq(e.number, first + i);
        check_event(&e);
    }
    cr_assert_not(rayi_events_next(events, position, &e));
}

static void check_counts(rayi_events *events, uint64_t put, uint64_t lost)
{
    rayi_events_counts counts = rayi_events_count(events);

    cr_assert_eq(counts.put, put);
    cr_assert_eq(counts.lost, lost);
}

Test(events, in_order_of_one_writer)
{
    rayi_events *events = rayi_events_new(64, 1);
    uint64_t position = 0;

    check_rest(events, &position, 0, 0);
    check_counts(events, 0, 0);
    for (uint64_t i = 0; i < 64; i++)
        put(events, 0, i);
    check_rest(events, &position, 0, 64);
    check_rest(events, &position, 0, 0); /* none comes twice */
    check_counts(events, 64, 0);
    rayi_events_free(events);
}

Test(events, the_oldest_make_way)
{
    rayi_events *events = rayi_events_new(64, 1);
    uint64_t position = 0, middle;

    for (uint64_t i = 0; i < 200; i++)
        put(events, 0, i);
    check_rest(events, &position, 200 - 64, 64);
    check_counts(events, 200, 200 - 64);
    middle = position;
    put(events, 0, 200); /* who has looked before goes on where he was */
    check_rest(events, &position, 200, 1);
    for (uint64_t i = 201; i < 300; i++)
        put(events, 0, i);
    check_rest(events, &middle, 300 - 64, 64); /* unless that is gone */
    check_counts(events, 300, 300 - 64);
    rayi_events_free(events);
}

Test(events, of_several_writers)
{
    rayi_events *events = rayi_events_new(64, 4); /* 16 each */
    uint64_t position = 0, seen = 0;
    rayi_event e;

    for (uint64_t i = 0; i < 40; i++)
        put(events, (uint32_t)(i % 4) + 8, i); /* whatever the numbers of the writers are */
    check_counts(events, 40, 0);
    while (rayi_events_next(events, &position, &e)) {
        check_event(&e);
        seen |= UINT64_C(1) << e.number;
    }
    cr_assert_eq(seen, (UINT64_C(1) << 40) - 1);
    for (uint64_t i = 40; i < 60; i++) /* one of them alone loses its own only */
        put(events, 2, i);
    check_counts(events, 60, 10 + 20 - 16);
    rayi_events_free(events);
}

Test(events, a_position_that_cannot_be)
{
    rayi_events *events = rayi_events_new(64, 2);
    uint64_t position = UINT64_MAX;
    rayi_event e;

    put(events, 0, 1);
    cr_assert_not(rayi_events_next(events, &position, &e));
    position = UINT64_C(1) << 47;
    cr_assert_not(rayi_events_next(events, &position, &e));
    rayi_events_free(events);
}

/* ---- while others put ---- */

enum { WRITERS = 4, PUTS = 20000 };

typedef struct writer {
    rayi_events *events;
    uint32_t nth;
} writer;

static void *put_many(void *arg)
{
    const writer *w = arg;

    for (uint64_t i = 0; i < PUTS; i++)
        put(w->events, w->nth % 2, i * WRITERS + w->nth); /* two share a ring */
    return NULL;
}

static void *look_often(void *arg)
{
    rayi_events *events = arg;
    rayi_event e;

    do {
        for (uint64_t position = 0; rayi_events_next(events, &position, &e);)
            check_event(&e); /* whole, whoever writes meanwhile */
    } while (rayi_events_count(events).put < (uint64_t)WRITERS * PUTS);
    return NULL;
}

Test(events, whole_while_others_put)
{
    rayi_events *events = rayi_events_new(64, 2);
    pthread_t threads[WRITERS], reader;
    writer writers[WRITERS];
    uint64_t position = 0, count = 0, last[WRITERS] = {0};
    rayi_event e;

    cr_assert_eq(pthread_create(&reader, NULL, look_often, events), 0);
    for (uint32_t i = 0; i < WRITERS; i++) {
        writers[i] = (writer){.events = events, .nth = i};
        cr_assert_eq(pthread_create(&threads[i], NULL, put_many, &writers[i]), 0);
    }
    for (uint32_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(reader, NULL);
    check_counts(events, (uint64_t)WRITERS * PUTS, (uint64_t)WRITERS * PUTS - 64);
    while (rayi_events_next(events, &position, &e)) {
        check_event(&e);
        cr_assert(e.number >= last[e.number % WRITERS]); /* each writer's are in order */
        last[e.number % WRITERS] = e.number;
        count++;
    }
    cr_assert(count > 0 && count <= 64);
    rayi_events_free(events);
}

/* ---- without memory ---- */

static bool is_out;

static void *alloc_or_not(void *arg, size_t size)
{
    (void)arg;
    return is_out ? NULL : malloc(size);
}

static void *realloc_or_not(void *arg, void *block, size_t size)
{
    (void)arg;
    return is_out ? NULL : realloc(block, size);
}

static void free_block(void *arg, void *block)
{
    (void)arg;
    free(block);
}

Test(events, are_lost_without_memory)
{
    const ray_allocator allocator = {
        .size = sizeof allocator, .alloc = alloc_or_not, .realloc = realloc_or_not, .free = free_block};
    rayi_events *events;
    uint64_t position = 0;

    cr_assert_eq(ray_set_allocator(&allocator), 0);
    is_out = true;
    cr_assert_null(rayi_events_new(64, 1));
    is_out = false;
    events = rayi_events_new(64, 1);
    is_out = true;
    put(events, 0, 0);
    check_rest(events, &position, 0, 0);
    check_counts(events, 1, 1);
    is_out = false;
    put(events, 0, 1);
    check_rest(events, &position, 1, 1);
    rayi_events_free(events);
}
