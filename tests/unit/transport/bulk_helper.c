#include "bulk_helper.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>

rayi_key bulk_key;

/* ---- what is left ---- */

atomic_long bulk_fails_in;
static atomic_long blocks;
static size_t threads;

static bool fails(void)
{
    return bulk_fails_in > 0 && atomic_fetch_sub(&bulk_fails_in, 1) == 1;
}

static void *counted_alloc(void *arg, size_t size)
{
    void *block = fails() ? NULL : malloc(size);
    (void)arg;
    atomic_fetch_add(&blocks, block != NULL);
    return block;
}

static void *counted_realloc(void *arg, void *block, size_t size)
{
    void *after = fails() ? NULL : realloc(block, size);
    (void)arg;
    atomic_fetch_add(&blocks, block == NULL && after);
    return after;
}

static void counted_free(void *arg, void *block)
{
    (void)arg;
    atomic_fetch_sub(&blocks, 1);
    free(block);
}

size_t count_threads(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void no_work(uv_work_t *work)
{
    (void)work;
}

static void no_end(uv_work_t *work, int status)
{
    (void)work;
    (void)status;
}

/* The pool of libuv stays, so it is there before anything is counted. */
static void start_pool(void)
{
    uv_loop_t once;
    uv_work_t work;
    uv_loop_init(&once);
    uv_queue_work(&once, &work, no_work, no_end);
    uv_run(&once, UV_RUN_DEFAULT);
    uv_loop_close(&once);
}

void begin_bulk(void)
{
    static const ray_allocator counted = {
        .size = sizeof counted, .alloc = counted_alloc, .realloc = counted_realloc, .free = counted_free};
    rayi_memory_install(&counted);
    bulk_key = key_of(1);
    start_pool();
    descriptors = check_open_fds();
    threads = count_threads();
    blocks = 0;
}

void end_bulk(void)
{
    int64_t until = rayi_now_ms() + 5000;
    while (count_threads() > threads && rayi_now_ms() < until) /* a joined thread may be listed for a moment */
        rayi_nap_ms(1);
    cr_assert_eq(count_threads(), threads, "threads are left");
    cr_assert_eq(check_open_fds(), descriptors, "descriptors are left");
    rayi_error_settle_last();
    cr_assert_eq(blocks, 0, "%ld blocks of memory are left", (long)blocks);
}

/* ---- nodes ---- */

static int on_open(void *arg, const uint8_t *peer, uint64_t object, uint64_t ticket, rayi_bulk_object *out)
{
    bulk_node *node = arg;
    (void)peer;
    atomic_fetch_add(&node->num_opened, 1);
    rayi_nap_ms(node->slow_ms);
    if (atomic_fetch_sub(&node->num_later, 1) > 0)
        return RAYI_BULK_LATER;
    atomic_store(&node->num_later, 0);
    if (ticket != 7 || object == 0 || object > MAX_OBJECTS || !node->things[object - 1].bytes)
        return rayi_fail(RAY_ERR_NOT_FOUND, "no object %d here", (int)object);
    struct bulk_thing *thing = &node->things[object - 1];
    *out = (rayi_bulk_object){.bytes = thing->bytes, .size_bytes = thing->size, .pin = thing};
    out->marks = thing->marks ? rayi_bulk_marks_ref(thing->marks) : NULL;
    atomic_fetch_add(&node->num_open, 1);
    return 0;
}

static void on_close(void *arg, void *pin)
{
    bulk_node *node = arg;
    cr_assert(pin);
    atomic_fetch_sub(&node->num_open, 1);
}

bulk_node *make_node(bool sealed, const rayi_bulk_options *options)
{
    bulk_node *node = calloc(1, sizeof *node);
    rayi_bulk_options all = options ? *options : (rayi_bulk_options){.chunk_bytes = BULK_CHUNK};
    all.keys = &bulk_key;
    all.num_keys = sealed;
    all.address = "127.0.0.1:0";
    all.open = on_open;
    all.close = on_close;
    all.arg = node;
    CHECK_OK(rayi_bulk_open(&all, &node->bulk));
    return node;
}

void free_node(bulk_node *node)
{
    rayi_bulk_close(node->bulk);
    cr_assert_eq(node->num_open, 0, "%d objects are pinned", node->num_open);
    for (size_t i = 0; i < MAX_OBJECTS; i++) {
        free(node->things[i].bytes);
        rayi_bulk_marks_unref(node->things[i].marks);
    }
    free(node);
}

void add_thing(bulk_node *node, uint64_t object, size_t size)
{
    struct bulk_thing *thing = &node->things[object - 1];
    thing->bytes = malloc(size + 1);
    thing->size = size;
    fill(thing->bytes, size, object);
}

rayi_bulk_source source_at(const char *address, uint64_t object)
{
    return (rayi_bulk_source){.address = address, .object = object, .ticket = 7};
}

int fetch_one(bulk_node *to, const char *address, uint64_t object, void *bytes, size_t size)
{
    rayi_bulk_source source = source_at(address, object);
    return rayi_bulk_fetch(to->bulk, &(rayi_bulk_want){.sources = &source,
                                                       .num_sources = 1,
                                                       .size_bytes = size,
                                                       .to = bytes,
                                                       .deadline_ns = rayi_deadline_ns(SANITIZED ? 60000 : 20000)});
}

/* ---- in the middle ---- */

static bool pass_all(int to, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(to, bytes, size, MSG_NOSIGNAL);
        if (sent < 0)
            return false;
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

static bool pass_some(breaker *between, int from, int to, size_t *count)
{
    static uint8_t some[32768];
    ssize_t size = recv(from, some, sizeof some, MSG_DONTWAIT);
    size_t cut = count ? (size_t)between->cut_after : SIZE_MAX, flip = between->flip_at;
    if (size < 0)
        return errno == EAGAIN;
    if (size == 0)
        return false;
    if (count && flip >= *count && flip < *count + (size_t)size) {
        some[flip - *count] ^= 4;
        between->flip_at = SIZE_MAX;
    }
    if (count)
        *count += (size_t)size;
    if (count && *count > cut) {
        between->cut_after = SIZE_MAX;
        between->num_cuts++;
        return false;
    }
    return pass_all(to, some, (size_t)size);
}

enum { MAX_PAIRS = 8 };

static void *run_breaker(void *arg)
{
    breaker *between = arg;
    int pairs[MAX_PAIRS][2];
    size_t counts[MAX_PAIRS], num_pairs = 0;
    while (!between->stops) {
        struct pollfd polled[1 + 2 * MAX_PAIRS] = {{.fd = between->listening, .events = POLLIN}};
        for (size_t i = 0; i < 2 * num_pairs; i++)
            polled[1 + i] = (struct pollfd){.fd = between->stalls ? -1 : pairs[i / 2][i % 2], .events = POLLIN};
        if (poll(polled, 1 + 2 * num_pairs, 10) <= 0)
            continue;
        for (size_t i = num_pairs; i-- > 0;) {
            bool good = true;
            if (polled[1 + 2 * i].revents)
                good = pass_some(between, pairs[i][0], pairs[i][1], NULL);
            if (good && polled[2 + 2 * i].revents)
                good = pass_some(between, pairs[i][1], pairs[i][0], &counts[i]);
            if (good)
                continue;
            close(pairs[i][0]);
            close(pairs[i][1]);
            num_pairs--;
            memcpy(pairs[i], pairs[num_pairs], sizeof pairs[i]);
            counts[i] = counts[num_pairs];
        }
        if (polled[0].revents && num_pairs < MAX_PAIRS) {
            pairs[num_pairs][0] = accept4(between->listening, NULL, NULL, SOCK_CLOEXEC);
            pairs[num_pairs][1] = connect_raw(between->to);
            counts[num_pairs++] = 0;
            between->num_connections++;
        }
    }
    for (size_t i = 0; i < 2 * num_pairs; i++)
        close(pairs[i / 2][i % 2]);
    return NULL;
}

breaker *make_breaker(const char *to)
{
    breaker *between = calloc(1, sizeof *between);
    snprintf(between->to, sizeof between->to, "%s", to);
    between->listening = listen_raw(between->address);
    between->cut_after = between->flip_at = SIZE_MAX;
    cr_assert_eq(pthread_create(&between->thread, NULL, run_breaker, between), 0);
    return between;
}

void free_breaker(breaker *between)
{
    between->stops = true;
    pthread_join(between->thread, NULL);
    close(between->listening);
    free(between);
}
