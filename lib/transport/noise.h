/* The Noise protocol, revision 34, as far as links need it: the patterns XX and XXpsk0 with 25519, ChaChaPoly and
 * SHA512. No sockets, no memory, no clock; nothing in here fails but for what a peer sent. */
#ifndef RAYI_NOISE_H
#define RAYI_NOISE_H

#include "base/base.h"

enum { RAYI_NOISE_KEY = 32, RAYI_NOISE_TAG = 16, RAYI_NOISE_HASH = 64, RAYI_NOISE_MAX = 65535 };

/* One direction: a key and the number of the next message under it. */
typedef struct rayi_cipher {
    uint8_t key[RAYI_NOISE_KEY];
    uint64_t nonce;
} rayi_cipher;

/* out has room for size_bytes and a tag, and may be `in`. The last nonce is never used up: it asserts. */
void rayi_cipher_seal(rayi_cipher *cipher, const void *about, size_t about_bytes, const void *in, size_t size_bytes,
                      uint8_t *out);
/* size_bytes includes the tag; out may be `in`. false: not the next message from who has the key; out is not written
 * then, and the nonce stays. */
bool rayi_cipher_open(rayi_cipher *cipher, const void *about, size_t about_bytes, const void *in, size_t size_bytes,
                      uint8_t *out);
void rayi_cipher_rekey(rayi_cipher *cipher); /* REKEY: the old key does not follow from the new one */

typedef struct rayi_key_pair {
    uint8_t secret[RAYI_NOISE_KEY], shown[RAYI_NOISE_KEY];
} rayi_key_pair;

void rayi_key_pair_make(rayi_key_pair *out);
void rayi_key_pair_from(rayi_key_pair *out, const uint8_t secret[RAYI_NOISE_KEY]);

typedef struct rayi_noise {
    bool initiator, has_psk, keyed;
    int step; /* messages so far, of 3 */
    rayi_cipher cipher;
    uint8_t chain[RAYI_NOISE_HASH], hash[RAYI_NOISE_HASH];
    uint8_t psk[RAYI_NOISE_KEY];
    rayi_key_pair own, ephemeral; /* the latter is made at the start: a test may put another */
    uint8_t peer[RAYI_NOISE_KEY], peer_ephemeral[RAYI_NOISE_KEY];
} rayi_noise;

/* psk: 32 bytes, or NULL: plain XX. */
void rayi_noise_start(rayi_noise *noise, bool initiator, const uint8_t *psk, const rayi_key_pair *own,
                      const void *prologue, size_t prologue_bytes);
/* How many bytes the next message has beside its payload. */
size_t rayi_noise_overhead(const rayi_noise *noise);
/* Writes the next message, payload and overhead, when it is one's turn. false: the peer's keys were bad. */
bool rayi_noise_write(rayi_noise *noise, const void *payload, size_t payload_bytes, uint8_t *out);
/* Reads it; payload has room for size_bytes less the overhead. false: it is not from who has the keys; that is the end
 * of the handshake. */
bool rayi_noise_read(rayi_noise *noise, const uint8_t *message, size_t size_bytes, uint8_t *payload);
/* After the third message. The handshake's secrets are wiped. */
void rayi_noise_split(rayi_noise *noise, rayi_cipher *out_send, rayi_cipher *out_receive);
void rayi_noise_wipe(rayi_noise *noise);

#endif
