/* Frames: how what a session says lies in bytes. Part of session.h.
 *
 * A frame is a head of 48 bytes, little endian, and a payload:
 *
 *    0  u32  bytes of the payload
 *    4  u8   kind
 *    5  u8   version, 1
 *    6  u16  0
 *    8  u64  incarnation of the sender
 *   16  u64  incarnation of the receiver
 *   24  u64  number: of a REQUEST or MESSAGE, from 1; of a HELLO, of the dial; else 0
 *   32  u64  received: acknowledges all messages up to this one
 *   40  u64  limit: so many requests may have been sent to the sender of this, in all
 *
 * The payload of a HELLO is two node ids, the sender's and the receiver's; an ACK and a REFUSAL have none. Reading
 * trusts nothing: what comes out of it lies within the bytes given and within the limits below. */
#ifndef RAYI_FRAME_H
#define RAYI_FRAME_H

#include "base/base.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAYI_FRAME_HEAD     48
#define RAYI_FRAME_SIZE_MAX ((size_t)64 << 20)    /* bytes of a payload */
#define RAYI_NUMBER_MAX     ((uint64_t)INT64_MAX) /* of numbers, counts and incarnations */
#define RAYI_DIAL_MAX       ((uint64_t)UINT32_MAX)
#define RAYI_NODE_ID_SIZE   16
#define RAYI_HELLO_SIZE     (RAYI_FRAME_HEAD + 2 * RAYI_NODE_ID_SIZE)

typedef enum rayi_frame_kind {
    RAYI_FRAME_HELLO = 1, /* the first on a connection, from either end */
    RAYI_FRAME_REQUEST,   /* a message that needs credit */
    RAYI_FRAME_MESSAGE,   /* one that always has room: replies, counts, what must not wait */
    RAYI_FRAME_ACK,       /* nothing but the head */
    RAYI_FRAME_REFUSAL,   /* answers a HELLO: who the sender is, and with which incarnation of the other it talks */
} rayi_frame_kind;

typedef struct rayi_session_frame {
    rayi_frame_kind kind;
    uint64_t from, to;
    uint64_t number, received, limit;
    size_t size;
    const unsigned char *payload; /* within the bytes that were read */
} rayi_session_frame;

/* How long is the frame that begins with these RAYI_FRAME_HEAD bytes, head and all? 0: it is none. */
size_t rayi_frame_size(const void *head);
/* A whole frame, of exactly so many bytes; CORRUPT. */
int rayi_frame_read(const void *bytes, size_t size, rayi_session_frame *out);
/* The head, RAYI_FRAME_HEAD bytes; the payload is the caller's to put behind it. */
void rayi_frame_write_head(void *out, const rayi_session_frame *frame);
/* A whole REFUSAL, RAYI_FRAME_HEAD bytes: the sender is `from` and talks with incarnation `to` or later. */
void rayi_frame_write_refusal(void *out, uint64_t from, uint64_t to);

#endif
