/* Random events against an independent account of who holds what, kept from the actions alone. Also runs with the heap
 * failing at random: a call that fails must leave everything that can be seen as it was. */
#include "told.h"

enum { KINDS = 4, GPUS = 3, IDS = 400, GROUPS = 8 };
static const char *const kind_names[KINDS] = {"CPU", "GPU", "disk", "memory"};
static const char total_text[] = "CPU=6.5, GPU=3, disk=5, memory=8GiB";
static const char *const shapes[] = {
    "CPU=1, disk=1",
    "CPU=0.5",
    "CPU=2",
    "CPU=6",
    "disk=2",
    "disk=5",
    "GPU=1",
    "GPU=0.25",
    "GPU=0.4",
    "CPU=1, GPU=2",
    "memory=3GiB",
    "CPU=2, memory=5GiB",
    "",
    "CPU=7",
    "CPU=1, ghost=1",
    "GPU=3, CPU=0.5",
};
enum { FEASIBLE_SHAPES = 13 };

typedef enum stage { UNUSED, WAITS, RUNS, BLOCKED, ENDED } stage;

typedef struct task {
    stage stage;
    bool feasible, refusable;
    uint64_t group;  /* asked for */
    uint32_t bundle; /* granted from; 0: the node, also after its group is removed */
    int64_t held[KINDS];
    int64_t gpus[GPUS];
} task;

typedef struct group {
    uint64_t id; /* 0: unused */
    bool ready, feasible;
    uint32_t count;
    int64_t bundles[3][KINDS];
} group;

typedef struct model {
    world w;
    uint64_t seed;
    int64_t total[KINDS];
    task tasks[IDS];
    group groups[GROUPS];
    uint64_t next_group;
    uint32_t lane, asked;
    bool lane_waits;
    uint64_t granted, failures;
    bool resumed; /* since everything was fetched: what was decided before may overdraw the CPU */
} model;

static void amounts_of(const char *text, int64_t out[KINDS])
{
    rayi_resources *parsed = resources_of(text);
    for (int i = 0; i < KINDS; i++)
        out[i] = rayi_resources_amount(parsed, kind_names[i]);
    rayi_resources_free(rayi_heap, parsed);
}

static group *group_of(model *m, uint64_t id)
{
    for (int i = 0; id && i < GROUPS; i++)
        if (m->groups[i].id == id)
            return &m->groups[i];
    return NULL;
}

static bool holds(const task *t)
{
    return t->stage == RUNS || t->stage == BLOCKED;
}

static int64_t held_of(const task *t, int kind)
{
    return !holds(t) || (kind == 0 && t->stage == BLOCKED) ? 0 : t->held[kind];
}

/* What is taken of the node: by tasks outside of bundles, by groups, by the lane. */
static int64_t node_taken(model *m, int kind)
{
    int64_t taken = kind == 0 ? (int64_t)m->lane * RAYI_RESOURCE_UNIT : 0;
    for (int i = 0; i < IDS; i++)
        if (!m->tasks[i].bundle)
            taken += held_of(&m->tasks[i], kind);
    for (int i = 0; i < GROUPS; i++)
        for (uint32_t k = 0; m->groups[i].id && m->groups[i].ready && k < m->groups[i].count; k++)
            taken += m->groups[i].bundles[k][kind];
    return taken;
}

static int64_t bundle_taken(model *m, uint64_t id, uint32_t bundle, int kind)
{
    int64_t taken = 0;
    for (int i = 0; i < IDS; i++)
        if (m->tasks[i].group == id && m->tasks[i].bundle == bundle)
            taken += held_of(&m->tasks[i], kind);
    return taken;
}

static void check_node(model *m, const int64_t added[KINDS])
{
    for (int kind = m->resumed ? 1 : 0; kind < KINDS; kind++)
        if (added[kind]) /* the CPU may be overdrawn by others */
            cr_assert_leq(node_taken(m, kind), m->total[kind], "too much %s", kind_names[kind]);
}

static void note_gpus(model *m, task *t, const char *gpus)
{
    memset(t->gpus, 0, sizeof t->gpus);
    int64_t each = RAYI_MIN(t->held[1], RAYI_RESOURCE_UNIT), places = 0;
    for (; *gpus; gpus += gpus[1] == ',' ? 2 : 1, places++)
        t->gpus[*gpus - '0'] = each;
    cr_assert_eq(places * each, t->held[1]);
    for (int i = 0; i < GPUS; i++) {
        int64_t used = 0;
        for (int k = 0; k < IDS; k++)
            used += holds(&m->tasks[k]) ? m->tasks[k].gpus[i] : 0;
        cr_assert_leq(used, RAYI_RESOURCE_UNIT, "GPU %d is given twice", i);
    }
}

static void on_grant(model *m, const rayi_scheduler_action *action)
{
    task *t = &m->tasks[action->id];
    cr_assert_eq(t->stage, WAITS, "granted when it did not wait");
    cr_assert(t->feasible);
    t->stage = RUNS;
    t->bundle = action->bundle;
    amounts_of(action->resources, t->held);
    m->granted++;
    note_gpus(m, t, action->gpus);
    if (!t->bundle) {
        cr_assert_eq(t->group, 0);
        check_node(m, t->held);
        return;
    }
    group *g = group_of(m, t->group);
    cr_assert(g && g->ready);
    for (int kind = m->resumed ? 1 : 0; kind < KINDS; kind++)
        if (t->held[kind])
            cr_assert_leq(bundle_taken(m, g->id, t->bundle, kind), g->bundles[t->bundle - 1][kind]);
}

static void on_action(model *m, const rayi_scheduler_action *action)
{
    switch (action->what) {
    case RAYI_SCHEDULER_GRANT:
        on_grant(m, action);
        return;
    case RAYI_SCHEDULER_REFUSE:
        cr_assert_eq(m->tasks[action->id].stage, WAITS);
        cr_assert(m->tasks[action->id].refusable || !group_of(m, m->tasks[action->id].group));
        m->tasks[action->id].stage = ENDED;
        return;
    case RAYI_SCHEDULER_LOST:
        cr_assert(holds(&m->tasks[action->id]));
        return;
    case RAYI_SCHEDULER_WARN:
        cr_assert(action->id ? !m->tasks[action->id].feasible : !group_of(m, action->group)->feasible);
        return;
    case RAYI_SCHEDULER_GROUP_READY: {
        group *g = group_of(m, action->group);
        cr_assert(g && !g->ready && g->feasible);
        g->ready = true;
        for (uint32_t i = 0; i < g->count; i++)
            check_node(m, g->bundles[i]);
        return;
    }
    case RAYI_SCHEDULER_LANE_GIVE:
        m->lane += action->slots;
        check_node(m, (const int64_t[KINDS]){1});
        return;
    case RAYI_SCHEDULER_LANE_ASK:
        m->asked += action->slots;
        cr_assert_leq(m->asked, m->lane);
        return;
    }
}

static void drain(model *m)
{
    rayi_scheduler_action action;
    while (rayi_scheduler_next(m->w.scheduler, &action))
        on_action(m, &action);
    m->resumed = false;
    int64_t over = node_taken(m, 0) - m->total[0];
    if (over > 0 && !m->lane_waits) /* by those that have resumed: the lane is to give back what it has of it */
        cr_assert_geq(m->asked, RAYI_MIN(m->lane, (over + RAYI_RESOURCE_UNIT - 1) / RAYI_RESOURCE_UNIT));
}

/* What is left is fetched after other events. */
static void drain_some(model *m)
{
    rayi_scheduler_action action;
    for (uint32_t i = roll(&m->seed, 4); i > 0 && rayi_scheduler_next(m->w.scheduler, &action); i--)
        on_action(m, &action);
}

/* ---- what can be seen ---- */

static void see_demand(void *arg, const rayi_scheduler_demand_row *row)
{
    rayi_text_printf(arg, "%s,%s,%" PRIu64 ",%" PRIu32 ",%d,%" PRIu64 ";", row->resources, row->labels, row->group,
                     row->bundle, (int)row->priority, row->count);
}

static void see_group(void *arg, const rayi_scheduler_group_row *row)
{
    rayi_text_printf(arg, "%" PRIu64 ",%d;", row->id, (int)row->state);
}

static void see(model *m, rayi_text *out)
{
    rayi_text_init(out, rayi_heap);
    rayi_scheduler_demand(m->w.scheduler, see_demand, out);
    rayi_scheduler_groups(m->w.scheduler, see_group, out);
    for (uint32_t i = 0; i < rayi_scheduler_resource_count(m->w.scheduler); i++)
        rayi_text_printf(out, "%" PRId64 ";", rayi_scheduler_resource_at(m->w.scheduler, i).available);
    rayi_text_printf(out, "%" PRIu32, rayi_scheduler_lane_slots(m->w.scheduler));
}

/* Now and then the next call runs out of memory. */
static void arm(model *m, rayi_text *before, bool wanted)
{
    see(m, before);
    counted_fail(&m->w.heap, wanted ? 1 + roll(&m->seed, 6) : 0);
}

/* True: it failed, and nothing has changed. */
static bool disarm(model *m, rayi_text *before, int r)
{
    rayi_text after;
    counted_fail(&m->w.heap, 0);
    see(m, &after);
    if (r) {
        cr_assert_eq(r, RAY_ERR_NO_MEMORY);
        cr_assert_str_eq(after.data, before->data);
        m->failures++;
    }
    rayi_text_fini(&after);
    rayi_text_fini(before);
    return r != 0;
}

/* ---- events ---- */

static void do_submit(model *m)
{
    uint64_t id = roll(&m->seed, IDS);
    task *t = &m->tasks[id];
    if (id == 0 || (t->stage != UNUSED && t->stage != ENDED))
        return;
    uint32_t shape = roll(&m->seed, RAYI_COUNT_OF(shapes));
    *t = (task){.stage = WAITS, .feasible = shape < FEASIBLE_SHAPES || shape == 15};
    rayi_scheduler_request request = {.priority = (int32_t)roll(&m->seed, 5) - 2};
    const group *g = &m->groups[roll(&m->seed, GROUPS)];
    if (g->id && roll(&m->seed, 3) == 0) {
        request.group = t->group = g->id;
        request.bundle = roll(&m->seed, 4);
        t->refusable = true;
        t->feasible = true; /* or refused */
    }
    rayi_text before;
    arm(m, &before, roll(&m->seed, 4) == 0);
    if (disarm(m, &before, submit_as(&m->w, id, shapes[shape], request)))
        t->stage = ENDED;
}

static void do_end(model *m)
{
    uint64_t id = roll(&m->seed, IDS);
    task *t = &m->tasks[id];
    if (t->stage == WAITS && roll(&m->seed, 4) == 0) {
        cr_assert(rayi_scheduler_remove(m->w.scheduler, id));
        t->stage = ENDED;
    } else if (holds(t)) {
        t->stage = ENDED;
        rayi_scheduler_finish(m->w.scheduler, id);
    } else if (t->stage == ENDED || t->stage == UNUSED) {
        cr_assert_not(rayi_scheduler_remove(m->w.scheduler, id));
    }
}

static void do_block(model *m)
{
    uint64_t id = roll(&m->seed, IDS);
    task *t = &m->tasks[id];
    if (t->stage == RUNS) {
        t->stage = BLOCKED;
        rayi_scheduler_block(m->w.scheduler, id);
    } else if (t->stage == BLOCKED) {
        t->stage = RUNS;
        m->resumed = true;
        rayi_scheduler_resume(m->w.scheduler, id);
    } else {
        rayi_text before;
        arm(m, &before, roll(&m->seed, 2) == 0);
        disarm(m, &before, rayi_scheduler_inherit(m->w.scheduler, id, (int32_t)roll(&m->seed, 5) - 1));
    }
}

static void do_group_new(model *m)
{
    static const char *const bundles[] = {"CPU=1",  "CPU=2, GPU=0.5",       "GPU=1",
                                          "disk=2", "memory=4GiB, CPU=0.5", "ghost=1"};
    group *g = &m->groups[roll(&m->seed, GROUPS)];
    if (g->id)
        return;
    rayi_resources *parsed[3];
    int64_t sum[KINDS] = {0};
    uint32_t count = 1 + roll(&m->seed, 3);
    bool feasible = true;
    for (uint32_t i = 0; i < count; i++) {
        const char *text = bundles[roll(&m->seed, RAYI_COUNT_OF(bundles))];
        parsed[i] = resources_of(text);
        amounts_of(text, g->bundles[i]);
        feasible &= strcmp(text, "ghost=1") != 0;
        for (int kind = 0; kind < KINDS; kind++)
            sum[kind] += g->bundles[i][kind];
    }
    rayi_strategy strategy = (rayi_strategy)roll(&m->seed, 4);
    for (int kind = 0; kind < KINDS; kind++)
        feasible &= sum[kind] <= m->total[kind];
    g->feasible = feasible && (strategy != RAYI_STRATEGY_STRICT_SPREAD || count == 1);
    g->ready = false;
    g->count = count;
    rayi_scheduler_group made = {.id = ++m->next_group,
                                 .bundles = (const rayi_resources *const *)parsed,
                                 .bundle_count = count,
                                 .strategy = strategy};
    rayi_text before;
    arm(m, &before, roll(&m->seed, 3) == 0);
    if (!disarm(m, &before, rayi_scheduler_group_new(m->w.scheduler, &made, m->w.now_ms)))
        g->id = made.id;
    for (uint32_t i = 0; i < count; i++)
        rayi_resources_free(rayi_heap, parsed[i]);
}

static void remove_group(model *m, group *g)
{
    if (!g->id)
        return;
    cr_assert(rayi_scheduler_group_remove(m->w.scheduler, g->id));
    for (int i = 0; i < IDS; i++)
        if (m->tasks[i].group == g->id)
            m->tasks[i].bundle = 0;
    g->id = 0;
}

static void do_lane(model *m)
{
    if (m->asked && roll(&m->seed, 4)) {
        uint32_t n = 1 + roll(&m->seed, m->asked);
        m->asked -= n;
        m->lane -= n;
        rayi_scheduler_lane_returned(m->w.scheduler, n);
    } else {
        m->lane_waits = roll(&m->seed, 2);
        rayi_scheduler_lane_waiting(m->w.scheduler, m->lane_waits);
    }
}

static void do_something(model *m)
{
    uint32_t what = roll(&m->seed, 100);
    if (what < 35)
        do_submit(m);
    else if (what < 65)
        do_end(m);
    else if (what < 75)
        do_block(m);
    else if (what < 77)
        do_group_new(m);
    else if (what < 78)
        remove_group(m, &m->groups[roll(&m->seed, GROUPS)]);
    else if (what < 90)
        do_lane(m);
    else
        pass_ms(&m->w, roll(&m->seed, 300));
    if (roll(&m->seed, 3))
        drain_some(m);
    else
        drain(m);
}

/* ---- the end: with nobody new, everything that can be granted is ---- */

static bool anybody_waits(const model *m)
{
    for (int i = 0; i < IDS; i++)
        if (m->tasks[i].stage == WAITS && (m->tasks[i].feasible || m->tasks[i].refusable))
            return true;
    return false;
}

static void finish_all(model *m)
{
    for (int i = 0; i < GROUPS; i++)
        if (!m->groups[i].feasible) /* who waits for these would wait for ever */
            remove_group(m, &m->groups[i]);
    for (int round = 0; anybody_waits(m) || round < 3; round++) {
        cr_assert_lt(round, 5000, "somebody starves");
        drain(m);
        m->lane_waits = round % 2;
        rayi_scheduler_lane_waiting(m->w.scheduler, m->lane_waits);
        rayi_scheduler_lane_returned(m->w.scheduler, m->asked);
        m->lane -= m->asked;
        m->asked = 0;
        for (uint64_t id = 0; id < IDS; id++) {
            if (!holds(&m->tasks[id]) || roll(&m->seed, 2))
                continue;
            m->tasks[id].stage = ENDED;
            rayi_scheduler_finish(m->w.scheduler, id);
        }
        pass_ms(&m->w, 100);
        if (round == 2000) /* groups hold what others wait for */
            for (int i = 0; i < GROUPS; i++)
                remove_group(m, &m->groups[i]);
    }
    for (int i = 0; i < GROUPS; i++)
        remove_group(m, &m->groups[i]);
    for (uint64_t id = 0; id < IDS; id++) {
        if (holds(&m->tasks[id]))
            rayi_scheduler_finish(m->w.scheduler, id);
        else if (m->tasks[id].stage == WAITS)
            rayi_scheduler_remove(m->w.scheduler, id);
        m->tasks[id].stage = ENDED;
    }
    drain(m);
    rayi_scheduler_lane_returned(m->w.scheduler, m->lane);
}

/* Everything that was lent is back: the account of the scheduler says what the model says. */
static void check_conservation(model *m)
{
    for (int kind = 0; kind < KINDS; kind++)
        cr_assert_eq(available(&m->w, kind_names[kind]), m->total[kind], "%s is not what it was", kind_names[kind]);
}

static void play(uint64_t seed, uint64_t *granted, uint64_t *failures)
{
    static model m;
    memset(&m, 0, sizeof m);
    m.seed = seed;
    world_init(&m.w, total_text, "", NULL);
    amounts_of(total_text, m.total);
    for (int i = 0; i < 4000; i++)
        do_something(&m);
    finish_all(&m);
    check_conservation(&m);
    *granted += m.granted;
    *failures += m.failures;
    world_fini(&m.w);
}

Test(random, nothing_is_granted_twice_or_too_much, .timeout = 600)
{
    const char *given = getenv("RAY_TEST_SEED"), *many = getenv("RAY_TEST_ROUNDS");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, rounds = many ? strtoull(many, NULL, 0) : 60;
    uint64_t granted = 0, failures = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        fprintf(stderr, "\rseed %" PRIu64 " ", seed);
        play(seed, &granted, &failures);
    }
    fprintf(stderr, "\r%" PRIu64 " granted, %" PRIu64 " calls without memory\n", granted, failures);
    cr_assert_gt(granted, rounds * 100);
    cr_assert_gt(failures, rounds * 10);
}
