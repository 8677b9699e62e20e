/* Questions between two nodes of a played cluster: each has a session with the other, whose frames the test carries. */
#include "cluster/inside.h"

#include "../around.h"
#include <stdio.h>

enum { ASKS, ANSWERS };

typedef struct end {
    rayi_cluster cluster;
    rayi_neighbour *other;
    /* the last question it was asked, of how many */
    rayi_asker asker;
    uint8_t op;
    char question[64];
    size_t questions;
} end;

static end ends[2];
static char head_address[] = "h:1";

/* What came to a question of ours. */
typedef struct outcome {
    int code; /* 1: nothing yet */
    char words[256];
    size_t times;
    bool again; /* asks once more from inside */
} outcome;

static void serve(void *node, const rayi_asker *asker, uint8_t op, const rayi_said *question)
{
    end *e = node;

    e->asker = *asker;
    e->op = op;
    e->questions++;
    cr_assert_lt(question->size, sizeof e->question);
    cr_assert(!question->record);
    memcpy(e->question, question->bytes, question->size);
    e->question[question->size] = 0;
}

static int ask(outcome *out, const char *words, int64_t timeout_ms);

static void answered(void *arg, const rayi_said *answer, rayi_error *error)
{
    outcome *out = arg;

    cr_assert(!answer == !!error);
    out->code = error ? rayi_error_code(error) : 0;
    out->times++;
    snprintf(out->words, sizeof out->words, "%.*s", error ? 255 : (int)answer->size,
             error ? rayi_error_public(error)->message : (const char *)answer->bytes);
    if (out->again) {
        out->again = false;
        cr_assert_eq(ask(out, "again", 1000), 0);
    }
}

/* ---- the two nodes: the second is the head ---- */

static rayi_node_id id_of(int i)
{
    return (rayi_node_id){.bytes = {(uint8_t)(i + 1)}};
}

static void make(int i)
{
    const rayi_memory *memory = rayi_heap;
    end *e = &ends[i];
    rayi_members_options members = {.generation = 1, .unsaved = true};
    rayi_member head = {.id = id_of(ANSWERS), .life = 1, .labels = ""};
    rayi_peer_options peer = {.dials = RAYI_PEER_DIALS_NEVER, .beat_ms = -1};
    uint64_t incarnation;

    *e = (end){.cluster = {.node = {.node = e, .serve = serve}, .id = id_of(i), .head_address = head_address}};
    e->other = rayi_zalloc(sizeof *e->other);
    *e->other = (rayi_neighbour){.id = id_of(1 - i), .incarnation = 1, .cluster = &e->cluster, .refs = 2, .name = "n"};
    peer.self.incarnation = peer.peer.incarnation = 1;
    memcpy(peer.self.node, e->cluster.id.bytes, sizeof peer.self.node);
    memcpy(peer.peer.node, e->other->id.bytes, sizeof peer.peer.node);
    cr_assert_eq(rayi_peer_new(rayi_heap, &peer, 0, &e->other->peer), 0);
    HASH_ADD(hh, e->cluster.neighbours, id, sizeof e->other->id, e->other);
    cr_assert_eq(rayi_members_new(rayi_heap, &members, 0, &e->cluster.members), 0);
    cr_assert_eq(rayi_members_lead(e->cluster.members, &head, 0, &incarnation), 0);
}

/* The link of the session is up, as far as this end knows. */
static void greet(int i)
{
    unsigned char bytes[RAYI_HELLO_SIZE] = {0};
    rayi_session_frame hello = {
        .kind = RAYI_FRAME_HELLO, .from = 1, .to = 1, .number = 1, .limit = 16, .size = 2 * RAYI_NODE_ID_SIZE};

    rayi_frame_write_head(bytes, &hello);
    bytes[RAYI_FRAME_HEAD] = ends[i].other->id.bytes[0];
    bytes[RAYI_FRAME_HEAD + RAYI_NODE_ID_SIZE] = ends[i].cluster.id.bytes[0];
    cr_assert_eq(rayi_frame_read(bytes, sizeof bytes, &hello), 0);
    (void)rayi_peer_accept(ends[i].other->peer, &hello, 0);
}

static void setup(void)
{
    for (int i = 0; i < 2; i++) {
        make(i);
        greet(i);
    }
}

static void forget(int i)
{
    const rayi_memory *memory = rayi_heap;
    end *e = &ends[i];

    if (e->cluster.neighbours)
        HASH_DEL(e->cluster.neighbours, e->other);
    rayi_neighbour_asks_end(e->other);
    rayi_peer_free(e->other->peer);
    rayi_members_free(e->cluster.members);
    rayi_free(e->other);
}

static void teardown(void)
{
    forget(0);
    forget(1);
}

/* Carries all that was sent; the number of messages. */
static size_t carry(int from)
{
    rayi_neighbour *to = ends[1 - from].other;
    rayi_peer_action action;
    rayi_session_frame frame;
    rayi_reader reader;
    size_t count = 0;

    while (rayi_peer_next(ends[from].other->peer, &action)) {
        if (action.what != RAYI_PEER_DO_SEND || rayi_frame_read(action.bytes, action.size_bytes, &frame) < 0 ||
            frame.kind != RAYI_FRAME_MESSAGE)
            continue;
        reader = rayi_reader_of(frame.payload, frame.size);
        cr_assert_eq(rayi_take_u8(&reader), from == ASKS ? RAYI_BETWEEN_ASK : RAYI_BETWEEN_ANSWER);
        cr_assert(from == ASKS ? rayi_asks_serve(to, &reader) : rayi_asks_answered(to, &reader));
        count++;
    }
    return count;
}

static int ask(outcome *out, const char *words, int64_t timeout_ms)
{
    bool again = out->again;

    *out = (outcome){.code = 1, .again = again, .times = out->times};
    return rayi_cluster_ask(&ends[ASKS].cluster, NULL, 7, &(rayi_said){.bytes = words, .size = strlen(words)},
                            timeout_ms, answered, out);
}

static void answer(const char *words)
{
    rayi_cluster_answer(&ends[ANSWERS].cluster, &ends[ANSWERS].asker,
                        &(rayi_said){.bytes = words, .size = strlen(words)}, NULL);
}

static uint32_t open_questions(void)
{
    return HASH_COUNT(ends[ASKS].other->asks.all);
}

/* ---- honest nodes ---- */

TEST_AROUND(asks, answered_later, setup, teardown)
{
    static outcome one = {0}, two = {0};

    cr_assert_eq(ask(&one, "one", 1000), 0);
    cr_assert_eq(ask(&two, "", 1000), 0);
    cr_expect_eq(carry(ASKS), 2);
    cr_expect_eq(ends[ANSWERS].questions, 2);
    cr_expect_eq(ends[ANSWERS].op, 7);
    cr_expect_str_eq(ends[ANSWERS].question, "");
    cr_expect_eq(ends[ANSWERS].other->unanswered, 2);
    answer("second"); /* in any order */
    ends[ANSWERS].asker.id--;
    answer("");
    cr_expect_eq(carry(ANSWERS), 2);
    cr_expect(one.code == 0 && one.times == 1);
    cr_expect_str_eq(one.words, "");
    cr_expect_str_eq(two.words, "second");
    cr_expect_eq(ends[ANSWERS].other->unanswered, 0);
    cr_expect_eq(open_questions(), 0);
}

TEST_AROUND(asks, errors, setup, teardown)
{
    static outcome one = {0};
    rayi_error *error = rayi_error_new(RAY_ERR_EXISTS, NULL, NULL, "it exists");

    cr_assert_eq(ask(&one, "one", 1000), 0);
    carry(ASKS);
    rayi_cluster_answer(&ends[ANSWERS].cluster, &ends[ANSWERS].asker, NULL, error);
    rayi_error_unref(error);
    carry(ANSWERS);
    cr_expect_eq(one.code, RAY_ERR_EXISTS);
    cr_expect_str_eq(one.words, "it exists");
}

TEST_AROUND(asks, too_long_an_answer, setup, teardown)
{
    static outcome one = {0};
    char *bytes = calloc(1, RAYI_FRAME_SIZE_MAX);

    cr_assert_eq(ask(&one, "one", 1000), 0);
    carry(ASKS);
    rayi_cluster_answer(&ends[ANSWERS].cluster, &ends[ANSWERS].asker,
                        &(rayi_said){.bytes = bytes, .size = RAYI_FRAME_SIZE_MAX}, NULL);
    free(bytes);
    carry(ANSWERS);
    cr_expect_eq(one.code, RAY_ERR_LIMIT);
    cr_expect_eq(ends[ANSWERS].other->unanswered, 0);
}

/* What was given up counts until its answer comes, which is of no interest any more. */
TEST_AROUND(asks, given_up, setup, teardown)
{
    static outcome one = {.again = true}, two = {0};

    cr_expect_eq(rayi_asks_next_tick(&ends[ASKS].other->asks), INT64_MAX);
    cr_assert_eq(ask(&two, "two", 100000), 0);
    int64_t first = rayi_now_ms();
    cr_assert_eq(ask(&one, "one", 50), 0);
    carry(ASKS);
    cr_expect_geq(rayi_asks_next_tick(&ends[ASKS].other->asks), first + 50);
    cr_expect_leq(rayi_asks_next_tick(&ends[ASKS].other->asks), rayi_now_ms() + 50);
    rayi_neighbour_asks_tick(ends[ASKS].other, first + 10);
    cr_expect_eq(one.times, 0);
    int64_t second = rayi_now_ms();
    rayi_neighbour_asks_tick(ends[ASKS].other, second + 60);
    cr_expect_eq(one.times, 1); /* and it has asked again */
    cr_expect_eq(one.code, 1);
    cr_expect_eq(two.code, 1);
    cr_expect_eq(open_questions(), 3);
    cr_expect_gt(rayi_asks_next_tick(&ends[ASKS].other->asks), second + 500);
    answer("late");
    carry(ANSWERS);
    cr_expect_eq(one.times, 1);
    cr_expect_eq(open_questions(), 2);
    rayi_neighbour_asks_tick(ends[ASKS].other, rayi_now_ms() + 1000);
    cr_expect_eq(one.code, RAY_ERR_TIMEOUT);
    cr_expect(strstr(one.words, "the head, node n has not answered for "), "%s", one.words);
}

TEST_AROUND(asks, no_more_than_the_limit, setup, teardown)
{
    static outcome outcomes[RAYI_ASKS_MOST + 1];

    for (size_t i = 0; i < RAYI_ASKS_MOST; i++)
        cr_assert_eq(ask(&outcomes[i], "", 50), 0);
    cr_expect_eq(ask(&outcomes[RAYI_ASKS_MOST], "", 50), RAY_ERR_LIMIT);
    rayi_neighbour_asks_tick(ends[ASKS].other, rayi_now_ms() + 60);
    cr_expect_eq(outcomes[0].code, RAY_ERR_TIMEOUT);
    cr_expect_eq(ask(&outcomes[RAYI_ASKS_MOST], "", 50), RAY_ERR_LIMIT); /* they have them still */
    carry(ASKS);
    cr_expect_eq(ends[ANSWERS].other->unanswered, RAYI_ASKS_MOST);
    answer("");
    carry(ANSWERS);
    cr_expect_eq(ask(&outcomes[RAYI_ASKS_MOST], "", 50), 0);
}

TEST_AROUND(asks, the_end_of_a_node, setup, teardown)
{
    static outcome one = {0}, two = {0};

    cr_assert_eq(ask(&one, "one", 1000), 0);
    cr_assert_eq(ask(&two, "two", 1000), 0);
    carry(ASKS);
    rayi_neighbour_asks_end(ends[ASKS].other);
    cr_expect(one.code == RAY_ERR_NODE_DIED && two.code == RAY_ERR_NODE_DIED && one.times == 1 && two.times == 1);
    cr_expect_eq(open_questions(), 0);
    ends[ANSWERS].asker.incarnation++; /* of an earlier life: nobody is told */
    answer("");
    cr_expect_eq(carry(ANSWERS), 0);
    ends[ANSWERS].asker.node.bytes[0] = 9;
    answer("");
    ends[ANSWERS].asker = (rayi_asker){.observer = 5};
    answer("");
    cr_expect_eq(carry(ANSWERS), 0);
}

TEST_AROUND(asks, nobody_there, setup, teardown)
{
    const rayi_memory *memory = rayi_heap;
    rayi_node_id other = {.bytes = {9}};
    static outcome one = {0};

    cr_expect_eq(rayi_cluster_ask(&ends[ASKS].cluster, &other, 1, &(rayi_said){0}, 10, answered, &one),
                 RAY_ERR_NODE_DIED);
    HASH_DEL(ends[ASKS].cluster.neighbours, ends[ASKS].other);
    cr_expect_eq(ask(&one, "", 1000), RAY_ERR_HEAD_UNREACHABLE);
    cr_expect(strstr(rayi_error_last_public()->message, "cannot reach head at h:1: "));
    cr_expect_eq(one.times, 0);
}

/* ---- rubbish ---- */

static void put(rayi_writer *writer, uint64_t id, int64_t r)
{
    rayi_writer_init(writer);
    rayi_put_u64(writer, id);
    rayi_put_i64(writer, r);
}

static void reject(rayi_writer *writer, const char *what)
{
    rayi_reader reader = rayi_reader_of(writer->data, writer->size);

    cr_expect_not(rayi_asks_answered(ends[ASKS].other, &reader), "%s", what);
    rayi_writer_fini(writer);
}

TEST_AROUND(asks, answers_that_cannot_be, setup, teardown)
{
    static outcome one = {0};
    rayi_error *error = rayi_error_plain(RAY_ERR_EXISTS);
    rayi_writer writer;

    cr_assert_eq(ask(&one, "one", 1000), 0);
    rayi_writer_init(&writer);
    reject(&writer, "nothing");
    put(&writer, 1, 0);
    writer.size -= 3;
    reject(&writer, "cut");
    put(&writer, 2, 0);
    rayi_put_u8(&writer, 0);
    reject(&writer, "a question that was not asked");
    put(&writer, 1, 1);
    rayi_put_u8(&writer, 0);
    reject(&writer, "neither success nor failure");
    put(&writer, 1, 0);
    reject(&writer, "it does not say whether there is a record");
    put(&writer, 1, 0);
    rayi_put_u8(&writer, 2);
    reject(&writer, "two records");
    put(&writer, 1, 0);
    rayi_put_u8(&writer, 1);
    reject(&writer, "no record");
    for (uint8_t form = 0; form < 20; form++) {
        put(&writer, 1, 0);
        rayi_put_u8(&writer, 1);
        rayi_put_u8(&writer, form);
        rayi_put_u64(&writer, RAYI_YOURS | 77);
        reject(&writer, "a record of no ref that we have given");
        put(&writer, 1, RAY_ERR_EXISTS);
        rayi_put_u8(&writer, form);
        reject(&writer, "no error");
    }
    put(&writer, 1, RAY_ERR_EXISTS);
    rayi_exchange_write_error(&writer, error);
    writer.size -= 1;
    reject(&writer, "an error that is cut");
    rayi_error_unref(error);
    cr_expect_eq(one.times, 0);
    cr_expect_eq(open_questions(), 1);
}

TEST_AROUND(asks, questions_that_cannot_be, setup, teardown)
{
    rayi_neighbour *n = ends[ANSWERS].other;
    unsigned char bytes[64] = {1};
    rayi_reader reader;

    for (size_t size = 0; size < 10; size++) { /* u64 id, u8 op, u8 has a record */
        reader = rayi_reader_of(bytes, size);
        cr_expect_not(rayi_asks_serve(n, &reader), "%zu bytes", size);
    }
    for (unsigned has = 1; has < 256; has++) {
        bytes[9] = (unsigned char)has;
        bytes[10] = RAYI_FORM_REF;
        bytes[18] = 0x80; /* a ref of ours, that we have not given */
        reader = rayi_reader_of(bytes, 19);
        cr_expect_not(rayi_asks_serve(n, &reader), "%u", has);
    }
    bytes[9] = 0;
    n->unanswered = RAYI_ASKS_MOST;
    reader = rayi_reader_of(bytes, 10);
    cr_expect_not(rayi_asks_serve(n, &reader));
    cr_expect_eq(ends[ANSWERS].questions, 0);
    n->unanswered = 0;
    reader = rayi_reader_of(bytes, 10);
    cr_expect(rayi_asks_serve(n, &reader));
    cr_expect_eq(ends[ANSWERS].questions, 1);
    answer("");
}

/* ---- what an observer takes for an answer: no record, whatever a head says ---- */

Test(asks, no_records_for_observers)
{
    rayi_asks asks = {0};
    static outcome one = {0};
    uint64_t id = rayi_asks_add(&asks, 1, 1000, answered, &one);
    rayi_error *error = rayi_error_plain(RAY_ERR_SHUTDOWN);
    rayi_writer writer;
    rayi_reader reader;

    cr_assert_neq(id, 0);
    cr_expect_eq(rayi_asks_add(&asks, 1, 1000, answered, &one), 0);
    put(&writer, id, 0);
    rayi_put_u8(&writer, 1);
    rayi_put_u8(&writer, RAYI_FORM_REF);
    rayi_put_u64(&writer, 1);
    reader = rayi_reader_of(writer.data, writer.size);
    cr_expect_not(rayi_asks_take(&asks, NULL, NULL, &reader));
    rayi_writer_fini(&writer);
    rayi_asks_forget(&asks);
    cr_expect_eq(one.times, 0);
    rayi_asks_end(&asks, error);
    rayi_error_unref(error);
    cr_expect(one.times == 1 && one.code == RAY_ERR_SHUTDOWN && !asks.all);
}
