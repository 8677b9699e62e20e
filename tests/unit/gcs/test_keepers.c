/* Which nodes keep published objects: whom the brain asks, and what becomes of it; and random histories, in which nodes
 * come, die and are drained, while what is asked is answered late, or not at all. */
#include "../around.h"
#include "nodes.h"

typedef struct world {
    counted heap;
    rayi_keepers *k;
    int64_t now_ms;
    char told[2048];
} world;

static world w;

static void setup(void)
{
    counted_init(&w.heap);
    w.now_ms = 1000;
    cr_assert_eq(rayi_keepers_new(&w.heap.memory, &w.k), 0);
}

static void teardown(void)
{
    rayi_keepers_free(w.k);
    cr_assert_eq(w.heap.live, 0, "%ld blocks are left", w.heap.live);
}

/* ---- what it says ---- */

static const char *told(void)
{
    rayi_keepers_action a;
    char *at = w.told;
    *at = 0;
    while (rayi_keepers_next(w.k, w.now_ms, &a)) {
        if (a.what == RAYI_KEEPERS_KEEP)
            at += sprintf(at, "%" PRIu64 "@%u? %" PRIu64 "; ", a.number, number_of(&a.node), a.ask);
        else if (a.what == RAYI_KEEPERS_LET_GO)
            at += sprintf(at, "%" PRIu64 "@%u no; ", a.number, number_of(&a.node));
        else
            at += sprintf(at, "%" PRIu64 " %s%u/%u; ", a.number, a.is_first ? "first " : "", a.count, a.want);
        cr_assert_lt(at, w.told + sizeof w.told);
    }
    return w.told;
}

#define TOLD(want) cr_expect_str_eq(told(), want, "told \"%s\"", w.told)

/* ---- what it hears ---- */

static void node_is(rayi_keeper node)
{
    node.incarnation = node.incarnation ? node.incarnation : 1;
    cr_assert_eq(rayi_keepers_node(w.k, &node), 0);
}

#define NODE(number)       node_is((rayi_keeper){.id = id_of(number), .host = number, .may_keep = true})
#define OTHER(number, ...) node_is((rayi_keeper){.id = id_of(number), __VA_ARGS__})
#define DRAIN(number)      node_is((rayi_keeper){.id = id_of(number), .host = number, .leaves = true})

static void gone(uint32_t number)
{
    rayi_node_id id = id_of(number);
    rayi_keepers_gone(w.k, &id);
}

static void add(uint64_t number, uint32_t want, uint64_t size_bytes, uint32_t near)
{
    rayi_node_id id = id_of(near);
    cr_assert_eq(rayi_keepers_add(w.k, number, want, size_bytes, &id, near != 0), 0);
}

static void add_node(void *arg, const rayi_node_id *node)
{
    char **at = arg;
    *at += sprintf(*at, "%u ", number_of(node));
}

static const char *keepers_of(uint64_t number)
{
    static char text[256];
    char *at = text;
    uint32_t want;
    *at = 0;
    (void)rayi_keepers_each(w.k, number, add_node, &at, &want);
    return text;
}

/* ---- by table ---- */

TEST_AROUND(keepers, whom_it_asks, setup, teardown)
{
    OTHER(1, .host = 1, .may_keep = true, .is_head = true);
    OTHER(2, .host = 7, .may_keep = true);
    OTHER(3, .host = 7, .may_keep = true);
    NODE(4);
    OTHER(5, .host = 5);
    add(1, 1, 100, 3); /* who has it */
    TOLD("1@3? 1; ");
    add(2, 2, 100, 3); /* and one of another host */
    TOLD("2@3? 2; 2@4? 3; ");
    add(3, 1, 10, 5); /* who has it may not: who has fewest, and is not the head */
    TOLD("3@2? 4; ");
    add(4, 9, 10, 0); /* hosts first, then those that are left; those that are on the same as one of them last */
    TOLD("4@2? 5; 4@4? 6; 4@1? 7; 4@3? 8; ");
}

TEST_AROUND(keepers, settles_when_all_have_answered, setup, teardown)
{
    NODE(1), NODE(2), NODE(3);
    add(1, 2, 10, 0);
    TOLD("1@1? 1; 1@2? 2; ");
    rayi_keepers_kept(w.k, 1, 1);
    TOLD("");
    rayi_keepers_kept(w.k, 1, 7); /* nobody has asked that */
    rayi_keepers_kept(w.k, 9, 2);
    TOLD("");
    rayi_keepers_kept(w.k, 1, 2);
    TOLD("1 first 2/2; ");
    cr_expect_str_eq(keepers_of(1), "1 2 ");
    rayi_keepers_kept(w.k, 1, 2);
    rayi_keepers_refused(w.k, 1, 2, w.now_ms);
    TOLD("");
}

TEST_AROUND(keepers, as_many_as_there_are, setup, teardown)
{
    add(1, 3, 10, 0);
    TOLD("1 first 0/3; ");
    NODE(1);
    TOLD("1@1? 1; ");
    rayi_keepers_kept(w.k, 1, 1);
    TOLD("1 1/3; ");
    OTHER(2, .host = 2);
    TOLD("");
    NODE(2);
    TOLD("1@2? 2; ");
    rayi_keepers_kept(w.k, 1, 2);
    NODE(3), NODE(4);
    TOLD("1@3? 3; ");
    rayi_keepers_kept(w.k, 1, 3);
    TOLD("1 3/3; "); /* 2/3 was never the end of it */
}

static void unsaid(uint64_t number, uint32_t node)
{
    rayi_node_id id = id_of(node);
    rayi_keepers_unsaid(w.k, number, &id, w.now_ms);
}

TEST_AROUND(keepers, says_once_more_what_could_not_be_told, setup, teardown)
{
    NODE(1), NODE(2);
    add(1, 2, 10, 0);
    TOLD("1@1? 1; 1@2? 2; ");
    rayi_keepers_kept(w.k, 1, 1);
    rayi_keepers_kept(w.k, 1, 2);
    TOLD("1 first 2/2; ");
    DRAIN(2);
    TOLD("1@2 no; 1 1/2; ");
    unsaid(1, 2);
    unsaid(1, 2);
    TOLD("1 2/2; "); /* it has it still */
    cr_expect_eq(rayi_keepers_next_deadline(w.k), w.now_ms + RAYI_KEEPERS_AGAIN_MS);
    w.now_ms += RAYI_KEEPERS_AGAIN_MS;
    rayi_keepers_tick(w.k, w.now_ms);
    TOLD("1@2 no; 1 1/2; ");
    rayi_keepers_remove(w.k, 1);
    rayi_keepers_action a;
    cr_assert(rayi_keepers_next(w.k, w.now_ms, &a));
    unsaid(1, 1);
    TOLD("");
    w.now_ms += RAYI_KEEPERS_AGAIN_MS;
    rayi_keepers_tick(w.k, w.now_ms);
    TOLD("1@1 no; ");
    unsaid(1, 1); /* it is forgotten by now */
    unsaid(1, 9);
    TOLD("");
    cr_expect_eq(rayi_keepers_next_deadline(w.k), INT64_MAX);
}

TEST_AROUND(keepers, a_keeper_dies, setup, teardown)
{
    NODE(1), NODE(2), NODE(3);
    add(1, 2, 10, 0);
    TOLD("1@1? 1; 1@2? 2; ");
    gone(1); /* before it has said a word */
    gone(1);
    TOLD("1@3? 3; ");
    rayi_keepers_kept(w.k, 1, 1);
    rayi_keepers_kept(w.k, 1, 2);
    rayi_keepers_kept(w.k, 1, 3);
    TOLD("1 first 2/2; ");
    gone(3);
    TOLD("1 1/2; ");
    OTHER(2, .host = 2, .may_keep = true, .incarnation = 2); /* the one before has died; this one has nothing */
    TOLD("1@2? 4; ");
    rayi_keepers_kept(w.k, 1, 2);
    TOLD("");
    cr_expect_str_eq(keepers_of(1), "");
    rayi_keepers_kept(w.k, 1, 4);
    TOLD("");
    cr_expect_str_eq(keepers_of(1), "2 ");
}

TEST_AROUND(keepers, one_refuses, setup, teardown)
{
    NODE(1), NODE(2);
    add(1, 1, 10, 1);
    TOLD("1@1? 1; ");
    rayi_keepers_refused(w.k, 1, 1, w.now_ms);
    TOLD("1@2? 2; ");
    rayi_keepers_refused(w.k, 1, 2, w.now_ms);
    TOLD("1 first 0/1; ");
    cr_expect_eq(rayi_keepers_next_deadline(w.k), 2000);
    w.now_ms = 1999;
    rayi_keepers_tick(w.k, w.now_ms);
    TOLD("");
    w.now_ms = 2000;
    rayi_keepers_tick(w.k, w.now_ms);
    TOLD("1@1? 3; ");
    rayi_keepers_refused(w.k, 1, 3, w.now_ms);
    TOLD("1@2? 4; ");
    rayi_keepers_refused(w.k, 1, 4, w.now_ms);
    TOLD("");
    cr_expect_eq(rayi_keepers_next_deadline(w.k), 4000); /* twice as long */
    for (int i = 0; i < 20; i++) {
        w.now_ms = rayi_keepers_next_deadline(w.k);
        rayi_keepers_tick(w.k, w.now_ms);
        told();
        rayi_keepers_refused(w.k, 1, 5 + 2 * (uint64_t)i, w.now_ms);
        told();
        rayi_keepers_refused(w.k, 1, 6 + 2 * (uint64_t)i, w.now_ms);
        told();
    }
    cr_expect_eq(rayi_keepers_next_deadline(w.k), w.now_ms + 60000);
    w.now_ms += 60000;
    rayi_keepers_tick(w.k, w.now_ms);
    TOLD("1@1? 45; ");
    rayi_keepers_kept(w.k, 1, 45);
    TOLD("1 1/1; ");
}

TEST_AROUND(keepers, drains, setup, teardown)
{
    NODE(1), NODE(2), NODE(3);
    add(1, 2, 10, 0);
    TOLD("1@1? 1; 1@2? 2; ");
    rayi_keepers_kept(w.k, 1, 1);
    DRAIN(2); /* it is still at it */
    TOLD("1@2 no; 1@3? 3; ");
    rayi_keepers_kept(w.k, 1, 3);
    TOLD("1 first 2/2; ");
    DRAIN(1); /* there is nobody else, but one is left */
    TOLD("1@1 no; 1 1/2; ");
    DRAIN(3); /* the last one has to stay */
    TOLD("");
    cr_expect_str_eq(keepers_of(1), "3 ");
    NODE(4);
    TOLD("1@4? 4; ");
    rayi_keepers_refused(w.k, 1, 4, w.now_ms);
    TOLD("");
    w.now_ms += 1000;
    rayi_keepers_tick(w.k, w.now_ms);
    TOLD("1@4? 5; ");
    rayi_keepers_kept(w.k, 1, 5);
    TOLD("1@3 no; ");
    cr_expect_str_eq(keepers_of(1), "4 ");
}

TEST_AROUND(keepers, removes, setup, teardown)
{
    NODE(1), NODE(2), NODE(3);
    add(1, 2, 10, 0);
    TOLD("1@1? 1; 1@2? 2; ");
    rayi_keepers_kept(w.k, 1, 1);
    rayi_keepers_remove(w.k, 1);
    rayi_keepers_remove(w.k, 1);
    rayi_keepers_kept(w.k, 1, 2); /* too late: it is told to let go behind what it was asked */
    TOLD("1@1 no; 1@2 no; ");
    NODE(4);
    gone(1);
    TOLD("");
    cr_expect_eq(w.heap.live, 1 + 3 + 2, "%ld", w.heap.live); /* itself, three nodes, their table */
}

TEST_AROUND(keepers, without_memory, setup, teardown)
{
    rayi_keeper node = {.id = id_of(1), .incarnation = 1, .may_keep = true};
    for (long nth = 1; nth <= 2; nth++) {
        counted_fail(&w.heap, nth);
        cr_assert_eq(rayi_keepers_node(w.k, &node), RAY_ERR_NO_MEMORY);
        counted_fail(&w.heap, nth);
        cr_assert_eq(rayi_keepers_add(w.k, 1, 1, 10, NULL, 0), RAY_ERR_NO_MEMORY);
    }
    counted_fail(&w.heap, 0);
    NODE(1);
    add(1, 1, 10, 0);
    counted_fail(&w.heap, 1);
    TOLD("1 first 0/1; 1@1? 1; "); /* at the next look there is some */
}

/* ---- random histories ---- */

enum { NODES = 9, OBJECTS = 12, STEPS = 3000, QUESTIONS = 4096 };

typedef struct question {
    uint64_t number, ask;
    uint32_t node, life;
} question;

static struct {
    uint64_t seed;
    struct {
        bool is_up, leaves, is_late;
        uint32_t life;
        bool keeps[OBJECTS + 1]; /* what the node itself believes */
        bool was_asked[OBJECTS + 1];
    } nodes[NODES + 1];
    struct {
        bool is_there, is_settled;
        uint32_t want;
        uint64_t number;
    } objects[OBJECTS + 1];
    uint64_t last_number;
    question questions[QUESTIONS];
    size_t count;
} r;

static uint32_t pick(uint32_t below)
{
    return (uint32_t)(rolled(&r.seed) % below);
}

static uint32_t object_of(uint64_t number)
{
    for (uint32_t i = 1; i <= OBJECTS; i++)
        if (r.objects[i].number == number)
            return i;
    return 0;
}

static void carry_out(const rayi_keepers_action *a)
{
    uint32_t node = number_of(&a->node), object = object_of(a->number);
    if (a->what == RAYI_KEEPERS_SETTLED) {
        cr_assert(object && r.objects[object].is_there && a->want == r.objects[object].want);
        cr_assert_eq(a->is_first, !r.objects[object].is_settled);
        r.objects[object].is_settled = true;
        return;
    }
    cr_assert(r.nodes[node].is_up, "a dead node is told something");
    if (a->what == RAYI_KEEPERS_LET_GO) {
        if (object)
            r.nodes[node].keeps[object] = r.nodes[node].was_asked[object] = false;
        return;
    }
    cr_assert(object && r.objects[object].is_there && !r.nodes[node].leaves && !r.nodes[node].is_late);
    cr_assert(!r.nodes[node].was_asked[object] && !r.nodes[node].keeps[object], "it is asked twice");
    cr_assert_lt(r.count, QUESTIONS);
    r.nodes[node].was_asked[object] = true;
    r.questions[r.count++] = (question){a->number, a->ask, node, r.nodes[node].life};
}

static void pump(void)
{
    rayi_keepers_action a;
    rayi_keepers_tick(w.k, w.now_ms);
    while (rayi_keepers_next(w.k, w.now_ms, &a))
        carry_out(&a);
}

/* One of the questions, whichever; of a node that has died the asker hears, too. */
static void answer_one(bool may_refuse)
{
    size_t i = pick((uint32_t)r.count);
    question q = r.questions[i];
    uint32_t object = object_of(q.number);
    bool is_alive = r.nodes[q.node].is_up && r.nodes[q.node].life == q.life;
    bool is_wanted = is_alive && object && r.nodes[q.node].was_asked[object];
    r.questions[i] = r.questions[--r.count];
    if (is_wanted)
        r.nodes[q.node].was_asked[object] = false;
    if (is_wanted && !(may_refuse && pick(4) == 0)) {
        r.nodes[q.node].keeps[object] = true;
        rayi_keepers_kept(w.k, q.number, q.ask);
    } else {
        rayi_keepers_refused(w.k, q.number, q.ask, w.now_ms);
    }
}

static void say_node(uint32_t n)
{
    rayi_keeper node = {.id = id_of(n),
                        .incarnation = r.nodes[n].life,
                        .host = n % 4,
                        .is_head = n == 1,
                        .leaves = r.nodes[n].leaves,
                        .may_keep = !r.nodes[n].leaves && !r.nodes[n].is_late};
    cr_assert_eq(rayi_keepers_node(w.k, &node), 0);
}

static void begin_life(uint32_t n)
{
    uint32_t life = r.nodes[n].life + 1;
    memset(&r.nodes[n], 0, sizeof r.nodes[n]);
    r.nodes[n].life = life;
    r.nodes[n].is_up = true;
    say_node(n);
}

static void end_life(uint32_t n)
{
    rayi_node_id id = id_of(n);
    r.nodes[n].is_up = false;
    memset(r.nodes[n].keeps, 0, sizeof r.nodes[n].keeps);
    memset(r.nodes[n].was_asked, 0, sizeof r.nodes[n].was_asked);
    rayi_keepers_gone(w.k, &id);
}

static void change_node(uint32_t n)
{
    switch (pick(5)) {
    case 0:
        if (r.nodes[n].is_up && n != 1)
            end_life(n);
        break;
    case 1:
        if (r.nodes[n].is_up && n != 1)
            r.nodes[n].leaves = true;
        break;
    case 2:
        r.nodes[n].is_late = r.nodes[n].is_up && pick(2);
        break;
    default:
        if (!r.nodes[n].is_up || pick(8) == 0) /* another life, of which the end of the one before was not told */
            begin_life(n);
        break;
    }
    if (r.nodes[n].is_up)
        say_node(n);
}

static void change_object(uint32_t o)
{
    rayi_node_id near = id_of(1 + pick(NODES));
    if (r.objects[o].is_there) {
        r.objects[o].is_there = false;
        rayi_keepers_remove(w.k, r.objects[o].number);
        pump();
        for (uint32_t n = 1; n <= NODES; n++)
            cr_assert(!r.nodes[n].keeps[o] && !r.nodes[n].was_asked[o], "nobody keeps what was removed");
        return;
    }
    r.objects[o].is_there = true;
    r.objects[o].is_settled = false;
    r.objects[o].want = 1 + pick(4);
    r.objects[o].number = ++r.last_number;
    cr_assert_eq(rayi_keepers_add(w.k, r.objects[o].number, r.objects[o].want, pick(1000), &near, 1), 0);
}

/* When all have answered, and none refuses any more: as many as are wanted keep each object, or all there are; and who
 * leaves has been let go. */
static void check_rest(void)
{
    uint32_t able = 0;
    for (int i = 0; i < 200; i++) {
        w.now_ms += RAYI_KEEPERS_PATIENT_MS;
        pump();
        while (r.count > 0) {
            answer_one(false);
            pump();
        }
    }
    for (uint32_t n = 1; n <= NODES; n++)
        able += r.nodes[n].is_up && !r.nodes[n].leaves && !r.nodes[n].is_late;
    for (uint32_t o = 1; o <= OBJECTS; o++) {
        uint32_t kept = 0;
        for (uint32_t n = 1; r.objects[o].is_there && n <= NODES; n++) {
            cr_assert(!r.nodes[n].was_asked[o]);
            cr_assert(!r.nodes[n].keeps[o] || !r.nodes[n].leaves || able == 0);
            kept += r.nodes[n].keeps[o];
        }
        if (r.objects[o].is_there)
            cr_assert(kept >= RAYI_MIN(able, r.objects[o].want) && kept <= RAYI_MAX(r.objects[o].want, 1U),
                      "object %u is kept on %u, wanted %u, able %u", o, kept, r.objects[o].want, able);
        cr_assert(!r.objects[o].is_there || r.objects[o].is_settled);
    }
}

Test(keepers, random_histories)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        setup();
        memset(&r, 0, sizeof r);
        r.seed = seed;
        begin_life(1);
        for (int i = 0; i < STEPS; i++) {
            uint32_t what = pick(10);
            w.now_ms += pick(300);
            if (what < 2)
                change_node(1 + pick(NODES));
            else if (what == 2)
                change_object(1 + pick(OBJECTS));
            else if (r.count > 0)
                answer_one(true);
            pump();
            if (i % 500 == 499)
                check_rest();
        }
        teardown();
    }
}
