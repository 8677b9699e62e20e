/* Those who connect and are no peers: silent, slow, noisy, many. Meanwhile an honest one gets in. */
#include "helper.h"

#include <sys/resource.h>
#include <sys/socket.h>

static rayi_key key;

static void open_all(void)
{
    open_loop();
    key = key_of(1);
}

#define STRANGER_TEST(name) TEST_AROUND(strangers, name, open_all, close_loop)

static link_host *make_one(uint32_t hello_ms, uint32_t max_strangers)
{
    return make_host(
        &(rayi_transport_options){.keys = &key, .num_keys = 1, .hello_ms = hello_ms, .max_strangers = max_strangers});
}

static void check_honest(link_host *host)
{
    rayi_transport *transport = make_transport(&key, 1);
    link_end near = {0}, *far;
    connect_ends(transport, host, &near, &far);
    CHECK_OK(rayi_link_send(near.link, 1, "x", 1));
    RUN_UNTIL(far->num_messages == 1);
    close_transport(transport);
}

STRANGER_TEST(say_nothing)
{
    link_host *host = make_one(200, 0);
    int fd = connect_raw(rayi_listener_address(host->listener));
    int64_t began = rayi_now_ms();
    cr_assert_eq(read_to_end(fd, NULL, 0), 0);
    cr_assert(host->num_strangers == 1 && host->stranger_why == RAYI_LINK_SILENT);
    cr_assert(rayi_now_ms() - began >= 190 && strstr(host->words, "took too long"), "%s", host->words);
    close(fd);
    check_honest(host);
    free_host(host);
}

/* A byte now and then does not win time. */
STRANGER_TEST(are_slow)
{
    link_host *host = make_one(200, 0);
    int fd = connect_raw(rayi_listener_address(host->listener));
    const char *words = "RAYL\x01\x00\x01\x00";
    int64_t began = rayi_now_ms();
    for (int i = 0; i < 100 && host->num_strangers == 0; i++) {
        send_raw(fd, words + RAYI_MIN(i, 7), 1);
        run_for(40);
    }
    cr_assert(host->num_strangers == 1 && host->stranger_why == RAYI_LINK_SILENT, "%s", host->words);
    cr_assert_leq(rayi_now_ms() - began, 2000);
    close(fd);
    check_honest(host);
    free_host(host);
}

STRANGER_TEST(go_again)
{
    link_host *host = make_one(0, 0);
    for (size_t size = 0; size < 64; size += 9) {
        int fd = connect_raw(rayi_listener_address(host->listener));
        send_raw(fd, "RAYL\x01\x00\x01\x00\x01", RAYI_MIN(size, 9));
        run_for(2);
        close(fd);
    }
    RUN_UNTIL(host->num_strangers == 8);
    cr_assert_eq(host->stranger_why, RAYI_LINK_PEER_CLOSED);
    check_honest(host);
    free_host(host);
}

/* Random bytes, lengths of 2^63 in either order, and much of it: closed at once, and what is held stays small. */
STRANGER_TEST(talk_rubbish)
{
    static uint8_t bytes[(1 << 20) + 64];
    link_host *host = make_one(0, 0);
    uint64_t random = 3;
    for (int i = 0; i < 60; i++) {
        size_t size = i % 3 == 0 ? 1 << 20 : next_random(&random) % 300 + 8, kept = 0;
        fill(bytes, sizeof bytes, next_random(&random));
        if (i % 4 == 1)
            memcpy(bytes, "\x80\0\0\0\0\0\0\0", 8), memcpy(bytes + 8, "\0\0\0\0\0\0\0\x80", 8);
        if (i % 4 >= 2) /* a right beginning */
            memcpy(bytes, "RAYL\x01\0\x01\0\x01\0\0\0\0\0\0\0", 16), size += 64, kept = 8;
        size_t before = heap_bytes;
        int fd = connect_raw(rayi_listener_address(host->listener));
        send_raw(fd, bytes, size);
        cr_assert_leq(heap_bytes - before, 4096);
        cr_assert_eq(read_to_end(fd, NULL, 0), kept);
        close(fd);
        RUN_UNTIL(host->num_strangers == i + 1 && rayi_listener_strangers(host->listener) == 0);
        cr_assert_eq(host->stranger_why, kept ? RAYI_LINK_AUTH : RAYI_LINK_CORRUPT);
    }
    cr_assert_eq(host->num_ends, 0);
    check_honest(host);
    free_host(host);
}

/* A refused peer that does not go is not waited for. */
STRANGER_TEST(stay_after_they_are_refused)
{
    static uint8_t bytes[1 << 16];
    link_host *host = make_one(0, 0);
    int fd = connect_raw(rayi_listener_address(host->listener));
    send_raw(fd, "RAYL\x09\0\0\0", 8);
    send_raw(fd, bytes, 8);
    RUN_UNTIL(host->num_strangers == 1);
    cr_assert_eq(host->stranger_why, RAYI_LINK_VERSION);
    for (int64_t until = rayi_now_ms() + 5000; rayi_listener_strangers(host->listener) && rayi_now_ms() < until;)
        send_raw(fd, bytes, 100);
    cr_assert_eq(rayi_listener_strangers(host->listener), 0);
    cr_assert_eq(host->num_strangers, 1);
    close(fd);
    free_host(host);
}

/* Whatever follows the handshake is a record, or the end. */
STRANGER_TEST(talk_rubbish_behind_a_handshake)
{
    static uint8_t bytes[70000];
    link_host *host = make_host(&(rayi_transport_options){.num_keys = 0});
    for (int i = 0; i < 20; i++) {
        int fd = connect_raw(rayi_listener_address(host->listener));
        fill(bytes, sizeof bytes, (uint64_t)i << 40 | 0xffffff);
        memcpy(bytes, "RAYL\x01\0\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0", 20);
        memcpy(bytes + 20, "\xff\xff\xff\xff\xff\x7f", 6); /* a record, and in it a message of 2 GiB */
        send_raw(fd, bytes, 20000);
        RUN_UNTIL(host->num_ends == (size_t)i + 1);
        send_raw(fd, bytes, sizeof bytes);
        RUN_UNTIL(host->ends[i].closed);
        cr_assert_eq(host->ends[i].why, RAYI_LINK_CORRUPT, "%s", host->ends[i].words);
        close(fd);
    }
    free_host(host);
}

/* ---- many ---- */

/* 500 that say nothing: never more than 64 are held, an honest one gets in among them, and all of them go. */
STRANGER_TEST(are_many)
{
    enum { MANY = 500 };
    static int fds[MANY];
    link_host *host = make_one(0, 64);
    size_t before = heap_bytes, most = 0, most_bytes = 0;
    for (int i = 0; i < MANY; i++) {
        fds[i] = connect_raw(rayi_listener_address(host->listener));
        if (i % 100 == 0)
            uv_run(&loop, UV_RUN_NOWAIT);
        most = RAYI_MAX(most, rayi_listener_strangers(host->listener));
        most_bytes = RAYI_MAX(most_bytes, heap_bytes - before);
    }
    check_honest(host);
    cr_assert(most <= 64 && most_bytes <= 64 * 4096, "%zu, %zu bytes", most, most_bytes);
    cr_assert(host->stranger_why == RAYI_LINK_SILENT && strstr(host->words, "others came"), "%s", host->words);
    for (int i = 0; i < MANY; i++)
        close(fds[i]);
    RUN_UNTIL(host->num_strangers == MANY);
    cr_assert_eq(rayi_listener_strangers(host->listener), 0);
    free_host(host);
}

enum { HONEST = 500 };

/* Until all are in, or one was driven out; the longest time for which the loop was away meanwhile. */
static int64_t get_in(const link_host *host, const link_end *ends)
{
    int64_t before = rayi_now_ms(), until = before + 30000, longest = 0;
    for (size_t opened = 0; opened < HONEST && host->num_strangers == 0 && before < until;) {
        uv_run(&loop, UV_RUN_ONCE);
        int64_t now = rayi_now_ms();
        longest = RAYI_MAX(longest, now - before);
        before = now;
        cr_assert_leq(rayi_listener_strangers(host->listener), 16);
        opened = 0;
        for (int i = 0; i < HONEST && host->num_strangers == 0; i++)
            opened += (size_t)is_open(&ends[i]);
    }
    return longest;
}

/* False: this thread was kept waiting for so long that one was late with its handshake, for all that its host knows. */
static bool all_get_in(void)
{
    static link_end ends[HONEST];
    link_host *host = make_one(0, 16);
    rayi_transport *transport = make_transport(&key, 1);
    memset(ends, 0, sizeof ends);
    for (int i = 0; i < HONEST; i++)
        CHECK_OK(rayi_link_dial(transport, rayi_listener_address(host->listener), NULL, 30000, &end_events, &ends[i],
                                &ends[i].link));
    int64_t longest = get_in(host, ends);
    bool are_in = host->num_strangers == 0;
    cr_assert(are_in || longest > 50, "%s; the loop was away for at most %d ms", host->words, (int)longest);
    if (are_in) {
        RUN_UNTIL(host->num_ends == HONEST);
        for (int i = 0; i < HONEST; i++)
            CHECK_OK(rayi_link_send(host->ends[i].link, 1, "welcome", 7));
        RUN_UNTIL(ends[HONEST - 1].num_messages == 1 && ends[0].num_messages == 1);
        cr_assert_eq(host->num_strangers, 0);
    }
    close_transport(transport);
    free_host(host);
    return are_in;
}

/* 500 honest ones at once: all get in, none is driven out by the others. Both ends are this one thread, so a moment
 * in which it does not run makes them slow: such a round says nothing. */
STRANGER_TEST(are_honest_and_many)
{
    int rounds = 1;
    while (!all_get_in())
        cr_assert_lt(rounds++, 20, "the machine is too busy");
}

/* Without descriptors it waits until there are some, and does not spin. */
STRANGER_TEST(come_when_descriptors_are_used_up)
{
    link_host *host = make_one(0, 0);
    int fd = connect_raw(rayi_listener_address(host->listener));
    struct rlimit before, none;
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    int64_t rounds = 0, until = rayi_now_ms() + 250;
    for (; rayi_now_ms() < until; rounds++)
        uv_run(&loop, UV_RUN_ONCE);
    setrlimit(RLIMIT_NOFILE, &before);
    cr_assert_leq(rounds, 150);
    cr_assert_eq(rayi_listener_strangers(host->listener), 0);
    RUN_UNTIL(rayi_listener_strangers(host->listener) == 1);
    close(fd);
    check_honest(host);
    free_host(host);
}

STRANGER_TEST(go_with_their_listener)
{
    link_host *host = make_one(0, 0);
    int fds[5];
    for (int i = 0; i < 5; i++)
        fds[i] = connect_raw(rayi_listener_address(host->listener));
    RUN_UNTIL(rayi_listener_strangers(host->listener) == 5);
    rayi_listener_close(host->listener);
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(read_to_end(fds[i], NULL, 0), 0);
        close(fds[i]);
    }
    cr_assert_eq(host->num_strangers, 0);
    free_host(host);
}
