/* The loop's thread. Messages come on a stack that a compare-and-swap extends (release); whoever finds it empty wakes
 * the loop, which takes the whole stack (acquire) and handles it in the order of posting. After each batch, and when a
 * timer is due, the brains are asked what to do until they want nothing more. */
#include "raylet/inside.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

static int64_t next_moment(const rayi_node *node)
{
    int64_t next = RAYI_MIN(rayi_ledger_next_deadline(node->ledger), rayi_scheduler_wake_ms(node->scheduler));

    if (node->planner)
        next = RAYI_MIN(next, rayi_planner_wake_ms(node->planner));
    next = RAYI_MIN(next, rayi_overflow_wake_ms(node));
    next = RAYI_MIN(next, rayi_published_wake_ms(node));
    next = RAYI_MIN(next, rayi_keys_wake_ms(node));
    return RAYI_MIN(next, rayi_wide_wake_ms(node));
}

static void on_timer(uv_timer_t *timer)
{
    rayi_node *node = timer->data;
    int64_t now = rayi_now_ms();

    rayi_ledger_tick(node->ledger, now);
    rayi_scheduler_tick(node->scheduler, now);
    if (node->planner)
        rayi_planner_tick(node->planner, now);
    rayi_wide_tick(node, now);
    rayi_published_tick(node, now);
    rayi_keys_tick(node, now);
    rayi_node_pump(node);
}

static void set_timer(rayi_node *node)
{
    int64_t at = next_moment(node);

    if (at == INT64_MAX) {
        uv_timer_stop(&node->timer);
        return;
    }
    uv_update_time(&node->loop);
    uv_timer_start(&node->timer, on_timer, (uint64_t)RAYI_MAX(at - rayi_now_ms(), 0), 0);
}

static void scheduler_action(rayi_node *node, const rayi_scheduler_action *action)
{
    rayi_wish *wish = NULL;

    switch (action->what) {
    case RAYI_SCHEDULER_LANE_GIVE:
        rayi_lane_grant(rayi_executor_lane(node->executor), action->slots);
        return;
    case RAYI_SCHEDULER_LANE_ASK:
        rayi_lane_reclaim(rayi_executor_lane(node->executor), action->slots);
        return;
    case RAYI_SCHEDULER_GROUP_READY:
        rayi_group_is_ready(node, action->group);
        return;
    case RAYI_SCHEDULER_WARN:
        rayi_log(RAY_LOG_WARNING, "task.unplaceable", rayi_executor_node_id(node->executor), "%s", action->message);
        return;
    case RAYI_SCHEDULER_GRANT:
    case RAYI_SCHEDULER_REFUSE:
    case RAYI_SCHEDULER_LOST:
        break;
    }
    HASH_FIND(hh, node->wishes, &action->id, sizeof action->id, wish);
    RAYI_ASSERT(wish);
    if (action->what == RAYI_SCHEDULER_GRANT && *action->gpus && !wish->gpus)
        wish->gpus = rayi_strdup(action->gpus);
    if (wish->task)
        rayi_escape_scheduler_action(node, wish, action);
    else
        rayi_place_scheduler_action(node, wish, action);
}

void rayi_node_pump(rayi_node *node)
{
    rayi_ledger_action ledger;
    rayi_scheduler_action scheduler;
    bool any;

    rayi_scheduler_lane_waiting(node->scheduler, rayi_lane_starved(rayi_executor_lane(node->executor)));
    do {
        any = false;
        while (rayi_ledger_next(node->ledger, &ledger)) {
            rayi_escape_ledger_action(node, &ledger);
            any = true;
        }
        any |= rayi_wide_pump(node);
        any |= rayi_plan_pump(node);
        any |= rayi_published_pump(node);
        while (rayi_scheduler_next(node->scheduler, &scheduler)) {
            scheduler_action(node, &scheduler);
            node->self_changed = any = true;
        }
    } while (any);
    if (!atomic_load(&node->running))
        return;
    if (node->cluster) {
        rayi_overflow_look(node);
        rayi_cluster_pump(node->cluster);
    }
    set_timer(node);
}

void rayi_node_stir(rayi_node *node)
{
    rayi_wake_send(&node->wake);
}

static void handle_all(rayi_node *node)
{
    rayi_message *message = atomic_exchange_explicit(&node->inbox, NULL, memory_order_acq_rel), *first = NULL, *next;

    for (; message; message = next) {
        next = message->next;
        message->next = first;
        first = message;
    }
    for (message = first; message; message = next) {
        next = message->next; /* its owner may post it again as soon as it is handled */
        message->handle(node, message);
    }
    rayi_node_pump(node);
}

static void on_wake(void *node)
{
    handle_all(node);
}

/* `posting` and `running` are sequentially consistent: either the poster sees that the loop has ended, or the loop,
 * which waits for posters before its last look at the inbox, sees the post. */
bool rayi_loop_post(rayi_node *node, rayi_message *message)
{
    rayi_message *first;
    bool runs;

    atomic_fetch_add(&node->posting, 1);
    runs = atomic_load(&node->running);
    if (runs) {
        first = atomic_load_explicit(&node->inbox, memory_order_relaxed);
        do
            message->next = first;
        while (!atomic_compare_exchange_weak_explicit(&node->inbox, &first, message, memory_order_acq_rel,
                                                      memory_order_relaxed));
        if (!first)
            rayi_wake_send(&node->wake);
    }
    atomic_fetch_sub(&node->posting, 1);
    return runs;
}

/* ---- the loop's life ---- */

/* A loop needs that many at most. libuv 1.44 keeps its epoll descriptor for good when a later one cannot be had, so it
 * is not asked for a loop while so few are left. */
static int probe_descriptors(void)
{
    int fds[8], r = 0;
    size_t count = 0;

    while (count < RAYI_COUNT_OF(fds) && r == 0) {
        fds[count] = eventfd(0, EFD_CLOEXEC);
        if (fds[count] >= 0)
            count++;
        else
            r = uv_translate_sys_error(errno);
    }
    while (count > 0)
        close(fds[--count]);
    return r;
}

/* Of a node alone the loop is on no short way: its threads wait for each other, and for worker processes, themselves.
 */
static bool may_search(void *of)
{
    const rayi_node *node = of;

    return node->cluster && rayi_lane_has_free_cpu(rayi_executor_lane(node->executor));
}

static void searches(void *of, bool begins)
{
    const rayi_node *node = of;

    rayi_lane_set_loop_searches(rayi_executor_lane(node->executor), begins);
}

static int open_handles(rayi_node *node)
{
    int r = probe_descriptors();

    if (r == 0)
        r = uv_loop_init(&node->loop);
    if (r < 0)
        return r;
    rayi_vigil_open(&node->vigil, &node->loop, may_search, searches, node);
    r = rayi_wake_open(&node->wake, &node->loop, &node->vigil, on_wake, node);
    if (r < 0) {
        rayi_vigil_close(&node->vigil);
        uv_run(&node->loop, UV_RUN_DEFAULT);
        uv_loop_close(&node->loop);
        return r;
    }
    uv_timer_init(&node->loop, &node->timer);
    uv_timer_init(&node->loop, &node->monitor);
    uv_timer_init(&node->loop, &node->cooling);
    node->timer.data = node->monitor.data = node->cooling.data = node;
    return 0;
}

static void close_handles(rayi_node *node)
{
    rayi_wake_close(&node->wake, NULL);
    rayi_vigil_close(&node->vigil);
    uv_close((uv_handle_t *)&node->timer, NULL);
    uv_close((uv_handle_t *)&node->monitor, NULL);
    uv_close((uv_handle_t *)&node->cooling, NULL);
}

/* The thread has its place in the lane before anything is posted, or the start has failed. */
typedef struct start {
    rayi_node *node;
    uv_sem_t done;
    bool failed;
} start;

static void *loop_main(void *arg)
{
    start *begun = arg;
    rayi_node *node = begun->node;

    node->thread = rayi_lane_attach(rayi_executor_lane(node->executor));
    begun->failed = !node->thread;
    if (node->thread)
        node->thread->never_waits = true;
    uv_sem_post(&begun->done); /* begun is gone from here on */
    if (node->thread)
        uv_run(&node->loop, UV_RUN_DEFAULT);
    rayi_lane_detach();
    return NULL;
}

/* 0, or a code without words; RAY_ERR_SYSTEM: *why is libuv's. */
static int start_thread(rayi_node *node, int *why)
{
    start begun = {.node = node};
    sigset_t all, old;
    int r;

    uv_sem_init(&begun.done, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&node->loop_thread, NULL, loop_main, &begun);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0) {
        uv_sem_wait(&begun.done);
        if (begun.failed)
            pthread_join(node->loop_thread, NULL);
    }
    uv_sem_destroy(&begun.done);
    *why = uv_translate_sys_error(r);
    return r != 0 ? RAY_ERR_SYSTEM : begun.failed ? RAY_ERR_NO_MEMORY : 0;
}

static int start_loop(rayi_node *node, int *why)
{
    int r;

    *why = open_handles(node);
    if (*why < 0)
        return RAY_ERR_SYSTEM;
    r = start_thread(node, why);
    if (r == 0) {
        atomic_store_explicit(&node->running, true, memory_order_release);
        return 0;
    }
    close_handles(node);
    uv_run(&node->loop, UV_RUN_DEFAULT);
    uv_loop_close(&node->loop);
    return r;
}

static int start_if_needed(rayi_node *node, int *why)
{
    int r = 0;

    if (atomic_load_explicit(&node->running, memory_order_acquire))
        return 0;
    pthread_mutex_lock(&node->start_lock);
    if (node->ended)
        r = RAY_ERR_SHUTDOWN;
    else if (!atomic_load(&node->running))
        r = start_loop(node, why);
    pthread_mutex_unlock(&node->start_lock);
    return r;
}

bool rayi_loop_try_start(rayi_node *node)
{
    int why;

    return start_if_needed(node, &why) == 0;
}

int rayi_loop_start(rayi_node *node)
{
    int why = 0, r = start_if_needed(node, &why);

    switch (r) {
    case 0:
        return 0;
    case RAY_ERR_SHUTDOWN:
        return rayi_fail(r, "the runtime is shut down");
    case RAY_ERR_NO_MEMORY:
        return rayi_fail(r, "out of memory: the node's loop");
    default:
        return rayi_fail(r, "the node's loop cannot start: %s", uv_strerror(why));
    }
}

static void on_stop(rayi_node *node, rayi_message *message)
{
    (void)message;
    atomic_store(&node->running, false);
    while (atomic_load(&node->posting) > 0)
        sched_yield();
    close_handles(node);
}

void rayi_loop_stop(rayi_node *node)
{
    rayi_message message = {.handle = on_stop};

    pthread_mutex_lock(&node->start_lock);
    node->ended = true;
    pthread_mutex_unlock(&node->start_lock);
    if (!rayi_loop_post(node, &message))
        return;
    pthread_join(node->loop_thread, NULL);
    uv_loop_close(&node->loop);
    node->thread = rayi_self; /* who stops the node is its loop from here on */
    while (atomic_load(&node->inbox))
        handle_all(node);
}

/* ---- asking the loop ---- */

typedef struct question {
    rayi_message message;
    rayi_thread *asker;
    int (*fn)(rayi_node *node, void *arg);
    void *arg;
    int r;
    rayi_error *error;
    atomic_uint answered;
} question;

static void answer(rayi_node *node, rayi_message *message)
{
    question *q = rayi_container_of(message, question, message);
    rayi_thread *asker = q->asker;

    q->r = q->fn(node, q->arg);
    if (q->r < 0)
        q->error = rayi_error_last();
    atomic_store_explicit(&q->answered, 1, memory_order_release);
    rayi_thread_wake(asker);
}

int rayi_node_ask(rayi_thread *thread, int (*fn)(rayi_node *node, void *arg), void *arg)
{
    rayi_node *node = rayi_node_of(thread);
    question q = {.message.handle = answer, .asker = thread, .fn = fn, .arg = arg};
    int r;

    if (thread == node->thread)
        return fn(node, arg);
    if (rayi_lane_stopping(thread->lane) && thread != node->stopper)
        return rayi_fail(RAY_ERR_SHUTDOWN, "the runtime is shut down");
    r = rayi_loop_start(node);
    if (r < 0)
        return r;
    if (!rayi_loop_post(node, &q.message))
        return rayi_fail(RAY_ERR_SHUTDOWN, "the runtime is shut down");
    rayi_thread_park(thread, &q.answered, INT64_MAX);
    if (q.error)
        rayi_error_set_last(q.error);
    return q.r;
}
