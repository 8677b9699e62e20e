/* The bus of a cluster, which carries hints only: the head tells what has changed in the table, and asks nodes for
 * their load. Nodes get on it with a ticket, which comes over their link to the head (RAYI_LINK_TICKET: u32 number,
 * ticket); a new one, with a new secret, comes now and then. Who has just joined may not be on it yet, so for a while
 * it is told by link as well.
 *
 * It is opened with the first member: a head that is alone needs none. */
#include "cluster/inside.h"

#include <stdio.h>

#define ROTATE_MS INT64_C(600000)
#define SURVEY_MS 2000
#define YOUNG_MS  2000

/* ---- the head ---- */

static rayi_connection *seat_of_number(rayi_cluster *cluster, uint32_t number)
{
    rayi_connection *c;

    DL_FOREACH (cluster->connections, c) {
        if (c->kind == RAYI_CONNECTION_SEAT && c->incarnation != 0 && c->number == number)
            return c;
    }
    return NULL;
}

/* A load, as the node's own messages tell it: what it says is believed as far as theirs. */
static void on_answer(void *arg, uint32_t number, const void *bytes, size_t size)
{
    rayi_cluster *cluster = arg;
    rayi_connection *c = seat_of_number(cluster, number);
    rayi_member_message message;
    rayi_members_reply reply;

    if (!c || rayi_member_message_take(bytes, size, &message) < 0 || message.what != RAYI_MEMBER_TELL ||
        message.as.tell.incarnation != c->incarnation)
        return;
    (void)rayi_members_serve(cluster->members, &c->node, &message, rayi_cluster_now(), &reply);
    rayi_cluster_pump(cluster);
}

static const rayi_bus_events head_events = {.on_answer = on_answer};

static int open_head(rayi_cluster *cluster)
{
    const char *listened = rayi_listener_address(cluster->listener), *shown = cluster->texts[0];
    char host[RAYI_BUS_ADDRESS_SIZE], shown_host[RAYI_BUS_ADDRESS_SIZE];
    rayi_bus_head_options options = {.host = host,
                                     .shown = shown_host,
                                     .generation = 1,
                                     .secret = cluster->has_key ? &cluster->secret : NULL,
                                     .events = &head_events,
                                     .arg = cluster};
    int r = cluster->has_key ? rayi_bus_secret_make(1, &cluster->secret) : 0;

    /* "[::1]:80" names the host ::1 */
    snprintf(host, sizeof host, "%.*s", (int)(strrchr(listened, ':') - listened - 2 * (*listened == '[')),
             listened + (*listened == '['));
    snprintf(shown_host, sizeof shown_host, "%.*s", (int)(strrchr(shown, ':') - shown - 2 * (*shown == '[')),
             shown + (*shown == '['));
    if (r == 0)
        r = rayi_bus_open_head(cluster->node.loop, &options, &cluster->bus);
    cluster->rotate_ms = rayi_cluster_now() + ROTATE_MS;
    return r;
}

static uint32_t free_number(rayi_cluster *cluster, const rayi_connection *but)
{
    uint32_t number = 0;

    for (const rayi_connection *c; (c = seat_of_number(cluster, number)) && c != but; number++)
        ;
    return number;
}

static void send_ticket(rayi_connection *c, const rayi_bus_ticket *ticket)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u32(&writer, c->number);
    rayi_bus_ticket_put(&writer, ticket);
    rayi_connection_send_written(c, RAYI_LINK_TICKET, &writer);
    rayi_writer_fini(&writer);
}

/* Without a bus hints go by link, which costs the head more. */
void rayi_cluster_bus_admit(rayi_connection *c)
{
    rayi_cluster *cluster = c->cluster;
    rayi_bus_ticket ticket;

    c->number = UINT32_MAX;
    c->number = free_number(cluster, c);
    c->seated_ms = rayi_cluster_now();
    if (!cluster->bus && open_head(cluster) < 0) {
        rayi_log(RAY_LOG_WARNING, "bus.missing", NULL, "there is no bus, the links have to do: %s",
                 rayi_error_last_public()->message);
        return;
    }
    rayi_bus_ticket_get(cluster->bus, &ticket);
    send_ticket(c, &ticket);
    rayi_bus_ticket_wipe(&ticket);
}

static bool needs_link(const rayi_connection *c, int64_t now)
{
    return c->kind == RAYI_CONNECTION_SEAT && c->incarnation != 0 &&
           (!c->cluster->bus || now < c->seated_ms + YOUNG_MS);
}

void rayi_cluster_bus_publish(rayi_cluster *cluster, const rayi_writer *table)
{
    int64_t now = rayi_cluster_now();
    rayi_connection *c;

    if (table->failed)
        return;
    if (cluster->bus)
        (void)rayi_bus_publish(cluster->bus, table->data, table->size);
    DL_FOREACH (cluster->connections, c) {
        if (needs_link(c, now))
            rayi_connection_send_written(c, RAYI_LINK_HINT, table);
    }
}

void rayi_cluster_bus_hush(rayi_cluster *cluster)
{
    if (cluster->bus)
        rayi_bus_hush(cluster->bus);
}

/* Members have the new secret before the head uses it. */
static void rotate(rayi_cluster *cluster)
{
    rayi_bus_secret next;
    rayi_bus_ticket ticket;
    rayi_connection *c;

    if (!cluster->has_key || rayi_bus_secret_make(cluster->secret.epoch + 1, &next) < 0)
        return;
    rayi_bus_ticket_get(cluster->bus, &ticket);
    ticket.secret = next;
    DL_FOREACH (cluster->connections, c) {
        if (c->kind == RAYI_CONNECTION_SEAT && c->incarnation != 0)
            send_ticket(c, &ticket);
    }
    cluster->secret = next;
    (void)rayi_bus_set_secret(cluster->bus, &next);
    rayi_bus_secret_wipe(&next);
    rayi_bus_ticket_wipe(&ticket);
}

void rayi_cluster_bus_tick(rayi_cluster *cluster, int64_t now)
{
    uint32_t numbers = 0;
    rayi_connection *c;

    if (!cluster->bus || !cluster->is_head || now < cluster->survey_ms || rayi_bus_is_hushed(cluster->bus))
        return;
    cluster->survey_ms = now + SURVEY_MS;
    if (now >= cluster->rotate_ms) {
        cluster->rotate_ms = now + ROTATE_MS;
        rotate(cluster);
    }
    DL_FOREACH (cluster->connections, c) {
        if (c->kind == RAYI_CONNECTION_SEAT && c->incarnation != 0)
            numbers = RAYI_MAX(numbers, c->number + 1);
    }
    if (numbers > 0)
        (void)rayi_bus_survey(cluster->bus, numbers, "", 0);
}

/* ---- a member ---- */

static void on_publish(void *arg, const void *bytes, size_t size)
{
    rayi_cluster *cluster = arg;

    (void)rayi_membership_hint(cluster->membership, bytes, size, rayi_cluster_now());
    rayi_cluster_pump(cluster);
}

static void on_survey(void *arg, const void *bytes, size_t size, rayi_writer *answer)
{
    rayi_cluster *cluster = arg;
    rayi_member_message message = {.what = RAYI_MEMBER_TELL, .as.tell.incarnation = cluster->incarnation};

    (void)bytes, (void)size;
    message.as.tell.count = rayi_cluster_fill_tell(cluster, &message.as.tell.load, message.as.tell.available);
    rayi_member_message_put(answer, &message);
}

static const rayi_bus_events member_events = {.on_publish = on_publish, .on_survey = on_survey};

static void reopen(void *arg);

static void open_member(rayi_cluster *cluster)
{
    if (cluster->is_closing || rayi_bus_open_node(cluster->node.loop, &cluster->ticket, cluster->bus_number,
                                                  &member_events, cluster, &cluster->bus) == 0)
        return;
    rayi_log(RAY_LOG_WARNING, "bus.missing", NULL, "there is no bus, the link to the head has to do: %s",
             rayi_error_last_public()->message);
}

static void reopen(void *arg)
{
    rayi_cluster *cluster = arg;

    rayi_cluster_handle_closed(cluster);
    if (!cluster->is_closing && !cluster->bus) /* else a further ticket has opened one */
        open_member(cluster);
}

/* The same bus with a new secret, or another one. */
void rayi_cluster_bus_take_ticket(rayi_cluster *cluster, const void *bytes, size_t size)
{
    rayi_reader reader = rayi_reader_of(bytes, size);
    uint32_t number = rayi_take_u32(&reader);
    rayi_bus_ticket ticket;
    bool is_same;

    if (rayi_bus_ticket_take(&reader, &ticket) < 0)
        return;
    is_same = cluster->bus && number == cluster->bus_number &&
              memcmp(ticket.signer, cluster->ticket.signer, sizeof ticket.signer) == 0;
    cluster->bus_number = number;
    cluster->ticket = ticket;
    if (is_same && ticket.secret.epoch != 0) {
        (void)rayi_bus_set_secret(cluster->bus, &ticket.secret);
    } else if (!is_same && cluster->bus) {
        rayi_bus *old = cluster->bus;
        cluster->bus = NULL;
        cluster->num_uv++;
        rayi_bus_close(old, reopen, cluster);
    } else if (!is_same) {
        open_member(cluster);
    }
    rayi_bus_ticket_wipe(&ticket);
}

/* ---- the end ---- */

static void closed(void *arg)
{
    rayi_cluster_handle_closed(arg);
}

void rayi_cluster_bus_stop(rayi_cluster *cluster)
{
    rayi_bus *bus = cluster->bus;

    cluster->bus = NULL;
    rayi_bus_secret_wipe(&cluster->secret);
    rayi_bus_ticket_wipe(&cluster->ticket);
    if (!bus)
        return;
    cluster->num_uv++;
    rayi_bus_close(bus, closed, cluster);
}
