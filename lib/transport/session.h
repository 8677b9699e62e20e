/* session: part of the door transport/transport.h. What two incarnations of nodes tell each other, whatever becomes of
 * the connections between them. A brain: events in, actions out; the bytes go over links, which others make, keep in
 * order and authenticate.
 *
 * A rayi_peer is this end of the session with one incarnation of another node. It owns the messages that the other end
 * has not acknowledged. Invariants:
 *  - A message is delivered at most once, in the order of sending, requests and others alike.
 *  - It is delivered, unless one of the two is declared dead, as soon as there is a connection that holds long enough.
 *  - A declared death, and nothing else, ends the session. Each message that is not acknowledged then is given back
 *    once, in order; it may or may not have been delivered. Nothing is delivered after it.
 *  - There is one link at a time, and messages go only over it. Memory: the messages that are kept. Requests among them
 *    are at most as many as the other end has granted, so that the answers to them are few as well; what else the
 *    owner sends while the other end is away is kept, whatever it is.
 *
 * Credit limits requests only. Others need none, and both kinds go in one numbered stream: a request without credit is
 * refused by rayi_peer_send instead of waiting in the stream, so that nothing ever waits behind it.
 *
 * Calls that return int fail with the codes named and then have changed nothing; the others cannot fail. Actions are
 * fetched after each event until there are none; meanwhile rayi_peer_send, _done, _declare_dead and _free may be
 * called. now_ms is any clock that does not go back.
 */
#ifndef RAYI_SESSION_H
#define RAYI_SESSION_H

#include "base/base.h"
#include "transport/frame.h"

#define RAYI_PEER_FIRST_CREDIT 16 /* requests that may be sent before the other end is heard of */

typedef struct rayi_peer rayi_peer;

typedef struct rayi_end {
    unsigned char node[RAYI_NODE_ID_SIZE];
    uint64_t incarnation; /* from 1; a later one of the same node has a larger one */
} rayi_end;

typedef enum rayi_peer_dials {
    RAYI_PEER_DIALS_WHEN_NEEDED, /* while something is outstanding */
    RAYI_PEER_DIALS_ALWAYS,      /* whenever there is no link */
    RAYI_PEER_DIALS_NEVER,       /* it cannot be reached: it dials, ALWAYS, and both ends have beats */
} rayi_peer_dials;

typedef struct rayi_peer_options { /* spans in ms; what is 0 has the value named */
    rayi_end self, peer;
    rayi_peer_dials dials;
    uint32_t window;         /* requests from there that are not done at once, 1,024; at least the first credit */
    size_t link_bytes;       /* handed to a link and not yet written, 1 MiB: no further message until less are */
    int64_t ack_ms;          /* an acknowledgement waits so long for a message to go with, 5 */
    int64_t dial_ms;         /* a dial, and then the answer to a HELLO, takes at most so long, 3,000 */
    int64_t stall_ms;        /* messages outstanding and no sign that they get through: the link is given up, 5,000 */
    int64_t beat_ms;         /* an acknowledgement goes when nothing else did for so long; negative: none, 1,000. With
                                beats a link on which nothing comes for stall_ms is given up; both ends have them.
                                Without, a link that hangs is found out by who sends a message, and by nobody else */
    int64_t backoff_ms;      /* before the second dial, 20; twice as long before the third, … */
    int64_t backoff_most_ms; /* … up to this, 2,000; a link that held so long begins anew. Half of it is chance */
    uint64_t chance;         /* a random number */
} rayi_peer_options;

/* NO_MEMORY */
int rayi_peer_new(const rayi_memory *memory, const rayi_peer_options *options, int64_t now_ms, rayi_peer **out);
void rayi_peer_free(rayi_peer *peer); /* gives nothing back; NULL: nothing */

/* ---- the life of a session ---- */

/*               wanted           due             up              hello
 *   RESTING ───────────▶ WAITING ────▶ DIALLING ────▶ GREETING ────────▶ OPEN
 *      ▲                  │   ▲           │ lost          │ lost          │ lost
 *      └─────unwanted─────┘   └───────────┴───────────────┴───────────────┘
 *   adopted (a link that the other end dialled): from anywhere to OPEN; death: from anywhere to ENDED */
typedef enum rayi_peer_state {
    RAYI_PEER_RESTING,  /* no link, and nothing needs one */
    RAYI_PEER_WAITING,  /* for the next dial */
    RAYI_PEER_DIALLING, /* this end dials */
    RAYI_PEER_GREETING, /* its link is up, the HELLO on its way */
    RAYI_PEER_OPEN,     /* messages go */
    RAYI_PEER_ENDED,    /* declared dead */
} rayi_peer_state;
#define RAYI_PEER_STATES 6

typedef enum rayi_peer_event {
    RAYI_PEER_WANTED,
    RAYI_PEER_UNWANTED,
    RAYI_PEER_DUE,
    RAYI_PEER_UP,
    RAYI_PEER_HELLO,
    RAYI_PEER_ADOPTED,
    RAYI_PEER_LOST,
    RAYI_PEER_DEATH,
} rayi_peer_event;
#define RAYI_PEER_EVENTS 8

rayi_peer_state rayi_peer_next_state(rayi_peer_state state, rayi_peer_event event); /* illegal pairs assert */

/* ---- events: messages ---- */

/* The payload, in two parts, is copied. kind: REQUEST or MESSAGE. tag is the owner's, for when it is given back.
 * LIMIT: a request without credit (CREDIT comes when there is some), or too long; NODE_DIED: it has ended; NO_MEMORY */
int rayi_peer_send(rayi_peer *peer, rayi_frame_kind kind, uint64_t tag, const void *head, size_t head_size,
                   const void *body, size_t body_size, int64_t now_ms);
/* So many requests that were delivered are done with: as many more may come. Answers are sent before: then those that
 * are kept here belong to at most a window of requests. */
void rayi_peer_done(rayi_peer *peer, uint64_t requests, int64_t now_ms);

/* ---- events: links, which have the numbers that the session gives them ---- */

/* Of a number that the session has closed, or that was lost, nothing is heard: links may say what they like late. */
void rayi_peer_up(rayi_peer *peer, uint32_t link, int64_t now_ms);   /* the link dialled can be used */
void rayi_peer_down(rayi_peer *peer, uint32_t link, int64_t now_ms); /* or cannot be made; it is gone, no CLOSE comes */
/* A link dialled by the other end brought this HELLO; returns its number. It may be closed at once. Both its node ids
 * are those of the two ends. */
uint32_t rayi_peer_accept(rayi_peer *peer, const rayi_session_frame *hello, int64_t now_ms);
/* A whole frame. bytes stay until the actions are fetched. */
void rayi_peer_receive(rayi_peer *peer, uint32_t link, const void *bytes, size_t size_bytes, int64_t now_ms);
void rayi_peer_wrote(rayi_peer *peer, uint32_t link, size_t size_bytes, int64_t now_ms); /* of what SEND handed over */
void rayi_peer_heard(rayi_peer *peer, uint32_t link, int64_t now_ms); /* bytes of a frame that is not whole yet */

/* ---- events: others ---- */

void rayi_peer_wake(rayi_peer *peer, int64_t now_ms); /* dial now, if there is no link: somebody knows it is back */
/* The other end is dead. Nothing before ENDED is lost: GIVE_BACK for each message that is kept. */
void rayi_peer_declare_dead(rayi_peer *peer, int64_t now_ms);
void rayi_peer_tick(rayi_peer *peer, int64_t now_ms);
int64_t rayi_peer_next_tick_ms(const rayi_peer *peer); /* INT64_MAX: not before the next event */

/* ---- actions ---- */

typedef enum rayi_peer_do {
    RAYI_PEER_DO_DIAL,      /* link: make it; then up or down */
    RAYI_PEER_DO_CLOSE,     /* link: it is over, whether up yet or not; what was handed to it before may still go */
    RAYI_PEER_DO_SEND,      /* link: these bytes, a frame */
    RAYI_PEER_DO_DELIVER,   /* kind, bytes: a payload */
    RAYI_PEER_DO_GIVE_BACK, /* kind, tag, bytes: a payload that is not known to have been delivered */
    RAYI_PEER_DO_CREDIT,    /* requests that rayi_peer_send refused may be sent again */
    RAYI_PEER_DO_CONNECTED, /* connected: whether there is a link that messages go over */
    RAYI_PEER_DO_NEWER,     /* incarnation: of the other node there is this one. It is not dialled any more */
    RAYI_PEER_DO_OUTLIVED,  /* incarnation: of this node, the other end knows a newer one. The same */
    RAYI_PEER_DO_ENDED,     /* the last of all */
} rayi_peer_do;

typedef struct rayi_peer_action {
    rayi_peer_do what;
    rayi_frame_kind kind;
    uint32_t link;
    bool connected;
    uint64_t tag, incarnation;
    const void *bytes; /* until the next call of anything; those of DELIVER as long as the frame received */
    size_t size_bytes;
    const char *fault; /* CLOSE: the rule that the other end has broken; NULL: none */
} rayi_peer_action;

/* The next thing to do; false: nothing. A message counts as received, and is acknowledged, once its DELIVER has been
 * fetched. */
bool rayi_peer_next(rayi_peer *peer, rayi_peer_action *out);

/* ---- what there is to see ---- */

typedef struct rayi_peer_facts {
    rayi_peer_state state;
    int64_t heard_ms; /* when any bytes came last; before the first: when the session was made */
    uint64_t credit;  /* requests that may be sent now */
    size_t held, held_bytes;
} rayi_peer_facts;

rayi_peer_facts rayi_peer_look(const rayi_peer *peer);

#endif
