/* The logs of a node that may be on another host: it lists its files, and gives them in pieces. */
#include "logs.h"
#include "observe.h"

#include <ray/ray.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* To free; NULL: out of memory. */
static char *write_query(const char *what, const char *node, json_t *row, uint64_t offset)
{
    char *query = NULL;
    size_t size;
    FILE *out = open_memstream(&query, &size);
    if (!out)
        return NULL;
    fprintf(out, "%s?limit=%d", what, LIMIT_MOST);
    add_part(out, "node_id", node);
    if (row) {
        add_part(out, "filename", row_text(row, "name"));
        fprintf(out, "&offset=%llu&inode=%llu", (unsigned long long)offset,
                (unsigned long long)json_integer_value(json_object_get(row, "inode")));
    }
    if (fclose(out) == 0)
        return query;
    free(query);
    return NULL;
}

/* ray_state's, or NO_MEMORY. row NULL: the table; else bytes of that file. */
static int ask_for(const char *what, const char *node, json_t *row, uint64_t offset, ray_view *view)
{
    char *query = write_query(what, node, row, offset);
    int r = query ? ray_state(query, view) : RAY_ERR_NO_MEMORY;
    free(query);
    return r;
}

/* ---- one look ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(row_text(*(json_t *const *)a, "name"), row_text(*(json_t *const *)b, "name"));
}

/* False: standard output takes no more. *misses: it has been renamed, or cannot be read now. */
static bool print_file(log_printer *p, const char *node, json_t *row, bool *misses)
{
    uint64_t size = (uint64_t)json_integer_value(json_object_get(row, "size_bytes"));
    log_file *file = logs_find(p, (uint64_t)json_integer_value(json_object_get(row, "inode")), size);
    bool goes_on = true;
    while (file && goes_on && file->size < size) {
        ray_view view;
        if (ask_for("logs/file", node, row, file->size, &view) < 0) {
            *misses = true;
            return true;
        }
        if (view.size == 0)
            size = 0; /* it was cut */
        else
            goes_on = logs_print(p, file, row_text(row, "name"), view.data, view.size);
        ray_view_release(&view);
    }
    return goes_on;
}

static bool print_files(log_printer *p, const char *node, json_t *rows, bool *misses)
{
    size_t count = json_array_size(rows);
    json_t **sorted = calloc(count + 1, sizeof(json_t *));
    bool goes_on = sorted != NULL;
    for (size_t i = 0; i < count && sorted; i++)
        sorted[i] = json_array_get(rows, i);
    if (sorted)
        qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 0; i < count && goes_on; i++)
        goes_on = print_file(p, node, sorted[i], misses);
    free(sorted);
    return goes_on;
}

/* 0; or ray_state's. *misses: something was not told. */
static int look(log_printer *p, const char *node, bool *misses)
{
    ray_view view;
    json_error_t error;
    int r = ask_for("logs", node, NULL, 0, &view);
    if (r < 0)
        return r;
    json_t *all = json_loadb(view.data, view.size, 0, &error);
    json_t *found = json_object_get(json_object_get(all, "data"), "result");
    const char *warning = row_text(found, "partial_failure_warning");
    ray_view_release(&view);
    *misses = *warning != 0; /* it has not answered in time */
    (void)print_files(p, node, json_object_get(found, "result"), misses);
    json_decref(all);
    return 0;
}

/* ---- all ---- */

static int print_all(log_printer *p, const char *node, bool follow)
{
    enum { TRIES = 3 };
    bool misses = false;
    int status = 0, r;
    for (int tries = 1;; tries++) {
        r = look(p, node, &misses);
        status = printed();
        if (r < 0 || status != 0 || (!follow && (!misses || tries == TRIES)))
            break;
        logs_wait();
    }
    if (r == RAY_ERR_NOT_FOUND && follow) /* it has ended */
        return status;
    if (r < 0)
        return complain(&logs_command, STATUS_FAILED, "%s", last_words());
    if (status == 0 && misses)
        return complain(&logs_command, STATUS_FAILED, "not all that node %s has logged could be had", node);
    if (status == 0 && !p->last)
        complain(&logs_command, 0, "nothing has been logged yet by node %s", node);
    return status;
}

/* False: it has complained. */
static bool find_head(char id[NODE_ID_SIZE])
{
    json_t *rows = ask_rows(&logs_command, "nodes", 1, &(filter){.key = "is_head_node", .value = "true"}, 1);
    snprintf(id, NODE_ID_SIZE, "%s", row_text(json_array_get(rows, 0), "node_id"));
    json_decref(rows);
    return *id;
}

int logs_print_far(const char *name, bool follow)
{
    char id[NODE_ID_SIZE];
    if (!(name && strcmp(name, "head") != 0 ? find_node(&logs_command, name, id) : find_head(id)))
        return STATUS_FAILED;
    log_printer *p = calloc(1, sizeof *p);
    int status = p ? print_all(p, id, follow) : complain(&logs_command, STATUS_FAILED, "out of memory");
    free(p);
    return status;
}
