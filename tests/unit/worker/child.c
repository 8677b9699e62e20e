/* A program as users write it; the tests start it as the worker process of a node that they play. */
#include <ray/ray.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct pair {
    int32_t a, b;
} pair;
RAY_STRUCT(pair, a, b);

RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
RAY_REMOTE(const char *, greet, (const char *, name), (int, times))
{
    static char text[200000];
    text[0] = 0;
    for (int i = 0; i < times; i++)
        strcat(strcat(text, i ? " " : ""), name);
    return text;
}
RAY_REMOTE(pair, swap, (pair, p))
{
    return (pair){.a = p.b, .b = p.a};
}
RAY_REMOTE(int64_t, sum, (ray_view, bytes))
{
    int64_t sum = 0;
    for (size_t i = 0; i < bytes.size; i++)
        sum += ((const unsigned char *)bytes.data)[i];
    return sum;
}
RAY_REMOTE(int, failing, (int, number))
{
    return ray_fail_with(number, "as it was told", "why", 3);
}
RAY_REMOTE(void, nothing) {}
RAY_REMOTE(const char *, where)
{
    static char text[512];
    const ray_context *c = ray_context_get();
    snprintf(text, sizeof text, "%s %s %s %s %s %s %u %s", c->ns, c->node_id, c->task_id, c->function, c->resources,
             c->gpus ? c->gpus : "-", c->attempt, c->actor_id ? c->actor_id : "-");
    return text;
}
RAY_REMOTE(int64_t, ask_twice, (int64_t, x))
{
    int64_t y = 0;
    ray_ref *ref = ray_remote(twice, x);
    if (ray_get(ref, &y) < 0)
        y = ray_last_error()->code;
    ray_release(ref);
    return y;
}
RAY_REMOTE(int64_t, ask_with_timeout, (int64_t, timeout_ms))
{
    int64_t y = 0;
    ray_ref *ref = ray_remote(twice, 21);
    int r = ray_get_timeout(ref, timeout_ms, &y);
    ray_release(ref);
    return r < 0 ? r : y;
}
RAY_REMOTE(ray_ref *, put_and_pass, (int64_t, size))
{
    char *bytes = malloc((size_t)size);
    memset(bytes, 7, (size_t)size);
    ray_ref *ref = ray_put(bytes, (size_t)size);
    free(bytes);
    return ref;
}
RAY_REMOTE(ray_ref *, chain, (int, length))
{
    ray_ref *last = ray_put("end", 3);
    for (int i = 0; i < length; i++) {
        ray_buffer *buffer = ray_create(1);
        ray_buffer_hold(buffer, last);
        ray_release(last);
        last = ray_seal(buffer);
    }
    return last;
}
static ray_ref *early; /* failed before there was a runtime */

/* A large object that holds a small and a large one, a failure and a fixed failure. */
RAY_REMOTE(ray_ref *, hold_all, (int64_t, size))
{
    char *bytes = calloc(1, (size_t)size);
    ray_ref *held[] = {ray_put("small", 5), ray_put(bytes, (size_t)size), ray_object_lookup(NULL), early};
    ray_buffer *buffer = ray_create((size_t)size);
    for (int i = 0; i < 4; i++)
        ray_buffer_hold(buffer, held[i]);
    for (int i = 0; i < 3; i++)
        ray_release(held[i]);
    free(bytes);
    return ray_seal(buffer);
}
RAY_REMOTE(int64_t, get_ref, (ray_ref *, ref))
{
    int64_t y = 0;
    return ray_get(ref, &y) < 0 ? ray_last_error()->code : y;
}
RAY_REMOTE(int64_t, large_arguments)
{
    char *bytes = calloc(1, 300000);
    int64_t y = 0;
    memset(bytes, 'x', 90000);
    ray_ref *ref = ray_remote(greet, bytes, 1);
    ray_release(ref);
    ref = ray_remote(sum, ray_view_of(bytes, 300000));
    if (ray_get(ref, &y) < 0)
        y = ray_last_error()->code;
    ray_release(ref);
    free(bytes);
    return y;
}
RAY_REMOTE(int64_t, many_strings)
{
    char *text = calloc(1, 60001);
    int64_t y = 0;
    memset(text, 'x', 60000);
    ray_value args[4];
    for (int i = 0; i < 4; i++)
        args[i] = (ray_value){.kind = RAY_KIND_STRING, .size = sizeof text, .data = &text};
    ray_ref *ref = ray_submit(ray_function_get("count"), args, 4, NULL);
    if (ray_get(ref, &y) < 0)
        y = ray_last_error()->code;
    ray_release(ref);
    free(text);
    return y;
}
static void count_call(ray_frame *frame)
{
    int64_t n = (int64_t)frame->num_args;
    memcpy(frame->result.data, &n, sizeof n);
}
static ray_function count = {
    .size = sizeof count, .name = "count", .signature = "int64_t(const char *...)", .call = count_call};

RAY_REMOTE(ray_buffer *, make, (int64_t, size), (int, byte))
{
    ray_buffer *buffer = ray_create((size_t)size);
    if (buffer)
        memset(buffer->data, byte, (size_t)size);
    return buffer;
}
RAY_REMOTE(int64_t, make_and_read, (int64_t, size))
{
    ray_buffer *buffer = ray_create((size_t)size);
    ray_view view;
    int64_t sum = 0;
    if (!buffer)
        return ray_last_error()->code;
    memset(buffer->data, 3, (size_t)size);
    ray_ref *ref = ray_seal(buffer);
    if (ray_get(ref, &view) < 0)
        return ray_last_error()->code;
    for (size_t i = 0; i < view.size; i++)
        sum += ((const char *)view.data)[i];
    ray_view_release(&view);
    ray_release(ref);
    return sum;
}
RAY_REMOTE(int, throw_away, (int64_t, size))
{
    ray_buffer *buffer = ray_create((size_t)size);
    ray_buffer_free(buffer);
    return buffer != NULL;
}

/* ---- results that come later, and loops of one's own ---- */

static atomic_int num_let; /* results that may come now */

static void *complete_soon(void *arg)
{
    int64_t value = 77;
    usleep(30000);
    ray_complete(arg, &RAY_VALUE(&value));
    return NULL;
}
static void *complete_when_let(void *arg)
{
    while (atomic_load(&num_let) == 0)
        usleep(1000);
    atomic_fetch_sub(&num_let, 1);
    return complete_soon(arg);
}
static int64_t come_later(void *(*how)(void *))
{
    pthread_t thread;
    ray_later *later = ray_complete_later();
    if (!later)
        return ray_fail("%s", ray_last_error()->message);
    pthread_create(&thread, NULL, how, later);
    pthread_detach(thread);
    return 0;
}
RAY_REMOTE(int64_t, comes_when_let)
{
    return come_later(complete_when_let);
}
RAY_REMOTE(void, let_it_come)
{
    atomic_fetch_add(&num_let, 1);
}
RAY_REMOTE(int64_t, polls)
{
    ray_waitset *set = ray_waitset_new();
    struct pollfd fd = {.fd = ray_waitset_fd(set), .events = POLLIN};
    ray_ref *ref = ray_remote(twice, 3);
    int64_t y = 0;
    ray_waitset_add(set, ref, NULL);
    if (poll(&fd, 1, 20000) != 1)
        y = -1;
    else if (ray_get_timeout(ref, 0, &y) < 0)
        y = ray_last_error()->code;
    ray_waitset_free(set);
    ray_release(ref);
    return y;
}

/* ---- streams ---- */

RAY_REMOTE(ray_stream(int64_t), upto, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&i) < 0)
            return;
}
RAY_REMOTE(int64_t, read_stream, (int64_t, n))
{
    ray_ref *stream = ray_remote(upto, n);
    int64_t sum = 0, x;
    for (;;) {
        ray_ref *item = ray_next(stream);
        int r = ray_get(item, &x);
        ray_release(item);
        if (r < 0)
            break;
        sum += x;
    }
    ray_release(stream);
    return ray_last_error()->code == RAY_ERR_STREAM_END ? sum : ray_last_error()->code;
}

/* ---- cancelling, signals, children ---- */

RAY_REMOTE(int, until_cancelled)
{
    for (int i = 0; i < 10000 && !ray_cancelled(); i++)
        usleep(1000);
    return ray_cancelled();
}
RAY_REMOTE(int, forked)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0)
        _exit(ray_init(NULL) == RAY_ERR_FORKED ? 42 : 1);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
RAY_REMOTE(int, runtime_calls)
{
    if (!ray_is_initialized() || ray_init(NULL) != 0)
        return 1;
    if (ray_shutdown() != RAY_ERR_NOT_HERE)
        return 2;
    if (getenv("RAY_WORKER_OF"))
        return 3;
    return 0;
}

/* ---- actors ---- */

typedef struct counter {
    int64_t n;
} counter;
static atomic_int inside_now, inside_most;
RAY_ACTOR(counter, (int64_t, start))
{
    self->n = start;
}
RAY_METHOD(counter, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
/* Waits until so many have been inside at once, then a while for one too many; how many there were at most. */
RAY_METHOD(counter, int, crowd, (int, wanted))
{
    (void)self;
    int now = atomic_fetch_add(&inside_now, 1) + 1, seen = atomic_load(&inside_most);
    while (now > seen && !atomic_compare_exchange_weak(&inside_most, &seen, now))
        continue;
    for (int i = 0; i < 10000 && atomic_load(&inside_most) < wanted; i++)
        usleep(1000);
    usleep(50000);
    atomic_fetch_sub(&inside_now, 1);
    return atomic_load(&inside_most);
}
RAY_METHOD(counter, int64_t, later)
{
    (void)self;
    return come_later(complete_soon);
}
RAY_METHOD(counter, int, leave)
{
    (void)self;
    return ray_actor_exit();
}
RAY_METHOD(counter, ray_actor *, me)
{
    (void)self;
    return ray_actor_self();
}
RAY_METHOD(counter, void, fini)
{
    fprintf(stderr, "fini at %lld\n", (long long)self->n);
}
RAY_REMOTE(int64_t, use_actor, (int64_t, n))
{
    ray_actor *actor = ray_actor_new(counter, n);
    ray_ref *ref = ray_call(actor, counter_add, 5);
    int64_t y = 0;
    if (ray_get(ref, &y) < 0)
        y = ray_last_error()->code;
    ray_release(ref);
    if (ray_kill(actor, false) < 0)
        y = ray_last_error()->code;
    ray_actor_release(actor);
    return y;
}

/* ---- the body ---- */

RAY_REMOTE(const char *, kv)
{
    static char text[256];
    char large[70000] = "large";
    ray_view view;
    int r = ray_kv_put("key", "value", 5, 0);
    if (r == 0)
        r = ray_kv_put("large", large, sizeof large, RAY_KV_NEW);
    if (r < 0)
        return ray_last_error()->message;
    if (ray_kv_get("key", &view) < 0)
        return ray_last_error()->message;
    snprintf(text, sizeof text, "%.*s", (int)view.size, (const char *)view.data);
    ray_view_release(&view);
    return ray_kv_del("none") == RAY_ERR_NOT_FOUND ? text : "del";
}
RAY_REMOTE(const char *, names)
{
    static char text[512];
    ray_ref *ref = ray_put("x", 1);
    if (ray_object_publish("ref", ref, 1) < 0 || ray_object_unpublish("ref") < 0)
        return ray_last_error()->message;
    ray_release(ref);
    ray_actor *actor = ray_actor_get("nobody");
    if (actor || ray_last_error()->code != RAY_ERR_NOT_FOUND)
        return "an actor that is not there";
    ray_cluster *cluster = ray_cluster_get();
    if (!cluster)
        return ray_last_error()->message;
    snprintf(text, sizeof text, "%s %s %s %g", cluster->nodes[0]->id, cluster->nodes[0]->labels,
             cluster->resources[0].name, cluster->resources[0].available);
    ray_cluster_free(cluster);
    return text;
}
RAY_REMOTE(int, group)
{
    const char *bundles[] = {"CPU=1", "CPU=2"};
    ray_placement_group *group = ray_placement_group_new(bundles, 2, NULL);
    ray_ref *ready = ray_placement_group_ready(group);
    int r = ray_get(ready, (ray_value *)NULL);
    ray_release(ready);
    if (r == 0)
        r = ray_placement_group_remove(group);
    ray_placement_group_release(group);
    return r;
}

/* ---- memory that fails once ---- */

enum { NEVER_FAILED = 55 };
static atomic_long allocations;
static long fails_at;
static void *fail_once(void *arg, size_t size)
{
    (void)arg;
    return atomic_fetch_add(&allocations, 1) + 1 == fails_at ? NULL : malloc(size);
}
static void *fail_once_again(void *arg, void *block, size_t size)
{
    (void)arg;
    return atomic_fetch_add(&allocations, 1) + 1 == fails_at ? NULL : realloc(block, size);
}
static void give(void *arg, void *block)
{
    (void)arg;
    free(block);
}
static void tell_whether_it_failed(void)
{
    if (atomic_load(&allocations) < fails_at)
        _exit(NEVER_FAILED);
}
static void let_memory_fail(const char *when)
{
    static const ray_allocator failing = {
        .size = sizeof failing, .alloc = fail_once, .realloc = fail_once_again, .free = give};
    fails_at = atol(when);
    ray_set_allocator(&failing);
    atexit(tell_whether_it_failed);
}

int main(void)
{
    if (getenv("CHILD_FAILS_AT"))
        let_memory_fail(getenv("CHILD_FAILS_AT"));
    ray_register(&count);
    early = ray_put("too early", 9);
    int r = ray_init(NULL);
    fprintf(stderr, "ray_init has returned: %d\n", r); /* a worker process never comes here */
    return 98;
}
