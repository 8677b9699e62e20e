/* The node's worker processes: started with the first thing that is for them, ended with the node. What the executor's
 * hooks ask goes on to lib/isolation. */
#include "isolation/isolation.h"
#include "raylet/inside.h"

#include <stdlib.h>
#include <string.h>

static rayi_isolation *isolation_of(const rayi_thread *thread)
{
    return atomic_load_explicit(&rayi_node_of(thread)->isolation, memory_order_acquire);
}

/* ---- what isolation asks of the node ---- */

typedef struct posted {
    rayi_message message;
    void (*fn)(void *arg);
    void *arg;
} posted;

static void run_posted(rayi_node *node, rayi_message *message)
{
    posted *p = rayi_container_of(message, posted, message);

    (void)node;
    p->fn(p->arg);
    rayi_free(p);
}

static bool post(void *of, void (*fn)(void *arg), void *arg)
{
    posted *p = rayi_alloc(sizeof *p);

    if (!p)
        return false;
    *p = (posted){.message.handle = run_posted, .fn = fn, .arg = arg};
    if (rayi_loop_post(of, &p->message))
        return true;
    rayi_free(p);
    return false;
}

static const char *session_logs(void *of)
{
    rayi_node *node = of;

    return node->session ? rayi_session_logs(node->session) : NULL;
}

static uint64_t memory_of(const rayi_wish *wish)
{
    int64_t units = wish && wish->resources ? rayi_resources_amount(wish->resources, "memory") : 0;

    return (uint64_t)(units / RAYI_RESOURCE_UNIT);
}

static uint64_t task_memory(rayi_task *task)
{
    return memory_of(rayi_escape_wish(task));
}

static uint64_t actor_memory(ray_actor *actor)
{
    return memory_of(rayi_place_wish(actor));
}

static const char *task_gpus(rayi_task *task)
{
    return rayi_escape_wish(task)->gpus;
}

static const char *actor_gpus(ray_actor *actor)
{
    const rayi_wish *wish = rayi_place_wish(actor);

    return wish ? wish->gpus : NULL;
}

static void take_library(void *arg, const char *path)
{
    rayi_isolation_load(arg, path);
}

static int start(rayi_node *node, void *arg)
{
    const char *command = node->worker_command ? node->worker_command : getenv("RAY_WORKER_COMMAND");
    rayi_isolation *isolation;
    rayi_isolation_node what = {.node = node,
                                .executor = node->executor,
                                .body = &rayi_node_body,
                                .loop = &node->loop,
                                .thread = node->thread,
                                .post = post,
                                .session_logs = session_logs,
                                .task_memory = task_memory,
                                .actor_memory = actor_memory,
                                .task_gpus = task_gpus,
                                .actor_gpus = actor_gpus,
                                .bring = rayi_code_bring,
                                .command = command && *command ? command : NULL,
                                .has_template = node->worker_template,
                                .max_workers = node->max_workers,
                                .num_cpus = node->num_cpus,
                                .idle_ms = node->worker_idle_ms,
                                .timeout_ms = rayi_executor_timeout_ms(node->executor)};
    int r;

    (void)arg;
    if (atomic_load(&node->isolation))
        return 0;
    if (node->stopping)
        return rayi_fail(RAY_ERR_SHUTDOWN, "the runtime is shut down");
    r = rayi_node_open_session(node);
    if (r == 0)
        r = rayi_isolation_start(&what, &isolation);
    if (r < 0)
        return r;
    rayi_libraries_for_each(take_library, isolation);
    rayi_lane_set_polled(rayi_executor_lane(node->executor), true);
    atomic_store_explicit(&node->isolation, isolation, memory_order_release);
    rayi_isolation_prestart(isolation);
    return 0;
}

/* ---- the hooks ---- */

int rayi_workers_elsewhere(rayi_thread *thread)
{
    return isolation_of(thread) ? 0 : rayi_node_ask(thread, start, NULL);
}

void rayi_workers_dispatch(rayi_thread *thread, rayi_task *task)
{
    rayi_isolation_dispatch(isolation_of(thread), thread, task);
}

void rayi_workers_slot_free(void *of)
{
    rayi_node *node = of;
    rayi_isolation *isolation = atomic_load(&node->isolation);

    if (isolation)
        rayi_isolation_slot_free(isolation);
}

void rayi_workers_poll(rayi_thread *thread, enum rayi_poll when)
{
    rayi_isolation_poll(isolation_of(thread), thread, when);
}

void rayi_workers_tell(rayi_thread *thread, rayi_task *task, bool force)
{
    rayi_isolation *isolation = isolation_of(thread);

    if (isolation)
        rayi_isolation_tell(isolation, thread, task, force);
}

void rayi_workers_credit(rayi_thread *thread, rayi_task *task)
{
    rayi_isolation *isolation = isolation_of(thread);

    if (isolation)
        rayi_isolation_credit(isolation, task);
}

void rayi_workers_actor_begin(rayi_thread *thread, ray_actor *actor, uint32_t life)
{
    rayi_isolation_actor_begin(isolation_of(thread), thread, actor, life);
}

bool rayi_workers_actor_send(rayi_thread *thread, ray_actor *actor, rayi_task *call, uint32_t life)
{
    return rayi_isolation_actor_send(isolation_of(thread), thread, actor, call, life);
}

void rayi_workers_actor_fini(rayi_thread *thread, ray_actor *actor)
{
    rayi_isolation_actor_fini(isolation_of(thread), thread, actor);
}

rayi_task *rayi_workers_actor_take(rayi_thread *thread, ray_actor *actor, bool started_too)
{
    rayi_isolation *isolation = isolation_of(thread);

    return isolation ? rayi_isolation_actor_take(isolation, thread, actor, started_too) : NULL;
}

rayi_task *rayi_workers_actor_park(rayi_thread *thread, ray_actor *actor, bool parks)
{
    rayi_isolation *isolation = isolation_of(thread);

    return isolation ? rayi_isolation_actor_park(isolation, thread, actor, parks) : NULL;
}

void rayi_workers_actor_end(rayi_thread *thread, ray_actor *actor)
{
    rayi_isolation *isolation = isolation_of(thread);

    if (isolation)
        rayi_isolation_actor_end(isolation, actor);
}

void rayi_workers_segment_gone(void *of, uint64_t segment)
{
    rayi_node *node = of;
    rayi_isolation *isolation = atomic_load(&node->isolation);

    if (isolation)
        rayi_isolation_segment_gone(isolation, segment);
}

static int load(rayi_node *node, void *arg)
{
    rayi_isolation_load(atomic_load(&node->isolation), arg);
    return 0;
}

/* Waits for the loop: a task of the library that is submitted next must not overtake the news. */
void rayi_workers_loaded(void *of, const char *path)
{
    rayi_node *node = of;

    if (atomic_load(&node->isolation) && rayi_self)
        (void)rayi_node_ask(rayi_self, load, (void *)path);
}

/* ---- the end ---- */

void rayi_workers_fail_all(rayi_node *node)
{
    rayi_isolation *isolation = atomic_load(&node->isolation);

    if (isolation)
        rayi_isolation_fail_all(isolation);
}

static void done(void *of)
{
    rayi_node *node = of;

    atomic_store_explicit(&node->workers_ended, 1, memory_order_release);
    if (node->stopper)
        rayi_thread_wake(node->stopper);
}

static int stop(rayi_node *node, void *arg)
{
    (void)arg;
    rayi_isolation_stop(atomic_load(&node->isolation), done);
    return 0;
}

void rayi_workers_stop(rayi_node *node, rayi_thread *thread)
{
    if (!atomic_load(&node->isolation))
        return;
    (void)rayi_node_ask(thread, stop, NULL);
    (void)rayi_thread_park(thread, &node->workers_ended, INT64_MAX);
}

void rayi_workers_free(rayi_node *node)
{
    rayi_isolation *isolation = atomic_exchange(&node->isolation, NULL);

    if (isolation)
        rayi_isolation_free(isolation);
}
