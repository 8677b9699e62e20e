/* Actors that are parked: of which others may believe that they are dead, and live elsewhere.
 *
 * A node without a lease in its cluster may have been declared dead without knowing it. Then who has made an actor that
 * lives here has restarted it on another node, and a name may be another actor's. So an actor that has a name, or whose
 * maker would restart it, starts no call without the lease: it is *parked* until there is one again. What runs already
 * goes on; its queue stays as it is.
 *
 * The loop parks and unparks, but it may be late (the process was stopped, say). So whoever is about to start a call
 * looks at the lease himself, under the actor's lock, and parks the actor if it is over; the loop asks for such
 * (missed_lease), for a lease that came back before the loop had noticed anything. */
#include "executor/actor.h"

void rayi_executor_set_lease(rayi_executor *executor, int64_t until_ms)
{
    atomic_store_explicit(&executor->lease_ms, until_ms, memory_order_relaxed);
}

bool rayi_executor_missed_lease(rayi_executor *executor)
{
    return atomic_load_explicit(&executor->missed_lease, memory_order_relaxed) &&
           atomic_exchange(&executor->missed_lease, false);
}

static bool does_park(const ray_actor *actor)
{
    return atomic_load_explicit(&actor->parks, memory_order_relaxed) ||
           (actor->name && !actor->afar && !actor->stands_in);
}

void rayi_actor_set_parks(ray_actor *actor)
{
    atomic_store_explicit(&actor->parks, true, memory_order_relaxed);
}

bool rayi_call_parks(const rayi_task *call)
{
    const ray_actor *actor = rayi_actor_of_call(call);

    return actor && does_park(actor);
}

bool rayi_actor_may_start(rayi_thread *thread, ray_actor *actor)
{
    rayi_executor *executor = rayi_executor_of(thread);
    int64_t lease_ms;

    if (actor->is_parked || !does_park(actor))
        return !actor->is_parked;
    lease_ms = atomic_load_explicit(&executor->lease_ms, memory_order_relaxed);
    if (lease_ms == INT64_MAX || rayi_now_ms() < lease_ms)
        return true;
    actor->is_parked = true;
    atomic_store(&executor->missed_lease, true);
    return false;
}

bool rayi_actor_begins_later(ray_actor *actor)
{
    bool later;

    pthread_mutex_lock(&actor->lock);
    later = actor->begin_due = actor->is_parked;
    pthread_mutex_unlock(&actor->lock);
    return later;
}

/* The lock is held. */
static void put_back(ray_actor *actor, rayi_task *call)
{
    rayi_task *newest = NULL, *next;

    for (; call; call = next) {
        next = (rayi_task *)call->head.next;
        (void)rayi_actor_came_back(actor, call->mailbox);
        call->head.next = (rayi_record *)newest;
        newest = call;
    }
    for (; newest; newest = next) {
        next = (rayi_task *)newest->head.next;
        rayi_mailbox_put_back(newest->mailbox, newest);
    }
}

static void park(rayi_thread *thread, ray_actor *actor, bool parked)
{
    const rayi_executor_hooks *hooks = rayi_executor_of(thread)->hooks;
    bool begins;

    pthread_mutex_lock(&actor->lock);
    begins = actor->begin_due && !parked;
    actor->is_parked = parked;
    actor->begin_due &= parked;
    if (rayi_actor_is_elsewhere(actor))
        put_back(actor, hooks->actor_park(thread, actor, parked));
    pthread_mutex_unlock(&actor->lock);
    if (begins)
        hooks->actor_begin(thread, actor, actor->restarts + 1);
    if (!parked)
        rayi_actor_poke_all(thread, actor);
}

/* ---- all of them ---- */

typedef struct parking {
    bool parks;
    uint32_t count;
} parking;

static void visit(rayi_thread *thread, ray_actor *actor, void *arg)
{
    parking *all = arg;

    if (!does_park(actor) || atomic_load(&actor->state) == RAYI_ACTOR_DEAD)
        return;
    all->count++;
    park(thread, actor, all->parks);
}

uint32_t rayi_actors_park(rayi_thread *thread, bool parks)
{
    parking all = {.parks = parks};

    rayi_actors_visit(thread, visit, &all);
    return all.count;
}

static void end(rayi_thread *thread, ray_actor *actor, void *arg)
{
    (void)arg;
    if (does_park(actor))
        rayi_actor_lost(thread, actor,
                        rayi_actor_died(actor, "its node was cut off so long that the head has declared it dead"));
}

void rayi_actors_end_parked(rayi_thread *thread)
{
    rayi_actors_visit(thread, end, NULL);
}
