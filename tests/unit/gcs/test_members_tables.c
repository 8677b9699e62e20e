/* Tables on the wire: copies that lag, lose and repeat become equal; what is malformed changes nothing; messages. And
 * random events on the head's table against a small account of its own. */
#include "../around.h"
#include "gcs/roster.h"
#include "nodes.h"

typedef struct world {
    counted heap;
    rayi_members *members;
    rayi_roster copy;
    int64_t now_ms;
} world;

static world w;

static void setup(void)
{
    rayi_members_options options = {.cluster = our_cluster, .generation = 1, .unsaved = true, .dead_most = 5};
    counted_init(&w.heap);
    w.now_ms = 1000;
    cr_assert_eq(rayi_members_new(&w.heap.memory, &options, w.now_ms, &w.members), 0);
    rayi_roster_init(&w.copy, &w.heap.memory, sizeof(rayi_row));
}

static void teardown(void)
{
    rayi_members_free(w.members);
    rayi_roster_fini(&w.copy);
    cr_assert_eq(w.heap.live, 0);
}

static void join_as(uint32_t number, uint64_t life)
{
    rayi_members_reply reply;
    rayi_member node = node_of(number);
    node.life = life;
    rayi_member_message message = join_of(&node, 500);
    cr_assert_eq(rayi_members_serve(w.members, &node.id, &message, w.now_ms, &reply), 0);
}

static int take(rayi_roster *copy, const rayi_writer *from)
{
    rayi_table table;
    int r = rayi_table_open(from->data, from->size, &table);
    return r ? r : rayi_table_apply(copy, &table);
}

static void pull(rayi_roster *copy, uint32_t rows)
{
    rayi_writer writer;
    rayi_writer_init(&writer);
    rayi_members_since(w.members, copy->version, &writer);
    cr_assert_eq(take(copy, &writer), 0);
    cr_assert_eq(copy->count, rows);
    rayi_writer_fini(&writer);
}

static void expect_equal(const rayi_roster *a, const rayi_roster *b)
{
    rayi_text one, other;
    tell_roster(a, &one);
    tell_roster(b, &other);
    cr_assert_str_eq(one.data, other.data, "%s---\n%s", one.data, other.data);
    rayi_text_fini(&one);
    rayi_text_fini(&other);
}

/* ---- copies ---- */

TEST_AROUND(tables, a_copy_follows, setup, teardown)
{
    rayi_node_id two = id_of(2);
    for (uint32_t i = 1; i <= 5; i++)
        join_as(i, 1);
    pull(&w.copy, 5);
    expect_equal(&w.copy, rayi_members_roster(w.members));
    cr_expect_eq(w.copy.version, rayi_members_version(w.members));
    rayi_members_link_closed(w.members, &two, 2, w.now_ms);
    pull(&w.copy, 5);
    expect_equal(&w.copy, rayi_members_roster(w.members));
    rayi_members_process_gone(w.members, &two, 2, w.now_ms);
    join_as(2, 2); /* the copy never sees it dead */
    join_as(6, 1);
    pull(&w.copy, 6);
    expect_equal(&w.copy, rayi_members_roster(w.members));
    pull(&w.copy, 6); /* nothing */
    expect_equal(&w.copy, rayi_members_roster(w.members));
}

static void die_and_be_forgotten(uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        rayi_node_id id = id_of(i);
        join_as(i, 1);
        rayi_members_process_gone(w.members, &id, rayi_roster_get(rayi_members_roster(w.members), &id)->incarnation,
                                  w.now_ms);
        for (rayi_members_action a; rayi_members_next(w.members, w.now_ms, &a);)
            ;
        rayi_members_tick(w.members, w.now_ms);
    }
}

TEST_AROUND(tables, who_lags_behind_what_is_remembered_gets_the_whole, setup, teardown)
{
    rayi_writer writer;
    rayi_table table;
    join_as(1, 1);
    die_and_be_forgotten(100, 10);
    pull(&w.copy, 6);
    die_and_be_forgotten(200, 20); /* all that the copy has as dead is gone */
    rayi_writer_init(&writer);
    rayi_members_since(w.members, w.copy.version, &writer);
    cr_assert_eq(rayi_table_open(writer.data, writer.size, &table), 0);
    cr_expect_not(table.whole);
    cr_expect_eq(take(&w.copy, &writer), 0);
    rayi_writer_fini(&writer);
    expect_equal(&w.copy, rayi_members_roster(w.members));
    die_and_be_forgotten(300, RAYI_ROSTER_GONE_MOST + 20);
    rayi_members_since(w.members, w.copy.version, &writer);
    cr_assert_eq(rayi_table_open(writer.data, writer.size, &table), 0);
    cr_expect(table.whole);
    cr_expect_eq(take(&w.copy, &writer), 0);
    rayi_writer_fini(&writer);
    expect_equal(&w.copy, rayi_members_roster(w.members));
}

/* What has changed softly after a fixed change that a copy may not know of. */
Test(tables, a_copy_behind_what_may_be_told)
{
    rayi_members_options options = {.cluster = our_cluster, .generation = 1};
    rayi_node_id one = id_of(1);
    rayi_writer journal;
    w.now_ms = 1000;
    counted_init(&w.heap);
    cr_assert_eq(rayi_members_new(&w.heap.memory, &options, w.now_ms, &w.members), 0);
    rayi_roster_init(&w.copy, &w.heap.memory, sizeof(rayi_row));
    rayi_writer_init(&journal);
    join_as(1, 1);
    rayi_members_saved(w.members, rayi_members_journal(w.members, false, &journal));
    join_as(2, 1);                                          /* not saved: what is told ends before it, */
    rayi_members_link_closed(w.members, &one, 1, w.now_ms); /* and before this */
    pull(&w.copy, 1);
    cr_expect_eq(rayi_roster_get(&w.copy, &one)->state, RAYI_NODE_SUSPECT);
    rayi_members_drain(w.members, &one, w.now_ms);
    w.copy.version = 0; /* another, that asks for everything: the row is not dropped */
    pull(&w.copy, 1);
    cr_expect_eq(rayi_roster_get(&w.copy, &one)->flags, 0);
    rayi_members_saved(w.members, rayi_members_journal(w.members, false, &journal));
    pull(&w.copy, 2);
    expect_equal(&w.copy, rayi_members_roster(w.members));
    rayi_writer_fini(&journal);
    teardown();
}

TEST_AROUND(tables, a_long_publication_says_only_that_it_is_there, setup, teardown)
{
    rayi_writer writer;
    rayi_table table;
    for (uint32_t i = 1; i <= 100; i++)
        join_as(i, 1);
    rayi_writer_init(&writer);
    rayi_members_publish(w.members, 8000, &writer);
    cr_expect_lt(writer.size, 100);
    cr_assert_eq(rayi_table_open(writer.data, writer.size, &table), 0);
    cr_expect_eq(table.from, rayi_members_version(w.members));
    rayi_writer_fini(&writer);
    join_as(101, 1);
    rayi_members_publish(w.members, 8000, &writer);
    cr_assert_eq(rayi_table_open(writer.data, writer.size, &table), 0);
    cr_expect_lt(table.from, table.to);
    rayi_writer_fini(&writer);
}

/* ---- what is malformed ---- */

TEST_AROUND(tables, malformed, setup, teardown)
{
    rayi_writer good, bad;
    rayi_text before;
    for (uint32_t i = 1; i <= 3; i++)
        join_as(i, 1);
    pull(&w.copy, 3);
    join_as(4, 1);
    rayi_node_id two = id_of(2);
    rayi_members_link_closed(w.members, &two, 2, w.now_ms);
    tell_roster(&w.copy, &before);
    rayi_writer_init(&good);
    rayi_members_since(w.members, w.copy.version, &good);
    for (size_t size = 0; size <= good.size; size++) { /* cut short, or longer by one */
        rayi_text after;
        rayi_writer_init(&bad);
        rayi_put_bytes(&bad, good.data, size);
        if (size == good.size)
            rayi_put_u8(&bad, 0);
        cr_assert_eq(take(&w.copy, &bad), RAY_ERR_ARGUMENT);
        tell_roster(&w.copy, &after);
        cr_assert_str_eq(after.data, before.data);
        rayi_text_fini(&after);
        rayi_writer_fini(&bad);
    }
    rayi_writer_fini(&good);
    rayi_text_fini(&before);
}

/* A table of rows as they are given. */
static void write_rows(rayi_writer *writer, const rayi_member *rows, uint32_t count, uint64_t incarnations)
{
    rayi_put_u8(writer, RAYI_MEMBER_TABLE);
    rayi_put_bytes(writer, &our_cluster, sizeof our_cluster);
    rayi_put_u64(writer, 1);
    rayi_put_u64(writer, w.copy.version);
    rayi_put_u64(writer, w.copy.version + 1);
    rayi_put_u64(writer, incarnations);
    rayi_put_u8(writer, 0);
    rayi_put_u32(writer, count);
    for (uint32_t i = 0; i < count; i++) {
        rayi_put_u8(writer, 0);
        rayi_member_put(writer, &rows[i]);
    }
    rayi_put_u32(writer, 0);
}

static int take_rows(const rayi_member *rows, uint32_t count, uint64_t incarnations)
{
    rayi_writer writer;
    rayi_writer_init(&writer);
    write_rows(&writer, rows, count, incarnations);
    int r = take(&w.copy, &writer);
    rayi_writer_fini(&writer);
    return r;
}

TEST_AROUND(tables, rows_that_cannot_be, setup, teardown)
{
    rayi_member rows[2] = {node_of(1), node_of(2)}, good;
    rows[0].incarnation = 5;
    rows[1].incarnation = 6;
    cr_expect_eq(take_rows(rows, 2, 6), 0);
    cr_expect_eq(take_rows(rows, 2, 5), RAY_ERR_ARGUMENT);
    good = rows[1];
    rows[1] = rows[0];
    cr_expect_eq(take_rows(rows, 2, 6), RAY_ERR_ARGUMENT, "twice the same id");
    rows[1] = good;
    rows[1].incarnation = 4;
    cr_expect_eq(take_rows(rows, 2, 6), RAY_ERR_ARGUMENT, "an earlier incarnation");
#define BAD(change)                                                                                                    \
    do {                                                                                                               \
        rows[1] = good;                                                                                                \
        rows[1].change;                                                                                                \
        cr_expect_eq(take_rows(rows, 2, 6), RAY_ERR_ARGUMENT, #change);                                                \
    } while (0)
    static const rayi_member_resource disordered[] = {{"b", 1, 1}, {"a", 1, 1}}, doubled[] = {{"a", 1, 1}, {"a", 1, 1}},
                                      none[] = {{"a", 0, 0}}, more[] = {{"a", 1, 2}}, nameless[] = {{"", 1, 1}},
                                      large[] = {{"a", INT64_MAX, 1}};
    static char long_text[RAYI_MEMBER_LABELS_MAX + 2];
    memset(long_text, 'x', sizeof long_text - 1);
    BAD(incarnation = 0);
    BAD(life = 0);
    BAD(flags = 8);
    BAD(state = RAYI_NODE_DEAD);
    BAD(cause = RAYI_DEATH_LEFT);
    BAD(state = (rayi_node_state)3);
    BAD(address = "");
    BAD(address = long_text);
    BAD(labels = NULL);
    BAD(labels = long_text);
    BAD(resources = none);
    BAD(resources = more);
    BAD(resources = nameless);
    BAD(resources = large);
    good.resource_count = 2;
    BAD(resources = disordered);
    BAD(resources = doubled);
    cr_expect_eq(w.copy.count, 2);
}

/* A death that came by session is not undone by a table that was written before it. */
TEST_AROUND(tables, death_is_final, setup, teardown)
{
    rayi_member row = node_of(1);
    row.incarnation = 5;
    cr_expect_eq(take_rows(&row, 1, 5), 0);
    rayi_roster_find(&w.copy, &row.id)->member->state = RAYI_NODE_DEAD;
    rayi_roster_find(&w.copy, &row.id)->member->cause = RAYI_DEATH_GONE;
    row.load = 3;
    cr_expect_eq(take_rows(&row, 1, 5), 0);
    cr_expect_eq(rayi_roster_get(&w.copy, &row.id)->state, RAYI_NODE_DEAD);
    cr_expect_eq(rayi_roster_get(&w.copy, &row.id)->load, 3);
    row.incarnation = 6;
    cr_expect_eq(take_rows(&row, 1, 6), 0);
    cr_expect_eq(rayi_roster_get(&w.copy, &row.id)->state, RAYI_NODE_ALIVE);
}

/* ---- messages ---- */

static void put_and_take(const rayi_member_message *message, rayi_member_message *out, rayi_writer *writer)
{
    rayi_writer_init(writer);
    rayi_member_message_put(writer, message);
    cr_assert_eq(rayi_member_message_take(writer->data, writer->size, out), 0);
    cr_assert_eq(out->what, message->what);
    for (size_t size = 0; size < writer->size; size++) {
        static rayi_member_message cut;
        char *copy = malloc(size + 1);
        memcpy(copy, writer->data, size);
        cr_assert_eq(rayi_member_message_take(copy, size, &cut), RAY_ERR_ARGUMENT);
        free(copy);
    }
}

Test(tables, messages)
{
    static rayi_member_message m, out;
    rayi_writer writer;
    rayi_text one, other;
    rayi_member node = node_of(3);
    node.load = 9;
    node.resource_count = 2;
    m = join_of(&node, -5);
    m.as.join.cluster = our_cluster;
    m.as.join.generation = 4;
    put_and_take(&m, &out, &writer);
    cr_expect_eq(out.as.join.asked_ms, -5);
    cr_expect_eq(out.as.join.generation, 4);
    rayi_text_init(&one, rayi_heap), rayi_text_init(&other, rayi_heap);
    tell_member(&one, &node), tell_member(&other, &out.as.join.node);
    cr_expect_str_eq(one.data, other.data);
    rayi_text_fini(&one), rayi_text_fini(&other);
    rayi_writer_fini(&writer);
    rayi_member_message others[] = {
        {.what = RAYI_MEMBER_RENEW, .as.renew = {7, 8}},
        {.what = RAYI_MEMBER_TELL, .as.tell = {7, 8, 2, {1, -2}}},
        {.what = RAYI_MEMBER_BEAT, .as.incarnation = 7},
        {.what = RAYI_MEMBER_LEAVE, .as.incarnation = 7},
        {.what = RAYI_MEMBER_PULL, .as.since = 7},
        {.what = RAYI_MEMBER_DEATH, .as.death = {id_of(4), 7, RAYI_DEATH_LEFT}},
        {.what = RAYI_MEMBER_ANSWER,
         .as.answer = {RAYI_VERDICT_ACCEPTED, RAYI_REFUSAL_NONE, our_cluster, 2, 3, 4, 5, 6, 7, RAYI_MEMBER_DRAINED}},
    };
    for (size_t i = 0; i < RAYI_COUNT_OF(others); i++) {
        put_and_take(&others[i], &out, &writer);
        cr_expect_eq(memcmp(&out.as.renew, &others[i].as.renew, sizeof out.as.renew), 0);
        rayi_writer_fini(&writer);
    }
    cr_expect_eq(out.as.answer.version, 6);
    cr_expect_eq(out.as.answer.flags, RAYI_MEMBER_DRAINED);
}

/* Of another version of the protocol only that is understood. */
Test(tables, other_versions)
{
    static rayi_member_message out;
    const uint8_t join[] = {RAYI_MEMBER_JOIN, 99, 0, 0, 0, 1, 2, 3};
    const uint8_t answer[] = {RAYI_MEMBER_ANSWER, RAYI_VERDICT_REFUSED, RAYI_REFUSAL_VERSION, 42};
    cr_expect_eq(rayi_member_message_take(join, sizeof join, &out), 0);
    cr_expect_eq(out.as.join.protocol, 99);
    cr_expect_eq(rayi_member_message_take(answer, sizeof answer, &out), 0);
    cr_expect_eq(out.as.answer.refusal, RAYI_REFUSAL_VERSION);
}

/* ---- random events ---- */

enum { NODES = 12, COPIES = 3 };

/* What the table should say of a node. */
typedef struct account {
    bool known, live, closed;
    uint64_t life, incarnation, next_life;
    int64_t heard_ms;
    uint32_t load;
} account;

typedef struct model {
    world w;
    uint64_t seed, last_incarnation;
    account nodes[NODES];
    rayi_roster copies[COPIES];
    uint64_t deaths, failures;
} model;

static int serve(model *m, uint32_t number, const rayi_member_message *message, rayi_members_reply *reply)
{
    rayi_node_id id = id_of(number);
    rayi_text before, after;
    tell_roster(rayi_members_roster(m->w.members), &before);
    counted_fail(&m->w.heap, roll(&m->seed, 3) ? 0 : 1 + roll(&m->seed, 4));
    int r = rayi_members_serve(m->w.members, &id, message, m->w.now_ms, reply);
    counted_fail(&m->w.heap, 0);
    if (r) {
        cr_assert_eq(r, RAY_ERR_NO_MEMORY);
        tell_roster(rayi_members_roster(m->w.members), &after);
        cr_assert_str_eq(after.data, before.data);
        rayi_text_fini(&after);
        m->failures++;
    }
    rayi_text_fini(&before);
    return r;
}

static void heard(model *m, account *a)
{
    a->heard_ms = m->w.now_ms;
}

static void do_join(model *m, uint32_t number)
{
    account *a = &m->nodes[number];
    rayi_member node = node_of(number);
    rayi_members_reply reply;
    bool same = a->known && roll(&m->seed, 2);
    bool is_remembered = rayi_roster_get(rayi_members_roster(m->w.members), &node.id);
    node.life = same ? a->life : ++a->next_life + 10;
    node.incarnation = same && roll(&m->seed, 2) ? a->incarnation : 0;
    node.address = roll(&m->seed, 4) ? "host:1" : "host:2";
    rayi_member_message message = join_of(&node, 1);
    if (serve(m, number, &message, &reply))
        return;
    if (same && (a->live || node.incarnation || is_remembered)) {
        cr_assert_eq(reply.answer.verdict, a->live ? RAYI_VERDICT_ACCEPTED : RAYI_VERDICT_FENCED);
    } else if (a->live) {
        cr_assert_eq(reply.answer.refusal, RAYI_REFUSAL_ALIVE);
        return;
    } else {
        cr_assert_eq(reply.answer.verdict, RAYI_VERDICT_ACCEPTED);
        cr_assert_eq(reply.answer.incarnation, ++m->last_incarnation);
        *a = (account){.known = true,
                       .live = true,
                       .life = node.life,
                       .incarnation = m->last_incarnation,
                       .next_life = a->next_life};
    }
    if (!a->live)
        return;
    a->closed = false;
    a->load = 0;
    heard(m, a);
}

static void do_message(model *m, uint32_t number)
{
    static const rayi_member_what whats[] = {RAYI_MEMBER_RENEW, RAYI_MEMBER_TELL, RAYI_MEMBER_BEAT, RAYI_MEMBER_LEAVE};
    account *a = &m->nodes[number];
    rayi_members_reply reply;
    bool late = roll(&m->seed, 5) == 0; /* of an earlier incarnation */
    uint32_t load = roll(&m->seed, 3);
    rayi_member_message message = {.what = whats[roll(&m->seed, roll(&m->seed, 8) ? 3 : 4)]};
    message.as.incarnation = a->incarnation - late; /* the first member of all of them */
    if (message.what == RAYI_MEMBER_TELL) {
        message.as.tell.load = load;
        message.as.tell.count = 1 + number % 2;
    }
    if (serve(m, number, &message, &reply))
        return;
    bool live = a->live && !late;
    cr_assert_eq(reply.answers, !live || message.what == RAYI_MEMBER_RENEW);
    if (reply.answers)
        cr_assert_eq(reply.answer.verdict, live ? RAYI_VERDICT_GRANTED : RAYI_VERDICT_FENCED);
    if (!live)
        return;
    if (message.what == RAYI_MEMBER_LEAVE) {
        a->live = false;
        return;
    }
    heard(m, a);
    a->closed = false;
    if (message.what == RAYI_MEMBER_TELL)
        a->load = load;
}

static void do_sight(model *m, uint32_t number)
{
    account *a = &m->nodes[number];
    rayi_node_id id = id_of(number);
    bool late = roll(&m->seed, 5) == 0;
    if (roll(&m->seed, 4) == 0) {
        rayi_members_process_gone(m->w.members, &id, a->incarnation - late, m->w.now_ms);
        a->live &= late;
        return;
    }
    rayi_members_link_closed(m->w.members, &id, a->incarnation - late, m->w.now_ms);
    a->closed |= a->live && !late;
}

static void do_time(model *m)
{
    for (int64_t end = m->w.now_ms + roll(&m->seed, 3000); m->w.now_ms < end;) {
        m->w.now_ms += 1 + roll(&m->seed, 200);
        rayi_members_tick(m->w.members, m->w.now_ms);
        for (uint32_t i = 0; i < NODES; i++)
            m->nodes[i].live &= m->w.now_ms - m->nodes[i].heard_ms < RAYI_DEAD_MS;
    }
}

static void check(model *m)
{
    for (uint32_t i = 0; i < NODES; i++) {
        const account *a = &m->nodes[i];
        rayi_node_id id = id_of(i);
        const rayi_member *row = rayi_roster_get(rayi_members_roster(m->w.members), &id);
        if (!row) {
            cr_assert_not(a->live); /* the dead may be forgotten */
            continue;
        }
        bool late = a->closed || m->w.now_ms - a->heard_ms >= RAYI_SUSPECT_MS;
        cr_assert_eq(row->incarnation, a->incarnation);
        cr_assert_eq(row->state != RAYI_NODE_DEAD, a->live);
        if (a->live && (a->closed || !late))
            cr_assert_eq(row->state, late ? RAYI_NODE_SUSPECT : RAYI_NODE_ALIVE);
        cr_assert_eq(row->load, a->live ? a->load : 0);
    }
}

/* One copy pulls, in whatever memory there is. */
static void do_pull(model *m, rayi_roster *copy)
{
    rayi_writer writer;
    rayi_text before, after;
    rayi_writer_init(&writer);
    rayi_members_since(m->w.members, copy->version, &writer);
    tell_roster(copy, &before);
    counted_fail(&m->w.heap, roll(&m->seed, 2) ? 0 : 1 + roll(&m->seed, 12));
    int r = take(copy, &writer);
    counted_fail(&m->w.heap, 0);
    if (r) {
        cr_assert_eq(r, RAY_ERR_NO_MEMORY);
        tell_roster(copy, &after);
        cr_assert_str_eq(after.data, before.data);
        rayi_text_fini(&after);
        m->failures++;
    } else {
        expect_equal(copy, rayi_members_roster(m->w.members));
    }
    rayi_text_fini(&before);
    rayi_writer_fini(&writer);
}

static void do_actions(model *m)
{
    rayi_members_action a;
    while (rayi_members_next(m->w.members, m->w.now_ms, &a)) {
        if (a.what != RAYI_MEMBERS_DEATH)
            continue;
        const account *dead = &m->nodes[number_of(&a.id)];
        cr_assert(a.incarnation < dead->incarnation || !dead->live);
        m->deaths++;
    }
}

static void play(uint64_t seed, uint64_t *deaths, uint64_t *failures)
{
    static model m;
    memset(&m, 0, sizeof m);
    m.seed = seed;
    m.w.now_ms = 1000;
    counted_init(&m.w.heap);
    rayi_members_options options = {.cluster = our_cluster, .generation = 1, .unsaved = true, .dead_most = 3};
    cr_assert_eq(rayi_members_new(&m.w.heap.memory, &options, m.w.now_ms, &m.w.members), 0);
    for (int i = 0; i < COPIES; i++)
        rayi_roster_init(&m.copies[i], &m.w.heap.memory, sizeof(rayi_row));
    for (int i = 0; i < 1500; i++) {
        uint32_t what = roll(&m.seed, 100), number = roll(&m.seed, NODES);
        if (what < 25)
            do_join(&m, number);
        else if (what < 75)
            do_message(&m, number);
        else if (what < 80)
            do_sight(&m, number);
        else if (what < 90)
            do_time(&m);
        else if (what < 95)
            do_pull(&m, &m.copies[roll(&m.seed, COPIES)]);
        else
            do_actions(&m);
        check(&m);
    }
    rayi_members_free(m.w.members);
    for (int i = 0; i < COPIES; i++)
        rayi_roster_fini(&m.copies[i]);
    cr_assert_eq(m.w.heap.live, 0);
    *deaths += m.deaths;
    *failures += m.failures;
}

Test(tables, random_events, .timeout = 600)
{
    const char *given = getenv("RAY_TEST_SEED"), *many = getenv("RAY_TEST_ROUNDS");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, rounds = many ? strtoull(many, NULL, 0) : 100;
    uint64_t deaths = 0, failures = 0;
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        fprintf(stderr, "\rseed %" PRIu64 " ", seed);
        play(seed, &deaths, &failures);
    }
    fprintf(stderr, "\r%" PRIu64 " deaths, %" PRIu64 " calls without memory\n", deaths, failures);
    cr_assert_gt(deaths, rounds * 10);
    cr_assert_gt(failures, rounds * 10);
}
