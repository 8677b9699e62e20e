/* What a function says of its failure: whether it is tried again (ray_fail_again), and what a constructor's tells.
 * Every sub-test runs twice: in threads and in worker processes. */
#include "check.h"

#include <stdatomic.h>

static bool apart;

static atomic_int *tries(void) /* also of the worker processes */
{
    return check_shared();
}
static void start(unsigned cpus)
{
    if (apart)
        check_start_workers(cpus);
    else
        check_start(cpus);
}

static RAY_REMOTE(int64_t, fail_until, (int64_t, fine_at), (int64_t, word))
{
    int64_t nth = atomic_fetch_add(tries(), 1) + 1;
    if (nth >= fine_at)
        return ray_context_get()->attempt;
    CHECK_CODE(ray_fail_again(true), RAY_ERR_ARGUMENT);
    ray_fail("try %lld", (long long)nth);
    if (word > 0)
        CHECK_OK(ray_fail_again(word == 1));
    return RAY_ERR_TASK_FAILED;
}

typedef struct desk {
    int64_t unused;
} desk;
static RAY_ACTOR(desk)
{
    self->unused = 0;
}
static RAY_METHOD(desk, int64_t, fail_until, (int64_t, fine_at), (int64_t, word))
{
    (void)self;
    return fail_until(fine_at, word);
}

/* With these options, and the function's word (0: none, 1: again, 2: not again), so many tries are made. */
static void expect_tries(const ray_task_options *options, int64_t fine_at, int64_t word, int wanted)
{
    atomic_store(tries(), 0);
    ray_ref *ref = ray_remote_opts(options, fail_until, fine_at, word);
    if (wanted == fine_at)
        CHECK_REF_INT(ref, fine_at - 1);
    else
        CHECK_REF(ref, RAY_ERR_TASK_FAILED);
    CHECK_INT(atomic_load(tries()), wanted);
}

static void tasks_have_a_say(void)
{
    start(2);
    expect_tries(NULL, 3, 0, 1);
    expect_tries(NULL, 3, 1, 3);
    expect_tries(NULL, 9, 1, 4); /* three retries, as usual */
    expect_tries(NULL, 3, 2, 1);
    expect_tries(RAY_WITH(ray_task_options, .max_retries = 7), 8, 1, 8);
    expect_tries(RAY_WITH(ray_task_options, .max_retries = 7), 9, 1, 8);
    expect_tries(RAY_WITH(ray_task_options, .max_retries = -1), 50, 1, 50);
    expect_tries(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), 3, 1, 1);
    expect_tries(RAY_WITH(ray_task_options, .retry_failures = true), 3, 0, 3);
    expect_tries(RAY_WITH(ray_task_options, .retry_failures = true), 3, 1, 3);
    expect_tries(RAY_WITH(ray_task_options, .retry_failures = true), 3, 2, 1);
    expect_tries(RAY_WITH(ray_task_options, .resources = "CPU=2"), 3, 0, 1);
    expect_tries(RAY_WITH(ray_task_options, .resources = "CPU=2"), 3, 1, 3);
    expect_tries(RAY_WITH(ray_task_options, .resources = "CPU=2", .max_retries = 1), 3, 1, 2);
    check_stop();
}

static void expect_call_tries(ray_actor *actor, const ray_task_options *options, int64_t fine_at, int64_t word,
                              int wanted)
{
    atomic_store(tries(), 0);
    ray_ref *ref = ray_call_opts(options, actor, desk_fail_until, fine_at, word);
    CHECK_REF(ref, wanted == fine_at ? 0 : RAY_ERR_TASK_FAILED);
    CHECK_INT(atomic_load(tries()), wanted);
}

static void calls_have_a_say(void)
{
    start(2);
    ray_actor *actor = ray_actor_new(desk);
    ray_actor *keen = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_task_retries = 2), desk);
    expect_call_tries(actor, NULL, 3, 1, 1); /* calls have no retries unless they are given some */
    expect_call_tries(actor, RAY_WITH(ray_task_options, .max_retries = 2), 3, 0, 1);
    expect_call_tries(actor, RAY_WITH(ray_task_options, .max_retries = 2), 3, 1, 3);
    expect_call_tries(actor, RAY_WITH(ray_task_options, .max_retries = 2), 4, 1, 3);
    expect_call_tries(actor, RAY_WITH(ray_task_options, .retry_failures = true), 3, 2, 1);
    expect_call_tries(actor, RAY_WITH(ray_task_options, .deadline_ms = 60000), 3, 1, 1);
    expect_call_tries(keen, NULL, 3, 1, 3);
    expect_call_tries(keen, NULL, 3, 0, 1);
    expect_call_tries(keen, RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), 3, 1, 1);
    ray_actor_release(actor), ray_actor_release(keen);
    check_stop();
}

static void not_everywhere(void)
{
    CHECK_CODE(ray_fail_again(true), RAY_ERR_NOT_INITIALIZED);
    start(1);
    CHECK_CODE(ray_fail_again(true), RAY_ERR_NOT_HERE);
    check_stop();
}

/* ---- twice ---- */

#define APART(test)                                                                                                    \
    static void test##_apart(void)                                                                                     \
    {                                                                                                                  \
        apart = true;                                                                                                  \
        test();                                                                                                        \
    }
APART(tasks_have_a_say)
APART(calls_have_a_say)

/* ---- what a constructor fails with ---- */

typedef struct picky {
    int64_t unused;
} picky;
static RAY_ACTOR(picky)
{
    self->unused = 0;
    ray_fail_with(7, "too picky", "\0why", 4);
}
static RAY_METHOD(picky, int64_t, ask)
{
    (void)self;
    return 1;
}

/* Calls are told of it as of their own failure, but that the actor is dead. */
static void constructors_tell_why(void)
{
    start(2);
    ray_actor *actor = ray_actor_new(picky);
    ray_ref *ref = ray_call(actor, picky_ask);
    CHECK_CODE(ray_get_timeout(ref, 20000 * check_slowness(), NULL), RAY_ERR_ACTOR_DIED);
    const ray_error *why = ray_last_error();
    CHECK_HAS(why->message, "its constructor failed: too picky");
    CHECK(why->user_code == 7 && why->payload_size == 4 && memcmp(why->payload, "\0why", 4) == 0);
    ray_release(ref), ray_actor_release(actor);
    check_stop();
}
static void constructors_tell_why_apart(void)
{
    apart = true;
    constructors_tell_why();
}

CHECK_MAIN(CHECK_TEST(tasks_have_a_say), CHECK_TEST(calls_have_a_say), CHECK_TEST(not_everywhere),
           CHECK_TEST(tasks_have_a_say_apart), CHECK_TEST(calls_have_a_say_apart), CHECK_TEST(constructors_tell_why),
           CHECK_TEST(constructors_tell_why_apart))
