/* Wakes: what many threads send is seen by the loop, and it is called no more often than they sent; a loop that keeps a
 * vigil sees it, too, and sleeps when nothing comes. */
#include "base/base.h"
#include "transport/transport.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/eventfd.h>

enum { SENDERS = 4, SENDS = 20000 };

typedef struct party {
    uv_loop_t loop;
    rayi_wake wake, other;
    rayi_vigil vigil;
    atomic_uint sent;
    unsigned seen, calls, closes;
    bool all_sent;
    bool may; /* keep a vigil */
    unsigned begins, ends;
    unsigned unwritten; /* sends that wrote nothing to the descriptor */
} party;

static bool may(void *arg)
{
    return ((party *)arg)->may;
}

static void tell(void *arg, bool begins)
{
    party *p = arg;
    p->begins += begins;
    p->ends += !begins;
}

static void on_closed(uv_handle_t *handle)
{
    ((party *)handle->data)->closes++;
}

static void on_wake(void *arg)
{
    party *p = arg;
    p->calls++;
    p->seen = atomic_load(&p->sent);
    if (!p->all_sent)
        return;
    rayi_wake_close(&p->wake, on_closed);
    rayi_vigil_close(&p->vigil);
}

static void *send_all(void *arg)
{
    party *p = arg;
    for (unsigned i = 0; i < SENDS; i++) {
        atomic_fetch_add(&p->sent, 1);
        rayi_wake_send(&p->wake);
    }
    return NULL;
}

static void see_all(party *p)
{
    pthread_t threads[SENDERS];
    cr_assert_eq(uv_loop_init(&p->loop), 0);
    rayi_vigil_open(&p->vigil, &p->loop, may, tell, p);
    cr_assert_eq(rayi_wake_open(&p->wake, &p->loop, &p->vigil, on_wake, p), 0);
    for (int i = 0; i < SENDERS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, send_all, p), 0);
    while (p->seen < SENDERS * SENDS) /* the last send is not lost, whatever came before */
        uv_run(&p->loop, UV_RUN_ONCE);
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    p->all_sent = true;
    rayi_wake_send(&p->wake);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    cr_expect_eq(p->seen, SENDERS * SENDS);
    cr_expect_eq(p->closes, 1);
    cr_expect_eq(uv_loop_close(&p->loop), 0);
}

Test(wake, what_threads_send_is_seen, .timeout = 60)
{
    static party p;
    see_all(&p);
    cr_expect_leq(p.calls, SENDERS * SENDS + 1);
    cr_expect_eq(p.begins, 0);
}

Test(wake, what_threads_send_to_a_vigil_is_seen, .timeout = 60)
{
    static party p = {.may = true};
    see_all(&p);
    cr_expect_eq(p.begins, p.ends);
}

/* A send from the callback itself comes back, once. */
static void on_wake_again(void *arg)
{
    party *p = arg;
    if (++p->calls < 3)
        rayi_wake_send(&p->wake);
    else
        rayi_wake_close(&p->wake, NULL);
}

Test(wake, may_be_sent_from_inside, .timeout = 60)
{
    static party p;
    cr_assert_eq(uv_loop_init(&p.loop), 0);
    cr_assert_eq(rayi_wake_open(&p.wake, &p.loop, NULL, on_wake_again, &p), 0);
    rayi_wake_send(&p.wake);
    rayi_wake_send(&p.wake);
    uv_run(&p.loop, UV_RUN_DEFAULT);
    cr_expect_eq(p.calls, 3);
    cr_expect_eq(uv_loop_close(&p.loop), 0);
}

/* ---- vigils ---- */

static void open_both(party *p, void (*fn)(void *arg), void (*other)(void *arg))
{
    cr_assert_eq(uv_loop_init(&p->loop), 0);
    rayi_vigil_open(&p->vigil, &p->loop, may, tell, p);
    cr_assert_eq(rayi_wake_open(&p->wake, &p->loop, &p->vigil, fn, p), 0);
    cr_assert_eq(rayi_wake_open(&p->other, &p->loop, &p->vigil, other, p), 0);
}

static void on_other(void *arg)
{
    ((party *)arg)->closes++;
}

/* Sends itself so often that the loop does not wait for long; then sends no more. */
static void on_busy(void *arg)
{
    party *p = arg;
    eventfd_t count;
    if (++p->calls == SENDS)
        return;
    rayi_wake_send(&p->wake);
    if (eventfd_read(p->wake.fd, &count) == 0)
        (void)eventfd_write(p->wake.fd, count);
    else
        p->unwritten++;
}

static void on_time(uv_timer_t *timer)
{
    party *p = timer->data;
    if (p->calls < SENDS || p->ends < p->begins)
        return; /* not yet */
    uv_close((uv_handle_t *)timer, NULL);
    rayi_wake_close(&p->wake, NULL);
    rayi_wake_close(&p->other, NULL);
    rayi_vigil_close(&p->vigil);
}

static void be_busy(party *p)
{
    uv_timer_t timer;
    open_both(p, on_busy, on_other);
    uv_timer_init(&p->loop, &timer);
    timer.data = p;
    uv_timer_start(&timer, on_time, 1, 1);
    rayi_wake_send(&p->wake);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    cr_expect_eq(p->calls, SENDS);
    cr_expect_eq(uv_loop_close(&p->loop), 0);
}

Test(vigil, begins_after_short_waits_and_ends_without_news, .timeout = 60)
{
    static party p = {.may = true};
    be_busy(&p);
    cr_expect_geq(p.begins, 1);
    cr_expect_eq(p.ends, p.begins);
    cr_expect_gt(p.unwritten, SENDS / 2); /* however busy the machine is */
    cr_expect_not(atomic_load(&p.vigil.is_awake));
}

Test(vigil, is_not_kept_without_a_free_cpu, .timeout = 60)
{
    static party p;
    be_busy(&p);
    cr_expect_eq(p.begins, 0);
    cr_expect_eq(p.unwritten, 0);
}

/* Begun by two short waits. */
static void begin_vigil(party *p)
{
    p->may = true;
    while (p->begins == p->ends) {
        rayi_wake_send(&p->wake);
        uv_run(&p->loop, UV_RUN_ONCE);
    }
}

static void on_closing(void *arg)
{
    party *p = arg;
    if (++p->calls == 1 && p->all_sent)
        rayi_wake_close(&p->other, NULL);
}

/* A wake that is sent and then closed by another one is not called. */
Test(vigil, a_wake_may_be_closed_by_another, .timeout = 60)
{
    static party p;
    open_both(&p, on_closing, on_other);
    begin_vigil(&p);
    p.all_sent = true;
    rayi_wake_send(&p.wake);
    rayi_wake_send(&p.other);
    for (p.calls = 0; p.calls == 0;)
        uv_run(&p.loop, UV_RUN_NOWAIT);
    cr_expect_leq(p.closes, 1); /* it may have had its turn before */
    p.closes = 0;
    for (int i = 0; i < 3; i++) {
        rayi_wake_send(&p.wake);
        uv_run(&p.loop, UV_RUN_NOWAIT);
    }
    cr_expect_eq(p.closes, 0);
    rayi_wake_close(&p.wake, NULL);
    rayi_vigil_close(&p.vigil);
    uv_run(&p.loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&p.loop), 0);
}

/* None of two that are sent again and again keeps the other from its turn. */
static void on_again(void *arg)
{
    party *p = arg;
    p->calls++;
    rayi_wake_send(&p->wake);
}

Test(vigil, wakes_take_turns, .timeout = 60)
{
    static party p;
    open_both(&p, on_again, on_other);
    begin_vigil(&p);
    rayi_wake_send(&p.other);
    while (p.closes == 0)
        uv_run(&p.loop, UV_RUN_NOWAIT);
    rayi_wake_close(&p.wake, NULL);
    rayi_wake_close(&p.other, NULL);
    rayi_vigil_close(&p.vigil);
    uv_run(&p.loop, UV_RUN_DEFAULT);
    cr_expect_eq(uv_loop_close(&p.loop), 0);
}
