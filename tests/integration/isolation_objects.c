/* Worker processes and the object store: what they make outlives them, what they leave half done does not, what they
 * write where they should not harms nobody else. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { STORE = 16 << 20, PIECE = 1 << 20 };

static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

/* Each 8 bytes tell the object and the place. */
static void fill(void *bytes, size_t size, uint64_t seed)
{
    uint64_t *words = bytes;
    for (size_t i = 0; i < size / 8; i++)
        words[i] = seed << 32 | i;
}

static bool is_filled(const void *bytes, size_t size, uint64_t seed)
{
    const uint64_t *words = bytes;
    for (size_t i = 0; i < size / 8; i++)
        if (words[i] != (seed << 32 | i))
            return false;
    return true;
}

static RAY_REMOTE(int64_t, nap, (int64_t, ms))
{
    check_sleep_ms(ms);
    return ms;
}
static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(ray_buffer *, make, (uint64_t, size), (uint64_t, seed))
{
    ray_buffer *buffer = ray_create((size_t)size);
    if (buffer)
        fill(buffer->data, buffer->size, seed);
    return buffer;
}
static RAY_REMOTE(bool, is_made, (ray_view, bytes), (uint64_t, size), (uint64_t, seed))
{
    return bytes.size == size && is_filled(bytes.data, (size_t)size, seed);
}

static bool truth_of(ray_ref *ref)
{
    bool yes = false;
    CHECK_OK(ray_get_timeout(ref, 60000, &yes));
    ray_release(ref);
    return yes;
}

static void start(uint64_t store_bytes, const char *spill_dir, int64_t timeout_ms)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 2, .store_bytes = store_bytes,
                               .spill_dir = spill_dir, .timeout_ms = timeout_ms, .isolation = RAY_ISOLATION_PROCESS)));
}

/* A figure of the store, as ray_state tells it. */
static int64_t figure(const char *name)
{
    char key[64];
    ray_view view;
    snprintf(key, sizeof key, "\"%s\": ", name);
    CHECK_OK(ray_state("objects", &view));
    const char *found = strstr(view.data, key);
    CHECK(found);
    int64_t value = atoll(found + strlen(key));
    ray_view_release(&view);
    return value;
}

static void await_figure(const char *name, int64_t most)
{
    int64_t end = check_now_ms() + 10000 * check_slowness();
    while (figure(name) > most && check_now_ms() < end)
        check_sleep_ms(10);
    CHECK(figure(name) <= most);
}

/* ---- what outlives its maker ---- */

static RAY_REMOTE(void, publish_and_die, (uint64_t, size), (const char *, name))
{
    ray_buffer *buffer = ray_create((size_t)size), *holder = ray_create(300000);
    CHECK(buffer && holder);
    fill(buffer->data, buffer->size, size);
    ray_ref *ref = ray_seal(buffer);
    CHECK_INT(ray_buffer_hold(holder, ref), 0);
    ray_release(ref);
    ref = ray_seal(holder);
    CHECK_OK(ray_object_publish(name, ref, 0));
    kill(getpid(), SIGKILL);
}

static void objects_outlive_their_maker(void)
{
    static const uint64_t sizes[] = {8, 102400, 1 << 20};
    check_start_workers(2);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ray_view view, inner;
        char name[16];
        snprintf(name, sizeof name, "of%zu", i);
        CHECK_REF(ray_remote_opts(&once, publish_and_die, sizes[i], name), RAY_ERR_WORKER_CRASHED);
        ray_ref *holder = ray_object_lookup(name);
        CHECK_OK(ray_get(holder, &view));
        CHECK_INT(view.size, 300000);
        ray_ref *held = ray_view_ref(&view, 0);
        ray_view_release(&view);
        ray_release(holder);
        CHECK_OK(ray_object_unpublish(name));
        CHECK(truth_of(ray_remote(is_made, held, sizes[i], sizes[i])));
        CHECK_OK(ray_get(held, &inner));
        ray_release(held);
        CHECK(is_filled(inner.data, inner.size, sizes[i]));
        ray_view_release(&inner);
    }
    check_expect_logs("worker.died", "KILL", 3, 5000);
    await_figure("store_objects", 0);
    check_stop();
}

static RAY_REMOTE(ray_stream(ray_buffer *), yield_and_die, (int64_t, items), (uint64_t, size), (int64_t, times))
{
    uint32_t attempt = ray_context_get()->attempt;
    for (int64_t i = 0; i < items; i++) {
        if (i == items / 2 && attempt < times)
            kill(getpid(), SIGKILL);
        ray_buffer *buffer = ray_create((size_t)size);
        CHECK(buffer);
        fill(buffer->data, buffer->size, (uint64_t)i);
        if (ray_yield(&buffer) != 0)
            return;
    }
}

static void read_items(ray_ref *stream, int64_t items, size_t size)
{
    for (int64_t i = 0; i < items; i++) {
        ray_view view;
        ray_ref *item = ray_next(stream);
        CHECK_OK(ray_get_timeout(item, 30000, &view));
        CHECK(view.size == size && is_filled(view.data, size, (uint64_t)i));
        ray_view_release(&view);
        ray_release(item);
    }
}

/* Items that were told stay, and are not told again by a retry. */
static void streams_of_those_that_die(void)
{
    check_start_workers(2);
    for (size_t size = 80; size < 1000000; size *= 3000) {
        ray_ref *stream = ray_remote_opts(&once, yield_and_die, 10, size, 1);
        read_items(stream, 5, size);
        CHECK_REF(ray_next(stream), RAY_ERR_WORKER_CRASHED);
        CHECK_REF(stream, RAY_ERR_WORKER_CRASHED);
        stream = ray_remote(yield_and_die, 10, size, 2);
        read_items(stream, 10, size);
        CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
        CHECK_REF_OK(stream);
    }
    check_expect_logs("worker.died", "KILL", 6, 5000);
    check_stop();
}

/* ---- what does not ---- */

static RAY_REMOTE(int64_t, create_and_die, (uint64_t, size))
{
    ray_buffer *buffer = ray_create((size_t)size);
    CHECK(buffer);
    memset(buffer->data, 1, buffer->size);
    kill(getpid(), SIGKILL);
    return 0;
}
static RAY_REMOTE(int64_t, create_and_forget, (uint64_t, size))
{
    ray_buffer *buffer = ray_create((size_t)size);
    CHECK(buffer);
    memset(buffer->data, 1, buffer->size);
    return (int64_t)buffer->size;
}
static RAY_REMOTE(int64_t, look_and_die, (ray_ref *, ref))
{
    ray_view view;
    CHECK_OK(ray_get(ref, &view)); /* pinned until the end */
    kill(getpid(), SIGKILL);
    return 0;
}

static void buffers_never_sealed(void)
{
    enum { TIMES = 20 };
    CHECK_OK(ray_function_set(&ray_fn_create_and_forget, RAY_WITH(ray_function_options, .max_calls = 1)));
    start(STORE, "", 5000);
    for (int i = 0; i < TIMES; i++)
        CHECK_REF(ray_remote_opts(&once, create_and_die, 4 * PIECE), RAY_ERR_WORKER_CRASHED);
    for (int i = 0; i < TIMES; i++)
        CHECK_REF_INT(ray_remote_opts(&once, create_and_forget, 4 * PIECE), 4 * PIECE);
    await_figure("store_objects", 0);
    ray_buffer *most = ray_create(STORE - 2 * PIECE); /* all of it is there again */
    CHECK(most);
    ray_buffer_free(most);
    check_expect_logs("worker.died", "KILL", TIMES, 5000);
    check_stop();
}

static ray_ref *boxed(ray_ref *ref) /* passed on as it is */
{
    return ray_submit(&ray_fn_look_and_die, (ray_value[]){RAY_VALUE(&ref)}, 1, &once);
}

static void pins_of_those_that_die(void)
{
    enum { TIMES = 20 };
    start(STORE, "", 5000);
    for (int i = 0; i < TIMES; i++) {
        ray_ref *ref = i % 2 ? ray_remote(make, 4 * PIECE, i) : ray_seal(ray_create(4 * PIECE));
        CHECK_REF(boxed(ref), RAY_ERR_WORKER_CRASHED);
        ray_release(ref);
    }
    await_figure("store_objects", 0);
    CHECK_INT(figure("store_pinned_bytes"), 0);
    check_expect_logs("worker.died", "KILL", TIMES, 5000);
    check_stop();
}

/* ---- a small store ---- */

static void much_more_than_the_store_holds(void)
{
    enum { COUNT = 1024 };
    static ray_ref *refs[COUNT], *seen[COUNT];
    start(STORE, NULL, 60000);
    for (int i = 0; i < COUNT; i++)
        refs[i] = ray_remote(make, PIECE, i);
    for (int i = 0; i < COUNT; i++)
        seen[i] = ray_remote(is_made, refs[i], PIECE, i);
    for (int i = 0; i < COUNT; i++)
        CHECK(truth_of(seen[i]));
    for (int i = 0; i < COUNT; i += 7) {
        ray_view view;
        CHECK_OK(ray_get(refs[i], &view));
        CHECK(is_filled(view.data, view.size, (uint64_t)i));
        ray_view_release(&view);
    }
    CHECK(figure("store_spilled_bytes") > (int64_t)(COUNT - 32) * PIECE);
    for (int i = 0; i < COUNT; i++)
        ray_release(refs[i]);
    await_figure("store_objects", 0);
    check_stop();
}

static RAY_REMOTE(int64_t, create_too_much, (uint64_t, size))
{
    ray_buffer *buffer = ray_create((size_t)size);
    int code = buffer ? 0 : ray_last_error()->code;
    ray_buffer_free(buffer);
    return code;
}

static void larger_than_the_store(void)
{
    start(STORE, NULL, 60000);
    int64_t begin = check_now_ms();
    CHECK_REF_INT(ray_remote(create_too_much, 2 * STORE), RAY_ERR_STORE_FULL);
    CHECK_REF(ray_remote_opts(&once, make, 2 * STORE, 1), RAY_ERR_STORE_FULL);
    CHECK(check_now_ms() - begin < 5000 * check_slowness()); /* no wait for what can never be */
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
}

/* ---- rubbish ---- */

typedef struct area {
    unsigned char *begin;
    size_t size;
} area;

/* The ring that this worker process shares with its node. */
static area find_ring(void)
{
    area found = {0};
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    while (fgets(line, sizeof line, maps)) {
        unsigned long long from, to;
        if (strstr(line, "ray-ring") && sscanf(line, "%llx-%llx", &from, &to) == 2)
            found = (area){(unsigned char *)(uintptr_t)from, (size_t)(to - from)};
    }
    fclose(maps);
    CHECK(found.size > 0);
    return found;
}

static RAY_REMOTE(int64_t, scribble_over_all, (uint32_t, pattern))
{
    area ring = find_ring();
    uint64_t one = 1;
    memset(ring.begin, (int)pattern, ring.size);
    CHECK(write(5, &one, sizeof one) == sizeof one); /* the node is to look */
    for (;;)
        pause();
    return 0;
}

/* A thread that writes into it what it likes, beside what the process sends and receives. */
__attribute__((no_sanitize("thread"))) static void *scribble(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    area ring = find_ring();
    uint64_t one = 1;
    int64_t end = check_now_ms() + 60;
    while (check_now_ms() < end) {
        size_t words = (rand_r(&seed) % 2 ? ring.size : 16384) / 8;
        for (int n = rand_r(&seed) % 20; n >= 0; n--)
            ((volatile uint64_t *)ring.begin)[(size_t)rand_r(&seed) % words] = (uint64_t)rand_r(&seed)
                                                                               << (rand_r(&seed) % 33);
        (void)!write(5, &one, sizeof one);
        check_sleep_ms(rand_r(&seed) % 3);
    }
    return NULL;
}

static RAY_REMOTE(int64_t, begin_to_scribble, (uint32_t, seed))
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, scribble, (void *)(uintptr_t)seed) == 0);
    CHECK(pthread_detach(thread) == 0);
    return 1;
}

static void rubbish_in_the_ring(void)
{
    static const unsigned patterns[] = {0xff, 0x5a, 0x80, 0x01};
    check_start_workers(2);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        ray_ref *ref = ray_remote_opts(&once, scribble_over_all, patterns[i]);
        CHECK_CODE(ray_get_timeout(ref, 10000, NULL), RAY_ERR_WORKER_CRASHED);
        CHECK_STR(ray_last_error()->function, "scribble_over_all");
        ray_release(ref);
        for (int j = 0; j < 50; j++)
            CHECK_REF_INT(ray_remote(twice, j), 2 * j);
    }
    check_expect_logs("worker.rubbish", "worker process", sizeof patterns / sizeof *patterns, 5000);
    check_stop();
}

/* Waits a little, and ends it by force if it is stuck. */
static int outcome_of(ray_ref *ref)
{
    int r = ray_get_timeout(ref, 150, NULL);
    if (r == RAY_ERR_TIMEOUT) {
        CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE));
        r = ray_get_timeout(ref, 20000, NULL);
        CHECK(r != RAY_ERR_TIMEOUT);
    }
    ray_release(ref);
    return r;
}

/* What such a process answers may be anything, and it may be stuck; its node and all others are as before. */
static void random_words_in_the_ring(void)
{
    enum { ROUNDS = 30, BESIDE = 50 };
    int64_t pids[64];
    ray_ref *refs[BESIDE];
    int num_done = 0, num_ended = 0;
    check_start_workers(2);
    for (uint32_t seed = 1; seed <= ROUNDS; seed++) {
        ray_ref *ref = ray_remote_opts(&once, begin_to_scribble, seed);
        for (int i = 0; i < BESIDE; i++)
            refs[i] = ray_remote_opts(&once, twice, i);
        (void)outcome_of(ref);
        for (int i = 0; i < BESIDE; i++) {
            int r = outcome_of(refs[i]);
            num_done += r == 0;
            num_ended += r != 0;
        }
    }
    fprintf(stderr, "%d rounds: %d done, %d ended\n", ROUNDS, num_done, num_ended);
    size_t count = check_children(pids, 64);
    for (size_t i = 0; i < count; i++)
        kill((pid_t)pids[i], SIGKILL); /* one of them may be stuck */
    for (int i = 0; i < 200; i++)
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = -1), twice, i), 2 * i);
    check_stop();
}

typedef enum closing { SHUTS_THE_SOCKET, CLOSES_THE_SOCKET, CLOSES_ALL, NUM_WAYS } closing;

static RAY_REMOTE(int64_t, close_descriptors, (int64_t, way))
{
    atomic_store((atomic_int *)check_shared(), getpid());
    if (way == SHUTS_THE_SOCKET)
        return shutdown(3, SHUT_RDWR);
    if (way == CLOSES_THE_SOCKET)
        return close(3);
    for (int fd = 3; fd < 64; fd++)
        (void)close(fd);
    return 0;
}

/* It may hear of its loss only when it has something to say: work keeps coming, for both processes at once. */
static void await_gone_while_tasks_run(int pid)
{
    for (int64_t end = check_now_ms() + 5000 * check_slowness(); !check_is_gone(pid);) {
        ray_ref *naps[] = {ray_remote(nap, 10), ray_remote(nap, 10)};
        CHECK(check_now_ms() < end);
        CHECK_REF_INT(naps[0], 10);
        CHECK_REF_INT(naps[1], 10);
    }
}

static void descriptors_closed(void)
{
    size_t num_died = 0;
    check_start_workers(2);
    for (int i = 0; i < 3 * NUM_WAYS; i++) {
        closing way = i % NUM_WAYS;
        ray_ref *ref = ray_remote_opts(&once, close_descriptors, way);
        int r = ray_get_timeout(ref, 30000 * check_slowness(), NULL), /* a process may have to be started first */
            pid = atomic_load((atomic_int *)check_shared());
        ray_release(ref);
        CHECK(r == 0 || (r == RAY_ERR_WORKER_CRASHED && way != CLOSES_THE_SOCKET));
        ray_ref *made = ray_remote(make, PIECE, i);
        CHECK(truth_of(ray_remote(is_made, made, PIECE, i)));
        ray_release(made);
        for (int j = 0; j < 50; j++)
            CHECK_REF_INT(ray_remote(twice, j), 2 * j);
        if (way ==
            CLOSES_THE_SOCKET) { /* which its thread has still: it may go on until something is said to it there */
            if (check_is_gone(pid))
                check_expect_logs("worker.died", "", ++num_died, 5000 * check_slowness());
            continue;
        }
        await_gone_while_tasks_run(pid);
        check_expect_logs("worker.died", "", ++num_died, 5000 * check_slowness());
    }
    check_stop();
}

/* ---- what a function keeps of its arguments ---- */

typedef struct keeper {
    ray_view kept;
} keeper;

static RAY_ACTOR(keeper) {}
static RAY_METHOD(keeper, int32_t, keep, (ray_view, bytes))
{
    return ray_view_retain(&bytes, &self->kept);
}
static RAY_METHOD(keeper, bool, has, (uint64_t, size), (uint64_t, seed))
{
    return self->kept.size == size && is_filled(self->kept.data, (size_t)size, seed);
}
static RAY_METHOD(keeper, void, let_go)
{
    ray_view_release(&self->kept);
}

static void await_no_pins(void)
{
    for (int64_t end = check_now_ms() + 20000; figure("store_pinned_bytes") > 0; check_sleep_ms(5))
        CHECK(check_now_ms() < end);
}

/* It stays where it is, though its refs are gone and the store is full of others. */
static void keep_one(uint64_t size)
{
    int32_t r = -1;
    ray_actor *a = ray_actor_new(keeper);
    ray_ref *object = ray_remote(make, size, 3), *ref = ray_call(a, keeper_keep, object);
    CHECK_OK(ray_get(ref, &r));
    CHECK_OK(r);
    ray_release(ref), ray_release(object);
    for (uint64_t i = 0; i < 2 * STORE / PIECE; i++) {
        object = ray_remote(make, PIECE, 10 + i);
        CHECK(truth_of(ray_remote(is_made, object, PIECE, 10 + i)));
        ray_release(object);
    }
    CHECK(truth_of(ray_call(a, keeper_has, size, 3)));
    CHECK(figure("store_pinned_bytes") >= (int64_t)size);
    CHECK_REF_OK(ray_call(a, keeper_let_go));
    await_no_pins();
    ray_actor_release(a);
}

static void views_that_are_kept(void)
{
    start(STORE, NULL, 0);
    keep_one(PIECE);
    int32_t r = 0;
    ray_actor *a = ray_actor_new(keeper);
    ray_ref *ref = ray_call(a, keeper_keep, ray_view_of("small", 5)); /* lies in the call itself */
    CHECK_OK(ray_get(ref, &r));
    CHECK_INT(r, RAY_ERR_ARGUMENT);
    ray_release(ref), ray_actor_release(a);
    check_stop();
}

/* ---- wild writes ---- */

static RAY_REMOTE(int64_t, write_into, (ray_view, bytes))
{
    signal(SIGSEGV, SIG_DFL); /* the address sanitizer would catch it */
    ((char *)(uintptr_t)bytes.data)[bytes.size / 2] = 'X';
    return 1;
}

static void objects_of_others_cannot_be_written(void)
{
    check_start_workers(2);
    ray_buffer *buffer = ray_create(PIECE);
    CHECK(buffer);
    fill(buffer->data, PIECE, 5);
    ray_ref *mine = ray_seal(buffer), *theirs = ray_remote(make, PIECE, 6);
    CHECK_REF(ray_remote_opts(&once, write_into, mine), RAY_ERR_WORKER_CRASHED);
    CHECK(truth_of(ray_remote(is_made, mine, PIECE, 5)));
    CHECK(truth_of(ray_remote(is_made, theirs, PIECE, 6)));
    ray_release(mine), ray_release(theirs);
    check_expect_log("worker.died", "SEGV", 5000);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(objects_outlive_their_maker), CHECK_TEST(streams_of_those_that_die),
           CHECK_TEST_WITH(buffers_never_sealed, CHECK_KEEPS), CHECK_TEST(pins_of_those_that_die),
           CHECK_TEST(much_more_than_the_store_holds), CHECK_TEST(larger_than_the_store),
           CHECK_TEST(rubbish_in_the_ring), CHECK_TEST_WITH(random_words_in_the_ring, CHECK_WARNINGS),
           CHECK_TEST_WITH(descriptors_closed, CHECK_WARNINGS), CHECK_TEST(views_that_are_kept),
           CHECK_TEST(objects_of_others_cannot_be_written))
