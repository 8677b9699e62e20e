/* What the tests of the bus share: a head and nodes on one loop, with logs of what came. */
#ifndef TEST_TRANSPORT_BUS_HELPER_H
#define TEST_TRANSPORT_BUS_HELPER_H

#include "helper.h"

#include "transport/bus_frame.h"
#include "transport/bus_net.h"

#include <stdatomic.h>

enum { MOST = 100 };

typedef struct member { /* a node, and what it saw */
    rayi_bus *bus;
    uint32_t number;
    size_t heard, asked;
    size_t last_size;
    char last[64];
    size_t answer_bytes; /* at least so many */
    bool closes;         /* in the next callback */
    bool closed;
} member;

typedef struct head_end {
    rayi_bus *bus;
    size_t answers[MOST]; /* of each node */
    size_t surveyed;
    uint32_t last_answers; /* to the last survey */
    bool closes, closed;
} head_end;

extern head_end head;
extern member members[MOST];
extern rayi_bus_secret secret; /* of the head */
extern size_t left_behind;     /* ends that were over before nng had closed */
extern const rayi_bus_events node_events;
extern atomic_bool close_hangs; /* nng_close waits while it is set */

void open_bus_loop(void);
void close_bus_loop(void); /* closes what is open, and asserts that nothing is left */
#define BUS_TEST(suite, name) TEST_AROUND(suite, name, open_bus_loop, close_bus_loop)

void on_closed(void *arg); /* arg: a bool */
rayi_bus_head_options head_options(void);
void open_head(const rayi_bus_head_options *options); /* NULL: those */
void close_head(void);
rayi_bus_ticket ticket_now(void);
member *add_member_with(const rayi_bus_ticket *ticket, uint32_t number);
member *add_member(uint32_t number);
void close_member(member *m);

void publish(const char *words);
/* A connection is of use a moment after it is counted. */
void publish_until(bool (*done)(void *arg), void *arg);
bool has_heard(void *arg); /* arg: a member */
void survey_once(uint32_t count);
void survey_until(uint32_t count, uint32_t answers);

#endif
