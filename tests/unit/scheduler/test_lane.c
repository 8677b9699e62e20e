/* Sharing CPUs with the lane: a small model of a lane that always has work beside a scheduler that always has requests.
 */
#include "told.h"

/* A lane whose tasks take task_ms each. */
typedef struct lane {
    uint32_t slots, asked;
    int64_t ends_ms[64]; /* of the task in each slot */
    uint64_t done;
} lane;

typedef struct running {
    uint64_t id;
    int64_t ends_ms; /* 0: unused */
    int kind;
} running;

typedef struct contest {
    world w;
    lane lane;
    int64_t lane_task_ms;
    running running[64];
    uint64_t next_id, done[4]; /* by kind */
    int64_t task_ms[4];
    int kinds[256]; /* of ids, modulo */
} contest;

static void contest_init(contest *c, const char *total)
{
    memset(c, 0, sizeof *c);
    world_init(&c->w, total, "", NULL);
    c->next_id = 1;
    c->lane_task_ms = 10;
    for (int i = 0; i < 4; i++)
        c->task_ms[i] = 10;
}

static void act(contest *c)
{
    rayi_scheduler_action action;
    while (rayi_scheduler_next(c->w.scheduler, &action)) {
        cr_assert_neq(action.what, RAYI_SCHEDULER_REFUSE);
        if (action.what == RAYI_SCHEDULER_LANE_GIVE)
            for (uint32_t i = 0; i < action.slots; i++)
                c->lane.ends_ms[c->lane.slots++] = c->w.now_ms + c->lane_task_ms;
        if (action.what == RAYI_SCHEDULER_LANE_ASK)
            c->lane.asked += action.slots;
        if (action.what != RAYI_SCHEDULER_GRANT)
            continue;
        running *r = c->running;
        while (r->ends_ms)
            r++;
        int kind = c->kinds[action.id % 256];
        *r = (running){action.id, c->w.now_ms + c->task_ms[kind], kind};
    }
}

static void submit_kind(contest *c, int kind, const char *resources, int32_t priority)
{
    c->kinds[c->next_id % 256] = kind;
    SUBMIT_AS(&c->w, c->next_id++, resources, .priority = priority);
}

/* One millisecond: what ends, ends; a slot that ends and is asked for goes back, otherwise it takes the next task. */
static void step(contest *c, bool lane_works)
{
    pass_ms(&c->w, 1);
    for (uint32_t i = 0; i < c->lane.slots;) {
        bool ends = !lane_works || c->lane.ends_ms[i] <= c->w.now_ms;
        if (ends && lane_works)
            c->lane.done++;
        if (ends && c->lane.asked) {
            c->lane.asked--;
            c->lane.ends_ms[i] = c->lane.ends_ms[--c->lane.slots];
            rayi_scheduler_lane_returned(c->w.scheduler, 1);
            continue;
        }
        if (ends)
            c->lane.ends_ms[i] = c->w.now_ms + c->lane_task_ms;
        i++;
    }
    for (running *r = c->running; r < c->running + 64; r++) {
        if (!r->ends_ms || r->ends_ms > c->w.now_ms)
            continue;
        c->done[r->kind]++;
        rayi_scheduler_finish(c->w.scheduler, r->id);
        r->ends_ms = 0;
    }
    act(c);
}

/* Kind 0 always has `backlog` requests; for `ms`. */
static void contend(contest *c, const char *resources, int32_t priority, uint64_t backlog, int64_t ms)
{
    rayi_scheduler_lane_waiting(c->w.scheduler, true);
    for (int64_t i = 0; i < ms; i++) {
        uint64_t in = c->next_id - 1;
        for (; in < c->done[0] + backlog; in++)
            submit_kind(c, 0, resources, priority);
        step(c, true);
    }
}

/* The same with one CPU, with many, with a longer queue, and with tasks longer than the lane's. */
static const struct {
    const char *total;
    uint64_t backlog;
    int64_t task_ms;
    double low, high; /* of the requests' part of all CPU time */
} halves[] = {
    {"CPU=1", 5, 10, 0.4, 0.6},   {"CPU=2", 5, 10, 0.4, 0.6},    {"CPU=3", 10, 10, 0.3, 0.7},
    {"CPU=8", 20, 10, 0.4, 0.6},  {"CPU=8", 300, 10, 0.4, 0.6},  {"CPU=8", 20, 100, 0.4, 0.6},
    {"CPU=1", 5, 100, 0.8, 0.95}, {"CPU=8", 20, 3000, 0.4, 0.6},
};

Test(lane, equals_share)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(halves); i++) {
        contest c;
        contest_init(&c, halves[i].total);
        c.task_ms[0] = halves[i].task_ms;
        act(&c);
        contend(&c, "CPU=1", 0, halves[i].backlog, 20000);
        double ours = (double)c.done[0] * (double)halves[i].task_ms, lanes = (double)c.lane.done * 10;
        double part = ours / (ours + lanes);
        cr_expect(part >= halves[i].low && part <= halves[i].high, "%s, %" PRIu64 " waiting: %.2f", halves[i].total,
                  halves[i].backlog, part);
        cr_assert_gt(ours + lanes, 20000 * 0.8 * atof(halves[i].total + 4), "CPUs lie idle");
        world_fini(&c.w);
    }
}

Test(lane, priority_goes_first_and_last)
{
    contest c;
    contest_init(&c, "CPU=4");
    act(&c);
    contend(&c, "CPU=1", 1, 20, 5000);
    cr_assert_gt(c.done[0] * 10, 4 * 5000 * 9 / 10, "above 0 has it all");
    world_fini(&c.w);
    contest_init(&c, "CPU=4");
    act(&c);
    contend(&c, "CPU=1", -1, 20, 9000);
    cr_expect_eq(c.done[0], 0, "below 0 has what is left");
    contend(&c, "CPU=1", -1, 20, 9000);
    cr_assert_gt(c.done[0], 0, "but ages");
    rayi_scheduler_lane_waiting(c.w.scheduler, false);
    uint64_t before = c.done[0];
    for (int i = 0; i < 100; i++)
        step(&c, false);
    cr_assert_geq(c.done[0] - before, 15, "an idle lane lends to anybody");
    world_fini(&c.w);
}

/* One that needs the whole node, while the lane never rests: it comes to run, and so does the lane. */
Test(lane, the_widest_takes_turns)
{
    contest c;
    contest_init(&c, "CPU=8");
    act(&c);
    contend(&c, "CPU=8", 0, 3, 20000);
    cr_assert_geq(c.done[0], 20, "%" PRIu64, c.done[0]);
    cr_assert_geq(c.lane.done, 20, "%" PRIu64, c.lane.done);
    world_fini(&c.w);
}

/* Actors hold what would be the requests' half, for good. */
Test(lane, a_half_held_for_good_starves_nobody)
{
    contest c;
    contest_init(&c, "CPU=4");
    c.task_ms[1] = INT64_MAX / 2;
    act(&c);
    rayi_scheduler_lane_waiting(c.w.scheduler, true);
    submit_kind(&c, 1, "CPU=2", 0);
    for (int i = 0; i < 2000; i++)
        step(&c, true);
    uint64_t before = c.lane.done;
    submit_kind(&c, 0, "CPU=1", 0);
    for (int i = 0; i < 11000; i++)
        step(&c, true);
    cr_expect_eq(c.done[0], 1);
    cr_assert_gt(c.lane.done - before, 1000);
    world_fini(&c.w);
}

Test(lane, an_idle_lane_lends_at_once)
{
    world w;
    world_init(&w, "CPU=2", "", NULL);
    TOLD(&w, "give 2");
    SUBMIT(&w, 1, "CPU=2");
    TOLD(&w, "ask 2");
    rayi_scheduler_lane_returned(w.scheduler, 2);
    TOLD(&w, "grant 1 CPU=2");
    rayi_scheduler_lane_waiting(w.scheduler, true);
    SUBMIT(&w, 2, "CPU=1");
    TOLD(&w, "");
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "grant 2 CPU=1; give 1");
    rayi_scheduler_finish(w.scheduler, 2);
    TOLD(&w, "give 1");
    world_fini(&w);
}

Test(lane, below_zero_takes_what_the_lane_leaves)
{
    world w;
    world_init(&w, "CPU=1.5", "", NULL);
    TOLD(&w, "give 1");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    SUBMIT(&w, 1, "CPU=1.5");
    TOLD(&w, "grant 1 CPU=1.5");
    rayi_scheduler_lane_waiting(w.scheduler, true);
    SUBMIT_AS(&w, 2, "CPU=1", .priority = -1);
    SUBMIT_AS(&w, 3, "CPU=0.5", .priority = -1);
    rayi_scheduler_finish(w.scheduler, 1);
    TOLD(&w, "grant 3 CPU=0.5; give 1");
    rayi_scheduler_lane_waiting(w.scheduler, false);
    TOLD(&w, "ask 1");
    world_fini(&w);
}

/* The CPU of a blocked request is no part of its side's half. */
Test(lane, a_blocked_request_has_no_share)
{
    world w;
    world_init(&w, "CPU=1", "", NULL);
    TOLD(&w, "give 1");
    rayi_scheduler_lane_waiting(w.scheduler, true);
    SUBMIT(&w, 1, "CPU=1");
    TOLD(&w, "ask 1");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "grant 1 CPU=1");
    rayi_scheduler_block(w.scheduler, 1);
    TOLD(&w, "give 1");
    SUBMIT(&w, 2, "CPU=1");
    TOLD(&w, "ask 1");
    rayi_scheduler_lane_returned(w.scheduler, 1);
    TOLD(&w, "grant 2 CPU=1");
    world_fini(&w);
}

/* Its half is held by others; what becomes idle waits for the one that drains, and the lane keeps its slots. */
Test(lane, draining_within_the_half)
{
    world w;
    world_init(&w, "CPU=8", "", NULL);
    TOLD(&w, "give 8");
    rayi_scheduler_lane_waiting(w.scheduler, true);
    for (uint64_t id = 1; id <= 4; id++)
        SUBMIT(&w, id, "CPU=1");
    TOLD(&w, "ask 4");
    rayi_scheduler_lane_returned(w.scheduler, 4);
    TOLD(&w, "grant 1 CPU=1; grant 2 CPU=1; grant 3 CPU=1; grant 4 CPU=1");
    SUBMIT(&w, 5, "CPU=4");
    TOLD(&w, "");
    pass_ms(&w, RAYI_SCHEDULER_DRAIN_MS);
    for (uint64_t id = 1; id <= 3; id++) {
        SUBMIT(&w, id + 10, "CPU=0.5");
        rayi_scheduler_finish(w.scheduler, id);
        TOLD(&w, "");
    }
    rayi_scheduler_finish(w.scheduler, 4);
    TOLD(&w, "grant 5 CPU=4");
    world_fini(&w);
}
