/* What is to be done follows from what there is, object by object, for those of which something has changed. So no
 * event needs memory but a new node and a new object; without memory for one more keeper it is tried again later. */
#include "gcs/keepers.h"

#include "gcs/node.h"

typedef struct keeper {
    UT_hash_handle hh; /* by id; in order of coming */
    rayi_keeper is;
    uint64_t bytes; /* of what it keeps, or is asked to */
} keeper;

typedef enum holding_state { ASKED, KEPT, REFUSED } holding_state;

typedef struct holding { /* of one object, by one node */
    struct holding *prev, *next;
    keeper *who;
    holding_state state;
    uint64_t ask;
    uint32_t refusals;
    int64_t again_ms; /* REFUSED: not asked before; KEPT: not told to let go before */
} holding;

typedef struct object {
    UT_hash_handle hh;          /* by number */
    struct object *prev, *next; /* among those that something has changed of, while is_changed */
    holding *holdings;
    uint64_t number, size_bytes;
    uint32_t want, told_count, num_near;
    rayi_node_id near[RAYI_KEEPERS_NEAR_MOST];
    int64_t due_ms; /* when to look at it again */
    bool is_changed, is_removed, is_told, is_short;
} object;

struct rayi_keepers {
    const rayi_memory *memory;
    keeper *nodes;
    object *objects, *changed;
    uint64_t last_ask;
    int64_t due_ms; /* none is due before */
};

/* ---- making and unmaking ---- */

int rayi_keepers_new(const rayi_memory *memory, rayi_keepers **out)
{
    rayi_keepers *k = rayi_memory_zalloc(memory, sizeof *k);
    if (!k)
        return RAY_ERR_NO_MEMORY;
    k->memory = memory;
    k->due_ms = RAYI_NEVER;
    *out = k;
    return 0;
}

static void remove_holding(rayi_keepers *k, object *o, holding *h)
{
    if (h->state != REFUSED)
        h->who->bytes -= o->size_bytes;
    DL_DELETE(o->holdings, h);
    rayi_memory_free(k->memory, h);
}

static void free_object(rayi_keepers *k, object *o)
{
    const rayi_memory *memory = k->memory;
    while (o->holdings)
        remove_holding(k, o, o->holdings);
    if (o->is_changed)
        DL_DELETE(k->changed, o);
    HASH_DELETE(hh, k->objects, o);
    rayi_memory_free(memory, o);
}

void rayi_keepers_free(rayi_keepers *k)
{
    if (!k)
        return;
    const rayi_memory *memory = k->memory;
    while (k->objects)
        free_object(k, k->objects);
    for (keeper *n; (n = k->nodes);) {
        HASH_DELETE(hh, k->nodes, n);
        rayi_memory_free(memory, n);
    }
    rayi_memory_free(memory, k);
}

static void set_changed(rayi_keepers *k, object *o)
{
    if (!o->is_changed)
        DL_APPEND(k->changed, o);
    o->is_changed = true;
}

static holding *holding_of(const object *o, const keeper *who)
{
    holding *h;
    DL_FOREACH (o->holdings, h) {
        if (h->who == who)
            return h;
    }
    return NULL;
}

/* ---- nodes ---- */

static keeper *find_node(const rayi_keepers *k, const rayi_node_id *id)
{
    keeper *n;
    HASH_FIND(hh, k->nodes, id, sizeof *id, n);
    return n;
}

void rayi_keepers_gone(rayi_keepers *k, const rayi_node_id *id)
{
    const rayi_memory *memory = k->memory;
    keeper *n = find_node(k, id);
    if (!n)
        return;
    for (object *o = k->objects; o; o = o->hh.next) {
        holding *h = holding_of(o, n);
        if (!h)
            continue;
        remove_holding(k, o, h);
        set_changed(k, o);
    }
    HASH_DELETE(hh, k->nodes, n);
    rayi_memory_free(memory, n);
}

/* Those that it may matter to. */
static void node_changed(rayi_keepers *k, const keeper *n)
{
    for (object *o = k->objects; o; o = o->hh.next)
        if (o->is_short || holding_of(o, n))
            set_changed(k, o);
}

static bool is_same(const rayi_keeper *a, const rayi_keeper *b)
{
    return a->may_keep == b->may_keep && a->leaves == b->leaves && a->host == b->host && a->is_head == b->is_head;
}

int rayi_keepers_node(rayi_keepers *k, const rayi_keeper *node)
{
    const rayi_memory *memory = k->memory;
    keeper *n = find_node(k, &node->id);
    if (n && n->is.incarnation != node->incarnation) {
        rayi_keepers_gone(k, &node->id);
        n = NULL;
    }
    if (n && is_same(&n->is, node))
        return 0;
    if (!n) {
        n = rayi_memory_zalloc(memory, sizeof *n);
        if (!n)
            return RAY_ERR_NO_MEMORY;
        n->is.id = node->id;
        HASH_ADD(hh, k->nodes, is.id, sizeof n->is.id, n);
        if (!n->hh.tbl) {
            rayi_memory_free(memory, n);
            return RAY_ERR_NO_MEMORY;
        }
    }
    n->is = *node;
    node_changed(k, n);
    return 0;
}

/* ---- objects ---- */

static object *find_any(const rayi_keepers *k, uint64_t number)
{
    object *o;
    HASH_FIND(hh, k->objects, &number, sizeof number, o);
    return o;
}

static object *find_object(const rayi_keepers *k, uint64_t number)
{
    object *o = find_any(k, number);
    return o && !o->is_removed ? o : NULL;
}

int rayi_keepers_add(rayi_keepers *k, uint64_t number, uint32_t want, uint64_t size_bytes, const rayi_node_id *near,
                     uint32_t near_count)
{
    const rayi_memory *memory = k->memory;
    object *o = rayi_memory_zalloc(memory, sizeof *o);
    RAYI_ASSERT(want > 0);
    if (!o)
        return RAY_ERR_NO_MEMORY;
    o->number = number;
    o->want = want;
    o->size_bytes = size_bytes;
    o->due_ms = RAYI_NEVER;
    o->num_near = RAYI_MIN(near_count, RAYI_KEEPERS_NEAR_MOST);
    if (o->num_near)
        memcpy(o->near, near, o->num_near * sizeof *near);
    HASH_ADD(hh, k->objects, number, sizeof o->number, o);
    if (!o->hh.tbl) {
        rayi_memory_free(memory, o);
        return RAY_ERR_NO_MEMORY;
    }
    set_changed(k, o);
    return 0;
}

void rayi_keepers_remove(rayi_keepers *k, uint64_t number)
{
    object *o = find_object(k, number);
    if (!o)
        return;
    o->is_removed = true;
    set_changed(k, o);
}

static holding *find_asked(const object *o, uint64_t ask)
{
    holding *h;
    DL_FOREACH (o->holdings, h) {
        if (h->state == ASKED && h->ask == ask)
            return h;
    }
    return NULL;
}

void rayi_keepers_kept(rayi_keepers *k, uint64_t number, uint64_t ask)
{
    object *o = find_object(k, number);
    holding *h = o ? find_asked(o, ask) : NULL;
    if (!h)
        return;
    h->state = KEPT;
    h->refusals = 0;
    h->again_ms = 0;
    set_changed(k, o);
}

void rayi_keepers_refused(rayi_keepers *k, uint64_t number, uint64_t ask, int64_t now_ms)
{
    object *o = find_object(k, number);
    holding *h = o ? find_asked(o, ask) : NULL;
    if (!h)
        return;
    h->state = REFUSED;
    h->again_ms =
        now_ms + RAYI_MIN((int64_t)RAYI_KEEPERS_AGAIN_MS << RAYI_MIN(h->refusals, 16U), RAYI_KEEPERS_PATIENT_MS);
    h->refusals++;
    h->who->bytes -= o->size_bytes;
    set_changed(k, o);
}

void rayi_keepers_unsaid(rayi_keepers *k, uint64_t number, const rayi_node_id *node, int64_t now_ms)
{
    object *o = find_any(k, number);
    keeper *n = find_node(k, node);
    holding *h = o && n && !holding_of(o, n) ? rayi_memory_zalloc(k->memory, sizeof *h) : NULL;
    if (!h)
        return;
    h->who = n;
    h->state = KEPT;
    h->again_ms = now_ms + RAYI_KEEPERS_AGAIN_MS;
    n->bytes += o->size_bytes;
    DL_APPEND(o->holdings, h);
    set_changed(k, o);
}

/* ---- time ---- */

void rayi_keepers_tick(rayi_keepers *k, int64_t now_ms)
{
    if (now_ms < k->due_ms)
        return;
    k->due_ms = RAYI_NEVER;
    for (object *o = k->objects; o; o = o->hh.next) {
        if (o->due_ms <= now_ms)
            set_changed(k, o);
        else
            k->due_ms = RAYI_MIN(k->due_ms, o->due_ms);
    }
}

int64_t rayi_keepers_next_deadline(const rayi_keepers *k)
{
    return k->due_ms;
}

static void look_again(rayi_keepers *k, object *o, int64_t at_ms)
{
    o->due_ms = RAYI_MIN(o->due_ms, at_ms);
    k->due_ms = RAYI_MIN(k->due_ms, at_ms);
}

/* ---- who is to keep it ---- */

static bool is_near(const object *o, const keeper *n)
{
    for (uint32_t i = 0; i < o->num_near; i++)
        if (memcmp(&o->near[i], &n->is.id, sizeof n->is.id) == 0)
            return true;
    return false;
}

static bool is_on_host(const object *o, uint64_t host)
{
    const holding *h;
    DL_FOREACH (o->holdings, h) {
        if (h->state != REFUSED && h->who->is.host == host)
            return true;
    }
    return false;
}

/* The larger the better, but for the bytes. */
static unsigned rank(const object *o, const keeper *n)
{
    return (is_near(o, n) ? 4U : 0) | (!is_on_host(o, n->is.host) ? 2U : 0) | (!n->is.is_head ? 1U : 0);
}

/* NULL: nobody, now. */
static keeper *choose(rayi_keepers *k, object *o, int64_t now_ms)
{
    keeper *best = NULL;
    unsigned best_rank = 0;
    for (keeper *n = k->nodes; n; n = n->hh.next) {
        const holding *h = holding_of(o, n);
        if (!n->is.may_keep || n->is.leaves || (h && h->state != REFUSED))
            continue;
        if (h && h->again_ms > now_ms) {
            look_again(k, o, h->again_ms);
            continue;
        }
        unsigned its = rank(o, n);
        if (best && (its < best_rank || (its == best_rank && n->bytes >= best->bytes)))
            continue;
        best = n;
        best_rank = its;
    }
    return best;
}

/* ---- actions ---- */

static bool ask(rayi_keepers *k, object *o, keeper *n, int64_t now_ms, rayi_keepers_action *out)
{
    holding *h = holding_of(o, n);
    if (!h) {
        h = rayi_memory_zalloc(k->memory, sizeof *h);
        if (!h) {
            look_again(k, o, now_ms + RAYI_KEEPERS_AGAIN_MS);
            return false;
        }
        h->who = n;
        DL_APPEND(o->holdings, h);
    }
    h->state = ASKED;
    h->again_ms = 0;
    h->ask = ++k->last_ask;
    n->bytes += o->size_bytes;
    *out = (rayi_keepers_action){.what = RAYI_KEEPERS_KEEP, .number = o->number, .ask = h->ask, .node = n->is.id};
    return true;
}

static bool let_go(rayi_keepers *k, object *o, holding *h, rayi_keepers_action *out)
{
    *out = (rayi_keepers_action){.what = RAYI_KEEPERS_LET_GO, .number = o->number, .node = h->who->is.id};
    remove_holding(k, o, h);
    return true;
}

/* False: not yet. */
static bool may_let_go(rayi_keepers *k, object *o, const holding *h, int64_t now_ms)
{
    if (h->again_ms > now_ms)
        look_again(k, o, h->again_ms);
    return h->again_ms <= now_ms;
}

static bool next_removed(rayi_keepers *k, object *o, int64_t now_ms, rayi_keepers_action *out)
{
    holding *h, *next;
    bool waits = false;
    o->due_ms = RAYI_NEVER;
    DL_FOREACH_SAFE(o->holdings, h, next)
    {
        if (h->state == REFUSED)
            continue;
        if (may_let_go(k, o, h, now_ms))
            return let_go(k, o, h, out);
        waits = true;
    }
    if (!waits)
        free_object(k, o);
    return false;
}

typedef struct counts {
    uint32_t kept, asked, leaving; /* leaving: that keep it, and are not among kept */
    holding *leaves;               /* one that leaves: that is asked, or else that keeps it */
} counts;

static counts count(const object *o)
{
    counts c = {0};
    holding *h;
    DL_FOREACH (o->holdings, h) {
        if (h->state == REFUSED)
            continue;
        if (!h->who->is.leaves) {
            c.kept += h->state == KEPT;
            c.asked += h->state == ASKED;
            continue;
        }
        c.leaving += h->state == KEPT;
        if (!c.leaves || h->state == ASKED)
            c.leaves = h;
    }
    return c;
}

/* False: nothing, until something changes. */
static bool next_of(rayi_keepers *k, object *o, int64_t now_ms, rayi_keepers_action *out)
{
    counts c = count(o);
    if (c.leaves && c.leaves->state == ASKED)
        return let_go(k, o, c.leaves, out);
    o->is_short = c.kept < o->want;
    o->due_ms = RAYI_NEVER;
    keeper *more = c.kept + c.asked < o->want ? choose(k, o, now_ms) : NULL;
    if (more && ask(k, o, more, now_ms, out))
        return true;
    if (c.leaves && c.kept > 0 && c.asked == 0 && may_let_go(k, o, c.leaves, now_ms))
        return let_go(k, o, c.leaves, out);
    uint32_t total = c.kept + c.leaving;
    if (c.asked > 0 || (o->is_told && o->told_count == total))
        return false;
    *out = (rayi_keepers_action){
        .what = RAYI_KEEPERS_SETTLED, .number = o->number, .count = total, .want = o->want, .is_first = !o->is_told};
    o->is_told = true;
    o->told_count = total;
    return true;
}

bool rayi_keepers_next(rayi_keepers *k, int64_t now_ms, rayi_keepers_action *out)
{
    for (object *o; (o = k->changed);) {
        if (o->is_removed ? next_removed(k, o, now_ms, out) : next_of(k, o, now_ms, out))
            return true;
        if (k->changed != o) /* it is gone */
            continue;
        DL_DELETE(k->changed, o);
        o->is_changed = false;
    }
    return false;
}

/* ---- what there is ---- */

uint32_t rayi_keepers_each(const rayi_keepers *k, uint64_t number, void (*fn)(void *arg, const rayi_node_id *node),
                           void *arg, uint32_t *want)
{
    const object *o = find_object(k, number);
    uint32_t count = 0;
    const holding *h;
    if (!o)
        return 0;
    DL_FOREACH (o->holdings, h) {
        if (h->state != KEPT)
            continue;
        fn(arg, &h->who->is.id);
        count++;
    }
    *want = o->want;
    return count;
}
