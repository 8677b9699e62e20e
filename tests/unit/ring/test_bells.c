/* Sleeping and waking, call by call. What happens between two processes at full speed: test_exchange.c. */
#include "helper.h"

#include <pthread.h>
#include <unistd.h>

/* ---- down ---- */

Test(ring_bells, sleep_returns_at_once)
{
    ends both = make_ends();
    uint32_t seen = rayi_channel_bell(both.worker);
    send_bytes(both.node, 1, 1, 1);
    cr_assert(rayi_channel_sleep(both.worker, seen, INT64_MAX), "mail is there");
    expect_bytes(both.worker, 1, 1, 1);
    rayi_channel_stir(both.worker);
    cr_assert_neq(rayi_channel_bell(both.worker), seen);
    cr_assert(rayi_channel_sleep(both.worker, seen, INT64_MAX), "the bell has moved");
    cr_assert_eq(atomic_load(&both.memory->sleepers), 0);
    free_ends(&both);
}

Test(ring_bells, sleep_ends_at_its_deadline)
{
    ends both = make_ends();
    const int64_t past[] = {INT64_MIN, -1, 0, 1};
    uint32_t seen = rayi_channel_bell(both.worker);
    for (size_t i = 0; i < RAYI_COUNT_OF(past); i++)
        cr_assert_not(rayi_channel_sleep(both.worker, seen, past[i]));
    int64_t start = rayi_now_ns();
    while (rayi_channel_sleep(both.worker, seen, start + 20 * MS))
        ;
    int64_t span = rayi_now_ns() - start;
    cr_assert_geq(span, 20 * MS);
    cr_assert_lt(span, 20000 * MS);
    cr_assert_eq(atomic_load(&both.memory->sleepers), 0);
    free_ends(&both);
}

typedef struct sleeper {
    rayi_channel *channel;
    uint32_t seen;
    int64_t deadline_ns;
    bool woken;
    pthread_t thread;
} sleeper;

static void *sleep_once(void *arg)
{
    sleeper *self = arg;
    self->woken = rayi_channel_sleep(self->channel, self->seen, self->deadline_ns);
    return NULL;
}

#define SLEEPERS 4
static void start_sleepers(ends *both, sleeper *all)
{
    uint32_t seen = rayi_channel_bell(both->worker);
    for (int i = 0; i < SLEEPERS; i++) {
        all[i] = (sleeper){both->worker, seen, rayi_now_ns() + 20000 * MS, false, 0};
        cr_assert_eq(pthread_create(&all[i].thread, NULL, sleep_once, &all[i]), 0);
    }
    while (atomic_load(&both->memory->sleepers) < SLEEPERS)
        usleep(100);
    usleep(2000); /* most of them sleep by now; the rest will find the bell moved */
}

static void join_sleepers(sleeper *all)
{
    int64_t start = rayi_now_ns();
    for (int i = 0; i < SLEEPERS; i++) {
        pthread_join(all[i].thread, NULL);
        cr_assert(all[i].woken, "sleeper %d", i);
    }
    cr_assert_lt(rayi_now_ns() - start, 5000 * MS);
}

Test(ring_bells, all_are_woken)
{
    ends both = make_ends();
    sleeper all[SLEEPERS];
    for (int round = 0; round < 20; round++) {
        start_sleepers(&both, all);
        if (round % 2) {
            rayi_channel_stir(both.worker); /* no mail: the bell alone tells them */
            join_sleepers(all);
        } else {
            send_bytes(both.node, 1, 1, 1);
            rayi_channel_wake_worker(both.node);
            join_sleepers(all);
            expect_bytes(both.worker, 1, 1, 1);
        }
        cr_assert_eq(atomic_load(&both.memory->sleepers), 0);
    }
    free_ends(&both);
}

Test(ring_bells, the_bell_is_still_while_nobody_sleeps)
{
    ends both = make_ends();
    uint32_t seen = rayi_channel_bell(both.worker);
    for (int i = 0; i < 10; i++) {
        send_bytes(both.node, 1, 1, 1);
        rayi_channel_wake_worker(both.node);
    }
    cr_assert_eq(rayi_channel_bell(both.worker), seen);
    cr_assert_eq(rayi_channel_bell(both.node), seen);
    rayi_channel_stir(both.worker);
    cr_assert_eq(rayi_channel_bell(both.worker), seen + 1);
    free_ends(&both);
}

/* A stir may meet a thread anywhere between its last look and its sleep. */
Test(ring_bells, no_stir_is_lost)
{
    ends both = make_ends();
    uint64_t random = 5;
    for (int i = 0; i < (IS_SLOW ? 300 : 3000); i++) {
        sleeper one = {both.worker, rayi_channel_bell(both.worker), rayi_now_ns() + 10000 * MS, false, 0};
        cr_assert_eq(pthread_create(&one.thread, NULL, sleep_once, &one), 0);
        for (uint64_t spins = next_random(&random) % 20000; spins > 0; spins--)
            __asm__ volatile("" ::: "memory");
        rayi_channel_stir(both.worker);
        pthread_join(one.thread, NULL);
        cr_assert(one.woken, "round %d", i);
    }
    free_ends(&both);
}

/* ---- up ---- */

Test(ring_bells, when_a_worker_announces)
{
    ends both = make_ends();
    int fd = make_event_fd();
    rayi_received got;

    send_bytes(both.worker, 1, 1, 1);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 0, "not armed");

    rayi_channel_arm(both.node);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 1, "armed, and mail lies there");
    send_bytes(both.worker, 1, 1, 1);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 0, "once an arming");

    rayi_channel_arm(both.node);
    rayi_channel_poll_begin(both.node);
    rayi_channel_poll_begin(both.node);
    rayi_channel_announce(both.worker, fd);
    rayi_channel_poll_end(both.node);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 0, "somebody polls");
    rayi_channel_poll_end(both.node);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 1, "nobody polls any more, and it is armed still");

    rayi_channel_arm(both.node);
    rayi_channel_arm(both.node);
    while (rayi_channel_receive(both.node, &got) == 1)
        ;
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 0, "all is received");
    send_bytes(both.worker, 1, 1, 1);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), 1, "the arming has stayed");
    close(fd);
    free_ends(&both);
}

Test(ring_bells, an_event_fd_that_is_full_is_no_trouble)
{
    ends both = make_ends();
    int fd = make_event_fd();
    uint64_t most = UINT64_MAX - 1;
    cr_assert_eq(write(fd, &most, sizeof most), (ssize_t)sizeof most);
    send_bytes(both.worker, 1, 1, 1);
    rayi_channel_arm(both.node);
    rayi_channel_announce(both.worker, fd);
    cr_assert_eq(read_event_fd(fd), most);
    close(fd);
    free_ends(&both);
}

/* ---- room ---- */

static void fill_up(ends *both)
{
    while (rayi_channel_send(both->worker, 1, NULL, 0, NULL, 0))
        ;
}

Test(ring_bells, waiting_for_room_rings_and_ends_at_its_deadline)
{
    ends both = make_ends();
    int fd = make_event_fd();
    cr_assert(rayi_channel_wait_for_room(both.worker, RAYI_RING_MESSAGE_MAX, fd, 0), "there is room");
    cr_assert_eq(read_event_fd(fd), 0);
    fill_up(&both);
    cr_assert_not(rayi_channel_wait_for_room(both.worker, 0, fd, rayi_now_ns() - 1));
    rayi_channel_poll_begin(both.node);
    int64_t start = rayi_now_ns();
    cr_assert_not(rayi_channel_wait_for_room(both.worker, 0, fd, start + 10 * MS));
    cr_assert_geq(rayi_now_ns() - start, 10 * MS);
    cr_assert_lt(rayi_now_ns() - start, 20000 * MS);
    cr_assert_gt(read_event_fd(fd), 0, "not armed, and somebody polls: it rings all the same");
    cr_assert_eq(atomic_load(&both.memory->sleepers), 0);
    close(fd);
    free_ends(&both);
}

typedef struct drainer {
    rayi_channel *node;
    int fd, drained;
    atomic_bool stop;
} drainer;

/* Frees one cell for each event, until it is stopped: whoever is to ring may be kept from it for long. */
static void *drain(void *arg)
{
    drainer *self = arg;
    rayi_received got;
    while (!atomic_load(&self->stop))
        if (wait_event_fd(self->fd, rayi_now_ns() + 10 * MS))
            self->drained += rayi_channel_receive(self->node, &got) == 1;
    return NULL;
}

Test(ring_bells, room_comes)
{
    ends both = make_ends();
    pthread_t thread;
    drainer other = {.node = both.node, .fd = make_event_fd()};
    fill_up(&both);
    cr_assert_eq(pthread_create(&thread, NULL, drain, &other), 0);
    cr_assert(rayi_channel_wait_for_room(both.worker, 300, other.fd, rayi_now_ns() + 10000 * MS));
    cr_assert(rayi_channel_send(both.worker, 1, both.memory->down_cells, 300, NULL, 0));
    atomic_store(&other.stop, true);
    pthread_join(thread, NULL);
    cr_assert_geq(other.drained, 5);
    close(other.fd);
    free_ends(&both);
}
