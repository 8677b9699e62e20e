/* The states of a session. */
#include "transport/session.h"

static rayi_peer_state next_of_linkless(rayi_peer_state state, rayi_peer_event event)
{
    switch (event) {
    case RAYI_PEER_WANTED:
        RAYI_ASSERT(state == RAYI_PEER_RESTING);
        return RAYI_PEER_WAITING;
    case RAYI_PEER_UNWANTED:
        RAYI_ASSERT(state == RAYI_PEER_WAITING);
        return RAYI_PEER_RESTING;
    case RAYI_PEER_DUE:
        RAYI_ASSERT(state == RAYI_PEER_WAITING);
        return RAYI_PEER_DIALLING;
    case RAYI_PEER_ADOPTED:
        return RAYI_PEER_OPEN;
    case RAYI_PEER_DEATH:
        return RAYI_PEER_ENDED;
    case RAYI_PEER_UP:
    case RAYI_PEER_HELLO:
    case RAYI_PEER_LOST:
        break;
    }
    RAYI_ASSERT(!"without a link nothing happens to one");
}

static rayi_peer_state next_of_linked(rayi_peer_state state, rayi_peer_event event)
{
    switch (event) {
    case RAYI_PEER_UP:
        RAYI_ASSERT(state == RAYI_PEER_DIALLING);
        return RAYI_PEER_GREETING;
    case RAYI_PEER_HELLO:
        RAYI_ASSERT(state == RAYI_PEER_GREETING);
        return RAYI_PEER_OPEN;
    case RAYI_PEER_ADOPTED:
        return RAYI_PEER_OPEN;
    case RAYI_PEER_LOST:
        return RAYI_PEER_WAITING;
    case RAYI_PEER_DEATH:
        return RAYI_PEER_ENDED;
    case RAYI_PEER_WANTED:
    case RAYI_PEER_UNWANTED:
    case RAYI_PEER_DUE:
        break;
    }
    RAYI_ASSERT(!"who has a link wants no other");
}

rayi_peer_state rayi_peer_next_state(rayi_peer_state state, rayi_peer_event event)
{
    switch (state) {
    case RAYI_PEER_RESTING:
    case RAYI_PEER_WAITING:
        return next_of_linkless(state, event);
    case RAYI_PEER_DIALLING:
    case RAYI_PEER_GREETING:
    case RAYI_PEER_OPEN:
        return next_of_linked(state, event);
    case RAYI_PEER_ENDED:
        break;
    }
    RAYI_ASSERT(!"a session ends once");
}
