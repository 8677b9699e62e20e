/* Which nodes have the arguments of a task, or an object: for who chooses where it goes. */
#include "cluster/inside.h"

#include <stdlib.h>

enum { CANDIDATES = 16 };

typedef struct tally {
    rayi_planner_holder items[CANDIDATES];
    uint32_t count;
} tally;

/* Of more nodes than there is room for the first are looked at. */
static void add(tally *t, const rayi_node_id *node, uint64_t size_bytes)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (memcmp(&t->items[i].node, node, sizeof *node) == 0) {
            t->items[i].bytes += size_bytes;
            return;
        }
    }
    if (t->count == CANDIDATES)
        return;
    memcpy(&t->items[t->count].node, node, sizeof *node);
    t->items[t->count++].bytes = size_bytes;
}

static void add_ours(rayi_cluster *cluster, tally *t, const rayi_record *object)
{
    rayi_object_place copies[RAYI_PLANNER_LOCAL_MOST];
    uint64_t number = rayi_record_number_if(object);
    uint32_t count = 0;
    rayi_shared *s = NULL;

    add(t, &cluster->id, object->size);
    if (number)
        HASH_FIND(hh, cluster->shared, &number, sizeof number, s);
    if (s && s->copies)
        count = rayi_copies_list(s->copies, copies, RAYI_PLANNER_LOCAL_MOST);
    for (uint32_t i = 0; i < count; i++)
        add(t, &copies[i].node, object->size);
}

static void add_object(rayi_cluster *cluster, tally *t, const rayi_record *object)
{
    rayi_wanted *wanted = rayi_wanted_of(object);

    if (!wanted) {
        add_ours(cluster, t, object);
        return;
    }
    if (!rayi_block_is_far(rayi_object_block(object)))
        add(t, &cluster->id, object->size);
    for (uint32_t i = 0; i < wanted->num_places; i++)
        if (!wanted->places[i].is_gone)
            add(t, &wanted->places[i].node, object->size);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = ((const rayi_planner_holder *)a)->bytes, y = ((const rayi_planner_holder *)b)->bytes;

    return x < y ? 1 : x > y ? -1 : 0;
}

uint32_t rayi_cluster_holders(rayi_cluster *cluster, rayi_task *task, rayi_planner_holder out[RAYI_PLANNER_LOCAL_MOST])
{
    tally t = {.count = 0};
    rayi_pins objects;

    if (rayi_pins_of(task, &objects) < 0)
        return 0;
    for (size_t i = 0; i < objects.count; i++)
        if (rayi_object_block(objects.objects[i]))
            add_object(cluster, &t, objects.objects[i]);
    rayi_pins_drop(cluster->node.thread, &objects);
    qsort(t.items, t.count, sizeof *t.items, compare);
    t.count = RAYI_MIN(t.count, RAYI_PLANNER_LOCAL_MOST);
    memcpy(out, t.items, t.count * sizeof *out);
    return t.count;
}

uint32_t rayi_cluster_nodes_of(rayi_cluster *cluster, rayi_record *object, rayi_node_id *out, uint32_t most)
{
    tally t = {.count = 0};

    add_object(cluster, &t, object);
    t.count = RAYI_MIN(t.count, most);
    for (uint32_t i = 0; i < t.count; i++)
        memcpy(&out[i], &t.items[i].node, sizeof *out);
    return t.count;
}
