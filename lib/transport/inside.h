/* What the files of transport share. The layers, each without knowledge of those below: noise (the cryptography),
 * hello (the handshake, from bytes to bytes), record (messages from and to sealed bytes), and link, dial and listener,
 * which have the sockets. */
#ifndef RAYI_TRANSPORT_INSIDE_H
#define RAYI_TRANSPORT_INSIDE_H

#include "transport/noise.h"
#include "transport/transport.h"

#include <netdb.h>
#include <sys/socket.h>

enum {
    RAYI_PROTOCOL = 1, /* the version of everything below; both ends have the same */
    RAYI_MAX_KEYS = 2,
    RAYI_RECORD_MAX = 65535, /* bytes of a record behind its length */
    RAYI_RECORD_LENGTH = 2,  /* bytes of its length */
    RAYI_MESSAGE_HEAD = 8,   /* size and type */
    RAYI_HELLO_MAX = 128,    /* the longest step of a handshake */
    RAYI_READ_BYTES = 256 << 10,
    RAYI_READ_BEHIND = 4096,   /* bytes read in one go with the rest of a long message, which goes to its place */
    RAYI_KEEP_BYTES = 1 << 20, /* a longer message's memory is not kept for the next */
    RAYI_FINISH_MS = 5000
};

/* All numbers on the way are little-endian. */
static inline uint16_t rayi_load_u16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}
static inline uint32_t rayi_load_u32(const uint8_t *bytes)
{
    return rayi_load_u16(bytes) | (uint32_t)rayi_load_u16(bytes + 2) << 16;
}
static inline void rayi_store_u16(uint8_t *bytes, uint16_t number)
{
    bytes[0] = (uint8_t)number;
    bytes[1] = (uint8_t)(number >> 8);
}
static inline void rayi_store_u32(uint8_t *bytes, uint32_t number)
{
    rayi_store_u16(bytes, (uint16_t)number);
    rayi_store_u16(bytes + 2, (uint16_t)(number >> 16));
}

int rayi_sodium_start(void); /* as often as one likes, any thread. SYSTEM */

/* ---- hello ---- */

typedef struct rayi_keyring {
    rayi_key keys[RAYI_MAX_KEYS];
    size_t num_keys; /* 0: no key */
} rayi_keyring;

/* What a handshake waits for: those who dial go ANSWER, SECOND (or LIMIT); those who listen PREAMBLE, FIRST, THIRD (or
 * PREAMBLE, LIMIT). */
typedef enum rayi_hello_state {
    RAYI_HELLO_PREAMBLE,
    RAYI_HELLO_FIRST,
    RAYI_HELLO_THIRD,
    RAYI_HELLO_ANSWER,
    RAYI_HELLO_SECOND,
    RAYI_HELLO_LIMIT,
    RAYI_HELLO_DONE,
    RAYI_HELLO_FAILED
} rayi_hello_state;

typedef struct rayi_hello {
    rayi_hello_state state;
    const rayi_keyring *ring;
    const rayi_key_pair *own;
    bool dials, sealed;
    uint32_t own_limit, peer_limit; /* of a message */
    rayi_noise noise;
    uint8_t in[RAYI_HELLO_MAX], out[RAYI_HELLO_MAX];
    size_t in_size, out_size; /* out is to be sent, and emptied, after each call, failed ones included */
} rayi_hello;

/* ring and own outlive it. */
void rayi_hello_start(rayi_hello *hello, bool dials, const rayi_keyring *ring, const rayi_key_pair *own,
                      uint32_t own_limit);
/* Takes the next bytes, of which it uses as many as belong to the handshake, until there is something to send, or it is
 * over. 0: go on; 1: it is done. AUTH VERSION CORRUPT, with words, once. */
int rayi_hello_feed(rayi_hello *hello, const uint8_t *bytes, size_t size_bytes, size_t *out_used);
void rayi_hello_wipe(rayi_hello *hello);

/* ---- records ---- */

typedef struct rayi_opener {
    rayi_cipher cipher;
    bool sealed;
    bool stopped; /* set in deliver: no more of it */
    uint32_t limit;
    void (*deliver)(void *arg, uint32_t type, uint8_t *bytes, size_t size_bytes);
    uint8_t *(*place)(void *arg, uint32_t type, size_t size_bytes); /* may be NULL: see on_body */
    void *arg;
    uint8_t length[RAYI_RECORD_LENGTH]; /* of a record that came in pieces, which are in part */
    uint8_t *part;
    size_t part_size; /* with the length */
    uint8_t head[RAYI_MESSAGE_HEAD];
    size_t head_size;
    bool in_body;
    bool placed, dropped; /* the message goes to memory of the user's; it goes nowhere any more */
    uint32_t type, size;
    uint8_t *into; /* where it goes: body, or what `place` said */
    uint8_t *body; /* for messages that come in pieces */
    size_t arrived, room;
} rayi_opener;

void rayi_opener_init(rayi_opener *opener, const rayi_cipher *cipher, uint32_t limit); /* cipher NULL: not sealed */
void rayi_opener_fini(rayi_opener *opener);
/* Calls deliver for each message that is whole; writes into bytes. CORRUPT NO_MEMORY, with words: the end. */
int rayi_opener_feed(rayi_opener *opener, uint8_t *bytes, size_t size_bytes);
/* Where the next bytes that arrive may be read to, because they belong to a message, and nothing is sealed; then
 * placed: so many have been. Returns how many; 0: they are to be fed. */
size_t rayi_opener_place(rayi_opener *opener, uint8_t **out);
void rayi_opener_placed(rayi_opener *opener, size_t size_bytes);
/* The message that is arriving, and goes to what `place` said, goes nowhere from now on, and is not delivered. */
void rayi_opener_drop(rayi_opener *opener);
/* In deliver: as rayi_link_take. */
void *rayi_opener_take(rayi_opener *opener, const void *bytes, size_t size_bytes);

typedef struct rayi_chunk { /* one record, a piece of what is not sealed, or bytes that were lent */
    struct rayi_chunk *next;
    const uint8_t *lent;
    bool is_lent;
    uint32_t room, size, sent; /* of bytes */
    uint8_t bytes[];
} rayi_chunk;

typedef struct rayi_chunks { /* free ones for the longest record; touched memory is worth keeping */
    rayi_chunk *first;
    size_t count;
} rayi_chunks;

void rayi_chunks_fini(rayi_chunks *chunks);

typedef struct rayi_sealer {
    rayi_cipher cipher;
    bool sealed;
    bool open; /* the last chunk's record is being filled */
    rayi_chunks *chunks;
    rayi_chunk *first, *last, *spare;
    rayi_chunk *returned, *last_returned; /* lent, and needed no more */
    size_t bytes;                         /* in all that is not sent */
    uint64_t records, rekey_records;
    int64_t rekeyed_ms, rekey_ms;
} rayi_sealer;

/* cipher NULL: not sealed. */
void rayi_sealer_init(rayi_sealer *sealer, const rayi_cipher *cipher, rayi_chunks *chunks, int64_t now_ms);
void rayi_sealer_fini(rayi_sealer *sealer);
/* size_bytes is the sum of parts. All or nothing. NO_MEMORY */
int rayi_sealer_put(rayi_sealer *sealer, int64_t now_ms, uint32_t type, const struct iovec *parts, size_t num_parts,
                    uint32_t size_bytes);
/* Without a copy where nothing is sealed: the bytes stay as they are until they are taken back, in the order they were
 * lent. All or nothing. NO_MEMORY */
int rayi_sealer_lend(rayi_sealer *sealer, int64_t now_ms, uint32_t type, const void *bytes, uint32_t size_bytes);
bool rayi_sealer_take_back(rayi_sealer *sealer, const void **out); /* false: there are none for now */
/* What is to be sent next, sealed by that; returns how many of out are filled. */
size_t rayi_sealer_look(rayi_sealer *sealer, struct iovec *out, size_t room);
void rayi_sealer_sent(rayi_sealer *sealer, size_t size_bytes);

/* ---- addresses ---- */

enum { RAYI_HOST_SIZE = 256, RAYI_ADDRESS_SIZE = 80 };

typedef struct rayi_place {
    char host[RAYI_HOST_SIZE], port[6];
} rayi_place;

int rayi_place_parse(const char *address, rayi_place *out); /* ARGUMENT */
/* getaddrinfo's code; flags of ai_flags. */
int rayi_place_look_up(const rayi_place *place, int flags, struct addrinfo **out);
bool rayi_address_is_loopback(const struct sockaddr *address);
/* One that may stand in a URL and can be dialled; loopback_only: by number, without a look-up. */
bool rayi_address_is_dialled(const char *address, bool loopback_only);
void rayi_address_print(const struct sockaddr *address, char out[RAYI_ADDRESS_SIZE]);
int rayi_address_needs_key(const char *address); /* the error that it is no loopback. ARGUMENT */

/* ---- sockets ---- */

/* A descriptor that is watched. Closing it is immediate for its owner, and later for libuv. */
typedef struct rayi_socket {
    uv_poll_t poll;
    int fd, events;
    /* UV_READABLE, UV_WRITABLE; UV_DISCONNECT besides: an error, and it is watched no more. */
    void (*on_ready)(void *arg, int events);
    void *arg; /* NULL: closed */
} rayi_socket;

/* Takes over fd, also when it fails. SYSTEM NO_MEMORY */
int rayi_socket_open(uv_loop_t *loop, int fd, void (*on_ready)(void *arg, int events), void *arg, rayi_socket **out);
void rayi_socket_watch(rayi_socket *socket, int events);
void rayi_socket_close(rayi_socket *socket); /* takes NULL */

/* ---- links ---- */

struct rayi_transport {
    uv_loop_t *loop;
    rayi_keyring ring;
    rayi_key_pair identity;
    rayi_transport_options options; /* without what was copied */
    rayi_chunks chunks;
    uint8_t *buffer; /* RAYI_READ_BYTES, from the first link that opens on */
    uv_idle_t idle;  /* while links have something to send: they do before the loop sleeps */
    rayi_link *links, *unsent;
    rayi_listener *listeners;
    size_t users; /* those that are not freed yet, and itself */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

void rayi_transport_unuse(rayi_transport *transport);

typedef struct rayi_dial rayi_dial;

typedef enum rayi_link_state {
    RAYI_LINK_DIALS, /* a name is looked up, or an address connected to */
    RAYI_LINK_GREETS,
    RAYI_LINK_OPEN,
    RAYI_LINK_FINISHES, /* sends what is queued; what arrives is dropped */
    RAYI_LINK_CLOSED
} rayi_link_state;

struct rayi_link {
    rayi_transport *transport;
    const rayi_link_events *events;
    void *arg;
    rayi_link_state state;
    rayi_socket *socket;
    uv_timer_t timer;        /* for the state it is in */
    rayi_dial *dial;         /* of one that was dialled, until it is open */
    rayi_listener *listener; /* of a stranger */
    int64_t since_ms;        /* it is a stranger */
    rayi_hello *hello;       /* until it is open */
    rayi_opener opener;
    rayi_sealer sealer;
    uint32_t peer_limit;
    uint64_t num_received; /* bytes since it is open: what tells a slow one from a dead one */
    const void *delivered; /* in on_message */
    size_t delivered_size;
    bool has_peer, told; /* told: who should know of its end does */
    bool full;           /* drain_bytes were queued */
    bool is_unsent;      /* in transport->unsent */
    bool blocked;        /* the system takes no more now */
    bool lost;           /* nothing can be sent any more; what can be read tells why */
    bool shut;           /* nothing will be sent any more, and the peer is told */
    uint8_t peer[RAYI_NOISE_KEY];
    char address[RAYI_HOST_SIZE + 8];
    rayi_link *prev, *next;
    rayi_link *unsent_prev, *unsent_next;
    rayi_link *stranger_prev, *stranger_next;
};

int rayi_link_new(rayi_transport *transport, const rayi_link_events *events, void *arg, rayi_link **out);
/* Its socket has a connection: the handshake begins, within timeout_ms. SYSTEM NO_MEMORY, and it is to be ended */
int rayi_link_greet(rayi_link *link, int64_t timeout_ms);
/* Reads what a stranger has said. false: it is no further than before. */
bool rayi_link_get_on(rayi_link *link);
/* Ends it, and tells why: the last error gets the words that lead to this reason. */
void rayi_link_end(rayi_link *link, rayi_link_why why, int code, const char *reason);

/* dial.c */
void rayi_dial_free(rayi_link *link); /* it has arrived, or is closed */
/* The last error: "cannot reach head at A: REASON (tried for T s)". */
void rayi_dial_say(const rayi_link *link, int code, const char *reason);

/* ---- listeners ---- */

struct rayi_listener {
    rayi_transport *transport;
    rayi_listener_options options;
    rayi_socket *socket;
    uv_timer_t timer;     /* while it accepts nobody */
    rayi_link *strangers; /* the oldest first */
    size_t num_strangers;
    bool closed;
    char address[RAYI_HOST_SIZE + 8];
    rayi_listener *prev, *next;
};

void rayi_listener_forget(rayi_link *link); /* it is no stranger any more */
void rayi_listener_tell(rayi_listener *listener, const char *address, rayi_link_why why);

#endif
