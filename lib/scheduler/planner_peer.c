/* Peers: what the nodes of the cluster have, and what of it is ours.
 *
 * A table is a little old when it comes: since it was made, tasks of ours have gone there and ended. What others use is
 * what the table says is used less what we had there when it was made, which is between the least and the most we had
 * since the table before. The most is believed, as an idle node costs more than a task that has to wait; but if even
 * the least is more than all that is used, and there is something left to use, tasks of ours there are blocked and have
 * lent what they hold: that is to be used, too, or tasks that wait for tasks would wait for ever. */
#include "scheduler/planner_inside.h"

#define UNIT           RAYI_RESOURCE_UNIT
#define USED_ONE       65536
#define USED_MOST      (1 << 24)
#define NOT_ANY_MORE   UINT32_MAX
#define AVERAGE_OVER   8
#define FIXED_FLAGS    (RAYI_PLANNER_SUSPECT | RAYI_PLANNER_DRAINED | RAYI_PLANNER_DRIVER | RAYI_PLANNER_NO_WORK)
#define NO_LATENCY_YET UINT32_MAX

rayi_planner_peer *rayi_planner_peer_find(const rayi_planner *planner, const rayi_planner_id *id)
{
    rayi_planner_peer *peer;
    HASH_FIND(hh, planner->peers, id, sizeof *id, peer);
    return peer;
}

/* ---- accounts ---- */

static void note_used(rayi_planner_account *account)
{
    double used = account->total ? (double)(account->others + account->ours) / (double)account->total : 0;
    account->used = used <= 0 ? 0 : (uint32_t)RAYI_MIN(used * USED_ONE, (double)USED_MOST);
}

static void sum_used(rayi_planner_peer *peer)
{
    peer->used = 0;
    for (uint32_t i = 0; i < peer->account_count; i++)
        peer->used = RAYI_MAX(peer->used, peer->accounts[i].used);
}

rayi_planner_account *rayi_planner_peer_account(const rayi_planner_peer *peer, const rayi_planner_kind *kind)
{
    for (uint32_t i = 0; i < peer->account_count; i++)
        if (peer->accounts[i].kind == kind)
            return &peer->accounts[i];
    return NULL;
}

static int64_t left(const rayi_planner_account *account)
{
    return account->total - account->others - account->ours;
}

/* What others use, from what is available as a table says. True: it was not known. */
static bool note_available(rayi_planner_account *account, int64_t available, bool self)
{
    if (self) /* what it says is of this moment */
        account->ours_min = account->ours_max = account->ours;
    available = RAYI_MAX(-account->total, RAYI_MIN(available, account->total));
    int64_t used = account->total - available, before = account->others;
    if (used < account->ours_min && available > 0)
        account->others = used - account->ours_min;
    else
        account->others = RAYI_MAX(0, used - account->ours_max);
    account->ours_min = account->ours_max = account->ours;
    note_used(account);
    return account->others != before;
}

/* Both are in order of their kinds' serials, and the peer has all that the need asks for. */
static void move(rayi_planner_peer *peer, const rayi_planner_need *need, int sign)
{
    rayi_planner_account *account = peer->accounts;
    for (uint32_t i = 0; i < need->count; i++) {
        while (account->kind != need->amounts[i].kind)
            account++;
        account->ours += sign * need->amounts[i].amount;
        account->ours_min = RAYI_MIN(account->ours_min, account->ours);
        account->ours_max = RAYI_MAX(account->ours_max, account->ours);
        note_used(account);
    }
    sum_used(peer);
}

void rayi_planner_peer_take(rayi_planner *planner, rayi_planner_peer *peer, rayi_planner_need *need)
{
    move(peer, need, 1);
    ((uint32_t *)need->here.data)[peer->slot]++;
    peer->outstanding++;
    peer->outstanding_max = RAYI_MAX(peer->outstanding_max, peer->outstanding);
    rayi_planner_note_change(planner, peer->slot);
}

void rayi_planner_peer_give(rayi_planner *planner, rayi_planner_peer *peer, rayi_planner_need *need)
{
    RAYI_ASSERT(peer->outstanding);
    peer->outstanding--;
    if (peer->gone) {
        if (peer->outstanding == 0)
            rayi_planner_peer_free(planner, peer);
        return;
    }
    move(peer, need, -1);
    ((uint32_t *)need->here.data)[peer->slot]--;
    rayi_planner_note_change(planner, peer->slot);
}

void rayi_planner_peer_note_full(rayi_planner_peer *peer, const rayi_planner_need *need)
{
    peer->full = true;
    for (uint32_t i = 0; i < need->count; i++) {
        rayi_planner_account *account = rayi_planner_peer_account(peer, need->amounts[i].kind);
        account->others += RAYI_MAX(0, left(account) - (need->amounts[i].amount - 1));
        note_used(account);
    }
    sum_used(peer);
}

/* ---- what it can take ---- */

bool rayi_planner_peer_could(const rayi_planner_peer *peer, const rayi_planner_need *need)
{
    if (peer->flags & (RAYI_PLANNER_DRAINED | RAYI_PLANNER_NO_WORK))
        return false;
    bool has_any = false;
    for (uint32_t i = 0; i < peer->account_count; i++)
        has_any |= peer->accounts[i].total > 0;
    if ((peer->flags & RAYI_PLANNER_DRIVER) && !has_any)
        return false;
    for (uint32_t i = 0; i < need->count; i++) {
        const rayi_planner_account *account = rayi_planner_peer_account(peer, need->amounts[i].kind);
        if (!account || account->total < need->amounts[i].amount)
            return false;
    }
    return !rayi_selector_unmet(need->selector, peer->labels);
}

/* Of amounts near the largest, many may be sent ahead: no sum shall overflow. */
static bool sum_holds(const rayi_planner_account *account, int64_t amount)
{
    return account->ours <= RAYI_RESOURCE_AMOUNT_MAX - amount;
}

bool rayi_planner_peer_fits(const rayi_planner_peer *peer, const rayi_planner_need *need)
{
    const rayi_planner_account *account = peer->accounts;
    for (uint32_t i = 0; i < need->count; i++) {
        while (account->kind != need->amounts[i].kind)
            account++;
        if (left(account) < need->amounts[i].amount || !sum_holds(account, need->amounts[i].amount))
            return false;
    }
    return need->count || !peer->full;
}

int32_t rayi_planner_peer_room(const rayi_planner_peer *peer, const rayi_planner_need *need)
{
    int64_t room = RAYI_PLANNER_AHEAD_MOST;
    const rayi_planner_account *account = peer->accounts;
    for (uint32_t i = 0; i < need->count; i++) {
        int64_t amount = need->amounts[i].amount;
        while (account->kind != need->amounts[i].kind)
            account++;
        if (!sum_holds(account, amount))
            return -1;
        room = RAYI_MIN(room, (account->total - RAYI_MAX(0, account->others)) / amount);
    }
    return (int32_t)RAYI_MAX(0, room);
}

/* ---- how fast it is ---- */

static void pass_time(rayi_planner_peer *peer, int64_t now_ms)
{
    if (now_ms - peer->ended_ms >= RAYI_PLANNER_RECENT_MS) {
        memset(peer->ended, 0, sizeof peer->ended);
        peer->ended_ms = now_ms;
    }
    while (peer->ended_ms < now_ms)
        peer->ended[(uint64_t)++peer->ended_ms % RAYI_PLANNER_RECENT_MS] = 0;
}

uint32_t rayi_planner_peer_recent(rayi_planner_peer *peer, int64_t now_ms)
{
    uint32_t sum = 0;
    pass_time(peer, now_ms);
    for (int i = 0; i < RAYI_PLANNER_RECENT_MS; i++)
        sum += peer->ended[i];
    return sum;
}

void rayi_planner_peer_note_end(rayi_planner_peer *peer, uint32_t took_us, int64_t now_ms)
{
    pass_time(peer, now_ms);
    peer->ended[(uint64_t)peer->ended_ms % RAYI_PLANNER_RECENT_MS]++;
    peer->full = false;
    if (peer->latency_us == NO_LATENCY_YET)
        peer->latency_us = took_us;
    else
        peer->latency_us = (uint32_t)(((uint64_t)peer->latency_us * (AVERAGE_OVER - 1) + took_us) / AVERAGE_OVER);
}

/* ---- making and changing them ---- */

static void free_accounts(rayi_planner *planner, rayi_planner_account *accounts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        rayi_planner_kind_unref(planner, accounts[i].kind);
    rayi_memory_free(planner->memory, accounts);
}

void rayi_planner_peer_free(rayi_planner *planner, rayi_planner_peer *peer)
{
    free_accounts(planner, peer->accounts, peer->account_count);
    rayi_labels_free(planner->memory, peer->labels);
    rayi_memory_free(planner->memory, peer);
}

/* Accounts of what a node has, and of what it has no more but ours still hold; in order of their kinds. */
typedef struct accounts {
    rayi_planner_account *items;
    uint32_t count;
} accounts;

/* Takes over one count of kind. */
static int insert(accounts *list, rayi_planner_kind *kind, uint32_t index, int64_t total)
{
    uint32_t at = list->count++;
    for (; at > 0 && list->items[at - 1].kind->serial > kind->serial; at--)
        list->items[at] = list->items[at - 1];
    list->items[at] = (rayi_planner_account){.kind = kind, .index = index, .total = total};
    return at > 0 && list->items[at - 1].kind == kind ? RAY_ERR_ARGUMENT : 0;
}

static int add_what_it_has(rayi_planner *planner, const rayi_planner_node *node, accounts *list)
{
    for (uint32_t i = 0; i < node->resource_count; i++) {
        rayi_planner_kind *kind;
        if (node->resources[i].total <= 0)
            continue;
        int r = rayi_planner_kind_get(planner, node->resources[i].name, &kind);
        if (!r)
            r = insert(list, kind, i, RAYI_MIN(node->resources[i].total, RAYI_RESOURCE_AMOUNT_MAX));
        if (r)
            return r;
    }
    return 0;
}

static void add_what_ours_hold(const rayi_planner_peer *peer, accounts *list)
{
    for (uint32_t i = 0; i < peer->account_count; i++) {
        const rayi_planner_account *old = &peer->accounts[i];
        rayi_planner_account *now = NULL;
        for (uint32_t k = 0; k < list->count && !now; k++)
            now = list->items[k].kind == old->kind ? &list->items[k] : NULL;
        if (now) {
            now->ours = old->ours;
            now->ours_min = old->ours_min;
            now->ours_max = old->ours_max;
        } else if (old->ours) {
            old->kind->refs++;
            insert(list, old->kind, NOT_ANY_MORE, 0);
            for (uint32_t k = 0; k < list->count; k++)
                if (list->items[k].kind == old->kind)
                    list->items[k].ours = list->items[k].ours_min = list->items[k].ours_max = old->ours;
        }
    }
}

static int make_accounts(rayi_planner *planner, const rayi_planner_node *node, const rayi_planner_peer *before,
                         accounts *out)
{
    uint32_t most = node->resource_count + (before ? before->account_count : 0);
    accounts list = {.items = rayi_memory_zalloc(planner->memory, (most + 1) * sizeof *list.items)};
    if (!list.items)
        return RAY_ERR_NO_MEMORY;
    int r = add_what_it_has(planner, node, &list);
    if (r) {
        free_accounts(planner, list.items, list.count);
        return r;
    }
    if (before)
        add_what_ours_hold(before, &list);
    *out = list;
    return 0;
}

/* Is all as it was, but what is available and waits? */
static bool is_as_before(const rayi_planner_peer *peer, const rayi_planner_node *node)
{
    uint32_t had = 0, has = 0;
    if (peer->flags != node->flags || peer->draining || strcmp(peer->labels->text, node->labels ? node->labels : ""))
        return false;
    for (uint32_t i = 0; i < node->resource_count; i++)
        has += node->resources[i].total > 0;
    for (uint32_t i = 0; i < peer->account_count; i++) {
        const rayi_planner_account *account = &peer->accounts[i];
        if (account->index == NOT_ANY_MORE)
            continue;
        had++;
        if (account->index >= node->resource_count || node->resources[account->index].total != account->total ||
            strcmp(node->resources[account->index].name, account->kind->name) != 0)
            return false;
    }
    return had == has;
}

/* Replaces what a peer could ever run. */
static int change(rayi_planner *planner, rayi_planner_peer *peer, const rayi_planner_node *node)
{
    rayi_labels *labels;
    accounts list;
    int r = rayi_labels_parse(planner->memory, node->labels, &labels, NULL, 0);
    if (r)
        return r;
    r = make_accounts(planner, node, peer, &list);
    if (r) {
        rayi_labels_free(planner->memory, labels);
        return r;
    }
    free_accounts(planner, peer->accounts, peer->account_count);
    rayi_labels_free(planner->memory, peer->labels);
    peer->accounts = list.items;
    peer->account_count = list.count;
    peer->labels = labels;
    peer->flags = node->flags;
    peer->draining = false;
    peer->version = ++planner->version;
    return 0;
}

static void note_numbers(rayi_planner *planner, rayi_planner_peer *peer, const rayi_planner_node *node, bool changed)
{
    bool self = peer->flags & RAYI_PLANNER_SELF;
    uint32_t foreign = peer->foreign, most = self ? peer->outstanding : peer->outstanding_max;
    int64_t cpus = 0;
    changed |= peer->full;
    for (uint32_t i = 0; i < peer->account_count; i++) {
        rayi_planner_account *account = &peer->accounts[i];
        bool has = account->index != NOT_ANY_MORE;
        changed |= note_available(account, has ? node->resources[account->index].available : 0, self);
        if (strcmp(account->kind->name, "CPU") == 0)
            cpus = account->total / UNIT;
    }
    sum_used(peer);
    peer->tag = node->tag;
    peer->full = false;
    peer->cpus = (uint32_t)RAYI_MAX(1, RAYI_MIN(cpus, UINT16_MAX));
    peer->foreign = node->load > most ? node->load - most : 0;
    peer->outstanding_max = peer->outstanding;
    if (changed || foreign != peer->foreign) {
        rayi_planner_note_change(planner, peer->slot);
        planner->dirty = true;
    }
}

/* ---- slots: the order of the peers ---- */

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* The first free one, from 1 or from where the seed sends the node; 0 is kept for this node. */
static uint32_t free_slot(const rayi_planner *planner, const rayi_planner_node *node)
{
    uint64_t words[2];
    if (node->flags & RAYI_PLANNER_SELF)
        return 0;
    memcpy(words, node->id.bytes, sizeof words);
    uint32_t slot = planner->seed ? (uint32_t)mix(mix(words[0] ^ planner->seed) ^ words[1]) : 1;
    for (;; slot++)
        if (slot & (planner->room - 1) && !rayi_planner_peer_at(planner, slot & (planner->room - 1)))
            return slot & (planner->room - 1);
}

static int add_peer(rayi_planner *planner, const rayi_planner_node *node, rayi_planner_peer **out)
{
    const rayi_memory *memory = planner->memory;
    bool crowded = HASH_COUNT(planner->peers) + 1 >= planner->room; /* slot 0 may be unused */
    if (crowded && rayi_planner_columns_grow(planner))
        return RAY_ERR_NO_MEMORY;
    rayi_planner_peer *peer = rayi_memory_zalloc(memory, sizeof *peer);
    if (!peer)
        return RAY_ERR_NO_MEMORY;
    peer->id = node->id;
    peer->latency_us = NO_LATENCY_YET;
    int r = change(planner, peer, node);
    if (!r) {
        HASH_ADD(hh, planner->peers, id, sizeof peer->id, peer);
        r = peer->hh.tbl ? 0 : RAY_ERR_NO_MEMORY;
    }
    if (r) {
        rayi_planner_peer_free(planner, peer);
        return r;
    }
    peer->slot = free_slot(planner, node);
    RAYI_ASSERT(!rayi_planner_peer_at(planner, peer->slot)); /* there is one SELF */
    ((rayi_planner_peer **)planner->slots.data)[peer->slot] = peer;
    *out = peer;
    return 0;
}

int rayi_planner_node_put(rayi_planner *planner, const rayi_planner_node *node, int64_t now_ms)
{
    planner->now_ms = RAYI_MAX(planner->now_ms, now_ms);
    rayi_planner_peer *peer = rayi_planner_peer_find(planner, &node->id);
    RAYI_ASSERT((node->flags & ~(RAYI_PLANNER_SELF | FIXED_FLAGS)) == 0);
    RAYI_ASSERT(!peer || (peer->flags & RAYI_PLANNER_SELF) == (node->flags & RAYI_PLANNER_SELF));
    bool as_before = peer && is_as_before(peer, node);
    if (!as_before) {
        int r = peer ? change(planner, peer, node) : add_peer(planner, node, &peer);
        if (r)
            return r;
        rayi_planner_unblock_all(planner);
    }
    note_numbers(planner, peer, node, !as_before);
    return 0;
}

/* ---- what else happens to them ---- */

static void refuse_those_tied(rayi_planner *planner, const rayi_planner_id *id)
{
    for (rayi_planner_queue *queue = planner->queues; queue; queue = queue->hh.next)
        if (queue->key.tie == RAYI_PLANNER_HARD && memcmp(&queue->key.home, id, sizeof *id) == 0)
            rayi_planner_refuse_all(planner, queue);
}

void rayi_planner_node_gone(rayi_planner *planner, const rayi_planner_id *id, int64_t now_ms)
{
    planner->now_ms = RAYI_MAX(planner->now_ms, now_ms);
    const rayi_memory *memory = planner->memory;
    rayi_planner_peer *peer = rayi_planner_peer_find(planner, id);
    if (!peer)
        return;
    refuse_those_tied(planner, id);
    HASH_DELETE(hh, planner->peers, peer);
    ((rayi_planner_peer **)planner->slots.data)[peer->slot] = NULL;
    for (rayi_planner_need *need = planner->needs; need; need = need->hh.next)
        ((uint32_t *)need->here.data)[peer->slot] = 0;
    for (rayi_planner_function *function = planner->functions; function; function = function->hh.next)
        rayi_planner_function_mark(function, peer->slot, false);
    rayi_planner_note_change(planner, peer->slot);
    rayi_planner_unblock_all(planner);
    peer->gone = true;
    if (peer->outstanding == 0)
        rayi_planner_peer_free(planner, peer);
}

void rayi_planner_node_knows(rayi_planner *planner, const rayi_planner_id *id, uint32_t number)
{
    const rayi_planner_peer *peer = rayi_planner_peer_find(planner, id);
    rayi_planner_function *function;
    HASH_FIND(hh, planner->functions, &number, sizeof number, function);
    if (!peer || !function || !rayi_planner_function_lacks(function, peer->slot))
        return;
    rayi_planner_function_mark(function, peer->slot, false);
    rayi_planner_unblock_all(planner);
}

void rayi_planner_node_functions_changed(rayi_planner *planner, const rayi_planner_id *id)
{
    const rayi_planner_peer *peer = rayi_planner_peer_find(planner, id);
    if (!peer)
        return;
    for (rayi_planner_function *function = planner->functions; function; function = function->hh.next)
        rayi_planner_function_mark(function, peer->slot, false);
    rayi_planner_unblock_all(planner);
}

void rayi_planner_node_try_again(rayi_planner *planner, const rayi_planner_id *id)
{
    rayi_planner_peer *peer = rayi_planner_peer_find(planner, id);
    if (!peer)
        return;
    peer->full = false;
    for (uint32_t i = 0; i < peer->account_count; i++) {
        peer->accounts[i].others = 0;
        note_used(&peer->accounts[i]);
    }
    sum_used(peer);
    rayi_planner_note_change(planner, peer->slot);
    planner->dirty = true;
}

uint32_t rayi_planner_outstanding(const rayi_planner *planner, const rayi_planner_id *id)
{
    const rayi_planner_peer *peer = rayi_planner_peer_find(planner, id);
    return peer ? peer->outstanding : 0;
}
