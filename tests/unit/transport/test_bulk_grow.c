/* Objects that are served while they grow, and what is there of them. */
#include "bulk_helper.h"

#include "transport/bulk_map.h"

enum { NUM_CHUNKS = 30, SIZE = NUM_CHUNKS * BULK_CHUNK - 77 };

BULK_TEST(bulk_grow, marks)
{
    rayi_bulk_marks *marks;
    CHECK_OK(rayi_bulk_marks_new(1000, 100, &marks));
    cr_assert(rayi_bulk_marks_has(marks, 0, 0) && !rayi_bulk_marks_has(marks, 0, 1));
    rayi_bulk_marks_set(marks, 3);
    rayi_bulk_marks_set(marks, 4);
    cr_assert(rayi_bulk_marks_has(marks, 300, 200) && rayi_bulk_marks_has(marks, 399, 2));
    cr_assert(!rayi_bulk_marks_has(marks, 299, 2) && !rayi_bulk_marks_has(marks, 499, 2));
    cr_assert_not(rayi_bulk_marks_failed(marks));
    rayi_bulk_marks_fail(marks);
    cr_assert(rayi_bulk_marks_failed(marks));
    rayi_bulk_marks_unref(marks);
    rayi_bulk_marks_unref(NULL);
}

Test(bulk_map, shares_chunks_out)
{
    rayi_bulk_map map;
    uint64_t chunk;
    CHECK_OK(rayi_bulk_map_init(&map, rayi_heap, 1050, 100));
    cr_assert(map.num_chunks == 11 && rayi_bulk_map_chunk_bytes(&map, 9) == 100 &&
              rayi_bulk_map_chunk_bytes(&map, 10) == 50);
    for (uint64_t i = 0; i < 11; i++) {
        cr_assert(rayi_bulk_map_next(&map, &chunk) && chunk == i);
        rayi_bulk_map_ask(&map, chunk);
    }
    cr_assert_not(rayi_bulk_map_next(&map, &chunk));
    rayi_bulk_map_ask(&map, 5); /* of another, too */
    rayi_bulk_map_give_back(&map, 5);
    cr_assert(!rayi_bulk_map_next(&map, &chunk) && rayi_bulk_map_asked(&map, 5) == 1);
    rayi_bulk_map_give_back(&map, 5);
    rayi_bulk_map_give_back(&map, 2);
    cr_assert(rayi_bulk_map_next(&map, &chunk) && chunk == 2);
    rayi_bulk_map_arrive(&map, 2);
    rayi_bulk_map_give_back(&map, 2);
    cr_assert(rayi_bulk_map_has(&map, 2) && rayi_bulk_map_asked(&map, 2) == 0 && map.num_left == 10);
    cr_assert(rayi_bulk_map_next(&map, &chunk) && chunk == 5);
    rayi_bulk_map_fini(&map);
    CHECK_OK(rayi_bulk_map_init(&map, rayi_heap, 0, 100));
    cr_assert(map.num_left == 0 && !rayi_bulk_map_next(&map, &chunk));
    rayi_bulk_map_fini(&map);
}

typedef struct ending {
    atomic_int count, code;
    char words[512];
} ending;

static void on_done(void *arg, int code)
{
    ending *end = arg;
    end->code = code;
    if (code < 0)
        snprintf(end->words, sizeof end->words, "%s", rayi_error_last_public()->message);
    end->count++;
}

static void begin(bulk_node *to, const char *address, uint8_t *bytes, rayi_bulk_marks *marks, ending *end)
{
    rayi_bulk_source source = source_at(address, 1);
    CHECK_OK(rayi_bulk_fetch_begin(to->bulk,
                                   &(rayi_bulk_want){.sources = &source,
                                                     .num_sources = 1,
                                                     .size_bytes = SIZE,
                                                     .to = bytes,
                                                     .marks = marks,
                                                     .deadline_ns = rayi_deadline_ns(60000)},
                                   on_done, end));
}

static void wait_for(const ending *end)
{
    int64_t until = rayi_now_ms() + 60000;
    while (end->count == 0 && rayi_now_ms() < until)
        rayi_nap_ms(1);
    cr_assert_eq(end->count, 1);
}

static void add_growing(bulk_node *node, rayi_bulk_marks **marks)
{
    add_thing(node, 1, SIZE);
    memset(node->things[0].bytes, 0, SIZE);
    CHECK_OK(rayi_bulk_marks_new(SIZE, BULK_CHUNK, marks));
    node->things[0].marks = rayi_bulk_marks_ref(*marks);
}

/* Chunks appear in any order, written by a thread that is not the bulk's. */
BULK_TEST(bulk_grow, waits_for_what_is_not_there)
{
    for (int sealed = 0; sealed < 2; sealed++) {
        bulk_node *from = make_node(sealed, NULL), *to = make_node(sealed, NULL);
        uint8_t *bytes = calloc(1, SIZE), *whole = malloc(SIZE);
        rayi_bulk_marks *marks;
        ending end = {0};
        fill(whole, SIZE, 1);
        add_growing(from, &marks);
        begin(to, rayi_bulk_address(from->bulk), bytes, NULL, &end);
        for (uint64_t i = 0; i < NUM_CHUNKS; i++) {
            uint64_t chunk = i * 7 % NUM_CHUNKS, at = chunk * BULK_CHUNK;
            cr_assert_eq(end.count, 0);
            memcpy(from->things[0].bytes + at, whole + at, RAYI_MIN(BULK_CHUNK, SIZE - at));
            rayi_bulk_marks_set(marks, chunk);
            rayi_bulk_grown(from->bulk);
            rayi_nap_ms(2);
        }
        wait_for(&end);
        cr_assert(end.code == 0 && memcmp(bytes, whole, SIZE) == 0, "%s", end.words);
        rayi_bulk_marks_unref(marks);
        free(whole);
        free(bytes);
        free_node(to);
        free_node(from);
    }
}

/* A chain of nodes, each of which serves what it is fetching itself. */
BULK_TEST(bulk_grow, relays)
{
    bulk_node *nodes[4];
    rayi_bulk_marks *marks[4];
    ending ends[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        nodes[i] = make_node(true, NULL);
        if (i > 0)
            add_growing(nodes[i], &marks[i]);
    }
    add_thing(nodes[0], 1, SIZE);
    for (size_t i = 3; i > 0; i--)
        begin(nodes[i], rayi_bulk_address(nodes[i - 1]->bulk), nodes[i]->things[0].bytes, marks[i], &ends[i]);
    for (size_t i = 1; i < 4; i++) {
        wait_for(&ends[i]);
        cr_assert(ends[i].code == 0 && is_filled(nodes[i]->things[0].bytes, SIZE, 1), "%s", ends[i].words);
        cr_assert(rayi_bulk_marks_has(marks[i], 0, SIZE));
        rayi_bulk_marks_unref(marks[i]);
    }
    for (size_t i = 4; i-- > 0;)
        free_node(nodes[i]);
}

/* What is marked is not fetched. */
BULK_TEST(bulk_grow, goes_on_where_it_was)
{
    bulk_node *from = make_node(true, NULL), *to = make_node(true, NULL);
    uint8_t *bytes = calloc(1, SIZE);
    rayi_bulk_marks *marks;
    ending end = {0}, again = {0};
    add_thing(from, 1, SIZE);
    CHECK_OK(rayi_bulk_marks_new(SIZE, BULK_CHUNK, &marks));
    rayi_bulk_marks_set(marks, 1);
    begin(to, rayi_bulk_address(from->bulk), bytes, marks, &end);
    wait_for(&end);
    cr_assert_eq(end.code, 0);
    for (size_t i = 0; i < BULK_CHUNK; i++)
        cr_assert_eq(bytes[BULK_CHUNK + i], 0);
    int opened = from->num_opened;
    begin(to, rayi_bulk_address(from->bulk), bytes, marks, &again); /* all of it is */
    wait_for(&again);
    cr_assert(again.code == 0 && from->num_opened == opened);
    rayi_bulk_marks_unref(marks);
    free(bytes);
    free_node(to);
    free_node(from);
}

BULK_TEST(bulk_grow, the_rest_will_not_come)
{
    bulk_node *from = make_node(true, NULL), *to = make_node(true, NULL);
    uint8_t *bytes = calloc(1, SIZE);
    rayi_bulk_marks *marks;
    ending end = {0};
    add_growing(from, &marks);
    rayi_bulk_marks_set(marks, 0);
    begin(to, rayi_bulk_address(from->bulk), bytes, NULL, &end);
    rayi_nap_ms(50);
    cr_assert_eq(end.count, 0);
    rayi_bulk_marks_fail(marks);
    rayi_bulk_grown(from->bulk);
    wait_for(&end);
    cr_assert_eq(end.code, RAY_ERR_OBJECT_LOST, "%s", end.words);
    cr_assert(strstr(end.words, "the rest of the object will not come"), "%s", end.words);
    rayi_bulk_marks_unref(marks);
    free(bytes);
    free_node(to);
    free_node(from);
}

/* Many that wait for what does not come leave room for who can be served. */
BULK_TEST(bulk_grow, who_waits_is_not_in_the_way)
{
    bulk_node *from = make_node(true, NULL), *to = make_node(true, NULL);
    uint8_t *bytes = calloc(4, SIZE);
    rayi_bulk_marks *marks;
    ending ends[4] = {0};
    add_growing(from, &marks);
    add_thing(from, 2, SIZE);
    for (size_t i = 0; i < 3; i++)
        begin(to, rayi_bulk_address(from->bulk), bytes + i * SIZE, NULL, &ends[i]);
    rayi_nap_ms(20);
    CHECK_OK(fetch_one(to, rayi_bulk_address(from->bulk), 2, bytes + 3 * SIZE, SIZE));
    cr_assert(is_filled(bytes + 3 * SIZE, SIZE, 2));
    rayi_bulk_cancel_all(to->bulk);
    for (size_t i = 0; i < 3; i++) {
        wait_for(&ends[i]);
        cr_assert_eq(ends[i].code, RAY_ERR_SHUTDOWN);
    }
    rayi_bulk_marks_unref(marks);
    free_node(to);
    free_node(from);
    free(bytes);
}
