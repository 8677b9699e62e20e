/* What the two files about actors share: actor_life.c, which runs them, and actor.c, which makes and calls them. */
#ifndef RAYI_EXECUTOR_ACTOR_H
#define RAYI_EXECUTOR_ACTOR_H

#include "core/core.h"
#include "executor/inside.h"

/* The state of one life, its bytes aligned for any type. */
typedef struct rayi_life {
    atomic_uint refs;
    void *block;
    _Alignas(64) unsigned char self[];
} rayi_life;

struct ray_actor {
    rayi_mailbox mailbox; /* first: the runner is the block's head */
    rayi_function *class, *fini;
    rayi_task *creation; /* the constructor's arguments, for every life */
    atomic_uint handles;
    atomic_uint num_calls; /* not done; counted only if max_pending_calls is set */
    pthread_mutex_t lock;
    _Atomic(rayi_actor_state) state;
    rayi_error *cause; /* of death */
    rayi_life *life;
    uint32_t restarts;
    int32_t restarts_left, max_task_retries;
    uint32_t max_concurrency, max_pending_calls;
    bool constructing, fini_due;
    atomic_bool released, unplaced; /* unplaced: waits for the raylet */
    rayi_record *ready;             /* who waits for the constructor, or NULL; counted */
    ray_actor *waits_for;           /* the actor whose call a method of this one waits for; under actors_lock */
    ray_actor *next, *before;
    void *place; /* the raylet's */
    char *name;
    char id[RAYI_ID_SIZE];
};

static inline ray_actor *rayi_actor_of_call(const rayi_task *call)
{
    return (ray_actor *)call->mailbox;
}

void rayi_life_unref(rayi_life *life); /* takes NULL */
/* What happened to the actor. cause: of death, if the event brings it; its count is taken. of_life: what happened
 * belongs to the life of this number (restarts + 1), later ones ignore it; 0: to any. */
void rayi_actor_apply(rayi_thread *thread, ray_actor *actor, rayi_actor_event event, uint32_t of_life,
                      rayi_error *cause);
rayi_error *rayi_actor_death(ray_actor *actor);                 /* why it is dead: counted */
rayi_error *rayi_actor_died(ray_actor *actor, const char *why); /* ACTOR_DIED with these words */
/* The raylet has its answer, or is not waited for any more. */
void rayi_actor_stop_waiting(rayi_thread *thread, ray_actor *actor);

#endif
