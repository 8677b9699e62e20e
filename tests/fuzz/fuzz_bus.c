/* Bytes that come to a bus: frames and tickets from anybody, and frames from who has the keys. Whatever they are, what
 * opens lies within them and says what can be said, and what was sealed opens only as it was.
 *
 * The first byte chooses:
 *   0  a frame as it is, for a head and nodes, with a secret and without
 *   1  a frame that is made of the rest, spoiled on the way
 *   2  the inside of a frame as it is, sealed and signed by who has the keys
 *   3  a ticket
 */
#include "fuzz.h"

#include "transport/bus_frame.h"
#include "transport/inside.h"

#include <sodium.h>

enum { MOST = 4096 };

static rayi_bus_keys sealed, plain;

static void make_keys(void)
{
    if (sealed.secret.epoch > 0)
        return;
    FUZZ_CHECK(rayi_sodium_start() == 0);
    rayi_bus_sign_with_new(&sealed);
    plain = sealed;
    FUZZ_CHECK(rayi_bus_secret_make(7, &sealed.secret) == 0);
    FUZZ_CHECK(rayi_bus_secret_make(6, &sealed.previous) == 0);
}

static rayi_bus_kind take_kind(fuzz_bytes *in)
{
    return (rayi_bus_kind)(RAYI_BUS_PUBLISH + fuzz_take(in, 1) % 3);
}

/* Opens a copy of its own, so that a sanitizer sees a read beyond it. */
static rayi_bus_reason open_copy(const rayi_bus_keys *keys, rayi_bus_kind kind, const uint8_t *bytes, size_t size,
                                 uint8_t **out_copy, rayi_bus_frame *out)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (size > 0)
        memcpy(copy, bytes, size);
    rayi_bus_reason reason = rayi_bus_frame_open(keys, kind, copy, size, out);
    *out_copy = copy;
    if (reason != RAYI_BUS_REASONS)
        return reason;
    FUZZ_CHECK(size >= rayi_bus_frame_size(kind, 0) && out->kind == kind);
    FUZZ_CHECK(rayi_bus_frame_size(kind, out->size_bytes) == size);
    FUZZ_CHECK(out->bytes == copy + RAYI_BUS_HEAD + RAYI_BUS_FIELDS);
    FUZZ_CHECK(kind != RAYI_BUS_SURVEY || out->slice < out->slices);
    FUZZ_CHECK(kind == RAYI_BUS_SURVEY || (out->slice == 0 && out->slices == 0));
    FUZZ_CHECK(kind == RAYI_BUS_ANSWER || out->node == 0);
    FUZZ_CHECK((out->epoch > 0) == (keys->secret.epoch > 0));
    return reason;
}

static void run_raw(fuzz_bytes in)
{
    const rayi_bus_keys *both[] = {&sealed, &plain};
    for (int kind = RAYI_BUS_PUBLISH; kind <= RAYI_BUS_ANSWER; kind++) {
        for (size_t i = 0; i < RAYI_COUNT_OF(both); i++) {
            rayi_bus_frame frame;
            uint8_t *copy;
            rayi_bus_reason reason = open_copy(both[i], (rayi_bus_kind)kind, in.at, in.left, &copy, &frame);
            /* Nobody vouches for plain answers, and all else needs a key. */
            FUZZ_CHECK(reason != RAYI_BUS_REASONS || (both[i] == &plain && kind == RAYI_BUS_ANSWER));
            free(copy);
        }
    }
}

static void check_same(const rayi_bus_frame *got, const rayi_bus_frame *put)
{
    FUZZ_CHECK(got->generation == put->generation && got->number == put->number && got->slice == put->slice &&
               got->slices == put->slices && got->node == put->node && got->epoch == put->epoch &&
               got->size_bytes == put->size_bytes && memcmp(got->bytes, put->bytes, got->size_bytes) == 0);
}

/* Operands: how it is spoiled, where, and by what. */
static size_t spoil(fuzz_bytes *in, uint8_t *bytes, size_t size)
{
    uint64_t how = fuzz_take(in, 1) % 4, at = fuzz_take(in, 2) % size;
    if (how == 1)
        bytes[at] ^= (uint8_t)fuzz_take(in, 1);
    if (how == 2)
        size = at;
    if (how == 3)
        bytes[size++] = (uint8_t)fuzz_take(in, 1);
    return size;
}

static void run_spoiled(fuzz_bytes in)
{
    static uint8_t bytes[2 * MOST], as_sent[2 * MOST];
    bool is_plain = fuzz_take(&in, 1) % 4 == 0;
    const rayi_bus_keys *keys = is_plain ? &plain : &sealed;
    rayi_bus_frame put = {.kind = take_kind(&in)}, got;
    uint8_t *copy;
    if (!is_plain)
        put.epoch = 6 + (uint32_t)(fuzz_take(&in, 1) % 2);
    put.generation = fuzz_take(&in, 8);
    put.number = fuzz_take(&in, 8);
    if (put.kind == RAYI_BUS_SURVEY) {
        put.slices = (uint32_t)fuzz_take(&in, 4) | 1;
        put.slice = (uint32_t)fuzz_take(&in, 4) % put.slices;
    } else if (put.kind == RAYI_BUS_ANSWER) {
        put.node = (uint32_t)fuzz_take(&in, 4);
    }
    fuzz_bytes how = in;
    put.bytes = in.at;
    put.size_bytes = RAYI_MIN(in.left, MOST);
    size_t whole = rayi_bus_frame_size(put.kind, put.size_bytes);
    rayi_bus_frame_write(keys, &put, bytes);
    memcpy(as_sent, bytes, whole);
    size_t size = spoil(&how, bytes, whole);
    bool is_same = size == whole && memcmp(bytes, as_sent, whole) == 0;
    rayi_bus_reason reason = open_copy(keys, put.kind, bytes, size, &copy, &got);
    if (is_same) {
        FUZZ_CHECK(reason == RAYI_BUS_REASONS);
        check_same(&got, &put);
    } else {
        FUZZ_CHECK(reason != RAYI_BUS_REASONS || (is_plain && put.kind == RAYI_BUS_ANSWER));
    }
    free(copy);
}

/* Who has all keys says anything: the signature and the seal are right, and nothing else need be. */
static void run_insider(fuzz_bytes in)
{
    static uint8_t bytes[2 * MOST];
    rayi_bus_frame got;
    uint8_t *copy;
    rayi_bus_kind kind = take_kind(&in);
    size_t size = RAYI_MIN(in.left, MOST);
    memset(bytes, 0, RAYI_BUS_HEAD);
    bytes[0] = 1;
    bytes[1] = (uint8_t)kind;
    bytes[2] = 1;
    rayi_store_u32(bytes + 4, 7);
    if (size > 0)
        memcpy(bytes + RAYI_BUS_HEAD, in.at, size);
    size += RAYI_BUS_HEAD;
    if (kind != RAYI_BUS_ANSWER) {
        crypto_sign_detached(bytes + size, NULL, bytes, size, sealed.sign);
        size += RAYI_BUS_SIGNATURE_BYTES;
    }
    crypto_aead_xchacha20poly1305_ietf_encrypt(bytes + RAYI_BUS_HEAD, NULL, bytes + RAYI_BUS_HEAD, size - RAYI_BUS_HEAD,
                                               bytes, 8, NULL, bytes + 8, sealed.secret.bytes);
    size += RAYI_BUS_TAG;
    rayi_bus_reason reason = open_copy(&sealed, kind, bytes, size, &copy, &got);
    FUZZ_CHECK(reason == RAYI_BUS_REASONS || reason == RAYI_BUS_MALFORMED);
    free(copy);
}

static void run_ticket(fuzz_bytes in)
{
    rayi_bus_ticket ticket;
    rayi_reader reader = rayi_reader_of(in.at, in.left);
    rayi_writer writer;
    int r = rayi_bus_ticket_take(&reader, &ticket);
    FUZZ_CHECK(r == 0 || (r == RAY_ERR_CORRUPT && reader.failed));
    if (r < 0)
        return;
    bool is_plain = ticket.secret.epoch == 0;
    FUZZ_CHECK(rayi_address_is_dialled(ticket.publish, is_plain) && rayi_address_is_dialled(ticket.survey, is_plain));
    rayi_writer_init(&writer);
    rayi_bus_ticket_put(&writer, &ticket);
    FUZZ_CHECK(writer.size == in.left - rayi_reader_left(&reader) && memcmp(writer.data, in.at, writer.size) == 0);
    rayi_writer_fini(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bytes in = {data, size};
    make_keys();
    switch (fuzz_take(&in, 1) % 4) {
    case 0:
        run_raw(in);
        break;
    case 1:
        run_spoiled(in);
        break;
    case 2:
        run_insider(in);
        break;
    default:
        run_ticket(in);
    }
    return 0;
}
