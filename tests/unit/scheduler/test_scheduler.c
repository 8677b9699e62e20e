/* The scheduler, scene by scene. */
#include "told.h"

#define UNIT RAYI_RESOURCE_UNIT

/* ---- requests ---- */

Test(scheduler, whole_cpus_go_to_the_lane)
{
    world w;
    world_init(&w, "CPU=2.5, disk=3", "", NULL);
    TOLD(&w, "give 2");
    cr_expect_eq(available(&w, "CPU"), UNIT / 2);
    cr_expect_eq(rayi_scheduler_lane_slots(w.scheduler), 2);
    SUBMIT(&w, 1, "CPU=0.5");
    SUBMIT(&w, 2, "disk=2");
    SUBMIT(&w, 3, "disk=2");
    SUBMIT(&w, 4, "");
    TOLD(&w, "grant 1 CPU=0.5; grant 4 ; grant 2 disk=2");
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "grant 3 disk=2");
    world_fini(&w);
}

Test(scheduler, the_lane_lends_and_gets_back)
{
    world w;
    world_init(&w, "CPU=4, disk=3", "", NULL);
    TOLD(&w, "give 4");
    SUBMIT(&w, 1, "CPU=2, disk=1");
    TOLD(&w, "ask 2");
    TOLD(&w, "");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "grant 1 CPU=2, disk=1");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "give 2");
    /* As many as can run at once, not more: disk is for three. */
    for (uint64_t id = 2; id < 10; id++)
        SUBMIT(&w, id, "CPU=1, disk=1");
    TOLD(&w, "ask 3");
    /* Two of 0.5 share a slot. */
    SUBMIT(&w, 20, "CPU=0.5");
    SUBMIT(&w, 21, "CPU=0.5");
    TOLD(&w, "ask 1");
    world_fini(&w);
}

Test(scheduler, nothing_is_asked_for_in_vain)
{
    world w;
    world_init(&w, "CPU=2, disk=1", "", NULL);
    TOLD(&w, "give 2");
    SUBMIT(&w, 1, "disk=1");
    TOLD(&w, "grant 1 disk=1");
    SUBMIT(&w, 2, "CPU=1, disk=1"); /* the CPU would lie idle */
    TOLD(&w, "");
    pass_ms(&w, 1000);
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "ask 1");
    cr_expect(rayi_scheduler_remove(w.scheduler, 2));
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "give 1");
    world_fini(&w);
}

Test(scheduler, gpus_by_name)
{
    world w;
    world_init(&w, "GPU=3", "", "0,3,GPU-5d");
    SUBMIT(&w, 1, "GPU=0.5");
    SUBMIT(&w, 2, "GPU=1");
    SUBMIT(&w, 3, "GPU=0.5"); /* beside 1, so that a whole one is left */
    SUBMIT(&w, 4, "GPU=0.6");
    TOLD(&w, "grant 1 GPU=0.5 on 0; grant 2 GPU=1 on 3; grant 4 GPU=0.6 on GPU-5d; grant 3 GPU=0.5 on 0");
    SUBMIT(&w, 5, "GPU=0.5"); /* 0.4 is left of one */
    SUBMIT(&w, 6, "GPU=2");
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "grant 5 GPU=0.5 on 3");
    rayi_scheduler_finish(w.scheduler, 1);
    rayi_scheduler_finish(w.scheduler, 3);
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 4);
    TOLD(&w, "grant 6 GPU=2 on 0,GPU-5d");
    world_fini(&w);
}

Test(scheduler, gpu_names_must_suffice)
{
    char why[256] = "";
    rayi_resources *total = resources_of("GPU=2");
    rayi_scheduler *made;
    rayi_scheduler_options options = {.node_id = "here", .total = total, .gpu_ids = "0"};
    cr_expect_eq(rayi_scheduler_new(rayi_heap, &options, &made, why, sizeof why), RAY_ERR_ARGUMENT);
    cr_expect_str_eq(why, "expected the names of 2 GPUs, but came \"0\"");
    rayi_resources_free(rayi_heap, total);
    total = resources_of("GPU=1025");
    options = (rayi_scheduler_options){.node_id = "here", .total = total};
    cr_expect_eq(rayi_scheduler_new(rayi_heap, &options, &made, why, sizeof why), RAY_ERR_LIMIT);
    rayi_resources_free(rayi_heap, total);
}

/* Else the lane would start tasks in slots that are nobody's to give. */
Test(scheduler, who_resumes_has_the_lanes_slots_asked_back)
{
    world w;
    world_init(&w, "CPU=3", "", NULL);
    TOLD(&w, "give 3");
    SUBMIT(&w, 1, "CPU=2");
    TOLD(&w, "ask 2");
    rayi_scheduler_lane_returned(w.scheduler, 2);
    TOLD(&w, "grant 1 CPU=2");
    rayi_scheduler_block(w.scheduler, 1);
    TOLD(&w, "give 2");
    rayi_scheduler_resume(w.scheduler, 1);
    TOLD(&w, "ask 2");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "");
    cr_expect_eq(rayi_scheduler_lane_slots(w.scheduler), 1);
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "give 2");
    world_fini(&w);
}

/* But while it has tasks that wait it keeps its half. */
Test(scheduler, who_resumes_leaves_the_lane_its_half)
{
    world w;
    world_init(&w, "CPU=2", "", NULL);
    TOLD(&w, "give 2");
    rayi_scheduler_lane_waiting(w.scheduler, true);
    SUBMIT(&w, 1, "CPU=1");
    TOLD(&w, "ask 1");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "grant 1 CPU=1");
    rayi_scheduler_block(w.scheduler, 1);
    TOLD(&w, "give 1");
    rayi_scheduler_resume(w.scheduler, 1);
    TOLD(&w, "ask 1");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "");
    SUBMIT_AS(&w, 2, "CPU=1", .priority = 1);
    rayi_scheduler_block(w.scheduler, 1);
    TOLD(&w, "grant 2 CPU=1");
    rayi_scheduler_resume(w.scheduler, 1);
    TOLD(&w, "");
    rayi_scheduler_lane_waiting(w.scheduler, false);
    TOLD(&w, "ask 1");
    world_fini(&w);
}

Test(scheduler, a_blocked_task_lends_its_cpu_only)
{
    world w;
    world_init(&w, "CPU=1.5, GPU=1", "", NULL);
    TOLD(&w, "give 1");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    SUBMIT(&w, 1, "CPU=1.5, GPU=1");
    TOLD(&w, "grant 1 CPU=1.5, GPU=1 on 0");
    SUBMIT(&w, 2, "CPU=1.5");
    SUBMIT(&w, 3, "GPU=1");
    rayi_scheduler_block(w.scheduler, 1);
    TOLD(&w, "grant 2 CPU=1.5");
    rayi_scheduler_resume(w.scheduler, 1); /* now both run */
    TOLD(&w, "");
    cr_expect_eq(available(&w, "CPU"), 0);
    SUBMIT(&w, 4, "CPU=1.5");
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "");
    rayi_scheduler_block(w.scheduler, 1);
    TOLD(&w, "grant 4 CPU=1.5");
    rayi_scheduler_finish(w.scheduler, 1); /* while blocked: its CPU is with 4 */
    TOLD(&w, "grant 3 GPU=1 on 0");
    cr_expect_eq(available(&w, "CPU"), 0);
    rayi_scheduler_finish(w.scheduler, 4);
    TOLD(&w, "give 1");
    world_fini(&w);
}

Test(scheduler, remove_is_in_time_or_too_late)
{
    world w;
    rayi_scheduler_action action;
    world_init(&w, "disk=1", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    SUBMIT(&w, 2, "disk=1");
    SUBMIT(&w, 3, "disk=1");
    cr_expect(rayi_scheduler_remove(w.scheduler, 2));
    cr_assert(rayi_scheduler_next(w.scheduler, &action) && action.id == 1);
    cr_assert_not(rayi_scheduler_remove(w.scheduler, 1), "granted and fetched");
    cr_assert_not(rayi_scheduler_remove(w.scheduler, 2), "unknown");
    rayi_scheduler_finish(w.scheduler, 1);
    SUBMIT(&w, 4, "");
    cr_assert(rayi_scheduler_next(w.scheduler, &action) && (action.id == 3 || action.id == 4));
    cr_expect(rayi_scheduler_remove(w.scheduler, 7 - action.id), "granted but not fetched: it gives back what it has");
    TOLD(&w, "");
    SUBMIT_AS(&w, 5, "", .node_id = "elsewhere");
    cr_expect(rayi_scheduler_remove(w.scheduler, 5), "refused but not fetched");
    TOLD(&w, "");
    world_fini(&w);
}

Test(scheduler, a_removed_grant_is_given_back)
{
    world w;
    rayi_scheduler_action action;
    world_init(&w, "disk=2", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    SUBMIT(&w, 2, "disk=1");
    SUBMIT(&w, 3, "disk=1");
    cr_assert(rayi_scheduler_next(w.scheduler, &action) && action.id == 1);
    cr_expect(rayi_scheduler_remove(w.scheduler, 2));
    TOLD(&w, "grant 3 disk=1");
    cr_expect_eq(available(&w, "disk"), 0);
    world_fini(&w);
}

Test(scheduler, nodes)
{
    world w;
    world_init(&w, "disk=1", "", NULL);
    SUBMIT_AS(&w, 1, "", .node_id = "here");
    SUBMIT_AS(&w, 2, "", .node_id = "elsewhere", .node_soft = true);
    SUBMIT_AS(&w, 3, "", .node_id = "elsewhere");
    TOLD(&w, "refuse 3 -308: node elsewhere is not in the cluster; grant 1 ; grant 2 ");
    world_fini(&w);
}

/* ---- waiting in vain ---- */

Test(scheduler, a_warning_names_what_is_missing_once)
{
    world w;
    world_init(&w, "CPU=1, memory=1GiB", "", NULL);
    TOLD(&w, "give 1");
    cr_expect_eq(rayi_scheduler_wake_ms(w.scheduler), INT64_MAX);
    SUBMIT(&w, 1, "CPU=1, memory=2GiB");
    SUBMIT(&w, 2, "CPU=1, memory=2GiB");
    SUBMIT_AS(&w, 3, "licence=1", .priority = 7);
    TOLD(&w, "");
    cr_expect_eq(rayi_scheduler_wake_ms(w.scheduler), w.now_ms + 10000);
    pass_ms(&w, 9999);
    TOLD(&w, "");
    pass_ms(&w, 1);
    TOLD(&w, "warn 1.0: a task or actor asks for memory=2GiB, but the cluster has 1GiB in total; it waits; "
             "warn 3.0: a task or actor asks for licence=1, but the cluster has 0 in total; it waits");
    cr_expect_eq(rayi_scheduler_wake_ms(w.scheduler), INT64_MAX);
    SUBMIT_AS(&w, 4, "CPU=1, memory=2GiB", .priority = 1);
    pass_ms(&w, 20000);
    TOLD(&w, "");
    cr_expect(rayi_scheduler_remove(w.scheduler, 3));
    world_fini(&w);
}

Test(scheduler, labels)
{
    world w;
    char why[256];
    rayi_selector *eu, *us;
    cr_assert_eq(rayi_selector_parse(rayi_heap, "zone=eu", &eu, why, sizeof why), 0);
    cr_assert_eq(rayi_selector_parse(rayi_heap, "disk, zone=us", &us, why, sizeof why), 0);
    world_init(&w, "disk=1", "zone=eu, disk=ssd", NULL);
    SUBMIT_AS(&w, 1, "", .labels = eu);
    SUBMIT_AS(&w, 2, "", .labels = us);
    TOLD(&w, "grant 1 ");
    pass_ms(&w, 10000);
    TOLD(&w, "warn 2.0: a task or actor asks for a node with \"zone=us\", but there is none (the labels here are "
             "\"disk=ssd, zone=eu\"); it waits");
    world_fini(&w);
    rayi_selector_free(rayi_heap, eu);
    rayi_selector_free(rayi_heap, us);
}

/* ---- order ---- */

Test(scheduler, priority_then_age)
{
    world w;
    world_init(&w, "disk=1, x=1", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    TOLD(&w, "grant 1 disk=1");
    SUBMIT(&w, 2, "disk=1");
    w.now_ms++;
    SUBMIT_AS(&w, 3, "disk=1", .priority = 2);
    w.now_ms++;
    SUBMIT_AS(&w, 4, "disk=1", .priority = -2);
    w.now_ms++;
    SUBMIT(&w, 5, "disk=1");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "grant 3 disk=1");
    pass_ms(&w, 20000); /* 2 is worth 2 by now */
    SUBMIT_AS(&w, 6, "disk=1", .priority = 1);
    rayi_scheduler_finish(w.scheduler, 3);
    TOLD(&w, "grant 2 disk=1");
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "grant 5 disk=1");
    rayi_scheduler_finish(w.scheduler, 5);
    TOLD(&w, "grant 6 disk=1");
    rayi_scheduler_finish(w.scheduler, 6);
    TOLD(&w, "grant 4 disk=1");
    world_fini(&w);
}

/* Within one decision, too. */
Test(scheduler, the_longest_wait_first)
{
    world w;
    world_init(&w, "disk=9", "", NULL);
    SUBMIT(&w, 9, "disk=9");
    TOLD(&w, "grant 9 disk=9");
    for (uint64_t id = 1; id < 7; id++, w.now_ms++)
        SUBMIT(&w, id, id % 2 ? "disk=1" : "disk=2");
    rayi_scheduler_finish(w.scheduler, 9);
    TOLD(&w, "grant 1 disk=1; grant 2 disk=2; grant 3 disk=1; grant 4 disk=2; grant 5 disk=1; grant 6 disk=2");
    world_fini(&w);
}

Test(scheduler, equals_take_turns)
{
    world w;
    world_init(&w, "disk=1, x=1, y=1", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    TOLD(&w, "grant 1 disk=1");
    for (uint64_t id = 10; id < 13; id++) { /* all at the same moment */
        SUBMIT(&w, id, "disk=1, x=1");
        SUBMIT(&w, id + 10, "disk=1, y=1");
    }
    bool last_x = false;
    for (int i = 0; i < 6; i++) {
        static uint64_t running = 1;
        rayi_scheduler_action action;
        rayi_scheduler_finish(w.scheduler, running);
        cr_assert(rayi_scheduler_next(w.scheduler, &action));
        running = action.id;
        cr_expect(i == 0 || last_x != (running < 20));
        last_x = running < 20;
    }
    world_fini(&w);
}

Test(scheduler, awaited_work_inherits)
{
    world w;
    world_init(&w, "disk=1", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    TOLD(&w, "grant 1 disk=1");
    for (uint64_t id = 2; id < 8; id++, w.now_ms++)
        SUBMIT(&w, id, "disk=1");
    cr_expect_eq(rayi_scheduler_inherit(w.scheduler, 5, 3), 0);
    cr_expect_eq(rayi_scheduler_inherit(w.scheduler, 3, 3), 0);
    cr_expect_eq(rayi_scheduler_inherit(w.scheduler, 7, 3), 0);
    cr_expect_eq(rayi_scheduler_inherit(w.scheduler, 4, 3), 0);
    cr_expect_eq(rayi_scheduler_inherit(w.scheduler, 4, 1), 0);
    cr_expect_eq(rayi_scheduler_inherit(w.scheduler, 1, 3), 0);
    cr_expect_eq(rayi_scheduler_inherit(w.scheduler, 99, 3), 0);
    static const uint64_t order[] = {1, 3, 4, 5, 7, 2, 6};
    for (size_t i = 1; i < RAYI_COUNT_OF(order); i++) {
        rayi_scheduler_action action;
        rayi_scheduler_finish(w.scheduler, order[i - 1]);
        cr_assert(rayi_scheduler_next(w.scheduler, &action));
        cr_expect_eq(action.id, order[i]);
    }
    world_fini(&w);
}

/* Small tasks keep coming, each for 100 ms, so that never all of the disk is free unless somebody sees to it. */
Test(scheduler, a_wide_request_drains)
{
    world w;
    world_init(&w, "disk=4", "", NULL);
    uint64_t running[4] = {0}, next = 100;
    int64_t granted_ms = 0;
    for (int step = 0; step < 100 && !granted_ms; step++) {
        rayi_scheduler_action action;
        if (running[step % 4])
            rayi_scheduler_finish(w.scheduler, running[step % 4]);
        running[step % 4] = 0;
        if (step == 10)
            SUBMIT(&w, 1, "disk=4");
        SUBMIT(&w, next++, "disk=1");
        while (rayi_scheduler_next(w.scheduler, &action)) {
            if (action.id == 1)
                granted_ms = w.now_ms;
            else
                running[step % 4] = action.id;
        }
        pass_ms(&w, 25);
    }
    cr_assert_gt(granted_ms, 0, "the wide request starves");
    cr_assert_leq(granted_ms, 1000 + 10 * 25 + RAYI_SCHEDULER_DRAIN_MS + 150);
    world_fini(&w);
}

/* What the one that drains does not need, others may have. */
Test(scheduler, draining_holds_up_nobody_else)
{
    world w;
    world_init(&w, "disk=2, x=2", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    TOLD(&w, "grant 1 disk=1");
    SUBMIT(&w, 2, "disk=2, x=1");
    TOLD(&w, "");
    pass_ms(&w, RAYI_SCHEDULER_DRAIN_MS);
    SUBMIT(&w, 3, "disk=1");
    SUBMIT(&w, 4, "x=1");
    SUBMIT(&w, 5, "x=1");
    SUBMIT_AS(&w, 6, "disk=1", .priority = 1);
    TOLD(&w, "grant 6 disk=1; grant 4 x=1");
    rayi_scheduler_finish(w.scheduler, 1);
    rayi_scheduler_finish(w.scheduler, 6);
    TOLD(&w, "grant 2 disk=2, x=1");
    world_fini(&w);
}

/* An actor may hold its CPU for days: who needs all of them waits, and nobody waits for him. */
Test(scheduler, nothing_drains_for_what_does_not_fit_beside_actors)
{
    world w;
    world_init(&w, "CPU=4, x=1", "", NULL);
    SUBMIT_AS(&w, 1, "CPU=1", .lasts = true);
    TOLD(&w, "grant 1 CPU=1; give 3");
    rayi_scheduler_lane_waiting(w.scheduler, true);
    SUBMIT(&w, 2, "CPU=4, x=1");
    pass_ms(&w, 3 * RAYI_SCHEDULER_DRAIN_MS);
    TOLD(&w, "");
    SUBMIT(&w, 3, "x=1");
    TOLD(&w, "grant 3 x=1");
    rayi_scheduler_finish(w.scheduler, 3);
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "give 1"); /* to the lane */
    rayi_scheduler_finish(w.scheduler, 1);
    rayi_scheduler_lane_waiting(w.scheduler, false);
    pass_ms(&w, 1);
    TOLD(&w, "ask 3"); /* now it can come to it */
    rayi_scheduler_lane_returned(w.scheduler, 3);
    TOLD(&w, "grant 2 CPU=4, x=1");
    world_fini(&w);
}

Test(scheduler, gpus_drain)
{
    world w;
    world_init(&w, "GPU=2", "", NULL);
    SUBMIT(&w, 1, "GPU=0.5");
    TOLD(&w, "grant 1 GPU=0.5 on 0");
    SUBMIT(&w, 2, "GPU=2");
    pass_ms(&w, RAYI_SCHEDULER_DRAIN_MS);
    SUBMIT(&w, 3, "GPU=0.5");
    SUBMIT(&w, 4, "GPU=1");
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "grant 2 GPU=2 on 0,1");
    world_fini(&w);
}

Test(scheduler, cpus_drain)
{
    world w;
    world_init(&w, "CPU=2", "", NULL);
    TOLD(&w, "give 2");
    rayi_scheduler_lane_returned(w.scheduler, 2);
    SUBMIT(&w, 1, "CPU=1.5");
    TOLD(&w, "grant 1 CPU=1.5");
    SUBMIT(&w, 2, "CPU=2");
    pass_ms(&w, RAYI_SCHEDULER_DRAIN_MS);
    SUBMIT(&w, 3, "CPU=0.5");
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "grant 2 CPU=2");
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "grant 3 CPU=0.5; give 1");
    world_fini(&w);
}

Test(scheduler, wakes_when_something_could_change)
{
    world w;
    world_init(&w, "disk=1", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    TOLD(&w, "grant 1 disk=1");
    cr_expect_eq(rayi_scheduler_wake_ms(w.scheduler), INT64_MAX);
    SUBMIT(&w, 2, "disk=1");
    cr_expect_eq(rayi_scheduler_wake_ms(w.scheduler), w.now_ms + RAYI_SCHEDULER_DRAIN_MS);
    pass_ms(&w, RAYI_SCHEDULER_DRAIN_MS);
    cr_expect_eq(rayi_scheduler_wake_ms(w.scheduler), w.now_ms - RAYI_SCHEDULER_DRAIN_MS + RAYI_SCHEDULER_AGE_MS);
    world_fini(&w);
}

/* ---- what there is to see ---- */

static void count_demand(void *arg, const rayi_scheduler_demand_row *row)
{
    char *out = (char *)arg + strlen(arg);
    sprintf(out, "%s%" PRIu64 "x(%s) %d %" PRId64 "ms%s", *(char *)arg ? "; " : "", row->count, row->resources,
            (int)row->priority, row->waited_ms, row->infeasible ? " never" : "");
}

Test(scheduler, demand)
{
    world w;
    char rows[512] = "";
    world_init(&w, "disk=1, GPU=1", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    TOLD(&w, "grant 1 disk=1");
    SUBMIT(&w, 2, "disk=1");
    SUBMIT(&w, 3, "disk=1");
    SUBMIT_AS(&w, 4, "GPU=2", .priority = 3);
    pass_ms(&w, 5);
    rayi_scheduler_demand(w.scheduler, count_demand, rows);
    cr_expect_str_eq(rows, "2x(disk=1) 0 5ms; 1x(GPU=2) 3 5ms never");
    cr_expect_eq(rayi_scheduler_resource_count(w.scheduler), 3);
    cr_expect_eq(available(&w, "disk"), 0);
    cr_expect_eq(available(&w, "GPU"), UNIT);
    world_fini(&w);
}
