/* Sending and receiving between honest ends. */
#include "helper.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const size_t sizes[] = {0,
                               1,
                               47,
                               48,
                               49,
                               63,
                               64,
                               65,
                               111,
                               112,
                               113,
                               1000,
                               4096,
                               32 * KIB,
                               64 * KIB,
                               100 * KIB,
                               65535,
                               65537,
                               128 * KIB - 65,
                               128 * KIB - 1,
                               RAYI_RING_MESSAGE_MAX};

Test(ring_messages, sizes_both_ways)
{
    ends both = make_ends();
    expect_nothing(both.node);
    expect_nothing(both.worker);
    for (int round = 0; round < 20; round++)
        for (uint32_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
            send_bytes(both.node, i, sizes[i], i);
            expect_nothing(both.node);
            send_bytes(both.worker, i + 100, sizes[i], i + 7);
            expect_bytes(both.worker, i, sizes[i], i);
            expect_nothing(both.worker);
            expect_bytes(both.node, i + 100, sizes[i], i + 7);
            expect_nothing(both.node);
        }
    free_ends(&both);
}

Test(ring_messages, parts)
{
    ends both = make_ends();
    const char *const cases[][2] = {{"", ""}, {"a", ""}, {"", "b"}, {"a head", " and a body"}};
    for (size_t i = 0; i < RAYI_COUNT_OF(cases); i++) {
        const char *head = cases[i][0], *body = cases[i][1];
        char whole[64];
        rayi_received got;
        snprintf(whole, sizeof whole, "%s%s", head, body);
        cr_assert(
            rayi_channel_send(both.node, 5, *head ? head : NULL, strlen(head), *body ? body : NULL, strlen(body)));
        cr_assert_eq(rayi_channel_receive(both.worker, &got), 1);
        cr_assert_eq(got.size, strlen(whole));
        cr_assert_not_null(got.data);
        cr_assert_arr_eq(got.data, whole, got.size);
    }
    free_ends(&both);
}

Test(ring_messages, full_and_free_again)
{
    ends both = make_ends();
    uint64_t sent = 0, got = 0;
    while (rayi_channel_can_send(both.node, 48)) {
        send_bytes(both.node, 1, 48, sent);
        sent++;
    }
    cr_assert_eq(sent, RAYI_CELLS, "a cell a message");
    for (int i = 0; i < 3; i++) { /* nothing is written, however often it is tried */
        cr_assert_not(rayi_channel_send(both.node, 1, NULL, 0, NULL, 0));
        cr_assert_not(rayi_channel_can_send(both.node, 0));
    }
    expect_bytes(both.worker, 1, 48, got++);
    cr_assert(rayi_channel_can_send(both.node, 48));
    cr_assert_not(rayi_channel_can_send(both.node, 49));
    send_bytes(both.node, 1, 48, sent++);
    cr_assert_not(rayi_channel_can_send(both.node, 0));
    while (got < sent)
        expect_bytes(both.worker, 1, 48, got++);
    expect_nothing(both.worker);
    free_ends(&both);
}

Test(ring_messages, data_stays_until_the_next_receive)
{
    ends both = make_ends();
    rayi_received got;
    send_bytes(both.worker, 1, 1000, 1);
    cr_assert_eq(rayi_channel_receive(both.node, &got), 1);
    memset(both.memory->up_cells, 0xaa, sizeof both.memory->up_cells); /* its cells are free already */
    cr_assert(has_bytes(got.data, 1000, 1));
    cr_assert_eq(rayi_channel_receive(both.node, &got), 0);
    free_ends(&both);
}

Test(ring_messages, the_largest_always_fits_an_empty_ring)
{
    ends both = make_ends();
    for (uint64_t start = 0; start < 2 * RAYI_CELLS; start += 63) {
        for (int i = 0; i < 63; i++) {
            send_bytes(both.worker, 1, 0, 0);
            expect_bytes(both.node, 1, 0, 0);
        }
        cr_assert(rayi_channel_can_send(both.worker, RAYI_RING_MESSAGE_MAX));
        send_bytes(both.worker, 2, RAYI_RING_MESSAGE_MAX, start);
        expect_bytes(both.node, 2, RAYI_RING_MESSAGE_MAX, start);
    }
    free_ends(&both);
}

/* What lies in a ring, by sizes and seeds; the model knows nothing of cells. */
#define MODEL 16384
typedef struct model {
    uint32_t size[MODEL];
    uint64_t first, last;
} model;

static size_t random_size(uint64_t *random)
{
    uint64_t value = next_random(random);
    switch (value % 8) {
    case 0:
        return sizes[value / 8 % RAYI_COUNT_OF(sizes)];
    case 1:
        return value / 8 % (RAYI_RING_MESSAGE_MAX + 1);
    case 2:
    case 3:
        return value / 8 % 5000;
    default:
        return value / 8 % 200;
    }
}

static void step(rayi_channel *from, rayi_channel *to, model *held, uint64_t *random)
{
    static unsigned char bytes[RAYI_RING_MESSAGE_MAX];
    rayi_received got;
    uint64_t dice = next_random(random);
    if (dice % 100 < 50) {
        size_t size = random_size(random), head = size ? dice / 100 % (size + 1) : 0;
        fill_bytes(bytes, size, held->last);
        bool can = rayi_channel_can_send(from, size);
        bool sent = rayi_channel_send(from, (uint32_t)held->last, bytes, head, bytes + head, size - head);
        cr_assert_eq(can, sent);
        cr_assert(sent || held->first < held->last, "an empty ring has room for %zu", size);
        if (sent)
            held->size[held->last++ % MODEL] = (uint32_t)size;
    } else {
        int r = rayi_channel_receive(to, &got);
        cr_assert_eq(r, held->first < held->last);
        if (r == 0)
            return;
        cr_assert_eq(got.size, held->size[held->first % MODEL]);
        cr_assert_eq(got.type, (uint32_t)held->first);
        cr_assert(has_bytes(got.data, got.size, held->first));
        held->first++;
    }
}

Test(ring_messages, random_sizes_against_a_model)
{
    ends both = make_ends();
    static model down, up;
    uint64_t random = 42;
    int steps = IS_SLOW ? 30000 : 100000;
    for (int i = 0; i < steps; i++) {
        step(both.node, both.worker, &down, &random);
        step(both.worker, both.node, &up, &random);
        cr_assert_leq(down.last - down.first, RAYI_CELLS);
    }
    cr_assert_gt(atomic_load(&both.memory->down.tail) / RAYI_CELLS, 20, "it wrapped");
    free_ends(&both);
}

/* Counters are 64 bits and never wrap in practice; they may all the same. */
Test(ring_messages, counters_may_start_anywhere)
{
    ends first = make_ends();
    uint64_t starts[] = {UINT64_MAX - 5, (uint64_t)INT64_MAX - 5, UINT32_MAX - 5};
    for (size_t i = 0; i < RAYI_COUNT_OF(starts); i++) {
        rayi_channel *worker;
        atomic_store(&first.memory->up.tail, starts[i]);
        atomic_store(&first.memory->up.head, starts[i]);
        atomic_store(&first.memory->down.head, starts[i]);
        CHECK_OK(rayi_channel_open(rayi_heap, dup(rayi_channel_fd(first.node)), &worker));
        uint64_t sent = 0;
        for (; sent < RAYI_CELLS; sent++)
            cr_assert(rayi_channel_send(worker, 1, NULL, 0, NULL, 0), "at %llu", (unsigned long long)sent);
        cr_assert_not(rayi_channel_send(worker, 1, NULL, 0, NULL, 0));
        cr_assert_not(rayi_ring_peek_room(worker, 0));
        cr_assert_eq(atomic_load(&first.memory->up.tail), starts[i] + RAYI_CELLS);
        atomic_store(&first.memory->up.head, starts[i] + 2);
        cr_assert(rayi_ring_peek_room(worker, 0));
        cr_assert(rayi_channel_send(worker, 1, NULL, 0, "x", 1));
        rayi_channel_free(worker);
    }
    free_ends(&first);
}

Test(ring_messages, too_long, .signal = SIGABRT)
{
    ends both = make_ends();
    static unsigned char bytes[RAYI_RING_MESSAGE_MAX];
    rayi_channel_send(both.node, 1, bytes, 1, bytes, RAYI_RING_MESSAGE_MAX);
}

Test(ring_messages, sizes_that_overflow, .signal = SIGABRT)
{
    ends both = make_ends();
    rayi_channel_send(both.node, 1, "", 2, "", SIZE_MAX);
}

Test(ring_messages, the_type_of_fillers, .signal = SIGABRT)
{
    ends both = make_ends();
    rayi_channel_send(both.node, UINT32_MAX, NULL, 0, NULL, 0);
}

/* ---- a node that keeps what it could not send ---- */

static void fill_down(ends *both)
{
    while (rayi_channel_send(both->node, 1, NULL, 0, NULL, 0))
        ;
}

Test(ring_messages, wants_room)
{
    ends both = make_ends();
    rayi_received got;
    cr_assert_not(rayi_channel_wants_room(both.node));
    send_bytes(both.node, 1, 10, 1);
    expect_bytes(both.worker, 1, 10, 1);
    cr_assert_not(rayi_channel_wants_room(both.node), "every send found room");
    fill_down(&both);
    cr_assert_not(rayi_channel_wants_room(both.node), "nothing was freed");
    cr_assert_eq(rayi_channel_receive(both.worker, &got), 1);
    cr_assert(rayi_channel_wants_room(both.node));
    cr_assert_not(rayi_channel_wants_room(both.node), "once");
    cr_assert_eq(rayi_channel_receive(both.worker, &got), 1);
    cr_assert_not(rayi_channel_wants_room(both.node), "no send has found no room since");
    cr_assert_not(rayi_channel_send(both.node, 1, both.memory->up_cells, 1000, NULL, 0));
    cr_assert_not(rayi_channel_wants_room(both.node));
    cr_assert_eq(rayi_channel_receive(both.worker, &got), 1);
    cr_assert(rayi_channel_wants_room(both.node));
    free_ends(&both);
}

Test(ring_messages, a_hungry_node_is_told_once_cells_are_free)
{
    ends both = make_ends();
    int fd = make_event_fd();
    rayi_received got;
    fill_down(&both);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 0, "nothing was freed");
    cr_assert_eq(rayi_channel_receive(both.worker, &got), 1);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 1);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 0, "once");
    /* It fails again, with the cell that is free: the next one counts, the announcement before it does not. */
    cr_assert_not(rayi_channel_can_send(both.node, 1000));
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 0);
    cr_assert_eq(rayi_channel_receive(both.worker, &got), 1);
    rayi_channel_poll_begin(both.node); /* whoever polls */
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 1);
    cr_assert(rayi_channel_wants_room(both.node));
    close(fd);
    free_ends(&both);
}
