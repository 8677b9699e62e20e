/* The session.
 *
 * Order. A message gets its number when it is sent; this end keeps it until the other acknowledges it. On every link
 * that opens, the first frame from each end is a HELLO that says which message it received last; the messages after
 * that one then go over the link, one after the other and none left out, until the link is given up. A link keeps order
 * and loses nothing before its end. So on each link the numbers that come begin one above what the HELLO said, and go
 * up by one. A message that comes again is dropped by its number; ends that hear one link at a time, as this one, never
 * see any. Who leaves one out has broken the rules and loses the link. It does no harm when bytes of a link that was
 * given up are not read: they go again over the next. `received` goes up when the message is handed to the owner, so
 * that nothing is acknowledged that could still be dropped.
 *
 * One link. Each end has at most one. A dial has a number, one more than the highest that its end has seen in a HELLO
 * or used itself. Of two links the one with the higher number is better; of two with the same number, which were
 * dialled at once, that of the smaller node id.
 *  - An end that dialled sends its HELLO when the link is up, and messages once the answer has come.
 *  - An end that hears such a HELLO adopts the link if it is better than every one it has ever opened, and than its own
 *    if that has sent a HELLO. It closes what it had, a dial that is not up as well, answers with its HELLO, and may
 *    send. Otherwise it closes the newcomer.
 * A link that an end has opened, the other end has seen; so whoever has lost it dials with a higher number, and is
 * believed: the old link is dead for him. Both ends close what is worse, so they end with the same link: if this end
 * refuses the newcomer for its own better HELLO, the other adopts that when it gets there, and if it never does, dials
 * again with a higher number. A dial that is closed before it was up never sends a HELLO and is never adopted. The
 * refusal may come before that better HELLO: so who is refused waits as long as its own HELLO took before it dials.
 *
 * A link that hangs. Links are reliable and may still hang for ever. One is given up when messages went over it and for
 * stall_ms neither an acknowledgement came nor did the link write anything; with beats, also when nothing came.
 *
 * Incarnations. Frames name both. Not for the two of this session: dropped; of a later incarnation: the owner is told,
 * and no more dialled. A HELLO for an earlier incarnation of this node, or from one declared dead here, is answered
 * with a REFUSAL, so that the sender learns it.
 *
 * Credit. A frame tells how many requests may come, counting as done those that were before the first message that is
 * still to go behind it. So who has learnt of a credit has received all answers that were sent before; and as a frame
 * that uses the credit acknowledges them, what is kept here are the answers to at most a window of requests, and there
 * at most a window of requests, however often the link breaks and however slow it is.
 *
 * Memory is asked for by rayi_peer_new and rayi_peer_send only. What is to be done is kept in flags. */
#include "transport/session.h"

#include <string.h>

#define NEVER       INT64_MAX
#define CLOSED_MOST 4

typedef struct message {
    struct message *prev, *next;
    uint64_t number, tag;
    uint64_t limit; /* of this end, when it was sent */
    rayi_frame_kind kind;
    size_t size;           /* of the payload */
    unsigned char frame[]; /* room for the head, then the payload */
} message;

typedef struct closing {
    uint32_t link;
    const char *fault;
} closing;

struct rayi_peer {
    const rayi_memory *memory;
    rayi_peer_options o;
    rayi_peer_state state;
    int64_t now_ms, heard_ms;

    /* the link there is: DIALLING, GREETING, OPEN */
    uint32_t link, links; /* its number; how many were given out */
    uint64_t dial, top_dial;
    uint64_t rank, best_rank;     /* its own, and of all that were ever open */
    int64_t began_ms, give_up_ms; /* DIALLING, GREETING */
    int64_t opened_ms, moved_ms, link_heard_ms;
    size_t unwritten;

    /* the next one */
    int64_t retry_ms;
    unsigned failures;
    uint64_t chance;
    bool asked, outdated, short_of_credit;

    /* what goes there */
    message *messages; /* not acknowledged, by number */
    message *unsent;   /* the first of them that has not gone over this link; NULL: all have */
    size_t held, held_bytes;
    uint64_t last_number, last_sent; /* given out; gone over any link */
    uint64_t requests_sent, credit;  /* how many in all; how many may be */

    /* what comes from there */
    uint64_t received, requests_received, requests_done;
    uint64_t told_limit;
    int64_t ack_due_ms;

    /* to be fetched */
    closing closing[CLOSED_MOST];
    uint32_t closings;
    uint32_t refused; /* link; 0: none */
    uint64_t refusal_to;
    bool dial_due, hello_due, told_connected, newer_due, outlived_due, ended_due;
    bool has_delivery;
    rayi_session_frame delivery;
    uint64_t newest_peer, newest_self;
    message *given_back; /* lent out by the last action */
    unsigned char small[RAYI_HELLO_SIZE];
};

/* ---- small things ---- */

static void go(rayi_peer *peer, rayi_peer_event event)
{
    peer->state = rayi_peer_next_state(peer->state, event);
}

static bool is_up(const rayi_peer *peer)
{
    return peer->state == RAYI_PEER_GREETING || peer->state == RAYI_PEER_OPEN;
}

static uint64_t roll(rayi_peer *peer)
{
    uint64_t x = peer->chance += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static int64_t moment(int64_t now_ms, int64_t span_ms)
{
    return span_ms < NEVER && now_ms < NEVER - span_ms ? now_ms + span_ms : NEVER;
}

static void pass(rayi_peer *peer, int64_t now_ms)
{
    peer->now_ms = RAYI_MAX(peer->now_ms, now_ms);
}

static uint64_t limit_of(const rayi_peer *peer)
{
    return RAYI_MIN(peer->o.window + peer->requests_done, RAYI_NUMBER_MAX);
}

static uint64_t rank_of(const rayi_peer *peer, uint64_t dial, bool mine)
{
    bool smaller = memcmp(peer->o.self.node, peer->o.peer.node, RAYI_NODE_ID_SIZE) < 0;
    return 2 * dial + (mine == smaller);
}

static void ack_by(rayi_peer *peer, int64_t span_ms)
{
    peer->ack_due_ms = RAYI_MIN(peer->ack_due_ms, moment(peer->now_ms, span_ms));
}

/* What a frame that goes out now says: not what was done since a message was sent that is still behind it. */
static uint64_t limit_to_tell(const rayi_peer *peer)
{
    const message *behind = peer->state == RAYI_PEER_OPEN ? peer->unsent : peer->messages;
    return behind ? behind->limit : limit_of(peer);
}

/* A frame goes out, with what it acknowledges. */
static void acked(rayi_peer *peer)
{
    peer->told_limit = RAYI_MAX(peer->told_limit, limit_to_tell(peer));
    peer->ack_due_ms = peer->o.beat_ms > 0 ? moment(peer->now_ms, peer->o.beat_ms) : NEVER;
}

/* ---- making and freeing ---- */

static void set_default(int64_t *span_ms, int64_t standard_ms)
{
    if (*span_ms == 0)
        *span_ms = standard_ms;
}

static void set_defaults(rayi_peer_options *o)
{
    if (!o->window)
        o->window = 1024;
    if (!o->link_bytes)
        o->link_bytes = (size_t)1 << 20;
    set_default(&o->ack_ms, 5);
    set_default(&o->dial_ms, 3000);
    set_default(&o->stall_ms, 5000);
    set_default(&o->beat_ms, 1000);
    set_default(&o->backoff_ms, 20);
    set_default(&o->backoff_most_ms, 2000);
}

int rayi_peer_new(const rayi_memory *memory, const rayi_peer_options *options, int64_t now_ms, rayi_peer **out)
{
    rayi_peer *peer = rayi_memory_zalloc(memory, sizeof *peer);
    if (!peer)
        return RAY_ERR_NO_MEMORY;
    peer->memory = memory;
    peer->o = *options;
    set_defaults(&peer->o);
    RAYI_ASSERT(peer->o.window >= RAYI_PEER_FIRST_CREDIT && peer->o.self.incarnation && peer->o.peer.incarnation);
    RAYI_ASSERT(memcmp(peer->o.self.node, peer->o.peer.node, RAYI_NODE_ID_SIZE) != 0);
    peer->now_ms = peer->heard_ms = peer->retry_ms = now_ms;
    peer->chance = options->chance;
    peer->credit = RAYI_PEER_FIRST_CREDIT;
    peer->ack_due_ms = NEVER;
    *out = peer;
    return 0;
}

static void drop_head(rayi_peer *peer)
{
    message *head = peer->messages;
    if (peer->unsent == head)
        peer->unsent = head->next;
    DL_DELETE(peer->messages, head);
    peer->held--;
    peer->held_bytes -= head->size;
    rayi_memory_free(peer->memory, head);
}

void rayi_peer_free(rayi_peer *peer)
{
    if (!peer)
        return;
    while (peer->messages)
        drop_head(peer);
    rayi_memory_free(peer->memory, peer->given_back);
    rayi_memory_free(peer->memory, peer);
}

/* ---- links come and go ---- */

static void close_link(rayi_peer *peer, uint32_t link, const char *fault)
{
    if (peer->dial_due && link == peer->link) { /* nobody has heard of it */
        peer->dial_due = false;
        return;
    }
    RAYI_ASSERT(peer->closings < CLOSED_MOST);
    peer->closing[peer->closings++] = (closing){link, fault};
}

static void back_off(rayi_peer *peer)
{
    const rayi_peer_options *o = &peer->o;
    if (peer->state == RAYI_PEER_OPEN && peer->now_ms - peer->opened_ms >= o->backoff_most_ms)
        peer->failures = 0;
    int64_t span = o->backoff_ms, least = 0;
    for (unsigned i = 0; i < peer->failures && span < o->backoff_most_ms; i++)
        span *= 2;
    span = RAYI_MIN(span, o->backoff_most_ms);
    if (peer->state == RAYI_PEER_GREETING) /* the other end's HELLO may be on its way, and as long as this end's was */
        least = RAYI_MIN(peer->now_ms - peer->began_ms, o->backoff_most_ms);
    peer->failures += span < o->backoff_most_ms;
    span = span / 2 + (int64_t)(roll(peer) % (uint64_t)(span - span / 2 + 1));
    peer->retry_ms = moment(peer->now_ms, RAYI_MAX(span, least));
}

/* Whoever calls this closes the link, or knows that it is gone. */
static void lost(rayi_peer *peer)
{
    back_off(peer);
    peer->hello_due = false;
    peer->unsent = NULL;
    peer->ack_due_ms = NEVER;
    go(peer, RAYI_PEER_LOST);
}

static void give_up(rayi_peer *peer, const char *fault)
{
    close_link(peer, peer->link, fault);
    lost(peer);
}

static void opened(rayi_peer *peer)
{
    peer->best_rank = peer->rank;
    peer->opened_ms = peer->moved_ms = peer->link_heard_ms = peer->now_ms;
    peer->unsent = peer->messages;
    peer->asked = false;
    ack_by(peer, peer->o.beat_ms > 0 ? peer->o.beat_ms : NEVER);
}

static bool is_wanted(const rayi_peer *peer)
{
    if (peer->outdated || peer->o.dials == RAYI_PEER_DIALS_NEVER)
        return false;
    return peer->asked || peer->messages || peer->short_of_credit || peer->o.dials == RAYI_PEER_DIALS_ALWAYS;
}

static void dial(rayi_peer *peer)
{
    go(peer, RAYI_PEER_DUE);
    peer->dial = peer->top_dial = RAYI_MIN(peer->top_dial + 1, RAYI_DIAL_MAX);
    peer->rank = rank_of(peer, peer->dial, true);
    peer->link = ++peer->links;
    peer->began_ms = peer->now_ms;
    peer->give_up_ms = moment(peer->now_ms, peer->o.dial_ms);
    peer->unwritten = 0;
    peer->dial_due = true;
}

/* What follows from an event, whatever it was. */
static void settle(rayi_peer *peer)
{
    bool wanted = is_wanted(peer);
    if (peer->state == RAYI_PEER_RESTING && wanted)
        go(peer, RAYI_PEER_WANTED);
    else if (peer->state == RAYI_PEER_WAITING && !wanted)
        go(peer, RAYI_PEER_UNWANTED);
    if (peer->state == RAYI_PEER_WAITING && peer->retry_ms <= peer->now_ms)
        dial(peer);
}

/* ---- sending ---- */

int rayi_peer_send(rayi_peer *peer, rayi_frame_kind kind, uint64_t tag, const void *head, size_t head_size,
                   const void *body, size_t body_size, int64_t now_ms)
{
    RAYI_ASSERT(kind == RAYI_FRAME_REQUEST || kind == RAYI_FRAME_MESSAGE);
    pass(peer, now_ms);
    if (peer->state == RAYI_PEER_ENDED)
        return RAY_ERR_NODE_DIED;
    if (head_size > RAYI_FRAME_SIZE_MAX || body_size > RAYI_FRAME_SIZE_MAX - head_size ||
        peer->last_number == RAYI_NUMBER_MAX)
        return RAY_ERR_LIMIT;
    if (kind == RAYI_FRAME_REQUEST && peer->requests_sent >= peer->credit) {
        peer->short_of_credit = true;
        settle(peer);
        return RAY_ERR_LIMIT;
    }
    message *m = rayi_memory_alloc(peer->memory, sizeof *m + RAYI_FRAME_HEAD + head_size + body_size);
    if (!m)
        return RAY_ERR_NO_MEMORY;
    *m = (message){.number = ++peer->last_number,
                   .tag = tag,
                   .limit = limit_of(peer),
                   .kind = kind,
                   .size = head_size + body_size};
    if (head_size > 0)
        memcpy(m->frame + RAYI_FRAME_HEAD, head, head_size);
    if (body_size > 0)
        memcpy(m->frame + RAYI_FRAME_HEAD + head_size, body, body_size);
    DL_APPEND(peer->messages, m);
    if (peer->state == RAYI_PEER_OPEN && !peer->unsent)
        peer->unsent = m;
    peer->requests_sent += kind == RAYI_FRAME_REQUEST;
    peer->held++;
    peer->held_bytes += m->size;
    settle(peer);
    return 0;
}

void rayi_peer_done(rayi_peer *peer, uint64_t requests, int64_t now_ms)
{
    pass(peer, now_ms);
    RAYI_ASSERT(requests <= peer->requests_received - peer->requests_done);
    peer->requests_done += requests;
    if (peer->state == RAYI_PEER_OPEN && !peer->unsent) /* else the last of those says it */
        ack_by(peer, limit_of(peer) - peer->told_limit >= peer->o.window / 4 ? 0 : peer->o.ack_ms);
}

/* ---- receiving ---- */

/* Is it for the two of this session? Tells the owner of later incarnations. */
static bool is_ours(rayi_peer *peer, const rayi_session_frame *frame)
{
    if (frame->from > RAYI_MAX(peer->o.peer.incarnation, peer->newest_peer)) {
        peer->newest_peer = frame->from;
        peer->outdated = peer->newer_due = true;
    }
    if (frame->to > RAYI_MAX(peer->o.self.incarnation, peer->newest_self)) {
        peer->newest_self = frame->to;
        peer->outdated = peer->outlived_due = true;
    }
    return frame->from == peer->o.peer.incarnation && frame->to == peer->o.self.incarnation;
}

static bool is_late(const rayi_peer *peer, const rayi_session_frame *frame)
{
    return frame->from > peer->o.peer.incarnation || frame->to > peer->o.self.incarnation;
}

/* What every frame of this session says: returns the rule that it breaks, or NULL. */
static const char *acknowledge(rayi_peer *peer, const rayi_session_frame *frame)
{
    if (frame->received > peer->last_sent)
        return "acknowledges what was not sent";
    while (peer->messages && peer->messages->number <= frame->received) {
        drop_head(peer);
        peer->moved_ms = peer->now_ms;
    }
    peer->credit = RAYI_MAX(peer->credit, frame->limit);
    return NULL;
}

static const char *take_message(rayi_peer *peer, const rayi_session_frame *frame)
{
    if (frame->number > peer->received + 1)
        return "leaves out a message";
    ack_by(peer, peer->o.ack_ms);
    if (frame->number <= peer->received)
        return NULL; /* came before over another link */
    if (frame->kind == RAYI_FRAME_REQUEST && peer->requests_received >= peer->told_limit)
        return "sends requests without credit";
    peer->delivery = *frame;
    peer->has_delivery = true;
    return NULL;
}

static bool names_both(const rayi_peer *peer, const rayi_session_frame *hello)
{
    return memcmp(hello->payload, peer->o.peer.node, RAYI_NODE_ID_SIZE) == 0 &&
           memcmp(hello->payload + RAYI_NODE_ID_SIZE, peer->o.self.node, RAYI_NODE_ID_SIZE) == 0;
}

/* The answer to this end's HELLO. */
static const char *greet(rayi_peer *peer, const rayi_session_frame *frame)
{
    if (frame->kind != RAYI_FRAME_HELLO || frame->number != peer->dial || !names_both(peer, frame))
        return "does not answer a HELLO with one";
    const char *fault = acknowledge(peer, frame);
    if (fault)
        return fault;
    go(peer, RAYI_PEER_HELLO);
    opened(peer);
    return NULL;
}

static const char *take(rayi_peer *peer, const rayi_session_frame *frame)
{
    if (peer->state == RAYI_PEER_GREETING)
        return greet(peer, frame);
    const char *fault = acknowledge(peer, frame);
    if (fault)
        return fault;
    switch (frame->kind) {
    case RAYI_FRAME_REQUEST:
    case RAYI_FRAME_MESSAGE:
        return take_message(peer, frame);
    case RAYI_FRAME_ACK:
        return NULL;
    case RAYI_FRAME_HELLO:
    case RAYI_FRAME_REFUSAL:
        break;
    }
    return "begins anew on a link that is open";
}

static void heard(rayi_peer *peer, uint32_t link)
{
    if (link == peer->link && is_up(peer))
        peer->heard_ms = peer->link_heard_ms = peer->now_ms;
}

void rayi_peer_heard(rayi_peer *peer, uint32_t link, int64_t now_ms)
{
    pass(peer, now_ms);
    heard(peer, link);
}

void rayi_peer_receive(rayi_peer *peer, uint32_t link, const void *bytes, size_t size_bytes, int64_t now_ms)
{
    rayi_session_frame frame;
    RAYI_ASSERT(!peer->has_delivery);
    pass(peer, now_ms);
    if (link != peer->link || !is_up(peer))
        return;
    heard(peer, link);
    if (rayi_frame_read(bytes, size_bytes, &frame)) {
        give_up(peer, "sends what is no frame");
    } else if (is_ours(peer, &frame)) {
        const char *fault = take(peer, &frame);
        if (fault)
            give_up(peer, fault);
    } else if (is_late(peer, &frame)) {
        give_up(peer, NULL);
    }
    settle(peer);
}

/* ---- links ---- */

void rayi_peer_up(rayi_peer *peer, uint32_t link, int64_t now_ms)
{
    pass(peer, now_ms);
    if (link != peer->link || peer->state != RAYI_PEER_DIALLING)
        return;
    go(peer, RAYI_PEER_UP);
    peer->give_up_ms = moment(peer->now_ms, peer->o.dial_ms);
    peer->hello_due = true;
}

void rayi_peer_down(rayi_peer *peer, uint32_t link, int64_t now_ms)
{
    pass(peer, now_ms);
    if (link == peer->link && (is_up(peer) || peer->state == RAYI_PEER_DIALLING))
        lost(peer);
    settle(peer);
}

void rayi_peer_wrote(rayi_peer *peer, uint32_t link, size_t size_bytes, int64_t now_ms)
{
    pass(peer, now_ms);
    if (link != peer->link || !is_up(peer))
        return;
    RAYI_ASSERT(size_bytes <= peer->unwritten);
    peer->unwritten -= size_bytes;
    peer->moved_ms = peer->now_ms;
}

/* Answers with who is meant: this incarnation, and a later one of the other node where that is dead for this one. */
static void refuse(rayi_peer *peer, uint32_t link, uint64_t to)
{
    peer->refused = link;
    peer->refusal_to = to;
}

/* Is the link with this HELLO to be the one? Otherwise refuses, when there is something to be said. */
static bool is_welcome(rayi_peer *peer, uint32_t link, const rayi_session_frame *hello)
{
    bool ours = is_ours(peer, hello);
    if (!ours && hello->to < peer->o.self.incarnation && hello->from >= peer->o.peer.incarnation)
        refuse(peer, link, hello->from);
    if (peer->state == RAYI_PEER_ENDED && hello->from <= peer->o.peer.incarnation)
        refuse(peer, link, peer->o.peer.incarnation + 1);
    if (!ours || peer->state == RAYI_PEER_ENDED)
        return false;
    peer->top_dial = RAYI_MAX(peer->top_dial, hello->number);
    uint64_t best = peer->state == RAYI_PEER_GREETING ? RAYI_MAX(peer->rank, peer->best_rank) : peer->best_rank;
    return rank_of(peer, hello->number, false) > best;
}

static void adopt(rayi_peer *peer, uint32_t link, const rayi_session_frame *hello)
{
    if (is_up(peer) || peer->state == RAYI_PEER_DIALLING)
        close_link(peer, peer->link, NULL);
    go(peer, RAYI_PEER_ADOPTED);
    peer->link = link;
    peer->dial = hello->number;
    peer->rank = rank_of(peer, hello->number, false);
    peer->unwritten = 0;
    peer->hello_due = true;
    opened(peer);
    heard(peer, link);
}

uint32_t rayi_peer_accept(rayi_peer *peer, const rayi_session_frame *hello, int64_t now_ms)
{
    uint32_t link = ++peer->links;
    RAYI_ASSERT(hello->kind == RAYI_FRAME_HELLO && names_both(peer, hello));
    pass(peer, now_ms);
    if (!is_welcome(peer, link, hello)) {
        close_link(peer, link, NULL);
    } else {
        const char *fault = acknowledge(peer, hello);
        if (fault)
            close_link(peer, link, fault);
        else
            adopt(peer, link, hello);
    }
    settle(peer);
    return link;
}

/* ---- time, and the end ---- */

void rayi_peer_wake(rayi_peer *peer, int64_t now_ms)
{
    pass(peer, now_ms);
    if (peer->state != RAYI_PEER_RESTING && peer->state != RAYI_PEER_WAITING)
        return;
    peer->asked = true;
    peer->failures = 0;
    peer->retry_ms = peer->now_ms;
    settle(peer);
}

void rayi_peer_declare_dead(rayi_peer *peer, int64_t now_ms)
{
    pass(peer, now_ms);
    if (peer->state == RAYI_PEER_ENDED)
        return;
    if (is_up(peer) || peer->state == RAYI_PEER_DIALLING)
        close_link(peer, peer->link, NULL);
    go(peer, RAYI_PEER_DEATH);
    peer->has_delivery = peer->hello_due = peer->short_of_credit = false;
    peer->ended_due = true;
}

/* When the link is given up unless something happens. */
static int64_t patience_of(const rayi_peer *peer)
{
    int64_t until = NEVER;
    if (peer->messages && peer->messages != peer->unsent)
        until = moment(peer->moved_ms, peer->o.stall_ms);
    if (peer->o.beat_ms > 0)
        until = RAYI_MIN(until, moment(peer->link_heard_ms, peer->o.stall_ms));
    return until;
}

static int64_t deadline_of(const rayi_peer *peer)
{
    switch (peer->state) {
    case RAYI_PEER_DIALLING:
    case RAYI_PEER_GREETING:
        return peer->give_up_ms;
    case RAYI_PEER_OPEN:
        return patience_of(peer);
    case RAYI_PEER_WAITING:
        return peer->retry_ms;
    case RAYI_PEER_RESTING:
    case RAYI_PEER_ENDED:
        break;
    }
    return NEVER;
}

void rayi_peer_tick(rayi_peer *peer, int64_t now_ms)
{
    pass(peer, now_ms);
    if (peer->state != RAYI_PEER_WAITING && deadline_of(peer) <= peer->now_ms)
        give_up(peer, NULL);
    settle(peer);
}

int64_t rayi_peer_next_tick_ms(const rayi_peer *peer)
{
    int64_t deadline = deadline_of(peer);
    return peer->state == RAYI_PEER_OPEN ? RAYI_MIN(deadline, peer->ack_due_ms) : deadline;
}

/* ---- actions ---- */

static void write_head(rayi_peer *peer, void *out, rayi_frame_kind kind, uint64_t number, size_t size)
{
    rayi_frame_write_head(out, &(rayi_session_frame){.kind = kind,
                                                     .from = peer->o.self.incarnation,
                                                     .to = peer->o.peer.incarnation,
                                                     .number = number,
                                                     .received = peer->received,
                                                     .limit = limit_to_tell(peer),
                                                     .size = size});
    acked(peer);
}

static bool send_frame(rayi_peer *peer, const void *bytes, size_t size, rayi_peer_action *out)
{
    peer->unwritten += size;
    *out = (rayi_peer_action){.what = RAYI_PEER_DO_SEND, .link = peer->link, .bytes = bytes, .size_bytes = size};
    return true;
}

static bool fetch_link(rayi_peer *peer, rayi_peer_action *out)
{
    if (peer->refused) {
        rayi_frame_write_refusal(peer->small, peer->o.self.incarnation, peer->refusal_to);
        *out = (rayi_peer_action){
            .what = RAYI_PEER_DO_SEND, .link = peer->refused, .bytes = peer->small, .size_bytes = RAYI_FRAME_HEAD};
        peer->refused = 0;
        return true;
    }
    if (peer->closings) {
        closing over = peer->closing[--peer->closings];
        *out = (rayi_peer_action){.what = RAYI_PEER_DO_CLOSE, .link = over.link, .fault = over.fault};
        return true;
    }
    if (peer->dial_due) {
        peer->dial_due = false;
        *out = (rayi_peer_action){.what = RAYI_PEER_DO_DIAL, .link = peer->link};
        return true;
    }
    if (!peer->hello_due)
        return false;
    peer->hello_due = false;
    write_head(peer, peer->small, RAYI_FRAME_HELLO, peer->dial, 2 * RAYI_NODE_ID_SIZE);
    memcpy(peer->small + RAYI_FRAME_HEAD, peer->o.self.node, RAYI_NODE_ID_SIZE);
    memcpy(peer->small + RAYI_FRAME_HEAD + RAYI_NODE_ID_SIZE, peer->o.peer.node, RAYI_NODE_ID_SIZE);
    return send_frame(peer, peer->small, RAYI_HELLO_SIZE, out);
}

static bool fetch_delivery(rayi_peer *peer, rayi_peer_action *out)
{
    if (!peer->has_delivery)
        return false;
    peer->has_delivery = false;
    peer->received++;
    peer->requests_received += peer->delivery.kind == RAYI_FRAME_REQUEST;
    *out = (rayi_peer_action){.what = RAYI_PEER_DO_DELIVER,
                              .kind = peer->delivery.kind,
                              .bytes = peer->delivery.payload,
                              .size_bytes = peer->delivery.size};
    return true;
}

static bool fetch_message(rayi_peer *peer, rayi_peer_action *out)
{
    message *m = peer->unsent;
    if (peer->state != RAYI_PEER_OPEN)
        return false;
    if (m && peer->unwritten < peer->o.link_bytes) {
        if (m == peer->messages) /* the first that is outstanding on this link */
            peer->moved_ms = peer->now_ms;
        peer->unsent = m->next;
        peer->last_sent = RAYI_MAX(peer->last_sent, m->number);
        write_head(peer, m->frame, m->kind, m->number, m->size);
        return send_frame(peer, m->frame, RAYI_FRAME_HEAD + m->size, out);
    }
    if (peer->ack_due_ms > peer->now_ms)
        return false;
    write_head(peer, peer->small, RAYI_FRAME_ACK, 0, 0);
    return send_frame(peer, peer->small, RAYI_FRAME_HEAD, out);
}

static bool fetch_back(rayi_peer *peer, rayi_peer_action *out)
{
    rayi_memory_free(peer->memory, peer->given_back);
    peer->given_back = NULL;
    message *m = peer->messages;
    if (peer->state != RAYI_PEER_ENDED || !m)
        return false;
    DL_DELETE(peer->messages, m);
    peer->held--;
    peer->held_bytes -= m->size;
    peer->given_back = m;
    *out = (rayi_peer_action){.what = RAYI_PEER_DO_GIVE_BACK,
                              .kind = m->kind,
                              .tag = m->tag,
                              .bytes = m->frame + RAYI_FRAME_HEAD,
                              .size_bytes = m->size};
    return true;
}

static bool tell(bool *due, rayi_peer_do what, uint64_t incarnation, rayi_peer_action *out)
{
    if (!*due)
        return false;
    *due = false;
    *out = (rayi_peer_action){.what = what, .incarnation = incarnation};
    return true;
}

static bool fetch_news(rayi_peer *peer, rayi_peer_action *out)
{
    bool connected = peer->state == RAYI_PEER_OPEN;
    if (connected != peer->told_connected) {
        peer->told_connected = connected;
        *out = (rayi_peer_action){.what = RAYI_PEER_DO_CONNECTED, .connected = connected};
        return true;
    }
    if (peer->requests_sent < peer->credit && tell(&peer->short_of_credit, RAYI_PEER_DO_CREDIT, 0, out))
        return true;
    return tell(&peer->newer_due, RAYI_PEER_DO_NEWER, peer->newest_peer, out) ||
           tell(&peer->outlived_due, RAYI_PEER_DO_OUTLIVED, peer->newest_self, out) ||
           tell(&peer->ended_due, RAYI_PEER_DO_ENDED, 0, out);
}

bool rayi_peer_next(rayi_peer *peer, rayi_peer_action *out)
{
    return fetch_link(peer, out) || fetch_back(peer, out) || fetch_delivery(peer, out) || fetch_message(peer, out) ||
           fetch_news(peer, out);
}

rayi_peer_facts rayi_peer_look(const rayi_peer *peer)
{
    return (rayi_peer_facts){.state = peer->state,
                             .heard_ms = peer->heard_ms,
                             .credit = peer->credit - RAYI_MIN(peer->credit, peer->requests_sent),
                             .held = peer->held,
                             .held_bytes = peer->held_bytes};
}
