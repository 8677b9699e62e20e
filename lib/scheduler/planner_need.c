/* Needs and what they stand on: columns, kinds, and the tree that finds the best peer.
 *
 * A key depends on the clock in one way only: what ended recently lets a bound be higher, and that wears off. So a key
 * in a tree may be too good, never too bad; who takes the least one computes it again first. */
#include "scheduler/planner_inside.h"

#define SCORE_MAX    ((UINT64_C(1) << 29) - 1)
#define HALF_USED    (65536u / 2)
#define EMPTY_COSTS  (65536u / 1024) /* a task that asks for nothing */
#define SOON_US      10000           /* where our tasks are back that soon, it does no harm that others wait there */
#define SCORE_DEPTH  1024            /* a queue as deep as what fits */
#define LOG_PER_SLOT 2
#define AVERAGE_OVER 8
#define NO_RUN_YET   UINT32_MAX
#define QUICK_US     100000 /* what runs longer is not sent far ahead: where it waits it is stuck */

/* ---- columns ---- */

int rayi_planner_column_init(rayi_planner *planner, rayi_planner_column *column, size_t each_bytes)
{
    column->data = rayi_memory_zalloc(planner->memory, planner->room * each_bytes);
    if (!column->data)
        return RAY_ERR_NO_MEMORY;
    column->each_bytes = each_bytes;
    DL_APPEND(planner->columns, column);
    return 0;
}

void rayi_planner_column_fini(rayi_planner *planner, rayi_planner_column *column)
{
    if (!column->data)
        return;
    DL_DELETE(planner->columns, column);
    rayi_memory_free(planner->memory, column->data);
}

int rayi_planner_columns_grow(rayi_planner *planner)
{
    const rayi_memory *memory = planner->memory;
    size_t room = planner->room * (size_t)2;
    int r = 0;
    rayi_planner_column *column;
    DL_FOREACH (planner->columns, column) {
        column->spare = rayi_memory_zalloc(memory, room * column->each_bytes);
        if (!column->spare)
            r = RAY_ERR_NO_MEMORY;
    }
    DL_FOREACH (planner->columns, column) {
        if (r == 0) {
            memcpy(column->spare, column->data, planner->room * column->each_bytes);
            void *small = column->data;
            column->data = column->spare;
            column->spare = small;
        }
        rayi_memory_free(memory, column->spare);
        column->spare = NULL;
    }
    if (r)
        return r;
    planner->room = (uint32_t)room;
    for (rayi_planner_need *need = planner->needs; need; need = need->hh.next)
        need->stale = true; /* the tree has another shape, and the log another size */
    return 0;
}

/* ---- kinds ---- */

int rayi_planner_kind_get(rayi_planner *planner, const char *name, rayi_planner_kind **out)
{
    const rayi_memory *memory = planner->memory;
    size_t length = strlen(name);
    rayi_planner_kind *kind;
    HASH_FIND(hh, planner->kinds, name, length, kind);
    if (!kind) {
        kind = rayi_memory_zalloc(memory, sizeof *kind + length + 1);
        if (!kind)
            return RAY_ERR_NO_MEMORY;
        strcpy(kind->name, name);
        kind->serial = ++planner->serial;
        HASH_ADD_KEYPTR(hh, planner->kinds, kind->name, length, kind);
        if (!kind->hh.tbl) {
            rayi_memory_free(memory, kind);
            return RAY_ERR_NO_MEMORY;
        }
    }
    kind->refs++;
    *out = kind;
    return 0;
}

void rayi_planner_kind_unref(rayi_planner *planner, rayi_planner_kind *kind)
{
    if (!kind || --kind->refs)
        return;
    const rayi_memory *memory = planner->memory;
    HASH_DELETE(hh, planner->kinds, kind);
    rayi_memory_free(memory, kind);
}

/* ---- making needs ---- */

static void need_free(rayi_planner *planner, rayi_planner_need *need)
{
    const rayi_memory *memory = planner->memory;
    if (need->hh.tbl)
        HASH_DELETE(hh, planner->needs, need);
    for (uint32_t i = 0; i < need->count; i++)
        rayi_planner_kind_unref(planner, need->amounts[i].kind);
    rayi_planner_column_fini(planner, &need->tree);
    rayi_planner_column_fini(planner, &need->judged);
    rayi_planner_column_fini(planner, &need->here);
    rayi_selector_free(memory, need->selector);
    rayi_memory_free(memory, need->text);
    rayi_memory_free(memory, need);
}

static int fill_amounts(rayi_planner *planner, rayi_planner_need *need, const rayi_resources *resources)
{
    for (uint32_t i = 0; i < resources->count; i++) {
        rayi_planner_amount item = {.amount = resources->items[i].amount};
        if (rayi_planner_kind_get(planner, resources->items[i].name, &item.kind))
            return RAY_ERR_NO_MEMORY;
        uint32_t at = need->count++;
        for (; at > 0 && need->amounts[at - 1].kind->serial > item.kind->serial; at--)
            need->amounts[at] = need->amounts[at - 1];
        need->amounts[at] = item;
    }
    return 0;
}

static int fill_need(rayi_planner *planner, rayi_planner_need *need, const rayi_resources *resources,
                     const rayi_selector *selector, const char *text)
{
    const rayi_memory *memory = planner->memory;
    int r = fill_amounts(planner, need, resources);
    if (!r)
        r = rayi_planner_column_init(planner, &need->tree, 2 * sizeof(uint64_t));
    if (!r)
        r = rayi_planner_column_init(planner, &need->judged, sizeof(uint64_t));
    if (!r)
        r = rayi_planner_column_init(planner, &need->here, sizeof(uint32_t));
    if (!r && selector)
        r = rayi_selector_parse(memory, selector->text, &need->selector, NULL, 0);
    if (r)
        return r;
    size_t size = strlen(text) + 1;
    need->text = rayi_memory_alloc(memory, size + strlen(resources->text) + 1);
    if (!need->text)
        return RAY_ERR_NO_MEMORY;
    strcpy(need->text, text);
    need->resources = strcpy(need->text + size, resources->text);
    need->serial = ++planner->serial;
    need->stale = true;
    HASH_ADD_KEYPTR(hh, planner->needs, need->text, strlen(need->text), need);
    return need->hh.tbl ? 0 : RAY_ERR_NO_MEMORY;
}

static const char *need_text(rayi_planner *planner, const rayi_resources *resources, const rayi_selector *selector)
{
    if (!selector)
        return resources->text;
    rayi_text *text = &planner->scratch;
    text->failed = false; /* it is empty then */
    text->size = 0;
    rayi_text_add(text, resources->text);
    rayi_text_add(text, "\n");
    rayi_text_add(text, selector->text);
    return text->failed ? NULL : text->data;
}

int rayi_planner_need_get(rayi_planner *planner, const rayi_resources *resources, const rayi_selector *selector,
                          rayi_planner_need **out)
{
    if (selector && selector->count == 0)
        selector = NULL;
    const char *text = need_text(planner, resources, selector);
    if (!text)
        return RAY_ERR_NO_MEMORY;
    rayi_planner_need *need;
    HASH_FIND(hh, planner->needs, text, strlen(text), need);
    if (!need) {
        need = rayi_memory_zalloc(planner->memory, sizeof *need + resources->count * sizeof(rayi_planner_amount));
        if (!need)
            return RAY_ERR_NO_MEMORY;
        if (fill_need(planner, need, resources, selector, text)) {
            need_free(planner, need);
            return RAY_ERR_NO_MEMORY;
        }
    }
    need->refs++;
    *out = need;
    return 0;
}

void rayi_planner_need_unref(rayi_planner *planner, rayi_planner_need *need)
{
    if (--need->refs == 0)
        need_free(planner, need);
}

/* ---- keys ---- */

static bool judge(rayi_planner_need *need, const rayi_planner_peer *peer, uint32_t slot)
{
    uint64_t *judged = (uint64_t *)need->judged.data + slot;
    uint64_t version = peer ? peer->version : 0;
    if (*judged >> 1 != version) {
        bool could = peer && rayi_planner_peer_could(peer, need);
        need->feasible += could;
        need->feasible -= *judged & 1;
        *judged = version << 1 | could;
    }
    return *judged & 1;
}

static uint64_t make_key(rayi_planner_stage stage, uint64_t score, uint32_t slot)
{
    return (uint64_t)stage << 61 | RAYI_MIN(score, SCORE_MAX) << 32 | slot;
}

/* Below half used all are alike, and the first is taken; then the least used. */
static uint64_t fitting_key(const rayi_planner_need *need, const rayi_planner_peer *peer)
{
    uint64_t used = peer->used;
    if (need->count == 0)
        used = RAYI_MAX(used, (uint64_t)peer->outstanding * EMPTY_COSTS);
    return make_key(RAYI_PLANNER_FITS, used < HALF_USED ? 0 : used, peer->slot);
}

/* Where nothing more fits: how far ahead may be sent, and how deep is the queue? */
static uint64_t ahead_key(const rayi_planner_need *need, rayi_planner_peer *peer, int64_t now_ms)
{
    int32_t fitting = rayi_planner_peer_room(peer, need);
    if (fitting < 0 || peer->outstanding >= RAYI_PLANNER_AHEAD_MOST)
        return RAYI_PLANNER_NOT_AT_ALL;
    uint32_t room = (uint32_t)fitting, slow = room + 1;
    uint32_t fast = RAYI_MAX(slow, 2 * room + rayi_planner_peer_recent(peer, now_ms));
    bool few_wait = peer->foreign <= peer->cpus || peer->latency_us <= SOON_US;
    rayi_planner_stage stage;
    bool none_here = ((const uint32_t *)need->here.data)[peer->slot] == 0;
    if (few_wait && peer->outstanding < slow)
        stage = RAYI_PLANNER_AHEAD;
    else if (few_wait && peer->outstanding < fast)
        stage = none_here ? RAYI_PLANNER_FIRST_AHEAD : RAYI_PLANNER_FAR_AHEAD;
    else if (none_here)
        stage = RAYI_PLANNER_IN_LINE;
    else
        return RAYI_PLANNER_NOT_AT_ALL;
    return make_key(stage, ((uint64_t)peer->outstanding + peer->foreign) * SCORE_DEPTH / RAYI_MAX(1, room), peer->slot);
}

static uint64_t key_of(const rayi_planner *planner, rayi_planner_need *need, uint32_t slot)
{
    rayi_planner_peer *peer = rayi_planner_peer_at(planner, slot);
    if (!judge(need, peer, slot) || !rayi_planner_peer_may_serve(peer))
        return RAYI_PLANNER_NOT_AT_ALL;
    if (rayi_planner_peer_fits(peer, need))
        return fitting_key(need, peer);
    return peer->full ? RAYI_PLANNER_NOT_AT_ALL : ahead_key(need, peer, planner->now_ms);
}

/* ---- the tree ---- */

uint64_t rayi_planner_need_key(rayi_planner *planner, rayi_planner_need *need, uint32_t slot)
{
    uint64_t *tree = need->tree.data, key = key_of(planner, need, slot);
    size_t at = planner->room + slot;
    if (tree[at] == key)
        return key;
    need->version += key < tree[at];
    tree[at] = key;
    for (at /= 2; at >= 1; at /= 2) {
        uint64_t least = RAYI_MIN(tree[2 * at], tree[2 * at + 1]);
        if (tree[at] == least)
            break;
        tree[at] = least;
    }
    return key;
}

static void build(rayi_planner *planner, rayi_planner_need *need)
{
    uint64_t *tree = need->tree.data;
    for (uint32_t slot = 0; slot < planner->room; slot++)
        tree[planner->room + slot] = key_of(planner, need, slot);
    for (size_t at = planner->room - 1; at >= 1; at--)
        tree[at] = RAYI_MIN(tree[2 * at], tree[2 * at + 1]);
    need->version++;
    need->stale = false;
}

void rayi_planner_need_refresh(rayi_planner *planner, rayi_planner_need *need)
{
    const uint32_t *log = planner->log.data;
    uint32_t size = LOG_PER_SLOT * planner->room;
    if (need->stale || planner->log_end - need->read > size)
        build(planner, need);
    else
        for (uint64_t at = need->read; at < planner->log_end; at++)
            rayi_planner_need_key(planner, need, log[at & (size - 1)]);
    need->read = planner->log_end;
}

void rayi_planner_note_change(rayi_planner *planner, uint32_t slot)
{
    uint32_t size = LOG_PER_SLOT * planner->room;
    ((uint32_t *)planner->log.data)[planner->log_end++ & (size - 1)] = slot;
}

/* ---- functions ---- */

static void function_free(rayi_planner *planner, rayi_planner_function *function)
{
    const rayi_memory *memory = planner->memory;
    if (function->hh.tbl)
        HASH_DELETE(hh, planner->functions, function);
    rayi_planner_column_fini(planner, &function->lacks);
    rayi_memory_free(memory, function->name);
    rayi_memory_free(memory, function);
}

static int function_new(rayi_planner *planner, uint32_t number, const char *name, rayi_planner_function **out)
{
    const rayi_memory *memory = planner->memory;
    rayi_planner_function *function = rayi_memory_zalloc(memory, sizeof *function);
    if (!function)
        return RAY_ERR_NO_MEMORY;
    function->number = number;
    function->run_us = NO_RUN_YET;
    int r = rayi_planner_column_init(planner, &function->lacks, sizeof(bool));
    if (!r && name) {
        function->name = rayi_memory_strdup(memory, name);
        r = function->name ? 0 : RAY_ERR_NO_MEMORY;
    }
    if (!r) {
        HASH_ADD(hh, planner->functions, number, sizeof function->number, function);
        r = function->hh.tbl ? 0 : RAY_ERR_NO_MEMORY;
    }
    if (r)
        function_free(planner, function);
    else
        *out = function;
    return r;
}

int rayi_planner_function_get(rayi_planner *planner, uint32_t number, const char *name, rayi_planner_function **out)
{
    HASH_FIND(hh, planner->functions, &number, sizeof number, *out);
    int r = *out ? 0 : function_new(planner, number, name, out);
    if (!r)
        (*out)->refs++;
    return r;
}

void rayi_planner_function_unref(rayi_planner *planner, rayi_planner_function *function)
{
    if (--function->refs == 0)
        function_free(planner, function);
}

void rayi_planner_function_note_run(rayi_planner_function *function, uint32_t run_us)
{
    if (function->run_us == NO_RUN_YET)
        function->run_us = run_us;
    else
        function->run_us = (uint32_t)(((uint64_t)function->run_us * (AVERAGE_OVER - 1) + run_us) / AVERAGE_OVER);
}

bool rayi_planner_function_is_quick(const rayi_planner_function *function)
{
    return function->run_us < QUICK_US;
}

void rayi_planner_function_mark(rayi_planner_function *function, uint32_t slot, bool lacks)
{
    bool *mark = (bool *)function->lacks.data + slot;
    function->lacking += lacks;
    function->lacking -= *mark;
    *mark = lacks;
}
