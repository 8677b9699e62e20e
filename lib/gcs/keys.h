/* The key-value table, as a part of rayi_gcs. Inside gcs only. */
#ifndef RAYI_GCS_KEYS_H
#define RAYI_GCS_KEYS_H

#include "gcs/gcs.h"

#define RAYI_KEYS_GONE_MOST 1024 /* keys that were deleted last */

typedef struct rayi_keys {
    const rayi_memory *memory;
    struct rayi_key *rows, *order; /* by key; in the order of their last changes */
    struct rayi_gone_key *gone;    /* in that of their deletions */
    uint32_t gone_count;
    uint64_t version;   /* of the last change */
    uint64_t forgotten; /* of the last deletion that is not in gone any more */
    uint64_t bytes;     /* of keys and values */
    bool is_sorted;     /* rows */
    bool is_whole;      /* a copy: it was all there at some time */
} rayi_keys;

rayi_keys *rayi_gcs_keys(const rayi_gcs *gcs);
void rayi_keys_clear(rayi_keys *keys);

#endif
