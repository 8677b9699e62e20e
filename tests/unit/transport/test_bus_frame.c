/* The frames of a bus, and its tickets: what is written is read, and nothing else is. */
#include "helper.h"

#include "transport/bus_frame.h"

enum { MOST = 300 };

static rayi_bus_keys keys_of(uint32_t epoch)
{
    rayi_bus_keys keys = {.secret = {0}};
    CHECK_OK(rayi_sodium_start());
    if (epoch > 0)
        CHECK_OK(rayi_bus_secret_make(epoch, &keys.secret));
    rayi_bus_sign_with_new(&keys);
    return keys;
}

static rayi_bus_frame frame_of(rayi_bus_kind kind, uint32_t epoch, const uint8_t *bytes, size_t size)
{
    rayi_bus_frame frame = {.kind = kind,
                            .epoch = epoch,
                            .generation = UINT64_C(0x1122334455667788),
                            .number = UINT64_C(0x99aabbccddeeff00),
                            .bytes = bytes,
                            .size_bytes = size};
    if (kind == RAYI_BUS_SURVEY) {
        frame.slice = 0xfffffffe;
        frame.slices = 0xffffffff;
    }
    if (kind == RAYI_BUS_ANSWER)
        frame.node = 0x80000001;
    return frame;
}

static void check_frame(const rayi_bus_frame *got, const rayi_bus_frame *put)
{
    cr_assert_eq(got->kind, put->kind);
    cr_assert_eq(got->epoch, put->epoch);
    cr_assert_eq(got->generation, put->generation);
    cr_assert_eq(got->number, put->number);
    cr_assert_eq(got->slice, put->slice);
    cr_assert_eq(got->slices, put->slices);
    cr_assert_eq(got->node, put->node);
    cr_assert_eq(got->size_bytes, put->size_bytes);
    cr_assert_eq(memcmp(got->bytes, put->bytes, put->size_bytes), 0);
}

static const rayi_bus_kind kinds[] = {RAYI_BUS_PUBLISH, RAYI_BUS_SURVEY, RAYI_BUS_ANSWER};

Test(transport_bus_frame, round_trips)
{
    uint8_t payload[MOST], bytes[MOST + 200];
    rayi_bus_frame got;
    fill(payload, sizeof payload, 1);
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        rayi_bus_keys keys = keys_of(epoch);
        for (size_t i = 0; i < RAYI_COUNT_OF(kinds); i++) {
            for (size_t size = 0; size <= MOST; size += 60) {
                rayi_bus_frame put = frame_of(kinds[i], epoch, payload, size);
                size_t whole = rayi_bus_frame_size(kinds[i], size);
                rayi_bus_frame_write(&keys, &put, bytes);
                cr_assert_eq(memmem(bytes, whole, payload, 60) == NULL, epoch > 0 || size < 60);
                cr_assert_eq(rayi_bus_frame_open(&keys, kinds[i], bytes, whole, &got), RAYI_BUS_REASONS);
                check_frame(&got, &put);
            }
        }
    }
}

/* What opens with a byte changed, or cut, or of another kind. */
static void check_spoiled(uint32_t epoch, rayi_bus_kind kind)
{
    uint8_t payload[20], bytes[200], copy[200];
    rayi_bus_keys keys = keys_of(epoch);
    rayi_bus_frame put = frame_of(kind, epoch, payload, sizeof payload), got;
    size_t whole = rayi_bus_frame_size(kind, sizeof payload);
    memset(payload, 'x', sizeof payload);
    rayi_bus_frame_write(&keys, &put, bytes);
    for (size_t at = 0; at < whole; at++) {
        for (int bit = 0; bit < 8; bit++) {
            memcpy(copy, bytes, whole);
            copy[at] ^= (uint8_t)(1 << bit);
            bool opens = rayi_bus_frame_open(&keys, kind, copy, whole, &got) == RAYI_BUS_REASONS;
            /* Nobody vouches for a plain answer. */
            cr_assert(!opens || (epoch == 0 && kind == RAYI_BUS_ANSWER), "byte %zu of kind %d", at, (int)kind);
        }
        memcpy(copy, bytes, whole);
        cr_assert_neq(rayi_bus_frame_open(&keys, kind, copy, at, &got), RAYI_BUS_REASONS);
    }
    for (size_t i = 0; i < RAYI_COUNT_OF(kinds); i++) {
        memcpy(copy, bytes, whole);
        cr_assert_eq(rayi_bus_frame_open(&keys, kinds[i], copy, whole, &got),
                     kinds[i] == kind ? RAYI_BUS_REASONS : RAYI_BUS_MALFORMED);
    }
}

Test(transport_bus_frame, nothing_else_opens)
{
    for (uint32_t epoch = 0; epoch < 2; epoch++)
        for (size_t i = 0; i < RAYI_COUNT_OF(kinds); i++)
            check_spoiled(epoch, kinds[i]);
}

static rayi_bus_reason pass(const rayi_bus_keys *from, const rayi_bus_keys *to, rayi_bus_kind kind)
{
    uint8_t bytes[200];
    rayi_bus_frame put = frame_of(kind, from->secret.epoch, (const uint8_t *)"hint", 4), got;
    rayi_bus_frame_write(from, &put, bytes);
    return rayi_bus_frame_open(to, kind, bytes, rayi_bus_frame_size(kind, 4), &got);
}

Test(transport_bus_frame, others_keys)
{
    rayi_bus_keys ours = keys_of(7), theirs = keys_of(7), plain = keys_of(0), member = ours, later = keys_of(8);
    rayi_bus_sign_with_new(&member);
    for (size_t i = 0; i < RAYI_COUNT_OF(kinds); i++) {
        bool is_signed = kinds[i] != RAYI_BUS_ANSWER;
        cr_assert_eq(pass(&theirs, &ours, kinds[i]), RAYI_BUS_SEAL);
        cr_assert_eq(pass(&later, &ours, kinds[i]), RAYI_BUS_EPOCH);
        cr_assert_eq(pass(&plain, &ours, kinds[i]), RAYI_BUS_PLAIN);
        cr_assert_eq(pass(&ours, &plain, kinds[i]), RAYI_BUS_PLAIN);
        cr_assert_eq(pass(&member, &ours, kinds[i]), is_signed ? RAYI_BUS_SIGNATURE : RAYI_BUS_REASONS);
    }
}

/* Sealed and signed by the head, and still not as it must be. */
Test(transport_bus_frame, slices_that_are_none)
{
    rayi_bus_keys keys = keys_of(1);
    uint8_t bytes[200];
    rayi_bus_frame put = frame_of(RAYI_BUS_SURVEY, 1, NULL, 0), got;
    put.slice = put.slices = 3;
    rayi_bus_frame_write(&keys, &put, bytes);
    cr_assert_eq(rayi_bus_frame_open(&keys, RAYI_BUS_SURVEY, bytes, rayi_bus_frame_size(RAYI_BUS_SURVEY, 0), &got),
                 RAYI_BUS_MALFORMED);
}

Test(transport_bus_frame, turns)
{
    rayi_bus_keys old = keys_of(3), keys = old, second = old, third = old;
    rayi_bus_secret other;
    CHECK_OK(rayi_bus_secret_make(4, &second.secret));
    CHECK_OK(rayi_bus_secret_make(9, &third.secret));
    CHECK_OK(rayi_bus_keys_turn(&keys, &old.secret)); /* again */
    cr_assert_eq(keys.previous.epoch, 0);
    CHECK_OK(rayi_bus_keys_turn(&keys, &second.secret));
    cr_assert_eq(pass(&old, &keys, RAYI_BUS_PUBLISH), RAYI_BUS_REASONS);
    cr_assert_eq(pass(&second, &keys, RAYI_BUS_PUBLISH), RAYI_BUS_REASONS);
    cr_assert_eq(pass(&third, &keys, RAYI_BUS_PUBLISH), RAYI_BUS_EPOCH);
    CHECK_OK(rayi_bus_keys_turn(&keys, &third.secret));
    cr_assert_eq(pass(&old, &keys, RAYI_BUS_PUBLISH), RAYI_BUS_EPOCH);
    cr_assert_eq(pass(&second, &keys, RAYI_BUS_PUBLISH), RAYI_BUS_REASONS);
    CHECK_OK(rayi_bus_secret_make(9, &other));
    CHECK_FAILS(rayi_bus_keys_turn(&keys, &other), RAY_ERR_ARGUMENT);
    CHECK_WORDS("above 9");
    CHECK_FAILS(rayi_bus_keys_turn(&keys, &second.secret), RAY_ERR_ARGUMENT);
    keys = keys_of(0);
    CHECK_FAILS(rayi_bus_keys_turn(&keys, &other), RAY_ERR_ARGUMENT);
    CHECK_WORDS("without a secret");
}

/* ---- tickets ---- */

static rayi_bus_ticket ticket_of(const char *publish, const char *survey, uint32_t epoch)
{
    rayi_bus_ticket ticket = {.generation = 5, .published = 6, .surveyed = 7, .signer = {8}};
    strcpy(ticket.publish, publish);
    strcpy(ticket.survey, survey);
    if (epoch > 0)
        CHECK_OK(rayi_bus_secret_make(epoch, &ticket.secret));
    return ticket;
}

static int pass_ticket(const rayi_bus_ticket *ticket, size_t cut, rayi_bus_ticket *out)
{
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_bus_ticket_put(&writer, ticket);
    char *copy = malloc(writer.size); /* so that a sanitizer sees a read beyond it */
    memcpy(copy, writer.data, writer.size);
    rayi_reader reader = rayi_reader_of(copy, writer.size - RAYI_MIN(cut, writer.size));
    int r = rayi_bus_ticket_take(&reader, out);
    cr_assert_eq(reader.failed, r < 0);
    cr_assert_eq(rayi_reader_left(&reader) == 0, r == 0 || rayi_reader_left(&reader) == 0);
    free(copy);
    rayi_writer_fini(&writer);
    return r;
}

Test(transport_bus_frame, tickets)
{
    rayi_bus_ticket ticket = ticket_of("head-1.example:4711", "[fe80::1]:4712", 3), got;
    CHECK_OK(pass_ticket(&ticket, 0, &got));
    cr_assert_eq(memcmp(&got, &ticket, sizeof got), 0);
    for (size_t cut = 1; cut < 200; cut++)
        cr_assert_eq(pass_ticket(&ticket, cut, &got), RAY_ERR_CORRUPT);
    ticket = ticket_of("127.0.0.1:1", "[::1]:65535", 0);
    CHECK_OK(pass_ticket(&ticket, 0, &got));
    ticket.secret.bytes[3] = 1; /* of no epoch */
    CHECK_FAILS(pass_ticket(&ticket, 0, &got), RAY_ERR_CORRUPT);
    ticket = ticket_of("127.0.0.1:1", "127.0.0.1:2", 4);
    memset(ticket.secret.bytes, 0, sizeof ticket.secret.bytes);
    CHECK_FAILS(pass_ticket(&ticket, 0, &got), RAY_ERR_CORRUPT);
    rayi_bus_ticket_wipe(&ticket);
    cr_assert_eq(ticket.publish[0], 0);
}

Test(transport_bus_frame, tickets_to_nowhere)
{
    static const char *const never[] = {"",
                                        "127.0.0.1",
                                        "127.0.0.1:0",
                                        ":80",
                                        "[::1]",
                                        "::1:8080",
                                        "a b:80",
                                        "127.0.0.1:1/x",
                                        "u@127.0.0.1:80",
                                        "127.0.0.1;10.0.0.1:80"};
    static const char *const sealed[] = {"10.0.0.1:80", "localhost:80", "[fd00::1]:80"};
    rayi_bus_ticket ticket, got;
    for (size_t i = 0; i < RAYI_COUNT_OF(never); i++) {
        ticket = ticket_of(never[i], "127.0.0.1:80", 1);
        cr_assert_eq(pass_ticket(&ticket, 0, &got), RAY_ERR_CORRUPT, "%s", never[i]);
        ticket = ticket_of("127.0.0.1:80", never[i], 1);
        cr_assert_eq(pass_ticket(&ticket, 0, &got), RAY_ERR_CORRUPT, "%s", never[i]);
    }
    for (size_t i = 0; i < RAYI_COUNT_OF(sealed); i++) {
        ticket = ticket_of(sealed[i], "127.0.0.1:80", 1);
        cr_assert_eq(pass_ticket(&ticket, 0, &got), 0, "%s", sealed[i]);
        ticket = ticket_of(sealed[i], "127.0.0.1:80", 0);
        cr_assert_eq(pass_ticket(&ticket, 0, &got), RAY_ERR_CORRUPT, "%s", sealed[i]);
    }
}
