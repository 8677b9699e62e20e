/* The handshake, from bytes to bytes.
 *
 *   who dials                                 who listens
 *   preamble, first message         ->
 *                                   <-        answer, second message
 *   third message                   ->
 *
 * preamble (16 bytes): "RAYL", version, flags (1: sealed), the id of the key. It is Noise's prologue, so that nobody
 * changes it on the way. answer (8 bytes): "RAYL", version, and a status: 0, or why not, which is a hint for people
 * only, for anybody may have sent it. These two look so in every version. The messages are those of XXpsk0 with the
 * cluster key; the second and third carry how long a message one accepts (4 bytes). Without keys such 4 bytes stand
 * in place of the first and the second message, and there is no third.
 *
 * Every step has a length that is known beforehand: there are no sizes to lie about. Who does not begin with the magic
 * (a browser, a scanner) is refused at its first wrong byte, and who has no key at the first message, before anything
 * was computed that costs more than a hash. */
#include "transport/inside.h"

#include <sodium.h>
#include <string.h>

enum { PREAMBLE = 16, ANSWER = 8, LIMIT = 4, FLAG_SEALED = 1 };
enum { FIRST = 48, SECOND = 96 + LIMIT, THIRD = 64 + LIMIT };

typedef enum status { WELCOME, OTHER_VERSION, OTHER_KEY, KEY_WANTED, NO_KEY_HERE } status;

static const uint8_t magic[4] = {'R', 'A', 'Y', 'L'};

_Static_assert(PREAMBLE + FIRST <= RAYI_HELLO_MAX && ANSWER + SECOND <= RAYI_HELLO_MAX, "steps fit");

static void put(rayi_hello *hello, const void *bytes, size_t size)
{
    memcpy(hello->out + hello->out_size, bytes, size);
    hello->out_size += size;
}

static void put_u16(rayi_hello *hello, uint16_t number)
{
    uint8_t bytes[2];
    rayi_store_u16(bytes, number);
    put(hello, bytes, sizeof bytes);
}

static void put_limit(rayi_hello *hello)
{
    uint8_t bytes[LIMIT];
    rayi_store_u32(bytes, hello->own_limit);
    put(hello, bytes, sizeof bytes);
}

/* The next message of Noise. */
static bool put_noise(rayi_hello *hello, size_t payload_bytes)
{
    uint8_t limit[LIMIT];
    size_t size = rayi_noise_overhead(&hello->noise) + payload_bytes;
    rayi_store_u32(limit, hello->own_limit);
    RAYI_ASSERT(hello->out_size + size <= sizeof hello->out);
    if (!rayi_noise_write(&hello->noise, limit, payload_bytes, hello->out + hello->out_size))
        return false;
    hello->out_size += size;
    return true;
}

static void put_answer(rayi_hello *hello, status what)
{
    put(hello, magic, sizeof magic);
    put_u16(hello, RAYI_PROTOCOL);
    put_u16(hello, what);
}

void rayi_hello_start(rayi_hello *hello, bool dials, const rayi_keyring *ring, const rayi_key_pair *own,
                      uint32_t own_limit)
{
    static const uint8_t no_id[RAYI_KEY_ID_BYTES];
    *hello = (rayi_hello){.state = dials ? RAYI_HELLO_ANSWER : RAYI_HELLO_PREAMBLE,
                          .dials = dials,
                          .ring = ring,
                          .own = own,
                          .own_limit = own_limit,
                          .sealed = ring->num_keys > 0};
    if (!dials)
        return;
    put(hello, magic, sizeof magic);
    put_u16(hello, RAYI_PROTOCOL);
    put_u16(hello, hello->sealed ? FLAG_SEALED : 0);
    put(hello, hello->sealed ? ring->keys[0].id : no_id, sizeof no_id);
    if (hello->sealed) {
        rayi_noise_start(&hello->noise, true, ring->keys[0].bytes, own, hello->out, PREAMBLE);
        RAYI_ASSERT(put_noise(hello, 0));
    } else {
        put_limit(hello);
    }
}

/* ---- who listens ---- */

static int refuse(rayi_hello *hello, status what, int code, const char *words)
{
    put_answer(hello, what);
    return rayi_fail(code, "%s", words);
}

static int find_key(rayi_hello *hello, const uint8_t *id)
{
    for (size_t i = 0; i < hello->ring->num_keys; i++) {
        const rayi_key *key = &hello->ring->keys[i];
        if (memcmp(key->id, id, sizeof key->id) == 0) {
            rayi_noise_start(&hello->noise, false, key->bytes, hello->own, hello->in, PREAMBLE);
            return 0;
        }
    }
    return refuse(hello, OTHER_KEY, RAY_ERR_AUTH, "it has another cluster key");
}

static int read_preamble(rayi_hello *hello)
{
    uint16_t version = rayi_load_u16(hello->in + 4), flags = rayi_load_u16(hello->in + 6);
    if (version != RAYI_PROTOCOL) {
        put_answer(hello, OTHER_VERSION);
        return rayi_fail(RAY_ERR_VERSION, "it speaks version %d of the protocol, expected %d", version, RAYI_PROTOCOL);
    }
    if (hello->sealed && !(flags & FLAG_SEALED))
        return refuse(hello, KEY_WANTED, RAY_ERR_AUTH, "it has no cluster key");
    if (!hello->sealed && (flags & FLAG_SEALED))
        return refuse(hello, NO_KEY_HERE, RAY_ERR_AUTH, "it has a cluster key, and there is none here");
    if (flags & ~FLAG_SEALED)
        return rayi_fail(RAY_ERR_CORRUPT, "it wants what this version does not know (flags %#x)", flags);
    if (!hello->sealed) {
        hello->state = RAYI_HELLO_LIMIT;
        return 0;
    }
    hello->state = RAYI_HELLO_FIRST;
    return find_key(hello, hello->in + 8);
}

static int read_first(rayi_hello *hello)
{
    if (!rayi_noise_read(&hello->noise, hello->in, FIRST, NULL))
        return refuse(hello, OTHER_KEY, RAY_ERR_AUTH, "it does not have the cluster key that it names");
    put_answer(hello, WELCOME);
    if (!put_noise(hello, LIMIT)) {
        hello->out_size = 0;
        return rayi_fail(RAY_ERR_CORRUPT, "its handshake has a bad key");
    }
    hello->state = RAYI_HELLO_THIRD;
    return 0;
}

static int read_third(rayi_hello *hello)
{
    uint8_t limit[LIMIT];
    if (!rayi_noise_read(&hello->noise, hello->in, THIRD, limit))
        return rayi_fail(RAY_ERR_AUTH, "the end of its handshake is not from who began it");
    hello->peer_limit = rayi_load_u32(limit);
    hello->state = RAYI_HELLO_DONE;
    return 1;
}

/* ---- who dials ---- */

static int explain(uint16_t what, uint16_t version)
{
    switch ((status)what) {
    case WELCOME:
        break;
    case OTHER_VERSION:
        return rayi_fail(RAY_ERR_VERSION, "it speaks version %d of the protocol, expected %d", version, RAYI_PROTOCOL);
    case OTHER_KEY:
        return rayi_fail(RAY_ERR_AUTH, "it has another cluster key");
    case KEY_WANTED:
        return rayi_fail(RAY_ERR_AUTH,
                         "it wants a cluster key, and there is none here: $RAY_KEY_FILE may name its file");
    case NO_KEY_HERE:
        return rayi_fail(RAY_ERR_AUTH, "it runs without a cluster key, and there is one here: no_key leaves that out");
    }
    return rayi_fail(RAY_ERR_CORRUPT, "it answers with a status that does not exist (%d)", what);
}

static int read_answer(rayi_hello *hello)
{
    uint16_t version = rayi_load_u16(hello->in + 4), what = rayi_load_u16(hello->in + 6);
    if (version != RAYI_PROTOCOL)
        return explain(OTHER_VERSION, version);
    if (what != WELCOME)
        return explain(what, version);
    hello->state = hello->sealed ? RAYI_HELLO_SECOND : RAYI_HELLO_LIMIT;
    return 0;
}

static int read_second(rayi_hello *hello)
{
    uint8_t limit[LIMIT];
    if (!rayi_noise_read(&hello->noise, hello->in, SECOND, limit) || !put_noise(hello, LIMIT))
        return rayi_fail(RAY_ERR_AUTH, "its answer is not from who has the cluster key");
    hello->peer_limit = rayi_load_u32(limit);
    hello->state = RAYI_HELLO_DONE;
    return 1;
}

/* ---- both ---- */

static int read_limit(rayi_hello *hello)
{
    hello->peer_limit = rayi_load_u32(hello->in);
    if (!hello->dials) {
        put_answer(hello, WELCOME);
        put_limit(hello);
    }
    hello->state = RAYI_HELLO_DONE;
    return 1;
}

static size_t wanted(rayi_hello_state state)
{
    switch (state) {
    case RAYI_HELLO_PREAMBLE:
        return PREAMBLE;
    case RAYI_HELLO_FIRST:
        return FIRST;
    case RAYI_HELLO_THIRD:
        return THIRD;
    case RAYI_HELLO_ANSWER:
        return ANSWER;
    case RAYI_HELLO_SECOND:
        return SECOND;
    case RAYI_HELLO_LIMIT:
        return LIMIT;
    case RAYI_HELLO_DONE:
    case RAYI_HELLO_FAILED:
        break;
    }
    return 0;
}

/* One step whose bytes are all in `in`. */
static int step(rayi_hello *hello)
{
    switch (hello->state) {
    case RAYI_HELLO_PREAMBLE:
        return read_preamble(hello);
    case RAYI_HELLO_FIRST:
        return read_first(hello);
    case RAYI_HELLO_THIRD:
        return read_third(hello);
    case RAYI_HELLO_ANSWER:
        return read_answer(hello);
    case RAYI_HELLO_SECOND:
        return read_second(hello);
    case RAYI_HELLO_LIMIT:
        return read_limit(hello);
    case RAYI_HELLO_DONE:
    case RAYI_HELLO_FAILED:
        break;
    }
    RAYI_ASSERT(!"a handshake that is over goes on");
}

static bool begins_well(const rayi_hello *hello)
{
    bool has_magic = hello->state == RAYI_HELLO_PREAMBLE || hello->state == RAYI_HELLO_ANSWER;
    return !has_magic || memcmp(hello->in, magic, RAYI_MIN(hello->in_size, sizeof magic)) == 0;
}

int rayi_hello_feed(rayi_hello *hello, const uint8_t *bytes, size_t size_bytes, size_t *out_used)
{
    int r = 0;
    size_t used = 0;
    RAYI_ASSERT(hello->state < RAYI_HELLO_DONE);
    while (r == 0 && used < size_bytes) {
        size_t count = RAYI_MIN(wanted(hello->state) - hello->in_size, size_bytes - used);
        memcpy(hello->in + hello->in_size, bytes + used, count);
        used += count;
        hello->in_size += count;
        if (!begins_well(hello))
            r = rayi_fail(RAY_ERR_CORRUPT, "it does not speak this protocol");
        else if (hello->in_size == wanted(hello->state)) {
            r = step(hello);
            hello->in_size = 0;
        }
    }
    if (r < 0) {
        hello->state = RAYI_HELLO_FAILED;
        rayi_noise_wipe(&hello->noise);
    }
    *out_used = used;
    return r;
}

void rayi_hello_wipe(rayi_hello *hello)
{
    sodium_memzero(hello, sizeof *hello);
}
