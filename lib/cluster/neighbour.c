/* Neighbours: a session with each other node, carried by connections. The session is a brain (transport/session.h); it
 * is asked what it wants after each event. While it is asked, events other than sending may not be told it: links that
 * could not be used are noted (lost) and told afterwards. */
#include "cluster/inside.h"

#include <stdio.h>

/* The list counts it: who ends while it is looked after may have something to do again, and is found there. */
void rayi_neighbour_mark(rayi_neighbour *n)
{
    if (n->is_dirty)
        return;
    n->is_dirty = true;
    rayi_neighbour_ref(n);
    n->next_dirty = n->cluster->dirty;
    n->cluster->dirty = n;
}

rayi_neighbour *rayi_neighbour_find(rayi_cluster *cluster, const rayi_node_id *id)
{
    rayi_neighbour *n;

    HASH_FIND(hh, cluster->neighbours, id, sizeof *id, n);
    return n;
}

void rayi_neighbour_ref(rayi_neighbour *n)
{
    n->refs++;
}

void rayi_neighbour_unref(rayi_neighbour *n)
{
    if (--n->refs > 0)
        return;
    rayi_free(n->address);
    rayi_free(n);
}

const char *rayi_neighbour_fate(const rayi_neighbour *n)
{
    return n->is_broken ? "does not talk to this one any more: one of them has sent what no node sends" : "died";
}

rayi_error *rayi_neighbour_error(const rayi_neighbour *n, const char *what)
{
    return rayi_error_new(RAY_ERR_NODE_DIED, what, n->name, "%s%snode %s %s", what ? what : "", what ? ": " : "",
                          n->name, rayi_neighbour_fate(n));
}

/* ---- its life ---- */

static rayi_neighbour *make(rayi_cluster *cluster, const rayi_member *member)
{
    const rayi_memory *memory = rayi_heap;
    rayi_neighbour *n = rayi_zalloc(sizeof *n);
    rayi_peer_options options = {.dials = member->address ? RAYI_PEER_DIALS_WHEN_NEEDED : RAYI_PEER_DIALS_NEVER};

    if (!n)
        return NULL;
    n->id = member->id;
    n->incarnation = member->incarnation;
    n->cluster = cluster;
    n->refs = 2; /* the table's, and its own until it has ended */
    n->address = member->address ? rayi_strdup(member->address) : NULL;
    rayi_hex(n->name, n->id.bytes, sizeof n->id.bytes);
    n->is_near = cluster->maps && member->host == cluster->self.host;
    n->pid = member->pid;
    memcpy(options.self.node, cluster->id.bytes, sizeof options.self.node);
    options.self.incarnation = cluster->incarnation;
    memcpy(options.peer.node, n->id.bytes, sizeof options.peer.node);
    options.peer.incarnation = n->incarnation;
    rayi_random_bytes(&options.chance, sizeof options.chance);
    if ((member->address && !n->address) || rayi_peer_new(rayi_heap, &options, rayi_cluster_now(), &n->peer) < 0) {
        rayi_free(n->address);
        rayi_free(n);
        return NULL;
    }
    HASH_ADD(hh, cluster->neighbours, id, sizeof n->id, n);
    if (!n->hh.tbl) {
        rayi_peer_free(n->peer);
        rayi_free(n->address);
        rayi_free(n);
        return NULL;
    }
    n->tick_ms = rayi_peer_next_tick_ms(n->peer);
    return n;
}

/* Out of memory it is tried again with the next change of the table. */
void rayi_neighbour_put(rayi_cluster *cluster, const rayi_member *member)
{
    rayi_neighbour *n = rayi_neighbour_find(cluster, &member->id);

    if (cluster->incarnation == 0 || (n && n->incarnation >= member->incarnation) ||
        rayi_broken_is(cluster, &member->id, member->incarnation))
        return;
    if (n) {
        rayi_neighbour_die(n);
        rayi_neighbours_pump(cluster);
    }
    (void)make(cluster, member);
}

/* It leaves the table at once, so that another incarnation may have its place; what was outstanding ends when the
 * session says so. */
void rayi_neighbour_die(rayi_neighbour *n)
{
    const rayi_memory *memory = rayi_heap;

    HASH_DEL(n->cluster->neighbours, n);
    n->cluster->node.gone(n->cluster->node.node, &n->id);
    rayi_objects_node_died(n->cluster, &n->id);
    rayi_maps_node_died(n);
    rayi_peer_declare_dead(n->peer, rayi_cluster_now());
    rayi_neighbour_mark(n);
    rayi_neighbour_unref(n);
}

void rayi_neighbour_end(rayi_neighbour *n)
{
    rayi_neighbour_asks_end(n);
    rayi_afar_end_all(n);
    rayi_away_end(n);
    rayi_hosted_end(n);
    rayi_residents_end(n);
    rayi_handles_end(n);
    rayi_parts_end(n);
    rayi_names_end(n);
}

static void lose(rayi_neighbour *n, uint32_t number)
{
    if (n->num_lost < RAYI_COUNT_OF(n->lost))
        n->lost[n->num_lost++] = number;
}

/* All links, whether the session still knows them or not. */
static void hang_up(rayi_neighbour *n)
{
    rayi_connection *c, *next;

    DL_FOREACH_SAFE(n->cluster->connections, c, next)
    {
        if (c->neighbour != n)
            continue;
        lose(n, c->number);
        rayi_connection_close(c);
    }
}

static void ended(rayi_neighbour *n)
{
    rayi_peer *peer = n->peer;

    n->peer = NULL;
    hang_up(n);
    rayi_neighbour_end(n);
    rayi_codes_node_died(n->cluster, &n->id); /* when nothing of its job runs here any more */
    rayi_peer_free(peer);
    rayi_neighbour_unref(n);
}

/* ---- connections ---- */

static rayi_connection *connection_of(const rayi_neighbour *n, uint32_t number)
{
    rayi_connection *c;

    DL_FOREACH (n->cluster->connections, c) {
        if (c->neighbour == n && c->number == number)
            return c;
    }
    return NULL;
}

static void take_over(rayi_neighbour *n, rayi_connection *c, uint32_t number)
{
    c->kind = RAYI_CONNECTION_TALK;
    c->neighbour = n;
    c->number = number;
}

static void dial(rayi_neighbour *n, uint32_t number)
{
    rayi_connection *c;

    if (!n->address || rayi_connection_dial(n->cluster, n->address, n->name, 3000, RAYI_CONNECTION_TALK, &c) < 0)
        lose(n, number);
    else
        take_over(n, c, number);
}

static void send_frame(rayi_neighbour *n, const rayi_peer_action *action)
{
    rayi_connection *c = connection_of(n, action->link);

    if (!c || rayi_link_send(c->link, RAYI_LINK_FRAME, action->bytes, action->size_bytes) < 0) {
        lose(n, action->link);
        if (c)
            rayi_connection_close(c);
        return;
    }
    c->unwritten += action->size_bytes;
    if (c->is_writing)
        return;
    c->is_writing = true;
    c->next_writing = n->cluster->writing;
    n->cluster->writing = c;
}

void rayi_neighbour_adopts(rayi_neighbour *n, rayi_connection *c, const rayi_session_frame *hello)
{
    take_over(n, c, 0);
    c->number = rayi_peer_accept(n->peer, hello, rayi_cluster_now());
    rayi_neighbour_mark(n);
    rayi_neighbours_pump(n->cluster);
}

void rayi_neighbour_linked(rayi_connection *c)
{
    rayi_peer_up(c->neighbour->peer, c->number, rayi_cluster_now());
    rayi_neighbour_mark(c->neighbour);
}

void rayi_neighbour_unlinked(rayi_connection *c)
{
    if (!c->neighbour->peer)
        return;
    rayi_peer_down(c->neighbour->peer, c->number, rayi_cluster_now());
    rayi_neighbour_mark(c->neighbour);
}

void rayi_neighbour_wrote(rayi_connection *c, size_t size)
{
    if (!c->neighbour->peer)
        return;
    rayi_peer_wrote(c->neighbour->peer, c->number, size, rayi_cluster_now());
    rayi_neighbour_mark(c->neighbour);
}

/* ---- messages ---- */

bool rayi_neighbour_take(rayi_neighbour *n, rayi_frame_kind kind, const void *bytes, size_t size)
{
    rayi_reader reader = rayi_reader_of(bytes, size);
    enum rayi_between what = rayi_take_u8(&reader);

    if ((kind == RAYI_FRAME_REQUEST) != (what == RAYI_BETWEEN_TASK || what == RAYI_BETWEEN_HANDLE_READY))
        return false;
    switch (what) {
    case RAYI_BETWEEN_TASK:
        return rayi_hosted_take(n, &reader);
    case RAYI_BETWEEN_FUNCTION:
        return rayi_hosted_function(n, &reader);
    case RAYI_BETWEEN_SHAPE:
        return rayi_hosted_shape(n, &reader);
    case RAYI_BETWEEN_CANCEL:
        return rayi_hosted_cancel(n, &reader);
    case RAYI_BETWEEN_CREDIT:
        return rayi_flow_take_credit(n, &reader);
    case RAYI_BETWEEN_INHERIT:
        return rayi_hosted_inherit(n, &reader);
    case RAYI_BETWEEN_ITEM:
        return rayi_stream_take_item(n, &reader);
    case RAYI_BETWEEN_RESULT:
        return rayi_away_result(n, &reader);
    case RAYI_BETWEEN_REFUSE:
        return rayi_away_refused(n, &reader);
    case RAYI_BETWEEN_COMPLETE:
        return rayi_names_take_complete(n, &reader);
    case RAYI_BETWEEN_RELEASE:
        return rayi_names_take_release(n, &reader);
    case RAYI_BETWEEN_ASK:
        return rayi_asks_serve(n, &reader);
    case RAYI_BETWEEN_ANSWER:
        return rayi_asks_answered(n, &reader);
    case RAYI_BETWEEN_ACTOR:
        return rayi_resident_take(n, &reader);
    case RAYI_BETWEEN_ACTOR_END:
        return rayi_resident_take_end(n, &reader);
    case RAYI_BETWEEN_ACTOR_UP:
        return rayi_afar_take_up(n, &reader);
    case RAYI_BETWEEN_ACTOR_GONE:
        return rayi_afar_take_gone(n, &reader);
    case RAYI_BETWEEN_HANDLE_KILL:
    case RAYI_BETWEEN_HANDLE_READY:
    case RAYI_BETWEEN_HANDLE_RELEASE:
        return rayi_handles_take(n, what, &reader);
    case RAYI_BETWEEN_ACTOR_REFUSE:
        return rayi_afar_take_refused(n, &reader);
    case RAYI_BETWEEN_KNOWN:
        return rayi_away_known(n, &reader);
    case RAYI_BETWEEN_MAP:
    case RAYI_BETWEEN_MAPPED:
    case RAYI_BETWEEN_UNMAP:
    case RAYI_BETWEEN_COPY:
    case RAYI_BETWEEN_PLACES:
    case RAYI_BETWEEN_KEEP:
    case RAYI_BETWEEN_KEPT:
    case RAYI_BETWEEN_MOVED:
        return rayi_objects_take(n, what, &reader);
    case RAYI_BETWEEN_PART_RESERVE:
    case RAYI_BETWEEN_PART_RELEASE:
    case RAYI_BETWEEN_PART_ANSWER:
    case RAYI_BETWEEN_GROUP_WATCH:
    case RAYI_BETWEEN_GROUP_NEWS:
        return rayi_parts_take(n, what, &reader);
    case RAYI_BETWEEN_CODE:
        return rayi_code_take(n, &reader);
    }
    return false;
}

/* Who sends what no node sends loses its links; the second time it is broken. */
static void deliver(rayi_neighbour *n, const rayi_peer_action *action)
{
    if (rayi_neighbour_take(n, action->kind, action->bytes, action->size_bytes))
        return;
    rayi_broken_message(n, action->bytes, action->size_bytes);
    hang_up(n);
}

static void obey(rayi_neighbour *n, const rayi_peer_action *action, bool *is_over)
{
    rayi_connection *c;

    switch (action->what) {
    case RAYI_PEER_DO_DIAL:
        dial(n, action->link);
        break;
    case RAYI_PEER_DO_CLOSE:
        if (action->fault)
            rayi_log(RAY_LOG_WARNING, "link.corrupt", n->name, "node %s %s; the link is closed", n->name,
                     action->fault);
        if (action->fault)
            rayi_broken_count(n, action->fault);
        c = connection_of(n, action->link);
        if (c)
            rayi_connection_close(c);
        break;
    case RAYI_PEER_DO_SEND:
        send_frame(n, action);
        break;
    case RAYI_PEER_DO_DELIVER:
        deliver(n, action);
        break;
    case RAYI_PEER_DO_GIVE_BACK: /* what it was about ends with the neighbour */
        break;
    case RAYI_PEER_DO_CREDIT:
        rayi_away_go_on(n);
        break;
    case RAYI_PEER_DO_CONNECTED:
        rayi_log(RAY_LOG_DEBUG, action->connected ? "node.connected" : "node.disconnected", n->name,
                 "there is %s to node %s", action->connected ? "a link" : "no link", n->name);
        break;
    case RAYI_PEER_DO_NEWER: /* so this one is dead: the table will say so, and of the new one */
        break;
    case RAYI_PEER_DO_OUTLIVED: /* it has ended the session: it takes this node for dead, or for broken */
        rayi_log(RAY_LOG_INFO, "node.outlived", n->name, "node %s has ended its session with this node", n->name);
        n->is_broken = true;
        break;
    case RAYI_PEER_DO_ENDED:
        *is_over = true;
        break;
    }
}

/* True: it has ended. */
static bool do_all(rayi_neighbour *n)
{
    rayi_peer_action action;
    bool is_over = false;

    do {
        while (n->num_lost > 0)
            rayi_peer_down(n->peer, n->lost[--n->num_lost], rayi_cluster_now());
        while (!is_over && rayi_peer_next(n->peer, &action))
            obey(n, &action, &is_over);
    } while (!is_over && n->num_lost > 0);
    return is_over;
}

static void pump(rayi_neighbour *n)
{
    bool is_over = do_all(n);

    if (!is_over && n->is_broken) {
        rayi_broken_remember(n);
        n->cluster->is_out_of_step = true;
        rayi_cluster_stir(n->cluster);
        rayi_neighbour_die(n);
        is_over = do_all(n);
    }
    if (is_over)
        ended(n);
    else
        n->tick_ms = rayi_peer_next_tick_ms(n->peer);
}

/* Nothing that is called from here pumps: a neighbour that gets something to do meanwhile is dirty again. */
void rayi_neighbours_pump(rayi_cluster *cluster)
{
    if (cluster->is_pumping)
        return;
    cluster->is_pumping = true;
    for (rayi_neighbour *n; (n = cluster->dirty);) {
        cluster->dirty = n->next_dirty;
        n->is_dirty = false;
        if (n->peer)
            pump(n);
        else if (n->is_own)
            rayi_own_pump(n);
        rayi_neighbour_unref(n);
    }
    cluster->is_pumping = false;
}

void rayi_neighbour_receive(rayi_connection *c, const void *bytes, size_t size)
{
    rayi_neighbour *n = c->neighbour;
    rayi_cluster *cluster = n->cluster;

    if (!n->peer)
        return;
    if (cluster->is_head)
        rayi_head_heard(cluster, &n->id, n->incarnation);
    rayi_peer_receive(n->peer, c->number, bytes, size, rayi_cluster_now());
    rayi_neighbour_ref(n);
    rayi_neighbour_mark(n);
    rayi_neighbours_pump(cluster);
    if (n->peer && n->tick_ms < cluster->due_ms)
        rayi_cluster_set_timer(cluster);
    rayi_neighbour_unref(n);
}

int rayi_neighbour_send(rayi_neighbour *n, rayi_frame_kind kind, const rayi_writer *writer)
{
    int r;

    if (n->is_own)
        return rayi_own_send(n, kind, writer);
    if (!n->peer)
        return RAY_ERR_NODE_DIED;
    if (writer->failed)
        return RAY_ERR_NO_MEMORY;
    r = rayi_peer_send(n->peer, kind, 0, writer->data, writer->size, NULL, 0, rayi_cluster_now());
    rayi_neighbour_mark(n);
    return r;
}

void rayi_between_begin(rayi_writer *writer, enum rayi_between what)
{
    rayi_writer_init(writer);
    rayi_put_u8(writer, (uint8_t)what);
}

void rayi_between_say(rayi_neighbour *n, rayi_writer *writer)
{
    (void)rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, writer);
    rayi_writer_fini(writer);
}

void rayi_neighbour_done(rayi_neighbour *n, uint64_t requests)
{
    if (!n->peer)
        return;
    rayi_peer_done(n->peer, requests, rayi_cluster_now());
    rayi_neighbour_mark(n);
}

/* ---- time ---- */

void rayi_neighbours_tick(rayi_cluster *cluster, int64_t now_ms)
{
    for (rayi_neighbour *n = cluster->neighbours; n; n = n->hh.next) {
        rayi_neighbour_asks_tick(n, now_ms);
        if (n->tick_ms > now_ms)
            continue;
        rayi_peer_tick(n->peer, now_ms);
        rayi_neighbour_mark(n);
    }
}

int64_t rayi_neighbours_next_tick(const rayi_cluster *cluster)
{
    int64_t next = INT64_MAX;

    for (const rayi_neighbour *n = cluster->neighbours; n; n = n->hh.next)
        next = RAYI_MIN(next, RAYI_MIN(n->tick_ms, rayi_asks_next_tick(&n->asks)));
    return next;
}
