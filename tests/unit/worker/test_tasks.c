/* Joining the node, running what it offers, leaving. */
#include "helper.h"

#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

Test(worker, joins_and_leaves)
{
    host h = start();

    finish(&h);
}

Test(worker, runs_numbers)
{
    host h = start();
    given g;

    for (int i = 0; i < 100; i++) {
        give_task(&h, &g, "twice", "int64_t(int64_t)");
        g.head.num_args = 1;
        put_int(&g.values, RAY_KIND_I64, i);
        offer(&h, &g);
        expect_int(&h, &g, 2 * i);
    }
    finish(&h);
}

Test(worker, runs_what_was_offered_at_once_in_order)
{
    host h = start();
    uint32_t function = tell_function(&h, "twice", "int64_t(int64_t)");
    given g[500];

    for (int i = 0; i < 500; i++) {
        memset(&g[i], 0, sizeof g[i]);
        rayi_writer_init(&g[i].values);
        g[i].head = (rayi_wire_task){.slot = (uint32_t)i, .generation = 7, .function = function, .num_args = 1};
        put_int(&g[i].values, RAY_KIND_I64, i);
        offer(&h, &g[i]);
    }
    for (int i = 0; i < 500; i++)
        expect_int(&h, &g[i], 2 * i);
    finish(&h);
}

Test(worker, runs_texts_structs_and_bytes)
{
    host h = start();
    int32_t pair[2] = {1, 2};
    given g;
    answer a;

    give_task(&h, &g, "greet", "const char *(const char *, int)");
    g.head.num_args = 2;
    put_bytes_value(&g.values, RAY_KIND_STRING, "hello", 5);
    put_int(&g.values, RAY_KIND_I32, 2);
    offer(&h, &g);
    a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_BYTES);
    cr_assert_eq(a.kind, RAY_KIND_STRING);
    cr_assert_str_eq(a.bytes, "hello hello");
    drop_answer(&a);

    give_task(&h, &g, "swap", NULL);
    g.head.num_args = 1;
    put_bytes_value(&g.values, RAY_KIND_STRUCT, pair, sizeof pair);
    offer(&h, &g);
    a = expect_result(&h, &g);
    cr_assert_eq(a.kind, RAY_KIND_STRUCT);
    cr_assert_eq(((int32_t *)(void *)a.bytes)[0], 2);
    drop_answer(&a);

    give_task(&h, &g, "sum", "int64_t(ray_view)");
    g.head.num_args = 1;
    put_bytes_value(&g.values, RAY_KIND_BYTES, "\1\2\3", 3);
    offer(&h, &g);
    expect_int(&h, &g, 6);

    give_task(&h, &g, "nothing", "void()");
    offer(&h, &g);
    a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_NONE);
    finish(&h);
}

Test(worker, tells_failures)
{
    host h = start();
    given g;
    answer a;

    give_task(&h, &g, "failing", "int(int)");
    g.head.num_args = 1;
    put_int(&g.values, RAY_KIND_I32, 77);
    offer(&h, &g);
    a = expect_result(&h, &g);
    cr_assert_eq(a.form, RAYI_FORM_ERROR);
    cr_assert_eq(a.code, RAY_ERR_TASK_FAILED);
    cr_assert_eq(a.user_code, 77);
    cr_assert_str_eq(a.bytes, "as it was told");
    drop_answer(&a);

    give_task(&h, &g, "unheard_of", "void()");
    offer(&h, &g);
    a = expect_result(&h, &g);
    cr_assert_eq(a.code, RAY_ERR_UNKNOWN_FUNCTION);
    cr_assert_not_null(strstr(a.bytes, "unheard_of"));
    drop_answer(&a);

    give_task(&h, &g, "twice", "double(double)");
    g.head.num_args = 1;
    put_int(&g.values, RAY_KIND_F64, 0);
    offer(&h, &g);
    a = expect_result(&h, &g);
    cr_assert_eq(a.code, RAY_ERR_SIGNATURE);
    cr_assert_not_null(strstr(a.bytes, "double(double)"));
    cr_assert_not_null(strstr(a.bytes, "int64_t(int64_t)"));
    drop_answer(&a);
    finish(&h);
}

Test(worker, leaves_what_was_revoked)
{
    host h = start();
    given g;
    rayi_writer writer;

    give_task(&h, &g, "get_ref", "int64_t(ray_ref *)");
    g.head.num_args = 1;
    rayi_writer_init(&writer);
    put_ref(&g.values, RAYI_FORM_REF, 5);
    rayi_put_bytes(&writer, &g.head, sizeof g.head);
    rayi_put_bytes(&writer, g.values.data, g.values.size);
    rayi_offer_make(h.channel, g.head.slot, g.head.generation);
    cr_assert(rayi_offer_revoke(h.channel, g.head.slot));
    send_down(&h, RAYI_DOWN_TASK, &writer);
    expect_release(&h, 5, 1); /* what it brought goes back */
    expect_silence(&h);
    finish(&h);
}

Test(worker, knows_where_it_is)
{
    host h = start();
    given g;
    answer a;

    give_task(&h, &g, "where", "const char *()");
    g.head.number = 0x55;
    g.head.attempt = 3;
    g.head.flags = RAYI_WORK_CONTEXT;
    g.resources = "CPU=1, GPU=1";
    g.gpus = "4";
    offer(&h, &g);
    a = expect_result(&h, &g);
    cr_assert_str_eq(a.bytes, "space 22222222222222222222222222222222 0000000000abcdef0000000000000055 where CPU=1, "
                              "GPU=1 4 3 -");
    drop_answer(&a);

    /* A task that nobody has asked the id of has one when it asks itself. */
    rayi_writer number;
    give_task(&h, &g, "where", "const char *()");
    offer(&h, &g);
    request r = expect_ask(&h, RAYI_ASK_TASK_ID);
    cr_assert_eq(rayi_take_u32(&r.m.reader), g.head.slot);
    cr_assert_eq(rayi_take_u32(&r.m.reader), g.head.generation);
    rayi_writer_init(&number);
    rayi_put_u64(&number, 0x77);
    reply(&h, &r, 0, &number);
    a = expect_result(&h, &g);
    cr_assert_not_null(strstr(a.bytes, " 0000000000abcdef0000000000000077 where CPU=1 "), "%s", a.bytes);
    drop_answer(&a);

    give_task(&h, &g, "runtime_calls", "int()");
    offer(&h, &g);
    expect_int(&h, &g, 0);
    give_task(&h, &g, "forked", "int()");
    offer(&h, &g);
    expect_int(&h, &g, 42);
    finish(&h);
}

Test(worker, sees_that_it_is_cancelled)
{
    host h = start();
    bool ran = false;
    given g;

    for (unsigned i = 0; i < 200 && !ran; i++) { /* once at least it has begun before */
        give_task(&h, &g, "until_cancelled", "int()");
        offer(&h, &g);
        while ((rayi_offer_look(h.channel, g.head.slot) & RAYI_OFFER_STATE) == RAYI_OFFER_MADE)
            usleep(100);
        usleep(i * 1000);
        rayi_offer_flag(h.channel, g.head.slot, RAYI_OFFER_CANCEL);
        ran = expect_cancelled(&h, &g);
    }
    cr_assert(ran);
    give_task(&h, &g, "until_cancelled", "int()");
    offer(&h, &g);
    rayi_offer_flag(h.channel, g.head.slot, RAYI_OFFER_LATE);
    expect_int(&h, &g, 1);
    finish(&h);
}

Test(worker, does_not_begin_what_was_cancelled)
{
    host h = start();
    given g[20];

    for (int i = 0; i < 20; i++) { /* one at a time runs, the others stand behind it */
        give_task(&h, &g[i], "until_cancelled", "int()");
        offer(&h, &g[i]);
    }
    for (int i = 19; i >= 0; i--)
        rayi_offer_flag(h.channel, g[i].head.slot, RAYI_OFFER_CANCEL);
    for (int i = 0; i < 20; i++)
        cr_assert(!expect_cancelled(&h, &g[i]) || i == 0);
    finish(&h);
}

Test(worker, exits_after_what_runs)
{
    host h = start();
    rayi_writer none;
    given g;

    give_task(&h, &g, "until_cancelled", "int()");
    offer(&h, &g);
    while ((rayi_offer_look(h.channel, g.head.slot) & RAYI_OFFER_STATE) == RAYI_OFFER_MADE)
        usleep(100);
    rayi_writer_init(&none);
    send_down(&h, RAYI_DOWN_EXIT, &none);
    expect_silence(&h);
    rayi_offer_flag(h.channel, g.head.slot, RAYI_OFFER_CANCEL);
    cr_assert(expect_cancelled(&h, &g)); /* it had the time of that silence to begin */
    int status = end_of(&h);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close_host(&h);
}

Test(worker, ends_with_its_node)
{
    host h = start();

    shutdown(h.socket, SHUT_RDWR);
    int status = end_of(&h);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "status %x", status);
    close_host(&h);
}

Test(worker, refuses_what_is_no_node)
{
    host h = start_child();
    rayi_writer writer;
    mail ready = expect(&h, RAYI_UP_READY);

    drop(&ready);
    rayi_writer_init(&writer);
    rayi_put_u32(&writer, RAYI_WORKER_PROTOCOL + 1);
    send_down(&h, RAYI_DOWN_WELCOME, &writer);
    int status = end_of(&h);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 71, "status %x", status);
    close_host(&h);
}
