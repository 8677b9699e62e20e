/* A cluster of processes in which something goes wrong: nodes that are killed, stopped or without a head, and what
 * cannot be a cluster at all. */
#include "nodes_common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int64_t patience(void)
{
    return (int64_t)15000 * check_slowness();
}

/* ---- a clock that is wrong ---- */

/* The wall clock of this program, and of the library in it, is off by so many seconds. */
int clock_gettime(clockid_t clock, struct timespec *out)
{
    const char *off = getenv("CHECK_CLOCK_OFF");
    int r = (int)syscall(SYS_clock_gettime, clock, out);
    if (r == 0 && off && clock == CLOCK_REALTIME)
        out->tv_sec += atoll(off);
    return r;
}

/* Children from now on have a monotonic clock that is ahead, as on a machine that was booted long before. False: this
 * system cannot. */
static bool shift_clock(int64_t ahead_s)
{
    if (unshare(CLONE_NEWTIME) < 0)
        return false;
    FILE *file = fopen("/proc/self/timens_offsets", "we");
    bool done =
        file && fprintf(file, "monotonic %lld 0\nboottime %lld 0\n", (long long)ahead_s, (long long)ahead_s) > 0;
    return file && fclose(file) == 0 && done;
}

static RAY_REMOTE(int64_t, clock_here)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}
static RAY_REMOTE(int64_t, date_here)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

/* Nodes never compare each other's clocks: spans go over links, and moments come back only to who has measured them.
 * So neither date nor uptime matters. */
static void clocks_a_day_off(void)
{
    enum { DAY_S = 86400 };
    CHECK(setenv("CHECK_CLOCK_OFF", "-86400", 1) == 0);
    node *head = node_head("CPU=0");
    CHECK(setenv("CHECK_CLOCK_OFF", "86400", 1) == 0);
    if (!shift_clock(DAY_S)) {
        nodes_stop();
        check_skip("no time namespace can be made here (not root, or an old kernel)");
    }
    node *worker = node_worker(head, "CPU=1");
    unsetenv("CHECK_CLOCK_OFF");
    nodes_join(head);
    int64_t date = 0, up = 0;
    ray_ref *ref = ray_remote(date_here), *other = ray_remote(clock_here);
    CHECK_OK(ray_get_timeout(ref, patience(), &date));
    CHECK_OK(ray_get_timeout(other, patience(), &up));
    CHECK(date - (int64_t)time(NULL) > DAY_S / 2 && up - check_now_ms() / 1000 > DAY_S / 2);
    ray_release(ref);
    ray_release(other);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 60000), own_pid), node_pid(worker));
    ray_ref *busy = ray_remote(pass_gate, 1), *late;
    CHECK_AWAIT(page()->started, 1);
    late = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 100), twice, 1);
    CHECK_REF(late, RAY_ERR_DEADLINE);
    check_sleep_ms(2500); /* leases are renewed meanwhile */
    nodes_await(3, RAY_NODE_ALIVE, patience());
    atomic_store(&page()->gate, 1);
    CHECK_REF_OK(busy);
    check_stop();
    nodes_stop();
}

/* ---- nodes that are killed ---- */

static RAY_REMOTE(int64_t, count_slowly, (int64_t, nth))
{
    atomic_fetch_add(&page()->runs[nth], 1);
    check_sleep_ms(1);
    return nth;
}

static void submit_slow(ray_waitset *set, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = -1), count_slowly, i);
        CHECK_OK(ray_waitset_add(set, ref, (void *)(uintptr_t)i));
        ray_release(ref);
    }
}

/* Takes one outcome, if it comes in time, and counts it. */
static bool take_one(ray_waitset *set, unsigned char *ended, int64_t timeout_ms)
{
    void *tag;
    int64_t got = -1;
    ray_ref *ref = ray_waitset_next(set, timeout_ms, &tag);
    if (!ref)
        return false;
    CHECK_OK(ray_get(ref, &got));
    CHECK_INT(got, (int64_t)(uintptr_t)tag);
    CHECK_INT(ended[got]++, 0);
    ray_release(ref);
    return true;
}

static void kills_at_random(void)
{
    enum { COUNT = 10000, WORKERS = 3 };
    static unsigned char ended[COUNT];
    unsigned seed = 0;
    size_t kills = 0, executions = 0;
    CHECK(getrandom(&seed, sizeof seed, 0) == sizeof seed);
    fprintf(stderr, "seed %u\n", seed);
    node *head = node_head("CPU=1"), *workers[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        workers[i] = node_worker(head, "CPU=2");
    nodes_join(head);
    nodes_await(2 + WORKERS, RAY_NODE_ALIVE, patience());
    ray_waitset *set = ray_waitset_new();
    submit_slow(set, COUNT);
    int64_t due = check_now_ms() + rand_r(&seed) % 100, end = check_now_ms() + 2 * patience();
    for (int64_t count = 0; count < COUNT;) {
        CHECK(check_now_ms() < end);
        if (take_one(set, ended, 20)) {
            count++;
            end = check_now_ms() + 2 * patience();
        }
        bool is_late = kills < 3 && count >= COUNT * (int64_t)(kills + 1) / 5; /* starts took long */
        if ((check_now_ms() < due && !is_late) || count == COUNT)
            continue;
        int which = rand_r(&seed) % WORKERS;
        node_kill(workers[which]);
        workers[which] = node_worker(head, "CPU=2");
        kills++;
        due = check_now_ms() + rand_r(&seed) % 200;
    }
    CHECK(!ray_waitset_next(set, 0, NULL));
    for (int i = 0; i < COUNT; i++) {
        CHECK(ended[i] == 1 && page()->runs[i] >= 1);
        executions += (size_t)page()->runs[i];
    }
    fprintf(stderr, "%zu kills, %zu executions of %d tasks\n", kills, executions, COUNT);
    CHECK(kills >= 3);
    ray_waitset_free(set);
    nodes_await_available("CPU", 1 + 2 * WORKERS);
    check_stop();
    nodes_stop();
}

/* ---- nodes that are stopped ---- */

static void stopped_for_3_s(void)
{
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=1, there=1");
    nodes_join(head);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    ray_ref *there = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "there=1"), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    int64_t begun = check_now_ms();
    node_pause(worker);
    atomic_store(&page()->gate, 1);
    nodes_await(1, RAY_NODE_SUSPECT, patience());
    for (int i = 0; i < 20; i++) /* the others go on */
        CHECK_REF_INT(ray_remote(own_pid), node_pid(head));
    CHECK_CODE(ray_get_timeout(there, 0, NULL), RAY_ERR_TIMEOUT);
    check_sleep_ms(3000 - (check_now_ms() - begun));
    node_resume(worker);
    CHECK_REF_INT(there, 1);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    CHECK_INT(page()->started, 1);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "there=1"), own_pid), node_pid(worker));
    nodes_allow_log("head.unreachable", ""); /* a stop of 4 s, on a slow machine, costs the link */
    check_stop();
    nodes_stop();
}

/* Runs once more where it is tried again; the first try comes to something when nobody wants it any more. */
static RAY_REMOTE(int64_t, say_where, (int64_t, nth))
{
    int64_t run = atomic_fetch_add(&page()->runs[nth], 1);
    if (run == 0) {
        atomic_fetch_add(&page()->started, 1);
        CHECK_AWAIT(page()->gate, 1);
    }
    return getpid();
}

/* Its death is due 10 s after its last word: that is now. */
static void hear_from(const node *n)
{
    char query[80];
    snprintf(query, sizeof query, "objects?node_id=%s", node_id(n));
    await_state(query, node_id(n));
}

static void stopped_for_12_s(void)
{
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=2, there=2");
    char first_id[40];
    nodes_join(head);
    nodes_await(3, RAY_NODE_ALIVE, patience());
    snprintf(first_id, sizeof first_id, "%s", node_id(worker));
    ray_ref *soft = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = first_id, .node_soft = true), say_where, 0);
    ray_ref *hard = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "there=1", .max_retries = RAY_NO_RETRIES),
                                    say_where, 1);
    CHECK_AWAIT(page()->started, 2);
    hear_from(worker);
    int64_t begun = check_now_ms();
    node_pause(worker);
    atomic_store(&page()->gate, 1);
    CHECK_CODE(ray_get_timeout(hard, 2 * patience(), NULL), RAY_ERR_NODE_DIED);
    CHECK_HAS(ray_last_error()->message, first_id);
    CHECK(check_now_ms() - begun >= 9000);
    CHECK(check_now_ms() - begun < 25000 * check_slowness()); /* 10 s in which the head was awake, in no long steps */
    ray_release(hard);
    CHECK_REF_INT(soft, node_pid(head));
    nodes_await(1, RAY_NODE_DEAD, patience());
    check_sleep_ms(12000 - (check_now_ms() - begun));
    node_resume(worker);
    node_expect_log(worker, "node.fenced", "joins anew", patience());
    nodes_await(3, RAY_NODE_ALIVE, patience());
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "there=2"), own_pid), node_pid(worker));
    CHECK_INT(page()->runs[0], 2);
    CHECK_INT(page()->runs[1], 1);
    nodes_await_available("CPU", 3);
    nodes_await_available("there", 2);
    nodes_allow_log("head.unreachable", "");
    check_stop();
    nodes_stop();
}

/* ---- without a head ---- */

/* What the last error says: "(tried for 9 s)". */
static int64_t tried_for_ms(void)
{
    long long span = 0;
    char unit[4] = "";
    const char *at = strstr(ray_last_error()->message, "(tried for ");
    CHECK(at && sscanf(at, "(tried for %lld %3[a-z])", &span, unit) == 2);
    CHECK(strcmp(unit, "ms") == 0 || strcmp(unit, "s") == 0);
    return unit[0] == 's' ? span * 1000 : span;
}

static void killed_head(void)
{
    const int64_t wait_ms = 6000 * check_slowness(); /* of the worker: what it is to do without a head ends before */
    node *head = node_head("CPU=0");
    node *worker = node_start(&(ray_config){
        .role = RAY_ROLE_WORKER, .address = node_address(head), .resources = "CPU=1", .head_wait_ms = wait_ms});
    char address[128];
    snprintf(address, sizeof address, "%s", node_address(head));
    nodes_join_as(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = address, .head_wait_ms = wait_ms * 3 / 2));
    CHECK_REF_INT(ray_remote(own_pid), node_pid(worker));
    ray_ref *waits = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "nobody_has_it=1"), own_pid);
    node_kill(head);
    for (int i = 0; i < 20; i++) /* what needs no head goes on without it */
        CHECK_REF_INT(ray_remote(own_pid), node_pid(worker));
    ray_ref *there = ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    node_expect_log(worker, "head.unreachable", address, patience());
    atomic_store(&page()->gate, 1);
    CHECK_REF_INT(there, 1);
    node_expect_log(worker, "cluster.left", "cannot reach head at", patience());
    node_await_end(worker, RAY_ERR_HEAD_UNREACHABLE, address, patience());
    check_expect_log("head.unreachable", "refused", patience());
    check_expect_log("cluster.left", address, patience());
    CHECK_CODE(ray_serve(), RAY_ERR_HEAD_UNREACHABLE);
    CHECK_INT(tried_for_ms() >= wait_ms * 3 / 2 && tried_for_ms() < wait_ms * 3 / 2 + patience(), true);
    CHECK_REF(waits, RAY_ERR_HEAD_UNREACHABLE);
    ray_ref *late = ray_remote(own_pid);
    CHECK_CODE(ray_get_timeout(late, patience(), NULL), RAY_ERR_HEAD_UNREACHABLE);
    CHECK_HAS(ray_last_error()->message, address);
    ray_release(late);
    CHECK(!ray_cluster_get());
    CHECK_INT(ray_last_error()->code, RAY_ERR_HEAD_UNREACHABLE);
    check_expect_log("head.unreachable", "refused", 0);   /* it was said more than once */
    check_allow_log("task.unplaceable", "nobody_has_it"); /* said after 10 s, if it came to that */
    check_stop();
    nodes_stop();
}

/* A head that ends in order says so: nobody waits for it to come back. */
static void head_ends(void)
{
    node *head = node_head("CPU=1"), *worker = node_worker(head, "CPU=1"), *driver = node_driver(head, "own_pid", 1);
    char words[192];
    ray_view view = {0};
    snprintf(words, sizeof words, "the head at %s has ended", node_address(head));
    nodes_join(head);
    nodes_await(4, RAY_NODE_ALIVE, patience());
    ray_ref *waits = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "nobody_has_it=1"), own_pid);
    ray_ref *there = ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node_id(worker)), pass_gate, 1);
    CHECK_AWAIT(page()->started, 1);
    int64_t begun = check_now_ms();
    node_stop(head);
    atomic_store(&page()->gate, 1);
    node_await_end(worker, 0, "", patience());
    node_await_end(driver, 0, "", patience());
    CHECK_OK(ray_serve());
    CHECK(check_now_ms() - begun < patience());
    CHECK_CODE(ray_get(waits, NULL), RAY_ERR_HEAD_UNREACHABLE);
    CHECK_HAS(ray_last_error()->message, words);
    CHECK_CODE(ray_get(there, NULL), RAY_ERR_HEAD_UNREACHABLE);
    CHECK_CODE(ray_kv_get("a", &view), RAY_ERR_HEAD_UNREACHABLE);
    CHECK_CODE(ray_kv_put("a", "b", 1, 0), RAY_ERR_HEAD_UNREACHABLE);
    CHECK(!ray_cluster_get());
    CHECK_HAS(ray_last_error()->message, words);
    ray_release(waits);
    ray_release(there);
    check_stop();
    nodes_stop();
}

/* Who does not listen holds it up for a moment only. */
static void head_ends_unheard(void)
{
    node *head = node_head("CPU=0"), *worker = node_worker(head, "CPU=1");
    node_pause(worker);
    int64_t begun = check_now_ms();
    node_stop(head);
    CHECK(check_now_ms() - begun < patience());
    node_kill(worker);
    nodes_stop();
}

/* The end does not wait for a seat that is being dialled again, whoever keeps the other end open. */
static void the_end_while_it_dials(void)
{
    node *head = node_head("CPU=0");
    nodes_join(head);
    node_pause(head);
    check_expect_log("head.unreachable", "silent", patience());
    check_sleep_ms(500);
    int64_t begun = check_now_ms();
    check_stop();
    CHECK(check_now_ms() - begun < 5000 * check_slowness());
    node_resume(head);
    nodes_stop();
}

/* ---- who cannot join ---- */

static void try_to_join(const char *address, int64_t timeout_ms, int code, const char *words)
{
    int64_t begun = check_now_ms();
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = address, .timeout_ms = timeout_ms)),
               code);
    CHECK_HAS(ray_last_error()->message, words);
    CHECK(check_now_ms() - begun < timeout_ms + patience());
    CHECK(!ray_is_initialized());
}

static void wrong_key(void)
{
    node *head = node_head("CPU=1");
    char *right = strdup(getenv("RAY_CLUSTER_KEY"));
    unsetenv("RAY_CLUSTER_KEY");
    CHECK(setenv("HOME", "/nowhere", 1) == 0);
    try_to_join(node_address(head), 20000, RAY_ERR_AUTH, "it wants a cluster key, and there is none here");
    nodes_make_key();
    int64_t begun = check_now_ms();
    try_to_join(node_address(head), 20000, RAY_ERR_AUTH, "key");
    CHECK(check_now_ms() - begun < 15000); /* well before the timeout */
    CHECK(setenv("RAY_CLUSTER_KEY", "ray-cluster-key-1:short", 1) == 0);
    try_to_join(node_address(head), 20000, RAY_ERR_ARGUMENT, "$RAY_CLUSTER_KEY");
    CHECK(setenv("RAY_CLUSTER_KEY", right, 1) == 0);
    free(right);
    nodes_join(head);
    CHECK_REF_INT(ray_remote(twice, 2), 4);
    check_stop();
    nodes_stop();
}

static int listen_at(int backlog, char address[64])
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&name, size) == 0 && listen(fd, backlog) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&name, &size) == 0);
    snprintf(address, 64, "127.0.0.1:%d", ntohs(name.sin_port));
    return fd;
}

static int connect_to(const char *address)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    name.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    CHECK(fd >= 0);
    CHECK(connect(fd, (struct sockaddr *)&name, sizeof name) == 0 || errno == EINPROGRESS);
    return fd;
}

static void addresses_without_a_head(void)
{
    enum { FILL = 8 };
    char address[64], here[96];
    int fills[FILL];
    nodes_make_key();
    int fd = listen_at(1, address);
    close(fd); /* nobody listens there any more */
    snprintf(here, sizeof here, "cannot reach head at %s", address);
    try_to_join(address, 2000 * check_slowness(), RAY_ERR_HEAD_UNREACHABLE, here);
    CHECK_HAS(ray_last_error()->message, "refused");
    check_allow_log("head.unreachable", here); /* said after 1 s */
    try_to_join("no-such-host.invalid:7001", 3000, RAY_ERR_HEAD_UNREACHABLE, "no-such-host.invalid:7001");
    check_allow_log("head.unreachable", "no-such-host.invalid:7001");
    fd = listen_at(16, address); /* takes connections, and is silent */
    try_to_join(address, 700, RAY_ERR_HEAD_UNREACHABLE, address);
    close(fd);
    fd = listen_at(0, address); /* takes none: what comes is dropped */
    for (int i = 0; i < FILL; i++)
        fills[i] = connect_to(address);
    try_to_join(address, 700, RAY_ERR_HEAD_UNREACHABLE, address);
    for (int i = 0; i < FILL; i++)
        close(fills[i]);
    close(fd);
    try_to_join("127.0.0.1", 700, RAY_ERR_ARGUMENT, "127.0.0.1");
    try_to_join("127.0.0.1:99999", 700, RAY_ERR_ARGUMENT, "99999");
}

static void addresses_of_heads(void)
{
    char address[64];
    nodes_make_key();
    int fd = listen_at(1, address);
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = address)), RAY_ERR_EXISTS);
    CHECK_HAS(ray_last_error()->message, address);
    CHECK_OK(ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = address, .any_port = true)));
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster && strcmp(cluster->nodes[0]->address, address) != 0);
    ray_cluster_free(cluster);
    check_stop();
    close(fd);
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "0.0.0.0:0", .no_key = true)),
               RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "key");
    CHECK_OK(ray_init(
        RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .no_key = true, .resources = "CPU=1")));
    CHECK_REF_INT(ray_remote(twice, 5), 10);
    check_stop();
    CHECK(ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_HEAD, .address = "203.0.113.9:7001")) < 0); /* not ours */
    CHECK_HAS(ray_last_error()->message, "203.0.113.9:7001");
}

/* Who finds no key joins a head that has none, and who has one may leave it out. */
static void without_a_key(void)
{
    CHECK(setenv("HOME", "/nowhere", 1) == 0);
    node *head = node_start(
        &(ray_config){.role = RAY_ROLE_HEAD, .address = "127.0.0.1:0", .no_key = true, .resources = "CPU=0"});
    node *worker = node_start(
        &(ray_config){.role = RAY_ROLE_WORKER, .address = node_address(head), .no_key = true, .resources = "CPU=1"});
    try_to_join(node_address(head), 20000, RAY_ERR_AUTH, "it runs without a cluster key, and there is one here");
    unsetenv("RAY_CLUSTER_KEY");
    CHECK_OK(ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_DRIVER, .address = node_address(head))));
    check_allow_log("head.unreachable", "it has not answered yet"); /* by a slow machine */
    check_allow_log("head.unreachable", "it does not answer");
    CHECK_REF_INT(ray_remote(own_pid), node_pid(worker));
    check_stop();
    nodes_stop();
}

/* ---- strangers ---- */

static void send_some(int fd, const void *bytes, size_t size)
{
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT); /* the other end may have had enough */
    (void)sent;
}

static void speak(int *fds, int count, int round)
{
    static const unsigned char long_size[8] = {0, 0, 0, 0, 0, 0, 0, 0x80};
    unsigned char noise[256];
    CHECK(getrandom(noise, sizeof noise, 0) == sizeof noise);
    for (int i = 0; i < count; i++)
        switch (i % 4) {
        case 0: /* says nothing */
            break;
        case 1:
            send_some(fds[i], &noise[round], 1);
            break;
        case 2:
            send_some(fds[i], noise, sizeof noise);
            break;
        case 3:
            send_some(fds[i], long_size, sizeof long_size);
            break;
        }
}

static void strangers(void)
{
    enum { AT_ONCE = 500, ROUNDS = 4 };
    static int fds[AT_ONCE];
    node *head = node_head("CPU=1");
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < AT_ONCE; i++)
            fds[i] = connect_to(node_address(head));
        speak(fds, AT_ONCE, round);
        int64_t begun = check_now_ms();
        nodes_join(head);
        fprintf(stderr, "joined in %lld ms\n", (long long)(check_now_ms() - begun));
        for (int i = 0; i < 50; i++) {
            CHECK_REF_INT(ray_remote(twice, i), 2 * i);
            speak(fds, AT_ONCE, i);
        }
        check_stop();
        for (int i = 0; i < AT_ONCE; i++)
            close(fds[i]);
    }
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(clocks_a_day_off), CHECK_TEST(kills_at_random), CHECK_TEST(stopped_for_3_s),
           CHECK_TEST(stopped_for_12_s), CHECK_TEST(killed_head), CHECK_TEST(the_end_while_it_dials),
           CHECK_TEST(head_ends), CHECK_TEST(head_ends_unheard), CHECK_TEST(wrong_key), CHECK_TEST(without_a_key),
           CHECK_TEST(addresses_without_a_head), CHECK_TEST(addresses_of_heads), CHECK_TEST(strangers))
