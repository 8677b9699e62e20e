/* Connections: what a link is for is said by its first message. One that a member dialled to the head stays a seat; one
 * whose first message is the HELLO of a session is handed to the neighbour whom it names, if its key is the one that
 * the table has for that node. A HELLO may come before the table has its sender: then the connection waits for the
 * table. */
#include "cluster/inside.h"

#define EARLY_MOST 256

static rayi_connection *add(rayi_cluster *cluster, rayi_link *link, enum rayi_connection_kind kind)
{
    rayi_connection *c = rayi_zalloc(sizeof *c);

    if (!c)
        return NULL;
    c->cluster = cluster;
    c->link = link;
    c->kind = kind;
    DL_APPEND(cluster->connections, c);
    return c;
}

static void forget(rayi_connection *c)
{
    rayi_cluster *cluster = c->cluster;

    if (c->is_writing) {
        rayi_connection **at = &cluster->writing;
        while (*at != c)
            at = &(*at)->next_writing;
        *at = c->next_writing;
    }
    if (cluster->seat == c)
        cluster->seat = NULL;
    DL_DELETE(cluster->connections, c);
    rayi_free(c);
}

void rayi_connection_close(rayi_connection *c)
{
    rayi_link_close(c->link);
    forget(c);
}

void rayi_connection_finish(rayi_connection *c)
{
    if (!rayi_link_finish(c->link)) {
        forget(c);
        return;
    }
    c->is_awaited = true;
    c->cluster->num_awaited++;
}

/* ---- sending ---- */

void rayi_connection_send_written(rayi_connection *c, enum rayi_link_type type, const rayi_writer *writer)
{
    if (writer->failed || rayi_link_send(c->link, type, writer->data, writer->size) < 0)
        return; /* what it lacks it asks for again */
}

void rayi_connection_send_member(rayi_connection *c, const rayi_member_message *message)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_member_message_put(&writer, message);
    rayi_connection_send_written(c, RAYI_LINK_MEMBER, &writer);
    rayi_writer_fini(&writer);
}

void rayi_connection_written(rayi_connection *c)
{
    size_t queued = rayi_link_queued_bytes(c->link), written;

    if (queued >= c->unwritten)
        return;
    written = c->unwritten - queued;
    c->unwritten = queued;
    rayi_neighbour_wrote(c, written);
}

/* ---- the first message ---- */

/* Is it who it says? Without a cluster key nobody can say. */
static bool is_genuine(const rayi_connection *c, const rayi_member *member)
{
    const uint8_t *key = rayi_link_peer(c->link);

    return !key || memcmp(key, &member->key, sizeof member->key) == 0;
}

/* The neighbour that this HELLO is for: 1 and *out; 0: not yet; -1: nobody. */
static int find_addressee(rayi_connection *c, const rayi_session_frame *hello, rayi_neighbour **out)
{
    rayi_cluster *cluster = c->cluster;
    const rayi_member *member;
    rayi_node_id from;

    memcpy(&from, hello->payload, sizeof from);
    if (memcmp(hello->payload + sizeof from, &cluster->id, sizeof cluster->id) != 0)
        return -1;
    member = rayi_roster_get(rayi_cluster_roster(cluster), &from);
    *out = rayi_neighbour_find(cluster, &from);
    if (!member || !*out || hello->from > (*out)->incarnation)
        return 0;
    return is_genuine(c, member) ? 1 : -1;
}

/* From one that is broken: so that it knows that the session is over. */
static void refuse(rayi_connection *c, const rayi_session_frame *hello)
{
    unsigned char refusal[RAYI_FRAME_HEAD];

    rayi_frame_write_refusal(refusal, c->cluster->incarnation, hello->from + 1);
    if (rayi_link_send(c->link, RAYI_LINK_FRAME, refusal, sizeof refusal) == 0)
        rayi_link_finish(c->link);
    else
        rayi_connection_close(c);
}

static bool is_of_broken(const rayi_connection *c, const rayi_session_frame *hello)
{
    rayi_node_id from;

    memcpy(&from, hello->payload, sizeof from);
    return rayi_broken_is(c->cluster, &from, hello->from);
}

static void greet(rayi_connection *c, const void *bytes)
{
    rayi_neighbour *neighbour;
    rayi_session_frame hello;
    int found;

    if (rayi_frame_read(bytes, RAYI_HELLO_SIZE, &hello) < 0 || hello.kind != RAYI_FRAME_HELLO) {
        rayi_connection_close(c);
        return;
    }
    found = find_addressee(c, &hello, &neighbour);
    if (found == 0 && is_of_broken(c, &hello)) {
        refuse(c, &hello);
    } else if (found > 0) {
        rayi_neighbour_adopts(neighbour, c, &hello);
    } else if (found == 0) {
        memcpy(c->hello, bytes, RAYI_HELLO_SIZE);
        c->kind = RAYI_CONNECTION_EARLY;
    } else {
        rayi_connection_close(c);
    }
}

static rayi_connection *next_due(rayi_cluster *cluster)
{
    rayi_connection *c;

    DL_FOREACH (cluster->connections, c) {
        if (c->is_due)
            return c;
    }
    return NULL;
}

/* Greeting one looks after neighbours, which may close any other. */
void rayi_connections_look_again(rayi_cluster *cluster)
{
    rayi_connection *c, *next;
    unsigned early = 0;

    DL_FOREACH (cluster->connections, c)
        c->is_due = c->kind == RAYI_CONNECTION_EARLY;
    while ((c = next_due(cluster))) {
        c->is_due = false;
        c->kind = RAYI_CONNECTION_NEW;
        greet(c, c->hello);
    }
    DL_FOREACH (cluster->connections, c) /* the oldest make way */
        early += c->kind == RAYI_CONNECTION_EARLY;
    for (c = cluster->connections; c && early > EARLY_MOST; c = next) {
        next = c->next;
        if (c->kind == RAYI_CONNECTION_EARLY) {
            rayi_connection_close(c);
            early--;
        }
    }
}

/* ---- events ---- */

static void on_accepted(rayi_link *link, void *arg)
{
    rayi_connection *c = add(arg, link, RAYI_CONNECTION_NEW);

    rayi_link_set_arg(link, c);
    if (!c)
        rayi_link_close(link);
}

static void on_dialled(rayi_link *link, void *arg)
{
    rayi_connection *c = arg;

    (void)link;
    switch (c->kind) {
    case RAYI_CONNECTION_SEAT:
        rayi_member_linked(c);
        break;
    case RAYI_CONNECTION_TALK:
        rayi_neighbour_linked(c);
        break;
    case RAYI_CONNECTION_PROBE:
        rayi_connection_close(c);
        return;
    case RAYI_CONNECTION_NEW:
    case RAYI_CONNECTION_EARLY:
    case RAYI_CONNECTION_OBSERVER:
        return;
    }
    rayi_cluster_pump(c->cluster);
}

static void on_member_message(rayi_connection *c, const void *bytes, size_t size)
{
    rayi_cluster *cluster = c->cluster;

    if (cluster->is_head && !cluster->is_closing &&
        (c->kind == RAYI_CONNECTION_NEW || c->kind == RAYI_CONNECTION_SEAT)) {
        c->kind = RAYI_CONNECTION_SEAT;
        rayi_head_take(c, bytes, size);
    } else if (c == cluster->seat) {
        rayi_member_take_message(c, bytes, size);
    } else {
        rayi_connection_close(c);
    }
    rayi_cluster_pump(cluster);
}

static void on_question(rayi_connection *c, const void *bytes, size_t size)
{
    rayi_cluster *cluster = c->cluster;

    if (c->kind == RAYI_CONNECTION_NEW) {
        c->kind = RAYI_CONNECTION_OBSERVER;
        c->observer = ++cluster->last_observer;
    }
    rayi_observed_take(c, bytes, size);
    rayi_cluster_pump(cluster);
}

static void on_message(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size)
{
    rayi_connection *c = arg;

    (void)link;
    if (type == RAYI_LINK_FRAME && c->kind == RAYI_CONNECTION_TALK)
        rayi_neighbour_receive(c, bytes, size);
    else if (type == RAYI_LINK_MEMBER)
        on_member_message(c, bytes, size);
    else if (type == RAYI_LINK_TICKET && c == c->cluster->seat)
        rayi_cluster_bus_take_ticket(c->cluster, bytes, size);
    else if (type == RAYI_LINK_HINT && c == c->cluster->seat)
        rayi_member_take_hint(c, bytes, size);
    else if (type == RAYI_LINK_FRAME && c->kind == RAYI_CONNECTION_NEW && size == RAYI_HELLO_SIZE)
        greet(c, bytes);
    else if (type == RAYI_LINK_OBSERVE && (c->kind == RAYI_CONNECTION_NEW || c->kind == RAYI_CONNECTION_OBSERVER))
        on_question(c, bytes, size);
    else
        rayi_connection_close(c);
}

static void on_drain(rayi_link *link, void *arg)
{
    rayi_connection *c = arg;

    (void)link;
    if (c->kind != RAYI_CONNECTION_TALK)
        return;
    rayi_connection_written(c);
    rayi_neighbours_pump(c->cluster);
}

static void on_close(rayi_link *link, void *arg, rayi_link_why why)
{
    rayi_connection *c = arg;
    rayi_cluster *cluster = c->cluster;

    (void)link;
    if (c->is_awaited) {
        forget(c);
        if (--cluster->num_awaited == 0)
            rayi_cluster_left(cluster);
        return;
    }
    switch (c->kind) {
    case RAYI_CONNECTION_SEAT:
        if (cluster->is_head)
            rayi_head_lost(c);
        else
            rayi_member_unlinked(c, why);
        break;
    case RAYI_CONNECTION_TALK:
        rayi_neighbour_unlinked(c);
        break;
    case RAYI_CONNECTION_PROBE:
        if (why == RAYI_LINK_REFUSED)
            rayi_head_refused(c);
        break;
    case RAYI_CONNECTION_NEW:
    case RAYI_CONNECTION_EARLY:
    case RAYI_CONNECTION_OBSERVER:
        break;
    }
    forget(c);
    rayi_cluster_pump(cluster);
}

static const rayi_link_events dialled = {
    .on_open = on_dialled, .on_message = on_message, .on_drain = on_drain, .on_close = on_close};

const rayi_link_events rayi_cluster_events = {
    .on_open = on_accepted, .on_message = on_message, .on_drain = on_drain, .on_close = on_close};

int rayi_connection_dial(rayi_cluster *cluster, const char *address, const char *who, int64_t timeout_ms,
                         enum rayi_connection_kind kind, rayi_connection **out)
{
    rayi_connection *c = add(cluster, NULL, kind);
    int r = c ? rayi_link_dial(cluster->transport, address, who, timeout_ms, &dialled, c, &c->link)
              : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a connection");

    if (r < 0 && c)
        forget(c);
    if (r == 0)
        *out = c;
    return r;
}
