/* An observer: a link to the head, dialled as long as something is asked. What was asked before the link broke is asked
 * again: an observer only looks, or asks for what is the same when it is done twice. */
#include "cluster/inside.h"

#include <stdlib.h>

#define DIAL_MS  3000
#define AGAIN_MS 200

typedef struct asked { /* what may have to be sent again */
    struct asked *prev, *next;
    rayi_observer *of;
    rayi_answered answered;
    void *arg;
    uint64_t id;
    size_t size;
    char message[];
} asked;

struct rayi_observer {
    uv_loop_t *loop;
    rayi_transport *transport;
    rayi_link *link;
    bool is_open, is_closing;
    char *address;
    rayi_asks asks;
    asked *messages;
    uv_timer_t timer;
    int64_t dial_ms; /* not before */
    rayi_error *why; /* there is no link */
    unsigned handles;
    void (*closed)(void *arg);
    void *closed_arg;
};

static void set_timer(rayi_observer *o);

/* ---- questions ---- */

static void forget(asked *a)
{
    DL_DELETE(a->of->messages, a);
    rayi_free(a);
}

static void on_answered(void *arg, const rayi_said *answer, rayi_error *error)
{
    asked *a = arg;

    a->answered(a->arg, answer, error);
    forget(a);
}

static bool send_again(rayi_observer *o, const asked *a)
{
    return rayi_link_send(o->link, RAYI_LINK_OBSERVE, a->message, a->size) == 0;
}

static rayi_error *say_late(void *arg, int64_t tried_ms)
{
    rayi_observer *o = arg;

    if (!o->is_open)
        return rayi_unreachable(o->address, o->why ? rayi_error_public(o->why)->message : "it does not answer",
                                tried_ms);
    return rayi_error_new(RAY_ERR_TIMEOUT, NULL, NULL, "the head at %s has not answered for %lld ms", o->address,
                          (long long)tried_ms);
}

/* ---- the link ---- */

static void set_why(rayi_observer *o, rayi_error *error)
{
    rayi_error_unref(o->why);
    o->why = error;
}

static void lose(rayi_observer *o)
{
    o->link = NULL;
    o->is_open = false;
    rayi_asks_forget(&o->asks);
    o->dial_ms = rayi_cluster_now() + AGAIN_MS;
    set_timer(o);
}

static void on_open(rayi_link *link, void *arg)
{
    rayi_observer *o = arg;
    asked *a;

    o->is_open = true;
    DL_FOREACH (o->messages, a) {
        if (!send_again(o, a)) {
            rayi_link_close(link);
            lose(o);
            return;
        }
    }
}

static bool is_good_bye(const void *bytes, size_t size)
{
    rayi_member_message message;

    return rayi_member_message_take(bytes, size, &message) == 0 && message.what == RAYI_MEMBER_END;
}

/* What is asked from here on looks for a head anew. */
static void end_with_head(rayi_observer *o)
{
    rayi_error *error = rayi_error_new(RAY_ERR_HEAD_UNREACHABLE, NULL, NULL,
                                       "the head at %s has ended, and the cluster with it", o->address);

    rayi_link_close(o->link);
    lose(o);
    rayi_asks_end(&o->asks, error);
    rayi_error_unref(error);
    set_why(o, rayi_error_new(RAY_ERR_HEAD_UNREACHABLE, NULL, NULL, "it has ended"));
}

static void on_message(rayi_link *link, void *arg, uint32_t type, const void *bytes, size_t size)
{
    rayi_observer *o = arg;
    rayi_reader reader = rayi_reader_of(bytes, size);

    if (type == RAYI_LINK_TOLD && rayi_asks_take(&o->asks, NULL, NULL, &reader))
        return;
    if (type == RAYI_LINK_MEMBER && is_good_bye(bytes, size)) {
        end_with_head(o);
        return;
    }
    set_why(o, rayi_error_new(RAY_ERR_CORRUPT, NULL, NULL, "it sends what no head sends"));
    rayi_link_close(link);
    lose(o);
}

/* Of a refusal that stays one, all is said. */
static void on_close(rayi_link *link, void *arg, rayi_link_why why)
{
    rayi_observer *o = arg;
    rayi_error *error = rayi_error_last();

    (void)link;
    if (why == RAYI_LINK_AUTH || why == RAYI_LINK_VERSION) {
        rayi_asks_end(&o->asks, error);
        rayi_error_unref(error);
    } else {
        rayi_error_unref(error);
        set_why(o, rayi_error_new(RAY_ERR_HEAD_UNREACHABLE, NULL, NULL, "%s", rayi_link_why_text(why)));
    }
    lose(o);
}

static const rayi_link_events events = {.on_open = on_open, .on_message = on_message, .on_close = on_close};

static int dial(rayi_observer *o)
{
    return rayi_link_dial(o->transport, o->address, "head", DIAL_MS, &events, o, &o->link);
}

static void on_timer(uv_timer_t *timer)
{
    rayi_observer *o = timer->data;
    int64_t now = rayi_cluster_now();

    rayi_asks_tick(&o->asks, now, say_late, o);
    if (o->asks.all && !o->link && now >= o->dial_ms && dial(o) < 0) {
        set_why(o, rayi_error_last());
        lose(o);
    }
    set_timer(o);
}

static void set_timer(rayi_observer *o)
{
    int64_t at = rayi_asks_next_tick(&o->asks), now = rayi_cluster_now();

    if (o->is_closing)
        return;
    if (o->asks.all && !o->link)
        at = RAYI_MIN(at, o->dial_ms);
    if (at == INT64_MAX) {
        uv_timer_stop(&o->timer);
        return;
    }
    uv_update_time(o->loop);
    uv_timer_start(&o->timer, on_timer, (uint64_t)RAYI_MAX(at - now, 0), 0);
}

/* ---- asking ---- */

/* The message goes behind it. */
static asked *make(rayi_observer *o, uint64_t id, uint8_t op, const rayi_said *question)
{
    rayi_writer writer;
    asked *a = NULL;

    rayi_writer_init(&writer);
    if (rayi_asks_write(NULL, NULL, &writer, id, op, question))
        a = rayi_alloc(sizeof *a + writer.size);
    if (a) {
        *a = (asked){.of = o, .id = id, .size = writer.size};
        memcpy(a->message, writer.data, writer.size);
    } else {
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a question to the head");
    }
    rayi_writer_fini(&writer);
    return a;
}

int rayi_observer_ask(rayi_observer *o, uint8_t op, const rayi_said *question, int64_t timeout_ms,
                      rayi_answered answered, void *arg)
{
    asked *a = make(o, o->asks.last_id + 1, op, question);
    int r = a ? 0 : RAY_ERR_NO_MEMORY;

    if (r == 0 && !rayi_asks_add(&o->asks, RAYI_ASKS_OBSERVING, timeout_ms, on_answered, a))
        r = rayi_error_last_public()->code;
    if (r == 0 && !o->link) {
        r = dial(o);
        if (r < 0)
            rayi_asks_undo(&o->asks, a->id);
    }
    if (r < 0) {
        rayi_free(a);
        return r;
    }
    a->answered = answered;
    a->arg = arg;
    DL_APPEND(o->messages, a);
    if (o->is_open && !send_again(o, a)) {
        rayi_link_close(o->link);
        lose(o);
    }
    set_timer(o);
    return 0;
}

/* ---- start and end ---- */

static int open_transport(rayi_observer *o, const rayi_observer_config *config)
{
    const rayi_cluster_config where = {.key_file = config->key_file,
                                       .session = config->session,
                                       .no_key = config->no_key,
                                       .head_is_own = true}; /* or not: it only looks */
    rayi_key key;
    int r = rayi_cluster_seek_key(&where, &key);
    rayi_transport_options options = {.keys = &key, .num_keys = r > 0, .message_bytes = 80 << 20};

    if (r < 0)
        return r;
    r = rayi_transport_open(o->loop, &options, &o->transport);
    if (options.num_keys > 0)
        rayi_key_wipe(&key);
    return r;
}

int rayi_observer_new(const rayi_observer_config *config, rayi_observer **out)
{
    rayi_observer *o = rayi_zalloc(sizeof *o);
    char *address = o ? rayi_strdup(config->address) : NULL;
    int r;

    if (!address) {
        rayi_free(o);
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the way to the cluster");
    }
    o->loop = config->loop;
    o->address = address;
    r = open_transport(o, config);
    if (r < 0) {
        rayi_observer_free(o);
        return r;
    }
    uv_timer_init(o->loop, &o->timer);
    o->timer.data = o;
    o->handles = 2; /* the timer and the transport */
    *out = o;
    return 0;
}

static void handle_closed(rayi_observer *o)
{
    if (--o->handles == 0 && o->closed)
        o->closed(o->closed_arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

static void on_transport_closed(void *arg)
{
    handle_closed(arg);
}

void rayi_observer_close(rayi_observer *o, void (*closed)(void *arg), void *arg)
{
    rayi_error *error = rayi_error_new(RAY_ERR_SHUTDOWN, NULL, NULL, "the runtime is shut down");

    o->is_closing = true;
    o->closed = closed;
    o->closed_arg = arg;
    rayi_asks_end(&o->asks, error);
    rayi_error_unref(error);
    if (o->link)
        rayi_link_close(o->link);
    uv_close((uv_handle_t *)&o->timer, on_timer_closed);
    rayi_transport_close(o->transport, on_transport_closed, o);
}

void rayi_observer_free(rayi_observer *o)
{
    rayi_error_unref(o->why);
    rayi_free(o->address);
    rayi_free(o);
}
