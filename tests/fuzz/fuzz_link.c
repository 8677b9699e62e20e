/* What a peer may say to a link, before and after it has shown that it has the key, without sockets. The first byte
 * chooses:
 *   0  the rest goes to who listens, in pieces, with the key of the honest one, so that the corpus has handshakes whose
 *      every step is good; the secrets that are new in each handshake are always the same here
 *   1  the rest goes to who dials
 *   2  as 0, 3  as 1: without a key
 *   4  the rest goes to an open link without a key, in pieces
 *   5  steps (a byte that says which, then its operands) of an honest sender, whose records somebody changes, repeats,
 *      drops and adds to on their way to an open link with a key
 * In each the next byte says how long the pieces are. */
#include "fuzz.h"

#include "transport/inside.h"

#include <string.h>

enum { LIMIT = 200000, MAX_STEPS = 200, MAX_WIRE = 1 << 20 };

static rayi_keyring ring = {.keys = {{.bytes = {1}, .id = {1}}, {.bytes = {2}, .id = {2}}}};

static size_t piece_of(uint64_t what)
{
    return what < 200 ? what + 1 : (what - 199) * 2000;
}

/* ---- before ---- */

static void say_hello(rayi_hello *hello, rayi_key_pair *own, bool dials)
{
    uint8_t secret[RAYI_NOISE_KEY] = {dials, 1};
    rayi_key_pair_from(own, secret);
    rayi_hello_start(hello, dials, &ring, own, LIMIT);
    if (dials && ring.num_keys > 0) { /* once more, with the secret that is always the same */
        secret[1] = 2;
        rayi_noise_start(&hello->noise, true, ring.keys[0].bytes, own, hello->out, 16);
        rayi_key_pair_from(&hello->noise.ephemeral, secret);
        FUZZ_CHECK(rayi_noise_write(&hello->noise, NULL, 0, hello->out + 16));
    }
    hello->out_size = 0;
}

static void run_hello(fuzz_bytes in, bool dials, size_t num_keys)
{
    uint8_t secret[RAYI_NOISE_KEY] = {dials, 2};
    size_t piece = piece_of(fuzz_take(&in, 1)), used;
    rayi_key_pair own;
    rayi_hello hello;
    int r = 0;
    ring.num_keys = num_keys;
    say_hello(&hello, &own, dials);
    while (r == 0 && in.left > 0) {
        size_t size = RAYI_MIN(piece, in.left);
        if (!dials && hello.state == RAYI_HELLO_FIRST)
            rayi_key_pair_from(&hello.noise.ephemeral, secret);
        /* a listener's secret is made with its first step, so the next step waits */
        if (!dials && hello.state == RAYI_HELLO_PREAMBLE)
            size = RAYI_MIN(size, 16 - hello.in_size);
        r = rayi_hello_feed(&hello, in.at, size, &used);
        FUZZ_CHECK(used <= size && (used == size || r != 0) && hello.out_size <= sizeof hello.out);
        FUZZ_CHECK(hello.in_size < sizeof hello.in);
        hello.out_size = 0;
        in.at += used;
        in.left -= used;
    }
    FUZZ_CHECK(r <= 1 && (r != 1 || hello.state == RAYI_HELLO_DONE) && (r >= 0 || hello.state == RAYI_HELLO_FAILED));
    FUZZ_CHECK(r == 0 || r == 1 || r == RAY_ERR_AUTH || r == RAY_ERR_VERSION || r == RAY_ERR_CORRUPT);
    rayi_hello_wipe(&hello);
}

/* ---- after ---- */

static struct {
    rayi_chunks chunks;
    rayi_sealer sealer;
    rayi_opener opener;
    size_t num_delivered, num_sent;
    uint64_t sum;
    uint64_t sent_sums[MAX_STEPS + 1]; /* after so many messages */
    uint8_t wire[MAX_WIRE];
    size_t size;
} after;

static uint64_t add_sum(uint64_t sum, uint32_t type, size_t size)
{
    return ((sum ^ type) * 0x9e3779b97f4a7c15 + size) * 0x100000001b3;
}

static void on_delivery(void *arg, uint32_t type, uint8_t *bytes, size_t size)
{
    (void)arg;
    FUZZ_CHECK(size <= LIMIT);
    if (after.sealer.sealed) /* it is filled with its type */
        FUZZ_CHECK(size == 0 || (bytes[0] == type && memcmp(bytes, bytes + 1, size - 1) == 0));
    else if (size > 0)
        after.sum += bytes[0] + bytes[size - 1]; /* a sanitizer looks */
    after.sum = add_sum(after.sum, type, size);
    after.num_delivered++;
    if (type == 0xfefefefe)
        after.opener.stopped = true;
    if (type % 16 == 7)
        rayi_free(rayi_opener_take(&after.opener, bytes, size));
}

/* Messages of every fourth type have a place of their own. */
static uint8_t *place(void *arg, uint32_t type, size_t size)
{
    static uint8_t bytes[LIMIT];
    (void)arg;
    FUZZ_CHECK(size > 0 && size <= LIMIT);
    return type % 4 == 1 ? bytes : NULL;
}

static void start(bool sealed)
{
    rayi_cipher cipher = {.key = {7}};
    after.num_delivered = after.num_sent = after.size = 0;
    after.sum = after.sent_sums[0] = 0;
    rayi_sealer_init(&after.sealer, sealed ? &cipher : NULL, &after.chunks, 0);
    rayi_opener_init(&after.opener, sealed ? &cipher : NULL, LIMIT);
    after.opener.deliver = on_delivery;
    after.opener.place = place;
}

/* A piece of the wire: straight to its place, where it has one, else by way of a buffer. */
static int hear_piece(const uint8_t *bytes, size_t size)
{
    uint8_t *to;
    size_t direct = RAYI_MIN(rayi_opener_place(&after.opener, &to), size);
    if (direct > 0) {
        memcpy(to, bytes, direct);
        rayi_opener_placed(&after.opener, direct);
    }
    uint8_t *copy = malloc(size - direct + 1); /* it is opened in place */
    FUZZ_CHECK(copy);
    memcpy(copy, bytes + direct, size - direct);
    int r = rayi_opener_feed(&after.opener, copy, size - direct);
    free(copy);
    return r;
}

static int hear(const uint8_t *bytes, size_t size, size_t piece)
{
    int r = 0;
    piece = RAYI_MAX(piece, size / 500);
    for (size_t done = 0, count; done < size && r == 0; done += count) {
        count = RAYI_MIN(piece, size - done);
        r = hear_piece(bytes + done, count);
        FUZZ_CHECK(after.opener.room <= RAYI_MAX(2 * after.opener.arrived, (size_t)RAYI_KEEP_BYTES));
        FUZZ_CHECK(after.opener.head_size < RAYI_MESSAGE_HEAD && after.opener.part_size <= RAYI_RECORD_MAX + 1);
    }
    FUZZ_CHECK(r == 0 || r == RAY_ERR_CORRUPT);
    return r;
}

static void stop(void)
{
    rayi_opener_fini(&after.opener);
    rayi_sealer_fini(&after.sealer);
    rayi_chunks_fini(&after.chunks);
}

static void run_plain(fuzz_bytes in)
{
    size_t piece = piece_of(fuzz_take(&in, 1));
    start(false);
    (void)hear(in.at, in.left, piece);
    stop();
}

/* What the sender has queued goes onto the wire. */
static void flush(void)
{
    struct iovec parts[8];
    size_t count;
    while ((count = rayi_sealer_look(&after.sealer, parts, RAYI_COUNT_OF(parts))) > 0)
        for (size_t i = 0; i < count; i++) {
            size_t size = RAYI_MIN(parts[i].iov_len, MAX_WIRE - after.size);
            memcpy(after.wire + after.size, parts[i].iov_base, size);
            after.size += size;
            rayi_sealer_sent(&after.sealer, parts[i].iov_len);
        }
}

static void send_message(fuzz_bytes *in, uint32_t scale)
{
    static uint8_t bytes[255 * 1000];
    uint32_t type = (uint32_t)fuzz_take(in, 1), size = (uint32_t)fuzz_take(in, 1) * scale;
    struct iovec parts[2] = {{bytes, size / 2}, {bytes + size / 2, size - size / 2}};
    memset(bytes, (int)type, size);
    if (type % 8 == 5) /* sealed at once, so the bytes may change */
        FUZZ_CHECK(rayi_sealer_lend(&after.sealer, 0, type, bytes, size) == 0);
    else
        FUZZ_CHECK(rayi_sealer_put(&after.sealer, 0, type, parts, 2, size) == 0);
    after.num_sent++;
    after.sent_sums[after.num_sent] = add_sum(after.sent_sums[after.num_sent - 1], type, size);
}

static void spoil(fuzz_bytes *in, uint64_t how)
{
    size_t at = fuzz_take(in, 3) % (after.size + 1), size = fuzz_take(in, 2);
    size = RAYI_MIN(size, after.size - at);
    if (how == 0 && at < after.size)
        after.wire[at] ^= (uint8_t)(fuzz_take(in, 1) | 1);
    if (how == 1) { /* dropped */
        memmove(after.wire + at, after.wire + at + size, after.size - at - size);
        after.size -= size;
    }
    if (how == 2 && after.size + size <= MAX_WIRE) { /* repeated */
        memmove(after.wire + at + size, after.wire + at, after.size - at);
        after.size += size;
    }
    if (how == 3 && in->left > 0 && after.size < MAX_WIRE) { /* added to */
        memmove(after.wire + at + 1, after.wire + at, after.size - at);
        after.wire[at] = (uint8_t)fuzz_take(in, 1);
        after.size++;
    }
}

/* Whatever is done on the way: what is delivered is a beginning of what was sent. */
static void run_sealed(fuzz_bytes in)
{
    size_t piece = piece_of(fuzz_take(&in, 1));
    int r = 0;
    start(true);
    after.sealer.rekey_records = fuzz_take(&in, 1) + 1;
    for (int i = 0; i < MAX_STEPS && in.left > 0 && r == 0; i++) {
        static const uint32_t scales[] = {1, 37, 1000}; /* the longest are over the limit */
        uint64_t what = fuzz_take(&in, 1) % 8;
        if (what < RAYI_COUNT_OF(scales))
            send_message(&in, scales[what]);
        else if (what == 3)
            flush();
        else if (what == 4) {
            r = hear(after.wire, after.size, piece);
            after.size = 0;
        } else {
            spoil(&in, what == 5 ? fuzz_take(&in, 1) % 4 : what - 6);
        }
    }
    flush();
    if (r == 0)
        (void)hear(after.wire, after.size, piece);
    FUZZ_CHECK(after.num_delivered <= after.num_sent);
    FUZZ_CHECK(after.sum == after.sent_sums[after.num_delivered]);
    stop();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bytes in = {data, size};
    FUZZ_CHECK(rayi_sodium_start() == 0);
    switch (fuzz_take(&in, 1) % 6) {
    case 0:
        run_hello(in, false, 2);
        break;
    case 1:
        run_hello(in, true, 2);
        break;
    case 2:
        run_hello(in, false, 0);
        break;
    case 3:
        run_hello(in, true, 0);
        break;
    case 4:
        run_plain(in);
        break;
    default:
        run_sealed(in);
    }
    return 0;
}
