/* Two processes, both with several threads, that exchange messages as fast as they can while they fall asleep and wake
 * each other. A wake-up that is lost shows as a deadline that passes. */
#include "helper.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGES  (IS_SLOW ? 100000u : 1000000u)
#define TIME_NS   (100000 * MS)
#define TYPE_ECHO 1
#define TYPE_DROP 2 /* the worker does not answer it */
#define TYPE_END  3

/* Memory that the forked child reports in. */
typedef struct report {
    atomic_uint received, slept, waited_for_room, failed;
} report;

typedef struct worker {
    rayi_channel *channel;
    int event_fd;
    int64_t deadline;
    report *report;
    pthread_mutex_t receiving, sending;
    atomic_bool ended;
} worker;

static void spin(uint64_t times)
{
    for (; times > 0; times--)
        __asm__ volatile("" ::: "memory");
}

/* ---- the worker ---- */

static void answer(worker *self, const void *data, size_t size)
{
    for (;;) {
        pthread_mutex_lock(&self->sending);
        bool sent = rayi_channel_send(self->channel, TYPE_ECHO, data, size, NULL, 0);
        pthread_mutex_unlock(&self->sending);
        if (sent)
            break;
        atomic_fetch_add(&self->report->waited_for_room, 1);
        if (!rayi_channel_wait_for_room(self->channel, size, self->event_fd, self->deadline)) {
            atomic_fetch_add(&self->report->failed, 1);
            return;
        }
    }
    rayi_channel_announce(self->channel, self->event_fd);
}

/* Takes one message and does what it says; false: there was none. */
static bool serve_one(worker *self)
{
    unsigned char copy[256];
    rayi_received got = {0};
    pthread_mutex_lock(&self->receiving);
    int r = rayi_channel_receive(self->channel, &got);
    if (r == 1 && got.size <= sizeof copy)
        memcpy(copy, got.data, got.size);
    pthread_mutex_unlock(&self->receiving);
    if (r < 0) {
        atomic_fetch_add(&self->report->failed, 1);
        atomic_store(&self->ended, true);
    }
    if (r <= 0)
        return false;
    atomic_fetch_add(&self->report->received, 1);
    if (got.type == TYPE_ECHO)
        answer(self, copy, got.size);
    if (got.type == TYPE_END) {
        atomic_store(&self->ended, true);
        rayi_channel_stir(self->channel);
    }
    return true;
}

static void *run_worker(void *arg)
{
    worker *self = arg;
    uint64_t random = (uint64_t)(uintptr_t)&random;
    while (!atomic_load(&self->ended)) {
        uint32_t seen = rayi_channel_bell(self->channel);
        if (serve_one(self))
            continue;
        rayi_channel_announce(self->channel, self->event_fd); /* what was received has made room */
        spin(next_random(&random) % 2000);
        if (serve_one(self) || atomic_load(&self->ended))
            continue;
        atomic_fetch_add(&self->report->slept, 1);
        if (!rayi_channel_sleep(self->channel, seen, self->deadline)) {
            atomic_fetch_add(&self->report->failed, 1);
            break;
        }
    }
    return NULL;
}

static _Noreturn void be_worker(int fd, int event_fd, report *into)
{
    worker self = {.event_fd = event_fd, .deadline = rayi_now_ns() + TIME_NS, .report = into};
    pthread_t threads[2];
    alarm(120);
    if (rayi_channel_open(rayi_heap, fd, &self.channel))
        _exit(1);
    pthread_mutex_init(&self.receiving, NULL);
    pthread_mutex_init(&self.sending, NULL);
    atomic_init(&self.ended, false);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, run_worker, &self))
            _exit(2);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    rayi_channel_free(self.channel);
    _exit(atomic_load(&into->failed) ? 3 : 0);
}

/* ---- the node ---- */

typedef struct node {
    rayi_channel *channel;
    int event_fd;
    int64_t deadline;
    pthread_mutex_t receiving;
    unsigned char *seen; /* how often each number has come back */
    atomic_uint received;
    atomic_bool stop;
    atomic_uint bad;
} node;

/* Receives all there is; false: nothing was there. */
static bool receive_all(node *self)
{
    rayi_received got;
    bool any = false;
    uint32_t number;
    pthread_mutex_lock(&self->receiving);
    int r;
    while ((r = rayi_channel_receive(self->channel, &got)) == 1) {
        any = true;
        memcpy(&number, got.data, sizeof number);
        if (number < MESSAGES && got.size >= sizeof number &&
            has_bytes((const char *)got.data + sizeof number, got.size - sizeof number, number))
            self->seen[number]++;
        else
            atomic_fetch_add(&self->bad, 1);
        atomic_fetch_add(&self->received, 1);
    }
    if (r < 0)
        atomic_fetch_add(&self->bad, 1);
    pthread_mutex_unlock(&self->receiving);
    return any;
}

/* Another thread of the node: now and then it polls for a while, and the loop is not told meanwhile. */
static void *run_poller(void *arg)
{
    node *self = arg;
    uint64_t random = 9, one = 1;
    while (!atomic_load(&self->stop)) {
        bool any = false;
        rayi_channel_poll_begin(self->channel);
        for (uint64_t looks = next_random(&random) % 200; looks > 0; looks--)
            if (rayi_channel_has_mail(self->channel))
                any |= receive_all(self);
        rayi_channel_poll_end(self->channel);
        any |= receive_all(self);
        if (any && write(self->event_fd, &one, sizeof one) != (ssize_t)sizeof one)
            atomic_fetch_add(&self->bad, 1);
        usleep((useconds_t)(next_random(&random) % 500));
    }
    return NULL;
}

/* Receives; if there is nothing, sleeps. False: deadline. */
static bool receive_or_sleep(node *self, uint64_t *sleeps)
{
    if (receive_all(self))
        return true;
    rayi_channel_arm(self->channel);
    if (receive_all(self))
        return true;
    ++*sleeps;
    return wait_event_fd(self->event_fd, self->deadline) && rayi_now_ns() < self->deadline;
}

static bool send_number(node *self, uint32_t type, uint32_t number)
{
    unsigned char body[200];
    size_t size = number % 3 ? 0 : number % sizeof body;
    fill_bytes(body, size, number);
    return rayi_channel_send(self->channel, type, &number, sizeof number, body, size);
}

/* Before anything is received: until both rings are full, so that both sides find no room. False: deadline. */
static bool stuff(node *self, const report *other, uint32_t *sent)
{
    while (rayi_now_ns() < self->deadline) {
        while (send_number(self, TYPE_ECHO, *sent))
            ++*sent;
        rayi_channel_wake_worker(self->channel);
        if (atomic_load(&other->waited_for_room) > 0) /* and we have found none for the next one, small as it may be */
            return true;
        usleep(200);
    }
    return false;
}

/* Keeps a changing number of messages on their way: one (each message is slept for), some, more than both rings hold.
 */
static bool exchange(node *self, uint32_t sent, uint64_t *sleeps)
{
    uint64_t random = 3;
    uint32_t window = 1, until = 0;
    while (atomic_load(&self->received) < MESSAGES) {
        bool full = false;
        if (sent >= until) {
            uint64_t dice = next_random(&random);
            window = dice % 4 == 0 ? 1 : dice % 4 == 1 ? 40000 : (uint32_t)(dice / 4 % 200) + 1;
            until = sent + (window == 1 ? 3000 : window == 40000 ? 30000 : 5000);
        }
        while (!full && sent < MESSAGES && sent - atomic_load(&self->received) < window) {
            full = !send_number(self, TYPE_ECHO, sent);
            sent += !full;
        }
        rayi_channel_wake_worker(self->channel);
        spin(next_random(&random) % 2000);
        if (!receive_or_sleep(self, sleeps))
            return false;
    }
    return true;
}

/* One way: the worker says nothing, and the node sleeps until it hears of room. */
static bool pour(node *self, uint32_t count, uint64_t *sleeps)
{
    for (uint32_t sent = 0; sent < count;) {
        if (send_number(self, TYPE_DROP, sent)) {
            sent++;
            continue;
        }
        rayi_channel_wake_worker(self->channel);
        while (!rayi_channel_wants_room(self->channel)) {
            ++*sleeps;
            if (!wait_event_fd(self->event_fd, self->deadline) || rayi_now_ns() >= self->deadline)
                return false;
        }
    }
    while (!send_number(self, TYPE_END, 0)) {
        rayi_channel_wake_worker(self->channel);
        while (!rayi_channel_wants_room(self->channel))
            if (!wait_event_fd(self->event_fd, self->deadline) || rayi_now_ns() >= self->deadline)
                return false;
    }
    rayi_channel_wake_worker(self->channel);
    return true;
}

Test(ring_exchange, a_million_messages_between_two_processes, .timeout = 150)
{
    node self = {.event_fd = make_event_fd()};
    uint64_t sleeps = 0, pour_sleeps = 0;
    uint32_t sent = 0;
    pthread_t poller;
    int status;
    report *into = mmap(NULL, sizeof *into, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK_OK(rayi_channel_new(rayi_heap, &self.channel));
    pid_t child = fork();
    if (child == 0)
        be_worker(dup(rayi_channel_fd(self.channel)), self.event_fd, into);
    self.seen = calloc(MESSAGES, 1);
    pthread_mutex_init(&self.receiving, NULL);
    atomic_init(&self.received, 0);
    int64_t start = rayi_now_ns();
    self.deadline = start + TIME_NS;
    bool done = stuff(&self, into, &sent);
    cr_assert(done, "both rings full: %u sent; the worker has received %u, slept %u times, failed %u times", sent,
              atomic_load(&into->received), atomic_load(&into->slept), atomic_load(&into->failed));
    cr_assert_eq(pthread_create(&poller, NULL, run_poller, &self), 0);
    done = exchange(&self, sent, &sleeps);
    int64_t middle = rayi_now_ns();
    atomic_store(&self.stop, true);
    pthread_join(poller, NULL);
    cr_assert(done, "%u of %u came back in time", atomic_load(&self.received), MESSAGES);
    done = pour(&self, MESSAGES / 4, &pour_sleeps);
    if (!done)
        kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(done, "the worker has received %u of %u", atomic_load(&into->received), MESSAGES + MESSAGES / 4 + 1);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the worker ended with %x", (unsigned)status);

    cr_log_info("%.2f s and %.2f s; node: %llu sleeps, %llu for room; worker: %u sleeps, %u for room",
                (double)(middle - start) / 1e9, (double)(rayi_now_ns() - middle) / 1e9, (unsigned long long)sleeps,
                (unsigned long long)pour_sleeps, atomic_load(&into->slept), atomic_load(&into->waited_for_room));
    cr_assert_eq(atomic_load(&self.bad), 0);
    for (uint32_t i = 0; i < MESSAGES; i++)
        cr_assert_eq(self.seen[i], 1, "message %u came back %d times", i, self.seen[i]);
    cr_assert_eq(atomic_load(&into->received), MESSAGES + MESSAGES / 4 + 1);
    cr_assert(sleeps > 0 && atomic_load(&into->slept) > 0, "both have slept");
    free(self.seen);
    munmap(into, sizeof *into);
    close(self.event_fd);
    rayi_channel_free(self.channel);
}
