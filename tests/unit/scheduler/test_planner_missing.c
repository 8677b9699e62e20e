/* What the planner says of what nobody has: resources, labels, functions. */
#include "planned.h"

Test(planner_missing, warnings_name_what_is_missing)
{
    plans p;
    rayi_planner_id one = node_of(1);
    plans_init(&p);
    PUT_SELF(&p, "CPU=4, memory=8GiB");
    PUT_AS(&p, 1, "CPU=1, GPU=2", NULL, .labels = "zone=eu");
    PLAN(&p, 1, "CPU=8");
    PLAN(&p, 2, "CPU=8");
    PLAN_AS(&p, 3, "CPU=8", NULL, .priority = 3);
    PLANNED(&p, "");
    cr_expect_eq(rayi_planner_wake_ms(p.planner), p.now_ms + RAYI_SCHEDULER_WARN_MS);
    plans_pass_ms(&p, RAYI_SCHEDULER_WARN_MS - 1);
    PLANNED(&p, "");
    plans_pass_ms(&p, 1);
    PLANNED(&p, "warn 1: a task or actor asks for CPU=8, but no node has more than 4 in total; it waits");
    plans_pass_ms(&p, RAYI_SCHEDULER_WARN_MS);
    PLANNED(&p, "");
    cr_expect_eq(rayi_planner_wake_ms(p.planner), INT64_MAX);
    PLAN(&p, 4, "ghost=1");
    PLAN_AS(&p, 5, "CPU=1", "zone=us", .priority = 0);
    PLAN(&p, 6, "CPU=2, GPU=1");
    PLAN_AS(&p, 7, "CPU=2", "zone=eu", .priority = 0);
    PLAN_AS(&p, 8, "CPU=2", NULL, .node_id = &one);
    PLANNED(&p, "");
    plans_pass_ms(&p, RAYI_SCHEDULER_WARN_MS);
    PLANNED(&p, "warn 4: a task or actor asks for ghost=1, but no node has more than 0 in total; it waits; "
                "warn 5: a task or actor asks for a node with \"zone=us\", but there is none; it waits; "
                "warn 6: a task or actor asks for \"CPU=2, GPU=1\", but no node has all of that; it waits; "
                "warn 7: a task or actor asks for \"CPU=2\" on a node with \"zone=eu\", but no node has all of that; "
                "it waits; "
                "warn 8: a task or actor asks for \"CPU=2\", but node 00000000000000000000000000000001, on which "
                "alone it may run, has less; it waits");
    PUT(&p, 2, "CPU=16"); /* it comes, … */
    PLANNED(&p, "3 to 2; 1 to 2; 2 ahead to 2");
    PLAN(&p, 12, "CPU=8");
    PLANNED(&p, "");
    go(&p, 2); /* … and goes: that is a new want */
    PLANNED(&p, "");
    plans_pass_ms(&p, RAYI_SCHEDULER_WARN_MS);
    PLANNED(&p, "warn 12: a task or actor asks for CPU=8, but no node has more than 4 in total; it waits");
    plans_fini(&p);
}

Test(planner_missing, returned_for_want_of_the_function)
{
    plans p;
    rayi_planner_id none = node_of(0), one = node_of(1);
    plans_init(&p);
    PUT_SELF(&p, "CPU=4");
    PUT(&p, 1, "CPU=4");
    PLAN_AS(&p, 1, "CPU=1", NULL, .function = 7, .function_name = "my_task");
    PLAN_AS(&p, 2, "CPU=1", NULL, .function = 8);
    PLANNED(&p, "1 to 0; 2 to 0");
    come_back(&p, 1, RAYI_PLANNER_LACKS);
    PLANNED(&p, "1 to 1");
    come_back(&p, 1, RAYI_PLANNER_LACKS);
    PLANNED(&p, "");
    PLAN_AS(&p, 3, "CPU=1", NULL, .function = 7, .spread = true);
    PLANNED(&p, "");
    plans_pass_ms(&p, RAYI_SCHEDULER_WARN_MS);
    PLANNED(&p, "warn 1: a task or actor asks for function my_task, but no node that could run it has it (nodes get it "
                "by --load or ray_load); it waits; "
                "warn 3: a task or actor asks for function my_task, but no node that could run it has it (nodes get it "
                "by --load or ray_load); it waits");
    rayi_planner_node_functions_changed(p.planner, &one);
    PLANNED(&p, "1 to 1; 3 to 1");
    PLAN_AS(&p, 4, "CPU=1", NULL, .function = 7, .node_id = &none);
    PLANNED(&p, "");
    plans_pass_ms(&p, RAYI_SCHEDULER_WARN_MS);
    PLANNED(&p, "warn 4: a task or actor asks for function my_task, but node 00000000000000000000000000000000, on "
                "which alone it may run, lacks it (nodes get it by --load or ray_load); it waits");
    go(&p, 0); /* with what was known of it */
    PLANNED(&p, "refuse 4: node 00000000000000000000000000000000 is not in the cluster");
    PUT_SELF(&p, "CPU=4");
    PLAN_AS(&p, 5, "CPU=1", NULL, .function = 7);
    PLANNED(&p, "5 to 0");
    plans_fini(&p);
}

Test(planner_missing, one_function_that_a_node_has_now)
{
    plans p;
    rayi_planner_id none = node_of(0), one = node_of(1), nobody = node_of(9);
    plans_init(&p);
    PUT_SELF(&p, "CPU=1");
    PUT(&p, 1, "CPU=1");
    PLAN_AS(&p, 7, "CPU=1", NULL, .function = 7);
    PLAN_AS(&p, 8, "CPU=1", NULL, .function = 8);
    PLANNED(&p, "7 to 0; 8 to 1");
    come_back(&p, 7, RAYI_PLANNER_LACKS);
    come_back(&p, 8, RAYI_PLANNER_LACKS);
    PLANNED(&p, "7 to 1; 8 to 0");
    come_back(&p, 7, RAYI_PLANNER_LACKS);
    come_back(&p, 8, RAYI_PLANNER_LACKS);
    PLANNED(&p, "");
    rayi_planner_node_knows(p.planner, &nobody, 7);
    rayi_planner_node_knows(p.planner, &one, 6);
    PLANNED(&p, "");
    rayi_planner_node_knows(p.planner, &one, 8);
    PLANNED(&p, "8 to 1"); /* 7 is not tried there again */
    rayi_planner_node_knows(p.planner, &none, 7);
    rayi_planner_node_knows(p.planner, &none, 7);
    PLANNED(&p, "7 to 0");
    PUT(&p, 2, "CPU=1"); /* nobody has said that it lacks any */
    PLAN_AS(&p, 17, "CPU=1", NULL, .function = 7);
    PLANNED(&p, "17 to 2");
    plans_fini(&p);
}

static void see_missing(void *arg, const rayi_planner_demand_row *row)
{
    rayi_text_printf(arg, "%s%s%s; ", row->resources, row->infeasible ? " by nobody" : "",
                     row->lacks_function ? row->function_name : "");
}

static const char *missing(plans *p)
{
    rayi_text text;
    rayi_text_init(&text, rayi_heap);
    rayi_planner_demand(p->planner, see_missing, &text);
    snprintf(p->told, sizeof p->told, "%s", text.data ? text.data : "");
    rayi_text_fini(&text);
    return p->told;
}

/* Each is told of when it is what is missing. */
Test(planner_missing, a_resource_is_missing_and_then_the_function)
{
    plans p;
    rayi_planner_id one = node_of(1);
    plans_init(&p);
    PUT_SELF(&p, "CPU=1");
    PLAN_AS(&p, 1, "CPU=1, disk=1", NULL, .function = 7, .function_name = "f");
    PLANNED(&p, "");
    cr_expect_str_eq(missing(&p), "CPU=1, disk=1 by nobody; ");
    plans_pass_ms(&p, RAYI_SCHEDULER_WARN_MS);
    PLANNED(&p, "warn 1: a task or actor asks for disk=1, but no node has more than 0 in total; it waits");
    PUT(&p, 1, "CPU=1, disk=1");
    PLANNED(&p, "1 to 1");
    come_back(&p, 1, RAYI_PLANNER_LACKS);
    PLANNED(&p, "");
    cr_expect_str_eq(missing(&p), "CPU=1, disk=1 by nobodyf; ");
    plans_pass_ms(&p, RAYI_SCHEDULER_WARN_MS - 1);
    PLANNED(&p, "");
    plans_pass_ms(&p, 1);
    PLANNED(&p, "warn 1: a task or actor asks for function f, but no node that could run it has it (nodes get it by "
                "--load or ray_load); it waits");
    go(&p, 1);
    PLANNED(&p, "");
    cr_expect_str_eq(missing(&p), "CPU=1, disk=1 by nobody; ");
    PUT(&p, 1, "CPU=1, disk=1");
    PLANNED(&p, "1 to 1");
    come_back(&p, 1, RAYI_PLANNER_LACKS);
    PLANNED(&p, "");
    rayi_planner_node_knows(p.planner, &one, 7);
    PLANNED(&p, "1 to 1");
    cr_expect_str_eq(missing(&p), "");
    plans_fini(&p);
}

/* A task tied to one node lacks what that one lacks. */
Test(planner_missing, what_a_tied_task_lacks)
{
    plans p;
    rayi_planner_id one = node_of(1), two = node_of(2);
    plans_init(&p);
    PUT(&p, 1, "CPU=1");
    PUT(&p, 2, "disk=1");
    PLAN_AS(&p, 1, "CPU=1", NULL, .function = 7, .function_name = "f", .node_id = &one);
    PLAN_AS(&p, 2, "CPU=1", NULL, .function = 7, .function_name = "f", .node_id = &two);
    PLANNED(&p, "1 to 1");
    come_back(&p, 1, RAYI_PLANNER_LACKS);
    PLANNED(&p, "");
    cr_expect_str_eq(missing(&p), "CPU=1 by nobody; CPU=1 by nobodyf; ");
    plans_fini(&p);
}
