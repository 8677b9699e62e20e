/* Allocation failures: in each of the things a program does, the 1st, 2nd, ... Nth allocation fails, once, and then
 * from there on. Each time an error comes back (or nobody needed that block), the same thing works right after, and
 * nothing is left when the runtime has shut down. */
#include "check.h"
#include "heap.h"

enum { LONG_MS = 5000 };

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, sum2, (int64_t, a), (int64_t, b))
{
    return a + b;
}
static RAY_REMOTE(int64_t, length, (const char *, s))
{
    return (int64_t)strlen(s);
}
static RAY_REMOTE(const char *, greet)
{
    return "hello, this is a text that is longer than what fits into a small record itself";
}
static RAY_REMOTE(ray_buffer *, block, (size_t, size))
{
    ray_buffer *buffer = ray_create(size);
    if (buffer)
        memset(buffer->data, 1, size);
    return buffer;
}
static RAY_REMOTE(int64_t, nested, (int64_t, x))
{
    int64_t y = 0;
    ray_ref *ref = ray_remote(twice, x);
    int r = ray_get_timeout(ref, LONG_MS, &y);
    ray_release(ref);
    return r == RAY_ERR_NO_MEMORY ? ray_fail_with(r, "no memory inside", NULL, 0) : y;
}
static RAY_REMOTE(void, fail_with_payload)
{
    ray_fail_with(3, "with words", "and a payload", 14);
}
static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&i) != 0)
            return;
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell, (int64_t, n))
{
    self->n = n;
}
static RAY_METHOD(cell, int64_t, add, (int64_t, n))
{
    return self->n += n;
}

/* Without a handle, or a place for the value, the task says so. */
static RAY_REMOTE(const char *, greet_later)
{
    const char *text = "hello, this is a text that is longer than what fits into a small record itself";
    ray_later *later = ray_complete_later();
    int r = later ? ray_complete(later, &RAY_VALUE(&text)) : ray_last_error()->code;
    if (!later)
        ray_fail_with(r, "no handle", NULL, 0);
    CHECK(r == 0 || r == RAY_ERR_NO_MEMORY);
    return NULL;
}

/* ---- scenarios: 0, or the error that came back ---- */

/* Waits for the ref, checks its number, releases it. */
static int take(ray_ref *ref, int64_t want)
{
    int64_t y = want;
    CHECK(ref);
    int r = ray_get_timeout(ref, LONG_MS, &y);
    CHECK_INT(y, want);
    ray_release(ref);
    return r;
}

static int take_error(ray_ref *ref)
{
    CHECK(ref);
    int r = ray_get_timeout(ref, LONG_MS, NULL);
    ray_release(ref);
    return r;
}

static int first_error(const int *results, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (results[i] != 0)
            return results[i];
    return 0;
}
#define FIRST_ERROR(...) first_error((const int[]){__VA_ARGS__}, sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

static int error_of_this_thread(void)
{
    return ray_last_error()->code;
}

static int init(void)
{
    int r = ray_init(
        RAY_WITH(ray_config, .resources = "CPU=2, disk=1", .labels = "zone=eu", .ns = "here", .timeline_tasks = 64));
    return r != 0 ? r : ray_shutdown();
}

static int put(void)
{
    static char big[200000];
    return FIRST_ERROR(take_error(ray_put("small", 5)), take_error(ray_put(big, sizeof big)));
}

static int create_and_seal(void)
{
    int r = 0;
    ray_ref *held = ray_put("held", 4);
    for (size_t size = 10; size < 1000000 && r == 0; size *= 100) {
        ray_buffer *buffer = ray_create(size);
        if (!buffer) {
            r = error_of_this_thread();
            break;
        }
        r = ray_buffer_hold(buffer, held);
        if (r < 0)
            ray_buffer_free(buffer);
        else
            r = take_error(ray_seal(buffer));
    }
    int of_held = take_error(held);
    return of_held ? of_held : r;
}

static int submit(void)
{
    int results[] = {take(ray_remote(twice, 2), 4), take(ray_remote(sum2, 1, 2), 3),
                     take(ray_remote(length, "a text"), 6)};
    return first_error(results, 3);
}

static int submit_refs(void)
{
    ray_ref *a = ray_remote(twice, 1), *b = ray_remote(sum2, a, a), *c = ray_remote(sum2, a, b);
    return FIRST_ERROR(take(c, 6), take(b, 4), take(a, 2));
}

static int submit_many_arguments(void)
{
    enum { COUNT = 200 };
    static char texts[COUNT][64];
    int r = 0;
    for (int i = 0; i < COUNT && r == 0; i += 50) {
        memset(texts[i], 'x', 63);
        r = take(ray_remote(length, texts[i]), 63);
    }
    static char big[150000];
    memset(big, 'x', sizeof big - 1);
    return r != 0 ? r : take(ray_remote(length, big), (int64_t)sizeof big - 1);
}

static int submit_options(void)
{
    const ray_task_options options = {.size = sizeof options,
                                      .name = "a name",
                                      .resources = "CPU=0.5, disk=1",
                                      .labels = "zone=eu",
                                      .priority = 3,
                                      .deadline_ms = 60000,
                                      .own_thread = true};
    return take(ray_remote_opts(&options, twice, 4), 8);
}

static int nest(void)
{
    int64_t y = 6;
    ray_ref *ref = ray_remote(nested, 3);
    int r = ray_get_timeout(ref, LONG_MS, &y);
    CHECK_INT(y, 6);
    if (r == RAY_ERR_TASK_FAILED && ray_last_error()->user_code == RAY_ERR_NO_MEMORY)
        r = RAY_ERR_NO_MEMORY;
    ray_release(ref);
    return r;
}

static int get_texts_and_views(void)
{
    const char *text = NULL;
    ray_view view = {0};
    ray_ref *words = ray_remote(greet), *bytes = ray_remote(block, 150000);
    int r = ray_get_timeout(words, LONG_MS, &text);
    CHECK(r != 0 || text[0] == 'h');
    int s = ray_get_timeout(bytes, LONG_MS, &view);
    CHECK(s != 0 || view.size == 150000);
    ray_view_release(&view);
    ray_release(words), ray_release(bytes);
    return r ? r : s;
}

static int get_failures(void)
{
    ray_ref *ref = ray_remote(fail_with_payload);
    int r = ray_get_timeout(ref, LONG_MS, NULL);
    CHECK(r != 0);
    CHECK(ray_last_error()->message);
    ray_release(ref);
    return r == RAY_ERR_TASK_FAILED ? 0 : r;
}

static int wait_for_some(void)
{
    ray_ref *refs[20];
    for (int i = 0; i < 20; i++)
        refs[i] = ray_remote(twice, i);
    int r = ray_wait(refs, 20, 20, LONG_MS, NULL);
    CHECK(r < 0 || r == 20);
    for (int i = 0; i < 20; i++) {
        int s = take_error(refs[i]);
        r = r < 0 || s == 0 ? r : s;
    }
    return r < 0 ? r : 0;
}

static int wait_in_a_set(void)
{
    ray_waitset *set = ray_waitset_new();
    if (!set)
        return error_of_this_thread();
    int r = 0, added = 0, fd = ray_waitset_fd(set);
    for (int i = 0; i < 20; i++) {
        ray_ref *ref = ray_remote(twice, i);
        int s = ray_waitset_add(set, ref, NULL);
        added += s == 0;
        r = r ? r : s;
        ray_release(ref);
    }
    for (; added > 0; added--) {
        ray_ref *ref = ray_waitset_next(set, LONG_MS, NULL);
        CHECK(ref);
        int s = take_error(ref);
        r = r ? r : s;
    }
    ray_waitset_free(set);
    return fd < 0 ? fd : r;
}

static int read_a_stream(void)
{
    int r = 0;
    ray_ref *stream = ray_remote(count_to, 40);
    for (int64_t i = 0; i < 40 && r == 0; i++)
        r = take(ray_next(stream), i);
    int s = r == 0 ? take_error(ray_next(stream)) : RAY_ERR_STREAM_END;
    ray_release(stream);
    return r ? r : s == RAY_ERR_STREAM_END ? 0 : s;
}

static int use_an_actor(void)
{
    const ray_actor_options options = {
        .size = sizeof options, .name = "named", .max_concurrency = 2, .max_restarts = 1};
    ray_actor *plain = ray_actor_new(cell, 5), *named = ray_actor_new_opts(&options, cell, 7);
    CHECK(plain && named);
    ray_ref *two = ray_remote(twice, 1);
    int r = FIRST_ERROR(take(ray_call(plain, cell_add, 1), 6), take(ray_call(named, cell_add, two), 9), take(two, 2));
    ray_actor *found = r == 0 ? ray_actor_get("named") : NULL;
    if (r == 0 && !found)
        r = error_of_this_thread();
    ray_actor_release(found);
    if (r == RAY_ERR_ACTOR_DIED && strstr(ray_last_error()->message, "out of memory"))
        r = RAY_ERR_NO_MEMORY;           /* of its constructor */
    int killed = ray_kill(named, false); /* the name is free again */
    ray_actor_release(plain), ray_actor_release(named);
    return r ? r : killed;
}

static int complete_later(void)
{
    int r = take_error(ray_remote(greet_later));
    return r == RAY_ERR_TASK_FAILED && ray_last_error()->user_code == RAY_ERR_NO_MEMORY ? RAY_ERR_NO_MEMORY : r;
}

static int use_concurrency_groups(void)
{
    const ray_task_options *io = RAY_WITH(ray_task_options, .concurrency_group = "io");
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .concurrency_groups = "io=2, more=1"), cell, 5);
    CHECK(actor);
    int r = FIRST_ERROR(take(ray_call_opts(io, actor, cell_add, 1), 6), take_error(ray_call(actor, cell_add, 1)));
    if (r == RAY_ERR_ACTOR_DIED && strstr(ray_last_error()->message, "out of memory"))
        r = RAY_ERR_NO_MEMORY; /* of its constructor */
    ray_actor_release(actor);
    return r;
}

static int use_keys(void)
{
    ray_view view = {0};
    int r = FIRST_ERROR(ray_kv_put("key", "value", 5, 0), ray_kv_get("key", &view));
    ray_view_release(&view);
    int s = ray_kv_list("", &view);
    ray_view_release(&view);
    int t = ray_kv_del("key");
    return r ? r : s ? s : t == RAY_ERR_NOT_FOUND ? 0 : t;
}

static int publish(void)
{
    ray_ref *ref = ray_put("x", 1);
    int r = ray_object_publish("name", ref, 0);
    int s = r ? 0 : take_error(ray_object_lookup("name")), t = r ? 0 : ray_object_unpublish("name");
    int u = take_error(ref);
    return u ? u : r ? r : s ? s : t;
}

static int use_a_group(void)
{
    static const char *const bundles[] = {"CPU=1", "disk=0.5"};
    ray_placement_group *group =
        ray_placement_group_new(bundles, 2, RAY_WITH(ray_placement_group_options, .name = "group"));
    if (!group)
        return error_of_this_thread();
    int r = take_error(ray_placement_group_ready(group));
    int s = r ? 0 : take(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), twice, 1), 2);
    int t = ray_placement_group_remove(group);
    ray_placement_group_release(group);
    return r ? r : s ? s : t;
}

static int look_around(void)
{
    ray_view view = {0};
    ray_cluster *cluster = ray_cluster_get();
    if (!cluster)
        return error_of_this_thread();
    ray_cluster_free(cluster);
    int r = ray_state("tasks", &view);
    ray_view_release(&view);
    int s = take(ray_remote(twice, 1), 2), t = ray_state("timeline", &view); /* though it may not be on record */
    ray_view_release(&view);
    return r ? r : s ? s : t;
}

static int load(void)
{
    int r = ray_load(PLUGIN, 0);
    ray_function *triple = r == 0 ? ray_function_get("plugin_triple") : NULL;
    if (r == 0 && !triple)
        return error_of_this_thread();
    return r ? r : take(ray_submit(triple, &RAY_VALUE(&(int64_t){3}), 1, NULL), 9);
}

static int cancel(void)
{
    ray_ref *never = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "disk=1, CPU=100"), twice, 1);
    int r = ray_cancel(never, 0), s = take_error(never);
    return r ? r : s == RAY_ERR_CANCELLED ? 0 : s;
}

/* ---- the loop ---- */

static void start(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2, disk=1", .labels = "zone=eu", .timeline_tasks = 64)));
}

static bool is_fair(int r)
{
    return r == RAY_ERR_NO_MEMORY;
}

static void fail_each(int (*scenario)(void))
{
    heap_fail_each(&(heap_scenario){.run = scenario, .begin = scenario == init ? NULL : start, .is_fair = is_fair});
}

/* The runtime ends even if there is no memory at all any more. */
static void without_memory_in_shutdown(void)
{
    for (int i = 0; i < 2; i++) {
        start();
        ray_actor *actor = ray_actor_new(cell, 1);
        ray_ref *refs[] = {ray_put("x", 1), ray_remote(twice, 1), ray_call(actor, cell_add, 1)};
        for (int j = 0; i && j < 3; j++)
            CHECK_OK(ray_get(refs[j], NULL));
        heap_fail(1, true);
        check_stop();
        for (int j = 0; j < 3; j++)
            ray_release(refs[j]);
        ray_actor_release(actor);
        heap_fail(0, false);
        heap_forget_last_error();
        CHECK_INT(heap_left(), 0);
    }
}

#define EACH(scenario)                                                                                                 \
    static void without_memory_in_##scenario(void)                                                                     \
    {                                                                                                                  \
        fail_each(scenario);                                                                                           \
    }
EACH(init)
EACH(put)
EACH(create_and_seal)
EACH(submit)
EACH(submit_refs)
EACH(submit_many_arguments)
EACH(submit_options)
EACH(nest)
EACH(get_texts_and_views)
EACH(get_failures)
EACH(wait_for_some)
EACH(wait_in_a_set)
EACH(read_a_stream)
EACH(use_an_actor)
EACH(complete_later)
EACH(use_concurrency_groups)
EACH(use_keys)
EACH(publish)
EACH(use_a_group)
EACH(look_around)
EACH(load)
EACH(cancel)

#define OOM_TEST(scenario) CHECK_TEST_WITH(without_memory_in_##scenario, CHECK_WARNINGS)
CHECK_MAIN(OOM_TEST(init), OOM_TEST(put), OOM_TEST(create_and_seal), OOM_TEST(submit), OOM_TEST(submit_refs),
           OOM_TEST(submit_many_arguments), OOM_TEST(submit_options), OOM_TEST(nest), OOM_TEST(get_texts_and_views),
           OOM_TEST(get_failures), OOM_TEST(wait_for_some), OOM_TEST(wait_in_a_set), OOM_TEST(read_a_stream),
           OOM_TEST(use_an_actor), OOM_TEST(complete_later), OOM_TEST(use_concurrency_groups), OOM_TEST(use_keys),
           OOM_TEST(publish), OOM_TEST(use_a_group), OOM_TEST(look_around), OOM_TEST(load), OOM_TEST(cancel),
           OOM_TEST(shutdown))
