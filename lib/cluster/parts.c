/* Parts of placement groups: bundles of a group that one node owns and another keeps room for. Which, and when, is
 * decided by the owner (scheduler/bundles.h); the host has a group of its own for each part, in which tasks and actors
 * of the owner run, and of all that the owner has told where its bundles are. A part goes when its owner says so, or is
 * declared dead.
 *
 * Who knows a group of another node has the owner's news of it: where its bundles are, and its end. They come after
 * WATCH, over the same session, so none are missed between a question and its answer. */
#include "cluster/inside.h"

#define PLACE_SIZE (sizeof(rayi_planner_id) + sizeof(uint64_t) + sizeof(uint32_t))

/* ---- the owner ---- */

bool rayi_parts_reserve(rayi_cluster *cluster, const rayi_node_id *to, uint64_t part, const rayi_part_what *what)
{
    rayi_neighbour *n = rayi_neighbour_or_own(cluster, to);
    rayi_writer writer;
    bool sent;

    if (!n)
        return false;
    rayi_between_begin(&writer, RAYI_BETWEEN_PART_RESERVE);
    rayi_put_u64(&writer, part);
    rayi_put_u64(&writer, what->group);
    rayi_put_text(&writer, what->group_id);
    rayi_put_u32(&writer, what->count);
    for (uint32_t i = 0; i < what->count; i++)
        rayi_put_text(&writer, what->bundles[i]);
    sent = rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer) == 0;
    rayi_writer_fini(&writer);
    return sent;
}

bool rayi_parts_release(rayi_cluster *cluster, const rayi_node_id *to, uint64_t part)
{
    rayi_neighbour *n = rayi_neighbour_or_own(cluster, to);
    rayi_writer writer;
    int r;

    if (!n) /* with the node its parts are gone */
        return true;
    rayi_between_begin(&writer, RAYI_BETWEEN_PART_RELEASE);
    rayi_put_u64(&writer, part);
    r = rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer);
    rayi_writer_fini(&writer);
    return r != RAY_ERR_NO_MEMORY;
}

bool rayi_groups_tell(rayi_cluster *cluster, const rayi_node_id *to, const rayi_group_news *news)
{
    rayi_neighbour *n = rayi_neighbour_find(cluster, to);
    rayi_writer writer;
    bool sent;

    if (!n)
        return false;
    rayi_between_begin(&writer, RAYI_BETWEEN_GROUP_NEWS);
    rayi_put_u64(&writer, news->group);
    rayi_put_i64(&writer, news->code);
    if (news->code == 0) {
        rayi_put_u8(&writer, news->is_placed);
        rayi_put_u32(&writer, news->count);
    }
    for (uint32_t i = 0; news->code == 0 && i < news->count; i++) {
        rayi_put_bytes(&writer, &news->places[i].node, sizeof news->places[i].node);
        rayi_put_u64(&writer, news->places[i].part);
        rayi_put_u32(&writer, news->places[i].number);
    }
    sent = rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer) == 0;
    rayi_writer_fini(&writer);
    return sent;
}

/* ---- who knows a group of another's ---- */

bool rayi_groups_watch(rayi_cluster *cluster, const rayi_node_id *owner, uint64_t group)
{
    rayi_neighbour *n = rayi_neighbour_find(cluster, owner);
    rayi_writer writer;
    bool sent;

    if (!n)
        return false;
    rayi_between_begin(&writer, RAYI_BETWEEN_GROUP_WATCH);
    rayi_put_u64(&writer, group);
    sent = rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer) == 0;
    rayi_writer_fini(&writer);
    return sent;
}

static bool take_watch(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t group = rayi_take_u64(reader);

    if (reader->failed)
        return false;
    n->cluster->node.group_watched(n->cluster->node.node, &n->id, group);
    return true;
}

static void take_place(rayi_reader *reader, rayi_bundle_place *out)
{
    const void *node = rayi_take_bytes(reader, sizeof out->node);

    if (node)
        memcpy(&out->node, node, sizeof out->node);
    out->part = rayi_take_u64(reader);
    out->number = rayi_take_u32(reader);
    if (out->part && (out->number == 0 || out->number > RAYI_BUNDLES_MOST))
        reader->failed = true;
}

/* Without memory for them it has ended, as far as is known here: where its bundles are would not be. */
static bool take_news(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_group_news news = {.group = rayi_take_u64(reader)};
    int64_t code = rayi_take_i64(reader);
    rayi_bundle_place *places = NULL;
    bool is_sound;

    if (reader->failed || code > 0 || code < INT32_MIN)
        return false;
    news.code = (int)code;
    if (code == 0) {
        news.is_placed = rayi_take_u8(reader) != 0;
        news.count = rayi_take_count(reader, PLACE_SIZE);
        if (reader->failed || news.count == 0 || news.count > RAYI_BUNDLES_MOST)
            return false;
        news.places = places = rayi_alloc(news.count * sizeof *places);
        if (!places)
            news.code = RAY_ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; places && i < news.count; i++)
        take_place(reader, &places[i]);
    is_sound = !reader->failed && n->cluster->node.group_told(n->cluster->node.node, &n->id, &news);
    rayi_free(places);
    return is_sound;
}

/* ---- the host ---- */

static rayi_part *find(rayi_neighbour *n, uint64_t number)
{
    rayi_part *part;

    HASH_FIND(hh, n->parts, &number, sizeof number, part);
    return part;
}

static rayi_neighbour *whose(rayi_cluster *cluster, const rayi_node_id *owner)
{
    return rayi_cluster_is_self(cluster, owner) ? cluster->own : rayi_neighbour_find(cluster, owner);
}

ray_placement_group *rayi_parts_find(rayi_neighbour *n, const rayi_node_id *owner, uint64_t number)
{
    rayi_neighbour *of = rayi_node_id_is_none(owner) ? n : whose(n->cluster, owner);
    rayi_part *part = of ? find(of, number) : NULL;

    return part ? part->group : NULL;
}

ray_placement_group *rayi_parts_here(rayi_cluster *cluster, const rayi_node_id *owner, uint64_t number)
{
    rayi_neighbour *of = rayi_node_id_is_none(owner) ? cluster->own : whose(cluster, owner);
    rayi_part *part = of ? find(of, number) : NULL;

    return part ? part->group : NULL;
}

bool rayi_parts_admit(rayi_neighbour *n, ray_placement_group *group, bool any_bundle, uint32_t bundle,
                      const char *resources)
{
    return n->cluster->node.part_admits(n->cluster->node.node, group, &n->id, any_bundle, bundle, resources);
}

static void answer(rayi_neighbour *n, uint64_t number, bool is_reserved)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_PART_ANSWER);
    rayi_put_u64(&writer, number);
    rayi_put_u8(&writer, is_reserved);
    rayi_between_say(n, &writer);
}

void rayi_parts_ready(rayi_part *part)
{
    answer(part->whose, part->number, true);
}

static void drop(rayi_part *part)
{
    const rayi_memory *memory = rayi_heap;
    rayi_neighbour *n = part->whose;

    HASH_DEL(n->parts, part);
    n->bundles -= part->count;
    n->cluster->node.part_free(n->cluster->node.node, part->group);
    rayi_free(part);
}

static bool keep(rayi_neighbour *n, uint64_t number, const rayi_part_what *what)
{
    const rayi_memory *memory = rayi_heap;
    rayi_cluster *cluster = n->cluster;
    bool has_room = !cluster->is_closing && !cluster->is_drained && what->count <= RAYI_BUNDLES_KEPT_MOST - n->bundles;
    rayi_part *part = has_room ? rayi_zalloc(sizeof *part) : NULL;

    if (!part)
        return false;
    part->number = number;
    part->count = what->count;
    part->whose = n;
    HASH_ADD(hh, n->parts, number, sizeof part->number, part);
    if (part->hh.tbl) {
        part->group = cluster->node.part_new(cluster->node.node, what, part);
        if (part->group) {
            n->bundles += part->count;
            return true;
        }
        HASH_DEL(n->parts, part);
    }
    rayi_free(part);
    return false;
}

static bool take_reserve(rayi_neighbour *n, rayi_reader *reader)
{
    uint64_t number = rayi_take_u64(reader);
    rayi_part_what what = {.owner = n->id, .group = rayi_take_u64(reader), .group_id = rayi_take_text(reader)};
    const char **bundles;
    bool is_kept;

    what.count = rayi_take_count(reader, sizeof(uint32_t));
    if (reader->failed || !what.group_id || strlen(what.group_id) >= RAYI_ID_SIZE || number == 0 || what.count == 0 ||
        what.count > RAYI_BUNDLES_MOST || find(n, number))
        return false;
    what.bundles = bundles = rayi_alloc(what.count * sizeof *bundles);
    for (uint32_t i = 0; bundles && i < what.count; i++)
        if (!(bundles[i] = rayi_take_text(reader)))
            reader->failed = true;
    is_kept = bundles && !reader->failed && keep(n, number, &what);
    rayi_free((void *)bundles);
    if (!is_kept && !reader->failed)
        answer(n, number, false);
    return !reader->failed;
}

bool rayi_parts_take(rayi_neighbour *n, enum rayi_between what, rayi_reader *reader)
{
    rayi_cluster *cluster = n->cluster;
    uint64_t number;
    rayi_part *part;
    bool is_reserved;

    if (what == RAYI_BETWEEN_PART_RESERVE)
        return take_reserve(n, reader);
    if (what == RAYI_BETWEEN_GROUP_WATCH)
        return take_watch(n, reader);
    if (what == RAYI_BETWEEN_GROUP_NEWS)
        return take_news(n, reader);
    number = rayi_take_u64(reader);
    if (what == RAYI_BETWEEN_PART_RELEASE) {
        part = reader->failed ? NULL : find(n, number);
        if (part)
            drop(part);
        return !reader->failed;
    }
    is_reserved = rayi_take_u8(reader) != 0;
    if (!reader->failed)
        cluster->node.part_answered(cluster->node.node, &n->id, number, is_reserved);
    return !reader->failed;
}

void rayi_parts_end(rayi_neighbour *n)
{
    while (n->parts)
        drop(n->parts);
}
