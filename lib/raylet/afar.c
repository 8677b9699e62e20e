/* Actors that live on other nodes: which do, and where. What becomes of them there: lib/cluster/actors.c.
 *
 * Whether an actor does is settled when it is made, by the caller's thread, from what never changes: what this node
 * has in all. A node without CPUs has others keep its actors; else only those go away that could never live here, are
 * asked to be elsewhere, or are of a class that is not here. One of a placement group goes where its bundle is, be that
 * this node. */
#include "raylet/inside.h"

#include <string.h>

typedef struct afar {
    rayi_wish wish; /* first; in node.wishes from its first placing on */
    rayi_node *node;
    rayi_afar *there;
    rayi_message forget;
    atomic_bool is_dead;
    bool is_known;     /* the loop's */
    rayi_called named; /* the loop's: where the head was told last that the one of its name is; number 0: here */
} afar;

static rayi_afar *afar_of(const ray_actor *actor)
{
    const afar *a = rayi_actor_afar(actor);

    return a ? a->there : NULL;
}

/* ---- making; any thread ---- */

static bool fits_here(const rayi_node *node, const rayi_wish *wish)
{
    const char *own = rayi_executor_node_id(node->executor);

    if (wish->node_id && strcmp(wish->node_id, own) != 0)
        return false;
    if (rayi_selector_unmet(wish->labels, node->own_labels))
        return false;
    for (uint32_t i = 0; i < wish->resources->count; i++)
        if (rayi_resources_amount(node->own_resources, wish->resources->items[i].name) <
            wish->resources->items[i].amount)
            return false;
    return rayi_resources_amount(node->own_resources, "CPU") > 0 || wish->resources->count > 0 || wish->node_id;
}

static void afar_free(afar *a)
{
    if (a->there)
        rayi_afar_free(a->there);
    rayi_wish_empty(&a->wish);
    rayi_free(a);
}

int rayi_afar_decide(rayi_thread *thread, ray_actor *actor, const ray_actor_options *given, void **out)
{
    static const ray_actor_options none = {0};
    const ray_actor_options *options = given ? given : &none;
    rayi_node *node = rayi_node_of(thread);
    bool may_live_here;
    afar *a;
    int r;

    if (!node->cluster || (options->group && !options->group->is_wide))
        return 0;
    a = rayi_zalloc(sizeof *a);
    if (!a)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the options of an actor");
    a->node = node;
    a->wish.actor = actor;
    a->wish.spread = options->spread;
    r = rayi_wish_fill(thread, &a->wish, options->resources, options->resources ? &rayi_resources_one_cpu : NULL,
                       options->labels, options->node_id, options->node_soft, options->group, options->bundle,
                       rayi_actor_class(actor));
    may_live_here = !rayi_function_is_abroad(rayi_task_function(rayi_actor_creation(actor))) && !a->wish.is_wide;
    if (r < 0 || (may_live_here && fits_here(node, &a->wish) && !options->spread)) {
        afar_free(a);
        return r;
    }
    a->there = rayi_afar_new(node->cluster, actor, options, a);
    if (!a->there) {
        afar_free(a);
        return rayi_error_last_public()->code;
    }
    *out = a;
    return 0;
}

void rayi_afar_freed(void *of)
{
    afar_free(of);
}

/* ---- the loop ---- */

void rayi_afar_place_it(void *of, void *place)
{
    rayi_node *node = of;
    afar *a = place;
    int r = a->is_known ? 0 : rayi_wish_add(node, &a->wish);

    if (r == 0 && !a->is_known) {
        a->is_known = true;
        rayi_record_ref(rayi_actor_record(a->wish.actor));
    }
    if (r == 0 && node->stopping)
        rayi_plan_refuse(node, &a->wish, RAY_ERR_SHUTDOWN, RAYI_PLAN_SHUTDOWN);
    else if (r == 0 && node->left)
        rayi_plan_left(node, &a->wish);
    else if (r == 0)
        r = rayi_plan_submit(node, &a->wish);
    if (r < 0)
        rayi_afar_refused(a->there, rayi_error_new(RAY_ERR_NO_MEMORY, rayi_actor_class(a->wish.actor), NULL,
                                                   "out of memory: the place of an actor"));
    rayi_node_stir(node);
}

void rayi_afar_is_back(void *of, void *place)
{
    rayi_plan_over(of, &((afar *)place)->wish);
}

void rayi_afar_is_refused(void *of, void *place, int code)
{
    rayi_node *node = of;
    rayi_wish *wish = &((afar *)place)->wish;

    if (wish->is_assigned)
        rayi_plan_refused(node, wish, code);
    else /* its group has ended meanwhile */
        wish->where = RAYI_WISH_NOWHERE;
    if (wish->where == RAYI_WISH_NOWHERE)
        rayi_afar_place_it(node, place);
    rayi_node_stir(node);
}

void rayi_afar_assigned(rayi_wish *wish)
{
    rayi_afar_room room = {.owner = wish->owner,
                           .part = wish->is_wide ? wish->part : 0,
                           .bundle = wish->part_bundle,
                           .any_bundle = wish->is_wide && wish->bundle == 0};

    wish->where = RAYI_WISH_AWAY;
    rayi_afar_go(((afar *)wish)->there, &wish->there, &room);
}

void rayi_afar_unplaceable(rayi_wish *wish, int code, const char *message)
{
    const char *class = rayi_actor_class(wish->actor);

    rayi_afar_refused(((afar *)wish)->there, rayi_error_new(code, class, NULL, "%s: %s", class, message));
}

static void forget(rayi_node *node, rayi_message *message)
{
    afar *a = rayi_container_of(message, afar, forget);
    ray_actor *actor = a->wish.actor;

    if (!a->is_known)
        return;
    a->is_known = false;
    rayi_plan_over(node, &a->wish);
    rayi_wish_remove(node, &a->wish);
    rayi_record_unref(node->thread, rayi_actor_record(actor));
}

const rayi_node_id *rayi_afar_where(const ray_actor *actor)
{
    const afar *a = rayi_actor_afar(actor);

    return a && a->is_known && a->wish.where == RAYI_WISH_AWAY ? &a->wish.there : NULL;
}

rayi_called *rayi_afar_named(const ray_actor *actor)
{
    return &((afar *)rayi_actor_afar(actor))->named;
}

/* It is dead. */
void rayi_afar_unplace(rayi_thread *thread, ray_actor *actor)
{
    afar *a = rayi_actor_afar(actor);

    if (!a || atomic_exchange(&a->is_dead, true))
        return;
    a->forget.handle = forget;
    (void)rayi_loop_post(rayi_node_of(thread), &a->forget);
}

/* ---- the hooks: to a worker process, or to another node ---- */

void rayi_actor_begins(rayi_thread *thread, ray_actor *actor, uint32_t life)
{
    rayi_afar *there = afar_of(actor);

    if (there)
        rayi_afar_begin(there, thread, life);
    else
        rayi_workers_actor_begin(thread, actor, life);
}

bool rayi_actor_sends(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t life)
{
    rayi_afar *there = afar_of(actor);

    return there ? rayi_afar_send(there, thread, call, life) : rayi_workers_actor_send(thread, actor, call, life);
}

void rayi_actor_finishes(rayi_thread *thread, ray_actor *actor)
{
    rayi_afar *there = afar_of(actor);

    if (there)
        rayi_afar_fini(there, thread);
    else
        rayi_workers_actor_fini(thread, actor);
}

rayi_task *rayi_actor_takes(rayi_thread *thread, ray_actor *actor, bool started_too)
{
    rayi_afar *there = afar_of(actor);

    return there ? rayi_afar_take(there, started_too) : rayi_workers_actor_take(thread, actor, started_too);
}

void rayi_actor_ends(rayi_thread *thread, ray_actor *actor)
{
    rayi_afar *there = afar_of(actor);

    if (there)
        rayi_afar_end(there, thread);
    else
        rayi_workers_actor_end(thread, actor);
}

/* One that lives on another node is that node's to park. */
rayi_task *rayi_actor_parks(rayi_thread *thread, ray_actor *actor, bool parks)
{
    return afar_of(actor) ? NULL : rayi_workers_actor_park(thread, actor, parks);
}

/* ---- handles of other nodes' actors ---- */

static int submit(rayi_thread *thread, rayi_task *task, ray_actor *actor, const ray_task_options *options)
{
    return rayi_handles_submit(rayi_node_of(thread)->cluster, thread, task, actor, options);
}

static void release_actor(rayi_thread *thread, ray_actor *actor)
{
    rayi_handles_release(rayi_node_of(thread)->cluster, actor);
}

static int kill_actor(rayi_thread *thread, ray_actor *actor, bool may_restart)
{
    return rayi_handles_kill(rayi_node_of(thread)->cluster, actor, may_restart);
}

static rayi_record *actor_ready(rayi_thread *thread, ray_actor *actor)
{
    return rayi_handles_ready(rayi_node_of(thread)->cluster, thread, actor);
}

/* Its actor's owner ends the call. */
static int cancel(rayi_thread *thread, rayi_record *record, unsigned flags)
{
    (void)rayi_record_ask_cancel(record, !(flags & RAY_CANCEL_ONLY_THIS));
    rayi_away_cancel(rayi_node_of(thread)->cluster, record);
    return 0;
}

const rayi_outside rayi_node_neighbours = {
    .submit = submit, .release_actor = release_actor, .kill = kill_actor, .actor_ready = actor_ready, .cancel = cancel};
