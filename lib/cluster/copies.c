#include "cluster/copies.h"

#include <string.h>

enum {
    LONGEST = 8, /* of a chain, before the object's node begins another one */
    NOBODY = -1, /* the object's own node */
    FIRST_ROOM = 8
};

typedef struct copy {
    rayi_object_place place;
    bool is_used, is_whole;
    uint32_t children; /* that fetch from it now */
    uint32_t depth;    /* so many fetch before it in its chain; 0: it has all */
    int32_t parent;    /* unless it is whole: whom it fetches from */
} copy;

struct rayi_copies {
    const rayi_memory *memory;
    copy *items;
    uint32_t room;
    uint32_t children; /* of the object's node */
    uint32_t turn;
};

int rayi_copies_new(const rayi_memory *memory, rayi_copies **out)
{
    rayi_copies *copies = rayi_memory_zalloc(memory, sizeof *copies);

    if (!copies)
        return RAY_ERR_NO_MEMORY;
    copies->memory = memory;
    *out = copies;
    return 0;
}

void rayi_copies_free(rayi_copies *copies)
{
    if (!copies)
        return;
    rayi_memory_free(copies->memory, copies->items);
    rayi_memory_free(copies->memory, copies);
}

static copy *find(const rayi_copies *copies, const rayi_node_id *node)
{
    for (uint32_t i = 0; i < copies->room; i++)
        if (copies->items[i].is_used && memcmp(&copies->items[i].place.node, node, sizeof *node) == 0)
            return &copies->items[i];
    return NULL;
}

/* NULL: no memory. */
static copy *add(rayi_copies *copies)
{
    uint32_t room = copies->room ? 2 * copies->room : FIRST_ROOM;
    copy *items;

    for (uint32_t i = 0; i < copies->room; i++)
        if (!copies->items[i].is_used)
            return &copies->items[i];
    items = rayi_memory_realloc(copies->memory, copies->items, room * sizeof *items);
    if (!items)
        return NULL;
    memset(items + copies->room, 0, (room - copies->room) * sizeof *items);
    copies->items = items;
    items += copies->room;
    copies->room = room;
    return items;
}

/* It fetches from nobody any more. */
static void leave_parent(rayi_copies *copies, copy *c)
{
    if (c->is_whole)
        return;
    if (c->parent == NOBODY)
        copies->children--;
    else
        copies->items[c->parent].children--;
}

static void remove_copy(rayi_copies *copies, copy *c)
{
    int32_t index = (int32_t)(c - copies->items);

    leave_parent(copies, c);
    for (uint32_t i = 0; i < copies->room; i++) {
        copy *child = &copies->items[i];
        if (!child->is_used || child->is_whole || child->parent != index)
            continue;
        child->parent = NOBODY; /* until it begins anew */
        copies->children++;
    }
    c->is_used = false;
}

/* One more child makes all of its chain slower; one more link makes it longer only. */
static uint32_t cost_of(const copy *c)
{
    return c->children * LONGEST + c->depth;
}

static int32_t choose(const rayi_copies *copies)
{
    uint32_t best = copies->children * LONGEST + 1; /* of the object's node, which comes after all who have it whole */
    int32_t found = NOBODY;

    for (uint32_t i = 0; i < copies->room; i++) {
        const copy *c = &copies->items[i];
        if (!c->is_used || cost_of(c) >= best)
            continue;
        best = cost_of(c);
        found = (int32_t)i;
    }
    return found;
}

int rayi_copies_begin(rayi_copies *copies, const rayi_object_place *who, rayi_object_place *from)
{
    copy *c = find(copies, &who->node);
    int32_t parent;

    if (c) /* there is room for it now */
        remove_copy(copies, c);
    c = add(copies);
    if (!c)
        return RAY_ERR_NO_MEMORY;
    parent = choose(copies);
    *c = (copy){.place = *who, .is_used = true, .parent = parent, .depth = 1};
    if (parent == NOBODY) {
        copies->children++;
        return 0;
    }
    copies->items[parent].children++;
    c->depth = copies->items[parent].depth + 1;
    *from = copies->items[parent].place;
    return 1;
}

void rayi_copies_whole(rayi_copies *copies, const rayi_node_id *node)
{
    copy *c = find(copies, node);

    if (!c)
        return;
    leave_parent(copies, c);
    c->is_whole = true;
    c->depth = 0;
}

void rayi_copies_gone(rayi_copies *copies, const rayi_node_id *node)
{
    copy *c = find(copies, node);

    if (c)
        remove_copy(copies, c);
}

uint32_t rayi_copies_list(rayi_copies *copies, rayi_object_place *out, uint32_t most)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < copies->room && count < most; i++) {
        const copy *c = &copies->items[(copies->turn + i) % copies->room];
        if (c->is_used && c->is_whole)
            out[count++] = c->place;
    }
    copies->turn = copies->room ? (copies->turn + 1) % copies->room : 0;
    return count;
}
