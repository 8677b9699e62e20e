/* Objects that are to outlive this node. Before it leaves, each one of ours that others hold gets a new home: one of
 * its holders is told to keep it (KEEP), brings it, and says so (KEPT); the others are told where it is now (MOVED),
 * and tell those whom they have passed it on to.
 *
 * The list of moves is the loop's. */
#include "cluster/inside.h"

enum { TRIES_MOST = 4 };

typedef struct move { /* of an object of ours */
    struct move *prev, *next;
    uint64_t number;
    uint32_t num_tried; /* nodes; the last of them is at it */
    rayi_node_id tried[TRIES_MOST];
} move;

typedef struct keeping { /* of an object of theirs */
    rayi_bringing bringing;
    rayi_neighbour *from; /* counted */
    uint64_t number;      /* there */
} keeping;

struct rayi_moves {
    move *moves;
    uint32_t num_failed;
    bool is_running;
    void (*done)(void *arg, uint32_t num_failed);
    void *arg;
};

/* ---- who is to keep it ---- */

static bool was_tried(const move *m, const rayi_node_id *id)
{
    for (uint32_t i = 0; i < m->num_tried; i++)
        if (memcmp(&m->tried[i], id, sizeof *id) == 0)
            return true;
    return false;
}

static void send_keep(rayi_neighbour *n, uint64_t number)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_KEEP);
    rayi_put_u64(&writer, number);
    rayi_between_say(n, &writer);
}

/* One that can map it, or has it already, before one that must copy it; NULL: nobody is left. */
static rayi_neighbour *choose(rayi_cluster *cluster, const move *m)
{
    rayi_object_place copies[TRIES_MOST];
    uint32_t count = 0;
    rayi_neighbour *best = NULL;
    rayi_shared *s;

    HASH_FIND(hh, cluster->shared, &m->number, sizeof m->number, s);
    for (rayi_neighbour *n = cluster->neighbours; s && n; n = n->hh.next)
        if (n->peer && rayi_names_holds(n, m->number) && !was_tried(m, &n->id) &&
            (!best || (n->is_near && !best->is_near)))
            best = n;
    if (s && s->copies && !(best && best->is_near))
        count = rayi_copies_list(s->copies, copies, TRIES_MOST);
    for (uint32_t i = 0; i < count; i++) {
        rayi_neighbour *n = rayi_neighbour_find(cluster, &copies[i].node);
        if (n && n->peer && !was_tried(m, &n->id))
            return n;
    }
    return best;
}

static void say_done(rayi_cluster *cluster)
{
    rayi_moves *moves = cluster->moves;

    if (moves->moves || !moves->is_running)
        return;
    moves->is_running = false;
    moves->done(moves->arg, moves->num_failed);
}

static void end_move(rayi_moves *moves, move *m, bool failed)
{
    DL_DELETE(moves->moves, m);
    moves->num_failed += failed;
    rayi_free(m);
}

/* What nobody holds any more need not be moved. */
static void try_next(rayi_cluster *cluster, move *m)
{
    rayi_neighbour *n = m->num_tried < TRIES_MOST ? choose(cluster, m) : NULL;
    rayi_shared *s;

    if (n) {
        m->tried[m->num_tried++] = n->id;
        send_keep(n, m->number);
        return;
    }
    HASH_FIND(hh, cluster->shared, &m->number, sizeof m->number, s);
    end_move(cluster->moves, m, s != NULL);
}

static bool is_ours(const rayi_record *record)
{
    return record->type == RAYI_OBJECT && rayi_object_block(record) && !rayi_wanted_of(record);
}

static int list_moves(rayi_cluster *cluster)
{
    for (rayi_shared *s = cluster->shared; s; s = s->hh.next) {
        move *m = is_ours(s->record) ? rayi_zalloc(sizeof *m) : NULL;
        if (m) {
            m->number = s->number;
            DL_APPEND(cluster->moves->moves, m);
        } else if (is_ours(s->record)) {
            return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the objects that are to be moved");
        }
    }
    return 0;
}

static int start(rayi_cluster *cluster)
{
    if (!cluster->moves)
        cluster->moves = rayi_zalloc(sizeof *cluster->moves);
    if (!cluster->moves)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: objects that move");
    return 0;
}

int rayi_moves_begin(rayi_cluster *cluster, void (*done)(void *arg, uint32_t num_failed), void *arg)
{
    int r = start(cluster);
    move *m, *next;

    if (r == 0 && cluster->moves->is_running)
        r = rayi_fail(RAY_ERR_EXISTS, "the objects of this node are being moved already");
    if (r == 0)
        r = list_moves(cluster);
    if (r < 0) {
        while (cluster->moves && !cluster->moves->is_running && (m = cluster->moves->moves))
            end_move(cluster->moves, m, false);
        return r;
    }
    cluster->moves->is_running = true;
    cluster->moves->num_failed = 0;
    cluster->moves->done = done;
    cluster->moves->arg = arg;
    DL_FOREACH_SAFE(cluster->moves->moves, m, next)
    try_next(cluster, m);
    say_done(cluster);
    return 0;
}

void rayi_moves_node_died(rayi_cluster *cluster, const rayi_node_id *id)
{
    move *m, *next;

    if (!cluster->moves)
        return;
    DL_FOREACH_SAFE(cluster->moves->moves, m, next)
    if (memcmp(&m->tried[m->num_tried - 1], id, sizeof *id) == 0)
        try_next(cluster, m);
    say_done(cluster);
}

/* ---- where it is now ---- */

static void send_moved(rayi_neighbour *n, const rayi_node_id *origin, uint64_t number, const rayi_object_place *place)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_MOVED);
    rayi_put_bytes(&writer, origin, sizeof *origin);
    rayi_put_u64(&writer, number);
    rayi_objects_put_place(&writer, place);
    rayi_between_say(n, &writer);
}

/* own: the number by which they know it from us. */
static void tell_holders(rayi_cluster *cluster, uint64_t own, const rayi_node_id *origin, uint64_t number,
                         const rayi_object_place *place)
{
    for (rayi_neighbour *n = cluster->neighbours; n; n = n->hh.next)
        if (n->peer && rayi_names_holds(n, own) && memcmp(&n->id, &place->node, sizeof n->id) != 0)
            send_moved(n, origin, number, place);
}

bool rayi_moves_take_kept(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_cluster *cluster = n->cluster;
    uint64_t number = rayi_take_u64(reader);
    bool yes = rayi_take_u8(reader);
    rayi_object_place place;
    move *m = NULL;

    if (yes && !rayi_objects_take_place(cluster, reader, &place))
        return false;
    if (cluster->moves)
        DL_SEARCH_SCALAR(cluster->moves->moves, m, number, number);
    if (reader->failed || (yes && memcmp(&place.node, &n->id, sizeof n->id) != 0))
        return false;
    if (!m || memcmp(&m->tried[m->num_tried - 1], &n->id, sizeof n->id) != 0)
        return true;
    if (yes) {
        tell_holders(cluster, number, &cluster->id, number, &place);
        end_move(cluster->moves, m, false);
    } else {
        try_next(cluster, m);
    }
    say_done(cluster);
    return true;
}

/* What others have from us they hear from us, once: what says nothing new is not passed on. */
bool rayi_moves_take_moved(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_cluster *cluster = n->cluster;
    const void *bytes = rayi_take_bytes(reader, sizeof(rayi_node_id));
    uint64_t number = rayi_take_u64(reader), own;
    rayi_object_place place;
    rayi_node_id origin;

    if (!bytes || !rayi_objects_take_place(cluster, reader, &place))
        return false;
    memcpy(&origin, bytes, sizeof origin);
    if (rayi_cluster_is_self(cluster, &place.node))
        return true;
    for (uint32_t i = 0; rayi_wanted_add_place(cluster, &origin, number, &place, &i, &own);)
        if (own)
            tell_holders(cluster, own, &origin, number, &place);
    return true;
}

/* ---- keeping ---- */

static void answer(rayi_neighbour *n, uint64_t number, uint64_t own)
{
    rayi_object_place place;
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_KEPT);
    rayi_put_u64(&writer, number);
    rayi_put_u8(&writer, own != 0);
    if (own) {
        rayi_objects_own_place(n->cluster, own, &place);
        rayi_objects_put_place(&writer, &place);
    }
    rayi_between_say(n, &writer);
}

static void finish(rayi_bringing *b, uint64_t own, rayi_error *why)
{
    keeping *k = rayi_container_of(b, keeping, bringing);
    rayi_cluster *cluster = k->from->cluster;
    rayi_object_place place;

    (void)why;
    if (own) { /* those who have it from us are known to nobody else */
        rayi_objects_own_place(cluster, own, &place);
        tell_holders(cluster, own, &k->from->id, k->number, &place);
    }
    answer(k->from, k->number, own);
    rayi_neighbour_unref(k->from);
    rayi_free(k);
}

bool rayi_moves_take_keep(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_cluster *cluster = n->cluster;
    uint64_t number = rayi_take_u64(reader);
    rayi_record *record = rayi_wanted_find(cluster, &n->id, number);
    keeping *k = record ? rayi_zalloc(sizeof *k) : NULL;

    if (k) {
        *k = (keeping){.bringing.done = finish, .from = n, .number = number};
        rayi_neighbour_ref(n);
    }
    if (!k || !rayi_bring(cluster, &k->bringing, record)) {
        answer(n, number, 0);
        if (k)
            rayi_neighbour_unref(n);
        rayi_free(k);
    }
    if (record)
        rayi_record_unref(cluster->node.thread, record);
    return !reader->failed;
}

/* ---- the end ---- */

void rayi_moves_stop(rayi_cluster *cluster)
{
    rayi_moves *moves = cluster->moves;
    move *m;

    if (!moves)
        return;
    while ((m = moves->moves))
        end_move(moves, m, true);
    say_done(cluster);
    rayi_free(moves);
    cluster->moves = NULL;
}
