/* What the tests of ring share. */
#ifndef HELPER_H
#define HELPER_H

#include "ring/inside.h"

#include "../../support/descriptors.h"
#include <criterion/criterion.h>

#define KIB ((size_t)1024)
#define MS  ((int64_t)1000000) /* ns */

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        int check_r = (call);                                                                                          \
        cr_assert_eq(check_r, 0, "%s: %d, %s", #call, check_r, rayi_error_last_public()->message);                     \
    } while (0)

/* Under a sanitizer the long tests do less. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define IS_SLOW 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SLOW 1
#endif
#endif
#ifndef IS_SLOW
#define IS_SLOW 0
#endif

/* Both ends in one process, and the memory as a hostile end would have it. */
typedef struct ends {
    rayi_channel *node, *worker;
    rayi_ring_memory *memory;
} ends;

ends make_ends(void);
void free_ends(ends *both);
rayi_ring_memory *map_again(const rayi_channel *channel);

int make_event_fd(void);
uint64_t read_event_fd(int fd);                  /* what it counted, 0 if nothing; does not wait */
bool wait_event_fd(int fd, int64_t deadline_ns); /* and reads it; false: deadline */
int count_maps(void);                            /* of channels, in this process */
uint64_t next_random(uint64_t *state);
void fill_bytes(void *bytes, size_t size, uint64_t seed);
bool has_bytes(const void *bytes, size_t size, uint64_t seed);

/* Sends `size` bytes that follow from the seed, asserts that there was room. */
void send_bytes(rayi_channel *from, uint32_t type, size_t size, uint64_t seed);
void expect_bytes(rayi_channel *at, uint32_t type, size_t size, uint64_t seed);
void expect_nothing(rayi_channel *at);

#endif
