/* Many tasks and many nodes: time, reported, with bounds that only a wrong order of growth breaks. */
#include <time.h>

#include "planned.h"

static double now_s(void) /* of this process: others shall not count */
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* This node and `nodes` others of 8 CPUs, whose tables have what is available. */
typedef struct cluster {
    rayi_planner *planner;
    rayi_planner_resource rows[2];
    uint32_t nodes;
    rayi_resources *cpu;
} cluster;

static void table(cluster *c, int64_t now_ms)
{
    for (uint32_t i = 1; i <= c->nodes; i++) {
        rayi_planner_node node = {.id = node_of(i), .resources = c->rows, .resource_count = 2};
        cr_assert_eq(rayi_planner_node_put(c->planner, &node, now_ms), 0);
    }
}

static void cluster_init(cluster *c, uint32_t nodes)
{
    *c = (cluster){.nodes = nodes,
                   .rows = {{"CPU", 8 * RAYI_RESOURCE_UNIT, 8 * RAYI_RESOURCE_UNIT},
                            {"memory", RAYI_RESOURCE_AMOUNT_MAX, RAYI_RESOURCE_AMOUNT_MAX}},
                   .cpu = parsed("CPU=1")};
    cr_assert_eq(rayi_planner_new(rayi_heap, 1, &c->planner), 0);
    table(c, 0);
}

static void cluster_fini(cluster *c)
{
    rayi_resources_free(rayi_heap, c->cpu);
    rayi_planner_free(c->planner);
}

static void submit(cluster *c, const rayi_resources *resources, uint64_t id, uint32_t function, int64_t now_ms)
{
    rayi_planner_request request = {.id = id, .resources = resources, .function = function};
    cr_assert_eq(rayi_planner_submit(c->planner, &request, now_ms), 0);
}

/* Tasks go round: `window` of them wait or are assigned, each batch ends in the order in which it was assigned. Returns
 * ns a task, from submit to finished. */
static double go_round(cluster *c, uint32_t window, uint32_t batch, uint32_t functions, uint32_t tasks)
{
    uint64_t *assigned = calloc(window + 1, sizeof *assigned), ids = 0, first = 0, last = 0;
    double start = now_s();
    while (first < tasks) {
        int64_t now_ms = (int64_t)(first / 500); /* 500,000 a second */
        rayi_planner_action action;
        while (ids < first + window && ids < tasks)
            ids++, submit(c, c->cpu, ids, (uint32_t)(ids % functions), now_ms);
        while (rayi_planner_next(c->planner, &action))
            assigned[last++ % (window + 1)] = action.id;
        cr_assert_gt(last, first);
        for (uint32_t i = 0; i < batch && first < last; i++)
            rayi_planner_finished(c->planner, assigned[first++ % (window + 1)], now_ms);
    }
    double ns = (now_s() - start) * 1e9 / tasks;
    free(assigned);
    return ns;
}

Test(planner_many, a_task_from_submit_to_finished, .timeout = 300)
{
    static const struct {
        uint32_t nodes, window, batch, functions;
        const char *what;
    } rows[] = {
        {1, 10, 1, 1, "one at a time, there is room"},  {1000, 100, 1, 1, "one at a time, there is room"},
        {1000, 4000, 64, 1, "there is room"},           {10, 20000, 64, 1, "more wait than can go"},
        {1000, 100000, 64, 1, "more wait than can go"}, {1000, 100000, 1, 1, "more wait than can go, one at a time"},
        {5000, 100000, 64, 1, "more wait than can go"}, {1000, 100000, 64, 20, "of 20 functions"},
    };
    for (size_t i = 0; i < RAYI_COUNT_OF(rows); i++) {
        cluster c;
        cluster_init(&c, rows[i].nodes);
        go_round(&c, rows[i].window, rows[i].batch, rows[i].functions, 50000);
        double ns = go_round(&c, rows[i].window, rows[i].batch, rows[i].functions, 400000);
        fprintf(stderr,
                "%5" PRIu32 " nodes, %6" PRIu32 " tasks at once, ends in batches of %2" PRIu32 ", %s: %.0f ns\n",
                rows[i].nodes, rows[i].window, rows[i].batch, rows[i].what, ns);
        cr_expect_lt(ns, 100000);
        cluster_fini(&c);
    }
}

/* What nobody can run costs no search: 100,000 of a shape share one. */
Test(planner_many, what_nobody_can_run, .timeout = 300)
{
    static const uint32_t nodes[] = {10, 1000, 5000};
    for (size_t i = 0; i < RAYI_COUNT_OF(nodes); i++) {
        cluster c;
        rayi_planner_action action;
        rayi_resources *gpu = parsed("CPU=1, GPU=1");
        cluster_init(&c, nodes[i]);
        double start = now_s();
        for (uint64_t id = 1; id <= 100000; id++) {
            submit(&c, gpu, id, 1, 0);
            cr_assert_not(rayi_planner_next(c.planner, &action));
        }
        double took = now_s() - start;
        fprintf(stderr, "%5" PRIu32 " nodes, 100,000 tasks that nobody can run: %.3f s\n", nodes[i], took);
        cr_expect_lt(took, 5);
        cluster_fini(&c);
        rayi_resources_free(rayi_heap, gpu);
    }
}

/* A table that says what it said before, and one that changes, with tasks that wait. */
Test(planner_many, tables, .timeout = 300)
{
    static const uint32_t nodes[] = {1000, 5000};
    for (size_t i = 0; i < RAYI_COUNT_OF(nodes); i++) {
        cluster c;
        rayi_planner_action action;
        cluster_init(&c, nodes[i]);
        for (uint64_t id = 1; id <= 100000; id++)
            submit(&c, c.cpu, id, 1, 0);
        while (rayi_planner_next(c.planner, &action))
            continue;
        double ns[2];
        for (int changing = 0; changing < 2; changing++) {
            double start = now_s();
            for (int64_t round = 1; round <= 20; round++) {
                c.rows[1].available = RAYI_RESOURCE_AMOUNT_MAX / (changing ? round : 1);
                table(&c, round);
                while (rayi_planner_next(c.planner, &action))
                    continue;
            }
            ns[changing] = (now_s() - start) * 1e9 / 20 / nodes[i];
        }
        fprintf(stderr, "%5" PRIu32 " nodes, a row of a table: %.0f ns as before, %.0f ns changed\n", nodes[i], ns[0],
                ns[1]);
        cr_expect_lt(ns[1], 100000);
        cluster_fini(&c);
    }
}

/* Of many waiting tasks each may go to one node only, and all are busy. */
Test(planner_many, one_task_tied_to_each_node, .timeout = 300)
{
    cluster c;
    rayi_planner_action action;
    uint32_t sent = 0;
    cluster_init(&c, 5000);
    double start = now_s();
    for (uint32_t round = 0; round < 20; round++)
        for (uint32_t i = 1; i <= c.nodes; i++) {
            rayi_planner_id id = node_of(i);
            rayi_planner_request request = {
                .id = round * UINT64_C(10000) + i, .resources = c.cpu, .node_id = &id, .function = 1};
            cr_assert_eq(rayi_planner_submit(c.planner, &request, 0), 0);
        }
    double submitted = now_s();
    while (rayi_planner_next(c.planner, &action))
        sent++;
    double sent_s = now_s();
    cr_expect_eq(sent, 9 * c.nodes);
    for (uint32_t i = 1; i <= 1000; i++) {
        rayi_planner_finished(c.planner, i, 200);
        cr_assert(rayi_planner_next(c.planner, &action));
        cr_assert_eq(number_of(&action.node), i);
    }
    fprintf(stderr, "5,000 nodes, 20 tasks tied to each: %.0f ns to submit, %.0f ns to send, %.0f ns when one ends\n",
            (submitted - start) * 1e9 / 100000, (sent_s - submitted) * 1e9 / sent, (now_s() - sent_s) * 1e9 / 1000);
    cluster_fini(&c);
}

/* All that a large part of the cluster held comes back, in either order. */
Test(planner_many, all_comes_back, .timeout = 300)
{
    for (int backwards = 0; backwards < 2; backwards++) {
        cluster c;
        rayi_planner_action action;
        uint64_t sent = 0;
        cluster_init(&c, 1000);
        for (uint64_t id = 1; id <= 100000; id++)
            submit(&c, c.cpu, id, 1, (int64_t)id);
        while (rayi_planner_next(c.planner, &action))
            sent++;
        double start = now_s();
        for (uint64_t id = 1; id <= sent; id++)
            rayi_planner_returned(c.planner, backwards ? sent + 1 - id : id, RAYI_PLANNER_DRAINING, 100000);
        cr_expect_eq(rayi_planner_waiting(c.planner), 100000);
        while (rayi_planner_next(c.planner, &action))
            continue;
        double took = now_s() - start;
        fprintf(stderr, "%" PRIu64 " tasks come back%s: %.0f ns each\n", sent, backwards ? " backwards" : "",
                took * 1e9 / (double)sent);
        cr_expect_lt(took, 5);
        cluster_fini(&c);
    }
}
