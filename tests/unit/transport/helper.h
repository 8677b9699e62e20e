/* What the tests of transport share: a loop, two ends on it with logs of what came, and sockets without a protocol. */
#ifndef TEST_TRANSPORT_HELPER_H
#define TEST_TRANSPORT_HELPER_H

#include "transport/inside.h"

#include "../../support/descriptors.h"
#include "../around.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        int r_ = (call);                                                                                               \
        cr_assert_eq(r_, 0, "%s: %s", #call, rayi_error_last_public()->message);                                       \
    } while (0)
#define CHECK_FAILS(call, code_)                                                                                       \
    do {                                                                                                               \
        int r_ = (call);                                                                                               \
        cr_assert_eq(r_, code_, "%s: %d", #call, r_);                                                                  \
        cr_assert_eq(rayi_error_last_public()->code, code_);                                                           \
    } while (0)
#define CHECK_WORDS(words) check_words(words, __LINE__)

/* A sanitizer takes its time. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#define SANITIZED (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED 0
#endif

#define LOOP_TEST(suite, name) TEST_AROUND(suite, name, open_loop, close_loop)

void check_words(const char *words, int line); /* of the last error */
uint64_t next_random(uint64_t *state);
void fill(void *bytes, size_t size, uint64_t seed);
bool is_filled(const void *bytes, size_t size, uint64_t seed);
rayi_key key_of(uint8_t number);

/* ---- the process-wide heap, counted ---- */

extern atomic_size_t heap_blocks, heap_bytes;
extern long heap_fails_in; /* 1: the next allocation fails, and all after it; 0: none */
void count_heap(void);     /* before anything is allocated */

/* ---- the loop ---- */

extern uv_loop_t loop;
extern size_t descriptors; /* that were open before the test */

void open_loop(void);  /* counts the heap, too */
void close_loop(void); /* asserts that no handle, no descriptor and no memory is left */
void run_for(int64_t span_ms);
/* Runs until the expression holds, or fails. */
#define RUN_UNTIL(expression)                                                                                          \
    do {                                                                                                               \
        int64_t end_ = rayi_now_ms() + (SANITIZED ? 30000 : 10000);                                                    \
        while (!(expression) && rayi_now_ms() < end_)                                                                  \
            uv_run(&loop, UV_RUN_ONCE);                                                                                \
        cr_assert(expression, "never: " #expression);                                                                  \
    } while (0)

/* ---- ends ---- */

typedef struct link_end { /* one end of a link, and what it saw */
    rayi_link *link;
    int opened, closed, drained;
    rayi_link_why why;
    int code;
    char words[512];
    size_t num_messages, num_bytes;
    uint32_t last_type;
    size_t last_size;
    unsigned char last[256];
    bool echoes, checks; /* checks: each is filled with its type as the seed */
    void (*on_message)(struct link_end *end, const void *bytes, size_t size);
} link_end;

typedef struct link_host { /* a transport that listens */
    rayi_transport *transport;
    rayi_listener *listener;
    link_end ends[700];
    size_t num_ends;
    int num_strangers;
    rayi_link_why stranger_why;
    char words[512];
} link_host;

extern const rayi_link_events end_events;

rayi_transport *make_transport(const rayi_key *keys, size_t num_keys);
link_host *make_host(const rayi_transport_options *options); /* at 127.0.0.1 */
void free_host(link_host *host);
void close_transport(rayi_transport *transport); /* waits for it */
void dial(rayi_transport *transport, const char *address, link_end *out);
/* A link that is open at both ends. */
void connect_ends(rayi_transport *from, link_host *to, link_end *near, link_end **far);
bool is_open(const link_end *end);

/* ---- sockets ---- */

int connect_raw(const char *address); /* blocking */
int listen_raw(char address[64]);     /* and not accepting */
void send_raw(int fd, const void *bytes, size_t size);
/* Reads, running the loop, until the other end closes; the number of bytes. */
size_t read_to_end(int fd, void *out, size_t room);

#endif
