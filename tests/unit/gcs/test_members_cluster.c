/* Head and nodes together, in a played network: see cluster.h. RAY_TEST_SEED, RAY_TEST_ROUNDS: other seeds. */
#include "cluster.h"

static cluster c;

static void start_all(uint32_t count, uint64_t seed)
{
    cluster_init(&c, seed, count);
    for (uint32_t i = 1; i <= count; i++)
        cluster_start(&c, i);
}

/* The time in ms until all are members. */
static int64_t until_all_are_back(uint32_t count, int64_t limit_ms)
{
    int64_t ms = 0;
    for (; cluster_members(&c) < count && ms < limit_ms; ms += 10)
        cluster_run(&c, 10);
    cr_assert_eq(cluster_members(&c), count, "%u of %u", cluster_members(&c), count);
    return ms;
}

static int64_t until_all_agree(int64_t limit_ms)
{
    int64_t ms = 0;
    for (; !cluster_agrees(&c) && ms < limit_ms; ms += 50)
        cluster_run(&c, 50);
    cr_assert(cluster_agrees(&c), "not after %" PRId64 " ms", limit_ms);
    return ms;
}

static uint64_t most_bytes(void)
{
    uint64_t most = 0;
    for (uint32_t i = 1; i < c.count; i++)
        most = RAYI_MAX(most, c.nodes[i].most_bytes);
    return most;
}

static void forget_figures(void)
{
    for (uint32_t i = 1; i < c.count; i++)
        c.nodes[i].most_bytes = c.nodes[i].second_bytes = c.nodes[i].pulls = 0;
    c.head_bytes_out = 0;
}

/* ---- faults at random ---- */

static void hurt(void)
{
    uint32_t number = 1 + roll(&c.seed, c.count - 1);
    switch (roll(&c.seed, 12)) {
    case 0:
        cluster_crash(&c, number);
        return;
    case 1:
    case 2:
    case 3:
        cluster_start(&c, number);
        return;
    case 4:
        cluster_cut(&c, number, roll(&c.seed, 20000));
        return;
    case 5:
        for (uint32_t i = 1; i < c.count; i++)
            if (roll(&c.seed, 4) == 0)
                cluster_cut(&c, i, 1000 + roll(&c.seed, 12000));
        return;
    case 6:
        cluster_break_link(&c, number);
        return;
    case 7:
        cluster_stop(&c, number, roll(&c.seed, 14000));
        return;
    case 8:
        if (roll(&c.seed, 4) == 0)
            cluster_head_stop(&c, roll(&c.seed, 15000));
        return;
    case 9:
        if (roll(&c.seed, 3) == 0)
            cluster_head_crash(&c);
        return;
    case 10:
        cluster_head_start(&c);
        return;
    case 11:
        c.hint_loss = roll(&c.seed, 31);
        c.link_late = roll(&c.seed, 2) ? roll(&c.seed, 31) : 0;
        c.hint_late_us = 1000 + roll(&c.seed, 800000);
        return;
    }
}

static void heal(void)
{
    c.hint_loss = c.link_late = 0;
    c.hint_late_us = 1000;
    c.head_stopped_until_us = 0;
    cluster_head_start(&c);
    for (uint32_t i = 1; i < c.count; i++)
        c.nodes[i].cut_until_us = c.nodes[i].stopped_until_us = 0;
}

Test(cluster, everybody_agrees_after_faults, .timeout = 600)
{
    const char *given = getenv("RAY_TEST_SEED"), *many = getenv("RAY_TEST_ROUNDS");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, rounds = many ? strtoull(many, NULL, 0) : 60;
    uint64_t deaths = 0, false_deaths = 0, heads = 0;
    int64_t longest = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        fprintf(stderr, "\rseed %" PRIu64 " ", seed);
        start_all(5 + (uint32_t)(seed % 26), seed);
        for (int i = 0; i < 240; i++) {
            if (roll(&c.seed, 2))
                hurt();
            cluster_load(&c, 1 + roll(&c.seed, c.count - 1), roll(&c.seed, 1000));
            cluster_run(&c, 1 + roll(&c.seed, 1000));
        }
        heal();
        int64_t ms = until_all_agree(25000);
        longest = RAYI_MAX(longest, ms);
        deaths += c.deaths;
        false_deaths += c.false_deaths;
        heads += c.generation;
        cluster_fini(&c);
    }
    fprintf(stderr,
            "\r%" PRIu64 " deaths, %" PRIu64 " of them of nodes that lived on without a lease, %" PRIu64
            " heads; all agree at most %" PRId64 " ms after healing\n",
            deaths, false_deaths, heads, longest);
    cr_assert_gt(false_deaths, 0);
}

/* ---- blackouts and clocks ---- */

Test(cluster, a_blackout_of_five_seconds_kills_nobody, .timeout = 600)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        start_all(50, seed);
        cluster_run(&c, 3000 + (int64_t)seed * 101);
        for (int times = 0; times < 3; times++) {
            for (uint32_t i = 1; i <= 50; i++)
                cluster_cut(&c, i, 5000);
            cluster_run(&c, 5000);
            until_all_are_back(50, 5000);
            cluster_run(&c, 20000);
        }
        cr_assert_eq(c.deaths, 0);
        cr_assert_eq(c.ends, 0);
        until_all_agree(3000);
        cluster_fini(&c);
    }
}

/* A silent partition: suspect within about a second, dead within twelve. */
Test(cluster, a_partition_is_seen, .timeout = 600)
{
    rayi_node_id one = id_of(1);
    start_all(20, 3);
    cluster_run(&c, 5000);
    cluster_cut(&c, 1, 30000);
    cluster_run(&c, 1400);
    cr_expect_eq(rayi_roster_get(rayi_members_roster(c.members), &one)->state, RAYI_NODE_SUSPECT);
    cluster_run(&c, 7700);
    cr_expect_not(c.nodes[1].active); /* it knows before the head declares it */
    cr_expect_eq(rayi_roster_get(rayi_members_roster(c.members), &one)->state, RAYI_NODE_SUSPECT);
    cluster_run(&c, 2800);
    cr_expect_eq(rayi_roster_get(rayi_members_roster(c.members), &one)->state, RAYI_NODE_DEAD);
    uint64_t old = rayi_membership_incarnation(c.nodes[1].m);
    cluster_run(&c, 25000);
    cr_expect(c.nodes[1].active);
    cr_expect_gt(rayi_membership_incarnation(c.nodes[1].m), old);
    cr_expect_eq(c.deaths, 1);
    until_all_agree(3000);
    cluster_fini(&c);
}

/* A process that is killed: on the head's host it is dead at once, elsewhere within a second. */
Test(cluster, a_kill_is_seen, .timeout = 600)
{
    for (uint32_t number = 3; number <= 4; number++) {
        rayi_node_id id = id_of(number);
        int64_t ms = 0;
        start_all(8, number);
        cluster_run(&c, 5000);
        cluster_crash(&c, number);
        while (rayi_roster_get(rayi_members_roster(c.members), &id)->state != RAYI_NODE_DEAD) {
            cluster_run(&c, 1);
            cr_assert_lt(++ms, 1000);
        }
        fprintf(stderr, "dead after %" PRId64 " ms %s\n", ms, number == 4 ? "on the same host" : "elsewhere");
        cr_expect_lt(ms, number == 4 ? 20 : 500);
        cluster_start(&c, number);
        until_all_are_back(8, 2000);
        until_all_agree(2000);
        cluster_fini(&c);
    }
}

/* ---- a thousand nodes ---- */

static void say(const char *what, int64_t ms)
{
    uint64_t pulls = 0;
    for (uint32_t i = 1; i < c.count; i++)
        pulls += c.nodes[i].pulls;
    fprintf(stderr,
            "%-44s %5" PRId64 " ms; a node receives at most %4" PRIu64
            " KiB in a second; the head sent %6.1f MiB, %" PRIu64 " pulls\n",
            what, ms, most_bytes() / 1024, (double)c.head_bytes_out / 1048576, pulls);
    cr_expect_lt(most_bytes(), 1024 * 1024);
    forget_figures();
}

static void load_all(int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 100) {
        for (uint32_t k = 1; k < c.count; k++)
            cluster_load(&c, k, roll(&c.seed, 1000));
        cluster_run(&c, 100);
    }
}

Test(cluster, a_thousand_nodes, .timeout = 600)
{
    start_all(1000, 1);
    int64_t ms = until_all_are_back(1000, 5000);
    say("1,000 nodes join at once: all in after", ms);
    say("and all agree after another", until_all_agree(5000));
    cluster_run(&c, 5000);
    say("at rest, in", 5000);
    load_all(2000);
    say("all loads change all the time, in", 2000);
    until_all_agree(5000);
    cluster_run(&c, 3000);
    forget_figures();

    cluster_head_crash(&c);
    cluster_run(&c, 1000);
    cluster_head_start(&c);
    say("the head comes back: all in after", until_all_are_back(1000, 5000));
    say("and all agree after another", until_all_agree(5000));
    cr_expect_eq(c.deaths, 1); /* the head's own node */

    for (uint32_t i = 1; i <= 1000; i++)
        cluster_cut(&c, i, 20000);
    cluster_run(&c, 20000);
    cr_expect_eq(c.deaths, 1001);
    forget_figures();
    say("all were declared dead: all in again after", until_all_are_back(1000, 5000));
    say("and all agree after another", until_all_agree(5000));
    cluster_fini(&c);
}
