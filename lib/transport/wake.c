/* A send sets is_sent, then looks whether the loop is awake; a vigil that ends says that it is not, then looks at
 * is_sent once more. All four are sequentially consistent, so one of the two sees the other and writes to the
 * descriptor, which ends the sleep. If both do, or if fn was called meanwhile, it is called once more than was needed.
 */
#include "transport/wake.h"

#include "base/base.h"

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { LOOKS = 16, CALLS = 16, SHORT_WAITS = 2 };

/* ---- wakes ---- */

/* is_sent is cleared before fn: a send from now on calls it again. */
static void call(rayi_wake *wake)
{
    atomic_exchange(&wake->is_sent, false);
    wake->fn(wake->arg);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    rayi_wake *wake = rayi_container_of(poll, rayi_wake, poll);
    eventfd_t count;

    (void)status, (void)events;
    (void)eventfd_read(wake->fd, &count);
    /* Only after the read: a send that comes in between finds it set and writes nothing, but fn is yet to be called. */
    call(wake);
}

int rayi_wake_open(rayi_wake *wake, uv_loop_t *loop, rayi_vigil *vigil, void (*fn)(void *arg), void *arg)
{
    int r;

    wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake->fd < 0)
        return uv_translate_sys_error(errno);
    wake->fn = fn;
    wake->arg = arg;
    atomic_init(&wake->is_sent, false);
    r = uv_poll_init(loop, &wake->poll, wake->fd);
    if (r < 0) {
        close(wake->fd);
        return r;
    }
    wake->poll.data = arg;
    wake->vigil = vigil;
    if (vigil)
        LL_APPEND(vigil->wakes, wake);
    (void)uv_poll_start(&wake->poll, UV_READABLE, on_readable); /* of a sound handle it cannot fail */
    return 0;
}

void rayi_wake_send(rayi_wake *wake)
{
    if (atomic_exchange(&wake->is_sent, true))
        return;
    if (!wake->vigil || !atomic_load(&wake->vigil->is_awake))
        (void)eventfd_write(wake->fd, 1);
}

void rayi_wake_close(rayi_wake *wake, uv_close_cb closed)
{
    if (wake->vigil)
        LL_DELETE(wake->vigil->wakes, wake);
    uv_close((uv_handle_t *)&wake->poll, closed);
    close(wake->fd);
    wake->fd = -1;
}

/* ---- the vigil ---- */

/* One of those that were sent: fn may close any of them. The next time it is the others' turn. */
static bool call_one(rayi_vigil *vigil)
{
    rayi_wake *wake = vigil->wakes;

    while (wake && !atomic_load(&wake->is_sent))
        wake = wake->next;
    if (!wake)
        return false;
    LL_DELETE(vigil->wakes, wake);
    LL_APPEND(vigil->wakes, wake);
    call(wake);
    return true;
}

static void end(rayi_vigil *vigil)
{
    uv_idle_stop(&vigil->idle);
    vigil->tell(vigil->arg, false);
    atomic_store(&vigil->is_awake, false);
    for (rayi_wake *wake = vigil->wakes; wake; wake = wake->next)
        if (atomic_load(&wake->is_sent))
            (void)eventfd_write(wake->fd, 1);
}

static void note_news(rayi_vigil *vigil)
{
    vigil->news_ns = rayi_now_ns();
}

/* With an active idle handle the loop looks at its descriptors and does not sleep. */
static void on_idle(uv_idle_t *idle)
{
    rayi_vigil *vigil = rayi_container_of(idle, rayi_vigil, idle);
    unsigned calls = 0;

    for (int i = 0; i < LOOKS && calls == 0; i++) {
        while (calls < CALLS && call_one(vigil))
            calls++;
        rayi_pause();
    }
    if (calls > 0) {
        note_news(vigil);
        return;
    }
    vigil->was_in_vain = rayi_now_ns() - vigil->news_ns >= RAYI_VIGIL_NS;
    if (vigil->was_in_vain || !vigil->may(vigil->arg))
        end(vigil);
    else
        sched_yield(); /* whom we wait for may stand behind us on this CPU */
}

static void on_prepare(uv_prepare_t *prepare)
{
    rayi_vigil *vigil = rayi_container_of(prepare, rayi_vigil, prepare);

    vigil->sleeps = !uv_is_active((uv_handle_t *)&vigil->idle);
    if (!vigil->sleeps || vigil->was_in_vain || vigil->short_waits < SHORT_WAITS || !vigil->may(vigil->arg))
        return;
    vigil->sleeps = false;
    atomic_store(&vigil->is_awake, true);
    vigil->tell(vigil->arg, true);
    uv_idle_start(&vigil->idle, on_idle);
}

/* A wait has the vigil in it, if it began with one, and the way to sleep and back. */
static void on_check(uv_check_t *check)
{
    rayi_vigil *vigil = rayi_container_of(check, rayi_vigil, check);
    int64_t before = vigil->news_ns;

    if (!vigil->sleeps)
        return;
    note_news(vigil);
    vigil->was_in_vain = false;
    if (vigil->news_ns - before > RAYI_SHORT_WAIT_NS)
        vigil->short_waits = 0;
    else if (vigil->short_waits < SHORT_WAITS)
        vigil->short_waits++;
}

void rayi_vigil_open(rayi_vigil *vigil, uv_loop_t *loop, bool (*may)(void *arg), void (*tell)(void *arg, bool begins),
                     void *arg)
{
    *vigil = (rayi_vigil){.may = may, .tell = tell, .arg = arg};
    uv_prepare_init(loop, &vigil->prepare);
    uv_check_init(loop, &vigil->check);
    uv_idle_init(loop, &vigil->idle);
    uv_prepare_start(&vigil->prepare, on_prepare);
    uv_check_start(&vigil->check, on_check);
}

void rayi_vigil_heard(rayi_vigil *vigil)
{
    if (vigil && uv_is_active((uv_handle_t *)&vigil->idle))
        note_news(vigil);
}

void rayi_vigil_close(rayi_vigil *vigil)
{
    if (uv_is_active((uv_handle_t *)&vigil->idle))
        vigil->tell(vigil->arg, false);
    atomic_store(&vigil->is_awake, false);
    uv_close((uv_handle_t *)&vigil->prepare, NULL);
    uv_close((uv_handle_t *)&vigil->check, NULL);
    uv_close((uv_handle_t *)&vigil->idle, NULL);
}
