/* What is about all actors: those that wait for each other in a circle, of which none can go on (whoever closes it says
 * so in the log), a visit to each, and the end of them all at shutdown. */
#include "executor/actor.h"

/* ---- actors that wait for each other ---- */

#define MAX_CYCLE 1000 /* actors */

static ray_actor *running_actor(const rayi_thread *thread)
{
    const rayi_frame *frame = thread->frame;

    while (frame && !frame->actor)
        frame = frame->outer;
    return frame && frame->actor->max_concurrency == 1 && frame->actor->num_groups == 0 ? frame->actor : NULL;
}

/* actors_lock is held. */
static void warn_of_cycle(rayi_executor *executor, ray_actor *actor)
{
    rayi_text words;
    ray_actor *at = actor;

    rayi_text_init(&words, rayi_heap);
    do {
        rayi_text_printf(&words, "%s%s%s (%.8s…) waits for ", rayi_actor_class(at), at->name ? " " : "",
                         at->name ? at->name : "", at->id + RAYI_ID_SIZE - 9);
        at = at->waits_for;
    } while (at != actor);
    rayi_text_printf(&words, "%s%s%s: none of them can go on", rayi_actor_class(actor), actor->name ? " " : "",
                     actor->name ? actor->name : "");
    if (!words.failed)
        rayi_log(RAY_LOG_WARNING, "actor.cycle", executor->node_id, "%s", words.data);
    rayi_text_fini(&words);
}

void rayi_actor_blocked(rayi_thread *thread, rayi_record *record)
{
    rayi_executor *executor = rayi_executor_of(thread);
    ray_actor *actor = running_actor(thread), *at;

    if (!actor || (!record && !actor->waits_for) || (record && record->type != RAYI_CALL))
        return;
    pthread_mutex_lock(&executor->actors_lock);
    actor->waits_for = record ? rayi_actor_of_call((rayi_task *)record) : NULL;
    at = actor->waits_for;
    for (unsigned steps = 0; at && at != actor; steps++) /* others may go in a circle without this one */
        at = steps < MAX_CYCLE ? at->waits_for : NULL;
    if (at == actor)
        warn_of_cycle(executor, actor);
    pthread_mutex_unlock(&executor->actors_lock);
}

/* ---- each of them ---- */

#define ACTORS_AT_ONCE 64

/* Those behind `after`, or the first. actors_lock is held; the last one's count keeps the place. */
static size_t get_some(const rayi_executor *executor, const ray_actor *after, ray_actor *some[ACTORS_AT_ONCE])
{
    size_t count = 0;

    for (ray_actor *actor = after ? after->next : executor->actors; actor && count < ACTORS_AT_ONCE;
         actor = actor->next)
        if (rayi_record_try_ref(&actor->mailbox.runner))
            some[count++] = actor;
    return count;
}

/* Others come and go meanwhile. One that has a count stays in the list, so whoever was there before and is there after
 * is visited once; those that have come since are not. */
void rayi_actors_visit(rayi_thread *thread, void (*visit)(rayi_thread *thread, ray_actor *actor, void *arg), void *arg)
{
    rayi_executor *executor = rayi_executor_of(thread);
    ray_actor *some[ACTORS_AT_ONCE], *last = NULL;
    size_t count;

    do {
        pthread_mutex_lock(&executor->actors_lock);
        count = get_some(executor, last, some);
        pthread_mutex_unlock(&executor->actors_lock);
        if (last)
            rayi_record_unref(thread, &last->mailbox.runner);
        last = count ? some[count - 1] : NULL;
        for (size_t i = 0; i < count; i++) {
            visit(thread, some[i], arg);
            if (some[i] != last)
                rayi_record_unref(thread, &some[i]->mailbox.runner);
        }
    } while (last);
}

/* ---- shutdown ---- */

static void fail_waiting(rayi_thread *thread, ray_actor *actor, void *arg)
{
    (void)arg;
    rayi_actor_fail_waiting(thread, actor);
}

/* Calls that wait for an actor which itself waits: nobody else would end them. */
void rayi_actors_fail_waiting(rayi_thread *thread)
{
    rayi_actors_visit(thread, fail_waiting, NULL);
}

#define FINI_MS 3000 /* for all worker processes together, when the node ends */

/* Its process runs what had begun, the constructor or calls, then fini; one that takes too long is ended without.
 * False: there is nothing to wait for. */
static bool wait_for_process(rayi_thread *thread, ray_actor *actor, int64_t *give_up_ms)
{
    rayi_actor_state state = atomic_load(&actor->state);

    if (!rayi_actor_is_elsewhere(actor) || (state != RAYI_ACTOR_ENDING && state != RAYI_ACTOR_STARTING))
        return false;
    if (*give_up_ms == 0)
        *give_up_ms = rayi_now_ms() + FINI_MS;
    if (rayi_now_ms() < *give_up_ms) {
        rayi_nap_ms(1);
        return true;
    }
    if (state == RAYI_ACTOR_STARTING)
        return false;
    rayi_actor_give_up(thread, actor);
    return true;
}

/* No thread of the lane is left: each actor ends with its fini. */
void rayi_actors_stop(rayi_thread *thread)
{
    rayi_executor *executor = rayi_executor_of(thread);
    int64_t give_up_ms = 0;
    ray_actor *actor;

    for (;;) {
        pthread_mutex_lock(&executor->actors_lock);
        for (actor = executor->actors; actor; actor = actor->next)
            if (atomic_load(&actor->state) != RAYI_ACTOR_DEAD && rayi_record_try_ref(&actor->mailbox.runner))
                break;
        pthread_mutex_unlock(&executor->actors_lock);
        if (!actor)
            return;
        if (!wait_for_process(thread, actor, &give_up_ms))
            rayi_actor_apply(
                thread, actor, RAYI_ACTOR_SHUTDOWN, 0,
                rayi_error_new(RAY_ERR_SHUTDOWN, NULL, NULL, "the runtime was shut down and the actor with it"));
        rayi_record_unref(thread, &actor->mailbox.runner);
    }
}
