/* A session of one end for unit tests: what it does in words, and what the other end and the links do to it. */
#ifndef TEST_PEER_TOLD_H
#define TEST_PEER_TOLD_H

#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "../scheduler/counted.h"
#include "transport/session.h"

enum { SELF = 5, PEER = 7 }; /* incarnations */

typedef struct world {
    counted heap;
    rayi_peer *peer;
    int64_t now;
    uint32_t link;   /* the last one dialled or accepted */
    bool larger;     /* this end has the larger node id */
    uint64_t number; /* of the last message that was played */
    uint64_t limit;  /* that the other end tells */
    char told[4096];
    unsigned char frame[RAYI_FRAME_HEAD + 64];
} world;

static const char *const kinds[] = {"?", "hello", "request", "message", "ack", "refusal"};

static inline rayi_peer_options options_of(const world *w)
{
    return (rayi_peer_options){.self = {.node = {w->larger ? 2 : 1}, .incarnation = SELF},
                               .peer = {.node = {w->larger ? 1 : 2}, .incarnation = PEER},
                               .window = 16,
                               .ack_ms = 5,
                               .beat_ms = -1,
                               .backoff_ms = 100,
                               .backoff_most_ms = 1000,
                               .chance = 3};
}

static inline void init_with(world *w, const rayi_peer_options *options)
{
    counted_init(&w->heap);
    w->now = 1000;
    w->limit = 16;
    cr_assert_eq(rayi_peer_new(&w->heap.memory, options, w->now, &w->peer), 0);
}

static inline void init(world *w)
{
    *w = (world){0};
    rayi_peer_options options = options_of(w);
    init_with(w, &options);
}

static inline void fini(world *w)
{
    rayi_peer_free(w->peer);
    cr_assert_eq(w->heap.live, 0);
}

/* ---- in words ---- */

static inline char *say_frame(char *out, const rayi_peer_action *a)
{
    rayi_session_frame f;
    cr_assert_eq(rayi_frame_read(a->bytes, a->size_bytes, &f), 0);
    out += sprintf(out, "send %" PRIu32 " %s", a->link, kinds[f.kind]);
    if (f.number)
        out += sprintf(out, " %" PRIu64, f.number);
    if (f.kind == RAYI_FRAME_REFUSAL)
        out += sprintf(out, " from %" PRIu64 " to %" PRIu64, f.from, f.to);
    else
        cr_assert(f.from == SELF && f.to == PEER);
    if (f.received)
        out += sprintf(out, " ack %" PRIu64, f.received);
    if (f.limit != 16 && f.kind != RAYI_FRAME_REFUSAL)
        out += sprintf(out, " limit %" PRIu64, f.limit);
    if (f.kind == RAYI_FRAME_REQUEST || f.kind == RAYI_FRAME_MESSAGE)
        out += sprintf(out, " '%.*s'", (int)f.size, (const char *)f.payload);
    return out;
}

static inline char *say(char *out, const rayi_peer_action *a)
{
    switch (a->what) {
    case RAYI_PEER_DO_DIAL:
        return out + sprintf(out, "dial %" PRIu32, a->link);
    case RAYI_PEER_DO_CLOSE:
        return out + sprintf(out, "close %" PRIu32 "%s%s", a->link, a->fault ? ", it " : "", a->fault ? a->fault : "");
    case RAYI_PEER_DO_SEND:
        return say_frame(out, a);
    case RAYI_PEER_DO_DELIVER:
        return out + sprintf(out, "deliver %s '%.*s'", kinds[a->kind], (int)a->size_bytes, (const char *)a->bytes);
    case RAYI_PEER_DO_GIVE_BACK:
        return out + sprintf(out, "back %" PRIu64 " %s '%.*s'", a->tag, kinds[a->kind], (int)a->size_bytes,
                             (const char *)a->bytes);
    case RAYI_PEER_DO_CREDIT:
        return out + sprintf(out, "credit");
    case RAYI_PEER_DO_CONNECTED:
        return out + sprintf(out, a->connected ? "connected" : "disconnected");
    case RAYI_PEER_DO_NEWER:
        return out + sprintf(out, "newer %" PRIu64, a->incarnation);
    case RAYI_PEER_DO_OUTLIVED:
        return out + sprintf(out, "outlived %" PRIu64, a->incarnation);
    case RAYI_PEER_DO_ENDED:
        return out + sprintf(out, "ended");
    }
    return out;
}

static inline const char *told(world *w)
{
    rayi_peer_action a;
    char *out = w->told;
    *out = 0;
    while (rayi_peer_next(w->peer, &a)) {
        cr_assert_lt(out - w->told, 3800, "no end of it: %s", w->told);
        if (a.what == RAYI_PEER_DO_DIAL)
            w->link = a.link;
        out += sprintf(out, "%s", out == w->told ? "" : "; ");
        out = say(out, &a);
    }
    return w->told;
}
#define TOLD(w, want) cr_assert_str_eq(told(w), (want), "told \"%s\", expected \"%s\"", (w)->told, (want))

/* ---- what the world does ---- */

static inline int sends(world *w, rayi_frame_kind kind, uint64_t tag, const char *words)
{
    return rayi_peer_send(w->peer, kind, tag, words, strlen(words), NULL, 0, w->now);
}
#define MESSAGE(w, tag, words) cr_assert_eq(sends(w, RAYI_FRAME_MESSAGE, tag, words), 0)
#define REQUEST(w, tag, words) cr_assert_eq(sends(w, RAYI_FRAME_REQUEST, tag, words), 0)

static inline rayi_session_frame frame_of(const world *w, rayi_frame_kind kind, uint64_t number, uint64_t received)
{
    return (rayi_session_frame){
        .kind = kind, .from = PEER, .to = SELF, .number = number, .received = received, .limit = w->limit};
}

/* The other end's frame, with a payload where it has one. */
static inline void play(world *w, uint32_t link, rayi_session_frame f, const char *words)
{
    size_t size = words ? strlen(words) : 0;
    if (f.kind == RAYI_FRAME_HELLO) {
        size = 2 * RAYI_NODE_ID_SIZE;
        memset(w->frame + RAYI_FRAME_HEAD, 0, size);
        w->frame[RAYI_FRAME_HEAD] = w->larger ? 1 : 2;
        w->frame[RAYI_FRAME_HEAD + RAYI_NODE_ID_SIZE] = w->larger ? 2 : 1;
    } else if (size) {
        memcpy(w->frame + RAYI_FRAME_HEAD, words, size);
    }
    f.size = size;
    rayi_frame_write_head(w->frame, &f);
    if (link)
        rayi_peer_receive(w->peer, link, w->frame, RAYI_FRAME_HEAD + size, w->now);
}

static inline void hear(world *w, rayi_frame_kind kind, const char *words)
{
    play(w, w->link, frame_of(w, kind, ++w->number, 0), words);
}

static inline void hear_ack(world *w, uint64_t received)
{
    play(w, w->link, frame_of(w, RAYI_FRAME_ACK, 0, received), NULL);
}

static inline void accept_from(world *w, rayi_session_frame f)
{
    rayi_session_frame hello;
    play(w, 0, f, NULL);
    cr_assert_eq(rayi_frame_read(w->frame, RAYI_HELLO_SIZE, &hello), 0);
    w->link = rayi_peer_accept(w->peer, &hello, w->now);
}

static inline void accept(world *w, uint64_t dial, uint64_t received)
{
    accept_from(w, frame_of(w, RAYI_FRAME_HELLO, dial, received));
}

static inline void pass_to(world *w, int64_t now)
{
    w->now = now;
    rayi_peer_tick(w->peer, now);
}

static inline void pass_next(world *w)
{
    int64_t next = rayi_peer_next_tick_ms(w->peer);
    cr_assert(next >= w->now && next < INT64_MAX);
    pass_to(w, next);
}

static inline void up(world *w)
{
    rayi_peer_up(w->peer, w->link, w->now);
}

static inline rayi_peer_state state(const world *w)
{
    return rayi_peer_look(w->peer).state;
}

/* Dialled by this end, with dial number `dial`. */
static inline void open_dialled(world *w, uint64_t dial, uint64_t received)
{
    up(w);
    told(w);
    play(w, w->link, frame_of(w, RAYI_FRAME_HELLO, dial, received), NULL);
    cr_assert_eq(state(w), RAYI_PEER_OPEN);
}

#endif
