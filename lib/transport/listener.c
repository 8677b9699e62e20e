/* Who connects is a stranger until its handshake is done. There are at most max_strangers: when one more knocks, the
 * oldest of those who have not shown that they have a key goes (else the oldest of all), once it has had a moment's
 * grace. Until then the new one waits in the kernel's queue, so that a crowd of honest ones does not drive itself out.
 */
#include "transport/inside.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 1024, BATCH = 16, PAUSE_MS = 100, GRACE_MS = 100, KEY_GRACE_MS = 1000 };

_Static_assert(sizeof(rayi_link) + sizeof(rayi_hello) + sizeof(rayi_socket) < 4096, "what a stranger makes us hold");

static void on_ready(void *arg, int events);

/* ---- strangers ---- */

void rayi_listener_tell(rayi_listener *listener, const char *address, rayi_link_why why)
{
    if (!listener->closed && listener->options.on_stranger)
        listener->options.on_stranger(listener, listener->options.arg, address, why);
}

static void on_timer(uv_timer_t *timer)
{
    rayi_listener *listener = timer->data;
    rayi_socket_watch(listener->socket, UV_READABLE);
}

static void pause_accepting(rayi_listener *listener, int64_t span_ms)
{
    rayi_socket_watch(listener->socket, 0);
    uv_timer_start(&listener->timer, on_timer, (uint64_t)RAYI_MAX(span_ms, 1), 0);
}

void rayi_listener_forget(rayi_link *link)
{
    rayi_listener *listener = link->listener;
    if (!listener)
        return;
    DL_DELETE2(listener->strangers, link, stranger_prev, stranger_next);
    listener->num_strangers--;
    link->listener = NULL;
    if (!listener->closed && uv_is_active((uv_handle_t *)&listener->timer)) {
        uv_timer_stop(&listener->timer);
        rayi_socket_watch(listener->socket, UV_READABLE);
    }
}

static bool has_shown_key(const rayi_link *link)
{
    return link->hello->state == RAYI_HELLO_THIRD;
}

static rayi_link *who_goes(rayi_listener *listener)
{
    rayi_link *link;
    DL_FOREACH2(listener->strangers, link, stranger_next)
    if (link->hello->state != RAYI_HELLO_THIRD)
        return link;
    return listener->strangers;
}

/* Is there room for one more, maybe since somebody went? Where this loop was busy, what the oldest has said may not
 * have been read yet: that is done first. */
static bool make_room(rayi_listener *listener)
{
    while (!listener->closed && listener->num_strangers >= listener->transport->options.max_strangers) {
        rayi_link *link = who_goes(listener);
        int64_t grace = has_shown_key(link) ? KEY_GRACE_MS : GRACE_MS, age = rayi_now_ms() - link->since_ms;
        if (age < grace) {
            pause_accepting(listener, grace - age);
            return false;
        }
        if (!rayi_link_get_on(link))
            rayi_link_end(link, RAYI_LINK_SILENT, RAY_ERR_TIMEOUT, "it was slow with its handshake, and others came");
    }
    return !listener->closed;
}

/* ---- accepting ---- */

static void greet(rayi_listener *listener, int fd, const struct sockaddr *from)
{
    rayi_link *link;
    if (rayi_link_new(listener->transport, listener->options.events, listener->options.arg, &link) < 0) {
        close(fd);
        return;
    }
    rayi_address_print(from, link->address);
    link->listener = listener;
    link->since_ms = rayi_now_ms();
    DL_APPEND2(listener->strangers, link, stranger_prev, stranger_next);
    listener->num_strangers++;
    if (rayi_socket_open(listener->transport->loop, fd, NULL, link, &link->socket) < 0 ||
        rayi_link_greet(link, listener->transport->options.hello_ms) < 0)
        rayi_link_end(link, RAYI_LINK_SYSTEM, RAY_ERR_SYSTEM, rayi_error_last_public()->message);
}

static void on_ready(void *arg, int events)
{
    rayi_listener *listener = arg;
    (void)events;
    for (int i = 0; i < BATCH && make_room(listener); i++) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        int fd = accept4(listener->socket->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            greet(listener, fd, (struct sockaddr *)&from);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(listener, PAUSE_MS); /* it would be ready for ever */
        if (errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

/* ---- the whole ---- */

static int no_listener(const char *address, int reason)
{
    return rayi_fail(reason == EADDRINUSE ? RAY_ERR_EXISTS : RAY_ERR_SYSTEM, "cannot listen at %s: %s", address,
                     strerror(reason));
}

/* A listening socket. */
static int open_socket(const struct addrinfo *at, const char *address, int *out)
{
    int on = 1, fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return no_listener(address, errno);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, at->ai_addr, at->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0) {
        int reason = errno;
        close(fd);
        return no_listener(address, reason);
    }
    *out = fd;
    return 0;
}

static int find_socket(const rayi_transport *transport, const char *address, int *out)
{
    rayi_place place;
    struct addrinfo *found;
    int r = rayi_place_parse(address, &place);
    if (r < 0)
        return r;
    r = rayi_place_look_up(&place, AI_PASSIVE, &found);
    if (r == EAI_SYSTEM || r == EAI_MEMORY)
        return no_listener(address, r == EAI_MEMORY ? ENOMEM : errno);
    if (r != 0)
        return rayi_fail(RAY_ERR_NOT_FOUND, "cannot listen at %s: %s", address, gai_strerror(r));
    if (transport->ring.num_keys == 0 && !rayi_address_is_loopback(found->ai_addr))
        r = rayi_address_needs_key(address);
    else
        r = open_socket(found, address, out);
    freeaddrinfo(found);
    return r;
}

static void on_timer_closed(uv_handle_t *handle)
{
    rayi_listener *listener = handle->data;
    rayi_transport_unuse(listener->transport);
    rayi_free(listener);
}

int rayi_listener_open(rayi_transport *transport, const char *address, const rayi_listener_options *options,
                       rayi_listener **out)
{
    struct sockaddr_storage here = {0};
    socklen_t size = sizeof here;
    int fd = -1, r = find_socket(transport, address, &fd);
    if (r < 0)
        return r;
    rayi_listener *listener = rayi_zalloc(sizeof *listener);
    if (!listener) {
        close(fd);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a listener");
    }
    listener->transport = transport;
    listener->options = *options;
    getsockname(fd, (struct sockaddr *)&here, &size);
    rayi_address_print((struct sockaddr *)&here, listener->address);
    r = rayi_socket_open(transport->loop, fd, on_ready, listener, &listener->socket);
    if (r < 0) {
        rayi_free(listener);
        return r;
    }
    uv_timer_init(transport->loop, &listener->timer);
    listener->timer.data = listener;
    transport->users++;
    DL_APPEND(transport->listeners, listener);
    rayi_socket_watch(listener->socket, UV_READABLE);
    *out = listener;
    return 0;
}

const char *rayi_listener_address(const rayi_listener *listener)
{
    return listener->address;
}

size_t rayi_listener_strangers(const rayi_listener *listener)
{
    return listener->num_strangers;
}

void rayi_listener_close(rayi_listener *listener)
{
    RAYI_ASSERT(!listener->closed);
    listener->closed = true;
    while (listener->strangers)
        rayi_link_close(listener->strangers);
    DL_DELETE(listener->transport->listeners, listener);
    rayi_socket_close(listener->socket);
    uv_close((uv_handle_t *)&listener->timer, on_timer_closed);
}
