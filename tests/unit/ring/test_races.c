/* Two threads meet again and again at the one place where a wake-up could be lost: one publishes and looks for sleepers
 * while the other says that it sleeps and looks once more. Without the fences between these this fails on x86 too. */
#include "helper.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#define ROUNDS  100          /* at least so many, however busy the machine is */
#define SPAN_NS (700 * MS)   /* of one race, over and over */
#define MOST_NS (60000 * MS) /* of one race that does not come to its rounds */
#define WAIT_NS (30000 * MS) /* a wake-up that takes longer is lost */

typedef struct race {
    ends both;
    int event_fd;
    void (*tell)(struct race *self);
    void (*prepare)(struct race *self); /* what the one who waits does before they meet */
    bool (*wait)(struct race *self);    /* false: the wake-up was lost */
    uint32_t seen;
    int64_t deadline;
    _Alignas(128) atomic_uint at[2]; /* the round that each is in; UINT32_MAX: over */
} race;

/* Both sides leave within some ten nanoseconds of each other, then dawdle up to a microsecond, since what they do
 * before the place of interest takes them differently long. False: the race is over. */
static bool meet(race *self, int side, uint32_t round, uint64_t *random)
{
    uint32_t other = 0;
    atomic_store(&self->at[side], round);
    for (unsigned spins = 0; (other = atomic_load(&self->at[!side])) < round; spins++)
        if (spins > 10000)
            sched_yield();
    uint64_t dice = next_random(random);
    for (uint64_t spins = dice / 16 % ((uint64_t)1 << dice % 12); spins > 0; spins--)
        __asm__ volatile("" ::: "memory");
    return other != UINT32_MAX;
}

static void *run_teller(void *arg)
{
    race *self = arg;
    uint64_t random = 1;
    for (uint32_t round = 1; meet(self, 0, round, &random); round++)
        self->tell(self);
    return NULL;
}

static void run_race(race *self)
{
    uint64_t random = 2;
    uint32_t round = 1;
    bool fine = true;
    pthread_t teller;
    cr_assert_eq(pthread_create(&teller, NULL, run_teller, self), 0);
    int64_t start = rayi_now_ns();
    for (; fine && rayi_now_ns() - start < (round > ROUNDS ? SPAN_NS : MOST_NS); round++) {
        self->prepare(self);
        self->deadline = rayi_now_ns() + WAIT_NS;
        (void)meet(self, 1, round, &random);
        fine = self->wait(self);
    }
    atomic_store(&self->at[1], UINT32_MAX);
    pthread_join(teller, NULL);
    cr_log_info("%u rounds", round);
    cr_assert(fine, "lost in round %u", round);
    cr_assert_gt(round, ROUNDS);
    close(self->event_fd);
    free_ends(&self->both);
}

static bool take_one(rayi_channel *channel)
{
    rayi_received got;
    return rayi_channel_receive(channel, &got) == 1;
}

static void read_bell(race *self)
{
    self->seen = rayi_channel_bell(self->both.worker);
}

/* ---- down: mail and the bell ---- */

/* Long enough that the tail is written some time after it was given to the processor. */
static const unsigned char bytes[1500];

static void send_down(race *self)
{
    (void)rayi_channel_send(self->both.node, 1, bytes, sizeof bytes, NULL, 0);
    rayi_channel_wake_worker(self->both.node);
}

static bool sleep_for_mail(race *self)
{
    while (!take_one(self->both.worker)) {
        if (!rayi_channel_sleep(self->both.worker, self->seen, self->deadline))
            return false;
        self->seen = rayi_channel_bell(self->both.worker);
    }
    return true;
}

Test(ring_races, mail_and_a_worker_that_falls_asleep)
{
    race self = {.both = make_ends(), .event_fd = make_event_fd(), send_down, read_bell, sleep_for_mail};
    run_race(&self);
}

/* ---- down: a stir ---- */

static void stir(race *self)
{
    rayi_channel_stir(self->both.worker);
}

static bool sleep_for_a_stir(race *self)
{
    while (rayi_channel_bell(self->both.worker) == self->seen)
        if (!rayi_channel_sleep(self->both.worker, self->seen, self->deadline))
            return false;
    return true;
}

Test(ring_races, a_stir_and_a_worker_that_falls_asleep)
{
    race self = {.both = make_ends(), .event_fd = make_event_fd(), stir, read_bell, sleep_for_a_stir};
    run_race(&self);
}

/* ---- up: mail, arming and polling ---- */

static void send_up(race *self)
{
    (void)rayi_channel_send(self->both.worker, 1, bytes, sizeof bytes, NULL, 0);
    rayi_channel_announce(self->both.worker, self->event_fd);
}

static void disarm(race *self) /* an arming that has stayed would need no write */
{
    atomic_store(&self->both.memory->armed, 0);
}

static void do_nothing(race *self)
{
    (void)self;
}

static void arm_and_poll(race *self)
{
    rayi_channel_arm(self->both.node);
    rayi_channel_poll_begin(self->both.node);
}

static bool arm_and_wait(race *self)
{
    for (;;) {
        rayi_channel_arm(self->both.node);
        if (take_one(self->both.node))
            return true;
        if (!wait_event_fd(self->event_fd, self->deadline))
            return false;
    }
}

/* The mail of a round may be announced when it is taken already: hence arm_and_wait from the second look on. */
static bool poll_no_more_and_wait(race *self)
{
    rayi_channel_poll_end(self->both.node);
    if (take_one(self->both.node))
        return true;
    return wait_event_fd(self->event_fd, self->deadline) && arm_and_wait(self);
}

Test(ring_races, mail_and_a_node_that_arms)
{
    race self = {.both = make_ends(), .event_fd = make_event_fd(), send_up, disarm, arm_and_wait};
    run_race(&self);
}

Test(ring_races, mail_and_a_node_that_stops_to_poll)
{
    race self = {.both = make_ends(), .event_fd = make_event_fd(), send_up, arm_and_poll, poll_no_more_and_wait};
    run_race(&self);
}

/* ---- room ---- */

static void free_a_cell(race *self)
{
    (void)take_one(self->both.worker);
    rayi_channel_announce(self->both.worker, self->event_fd);
}

static bool wait_for_a_cell(race *self)
{
    while (!rayi_channel_send(self->both.node, 1, NULL, 0, NULL, 0))
        while (!rayi_channel_wants_room(self->both.node))
            if (!wait_event_fd(self->event_fd, self->deadline))
                return false;
    return true;
}

Test(ring_races, room_and_a_node_that_finds_none)
{
    race self = {.both = make_ends(), .event_fd = make_event_fd(), free_a_cell, do_nothing, wait_for_a_cell};
    while (rayi_channel_send(self.both.node, 1, NULL, 0, NULL, 0))
        ;
    run_race(&self);
}
