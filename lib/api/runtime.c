/* The current runtime: its start and end, and the way of every call into it.
 *
 * life_lock guards the start and the end; a thread that is attached to the lane needs no lock, since the lane lives
 * until it parts. A thread that is not takes the lock to attach, so the runtime cannot go meanwhile. */
#include "api/api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WORKER_FAILED 71 /* exit codes: EX_OSERR, */
#define CLUSTER_ENDED 69 /* EX_UNAVAILABLE */

/* What a ray_config has that does not say its size: it may be of a program that was built when there was no more. */
#define SIZE_OF_NONE offsetof(ray_config, timeline_tasks)

typedef struct current {
    atomic_bool here; /* false: a forked child */
    _Atomic(rayi_node *) node;
    _Atomic(rayi_lane *) lane;
    atomic_bool worker; /* of a node: there is no other one here */
} current;

static current nothing = {.here = true};
static _Atomic(current *) page = &nothing;

static pthread_mutex_t life_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t life_changed = PTHREAD_COND_INITIALIZER;
static _Atomic(const rayi_body *) body = &rayi_node_body;
static unsigned inits;
static bool stopping, was_running;
/* Who serves waits for one of these; the loop may not wait for life_lock, under which ray_init waits for the loop. */
static pthread_mutex_t serve_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t serve_changed = PTHREAD_COND_INITIALIZER;
static uint64_t ends;            /* how many runtimes have ended */
static rayi_error *served_error; /* why the cluster has ended for this node */
static bool served;              /* it has left, as it was asked to */

static current *here(void)
{
    return atomic_load_explicit(&page, memory_order_acquire);
}

bool rayi_in_forked_child(void)
{
    return !atomic_load_explicit(&here()->here, memory_order_relaxed);
}

static int fail_forked(void)
{
    return rayi_fail(RAY_ERR_FORKED, "this process was forked from one that uses libray; only exec helps");
}

static rayi_thread *attach(void)
{
    rayi_thread *thread = NULL;
    rayi_lane *lane;

    if (rayi_in_forked_child()) {
        fail_forked();
        return NULL;
    }
    pthread_mutex_lock(&life_lock);
    lane = atomic_load(&here()->lane);
    if (lane)
        thread = rayi_lane_attach(lane);
    else if (was_running)
        (void)rayi_fail(RAY_ERR_SHUTDOWN, "the runtime is shut down; ray_init starts another one");
    else
        (void)rayi_fail(RAY_ERR_NOT_INITIALIZED, "call ray_init first");
    pthread_mutex_unlock(&life_lock);
    return thread;
}

rayi_thread *rayi_enter(void)
{
    rayi_thread *thread = rayi_self;

    if (__builtin_expect(thread && thread->lane == atomic_load_explicit(&here()->lane, memory_order_acquire), 1))
        return thread;
    return attach();
}

const rayi_body *rayi_body_now(void)
{
    return atomic_load_explicit(&body, memory_order_relaxed); /* it changes before any thread can enter */
}

rayi_executor *rayi_current_executor(void)
{
    rayi_thread *thread = atomic_load(&here()->lane) ? rayi_enter() : NULL;

    return thread ? rayi_executor_of(thread) : NULL;
}

/* ---- checks that several calls share ---- */

bool rayi_check_pointer(const void *pointer, const char *call, const char *what)
{
    if (pointer)
        return true;
    (void)rayi_fail(RAY_ERR_ARGUMENT, "%s: expected %s, got NULL", call, what);
    return false;
}

/* Each begins with its size; 0 stands for all fields of this version. */
const void *rayi_full_options(const void *given, void *room, size_t size)
{
    size_t has = given ? *(const size_t *)given : 0;

    if (has == 0 || has >= size)
        return given;
    memset(room, 0, size);
    return memcpy(room, given, has);
}

bool rayi_check_ref(rayi_thread *thread, const ray_ref *ref, const char *call)
{
    if (__builtin_expect(!ref, 0))
        return rayi_check_pointer(ref, call, "a ref");
    if (__builtin_expect(ref->type == RAYI_FIXED, 0))
        return true;
    if (__builtin_expect(atomic_load_explicit(&((ray_ref *)ref)->refs, memory_order_relaxed) == 0, 0)) {
#ifdef RAYI_DEBUG
        RAYI_ASSERT(!"a handle is not used after its release");
#endif
        (void)rayi_fail(RAY_ERR_ARGUMENT, "%s: expected a ref, got one that was released", call);
        return false;
    }
    if (__builtin_expect(rayi_pool_lane(ref) != thread->lane, 0)) {
        (void)rayi_fail(RAY_ERR_SHUTDOWN, "%s: the ref is of a runtime that was shut down", call);
        return false;
    }
    return true;
}

ray_ref *rayi_failed_ref(void)
{
    rayi_thread *thread = rayi_self;
    int code = rayi_error_last_public()->code;

    if (!thread || rayi_in_forked_child() || thread->lane != atomic_load(&here()->lane))
        return rayi_object_fixed(code);
    return rayi_object_failed_last(thread);
}

bool rayi_is_held(rayi_record *record)
{
    if (!record || record->type == RAYI_FIXED || rayi_in_forked_child())
        return false;
    if (__builtin_expect(atomic_load_explicit(&record->refs, memory_order_relaxed) == 0, 0)) {
#ifdef RAYI_DEBUG
        RAYI_ASSERT(!"a handle is not released twice");
#endif
        return false;
    }
    return true;
}

void rayi_drop(rayi_record *record)
{
    rayi_thread *thread = rayi_self;
    rayi_lane *lane;

    if (!rayi_is_held(record))
        return;
    lane = rayi_pool_lane(record);
    if (__builtin_expect(!thread || thread->lane != lane, 0))
        thread = lane == atomic_load(&here()->lane) ? rayi_enter() : NULL;
    if (thread && thread->lane == lane)
        rayi_record_unref(thread, record);
    else
        rayi_record_unref_late(record);
}

/* ---- start ---- */

static int make_page(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    current *made;

    if (here() != &nothing)
        return 0;
    made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return rayi_fail(RAY_ERR_SYSTEM, "the system gives no page of memory: %s", strerror(errno));
    (void)madvise(made, size, MADV_WIPEONFORK); /* since Linux 4.14 */
    atomic_store(&made->here, true);
    atomic_store_explicit(&page, made, memory_order_release);
    return 0;
}

/* The node is out of its cluster: whoever serves it stops waiting. */
static void on_ended(const rayi_error *why)
{
    pthread_mutex_lock(&serve_lock);
    if (why && !served_error)
        served_error = rayi_error_ref((rayi_error *)why);
    served |= !why;
    pthread_cond_broadcast(&serve_changed);
    pthread_mutex_unlock(&serve_lock);
}

static int start(const ray_config *given)
{
    ray_config config = {.size = sizeof config};
    rayi_node *node;
    int r = make_page();

    if (r < 0)
        return r;
    if (given) {
        memcpy(&config, given, given->size ? RAYI_MIN(given->size, sizeof config) : SIZE_OF_NONE);
        config.size = sizeof config;
    }
    r = rayi_node_new(&config, on_ended, &node);
    if (r < 0)
        return r;
    was_running = true;
    inits = 1;
    atomic_store(&here()->node, node);
    atomic_store(&here()->lane, rayi_executor_lane(rayi_node_executor(node)));
    return 0;
}

/* A process that a node has started: it serves, and ends. Nobody but the node hears why it cannot. */
static void become_worker(const ray_config *config)
{
    rayi_executor *executor;

    if (make_page() < 0 || rayi_worker_start(config, &executor) < 0) {
        dprintf(STDERR_FILENO, "libray: this worker process cannot serve its node: %s\n",
                rayi_error_last_public()->message);
        _exit(WORKER_FAILED);
    }
    was_running = true;
    inits = 1;
    atomic_store(&body, &rayi_worker_body);
    atomic_store(&here()->worker, true);
    atomic_store(&here()->lane, rayi_executor_lane(executor));
    pthread_mutex_unlock(&life_lock);
    exit(rayi_worker_run());
}

static bool in_task(void)
{
    return rayi_self && rayi_self->frame;
}

/* The environment alone makes a program serve; one that asks for the role itself calls ray_serve as well. */
static bool was_told_to_serve(const ray_config *config)
{
    const char *role = getenv("RAY_ROLE");

    return (!config || config->role == RAY_ROLE_AUTO) && role && strcmp(role, "worker") == 0;
}

/* The program never gets control: nobody but who started it hears why the cluster has ended. */
static _Noreturn void serve_and_exit(void)
{
    int status = 0;

    if (ray_serve() < 0) {
        dprintf(STDERR_FILENO, "libray: this worker has left its cluster: %s\n", rayi_error_last_public()->message);
        status = CLUSTER_ENDED;
    }
    (void)ray_shutdown();
    exit(status);
}

int ray_init(const ray_config *config)
{
    bool serves = false;
    int r = 0;

    if (rayi_in_forked_child())
        return fail_forked();
    if (config && config->size != 0 && config->size < offsetof(ray_config, role) + sizeof config->role)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_init: expected .size = sizeof(ray_config) or 0, got %zu", config->size);
    pthread_mutex_lock(&life_lock);
    while (stopping && !in_task())
        pthread_cond_wait(&life_changed, &life_lock);
    if (stopping)
        r = rayi_fail(RAY_ERR_SHUTDOWN, "ray_init: the runtime that runs this task is being shut down");
    else if (inits == 0 && rayi_worker_is_one())
        become_worker(config);
    else if (inits == 0)
        serves = (r = start(config)) == 0 && was_told_to_serve(config);
    else if (config)
        r = rayi_fail(RAY_ERR_ALREADY_INITIALIZED, "ray_init: a runtime runs already; ray_init(NULL) joins it");
    else
        inits++;
    pthread_mutex_unlock(&life_lock);
    if (serves)
        serve_and_exit();
    return r;
}

bool ray_is_initialized(void)
{
    return atomic_load(&here()->node) != NULL || atomic_load(&here()->worker);
}

/* ---- end ---- */

static void stop(void)
{
    rayi_node *node = atomic_load(&here()->node);

    (void)rayi_lane_attach_last(rayi_executor_lane(rayi_node_executor(node)));
    stopping = true;
    atomic_store(&here()->node, NULL);
    pthread_mutex_unlock(&life_lock);
    rayi_node_stop(node);
    pthread_mutex_lock(&life_lock);
    atomic_store(&here()->lane, NULL);
    rayi_node_close(node);
    stopping = false;
    pthread_mutex_lock(&serve_lock);
    rayi_error_unref(served_error);
    served_error = NULL;
    served = false;
    ends++;
    pthread_cond_broadcast(&serve_changed);
    pthread_mutex_unlock(&serve_lock);
    pthread_cond_broadcast(&life_changed);
}

int ray_shutdown(void)
{
    int r = 0;

    if (rayi_in_forked_child())
        return fail_forked();
    if (in_task())
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_shutdown waits for tasks to end: a task cannot call it");
    pthread_mutex_lock(&life_lock);
    while (stopping)
        pthread_cond_wait(&life_changed, &life_lock);
    if (inits == 1 && !atomic_load(&here()->worker)) { /* a worker process ends when its node says so */
        inits = 0;
        stop();
        rayi_error_settle_last();
    } else if (inits > 1) {
        inits--;
    }
    pthread_mutex_unlock(&life_lock);
    return r;
}

int ray_template_fork(void)
{
    return rayi_worker_template_fork();
}

int ray_serve(void)
{
    uint64_t end;
    int r = 0;

    if (!rayi_enter())
        return rayi_error_last_public()->code;
    if (in_task())
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_serve waits for the end of the runtime: a task cannot call it");
    pthread_mutex_lock(&serve_lock);
    end = ends;
    while (ends == end && !served_error && !served)
        pthread_cond_wait(&serve_changed, &serve_lock);
    if (ends == end && served_error)
        r = rayi_error_set_last(rayi_error_ref(served_error));
    pthread_mutex_unlock(&serve_lock);
    return r;
}

/* ---- settings of the process ---- */

static int check_not_running(const char *call)
{
    if (rayi_in_forked_child())
        return fail_forked();
    if (atomic_load(&here()->lane))
        return rayi_fail(RAY_ERR_ALREADY_INITIALIZED, "%s comes before ray_init", call);
    return 0;
}

int ray_set_log(ray_log_fn fn, void *arg, ray_log_level most)
{
    int r = check_not_running("ray_set_log");

    if (r == 0 && fn && (most < RAY_LOG_ERROR || most > RAY_LOG_DEBUG))
        r = rayi_fail(RAY_ERR_ARGUMENT, "ray_set_log: expected a level from RAY_LOG_ERROR to RAY_LOG_DEBUG, got %d",
                      (int)most);
    if (r == 0)
        rayi_log_install(fn, arg, most);
    return r;
}

int ray_set_allocator(const ray_allocator *allocator)
{
    int r = check_not_running("ray_set_allocator");

    if (r == 0 && allocator && (!allocator->alloc || !allocator->realloc || !allocator->free))
        r = rayi_fail(RAY_ERR_ARGUMENT, "ray_set_allocator: alloc, realloc and free must be set");
    if (r == 0)
        rayi_memory_install(allocator);
    return r;
}

int ray_version(void)
{
    return RAY_VERSION;
}

const char *ray_version_string(void)
{
#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)
    return TEXT(RAY_VERSION_MAJOR) "." TEXT(RAY_VERSION_MINOR) "." TEXT(RAY_VERSION_PATCH);
#undef TEXT
#undef TEXT_
}
