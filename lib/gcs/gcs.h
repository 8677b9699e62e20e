/* gcs: the cluster's tables, which are this node's as long as it is alone: key-value, names of actors, groups and
 * objects, jobs, nodes. A brain. members.h has the nodes of a cluster. Bytes and texts are copied in; what is lent out
 * stays until the row is changed.
 *
 * Calls that return int fail with the codes named; after a failure nothing has changed. */
#ifndef RAYI_GCS_H
#define RAYI_GCS_H

#include "base/base.h"
#include "gcs/keepers.h"
#include "gcs/members.h"
#include "gcs/membership.h"

#define RAYI_GCS_KEY_MAX   255           /* bytes of a key or a name */
#define RAYI_GCS_VALUE_MAX (1024 * 1024) /* bytes of a key's value */

typedef struct rayi_gcs rayi_gcs;

int rayi_gcs_new(const rayi_memory *memory, rayi_gcs **out); /* NO_MEMORY */
void rayi_gcs_free(rayi_gcs *gcs);

/* ---- key-value ---- */

/* key: 1 to 255 bytes. only_new: EXISTS if there is one. ARGUMENT (empty key), LIMIT, EXISTS, NO_MEMORY */
int rayi_gcs_kv_put(rayi_gcs *gcs, const char *key, const void *data, size_t size_bytes, bool only_new);
/* Lent until the key is put or deleted. The bytes have a NUL behind them that is not counted. NOT_FOUND */
int rayi_gcs_kv_get(const rayi_gcs *gcs, const char *key, const void **data, size_t *size_bytes);
int rayi_gcs_kv_del(rayi_gcs *gcs, const char *key); /* NOT_FOUND */
/* Adds the keys that begin with prefix to out, each with its NUL, in byte order. NO_MEMORY */
int rayi_gcs_kv_list(rayi_gcs *gcs, const char *prefix, rayi_text *out);

/* ---- copies of that table, on other nodes ---- */

#define RAYI_GCS_COPY_MOST (64 << 20) /* bytes of keys and values: a longer table is not copied */

typedef struct rayi_gcs_cursor { /* how far a copy is; zeros: it has nothing */
    uint64_t at, base;           /* base: where it began; it has nothing that was deleted before */
    bool begun;
} rayi_gcs_cursor;

uint64_t rayi_gcs_kv_version(const rayi_gcs *gcs); /* of the last change; 0: there was none */
uint64_t rayi_gcs_kv_bytes(const rayi_gcs *gcs);
/* What changed behind the cursor, which goes on: as much as fits into limit_bytes, or one change. All of it from the
 * beginning, if that is not known any more. The writer may fail: then the cursor is to be set to zeros. */
void rayi_gcs_kv_since(const rayi_gcs *gcs, rayi_gcs_cursor *cursor, size_t limit_bytes, rayi_writer *writer);
/* At the copy. ARGUMENT: rubbish, or it does not follow on what is here; NO_MEMORY. Then it is to begin anew. */
int rayi_gcs_kv_take(rayi_gcs *gcs, rayi_reader *reader);
bool rayi_gcs_kv_is_whole(const rayi_gcs *gcs); /* a copy that was once up to date: it can be read */
void rayi_gcs_kv_drop(rayi_gcs *gcs);           /* the copy is none any more */

/* ---- names ---- */

typedef enum rayi_name_kind { RAYI_NAME_ACTOR, RAYI_NAME_GROUP, RAYI_NAME_OBJECT } rayi_name_kind;

/* name is "name", in namespace ns, or "other/name". Parts are 1 to 255 bytes. ARGUMENT, LIMIT, EXISTS, NO_MEMORY */
int rayi_gcs_name_put(rayi_gcs *gcs, rayi_name_kind kind, const char *ns, const char *name, uint64_t id);
int rayi_gcs_name_get(const rayi_gcs *gcs, rayi_name_kind kind, const char *ns, const char *name, uint64_t *id);
/* Only if it is the name of this id; NOT_FOUND otherwise. */
int rayi_gcs_name_del(rayi_gcs *gcs, rayi_name_kind kind, const char *ns, const char *name, uint64_t id);

typedef struct rayi_gcs_name_row {
    const char *ns, *name;
    uint64_t id;
} rayi_gcs_name_row;
/* Calls fn for each, in order of ns and name. */
void rayi_gcs_names(rayi_gcs *gcs, rayi_name_kind kind, void (*fn)(void *arg, const rayi_gcs_name_row *row), void *arg);

/* ---- jobs and nodes, in order of their coming ---- */

#define RAYI_GCS_JOBS_MOST 10000 /* with those that have ended: with more the oldest of these are forgotten */

typedef struct rayi_gcs_job {
    const char *id, *ns;
    int64_t start_ms, end_ms; /* since 1970; end_ms 0: it runs */
    const char *driver;       /* the node that is its driver; NULL: not known */
} rayi_gcs_job;
int rayi_gcs_job_put(rayi_gcs *gcs, const rayi_gcs_job *job); /* adds, or replaces the one of that id. NO_MEMORY */
void rayi_gcs_jobs(const rayi_gcs *gcs, void (*fn)(void *arg, const rayi_gcs_job *job), void *arg);

typedef struct rayi_gcs_node {
    const char *id, *address, *labels, *resources; /* texts; address NULL: it listens nowhere */
    rayi_node_state state;
    bool is_head;
} rayi_gcs_node;
int rayi_gcs_node_put(rayi_gcs *gcs, const rayi_gcs_node *node); /* NO_MEMORY */
void rayi_gcs_nodes(const rayi_gcs *gcs, void (*fn)(void *arg, const rayi_gcs_node *node), void *arg);

#endif
