/* What a neighbour, played by hand, says of tasks that are away: only the attempt that is away now is believed, once,
 * and what could not have been asked for is rubbish. */
#include "api/api.h"
#include "cluster/inside.h"
#include "executor/inside.h"
#include "raylet/inside.h"

#include "../around.h"

static RAY_REMOTE(int64_t, one, (int64_t, x))
{
    return x;
}
static RAY_REMOTE(ray_stream(int64_t), several, (int64_t, n))
{
    (void)n;
}

static rayi_cluster cluster;
static rayi_neighbour neighbour;
static rayi_thread *thread;

static void begin(void)
{
    cr_assert_eq(ray_init(RAY_WITH(ray_config, .address = "local", .resources = "CPU=1", .num_threads = 1)), 0);
    thread = rayi_enter();
    cr_assert(thread);
    memset(&cluster, 0, sizeof cluster);
    memset(&neighbour, 0, sizeof neighbour);
    cluster.node.thread = thread;
    cluster.node.executor = rayi_executor_of(thread);
    cluster.deaf = true;
    pthread_mutex_init(&cluster.names_lock, NULL);
    neighbour.cluster = &cluster;
    rayi_node_of(thread)->cluster = &cluster; /* readers of streams tell it that they have gone on */
}

static void end(void)
{
    cr_expect_eq(neighbour.away, NULL);
    cr_expect_eq(neighbour.streams, NULL);
    rayi_node_of(thread)->cluster = NULL;
    pthread_mutex_destroy(&cluster.names_lock);
    cr_expect_eq(ray_shutdown(), 0);
}

/* A call through a handle, as if it had been sent under this id and attempt. */
static rayi_record *send_one(const char *function, uint64_t id, uint32_t attempt, uint32_t max_ahead)
{
    const rayi_memory *memory = rayi_heap;
    int64_t x = 5;
    rayi_function *found = rayi_function_find(cluster.node.executor, function);
    rayi_task *task = rayi_task_new(thread, RAYI_TASK, found, &RAY_VALUE(&x), 1);
    rayi_away *a = rayi_zalloc(sizeof *a);
    rayi_between_task head = {.id = id};

    cr_assert(task && a);
    task->head.flags |= RAYI_STAND_IN;
    if (max_ahead)
        cr_assert_eq(rayi_stream_start(task, &(ray_task_options){.max_ahead = max_ahead}, NULL), 0);
    rayi_lane_account(thread, sizeof *task);
    rayi_task_drop_arguments(thread, task);
    a->id = id;
    a->attempt = attempt;
    a->kind = RAYI_AWAY_HANDLE;
    a->task = task;
    HASH_ADD(hh, neighbour.away, id, sizeof a->id, a);
    rayi_stream_describe(a, task, &head);
    cr_expect_eq(head.credit, max_ahead);
    cr_expect_eq(head.delivered, 0);
    rayi_stream_went(&neighbour, a);
    return &task->head;
}

static void put_number(rayi_writer *writer, int64_t value)
{
    rayi_result content = {.kind = RAY_KIND_I64, .size = 8};

    memcpy(content.bytes, &value, sizeof value);
    cr_assert_eq(rayi_exchange_write(NULL, thread, writer, &content, false), 0);
}

static bool take(rayi_writer *writer, bool (*with)(rayi_neighbour *n, rayi_reader *reader))
{
    rayi_reader reader = rayi_reader_of(writer->data, writer->size);
    bool is_sound = with(&neighbour, &reader);

    rayi_writer_fini(writer);
    return is_sound;
}

static bool say_result(uint64_t id, uint32_t attempt, bool crashed, uint8_t again, int64_t value)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, id);
    rayi_put_u32(&writer, attempt);
    rayi_put_u8(&writer, crashed);
    rayi_put_u8(&writer, again);
    put_number(&writer, value);
    return take(&writer, rayi_away_result);
}

static bool say_item(uint64_t id, uint32_t attempt, uint64_t index, int64_t value)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, id);
    rayi_put_u32(&writer, attempt);
    rayi_put_u64(&writer, index);
    put_number(&writer, value);
    return take(&writer, rayi_stream_take_item);
}

static bool say_refused(uint64_t id, uint32_t attempt)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u64(&writer, id);
    rayi_put_u32(&writer, attempt);
    rayi_put_i64(&writer, RAY_ERR_SHUTDOWN);
    return take(&writer, rayi_away_refused);
}

static void expect(rayi_record *record, int64_t value)
{
    int64_t got = -1;

    cr_assert_eq(ray_get_timeout(record, 0, &got), 0, "%s", ray_last_error()->message);
    cr_expect_eq(got, value);
    ray_release(record);
}

static void expect_failed(rayi_record *record, int code)
{
    cr_expect_eq(ray_get_timeout(record, 0, NULL), code, "%s", ray_last_error()->message);
    ray_release(record);
}

TEST_AROUND(away, results_of_earlier_attempts, begin, end)
{
    rayi_record *record = send_one("one", 7, 2, 0);

    cr_expect(say_result(7, 1, false, 0, 11)); /* late */
    cr_expect(say_result(7, 3, false, 0, 12));
    cr_expect(say_result(8, 2, false, 0, 13)); /* of another task, long over */
    cr_expect(say_refused(7, 1));
    cr_expect_not(rayi_record_done(record));
    cr_expect(say_result(7, 2, false, 0, 14));
    cr_expect(say_result(7, 2, false, 0, 15)); /* and once more */
    expect(record, 14);
}

TEST_AROUND(away, refused_by_whom_it_was_sent_to, begin, end)
{
    rayi_record *record = send_one("one", 7, 2, 0);

    cr_expect(say_refused(7, 2));
    cr_expect(say_result(7, 2, false, 0, 1));
    expect_failed(record, RAY_ERR_ACTOR_DIED);
}

TEST_AROUND(away, results_that_are_rubbish, begin, end)
{
    rayi_record *record = send_one("one", 7, 0, 0);
    rayi_writer writer;

    cr_expect_not(say_result(7, 0, true, 0, 1)); /* a crash without an error */
    cr_expect_not(say_result(7, 0, false, RAYI_AGAIN_NO + 1, 1));
    rayi_writer_init(&writer);
    rayi_put_u64(&writer, 7);
    cr_expect_not(take(&writer, rayi_away_result));
    cr_expect_not(rayi_record_done(record));
    cr_expect(say_result(7, 0, false, RAYI_AGAIN_NO, 2));
    expect(record, 2);
}

TEST_AROUND(away, items_of_a_stream, begin, end)
{
    rayi_record *stream = send_one("several", 9, 4, 2);

    cr_expect(say_item(9, 4, 0, 100));
    cr_expect(say_item(9, 3, 1, 666)); /* of an earlier try */
    cr_expect(say_item(9, 4, 0, 666)); /* delivered */
    cr_expect(say_item(9, 4, 1, 101));
    cr_expect_not(say_item(9, 4, 2, 102)); /* without credit */
    expect(ray_next(stream), 100);
    cr_expect(say_item(9, 4, 2, 102));
    cr_expect_not(say_item(9, 4, 3, 103));
    expect(ray_next(stream), 101);
    expect(ray_next(stream), 102);
    rayi_record *missing = ray_next(stream);
    cr_expect(say_result(9, 3, false, 0, 0));
    cr_expect_not(rayi_record_done(missing));
    cr_expect(say_result(9, 4, false, 0, 0));
    expect_failed(missing, RAY_ERR_STREAM_END);
    cr_expect(say_item(9, 4, 3, 103)); /* it is over */
    expect_failed(ray_next(stream), RAY_ERR_STREAM_END);
    ray_release(stream);
}

TEST_AROUND(away, items_of_what_is_no_stream, begin, end)
{
    rayi_record *record = send_one("one", 7, 0, 0);

    cr_expect_not(say_item(7, 0, 0, 1));
    cr_expect(say_item(8, 0, 0, 1)); /* unknown, or over */
    cr_expect(say_result(7, 0, false, 0, 3));
    expect(record, 3);
}

/* Nobody reads: what comes still is dropped with the stream. */
TEST_AROUND(away, streams_without_a_reader, begin, end)
{
    rayi_record *stream = send_one("several", 9, 0, 2);
    rayi_away *a = rayi_away_find(&neighbour, 9);
    bool abandoned;

    rayi_record_ref(stream);
    ray_release(stream);
    rayi_record_unref(thread, stream); /* the reader's: only what is away counts it */
    cr_expect_eq(rayi_stream_credit(a->task, &abandoned), 0);
    cr_expect(abandoned);
    rayi_streams_look(&neighbour);
    cr_expect(a->is_abandoned && a->credit == 0);
    cr_expect(say_item(9, 0, 0, 1));
    cr_expect(say_item(9, 0, 1, 1));
    cr_expect(say_result(9, 0, false, 0, 0));
}
