/* Escapes: tasks that the lane cannot place, on their way through ledger and scheduler.
 *
 * The task's threads set bits and post the escape's one message when it had none; the loop takes all bits at once. The
 * lane's count on the task is with the loop (has_lane_count) from READY or FAILED until it is run or ended; the
 * ledger's own count lasts from the first message to the END. */
#include "raylet/inside.h"

#include <string.h>

enum {
    BIT_ADD = 1,
    BIT_READY = 2,
    BIT_FAILED = 4,
    BIT_ENDED = 8,
    BIT_BLOCK = 16,
    BIT_INHERIT = 32,
    BIT_CRASHED = 64,
    BIT_AGAIN = 128,
    BIT_FORCE = 256,
    BIT_STOP = 512,
    BIT_LOST = 1024
};

typedef struct escape {
    rayi_wish wish; /* first */
    rayi_message message;
    atomic_uint bits;
    rayi_task *task;
    rayi_ledger_options options;
    rayi_error *error; /* of the try that failed last, while the ledger decides */
    atomic_bool blocks;
    atomic_int inherited; /* its priority, or a higher one of a task that waits for it */
    _Atomic(uint32_t) attempt;
    bool is_blocked, has_lane_count, in_ledger;
    atomic_bool is_away; /* another node runs it */
    uint32_t sendings;
    ray_isolation isolation;
    /* lineage */
    rayi_finding finding; /* while an argument is lost; counts the task */
    struct rayi_made *made;
    bool is_again; /* it runs for the value of another one, which was lost */
    uint32_t depth;
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
    e->task = e->wish.task = task;
    e->message.handle = handle;
    e->wish.priority = options->priority;
    atomic_store(&e->inherited, options->priority);
    e->wish.spread = options->spread;
    e->isolation = options->isolation != RAY_ISOLATION_AUTO || options->env
                       ? options->isolation
                       : rayi_function_isolation(rayi_task_function(task));
    r = rayi_wish_fill(thread, &e->wish, options->resources, &rayi_resources_one_cpu, options->labels, options->node_id,
                       options->node_soft, options->group, options->bundle, rayi_task_name(task));
    if (r < 0)
        return r;
    if (rayi_function_is_abroad(rayi_task_function(task)) && !rayi_plan_is_for(rayi_node_of(thread), &e->wish))
        return rayi_fail(RAY_ERR_UNKNOWN_FUNCTION,
                         "no function of the name %s is on this node, where its placement group is",
                         rayi_function_name(rayi_task_function(task)));
    e->options = (rayi_ledger_options){.held = true,
                                       .retry_failures = options->retry_failures,
                                       .retries = retries == RAY_NO_RETRIES ? 0
                                                  : retries == 0            ? 3
                                                                            : retries,
                                       .deadline_ms = options->deadline_ms == 0 ? INT64_MAX
                                                                                : rayi_moment_ms(options->deadline_ms)};
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

static bool escaped_failed(rayi_thread *thread, rayi_task *task, rayi_error *error, bool crashed, unsigned again)
{
    escape *e = escape_of(task);
    bool may = again == RAYI_AGAIN_YES || (again == RAYI_AGAIN_NO_WORD && e->options.retry_failures);

    bool is_lost = !crashed && rayi_error_code(error) == RAY_ERR_OBJECT_LOST; /* an argument, it seems */

    if ((!crashed && !is_lost && (!may || rayi_error_code(error) != RAY_ERR_TASK_FAILED)) ||
        (atomic_load(&task->head.state) & RAYI_CANCEL) || rayi_lane_stopping(thread->lane))
        return false;
    e->error = error;
    if (post(thread, e, crashed ? BIT_CRASHED : is_lost ? BIT_LOST : again == RAYI_AGAIN_YES ? BIT_AGAIN : BIT_FAILED))
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
    escape *e = escape_of(task);

    if (blocks && record && record->type == RAYI_TASK)
        rayi_escape_inherits(thread, (rayi_task *)record, atomic_load(&e->inherited));
    atomic_store(&e->blocks, blocks);
    (void)post(thread, e, BIT_BLOCK);
}

static void escaped_freed(void *of_task)
{
    escape *e = of_task;

    if (e->made)
        rayi_lineage_unmade(e->made);
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
    return fail(node, e, rayi_task_late_error(e->task));
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

/* ---- arguments that are lost ---- */

static void on_found(rayi_node *node, rayi_finding *finding, rayi_error *error)
{
    escape *e = rayi_container_of(finding, escape, finding);
    rayi_task *task = e->task;

    if (error)
        fail(node, e,
             rayi_error_new(rayi_error_code(error), rayi_task_name(task), rayi_error_public(error)->node_id,
                            "%s: an argument is lost: %s", rayi_task_name(task), rayi_error_public(error)->message));
    else if (e->in_ledger)
        rayi_ledger_ready(node->ledger, e->wish.id);
    rayi_record_unref(node->thread, &task->head);
}

/* The lane's count is the loop's. It waits until the object, whose count is taken, is there again. */
static void hold(rayi_node *node, escape *e, rayi_record *object)
{
    e->has_lane_count = true;
    rayi_ledger_missing(node->ledger, e->wish.id);
    rayi_record_ref(&e->task->head);
    e->finding.found = on_found;
    rayi_lineage_find(node, object, e->depth, &e->finding);
    rayi_record_unref(node->thread, object);
}

static rayi_record *lost_argument(rayi_node *node, escape *e)
{
    return node->cluster ? rayi_cluster_lost_argument(node->cluster, e->task) : NULL;
}

/* Where it was to run it could not read an argument. If that is not for its node's death, the try has failed. */
static void lacks_argument(rayi_node *node, escape *e)
{
    rayi_record *object = lost_argument(node, e);

    if (!object || rayi_task_cancelled(e->task)) {
        if (object)
            rayi_record_unref(node->thread, object);
        e->has_lane_count = true;
        rayi_ledger_finished(node->ledger, e->wish.id, RAYI_OUTCOME_FAILED);
        return;
    }
    rayi_error_unref(e->error);
    e->error = NULL;
    rayi_task_retry(e->task);
    hold(node, e, object);
}

static bool holds_for_argument(rayi_node *node, escape *e)
{
    rayi_record *object = lost_argument(node, e);

    if (object)
        hold(node, e, object);
    return object != NULL;
}

static void inherit(rayi_node *node, escape *e, int32_t priority)
{
    if (e->wish.where == RAYI_WISH_PLANNED)
        rayi_plan_inherit(node, &e->wish, priority);
    else if (e->wish.where == RAYI_WISH_AWAY)
        rayi_away_inherit(node->cluster, &e->wish.there, e->wish.id, priority);
    else
        (void)rayi_scheduler_inherit(node->scheduler, e->wish.id, priority);
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
    if ((bits & BIT_BLOCK) && e->in_ledger && e->wish.where == RAYI_WISH_HERE &&
        e->is_blocked != atomic_load(&e->blocks) && !(bits & BIT_ENDED)) {
        e->is_blocked = !e->is_blocked;
        node->self_changed = true;
        (e->is_blocked ? rayi_scheduler_block : rayi_scheduler_resume)(node->scheduler, e->wish.id);
        if (e->is_blocked && e->wish.is_wide)
            rayi_plan_lent(node, &e->wish);
    }
    if ((bits & BIT_INHERIT) && e->in_ledger)
        inherit(node, e, atomic_load(&e->inherited));
    if (bits & (BIT_FAILED | BIT_AGAIN | BIT_CRASHED)) {
        e->has_lane_count = true;
        rayi_ledger_finished(node->ledger, e->wish.id,
                             bits & BIT_CRASHED ? RAYI_OUTCOME_CRASHED
                             : bits & BIT_AGAIN ? RAYI_OUTCOME_AGAIN
                                                : RAYI_OUTCOME_FAILED);
    }
    if (bits & BIT_LOST)
        lacks_argument(node, e);
    if ((bits & BIT_FORCE) && atomic_load(&e->is_away))
        rayi_away_force(node->cluster, &e->wish.there, e->wish.id);
    if ((bits & BIT_STOP) && atomic_load(&e->is_away))
        rayi_away_stop(node->cluster, &e->wish.there, e->wish.id);
    if (bits & BIT_ENDED)
        ended(node, e);
    rayi_record_unref(node->thread, &task->head); /* the message's */
}

/* ---- on other nodes ---- */

static rayi_error *stopped(const rayi_task *task)
{
    unsigned state = atomic_load(&task->head.state);
    bool late = (state & RAYI_LATE) && !(state & RAYI_CANCEL);

    return late ? rayi_task_late_error(task) : rayi_task_cancelled_error(task);
}

/* It waits again. Of one that was asked to stop meanwhile nobody else will say that it has ended. */
static void come_back(rayi_node *node, escape *e, int code)
{
    rayi_task *task = e->task;

    atomic_store(&e->is_away, false);
    if (rayi_task_cancelled(task)) {
        rayi_result result = {.error = stopped(task)};
        rayi_task_ran(node->thread, task, &result);
        return;
    }
    e->has_lane_count = true;
    rayi_plan_refused(node, &e->wish, code);
    rayi_ledger_returned(node->ledger, e->wish.id);
}

void rayi_escape_came_back(void *of, rayi_task *task, const rayi_node_id *by, int code)
{
    rayi_node *node = of;

    (void)by;
    come_back(node, escape_of(task), code);
    rayi_node_stir(node); /* who calls may be on its way through what is away: nothing may end under it */
}

void rayi_escape_is_back(void *of, rayi_task *task, const rayi_node_id *there)
{
    (void)of, (void)there;
    atomic_store(&escape_of(task)->is_away, false);
}

void rayi_escape_inherits(rayi_thread *thread, rayi_task *task, int32_t priority)
{
    escape *e = (task->head.flags & RAYI_ESCAPED) ? escape_of(task) : NULL;

    int now = e ? atomic_load(&e->inherited) : 0;

    while (e && now < priority)
        if (atomic_compare_exchange_weak(&e->inherited, &now, priority)) {
            (void)post(thread, e, BIT_INHERIT);
            return;
        }
}

/* For somebody who adds a CPU to what names none. The text is in *room, or outlives it; NULL: no memory. */
static const char *resources_of(const escape *e, rayi_text *room)
{
    const rayi_resources *resources = e->wish.resources;

    rayi_text_init(room, rayi_heap);
    if (rayi_resources_amount(resources, "CPU") != 0)
        return resources->text;
    rayi_text_printf(room, "CPU=0%s%s", *resources->text ? ", " : "", resources->text);
    return room->failed ? NULL : room->data;
}

/* It is claimed as long as it is away. */
static void send_away(rayi_node *node, escape *e)
{
    rayi_text room;
    ray_context context = {0};
    rayi_away_options options = {.id = e->wish.id,
                                 .attempt = e->sendings++,
                                 .priority = atomic_load(&e->inherited),
                                 .isolation = e->isolation,
                                 .part = e->wish.is_wide ? e->wish.part : 0,
                                 .part_owner = e->wish.owner,
                                 .any_bundle = e->wish.is_wide && e->wish.bundle == 0,
                                 .bundle = e->wish.part_bundle,
                                 .deadline_ms = e->options.deadline_ms};
    rayi_error *failed;
    bool is_written;

    if (!rayi_record_claim(&e->task->head)) { /* cancelled meanwhile, and ended */
        rayi_record_unref(node->thread, &e->task->head);
        return;
    }
    failed = rayi_task_cancelled(e->task) ? stopped(e->task) : rayi_task_failed_argument(e->task);
    if (failed) {
        rayi_task_fail(node->thread, e->task, failed);
        return;
    }
    rayi_task_describe(node->thread, e->task, NULL, &context);
    options.tries = context.attempt;
    atomic_store(&e->is_away, true); /* before its stream's credit is read, so that no news of it are lost */
    options.resources = resources_of(e, &room);
    is_written = options.resources != NULL;
    if (rayi_resources_are_one_cpu(e->wish.resources))
        options.resources = NULL;
    if (!is_written || !rayi_away_send(node->cluster, &e->wish.there, e->task, &options))
        come_back(node, e, RAY_ERR_NODE_DIED);
    rayi_text_fini(&room);
}

static bool is_away(rayi_task *task)
{
    return (task->head.flags & RAYI_ESCAPED) && atomic_load(&escape_of(task)->is_away);
}

static void end(rayi_node *node, escape *e, rayi_outcome outcome)
{
    rayi_error *error = e->error;

    e->in_ledger = false;
    e->error = NULL;
    rayi_plan_over(node, &e->wish);
    rayi_wish_remove(node, &e->wish);
    if (error && (outcome == RAYI_OUTCOME_FAILED || outcome == RAYI_OUTCOME_AGAIN ||
                  outcome == RAYI_OUTCOME_CRASHED)) { /* its last try has claimed it: the end is ours */
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

/* ---- to whom it goes ---- */

static void submit_here(rayi_node *node, escape *e)
{
    e->wish.where = RAYI_WISH_HERE;
    if (rayi_wish_submit(node, &e->wish) == 0)
        return;
    rayi_plan_over(node, &e->wish);
    fail(node, e,
         rayi_error_new(RAY_ERR_NO_MEMORY, rayi_task_name(e->task), NULL, "out of memory: the queue of %s",
                        rayi_task_name(e->task)));
    rayi_ledger_refused(node->ledger, e->wish.id);
}

/* A task that came back from where it was sent is with the planner already. */
static void submit(rayi_node *node, escape *e)
{
    if (e->wish.where == RAYI_WISH_PLANNED)
        return;
    if (node->left && rayi_plan_is_for(node, &e->wish)) {
        rayi_plan_left(node, &e->wish);
        return;
    }
    if (rayi_plan_is_for(node, &e->wish) && rayi_plan_submit(node, &e->wish) == 0)
        return;
    if (rayi_function_is_abroad(rayi_task_function(e->task)))
        rayi_escape_refused(node, &e->wish, RAY_ERR_NO_MEMORY, "out of memory: the queue of the planner");
    else
        submit_here(node, e);
}

void rayi_escape_assigned_here(rayi_node *node, rayi_wish *wish)
{
    submit_here(node, (escape *)wish);
}

void rayi_escape_refused(rayi_node *node, rayi_wish *wish, int code, const char *message)
{
    escape *e = (escape *)wish;

    fail(node, e,
         rayi_error_new(code, rayi_task_name(e->task), rayi_executor_node_id(node->executor), "%s: %s",
                        rayi_task_name(e->task), message));
    rayi_ledger_refused(node->ledger, wish->id);
}

/* One that came back, and waits again, gives nothing back. */
static void give_back(rayi_node *node, escape *e)
{
    if (e->wish.where == RAYI_WISH_HERE) {
        rayi_scheduler_finish(node->scheduler, e->wish.id);
        node->self_changed = true;
    }
    if (e->wish.where != RAYI_WISH_PLANNED)
        rayi_plan_over(node, &e->wish);
    e->is_blocked = false;
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
        if (wish->where == RAYI_WISH_HERE)
            (void)rayi_scheduler_remove(node->scheduler, wish->id);
        rayi_plan_over(node, wish);
        break;
    case RAYI_LEDGER_GIVE_BACK:
        give_back(node, e);
        break;
    case RAYI_LEDGER_RETRY:
        rayi_error_unref(e->error);
        e->error = NULL;
        rayi_task_retry(e->task);
        break;
    case RAYI_LEDGER_SUBMIT:
        submit(node, e);
        break;
    case RAYI_LEDGER_RUN:
        if (holds_for_argument(node, e))
            break;
        atomic_store(&e->attempt, action->attempt);
        e->has_lane_count = false;
        if (wish->where == RAYI_WISH_AWAY)
            send_away(node, e);
        else
            rayi_task_enqueue(node->thread, e->task);
        break;
    case RAYI_LEDGER_EXPIRE:
        if (!expire(node, e)) {
            atomic_fetch_or(&e->task->head.state, RAYI_LATE);
            if (atomic_load(&e->is_away))
                rayi_away_late(node->cluster, &e->wish.there, wish->id);
            else if (e->task->head.flags & RAYI_ELSEWHERE)
                rayi_node_hooks.tell(node->thread, e->task, false);
        }
        break;
    case RAYI_LEDGER_END:
        end(node, e, action->outcome);
        break;
    }
}

void rayi_escape_lost(rayi_node *node, rayi_wish *wish, int code, const char *message)
{
    escape *e = (escape *)wish;

    if (fail(node, e, rayi_error_new(code, rayi_task_name(e->task), NULL, "%s: %s", rayi_task_name(e->task), message)))
        return;
    atomic_fetch_or(&e->task->head.state, RAYI_CANCEL | RAYI_CANCEL_CHILDREN | RAYI_GROUP_LOST);
    if (!atomic_load(&e->is_away)) /* who has it there hears of the group */
        rayi_node_hooks.tell(node->thread, e->task, false);
}

void rayi_escape_scheduler_action(rayi_node *node, rayi_wish *wish, const rayi_scheduler_action *action)
{
    switch (action->what) {
    case RAYI_SCHEDULER_GRANT:
        rayi_ledger_granted(node->ledger, wish->id);
        break;
    case RAYI_SCHEDULER_REFUSE:
        rayi_escape_refused(node, wish, action->code, action->message);
        break;
    case RAYI_SCHEDULER_LOST:
        rayi_escape_lost(node, wish, action->code, action->message);
        break;
    case RAYI_SCHEDULER_WARN:
    case RAYI_SCHEDULER_GROUP_READY:
    case RAYI_SCHEDULER_LANE_GIVE:
    case RAYI_SCHEDULER_LANE_ASK:
        RAYI_ASSERT(!"an action about a task");
    }
}

const rayi_wish *rayi_escape_wish(rayi_task *task)
{
    return &escape_of(task)->wish;
}

/* ---- for lineage.c ---- */

static escape *escape_if(rayi_task *task)
{
    return task->head.type == RAYI_TASK && (task->head.flags & RAYI_ESCAPED) ? escape_of(task) : NULL;
}

bool rayi_escape_may_run_again(rayi_task *task, int32_t *retries)
{
    const escape *e = escape_of(task);
    uint32_t used = atomic_load(&((escape *)e)->attempt);

    *retries = e->options.retries < 0                ? -1
               : used > (uint32_t)e->options.retries ? 0
                                                     : e->options.retries - (int32_t)used;
    return !e->is_again;
}

void rayi_escape_set_made(rayi_task *task, struct rayi_made *made)
{
    escape_of(task)->made = made;
}

uint32_t rayi_escape_tries(rayi_task *task)
{
    escape *e = escape_if(task);

    return e ? atomic_load(&e->attempt) : 0;
}

static ray_placement_group *group_of(const rayi_node *node, uint64_t number)
{
    ray_placement_group *group = number ? node->groups : NULL;

    while (group && group->number != number)
        group = group->next;
    return group;
}

/* As it was submitted, but for its deadline, which it has met. */
static ray_task_options options_of(const rayi_node *node, rayi_task *task)
{
    const escape *e = escape_of(task);
    const char *name = rayi_task_name(task);

    return (ray_task_options){.size = sizeof(ray_task_options),
                              .name = name == rayi_function_name(rayi_task_function(task)) ? NULL : name,
                              .labels = e->wish.labels ? e->wish.labels->text : NULL,
                              .node_id = e->wish.node_id,
                              .node_soft = e->wish.node_soft,
                              .spread = e->wish.spread,
                              .isolation = e->isolation,
                              .env = (const char *const *)rayi_task_env(task),
                              .priority = e->wish.priority,
                              .own_thread = task->head.flags & RAYI_OWN_THREAD,
                              .retry_failures = e->options.retry_failures,
                              .group = group_of(node, e->wish.group),
                              .bundle = e->wish.bundle};
}

rayi_record *rayi_escape_again(rayi_node *node, rayi_task *task, int32_t retries, uint32_t depth)
{
    ray_task_options options = options_of(node, task);
    rayi_record *again;
    rayi_text room;
    escape *e;

    if (escape_of(task)->wish.group && !options.group)
        return rayi_object_failed(node->thread,
                                  rayi_error_new(RAY_ERR_GROUP_REMOVED, rayi_task_name(task), NULL,
                                                 "the placement group of %s was removed", rayi_task_name(task)));
    options.max_retries = retries == 0 ? RAY_NO_RETRIES : retries;
    options.resources = resources_of(escape_of(task), &room);
    again = options.resources ? rayi_task_again(node->thread, task, &options)
                              : rayi_object_failed(node->thread, rayi_error_plain(RAY_ERR_NO_MEMORY));
    rayi_text_fini(&room);
    e = escape_if((rayi_task *)again);
    if (e) { /* the loop has not taken it up yet */
        e->is_again = true;
        e->depth = depth;
    }
    return again;
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

static void freed(void *of)
{
    rayi_node *node = of;

    if (node->cluster)
        rayi_cluster_unref(node->cluster);
    pthread_mutex_destroy(&node->made_lock);
    pthread_mutex_destroy(&node->start_lock);
    rayi_known_terms_fini(&node->known_terms);
    rayi_free(node->spill_base);
    rayi_free(node);
}

/* It, or tasks that it has submitted, may be in worker processes and on other nodes. What a task has submitted from
 * there is known there, too; only an earlier try may have run here. */
static void tell(rayi_thread *thread, rayi_task *task, bool force)
{
    rayi_node *node = rayi_node_of(thread);
    escape *e = is_away(task) ? escape_of(task) : NULL;
    const ray_actor *actor = task->head.type == RAYI_CALL ? rayi_call_actor(task) : NULL;

    if (actor && rayi_actor_afar(actor)) { /* it has submitted nothing here */
        rayi_away_cancel(node->cluster, &task->head);
        return;
    }
    if (e)
        (void)post(thread, e, force ? BIT_FORCE | BIT_STOP : BIT_STOP);
    if (!e || !force)
        rayi_workers_tell(thread, task, force);
    if (node->cluster && (!e || atomic_load(&e->attempt) > 0))
        rayi_away_look(node->cluster, RAYI_LOOK_CANCELS);
}

static void credit(rayi_thread *thread, rayi_task *task)
{
    const ray_actor *actor = task->head.type == RAYI_CALL ? rayi_call_actor(task) : NULL;

    if ((task->head.flags & RAYI_STAND_IN) || is_away(task) || (actor && rayi_actor_afar(actor)))
        rayi_away_look(rayi_node_of(thread)->cluster, RAYI_LOOK_CREDIT);
    else
        rayi_workers_credit(thread, task);
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
    .actor_begin = rayi_actor_begins,
    .actor_send = rayi_actor_sends,
    .actor_fini = rayi_actor_finishes,
    .actor_take = rayi_actor_takes,
    .actor_end = rayi_actor_ends,
    .actor_park = rayi_actor_parks,
    .actor_afar = rayi_afar_decide,
    .afar_freed = rayi_afar_freed,
    .hosted_died = rayi_cluster_hosted_died,
    .neighbours = &rayi_node_neighbours,
    .dispatch = rayi_workers_dispatch,
    .slot_free = rayi_workers_slot_free,
    .poll = rayi_workers_poll,
    .elsewhere = rayi_workers_elsewhere,
    .tell = tell,
    .is_away = is_away,
    .forget = rayi_join_forget,
    .credit = credit,
    .find = rayi_lineage_await,
    .loaded = rayi_workers_loaded,
    .everywhere = rayi_code_everywhere,
    .functions_grew = rayi_known_grew,
    .slot_returned = rayi_slots_returned,
    .congested = rayi_slots_congested,
    .freed = freed,
};
