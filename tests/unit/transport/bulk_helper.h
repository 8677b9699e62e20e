/* What the tests of bulk share: a node with objects that are served, and what is left of it in the end. */
#ifndef TEST_TRANSPORT_BULK_HELPER_H
#define TEST_TRANSPORT_BULK_HELPER_H

#include "helper.h"

#include <pthread.h>
#include <stdatomic.h>

enum { BULK_CHUNK = 64 << 10, MAX_OBJECTS = 4 };

typedef struct bulk_node { /* serves object number i + 1; ticket 7 opens it */
    rayi_bulk *bulk;
    struct bulk_thing {
        uint8_t *bytes;
        size_t size;
        rayi_bulk_marks *marks;
    } things[MAX_OBJECTS];
    atomic_int num_open, num_opened, num_later; /* num_later: how often it says so first */
    atomic_int slow_ms;                         /* of each open */
} bulk_node;

#define BULK_TEST(suite, name) TEST_AROUND(suite, name, begin_bulk, end_bulk)

extern rayi_key bulk_key;
extern atomic_long bulk_fails_in; /* 1: the next allocation of any thread fails, once; 0: none */
void begin_bulk(void);            /* counts threads, descriptors and memory */
void end_bulk(void);              /* and finds none left */

bulk_node *make_node(bool sealed, const rayi_bulk_options *options); /* options may be NULL */
void free_node(bulk_node *node);
/* Object number `object`, filled with it. */
void add_thing(bulk_node *node, uint64_t object, size_t size);
rayi_bulk_source source_at(const char *address, uint64_t object);
/* One source, a deadline of 20 s. */
int fetch_one(bulk_node *to, const char *address, uint64_t object, void *bytes, size_t size);
size_t count_threads(void);

/* ---- somebody in the middle of connections, on a thread of its own ---- */

typedef struct breaker {
    pthread_t thread;
    char address[64], to[64];
    int listening;
    atomic_size_t cut_after; /* bytes to who dials: then the connection is cut; SIZE_MAX: none */
    atomic_size_t flip_at;   /* one bit of this byte to who dials is changed, once */
    atomic_bool stalls, stops;
    atomic_int num_connections, num_cuts;
} breaker;

breaker *make_breaker(const char *to);
void free_breaker(breaker *between);

#endif
