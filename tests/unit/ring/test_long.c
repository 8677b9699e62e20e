/* Messages that are longer than a ring takes at once. */
#include "helper.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PART = RAYI_RING_MESSAGE_MAX };

static unsigned char *make_bytes(size_t size, uint64_t seed)
{
    unsigned char *bytes = malloc(size + 1);
    cr_assert_not_null(bytes);
    fill_bytes(bytes, size, seed);
    return bytes;
}

/* Parts came, and nothing that is whole. */
static void expect_parts(rayi_channel *at)
{
    rayi_received got;
    cr_assert(rayi_channel_has_mail(at));
    cr_assert_eq(rayi_channel_receive(at, &got), 0);
    expect_nothing(at);
}

static void expect_long(rayi_channel *at, uint32_t type, const unsigned char *bytes, size_t size)
{
    rayi_received got = {0};
    cr_assert_eq(rayi_channel_receive(at, &got), 1);
    cr_assert_eq(got.type, type);
    cr_assert_eq(got.size, size);
    cr_assert_eq((uintptr_t)got.data % 16, 0);
    cr_assert_eq(memcmp(got.data, bytes, size), 0);
}

Test(ring_long, sizes_both_ways)
{
    const size_t sizes[] = {0, 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1, 3 * PART};
    ends both = make_ends();
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
            unsigned char *bytes = make_bytes(sizes[i], i);
            rayi_channel *from = round % 2 ? both.node : both.worker, *to = round % 2 ? both.worker : both.node;
            size_t head = sizes[i] / 5 * (size_t)round, sent = 0;
            cr_assert(rayi_channel_send_long(from, 9, bytes, head, bytes + head, sizes[i] - head, &sent));
            cr_assert_eq(sent, sizes[i]);
            send_bytes(from, 10, 100, i);
            expect_long(to, 9, bytes, sizes[i]);
            expect_bytes(to, 10, 100, i);
            expect_nothing(to);
            free(bytes);
        }
    free_ends(&both);
}

/* Longer than the ring: it goes as room comes, and is nothing before it is whole. */
Test(ring_long, longer_than_the_ring)
{
    const size_t size = 3 * RAYI_RING_BYTES + 12345;
    unsigned char *bytes = make_bytes(size, 3);
    ends both = make_ends();
    for (int way = 0; way < 2; way++) {
        rayi_channel *from = way ? both.node : both.worker, *to = way ? both.worker : both.node;
        size_t sent = 0, before = 0, head = PART + 77;
        int waits = 0;
        for (; !rayi_channel_send_long(from, 4, bytes, head, bytes + head, size - head, &sent); waits++) {
            cr_assert_gt(sent, before, "no way forward");
            cr_assert_eq(sent % PART, 0);
            before = sent;
            expect_parts(to);
            if (way)
                cr_assert(rayi_channel_wants_room(from));
        }
        cr_assert_geq(waits, 3);
        send_bytes(from, 5, 10, 1);
        expect_long(to, 4, bytes, size);
        cr_assert_not_null(to->in.joined);
        expect_bytes(to, 5, 10, 1);
        cr_assert_null(to->in.joined, "the memory was given back");
    }
    free_ends(&both);
    free(bytes);
}

Test(ring_long, goes_with_its_channel)
{
    unsigned char *bytes = make_bytes(RAYI_RING_BYTES, 1);
    ends both = make_ends();
    size_t sent = 0;
    cr_assert_not(rayi_channel_send_long(both.worker, 4, bytes, RAYI_RING_BYTES, NULL, 0, &sent));
    expect_parts(both.node);
    cr_assert_eq(both.node->in.joined_size, sent);
    free_ends(&both); /* the address sanitizer knows whether all went */
    free(bytes);
}

Test(ring_long, nothing_stands_between, .signal = SIGABRT)
{
    unsigned char *bytes = make_bytes(RAYI_RING_BYTES, 1);
    ends both = make_ends();
    size_t sent = 0;
    (void)rayi_channel_send_long(both.worker, 4, bytes, RAYI_RING_BYTES, NULL, 0, &sent);
    (void)rayi_channel_send(both.worker, 4, NULL, 0, NULL, 0);
}

Test(ring_long, more_than_a_worker_may_send, .signal = SIGABRT)
{
    ends both = make_ends();
    size_t sent = 0;
    (void)rayi_channel_send_long(both.worker, 4, "", (size_t)RAYI_RING_LONG_MAX + 1, NULL, 0, &sent);
}

/* ---- the other end's rubbish ---- */

static void expect_corrupt(rayi_channel *channel, const char *words)
{
    rayi_received got;
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(rayi_channel_receive(channel, &got), RAY_ERR_CORRUPT);
        cr_assert_not_null(strstr(rayi_error_last_public()->message, words), "%s", rayi_error_last_public()->message);
    }
}

typedef struct piece {
    uint32_t type, flags;
    size_t size;
} piece;

static void send_piece(rayi_channel *from, const piece *p)
{
    static const unsigned char bytes[PART];
    cr_assert(rayi_ring_send(from, p->type, p->flags, bytes, p->size, NULL, 0));
}

Test(ring_long, parts_that_do_not_belong)
{
    const uint32_t more = RAYI_RING_MORE, rest = RAYI_RING_REST;
    const struct {
        piece pieces[3];
        const char *words;
    } cases[] = {
        {{{1, rest, 10}}, "does not belong"},                           /* the end of nothing */
        {{{1, rest | more, PART}}, "does not belong"},                  /* the middle of nothing */
        {{{1, more, PART}, {1, more, PART}}, "does not belong"},        /* a second beginning */
        {{{1, more, PART}, {1, 0, 10}}, "does not belong"},             /* a short message in between */
        {{{1, more, PART}, {2, 0, 10}}, "does not belong"},             /* the same of another type */
        {{{1, more, PART}, {2, rest, 10}}, "does not belong"},          /* the end of another */
        {{{1, more, PART}, {1, rest, 10}, {1, rest, 9}}, "not belong"}, /* one end too many */
        {{{1, more, PART - 1}}, "not full"},                            /* a beginning that is not full */
        {{{1, more, PART}, {1, rest | more, 10}}, "not full"},          /* a middle */
        {{{1, more, PART}, {1, rest | more, PART - 1}}, "not full"},    /* almost */
        {{{1, more, 0}}, "not full"},                                   /* without end */
        {{{1, more, PART}, {1, rest, 0}}, "not full"},                  /* an end without bytes */
    };
    for (size_t i = 0; i < RAYI_COUNT_OF(cases); i++) {
        ends both = make_ends();
        rayi_received got;
        for (int j = 0; j < 3; j++)
            if (cases[i].pieces[j].type)
                send_piece(both.worker, &cases[i].pieces[j]);
        if (i == 6)
            cr_assert_eq(rayi_channel_receive(both.node, &got), 1);
        expect_corrupt(both.node, cases[i].words);
        free_ends(&both);
    }
}

/* The node takes so much from a worker, and keeps no more; what the node sends may be longer. */
Test(ring_long, has_an_end)
{
    const piece begin = {1, RAYI_RING_MORE, PART}, middle = {1, RAYI_RING_REST | RAYI_RING_MORE, PART},
                end = {1, RAYI_RING_REST, 1};
    for (int way = 0; way < 2; way++) {
        ends both = make_ends();
        rayi_channel *from = way ? both.node : both.worker, *to = way ? both.worker : both.node;
        rayi_received got;
        send_piece(from, &begin);
        for (size_t size = PART; size < RAYI_RING_LONG_MAX; size += PART) {
            expect_parts(to);
            cr_assert_leq(to->in.joined_room, 2 * size);
            send_piece(from, &middle);
        }
        expect_parts(to);
        send_piece(from, &end);
        if (way == 0) {
            expect_corrupt(to, "more than the most bytes");
        } else {
            cr_assert_eq(rayi_channel_receive(to, &got), 1);
            cr_assert_eq(got.size, (size_t)RAYI_RING_LONG_MAX + 1);
        }
        free_ends(&both);
    }
}

/* ---- without memory ---- */

static int allocations_left;

static void *allocate(void *arg, size_t size)
{
    (void)arg;
    return allocations_left-- > 0 ? malloc(size) : NULL;
}
static void *reallocate(void *arg, void *block, size_t size)
{
    (void)arg;
    return allocations_left-- > 0 ? realloc(block, size) : NULL;
}
static void give_back(void *arg, void *block)
{
    (void)arg;
    free(block);
}

Test(ring_long, without_memory)
{
    static const rayi_memory memory = {
        .size = sizeof memory, .alloc = allocate, .realloc = reallocate, .free = give_back};
    const piece begin = {1, RAYI_RING_MORE, PART}, end = {1, RAYI_RING_REST, 1};
    for (int allowed = 0; allowed < 2; allowed++) {
        rayi_channel *node, *worker;
        rayi_received got;
        allocations_left = 1;
        CHECK_OK(rayi_channel_new(&memory, &node));
        allocations_left = allowed;
        CHECK_OK(rayi_channel_open(rayi_heap, dup(rayi_channel_fd(node)), &worker));
        send_piece(worker, &begin);
        send_piece(worker, &end);
        cr_assert_eq(rayi_channel_receive(node, &got), RAY_ERR_NO_MEMORY);
        expect_corrupt(node, "no memory");
        rayi_channel_free(node);
        rayi_channel_free(worker);
    }
}
