/* Places: actors that have a name, or hold resources for life.
 *
 * A place counts its actor until the loop has taken the name and the resources back. A name leads to a living actor:
 * one that has died, or whose last handle is gone, makes way. */
#include "raylet/inside.h"

#include <string.h>

typedef struct place {
    rayi_wish wish; /* first */
    rayi_message message;
    ray_actor *actor;
    bool placed;   /* it asks the scheduler for something */
    bool detached; /* holds a handle */
    atomic_bool dead;
    const char *name;   /* the actor's */
    ray_actor *instead; /* the answer: one that has the name */
    bool get_if_exists;
} place;

static place *place_of(ray_actor *actor)
{
    return *rayi_actor_place(actor);
}

static void place_free(place *p)
{
    rayi_wish_empty(&p->wish);
    rayi_free(p);
}

/* ---- names; on the loop ---- */

/* The actor of that name if it is alive: obtained. A dead one loses the name. */
static ray_actor *find(rayi_node *node, const char *name)
{
    const char *ns = rayi_executor_ns(node->executor);
    uint64_t id;
    ray_actor *actor;

    if (rayi_gcs_name_get(node->gcs, RAYI_NAME_ACTOR, ns, name, &id) < 0)
        return NULL;
    actor = (ray_actor *)(uintptr_t)id;
    if (!atomic_load(&place_of(actor)->dead) && rayi_actor_try_retain(actor))
        return actor;
    (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_ACTOR, ns, name, id);
    return NULL;
}

static int gcs_fail(int r, const char *what, const char *name)
{
    switch (r) {
    case RAY_ERR_EXISTS:
        return rayi_fail(r, "%s of the name %s exists already", what, name);
    case RAY_ERR_LIMIT:
        return rayi_fail(r, "a name has at most %d bytes, the namespace likewise: %.40s…", RAYI_GCS_KEY_MAX, name);
    case RAY_ERR_NO_MEMORY:
        return rayi_fail(r, "out of memory: the table of names");
    default:
        return rayi_fail(r, "expected a name like \"name\" or \"namespace/name\", got \"%s\"", name);
    }
}

static int register_place(rayi_node *node, void *arg)
{
    place *p = arg;
    ray_actor *had = NULL;
    int r = 0;

    if (node->stopping)
        return rayi_fail(RAY_ERR_SHUTDOWN, "the runtime is shut down");
    had = p->name ? find(node, p->name) : NULL;

    if (had && p->get_if_exists) {
        p->instead = had;
        return 0;
    }
    if (had) {
        rayi_actor_release(node->thread, had);
        return gcs_fail(RAY_ERR_EXISTS, "an actor", p->name);
    }
    if (p->name) {
        r = rayi_gcs_name_put(node->gcs, RAYI_NAME_ACTOR, rayi_executor_ns(node->executor), p->name,
                              (uintptr_t)p->actor);
        if (r < 0)
            return gcs_fail(r, "an actor", p->name);
    }
    r = rayi_wish_add(node, &p->wish);
    if (r == 0 && p->placed) {
        r = rayi_wish_submit(node, &p->wish);
        if (r < 0) {
            rayi_wish_remove(node, &p->wish);
            r = rayi_fail(r, "out of memory: the resources of an actor");
        }
    }
    if (r < 0 && p->name)
        (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_ACTOR, rayi_executor_ns(node->executor), p->name,
                                (uintptr_t)p->actor);
    else if (r == 0)
        *rayi_actor_place(p->actor) = p; /* from here on its death is told to handle_death */
    rayi_node_stir(node);                /* called from a link, the loop would not look at the scheduler */
    return r;
}

/* ---- the threads of actors ---- */

static void handle_death(rayi_node *node, rayi_message *message)
{
    place *p = rayi_container_of(message, place, message);
    ray_actor *actor = p->actor;

    if (p->name)
        (void)rayi_gcs_name_del(node->gcs, RAYI_NAME_ACTOR, rayi_executor_ns(node->executor), p->name,
                                (uintptr_t)actor);
    if (p->placed && p->wish.submitted && !rayi_scheduler_remove(node->scheduler, p->wish.id) && p->wish.granted)
        rayi_scheduler_finish(node->scheduler, p->wish.id);
    rayi_wish_remove(node, &p->wish);
    if (p->detached)
        rayi_actor_release(node->thread, actor);
    rayi_record_unref(node->thread, rayi_actor_record(actor)); /* with the last count place_free comes */
}

/* In a cluster the head has the names. */
static int enter_name(rayi_thread *thread, place *p)
{
    rayi_node *node = rayi_node_of(thread);

    if (!p->name || !node->cluster)
        return 0;
    p->name = NULL;
    if (!thread->never_waits)
        return rayi_called_enter(thread, p->actor, p->get_if_exists, &p->instead);
    if (p->get_if_exists)
        return rayi_fail(RAY_ERR_UNSUPPORTED, "%s: get_if_exists cannot be served here: use ray_actor_get first",
                         rayi_actor_class(p->actor));
    return rayi_called_enter_later(node, p->actor);
}

int rayi_place_actor(rayi_thread *thread, ray_actor *actor, const ray_actor_options *options, ray_actor **instead)
{
    place *p = rayi_zalloc(sizeof *p);
    int r;

    if (!p)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the options of an actor");
    p->actor = p->wish.actor = actor;
    p->message.handle = handle_death;
    p->name = rayi_actor_name(actor);
    p->get_if_exists = options->get_if_exists;
    p->placed =
        !rayi_actor_afar(actor) && (options->resources || options->labels || options->node_id || options->group);
    /* Without resources of its own an actor takes a CPU to be placed and none while it runs: on one node that is none.
     */
    r = rayi_wish_fill(thread, &p->wish, options->resources, options->resources ? &rayi_resources_one_cpu : NULL,
                       options->labels, options->node_id, options->node_soft, options->group, options->bundle,
                       rayi_actor_class(actor));
    if (r < 0)
        goto free_place;
    rayi_record_ref(rayi_actor_record(actor));
    if (options->detached) {
        p->detached = true;
        rayi_actor_retain(actor);
    }
    r = enter_name(thread, p);
    if (r == 0 && !p->instead)
        r = rayi_node_ask(thread, register_place, p);
    if (r == 0 && !p->instead)
        return 0;
    *instead = p->instead;
    if (p->detached)
        rayi_actor_release(thread, actor);
    rayi_record_unref(thread, rayi_actor_record(actor));
free_place:
    place_free(p);
    return r;
}

void rayi_unplace_actor(rayi_thread *thread, ray_actor *actor)
{
    place *p = place_of(actor);

    rayi_afar_unplace(thread, actor);
    if (p && !atomic_exchange(&p->dead, true))
        rayi_loop_post(rayi_node_of(thread), &p->message);
}

void rayi_place_freed(void *of_actor)
{
    place_free(of_actor);
}

const rayi_wish *rayi_place_wish(ray_actor *actor)
{
    const place *p = place_of(actor);

    return p && p->placed ? &p->wish : NULL;
}

const char *rayi_place_resources(ray_actor *actor, const char **gpus, const char **group_id)
{
    const place *p = place_of(actor);

    if (!p || !p->placed)
        return "";
    *gpus = p->wish.gpus;
    *group_id = *p->wish.group_id ? p->wish.group_id : NULL;
    return p->wish.resources->text;
}

/* ---- the loop ---- */

void rayi_place_scheduler_action(rayi_node *node, rayi_wish *wish, const rayi_scheduler_action *action)
{
    place *p = (place *)wish;
    rayi_error *error;

    if (action->what == RAYI_SCHEDULER_GRANT) {
        wish->granted = true;
        rayi_actor_granted(node->thread, p->actor);
        return;
    }
    error = rayi_error_new(action->code, rayi_actor_class(p->actor), NULL, "%s: %s", rayi_actor_class(p->actor),
                           action->message);
    if (action->what == RAYI_SCHEDULER_REFUSE) {
        wish->submitted = false;
        rayi_actor_refused(node->thread, p->actor, error);
    } else {
        rayi_actor_lost(node->thread, p->actor, error);
    }
}

/* Detached actors end with the node. */
void rayi_place_stop(rayi_node *node)
{
    rayi_wish *wish, *next;

    HASH_ITER (hh, node->wishes, wish, next) {
        place *p = wish->actor && !rayi_actor_afar(wish->actor) ? (place *)wish : NULL;
        if (p && p->detached) {
            p->detached = false;
            rayi_actor_release(node->thread, p->actor);
        }
    }
}

typedef struct search {
    const char *name;
    ray_actor *found;
} search;

static int find_actor(rayi_node *node, void *arg)
{
    search *s = arg;

    s->found = find(node, s->name);
    return s->found ? 0 : rayi_fail(RAY_ERR_NOT_FOUND, "no actor of the name %s is alive", s->name);
}

ray_actor *rayi_node_find_actor(rayi_thread *thread, const char *name)
{
    search s = {.name = name};

    if (rayi_node_of(thread)->cluster)
        return rayi_called_find(thread, name);
    return rayi_node_ask(thread, find_actor, &s) == 0 ? s.found : NULL;
}
