/* The names are those of the specification (revision 34), section 5: CipherState, SymmetricState, HandshakeState; what
 * it calls k, n, ck, h, s, e, rs, re is key, nonce, chain, hash, own, ephemeral, peer and peer_ephemeral here.
 *
 * HASHLEN is 64 and a key has 32 bytes, so what HKDF gives is cut. The name of the protocol has at most 64 bytes, so it
 * is padded with zeros instead of hashed. */
#include "transport/noise.h"

#include <sodium.h>
#include <string.h>

enum { HASH = RAYI_NOISE_HASH, KEY = RAYI_NOISE_KEY, TAG = RAYI_NOISE_TAG };

_Static_assert(HASH == crypto_hash_sha512_BYTES && HASH == crypto_auth_hmacsha512_BYTES, "SHA512");
_Static_assert(KEY == crypto_scalarmult_BYTES && KEY == crypto_aead_chacha20poly1305_ietf_KEYBYTES, "keys");
_Static_assert(TAG == crypto_aead_chacha20poly1305_ietf_ABYTES, "tags");

/* ---- CipherState ---- */

static void nonce_of(uint64_t number, uint8_t out[12])
{
    memset(out, 0, 4);
    for (int i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(number >> 8 * i);
}

void rayi_cipher_seal(rayi_cipher *cipher, const void *about, size_t about_bytes, const void *in, size_t size_bytes,
                      uint8_t *out)
{
    uint8_t nonce[12];
    RAYI_ASSERT(cipher->nonce < UINT64_MAX);
    nonce_of(cipher->nonce++, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, size_bytes, about, about_bytes, NULL, nonce, cipher->key);
}

bool rayi_cipher_open(rayi_cipher *cipher, const void *about, size_t about_bytes, const void *in, size_t size_bytes,
                      uint8_t *out)
{
    uint8_t nonce[12];
    if (size_bytes < TAG || cipher->nonce == UINT64_MAX)
        return false;
    nonce_of(cipher->nonce, nonce);
    if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(out, NULL, in, size_bytes - TAG,
                                                           (const uint8_t *)in + size_bytes - TAG, about, about_bytes,
                                                           nonce, cipher->key) != 0)
        return false;
    cipher->nonce++;
    return true;
}

void rayi_cipher_rekey(rayi_cipher *cipher)
{
    static const uint8_t zeros[KEY];
    uint8_t nonce[12], out[KEY + TAG];
    nonce_of(UINT64_MAX, nonce);
    crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, zeros, sizeof zeros, NULL, 0, NULL, nonce, cipher->key);
    memcpy(cipher->key, out, KEY);
    sodium_memzero(out, sizeof out);
}

/* ---- key pairs ---- */

void rayi_key_pair_from(rayi_key_pair *out, const uint8_t secret[KEY])
{
    memcpy(out->secret, secret, KEY);
    RAYI_ASSERT(crypto_scalarmult_base(out->shown, out->secret) == 0);
}

void rayi_key_pair_make(rayi_key_pair *out)
{
    uint8_t secret[KEY];
    rayi_random_bytes(secret, sizeof secret);
    rayi_key_pair_from(out, secret);
    sodium_memzero(secret, sizeof secret);
}

/* ---- SymmetricState ---- */

/* HKDF with 2 or 3 outputs (third NULL: 2); each may be the chaining key. */
static void derive(const uint8_t chain[HASH], const uint8_t *input, size_t size, uint8_t first[HASH],
                   uint8_t second[HASH], uint8_t *third)
{
    crypto_auth_hmacsha512_state state;
    uint8_t secret[HASH], text[HASH + 1];
    uint8_t *const outs[] = {first, second, third};
    crypto_auth_hmacsha512_init(&state, chain, HASH);
    crypto_auth_hmacsha512_update(&state, input, size);
    crypto_auth_hmacsha512_final(&state, secret);
    for (size_t i = 0, before = 0; i < 3 && outs[i]; i++, before = HASH) {
        text[before] = (uint8_t)(i + 1);
        crypto_auth_hmacsha512_init(&state, secret, HASH);
        crypto_auth_hmacsha512_update(&state, text, before + 1);
        crypto_auth_hmacsha512_final(&state, outs[i]);
        memcpy(text, outs[i], HASH);
    }
    sodium_memzero(&state, sizeof state);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(text, sizeof text);
}

static void mix_hash(rayi_noise *noise, const void *bytes, size_t size)
{
    crypto_hash_sha512_state state;
    crypto_hash_sha512_init(&state);
    crypto_hash_sha512_update(&state, noise->hash, HASH);
    crypto_hash_sha512_update(&state, bytes, size);
    crypto_hash_sha512_final(&state, noise->hash);
}

static void set_key(rayi_noise *noise, uint8_t key[HASH])
{
    memcpy(noise->cipher.key, key, KEY);
    noise->cipher.nonce = 0;
    noise->keyed = true;
    sodium_memzero(key, HASH);
}

static void mix_key(rayi_noise *noise, const uint8_t input[KEY])
{
    uint8_t key[HASH];
    derive(noise->chain, input, KEY, noise->chain, key, NULL);
    set_key(noise, key);
}

static void mix_psk(rayi_noise *noise)
{
    uint8_t hash[HASH], key[HASH];
    derive(noise->chain, noise->psk, KEY, noise->chain, hash, key);
    mix_hash(noise, hash, HASH);
    set_key(noise, key);
}

static size_t seal_and_hash(rayi_noise *noise, const void *in, size_t size, uint8_t *out)
{
    size_t written = size + (noise->keyed ? TAG : 0);
    if (noise->keyed)
        rayi_cipher_seal(&noise->cipher, noise->hash, HASH, in, size, out);
    else if (size > 0)
        memcpy(out, in, size);
    mix_hash(noise, out, written);
    return written;
}

static bool open_and_hash(rayi_noise *noise, const uint8_t *in, size_t size, uint8_t *out)
{
    if (noise->keyed && !rayi_cipher_open(&noise->cipher, noise->hash, HASH, in, size, out))
        return false;
    if (!noise->keyed && size > 0)
        memcpy(out, in, size);
    mix_hash(noise, in, size);
    return true;
}

/* ---- HandshakeState ---- */

typedef enum token { END, PSK, E, S, EE, ES, SE } token;

/* XX; the token psk at its beginning is skipped without one. */
static const token patterns[3][5] = {{PSK, E, END}, {E, EE, S, ES, END}, {S, SE, END}};

void rayi_noise_start(rayi_noise *noise, bool initiator, const uint8_t *psk, const rayi_key_pair *own,
                      const void *prologue, size_t prologue_bytes)
{
    const char *name = psk ? "Noise_XXpsk0_25519_ChaChaPoly_SHA512" : "Noise_XX_25519_ChaChaPoly_SHA512";
    *noise = (rayi_noise){.initiator = initiator, .has_psk = psk != NULL, .own = *own};
    memcpy(noise->hash, name, strlen(name));
    memcpy(noise->chain, noise->hash, HASH);
    if (psk)
        memcpy(noise->psk, psk, KEY);
    mix_hash(noise, prologue, prologue_bytes);
    rayi_key_pair_make(&noise->ephemeral);
}

/* Sees the tokens through, so that the length of a message and the message cannot disagree. */
size_t rayi_noise_overhead(const rayi_noise *noise)
{
    size_t size = 0;
    bool keyed = noise->keyed;
    for (const token *at = patterns[noise->step]; *at != END; at++) {
        if (*at == E || *at == S)
            size += KEY + (*at == S && keyed ? TAG : 0);
        keyed |= *at == PSK || *at == E ? noise->has_psk : *at != S;
    }
    return size + (keyed ? TAG : 0);
}

static bool mix_shared(rayi_noise *noise, const rayi_key_pair *mine, const uint8_t theirs[KEY])
{
    uint8_t shared[KEY];
    bool good = crypto_scalarmult(shared, mine->secret, theirs) == 0; /* not so for points of low order */
    if (good)
        mix_key(noise, shared);
    sodium_memzero(shared, sizeof shared);
    return good;
}

/* Those tokens that both ends do alike. */
static bool mix_token(rayi_noise *noise, token what)
{
    switch (what) {
    case PSK:
        if (noise->has_psk)
            mix_psk(noise);
        return true;
    case EE:
        return mix_shared(noise, &noise->ephemeral, noise->peer_ephemeral);
    case ES:
        return noise->initiator ? mix_shared(noise, &noise->ephemeral, noise->peer)
                                : mix_shared(noise, &noise->own, noise->peer_ephemeral);
    case SE:
        return noise->initiator ? mix_shared(noise, &noise->own, noise->peer_ephemeral)
                                : mix_shared(noise, &noise->ephemeral, noise->peer);
    case E:
    case S:
    case END:
        break;
    }
    return false;
}

static void mix_ephemeral(rayi_noise *noise, const uint8_t shown[KEY])
{
    mix_hash(noise, shown, KEY);
    if (noise->has_psk)
        mix_key(noise, shown);
}

bool rayi_noise_write(rayi_noise *noise, const void *payload, size_t payload_bytes, uint8_t *out)
{
    RAYI_ASSERT(noise->step < 3 && (noise->step % 2 == 0) == noise->initiator);
    for (const token *at = patterns[noise->step]; *at != END; at++) {
        if (*at == E) {
            memcpy(out, noise->ephemeral.shown, KEY);
            mix_ephemeral(noise, out);
            out += KEY;
        } else if (*at == S) {
            out += seal_and_hash(noise, noise->own.shown, KEY, out);
        } else if (!mix_token(noise, *at)) {
            return false;
        }
    }
    (void)seal_and_hash(noise, payload, payload_bytes, out);
    noise->step++;
    return true;
}

bool rayi_noise_read(rayi_noise *noise, const uint8_t *message, size_t size_bytes, uint8_t *payload)
{
    const uint8_t *end = message + size_bytes;
    RAYI_ASSERT(noise->step < 3 && (noise->step % 2 == 0) != noise->initiator);
    if (size_bytes < rayi_noise_overhead(noise))
        return false;
    for (const token *at = patterns[noise->step]; *at != END; at++) {
        if (*at == E) {
            memcpy(noise->peer_ephemeral, message, KEY);
            mix_ephemeral(noise, message);
            message += KEY;
        } else if (*at == S) {
            size_t size = KEY + (noise->keyed ? TAG : 0);
            if (!open_and_hash(noise, message, size, noise->peer))
                return false;
            message += size;
        } else if (!mix_token(noise, *at)) {
            return false;
        }
    }
    if (!open_and_hash(noise, message, (size_t)(end - message), payload))
        return false;
    noise->step++;
    return true;
}

void rayi_noise_split(rayi_noise *noise, rayi_cipher *out_send, rayi_cipher *out_receive)
{
    uint8_t first[HASH], second[HASH];
    RAYI_ASSERT(noise->step == 3);
    derive(noise->chain, NULL, 0, first, second, NULL);
    *out_send = *out_receive = (rayi_cipher){.nonce = 0};
    memcpy(out_send->key, noise->initiator ? first : second, KEY);
    memcpy(out_receive->key, noise->initiator ? second : first, KEY);
    sodium_memzero(first, sizeof first);
    sodium_memzero(second, sizeof second);
    rayi_noise_wipe(noise);
}

/* What is public stays: the peer's key and the hash. */
void rayi_noise_wipe(rayi_noise *noise)
{
    sodium_memzero(&noise->cipher, sizeof noise->cipher);
    sodium_memzero(noise->chain, sizeof noise->chain);
    sodium_memzero(noise->psk, sizeof noise->psk);
    sodium_memzero(&noise->own, sizeof noise->own);
    sodium_memzero(&noise->ephemeral, sizeof noise->ephemeral);
}
