/* What user code in a worker process asks for: tasks, refs, waiting, streams. */
#include "helper.h"

#include <string.h>
#include <unistd.h>

static void offer_int(host *h, given *g, const char *function, int64_t number)
{
    give_task(h, g, function, NULL);
    g->head.num_args = 1;
    put_int(&g->values, RAY_KIND_I64, number);
    offer(h, g);
}

static void expect_function(host *h, uint32_t number, const char *name)
{
    mail m = expect(h, RAYI_UP_FUNCTION);

    cr_assert_eq(rayi_take_u32(&m.reader), number);
    cr_assert_str_eq(rayi_take_text(&m.reader), name);
    drop(&m);
}

static void expect_blocked(host *h, uint32_t slot, uint64_t number)
{
    mail m = expect(h, RAYI_UP_BLOCKED);

    cr_assert_eq(rayi_take_u32(&m.reader), slot);
    cr_assert_eq(rayi_take_u64(&m.reader), number);
    drop(&m);
}

static void expect_resumed(host *h, uint32_t slot)
{
    mail m = expect(h, RAYI_UP_RESUMED);

    cr_assert_eq(rayi_take_u32(&m.reader), slot);
    drop(&m);
}

Test(worker_calls, submits_waits_and_releases)
{
    host h = start();
    given g;
    mail m;

    for (int i = 0; i < 3; i++) {
        offer_int(&h, &g, "ask_twice", 10 + i);
        if (i == 0)
            expect_function(&h, 0, "twice");
        m = expect(&h, RAYI_UP_SUBMIT);
        rayi_wire_submit s = read_submit(&m);
        cr_assert_gt(s.number, FIRST_NUMBER);
        cr_assert_eq(s.actor, 0);
        cr_assert_eq(s.parent, g.head.slot);
        cr_assert_eq(s.function, 0);
        cr_assert_eq(s.num_args, 1);
        skip_task_options(&m);
        answer a = read_answer(&m.reader);
        cr_assert_eq(a.number, 10 + i);
        drop(&m);
        expect_blocked(&h, g.head.slot, s.number);
        complete_int(&h, s.number, 1000 + i);
        expect_resumed(&h, g.head.slot);
        expect_release(&h, s.number, 1);
        expect_int(&h, &g, 1000 + i);
    }
    finish(&h);
}

Test(worker_calls, hears_of_failures)
{
    host h = start();
    given g;
    mail m;

    offer_int(&h, &g, "ask_twice", 1);
    expect_function(&h, 0, "twice");
    m = expect(&h, RAYI_UP_SUBMIT);
    rayi_wire_submit s = read_submit(&m);
    drop(&m);
    complete_error(&h, s.number, RAY_ERR_WORKER_CRASHED, "it crashed");
    for (;;) { /* whether it had to wait is a matter of time */
        m = receive(&h);
        uint32_t type = m.type;
        drop(&m);
        if (type == RAYI_UP_RELEASE)
            break;
        cr_assert(type == RAYI_UP_BLOCKED || type == RAYI_UP_RESUMED);
    }
    expect_int(&h, &g, RAY_ERR_WORKER_CRASHED);
    finish(&h);
}

Test(worker_calls, gives_up_waiting)
{
    host h = start();
    given g;
    mail m;

    offer_int(&h, &g, "ask_with_timeout", 30);
    expect_function(&h, 0, "twice");
    m = expect(&h, RAYI_UP_SUBMIT);
    rayi_wire_submit s = read_submit(&m);
    drop(&m);
    expect_blocked(&h, g.head.slot, s.number);
    expect_resumed(&h, g.head.slot);
    expect_release(&h, s.number, 1);
    expect_int(&h, &g, RAY_ERR_TIMEOUT);
    complete_int(&h, s.number, 5); /* too late: nobody knows it */
    expect_silence(&h);
    finish(&h);
}

/* The ref that a task brings is completed after the task, perhaps before it runs. */
Test(worker_calls, takes_refs)
{
    host h = start();
    given g, before;

    give_task(&h, &before, "until_cancelled", "int()");
    offer(&h, &before);
    give_task(&h, &g, "get_ref", NULL);
    g.head.num_args = 1;
    put_ref(&g.values, RAYI_FORM_REF, 77);
    offer(&h, &g);
    complete_int(&h, 77, 4711);
    usleep(10000);
    rayi_offer_flag(h.channel, before.head.slot, RAYI_OFFER_CANCEL);
    (void)expect_cancelled(&h, &before);
    mail m = receive(&h);
    if (m.type == RAYI_UP_BLOCKED) {
        drop(&m);
        expect_resumed(&h, g.head.slot);
        m = receive(&h);
    }
    rayi_wire_result head;
    memcpy(&head, rayi_take_bytes(&m.reader, sizeof head), sizeof head);
    answer a = read_answer(&m.reader);
    cr_assert_eq(a.number, 4711);
    drop(&m);
    expect_release(&h, 77, 1);
    finish(&h);
}

Test(worker_calls, tells_of_objects_before_it_names_them)
{
    host h = start();
    given g;
    answer a;
    mail m;

    offer_int(&h, &g, "put_and_pass", 1000);
    m = expect(&h, RAYI_UP_PUT);
    uint64_t number = rayi_take_u64(&m.reader);
    a = read_answer(&m.reader);
    cr_assert_eq(a.size, 1000);
    cr_assert_eq(a.bytes[999], 7);
    drop_answer(&a);
    drop(&m);
    a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_REF);
    cr_assert_eq((uint64_t)a.number, number);
    expect_release(&h, number, 1);
    finish(&h);
}

/* Each object holds the one before: told from the innermost, however many there are. */
Test(worker_calls, tells_of_chains)
{
    enum { LENGTH = 20000 };
    host h = start();
    uint64_t last = 0;
    given g;

    offer_int(&h, &g, "chain", LENGTH);
    for (int i = 0; i <= LENGTH; i++) {
        mail m = expect(&h, RAYI_UP_PUT);
        uint64_t number = rayi_take_u64(&m.reader);
        answer a = read_answer(&m.reader);
        cr_assert_eq((uint64_t)a.number, last);
        last = number;
        drop_answer(&a);
        drop(&m);
    }
    answer a = expect_result(&h, &g);
    cr_assert_eq((uint64_t)a.number, last);
    for (int i = 0; i <= LENGTH; i++) {
        mail m = expect(&h, RAYI_UP_RELEASE);
        drop(&m);
    }
    finish(&h);
}

Test(worker_calls, sends_many_bytes_as_objects)
{
    host h = start();
    uint64_t put[4] = {0};
    given g;
    mail m;
    int count = 0;

    give_task(&h, &g, "many_strings", NULL);
    offer(&h, &g);
    expect_function(&h, 0, "count");
    for (m = receive(&h); m.type == RAYI_UP_PUT; m = receive(&h)) {
        put[count++] = rayi_take_u64(&m.reader);
        answer a = read_answer(&m.reader);
        cr_assert_eq(a.kind, RAY_KIND_STRING);
        cr_assert_eq(a.size, 60000);
        drop_answer(&a);
        drop(&m);
    }
    cr_assert_eq(count, 3);
    cr_assert_eq(m.type, RAYI_UP_SUBMIT);
    rayi_wire_submit s = read_submit(&m);
    skip_task_options(&m);
    for (int i = 0; i < 4; i++) {
        answer a = read_answer(&m.reader);
        cr_assert_eq(a.form, i == 0 ? RAYI_FORM_BYTES : RAYI_FORM_AWAITED);
        if (i > 0)
            cr_assert_eq((uint64_t)a.number, put[i - 1]);
        drop_answer(&a);
    }
    drop(&m);
    for (int i = 0; i < 3; i++)
        expect_release(&h, put[i], 1);
    complete_int(&h, s.number, 4);
    for (m = receive(&h); m.type != RAYI_UP_RELEASE; m = receive(&h))
        drop(&m);
    drop(&m);
    expect_int(&h, &g, 4);
    finish(&h);
}

/* An argument of many bytes may come as a ref, completed after the task. */
Test(worker_calls, waits_for_arguments)
{
    host h = start();
    rayi_writer writer;
    given g;

    for (int i = 0; i < 2; i++) {
        give_task(&h, &g, "sum", NULL);
        g.head.num_args = 1;
        put_ref(&g.values, RAYI_FORM_AWAITED, 70);
        offer(&h, &g);
        usleep(20000);
        if (i == 0) {
            rayi_writer_init(&writer);
            rayi_put_u64(&writer, 70);
            put_bytes_value(&writer, RAY_KIND_BYTES, "\1\2\3", 3);
            send_down(&h, RAYI_DOWN_COMPLETE, &writer);
            expect_int(&h, &g, 6);
        } else {
            complete_error(&h, 70, RAY_ERR_OBJECT_LOST, "lost");
            answer a = expect_result(&h, &g);
            cr_assert_eq(a.code, RAY_ERR_OBJECT_LOST);
            drop_answer(&a);
        }
        expect_release(&h, 70, 1);
    }
    finish(&h);
}

/* A descriptor becomes readable though nobody is in a call of the library. */
Test(worker_calls, receives_for_a_loop_of_the_users)
{
    host h = start();
    given g;
    mail m;

    give_task(&h, &g, "polls", NULL);
    offer(&h, &g);
    expect_function(&h, 0, "twice");
    m = expect(&h, RAYI_UP_SUBMIT);
    uint64_t number = read_submit(&m).number;
    drop(&m);
    usleep(10000);
    complete_int(&h, number, 6);
    for (int left = 2; left > 0; left--) { /* the thread that receives may be the last to let go of the ref */
        m = receive(&h);
        cr_assert(m.type == RAYI_UP_RESULT || m.type == RAYI_UP_RELEASE);
        if (m.type == RAYI_UP_RESULT) {
            (void)rayi_take_bytes(&m.reader, sizeof(rayi_wire_result));
            cr_assert_eq(read_answer(&m.reader).number, 6);
        }
        drop(&m);
    }
    finish(&h);
}

/* A task that has returned without its result keeps nobody from running: here its result waits for another task. */
Test(worker_calls, hands_in_results_later)
{
    host h = start();
    given later, other;

    for (int i = 0; i < 3; i++) {
        bool has_come[2] = {false, false};
        give_task(&h, &later, "comes_when_let", "int64_t()");
        offer(&h, &later);
        give_task(&h, &other, "let_it_come", "void()");
        offer(&h, &other);
        for (int left = 2; left > 0; left--) { /* two threads hand them in: the order is a matter of time */
            rayi_wire_result head;
            answer a = expect_any_result(&h, &head);
            bool is_later = head.slot == later.head.slot;
            cr_assert_eq(head.generation, (is_later ? later : other).head.generation);
            cr_assert_not(has_come[is_later], "it comes twice");
            has_come[is_later] = true;
            cr_assert_eq(a.form, is_later ? RAYI_FORM_NUMBER : RAYI_FORM_NONE);
            cr_assert(!is_later || a.number == 77, "got %lld", (long long)a.number);
            drop_answer(&a);
        }
    }
    finish(&h);
}

/* ---- tasks inside tasks ---- */

Test(worker_calls, runs_the_task_it_waits_for)
{
    host h = start();
    given outer, inner;
    mail m;

    offer_int(&h, &outer, "ask_twice", 21);
    expect_function(&h, 0, "twice");
    m = expect(&h, RAYI_UP_SUBMIT);
    rayi_wire_submit s = read_submit(&m);
    drop(&m);
    expect_blocked(&h, outer.head.slot, s.number);
    give_task(&h, &inner, "twice", "int64_t(int64_t)");
    inner.head.num_args = 1;
    inner.head.flags = RAYI_WORK_NESTED;
    put_int(&inner.values, RAY_KIND_I64, 21);
    offer(&h, &inner);
    expect_int(&h, &inner, 42);
    complete_int(&h, s.number, 42);
    expect_resumed(&h, outer.head.slot);
    expect_release(&h, s.number, 1);
    expect_int(&h, &outer, 42);
    finish(&h);
}

/* One that may not be nested waits for its turn. */
Test(worker_calls, keeps_others_for_later)
{
    host h = start();
    given outer, other;
    mail m;

    offer_int(&h, &outer, "ask_twice", 21);
    expect_function(&h, 0, "twice");
    m = expect(&h, RAYI_UP_SUBMIT);
    rayi_wire_submit s = read_submit(&m);
    drop(&m);
    expect_blocked(&h, outer.head.slot, s.number);
    give_task(&h, &other, "nothing", "void()");
    offer(&h, &other);
    expect_silence(&h);
    complete_int(&h, s.number, 42);
    expect_resumed(&h, outer.head.slot);
    expect_release(&h, s.number, 1);
    expect_int(&h, &outer, 42);
    answer a = expect_result(&h, &other);
    cr_assert_eq(a.form, RAYI_FORM_NONE);
    finish(&h);
}

/* ---- streams ---- */

static void expect_item(host *h, const given *g, int64_t number)
{
    mail m = expect(h, RAYI_UP_YIELD);
    rayi_wire_result head;

    memcpy(&head, rayi_take_bytes(&m.reader, sizeof head), sizeof head);
    cr_assert_eq(head.generation, g->head.generation);
    answer a = read_answer(&m.reader);
    cr_assert_eq(a.number, number);
    drop(&m);
}

static void credit(host *h, const given *g, uint64_t items)
{
    rayi_offer_credit(h->channel, g->head.slot, items);
    rayi_channel_wake_worker(h->channel);
}

Test(worker_calls, yields_as_far_as_its_credit_goes)
{
    host h = start();
    given g;

    give_task(&h, &g, "upto", NULL);
    g.head.num_args = 1;
    g.head.flags = RAYI_WORK_STREAM;
    put_int(&g.values, RAY_KIND_I64, 5);
    offer(&h, &g);
    expect_blocked(&h, g.head.slot, 0);
    credit(&h, &g, 2);
    expect_resumed(&h, g.head.slot);
    expect_item(&h, &g, 0);
    expect_item(&h, &g, 1);
    expect_blocked(&h, g.head.slot, 0);
    credit(&h, &g, 100);
    expect_resumed(&h, g.head.slot);
    for (int i = 2; i < 5; i++)
        expect_item(&h, &g, i);
    answer a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_NONE);
    finish(&h);
}

Test(worker_calls, stops_when_nobody_reads)
{
    host h = start();
    given g;

    give_task(&h, &g, "upto", NULL);
    g.head.num_args = 1;
    g.head.flags = RAYI_WORK_STREAM;
    put_int(&g.values, RAY_KIND_I64, 1000000);
    offer(&h, &g);
    expect_blocked(&h, g.head.slot, 0);
    rayi_offer_credit(h.channel, g.head.slot, 1);
    rayi_offer_flag(h.channel, g.head.slot, RAYI_OFFER_ABANDONED);
    rayi_channel_wake_worker(h.channel);
    expect_resumed(&h, g.head.slot);
    expect_item(&h, &g, 0); /* it was asked for */
    answer a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_NONE);
    finish(&h);
}

Test(worker_calls, reads_streams)
{
    host h = start();
    int64_t sum = 0;
    given g;
    mail m;
    uint64_t item, stream;

    offer_int(&h, &g, "read_stream", 4);
    expect_function(&h, 0, "upto");
    m = expect(&h, RAYI_UP_SUBMIT);
    stream = read_submit(&m).number;
    drop(&m);
    for (int64_t i = 0; i <= 4; i++) {
        for (m = receive(&h); m.type != RAYI_UP_NEXT; m = receive(&h))
            drop(&m);
        cr_assert_eq(rayi_take_u64(&m.reader), stream);
        item = rayi_take_u64(&m.reader);
        drop(&m);
        if (i < 4)
            complete_int(&h, item, i);
        else
            complete_error(&h, item, RAY_ERR_STREAM_END, "no more");
        sum += i < 4 ? i : 0;
    }
    for (int released = 0; released < 2;) { /* the last item, the stream */
        m = receive(&h);
        released += m.type == RAYI_UP_RELEASE;
        drop(&m);
    }
    expect_int(&h, &g, sum);
    finish(&h);
}
