/* Questions and answers. Who asks keeps the question until the answer comes, also one that was given up: so both ends
 * count the same, and neither can be made to keep more than RAYI_ASKS_MOST of the other's. */
#include "cluster/inside.h"

#include <stdio.h>

/* ---- what is asked of one other end ---- */

static rayi_asked *find(const rayi_asks *asks, uint64_t id)
{
    rayi_asked *a;

    HASH_FIND(hh, asks->all, &id, sizeof id, a);
    return a;
}

uint64_t rayi_asks_add(rayi_asks *asks, uint32_t most, int64_t timeout_ms, rayi_answered answered, void *arg)
{
    const rayi_memory *memory = rayi_heap;
    rayi_asked *a = HASH_COUNT(asks->all) < most ? rayi_zalloc(sizeof *a) : NULL;

    if (!a) {
        (void)(HASH_COUNT(asks->all) < most
                   ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a question to another node")
                   : rayi_fail(RAY_ERR_LIMIT, "%u questions are unanswered already: no more may be asked", most));
        return 0;
    }
    a->id = ++asks->last_id;
    a->asked_ms = rayi_cluster_now();
    a->due_ms = rayi_moment_ms(timeout_ms);
    a->answered = answered;
    a->arg = arg;
    HASH_ADD(hh, asks->all, id, sizeof a->id, a);
    if (!a->hh.tbl) {
        rayi_free(a);
        (void)rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a question to another node");
        return 0;
    }
    if (asks->due_ms == 0 || a->due_ms < asks->due_ms)
        asks->due_ms = a->due_ms;
    return a->id;
}

static void drop(rayi_asks *asks, rayi_asked *a)
{
    const rayi_memory *memory = rayi_heap;

    HASH_DEL(asks->all, a);
    rayi_free(a);
}

void rayi_asks_undo(rayi_asks *asks, uint64_t id)
{
    drop(asks, find(asks, id));
}

/* At most one callback; it may ask anew. */
static void tell(rayi_asked *a, const rayi_said *answer, rayi_error *error)
{
    rayi_answered answered = a->answered;

    a->answered = NULL;
    if (answered)
        answered(a->arg, answer, error);
}

int64_t rayi_asks_next_tick(const rayi_asks *asks)
{
    return asks->due_ms == 0 ? INT64_MAX : asks->due_ms;
}

void rayi_asks_tick(rayi_asks *asks, int64_t now_ms, rayi_error *(*say)(void *arg, int64_t tried_ms), void *arg)
{
    rayi_error *error;
    rayi_asked *a, *next;

    if (now_ms < rayi_asks_next_tick(asks))
        return;
    asks->due_ms = 0;
    HASH_ITER (hh, asks->all, a, next) {
        if (!a->answered)
            continue;
        if (a->due_ms > now_ms) {
            asks->due_ms = asks->due_ms == 0 ? a->due_ms : RAYI_MIN(asks->due_ms, a->due_ms);
            continue;
        }
        error = say(arg, now_ms - a->asked_ms);
        tell(a, NULL, error);
        rayi_error_unref(error);
    }
}

void rayi_asks_forget(rayi_asks *asks)
{
    rayi_asked *a, *next;

    HASH_ITER (hh, asks->all, a, next) {
        if (!a->answered)
            drop(asks, a);
    }
}

void rayi_asks_end(rayi_asks *asks, rayi_error *error)
{
    for (rayi_asked *a; (a = asks->all);) {
        tell(a, NULL, error);
        drop(asks, a);
    }
    asks->due_ms = 0;
}

/* ---- what they look like ---- */

static bool write_said(rayi_port *port, rayi_thread *thread, rayi_writer *writer, const rayi_said *said)
{
    rayi_result content = {.kind = RAY_KIND_REF, .size = sizeof said->record};

    rayi_put_u8(writer, said->record != NULL);
    if (said->record) {
        RAYI_ASSERT(port);
        memcpy(content.bytes, &said->record, sizeof said->record);
        if (rayi_exchange_write(port, thread, writer, &content, false) < 0)
            return false;
    }
    rayi_put_bytes(writer, said->bytes, said->size);
    return !writer->failed || rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a message of %zu bytes", said->size) == 0;
}

bool rayi_asks_write(rayi_port *port, rayi_thread *thread, rayi_writer *writer, uint64_t id, uint8_t op,
                     const rayi_said *question)
{
    rayi_put_u64(writer, id);
    rayi_put_u8(writer, op);
    return write_said(port, thread, writer, question);
}

bool rayi_asks_write_answer(rayi_port *port, rayi_thread *thread, rayi_writer *writer, uint64_t id,
                            const rayi_said *answer, const rayi_error *error)
{
    rayi_put_u64(writer, id);
    rayi_put_i64(writer, error ? rayi_error_code(error) : 0);
    if (!error)
        return write_said(port, thread, writer, answer);
    rayi_exchange_write_error(writer, error);
    return !writer->failed;
}

/* A value of that form, for which no port is needed if it is an ERROR. False: rubbish. */
static bool read_value(rayi_port *port, rayi_thread *thread, rayi_reader *reader, enum rayi_form form, rayi_result *out)
{
    if (rayi_reader_left(reader) == 0 || *(const uint8_t *)reader->at != form || (form == RAYI_FORM_REF && !port))
        return false;
    return rayi_exchange_read(port, thread, reader, out);
}

/* record: counted. False: rubbish. */
static bool read_said(rayi_port *port, rayi_thread *thread, rayi_reader *reader, rayi_said *out)
{
    uint8_t has_record = rayi_take_u8(reader);
    rayi_result value;

    *out = (rayi_said){0};
    if (reader->failed || has_record > 1 || (has_record && !read_value(port, thread, reader, RAYI_FORM_REF, &value)))
        return false;
    if (has_record)
        memcpy(&out->record, value.bytes, sizeof out->record);
    out->bytes = reader->at;
    out->size = rayi_reader_left(reader);
    return true;
}

bool rayi_asks_take(rayi_asks *asks, rayi_port *port, rayi_thread *thread, rayi_reader *reader)
{
    uint64_t id = rayi_take_u64(reader);
    int64_t r = rayi_take_i64(reader);
    rayi_asked *a = reader->failed ? NULL : find(asks, id);
    rayi_result value = {0};
    rayi_said said = {0};

    if (!a || r > 0 ||
        !(r < 0 ? read_value(port, thread, reader, RAYI_FORM_ERROR, &value) : read_said(port, thread, reader, &said)))
        return false;
    tell(a, value.error ? NULL : &said, value.error);
    drop(asks, a);
    if (said.record)
        rayi_record_unref(thread, said.record);
    rayi_error_unref(value.error);
    return true;
}

/* ---- between nodes: asking ---- */

/* The head of the table, which is another node; NULL: there is none (any more). */
static void find_head(void *arg, const rayi_member *member)
{
    const rayi_member **found = arg;

    if ((member->flags & RAYI_MEMBER_HEAD) && member->state != RAYI_NODE_DEAD)
        *found = member;
}

static rayi_neighbour *find_head_neighbour(rayi_cluster *cluster)
{
    const rayi_member *head = NULL;

    rayi_roster_each(rayi_cluster_roster(cluster), find_head, &head);
    return head ? rayi_neighbour_find(cluster, &head->id) : NULL;
}

rayi_error *rayi_cluster_away(rayi_cluster *cluster)
{
    rayi_error *why = rayi_cluster_why(cluster);
    const rayi_neighbour *n = why ? find_head_neighbour(cluster) : NULL;

    if (!n || !n->peer || rayi_peer_look(n->peer).state != RAYI_PEER_OPEN)
        return why;
    rayi_error_unref(why);
    return NULL;
}

static rayi_neighbour *addressee(rayi_cluster *cluster, const rayi_node_id *to)
{
    rayi_neighbour *n;
    char name[RAYI_ID_SIZE];

    if (to) {
        n = rayi_neighbour_find(cluster, to);
        rayi_hex(name, to->bytes, sizeof to->bytes);
        if (!n)
            (void)rayi_fail(RAY_ERR_NODE_DIED, "there is no node %s in the cluster", name);
        return n;
    }
    n = find_head_neighbour(cluster);
    if (!n) {
        rayi_error *why = rayi_cluster_why(cluster);
        (void)(why ? rayi_error_set_last(why)
                   : rayi_fail(RAY_ERR_HEAD_UNREACHABLE, "cannot reach head at %s: this node is not a member (yet)",
                               cluster->head_address));
    }
    return n;
}

static int send_question(rayi_neighbour *n, uint64_t id, uint8_t op, const rayi_said *question)
{
    rayi_between_port port;
    rayi_writer writer;
    int r;

    rayi_between_port_init(&port, n);
    rayi_between_begin(&writer, RAYI_BETWEEN_ASK);
    if (!rayi_asks_write(&port.port, n->cluster->node.thread, &writer, id, op, question))
        r = rayi_error_last_public()->code;
    else if ((r = rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer)) < 0)
        (void)rayi_fail(r, "a question of %zu bytes to node %s: %s", question->size, n->name, rayi_error_text(r));
    rayi_between_port_fini(&port, r == 0);
    rayi_writer_fini(&writer);
    return r;
}

int rayi_cluster_ask(rayi_cluster *cluster, const rayi_node_id *to, uint8_t op, const rayi_said *question,
                     int64_t timeout_ms, rayi_answered answered, void *arg)
{
    rayi_neighbour *n = addressee(cluster, to);
    uint64_t id = n ? rayi_asks_add(&n->asks, RAYI_ASKS_MOST, timeout_ms, answered, arg) : 0;
    int r;

    if (!id)
        return rayi_error_last_public()->code;
    r = send_question(n, id, op, question);
    if (r < 0)
        rayi_asks_undo(&n->asks, id);
    return r;
}

bool rayi_asks_answered(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_between_port port;
    bool taken;

    rayi_between_port_init(&port, n);
    taken = rayi_asks_take(&n->asks, &port.port, n->cluster->node.thread, reader);
    rayi_between_port_fini(&port, true);
    return taken;
}

rayi_error *rayi_unreachable(const char *address, const char *why, int64_t tried_ms)
{
    char span[32];

    if (tried_ms < 1000)
        snprintf(span, sizeof span, "%lld ms", (long long)tried_ms);
    else
        snprintf(span, sizeof span, "%lld s", (long long)tried_ms / 1000);
    return rayi_error_new(RAY_ERR_HEAD_UNREACHABLE, NULL, NULL, "cannot reach head at %s: %s (tried for %s)", address,
                          why, span);
}

static rayi_error *say_late(void *arg, int64_t tried_ms)
{
    rayi_neighbour *n = arg;
    const rayi_member *member = rayi_roster_get(rayi_cluster_roster(n->cluster), &n->id);
    bool is_head = member && (member->flags & RAYI_MEMBER_HEAD);
    rayi_error *why = is_head ? rayi_cluster_why(n->cluster) : NULL;

    return why ? why
               : rayi_error_new(RAY_ERR_TIMEOUT, NULL, n->name, "%s %s has not answered for %lld ms",
                                is_head ? "the head, node" : "node", n->name, (long long)tried_ms);
}

void rayi_neighbour_asks_tick(rayi_neighbour *n, int64_t now_ms)
{
    rayi_asks_tick(&n->asks, now_ms, say_late, n);
}

void rayi_neighbour_asks_end(rayi_neighbour *n)
{
    rayi_error *error = rayi_neighbour_error(n, NULL);

    rayi_asks_end(&n->asks, error);
    rayi_error_unref(error);
}

/* ---- between nodes: answering ---- */

static int send_answer(rayi_neighbour *n, uint64_t id, const rayi_said *answer, const rayi_error *error)
{
    rayi_between_port port;
    rayi_writer writer;
    int r;

    rayi_between_port_init(&port, n);
    rayi_between_begin(&writer, RAYI_BETWEEN_ANSWER);
    r = rayi_asks_write_answer(&port.port, n->cluster->node.thread, &writer, id, answer, error)
            ? rayi_neighbour_send(n, RAYI_FRAME_MESSAGE, &writer)
            : RAY_ERR_NO_MEMORY;
    rayi_between_port_fini(&port, r == 0);
    rayi_writer_fini(&writer);
    return r;
}

void rayi_cluster_answer(rayi_cluster *cluster, const rayi_asker *asker, const rayi_said *answer, rayi_error *error)
{
    rayi_neighbour *n;
    rayi_error *instead;
    int r;

    if (asker->incarnation == 0) {
        rayi_observed_answer(cluster, asker, answer, error);
        return;
    }
    n = rayi_neighbour_find(cluster, &asker->node);
    if (!n || n->incarnation != asker->incarnation)
        return;
    RAYI_ASSERT(n->unanswered > 0);
    n->unanswered--;
    r = send_answer(n, asker->id, answer, error);
    if (r == 0 || r == RAY_ERR_NODE_DIED)
        return;
    instead = rayi_error_new(r, NULL, NULL, "the answer to a question: %s", rayi_error_text(r));
    (void)send_answer(n, asker->id, NULL, instead); /* no memory: they give it up */
    rayi_error_unref(instead);
}

bool rayi_asks_serve(rayi_neighbour *n, rayi_reader *reader)
{
    rayi_cluster *cluster = n->cluster;
    rayi_asker asker = {.node = n->id, .incarnation = n->incarnation, .id = rayi_take_u64(reader)};
    uint8_t op = rayi_take_u8(reader);
    rayi_between_port port;
    rayi_said question;
    bool read;

    if (reader->failed || n->unanswered == RAYI_ASKS_MOST)
        return false;
    rayi_between_port_init(&port, n);
    read = read_said(&port.port, cluster->node.thread, reader, &question);
    rayi_between_port_fini(&port, true);
    if (!read)
        return false;
    n->unanswered++;
    cluster->node.serve(cluster->node.node, &asker, op, &question);
    if (question.record)
        rayi_record_unref(cluster->node.thread, question.record);
    return true;
}
