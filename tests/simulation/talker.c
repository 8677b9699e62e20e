/* A node that talks: it has a session with each other node and answers requests. */
#include "talk.h"

#include "mesh.h"

#include <string.h>

typedef struct friend
{
    bool short_of_credit;
    int backlog; /* requests that wait for credit */
}
friend;

struct talker {
    world *w;
    sim *s;
    int node;
    uint64_t incarnation;
    counted heap;
    mesh mesh;
    friend friends[SIM_NODES_MAX];
};

static int64_t now(const talker *t)
{
    return sim_now(t->s, t->node);
}

static uint64_t name_of(int node, uint64_t incarnation)
{
    return (uint64_t)node | incarnation << 8;
}

static uint64_t incarnation_of(const talker *t, int with)
{
    return t->mesh.sessions[with].incarnation;
}

/* ---- answering ---- */

/* Requests are answered later; the friend may be another by then. */
static void reply(void *arg, uint64_t at, uint64_t with, uint64_t serial)
{
    world *w = arg;
    int node = (int)(at & 255), to = (int)(with & 255);
    talker *t = sim_self(w->s, node);
    if (!t || t->incarnation != at >> 8)
        return;
    if (!mesh_talks_to(&t->mesh, to, with >> 8))
        return;
    if (!sim_is_running(w->s, node))
        sim_after(w->s, 100, reply, w, at, with, serial);
    else
        talker_send(t, to, TALK_REPLY, serial);
}

static void finish(talker *t, int with)
{
    truth_done(t->w->truth, t->node, t->incarnation, with, incarnation_of(t, with));
    rayi_peer_done(t->mesh.sessions[with].peer, 1, now(t));
}

/* The request is over some time after its reply. */
static void done(void *arg, uint64_t at, uint64_t with, uint64_t unused)
{
    world *w = arg;
    int to = (int)(with & 255);
    talker *t = sim_self(w->s, (int)(at & 255));
    (void)unused;
    if (!t || t->incarnation != at >> 8 || !mesh_talks_to(&t->mesh, to, with >> 8))
        return;
    if (!sim_is_running(w->s, t->node)) {
        sim_after(w->s, 100, done, w, at, with, 0);
        return;
    }
    finish(t, to);
    mesh_fetch(&t->mesh, to);
}

/* ---- what sessions want ---- */

static void deliver(void *self, int with, const rayi_peer_action *a)
{
    talker *t = self;
    payload p;
    truth_delivered(t->w->truth, t->node, t->incarnation, with, incarnation_of(t, with), a->kind, a->bytes,
                    a->size_bytes);
    memcpy(&p, a->bytes, PAYLOAD_LEAST);
    if (p.kind != TALK_REQUEST)
        return;
    if (sim_chance(t->s, 30))
        talker_send(t, with, TALK_REPLY, p.serial);
    else
        sim_after(t->s, (int64_t)sim_below(t->s, 200), reply, t->w, name_of(t->node, t->incarnation),
                  name_of(with, incarnation_of(t, with)), p.serial);
}

static void on_credit(void *self, int with)
{
    talker *t = self;
    friend *f = &t->friends[with];
    f->short_of_credit = false;
    for (; f->backlog > 0 && !f->short_of_credit && !t->mesh.sessions[with].ended; f->backlog--)
        talker_send(t, with, TALK_REQUEST, ++t->w->serial);
}

static void give_back(void *self, int with, const rayi_peer_action *a)
{
    talker *t = self;
    truth_given_back(t->w->truth, t->node, t->incarnation, with, incarnation_of(t, with), a->tag, a->bytes,
                     a->size_bytes);
}

static void on_dead(void *self, int with)
{
    talker *t = self;
    truth_dead(t->w->truth, t->node, t->incarnation, with, incarnation_of(t, with));
}

static void on_settled(void *self, int with)
{
    talker *t = self;
    truth_settled(t->w->truth, t->node, t->incarnation, with, incarnation_of(t, with));
}

static void check_memory(void *self)
{
    talker *t = self;
    long each = 2 + 2 * (long)t->w->options.window + NOTES_MOST;
    if (t->heap.live > each * (sim_nodes(t->s) - 1))
        sim_fail(t->s, "%d holds %ld blocks", t->node, t->heap.live);
}

static void on_begun(void *self, int with)
{
    ((talker *)self)->friends[with] = (friend){0};
}

static void set_options(void *self, int with, rayi_peer_options *options)
{
    const talker *t = self;
    if (t->w->hidden && with == 0)
        options->dials = RAYI_PEER_DIALS_NEVER;
    if (t->w->hidden && t->node == 0)
        options->dials = RAYI_PEER_DIALS_ALWAYS;
}

static const mesh_calls calls = {.options = set_options,
                                 .begun = on_begun,
                                 .deliver = deliver,
                                 .credit = on_credit,
                                 .give_back = give_back,
                                 .dead = on_dead,
                                 .settled = on_settled,
                                 .fetched = check_memory};

/* ---- sending ---- */

static void fill(talker *t, payload *p, int to, talk_kind kind, uint64_t serial)
{
    *p = (payload){.from = (uint32_t)t->node,
                   .to = (uint32_t)to,
                   .kind = kind,
                   .size = (uint32_t)(PAYLOAD_LEAST + sim_below(t->s, PAYLOAD_MOST)),
                   .from_incarnation = t->incarnation,
                   .to_incarnation = incarnation_of(t, to),
                   .serial = serial};
    for (size_t i = 0; i < p->size - PAYLOAD_LEAST; i++)
        p->filler[i] = (unsigned char)(serial * 31 + i);
}

static void reply_later(talker *t, int to, uint64_t serial)
{
    sim_after(t->s, 10, reply, t->w, name_of(t->node, t->incarnation), name_of(to, incarnation_of(t, to)), serial);
}

void talker_send(talker *t, int to, talk_kind kind, uint64_t serial)
{
    friend *f = &t->friends[to];
    payload p;
    if (kind != TALK_REPLY && !mesh_session_with(&t->mesh, to, t->w->deaths.known[to]))
        return;
    rayi_peer *peer = t->mesh.sessions[to].peer;
    rayi_peer_facts facts = rayi_peer_look(peer);
    if (kind == TALK_NOTE && facts.held >= NOTES_MOST)
        return;
    fill(t, &p, to, kind, serial);
    if (sim_chance(t->s, t->w->out_of_memory))
        counted_fail(&t->heap, 1);
    size_t half = sim_below(t->s, p.size + 1);
    int r = rayi_peer_send(peer, kind == TALK_REQUEST ? RAYI_FRAME_REQUEST : RAYI_FRAME_MESSAGE, serial, &p, half,
                           (const char *)&p + half, p.size - half, now(t));
    counted_fail(&t->heap, 0);
    if (r == 0) {
        truth_sent(t->w->truth, &p);
    } else if (r == RAY_ERR_LIMIT && kind == TALK_REQUEST && facts.credit == 0) {
        f->short_of_credit = true;
        f->backlog += f->backlog < BACKLOG_MOST;
    } else if (r != RAY_ERR_NO_MEMORY) {
        sim_fail(t->s, "%d cannot send to %d: %d", t->node, to, r);
    }
    if (kind == TALK_REPLY && r == 0) {
        if (sim_chance(t->s, 50))
            sim_after(t->s, (int64_t)sim_below(t->s, t->w->linger_ms), done, t->w, name_of(t->node, t->incarnation),
                      name_of(to, incarnation_of(t, to)), 0);
        else
            finish(t, to);
    } else if (kind == TALK_REPLY) {
        reply_later(t, to, serial);
    }
    mesh_fetch(&t->mesh, to);
}

void talker_meet(talker *t, int with)
{
    rayi_peer *peer = mesh_session_with(&t->mesh, with, t->w->deaths.known[with]);
    if (!peer)
        return;
    rayi_peer_tick(peer, now(t));
    mesh_fetch(&t->mesh, with);
}

void talker_wake(talker *t, int with)
{
    mesh_session *of = &t->mesh.sessions[with];
    if (!of->peer || of->ended)
        return;
    rayi_peer_wake(of->peer, now(t));
    mesh_fetch(&t->mesh, with);
}

void talker_declare_dead(talker *t, int with, uint64_t incarnation)
{
    mesh_declare_dead(&t->mesh, with, incarnation);
}

/* ---- calls of the simulator ---- */

static void *start(sim *s, int node, uint64_t incarnation)
{
    talker *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    *t = (talker){.w = sim_world(s), .s = s, .node = node, .incarnation = incarnation};
    counted_init(&t->heap);
    t->mesh = (mesh){.s = s,
                     .node = node,
                     .incarnation = incarnation,
                     .calls = &calls,
                     .owner = t,
                     .memory = &t->heap.memory,
                     .options = t->w->options};
    mesh_init(&t->mesh);
    t->w->deaths.known[node] = incarnation;
    for (int i = 0; i < sim_nodes(s); i++)
        t->mesh.sessions[i].dead = t->w->deaths.dead[i];
    return t;
}

static void crash(void *self)
{
    talker *t = self;
    mesh_fini(&t->mesh);
    if (t->heap.live)
        sim_fail(t->s, "%d leaves %ld blocks behind", t->node, t->heap.live);
    free(t);
}

static void up(void *self, sim_end end)
{
    mesh_up(&((talker *)self)->mesh, end);
}

static void accepted(void *self, sim_end end, int from)
{
    (void)from; /* the HELLO says it */
    mesh_accepted(&((talker *)self)->mesh, end);
}

static void down(void *self, sim_end end)
{
    mesh_down(&((talker *)self)->mesh, end);
}

static void message(void *self, sim_end end, const void *bytes, size_t size)
{
    mesh_message(&((talker *)self)->mesh, end, bytes, size);
}

static void wrote(void *self, sim_end end, size_t size)
{
    mesh_wrote(&((talker *)self)->mesh, end, size);
}

static void timer(void *self)
{
    mesh_timer(&((talker *)self)->mesh);
}

static int64_t next_timer(const void *self)
{
    return mesh_next_timer(&((const talker *)self)->mesh);
}

const sim_node_calls talker_calls = {start, crash, up, accepted, down, message, wrote, timer, next_timer};

void talker_check_credit(talker *t)
{
    for (int i = 0; i < sim_nodes(t->s); i++)
        if (t->friends[i].short_of_credit && !t->mesh.sessions[i].ended)
            sim_fail(t->s, "%d still waits for credit of %d", t->node, i);
}

void talker_check(talker *t)
{
    long sessions = 0;
    for (int i = 0; i < sim_nodes(t->s); i++) {
        const mesh_session *of = &t->mesh.sessions[i];
        sessions += of->peer != NULL;
        if (of->peer && !of->ended && of->incarnation != sim_incarnation(t->s, i))
            sim_fail(t->s, "%d still talks to incarnation %llu of %d", t->node, (unsigned long long)of->incarnation, i);
    }
    if (t->heap.live != sessions)
        sim_fail(t->s, "%d has %ld sessions and holds %ld blocks", t->node, sessions, t->heap.live);
}
