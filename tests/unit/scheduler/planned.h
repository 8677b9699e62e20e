/* A planner under test, its nodes by number, and its actions as text: "1 to 2; 3 ahead to 2; refuse 4: …; warn 5: …".
 */
#ifndef TEST_PLANNED_H
#define TEST_PLANNED_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "counted.h"
#include "numbered.h"

typedef struct plans {
    counted heap;
    rayi_planner *planner;
    int64_t now_ms;
    char told[8192];
} plans;

static inline void plans_init(plans *p)
{
    counted_init(&p->heap);
    p->now_ms = 1000;
    cr_assert_eq(rayi_planner_new(&p->heap.memory, 0, &p->planner), 0);
}

static inline void plans_fini(plans *p)
{
    rayi_planner_free(p->planner);
    cr_assert_eq(p->heap.live, 0, "%ld blocks are left", p->heap.live);
}

/* What `node` says beyond number, resources and what of them is available (NULL: all). */
static inline int put_as(plans *p, uint32_t number, const char *total, const char *available, rayi_planner_node node)
{
    offer o;
    node.id = node_of(number);
    node.tag = number;
    offer_init(&o, &node, total, available);
    int r = rayi_planner_node_put(p->planner, &node, p->now_ms);
    offer_fini(&o);
    return r;
}

#define PUT_AS(p, number, total, available, ...)                                                                       \
    cr_assert_eq(put_as((p), (number), (total), (available), (rayi_planner_node){__VA_ARGS__}), 0)
#define PUT(p, number, total) PUT_AS(p, number, total, NULL, .load = 0)
/* Node 0 is this one. */
#define PUT_SELF(p, total) PUT_AS(p, 0, total, NULL, .flags = RAYI_PLANNER_SELF)

static inline int plan_as(plans *p, uint64_t id, const char *resources, const char *labels,
                          rayi_planner_request request)
{
    rayi_resources *wanted = parsed(resources);
    rayi_selector *selector;
    cr_assert_eq(rayi_selector_parse(rayi_heap, labels, &selector, NULL, 0), 0);
    request.id = id;
    request.resources = wanted;
    request.labels = selector;
    int r = rayi_planner_submit(p->planner, &request, p->now_ms);
    rayi_resources_free(rayi_heap, wanted);
    rayi_selector_free(rayi_heap, selector);
    return r;
}

#define PLAN_AS(p, id, resources, labels, ...)                                                                         \
    cr_assert_eq(plan_as((p), (id), (resources), (labels), (rayi_planner_request){__VA_ARGS__}), 0)
#define PLAN(p, id, resources) PLAN_AS(p, id, resources, NULL, .priority = 0)

static inline int planned_as_text(const rayi_planner_action *action, char *out, size_t size)
{
    switch (action->what) {
    case RAYI_PLANNER_ASSIGN:
        cr_assert_eq(action->tag, number_of(&action->node));
        return snprintf(out, size, "%" PRIu64 "%s to %" PRIu32, action->id, action->ahead ? " ahead" : "",
                        number_of(&action->node));
    case RAYI_PLANNER_REFUSE:
        cr_assert_eq(action->code, RAY_ERR_UNSCHEDULABLE);
        return snprintf(out, size, "refuse %" PRIu64 ": %s", action->id, action->message);
    case RAYI_PLANNER_WARN:
        return snprintf(out, size, "warn %" PRIu64 ": %s", action->id, action->message);
    }
    return 0;
}

/* All actions there are now. */
static inline const char *planned(plans *p)
{
    rayi_planner_action action;
    size_t used = 0;
    p->told[0] = 0;
    while (rayi_planner_next(p->planner, &action)) {
        if (used)
            used += (size_t)snprintf(p->told + used, sizeof p->told - used, "; ");
        used += (size_t)planned_as_text(&action, p->told + used, sizeof p->told - used);
        cr_assert_lt(used, sizeof p->told);
    }
    return p->told;
}

#define PLANNED(p, want) cr_expect_str_eq(planned(p), (want), "told \"%s\", expected \"%s\"", (p)->told, (want))

static inline void plans_pass_ms(plans *p, int64_t ms)
{
    p->now_ms += ms;
    rayi_planner_tick(p->planner, p->now_ms);
}

static inline void end(plans *p, uint64_t id)
{
    rayi_planner_finished(p->planner, id, p->now_ms);
}

static inline void come_back(plans *p, uint64_t id, rayi_planner_return why)
{
    rayi_planner_returned(p->planner, id, why, p->now_ms);
}

static inline void go(plans *p, uint32_t number)
{
    rayi_planner_id id = node_of(number);
    rayi_planner_node_gone(p->planner, &id, p->now_ms);
}

#endif
