/* The other end writes whatever it likes. */
#include "helper.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

/* ---- targeted rubbish, as the node finds it in the ring up ---- */

/* What a cell holds that pretends to start a message. */
static void put_header(ends *both, uint64_t count, uint32_t size, uint32_t type, uint64_t ticket)
{
    rayi_ring_header header = {size, type, ticket};
    memcpy(both->memory->up_cells + count % RAYI_CELLS * RAYI_CELL, &header, sizeof header);
}

static void set_tail(ends *both, uint64_t tail)
{
    atomic_store(&both->memory->up.tail, tail);
}

static void expect_corrupt(rayi_channel *channel, const char *words)
{
    rayi_received got = {.type = 77};
    for (int i = 0; i < 3; i++) { /* for good */
        cr_assert(rayi_channel_has_mail(channel));
        cr_assert_eq(rayi_channel_receive(channel, &got), RAY_ERR_CORRUPT);
        cr_assert_eq(got.type, 77, "an output was set");
        cr_assert_not_null(strstr(rayi_error_last_public()->message, words), "%s", rayi_error_last_public()->message);
        cr_assert_eq(rayi_error_last_public()->code, RAY_ERR_CORRUPT);
    }
}

/* Moves the ring up to where so many cells are left before its end. */
static void leave_cells(ends *both, uint64_t left)
{
    rayi_received got;
    for (uint64_t i = 0; i < RAYI_CELLS - left; i++) {
        cr_assert(rayi_channel_send(both->worker, 1, NULL, 0, NULL, 0));
        cr_assert_eq(rayi_channel_receive(both->node, &got), 1);
    }
}

Test(ring_hostile, tails)
{
    const uint64_t start = 3;
    const uint64_t bad[] = {start - 1,
                            0,
                            start + RAYI_CELLS + 1,
                            UINT64_MAX,
                            (uint64_t)1 << 63,
                            start + UINT32_MAX,
                            start + ((uint64_t)1 << 32)};
    for (size_t i = 0; i < RAYI_COUNT_OF(bad); i++) {
        ends both = make_ends();
        for (uint64_t sent = 0; sent < start; sent++) {
            send_bytes(both.worker, 1, 1, sent);
            expect_bytes(both.node, 1, 1, sent);
        }
        set_tail(&both, bad[i]);
        expect_corrupt(both.node, "out of bounds");
        set_tail(&both, start); /* too late */
        expect_corrupt(both.node, "out of bounds");
        free_ends(&both);
    }
}

Test(ring_hostile, a_tail_that_runs_backwards_behind_a_batch)
{
    ends both = make_ends();
    send_bytes(both.worker, 1, 1, 1);
    send_bytes(both.worker, 2, 1, 2);
    expect_bytes(both.node, 1, 1, 1);
    set_tail(&both, 1); /* where the node is: it has seen 2 already, and what it saw was good */
    rayi_received got;
    cr_assert_eq(rayi_channel_receive(both.node, &got), 1);
    expect_corrupt(both.node, "out of bounds");
    free_ends(&both);
}

typedef struct rubbish {
    uint64_t left; /* cells before the ring's end */
    uint32_t size, type;
    uint64_t off;       /* of the ticket */
    uint64_t published; /* cells */
    const char *words;
} rubbish;

Test(ring_hostile, headers)
{
    const uint32_t filler = RAYI_RING_FILLER, most = RAYI_RING_MESSAGE_MAX;
    const rubbish cases[] = {
        {8192, UINT32_MAX, 1, 0, 8192, "more than the most"},
        {8192, UINT32_MAX - 15, 1, 0, 8192, "more than the most"},
        {8192, most + 1, 1, 0, 8192, "more than the most"},
        {8192, 49, 1, 0, 1, "longer than what was sent"},
        {8192, most, 1, 0, 2048, "longer than what was sent"},
        {4, 4 * 64, 1, 0, 100, "longer than what was sent"}, /* over the end of the ring */
        {1, 49, 1, 0, 100, "longer than what was sent"},
        {2048, most, 1, 0, 8192, "longer than what was sent"},
        {8192, 10, 1, 1, 1, "no message"},
        {8192, 10, 1, (uint64_t)-8192, 1, "no message"},
        {8192, 8192 * 64 - 16, filler, 0, 8192, "filler"}, /* a whole ring */
        {2049, 2049 * 64 - 16, filler, 0, 8192, "filler"}, /* where the longest message fits */
        {10, 10 * 64 - 16, filler, 0, 10, "filler with no message"},
        {10, 10 * 64 - 16, filler, 0, 9, "filler with no message"},
        {10, 10 * 64 - 17, filler, 0, 20, "filler"},
        {10, 10 * 64 - 15, filler, 0, 20, "filler"},
        {10, 9 * 64 - 16, filler, 0, 20, "filler"},
        {10, 11 * 64 - 16, filler, 0, 20, "filler"},
        {10, 0, filler, 0, 20, "filler"},
        {10, UINT32_MAX, filler, 0, 20, "filler"},
        {10, 10 * 64 - 16, filler, 7, 20, "filler"},
    };
    for (size_t i = 0; i < RAYI_COUNT_OF(cases); i++) {
        ends both = make_ends();
        leave_cells(&both, cases[i].left);
        uint64_t count = RAYI_CELLS - cases[i].left;
        put_header(&both, count, cases[i].size, cases[i].type, count + cases[i].off);
        set_tail(&both, count + cases[i].published);
        expect_corrupt(both.node, cases[i].words);
        cr_assert_eq(atomic_load(&both.memory->up.head), count, "nothing was freed");
        free_ends(&both);
    }
}

Test(ring_hostile, behind_a_filler)
{
    const uint64_t count = RAYI_CELLS - 10, after = RAYI_CELLS;
    for (int i = 0; i < 4; i++) {
        ends both = make_ends();
        leave_cells(&both, 10);
        put_header(&both, count, 10 * 64 - 16, RAYI_RING_FILLER, count);
        set_tail(&both, after + 5);
        if (i == 0)
            put_header(&both, after, 8192 * 64 - 16, RAYI_RING_FILLER, after); /* another one */
        else if (i == 1)
            put_header(&both, after, 6 * 64 - 16, 1, after);
        else if (i == 2)
            put_header(&both, after, 1, 1, 0); /* the ticket of the lap before */
        else
            put_header(&both, after, 5 * 64 - 16, 3, after);
        if (i < 3) {
            expect_corrupt(both.node, i == 1 ? "longer than what was sent" : "no message");
        } else { /* the honest one */
            rayi_received got;
            cr_assert_eq(rayi_channel_receive(both.node, &got), 1);
            cr_assert_eq(got.size, 5 * 64 - 16);
            expect_nothing(both.node);
        }
        free_ends(&both);
    }
}

/* ---- the node as a sender ---- */

Test(ring_hostile, heads)
{
    const uint64_t last = 10 + RAYI_CELLS; /* the node's tail */
    const uint64_t bad[] = {9, 0, UINT64_MAX, (uint64_t)1 << 63, last + 1, last + RAYI_CELLS};
    for (size_t i = 0; i < RAYI_COUNT_OF(bad); i++) {
        ends both = make_ends();
        rayi_received got;
        for (int sent = 0; sent < 100; sent++)
            cr_assert(rayi_channel_send(both.node, 1, NULL, 0, NULL, 0));
        for (int got_so_far = 0; got_so_far < 10; got_so_far++)
            cr_assert_eq(rayi_channel_receive(both.worker, &got), 1);
        /* So that the node has seen 10. */
        uint64_t tail = 100;
        while (rayi_channel_send(both.node, 1, NULL, 0, NULL, 0))
            tail++;
        cr_assert_eq(tail, last);
        cr_assert_not(rayi_channel_has_mail(both.node));
        atomic_store(&both.memory->down.head, bad[i]);
        if (i % 2)
            cr_assert_not(rayi_channel_wants_room(both.node));
        cr_assert_not(rayi_channel_send(both.node, 1, NULL, 0, NULL, 0));
        expect_corrupt(both.node, "what it has received");
        atomic_store(&both.memory->down.head, 20);
        cr_assert_not(rayi_channel_send(both.node, 1, NULL, 0, NULL, 0), "broken for good");
        cr_assert_not(rayi_channel_can_send(both.node, 0));
        cr_assert_not(rayi_channel_wants_room(both.node));
        cr_assert_eq(atomic_load(&both.memory->down.tail), tail, "nothing was written");
        free_ends(&both);
    }
}

Test(ring_hostile, a_broken_channel_keeps_nobody_waiting)
{
    ends both = make_ends();
    uint32_t seen = rayi_channel_bell(both.worker);
    while (rayi_channel_send(both.worker, 1, NULL, 0, NULL, 0))
        ;
    atomic_store(&both.memory->up.head, RAYI_CELLS + 1);
    cr_assert_not(rayi_channel_send(both.worker, 1, NULL, 0, NULL, 0));
    cr_assert_not(rayi_channel_wait_for_room(both.worker, 0, -1, INT64_MAX));
    cr_assert(rayi_channel_sleep(both.worker, seen, INT64_MAX));
    free_ends(&both);
}

Test(ring_hostile, claim_words)
{
    ends both = make_ends();
    atomic_store(&both.memory->claim[5], UINT32_MAX);
    cr_assert_not(rayi_offer_revoke(both.node, 5));
    cr_assert_eq(rayi_offer_look(both.node, 5) & RAYI_OFFER_STATE, RAYI_OFFER_REVOKED);
    rayi_offer_flag(both.node, 5, RAYI_OFFER_CANCEL);
    rayi_offer_make(both.node, 5, 0);
    cr_assert_eq(rayi_offer_look(both.node, 5), RAYI_OFFER_MADE);
    free_ends(&both);
}

/* ---- another thread writes all over it ---- */

typedef struct vandal {
    rayi_ring_memory *memory;
    const rayi_channel *node; /* where it knows from what the node reads next */
    atomic_bool started, stop;
    pthread_t thread;
    uint64_t random, writes;
} vandal;

/* Rubbish that looks like messages gets further past the checks than noise, so most of it does. */
__attribute__((no_sanitize("thread"))) static void vandalize(vandal *self)
{
    rayi_ring_memory *memory = self->memory;
    volatile uint64_t *words = (volatile uint64_t *)memory;
    uint64_t dice = next_random(&self->random), value = next_random(&self->random);
    uint64_t head = atomic_load_explicit(&self->node->in.head, memory_order_relaxed);
    uint64_t count = dice / 256 % 16 ? head : head + value % 64, size = value / 64 % 3000, tail;
    volatile uint64_t *message = (volatile uint64_t *)(memory->up_cells + count % RAYI_CELLS * RAYI_CELL);
    switch (dice % 256) {
    case 0:
        words[value % (sizeof *memory / sizeof *words)] = next_random(&self->random);
        break;
    case 1: /* the page of counters */
        words[value % 512] = next_random(&self->random) >> dice / 256 % 64;
        break;
    case 2:
        atomic_store_explicit(&memory->up.head, head + value % 3 - 1, memory_order_relaxed);
        break;
    case 3:
        tail = atomic_load_explicit(&memory->down.tail, memory_order_relaxed);
        atomic_store_explicit(&memory->down.head, tail - value % 9000, memory_order_relaxed);
        break;
    case 4:
        message[0] = next_random(&self->random);
        break;
    default:
        message[0] = size | (dice / 256 % 64 == 0 ? (uint64_t)UINT32_MAX : dice / 256 % 100) << 32;
        message[1] = count;
        tail = dice / 4096 % 16 ? (size + 16 + RAYI_CELL - 1) / RAYI_CELL : value % 128;
        atomic_store_explicit(&memory->up.tail, count + tail, memory_order_relaxed);
    }
    self->writes++;
}

static void *run_vandal(void *arg)
{
    vandal *self = arg;
    while (!atomic_load_explicit(&self->stop, memory_order_relaxed)) {
        vandalize(self);
        atomic_store_explicit(&self->started, true, memory_order_relaxed);
    }
    return NULL;
}

/* All that the node does with a channel. */
static int use_node(rayi_channel *node, uint64_t *random, uint64_t *messages)
{
    static unsigned char copy[RAYI_RING_MESSAGE_MAX];
    rayi_received got = {0};
    uint64_t dice = next_random(random);
    uint32_t slot = (uint32_t)(dice / 64 % RAYI_OFFERS);
    int r = rayi_channel_receive(node, &got);
    cr_assert(r == 0 || r == 1 || r == RAY_ERR_CORRUPT, "%d", r);
    if (r == 1) {
        cr_assert_leq(got.size, RAYI_RING_MESSAGE_MAX);
        cr_assert_neq(got.type, RAYI_RING_FILLER);
        memcpy(copy, got.data, got.size); /* the address sanitizer looks at every byte */
        ++*messages;
    }
    (void)rayi_channel_send(node, 1, copy, dice / 64 % 2000, copy, dice % 64);
    (void)rayi_channel_wants_room(node);
    (void)rayi_channel_has_mail(node);
    rayi_channel_wake_worker(node);
    rayi_channel_arm(node);
    rayi_channel_poll_begin(node);
    rayi_channel_poll_end(node);
    rayi_offer_make(node, slot, 0);
    rayi_offer_flag(node, slot, RAYI_OFFER_LATE);
    (void)rayi_offer_revoke(node, slot);
    (void)rayi_offer_look(node, slot);
    rayi_offer_credit(node, slot, dice);
    return r;
}

Test(ring_hostile, random_writes_everywhere)
{
    uint64_t random = 1, messages = 0, uses = 0, rounds = 0, writes = 0;
    int64_t start = rayi_now_ns();
    for (; rayi_now_ns() - start < (rounds > 20 && messages > 20 ? 2000 * MS : 60000 * MS); rounds++) {
        ends both = make_ends();
        vandal other = {.memory = both.memory, .node = both.node, .random = rounds};
        cr_assert_eq(pthread_create(&other.thread, NULL, run_vandal, &other), 0);
        while (!atomic_load_explicit(&other.started, memory_order_relaxed))
            sched_yield();
        for (int r = 0, i = 0; i < 2000 && r >= 0; i++, uses++)
            r = use_node(both.node, &random, &messages);
        for (int i = 0; i < 100; i++) /* and after it broke */
            (void)use_node(both.node, &random, &messages);
        atomic_store_explicit(&other.stop, true, memory_order_relaxed);
        pthread_join(other.thread, NULL);
        writes += other.writes;
        free_ends(&both);
    }
    cr_log_info("%llu channels, %llu writes, %llu looks, %llu messages", (unsigned long long)rounds,
                (unsigned long long)writes, (unsigned long long)uses, (unsigned long long)messages);
    cr_assert_gt(rounds, 20);
    cr_assert_gt(messages, 20, "some of the rubbish is well-formed");
}
