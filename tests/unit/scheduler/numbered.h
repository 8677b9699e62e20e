/* Nodes by number, and what they offer as text: for tests of those who choose nodes. */
#ifndef TEST_NUMBERED_H
#define TEST_NUMBERED_H

#include <criterion/criterion.h>

#include "scheduler/scheduler.h"

/* "0000…0005" */
static inline rayi_planner_id node_of(uint32_t number)
{
    rayi_planner_id id = {{0}};
    id.bytes[14] = (uint8_t)(number >> 8);
    id.bytes[15] = (uint8_t)number;
    return id;
}

static inline uint32_t number_of(const rayi_planner_id *id)
{
    return (uint32_t)id->bytes[14] << 8 | id->bytes[15];
}

static inline rayi_resources *parsed(const char *text)
{
    rayi_resources *made;
    char why[256] = "";
    cr_assert_eq(rayi_resources_parse(rayi_heap, text, NULL, &made, why, sizeof why), 0, "%s", why);
    return made;
}

/* What a node offers; available NULL: all of it. */
typedef struct offer {
    rayi_planner_resource rows[16];
    rayi_resources *all, *some;
} offer;

static inline void offer_init(offer *o, rayi_planner_node *node, const char *total, const char *available)
{
    o->all = parsed(total);
    o->some = parsed(available ? available : total);
    for (uint32_t i = 0; i < o->all->count; i++)
        o->rows[i] = (rayi_planner_resource){o->all->items[i].name, o->all->items[i].amount,
                                             rayi_resources_amount(o->some, o->all->items[i].name)};
    node->resources = o->rows;
    node->resource_count = o->all->count;
}

static inline void offer_fini(offer *o)
{
    rayi_resources_free(rayi_heap, o->all);
    rayi_resources_free(rayi_heap, o->some);
}

#endif
