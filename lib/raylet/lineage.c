/* Objects that are lost with their nodes: found again, or made again.
 *
 * Made: tasks of ours that have run on another node, where their values lie. Their arguments are kept (core/lineage.h
 * says how long); an entry counts neither the task nor the object: it goes with the task, which may end on any thread
 * (made_lock). A task is found by its value's record, which it counts.
 *
 * A search is for one lost object, and all who want it wait for the same one, which goes on if all have left. First
 * those who hold it from us are asked for a copy; then it is made again, if it is the value of a task of ours, or whom
 * we have it from is asked, who searches likewise. A task that runs again is one like any other: what it lacks itself
 * is searched for when its turn has come. */
#include "raylet/inside.h"

#include <stdlib.h>
#include <string.h>

enum { ASKED_MOST = 64 };
#define FOR_EVER_MS (INT64_C(1) << 40) /* an answer may take as long as a task does */
#define SEEK_MS     INT64_C(5000)

struct rayi_made {
    UT_hash_handle hh; /* by id */
    UT_hash_handle ho; /* by object */
    uint64_t id;
    rayi_node *node;
    rayi_task *task;
    const rayi_record *object;
};

typedef struct rayi_search {
    UT_hash_handle hh;   /* in node.searches, by object */
    rayi_record *object; /* counted */
    rayi_node *node;
    rayi_finding *waiting;
    uint32_t asked; /* so many answers are missing */
    uint32_t depth;
    /* while it is made again: */
    uint64_t id;        /* of what was made */
    rayi_record *again; /* counted */
    rayi_waiter waiter;
    rayi_message message;
} search;

/* ---- what was made ---- */

static struct rayi_made *find_id(const rayi_node *node, uint64_t id)
{
    struct rayi_made *made;

    HASH_FIND(hh, node->made, &id, sizeof id, made);
    return made;
}

static bool enter(rayi_node *node, struct rayi_made *made)
{
    const rayi_memory *memory = rayi_heap;

    HASH_ADD(hh, node->made, id, sizeof made->id, made);
    if (!made->hh.tbl)
        return false;
    HASH_ADD(ho, node->made_objects, object, sizeof made->object, made);
    if (made->ho.tbl)
        return true;
    HASH_DEL(node->made, made);
    return false;
}

static void leave(rayi_node *node, struct rayi_made *made)
{
    const rayi_memory *memory = rayi_heap;

    HASH_DEL(node->made, made);
    HASH_DELETE(ho, node->made_objects, made);
}

/* Its value's record, if that is bytes and the task has not failed meanwhile. */
rayi_record *rayi_lineage_value(rayi_record *task)
{
    rayi_result content = rayi_record_content(task);
    rayi_record *object = NULL;

    if (!content.error &&
        (content.kind == RAY_KIND_BYTES || content.kind == RAY_KIND_STRING || content.kind == RAY_KIND_STRUCT))
        memcpy(&object, content.bytes, sizeof object);
    return object;
}

static bool note(rayi_node *node, rayi_task *task, uint64_t size_bytes, int32_t retries)
{
    struct rayi_made *made = rayi_zalloc(sizeof *made);
    bool entered = false;

    if (!made)
        return false;
    *made = (struct rayi_made){
        .id = rayi_escape_wish(task)->id, .node = node, .task = task, .object = rayi_lineage_value(&task->head)};
    pthread_mutex_lock(&node->made_lock);
    if (enter(node, made)) {
        entered = rayi_lineage_add(node->lineage, made->id, size_bytes, retries) == 0;
        if (!entered)
            leave(node, made);
    }
    pthread_mutex_unlock(&node->made_lock);
    if (!entered) {
        rayi_free(made);
        return false;
    }
    rayi_escape_set_made(task, made);
    return true;
}

/* One whose arguments are to go, counted; NULL: none. */
static rayi_task *next_dropped(rayi_node *node)
{
    rayi_task *task = NULL;
    uint64_t id;

    pthread_mutex_lock(&node->made_lock);
    while (!task && rayi_lineage_next_dropped(node->lineage, &id)) {
        struct rayi_made *made = find_id(node, id);
        if (rayi_record_try_ref(&made->task->head))
            task = made->task;
    }
    pthread_mutex_unlock(&node->made_lock);
    return task;
}

static void drop_arguments(rayi_node *node)
{
    for (rayi_task *task; (task = next_dropped(node));) {
        rayi_task_drop_arguments(node->thread, task);
        rayi_record_unref(node->thread, &task->head);
    }
}

void rayi_lineage_made(void *of, rayi_task *task)
{
    rayi_node *node = of;
    uint64_t size_bytes = 0;
    int32_t retries = 0;
    bool is_noted = false;

    if (!node->stopping && rayi_lineage_value(&task->head) && rayi_escape_may_run_again(task, &retries)) {
        if (retries != 0 && !rayi_task_can_stay(task, &size_bytes))
            size_bytes = UINT64_MAX; /* it is known, and dropped at once */
        is_noted = note(node, task, size_bytes, retries);
    }
    if (!is_noted || retries == 0)
        rayi_task_drop_arguments(node->thread, task);
    drop_arguments(node);
}

void rayi_lineage_unmade(struct rayi_made *made)
{
    rayi_node *node = made->node;

    pthread_mutex_lock(&node->made_lock);
    leave(node, made);
    if (node->lineage)
        rayi_lineage_remove(node->lineage, made->id);
    pthread_mutex_unlock(&node->made_lock);
    rayi_free(made);
}

int rayi_lineage_init(rayi_node *node, uint64_t store_bytes)
{
    const char *limit = getenv("RAY_LINEAGE_BYTES");
    uint64_t bytes = store_bytes / 4;
    char *end = NULL;

    if (limit && *limit)
        bytes = strtoull(limit, &end, 10);
    if (end && (*end || *limit < '0' || *limit > '9'))
        return rayi_fail(RAY_ERR_ARGUMENT, "RAY_LINEAGE_BYTES: expected a number of bytes, got \"%.40s\"", limit);
    return rayi_lineage_new(rayi_heap, bytes, &node->lineage) == 0
               ? 0
               : rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the node's tables");
}

void rayi_lineage_fini(rayi_node *node)
{
    pthread_mutex_lock(&node->made_lock);
    rayi_lineage_free(node->lineage);
    node->lineage = NULL;
    pthread_mutex_unlock(&node->made_lock);
}

/* ---- the end of a search ---- */

static void leave_search(rayi_finding *finding)
{
    if (finding->of)
        DL_DELETE(finding->of->waiting, finding);
    finding->of = NULL;
}

static void tell_all(search *s, rayi_error *error)
{
    rayi_finding *finding;

    while ((finding = s->waiting)) {
        leave_search(finding);
        finding->found(s->node, finding, error);
    }
}

/* Takes the error's count; NULL: it is found. */
static void finish(search *s, rayi_error *error)
{
    const rayi_memory *memory = rayi_heap;

    HASH_DEL(s->node->searches, s); /* who wants it from here on begins anew */
    tell_all(s, error);
    rayi_error_unref(error);
    if (s->again)
        rayi_record_unref(s->node->thread, s->again);
    rayi_record_unref(s->node->thread, s->object);
    rayi_free(s);
}

/* why: what comes behind "which died"; a printf format with one text. */
static rayi_error *lost(const search *s, int code, const char *function, const char *why, const char *more)
{
    char node[RAYI_ID_SIZE];
    rayi_error *error;
    rayi_text text;

    (void)rayi_cluster_lost_with(s->object, node);
    rayi_text_init(&text, rayi_heap);
    rayi_text_printf(&text, "the object was on node %s, which died", node);
    rayi_text_printf(&text, why, more);
    error = text.failed ? rayi_error_plain(code) : rayi_error_new(code, function, node, "%s", text.data);
    rayi_text_fini(&text);
    return error;
}

/* Nobody is left who could do anything about it. */
static rayi_error *lost_for_good(const search *s)
{
    char node[RAYI_ID_SIZE];

    switch (rayi_cluster_lost_with(s->object, node)) {
    case RAYI_MADE_BY_TASK:
        return lost(s, RAY_ERR_OWNER_DIED, NULL,
                    "; the node that submitted the task whose value it is died, too, and no other can run it again%s",
                    "");
    case RAYI_MADE_BY_CALL:
        return lost(s, RAY_ERR_OBJECT_LOST, NULL, "; it is the value of an actor's call, which cannot be made again%s",
                    "");
    case RAYI_MADE_BY_PUT:
        break;
    }
    return lost(s, RAY_ERR_OBJECT_LOST, NULL,
                "; it was put or yielded there, and is no value of a task that could be run again%s", "");
}

/* ---- making it again ---- */

static rayi_error *compare(const search *s, rayi_record *again, rayi_record **out)
{
    rayi_result content = rayi_record_content(again);
    const char *function = again->type == RAYI_TASK ? rayi_task_name((const rayi_task *)again) : NULL;

    if (content.error)
        return lost(s, RAY_ERR_REBUILD_FAILED, function, "; its task was run again and failed: %s",
                    rayi_error_public(content.error)->message);
    *out = rayi_lineage_value(again);
    if (*out && (*out)->kind == s->object->kind && (*out)->size == s->object->size)
        return NULL;
    return lost(s, RAY_ERR_REBUILD_FAILED, function, "; %s was run again and gave a value of another type or size",
                function ? function : "its task");
}

static void on_again(rayi_node *node, rayi_message *message)
{
    search *s = rayi_container_of(message, search, message);
    rayi_record *made = NULL;
    rayi_error *error = NULL;

    pthread_mutex_lock(&node->made_lock);
    rayi_lineage_ended(node->lineage, s->id, rayi_escape_tries((rayi_task *)s->again));
    pthread_mutex_unlock(&node->made_lock);
    drop_arguments(node);
    if (rayi_cluster_is_lost(node->cluster, s->object))
        error = compare(s, s->again, &made);
    if (made && !error)
        rayi_cluster_made_again(node->cluster, s->object, made);
    finish(s, error);
    rayi_node_stir(node);
}

/* A loop that has ended handles what was posted before; nothing ends later. */
static void fire(rayi_thread *thread, rayi_waiter *waiter)
{
    search *s = rayi_container_of(waiter, search, waiter);

    (void)rayi_loop_post(rayi_node_of(thread), &s->message);
}

static void watch(search *s, rayi_record *again)
{
    s->again = again;
    s->waiter.fire = fire;
    s->message.handle = on_again;
    if (!rayi_record_watch(again, &s->waiter))
        (void)rayi_loop_post(s->node, &s->message);
}

/* The task that has made it, counted, and what the brain says of it; NULL: none is known. */
static rayi_task *find_maker(search *s, rayi_lineage_verdict *verdict, int32_t *retries)
{
    rayi_node *node = s->node;
    const rayi_record *object = s->object;
    struct rayi_made *made;
    rayi_task *task = NULL;

    pthread_mutex_lock(&node->made_lock);
    HASH_FIND(ho, node->made_objects, &object, sizeof object, made);
    if (made && rayi_record_try_ref(&made->task->head)) {
        task = made->task;
        s->id = made->id;
        *verdict = rayi_lineage_lost(node->lineage, made->id, s->depth, retries);
    }
    pthread_mutex_unlock(&node->made_lock);
    return task;
}

static rayi_error *refusal(const search *s, const char *function, rayi_lineage_verdict verdict)
{
    switch (verdict) {
    case RAYI_LINEAGE_NO_RETRIES:
        return lost(s, RAY_ERR_REBUILD_FAILED, function, "; %s has no retries left to make it again (max_retries)",
                    function);
    case RAYI_LINEAGE_WAS_DROPPED:
        return lost(s, RAY_ERR_REBUILD_FAILED, function,
                    "; the arguments of %s were not kept: one is an actor or a stream, or more than RAY_LINEAGE_BYTES "
                    "would have been kept",
                    function);
    case RAYI_LINEAGE_TOO_DEEP:
        return lost(s, RAY_ERR_REBUILD_FAILED, function,
                    "; too many values that were lost are needed for one another to run %s again", function);
    case RAYI_LINEAGE_RUN:
        break;
    }
    RAYI_ASSERT(!"a refusal");
}

/* False: no task of ours is known to have made it. */
static bool make_again(search *s)
{
    rayi_node *node = s->node;
    rayi_lineage_verdict verdict;
    int32_t retries = 0;
    rayi_task *task = find_maker(s, &verdict, &retries);
    rayi_record *again;

    if (!task)
        return false;
    if (verdict != RAYI_LINEAGE_RUN) {
        finish(s, refusal(s, rayi_task_name(task), verdict));
    } else {
        rayi_log(RAY_LOG_INFO, "object.again", rayi_task_name(task), "%s runs again: its value was lost with its node",
                 rayi_task_name(task));
        again = rayi_escape_again(node, task, retries, s->depth + 1);
        watch(s, again);
    }
    rayi_record_unref(node->thread, &task->head);
    return true;
}

/* ---- asking others ---- */

static void on_told(void *arg, const rayi_said *answer, rayi_error *error)
{
    search *s = arg;
    rayi_node *node = s->node;
    rayi_reader in;

    if (!rayi_cluster_is_lost(s->node->cluster, s->object)) {
        finish(s, NULL);
    } else if (!error) {
        in = rayi_reader_of(answer->bytes, answer->size);
        finish(s, rayi_cluster_take_places(s->node->cluster, s->object, &in) < 0 ? rayi_error_last() : NULL);
    } else if (error && rayi_error_public(error)->code == RAY_ERR_NODE_DIED) {
        finish(s, lost(s, RAY_ERR_OBJECT_LOST, NULL, "; its owner died while it was asked: %s",
                       rayi_error_public(error)->message));
    } else {
        finish(s, rayi_error_ref(error));
    }
    rayi_node_stir(node);
}

static int ask(search *s, const rayi_node_id *whom, uint8_t op, uint64_t number, int64_t timeout_ms,
               rayi_answered answered)
{
    rayi_said question = {.bytes = &number, .size = sizeof number};

    return rayi_cluster_ask(s->node->cluster, whom, op, &question, timeout_ms, answered, s);
}

static void go_on(search *s)
{
    rayi_node_id lender;
    uint64_t number;

    if (!rayi_cluster_is_lost(s->node->cluster, s->object))
        finish(s, NULL);
    else if (s->node->stopping)
        finish(s, rayi_error_plain(RAY_ERR_SHUTDOWN));
    else if (make_again(s))
        return;
    else if (!rayi_cluster_lender(s->node->cluster, s->object, &lender, &number))
        finish(s, lost_for_good(s));
    else if (ask(s, &lender, RAYI_OP_FIND, number, FOR_EVER_MS, on_told) < 0)
        finish(s, rayi_error_last());
}

static void one_less(search *s)
{
    if (--s->asked == 0)
        go_on(s);
}

static void on_sought(void *arg, const rayi_said *answer, rayi_error *error)
{
    search *s = arg;
    rayi_node *node = s->node;
    rayi_reader in;

    if (!error && rayi_cluster_is_lost(s->node->cluster, s->object)) {
        in = rayi_reader_of(answer->bytes, answer->size);
        (void)rayi_cluster_take_places(s->node->cluster, s->object, &in);
    }
    one_less(s);
    rayi_node_stir(node);
}

static void seek(search *s)
{
    rayi_node_id holders[ASKED_MOST];
    uint32_t count = rayi_cluster_borrowers(s->node->cluster, s->object, holders, ASKED_MOST);

    s->asked = 1;
    for (uint32_t i = 0; i < count; i++)
        if (ask(s, &holders[i], RAYI_OP_SEEK, rayi_record_number_if(s->object), SEEK_MS, on_sought) == 0)
            s->asked++;
    one_less(s);
}

/* ---- who wants it ---- */

/* NULL: no memory. */
static search *begin(rayi_node *node, rayi_record *object, uint32_t depth)
{
    const rayi_memory *memory = rayi_heap;
    search *s = rayi_zalloc(sizeof *s);

    if (!s)
        return NULL;
    s->node = node;
    s->object = object;
    s->depth = depth;
    HASH_ADD(hh, node->searches, object, sizeof s->object, s);
    if (!s->hh.tbl) {
        rayi_free(s);
        return NULL;
    }
    rayi_record_ref(object);
    return s;
}

void rayi_lineage_find(rayi_node *node, rayi_record *object, uint32_t depth, rayi_finding *finding)
{
    bool is_new = false;
    search *s = NULL;
    rayi_error *error = NULL;

    if (node->stopping || !node->cluster) {
        error = rayi_error_plain(RAY_ERR_SHUTDOWN);
    } else if (rayi_cluster_is_lost(node->cluster, object)) {
        HASH_FIND(hh, node->searches, &object, sizeof object, s);
        is_new = !s;
        if (!s)
            s = begin(node, object, depth);
        if (!s)
            error = rayi_error_plain(RAY_ERR_NO_MEMORY);
    }
    if (!s) {
        finding->found(node, finding, error);
        rayi_error_unref(error);
        return;
    }
    finding->of = s;
    DL_APPEND(s->waiting, finding);
    if (is_new)
        seek(s);
}

/* What is asked goes on to its end, and then ends the search. */
void rayi_lineage_stop(rayi_node *node)
{
    rayi_error *error = rayi_error_plain(RAY_ERR_SHUTDOWN);

    for (search *s = node->searches; s; s = s->hh.next)
        tell_all(s, error);
    rayi_error_unref(error);
}

/* ---- threads: one that does not wait any longer leaves what it has asked to the loop ---- */

typedef struct wanting {
    rayi_message message, left;
    rayi_finding finding;
    rayi_thread *thread;
    rayi_record *object; /* counted */
    rayi_error *error;
    atomic_uint answered;
} wanting;

static void wanting_free(rayi_thread *thread, wanting *w)
{
    rayi_record_unref(thread, w->object);
    rayi_error_unref(w->error);
    rayi_free(w);
}

static void on_found(rayi_node *node, rayi_finding *finding, rayi_error *error)
{
    wanting *w = rayi_container_of(finding, wanting, finding);
    rayi_thread *thread = w->thread;

    (void)node;
    if (error)
        w->error = rayi_error_ref(error);
    atomic_store_explicit(&w->answered, 1, memory_order_release); /* from here on it may be gone */
    rayi_thread_wake(thread);
}

static void on_wanted(rayi_node *node, rayi_message *message)
{
    wanting *w = rayi_container_of(message, wanting, message);

    rayi_lineage_find(node, w->object, 0, &w->finding);
}

/* The search goes on: what was asked of others may be there when somebody wants it again. */
static void on_left(rayi_node *node, rayi_message *message)
{
    wanting *w = rayi_container_of(message, wanting, left);

    leave_search(&w->finding);
    wanting_free(node->thread, w);
}

static int await(rayi_thread *thread, wanting *w, int64_t deadline_ns)
{
    int r = 0;

    if (!rayi_thread_park(thread, &w->answered, deadline_ns)) {
        if (rayi_loop_post(rayi_node_of(thread), &w->left))
            return rayi_fail(RAY_ERR_TIMEOUT,
                             "the nodes that had the object died; it is still looked for, or made again");
        (void)rayi_thread_park(thread, &w->answered, INT64_MAX); /* a loop that ends answers all */
    }
    if (w->error)
        r = rayi_error_set_last(rayi_error_ref(w->error));
    wanting_free(thread, w);
    return r;
}

int rayi_lineage_await(rayi_thread *thread, rayi_record *object, int64_t deadline_ns)
{
    wanting *w;

    if (!rayi_node_of(thread)->cluster)
        return 1;
    if (thread->never_waits)
        return rayi_fail(RAY_ERR_OBJECT_LOST, "the object is lost, and this thread cannot wait until it is found");
    w = rayi_zalloc(sizeof *w);
    if (!w)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: waiting for an object that is lost");
    *w = (wanting){.message.handle = on_wanted,
                   .left.handle = on_left,
                   .finding.found = on_found,
                   .thread = thread,
                   .object = object};
    rayi_record_ref(object);
    if (!rayi_lane_stopping(thread->lane) && rayi_loop_post(rayi_node_of(thread), &w->message))
        return await(thread, w, deadline_ns);
    wanting_free(thread, w);
    return rayi_fail(RAY_ERR_SHUTDOWN, "the runtime is shut down");
}

/* ---- other nodes ---- */

typedef struct asker {
    rayi_finding finding;
    rayi_reply_to to;
    rayi_record *object; /* counted */
} asker;

static void on_found_for(rayi_node *node, rayi_finding *finding, rayi_error *error)
{
    asker *a = rayi_container_of(finding, asker, finding);
    rayi_writer writer;

    rayi_writer_init(&writer);
    if (!error)
        rayi_cluster_put_places(node->cluster, &writer, a->object);
    if (writer.failed)
        rayi_reply(node, &a->to, NULL, rayi_error_plain(RAY_ERR_NO_MEMORY));
    else
        rayi_reply(node, &a->to, &(rayi_said){.bytes = writer.data, .size = writer.size}, error);
    rayi_writer_fini(&writer);
    rayi_record_unref(node->thread, a->object);
    rayi_free(a);
}

void rayi_lineage_serve(rayi_node *node, const rayi_reply_to *to, const rayi_said *question)
{
    rayi_reader in = rayi_reader_of(question->bytes, question->size);
    rayi_record *object = rayi_cluster_lent(node->cluster, &to->asker.node, rayi_take_u64(&in));
    asker *a = object ? rayi_zalloc(sizeof *a) : NULL;

    if (!a) {
        if (object)
            rayi_record_unref(node->thread, object);
        (void)(object ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: a search")
                      : rayi_fail(RAY_ERR_OBJECT_LOST, "the node that was asked for the object does not know it"));
        rayi_reply_last(node, to);
        return;
    }
    *a = (asker){.finding.found = on_found_for, .to = *to, .object = object};
    rayi_lineage_find(node, object, 0, &a->finding);
}

int rayi_lineage_seek(rayi_node *node, const rayi_reply_to *to, rayi_reader *in, rayi_writer *out)
{
    uint64_t number = rayi_take_u64(in);

    if (!in->failed && rayi_cluster_put_copy(node->cluster, out, &to->asker.node, number))
        return 0;
    return rayi_fail(RAY_ERR_NOT_FOUND, "there is no copy of it");
}
