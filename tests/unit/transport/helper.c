#include "helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>

void check_words(const char *words, int line)
{
    const char *message = rayi_error_last_public()->message;
    cr_assert(strstr(message, words), "line %d: no \"%s\" in \"%s\"", line, words, message);
}

uint64_t next_random(uint64_t *state)
{
    uint64_t value = *state += 0x9e3779b97f4a7c15;
    value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
    value = (value ^ value >> 27) * 0x94d049bb133111eb;
    return value ^ value >> 31;
}

void fill(void *bytes, size_t size, uint64_t seed)
{
    unsigned char *at = bytes;
    for (size_t i = 0; i < size; i += 8, seed += 0x9e3779b97f4a7c15)
        memcpy(at + i, &seed, RAYI_MIN(8, size - i));
}

bool is_filled(const void *bytes, size_t size, uint64_t seed)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i += 8, seed += 0x9e3779b97f4a7c15)
        if (memcmp(at + i, &seed, RAYI_MIN(8, size - i)) != 0)
            return false;
    return true;
}

rayi_key key_of(uint8_t number)
{
    rayi_key key = {.bytes = {number}, .id = {number}};
    return key;
}

/* ---- the heap ---- */

atomic_size_t heap_blocks, heap_bytes;
long heap_fails_in;

static bool fails(void)
{
    if (heap_fails_in > 1)
        heap_fails_in--;
    else if (heap_fails_in == 1)
        return true;
    return false;
}

static void *counted_alloc(void *arg, size_t size)
{
    void *block = fails() ? NULL : malloc(size);
    (void)arg;
    heap_blocks += block != NULL;
    heap_bytes += malloc_usable_size(block);
    return block;
}

static void *counted_realloc(void *arg, void *block, size_t size)
{
    size_t before = malloc_usable_size(block);
    void *after = fails() ? NULL : realloc(block, size);
    (void)arg;
    if (after) {
        heap_blocks += block == NULL;
        heap_bytes += malloc_usable_size(after) - before;
    }
    return after;
}

static void counted_free(void *arg, void *block)
{
    (void)arg;
    heap_blocks--;
    heap_bytes -= malloc_usable_size(block);
    free(block);
}

void count_heap(void)
{
    static const ray_allocator counted = {
        .size = sizeof counted, .alloc = counted_alloc, .realloc = counted_realloc, .free = counted_free};
    rayi_memory_install(&counted);
    heap_blocks = heap_bytes = 0;
    heap_fails_in = 0;
}

/* ---- the loop ---- */

uv_loop_t loop;
static uv_timer_t pulse; /* so that waiting looks at its condition */
size_t descriptors;

static void on_pulse(uv_timer_t *timer)
{
    (void)timer;
}

void open_loop(void)
{
    count_heap();
    signal(SIGPIPE, SIG_DFL); /* nothing here may cause one */
    cr_assert_eq(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &pulse);
    uv_timer_start(&pulse, on_pulse, 5, 5);
    uv_run(&loop, UV_RUN_NOWAIT); /* opens what it needs */
    descriptors = check_open_fds();
}

void close_loop(void)
{
    uv_timer_stop(&pulse);
    cr_assert_eq(check_open_fds(), descriptors, "descriptors are left");
    uv_close((uv_handle_t *)&pulse, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0, "handles are left in the loop");
    rayi_error_settle_last();
    cr_assert_eq(heap_blocks, 0, "%zu blocks of memory are left", (size_t)heap_blocks);
}

void run_for(int64_t span_ms)
{
    int64_t until = rayi_now_ms() + span_ms;
    do /* at least once, however late this thread is: a dial begins with the loop */
        uv_run(&loop, UV_RUN_ONCE);
    while (rayi_now_ms() < until);
}

/* ---- ends ---- */

static void on_open(rayi_link *link, void *arg)
{
    link_end *end = arg;
    cr_assert_eq(end->link, link);
    end->opened++;
}

static void on_message(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size)
{
    link_end *end = arg;
    cr_assert(end->opened == 1 && end->closed == 0);
    end->num_messages++;
    end->num_bytes += size;
    end->last_type = type;
    end->last_size = size;
    memcpy(end->last, bytes, RAYI_MIN(size, sizeof end->last));
    if (end->checks)
        cr_assert(is_filled(bytes, size, type), "a message of %zu bytes is not what it was", size);
    if (end->echoes)
        CHECK_OK(rayi_link_send(link, type, bytes, size));
    if (end->on_message)
        end->on_message(end, bytes, size);
}

static void on_drain(rayi_link *link, void *arg)
{
    link_end *end = arg;
    cr_assert_eq(end->link, link);
    end->drained++;
}

static void on_close(rayi_link *link, void *arg, rayi_link_why why)
{
    link_end *end = arg;
    cr_assert_eq(end->link, link);
    end->closed++;
    end->why = why;
    end->code = rayi_error_last_public()->code;
    snprintf(end->words, sizeof end->words, "%s", rayi_error_last_public()->message);
    end->link = NULL;
}

const rayi_link_events end_events = {
    .on_open = on_open, .on_message = on_message, .on_drain = on_drain, .on_close = on_close};

/* Each link of a host gets an end of its own. */
static void on_accept(rayi_link *link, void *arg)
{
    link_host *host = arg;
    link_end *end = &host->ends[host->num_ends++];
    cr_assert_leq(host->num_ends, RAYI_COUNT_OF(host->ends));
    end->link = link;
    rayi_link_set_arg(link, end);
    on_open(link, end);
}

static const rayi_link_events host_events = {
    .on_open = on_accept, .on_message = on_message, .on_drain = on_drain, .on_close = on_close};

static void on_stranger(rayi_listener *listener, void *arg, const char *address, rayi_link_why why)
{
    link_host *host = arg;
    cr_assert_eq(host->listener, listener);
    cr_assert(strstr(address, "127.0.0.1:") || strstr(address, "::1"), "%s", address);
    host->num_strangers++;
    host->stranger_why = why;
    snprintf(host->words, sizeof host->words, "%s", rayi_error_last_public()->message);
}

rayi_transport *make_transport(const rayi_key *keys, size_t num_keys)
{
    rayi_transport *transport;
    CHECK_OK(rayi_transport_open(&loop, &(rayi_transport_options){.keys = keys, .num_keys = num_keys}, &transport));
    return transport;
}

link_host *make_host(const rayi_transport_options *options)
{
    link_host *host = calloc(1, sizeof *host);
    CHECK_OK(rayi_transport_open(&loop, options, &host->transport));
    CHECK_OK(rayi_listener_open(
        host->transport, "127.0.0.1:0",
        &(rayi_listener_options){.events = &host_events, .arg = host, .on_stranger = on_stranger}, &host->listener));
    return host;
}

static void on_transport_closed(void *arg)
{
    *(bool *)arg = true;
}

void close_transport(rayi_transport *transport)
{
    bool closed = false;
    rayi_transport_close(transport, on_transport_closed, &closed);
    RUN_UNTIL(closed);
}

void free_host(link_host *host)
{
    close_transport(host->transport);
    free(host);
}

void dial(rayi_transport *transport, const char *address, link_end *out)
{
    CHECK_OK(rayi_link_dial(transport, address, NULL, 5000, &end_events, out, &out->link));
    cr_assert_eq(out->opened + out->closed, 0);
}

bool is_open(const link_end *end)
{
    cr_assert_eq(end->closed, 0, "%s", end->words);
    return end->opened;
}

void connect_ends(rayi_transport *from, link_host *to, link_end *near, link_end **far)
{
    size_t before = to->num_ends;
    dial(from, rayi_listener_address(to->listener), near);
    RUN_UNTIL(is_open(near) && to->num_ends > before);
    *far = &to->ends[before];
}

/* ---- sockets ---- */

static struct sockaddr_in address_of(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    address.sin_port = htons((uint16_t)atoi(strrchr(text, ':') + 1));
    return address;
}

int connect_raw(const char *text)
{
    struct sockaddr_in address = address_of(text);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0, "%s", strerror(errno));
    return fd;
}

int listen_raw(char text[64])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 16) == 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    snprintf(text, 64, "127.0.0.1:%d", ntohs(address.sin_port));
    return fd;
}

void send_raw(int fd, const void *bytes, size_t size)
{
    const char *at = bytes;
    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            return; /* the other end has closed */
        at += sent > 0 ? sent : 0;
        size -= sent > 0 ? (size_t)sent : 0;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

size_t read_to_end(int fd, void *out, size_t room)
{
    char trash[4096];
    size_t size = 0;
    int64_t until = rayi_now_ms() + 10000;
    while (rayi_now_ms() < until) {
        bool kept = size < room;
        ssize_t got = recv(fd, kept ? (char *)out + size : trash, kept ? room - size : sizeof trash, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return size;
        size += got > 0 ? (size_t)got : 0;
        uv_run(&loop, UV_RUN_ONCE);
    }
    cr_assert_fail("the other end does not close");
    return 0;
}
