/* A table on the wire: tag, cluster, generation, from, to, incarnations, whole; rows, either full or only what is soft
 * of one that the reader has; ids of rows that are gone. A row that is gone and came back is both.
 *
 * What may be told ends at `to`. A row whose last fixed change is later is left out, and comes in full with that; one
 * with a later soft change is not, or a reader that is at `to` could not know whether it has the rest of it. In a whole
 * table, where what is missing is gone, a row that is left out is named to be kept. */
#include "gcs/roster.h"

enum { FULL_ROW, SOFT_ROW, KEPT_ROW };
enum { LEAST_ROW_BYTES = 1 + 16 };

/* ---- writing ---- */

static void put_soft(rayi_writer *writer, const rayi_member *member)
{
    rayi_put_u8(writer, SOFT_ROW);
    rayi_put_bytes(writer, &member->id, sizeof member->id);
    rayi_put_u8(writer, (uint8_t)member->state);
    rayi_put_u32(writer, member->load);
    rayi_put_u32(writer, member->resource_count);
    for (uint32_t i = 0; i < member->resource_count; i++)
        rayi_put_i64(writer, member->resources[i].available);
}

static void put_kept(rayi_writer *writer, const rayi_member *member)
{
    rayi_put_u8(writer, KEPT_ROW);
    rayi_put_bytes(writer, &member->id, sizeof member->id);
}

static void put_full(rayi_writer *writer, const rayi_member *member)
{
    rayi_put_u8(writer, FULL_ROW);
    rayi_member_put(writer, member);
}

/* False: nothing of it belongs there. */
static bool put_row(rayi_writer *writer, const rayi_row *row, const rayi_table_range *range)
{
    bool late = row->fixed_version > range->until, known = !range->whole && row->fixed_version <= range->since;
    if ((late && !range->whole) || (known && range->fixed_only))
        return false;
    if (late)
        put_kept(writer, row->member);
    else if (known)
        put_soft(writer, row->member);
    else
        put_full(writer, row->member);
    return true;
}

static const rayi_row *first_after(const rayi_roster *roster, uint64_t since)
{
    const rayi_row *first = NULL;
    for (const rayi_row *row = roster->order ? roster->order->prev : NULL; row && row->version > since;
         row = row->prev) {
        first = row;
        if (row == roster->order)
            break;
    }
    return first;
}

static void put_rows(const rayi_roster *roster, const rayi_table_range *range, rayi_writer *writer)
{
    size_t at = writer->size;
    uint32_t count = 0;
    rayi_put_u32(writer, 0);
    for (const rayi_row *row = first_after(roster, range->since); row; row = row->next)
        count += put_row(writer, row, range);
    if (!writer->failed)
        memcpy(writer->data + at, &count, sizeof count);
}

static void put_gone(const rayi_roster *roster, uint64_t since, uint64_t until, rayi_writer *writer)
{
    size_t at = writer->size;
    uint32_t count = 0;
    rayi_put_u32(writer, 0);
    for (uint32_t i = 0; i < roster->gone_count; i++) {
        const rayi_gone_row *gone = &roster->gone[(roster->gone_first + i) % RAYI_ROSTER_GONE_MOST];
        if (gone->version <= since || gone->version > until)
            continue;
        rayi_put_bytes(writer, &gone->id, sizeof gone->id);
        count++;
    }
    if (!writer->failed)
        memcpy(writer->data + at, &count, sizeof count);
}

uint64_t rayi_table_put(const rayi_roster *roster, const rayi_table_range *range, rayi_writer *writer)
{
    rayi_table_range r = *range;
    r.since = r.whole ? 0 : r.since;
    uint64_t to = RAYI_MAX(r.since, r.until);
    rayi_put_u8(writer, RAYI_MEMBER_TABLE);
    rayi_put_bytes(writer, r.cluster, sizeof *r.cluster);
    rayi_put_u64(writer, r.generation);
    rayi_put_u64(writer, r.since);
    rayi_put_u64(writer, to);
    rayi_put_u64(writer, roster->incarnations);
    rayi_put_u8(writer, r.whole);
    put_rows(roster, &r, writer);
    put_gone(roster, r.whole ? to : r.since, to, writer);
    return to;
}

/* ---- taking ---- */

int rayi_table_open(const void *bytes, size_t size, rayi_table *out)
{
    rayi_table t = {.rest = rayi_reader_of(bytes, size)};
    uint8_t tag = rayi_take_u8(&t.rest);
    const void *cluster = rayi_take_bytes(&t.rest, sizeof t.cluster);
    if (cluster)
        memcpy(&t.cluster, cluster, sizeof t.cluster);
    t.generation = rayi_take_u64(&t.rest);
    t.from = rayi_take_u64(&t.rest);
    t.to = rayi_take_u64(&t.rest);
    t.incarnations = rayi_take_u64(&t.rest);
    uint8_t whole = rayi_take_u8(&t.rest);
    t.whole = whole == 1;
    if (t.rest.failed || tag != RAYI_MEMBER_TABLE || whole > 1 || t.from > t.to || (t.whole && t.from > 0))
        return RAY_ERR_ARGUMENT;
    *out = t;
    return 0;
}

typedef struct staging {
    rayi_roster *roster;
    rayi_table *table;
    rayi_row *list, **end;
    const rayi_node_id *gone; /* not aligned for anything but bytes, nor needs it be */
    uint32_t gone_count;
} staging;

/* A row that nobody has staged yet. */
static int row_to_stage(staging *s, const rayi_node_id *id, rayi_row **out)
{
    rayi_row *row = rayi_roster_find(s->roster, id);
    if (row && row->staged)
        return RAY_ERR_ARGUMENT;
    if (!row)
        row = rayi_roster_add(s->roster, id);
    *out = row;
    return row ? 0 : RAY_ERR_NO_MEMORY;
}

static int stage(staging *s, const rayi_member *member)
{
    rayi_row *row = NULL;
    int r = row_to_stage(s, &member->id, &row);
    if (r)
        return r;
    row->staged = rayi_member_copy(s->roster->memory, member);
    if (row->staged) {
        row->next_staged = NULL;
        *s->end = row;
        s->end = &row->next_staged;
        return 0;
    }
    if (!row->member) {
        rayi_roster_detach(s->roster, row);
        rayi_roster_free_row(s->roster, row);
    }
    return RAY_ERR_NO_MEMORY;
}

static int stage_full(staging *s)
{
    rayi_member_resource room[RAYI_MEMBER_RESOURCES_MAX];
    rayi_member member;
    if (!rayi_member_take(&s->table->rest, room, &member))
        return RAY_ERR_ARGUMENT;
    if (member.incarnation == 0 || member.incarnation > s->table->incarnations)
        return RAY_ERR_ARGUMENT;
    const rayi_member *old = rayi_roster_get(s->roster, &member.id);
    if (old && old->incarnation > member.incarnation)
        return RAY_ERR_ARGUMENT;
    return stage(s, &member);
}

static int stage_soft(staging *s)
{
    rayi_reader *rest = &s->table->rest;
    const rayi_node_id *id = rayi_take_bytes(rest, sizeof *id);
    const rayi_member *old = id ? rayi_roster_get(s->roster, id) : NULL;
    rayi_member_resource room[RAYI_MEMBER_RESOURCES_MAX];
    if (!old || s->table->whole)
        return RAY_ERR_ARGUMENT;
    rayi_member member = *old;
    member.resources = room;
    member.state = (rayi_node_state)rayi_take_u8(rest);
    member.cause = RAYI_DEATH_NONE;
    member.load = rayi_take_u32(rest);
    if (rayi_take_count(rest, 8) != old->resource_count)
        return RAY_ERR_ARGUMENT;
    for (uint32_t i = 0; i < old->resource_count; i++) {
        room[i] = old->resources[i];
        room[i].available = rayi_take_i64(rest);
    }
    if (rest->failed || !rayi_member_is_sound(&member)) /* which the soft part of a dead one never is */
        return RAY_ERR_ARGUMENT;
    return stage(s, &member);
}

static int stage_kept(staging *s)
{
    const rayi_node_id *id = rayi_take_bytes(&s->table->rest, sizeof *id);
    const rayi_member *old = id ? rayi_roster_get(s->roster, id) : NULL;
    if (!id || !s->table->whole)
        return RAY_ERR_ARGUMENT;
    return old ? stage(s, old) : 0;
}

static int stage_row(staging *s)
{
    switch (rayi_take_u8(&s->table->rest)) {
    case FULL_ROW:
        return stage_full(s);
    case SOFT_ROW:
        return stage_soft(s);
    case KEPT_ROW:
        return stage_kept(s);
    }
    return RAY_ERR_ARGUMENT;
}

static int stage_all(staging *s)
{
    rayi_reader *rest = &s->table->rest;
    int r = 0;
    for (uint32_t count = rayi_take_count(rest, LEAST_ROW_BYTES); count > 0 && !r; count--)
        r = stage_row(s);
    if (r)
        return r;
    s->gone_count = rayi_take_count(rest, sizeof *s->gone);
    s->gone = rayi_take_bytes(rest, s->gone_count * sizeof *s->gone);
    return rest->failed || rayi_reader_left(rest) > 0 ? RAY_ERR_ARGUMENT : 0;
}

static void unstage(staging *s)
{
    for (rayi_row *row; (row = s->list);) {
        s->list = row->next_staged;
        rayi_memory_free(s->roster->memory, row->staged);
        row->staged = NULL;
        if (row->member)
            continue;
        rayi_roster_detach(s->roster, row);
        rayi_roster_free_row(s->roster, row);
    }
}

static void drop(rayi_roster *roster, rayi_row *row)
{
    rayi_roster_detach(roster, row);
    roster->dropped(roster, row);
}

static void drop_gone(staging *s)
{
    for (uint32_t i = 0; i < s->gone_count; i++) {
        rayi_row *row = rayi_roster_find(s->roster, &s->gone[i]);
        if (row && !row->staged)
            drop(s->roster, row);
    }
    for (rayi_row *row = s->roster->rows, *next; row && s->table->whole; row = next) {
        next = row->hh.next;
        if (!row->staged)
            drop(s->roster, row);
    }
}

/* A death that came by another way, before this table was written, is final. */
static void keep_dead(const rayi_member *old, rayi_member *now)
{
    if (!old || old->incarnation != now->incarnation || old->state != RAYI_NODE_DEAD)
        return;
    now->state = old->state;
    now->cause = old->cause;
}

static void swap_in(staging *s)
{
    for (rayi_row *row; (row = s->list);) {
        s->list = row->next_staged;
        keep_dead(row->member, row->staged);
        rayi_memory_free(s->roster->memory, row->member);
        row->member = row->staged;
        row->staged = NULL;
        row->version = row->fixed_version = s->table->to;
        DL_DELETE(s->roster->order, row);
        DL_APPEND(s->roster->order, row);
        s->roster->changed(s->roster, row);
    }
}

int rayi_table_apply(rayi_roster *roster, rayi_table *table)
{
    staging s = {.roster = roster, .table = table};
    s.end = &s.list;
    int r = stage_all(&s);
    if (r) {
        unstage(&s);
        return r;
    }
    drop_gone(&s);
    swap_in(&s);
    roster->version = table->to;
    roster->incarnations = RAYI_MAX(roster->incarnations, table->incarnations);
    return 0;
}
