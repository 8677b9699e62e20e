/* Rows by id, as head and nodes have them, and tables of them on the wire. Inside gcs only.
 *
 * A table is taken in two steps: everything that needs memory or may be wrong is staged beside the rows, then swapped
 * in, which cannot fail. */
#ifndef RAYI_GCS_ROSTER_H
#define RAYI_GCS_ROSTER_H

#include "gcs/members.h"

typedef struct rayi_row {
    UT_hash_handle hh;            /* by id; in order of their coming */
    struct rayi_row *prev, *next; /* in order of version */
    uint64_t version;             /* of the last change */
    uint64_t fixed_version;       /* of the last change but of state ALIVE or SUSPECT, available and load */
    rayi_node_id id;
    rayi_member *member; /* NULL only while a table is taken */
    rayi_member *staged;
    struct rayi_row *next_staged;
} rayi_row;

typedef struct rayi_gone_row {
    rayi_node_id id;
    uint64_t version;
} rayi_gone_row;

#define RAYI_ROSTER_GONE_MOST 1024

struct rayi_roster {
    const rayi_memory *memory;
    size_t row_size; /* of what begins with a rayi_row */
    rayi_row *rows, *order;
    uint32_t count;
    uint64_t version, incarnations; /* the latest of each */
    /* A table has changed a row, or taken it out: then the row is the hook's, to be freed. */
    void (*changed)(struct rayi_roster *roster, rayi_row *row);
    void (*dropped)(struct rayi_roster *roster, rayi_row *row);
    /* Of the head: rows that are gone, a ring; what changed up to `floor` is not known any more. */
    rayi_gone_row *gone;
    uint32_t gone_first, gone_count;
    uint64_t floor;
};

void rayi_roster_init(rayi_roster *roster, const rayi_memory *memory, size_t row_size);
void rayi_roster_fini(rayi_roster *roster);
rayi_row *rayi_roster_find(const rayi_roster *roster, const rayi_node_id *id);
rayi_row *rayi_roster_add(rayi_roster *roster, const rayi_node_id *id); /* without member; NULL: no memory */
void rayi_roster_detach(rayi_roster *roster, rayi_row *row);
void rayi_roster_free_row(rayi_roster *roster, rayi_row *row);             /* a detached one */
void rayi_roster_touch(rayi_roster *roster, rayi_row *row, bool is_fixed); /* it has changed: a new version */
void rayi_roster_forget(rayi_roster *roster, rayi_row *row);               /* it goes, with a new version */

rayi_member *rayi_member_copy(const rayi_memory *memory, const rayi_member *from); /* one block; NULL: no memory */
static inline rayi_member_resource *rayi_member_resources(rayi_member *member)
{
    return (rayi_member_resource *)member->resources;
}
bool rayi_member_is_sound(const rayi_member *member); /* within limits, in order */
void rayi_member_put(rayi_writer *writer, const rayi_member *member);
/* room: RAYI_MEMBER_RESOURCES_MAX of them. False: not sound; then the reader has failed. */
bool rayi_member_take(rayi_reader *reader, rayi_member_resource *room, rayi_member *out);

/* ---- tables ---- */

typedef struct rayi_table_range {
    const rayi_cluster_id *cluster;
    uint64_t generation;
    uint64_t since, until; /* versions above since, not above until */
    bool fixed_only, whole;
} rayi_table_range;

uint64_t rayi_table_put(const rayi_roster *roster, const rayi_table_range *range,
                        rayi_writer *writer); /* up to where */

typedef struct rayi_table {
    rayi_cluster_id cluster;
    uint64_t generation;
    uint64_t from, to; /* of a whole one `from` is 0 */
    uint64_t incarnations;
    bool whole;
    rayi_reader rest;
} rayi_table;

int rayi_table_open(const void *bytes, size_t size, rayi_table *out); /* ARGUMENT */
/* The roster is at `from` or later. ARGUMENT, NO_MEMORY: nothing has changed. */
int rayi_table_apply(rayi_roster *roster, rayi_table *table);

#endif
