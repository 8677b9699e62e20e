/* rows: how ray_state reads its query, and writes the rows of whatever table that pass its filters. Knows no table, no
 * clock and no thread: what it is told of a row it writes. Rows of several nodes are put together. Part of raylet only.
 */
#ifndef RAYI_RAYLET_ROWS_H
#define RAYI_RAYLET_ROWS_H

#include "base/base.h"
#include "wire/wire.h"

enum {
    RAYI_ROWS_LIMIT_DEFAULT = 100,
    RAYI_ROWS_LIMIT_MAX = 10000,
    RAYI_ROWS_FILTERS_MAX = 16,
    RAYI_ROWS_QUERY_MAX = 4096 /* bytes of a query */
};

typedef struct rayi_filter {
    const char *key, *value; /* in the query's words */
    bool differs;            /* != */
} rayi_filter;

/* "tasks?limit=5&filter_keys=state&filter_predicates=%3D&filter_values=FINISHED", read. */
typedef struct rayi_query {
    char *table;
    size_t limit, num_filters;
    rayi_filter filters[RAYI_ROWS_FILTERS_MAX];
    const char *node_id;                 /* whose part of it; NULL: all have theirs */
    const char *cursor;                  /* of timeline; NULL: from the beginning */
    const char *filename;                /* of logs/file; with */
    uint64_t offset, inode;              /* inode 0: whichever it is */
    char words[RAYI_ROWS_QUERY_MAX + 1]; /* what the rest points into */
} rayi_query;

/* The names and values are decoded; what of Ray's HTTP interface has no meaning here (detail, timeout, exclude_driver)
 * is passed over. ARGUMENT (names the part that is wrong) LIMIT (too long, too many filters) */
int rayi_query_parse(const char *text, rayi_query *out);

typedef struct rayi_rows {
    const rayi_query *query; /* must outlive it */
    rayi_text text;          /* the rows that are shown, a line each: in JSON there is no other end of a line */
    size_t row;              /* where in it the last one begins */
    bool empty;              /* it has no field yet */
    size_t total, passed, shown;
    uint32_t met, seen; /* a bit a filter: this row passes it; a row had such a field */
    rayi_text fields;   /* of the first row, for people */
} rayi_rows;

void rayi_rows_init(rayi_rows *rows, const rayi_query *query, const rayi_memory *memory);
void rayi_rows_fini(rayi_rows *rows);
/* A row: begin, its fields (the same for each row of a table; what it lacks is NULL), end. begin is false when nobody
 * asks for more than that there is another one: then neither fields nor end follow. */
bool rayi_rows_begin(rayi_rows *rows);
void rayi_rows_text(rayi_rows *rows, const char *key, const char *value); /* NULL: null */
void rayi_rows_int(rayi_rows *rows, const char *key, int64_t value);
void rayi_rows_bool(rayi_rows *rows, const char *key, bool value);
void rayi_rows_end(rayi_rows *rows);
/* Rows for the same query, elsewhere, as a message; and that message's rows behind those that there are. False:
 * rubbish; nothing was added. */
void rayi_rows_put(const rayi_rows *rows, rayi_writer *writer);
bool rayi_rows_take(rayi_rows *rows, rayi_reader *reader);
/* The whole answer. warning: what it lacks, for people; NULL: nothing. ARGUMENT: a filter is on a field that no row
 * has. NO_MEMORY */
int rayi_rows_answer(rayi_rows *rows, const char *warning, rayi_text *out);
/* The same around one object, or whatever JSON it is. NO_MEMORY */
int rayi_rows_answer_one(const rayi_text *object, const char *warning, rayi_text *out);

#endif
