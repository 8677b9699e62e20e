/* The session of one end: scenes, told in words. Two ends that talk through a bad network are in tests/simulation. */
#include "peer_told.h"

/* ---- scenes ---- */

Test(session, a_message_goes)
{
    world w;
    init(&w);
    TOLD(&w, "");
    MESSAGE(&w, 1, "one");
    TOLD(&w, "dial 1");
    cr_expect_eq(state(&w), RAYI_PEER_DIALLING);
    MESSAGE(&w, 2, "two");
    TOLD(&w, "");
    up(&w);
    TOLD(&w, "send 1 hello 1");
    cr_expect_eq(state(&w), RAYI_PEER_GREETING);
    play(&w, 1, frame_of(&w, RAYI_FRAME_HELLO, 1, 0), NULL);
    TOLD(&w, "send 1 message 1 'one'; send 1 message 2 'two'; connected");
    cr_expect_eq(rayi_peer_look(w.peer).held, 2);
    cr_expect_eq(rayi_peer_look(w.peer).held_bytes, 6);
    hear_ack(&w, 1);
    cr_expect_eq(rayi_peer_look(w.peer).held, 1);
    hear_ack(&w, 2);
    TOLD(&w, "");
    cr_expect_eq(w.heap.live, 1);
    MESSAGE(&w, 3, "three");
    TOLD(&w, "send 1 message 3 'three'");
    fini(&w);
}

Test(session, a_message_comes)
{
    world w;
    init(&w);
    accept(&w, 1, 0);
    TOLD(&w, "send 1 hello 1; connected");
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), INT64_MAX);
    hear(&w, RAYI_FRAME_MESSAGE, "one");
    TOLD(&w, "deliver message 'one'");
    pass_to(&w, w.now + 3);
    hear(&w, RAYI_FRAME_REQUEST, "two");
    TOLD(&w, "deliver request 'two'");
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), w.now + 2, "the first may wait for 5 ms");
    pass_next(&w);
    TOLD(&w, "send 1 ack ack 2");
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), INT64_MAX);
    hear(&w, RAYI_FRAME_MESSAGE, "three");
    told(&w);
    MESSAGE(&w, 1, "mine");
    TOLD(&w, "send 1 message 1 ack 3 'mine'");
    pass_to(&w, w.now + 6);
    TOLD(&w, "");
    fini(&w);
}

Test(session, what_is_not_acknowledged_goes_again)
{
    world w;
    init(&w);
    for (uint64_t i = 1; i <= 3; i++)
        MESSAGE(&w, i, i == 1 ? "one" : i == 2 ? "two" : "three");
    told(&w);
    open_dialled(&w, 1, 0);
    told(&w);
    hear_ack(&w, 1);
    hear(&w, RAYI_FRAME_MESSAGE, "theirs");
    told(&w);
    rayi_peer_down(w.peer, 1, w.now);
    TOLD(&w, "disconnected");
    cr_expect_eq(state(&w), RAYI_PEER_WAITING);
    MESSAGE(&w, 4, "four");
    TOLD(&w, "");
    pass_next(&w);
    TOLD(&w, "dial 2");
    up(&w);
    TOLD(&w, "send 2 hello 2 ack 1");
    play(&w, 2, frame_of(&w, RAYI_FRAME_HELLO, 2, 2), NULL);
    TOLD(&w, "send 2 message 3 ack 1 'three'; send 2 message 4 ack 1 'four'; connected");
    fini(&w);
}

Test(session, what_comes_again_is_dropped)
{
    world w;
    init(&w);
    accept(&w, 1, 0);
    hear(&w, RAYI_FRAME_MESSAGE, (told(&w), "one"));
    told(&w);
    accept(&w, 2, 0);
    TOLD(&w, "close 1; send 2 hello 2 ack 1");
    w.number = 0;
    hear(&w, RAYI_FRAME_MESSAGE, "one");
    TOLD(&w, "");
    hear(&w, RAYI_FRAME_MESSAGE, "two");
    TOLD(&w, "deliver message 'two'");
    pass_to(&w, w.now + 5);
    TOLD(&w, "send 2 ack ack 2");
    fini(&w);
}

Test(session, dials_less_and_less_often)
{
    world w;
    int64_t spans[7];
    init(&w);
    MESSAGE(&w, 1, "one");
    for (size_t i = 0; i < RAYI_COUNT_OF(spans); i++) {
        told(&w);
        rayi_peer_down(w.peer, w.link, w.now);
        spans[i] = rayi_peer_next_tick_ms(w.peer) - w.now;
        pass_next(&w);
    }
    const int64_t most[] = {100, 200, 400, 800, 1000, 1000, 1000};
    for (size_t i = 0; i < RAYI_COUNT_OF(spans); i++)
        cr_expect(spans[i] >= most[i] / 2 && spans[i] <= most[i], "%zu: %" PRId64, i, spans[i]);
    TOLD(&w, "dial 8");
    rayi_peer_down(w.peer, 8, w.now);
    rayi_peer_wake(w.peer, w.now);
    TOLD(&w, "dial 9");
    open_dialled(&w, 9, 0);
    told(&w);
    pass_to(&w, w.now + 999);
    rayi_peer_down(w.peer, 9, w.now);
    cr_assert_leq(rayi_peer_next_tick_ms(w.peer) - w.now, 100);
    pass_next(&w);
    told(&w);
    open_dialled(&w, 10, 0);
    told(&w);
    pass_to(&w, w.now + 1);
    rayi_peer_down(w.peer, 10, w.now);
    cr_assert_geq(rayi_peer_next_tick_ms(w.peer) - w.now, 100, "a link that does not hold counts as a failed dial");
    fini(&w);
}

Test(session, a_dial_is_not_waited_for_for_ever)
{
    world w;
    init(&w);
    MESSAGE(&w, 1, "one");
    TOLD(&w, "dial 1");
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), w.now + 3000);
    pass_next(&w);
    TOLD(&w, "close 1");
    rayi_peer_up(w.peer, 1, w.now); /* crosses it */
    TOLD(&w, "");
    pass_next(&w);
    TOLD(&w, "dial 2");
    pass_to(&w, w.now + 2000);
    up(&w);
    TOLD(&w, "send 2 hello 2");
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), w.now + 3000);
    pass_next(&w);
    TOLD(&w, "close 2");
    fini(&w);
}

Test(session, a_link_that_hangs)
{
    world w;
    init(&w);
    MESSAGE(&w, 1, "one");
    told(&w);
    open_dialled(&w, 1, 0);
    told(&w);
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), w.now + 5000);
    pass_to(&w, w.now + 4000);
    rayi_peer_wrote(w.peer, 1, RAYI_FRAME_HEAD, w.now);
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), w.now + 5000, "it does write");
    pass_to(&w, w.now + 4000);
    hear(&w, RAYI_FRAME_MESSAGE, "theirs");
    told(&w);
    pass_to(&w, w.now + 1000);
    TOLD(&w, "close 1; disconnected"); /* that they talk does not say that they hear */
    fini(&w);
}

Test(session, beats)
{
    world w = {0};
    rayi_peer_options options = options_of(&w);
    options.beat_ms = 1000;
    init_with(&w, &options);
    accept(&w, 1, 0);
    told(&w);
    cr_expect_eq(rayi_peer_look(w.peer).heard_ms, 1000);
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(rayi_peer_next_tick_ms(w.peer), w.now + 1000);
        pass_next(&w);
        TOLD(&w, "send 1 ack");
    }
    rayi_peer_heard(w.peer, 1, w.now);
    cr_expect_eq(rayi_peer_look(w.peer).heard_ms, 5000);
    for (int i = 0; i < 5; i++) {
        pass_next(&w);
        told(&w);
    }
    cr_expect_str_eq(w.told, "close 1; disconnected");
    cr_expect_eq(state(&w), RAYI_PEER_RESTING);
    fini(&w);
}

Test(session, who_dials)
{
    world w = {0};
    rayi_peer_options options = options_of(&w);
    options.dials = RAYI_PEER_DIALS_ALWAYS;
    init_with(&w, &options);
    rayi_peer_tick(w.peer, w.now);
    TOLD(&w, "dial 1");
    fini(&w);
    options.dials = RAYI_PEER_DIALS_NEVER;
    init_with(&w, &options);
    MESSAGE(&w, 1, "one");
    rayi_peer_wake(w.peer, w.now);
    TOLD(&w, "");
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), INT64_MAX);
    accept(&w, 1, 0);
    TOLD(&w, "send 1 hello 1; send 1 message 1 'one'; connected");
    fini(&w);
    options.dials = RAYI_PEER_DIALS_WHEN_NEEDED;
    init_with(&w, &options);
    rayi_peer_wake(w.peer, w.now);
    TOLD(&w, "dial 1");
    open_dialled(&w, 1, 0);
    told(&w);
    rayi_peer_wake(w.peer, w.now);
    rayi_peer_down(w.peer, 1, w.now);
    TOLD(&w, "disconnected");
    cr_expect_eq(state(&w), RAYI_PEER_RESTING, "it was asked for one link");
    fini(&w);
}

/* ---- two links ---- */

Test(session, dialled_at_once_by_the_smaller)
{
    world w;
    init(&w);
    MESSAGE(&w, 1, "one");
    told(&w);
    up(&w);
    TOLD(&w, "send 1 hello 1");
    accept(&w, 1, 0);
    TOLD(&w, "close 2"); /* this end's is the better one, and the other end will find it so */
    play(&w, 1, frame_of(&w, RAYI_FRAME_HELLO, 1, 0), NULL);
    TOLD(&w, "send 1 message 1 'one'; connected");
    accept(&w, 1, 0);
    TOLD(&w, "close 3"); /* late */
    fini(&w);
}

Test(session, dialled_at_once_by_the_larger)
{
    world w = {.larger = true};
    rayi_peer_options options = options_of(&w);
    init_with(&w, &options);
    MESSAGE(&w, 1, "one");
    told(&w);
    up(&w);
    TOLD(&w, "send 1 hello 1");
    accept(&w, 1, 0);
    TOLD(&w, "close 1; send 2 hello 1; send 2 message 1 'one'; connected");
    play(&w, 1, frame_of(&w, RAYI_FRAME_HELLO, 1, 0), NULL); /* it crossed the close */
    TOLD(&w, "");
    fini(&w);
}

Test(session, who_is_refused_waits_for_the_better_link)
{
    world w = {.larger = true};
    rayi_peer_options options = options_of(&w);
    init_with(&w, &options);
    MESSAGE(&w, 1, "one");
    told(&w);
    pass_to(&w, w.now + 300);
    up(&w);
    told(&w);
    pass_to(&w, w.now + 300);
    rayi_peer_down(w.peer, 1, w.now);
    cr_expect_eq(rayi_peer_next_tick_ms(w.peer), w.now + 600);
    accept(&w, 1, 0);
    TOLD(&w, "send 2 hello 1; send 2 message 1 'one'; connected");
    fini(&w);
}

Test(session, a_dial_that_is_not_up_gives_way)
{
    world w;
    init(&w);
    MESSAGE(&w, 1, "one");
    TOLD(&w, "dial 1");
    accept(&w, 1, 0);
    TOLD(&w, "close 1; send 2 hello 1; send 2 message 1 'one'; connected");
    rayi_peer_up(w.peer, 1, w.now);
    rayi_peer_down(w.peer, 1, w.now);
    TOLD(&w, "");
    fini(&w);
    init(&w);
    MESSAGE(&w, 1, "one");
    accept(&w, 1, 0); /* before its dial was heard of */
    TOLD(&w, "send 2 hello 1; send 2 message 1 'one'; connected");
    fini(&w);
}

Test(session, who_dials_anew_has_lost_the_old)
{
    world w;
    init(&w);
    MESSAGE(&w, 1, "one");
    told(&w);
    open_dialled(&w, 1, 0);
    told(&w);
    accept(&w, 2, 0);
    TOLD(&w, "close 1; send 2 hello 2; send 2 message 1 'one'");
    accept(&w, 2, 0);
    TOLD(&w, "close 3");
    rayi_peer_down(w.peer, 2, w.now);
    TOLD(&w, "disconnected");
    pass_next(&w);
    TOLD(&w, "dial 4");
    up(&w);
    TOLD(&w, "send 4 hello 3"); /* a number above all that it has seen */
    fini(&w);
}

Test(session, a_late_link_of_an_earlier_time)
{
    world w;
    init(&w);
    accept(&w, 5, 0);
    told(&w);
    rayi_peer_down(w.peer, 1, w.now);
    told(&w);
    accept(&w, 4, 0);
    TOLD(&w, "close 2");
    cr_expect_eq(state(&w), RAYI_PEER_RESTING);
    fini(&w);
}

/* ---- incarnations ---- */

static rayi_session_frame between(const world *w, uint64_t from, uint64_t to)
{
    rayi_session_frame f = frame_of(w, RAYI_FRAME_HELLO, 1, 0);
    f.from = from;
    f.to = to;
    return f;
}

Test(session, hellos_of_other_incarnations)
{
    world w;
    init(&w);
    accept_from(&w, between(&w, PEER - 1, SELF));
    TOLD(&w, "close 1");
    accept_from(&w, between(&w, PEER, SELF - 1));
    TOLD(&w, "send 2 refusal from 5 to 7; close 2");
    accept_from(&w, between(&w, PEER + 1, SELF));
    TOLD(&w, "close 3; newer 8");
    accept_from(&w, between(&w, PEER + 1, SELF - 1));
    TOLD(&w, "send 4 refusal from 5 to 8; close 4");
    accept_from(&w, between(&w, PEER, SELF + 1));
    TOLD(&w, "close 5; outlived 6");
    MESSAGE(&w, 1, "one");
    rayi_peer_wake(w.peer, w.now);
    TOLD(&w, ""); /* there is nobody to dial */
    rayi_peer_declare_dead(w.peer, w.now);
    TOLD(&w, "back 1 message 'one'; ended");
    accept_from(&w, between(&w, PEER, SELF));
    TOLD(&w, "send 6 refusal from 5 to 8; close 6");
    accept_from(&w, between(&w, PEER + 1, SELF));
    TOLD(&w, "close 7");
    accept_from(&w, between(&w, PEER + 2, SELF));
    TOLD(&w, "close 8; newer 9");
    fini(&w);
}

Test(session, messages_of_other_incarnations)
{
    world w;
    init(&w);
    accept(&w, 1, 0);
    told(&w);
    rayi_session_frame f = frame_of(&w, RAYI_FRAME_MESSAGE, 1, 0);
    f.from = PEER - 1;
    play(&w, 1, f, "old");
    TOLD(&w, "");
    f.from = PEER, f.to = SELF - 1;
    play(&w, 1, f, "old");
    TOLD(&w, "");
    f.from = PEER + 3, f.to = SELF;
    play(&w, 1, f, "new");
    TOLD(&w, "close 1; disconnected; newer 10");
    fini(&w);
}

Test(session, a_refusal)
{
    world w;
    init(&w);
    MESSAGE(&w, 1, "one");
    told(&w);
    up(&w);
    told(&w);
    rayi_frame_write_refusal(w.frame, PEER + 1, SELF);
    rayi_peer_receive(w.peer, 1, w.frame, RAYI_FRAME_HEAD, w.now);
    TOLD(&w, "close 1; newer 8");
    cr_expect_eq(state(&w), RAYI_PEER_RESTING);
    fini(&w);
    init(&w);
    MESSAGE(&w, 1, "one");
    told(&w);
    up(&w);
    told(&w);
    rayi_frame_write_refusal(w.frame, PEER, SELF + 1);
    rayi_peer_receive(w.peer, 1, w.frame, RAYI_FRAME_HEAD, w.now);
    TOLD(&w, "close 1; outlived 6");
    fini(&w);
}

Test(session, a_death_settles_all)
{
    world w;
    init(&w);
    for (uint64_t i = 1; i <= 4; i++)
        cr_assert_eq(sends(&w, i % 2 ? RAYI_FRAME_REQUEST : RAYI_FRAME_MESSAGE, 10 * i, "x"), 0);
    told(&w);
    open_dialled(&w, 1, 0);
    told(&w);
    hear_ack(&w, 1);
    hear(&w, RAYI_FRAME_MESSAGE, "not fetched");
    rayi_peer_declare_dead(w.peer, w.now);
    rayi_peer_declare_dead(w.peer, w.now);
    TOLD(&w, "close 1; back 20 message 'x'; back 30 request 'x'; back 40 message 'x'; disconnected; ended");
    cr_expect_eq(w.heap.live, 1);
    cr_expect_eq(sends(&w, RAYI_FRAME_MESSAGE, 5, "x"), RAY_ERR_NODE_DIED);
    hear(&w, RAYI_FRAME_MESSAGE, "late");
    rayi_peer_down(w.peer, 1, w.now);
    rayi_peer_wake(w.peer, w.now);
    pass_to(&w, w.now + 100000);
    TOLD(&w, "");
    fini(&w);
    init(&w); /* freed in the middle of it */
    MESSAGE(&w, 1, "x");
    MESSAGE(&w, 2, "x");
    rayi_peer_action a;
    rayi_peer_declare_dead(w.peer, w.now);
    cr_assert(rayi_peer_next(w.peer, &a) && a.what == RAYI_PEER_DO_GIVE_BACK);
    fini(&w);
}

/* ---- credit ---- */

Test(session, requests_need_credit)
{
    world w;
    init(&w);
    for (uint64_t i = 0; i < RAYI_PEER_FIRST_CREDIT; i++)
        REQUEST(&w, i, "r");
    cr_expect_eq(rayi_peer_look(w.peer).credit, 0);
    cr_expect_eq(sends(&w, RAYI_FRAME_REQUEST, 99, "r"), RAY_ERR_LIMIT);
    MESSAGE(&w, 100, "always");
    told(&w);
    w.limit = 17;
    open_dialled(&w, 1, 0);
    cr_expect_not_null(strstr(told(&w), "connected; credit"), "%s", w.told);
    REQUEST(&w, 101, "r");
    cr_expect_eq(sends(&w, RAYI_FRAME_REQUEST, 99, "r"), RAY_ERR_LIMIT);
    w.limit = 16; /* older news */
    hear_ack(&w, 17);
    cr_expect_eq(sends(&w, RAYI_FRAME_REQUEST, 99, "r"), RAY_ERR_LIMIT);
    told(&w);
    w.limit = 20;
    hear_ack(&w, 17);
    TOLD(&w, "credit");
    cr_expect_eq(rayi_peer_look(w.peer).credit, 3);
    fini(&w);
}

Test(session, who_waits_for_credit_needs_a_link)
{
    world w;
    init(&w);
    w.limit = 0;
    accept(&w, 1, 0);
    for (uint64_t i = 0; i < RAYI_PEER_FIRST_CREDIT; i++)
        REQUEST(&w, i, "r");
    told(&w);
    hear_ack(&w, 16);
    rayi_peer_down(w.peer, 1, w.now);
    TOLD(&w, "disconnected");
    cr_expect_eq(state(&w), RAYI_PEER_RESTING);
    cr_expect_eq(sends(&w, RAYI_FRAME_REQUEST, 99, "r"), RAY_ERR_LIMIT);
    cr_expect_eq(state(&w), RAYI_PEER_WAITING);
    fini(&w);
}

static void hear_requests(world *w, int count)
{
    for (int i = 0; i < count; i++) {
        hear(w, RAYI_FRAME_REQUEST, "r");
        told(w);
    }
}

Test(session, credit_is_given)
{
    world w;
    init(&w);
    accept(&w, 1, 0);
    told(&w);
    hear_requests(&w, 8);
    rayi_peer_done(w.peer, 1, w.now);
    TOLD(&w, ""); /* with the acknowledgement */
    rayi_peer_done(w.peer, 3, w.now);
    TOLD(&w, "send 1 ack ack 8 limit 20"); /* a quarter of the window */
    rayi_peer_done(w.peer, 4, w.now);
    MESSAGE(&w, 1, "with a message");
    TOLD(&w, "send 1 message 1 ack 8 limit 24 'with a message'");
    hear_requests(&w, 16);
    hear(&w, RAYI_FRAME_REQUEST, "r");
    TOLD(&w, "close 1, it sends requests without credit; disconnected");
    fini(&w);
}

Test(session, credit_does_not_overtake_answers)
{
    world w = {0};
    rayi_peer_options options = options_of(&w);
    options.link_bytes = 1;
    init_with(&w, &options);
    accept(&w, 1, 0);
    TOLD(&w, "send 1 hello 1; connected");
    hear_requests(&w, 2);
    MESSAGE(&w, 1, "first");
    rayi_peer_done(w.peer, 1, w.now);
    MESSAGE(&w, 2, "second");
    rayi_peer_done(w.peer, 1, w.now);
    TOLD(&w, ""); /* the link is full */
    pass_to(&w, w.now + 5);
    TOLD(&w, "send 1 ack ack 2");
    rayi_peer_wrote(w.peer, 1, RAYI_HELLO_SIZE + RAYI_FRAME_HEAD, w.now);
    TOLD(&w, "send 1 message 1 ack 2 limit 17 'first'");
    rayi_peer_down(w.peer, 1, w.now);
    told(&w);
    accept(&w, 2, 0);
    TOLD(&w, "send 2 hello 2 ack 2; connected");
    rayi_peer_wrote(w.peer, 2, RAYI_HELLO_SIZE, w.now);
    TOLD(&w, "send 2 message 1 ack 2 limit 17 'first'");
    rayi_peer_wrote(w.peer, 2, RAYI_FRAME_HEAD + 5, w.now);
    TOLD(&w, "send 2 message 2 ack 2 limit 18 'second'");
    fini(&w);
}
