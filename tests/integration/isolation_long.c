/* Worker processes: what is longer than a message of the channel between them and the node goes there and back all the
 * same, up to the limits that the interface has. */
#include "check.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST = 65535, TEXT_BYTES = 200, INLINE_MOST = 102400, HELD = 12000 };

static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

/* ---- functions of many arguments ---- */

/* Wrong if any two have changed places. */
static int64_t weigh(const ray_value *args, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum = sum * 31 + *(const uint64_t *)args[i].data;
    return (int64_t)(sum & INT64_MAX);
}
static void call_weigh(ray_frame *frame)
{
    int64_t weight = weigh(frame->args, frame->num_args);
    memcpy(frame->result.data, &weight, sizeof weight);
}
static void call_count_bytes(ray_frame *frame)
{
    int64_t sum = 0;
    for (size_t i = 0; i < frame->num_args; i++) {
        const char *text = *(const char *const *)frame->args[i].data;
        CHECK(text[0] == (char)('a' + i % 26));
        sum += (int64_t)strlen(text);
    }
    memcpy(frame->result.data, &sum, sizeof sum);
}
static void call_add_refs(ray_frame *frame)
{
    int64_t sum = 0, x;
    for (size_t i = 0; i < frame->num_args; i += i < 100 ? 1 : 997) {
        CHECK_OK(ray_get(*(ray_ref *const *)frame->args[i].data, &x));
        sum += x;
    }
    memcpy(frame->result.data, &sum, sizeof sum);
}

static RAY_REMOTE(int64_t, number, (int64_t, x))
{
    return x;
}

typedef struct scale {
    int64_t weight;
} scale;
static void make_scale(ray_frame *frame)
{
    ((scale *)frame->self)->weight = weigh(frame->args, frame->num_args);
}
static void scale_weigh(ray_frame *frame)
{
    int64_t weight = weigh(frame->args, frame->num_args) ^ ((scale *)frame->self)->weight;
    memcpy(frame->result.data, &weight, sizeof weight);
}

#define FUNCTION(variable, its_name, its_signature, its_call, ...)                                                     \
    static ray_function variable = {                                                                                   \
        .size = sizeof variable, .name = its_name, .signature = its_signature, .call = its_call, __VA_ARGS__}
FUNCTION(weigher, "weigher", "int64_t(int64_t...)", call_weigh, .flags = 0);
FUNCTION(byte_counter, "byte_counter", "int64_t(const char *...)", call_count_bytes, .flags = 0);
FUNCTION(ref_adder, "ref_adder", "int64_t(ray_ref *...)", call_add_refs, .flags = 0);
FUNCTION(scale_class, "scale", "void(int64_t...)", make_scale, .flags = RAY_FUNCTION_ACTOR,
         .state_size = sizeof(scale));
FUNCTION(scale_method, "scale.weigh", "int64_t(int64_t...)", scale_weigh, .flags = RAY_FUNCTION_METHOD);

__attribute__((constructor)) static void register_all(void)
{
    ray_function *const all[] = {&weigher, &byte_counter, &ref_adder, &scale_class, &scale_method};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        (void)ray_register(all[i]);
}

/* ---- what is passed; the same from a driver and from a worker ---- */

static int64_t numbers[MOST + 1];

static ray_value *make_numbers(void)
{
    ray_value *args = malloc((MOST + 1) * sizeof *args);
    CHECK(args);
    for (int i = 0; i <= MOST; i++) {
        numbers[i] = 1000003 * (int64_t)i;
        args[i] = RAY_VALUE(&numbers[i]);
    }
    return args;
}

static void pass_numbers(void)
{
    const size_t counts[] = {0, 1, 9000, 12000, 13107, 13108, 13109, 20000, 60000, MOST};
    ray_value *args = make_numbers();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        CHECK_REF_INT(ray_submit(&weigher, args, counts[i], &once), weigh(args, counts[i]));
    CHECK_REF(ray_submit(&weigher, args, MOST + 1, &once), RAY_ERR_LIMIT);
    for (int i = 0; i < 20; i++) { /* a long one between short ones */
        ray_ref *before = ray_submit(&weigher, args, 2, &once), *it = ray_submit(&weigher, args, 30000, &once),
                *after = ray_submit(&weigher, args, 3, &once);
        CHECK_REF_INT(before, weigh(args, 2));
        CHECK_REF_INT(it, weigh(args, 30000));
        CHECK_REF_INT(after, weigh(args, 3));
    }
    free(args);
}

static void pass_texts(void)
{
    char(*texts)[TEXT_BYTES + 1] = malloc(MOST * sizeof *texts);
    const char **pointers = malloc(MOST * sizeof *pointers);
    ray_value *args = malloc(MOST * sizeof *args);
    CHECK(texts && pointers && args);
    for (int i = 0; i < MOST; i++) {
        memset(texts[i], 'a' + i % 26, TEXT_BYTES);
        texts[i][TEXT_BYTES] = 0;
        pointers[i] = texts[i];
        args[i] = (ray_value){.kind = RAY_KIND_STRING, .size = sizeof *pointers, .data = &pointers[i]};
    }
    CHECK_REF_INT(ray_submit(&byte_counter, args, 1000, &once), 1000 * TEXT_BYTES);
    CHECK_REF_INT(ray_submit(&byte_counter, args, MOST, &once), (int64_t)MOST * TEXT_BYTES);
    free(args), free(pointers), free(texts);
}

/* As refs, and as what they hold. */
static void pass_refs(void)
{
    ray_ref **refs = malloc(MOST * sizeof *refs);
    ray_value *args = malloc(MOST * sizeof *args), *all = make_numbers();
    int64_t sum = 0;
    CHECK(refs && args);
    for (int i = 0; i < MOST; i++) {
        refs[i] = ray_remote(number, numbers[i]);
        args[i] = (ray_value){.kind = RAY_KIND_REF, .size = sizeof *refs, .data = &refs[i]};
    }
    for (int i = 0; i < MOST; i += i < 100 ? 1 : 997)
        sum += numbers[i];
    CHECK_REF_INT(ray_submit(&ref_adder, args, MOST, &once), sum);
    CHECK_REF_INT(ray_submit(&weigher, args, MOST, &once), weigh(all, MOST));
    for (int i = 0; i < MOST; i++)
        ray_release(refs[i]);
    free(args), free(refs), free(all);
}

static void call_actors(void)
{
    ray_value *args = make_numbers();
    ray_actor *actor = ray_actor_create(&scale_class, args, 50000, NULL);
    int64_t own = weigh(args, 50000);
    CHECK(actor);
    for (int i = 0; i < 3; i++) {
        CHECK_REF_INT(ray_actor_submit(actor, &scale_method, args, 60000, NULL), weigh(args, 60000) ^ own);
        CHECK_REF_INT(ray_actor_submit(actor, &scale_method, args, 1, NULL), weigh(args, 1) ^ own);
    }
    ray_actor_release(actor);
    free(args);
}

/* ---- from the driver ---- */

static void numbers_of_the_driver(void)
{
    check_start_workers(2);
    pass_numbers();
    check_stop();
}
static void texts_of_the_driver(void)
{
    check_start_workers(2);
    pass_texts();
    check_stop();
}
static void refs_of_the_driver(void)
{
    check_start_workers(2);
    pass_refs();
    check_stop();
}
static void actors_of_the_driver(void)
{
    check_start_workers(2);
    call_actors();
    check_stop();
}

/* ---- from a worker ---- */

static RAY_REMOTE(void, passes_numbers)
{
    pass_numbers();
}
static RAY_REMOTE(void, passes_texts)
{
    pass_texts();
}
static RAY_REMOTE(void, passes_refs)
{
    pass_refs();
}
static RAY_REMOTE(void, calls_actors)
{
    call_actors();
}

static void numbers_of_a_worker(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, passes_numbers));
    check_stop();
}
static void texts_of_a_worker(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, passes_texts));
    check_stop();
}
static void refs_of_a_worker(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, passes_refs));
    check_stop();
}
static void actors_of_a_worker(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, calls_actors));
    check_stop();
}

/* Two workers at once, in all directions. */
static void workers_beside_each_other(void)
{
    check_start_workers(4);
    ray_ref *a = ray_remote_opts(&once, passes_numbers), *b = ray_remote_opts(&once, passes_numbers);
    pass_numbers();
    CHECK_REF_OK(a);
    CHECK_REF_OK(b);
    check_stop();
}

/* ---- options ---- */

static RAY_REMOTE(int64_t, env_bytes)
{
    int64_t sum = 0;
    for (int i = 0; i < 511; i++) {
        char name[32];
        snprintf(name, sizeof name, "LONG_VARIABLE_%d", i);
        const char *value = getenv(name);
        sum += value ? (int64_t)strlen(value) : 0;
    }
    return sum;
}

static RAY_REMOTE(void, passes_options)
{
    char *name = malloc(300001), *texts = malloc(511 * 600);
    const char *env[512];
    CHECK(name && texts);
    memset(name, 'n', 300000);
    name[300000] = 0;
    for (int i = 0; i < 511; i++) {
        int size = sprintf(texts + i * 600, "LONG_VARIABLE_%d=", i);
        memset(texts + i * 600 + size, 'v', 500);
        texts[i * 600 + size + 500] = 0;
        env[i] = texts + i * 600;
    }
    env[511] = NULL;
    ray_task_options options = {.size = sizeof options, .name = name, .env = env};
    CHECK_REF_INT(ray_remote_opts(&options, env_bytes), 511 * 500);
    ray_actor_options of_actor = {.size = sizeof of_actor, .env = env};
    ray_value *args = make_numbers();
    ray_actor *actor = ray_actor_create(&scale_class, args, MOST, &of_actor);
    CHECK(actor);
    CHECK_REF_INT(ray_actor_submit(actor, &scale_method, args, 0, NULL), weigh(args, MOST));
    ray_actor_release(actor);
    free(args), free(name), free(texts);
}

static void options_of_a_worker(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, passes_options));
    check_stop();
}

/* ---- results, items and objects of the largest size that is no block, with refs in them ---- */

static ray_buffer *make_full(int byte)
{
    ray_buffer *buffer = ray_create(INLINE_MOST);
    CHECK(buffer);
    memset(buffer->data, byte, INLINE_MOST);
    for (int i = 0; i < HELD; i++) {
        int64_t x = i;
        ray_ref *ref = ray_put(&x, sizeof x);
        CHECK_INT(ray_buffer_hold(buffer, ref), i);
        ray_release(ref);
    }
    return buffer;
}
static void check_full(ray_ref *ref, int byte)
{
    ray_view view, of_held;
    int64_t x;
    CHECK_OK(ray_get(ref, &view));
    CHECK_INT(view.size, INLINE_MOST);
    for (size_t i = 0; i < view.size; i++)
        CHECK(((const char *)view.data)[i] == byte);
    for (int i = 0; i < HELD; i += 1999) {
        ray_ref *held = ray_view_ref(&view, (size_t)i);
        CHECK_OK(ray_get(held, &of_held));
        CHECK_INT(of_held.size, sizeof x);
        memcpy(&x, of_held.data, sizeof x);
        CHECK_INT(x, i);
        ray_view_release(&of_held);
        ray_release(held);
    }
    ray_view_release(&view);
    ray_release(ref);
}

static RAY_REMOTE(ray_buffer *, gives_full, (int, byte))
{
    return make_full(byte);
}
static RAY_REMOTE(ray_stream(ray_buffer *), yields_full, (int, count))
{
    for (int i = 0; i < count; i++) {
        ray_buffer *buffer = make_full(i);
        if (ray_yield(&buffer) < 0)
            return;
    }
}
static RAY_REMOTE(int64_t, reads_full, (ray_ref *, ref), (int, byte))
{
    check_full(ray_retain(ref), byte);
    return byte;
}

static void read_full(void)
{
    check_full(ray_remote(gives_full, 7), 7);
    ray_ref *stream = ray_remote(yields_full, 3);
    for (int i = 0; i < 3; i++)
        check_full(ray_next(stream), i);
    ray_release(stream);
    ray_ref *own = ray_seal(make_full(9));
    CHECK_REF_INT(ray_remote_opts(&once, reads_full, own, 9), 9);
    ray_release(own);
}

static RAY_REMOTE(void, reads_all_full)
{
    read_full();
}

static void results_of_the_largest_size(void)
{
    check_start_workers(2);
    read_full();
    CHECK_REF_OK(ray_remote_opts(&once, reads_all_full));
    check_stop();
}

/* ---- a worker that dies with half a message said ---- */

static RAY_REMOTE(void, says_and_dies, (int, us))
{
    ray_value *args = make_numbers();
    if (fork() == 0) {
        usleep((unsigned)us);
        kill(getppid(), SIGKILL);
        _exit(0);
    }
    for (;;)
        ray_release(ray_submit(&weigher, args, MOST, &once));
}

static void half_a_message(void)
{
    ray_value *args = make_numbers();
    check_start_workers(2);
    for (int i = 0; i < 20; i++) {
        CHECK_REF(ray_remote_opts(&once, says_and_dies, 1000 + 777 * i), RAY_ERR_WORKER_CRASHED);
        CHECK_REF_INT(ray_submit(&weigher, args, 20000, &once), weigh(args, 20000));
    }
    check_stop();
    free(args);
}

CHECK_MAIN(CHECK_TEST(numbers_of_the_driver), CHECK_TEST(texts_of_the_driver), CHECK_TEST(refs_of_the_driver),
           CHECK_TEST(actors_of_the_driver), CHECK_TEST(numbers_of_a_worker), CHECK_TEST(texts_of_a_worker),
           CHECK_TEST(refs_of_a_worker), CHECK_TEST(actors_of_a_worker), CHECK_TEST(workers_beside_each_other),
           CHECK_TEST(options_of_a_worker), CHECK_TEST(results_of_the_largest_size),
           CHECK_TEST_WITH(half_a_message, CHECK_WARNINGS))
