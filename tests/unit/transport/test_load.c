/* Links under load, and with somebody in the middle who listens, or changes what goes by. */
#include "helper.h"

#include <sys/socket.h>

static rayi_key key;

static void open_all(void)
{
    open_loop();
    key = key_of(1);
}

#define LOAD_TEST(name) TEST_AROUND(link_load, name, open_all, close_loop)

enum { MOST = 300000, STREAM = SANITIZED ? 300 : 1500 };

/* ---- both directions ---- */

static size_t random_size(uint64_t *random)
{
    uint64_t chance = next_random(random);
    return chance % 8 < 5 ? (chance >> 8) % 200 : chance % 8 < 7 ? (chance >> 8) % 5000 : (chance >> 8) % MOST;
}

static void check_load(const rayi_transport_options *options)
{
    link_host *host = make_host(options);
    rayi_transport *transport;
    uint8_t *bytes = malloc(MOST);
    uint64_t random = 7;
    size_t sent[2] = {0};
    link_end near = {.checks = true}, *far;
    CHECK_OK(rayi_transport_open(&loop, options, &transport));
    connect_ends(transport, host, &near, &far);
    far->checks = true;
    for (uint32_t i = 0; i < STREAM; i++) {
        link_end *from = next_random(&random) % 2 ? &near : far;
        size_t size = random_size(&random);
        fill(bytes, size, i);
        CHECK_OK(rayi_link_send(from->link, i, bytes, size));
        sent[from == &near] += size;
        if (next_random(&random) % 4 == 0)
            uv_run(&loop, UV_RUN_NOWAIT);
    }
    RUN_UNTIL(near.num_messages + far->num_messages == STREAM);
    cr_assert(near.num_bytes == sent[0] && far->num_bytes == sent[1]);
    cr_assert(rayi_link_queued_bytes(near.link) == 0 && rayi_link_queued_bytes(far->link) == 0);
    free(bytes);
    close_transport(transport);
    free_host(host);
}

LOAD_TEST(both_directions)
{
    check_load(&(rayi_transport_options){.keys = &key, .num_keys = 1});
    check_load(&(rayi_transport_options){.num_keys = 0});
}

/* New keys every few records. */
LOAD_TEST(with_new_keys)
{
    check_load(&(rayi_transport_options){.keys = &key, .num_keys = 1, .rekey_records = 3});
    check_load(&(rayi_transport_options){.keys = &key, .num_keys = 1, .rekey_ms = 1});
}

/* ---- the queue ---- */

LOAD_TEST(queues_and_drains)
{
    rayi_transport_options options = {.keys = &key, .num_keys = 1, .drain_bytes = 100000};
    link_host *host = make_host(&options);
    rayi_transport *transport;
    static uint8_t bytes[60000];
    char address[64];
    link_end near = {0};
    CHECK_OK(rayi_transport_open(&loop, &options, &transport));
    int listening = listen_raw(address), server = connect_raw(rayi_listener_address(host->listener));
    dial(transport, address, &near);
    run_for(20);
    int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    /* in the middle, until it is open, and then deaf for a while */
    while (near.opened == 0) {
        char some[256];
        ssize_t size = recv(client, some, sizeof some, MSG_DONTWAIT);
        if (size > 0)
            send_raw(server, some, (size_t)size);
        size = recv(server, some, sizeof some, MSG_DONTWAIT);
        if (size > 0)
            send_raw(client, some, (size_t)size);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    CHECK_OK(rayi_link_send(near.link, 1, bytes, sizeof bytes));
    cr_assert_geq(rayi_link_queued_bytes(near.link), 60000);
    run_for(20);
    cr_assert(rayi_link_queued_bytes(near.link) == 0 && near.drained == 0);
    while (rayi_link_queued_bytes(near.link) < 2000000) {
        CHECK_OK(rayi_link_send(near.link, 1, bytes, sizeof bytes));
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    cr_assert_eq(near.drained, 0);
    while (near.drained == 0) {
        static char some[100000];
        (void)!recv(client, some, sizeof some, MSG_DONTWAIT);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    cr_assert_lt(rayi_link_queued_bytes(near.link), 100000);
    run_for(20);
    cr_assert_eq(near.drained, 1);
    close(client);
    close(server);
    close(listening);
    close_transport(transport);
    free_host(host);
}

/* ---- without copies ---- */

enum { LOANS = 20, LOAN = 700000 };

static uint8_t *loan, *place;
static size_t num_returned, num_left;

static void *give_place(rayi_link *link, void *arg, uint32_t type, size_t size)
{
    (void)link;
    (void)arg;
    cr_assert_leq(size, LOAN);
    return type == 1 ? place : NULL;
}

static void on_placed(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size)
{
    (void)link;
    size_t *came = arg;
    cr_assert(is_filled(bytes, size, 5 + *came * 0x9e3779b97f4a7c15));
    cr_assert_eq(bytes == place, type == 1 && size > 0);
    memset(place, 0, LOAN);
    ++*came;
}

static void on_returned(rayi_link *link, void *arg, const void *bytes)
{
    (void)link;
    (void)arg;
    cr_assert_eq(bytes, loan + 8 * num_returned);
    num_returned++;
    num_left--;
}

/* Messages that are lent go into the memory that the other end names for them. */
static void check_loans(bool sealed)
{
    static const rayi_link_events sender = {.on_returned = on_returned},
                                  receiver = {.on_body = give_place, .on_message = on_placed};
    rayi_transport *to = make_transport(&key, sealed), *from = make_transport(&key, sealed);
    size_t came = 0;
    rayi_listener *listener;
    rayi_link *link;
    loan = malloc(LOAN);
    place = calloc(1, LOAN);
    fill(loan, LOAN, 5);
    CHECK_OK(
        rayi_listener_open(to, "127.0.0.1:0", &(rayi_listener_options){.events = &receiver, .arg = &came}, &listener));
    CHECK_OK(rayi_link_dial(from, rayi_listener_address(listener), NULL, 5000, &sender, NULL, &link));
    CHECK_FAILS(rayi_link_lend(link, 1, loan, 1), RAY_ERR_NOT_HERE);
    RUN_UNTIL(link->state == RAYI_LINK_OPEN);
    num_returned = num_left = 0;
    for (size_t i = 0; i < LOANS; i++) {
        size_t size = i == 7 ? 0 : LOAN - 8 * LOANS;
        CHECK_OK(rayi_link_lend(link, i % 3 != 0, loan + 8 * i, size));
        cr_assert_eq(num_returned, 0); /* never from inside a call */
        num_left++;
    }
    CHECK_FAILS(rayi_link_lend(link, 1, loan, (16 << 20) + 1), RAY_ERR_LIMIT);
    RUN_UNTIL(num_returned == LOANS && came == LOANS);
    cr_assert(num_left == 0 && rayi_link_queued_bytes(link) == 0);
    num_returned = 0;
    CHECK_OK(rayi_link_lend(link, 1, loan + 8 * LOANS, LOAN - 8 * LOANS)); /* all is the caller's again with the end */
    close_transport(from);
    cr_assert_eq(num_returned, 0);
    close_transport(to);
    free(place);
    free(loan);
}

LOAD_TEST(loans_and_places)
{
    check_loans(true);
    check_loans(false);
}

/* ---- somebody in the middle ---- */

typedef struct middleman {
    int listening, client, server;
    char address[64];
    uint8_t seen[2][1 << 20];
    size_t num_seen[2]; /* 0: from the client */
    size_t flip_at;     /* of what the client says; SIZE_MAX: none */
    bool repeats, cut;
} middleman;

static middleman *make_middle(const link_host *host)
{
    middleman *middle = calloc(1, sizeof *middle);
    middle->flip_at = SIZE_MAX;
    middle->client = -1;
    middle->listening = listen_raw(middle->address);
    middle->server = connect_raw(rayi_listener_address(host->listener));
    return middle;
}

static void pass(middleman *middle, int side, int from, int to)
{
    uint8_t some[8192];
    ssize_t size = recv(from, some, sizeof some, MSG_DONTWAIT);
    if (size == 0 && !middle->cut)
        shutdown(to, SHUT_WR);
    middle->cut |= size == 0;
    if (size <= 0)
        return;
    size_t before = middle->num_seen[side];
    cr_assert_leq(before + (size_t)size, sizeof middle->seen[0]);
    memcpy(middle->seen[side] + before, some, (size_t)size);
    middle->num_seen[side] += (size_t)size;
    if (side == 0 && middle->flip_at >= before && middle->flip_at < before + (size_t)size)
        some[middle->flip_at - before] ^= 1;
    send_raw(to, some, (size_t)size);
    if (side == 0 && middle->repeats)
        send_raw(to, some, (size_t)size);
}

static void carry(middleman *middle)
{
    if (middle->client < 0)
        middle->client = accept4(middle->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (middle->client < 0)
        return;
    pass(middle, 0, middle->client, middle->server);
    pass(middle, 1, middle->server, middle->client);
}

#define CARRY_UNTIL(middle, expression)                                                                                \
    do {                                                                                                               \
        int64_t until_ = rayi_now_ms() + 10000;                                                                        \
        while (!(expression) && rayi_now_ms() < until_) {                                                              \
            carry(middle);                                                                                             \
            uv_run(&loop, UV_RUN_NOWAIT);                                                                              \
        }                                                                                                              \
        cr_assert(expression, "never: " #expression);                                                                  \
    } while (0)

static void free_middle(middleman *middle)
{
    if (middle->client >= 0)
        close(middle->client);
    close(middle->listening);
    close(middle->server);
    free(middle);
}

static bool was_seen(const middleman *middle, const char *words)
{
    return memmem(middle->seen[0], middle->num_seen[0], words, strlen(words)) ||
           memmem(middle->seen[1], middle->num_seen[1], words, strlen(words));
}

/* Who captures a link finds neither what it carries nor who its ends are; without a key, all of it. */
static void check_capture(bool sealed)
{
    static const char words[] = "the password is swordfish";
    rayi_key text_key = {.bytes = "0123456789abcdefghijklmnopqrstuv", .id = "12345678"};
    link_host *host = make_host(&(rayi_transport_options){.keys = &text_key, .num_keys = sealed});
    rayi_transport *transport = make_transport(&text_key, sealed);
    middleman *middle = make_middle(host);
    link_end near = {0};
    dial(transport, middle->address, &near);
    run_for(5);
    CARRY_UNTIL(middle, is_open(&near) && host->num_ends == 1);
    host->ends[0].echoes = true;
    for (int i = 0; i < 50; i++) {
        CHECK_OK(rayi_link_send(near.link, 0x77777777, words, sizeof words));
        CARRY_UNTIL(middle, near.num_messages == (size_t)i + 1);
    }
    cr_assert_geq(middle->num_seen[0], 50 * sizeof words);
    cr_assert_eq(was_seen(middle, "swordfish"), !sealed);
    cr_assert_eq(was_seen(middle, "wwww"), !sealed); /* the type */
    cr_assert_not(was_seen(middle, "0123456789abcdef"));
    cr_assert_null(memmem(middle->seen[0], middle->num_seen[0], rayi_transport_identity(transport), 32));
    cr_assert_null(memmem(middle->seen[1], middle->num_seen[1], rayi_transport_identity(host->transport), 32));
    close_transport(transport);
    free_middle(middle);
    free_host(host);
}

LOAD_TEST(captures_show_nothing)
{
    check_capture(true);
    check_capture(false);
}

enum { HELLO = 16 + 48 + 68 }; /* bytes of the handshake that who dials says */

/* Each byte that who dials says, from the first of the handshake to the last record: if it was changed, nothing from it
 * on is accepted, and both ends are closed. */
static void check_middle(size_t flip_at, bool repeats, size_t accepted)
{
    static uint8_t bytes[1000];
    /* A handshake that was changed may wait for what does not come; the others are to end on a busy machine, too. */
    uint32_t hello_ms = flip_at < HELLO ? 200 : 10000;
    link_host *host = make_host(&(rayi_transport_options){.keys = &key, .num_keys = 1, .hello_ms = hello_ms});
    rayi_transport *transport = make_transport(&key, 1);
    middleman *middle = make_middle(host);
    link_end near = {0}, *far = &host->ends[0];
    middle->flip_at = flip_at;
    CHECK_OK(rayi_link_dial(transport, middle->address, NULL, hello_ms, &end_events, &near, &near.link));
    run_for(1);
    CARRY_UNTIL(middle, near.closed || host->num_ends || host->num_strangers);
    middle->repeats = repeats;
    cr_assert(flip_at < HELLO || (near.link && host->num_ends));
    if (near.link && host->num_ends) {
        CHECK_OK(rayi_link_send(near.link, 1, "first", 5));
        run_for(1);
        CHECK_OK(rayi_link_send(near.link, 2, "second", 6));
        run_for(1);
        CHECK_OK(
            rayi_link_send(near.link, 3, bytes, sizeof bytes)); /* a length that was made longer has what it wants */
        CARRY_UNTIL(middle, far->closed);
        cr_assert_eq(far->why, RAYI_LINK_CORRUPT);
    }
    CARRY_UNTIL(middle, near.closed && (far->closed || host->num_strangers));
    cr_assert(far->num_messages == accepted || (repeats && far->num_messages - 1 < 3), "byte %zu", flip_at);
    cr_assert_eq(near.num_messages, 0);
    close_transport(transport);
    free_middle(middle);
    free_host(host);
}

LOAD_TEST(changed_on_the_way)
{
    size_t first = 2 + 8 + 5 + 16;
    for (size_t at = 0; at < HELLO + first + 30; at++)
        check_middle(at, false, at < HELLO + first ? 0 : 1);
}

LOAD_TEST(repeated_on_the_way)
{
    check_middle(SIZE_MAX, true, 1); /* or more: those that went out together are repeated together */
}
