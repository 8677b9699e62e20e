/* Bad input: calls at the wrong time of life: before init, after shutdown, in a forked child, from inside a task, with
 * handles that were released or that belong to an earlier runtime, and init against shutdown from several threads. */
#include "everything.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}

static atomic_int boxes_gone;

typedef struct box {
    int64_t n;
} box;
static RAY_ACTOR(box)
{
    self->n = 1;
}
static RAY_METHOD(box, int64_t, value)
{
    return self->n;
}
static RAY_METHOD(box, void, fini)
{
    (void)self;
    atomic_fetch_add(&boxes_gone, 1);
}

static void before_init(void)
{
    CHECK(!ray_is_initialized());
    CHECK_INT(ray_last_error()->code, 0);
    CHECK(ray_last_error()->message);
    handles h = {.ref = ray_put("x", 1), .actor = ray_actor_new(box)};
    CHECK(h.ref && h.actor);
    everything_fails(&h, RAY_ERR_NOT_INITIALIZED);
    CHECK_CODE(ray_kv_del("key"), RAY_ERR_NOT_INITIALIZED);
    CHECK_HAS(ray_last_error()->message, "ray_init");
    CHECK_OK(ray_shutdown()); /* of nothing: nothing */
    handles_close(&h);
    check_start(1);
    CHECK_REF_INT(ray_remote(twice, 2), 4);
    check_stop();
}

static void after_shutdown(void)
{
    handles h;
    check_start(2);
    handles_open(&h);
    check_stop();
    everything_fails(&h, RAY_ERR_SHUTDOWN);
    CHECK_OK(ray_shutdown());
    handles_close(&h);
}

/* Handles of an earlier runtime in a later one. */
static void of_an_earlier_runtime(void)
{
    handles h;
    check_start(2);
    handles_open(&h);
    check_stop();
    check_start(2);
    CHECK_CODE(ray_cancel(h.ref, 0), RAY_ERR_SHUTDOWN);
    CHECK_CODE(ray_get(h.ref, NULL), RAY_ERR_SHUTDOWN);
    CHECK_CODE(ray_wait(&h.ref, 1, 1, 0, NULL), RAY_ERR_SHUTDOWN);
    CHECK_REF(ray_remote(twice, h.ref), RAY_ERR_SHUTDOWN);
    CHECK_REF(ray_call(h.actor, box_value), RAY_ERR_SHUTDOWN);
    CHECK_CODE(ray_kill(h.actor, false), RAY_ERR_SHUTDOWN);
    CHECK_REF(ray_next(h.stream), RAY_ERR_SHUTDOWN);
    CHECK_CODE(ray_waitset_add(h.set, h.ref, NULL), RAY_ERR_SHUTDOWN);
    CHECK_REF(ray_placement_group_ready(h.group), RAY_ERR_SHUTDOWN);
    ray_buffer *buffer = ray_create(8);
    CHECK(buffer);
    CHECK_CODE(ray_buffer_hold(buffer, h.ref), RAY_ERR_SHUTDOWN);
    ray_buffer_free(buffer);
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    handles_close(&h);
    CHECK_REF_INT(ray_remote(twice, 5), 10);
    check_stop();
}

/* Handles may outlive two runtimes and go in any order. */
static void released_late(void)
{
    handles first, second;
    check_start(2);
    handles_open(&first);
    check_stop();
    check_start(2);
    handles_open(&second);
    check_stop();
    check_start(2);
    handles_close(&second);
    check_stop();
    handles_close(&first);
}

static void forked_child(void)
{
    handles h;
    check_start(2);
    handles_open(&h);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_CODE(ray_init(NULL), RAY_ERR_FORKED);
        everything_fails(&h, RAY_ERR_FORKED);
        CHECK_CODE(ray_shutdown(), RAY_ERR_FORKED);
        handles_close(&h); /* does nothing, and does not crash */
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK_REF_INT(ray_remote(twice, 6), 12); /* the parent goes on */
    handles_close(&h);
    check_stop();
}

static void forked_then_executed(void)
{
    check_start(1);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    int status = 1;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK_INT(status, 0);
    CHECK_REF_INT(ray_remote(twice, 7), 14);
    check_stop();
}

/* ---- threads that fight over init and shutdown ---- */

enum { ROUNDS = 200 };

static void *init_and_shutdown(void *arg)
{
    for (int i = 0; i < ROUNDS / check_slowness(); i++) {
        CHECK_OK(ray_init(NULL));
        CHECK_REF_INT(ray_remote(twice, i), 2 * i); /* our own init keeps it running */
        CHECK_OK(ray_shutdown());
    }
    return arg;
}

static void init_and_shutdown_at_once(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, init_and_shutdown, NULL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(!ray_is_initialized());
}

static atomic_int finished;

static void *submit_until_shutdown(void *arg)
{
    for (int r = 0; r == 0;) {
        ray_ref *ref = ray_remote(twice, 1);
        r = ray_get(ref, NULL);
        if (r != 0)
            CHECK(r == RAY_ERR_SHUTDOWN || r == RAY_ERR_NOT_INITIALIZED || r == RAY_ERR_CANCELLED);
        ray_release(ref);
    }
    atomic_fetch_add(&finished, 1);
    return arg;
}

/* Threads that submit and get while another shuts down. */
static void shutdown_under_load(void)
{
    pthread_t threads[3];
    check_start(2);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, submit_until_shutdown, NULL) == 0);
    check_sleep_ms(50);
    check_stop();
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_INT(atomic_load(&finished), 3);
}

/* ---- inside a task ---- */

static RAY_REMOTE(void, call_everything)
{
    everything_works();
    CHECK_CODE(ray_shutdown(), RAY_ERR_NOT_HERE);
    CHECK_CODE(ray_serve(), RAY_ERR_NOT_HERE);
    CHECK_CODE(ray_actor_exit(), RAY_ERR_NOT_HERE);
    CHECK_CODE(ray_yield(&(int64_t){1}), RAY_ERR_NOT_HERE);
    CHECK(!ray_actor_self());
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_HERE);
    CHECK(!ray_cancelled());
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .resources = "CPU=1")), RAY_ERR_ALREADY_INITIALIZED);
    CHECK_OK(ray_init(NULL));
}

static void everything_inside_a_task(void)
{
    check_start(2);
    CHECK_REF_OK(ray_remote(call_everything));
    check_stop(); /* of the init inside the task */
    CHECK(ray_is_initialized());
    everything_works();
    check_stop();
}

static RAY_REMOTE(void, fail_after_everything)
{
    everything_works();
    CHECK_CODE(ray_fail("first %d", 1), RAY_ERR_TASK_FAILED);
    CHECK_CODE(ray_fail_with(2, "second", "xyz", 3), RAY_ERR_TASK_FAILED);
}

static void failing_inside_a_task(void)
{
    check_start(2);
    ray_ref *ref = ray_remote(fail_after_everything);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->function, "fail_after_everything");
    ray_release(ref);
    check_stop();
}

/* ---- released handles: an abort in debug builds; without, an error or nothing, and no crash ---- */

static void get_of_a_released_ref(void)
{
    check_start(1);
    ray_ref *ref = ray_put("x", 1);
    ray_release(ref);
    CHECK(ray_get(ref, NULL) != 0);
    check_stop();
}

static void release_of_a_released_ref(void)
{
    check_start(1);
    ray_ref *ref = ray_remote(twice, 1);
    CHECK_OK(ray_get(ref, NULL));
    ray_release(ref);
    ray_release(ref);
    check_stop();
}

static void argument_of_a_released_ref(void)
{
    check_start(1);
    ray_ref *ref = ray_remote(twice, 1);
    CHECK_OK(ray_get(ref, NULL));
    ray_release(ref);
    ray_ref *next = ray_remote(twice, ref);
    CHECK(ray_get(next, NULL) != 0);
    ray_release(next);
    check_stop();
}

static void wait_for_a_released_ref(void)
{
    check_start(1);
    ray_ref *ref = ray_put("x", 1);
    ray_release(ref);
    CHECK(ray_wait(&ref, 1, 1, 0, NULL) != 1);
    check_stop();
}

static void call_of_a_released_actor(void)
{
    check_start(1);
    ray_actor *actor = ray_actor_new(box);
    CHECK_REF_OK(ray_actor_ready(actor));
    ray_actor_release(actor);
    CHECK_AWAIT(boxes_gone, 1);
    check_sleep_ms(50); /* and then the rest of it */
    ray_ref *ref = ray_call(actor, box_value);
    CHECK(ray_get(ref, NULL) != 0);
    ray_release(ref);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(before_init), CHECK_TEST(after_shutdown), CHECK_TEST(of_an_earlier_runtime),
           CHECK_TEST(released_late), CHECK_TEST(forked_child), CHECK_TEST(forked_then_executed),
           CHECK_TEST(init_and_shutdown_at_once), CHECK_TEST(shutdown_under_load), CHECK_TEST(everything_inside_a_task),
           CHECK_TEST(failing_inside_a_task), CHECK_TEST_WITH(get_of_a_released_ref, CHECK_ABORTS_IN_DEBUG),
           CHECK_TEST_WITH(release_of_a_released_ref, CHECK_ABORTS_IN_DEBUG),
           CHECK_TEST_WITH(argument_of_a_released_ref, CHECK_ABORTS_IN_DEBUG),
           CHECK_TEST_WITH(wait_for_a_released_ref, CHECK_ABORTS_IN_DEBUG),
           CHECK_TEST_WITH(call_of_a_released_actor, CHECK_ABORTS_IN_DEBUG))
