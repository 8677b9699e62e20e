/* The head's table: who may join, who is suspected, who is declared dead and when, what is told of it. */
#include <signal.h>

#include "../around.h"
#include "nodes.h"

typedef struct world {
    counted heap;
    rayi_members *members;
    int64_t now_ms;
    rayi_members_reply reply;
    char told[4096];
} world;

static world w;

static void open_head(uint64_t generation, bool unsaved)
{
    rayi_members_options options = {.cluster = our_cluster, .generation = generation, .host = 77, .unsaved = unsaved};
    cr_assert_eq(rayi_members_new(&w.heap.memory, &options, w.now_ms, &w.members), 0);
}

static void setup(void)
{
    counted_init(&w.heap);
    w.now_ms = 1000;
    open_head(1, true);
}

static void setup_saving(void)
{
    counted_init(&w.heap);
    w.now_ms = 1000;
    open_head(1, false);
}

static void teardown(void)
{
    rayi_members_free(w.members);
    cr_assert_eq(w.heap.live, 0, "%ld blocks are left", w.heap.live);
}

static int serve(uint32_t number, const rayi_member_message *message)
{
    rayi_node_id id = id_of(number);
    return rayi_members_serve(w.members, &id, message, w.now_ms, &w.reply);
}

/* The verdict, the refusal or the incarnation. */
static const char *join_message(const rayi_member_message *message)
{
    static char out[128];
    const rayi_member_answer *a = &w.reply.answer;
    cr_assert_eq(rayi_members_serve(w.members, &message->as.join.node.id, message, w.now_ms, &w.reply), 0);
    cr_assert(w.reply.answers);
    cr_assert_eq(a->asked_ms, a->verdict == RAYI_VERDICT_FENCED ? 0 : message->as.join.asked_ms);
    cr_assert_eq(a->life, message->as.join.node.life);
    if (a->verdict == RAYI_VERDICT_REFUSED)
        return rayi_refusal_text(a->refusal);
    sprintf(out, "%s %" PRIu64, a->verdict == RAYI_VERDICT_FENCED ? "fenced" : "accepted", a->incarnation);
    return out;
}

static const char *join_node(const rayi_member *node)
{
    rayi_member_message message = join_of(node, 500);
    return join_message(&message);
}

static const char *join_as(uint32_t number, uint64_t life, uint64_t incarnation)
{
    rayi_member node = node_of(number);
    node.life = life;
    node.incarnation = incarnation;
    return join_node(&node);
}

static uint64_t join_new(uint32_t number)
{
    rayi_member node = node_of(number);
    cr_assert_eq(strncmp(join_node(&node), "accepted ", 9), 0);
    return w.reply.answer.incarnation;
}

static bool renew(uint32_t number, uint64_t incarnation)
{
    rayi_member_message message = {.what = RAYI_MEMBER_RENEW, .as.renew = {incarnation, 321}};
    cr_assert_eq(serve(number, &message), 0);
    cr_assert(w.reply.answers);
    cr_assert_eq(w.reply.answer.incarnation, incarnation);
    cr_assert(w.reply.answer.verdict == RAYI_VERDICT_GRANTED || w.reply.answer.verdict == RAYI_VERDICT_FENCED);
    return w.reply.answer.verdict == RAYI_VERDICT_GRANTED;
}

static bool beat(uint32_t number, uint64_t incarnation)
{
    rayi_node_id id = id_of(number);
    return rayi_members_heard(w.members, &id, incarnation, w.now_ms);
}

static void pass(int64_t ms)
{
    for (int64_t end = w.now_ms + ms; w.now_ms < end;) {
        w.now_ms = RAYI_MIN(end, w.now_ms + 50);
        rayi_members_tick(w.members, w.now_ms);
    }
}

static const char *state(uint32_t number)
{
    rayi_node_id id = id_of(number);
    const rayi_member *m = rayi_roster_get(rayi_members_roster(w.members), &id);
    return m ? rayi_node_state_name(m->state) : "nobody";
}

#define STATE(number, want) cr_expect_str_eq(state(number), want, "%s", state(number))

/* All actions there are, but SAVE and PUBLISH unless `all`. */
static const char *told(bool all)
{
    rayi_members_action a;
    char *at = w.told;
    *at = 0;
    while (rayi_members_next(w.members, w.now_ms, &a)) {
        uint32_t number = number_of(&a.id);
        if (a.what == RAYI_MEMBERS_DEATH)
            at += sprintf(at, "death %u.%" PRIu64 " %s; ", number, a.incarnation, rayi_death_text(a.cause));
        else if (a.what == RAYI_MEMBERS_WATCH)
            at += sprintf(at, "watch %u.%" PRIu64 " %" PRId64 "; ", number, a.incarnation, a.pid);
        else if (a.what == RAYI_MEMBERS_PROBE)
            at += sprintf(at, "probe %u.%" PRIu64 " %s; ", number, a.incarnation, a.address);
        else if (all)
            at += sprintf(at, a.what == RAYI_MEMBERS_SAVE ? "save; " : "publish; ");
    }
    return w.told;
}

#define TOLD(want)     cr_expect_str_eq(told(false), want, "told \"%s\"", w.told)
#define TOLD_ALL(want) cr_expect_str_eq(told(true), want, "told \"%s\"", w.told)

/* ---- states ---- */

static void try_edge(int from, int event)
{
    rayi_node_next((rayi_node_state)from, (rayi_node_event)event);
}

Test(members, edges)
{
    enum { NO = 99 };
    static const int next[3][4] = {/* HEARD, LATE, ENDED, REBORN */
                                   [RAYI_NODE_ALIVE] = {RAYI_NODE_ALIVE, RAYI_NODE_SUSPECT, RAYI_NODE_DEAD, NO},
                                   [RAYI_NODE_SUSPECT] = {RAYI_NODE_ALIVE, RAYI_NODE_SUSPECT, RAYI_NODE_DEAD, NO},
                                   [RAYI_NODE_DEAD] = {NO, NO, NO, RAYI_NODE_ALIVE}};
    for (int from = 0; from < 3; from++)
        for (int event = 0; event < 4; event++) {
            if (next[from][event] == NO)
                cr_expect(aborts(try_edge, from, event), "%d %d is legal", from, event);
            else
                cr_expect_eq((int)rayi_node_next((rayi_node_state)from, (rayi_node_event)event), next[from][event]);
        }
}

/* Each event on a node in each state, as the table sees it. */
TEST_AROUND(members, events, setup, teardown)
{
    rayi_node_id id = id_of(1);
    for (int from = 0; from < 3; from++)
        for (int event = 0; event < 7; event++) {
            uint64_t mine = join_new(1);
            static const char *const alive[] = {"ALIVE", "ALIVE", "SUSPECT", "SUSPECT", "DEAD", "DEAD", "ALIVE"};
            static const char *const suspect[] = {"SUSPECT", "ALIVE", "SUSPECT", "SUSPECT", "DEAD", "DEAD", "ALIVE"};
            if (from == 1)
                rayi_members_link_closed(w.members, &id, mine, w.now_ms);
            if (from == 2)
                rayi_members_process_gone(w.members, &id, mine, w.now_ms);
            rayi_member_message leave = {.what = RAYI_MEMBER_LEAVE, .as.incarnation = mine};
            if (event == 0)
                cr_expect_eq(beat(1, mine), from != 2); /* by bus: it still has no link */
            else if (event == 1)
                cr_expect_eq(renew(1, mine), from != 2);
            else if (event == 2)
                rayi_members_link_closed(w.members, &id, mine, w.now_ms);
            else if (event == 3)
                rayi_members_dial_refused(w.members, &id, mine, w.now_ms);
            else if (event == 4)
                rayi_members_process_gone(w.members, &id, mine, w.now_ms);
            else if (event == 5)
                cr_expect_eq(serve(1, &leave), 0);
            else
                join_as(1, 1001, mine);
            STATE(1, from == 2 ? "DEAD" : from == 1 ? suspect[event] : alive[event]);
            rayi_members_process_gone(w.members, &id, mine, w.now_ms);
            cr_assert_str_eq(state(1), "DEAD");
            told(true);
            rayi_members_free(w.members);
            open_head(1, true);
        }
}

/* ---- joining ---- */

TEST_AROUND(members, joining, setup, teardown)
{
    rayi_member node = node_of(1);
    cr_expect_str_eq(join_node(&node), "accepted 1");
    cr_expect_str_eq(join_node(&node), "accepted 1"); /* its answer was lost */
    cr_expect_str_eq(join_as(1, 1001, 1), "accepted 1");
    cr_expect_str_eq(join_as(2, 5, 0), "accepted 2");
    cr_expect_str_eq(join_as(1, 1001, 2), "fenced 2");
    cr_expect_str_eq(join_as(3, 5, 7), "fenced 7"); /* nobody knows it */
    cr_expect_str_eq(join_as(1, 9, 0), rayi_refusal_text(RAYI_REFUSAL_ALIVE));
    TOLD("probe 1.1 host:1; ");
    rayi_member_message leave = {.what = RAYI_MEMBER_LEAVE, .as.incarnation = 1};
    cr_expect_eq(serve(1, &leave), 0);
    cr_expect_eq(serve(1, &leave), 0); /* late */
    cr_expect_eq(w.reply.answer.verdict, RAYI_VERDICT_FENCED);
    TOLD("death 1.1 it left; ");
    cr_expect_str_eq(join_as(1, 1001, 0), "fenced 0"); /* this life has ended */
    cr_expect_str_eq(join_as(1, 1001, 1), "fenced 1");
    cr_expect_str_eq(join_as(1, 9, 1), "fenced 1");
    cr_expect_str_eq(join_as(1, 9, 0), "accepted 3");
    cr_expect_not(beat(1, 1));
    cr_expect(beat(1, 3));
    STATE(1, "ALIVE");
}

TEST_AROUND(members, refusals, setup, teardown)
{
    rayi_member node = node_of(1);
    rayi_member_message good = join_of(&node, 500), m = good;
    cr_expect_str_eq(join_message(&good), "accepted 1");
    m.as.join.protocol++;
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_VERSION));
    m = good;
    m.as.join.cluster.bytes[0] = 0xc2;
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_CLUSTER));
    m.as.join.cluster = our_cluster;
    cr_expect_str_eq(join_message(&m), "accepted 1");
    m.as.join.generation = 2;
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_OLD_HEAD));
    m = good;
    m.as.join.node.key = key_of(9);
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_ID));
    m = good;
    m.as.join.node.id = id_of(9);
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_KEY));
    m = good;
    m.as.join.node.flags = RAYI_MEMBER_HEAD;
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_MALFORMED));
    m.as.join.node.flags = 64;
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_MALFORMED));
    rayi_node_id id = id_of(1);
    rayi_members_process_gone(w.members, &id, 1, w.now_ms);
    m = good; /* dead, its id stays bound, its key is free */
    m.as.join.node.key = key_of(9);
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_ID));
    m = good;
    m.as.join.node.id = id_of(9);
    cr_expect_str_eq(join_message(&m), "accepted 2");
    m = good;
    m.as.join.node.life++;
    cr_expect_str_eq(join_message(&m), rayi_refusal_text(RAYI_REFUSAL_KEY));
}

TEST_AROUND(members, too_many, setup, teardown)
{
    rayi_members *first = w.members;
    rayi_members_options options = {.cluster = our_cluster, .generation = 1, .most = 2, .unsaved = true};
    cr_assert_eq(rayi_members_new(&w.heap.memory, &options, w.now_ms, &w.members), 0);
    uint64_t mine = join_new(1);
    join_new(2);
    cr_expect_str_eq(join_as(3, 1, 0), rayi_refusal_text(RAYI_REFUSAL_FULL));
    cr_expect_str_eq(join_as(2, 1002, 2), "accepted 2");
    rayi_node_id id = id_of(1);
    rayi_members_process_gone(w.members, &id, mine, w.now_ms);
    cr_expect_str_eq(join_as(3, 1, 0), "accepted 3");
    rayi_members_free(first);
}

/* ---- silence ---- */

TEST_AROUND(members, silence, setup, teardown)
{
    uint64_t one = join_new(1), two = join_new(2);
    pass(950);
    STATE(1, "ALIVE");
    cr_expect(renew(2, two));
    pass(200);
    STATE(1, "SUSPECT");
    STATE(2, "ALIVE");
    TOLD("probe 1.1 host:1; ");
    cr_expect(beat(1, one));
    STATE(1, "ALIVE");
    for (int i = 0; i < 9; i++) {
        cr_expect(beat(2, two));
        pass(1000);
    }
    STATE(1, "SUSPECT");
    pass(900);
    STATE(1, "SUSPECT");
    STATE(2, "SUSPECT");
    told(false);
    pass(200);
    STATE(1, "DEAD");
    TOLD("death 1.1 silent for 10 s; probe 2.2 host:1; ");
    cr_expect_not(beat(1, one));
    cr_expect_not(renew(1, one));
    cr_expect(renew(2, two));
    STATE(2, "ALIVE");
}

/* The head was stopped for a minute: what came meanwhile has not been read yet. */
TEST_AROUND(members, a_head_that_slept, setup, teardown)
{
    uint64_t mine = join_new(1);
    w.now_ms += 60000;
    rayi_members_tick(w.members, w.now_ms);
    STATE(1, "ALIVE");
    cr_expect(renew(1, mine));
    pass(9000);
    w.now_ms += 60000;
    rayi_members_tick(w.members, w.now_ms);
    STATE(1, "SUSPECT");
    pass(600);
    STATE(1, "DEAD");
}

TEST_AROUND(members, closed_and_refused, setup, teardown)
{
    rayi_node_id id = id_of(1);
    uint64_t mine = join_new(1);
    rayi_members_link_closed(w.members, &id, mine + 1, w.now_ms); /* of nobody */
    STATE(1, "ALIVE");
    rayi_members_link_closed(w.members, &id, mine, w.now_ms);
    STATE(1, "SUSPECT");
    rayi_members_tick(w.members, w.now_ms);
    TOLD("probe 1.1 host:1; ");
    rayi_members_dial_refused(w.members, &id, mine, w.now_ms);
    STATE(1, "SUSPECT");
    pass(50);
    TOLD("");
    pass(50);
    TOLD("probe 1.1 host:1; ");
    cr_expect(beat(1, mine)); /* so somebody is there */
    rayi_members_dial_refused(w.members, &id, mine, w.now_ms);
    STATE(1, "SUSPECT");
    rayi_members_dial_refused(w.members, &id, mine, w.now_ms);
    STATE(1, "DEAD");
    TOLD("death 1.1 nobody listens at its address any more; ");
    rayi_members_dial_refused(w.members, &id, mine, w.now_ms);
    rayi_members_link_closed(w.members, &id, mine, w.now_ms);
    rayi_members_process_gone(w.members, &id, mine, w.now_ms);
    TOLD("");
}

TEST_AROUND(members, same_host, setup, teardown)
{
    rayi_member node = node_of(1);
    node.host = 77;
    node.address = NULL;
    cr_expect_str_eq(join_node(&node), "accepted 1");
    TOLD("watch 1.1 101; ");
    rayi_members_link_closed(w.members, &node.id, 1, w.now_ms);
    pass(100);
    TOLD("");
    rayi_members_process_gone(w.members, &node.id, 1, w.now_ms);
    TOLD("death 1.1 its process ended; ");
}

/* ---- the head's own node, drivers, draining, load ---- */

TEST_AROUND(members, head_and_drained, setup, teardown)
{
    rayi_member head = node_of(10), driver = node_of(2);
    uint64_t mine;
    cr_assert_eq(rayi_members_lead(w.members, &head, w.now_ms, &mine), 0);
    driver.flags = RAYI_MEMBER_DRIVER;
    driver.resource_count = 0;
    cr_expect_str_eq(join_node(&driver), "accepted 2");
    cr_expect_eq(w.reply.answer.nodes, 2);
    cr_expect_eq(rayi_members_drain(w.members, &driver.id, w.now_ms), 0);
    cr_expect_eq(rayi_members_drain(w.members, &driver.id, w.now_ms), 0);
    rayi_node_id nobody = id_of(9);
    cr_expect_eq(rayi_members_drain(w.members, &nobody, w.now_ms), RAY_ERR_NOT_FOUND);
    cr_expect(renew(2, 2));
    cr_expect_eq(w.reply.answer.flags, RAYI_MEMBER_DRIVER | RAYI_MEMBER_DRAINED);
    cr_expect_str_eq(join_node(&driver), "accepted 2"); /* on another link: still drained */
    cr_expect_eq(w.reply.answer.flags, RAYI_MEMBER_DRIVER | RAYI_MEMBER_DRAINED);
    pass(20000);
    STATE(10, "ALIVE");
    STATE(2, "DEAD");
}

static int tell(uint32_t number, uint64_t incarnation, uint32_t load, uint32_t count, int64_t cpu, int64_t disk)
{
    rayi_member_message message = {.what = RAYI_MEMBER_TELL,
                                   .as.tell = {incarnation, load, count, .available = {cpu, disk}}};
    return serve(number, &message);
}

TEST_AROUND(members, load_and_sums, setup, teardown)
{
    rayi_member_sums *sums = rayi_roster_sum(rayi_members_roster(w.members), &w.heap.memory);
    cr_expect_eq(sums->count, 0);
    rayi_memory_free(&w.heap.memory, sums);
    join_new(1), join_new(2), join_new(3);
    cr_expect_eq(tell(1, 1, 7, 2, 5000, 0), 0);
    cr_expect_eq(tell(2, 2, 0, 1, -5000, 0), 0);
    cr_expect_eq(tell(2, 2, 0, 2, 0, 0), RAY_ERR_ARGUMENT);
    cr_expect_eq(tell(2, 2, 0, 1, 40001, 0), RAY_ERR_ARGUMENT);
    cr_expect_eq(tell(2, 1, 0, 1, 0, 0), 0);
    cr_expect_eq(w.reply.answer.verdict, RAYI_VERDICT_FENCED);
    sums = rayi_roster_sum(rayi_members_roster(w.members), &w.heap.memory);
    cr_assert_eq(sums->count, 2);
    cr_expect_eq(sums->nodes, 3);
    cr_expect_str_eq(sums->items[0].name, "CPU");
    cr_expect_eq(sums->items[0].total, 120000);
    cr_expect_eq(sums->items[0].available, 45000);
    cr_expect_str_eq(sums->items[1].name, "disk");
    cr_expect_eq(sums->items[1].available, 10000);
    rayi_memory_free(&w.heap.memory, sums);
    pass(1500); /* all are suspect */
    sums = rayi_roster_sum(rayi_members_roster(w.members), &w.heap.memory);
    cr_expect_eq(sums->count + sums->nodes, 0);
    rayi_memory_free(&w.heap.memory, sums);
}

/* ---- saving, publishing ---- */

TEST_AROUND(members, nothing_is_told_before_it_is_saved, setup_saving, teardown)
{
    rayi_writer writer;
    rayi_writer_init(&writer);
    uint64_t before = rayi_members_version(w.members), mine = join_new(1);
    cr_expect_gt(w.reply.after, before);
    cr_expect_eq(w.reply.answer.version, before);
    TOLD_ALL("save; ");
    uint64_t saved = rayi_members_journal(w.members, false, &writer);
    cr_expect_eq(saved, w.reply.after);
    cr_expect_eq(tell(1, mine, 3, 2, 0, 0), 0);
    TOLD_ALL("");
    rayi_members_saved(w.members, saved);
    cr_expect_eq(rayi_members_version(w.members), saved + 1);
    TOLD_ALL("publish; ");
    rayi_members_publish(w.members, 1000, &writer);
    rayi_node_id id = id_of(1);
    rayi_members_process_gone(w.members, &id, mine, w.now_ms);
    cr_expect_eq(rayi_members_version(w.members), saved + 1); /* what was told stays told */
    pass(300);
    cr_expect_not(renew(1, mine));
    cr_expect_eq(w.reply.after, saved + 2);
    TOLD_ALL("save; ");
    rayi_members_tick(w.members, w.now_ms); /* it was not written: once more */
    TOLD_ALL("save; ");
    saved = rayi_members_journal(w.members, false, &writer);
    TOLD_ALL("");
    rayi_members_saved(w.members, saved);
    TOLD_ALL("death 1.1 its process ended; publish; ");
    rayi_writer_fini(&writer);
}

TEST_AROUND(members, a_few_publications_a_second, setup, teardown)
{
    int published = 0;
    for (uint32_t i = 1; i <= 200; i++) {
        join_new(i);
        w.now_ms += 10;
        for (rayi_members_action a; rayi_members_next(w.members, w.now_ms, &a);) {
            rayi_writer writer;
            if (a.what != RAYI_MEMBERS_PUBLISH)
                continue; /* the first are suspect by now */
            rayi_writer_init(&writer);
            rayi_members_publish(w.members, SIZE_MAX, &writer);
            rayi_writer_fini(&writer);
            published++;
        }
    }
    cr_expect_geq(published, 7);
    cr_expect_leq(published, 8 + RAYI_PUBLISH_BURST + 1);
    cr_expect_leq(rayi_members_next_deadline(w.members), w.now_ms + 250);
}

/* ---- another head ---- */

/* What was saved goes to a head of the next generation. */
static void restart_head(rayi_writer *journal)
{
    rayi_members_free(w.members);
    open_head(2, false);
    cr_assert_eq(rayi_members_restore(w.members, journal->data, journal->size), 0);
}

TEST_AROUND(members, a_head_that_comes_back, setup_saving, teardown)
{
    rayi_writer journal;
    rayi_text before, after;
    uint64_t mine[5];
    rayi_member head = node_of(10);
    cr_assert_eq(rayi_members_lead(w.members, &head, w.now_ms, &mine[0]), 0);
    for (uint32_t i = 1; i <= 4; i++)
        mine[i] = join_new(i);
    rayi_node_id four = id_of(4), one = id_of(1), two = id_of(2);
    rayi_members_process_gone(w.members, &four, mine[4], w.now_ms);
    tell_roster(rayi_members_roster(w.members), &before);
    rayi_writer_init(&journal);
    cr_assert_neq(rayi_members_journal(w.members, true, &journal), 0);
    restart_head(&journal);
    tell_roster(rayi_members_roster(w.members), &after);
    cr_expect_str_eq(after.data, before.data);
    rayi_text_fini(&after);
    rayi_text_fini(&before);
    cr_expect_str_eq(state(4), "DEAD");
    cr_expect_not(renew(4, mine[4]));
    cr_expect_str_eq(join_as(1, 1001, mine[1]), "accepted 2"); /* the same incarnation */
    head.life = 5;
    uint64_t again;
    cr_assert_eq(rayi_members_lead(w.members, &head, w.now_ms, &again), 0);
    cr_expect_eq(again, 6);
    /* Proof or not: it waits, as the lease that another head gave may hold. */
    rayi_members_process_gone(w.members, &two, mine[2], w.now_ms);
    pass(7900);
    STATE(2, "SUSPECT");
    STATE(3, "SUSPECT");
    rayi_members_process_gone(w.members, &one, mine[1], w.now_ms);
    STATE(1, "DEAD"); /* its lease is of this head */
    pass(200);
    STATE(2, "DEAD");
    STATE(3, "SUSPECT");
    pass(2000);
    STATE(3, "DEAD");
    rayi_writer_fini(&journal);
}

TEST_AROUND(members, what_cannot_be_restored, setup_saving, teardown)
{
    rayi_writer journal;
    join_new(1);
    rayi_writer_init(&journal);
    cr_assert_neq(rayi_members_journal(w.members, true, &journal), 0);
    rayi_members_free(w.members);
    open_head(1, false); /* not above the one before */
    cr_expect_eq(rayi_members_restore(w.members, journal.data, journal.size), RAY_ERR_ARGUMENT);
    rayi_members_free(w.members);
    open_head(2, false);
    cr_expect_eq(rayi_members_restore(w.members, journal.data, journal.size - 1), RAY_ERR_ARGUMENT);
    journal.data[1] ^= 1; /* of another cluster */
    cr_expect_eq(rayi_members_restore(w.members, journal.data, journal.size), RAY_ERR_ARGUMENT);
    rayi_writer_fini(&journal);
}

/* ---- the dead are forgotten ---- */

TEST_AROUND(members, forgetting, setup, teardown)
{
    rayi_members *first = w.members;
    rayi_members_options options = {.cluster = our_cluster, .generation = 1, .dead_most = 3, .unsaved = true};
    cr_assert_eq(rayi_members_new(&w.heap.memory, &options, w.now_ms, &w.members), 0);
    for (uint32_t i = 1; i <= 6; i++) {
        rayi_node_id id = id_of(i);
        rayi_members_process_gone(w.members, &id, join_new(i), w.now_ms);
    }
    STATE(1, "DEAD"); /* nobody was told yet */
    told(true);
    pass(100);
    STATE(3, "nobody");
    STATE(4, "DEAD");
    cr_expect_not(renew(1, 1));
    cr_expect_str_eq(join_as(1, 1001, 1), "fenced 1");
    cr_expect_str_eq(join_as(1, 1001, 0), "accepted 7"); /* it is a stranger, with a number of its own */
    rayi_members_free(first);
}

/* A head that comes back would remember who was forgotten in vain. */
TEST_AROUND(members, forgetting_is_saved_before_it_is_told, setup_saving, teardown)
{
    rayi_members *first = w.members;
    rayi_members_options options = {.cluster = our_cluster, .generation = 1, .dead_most = 1};
    rayi_writer journal;
    cr_assert_eq(rayi_members_new(&w.heap.memory, &options, w.now_ms, &w.members), 0);
    rayi_writer_init(&journal);
    for (uint32_t i = 1; i <= 2; i++) {
        rayi_node_id id = id_of(i);
        rayi_members_process_gone(w.members, &id, join_new(i), w.now_ms);
    }
    rayi_members_saved(w.members, rayi_members_journal(w.members, false, &journal));
    told(true);
    uint64_t before = rayi_members_version(w.members);
    pass(100);
    STATE(1, "nobody");
    cr_expect_eq(rayi_members_version(w.members), before);
    rayi_members_saved(w.members, rayi_members_journal(w.members, false, &journal));
    cr_expect_eq(rayi_members_version(w.members), before + 1);
    rayi_writer_fini(&journal);
    rayi_members_free(first);
}

/* ---- without memory ---- */

TEST_AROUND(members, without_memory, setup, teardown)
{
    rayi_text before, after;
    rayi_member node = node_of(5), changed = node_of(1), again = node_of(2);
    rayi_node_id two = id_of(2);
    join_new(1), join_new(2);
    rayi_members_process_gone(w.members, &two, 2, w.now_ms);
    changed.address = "elsewhere:1";
    again.life = 3;
    const rayi_member *tries[] = {&node, &changed, &again};
    for (size_t k = 0; k < RAYI_COUNT_OF(tries); k++)
        for (long nth = 1, r = RAY_ERR_NO_MEMORY; r; nth++) {
            rayi_member_message message = join_of(tries[k], 500);
            tell_roster(rayi_members_roster(w.members), &before);
            counted_fail(&w.heap, nth);
            r = serve(number_of(&tries[k]->id), &message);
            counted_fail(&w.heap, 0);
            tell_roster(rayi_members_roster(w.members), &after);
            cr_assert(r == 0 || r == RAY_ERR_NO_MEMORY);
            cr_assert_eq(r != 0, strcmp(before.data, after.data) == 0);
            cr_assert_lt(nth, 10);
            rayi_text_fini(&before);
            rayi_text_fini(&after);
        }
    for (long nth = 1;; nth++) {
        counted_fail(&w.heap, nth);
        rayi_member_sums *sums = rayi_roster_sum(rayi_members_roster(w.members), &w.heap.memory);
        counted_fail(&w.heap, 0);
        rayi_memory_free(&w.heap.memory, sums);
        if (sums)
            break;
    }
    rayi_members_options options = {.cluster = our_cluster, .generation = 1};
    for (long nth = 1; nth <= 2; nth++) {
        rayi_members *none;
        counted_fail(&w.heap, nth);
        cr_expect_eq(rayi_members_new(&w.heap.memory, &options, 0, &none), RAY_ERR_NO_MEMORY);
        counted_fail(&w.heap, 0);
    }
}
