/* Where the tasks of a node in a cluster go: what the planner is told and what it wants. A wish is in one place at a
 * time (enum rayi_where), and whoever has it is told when it is over. */
#include "raylet/inside.h"

#include <string.h>

#define SELF_MS 5

rayi_planner_id rayi_plan_id(const rayi_node_id *id)
{
    rayi_planner_id out;

    memcpy(out.bytes, id->bytes, sizeof out.bytes);
    return out;
}

/* ---- nodes ---- */

static bool is_memory(const char *name)
{
    return strcmp(name, "memory") == 0 || strcmp(name, "object_store_memory") == 0;
}

static bool has_cpu(const rayi_member_resource *resources, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(resources[i].name, "CPU") == 0 && resources[i].total > 0)
            return true;
    return false;
}

static void put(rayi_node *node, const rayi_member *member, unsigned flags, const rayi_member_resource *resources,
                uint32_t count, uint32_t load)
{
    rayi_planner_resource items[RAYI_MEMBER_RESOURCES_MAX];
    rayi_planner_node what = {.id = rayi_plan_id(&member->id),
                              .tag = member->incarnation,
                              .flags = flags,
                              .load = load,
                              .labels = member->labels,
                              .resources = items,
                              .resource_count = count};

    /* Memory alone does not make a node a place for work that asks for nothing. */
    what.resource_count = 0;
    if (!has_cpu(resources, count))
        what.flags |= RAYI_PLANNER_DRIVER;
    for (uint32_t i = 0; i < count; i++) {
        if ((what.flags & RAYI_PLANNER_DRIVER) && is_memory(resources[i].name))
            continue;
        items[what.resource_count++] = (rayi_planner_resource){
            .name = resources[i].name, .total = resources[i].total, .available = resources[i].available};
    }
    (void)rayi_planner_node_put(node->planner, &what, rayi_now_ms()); /* no memory: with the next table */
    (void)rayi_bundles_node_put(node->bundles, &what, rayi_now_ms());
}

static void put_member(void *arg, const rayi_member *member)
{
    rayi_node *node = arg;
    unsigned flags = 0;

    if (member->state == RAYI_NODE_DEAD || rayi_cluster_is_self(node->cluster, &member->id) ||
        rayi_cluster_is_broken(node->cluster, member))
        return;
    if (member->state == RAYI_NODE_SUSPECT)
        flags |= RAYI_PLANNER_SUSPECT;
    if (member->flags & RAYI_MEMBER_DRAINED)
        flags |= RAYI_PLANNER_DRAINED;
    if (member->flags & RAYI_MEMBER_DRIVER)
        flags |= RAYI_PLANNER_DRIVER;
    put(node, member, flags, member->resources, member->resource_count, member->load);
}

/* What this node has now, to the last task. */
static void put_self(rayi_node *node)
{
    rayi_member_resource items[RAYI_MEMBER_RESOURCES_MAX];
    rayi_member self = {.labels = node->labels};
    uint32_t load, count = rayi_cluster_load(node->executor, node->scheduler, items, &load);

    rayi_cluster_id_parse(rayi_executor_node_id(node->executor), &self.id);
    put(node, &self,
        RAYI_PLANNER_SELF | (node->is_driver ? RAYI_PLANNER_DRIVER : 0u) |
            (rayi_cluster_is_drained(node->cluster) ? RAYI_PLANNER_DRAINED : 0u),
        items, count, load);
}

void rayi_plan_changed(void *of)
{
    rayi_node *node = of;

    rayi_roster_each(rayi_cluster_roster(node->cluster), put_member, node);
    put_self(node); /* before anything asks to be here */
    rayi_wide_changed(node);
    rayi_overflow_changed(node);
    rayi_node_pump(node);
}

void rayi_plan_gone(void *of, const rayi_node_id *id)
{
    rayi_node *node = of;
    rayi_planner_id gone = rayi_plan_id(id);

    rayi_planner_node_gone(node->planner, &gone, rayi_now_ms());
    rayi_bundles_node_gone(node->bundles, &gone, rayi_now_ms());
    rayi_wide_gone(node, &gone);
    rayi_shared_gone(node, id);
    rayi_node_stir(node);
}

/* ---- wishes ---- */

/* Who knows of it: the planner of its group's bundles, if it has one. NULL: that group has ended. */
static rayi_planner *planner_of(const rayi_node *node, const rayi_wish *wish)
{
    return wish->is_wide ? rayi_wide_planner(node, wish) : node->planner;
}

int rayi_plan_submit(rayi_node *node, rayi_wish *wish)
{
    rayi_node_id affinity;
    rayi_planner_id wanted;
    const rayi_function *function = rayi_task_function(wish->task ? wish->task : rayi_actor_creation(wish->actor));
    rayi_planner_request request = {.id = wish->id,
                                    .resources = wish->resources,
                                    .labels = wish->labels,
                                    .node_soft = wish->node_soft,
                                    .spread = wish->spread,
                                    .priority = wish->priority,
                                    .function = rayi_function_number(function),
                                    .function_name = rayi_function_name(function)};
    rayi_planner_holder holders[RAYI_PLANNER_LOCAL_MOST];
    int r;

    if (wish->is_wide) {
        rayi_wide_submit(node, wish);
        return 0;
    }
    request.holders = holders;
    request.holder_count = wish->task ? rayi_cluster_holders(node->cluster, wish->task, holders) : 0;
    if (wish->node_id) {
        rayi_cluster_id_parse(wish->node_id, &affinity);
        wanted = rayi_plan_id(&affinity);
        request.node_id = &wanted;
        request.node_may_come = strlen(wish->node_id) == 2 * sizeof affinity.bytes &&
                                !rayi_roster_get(rayi_cluster_roster(node->cluster), &affinity);
    }
    r = rayi_planner_submit(node->planner, &request, rayi_now_ms());
    if (r == 0)
        wish->where = RAYI_WISH_PLANNED;
    return r;
}

/* What another node has submitted was planned there, and does not go on from here. */
bool rayi_plan_is_for(const rayi_node *node, const rayi_wish *wish)
{
    return node->cluster && wish->task && (!wish->group || wish->is_wide) &&
           !(atomic_load_explicit(&wish->task->head.state, memory_order_relaxed) & RAYI_HOSTED);
}

void rayi_plan_refused(rayi_node *node, rayi_wish *wish, int code)
{
    rayi_planner *planner = planner_of(node, wish);

    wish->where = RAYI_WISH_NOWHERE;
    if (!planner) /* it is refused when it is submitted again */
        return;
    if (wish->is_wide)
        rayi_wide_refused(node, wish, code);
    rayi_planner_returned(planner, wish->id,
                          code == RAY_ERR_UNKNOWN_FUNCTION ? RAYI_PLANNER_LACKS
                          : code == RAY_ERR_SHUTDOWN       ? RAYI_PLANNER_DRAINING
                                                           : RAYI_PLANNER_FULL,
                          rayi_now_ms());
    wish->where = RAYI_WISH_PLANNED;
}

/* This node is out of its cluster: nobody will ever take what waits. */
void rayi_plan_left(rayi_node *node, rayi_wish *wish)
{
    const ray_error *why = rayi_error_public(node->left);

    rayi_plan_over(node, wish);
    rayi_plan_refuse(node, wish, why->code, why->message);
}

void rayi_plan_leave(rayi_node *node)
{
    rayi_wish *wish, *next;

    HASH_ITER (hh, node->wishes, wish, next) {
        if (wish->where == RAYI_WISH_PLANNED)
            rayi_plan_left(node, wish);
    }
    rayi_node_pump(node);
}

/* Actors that nobody has taken are not waited for; tasks end with the ledger. */
void rayi_plan_stop(rayi_node *node)
{
    rayi_wish *wish, *next;

    HASH_ITER (hh, node->wishes, wish, next) {
        if (!wish->actor || wish->where != RAYI_WISH_PLANNED)
            continue;
        rayi_plan_over(node, wish);
        rayi_plan_refuse(node, wish, RAY_ERR_SHUTDOWN, RAYI_PLAN_SHUTDOWN);
    }
}

/* It waits no more, or has ended, wherever it was. */
void rayi_plan_over(rayi_node *node, rayi_wish *wish)
{
    rayi_planner *planner = planner_of(node, wish);

    if (planner && wish->where == RAYI_WISH_PLANNED)
        (void)rayi_planner_remove(planner, wish->id);
    else if (planner && (wish->where == RAYI_WISH_AWAY || wish->is_assigned))
        rayi_planner_finished(planner, wish->id, rayi_now_ms());
    node->self_changed |= wish->where == RAYI_WISH_HERE;
    wish->is_assigned = false;
    wish->where = RAYI_WISH_NOWHERE;
}

void rayi_plan_inherit(rayi_node *node, rayi_wish *wish, int32_t priority)
{
    rayi_planner *planner = planner_of(node, wish);

    if (planner)
        (void)rayi_planner_inherit(planner, wish->id, priority);
}

void rayi_plan_lent(rayi_node *node, rayi_wish *wish)
{
    rayi_planner *planner = planner_of(node, wish);

    if (planner && wish->is_assigned)
        rayi_planner_finished(planner, wish->id, rayi_now_ms());
    wish->is_assigned = false;
}

void rayi_plan_refuse(rayi_node *node, rayi_wish *wish, int code, const char *message)
{
    wish->where = RAYI_WISH_NOWHERE;
    if (wish->actor)
        rayi_afar_unplaceable(wish, code, message);
    else
        rayi_escape_refused(node, wish, code, message);
}

/* ---- what the planners want ---- */

static void assign(rayi_node *node, rayi_wish *wish, const rayi_planner_action *action)
{
    bool is_here;

    wish->is_assigned = true;
    if (!wish->is_wide) {
        memcpy(wish->there.bytes, action->node.bytes, sizeof wish->there.bytes);
    } else if (!rayi_wide_place(node, wish, &action->node)) {
        wish->is_assigned = false;
        rayi_plan_refused(node, wish, RAY_ERR_NODE_DIED);
        return;
    }
    if (wish->actor) {
        rayi_afar_assigned(wish);
        return;
    }
    is_here =
        !rayi_function_is_abroad(rayi_task_function(wish->task)); /* else it goes round, to what may be here now */
    if (is_here && rayi_cluster_is_self(node->cluster, &wish->there)) {
        if (wish->is_wide && !rayi_wide_admits(node, wish)) {
            rayi_plan_refused(node, wish, RAY_ERR_LIMIT);
            return;
        }
        wish->where = RAYI_WISH_HERE;
        rayi_escape_assigned_here(node, wish);
        node->self_changed = true;
    } else {
        wish->where = RAYI_WISH_AWAY;
        rayi_ledger_granted(node->ledger, wish->id);
    }
}

static void obey(rayi_node *node, const rayi_planner_action *action)
{
    rayi_wish *wish = NULL;

    if (action->what == RAYI_PLANNER_WARN) {
        rayi_log(RAY_LOG_WARNING, "task.unplaceable", rayi_executor_node_id(node->executor), "%s", action->message);
        return;
    }
    HASH_FIND(hh, node->wishes, &action->id, sizeof action->id, wish);
    RAYI_ASSERT(wish);
    if (action->what == RAYI_PLANNER_ASSIGN) {
        assign(node, wish, action);
    } else {
        rayi_plan_refuse(node, wish, action->code, action->message);
    }
}

bool rayi_plan_pump(rayi_node *node)
{
    rayi_planner_action action;
    int64_t now = rayi_now_ms();
    bool any = false;

    if (!node->planner)
        return false;
    /* The lane's slots change without a word, but when none was free. If nothing waits there may be refusals still. */
    if (rayi_planner_waiting(node->planner) > 0 || rayi_bundles_waiting(node->bundles) > 0) {
        (void)rayi_lane_watch_slots(rayi_executor_lane(node->executor)); /* before they are counted: none is missed */
        if (node->self_changed || now >= node->self_put_ms + SELF_MS) {
            node->self_changed = false;
            node->self_put_ms = now;
            put_self(node);
        }
    }
    while (rayi_planner_next(node->planner, &action) || rayi_wide_next(node, &action)) {
        obey(node, &action);
        any = true;
    }
    return any;
}
