/* measure_link [SECONDS]: how fast links are on this machine, beside a plain socket: round trips of 64 bytes, and a
 * stream of messages of 1 MiB, each between two threads with a loop of their own. Beside sealed links stands the least
 * that a sealed stream can cost: one thread seals full records and sends them, the other receives and opens them.
 *
 * Then bulk transfers of 1 GiB in pieces of 64 MiB, plain and sealed, each beside a blocking socket or such a pipeline
 * that brings the same bytes to the same memory; several rounds, and of each the middle one. */
#include "transport/noise.h"
#include "transport/transport.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SMALL = 64, LARGE = 1 << 20, QUEUE = 4 << 20, RECORD = 65535, PIECE = 64 << 20, NUM_PIECES = 16, ROUNDS = 5 };

static int64_t span_ns = 2000000000;
static rayi_key key;
static size_t num_keys;
static char *large;

/* ---- links ---- */

typedef struct echo_host { /* echoes small messages, counts large ones, and acknowledges the last */
    pthread_t thread;
    pthread_barrier_t ready;
    uv_loop_t loop;
    uv_async_t stop;
    rayi_transport *transport;
    char address[64];
} echo_host;

static void on_host_message(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size)
{
    (void)arg;
    if (size <= SMALL)
        rayi_link_send(link, type, bytes, size);
}

static void on_stop(uv_async_t *async)
{
    echo_host *host = async->data;
    rayi_transport_close(host->transport, NULL, NULL);
    uv_close((uv_handle_t *)async, NULL);
}

static void *run_host(void *arg)
{
    static const rayi_link_events events = {.on_message = on_host_message};
    echo_host *host = arg;
    rayi_listener *listener;
    uv_loop_init(&host->loop);
    uv_async_init(&host->loop, &host->stop, on_stop);
    host->stop.data = host;
    if (rayi_transport_open(&host->loop, &(rayi_transport_options){.keys = &key, .num_keys = num_keys},
                            &host->transport) < 0 ||
        rayi_listener_open(host->transport, "127.0.0.1:0", &(rayi_listener_options){.events = &events}, &listener) < 0)
        abort();
    strcpy(host->address, rayi_listener_address(listener));
    pthread_barrier_wait(&host->ready);
    uv_run(&host->loop, UV_RUN_DEFAULT);
    uv_loop_close(&host->loop);
    return NULL;
}

typedef struct pourer {
    rayi_link *link;
    bool streams, last_sent;
    int64_t until_ns, began_ns, ended_ns;
    size_t count;
} pourer;

static void pour(pourer *client)
{
    while (!client->last_sent && rayi_link_queued_bytes(client->link) < QUEUE) {
        if (rayi_now_ns() >= client->until_ns) {
            client->last_sent = true;
            rayi_link_send(client->link, 1, large, SMALL);
        } else {
            rayi_link_send(client->link, 1, large, LARGE);
            client->count++;
        }
    }
}

static void on_open(rayi_link *link, void *arg)
{
    pourer *client = arg;
    client->began_ns = rayi_now_ns();
    client->until_ns = client->began_ns + span_ns;
    if (client->streams)
        pour(client);
    else
        rayi_link_send(link, 1, large, SMALL);
}

static void on_message(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size)
{
    pourer *client = arg;
    client->ended_ns = rayi_now_ns();
    if (client->streams || client->ended_ns >= client->until_ns) {
        rayi_link_close(link);
        return;
    }
    client->count++;
    rayi_link_send(link, type, bytes, size);
}

static void on_drain(rayi_link *link, void *arg)
{
    (void)link;
    pour(arg);
}

/* Messages per second. */
static double measure_link(bool streams)
{
    static const rayi_link_events events = {.on_open = on_open, .on_message = on_message, .on_drain = on_drain};
    echo_host host = {0};
    pourer client = {.streams = streams};
    uv_loop_t loop;
    rayi_transport *transport;
    pthread_barrier_init(&host.ready, NULL, 2);
    pthread_create(&host.thread, NULL, run_host, &host);
    pthread_barrier_wait(&host.ready);
    uv_loop_init(&loop);
    if (rayi_transport_open(&loop, &(rayi_transport_options){.keys = &key, .num_keys = num_keys}, &transport) < 0 ||
        rayi_link_dial(transport, host.address, NULL, 1000, &events, &client, &client.link) < 0)
        abort();
    uv_run(&loop, UV_RUN_DEFAULT);
    rayi_transport_close(transport, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    uv_async_send(&host.stop);
    pthread_join(host.thread, NULL);
    pthread_barrier_destroy(&host.ready);
    return (double)client.count / ((double)(client.ended_ns - client.began_ns) / 1e9);
}

/* ---- plain sockets, blocking ---- */

static void *run_echo(void *arg)
{
    int fd = *(int *)arg;
    static char bytes[LARGE];
    ssize_t size;
    while ((size = recv(fd, bytes, sizeof bytes, 0)) > 0)
        if (size <= SMALL && send(fd, bytes, (size_t)size, MSG_NOSIGNAL) < 0)
            break;
    return NULL;
}

static void make_sockets(int fds[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    int on = 1, listening = socket(AF_INET, SOCK_STREAM, 0);
    fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listening, (struct sockaddr *)&address, size) < 0 || listen(listening, 1) < 0 ||
        getsockname(listening, (struct sockaddr *)&address, &size) < 0 ||
        connect(fds[0], (struct sockaddr *)&address, size) < 0)
        abort();
    fds[1] = accept(listening, NULL, NULL);
    for (int i = 0; i < 2; i++)
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    close(listening);
}

static double measure_socket(bool streams)
{
    pthread_t thread;
    size_t count = 0;
    int fds[2];
    make_sockets(fds);
    pthread_create(&thread, NULL, run_echo, &fds[1]);
    int64_t began = rayi_now_ns(), until = began + span_ns;
    for (; rayi_now_ns() < until; count++) {
        size_t size = streams ? LARGE : SMALL;
        for (size_t sent = 0; sent < size;) {
            ssize_t n = send(fds[0], large + sent, size - sent, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
        }
        if (!streams && recv(fds[0], large, SMALL, MSG_WAITALL) != SMALL)
            abort();
    }
    double rate = (double)count / ((double)(rayi_now_ns() - began) / 1e9);
    shutdown(fds[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    close(fds[0]);
    close(fds[1]);
    return rate;
}

static void *run_open(void *arg)
{
    rayi_cipher cipher = {.nonce = 0};
    static uint8_t bytes[RECORD];
    while (recv(*(int *)arg, bytes, RECORD, MSG_WAITALL) == RECORD)
        if (!rayi_cipher_open(&cipher, NULL, 0, bytes, RECORD, bytes))
            abort();
    return NULL;
}

/* Records a second. */
static double measure_pipeline(void)
{
    rayi_cipher cipher = {.nonce = 0};
    static uint8_t bytes[RECORD];
    pthread_t thread;
    size_t count = 0;
    int fds[2];
    make_sockets(fds);
    pthread_create(&thread, NULL, run_open, &fds[1]);
    int64_t began = rayi_now_ns(), until = began + span_ns;
    for (; rayi_now_ns() < until; count++) {
        rayi_cipher_seal(&cipher, NULL, 0, large, RECORD - RAYI_NOISE_TAG, bytes);
        for (size_t sent = 0; sent < RECORD;) {
            ssize_t n = send(fds[0], bytes + sent, RECORD - sent, MSG_NOSIGNAL);
            sent += n > 0 ? (size_t)n : 0;
        }
    }
    double rate = (double)count / ((double)(rayi_now_ns() - began) / 1e9);
    shutdown(fds[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    close(fds[0]);
    close(fds[1]);
    return rate;
}

/* ---- bulk ---- */

static char *piece, *destination;

typedef struct receiver { /* of NUM_PIECES pieces, blocking; and one byte goes back after each */
    int fd;
    bool opens;
} receiver;

static void receive_piece(const receiver *one, rayi_cipher *cipher)
{
    static uint8_t bytes[RECORD];
    size_t room = one->opens ? RECORD - RAYI_NOISE_TAG : PIECE;
    for (size_t at = 0, size; at < PIECE; at += size) {
        size = RAYI_MIN(room, PIECE - at);
        if (!one->opens) {
            ssize_t got = recv(one->fd, destination + at, size, 0);
            size = got > 0 ? (size_t)got : 0;
        } else if (recv(one->fd, bytes, size + RAYI_NOISE_TAG, MSG_WAITALL) < 0 ||
                   !rayi_cipher_open(cipher, NULL, 0, bytes, size + RAYI_NOISE_TAG, (uint8_t *)destination + at)) {
            abort();
        }
    }
}

static void *run_receiver(void *arg)
{
    const receiver *one = arg;
    rayi_cipher cipher = {.nonce = 0};
    for (int i = 0; i < NUM_PIECES; i++) {
        receive_piece(one, &cipher);
        if (send(one->fd, "", 1, MSG_NOSIGNAL) != 1)
            abort();
    }
    return NULL;
}

static void send_all(int fd, const void *bytes, size_t size)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t n = send(fd, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
    }
}

static void send_piece(int fd, bool seals, rayi_cipher *cipher)
{
    static uint8_t bytes[RECORD];
    if (!seals) {
        send_all(fd, piece, PIECE);
        return;
    }
    for (size_t at = 0, size; at < PIECE; at += size) {
        size = RAYI_MIN((size_t)RECORD - RAYI_NOISE_TAG, PIECE - at);
        rayi_cipher_seal(cipher, NULL, 0, piece + at, size, bytes);
        send_all(fd, bytes, size + RAYI_NOISE_TAG);
    }
}

/* GiB a second. */
static double measure_least(bool sealed)
{
    pthread_t thread;
    rayi_cipher cipher = {.nonce = 0};
    char byte;
    int fds[2];
    make_sockets(fds);
    receiver one = {.fd = fds[1], .opens = sealed};
    pthread_create(&thread, NULL, run_receiver, &one);
    int64_t began = rayi_now_ns();
    for (int i = 0; i < NUM_PIECES; i++) {
        send_piece(fds[0], sealed, &cipher);
        if (recv(fds[0], &byte, 1, MSG_WAITALL) != 1)
            abort();
    }
    double span = (double)(rayi_now_ns() - began) / 1e9;
    pthread_join(thread, NULL);
    close(fds[0]);
    close(fds[1]);
    return (double)PIECE * NUM_PIECES / (1 << 30) / span;
}

static int open_piece(void *arg, const uint8_t *peer, uint64_t object, uint64_t ticket, rayi_bulk_object *out)
{
    (void)arg;
    (void)peer;
    (void)object;
    (void)ticket;
    *out = (rayi_bulk_object){.bytes = piece, .size_bytes = PIECE};
    return 0;
}

static void close_piece(void *arg, void *pin)
{
    (void)arg;
    (void)pin;
}

static double measure_bulk(bool sealed)
{
    rayi_bulk_options options = {.keys = &key, .num_keys = sealed, .address = "127.0.0.1:0"};
    rayi_bulk *from, *to;
    options.open = open_piece;
    options.close = close_piece;
    if (rayi_bulk_open(&options, &from) < 0 || rayi_bulk_open(&options, &to) < 0)
        abort();
    rayi_bulk_source source = {.address = rayi_bulk_address(from)};
    rayi_bulk_want want = {.sources = &source, .num_sources = 1, .size_bytes = PIECE, .to = destination};
    want.deadline_ns = INT64_MAX;
    int64_t began = rayi_now_ns();
    for (int i = 0; i < NUM_PIECES; i++)
        if (rayi_bulk_fetch(to, &want) < 0)
            abort();
    double span = (double)(rayi_now_ns() - began) / 1e9;
    rayi_bulk_close(to);
    rayi_bulk_close(from);
    return (double)PIECE * NUM_PIECES / (1 << 30) / span;
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double middle_of(double numbers[ROUNDS])
{
    qsort(numbers, ROUNDS, sizeof *numbers, compare);
    return numbers[ROUNDS / 2];
}

/* Of all threads, in seconds: what others do on this machine changes it less than the rates. */
static double processor_time(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void print_bulk(bool sealed)
{
    double least[ROUNDS], bulk[ROUNDS], ratio[ROUNDS], least_time[ROUNDS], bulk_time[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        double began = processor_time(), between;
        least[i] = measure_least(sealed);
        between = processor_time();
        bulk[i] = measure_bulk(sealed);
        bulk_time[i] = processor_time() - between;
        least_time[i] = between - began;
        ratio[i] = bulk[i] / least[i];
    }
    printf("%-15s %5.2f GiB/s (%.2f s of processors), %-11s %5.2f GiB/s (%.2f s), %3.0f %%",
           sealed ? "sealed pipeline" : "raw socket", middle_of(least), middle_of(least_time),
           sealed ? "bulk sealed" : "bulk plain", middle_of(bulk), middle_of(bulk_time), 100 * middle_of(ratio));
    printf(" (%.0f to %.0f)\n", 100 * ratio[0], 100 * ratio[ROUNDS - 1]);
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_DFL);
    if (argc > 1)
        span_ns = (int64_t)(atof(argv[1]) * 1e9);
    large = malloc(LARGE);
    piece = malloc(PIECE);
    destination = malloc(PIECE);
    memset(large, 1, LARGE);
    memset(piece, 2, PIECE);
    memset(destination, 3, PIECE);
    if (rayi_key_make(&key) < 0)
        return 1;
    printf("%-8s %13.1f us a round trip %8.2f GiB/s\n", "socket", 1e6 / measure_socket(false),
           measure_socket(true) / 1024);
    printf("%-8s %29s %8.2f GiB/s\n", "pipeline", "", measure_pipeline() * (RECORD - RAYI_NOISE_TAG) / (1 << 30));
    for (num_keys = 0; num_keys < 2; num_keys++)
        printf("%-8s %13.1f us a round trip %8.2f GiB/s\n", num_keys ? "sealed" : "plain", 1e6 / measure_link(false),
               measure_link(true) / 1024);
    print_bulk(false);
    print_bulk(true);
    free(destination);
    free(piece);
    free(large);
    return 0;
}
