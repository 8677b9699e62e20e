/* Where bundles go, by table; and the way of a group through attempts, losses and removals. */
#include <stdarg.h>

#include "bundled.h"

/* ---- the strategies ---- */

/* "1 2 1": the nodes of the bundles, or "" if there are none now. All answer at once. */
static const char *places(bundled *b, uint64_t group, uint32_t count)
{
    static char out[256];
    rayi_bundles_action a;
    rayi_bundle_place at;
    out[0] = 0;
    rayi_bundles_tick(b->bundles, b->now_ms);
    while (rayi_bundles_next(b->bundles, &a))
        if (a.what == RAYI_BUNDLES_RESERVE)
            rayi_bundles_reserved(b->bundles, &a.node, a.part, b->now_ms);
    for (uint32_t i = 1; i <= count; i++)
        if (rayi_bundles_place(b->bundles, group, i, &at))
            sprintf(out + strlen(out), "%s%" PRIu32, *out ? " " : "", number_of(&at.node));
    return out;
}

/* The nodes of the bundles, renamed in the order in which they come: which of equal ones it is does not matter. */
static const char *shape_of(const char *text)
{
    static char out[256];
    int names[16], count = 0, name, size;
    out[0] = 0;
    for (; sscanf(text, "%d%n", &name, &size) == 1; text += size) {
        int at = 0;
        while (at < count && names[at] != name)
            at++;
        names[at] = name;
        count += at == count;
        sprintf(out + strlen(out), "%s%c", *out ? " " : "", 'a' + at);
    }
    return out;
}

typedef struct row {
    rayi_strategy strategy;
    const char *nodes; /* "CPU=1; CPU=2" are 1 and 2 */
    const char *bundles;
    const char *shape; /* or with digits: these nodes */
} row;

static const row rows[] = {
    {RAYI_STRATEGY_PACK, "CPU=4; CPU=4; CPU=4", "CPU=1;CPU=1;CPU=1", "a a a"},
    {RAYI_STRATEGY_PACK, "CPU=8; CPU=3; CPU=4", "CPU=1;CPU=1;CPU=1", "2 2 2"}, /* the tightest */
    {RAYI_STRATEGY_PACK, "CPU=2; CPU=3; CPU=1", "CPU=1;CPU=1;CPU=1;CPU=1;CPU=1", "2 2 2 1 1"},
    {RAYI_STRATEGY_PACK, "CPU=2; CPU=2", "CPU=1;CPU=2;CPU=1", "a b a"},
    {RAYI_STRATEGY_PACK, "CPU=2, disk=1; CPU=2", "CPU=2;CPU=2,disk=1", "2 1"},
    {RAYI_STRATEGY_PACK, "CPU=2; CPU=2", "CPU=1;CPU=1;CPU=1;CPU=1;CPU=1", ""},
    {RAYI_STRATEGY_PACK, "CPU=3; CPU=3", "CPU=2;CPU=2;CPU=1;CPU=1", "a b a b"},
    {RAYI_STRATEGY_SPREAD, "CPU=4; CPU=4; CPU=4", "CPU=1;CPU=1;CPU=1", "a b c"},
    {RAYI_STRATEGY_SPREAD, "CPU=4; CPU=4", "CPU=1;CPU=1;CPU=1;CPU=1", "a b a b"},
    {RAYI_STRATEGY_SPREAD, "CPU=4; CPU=1", "CPU=1;CPU=1;CPU=1", "1 2 1"},
    {RAYI_STRATEGY_SPREAD, "CPU=9", "CPU=1;CPU=1", "1 1"},
    {RAYI_STRATEGY_SPREAD, "CPU=1; CPU=1", "CPU=1;CPU=1;CPU=1", ""},
    {RAYI_STRATEGY_STRICT_PACK, "CPU=2; CPU=4", "CPU=1;CPU=1;CPU=1", "2 2 2"},
    {RAYI_STRATEGY_STRICT_PACK, "CPU=2; CPU=2", "CPU=1;CPU=1;CPU=1", ""},
    {RAYI_STRATEGY_STRICT_PACK, "CPU=4, GPU=1; CPU=2, GPU=2", "CPU=1,GPU=1;CPU=1,GPU=1", "2 2"},
    {RAYI_STRATEGY_STRICT_SPREAD, "CPU=4; CPU=4; CPU=4", "CPU=1;CPU=1;CPU=1", "a b c"},
    {RAYI_STRATEGY_STRICT_SPREAD, "CPU=8; CPU=8", "CPU=1;CPU=1;CPU=1", ""},
    {RAYI_STRATEGY_STRICT_SPREAD, "CPU=2, disk=1; CPU=2", "CPU=2;disk=1", "2 1"}, /* no greedy way finds that always */
    {RAYI_STRATEGY_STRICT_SPREAD, "CPU=3; CPU=2, disk=1; CPU=1, disk=1, net=1; net=1", "CPU=1;disk=1;net=1;CPU=3",
     "a b c d"},
    {RAYI_STRATEGY_STRICT_SPREAD, "CPU=1, disk=1; CPU=1; disk=1", "CPU=1;CPU=1;CPU=1", ""},
    {RAYI_STRATEGY_PACK, "CPU=1", "ghost=1", ""},
};

Test(bundles, strategies)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(rows); i++)
        for (uint64_t seed = 1; seed < 9; seed++) {
            char copy[256], *rest = copy, *one;
            uint32_t number = 0, count = 1;
            bundled b;
            bundled_init(&b, seed * 7919);
            strcpy(copy, rows[i].nodes);
            while ((one = strsep(&rest, ";")))
                PUT(&b, ++number, one);
            for (const char *c = rows[i].bundles; *c; c++)
                count += *c == ';';
            cr_assert_eq(add_as(&b, 1, rows[i].strategy, rows[i].bundles), 0);
            const char *found = places(&b, 1, count);
            const char *seen = *rows[i].shape >= 'a' ? shape_of(found) : found;
            cr_assert_str_eq(seen, rows[i].shape, "row %zu seed %" PRIu64 ": %s", i, seed, seen);
            bundled_fini(&b);
        }
}

/* ---- attempts ---- */

Test(bundles, any_clock_will_do)
{
    bundled b;
    bundled_init(&b, 1);
    b.now_ms = -100000;
    PUT(&b, 1, "CPU=1");
    rayi_bundles_tick(b.bundles, b.now_ms);
    ADD(&b, 1, PACK, "CPU=2");
    cr_expect_str_eq(told(&b), "");
    PUT(&b, 1, "CPU=2");
    b.now_ms += 1000;
    rayi_bundles_tick(b.bundles, b.now_ms);
    cr_expect_str_eq(told(&b), "1: 1 to 1 (part 1)");
    cr_expect(rayi_bundles_remove(b.bundles, 1, b.now_ms));
    cr_expect_str_eq(told(&b), "release 1 at 1");
    bundled_fini(&b);
}

Test(bundles, all_or_none)
{
    bundled b;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=1");
    PUT(&b, 2, "CPU=1");
    ADD(&b, 5, STRICT_SPREAD, "CPU=1;CPU=1");
    cr_assert(strstr(told(&b), "5: ") && strstr(b.told, "to 1") && strstr(b.told, "to 2"));
    cr_assert_eq(rayi_bundles_waiting(b.bundles), 1);
    reserved(&b, 1);
    reserved(&b, 1); /* said twice */
    TOLD(&b, "");
    rayi_bundle_place at;
    cr_assert(!rayi_bundles_place(b.bundles, 5, 1, &at));
    reserved(&b, 2);
    TOLD(&b, "5 placed");
    cr_assert_eq(rayi_bundles_waiting(b.bundles), 0);
    cr_assert(rayi_bundles_place(b.bundles, 5, 1, &at) && at.number == 1);
    cr_assert(!rayi_bundles_place(b.bundles, 5, 0, &at) && !rayi_bundles_place(b.bundles, 5, 3, &at));
    cr_assert(!rayi_bundles_place(b.bundles, 6, 1, &at));
    cr_assert(rayi_bundles_remove(b.bundles, 5, b.now_ms));
    cr_assert(!rayi_bundles_remove(b.bundles, 5, b.now_ms));
    cr_assert(strstr(told(&b), "release 1 at") && strstr(b.told, "release 2 at"));
    bundled_fini(&b);
}

Test(bundles, late_answers_are_given_back_and_tried_again)
{
    bundled b;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=2");
    ADD(&b, 5, PACK, "CPU=1;CPU=1");
    TOLD(&b, "5: 1,2 to 1 (part 1)");
    cr_assert_eq(rayi_bundles_wake_ms(b.bundles), b.now_ms + RAYI_BUNDLES_SPAN_MS);
    AFTER(&b, RAYI_BUNDLES_SPAN_MS);
    TOLD(&b, "release 1 at 1");
    reserved(&b, 1); /* too late */
    TOLD(&b, "");
    int64_t wake = rayi_bundles_wake_ms(b.bundles);
    cr_assert(wake >= b.now_ms + RAYI_BUNDLES_PAUSE_MS / 2 && wake < b.now_ms + 3 * RAYI_BUNDLES_PAUSE_MS / 2);
    b.now_ms = wake;
    TOLD(&b, "5: 1,2 to 1 (part 2)"); /* shy as it is, there is no other */
    cr_assert_eq(rayi_bundles_wake_ms(b.bundles), b.now_ms + 2 * RAYI_BUNDLES_SPAN_MS);
    refused(&b, 2);
    TOLD(&b, ""); /* nothing is there to be released */
    PUT(&b, 2, "CPU=2");
    b.now_ms = rayi_bundles_wake_ms(b.bundles);
    TOLD(&b, "5: 1,2 to 2 (part 3)");
    reserved(&b, 3);
    TOLD(&b, "5 placed");
    cr_assert_eq(rayi_bundles_wake_ms(b.bundles), INT64_MAX);
    bundled_fini(&b);
}

/* Any node could send any number: only that of the node that was asked counts. */
Test(bundles, hears_of_a_part_only_who_was_asked)
{
    bundled b;
    rayi_planner_id other = node_of(2);
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=2");
    PUT(&b, 2, "disk=1");
    ADD(&b, 5, PACK, "CPU=1");
    TOLD(&b, "5: 1 to 1 (part 1)");
    rayi_bundles_reserved(b.bundles, &other, 1, b.now_ms);
    rayi_bundles_refused(b.bundles, &other, 1, b.now_ms);
    TOLD(&b, "");
    reserved(&b, 1);
    TOLD(&b, "5 placed");
    bundled_fini(&b);
}

Test(bundles, is_not_told_of_what_it_has_not_asked_for)
{
    bundled b;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=1");
    PUT(&b, 2, "CPU=1");
    ADD(&b, 5, STRICT_SPREAD, "CPU=1;CPU=1");
    rayi_bundles_action first;
    cr_assert(rayi_bundles_next(b.bundles, &first) && first.what == RAYI_BUNDLES_RESERVE);
    for (uint32_t n = 1; n <= 2; n++) {
        rayi_planner_id node = node_of(n);
        rayi_bundles_refused(b.bundles, &node, 3 - first.part, b.now_ms);
    }
    cr_assert(strstr(told(&b), "5: ") && !strstr(b.told, "release"));
    bundled_fini(&b);
}

Test(bundles, a_release_that_could_not_be_told_comes_again)
{
    bundled b;
    rayi_planner_id one = node_of(1);
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=2");
    ADD(&b, 5, PACK, "CPU=1;CPU=1");
    TOLD(&b, "5: 1,2 to 1 (part 1)");
    cr_assert(rayi_bundles_remove(b.bundles, 5, b.now_ms));
    for (int i = 0; i < 3; i++) {
        rayi_bundles_action action;
        rayi_bundles_tick(b.bundles, b.now_ms);
        cr_assert(rayi_bundles_next(b.bundles, &action) && action.what == RAYI_BUNDLES_RELEASE && action.part == 1);
        rayi_bundles_not_released(b.bundles, b.now_ms);
        TOLD(&b, ""); /* not at once */
        cr_assert(rayi_bundles_wake_ms(b.bundles) > b.now_ms && rayi_bundles_wake_ms(b.bundles) < b.now_ms + 100);
        b.now_ms = rayi_bundles_wake_ms(b.bundles);
    }
    rayi_bundles_node_gone(b.bundles, &one, b.now_ms); /* and not to the dead */
    TOLD(&b, "");
    cr_assert_eq(rayi_bundles_wake_ms(b.bundles), INT64_MAX);
    bundled_fini(&b);
}

/* The tables that it has may be old: node 1 is in use by now, and node 2 is not. */
Test(bundles, who_is_late_tries_others_than_those_that_have_failed_it)
{
    bundled b;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=1");
    cr_assert_eq(put_as(&b, 2, "CPU=1", "CPU=0", 0), 0);
    ADD(&b, 5, PACK, "CPU=1");
    TOLD(&b, "5: 1 to 1 (part 1)");
    AFTER(&b, RAYI_BUNDLES_SPAN_MS);
    TOLD(&b, "release 1 at 1");
    b.now_ms = rayi_bundles_wake_ms(b.bundles);
    TOLD(&b, "5: 1 to 2 (part 2)");
    reserved(&b, 2);
    TOLD(&b, "5 placed");
    bundled_fini(&b);
}

Test(bundles, a_refusal_gives_back_the_rest)
{
    bundled b;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=1");
    PUT(&b, 2, "CPU=1");
    ADD(&b, 5, SPREAD, "CPU=1;CPU=1");
    told(&b);
    reserved(&b, 1);
    refused(&b, 2);
    cr_assert(strncmp(told(&b), "release 1 at ", 13) == 0 && !strchr(b.told, ';'));
    bundled_fini(&b);
}

Test(bundles, removed_before_it_was_asked_for)
{
    bundled b;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=1");
    PUT(&b, 2, "CPU=1");
    ADD(&b, 5, SPREAD, "CPU=1;CPU=1");
    rayi_bundles_action a;
    cr_assert(rayi_bundles_next(b.bundles, &a)); /* of one only */
    rayi_bundles_remove(b.bundles, 5, b.now_ms);
    cr_assert(strncmp(told(&b), "release 1 at ", 13) == 0 && !strchr(b.told, ';'));
    bundled_fini(&b);
}

/* ---- nodes ---- */

Test(bundles, a_dead_nodes_bundles_are_placed_anew)
{
    bundled b;
    rayi_planner_id two = node_of(2);
    rayi_bundle_place at;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=1");
    PUT(&b, 2, "CPU=1, disk=1");
    ADD(&b, 5, STRICT_SPREAD, "CPU=1;disk=1");
    cr_assert_str_eq(places(&b, 5, 2), "1 2");
    rayi_bundles_node_gone(b.bundles, &two, b.now_ms);
    TOLD(&b, "5 lost");
    cr_assert(rayi_bundles_place(b.bundles, 5, 1, &at) && !rayi_bundles_place(b.bundles, 5, 2, &at));
    PUT(&b, 3, "disk=2");
    AFTER(&b, 100);
    TOLD(&b, "5: 2 to 3 (part 3)");
    reserved(&b, 3);
    TOLD(&b, "5 placed");
    cr_assert(rayi_bundles_place(b.bundles, 5, 2, &at) && number_of(&at.node) == 3 && at.number == 1);
    bundled_fini(&b);
}

Test(bundles, strict_spread_leaves_out_nodes_that_have_one)
{
    bundled b;
    rayi_planner_id two = node_of(2);
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=4");
    PUT(&b, 2, "CPU=1, disk=1");
    ADD(&b, 5, STRICT_SPREAD, "disk=1;CPU=1");
    cr_assert_str_eq(places(&b, 5, 2), "2 1");
    PUT(&b, 1, "CPU=4, disk=4");
    rayi_bundles_node_gone(b.bundles, &two, b.now_ms);
    TOLD(&b, "5 lost");
    AFTER(&b, 1000);
    TOLD(&b, "");
    bundled_fini(&b);
}

Test(bundles, a_node_dies_while_it_is_asked)
{
    bundled b;
    rayi_planner_id one = node_of(1), two = node_of(2);
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=1");
    PUT(&b, 2, "CPU=1");
    ADD(&b, 5, SPREAD, "CPU=1;CPU=1");
    told(&b);
    rayi_bundles_node_gone(b.bundles, &one, b.now_ms);
    cr_assert(strstr(told(&b), "at 2") && !strstr(b.told, "at 1"));
    rayi_bundles_node_gone(b.bundles, &two, b.now_ms);
    rayi_bundles_node_gone(b.bundles, &two, b.now_ms);
    TOLD(&b, "");
    bundled_fini(&b);
}

Test(bundles, suspect_and_drained_nodes_are_left_out)
{
    bundled b;
    bundled_init(&b, 1);
    cr_assert_eq(put_as(&b, 1, "CPU=1", NULL, RAYI_PLANNER_SUSPECT), 0);
    cr_assert_eq(put_as(&b, 2, "CPU=1", NULL, RAYI_PLANNER_DRAINED), 0);
    cr_assert_eq(put_as(&b, 3, "CPU=1", NULL, RAYI_PLANNER_NO_WORK), 0);
    ADD(&b, 5, PACK, "CPU=1");
    TOLD(&b, "");
    PUT(&b, 1, "CPU=1");
    AFTER(&b, 100);
    TOLD(&b, "5: 1 to 1 (part 1)");
    bundled_fini(&b);
}

/* What a table cannot have counted is subtracted, what it has is not. */
Test(bundles, what_ours_hold)
{
    bundled b;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=3");
    ADD(&b, 5, PACK, "CPU=2");
    cr_assert_str_eq(places(&b, 5, 1), "1");
    ADD(&b, 6, PACK, "CPU=2");
    TOLD(&b, "");
    cr_assert_eq(put_as(&b, 1, "CPU=3", "CPU=1", 0), 0);
    cr_assert_eq(put_as(&b, 1, "CPU=3", "CPU=1", 0), 0);
    ADD(&b, 7, PACK, "CPU=1");
    cr_assert(strstr(told(&b), "7: 1 to 1"));
    AFTER(&b, RAYI_SCHEDULER_DRAIN_MS);
    TOLD(&b, ""); /* it has waited, but what is in its way is ours */
    rayi_bundles_remove(b.bundles, 5, b.now_ms);
    AFTER(&b, 100);
    cr_assert(strstr(told(&b), "6: 1 to 1"));
    bundled_fini(&b);
}

/* Others' work does not keep a group waiting for ever: it asks where it could be. */
Test(bundles, a_busy_node_is_asked_in_the_end)
{
    bundled b;
    bundled_init(&b, 1);
    cr_assert_eq(put_as(&b, 1, "CPU=3", "", 0), 0);
    ADD(&b, 5, PACK, "CPU=2");
    TOLD(&b, "");
    cr_assert_eq(rayi_bundles_wake_ms(b.bundles), b.now_ms + RAYI_SCHEDULER_DRAIN_MS);
    AFTER(&b, RAYI_SCHEDULER_DRAIN_MS);
    TOLD(&b, "5: 1 to 1 (part 1)");
    bundled_fini(&b);
}

Test(bundles, warnings)
{
    bundled b;
    bundled_init(&b, 1);
    PUT(&b, 1, "CPU=1");
    PUT(&b, 2, "CPU=1");
    ADD(&b, 5, STRICT_SPREAD, "CPU=1;CPU=1;CPU=1");
    ADD(&b, 6, PACK, "CPU=1;CPU=4");
    TOLD(&b, "");
    AFTER(&b, RAYI_SCHEDULER_WARN_MS);
    TOLD(&b, "warn the 3 bundles of placement group 5 find no place, STRICT_SPREAD, on the 2 nodes of the cluster; it "
             "waits; warn bundle 2 \"CPU=4\" of placement group 6 is more than any node of the cluster has in total; "
             "it waits");
    AFTER(&b, RAYI_SCHEDULER_WARN_MS);
    TOLD(&b, ""); /* once */
    PUT(&b, 3, "CPU=6");
    AFTER(&b, 100);
    cr_assert(strstr(told(&b), "5: ") && strstr(b.told, "6: "));
    bundled_fini(&b);
}

/* A call that finds no memory has changed nothing; a decision that finds none comes a little later. */
Test(bundles, no_memory)
{
    for (long nth = 1; nth < 40; nth++) {
        bundled b;
        bundled_init(&b, 1);
        counted_fail(&b.heap, nth);
        for (int i = 0; put_as(&b, 1, "CPU=2", NULL, 0) < 0 || put_as(&b, 2, "CPU=2", NULL, 0) < 0; i++)
            cr_assert_lt(i, 3);
        for (int i = 0; add_as(&b, 5, RAYI_STRATEGY_STRICT_SPREAD, "CPU=1;CPU=2") < 0; i++)
            cr_assert_lt(i, 3);
        for (int i = 0; !*told(&b); i++) {
            cr_assert_lt(i, 3);
            cr_assert_lt(rayi_bundles_wake_ms(b.bundles), b.now_ms + 100);
            b.now_ms = RAYI_MAX(b.now_ms, rayi_bundles_wake_ms(b.bundles));
        }
        reserved(&b, 1);
        reserved(&b, 2);
        TOLD(&b, "5 placed");
        bundled_fini(&b);
    }
}
