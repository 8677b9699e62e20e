/* Futures: each waiter is fired once, or taken out, or was refused: never two of these. Claims and cancelling. */
#include "../around.h"
#include <string.h>

#include "made.h"

#define NUM_WAITERS  3
#define NUM_STEPS    (2 * NUM_WAITERS + 1)
#define NUM_RECORDS  2000
#define NUM_WATCHERS 3

static bool never_serve(rayi_thread *thread, rayi_record *runner, unsigned max)
{
    (void)thread, (void)runner, (void)max;
    return false;
}

static void setup(void)
{
    make_lane(never_serve);
}

typedef struct watcher {
    rayi_waiter waiter;
    atomic_uint fired;
    rayi_record *record;
    bool watched, unwatched;
} watcher;

static void fire(rayi_thread *thread, rayi_waiter *waiter)
{
    watcher *of = rayi_container_of(waiter, watcher, waiter);

    (void)thread;
    if (!rayi_record_done(of->record))
        abort();
    atomic_fetch_add(&of->fired, 1);
}

/* One order of all steps: 2i is watch, 2i + 1 is unwatch by waiter i, the last one completes. */
static void try_order(const int *steps)
{
    rayi_record *record = &make_task(self, RAYI_TASK, RAYI_RUNNING, 0)->head;
    watcher watchers[NUM_WAITERS] = {0};
    bool done = false, in[NUM_WAITERS] = {false};

    for (int i = 0; i < NUM_STEPS; i++) {
        int which = steps[i] / 2;
        watcher *at = &watchers[which];
        if (steps[i] == NUM_STEPS - 1) {
            cr_assert(!rayi_record_done(record));
            rayi_record_complete(self, record);
            done = true;
            for (int w = 0; w < NUM_WAITERS; w++)
                cr_assert_eq(atomic_load(&watchers[w].fired), in[w]);
            cr_assert(rayi_record_done(record));
        } else if (steps[i] % 2 == 0) {
            at->waiter.fire = fire;
            at->record = record;
            in[which] = rayi_record_watch(record, &at->waiter);
            cr_assert_eq(in[which], !done);
        } else {
            cr_assert_eq(rayi_record_unwatch(record, &at->waiter), !done && in[which]);
            in[which] = in[which] && done;
        }
    }
    for (int w = 0; w < NUM_WAITERS; w++)
        cr_assert_eq(atomic_load(&watchers[w].fired), in[w]);
    rayi_record_unref(self, record);
}

static unsigned try_orders(int *steps, int fixed)
{
    unsigned tried = 0;

    if (fixed == NUM_STEPS) {
        try_order(steps);
        return 1;
    }
    for (int i = fixed; i < NUM_STEPS; i++) {
        int first = steps[fixed];
        steps[fixed] = steps[i];
        steps[i] = first;
        tried += try_orders(steps, fixed + 1);
        steps[i] = steps[fixed];
        steps[fixed] = first;
    }
    return tried;
}

/* All orders of watch, unwatch and complete with three waiters. */
TEST_AROUND(future, all_orders, setup, end_lane)
{
    int steps[NUM_STEPS];

    for (int i = 0; i < NUM_STEPS; i++)
        steps[i] = i;
    cr_expect_eq(try_orders(steps, 0), 5040);
}

/* ---- threads ---- */

static rayi_record *records[NUM_RECORDS];
static watcher watchers[NUM_WATCHERS][NUM_RECORDS];
static atomic_uint completing, num_claims[NUM_RECORDS];

static void *watch_and_unwatch(void *arg)
{
    watcher *mine = arg;

    for (size_t i = 0; i < NUM_RECORDS; i++) {
        watcher *at = &mine[i];
        at->waiter.fire = fire;
        at->record = records[i];
        at->watched = rayi_record_watch(records[i], &at->waiter);
        if (i % 8 == 0)
            sched_yield();
        if (i % 3 != 0)
            at->unwatched = rayi_record_unwatch(records[i], &at->waiter);
        if (i % 64 == 0) /* in step with who completes */
            while (atomic_load(&completing) < i)
                sched_yield();
    }
    return NULL;
}

static void *complete(void *unused)
{
    rayi_thread *thread = rayi_lane_attach(lane);

    for (size_t i = 0; i < NUM_RECORDS; i++) {
        if (i % 32 == 0)
            sched_yield();
        atomic_store(&completing, (unsigned)i);
        rayi_record_complete(thread, records[i]);
    }
    rayi_lane_detach();
    return unused;
}

TEST_AROUND_WITH(future, threads, setup, end_lane, .timeout = 120)
{
    pthread_t threads[NUM_WATCHERS + 1];

    for (size_t i = 0; i < NUM_RECORDS; i++)
        records[i] = &make_task(self, RAYI_TASK, RAYI_RUNNING, i)->head;
    for (int i = 0; i < NUM_WATCHERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, watch_and_unwatch, watchers[i]), 0);
    cr_assert_eq(pthread_create(&threads[NUM_WATCHERS], NULL, complete, NULL), 0);
    for (int i = 0; i <= NUM_WATCHERS; i++)
        pthread_join(threads[i], NULL);
    for (int w = 0; w < NUM_WATCHERS; w++)
        for (size_t i = 0; i < NUM_RECORDS; i++) {
            const watcher *at = &watchers[w][i];
            cr_assert_eq(atomic_load(&at->fired) + at->unwatched, at->watched, "waiter %d of %zu", w, i);
        }
    for (size_t i = 0; i < NUM_RECORDS; i++)
        rayi_record_unref(self, records[i]);
}

static void *claim_all(void *arg)
{
    for (size_t i = 0; i < NUM_RECORDS; i++) {
        if (*(const bool *)arg ? rayi_record_claim_queued(records[i]) : rayi_record_claim(records[i]))
            atomic_fetch_add(&num_claims[i], 1);
        (void)rayi_record_ask_cancel(records[i], i % 2);
    }
    return NULL;
}

/* However many claim, one gets it; requests to cancel that come in between are kept. */
TEST_AROUND_WITH(future, claims, setup, end_lane, .timeout = 120)
{
    static const bool queued[] = {false, true, false};
    pthread_t threads[3];

    for (size_t i = 0; i < NUM_RECORDS; i++)
        records[i] = &make_task(self, RAYI_TASK, i % 3 ? RAYI_QUEUED : RAYI_PENDING, i)->head;
    for (int i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, claim_all, (void *)&queued[i]), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < NUM_RECORDS; i++) {
        cr_assert_eq(atomic_load(&num_claims[i]), 1);
        cr_assert_eq(atomic_load(&records[i]->state), RAYI_RUNNING | RAYI_CANCEL | (i % 2 ? RAYI_CANCEL_CHILDREN : 0));
        rayi_record_unref(self, records[i]);
    }
}

TEST_AROUND(future, claim_queued, setup, end_lane)
{
    rayi_task *task = make_task(self, RAYI_TASK, RAYI_PENDING, 0);

    cr_expect(!rayi_record_claim_queued(&task->head));
    atomic_store(&task->head.state, RAYI_QUEUED | RAYI_CANCEL);
    cr_expect(rayi_record_claim_queued(&task->head));
    cr_expect_eq(atomic_load(&task->head.state), RAYI_RUNNING | RAYI_CANCEL);
    cr_expect(!rayi_record_claim_queued(&task->head));
    cr_expect(!rayi_record_claim(&task->head));
    rayi_record_unref(self, &task->head);
}

static void adopt(rayi_task *child, rayi_task *parent)
{
    atomic_store(&child->parent, parent);
    atomic_store(&child->parent_gen, atomic_load(&parent->head.gen));
}

/* An ancestor's request counts as long as its block is still its own. */
TEST_AROUND(future, ancestors, setup, end_lane)
{
    rayi_task *task[4];

    for (int i = 0; i < 4; i++) {
        task[i] = make_task(self, RAYI_TASK, RAYI_RUNNING, 0);
        if (i > 0)
            adopt(task[i], task[i - 1]);
    }
    cr_expect(!rayi_task_cancelled(task[3]));
    cr_expect_eq(rayi_record_ask_cancel(&task[2]->head, false), RAYI_RUNNING);
    cr_expect(rayi_task_cancelled(task[2]));
    cr_expect(!rayi_task_cancelled(task[3])); /* not its children */
    cr_expect_eq(rayi_record_ask_cancel(&task[0]->head, true), RAYI_RUNNING);
    cr_expect(rayi_task_cancelled(task[3]));
    rayi_record_unref(self, &task[1]->head);
    rayi_task *other = make_task(self, RAYI_TASK, RAYI_RUNNING | RAYI_CANCEL | RAYI_CANCEL_CHILDREN, 0);
    cr_assert_eq(other, task[1]); /* the block is used again */
    cr_expect(!rayi_task_cancelled(task[3]));
    rayi_record_unref(self, &other->head);
    for (int i = 0; i < 4; i++)
        if (i != 1)
            rayi_record_unref(self, &task[i]->head);
}
