/* Links over real sockets: open, messages, ends, and all that dialling may meet. */
#include "helper.h"

#include <arpa/inet.h>
#include <sys/resource.h>

static rayi_key key;

static void open_all(void)
{
    open_loop();
    key = key_of(1);
}

#define LINK_TEST(name) TEST_AROUND(link, name, open_all, close_loop)

static link_host *make_one(bool sealed)
{
    return make_host(&(rayi_transport_options){.keys = &key, .num_keys = sealed});
}

LINK_TEST(carries_messages)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        link_host *host = make_one(sealed);
        rayi_transport *transport = make_transport(&key, (size_t)sealed);
        link_end near = {0}, *far;
        connect_ends(transport, host, &near, &far);
        far->echoes = true;
        CHECK_OK(rayi_link_send(near.link, 7, "hello", 5));
        RUN_UNTIL(near.num_messages == 1);
        cr_assert(near.last_type == 7 && near.last_size == 5 && memcmp(near.last, "hello", 5) == 0);
        cr_assert_eq(sealed, rayi_link_peer(near.link) != NULL);
        if (sealed) {
            cr_assert_arr_eq(rayi_link_peer(near.link), rayi_transport_identity(host->transport), 32);
            cr_assert_arr_eq(rayi_link_peer(far->link), rayi_transport_identity(transport), 32);
        }
        cr_assert_str_eq(rayi_link_address(near.link), rayi_listener_address(host->listener));
        cr_assert(strstr(rayi_link_address(far->link), "127.0.0.1:"));
        cr_assert(rayi_link_queued_bytes(near.link) == 0 && rayi_link_arg(near.link) == &near);
        close_transport(transport);
        RUN_UNTIL(far->closed);
        cr_assert_eq(far->why, RAYI_LINK_PEER_CLOSED);
        cr_assert(near.closed == 0 && host->num_strangers == 0);
        free_host(host);
    }
}

LINK_TEST(carries_messages_of_all_sizes)
{
    static const size_t sizes[] = {0, 1, 100, 65000, 65519, 65536, 1 << 20, (16 << 20) - 1, 16 << 20};
    uint8_t *bytes = malloc(16 << 20);
    for (int sealed = 0; sealed < 2; sealed++) {
        link_host *host = make_one(sealed);
        rayi_transport *transport = make_transport(&key, (size_t)sealed);
        link_end near = {.checks = true}, *far;
        connect_ends(transport, host, &near, &far);
        far->echoes = far->checks = true;
        for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
            fill(bytes, sizes[i], i);
            CHECK_OK(rayi_link_send(near.link, (uint32_t)i, bytes, sizes[i]));
            RUN_UNTIL(near.num_messages == i + 1);
            cr_assert(near.last_type == i && near.last_size == sizes[i]);
        }
        CHECK_FAILS(rayi_link_send(near.link, 1, bytes, (16 << 20) + 1), RAY_ERR_LIMIT);
        CHECK_FAILS(rayi_link_send_parts(near.link, 1, (struct iovec[]){{bytes, 9}, {bytes, SIZE_MAX - 4}}, 2),
                    RAY_ERR_LIMIT);
        CHECK_OK(rayi_link_send(near.link, 0, NULL, 0));
        RUN_UNTIL(near.num_messages == RAYI_COUNT_OF(sizes) + 1);
        close_transport(transport);
        free_host(host);
    }
    free(bytes);
}

/* A small limit of one's own binds the other, whatever it may accept itself. */
LINK_TEST(limits_are_told)
{
    link_host *host = make_host(&(rayi_transport_options){.keys = &key, .num_keys = 1, .message_bytes = 1000});
    rayi_transport *transport = make_transport(&key, 1);
    uint8_t bytes[2000] = {0};
    link_end near = {0}, *far;
    connect_ends(transport, host, &near, &far);
    CHECK_OK(rayi_link_send(near.link, 1, bytes, 1000));
    CHECK_FAILS(rayi_link_send(near.link, 2, bytes, 1001), RAY_ERR_LIMIT);
    CHECK_WORDS("more than 1000 bytes");
    CHECK_OK(rayi_link_send(far->link, 3, bytes, 2000));
    RUN_UNTIL(far->num_messages == 1 && near.num_messages == 1);
    near.link->peer_limit = 5000; /* one that lies is cut off */
    CHECK_OK(rayi_link_send(near.link, 2, bytes, 1001));
    RUN_UNTIL(far->closed && near.closed);
    cr_assert(far->why == RAYI_LINK_CORRUPT && far->code == RAY_ERR_CORRUPT && far->num_messages == 1);
    cr_assert_eq(near.why, RAYI_LINK_PEER_CLOSED);
    close_transport(transport);
    free_host(host);
}

/* ---- keys ---- */

static link_end refused(const rayi_key *keys, size_t num_keys, link_host *host)
{
    rayi_transport *transport = make_transport(keys, num_keys);
    link_end near = {0};
    int before = host->num_strangers;
    dial(transport, rayi_listener_address(host->listener), &near);
    RUN_UNTIL(near.closed && host->num_strangers == before + 1 && rayi_listener_strangers(host->listener) == 0);
    cr_assert(near.opened == 0 && host->num_ends == 0);
    close_transport(transport);
    return near;
}

LINK_TEST(wrong_and_missing_keys)
{
    rayi_key other = key_of(2), liar = key_of(2);
    liar.id[0] = 1;
    link_host *host = make_one(true);
    link_end near = refused(&other, 1, host);
    cr_assert(near.why == RAYI_LINK_AUTH && near.code == RAY_ERR_AUTH);
    cr_assert(strstr(near.words, "cannot reach peer at 127.0.0.1:") && strstr(near.words, "another cluster key"), "%s",
              near.words);
    cr_assert(host->stranger_why == RAYI_LINK_AUTH && strstr(host->words, "a stranger from 127.0.0.1:"), "%s",
              host->words);
    near = refused(&liar, 1, host);
    cr_assert_eq(near.why, RAYI_LINK_AUTH);
    near = refused(NULL, 0, host);
    cr_assert(near.why == RAYI_LINK_AUTH && strstr(near.words, "it wants a cluster key"), "%s", near.words);
    free_host(host);
    host = make_one(false);
    near = refused(&key, 1, host);
    cr_assert(near.why == RAYI_LINK_AUTH && strstr(near.words, "it runs without a cluster key"), "%s", near.words);
    free_host(host);
}

LINK_TEST(change_of_keys)
{
    rayi_key keys[] = {key_of(1), key_of(2)};
    link_host *host = make_host(&(rayi_transport_options){.keys = &keys[0], .num_keys = 1});
    rayi_transport *transport = make_transport(&keys[1], 1);
    link_end before = {0}, after = {0}, *far;
    dial(transport, rayi_listener_address(host->listener), &before);
    RUN_UNTIL(before.closed);
    cr_assert_eq(before.why, RAYI_LINK_AUTH);
    CHECK_OK(rayi_transport_set_keys(host->transport, keys, 2));
    connect_ends(transport, host, &after, &far);
    CHECK_OK(rayi_transport_set_keys(host->transport, &keys[1], 1));
    CHECK_FAILS(rayi_transport_set_keys(host->transport, NULL, 0), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_transport_set_keys(host->transport, keys, 3), RAY_ERR_ARGUMENT);
    CHECK_OK(rayi_link_send(after.link, 1, "x", 1)); /* an open link stays */
    RUN_UNTIL(far->num_messages == 1);
    close_transport(transport);
    free_host(host);
}

LINK_TEST(no_key_beyond_loopback)
{
    static const char *const far_ones[] = {"0.0.0.0:0", "[::]:0", "192.0.2.1:80", "[2001:db8::1]:80", "10.0.0.1:1"};
    rayi_transport *transport = make_transport(NULL, 0);
    rayi_listener *listener;
    rayi_link *link;
    for (size_t i = 0; i < RAYI_COUNT_OF(far_ones); i++) {
        CHECK_FAILS(
            rayi_listener_open(transport, far_ones[i], &(rayi_listener_options){.events = &end_events}, &listener),
            RAY_ERR_ARGUMENT);
        CHECK_WORDS("without a cluster key");
        if (i >= 2)
            CHECK_FAILS(rayi_link_dial(transport, far_ones[i], NULL, 1000, &end_events, NULL, &link), RAY_ERR_ARGUMENT);
    }
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    inet_pton(AF_INET, "127.8.9.1", &v4.sin_addr);
    cr_assert(rayi_address_is_loopback((struct sockaddr *)&v4));
    inet_pton(AF_INET, "128.0.0.1", &v4.sin_addr);
    cr_assert_not(rayi_address_is_loopback((struct sockaddr *)&v4));
    inet_pton(AF_INET6, "::1", &v6.sin6_addr);
    cr_assert(rayi_address_is_loopback((struct sockaddr *)&v6));
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6.sin6_addr);
    cr_assert(rayi_address_is_loopback((struct sockaddr *)&v6));
    inet_pton(AF_INET6, "::ffff:1.2.3.4", &v6.sin6_addr);
    cr_assert_not(rayi_address_is_loopback((struct sockaddr *)&v6));
    close_transport(transport);
}

/* ---- addresses ---- */

LINK_TEST(malformed_addresses)
{
    static const char *const bad[] = {"",     "x",      ":1",    "127.0.0.1", "127.0.0.1:", "a:b",
                                      "::1",  "[]:1",   "[::1]", "[::1]:x",   "x:65536",    "x:-1",
                                      "x: 1", "::1:80", "x:1 ",  "x:000001",  "[::1:1"};
    rayi_transport *transport = make_transport(&key, 1);
    rayi_listener *listener;
    rayi_link *link;
    char long_one[400];
    memset(long_one, 'x', sizeof long_one);
    strcpy(long_one + 396, ":1");
    for (size_t i = 0; i < RAYI_COUNT_OF(bad) + 1; i++) {
        const char *address = i < RAYI_COUNT_OF(bad) ? bad[i] : long_one;
        CHECK_FAILS(rayi_link_dial(transport, address, NULL, 1000, &end_events, NULL, &link), RAY_ERR_ARGUMENT);
        CHECK_WORDS("expected an address HOST:PORT");
        CHECK_FAILS(rayi_listener_open(transport, address, &(rayi_listener_options){.events = &end_events}, &listener),
                    RAY_ERR_ARGUMENT);
    }
    CHECK_FAILS(rayi_link_dial(transport, "127.0.0.1:0", NULL, 1000, &end_events, NULL, &link), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_listener_open(transport, "no-such-host.invalid:0", &(rayi_listener_options){.events = &end_events},
                                   &listener),
                RAY_ERR_NOT_FOUND);
    close_transport(transport);
}

LINK_TEST(listens_at_names_and_ipv6)
{
    static const char *const addresses[] = {"localhost:0", "[::1]:0", "127.0.0.1:0", "0.0.0.0:0"};
    link_host host = {0};
    rayi_transport *transport = make_transport(&key, 1);
    for (size_t i = 0; i < RAYI_COUNT_OF(addresses); i++) {
        rayi_listener *listener;
        int r = rayi_listener_open(transport, addresses[i],
                                   &(rayi_listener_options){.events = &end_events, .arg = &host}, &listener);
        if (i == 1 && r < 0)
            continue; /* a machine without IPv6 */
        cr_assert_eq(r, 0, "%s", rayi_error_last_public()->message);
        cr_assert_neq(atoi(strrchr(rayi_listener_address(listener), ':') + 1), 0);
        CHECK_FAILS(rayi_listener_open(transport, rayi_listener_address(listener),
                                       &(rayi_listener_options){.events = &end_events}, &(rayi_listener *){0}),
                    RAY_ERR_EXISTS);
        CHECK_WORDS("ddress already in use");
        rayi_listener_close(listener);
    }
    close_transport(transport);
}

LINK_TEST(dials_names)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    char address[64];
    link_end near = {0};
    snprintf(address, sizeof address, "localhost:%s", strrchr(rayi_listener_address(host->listener), ':') + 1);
    dial(transport, address, &near);
    RUN_UNTIL(is_open(&near));
    close_transport(transport);
    free_host(host);
}

/* ---- dialling ---- */

/* For how long it tried, as its words have it, in milliseconds. */
static double tried_ms(const link_end *end)
{
    static const char before[] = "(tried for ";
    const char *at = strstr(end->words, before);
    char *after;
    cr_assert(at, "%s", end->words);
    double span = strtod(at + strlen(before), &after);
    cr_assert(strcmp(after, " s)") == 0, "%s", end->words);
    return span * 1e3;
}

/* The words have one digit behind the point, and the loop may be late. */
static void check_tried(const link_end *end, int64_t least_ms, int64_t began_ms)
{
    double tried = tried_ms(end);
    cr_assert(tried >= (double)least_ms && tried <= (double)(rayi_now_ms() - began_ms) + 51, "%s", end->words);
}

LINK_TEST(dials_a_port_where_nobody_listens)
{
    rayi_transport *transport = make_transport(&key, 1);
    char address[64];
    link_end near = {0};
    close(listen_raw(address));
    int64_t began = rayi_now_ms();
    CHECK_OK(rayi_link_dial(transport, address, "head", 60000, &end_events, &near, &near.link));
    RUN_UNTIL(near.closed); /* long before its time is over */
    cr_assert(near.why == RAYI_LINK_REFUSED && near.code == RAY_ERR_HEAD_UNREACHABLE);
    cr_assert(strstr(near.words, "cannot reach head at 127.0.0.1:") && strstr(near.words, "connection refused"), "%s",
              near.words);
    check_tried(&near, 0, began);
    close_transport(transport);
}

LINK_TEST(dials_a_host_that_does_not_exist)
{
    rayi_transport *transport = make_transport(&key, 1);
    link_end near = {0};
    dial(transport, "no-such-host.invalid:80", &near);
    RUN_UNTIL(near.closed);
    cr_assert(near.why == RAYI_LINK_UNKNOWN_HOST || near.why == RAYI_LINK_SILENT);
    cr_assert_eq(near.code, RAY_ERR_HEAD_UNREACHABLE);
    close_transport(transport);
}

/* Its queue is full, so it swallows packets. */
LINK_TEST(dials_somebody_silent)
{
    rayi_transport *transport = make_transport(&key, 1);
    char address[64];
    int fds[64], listening = listen_raw(address);
    cr_assert_eq(listen(listening, 0), 0);
    for (int i = 0; i < 4; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
        to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
        (void)!connect(fds[i], (struct sockaddr *)&to, sizeof to);
    }
    link_end near = {0};
    int64_t began = rayi_now_ms();
    CHECK_OK(rayi_link_dial(transport, address, NULL, 300, &end_events, &near, &near.link));
    RUN_UNTIL(near.closed);
    cr_assert(near.why == RAYI_LINK_SILENT && near.code == RAY_ERR_HEAD_UNREACHABLE);
    cr_assert(strstr(near.words, "no answer (tried for "), "%s", near.words);
    check_tried(&near, 300, began);
    cr_assert_geq(rayi_now_ms() - began, 290);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    close(listening);
    close_transport(transport);
}

/* It accepts, and says nothing; or something else. */
LINK_TEST(dials_somebody_else)
{
    static const char *const answers[] = {"HTTP/1.1 400 Bad Request\r\n\r\n", "RAYL\x09\x00\x00\x00", NULL, ""};
    static const rayi_link_why whys[] = {RAYI_LINK_CORRUPT, RAYI_LINK_VERSION, RAYI_LINK_SILENT, RAYI_LINK_PEER_CLOSED};
    for (size_t i = 0; i < RAYI_COUNT_OF(answers); i++) {
        rayi_transport *transport = make_transport(&key, 1);
        char address[64];
        int listening = listen_raw(address);
        link_end near = {0};
        int64_t span_ms = answers[i] ? 20000 : 300; /* what it says is to come in time on a busy machine, too */
        CHECK_OK(rayi_link_dial(transport, address, NULL, span_ms, &end_events, &near, &near.link));
        run_for(20);
        int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (answers[i] && *answers[i])
            send_raw(fd, answers[i], i == 1 ? 8 : strlen(answers[i]));
        else if (answers[i])
            close(fd);
        RUN_UNTIL(near.closed);
        cr_assert_eq(near.why, whys[i], "%zu: %d %s", i, (int)near.why, near.words);
        if (!answers[i] || *answers[i])
            close(fd);
        close(listening);
        close_transport(transport);
    }
}

/* A dial that is given up in each of its moments leaves nothing behind; close_loop looks. */
LINK_TEST(dials_are_given_up)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    for (int rounds = 0; rounds < 8; rounds++)
        for (int named = 0; named < 2; named++) {
            link_end near = {0};
            char address[64];
            snprintf(address, sizeof address, "%s:%s", named ? "localhost" : "127.0.0.1",
                     strrchr(rayi_listener_address(host->listener), ':') + 1);
            dial(transport, address, &near);
            for (int i = 0; i < rounds && near.closed == 0; i++)
                uv_run(&loop, UV_RUN_NOWAIT);
            rayi_link_close(near.link);
            run_for(2);
            cr_assert_eq(near.closed, 0);
        }
    RUN_UNTIL(rayi_listener_strangers(host->listener) == 0);
    close_transport(transport);
    free_host(host);
}

/* ---- ends ---- */

static void close_at_message(link_end *end, const void *bytes, size_t size)
{
    (void)bytes;
    if (size == 5)
        rayi_link_close(end->link);
    else
        rayi_link_finish(end->link);
}

/* In the midst of several that came at once: no further message, and no further callback. */
LINK_TEST(closes_in_a_callback)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    for (size_t size = 5; size < 7; size++) {
        link_end near = {0}, *far;
        connect_ends(transport, host, &near, &far);
        far->on_message = close_at_message;
        for (int i = 0; i < 10; i++)
            CHECK_OK(rayi_link_send(near.link, 1, "abcdef", size));
        RUN_UNTIL(near.closed);
        cr_assert_eq(near.why, RAYI_LINK_PEER_CLOSED);
        run_for(10);
        cr_assert_eq(far->num_messages, 1);
        cr_assert_eq(far->closed, size == 5 ? 0 : 1);
        if (size > 5)
            cr_assert_eq(far->why, RAYI_LINK_ENDED);
    }
    close_transport(transport);
    free_host(host);
}

static void close_transport_at_message(link_end *end, const void *bytes, size_t size)
{
    (void)bytes;
    (void)size;
    rayi_transport_close(end->link->transport, NULL, NULL);
}

LINK_TEST(closes_everything_in_a_callback)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    link_end near[3] = {{0}}, *far;
    for (int i = 0; i < 3; i++)
        connect_ends(transport, host, &near[i], &far);
    far->on_message = close_transport_at_message;
    CHECK_OK(rayi_link_send(near[2].link, 1, "x", 1));
    RUN_UNTIL(near[0].closed && near[1].closed && near[2].closed);
    close_transport(transport);
    free(host);
}

/* All of 20 MiB arrives, and then the end. */
LINK_TEST(finishes)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    uint8_t *bytes = malloc(1 << 20);
    link_end near = {0}, *far;
    connect_ends(transport, host, &near, &far);
    far->checks = true;
    fill(bytes, 1 << 20, 4);
    for (int i = 0; i < 20; i++)
        CHECK_OK(rayi_link_send(near.link, 4, bytes, 1 << 20));
    CHECK_OK(rayi_link_send(far->link, 1, "too late", 8));
    rayi_link_finish(near.link);
    CHECK_FAILS(rayi_link_send(near.link, 1, "x", 1), RAY_ERR_NOT_HERE);
    RUN_UNTIL(near.closed && far->closed);
    cr_assert(near.why == RAYI_LINK_ENDED && far->why == RAYI_LINK_PEER_CLOSED);
    cr_assert(far->num_messages == 20 && near.num_messages == 0);
    free(bytes);
    close_transport(transport);
    free_host(host);
}

/* Its end is told if it was open. */
LINK_TEST(finishes_before_it_is_open)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    for (int rounds = 0; rounds < 8; rounds++) {
        link_end near = {0};
        dial(transport, rayi_listener_address(host->listener), &near);
        for (int i = 0; i < rounds && !near.opened; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        bool is_told = rayi_link_finish(near.link);
        cr_assert_eq(is_told, near.opened > 0);
        if (is_told)
            RUN_UNTIL(near.closed);
        run_for(5);
        cr_assert_eq(near.closed, is_told);
    }
    close_transport(transport);
    free_host(host);
}

/* The peer's last words are read although writing to it fails already. */
LINK_TEST(reads_last_words)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    uint8_t bytes[1000] = {0};
    link_end near = {0}, *far;
    connect_ends(transport, host, &near, &far);
    CHECK_OK(rayi_link_send(far->link, 9, "go away", 7));
    rayi_link_finish(far->link);
    for (int i = 0; i < 100 && !near.closed; i++) {
        if (near.link)
            CHECK_OK(rayi_link_send(near.link, 1, bytes, sizeof bytes));
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    RUN_UNTIL(near.closed && far->closed);
    cr_assert(near.num_messages == 1 && near.last_type == 9);
    close_transport(transport);
    free_host(host);
}

LINK_TEST(peers_that_reset)
{
    link_host *host = make_one(false);
    struct linger none = {1, 0};
    int fd = connect_raw(rayi_listener_address(host->listener));
    send_raw(fd, "RAYL\x01\0\0\0\0\0\0\0\0\0\0\0\xff\0\0\0", 20);
    RUN_UNTIL(host->num_ends == 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close(fd);
    RUN_UNTIL(host->ends[0].closed);
    cr_assert_eq(host->ends[0].why, RAYI_LINK_PEER_CLOSED);
    free_host(host);
}

LINK_TEST(reconnects)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    for (int i = 0; i < 100; i++) {
        link_end near = {0}, *far;
        connect_ends(transport, host, &near, &far);
        CHECK_OK(rayi_link_send(i % 2 ? near.link : far->link, 1, "x", 1));
        RUN_UNTIL(near.num_messages + far->num_messages == 1);
        rayi_link_close(i % 4 < 2 ? near.link : far->link);
        RUN_UNTIL(near.closed + far->closed == 1);
    }
    cr_assert_null(host->transport->links);
    close_transport(transport);
    free_host(host);
}

/* At each allocation: an error or a closed link, and nothing left behind. */
LINK_TEST(out_of_memory)
{
    for (long nth = 1; nth < 60; nth++) {
        link_host *host = make_one(true);
        rayi_transport *transport = make_transport(&key, 1);
        static uint8_t bytes[200000];
        link_end near = {0};
        heap_fails_in = nth;
        int r =
            rayi_link_dial(transport, rayi_listener_address(host->listener), NULL, 200, &end_events, &near, &near.link);
        for (int i = 0; i < 20 && r == 0; i++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            if (near.opened && near.link)
                (void)rayi_link_send(near.link, 1, bytes, sizeof bytes);
        }
        bool done = heap_fails_in > 1;
        heap_fails_in = 0;
        close_transport(transport);
        free_host(host);
        if (done)
            return;
    }
}

/* Each message is the receiver's, if it wants it. */
static void *taken[3];

static void take(link_end *end, const void *bytes, size_t size)
{
    taken[end->num_messages - 1] = rayi_link_take(end->link);
    (void)bytes;
    (void)size;
}

LINK_TEST(gives_messages_away)
{
    link_host *host = make_one(true);
    rayi_transport *transport = make_transport(&key, 1);
    static const size_t sizes[3] = {3, 300000, 3 << 20};
    uint8_t *bytes = malloc(3 << 20);
    link_end near = {0}, *far;
    connect_ends(transport, host, &near, &far);
    far->on_message = take;
    for (uint32_t i = 0; i < 3; i++) {
        fill(bytes, sizes[i], i);
        CHECK_OK(rayi_link_send(near.link, i, bytes, sizes[i]));
    }
    RUN_UNTIL(far->num_messages == 3);
    close_transport(transport);
    free_host(host);
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert(is_filled(taken[i], sizes[i], i));
        rayi_free(taken[i]);
    }
    free(bytes);
}
