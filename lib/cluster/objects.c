/* Objects of the store that are on other nodes, and ours that others fetch.
 *
 * A message that names such an object says where its bytes are (places): nodes, each with the number that it knows the
 * object by, and where it serves; the last one is where the object comes from. The receiver makes an object whose block
 * has these as its source: the bytes are mapped or fetched by whoever pins it first (fetch.c), on that thread. Who
 * passes it on names the same places, so bytes go straight from where they are to where they are needed, whatever way
 * the ref took.
 *
 * Shared: what any neighbour holds of us, by number, for the threads that serve; served: the copies of ours that others
 * were told of (names_lock). An object that we want is in `wanted` until its block forgets it; when a node dies its
 * places are crossed out, so that who waits for them goes on to the next place, or fails; what is here of an object
 * that is nowhere else any more is kept, as if it were ours. */
#include "cluster/inside.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAMED_COPIES = 3, SPARE_PLACES = 2 };
enum { MAKER_SHIFT = 4 }; /* in the count of places */

/* ---- serving; names_lock is held where the table is touched ---- */

void rayi_objects_share(rayi_cluster *cluster, rayi_given *given)
{
    const rayi_memory *memory = rayi_heap;
    rayi_shared *s;

    pthread_mutex_lock(&cluster->names_lock);
    HASH_FIND(hh, cluster->shared, &given->number, sizeof given->number, s);
    if (!s && (s = rayi_zalloc(sizeof *s))) {
        s->number = given->number;
        s->record = given->record;
        HASH_ADD(hh, cluster->shared, number, sizeof s->number, s);
        if (!s->hh.tbl) {
            rayi_free(s);
            s = NULL;
        }
    }
    if (s)
        s->users++;
    given->is_shared = s != NULL; /* no memory: a fetch does not find it, and says so */
    pthread_mutex_unlock(&cluster->names_lock);
}

void rayi_objects_unshare(rayi_cluster *cluster, const rayi_given *given)
{
    const rayi_memory *memory = rayi_heap;
    rayi_shared *s;

    if (!given->is_shared)
        return;
    pthread_mutex_lock(&cluster->names_lock);
    HASH_FIND(hh, cluster->shared, &given->number, sizeof given->number, s);
    if (--s->users == 0) {
        HASH_DEL(cluster->shared, s);
        rayi_copies_free(s->copies);
        rayi_free(s);
    }
    pthread_mutex_unlock(&cluster->names_lock);
}

void rayi_objects_enter(rayi_cluster *cluster, rayi_record *object)
{
    rayi_wanted *wanted;

    pthread_mutex_lock(&cluster->names_lock);
    wanted = rayi_wanted_of(object);
    if (wanted)
        wanted->record = object;
    pthread_mutex_unlock(&cluster->names_lock);
}

void rayi_objects_leave(rayi_cluster *cluster, const rayi_record *record)
{
    const rayi_memory *memory = rayi_heap;
    rayi_wanted *wanted = rayi_wanted_of(record);
    uint64_t number = rayi_record_number_if(record);
    rayi_served *s = NULL;

    if (wanted)
        wanted->record = NULL;
    if (number)
        HASH_FIND(hh, cluster->served, &number, sizeof number, s);
    if (!s)
        return;
    HASH_DEL(cluster->served, s);
    rayi_free(s);
}

rayi_record *rayi_objects_find(rayi_cluster *cluster, uint64_t number)
{
    rayi_record *record = NULL;
    rayi_shared *s;
    rayi_served *copy = NULL;

    pthread_mutex_lock(&cluster->names_lock);
    HASH_FIND(hh, cluster->shared, &number, sizeof number, s);
    if (!s)
        HASH_FIND(hh, cluster->served, &number, sizeof number, copy);
    if (s) {
        record = s->record;
        rayi_record_ref(record);
    } else if (copy && rayi_record_try_ref(copy->record)) {
        record = copy->record;
    }
    pthread_mutex_unlock(&cluster->names_lock);
    return record;
}

typedef struct serving { /* what others have open */
    rayi_record *record; /* counted */
    rayi_early *early;   /* its pin; NULL: an ordinary one */
} serving;

/* Of a copy what is here is served, and it is not fetched for others. */
static int pin_copy(rayi_cluster *cluster, rayi_block *block, serving *s, rayi_bulk_object *out)
{
    rayi_wanted *wanted;
    bool is_early;

    pthread_mutex_lock(&cluster->names_lock);
    wanted = rayi_block_source_arg(block);
    is_early = wanted && rayi_wanted_open(wanted, &s->early, out);
    pthread_mutex_unlock(&cluster->names_lock);
    if (is_early || rayi_block_try_pin(block))
        return 0;
    pthread_mutex_lock(&cluster->names_lock);
    wanted = rayi_block_source_arg(block);
    if (wanted)
        rayi_wanted_tell(wanted, RAYI_COPY_GONE);
    pthread_mutex_unlock(&cluster->names_lock);
    return rayi_fail(RAY_ERR_NOT_FOUND, "the copy of it was dropped");
}

/* What was made here instead of what is lost is served in its name. */
static void look_behind(rayi_cluster *cluster, serving *s)
{
    rayi_record *made = NULL;
    rayi_wanted *wanted;

    pthread_mutex_lock(&cluster->names_lock);
    wanted = s->record->type == RAYI_OBJECT ? rayi_wanted_of(s->record) : NULL;
    if (wanted)
        made = rayi_wanted_made_here(wanted);
    pthread_mutex_unlock(&cluster->names_lock);
    if (!made)
        return;
    rayi_record_unref_late(s->record);
    s->record = made;
}

static int pin_served(rayi_cluster *cluster, serving *s, rayi_bulk_object *out)
{
    rayi_block *block =
        s->record->type == RAYI_OBJECT && rayi_record_done(s->record) ? rayi_object_block(s->record) : NULL;
    int r;

    if (!block)
        return rayi_fail(RAY_ERR_NOT_FOUND, "it has no bytes in the object store there");
    r = rayi_block_source_arg(block) ? pin_copy(cluster, block, s, out) : rayi_block_pin(block);
    if (r == 0 && !s->early)
        *out = (rayi_bulk_object){.bytes = rayi_block_data(block), .size_bytes = rayi_block_size(block)};
    return r;
}

static int open_object(void *arg, const uint8_t *peer, uint64_t number, uint64_t ticket, rayi_bulk_object *out)
{
    rayi_record *record = rayi_objects_find(arg, number);
    serving *s = record ? rayi_zalloc(sizeof *s) : NULL;
    int r;

    (void)peer, (void)ticket;
    if (!record)
        return rayi_fail(RAY_ERR_NOT_FOUND, "it is not there any more");
    if (s) {
        s->record = record;
        look_behind(arg, s);
        record = s->record;
        r = pin_served(arg, s, out);
    } else {
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an object that is served");
    }
    if (r < 0) {
        rayi_free(s);
        rayi_record_unref_late(record);
        return r;
    }
    out->pin = s;
    return 0;
}

static void close_object(void *arg, void *pin)
{
    serving *s = pin;

    (void)arg;
    if (s->early)
        rayi_early_unpin(s->early);
    else
        rayi_block_unpin(rayi_object_block(s->record));
    rayi_record_unref_late(s->record);
    rayi_free(s);
}

int rayi_objects_start(rayi_cluster *cluster, const rayi_key *key, const uint8_t *identity)
{
    const char *listened = rayi_listener_address(cluster->listener), *maps = getenv("RAY_MAP_NEIGHBOURS");
    char address[RAYI_MEMBER_NAME_MAX + 1];
    rayi_bulk_options options = {.keys = key,
                                 .num_keys = key ? 1 : 0,
                                 .identity = identity,
                                 .address = address,
                                 .open = open_object,
                                 .close = close_object,
                                 .arg = cluster};
    int r;

    snprintf(address, sizeof address, "%.*s:0", (int)(strrchr(listened, ':') - listened), listened);
    r = rayi_bulk_open(&options, &cluster->bulk);
    if (r < 0)
        return r;
    cluster->bulk_address = rayi_cluster_shown_address(rayi_bulk_address(cluster->bulk));
    if (!cluster->bulk_address)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: an address");
    return maps && strcmp(maps, "0") == 0 ? 0 : rayi_maps_new(cluster, &cluster->maps);
}

/* ---- deaths ---- */

/* An object that is nowhere else any more, and was not looked at for that; counted. */
static rayi_record *next_lost(rayi_cluster *cluster)
{
    rayi_record *record = NULL;
    rayi_wanted *w;

    pthread_mutex_lock(&cluster->names_lock);
    DL_FOREACH (cluster->wanted, w) {
        if (w->was_lost || !rayi_wanted_is_lost(w))
            continue;
        w->was_lost = true;
        if (w->record && rayi_record_try_ref(w->record)) {
            record = w->record;
            break;
        }
    }
    pthread_mutex_unlock(&cluster->names_lock);
    return record;
}

/* What is here of it stays. */
static void keep(rayi_cluster *cluster, rayi_record *record)
{
    rayi_block *block = rayi_object_block(record);

    if (rayi_block_try_pin(block)) {
        (void)rayi_block_keep(block); /* of one that is mapped: the mapping lasts as long as the block */
        rayi_block_unpin(block);
    }
    rayi_record_unref(cluster->node.thread, record);
}

void rayi_objects_node_died(rayi_cluster *cluster, const rayi_node_id *id)
{
    rayi_wanted *w;
    rayi_shared *s;

    cluster->saw_deaths = true;
    pthread_mutex_lock(&cluster->names_lock);
    DL_FOREACH (cluster->wanted, w)
        rayi_wanted_node_died(w, id);
    for (s = cluster->shared; s; s = s->hh.next)
        if (s->copies)
            rayi_copies_gone(s->copies, id);
    pthread_mutex_unlock(&cluster->names_lock);
    for (rayi_record *record; (record = next_lost(cluster));)
        keep(cluster, record);
    rayi_moves_node_died(cluster, id);
}

/* ---- on the wire: u8 count and, above its four bits, enum rayi_maker; so many: 16 bytes node, u64 number, 32 bytes
 * key, text address; "": it is gone ---- */

void rayi_objects_put_place(rayi_writer *writer, const rayi_object_place *place)
{
    rayi_put_bytes(writer, &place->node, sizeof place->node);
    rayi_put_u64(writer, place->number);
    rayi_put_bytes(writer, &place->key, sizeof place->key);
    rayi_put_text(writer, place->is_gone ? "" : place->address);
}

void rayi_objects_own_place(const rayi_cluster *cluster, uint64_t number, rayi_object_place *out)
{
    *out = (rayi_object_place){.node = cluster->id, .number = number};
    memcpy(&out->key, rayi_bulk_identity(cluster->bulk), sizeof out->key);
    snprintf(out->address, sizeof out->address, "%s", cluster->bulk_address);
}

static void put_own(rayi_cluster *cluster, rayi_writer *writer, uint64_t number)
{
    rayi_object_place own;

    rayi_objects_own_place(cluster, number, &own);
    rayi_objects_put_place(writer, &own);
}

/* One of ours: copies of it, and this node, where it comes from. */
static void put_ours(rayi_cluster *cluster, rayi_writer *writer, uint64_t number, enum rayi_maker maker)
{
    rayi_object_place copies[NAMED_COPIES];
    uint32_t count = 0;
    rayi_shared *s;

    HASH_FIND(hh, cluster->shared, &number, sizeof number, s); /* only the loop changes it */
    if (s && s->copies)
        count = rayi_copies_list(s->copies, copies, NAMED_COPIES);
    rayi_put_u8(writer, (uint8_t)((count + 1) | maker << MAKER_SHIFT));
    for (uint32_t i = 0; i < count; i++)
        rayi_objects_put_place(writer, &copies[i]);
    put_own(cluster, writer, number);
}

/* Those of another node's object that are not gone, the one that it comes from last; or that one alone. */
static uint32_t list_places(const rayi_wanted *wanted, const rayi_object_place *out[RAYI_PLACES_MOST])
{
    const rayi_object_place *origin = rayi_wanted_origin(wanted);
    uint32_t count = 0;

    for (uint32_t i = 0; i < wanted->num_places && count < RAYI_PLACES_MOST - 2; i++)
        if (i != wanted->origin && !wanted->places[i].is_gone)
            out[count++] = &wanted->places[i];
    if (count == 0 || !origin->is_gone)
        out[count++] = origin;
    return count;
}

void rayi_objects_put_places(rayi_cluster *cluster, rayi_writer *writer, rayi_record *object, uint64_t number)
{
    rayi_wanted *wanted = rayi_wanted_of(object);
    bool is_here = wanted && (wanted->is_kept || wanted->is_made_here || !rayi_block_is_far(rayi_object_block(object)));
    const rayi_object_place *listed[RAYI_PLACES_MOST];
    uint32_t count;

    if (!wanted) {
        put_ours(cluster, writer, number, rayi_object_maker(object));
        return;
    }
    count = list_places(wanted, listed);
    rayi_put_u8(writer, (uint8_t)((count + is_here) | wanted->maker << MAKER_SHIFT));
    if (is_here)
        put_own(cluster, writer, number);
    for (uint32_t i = 0; i < count; i++)
        rayi_objects_put_place(writer, listed[i]);
}

bool rayi_cluster_knows_dead(const rayi_cluster *cluster, const rayi_node_id *node)
{
    const rayi_member *member = rayi_roster_get(rayi_cluster_roster(cluster), node);

    return member && (member->state == RAYI_NODE_DEAD || rayi_cluster_is_broken(cluster, member));
}

bool rayi_objects_take_place(const rayi_cluster *cluster, rayi_reader *reader, rayi_object_place *out)
{
    const void *node = rayi_take_bytes(reader, sizeof out->node), *key;
    const rayi_neighbour *n;
    const char *address;

    memset(out, 0, sizeof *out);
    if (node)
        memcpy(&out->node, node, sizeof out->node);
    out->number = rayi_take_u64(reader);
    key = rayi_take_bytes(reader, sizeof out->key);
    if (key)
        memcpy(&out->key, key, sizeof out->key);
    address = rayi_take_text(reader);
    if (reader->failed || !address || strlen(address) >= sizeof out->address)
        return false;
    strcpy(out->address, address);
    HASH_FIND(hh, cluster->neighbours, &out->node, sizeof out->node, n);
    out->is_near = n && n->is_near;
    out->is_gone = !*address || rayi_cluster_knows_dead(cluster, &out->node);
    return true;
}

/* NULL: rubbish, or no memory. */
rayi_wanted *rayi_objects_take_places(rayi_cluster *cluster, rayi_reader *reader)
{
    uint8_t first = rayi_take_u8(reader), count = first & ((1u << MAKER_SHIFT) - 1);
    uint32_t room = count + SPARE_PLACES;
    rayi_wanted *wanted = count > 0 && count <= RAYI_PLACES_MOST && first >> MAKER_SHIFT <= RAYI_MADE_BY_CALL
                              ? rayi_zalloc(sizeof *wanted + room * sizeof *wanted->places)
                              : NULL;

    if (!wanted)
        return NULL;
    wanted->cluster = cluster;
    wanted->maker = first >> MAKER_SHIFT;
    wanted->room = room;
    wanted->origin = count - 1u;
    for (; wanted->num_places < count; wanted->num_places++) {
        if (!rayi_objects_take_place(cluster, reader, &wanted->places[wanted->num_places])) {
            rayi_free(wanted);
            return NULL;
        }
        cluster->saw_deaths |= wanted->places[wanted->num_places].is_gone;
    }
    return wanted;
}

/* The object itself, if one of its places is here; counted. */
rayi_record *rayi_objects_own(const rayi_wanted *wanted)
{
    rayi_record *record = NULL;

    for (uint32_t i = 0; i < wanted->num_places && !record; i++)
        if (rayi_cluster_is_self(wanted->cluster, &wanted->places[i].node))
            record = rayi_objects_find(wanted->cluster, wanted->places[i].number);
    return record;
}

void rayi_objects_drop(rayi_wanted *wanted)
{
    rayi_free(wanted);
}

/* Takes wanted, in any case. NULL: last error. */
rayi_record *rayi_objects_make(rayi_wanted *wanted, rayi_thread *thread, unsigned kind, uint64_t size_bytes)
{
    rayi_cluster *cluster = wanted->cluster;
    rayi_record *object;
    rayi_block *block;

    pthread_mutex_lock(&cluster->names_lock);
    DL_APPEND(cluster->wanted, wanted);
    pthread_mutex_unlock(&cluster->names_lock);
    rayi_cluster_ref(cluster); /* a block may outlive the node's part in the cluster */
    if (rayi_block_new_far(rayi_executor_store(cluster->node.executor), (size_t)size_bytes, &rayi_wanted_source, wanted,
                           &block) < 0) {
        rayi_wanted_source.forget(wanted);
        return NULL;
    }
    wanted->block = block;
    object = rayi_object_of_block(thread, kind, block);
    if (!object)
        rayi_block_unref(block);
    return object;
}

/* ---- messages ---- */

bool rayi_objects_take(rayi_neighbour *n, enum rayi_between what, rayi_reader *reader)
{
    bool maps = n->cluster->maps != NULL;

    switch ((unsigned)what) {
    case RAYI_BETWEEN_COPY:
        return rayi_wanted_take_copy(n, reader);
    case RAYI_BETWEEN_PLACES:
        return rayi_wanted_take_places(n, reader);
    case RAYI_BETWEEN_KEEP:
        return rayi_moves_take_keep(n, reader);
    case RAYI_BETWEEN_KEPT:
        return rayi_moves_take_kept(n, reader);
    case RAYI_BETWEEN_MOVED:
        return rayi_moves_take_moved(n, reader);
    case RAYI_BETWEEN_MAP:
        return rayi_maps_asked(n, reader);
    case RAYI_BETWEEN_MAPPED:
        return maps && rayi_maps_answered(n, reader);
    case RAYI_BETWEEN_UNMAP:
        return maps && rayi_maps_returned(n, reader);
    }
    return false;
}

/* ---- the end ---- */

void rayi_objects_stop(rayi_cluster *cluster)
{
    if (cluster->bulk)
        rayi_bulk_close(cluster->bulk);
    cluster->bulk = NULL;
    rayi_free(cluster->bulk_address);
    cluster->bulk_address = NULL;
}
