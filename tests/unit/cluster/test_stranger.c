/* What a node that has joined says to a real head: what is answered, and what becomes of one that says rubbish. */
#include "stranger.h"

#include "../around.h"
#include <ray/ray.h>

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

static RAY_REMOTE(int64_t, same, (int64_t, n))
{
    return n;
}

static RAY_REMOTE(int64_t, twice_there, (int64_t, x))
{
    return 2 * x;
}

static void begin(void)
{
    stranger_watch();
    cr_assert(stranger_start());
    cr_assert(stranger_join(false));
}

static void end(void)
{
    cr_expect_eq(stranger_stop(), 0);
}

static void say(rayi_frame_kind kind, rayi_writer *writer)
{
    cr_assert_not(writer->failed);
    stranger_say(kind, writer->data, writer->size);
    rayi_writer_fini(writer);
    stranger_settle();
}

/* ---- handles ---- */

static void lend(void *actor)
{
    cr_assert_neq(rayi_handles_give(stranger(), actor), 0);
}

static void count_hosted(void *count)
{
    *(unsigned *)count = HASH_COUNT(stranger()->hosted);
}

/* Who has a handle asks its owner when the actor is ready, which counts as a request at both ends. */
TEST_AROUND(stranger, asks_when_an_actor_is_ready, begin, end)
{
    ray_actor *actor = ray_actor_new(cell, 1);
    unsigned left = 1;
    rayi_writer writer;

    stranger_on_loop(lend, actor);
    for (uint64_t id = 1; id <= 3 * RAYI_PEER_FIRST_CREDIT; id++) {
        rayi_writer_init(&writer);
        rayi_put_u8(&writer, RAYI_BETWEEN_HANDLE_READY);
        rayi_put_u64(&writer, rayi_actor_number(actor));
        rayi_put_u64(&writer, id);
        say(RAYI_FRAME_REQUEST, &writer);
    }
    STRANGER_AWAIT((stranger_on_loop(count_hosted, &left), left == 0));
    cr_expect_eq(left, 0);
    cr_expect_eq(stranger_rubbish(), 0);
    ray_actor_release(actor);
}

/* ---- refs ---- */

static void give(void *ref)
{
    cr_assert_neq(rayi_names_give(stranger(), ref, true), 0);
}

static void await_completes(unsigned count)
{
    STRANGER_AWAIT(stranger_heard(RAYI_BETWEEN_COMPLETE) >= count);
    stranger_settle();
    cr_assert_eq(stranger_heard(RAYI_BETWEEN_COMPLETE), count);
}

/* The first stand-in may be gone there, and the word that it is only on its way: then the second one would wait for
 * ever. */
TEST_AROUND(stranger, hears_each_time_that_a_ref_is_done, begin, end)
{
    ray_ref *ref = ray_put("abc", 3);

    stranger_on_loop(give, ref);
    await_completes(1);
    stranger_on_loop(give, ref);
    await_completes(2);
    ray_release(ref);
}

/* ---- code that travels ---- */

/* As what is here by that name is, but of a name that nothing here has. */
static void put_unknown(rayi_writer *writer)
{
    rayi_code_put_function(writer, rayi_function_find(stranger_node()->executor, "cell.add"));
    memcpy(memmem(writer->data, writer->size, "cell.add", 8), "full", 4);
}

/* A library of these bytes, by that hash, with one function. */
static void tell_code(const char *hash, const char *bytes, size_t size)
{
    rayi_record *object = ray_put(bytes, size);
    rayi_result content = rayi_record_content(object);
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u8(&writer, RAYI_BETWEEN_CODE);
    rayi_put_bytes(&writer, hash, RAYI_CODE_HASH_SIZE);
    rayi_put_bytes(&writer, &(rayi_node_id){.bytes = {7}}, sizeof(rayi_node_id));
    rayi_put_text(&writer, "lib.so");
    rayi_put_u32(&writer, 1);
    put_unknown(&writer);
    cr_assert_eq(rayi_exchange_write(NULL, rayi_self, &writer, &content, false), 0);
    say(RAYI_FRAME_MESSAGE, &writer);
    ray_release(object);
}

static void open_session(void *arg)
{
    (void)arg;
    cr_assert_eq(rayi_node_open_session(stranger_node()), 0);
}

/* What comes is what was said, or it is not written. */
TEST_AROUND(stranger, brings_code_of_that_hash_only, begin, end)
{
    char hash[RAYI_CODE_HASH_SIZE], path[300] = "", got[8] = "";
    rayi_code *code;
    FILE *file;

    stranger_on_loop(open_session, NULL);
    cr_assert_eq(rayi_hash("right", 5, hash), 0);
    tell_code(hash, "wrong", 5);
    code = rayi_code_find(stranger_node()->executor, hash);
    cr_assert(code);
    cr_expect_eq(rayi_code_bring(stranger_node(), rayi_self, code, path, sizeof path), RAY_ERR_CORRUPT);
    cr_expect(!code->file);
    cr_assert_eq(rayi_hash("again", 5, hash), 0);
    tell_code(hash, "again", 5);
    code = rayi_code_find(stranger_node()->executor, hash);
    cr_assert_eq(rayi_code_bring(stranger_node(), rayi_self, code, path, sizeof path), 0);
    file = fopen(path, "re");
    cr_assert(file && fread(got, 1, sizeof got, file) == 5 && strcmp(got, "again") == 0);
    fclose(file);
    cr_expect_eq(stranger_rubbish(), 0);
}

/* A function of code that is told is known by name, with its types, to what comes from there. */
TEST_AROUND(stranger, knows_the_functions_of_code, begin, end)
{
    rayi_executor *executor = stranger_node()->executor;
    char hash[RAYI_CODE_HASH_SIZE];
    rayi_function *own = rayi_function_find(executor, "cell.add");
    rayi_reader reader;
    rayi_writer writer;
    rayi_code *code;
    rayi_text is, was;

    cr_assert_eq(rayi_hash("x", 1, hash), 0);
    code = rayi_code_enter(executor, hash, "lib.so");
    rayi_writer_init(&writer);
    put_unknown(&writer);
    reader = rayi_reader_of(writer.data, writer.size);
    cr_assert(rayi_code_take_function(executor, code, &reader));
    cr_expect_eq(rayi_reader_left(&reader), 0);
    rayi_writer_fini(&writer);
    cr_expect_eq(rayi_code_function(executor, code, "cell.add"), own);
    rayi_function *foreign = rayi_code_function(executor, code, "full.add");
    cr_assert(foreign && rayi_function_is_foreign(foreign) && rayi_function_code(foreign) == code);
    cr_expect_eq(rayi_function_isolation(foreign), RAY_ISOLATION_PROCESS);
    cr_expect(!rayi_code_function(executor, code, "nobody's"));
    rayi_text_init(&is, rayi_heap);
    rayi_text_init(&was, rayi_heap);
    rayi_function_describe(foreign, &is);
    rayi_function_describe(own, &was);
    cr_expect_str_eq(is.data, was.data);
    rayi_text_fini(&is);
    rayi_text_fini(&was);
}

/* ---- tasks ---- */

static void tell_function_as(uint32_t number, const char *name)
{
    rayi_function *function = rayi_function_find(stranger_node()->executor, name);
    rayi_text description;
    rayi_writer writer;

    rayi_text_init(&description, rayi_heap);
    rayi_function_describe(function, &description);
    rayi_writer_init(&writer);
    rayi_put_u8(&writer, RAYI_BETWEEN_FUNCTION);
    rayi_put_u32(&writer, number);
    rayi_put_text(&writer, name);
    rayi_put_text(&writer, description.data);
    rayi_text_fini(&description);
    say(RAYI_FRAME_MESSAGE, &writer);
}

static void tell_function(const char *name)
{
    tell_function_as(0, name);
}

static void tell_shape_as(uint32_t number, const char *resources)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_SHAPE);
    rayi_put_u32(&writer, number);
    rayi_put_text(&writer, resources);
    say(RAYI_FRAME_MESSAGE, &writer);
}

static void tell_shape(const char *resources)
{
    tell_shape_as(1, resources);
}

static void say_task(uint64_t id)
{
    rayi_between_task head = {.id = id, .num_args = 1, .shape = 1, .left_ms = INT64_MAX};
    rayi_result argument = {.kind = RAY_KIND_I64, .size = 8};
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_TASK);
    rayi_put_bytes(&writer, &head, sizeof head);
    cr_assert_eq(rayi_exchange_write(NULL, rayi_self, &writer, &argument, false), 0);
    say(RAYI_FRAME_REQUEST, &writer);
}

static void say_cancel(uint64_t id)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_CANCEL);
    rayi_put_u64(&writer, id);
    rayi_put_u32(&writer, 0);
    say(RAYI_FRAME_MESSAGE, &writer);
}

/* Under number 0, "full.add" of that code. */
static void tell_function_of(const char *hash)
{
    rayi_text description;
    rayi_writer writer;

    rayi_text_init(&description, rayi_heap);
    rayi_function_describe(rayi_function_find(stranger_node()->executor, "cell.add"), &description);
    rayi_between_begin(&writer, RAYI_BETWEEN_FUNCTION);
    rayi_put_u32(&writer, 0);
    rayi_put_text(&writer, "full.add");
    rayi_put_text(&writer, description.data);
    rayi_put_text(&writer, hash);
    rayi_text_fini(&description);
    say(RAYI_FRAME_MESSAGE, &writer);
}

/* Whoever names a function by a library that it cannot tell of any more is refused; until somebody tells of it. */
TEST_AROUND(stranger, hears_that_a_function_is_known_once_its_library_is, begin, end)
{
    char hash[RAYI_CODE_HASH_SIZE];

    cr_assert_eq(rayi_hash("late", 4, hash), 0);
    tell_function_of(hash);
    tell_shape("CPU=1");
    say_task(1);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_REFUSE), 1);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_KNOWN), 0);
    tell_code(hash, "late", 4);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_KNOWN), 1);
    tell_code(hash, "late", 4);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_KNOWN), 1);
    cr_expect_eq(stranger_rubbish(), 0);
}

static void tell_three(void *arg)
{
    rayi_neighbour *n = stranger();
    rayi_told *told[3];
    rayi_writer writer;

    (void)arg;
    for (int i = 0; i < 3; i++) {
        rayi_between_begin(&writer, RAYI_BETWEEN_RELEASE);
        told[i] = rayi_told_tell(n, &n->shapes, &n->num_shapes, &"abc"[i], &writer);
        rayi_writer_fini(&writer);
        cr_assert(told[i]);
    }
    rayi_told_forget(&n->shapes, told[1]->text); /* its own */
    cr_expect_eq(rayi_told_find(n->shapes, "abc"), told[0]);
    cr_expect(!rayi_told_find(n->shapes, "bc"));
    cr_expect_eq(rayi_told_find(n->shapes, "c"), told[2]);
}

TEST_AROUND(stranger, is_told_again_what_was_forgotten_alone, begin, end)
{
    stranger_on_loop(tell_three, NULL);
}

/* Who has sent it here has chosen this node: it waits for its resources, wherever else there are some. */
TEST_AROUND(stranger, finds_that_its_task_does_not_go_on_to_another_node, begin, end)
{
    unsigned hosted;

    tell_function("same");
    tell_shape("far=1"); /* which the stranger has itself */
    say_task(1);
    stranger_on_loop(count_hosted, &hosted);
    cr_expect_eq(hosted, 1);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_TASK), 0);
    say_cancel(1);
    STRANGER_AWAIT(stranger_heard(RAYI_BETWEEN_RESULT) > 0);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_RESULT), 1);
    cr_expect_eq(stranger_rubbish(), 0);
}

static void await_tasks(unsigned count)
{
    STRANGER_AWAIT(stranger_heard(RAYI_BETWEEN_TASK) >= count);
    stranger_settle();
    cr_assert_eq(stranger_heard(RAYI_BETWEEN_TASK), count);
}

/* Of what had no credit it is known that it has not started: it waits for the next node that could run it. */
TEST_AROUND(stranger, dies_and_what_was_not_sent_to_it_has_cost_no_try, begin, end)
{
    enum { SENT = RAYI_PEER_FIRST_CREDIT, TASKS = SENT + 4 };
    ray_ref *refs[TASKS];

    for (int i = 0; i < TASKS; i++)
        refs[i] = ray_remote_opts(
            RAY_WITH(ray_task_options, .resources = "CPU=0, far=0.25", .max_retries = RAY_NO_RETRIES), same, i);
    await_tasks(SENT);
    stranger_leave();
    for (int i = 0; i < SENT; i++)
        cr_expect_eq(ray_get(refs[i], NULL), RAY_ERR_NODE_DIED, "%s", ray_last_error()->message);
    for (int i = SENT; i < TASKS; i++)
        cr_expect_eq(ray_get_timeout(refs[i], 0, NULL), RAY_ERR_TIMEOUT, "%s", ray_last_error()->message);
    cr_assert(stranger_join(false));
    await_tasks(TASKS);
    stranger_leave();
    for (int i = 0; i < TASKS; i++)
        ray_release(refs[i]);
}

/* ---- without memory ---- */

static void say_actor_of(uint32_t function, uint64_t number, uint64_t part)
{
    rayi_between_actor head = {.function = function, .actor = number, .life = 1, .num_args = 1, .part = part};
    rayi_result argument = {.kind = RAY_KIND_I64, .size = 8};
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u8(&writer, RAYI_BETWEEN_ACTOR);
    rayi_put_bytes(&writer, &head, sizeof head);
    rayi_exchange_write_actor_options(NULL, &writer, &(ray_actor_options){.size = sizeof(ray_actor_options)});
    cr_assert_eq(rayi_exchange_write(NULL, rayi_self, &writer, &argument, false), 0);
    say(RAYI_FRAME_MESSAGE, &writer);
}

static void say_actor(uint64_t number, uint64_t part)
{
    say_actor_of(0, number, part);
}

static void say_end(uint64_t number)
{
    rayi_writer writer;

    rayi_writer_init(&writer);
    rayi_put_u8(&writer, RAYI_BETWEEN_ACTOR_END);
    rayi_put_u64(&writer, number);
    rayi_put_u32(&writer, 1);
    rayi_put_u8(&writer, 1);
    say(RAYI_FRAME_MESSAGE, &writer);
}

/* Whatever block is not given: who wants an actor to live here hears of its end. */
TEST_AROUND(stranger, hears_the_end_of_each_actor, begin, end)
{
    enum { ACTORS = 24 };
    unsigned gone = 0;

    tell_function("cell");
    for (uint64_t number = 1; number <= ACTORS; number++) {
        stranger_starve((long)number);
        say_actor(number, 0);
        stranger_starve(0);
        say_end(number);
    }
    STRANGER_AWAIT((gone = stranger_heard(RAYI_BETWEEN_ACTOR_GONE)) >= ACTORS);
    cr_expect_eq(gone, ACTORS, "%u", gone);
}

/* Its group may be elsewhere by now: that is its owner's to know, and no end of a life. */
TEST_AROUND(stranger, has_its_actor_back_whose_part_is_not_here, begin, end)
{
    tell_function("cell");
    say_actor(1, 99);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_ACTOR_REFUSE), 1);
    say_actor(1, 99); /* once more, as it may be sent again at once */
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_ACTOR_REFUSE), 2);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_ACTOR_GONE), 0);
}

/* What there is no memory for keeps its number, so that what is told after it is what it is called. */
TEST_AROUND(stranger, is_not_blamed_for_what_was_lost, begin, end)
{
    enum { TOLD = 32 };
    unsigned gone = 0;

    for (uint32_t i = 0; i < TOLD; i++) {
        stranger_starve(i % 4 + 1);
        tell_function_as(i, "cell");
        stranger_starve(i % 4 + 1);
        tell_shape_as(i + 1, "near=1");
        stranger_starve(0);
    }
    for (uint32_t i = 0; i < TOLD; i++) {
        say_actor_of(i, i + 1, 0);
        say_end(i + 1);
    }
    STRANGER_AWAIT((gone = stranger_heard(RAYI_BETWEEN_ACTOR_GONE)) >= TOLD);
    cr_expect_eq(gone, TOLD, "%u", gone);
    say_task(1);
    cr_expect_eq(stranger_rubbish(), 0);
    say_actor_of(TOLD, TOLD + 1, 0);
    cr_expect_eq(stranger_rubbish(), 1);
}

/* ---- rubbish ---- */

/* A link of the session with it that leads somewhere: to this very node. */
static void connect_to_self(void *arg)
{
    rayi_neighbour *n = stranger();
    rayi_connection *c;

    (void)arg;
    cr_assert_eq(rayi_connection_dial(n->cluster, rayi_cluster_own_address(n->cluster), "itself", 1000,
                                      RAYI_CONNECTION_TALK, &c),
                 0);
    c->neighbour = n;
    c->number = UINT32_MAX;
}

static void count_links(void *count)
{
    rayi_connection *c;

    *(unsigned *)count = 0;
    DL_FOREACH (stranger_node()->cluster->connections, c)
        *(unsigned *)count += c->kind == RAYI_CONNECTION_TALK;
}

/* A link that is left behind would outlive the neighbour that it names. */
TEST_AROUND(stranger, loses_its_links_for_rubbish, begin, end)
{
    unsigned links;

    stranger_on_loop(connect_to_self, NULL);
    stranger_on_loop(count_links, &links);
    cr_expect_eq(links, 1);
    stranger_say(RAYI_FRAME_MESSAGE, "?", 1);
    cr_expect_eq(stranger_rubbish(), 1);
    stranger_on_loop(count_links, &links);
    cr_expect_eq(links, 0);
    stranger_leave();
    rayi_nap_ms(50);
    stranger_settle();
}

/* What it tells is kept as long as it is there, so it is bounded in bytes, too. */
TEST_AROUND(stranger, tells_no_more_than_is_kept, begin, end)
{
    enum { SIZE = 1 << 20, MOST = RAYI_TOLD_BYTES_MOST / SIZE };
    char *long_one = malloc(SIZE + 1);
    rayi_writer writer;

    memset(long_one, 'x', SIZE);
    long_one[SIZE] = '\0';
    for (uint32_t i = 0; i < MOST; i++) {
        cr_expect_eq(stranger_rubbish(), 0);
        rayi_between_begin(&writer, RAYI_BETWEEN_FUNCTION);
        rayi_put_u32(&writer, i);
        rayi_put_text(&writer, "f");
        rayi_put_text(&writer, long_one);
        say(RAYI_FRAME_MESSAGE, &writer);
    }
    cr_expect_eq(stranger_rubbish(), 1);
    free(long_one);
}

static void is_broken(void *broken)
{
    *(bool *)broken = !stranger();
}

/* What it was to do fails, nothing is sent there any more, and nothing of its own goes on here. */
TEST_AROUND(stranger, is_broken_when_it_says_rubbish_twice, begin, end)
{
    const ray_task_options options = {.size = sizeof options, .resources = "far=1", .max_retries = RAY_NO_RETRIES};
    ray_ref *there = ray_remote_opts(&options, twice_there, 1), *later;
    bool broken = false;

    stranger_is_judged();
    STRANGER_AWAIT(stranger_heard(RAYI_BETWEEN_TASK) > 0);
    stranger_say(RAYI_FRAME_MESSAGE, "?", 1);
    stranger_on_loop(is_broken, &broken);
    cr_expect_not(broken);
    cr_expect_eq(ray_get_timeout(there, 0, NULL), RAY_ERR_TIMEOUT);
    stranger_say(RAYI_FRAME_MESSAGE, "?", 1);
    stranger_on_loop(is_broken, &broken);
    cr_expect(broken);
    cr_expect_eq(ray_get_timeout(there, 10000, NULL), RAY_ERR_NODE_DIED);
    cr_expect(strstr(ray_last_error()->message, "has sent what no node sends"), "%s", ray_last_error()->message);
    stranger_settle(); /* the table, which has it, is looked at again */
    later = ray_remote_opts(&options, twice_there, 1);
    stranger_settle();
    stranger_on_loop(is_broken, &broken);
    cr_expect(broken);
    cr_expect_eq(ray_get_timeout(later, 0, NULL), RAY_ERR_TIMEOUT);
    ray_release(later);
    ray_release(there);

    stranger_leave();
    cr_assert(stranger_join(false));
    stranger_on_loop(is_broken, &broken);
    cr_expect_not(broken);
}

TEST_AROUND(stranger, loses_its_links_with_its_life, begin, end)
{
    unsigned links;

    stranger_on_loop(connect_to_self, NULL);
    stranger_leave();
    stranger_on_loop(count_links, &links);
    cr_expect_eq(links, 0);
    rayi_nap_ms(50);
    stranger_settle();
}

/* ---- connections that came too early ---- */

static void come_early(void *arg)
{
    rayi_cluster *cluster = stranger_node()->cluster;
    rayi_member_message join = {
        .what = RAYI_MEMBER_JOIN,
        .as.join = {.protocol = RAYI_MEMBERS_PROTOCOL,
                    .node = {.id = {.bytes = {8}}, .key = {.bytes = {8}}, .life = 1, .labels = ""}}};
    rayi_session_frame hello = {
        .kind = RAYI_FRAME_HELLO, .to = cluster->incarnation, .number = 1, .limit = 16, .size = 2 * RAYI_NODE_ID_SIZE};
    rayi_members_reply reply;
    rayi_connection *c;

    (void)arg;
    cr_assert_eq(rayi_members_serve(cluster->members, &join.as.join.node.id, &join, rayi_cluster_now(), &reply), 0);
    hello.from = reply.answer.incarnation;
    cr_assert_eq(
        rayi_connection_dial(cluster, rayi_cluster_own_address(cluster), "itself", 1000, RAYI_CONNECTION_EARLY, &c), 0);
    rayi_frame_write_head(c->hello, &hello);
    memcpy(c->hello + RAYI_FRAME_HEAD, &join.as.join.node.id, RAYI_NODE_ID_SIZE);
    memcpy(c->hello + RAYI_FRAME_HEAD + RAYI_NODE_ID_SIZE, &cluster->id, RAYI_NODE_ID_SIZE);
    connect_to_self(NULL); /* behind it */
}

/* The same table says that one node is there, whose link has waited for that, and another one dead. */
TEST_AROUND(stranger, dies_while_another_one_is_greeted, begin, end)
{
    unsigned links;

    stranger_on_loop(come_early, NULL);
    stranger_leave();
    stranger_on_loop(count_links, &links);
    cr_expect_leq(links, 1);
    stranger_settle();
}
