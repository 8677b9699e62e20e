/* Bad input: wrong types, numbers, names and sizes; work that can never run, fails, or waits for itself. */
#include "check.h"

#include <stdatomic.h>

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, sum2, (int64_t, a), (int64_t, b))
{
    return a + b;
}
static RAY_REMOTE(const char *, greet)
{
    return "hello";
}
static RAY_REMOTE(void, nothing) {}

static atomic_int started, gate;
static RAY_REMOTE(int64_t, hold_gate, (int64_t, x))
{
    atomic_fetch_add(&started, 1);
    CHECK_AWAIT(gate, 1);
    return x;
}
static RAY_REMOTE(int64_t, until_cancelled)
{
    atomic_fetch_add(&started, 1);
    for (int64_t end = check_now_ms() + 60000; !ray_cancelled();)
        CHECK(check_now_ms() < end);
    return 1;
}

typedef struct pair {
    double a, b;
} pair;
RAY_STRUCT(pair, a, b);
static RAY_REMOTE(pair, make_pair)
{
    return (pair){1, 2};
}

/* ---- types and numbers of arguments ---- */

static void get_into_the_wrong_type(void)
{
    check_start(1);
    const char *text = NULL;
    int64_t number = 5;
    int8_t tiny = 6;
    pair p = {7, 7};
    ray_ref *big = ray_remote(twice, 1000), *word = ray_remote(greet), *two = ray_remote(make_pair);
    ray_ref *none = ray_remote(nothing), *inner = NULL;
    CHECK_CODE(ray_get(big, &text), RAY_ERR_TYPE);
    CHECK(ray_last_error()->message[0]);
    CHECK_CODE(ray_get(big, &tiny), RAY_ERR_TYPE);
    CHECK_CODE(ray_get(big, &p), RAY_ERR_TYPE);
    CHECK_CODE(ray_get(big, &inner), RAY_ERR_TYPE);
    CHECK_CODE(ray_get(word, &number), RAY_ERR_TYPE);
    CHECK_HAS(ray_last_error()->message, "int64_t");
    CHECK_CODE(ray_get(two, &number), RAY_ERR_TYPE);
    CHECK_CODE(ray_get(none, &number), RAY_ERR_TYPE);
    CHECK_CODE((ray_get)(big, &(ray_value){99, 0, 8, &number}), RAY_ERR_TYPE);
    CHECK(!text && !inner && number == 5 && tiny == 6 && p.a == 7); /* outputs are set only on success */
    CHECK_OK(ray_get(big, &number));
    CHECK_INT(number, 2000);
    ray_release(big), ray_release(word), ray_release(two), ray_release(none);
    check_stop();
}

static void argument_of_the_wrong_type(void)
{
    check_start(1);
    const char *text = "7";
    double fraction = 1.5;
    ray_ref *word = ray_remote(greet);
    CHECK_REF(ray_submit(&ray_fn_twice, &RAY_VALUE(&text), 1, NULL), RAY_ERR_TYPE);
    CHECK_REF(ray_submit(&ray_fn_twice, &RAY_VALUE(&fraction), 1, NULL), RAY_ERR_TYPE);
    CHECK_REF(ray_submit(&ray_fn_twice, &(ray_value){77, 0, 8, &fraction}, 1, NULL), RAY_ERR_TYPE);
    ray_ref *late = ray_remote(twice, word);
    CHECK_CODE(ray_get(late, NULL), RAY_ERR_TYPE);
    CHECK_HAS(ray_last_error()->message, "twice");
    CHECK_HAS(ray_last_error()->message, "int64_t");
    ray_release(late), ray_release(word);
    check_stop();
}

static atomic_llong many_sum;
static void add_many(ray_frame *frame)
{
    int64_t sum = 0;
    for (size_t i = 0; i < frame->num_args; i++)
        sum += *(const int64_t *)frame->args[i].data;
    atomic_store(&many_sum, sum);
    *(int64_t *)frame->result.data = sum;
}

static void too_many_arguments(void)
{
    enum { LIMIT = 65535 };
    static ray_function many = {
        .size = sizeof many, .name = "add_many", .signature = "int64_t(int64_t...)", .call = add_many};
    static ray_value args[LIMIT + 1];
    static int64_t one = 1;
    check_start(1);
    CHECK_OK(ray_register(&many));
    for (int i = 0; i <= LIMIT; i++)
        args[i] = RAY_VALUE(&one);
    CHECK_REF(ray_submit(&many, args, LIMIT + 1, NULL), RAY_ERR_LIMIT);
    CHECK_REF_INT(ray_submit(&many, args, LIMIT, NULL), LIMIT);
    CHECK_REF_INT(ray_submit(&many, NULL, 0, NULL), 0);
    CHECK_REF(ray_submit(&ray_fn_sum2, args, 1, NULL), RAY_ERR_TYPE);
    CHECK_REF(ray_submit(&ray_fn_sum2, args, 0, NULL), RAY_ERR_TYPE);
    ray_ref *ref = ray_submit(&ray_fn_sum2, args, 3, NULL);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TYPE);
    CHECK_HAS(ray_last_error()->message, "3");
    ray_release(ref);
    CHECK_REF_INT(ray_submit(&ray_fn_sum2, args, 2, NULL), 2);
    check_stop();
}

static void unknown_function_name(void)
{
    check_start(1);
    ray_function *nobody = ray_function_get("nobody.knows.this");
    CHECK(nobody);
    ray_ref *ref = ray_submit(nobody, NULL, 0, NULL);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_UNKNOWN_FUNCTION);
    CHECK_HAS(ray_last_error()->message, "nobody.knows.this");
    ray_release(ref);
    ray_actor *actor = ray_actor_create(nobody, NULL, 0, NULL);
    CHECK(actor);
    CHECK_REF(ray_actor_ready(actor), RAY_ERR_UNKNOWN_FUNCTION);
    ray_actor_release(actor);
    CHECK(ray_function_get("twice") == &ray_fn_twice);
    check_stop();
}

static int64_t twice_again(int64_t x)
{
    return x;
}
static void call_twice_again(ray_frame *frame)
{
    *(int64_t *)frame->result.data = twice_again(1);
}

static void two_functions_of_one_name(void)
{
    static ray_function same = {
        .size = sizeof same, .name = "twice", .signature = "int64_t(int64_t)", .call = call_twice_again};
    static ray_function junk = {.size = sizeof junk, .name = "junk", .signature = "int64_t(", .call = call_twice_again};
    check_start(1);
    CHECK_OK(ray_register(&ray_fn_twice));
    CHECK_CODE(ray_register(&same), RAY_ERR_EXISTS);
    CHECK_CODE(ray_register(&junk), RAY_ERR_TYPE);
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    check_stop();
    CHECK_OK(ray_init(NULL)); /* what was refused is not remembered */
    check_stop();
}

static void registered_twice_before_init(void)
{
    static ray_function same = {
        .size = sizeof same, .name = "twice", .signature = "int64_t(int64_t)", .call = call_twice_again};
    CHECK_OK(ray_register(&same)); /* before ray_init it never fails, ray_init reports */
    CHECK_CODE(ray_init(NULL), RAY_ERR_EXISTS);
    CHECK_HAS(ray_last_error()->message, "twice");
    CHECK(!ray_is_initialized());
}

/* ---- texts, names, sizes ---- */

static void options_that_make_no_sense(void)
{
    check_start(1);
    static const char *const wrong[] = {"CPU",    "CPU=",        "=1",           "CPU=-1",    "CPU=x",
                                        "CPU=1,", "CPU=1 GPU=1", "CPU=1, CPU=2", "CPU=1e999", "CPU=nan"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .resources = wrong[i]), twice, 1);
        if (ray_get_timeout(ref, 1000, NULL) != RAY_ERR_ARGUMENT)
            fprintf(stderr, "resources \"%s\"\n", wrong[i]);
        CHECK_REF(ref, RAY_ERR_ARGUMENT);
        const char *const bundles[] = {wrong[i]};
        CHECK(!ray_placement_group_new(bundles, 1, NULL));
        CHECK_INT(ray_last_error()->code, RAY_ERR_ARGUMENT);
    }
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .labels = "a=b=c"), twice, 1), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = (ray_isolation)9), twice, 1), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .bundle = 1), twice, 1), RAY_ERR_ARGUMENT);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .resources = " CPU = 0.5 "), twice, 1), 2);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .resources = ""), twice, 1), 2);
    check_stop();
}

static void configurations_that_make_no_sense(void)
{
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .resources = "CPU=-3")), RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "CPU");
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .labels = "=")), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .role = (ray_role)17)), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .isolation = (ray_isolation)17)), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .ns = "a/b")), RAY_ERR_ARGUMENT);
    CHECK(!ray_is_initialized());
    CHECK_OK(ray_init(RAY_WITH(ray_config, .address = "local")));
    check_stop();
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell)
{
    self->n = 0;
}
static RAY_METHOD(cell, int64_t, next)
{
    return ++self->n;
}

static void names_that_are_too_long(void)
{
    check_start(1);
    char name[257];
    memset(name, 'n', 256), name[256] = '\0';
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = name), cell);
    CHECK_REF(ray_call(actor, cell_next), RAY_ERR_LIMIT);
    ray_actor_release(actor);
    ray_ref *ref = ray_put("x", 1);
    CHECK_CODE(ray_object_publish(name, ref, 0), RAY_ERR_LIMIT);
    ray_release(ref);
    CHECK_CODE(ray_kv_put(name, "x", 1, 0), RAY_ERR_LIMIT);
    static const char *const bundle[] = {"CPU=1"};
    CHECK(!ray_placement_group_new(bundle, 1, RAY_WITH(ray_placement_group_options, .name = name)));
    CHECK_INT(ray_last_error()->code, RAY_ERR_LIMIT);
    name[255] = '\0'; /* 255 are fine */
    actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = name), cell);
    CHECK_REF_INT(ray_call(actor, cell_next), 1);
    ray_actor_release(actor);
    CHECK_OK(ray_kv_put(name, "x", 1, 0));
    static char mebibyte[(1 << 20) + 1];
    CHECK_OK(ray_kv_put("big", mebibyte, 1 << 20, 0));
    CHECK_CODE(ray_kv_put("big", mebibyte, (1 << 20) + 1, 0), RAY_ERR_LIMIT);
    check_stop();
}

static void object_larger_than_the_store(void)
{
    enum { STORE = 8 << 20 };
    CHECK_OK(ray_init(RAY_WITH(ray_config, .store_bytes = STORE, .spill_dir = "", .timeout_ms = 500)));
    static char bytes[2 * STORE];
    CHECK_REF(ray_put(bytes, sizeof bytes), RAY_ERR_STORE_FULL);
    CHECK(!ray_create(sizeof bytes));
    CHECK_INT(ray_last_error()->code, RAY_ERR_STORE_FULL);
    CHECK(!ray_create(SIZE_MAX) && !ray_create(SIZE_MAX / 2));
    CHECK_INT(ray_last_error()->code, RAY_ERR_STORE_FULL);
    CHECK_REF_OK(ray_put(bytes, STORE / 4));
    check_stop();
}

/* ---- work that cannot run ---- */

static void wait_for_what_nobody_has(const char *resources, const char *part)
{
    check_start(1);
    ray_ref *never = ray_remote_opts(RAY_WITH(ray_task_options, .resources = resources), twice, 1);
    ray_ref *after = ray_remote(twice, never);
    CHECK_CODE(ray_get_timeout(never, 50, NULL), RAY_ERR_TIMEOUT);
    CHECK_REF_INT(ray_remote(twice, 2), 4); /* it is in nobody's way */
    check_expect_log("task.unplaceable", part, 15000 * check_slowness());
    CHECK_CODE(ray_get_timeout(never, 0, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_cancel(never, 0));
    CHECK_CODE(ray_get_timeout(never, 5000, NULL), RAY_ERR_CANCELLED);
    CHECK_REF(after, RAY_ERR_CANCELLED);
    ray_release(never);
    check_stop();
}

static void resource_nobody_has(void)
{
    wait_for_what_nobody_has("unobtainium=1", "unobtainium");
}
static void more_cpus_than_there_are(void)
{
    wait_for_what_nobody_has("CPU=1000", "CPU");
}

static void shutdown_with_work_that_cannot_run(void)
{
    check_start(1);
    ray_ref *never = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "unobtainium=1"), twice, 1);
    CHECK_CODE(ray_get_timeout(never, 10, NULL), RAY_ERR_TIMEOUT);
    check_stop();
    CHECK(ray_get(never, NULL) != 0);
    ray_release(never);
}

static void deadline_in_the_past(void)
{
    check_start(1);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = -1), twice, 1), RAY_ERR_DEADLINE);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = INT64_MIN), twice, 1), RAY_ERR_DEADLINE);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = INT64_MAX), twice, 1), 2);
    check_stop();
}

/* ---- cancelling ---- */

static void cancel_queued(void)
{
    check_start(1);
    ray_ref *first = ray_remote(hold_gate, 1), *queued = ray_remote(twice, 2), *fed = ray_remote(twice, first);
    CHECK_AWAIT(started, 1);
    CHECK_OK(ray_cancel(queued, 0));
    CHECK_OK(ray_cancel(fed, 0));
    CHECK_REF(queued, RAY_ERR_CANCELLED); /* at once: the gate is still shut */
    CHECK_REF(fed, RAY_ERR_CANCELLED);    /* and so for what waits for an argument */
    atomic_store(&gate, 1);
    CHECK_REF_INT(first, 1);
    check_stop();
}

static void cancel_running(void)
{
    check_start(1);
    ray_ref *ref = ray_remote(until_cancelled);
    CHECK_AWAIT(started, 1);
    CHECK_OK(ray_cancel(ref, 0));
    CHECK_OK(ray_cancel(ref, 0)); /* again: nothing more */
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    CHECK_INT(atomic_load(&started), 1); /* never retried */
    check_stop();
}

static void cancel_finished_and_others(void)
{
    check_start(1);
    ray_ref *done = ray_remote(twice, 3), *put = ray_put("x", 1), *failed = ray_remote(twice, (ray_ref *)NULL);
    CHECK_OK(ray_get(done, NULL));
    CHECK_OK(ray_cancel(done, 0));
    CHECK_OK(ray_cancel(done, RAY_CANCEL_FORCE));
    CHECK_OK(ray_cancel(put, 0));
    CHECK_OK(ray_cancel(failed, 0));
    CHECK_CODE(ray_cancel(NULL, 0), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_cancel(done, 1u << 20), RAY_ERR_ARGUMENT);
    CHECK_REF_INT(done, 6);
    CHECK_REF_OK(put);
    CHECK_REF(failed, RAY_ERR_ARGUMENT);
    check_stop();
}

/* ---- actors that wait for each other ---- */

typedef struct side {
    int number;
} side;
static ray_actor *sides[2];
static RAY_ACTOR(side, (int, number))
{
    self->number = number;
}
static RAY_METHOD(side, int, answer)
{
    return self->number;
}
static RAY_METHOD(side, int, ask_back)
{
    ray_ref *ref = ray_call(sides[1 - self->number], side_answer);
    int r = ray_get_timeout(ref, 30000, NULL);
    ray_release(ref);
    return r;
}
static RAY_METHOD(side, int, ask)
{
    ray_ref *ref = ray_call(sides[1 - self->number], side_ask_back);
    int r = ray_get_timeout(ref, 30000, NULL);
    ray_release(ref);
    return r;
}

static void actors_that_wait_for_each_other(void)
{
    check_start(2);
    sides[0] = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "left"), side, 0);
    sides[1] = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "right"), side, 1);
    ray_ref *ref = ray_call(sides[0], side_ask); /* left waits for right, and right for left */
    check_expect_log("actor.cycle", "left", 15000 * check_slowness());
    check_expect_log("actor.cycle", "right", 1000);
    CHECK_OK(ray_kill(sides[1], false)); /* left's call to right fails, left goes on and answers */
    CHECK_REF_INT(ref, RAY_ERR_ACTOR_DIED);
    ray_actor_release(sides[0]), ray_actor_release(sides[1]);
    check_stop();
}

/* ---- failing ---- */

static RAY_REMOTE(int64_t, fail_with_words, (int64_t, n))
{
    return ray_fail("reason %lld of %s", (long long)n, "many");
}
static RAY_REMOTE(void, fail_with_code)
{
    ray_fail_with(42, "told to", "\0xyz", 4);
}
static RAY_REMOTE(void, fail_at_length)
{
    char words[3000];
    memset(words, 'w', sizeof words - 1), words[sizeof words - 1] = '\0';
    ray_fail("%s", words);
}
static RAY_REMOTE(void, fail_with_too_much)
{
    static char bytes[(64 << 10) + 1];
    CHECK_CODE(ray_fail_with(1, "too much", bytes, sizeof bytes), RAY_ERR_LIMIT);
    CHECK_CODE(ray_fail_with(1, "just right", bytes, sizeof bytes - 1), RAY_ERR_TASK_FAILED);
}

static void failing_function(void)
{
    check_start(1);
    int64_t y = 5;
    ray_ref *ref = ray_remote(fail_with_words, 3);
    CHECK_CODE(ray_get(ref, &y), RAY_ERR_TASK_FAILED);
    CHECK_INT(y, 5);
    const ray_error *error = ray_last_error();
    CHECK_STR(error->message, "reason 3 of many");
    CHECK_STR(error->function, "fail_with_words");
    CHECK_INT(error->code, RAY_ERR_TASK_FAILED);
    CHECK(error->user_code == 0 && error->signal == 0 && !error->payload && error->size >= sizeof *error);
    CHECK(error->node_id && error->pid > 0);
    CHECK_REF(ref, RAY_ERR_TASK_FAILED); /* as often as one asks */
    ref = ray_remote(fail_with_code);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TASK_FAILED);
    error = ray_last_error();
    CHECK_STR(error->message, "told to");
    CHECK(error->user_code == 42 && error->payload_size == 4 && memcmp(error->payload, "\0xyz", 4) == 0);
    ray_release(ref);
    CHECK_STR(ray_last_error()->message, "told to"); /* it is the thread's, not the ref's */
    ref = ray_remote(fail_at_length);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TASK_FAILED);
    CHECK_INT(strlen(ray_last_error()->message), 1023);
    ray_release(ref);
    ref = ray_remote(fail_with_too_much);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->payload_size, 64 << 10);
    ray_release(ref);
    CHECK_CODE(ray_fail("outside"), RAY_ERR_NOT_HERE);
    check_stop();
}

static void graph_whose_input_failed(void)
{
    enum { DEPTH = 200 };
    check_start(2);
    ray_ref *ref = ray_remote(fail_with_words, 1);
    for (int i = 0; i < DEPTH; i++) {
        ray_ref *next = ray_remote(sum2, ref, ref);
        ray_release(ref);
        ref = next;
    }
    ray_ref *other = ray_remote(fail_with_words, 2), *both = ray_remote(sum2, ref, 1);
    CHECK_CODE(ray_get(both, NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "reason 1 of many");
    CHECK_STR(ray_last_error()->function, "fail_with_words");
    CHECK_REF(other, RAY_ERR_TASK_FAILED);
    ray_release(ref), ray_release(both);
    ray_actor *actor = ray_actor_new(cell);
    CHECK_REF_INT(ray_call(actor, cell_next), 1); /* an actor does not care */
    ray_actor_release(actor);
    check_stop();
}

/* A diamond of refs, released in every order, before and after it has run. */
static void releasing_in_any_order(void)
{
    check_start(2);
    for (int order = 0; order < 4 * 4 * 4 * 4; order++) {
        for (int waits = 0; waits < 2; waits++) {
            ray_ref *refs[4];
            refs[0] = ray_remote(twice, 1);
            refs[1] = ray_remote(sum2, refs[0], 1);
            refs[2] = ray_remote(sum2, 1, refs[0]);
            refs[3] = ray_remote(sum2, refs[1], refs[2]);
            ray_ref *last = ray_retain(refs[3]);
            if (waits)
                CHECK_OK(ray_get(last, NULL));
            for (int i = 0, left = order; i < 4; i++, left /= 4) {
                ray_release(refs[left % 4]); /* NULL once it is gone */
                refs[left % 4] = NULL;
            }
            for (int i = 0; i < 4; i++)
                ray_release(refs[i]);
            CHECK_REF_INT(last, 6);
        }
    }
    check_stop();
}

CHECK_MAIN(CHECK_TEST(get_into_the_wrong_type), CHECK_TEST(argument_of_the_wrong_type), CHECK_TEST(too_many_arguments),
           CHECK_TEST_WITH(unknown_function_name, CHECK_KEEPS), CHECK_TEST(two_functions_of_one_name),
           CHECK_TEST(registered_twice_before_init), CHECK_TEST(options_that_make_no_sense),
           CHECK_TEST(configurations_that_make_no_sense), CHECK_TEST(names_that_are_too_long),
           CHECK_TEST(object_larger_than_the_store), CHECK_TEST(resource_nobody_has),
           CHECK_TEST(more_cpus_than_there_are), CHECK_TEST(shutdown_with_work_that_cannot_run),
           CHECK_TEST(deadline_in_the_past), CHECK_TEST(cancel_queued), CHECK_TEST(cancel_running),
           CHECK_TEST(cancel_finished_and_others), CHECK_TEST(actors_that_wait_for_each_other),
           CHECK_TEST(failing_function), CHECK_TEST(graph_whose_input_failed), CHECK_TEST(releasing_in_any_order))
