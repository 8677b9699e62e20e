#include "core/actor.h"

#include "base/base.h"

static rayi_actor_step step(rayi_actor_state state, unsigned todo, int32_t restarts_left)
{
    return (rayi_actor_step){.state = state, .todo = todo, .restarts_left = restarts_left};
}

/* It has run, and its state is lost: another life if there is one left. */
static rayi_actor_step restart_or_die(int32_t restarts_left)
{
    const unsigned lost = RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_GIVE_BACK;
    if (restarts_left == 0)
        return step(RAYI_ACTOR_DEAD, lost | RAYI_ACTOR_FAIL_CALLS, 0);
    return step(RAYI_ACTOR_RESTARTING, lost | RAYI_ACTOR_SUBMIT, restarts_left < 0 ? restarts_left : restarts_left - 1);
}

/* PENDING or RESTARTING: nothing of it runs. */
static rayi_actor_step next_of_placeless(rayi_actor_state state, rayi_actor_event event, int32_t left)
{
    switch (event) {
    case RAYI_ACTOR_GRANTED:
        return step(RAYI_ACTOR_STARTING, RAYI_ACTOR_RUN_CONSTRUCTOR, left);
    case RAYI_ACTOR_REFUSED:
        return step(RAYI_ACTOR_DEAD, RAYI_ACTOR_FAIL_CALLS, left);
    case RAYI_ACTOR_KILL:
    case RAYI_ACTOR_RELEASED:
    case RAYI_ACTOR_SHUTDOWN:
        return step(RAYI_ACTOR_DEAD, RAYI_ACTOR_WITHDRAW | RAYI_ACTOR_FAIL_CALLS, left);
    case RAYI_ACTOR_KILL_MAY_RESTART: /* it is about to start anyway */
        return step(state, 0, left);
    case RAYI_ACTOR_CONSTRUCTED:
    case RAYI_ACTOR_CONSTRUCTOR_FAILED:
    case RAYI_ACTOR_EXIT:
    case RAYI_ACTOR_FINI_DONE:
        break;
    }
    RAYI_ASSERT(!"an actor without a place runs nothing");
}

static rayi_actor_step next_of_starting(rayi_actor_event event, int32_t left)
{
    const unsigned end = RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_FAIL_CALLS | RAYI_ACTOR_GIVE_BACK;
    switch (event) {
    case RAYI_ACTOR_CONSTRUCTED:
        return step(RAYI_ACTOR_ALIVE, RAYI_ACTOR_RUN_CALLS, left);
    case RAYI_ACTOR_CONSTRUCTOR_FAILED: /* it would fail again */
    case RAYI_ACTOR_KILL:
    case RAYI_ACTOR_SHUTDOWN: /* what is half made has no fini */
        return step(RAYI_ACTOR_DEAD, end, left);
    case RAYI_ACTOR_KILL_MAY_RESTART:
        return restart_or_die(left);
    case RAYI_ACTOR_GRANTED:
    case RAYI_ACTOR_REFUSED:
    case RAYI_ACTOR_EXIT:
    case RAYI_ACTOR_RELEASED:
    case RAYI_ACTOR_FINI_DONE:
        break;
    }
    RAYI_ASSERT(!"a constructor is waited for, or killed");
}

static rayi_actor_step next_of_alive(rayi_actor_event event, int32_t left)
{
    switch (event) {
    case RAYI_ACTOR_KILL:
        return step(RAYI_ACTOR_DEAD, RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_FAIL_CALLS | RAYI_ACTOR_GIVE_BACK, left);
    case RAYI_ACTOR_KILL_MAY_RESTART:
        return restart_or_die(left);
    case RAYI_ACTOR_EXIT:
    case RAYI_ACTOR_RELEASED:
    case RAYI_ACTOR_SHUTDOWN:
        return step(RAYI_ACTOR_ENDING, RAYI_ACTOR_FAIL_CALLS | RAYI_ACTOR_RUN_FINI, left);
    case RAYI_ACTOR_GRANTED:
    case RAYI_ACTOR_REFUSED:
    case RAYI_ACTOR_CONSTRUCTED:
    case RAYI_ACTOR_CONSTRUCTOR_FAILED:
    case RAYI_ACTOR_FINI_DONE:
        break;
    }
    RAYI_ASSERT(!"an actor that is alive is neither placed nor constructed");
}

static rayi_actor_step next_of_ending(rayi_actor_event event, int32_t left)
{
    switch (event) {
    case RAYI_ACTOR_FINI_DONE:
        return step(RAYI_ACTOR_DEAD, RAYI_ACTOR_GIVE_BACK, left);
    case RAYI_ACTOR_KILL: /* at once; a fini that runs already is left alone */
    case RAYI_ACTOR_KILL_MAY_RESTART:
        return step(RAYI_ACTOR_DEAD, RAYI_ACTOR_FAIL_RUNNING | RAYI_ACTOR_GIVE_BACK, left);
    case RAYI_ACTOR_EXIT: /* of another call, when several run at once */
    case RAYI_ACTOR_RELEASED:
    case RAYI_ACTOR_SHUTDOWN:
        return step(RAYI_ACTOR_ENDING, 0, left);
    case RAYI_ACTOR_GRANTED:
    case RAYI_ACTOR_REFUSED:
    case RAYI_ACTOR_CONSTRUCTED:
    case RAYI_ACTOR_CONSTRUCTOR_FAILED:
        break;
    }
    RAYI_ASSERT(!"an actor that ends is neither placed nor constructed");
}

rayi_actor_step rayi_actor_next(rayi_actor_state state, rayi_actor_event event, int32_t restarts_left)
{
    switch (state) {
    case RAYI_ACTOR_PENDING:
    case RAYI_ACTOR_RESTARTING:
        return next_of_placeless(state, event, restarts_left);
    case RAYI_ACTOR_STARTING:
        return next_of_starting(event, restarts_left);
    case RAYI_ACTOR_ALIVE:
        return next_of_alive(event, restarts_left);
    case RAYI_ACTOR_ENDING:
        return next_of_ending(event, restarts_left);
    case RAYI_ACTOR_DEAD: /* a grant or a constructor's end may have crossed the kill: the body drops them */
        return step(RAYI_ACTOR_DEAD, 0, restarts_left);
    }
    RAYI_ASSERT(!"an actor is in one of its states");
}

const char *rayi_actor_state_name(rayi_actor_state state)
{
    static const char *const names[RAYI_ACTOR_STATES] = {
        [RAYI_ACTOR_PENDING] = "PENDING",       [RAYI_ACTOR_STARTING] = "STARTING", [RAYI_ACTOR_ALIVE] = "ALIVE",
        [RAYI_ACTOR_RESTARTING] = "RESTARTING", [RAYI_ACTOR_ENDING] = "ENDING",     [RAYI_ACTOR_DEAD] = "DEAD",
    };
    return names[state];
}
