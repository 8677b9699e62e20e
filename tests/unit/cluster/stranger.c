#include "stranger.h"

#include "../watched.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static struct {
    rayi_node *node;
    rayi_node_id id;
    uint64_t life;
    bool is_near;
    /* the session, from its end */
    uint64_t incarnation, dial, sent, limit;
    uint64_t heard; /* the last message that came over a link */
    uint32_t link;
    unsigned heard_of[256];
    atomic_long until; /* the next block that is not given; 0: none */
    pthread_t loop;
} it;

/* ---- memory, and the log ---- */

static bool must_fail(void)
{
    return atomic_load(&it.until) > 0 && pthread_equal(pthread_self(), it.loop) && atomic_fetch_sub(&it.until, 1) == 1;
}

void stranger_watch(void)
{
    watched_begin("node.corrupt", must_fail);
}

long stranger_rubbish(void)
{
    return watched_events();
}

long stranger_left_over(void)
{
    return watched_left_over();
}

void stranger_starve(long nth)
{
    atomic_store(&it.until, nth);
}

/* ---- the head ---- */

static void judge(void *most)
{
    it.node->cluster->faults_most = *(const unsigned *)most;
}

static void judge_from(unsigned most)
{
    stranger_on_loop(judge, &most);
}

void stranger_is_judged(void)
{
    judge_from(RAYI_FAULTS_MOST);
}

bool stranger_start(void)
{
    ray_config config = {.size = sizeof config,
                         .role = RAY_ROLE_HEAD,
                         .address = "127.0.0.1:0",
                         .no_key = true,
                         .isolation = RAY_ISOLATION_THREAD,
                         .resources = "CPU=2, near=2",
                         .spill_dir = "",
                         .store_bytes = 64 << 20,
                         .num_threads = 1,
                         .timeout_ms = 50};
    rayi_thread *thread;

    watched_mark();
    if (ray_init(&config) < 0 || !(thread = rayi_enter()))
        return false;
    it.node = rayi_node_of(thread);
    it.loop = it.node->loop_thread;
    it.id = (rayi_node_id){.bytes = {7, 7, 7}};
    it.life = it.dial = it.sent = it.limit = 0;
    judge_from(UINT_MAX); /* there is to be much of it */
    return true;
}

enum { MOST_ACTORS = 64 };
typedef struct actors {
    ray_actor *all[MOST_ACTORS]; /* counted */
    size_t count;
} actors;

static void collect(void *arg, ray_actor *actor)
{
    actors *found = arg;

    if (found->count < MOST_ACTORS && rayi_record_try_ref(rayi_actor_record(actor)))
        found->all[found->count++] = actor;
}

/* The end of an actor that lives elsewhere would be waited for, for seconds. */
int stranger_stop(void)
{
    stranger_starve(0);
    actors found = {.count = 0};

    rayi_actors_for_each(it.node->executor, collect, &found);
    for (size_t i = 0; i < found.count; i++) {
        (void)rayi_actor_kill(rayi_self, found.all[i], false);
        rayi_record_unref(rayi_self, rayi_actor_record(found.all[i]));
    }
    it.node = NULL;
    return ray_shutdown();
}

rayi_node *stranger_node(void)
{
    return it.node;
}

typedef struct job {
    void (*fn)(void *arg);
    void *arg;
} job;

static int do_job(rayi_node *node, void *arg)
{
    const job *j = arg;

    /* It is there as long as the test says so: its silence, while a busy machine keeps the test waiting, is not held
     * against it. */
    (void)rayi_members_heard(node->cluster->members, &it.id, it.incarnation, rayi_cluster_now());
    if (j->fn)
        j->fn(j->arg);
    return 0;
}

void stranger_on_loop(void (*fn)(void *arg), void *arg)
{
    (void)rayi_node_ask(rayi_self, do_job, &(job){fn, arg});
}

/* What other threads leave to the loop they leave within a moment. */
void stranger_settle(void)
{
    for (int i = 0; i < 3; i++)
        stranger_on_loop(NULL, NULL);
}

/* ---- membership ---- */

rayi_neighbour *stranger(void)
{
    return rayi_neighbour_find(it.node->cluster, &it.id);
}

static void join(void *arg)
{
    static const rayi_member_resource resources[] = {
        {.name = "CPU", .total = 4 * RAYI_RESOURCE_UNIT, .available = 4 * RAYI_RESOURCE_UNIT},
        {.name = "far", .total = 8 * RAYI_RESOURCE_UNIT, .available = 8 * RAYI_RESOURCE_UNIT}};
    rayi_cluster *cluster = it.node->cluster;
    rayi_members_reply reply = {0};
    rayi_member_message message = {.what = RAYI_MEMBER_JOIN,
                                   .as.join = {.protocol = RAYI_MEMBERS_PROTOCOL,
                                               .node = {.id = it.id,
                                                        .key = {.bytes = {9}},
                                                        .life = it.life,
                                                        .host = it.is_near ? cluster->self.host : 1,
                                                        .pid = it.is_near ? getpid() : 1,
                                                        .labels = "",
                                                        .resources = resources,
                                                        .resource_count = RAYI_COUNT_OF(resources)}}};

    if (rayi_members_serve(cluster->members, &it.id, &message, rayi_cluster_now(), &reply) == 0 && reply.answers &&
        reply.answer.verdict == RAYI_VERDICT_ACCEPTED) {
        it.incarnation = reply.answer.incarnation;
        it.dial = it.sent = it.heard = 0;
        it.limit = RAYI_PEER_FIRST_CREDIT;
        *(bool *)arg = true;
        rayi_cluster_sync(cluster);
        rayi_cluster_pump(cluster);
    }
}

bool stranger_join(bool is_near)
{
    bool joined = false;

    it.life++;
    it.is_near = is_near;
    stranger_on_loop(join, &joined);
    return joined;
}

static void leave(void *arg)
{
    rayi_cluster *cluster = it.node->cluster;
    rayi_members_reply reply;

    (void)arg;
    (void)rayi_members_serve(cluster->members, &it.id,
                             &(rayi_member_message){.what = RAYI_MEMBER_LEAVE, .as.incarnation = it.incarnation},
                             rayi_cluster_now(), &reply);
    rayi_cluster_pump(cluster);
}

void stranger_leave(void)
{
    stranger_on_loop(leave, NULL);
}

/* ---- the session ---- */

void stranger_grant(uint64_t most)
{
    it.limit = RAYI_MAX(it.limit, most);
}

/* Takes what goes over the link. */
static void listen_to(rayi_neighbour *n)
{
    rayi_peer_action action;
    rayi_session_frame frame;
    size_t size = 0;

    while (rayi_peer_next(n->peer, &action)) {
        if (action.what == RAYI_PEER_DO_CREDIT)
            rayi_away_go_on(n);
        if (action.what != RAYI_PEER_DO_SEND || action.link != it.link)
            continue;
        size += action.size_bytes;
        if (rayi_frame_read(action.bytes, action.size_bytes, &frame) == 0 &&
            (frame.kind == RAYI_FRAME_REQUEST || frame.kind == RAYI_FRAME_MESSAGE) && frame.number > it.heard) {
            it.heard = frame.number;
            it.heard_of[*frame.payload]++;
        }
    }
    rayi_peer_wrote(n->peer, it.link, size, rayi_cluster_now());
}

/* The session gives each link up as soon as it has something to send that nobody has asked for. */
static void dial(rayi_neighbour *n)
{
    unsigned char bytes[RAYI_HELLO_SIZE];
    rayi_session_frame hello = {.kind = RAYI_FRAME_HELLO,
                                .from = it.incarnation,
                                .to = it.node->cluster->incarnation,
                                .number = ++it.dial,
                                .received = it.heard,
                                .limit = it.limit,
                                .size = 2 * RAYI_NODE_ID_SIZE};

    rayi_frame_write_head(bytes, &hello);
    memcpy(bytes + RAYI_FRAME_HEAD, &it.id, RAYI_NODE_ID_SIZE);
    memcpy(bytes + RAYI_FRAME_HEAD + RAYI_NODE_ID_SIZE, &it.node->cluster->id, RAYI_NODE_ID_SIZE);
    RAYI_ASSERT(rayi_frame_read(bytes, sizeof bytes, &hello) == 0);
    it.link = rayi_peer_accept(n->peer, &hello, rayi_cluster_now());
    listen_to(n);
}

typedef struct message {
    rayi_frame_kind kind;
    const void *bytes;
    size_t size;
} message;

static void say(void *arg)
{
    const message *m = arg;
    rayi_cluster *cluster = it.node->cluster;
    rayi_neighbour *n = stranger();
    rayi_session_frame frame = {.kind = m->kind,
                                .from = it.incarnation,
                                .to = cluster->incarnation,
                                .number = it.sent + 1,
                                .limit = it.limit,
                                .size = m->size};
    unsigned char *bytes;

    if (!n)
        return;
    dial(n);
    frame.received = it.heard;
    bytes = malloc(RAYI_FRAME_HEAD + m->size); /* of its own size, so that a read beyond it is seen */
    RAYI_ASSERT(bytes);
    rayi_frame_write_head(bytes, &frame);
    if (m->size > 0)
        memcpy(bytes + RAYI_FRAME_HEAD, m->bytes, m->size);
    rayi_peer_receive(n->peer, it.link, bytes, RAYI_FRAME_HEAD + m->size, rayi_cluster_now());
    if (rayi_peer_look(n->peer).state == RAYI_PEER_OPEN)
        it.sent++; /* else it was sent without credit */
    rayi_neighbour_mark(n);
    rayi_neighbours_pump(cluster);
    free(bytes);
    rayi_cluster_pump(cluster);
}

void stranger_say(rayi_frame_kind kind, const void *bytes, size_t size)
{
    message m = {kind, bytes, size};

    stranger_on_loop(say, &m);
}

static void hear(void *arg)
{
    (void)arg;
    if (stranger())
        dial(stranger());
}

unsigned stranger_heard(enum rayi_between what)
{
    stranger_on_loop(hear, NULL);
    return it.heard_of[what];
}

/* ---- an observer ---- */

static rayi_connection *observer(rayi_cluster *cluster)
{
    rayi_connection *c;

    DL_FOREACH (cluster->connections, c) {
        if (c->kind == RAYI_CONNECTION_OBSERVER)
            return c;
    }
    if (rayi_connection_dial(cluster, rayi_cluster_own_address(cluster), "an observer", 1000, RAYI_CONNECTION_OBSERVER,
                             &c) < 0)
        return NULL;
    c->observer = ++cluster->last_observer;
    return c;
}

static void ask(void *arg)
{
    const message *m = arg;
    rayi_cluster *cluster = it.node->cluster;
    rayi_connection *c = observer(cluster);
    unsigned char *bytes = malloc(m->size > 0 ? m->size : 1);

    RAYI_ASSERT(bytes);
    if (m->size > 0)
        memcpy(bytes, m->bytes, m->size);
    if (c)
        rayi_observed_take(c, bytes, m->size);
    free(bytes);
    rayi_cluster_pump(cluster);
}

void stranger_asks(const void *bytes, size_t size)
{
    message m = {.bytes = bytes, .size = size};

    stranger_on_loop(ask, &m);
}
