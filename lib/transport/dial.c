/* From "HOST:PORT" to a connection: the look-up of the name (in a thread of libuv's; an address needs none), then its
 * addresses one after the other, each with its share of the time that is left. The error is that of the last one.
 *
 * A look-up cannot always be cancelled: it may outlive its link, and then finds nobody to tell. */
#include "transport/inside.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct look_up {
    uv_getaddrinfo_t request;
    rayi_transport *transport;
    rayi_link *link; /* NULL: it is gone */
} look_up;

struct rayi_dial {
    const char *who;
    int64_t began_ms, until_ms;
    rayi_place place;
    look_up *look_up;
    struct addrinfo *found, *next;
    bool by_uv; /* found is */
    rayi_link_why why;
    char reason[160];
};

static void note(rayi_dial *dial, rayi_link_why why, const char *reason)
{
    dial->why = why;
    snprintf(dial->reason, sizeof dial->reason, "%s", reason);
}

static void note_errno(rayi_dial *dial, int reason)
{
    switch (reason) {
    case ECONNREFUSED:
        note(dial, RAYI_LINK_REFUSED, "connection refused: nobody listens there");
        return;
    case ETIMEDOUT:
        note(dial, RAYI_LINK_SILENT, "no answer");
        return;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
        note(dial, RAYI_LINK_UNREACHABLE, strerror(reason));
        return;
    default:
        note(dial, RAYI_LINK_SYSTEM, strerror(reason));
    }
}

void rayi_dial_say(const rayi_link *link, int code, const char *reason)
{
    const rayi_dial *dial = link->dial;
    double span = (double)(rayi_now_ms() - dial->began_ms) / 1e3;
    (void)rayi_fail(code, "cannot reach %s at %s: %s (tried for %.1f s)", dial->who, link->address, reason, span);
}

static void give_up(rayi_link *link)
{
    rayi_dial *dial = link->dial;
    int code = dial->why == RAYI_LINK_SYSTEM ? RAY_ERR_SYSTEM
               : dial->why == RAYI_LINK_AUTH ? RAY_ERR_AUTH
                                             : RAY_ERR_HEAD_UNREACHABLE;
    rayi_link_end(link, dial->why, code, dial->reason);
}

static void set_timer(rayi_link *link, int64_t span_ms);
static void try_next(rayi_link *link);

/* ---- one address ---- */

/* A port that nobody listens at may be the very one that the system gave to this socket. */
static bool is_own_end(int fd)
{
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t size = sizeof here, there_size = sizeof there;
    return getsockname(fd, (struct sockaddr *)&here, &size) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &there_size) == 0 && size == there_size &&
           memcmp(&here, &there, size) == 0;
}

static void drop_socket(rayi_link *link)
{
    rayi_socket_close(link->socket);
    link->socket = NULL;
}

static void on_connected(void *arg, int events)
{
    rayi_link *link = arg;
    int reason = 0;
    socklen_t size = sizeof reason;
    (void)events;
    if (getsockopt(link->socket->fd, SOL_SOCKET, SO_ERROR, &reason, &size) < 0)
        reason = errno;
    if (reason == 0 && is_own_end(link->socket->fd))
        reason = ECONNREFUSED;
    if (reason != 0) {
        note_errno(link->dial, reason);
        drop_socket(link);
        try_next(link);
        return;
    }
    if (rayi_link_greet(link, link->dial->until_ms - rayi_now_ms()) < 0)
        rayi_link_end(link, RAYI_LINK_SYSTEM, RAY_ERR_SYSTEM, rayi_error_last_public()->message);
}

static bool attempt(rayi_link *link, const struct addrinfo *to)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        note_errno(link->dial, errno);
        return false;
    }
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS) {
        note_errno(link->dial, errno);
        close(fd);
        return false;
    }
    if (rayi_socket_open(link->transport->loop, fd, on_connected, link, &link->socket) < 0) {
        note(link->dial, RAYI_LINK_SYSTEM, rayi_error_last_public()->message);
        return false;
    }
    rayi_socket_watch(link->socket, UV_WRITABLE);
    return true;
}

static void try_next(rayi_link *link)
{
    rayi_dial *dial = link->dial;
    while (dial->next) {
        const struct addrinfo *to = dial->next;
        int64_t left = 0;
        for (const struct addrinfo *at = to; at; at = at->ai_next)
            left++;
        dial->next = to->ai_next;
        if (link->transport->ring.num_keys == 0 && !rayi_address_is_loopback(to->ai_addr)) {
            note(dial, RAYI_LINK_AUTH,
                 "it is another machine, and there is no cluster key here: $RAY_KEY_FILE may name its file");
        } else if (attempt(link, to)) {
            set_timer(link, (dial->until_ms - rayi_now_ms()) / left);
            return;
        }
    }
    give_up(link);
}

static void on_timer(uv_timer_t *timer)
{
    rayi_link *link = timer->data;
    if (link->dial->look_up) {
        note(link->dial, RAYI_LINK_SILENT, "no answer from those who know the addresses of names");
        give_up(link);
        return;
    }
    if (link->socket) {
        note(link->dial, RAYI_LINK_SILENT, "no answer");
        drop_socket(link);
    }
    try_next(link);
}

static void set_timer(rayi_link *link, int64_t span_ms)
{
    uv_update_time(link->transport->loop);
    uv_timer_start(&link->timer, on_timer, (uint64_t)RAYI_MAX(span_ms, 0), 0);
}

/* ---- names ---- */

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    look_up *lookup = rayi_container_of(request, look_up, request);
    rayi_link *link = lookup->link;
    rayi_transport_unuse(lookup->transport);
    rayi_free(lookup);
    if (!link) {
        uv_freeaddrinfo(found);
        return;
    }
    rayi_dial *dial = link->dial;
    dial->look_up = NULL;
    dial->found = dial->next = found;
    dial->by_uv = true;
    if (status == UV_EAI_MEMORY || status == UV_ENOMEM)
        note(dial, RAYI_LINK_SYSTEM, "out of memory: the look-up of its name");
    else if (status == UV_EAI_AGAIN)
        note(dial, RAYI_LINK_UNKNOWN_HOST, "nobody can be asked for the address of this name");
    else
        note(dial, RAYI_LINK_UNKNOWN_HOST, "no such host");
    try_next(link);
}

static int start_look_up(rayi_link *link)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    rayi_dial *dial = link->dial;
    look_up *lookup = rayi_zalloc(sizeof *lookup);
    if (!lookup)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the look-up of a name");
    int r = uv_getaddrinfo(link->transport->loop, &lookup->request, on_looked_up, dial->place.host, dial->place.port,
                           &hints);
    if (r < 0) {
        rayi_free(lookup);
        return rayi_fail(RAY_ERR_SYSTEM, "the name %s cannot be looked up: %s", dial->place.host, uv_strerror(r));
    }
    lookup->link = link;
    lookup->transport = link->transport;
    lookup->transport->users++;
    dial->look_up = lookup;
    set_timer(link, dial->until_ms - rayi_now_ms());
    return 0;
}

/* ---- the whole ---- */

static int start_dial(rayi_link *link)
{
    rayi_dial *dial = link->dial;
    int r = rayi_place_look_up(&dial->place, AI_NUMERICHOST, &dial->found);
    if (r != 0)
        return start_look_up(link);
    if (link->transport->ring.num_keys == 0 && !rayi_address_is_loopback(dial->found->ai_addr))
        return rayi_address_needs_key(link->address);
    dial->next = dial->found;
    set_timer(link, 0); /* what fails at once is told by the loop, too */
    return 0;
}

int rayi_link_dial(rayi_transport *transport, const char *address, const char *who, int64_t timeout_ms,
                   const rayi_link_events *events, void *arg, rayi_link **out)
{
    rayi_place place;
    rayi_link *link;
    int r = rayi_place_parse(address, &place);
    if (r == 0 && strspn(place.port, "0") == strlen(place.port))
        r = rayi_fail(RAY_ERR_ARGUMENT, "expected an address with a port from 1 to 65535, got \"%.300s\"", address);
    if (r == 0)
        r = rayi_link_new(transport, events, arg, &link);
    if (r < 0)
        return r;
    snprintf(link->address, sizeof link->address, "%s", address);
    link->dial = rayi_zalloc(sizeof *link->dial);
    if (!link->dial) {
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a link");
        goto close_link;
    }
    *link->dial = (rayi_dial){.who = who ? who : "peer", .place = place, .began_ms = rayi_now_ms()};
    link->dial->until_ms = rayi_moment_ms(timeout_ms);
    r = start_dial(link);
    if (r < 0)
        goto close_link;
    *out = link;
    return 0;

close_link:
    rayi_link_close(link);
    return r;
}

void rayi_dial_free(rayi_link *link)
{
    rayi_dial *dial = link->dial;
    if (!dial)
        return;
    link->dial = NULL;
    if (dial->look_up) {
        dial->look_up->link = NULL;
        uv_cancel((uv_req_t *)&dial->look_up->request);
    }
    if (dial->found && dial->by_uv)
        uv_freeaddrinfo(dial->found);
    else if (dial->found)
        freeaddrinfo(dial->found);
    rayi_free(dial);
}
