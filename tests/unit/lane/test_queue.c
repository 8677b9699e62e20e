/* Run queues: the order of one thread, overflow, stale records, thieves. */
#include "../around.h"

#include "made.h"

#define NUM_TASKS   6000
#define NUM_THIEVES 3

static bool never_serve(rayi_thread *thread, rayi_record *runner, unsigned max)
{
    (void)thread, (void)runner, (void)max;
    return false;
}

static void setup(void)
{
    make_lane(never_serve);
}

static void push(size_t number)
{
    rayi_queue_push(self, RAYI_NEEDS_SLOT, &make_task(self, RAYI_TASK, RAYI_QUEUED, number)->head);
}

/* The number of the next task, or -1. */
static long take(void)
{
    rayi_record *record = rayi_queue_take(self, RAYI_NEEDS_SLOT);
    long number = record ? (long)record->size : -1;

    if (record) {
        cr_assert_eq(atomic_load(&record->state), RAYI_RUNNING);
        rayi_record_unref(self, record);
    }
    return number;
}

static unsigned overflowing(void)
{
    return atomic_load(&lane->overflow[RAYI_NEEDS_SLOT].count);
}

TEST_AROUND(queue, order, setup, end_lane)
{
    long next = 0;

    cr_expect_eq(take(), -1);
    for (size_t i = 0; i < 1000; i++) { /* many times round the ring */
        push(2 * i);
        push(2 * i + 1);
        if (i >= 100) {
            cr_assert_eq(take(), next++);
            cr_assert_eq(take(), next++);
        }
    }
    cr_expect_eq(overflowing(), 0);
    while (next < 2000)
        cr_assert_eq(take(), next++);
    cr_expect_eq(take(), -1);
    cr_assert_not(rayi_queue_visible(lane, RAYI_NEEDS_SLOT));
}

/* head and tail count for ever and wrap together. */
TEST_AROUND(queue, wraps, setup, end_lane)
{
    rayi_ring *ring = &self->ring[RAYI_NEEDS_SLOT];

    atomic_store(&ring->head, 0u - 100);
    atomic_store(&ring->tail, 0u - 100);
    for (size_t i = 0; i < RAYI_RING; i++)
        push(i);
    cr_expect_eq(overflowing(), 0);
    for (long i = 0; i < RAYI_RING; i++)
        cr_assert_eq(take(), i);
    cr_expect_eq(take(), -1);
}

/* A full ring gives its older half to the overflow, in order, and it comes up while the ring is not empty. */
TEST_AROUND(queue, overflow, setup, end_lane)
{
    bool came = false;

    for (size_t i = 0; i < RAYI_RING; i++)
        push(i);
    cr_expect_eq(overflowing(), 0);
    push(RAYI_RING);
    cr_assert_eq(overflowing(), RAYI_RING / 2);
    cr_expect_eq(lane->overflow[RAYI_NEEDS_SLOT].first->size, 0);
    cr_expect_eq(lane->overflow[RAYI_NEEDS_SLOT].last->size, RAYI_RING / 2 - 1);
    for (int i = 0; i < 64 && !came; i++)
        came = take() == 0;
    cr_expect(came);
    while (take() != -1)
        ;
    cr_expect_eq(atomic_load(&num_destroyed), RAYI_RING + 1);
}

TEST_AROUND(queue, beyond, setup, end_lane)
{
    static bool seen[5000];
    long number;

    for (size_t i = 0; i < RAYI_COUNT_OF(seen); i++)
        push(i);
    for (size_t i = 0; i < RAYI_COUNT_OF(seen); i++) {
        number = take();
        cr_assert(number >= 0 && !seen[number]);
        seen[number] = true;
    }
    cr_expect_eq(take(), -1);
    cr_expect_eq(overflowing(), 0);
    cr_expect_null(lane->overflow[RAYI_NEEDS_SLOT].first);
    cr_expect_null(lane->overflow[RAYI_NEEDS_SLOT].last);
}

/* Two in three have been claimed elsewhere: they are dropped with their counts, in the ring, on the way to the
 * overflow, and in it. */
TEST_AROUND(queue, stale, setup, end_lane)
{
    static rayi_task *tasks[1000];
    unsigned taken = 0;
    long number;

    for (size_t i = 0; i < RAYI_COUNT_OF(tasks); i++) {
        tasks[i] = make_task(self, RAYI_TASK, RAYI_QUEUED, i);
        rayi_record_ref(&tasks[i]->head);
        if (i % 3 == 1) /* before it is spilled */
            cr_assert(rayi_record_claim_queued(&tasks[i]->head));
        rayi_queue_push(self, RAYI_NEEDS_SLOT, &tasks[i]->head);
    }
    for (size_t i = 2; i < RAYI_COUNT_OF(tasks); i += 3) /* after it */
        cr_assert(rayi_record_claim(&tasks[i]->head));
    while ((number = take()) != -1) {
        cr_assert_eq(number % 3, 0);
        taken++;
    }
    cr_expect_eq(taken, 334);
    for (size_t i = 0; i < RAYI_COUNT_OF(tasks); i++) {
        cr_assert_eq(atomic_load(&tasks[i]->head.refs), 1);
        rayi_record_unref(self, &tasks[i]->head);
    }
    cr_expect_eq(atomic_load(&num_destroyed), RAYI_COUNT_OF(tasks));
}

TEST_AROUND(queue, unpush, setup, end_lane)
{
    rayi_task *one = make_task(self, RAYI_TASK, RAYI_QUEUED, 1), *two = make_task(self, RAYI_TASK, RAYI_QUEUED, 2);

    cr_assert_not(rayi_queue_unpush(self, RAYI_NEEDS_SLOT, &one->head));
    rayi_queue_push(self, RAYI_NEEDS_SLOT, &one->head);
    cr_assert_not(rayi_queue_unpush(self, RAYI_NEEDS_NONE, &one->head));
    cr_assert_not(rayi_queue_unpush(self, RAYI_NEEDS_SLOT, &two->head));
    cr_expect(rayi_queue_unpush(self, RAYI_NEEDS_SLOT, &one->head));
    cr_expect_eq(take(), -1);
    rayi_queue_push(self, RAYI_NEEDS_SLOT, &one->head);
    rayi_queue_push(self, RAYI_NEEDS_SLOT, &two->head);
    cr_assert_not(rayi_queue_unpush(self, RAYI_NEEDS_SLOT, &one->head));
    cr_assert_not(rayi_queue_unpush(self, RAYI_NEEDS_SLOT, &two->head));
    cr_expect_eq(take(), 1);
    cr_expect(rayi_queue_unpush(self, RAYI_NEEDS_SLOT, &two->head));
    rayi_record_unref(self, &two->head);
}

/* A runner has no state that could make it stale. */
TEST_AROUND(queue, runners, setup, end_lane)
{
    rayi_record *runners[300];
    unsigned taken = 0;

    for (size_t i = 0; i < RAYI_COUNT_OF(runners); i++) {
        runners[i] = rayi_pool_alloc(self, RAYI_RUNNER, sizeof **runners);
        cr_assert_eq(rayi_kind_of_work(runners[i]), RAYI_NEEDS_NONE);
        rayi_queue_push(self, RAYI_NEEDS_NONE, runners[i]);
    }
    cr_expect(rayi_queue_visible(lane, RAYI_NEEDS_NONE));
    cr_assert_not(rayi_queue_visible(lane, RAYI_NEEDS_SLOT));
    cr_expect_null(rayi_queue_take(self, RAYI_NEEDS_SLOT));
    while (rayi_queue_take(self, RAYI_NEEDS_NONE))
        taken++;
    cr_expect_eq(taken, RAYI_COUNT_OF(runners));
    for (size_t i = 0; i < RAYI_COUNT_OF(runners); i++)
        rayi_pool_free(self, runners[i]);
}

static void *push_and_part(void *unused)
{
    rayi_thread *thread = rayi_lane_attach(lane);

    for (size_t i = 0; i < 300; i++)
        rayi_queue_push(thread, RAYI_NEEDS_SLOT, &make_task(thread, RAYI_TASK, RAYI_QUEUED, i)->head);
    rayi_lane_detach();
    return unused;
}

TEST_AROUND(queue, parting, setup, end_lane)
{
    static bool seen[300];
    pthread_t thread;
    long number;

    cr_assert_eq(pthread_create(&thread, NULL, push_and_part, NULL), 0);
    pthread_join(thread, NULL);
    cr_expect_eq(overflowing(), 300);
    for (int i = 0; i < 300; i++) {
        number = take();
        cr_assert(number >= 0 && !seen[number]);
        seen[number] = true;
    }
    cr_expect_eq(take(), -1);
}

/* ---- thieves ---- */

static rayi_task *tasks[NUM_TASKS];
static atomic_uint claimed[NUM_TASKS]; /* how often */
static atomic_uint num_claimed;

static void count(size_t number)
{
    atomic_fetch_add(&claimed[number], 1);
    atomic_fetch_add(&num_claimed, 1);
}

static bool take_one(rayi_thread *thread)
{
    rayi_record *record = rayi_queue_take(thread, RAYI_NEEDS_SLOT);

    if (record) {
        count(record->size);
        rayi_record_unref(thread, record);
    }
    return record != NULL;
}

static void *rob(void *unused)
{
    rayi_thread *thread = rayi_lane_attach(lane);

    while (atomic_load(&num_claimed) < NUM_TASKS)
        if (!take_one(thread))
            sched_yield();
    rayi_lane_detach();
    return unused;
}

/* Claims some tasks past the queue, as a waiting thread does. */
static void *snatch(void *unused)
{
    rayi_thread *thread = rayi_lane_attach(lane);

    for (size_t i = 0; i < NUM_TASKS; i++) {
        if (i % 4 == 0 && rayi_record_claim(&tasks[i]->head))
            count(i);
        rayi_record_unref(thread, &tasks[i]->head);
    }
    rayi_lane_detach();
    return unused;
}

/* One thread fills its ring, and takes; others rob it and each other, one claims behind everybody's back. */
TEST_AROUND_WITH(queue, thieves, setup, end_lane, .timeout = 120)
{
    pthread_t thieves[NUM_THIEVES], snatcher;

    for (size_t i = 0; i < NUM_TASKS; i++) {
        tasks[i] = make_task(self, RAYI_TASK, RAYI_QUEUED, i);
        rayi_record_ref(&tasks[i]->head);
    }
    for (int i = 0; i < NUM_THIEVES; i++)
        cr_assert_eq(pthread_create(&thieves[i], NULL, rob, NULL), 0);
    for (size_t i = 0; i < NUM_TASKS; i++) {
        if (i == NUM_TASKS / 8)
            cr_assert_eq(pthread_create(&snatcher, NULL, snatch, NULL), 0);
        rayi_queue_push(self, RAYI_NEEDS_SLOT, &tasks[i]->head);
        if (i % 5 == 0)
            take_one(self);
    }
    rob(NULL); /* detaches */
    for (int i = 0; i < NUM_THIEVES; i++)
        pthread_join(thieves[i], NULL);
    pthread_join(snatcher, NULL);
    self = rayi_lane_attach(lane);
    cr_expect_eq(take(), -1); /* and the last stale ones go */
    cr_expect_eq(atomic_load(&num_claimed), NUM_TASKS);
    for (size_t i = 0; i < NUM_TASKS; i++)
        cr_assert_eq(atomic_load(&claimed[i]), 1);
    cr_expect_eq(atomic_load(&num_destroyed), NUM_TASKS);
}
