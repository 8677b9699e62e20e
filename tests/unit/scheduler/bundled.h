/* Bundles under test, nodes by number, and actions as text: "1: 1,2 to 3 (part 1); release 1 at 3; 1 placed". */
#ifndef TEST_BUNDLED_H
#define TEST_BUNDLED_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>

#include "counted.h"
#include "numbered.h"

typedef struct bundled {
    counted heap;
    rayi_bundles *bundles;
    int64_t now_ms;
    rayi_planner_id asked[64]; /* by part: the node that was told to keep it */
    char told[8192];
} bundled;

static inline void bundled_init(bundled *b, uint64_t seed)
{
    counted_init(&b->heap);
    b->now_ms = 1000;
    cr_assert_eq(rayi_bundles_new(&b->heap.memory, seed, &b->bundles), 0);
}

static inline void bundled_fini(bundled *b)
{
    rayi_bundles_free(b->bundles);
    cr_assert_eq(b->heap.live, 0, "%ld blocks are left", b->heap.live);
}

/* available NULL: all. */
static inline int put_as(bundled *b, uint32_t number, const char *total, const char *available, unsigned flags)
{
    rayi_planner_node node = {.id = node_of(number), .flags = flags};
    offer o;
    offer_init(&o, &node, total, available);
    int r = rayi_bundles_node_put(b->bundles, &node, b->now_ms);
    offer_fini(&o);
    return r;
}

#define PUT(b, number, total) cr_assert_eq(put_as((b), (number), (total), NULL, 0), 0)

/* texts: "CPU=1; CPU=2; disk=1" */
static inline int add_as(bundled *b, uint64_t id, rayi_strategy strategy, const char *texts)
{
    rayi_resources *made[64];
    char copy[1024], *rest = copy, *one;
    rayi_scheduler_group group = {.id = id, .bundles = (const rayi_resources *const *)made, .strategy = strategy};
    snprintf(copy, sizeof copy, "%s", texts);
    while ((one = strsep(&rest, ";")))
        made[group.bundle_count++] = parsed(one);
    int r = rayi_bundles_add(b->bundles, &group, b->now_ms);
    for (uint32_t i = 0; i < group.bundle_count; i++)
        rayi_resources_free(rayi_heap, made[i]);
    return r;
}

#define ADD(b, id, strategy, texts) cr_assert_eq(add_as((b), (id), RAYI_STRATEGY_##strategy, (texts)), 0)

static inline void tell(bundled *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline void tell(bundled *b, const char *format, ...)
{
    size_t size = strlen(b->told);
    va_list args;
    va_start(args, format);
    vsnprintf(b->told + size, sizeof b->told - size, format, args);
    va_end(args);
}

static inline const char *told(bundled *b)
{
    rayi_bundles_action a;
    b->told[0] = 0;
    rayi_bundles_tick(b->bundles, b->now_ms);
    while (rayi_bundles_next(b->bundles, &a)) {
        if (*b->told)
            tell(b, "; ");
        switch (a.what) {
        case RAYI_BUNDLES_RESERVE:
            tell(b, "%" PRIu64 ": ", a.group);
            for (uint32_t i = 0; i < a.count; i++)
                tell(b, "%s%" PRIu32, i ? "," : "", a.numbers[i]);
            tell(b, " to %" PRIu32 " (part %" PRIu64 ")", number_of(&a.node), a.part);
            if (a.part < 64)
                b->asked[a.part] = a.node;
            break;
        case RAYI_BUNDLES_RELEASE:
            tell(b, "release %" PRIu64 " at %" PRIu32, a.part, number_of(&a.node));
            break;
        case RAYI_BUNDLES_PLACED:
            tell(b, "%" PRIu64 " placed", a.group);
            break;
        case RAYI_BUNDLES_LOST:
            tell(b, "%" PRIu64 " lost", a.group);
            break;
        case RAYI_BUNDLES_WARN:
            tell(b, "warn %s", a.message);
            break;
        }
    }
    return b->told;
}

/* The node that was asked says so. */
static inline void reserved(bundled *b, uint64_t part)
{
    rayi_bundles_reserved(b->bundles, &b->asked[part], part, b->now_ms);
}

static inline void refused(bundled *b, uint64_t part)
{
    rayi_bundles_refused(b->bundles, &b->asked[part], part, b->now_ms);
}

#define TOLD(b, text) cr_assert_str_eq(told(b), text)
#define AFTER(b, ms)  ((b)->now_ms += (ms))

#endif
