/* Objects of other nodes that are lost: all nodes that are known to have their bytes are dead, and nothing is here.
 *
 * Whoever decides what is to be done about one (the raylet's lineage.c) finds here whom to ask: those who hold it from
 * us, one of whom may have a copy; and the node that we hold it from. What they say are places, as they come with an
 * object, and these take the place of the old ones. Or it was made again: then its bytes are those of another object,
 * which is held as long as the lost one (`instead`), and either gives its places or has the bytes here. */
#include "cluster/inside.h"

/* ---- what is lost ---- */

bool rayi_cluster_is_lost(rayi_cluster *cluster, rayi_record *object)
{
    rayi_block *block = rayi_object_block(object);
    rayi_wanted *wanted = rayi_wanted_of(object);
    bool is_lost;

    if (!wanted || !rayi_block_is_far(block))
        return false;
    pthread_mutex_lock(&cluster->names_lock);
    is_lost = rayi_wanted_is_lost(wanted);
    pthread_mutex_unlock(&cluster->names_lock);
    if (!is_lost || !rayi_block_try_pin(block))
        return is_lost;
    rayi_block_unpin(block); /* what was mapped when its node died stays so */
    return false;
}

rayi_record *rayi_cluster_lost_argument(rayi_cluster *cluster, rayi_task *task)
{
    rayi_record *found = NULL;
    rayi_pins objects;

    if (!cluster->saw_deaths || rayi_pins_of(task, &objects) < 0) /* no memory: whoever reads it finds out */
        return NULL;
    for (size_t i = 0; i < objects.count && !found; i++)
        if (rayi_cluster_is_lost(cluster, objects.objects[i]))
            found = objects.objects[i];
    if (found)
        rayi_record_ref(found);
    rayi_pins_drop(cluster->node.thread, &objects);
    return found;
}

enum rayi_maker rayi_cluster_lost_with(const rayi_record *object, char node[RAYI_ID_SIZE])
{
    const rayi_wanted *wanted = rayi_wanted_of(object);

    rayi_hex(node, rayi_wanted_origin(wanted)->node.bytes, sizeof(rayi_node_id));
    return wanted->maker;
}

/* ---- whom to ask ---- */

uint32_t rayi_cluster_borrowers(rayi_cluster *cluster, const rayi_record *object, rayi_node_id *out, uint32_t most)
{
    uint64_t number = rayi_record_number_if(object);
    uint32_t count = 0;

    for (rayi_neighbour *n = cluster->neighbours; n && number && count < most; n = n->hh.next)
        if (n->peer && rayi_names_holds(n, number))
            out[count++] = n->id;
    return count;
}

bool rayi_cluster_lender(rayi_cluster *cluster, rayi_record *object, rayi_node_id *lender, uint64_t *number)
{
    for (rayi_neighbour *n = cluster->neighbours; n; n = n->hh.next) {
        *number = n->peer ? rayi_names_of_stand_in(n, object) : 0;
        if (*number == 0)
            continue;
        *lender = n->id;
        return true;
    }
    return false;
}

rayi_record *rayi_cluster_lent(rayi_cluster *cluster, const rayi_node_id *to, uint64_t number)
{
    rayi_neighbour *n = rayi_neighbour_find(cluster, to);
    rayi_record *record = n ? rayi_names_given(n, number) : NULL;

    if (!record || rayi_object_block(record))
        return record;
    rayi_record_unref(cluster->node.thread, record);
    return NULL;
}

/* ---- what they say ---- */

void rayi_cluster_put_places(rayi_cluster *cluster, rayi_writer *writer, rayi_record *object)
{
    rayi_objects_put_places(cluster, writer, object, rayi_record_number(cluster->node.thread, object));
}

bool rayi_cluster_put_copy(rayi_cluster *cluster, rayi_writer *writer, const rayi_node_id *lender, uint64_t number)
{
    rayi_neighbour *n = rayi_neighbour_find(cluster, lender);
    rayi_record *object = n ? rayi_names_borrowed(n, number | RAYI_BLOCK_KEY) : NULL;
    rayi_block *block = object ? rayi_object_block(object) : NULL;
    uint64_t own = 0;
    rayi_object_place place;

    if (block && rayi_block_try_pin(block)) {
        own = cluster->bulk_address ? rayi_wanted_serve(cluster, object) : 0;
        rayi_block_unpin(block);
    }
    if (own) {
        rayi_objects_own_place(cluster, own, &place);
        rayi_put_u8(writer, 1);
        rayi_objects_put_place(writer, &place);
    }
    if (object)
        rayi_record_unref(cluster->node.thread, object);
    return own != 0;
}

/* All that it had before are gone. It is under names_lock; what was held instead is the caller's. */
static rayi_record *put_in_place(rayi_wanted *wanted, const rayi_object_place *places, uint32_t count, uint32_t origin,
                                 rayi_record *instead)
{
    rayi_record *before = wanted->instead;
    uint32_t first = count > wanted->room ? count - wanted->room : 0;

    if (count > 0) {
        origin = RAYI_MAX(origin, first);
        wanted->num_places = count - first;
        memcpy(wanted->places, places + first, wanted->num_places * sizeof *places);
        wanted->origin = origin - first;
    }
    wanted->instead = instead;
    wanted->is_made_here = instead && count == 0;
    wanted->is_found = !instead;
    wanted->was_lost = false;
    wanted->is_listed = false;
    return before;
}

int rayi_cluster_take_places(rayi_cluster *cluster, rayi_record *object, rayi_reader *reader)
{
    rayi_wanted *wanted = rayi_wanted_of(object), *said = rayi_objects_take_places(cluster, reader);
    rayi_record *before = NULL;
    uint32_t count = 0;

    if (!said)
        return rayi_fail(RAY_ERR_ARGUMENT, "an answer that makes no sense: where an object is");
    for (uint32_t i = 0; i < said->num_places; i++)
        if (!said->places[i].is_gone &&
            rayi_neighbour_find(cluster, &said->places[i].node)) /* of others their death is not told */
            said->places[count++] = said->places[i];
    if (count > 0 && wanted) {
        pthread_mutex_lock(&cluster->names_lock);
        before = put_in_place(wanted, said->places, count, count - 1, NULL);
        pthread_mutex_unlock(&cluster->names_lock);
    }
    if (before)
        rayi_record_unref(cluster->node.thread, before);
    rayi_objects_drop(said);
    return count > 0 ? 0 : rayi_fail(RAY_ERR_OBJECT_LOST, "the nodes that are said to have it are gone");
}

void rayi_cluster_made_again(rayi_cluster *cluster, rayi_record *object, rayi_record *made)
{
    rayi_wanted *wanted = rayi_wanted_of(object), *from = rayi_wanted_of(made);
    rayi_record *before;
    bool is_here = !from;

    if (!wanted)
        return;
    rayi_record_ref(made);
    pthread_mutex_lock(&cluster->names_lock);
    if (is_here)
        before = put_in_place(wanted, NULL, 0, 0, made);
    else
        before = put_in_place(wanted, from->places, from->num_places, from->origin, made);
    pthread_mutex_unlock(&cluster->names_lock);
    if (before)
        rayi_record_unref(cluster->node.thread, before);
}

/* ---- bytes that were made here, instead of those that are lost ---- */

rayi_record *rayi_wanted_made_here(const rayi_wanted *wanted)
{
    if (!wanted->is_made_here)
        return NULL;
    rayi_record_ref(wanted->instead);
    return wanted->instead;
}

int rayi_wanted_copy_made(rayi_record *made, void *to, size_t size_bytes)
{
    rayi_block *block = rayi_object_block(made);
    int r = rayi_block_pin(block);

    if (r == 0) {
        rayi_store_copy_in(to, rayi_block_data(block), size_bytes);
        rayi_block_unpin(block);
    }
    rayi_record_unref_late(made);
    return r;
}
