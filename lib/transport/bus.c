/* What the head and the nodes do on the bus: numbers, slices, and which frames are believed. bus_frame has the bytes,
 * bus_net the sockets.
 *
 * A survey is a round of slices, and each slice a survey of nng's with a number of its own. Answers are taken until the
 * round is over, also those to its earlier slices: who is slow is late, not lost. In a slice of n, the node k * n +
 * slice has bit k of a word, so that a second answer is seen without a table of nodes. */
#include "transport/bus.h"

#include "transport/bus_frame.h"
#include "transport/bus_net.h"
#include "transport/inside.h"

#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

enum { SPAN_MS = 100, MAX_PEERS = 4096 };

_Static_assert(RAYI_BUS_SLICE == 64, "a slice has a word of bits");

typedef struct stamp {
    uint64_t generation, number;
} stamp;

typedef struct survey { /* of the head: the round that is under way */
    uint8_t *bytes;
    size_t size_bytes;
    uint32_t num_numbers, slices, asked; /* asked: 0: there is none */
    uint64_t first;                      /* number of slice 0 */
    uint64_t *answered;
    uint32_t answers;
} survey;

struct rayi_bus {
    rayi_bus_net *net;
    rayi_bus_keys keys;
    const rayi_bus_events *events;
    void *arg;
    stamp published, surveyed; /* the latest: of the head, said; of a node, heard */
    uint64_t dropped[RAYI_BUS_REASONS];
    uint32_t number; /* of the node */
    bool head, closing;
    void (*closed)(void *arg);
    void *closed_arg;
    int handles; /* that are not closed yet */
    /* Of the head. */
    uv_timer_t timer;
    uint32_t span_ms;
    survey survey;
    char addresses[RAYI_BUS_LINES][RAYI_BUS_ADDRESS_SIZE];
};

static bool is_newer(const stamp *latest, const rayi_bus_frame *frame)
{
    return frame->generation > latest->generation ||
           (frame->generation == latest->generation && frame->number > latest->number);
}

static void drop(rayi_bus *bus, rayi_bus_reason reason)
{
    bus->dropped[reason]++;
}

/* NULL: it is counted as not sent. */
static rayi_bus_message *make_message(rayi_bus *bus, const rayi_bus_frame *frame)
{
    rayi_bus_message *message = rayi_bus_message_new(rayi_bus_frame_size(frame->kind, frame->size_bytes));
    if (message)
        rayi_bus_frame_write(&bus->keys, frame, rayi_bus_message_bytes(message));
    else
        drop(bus, RAYI_BUS_UNSENT);
    return message;
}

static int check_size(size_t size_bytes, const char *what)
{
    return size_bytes <= RAYI_BUS_BYTES_MAX ? 0
                                            : rayi_fail(RAY_ERR_LIMIT, "%s has %zu bytes, the bus carries at most %zu",
                                                        what, size_bytes, RAYI_BUS_BYTES_MAX);
}

/* ---- the head ---- */

int rayi_bus_publish(rayi_bus *bus, const void *bytes, size_t size_bytes)
{
    rayi_bus_frame frame = {.kind = RAYI_BUS_PUBLISH,
                            .epoch = bus->keys.secret.epoch,
                            .generation = bus->published.generation,
                            .number = bus->published.number + 1,
                            .bytes = bytes,
                            .size_bytes = size_bytes};
    RAYI_ASSERT(bus->head && !bus->closing);
    int r = check_size(size_bytes, "a publication");
    if (r < 0)
        return r;
    rayi_bus_message *message = make_message(bus, &frame);
    if (!message)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a publication of %zu bytes", size_bytes);
    bus->published.number++;
    rayi_bus_net_send(bus->net, RAYI_BUS_NEWS, message);
    return 0;
}

void rayi_bus_hush(rayi_bus *bus)
{
    RAYI_ASSERT(bus->head && !bus->closing);
    rayi_bus_net_hush(bus->net);
}

bool rayi_bus_is_hushed(const rayi_bus *bus)
{
    return rayi_bus_net_is_hushed(bus->net);
}

static void end_survey(survey *s)
{
    rayi_free(s->bytes);
    rayi_free(s->answered);
    *s = (survey){0};
}

/* A slice that there is no memory for gets no answers. */
static void ask_next(rayi_bus *bus)
{
    survey *s = &bus->survey;
    rayi_bus_frame frame = {.kind = RAYI_BUS_SURVEY,
                            .epoch = bus->keys.secret.epoch,
                            .generation = bus->surveyed.generation,
                            .number = ++bus->surveyed.number,
                            .slice = s->asked++,
                            .slices = s->slices,
                            .bytes = s->bytes,
                            .size_bytes = s->size_bytes};
    rayi_bus_message *message = make_message(bus, &frame);
    if (message)
        rayi_bus_net_send(bus->net, RAYI_BUS_POLL, message);
}

static void on_span(uv_timer_t *timer)
{
    rayi_bus *bus = timer->data;
    if (bus->survey.asked < bus->survey.slices) {
        ask_next(bus);
        return;
    }
    uint32_t answers = bus->survey.answers;
    uv_timer_stop(timer);
    end_survey(&bus->survey);
    if (bus->events->on_surveyed)
        bus->events->on_surveyed(bus->arg, answers);
}

int rayi_bus_survey(rayi_bus *bus, uint32_t num_numbers, const void *bytes, size_t size_bytes)
{
    uint32_t slices = num_numbers == 0 ? 1 : (num_numbers - 1) / RAYI_BUS_SLICE + 1;
    RAYI_ASSERT(bus->head && !bus->closing);
    int r = check_size(size_bytes, "a survey");
    if (r < 0)
        return r;
    uint8_t *copy = rayi_alloc(RAYI_MAX(size_bytes, 1));
    uint64_t *answered = rayi_zalloc(slices * sizeof *answered);
    if (!copy || !answered) {
        rayi_free(copy);
        rayi_free(answered);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a survey of %zu bytes", size_bytes);
    }
    if (size_bytes > 0)
        memcpy(copy, bytes, size_bytes);
    end_survey(&bus->survey);
    bus->survey = (survey){.bytes = copy,
                           .size_bytes = size_bytes,
                           .num_numbers = num_numbers,
                           .slices = slices,
                           .first = bus->surveyed.number + 1,
                           .answered = answered};
    uv_update_time(bus->timer.loop);
    uv_timer_start(&bus->timer, on_span, bus->span_ms, bus->span_ms);
    ask_next(bus);
    return 0;
}

static void take_answer(rayi_bus *bus, const rayi_bus_frame *frame)
{
    survey *s = &bus->survey;
    uint64_t slice = frame->number - s->first; /* of an earlier survey, far too large */
    if (frame->generation != bus->surveyed.generation || slice >= s->asked || frame->node >= s->num_numbers ||
        frame->node % s->slices != slice) {
        drop(bus, RAYI_BUS_STALE);
        return;
    }
    uint64_t bit = UINT64_C(1) << frame->node / s->slices;
    if (s->answered[slice] & bit) {
        drop(bus, RAYI_BUS_DOUBLE);
        return;
    }
    s->answered[slice] |= bit;
    s->answers++;
    if (bus->events->on_answer)
        bus->events->on_answer(bus->arg, frame->node, frame->bytes, frame->size_bytes);
}

/* ---- a node ---- */

static void answer(rayi_bus *bus, const rayi_bus_frame *asked, rayi_bus_message *message)
{
    rayi_bus_frame frame = {
        .kind = RAYI_BUS_ANSWER, .generation = asked->generation, .number = asked->number, .node = bus->number};
    rayi_bus_message *reply = NULL;
    rayi_writer writer;
    rayi_writer_init(&writer);
    if (bus->events->on_survey)
        bus->events->on_survey(bus->arg, asked->bytes, asked->size_bytes, &writer);
    if (!bus->closing && (writer.failed || writer.size > RAYI_BUS_ANSWER_MAX)) {
        drop(bus, RAYI_BUS_UNSENT);
    } else if (!bus->closing) {
        frame.epoch = rayi_bus_keys_epoch(&bus->keys, asked->epoch); /* the head may not have turned to the next */
        frame.bytes = (const uint8_t *)writer.data;
        frame.size_bytes = writer.size;
        reply = make_message(bus, &frame);
    }
    rayi_writer_fini(&writer);
    if (reply)
        rayi_bus_net_answer(bus->net, message, reply);
}

static void take_word_of_head(rayi_bus *bus, const rayi_bus_frame *frame, rayi_bus_message *message)
{
    stamp *latest = frame->kind == RAYI_BUS_PUBLISH ? &bus->published : &bus->surveyed;
    if (!is_newer(latest, frame)) {
        drop(bus, RAYI_BUS_REPLAYED);
        return;
    }
    *latest = (stamp){frame->generation, frame->number};
    if (frame->kind == RAYI_BUS_SURVEY && bus->number % frame->slices == frame->slice)
        answer(bus, frame, message);
    if (frame->kind == RAYI_BUS_PUBLISH && bus->events->on_publish)
        bus->events->on_publish(bus->arg, frame->bytes, frame->size_bytes);
}

/* ---- both ---- */

static void on_message(void *arg, rayi_bus_line line, rayi_bus_message *message)
{
    rayi_bus *bus = arg;
    rayi_bus_kind kind = bus->head ? RAYI_BUS_ANSWER : line == RAYI_BUS_NEWS ? RAYI_BUS_PUBLISH : RAYI_BUS_SURVEY;
    rayi_bus_frame frame;
    rayi_bus_reason reason =
        rayi_bus_frame_open(&bus->keys, kind, rayi_bus_message_bytes(message), rayi_bus_message_size(message), &frame);
    if (reason != RAYI_BUS_REASONS)
        drop(bus, reason);
    else if (bus->head)
        take_answer(bus, &frame);
    else
        take_word_of_head(bus, &frame, message);
}

int rayi_bus_set_secret(rayi_bus *bus, const rayi_bus_secret *secret)
{
    return rayi_bus_keys_turn(&bus->keys, secret);
}

uint32_t rayi_bus_peers(const rayi_bus *bus)
{
    return RAYI_MIN(rayi_bus_net_peers(bus->net, RAYI_BUS_NEWS), rayi_bus_net_peers(bus->net, RAYI_BUS_POLL));
}

uint64_t rayi_bus_dropped(const rayi_bus *bus, rayi_bus_reason reason)
{
    return bus->dropped[reason] + rayi_bus_net_dropped(bus->net, reason);
}

void rayi_bus_ticket_get(const rayi_bus *bus, rayi_bus_ticket *out)
{
    RAYI_ASSERT(bus->head);
    memset(out, 0, sizeof *out);
    strcpy(out->publish, bus->addresses[RAYI_BUS_NEWS]);
    strcpy(out->survey, bus->addresses[RAYI_BUS_POLL]);
    out->generation = bus->published.generation;
    out->published = bus->published.number;
    out->surveyed = bus->surveyed.number;
    out->secret = bus->keys.secret;
    memcpy(out->signer, bus->keys.signer, sizeof out->signer);
}

/* ---- opening ---- */

/* Where to listen: the first address of host, with port 0. */
static int find_host(const char *host, bool plain, char out[RAYI_ADDRESS_SIZE], bool *out_any)
{
    struct addrinfo *found = NULL;
    rayi_place place = {.port = "0"};
    if (strlen(host) >= sizeof place.host)
        return rayi_fail(RAY_ERR_ARGUMENT, "the host of the bus has %zu letters, expected fewer than %zu", strlen(host),
                         sizeof place.host);
    strcpy(place.host, host);
    int r = rayi_place_look_up(&place, AI_PASSIVE, &found);
    if (r != 0)
        return rayi_fail(RAY_ERR_NOT_FOUND, "the bus cannot listen at %s: %s", host, gai_strerror(r));
    if (plain && !rayi_address_is_loopback(found->ai_addr))
        r = rayi_address_needs_key(host);
    rayi_address_print(found->ai_addr, out);
    if (found->ai_family == AF_INET6)
        *out_any = IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)(const void *)found->ai_addr)->sin6_addr);
    else
        *out_any = ((const struct sockaddr_in *)(const void *)found->ai_addr)->sin_addr.s_addr == INADDR_ANY;
    freeaddrinfo(found);
    return r;
}

/* The ticket's addresses: the host that members see, and the ports that were got. */
static int show(rayi_bus *bus, const char *shown, const char *listening)
{
    char host[RAYI_HOST_SIZE];
    if (shown) /* an IPv6 address is told from its port by brackets */
        snprintf(host, sizeof host, strchr(shown, ':') ? "[%s]" : "%s", shown);
    else
        snprintf(host, sizeof host, "%.*s", (int)(strrchr(listening, ':') - listening), listening);
    for (int i = 0; i < RAYI_BUS_LINES; i++) {
        snprintf(bus->addresses[i], sizeof bus->addresses[i], "%s:%d", host,
                 rayi_bus_net_port(bus->net, (rayi_bus_line)i));
        if (!rayi_address_is_dialled(bus->addresses[i], bus->keys.secret.epoch == 0))
            return rayi_fail(RAY_ERR_ARGUMENT, "expected a host that nodes can dial%s, got \"%.200s\"",
                             bus->keys.secret.epoch == 0 ? ", by number and loopback for want of a key" : "", host);
    }
    return 0;
}

static rayi_bus *new_bus(const rayi_bus_events *events, void *arg)
{
    rayi_bus *bus = rayi_zalloc(sizeof *bus);
    if (!bus) {
        rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a bus");
        return NULL;
    }
    bus->events = events;
    bus->arg = arg;
    return bus;
}

static void free_bus(rayi_bus *bus)
{
    end_survey(&bus->survey);
    sodium_memzero(bus, sizeof *bus);
    rayi_free(bus);
}

static void on_part_closed(void *arg)
{
    rayi_bus *bus = arg;
    void (*closed)(void *closed_arg) = bus->closed;
    void *closed_arg = bus->closed_arg;
    if (--bus->handles > 0)
        return;
    free_bus(bus);
    if (closed)
        closed(closed_arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    on_part_closed(handle->data);
}

void rayi_bus_close(rayi_bus *bus, void (*closed)(void *arg), void *arg)
{
    RAYI_ASSERT(!bus->closing);
    bus->closing = true;
    bus->closed = closed;
    bus->closed_arg = arg;
    bus->handles = bus->head ? 2 : 1;
    if (bus->head)
        uv_close((uv_handle_t *)&bus->timer, on_timer_closed);
    rayi_bus_net_close(bus->net, on_part_closed, bus);
}

int rayi_bus_open_head(uv_loop_t *loop, const rayi_bus_head_options *options, rayi_bus **out)
{
    char address[RAYI_ADDRESS_SIZE];
    bool any = false;
    int r = find_host(options->host, !options->secret, address, &any);
    if (r == 0 && any && !options->shown)
        r = rayi_fail(RAY_ERR_ARGUMENT, "%s means all addresses: expected one to show to nodes besides", options->host);
    if (r == 0)
        r = rayi_sodium_start();
    if (r < 0)
        return r;
    rayi_bus *bus = new_bus(options->events, options->arg);
    if (!bus)
        return RAY_ERR_NO_MEMORY;
    bus->head = true;
    bus->span_ms = options->span_ms ? options->span_ms : SPAN_MS;
    bus->published.generation = bus->surveyed.generation = options->generation;
    if (options->secret)
        bus->keys.secret = *options->secret;
    rayi_bus_sign_with_new(&bus->keys);
    rayi_bus_net_options net = {.head = true,
                                .addresses = {address, address},
                                .max_peers = options->max_peers ? options->max_peers : MAX_PEERS,
                                .on_message = on_message,
                                .arg = bus};
    r = rayi_bus_net_open(loop, &net, &bus->net);
    if (r < 0) {
        free_bus(bus);
        return r;
    }
    uv_timer_init(loop, &bus->timer);
    bus->timer.data = bus;
    r = show(bus, options->shown, address);
    if (r < 0)
        rayi_bus_close(bus, NULL, NULL);
    else
        *out = bus;
    return r;
}

int rayi_bus_open_node(uv_loop_t *loop, const rayi_bus_ticket *ticket, uint32_t number, const rayi_bus_events *events,
                       void *arg, rayi_bus **out)
{
    const char *addresses[] = {ticket->publish, ticket->survey};
    int r = rayi_sodium_start();
    for (size_t i = 0; i < RAYI_COUNT_OF(addresses) && r == 0 && ticket->secret.epoch == 0; i++)
        r = rayi_address_is_dialled(addresses[i], true) ? 0 : rayi_address_needs_key(addresses[i]);
    if (r < 0)
        return r;
    rayi_bus *bus = new_bus(events, arg);
    if (!bus)
        return RAY_ERR_NO_MEMORY;
    bus->number = number;
    bus->published = (stamp){ticket->generation, ticket->published};
    bus->surveyed = (stamp){ticket->generation, ticket->surveyed};
    bus->keys.secret = ticket->secret;
    memcpy(bus->keys.signer, ticket->signer, sizeof bus->keys.signer);
    rayi_bus_net_options net = {
        .addresses = {addresses[0], addresses[1]}, .max_peers = UINT32_MAX, .on_message = on_message, .arg = bus};
    r = rayi_bus_net_open(loop, &net, &bus->net);
    if (r < 0) {
        free_bus(bus);
        return r;
    }
    *out = bus;
    return 0;
}
