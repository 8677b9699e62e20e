/* Worker processes while the node's allocations fail: the 1st, 2nd, ... Nth of each of the things that a program does
 * with them, once, and then from there on. Nothing hangs and nothing is lost for good: an error comes back (or nobody
 * needed that block), the same thing works right after, and nothing is left when the runtime has shut down. */
#include "check.h"
#include "heap.h"

#include <signal.h>
#include <unistd.h>

enum { LONG_MS = 10000, LARGE = 300000 };

static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, length, (ray_view, bytes))
{
    return (int64_t)bytes.size;
}
static RAY_REMOTE(ray_buffer *, make, (uint64_t, size))
{
    return ray_create((size_t)size);
}
static RAY_REMOTE(int64_t, nested, (int64_t, x))
{
    int64_t y = 0;
    ray_ref *ref = ray_remote(twice, x);
    int r = ray_get_timeout(ref, LONG_MS, &y);
    ray_release(ref);
    return r ? ray_fail_with(r, "inside", NULL, 0) : y;
}
static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&i) != 0)
            return;
}
static RAY_REMOTE(int64_t, use_everything, (ray_view, key))
{
    ray_view view = {0};
    ray_ref *ref = ray_put(key.data, key.size);
    int r = ray_get_timeout(ref, LONG_MS, &view);
    ray_view_release(&view);
    ray_release(ref);
    if (r == 0)
        r = ray_kv_put("key", key.data, key.size, 0);
    if (r == 0)
        r = ray_kv_get("key", &view);
    ray_view_release(&view);
    return r ? ray_fail_with(r, "inside", NULL, 0) : (int64_t)key.size;
}
static RAY_REMOTE(int64_t, crash)
{
    kill(getpid(), SIGKILL);
    return 0;
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

/* ---- scenarios: 0, or the error that came back ---- */

static int take(ray_ref *ref, int64_t want)
{
    int64_t y = want;
    CHECK(ref);
    int r = ray_get_timeout(ref, LONG_MS, &y);
    CHECK_INT(y, want);
    ray_release(ref);
    return r == RAY_ERR_TASK_FAILED && ray_last_error()->user_code ? ray_last_error()->user_code : r;
}

static int run_tasks(void)
{
    int r = 0;
    ray_ref *refs[4];
    for (int i = 0; i < 4; i++)
        refs[i] = ray_remote(twice, i);
    for (int i = 0; i < 4; i++) {
        int s = take(refs[i], 2 * i);
        r = r ? r : s;
    }
    return r;
}

static int pass_large_values(void)
{
    static char bytes[LARGE];
    ray_ref *made = ray_remote(make, LARGE);
    int r = take(ray_remote(length, made), LARGE), s = take(ray_remote(length, ray_view_of(bytes, LARGE)), LARGE);
    ray_release(made);
    return r ? r : s;
}

static int nest(void)
{
    return take(ray_remote(nested, 4), 8);
}

static int read_a_stream(void)
{
    ray_ref *stream = ray_remote(count_to, 5);
    int r = 0;
    for (int i = 0; i < 5 && r == 0; i++)
        r = take(ray_next(stream), i);
    ray_release(stream);
    return r;
}

static int work_inside(void)
{
    static char bytes[LARGE];
    int r = take(ray_remote(use_everything, ray_view_of(bytes, 10)), 10);
    return r ? r : take(ray_remote(use_everything, ray_view_of(bytes, LARGE)), LARGE);
}

static int use_an_actor(void)
{
    ray_actor *actor = ray_actor_new(cell, 1);
    CHECK(actor);
    int r = take(ray_call(actor, cell_add, 1), 2);
    ray_actor_release(actor);
    return r;
}

static int crash_and_go_on(void)
{
    ray_ref *ref = ray_remote_opts(&once, crash);
    int r = ray_get_timeout(ref, LONG_MS, NULL);
    ray_release(ref);
    return r != RAY_ERR_WORKER_CRASHED ? r : take(ray_remote(twice, 1), 2);
}

/* ---- the loop ---- */

static bool is_fair(int r)
{
    return r == RAY_ERR_NO_MEMORY || r == RAY_ERR_SYSTEM || r == RAY_ERR_WORKER_CRASHED || r == RAY_ERR_ACTOR_DIED ||
           r == RAY_ERR_STREAM_END;
}

static void start(void)
{
    check_start_workers(2);
}

static void fail_each(int (*scenario)(void))
{
    /* No process could be started: after a while. */
    heap_fail_each(&(heap_scenario){.run = scenario, .begin = start, .is_fair = is_fair, .again = RAY_ERR_SYSTEM});
}

#define EACH(scenario)                                                                                                 \
    static void without_memory_in_##scenario(void)                                                                     \
    {                                                                                                                  \
        fail_each(scenario);                                                                                           \
    }
EACH(run_tasks)
EACH(pass_large_values)
EACH(nest)
EACH(read_a_stream)
EACH(work_inside)
EACH(use_an_actor)
EACH(crash_and_go_on)

#define OOM_TEST(scenario) CHECK_TEST_WITH(without_memory_in_##scenario, CHECK_WARNINGS)
CHECK_MAIN(OOM_TEST(run_tasks), OOM_TEST(pass_large_values), OOM_TEST(nest), OOM_TEST(read_a_stream),
           OOM_TEST(work_inside), OOM_TEST(use_an_actor), OOM_TEST(crash_and_go_on))
