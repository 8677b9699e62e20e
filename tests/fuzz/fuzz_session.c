/* The other end of a session, played by the input, and links that do as it says. Whatever that is, the session lives,
 * uses one link at a time, delivers what its frames number, once and in order, and gives back in the end what it was
 * sent and nobody has acknowledged.
 *
 * The first byte chooses:
 *   0  the rest is a frame, as it is
 *   1  the rest is a list of steps, each a byte that says which, and its operands; bits 1 to 4 say how the session is
 */
#include "fuzz.h"

#include "transport/session.h"

enum { MAX_STEPS = 300, SELF = 5, PEER = 7 };

static struct {
    rayi_peer *peer;
    int64_t now;
    uint32_t link, dialled; /* the one that is not closed, 0: none; whether it is this end's, and not up yet */
    uint32_t accepted;      /* neither closed nor used yet */
    uint64_t unwritten;
    uint64_t sent, delivered; /* what was accepted from the owner, what was handed to it */
    uint64_t requests;        /* that were delivered and are not done */
    uint64_t acknowledged;    /* the highest that a frame said */
    bool dead;
    unsigned char frame[RAYI_FRAME_HEAD + 300];
} run;

/* ---- a frame alone ---- */

static void read_frame(const uint8_t *data, size_t size)
{
    rayi_session_frame f;
    unsigned char again[RAYI_FRAME_HEAD];
    size_t whole = size >= RAYI_FRAME_HEAD ? rayi_frame_size(data) : 0;
    FUZZ_CHECK(whole == 0 || (whole >= RAYI_FRAME_HEAD && whole - RAYI_FRAME_HEAD <= RAYI_FRAME_SIZE_MAX));
    int r = rayi_frame_read(data, size, &f);
    FUZZ_CHECK((r == 0) == (whole > 0 && whole == size));
    if (r)
        return;
    FUZZ_CHECK(f.payload == data + RAYI_FRAME_HEAD && f.size == size - RAYI_FRAME_HEAD);
    rayi_frame_write_head(again, &f);
    FUZZ_CHECK(memcmp(again, data, sizeof again) == 0);
}

/* ---- what the session does ---- */

static void check_send(const rayi_peer_action *a)
{
    rayi_session_frame f;
    FUZZ_CHECK(rayi_frame_read(a->bytes, a->size_bytes, &f) == 0 && f.from == SELF);
    if (f.kind == RAYI_FRAME_REFUSAL)
        return;
    if (a->link == run.accepted) { /* it is the one now */
        FUZZ_CHECK(!run.link && f.kind == RAYI_FRAME_HELLO);
        run.link = run.accepted;
        run.accepted = 0;
        run.unwritten = 0;
    }
    FUZZ_CHECK(a->link == run.link && !run.dialled && !run.dead && f.to == PEER && f.received == run.delivered);
    FUZZ_CHECK(f.number <= run.sent || f.kind == RAYI_FRAME_HELLO);
    run.unwritten += a->size_bytes;
}

static void check_delivery(const rayi_peer_action *a)
{
    FUZZ_CHECK(!run.dead && (const unsigned char *)a->bytes == run.frame + RAYI_FRAME_HEAD);
    run.delivered++;
    run.requests += a->kind == RAYI_FRAME_REQUEST;
}

static void fetch(void)
{
    rayi_peer_action a;
    for (int count = 0; rayi_peer_next(run.peer, &a); count++) {
        FUZZ_CHECK(count < 10000);
        switch (a.what) {
        case RAYI_PEER_DO_DIAL:
            FUZZ_CHECK(!run.link && !run.dead);
            run.link = run.dialled = a.link;
            run.unwritten = 0;
            break;
        case RAYI_PEER_DO_CLOSE:
            if (a.link == run.link)
                run.link = run.dialled = 0;
            if (a.link == run.accepted)
                run.accepted = 0;
            break;
        case RAYI_PEER_DO_SEND:
            check_send(&a);
            break;
        case RAYI_PEER_DO_DELIVER:
            check_delivery(&a);
            break;
        case RAYI_PEER_DO_GIVE_BACK:
            FUZZ_CHECK(run.dead && a.tag > run.acknowledged && a.tag <= run.sent);
            run.acknowledged = a.tag; /* in order, each once */
            break;
        case RAYI_PEER_DO_ENDED:
            FUZZ_CHECK(run.dead && run.acknowledged == run.sent);
            break;
        case RAYI_PEER_DO_CREDIT:
        case RAYI_PEER_DO_CONNECTED:
        case RAYI_PEER_DO_NEWER:
        case RAYI_PEER_DO_OUTLIVED:
            break;
        }
    }
    FUZZ_CHECK(!run.accepted && (run.dead || rayi_peer_look(run.peer).held <= run.sent));
}

/* ---- what the input does ---- */

/* Mostly what would be right, or next to it. */
static uint64_t near(fuzz_bytes *in, uint64_t right)
{
    uint64_t how = fuzz_take(in, 1);
    if (how < 128)
        return right;
    return how < 250 ? right + how - 189 : fuzz_take(in, 8);
}

static size_t make_frame(fuzz_bytes *in, rayi_frame_kind kind)
{
    static const unsigned char nodes[2 * RAYI_NODE_ID_SIZE] = {[0] = 2, [RAYI_NODE_ID_SIZE] = 1};
    rayi_session_frame f = {.kind = kind, .from = near(in, PEER), .to = near(in, SELF)};
    if (kind == RAYI_FRAME_REQUEST || kind == RAYI_FRAME_MESSAGE) {
        f.number = near(in, run.delivered + 1);
        f.size = fuzz_take(in, 1);
    } else if (kind == RAYI_FRAME_HELLO) {
        f.number = near(in, 1);
        f.size = sizeof nodes;
    }
    f.received = near(in, run.acknowledged);
    f.limit = near(in, 20);
    rayi_frame_write_head(run.frame, &f);
    memset(run.frame + RAYI_FRAME_HEAD, 0, f.size);
    if (kind == RAYI_FRAME_HELLO)
        memcpy(run.frame + RAYI_FRAME_HEAD, nodes, sizeof nodes);
    return RAYI_FRAME_HEAD + f.size;
}

/* What a frame says that is taken is known by what is held afterwards. */
static void note_acknowledged(void)
{
    if (!run.dead)
        run.acknowledged = run.sent - rayi_peer_look(run.peer).held;
}

static void receive(fuzz_bytes *in)
{
    size_t size = make_frame(in, (rayi_frame_kind)(1 + fuzz_take(in, 1) % 5));
    uint64_t cut = fuzz_take(in, 1);
    rayi_peer_receive(run.peer, cut == 255 ? run.link + 1 : run.link, run.frame, cut == 254 ? size - 1 : size, run.now);
    note_acknowledged();
}

static void accept(fuzz_bytes *in)
{
    rayi_session_frame hello;
    size_t size = make_frame(in, RAYI_FRAME_HELLO);
    if (rayi_frame_read(run.frame, size, &hello))
        return;
    run.accepted = rayi_peer_accept(run.peer, &hello, run.now);
    note_acknowledged();
}

static void send(fuzz_bytes *in)
{
    static const unsigned char bytes[256];
    rayi_frame_kind kind = fuzz_take(in, 1) % 2 ? RAYI_FRAME_REQUEST : RAYI_FRAME_MESSAGE;
    size_t size = fuzz_take(in, 1);
    rayi_peer_facts facts = rayi_peer_look(run.peer);
    int r = rayi_peer_send(run.peer, kind, run.sent + 1, bytes, size / 2, bytes, size - size / 2, run.now);
    if (run.dead)
        FUZZ_CHECK(r == RAY_ERR_NODE_DIED);
    else
        FUZZ_CHECK(r == (kind == RAYI_FRAME_REQUEST && facts.credit == 0 ? RAY_ERR_LIMIT : 0));
    run.sent += r == 0;
}

static void link_step(uint64_t which)
{
    switch (which) {
    case 0:
        if (run.dialled)
            run.dialled = 0, rayi_peer_up(run.peer, run.link, run.now);
        break;
    case 1:
        if (run.link) {
            uint32_t gone = run.link;
            run.link = run.dialled = 0;
            rayi_peer_down(run.peer, gone, run.now);
        }
        break;
    default:
        if (run.link && run.unwritten) {
            size_t some = (size_t)(run.unwritten - run.unwritten / 3);
            run.unwritten -= some;
            rayi_peer_wrote(run.peer, run.link, some, run.now);
        }
    }
}

static void pass(fuzz_bytes *in)
{
    int64_t next = rayi_peer_next_tick_ms(run.peer);
    uint64_t span = fuzz_take(in, 1);
    if (span == 255 && next != INT64_MAX)
        run.now = next > run.now ? next : run.now;
    else
        run.now += (int64_t)(span * span);
    rayi_peer_tick(run.peer, run.now);
    next = rayi_peer_next_tick_ms(run.peer);
    FUZZ_CHECK(next > run.now || rayi_peer_look(run.peer).state == RAYI_PEER_OPEN); /* an acknowledgement */
}

static void step(fuzz_bytes *in)
{
    switch (fuzz_take(in, 1) % 12) {
    case 0:
    case 1:
    case 2:
        receive(in);
        break;
    case 3:
        accept(in);
        break;
    case 4:
    case 5:
        send(in);
        break;
    case 6:
    case 7:
        link_step(fuzz_take(in, 1) % 3);
        break;
    case 8:
        pass(in);
        break;
    case 9:
        if (run.requests)
            run.requests--, rayi_peer_done(run.peer, 1, run.now);
        break;
    case 10:
        rayi_peer_wake(run.peer, run.now);
        break;
    default:
        rayi_peer_heard(run.peer, run.link, run.now);
    }
    fetch();
}

static void talk(fuzz_bytes *in, uint64_t how)
{
    const rayi_peer_options options = {.self = {.node = {1}, .incarnation = SELF},
                                       .peer = {.node = {2}, .incarnation = PEER},
                                       .dials = (rayi_peer_dials)((how >> 1 & 3) % 3),
                                       .window = 16,
                                       .link_bytes = how & 8 ? 100 : 0,
                                       .beat_ms = how & 16 ? -1 : 0,
                                       .chance = how};
    memset(&run, 0, sizeof run);
    if (rayi_peer_new(rayi_heap, &options, run.now, &run.peer))
        abort();
    for (int i = 0; i < MAX_STEPS && in->left > 0; i++)
        step(in);
    run.dead = true;
    rayi_peer_declare_dead(run.peer, run.now);
    fetch();
    step(in); /* the dead say nothing */
    rayi_peer_free(run.peer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_bytes in = {data, size};
    uint64_t how = fuzz_take(&in, 1);
    if (how & 1)
        talk(&in, how);
    else
        read_frame(in.at, in.left);
    return 0;
}
