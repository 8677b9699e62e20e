/* The groups of one owner, and the nodes as they are known. What is reserved where, attempt by attempt: bundles.h.
 *
 * What a node has left for us is what a table says is available, less what parts hold that the table cannot have
 * counted: those that are asked for, and those reserved since the table before the last. It may be wrong either way.
 * That costs an attempt, not more: what is reserved is for the node's own scheduler to say. */
#include "scheduler/bundles_inside.h"

#define CALM_MS       20 /* between two looks for a place */
#define EXPONENT_MOST 6

typedef rayi_bundles_part part;
typedef rayi_bundles_item item;
typedef rayi_bundles_node node;
typedef rayi_bundles_bundle bundle;
typedef rayi_bundles_group group;

static enum rayi_bundles_state state_next(enum rayi_bundles_state from, enum rayi_bundles_state to)
{
    RAYI_ASSERT(from != to && !(from == RAYI_BUNDLES_IS_PLACED && to == RAYI_BUNDLES_IS_TRYING) &&
                !(from == RAYI_BUNDLES_IS_WAITING && to == RAYI_BUNDLES_IS_PLACED));
    return to;
}

static void move_to(rayi_bundles *b, group *g, enum rayi_bundles_state to)
{
    b->waiting += (g->state == RAYI_BUNDLES_IS_PLACED) - (to == RAYI_BUNDLES_IS_PLACED);
    g->state = state_next(g->state, to);
}

static void pass(rayi_bundles *b, int64_t now_ms)
{
    b->now_ms = RAYI_MAX(b->now_ms, now_ms);
}

uint64_t rayi_bundles_draw(rayi_bundles *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    return b->random ^= b->random << 17;
}

int rayi_bundles_new(const rayi_memory *memory, uint64_t seed, rayi_bundles **out)
{
    rayi_bundles *b = rayi_memory_zalloc(memory, sizeof *b);
    if (!b)
        return RAY_ERR_NO_MEMORY;
    b->memory = memory;
    b->random = seed ? seed : 1;
    b->version = 1;
    b->now_ms = b->release_ms = INT64_MIN / 2; /* clocks begin anywhere */
    *out = b;
    return 0;
}

static node *find_node(const rayi_bundles *b, const rayi_planner_id *id)
{
    node *n;
    HASH_FIND(hh, b->nodes, id, sizeof *id, n);
    return n;
}

static group *find_group(const rayi_bundles *b, uint64_t id)
{
    group *g;
    HASH_FIND(hh, b->by_id, &id, sizeof id, g);
    return g;
}

/* ---- parts ---- */

static void leave_node(part *p)
{
    if (p->node)
        DL_DELETE2(p->node->parts, p, on_prev, on_next);
    p->node = NULL;
}

/* Takes a part from its group. Its node hears of that if it was asked and is there. */
static void give_back(rayi_bundles *b, part *p)
{
    bool is_told = p->is_asked && p->node;
    for (uint32_t i = 0; p->is_settled && i < p->count; i++)
        p->group->bundles[p->numbers[i] - 1].part = NULL;
    leave_node(p);
    b->version++;
    DL_DELETE(p->group->parts, p);
    if (is_told)
        DL_APPEND(b->releases, p);
    else
        rayi_memory_free(b->memory, p);
}

static void note_shy(group *g, const rayi_planner_id *id)
{
    g->shy[g->shy_count++ % RAYI_BUNDLES_SHY_MOST] = *id;
}

static int64_t grown(int64_t first, int64_t most, uint32_t failures)
{
    return RAYI_MIN(first << RAYI_MIN(failures, EXPONENT_MOST), most);
}

static void fail(rayi_bundles *b, group *g)
{
    part *p, *next;
    int64_t pause = grown(RAYI_BUNDLES_PAUSE_MS, RAYI_BUNDLES_PAUSE_MOST, g->failures++);
    DL_FOREACH_SAFE(g->parts, p, next)
    {
        if (p->is_settled)
            continue;
        if (!p->is_reserved)
            note_shy(g, &p->id);
        give_back(b, p);
    }
    move_to(b, g, RAYI_BUNDLES_IS_WAITING);
    g->due_ms = b->now_ms + pause / 2 + (int64_t)(rayi_bundles_draw(b) % (uint64_t)pause);
    g->seen = 0;
}

static bool has_all(const group *g)
{
    for (uint32_t i = 0; i < g->count; i++)
        if (!g->bundles[i].part)
            return false;
    return true;
}

static void wait_from_now(rayi_bundles *b, group *g)
{
    g->since_ms = g->due_ms = b->now_ms;
    g->judge_ms = b->now_ms + RAYI_SCHEDULER_WARN_MS;
    g->seen = 0;
    g->seen_late = false;
    g->failures = g->shy_count = 0;
}

/* All parts are reserved. */
static void settle(rayi_bundles *b, group *g)
{
    part *p;
    DL_FOREACH (g->parts, p) {
        for (uint32_t i = 0; !p->is_settled && i < p->count; i++) {
            g->bundles[p->numbers[i] - 1].part = p;
            g->bundles[p->numbers[i] - 1].number = i + 1;
        }
        p->is_settled = true;
    }
    if (has_all(g)) {
        move_to(b, g, RAYI_BUNDLES_IS_PLACED);
        g->is_placed = b->is_stirred = true;
        g->is_lost = false;
    } else { /* another node has gone meanwhile */
        move_to(b, g, RAYI_BUNDLES_IS_WAITING);
        wait_from_now(b, g);
    }
}

/* One that is asked for, of that node. */
static part *find_part(const rayi_bundles *b, const rayi_planner_id *by, uint64_t number)
{
    for (group *g = b->groups; g; g = g->next) {
        part *p;
        if (g->state != RAYI_BUNDLES_IS_TRYING)
            continue;
        DL_FOREACH (g->parts, p) {
            if (p->number == number)
                return p->is_asked && memcmp(&p->id, by, sizeof *by) == 0 ? p : NULL;
        }
    }
    return NULL;
}

void rayi_bundles_reserved(rayi_bundles *b, const rayi_planner_id *by, uint64_t number, int64_t now_ms)
{
    part *p = find_part(b, by, number), *other;
    pass(b, now_ms);
    if (!p || p->is_reserved)
        return;
    p->is_reserved = true;
    DL_FOREACH (p->group->parts, other) {
        if (!other->is_reserved)
            return;
    }
    settle(b, p->group);
}

void rayi_bundles_refused(rayi_bundles *b, const rayi_planner_id *by, uint64_t number, int64_t now_ms)
{
    part *p = find_part(b, by, number);
    pass(b, now_ms);
    if (!p || p->is_reserved)
        return;
    p->is_asked = false; /* it has nothing to give back */
    fail(b, p->group);
}

/* ---- nodes ---- */

static int copy_items(rayi_bundles *b, const rayi_planner_node *from, item **out)
{
    size_t size = 1;
    for (uint32_t i = 0; i < from->resource_count; i++)
        size += sizeof(item) + strlen(from->resources[i].name) + 1;
    item *items = rayi_memory_alloc(b->memory, size);
    if (!items)
        return RAY_ERR_NO_MEMORY;
    char *room = (char *)(items + from->resource_count);
    for (uint32_t i = 0; i < from->resource_count; i++) {
        const rayi_planner_resource *r = &from->resources[i];
        items[i] = (item){.name = strcpy(room, r->name),
                          .total = RAYI_MIN(r->total, RAYI_RESOURCE_AMOUNT_MAX),
                          .available = RAYI_MIN(r->available, RAYI_RESOURCE_AMOUNT_MAX)};
        room += strlen(room) + 1;
    }
    *out = items;
    return 0;
}

static bool is_as_before(const node *n, const rayi_planner_node *now)
{
    if (n->flags != now->flags || n->count != now->resource_count)
        return false;
    for (uint32_t i = 0; i < n->count; i++)
        if (n->items[i].total != now->resources[i].total || n->items[i].available != now->resources[i].available ||
            strcmp(n->items[i].name, now->resources[i].name) != 0)
            return false;
    return true;
}

static void count_table(rayi_bundles *b, node *n)
{
    part *p;
    DL_FOREACH2(n->parts, p, on_next)
    {
        if (!p->is_reserved || rayi_bundles_is_counted(p))
            continue;
        p->tables++;
        b->version += rayi_bundles_is_counted(p);
    }
}

static node *add_node(rayi_bundles *b, const rayi_planner_id *id)
{
    const rayi_memory *memory = b->memory;
    node *n = rayi_memory_zalloc(memory, sizeof *n);
    if (!n)
        return NULL;
    n->id = *id;
    HASH_ADD(hh, b->nodes, id, sizeof n->id, n);
    if (n->hh.tbl)
        return n;
    rayi_memory_free(memory, n);
    return NULL;
}

int rayi_bundles_node_put(rayi_bundles *b, const rayi_planner_node *now, int64_t now_ms)
{
    node *n = find_node(b, &now->id);
    pass(b, now_ms);
    if (!n || !is_as_before(n, now)) {
        item *items;
        int r = copy_items(b, now, &items);
        if (r == 0 && !n && !(n = add_node(b, &now->id))) {
            rayi_memory_free(b->memory, items);
            r = RAY_ERR_NO_MEMORY;
        }
        if (r)
            return r;
        rayi_memory_free(b->memory, n->items);
        n->items = items;
        n->count = now->resource_count;
        n->flags = now->flags;
        b->version++;
    }
    count_table(b, n);
    return 0;
}

/* What the group had there is no more. */
static void lose(rayi_bundles *b, part *p)
{
    group *g = p->group;
    bool was_settled = p->is_settled;
    leave_node(p);
    if (!was_settled) {
        fail(b, g);
        return;
    }
    give_back(b, p);
    g->is_lost = b->is_stirred = true;
    g->is_placed = false;
    if (g->state == RAYI_BUNDLES_IS_PLACED) {
        move_to(b, g, RAYI_BUNDLES_IS_WAITING);
        wait_from_now(b, g);
    }
}

void rayi_bundles_node_gone(rayi_bundles *b, const rayi_planner_id *id, int64_t now_ms)
{
    const rayi_memory *memory = b->memory;
    node *n = find_node(b, id);
    part *p, *next;
    pass(b, now_ms);
    if (!n)
        return;
    while (n->parts)
        lose(b, n->parts);
    DL_FOREACH_SAFE(b->releases, p, next)
    {
        if (memcmp(&p->id, id, sizeof *id) != 0)
            continue;
        DL_DELETE(b->releases, p);
        rayi_memory_free(memory, p);
    }
    HASH_DEL(b->nodes, n);
    rayi_memory_free(memory, n->items);
    rayi_memory_free(memory, n);
    b->version++;
}

/* ---- groups ---- */

/* The number of a kind among the group's, which it joins if it is new there. */
static uint32_t kind_of(group *g, const char *name)
{
    uint32_t k = 0;
    while (k < g->kinds && strcmp(g->names[k], name) != 0)
        k++;
    if (k == g->kinds)
        g->names[g->kinds++] = name;
    return k;
}

static uint32_t count_kinds(const rayi_bundles *b, const rayi_scheduler_group *from, uint32_t *out)
{
    group *g = rayi_memory_zalloc(b->memory, sizeof *g);
    uint32_t room = 0, *count = out;
    for (uint32_t i = 0; i < from->bundle_count; i++)
        room += from->bundles[i]->count;
    if (g)
        g->names = rayi_memory_alloc(b->memory, room * sizeof *g->names + 1);
    bool ok = g && g->names;
    for (uint32_t i = 0; ok && i < from->bundle_count; i++)
        for (uint32_t k = 0; k < from->bundles[i]->count; k++)
            (void)kind_of(g, from->bundles[i]->items[k].name);
    *count = ok ? g->kinds : 0;
    if (g)
        rayi_memory_free(b->memory, (void *)g->names);
    rayi_memory_free(b->memory, g);
    return ok;
}

static char *keep(char **room, const char *text)
{
    char *kept = strcpy(*room, text);
    *room += strlen(text) + 1;
    return kept;
}

/* One block. Names of kinds are the bundles' own at first, then copies. */
static group *copy_group(const rayi_bundles *b, const rayi_scheduler_group *from)
{
    uint32_t kinds, count = from->bundle_count;
    if (!count_kinds(b, from, &kinds))
        return NULL;
    size_t size = sizeof(group) + count * (sizeof(bundle) + kinds * sizeof(int64_t)) + kinds * sizeof(char *);
    size_t texts = from->name ? strlen(from->name) + 1 : 0;
    for (uint32_t i = 0; i < count; i++)
        texts += strlen(from->bundles[i]->text) + 1;
    group *g = rayi_memory_zalloc(b->memory, size + texts + (size_t)kinds * (RAYI_RESOURCE_NAME_MAX + 1));
    if (!g)
        return NULL;
    int64_t *amounts = (int64_t *)(void *)(g->bundles + count);
    g->names = (const char **)(void *)(amounts + (size_t)count * kinds);
    char *room = (char *)(g->names + kinds);
    for (uint32_t i = 0; i < count; i++, amounts += kinds) {
        const rayi_resources *one = from->bundles[i];
        g->bundles[i] = (bundle){.amounts = amounts, .text = keep(&room, one->text)};
        for (uint32_t k = 0; k < one->count; k++)
            amounts[kind_of(g, one->items[k].name)] = one->items[k].amount;
    }
    for (uint32_t k = 0; k < kinds; k++)
        g->names[k] = keep(&room, g->names[k]);
    g->name = from->name ? keep(&room, from->name) : NULL;
    g->id = from->id;
    g->strategy = from->strategy;
    g->count = count;
    return g;
}

int rayi_bundles_add(rayi_bundles *b, const rayi_scheduler_group *from, int64_t now_ms)
{
    const rayi_memory *memory = b->memory;
    RAYI_ASSERT(from->bundle_count > 0 && !find_group(b, from->id));
    group *g = copy_group(b, from);
    if (!g)
        return RAY_ERR_NO_MEMORY;
    HASH_ADD(hh, b->by_id, id, sizeof g->id, g);
    if (!g->hh.tbl) {
        rayi_memory_free(memory, g);
        return RAY_ERR_NO_MEMORY;
    }
    pass(b, now_ms);
    DL_APPEND(b->groups, g);
    b->waiting++;
    wait_from_now(b, g);
    return 0;
}

static void free_group(rayi_bundles *b, group *g)
{
    const rayi_memory *memory = b->memory;
    while (g->parts)
        give_back(b, g->parts);
    HASH_DELETE(hh, b->by_id, g);
    DL_DELETE(b->groups, g);
    b->waiting -= g->state != RAYI_BUNDLES_IS_PLACED;
    rayi_memory_free(memory, g);
}

bool rayi_bundles_remove(rayi_bundles *b, uint64_t id, int64_t now_ms)
{
    group *g = find_group(b, id);
    pass(b, now_ms);
    if (g)
        free_group(b, g);
    return g != NULL;
}

void rayi_bundles_free(rayi_bundles *b)
{
    const rayi_memory *memory = b->memory;
    part *p, *next_part;
    node *n, *next;
    while (b->groups)
        free_group(b, b->groups);
    DL_FOREACH_SAFE(b->releases, p, next_part)
    rayi_memory_free(memory, p);
    rayi_memory_free(memory, b->told);
    HASH_ITER (hh, b->nodes, n, next) {
        HASH_DEL(b->nodes, n);
        rayi_memory_free(memory, n->items);
        rayi_memory_free(memory, n);
    }
    rayi_memory_free(memory, b);
}

/* ---- attempts ---- */

static bool has_waited(const rayi_bundles *b, const group *g)
{
    return b->now_ms - g->since_ms >= RAYI_SCHEDULER_DRAIN_MS;
}

/* True: it has found places. */
static bool attempt(rayi_bundles *b, group *g)
{
    bool late = has_waited(b, g);
    int r = rayi_bundles_look(b, g, late);
    if (r > 0) {
        move_to(b, g, RAYI_BUNDLES_IS_TRYING);
        g->due_ms = b->now_ms + grown(RAYI_BUNDLES_SPAN_MS, RAYI_BUNDLES_SPAN_MOST, g->failures);
    } else {
        g->due_ms = b->now_ms + CALM_MS;
    }
    if (r == 0) {
        g->seen = b->version;
        g->seen_late = late;
    }
    return r > 0;
}

/* When a look could find another answer than the last one. */
static int64_t next_look(const rayi_bundles *b, const group *g)
{
    int64_t late = g->since_ms + RAYI_SCHEDULER_DRAIN_MS;
    if (g->seen != b->version)
        return g->due_ms;
    return g->seen_late ? INT64_MAX : RAYI_MAX(late, g->due_ms);
}

/* True: there is something to say. */
static bool judge(rayi_bundles *b, group *g)
{
    g->was_warned = rayi_bundles_could(b, g) == 0;
    g->judge_ms = b->now_ms + RAYI_SCHEDULER_WARN_MS;
    return g->was_warned;
}

/* ---- time and actions ---- */

void rayi_bundles_tick(rayi_bundles *b, int64_t now_ms)
{
    pass(b, now_ms);
}

int64_t rayi_bundles_wake_ms(const rayi_bundles *b)
{
    int64_t next = b->releases ? b->release_ms : INT64_MAX;
    for (const group *g = b->waiting ? b->groups : NULL; g; g = g->next) {
        if (g->state == RAYI_BUNDLES_IS_TRYING)
            next = RAYI_MIN(next, g->due_ms);
        else if (g->state == RAYI_BUNDLES_IS_WAITING)
            next = RAYI_MIN(next, next_look(b, g));
        if (g->state == RAYI_BUNDLES_IS_WAITING && !g->was_warned)
            next = RAYI_MIN(next, g->judge_ms);
    }
    return next;
}

static bool fetch_release(rayi_bundles *b, rayi_bundles_action *out)
{
    part *p = b->releases;
    if (!p || b->now_ms < b->release_ms)
        return false;
    DL_DELETE(b->releases, p);
    b->told = p;
    *out = (rayi_bundles_action){.what = RAYI_BUNDLES_RELEASE, .part = p->number, .node = p->id};
    return true;
}

void rayi_bundles_not_released(rayi_bundles *b, int64_t now_ms)
{
    pass(b, now_ms);
    RAYI_ASSERT(b->told);
    DL_APPEND(b->releases, b->told);
    b->told = NULL;
    b->release_ms = b->now_ms + CALM_MS;
}

static bool fetch_reserve(group *g, rayi_bundles_action *out)
{
    part *p;
    DL_FOREACH (g->parts, p) {
        if (p->is_asked)
            continue;
        p->is_asked = true;
        *out = (rayi_bundles_action){.what = RAYI_BUNDLES_RESERVE,
                                     .group = g->id,
                                     .part = p->number,
                                     .node = p->id,
                                     .numbers = p->numbers,
                                     .count = p->count};
        return true;
    }
    return false;
}

static bool fetch_of(rayi_bundles *b, group *g, rayi_bundles_action *out)
{
    *out = (rayi_bundles_action){.group = g->id};
    if (g->is_lost || g->is_placed) {
        out->what = g->is_lost ? RAYI_BUNDLES_LOST : RAYI_BUNDLES_PLACED;
        *(g->is_lost ? &g->is_lost : &g->is_placed) = false;
        return true;
    }
    if (g->state == RAYI_BUNDLES_IS_TRYING && b->now_ms >= g->due_ms)
        fail(b, g);
    if (g->state == RAYI_BUNDLES_IS_WAITING && b->now_ms >= next_look(b, g))
        (void)attempt(b, g);
    if (g->state == RAYI_BUNDLES_IS_TRYING && fetch_reserve(g, out))
        return true;
    if (g->state == RAYI_BUNDLES_IS_WAITING && !g->was_warned && b->now_ms >= g->judge_ms && judge(b, g)) {
        *out = (rayi_bundles_action){.what = RAYI_BUNDLES_WARN, .group = g->id, .message = b->message};
        return true;
    }
    return false;
}

bool rayi_bundles_next(rayi_bundles *b, rayi_bundles_action *out)
{
    rayi_memory_free(b->memory, b->told);
    b->told = NULL;
    if (fetch_release(b, out))
        return true;
    if (b->waiting == 0 && !b->is_stirred)
        return false;
    for (group *g = b->groups; g; g = g->next)
        if (fetch_of(b, g, out))
            return true;
    b->is_stirred = false;
    return fetch_release(b, out); /* of an attempt that has failed meanwhile */
}

bool rayi_bundles_place(const rayi_bundles *b, uint64_t id, uint32_t number, rayi_bundle_place *out)
{
    const group *g = find_group(b, id);
    const bundle *one = g && number > 0 && number <= g->count ? &g->bundles[number - 1] : NULL;
    if (!one || !one->part)
        return false;
    *out = (rayi_bundle_place){.node = one->part->id, .part = one->part->number, .number = one->number};
    return true;
}

uint32_t rayi_bundles_waiting(const rayi_bundles *b)
{
    return b->waiting;
}
