/* transport: links between processes of a cluster, over TCP; sessions, which outlive links (session.h); the bus, by
 * which the head tells and asks all nodes at once (bus.h); objects in bulk (bulk.h); and how threads call a loop
 * (wake.h).
 *
 * Owns: cluster keys and their files; the sockets of listeners and links, from the look-up of a name to the last byte;
 * the handshake, the records that a link's bytes are sealed in, and the bytes that wait to be sent.
 *
 * A link carries messages (a type and up to message_bytes bytes), in order, both ways, between two ends that have
 * proved to each other that they have the same cluster key, and who they are (their key pairs). It ends at the first
 * thing that is not as it must be; it is never repaired, and what was on its way is lost: who needs more numbers its
 * messages and dials again.
 *
 * Invariants:
 * - Nothing of a peer is believed, and no message of it is handed out, before the handshake is done; until then it
 * makes us hold less than 4 KiB, for at most hello_ms, and there are never more than max_strangers of its kind.
 * - A record is accepted only as the next one of its direction. Memory for a message follows the bytes that have
 *   arrived, at most to twice as much (and 64 KiB), whatever size was claimed.
 * - Without a key there are links between loopback addresses only. With one there is no way to do without it.
 * - Nothing blocks but rayi_listener_open with a host's name, and rayi_key_*. No signal handlers, no threads but those
 *   in which libuv looks up names.
 * - A call that fails makes no callback. Callbacks come from the loop, never from inside a call. In a callback anything
 *   may be called, closing included; after a close no callback comes.
 *
 * Everything is called on the thread of the loop, except for keys (any thread). Sizes are those of the caller's bytes.
 */
#ifndef RAYI_TRANSPORT_H
#define RAYI_TRANSPORT_H

#include "base/base.h"
#include "transport/bus.h"
#include "transport/session.h"
#include "transport/wake.h"

#include <sys/uio.h>
#include <uv.h>

/* ---- cluster keys ---- */

enum { RAYI_KEY_BYTES = 32, RAYI_KEY_ID_BYTES = 8, RAYI_KEY_TEXT_SIZE = 64 };

/* Who has it may join. It is no name: the id is, which follows from it and may be seen by all. */
typedef struct rayi_key {
    uint8_t bytes[RAYI_KEY_BYTES], id[RAYI_KEY_ID_BYTES];
} rayi_key;

int rayi_key_make(rayi_key *out); /* a new one. SYSTEM */
void rayi_key_wipe(rayi_key *key);
/* As in a file and in the environment, "ray-cluster-key-1:" and base64, without an end of line. */
void rayi_key_print(const rayi_key *key, char out[RAYI_KEY_TEXT_SIZE]);
/* The other way round; where is for the error only, which never tells the text. ARGUMENT SYSTEM */
int rayi_key_parse(const char *text, const char *where, rayi_key *out);
/* A file that is ours and that nobody else may read. NOT_FOUND SYSTEM ARGUMENT (who may read it, what is in it) */
int rayi_key_load(const char *path, rayi_key *out);
/* Makes the file, for its owner only; it is whole when it appears. EXISTS DISK_FULL SYSTEM NO_MEMORY */
int rayi_key_save(const rayi_key *key, const char *path);
/* The first of: the file at path, the file that $RAY_KEY_FILE names, what $RAY_CLUSTER_KEY holds, session/cluster-key,
 * ~/.config/ray/cluster-key. The first two must be there if they are named; path and session may be NULL. One that is
 * found and bad is an error, and no reason to look further. out_where (may be NULL): the path, or "$RAY_CLUSTER_KEY",
 * for rayi_free. NOT_FOUND (none), those of load, NO_MEMORY */
int rayi_key_find(const char *path, const char *session, rayi_key *out, char **out_where);

/* ---- hashes ---- */

enum { RAYI_HASH_TEXT_SIZE = 65 };
/* Of 256 bits, in hex digits: nobody finds other bytes that have it. Any thread. SYSTEM */
int rayi_hash(const void *bytes, size_t size_bytes, char out[RAYI_HASH_TEXT_SIZE]);

/* ---- what the links of a loop have in common ---- */

typedef struct rayi_transport rayi_transport;

typedef struct rayi_transport_options {
    const rayi_key *keys;    /* copied; the first is dialled with, each is accepted: two while it is changed */
    size_t num_keys;         /* at most 2; 0: no key, loopback only, and nothing is sealed */
    const uint8_t *identity; /* 32 secret bytes that this node is known by, copied; NULL: new ones */
    uint32_t message_bytes;  /* of the longest message that is accepted; 0: 16 MiB. The other end learns it */
    uint32_t drain_bytes;    /* on_drain comes when less is queued; 0: 1 MiB */
    uint32_t hello_ms;       /* for the handshake of who connects; 0: 5,000 */
    uint32_t max_strangers;  /* of one listener: connections whose handshake is under way; 0: 64 */
    uint32_t rekey_ms;       /* a link gets a new key when it sends after that long, 0: 120,000, */
    uint64_t rekey_records;  /* or so many records; 0: 2^32 */
    rayi_vigil *vigil;       /* of the loop, which hears of what its links receive; NULL: it has none */
} rayi_transport_options;

/* options may be NULL. ARGUMENT SYSTEM NO_MEMORY */
int rayi_transport_open(uv_loop_t *loop, const rayi_transport_options *options, rayi_transport **out);
/* Closes its listeners and links too; closed(arg) (may be NULL) when the last is gone. It may take as long as a look-up
 * of a name that is under way. */
void rayi_transport_close(rayi_transport *transport, void (*closed)(void *arg), void *arg);
/* For handshakes from now on. At least one, and only where there was one. ARGUMENT */
int rayi_transport_set_keys(rayi_transport *transport, const rayi_key *keys, size_t num_keys);
/* The public half of the identity, 32 bytes: what others see as rayi_link_peer. */
const uint8_t *rayi_transport_identity(const rayi_transport *transport);

/* ---- links ---- */

typedef struct rayi_link rayi_link;

/* Why a link ended. In on_close this thread's last error has the code and the words for people. */
typedef enum rayi_link_why {
    RAYI_LINK_PEER_CLOSED,  /* the peer, its process or its machine has closed it */
    RAYI_LINK_ENDED,        /* rayi_link_finish is done */
    RAYI_LINK_REFUSED,      /* dialled: nobody listens there */
    RAYI_LINK_UNKNOWN_HOST, /* dialled: the name has no address */
    RAYI_LINK_UNREACHABLE,  /* dialled: no way there */
    RAYI_LINK_SILENT,       /* dialled: no answer in time; a stranger: too slow, or driven out by others */
    RAYI_LINK_AUTH,         /* the key is missing or another one */
    RAYI_LINK_VERSION,      /* the peer speaks another version */
    RAYI_LINK_CORRUPT,      /* not what the protocol allows */
    RAYI_LINK_SYSTEM,       /* the operating system refused, or out of memory */
} rayi_link_why;
const char *rayi_link_why_text(rayi_link_why why); /* "connection refused": a reason to put into a sentence */

typedef struct rayi_link_events { /* any may be NULL */
    /* The handshake is done; the first callback. The peer has the key, and is rayi_link_peer. */
    void (*on_open)(rayi_link *link, void *arg);
    /* A message begins: its memory, which stays until on_message, the link's end, or rayi_link_drop_body; on_message
     * then has it as its bytes. NULL: memory of the link's. Not for empty messages. */
    void *(*on_body)(rayi_link *link, void *arg, uint32_t type, size_t size_bytes);
    /* bytes: size_bytes of them, aligned to nothing, gone when it returns; see rayi_link_take. */
    void (*on_message)(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size_bytes);
    /* Bytes that were lent are the caller's again, in the order they were lent. With the link's end all are, and this
     * does not come for them. */
    void (*on_returned)(rayi_link *link, void *arg, const void *bytes);
    /* Less than drain_bytes are queued, after it was more when a send returned. */
    void (*on_drain)(rayi_link *link, void *arg);
    /* The last callback; also when a dialled link never opened. The link is gone when it returns. */
    void (*on_close)(rayi_link *link, void *arg, rayi_link_why why);
} rayi_link_events;

/* Dials "HOST:PORT" ("[…]" around an IPv6 address), each address of a name in turn, once. who ("head"; static; NULL:
 * "peer") is for errors; timeout_ms includes everything up to on_open. events stay the caller's and must outlive the
 * link. ARGUMENT (the address; or no loopback, and there is no key) SYSTEM NO_MEMORY */
int rayi_link_dial(rayi_transport *transport, const char *address, const char *who, int64_t timeout_ms,
                   const rayi_link_events *events, void *arg, rayi_link **out);
/* Queues a message, copied (and sealed) during the call; it goes out before the loop sleeps. From on_open on. NOT_HERE
 * (not open, or finishing), LIMIT (longer than the peer accepts: says so), NO_MEMORY; nothing is sent then. What is
 * queued has no limit but the caller's: see rayi_link_queued_bytes. */
int rayi_link_send(rayi_link *link, uint32_t type, const void *bytes, size_t size_bytes);
int rayi_link_send_parts(rayi_link *link, uint32_t type, const struct iovec *parts, size_t num_parts); /* as one */
/* The same without a copy where the link is not sealed: bytes stay as they are until on_returned. */
int rayi_link_lend(rayi_link *link, uint32_t type, const void *bytes, size_t size_bytes);
/* What the operating system has not taken yet, overhead included. */
size_t rayi_link_queued_bytes(const rayi_link *link);
/* In on_message: its bytes as a block of the caller's, for rayi_free; not copied where they were put together in one.
 * Once a message. NULL: out of memory. */
void *rayi_link_take(rayi_link *link);
/* While a message arrives that on_body gave memory for: it is not written any more, and on_message does not come. */
void rayi_link_drop_body(rayi_link *link);
/* Sends what is queued, and then closes; what arrives meanwhile is dropped. on_close comes within 5 s. False: it was
 * not open, and is closed; on_close does not come. */
bool rayi_link_finish(rayi_link *link);
/* At once. No callback comes any more; the link is gone with the return to the loop. */
void rayi_link_close(rayi_link *link);

void rayi_link_set_arg(rayi_link *link, void *arg);
void *rayi_link_arg(const rayi_link *link);
const uint8_t *rayi_link_peer(const rayi_link *link); /* its public key, 32 bytes; NULL without a cluster key */
const char *rayi_link_address(const rayi_link *link); /* of the peer, for people: as dialled, or "10.0.0.7:40122" */

/* ---- listeners ---- */

typedef struct rayi_listener rayi_listener;

typedef struct rayi_listener_options {
    const rayi_link_events *events; /* of the links it accepts; the caller's, outlive them */
    void *arg;                      /* what they begin with: see rayi_link_set_arg */
    /* Somebody's handshake failed; the last error has the words. May be NULL. */
    void (*on_stranger)(rayi_listener *listener, void *arg, const char *address, rayi_link_why why);
} rayi_listener_options;

/* Port 0: any free one. A name is looked up here and now. ARGUMENT (the address; or no loopback, and there is no key),
 * NOT_FOUND (no such host), EXISTS (the port is in use), SYSTEM NO_MEMORY */
int rayi_listener_open(rayi_transport *transport, const char *address, const rayi_listener_options *options,
                       rayi_listener **out);
const char *rayi_listener_address(const rayi_listener *listener); /* "HOST:PORT" as it was got */
size_t rayi_listener_strangers(const rayi_listener *listener);
/* Strangers are dropped, links stay. */
void rayi_listener_close(rayi_listener *listener);

#include "transport/bulk.h"

#endif
