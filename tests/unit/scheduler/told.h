/* A scheduler under test, and its actions as text: "grant 1 CPU=1, disk=1; ask 2; refuse 3 RAY_ERR_UNSCHEDULABLE: …".
 */
#ifndef TEST_TOLD_H
#define TEST_TOLD_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "counted.h"
#include "scheduler/scheduler.h"

typedef struct world {
    counted heap;
    rayi_scheduler *scheduler;
    int64_t now_ms;
    char told[8192];
} world;

static inline rayi_resources *resources_of(const char *text)
{
    rayi_resources *made;
    char why[256] = "";
    cr_assert_eq(rayi_resources_parse(rayi_heap, text, NULL, &made, why, sizeof why), 0, "%s", why);
    return made;
}

static inline void world_init(world *w, const char *total, const char *labels, const char *gpu_ids)
{
    char why[256] = "";
    rayi_resources *resources = resources_of(total);
    rayi_labels *parsed;
    counted_init(&w->heap);
    w->now_ms = 1000;
    cr_assert_eq(rayi_labels_parse(rayi_heap, labels, &parsed, why, sizeof why), 0, "%s", why);
    rayi_scheduler_options options = {.node_id = "here", .total = resources, .labels = parsed, .gpu_ids = gpu_ids};
    cr_assert_eq(rayi_scheduler_new(&w->heap.memory, &options, &w->scheduler, why, sizeof why), 0, "%s", why);
    rayi_resources_free(rayi_heap, resources);
    rayi_labels_free(rayi_heap, parsed);
}

static inline void world_fini(world *w)
{
    rayi_scheduler_free(w->scheduler);
    cr_assert_eq(w->heap.live, 0, "%ld blocks are left", w->heap.live);
}

/* Submits with what `request` says beyond id and resources. */
static inline int submit_as(world *w, uint64_t id, const char *resources, rayi_scheduler_request request)
{
    request.id = id;
    rayi_resources *parsed = resources_of(resources);
    request.resources = parsed;
    int r = rayi_scheduler_submit(w->scheduler, &request, w->now_ms);
    rayi_resources_free(rayi_heap, parsed);
    return r;
}

#define SUBMIT_AS(w, id, resources, ...)                                                                               \
    cr_assert_eq(submit_as((w), (id), (resources), (rayi_scheduler_request){__VA_ARGS__}), 0)
#define SUBMIT(w, id, resources) SUBMIT_AS(w, id, resources, .priority = 0)

static inline int tell(const rayi_scheduler_action *action, char *out, size_t size)
{
    switch (action->what) {
    case RAYI_SCHEDULER_GRANT:
        if (action->bundle)
            return snprintf(out, size, "grant %" PRIu64 " %s%s%s of %" PRIu64 ".%" PRIu32, action->id,
                            action->resources, *action->gpus ? " on " : "", action->gpus, action->group,
                            action->bundle);
        return snprintf(out, size, "grant %" PRIu64 " %s%s%s", action->id, action->resources,
                        *action->gpus ? " on " : "", action->gpus);
    case RAYI_SCHEDULER_REFUSE:
        return snprintf(out, size, "refuse %" PRIu64 " %d: %s", action->id, action->code, action->message);
    case RAYI_SCHEDULER_LOST:
        return snprintf(out, size, "lost %" PRIu64 " %d: %s", action->id, action->code, action->message);
    case RAYI_SCHEDULER_WARN:
        return snprintf(out, size, "warn %" PRIu64 ".%" PRIu64 ": %s", action->id, action->group, action->message);
    case RAYI_SCHEDULER_GROUP_READY:
        return snprintf(out, size, "ready %" PRIu64, action->group);
    case RAYI_SCHEDULER_LANE_GIVE:
        return snprintf(out, size, "give %" PRIu32, action->slots);
    case RAYI_SCHEDULER_LANE_ASK:
        return snprintf(out, size, "ask %" PRIu32, action->slots);
    }
    return 0;
}

/* All actions there are now. */
static inline const char *told(world *w)
{
    rayi_scheduler_action action;
    size_t used = 0;
    w->told[0] = 0;
    while (rayi_scheduler_next(w->scheduler, &action)) {
        if (used)
            used += (size_t)snprintf(w->told + used, sizeof w->told - used, "; ");
        used += (size_t)tell(&action, w->told + used, sizeof w->told - used);
        cr_assert_lt(used, sizeof w->told);
    }
    return w->told;
}

#define TOLD(w, want) cr_expect_str_eq(told(w), (want), "told \"%s\", expected \"%s\"", (w)->told, (want))

static inline void pass_ms(world *w, int64_t ms)
{
    w->now_ms += ms;
    rayi_scheduler_tick(w->scheduler, w->now_ms);
}

static inline int64_t available(const world *w, const char *name)
{
    for (uint32_t i = 0; i < rayi_scheduler_resource_count(w->scheduler); i++) {
        rayi_scheduler_resource row = rayi_scheduler_resource_at(w->scheduler, i);
        if (strcmp(row.name, name) == 0)
            return row.available;
    }
    return -1;
}

#endif
