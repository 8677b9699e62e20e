/* The executor's life, and what it gives the lane. */
#include "executor/inside.h"

#include <stdio.h>
#include <string.h>

static void ready(rayi_thread *thread, rayi_task *task)
{
    if (task->head.type == RAYI_CALL)
        rayi_actor_created(thread, task);
    else
        rayi_executor_of(thread)->hooks->escaped_ready(thread, task);
}

/* A thread blocks, or goes on: who follows actors that wait for each other wants to know, and who counts CPUs. Tasks
 * that wait further out on its stack, for which it helped, stand still with it and give their CPUs back as well. */
static void blocked(rayi_thread *thread, rayi_record *record, bool blocks)
{
    rayi_frame *frame = thread->frame;
    const rayi_outside *outside = rayi_executor_of(thread)->outside;

    if (outside) {
        if (frame && frame->task)
            outside->blocked(thread, frame->task, record, blocks);
        return;
    }
    rayi_actor_blocked(thread, record);
    for (; frame; frame = frame->outer)
        if (!frame->in_disguise && frame->task && frame->task->head.type == RAYI_TASK &&
            (frame->task->head.flags & RAYI_ESCAPED))
            rayi_executor_of(thread)->hooks->escaped_blocked(thread, frame->task, record, blocks);
}

static void slot_returned(rayi_lane *lane, unsigned slots)
{
    rayi_executor *executor = rayi_lane_owner(lane);

    executor->hooks->slot_returned(executor->node, slots);
}

static bool congested(rayi_lane *lane)
{
    rayi_executor *executor = rayi_lane_owner(lane);

    return executor->hooks->congested(executor->node);
}

static void dispatch(rayi_thread *thread, rayi_task *task)
{
    rayi_executor_of(thread)->hooks->dispatch(thread, task);
}

static void slot_free(rayi_lane *lane)
{
    rayi_executor *executor = rayi_lane_owner(lane);

    executor->hooks->slot_free(executor->node);
}

static void poll(rayi_thread *thread, enum rayi_poll when)
{
    rayi_executor_of(thread)->hooks->poll(thread, when);
}

static void sleep_outside(rayi_thread *thread, atomic_uint *word, int64_t deadline_ns)
{
    rayi_executor_of(thread)->hooks->sleep(thread, word, deadline_ns);
}

static void stir(rayi_lane *lane)
{
    rayi_executor *executor = rayi_lane_owner(lane);

    executor->hooks->stir(executor->node);
}

static void executor_free(void *owner)
{
    rayi_executor *executor = owner;
    const rayi_executor_hooks *hooks = executor->hooks;
    void *node = executor->lane ? executor->node : NULL;

    rayi_functions_free(executor);
    rayi_codes_free(executor);
    if (executor->store)
        rayi_store_close(executor->store);
    pthread_mutex_destroy(&executor->functions_lock);
    pthread_mutex_destroy(&executor->codes_lock);
    rayi_pins_fini(executor);
    pthread_mutex_destroy(&executor->actors_lock);
    pthread_mutex_destroy(&executor->laters_lock);
    rayi_events_free(executor->events);
    rayi_free(executor->ns);
    rayi_free(executor);
    if (node) /* last: the store has told it of its segments */
        hooks->freed(node);
}

static const rayi_lane_ops lane_ops = {
    .run = rayi_task_run,
    .serve = rayi_actor_serve,
    .destroy = rayi_record_destroy,
    .abandoned = rayi_stream_abandoned,
    .ready = ready,
    .blocked = blocked,
    .next_argument = rayi_task_next_argument,
    .slot_returned = slot_returned,
    .congested = congested,
    .freed = executor_free,
    .dispatch = dispatch,
    .slot_free = slot_free,
    .poll = poll,
};

static void make_id(char out[RAYI_ID_SIZE], const char *given)
{
    unsigned char bytes[16];

    if (given) {
        snprintf(out, RAYI_ID_SIZE, "%s", given);
        return;
    }
    rayi_random_bytes(bytes, sizeof bytes);
    rayi_hex(out, bytes, sizeof bytes);
}

static int set_names(rayi_executor *executor, const rayi_executor_config *config)
{
    make_id(executor->node_id, config->node_id);
    make_id(executor->job_id, config->job_id);
    executor->id_prefix = config->id_prefix;
    if (!executor->id_prefix)
        rayi_random_bytes(&executor->id_prefix, sizeof executor->id_prefix);
    atomic_store(&executor->next_id, config->first_number);
    executor->ns = rayi_strdup(config->ns ? config->ns : executor->job_id);
    return executor->ns ? 0 : rayi_error_set_last(rayi_error_no_memory("the namespace"));
}

int rayi_executor_new(const rayi_executor_config *config, const rayi_executor_hooks *hooks, void *node,
                      rayi_executor **out)
{
    rayi_executor *executor = rayi_zalloc(sizeof *executor);
    rayi_lane_ops ops;
    int r;

    if (!executor)
        return rayi_error_set_last(rayi_error_no_memory("the runtime"));
    executor->hooks = hooks;
    executor->node = node;
    executor->timeout_ms = config->timeout_ms;
    executor->lane_is_off = config->lane_is_off;
    executor->processes = config->processes;
    executor->outside = config->outside;
    executor->lease_ms = INT64_MAX;
    pthread_mutex_init(&executor->functions_lock, NULL);
    pthread_mutex_init(&executor->codes_lock, NULL);
    rayi_pins_init(executor);
    pthread_mutex_init(&executor->actors_lock, NULL);
    pthread_mutex_init(&executor->laters_lock, NULL);
    r = set_names(executor, config);
    if (r < 0)
        goto free_executor;
    if (config->events > 0) {
        executor->events = rayi_events_new(config->events, config->lane.num_threads + 2); /* the loop, the program's */
        r = executor->events ? 0 : rayi_error_set_last(rayi_error_no_memory("the record of what runs"));
    }
    if (r == 0)
        r = rayi_store_new(rayi_heap, config->store_bytes, &executor->store);
    if (r < 0)
        goto free_executor;
    if (config->spill_directory)
        r = rayi_store_set_spill_later(executor->store, config->spill_directory, node);
    if (r < 0)
        goto free_executor;
    r = rayi_functions_gather(executor);
    if (r < 0)
        goto free_executor;
    ops = lane_ops;
    ops.sleep = config->outside ? sleep_outside : NULL;
    ops.stir = config->outside ? stir : NULL;
    r = rayi_lane_new(&config->lane, &ops, executor, &executor->lane);
    if (r < 0)
        goto free_executor;
    *out = executor;
    return 0;

free_executor:
    executor_free(executor);
    return r;
}

void rayi_executor_stop(rayi_thread *thread, void (*between)(void *node))
{
    rayi_executor *executor = rayi_executor_of(thread);
    rayi_lane *lane = executor->lane;
    bool joined;

    rayi_lane_set_stopping(lane);
    rayi_store_cancel_waits(executor->store);
    for (int64_t waited = 0;; waited++) {
        between(executor->node);
        rayi_lane_drain(thread);
        rayi_actors_fail_waiting(thread);
        rayi_laters_stop(thread);
        joined = rayi_lane_join(lane, rayi_now_ns() + (waited < 100 ? 10000000 : 100000000));
        if (joined)
            break;
        if (waited == 200)
            rayi_log(RAY_LOG_WARNING, "node.shutdown_waits", executor->node_id,
                     "ray_shutdown waits for functions that still run; let them look at ray_cancelled()");
    }
    rayi_actors_stop(thread);
    between(executor->node);
    rayi_lane_drain(thread);
    rayi_store_end_spilling(executor->store);
}

void rayi_executor_close(rayi_executor *executor)
{
    rayi_lane_close(executor->lane);
}

uint64_t rayi_executor_id_prefix(const rayi_executor *executor)
{
    return executor->id_prefix;
}

uint64_t rayi_executor_number(rayi_executor *executor)
{
    return atomic_fetch_add_explicit(&executor->next_id, 1, memory_order_relaxed) + 1;
}

void rayi_executor_write_id(const rayi_executor *executor, char out[RAYI_ID_SIZE], uint64_t number)
{
    snprintf(out, RAYI_ID_SIZE, "%016llx%016llx", (unsigned long long)executor->id_prefix, (unsigned long long)number);
}

/* ---- what there is ---- */

typedef struct picture {
    rayi_task *tasks[10000];
    size_t count;
} picture;

/* Takes a count of it, unless one is all it has: its holder may drop that without a look at the others. */
static void take_picture(void *arg, rayi_record *record)
{
    picture *p = arg;
    unsigned refs = atomic_load_explicit(&record->refs, memory_order_relaxed);

    if ((record->type != RAYI_TASK && record->type != RAYI_CALL) || p->count == RAYI_COUNT_OF(p->tasks) ||
        (atomic_load_explicit(&record->state, memory_order_relaxed) & RAYI_HOSTED))
        return;
    while (refs > 1)
        if (atomic_compare_exchange_weak_explicit(&record->refs, &refs, refs + 1, memory_order_acquire,
                                                  memory_order_relaxed)) {
            p->tasks[p->count++] = (rayi_task *)record;
            return;
        }
}

static const char *state_of(const rayi_record *record)
{
    if (rayi_record_done(record))
        return rayi_record_failed(record) ? "FAILED" : "FINISHED";
    switch (atomic_load(&record->state) & RAYI_PHASE) {
    case RAYI_PENDING:
        return "PENDING_ARGS_AVAIL";
    case RAYI_QUEUED:
        return "PENDING_NODE_ASSIGNMENT";
    default:
        return "RUNNING";
    }
}

void rayi_tasks_for_each(rayi_thread *thread, void (*visit)(void *arg, const rayi_task_row *row), void *arg)
{
    picture *p = rayi_alloc(sizeof *p);

    if (!p)
        return;
    p->count = 0;
    rayi_pool_for_each(thread->lane, take_picture, p);
    for (size_t i = 0; i < p->count; i++) {
        rayi_record *record = &p->tasks[i]->head;
        rayi_function *function = p->tasks[i]->function;
        if (function)
            visit(arg, &(rayi_task_row){
                           .id = rayi_record_id(thread, record), .name = function->name, .state = state_of(record)});
        rayi_record_unref(thread, record);
    }
    rayi_free(p);
}

rayi_lane *rayi_executor_lane(rayi_executor *executor)
{
    return executor->lane;
}
int64_t rayi_executor_timeout_ms(const rayi_executor *executor)
{
    return executor->timeout_ms;
}
rayi_store *rayi_executor_store(rayi_executor *executor)
{
    return executor->store;
}
void *rayi_executor_node(rayi_executor *executor)
{
    return executor->node;
}
const char *rayi_executor_node_id(const rayi_executor *executor)
{
    return executor->node_id;
}
const char *rayi_executor_job_id(const rayi_executor *executor)
{
    return executor->job_id;
}
const char *rayi_executor_ns(const rayi_executor *executor)
{
    return executor->ns;
}
