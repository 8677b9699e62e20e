#include "gcs/roster.h"

/* ---- states and words ---- */

rayi_node_state rayi_node_next(rayi_node_state state, rayi_node_event event)
{
    switch (event) {
    case RAYI_NODE_HEARD:
        RAYI_ASSERT(state != RAYI_NODE_DEAD);
        return RAYI_NODE_ALIVE;
    case RAYI_NODE_LATE:
        RAYI_ASSERT(state != RAYI_NODE_DEAD);
        return RAYI_NODE_SUSPECT;
    case RAYI_NODE_ENDED:
        RAYI_ASSERT(state != RAYI_NODE_DEAD);
        return RAYI_NODE_DEAD;
    case RAYI_NODE_REBORN:
        RAYI_ASSERT(state == RAYI_NODE_DEAD);
        return RAYI_NODE_ALIVE;
    }
    RAYI_ASSERT(!"a node has four events");
}

const char *rayi_node_state_name(rayi_node_state state)
{
    switch (state) {
    case RAYI_NODE_ALIVE:
        return "ALIVE";
    case RAYI_NODE_SUSPECT:
        return "SUSPECT";
    case RAYI_NODE_DEAD:
        return "DEAD";
    }
    RAYI_ASSERT(!"a node has three states");
}

const char *rayi_death_text(rayi_death cause)
{
    switch (cause) {
    case RAYI_DEATH_NONE:
        return "of an unknown cause";
    case RAYI_DEATH_SILENT:
        return "silent for 10 s";
    case RAYI_DEATH_GONE:
        return "its process ended";
    case RAYI_DEATH_REFUSED:
        return "nobody listens at its address any more";
    case RAYI_DEATH_LEFT:
        return "it left";
    case RAYI_DEATH_REPLACED:
        return "another head took over";
    }
    RAYI_ASSERT(!"a death has one of five causes");
}

const char *rayi_refusal_text(rayi_refusal refusal)
{
    switch (refusal) {
    case RAYI_REFUSAL_NONE:
        return "not refused";
    case RAYI_REFUSAL_VERSION:
        return "the head speaks another version of the protocol";
    case RAYI_REFUSAL_CLUSTER:
        return "the head is that of another cluster";
    case RAYI_REFUSAL_OLD_HEAD:
        return "the head has been replaced by a later one";
    case RAYI_REFUSAL_ID:
        return "the node's id belongs to another key";
    case RAYI_REFUSAL_KEY:
        return "the node's key is in use by another node";
    case RAYI_REFUSAL_ALIVE:
        return "the node's id is in use by another process";
    case RAYI_REFUSAL_FULL:
        return "the cluster has as many nodes as it takes";
    case RAYI_REFUSAL_MALFORMED:
        return "the node's description is malformed";
    }
    RAYI_ASSERT(!"a refusal has one of eight reasons");
}

/* ---- members ---- */

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* Copies text to *room, which moves on; NULL stays NULL. */
static const char *copy_text(const char *text, char **room)
{
    size_t size = text_size(text);
    char *copy = *room;
    *room += size;
    return text ? memcpy(copy, text, size) : NULL;
}

rayi_member *rayi_member_copy(const rayi_memory *memory, const rayi_member *from)
{
    size_t size = sizeof *from + from->resource_count * sizeof *from->resources;
    size += text_size(from->address) + text_size(from->labels);
    for (uint32_t i = 0; i < from->resource_count; i++)
        size += text_size(from->resources[i].name);
    rayi_member *made = rayi_memory_alloc(memory, size);
    if (!made)
        return NULL;
    rayi_member_resource *resources = (rayi_member_resource *)(made + 1);
    char *room = (char *)(resources + from->resource_count);
    *made = *from;
    made->resources = resources;
    for (uint32_t i = 0; i < from->resource_count; i++) {
        resources[i] = from->resources[i];
        resources[i].name = copy_text(from->resources[i].name, &room);
    }
    made->address = copy_text(from->address, &room);
    made->labels = copy_text(from->labels, &room);
    return made;
}

static bool resources_are_sound(const rayi_member *member)
{
    for (uint32_t i = 0; i < member->resource_count; i++) {
        const rayi_member_resource *r = &member->resources[i];
        if (!r->name || !*r->name || strlen(r->name) > RAYI_MEMBER_NAME_MAX)
            return false;
        if (i > 0 && strcmp(r[-1].name, r->name) >= 0)
            return false;
        if (r->total <= 0 || r->total > RAYI_MEMBER_AMOUNT_MAX)
            return false;
        if (r->available > r->total || r->available < -RAYI_MEMBER_AMOUNT_MAX)
            return false;
    }
    return true;
}

bool rayi_member_is_sound(const rayi_member *member)
{
    if (member->resource_count > RAYI_MEMBER_RESOURCES_MAX || member->flags & ~RAYI_MEMBER_FLAGS)
        return false;
    if ((unsigned)member->state > RAYI_NODE_DEAD || (unsigned)member->cause > RAYI_DEATH_REPLACED)
        return false;
    if ((member->state == RAYI_NODE_DEAD) != (member->cause != RAYI_DEATH_NONE) || member->life == 0)
        return false;
    if (member->address && (!*member->address || strlen(member->address) > RAYI_MEMBER_NAME_MAX))
        return false;
    if (!member->labels || strlen(member->labels) > RAYI_MEMBER_LABELS_MAX)
        return false;
    return resources_are_sound(member);
}

void rayi_member_put(rayi_writer *writer, const rayi_member *member)
{
    rayi_put_bytes(writer, &member->id, sizeof member->id);
    rayi_put_bytes(writer, &member->key, sizeof member->key);
    rayi_put_u64(writer, member->life);
    rayi_put_u64(writer, member->incarnation);
    rayi_put_u64(writer, member->host);
    rayi_put_i64(writer, member->pid);
    rayi_put_u8(writer, (uint8_t)member->flags);
    rayi_put_u8(writer, (uint8_t)member->state);
    rayi_put_u8(writer, (uint8_t)member->cause);
    rayi_put_u32(writer, member->load);
    rayi_put_text(writer, member->address);
    rayi_put_text(writer, member->labels);
    rayi_put_u32(writer, member->resource_count);
    for (uint32_t i = 0; i < member->resource_count; i++) {
        rayi_put_text(writer, member->resources[i].name);
        rayi_put_i64(writer, member->resources[i].total);
        rayi_put_i64(writer, member->resources[i].available);
    }
}

static void take_into(rayi_reader *reader, void *out, size_t size)
{
    const void *bytes = rayi_take_bytes(reader, size);
    if (bytes)
        memcpy(out, bytes, size);
}

bool rayi_member_take(rayi_reader *reader, rayi_member_resource *room, rayi_member *out)
{
    *out = (rayi_member){.resources = room};
    take_into(reader, &out->id, sizeof out->id);
    take_into(reader, &out->key, sizeof out->key);
    out->life = rayi_take_u64(reader);
    out->incarnation = rayi_take_u64(reader);
    out->host = rayi_take_u64(reader);
    out->pid = rayi_take_i64(reader);
    out->flags = rayi_take_u8(reader);
    out->state = (rayi_node_state)rayi_take_u8(reader);
    out->cause = (rayi_death)rayi_take_u8(reader);
    out->load = rayi_take_u32(reader);
    out->address = rayi_take_text(reader);
    out->labels = rayi_take_text(reader);
    out->resource_count = rayi_take_count(reader, 3 * 8);
    if (out->resource_count > RAYI_MEMBER_RESOURCES_MAX)
        reader->failed = true;
    for (uint32_t i = 0; i < out->resource_count && !reader->failed; i++) {
        room[i].name = rayi_take_text(reader);
        room[i].total = rayi_take_i64(reader);
        room[i].available = rayi_take_i64(reader);
    }
    if (!reader->failed && !rayi_member_is_sound(out))
        reader->failed = true;
    return !reader->failed;
}

/* ---- rows ---- */

static void free_dropped(rayi_roster *roster, rayi_row *row)
{
    rayi_roster_free_row(roster, row);
}

static void ignore_change(rayi_roster *roster, rayi_row *row)
{
    (void)roster;
    (void)row;
}

void rayi_roster_init(rayi_roster *roster, const rayi_memory *memory, size_t row_size)
{
    *roster = (rayi_roster){.memory = memory, .row_size = row_size, .changed = ignore_change, .dropped = free_dropped};
}

void rayi_roster_fini(rayi_roster *roster)
{
    for (rayi_row *row; (row = roster->rows);) {
        rayi_roster_detach(roster, row);
        rayi_roster_free_row(roster, row);
    }
    rayi_memory_free(roster->memory, roster->gone);
}

rayi_row *rayi_roster_find(const rayi_roster *roster, const rayi_node_id *id)
{
    rayi_row *row;
    HASH_FIND(hh, roster->rows, id, sizeof *id, row);
    return row;
}

rayi_row *rayi_roster_add(rayi_roster *roster, const rayi_node_id *id)
{
    const rayi_memory *memory = roster->memory;
    rayi_row *row = rayi_memory_zalloc(memory, roster->row_size);
    if (!row)
        return NULL;
    row->id = *id;
    HASH_ADD(hh, roster->rows, id, sizeof row->id, row);
    if (!row->hh.tbl) {
        rayi_memory_free(memory, row);
        return NULL;
    }
    DL_APPEND(roster->order, row);
    roster->count++;
    return row;
}

void rayi_roster_detach(rayi_roster *roster, rayi_row *row)
{
    const rayi_memory *memory = roster->memory;
    HASH_DELETE(hh, roster->rows, row);
    DL_DELETE(roster->order, row);
    roster->count--;
}

void rayi_roster_free_row(rayi_roster *roster, rayi_row *row)
{
    rayi_memory_free(roster->memory, row->member);
    rayi_memory_free(roster->memory, row->staged);
    rayi_memory_free(roster->memory, row);
}

void rayi_roster_touch(rayi_roster *roster, rayi_row *row, bool is_fixed)
{
    row->version = ++roster->version;
    if (is_fixed)
        row->fixed_version = row->version;
    DL_DELETE(roster->order, row);
    DL_APPEND(roster->order, row);
}

void rayi_roster_forget(rayi_roster *roster, rayi_row *row)
{
    if (roster->gone_count == RAYI_ROSTER_GONE_MOST) {
        roster->floor = roster->gone[roster->gone_first].version;
        roster->gone_first = (roster->gone_first + 1) % RAYI_ROSTER_GONE_MOST;
        roster->gone_count--;
    }
    uint32_t at = (roster->gone_first + roster->gone_count++) % RAYI_ROSTER_GONE_MOST;
    roster->gone[at] = (rayi_gone_row){row->id, ++roster->version};
    rayi_roster_detach(roster, row);
}

/* ---- for users ---- */

void rayi_roster_each(const rayi_roster *roster, void (*fn)(void *arg, const rayi_member *member), void *arg)
{
    for (const rayi_row *row = roster->rows; row; row = row->hh.next)
        fn(arg, row->member);
}

const rayi_member *rayi_roster_get(const rayi_roster *roster, const rayi_node_id *id)
{
    const rayi_row *row = rayi_roster_find(roster, id);
    return row ? row->member : NULL;
}

static int64_t add_up(int64_t a, int64_t b)
{
    int64_t sum;
    if (!__builtin_add_overflow(a, b, &sum))
        return sum;
    return a < 0 ? INT64_MIN : INT64_MAX;
}

/* Where name is, or belongs. */
static uint32_t place_of(const rayi_member_sums *sums, const char *name)
{
    uint32_t low = 0, high = sums->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(sums->items[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static rayi_member_sums *make_place(rayi_member_sums *sums, const rayi_memory *memory, uint32_t at, const char *name)
{
    if (sums->count % 16 == 0) {
        size_t size = sizeof *sums + (sums->count + 16) * sizeof *sums->items;
        rayi_member_sums *larger = rayi_memory_realloc(memory, sums, size);
        if (!larger)
            return NULL;
        sums = larger;
    }
    memmove(&sums->items[at + 1], &sums->items[at], (sums->count - at) * sizeof *sums->items);
    sums->items[at] = (rayi_member_resource){.name = name};
    sums->count++;
    return sums;
}

static int add_member(rayi_member_sums **sums, const rayi_memory *memory, const rayi_member *member)
{
    (*sums)->nodes++;
    for (uint32_t i = 0; i < member->resource_count; i++) {
        const rayi_member_resource *r = &member->resources[i];
        uint32_t at = place_of(*sums, r->name);
        if (at == (*sums)->count || strcmp((*sums)->items[at].name, r->name) != 0) {
            rayi_member_sums *larger = make_place(*sums, memory, at, r->name);
            if (!larger)
                return RAY_ERR_NO_MEMORY;
            *sums = larger;
        }
        rayi_member_resource *sum = &(*sums)->items[at];
        sum->total = add_up(sum->total, r->total);
        sum->available = add_up(sum->available, RAYI_MAX(0, r->available)); /* nobody can take from another's debt */
    }
    return 0;
}

rayi_member_sums *rayi_roster_sum(const rayi_roster *roster, const rayi_memory *memory)
{
    rayi_member_sums *sums = rayi_memory_zalloc(memory, sizeof *sums);
    if (!sums)
        return NULL;
    for (const rayi_row *row = roster->rows; row; row = row->hh.next)
        if (row->member->state == RAYI_NODE_ALIVE && add_member(&sums, memory, row->member)) {
            rayi_memory_free(memory, sums);
            return NULL;
        }
    return sums;
}
