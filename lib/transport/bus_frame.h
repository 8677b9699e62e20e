/* The frames of a bus, from and to bytes.
 *
 *    0  u8   version, 1
 *    1  u8   kind
 *    2  u8   1: sealed, 0: plain
 *    3  u8   0
 *    4  u32  epoch of the secret; 0: plain
 *    8       nonce, 24 bytes; plain: 0
 *   32  u64  generation          from here on sealed (XChaCha20-Poly1305), with the first 8 bytes as what it is about
 *   40  u64  number
 *   48  u32  SURVEY: slice        ANSWER: number of the node
 *   52  u32  SURVEY: of so many
 *   56       payload
 *        64  signature (Ed25519) of all bytes before it, unsealed. PUBLISH and SURVEY only
 *        16  tag; plain: 0
 *
 * Little endian. No sockets, no memory; nothing in here fails but for what a peer sent. */
#ifndef RAYI_BUS_FRAME_H
#define RAYI_BUS_FRAME_H

#include "transport/bus.h"

enum { RAYI_BUS_HEAD = 32, RAYI_BUS_FIELDS = 24, RAYI_BUS_SIGNATURE_BYTES = 64, RAYI_BUS_TAG = 16 };

typedef enum rayi_bus_kind { RAYI_BUS_PUBLISH = 1, RAYI_BUS_SURVEY, RAYI_BUS_ANSWER } rayi_bus_kind;

typedef struct rayi_bus_keys {
    rayi_bus_secret secret, previous; /* epoch 0: none */
    uint8_t signer[RAYI_BUS_KEY_BYTES];
    uint8_t sign[RAYI_BUS_SIGNATURE_BYTES]; /* the head's */
} rayi_bus_keys;

typedef struct rayi_bus_frame {
    rayi_bus_kind kind;
    uint32_t epoch; /* one that the keys have */
    uint64_t generation, number;
    uint32_t slice, slices; /* SURVEY: slice < slices */
    uint32_t node;          /* ANSWER */
    const uint8_t *bytes;
    size_t size_bytes;
} rayi_bus_frame;

void rayi_bus_sign_with_new(rayi_bus_keys *keys); /* makes the key pair of a head */
/* The new secret becomes the current one. ARGUMENT */
int rayi_bus_keys_turn(rayi_bus_keys *keys, const rayi_bus_secret *secret);
/* This epoch, if it is still one of the two, else the current one. */
uint32_t rayi_bus_keys_epoch(const rayi_bus_keys *keys, uint32_t epoch);

size_t rayi_bus_frame_size(rayi_bus_kind kind, size_t payload_bytes);
/* out: rayi_bus_frame_size bytes. */
void rayi_bus_frame_write(const rayi_bus_keys *keys, const rayi_bus_frame *frame, uint8_t *out);
/* Opens a frame of this kind, in place; out->bytes lies in bytes. RAYI_BUS_REASONS: all is well; else MALFORMED, PLAIN,
 * EPOCH, SEAL or SIGNATURE, out is not set, and the bytes are anything. */
rayi_bus_reason rayi_bus_frame_open(const rayi_bus_keys *keys, rayi_bus_kind kind, uint8_t *bytes, size_t size_bytes,
                                    rayi_bus_frame *out);

#endif
