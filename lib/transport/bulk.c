/* The thread of a bulk, and what reaches it from others: a list of fetches and two flags under a lock, and one flag
 * without. The loop is made, and listens, before the thread starts, so that what is wrong with the address is told by
 * rayi_bulk_open; it ends when everything in it is closed and all jobs are over. */
#include "transport/bulk_inside.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>

enum {
    CHUNK_BYTES = 1 << 20,
    WINDOW_BYTES = 4 << 20,
    IDLE_MS = 10000,
    SILENT_MS = 10000,
    BUSY_TICK_MS = 20,
    QUIET_TICK_MS = 250,
    MESSAGE_BYTES = RAYI_BULK_CHUNK_MAX
};

void rayi_bulk_tune(rayi_link *link)
{
    int on = 1, idle_s = 10, every_s = 5, count = 4, dead_ms = 30000, fd = link->socket->fd;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms);
}

/* ---- time ---- */

static void on_tick(uv_timer_t *timer)
{
    rayi_bulk *bulk = timer->data;
    rayi_bulk_fetch_tick(bulk);
    rayi_bulk_peer_tick(bulk);
    rayi_bulk_keep_ticking(bulk);
}

void rayi_bulk_keep_ticking(rayi_bulk *bulk)
{
    uint64_t quiet_ms = RAYI_MIN((uint64_t)QUIET_TICK_MS, (uint64_t)bulk->options.idle_ms / 2 + 1);
    uint64_t tick_ms = bulk->fetches ? BUSY_TICK_MS : bulk->peers ? quiet_ms : 0;
    if (tick_ms == bulk->tick_ms)
        return;
    if (bulk->tick_ms == 0)
        bulk->ticked_ms = rayi_now_ms();
    bulk->tick_ms = tick_ms;
    if (tick_ms > 0)
        uv_timer_start(&bulk->tick, on_tick, tick_ms, tick_ms);
    else
        uv_timer_stop(&bulk->tick);
}

/* ---- what comes from other threads ---- */

static void end_fetches(rayi_bulk *bulk)
{
    while (bulk->fetches)
        rayi_bulk_fetch_end(bulk->fetches, RAY_ERR_SHUTDOWN);
}

static void stop(rayi_bulk *bulk)
{
    end_fetches(bulk);
    rayi_bulk_peer_free_all(bulk);
    rayi_bulk_client_free_all(bulk);
    rayi_transport_close(bulk->transport, NULL, NULL);
    uv_close((uv_handle_t *)&bulk->tick, NULL);
    bulk->stopped = true;
}

static void on_wake(uv_async_t *wake)
{
    rayi_bulk *bulk = wake->data;
    rayi_bulk_fetching *begun, *fetch;
    pthread_mutex_lock(&bulk->lock);
    begun = bulk->begun;
    bulk->begun = NULL;
    bool cancelled = bulk->cancelled, stops = bulk->stops;
    pthread_mutex_unlock(&bulk->lock);
    while ((fetch = begun) != NULL) {
        DL_DELETE(begun, fetch);
        rayi_bulk_fetch_start(fetch);
    }
    if (cancelled)
        end_fetches(bulk);
    rayi_bulk_jobs_end(bulk);
    if (!bulk->stopped && atomic_exchange_explicit(&bulk->grew, false, memory_order_acquire))
        rayi_bulk_serve_waiting(bulk);
    if (stops && !bulk->stopped)
        stop(bulk);
    if (!bulk->stopped)
        rayi_bulk_keep_ticking(bulk);
    else if (rayi_bulk_jobs_are_over(bulk))
        uv_close((uv_handle_t *)wake, NULL);
}

static void cancel(rayi_bulk *bulk, bool stops)
{
    pthread_mutex_lock(&bulk->lock);
    bulk->cancelled = true;
    bulk->stops = stops;
    uv_async_send(&bulk->wake);
    pthread_mutex_unlock(&bulk->lock);
}

void rayi_bulk_cancel_all(rayi_bulk *bulk)
{
    cancel(bulk, false);
}

void rayi_bulk_grown(rayi_bulk *bulk)
{
    if (!atomic_exchange_explicit(&bulk->grew, true, memory_order_acq_rel))
        uv_async_send(&bulk->wake);
}

/* ---- the whole ---- */

static int check_options(const rayi_bulk_options *options)
{
    if (!options->address)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected an address to serve objects at, got NULL");
    if (options->open && !options->close)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected what closes objects beside what opens them, got NULL");
    if (options->chunk_bytes > RAYI_BULK_CHUNK_MAX)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected chunks of at most %d bytes, got %u", RAYI_BULK_CHUNK_MAX,
                         (unsigned)options->chunk_bytes);
    return 0;
}

static rayi_bulk_options with_defaults(const rayi_bulk_options *options)
{
    rayi_bulk_options all = *options;
    all.chunk_bytes = all.chunk_bytes ? all.chunk_bytes : CHUNK_BYTES;
    all.window_bytes = all.window_bytes ? all.window_bytes : WINDOW_BYTES;
    all.idle_ms = all.idle_ms ? all.idle_ms : IDLE_MS;
    all.silent_ms = all.silent_ms ? all.silent_ms : SILENT_MS;
    all.keys = NULL;
    all.identity = NULL;
    all.address = NULL;
    return all;
}

static void *run(void *arg)
{
    rayi_bulk *bulk = arg;
    uv_run(&bulk->loop, UV_RUN_DEFAULT);
    rayi_error_settle_last();
    return NULL;
}

static int start_thread(rayi_bulk *bulk)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&bulk->thread, NULL, run, bulk);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r == 0 ? 0 : rayi_fail(RAY_ERR_SYSTEM, "the system gives no thread for bulk transfers: %s", strerror(r));
}

static int open_transport(rayi_bulk *bulk, const rayi_bulk_options *options)
{
    int r = rayi_transport_open(&bulk->loop,
                                &(rayi_transport_options){.keys = options->keys,
                                                          .num_keys = options->num_keys,
                                                          .identity = options->identity,
                                                          .hello_ms = options->hello_ms,
                                                          .message_bytes = MESSAGE_BYTES},
                                &bulk->transport);
    if (r < 0)
        return r;
    return rayi_listener_open(bulk->transport, options->address,
                              &(rayi_listener_options){.events = &rayi_bulk_client_events, .arg = bulk},
                              &bulk->listener);
}

static int open_loop(rayi_bulk *bulk)
{
    int r = uv_loop_init(&bulk->loop);
    if (r < 0)
        return rayi_fail(RAY_ERR_SYSTEM, "the loop of bulk transfers cannot be made: %s", uv_strerror(r));
    r = uv_async_init(&bulk->loop, &bulk->wake, on_wake);
    if (r < 0) {
        uv_loop_close(&bulk->loop);
        return rayi_fail(RAY_ERR_SYSTEM, "the loop of bulk transfers cannot be woken: %s", uv_strerror(r));
    }
    uv_timer_init(&bulk->loop, &bulk->tick);
    bulk->wake.data = bulk->tick.data = bulk;
    return 0;
}

static void free_bulk(rayi_bulk *bulk)
{
    RAYI_ASSERT(uv_loop_close(&bulk->loop) == 0);
    pthread_cond_destroy(&bulk->jobs.come);
    pthread_mutex_destroy(&bulk->lock);
    rayi_free(bulk);
}

int rayi_bulk_open(const rayi_bulk_options *options, rayi_bulk **out)
{
    int r = check_options(options);
    if (r < 0)
        return r;
    rayi_bulk *bulk = rayi_zalloc(sizeof *bulk);
    if (!bulk)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: bulk transfers");
    bulk->options = with_defaults(options);
    atomic_init(&bulk->grew, false);
    r = open_loop(bulk);
    if (r < 0) {
        rayi_free(bulk);
        return r;
    }
    pthread_mutex_init(&bulk->lock, NULL);
    pthread_cond_init(&bulk->jobs.come, NULL);
    r = open_transport(bulk, options);
    if (r == 0)
        r = start_thread(bulk);
    if (r < 0)
        goto close_loop;
    *out = bulk;
    return 0;

close_loop:
    if (bulk->transport)
        rayi_transport_close(bulk->transport, NULL, NULL);
    uv_close((uv_handle_t *)&bulk->wake, NULL);
    uv_close((uv_handle_t *)&bulk->tick, NULL);
    uv_run(&bulk->loop, UV_RUN_DEFAULT);
    free_bulk(bulk);
    return r;
}

void rayi_bulk_close(rayi_bulk *bulk)
{
    cancel(bulk, true);
    pthread_join(bulk->thread, NULL);
    rayi_bulk_jobs_join(bulk);
    free_bulk(bulk);
}

const char *rayi_bulk_address(const rayi_bulk *bulk)
{
    return rayi_listener_address(bulk->listener);
}

const uint8_t *rayi_bulk_identity(const rayi_bulk *bulk)
{
    return rayi_transport_identity(bulk->transport);
}
