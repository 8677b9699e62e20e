/* The cryptography, against vectors that others have published. */
#include "helper.h"

#include <sodium.h>

enum { MAX_MESSAGES = 6, MAX_BYTES = 256 };

typedef struct bytes {
    uint8_t at[MAX_BYTES];
    size_t size;
} bytes;

typedef struct noise_vector {
    bool has_psk;
    bytes prologue, init_static, resp_static, init_ephemeral, resp_ephemeral, psk, hash;
    bytes payloads[MAX_MESSAGES], ciphertexts[MAX_MESSAGES];
    int num_messages;
} noise_vector;

static bytes from_hex(const char *text)
{
    bytes out;
    cr_assert_eq(sodium_hex2bin(out.at, sizeof out.at, text, strlen(text), NULL, &out.size, NULL), 0, "%s", text);
    return out;
}

static void read_line(noise_vector *vector, const char *name, const char *value)
{
    int number;
    char rest[16];
    if (strcmp(name, "handshake") == 0)
        vector->has_psk = strcmp(value, "Noise_XXpsk0_25519_ChaChaPoly_SHA512") == 0;
    else if (strcmp(name, "prologue") == 0)
        vector->prologue = from_hex(value);
    else if (strcmp(name, "init_static") == 0)
        vector->init_static = from_hex(value);
    else if (strcmp(name, "resp_static") == 0)
        vector->resp_static = from_hex(value);
    else if (strcmp(name, "gen_init_ephemeral") == 0)
        vector->init_ephemeral = from_hex(value);
    else if (strcmp(name, "gen_resp_ephemeral") == 0)
        vector->resp_ephemeral = from_hex(value);
    else if (strcmp(name, "preshared_key") == 0)
        vector->psk = from_hex(value);
    else if (strcmp(name, "handshake_hash") == 0)
        vector->hash = from_hex(value);
    else if (sscanf(name, "msg_%d_%15s", &number, rest) == 2 && number < MAX_MESSAGES) {
        *(strcmp(rest, "payload") == 0 ? &vector->payloads[number] : &vector->ciphertexts[number]) = from_hex(value);
        vector->num_messages = number + 1;
    } else
        cr_assert_fail("%s?", name);
}

static bool read_vector(FILE *file, noise_vector *out)
{
    char line[1024];
    *out = (noise_vector){0};
    while (fgets(line, sizeof line, file)) {
        char *value = strchr(line, '=');
        line[strcspn(line, "\n")] = 0;
        if (line[0] == 0 && out->num_messages > 0)
            return true;
        if (line[0] == '#' || !value)
            continue;
        *value = 0;
        read_line(out, line, value + 1);
    }
    return out->num_messages > 0;
}

static void start(const noise_vector *vector, bool initiator, rayi_noise *out)
{
    rayi_key_pair own;
    rayi_key_pair_from(&own, initiator ? vector->init_static.at : vector->resp_static.at);
    rayi_noise_start(out, initiator, vector->has_psk ? vector->psk.at : NULL, &own, vector->prologue.at,
                     vector->prologue.size);
    rayi_key_pair_from(&out->ephemeral, initiator ? vector->init_ephemeral.at : vector->resp_ephemeral.at);
}

static void check_handshake(const noise_vector *vector, rayi_noise *ends)
{
    uint8_t message[MAX_BYTES], payload[MAX_BYTES];
    for (int i = 0; i < 3; i++) {
        const bytes *in = &vector->payloads[i], *want = &vector->ciphertexts[i];
        rayi_noise *writer = &ends[i % 2], *reader = &ends[1 - i % 2];
        size_t size = rayi_noise_overhead(writer) + in->size;
        cr_assert(size == want->size && size == rayi_noise_overhead(reader) + in->size);
        cr_assert(rayi_noise_write(writer, in->at, in->size, message));
        cr_assert_arr_eq(message, want->at, size, "message %d", i);
        cr_assert(rayi_noise_read(reader, message, size, payload));
        cr_assert_arr_eq(payload, in->at, in->size);
    }
    cr_assert_arr_eq(ends[0].hash, ends[1].hash, RAYI_NOISE_HASH);
    if (vector->hash.size > 0)
        cr_assert_arr_eq(ends[0].hash, vector->hash.at, RAYI_NOISE_HASH);
}

static void check_vector(const noise_vector *vector)
{
    rayi_noise ends[2];
    rayi_cipher send[2], receive[2];
    uint8_t message[MAX_BYTES], payload[MAX_BYTES];
    start(vector, true, &ends[0]);
    start(vector, false, &ends[1]);
    check_handshake(vector, ends);
    for (int i = 0; i < 2; i++)
        rayi_noise_split(&ends[i], &send[i], &receive[i]);
    cr_assert_arr_eq(ends[0].peer, (rayi_key_pair_from(&ends[1].own, vector->resp_static.at), ends[1].own.shown), 32);
    for (int i = 3; i < vector->num_messages; i++) {
        const bytes *in = &vector->payloads[i], *want = &vector->ciphertexts[i];
        rayi_cipher_seal(&send[(i - 3) % 2], NULL, 0, in->at, in->size, message);
        cr_assert_eq(in->size + RAYI_NOISE_TAG, want->size);
        cr_assert_arr_eq(message, want->at, want->size, "message %d", i);
        cr_assert(rayi_cipher_open(&receive[(i - 2) % 2], NULL, 0, message, want->size, payload));
        cr_assert_arr_eq(payload, in->at, in->size);
    }
}

Test(noise, vectors)
{
    noise_vector vector;
    int plain = 0, with_psk = 0;
    FILE *file = fopen(VECTORS, "re");
    cr_assert_not_null(file);
    for (; read_vector(file, &vector); (*(vector.has_psk ? &with_psk : &plain))++)
        check_vector(&vector);
    fclose(file);
    cr_assert_eq(plain, 1);
    cr_assert_eq(with_psk, 4);
}

/* A cipher of nonce n gives what libsodium gives for it; REKEY is the encryption of zeros under the last nonce. */
Test(noise, rekey)
{
    rayi_cipher here = {.key = {1, 2, 3}, .nonce = 7}, there = here;
    uint8_t zeros[32] = {0}, nonce[12] = {0}, want[48], sealed[20], out[4];
    memset(nonce + 4, 0xff, 8);
    crypto_aead_chacha20poly1305_ietf_encrypt(want, NULL, zeros, sizeof zeros, NULL, 0, NULL, nonce, here.key);
    rayi_cipher_rekey(&here);
    cr_assert_arr_eq(here.key, want, 32);
    cr_assert_eq(here.nonce, 7);
    rayi_cipher_seal(&here, NULL, 0, "data", 4, sealed);
    cr_assert_not(rayi_cipher_open(&there, NULL, 0, sealed, sizeof sealed, out));
    rayi_cipher_rekey(&there);
    cr_assert(rayi_cipher_open(&there, NULL, 0, sealed, sizeof sealed, out));
    cr_assert_arr_eq(out, "data", 4);
    cr_assert_not(rayi_cipher_open(&there, NULL, 0, sealed, sizeof sealed, out), "a second time");
    there.nonce = UINT64_MAX;
    cr_assert_not(rayi_cipher_open(&there, NULL, 0, sealed, sizeof sealed, out), "the nonce of REKEY");
}

/* Points of low order give a shared secret that anybody knows. */
Test(noise, refuses_low_order_keys)
{
    static const uint8_t points[][32] = {{0}, {1}};
    rayi_key_pair own;
    uint8_t first[64] = {0}, out[256];
    rayi_key_pair_make(&own);
    for (size_t i = 0; i < RAYI_COUNT_OF(points); i++) {
        rayi_noise noise;
        rayi_noise_start(&noise, false, NULL, &own, NULL, 0);
        memcpy(first, points[i], 32);
        cr_assert(rayi_noise_read(&noise, first, 32, NULL));
        cr_assert_not(rayi_noise_write(&noise, NULL, 0, out));
    }
}

Test(noise, refuses_what_is_too_short)
{
    rayi_key_pair own;
    uint8_t message[64] = {0};
    rayi_key_pair_make(&own);
    for (size_t size = 0; size < 48; size++) {
        rayi_noise noise;
        rayi_noise_start(&noise, false, message, &own, NULL, 0);
        cr_assert_not(rayi_noise_read(&noise, message, size, NULL));
    }
}
