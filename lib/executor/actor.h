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

/* A further queue of calls, see actor_group.c. */
typedef struct rayi_actor_group {
    rayi_mailbox mailbox; /* first */
    const char *name;
    uint32_t concurrency;
    uint32_t share; /* of what may be in the worker process */
    atomic_uint num_away;
} rayi_actor_group;

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
    atomic_uint restarts; /* changed under lock */
    int32_t restarts_left, max_task_retries;
    uint32_t max_concurrency, max_pending_calls;
    bool constructing;
    atomic_bool fini_due; /* set under the lock; who ends the last call away looks after that: one sees the other */
    bool is_parked, begin_due;      /* no call starts, nor a process for its next life; under lock */
    atomic_bool parks;              /* it does when there is no lease */
    atomic_bool released, unplaced; /* unplaced: waits for the raylet */
    rayi_record *ready;             /* who waits for the constructor, or NULL; counted */
    ray_actor *waits_for;           /* the actor whose call a method of this one waits for; under actors_lock */
    ray_actor *next, *before;
    void *place;          /* the raylet's */
    void *afar;           /* of one that lives on another node (RAYI_ELSEWHERE, too): the raylet's; else NULL */
    _Atomic(void *) host; /* of one that lives here for another node's: the raylet's, told of its death */
    bool stands_in;       /* for one of another node */
    void *guest;          /* of one that lives in a worker process (RAYI_ELSEWHERE of its runner): who holds that */
    atomic_uint num_away; /* calls that are in the worker process */
    atomic_uint num_away_ungrouped; /* those of no group, if there are groups */
    char **env;                     /* of its worker process, or NULL; one allocation */
    rayi_actor_group *groups;
    uint32_t num_groups, share; /* share: of the queue without a name */
    void *groups_block;
    bool fini_ran;
    uint64_t number; /* what id is made of */
    char *name;
    char *class_name; /* of a stand-in whose class is not known here, else NULL */
    char id[RAYI_ID_SIZE];
};

static inline bool rayi_actor_is_elsewhere(const ray_actor *actor)
{
    return actor->mailbox.runner.flags & RAYI_ELSEWHERE;
}

/* The owner is the head of the actor's own mailbox, which is first in it. */
static inline ray_actor *rayi_actor_of_mailbox(const rayi_mailbox *mailbox)
{
    return (ray_actor *)mailbox->owner;
}
static inline ray_actor *rayi_actor_of_call(const rayi_task *call) /* NULL: a stand-in */
{
    return call->mailbox ? rayi_actor_of_mailbox(call->mailbox) : NULL;
}

/* Its queues: 0 is the one without a name. */
static inline rayi_mailbox *rayi_actor_mailbox(ray_actor *actor, uint32_t index)
{
    return index ? &actor->groups[index - 1].mailbox : &actor->mailbox;
}
int rayi_actor_make_groups(ray_actor *actor, const char *text); /* text may be NULL */
void rayi_actor_free_groups(ray_actor *actor);
int rayi_actor_find_group(const ray_actor *actor, const rayi_function *method, const char *name, uint32_t *out);
bool rayi_actor_may_send(ray_actor *actor, const rayi_mailbox *mailbox); /* its queue has not its share there */
/* A call of this queue is there; it counts in num_away already, which came_back takes back. True: the queue may have
 * waited for that. */
void rayi_actor_sent(ray_actor *actor, const rayi_mailbox *mailbox);
bool rayi_actor_came_back(ray_actor *actor, const rayi_mailbox *mailbox);

void rayi_life_unref(rayi_life *life); /* takes NULL */
/* What happened to the actor. cause: of death, if the event brings it; its count is taken. of_life: what happened
 * belongs to the life of this number (restarts + 1), later ones ignore it; 0: to any. */
void rayi_actor_apply(rayi_thread *thread, ray_actor *actor, rayi_actor_event event, uint32_t of_life,
                      rayi_error *cause);
void rayi_actor_give_up(rayi_thread *thread, ray_actor *actor);      /* its process is not waited for any more */
void rayi_actor_fail_waiting(rayi_thread *thread, ray_actor *actor); /* all that is in its queues */
rayi_error *rayi_actor_death(ray_actor *actor);                      /* why it is dead: counted */
rayi_error *rayi_actor_died(ray_actor *actor, const char *why);      /* ACTOR_DIED with these words */
/* Under lock: it is not parked, and need not be. */
bool rayi_actor_may_start(rayi_thread *thread, ray_actor *actor);
bool rayi_actor_begins_later(ray_actor *actor); /* its process begins when it is not parked any more */
/* Visits those that are not freed, without a lock. */
void rayi_actors_visit(rayi_thread *thread, void (*visit)(rayi_thread *thread, ray_actor *actor, void *arg), void *arg);
void rayi_actor_poke_all(rayi_thread *thread, ray_actor *actor);
/* The raylet has its answer, or is not waited for any more. */
void rayi_actor_stop_waiting(rayi_thread *thread, ray_actor *actor);

#endif
