/* What every folder stands on: text that grows, errors and the last one of a thread, deadlines. */
#include "../around.h"
#include <pthread.h>
#include <string.h>

#include "../scheduler/counted.h"

/* ---- text ---- */

Test(text, empty)
{
    rayi_text text;

    rayi_text_init(&text, rayi_heap);
    cr_expect_null(text.data);
    cr_expect_eq(text.size, 0);
    rayi_text_add(&text, "");
    cr_expect_str_eq(text.data, "");
    rayi_text_fini(&text);
    cr_expect_null(text.data);
}

/* Whatever the pieces, the text is theirs and ends in NUL. */
Test(text, grows)
{
    for (size_t piece = 1; piece < 200; piece += 7) {
        char expected[4096] = "", part[256];
        counted heap;
        rayi_text text;
        counted_init(&heap);
        rayi_text_init(&text, &heap.memory);
        memset(part, 'x', piece);
        part[piece] = 0;
        for (int i = 0; i < 20; i++) {
            part[0] = (char)('a' + i);
            if (i % 3 == 0)
                rayi_text_printf(&text, "%c%s", part[0], part + 1);
            else if (i % 3 == 1)
                rayi_text_add(&text, part);
            else
                rayi_text_add_bytes(&text, part, piece);
            strcat(expected, part);
            cr_assert_str_eq(text.data, expected);
            cr_assert_eq(text.size, strlen(expected));
            cr_assert_gt(text.room, text.size);
        }
        cr_assert_eq(heap.live, 1);
        cr_assert_lt(heap.requests, 10);
        rayi_text_fini(&text);
        cr_assert_eq(heap.live, 0);
    }
}

Test(text, bytes)
{
    rayi_text text;

    rayi_text_init(&text, rayi_heap);
    rayi_text_add_bytes(&text, "a\0b", 3);
    rayi_text_add_bytes(&text, NULL, 0);
    cr_expect_eq(text.size, 3);
    cr_assert_arr_eq(text.data, "a\0b", 4);
    rayi_text_fini(&text);
}

Test(text, json)
{
    static const char *const table[][2] = {
        {NULL, "null"},
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"say \"a\\b\"", "\"say \\\"a\\\\b\\\"\""},
        {"\n\t\x01\x1f ", "\"\\u000a\\u0009\\u0001\\u001f \""},
        {"/\x7f", "\"/\x7f\""},
        {"caf\xc3\xa9 \xe2\x80\xa6", "\"caf\xc3\xa9 \xe2\x80\xa6\""},
        {"100%s", "\"100%s\""},
        {"\xc3(\xff \xe2\x80", "\"\xef\xbf\xbd(\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                                   /* longer than it need be */
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},                   /* half a surrogate */
        {"\xf4\x90\x80\x80x", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdx\""}, /* beyond the last */
    };

    for (size_t i = 0; i < RAYI_COUNT_OF(table); i++) {
        rayi_text text;
        rayi_text_init(&text, rayi_heap);
        rayi_text_add_json(&text, table[i][0]);
        cr_expect_str_eq(text.data, table[i][1]);
        rayi_text_fini(&text);
    }
}

/* Whichever allocation fails: the text is failed and empty, stays so, and holds no memory. */
Test(text, no_memory)
{
    for (long nth = 1; nth <= 3; nth++) {
        counted heap;
        rayi_text text;
        counted_init(&heap);
        rayi_text_init(&text, &heap.memory);
        counted_fail(&heap, nth);
        for (int i = 0; i < 100; i++) {
            rayi_text_add(&text, "word");
            rayi_text_printf(&text, "%d", i);
            rayi_text_add_json(&text, "\"");
        }
        cr_expect(text.failed);
        cr_expect_eq(text.size, 0);
        cr_expect_null(text.data);
        cr_expect_eq(heap.live, 0);
        cr_expect_eq(heap.requests, nth); /* it asks no more */
        rayi_text_fini(&text);
    }
}

/* ---- errors ---- */

static counted heap;

static void setup(void)
{
    counted_init(&heap);
    rayi_memory_install(&heap.memory);
}

static void teardown(void)
{
    (void)rayi_fail(RAY_ERR_TYPE, "the last one is its thread's own");
    cr_expect_eq(heap.live, 0);
    rayi_memory_install(NULL);
}

TEST_AROUND(error, counts, setup, teardown)
{
    rayi_error *error = rayi_error_new(RAY_ERR_TIMEOUT, "f", "node", "%d of %s", 3, "x");
    const ray_error *about = rayi_error_public(error);

    cr_expect_eq(rayi_error_code(error), RAY_ERR_TIMEOUT);
    cr_expect_str_eq(about->message, "3 of x");
    cr_expect_str_eq(about->function, "f");
    cr_expect_str_eq(about->node_id, "node");
    cr_expect_eq(rayi_error_ref(error), error);
    rayi_error_unref(error);
    cr_expect_eq(heap.live, 1);
    rayi_error_unref(error);
    cr_expect_eq(heap.live, 0);
    rayi_error_unref(NULL);
}

TEST_AROUND(error, copy, setup, teardown)
{
    char message[] = "words", output[] = "last words", payload[] = "\1\0\2";
    rayi_error *error = rayi_error_copy(&(ray_error){.code = RAY_ERR_TYPE,
                                                     .message = message,
                                                     .output = output,
                                                     .payload = payload,
                                                     .payload_size = sizeof payload});

    message[0] = output[0] = payload[0] = 'X';
    cr_expect_str_eq(rayi_error_public(error)->output, "last words");
    cr_expect_str_eq(rayi_error_public(error)->message, "words");
    cr_expect_eq(rayi_error_public(error)->payload_size, sizeof payload);
    cr_assert_arr_eq(rayi_error_public(error)->payload, "\1\0\2", sizeof payload);
    cr_expect_null(rayi_error_public(error)->function);
    rayi_error_unref(error);
}

TEST_AROUND(error, plain, setup, teardown)
{
    rayi_error *error = rayi_error_plain(RAY_ERR_TIMEOUT);

    for (int i = 0; i < 3; i++)
        rayi_error_unref(error); /* everybody's */
    cr_expect_eq(rayi_error_plain(RAY_ERR_TIMEOUT), error);
    cr_expect_str_eq(rayi_error_public(error)->message, rayi_error_text(RAY_ERR_TIMEOUT));
    cr_expect_eq(rayi_error_code(rayi_error_plain(123456)), RAY_ERR_INTERNAL);
    cr_expect_str_eq(rayi_error_label(RAY_ERR_TIMEOUT), "RAY_ERR_TIMEOUT");
    cr_expect_str_eq(rayi_error_label(RAY_OK), "RAY_OK");
    cr_expect_str_eq(rayi_error_label(123456), "RAY_ERR_?");
    cr_expect_str_eq(rayi_error_text(123456), "unknown error code");
    counted_fail(&heap, 1);
    error = rayi_error_new(RAY_ERR_TYPE, NULL, NULL, "words");
    cr_expect_eq(error, rayi_error_plain(RAY_ERR_NO_MEMORY));
    rayi_error_unref(error);
}

TEST_AROUND(error, last, setup, teardown)
{
    rayi_error *error = rayi_error_new(RAY_ERR_TIMEOUT, NULL, NULL, "shared"), *got;

    cr_expect_null(rayi_error_last());
    cr_expect_eq(rayi_error_last_public()->code, 0);
    cr_expect_str_eq(rayi_error_last_public()->message, "");
    cr_expect_eq(rayi_fail(RAY_ERR_TYPE, "first %d", 1), RAY_ERR_TYPE);
    cr_expect_eq(rayi_fail(RAY_ERR_TYPE, "after %s", rayi_error_last_public()->message), RAY_ERR_TYPE);
    cr_expect_str_eq(rayi_error_last_public()->message, "after first 1");
    got = rayi_error_last(); /* a copy with a count */
    cr_expect_str_eq(rayi_error_public(got)->message, "after first 1");
    rayi_error_unref(got);

    cr_expect_eq(rayi_error_set_last(rayi_error_ref(error)), RAY_ERR_TIMEOUT);
    cr_expect_eq(rayi_error_set_last(rayi_error_ref(error)), RAY_ERR_TIMEOUT); /* once more: one count is enough */
    got = rayi_error_last();
    cr_expect_eq(got, error);
    rayi_error_unref(got);
    rayi_error_unref(error);
    cr_expect_eq(heap.live, 1); /* the thread's */
    rayi_error_settle_last();
    cr_expect_eq(heap.live, 0);
    cr_expect_eq(rayi_error_last_public()->code, RAY_ERR_TIMEOUT);
    cr_expect_str_eq(rayi_error_last_public()->message, "shared");
}

static void *fail_and_end(void *error)
{
    return rayi_error_set_last(error) == RAY_ERR_TIMEOUT && !strcmp(rayi_error_last_public()->message, "x") ? error
                                                                                                            : NULL;
}

/* Each thread has its own, and its count goes with it. */
TEST_AROUND(error, threads, setup, teardown)
{
    rayi_error *error = rayi_error_new(RAY_ERR_TIMEOUT, NULL, NULL, "x");
    pthread_t thread;
    void *result;

    (void)rayi_fail(RAY_ERR_TYPE, "mine");
    cr_assert_eq(pthread_create(&thread, NULL, fail_and_end, error), 0);
    pthread_join(thread, &result);
    cr_expect_not_null(result);
    cr_expect_str_eq(rayi_error_last_public()->message, "mine");
    cr_expect_eq(heap.live, 0);
}

/* Longer messages are cut, never inside a character. */
TEST_AROUND(error, cut, setup, teardown)
{
    char message[RAYI_MESSAGE_MAX + 8];

    for (size_t before = RAYI_MESSAGE_MAX - 5; before <= RAYI_MESSAGE_MAX; before++) {
        memset(message, 'x', before);
        strcpy(message + before, "\xf0\x9f\x98\x80"); /* four bytes */
        rayi_error *error = rayi_error_copy(&(ray_error){.code = RAY_ERR_TYPE, .message = message});
        cr_assert_eq(strlen(rayi_error_public(error)->message), before + 4 <= RAYI_MESSAGE_MAX ? before + 4 : before);
        rayi_error_unref(error);
    }
}

/* ---- time ---- */

Test(clock, deadlines)
{
    int64_t before = rayi_now_ns(), deadline = rayi_deadline_ns(1000), after = rayi_now_ns();

    cr_expect(deadline >= before + 1000000000 && deadline <= after + 1000000000);
    cr_expect_eq(rayi_deadline_ns(-1), INT64_MAX);
    cr_expect_eq(rayi_deadline_ns(INT64_MIN), INT64_MAX);
    cr_expect_eq(rayi_deadline_ns(INT64_MAX), INT64_MAX);
    cr_expect_eq(rayi_deadline_ns(INT64_MAX / 1000000), INT64_MAX);
    cr_expect_eq(rayi_deadline_ns(INT64_MAX / 1000000 + 1), INT64_MAX);
    deadline = rayi_deadline_ns((INT64_MAX - rayi_now_ns()) / 1000000 - 100000); /* just in range */
    cr_expect(deadline < INT64_MAX && deadline > INT64_MAX - INT64_C(200000000000));
    before = rayi_now_ns();
    deadline = rayi_deadline_ns(0);
    cr_expect(deadline >= before && deadline <= rayi_now_ns());
}

Test(clock, moments)
{
    int64_t before = rayi_now_ms(), moment = rayi_moment_ms(1000);

    cr_expect(moment >= before + 1000 && moment <= rayi_now_ms() + 1000);
    cr_expect_eq(rayi_moment_ms(INT64_MAX), INT64_MAX);
    cr_expect_eq(rayi_moment_ms(INT64_MIN), 0);
    cr_expect_eq(rayi_moment_ms(-rayi_now_ms() - 1000000), 0);
    cr_assert_gt(rayi_wall_ms(), INT64_C(1600000000000));
}

/* ---- hash ---- */

typedef struct numbered {
    UT_hash_handle hh;
    uint64_t number;
} numbered;

/* How many items the longest chain has, once numbers `step` apart are in a table. */
static unsigned longest_chain(uint64_t step, size_t count)
{
    const rayi_memory *memory = rayi_heap;
    numbered *all = rayi_zalloc(count * sizeof *all), *table = NULL, *found;
    unsigned longest = 0;
    cr_assert(all);
    for (size_t i = 0; i < count; i++) {
        all[i].number = i * step;
        HASH_ADD(hh, table, number, sizeof all[i].number, &all[i]);
        cr_assert(all[i].hh.tbl);
    }
    for (unsigned i = 0; i < table->hh.tbl->num_buckets; i++)
        longest = RAYI_MAX(longest, table->hh.tbl->buckets[i].count);
    for (size_t i = 0; i < count; i++) {
        HASH_FIND(hh, table, &all[i].number, sizeof all[i].number, found);
        cr_assert_eq(found, &all[i]);
    }
    cr_expect_leq(table->hh.tbl->num_buckets, 2 * count);
    cr_expect_eq(table->hh.tbl->noexpand, 0);
    HASH_CLEAR(hh, table);
    rayi_free(all);
    return longest;
}

Test(hash, numbers_hardly_collide)
{
    cr_expect_leq(longest_chain(1, 100000), 3);
    for (uint64_t step = 2; step <= UINT64_C(1) << 40; step *= 2)
        cr_expect_leq(longest_chain(step, 100000), 8);
}

/* One that stays while many come and go does not make the table grow. */
Test(hash, one_that_stays)
{
    const rayi_memory *memory = rayi_heap;
    numbered stays = {.number = 7}, comes, *table = NULL;
    HASH_ADD(hh, table, number, sizeof stays.number, &stays);
    for (uint64_t i = 8; i < 100000; i++) {
        comes.number = i;
        HASH_ADD(hh, table, number, sizeof comes.number, &comes);
        HASH_DEL(table, &comes);
    }
    cr_expect_eq(table->hh.tbl->num_buckets, 32);
    HASH_CLEAR(hh, table);
}
