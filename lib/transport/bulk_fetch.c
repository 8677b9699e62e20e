/* Fetches: which chunks are there, who is asked for the others, and the end.
 *
 * A fetch is made on the thread that wants it, and belongs to the bulk's from then on. Chunks are shared out as room
 * comes: whoever has brought one is asked for the next, so a fast source brings more than a slow one. When none is left
 * to be asked for, who has nothing to do is asked for what another one has owed the longest (bulk_peer.c). */
#include "transport/bulk_inside.h"

#include <stdio.h>
#include <string.h>

/* ---- making ---- */

static int check_want(const rayi_bulk_want *want)
{
    if (want->num_sources == 0 || !want->sources)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected at least one source to fetch from, got none");
    for (size_t i = 0; i < want->num_sources; i++)
        if (!want->sources[i].address)
            return rayi_fail(RAY_ERR_ARGUMENT, "expected an address of source %zu, got NULL", i);
    if (want->size_bytes > 0 && !want->to)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected memory for %llu bytes, got NULL",
                         (unsigned long long)want->size_bytes);
    if (want->marks && want->marks->size_bytes != want->size_bytes)
        return rayi_fail(RAY_ERR_ARGUMENT, "expected the marks of %llu bytes, got those of %llu",
                         (unsigned long long)want->size_bytes, (unsigned long long)want->marks->size_bytes);
    return 0;
}

static void free_fetch(rayi_bulk_fetching *fetch)
{
    for (size_t i = 0; i < fetch->num_sources; i++)
        rayi_free(fetch->sources[i].address);
    rayi_bulk_map_fini(&fetch->map);
    rayi_bulk_marks_unref(fetch->marks);
    rayi_free(fetch);
}

static int copy_source(rayi_bulk_fetching *fetch, rayi_bulk_from *from, const rayi_bulk_source *source)
{
    *from = (rayi_bulk_from){.fetch = fetch, .object = source->object, .ticket = source->ticket};
    from->has_key = source->peer != NULL;
    if (source->peer)
        memcpy(from->key, source->peer, sizeof from->key);
    snprintf(from->reason, sizeof from->reason, "it was not asked yet");
    from->address = rayi_strdup(source->address);
    return from->address ? 0 : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a fetch");
}

static int make_fetch(rayi_bulk *bulk, const rayi_bulk_want *want, rayi_bulk_fetching **out)
{
    uint32_t chunk = want->marks ? want->marks->chunk_bytes : bulk->options.chunk_bytes;
    rayi_bulk_fetching *fetch = rayi_zalloc(sizeof *fetch + want->num_sources * sizeof *fetch->sources);
    if (!fetch)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a fetch");
    fetch->bulk = bulk;
    fetch->to = want->to;
    fetch->deadline_ns = want->deadline_ns;
    fetch->num_sources = want->num_sources;
    fetch->may_ask = want->may_ask;
    fetch->may_ask_arg = want->may_ask_arg;
    int r = rayi_bulk_map_init(&fetch->map, rayi_heap, want->size_bytes, chunk);
    for (size_t i = 0; i < want->num_sources && r == 0; i++)
        r = copy_source(fetch, &fetch->sources[i], &want->sources[i]);
    if (r < 0) {
        free_fetch(fetch);
        return r;
    }
    fetch->marks = want->marks ? rayi_bulk_marks_ref(want->marks) : NULL;
    for (uint64_t i = 0; fetch->marks && i < fetch->map.num_chunks; i++)
        if (rayi_bulk_marks_has(fetch->marks, i * chunk, rayi_bulk_map_chunk_bytes(&fetch->map, i)))
            rayi_bulk_map_arrive(&fetch->map, i);
    *out = fetch;
    return 0;
}

static int no_more(void)
{
    return rayi_fail(RAY_ERR_SHUTDOWN, "the fetch was cancelled: the runtime shuts down");
}

int rayi_bulk_fetch_begin(rayi_bulk *bulk, const rayi_bulk_want *want, void (*done)(void *arg, int code), void *arg)
{
    rayi_bulk_fetching *fetch = NULL;
    int r = check_want(want);
    if (r == 0)
        r = make_fetch(bulk, want, &fetch);
    if (r < 0)
        return r;
    fetch->done = done;
    fetch->arg = arg;
    pthread_mutex_lock(&bulk->lock);
    bool cancelled = bulk->cancelled;
    if (!cancelled) {
        DL_APPEND(bulk->begun, fetch);
        uv_async_send(&bulk->wake); /* under the lock: the bulk outlives who is cancelled, and nobody else */
    }
    pthread_mutex_unlock(&bulk->lock);
    if (!cancelled)
        return 0;
    free_fetch(fetch);
    return no_more();
}

/* ---- waiting ---- */

typedef struct waiter {
    uv_sem_t over;
    int code;
    rayi_error *error;
} waiter;

static void on_over(void *arg, int code)
{
    waiter *waiting = arg;
    waiting->code = code;
    waiting->error = code < 0 ? rayi_error_last() : NULL;
    uv_sem_post(&waiting->over);
}

int rayi_bulk_fetch(rayi_bulk *bulk, const rayi_bulk_want *want)
{
    waiter waiting = {.code = 0};
    if (uv_sem_init(&waiting.over, 0) < 0)
        return rayi_fail(RAY_ERR_SYSTEM, "the system gives no semaphore to wait for a fetch");
    int r = rayi_bulk_fetch_begin(bulk, want, on_over, &waiting);
    if (r == 0) {
        uv_sem_wait(&waiting.over);
        r = waiting.code;
    }
    uv_sem_destroy(&waiting.over);
    if (waiting.error)
        rayi_error_set_last(waiting.error);
    return r;
}

/* ---- the end ---- */

static const char *end_words(int code)
{
    switch (code) {
    case RAY_ERR_FETCH_TIMEOUT:
        return "the object could not be fetched in time";
    case RAY_ERR_SHUTDOWN:
        return "the fetch was cancelled, since the runtime shuts down";
    default:
        return "the object could not be fetched";
    }
}

static uint64_t bytes_there(const rayi_bulk_map *map)
{
    return RAYI_MIN(map->size_bytes, (map->num_chunks - map->num_left) * map->chunk_bytes);
}

/* What became of it, and of each source. */
static void say_end(const rayi_bulk_fetching *fetch, int code)
{
    char words[RAYI_MESSAGE_MAX + 1];
    int used = snprintf(words, sizeof words, "%s: %llu of %llu bytes came", end_words(code),
                        (unsigned long long)bytes_there(&fetch->map), (unsigned long long)fetch->map.size_bytes);
    for (size_t i = 0; i < fetch->num_sources && used < (int)sizeof words; i++)
        used +=
            snprintf(words + used, sizeof words - (size_t)used, "; object %llu at %s: %s",
                     (unsigned long long)fetch->sources[i].object, fetch->sources[i].address, fetch->sources[i].reason);
    (void)rayi_fail(code, "%s", words);
}

void rayi_bulk_fetch_end(rayi_bulk_fetching *fetch, int code)
{
    void (*done)(void *arg, int code) = fetch->done;
    void *arg = fetch->arg;
    for (size_t i = 0; i < fetch->num_sources; i++)
        rayi_bulk_peer_detach(&fetch->sources[i]);
    DL_DELETE(fetch->bulk->fetches, fetch);
    if (code < 0)
        say_end(fetch, code);
    free_fetch(fetch);
    done(arg, code);
}

/* NOT_FOUND if all say so; else why the first of the others went. */
static int code_of_all(const rayi_bulk_fetching *fetch)
{
    for (size_t i = 0; i < fetch->num_sources; i++)
        if (fetch->sources[i].code != RAY_ERR_NOT_FOUND)
            return fetch->sources[i].code;
    return RAY_ERR_NOT_FOUND;
}

void rayi_bulk_from_note(rayi_bulk_from *from, int code, const char *reason)
{
    from->code = code;
    snprintf(from->reason, sizeof from->reason, "%s", reason);
}

static void give_up(rayi_bulk_from *from, int code, const char *reason)
{
    RAYI_ASSERT(from->state != RAYI_BULK_GONE && code < 0);
    rayi_bulk_from_note(from, code, reason);
    rayi_bulk_peer_detach(from);
    from->state = RAYI_BULK_GONE;
    from->fetch->num_gone++;
}

void rayi_bulk_from_give_up(rayi_bulk_from *from, int code, const char *reason)
{
    rayi_bulk_fetching *fetch = from->fetch;
    give_up(from, code, reason);
    if (fetch->num_gone == fetch->num_sources)
        rayi_bulk_fetch_end(fetch, code_of_all(fetch));
}

/* ---- its way ---- */

void rayi_bulk_fetch_start(rayi_bulk_fetching *fetch)
{
    rayi_bulk *bulk = fetch->bulk;
    DL_APPEND(bulk->fetches, fetch);
    if (fetch->map.num_left == 0) {
        rayi_bulk_fetch_end(fetch, 0);
        return;
    }
    for (size_t i = 0; i < fetch->num_sources; i++) {
        int r = rayi_bulk_peer_attach(bulk, &fetch->sources[i]);
        if (r < 0)
            give_up(&fetch->sources[i], r, rayi_error_last_public()->message);
    }
    if (fetch->num_gone == fetch->num_sources) {
        rayi_bulk_fetch_end(fetch, code_of_all(fetch));
        return;
    }
    for (size_t i = 0; i < fetch->num_sources; i++)
        if (fetch->sources[i].peer)
            rayi_bulk_peer_share_out(fetch->sources[i].peer);
}

void rayi_bulk_fetch_arrive(rayi_bulk_fetching *fetch, uint64_t chunk)
{
    rayi_bulk_map_arrive(&fetch->map, chunk);
    rayi_bulk_peer_forget_chunk(fetch, chunk);
    if (fetch->marks) {
        rayi_bulk_marks_set(fetch->marks, chunk);
        rayi_bulk_serve_waiting(fetch->bulk);
    }
    if (fetch->map.num_left == 0)
        rayi_bulk_fetch_end(fetch, 0);
}

/* May be the end of the fetch. */
static void ask_whether(rayi_bulk_fetching *fetch)
{
    size_t num_sources = fetch->num_sources, num_left = num_sources - fetch->num_gone;
    for (size_t i = 0; i < num_sources && num_left > 0; i++) {
        rayi_bulk_from *from = &fetch->sources[i];
        if (from->state == RAYI_BULK_GONE || fetch->may_ask(fetch->may_ask_arg, i))
            continue;
        num_left--;
        rayi_bulk_from_give_up(from, RAY_ERR_OBJECT_LOST, "it is not to be asked any more");
    }
}

void rayi_bulk_fetch_tick(rayi_bulk *bulk)
{
    int64_t now = rayi_now_ns();
    rayi_bulk_fetching *fetch, *next;
    DL_FOREACH_SAFE(bulk->fetches, fetch, next)
    if (now >= fetch->deadline_ns)
        rayi_bulk_fetch_end(fetch, RAY_ERR_FETCH_TIMEOUT);
    else if (fetch->may_ask)
        ask_whether(fetch);
}
