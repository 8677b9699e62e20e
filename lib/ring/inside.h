/* What the files of ring share with each other, and with the tests that play a hostile other end. */
#ifndef RAYI_RING_INSIDE_H
#define RAYI_RING_INSIDE_H

#include "ring/ring.h"

#include <stdatomic.h>

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "a lock would not be shared by both ends");

#define RAYI_CELL        64
#define RAYI_CELLS       (RAYI_RING_BYTES / RAYI_CELL)
#define RAYI_RING_FILLER UINT32_MAX /* type of what takes the cells left before the end */

/* Flags in a header's size, of the parts of a long message: all but the last are as large as can be. */
#define RAYI_RING_MORE  (1u << 31) /* another part follows */
#define RAYI_RING_REST  (1u << 30) /* another part came before */
#define RAYI_RING_FLAGS (RAYI_RING_MORE | RAYI_RING_REST)

typedef struct rayi_ring_header {
    uint32_t size, type; /* size of the payload behind it, and flags */
    uint64_t ticket;     /* the count of the cell it starts in: a stray write seldom has it right */
} rayi_ring_header;
_Static_assert(sizeof(rayi_ring_header) == 16, "two words");

/* Counts of cells since the beginning, never wrapping. Processors fetch lines in pairs: hence 128. */
typedef struct rayi_ring_counters {
    _Alignas(128) _Atomic(uint64_t) tail; /* the producer's: cells before it are written */
    _Alignas(128) _Atomic(uint64_t) head; /* the consumer's: cells before it are free again */
} rayi_ring_counters;

typedef struct rayi_ring_stamp {
    uint64_t magic;
    uint32_t layout; /* goes up with any change of the structs here or of the meaning of a word */
    uint32_t memory_bytes, ring_bytes, message_max, offers, cell;
} rayi_ring_stamp;

/* What both ends map. */
typedef struct rayi_ring_memory {
    rayi_ring_stamp stamp;                  /* written before the descriptor is given away */
    _Alignas(128) atomic_uint bell;         /* futex of the worker's threads, counts up */
    _Alignas(128) atomic_uint sleepers;     /* the worker's: threads that sleep there, or are about to */
    _Alignas(128) atomic_uint armed;        /* 1: the node sleeps, its eventfd must be written to */
    _Alignas(128) atomic_uint polling;      /* the node's: threads that look again and again */
    _Alignas(128) _Atomic(uint64_t) hungry; /* not 0: the node found no room while down's head was this less 1 */
    rayi_ring_counters down, up;
    _Alignas(4096) _Atomic(uint32_t) claim[RAYI_OFFERS];
    _Atomic(uint64_t) credit[RAYI_OFFERS];
    _Alignas(4096) unsigned char down_cells[RAYI_RING_BYTES];
    unsigned char up_cells[RAYI_RING_BYTES];
} rayi_ring_memory;

/* One end's view of the ring that it fills. */
typedef struct rayi_ring_out {
    rayi_ring_counters *shared;
    unsigned char *cells;
    _Atomic(uint64_t) tail; /* the sender's; others may peek */
    uint64_t seen_head;     /* the last one seen, and found good */
    uint64_t starved_head;  /* what it was when a send found no room, */
    bool starved;           /* if one has since wants_room said so */
    bool in_parts;          /* a long message is under way */
} rayi_ring_out;

/* And of the ring that it empties. */
typedef struct rayi_ring_in {
    rayi_ring_counters *shared;
    const unsigned char *cells;
    _Atomic(uint64_t) head; /* the receiver's; others may peek */
    uint64_t seen_tail;     /* the last one seen, and found good */
    unsigned char *copy;    /* the private buffer */
    unsigned char *joined;  /* what has come of a long message, or one that is whole, until the next receive */
    size_t joined_size, joined_room;
    uint32_t joined_type;
    bool joining; /* it is not whole */
} rayi_ring_in;

struct rayi_channel {
    const rayi_memory *allocator;
    rayi_ring_memory *memory;
    int fd;
    bool is_node;
    _Atomic(const char *) broken;   /* what was wrong, once the other end has written rubbish */
    void *block;                    /* as the allocator gave it */
    _Alignas(64) rayi_ring_out out; /* under the caller's lock for senders */
    _Alignas(64) rayi_ring_in in;   /* under the caller's lock for receivers */
};

/* long.c */
/* Puts a part where it belongs: 1: the message is whole, in *part; 0: not yet; negative: as receive. */
int rayi_ring_join(rayi_channel *channel, uint32_t flags, rayi_received *part);
void rayi_ring_drop_joined(rayi_channel *channel);

/* ring.c */
int rayi_ring_corrupt(rayi_channel *channel, const char *why); /* breaks the channel; sets the last error */
bool rayi_ring_send(rayi_channel *channel, uint32_t type, uint32_t flags, const void *head, size_t head_size,
                    const void *body, size_t body_size);
/* Room for a payload of that size, as far as can be seen without the senders' lock. False also when broken. */
bool rayi_ring_peek_room(rayi_channel *channel, size_t size);

static inline bool rayi_ring_broken(const rayi_channel *channel)
{
    return atomic_load_explicit(&channel->broken, memory_order_relaxed) != NULL;
}

#endif
