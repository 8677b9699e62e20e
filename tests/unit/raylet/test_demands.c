/* What is waited for, added up over what nodes say of it. */
#include "raylet/inside.h"

#include <criterion/criterion.h>
#include <stdio.h>

static void put_for(rayi_writer *writer, const char *resources, const char *labels, const char *function,
                    uint64_t count)
{
    rayi_put_text(writer, resources);
    rayi_put_text(writer, labels);
    rayi_put_text(writer, function);
    rayi_put_u64(writer, count);
    rayi_put_i64(writer, (int64_t)count);
    rayi_put_u8(writer, 0);
}

static void put(rayi_writer *writer, const char *resources, const char *labels, uint64_t count)
{
    put_for(writer, resources, labels, "", count);
}

static bool take(rayi_demands *demands, rayi_writer *writer)
{
    rayi_reader reader = rayi_reader_of(writer->data, writer->size);
    bool is_sound = rayi_demands_take(demands, &reader);

    rayi_writer_fini(writer);
    return is_sound;
}

Test(demands, rows_of_the_same_are_one)
{
    rayi_demands demands = {0};
    rayi_writer writer;

    rayi_writer_init(&writer);
    put(&writer, "CPU=1", "", 3);
    put(&writer, "CPU=1", "zone=eu", 1);
    put(&writer, "CPU=1", "", 4);
    put(&writer, "CPU=1zone=eu", "", 5); /* not the same behind one another */
    put_for(&writer, "CPU=1", "", "f", 6);
    put_for(&writer, "CPU=1", "f", "", 7);
    cr_expect(take(&demands, &writer));
    cr_assert_eq(HASH_COUNT(demands.first), 5);
    cr_expect_str_eq(demands.first->resources, "CPU=1");
    cr_expect_eq(demands.first->count, 7);
    cr_expect_eq(demands.first->waited_ms, 4);
    cr_expect_not(demands.failed);
    rayi_demands_fini(&demands);
    cr_expect_eq(demands.first, NULL);
}

/* A node may say what it likes, but not keep the head busy with it. */
Test(demands, very_many_rows, .timeout = 10)
{
    enum { ROWS = 200000 };
    rayi_demands demands = {0};
    rayi_writer writer;
    char text[32];

    rayi_writer_init(&writer);
    for (int i = 0; i < ROWS; i++) {
        snprintf(text, sizeof text, "a=%d", i);
        put(&writer, text, "", 1);
    }
    cr_expect(take(&demands, &writer));
    cr_expect_eq(HASH_COUNT(demands.first), ROWS);
    rayi_demands_fini(&demands);
}

Test(demands, rubbish)
{
    rayi_demands demands = {0};
    rayi_writer writer;

    rayi_writer_init(&writer);
    put(&writer, "CPU=1", "", (uint64_t)UINT32_MAX + 1);
    cr_expect_not(take(&demands, &writer));
    rayi_writer_init(&writer);
    put(&writer, NULL, "", 1);
    cr_expect_not(take(&demands, &writer));
    rayi_writer_init(&writer);
    put_for(&writer, "CPU=1", "", NULL, 1);
    cr_expect_not(take(&demands, &writer));
    rayi_demands_fini(&demands);
}
