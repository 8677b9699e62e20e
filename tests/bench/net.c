/* What the machine allows two processes that have a loopback connection between them: the work that libray cannot
   avoid between two nodes. Each end blocks in the system; there is no loop, no frame, no queue. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MESSAGE = 64,      /* bytes; a small task has more */
    WINDOW = 1024,     /* messages on their way */
    PIECE = 256 << 10, /* of a stream, a call */
    RECORD = 65535,    /* as a link of libray cuts it: a length of 2 bytes, and so many bytes, */
    TAG = crypto_aead_chacha20poly1305_ietf_ABYTES, /* the last of them the tag */
    HEAD = 2
};

static void send_all(int fd, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = send(fd, (const char *)bytes + done, size - done, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            exit(0); /* the other end has what it wants */
        done += n > 0 ? (size_t)n : 0;
    }
}

static bool receive_all(int fd, void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = recv(fd, (char *)bytes + done, size - done, 0);
        if (n == 0 || (n < 0 && errno != EINTR))
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

/* A process that runs other() at its end of a connection; returns this end. */
static int connect_to(void (*other)(int fd))
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 || listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        bench_fail("a listening socket: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %s", strerror(errno));
    int fd = pid == 0 ? accept(listener, NULL, NULL) : socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || (pid > 0 && connect(fd, (struct sockaddr *)&address, size) != 0))
        bench_fail("a connection: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        other(fd);
        exit(0);
    }
    close(listener);
    return fd;
}

/* ---- Small messages ---- */

/* Sends back what comes. */
static void echo(int fd)
{
    static char bytes[WINDOW * MESSAGE];
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, 0)) > 0;)
        send_all(fd, bytes, (size_t)n);
}

static double round_trip_us(void *arg)
{
    const int *fd = arg;
    char bytes[MESSAGE] = {0};
    double begin = bench_now();
    send_all(*fd, bytes, sizeof bytes);
    if (!receive_all(*fd, bytes, sizeof bytes))
        bench_fail("the other end has gone");
    return (bench_now() - begin) * 1e6;
}

static void windows(size_t n, void *arg)
{
    static char bytes[WINDOW * MESSAGE];
    const int *fd = arg;
    for (size_t i = 0; i < n; i++) {
        send_all(*fd, bytes, sizeof bytes);
        if (!receive_all(*fd, bytes, sizeof bytes))
            bench_fail("the other end has gone");
    }
}

static void measure_tcp(double seconds)
{
    int fd = connect_to(echo);
    double us = bench_median(seconds, round_trip_us, &fd);
    bench_emit("tcp_us", us);
    bench_emit("tcp_per_s", 1e6 / us);
    bench_emit("tcp_batch_per_s", WINDOW * bench_rate(seconds, windows, &fd));
}

/* ---- Streams: the other end sends until it is killed ---- */

static void send_stream(int fd)
{
    const char *bytes = bench_memory(BENCH_LARGE);
    for (size_t at = 0;; at = (at + PIECE) % BENCH_LARGE)
        send_all(fd, bytes + at, PIECE);
}

struct sink {
    int fd;
    uint8_t *to; /* BENCH_LARGE bytes, and room for a record */
};

static double stream_gib_s(void *arg)
{
    const struct sink *sink = arg;
    double begin = bench_now();
    for (size_t at = 0; at < BENCH_LARGE; at += PIECE)
        if (!receive_all(sink->fd, sink->to + at, PIECE))
            bench_fail("the other end has gone");
    return (double)BENCH_LARGE / BENCH_GIB / (bench_now() - begin);
}

static const uint8_t key[crypto_aead_chacha20poly1305_ietf_KEYBYTES];

static void count_nonce(uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES], uint64_t count)
{
    memcpy(nonce + 4, &count, sizeof count);
}

static void send_sealed(int fd)
{
    static uint8_t record[HEAD + RECORD] = {RECORD & 255, RECORD >> 8};
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {0};
    const uint8_t *bytes = bench_memory(BENCH_LARGE + RECORD);
    size_t at = 0;
    for (uint64_t count = 0;; count++, at = (at + RECORD - TAG) % BENCH_LARGE) {
        count_nonce(nonce, count);
        crypto_aead_chacha20poly1305_ietf_encrypt(record + HEAD, NULL, bytes + at, RECORD - TAG, NULL, 0, NULL, nonce,
                                                  key);
        send_all(fd, record, sizeof record);
    }
}

static double sealed_gib_s(void *arg)
{
    static uint64_t count;
    static uint8_t record[HEAD + RECORD];
    const struct sink *sink = arg;
    uint8_t nonce[crypto_aead_chacha20poly1305_ietf_NPUBBYTES] = {0};
    size_t at = 0;
    double begin = bench_now();
    for (; at < BENCH_LARGE; at += RECORD - TAG) {
        count_nonce(nonce, count++);
        if (!receive_all(sink->fd, record, sizeof record) ||
            crypto_aead_chacha20poly1305_ietf_decrypt(sink->to + at, NULL, NULL, record + HEAD, RECORD, NULL, 0, nonce,
                                                      key) != 0)
            bench_fail("a record: not what was sealed");
    }
    return (double)at / BENCH_GIB / (bench_now() - begin);
}

static void measure_stream(double seconds)
{
    struct sink sink = {connect_to(send_stream), bench_memory(BENCH_LARGE + RECORD)};
    bench_emit("stream_gib_s", bench_median(seconds, stream_gib_s, &sink));
}

static void measure_sealed(double seconds)
{
    if (sodium_init() < 0)
        bench_fail("libsodium does not start");
    struct sink sink = {connect_to(send_sealed), bench_memory(BENCH_LARGE + RECORD)};
    bench_emit("sealed_gib_s", bench_median(seconds, sealed_gib_s, &sink));
}

const struct bench_measure net_measures[] = {
    {"tcp", measure_tcp},
    {"stream", measure_stream},
    {"sealed", measure_sealed},
    {NULL, NULL},
};
