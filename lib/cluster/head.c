/* The head: what its table wants done. Members sit on the links that they have dialled (seats); a node of this host is
 * watched by a descriptor of its process, so that its end is known when it comes. */
#include "cluster/inside.h"
#include "process/process.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PUBLISH_MOST     (64 << 10) /* bytes of a table that is told unasked */
#define PROBE_TIMEOUT_MS 1000

typedef struct rayi_watch {
    uv_poll_t poll; /* first */
    struct rayi_watch *prev, *next;
    rayi_cluster *cluster;
    rayi_node_id id;
    uint64_t incarnation;
    int fd;
} rayi_watch;

/* ---- processes of this host ---- */

static void on_watch_closed(uv_handle_t *handle)
{
    rayi_watch *w = (rayi_watch *)handle;
    rayi_cluster *cluster = w->cluster;

    close(w->fd);
    rayi_free(w);
    rayi_cluster_handle_closed(cluster);
}

static void unwatch(rayi_watch *w)
{
    DL_DELETE(w->cluster->watches, w);
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static void on_end(uv_poll_t *poll, int status, int events)
{
    rayi_watch *w = (rayi_watch *)poll;
    rayi_cluster *cluster = w->cluster;

    (void)status, (void)events;
    rayi_members_process_gone(cluster->members, &w->id, w->incarnation, rayi_cluster_now());
    unwatch(w);
    rayi_cluster_pump(cluster);
}

/* Where the kernel has no such descriptors, silence tells. */
static void watch(rayi_cluster *cluster, const rayi_members_action *action)
{
    rayi_watch *w = rayi_zalloc(sizeof *w);
    int fd = w ? (int)syscall(SYS_pidfd_open, (pid_t)action->pid, 0) : -1;

    if (fd < 0) {
        rayi_free(w);
        if (w && errno == ESRCH)
            rayi_members_process_gone(cluster->members, &action->id, action->incarnation, rayi_cluster_now());
        return;
    }
    w->fd = fd;
    w->cluster = cluster;
    w->id = action->id;
    w->incarnation = action->incarnation;
    if (uv_poll_init(cluster->node.loop, &w->poll, fd) < 0) {
        close(fd);
        rayi_free(w);
        return;
    }
    cluster->num_uv++;
    DL_APPEND(cluster->watches, w);
    uv_poll_start(&w->poll, UV_READABLE, on_end);
}

static void probe(rayi_cluster *cluster, const rayi_members_action *action)
{
    rayi_connection *c;

    if (rayi_connection_dial(cluster, action->address, "a node that is silent", PROBE_TIMEOUT_MS, RAYI_CONNECTION_PROBE,
                             &c) < 0)
        return;
    c->node = action->id;
    c->incarnation = action->incarnation;
}

void rayi_head_refused(rayi_connection *c)
{
    rayi_members_dial_refused(c->cluster->members, &c->node, c->incarnation, rayi_cluster_now());
}

/* ---- telling ---- */

static bool is_seated(const rayi_connection *c)
{
    return c->kind == RAYI_CONNECTION_SEAT && c->incarnation != 0;
}

static void publish(rayi_cluster *cluster)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_members_publish(cluster->members, PUBLISH_MOST, &writer);
    rayi_cluster_bus_publish(cluster, &writer);
    rayi_writer_fini(&writer);
}

static void tell_death(rayi_cluster *cluster, const rayi_members_action *action)
{
    rayi_member_message message = {
        .what = RAYI_MEMBER_DEATH,
        .as.death = {.id = action->id, .incarnation = action->incarnation, .cause = action->cause}};
    rayi_neighbour *dead = rayi_neighbour_find(cluster, &action->id);
    rayi_connection *c;

    rayi_cluster_bus_hush(cluster);
    DL_FOREACH (cluster->connections, c) {
        if (is_seated(c))
            rayi_connection_send_member(c, &message);
    }
    if (dead && dead->incarnation <= action->incarnation) {
        rayi_log(RAY_LOG_INFO, "node.died", dead->name, "node %s is dead: %s", dead->name,
                 rayi_death_text(action->cause));
        rayi_neighbour_die(dead);
    }
}

void rayi_head_pump(rayi_cluster *cluster)
{
    rayi_members_action action;
    bool changed = false;

    while (rayi_members_next(cluster->members, rayi_cluster_now(), &action)) {
        switch (action.what) {
        case RAYI_MEMBERS_DEATH:
            tell_death(cluster, &action);
            changed = true;
            break;
        case RAYI_MEMBERS_WATCH:
            watch(cluster, &action);
            break;
        case RAYI_MEMBERS_PROBE:
            probe(cluster, &action);
            break;
        case RAYI_MEMBERS_PUBLISH:
            publish(cluster);
            changed = true;
            break;
        case RAYI_MEMBERS_SAVE:
            RAYI_ASSERT(!"a table that is not saved");
        }
    }
    if (changed)
        rayi_cluster_sync(cluster);
}

/* ---- what members say ---- */

static void reply_to(rayi_connection *c, const rayi_members_reply *reply)
{
    rayi_member_message message = {.what = RAYI_MEMBER_ANSWER, .as.answer = reply->answer};
    rayi_writer writer;

    if (reply->answers)
        rayi_connection_send_member(c, &message);
    if (!reply->tables)
        return;
    rayi_writer_init(&writer);
    rayi_members_since(c->cluster->members, reply->since, &writer);
    rayi_connection_send_written(c, RAYI_LINK_MEMBER, &writer);
    rayi_writer_fini(&writer);
}

/* Who sits there now; another link of the same node makes way. */
static void seat(rayi_connection *c, const rayi_node_id *id, uint64_t incarnation)
{
    rayi_cluster *cluster = c->cluster;
    rayi_connection *other, *next;

    DL_FOREACH_SAFE(cluster->connections, other, next)
    {
        if (other != c && is_seated(other) && memcmp(&other->node, id, sizeof *id) == 0)
            rayi_connection_close(other);
    }
    c->node = *id;
    c->incarnation = incarnation;
    rayi_cluster_bus_admit(c);
    rayi_cluster_sync(cluster);
}

void rayi_head_take(rayi_connection *c, const void *bytes, size_t size)
{
    rayi_cluster *cluster = c->cluster;
    const uint8_t *key = rayi_link_peer(c->link);
    rayi_member_message message;
    rayi_members_reply reply = {0};
    rayi_node_id from = c->node;
    int r = rayi_member_message_take(bytes, size, &message);

    if (r == 0 && message.what == RAYI_MEMBER_JOIN) {
        from = message.as.join.node.id;
        if (key)
            memcpy(&message.as.join.node.key, key, sizeof message.as.join.node.key);
    } else if (!is_seated(c)) {
        r = RAY_ERR_ARGUMENT;
    }
    if (r == 0)
        r = rayi_members_serve(cluster->members, &from, &message, rayi_cluster_now(), &reply);
    if (r == RAY_ERR_ARGUMENT) {
        rayi_log(RAY_LOG_WARNING, "link.corrupt", NULL, "%s: a message that no node sends; the link is closed",
                 rayi_link_address(c->link));
        rayi_head_lost(c);
        rayi_connection_close(c);
        return;
    }
    if (r < 0)
        return;
    reply_to(c, &reply);
    if (message.what == RAYI_MEMBER_JOIN && reply.answers && reply.answer.verdict == RAYI_VERDICT_ACCEPTED)
        seat(c, &from, reply.answer.incarnation);
}

void rayi_head_heard(rayi_cluster *cluster, const rayi_node_id *id, uint64_t incarnation)
{
    (void)rayi_members_heard(cluster->members, id, incarnation, rayi_cluster_now());
}

void rayi_head_lost(rayi_connection *c)
{
    if (!is_seated(c))
        return;
    rayi_cluster_bus_hush(c->cluster);
    rayi_members_link_closed(c->cluster->members, &c->node, c->incarnation, rayi_cluster_now());
}

int rayi_cluster_drain(rayi_cluster *cluster, const rayi_node_id *id)
{
    int r = rayi_members_drain(cluster->members, id, rayi_cluster_now());

    return r == 0 ? 0 : rayi_fail(r, "there is no such node in the cluster");
}

/* ---- start and end ---- */

int rayi_head_start(rayi_cluster *cluster)
{
    rayi_members_options options = {.generation = 1, .host = rayi_process_host(), .unsaved = true};
    int r;

    rayi_random_bytes(options.cluster.bytes, sizeof options.cluster.bytes);
    rayi_random_bytes(&cluster->self.life, sizeof cluster->self.life);
    cluster->self.life |= 1; /* 0 is none */
    r = rayi_members_new(rayi_heap, &options, rayi_cluster_now(), &cluster->members);
    if (r == 0)
        r = rayi_members_lead(cluster->members, &cluster->self, rayi_cluster_now(), &cluster->incarnation);
    return r == RAY_ERR_NO_MEMORY ? rayi_fail(r, "out of memory: the table of nodes") : r;
}

/* To all who sit or look on, behind everything else that they are told. */
void rayi_head_say_good_bye(rayi_cluster *cluster)
{
    const rayi_member_message message = {.what = RAYI_MEMBER_END,
                                         .as.generation = rayi_members_generation(cluster->members)};
    rayi_connection *c, *next;

    DL_FOREACH_SAFE(cluster->connections, c, next)
    {
        if (!is_seated(c) && c->kind != RAYI_CONNECTION_OBSERVER)
            continue;
        rayi_connection_send_member(c, &message);
        rayi_connection_finish(c);
    }
}

void rayi_head_stop(rayi_cluster *cluster)
{
    while (cluster->watches)
        unwatch(cluster->watches);
}
