/* Fetching: sizes, sources, breaks, and ends that are not the wanted ones. */
#include "bulk_helper.h"

#include <limits.h>

enum { LARGE = SANITIZED ? 3 << 20 : 100 << 20, MIDDLE = 40 * BULK_CHUNK + 12345 };

BULK_TEST(bulk, opens_and_closes)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        bulk_node *node = make_node(sealed, NULL);
        cr_assert(strstr(rayi_bulk_address(node->bulk), "127.0.0.1:"));
        free_node(node);
    }
    rayi_bulk *bulk;
    CHECK_FAILS(rayi_bulk_open(&(rayi_bulk_options){.num_keys = 0}, &bulk), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_bulk_open(&(rayi_bulk_options){.address = "nowhere"}, &bulk), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_bulk_open(&(rayi_bulk_options){.address = "0.0.0.0:0"}, &bulk), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_bulk_open(&(rayi_bulk_options){.address = "127.0.0.1:0", .chunk_bytes = 5 << 20}, &bulk),
                RAY_ERR_ARGUMENT);
}

BULK_TEST(bulk, fetches_all_sizes)
{
    static const size_t sizes[] = {0, 1, BULK_CHUNK - 1, BULK_CHUNK, BULK_CHUNK + 1, MIDDLE, LARGE};
    uint8_t *bytes = malloc(LARGE + 1);
    for (int sealed = 0; sealed < 2; sealed++)
        for (size_t i = 0; i < RAYI_COUNT_OF(sizes); i++) {
            bulk_node *from = make_node(sealed, sizes[i] == LARGE ? &(rayi_bulk_options){0} : NULL);
            bulk_node *to = make_node(sealed, sizes[i] == LARGE ? &(rayi_bulk_options){0} : NULL);
            add_thing(from, 1, sizes[i]);
            memset(bytes, 0, sizes[i]);
            bytes[sizes[i]] = 77;
            CHECK_OK(fetch_one(to, rayi_bulk_address(from->bulk), 1, bytes, sizes[i]));
            cr_assert(is_filled(bytes, sizes[i], 1) && bytes[sizes[i]] == 77, "%zu bytes", sizes[i]);
            free_node(to);
            free_node(from);
        }
    free(bytes);
}

BULK_TEST(bulk, arguments)
{
    bulk_node *node = make_node(false, NULL);
    rayi_bulk_source source = source_at("127.0.0.1:1", 1);
    rayi_bulk_marks *marks;
    CHECK_FAILS(rayi_bulk_fetch(node->bulk, &(rayi_bulk_want){.num_sources = 0}), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_bulk_fetch(node->bulk, &(rayi_bulk_want){.sources = &source, .num_sources = 1, .size_bytes = 1}),
                RAY_ERR_ARGUMENT);
    CHECK_OK(rayi_bulk_marks_new(100, 0, &marks));
    CHECK_FAILS(
        rayi_bulk_fetch(
            node->bulk,
            &(rayi_bulk_want){.sources = &source, .num_sources = 1, .size_bytes = 1, .to = &source, .marks = marks}),
        RAY_ERR_ARGUMENT);
    rayi_bulk_marks_unref(marks);
    CHECK_FAILS(rayi_bulk_marks_new(100, 5 << 20, &marks), RAY_ERR_ARGUMENT);
    char byte;
    CHECK_FAILS(fetch_one(node, "nowhere", 1, &byte, 1), RAY_ERR_ARGUMENT);
    CHECK_WORDS("object 1 at nowhere: ");
    CHECK_FAILS(fetch_one(node, "10.0.0.1:1", 1, &byte, 1), RAY_ERR_ARGUMENT);
    CHECK_WORDS("key");
    free_node(node);
}

/* The fast one brings more, and what the one that stalls owes comes from it, too. */
static void check_sources(bool sealed, bool stalls)
{
    bulk_node *nodes[3], *to = make_node(sealed, NULL);
    rayi_bulk_source sources[4];
    uint8_t *bytes = malloc(MIDDLE);
    for (size_t i = 0; i < 3; i++) {
        nodes[i] = make_node(sealed, NULL);
        add_thing(nodes[i], i + 1, MIDDLE);
        fill(nodes[i]->things[i].bytes, MIDDLE, 9);
        sources[i] = source_at(rayi_bulk_address(nodes[i]->bulk), i + 1);
    }
    breaker *between = make_breaker(sources[0].address);
    sources[0].address = between->address;
    sources[3] = source_at(sources[1].address, 4); /* which has no such object */
    between->stalls = stalls;
    memset(bytes, 0, MIDDLE);
    CHECK_OK(rayi_bulk_fetch(to->bulk, &(rayi_bulk_want){.sources = sources,
                                                         .num_sources = 4,
                                                         .size_bytes = MIDDLE,
                                                         .to = bytes,
                                                         .deadline_ns = rayi_deadline_ns(20000)}));
    cr_assert(is_filled(bytes, MIDDLE, 9));
    free(bytes);
    free_node(to);
    free_breaker(between);
    for (size_t i = 0; i < 3; i++)
        free_node(nodes[i]);
}

BULK_TEST(bulk, several_sources)
{
    check_sources(true, false);
    check_sources(false, false);
    check_sources(true, true);
}

/* Cut in the middle, again and again: it is dialled anew, and what is missing is fetched. */
BULK_TEST(bulk, resumes)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        bulk_node *from = make_node(sealed, NULL), *to = make_node(sealed, NULL);
        breaker *between = make_breaker(rayi_bulk_address(from->bulk));
        uint8_t *bytes = calloc(1, MIDDLE);
        add_thing(from, 1, MIDDLE);
        for (int i = 0; i < 3; i++) {
            memset(bytes, 0, MIDDLE);
            between->cut_after = 100 + (size_t)i * 10 * BULK_CHUNK;
            CHECK_OK(fetch_one(to, between->address, 1, bytes, MIDDLE));
            cr_assert(is_filled(bytes, MIDDLE, 1));
        }
        cr_assert_geq(between->num_cuts, 2);
        cr_assert_gt(between->num_connections, between->num_cuts);
        free(bytes);
        free_node(to);
        free_breaker(between);
        free_node(from);
    }
}

/* One bit is changed on the way: the checksum or the tag finds it, and the chunk comes again. */
BULK_TEST(bulk, damage_is_found)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        bulk_node *from = make_node(sealed, NULL), *to = make_node(sealed, NULL);
        breaker *between = make_breaker(rayi_bulk_address(from->bulk));
        uint8_t *bytes = calloc(1, MIDDLE);
        add_thing(from, 1, MIDDLE);
        between->flip_at = 5 * BULK_CHUNK + 1000;
        CHECK_OK(fetch_one(to, between->address, 1, bytes, MIDDLE));
        cr_assert(is_filled(bytes, MIDDLE, 1));
        cr_assert_eq(between->flip_at, SIZE_MAX);
        cr_assert_eq(between->num_connections, 2);
        free(bytes);
        free_node(to);
        free_breaker(between);
        free_node(from);
    }
}

/* A connection that owes something and says nothing is given up, and dialled anew. */
BULK_TEST(bulk, silence_is_noticed)
{
    bulk_node *from = make_node(true, NULL),
              *to = make_node(true, &(rayi_bulk_options){.chunk_bytes = BULK_CHUNK, .silent_ms = 200});
    breaker *between = make_breaker(rayi_bulk_address(from->bulk));
    rayi_bulk_source source = source_at(between->address, 1);
    uint8_t *bytes = calloc(1, MIDDLE);
    add_thing(from, 1, MIDDLE);
    CHECK_OK(fetch_one(to, between->address, 1, bytes, MIDDLE));
    between->stalls = true;
    CHECK_FAILS(rayi_bulk_fetch(to->bulk, &(rayi_bulk_want){.sources = &source,
                                                            .num_sources = 1,
                                                            .size_bytes = MIDDLE,
                                                            .to = bytes,
                                                            .deadline_ns = rayi_deadline_ns(4000)}),
                RAY_ERR_FETCH_TIMEOUT); /* before the next dial is given up, which would be said instead */
    const char *words = rayi_error_last_public()->message;
    cr_assert(strstr(words, "it has said nothing for 0.2 s") || strstr(words, "it has said nothing for 0.3 s"),
              "a tick may be late: %s", words);
    between->stalls = false;
    CHECK_OK(fetch_one(to, between->address, 1, bytes, MIDDLE));
    cr_assert(is_filled(bytes, MIDDLE, 1));
    free(bytes);
    free_node(to);
    free_breaker(between);
    free_node(from);
}

BULK_TEST(bulk, sources_that_have_not_got_it)
{
    bulk_node *from = make_node(true, NULL), *other = make_node(true, NULL), *to = make_node(true, NULL);
    rayi_bulk_source sources[2] = {source_at(rayi_bulk_address(from->bulk), 2),
                                   source_at(rayi_bulk_address(other->bulk), 1)};
    rayi_bulk_want want = {
        .sources = sources, .num_sources = 2, .size_bytes = 100, .deadline_ns = rayi_deadline_ns(20000)};
    char bytes[100];
    want.to = bytes;
    CHECK_FAILS(rayi_bulk_fetch(to->bulk, &want), RAY_ERR_NOT_FOUND);
    CHECK_WORDS("0 of 100 bytes came; object 2 at ");
    CHECK_WORDS(": no object 2 here; object 1 at ");
    CHECK_WORDS(": no object 1 here");
    CHECK_WORDS(rayi_bulk_address(other->bulk));
    add_thing(other, 1, 101);
    CHECK_FAILS(rayi_bulk_fetch(to->bulk, &want), RAY_ERR_CORRUPT);
    CHECK_WORDS("expected an object of 100 bytes, it has 101");
    sources[1].ticket = 8;
    CHECK_FAILS(rayi_bulk_fetch(to->bulk, &want), RAY_ERR_NOT_FOUND);
    sources[1] = source_at(rayi_bulk_address(other->bulk), 2);
    add_thing(other, 2, 100);
    CHECK_OK(rayi_bulk_fetch(to->bulk, &want));
    cr_assert(is_filled(bytes, 100, 2));
    other->num_later = 3;
    CHECK_OK(rayi_bulk_fetch(to->bulk, &want));
    free_node(to);
    free_node(other);
    free_node(from);
}

BULK_TEST(bulk, keys_of_peers)
{
    bulk_node *from = make_node(true, NULL), *to = make_node(true, NULL), *plain = make_node(false, NULL);
    uint8_t key[32] = {1}, bytes[100];
    rayi_bulk_source source = source_at(rayi_bulk_address(from->bulk), 1);
    rayi_bulk_want want = {.sources = &source, .num_sources = 1, .size_bytes = 100, .to = bytes};
    want.deadline_ns = rayi_deadline_ns(20000);
    add_thing(from, 1, 100);
    source.peer = rayi_bulk_identity(from->bulk);
    CHECK_OK(rayi_bulk_fetch(to->bulk, &want));
    source.peer = key;
    for (int i = 0; i < 2; i++) { /* on a connection that is there, and, where there is none, on a new one */
        bulk_node *late = make_node(true, NULL);
        CHECK_FAILS(rayi_bulk_fetch(i ? late->bulk : to->bulk, &want), RAY_ERR_AUTH);
        CHECK_WORDS("another node answers there");
        free_node(late);
    }
    /* who has another cluster key, or none */
    source.peer = NULL;
    CHECK_FAILS(rayi_bulk_fetch(plain->bulk, &want), RAY_ERR_AUTH);
    bulk_key = key_of(2);
    bulk_node *foreign = make_node(true, NULL);
    CHECK_FAILS(rayi_bulk_fetch(foreign->bulk, &want), RAY_ERR_AUTH);
    free_node(foreign);
    free_node(plain);
    free_node(to);
    free_node(from);
}

BULK_TEST(bulk, deadlines)
{
    bulk_node *from = make_node(true, NULL), *to = make_node(true, NULL);
    char nobody[64], bytes[100];
    rayi_bulk_source source = source_at(rayi_bulk_address(from->bulk), 1);
    rayi_bulk_want want = {.sources = &source, .num_sources = 1, .size_bytes = 100, .to = bytes};
    add_thing(from, 1, 100);
    from->slow_ms = 300;
    int64_t began = rayi_now_ms();
    want.deadline_ns = rayi_deadline_ns(100);
    CHECK_FAILS(rayi_bulk_fetch(to->bulk, &want), RAY_ERR_FETCH_TIMEOUT);
    CHECK_WORDS("in time: 0 of 100 bytes came; object 1 at ");
    cr_assert(rayi_now_ms() - began >= 100 && (SANITIZED || rayi_now_ms() - began < 2000));
    close(listen_raw(nobody));
    source.address = nobody;
    want.deadline_ns = rayi_deadline_ns(200);
    CHECK_FAILS(rayi_bulk_fetch(to->bulk, &want), RAY_ERR_FETCH_TIMEOUT);
    CHECK_WORDS("connection refused");
    want.deadline_ns = 0;
    CHECK_FAILS(rayi_bulk_fetch(to->bulk, &want), RAY_ERR_FETCH_TIMEOUT);
    free_node(to);
    free_node(from);
}

/* ---- many at once ---- */

typedef struct fetcher {
    pthread_t thread;
    bulk_node *to;
    const char *address;
    uint64_t object;
    size_t size;
    int64_t deadline_ns;
    int code;
    atomic_bool runs;
} fetcher;

static void *run_fetcher(void *arg)
{
    fetcher *one = arg;
    uint8_t *bytes = calloc(1, one->size);
    rayi_bulk_source source = source_at(one->address, one->object);
    one->runs = true;
    one->code = rayi_bulk_fetch(one->to->bulk, &(rayi_bulk_want){.sources = &source,
                                                                 .num_sources = 1,
                                                                 .size_bytes = one->size,
                                                                 .to = bytes,
                                                                 .deadline_ns = one->deadline_ns});
    if (one->code == 0)
        cr_assert(is_filled(bytes, one->size, one->object));
    rayi_error_settle_last();
    free(bytes);
    return NULL;
}

BULK_TEST(bulk, eight_fetchers)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        bulk_node *from = make_node(sealed, NULL), *to = make_node(sealed, NULL);
        fetcher fetchers[8] = {0};
        for (uint64_t i = 1; i <= MAX_OBJECTS; i++)
            add_thing(from, i, MIDDLE + i);
        for (size_t i = 0; i < 8; i++) {
            fetchers[i] = (fetcher){.to = to, .address = rayi_bulk_address(from->bulk), .object = 1 + i % MAX_OBJECTS};
            fetchers[i].size = MIDDLE + fetchers[i].object;
            fetchers[i].deadline_ns = rayi_deadline_ns(60000);
            cr_assert_eq(pthread_create(&fetchers[i].thread, NULL, run_fetcher, &fetchers[i]), 0);
        }
        for (size_t i = 0; i < 8; i++) {
            pthread_join(fetchers[i].thread, NULL);
            cr_assert_eq(fetchers[i].code, 0);
        }
        free_node(to);
        free_node(from);
    }
}

BULK_TEST(bulk, cancels)
{
    bulk_node *from = make_node(true, NULL), *to = make_node(true, NULL);
    fetcher fetchers[4] = {0};
    char byte;
    add_thing(from, 1, MIDDLE);
    from->slow_ms = 500;
    from->num_later = INT_MAX; /* so that no fetch is done before it is cancelled, however late that is */
    for (size_t i = 0; i < 4; i++) {
        fetchers[i] = (fetcher){.to = to, .address = rayi_bulk_address(from->bulk), .object = 1, .size = MIDDLE};
        fetchers[i].deadline_ns = INT64_MAX;
        cr_assert_eq(pthread_create(&fetchers[i].thread, NULL, run_fetcher, &fetchers[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        while (!fetchers[i].runs)
            rayi_nap_ms(1);
    rayi_nap_ms(50);
    rayi_bulk_cancel_all(to->bulk);
    for (size_t i = 0; i < 4; i++) {
        pthread_join(fetchers[i].thread, NULL);
        cr_assert_eq(fetchers[i].code, RAY_ERR_SHUTDOWN);
    }
    CHECK_FAILS(fetch_one(to, rayi_bulk_address(from->bulk), 1, &byte, 1), RAY_ERR_SHUTDOWN);
    free_node(to);
    free_node(from); /* what is being opened is waited for */
}

/* Its end while a chunk is arriving: nothing is written afterwards, and the connection goes on. */
BULK_TEST(bulk, memory_is_the_callers_after_the_end)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        bulk_node *from = make_node(sealed, NULL), *to = make_node(sealed, NULL);
        breaker *between = make_breaker(rayi_bulk_address(from->bulk));
        rayi_bulk_source source = source_at(between->address, 1);
        uint8_t *bytes = malloc(MIDDLE);
        add_thing(from, 1, MIDDLE);
        for (int i = 0; i < 10; i++) {
            int r = rayi_bulk_fetch(to->bulk, &(rayi_bulk_want){.sources = &source,
                                                                .num_sources = 1,
                                                                .size_bytes = MIDDLE,
                                                                .to = bytes,
                                                                .deadline_ns = rayi_now_ns() + i * 1000000});
            memset(bytes, 5, MIDDLE);
            rayi_nap_ms(5);
            cr_assert(r == 0 || r == RAY_ERR_FETCH_TIMEOUT);
            for (size_t j = 0; j < MIDDLE; j++)
                cr_assert_eq(bytes[j], 5);
        }
        CHECK_OK(fetch_one(to, between->address, 1, bytes, MIDDLE));
        cr_assert(is_filled(bytes, MIDDLE, 1));
        cr_assert_eq(between->num_connections, 1);
        free(bytes);
        free_node(to);
        free_breaker(between);
        free_node(from);
    }
}

BULK_TEST(bulk, idle_connections_are_closed)
{
    bulk_node *from = make_node(true, NULL),
              *to = make_node(true, &(rayi_bulk_options){.chunk_bytes = BULK_CHUNK, .idle_ms = 2000});
    uint8_t bytes[100];
    add_thing(from, 1, 100);
    size_t before = check_open_fds();
    CHECK_OK(fetch_one(to, rayi_bulk_address(from->bulk), 1, bytes, 100));
    cr_assert_eq(check_open_fds(), before + 2);
    CHECK_OK(fetch_one(to, rayi_bulk_address(from->bulk), 1, bytes, 100));
    cr_assert_eq(check_open_fds(), before + 2);
    for (int64_t until = rayi_now_ms() + 30000; check_open_fds() > before && rayi_now_ms() < until;)
        rayi_nap_ms(5);
    cr_assert_eq(check_open_fds(), before);
    CHECK_OK(fetch_one(to, rayi_bulk_address(from->bulk), 1, bytes, 100));
    free_node(to);
    free_node(from);
}

/* At each allocation, of whichever thread: it ends, and if not well, with words; and the next fetch is as good as ever.
 */
BULK_TEST(bulk, out_of_memory)
{
    uint8_t *bytes = calloc(1, MIDDLE);
    for (int sealed = 0; sealed < 2; sealed++) {
        long left = 0;
        for (long nth = 1; left == 0; nth += SANITIZED ? 3 : 1) {
            bulk_node *from = make_node(sealed, NULL), *to = make_node(sealed, NULL);
            add_thing(from, 1, MIDDLE);
            bulk_fails_in = nth;
            int r = fetch_one(to, rayi_bulk_address(from->bulk), 1, bytes, MIDDLE);
            left = bulk_fails_in;
            bulk_fails_in = 0;
            cr_assert(r == 0 || r == RAY_ERR_NO_MEMORY, "allocation %ld: %d, %s", nth, r,
                      rayi_error_last_public()->message);
            CHECK_OK(fetch_one(to, rayi_bulk_address(from->bulk), 1, bytes, MIDDLE));
            cr_assert(is_filled(bytes, MIDDLE, 1));
            free_node(to);
            free_node(from);
        }
    }
    free(bytes);
}
