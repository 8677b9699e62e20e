/* Placement groups. */
#include "told.h"

static int group_new(world *w, uint64_t id, const char *name, rayi_strategy strategy, const char *const *bundles,
                     uint32_t count)
{
    rayi_resources *parsed[8];
    for (uint32_t i = 0; i < count; i++)
        parsed[i] = resources_of(bundles[i]);
    rayi_scheduler_group group = {.id = id,
                                  .name = name,
                                  .bundles = (const rayi_resources *const *)parsed,
                                  .bundle_count = count,
                                  .strategy = strategy};
    int r = rayi_scheduler_group_new(w->scheduler, &group, w->now_ms);
    for (uint32_t i = 0; i < count; i++)
        rayi_resources_free(rayi_heap, parsed[i]);
    return r;
}

#define GROUP(w, id, name, strategy, ...)                                                                              \
    cr_assert_eq(group_new((w), (id), (name), (strategy), (const char *const[]){__VA_ARGS__},                          \
                           sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)),                               \
                 0)

static rayi_group_state state_of(const world *w, uint64_t id)
{
    rayi_scheduler_group_row row;
    cr_assert(rayi_scheduler_group_get(w->scheduler, id, &row));
    return row.state;
}

Test(groups, reserve_all_or_nothing)
{
    world w;
    world_init(&w, "CPU=4, disk=2", "", NULL);
    TOLD(&w, "give 4");
    SUBMIT(&w, 1, "disk=1");
    TOLD(&w, "grant 1 disk=1");
    GROUP(&w, 5, "five", RAYI_STRATEGY_PACK, "CPU=1, disk=1", "CPU=1, disk=1");
    TOLD(&w, "");
    cr_expect_eq(state_of(&w, 5), RAYI_GROUP_PENDING);
    SUBMIT_AS(&w, 2, "CPU=1", .group = 5);
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "ask 2");
    rayi_scheduler_lane_returned(w.scheduler, 2);
    TOLD(&w, "ready 5; grant 2 CPU=1 of 5.1");
    cr_expect_eq(state_of(&w, 5), RAYI_GROUP_CREATED);
    cr_expect_eq(available(&w, "disk"), 0);
    SUBMIT(&w, 3, "disk=1");
    TOLD(&w, "");
    world_fini(&w);
}

Test(groups, bundles)
{
    world w;
    world_init(&w, "disk=10", "", NULL);
    GROUP(&w, 5, NULL, RAYI_STRATEGY_STRICT_PACK, "disk=1", "disk=4");
    SUBMIT_AS(&w, 1, "disk=1", .group = 5, .bundle = 1);
    SUBMIT_AS(&w, 2, "disk=1", .group = 5, .bundle = 1);
    TOLD(&w, "ready 5; grant 1 disk=1 of 5.1");
    SUBMIT_AS(&w, 3, "disk=1", .group = 5);
    SUBMIT_AS(&w, 4, "disk=3", .group = 5);
    TOLD(&w, "grant 3 disk=1 of 5.2; grant 4 disk=3 of 5.2");
    SUBMIT_AS(&w, 5, "disk=1", .group = 5, .bundle = 2);
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "grant 2 disk=1 of 5.1");
    rayi_scheduler_finish(w.scheduler, 4);
    TOLD(&w, "grant 5 disk=1 of 5.2");
    SUBMIT_AS(&w, 6, "disk=2", .group = 5, .bundle = 1);
    SUBMIT_AS(&w, 7, "disk=5", .group = 5);
    SUBMIT_AS(&w, 8, "disk=1", .group = 5, .bundle = 3);
    SUBMIT_AS(&w, 9, "x=1", .group = 5);
    SUBMIT_AS(&w, 10, "disk=1", .group = 6);
    TOLD(&w, "refuse 6 -308: \"disk=2\" is more than the \"disk=1\" of bundle 1 of placement group 5; "
             "refuse 7 -308: \"disk=5\" is more than any bundle of placement group 5 holds; "
             "refuse 8 -308: expected a bundle from 1 to 2 of placement group 5, but came 3; "
             "refuse 9 -308: \"x=1\" is more than any bundle of placement group 5 holds; "
             "refuse 10 -309: placement group 6 was removed");
    world_fini(&w);
}

Test(groups, a_wide_request_drains_its_bundle)
{
    world w;
    world_init(&w, "disk=10", "", NULL);
    GROUP(&w, 5, NULL, RAYI_STRATEGY_PACK, "disk=1", "disk=2");
    SUBMIT_AS(&w, 1, "disk=1", .group = 5, .bundle = 2);
    TOLD(&w, "ready 5; grant 1 disk=1 of 5.2");
    SUBMIT_AS(&w, 2, "disk=2", .group = 5);
    TOLD(&w, "");
    pass_ms(&w, RAYI_SCHEDULER_DRAIN_MS);
    SUBMIT_AS(&w, 3, "disk=1", .group = 5);
    SUBMIT_AS(&w, 4, "disk=1", .group = 5);
    SUBMIT(&w, 5, "disk=1");
    TOLD(&w, "grant 5 disk=1; grant 3 disk=1 of 5.1");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "grant 2 disk=2 of 5.2");
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "grant 4 disk=1 of 5.2");
    world_fini(&w);
}

Test(groups, removal)
{
    world w;
    rayi_scheduler_action action;
    world_init(&w, "CPU=3, disk=3", "", NULL);
    TOLD(&w, "give 3");
    GROUP(&w, 5, "five", RAYI_STRATEGY_SPREAD, "CPU=1, disk=1", "CPU=1, disk=1");
    TOLD(&w, "ask 2");
    rayi_scheduler_lane_returned(w.scheduler, 2);
    SUBMIT_AS(&w, 1, "CPU=1", .group = 5);
    SUBMIT_AS(&w, 2, "CPU=1", .group = 5);
    SUBMIT_AS(&w, 3, "CPU=1", .group = 5);
    TOLD(&w, "ready 5; grant 1 CPU=1 of 5.1; grant 2 CPU=1 of 5.2");
    rayi_scheduler_block(w.scheduler, 2);
    w.now_ms++;
    SUBMIT_AS(&w, 4, "disk=1", .group = 5, .bundle = 1);
    cr_assert(rayi_scheduler_next(w.scheduler, &action) && action.id == 3);
    cr_expect(rayi_scheduler_group_remove(w.scheduler, 5));
    cr_assert_not(rayi_scheduler_group_remove(w.scheduler, 5));
    cr_assert_not(rayi_scheduler_group_remove(w.scheduler, 6));
    TOLD(&w, "refuse 4 -309: placement group \"five\" was removed; lost 1 -309: placement group \"five\" was removed; "
             "lost 2 -309: placement group \"five\" was removed; lost 3 -309: placement group \"five\" was removed");
    cr_expect_eq(state_of(&w, 5), RAYI_GROUP_REMOVED);
    cr_expect_eq(available(&w, "disk"), 3 * RAYI_RESOURCE_UNIT);
    SUBMIT_AS(&w, 6, "CPU=1", .group = 5);
    TOLD(&w, "refuse 6 -309: placement group 5 was removed");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "give 1");
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 3);
    TOLD(&w, "give 1");
    rayi_scheduler_group_row row;
    cr_assert_not(rayi_scheduler_group_get(w.scheduler, 5, &row), "nothing of it is left");
    world_fini(&w);
}

Test(groups, removal_while_pending)
{
    world w;
    world_init(&w, "disk=1", "", NULL);
    GROUP(&w, 5, NULL, RAYI_STRATEGY_PACK, "disk=2");
    SUBMIT_AS(&w, 1, "disk=1", .group = 5);
    TOLD(&w, "");
    cr_expect(rayi_scheduler_group_remove(w.scheduler, 5));
    TOLD(&w, "refuse 1 -309: placement group 5 was removed");
    GROUP(&w, 6, NULL, RAYI_STRATEGY_PACK, "disk=1");
    rayi_scheduler_group_row row;
    cr_expect(rayi_scheduler_group_get(w.scheduler, 6, &row));
    cr_expect(rayi_scheduler_group_remove(w.scheduler, 6));
    TOLD(&w, "");
    world_fini(&w);
}

Test(groups, warnings)
{
    world w;
    world_init(&w, "CPU=2, GPU=2", "", NULL);
    TOLD(&w, "give 2");
    GROUP(&w, 1, "apart", RAYI_STRATEGY_STRICT_SPREAD, "CPU=1", "CPU=1");
    GROUP(&w, 2, "much", RAYI_STRATEGY_PACK, "CPU=1", "CPU=2");
    GROUP(&w, 3, "odd", RAYI_STRATEGY_PACK, "GPU=0.6", "GPU=0.6", "GPU=0.6");
    GROUP(&w, 4, NULL, RAYI_STRATEGY_PACK, "licence=1");
    TOLD(&w, "");
    pass_ms(&w, RAYI_SCHEDULER_WARN_MS);
    TOLD(&w, "warn 0.1: placement group \"apart\" asks for 2 nodes, one for each bundle (STRICT_SPREAD), but there is "
             "1; it waits; "
             "warn 0.2: placement group \"much\" asks for CPU=3, but the cluster has 2 in total; it waits; "
             "warn 0.3: placement group \"odd\" asks for shares of GPUs that do not go into the 2 there are; it waits; "
             "warn 0.4: placement group 4 asks for licence=1, but the cluster has 0 in total; it waits");
    TOLD(&w, "");
    world_fini(&w);
}

Test(groups, gpus_are_packed)
{
    world w;
    world_init(&w, "GPU=3", "", NULL);
    GROUP(&w, 1, NULL, RAYI_STRATEGY_PACK, "GPU=0.4", "GPU=0.4", "GPU=0.6", "GPU=0.6", "GPU=1");
    SUBMIT_AS(&w, 1, "GPU=1", .group = 1);
    w.now_ms++;
    SUBMIT_AS(&w, 2, "GPU=0.4", .group = 1, .bundle = 1);
    w.now_ms++;
    SUBMIT_AS(&w, 3, "GPU=0.4", .group = 1, .bundle = 2);
    w.now_ms++;
    SUBMIT_AS(&w, 4, "GPU=0.6", .group = 1, .bundle = 3);
    w.now_ms++;
    SUBMIT_AS(&w, 5, "GPU=0.3", .group = 1, .bundle = 4);
    w.now_ms++;
    SUBMIT_AS(&w, 6, "GPU=0.3", .group = 1, .bundle = 4);
    w.now_ms++;
    TOLD(&w, "ready 1; grant 1 GPU=1 on 0 of 1.5; grant 2 GPU=0.4 on 1 of 1.1; grant 3 GPU=0.4 on 2 of 1.2; "
             "grant 4 GPU=0.6 on 1 of 1.3; grant 5 GPU=0.3 on 2 of 1.4; grant 6 GPU=0.3 on 2 of 1.4");
    world_fini(&w);
}

/* What is reserved may be so for days. */
Test(groups, nothing_drains_for_what_does_not_fit_beside_a_group)
{
    world w;
    world_init(&w, "disk=4", "", NULL);
    GROUP(&w, 1, NULL, RAYI_STRATEGY_PACK, "disk=1", "disk=1");
    TOLD(&w, "ready 1");
    SUBMIT(&w, 1, "disk=3");
    GROUP(&w, 2, NULL, RAYI_STRATEGY_PACK, "disk=1", "disk=2");
    pass_ms(&w, 3 * RAYI_SCHEDULER_DRAIN_MS);
    SUBMIT(&w, 2, "disk=2");
    TOLD(&w, "grant 2 disk=2");
    cr_expect(rayi_scheduler_group_remove(w.scheduler, 1));
    SUBMIT(&w, 3, "disk=1");
    TOLD(&w, ""); /* now it drains for the first one */
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "grant 1 disk=3"); /* and then for the group */
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "ready 2; grant 3 disk=1");
    world_fini(&w);
}

/* A group is wide, too. */
Test(groups, a_group_drains)
{
    world w;
    world_init(&w, "disk=2", "", NULL);
    SUBMIT(&w, 1, "disk=1");
    GROUP(&w, 1, NULL, RAYI_STRATEGY_PACK, "disk=1", "disk=1");
    TOLD(&w, "grant 1 disk=1");
    pass_ms(&w, RAYI_SCHEDULER_DRAIN_MS);
    SUBMIT(&w, 2, "disk=1");
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "ready 1");
    cr_expect(rayi_scheduler_group_remove(w.scheduler, 1));
    TOLD(&w, "grant 2 disk=1");
    world_fini(&w);
}
