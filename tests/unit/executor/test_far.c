/* Objects whose bytes are on another node, in a whole runtime: whoever reads them has them fetched, in threads and in
 * worker processes, and no thread waits for them that others wait for. */
#include "api/api.h"
#include "functions.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STORE = 8 << 20, SIZE = 1 << 20 };

#define CHECK_OK(x)          cr_assert_eq((x), 0, "%s: %s", #x, rayi_error_last_public()->message)
#define CHECK_FAILS(x, code) cr_assert_eq((x), (code), "%s: %s", #x, rayi_error_last_public()->message)

/* --- a node that has the bytes ------------------------------------------------------------------------------------ */

typedef struct far_node {
    unsigned char byte; /* of which all bytes are made */
    atomic_int fetches, forgets, failures;
    atomic_bool shut; /* a fetch waits until it is open, or its deadline */
    atomic_int inside;
    pthread_t thread; /* of the last fetch */
} far_node;

static int fetch(void *arg, void *to, size_t size_bytes, int64_t deadline_ns)
{
    far_node *from = arg;
    atomic_fetch_add(&from->fetches, 1);
    from->thread = pthread_self();
    atomic_fetch_add(&from->inside, 1);
    while (atomic_load(&from->shut) && rayi_now_ns() < deadline_ns)
        usleep(1000);
    atomic_fetch_sub(&from->inside, 1);
    if (atomic_load(&from->failures) > 0) {
        atomic_fetch_sub(&from->failures, 1);
        return rayi_fail(RAY_ERR_OBJECT_LOST, "no node has it any more");
    }
    memset(to, from->byte, size_bytes);
    return atomic_load(&from->shut) ? rayi_fail(RAY_ERR_FETCH_TIMEOUT, "it did not come") : 0;
}

static void forget(void *arg)
{
    atomic_fetch_add(&((far_node *)arg)->forgets, 1);
}

static const rayi_source source = {.fetch = fetch, .forget = forget};

static ray_ref *make_far_of(unsigned kind, size_t size, far_node *from)
{
    rayi_thread *thread = rayi_enter();
    rayi_block *block;
    CHECK_OK(rayi_block_new_far(rayi_executor_store(rayi_executor_of(thread)), size, &source, from, &block));
    rayi_record *object = rayi_object_of_block(thread, kind, block);
    cr_assert_neq(object, NULL);
    return object;
}

static ray_ref *make_far(far_node *from)
{
    return make_far_of(RAY_KIND_BYTES, SIZE, from);
}

static int64_t sum_of(const far_node *from)
{
    return (int64_t)SIZE * from->byte;
}

static void await_fetch(far_node *from)
{
    while (atomic_load(&from->inside) == 0)
        usleep(1000);
}

static void *open_soon(void *arg)
{
    usleep(100000);
    atomic_store(&((far_node *)arg)->shut, false);
    return NULL;
}

/* --- the runtime -------------------------------------------------------------------------------------------------- */

static void start(ray_isolation isolation)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 2, .store_bytes = STORE,
                               .worker_command = CHILD, .isolation = isolation)));
}

static rayi_store_usage usage_now(void)
{
    rayi_store_usage usage;
    rayi_store_stats(rayi_executor_store(rayi_executor_of(rayi_enter())), &usage);
    return usage;
}

static void check_int(ray_ref *ref, int64_t wanted)
{
    int64_t got = 0;
    CHECK_OK(ray_get_timeout(ref, 60000, &got));
    cr_assert_eq(got, wanted, "%lld instead of %lld", (long long)got, (long long)wanted);
    ray_release(ref);
}

static void check_fails(ray_ref *ref, int code)
{
    CHECK_FAILS(ray_get_timeout(ref, 60000, NULL), code);
    ray_release(ref);
}

static void check_view(ray_ref *ref, const far_node *from)
{
    ray_view view;
    CHECK_OK(ray_get(ref, &view));
    cr_assert_eq(view.size, SIZE);
    cr_assert_eq(sum_up(view.data, view.size), sum_of(from));
    ray_view_release(&view);
}

/* Each object was asked for and is gone. */
static void stop(far_node *nodes, size_t count)
{
    CHECK_OK(ray_shutdown());
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(nodes[i].forgets, 1);
}

/* --- get ---------------------------------------------------------------------------------------------------------- */

Test(executor_far, get_fetches, .timeout = 60)
{
    far_node from = {.byte = 3};
    ray_view views[2];
    start(RAY_ISOLATION_THREAD);
    ray_ref *ref = make_far(&from);
    CHECK_OK(ray_get(ref, NULL)); /* is it done? needs no bytes */
    cr_assert(from.fetches == 0 && usage_now().num_far == 1 && usage_now().used_bytes == 0);
    CHECK_OK(ray_get(ref, &views[0]));
    CHECK_OK(ray_get(ref, &views[1]));
    cr_assert(views[0].size == SIZE && views[0].data == views[1].data);
    cr_assert_eq(sum_up(views[1].data, SIZE), sum_of(&from));
    cr_assert(usage_now().pinned_bytes == SIZE && usage_now().num_far == 0);
    ray_view_release(&views[0]);
    ray_view_release(&views[1]);
    cr_assert(usage_now().pinned_bytes == 0 && usage_now().num_fetched == 1);
    check_view(ref, &from);
    cr_assert_eq(from.fetches, 1);
    ray_release(ref);
    stop(&from, 1);
}

Test(executor_far, texts_and_structs, .timeout = 60)
{
    far_node from[2] = {{.byte = 'x'}, {.byte = 1}};
    const char *text;
    unsigned char bytes[SIZE];
    ray_value value = {.kind = RAY_KIND_STRUCT, .size = sizeof bytes, .data = bytes};
    start(RAY_ISOLATION_THREAD);
    ray_ref *string = make_far_of(RAY_KIND_STRING, SIZE, &from[0]),
            *data = make_far_of(RAY_KIND_STRUCT, SIZE, &from[1]);
    CHECK_OK(ray_get(string, &text));
    cr_assert(strlen(text) == SIZE && text[SIZE - 1] == 'x');
    CHECK_OK((ray_get)(data, &value));
    cr_assert_eq(sum_up(bytes, SIZE), sum_of(&from[1]));
    cr_assert_eq(usage_now().pinned_bytes, SIZE, "the text, as long as its object");
    ray_release(string);
    ray_release(data);
    stop(from, 2);
}

Test(executor_far, a_fetch_that_fails_is_said_and_tried_again, .timeout = 60)
{
    far_node from = {.byte = 3, .failures = 2};
    ray_view view;
    start(RAY_ISOLATION_THREAD);
    ray_ref *ref = make_far(&from);
    CHECK_FAILS(ray_get(ref, &view), RAY_ERR_OBJECT_LOST);
    cr_assert_str_eq(ray_last_error()->message, "no node has it any more");
    check_fails(ray_remote(sum, ref), RAY_ERR_OBJECT_LOST);
    check_int(ray_remote(sum, ref), sum_of(&from));
    cr_assert(from.fetches == 3 && usage_now().pinned_bytes == 0);
    ray_release(ref);
    stop(&from, 1);
}

typedef struct reader {
    pthread_t thread;
    ray_ref *ref;
    int64_t sum;
} reader;

static void *read_it(void *arg)
{
    reader *self = arg;
    ray_view view;
    if (ray_get(self->ref, &view) < 0)
        return NULL;
    self->sum = sum_up(view.data, view.size);
    ray_view_release(&view);
    return NULL;
}

Test(executor_far, several_readers, .timeout = 60)
{
    enum { READERS = 4 };
    far_node from = {.byte = 5, .shut = true};
    reader readers[READERS];
    ray_ref *sums[READERS];
    start(RAY_ISOLATION_THREAD);
    ray_ref *ref = make_far(&from);
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = (reader){.ref = ref};
        cr_assert_eq(pthread_create(&readers[i].thread, NULL, read_it, &readers[i]), 0);
        sums[i] = ray_remote(sum, ref);
    }
    await_fetch(&from);
    usleep(50000);
    atomic_store(&from.shut, false);
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        cr_assert_eq(readers[i].sum, sum_of(&from));
        check_int(sums[i], sum_of(&from));
    }
    cr_assert_eq(from.fetches, 1);
    ray_release(ref);
    stop(&from, 1);
}

/* --- arguments ---------------------------------------------------------------------------------------------------- */

/* Everything that a function can do with such an object. */
static void use_everywhere(ray_isolation isolation)
{
    far_node from[5] = {{.byte = 1}, {.byte = 2}, {.byte = 3}, {.byte = 4}, {.byte = 5}};
    ray_ref *refs[5];
    start(isolation);
    for (size_t i = 0; i < 5; i++)
        refs[i] = make_far(&from[i]);
    cr_assert_geq(rayi_buffer_hold(rayi_enter(), &refs[4]->content.buffer, refs[3]), 0);
    check_int(ray_remote(sum, refs[0]), sum_of(&from[0]));
    check_int(ray_remote(sum_of_two, refs[0], refs[1]), sum_of(&from[0]) + sum_of(&from[1]));
    check_int(ray_remote(sum_of_two, refs[1], refs[1]), 2 * sum_of(&from[1]));
    check_int(ray_remote(sum_inside, refs[2]), sum_of(&from[2]));
    check_int(ray_remote(sum_of_held, refs[4]), sum_of(&from[3]));
    ray_actor *actor = ray_actor_new(adder, refs[0]);
    check_int(ray_call(actor, adder_add, refs[4]), sum_of(&from[0]) + sum_of(&from[4]));
    ray_actor_release(actor);
    for (size_t i = 0; i < 5; i++) {
        check_view(refs[i], &from[i]);
        ray_release(refs[i]);
        cr_assert_eq(from[i].fetches, 1, "%zu: %d", i, from[i].fetches);
    }
    stop(from, 5);
}

Test(executor_far, threads, .timeout = 60)
{
    use_everywhere(RAY_ISOLATION_THREAD);
}

Test(executor_far, worker_processes, .timeout = 60)
{
    use_everywhere(RAY_ISOLATION_PROCESS);
}

/* Many more than there is room for: they come and go, and none goes to disk. */
static void use_many(ray_isolation isolation)
{
    enum { COUNT = 4 * STORE / SIZE };
    static far_node from[COUNT];
    ray_ref *refs[COUNT], *sums[COUNT];
    start(isolation);
    for (size_t i = 0; i < COUNT; i++) {
        from[i].byte = (unsigned char)(i + 1);
        refs[i] = make_far(&from[i]);
    }
    for (size_t i = 0; i < COUNT; i++)
        sums[i] = ray_remote(sum_of_two, refs[i], refs[(i + 7) % COUNT]);
    for (size_t i = 0; i < COUNT; i++)
        check_int(sums[i], sum_of(&from[i]) + sum_of(&from[(i + 7) % COUNT]));
    cr_assert_eq(usage_now().spilled_total_bytes, 0);
    cr_assert_leq(usage_now().used_bytes, STORE);
    for (size_t i = 0; i < COUNT; i++)
        ray_release(refs[i]);
    stop(from, COUNT);
}

Test(executor_far, more_than_fits, .timeout = 60)
{
    use_many(RAY_ISOLATION_THREAD);
}

Test(executor_far, more_than_fits_for_worker_processes, .timeout = 60)
{
    use_many(RAY_ISOLATION_PROCESS);
}

Test(executor_far, a_fetch_that_fails_fails_the_task_of_a_process, .timeout = 60)
{
    far_node from = {.byte = 3, .failures = 2};
    start(RAY_ISOLATION_PROCESS);
    ray_ref *ref = make_far(&from);
    check_fails(ray_remote(sum, ref), RAY_ERR_OBJECT_LOST);
    check_int(ray_remote(sum_inside, ref), RAY_ERR_OBJECT_LOST);
    check_int(ray_remote(sum, ref), sum_of(&from));
    ray_release(ref);
    stop(&from, 1);
}

/* --- who waits ---------------------------------------------------------------------------------------------------- */

static void check_slow_is_alone(ray_isolation isolation)
{
    far_node from[4] = {{.byte = 1, .shut = true}, {.byte = 2}, {.byte = 3}, {.byte = 4}};
    ray_ref *refs[4];
    start(isolation);
    for (size_t i = 0; i < 4; i++)
        refs[i] = make_far(&from[i]);
    ray_ref *slow = ray_remote(sum_of_two, refs[1], refs[0]);
    await_fetch(&from[0]);
    check_int(ray_remote(sum_of_two, refs[2], refs[3]), sum_of(&from[2]) + sum_of(&from[3]));
    check_int(ray_remote(sum_of_two, refs[1], refs[3]), sum_of(&from[1]) + sum_of(&from[3]));
    cr_assert(from[0].shut && from[0].inside == 1);
    atomic_store(&from[0].shut, false);
    check_int(slow, sum_of(&from[0]) + sum_of(&from[1]));
    for (size_t i = 0; i < 4; i++)
        ray_release(refs[i]);
    stop(from, 4);
}

Test(executor_far, a_slow_node_holds_up_nobody_else, .timeout = 60)
{
    check_slow_is_alone(RAY_ISOLATION_THREAD);
}

Test(executor_far, a_slow_node_holds_up_no_other_process, .timeout = 60)
{
    check_slow_is_alone(RAY_ISOLATION_PROCESS);
}

Test(executor_far, a_loop_never_waits, .timeout = 60)
{
    far_node from = {.byte = 3};
    ray_view view;
    start(RAY_ISOLATION_THREAD);
    ray_ref *ref = make_far(&from);
    rayi_enter()->never_waits = true;
    CHECK_FAILS(ray_get(ref, &view), RAY_ERR_STORE_FULL);
    cr_assert(strstr(ray_last_error()->message, "another node"), "%s", ray_last_error()->message);
    rayi_enter()->never_waits = false;
    cr_assert_eq(from.fetches, 0);
    check_view(ref, &from);
    ray_release(ref);
    stop(&from, 1);
}

Test(executor_far, the_loop_goes_on_while_a_process_waits, .timeout = 60)
{
    far_node from = {.byte = 3, .shut = true};
    ray_view view;
    start(RAY_ISOLATION_PROCESS);
    ray_ref *ref = make_far(&from);
    ray_ref *outside = ray_remote(sum, ref), *inside = ray_remote(sum_inside, ref);
    await_fetch(&from);
    CHECK_OK(ray_state("objects", &view)); /* which the loop answers */
    const char *row = view.data;
    cr_assert(strstr(row, "\"store_far_bytes\": 1048576, \"store_far_objects\": 1, \"store_fetched_objects\": 0, "
                          "\"store_fetched_total_bytes\": 0}"),
              "%s", row);
    ray_view_release(&view);
    atomic_store(&from.shut, false);
    check_int(outside, sum_of(&from));
    check_int(inside, sum_of(&from));
    cr_assert_eq(from.fetches, 1);
    ray_release(ref);
    stop(&from, 1);
}

/* --- the end ------------------------------------------------------------------------------------------------------ */

static void check_shutdown(ray_isolation isolation)
{
    far_node from[4] = {{.byte = 1, .shut = true}, {.byte = 2}, {.byte = 3, .shut = true}, {.byte = 4}};
    ray_ref *refs[4], *results[3];
    pthread_t openers[2];
    ray_view view;
    start(isolation);
    for (size_t i = 0; i < 4; i++)
        refs[i] = make_far(&from[i]);
    ray_actor *actor = ray_actor_new(adder, refs[1]);
    results[0] = ray_call(actor, adder_add, refs[1]);
    CHECK_OK(ray_get(results[0], NULL));
    results[1] = ray_call(actor, adder_add, refs[2]);
    results[2] = ray_remote(sum, refs[0]);
    for (size_t i = 0; i < 2; i++) { /* a node that shuts down ends what its sources wait for */
        await_fetch(&from[2 * i]);
        pthread_create(&openers[i], NULL, open_soon, &from[2 * i]);
    }
    CHECK_OK(ray_shutdown());
    cr_assert_lt(ray_get(refs[3], &view), 0);
    for (size_t i = 0; i < 4; i++) {
        if (i < 2)
            pthread_join(openers[i], NULL);
        ray_release(i < 3 ? results[i] : NULL);
        ray_release(refs[i]);
    }
    ray_actor_release(actor);
    for (size_t i = 0; i < 4; i++)
        cr_assert(from[i].forgets == 1 && from[i].fetches == (i != 3), "%zu: %d, %d", i, from[i].forgets,
                  from[i].fetches);
}

Test(executor_far, shutdown_while_a_thread_fetches, .timeout = 60)
{
    check_shutdown(RAY_ISOLATION_THREAD);
}

Test(executor_far, shutdown_while_a_process_waits, .timeout = 60)
{
    check_shutdown(RAY_ISOLATION_PROCESS);
}
