/* Questions to the head of the cluster: by threads, which wait for the answer, and by the loop, which never does. On
 * the head itself they are served without a way between; an observer asks over its link. Each ends after ray_config's
 * timeout_ms at the latest, so who waits waits for the loop alone. */
#include "raylet/inside.h"

#define BLOCK_NS INT64_C(2000000) /* then what the thread runs gives its CPU back */

/* ---- on the loop ---- */

int rayi_head_ask_within(rayi_node *node, int64_t timeout_ms, uint8_t op, const rayi_said *question,
                         rayi_answered answered, void *arg)
{
    if (node->observer)
        return rayi_observer_ask(node->observer, op, question, timeout_ms, answered, arg);
    if (!rayi_has_head_elsewhere(node)) {
        rayi_serve_local(node, op, question, answered, arg);
        return 0;
    }
    return rayi_cluster_ask(node->cluster, NULL, op, question, timeout_ms, answered, arg);
}

int rayi_head_ask_later(rayi_node *node, uint8_t op, const rayi_said *question, rayi_answered answered, void *arg)
{
    return rayi_head_ask_within(node, rayi_executor_timeout_ms(node->executor), op, question, answered, arg);
}

bool rayi_has_head_elsewhere(const rayi_node *node)
{
    return node->cluster && !rayi_cluster_is_head(node->cluster);
}

/* ---- by a thread that waits ---- */

typedef struct asking {
    rayi_message message;
    rayi_thread *asker;
    uint8_t op;
    const rayi_said *question;
    rayi_answer *answer;
    const rayi_node_id *other; /* NULL: the head */
    int64_t timeout_ms;
    rayi_error *error;
    atomic_uint answered;
} asking;

static void settle(asking *a, rayi_error *error)
{
    rayi_thread *asker = a->asker;

    a->error = error;
    atomic_store_explicit(&a->answered, 1, memory_order_release); /* from here on it may be gone */
    rayi_thread_wake(asker);
}

/* A head that has been declared dead, or for which this node was, is one that cannot be reached. */
static rayi_error *translate(rayi_error *error)
{
    const ray_error *about = rayi_error_public(error);

    if (about->code != RAY_ERR_NODE_DIED)
        return rayi_error_ref(error);
    return rayi_error_new(RAY_ERR_HEAD_UNREACHABLE, NULL, about->node_id,
                          "cannot reach head: %s; what was asked for may have been done", about->message);
}

static void on_answered(void *arg, const rayi_said *answer, rayi_error *error)
{
    asking *a = arg;

    settle(a, !error ? rayi_answer_keep(a->answer, answer) : a->other ? rayi_error_ref(error) : translate(error));
}

/* For what others can answer it is not waited for for as long. */
static int ask_head(rayi_node *node, asking *a)
{
    rayi_error *away = NULL;

    if (rayi_keys_has_copies(node, a->op)) {
        away = rayi_cluster_away(node->cluster);
        a->timeout_ms = RAYI_MIN(a->timeout_ms, RAYI_HANGUP_MS);
    }
    return away ? rayi_error_set_last(away)
                : rayi_head_ask_within(node, a->timeout_ms, a->op, a->question, on_answered, a);
}

static void ask(rayi_node *node, rayi_message *message)
{
    asking *a = rayi_container_of(message, asking, message);
    int r = a->other ? rayi_cluster_ask(node->cluster, a->other, a->op, a->question, a->timeout_ms, on_answered, a)
                     : ask_head(node, a);

    if (r < 0)
        settle(a, rayi_error_last());
}

static void await(rayi_thread *thread, asking *a)
{
    bool blocked;

    if (rayi_thread_park(thread, &a->answered, rayi_now_ns() + BLOCK_NS))
        return;
    blocked = rayi_lane_block(thread, NULL) == 0;
    (void)rayi_thread_park(thread, &a->answered, INT64_MAX);
    if (blocked)
        rayi_lane_unblock(thread);
}

int rayi_node_ask_within(rayi_thread *thread, const rayi_node_id *other, int64_t timeout_ms, uint8_t op,
                         const rayi_said *question, rayi_answer *out)
{
    rayi_node *node = rayi_node_of(thread);
    asking a = {.message.handle = ask,
                .asker = thread,
                .op = op,
                .question = question,
                .answer = out,
                .other = other,
                .timeout_ms = timeout_ms};

    *out = (rayi_answer){0};
    if (thread->never_waits)
        return rayi_lane_block(thread, NULL); /* STORE_FULL: a thread that may wait is to ask */
    if ((rayi_lane_stopping(thread->lane) && thread != node->stopper) || !rayi_loop_post(node, &a.message))
        return rayi_fail(RAY_ERR_SHUTDOWN, "the runtime is shut down");
    await(thread, &a);
    return a.error ? rayi_error_set_last(a.error) : 0;
}

int rayi_node_ask_other(rayi_thread *thread, const rayi_node_id *other, uint8_t op, const rayi_said *question,
                        rayi_answer *out)
{
    return rayi_node_ask_within(thread, other, rayi_executor_timeout_ms(rayi_executor_of(thread)), op, question, out);
}

int rayi_head_ask(rayi_thread *thread, uint8_t op, const rayi_said *question, rayi_answer *out)
{
    return rayi_node_ask_other(thread, NULL, op, question, out);
}

/* ---- answers ---- */

/* NULL, or why not: counted. An answer that says nothing needs no memory: what was asked for is done. */
rayi_error *rayi_answer_keep(rayi_answer *answer, const rayi_said *said)
{
    *answer = (rayi_answer){.bytes = said->size > 0 ? rayi_alloc(said->size) : NULL, .size = said->size};
    if (said->size > 0 && !answer->bytes)
        return rayi_error_new(RAY_ERR_NO_MEMORY, NULL, NULL, "out of memory: an answer of %zu bytes", said->size);
    if (said->size > 0)
        memcpy(answer->bytes, said->bytes, said->size);
    if (said->record)
        rayi_record_ref(said->record);
    answer->object = said->record;
    return NULL;
}

void rayi_answer_drop(rayi_thread *thread, rayi_answer *answer)
{
    rayi_free(answer->bytes);
    if (answer->object)
        rayi_record_unref(thread, answer->object);
    *answer = (rayi_answer){0};
}

/* STORE_FULL: after timeout_ms, or at once on the loop. */
int rayi_answer_view(rayi_thread *thread, rayi_answer *answer, ray_view *out)
{
    ray_view view = {0};
    ray_value value = {.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view};
    rayi_record *object = rayi_object_put(thread, answer->bytes, answer->size);
    int r = rayi_record_get(thread, object, 0, &value);

    rayi_record_unref(thread, object);
    rayi_answer_drop(thread, answer);
    if (r == 0)
        *out = view;
    return r;
}
