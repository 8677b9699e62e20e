/* The session of one end: rules and who breaks them, limits, lack of memory, every state with every event. */
#include "peer_told.h"

/* ---- rules, and who breaks them ---- */

Test(session, rules)
{
    const struct {
        rayi_frame_kind kind;
        uint64_t number, received;
        const char *words, *fault;
    } rows[] = {
        {RAYI_FRAME_MESSAGE, 2, 0, "x", "leaves out a message"},
        {RAYI_FRAME_MESSAGE, RAYI_NUMBER_MAX, 0, "x", "leaves out a message"},
        {RAYI_FRAME_ACK, 0, 2, NULL, "acknowledges what was not sent"},
        {RAYI_FRAME_ACK, 0, RAYI_NUMBER_MAX, NULL, "acknowledges what was not sent"},
        {RAYI_FRAME_HELLO, 1, 0, NULL, "begins anew on a link that is open"},
        {RAYI_FRAME_REFUSAL, 0, 0, NULL, "begins anew on a link that is open"},
    };
    for (size_t i = 0; i < RAYI_COUNT_OF(rows); i++) {
        world w;
        char want[100];
        init(&w);
        accept(&w, 1, 0);
        MESSAGE(&w, 1, "one");
        told(&w);
        play(&w, 1, frame_of(&w, rows[i].kind, rows[i].number, rows[i].received), rows[i].words);
        sprintf(want, "close 1, it %s; disconnected", rows[i].fault);
        TOLD(&w, want);
        cr_expect_eq(rayi_peer_look(w.peer).held, 1);
        fini(&w);
    }
}

Test(session, rules_of_greeting)
{
    const rayi_session_frame rows[] = {
        {.kind = RAYI_FRAME_HELLO, .number = 2},
        {.kind = RAYI_FRAME_ACK},
        {.kind = RAYI_FRAME_REFUSAL},
        {.kind = RAYI_FRAME_MESSAGE, .number = 1},
    };
    world w;
    for (size_t i = 0; i < RAYI_COUNT_OF(rows); i++) {
        init(&w);
        MESSAGE(&w, 1, "one");
        told(&w);
        up(&w);
        told(&w);
        play(&w, 1, frame_of(&w, rows[i].kind, rows[i].number, 0), NULL);
        TOLD(&w, "close 1, it does not answer a HELLO with one");
        fini(&w);
    }
    init(&w);
    MESSAGE(&w, 1, "one");
    told(&w);
    up(&w);
    told(&w);
    play(&w, 1, frame_of(&w, RAYI_FRAME_HELLO, 1, 1), NULL); /* it was not sent yet */
    TOLD(&w, "close 1, it acknowledges what was not sent");
    accept(&w, 9, 1);
    TOLD(&w, "close 2, it acknowledges what was not sent");
    fini(&w);
}

Test(session, rubbish)
{
    world w;
    init(&w);
    accept(&w, 1, 0);
    told(&w);
    rayi_peer_receive(w.peer, 1, "rubbish", 7, w.now);
    TOLD(&w, "close 1, it sends what is no frame; disconnected");
    fini(&w);
}

Test(session, limits)
{
    world w;
    init(&w);
    cr_expect_eq(rayi_peer_send(w.peer, RAYI_FRAME_MESSAGE, 1, "x", 1, "x", RAYI_FRAME_SIZE_MAX, w.now), RAY_ERR_LIMIT);
    cr_expect_eq(rayi_peer_send(w.peer, RAYI_FRAME_MESSAGE, 1, "x", RAYI_FRAME_SIZE_MAX + 1, "x", 1, w.now),
                 RAY_ERR_LIMIT);
    cr_expect_eq(rayi_peer_send(w.peer, RAYI_FRAME_MESSAGE, 1, "x", 1, "x", SIZE_MAX, w.now), RAY_ERR_LIMIT);
    TOLD(&w, "");
    w.limit = RAYI_NUMBER_MAX; /* of a count: no sum of it goes over */
    accept(&w, RAYI_DIAL_MAX, 0);
    TOLD(&w, "send 1 hello 4294967295; connected");
    cr_expect_eq(rayi_peer_look(w.peer).credit, RAYI_NUMBER_MAX);
    MESSAGE(&w, 1, "one");
    told(&w);
    rayi_peer_down(w.peer, 1, w.now);
    told(&w);
    pass_next(&w);
    TOLD(&w, "dial 2");
    up(&w);
    TOLD(&w, "send 2 hello 4294967295"); /* there is no higher one */
    fini(&w);
}

Test(session, clocks_of_any_sort)
{
    world w;
    init(&w);
    rayi_peer_free(w.peer);
    rayi_peer_options options = options_of(&w);
    w.now = INT64_MIN + 1;
    cr_assert_eq(rayi_peer_new(&w.heap.memory, &options, w.now, &w.peer), 0);
    MESSAGE(&w, 1, "one");
    TOLD(&w, "dial 1");
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), w.now + 3000);
    pass_to(&w, INT64_MAX - 1);
    TOLD(&w, "close 1");
    pass_to(&w, 0); /* it does not go back */
    TOLD(&w, "");
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), INT64_MAX);
    fini(&w);
}

Test(session, without_memory)
{
    world w = {0};
    rayi_peer_options options = options_of(&w);
    counted_init(&w.heap);
    counted_fail(&w.heap, 1);
    cr_expect_eq(rayi_peer_new(&w.heap.memory, &options, 0, &w.peer), RAY_ERR_NO_MEMORY);
    init_with(&w, &options);
    counted_fail(&w.heap, 1);
    cr_expect_eq(sends(&w, RAYI_FRAME_REQUEST, 1, "one"), RAY_ERR_NO_MEMORY);
    TOLD(&w, "");
    cr_expect_eq(rayi_peer_look(w.peer).credit, 16);
    REQUEST(&w, 1, "one");
    TOLD(&w, "dial 1");
    open_dialled(&w, 1, 0);
    TOLD(&w, "send 1 request 1 'one'; connected");
    fini(&w);
}

/* ---- the table ---- */

enum { NO = -1 };

Test(session, every_pair)
{
    /* wanted, unwanted, due, up, hello, adopted, lost, death */
    static const int table[RAYI_PEER_STATES][RAYI_PEER_EVENTS] = {
        [RAYI_PEER_RESTING] = {RAYI_PEER_WAITING, NO, NO, NO, NO, RAYI_PEER_OPEN, NO, RAYI_PEER_ENDED},
        [RAYI_PEER_WAITING] = {NO, RAYI_PEER_RESTING, RAYI_PEER_DIALLING, NO, NO, RAYI_PEER_OPEN, NO, RAYI_PEER_ENDED},
        [RAYI_PEER_DIALLING] = {NO, NO, NO, RAYI_PEER_GREETING, NO, RAYI_PEER_OPEN, RAYI_PEER_WAITING, RAYI_PEER_ENDED},
        [RAYI_PEER_GREETING] = {NO, NO, NO, NO, RAYI_PEER_OPEN, RAYI_PEER_OPEN, RAYI_PEER_WAITING, RAYI_PEER_ENDED},
        [RAYI_PEER_OPEN] = {NO, NO, NO, NO, NO, RAYI_PEER_OPEN, RAYI_PEER_WAITING, RAYI_PEER_ENDED},
        [RAYI_PEER_ENDED] = {NO, NO, NO, NO, NO, NO, NO, NO},
    };
    for (int s = 0; s < RAYI_PEER_STATES; s++)
        for (int e = 0; e < RAYI_PEER_EVENTS; e++)
            if (table[s][e] != NO)
                cr_expect_eq((int)rayi_peer_next_state((rayi_peer_state)s, (rayi_peer_event)e), table[s][e],
                             "state %d, event %d", s, e);
}

/* Each illegal pair in a process of its own would be many: one of each state. */
#define ASSERTS(name, state, event)                                                                                    \
    Test(session, name, .signal = SIGABRT)                                                                             \
    {                                                                                                                  \
        rayi_peer_next_state(state, event);                                                                            \
    }
ASSERTS(one_at_rest_loses_nothing, RAYI_PEER_RESTING, RAYI_PEER_LOST)
ASSERTS(one_at_rest_does_not_dial, RAYI_PEER_RESTING, RAYI_PEER_DUE)
ASSERTS(one_that_waits_is_not_up, RAYI_PEER_WAITING, RAYI_PEER_UP)
ASSERTS(one_that_dials_hears_nothing, RAYI_PEER_DIALLING, RAYI_PEER_HELLO)
ASSERTS(one_that_greets_dials_no_more, RAYI_PEER_GREETING, RAYI_PEER_DUE)
ASSERTS(an_open_one_is_not_up_again, RAYI_PEER_OPEN, RAYI_PEER_UP)
ASSERTS(it_ends_once, RAYI_PEER_ENDED, RAYI_PEER_DEATH)

Test(session, what_was_not_asked_for_is_not_done, .signal = SIGABRT)
{
    world w;
    init(&w);
    rayi_peer_done(w.peer, 1, w.now);
}
