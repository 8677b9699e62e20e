/* bulk: large objects between nodes, in chunks, on connections and a thread of their own, so that neither the bytes nor
 * their encryption delay a message. A node has one rayi_bulk, which serves what the node has and fetches what it wants.
 *
 * Owns: its thread and loop, a transport and a listener on it, the connections of both directions, and the transfers.
 *
 * Invariants:
 * - A fetch ends once: with all its bytes, at its deadline, with the last of its sources, or cancelled. After that
 *   nothing is written to its memory, whatever is still on its way.
 * - A chunk counts when all of it came over a sealed link, or its checksum is right. One that is late at a source is
 *   asked of another besides; who comes first counts.
 * - A broken connection costs the chunks that were asked of it: they are asked anew, of others, or over the next
 *   connection. A source is given up only when it says that it has not got the object, or is not who it should be.
 * - A fetch has asked a connection for at most window_bytes at a time, and who sends queues little more than a chunk.
 * - An object is pinned from open to close, and its bytes are not touched outside of that.
 *
 * A connection is made at the first use of an address, shared by all fetches, and closed when it was idle for idle_ms.
 *
 * Calls are made on any thread, close and cancel included, but rayi_bulk_fetch never on the bulk's own. */
#ifndef RAYI_BULK_H
#define RAYI_BULK_H

#include "transport/transport.h"

/* ---- which parts of an object are there ---- */

/* Of an object that is still growing: it can be served while it is fetched. One writer or several, any readers,
 * counted; who sees a chunk marked sees its bytes. */
typedef struct rayi_bulk_marks rayi_bulk_marks;

/* chunk_bytes: 0: 1 MiB; at most RAYI_BULK_CHUNK_MAX. ARGUMENT NO_MEMORY */
int rayi_bulk_marks_new(uint64_t size_bytes, uint32_t chunk_bytes, rayi_bulk_marks **out);
rayi_bulk_marks *rayi_bulk_marks_ref(rayi_bulk_marks *marks);
void rayi_bulk_marks_unref(rayi_bulk_marks *marks); /* takes NULL */
/* The bytes of chunk number `chunk` are there; rayi_bulk_grown tells who waits for them. */
void rayi_bulk_marks_set(rayi_bulk_marks *marks, uint64_t chunk);
/* No more will come: those who wait for what is missing are told that it is lost. After rayi_bulk_grown. */
void rayi_bulk_marks_fail(rayi_bulk_marks *marks);
bool rayi_bulk_marks_has(const rayi_bulk_marks *marks, uint64_t offset, uint64_t size_bytes);
bool rayi_bulk_marks_failed(const rayi_bulk_marks *marks);
uint64_t rayi_bulk_marks_count(const rayi_bulk_marks *marks); /* chunks that are there */

/* ---- the whole ---- */

typedef struct rayi_bulk rayi_bulk;

enum {
    RAYI_BULK_LATER = 1,          /* what `open` returns for what will be there soon: it is asked again */
    RAYI_BULK_CHUNK_MAX = 4 << 20 /* bytes of the longest chunk that is served */
};

typedef struct rayi_bulk_object { /* what `open` found */
    const void *bytes;
    uint64_t size_bytes;
    void *pin;              /* for close */
    rayi_bulk_marks *marks; /* of one that is growing, whose count goes over to the bulk; NULL: all is there */
} rayi_bulk_object;

typedef struct rayi_bulk_options {
    const rayi_key *keys; /* these four as in rayi_transport_options */
    size_t num_keys;
    const uint8_t *identity;
    uint32_t hello_ms;
    const char *address; /* to listen at, "HOST:PORT"; port 0: any free one */
    /* Pins an object for a peer (its public key; NULL without a cluster key). Returns 0, RAYI_BULK_LATER, NOT_FOUND or
     * another error, whose words reach who asks. On a thread for that, several at a time; it may block. NULL: it
     * serves nothing. */
    int (*open)(void *arg, const uint8_t *peer, uint64_t object, uint64_t ticket, rayi_bulk_object *out);
    void (*close)(void *arg, void *pin); /* on the bulk's thread; may not block */
    void *arg;
    uint32_t chunk_bytes;  /* that it fetches by; 0: 1 MiB */
    uint32_t window_bytes; /* that a fetch asks of one source at a time; 0: 4 MiB. One chunk is always asked for */
    uint32_t idle_ms;      /* 0: 10,000 */
    uint32_t silent_ms;    /* a connection that owes something and says nothing for that long is broken; 0: 10,000 */
} rayi_bulk_options;

/* Starts the thread, with all signals blocked. ARGUMENT NOT_FOUND EXISTS (as rayi_listener_open) SYSTEM NO_MEMORY */
int rayi_bulk_open(const rayi_bulk_options *options, rayi_bulk **out);
/* Ends all fetches with SHUTDOWN, closes what is pinned, and joins the thread: it waits for an `open` that is under
 * way. Nobody is in a call any more, but for fetches that rayi_bulk_cancel_all has been called for. */
void rayi_bulk_close(rayi_bulk *bulk);
const char *rayi_bulk_address(const rayi_bulk *bulk);     /* what others dial */
const uint8_t *rayi_bulk_identity(const rayi_bulk *bulk); /* as rayi_transport_identity */
/* Fetches that are under way, and all that are begun later, end with SHUTDOWN. Does not wait for them. */
void rayi_bulk_cancel_all(rayi_bulk *bulk);
/* Marks were set, or failed. Any number of calls costs one look at those who wait. */
void rayi_bulk_grown(rayi_bulk *bulk);

/* ---- fetching ---- */

typedef struct rayi_bulk_source {
    const char *address;
    uint64_t object, ticket; /* what its `open` is told; the ticket means nothing here */
    const uint8_t *peer;     /* 32 bytes: whose public key it must have; NULL: anybody with the cluster key */
} rayi_bulk_source;

typedef struct rayi_bulk_want { /* all of it is copied but the bytes at `to` */
    const rayi_bulk_source *sources;
    size_t num_sources; /* at least one */
    uint64_t size_bytes;
    void *to;               /* size_bytes of them, the fetch's to write until it ends */
    int64_t deadline_ns;    /* in rayi_now_ns terms; INT64_MAX: none, and only a cancel ends waiting for a source */
    rayi_bulk_marks *marks; /* of an object of this size, may be NULL: chunks that are marked are not fetched, and those
                             * that come are marked, and served to who waits for them. It stays the caller's */
    /* NULL, or: asked again and again, on the bulk's thread, until the fetch ends: may that source still be asked? If
     * not it is given up (OBJECT_LOST). */
    bool (*may_ask)(void *arg, size_t source);
    void *may_ask_arg;
} rayi_bulk_want;

/* Blocks until the bytes are there. ARGUMENT NO_MEMORY; FETCH_TIMEOUT (the deadline); NOT_FOUND (says each source),
 * or, when the last source went for another reason, its: AUTH VERSION CORRUPT OBJECT_LOST…; SHUTDOWN. The words name
 * each source and what became of it. */
int rayi_bulk_fetch(rayi_bulk *bulk, const rayi_bulk_want *want);
/* The same without waiting: done(arg, code) comes once on the bulk's thread, where the last error has the words, unless
 * this fails. It may begin other fetches, and must not block. ARGUMENT NO_MEMORY SHUTDOWN */
int rayi_bulk_fetch_begin(rayi_bulk *bulk, const rayi_bulk_want *want, void (*done)(void *arg, int code), void *arg);

#endif
