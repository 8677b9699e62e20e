/* Streams: items in order, back pressure, several results at once, errors, readers that go away. */
#include "check.h"

#include <stdatomic.h>

static atomic_int yielded, ended, gate;

static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++) {
        int r = ray_yield(&i);
        if (r != 0) {
            CHECK_INT(r, RAY_ERR_CANCELLED);
            break;
        }
        atomic_fetch_add(&yielded, 1);
    }
    atomic_fetch_add(&ended, 1);
}
static RAY_REMOTE(ray_stream(int64_t), fail_after, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        ray_yield(&i);
    ray_fail("after %lld", (long long)n);
}
static RAY_REMOTE(ray_stream(const char *), words)
{
    char text[] = "one";
    ray_yield(&(const char *){text});
    memcpy(text, "two", 3); /* it was copied */
    ray_yield(&(const char *){text});
}
static RAY_REMOTE(ray_stream(ray_buffer *), blocks, (size_t, size))
{
    for (int i = 0; i < 3; i++) {
        ray_buffer *buffer = ray_create(size);
        CHECK(buffer);
        memset(buffer->data, 'a' + i, size);
        if (ray_yield(&buffer) != 0)
            return;
    }
}
static RAY_REMOTE(ray_stream(int64_t), nothing_at_all) {}
static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(ray_stream(ray_ref *), refs_of, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++) {
        ray_ref *ref = ray_remote(twice, i);
        if (ray_yield(&ref) != 0)
            return;
    }
}

static void items_in_order(void)
{
    check_start(2);
    ray_ref *stream = ray_remote(count_to, 1000);
    for (int64_t i = 0; i < 1000; i++)
        CHECK_REF_INT(ray_next(stream), i);
    for (int i = 0; i < 3; i++)
        CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF_OK(stream); /* it completes when its function has returned */
    stream = ray_remote(nothing_at_all);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    ray_release(stream);
    check_stop();
}

/* Results known in advance: their refs before the function has run, got in any order, and passed on. */
static void several_results(void)
{
    enum { K = 40 };
    check_start(2);
    ray_ref *stream = ray_remote(count_to, K), *items[K + 1];
    for (int i = 0; i <= K; i++)
        items[i] = ray_next(stream);
    ray_release(stream); /* the items are enough */
    CHECK_REF_INT(ray_remote(twice, items[K - 1]), 2 * (K - 1));
    CHECK_REF(items[K], RAY_ERR_STREAM_END);
    for (int i = K - 1; i >= 0; i--)
        CHECK_REF_INT(items[i], i);
    check_stop();
}

static void items_of_every_kind(void)
{
    check_start(2);
    ray_ref *stream = ray_remote(words);
    CHECK_REF_STR(ray_next(stream), "one");
    CHECK_REF_STR(ray_next(stream), "two");
    ray_release(stream);
    for (size_t size = 1; size < 1000000; size *= 100) {
        stream = ray_remote(blocks, size);
        for (int i = 0; i < 3; i++) {
            ray_view view;
            ray_ref *item = ray_next(stream);
            CHECK_OK(ray_get(item, &view));
            ray_release(item);
            CHECK(view.size == size && ((const char *)view.data)[size - 1] == 'a' + i);
            ray_view_release(&view);
        }
        ray_release(stream);
    }
    stream = ray_remote(refs_of, 3);
    for (int64_t i = 0; i < 3; i++) {
        ray_ref *item = ray_next(stream), *inner = NULL;
        CHECK_OK(ray_get(item, &inner));
        CHECK_REF_INT(inner, 2 * i);
        ray_release(item);
    }
    ray_release(stream);
    check_stop();
}

static void writers_wait_for_readers(void)
{
    check_start(2);
    ray_ref *stream = ray_remote_opts(RAY_WITH(ray_task_options, .max_ahead = 3), count_to, 100);
    CHECK_AWAIT(yielded, 3);
    check_sleep_ms(100);
    CHECK(atomic_load(&yielded) <= 4); /* three ahead, perhaps the fourth under way */
    for (int64_t i = 0; i < 50; i++)
        CHECK_REF_INT(ray_next(stream), i);
    CHECK_AWAIT(yielded, 53);
    check_sleep_ms(100);
    CHECK(atomic_load(&yielded) <= 54);
    for (int64_t i = 50; i < 100; i++)
        CHECK_REF_INT(ray_next(stream), i);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    ray_release(stream);
    atomic_store(&yielded, 0);
    stream = ray_remote(count_to, 100); /* by default 16 */
    CHECK_AWAIT(yielded, 16);
    check_sleep_ms(100);
    CHECK(atomic_load(&yielded) <= 17);
    ray_release(stream);
    check_stop();
}

/* A writer that waits gives its CPU back. */
static void waiting_writers_hold_no_cpu(void)
{
    check_start(1);
    ray_ref *stream = ray_remote_opts(RAY_WITH(ray_task_options, .max_ahead = 1), count_to, 10);
    CHECK_AWAIT(yielded, 1);
    check_sleep_ms(20);
    for (int i = 0; i < 10; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
    for (int64_t i = 0; i < 10; i++)
        CHECK_REF_INT(ray_next(stream), i);
    ray_release(stream);
    check_stop();
}

static void errors_are_items(void)
{
    check_start(2);
    ray_ref *stream = ray_remote(fail_after, 3);
    for (int64_t i = 0; i < 3; i++)
        CHECK_REF_INT(ray_next(stream), i);
    ray_ref *item = ray_next(stream);
    CHECK_CODE(ray_get(item, NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "after 3");
    ray_release(item);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF(stream, RAY_ERR_TASK_FAILED);
    stream = ray_remote(count_to, (ray_ref *)NULL); /* one that never began */
    CHECK_REF(ray_next(stream), RAY_ERR_ARGUMENT);
    CHECK_REF(stream, RAY_ERR_ARGUMENT);
    check_stop();
}

static void readers_that_go_away(void)
{
    check_start(2);
    ray_ref *stream = ray_remote(count_to, 1000000);
    CHECK_REF_INT(ray_next(stream), 0);
    ray_release(stream);
    CHECK_AWAIT(ended, 1); /* ray_yield said CANCELLED */
    CHECK(atomic_load(&yielded) < 1000000);
    stream = ray_remote(count_to, 1000000);
    CHECK_REF_INT(ray_next(stream), 0);
    CHECK_OK(ray_cancel(stream, 0));
    CHECK_AWAIT(ended, 2);
    CHECK_REF(stream, RAY_ERR_CANCELLED);
    check_stop();
}

static void shutdown_with_a_waiting_writer(void)
{
    check_start(2);
    ray_ref *stream = ray_remote(count_to, 1000000);
    CHECK_AWAIT(yielded, 16);
    check_stop();
    CHECK_INT(atomic_load(&ended), 1);
    ray_release(stream);
}

static RAY_REMOTE(int64_t, read_all, (int64_t, n))
{
    int64_t sum = 0, y = 0;
    ray_ref *stream = ray_remote(count_to, n);
    for (int r = 0; r == 0;) {
        ray_ref *item = ray_next(stream);
        if ((r = ray_get(item, &y)) == 0)
            sum += y;
        ray_release(item);
    }
    ray_release(stream);
    return sum;
}

static void read_inside_tasks(void)
{
    check_start(1); /* reader and writer take turns on one CPU */
    CHECK_REF_INT(ray_remote(read_all, 500), 500 * 499 / 2);
    ray_ref *refs[8];
    for (int i = 0; i < 8; i++)
        refs[i] = ray_remote(read_all, 100);
    for (int i = 0; i < 8; i++)
        CHECK_REF_INT(refs[i], 100 * 99 / 2);
    check_stop();
}

/* Waiting for an item and for the stream itself, in a waitset and with ray_wait. */
static void waiting_for_items(void)
{
    check_start(2);
    bool ready[3];
    ray_ref *stream = ray_remote(count_to, 2), *refs[3] = {ray_next(stream), ray_next(stream), stream};
    CHECK_INT(ray_wait(refs, 3, 3, 60000, ready), 3);
    CHECK(ready[0] && ready[1] && ready[2]);
    for (int i = 0; i < 3; i++)
        ray_release(refs[i]);
    check_stop();
}

static RAY_REMOTE(ray_stream(int64_t), gated)
{
    ray_yield(&(int64_t){1});
    CHECK_AWAIT(gate, 1);
    ray_yield(&(int64_t){2});
}

static void items_arrive_one_by_one(void)
{
    check_start(2);
    ray_ref *stream = ray_remote(gated), *first = ray_next(stream), *second = ray_next(stream);
    CHECK_REF_INT(first, 1);
    CHECK_CODE(ray_get_timeout(second, 20, NULL), RAY_ERR_TIMEOUT);
    CHECK_CODE(ray_get_timeout(stream, 0, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&gate, 1);
    CHECK_REF_INT(second, 2);
    CHECK_REF_OK(stream);
    check_stop();
}

static void what_is_no_stream(void)
{
    check_start(1);
    ray_ref *plain = ray_remote(twice, 1), *item = ray_next(plain);
    CHECK(ray_get(item, NULL) != 0);
    ray_release(item), ray_release(plain);
    check_stop();
}

static RAY_REMOTE(ray_stream(int64_t), stumble, (int64_t, at), (bool, by_itself))
{
    for (int64_t i = 0; i < 40; i++) {
        if (i == at && ray_context_get()->attempt < 2) {
            ray_fail("at %lld", (long long)i);
            if (by_itself)
                ray_fail_again(true);
            return;
        }
        if (ray_yield(&i) != 0)
            return;
    }
}

/* The reader sees each item once, whichever try has yielded it. */
static void retries_skip_what_was_delivered(void)
{
    check_start(2);
    for (int64_t at = 0; at < 40; at += 13)
        for (int by_itself = 0; by_itself < 2; by_itself++) {
            ray_ref *stream =
                ray_remote_opts(RAY_WITH(ray_task_options, .retry_failures = !by_itself), stumble, at, by_itself);
            for (int64_t i = 0; i < 40; i++)
                CHECK_REF_INT(ray_next(stream), i);
            CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
            ray_release(stream);
        }
    check_stop();
}

CHECK_MAIN(CHECK_TEST(items_in_order), CHECK_TEST(retries_skip_what_was_delivered), CHECK_TEST(several_results),
           CHECK_TEST(items_of_every_kind), CHECK_TEST(writers_wait_for_readers),
           CHECK_TEST(waiting_writers_hold_no_cpu), CHECK_TEST(errors_are_items), CHECK_TEST(readers_that_go_away),
           CHECK_TEST(shutdown_with_a_waiting_writer), CHECK_TEST(read_inside_tasks), CHECK_TEST(waiting_for_items),
           CHECK_TEST(items_arrive_one_by_one), CHECK_TEST(what_is_no_stream))
