#include "mesh.h"

#include <stdlib.h>

static int64_t now(const mesh *m)
{
    return sim_now(m->s, m->node);
}

void mesh_init(mesh *m)
{
    RAYI_ASSERT(m->calls->deliver);
}

void mesh_fini(mesh *m)
{
    for (int i = 0; i < SIM_NODES_MAX; i++)
        rayi_peer_free(m->sessions[i].peer);
    free(m->connections);
}

/* ---- connections ---- */

static void add(mesh *m, sim_end end, int with, uint32_t link)
{
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 16;
        m->connections = realloc(m->connections, m->room * sizeof *m->connections);
        if (!m->connections)
            abort();
    }
    m->connections[m->count++] = (mesh_connection){end, with, link};
}

static mesh_connection *by_end(mesh *m, sim_end end)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->connections[i].end == end)
            return &m->connections[i];
    return NULL;
}

static mesh_connection *by_link(mesh *m, int with, uint32_t link)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->connections[i].with == with && m->connections[i].link == link)
            return &m->connections[i];
    sim_fail(m->s, "%d: link %u to %d is unknown", m->node, link, with);
}

static void forget(mesh *m, mesh_connection *c)
{
    *c = m->connections[--m->count];
}

/* ---- what a session wants ---- */

static void crash_by_number(void *arg, uint64_t node, uint64_t incarnation, uint64_t unused)
{
    sim *s = arg;
    (void)unused;
    if (sim_self(s, (int)node) && sim_incarnation(s, (int)node) == incarnation)
        sim_crash(s, (int)node);
}

static void declare(mesh *m, int with)
{
    mesh_session *of = &m->sessions[with];
    if (of->ended)
        return;
    of->ended = true;
    of->dead = of->incarnation > of->dead ? of->incarnation : of->dead;
    if (m->calls->dead)
        m->calls->dead(m->owner, with);
    rayi_peer_declare_dead(of->peer, now(m));
}

static void obey(mesh *m, int with, const rayi_peer_action *a)
{
    mesh_connection *c;
    switch (a->what) {
    case RAYI_PEER_DO_DIAL:
        add(m, sim_dial(m->s, m->node, with), with, a->link);
        break;
    case RAYI_PEER_DO_CLOSE:
        if (a->fault)
            sim_fail(m->s, "%d finds that %d %s", m->node, with, a->fault);
        c = by_link(m, with, a->link);
        sim_close(m->s, c->end);
        forget(m, c);
        break;
    case RAYI_PEER_DO_SEND:
        sim_send(m->s, by_link(m, with, a->link)->end, a->bytes, a->size_bytes);
        break;
    case RAYI_PEER_DO_DELIVER:
        m->calls->deliver(m->owner, with, a);
        break;
    case RAYI_PEER_DO_GIVE_BACK:
        if (m->calls->give_back)
            m->calls->give_back(m->owner, with, a);
        break;
    case RAYI_PEER_DO_CREDIT:
        if (m->calls->credit)
            m->calls->credit(m->owner, with);
        break;
    case RAYI_PEER_DO_CONNECTED:
        sim_trace(m->s, "%d is %sconnected to %d", m->node, a->connected ? "" : "not ", with);
        break;
    case RAYI_PEER_DO_NEWER: /* so this one is dead: else nobody had made the other a member */
        declare(m, with);
        break;
    case RAYI_PEER_DO_OUTLIVED: /* this node was declared dead: it begins anew */
        sim_after(m->s, 0, crash_by_number, m->s, (uint64_t)m->node, m->incarnation, 0);
        break;
    case RAYI_PEER_DO_ENDED:
        if (m->calls->settled)
            m->calls->settled(m->owner, with);
        break;
    }
}

void mesh_fetch(mesh *m, int with)
{
    rayi_peer_action a;
    int count = 0;
    while (rayi_peer_next(m->sessions[with].peer, &a)) {
        obey(m, with, &a);
        if (++count > 100000)
            sim_fail(m->s, "%d: no end of actions for %d", m->node, with);
    }
    if (m->calls->fetched)
        m->calls->fetched(m->owner);
}

/* ---- sessions ---- */

static void end_of(rayi_end *out, int node, uint64_t incarnation)
{
    *out = (rayi_end){.node = {(unsigned char)(node + 1)}, .incarnation = incarnation};
}

bool mesh_talks_to(const mesh *m, int with, uint64_t incarnation)
{
    const mesh_session *of = &m->sessions[with];
    return of->peer && of->incarnation == incarnation && !of->ended;
}

rayi_peer *mesh_session_with(mesh *m, int with, uint64_t incarnation)
{
    mesh_session *of = &m->sessions[with];
    rayi_peer_options options = m->options;
    if (of->peer && !of->ended && incarnation > of->incarnation) {
        declare(m, with);
        mesh_fetch(m, with);
    }
    if (mesh_talks_to(m, with, incarnation))
        return of->peer;
    if (incarnation <= of->dead || (of->peer && incarnation <= of->incarnation))
        return NULL;
    rayi_peer *fresh;
    end_of(&options.self, m->node, m->incarnation);
    end_of(&options.peer, with, incarnation);
    options.chance = sim_random(m->s);
    if (m->calls->options)
        m->calls->options(m->owner, with, &options);
    if (rayi_peer_new(m->memory, &options, now(m), &fresh))
        return NULL;
    rayi_peer_free(of->peer);
    *of = (mesh_session){.peer = fresh, .incarnation = incarnation, .dead = of->dead};
    if (m->calls->begun)
        m->calls->begun(m->owner, with);
    return fresh;
}

void mesh_declare_dead(mesh *m, int with, uint64_t incarnation)
{
    mesh_session *of = &m->sessions[with];
    if (of->peer && of->incarnation == incarnation) {
        declare(m, with);
        mesh_fetch(m, with);
    }
    of->dead = incarnation > of->dead ? incarnation : of->dead;
}

/* ---- calls of the simulator ---- */

void mesh_up(mesh *m, sim_end end)
{
    mesh_connection *c = by_end(m, end);
    int with = c->with;
    rayi_peer_up(m->sessions[with].peer, c->link, now(m));
    mesh_fetch(m, with);
}

void mesh_accepted(mesh *m, sim_end end)
{
    add(m, end, -1, 0); /* the HELLO says from whom */
}

void mesh_down(mesh *m, sim_end end)
{
    mesh_connection c = *by_end(m, end);
    forget(m, by_end(m, end));
    if (c.with < 0)
        return;
    rayi_peer_down(m->sessions[c.with].peer, c.link, now(m));
    mesh_fetch(m, c.with);
}

static void turn_away(mesh *m, sim_end end, const rayi_session_frame *hello, uint64_t to)
{
    unsigned char refusal[RAYI_FRAME_HEAD];
    rayi_frame_write_refusal(refusal, m->incarnation, to);
    if (hello->from < to)
        sim_send(m->s, end, refusal, sizeof refusal);
    sim_close(m->s, end);
    forget(m, by_end(m, end));
}

/* The first frame of a connection that another node dialled. */
static void greet(mesh *m, mesh_connection *c, const void *bytes, size_t size)
{
    rayi_session_frame hello;
    if (rayi_frame_read(bytes, size, &hello) || hello.kind != RAYI_FRAME_HELLO)
        sim_fail(m->s, "%d: end %llu does not begin with a HELLO", m->node, (unsigned long long)c->end);
    int with = hello.payload[0] - 1;
    sim_end end = c->end;
    rayi_peer *peer = mesh_session_with(m, with, hello.from);
    if (!peer) {
        turn_away(m, end, &hello, m->sessions[with].dead + 1);
        return;
    }
    c = by_end(m, end);
    c->link = rayi_peer_accept(peer, &hello, now(m));
    c->with = with;
    mesh_fetch(m, with);
}

void mesh_message(mesh *m, sim_end end, const void *bytes, size_t size)
{
    mesh_connection *c = by_end(m, end);
    int with = c->with;
    if (with < 0) {
        greet(m, c, bytes, size);
        return;
    }
    if (sim_chance(m->s, 10))
        rayi_peer_heard(m->sessions[with].peer, c->link, now(m));
    rayi_peer_receive(m->sessions[with].peer, c->link, bytes, size, now(m));
    mesh_fetch(m, with);
}

void mesh_wrote(mesh *m, sim_end end, size_t size)
{
    mesh_connection *c = by_end(m, end);
    if (!c || c->with < 0)
        return;
    int with = c->with;
    rayi_peer_wrote(m->sessions[with].peer, c->link, size, now(m));
    mesh_fetch(m, with);
}

void mesh_timer(mesh *m)
{
    for (int i = 0; i < sim_nodes(m->s); i++) {
        rayi_peer *peer = m->sessions[i].peer;
        if (!peer || rayi_peer_next_tick_ms(peer) > now(m))
            continue;
        rayi_peer_tick(peer, now(m));
        mesh_fetch(m, i);
        if (rayi_peer_next_tick_ms(m->sessions[i].peer) <= now(m))
            sim_fail(m->s, "%d: a tick for %d leaves something to tick for", m->node, i);
    }
}

int64_t mesh_next_timer(const mesh *m)
{
    int64_t first = INT64_MAX;
    for (int i = 0; i < sim_nodes(m->s); i++) {
        if (!m->sessions[i].peer)
            continue;
        int64_t at = rayi_peer_next_tick_ms(m->sessions[i].peer);
        first = at < first ? at : first;
    }
    return first;
}
