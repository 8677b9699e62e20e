/* The planner, policy by policy. */
#include "planned.h"

#define NO_NODE "node 00000000000000000000000000000009 is not in the cluster"

/* ---- hybrid ---- */

Test(planner, packs_to_half_then_takes_the_least_used)
{
    plans p;
    plans_init(&p);
    PUT(&p, 1, "CPU=4");
    PUT(&p, 2, "CPU=8");
    PUT_SELF(&p, "CPU=4");
    for (uint64_t id = 1; id <= 8; id++)
        PLAN(&p, id, "CPU=1");
    PLANNED(&p, "1 to 0; 2 to 0; 3 to 1; 4 to 1; 5 to 2; 6 to 2; 7 to 2; 8 to 2");
    for (uint64_t id = 11; id <= 18; id++) /* all are at half; a share of 8 is less than one of 4 */
        PLAN(&p, id, "CPU=1");
    PLANNED(&p, "11 to 0; 12 to 1; 13 to 2; 14 to 2; 15 to 0; 16 to 1; 17 to 2; 18 to 2");
    PLAN(&p, 21, "CPU=1");
    PLANNED(&p, "21 ahead to 0");
    end(&p, 1);
    PLAN(&p, 22, "CPU=1"); /* 21 has the place of 1 */
    PLAN(&p, 23, "CPU=1");
    PLANNED(&p, "22 ahead to 0; 23 ahead to 1");
    plans_fini(&p);
}

Test(planner, the_most_used_resource_counts)
{
    plans p;
    plans_init(&p);
    PUT_AS(&p, 0, "CPU=8, memory=8GiB", "CPU=8, memory=3GiB", .flags = RAYI_PLANNER_SELF);
    PUT_AS(&p, 1, "CPU=8, memory=8GiB", "CPU=5, memory=8GiB", .load = 0);
    PLAN(&p, 1, "CPU=1");
    PLAN(&p, 2, "CPU=1");
    PLANNED(&p, "1 to 1; 2 to 1"); /* memory 5/8 is more than CPU 4/8 */
    plans_fini(&p);
}

Test(planner, fractions_and_other_resources)
{
    plans p;
    plans_init(&p);
    PUT_SELF(&p, "CPU=1");
    PUT(&p, 1, "CPU=1, GPU=1, disk=2");
    for (uint64_t id = 1; id <= 3; id++)
        PLAN(&p, id, "GPU=0.4");
    PLANNED(&p, "1 to 1; 2 to 1; 3 ahead to 1");
    PLAN(&p, 4, "disk=1.5, CPU=0.5");
    PLANNED(&p, "4 to 1");
    PLAN(&p, 5, "disk=1, CPU=0.5");
    PLANNED(&p, "");
    end(&p, 4);
    PLANNED(&p, "5 to 1");
    plans_fini(&p);
}

Test(planner, tasks_that_ask_for_nothing_spread_beyond_512)
{
    plans p;
    uint64_t count[2] = {0};
    rayi_planner_action action;
    plans_init(&p);
    PUT_SELF(&p, "CPU=1");
    PUT(&p, 1, "CPU=1");
    PUT_AS(&p, 2, "", NULL, .flags = RAYI_PLANNER_DRIVER);
    for (uint64_t id = 1; id <= 4000; id++)
        PLAN(&p, id, "");
    while (rayi_planner_next(p.planner, &action))
        count[number_of(&action.node)]++;
    cr_expect_eq(count[0], 2000);
    cr_expect_eq(count[1], 2000);
    plans_fini(&p);
}

/* ---- locality ---- */

Test(planner, large_arguments_draw)
{
    plans p;
    plans_init(&p);
    PUT_SELF(&p, "CPU=4");
    PUT(&p, 1, "CPU=1");
    PUT(&p, 2, "CPU=2");
    rayi_planner_holder much[] = {{node_of(0), 200 << 10}, {node_of(2), 300 << 10}, {node_of(1), 301 << 10}};
    rayi_planner_holder little[] = {{node_of(1), 100 << 10}, {node_of(9), 1 << 30}};
    PLAN_AS(&p, 1, "CPU=1", NULL, .holders = much, .holder_count = 3);
    PLAN_AS(&p, 2, "CPU=1", NULL, .holders = much, .holder_count = 3); /* node 1 is full */
    PLAN_AS(&p, 3, "CPU=1", NULL, .holders = little, .holder_count = 2);
    PLANNED(&p, "1 to 1; 2 to 2; 3 to 0");
    rayi_planner_holder many[6];
    for (uint32_t i = 0; i < 6; i++)
        many[i] = (rayi_planner_holder){node_of(10 + i), (200 + i) << 10};
    many[0] = (rayi_planner_holder){node_of(2), UINT64_C(1) << 40}; /* the four with most are kept */
    PLAN_AS(&p, 4, "CPU=1", NULL, .holders = many, .holder_count = 6);
    PLANNED(&p, "4 to 2");
    plans_fini(&p);
}

/* ---- spread, affinity, labels ---- */

Test(planner, spread_takes_turns)
{
    plans p;
    plans_init(&p);
    PUT_SELF(&p, "CPU=4");
    PUT(&p, 1, "CPU=4");
    PUT(&p, 2, "disk=1");
    PUT(&p, 3, "CPU=4");
    for (uint64_t id = 1; id <= 5; id++)
        PLAN_AS(&p, id, "CPU=2", NULL, .spread = true);
    PLANNED(&p, "1 to 0; 2 to 1; 3 to 3; 4 to 0; 5 to 1");
    PLAN_AS(&p, 6, "CPU=2", NULL, .spread = true);
    PLAN_AS(&p, 7, "CPU=2", NULL, .spread = true);
    PLANNED(&p, "6 to 3; 7 ahead to 0");
    plans_fini(&p);
}

Test(planner, affinity)
{
    plans p;
    plans_init(&p);
    rayi_planner_id one = node_of(1), two = node_of(2), nobody = node_of(9);
    PUT_SELF(&p, "CPU=4");
    PUT(&p, 1, "CPU=1");
    PUT_AS(&p, 2, "CPU=4", NULL, .flags = RAYI_PLANNER_DRAINED);
    PLAN_AS(&p, 1, "CPU=1", NULL, .node_id = &one);
    PLAN_AS(&p, 2, "CPU=1", NULL, .node_id = &one, .node_soft = true); /* busy is no reason to go elsewhere */
    PLAN_AS(&p, 3, "CPU=1", NULL, .node_id = &one);
    PLAN_AS(&p, 4, "CPU=2", NULL, .node_id = &one, .node_soft = true); /* that it never could */
    PLAN_AS(&p, 5, "CPU=1", NULL, .node_id = &two, .node_soft = true);
    PLAN_AS(&p, 6, "CPU=1", NULL, .node_id = &nobody, .node_soft = true);
    PLAN_AS(&p, 7, "CPU=1", NULL, .node_id = &nobody);
    PLANNED(&p, "refuse 7: " NO_NODE "; 1 to 1; 2 ahead to 1; 4 to 0; 5 to 0; 6 to 0");
    go(&p, 1);
    PLANNED(&p, "refuse 3: node 00000000000000000000000000000001 is not in the cluster");
    PUT(&p, 1, "CPU=4"); /* another one, which owes nothing */
    end(&p, 1);
    end(&p, 2);
    cr_expect_eq(rayi_planner_outstanding(p.planner, &one), 0);
    PLAN_AS(&p, 8, "CPU=4", NULL, .node_id = &one);
    PLANNED(&p, "8 to 1");
    PLAN_AS(&p, 9, "CPU=4", NULL, .node_id = &nobody);
    cr_expect(rayi_planner_remove(p.planner, 9)); /* refused, but not fetched */
    PLANNED(&p, "");
    go(&p, 1);
    come_back(&p, 8, RAYI_PLANNER_DRAINING); /* of a node that is gone */
    PLANNED(&p, "refuse 8: node 00000000000000000000000000000001 is not in the cluster");
    plans_fini(&p);
}

Test(planner, a_node_that_may_come_is_waited_for)
{
    plans p;
    plans_init(&p);
    rayi_planner_id one = node_of(1), nobody = node_of(9);
    PUT_SELF(&p, "CPU=4");
    int64_t start = p.now_ms;
    PLAN_AS(&p, 1, "CPU=1", NULL, .node_id = &one, .node_may_come = true);
    PLAN_AS(&p, 2, "CPU=1", NULL, .node_id = &nobody, .node_may_come = true);
    PLAN_AS(&p, 3, "CPU=1", NULL, .node_id = &nobody, .node_may_come = true);
    PLANNED(&p, "");
    cr_expect_eq(rayi_planner_wake_ms(p.planner), start + RAYI_PLANNER_STRANGER_MS);
    plans_pass_ms(&p, 1000);
    PUT(&p, 1, "CPU=4");
    PLAN_AS(&p, 4, "CPU=1", NULL, .node_id = &nobody, .node_may_come = true);
    PLANNED(&p, "1 to 1");
    plans_pass_ms(&p, RAYI_PLANNER_STRANGER_MS - 1000);
    PLANNED(&p, "refuse 2: " NO_NODE "; refuse 3: " NO_NODE); /* each has the same time */
    cr_expect_eq(rayi_planner_wake_ms(p.planner), p.now_ms + 1000);
    PLAN_AS(&p, 5, "CPU=1", NULL, .node_id = &nobody);
    PLANNED(&p, "refuse 5: " NO_NODE);
    plans_pass_ms(&p, 1000);
    PLANNED(&p, "refuse 4: " NO_NODE);
    plans_fini(&p);
}

Test(planner, labels)
{
    plans p;
    plans_init(&p);
    PUT_AS(&p, 0, "CPU=1", NULL, .flags = RAYI_PLANNER_SELF, .labels = "zone=us");
    PUT_AS(&p, 1, "CPU=1", NULL, .labels = "disk=ssd, zone=eu");
    PLAN_AS(&p, 1, "CPU=1", "zone=eu", .priority = 0);
    PLAN_AS(&p, 2, "CPU=1", "zone=asia|africa", .priority = 0);
    PLAN_AS(&p, 3, "CPU=1", "zone!=eu, disk", .priority = 0);
    PLANNED(&p, "1 to 1");
    PUT_AS(&p, 2, "CPU=1", NULL, .labels = "disk=hdd, zone=asia");
    PLANNED(&p, "2 to 2; 3 ahead to 2");
    cr_expect_eq(put_as(&p, 2, "CPU=1", NULL, (rayi_planner_node){.labels = "zone"}), RAY_ERR_ARGUMENT);
    rayi_planner_resource twice[] = {{"disk", 1, 1}, {"CPU", 1, 1}, {"disk", 1, 1}};
    rayi_planner_node bad = {.id = node_of(7), .resources = twice, .resource_count = 3};
    cr_expect_eq(rayi_planner_node_put(p.planner, &bad, 0), RAY_ERR_ARGUMENT);
    plans_fini(&p);
}

/* ---- who is not taken ---- */

Test(planner, nothing_goes_to_those_who_may_not)
{
    static const unsigned flags[] = {RAYI_PLANNER_SUSPECT, RAYI_PLANNER_DRAINED, RAYI_PLANNER_NO_WORK};
    for (size_t i = 0; i < RAYI_COUNT_OF(flags); i++) {
        plans p;
        rayi_planner_id one = node_of(1);
        plans_init(&p);
        PUT_AS(&p, 0, "CPU=8", NULL, .flags = RAYI_PLANNER_SELF | flags[i]);
        PUT_AS(&p, 1, "CPU=8", NULL, .flags = flags[i]);
        PLAN(&p, 1, "CPU=1");
        PLAN(&p, 2, "");
        PLAN_AS(&p, 3, "CPU=1", NULL, .node_id = &one);
        PLAN_AS(&p, 4, "CPU=1", NULL, .spread = true);
        PLANNED(&p, "");
        plans_pass_ms(&p, 1000);
        PLANNED(&p, "");
        PUT(&p, 1, "CPU=8");
        PLANNED(&p, "1 to 1; 2 to 1; 3 to 1; 4 to 1");
        plans_fini(&p);
    }
    plans p;
    plans_init(&p);
    PUT_AS(&p, 0, "", NULL, .flags = RAYI_PLANNER_SELF | RAYI_PLANNER_DRIVER);
    PLAN(&p, 1, "");
    PLANNED(&p, "");
    PUT_AS(&p, 1, "CPU=1", NULL, .flags = RAYI_PLANNER_DRIVER);
    PLANNED(&p, "1 to 1");
    plans_fini(&p);
}

/* ---- tables and what was sent since ---- */

Test(planner, tables_are_old_when_they_come)
{
    plans p;
    plans_init(&p);
    PUT(&p, 1, "CPU=4");
    for (uint64_t id = 1; id <= 3; id++)
        PLAN(&p, id, "CPU=1");
    PLANNED(&p, "1 to 1; 2 to 1; 3 to 1");
    PUT(&p, 1, "CPU=4"); /* made before they came */
    PLAN(&p, 4, "CPU=2");
    PLANNED(&p, "");
    PUT_AS(&p, 1, "CPU=4", "CPU=1", .load = 0); /* they are counted */
    PLANNED(&p, "");
    end(&p, 1);
    PLANNED(&p, "4 to 1");
    end(&p, 2);
    end(&p, 3);
    end(&p, 4);
    PUT_AS(&p, 1, "CPU=4", "CPU=0", .load = 0); /* of when they ran */
    PLAN(&p, 5, "CPU=3");
    PLANNED(&p, "5 to 1");
    end(&p, 5);
    PUT_AS(&p, 1, "CPU=4", "CPU=0", .load = 0); /* 3 of them may have been 5's, one is another's */
    PLAN(&p, 6, "CPU=4");
    PLANNED(&p, "6 ahead to 1");
    plans_fini(&p);
}

Test(planner, blocked_tasks_lend_what_they_hold)
{
    plans p;
    plans_init(&p);
    PUT_SELF(&p, "CPU=1");
    PUT(&p, 1, "CPU=1");
    for (uint64_t id = 1; id <= 4; id++)
        PLAN(&p, id, "CPU=1");
    PLANNED(&p, "1 to 0; 2 to 1; 3 ahead to 0; 4 ahead to 1");
    for (uint64_t id = 5; id <= 40; id++) { /* each waits for the next */
        PLAN(&p, id, "CPU=1");
        PLANNED(&p, "");
        PUT_AS(&p, 0, "CPU=1", "CPU=1", .flags = RAYI_PLANNER_SELF);
        snprintf(p.told, sizeof p.told, "%" PRIu64 " to 0", id);
        char want[64];
        strcpy(want, p.told);
        PLANNED(&p, want);
    }
    PLAN(&p, 41, "CPU=1");
    PUT_AS(&p, 1, "CPU=1", "CPU=1", .load = 0); /* the table before knew of one of them */
    PUT_AS(&p, 1, "CPU=1", "CPU=1", .load = 0);
    PLANNED(&p, "41 to 1");
    plans_fini(&p);
}

/* ---- ahead ---- */

/* Tasks 1 to count, all at once; how many go? Of a kind of which one has run for run_ms before. */
static uint32_t sent_at_once(plans *p, uint32_t count, int64_t run_ms)
{
    rayi_planner_action action;
    uint32_t sent = 0;
    if (run_ms >= 0) {
        PLAN(p, 1000000, "CPU=1");
        cr_assert(rayi_planner_next(p->planner, &action));
        plans_pass_ms(p, run_ms);
        end(p, 1000000);
        plans_pass_ms(p, 100);
    }
    for (uint64_t id = 1; id <= count; id++)
        PLAN(p, id, "CPU=1");
    while (rayi_planner_next(p->planner, &action))
        sent++;
    return sent;
}

Test(planner, how_far_ahead)
{
    static const struct {
        const char *total, *available;
        uint32_t load;
        int64_t run_ms;
        uint32_t sent;
    } rows[] = {
        {"CPU=8", "CPU=8", 0, -1, 9},       /* it is not known how long they run */
        {"CPU=8", "CPU=8", 0, 0, 16},       /* quick */
        {"CPU=8", "CPU=8", 0, 99, 16},      /* */
        {"CPU=8", "CPU=8", 0, 200, 9},      /* slow */
        {"CPU=8", "CPU=0", 0, 0, 1},        /* others have it all: one stands in line */
        {"CPU=8", "CPU=4", 0, 0, 8},        /* or half */
        {"CPU=8", "CPU=0", 8, 200, 1},      /* few others wait, slow: */
        {"CPU=8", "CPU=0", 9, 200, 0},      /* many */
        {"CPU=600", "CPU=600", 0, 0, 1024}, /* at most */
    };
    for (size_t i = 0; i < RAYI_COUNT_OF(rows); i++) {
        plans p;
        plans_init(&p);
        PUT(&p, 1, rows[i].total);
        if (rows[i].run_ms >= 0)
            sent_at_once(&p, 0, rows[i].run_ms);
        PUT(&p, 1, rows[i].total); /* what ended is not among the others */
        PUT_AS(&p, 1, rows[i].total, rows[i].available, .load = rows[i].load);
        uint32_t sent = sent_at_once(&p, 2000, -1);
        cr_expect_eq(sent, rows[i].sent, "row %zu: %" PRIu32 " sent, expected %" PRIu32, i, sent, rows[i].sent);
        plans_fini(&p);
    }
}

Test(planner, what_ends_fast_is_sent_further_ahead)
{
    plans p;
    rayi_planner_action action;
    rayi_planner_id one = node_of(1);
    uint64_t ids = 0, ended = 0;
    plans_init(&p);
    PUT(&p, 1, "CPU=8");
    for (int step = 0; step < 20; step++) {
        for (int i = 0; i < 2000; i++)
            PLAN(&p, ++ids, "CPU=1");
        uint64_t sent = ended;
        while (rayi_planner_next(p.planner, &action))
            sent = RAYI_MAX(sent, action.id);
        plans_pass_ms(&p, 1);
        while (ended < sent)
            end(&p, ++ended);
        while (rayi_planner_next(p.planner, &action))
            continue;
        cr_expect_leq(rayi_planner_outstanding(p.planner, &one), RAYI_PLANNER_AHEAD_MOST);
        for (uint64_t id = ended + 1; !rayi_planner_remove(p.planner, id) && id <= ids; id++)
            ended = id, end(&p, id);
        while (++ended <= ids)
            rayi_planner_remove(p.planner, ended);
        ended = ids;
    }
    for (int i = 0; i < 3000; i++)
        PLAN(&p, ++ids, "CPU=1");
    while (rayi_planner_next(p.planner, &action))
        continue;
    cr_expect_gt(rayi_planner_outstanding(p.planner, &one), 500);
    plans_fini(&p);
}

Test(planner, who_waits_long_may_stand_in_line)
{
    plans p;
    plans_init(&p);
    PUT_AS(&p, 1, "CPU=4", "CPU=0", .load = 1000);
    PUT_AS(&p, 2, "CPU=4", "CPU=0", .load = 100);
    for (uint64_t id = 1; id <= 4; id++)
        PLAN(&p, id, "CPU=2");
    PLANNED(&p, "");
    cr_expect_eq(rayi_planner_wake_ms(p.planner), p.now_ms + RAYI_SCHEDULER_DRAIN_MS);
    plans_pass_ms(&p, RAYI_SCHEDULER_DRAIN_MS);
    PLANNED(&p, "1 ahead to 2; 2 ahead to 1");
    cr_expect_eq(rayi_planner_wake_ms(p.planner), INT64_MAX);
    plans_pass_ms(&p, 5);
    end(&p, 1); /* it did not take long: there is no harm in more */
    PLANNED(&p, "3 ahead to 2");
    plans_fini(&p);
}

Test(planner, where_tasks_are_back_soon_it_does_not_matter_how_many_wait)
{
    for (int64_t took_ms = 5; took_ms <= 50; took_ms += 45) {
        plans p;
        plans_init(&p);
        PUT(&p, 1, "CPU=4");
        PLAN(&p, 1, "CPU=1");
        PLANNED(&p, "1 to 1");
        plans_pass_ms(&p, took_ms);
        end(&p, 1);
        PUT_AS(&p, 1, "CPU=4", "CPU=2", .load = 1000);
        PUT_AS(&p, 1, "CPU=4", "CPU=2", .load = 1000); /* 1 is not among those who wait or run */
        plans_pass_ms(&p, 100);
        for (uint64_t id = 2; id <= 8; id++)
            PLAN(&p, id, "CPU=1");
        PLANNED(&p, took_ms == 5 ? "2 to 1; 3 to 1; 4 ahead to 1; 5 ahead to 1" : "2 to 1; 3 to 1");
        plans_fini(&p);
    }
}

Test(planner, wide_tasks_have_their_turn)
{
    plans p;
    plans_init(&p);
    PUT(&p, 1, "CPU=2");
    PLAN(&p, 1, "CPU=1");
    PLAN(&p, 2, "CPU=1");
    PLAN(&p, 3, "CPU=1");
    PLANNED(&p, "1 to 1; 2 to 1; 3 ahead to 1");
    PLAN(&p, 4, "CPU=2");
    PLAN(&p, 5, "CPU=1");
    PLANNED(&p, "");
    plans_pass_ms(&p, 200);
    end(&p, 1);
    PLANNED(&p, "5 ahead to 1"); /* overtakes */
    plans_pass_ms(&p, 300);
    PLANNED(&p, "4 ahead to 1");
    plans_fini(&p);
}

Test(planner, wide_tasks_have_their_turn_among_quick_ones)
{
    plans p;
    plans_init(&p);
    PUT(&p, 1, "CPU=2");
    PLAN_AS(&p, 100, "CPU=1", NULL, .function = 1);
    PLANNED(&p, "100 to 1");
    end(&p, 100);
    plans_pass_ms(&p, 10);
    for (uint64_t id = 1; id <= 6; id++)
        PLAN_AS(&p, id, "CPU=1", NULL, .function = 1);
    PLANNED(&p, "1 to 1; 2 to 1; 3 ahead to 1; 4 ahead to 1");
    PLAN_AS(&p, 7, "CPU=2", NULL, .function = 2);
    plans_pass_ms(&p, RAYI_SCHEDULER_DRAIN_MS);
    PLAN_AS(&p, 8, "CPU=2", NULL, .function = 2);
    cr_expect(rayi_planner_remove(p.planner, 5));
    cr_expect(rayi_planner_remove(p.planner, 6));
    end(&p, 1);
    end(&p, 2);
    PLANNED(&p, "7 ahead to 1"); /* two are there, which would be one too many if it had not waited so long */
    plans_fini(&p);
}

Test(planner, the_slow_are_not_held_up_by_the_quick_of_their_shape)
{
    plans p;
    plans_init(&p);
    PUT(&p, 1, "CPU=2");
    PLAN_AS(&p, 100, "CPU=1", NULL, .function = 1);
    PLANNED(&p, "100 to 1");
    end(&p, 100); /* 1 is quick */
    plans_pass_ms(&p, 100);
    for (uint64_t id = 1; id <= 4; id++)
        PLAN_AS(&p, id, "CPU=1", NULL, .function = 1);
    PLANNED(&p, "1 to 1; 2 to 1; 3 ahead to 1; 4 ahead to 1");
    plans_pass_ms(&p, 1);
    PLAN_AS(&p, 5, "CPU=1", NULL, .function = 2); /* not known */
    plans_pass_ms(&p, 1);
    for (uint64_t id = 6; id <= 9; id++)
        PLAN_AS(&p, id, "CPU=1", NULL, .function = 1);
    PLANNED(&p, "");
    end(&p, 1);
    PLANNED(&p, ""); /* 3 are there, which is not too many for 6; but 5 is before it */
    PLAN_AS(&p, 10, "CPU=1", NULL, .function = 1);
    PLANNED(&p, "");
    end(&p, 2);
    PLANNED(&p, "5 ahead to 1; 6 ahead to 1; 7 ahead to 1; 8 ahead to 1"); /* two ended just now */
    cr_expect(rayi_planner_remove(p.planner, 9));
    cr_expect(rayi_planner_remove(p.planner, 10));
    plans_fini(&p);
}

/* ---- what comes back ---- */

Test(planner, returned_for_want_of_room)
{
    plans p;
    plans_init(&p);
    PUT(&p, 1, "CPU=4");
    PUT(&p, 2, "CPU=1");
    PLAN(&p, 1, "CPU=2");
    PLAN(&p, 2, "CPU=1");
    PLANNED(&p, "1 to 1; 2 to 2");
    come_back(&p, 1, RAYI_PLANNER_FULL);
    PLANNED(&p, "");
    PLAN(&p, 3, "CPU=1"); /* less than what did not fit */
    PLANNED(&p, "3 to 1");
    PUT(&p, 1, "CPU=4");
    PLANNED(&p, "1 to 1");
    PLAN(&p, 4, "");
    PLANNED(&p, "4 to 1");
    come_back(&p, 4, RAYI_PLANNER_FULL);
    PLANNED(&p, "4 to 2");
    come_back(&p, 4, RAYI_PLANNER_FULL);
    PLANNED(&p, "");
    end(&p, 3); /* there is room again */
    PLANNED(&p, "4 to 1");
    plans_fini(&p);
}

Test(planner, tried_again_while_ours_are_there)
{
    plans p;
    rayi_planner_id one = node_of(1), nobody = node_of(9);
    plans_init(&p);
    PUT(&p, 1, "CPU=2");
    PLAN(&p, 1, "CPU=1");
    PLANNED(&p, "1 to 1");
    PLAN(&p, 2, "CPU=1");
    PLANNED(&p, "2 to 1");
    come_back(&p, 2, RAYI_PLANNER_FULL);
    PLANNED(&p, "");
    rayi_planner_node_try_again(p.planner, &nobody);
    PLANNED(&p, "");
    rayi_planner_node_try_again(p.planner, &one);
    PLANNED(&p, "2 to 1");
    PLAN(&p, 3, "CPU=2"); /* ours are not forgotten */
    PLAN(&p, 4, "");
    PLANNED(&p, "4 to 1");
    come_back(&p, 4, RAYI_PLANNER_FULL);
    PLANNED(&p, "");
    rayi_planner_node_try_again(p.planner, &one);
    PLANNED(&p, "4 to 1");
    plans_fini(&p);
}

Test(planner, returned_by_one_that_drains)
{
    plans p;
    plans_init(&p);
    PUT(&p, 1, "CPU=4");
    PUT(&p, 2, "CPU=4");
    PLAN(&p, 1, "CPU=1");
    plans_pass_ms(&p, 10);
    PLAN(&p, 2, "CPU=1");
    PLANNED(&p, "1 to 1; 2 to 1");
    come_back(&p, 2, RAYI_PLANNER_DRAINING);
    come_back(&p, 1, RAYI_PLANNER_DRAINING);
    PLANNED(&p, "1 to 2; 2 to 2"); /* as long as they have waited */
    cr_expect_not(rayi_planner_remove(p.planner, 1));
    PUT(&p, 1, "CPU=4");
    PLAN(&p, 3, "CPU=1");
    PLANNED(&p, "3 to 1");
    plans_fini(&p);
}

/* ---- order ---- */

Test(planner, by_priority_and_age)
{
    plans p;
    plans_init(&p);
    PUT_AS(&p, 1, "CPU=4", "CPU=0", .flags = RAYI_PLANNER_SUSPECT);
    PLAN_AS(&p, 1, "CPU=1", NULL, .priority = 0);
    plans_pass_ms(&p, 25000); /* 1 is as good as 2 now */
    PLAN_AS(&p, 2, "CPU=0.5", NULL, .priority = 1);
    PLAN_AS(&p, 3, "CPU=0.5", NULL, .priority = 2);
    PLAN_AS(&p, 4, "CPU=0.5", NULL, .priority = 3);
    PLAN_AS(&p, 5, "CPU=0.5", NULL, .priority = -1);
    PLAN_AS(&p, 6, "CPU=0.5", NULL, .priority = -1);
    cr_assert_eq(rayi_planner_inherit(p.planner, 6, 2), 0);
    cr_assert_eq(rayi_planner_inherit(p.planner, 4, 2), 0);
    cr_assert_eq(rayi_planner_inherit(p.planner, 99, 2), 0);
    PLANNED(&p, "");
    PUT(&p, 1, "CPU=4");
    PLANNED(&p, "4 to 1; 1 to 1; 6 to 1; 3 to 1; 2 to 1; 5 to 1");
    plans_fini(&p);
}

/* ---- warnings ---- */

/* ---- many nodes, and seeds ---- */

Test(planner, more_nodes_than_were_expected)
{
    plans p;
    rayi_planner_action action;
    uint32_t seen[1000] = {0};
    plans_init(&p);
    PLAN(&p, 1, "CPU=2");
    for (uint32_t i = 1; i < 1000; i++)
        PUT(&p, i, "CPU=1");
    PLANNED(&p, "");
    for (uint64_t id = 2; id <= 1000; id++)
        PLAN(&p, id, "CPU=1");
    while (rayi_planner_next(p.planner, &action))
        seen[number_of(&action.node)]++;
    for (uint32_t i = 1; i < 1000; i++)
        cr_assert_eq(seen[i], 1);
    for (uint32_t i = 1; i < 500; i++)
        go(&p, i);
    for (uint32_t i = 1; i < 500; i++)
        PUT(&p, i, "CPU=1");
    PUT(&p, 2000, "CPU=2");
    PLANNED(&p, "1 to 2000");
    plans_fini(&p);
}

Test(planner, each_seed_has_an_order)
{
    uint32_t first[8];
    for (uint64_t seed = 0; seed < 8; seed++) {
        plans p;
        rayi_planner_action action;
        counted_init(&p.heap);
        p.now_ms = 0;
        cr_assert_eq(rayi_planner_new(&p.heap.memory, seed, &p.planner), 0);
        for (uint32_t i = 1; i <= 300; i++)
            PUT(&p, i, "CPU=2");
        PUT_SELF(&p, "CPU=2");
        PLAN(&p, 1, "CPU=1");
        PLAN(&p, 2, "CPU=1");
        cr_assert(rayi_planner_next(p.planner, &action));
        cr_expect_eq(number_of(&action.node), 0);
        cr_assert(rayi_planner_next(p.planner, &action));
        first[seed] = number_of(&action.node);
        plans_fini(&p);
    }
    cr_expect_eq(first[0], 1);
    for (int i = 2; i < 8; i++)
        cr_expect_neq(first[i], first[i - 1]);
}

/* ---- without memory ---- */

/* Repeats `call` with the nth allocation failing, at least `least` times, until it does not need that many. */
#define FAIL_EACH(p, least, call)                                                                                      \
    do {                                                                                                               \
        long failed_ = 0;                                                                                              \
        for (int r_ = RAY_ERR_NO_MEMORY; r_; failed_ += r_ != 0) {                                                     \
            counted_fail(&(p)->heap, failed_ + 1);                                                                     \
            r_ = (call);                                                                                               \
            cr_assert(r_ == 0 || r_ == RAY_ERR_NO_MEMORY);                                                             \
            cr_assert(*planned(p) == 0 || r_ == 0);                                                                    \
        }                                                                                                              \
        counted_fail(&(p)->heap, 0);                                                                                   \
        cr_expect_geq(failed_, (least), "%ld allocations", failed_);                                                   \
    } while (0)

Test(planner, nothing_changes_without_memory)
{
    plans p;
    plans_init(&p);
    for (long nth = 1; nth <= 3; nth++) {
        rayi_planner *none = NULL;
        counted_fail(&p.heap, nth);
        cr_expect_eq(rayi_planner_new(&p.heap.memory, 0, &none), RAY_ERR_NO_MEMORY);
    }
    rayi_planner_node eu = {.labels = "zone=eu"}, us = {.labels = "zone=us"};
    FAIL_EACH(&p, 5, put_as(&p, 1, "CPU=1, disk=1", NULL, eu));
    rayi_planner_request plain = {.priority = 1, .function_name = "f"};
    FAIL_EACH(&p, 10, plan_as(&p, 1, "CPU=1, ghost=1", "zone=us", plain));
    FAIL_EACH(&p, 3, put_as(&p, 1, "CPU=1, spook=2", NULL, us));
    FAIL_EACH(&p, 1, rayi_planner_inherit(p.planner, 1, 9));
    for (uint32_t i = 2; i <= 200; i++) { /* the tables of all there is grow */
        char total[32];
        snprintf(total, sizeof total, "r%" PRIu32 "=1", i);
        FAIL_EACH(&p, 0, put_as(&p, i, total, NULL, us));
    }
    cr_expect_eq(rayi_planner_waiting(p.planner), 1);
    FAIL_EACH(&p, 3, put_as(&p, 300, "CPU=1, ghost=1", NULL, us));
    cr_expect_str_eq(p.told, "1 to 300");
    plans_fini(&p);
}
