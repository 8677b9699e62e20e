/* Placement groups over the nodes of a cluster. On which nodes bundles are is decided by a brain (scheduler/bundles.h)
 * of the node that owns the group, which task goes to which bundle by another: a planner of the group's own, to which a
 * bundle is what a node is to the node's planner. A bundle that is not reserved, or not any more, is to it a suspect
 * node: tasks for it wait. A node that knows a group of another one (shared.c) has such a planner of its own for it,
 * and the owner's word where the bundles are.
 *
 * A node that keeps room for a part has a group of its scheduler for it (part_new), in which tasks of the owner run as
 * tasks in a group of one node do; so does the owner, for parts that are here. What a task there lends while it is
 * blocked its node's scheduler counts; the planner takes it for ended (rayi_plan_lent), and sends what may wait there.
 *
 * All of it is the loop's. */
#include "raylet/inside.h"

#include <stdio.h>
#include <string.h>

#define FULL_MS 50 /* then what was refused is sent once more */

typedef struct rayi_wide {
    UT_hash_handle hh; /* in node.wides, by number */
    uint64_t number;
    ray_placement_group *group; /* counted by node.groups */
    rayi_planner *planner;
    rayi_strategy strategy;
    bool is_begun, is_placed, was_refused;
    bool has_strangers; /* a bundle is on a node that no table has told of yet */
    int64_t again_ms;   /* INT64_MAX: nothing was refused that time may mend */
    uint32_t count;
    uint64_t *parts;           /* [count]: where the planner believes each bundle to be; 0: nowhere */
    rayi_bundle_place *places; /* [count]: of a group of another node's, as it says; of ours NULL */
    rayi_resources *bundles[];
} rayi_wide;

static rayi_wide *find(const rayi_node *node, uint64_t number)
{
    rayi_wide *w;

    HASH_FIND(hh, node->wides, &number, sizeof number, w);
    return w;
}

rayi_planner *rayi_wide_planner(const rayi_node *node, const rayi_wish *wish)
{
    rayi_wide *w = find(node, wish->group);

    return w ? w->planner : NULL;
}

static bool is_there(const rayi_node *node, const rayi_planner_id *at)
{
    const rayi_member *member;
    rayi_node_id id;

    memcpy(id.bytes, at->bytes, sizeof id.bytes);
    member = rayi_find_alive(node, &id);
    return member && !rayi_cluster_is_broken(node->cluster, member);
}

/* Where a bundle, from 1, is reserved. False: nowhere. The owner of a group may know of nodes that are not in the table
 * here yet, or still believe in one that is dead, or broken to this one; until it is otherwise nothing can be sent
 * there. */
static bool place_of(const rayi_node *node, const rayi_wide *w, uint32_t number, rayi_bundle_place *out)
{
    if (!w->places)
        return rayi_bundles_place(node->bundles, w->number, number, out);
    *out = w->places[number - 1];
    return out->part != 0 && is_there(node, &out->node);
}

/* ---- bundles as nodes of a planner ---- */

static rayi_planner_id id_of_bundle(uint32_t number)
{
    rayi_planner_id id = {0};

    memcpy(id.bytes, &number, sizeof number);
    return id;
}

static uint32_t bundle_of_id(const rayi_planner_id *id)
{
    uint32_t number;

    memcpy(&number, id->bytes, sizeof number);
    return number;
}

static const char *labels_of(const rayi_node *node, const rayi_planner_id *at)
{
    const rayi_member *member;
    rayi_node_id id;

    memcpy(id.bytes, at->bytes, sizeof id.bytes);
    if (rayi_cluster_is_self(node->cluster, &id))
        return node->labels;
    member = rayi_roster_get(rayi_cluster_roster(node->cluster), &id);
    return member ? member->labels : NULL;
}

static int put_bundle(const rayi_node *node, rayi_wide *w, uint32_t number, const rayi_bundle_place *place)
{
    const rayi_resources *has = w->bundles[number - 1];
    rayi_planner_resource items[RAYI_RESOURCES_MAX];
    rayi_planner_node what = {.id = id_of_bundle(number),
                              .flags = place ? 0 : RAYI_PLANNER_SUSPECT,
                              .labels = place ? labels_of(node, &place->node) : NULL,
                              .resources = items,
                              .resource_count = has->count};

    for (uint32_t i = 0; i < has->count; i++)
        items[i] = (rayi_planner_resource){
            .name = has->items[i].name, .total = has->items[i].amount, .available = place ? has->items[i].amount : 0};
    return rayi_planner_node_put(w->planner, &what, rayi_now_ms());
}

/* Tells the planner which bundles have come and gone. Out of memory a bundle is left out until the next change. */
static void tell_planner(rayi_node *node, rayi_wide *w)
{
    w->has_strangers = false;
    for (uint32_t i = 0; i < w->count; i++) {
        rayi_bundle_place place;
        bool is_known = place_of(node, w, i + 1, &place);
        uint64_t part = is_known ? place.part : 0;
        w->has_strangers |= w->places && w->places[i].part && !is_known;
        if (part == w->parts[i] || put_bundle(node, w, i + 1, is_known ? &place : NULL) < 0)
            continue;
        if (w->parts[i]) { /* what that node lacked the next one may have */
            rayi_planner_id id = id_of_bundle(i + 1);
            rayi_planner_node_functions_changed(w->planner, &id);
        }
        w->parts[i] = part;
    }
}

void rayi_wide_forget_lacks(rayi_node *node)
{
    for (rayi_wide *w = node->wides; w; w = w->hh.next)
        for (uint32_t i = 0; i < w->count; i++) {
            rayi_planner_id id = id_of_bundle(i + 1);
            rayi_planner_node_functions_changed(w->planner, &id);
        }
}

void rayi_wide_knows(rayi_node *node, const rayi_node_id *there, uint32_t function)
{
    for (rayi_wide *w = node->wides; w; w = w->hh.next)
        for (uint32_t i = 0; i < w->count; i++) {
            rayi_planner_id id = id_of_bundle(i + 1);
            rayi_bundle_place place;
            if (place_of(node, w, i + 1, &place) && memcmp(place.node.bytes, there->bytes, sizeof there->bytes) == 0)
                rayi_planner_node_knows(w->planner, &id, function);
        }
}

/* Others that know the group may have filled a bundle: what ends there they do not tell. Nor does a node tell that it
 * has memory again, or can be reached. */
void rayi_wide_refused(rayi_node *node, const rayi_wish *wish, int code)
{
    rayi_wide *w = find(node, wish->group);

    if (!w)
        return;
    w->was_refused = true;
    if (code != RAY_ERR_UNKNOWN_FUNCTION && code != RAY_ERR_SHUTDOWN && w->again_ms == INT64_MAX)
        w->again_ms = rayi_now_ms() + FULL_MS;
}

/* A planner takes a node that has refused for full until a table says otherwise. Of bundles there is none: what is not
 * ours in one is free, or may be. */
static void look_again(rayi_node *node, rayi_wide *w)
{
    bool any_is_used = false;

    if (!w->was_refused)
        return;
    for (uint32_t i = 0; i < w->count; i++) {
        rayi_planner_id id = id_of_bundle(i + 1);
        if (rayi_planner_outstanding(w->planner, &id) == 0) {
            w->parts[i] = 0; /* it is told anew */
            continue;
        }
        any_is_used = true;
        if (w->parts[i])
            rayi_planner_node_try_again(w->planner, &id);
    }
    tell_planner(node, w);
    w->was_refused = any_is_used;
}

void rayi_wide_changed(rayi_node *node)
{
    for (rayi_wide *w = node->wides; w; w = w->hh.next) {
        if (w->has_strangers)
            tell_planner(node, w);
        look_again(node, w);
    }
}

/* ---- making and ending ---- */

static void wide_free(rayi_node *node, rayi_wide *w)
{
    const rayi_memory *memory = rayi_heap;

    if (w->hh.tbl)
        HASH_DEL(node->wides, w);
    for (uint32_t i = 0; i < w->count; i++)
        rayi_resources_free(rayi_heap, w->bundles[i]);
    if (w->planner)
        rayi_planner_free(w->planner);
    rayi_free(w->parts);
    rayi_free(w->places);
    rayi_free(w);
}

static int fill(const rayi_node *node, rayi_wide *w, const rayi_scheduler_group *what)
{
    int r = rayi_planner_new(rayi_heap, 0, &w->planner);

    w->parts = rayi_zalloc(w->count * sizeof *w->parts);
    w->places = w->group->is_borrowed ? rayi_zalloc(w->count * sizeof *w->places) : NULL;
    if (r == 0 && (!w->parts || (w->group->is_borrowed && !w->places)))
        r = RAY_ERR_NO_MEMORY;
    for (uint32_t i = 0; r == 0 && i < w->count; i++) {
        r = rayi_resources_parse(rayi_heap, what->bundles[i]->text, NULL, &w->bundles[i], NULL, 0);
        if (r == 0)
            r = put_bundle(node, w, i + 1, NULL);
    }
    return r;
}

int rayi_wide_new(rayi_node *node, ray_placement_group *group, const rayi_scheduler_group *what)
{
    const rayi_memory *memory = rayi_heap;
    rayi_wide *w = rayi_zalloc(sizeof *w + what->bundle_count * sizeof *w->bundles);
    int r;

    if (!w)
        return RAY_ERR_NO_MEMORY;
    w->number = group->number;
    w->group = group;
    w->strategy = what->strategy;
    w->count = what->bundle_count;
    w->again_ms = INT64_MAX;
    r = fill(node, w, what);
    if (r == 0) {
        HASH_ADD(hh, node->wides, number, sizeof w->number, w);
        r = w->hh.tbl ? 0 : RAY_ERR_NO_MEMORY;
    }
    if (r < 0) {
        wide_free(node, w);
        return r;
    }
    group->is_wide = true;
    return 0;
}

int rayi_wide_begin(rayi_node *node, const ray_placement_group *group)
{
    rayi_wide *w = find(node, group->number);
    const rayi_scheduler_group what = {.id = w->number,
                                       .name = group->name,
                                       .bundles = (const rayi_resources *const *)w->bundles,
                                       .bundle_count = w->count,
                                       .strategy = w->strategy};
    int r = rayi_bundles_add(node->bundles, &what, rayi_now_ms());

    w->is_begun = r == 0;
    rayi_node_stir(node);
    return r;
}

void rayi_wide_describe(const rayi_node *node, const ray_placement_group *group, rayi_writer *writer)
{
    const rayi_wide *w = find(node, group->number);

    rayi_put_u8(writer, (uint8_t)w->strategy);
    rayi_put_u32(writer, w->count);
    for (uint32_t i = 0; i < w->count; i++)
        rayi_put_text(writer, w->bundles[i]->text);
}

static void end_wish(rayi_node *node, rayi_wish *wish, int code, const char *message)
{
    switch (wish->where) {
    case RAYI_WISH_NOWHERE: /* refused when it is submitted */
        break;
    case RAYI_WISH_PLANNED:
        rayi_plan_refuse(node, wish, code, message);
        break;
    case RAYI_WISH_HERE:
    case RAYI_WISH_AWAY:
        if (wish->actor)
            rayi_afar_unplaceable(wish, code, message);
        else
            rayi_escape_lost(node, wish, code, message);
        break;
    }
}

void rayi_wide_end(rayi_node *node, ray_placement_group *group, int code, const char *message)
{
    rayi_wide *w = find(node, group->number);
    rayi_wish *wish, *next;

    if (w->is_begun)
        (void)rayi_bundles_remove(node->bundles, w->number, rayi_now_ms());
    wide_free(node, w);
    HASH_ITER (hh, node->wishes, wish, next) {
        if (wish->is_wide && wish->group == group->number)
            end_wish(node, wish, code, message);
    }
}

void rayi_wide_free(rayi_node *node)
{
    RAYI_ASSERT(!node->wides && !node->parts);
    if (node->bundles)
        rayi_bundles_free(node->bundles);
    node->bundles = NULL;
}

/* ---- between who owns it and who knows it ---- */

bool rayi_wide_news(rayi_node *node, const ray_placement_group *group, const rayi_node_id *to)
{
    const rayi_wide *w = find(node, group->number);
    rayi_bundle_place *places = rayi_zalloc(w->count * sizeof *places);
    rayi_group_news news = {.group = w->number, .is_placed = w->is_placed, .count = w->count, .places = places};
    bool told;

    for (uint32_t i = 0; places && i < w->count; i++)
        if (!place_of(node, w, i + 1, &places[i]))
            places[i] = (rayi_bundle_place){0};
    told = places && rayi_groups_tell(node->cluster, to, &news);
    rayi_free(places);
    return told;
}

static void placed(rayi_node *node, rayi_wide *w, bool is_placed)
{
    w->is_placed = is_placed;
    tell_planner(node, w);
    if (is_placed && !rayi_record_done(rayi_group_waits(w->group)))
        rayi_record_complete(node->thread, rayi_group_waits(w->group));
}

bool rayi_wide_told(rayi_node *node, const ray_placement_group *group, const rayi_group_news *news)
{
    rayi_wide *w = find(node, group->number);

    if (news->count != w->count)
        return false;
    memcpy(w->places, news->places, w->count * sizeof *w->places);
    placed(node, w, news->is_placed);
    return true;
}

/* Its owner hears of that, too, and will say where they are then; that node may come again, the bundles will not. */
void rayi_wide_gone(rayi_node *node, const rayi_planner_id *id)
{
    for (rayi_wide *w = node->wides; w; w = w->hh.next) {
        bool any = false;
        for (uint32_t i = 0; w->places && i < w->count; i++)
            if (w->places[i].part && memcmp(&w->places[i].node, id, sizeof *id) == 0) {
                w->places[i] = (rayi_bundle_place){0};
                any = true;
            }
        if (any)
            placed(node, w, false);
    }
}

/* ---- wishes ---- */

static bool holds(const rayi_resources *bundle, const rayi_resources *wanted)
{
    for (uint32_t i = 0; i < wanted->count; i++)
        if (rayi_resources_amount(bundle, wanted->items[i].name) < wanted->items[i].amount)
            return false;
    return true;
}

/* Why it can never run in this group; 0: it may. */
static int judge(const rayi_wide *w, const rayi_wish *wish, char *why, size_t size)
{
    const char *name = w && w->group->name ? w->group->name : wish->group_id;

    if (!w) {
        snprintf(why, size, "placement group %s was removed", name);
        return RAY_ERR_GROUP_REMOVED;
    }
    if (wish->node_id && !wish->node_soft) {
        snprintf(why, size, "in placement group %s it goes where its bundle is: expected no node, but came %s", name,
                 wish->node_id);
        return RAY_ERR_UNSCHEDULABLE;
    }
    if (wish->bundle > w->count) {
        snprintf(why, size, "expected a bundle from 1 to %u of placement group %s, but came %u", (unsigned)w->count,
                 name, (unsigned)wish->bundle);
        return RAY_ERR_UNSCHEDULABLE;
    }
    for (uint32_t i = wish->bundle ? wish->bundle : 1; i <= (wish->bundle ? wish->bundle : w->count); i++)
        if (holds(w->bundles[i - 1], wish->resources))
            return 0;
    if (wish->bundle)
        snprintf(why, size, "\"%s\" is more than the \"%s\" of bundle %u of placement group %s", wish->resources->text,
                 w->bundles[wish->bundle - 1]->text, (unsigned)wish->bundle, name);
    else
        snprintf(why, size, "\"%s\" is more than any bundle of placement group %s holds", wish->resources->text, name);
    return RAY_ERR_UNSCHEDULABLE;
}

void rayi_wide_submit(rayi_node *node, rayi_wish *wish)
{
    rayi_wide *w = find(node, wish->group);
    const rayi_function *function = rayi_task_function(wish->task ? wish->task : rayi_actor_creation(wish->actor));
    rayi_planner_id bundle = id_of_bundle(wish->bundle);
    rayi_planner_request request = {.id = wish->id,
                                    .resources = wish->resources,
                                    .labels = wish->labels,
                                    .node_id = wish->bundle ? &bundle : NULL,
                                    .spread = wish->spread,
                                    .priority = wish->priority,
                                    .function = rayi_function_number(function),
                                    .function_name = rayi_function_name(function)};
    char why[512];
    int r = judge(w, wish, why, sizeof why);

    if (r == 0) {
        r = rayi_planner_submit(w->planner, &request, rayi_now_ms());
        snprintf(why, sizeof why, "out of memory: the queue of a placement group");
    }
    if (r < 0)
        rayi_plan_refuse(node, wish, r, why);
    else
        wish->where = RAYI_WISH_PLANNED;
}

/* Where a bundle that the planner has chosen is; false: it has gone meanwhile. */
bool rayi_wide_place(const rayi_node *node, rayi_wish *wish, const rayi_planner_id *bundle)
{
    const rayi_wide *w = find(node, wish->group);
    rayi_bundle_place place;

    if (!w || !place_of(node, w, bundle_of_id(bundle), &place))
        return false;
    memcpy(wish->there.bytes, place.node.bytes, sizeof wish->there.bytes);
    wish->part = place.part;
    wish->part_bundle = place.number;
    wish->owner = w->group->owner;
    return true;
}

/* ---- what the brains want ---- */

bool rayi_wide_next(rayi_node *node, rayi_planner_action *out)
{
    for (rayi_wide *w = node->wides; w; w = w->hh.next)
        if (rayi_planner_next(w->planner, out))
            return true;
    return false;
}

static void reserve(rayi_node *node, const rayi_bundles_action *action)
{
    const rayi_wide *w = find(node, action->group);
    const char **texts = rayi_alloc(action->count * sizeof *texts);
    const rayi_part_what what = {
        .group = w->number, .group_id = w->group->id, .bundles = texts, .count = action->count};
    rayi_node_id to;
    bool sent;

    memcpy(to.bytes, action->node.bytes, sizeof to.bytes);
    for (uint32_t i = 0; texts && i < action->count; i++)
        texts[i] = w->bundles[action->numbers[i] - 1]->text;
    sent = texts && rayi_parts_reserve(node->cluster, &to, action->part, &what);
    rayi_free((void *)texts);
    if (!sent)
        rayi_bundles_refused(node->bundles, &action->node, action->part, rayi_now_ms());
}

static void obey(rayi_node *node, const rayi_bundles_action *action)
{
    rayi_wide *w = action->group ? find(node, action->group) : NULL;
    rayi_node_id to;

    switch (action->what) {
    case RAYI_BUNDLES_RESERVE:
        reserve(node, action);
        break;
    case RAYI_BUNDLES_RELEASE:
        memcpy(to.bytes, action->node.bytes, sizeof to.bytes);
        if (!rayi_parts_release(node->cluster, &to, action->part))
            rayi_bundles_not_released(node->bundles, rayi_now_ms());
        break;
    case RAYI_BUNDLES_PLACED:
    case RAYI_BUNDLES_LOST:
        placed(node, w, action->what == RAYI_BUNDLES_PLACED);
        rayi_shared_changed(node, w->group);
        break;
    case RAYI_BUNDLES_WARN:
        rayi_log(RAY_LOG_WARNING, "group.unplaceable", rayi_executor_node_id(node->executor), "%s", action->message);
        break;
    }
}

bool rayi_wide_pump(rayi_node *node)
{
    rayi_bundles_action action;
    bool any = false;

    while (node->bundles && rayi_bundles_next(node->bundles, &action)) {
        obey(node, &action);
        any = true;
    }
    return rayi_shared_pump(node) || any;
}

void rayi_wide_tick(rayi_node *node, int64_t now_ms)
{
    if (node->bundles)
        rayi_bundles_tick(node->bundles, now_ms);
    for (rayi_wide *w = node->wides; w; w = w->hh.next) {
        if (w->again_ms <= now_ms) {
            w->again_ms = INT64_MAX;
            look_again(node, w);
        }
        rayi_planner_tick(w->planner, now_ms);
    }
}

int64_t rayi_wide_wake_ms(const rayi_node *node)
{
    int64_t next = node->bundles ? rayi_bundles_wake_ms(node->bundles) : INT64_MAX;

    for (const rayi_wide *w = node->wides; w; w = w->hh.next)
        next = RAYI_MIN(next, RAYI_MIN(w->again_ms, rayi_planner_wake_ms(w->planner)));
    return RAYI_MIN(next, rayi_shared_wake_ms(node));
}

void rayi_wide_each(const rayi_node *node, void (*fn)(void *arg, const rayi_wide_row *row), void *arg)
{
    for (const rayi_wide *w = node->wides; w; w = w->hh.next) {
        if (w->places)
            continue;
        rayi_wide_row row = {.group = w->group,
                             .was_placed = rayi_record_done(rayi_group_waits(w->group)),
                             .strategy = w->strategy,
                             .is_placed = w->is_placed,
                             .bundles = w->count};
        fn(arg, &row);
    }
}

/* ---- room that is kept here ---- */

static int start_part(rayi_node *node, ray_placement_group *group, const char *const *bundles, uint32_t count)
{
    rayi_resources **parsed = rayi_zalloc(count * sizeof *parsed);
    rayi_scheduler_group what = {.id = group->number,
                                 .bundles = (const rayi_resources *const *)parsed,
                                 .bundle_count = count,
                                 .strategy = RAYI_STRATEGY_PACK};
    int r = parsed ? 0 : RAY_ERR_NO_MEMORY;

    for (uint32_t i = 0; r == 0 && i < count; i++)
        r = rayi_resources_parse(rayi_heap, bundles[i], NULL, &parsed[i], NULL, 0);
    if (r == 0)
        r = rayi_scheduler_group_new(node->scheduler, &what, rayi_now_ms());
    for (uint32_t i = 0; parsed && i < count; i++)
        rayi_resources_free(rayi_heap, parsed[i]);
    rayi_free(parsed);
    return r;
}

ray_placement_group *rayi_part_new(void *of, const rayi_part_what *what, rayi_part *part)
{
    rayi_node *node = of;
    ray_placement_group *group = node->stopping ? NULL : rayi_group_alloc(node->thread, NULL, NULL);

    if (!group)
        return NULL;
    if (start_part(node, group, what->bundles, what->count) < 0) {
        rayi_record_unref(node->thread, &group->head);
        return NULL;
    }
    snprintf(group->id, sizeof group->id, "%s", what->group_id);
    group->owner = what->owner;
    group->known_as = what->group;
    group->part = part;
    group->next = node->parts;
    node->parts = group;
    rayi_node_stir(node);
    return group;
}

void rayi_part_free(void *of, ray_placement_group *group)
{
    rayi_node *node = of;
    ray_placement_group **at = &node->parts;

    while (*at != group)
        at = &(*at)->next;
    *at = group->next;
    (void)rayi_scheduler_group_remove(node->scheduler, group->number);
    rayi_record_unref(node->thread, &group->head);
    rayi_node_stir(node);
}

bool rayi_part_is_ready(rayi_node *node, uint64_t number)
{
    for (ray_placement_group *group = node->parts; group; group = group->next)
        if (group->number == number) {
            rayi_parts_ready(group->part);
            return true;
        }
    return false;
}

/* A planner fills a bundle of its own alone as well as it can. One that others use may be taken for as long as they
 * like, while another bundle is free: who could go there is not to stand in line here. */
static bool admits(ray_placement_group *group, const rayi_node_id *by, bool any_bundle)
{
    if (rayi_node_id_is_none(&group->user))
        group->user = *by;
    group->is_shared |= memcmp(&group->user, by, sizeof *by) != 0;
    return !any_bundle || !group->is_shared;
}

bool rayi_part_admits(void *of, ray_placement_group *group, const rayi_node_id *by, bool any_bundle, uint32_t bundle,
                      const char *resources)
{
    rayi_node *node = of;
    rayi_resources *parsed;
    bool has_room;

    if (admits(group, by, any_bundle))
        return true;
    if (rayi_resources_parse(rayi_heap, resources, &rayi_resources_one_cpu, &parsed, NULL, 0) < 0)
        return true; /* no memory, or none: that is found out when it is submitted */
    has_room = rayi_scheduler_group_has_room(node->scheduler, group->number, bundle, parsed);
    rayi_resources_free(rayi_heap, parsed);
    return has_room;
}

bool rayi_wide_admits(rayi_node *node, const rayi_wish *wish)
{
    ray_placement_group *group = rayi_parts_here(node->cluster, &wish->owner, wish->part);

    return !group || admits(group, &wish->there, wish->bundle == 0) ||
           rayi_scheduler_group_has_room(node->scheduler, group->number, wish->part_bundle, wish->resources);
}

void rayi_part_answered(void *of, const rayi_node_id *by, uint64_t part, bool reserved)
{
    rayi_node *node = of;
    rayi_planner_id id = rayi_plan_id(by);

    (reserved ? rayi_bundles_reserved : rayi_bundles_refused)(node->bundles, &id, part, rayi_now_ms());
    rayi_node_stir(node);
}
