/* Ray's query and Ray's envelope around the answer: total, num_after_truncation (of what was asked for elsewhere; all,
 * as nothing is), num_filtered (what passed the filters), and at most limit of these. */
#include "raylet/rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- the query ---- */

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* In place: %XX and +. */
static int decode(char *text)
{
    char *to = text;

    for (const char *from = text; *from; from++) {
        int high = -1, low = -1;
        if (*from == '%') {
            high = hex(from[1]);
            low = high >= 0 ? hex(from[2]) : -1;
            if (low < 0 || (high == 0 && low == 0))
                return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: expected %%01 to %%FF, got \"%.3s\"", from);
            from += 2;
        }
        *to++ = high >= 0 ? (char)(high * 16 + low) : *from == '+' ? ' ' : *from;
    }
    *to = 0;
    return 0;
}

static int read_limit(const char *value, size_t *limit)
{
    char *end;
    unsigned long n = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end || n > RAYI_ROWS_LIMIT_MAX)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: expected a limit from 0 to %d, got \"%.60s\"",
                         RAYI_ROWS_LIMIT_MAX, value);
    *limit = n;
    return 0;
}

typedef struct counts {
    size_t keys, predicates, values;
} counts;

static int read_filter(rayi_query *query, counts *n, const char *name, const char *value)
{
    size_t *count = name[0] == 'k' ? &n->keys : name[0] == 'p' ? &n->predicates : &n->values;

    if (*count == RAYI_ROWS_FILTERS_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "ray_state: more than %d filters", RAYI_ROWS_FILTERS_MAX);
    rayi_filter *filter = &query->filters[(*count)++];
    if (name[0] == 'k') {
        filter->key = value;
    } else if (name[0] == 'v') {
        filter->value = value;
    } else {
        filter->differs = strcmp(value, "!=") == 0;
        if (!filter->differs && strcmp(value, "=") != 0)
            return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: expected the predicate = or !=, got \"%.60s\"", value);
    }
    return 0;
}

static int read_number(const char *name, const char *value, uint64_t *out)
{
    char *end;

    *out = strtoull(value, &end, 10);
    if (*value < '0' || *value > '9' || *end)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: expected a number for %s, got \"%.60s\"", name, value);
    return 0;
}

/* Where in what one node has much of. 1: it is nothing of the kind. */
static int read_place(rayi_query *query, const char *name, const char *value)
{
    bool is_file = strcmp(query->table, "logs/file") == 0;

    if (strcmp(query->table, "timeline") == 0 && strcmp(name, "cursor") == 0)
        query->cursor = value;
    else if (is_file && strcmp(name, "filename") == 0)
        query->filename = value;
    else if (is_file && strcmp(name, "offset") == 0)
        return read_number(name, value, &query->offset);
    else if (is_file && strcmp(name, "inode") == 0)
        return read_number(name, value, &query->inode);
    else
        return 1;
    return 0;
}

static int read_part(rayi_query *query, counts *n, const char *name, const char *value)
{
    static const char *const passed_over[] = {"detail", "timeout", "exclude_driver"};
    int r = read_place(query, name, value);

    if (r <= 0)
        return r;
    if (strcmp(name, "limit") == 0)
        return read_limit(value, &query->limit);
    if (strcmp(name, "node_id") == 0) {
        query->node_id = value;
        return 0;
    }
    if (strcmp(name, "filter_keys") == 0 || strcmp(name, "filter_predicates") == 0 ||
        strcmp(name, "filter_values") == 0)
        return read_filter(query, n, name + strlen("filter_"), value);
    for (size_t i = 0; i < RAYI_COUNT_OF(passed_over); i++)
        if (strcmp(name, passed_over[i]) == 0)
            return 0;
    return rayi_fail(
        RAY_ERR_ARGUMENT,
        "ray_state: expected limit, node_id, filter_keys, filter_predicates or filter_values, got \"%.60s\"", name);
}

int rayi_query_parse(const char *text, rayi_query *out)
{
    counts n = {0};
    char *rest, *part;
    int r;

    if (strlen(text) > RAYI_ROWS_QUERY_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "ray_state: a query has at most %d bytes, got %zu", RAYI_ROWS_QUERY_MAX,
                         strlen(text));
    *out = (rayi_query){.table = out->words, .limit = RAYI_ROWS_LIMIT_DEFAULT};
    strcpy(out->words, text);
    rest = strchr(out->words, '?');
    if (rest)
        *rest++ = 0;
    r = decode(out->table);
    while (r == 0 && (part = strsep(&rest, "&"))) {
        char *value = strchr(part, '='); /* the first: the predicate may be one itself */
        if (!*part)
            continue;
        if (!value)
            return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: expected NAME=VALUE, got \"%.60s\"", part);
        *value++ = 0;
        r = decode(part);
        if (r == 0)
            r = decode(value);
        if (r == 0)
            r = read_part(out, &n, part, value);
    }
    if (r == 0 && (n.keys != n.predicates || n.keys != n.values))
        return rayi_fail(RAY_ERR_ARGUMENT,
                         "ray_state: expected as many filter_keys as filter_predicates and filter_values, got %zu, %zu "
                         "and %zu",
                         n.keys, n.predicates, n.values);
    out->num_filters = n.keys;
    return r;
}

/* ---- rows ---- */

void rayi_rows_init(rayi_rows *rows, const rayi_query *query, const rayi_memory *memory)
{
    *rows = (rayi_rows){.query = query};
    rayi_text_init(&rows->text, memory);
    rayi_text_init(&rows->fields, memory);
}

void rayi_rows_fini(rayi_rows *rows)
{
    rayi_text_fini(&rows->text);
    rayi_text_fini(&rows->fields);
}

static bool is_full(const rayi_rows *rows)
{
    return rows->shown == rows->query->limit;
}

bool rayi_rows_begin(rayi_rows *rows)
{
    rows->total++;
    if (is_full(rows) && rows->query->num_filters == 0) {
        rows->passed++;
        return false;
    }
    rows->row = rows->text.size;
    rows->empty = true;
    rows->met = 0;
    if (!is_full(rows))
        rayi_text_add(&rows->text, rows->shown > 0 ? "\n{" : "{");
    return true;
}

/* Tells the filters, and writes what comes before the value. False: it is not to be written. */
static bool add_key(rayi_rows *rows, const char *key, const char *value)
{
    const rayi_query *query = rows->query;

    for (size_t i = 0; i < query->num_filters; i++) {
        if (strcmp(query->filters[i].key, key) != 0)
            continue;
        rows->seen |= UINT32_C(1) << i;
        bool is = value && strcasecmp(query->filters[i].value, value) == 0;
        if (is != query->filters[i].differs)
            rows->met |= UINT32_C(1) << i;
    }
    if (rows->total == 1)
        rayi_text_printf(&rows->fields, "%s%s", rows->empty ? "" : ", ", key);
    if (!is_full(rows))
        rayi_text_printf(&rows->text, "%s\"%s\": ", rows->empty ? "" : ", ", key);
    rows->empty = false;
    return !is_full(rows);
}

void rayi_rows_text(rayi_rows *rows, const char *key, const char *value)
{
    if (add_key(rows, key, value))
        rayi_text_add_json(&rows->text, value);
}

void rayi_rows_int(rayi_rows *rows, const char *key, int64_t value)
{
    char text[24];

    snprintf(text, sizeof text, "%lld", (long long)value);
    if (add_key(rows, key, text))
        rayi_text_add(&rows->text, text);
}

void rayi_rows_bool(rayi_rows *rows, const char *key, bool value)
{
    const char *text = value ? "true" : "false";

    if (add_key(rows, key, text))
        rayi_text_add(&rows->text, text);
}

void rayi_rows_end(rayi_rows *rows)
{
    bool passes = rows->met == (UINT32_C(1) << rows->query->num_filters) - 1;

    rows->passed += passes;
    if (is_full(rows) || rows->text.failed)
        return;
    if (passes) {
        rayi_text_add(&rows->text, "}");
        rows->shown++;
    } else {
        rows->text.size = rows->row;
        rows->text.data[rows->row] = 0;
    }
}

/* ---- rows of others ---- */

void rayi_rows_put(const rayi_rows *rows, rayi_writer *writer)
{
    rayi_put_u64(writer, rows->total);
    rayi_put_u64(writer, rows->passed);
    rayi_put_u64(writer, rows->shown);
    rayi_put_u32(writer, rows->seen);
    rayi_put_text(writer, rows->fields.data ? rows->fields.data : "");
    rayi_put_bytes(writer, rows->text.data, rows->text.size);
    writer->failed |= rows->text.failed || rows->fields.failed;
}

/* So many lines, of which each could be a row. */
static bool are_lines(const char *text, size_t size, uint64_t count)
{
    uint64_t lines = size > 0;

    for (size_t i = 0; i < size; i++) {
        if (text[i] == 0)
            return false;
        lines += text[i] == '\n';
    }
    return lines == count;
}

static void add_lines(rayi_rows *rows, const char *text, size_t size)
{
    const char *end = text + size, *next;

    for (; text < end && !is_full(rows); text = next + 1) {
        next = memchr(text, '\n', (size_t)(end - text));
        next = next ? next : end;
        rayi_text_add(&rows->text, rows->shown > 0 ? "\n" : "");
        rayi_text_add_bytes(&rows->text, text, (size_t)(next - text));
        rows->shown++;
    }
}

bool rayi_rows_take(rayi_rows *rows, rayi_reader *reader)
{
    uint64_t total = rayi_take_u64(reader), passed = rayi_take_u64(reader), shown = rayi_take_u64(reader);
    uint32_t seen = rayi_take_u32(reader);
    const char *fields = rayi_take_text(reader), *text = reader->at;
    size_t size = rayi_reader_left(reader);

    if (reader->failed || !fields || passed > total || shown > passed || total > UINT32_MAX ||
        !are_lines(text, size, shown))
        return false;
    if (rows->total == 0)
        rayi_text_add(&rows->fields, fields);
    rows->total += total;
    rows->passed += passed;
    rows->seen |= seen;
    add_lines(rows, text, size);
    return true;
}

/* ---- the answer ---- */

static int envelop(rayi_text *out, const size_t sizes[3], const rayi_text *body, bool lines, const char *warning)
{
    rayi_text_printf(out,
                     "{\"result\": true, \"msg\": \"\", \"data\": {\"result\": {\"total\": %zu, "
                     "\"num_after_truncation\": %zu, \"num_filtered\": %zu, \"result\": %s",
                     sizes[0], sizes[1], sizes[2], lines ? "[" : "");
    for (size_t at = 0, size; at < body->size; at += size + 1) {
        const char *end = lines ? memchr(body->data + at, '\n', body->size - at) : NULL;
        size = end ? (size_t)(end - body->data) - at : body->size - at;
        rayi_text_add(out, at > 0 ? ", " : "");
        rayi_text_add_bytes(out, body->data + at, size);
    }
    rayi_text_printf(out, "%s, \"partial_failure_warning\": ", lines ? "]" : "");
    rayi_text_add_json(out, warning ? warning : "");
    rayi_text_add(out, ", \"warnings\": null}}}");
    if (body->failed || out->failed)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the answer of ray_state");
    return 0;
}

int rayi_rows_answer(rayi_rows *rows, const char *warning, rayi_text *out)
{
    for (size_t i = 0; rows->total > 0 && i < rows->query->num_filters; i++)
        if (!(rows->seen >> i & 1))
            return rayi_fail(RAY_ERR_ARGUMENT, "ray_state: %s have no field \"%.60s\"; they have %.400s",
                             rows->query->table, rows->query->filters[i].key,
                             rows->fields.data ? rows->fields.data : "none");
    return envelop(out, (const size_t[]){rows->total, rows->total, rows->passed}, &rows->text, true, warning);
}

int rayi_rows_answer_one(const rayi_text *object, const char *warning, rayi_text *out)
{
    return envelop(out, (const size_t[]){1, 1, 1}, object, false, warning);
}
