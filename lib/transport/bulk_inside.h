/* What the files of bulk share. bulk.c has the thread and what comes from others; bulk_fetch.c the fetches and their
 * sources; bulk_peer.c the connections that were dialled, and what is asked of them; bulk_serve.c those that were
 * accepted; bulk_marks.c what is there of an object that grows; bulk_map.c what is there of a fetch.
 *
 * The protocol. A message's type is its kind and a number that who fetches chose: that of an object it has opened on
 * this connection, or that of a chunk it asks for. They say, and the other end answers:
 *   OPEN object     (object, ticket, size)       OPENED object (code, words)
 *   GET chunk       (its object, offset, size)   SUM chunk (checksum; on plain links only), BODY chunk (its bytes)
 *   CLOSE object                                 OPENED object (CLOSED)
 *   PING                                         PONG
 * GETs follow an OPEN without waiting for its answer. OPENED comes at any time, and with another code than 0 it is the
 * last word about its object: what was asked for and has not come will not. */
#ifndef RAYI_BULK_INSIDE_H
#define RAYI_BULK_INSIDE_H

#include "transport/bulk.h"
#include "transport/bulk_map.h"
#include "transport/inside.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    RAYI_BULK_OPEN = 1,
    RAYI_BULK_OPENED,
    RAYI_BULK_GET,
    RAYI_BULK_SUM,
    RAYI_BULK_BODY,
    RAYI_BULK_CLOSE,
    RAYI_BULK_PING,
    RAYI_BULK_PONG
};

enum {
    RAYI_BULK_KIND_BITS = 4,
    RAYI_BULK_CLOSED = 2, /* the code that answers CLOSE; those above 0 are the protocol's, those below are errors */
    RAYI_BULK_REQUESTS = 256, /* of one connection, at a time */
    RAYI_BULK_REASON = 200,
    RAYI_BULK_OPEN_BYTES = 24,
    RAYI_BULK_OPENED_BYTES = 4, /* and words */
    RAYI_BULK_GET_BYTES = 16,
    RAYI_BULK_SUM_BYTES = 8
};

static inline uint32_t rayi_bulk_type(uint32_t kind, uint32_t number)
{
    return kind | number << RAYI_BULK_KIND_BITS;
}
static inline uint32_t rayi_bulk_kind(uint32_t type)
{
    return type & ((1 << RAYI_BULK_KIND_BITS) - 1);
}
static inline uint32_t rayi_bulk_number(uint32_t type)
{
    return type >> RAYI_BULK_KIND_BITS;
}
static inline uint64_t rayi_load_u64(const uint8_t *bytes)
{
    return rayi_load_u32(bytes) | (uint64_t)rayi_load_u32(bytes + 4) << 32;
}
static inline void rayi_store_u64(uint8_t *bytes, uint64_t number)
{
    rayi_store_u32(bytes, (uint32_t)number);
    rayi_store_u32(bytes + 4, (uint32_t)(number >> 32));
}

typedef struct rayi_bulk_fetching rayi_bulk_fetching;
typedef struct rayi_bulk_from rayi_bulk_from;
typedef struct rayi_bulk_peer rayi_bulk_peer;
typedef struct rayi_bulk_client rayi_bulk_client;

/* ---- jobs: what may block ---- */

enum { RAYI_BULK_OPENERS = 4 }; /* threads */

typedef struct rayi_bulk_job {
    void (*run)(struct rayi_bulk_job *job);  /* on a thread of its own */
    void (*done)(struct rayi_bulk_job *job); /* on the bulk's, after it */
    struct rayi_bulk_job *prev, *next;
} rayi_bulk_job;

typedef struct rayi_bulk_jobs { /* under the bulk's lock */
    pthread_cond_t come;
    rayi_bulk_job *waiting, *done;
    size_t num_begun, num_idle, num_threads;
    bool over;
    pthread_t threads[RAYI_BULK_OPENERS];
} rayi_bulk_jobs;

int rayi_bulk_job_begin(rayi_bulk *bulk, rayi_bulk_job *job); /* SYSTEM: there is no thread for it */
void rayi_bulk_jobs_end(rayi_bulk *bulk);                     /* those that have run are told that they are done */
bool rayi_bulk_jobs_are_over(rayi_bulk *bulk);
void rayi_bulk_jobs_join(rayi_bulk *bulk); /* the threads; there are no jobs any more */

struct rayi_bulk {
    rayi_bulk_options options; /* without what was copied */
    pthread_t thread;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t tick; /* while there are fetches or peers */
    uint64_t tick_ms;
    int64_t ticked_ms;
    rayi_transport *transport;
    rayi_listener *listener;
    rayi_bulk_fetching *fetches;
    rayi_bulk_peer *peers;
    rayi_bulk_client *clients;
    atomic_bool grew;
    bool stopped;
    pthread_mutex_t lock; /* of what follows */
    rayi_bulk_jobs jobs;
    rayi_bulk_fetching *begun;
    bool cancelled, stops;
};

/* What both ends of a connection tell the system: that a dead machine is to be noticed. */
void rayi_bulk_tune(rayi_link *link);
/* The tick is due as often as there is something to look after. */
void rayi_bulk_keep_ticking(rayi_bulk *bulk);

/* ---- marks ---- */

struct rayi_bulk_marks {
    atomic_uint count;
    atomic_bool failed;
    uint64_t size_bytes;
    uint32_t chunk_bytes;
    _Atomic uint64_t words[];
};

/* ---- fetches ---- */

/* A source of a fetch: WAITS for a connection, or for its time (LATER); ASKED: opened, and chunks may be asked for,
 * though it may not have answered yet; GONE: given up. */
typedef enum rayi_bulk_from_state { RAYI_BULK_WAITS, RAYI_BULK_ASKED, RAYI_BULK_GONE } rayi_bulk_from_state;

struct rayi_bulk_from {
    rayi_bulk_fetching *fetch;
    rayi_bulk_peer *peer; /* NULL: it is gone, or never was */
    rayi_bulk_from_state state;
    char *address;
    uint64_t object, ticket;
    bool has_key;
    uint8_t key[RAYI_NOISE_KEY];
    uint32_t number;    /* of the object on this connection */
    uint32_t num_asked; /* chunks */
    uint64_t asked_bytes;
    uint32_t num_damaged;
    int64_t open_at_ms; /* not before */
    uint32_t later_ms;
    int code; /* what became of it last */
    char reason[RAYI_BULK_REASON];
    rayi_bulk_from *prev, *next; /* of its peer */
};

struct rayi_bulk_fetching {
    rayi_bulk *bulk;
    rayi_bulk_map map;
    uint8_t *to;
    int64_t deadline_ns;
    rayi_bulk_marks *marks;
    void (*done)(void *arg, int code);
    void *arg;
    bool (*may_ask)(void *arg, size_t source);
    void *may_ask_arg;
    rayi_bulk_fetching *prev, *next;
    size_t num_sources, num_gone;
    rayi_bulk_from sources[];
};

void rayi_bulk_fetch_start(rayi_bulk_fetching *fetch);
/* Tells who waits, and frees it. The last error has the words of a code below 0. */
void rayi_bulk_fetch_end(rayi_bulk_fetching *fetch, int code);
void rayi_bulk_fetch_tick(rayi_bulk *bulk);
/* The fetch may be gone with its last source. */
void rayi_bulk_from_give_up(rayi_bulk_from *from, int code, const char *reason);
void rayi_bulk_from_note(rayi_bulk_from *from, int code, const char *reason);
/* A chunk's bytes are at their place; the fetch may be gone after it. */
void rayi_bulk_fetch_arrive(rayi_bulk_fetching *fetch, uint64_t chunk);

/* ---- peers ---- */

/* Attaches a source, and dials if need be; the source may be gone, but not its fetch. */
int rayi_bulk_peer_attach(rayi_bulk *bulk, rayi_bulk_from *from);
/* Nothing asked for it goes to its memory any more. */
void rayi_bulk_peer_detach(rayi_bulk_from *from);
/* Asks for chunks as far as the window goes. */
void rayi_bulk_peer_share_out(rayi_bulk_peer *peer);
/* Those who were asked for it, too, need not bring it. */
void rayi_bulk_peer_forget_chunk(rayi_bulk_fetching *fetch, uint64_t chunk);
void rayi_bulk_peer_tick(rayi_bulk *bulk);
void rayi_bulk_peer_free_all(rayi_bulk *bulk);

/* ---- clients ---- */

extern const rayi_link_events rayi_bulk_client_events;
void rayi_bulk_serve_waiting(rayi_bulk *bulk); /* something has grown */
void rayi_bulk_client_free_all(rayi_bulk *bulk);

#endif
