/* The sessions of a node with each other node, as they ship, with hands on the simulator: connections, which of them is
 * of which session, and which incarnation is talked to. What is said is the owner's. */
#ifndef MESH_H
#define MESH_H

#include "../unit/scheduler/counted.h"
#include "sim.h"
#include "transport/session.h"

/* Any may be NULL but deliver. with: the node at the other end. */
typedef struct mesh_calls {
    void (*options)(void *owner, int with, rayi_peer_options *options); /* of a session that is about to begin */
    void (*begun)(void *owner, int with);
    void (*deliver)(void *owner, int with, const rayi_peer_action *action);
    void (*credit)(void *owner, int with);
    void (*give_back)(void *owner, int with, const rayi_peer_action *action);
    void (*dead)(void *owner, int with);    /* it is about to be told that the other end is dead */
    void (*settled)(void *owner, int with); /* it has given back all */
    void (*fetched)(void *owner);           /* all actions of a session were obeyed */
} mesh_calls;

typedef struct mesh_session {
    rayi_peer *peer; /* NULL: none yet; one that has ended stays until a new one comes */
    uint64_t incarnation, dead;
    bool ended;
} mesh_session;

typedef struct mesh_connection {
    sim_end end;
    int with; /* -1: nobody knows yet */
    uint32_t link;
} mesh_connection;

typedef struct mesh {
    sim *s;
    int node;
    uint64_t incarnation;
    const mesh_calls *calls;
    void *owner;
    const rayi_memory *memory;
    rayi_peer_options options; /* of all sessions; ends and chance are set for each */
    mesh_session sessions[SIM_NODES_MAX];
    mesh_connection *connections;
    size_t count, room;
} mesh;

/* The rest of *m is set already. */
void mesh_init(mesh *m);
void mesh_fini(mesh *m);
/* The session with this incarnation; NULL: it is dead, or there is no memory. */
rayi_peer *mesh_session_with(mesh *m, int with, uint64_t incarnation);
bool mesh_talks_to(const mesh *m, int with, uint64_t incarnation);
void mesh_fetch(mesh *m, int with); /* after each event that a session is told by the owner */
void mesh_declare_dead(mesh *m, int with, uint64_t incarnation);

/* As in sim_node_calls. */
void mesh_up(mesh *m, sim_end end);
void mesh_accepted(mesh *m, sim_end end);
void mesh_down(mesh *m, sim_end end);
void mesh_message(mesh *m, sim_end end, const void *bytes, size_t size);
void mesh_wrote(mesh *m, sim_end end, size_t size);
void mesh_timer(mesh *m);
int64_t mesh_next_timer(const mesh *m);

#endif
