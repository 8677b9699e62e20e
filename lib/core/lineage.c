/* Entries by id; those that are KEPT are in a list as well, the oldest first, and so are those that were DROPPED and
 * whose owner was not told yet. */
#include "core/core.h"

typedef struct entry {
    UT_hash_handle hh;
    struct entry *prev, *next; /* in kept or dropped, while in_list */
    uint64_t id, size_bytes;
    int32_t retries_left; /* -1: for ever */
    rayi_lineage_state state;
    bool in_list;
} entry;

struct rayi_lineage {
    const rayi_memory *memory;
    uint64_t limit_bytes, size_bytes;
    entry *entries;
    entry *kept, *dropped;
};

static bool may_move(rayi_lineage_state from, rayi_lineage_state to)
{
    switch (from) {
    case RAYI_LINEAGE_KEPT:
        return to != RAYI_LINEAGE_KEPT;
    case RAYI_LINEAGE_RUNNING:
        return to == RAYI_LINEAGE_KEPT;
    case RAYI_LINEAGE_DROPPED:
        return false;
    }
    return false;
}

static entry **list_of(rayi_lineage *lineage, const entry *e)
{
    return e->state == RAYI_LINEAGE_DROPPED ? &lineage->dropped : &lineage->kept;
}

static void leave_list(rayi_lineage *lineage, entry *e)
{
    entry **list = list_of(lineage, e);

    if (e->in_list)
        DL_DELETE(*list, e);
    e->in_list = false;
}

static void enter_list(rayi_lineage *lineage, entry *e)
{
    entry **list = list_of(lineage, e);

    DL_APPEND(*list, e);
    e->in_list = true;
}

static void go(rayi_lineage *lineage, entry *e, rayi_lineage_state to)
{
    RAYI_ASSERT(may_move(e->state, to));
    leave_list(lineage, e);
    e->state = to;
    if (to != RAYI_LINEAGE_RUNNING)
        enter_list(lineage, e);
}

static entry *find(const rayi_lineage *lineage, uint64_t id)
{
    entry *e;

    HASH_FIND(hh, lineage->entries, &id, sizeof id, e);
    return e;
}

static void free_entry(rayi_lineage *lineage, entry *e)
{
    const rayi_memory *memory = lineage->memory;

    leave_list(lineage, e);
    if (e->state != RAYI_LINEAGE_DROPPED)
        lineage->size_bytes -= e->size_bytes;
    HASH_DELETE(hh, lineage->entries, e);
    rayi_memory_free(memory, e);
}

int rayi_lineage_new(const rayi_memory *memory, uint64_t limit_bytes, rayi_lineage **out)
{
    rayi_lineage *lineage = rayi_memory_zalloc(memory, sizeof *lineage);

    if (!lineage)
        return RAY_ERR_NO_MEMORY;
    lineage->memory = memory;
    lineage->limit_bytes = limit_bytes;
    *out = lineage;
    return 0;
}

void rayi_lineage_free(rayi_lineage *lineage)
{
    if (!lineage)
        return;
    while (lineage->entries)
        free_entry(lineage, lineage->entries);
    rayi_memory_free(lineage->memory, lineage);
}

static void drop_oldest(rayi_lineage *lineage)
{
    while (lineage->size_bytes > lineage->limit_bytes && lineage->kept) {
        entry *e = lineage->kept;
        lineage->size_bytes -= e->size_bytes;
        go(lineage, e, RAYI_LINEAGE_DROPPED);
    }
}

int rayi_lineage_add(rayi_lineage *lineage, uint64_t id, uint64_t size_bytes, int32_t retries)
{
    const rayi_memory *memory = lineage->memory;
    entry *e;

    RAYI_ASSERT(!find(lineage, id) && retries >= -1);
    e = rayi_memory_zalloc(memory, sizeof *e);
    if (!e)
        return RAY_ERR_NO_MEMORY;
    e->id = id;
    e->size_bytes = size_bytes;
    e->retries_left = retries;
    HASH_ADD(hh, lineage->entries, id, sizeof e->id, e);
    if (!e->hh.tbl) {
        rayi_memory_free(memory, e);
        return RAY_ERR_NO_MEMORY;
    }
    lineage->size_bytes += size_bytes;
    enter_list(lineage, e);
    if (size_bytes > lineage->limit_bytes) { /* the others need not go for what cannot stay */
        lineage->size_bytes -= size_bytes;
        go(lineage, e, RAYI_LINEAGE_DROPPED);
    }
    drop_oldest(lineage);
    return 0;
}

bool rayi_lineage_next_dropped(rayi_lineage *lineage, uint64_t *id)
{
    entry *e = lineage->dropped;

    if (!e)
        return false;
    leave_list(lineage, e);
    *id = e->id;
    return true;
}

rayi_lineage_verdict rayi_lineage_lost(rayi_lineage *lineage, uint64_t id, uint32_t depth, int32_t *retries)
{
    entry *e = find(lineage, id);

    RAYI_ASSERT(e && e->state != RAYI_LINEAGE_RUNNING);
    if (e->state == RAYI_LINEAGE_DROPPED)
        return RAYI_LINEAGE_WAS_DROPPED;
    if (e->retries_left == 0)
        return RAYI_LINEAGE_NO_RETRIES;
    if (depth >= RAYI_LINEAGE_DEPTH)
        return RAYI_LINEAGE_TOO_DEEP;
    if (e->retries_left > 0)
        e->retries_left--;
    *retries = e->retries_left;
    go(lineage, e, RAYI_LINEAGE_RUNNING);
    return RAYI_LINEAGE_RUN;
}

void rayi_lineage_ended(rayi_lineage *lineage, uint64_t id, uint32_t tries)
{
    entry *e = find(lineage, id);

    if (!e)
        return;
    if (e->retries_left > 0)
        e->retries_left -= RAYI_MIN((int32_t)RAYI_MIN(tries, (uint32_t)INT32_MAX), e->retries_left);
    go(lineage, e, RAYI_LINEAGE_KEPT);
    drop_oldest(lineage);
}

void rayi_lineage_remove(rayi_lineage *lineage, uint64_t id)
{
    entry *e = find(lineage, id);

    if (e)
        free_entry(lineage, e);
}

bool rayi_lineage_get(const rayi_lineage *lineage, uint64_t id, rayi_lineage_state *state, int32_t *retries)
{
    const entry *e = find(lineage, id);

    if (!e)
        return false;
    *state = e->state;
    *retries = e->retries_left;
    return true;
}

uint64_t rayi_lineage_size_bytes(const rayi_lineage *lineage)
{
    return lineage->size_bytes;
}
