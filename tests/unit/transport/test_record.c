/* Messages to records and back, without sockets. */
#include "helper.h"

typedef struct direction { /* one direction */
    rayi_chunks chunks;
    rayi_sealer sealer;
    rayi_opener opener;
    uint8_t *bytes; /* what was sealed */
    size_t size;
    size_t num_messages, stop_after;
    uint64_t sum; /* of what was delivered: types and sizes, in order */
} direction;

static void on_delivery(void *arg, uint32_t type, uint8_t *bytes, size_t size)
{
    direction *pair = arg;
    cr_assert(is_filled(bytes, size, type));
    pair->num_messages++;
    pair->sum = pair->sum * 31 + type * 7 + size;
    if (pair->num_messages == pair->stop_after)
        pair->opener.stopped = true;
}

static void start(direction *pair, bool sealed, uint32_t limit)
{
    rayi_cipher cipher = {.key = {42}};
    *pair = (struct direction){.size = 0};
    count_heap();
    rayi_sealer_init(&pair->sealer, sealed ? &cipher : NULL, &pair->chunks, 0);
    rayi_opener_init(&pair->opener, sealed ? &cipher : NULL, limit);
    pair->opener.deliver = on_delivery;
    pair->opener.arg = pair;
}

static void end(direction *pair)
{
    rayi_opener_fini(&pair->opener);
    rayi_sealer_fini(&pair->sealer);
    rayi_chunks_fini(&pair->chunks);
    free(pair->bytes);
    rayi_error_settle_last();
    cr_assert_eq(heap_blocks, 0);
}

static uint64_t put(direction *pair, uint64_t sum, uint32_t type, size_t size)
{
    void *bytes = malloc(size + 1);
    struct iovec parts[2] = {{bytes, size / 3}, {(char *)bytes + size / 3, size - size / 3}};
    fill(bytes, size, type);
    CHECK_OK(rayi_sealer_put(&pair->sealer, 0, type, parts, 2, (uint32_t)size));
    free(bytes);
    return sum * 31 + type * 7 + size;
}

/* Seals what is queued, and adds it to bytes. */
static void look(direction *pair)
{
    struct iovec parts[64];
    size_t count;
    while ((count = rayi_sealer_look(&pair->sealer, parts, RAYI_COUNT_OF(parts))) > 0)
        for (size_t i = 0; i < count; i++) {
            pair->bytes = realloc(pair->bytes, pair->size + parts[i].iov_len);
            memcpy(pair->bytes + pair->size, parts[i].iov_base, parts[i].iov_len);
            pair->size += parts[i].iov_len;
            rayi_sealer_sent(&pair->sealer, parts[i].iov_len);
        }
    cr_assert_eq(pair->sealer.bytes, 0);
}

/* Opens bytes in pieces. */
static int hear(direction *pair, const uint8_t *bytes, size_t size, size_t piece)
{
    int r = 0;
    for (size_t done = 0, count; done < size && r == 0; done += count) {
        count = RAYI_MIN(piece, size - done);
        uint8_t *copy = malloc(count);
        memcpy(copy, bytes + done, count);
        r = rayi_opener_feed(&pair->opener, copy, count);
        free(copy);
    }
    return r;
}

static const size_t sizes[] = {0,     1,     7,     8,      15,     4060,   4070,   4096,   65502,
                               65503, 65510, 65511, 65512,  65519,  65520,  65535,  65536,  65537,
                               1,     0,     80000, 131037, 131038, 131039, 131040, 200000, 1048576};

static void check_sizes(bool sealed, bool look_each, size_t piece)
{
    direction pair;
    uint64_t sum = 0;
    start(&pair, sealed, 1 << 20);
    for (uint32_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
        sum = put(&pair, sum, i, sizes[i]);
        if (look_each)
            look(&pair);
    }
    look(&pair);
    CHECK_OK(hear(&pair, pair.bytes, pair.size, piece));
    cr_assert_eq(pair.num_messages, RAYI_COUNT_OF(sizes));
    cr_assert_eq(pair.sum, sum);
    end(&pair);
}

Test(record, sizes)
{
    static const size_t pieces[] = {1, 2, 3, 1000, 65536, 65537, 262144, 100 << 20};
    for (size_t i = SANITIZED ? 3 : 0; i < RAYI_COUNT_OF(pieces); i++)
        for (int how = 0; how < 4; how++)
            check_sizes(how & 1, how & 2, pieces[i]);
}

/* Small messages share a record. */
Test(record, gathers_small_messages)
{
    direction pair;
    start(&pair, true, 1000);
    for (uint32_t i = 0; i < 100; i++)
        put(&pair, 0, i, 10);
    look(&pair);
    cr_assert_eq(pair.size, 2 + 16 + 100 * 18);
    CHECK_OK(hear(&pair, pair.bytes, pair.size, pair.size));
    cr_assert_eq(pair.num_messages, 100);
    end(&pair);
}

Test(record, over_the_limit)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        direction pair;
        start(&pair, sealed, 1000);
        put(&pair, 0, 1, 1000);
        put(&pair, 0, 2, 1001);
        look(&pair);
        cr_assert_eq(hear(&pair, pair.bytes, pair.size, 50000), RAY_ERR_CORRUPT);
        CHECK_WORDS("a message of 1001 bytes, at most 1000 are accepted");
        cr_assert_eq(pair.num_messages, 1);
        end(&pair);
    }
}

/* A claim of 16 MiB makes it hold what has arrived. */
Test(record, memory_follows_what_arrives)
{
    direction pair;
    size_t before;
    start(&pair, true, 16 << 20);
    put(&pair, 0, 3, 16 << 20);
    look(&pair);
    before = heap_bytes;
    for (size_t heard = 0, step = 50000; heard + step < pair.size; heard += step) {
        CHECK_OK(rayi_opener_feed(&pair.opener, pair.bytes + heard, step));
        cr_assert_leq(heap_bytes - before, 2 * (heard + step) + (150 << 10));
    }
    end(&pair);
}

/* Each byte of three records: those before are delivered, and nothing of it. */
static void check_flip(size_t at, int bit, size_t piece)
{
    static const size_t few[] = {20, 100, 300};
    direction pair;
    start(&pair, true, 1000);
    for (uint32_t i = 0; i < RAYI_COUNT_OF(few); i++) {
        put(&pair, 0, i, few[i]);
        look(&pair);
    }
    size_t first = 2 + 16 + 8 + few[0], second = first + 2 + 16 + 8 + few[1],
           whole = at < first    ? 0
                   : at < second ? 1
                                 : 2;
    if (at >= pair.size) {
        cr_assert_geq(at, 3 * 26 + 420);
        end(&pair);
        return;
    }
    pair.bytes[at] ^= (uint8_t)(1 << bit);
    int r = hear(&pair, pair.bytes, pair.size, piece);
    cr_assert_eq(pair.num_messages, whole, "byte %zu", at);
    cr_assert(r == RAY_ERR_CORRUPT || (r == 0 && pair.opener.part), "byte %zu: a longer record may be waited for", at);
    end(&pair);
}

Test(record, bits_changed)
{
    for (size_t at = 0; at <= 498; at++)
        for (int bit = 0; bit < 8; bit += at % 3 + 1)
            check_flip(at, bit, at % 2 ? 1 : 1000);
}

/* Repeated, left out, in another order, and empty ones that nobody has sealed. */
Test(record, only_the_next_record)
{
    static const int orders[][3] = {{0, 0, 1}, {0, 2, 1}, {1, 0, 2}, {0, 2, 2}, {2, 1, 0}, {1, 1, 1}};
    for (size_t i = 0; i < RAYI_COUNT_OF(orders); i++) {
        direction pair;
        size_t size = 2 + 16 + 8 + 30, good = 0;
        int r = 0;
        start(&pair, true, 1000);
        for (uint32_t j = 0; j < 3; j++) {
            put(&pair, 0, j, 30);
            look(&pair);
        }
        cr_assert_eq(pair.size, 3 * size);
        for (int j = 0; j < 3 && r == 0; j++) {
            r = hear(&pair, pair.bytes + size * (size_t)orders[i][j], size, size);
            good += r == 0;
        }
        cr_assert_eq(r, RAY_ERR_CORRUPT);
        cr_assert_eq(pair.num_messages, good);
        end(&pair);
    }
}

Test(record, lengths_that_cannot_be)
{
    static const uint8_t bad[][2] = {{0, 0}, {1, 0}, {15, 0}};
    for (size_t i = 0; i < RAYI_COUNT_OF(bad); i++)
        for (size_t piece = 1; piece < 3; piece++) {
            direction pair;
            start(&pair, true, 1000);
            cr_assert_eq(hear(&pair, bad[i], 2, piece), RAY_ERR_CORRUPT);
            end(&pair);
        }
}

/* The key changes after so many records or that long; without it nothing of what follows can be read. */
static void check_rekey(uint64_t records, int64_t step_ms)
{
    direction pair;
    uint8_t bytes[100];
    struct iovec part = {bytes, sizeof bytes};
    rayi_cipher first;
    start(&pair, true, 1000);
    pair.sealer.rekey_records = records;
    pair.sealer.rekey_ms = 120000;
    first = pair.sealer.cipher;
    for (uint32_t i = 0; i < 20; i++) {
        fill(bytes, sizeof bytes, i);
        CHECK_OK(rayi_sealer_put(&pair.sealer, i * step_ms, i, &part, 1, sizeof bytes));
        look(&pair);
    }
    cr_assert(memcmp(first.key, pair.sealer.cipher.key, 32) != 0);
    cr_assert_eq(pair.size, 20 * 126 + 4 * 18);
    CHECK_OK(hear(&pair, pair.bytes, pair.size, 7));
    cr_assert_eq(pair.num_messages, 20);
    cr_assert_arr_eq(pair.opener.cipher.key, pair.sealer.cipher.key, 32);
    cr_assert_eq(pair.opener.cipher.nonce, pair.sealer.cipher.nonce);
    end(&pair);
}

Test(record, rekeys)
{
    check_rekey(4, 0);
    check_rekey(UINT64_MAX, 30000);
}

Test(record, stops_when_told)
{
    for (size_t stop = 1; stop < 6; stop++) {
        direction pair;
        start(&pair, true, 1 << 20);
        pair.stop_after = stop;
        for (uint32_t i = 0; i < 6; i++)
            put(&pair, 0, i, i % 2 ? 100000 : 10);
        look(&pair);
        CHECK_OK(hear(&pair, pair.bytes, pair.size, 100 << 20));
        cr_assert_eq(pair.num_messages, stop);
        end(&pair);
    }
}

/* At each allocation: a message is sealed whole or not at all, and what is opened ends with the error. */
Test(record, out_of_memory)
{
    for (long nth = 1;; nth++) {
        direction pair;
        uint8_t bytes[300000];
        struct iovec part = {bytes, sizeof bytes};
        size_t sent = 0;
        start(&pair, true, 1 << 20);
        fill(bytes, sizeof bytes, 5);
        pair.sealer.rekey_records = 2;
        heap_fails_in = nth;
        for (int i = 0; i < 3; i++)
            sent += rayi_sealer_put(&pair.sealer, 0, 5, &part, 1, sizeof bytes) == 0;
        bool all_sent = sent == 3;
        long left = heap_fails_in;
        heap_fails_in = 0;
        look(&pair);
        heap_fails_in = all_sent ? left : 0;
        int r = hear(&pair, pair.bytes, pair.size, 100000);
        bool failed = heap_fails_in == 1;
        heap_fails_in = 0;
        cr_assert(all_sent ? r == 0 || failed : r == 0);
        cr_assert(r == RAY_ERR_NO_MEMORY || (r == 0 && pair.num_messages == sent));
        end(&pair);
        if (all_sent && r == 0)
            return;
    }
}

/* ---- places of the user's, and bytes that are lent ---- */

static uint8_t *places[RAYI_COUNT_OF(sizes)];
static size_t num_placed, num_dropped;
static rayi_opener *dropper; /* drops each third message that has a place */

static uint8_t *give_place(void *arg, uint32_t type, size_t size)
{
    (void)arg;
    cr_assert_eq(size, sizes[type]);
    return type % 2 == 0 ? places[type] : NULL;
}

static void on_placed(void *arg, uint32_t type, uint8_t *bytes, size_t size)
{
    cr_assert(size == 0 || type % 2 || bytes == places[type]);
    num_placed += size > 0 && type % 2 == 0;
    on_delivery(arg, type, bytes, size);
}

/* As a link does: what can be read to its place is, and so many bytes behind it. */
static void hear_direct(direction *pair, size_t piece)
{
    for (size_t done = 0, count; done < pair->size; done += count) {
        uint8_t *to;
        count = rayi_opener_place(&pair->opener, &to);
        if (dropper && pair->opener.placed && pair->opener.in_body && !pair->opener.dropped &&
            pair->opener.type % 3 == 0) {
            rayi_opener_drop(&pair->opener);
            memset(places[pair->opener.type], 99, sizes[pair->opener.type]);
            num_dropped++;
            count = 0;
        }
        if (count > 0) {
            count = RAYI_MIN(RAYI_MIN(count, piece), pair->size - done);
            memcpy(to, pair->bytes + done, count);
            rayi_opener_placed(&pair->opener, count);
        } else {
            count = RAYI_MIN(piece, pair->size - done);
            CHECK_OK(hear(pair, pair->bytes + done, count, count));
        }
    }
}

static void check_places(bool sealed, bool drops, size_t piece)
{
    direction pair;
    size_t returned = 0;
    const void *back;
    uint8_t *lent[RAYI_COUNT_OF(sizes)];
    start(&pair, sealed, 1 << 20);
    pair.opener.place = give_place;
    pair.opener.deliver = on_placed;
    dropper = drops ? &pair.opener : NULL;
    num_placed = num_dropped = 0;
    for (uint32_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
        places[i] = malloc(sizes[i] + 1);
        lent[i] = malloc(sizes[i] + 1);
        fill(lent[i], sizes[i], i);
        CHECK_OK(rayi_sealer_lend(&pair.sealer, 0, i, lent[i], (uint32_t)sizes[i]));
    }
    cr_assert_not(rayi_sealer_take_back(&pair.sealer, &back));
    look(&pair);
    while (rayi_sealer_take_back(&pair.sealer, &back))
        cr_assert_eq(back, lent[returned++]);
    cr_assert_eq(returned, RAYI_COUNT_OF(sizes));
    hear_direct(&pair, piece);
    cr_assert_eq(pair.num_messages + num_dropped, RAYI_COUNT_OF(sizes));
    cr_assert(num_placed + num_dropped == 13 && (num_dropped > 0) == drops);
    for (uint32_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
        for (size_t j = 0; drops && i % 6 == 0 && j < sizes[i] && sizes[i] > 70000; j++)
            cr_assert_eq(places[i][j], 99);
        free(places[i]);
        free(lent[i]);
    }
    end(&pair);
}

Test(record, places_and_loans)
{
    static const size_t pieces[] = {7, 1000, 65536, 100 << 20};
    for (size_t i = SANITIZED ? 1 : 0; i < RAYI_COUNT_OF(pieces); i++)
        for (int sealed = 0; sealed < 2; sealed++) {
            check_places(sealed, false, pieces[i]);
            if (pieces[i] <= 1000)
                check_places(sealed, true, pieces[i]);
        }
}

Test(record, takes_messages_over)
{
    direction pair;
    start(&pair, true, 1 << 20);
    uint8_t bytes[10] = {1, 2, 3};
    uint8_t *copy = rayi_opener_take(&pair.opener, bytes, 3);
    cr_assert(copy != bytes && memcmp(copy, bytes, 3) == 0);
    rayi_free(copy);
    rayi_free(rayi_opener_take(&pair.opener, bytes, 0));
    end(&pair);
}
