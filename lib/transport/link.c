/* The life of a link: it dials (dial.c) or is accepted (listener.c), greets, is open, finishes, and is closed. Each
 * state but OPEN has a timer. Ending closes the socket and the timer at once; the memory stays until libuv lets go of
 * the timer, after the callbacks of this round, so that whoever is further up the stack may look at the state.
 *
 * Writing: what is queued is offered to the system in the loop's idle phase, or at once when much has gathered, with
 * whatever a message's sender has in its caches still. What the system does not take waits until the socket is
 * writable, and records are filled up meanwhile. An error of writing is not the end: the peer may have said why before
 * it went, and that is to be read first.
 *
 * A peer that is refused gets its answer although it may be sending: a socket that is closed with bytes unread resets
 * the connection, and the answer is lost on the way. So it is shut for sending, and read, for a moment. */
#include "transport/inside.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { AT_ONCE_BYTES = 256 << 10, IOV = 64, READS = 4, GREETING_BYTES = 512, REFUSED_MS = 1000 };

static void on_ready(void *arg, int events);

/* ---- making and ending ---- */

int rayi_link_new(rayi_transport *transport, const rayi_link_events *events, void *arg, rayi_link **out)
{
    rayi_link *link = rayi_zalloc(sizeof *link);
    RAYI_ASSERT(!transport->closing);
    if (!link)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a link");
    link->transport = transport;
    link->events = events;
    link->arg = arg;
    uv_timer_init(transport->loop, &link->timer);
    link->timer.data = link;
    transport->users++;
    DL_APPEND(transport->links, link);
    *out = link;
    return 0;
}

static void free_hello(rayi_link *link)
{
    if (link->hello)
        rayi_hello_wipe(link->hello);
    rayi_free(link->hello);
    link->hello = NULL;
}

static void on_timer_closed(uv_handle_t *handle)
{
    rayi_link *link = handle->data;
    rayi_opener_fini(&link->opener);
    rayi_sealer_fini(&link->sealer);
    rayi_transport_unuse(link->transport);
    rayi_free(link);
}

static void forget_unsent(rayi_link *link)
{
    if (link->is_unsent)
        DL_DELETE2(link->transport->unsent, link, unsent_prev, unsent_next);
    link->is_unsent = false;
}

void rayi_link_close(rayi_link *link)
{
    if (link->state == RAYI_LINK_CLOSED)
        return;
    link->state = RAYI_LINK_CLOSED;
    link->opener.stopped = true;
    rayi_socket_close(link->socket);
    link->socket = NULL;
    rayi_dial_free(link);
    rayi_listener_forget(link);
    free_hello(link);
    forget_unsent(link);
    DL_DELETE(link->transport->links, link);
    uv_close((uv_handle_t *)&link->timer, on_timer_closed);
}

/* The words, and who is to know. */
static void tell(rayi_link *link, rayi_link_why why, int code, const char *reason)
{
    rayi_listener *listener = link->listener;
    if (link->told)
        return;
    link->told = true;
    if (link->dial)
        rayi_dial_say(link, code, reason);
    else
        (void)rayi_fail(code, "%s %s: %s", listener ? "a stranger from" : "the link to", link->address, reason);
    if (listener)
        rayi_listener_tell(listener, link->address, why);
}

void rayi_link_end(rayi_link *link, rayi_link_why why, int code, const char *reason)
{
    bool stranger = link->listener != NULL;
    if (link->state == RAYI_LINK_CLOSED)
        return;
    tell(link, why, code, reason);
    if (link->state == RAYI_LINK_CLOSED)
        return; /* who was told has closed it */
    rayi_link_close(link);
    if (!stranger && link->events->on_close)
        link->events->on_close(link, link->arg, why);
}

static void end_closed(rayi_link *link)
{
    bool finished = link->state == RAYI_LINK_FINISHES && link->shut;
    rayi_link_end(link, finished ? RAYI_LINK_ENDED : RAYI_LINK_PEER_CLOSED,
                  link->dial ? RAY_ERR_HEAD_UNREACHABLE : RAY_ERR_SYSTEM,
                  finished     ? "closed after all was sent"
                  : link->dial ? "it closed the connection during the handshake"
                               : "the peer has closed it");
}

static rayi_link_why why_of(int code)
{
    switch (code) {
    case RAY_ERR_AUTH:
        return RAYI_LINK_AUTH;
    case RAY_ERR_VERSION:
        return RAYI_LINK_VERSION;
    case RAY_ERR_CORRUPT:
        return RAYI_LINK_CORRUPT;
    default:
        return RAYI_LINK_SYSTEM;
    }
}

/* With the last error as the reason. */
static void end_failed(rayi_link *link, int code)
{
    rayi_link_end(link, why_of(code), code, rayi_error_last_public()->message);
}

/* ---- time ---- */

static void on_timer(uv_timer_t *timer)
{
    rayi_link *link = timer->data;
    if (link->state == RAYI_LINK_FINISHES)
        rayi_link_end(link, RAYI_LINK_ENDED, RAY_ERR_TIMEOUT, "closed before the peer had taken all");
    else
        rayi_link_end(link, RAYI_LINK_SILENT, link->dial ? RAY_ERR_HEAD_UNREACHABLE : RAY_ERR_TIMEOUT,
                      link->dial ? "connected, but its handshake does not come" : "its handshake took too long");
}

static void set_timer(rayi_link *link, int64_t span_ms)
{
    uv_update_time(link->transport->loop);
    uv_timer_start(&link->timer, on_timer, (uint64_t)RAYI_MAX(span_ms, 0), 0);
}

/* ---- writing ---- */

static void watch(rayi_link *link)
{
    rayi_socket_watch(link->socket, UV_READABLE | (link->blocked ? UV_WRITABLE : 0));
}

static void lose(rayi_link *link)
{
    link->lost = true;
    link->blocked = false;
    rayi_sealer_sent(&link->sealer, link->sealer.bytes);
    link->sealer.open = false;
}

static void write_out(rayi_link *link)
{
    while (link->sealer.first && !link->lost) {
        struct iovec parts[IOV];
        struct msghdr message = {.msg_iov = parts};
        size_t all = 0;
        message.msg_iovlen = rayi_sealer_look(&link->sealer, parts, IOV);
        for (size_t i = 0; i < message.msg_iovlen; i++)
            all += parts[i].iov_len;
        ssize_t sent = sendmsg(link->socket->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != ENOBUFS)
            lose(link);
        else if (sent > 0)
            rayi_sealer_sent(&link->sealer, (size_t)sent);
        if (sent < (ssize_t)all) {
            link->blocked = !link->lost;
            break;
        }
    }
    if (link->state == RAYI_LINK_FINISHES && !link->sealer.first && !link->shut) {
        link->shut = true;
        shutdown(link->socket->fd, SHUT_WR);
    }
    watch(link);
}

static void give_back(rayi_link *link)
{
    const void *bytes;
    while (link->state != RAYI_LINK_CLOSED && rayi_sealer_take_back(&link->sealer, &bytes))
        if (link->events->on_returned)
            link->events->on_returned(link, link->arg, bytes);
}

/* From the loop: callbacks may come. */
static void flush(rayi_link *link)
{
    write_out(link);
    give_back(link);
    if (link->full && link->sealer.bytes < link->transport->options.drain_bytes) {
        link->full = false;
        if (link->state == RAYI_LINK_OPEN && link->events->on_drain)
            link->events->on_drain(link, link->arg);
    }
}

/* Those that have something to send now; who gets more meanwhile waits for the next round, so that others have theirs.
 */
static void on_idle(uv_idle_t *idle)
{
    rayi_transport *transport = idle->data;
    rayi_link *link;
    size_t count;
    DL_COUNT2(transport->unsent, link, count, unsent_next);
    for (; count > 0 && (link = transport->unsent); count--) {
        forget_unsent(link);
        flush(link);
    }
    if (!transport->unsent && !transport->closing)
        uv_idle_stop(idle);
}

static void schedule(rayi_link *link)
{
    rayi_transport *transport = link->transport;
    if (link->is_unsent || link->blocked)
        return;
    link->is_unsent = true;
    DL_APPEND2(transport->unsent, link, unsent_prev, unsent_next);
    uv_idle_start(&transport->idle, on_idle);
}

static int check_send(const rayi_link *link, const struct iovec *parts, size_t num_parts, uint32_t *out_size)
{
    size_t size = 0;
    if (link->state != RAYI_LINK_OPEN)
        return rayi_fail(RAY_ERR_NOT_HERE, "the link to %s is not open", link->address);
    for (size_t i = 0; i < num_parts; i++) {
        if (parts[i].iov_len > link->peer_limit - size)
            return rayi_fail(RAY_ERR_LIMIT, "a message for %s has more than %u bytes, which is what it accepts",
                             link->address, (unsigned)link->peer_limit);
        size += parts[i].iov_len;
    }
    *out_size = (uint32_t)size;
    return 0;
}

static void after_put(rayi_link *link)
{
    if (link->sealer.bytes >= AT_ONCE_BYTES && !link->blocked)
        write_out(link);
    if (link->sealer.bytes >= link->transport->options.drain_bytes)
        link->full = true;
    if (link->sealer.first || link->sealer.returned)
        schedule(link);
}

/* What is sent after the link was lost is as if it were on its way: the end of the link comes next. */
int rayi_link_send_parts(rayi_link *link, uint32_t type, const struct iovec *parts, size_t num_parts)
{
    uint32_t size = 0;
    int r = check_send(link, parts, num_parts, &size);
    if (r < 0 || link->lost)
        return r;
    r = rayi_sealer_put(&link->sealer, (int64_t)uv_now(link->transport->loop), type, parts, num_parts, size);
    if (r == 0)
        after_put(link);
    return r;
}

int rayi_link_lend(rayi_link *link, uint32_t type, const void *bytes, size_t size_bytes)
{
    struct iovec part = {(void *)(uintptr_t)bytes, size_bytes};
    uint32_t size = 0;
    int r = check_send(link, &part, 1, &size);
    if (r < 0 || link->lost)
        return r;
    r = rayi_sealer_lend(&link->sealer, (int64_t)uv_now(link->transport->loop), type, bytes, size);
    if (r == 0)
        after_put(link);
    return r;
}

int rayi_link_send(rayi_link *link, uint32_t type, const void *bytes, size_t size_bytes)
{
    struct iovec part = {(void *)(uintptr_t)bytes, size_bytes};
    return rayi_link_send_parts(link, type, &part, 1);
}

size_t rayi_link_queued_bytes(const rayi_link *link)
{
    return link->sealer.bytes;
}

bool rayi_link_finish(rayi_link *link)
{
    if (link->state == RAYI_LINK_DIALS || link->state == RAYI_LINK_GREETS)
        rayi_link_close(link);
    if (link->state != RAYI_LINK_OPEN)
        return link->state == RAYI_LINK_FINISHES;
    link->state = RAYI_LINK_FINISHES;
    link->opener.stopped = true;
    set_timer(link, RAYI_FINISH_MS);
    schedule(link);
    return true;
}

/* ---- greeting ---- */

/* So little fits into the buffer of a new socket. */
static int send_hello(rayi_link *link)
{
    size_t size = link->hello->out_size;
    if (size == 0)
        return 0;
    link->hello->out_size = 0;
    if (send(link->socket->fd, link->hello->out, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size)
        return 0;
    return rayi_fail(RAY_ERR_SYSTEM, "the handshake cannot be sent: %s", strerror(errno));
}

int rayi_link_greet(rayi_link *link, int64_t timeout_ms)
{
    rayi_transport *transport = link->transport;
    int on = 1;
    link->state = RAYI_LINK_GREETS;
    link->socket->on_ready = on_ready;
    link->hello = rayi_alloc(sizeof *link->hello);
    if (!link->hello)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a handshake");
    rayi_hello_start(link->hello, link->dial != NULL, &transport->ring, &transport->identity,
                     transport->options.message_bytes);
    setsockopt(link->socket->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set_timer(link, timeout_ms);
    watch(link);
    return send_hello(link);
}

static void deliver(void *arg, uint32_t type, uint8_t *bytes, size_t size)
{
    rayi_link *link = arg;
    if (!link->events->on_message)
        return;
    link->delivered = bytes;
    link->delivered_size = size;
    link->events->on_message(link, link->arg, type, bytes, size);
    link->delivered = NULL;
}

static uint8_t *place(void *arg, uint32_t type, size_t size)
{
    rayi_link *link = arg;
    return link->events->on_body(link, link->arg, type, size);
}

/* The handshake's fruits. */
static void arm(rayi_link *link)
{
    const rayi_transport_options *options = &link->transport->options;
    rayi_hello *hello = link->hello;
    rayi_cipher send, receive;
    const rayi_cipher *sealing = NULL, *opening = NULL;
    if (hello->sealed) {
        rayi_noise_split(&hello->noise, &send, &receive);
        sealing = &send;
        opening = &receive;
        memcpy(link->peer, hello->noise.peer, sizeof link->peer);
        link->has_peer = true;
    }
    rayi_opener_init(&link->opener, opening, options->message_bytes);
    link->opener.deliver = deliver;
    link->opener.place = link->events->on_body ? place : NULL;
    link->opener.arg = link;
    rayi_sealer_init(&link->sealer, sealing, &link->transport->chunks, (int64_t)uv_now(link->transport->loop));
    link->sealer.rekey_ms = options->rekey_ms;
    link->sealer.rekey_records = options->rekey_records;
    link->peer_limit = hello->peer_limit;
    explicit_bzero(&send, sizeof send);
    explicit_bzero(&receive, sizeof receive);
}

static int become_open(rayi_link *link)
{
    rayi_transport *transport = link->transport;
    if (!transport->buffer)
        transport->buffer = rayi_alloc(RAYI_READ_BYTES);
    if (!transport->buffer)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: what links read into");
    arm(link);
    free_hello(link);
    rayi_dial_free(link);
    rayi_listener_forget(link);
    uv_timer_stop(&link->timer);
    link->state = RAYI_LINK_OPEN;
    if (link->events->on_open)
        link->events->on_open(link, link->arg);
    return 0;
}

/* A stranger that is told why, and may take a moment to hear it. */
static void refuse(rayi_link *link, int code)
{
    (void)send(link->socket->fd, link->hello->out, link->hello->out_size, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(link->socket->fd, SHUT_WR);
    link->shut = true;
    link->state = RAYI_LINK_FINISHES;
    set_timer(link, REFUSED_MS);
    tell(link, why_of(code), code, rayi_error_last_public()->message);
}

/* ---- reading ---- */

static void feed(rayi_link *link, uint8_t *bytes, size_t size)
{
    int r = rayi_opener_feed(&link->opener, bytes, size);
    if (r < 0)
        end_failed(link, r);
}

static void feed_hello(rayi_link *link, uint8_t *bytes, size_t size)
{
    size_t used;
    int sent = 0, r = rayi_hello_feed(link->hello, bytes, size, &used);
    if (r < 0 && link->listener && link->hello->out_size > 0) {
        refuse(link, r);
        return;
    }
    if (r >= 0)
        sent = send_hello(link);
    if (sent < 0)
        r = sent;
    if (r > 0)
        r = become_open(link);
    if (r < 0)
        end_failed(link, r);
    else if (link->state == RAYI_LINK_OPEN && used < size)
        feed(link, bytes + used, size - used);
}

/* Fills parts with where to read; returns how many. The first of two is the place of a message. Where messages may have
 * places that they can be read to, little is read before such a place is known, since that is to be moved there. */
static int places(rayi_link *link, uint8_t greeting[GREETING_BYTES], struct iovec parts[2])
{
    uint8_t *to;
    size_t direct = link->state == RAYI_LINK_OPEN ? rayi_opener_place(&link->opener, &to) : 0;
    if (direct > 0) {
        parts[0] = (struct iovec){to, direct};
        parts[1] = (struct iovec){link->transport->buffer, RAYI_READ_BEHIND};
        return 2;
    }
    bool seeks_places = link->state == RAYI_LINK_OPEN && link->opener.place && !link->opener.sealed;
    if (!link->transport->buffer || link->state == RAYI_LINK_GREETS)
        parts[0] = (struct iovec){greeting, GREETING_BYTES};
    else
        parts[0] = (struct iovec){link->transport->buffer, seeks_places ? RAYI_READ_BEHIND : RAYI_READ_BYTES};
    return 1;
}

static void hear(rayi_link *link, const struct iovec *parts, int num_parts, size_t size)
{
    const struct iovec *last = &parts[num_parts - 1];
    link->num_received += size;
    if (num_parts == 2) {
        size_t direct = RAYI_MIN(size, parts[0].iov_len);
        rayi_opener_placed(&link->opener, direct);
        size -= direct;
    }
    if (link->state == RAYI_LINK_GREETS)
        feed_hello(link, last->iov_base, size);
    else if (link->state == RAYI_LINK_OPEN && size > 0)
        feed(link, last->iov_base, size);
}

/* false: there is no more for now, or it has ended. */
static bool read_some(rayi_link *link)
{
    uint8_t greeting[GREETING_BYTES];
    struct iovec parts[2] = {{0}};
    int count = places(link, greeting, parts);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    ssize_t size = recvmsg(link->socket->fd, &message, MSG_DONTWAIT);
    if (size < 0 && errno == EINTR)
        return true;
    if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return false;
    if (size <= 0)
        end_closed(link);
    else
        hear(link, parts, count, (size_t)size);
    return link->state != RAYI_LINK_CLOSED && (size_t)size == parts[0].iov_len + parts[1].iov_len;
}

bool rayi_link_get_on(rayi_link *link)
{
    rayi_hello_state before = link->hello->state;
    (void)read_some(link);
    return !link->listener || link->hello->state != before;
}

static void on_ready(void *arg, int events)
{
    rayi_link *link = arg;
    if (link->blocked && (events & UV_WRITABLE)) {
        link->blocked = false;
        flush(link);
    }
    rayi_vigil_heard(link->transport->options.vigil);
    for (int i = 0; i < READS && link->state != RAYI_LINK_CLOSED && read_some(link); i++)
        ;
    if (link->state != RAYI_LINK_CLOSED && (events & UV_DISCONNECT))
        end_closed(link);
}

/* ---- what it knows ---- */

void *rayi_link_take(rayi_link *link)
{
    const void *bytes = link->delivered;
    RAYI_ASSERT(bytes);
    link->delivered = NULL;
    return rayi_opener_take(&link->opener, bytes, link->delivered_size);
}

void rayi_link_drop_body(rayi_link *link)
{
    if (link->state == RAYI_LINK_OPEN)
        rayi_opener_drop(&link->opener);
}

void rayi_link_set_arg(rayi_link *link, void *arg)
{
    link->arg = arg;
}

void *rayi_link_arg(const rayi_link *link)
{
    return link->arg;
}

const uint8_t *rayi_link_peer(const rayi_link *link)
{
    return link->has_peer ? link->peer : NULL;
}

const char *rayi_link_address(const rayi_link *link)
{
    return link->address;
}

const char *rayi_link_why_text(rayi_link_why why)
{
    static const char *const texts[] = {[RAYI_LINK_PEER_CLOSED] = "it closed the connection",
                                        [RAYI_LINK_ENDED] = "the connection was closed",
                                        [RAYI_LINK_REFUSED] = "connection refused: nobody listens there",
                                        [RAYI_LINK_UNKNOWN_HOST] = "there is no such host",
                                        [RAYI_LINK_UNREACHABLE] = "there is no way to it",
                                        [RAYI_LINK_SILENT] = "no answer",
                                        [RAYI_LINK_AUTH] = "the cluster key is missing or another one",
                                        [RAYI_LINK_VERSION] = "it speaks another version",
                                        [RAYI_LINK_CORRUPT] = "it sends what the protocol does not allow",
                                        [RAYI_LINK_SYSTEM] = "the operating system refused, or out of memory"};

    return texts[why];
}
