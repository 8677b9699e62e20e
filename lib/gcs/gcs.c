/* Four tables, one of them in keys.c. Listings are in order, so a table is sorted (its list, in place) when it is
 * listed after a change. */
#include "gcs/keys.h"

/* The key is the kind's number, the namespace, '/' and the name: one table for all kinds. */
typedef struct name_row {
    UT_hash_handle hh;
    uint64_t id;
    rayi_name_kind kind;
    const char *ns, *name; /* copies of the key's parts */
    char key[];
} name_row;

typedef struct job {
    struct job *prev, *next;
    rayi_gcs_job row;
} job;

typedef struct node {
    struct node *prev, *next;
    rayi_gcs_node row;
} node;

struct rayi_gcs {
    const rayi_memory *memory;
    rayi_keys keys;
    name_row *names;
    job *jobs;
    uint32_t num_jobs;
    node *nodes;
    bool names_sorted;
};

int rayi_gcs_new(const rayi_memory *memory, rayi_gcs **out)
{
    rayi_gcs *gcs = rayi_memory_zalloc(memory, sizeof *gcs);
    if (!gcs)
        return RAY_ERR_NO_MEMORY;
    gcs->memory = gcs->keys.memory = memory;
    *out = gcs;
    return 0;
}

static void free_name(rayi_gcs *gcs, name_row *n)
{
    const rayi_memory *memory = gcs->memory;
    HASH_DELETE(hh, gcs->names, n);
    rayi_memory_free(memory, n);
}

void rayi_gcs_free(rayi_gcs *gcs)
{
    if (!gcs)
        return;
    rayi_keys_clear(&gcs->keys);
    while (gcs->names)
        free_name(gcs, gcs->names);
    for (job *j; (j = gcs->jobs);) {
        DL_DELETE(gcs->jobs, j);
        rayi_memory_free(gcs->memory, j);
    }
    for (node *n; (n = gcs->nodes);) {
        DL_DELETE(gcs->nodes, n);
        rayi_memory_free(gcs->memory, n);
    }
    rayi_memory_free(gcs->memory, gcs);
}

rayi_keys *rayi_gcs_keys(const rayi_gcs *gcs)
{
    return (rayi_keys *)(uintptr_t)&gcs->keys;
}

/* ---- names ---- */

typedef struct name_key {
    char text[2 * RAYI_GCS_KEY_MAX + 4]; /* kind, ns, '/', name */
    size_t ns_size, size;
} name_key;

static int check_part(size_t size)
{
    if (size == 0)
        return RAY_ERR_ARGUMENT;
    return size > RAYI_GCS_KEY_MAX ? RAY_ERR_LIMIT : 0;
}

static int make_key(rayi_name_kind kind, const char *ns, const char *name, name_key *out)
{
    const char *slash = strchr(name, '/'), *bare = slash ? slash + 1 : name;
    size_t ns_size = slash ? (size_t)(slash - name) : strlen(ns), bare_size = strlen(bare);
    if (strchr(bare, '/'))
        return RAY_ERR_ARGUMENT;
    int r = check_part(ns_size);
    if (!r)
        r = check_part(bare_size);
    if (r)
        return r;
    out->text[0] = (char)('0' + (int)kind);
    memcpy(out->text + 1, slash ? name : ns, ns_size);
    out->text[1 + ns_size] = '/';
    memcpy(out->text + 2 + ns_size, bare, bare_size + 1);
    out->ns_size = ns_size;
    out->size = 2 + ns_size + bare_size;
    return 0;
}

static name_row *find_name(const rayi_gcs *gcs, const name_key *key)
{
    name_row *n;
    HASH_FIND(hh, gcs->names, key->text, key->size, n);
    return n;
}

int rayi_gcs_name_put(rayi_gcs *gcs, rayi_name_kind kind, const char *ns, const char *text, uint64_t id)
{
    const rayi_memory *memory = gcs->memory;
    name_key key;
    int r = make_key(kind, ns, text, &key);
    if (r)
        return r;
    if (find_name(gcs, &key))
        return RAY_ERR_EXISTS;
    name_row *n = rayi_memory_zalloc(memory, sizeof *n + 2 * (key.size + 1));
    if (!n)
        return RAY_ERR_NO_MEMORY;
    n->id = id;
    n->kind = kind;
    memcpy(n->key, key.text, key.size + 1);
    char *parts = n->key + key.size + 1;
    memcpy(parts, key.text, key.size + 1);
    parts[1 + key.ns_size] = 0; /* the slash */
    n->ns = parts + 1;
    n->name = parts + 2 + key.ns_size;
    HASH_ADD_KEYPTR(hh, gcs->names, n->key, key.size, n);
    if (!n->hh.tbl) {
        rayi_memory_free(memory, n);
        return RAY_ERR_NO_MEMORY;
    }
    gcs->names_sorted = false;
    return 0;
}

int rayi_gcs_name_get(const rayi_gcs *gcs, rayi_name_kind kind, const char *ns, const char *text, uint64_t *id)
{
    name_key key;
    int r = make_key(kind, ns, text, &key);
    if (r)
        return r;
    const name_row *n = find_name(gcs, &key);
    if (!n)
        return RAY_ERR_NOT_FOUND;
    *id = n->id;
    return 0;
}

int rayi_gcs_name_del(rayi_gcs *gcs, rayi_name_kind kind, const char *ns, const char *text, uint64_t id)
{
    name_key key;
    int r = make_key(kind, ns, text, &key);
    if (r)
        return r;
    name_row *n = find_name(gcs, &key);
    if (!n || n->id != id)
        return RAY_ERR_NOT_FOUND;
    free_name(gcs, n);
    return 0;
}

static int compare_names(const name_row *a, const name_row *b)
{
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    int r = strcmp(a->ns, b->ns);
    return r ? r : strcmp(a->name, b->name);
}

static void sort_names(rayi_gcs *gcs)
{
    if (!gcs->names_sorted)
        HASH_SORT(gcs->names, compare_names);
    gcs->names_sorted = true;
}

void rayi_gcs_names(rayi_gcs *gcs, rayi_name_kind kind, void (*fn)(void *arg, const rayi_gcs_name_row *row), void *arg)
{
    sort_names(gcs);
    for (const name_row *n = gcs->names; n; n = n->hh.next) {
        rayi_gcs_name_row row = {.ns = n->ns, .name = n->name, .id = n->id};
        if (n->kind == kind)
            fn(arg, &row);
    }
}

/* ---- jobs and nodes ---- */

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* Copies text to *room, which moves on; NULL stays NULL. */
static const char *copy_text(const char *text, char **room)
{
    if (!text)
        return NULL;
    char *copy = *room;
    *room += text_size(text);
    return strcpy(copy, text);
}

static job *find_job(const rayi_gcs *gcs, const char *id)
{
    for (job *j = gcs->jobs; j; j = j->next)
        if (strcmp(j->row.id, id) == 0)
            return j;
    return NULL;
}

static void forget_oldest_ended(rayi_gcs *gcs)
{
    job *oldest = gcs->jobs;
    while (oldest && oldest->row.end_ms == 0)
        oldest = oldest->next;
    if (!oldest)
        return;
    DL_DELETE(gcs->jobs, oldest);
    rayi_memory_free(gcs->memory, oldest);
    gcs->num_jobs--;
}

int rayi_gcs_job_put(rayi_gcs *gcs, const rayi_gcs_job *row)
{
    size_t texts = text_size(row->id) + text_size(row->ns) + text_size(row->driver);
    job *made = rayi_memory_zalloc(gcs->memory, sizeof *made + texts);
    if (!made)
        return RAY_ERR_NO_MEMORY;
    char *room = (char *)(made + 1);
    made->row = *row;
    made->row.id = copy_text(row->id, &room);
    made->row.ns = copy_text(row->ns, &room);
    made->row.driver = copy_text(row->driver, &room);
    job *old = find_job(gcs, row->id);
    if (!old) {
        if (gcs->num_jobs >= RAYI_GCS_JOBS_MOST)
            forget_oldest_ended(gcs);
        DL_APPEND(gcs->jobs, made);
        gcs->num_jobs++;
        return 0;
    }
    DL_REPLACE_ELEM(gcs->jobs, old, made);
    rayi_memory_free(gcs->memory, old);
    return 0;
}

void rayi_gcs_jobs(const rayi_gcs *gcs, void (*fn)(void *arg, const rayi_gcs_job *job), void *arg)
{
    for (const job *j = gcs->jobs; j; j = j->next)
        fn(arg, &j->row);
}

static node *find_node(const rayi_gcs *gcs, const char *id)
{
    for (node *n = gcs->nodes; n; n = n->next)
        if (strcmp(n->row.id, id) == 0)
            return n;
    return NULL;
}

int rayi_gcs_node_put(rayi_gcs *gcs, const rayi_gcs_node *row)
{
    size_t texts = text_size(row->id) + text_size(row->address) + text_size(row->labels) + text_size(row->resources);
    node *made = rayi_memory_zalloc(gcs->memory, sizeof *made + texts);
    if (!made)
        return RAY_ERR_NO_MEMORY;
    char *room = (char *)(made + 1);
    made->row = *row;
    made->row.id = copy_text(row->id, &room);
    made->row.address = copy_text(row->address, &room);
    made->row.labels = copy_text(row->labels, &room);
    made->row.resources = copy_text(row->resources, &room);
    node *old = find_node(gcs, row->id);
    if (!old) {
        DL_APPEND(gcs->nodes, made);
        return 0;
    }
    DL_REPLACE_ELEM(gcs->nodes, old, made);
    rayi_memory_free(gcs->memory, old);
    return 0;
}

void rayi_gcs_nodes(const rayi_gcs *gcs, void (*fn)(void *arg, const rayi_gcs_node *node), void *arg)
{
    for (const node *n = gcs->nodes; n; n = n->next)
        fn(arg, &n->row);
}
