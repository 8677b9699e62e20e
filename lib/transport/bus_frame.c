/* A frame is signed first and then sealed, in place: who has the secret but not the head's key can still not speak for
 * the head, and who has neither does not even learn who signed. The signature covers the nonce and the epoch, so that a
 * member cannot seal what the head said before once more. */
#include "transport/bus_frame.h"
#include "transport/inside.h"

#include <sodium.h>
#include <string.h>

enum { VERSION = 1, SEALED = 1 };
enum { AT_VERSION = 0, AT_KIND = 1, AT_SEALED = 2, AT_ZERO = 3, AT_EPOCH = 4, AT_NONCE = 8 };
enum { AT_GENERATION = 32, AT_NUMBER = 40, AT_FIRST = 48, AT_SECOND = 52, AT_PAYLOAD = 56 };
enum { ABOUT = AT_NONCE, NONCE = AT_GENERATION - AT_NONCE };

_Static_assert((int)NONCE == (int)crypto_aead_xchacha20poly1305_ietf_NPUBBYTES, "nonces");
_Static_assert((int)RAYI_BUS_TAG == (int)crypto_aead_xchacha20poly1305_ietf_ABYTES, "tags");
_Static_assert((int)RAYI_BUS_KEY_BYTES == (int)crypto_aead_xchacha20poly1305_ietf_KEYBYTES, "secrets");
_Static_assert((int)RAYI_BUS_KEY_BYTES == (int)crypto_sign_PUBLICKEYBYTES, "public keys");
_Static_assert((int)RAYI_BUS_SIGNATURE_BYTES == (int)crypto_sign_BYTES, "signatures");
_Static_assert((int)RAYI_BUS_SIGNATURE_BYTES == (int)crypto_sign_SECRETKEYBYTES, "keys to sign with");
_Static_assert((int)AT_GENERATION == (int)RAYI_BUS_HEAD && (int)AT_PAYLOAD == RAYI_BUS_HEAD + RAYI_BUS_FIELDS, "heads");

static uint64_t load_u64(const uint8_t *bytes)
{
    return rayi_load_u32(bytes) | (uint64_t)rayi_load_u32(bytes + 4) << 32;
}

static void store_u64(uint8_t *bytes, uint64_t number)
{
    rayi_store_u32(bytes, (uint32_t)number);
    rayi_store_u32(bytes + 4, (uint32_t)(number >> 32));
}

static size_t signature_of(rayi_bus_kind kind)
{
    return kind == RAYI_BUS_ANSWER ? 0 : RAYI_BUS_SIGNATURE_BYTES;
}

/* ---- keys ---- */

void rayi_bus_sign_with_new(rayi_bus_keys *keys)
{
    crypto_sign_keypair(keys->signer, keys->sign);
}

int rayi_bus_keys_turn(rayi_bus_keys *keys, const rayi_bus_secret *secret)
{
    const rayi_bus_secret *now = &keys->secret;
    if (now->epoch == 0)
        return rayi_fail(RAY_ERR_ARGUMENT, "a bus that was opened without a secret stays without one");
    if (secret->epoch == now->epoch && sodium_memcmp(secret->bytes, now->bytes, sizeof now->bytes) == 0)
        return 0;
    if (secret->epoch <= now->epoch)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected a bus secret of an epoch above %u, got another one of epoch %u",
                         (unsigned)now->epoch, (unsigned)secret->epoch);
    keys->previous = keys->secret;
    keys->secret = *secret;
    return 0;
}

/* NULL: there is none of that epoch. */
static const rayi_bus_secret *secret_of(const rayi_bus_keys *keys, uint32_t epoch)
{
    if (epoch == keys->secret.epoch)
        return &keys->secret;
    return epoch == keys->previous.epoch ? &keys->previous : NULL;
}

uint32_t rayi_bus_keys_epoch(const rayi_bus_keys *keys, uint32_t epoch)
{
    return secret_of(keys, epoch) ? epoch : keys->secret.epoch;
}

/* ---- writing ---- */

size_t rayi_bus_frame_size(rayi_bus_kind kind, size_t payload_bytes)
{
    return AT_PAYLOAD + payload_bytes + signature_of(kind) + RAYI_BUS_TAG;
}

void rayi_bus_frame_write(const rayi_bus_keys *keys, const rayi_bus_frame *frame, uint8_t *out)
{
    const rayi_bus_secret *secret = secret_of(keys, frame->epoch);
    bool sealed = frame->epoch > 0;
    size_t size = AT_PAYLOAD + frame->size_bytes;
    RAYI_ASSERT(secret);
    memset(out, 0, AT_PAYLOAD);
    out[AT_VERSION] = VERSION;
    out[AT_KIND] = (uint8_t)frame->kind;
    out[AT_SEALED] = sealed ? SEALED : 0;
    rayi_store_u32(out + AT_EPOCH, frame->epoch);
    if (sealed)
        randombytes_buf(out + AT_NONCE, NONCE);
    store_u64(out + AT_GENERATION, frame->generation);
    store_u64(out + AT_NUMBER, frame->number);
    rayi_store_u32(out + AT_FIRST, frame->kind == RAYI_BUS_ANSWER ? frame->node : frame->slice);
    rayi_store_u32(out + AT_SECOND, frame->slices);
    if (frame->size_bytes > 0)
        memcpy(out + AT_PAYLOAD, frame->bytes, frame->size_bytes);
    if (signature_of(frame->kind) > 0)
        crypto_sign_detached(out + size, NULL, out, size, keys->sign);
    size += signature_of(frame->kind);
    if (sealed)
        crypto_aead_xchacha20poly1305_ietf_encrypt(out + RAYI_BUS_HEAD, NULL, out + RAYI_BUS_HEAD, size - RAYI_BUS_HEAD,
                                                   out, ABOUT, NULL, out + AT_NONCE, secret->bytes);
    else
        memset(out + size, 0, RAYI_BUS_TAG);
}

/* ---- opening ---- */

static rayi_bus_reason check_head(const rayi_bus_keys *keys, rayi_bus_kind kind, const uint8_t *bytes)
{
    uint32_t epoch = rayi_load_u32(bytes + AT_EPOCH);
    bool sealed = bytes[AT_SEALED] == SEALED;
    if (bytes[AT_VERSION] != VERSION || bytes[AT_KIND] != kind || bytes[AT_SEALED] > SEALED || bytes[AT_ZERO] != 0 ||
        sealed != (epoch > 0))
        return RAYI_BUS_MALFORMED;
    if (sealed != (keys->secret.epoch > 0))
        return RAYI_BUS_PLAIN;
    return secret_of(keys, epoch) ? RAYI_BUS_REASONS : RAYI_BUS_EPOCH;
}

static rayi_bus_reason unseal(const rayi_bus_keys *keys, uint8_t *bytes, size_t size)
{
    const rayi_bus_secret *secret = secret_of(keys, rayi_load_u32(bytes + AT_EPOCH));
    if (secret->epoch == 0)
        return sodium_is_zero(bytes + AT_NONCE, NONCE) && sodium_is_zero(bytes + size - RAYI_BUS_TAG, RAYI_BUS_TAG)
                   ? RAYI_BUS_REASONS
                   : RAYI_BUS_MALFORMED;
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(bytes + RAYI_BUS_HEAD, NULL, NULL, bytes + RAYI_BUS_HEAD,
                                                   size - RAYI_BUS_HEAD, bytes, ABOUT, bytes + AT_NONCE,
                                                   secret->bytes) != 0)
        return RAYI_BUS_SEAL;
    return RAYI_BUS_REASONS;
}

static bool take_fields(const uint8_t *bytes, rayi_bus_frame *frame)
{
    uint32_t first = rayi_load_u32(bytes + AT_FIRST), second = rayi_load_u32(bytes + AT_SECOND);
    frame->epoch = rayi_load_u32(bytes + AT_EPOCH);
    frame->generation = load_u64(bytes + AT_GENERATION);
    frame->number = load_u64(bytes + AT_NUMBER);
    frame->bytes = bytes + AT_PAYLOAD;
    switch (frame->kind) {
    case RAYI_BUS_PUBLISH:
        return first == 0 && second == 0;
    case RAYI_BUS_SURVEY:
        frame->slice = first;
        frame->slices = second;
        return first < second;
    case RAYI_BUS_ANSWER:
        frame->node = first;
        return second == 0;
    }
    return false;
}

rayi_bus_reason rayi_bus_frame_open(const rayi_bus_keys *keys, rayi_bus_kind kind, uint8_t *bytes, size_t size_bytes,
                                    rayi_bus_frame *out)
{
    rayi_bus_frame frame = {.kind = kind};
    if (size_bytes < rayi_bus_frame_size(kind, 0))
        return RAYI_BUS_MALFORMED;
    rayi_bus_reason reason = check_head(keys, kind, bytes);
    if (reason == RAYI_BUS_REASONS)
        reason = unseal(keys, bytes, size_bytes);
    if (reason != RAYI_BUS_REASONS)
        return reason;
    size_t end = size_bytes - RAYI_BUS_TAG - signature_of(kind);
    if (signature_of(kind) > 0 && crypto_sign_verify_detached(bytes + end, bytes, end, keys->signer) != 0)
        return RAYI_BUS_SIGNATURE;
    frame.size_bytes = end - AT_PAYLOAD;
    if (!take_fields(bytes, &frame))
        return RAYI_BUS_MALFORMED;
    *out = frame;
    return RAYI_BUS_REASONS;
}
