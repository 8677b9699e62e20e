/* The ledger: scenes, every state with every event, random sequences against an account of their own. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "../scheduler/counted.h"
#include "core/core.h"

typedef struct world {
    counted heap;
    rayi_ledger *ledger;
    char told[4096];
} world;

static void world_init(world *w)
{
    counted_init(&w->heap);
    cr_assert_eq(rayi_ledger_new(&w->heap.memory, &w->ledger), 0);
}

static void world_fini(world *w)
{
    rayi_ledger_free(w->ledger);
    cr_assert_eq(w->heap.live, 0);
}

static const char *const verbs[] = {"withdraw", "give back", "retry", "submit", "run", "expire", "end"};
static const char *const outcomes[] = {"ok", "failed", "again", "crashed", "cancelled", "expired", "refused"};

static const char *told(world *w)
{
    rayi_ledger_action action;
    char *out = w->told;
    *out = 0;
    while (rayi_ledger_next(w->ledger, &action)) {
        out += sprintf(out, "%s%s %" PRIu64, out == w->told ? "" : "; ", verbs[action.what], action.id);
        if (action.what == RAYI_LEDGER_END)
            out += sprintf(out, " %s", outcomes[action.outcome]);
        if (action.attempt)
            out += sprintf(out, " #%" PRIu32, action.attempt);
    }
    return w->told;
}
#define TOLD(w, want) cr_expect_str_eq(told(w), (want), "told \"%s\", expected \"%s\"", (w)->told, (want))

static const rayi_ledger_options plain = {.deadline_ms = INT64_MAX};

static void add(world *w, uint64_t id, rayi_ledger_options options)
{
    cr_assert_eq(rayi_ledger_add(w->ledger, id, &options, 0), 0);
}

Test(ledger, a_task_runs)
{
    world w;
    world_init(&w);
    add(&w, 1, plain);
    add(&w, 2, (rayi_ledger_options){.held = true, .deadline_ms = INT64_MAX});
    TOLD(&w, "submit 1");
    cr_expect_eq(rayi_ledger_count(w.ledger, RAYI_LEDGER_HELD), 1);
    rayi_ledger_ready(w.ledger, 2);
    TOLD(&w, "submit 2");
    rayi_ledger_granted(w.ledger, 1);
    TOLD(&w, "run 1");
    rayi_ledger_finished(w.ledger, 1, RAYI_OUTCOME_OK);
    TOLD(&w, "give back 1; end 1 ok");
    rayi_ledger_refused(w.ledger, 2);
    TOLD(&w, "end 2 refused");
    rayi_ledger_ready(w.ledger, 2);
    TOLD(&w, "");
    world_fini(&w);
}

Test(ledger, tries)
{
    world w;
    rayi_ledger_state state;
    uint32_t attempt;
    world_init(&w);
    add(&w, 1, (rayi_ledger_options){.retries = 2, .deadline_ms = INT64_MAX});
    rayi_ledger_granted((told(&w), w.ledger), 1);
    TOLD(&w, "run 1");
    rayi_ledger_finished(w.ledger, 1, RAYI_OUTCOME_CRASHED);
    TOLD(&w, "give back 1 #1; retry 1 #1; submit 1 #1");
    rayi_ledger_granted(w.ledger, 1);
    TOLD(&w, "run 1 #1");
    cr_assert(rayi_ledger_get(w.ledger, 1, &state, &attempt));
    cr_expect_eq(state, RAYI_LEDGER_GRANTED);
    cr_expect_eq(attempt, 1);
    rayi_ledger_finished(w.ledger, 1, RAYI_OUTCOME_FAILED); /* by itself: not asked to be tried again */
    TOLD(&w, "give back 1 #1; end 1 failed #1");
    cr_assert_not(rayi_ledger_get(w.ledger, 1, &state, &attempt));

    add(&w, 2, (rayi_ledger_options){.retries = 1, .retry_failures = true, .deadline_ms = INT64_MAX});
    for (int i = 0; i < 2; i++) {
        told(&w);
        rayi_ledger_granted(w.ledger, 2);
        told(&w);
        rayi_ledger_finished(w.ledger, 2, RAYI_OUTCOME_FAILED);
    }
    TOLD(&w, "give back 2 #1; end 2 failed #1");

    add(&w, 3, (rayi_ledger_options){.retries = -1, .deadline_ms = INT64_MAX});
    for (int i = 0; i < 100; i++) {
        told(&w);
        rayi_ledger_granted(w.ledger, 3);
        told(&w);
        rayi_ledger_finished(w.ledger, 3, RAYI_OUTCOME_CRASHED);
    }
    TOLD(&w, "give back 3 #100; retry 3 #100; submit 3 #100");
    world_fini(&w);
}

Test(ledger, an_argument_is_missing)
{
    world w;
    world_init(&w);
    add(&w, 1, plain);
    rayi_ledger_granted((told(&w), w.ledger), 1);
    TOLD(&w, "run 1");
    rayi_ledger_missing(w.ledger, 1);
    TOLD(&w, "give back 1");
    cr_expect_eq(rayi_ledger_count(w.ledger, RAYI_LEDGER_HELD), 1);
    rayi_ledger_ready(w.ledger, 1); /* it is there again; that was no try */
    TOLD(&w, "submit 1");
    rayi_ledger_granted((told(&w), w.ledger), 1);
    rayi_ledger_missing((told(&w), w.ledger), 1);
    rayi_ledger_ready(w.ledger, 1); /* at once */
    TOLD(&w, "give back 1; submit 1");
    rayi_ledger_granted((told(&w), w.ledger), 1);
    rayi_ledger_missing((told(&w), w.ledger), 1);
    cr_expect(rayi_ledger_cancel(w.ledger, 1));
    TOLD(&w, "give back 1; end 1 cancelled");
    rayi_ledger_ready(w.ledger, 1);
    add(&w, 2, (rayi_ledger_options){.deadline_ms = 10});
    rayi_ledger_granted((told(&w), w.ledger), 2);
    rayi_ledger_tick(w.ledger, 10);
    TOLD(&w, "run 2; expire 2");
    rayi_ledger_missing(w.ledger, 2);
    TOLD(&w, "give back 2; end 2 expired");
    world_fini(&w);
}

Test(ledger, cancelling)
{
    world w;
    world_init(&w);
    add(&w, 1, (rayi_ledger_options){.held = true, .deadline_ms = INT64_MAX});
    cr_expect(rayi_ledger_cancel(w.ledger, 1));
    cr_assert_not(rayi_ledger_cancel(w.ledger, 1));
    TOLD(&w, "end 1 cancelled");
    cr_assert_not(rayi_ledger_cancel(w.ledger, 1));
    add(&w, 2, plain);
    cr_expect(rayi_ledger_cancel(w.ledger, 2)); /* its submit was not fetched */
    TOLD(&w, "end 2 cancelled");
    add(&w, 3, plain);
    TOLD(&w, "submit 3");
    cr_expect(rayi_ledger_cancel(w.ledger, 3));
    TOLD(&w, "withdraw 3; end 3 cancelled");
    add(&w, 4, (rayi_ledger_options){.retries = 5, .deadline_ms = INT64_MAX});
    TOLD(&w, "submit 4");
    rayi_ledger_granted(w.ledger, 4);
    cr_expect(rayi_ledger_cancel(w.ledger, 4));
    TOLD(&w, "run 4");
    rayi_ledger_finished(w.ledger, 4, RAYI_OUTCOME_CRASHED);
    TOLD(&w, "give back 4; end 4 cancelled");
    add(&w, 5, (rayi_ledger_options){.retries = 5, .deadline_ms = INT64_MAX});
    TOLD(&w, "submit 5");
    rayi_ledger_granted(w.ledger, 5);
    rayi_ledger_finished(w.ledger, 5, RAYI_OUTCOME_CRASHED);
    cr_expect(rayi_ledger_cancel(w.ledger, 5)); /* before it was submitted again */
    TOLD(&w, "give back 5 #1; end 5 cancelled #1");
    add(&w, 6, plain);
    TOLD(&w, "submit 6");
    rayi_ledger_granted(w.ledger, 6);
    rayi_ledger_cancel(w.ledger, 6);
    rayi_ledger_finished(w.ledger, 6, RAYI_OUTCOME_OK); /* it was quicker */
    TOLD(&w, "give back 6; end 6 ok");
    world_fini(&w);
}

Test(ledger, a_grant_or_refusal_crosses_a_withdrawal)
{
    world w;
    world_init(&w);
    add(&w, 1, plain);
    add(&w, 2, plain);
    TOLD(&w, "submit 1; submit 2");
    rayi_ledger_cancel(w.ledger, 1);
    rayi_ledger_cancel(w.ledger, 2);
    rayi_ledger_granted(w.ledger, 1);
    rayi_ledger_refused(w.ledger, 2);
    TOLD(&w, "give back 1; end 1 cancelled; end 2 cancelled");
    world_fini(&w);
}

Test(ledger, deadlines)
{
    world w;
    world_init(&w);
    cr_expect_eq(rayi_ledger_next_deadline(w.ledger), INT64_MAX);
    add(&w, 1, (rayi_ledger_options){.held = true, .deadline_ms = 300});
    add(&w, 2, (rayi_ledger_options){.deadline_ms = 100});
    add(&w, 3, (rayi_ledger_options){.deadline_ms = 200, .retries = 9});
    add(&w, 4, (rayi_ledger_options){.deadline_ms = 150});
    add(&w, 5, (rayi_ledger_options){.deadline_ms = 0});
    TOLD(&w, "submit 2; submit 3; submit 4; end 5 expired");
    cr_expect_eq(rayi_ledger_next_deadline(w.ledger), 100);
    rayi_ledger_tick(w.ledger, 99);
    TOLD(&w, "");
    rayi_ledger_tick(w.ledger, 100);
    TOLD(&w, "withdraw 2; end 2 expired");
    rayi_ledger_granted(w.ledger, 3);
    rayi_ledger_granted(w.ledger, 4);
    TOLD(&w, "run 3; run 4");
    rayi_ledger_finished(w.ledger, 4, RAYI_OUTCOME_OK);
    cr_expect_eq(rayi_ledger_next_deadline(w.ledger), 200);
    rayi_ledger_tick(w.ledger, 1000);
    TOLD(&w, "give back 4; end 4 ok; expire 3; end 1 expired");
    cr_expect_eq(rayi_ledger_next_deadline(w.ledger), INT64_MAX);
    rayi_ledger_finished(w.ledger, 3, RAYI_OUTCOME_CRASHED);
    TOLD(&w, "give back 3; end 3 expired");
    world_fini(&w);
}

/* ---- illegal edges ---- */

static world stage(rayi_ledger_state state)
{
    world w;
    world_init(&w);
    add(&w, 1, (rayi_ledger_options){.held = state == RAYI_LEDGER_HELD, .deadline_ms = INT64_MAX});
    if (state == RAYI_LEDGER_HELD)
        return w;
    told(&w);
    if (state == RAYI_LEDGER_GRANTED)
        rayi_ledger_granted(w.ledger, 1);
    return w;
}
#define ASSERTS(name, state, call)                                                                                     \
    Test(ledger, name, .signal = SIGABRT)                                                                              \
    {                                                                                                                  \
        static world w;                                                                                                \
        w = stage(state);                                                                                              \
        call;                                                                                                          \
    }
ASSERTS(held_is_not_granted, RAYI_LEDGER_HELD, rayi_ledger_granted(w.ledger, 1))
ASSERTS(held_does_not_finish, RAYI_LEDGER_HELD, rayi_ledger_finished(w.ledger, 1, RAYI_OUTCOME_OK))
ASSERTS(waiting_is_ready_no_more, RAYI_LEDGER_WAITING, rayi_ledger_ready(w.ledger, 1))
ASSERTS(waiting_does_not_finish, RAYI_LEDGER_WAITING, rayi_ledger_finished(w.ledger, 1, RAYI_OUTCOME_OK))
ASSERTS(granted_is_not_granted_again, RAYI_LEDGER_GRANTED, rayi_ledger_granted(w.ledger, 1))
ASSERTS(granted_is_ready_no_more, RAYI_LEDGER_GRANTED, rayi_ledger_ready(w.ledger, 1))
ASSERTS(granted_is_not_refused, RAYI_LEDGER_GRANTED, rayi_ledger_refused(w.ledger, 1))
ASSERTS(unknown_is_not_granted, RAYI_LEDGER_HELD, rayi_ledger_granted(w.ledger, 2))

/* ---- memory ---- */

Test(ledger, without_memory)
{
    for (long nth = 1; nth < 10; nth++) {
        world w;
        world_init(&w);
        counted_fail(&w.heap, nth);
        int r = rayi_ledger_add(w.ledger, 1, &(rayi_ledger_options){.deadline_ms = 5}, 0);
        cr_assert(r == 0 || r == RAY_ERR_NO_MEMORY);
        cr_expect_str_eq(told(&w), r ? "" : "submit 1");
        cr_expect_eq(rayi_ledger_next_deadline(w.ledger), r ? INT64_MAX : 5);
        cr_expect_eq(rayi_ledger_count(w.ledger, RAYI_LEDGER_WAITING), r ? 0 : 1);
        if (r == 0) {
            world_fini(&w);
            cr_assert_geq(nth, 4);
            return;
        }
        counted_fail(&w.heap, 0);
        add(&w, 1, plain);
        TOLD(&w, "submit 1");
        world_fini(&w);
    }
    cr_assert_fail("it never succeeded");
}

/* ---- random sequences ---- */

enum { IDS = 60 };
typedef enum where { NOWHERE, HELD, ASKED, WAITS, HAS } where; /* ASKED: in the ledger, its SUBMIT not fetched */

typedef struct task {
    where where;
    bool in_ledger, cancelled, runs;
    int tries, retries;
    int64_t deadline_ms;
    int ends;
} task;

typedef struct model {
    world w;
    uint64_t seed;
    int64_t now_ms;
    task tasks[IDS];
    uint64_t ended;
} model;

static void on_action(model *m, const rayi_ledger_action *action)
{
    task *t = &m->tasks[action->id];
    cr_assert(t->in_ledger);
    switch (action->what) {
    case RAYI_LEDGER_WITHDRAW:
        cr_assert_eq(t->where, WAITS);
        t->where = NOWHERE;
        return;
    case RAYI_LEDGER_GIVE_BACK:
        cr_assert_eq(t->where, HAS);
        t->where = NOWHERE;
        return;
    case RAYI_LEDGER_RETRY:
        cr_assert_eq(t->where, NOWHERE);
        cr_assert_not(t->cancelled);
        cr_assert_eq((int)action->attempt, ++t->tries);
        cr_assert_leq(t->tries, t->retries);
        return;
    case RAYI_LEDGER_SUBMIT:
        cr_assert_eq(t->where, NOWHERE);
        t->where = WAITS;
        return;
    case RAYI_LEDGER_RUN:
        cr_assert_eq(t->where, HAS);
        cr_assert_not(t->runs);
        t->runs = true;
        return;
    case RAYI_LEDGER_EXPIRE:
        cr_assert_eq(t->where, HAS);
        cr_assert_leq(t->deadline_ms, m->now_ms);
        return;
    case RAYI_LEDGER_END:
        cr_assert(t->where == NOWHERE || t->where == HELD);
        cr_assert_eq(++t->ends, 1);
        cr_assert(action->outcome != RAYI_OUTCOME_EXPIRED || t->deadline_ms <= m->now_ms);
        cr_assert(action->outcome != RAYI_OUTCOME_CANCELLED || t->cancelled);
        t->in_ledger = false;
        m->ended++;
        return;
    }
}

static void drain(model *m)
{
    rayi_ledger_action action;
    while (rayi_ledger_next(m->w.ledger, &action))
        on_action(m, &action);
}

static void do_add(model *m, uint64_t id)
{
    task *t = &m->tasks[id];
    *t = (task){.in_ledger = true, .retries = (int)roll(&m->seed, 3)};
    bool held = roll(&m->seed, 2);
    t->where = held ? HELD : NOWHERE;
    t->deadline_ms = roll(&m->seed, 2) ? INT64_MAX : m->now_ms + roll(&m->seed, 50);
    rayi_ledger_options options = {
        .held = held, .retry_failures = true, .retries = t->retries, .deadline_ms = t->deadline_ms};
    if (roll(&m->seed, 4) == 0)
        counted_fail(&m->w.heap, 1 + roll(&m->seed, 3));
    int r = rayi_ledger_add(m->w.ledger, id, &options, m->now_ms);
    counted_fail(&m->w.heap, 0);
    if (r)
        *t = (task){.where = NOWHERE};
}

/* Of those that are neither over nor late. */
static int64_t earliest(const model *m)
{
    int64_t first = INT64_MAX;
    for (uint64_t id = 0; id < IDS; id++) {
        rayi_ledger_state state;
        uint32_t attempt;
        bool open = rayi_ledger_get(m->w.ledger, id, &state, &attempt) && state != RAYI_LEDGER_ENDED;
        if (open && m->tasks[id].deadline_ms > m->now_ms)
            first = RAYI_MIN(first, m->tasks[id].deadline_ms);
    }
    return first;
}

/* Some event that fits where the task is. */
static void do_something(model *m)
{
    uint64_t id = roll(&m->seed, IDS);
    task *t = &m->tasks[id];
    rayi_ledger_state state;
    uint32_t attempt, what = roll(&m->seed, 10);
    bool known = rayi_ledger_get(m->w.ledger, id, &state, &attempt);
    cr_assert_eq(known, t->in_ledger);
    if (!known) {
        do_add(m, id);
    } else if (what == 0) {
        bool alive = state != RAYI_LEDGER_ENDED;
        cr_assert_eq(rayi_ledger_cancel(m->w.ledger, id), alive);
        t->cancelled |= alive;
    } else if (t->where == HELD) {
        if (state == RAYI_LEDGER_HELD)
            t->where = what == 1 ? HELD : NOWHERE;
        if (what == 1 && state == RAYI_LEDGER_HELD)
            rayi_ledger_refused(m->w.ledger, id);
        else
            rayi_ledger_ready(m->w.ledger, id);
    } else if (t->where == WAITS) {
        t->where = what == 1 ? NOWHERE : HAS;
        t->runs = false;
        if (what == 1)
            rayi_ledger_refused(m->w.ledger, id);
        else
            rayi_ledger_granted(m->w.ledger, id);
    } else if (t->where == HAS && state == RAYI_LEDGER_GRANTED) {
        rayi_ledger_finished(m->w.ledger, id, (rayi_outcome)roll(&m->seed, 3));
    }
    if (roll(&m->seed, 3) == 0) {
        m->now_ms += roll(&m->seed, 4);
        rayi_ledger_tick(m->w.ledger, m->now_ms);
        cr_assert_eq(rayi_ledger_next_deadline(m->w.ledger), earliest(m));
    }
    if (roll(&m->seed, 2))
        drain(m);
}

Test(ledger, random_sequences)
{
    const char *given = getenv("RAY_TEST_SEED");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, ended = 0;
    for (uint64_t seed = first; seed < first + 50; seed++) {
        static model m;
        memset(&m, 0, sizeof m);
        m.seed = seed;
        fprintf(stderr, "\rseed %" PRIu64 " ", seed);
        world_init(&m.w);
        for (int i = 0; i < 4000; i++)
            do_something(&m);
        ended += m.ended;
        world_fini(&m.w);
    }
    fprintf(stderr, "\r%" PRIu64 " entries ended\n", ended);
    cr_assert_gt(ended, 10000);
}

/* Every outcome, with every word about it: the same function decides for tasks that the ledger does not know. */
Test(outcome, is_there_another_try)
{
    for (int outcome = RAYI_OUTCOME_OK; outcome <= RAYI_OUTCOME_REFUSED; outcome++)
        for (int stopped = 0; stopped < 2; stopped++)
            for (int failures = 0; failures < 2; failures++)
                for (int32_t retries = -1; retries < 3; retries++) {
                    int32_t left = retries;
                    bool may = outcome == RAYI_OUTCOME_CRASHED || outcome == RAYI_OUTCOME_AGAIN ||
                               (outcome == RAYI_OUTCOME_FAILED && failures);
                    bool wanted = may && !stopped && retries != 0;
                    cr_assert_eq(rayi_outcome_tries_again((rayi_outcome)outcome, stopped, failures, &left), wanted,
                                 "%s, stopped %d, failures %d, retries %d", outcomes[outcome], stopped, failures,
                                 retries);
                    cr_assert_eq(left, wanted && retries > 0 ? retries - 1 : retries);
                }
}
