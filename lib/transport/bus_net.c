/* The sockets of a bus.
 *
 * Each line is one socket of nng, with at most one receive and one send under way. Their callbacks run on nng's
 * threads: a receive's puts the message into the queue that the lines share and wakes the loop, a send's sends the next
 * of the line's outbox. What does not fit pushes out the oldest. `lock` guards the queues and the flags; nothing of nng
 * that may call back is called with it held.
 *
 * The survey sockets are raw: the cooked surveyor drops answers beyond 128 unread ones, ends its receives with each
 * survey, and takes no answers then; the cooked respondent knows only the latest survey. Raw ones leave numbers and
 * times to us, who have them in the frames anyway, and hold back a peer that sends faster than it is read.
 *
 * Hushing. nng 1.5 stops the sends of a connection that it closes before it takes it off its list, and what is sent to
 * it in between is never freed (pub0_pipe_close, surv0_pipe_close). nng finds a dead peer's connection broken when the
 * loop finds its link broken, and the loop has news just then. So the loop says when a peer is going
 * (rayi_bus_net_hush), and the outboxes keep what is said until nng should be done with it. What is left is a
 * send that meets a closing that nobody has noticed yet: some hundred nanoseconds long, and one message.
 *
 * Closing. A connection that nng 1.5 closes in the moment between two reads of a message is never done with, and
 * nng_close waits for it for ever. So receives and sends are stopped first, which ends all callbacks; then peers
 * have a moment in which what they were sending arrives, or is held back; and then nng_close is called, on a thread of
 * its own. If that has not come back in time, the loop goes on without it: what nng holds is left to that thread. */
#include "transport/bus_net.h"

#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/protocol/survey0/respond.h>
#include <nng/protocol/survey0/survey.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
    OUTBOX = 16, /* messages of a line that wait to be sent */
    /* What nng lets a peer send. Nobody sends to a publisher, and answers to the head are short. */
    NODE_MOST = 256 << 10,
    HEAD_MOST = 64 << 10,
    PUBLISHER_MOST = 64,
    SUBSCRIBED = 16, /* messages that nng keeps while the callback runs */
    REDIAL_LEAST_MS = 50,
    REDIAL_MOST_MS = 1000,
    QUIET_MS = 30, /* between the last receive and the close */
    HUSH_MS = 100, /* a peer that leaves is quiet first, and its machine may be busy */
    HUSH_MOST_MS = 500,
    PATIENCE_MS = 2000
};

typedef struct sockets sockets;

typedef struct line {
    sockets *sockets;
    rayi_bus_line which;
    nng_socket socket;
    bool open;
    int port;
    nng_aio *receive, *send;
    rayi_bus_message *outbox[OUTBOX];
    size_t first, count;
    bool sending;
    uint32_t surveys; /* numbers for nng's header */
    atomic_uint peers;
} line;

/* What nng's threads see. While it closes it belongs to the thread that does, and to the loop if that still waits. */
struct sockets {
    bool head;
    uint32_t max_peers;
    uv_async_t *async;
    pthread_mutex_t lock;
    bool hushed;
    bool closing;
    bool closed; /* all is done */
    bool left;   /* the loop does not wait any more */
    line lines[RAYI_BUS_LINES];
    struct arrival {
        rayi_bus_message *message;
        rayi_bus_line line;
    } queue[RAYI_BUS_QUEUE_MOST];
    size_t first, count, bytes;
    atomic_ullong overrun, unsent, refused;
};

struct rayi_bus_net {
    rayi_bus_net_options options;
    sockets *sockets;
    uv_async_t async;
    uv_timer_t timer;     /* the end of a hush, or of patience with closing */
    int64_t hush_most_ms; /* of the loop's clock: it ends then, even if peers go on going */
    bool closing, ended;
    int handles;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* ---- messages ---- */

rayi_bus_message *rayi_bus_message_new(size_t size_bytes)
{
    nng_msg *message;
    return nng_msg_alloc(&message, size_bytes) == 0 ? message : NULL;
}

uint8_t *rayi_bus_message_bytes(rayi_bus_message *message)
{
    return nng_msg_body(message);
}

size_t rayi_bus_message_size(const rayi_bus_message *message)
{
    return nng_msg_len(message);
}

/* ---- receiving ---- */

static struct arrival pop(sockets *s)
{
    struct arrival oldest = s->queue[s->first];
    s->first = (s->first + 1) % RAYI_BUS_QUEUE_MOST;
    s->count--;
    s->bytes -= nng_msg_len(oldest.message);
    return oldest;
}

/* false: it is closing, and nothing more is received. */
static bool push(line *l, nng_msg *message)
{
    sockets *s = l->sockets;
    size_t size = nng_msg_len(message);
    pthread_mutex_lock(&s->lock);
    while (s->count > 0 && (s->count == RAYI_BUS_QUEUE_MOST || s->bytes + size > RAYI_BUS_QUEUE_BYTES)) {
        nng_msg_free(pop(s).message);
        s->overrun++;
    }
    s->queue[(s->first + s->count) % RAYI_BUS_QUEUE_MOST] = (struct arrival){message, l->which};
    s->count++;
    s->bytes += size;
    bool closing = s->closing;
    if (!closing)
        uv_async_send(s->async);
    pthread_mutex_unlock(&s->lock);
    return !closing;
}

/* On a thread of nng's. Nothing but closing ends a receive without a message: it has no time limit. */
static void on_received(void *arg)
{
    line *l = arg;
    if (nng_aio_result(l->receive) != 0)
        return;
    nng_msg *message = nng_aio_get_msg(l->receive);
    nng_aio_set_msg(l->receive, NULL);
    if (push(l, message))
        nng_recv_aio(l->socket, l->receive);
}

static bool take_oldest(sockets *s, struct arrival *out)
{
    pthread_mutex_lock(&s->lock);
    bool any = s->count > 0;
    if (any)
        *out = pop(s);
    pthread_mutex_unlock(&s->lock);
    return any;
}

/* As many as may wait: others have their turn before what comes meanwhile. */
static void receive_all(rayi_bus_net *net)
{
    struct arrival next;
    for (int turns = RAYI_BUS_QUEUE_MOST; turns > 0; turns--) {
        if (net->closing || !take_oldest(net->sockets, &next))
            return;
        net->options.on_message(net->options.arg, next.line, next.message);
        nng_msg_free(next.message);
    }
    uv_async_send(&net->async);
}

/* ---- sending ---- */

static nng_msg *next_of_outbox(line *l)
{
    nng_msg *message = NULL;
    pthread_mutex_lock(&l->sockets->lock);
    l->sending = l->count > 0 && !l->sockets->hushed && !l->sockets->closing;
    if (l->sending) {
        message = l->outbox[l->first];
        l->first = (l->first + 1) % OUTBOX;
        l->count--;
    }
    pthread_mutex_unlock(&l->sockets->lock);
    return message;
}

/* The line's send is not under way. */
static void send_next(line *l)
{
    nng_msg *message = next_of_outbox(l);
    if (message) {
        nng_aio_set_msg(l->send, message);
        nng_send_aio(l->socket, l->send);
    }
}

/* On a thread of nng's. A message that was not sent is ours again. */
static void on_sent(void *arg)
{
    line *l = arg;
    if (nng_aio_result(l->send) != 0) {
        nng_msg_free(nng_aio_get_msg(l->send));
        l->sockets->unsent++;
    }
    nng_aio_set_msg(l->send, NULL);
    send_next(l);
}

static void send_on(line *l, nng_msg *message)
{
    sockets *s = l->sockets;
    nng_msg *oldest = NULL;
    pthread_mutex_lock(&s->lock);
    if (l->count == OUTBOX) {
        oldest = l->outbox[l->first];
        l->first = (l->first + 1) % OUTBOX;
        l->count--;
    }
    l->outbox[(l->first + l->count) % OUTBOX] = message;
    l->count++;
    bool starts = !l->sending;
    pthread_mutex_unlock(&s->lock);
    if (oldest) {
        nng_msg_free(oldest);
        s->unsent++;
    }
    if (starts)
        send_next(l);
}

void rayi_bus_net_send(rayi_bus_net *net, rayi_bus_line which, rayi_bus_message *message)
{
    line *l = &net->sockets->lines[which];
    RAYI_ASSERT(net->options.head && !net->closing);
    if (which == RAYI_BUS_POLL && nng_msg_header_append_u32(message, UINT32_C(1) << 31 | l->surveys++ % INT32_MAX)) {
        nng_msg_free(message);
        net->sockets->unsent++;
        return;
    }
    send_on(l, message);
}

/* Where a send is under way, its callback goes on. */
static void on_hush_over(uv_timer_t *timer)
{
    rayi_bus_net *net = timer->data;
    sockets *s = net->sockets;
    for (int i = 0; i < RAYI_BUS_LINES; i++) {
        pthread_mutex_lock(&s->lock);
        s->hushed = false;
        bool starts = !s->lines[i].sending;
        pthread_mutex_unlock(&s->lock);
        if (starts)
            send_next(&s->lines[i]);
    }
}

void rayi_bus_net_hush(rayi_bus_net *net)
{
    RAYI_ASSERT(!net->closing);
    pthread_mutex_lock(&net->sockets->lock);
    bool goes_on = net->sockets->hushed;
    net->sockets->hushed = true;
    pthread_mutex_unlock(&net->sockets->lock);
    uv_update_time(net->timer.loop);
    int64_t now = (int64_t)uv_now(net->timer.loop);
    if (!goes_on)
        net->hush_most_ms = now + HUSH_MOST_MS;
    int64_t left = RAYI_MIN(HUSH_MS, net->hush_most_ms - now);
    uv_timer_start(&net->timer, on_hush_over, (uint64_t)RAYI_MAX(left, 0), 0);
}

bool rayi_bus_net_is_hushed(const rayi_bus_net *net)
{
    return net->sockets->hushed; /* changed on this thread alone */
}

void rayi_bus_net_answer(rayi_bus_net *net, rayi_bus_message *survey, rayi_bus_message *answer)
{
    RAYI_ASSERT(!net->options.head && !net->closing);
    if (nng_msg_header_append(answer, nng_msg_header(survey), nng_msg_header_len(survey))) {
        nng_msg_free(answer);
        net->sockets->unsent++;
        return;
    }
    send_on(&net->sockets->lines[RAYI_BUS_POLL], answer);
}

/* ---- opening ---- */

/* On a thread of nng's. */
static void on_peer(nng_pipe pipe, nng_pipe_ev event, void *arg)
{
    line *l = arg;
    if (event == NNG_PIPE_EV_REM_POST) {
        atomic_fetch_sub(&l->peers, 1);
    } else if (atomic_fetch_add(&l->peers, 1) >= l->sockets->max_peers) {
        l->sockets->refused++;
        nng_pipe_close(pipe);
    }
}

static int open_socket(line *l)
{
    bool head = l->sockets->head;
    int r;
    if (l->which == RAYI_BUS_NEWS)
        r = head ? nng_pub0_open(&l->socket) : nng_sub0_open(&l->socket);
    else
        r = head ? nng_surveyor0_open_raw(&l->socket) : nng_respondent0_open_raw(&l->socket);
    l->open = r == 0;
    return r;
}

static int set_limits(const line *l)
{
    bool head = l->sockets->head;
    size_t most = !head ? NODE_MOST : l->which == RAYI_BUS_NEWS ? PUBLISHER_MOST : HEAD_MOST;
    int r = nng_socket_set_size(l->socket, NNG_OPT_RECVMAXSZ, most);
    if (r == 0)
        r = nng_socket_set_bool(l->socket, NNG_OPT_TCP_KEEPALIVE, true);
    if (r == 0)
        r = nng_socket_set_ms(l->socket, NNG_OPT_RECONNMINT, REDIAL_LEAST_MS);
    if (r == 0)
        r = nng_socket_set_ms(l->socket, NNG_OPT_RECONNMAXT, REDIAL_MOST_MS);
    if (r == 0 && l->which == RAYI_BUS_NEWS && !head)
        r = nng_socket_set(l->socket, NNG_OPT_SUB_SUBSCRIBE, "", 0);
    if (r == 0 && l->which == RAYI_BUS_NEWS && !head)
        r = nng_socket_set_int(l->socket, NNG_OPT_RECVBUF, SUBSCRIBED);
    return r;
}

static int watch_peers(line *l)
{
    int r = nng_pipe_notify(l->socket, NNG_PIPE_EV_ADD_PRE, on_peer, l);
    return r ? r : nng_pipe_notify(l->socket, NNG_PIPE_EV_REM_POST, on_peer, l);
}

static int start(line *l, const char *address)
{
    char url[RAYI_BUS_ADDRESS_SIZE + 8];
    nng_listener listener;
    snprintf(url, sizeof url, "tcp://%s", address);
    if (!l->sockets->head)
        return nng_dial(l->socket, url, NULL, NNG_FLAG_NONBLOCK);
    int r = nng_listen(l->socket, url, &listener, 0);
    return r ? r : nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &l->port);
}

static int open_line(line *l, const char *address)
{
    int r = open_socket(l);
    if (r == 0)
        r = nng_aio_alloc(&l->receive, on_received, l);
    if (r == 0)
        r = nng_aio_alloc(&l->send, on_sent, l);
    if (r == 0)
        r = set_limits(l);
    if (r == 0)
        r = watch_peers(l);
    if (r == 0)
        r = start(l, address);
    if (r == 0 && !(l->sockets->head && l->which == RAYI_BUS_NEWS)) /* a publisher hears nothing */
        nng_recv_aio(l->socket, l->receive);
    return r;
}

/* Later versions can be told how many threads to start, before their first socket is opened. */
static void bound_threads(void)
{
#if NNG_MAJOR_VERSION == 1 && NNG_MINOR_VERSION >= 7
    nng_init_set_parameter(NNG_INIT_MAX_TASK_THREADS, 2);
    nng_init_set_parameter(NNG_INIT_MAX_EXPIRE_THREADS, 1);
    nng_init_set_parameter(NNG_INIT_MAX_POLLER_THREADS, 1);
    nng_init_set_parameter(NNG_INIT_NUM_RESOLVER_THREADS, 1);
#endif
}

static int open_lines(sockets *s, const char *const *addresses)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int r = 0;
    pthread_once(&once, bound_threads);
    for (int i = 0; i < RAYI_BUS_LINES && r == 0; i++) {
        s->lines[i].sockets = s;
        s->lines[i].which = (rayi_bus_line)i;
        r = open_line(&s->lines[i], addresses[i]);
        if (r != 0)
            rayi_fail(r == NNG_ENOMEM ? RAY_ERR_NO_MEMORY : RAY_ERR_SYSTEM, "the bus cannot %s %s: %s",
                      s->head ? "listen at" : "dial", addresses[i], nng_strerror(r));
    }
    return r == 0 ? 0 : rayi_error_last_public()->code;
}

/* ---- closing ---- */

static void close_sockets(sockets *s)
{
    for (int i = 0; i < RAYI_BUS_LINES; i++) {
        nng_aio_stop(s->lines[i].receive);
        nng_aio_stop(s->lines[i].send);
    }
    rayi_nap_ms(QUIET_MS);
    for (int i = 0; i < RAYI_BUS_LINES; i++)
        if (s->lines[i].open)
            nng_close(s->lines[i].socket);
}

static void free_line(line *l)
{
    if (l->send && nng_aio_get_msg(l->send)) /* nng did not take it any more */
        nng_msg_free(nng_aio_get_msg(l->send));
    nng_aio_free(l->receive);
    nng_aio_free(l->send);
    for (; l->count > 0; l->count--, l->first = (l->first + 1) % OUTBOX)
        nng_msg_free(l->outbox[l->first]);
}

static void free_sockets(sockets *s)
{
    for (int i = 0; i < RAYI_BUS_LINES; i++)
        free_line(&s->lines[i]);
    while (s->count > 0)
        nng_msg_free(pop(s).message);
    pthread_mutex_destroy(&s->lock);
    rayi_free(s);
}

static void *closer(void *arg)
{
    sockets *s = arg;
    close_sockets(s);
    pthread_mutex_lock(&s->lock);
    s->closed = true;
    bool left = s->left;
    if (!left)
        uv_async_send(s->async); /* and it may be gone when the lock is */
    pthread_mutex_unlock(&s->lock);
    if (left)
        free_sockets(s);
    return NULL;
}

static void on_handle_closed(uv_handle_t *handle)
{
    rayi_bus_net *net = handle->data;
    void (*closed)(void *arg) = net->closed;
    void *arg = net->closed_arg;
    if (--net->handles > 0)
        return;
    rayi_free(net);
    if (closed)
        closed(arg);
}

static void end(rayi_bus_net *net)
{
    net->ended = true;
    net->handles = 2;
    uv_close((uv_handle_t *)&net->async, on_handle_closed);
    uv_close((uv_handle_t *)&net->timer, on_handle_closed);
}

static void on_patience(uv_timer_t *timer)
{
    rayi_bus_net *net = timer->data;
    sockets *s = net->sockets;
    pthread_mutex_lock(&s->lock);
    bool closed = s->closed;
    s->left = true;
    pthread_mutex_unlock(&s->lock);
    if (closed)
        free_sockets(s);
    else
        rayi_log(RAY_LOG_WARNING, "bus.left", NULL, "nng has not closed the bus in %d ms: left to itself", PATIENCE_MS);
    end(net);
}

static void on_async(uv_async_t *async)
{
    rayi_bus_net *net = async->data;
    if (net->ended)
        return;
    if (!net->closing) {
        receive_all(net);
        return;
    }
    pthread_mutex_lock(&net->sockets->lock);
    bool closed = net->sockets->closed;
    pthread_mutex_unlock(&net->sockets->lock);
    if (closed) {
        free_sockets(net->sockets);
        end(net);
    }
}

/* All signals are blocked in it. */
static int start_closer(sockets *s)
{
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = pthread_create(&thread, NULL, closer, s);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        pthread_detach(thread);
    return r;
}

void rayi_bus_net_close(rayi_bus_net *net, void (*closed)(void *arg), void *arg)
{
    net->closing = true;
    net->closed = closed;
    net->closed_arg = arg;
    pthread_mutex_lock(&net->sockets->lock);
    net->sockets->closing = true;
    pthread_mutex_unlock(&net->sockets->lock);
    uv_update_time(net->timer.loop);
    uv_timer_start(&net->timer, on_patience, PATIENCE_MS, 0);
    if (start_closer(net->sockets) != 0)
        closer(net->sockets); /* here, then */
}

/* ---- the whole ---- */

static sockets *new_sockets(const rayi_bus_net_options *options, uv_async_t *async)
{
    sockets *s = rayi_zalloc(sizeof *s);
    if (s) {
        s->head = options->head;
        s->max_peers = options->max_peers;
        s->async = async;
        pthread_mutex_init(&s->lock, NULL);
    }
    return s;
}

/* nng's threads inherit the mask of who opens the first socket. */
static int start_sockets(rayi_bus_net *net)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int r = open_lines(net->sockets, net->options.addresses);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return r;
}

int rayi_bus_net_open(uv_loop_t *loop, const rayi_bus_net_options *options, rayi_bus_net **out)
{
    rayi_bus_net *net = rayi_zalloc(sizeof *net);
    sockets *s = net ? new_sockets(options, &net->async) : NULL;
    int r = s ? uv_async_init(loop, &net->async, on_async) : 0;
    if (!s || r < 0) {
        if (s)
            free_sockets(s);
        rayi_free(net);
        return s ? rayi_fail(RAY_ERR_SYSTEM, "the bus cannot be opened: %s", uv_strerror(r))
                 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a bus");
    }
    uv_timer_init(loop, &net->timer);
    net->options = *options;
    net->sockets = s;
    net->async.data = net->timer.data = net;
    r = start_sockets(net);
    if (r < 0)
        rayi_bus_net_close(net, NULL, NULL);
    else
        *out = net;
    return r;
}

int rayi_bus_net_port(const rayi_bus_net *net, rayi_bus_line which)
{
    return net->sockets->lines[which].port;
}

uint32_t rayi_bus_net_peers(const rayi_bus_net *net, rayi_bus_line which)
{
    return net->sockets->lines[which].peers;
}

uint64_t rayi_bus_net_dropped(const rayi_bus_net *net, rayi_bus_reason reason)
{
    if (reason == RAYI_BUS_OVERRUN)
        return net->sockets->overrun;
    if (reason == RAYI_BUS_UNSENT)
        return net->sockets->unsent;
    return reason == RAYI_BUS_REFUSED ? net->sockets->refused : 0;
}
