/* A node's side: joining, its lease, being fenced, a head that cannot be reached, the copy of the table. */
#include "../around.h"
#include "nodes.h"

typedef struct world {
    counted heap;
    rayi_membership *m;
    int64_t now_ms;
    rayi_member_message sent; /* the last */
    char told[4096];
} world;

static world w;
static const rayi_cluster_id other_cluster = {{0xc2}};

static void open_node(int64_t give_up_ms)
{
    rayi_member node = node_of(1);
    rayi_membership_options options = {.node = &node, .head = "head:6379", .seed = 7, .give_up_ms = give_up_ms};
    counted_init(&w.heap);
    w.now_ms = 1000;
    cr_assert_eq(rayi_membership_new(&w.heap.memory, &options, w.now_ms, &w.m), 0);
}

static void setup(void)
{
    open_node(0);
}

static void teardown(void)
{
    rayi_membership_free(w.m);
    cr_assert_eq(w.heap.live, 0, "%ld blocks are left", w.heap.live);
}

/* ---- what it says ---- */

static const char *sent_name(const rayi_member_message *message)
{
    static const char *const names[] = {
        [RAYI_MEMBER_JOIN] = "join", [RAYI_MEMBER_RENEW] = "renew", [RAYI_MEMBER_TELL] = "tell",
        [RAYI_MEMBER_BEAT] = "beat", [RAYI_MEMBER_PULL] = "pull",   [RAYI_MEMBER_LEAVE] = "leave"};
    return names[message->what];
}

static int tell_action(const rayi_membership_action *a, char *out)
{
    switch (a->what) {
    case RAYI_MEMBERSHIP_PARK:
        return sprintf(out, "park; ");
    case RAYI_MEMBERSHIP_FENCE:
        return sprintf(out, "fence; ");
    case RAYI_MEMBERSHIP_SEND:
        w.sent = *a->message;
        return a->message->what == RAYI_MEMBER_BEAT ? 0 : sprintf(out, "%s; ", sent_name(a->message));
    case RAYI_MEMBERSHIP_HANG_UP:
        return sprintf(out, "hang up: %s; ", a->words);
    case RAYI_MEMBERSHIP_END:
        return sprintf(out, "end: %s; ", a->words);
    case RAYI_MEMBERSHIP_JOINED:
        return sprintf(out, "joined %" PRIu64 "; ", a->incarnation);
    case RAYI_MEMBERSHIP_UNPARK:
        return sprintf(out, "unpark; ");
    case RAYI_MEMBERSHIP_DRAIN:
        return sprintf(out, "drain; ");
    case RAYI_MEMBERSHIP_DIAL:
        return sprintf(out, "dial; ");
    case RAYI_MEMBERSHIP_UNREACHABLE:
        return sprintf(out, "%s; ", a->words);
    case RAYI_MEMBERSHIP_CHANGED:
        return sprintf(out, "%u.%" PRIu64 " %s; ", number_of(&a->id), a->incarnation, rayi_node_state_name(a->state));
    }
    return 0;
}

/* Adds all actions there are, but beats. */
static char *tell_more(char *at)
{
    rayi_membership_action a;
    while (rayi_membership_next(w.m, w.now_ms, &a)) {
        at += tell_action(&a, at);
        cr_assert_lt(at, w.told + sizeof w.told);
    }
    *at = 0;
    return at;
}

static const char *told(void)
{
    tell_more(w.told);
    return w.told;
}

/* The same over some time. */
static const char *told_in(int64_t ms)
{
    char *at = tell_more(w.told);
    for (int64_t end = w.now_ms + ms; w.now_ms < end;) {
        w.now_ms = RAYI_MIN(end, w.now_ms + 10);
        rayi_membership_tick(w.m, w.now_ms);
        at = tell_more(at);
    }
    return w.told;
}

#define TOLD(want)        cr_expect_str_eq(told(), want, "told \"%s\"", w.told)
#define TOLD_IN(ms, want) cr_expect_str_eq(told_in(ms), want, "told \"%s\"", w.told)

/* ---- what it hears ---- */

static int answer_with(rayi_member_answer answer)
{
    rayi_member_message message = {.what = RAYI_MEMBER_ANSWER, .as.answer = answer};
    message.as.answer.generation = answer.generation ? answer.generation : 1;
    message.as.answer.cluster = answer.cluster.bytes[0] ? answer.cluster : our_cluster;
    return rayi_membership_take(w.m, &message, w.now_ms);
}

#define ANSWER(...) cr_assert_eq(answer_with((rayi_member_answer){__VA_ARGS__}), 0)
#define ACCEPT(...)                                                                                                    \
    ANSWER(.verdict = RAYI_VERDICT_ACCEPTED, .life = w.sent.as.join.node.life, .asked_ms = w.sent.as.join.asked_ms,    \
           __VA_ARGS__)
#define REFUSE(why)                                                                                                    \
    ANSWER(.verdict = RAYI_VERDICT_REFUSED, .life = w.sent.as.join.node.life, .asked_ms = w.sent.as.join.asked_ms,     \
           .refusal = why)

static int end_head(uint64_t generation)
{
    rayi_member_message message = {.what = RAYI_MEMBER_END, .as.generation = generation};
    return rayi_membership_take(w.m, &message, w.now_ms);
}

static void link_up(void)
{
    told();
    rayi_membership_linked(w.m, w.now_ms);
    TOLD("join; ");
    cr_assert_eq(w.sent.what, RAYI_MEMBER_JOIN);
}

static void join_cluster(void)
{
    link_up();
    ACCEPT(.incarnation = 5);
    TOLD("joined 5; ");
}

/* ---- states ---- */

static void try_edge(int from, int event)
{
    rayi_membership_next_state((rayi_membership_state)from, (rayi_membership_event)event);
}

Test(membership, edges)
{
    enum { J = RAYI_MEMBERSHIP_JOINING, M, P, F, O, NO = 99 };
    static const int next[5][6] = {/* ACCEPTED, GRANTED, EXPIRED, FENCED, DISCARDED, END */
                                   [J] = {M, NO, NO, F, NO, O},
                                   [M] = {M, M, P, F, NO, O},
                                   [P] = {M, M, NO, F, NO, O},
                                   [F] = {NO, NO, NO, NO, J, O},
                                   [O] = {NO, NO, NO, NO, NO, NO}};
    for (int from = 0; from < 5; from++)
        for (int event = 0; event < 6; event++) {
            if (next[from][event] == NO)
                cr_expect(aborts(try_edge, from, event), "%d %d is legal", from, event);
            else
                cr_expect_eq((int)rayi_membership_next_state((rayi_membership_state)from, (rayi_membership_event)event),
                             next[from][event]);
        }
}

enum { DO_ACCEPT, DO_GRANT, DO_EXPIRE, DO_FENCE, DO_DISCARD, DO_REFUSE, DO_LEAVE, DO_UNLINK, EVENTS };

static void do_event(int event)
{
    switch (event) {
    case DO_ACCEPT: /* as on another link */
        rayi_membership_unlinked(w.m, "closed", w.now_ms);
        told_in(1);
        rayi_membership_linked(w.m, w.now_ms);
        told();
        ACCEPT(.incarnation = 5);
        return;
    case DO_GRANT:
        ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 5, .asked_ms = w.now_ms);
        return;
    case DO_EXPIRE:
        w.now_ms += RAYI_LEASE_MS;
        rayi_membership_heard(w.m, w.now_ms);
        return;
    case DO_FENCE:
        ANSWER(.verdict = RAYI_VERDICT_FENCED, .incarnation = 5);
        return;
    case DO_DISCARD:
        rayi_membership_discarded(w.m, w.now_ms);
        return;
    case DO_REFUSE:
        do_event(DO_UNLINK);
        told_in(1);
        rayi_membership_linked(w.m, w.now_ms);
        told();
        REFUSE(RAYI_REFUSAL_FULL);
        return;
    case DO_LEAVE:
        rayi_membership_leave(w.m, w.now_ms);
        return;
    case DO_UNLINK:
        rayi_membership_unlinked(w.m, "closed", w.now_ms);
        return;
    }
}

/* Each event in each state, told without harm whether it means anything there or not. */
Test(membership, events)
{
    enum { J = RAYI_MEMBERSHIP_JOINING, M, P, F, O };
    static const int next[5][EVENTS] = {/* ACCEPT GRANT EXPIRE FENCE DISCARD REFUSE LEAVE UNLINK */
                                        [J] = {M, J, J, J, J, O, O, J},
                                        [M] = {M, M, P, F, M, O, O, M},
                                        [P] = {M, M, P, F, P, O, O, P},
                                        [F] = {F, F, F, F, J, F, O, F},
                                        [O] = {O, O, O, O, O, O, O, O}};
    for (int from = 0; from < 5; from++)
        for (int event = 0; event < EVENTS; event++) {
            static const int ways[] = {[P] = DO_EXPIRE, [F] = DO_FENCE, [O] = DO_LEAVE};
            open_node(0);
            if (from == J)
                link_up();
            else
                join_cluster();
            if (from > M)
                do_event(ways[from]);
            told();
            cr_assert_eq((int)rayi_membership_state_of(w.m), from);
            do_event(event);
            told();
            cr_expect_eq((int)rayi_membership_state_of(w.m), next[from][event], "%d in %d: %d", event, from,
                         (int)rayi_membership_state_of(w.m));
            told_in(5000);
            teardown();
        }
}

/* ---- joining ---- */

TEST_AROUND(membership, joining, setup, teardown)
{
    TOLD("dial; ");
    cr_expect_str_eq(rayi_membership_why(w.m, w.now_ms),
                     "cannot reach head at head:6379: it has not answered yet (tried for 0 ms)");
    rayi_membership_linked(w.m, w.now_ms);
    TOLD("join; ");
    cr_expect_eq(w.sent.as.join.node.incarnation, 0);
    cr_expect_not(rayi_membership_may_act(w.m, w.now_ms));
    w.now_ms += 20;
    ANSWER(.verdict = RAYI_VERDICT_ACCEPTED, .incarnation = 5, .life = 3, .asked_ms = w.now_ms); /* of another life */
    TOLD("");
    ACCEPT(.incarnation = 5);
    TOLD("joined 5; ");
    cr_expect(rayi_membership_may_act(w.m, w.sent.as.join.asked_ms + 7999));
    cr_expect_not(rayi_membership_may_act(w.m, w.sent.as.join.asked_ms + 8000));
    cr_expect_null(rayi_membership_why(w.m, w.now_ms));
    ACCEPT(.incarnation = 6); /* again: it has been accepted */
    TOLD("");
    cr_expect_eq(rayi_membership_incarnation(w.m), 5);
}

TEST_AROUND(membership, a_head_that_ends, setup, teardown)
{
    link_up();
    cr_assert_eq(end_head(1), 0); /* before it has taken us: whose head is that? */
    TOLD("");
    ACCEPT(.incarnation = 5);
    TOLD("joined 5; ");
    cr_assert_eq(end_head(2), 0); /* of another head's life */
    TOLD("");
    cr_assert_eq(end_head(1), 0);
    TOLD("park; hang up: it has ended; end: the head at head:6379 has ended, and the cluster with it; ");
    cr_assert_eq(end_head(1), 0);
    rayi_membership_unlinked(w.m, "closed", w.now_ms);
    TOLD_IN(3000, "");
    cr_expect_eq(rayi_membership_next_deadline(w.m), INT64_MAX);
}

TEST_AROUND(membership, a_parked_node_whose_head_ends, setup, teardown)
{
    join_cluster();
    for (int i = 0; i < 5; i++) {
        rayi_membership_heard(w.m, w.now_ms += 2000);
        told();
    }
    cr_assert_eq(rayi_membership_state_of(w.m), RAYI_MEMBERSHIP_PARKED);
    cr_assert_eq(end_head(1), 0);
    TOLD("hang up: it has ended; end: the head at head:6379 has ended, and the cluster with it; ");
}

TEST_AROUND(membership, an_acceptance_that_came_too_late, setup, teardown)
{
    link_up();
    for (int i = 0; i < 4; i++) {
        rayi_membership_heard(w.m, w.now_ms += 2000);
        told();
    }
    ACCEPT(.incarnation = 5);
    TOLD(""); /* it has no lease */
    cr_expect_not(rayi_membership_may_act(w.m, w.now_ms));
    told_in(2500);
    cr_expect_str_eq(w.told, "renew; ", "%s", w.told);
    ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 5, .asked_ms = w.now_ms - 100);
    TOLD("joined 5; ");
    ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 5, .asked_ms = w.now_ms + 100000); /* from nowhere */
    cr_expect_not(rayi_membership_may_act(w.m, w.now_ms + 8000));
}

Test(membership, final_refusals)
{
    static const rayi_refusal finals[] = {RAYI_REFUSAL_VERSION, RAYI_REFUSAL_CLUSTER, RAYI_REFUSAL_ID,
                                          RAYI_REFUSAL_FULL, RAYI_REFUSAL_MALFORMED};
    for (size_t i = 0; i < RAYI_COUNT_OF(finals); i++) {
        char want[256];
        open_node(0);
        link_up();
        REFUSE(finals[i]);
        sprintf(want, "end: the head at head:6379 refused this node: %s; ", rayi_refusal_text(finals[i]));
        TOLD(want);
        TOLD_IN(10000, "");
        cr_expect_eq(rayi_membership_next_deadline(w.m), INT64_MAX);
        teardown();
    }
}

TEST_AROUND(membership, a_former_life_is_not_dead_yet, setup, teardown)
{
    link_up();
    REFUSE(RAYI_REFUSAL_ALIVE);
    TOLD("");
    told_in(1000);
    cr_expect_str_eq(
        w.told, "join; cannot join head at head:6379: the node's id is in use by another process (tried for 1 s); ");
    for (int i = 0; i < 14; i++) {
        REFUSE(RAYI_REFUSAL_KEY);
        told_in(1000);
        cr_expect_eq(strncmp(w.told, "join; ", 6), 0);
    }
    rayi_membership_heard(w.m, w.now_ms += 1000);
    REFUSE(RAYI_REFUSAL_ALIVE);
    TOLD("end: the head at head:6379 refused this node: the node's id is in use by another process; ");
}

/* ---- the lease ---- */

TEST_AROUND(membership, renewing, setup, teardown)
{
    join_cluster();
    for (int i = 0; i < 20; i++) {
        told_in(2000);
        cr_expect_str_eq(w.told, "renew; ", "%s", w.told);
        ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 5, .asked_ms = w.sent.as.renew.asked_ms);
    }
    int64_t end = w.sent.as.renew.asked_ms + RAYI_LEASE_MS;
    while (w.now_ms + 500 < end) {
        rayi_membership_heard(w.m, w.now_ms); /* the head talks, but does not answer */
        told_in(500);
        cr_expect_str_eq(strstr(w.told, "renew") ? "renew; " : "", w.told);
    }
    told_in(500);
    cr_expect_eq(strncmp(w.told, "park; ", 6), 0, "%s", w.told);
    ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 5, .asked_ms = w.now_ms - 8000); /* late */
    TOLD("");
    ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 4, .asked_ms = w.now_ms); /* of another */
    TOLD("");
    ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 5, .asked_ms = w.now_ms - 7000);
    TOLD("unpark; ");
    told_in(1000);
    cr_expect(strstr(w.told, "park; "));
}

/* Suspended for an hour, on a clock that says so: it parks before anything else. */
TEST_AROUND(membership, a_node_that_slept, setup, teardown)
{
    join_cluster();
    w.now_ms += 3600000;
    cr_expect_not(rayi_membership_may_act(w.m, w.now_ms));
    ACCEPT(.incarnation = 5);
    told();
    cr_expect_eq(strncmp(w.told, "park; ", 6), 0, "%s", w.told);
}

TEST_AROUND(membership, fenced, setup, teardown)
{
    join_cluster();
    uint64_t life = w.sent.as.join.node.life;
    ANSWER(.verdict = RAYI_VERDICT_FENCED, .incarnation = 4);
    TOLD("");
    ANSWER(.verdict = RAYI_VERDICT_FENCED, .incarnation = 5);
    cr_expect_not(rayi_membership_may_act(w.m, w.now_ms));
    TOLD("park; fence; ");
    TOLD_IN(3000, "");
    rayi_membership_discarded(w.m, w.now_ms);
    TOLD("join; ");
    cr_expect_neq(w.sent.as.join.node.life, life);
    cr_expect_eq(w.sent.as.join.node.incarnation, 0);
    ANSWER(.verdict = RAYI_VERDICT_FENCED, .incarnation = 5); /* late: of the former life */
    TOLD("");
    ACCEPT(.incarnation = 9);
    TOLD("joined 9; ");
    rayi_member_message death = {.what = RAYI_MEMBER_DEATH, .as.death = {id_of(1), 9, RAYI_DEATH_SILENT}};
    cr_expect_eq(rayi_membership_take(w.m, &death, w.now_ms), 0);
    TOLD("park; fence; ");
}

/* ---- heads ---- */

TEST_AROUND(membership, other_heads, setup, teardown)
{
    link_up();
    ACCEPT(.incarnation = 5, .generation = 3);
    TOLD("joined 5; ");
    rayi_membership_unlinked(w.m, "closed", w.now_ms);
    told_in(1);
    rayi_membership_linked(w.m, w.now_ms);
    told();
    cr_expect_eq(w.sent.as.join.generation, 3);
    cr_expect_eq(memcmp(&w.sent.as.join.cluster, &our_cluster, sizeof our_cluster), 0);
    ACCEPT(.incarnation = 5, .generation = 2);
    TOLD("hang up: the head has been replaced by a later one; ");
    told_in(1000);
    cr_expect(strstr(w.told, "dial; "));
    rayi_membership_linked(w.m, w.now_ms);
    told();
    ANSWER(.verdict = RAYI_VERDICT_FENCED, .incarnation = 5, .generation = 2); /* it has no say */
    cr_expect(strstr(told(), "hang up"));
    told_in(1000);
    rayi_membership_linked(w.m, w.now_ms);
    told();
    ACCEPT(.incarnation = 5, .generation = 4);
    cr_expect_eq(rayi_membership_generation(w.m), 4);
    TOLD("");
    rayi_membership_unlinked(w.m, "closed", w.now_ms);
    told_in(1);
    rayi_membership_linked(w.m, w.now_ms);
    told();
    ACCEPT(.incarnation = 5, .generation = 4, .cluster = other_cluster);
    TOLD("park; end: the head at head:6379 refused this node: the head is that of another cluster; ");
}

Test(membership, unreachable)
{
    open_node(20000);
    TOLD("dial; ");
    rayi_membership_unlinked(w.m, "connection refused", w.now_ms);
    int dials = 0, says = 0;
    char last[256] = "";
    for (int64_t end = w.now_ms + 19900; w.now_ms < end;) {
        rayi_membership_action a;
        w.now_ms += 10;
        rayi_membership_tick(w.m, w.now_ms);
        while (rayi_membership_next(w.m, w.now_ms, &a)) {
            if (a.what == RAYI_MEMBERSHIP_DIAL) {
                dials++;
                rayi_membership_unlinked(w.m, "connection refused", w.now_ms);
            } else {
                cr_assert_eq(a.what, RAYI_MEMBERSHIP_UNREACHABLE);
                strcpy(last, a.words);
                says++;
            }
        }
    }
    cr_expect(dials > 20 && dials < 60, "%d", dials);
    cr_expect(says >= 3 && says <= 5, "%d", says);
    cr_expect_str_eq(last, "cannot reach head at head:6379: connection refused (tried for 15 s)", "%s", last);
    TOLD_IN(100, "end: cannot reach head at head:6379: connection refused (tried for 20 s); ");
    teardown();
}

TEST_AROUND(membership, a_silent_head, setup, teardown)
{
    join_cluster();
    told_in(3990);
    cr_expect_null(strstr(w.told, "hang up"));
    told_in(20);
    cr_expect(strstr(w.told, "hang up: it has been silent for 4 s; "), "%s", w.told);
    told_in(200);
    cr_expect_str_eq(w.told, "dial; ");
    told_in(5000);
    cr_expect(strstr(w.told, "park; "), "%s", w.told);
    cr_expect(strstr(w.told, "cannot reach head at head:6379: it has been silent for 4 s (tried for 1 s); "), "%s",
              w.told);
}

TEST_AROUND(membership, leaving, setup, teardown)
{
    join_cluster();
    ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 5, .asked_ms = w.now_ms, .flags = RAYI_MEMBER_DRAINED);
    TOLD("drain; ");
    rayi_membership_leave(w.m, w.now_ms);
    TOLD("park; leave; end: this node left the cluster; ");
    rayi_membership_leave(w.m, w.now_ms);
    TOLD_IN(20000, "");
}

/* ---- beats and load ---- */

TEST_AROUND(membership, something_is_said_often, setup, teardown)
{
    rayi_membership_action a;
    int64_t last = w.now_ms, available[] = {3, 0};
    int tells = 0;
    join_cluster();
    for (int64_t end = w.now_ms + 30000; w.now_ms < end; w.now_ms += 10) {
        available[0]++;
        rayi_membership_load(w.m, 1, available, w.now_ms);
        rayi_membership_heard(w.m, w.now_ms);
        while (rayi_membership_next(w.m, w.now_ms, &a)) {
            if (a.what != RAYI_MEMBERSHIP_SEND)
                continue;
            last = w.now_ms;
            tells += a.message->what == RAYI_MEMBER_TELL;
        }
        cr_assert_leq(w.now_ms - last, RAYI_BEAT_MS);
    }
    cr_expect(tells >= 28 && tells <= 31, "%d", tells);
    rayi_membership_spoke(w.m, w.now_ms);
    rayi_membership_load(w.m, 1, available, w.now_ms);
    told();
    rayi_membership_load(w.m, 1, available, w.now_ms);
    cr_expect_geq(rayi_membership_next_deadline(w.m), w.now_ms);
}

/* ---- the copy ---- */

/* A head's table beside it. */
static rayi_members *head;

static void head_setup(void)
{
    rayi_members_options options = {.cluster = our_cluster, .generation = 1, .unsaved = true};
    setup();
    cr_assert_eq(rayi_members_new(rayi_heap, &options, w.now_ms, &head), 0);
}

static void head_teardown(void)
{
    rayi_members_free(head);
    teardown();
}

static void others_join(uint32_t first, uint32_t last)
{
    for (uint32_t i = first; i <= last; i++) {
        rayi_members_reply reply;
        rayi_member node = node_of(i);
        rayi_member_message message = join_of(&node, 1);
        cr_assert_eq(rayi_members_serve(head, &node.id, &message, w.now_ms, &reply), 0);
    }
}

static int publish(rayi_writer *writer, size_t limit_bytes)
{
    rayi_writer_init(writer);
    rayi_members_publish(head, limit_bytes, writer);
    return 0;
}

static int hint(const rayi_writer *writer)
{
    return rayi_membership_hint(w.m, writer->data, writer->size, w.now_ms);
}

static int answer_pull(void)
{
    rayi_writer writer;
    rayi_member_message message;
    cr_assert_eq(w.sent.what, RAYI_MEMBER_PULL);
    rayi_writer_init(&writer);
    rayi_members_since(head, w.sent.as.since, &writer);
    cr_assert_eq(rayi_member_message_take(writer.data, writer.size, &message), 0);
    int r = rayi_membership_take(w.m, &message, w.now_ms);
    rayi_writer_fini(&writer);
    return r;
}

static void expect_equal(void)
{
    rayi_text ours, theirs;
    tell_roster(rayi_membership_roster(w.m), &ours);
    tell_roster(rayi_members_roster(head), &theirs);
    cr_expect_str_eq(ours.data, theirs.data);
    rayi_text_fini(&ours);
    rayi_text_fini(&theirs);
}

TEST_AROUND(membership, a_copy, head_setup, head_teardown)
{
    rayi_writer first, second, third;
    rayi_node_id three = id_of(3);
    others_join(2, 4);
    publish(&first, SIZE_MAX);
    link_up();
    cr_expect_eq(hint(&first), 0); /* it does not belong yet */
    TOLD("");
    ACCEPT(.incarnation = 5, .version = rayi_members_version(head));
    TOLD("joined 5; pull; ");
    cr_expect_eq(answer_pull(), 0);
    TOLD("2.1 ALIVE; 3.2 ALIVE; 4.3 ALIVE; ");
    expect_equal();
    cr_expect_eq(hint(&first), 0); /* it knows that */
    rayi_members_link_closed(head, &three, 2, w.now_ms);
    publish(&second, SIZE_MAX);
    cr_expect_eq(hint(&second), 0);
    TOLD("3.2 SUSPECT; ");
    rayi_members_process_gone(head, &three, 2, w.now_ms);
    others_join(9, 9);
    publish(&third, SIZE_MAX); /* lost */
    rayi_members_serve(head, &three, &(rayi_member_message){.what = RAYI_MEMBER_BEAT, .as.incarnation = 2}, w.now_ms,
                       &(rayi_members_reply){0});
    others_join(10, 10);
    rayi_writer fourth;
    publish(&fourth, SIZE_MAX);
    cr_expect_eq(hint(&fourth), 0); /* a gap */
    TOLD("pull; ");
    cr_expect_eq(answer_pull(), 0);
    TOLD("3.2 DEAD; 9.4 ALIVE; 10.5 ALIVE; ");
    cr_expect_eq(hint(&third), 0); /* late */
    TOLD("");
    expect_equal();
    rayi_writer_fini(&first), rayi_writer_fini(&second), rayi_writer_fini(&third), rayi_writer_fini(&fourth);
}

/* A node comes back as another incarnation while the copy is not told: it hears of the end of the one it knew. */
TEST_AROUND(membership, ends_are_not_skipped, head_setup, head_teardown)
{
    rayi_member node = node_of(3);
    rayi_members_reply reply;
    others_join(2, 3);
    link_up();
    ACCEPT(.incarnation = 5, .version = rayi_members_version(head));
    told();
    cr_expect_eq(answer_pull(), 0);
    TOLD("2.1 ALIVE; 3.2 ALIVE; ");
    rayi_member_message death = {.what = RAYI_MEMBER_DEATH, .as.death = {id_of(2), 1, RAYI_DEATH_GONE}};
    cr_expect_eq(rayi_membership_take(w.m, &death, w.now_ms), 0);
    cr_expect_eq(rayi_membership_take(w.m, &death, w.now_ms), 0);
    TOLD("2.1 DEAD; ");
    rayi_members_process_gone(head, &node.id, 2, w.now_ms);
    node.life = 4;
    rayi_member_message join = join_of(&node, 1);
    cr_assert_eq(rayi_members_serve(head, &node.id, &join, w.now_ms, &reply), 0);
    ANSWER(.verdict = RAYI_VERDICT_GRANTED, .incarnation = 5, .asked_ms = w.now_ms,
           .version = rayi_members_version(head));
    told_in(400);
    cr_expect_str_eq(w.told, "pull; ", "%s", w.told);
    cr_expect_eq(answer_pull(), 0);
    TOLD("3.2 DEAD; 3.3 ALIVE; ");
}

/* Of its own death it may learn from the table. */
TEST_AROUND(membership, its_own_death, head_setup, head_teardown)
{
    rayi_node_id one = id_of(1);
    others_join(1, 1);
    link_up();
    ACCEPT(.incarnation = 1, .version = rayi_members_version(head));
    told();
    cr_expect_eq(answer_pull(), 0);
    TOLD("");
    rayi_members_process_gone(head, &one, 1, w.now_ms);
    rayi_writer writer;
    publish(&writer, SIZE_MAX);
    cr_expect_eq(hint(&writer), 0);
    TOLD("park; fence; ");
    rayi_writer_fini(&writer);
}

TEST_AROUND(membership, tables_of_others_and_malformed_ones, head_setup, head_teardown)
{
    rayi_writer writer;
    others_join(2, 3);
    link_up();
    ACCEPT(.incarnation = 5, .version = rayi_members_version(head));
    told();
    cr_expect_eq(answer_pull(), 0);
    told();
    others_join(4, 4);
    publish(&writer, SIZE_MAX);
    writer.data[1] ^= 1; /* another cluster */
    cr_expect_eq(hint(&writer), 0);
    writer.data[1] ^= 1;
    writer.data[17] ^= 3; /* another generation */
    cr_expect_eq(hint(&writer), 0);
    writer.data[17] ^= 3;
    writer.size--;
    cr_expect_eq(hint(&writer), RAY_ERR_ARGUMENT);
    TOLD("");
    told_in(2100);
    cr_expect(strstr(w.told, "pull; ") && w.sent.what == RAYI_MEMBER_PULL, "%s", w.told);
    cr_expect_eq(w.sent.as.since, 0); /* it asks for the whole */
    cr_expect_eq(answer_pull(), 0);
    TOLD("4.3 ALIVE; ");
    expect_equal();
    rayi_member_message beat = {.what = RAYI_MEMBER_BEAT};
    cr_expect_eq(rayi_membership_take(w.m, &beat, w.now_ms), RAY_ERR_ARGUMENT);
    rayi_writer_fini(&writer);
}

/* A pull that is not answered, and one whose table there is no memory for, is sent again. */
TEST_AROUND(membership, pulls_again, head_setup, head_teardown)
{
    others_join(2, 3);
    link_up();
    ACCEPT(.incarnation = 5, .version = rayi_members_version(head));
    TOLD("joined 5; pull; ");
    rayi_membership_heard(w.m, w.now_ms);
    told_in(2000);
    cr_expect(strstr(w.told, "pull; "));
    for (long nth = 1;; nth++) {
        counted_fail(&w.heap, nth);
        int r = answer_pull();
        counted_fail(&w.heap, 0);
        if (r == 0)
            break;
        cr_assert_eq(r, RAY_ERR_NO_MEMORY);
        cr_assert_lt(nth, 20);
        do {
            rayi_membership_heard(w.m, w.now_ms);
            told_in(10);
        } while (w.sent.what != RAYI_MEMBER_PULL);
    }
    expect_equal();
}

Test(membership, without_memory)
{
    rayi_member node = node_of(1);
    rayi_membership_options options = {.node = &node, .head = "head:6379", .seed = 7};
    counted_init(&w.heap);
    for (long nth = 1; nth <= 3; nth++) {
        counted_fail(&w.heap, nth);
        cr_expect_eq(rayi_membership_new(&w.heap.memory, &options, 0, &w.m), RAY_ERR_NO_MEMORY);
        cr_expect_eq(w.heap.live, 0);
    }
    counted_fail(&w.heap, 0);
    node.labels = NULL;
    cr_expect_eq(rayi_membership_new(&w.heap.memory, &options, 0, &w.m), RAY_ERR_ARGUMENT);
}
