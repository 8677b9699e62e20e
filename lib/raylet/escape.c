/* Escapes: tasks that the lane cannot place, on their way through ledger and scheduler.
 *
 * The task's threads set bits and post the escape's one message when it had none; the loop takes all bits at once. The
 * lane's count on the task is with the loop (has_lane_count) from READY or FAILED until it is run or ended; the
 * ledger's own count lasts from the first message to the END. */
#include "raylet/inside.h"

enum { BIT_ADD = 1, BIT_READY = 2, BIT_FAILED = 4, BIT_ENDED = 8, BIT_BLOCK = 16, BIT_INHERIT = 32 };

typedef struct escape {
    rayi_wish wish; /* first */
    rayi_message message;
    atomic_uint bits;
    rayi_task *task;
    rayi_ledger_options options;
    rayi_error *error; /* of the try that failed last, while the ledger decides */
    atomic_bool blocks;
    atomic_int inherited;
    _Atomic(uint32_t) attempt;
    bool is_blocked, has_lane_count, in_ledger;
} escape;

static void handle(rayi_node *node, rayi_message *message);

static escape *escape_of(rayi_task *task)
{
    return *rayi_task_escape(task);
}

/* False: the loop has ended and knows nothing of it. */
static bool post(rayi_thread *thread, escape *e, unsigned bits)
{
    if (atomic_fetch_or_explicit(&e->bits, bits, memory_order_acq_rel) != 0)
        return true;
    rayi_record_ref(&e->task->head); /* for as long as the message is under way */
    if (rayi_loop_post(rayi_node_of(thread), &e->message))
        return true;
    rayi_record_unref(thread, &e->task->head);
    return false;
}

/* ---- called by the threads of tasks ---- */

static int escape_task(rayi_thread *thread, rayi_task *task, const ray_task_options *given)
{
    static const ray_task_options none = {0};
    const ray_task_options *options = given ? given : &none;
    void **slot = rayi_task_escape(task);
    escape *e = slot ? rayi_zalloc(sizeof *e) : NULL;
    int32_t retries = options->max_retries;
    int r;

    if (!e)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the options of %s", rayi_task_name(task));
    *slot = e;
    e->task = task;
    e->message.handle = handle;
    e->wish.priority = options->priority;
    r = rayi_wish_fill(thread, &e->wish, options->resources, &rayi_resources_one_cpu, options->labels, options->node_id,
                       options->node_soft, options->group, options->bundle, rayi_task_name(task));
    if (r < 0)
        return r;
    e->options = (rayi_ledger_options){.held = true,
                                       .retry_failures = options->retry_failures,
                                       .retries = retries == RAY_NO_RETRIES ? 0
                                                  : retries == 0            ? 3
                                                                            : retries,
                                       .deadline_ms = options->deadline_ms == 0 ? INT64_MAX
                                                                                : rayi_moment_ms(options->deadline_ms)};
    e->wish.task = task;
    rayi_record_ref(&task->head);
    if (post(thread, e, BIT_ADD))
        return 0;
    rayi_record_unref(thread, &task->head);
    return rayi_fail(RAY_ERR_SHUTDOWN, "the runtime is shut down");
}

static void escaped_ready(rayi_thread *thread, rayi_task *task)
{
    if (post(thread, escape_of(task), BIT_READY))
        return;
    if (rayi_record_claim(&task->head))
        rayi_task_fail(thread, task, rayi_error_plain(RAY_ERR_SHUTDOWN));
    else
        rayi_record_unref(thread, &task->head);
}

static bool escaped_failed(rayi_thread *thread, rayi_task *task, rayi_error *error)
{
    escape *e = escape_of(task);

    if (!e->options.retry_failures || rayi_error_code(error) != RAY_ERR_TASK_FAILED ||
        (atomic_load(&task->head.state) & RAYI_CANCEL) || rayi_lane_stopping(thread->lane))
        return false;
    e->error = error;
    if (post(thread, e, BIT_FAILED))
        return true;
    e->error = NULL;
    return false;
}

static void escaped_ended(rayi_thread *thread, rayi_task *task)
{
    (void)post(thread, escape_of(task), BIT_ENDED);
}

static void escaped_blocked(rayi_thread *thread, rayi_task *task, rayi_record *record, bool blocks)
{
    escape *e = escape_of(task), *other;

    if (blocks && record && record->type == RAYI_TASK && (record->flags & RAYI_ESCAPED)) {
        other = escape_of((rayi_task *)record);
        if (other->wish.priority < e->wish.priority) {
            atomic_store(&other->inherited, e->wish.priority);
            (void)post(thread, other, BIT_INHERIT);
        }
    }
    atomic_store(&e->blocks, blocks);
    (void)post(thread, e, BIT_BLOCK);
}

static void escaped_freed(void *of_task)
{
    escape *e = of_task;

    rayi_error_unref(e->error);
    rayi_wish_empty(&e->wish);
    rayi_free(e);
}

static const char *escaped_resources(rayi_task *task, const char **gpus, const char **group_id, uint32_t *attempt)
{
    const escape *e = escape_of(task);

    *gpus = e->wish.gpus;
    *group_id = *e->wish.group_id ? e->wish.group_id : NULL;
    *attempt = atomic_load(&((escape *)e)->attempt);
    return e->wish.resources->text;
}

/* ---- the loop ---- */

static void drop_lane_count(rayi_node *node, escape *e)
{
    if (e->has_lane_count) {
        e->has_lane_count = false;
        rayi_record_unref(node->thread, &e->task->head);
    }
}

/* Ends a task that nobody runs, if nobody else has. */
static bool fail(rayi_node *node, escape *e, rayi_error *error)
{
    return rayi_task_end_unstarted(node->thread, e->task, error);
}

/* Ends a task that its deadline found waiting. */
static bool expire(rayi_node *node, escape *e)
{
    return fail(node, e,
                rayi_error_new(RAY_ERR_DEADLINE, rayi_task_name(e->task), NULL, "%s had not started by its deadline",
                               rayi_task_name(e->task)));
}

static void add(rayi_node *node, escape *e)
{
    int r = rayi_wish_add(node, &e->wish);

    if (r == 0) {
        r = rayi_ledger_add(node->ledger, e->wish.id, &e->options, rayi_now_ms());
        if (r < 0)
            rayi_wish_remove(node, &e->wish);
    }
    e->in_ledger = r == 0;
    if (r < 0 || node->stopping) {
        fail(node, e,
             rayi_error_new(r < 0 ? r : RAY_ERR_SHUTDOWN, rayi_task_name(e->task), NULL, "%s",
                            r < 0 ? "out of memory: the ledger" : "the runtime was shut down"));
        if (!e->in_ledger)
            rayi_record_unref(node->thread, &e->task->head);
    }
}

static rayi_outcome outcome_of(const rayi_task *task)
{
    return rayi_record_failed(&task->head) ? RAYI_OUTCOME_CANCELLED : RAYI_OUTCOME_OK;
}

/* The record is complete, by whoever ended it. */
static void ended(rayi_node *node, escape *e)
{
    rayi_ledger_state state;
    uint32_t attempt;

    if (!e->in_ledger || !rayi_ledger_get(node->ledger, e->wish.id, &state, &attempt))
        return;
    if (state == RAYI_LEDGER_GRANTED)
        rayi_ledger_finished(node->ledger, e->wish.id, outcome_of(e->task));
    else
        (void)rayi_ledger_cancel(node->ledger, e->wish.id);
}

static void handle(rayi_node *node, rayi_message *message)
{
    escape *e = rayi_container_of(message, escape, message);
    rayi_task *task = e->task;
    unsigned bits = atomic_exchange_explicit(&e->bits, 0, memory_order_acq_rel);

    if (bits & BIT_ADD)
        add(node, e);
    if (bits & BIT_READY) {
        e->has_lane_count = true;
        if (e->in_ledger)
            rayi_ledger_ready(node->ledger, e->wish.id);
        else
            drop_lane_count(node, e);
    }
    if ((bits & BIT_BLOCK) && e->in_ledger && e->is_blocked != atomic_load(&e->blocks) && !(bits & BIT_ENDED)) {
        e->is_blocked = !e->is_blocked;
        (e->is_blocked ? rayi_scheduler_block : rayi_scheduler_resume)(node->scheduler, e->wish.id);
    }
    if ((bits & BIT_INHERIT) && e->in_ledger)
        (void)rayi_scheduler_inherit(node->scheduler, e->wish.id, atomic_load(&e->inherited));
    if (bits & BIT_FAILED) {
        e->has_lane_count = true;
        rayi_ledger_finished(node->ledger, e->wish.id, RAYI_OUTCOME_FAILED);
    }
    if (bits & BIT_ENDED)
        ended(node, e);
    rayi_node_pump(node);
    rayi_record_unref(node->thread, &task->head); /* the message's */
}

static void end(rayi_node *node, escape *e, rayi_outcome outcome)
{
    rayi_error *error = e->error;

    e->in_ledger = false;
    e->error = NULL;
    rayi_wish_remove(node, &e->wish);
    if (error && outcome == RAYI_OUTCOME_FAILED) { /* its last try has claimed it: the end is ours */
        e->has_lane_count = false;
        rayi_task_fail(node->thread, e->task, error);
    } else if (error) {
        e->has_lane_count = false;
        rayi_task_fail(node->thread, e->task,
                       rayi_error_new(outcome == RAYI_OUTCOME_EXPIRED ? RAY_ERR_DEADLINE : RAY_ERR_CANCELLED,
                                      rayi_task_name(e->task), NULL, "%s failed and was not tried again: %s",
                                      rayi_task_name(e->task), rayi_error_public(error)->message));
        rayi_error_unref(error);
    } else if (outcome == RAYI_OUTCOME_EXPIRED) {
        (void)expire(node, e);
    }
    drop_lane_count(node, e);
    rayi_record_unref(node->thread, &e->task->head);
}

void rayi_escape_ledger_action(rayi_node *node, const rayi_ledger_action *action)
{
    rayi_wish *wish = NULL;
    escape *e;

    HASH_FIND(hh, node->wishes, &action->id, sizeof action->id, wish);
    RAYI_ASSERT(wish && wish->task);
    e = (escape *)wish;
    switch (action->what) {
    case RAYI_LEDGER_WITHDRAW:
        (void)rayi_scheduler_remove(node->scheduler, wish->id);
        break;
    case RAYI_LEDGER_GIVE_BACK:
        rayi_scheduler_finish(node->scheduler, wish->id);
        e->is_blocked = false;
        break;
    case RAYI_LEDGER_RETRY:
        rayi_error_unref(e->error);
        e->error = NULL;
        rayi_task_retry(e->task);
        break;
    case RAYI_LEDGER_SUBMIT:
        if (rayi_wish_submit(node, wish) < 0) {
            fail(node, e,
                 rayi_error_new(RAY_ERR_NO_MEMORY, rayi_task_name(e->task), NULL, "out of memory: the queue of %s",
                                rayi_task_name(e->task)));
            rayi_ledger_refused(node->ledger, wish->id);
        }
        break;
    case RAYI_LEDGER_RUN:
        atomic_store(&e->attempt, action->attempt);
        e->has_lane_count = false;
        rayi_task_enqueue(node->thread, e->task);
        break;
    case RAYI_LEDGER_EXPIRE:
        if (!expire(node, e))
            atomic_fetch_or(&e->task->head.state, RAYI_LATE);
        break;
    case RAYI_LEDGER_END:
        end(node, e, action->outcome);
        break;
    }
}

void rayi_escape_scheduler_action(rayi_node *node, rayi_wish *wish, const rayi_scheduler_action *action)
{
    escape *e = (escape *)wish;

    switch (action->what) {
    case RAYI_SCHEDULER_GRANT:
        rayi_ledger_granted(node->ledger, wish->id);
        break;
    case RAYI_SCHEDULER_REFUSE:
        fail(node, e,
             rayi_error_new(action->code, rayi_task_name(e->task), rayi_executor_node_id(node->executor), "%s: %s",
                            rayi_task_name(e->task), action->message));
        rayi_ledger_refused(node->ledger, wish->id);
        break;
    case RAYI_SCHEDULER_LOST: /* it may run already: then it is asked to stop, and its value is lost */
        if (!fail(node, e,
                  rayi_error_new(action->code, rayi_task_name(e->task), NULL, "%s: %s", rayi_task_name(e->task),
                                 action->message)))
            atomic_fetch_or(&e->task->head.state, RAYI_CANCEL | RAYI_CANCEL_CHILDREN | RAYI_GROUP_LOST);
        break;
    case RAYI_SCHEDULER_WARN:
    case RAYI_SCHEDULER_GROUP_READY:
    case RAYI_SCHEDULER_LANE_GIVE:
    case RAYI_SCHEDULER_LANE_ASK:
        RAYI_ASSERT(!"an action about a task");
    }
}

void rayi_escape_stop(rayi_node *node)
{
    rayi_wish *wish, *next;

    HASH_ITER (hh, node->wishes, wish, next) {
        if (wish->task)
            fail(node, (escape *)wish,
                 rayi_error_new(RAY_ERR_SHUTDOWN, rayi_task_name(wish->task), NULL,
                                "the runtime was shut down before %s had run", rayi_task_name(wish->task)));
    }
}

/* ---- what the executor knows of us ---- */

/* 0 is no event for the scheduler, but the pump that follows looks at the lane. */
static void take_slots(rayi_node *node)
{
    unsigned slots = atomic_exchange(&node->slots_returned, 0);

    if (slots > 0)
        rayi_scheduler_lane_returned(node->scheduler, slots);
}

static void on_slots(rayi_node *node, rayi_message *message)
{
    (void)message;
    atomic_store(&node->slots_posted, false);
    take_slots(node);
}

static void slot_returned(void *of, unsigned slots)
{
    rayi_node *node = of;

    atomic_fetch_add(&node->slots_returned, slots);
    if (!atomic_exchange(&node->slots_posted, true)) {
        node->slots_message.handle = on_slots;
        rayi_loop_post(node, &node->slots_message);
    }
}

static void on_monitor(uv_timer_t *timer)
{
    rayi_node *node = timer->data;

    if (!rayi_lane_unstick(rayi_executor_lane(node->executor)))
        uv_timer_stop(timer);
}

static void on_congested(rayi_node *node, rayi_message *message)
{
    (void)message;
    atomic_store(&node->monitor_posted, false);
    uv_update_time(&node->loop);
    uv_timer_start(&node->monitor, on_monitor, 10, 10);
}

static bool congested(void *of)
{
    rayi_node *node = of;

    if (rayi_lane_stopping(rayi_executor_lane(node->executor)) || rayi_loop_start(node) < 0)
        return false;
    if (!atomic_exchange(&node->monitor_posted, true)) {
        node->monitor_message.handle = on_congested;
        rayi_loop_post(node, &node->monitor_message);
    }
    return true;
}

static void freed(void *of)
{
    rayi_free(of);
}

const rayi_executor_hooks rayi_node_hooks = {
    .escape = escape_task,
    .escaped_ready = escaped_ready,
    .escaped_failed = escaped_failed,
    .escaped_ended = escaped_ended,
    .escaped_blocked = escaped_blocked,
    .escaped_freed = escaped_freed,
    .escaped_resources = escaped_resources,
    .place = rayi_place_actor,
    .unplace = rayi_unplace_actor,
    .place_freed = rayi_place_freed,
    .actor_resources = rayi_place_resources,
    .slot_returned = slot_returned,
    .congested = congested,
    .freed = freed,
};
