/* Lineage: which results of tasks can be made again when all who had them are dead, and how often. A brain; part of the
 * door core/core.h.
 *
 * An entry is a task that has ended and whose arguments are kept for another run. What is kept counts bytes against a
 * limit; when it is exceeded the oldest go, but for those that are being made again. */
#ifndef RAYI_CORE_LINEAGE_H
#define RAYI_CORE_LINEAGE_H

#include "base/base.h"

#define RAYI_LINEAGE_DEPTH 64 /* so many results may be made again for one, each for the next */

typedef struct rayi_lineage rayi_lineage;

/*  KEPT ──lost──▶ RUNNING ──ended──▶ KEPT;  KEPT ──too much is kept──▶ DROPPED */
typedef enum rayi_lineage_state { RAYI_LINEAGE_KEPT, RAYI_LINEAGE_RUNNING, RAYI_LINEAGE_DROPPED } rayi_lineage_state;

typedef enum rayi_lineage_verdict {
    RAYI_LINEAGE_RUN, /* again, now: it is RUNNING until rayi_lineage_ended */
    RAYI_LINEAGE_NO_RETRIES,
    RAYI_LINEAGE_WAS_DROPPED,
    RAYI_LINEAGE_TOO_DEEP,
} rayi_lineage_verdict;

int rayi_lineage_new(const rayi_memory *memory, uint64_t limit_bytes, rayi_lineage **out); /* NO_MEMORY */
void rayi_lineage_free(rayi_lineage *lineage);

/* id is of no other entry. retries: how often it may run again; -1: for ever. NO_MEMORY: nothing changed. */
int rayi_lineage_add(rayi_lineage *lineage, uint64_t id, uint64_t size_bytes, int32_t retries);
/* One whose arguments are to go, once for each that became DROPPED. False: no more. */
bool rayi_lineage_next_dropped(rayi_lineage *lineage, uint64_t *id);
/* The result of an entry that is not RUNNING is lost. depth: so many are being made again for whose sake this one is
 * wanted. *retries: of RUN, what the run itself may use up. */
rayi_lineage_verdict rayi_lineage_lost(rayi_lineage *lineage, uint64_t id, uint32_t depth, int32_t *retries);
/* It has run again, and has used up so many retries more. Nothing for one that was removed meanwhile. */
void rayi_lineage_ended(rayi_lineage *lineage, uint64_t id, uint32_t tries);
void rayi_lineage_remove(rayi_lineage *lineage, uint64_t id); /* in any state; its result is wanted no more */

bool rayi_lineage_get(const rayi_lineage *lineage, uint64_t id, rayi_lineage_state *state, int32_t *retries);
uint64_t rayi_lineage_size_bytes(const rayi_lineage *lineage); /* what is kept */

#endif
