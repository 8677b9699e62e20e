/* A head and nodes on one bus, as they should be, and how they come and go. */
#include "bus_helper.h"

/* ---- as it should be ---- */

BUS_TEST(transport_bus, publishing)
{
    static char longest[RAYI_BUS_BYTES_MAX + 1];
    open_head(NULL);
    for (uint32_t i = 0; i < 5; i++)
        add_member(i);
    for (uint32_t i = 0; i < 5; i++)
        publish_until(has_heard, &members[i]);
    cr_assert_eq(rayi_bus_peers(head.bus), 5);
    publish("news");
    for (uint32_t i = 0; i < 5; i++)
        RUN_UNTIL(strcmp(members[i].last, "news") == 0);
    size_t before = members[0].heard;
    CHECK_OK(rayi_bus_publish(head.bus, NULL, 0));
    RUN_UNTIL(members[0].heard == before + 1);
    cr_assert_eq(members[0].last_size, 0);
    CHECK_OK(rayi_bus_publish(head.bus, longest, RAYI_BUS_BYTES_MAX));
    RUN_UNTIL(members[4].last_size == RAYI_BUS_BYTES_MAX);
    CHECK_FAILS(rayi_bus_publish(head.bus, longest, RAYI_BUS_BYTES_MAX + 1), RAY_ERR_LIMIT);
    CHECK_WORDS("at most 261888");
    CHECK_FAILS(rayi_bus_survey(head.bus, 5, longest, RAYI_BUS_BYTES_MAX + 1), RAY_ERR_LIMIT);
    for (int reason = 0; reason < RAYI_BUS_REASONS; reason++)
        cr_assert_eq(rayi_bus_dropped(members[0].bus, (rayi_bus_reason)reason), 0);
    CHECK_OK(rayi_bus_survey(head.bus, 1, longest, RAYI_BUS_BYTES_MAX));
    RUN_UNTIL(members[0].asked > 0);
}

/* What was said before is heard, and no hush is under way. */
static void begin_hush(member *m)
{
    RUN_UNTIL(!rayi_bus_is_hushed(head.bus));
    publish("before");
    RUN_UNTIL(strcmp(m->last, "before") == 0);
}

/* Two peers go, one after the other. False: the first hush was over before the second, since this thread was late. */
static bool hush_twice(member *m)
{
    begin_hush(m);
    size_t heard = m->heard, asked = m->asked;
    int64_t start = rayi_now_ms();
    cr_assert_not(rayi_bus_is_hushed(head.bus));
    rayi_bus_hush(head.bus);
    cr_assert(rayi_bus_is_hushed(head.bus));
    publish("one");
    CHECK_OK(rayi_bus_survey(head.bus, 1, "how?", 4));
    run_for(50);
    bool goes_on = rayi_bus_is_hushed(head.bus);
    cr_assert(goes_on || rayi_now_ms() - start >= 98);
    rayi_bus_hush(head.bus); /* another one goes: it lasts from now */
    publish("two");
    RUN_UNTIL(m->heard > heard);
    cr_assert(!goes_on || rayi_now_ms() - start >= 148, "timers may be a millisecond early");
    RUN_UNTIL(m->heard == heard + 2 && m->asked == asked + 1);
    cr_assert_str_eq(m->last, "two");
    cr_assert_not(rayi_bus_is_hushed(head.bus));
    return goes_on;
}

/* Peers go all the time. False: one hush was over before the next, since this thread was late. */
static bool hush_always(member *m)
{
    begin_hush(m);
    int64_t start = rayi_now_ms(), last = start, longest = 0;
    do {
        rayi_bus_hush(head.bus);
        int64_t now = rayi_now_ms();
        longest = RAYI_MAX(longest, now - last);
        last = now;
        publish("three");
        run_for(40);
    } while (strcmp(m->last, "three") != 0);
    int64_t end = rayi_now_ms();
    longest = RAYI_MAX(longest, end - last);
    cr_assert(end - start >= 498 || longest >= 90, "%d ms, at most %d between two", (int)(end - start), (int)longest);
    return end - start >= 498;
}

/* While a peer goes nothing is said, and nothing of it is lost. */
BUS_TEST(transport_bus, hushed)
{
    int rounds = 1;
    open_head(NULL);
    member *m = add_member(0);
    publish_until(has_heard, m);
    survey_until(1, 1);
    while (!hush_twice(m))
        cr_assert_lt(rounds++, 20, "the machine is too busy");
    while (!hush_always(m))
        cr_assert_lt(rounds++, 20, "the machine is too busy");
    rayi_bus_hush(head.bus); /* a close does not wait for it */
    publish("never");
}

BUS_TEST(transport_bus, surveys_of_a_hundred)
{
    open_head(NULL);
    for (uint32_t i = 0; i < MOST; i++)
        add_member(i);
    survey_until(MOST, MOST);
    size_t asked;
    do { /* on a busy machine a node is late now and then */
        memset(head.answers, 0, sizeof head.answers);
        asked = members[MOST - 1].asked;
        survey_once(MOST);
    } while (head.last_answers < MOST);
    for (uint32_t i = 0; i < MOST; i++)
        cr_assert_eq(head.answers[i], 1, "node %u", i);
    cr_assert_eq(members[MOST - 1].asked, asked + 1, "each slice asks its own only");
    /* Fewer are asked than there are; a new survey ends the one before. */
    CHECK_OK(rayi_bus_survey(head.bus, MOST, "how?", 4));
    survey_until(10, 10);
    cr_assert_eq(head.last_answers, 10);
    survey_once(0);
    cr_assert_eq(head.last_answers, 0);
}

BUS_TEST(transport_bus, long_answers)
{
    open_head(NULL);
    add_member(0)->answer_bytes = RAYI_BUS_ANSWER_MAX;
    add_member(1)->answer_bytes = RAYI_BUS_ANSWER_MAX + 1;
    while (head.answers[0] == 0 || rayi_bus_dropped(members[1].bus, RAYI_BUS_UNSENT) == 0)
        survey_once(2);
    cr_assert_eq(head.answers[1], 0);
}

BUS_TEST(transport_bus, plain_ones)
{
    rayi_bus_head_options options = head_options();
    options.secret = NULL;
    open_head(&options);
    publish_until(has_heard, add_member(0));
    survey_until(1, 1);
}

BUS_TEST(transport_bus, over_ipv6)
{
    rayi_bus_head_options options = head_options();
    options.host = "::1";
    if (rayi_bus_open_head(&loop, &options, &head.bus) < 0)
        cr_skip_test("no IPv6 here");
    publish_until(has_heard, add_member(0));
}

BUS_TEST(transport_bus, hosts)
{
    rayi_bus_head_options options = head_options();
    rayi_bus *bus;
    options.host = "0.0.0.0";
    CHECK_FAILS(rayi_bus_open_head(&loop, &options, &bus), RAY_ERR_ARGUMENT);
    CHECK_WORDS("means all addresses");
    options.shown = "a/b";
    CHECK_FAILS(rayi_bus_open_head(&loop, &options, &bus), RAY_ERR_ARGUMENT);
    CHECK_WORDS("a host that nodes can dial");
    options.secret = NULL;
    CHECK_FAILS(rayi_bus_open_head(&loop, &options, &bus), RAY_ERR_ARGUMENT);
    CHECK_WORDS("without a cluster key");
    options.host = "no.such.host.invalid";
    CHECK_FAILS(rayi_bus_open_head(&loop, &options, &bus), RAY_ERR_NOT_FOUND);
    options = head_options();
    options.host = "192.0.2.1"; /* of nobody */
    CHECK_FAILS(rayi_bus_open_head(&loop, &options, &bus), RAY_ERR_SYSTEM);
    CHECK_WORDS("cannot listen at 192.0.2.1:0");
    options.host = "0.0.0.0";
    options.shown = "localhost";
    open_head(&options);
    rayi_bus_ticket ticket = ticket_now();
    cr_assert_eq(strncmp(ticket.publish, "localhost:", 10), 0);
    publish_until(has_heard, add_member(0));
    ticket.secret = (rayi_bus_secret){0};
    CHECK_FAILS(rayi_bus_open_node(&loop, &ticket, 0, &node_events, NULL, &bus), RAY_ERR_ARGUMENT);
}

BUS_TEST(transport_bus, a_head_that_is_not_there)
{
    open_head(NULL);
    rayi_bus_ticket ticket = ticket_now();
    close_head();
    RUN_UNTIL(head.closed);
    member *m = add_member_with(&ticket, 0);
    run_for(200);
    cr_assert_eq(rayi_bus_peers(m->bus), 0);
}

/* ---- secrets ---- */

static bool has_dropped_some(void *arg)
{
    static const rayi_bus_reason reasons[] = {RAYI_BUS_REASONS, RAYI_BUS_EPOCH, RAYI_BUS_SEAL, RAYI_BUS_SIGNATURE,
                                              RAYI_BUS_PLAIN};
    member *m = arg;
    return rayi_bus_dropped(m->bus, reasons[m->number]) >= 3;
}

BUS_TEST(transport_bus, other_secrets)
{
    open_head(NULL);
    rayi_bus_ticket right = ticket_now(), epoch = right, bytes = right, signer = right, plain = right;
    epoch.secret.epoch++;
    bytes.secret.bytes[31] ^= 1;
    signer.signer[0] ^= 1;
    plain.secret = (rayi_bus_secret){0};
    const rayi_bus_ticket *tickets[] = {&right, &epoch, &bytes, &signer, &plain};
    for (uint32_t i = 0; i < RAYI_COUNT_OF(tickets); i++)
        add_member_with(tickets[i], i);
    publish_until(has_heard, &members[0]);
    survey_until(5, 1);
    for (uint32_t i = 1; i < RAYI_COUNT_OF(tickets); i++) {
        publish_until(has_dropped_some, &members[i]);
        cr_assert_eq(members[i].heard + members[i].asked, 0);
    }
    survey_until(5, 1);
    cr_assert_eq(head.last_answers, 1);
}

BUS_TEST(transport_bus, rotation)
{
    rayi_bus_secret second, third;
    CHECK_OK(rayi_bus_secret_make(2, &second));
    CHECK_OK(rayi_bus_secret_make(3, &third));
    open_head(NULL);
    member *quick = add_member(0), *slow = add_member(1);
    publish_until(has_heard, quick);
    publish_until(has_heard, slow);
    survey_until(2, 2);
    CHECK_OK(rayi_bus_set_secret(quick->bus, &second)); /* the members first */
    publish("one");
    RUN_UNTIL(strcmp(quick->last, "one") == 0 && strcmp(slow->last, "one") == 0);
    survey_until(2, 2); /* who has the next one answers under the one it was asked under */
    CHECK_OK(rayi_bus_set_secret(head.bus, &second));
    publish("two");
    RUN_UNTIL(strcmp(quick->last, "two") == 0 && rayi_bus_dropped(slow->bus, RAYI_BUS_EPOCH) >= 1);
    CHECK_OK(rayi_bus_set_secret(slow->bus, &second));
    survey_until(2, 2);
    CHECK_OK(rayi_bus_set_secret(quick->bus, &third));
    CHECK_OK(rayi_bus_set_secret(head.bus, &third));
    CHECK_FAILS(rayi_bus_set_secret(head.bus, &second), RAY_ERR_ARGUMENT);
    rayi_bus_ticket ticket = ticket_now();
    cr_assert_eq(ticket.secret.epoch, 3);
    publish_until(has_heard, add_member(2));
    cr_assert_eq(strcmp(slow->last, "one"), 0, "what it has is two behind");
}

/* ---- closing ---- */

BUS_TEST(transport_bus, closing_in_a_callback)
{
    open_head(NULL);
    publish_until(has_heard, add_member(0));
    publish_until(has_heard, add_member(1));
    survey_until(2, 2);
    members[0].closes = true;
    publish("bye");
    publish("nobody is here");
    RUN_UNTIL(members[0].closed);
    members[1].closes = true;
    CHECK_OK(rayi_bus_survey(head.bus, 2, "how?", 4));
    RUN_UNTIL(members[1].closed);
    add_member(2);
    add_member(3);
    survey_until(4, 2);
    head.closes = true;
    CHECK_OK(rayi_bus_survey(head.bus, 4, "how?", 4));
    RUN_UNTIL(head.closed);
}

/* All ends close at once, with messages in every queue there is. */
BUS_TEST(transport_bus, closing_under_way)
{
    static uint8_t bulk[20000];
    for (int turn = 0; turn < 6; turn++) {
        head.closed = false;
        open_head(NULL);
        for (uint32_t i = 0; i < 8; i++)
            add_member(i)->answer_bytes = 10000;
        RUN_UNTIL(turn == 0 || rayi_bus_peers(head.bus) == 8);
        for (int i = 0; i < 40; i++) {
            CHECK_OK(rayi_bus_publish(head.bus, bulk, sizeof bulk));
            CHECK_OK(rayi_bus_survey(head.bus, 8, bulk, sizeof bulk));
            uv_run(&loop, UV_RUN_NOWAIT);
        }
        if (turn % 2 == 0)
            close_head();
        for (uint32_t i = 0; i < 8; i++)
            close_member(&members[i]);
        if (turn % 2)
            close_head();
        RUN_UNTIL(head.closed);
        for (uint32_t i = 0; i < 8; i++)
            RUN_UNTIL(members[i].closed);
    }
}

/* The loop gives up; what nng holds goes when it lets go. */
BUS_TEST(transport_bus, a_close_that_hangs)
{
    open_head(NULL);
    member *m = add_member(0);
    publish_until(has_heard, m);
    close_hangs = true;
    close_head();
    close_member(m);
    RUN_UNTIL(head.closed && m->closed);
    cr_assert_eq(left_behind, 2);
    cr_assert_gt(check_open_fds(), descriptors);
    close_hangs = false;
}
