/* The query of ray_state, and rows that pass its filters. */
#include "raylet/rows.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rayi_query query;

static void parse(const char *text)
{
    cr_assert_eq(rayi_query_parse(text, &query), 0, "%s: %s", text, rayi_error_last_public()->message);
}

/* ---- the query ---- */

Test(query, table_alone)
{
    parse("nodes");
    cr_expect_str_eq(query.table, "nodes");
    cr_expect_eq(query.limit, RAYI_ROWS_LIMIT_DEFAULT);
    cr_expect_eq(query.num_filters, 0);
    parse("placement%5Fgroups?");
    cr_expect_str_eq(query.table, "placement_groups");
}

Test(query, limit_and_filters)
{
    parse("tasks?limit=7&filter_keys=state&filter_predicates==&filter_values=RUNNING&filter_keys=name"
          "&filter_predicates=!%3d&filter_values=a%26b+c%2B&detail=1&timeout=30&exclude_driver=true");
    cr_expect_eq(query.limit, 7);
    cr_assert_eq(query.num_filters, 2);
    cr_expect_str_eq(query.filters[0].key, "state");
    cr_expect_str_eq(query.filters[0].value, "RUNNING");
    cr_expect_not(query.filters[0].differs);
    cr_expect_str_eq(query.filters[1].key, "name");
    cr_expect_str_eq(query.filters[1].value, "a&b c+");
    cr_expect(query.filters[1].differs);
    parse("tasks?filter_values=&filter_keys=name&filter_predicates=%3D");
    cr_expect_str_eq(query.filters[0].value, "");
    parse("tasks?limit=0");
    cr_expect_eq(query.limit, 0);
    parse("tasks?limit=10000");
    cr_expect_eq(query.limit, 10000);
}

Test(query, of_one_node)
{
    parse("tasks");
    cr_expect_null(query.node_id);
    parse("tasks?node_id=00ff");
    cr_expect_str_eq(query.node_id, "00ff");
    parse("timeline?node_id=00ff&cursor=1_2_3&limit=5");
    cr_expect_str_eq(query.cursor, "1_2_3");
    cr_expect_eq(query.limit, 5);
    parse("logs%2Ffile?filename=a%2eb+c&offset=18446744073709551615&inode=7");
    cr_expect_str_eq(query.table, "logs/file");
    cr_expect_str_eq(query.filename, "a.b c");
    cr_expect_eq(query.offset, UINT64_MAX);
    cr_expect_eq(query.inode, 7);
}

Test(query, what_is_wrong)
{
    static const struct {
        const char *text, *words;
    } table[] = {
        {"tasks?limit=10001", "expected a limit from 0 to 10000, got \"10001\""},
        {"tasks?limit=-1", "got \"-1\""},
        {"tasks?limit=", "got \"\""},
        {"tasks?limit=5x", "got \"5x\""},
        {"tasks?limit=99999999999999999999999", "got \"99999"},
        {"tasks?limit", "expected NAME=VALUE, got \"limit\""},
        {"tasks?limits=5", "expected limit, node_id, filter_keys, filter_predicates or filter_values, got \"limits\""},
        {"tasks?cursor=1", "got \"cursor\""},
        {"timeline?filename=a", "got \"filename\""},
        {"logs?offset=1", "got \"offset\""},
        {"logs/file?cursor=1", "got \"cursor\""},
        {"logs/file?offset=-1", "expected a number for offset, got \"-1\""},
        {"logs/file?inode=1x", "expected a number for inode, got \"1x\""},
        {"tasks?filter_predicates=%3C", "expected the predicate = or !=, got \"<\""},
        {"tasks?filter_keys=a", "got 1, 0 and 0"},
        {"tasks?filter_keys=a&filter_predicates==", "got 1, 1 and 0"},
        {"tasks?filter_values=%", "expected %01 to %FF, got \"%\""},
        {"tasks?filter_values=%4", "got \"%4\""},
        {"tasks?filter_values=%G0", "got \"%G0\""},
        {"tasks?filter_values=%00", "got \"%00\""},
        {"ta%zzsks", "got \"%zz\""},
    };

    for (size_t i = 0; i < RAYI_COUNT_OF(table); i++) {
        cr_expect_eq(rayi_query_parse(table[i].text, &query), RAY_ERR_ARGUMENT, "%s", table[i].text);
        cr_expect(strstr(rayi_error_last_public()->message, table[i].words), "%s: %s", table[i].text,
                  rayi_error_last_public()->message);
    }
}

Test(query, limits)
{
    char text[RAYI_ROWS_QUERY_MAX + 2] = "tasks?";

    for (int i = 0; i < RAYI_ROWS_FILTERS_MAX; i++)
        strcat(text, "&filter_keys=a&filter_predicates==&filter_values=b");
    parse(text);
    cr_expect_eq(query.num_filters, RAYI_ROWS_FILTERS_MAX);
    strcat(text, "&filter_keys=a");
    cr_expect_eq(rayi_query_parse(text, &query), RAY_ERR_LIMIT);
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = 0;
    cr_expect_eq(rayi_query_parse(text, &query), RAY_ERR_LIMIT);
    text[sizeof text - 2] = 0;
    cr_expect_eq(rayi_query_parse(text, &query), 0);
}

/* ---- rows ---- */

/* Five: n from 0 to 4, odd or not, with a name that 3 has not. */
static void add_rows(rayi_rows *rows)
{
    static const char *const names[] = {"Anna", "b \"b\"", "c", NULL, "e"};

    for (int64_t n = 0; n < 5; n++) {
        if (!rayi_rows_begin(rows))
            continue;
        rayi_rows_int(rows, "n", n);
        rayi_rows_bool(rows, "odd", n % 2 != 0);
        rayi_rows_text(rows, "name", names[n]);
        rayi_rows_end(rows);
    }
}

/* The answer to it, between what is always the same; "": it failed. */
static const char *answer(const char *text)
{
    static char out[1024];
    rayi_rows rows;
    rayi_text all;

    parse(text);
    rayi_text_init(&all, rayi_heap);
    rayi_rows_init(&rows, &query, rayi_heap);
    add_rows(&rows);
    out[0] = 0;
    if (rayi_rows_answer(&rows, NULL, &all) == 0) {
        static const char before[] = "{\"result\": true, \"msg\": \"\", \"data\": {\"result\": {\"total\": 5, "
                                     "\"num_after_truncation\": 5, \"num_filtered\": ";
        char *end = strstr(all.data, ", \"partial_failure_warning\": \"\", \"warnings\": null}}}");
        cr_assert(strncmp(all.data, before, strlen(before)) == 0 && end, "%s", all.data);
        *end = 0;
        strcpy(out, all.data + strlen(before));
    }
    rayi_text_fini(&all);
    rayi_rows_fini(&rows);
    return out;
}

#define ROW(n, odd, name)             "{\"n\": " #n ", \"odd\": " #odd ", \"name\": " name "}"
#define FILTER(key, predicate, value) "&filter_keys=" key "&filter_predicates=" predicate "&filter_values=" value

Test(rows, limit)
{
    cr_expect_str_eq(answer("t?limit=2"),
                     "5, \"result\": [" ROW(0, false, "\"Anna\"") ", " ROW(1, true, "\"b \\\"b\\\"\"") "]");
    cr_expect_str_eq(answer("t?limit=0"), "5, \"result\": []");
    cr_expect(strstr(answer("t"), ROW(3, true, "null") ", " ROW(4, false, "\"e\"") "]"));
}

Test(rows, filters)
{
    cr_expect_str_eq(answer("t?" FILTER("n", "=", "3")), "1, \"result\": [" ROW(3, true, "null") "]");
    cr_expect_str_eq(answer("t?" FILTER("name", "=", "aNNA")), "1, \"result\": [" ROW(0, false, "\"Anna\"") "]");
    cr_expect_str_eq(answer("t?" FILTER("odd", "=", "True") FILTER("n", "!=", "1")),
                     "1, \"result\": [" ROW(3, true, "null") "]");
    cr_expect_str_eq(answer("t?limit=1" FILTER("name", "!=", "c") FILTER("odd", "=", "false")),
                     "2, \"result\": [" ROW(0, false, "\"Anna\"") "]");
    cr_expect_str_eq(answer("t?" FILTER("name", "=", "")), "0, \"result\": []");
    cr_expect_str_eq(answer("t?" FILTER("n", "=", "1") FILTER("n", "=", "2")), "0, \"result\": []");
    cr_expect_str_eq(answer("t?limit=0" FILTER("odd", "=", "true")), "2, \"result\": []");
}

Test(rows, a_field_that_no_row_has)
{
    cr_expect_str_eq(answer("t?" FILTER("nam", "=", "x")), "");
    cr_expect_str_eq(rayi_error_last_public()->message, "ray_state: t have no field \"nam\"; they have n, odd, name");
}

/* Without rows nobody can tell. */
Test(rows, none)
{
    rayi_rows rows;
    rayi_text all;

    parse("t?" FILTER("nam", "=", "x"));
    rayi_rows_init(&rows, &query, rayi_heap);
    rayi_text_init(&all, rayi_heap);
    cr_expect_eq(rayi_rows_answer(&rows, NULL, &all), 0);
    cr_expect(strstr(all.data, "\"total\": 0, \"num_after_truncation\": 0, \"num_filtered\": 0, \"result\": []"));
    rayi_text_fini(&all);
    rayi_rows_fini(&rows);
}

Test(rows, one_object)
{
    rayi_text object, all;

    rayi_text_init(&object, rayi_heap);
    rayi_text_init(&all, rayi_heap);
    rayi_text_add(&object, "{}");
    cr_expect_eq(rayi_rows_answer_one(&object, NULL, &all), 0);
    cr_expect(strstr(all.data, "\"num_filtered\": 1, \"result\": {}, \"partial_failure_warning\""));
    rayi_text_fini(&object);
    rayi_text_fini(&all);
}

/* ---- without memory ---- */

typedef struct scarce {
    long left;
} scarce;

static void *scarce_alloc(void *arg, size_t size)
{
    return ((scarce *)arg)->left-- > 0 ? malloc(size) : NULL;
}
static void *scarce_realloc(void *arg, void *block, size_t size)
{
    return ((scarce *)arg)->left-- > 0 ? realloc(block, size) : NULL;
}
static void scarce_free(void *arg, void *block)
{
    (void)arg;
    free(block);
}

Test(rows, no_memory)
{
    bool done = false;

    parse("t?" FILTER("odd", "=", "true"));
    for (long nth = 0; !done; nth++) {
        scarce heap = {.left = nth};
        const rayi_memory memory = {
            .arg = &heap, .alloc = scarce_alloc, .realloc = scarce_realloc, .free = scarce_free};
        rayi_rows rows;
        rayi_text all;
        rayi_rows_init(&rows, &query, &memory);
        rayi_text_init(&all, &memory);
        add_rows(&rows);
        int r = rayi_rows_answer(&rows, NULL, &all);
        done = heap.left >= 0;
        cr_expect_eq(r, done ? 0 : RAY_ERR_NO_MEMORY, "allocation %ld: %d", nth, r);
        rayi_text_fini(&all);
        rayi_rows_fini(&rows);
        cr_assert_lt(nth, 100);
    }
}

/* ---- rows of several nodes ---- */

static void fill(rayi_rows *rows, const rayi_memory *memory)
{
    rayi_rows_init(rows, &query, memory);
    add_rows(rows);
}

/* The rows of two nodes, which have the same; "": rubbish. */
static const char *together(const char *text)
{
    static char out[2048];
    rayi_rows here, there;
    rayi_writer writer;
    rayi_reader reader;
    rayi_text all;

    parse(text);
    fill(&here, rayi_heap);
    fill(&there, rayi_heap);
    rayi_writer_init(&writer);
    rayi_rows_put(&there, &writer);
    reader = rayi_reader_of(writer.data, writer.size);
    cr_assert(rayi_rows_take(&here, &reader));
    rayi_text_init(&all, rayi_heap);
    cr_assert_eq(rayi_rows_answer(&here, "one is \"missing\"", &all), 0);
    snprintf(out, sizeof out, "%s", strstr(all.data, "\"total\""));
    rayi_text_fini(&all);
    rayi_writer_fini(&writer);
    rayi_rows_fini(&here);
    rayi_rows_fini(&there);
    return out;
}

Test(rows, of_two_nodes)
{
#define AFTER "], \"partial_failure_warning\": \"one is \\\"missing\\\"\", \"warnings\": null}}}"
    cr_expect_str_eq(together("t?limit=1"),
                     "\"total\": 10, \"num_after_truncation\": 10, \"num_filtered\": 10, \"result\": [" ROW(
                         0, false, "\"Anna\"") AFTER);
    cr_expect_str_eq(
        together("t?limit=6" FILTER("n", "!=", "2") FILTER("name", "!=", "e") FILTER("odd", "=", "true")),
        "\"total\": 10, \"num_after_truncation\": 10, \"num_filtered\": 4, \"result\": [" ROW(
            1, true, "\"b \\\"b\\\"\"") ", " ROW(3, true, "null") ", " ROW(1, true, "\"b \\\"b\\\"\"") ", " ROW(3, true,
                                                                                                                "null")
            AFTER);
    cr_expect_str_eq(together("t?limit=0"),
                     "\"total\": 10, \"num_after_truncation\": 10, \"num_filtered\": 10, \"result\": [" AFTER);
}

/* Of a node that has none the fields are not known, and those of another one are taken. */
Test(rows, of_a_node_without)
{
    rayi_rows here, there;
    rayi_writer writer;
    rayi_reader reader;
    rayi_text all;

    parse("t?" FILTER("nam", "=", "x"));
    rayi_rows_init(&here, &query, rayi_heap);
    fill(&there, rayi_heap);
    rayi_writer_init(&writer);
    rayi_rows_put(&here, &writer);
    reader = rayi_reader_of(writer.data, writer.size);
    cr_expect(rayi_rows_take(&here, &reader));
    writer.size = 0;
    rayi_rows_put(&there, &writer);
    reader = rayi_reader_of(writer.data, writer.size);
    cr_expect(rayi_rows_take(&here, &reader));
    rayi_text_init(&all, rayi_heap);
    cr_expect_eq(rayi_rows_answer(&here, NULL, &all), RAY_ERR_ARGUMENT);
    cr_expect(strstr(rayi_error_last_public()->message, "they have n, odd, name"));
    rayi_text_fini(&all);
    rayi_writer_fini(&writer);
    rayi_rows_fini(&here);
    rayi_rows_fini(&there);
}

Test(rows, rubbish_of_others)
{
    static const struct {
        uint64_t total, passed, shown;
        const char *fields, *text;
        size_t size;
        bool is_sound;
    } table[] = {{2, 2, 2, "n", "{}\n{}", 5, true},       {0, 0, 0, "", "", 0, true},
                 {2, 2, 1, "n", "{}\n{}", 5, false},      {2, 2, 2, "n", "{}", 2, false},
                 {2, 1, 2, "n", "{}\n{}", 5, false},      {1, 2, 2, "n", "{}\n{}", 5, false},
                 {1, 1, 1, NULL, "{}", 2, false},         {1, 1, 1, "n", "{\0", 2, false},
                 {UINT64_MAX, 1, 1, "n", "{}", 2, false}, {1, 1, 0, "n", "{}", 2, false}};
    rayi_rows rows;
    rayi_writer writer;
    rayi_reader reader;

    parse("t");
    for (size_t i = 0; i < RAYI_COUNT_OF(table); i++) {
        rayi_rows_init(&rows, &query, rayi_heap);
        rayi_writer_init(&writer);
        rayi_put_u64(&writer, table[i].total);
        rayi_put_u64(&writer, table[i].passed);
        rayi_put_u64(&writer, table[i].shown);
        rayi_put_u32(&writer, 0);
        rayi_put_text(&writer, table[i].fields);
        rayi_put_bytes(&writer, table[i].text, table[i].size);
        reader = rayi_reader_of(writer.data, writer.size);
        cr_expect_eq(rayi_rows_take(&rows, &reader), table[i].is_sound, "%zu", i);
        if (!table[i].is_sound)
            cr_expect_eq(rows.total, 0);
        for (size_t size = 0; size < 28; size++) {
            reader = rayi_reader_of(writer.data, size);
            cr_expect_not(rayi_rows_take(&rows, &reader));
        }
        rayi_writer_fini(&writer);
        rayi_rows_fini(&rows);
    }
}
