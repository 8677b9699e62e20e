/* The tables: what goes in comes out, in order, within limits, and nothing changes when memory is out. */
#include "../around.h"
#include <inttypes.h>
#include <stdio.h>

#include "../scheduler/counted.h"
#include "gcs/gcs.h"

static counted heap;
static rayi_gcs *gcs;

static void setup(void)
{
    counted_init(&heap);
    cr_assert_eq(rayi_gcs_new(&heap.memory, &gcs), 0);
}

static void teardown(void)
{
    rayi_gcs_free(gcs);
    cr_assert_eq(heap.live, 0);
}

static const char *value_of(const char *key)
{
    const void *data;
    size_t size;
    return rayi_gcs_kv_get(gcs, key, &data, &size) ? NULL : data;
}

static int put(const char *key, const char *value, bool only_new)
{
    return rayi_gcs_kv_put(gcs, key, value, strlen(value), only_new);
}

/* The keys, each ended by ';'. */
static const char *list(const char *prefix)
{
    static char out[4096];
    rayi_text text;
    rayi_text_init(&text, rayi_heap);
    cr_assert_eq(rayi_gcs_kv_list(gcs, prefix, &text), 0);
    for (size_t i = 0; i < text.size; i++)
        out[i] = text.data[i] ? text.data[i] : ';';
    out[text.size] = 0;
    rayi_text_fini(&text);
    return out;
}

TEST_AROUND(gcs, keys, setup, teardown)
{
    cr_expect_eq(put("b", "1", false), 0);
    cr_expect_eq(put("a", "2", true), 0);
    cr_expect_eq(put("a", "3", true), RAY_ERR_EXISTS);
    cr_expect_str_eq(value_of("a"), "2");
    cr_expect_eq(put("a", "longer", false), 0);
    cr_expect_str_eq(value_of("a"), "longer");
    cr_expect_eq(put("ab", "", false), 0);
    cr_expect_eq(put("\xc3\xa9", "", false), 0);
    cr_expect_str_eq(list(""), "a;ab;b;\xc3\xa9;");
    cr_expect_str_eq(list("a"), "a;ab;");
    cr_expect_str_eq(list("c"), "");
    cr_expect_eq(rayi_gcs_kv_del(gcs, "a"), 0);
    cr_expect_eq(rayi_gcs_kv_del(gcs, "a"), RAY_ERR_NOT_FOUND);
    cr_expect_null(value_of("a"));
    cr_expect_str_eq(list(""), "ab;b;\xc3\xa9;");
    cr_expect_eq(put("aa", "", false), 0);
    cr_expect_str_eq(list(""), "aa;ab;b;\xc3\xa9;");
}

TEST_AROUND(gcs, bytes, setup, teardown)
{
    const void *data;
    size_t size;
    cr_expect_eq(rayi_gcs_kv_put(gcs, "k", "a\0b", 3, false), 0);
    cr_assert_eq(rayi_gcs_kv_get(gcs, "k", &data, &size), 0);
    cr_expect_eq(size, 3);
    cr_assert_arr_eq(data, "a\0b", 4);
    cr_expect_eq(rayi_gcs_kv_put(gcs, "none", NULL, 0, false), 0);
    cr_assert_eq(rayi_gcs_kv_get(gcs, "none", &data, &size), 0);
    cr_expect_eq(size, 0);
}

TEST_AROUND(gcs, limits, setup, teardown)
{
    static char key[300], big[RAYI_GCS_VALUE_MAX + 1];
    memset(key, 'k', 256);
    cr_expect_eq(put(key, "", false), RAY_ERR_LIMIT);
    key[255] = 0;
    cr_expect_eq(put(key, "", false), 0);
    cr_expect_eq(put("", "", false), RAY_ERR_ARGUMENT);
    cr_expect_eq(rayi_gcs_kv_put(gcs, "k", big, RAYI_GCS_VALUE_MAX, false), 0);
    cr_expect_eq(rayi_gcs_kv_put(gcs, "k", big, RAYI_GCS_VALUE_MAX + 1, false), RAY_ERR_LIMIT);
}

static void add_name(void *arg, const rayi_gcs_name_row *row)
{
    sprintf((char *)arg + strlen(arg), "%s/%s=%" PRIu64 ";", row->ns, row->name, row->id);
}

TEST_AROUND(gcs, names, setup, teardown)
{
    uint64_t id;
    char rows[256] = "", key[300];
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", "b", 1), 0);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", "a", 2), 0);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", "job/a", 3), RAY_ERR_EXISTS);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", "other/a", 3), 0);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_GROUP, "job", "a", 4), 0);
    cr_expect_eq(rayi_gcs_name_get(gcs, RAYI_NAME_ACTOR, "other", "a", &id), 0);
    cr_expect_eq(id, 3);
    cr_expect_eq(rayi_gcs_name_get(gcs, RAYI_NAME_ACTOR, "x", "job/b", &id), 0);
    cr_expect_eq(id, 1);
    cr_expect_eq(rayi_gcs_name_get(gcs, RAYI_NAME_OBJECT, "job", "a", &id), RAY_ERR_NOT_FOUND);
    rayi_gcs_names(gcs, RAYI_NAME_ACTOR, add_name, rows);
    cr_expect_str_eq(rows, "job/a=2;job/b=1;other/a=3;");
    cr_expect_eq(rayi_gcs_name_del(gcs, RAYI_NAME_ACTOR, "job", "a", 9), RAY_ERR_NOT_FOUND);
    cr_expect_eq(rayi_gcs_name_del(gcs, RAYI_NAME_ACTOR, "job", "a", 2), 0);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", "a", 5), 0);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", "", 5), RAY_ERR_ARGUMENT);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", "/a", 5), RAY_ERR_ARGUMENT);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", "a/b/c", 5), RAY_ERR_ARGUMENT);
    memset(key, 'n', 256);
    key[256] = 0;
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "job", key, 5), RAY_ERR_LIMIT);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, key, "a", 5), RAY_ERR_LIMIT);
    cr_expect_eq(rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, key + 1, key + 1, 5), 0);
}

static void add_job(void *arg, const rayi_gcs_job *job)
{
    sprintf((char *)arg + strlen(arg), "%s %s %" PRId64 "-%" PRId64 ";", job->id, job->ns, job->start_ms, job->end_ms);
}

static void add_node(void *arg, const rayi_gcs_node *node)
{
    sprintf((char *)arg + strlen(arg), "%s %s %s %s %d %d;", node->id, node->address ? node->address : "-",
            node->labels, node->resources, (int)node->state, node->is_head);
}

TEST_AROUND(gcs, jobs_and_nodes, setup, teardown)
{
    char rows[256] = "";
    cr_expect_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j1", "a", 5, 0, NULL}), 0);
    cr_expect_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j2", "b", 6, 0, NULL}), 0);
    cr_expect_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j1", "a", 5, 9, NULL}), 0);
    rayi_gcs_jobs(gcs, add_job, rows);
    cr_expect_str_eq(rows, "j1 a 5-9;j2 b 6-0;");
    rows[0] = 0;
    rayi_gcs_node node = {.id = "n", .labels = "", .resources = "CPU=1", .is_head = true};
    cr_expect_eq(rayi_gcs_node_put(gcs, &node), 0);
    node.state = RAYI_NODE_DEAD;
    node.address = "h:1";
    cr_expect_eq(rayi_gcs_node_put(gcs, &node), 0);
    rayi_gcs_nodes(gcs, add_node, rows);
    cr_expect_str_eq(rows, "n h:1  CPU=1 2 1;");
}

static void count_job(void *arg, const rayi_gcs_job *job)
{
    size_t *counts = arg;
    counts[job->end_ms != 0]++;
    if (job->end_ms == 0)
        cr_expect_str_eq(job->driver, "node");
}

/* Those that run are all kept, and the latest that have ended. */
TEST_AROUND(gcs, jobs_are_forgotten, setup, teardown)
{
    size_t counts[2] = {0};
    char id[16];
    for (int i = 0; i < RAYI_GCS_JOBS_MOST + 50; i++) {
        sprintf(id, "%d", i);
        cr_assert_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){id, "ns", 1, i % 100 == 0 ? 0 : 2, "node"}), 0);
    }
    rayi_gcs_jobs(gcs, count_job, counts);
    cr_expect_eq(counts[0], RAYI_GCS_JOBS_MOST / 100 + 1);
    cr_expect_eq(counts[0] + counts[1], RAYI_GCS_JOBS_MOST);
}

/* Each allocation of each call fails in turn; afterwards the tables are as before. */
TEST_AROUND(gcs, without_memory, setup, teardown)
{
    char before[256] = "", after[256] = "";
    uint64_t id;
    cr_assert_eq(put("old", "value", false), 0);
    cr_assert_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j1", "a", 5, 0, NULL}), 0);
    rayi_gcs_jobs(gcs, add_job, before);
    for (long nth = 1; nth <= 4; nth++) {
        counted_fail(&heap, nth);
        int r = put("new", "value", false);
        cr_assert_eq(r, nth <= 2 ? RAY_ERR_NO_MEMORY : 0);
        counted_fail(&heap, 0);
        cr_expect_eq(value_of("new") != NULL, r == 0);
        rayi_gcs_kv_del(gcs, "new");
        counted_fail(&heap, nth);
        r = rayi_gcs_name_put(gcs, RAYI_NAME_ACTOR, "ns", "name", 1);
        cr_assert_eq(r, nth <= 3 ? RAY_ERR_NO_MEMORY : 0);
        counted_fail(&heap, 0);
        cr_expect_eq(rayi_gcs_name_get(gcs, RAYI_NAME_ACTOR, "ns", "name", &id), r ? RAY_ERR_NOT_FOUND : 0);
    }
    counted_fail(&heap, 1);
    cr_expect_eq(put("old", "changed", false), RAY_ERR_NO_MEMORY);
    cr_expect_str_eq(value_of("old"), "value");
    counted_fail(&heap, 1);
    cr_expect_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j1", "a", 5, 9, NULL}), RAY_ERR_NO_MEMORY);
    rayi_gcs_jobs(gcs, add_job, after);
    cr_expect_str_eq(after, before);
    counted_fail(&heap, 1);
    cr_expect_eq(rayi_gcs_node_put(gcs, &(rayi_gcs_node){.id = "n"}), RAY_ERR_NO_MEMORY);
    rayi_gcs *second;
    counted_fail(&heap, 1);
    cr_expect_eq(rayi_gcs_new(&heap.memory, &second), RAY_ERR_NO_MEMORY);
}

TEST_AROUND(gcs, many_keys, setup, teardown)
{
    char key[32];
    for (int i = 0; i < 100000; i++) {
        sprintf(key, "%08x", (unsigned)((i * 2654435761u) & 0xffffffff));
        cr_assert_eq(put(key, "v", true), 0);
    }
    rayi_text text;
    rayi_text_init(&text, rayi_heap);
    cr_assert_eq(rayi_gcs_kv_list(gcs, "", &text), 0);
    cr_assert_eq(text.size, 900000);
    for (size_t i = 9; i < text.size; i += 9)
        cr_assert_lt(strcmp(text.data + i - 9, text.data + i), 0);
    rayi_text_fini(&text);
}

/* ---- copies ---- */

static bool same_tables(rayi_gcs *a, rayi_gcs *b)
{
    rayi_text x, y;
    const void *data, *other;
    size_t size, other_size;
    bool same;
    rayi_text_init(&x, rayi_heap);
    rayi_text_init(&y, rayi_heap);
    cr_assert(rayi_gcs_kv_list(a, "", &x) == 0 && rayi_gcs_kv_list(b, "", &y) == 0);
    same = x.size == y.size && (x.size == 0 || memcmp(x.data, y.data, x.size) == 0);
    for (const char *key = x.data; same && key < x.data + x.size; key += strlen(key) + 1) {
        cr_assert(rayi_gcs_kv_get(a, key, &data, &size) == 0 && rayi_gcs_kv_get(b, key, &other, &other_size) == 0);
        same = size == other_size && memcmp(data, other, size) == 0;
    }
    rayi_text_fini(&x);
    rayi_text_fini(&y);
    return same && rayi_gcs_kv_bytes(a) == rayi_gcs_kv_bytes(b);
}

static int copy_once(rayi_gcs *to, rayi_gcs_cursor *cursor, size_t limit_bytes)
{
    rayi_writer writer;
    rayi_reader reader;
    int r;
    rayi_writer_init(&writer);
    rayi_gcs_kv_since(gcs, cursor, limit_bytes, &writer);
    cr_assert_not(writer.failed);
    reader = rayi_reader_of(writer.data, writer.size);
    r = rayi_gcs_kv_take(to, &reader);
    rayi_writer_fini(&writer);
    return r;
}

TEST_AROUND(gcs, a_copy, setup, teardown)
{
    rayi_gcs_cursor cursor = {0};
    rayi_gcs *copy;
    cr_assert_eq(rayi_gcs_new(&heap.memory, &copy), 0);
    put("a", "1", false), put("b", "2", false), put("c", "3", false);
    cr_assert_eq(rayi_gcs_kv_version(gcs), 3);
    cr_assert_eq(copy_once(copy, &cursor, 1), 0); /* one change a time */
    cr_expect_eq(rayi_gcs_kv_bytes(copy), 2);
    cr_expect_not(rayi_gcs_kv_is_whole(copy));
    rayi_gcs_kv_del(gcs, "a");
    put("b", "22", false);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(copy_once(copy, &cursor, 1), 0);
    cr_expect(rayi_gcs_kv_is_whole(copy));
    cr_expect(same_tables(gcs, copy));
    cr_assert_eq(copy_once(copy, &cursor, 1), 0); /* nothing */
    rayi_gcs_cursor other = {.at = 1, .begun = true};
    cr_expect_eq(copy_once(copy, &other, 1000), RAY_ERR_ARGUMENT); /* which does not follow */
    rayi_gcs_kv_drop(copy);
    cr_expect_not(rayi_gcs_kv_is_whole(copy));
    cr_expect_eq(rayi_gcs_kv_bytes(copy), 0);
    rayi_gcs_free(copy);
}

/* Any byte of it may be another one. */
TEST_AROUND(gcs, a_copy_of_rubbish, setup, teardown)
{
    rayi_gcs_cursor cursor = {0};
    rayi_writer writer;
    rayi_gcs *copy;
    put("a", "1", false), put("b", "2", false);
    rayi_gcs_kv_del(gcs, "a");
    rayi_writer_init(&writer);
    rayi_gcs_kv_since(gcs, &cursor, 1000, &writer);
    for (size_t i = 0; i < writer.size; i++)
        for (int bit = 0; bit < 8; bit++) {
            rayi_reader reader = rayi_reader_of(writer.data, writer.size - (i % 7 == 0));
            cr_assert_eq(rayi_gcs_new(&heap.memory, &copy), 0);
            writer.data[i] ^= (char)(1 << bit);
            int r = rayi_gcs_kv_take(copy, &reader);
            cr_expect(r == 0 || r == RAY_ERR_ARGUMENT);
            writer.data[i] ^= (char)(1 << bit);
            rayi_gcs_free(copy);
        }
    rayi_writer_fini(&writer);
}

/* Puts and deletions in any order, copies that lose messages and begin anew, at times without memory: once all has been
 * taken they are the same. */
TEST_AROUND(gcs, copies_of_random_histories, setup, teardown)
{
    enum { COPIES = 3, STEPS = 60000, KEYS = 2000 };
    rayi_gcs *copies[COPIES];
    rayi_gcs_cursor cursors[COPIES] = {{0}};
    uint64_t seed = 5;
    char key[16], value[64];
    for (int i = 0; i < COPIES; i++)
        cr_assert_eq(rayi_gcs_new(&heap.memory, &copies[i]), 0);
    for (int step = 0; step < STEPS; step++) {
        uint32_t what = roll(&seed, 10), c = roll(&seed, COPIES);
        snprintf(key, sizeof key, "%u", roll(&seed, KEYS));
        snprintf(value, sizeof value, "%0*d", 1 + (int)roll(&seed, 50), step);
        if (what < 5) {
            cr_assert_eq(put(key, value, false), 0);
        } else if (what < 8) {
            counted_fail(&heap, roll(&seed, 50) == 0);
            (void)rayi_gcs_kv_del(gcs, key);
            counted_fail(&heap, 0);
        } else if (roll(&seed, 200) == 0) {
            cursors[c] = (rayi_gcs_cursor){0};
        } else if (c > 0 || step % 8 == 0) { /* one is late */
            counted_fail(&heap, roll(&seed, 40) == 0 ? 1 + (long)roll(&seed, 6) : 0);
            if (copy_once(copies[c], &cursors[c], 1 + roll(&seed, 500)) < 0)
                cursors[c] = (rayi_gcs_cursor){0};
            counted_fail(&heap, 0);
        }
    }
    for (int i = 0; i < COPIES; i++) {
        for (int n = 0; n == 0 || cursors[i].at < rayi_gcs_kv_version(gcs); n++)
            cr_assert(n < KEYS + 2000 && copy_once(copies[i], &cursors[i], 300) == 0);
        cr_expect(rayi_gcs_kv_is_whole(copies[i]));
        cr_expect(same_tables(gcs, copies[i]), "copy %d", i);
        rayi_gcs_free(copies[i]);
    }
}
