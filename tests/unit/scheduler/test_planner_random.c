/* Random events against a model that looks at everything anew each time. Also runs with the heap failing at random: a
 * call that fails must leave everything that can be seen as it was. */
#include "planned.h"

enum { KINDS = 3, NODES = 10, IDS = 500, FUNCTIONS = 3, UNIT = RAYI_RESOURCE_UNIT };
static const char *const kind_names[KINDS] = {"CPU", "GPU", "disk"};
static const char *const totals[] = {"CPU=4", "CPU=8, disk=2", "CPU=2, GPU=2", "CPU=1.5, GPU=1, disk=4", "disk=1", ""};
static const char *const shapes[] = {"CPU=1",         "CPU=1",   "CPU=1", "CPU=0.5",      "CPU=2",
                                     "CPU=1, disk=1", "GPU=0.5", "",      "GPU=2, CPU=2", "ghost=1"};
static const char *const labels[] = {"", "zone=eu", "zone=us"};
static const char *const selectors[] = {NULL, "zone=eu", "zone!=us"};
static const bool label_fits[RAYI_COUNT_OF(labels)][RAYI_COUNT_OF(selectors)] = {
    {true, false, true}, {true, true, true}, {true, false, false}};

typedef enum stage { UNUSED, WAITS, REFUSABLE, ASSIGNED, ENDED } stage;

typedef struct task { /* what is alike in queue tells no difference */
    stage stage;
    int64_t since_ms;
    uint32_t node, life; /* assigned to */
    int32_t priority;
    struct {
        uint32_t shape, selector, function;
        uint32_t tie, home; /* 0 no, 1 soft, 2 hard */
        bool spread;
    } queue;
    bool has_holders;
} task;

typedef struct account {
    int64_t total, others, ours, ours_min, ours_max;
} account;

typedef struct node {
    bool alive, full, draining;
    bool lacks[FUNCTIONS];
    unsigned flags;
    uint32_t life, slot, label, foreign, cpus, outstanding, outstanding_max, total_text;
    uint32_t ended[4]; /* by ms */
    int64_t ended_ms;
    account accounts[KINDS];
} node;

typedef struct model {
    plans p;
    uint64_t seed;
    int64_t amounts[RAYI_COUNT_OF(shapes)][KINDS];
    task tasks[IDS];
    node nodes[NODES];
    uint64_t assigned, ahead, refused, failures, warned;
} model;

static void amounts_of(const char *text, int64_t out[KINDS])
{
    rayi_resources *made = parsed(text);
    for (int i = 0; i < KINDS; i++)
        out[i] = rayi_resources_amount(made, kind_names[i]);
    rayi_resources_free(rayi_heap, made);
}

/* ---- what a node could take ---- */

static bool same_need(const task *a, const task *b)
{
    return strcmp(shapes[a->queue.shape], shapes[b->queue.shape]) == 0 && a->queue.selector == b->queue.selector;
}

static bool could(const model *m, const node *n, const task *t)
{
    bool has_any = false;
    if (!n->alive || n->flags & (RAYI_PLANNER_DRAINED | RAYI_PLANNER_NO_WORK))
        return false;
    for (int k = 0; k < KINDS; k++) {
        has_any |= n->accounts[k].total > 0;
        if (n->accounts[k].total < m->amounts[t->queue.shape][k])
            return false;
    }
    if ((n->flags & RAYI_PLANNER_DRIVER) && !has_any)
        return false;
    return strcmp(shapes[t->queue.shape], "ghost=1") != 0 && label_fits[n->label][t->queue.selector];
}

static bool may(const model *m, const node *n, const task *t)
{
    return could(m, n, t) && !(n->flags & RAYI_PLANNER_SUSPECT) && !n->draining && !n->lacks[t->queue.function];
}

static bool is_tied(const model *m, const task *t)
{
    return t->queue.tie == 2 || (t->queue.tie == 1 && may(m, &m->nodes[t->queue.home], t));
}

static int64_t left(const account *a)
{
    return a->total - a->others - a->ours;
}

static bool fits(const model *m, const node *n, const task *t)
{
    bool any = false;
    for (int k = 0; k < KINDS; k++) {
        int64_t amount = m->amounts[t->queue.shape][k];
        any |= amount > 0;
        if (amount && left(&n->accounts[k]) < amount)
            return false;
    }
    return any || !n->full;
}

static uint32_t room(const model *m, const node *n, const task *t)
{
    int64_t least = RAYI_PLANNER_AHEAD_MOST;
    for (int k = 0; k < KINDS; k++)
        if (m->amounts[t->queue.shape][k])
            least = RAYI_MIN(least, (n->accounts[k].total - RAYI_MAX(0, n->accounts[k].others)) /
                                        m->amounts[t->queue.shape][k]);
    return (uint32_t)RAYI_MAX(0, least);
}

static uint32_t here(const model *m, uint32_t number, const task *t)
{
    uint32_t count = 0;
    for (int i = 0; i < IDS; i++)
        count += m->tasks[i].stage == ASSIGNED && m->tasks[i].node == number &&
                 m->tasks[i].life == m->nodes[number].life && same_need(&m->tasks[i], t);
    return count;
}

static uint32_t recent(const model *m, const node *n)
{
    uint32_t sum = 0;
    for (int64_t ms = m->p.now_ms - 3; ms <= m->p.now_ms; ms++)
        sum += ms <= n->ended_ms && ms > n->ended_ms - 4 ? n->ended[ms % 4] : 0;
    return sum;
}

/* Of all bounds the highest. */
static bool below_bound(const model *m, uint32_t number, const task *t)
{
    const node *n = &m->nodes[number];
    uint32_t fitting = room(m, n, t), bound = RAYI_MAX(fitting + 1, 2 * fitting + recent(m, n));
    if (n->full || n->outstanding >= RAYI_PLANNER_AHEAD_MOST)
        return false;
    if (n->outstanding < bound)
        return true;
    return m->p.now_ms - t->since_ms >= RAYI_SCHEDULER_DRAIN_MS && here(m, number, t) == 0;
}

/* Below the lowest bound, where few wait: there it must go. */
static bool must_go(const model *m, const node *n, const task *t)
{
    return fits(m, n, t) ||
           (!n->full && n->outstanding < RAYI_MIN(room(m, n, t) + 1, RAYI_PLANNER_AHEAD_MOST) && n->foreign <= n->cpus);
}

static double used(const node *n, const task *t)
{
    double most = 0;
    for (int k = 0; k < KINDS; k++)
        if (n->accounts[k].total)
            most = RAYI_MAX(most, (double)(n->accounts[k].others + n->accounts[k].ours) / (double)n->accounts[k].total);
    if (*shapes[t->queue.shape] == 0)
        most = RAYI_MAX(most, n->outstanding / 1024.0);
    return most < 0.5 ? 0 : most;
}

/* ---- actions ---- */

/* Nobody with room is before it. */
static void check_hybrid(const model *m, const node *taken, const task *t)
{
    for (int i = 0; i < NODES; i++) {
        const node *n = &m->nodes[i];
        if (n == taken || !may(m, n, t) || !fits(m, n, t))
            continue;
        double mine = used(taken, t), other = used(n, t);
        cr_assert(mine < other + 1e-4 || (mine == other && taken->slot < n->slot), "node %d was before it", i);
        cr_assert(mine < other - 1e-9 || mine > other + 1e-9 || taken->slot < n->slot, "node %d was before it", i);
    }
}

/* Nobody alike waits who is before it; but far from the front, who has waited long may go first. */
static void check_order(const model *m, const task *t, bool ahead)
{
    int64_t age = RAYI_SCHEDULER_AGE_MS, now = m->p.now_ms, rank = t->priority + (now - t->since_ms) / age;
    for (int i = 0; i < IDS; i++) {
        const task *o = &m->tasks[i];
        if (o == t || o->stage != WAITS || (ahead && o->priority != t->priority) ||
            memcmp(&o->queue, &t->queue, sizeof t->queue) != 0)
            continue;
        int64_t other = o->priority + (now - o->since_ms) / age;
        cr_assert(rank > other || (rank == other && t->since_ms <= o->since_ms), "%d was before it", i);
    }
}

static void on_assign(model *m, const rayi_planner_action *action)
{
    task *t = &m->tasks[action->id];
    uint32_t number = number_of(&action->node);
    node *n = &m->nodes[number];
    cr_assert_eq(t->stage, WAITS);
    cr_assert(may(m, n, t), "%" PRIu64 " may not go to %" PRIu32, action->id, number);
    cr_assert(!is_tied(m, t) || t->queue.home == number);
    cr_assert_eq(!action->ahead, fits(m, n, t));
    if (action->ahead) {
        cr_assert(below_bound(m, number, t));
        for (int i = 0; i < NODES && !is_tied(m, t); i++)
            cr_assert(!may(m, &m->nodes[i], t) || !fits(m, &m->nodes[i], t), "%d has room", i);
    } else if (!is_tied(m, t) && !t->queue.spread && !t->has_holders) {
        check_hybrid(m, n, t);
    }
    check_order(m, t, action->ahead);
    t->stage = ASSIGNED;
    t->node = number;
    t->life = n->life;
    n->outstanding++;
    n->outstanding_max = RAYI_MAX(n->outstanding_max, n->outstanding);
    for (int k = 0; k < KINDS; k++) {
        n->accounts[k].ours += m->amounts[t->queue.shape][k];
        n->accounts[k].ours_max = RAYI_MAX(n->accounts[k].ours_max, n->accounts[k].ours);
    }
    m->assigned++;
    m->ahead += action->ahead;
}

static void on_action(model *m, const rayi_planner_action *action)
{
    switch (action->what) {
    case RAYI_PLANNER_ASSIGN:
        on_assign(m, action);
        return;
    case RAYI_PLANNER_REFUSE:
        cr_assert_eq(m->tasks[action->id].stage, REFUSABLE);
        m->tasks[action->id].stage = ENDED;
        m->refused++;
        return;
    case RAYI_PLANNER_WARN:
        cr_assert_eq(m->tasks[action->id].stage, WAITS);
        for (int i = 0; i < NODES; i++)
            cr_assert(!could(m, &m->nodes[i], &m->tasks[action->id]) ||
                      m->nodes[i].lacks[m->tasks[action->id].queue.function] || is_tied(m, &m->tasks[action->id]));
        m->warned++;
        return;
    }
}

/* What is said to wait for a function alone does. */
static void check_row(void *arg, const rayi_planner_demand_row *row)
{
    const model *m = arg;
    bool lacks = false;
    for (int i = 0; row->lacks_function && i < IDS; i++)
        for (uint32_t k = 0; k < NODES && m->tasks[i].stage == WAITS && m->tasks[i].queue.function == row->function;
             k++)
            lacks |= could(m, &m->nodes[k], &m->tasks[i]) && m->nodes[k].lacks[row->function];
    cr_assert_eq(row->lacks_function, lacks && row->lacks_function);
    cr_assert(row->infeasible || !row->lacks_function);
}

/* Once nothing is to be done, whoever waits has no place. */
static void check_quiet(const model *m)
{
    uint64_t waiting = 0;
    rayi_planner_demand(m->p.planner, check_row, (void *)m);
    for (int i = 0; i < IDS; i++) {
        const task *t = &m->tasks[i];
        cr_assert_neq(t->stage, REFUSABLE);
        if (t->stage != WAITS)
            continue;
        waiting++;
        for (uint32_t k = 0; k < NODES; k++)
            if (may(m, &m->nodes[k], t) && (!is_tied(m, t) || t->queue.home == k))
                cr_assert(!must_go(m, &m->nodes[k], t), "%d waits, but could go to %" PRIu32, i, k);
    }
    cr_assert_eq(rayi_planner_waiting(m->p.planner), waiting);
    for (uint32_t i = 0; i < NODES; i++) {
        rayi_planner_id id = node_of(i);
        cr_assert_eq(rayi_planner_outstanding(m->p.planner, &id), m->nodes[i].alive ? m->nodes[i].outstanding : 0,
                     "node %u %u vs %u life %u", i, rayi_planner_outstanding(m->p.planner, &id),
                     m->nodes[i].outstanding, m->nodes[i].life);
    }
}

static void fetch(model *m, uint32_t most)
{
    rayi_planner_action action;
    for (uint32_t i = 0; i < most; i++) {
        if (!rayi_planner_next(m->p.planner, &action)) {
            check_quiet(m);
            return;
        }
        on_action(m, &action);
    }
}

/* ---- what can be seen ---- */

static void see_demand(void *arg, const rayi_planner_demand_row *row)
{
    rayi_text_printf(arg, "%s,%s,%" PRIu32 ",%d,%" PRIu64 ";", row->resources, row->labels, row->function,
                     (int)row->priority, row->count);
}

static void see(model *m, rayi_text *out)
{
    rayi_text_init(out, rayi_heap);
    rayi_planner_demand(m->p.planner, see_demand, out);
    for (uint32_t i = 0; i < NODES; i++) {
        rayi_planner_id id = node_of(i);
        rayi_text_printf(out, "%" PRIu32 ";", rayi_planner_outstanding(m->p.planner, &id));
    }
    rayi_text_printf(out, "%" PRIu64, rayi_planner_waiting(m->p.planner));
}

/* Now and then the next call runs out of memory. */
static void arm(model *m, rayi_text *before)
{
    see(m, before);
    counted_fail(&m->p.heap, roll(&m->seed, 3) ? 0 : 1 + roll(&m->seed, 12));
}

/* True: it failed, and nothing has changed. */
static bool disarm(model *m, rayi_text *before, int r)
{
    rayi_text after;
    counted_fail(&m->p.heap, 0);
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

static void pass(model *m, int64_t ms)
{
    plans_pass_ms(&m->p, ms);
}

static void do_submit(model *m)
{
    uint64_t id = roll(&m->seed, IDS);
    task *t = &m->tasks[id];
    if (t->stage != UNUSED && t->stage != ENDED)
        return;
    memset(t, 0, sizeof *t);
    t->stage = WAITS;
    t->since_ms = m->p.now_ms;
    t->priority = (int32_t)roll(&m->seed, 3) - 1;
    t->queue.shape = roll(&m->seed, RAYI_COUNT_OF(shapes));
    t->queue.shape = t->queue.shape < 3 ? 0 : t->queue.shape; /* the first three are the same */
    t->queue.selector = roll(&m->seed, 3) ? 0 : roll(&m->seed, RAYI_COUNT_OF(selectors));
    t->queue.function = roll(&m->seed, FUNCTIONS);
    t->queue.spread = roll(&m->seed, 4) == 0;
    t->queue.tie = roll(&m->seed, 3) ? 0 : roll(&m->seed, 3);
    t->queue.home = t->queue.tie ? roll(&m->seed, NODES) : 0;
    t->has_holders = roll(&m->seed, 5) == 0;
    rayi_planner_id home = node_of(t->queue.home);
    rayi_planner_holder holders[] = {{node_of(roll(&m->seed, NODES)), roll(&m->seed, 1u << 20)},
                                     {node_of(NODES), UINT64_MAX}};
    rayi_planner_request request = {.node_id = t->queue.tie ? &home : NULL,
                                    .node_soft = t->queue.tie == 1,
                                    .spread = t->queue.spread,
                                    .priority = t->priority,
                                    .function = t->queue.function,
                                    .function_name = t->queue.function ? "f" : NULL,
                                    .holders = holders,
                                    .holder_count = t->has_holders ? 2 : 0};
    rayi_text before;
    arm(m, &before);
    if (disarm(m, &before, plan_as(&m->p, id, shapes[t->queue.shape], selectors[t->queue.selector], request)))
        t->stage = UNUSED;
    else if (t->queue.tie == 2 && !m->nodes[t->queue.home].alive)
        t->stage = REFUSABLE;
}

static uint32_t new_slot(const model *m, uint32_t number)
{
    for (uint32_t slot = 1; number; slot++) {
        bool taken = false;
        for (int i = 1; i < NODES; i++)
            taken |= m->nodes[i].alive && m->nodes[i].slot == slot;
        if (!taken)
            return slot;
    }
    return 0;
}

/* What the planner makes of a table. */
static void note_table(node *n, const int64_t available[KINDS], uint32_t load)
{
    if (n->flags & RAYI_PLANNER_SELF) {
        n->outstanding_max = n->outstanding;
        for (int k = 0; k < KINDS; k++)
            n->accounts[k].ours_min = n->accounts[k].ours_max = n->accounts[k].ours;
    }
    for (int k = 0; k < KINDS; k++) {
        account *a = &n->accounts[k];
        int64_t in_use = a->total - available[k];
        a->others = in_use < a->ours_min && available[k] > 0 ? in_use - a->ours_min : RAYI_MAX(0, in_use - a->ours_max);
        a->ours_min = a->ours_max = a->ours;
    }
    n->foreign = load > n->outstanding_max ? load - n->outstanding_max : 0;
    n->outstanding_max = n->outstanding;
    n->cpus = (uint32_t)RAYI_MAX(1, n->accounts[0].total / UNIT);
    n->full = n->draining = false;
}

static void do_put(model *m, bool all_is_well)
{
    static const unsigned flags[] = {RAYI_PLANNER_SUSPECT, RAYI_PLANNER_DRAINED, RAYI_PLANNER_NO_WORK,
                                     RAYI_PLANNER_DRIVER};
    uint32_t number = roll(&m->seed, NODES);
    node *n = &m->nodes[number], next = *n;
    rayi_planner_resource rows[KINDS];
    int64_t total[KINDS], available[KINDS];
    bool fresh = !n->alive;
    if (fresh) {
        memset(&next, 0, sizeof next);
        next.life = n->life + 1;
        next.slot = new_slot(m, number);
        next.alive = true;
    }
    if (fresh || roll(&m->seed, 10) == 0) {
        next.total_text = roll(&m->seed, RAYI_COUNT_OF(totals));
        next.label = roll(&m->seed, RAYI_COUNT_OF(labels));
        next.flags = number ? 0 : RAYI_PLANNER_SELF;
        next.flags |= roll(&m->seed, 3) || all_is_well ? 0 : flags[roll(&m->seed, RAYI_COUNT_OF(flags))];
    }
    amounts_of(totals[next.total_text], total);
    for (int k = 0; k < KINDS; k++) {
        int64_t taken = roll(&m->seed, 2) ? (int64_t)roll(&m->seed, 20) * UNIT / 2 : 0;
        next.accounts[k].total = total[k];
        available[k] = RAYI_MAX(-total[k], total[k] - taken);
        rows[k] = (rayi_planner_resource){kind_names[k], total[k], available[k]};
    }
    rayi_planner_node put = {.id = node_of(number),
                             .tag = number,
                             .flags = next.flags,
                             .load = roll(&m->seed, 3) ? 0 : roll(&m->seed, 40),
                             .labels = labels[next.label],
                             .resources = rows,
                             .resource_count = KINDS};
    rayi_text before;
    arm(m, &before);
    if (disarm(m, &before, rayi_planner_node_put(m->p.planner, &put, m->p.now_ms)))
        return;
    note_table(&next, available, put.load);
    *n = next;
}

static void do_gone(model *m)
{
    uint32_t number = roll(&m->seed, NODES);
    go(&m->p, number);
    m->nodes[number] = (node){.life = m->nodes[number].life + 1};
    for (int i = 0; i < IDS; i++)
        if (m->tasks[i].stage == WAITS && m->tasks[i].queue.tie == 2 && m->tasks[i].queue.home == number)
            m->tasks[i].stage = REFUSABLE;
}

/* Of an assigned task; NULL: its node is another one by now. */
static node *give_back(model *m, const task *t)
{
    node *n = &m->nodes[t->node];
    if (n->life != t->life)
        return NULL;
    n->outstanding--;
    for (int k = 0; k < KINDS; k++) {
        n->accounts[k].ours -= m->amounts[t->queue.shape][k];
        n->accounts[k].ours_min = RAYI_MIN(n->accounts[k].ours_min, n->accounts[k].ours);
    }
    return n;
}

static void finish(model *m, uint64_t id)
{
    task *t = &m->tasks[id];
    node *n = give_back(m, t);
    end(&m->p, id);
    t->stage = ENDED;
    if (!n)
        return;
    n->full = false;
    if (m->p.now_ms - n->ended_ms >= 4)
        memset(n->ended, 0, sizeof n->ended);
    for (int64_t ms = RAYI_MAX(n->ended_ms, m->p.now_ms - 4) + 1; ms <= m->p.now_ms; ms++)
        n->ended[ms % 4] = 0;
    n->ended_ms = m->p.now_ms;
    n->ended[n->ended_ms % 4]++;
}

static void do_return(model *m, uint64_t id)
{
    task *t = &m->tasks[id];
    node *n = give_back(m, t);
    rayi_planner_return why = (rayi_planner_return)roll(&m->seed, 3);
    come_back(&m->p, id, why);
    t->stage = t->queue.tie == 2 && !m->nodes[t->queue.home].alive ? REFUSABLE : WAITS;
    if (!n)
        return;
    if (why == RAYI_PLANNER_LACKS)
        n->lacks[t->queue.function] = true;
    else if (why == RAYI_PLANNER_DRAINING)
        n->draining = true;
    else
        n->full = true;
    for (int k = 0; why == RAYI_PLANNER_FULL && k < KINDS; k++)
        if (m->amounts[t->queue.shape][k])
            n->accounts[k].others += RAYI_MAX(0, left(&n->accounts[k]) - (m->amounts[t->queue.shape][k] - 1));
}

static void do_something_with(model *m, uint64_t id)
{
    task *t = &m->tasks[id];
    if (t->stage == ASSIGNED) {
        cr_assert_not(rayi_planner_remove(m->p.planner, id));
        if (roll(&m->seed, 8))
            finish(m, id);
        else
            do_return(m, id);
    } else if (t->stage == WAITS && roll(&m->seed, 2)) {
        int32_t priority = (int32_t)roll(&m->seed, 4) - 1;
        rayi_text before;
        arm(m, &before);
        if (!disarm(m, &before, rayi_planner_inherit(m->p.planner, id, priority)))
            t->priority = RAYI_MAX(t->priority, priority);
    } else if (t->stage == WAITS || t->stage == REFUSABLE) {
        cr_assert(rayi_planner_remove(m->p.planner, id));
        t->stage = ENDED;
    }
}

static void do_functions(model *m)
{
    uint32_t number = roll(&m->seed, NODES), which = roll(&m->seed, 2 * FUNCTIONS);
    rayi_planner_id id = node_of(number);
    if (which < FUNCTIONS) {
        rayi_planner_node_knows(m->p.planner, &id, which);
        m->nodes[number].lacks[which] = false;
    } else {
        rayi_planner_node_functions_changed(m->p.planner, &id);
        memset(m->nodes[number].lacks, 0, sizeof m->nodes[number].lacks);
    }
}

static void do_something(model *m)
{
    uint32_t what = roll(&m->seed, 1000);
    if (what < 450)
        do_submit(m);
    else if (what < 800)
        do_something_with(m, roll(&m->seed, IDS));
    else if (what < 890)
        do_put(m, false);
    else if (what < 896)
        do_gone(m);
    else if (what < 910)
        do_functions(m);
    else
        pass(m, roll(&m->seed, 20) ? roll(&m->seed, 4) : roll(&m->seed, 3000));
    fetch(m, roll(&m->seed, 3) ? roll(&m->seed, 4) : UINT32_MAX);
}

/* With nobody new and nodes that are well, whoever some node could run ends. */
static void finish_all(model *m)
{
    for (int round = 0; round < 300; round++) {
        for (uint64_t id = 0; id < IDS; id++)
            if (m->tasks[id].stage == ASSIGNED)
                finish(m, id);
        do_put(m, true);
        do_functions(m);
        pass(m, 100);
        fetch(m, UINT32_MAX);
    }
    for (uint64_t id = 0; id < IDS; id++) {
        const task *t = &m->tasks[id];
        for (int i = 0; i < NODES && t->stage == WAITS; i++)
            cr_assert(!may(m, &m->nodes[i], t) || m->nodes[i].accounts[0].others || m->nodes[i].accounts[1].others ||
                          m->nodes[i].accounts[2].others || is_tied(m, t),
                      "%" PRIu64 " starves", id);
    }
}

static void play(uint64_t seed, model *sums)
{
    static model m;
    memset(&m, 0, sizeof m);
    m.seed = seed;
    plans_init(&m.p);
    for (size_t i = 0; i < RAYI_COUNT_OF(shapes); i++)
        amounts_of(shapes[i], m.amounts[i]);
    for (int i = 0; i < 3000; i++)
        do_something(&m);
    finish_all(&m);
    sums->assigned += m.assigned;
    sums->ahead += m.ahead;
    sums->refused += m.refused;
    sums->failures += m.failures;
    sums->warned += m.warned;
    plans_fini(&m.p);
}

Test(planner_random, every_task_ends_once_and_goes_where_it_may, .timeout = 600)
{
    const char *given = getenv("RAY_TEST_SEED"), *many = getenv("RAY_TEST_ROUNDS");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, rounds = many ? strtoull(many, NULL, 0) : 40;
    static model sums;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        fprintf(stderr, "\rseed %" PRIu64 " ", seed);
        play(seed, &sums);
    }
    fprintf(stderr,
            "\r%" PRIu64 " assigned, %" PRIu64 " of them ahead, %" PRIu64 " refused, %" PRIu64 " warnings, %" PRIu64
            " calls without memory\n",
            sums.assigned, sums.ahead, sums.refused, sums.warned, sums.failures);
    cr_assert_gt(sums.assigned, rounds * 300);
    cr_assert_gt(sums.ahead, rounds * 20);
    cr_assert_gt(sums.refused, rounds);
    cr_assert_gt(sums.failures, rounds * 10);
}
