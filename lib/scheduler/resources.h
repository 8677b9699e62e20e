/* Resources as users write them: "CPU=2, GPU=0.5, memory=4GiB, disk=1". Part of the door scheduler/scheduler.h.
 * Pure functions, for any thread; what they return is immutable and may be read by any thread until it is freed. */
#ifndef RAYI_SCHEDULER_RESOURCES_H
#define RAYI_SCHEDULER_RESOURCES_H

#include "base/base.h"

#define RAYI_RESOURCE_UNIT       10000           /* amounts are counted in steps of 0.0001 */
#define RAYI_RESOURCES_MAX       64              /* names in one text */
#define RAYI_RESOURCE_NAME_MAX   255             /* bytes of one name */
#define RAYI_RESOURCE_AMOUNT_MAX (INT64_MAX / 4) /* sums of a few never overflow */

typedef struct rayi_resource {
    const char *name;
    int64_t amount; /* in RAYI_RESOURCE_UNIT, above 0 */
} rayi_resource;

/* One allocation, names and text included. Sorted by name, nothing twice, nothing of amount 0. */
typedef struct rayi_resources {
    const char *text; /* canonical: equal resources have equal texts. "CPU=1, disk=0.5"; "" for none */
    const rayi_resource *items;
    uint32_t count;
} rayi_resources;

/* What tasks and actors get whose options do not name it; also what the lane's tasks hold. */
extern const rayi_resources rayi_resources_one_cpu;

/* What text does not name is taken from defaults (NULL: nothing); naming it 0 turns it off. text NULL is "". Amounts
 * have at most four decimals; KiB MiB GiB TiB, short K M G T (the same, as for Slurm and systemd), follow anything but
 * CPU and GPU; a GPU above 1 is whole. RAY_ERR_ARGUMENT, _LIMIT, _NO_MEMORY; then why (why_size bytes with its NUL)
 * says what was expected, what came and in which column, from 1. */
int rayi_resources_parse(const rayi_memory *memory, const char *text, const rayi_resources *defaults,
                         rayi_resources **out, char *why, size_t why_size);
void rayi_resources_free(const rayi_memory *memory, rayi_resources *resources); /* NULL is fine */

int64_t rayi_resources_amount(const rayi_resources *resources, const char *name); /* 0: not named */
bool rayi_resources_are_one_cpu(const rayi_resources *resources);                 /* exactly CPU=1: for the lane */

#define RAYI_AMOUNT_TEXT 32
void rayi_amount_format(char out[RAYI_AMOUNT_TEXT], const char *name, int64_t amount); /* "0.5"; of memory "4GiB" */

#endif
