/* Actions, their words, and what there is to see from outside. */
#include <inttypes.h>
#include <stdio.h>

#include "scheduler/inside.h"

/* ---- grants and refusals: the outbox ---- */

static void write_gpus(rayi_scheduler *scheduler, const rayi_request *request)
{
    char *room = scheduler->gpu_text;
    *room = 0;
    for (uint32_t i = 0; i < request->demand->key.shape->gpu_places; i++)
        room += sprintf(room, "%s%s", i ? "," : "", scheduler->gpu_ids[request->tail[i]]);
}

static void fetch_grant(rayi_scheduler *scheduler, rayi_request *request, rayi_scheduler_action *out)
{
    rayi_group *group = request->demand->key.group;
    request->state = rayi_request_next(request->state, RAYI_REQUEST_FETCH);
    if (group)
        rayi_request_append(&group->granted, request);
    write_gpus(scheduler, request);
    *out = (rayi_scheduler_action){.what = RAYI_SCHEDULER_GRANT,
                                   .id = request->id,
                                   .group = group ? group->id : 0,
                                   .bundle = request->bundle,
                                   .resources = request->demand->key.shape->text,
                                   .gpus = scheduler->gpu_text};
}

static void say_removed(rayi_scheduler *scheduler, const rayi_group *group)
{
    char name[RAYI_RESOURCE_NAME_MAX + 3];
    rayi_group_describe(group, name, sizeof name);
    snprintf(scheduler->message, sizeof scheduler->message, "placement group %s was removed", name);
}

static void fetch_refusal(rayi_scheduler *scheduler, rayi_request *request, rayi_scheduler_action *out)
{
    *out = (rayi_scheduler_action){.what = RAYI_SCHEDULER_REFUSE, .id = request->id, .message = scheduler->message};
    if (request->demand) {
        const rayi_group *group = request->demand->key.group;
        out->code = RAY_ERR_GROUP_REMOVED;
        out->group = group->id;
        say_removed(scheduler, group);
    } else {
        out->code = request->code;
        strcpy(scheduler->message, (const char *)request->tail);
    }
    request->state = rayi_request_next(request->state, RAYI_REQUEST_FETCH);
    rayi_request_free(scheduler, request);
}

static void fetch_loss(rayi_scheduler *scheduler, rayi_request *request, rayi_scheduler_action *out)
{
    const rayi_group *group = request->demand->key.group;
    request->lost = 0;
    say_removed(scheduler, group);
    *out = (rayi_scheduler_action){.what = RAYI_SCHEDULER_LOST,
                                   .code = RAY_ERR_GROUP_REMOVED,
                                   .id = request->id,
                                   .group = group->id,
                                   .message = scheduler->message};
}

static bool fetch_outbox(rayi_scheduler *scheduler, rayi_scheduler_action *out)
{
    rayi_request *request = scheduler->outbox.head;
    if (!request)
        return false;
    rayi_request_unlink(&scheduler->outbox, request);
    switch ((rayi_request_state)request->state) {
    case RAYI_REQUEST_OFFERED:
        fetch_grant(scheduler, request, out);
        return true;
    case RAYI_REQUEST_REFUSED:
        fetch_refusal(scheduler, request, out);
        return true;
    case RAYI_REQUEST_GRANTED:
    case RAYI_REQUEST_BLOCKED:
        fetch_loss(scheduler, request, out);
        return true;
    case RAYI_REQUEST_WAITING:
    case RAYI_REQUEST_GONE:
        break;
    }
    RAYI_ASSERT(!"what waits or is gone is not in the outbox");
}

/* ---- groups that are ready, warnings ---- */

static bool fetch_ready(rayi_scheduler *scheduler, rayi_scheduler_action *out)
{
    if (!scheduler->ready_groups)
        return false;
    rayi_group *group = scheduler->groups;
    while (!group->ready)
        group = group->hh.next;
    group->ready = false;
    scheduler->ready_groups--;
    *out = (rayi_scheduler_action){.what = RAYI_SCHEDULER_GROUP_READY, .group = group->id};
    return true;
}

static void say_shortage(char *out, size_t size, const char *who, const rayi_shape *shape)
{
    char wanted[RAYI_AMOUNT_TEXT], total[RAYI_AMOUNT_TEXT];
    rayi_amount_format(wanted, shape->short_of, shape->short_amount);
    rayi_amount_format(total, shape->short_of, shape->short_total);
    snprintf(out, size, "%s asks for %s=%s, but the cluster has %s in total; it waits", who, shape->short_of, wanted,
             total);
}

static void warn_of_demand(rayi_scheduler *scheduler, const rayi_demand *demand, rayi_scheduler_action *out)
{
    const rayi_shape *shape = demand->key.shape;
    if (shape->short_of)
        say_shortage(scheduler->message, sizeof scheduler->message, "a task or actor", shape);
    else
        snprintf(
            scheduler->message, sizeof scheduler->message,
            "a task or actor asks for a node with \"%s\", but there is none (the labels here are \"%s\"); it waits",
            demand->key.choice->unmet, scheduler->labels->text);
    *out = (rayi_scheduler_action){.what = RAYI_SCHEDULER_WARN,
                                   .id = demand->list.head->id,
                                   .group = demand->key.group ? demand->key.group->id : 0,
                                   .message = scheduler->message};
}

static void warn_of_group(rayi_scheduler *scheduler, const rayi_group *group, rayi_scheduler_action *out)
{
    char name[RAYI_RESOURCE_NAME_MAX + 3], who[RAYI_RESOURCE_NAME_MAX + 32];
    rayi_group_describe(group, name, sizeof name);
    snprintf(who, sizeof who, "placement group %s", name);
    if (group->sum->short_of)
        say_shortage(scheduler->message, sizeof scheduler->message, who, group->sum);
    else if (group->strategy == RAYI_STRATEGY_STRICT_SPREAD && group->bundle_count > 1)
        snprintf(scheduler->message, sizeof scheduler->message,
                 "%s asks for %" PRIu32 " nodes, one for each bundle (STRICT_SPREAD), but there is 1; it waits", who,
                 group->bundle_count);
    else
        snprintf(scheduler->message, sizeof scheduler->message,
                 "%s asks for shares of GPUs that do not go into the %" PRIu32 " there are; it waits", who,
                 scheduler->gpu_count);
    *out = (rayi_scheduler_action){.what = RAYI_SCHEDULER_WARN, .group = group->id, .message = scheduler->message};
}

static bool fetch_warning(rayi_scheduler *scheduler, rayi_scheduler_action *out)
{
    for (size_t i = 0; scheduler->warn && i < scheduler->candidate_count; i++) {
        rayi_candidate *candidate = scheduler->candidates[i];
        if (!rayi_candidate_is_infeasible(candidate) || *rayi_candidate_warned(candidate) ||
            scheduler->now_ms - rayi_candidate_since(candidate) < RAYI_SCHEDULER_WARN_MS)
            continue;
        *rayi_candidate_warned(candidate) = true;
        if (candidate->is_group)
            warn_of_group(scheduler, (rayi_group *)candidate, out);
        else
            warn_of_demand(scheduler, (rayi_demand *)candidate, out);
        return true;
    }
    scheduler->warn = false;
    return false;
}

static bool fetch_lane(rayi_scheduler *scheduler, rayi_scheduler_action *out)
{
    rayi_lane_trade *lane = &scheduler->lane;
    uint32_t *slots = lane->give ? &lane->give : &lane->ask;
    if (*slots == 0)
        return false;
    *out = (rayi_scheduler_action){.what = lane->give ? RAYI_SCHEDULER_LANE_GIVE : RAYI_SCHEDULER_LANE_ASK,
                                   .slots = *slots};
    *slots = 0;
    return true;
}

bool rayi_scheduler_next(rayi_scheduler *scheduler, rayi_scheduler_action *out)
{
    if (scheduler->dirty)
        rayi_plan(scheduler);
    return fetch_ready(scheduler, out) || fetch_outbox(scheduler, out) || fetch_lane(scheduler, out) ||
           fetch_warning(scheduler, out);
}

/* ---- what there is ---- */

uint32_t rayi_scheduler_resource_count(const rayi_scheduler *scheduler)
{
    return scheduler->kind_count;
}

rayi_scheduler_resource rayi_scheduler_resource_at(const rayi_scheduler *scheduler, uint32_t index)
{
    RAYI_ASSERT(index < scheduler->kind_count);
    return (rayi_scheduler_resource){.name = scheduler->kinds[index],
                                     .total = scheduler->totals[index],
                                     .available = RAYI_MAX(0, scheduler->stock.available[index])};
}

uint32_t rayi_scheduler_lane_slots(const rayi_scheduler *scheduler)
{
    return scheduler->lane.held;
}

static rayi_scheduler_group_row group_row(const rayi_group *group)
{
    return (rayi_scheduler_group_row){.id = group->id,
                                      .name = group->name,
                                      .state = group->state,
                                      .strategy = group->strategy,
                                      .bundle_count = group->bundle_count};
}

void rayi_scheduler_groups(const rayi_scheduler *scheduler, void (*fn)(void *arg, const rayi_scheduler_group_row *row),
                           void *arg)
{
    for (const rayi_group *group = scheduler->groups; group; group = group->hh.next) {
        rayi_scheduler_group_row row = group_row(group);
        fn(arg, &row);
    }
}

bool rayi_scheduler_group_get(const rayi_scheduler *scheduler, uint64_t id, rayi_scheduler_group_row *out)
{
    const rayi_group *group = rayi_group_find(scheduler, id);
    if (group)
        *out = group_row(group);
    return group != NULL;
}

void rayi_scheduler_demand(const rayi_scheduler *scheduler, void (*fn)(void *arg, const rayi_scheduler_demand_row *row),
                           void *arg)
{
    for (const rayi_demand *demand = scheduler->demands; demand; demand = demand->hh.next) {
        if (demand->waiting == 0)
            continue;
        const rayi_demand_key *key = &demand->key;
        rayi_scheduler_demand_row row = {.resources = key->shape->text,
                                         .labels = key->choice ? key->choice->text : "",
                                         .group = key->group ? key->group->id : 0,
                                         .bundle = key->bundle,
                                         .priority = key->priority,
                                         .count = demand->waiting,
                                         .waited_ms = scheduler->now_ms - demand->list.head->since_ms,
                                         .infeasible = rayi_candidate_is_infeasible(&demand->candidate)};
        fn(arg, &row);
    }
}
