/* The life of an actor: a pure function, for whoever keeps the state. Part of the door core/core.h. */
#ifndef RAYI_CORE_ACTOR_H
#define RAYI_CORE_ACTOR_H

#include <stdint.h>

typedef enum rayi_actor_state {
    RAYI_ACTOR_PENDING,    /* waits for the constructor's arguments and for resources */
    RAYI_ACTOR_STARTING,   /* the constructor runs */
    RAYI_ACTOR_ALIVE,      /* calls run */
    RAYI_ACTOR_RESTARTING, /* waits for resources, for another life */
    RAYI_ACTOR_ENDING,     /* fini runs */
    RAYI_ACTOR_DEAD,
} rayi_actor_state;
#define RAYI_ACTOR_STATES 6

typedef enum rayi_actor_event {
    RAYI_ACTOR_GRANTED,            /* its resources are there */
    RAYI_ACTOR_REFUSED,            /* they never will be, or an argument failed */
    RAYI_ACTOR_CONSTRUCTED,        /* of this life: what an earlier one reports late, the body drops */
    RAYI_ACTOR_CONSTRUCTOR_FAILED, /* the same */
    RAYI_ACTOR_KILL,               /* for good */
    RAYI_ACTOR_KILL_MAY_RESTART,   /* or a crash */
    RAYI_ACTOR_EXIT,               /* its method that called ray_actor_exit has returned */
    RAYI_ACTOR_RELEASED, /* the last handle is gone and nothing is queued; a running constructor is waited for */
    RAYI_ACTOR_SHUTDOWN,
    RAYI_ACTOR_FINI_DONE,
} rayi_actor_event;
#define RAYI_ACTOR_EVENTS 10

/* What to do, in this order. */
enum {
    RAYI_ACTOR_WITHDRAW = 1u,     /* it waits with the scheduler, or for arguments: take it back */
    RAYI_ACTOR_FAIL_RUNNING = 2u, /* fail, or try again, calls under way; drop the state without fini */
    RAYI_ACTOR_FAIL_CALLS = 4u,   /* fail the calls that are queued, and from now on */
    RAYI_ACTOR_RUN_FINI = 8u,     /* when the running calls have returned; then FINI_DONE */
    RAYI_ACTOR_GIVE_BACK = 16u,   /* its resources */
    RAYI_ACTOR_SUBMIT = 32u,      /* ask the scheduler again */
    RAYI_ACTOR_RUN_CONSTRUCTOR = 64u,
    RAYI_ACTOR_RUN_CALLS = 128u, /* open the mailbox */
};

typedef struct rayi_actor_step {
    rayi_actor_state state;
    unsigned todo;         /* RAYI_ACTOR_WITHDRAW | … */
    int32_t restarts_left; /* -1: for ever */
} rayi_actor_step;

/* Illegal pairs (a grant for an actor that is alive, …) assert. Whatever reaches a dead actor leaves it so. */
rayi_actor_step rayi_actor_next(rayi_actor_state state, rayi_actor_event event, int32_t restarts_left);
const char *rayi_actor_state_name(rayi_actor_state state); /* "ALIVE" */

#endif
