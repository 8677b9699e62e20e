/* What the files of bundles share. Inside scheduler only. */
#ifndef RAYI_SCHEDULER_BUNDLES_INSIDE_H
#define RAYI_SCHEDULER_BUNDLES_INSIDE_H

#include "scheduler/inside.h"

#define RAYI_BUNDLES_SHY_MOST 8

typedef struct rayi_bundles_part {
    struct rayi_bundles_part *prev, *next;       /* in its group's; once released, in the releases */
    struct rayi_bundles_part *on_prev, *on_next; /* in its node's */
    uint64_t number;
    struct rayi_bundles_group *group;
    struct rayi_bundles_node *node; /* NULL: it is gone, or the part is released */
    rayi_planner_id id;
    bool is_asked, is_reserved, is_settled; /* settled: its attempt has succeeded */
    uint32_t tables;                        /* that have come since it was reserved */
    uint32_t count;
    uint32_t numbers[]; /* of bundles, from 1 */
} rayi_bundles_part;

typedef struct rayi_bundles_item {
    const char *name;
    int64_t total, available;
} rayi_bundles_item;

typedef struct rayi_bundles_node {
    UT_hash_handle hh;
    rayi_planner_id id;
    unsigned flags;
    rayi_bundles_part *parts;
    uint32_t count;
    rayi_bundles_item *items; /* one allocation with their names */
} rayi_bundles_node;

typedef struct rayi_bundles_bundle {
    rayi_bundles_part *part; /* NULL: it is not placed */
    uint32_t number;
    int64_t *amounts; /* of the group's kinds */
    const char *text;
} rayi_bundles_bundle;

enum rayi_bundles_state { RAYI_BUNDLES_IS_WAITING, RAYI_BUNDLES_IS_TRYING, RAYI_BUNDLES_IS_PLACED };

typedef struct rayi_bundles_group {
    struct rayi_bundles_group *prev, *next; /* oldest first */
    UT_hash_handle hh;
    uint64_t id;
    const char *name;
    rayi_strategy strategy;
    enum rayi_bundles_state state;
    rayi_bundles_part *parts;
    int64_t since_ms;                    /* WAITING and TRYING */
    int64_t due_ms;                      /* WAITING: not before; TRYING: until */
    int64_t judge_ms;                    /* when to see whether it could ever be placed */
    uint64_t seen;                       /* the version of the nodes that had no place for it */
    bool seen_late;                      /* even for one that has waited */
    bool is_placed, is_lost, was_warned; /* to be told */
    uint32_t failures;
    rayi_planner_id shy[RAYI_BUNDLES_SHY_MOST]; /* nodes that did not do it, the last ones */
    uint32_t shy_count;
    uint32_t kinds, count;
    const char **names;            /* [kinds] */
    rayi_bundles_bundle bundles[]; /* behind: amounts, names, texts */
} rayi_bundles_group;

struct rayi_bundles {
    const rayi_memory *memory;
    uint64_t random, numbers, version;
    int64_t now_ms;
    rayi_bundles_node *nodes;
    rayi_bundles_group *groups, *by_id;
    rayi_bundles_part *releases, *told; /* told: the RELEASE that was fetched last */
    int64_t release_ms;                 /* not before */
    uint32_t waiting;
    bool is_stirred; /* a group that is placed may have something to tell */
    char message[512];
};

/* Has the table that came last counted it? This node says what it has now; of others one may be under way already. */
static inline bool rayi_bundles_is_counted(const rayi_bundles_part *part)
{
    return part->tables >= (part->node->flags & RAYI_PLANNER_SELF ? 1 : 2);
}

uint64_t rayi_bundles_draw(rayi_bundles *bundles); /* a random number */

/* ---- bundles_look.c ---- */

/* Places for all bundles that have none, as parts that are new: 1. 0: there are none; late: not even on nodes that are
 * busy for others. NO_MEMORY. */
int rayi_bundles_look(rayi_bundles *bundles, rayi_bundles_group *group, bool late);
/* 1: they could have places if nobody else was there. 0: never, and message says why. NO_MEMORY. */
int rayi_bundles_could(rayi_bundles *bundles, rayi_bundles_group *group);

/* ---- bundles_choose.c ---- */

/* A question: a node for each bundle. Amounts are of the same kinds everywhere, in the same order. */
typedef struct rayi_siting {
    rayi_strategy strategy;
    uint32_t nodes, kinds, bundles;
    int64_t *left;                 /* [nodes][kinds]: what a node can still take; used up on the way */
    uint32_t *has;                 /* [nodes]: bundles of the group that are there already; counted on */
    const int64_t *const *amounts; /* [bundles] of [kinds] */
    uint32_t *out;                 /* [bundles]: the node of each */
} rayi_siting;

/* 1: out says where; 0: nowhere; else NO_MEMORY. Of equal nodes the first is taken. */
int rayi_choose_nodes(const rayi_memory *memory, rayi_siting *siting);

#endif
