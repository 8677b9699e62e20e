/* The tables: what goes in comes out, in order, within limits, and nothing changes when memory is out. */
#include <criterion/criterion.h>
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

Test(gcs, keys, .init = setup, .fini = teardown)
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

Test(gcs, bytes, .init = setup, .fini = teardown)
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

Test(gcs, limits, .init = setup, .fini = teardown)
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

Test(gcs, names, .init = setup, .fini = teardown)
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

Test(gcs, jobs_and_nodes, .init = setup, .fini = teardown)
{
    char rows[256] = "";
    cr_expect_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j1", "a", 5, 0}), 0);
    cr_expect_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j2", "b", 6, 0}), 0);
    cr_expect_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j1", "a", 5, 9}), 0);
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

/* Each allocation of each call fails in turn; afterwards the tables are as before. */
Test(gcs, without_memory, .init = setup, .fini = teardown)
{
    char before[256] = "", after[256] = "";
    uint64_t id;
    cr_assert_eq(put("old", "value", false), 0);
    cr_assert_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j1", "a", 5, 0}), 0);
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
    cr_expect_eq(rayi_gcs_job_put(gcs, &(rayi_gcs_job){"j1", "a", 5, 9}), RAY_ERR_NO_MEMORY);
    rayi_gcs_jobs(gcs, add_job, after);
    cr_expect_str_eq(after, before);
    counted_fail(&heap, 1);
    cr_expect_eq(rayi_gcs_node_put(gcs, &(rayi_gcs_node){.id = "n"}), RAY_ERR_NO_MEMORY);
    rayi_gcs *second;
    counted_fail(&heap, 1);
    cr_expect_eq(rayi_gcs_new(&heap.memory, &second), RAY_ERR_NO_MEMORY);
}

Test(gcs, many_keys, .init = setup, .fini = teardown)
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
