/* Each change has a version. What changed since one is the rows that changed later, as they are now, and the keys that
 * were deleted later, of which the last are remembered: who lacks more begins anew, and has then of the older ones
 * nothing that could have been deleted. So a copy is brought up to date in pieces of any size, while the table changes.
 */
#include "gcs/keys.h"

typedef struct rayi_key {
    UT_hash_handle hh; /* by key */
    struct rayi_key *prev, *next;
    const char *key;
    void *data;
    size_t size_bytes;
    uint64_t version;
} row;

typedef struct rayi_gone_key {
    struct rayi_gone_key *prev, *next;
    uint64_t version;
    char key[];
} gone_key;

enum { LEAST_ROW_BYTES = 8 + 1 + 4 };

/* ---- rows ---- */

static row *find(const rayi_keys *keys, const char *key)
{
    row *v;
    HASH_FIND_STR(keys->rows, key, v);
    return v;
}

static uint64_t bytes_of(const row *v)
{
    return strlen(v->key) + v->size_bytes;
}

static void touch(rayi_keys *keys, row *v, uint64_t version)
{
    DL_DELETE(keys->order, v);
    DL_APPEND(keys->order, v);
    v->version = keys->version = version;
}

static row *add_row(rayi_keys *keys, const char *key)
{
    const rayi_memory *memory = keys->memory;
    size_t length = strlen(key);
    row *v = rayi_memory_zalloc(memory, sizeof *v + length + 1);
    if (!v)
        return NULL;
    v->key = memcpy(v + 1, key, length + 1);
    HASH_ADD_KEYPTR(hh, keys->rows, v->key, length, v);
    if (!v->hh.tbl) {
        rayi_memory_free(memory, v);
        return NULL;
    }
    DL_APPEND(keys->order, v);
    keys->bytes += length;
    keys->is_sorted = false;
    return v;
}

static void free_row(rayi_keys *keys, row *v)
{
    const rayi_memory *memory = keys->memory;
    keys->bytes -= bytes_of(v);
    HASH_DELETE(hh, keys->rows, v);
    DL_DELETE(keys->order, v);
    rayi_memory_free(memory, v->data);
    rayi_memory_free(memory, v);
}

static int put(rayi_keys *keys, const char *key, const void *data, size_t size_bytes, uint64_t version)
{
    char *copy = rayi_memory_alloc(keys->memory, size_bytes + 1);
    row *v = copy ? find(keys, key) : NULL;
    if (copy && !v)
        v = add_row(keys, key);
    if (!v) {
        rayi_memory_free(keys->memory, copy);
        return RAY_ERR_NO_MEMORY;
    }
    if (size_bytes)
        memcpy(copy, data, size_bytes);
    copy[size_bytes] = 0;
    keys->bytes = keys->bytes - v->size_bytes + size_bytes;
    rayi_memory_free(keys->memory, v->data);
    v->data = copy;
    v->size_bytes = size_bytes;
    touch(keys, v, version);
    return 0;
}

/* ---- deletions ---- */

static void forget_first(rayi_keys *keys)
{
    gone_key *g = keys->gone;
    keys->forgotten = RAYI_MAX(keys->forgotten, g->version);
    DL_DELETE(keys->gone, g);
    keys->gone_count--;
    rayi_memory_free(keys->memory, g);
}

/* Without memory it is one that was forgotten. */
static void remember_gone(rayi_keys *keys, const char *key)
{
    size_t length = strlen(key);
    gone_key *g = rayi_memory_alloc(keys->memory, sizeof *g + length + 1);
    if (!g) {
        keys->forgotten = keys->version;
        return;
    }
    g->version = keys->version;
    memcpy(g->key, key, length + 1);
    DL_APPEND(keys->gone, g);
    if (++keys->gone_count > RAYI_KEYS_GONE_MOST)
        forget_first(keys);
}

void rayi_keys_clear(rayi_keys *keys)
{
    while (keys->rows)
        free_row(keys, keys->rows);
    while (keys->gone)
        forget_first(keys);
    keys->is_whole = false;
}

/* ---- the table ---- */

int rayi_gcs_kv_put(rayi_gcs *gcs, const char *key, const void *data, size_t size_bytes, bool only_new)
{
    rayi_keys *keys = rayi_gcs_keys(gcs);
    size_t length = strlen(key);
    if (length == 0)
        return RAY_ERR_ARGUMENT;
    if (length > RAYI_GCS_KEY_MAX || size_bytes > RAYI_GCS_VALUE_MAX)
        return RAY_ERR_LIMIT;
    if (only_new && find(keys, key))
        return RAY_ERR_EXISTS;
    return put(keys, key, data, size_bytes, keys->version + 1);
}

int rayi_gcs_kv_get(const rayi_gcs *gcs, const char *key, const void **data, size_t *size_bytes)
{
    const row *v = find(rayi_gcs_keys(gcs), key);
    if (!v)
        return RAY_ERR_NOT_FOUND;
    *data = v->data;
    *size_bytes = v->size_bytes;
    return 0;
}

int rayi_gcs_kv_del(rayi_gcs *gcs, const char *key)
{
    rayi_keys *keys = rayi_gcs_keys(gcs);
    row *v = find(keys, key);
    if (!v)
        return RAY_ERR_NOT_FOUND;
    keys->version++;
    remember_gone(keys, v->key);
    free_row(keys, v);
    return 0;
}

static int compare_keys(const row *a, const row *b)
{
    return strcmp(a->key, b->key);
}

int rayi_gcs_kv_list(rayi_gcs *gcs, const char *prefix, rayi_text *out)
{
    rayi_keys *keys = rayi_gcs_keys(gcs);
    size_t length = strlen(prefix);
    if (!keys->is_sorted)
        HASH_SORT(keys->rows, compare_keys);
    keys->is_sorted = true;
    for (const row *v = keys->rows; v; v = v->hh.next)
        if (strncmp(v->key, prefix, length) == 0)
            rayi_text_add_bytes(out, v->key, strlen(v->key) + 1);
    return out->failed ? RAY_ERR_NO_MEMORY : 0;
}

/* ---- what changed: u64 from, u64 to, u64 the last there is, u8 whole, u32 count, each: u64 version, u8 there, text
 * key, bytes u32 size and so many ---- */

uint64_t rayi_gcs_kv_version(const rayi_gcs *gcs)
{
    return rayi_gcs_keys(gcs)->version;
}

uint64_t rayi_gcs_kv_bytes(const rayi_gcs *gcs)
{
    return rayi_gcs_keys(gcs)->bytes;
}

static void put_change(rayi_writer *writer, uint64_t version, const char *key, const row *v)
{
    rayi_put_u64(writer, version);
    rayi_put_u8(writer, v != NULL);
    rayi_put_text(writer, key);
    if (!v)
        return;
    rayi_put_u32(writer, (uint32_t)v->size_bytes);
    rayi_put_bytes(writer, v->data, v->size_bytes);
}

/* The first of a list that is in the order of its changes, looked for from its end: few are new. */
static const row *first_row_after(const rayi_keys *keys, uint64_t since)
{
    const row *first = NULL;
    for (const row *v = keys->order ? keys->order->prev : NULL; v && v->version > since; v = v->prev) {
        first = v;
        if (v == keys->order)
            break;
    }
    return first;
}

static const gone_key *first_gone_after(const rayi_keys *keys, uint64_t since)
{
    const gone_key *first = NULL;
    for (const gone_key *g = keys->gone ? keys->gone->prev : NULL; g && g->version > since; g = g->prev) {
        first = g;
        if (g == keys->gone)
            break;
    }
    return first;
}

static uint32_t put_changes(const rayi_keys *keys, uint64_t *at, size_t limit_bytes, rayi_writer *writer)
{
    const row *v = first_row_after(keys, *at);
    const gone_key *g = first_gone_after(keys, *at);
    size_t begin = writer->size;
    uint32_t count = 0;
    for (; (v || g) && (count == 0 || writer->size - begin < limit_bytes); count++) {
        if (v && (!g || v->version < g->version)) {
            put_change(writer, *at = v->version, v->key, v);
            v = v->next;
        } else {
            put_change(writer, *at = g->version, g->key, NULL);
            g = g->next;
        }
    }
    if (!v && !g)
        *at = keys->version;
    return count;
}

void rayi_gcs_kv_since(const rayi_gcs *gcs, rayi_gcs_cursor *cursor, size_t limit_bytes, rayi_writer *writer)
{
    const rayi_keys *keys = rayi_gcs_keys(gcs);
    bool whole = !cursor->begun || keys->forgotten > RAYI_MAX(cursor->at, cursor->base);
    if (whole)
        *cursor = (rayi_gcs_cursor){.base = keys->version, .begun = true};
    uint64_t from = cursor->at;
    rayi_put_u64(writer, from);
    size_t at = writer->size;
    rayi_put_u64(writer, 0);
    rayi_put_u64(writer, keys->version);
    rayi_put_u8(writer, whole);
    rayi_put_u32(writer, 0);
    uint32_t count = put_changes(keys, &cursor->at, limit_bytes, writer);
    if (writer->failed)
        return;
    memcpy(writer->data + at, &cursor->at, sizeof cursor->at);
    memcpy(writer->data + at + 2 * sizeof(uint64_t) + 1, &count, sizeof count);
}

/* ---- a copy ---- */

static int take_change(rayi_keys *keys, rayi_reader *reader, uint64_t to)
{
    uint64_t version = rayi_take_u64(reader);
    uint8_t there = rayi_take_u8(reader);
    const char *key = rayi_take_text(reader);
    uint32_t size = there == 1 ? rayi_take_u32(reader) : 0;
    const void *data = rayi_take_bytes(reader, size);
    if (reader->failed || !key || !*key || strlen(key) > RAYI_GCS_KEY_MAX || size > RAYI_GCS_VALUE_MAX || there > 1 ||
        version <= keys->version || version > to)
        return RAY_ERR_ARGUMENT;
    if (there)
        return put(keys, key, data, size, version);
    row *v = find(keys, key);
    if (v)
        free_row(keys, v);
    keys->version = version;
    return 0;
}

int rayi_gcs_kv_take(rayi_gcs *gcs, rayi_reader *reader)
{
    rayi_keys *keys = rayi_gcs_keys(gcs);
    uint64_t from = rayi_take_u64(reader), to = rayi_take_u64(reader), last = rayi_take_u64(reader);
    uint8_t whole = rayi_take_u8(reader);
    uint32_t count = rayi_take_count(reader, LEAST_ROW_BYTES);
    int r = 0;
    if (reader->failed || from > to || to > last || whole > 1 || (whole && from > 0))
        return RAY_ERR_ARGUMENT;
    if (whole) {
        rayi_keys_clear(keys);
        keys->version = 0;
    }
    if (from != keys->version)
        return RAY_ERR_ARGUMENT;
    for (; count > 0 && r == 0; count--)
        r = take_change(keys, reader, to);
    if (r == 0 && rayi_reader_left(reader) > 0)
        r = RAY_ERR_ARGUMENT;
    if (r < 0)
        return r;
    keys->version = to;
    keys->is_whole |= to == last;
    return 0;
}

bool rayi_gcs_kv_is_whole(const rayi_gcs *gcs)
{
    return rayi_gcs_keys(gcs)->is_whole;
}

void rayi_gcs_kv_drop(rayi_gcs *gcs)
{
    rayi_keys *keys = rayi_gcs_keys(gcs);
    rayi_keys_clear(keys);
    keys->version = 0;
}
