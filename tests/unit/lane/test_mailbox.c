/* Mailboxes: the order of each caller's calls, calls taken from their runners, and that none is left behind. */
#include "../around.h"

#include "../scheduler/counted.h"
#include "made.h"

#define NUM_CALLERS           5
#define NUM_CALLS             60 /* of each caller, where order is tried */
#define NUM_PUSHED            4000
#define NUM_PUSHERS           2
#define NUMBER(caller, index) ((size_t)(caller) << 32 | (index))

static rayi_mailbox *mailbox;
static size_t next_index[NUM_CALLERS]; /* served next; the mailbox keeps servers apart while it allows one */
static bool out_of_order, ordered;
static atomic_uint num_served;

static bool serve(rayi_thread *thread, rayi_record *runner, unsigned max)
{
    rayi_mailbox *from = runner->content.pointer;

    for (unsigned i = 0; i < max; i++) {
        uint32_t epoch;
        rayi_task *call = rayi_mailbox_next(thread, from, &epoch);
        if (!call && rayi_mailbox_rest(from, runner))
            return false;
        if (!call)
            continue;
        if (ordered)
            out_of_order |= (uint32_t)call->head.size != next_index[call->head.size >> 32]++;
        if (!rayi_mailbox_ran(from, call, epoch, false)) {
            rayi_mailbox_forget(from, runner);
            rayi_record_unref(thread, &call->head);
            return false;
        }
        rayi_record_unref(thread, &call->head);
        atomic_fetch_add(&num_served, 1);
    }
    return true;
}

static void setup(void)
{
    make_lane(serve);
    mailbox = (rayi_mailbox *)rayi_pool_alloc(self, RAYI_RUNNER, sizeof *mailbox);
    cr_assert_eq(rayi_mailbox_init(mailbox), 0);
    memset(next_index, 0, sizeof next_index);
    out_of_order = false;
    ordered = true;
    atomic_store(&num_served, 0);
}

static void teardown(void)
{
    cr_expect(rayi_mailbox_empty(mailbox));
    cr_expect_eq(mailbox->runners, 0);
    rayi_record_unref(self, &mailbox->runner);
    end_lane();
}

static rayi_task *post(rayi_thread *thread, unsigned caller, size_t index, unsigned pending)
{
    rayi_task *call = make_task(thread, RAYI_CALL, RAYI_PENDING, NUMBER(caller, index));

    call->mailbox = mailbox;
    atomic_store(&call->pending, pending);
    if (!rayi_mailbox_post(thread, mailbox, call))
        abort();
    return call;
}

/* Lets one runner work, if one stands in a queue. */
static bool serve_one(rayi_thread *thread)
{
    rayi_record *runner = rayi_queue_take(thread, RAYI_NEEDS_NONE);

    if (runner)
        rayi_mailbox_serve(thread, runner);
    return runner != NULL;
}

static void serve_all(void)
{
    while (serve_one(self))
        ;
}

/* Callers post calls, some of which miss arguments; those come in any order, and the server comes now and then. */
Test(mailbox, order)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        rayi_task *unresolved[NUM_CALLERS * NUM_CALLS];
        size_t posted[NUM_CALLERS] = {0}, all = 0;
        unsigned num_unresolved = 0;
        uint64_t random = seed;

        setup();
        if (seed % 2)
            rayi_mailbox_poke(self, mailbox, 1);
        while (all < NUM_CALLERS * NUM_CALLS || num_unresolved > 0) {
            unsigned what = roll(&random, 8), caller = roll(&random, NUM_CALLERS);
            if (what < 4 && posted[caller] < NUM_CALLS) {
                bool held = roll(&random, 3) == 0;
                self->caller = caller;
                rayi_task *call = post(self, caller, posted[caller]++, held);
                if (held)
                    unresolved[num_unresolved++] = call;
                all++;
            } else if (what < 7 && num_unresolved > 0) {
                unsigned which = roll(&random, num_unresolved);
                rayi_task *call = unresolved[which];
                unresolved[which] = unresolved[--num_unresolved];
                rayi_task_ready(self, call);
            } else {
                serve_one(self);
            }
        }
        rayi_mailbox_poke(self, mailbox, 1);
        serve_all();
        cr_assert(!out_of_order, "seed %d", (int)seed);
        cr_assert_eq(atomic_load(&num_served), NUM_CALLERS * NUM_CALLS, "seed %d", (int)seed);
        cr_assert_eq(atomic_load(&mailbox->num_held), 0);
        teardown();
    }
}

/* Nothing runs before calls may. */
TEST_AROUND(mailbox, allowed, setup, teardown)
{
    post(self, 0, 0, 0);
    cr_expect_null(rayi_queue_take(self, RAYI_NEEDS_NONE));
    cr_expect(!rayi_mailbox_empty(mailbox));
    rayi_mailbox_poke(self, mailbox, 1);
    cr_expect(serve_one(self));
    cr_expect(!serve_one(self));
    cr_expect_eq(atomic_load(&num_served), 1);
    rayi_mailbox_poke(self, mailbox, 1); /* with no call at all: looks once */
    cr_expect(serve_one(self));
    cr_expect(!serve_one(self));
}

/* A cancelled call is passed over, and its count goes. */
TEST_AROUND(mailbox, cancelled, setup, teardown)
{
    ordered = false;
    for (size_t i = 0; i < 10; i++) {
        rayi_task *call = post(self, 0, i, 0);
        if (i % 2)
            cr_assert(rayi_record_claim(&call->head));
    }
    rayi_mailbox_poke(self, mailbox, 1);
    serve_all();
    cr_expect_eq(atomic_load(&num_served), 5);
    cr_expect_eq(atomic_load(&num_destroyed), 10);
}

TEST_AROUND(mailbox, take_waiting, setup, teardown)
{
    static const size_t order[] = {NUMBER(0, 0), NUMBER(0, 1), NUMBER(1, 0), NUMBER(1, 1)};
    rayi_task *held;
    size_t i = 0;

    self->caller = 0;
    post(self, 0, 0, 0);
    post(self, 0, 1, 0);
    self->caller = 1;
    held = post(self, 1, 0, 1);
    post(self, 1, 1, 0); /* stands behind it */
    for (rayi_task *call = rayi_mailbox_take_waiting(mailbox), *next; call; call = next) {
        next = (rayi_task *)call->head.next;
        cr_assert_lt(i, RAYI_COUNT_OF(order));
        cr_expect_eq(call->head.size, order[i++]);
        cr_expect(rayi_record_claim(&call->head));
        if (call == held)
            rayi_task_ready(self, call); /* the argument comes too late */
        rayi_record_unref(self, &call->head);
    }
    cr_expect_eq(i, RAYI_COUNT_OF(order));
    cr_expect(rayi_mailbox_empty(mailbox));
    rayi_mailbox_poke(self, mailbox, 1);
    next_index[0] = 2;
    self->caller = 0;
    post(self, 0, 2, 0);
    serve_all();
    cr_expect_eq(atomic_load(&num_served), 1);
    cr_expect(!out_of_order);
}

static bool even_again(rayi_task *call)
{
    return call->head.size % 2 == 0;
}

/* Three calls are under way, which their runners lose: the even ones run again, before those that wait. */
TEST_AROUND(mailbox, take_running, setup, teardown)
{
    rayi_record *runner[4];
    rayi_task *call[4], *taken;
    uint32_t epoch[4], later;

    rayi_mailbox_poke(self, mailbox, 3);
    for (size_t i = 0; i < 5; i++)
        post(self, 0, i, 0);
    for (int i = 0; i < 3; i++) {
        runner[i] = rayi_queue_take(self, RAYI_NEEDS_NONE);
        cr_assert_not_null(runner[i]);
        call[i] = rayi_mailbox_next(self, mailbox, &epoch[i]);
        cr_assert_eq((int)call[i]->head.size, i);
    }
    cr_expect_null(rayi_queue_take(self, RAYI_NEEDS_NONE)); /* no more than three at once */
    cr_expect(rayi_mailbox_busy(mailbox));
    taken = rayi_mailbox_take_running(mailbox, even_again);
    cr_expect(!rayi_mailbox_busy(mailbox));
    cr_assert_eq(taken, call[1]);
    cr_expect_null(taken->head.next);
    cr_expect_eq(mailbox->runners, 0);
    for (int i = 0; i < 3; i++) {
        cr_expect(atomic_load(&call[i]->head.state) & RAYI_TAKEN);
        cr_expect_eq(atomic_load(&call[i]->head.refs), 2);
        cr_expect(!rayi_mailbox_ran(mailbox, call[i], epoch[i], i == 2)); /* too late */
        rayi_mailbox_forget(mailbox, runner[i]);
        rayi_record_unref(self, &call[i]->head);
        if (runner[i] != &mailbox->runner)
            rayi_pool_free(self, runner[i]);
        rayi_record_unref(self, &mailbox->runner);
    }
    rayi_record_unref(self, &taken->head);
    cr_expect_eq(atomic_load(&num_destroyed), 1);

    /* Again, one at a time; the first is put back once. */
    rayi_mailbox_poke(self, mailbox, 1);
    runner[3] = rayi_queue_take(self, RAYI_NEEDS_NONE);
    cr_assert_not_null(runner[3]);
    for (int i = 0; i < 2; i++) {
        call[3] = rayi_mailbox_next(self, mailbox, &later);
        cr_assert_eq(call[3], call[0]);
        cr_expect_eq(later, epoch[0] + 1);
        cr_expect(rayi_mailbox_ran(mailbox, call[3], later, i == 0));
    }
    rayi_record_unref(self, &call[3]->head);
    next_index[0] = 2;
    rayi_mailbox_serve(self, runner[3]);
    cr_expect(!serve_one(self));
    cr_expect(!out_of_order);
    cr_expect_eq(atomic_load(&num_served), 3);
    cr_expect_eq(atomic_load(&num_destroyed), 5);
}

/* One call is under way, and nothing was left when it was taken: the next one has a runner all the same. */
TEST_AROUND(mailbox, comes_while_one_is_under_way, setup, teardown)
{
    rayi_record *one, *two;
    rayi_task *call[2];
    uint32_t epoch;

    rayi_mailbox_poke(self, mailbox, 2);
    serve_all();
    post(self, 0, 0, 0);
    one = rayi_queue_take(self, RAYI_NEEDS_NONE);
    cr_assert_not_null(one);
    call[0] = rayi_mailbox_next(self, mailbox, &epoch);
    cr_assert_eq((int)call[0]->head.size, 0);
    cr_expect_null(rayi_queue_take(self, RAYI_NEEDS_NONE));
    post(self, 0, 1, 0);
    two = rayi_queue_take(self, RAYI_NEEDS_NONE);
    cr_assert_not_null(two, "it waits for the end of the first");
    call[1] = rayi_mailbox_next(self, mailbox, &epoch);
    cr_assert_eq((int)call[1]->head.size, 1);
    post(self, 0, 2, 0);
    cr_expect_null(rayi_queue_take(self, RAYI_NEEDS_NONE)); /* no more than two at once */
    for (int i = 0; i < 2; i++) {
        cr_expect(rayi_mailbox_ran(mailbox, call[i], epoch, false));
        rayi_record_unref(self, &call[i]->head);
    }
    next_index[0] = 2;
    rayi_mailbox_serve(self, one);
    rayi_mailbox_serve(self, two);
    cr_expect(!serve_one(self));
    cr_expect_eq(atomic_load(&num_served), 1);
}

/* One runner sits in a call, the other has paused before calls that are left: a poke brings one back. */
TEST_AROUND(mailbox, poked_while_one_is_under_way, setup, teardown)
{
    rayi_record *one, *two;
    rayi_task *call;
    uint32_t epoch;

    rayi_mailbox_poke(self, mailbox, 2);
    serve_all();
    post(self, 0, 0, 0);
    one = rayi_queue_take(self, RAYI_NEEDS_NONE);
    call = rayi_mailbox_next(self, mailbox, &epoch);
    cr_assert_not_null(call);
    post(self, 0, 1, 0);
    two = rayi_queue_take(self, RAYI_NEEDS_NONE);
    cr_assert_not_null(two);
    cr_expect(rayi_mailbox_pause(mailbox, two));
    rayi_pool_free(self, two);
    rayi_record_unref(self, &mailbox->runner);
    rayi_mailbox_poke(self, mailbox, 2);
    next_index[0] = 1;
    cr_expect(serve_one(self), "the second waits for the end of the first");
    cr_expect_eq(atomic_load(&num_served), 1);
    cr_expect(rayi_mailbox_ran(mailbox, call, epoch, false));
    rayi_record_unref(self, &call->head);
    rayi_mailbox_serve(self, one);
    serve_all();
}

/* A runner pauses with calls left, but not behind a poke that it has not answered. */
TEST_AROUND(mailbox, pause, setup, teardown)
{
    rayi_record *one, *two;
    rayi_task *call;
    uint32_t epoch;

    rayi_mailbox_poke(self, mailbox, 2);
    one = rayi_queue_take(self, RAYI_NEEDS_NONE);
    cr_assert_not_null(one);
    cr_expect(!rayi_mailbox_pause(mailbox, one)); /* the poke */
    post(self, 0, 0, 0);
    post(self, 0, 1, 0);
    call = rayi_mailbox_next(self, mailbox, &epoch);
    cr_assert_eq(call->head.size, 0);
    two = rayi_queue_take(self, RAYI_NEEDS_NONE);
    cr_assert(two && two != one);
    cr_expect(rayi_mailbox_ran(mailbox, call, epoch, false));
    rayi_record_unref(self, &call->head);
    cr_expect(rayi_mailbox_pause(mailbox, one));
    rayi_record_unref(self, &mailbox->runner); /* the runner that pauses is the one within */
    cr_expect(rayi_mailbox_pause(mailbox, two));
    rayi_pool_free(self, two);
    rayi_record_unref(self, &mailbox->runner);
    post(self, 0, 2, 0);
    cr_expect_null(rayi_queue_take(self, RAYI_NEEDS_NONE)); /* until a poke */
    rayi_mailbox_poke(self, mailbox, 2);
    next_index[0] = 1;
    serve_all();
    cr_expect_eq(atomic_load(&num_served), 2);
}

static bool once(rayi_task *call, void *arg)
{
    int *times = arg;

    (void)call;
    return (*times)-- > 0;
}

static enum rayi_ran end_parted(rayi_task *call, uint32_t epoch, int again)
{
    enum rayi_ran how = rayi_mailbox_ran_parted(self, mailbox, call, epoch, once, &again);

    if (how == RAYI_RAN)
        rayi_record_unref(self, &call->head);
    return how;
}

/* Calls that part from their runner count among those at once, and nobody looks at the others before one has ended. */
TEST_AROUND(mailbox, parted, setup, teardown)
{
    rayi_record *runner;
    rayi_task *call[4];
    uint32_t epoch;

    rayi_mailbox_poke(self, mailbox, 2);
    runner = rayi_queue_take(self, RAYI_NEEDS_NONE);
    for (size_t i = 0; i < 3; i++)
        post(self, 0, i, 0);
    for (int i = 0; i < 2; i++) {
        call[i] = rayi_mailbox_next(self, mailbox, &epoch);
        cr_assert_eq((int)call[i]->head.size, i);
        cr_expect(rayi_mailbox_part(mailbox, call[i], epoch));
    }
    cr_expect_null(rayi_mailbox_next(self, mailbox, &epoch));
    cr_expect(rayi_mailbox_busy(mailbox));
    cr_expect(rayi_mailbox_rest(mailbox, runner));
    rayi_record_unref(self, &mailbox->runner);
    serve_all(); /* one that the first next had called */
    cr_expect_eq(atomic_load(&num_served), 0);
    post(self, 0, 3, 0);
    serve_all();
    cr_expect_eq(atomic_load(&num_served), 0);
    cr_expect_eq(mailbox->runners, 0);
    cr_expect_eq(end_parted(call[1], epoch, 1), RAYI_RAN_AGAIN); /* at the head of the queue, and there is room */
    runner = rayi_queue_take(self, RAYI_NEEDS_NONE);
    cr_assert_not_null(runner);
    cr_assert_eq(rayi_mailbox_next(self, mailbox, &epoch), call[1]);
    cr_expect(rayi_mailbox_part(mailbox, call[1], epoch));
    cr_expect(rayi_mailbox_rest(mailbox, runner));
    rayi_record_unref(self, &mailbox->runner);
    cr_expect(!serve_one(self));
    cr_expect_eq(end_parted(call[0], epoch, 0), RAYI_RAN);
    next_index[0] = 2;
    serve_all();
    cr_expect_eq(atomic_load(&num_served), 2);
    cr_expect(!out_of_order);
    cr_expect_eq(end_parted(call[1], epoch, 0), RAYI_RAN);
    cr_expect(!serve_one(self)); /* nothing is left to be looked at */
    cr_expect_eq(atomic_load(&num_destroyed), 4);
    post(self, 0, 4, 0);
    serve_all();
    cr_expect_eq(atomic_load(&num_served), 3);
}

/* Taken like others, but nobody works on their arguments; who ends one later hears that it is too late. */
TEST_AROUND(mailbox, parted_and_taken, setup, teardown)
{
    rayi_task *call[2], *taken;
    rayi_record *runner;
    uint32_t epoch, later;

    rayi_mailbox_poke(self, mailbox, 2);
    runner = rayi_queue_take(self, RAYI_NEEDS_NONE);
    for (size_t i = 0; i < 2; i++) {
        post(self, 0, i, 0);
        call[i] = rayi_mailbox_next(self, mailbox, &epoch);
        cr_expect(rayi_mailbox_part(mailbox, call[i], epoch));
        rayi_record_ref(&call[i]->head); /* as who is to end it has */
    }
    serve_all(); /* a runner that the second one has called, and that finds no room */
    taken = rayi_mailbox_take_running(mailbox, even_again);
    cr_assert_eq(taken, call[1]);
    cr_expect(!(atomic_load(&taken->head.state) & (RAYI_TAKEN | RAYI_PARTED)));
    cr_expect_eq(mailbox->runners, 1); /* it has lost nothing */
    rayi_record_unref(self, &taken->head);
    for (int i = 0; i < 2; i++) {
        cr_expect_eq(end_parted(call[i], epoch, i), RAYI_RAN_TAKEN);
        rayi_record_unref(self, &call[i]->head);
    }
    cr_expect_eq(atomic_load(&num_destroyed), 1);
    cr_assert_eq(rayi_mailbox_next(self, mailbox, &later), call[0]);
    cr_expect_eq(later, epoch + 1);
    cr_expect_eq(end_parted(call[0], epoch, 0), RAYI_RAN_TAKEN); /* of the life before: this run is not ended by it */
    cr_expect(rayi_mailbox_ran(mailbox, call[0], later, false));
    cr_expect(!rayi_mailbox_part(mailbox, call[0], epoch));
    rayi_record_unref(self, &call[0]->head);
    rayi_mailbox_serve(self, runner);
}

/* A further mailbox is a queue of its own, and its runners hold the first one. */
TEST_AROUND(mailbox, further, setup, teardown)
{
    static rayi_mailbox further __attribute__((aligned(64)));
    rayi_task *call;
    rayi_record *runner;

    cr_assert_eq(rayi_mailbox_init_further(&further, mailbox), 0);
    rayi_mailbox_poke(self, &further, 1);
    cr_expect(serve_one(self));
    call = make_task(self, RAYI_CALL, RAYI_PENDING, NUMBER(0, 0));
    call->mailbox = &further;
    cr_assert(rayi_mailbox_post(self, &further, call));
    cr_expect(rayi_mailbox_empty(mailbox));
    cr_expect(!rayi_mailbox_empty(&further));
    cr_expect_eq(atomic_load(&mailbox->runner.refs), 2);
    runner = rayi_queue_take(self, RAYI_NEEDS_NONE);
    cr_assert_eq(runner, &further.runner);
    rayi_mailbox_serve(self, runner);
    cr_expect_eq(atomic_load(&mailbox->runner.refs), 1);
    cr_expect_eq(atomic_load(&num_served), 1);
    rayi_mailbox_fini(&further);
}

/* A call, or a poke, that comes between the last look and the rest makes the server look again. */
TEST_AROUND(mailbox, rest, setup, teardown)
{
    rayi_record *runner;
    uint32_t epoch;

    for (int what = 0; what < 2; what++) {
        rayi_mailbox_poke(self, mailbox, 1);
        runner = rayi_queue_take(self, RAYI_NEEDS_NONE);
        cr_assert_not_null(runner);
        cr_expect_null(rayi_mailbox_next(self, mailbox, &epoch));
        if (what == 0)
            post(self, 0, 0, 0);
        else
            rayi_mailbox_poke(self, mailbox, 1);
        cr_expect(!serve_one(self)); /* it is the same runner who comes */
        cr_expect(!rayi_mailbox_rest(mailbox, runner));
        rayi_mailbox_serve(self, runner);
        cr_expect_eq(atomic_load(&num_served), 1);
    }
}

/* ---- threads ---- */

static atomic_uint num_pushing;

/* As a waiter does, with a count of its own: the call may have run when the last argument has been counted. */
static void resolve(rayi_thread *thread, rayi_task *call)
{
    rayi_task_ready(thread, call);
    rayi_record_unref(thread, &call->head);
}

static void *push_calls(void *arg)
{
    rayi_thread *thread = rayi_lane_attach(lane);
    unsigned which = *(const unsigned *)arg;
    rayi_task *held = NULL;

    for (size_t i = 0; i < NUM_PUSHED; i++) {
        rayi_task *call = post(thread, which, i, !held && i % 7 == 0);
        if (i % 7 == 0 && !held) {
            rayi_record_ref(&call->head); /* it does not run before its argument is done */
            held = call;
        } else if (held && i % 7 == 3) {
            resolve(thread, held);
            held = NULL;
        }
        if (i % 16 == 0)
            sched_yield(); /* the server rests */
    }
    if (held)
        resolve(thread, held);
    rayi_lane_detach();
    atomic_fetch_sub(&num_pushing, 1);
    return NULL;
}

static void *serve_calls(void *unused)
{
    rayi_thread *thread = rayi_lane_attach(lane);

    while (atomic_load(&num_served) < NUM_PUSHERS * NUM_PUSHED)
        if (!serve_one(thread))
            sched_yield();
    rayi_lane_detach();
    return unused;
}

static void push_and_serve(uint32_t allowed)
{
    static unsigned which[NUM_PUSHERS];
    pthread_t pushers[NUM_PUSHERS], servers[2];
    int64_t deadline = rayi_now_ns() + INT64_C(100000000000);

    ordered = allowed == 1;
    atomic_store(&num_pushing, NUM_PUSHERS);
    rayi_mailbox_poke(self, mailbox, allowed);
    for (unsigned i = 0; i < NUM_PUSHERS; i++) {
        which[i] = i;
        cr_assert_eq(pthread_create(&pushers[i], NULL, push_calls, &which[i]), 0);
    }
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&servers[i], NULL, serve_calls, NULL), 0);
    while (atomic_load(&num_served) < NUM_PUSHERS * NUM_PUSHED) {
        if (atomic_load(&num_pushing) > 0)
            rayi_mailbox_poke(self, mailbox, allowed); /* not later: it would hide a lost call */
        cr_assert(rayi_now_ns() < deadline, "a call is lost");
        sched_yield();
    }
    for (unsigned i = 0; i < NUM_PUSHERS; i++)
        pthread_join(pushers[i], NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(servers[i], NULL);
    serve_all();
    cr_expect(!out_of_order);
    cr_expect_eq(atomic_load(&num_served), NUM_PUSHERS * NUM_PUSHED);
    cr_expect_eq(atomic_load(&num_destroyed), NUM_PUSHERS * NUM_PUSHED);
}

TEST_AROUND_WITH(mailbox, threads, setup, teardown, .timeout = 120)
{
    push_and_serve(1);
}

TEST_AROUND_WITH(mailbox, threads_many_runners, setup, teardown, .timeout = 120)
{
    push_and_serve(3);
}

/* ---- calls that run elsewhere ---- */

static void post_numbers(unsigned count)
{
    for (unsigned i = 1; i <= count; i++) {
        rayi_task *call = make_task(self, RAYI_CALL, RAYI_PENDING, i);
        call->mailbox = mailbox;
        cr_assert(rayi_mailbox_post(self, mailbox, call));
    }
}

static void expect_taken(size_t number)
{
    rayi_task *call = rayi_mailbox_take(self, mailbox);
    cr_assert_not_null(call);
    cr_expect_eq(call->head.size, number);
    rayi_record_complete(self, &call->head);
    rayi_record_unref(self, &call->head);
}

TEST_AROUND(mailbox, what_cannot_be_sent_returns_behind_what_was_put_back, setup, teardown)
{
    rayi_task *calls[5];

    post_numbers(5);
    for (int i = 0; i < 4; i++)
        calls[i] = rayi_mailbox_take(self, mailbox);
    for (int i = 2; i >= 0; i--) /* the process has died with these while the fourth was in hand */
        rayi_mailbox_put_back(mailbox, calls[i]);
    rayi_mailbox_return(mailbox, calls[3]);
    for (size_t i = 1; i <= 5; i++)
        expect_taken(i);
}

TEST_AROUND(mailbox, what_was_put_back_before_is_taken_first, setup, teardown)
{
    rayi_task *calls[3];

    post_numbers(3);
    for (int i = 0; i < 3; i++)
        calls[i] = rayi_mailbox_take(self, mailbox);
    rayi_mailbox_put_back(mailbox, calls[2]);
    rayi_mailbox_put_back(mailbox, calls[1]);
    rayi_mailbox_put_back(mailbox, calls[0]);
    calls[0] = rayi_mailbox_take(self, mailbox);
    rayi_mailbox_return(mailbox, calls[0]); /* nothing was put back since */
    for (size_t i = 1; i <= 3; i++)
        expect_taken(i);
}

TEST_AROUND(mailbox, the_only_one_returns, setup, teardown)
{
    rayi_task *calls[2];

    post_numbers(2);
    calls[0] = rayi_mailbox_take(self, mailbox);
    calls[1] = rayi_mailbox_take(self, mailbox);
    rayi_mailbox_put_back(mailbox, calls[0]);
    rayi_mailbox_return(mailbox, calls[1]);
    post_numbers(1);
    expect_taken(1);
    expect_taken(2);
    expect_taken(1);
}
