/* The life of an actor: every state with every event. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>

#include "core/core.h"

enum {
    ILLEGAL = 1u << 30,
    END = RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_FAIL_CALLS | RAYI_ACTOR_GIVE_BACK,
    AGAIN = RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_GIVE_BACK | RAYI_ACTOR_SUBMIT,
    FINI = RAYI_ACTOR_FAIL_CALLS | RAYI_ACTOR_RUN_FINI,
    LEAVE = RAYI_ACTOR_WITHDRAW | RAYI_ACTOR_FAIL_CALLS,
};
#define PENDING    RAYI_ACTOR_PENDING
#define STARTING   RAYI_ACTOR_STARTING
#define ALIVE      RAYI_ACTOR_ALIVE
#define RESTARTING RAYI_ACTOR_RESTARTING
#define ENDING     RAYI_ACTOR_ENDING
#define DEAD       RAYI_ACTOR_DEAD

typedef struct row {
    rayi_actor_state state;
    unsigned todo;
} row;
#define NO                                                                                                             \
    {                                                                                                                  \
        PENDING, ILLEGAL                                                                                               \
    }

/* With restarts left. In the order of the events: granted, refused, constructed, constructor failed, kill, kill that
 * may restart, exit, released, shutdown, fini done. */
static const row table[RAYI_ACTOR_STATES][RAYI_ACTOR_EVENTS] = {
    [RAYI_ACTOR_PENDING] = {{STARTING, RAYI_ACTOR_RUN_CONSTRUCTOR},
                            {DEAD, RAYI_ACTOR_FAIL_CALLS},
                            NO,
                            NO,
                            {DEAD, LEAVE},
                            {PENDING, 0},
                            NO,
                            {DEAD, LEAVE},
                            {DEAD, LEAVE},
                            NO},
    [RAYI_ACTOR_STARTING] =
        {NO, NO, {ALIVE, RAYI_ACTOR_RUN_CALLS}, {DEAD, END}, {DEAD, END}, {RESTARTING, AGAIN}, NO, NO, {DEAD, END}, NO},
    [RAYI_ACTOR_ALIVE] =
        {NO, NO, NO, NO, {DEAD, END}, {RESTARTING, AGAIN}, {ENDING, FINI}, {ENDING, FINI}, {ENDING, FINI}, NO},
    [RAYI_ACTOR_RESTARTING] = {{STARTING, RAYI_ACTOR_RUN_CONSTRUCTOR},
                               {DEAD, RAYI_ACTOR_FAIL_CALLS},
                               NO,
                               NO,
                               {DEAD, LEAVE},
                               {RESTARTING, 0},
                               NO,
                               {DEAD, LEAVE},
                               {DEAD, LEAVE},
                               NO},
    [RAYI_ACTOR_ENDING] = {NO,
                           NO,
                           NO,
                           NO,
                           {DEAD, RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_GIVE_BACK},
                           {DEAD, RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_GIVE_BACK},
                           {ENDING, 0},
                           {ENDING, 0},
                           {ENDING, 0},
                           {DEAD, RAYI_ACTOR_GIVE_BACK}},
    [RAYI_ACTOR_DEAD] =
        {{DEAD, 0}, {DEAD, 0}, {DEAD, 0}, {DEAD, 0}, {DEAD, 0}, {DEAD, 0}, {DEAD, 0}, {DEAD, 0}, {DEAD, 0}, {DEAD, 0}},
};

Test(actor, every_legal_pair)
{
    for (int state = 0; state < RAYI_ACTOR_STATES; state++) {
        for (int event = 0; event < RAYI_ACTOR_EVENTS; event++) {
            row want = table[state][event];
            if (want.todo == ILLEGAL)
                continue;
            rayi_actor_step got = rayi_actor_next((rayi_actor_state)state, (rayi_actor_event)event, 3);
            cr_expect_eq(got.state, want.state, "state %d, event %d", state, event);
            cr_expect_eq(got.todo, want.todo, "state %d, event %d: %x", state, event, got.todo);
            cr_expect_eq(got.restarts_left, want.todo == AGAIN ? 2 : 3);
        }
    }
}

Test(actor, restarts_run_out)
{
    rayi_actor_step got = rayi_actor_next(ALIVE, RAYI_ACTOR_KILL_MAY_RESTART, 0);
    cr_expect_eq(got.state, DEAD);
    cr_expect_eq(got.todo, END);
    got = rayi_actor_next(STARTING, RAYI_ACTOR_KILL_MAY_RESTART, -1);
    cr_expect_eq(got.state, RESTARTING);
    cr_expect_eq(got.restarts_left, -1, "-1 is for ever");
    cr_expect_str_eq(rayi_actor_state_name(RESTARTING), "RESTARTING");
    cr_expect_str_eq(rayi_actor_state_name(DEAD), "DEAD");
}

/* Each illegal pair in a process of its own would be many: one of each state. */
#define ASSERTS(name, state, event)                                                                                    \
    Test(actor, name, .signal = SIGABRT)                                                                               \
    {                                                                                                                  \
        rayi_actor_next(state, event, 0);                                                                              \
    }
ASSERTS(a_pending_one_is_not_constructed, PENDING, RAYI_ACTOR_CONSTRUCTED)
ASSERTS(a_starting_one_is_not_granted, STARTING, RAYI_ACTOR_GRANTED)
ASSERTS(a_starting_one_is_not_released, STARTING, RAYI_ACTOR_RELEASED)
ASSERTS(one_alive_is_not_granted, ALIVE, RAYI_ACTOR_GRANTED)
ASSERTS(one_alive_has_no_fini_that_ends, ALIVE, RAYI_ACTOR_FINI_DONE)
ASSERTS(a_restarting_one_does_not_exit, RESTARTING, RAYI_ACTOR_EXIT)
ASSERTS(an_ending_one_is_not_constructed, ENDING, RAYI_ACTOR_CONSTRUCTED)
