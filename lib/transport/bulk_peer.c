/* Connections to those who have objects: dialled at the first use, dialled again while somebody waits for them, and
 * closed when nobody has for a while.
 *
 * Chunks go from the link straight to their place. What was asked for and is not wanted any more (its fetch has ended,
 * or another source was faster) stays in the table, as nobody's, until it has come or the other end says that it will
 * not; one that is arriving at that very moment is diverted. So nothing is ever written to memory that was given back.
 *
 * A call that may fail on the way (a send without memory) marks the peer as broken; the tick breaks the connection, so
 * that nobody further up the stack loses what it stands on. */
#include "transport/bulk_inside.h"

#include <stdio.h>
#include <string.h>

enum {
    DIAL_MS = 5000,
    FIRST_BACKOFF_MS = 20,
    LAST_BACKOFF_MS = 2000,
    FIRST_LATER_MS = 5,
    LAST_LATER_MS = 500,
    SLOW_MS = 100, /* what is owed for that long may be asked of another source, too */
    MAX_GAP_MS = 100,
    MAX_DAMAGED = 3,
    SLOT_BITS = 8
};

_Static_assert(RAYI_BULK_REQUESTS == 1 << SLOT_BITS, "a request's number begins with its place in the table");

typedef struct request { /* for a chunk */
    bool used, has_sum;
    uint32_t number, object, size;
    rayi_bulk_from *from; /* NULL: nobody wants it any more */
    uint64_t chunk, sum;
    int64_t asked_ms;
} request;

typedef enum peer_state { RESTS, DIALS, UP } peer_state;

struct rayi_bulk_peer {
    rayi_bulk *bulk;
    char *address;
    peer_state state;
    rayi_link *link; /* unless it rests */
    bool broken, pinged;
    rayi_bulk_from *sources;
    request *arriving; /* its bytes are */
    uint32_t num_requests, requested, last_object;
    int64_t dial_at_ms, backoff_ms; /* not before */
    int64_t idle_ms, silent_ms;     /* for so long by now */
    uint64_t heard;
    rayi_bulk_peer *prev, *next;
    request requests[RAYI_BULK_REQUESTS];
};

/* ---- requests ---- */

static request *find_request(rayi_bulk_peer *peer, uint32_t number)
{
    request *found = &peer->requests[number % RAYI_BULK_REQUESTS];
    return found->used && found->number == number ? found : NULL;
}

/* Its source has nothing to do with it any more. */
static void disown(request *asked)
{
    if (asked->from) {
        asked->from->num_asked--;
        asked->from->asked_bytes -= asked->size;
    }
    asked->from = NULL;
}

static void divert(rayi_bulk_peer *peer, request *asked)
{
    disown(asked);
    if (peer->arriving != asked)
        return;
    rayi_link_drop_body(peer->link);
    peer->arriving = NULL;
    asked->used = false;
    peer->num_requests--;
}

static void remove_request(rayi_bulk_peer *peer, request *asked)
{
    if (asked->from)
        rayi_bulk_map_give_back(&asked->from->fetch->map, asked->chunk);
    if (peer->arriving == asked)
        peer->arriving = NULL;
    disown(asked);
    asked->used = false;
    peer->num_requests--;
}

static void remove_requests(rayi_bulk_peer *peer, uint32_t object)
{
    for (size_t i = 0; i < RAYI_BULK_REQUESTS && peer->num_requests > 0; i++)
        if (peer->requests[i].used && peer->requests[i].object == object)
            remove_request(peer, &peer->requests[i]);
}

static int send_to(rayi_bulk_peer *peer, uint32_t kind, uint32_t number, const uint8_t *bytes, size_t size)
{
    int r = rayi_link_send(peer->link, rayi_bulk_type(kind, number), bytes, size);
    if (r < 0)
        peer->broken = true;
    return r;
}

static void ask_for(rayi_bulk_from *from, uint64_t chunk)
{
    rayi_bulk_peer *peer = from->peer;
    rayi_bulk_map *map = &from->fetch->map;
    uint8_t bytes[RAYI_BULK_GET_BYTES];
    uint32_t slot = peer->requested % RAYI_BULK_REQUESTS;
    while (peer->requests[slot].used)
        slot = (slot + 1) % RAYI_BULK_REQUESTS;
    request *asked = &peer->requests[slot];
    uint32_t round = ((asked->number >> SLOT_BITS) + 1) & (UINT32_MAX >> (RAYI_BULK_KIND_BITS + SLOT_BITS));
    *asked = (request){.used = true, .number = slot | round << SLOT_BITS, .object = from->number, .from = from};
    asked->chunk = chunk;
    asked->size = rayi_bulk_map_chunk_bytes(map, chunk);
    asked->asked_ms = rayi_now_ms();
    peer->requested = slot + 1;
    peer->num_requests++;
    from->num_asked++;
    from->asked_bytes += asked->size;
    rayi_bulk_map_ask(map, chunk);
    rayi_store_u32(bytes, asked->object);
    rayi_store_u64(bytes + 4, chunk * map->chunk_bytes);
    rayi_store_u32(bytes + 12, asked->size);
    (void)send_to(peer, RAYI_BULK_GET, asked->number, bytes, sizeof bytes);
}

/* ---- sharing out ---- */

static void open_object(rayi_bulk_from *from)
{
    rayi_bulk_peer *peer = from->peer;
    uint8_t bytes[RAYI_BULK_OPEN_BYTES];
    from->number = peer->last_object = (peer->last_object + 1) & (UINT32_MAX >> RAYI_BULK_KIND_BITS);
    from->state = RAYI_BULK_ASKED;
    rayi_store_u64(bytes, from->object);
    rayi_store_u64(bytes + 8, from->ticket);
    rayi_store_u64(bytes + 16, from->fetch->map.size_bytes);
    rayi_bulk_from_note(from, RAY_ERR_OBJECT_LOST, "it has not brought all in time");
    (void)send_to(peer, RAYI_BULK_OPEN, from->number, bytes, sizeof bytes);
}

static bool is_slower(const request *asked, const rayi_bulk_from *from, int64_t until_ms)
{
    return asked->used && asked->from == from && asked->asked_ms <= until_ms &&
           rayi_bulk_map_asked(&from->fetch->map, asked->chunk) == 1;
}

/* What other sources owe, and have owed the longest. */
static bool find_owed(const rayi_bulk_from *from, uint64_t *out)
{
    const rayi_bulk_fetching *fetch = from->fetch;
    int64_t until_ms = rayi_now_ms() - SLOW_MS;
    bool found = false;
    for (size_t i = 0; i < fetch->num_sources; i++) {
        const rayi_bulk_from *other = &fetch->sources[i];
        if (other == from || other->num_asked == 0)
            continue;
        for (size_t j = 0; j < RAYI_BULK_REQUESTS; j++) {
            const request *asked = &other->peer->requests[j];
            if (!is_slower(asked, other, until_ms))
                continue;
            until_ms = asked->asked_ms;
            *out = asked->chunk;
            found = true;
        }
    }
    return found;
}

/* One more chunk; false: there is none, or no room. */
static bool ask_more(rayi_bulk_from *from)
{
    rayi_bulk_map *map = &from->fetch->map;
    uint64_t chunk;
    if (from->state == RAYI_BULK_WAITS && rayi_now_ms() >= from->open_at_ms)
        open_object(from);
    if (from->state != RAYI_BULK_ASKED || from->peer->num_requests == RAYI_BULK_REQUESTS)
        return false;
    if (from->num_asked > 0 && from->asked_bytes + map->chunk_bytes > from->peer->bulk->options.window_bytes)
        return false;
    if (!rayi_bulk_map_next(map, &chunk) && (from->num_asked > 0 || !find_owed(from, &chunk)))
        return false;
    ask_for(from, chunk);
    return true;
}

/* Each in turn, until nobody can be asked for more. */
void rayi_bulk_peer_share_out(rayi_bulk_peer *peer)
{
    rayi_bulk_from *from;
    size_t count, idle = 0;
    DL_COUNT(peer->sources, from, count);
    while (peer->state == UP && !peer->broken && idle < count) {
        from = peer->sources;
        DL_DELETE(peer->sources, from);
        DL_APPEND(peer->sources, from);
        idle = ask_more(from) ? 0 : idle + 1;
    }
}

void rayi_bulk_peer_forget_chunk(rayi_bulk_fetching *fetch, uint64_t chunk)
{
    for (size_t i = 0; i < fetch->num_sources; i++) {
        rayi_bulk_peer *peer = fetch->sources[i].peer;
        for (size_t j = 0; j < RAYI_BULK_REQUESTS && fetch->sources[i].num_asked > 0; j++) {
            request *asked = &peer->requests[j];
            if (asked->used && asked->from == &fetch->sources[i] && asked->chunk == chunk)
                divert(peer, asked);
        }
    }
}

/* ---- ends of connections ---- */

static void rest(rayi_bulk_peer *peer)
{
    peer->backoff_ms = RAYI_MIN(RAYI_MAX(2 * peer->backoff_ms, FIRST_BACKOFF_MS), LAST_BACKOFF_MS);
    peer->dial_at_ms = rayi_now_ms() + peer->backoff_ms;
    peer->state = RESTS;
    peer->link = NULL;
    peer->broken = false;
    peer->idle_ms = 0;
}

static void lose(rayi_bulk_peer *peer, int code, const char *reason)
{
    rayi_bulk_from *from;
    rest(peer);
    for (size_t i = 0; i < RAYI_BULK_REQUESTS && peer->num_requests > 0; i++)
        if (peer->requests[i].used)
            remove_request(peer, &peer->requests[i]);
    DL_FOREACH (peer->sources, from) {
        from->state = RAYI_BULK_WAITS;
        rayi_bulk_from_note(from, code, reason);
    }
}

static void break_off(rayi_bulk_peer *peer, int code, const char *reason)
{
    rayi_link_close(peer->link);
    lose(peer, code, reason);
}

static void on_close(rayi_link *link, void *arg, rayi_link_why why)
{
    rayi_bulk_peer *peer = arg;
    char reason[RAYI_BULK_REASON];
    int code = rayi_error_last_public()->code;
    (void)link;
    snprintf(reason, sizeof reason, "%s", rayi_error_last_public()->message);
    lose(peer, code, reason);
    if (why == RAYI_LINK_AUTH || why == RAYI_LINK_VERSION)
        while (peer->sources)
            rayi_bulk_from_give_up(peer->sources, code, reason);
}

/* ---- what comes ---- */

static const char other_key[] = "another node answers there: its public key is not the one expected";

static bool is_right(const rayi_bulk_peer *peer, const rayi_bulk_from *from)
{
    const uint8_t *key = rayi_link_peer(peer->link);
    return !from->has_key || (key && memcmp(key, from->key, sizeof from->key) == 0);
}

static rayi_bulk_from *find_wrong(const rayi_bulk_peer *peer)
{
    rayi_bulk_from *from;
    DL_FOREACH (peer->sources, from)
        if (!is_right(peer, from))
            return from;
    return NULL;
}

static void on_open(rayi_link *link, void *arg)
{
    rayi_bulk_peer *peer = arg;
    rayi_bulk_from *wrong;
    rayi_bulk_tune(link);
    peer->state = UP;
    peer->heard = 0;
    peer->idle_ms = peer->silent_ms = 0;
    peer->pinged = false;
    while ((wrong = find_wrong(peer)) != NULL)
        rayi_bulk_from_give_up(wrong, RAY_ERR_AUTH, other_key);
    rayi_bulk_peer_share_out(peer);
}

static void on_opened(rayi_bulk_peer *peer, uint32_t object, const uint8_t *bytes, size_t size)
{
    int code = (int32_t)rayi_load_u32(bytes);
    char words[RAYI_BULK_REASON];
    rayi_bulk_from *from;
    if (code == 0)
        return;
    remove_requests(peer, object);
    DL_FOREACH (peer->sources, from)
        if (from->state == RAYI_BULK_ASKED && from->number == object)
            break;
    if (!from)
        return;
    snprintf(words, sizeof words, "%.*s", (int)RAYI_MIN(size - RAYI_BULK_OPENED_BYTES, sizeof words),
             (const char *)bytes + RAYI_BULK_OPENED_BYTES);
    if (code < 0) {
        rayi_bulk_from_give_up(from, code, words);
        return;
    }
    from->state = RAYI_BULK_WAITS;
    from->later_ms = RAYI_MIN(RAYI_MAX(2 * from->later_ms, FIRST_LATER_MS), LAST_LATER_MS);
    from->open_at_ms = rayi_now_ms() + from->later_ms;
    rayi_bulk_from_note(from, RAY_ERR_NOT_FOUND, "it says that the object will be there later");
}

static void *on_body(rayi_link *link, void *arg, uint32_t type, size_t size)
{
    rayi_bulk_peer *peer = arg;
    request *asked = rayi_bulk_kind(type) == RAYI_BULK_BODY ? find_request(peer, rayi_bulk_number(type)) : NULL;
    (void)link;
    if (!asked || !asked->from || asked->size != size)
        return NULL;
    peer->arriving = asked;
    return asked->from->fetch->to + asked->chunk * asked->from->fetch->map.chunk_bytes;
}

static bool is_damaged(const rayi_bulk_peer *peer, const request *asked, const void *bytes)
{
    return !rayi_link_peer(peer->link) && (!asked->has_sum || rayi_sum(bytes, asked->size, 0) != asked->sum);
}

static void on_damaged(rayi_bulk_peer *peer, request *asked)
{
    static const char words[] = "what it sent is damaged: its checksum is another one";
    rayi_bulk_from *from = asked->from;
    remove_request(peer, asked);
    if (++from->num_damaged == MAX_DAMAGED)
        rayi_bulk_from_give_up(from, RAY_ERR_CORRUPT, words);
    break_off(peer, RAY_ERR_CORRUPT, words);
}

static void on_chunk(rayi_bulk_peer *peer, uint32_t number, const void *bytes, size_t size)
{
    request *asked = find_request(peer, number);
    peer->arriving = NULL;
    if (!asked)
        return;
    if (asked->size != size) {
        break_off(peer, RAY_ERR_CORRUPT, "it sent a chunk of another size than it was asked for");
    } else if (!asked->from) {
        remove_request(peer, asked);
        rayi_bulk_peer_share_out(peer);
    } else if (is_damaged(peer, asked, bytes)) {
        on_damaged(peer, asked);
    } else {
        rayi_bulk_fetching *fetch = asked->from->fetch;
        uint64_t chunk = asked->chunk;
        disown(asked);
        remove_request(peer, asked);
        peer->backoff_ms = 0;
        rayi_bulk_fetch_arrive(fetch, chunk);
        rayi_bulk_peer_share_out(peer);
    }
}

static void on_message(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size)
{
    rayi_bulk_peer *peer = arg;
    request *asked;
    (void)link;
    switch (rayi_bulk_kind(type)) {
    case RAYI_BULK_OPENED:
        if (size < RAYI_BULK_OPENED_BYTES)
            break;
        on_opened(peer, rayi_bulk_number(type), bytes, size);
        rayi_bulk_peer_share_out(peer);
        return;
    case RAYI_BULK_SUM:
        if (size != RAYI_BULK_SUM_BYTES)
            break;
        asked = find_request(peer, rayi_bulk_number(type));
        if (asked) {
            asked->has_sum = true;
            asked->sum = rayi_load_u64(bytes);
        }
        return;
    case RAYI_BULK_BODY:
        on_chunk(peer, rayi_bulk_number(type), bytes, size);
        return;
    case RAYI_BULK_PONG:
        return;
    default:
        break;
    }
    break_off(peer, RAY_ERR_CORRUPT, "it sent what the protocol does not know");
}

/* ---- making and freeing ---- */

static int dial(rayi_bulk_peer *peer)
{
    static const rayi_link_events events = {
        .on_open = on_open, .on_body = on_body, .on_message = on_message, .on_close = on_close};
    int r = rayi_link_dial(peer->bulk->transport, peer->address, NULL, DIAL_MS, &events, peer, &peer->link);
    if (r < 0)
        rest(peer);
    else
        peer->state = DIALS;
    return r;
}

static void free_peer(rayi_bulk_peer *peer)
{
    RAYI_ASSERT(!peer->sources);
    if (peer->link)
        rayi_link_close(peer->link);
    DL_DELETE(peer->bulk->peers, peer);
    rayi_free(peer->address);
    rayi_free(peer);
}

static int make_peer(rayi_bulk *bulk, const char *address, rayi_bulk_peer **out)
{
    rayi_bulk_peer *peer = rayi_zalloc(sizeof *peer);
    char *copy = rayi_strdup(address);
    if (!peer || !copy) {
        rayi_free(peer);
        rayi_free(copy);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a connection to %s", address);
    }
    peer->bulk = bulk;
    peer->address = copy;
    DL_APPEND(bulk->peers, peer);
    int r = dial(peer);
    if (r < 0)
        free_peer(peer);
    else
        *out = peer;
    return r;
}

int rayi_bulk_peer_attach(rayi_bulk *bulk, rayi_bulk_from *from)
{
    rayi_bulk_peer *peer;
    DL_FOREACH (bulk->peers, peer)
        if (strcmp(peer->address, from->address) == 0)
            break;
    int r = peer ? 0 : make_peer(bulk, from->address, &peer);
    if (r < 0)
        return r;
    if (peer->state == UP && !is_right(peer, from))
        return rayi_fail(RAY_ERR_AUTH, "%s", other_key);
    if (!peer->sources)
        peer->dial_at_ms = 0; /* what failed was for somebody else */
    from->peer = peer;
    from->state = RAYI_BULK_WAITS;
    DL_APPEND(peer->sources, from);
    return 0;
}

void rayi_bulk_peer_detach(rayi_bulk_from *from)
{
    rayi_bulk_peer *peer = from->peer;
    if (!peer)
        return;
    for (size_t i = 0; i < RAYI_BULK_REQUESTS && from->num_asked > 0; i++) {
        request *asked = &peer->requests[i];
        if (!asked->used || asked->from != from)
            continue;
        rayi_bulk_map_give_back(&from->fetch->map, asked->chunk);
        divert(peer, asked);
    }
    if (from->state == RAYI_BULK_ASKED)
        (void)send_to(peer, RAYI_BULK_CLOSE, from->number, NULL, 0);
    DL_DELETE(peer->sources, from);
    from->peer = NULL;
    peer->idle_ms = 0;
}

void rayi_bulk_peer_free_all(rayi_bulk *bulk)
{
    while (bulk->peers)
        free_peer(bulk->peers);
}

/* ---- time ---- */

/* For how long has one that owes something said nothing? A pause of this thread counts little: what came meanwhile has
 * not been read. */
static void look_for_life(rayi_bulk_peer *peer, int64_t gap_ms)
{
    uint32_t limit_ms = peer->bulk->options.silent_ms;
    bool heard = peer->heard != peer->link->num_received;
    peer->heard = peer->link->num_received;
    peer->silent_ms = heard || (peer->num_requests == 0 && !peer->pinged) ? 0 : peer->silent_ms + gap_ms;
    if (heard)
        peer->pinged = false;
    if (peer->silent_ms >= limit_ms) {
        char reason[RAYI_BULK_REASON];
        snprintf(reason, sizeof reason, "it has said nothing for %.1f s", (double)peer->silent_ms / 1e3);
        break_off(peer, RAY_ERR_TIMEOUT, reason);
    } else if (peer->silent_ms >= limit_ms / 2 && !peer->pinged) {
        peer->pinged = true;
        (void)send_to(peer, RAYI_BULK_PING, 0, NULL, 0);
    }
}

static void tick_peer(rayi_bulk_peer *peer, int64_t gap_ms)
{
    if (peer->state == UP && peer->broken)
        break_off(peer, RAY_ERR_NO_MEMORY, "out of memory: what was to be sent to it");
    if (peer->state == UP)
        look_for_life(peer, RAYI_MIN(gap_ms, MAX_GAP_MS));
    peer->idle_ms = peer->sources ? 0 : peer->idle_ms + gap_ms;
    if (peer->state != DIALS && !peer->sources && peer->idle_ms >= peer->bulk->options.idle_ms)
        free_peer(peer);
    else if (peer->state == RESTS && peer->sources && rayi_now_ms() >= peer->dial_at_ms)
        (void)dial(peer);
    else if (peer->state == UP)
        rayi_bulk_peer_share_out(peer);
}

void rayi_bulk_peer_tick(rayi_bulk *bulk)
{
    int64_t now = rayi_now_ms(), gap = now - bulk->ticked_ms;
    rayi_bulk_peer *peer, *next;
    bulk->ticked_ms = now;
    DL_FOREACH_SAFE(bulk->peers, peer, next)
    tick_peer(peer, gap);
}
