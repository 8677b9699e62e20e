/* Starting and stopping, errors, the log, the allocator, and manners: what the library leaves alone. */
#include "check.h"
#include "heap.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(void, fail)
{
    ray_fail("as told");
}
static atomic_int started, gate;
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_fetch_add(&started, 1);
    CHECK_AWAIT(gate, (int)nth);
    return nth;
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell)
{
    self->n = 0;
}
static RAY_METHOD(cell, int64_t, next)
{
    return ++self->n;
}

/* ---- init and shutdown ---- */

static void version(void)
{
    CHECK_INT(ray_version(), RAY_VERSION);
    CHECK_STR(ray_version_string(), "0.1.0");
}

static void inits_nest(void)
{
    check_start(2);
    CHECK(ray_is_initialized());
    CHECK_OK(ray_init(NULL));
    CHECK_OK(ray_init(NULL));
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .num_threads = 1)), RAY_ERR_ALREADY_INITIALIZED);
    check_stop();
    check_stop();
    CHECK(ray_is_initialized());
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
    CHECK(!ray_is_initialized());
    CHECK_OK(ray_shutdown());
}

static void use_everything_once(void)
{
    ray_actor *actor = ray_actor_new(cell);
    ray_ref *ref = ray_put("x", 1), *failed = ray_remote(fail);
    ray_buffer *buffer = ray_create(200000);
    CHECK(buffer);
    CHECK_REF_OK(ray_seal(buffer));
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    CHECK_REF_INT(ray_call(actor, cell_next), 1);
    CHECK_REF(failed, RAY_ERR_TASK_FAILED);
    CHECK_OK(ray_kv_put("key", "x", 1, 0));
    CHECK_OK(ray_object_publish("name", ref, 0));
    ray_release(ref);
    ray_actor_release(actor);
}

static void init_and_shutdown_many_times(void)
{
    size_t fds = 0, threads = 0, resident = 0;
    long live = 0;
    for (int i = 0; i < 110; i++) {
        if (i == 10) { /* what is made once has been made */
            fds = check_open_fds(), threads = check_threads(), resident = check_resident_kb();
            heap_forget_last_error();
            live = heap_live();
        }
        size_t now = check_threads();
        threads = now < threads ? now : threads; /* one was just leaving when they were counted first */
        check_start(2);
        use_everything_once();
        check_stop();
    }
    heap_forget_last_error();
    CHECK_INT(heap_live(), live);
    CHECK_INT(check_open_fds(), fds);
    for (int tries = 0; check_threads() > threads && tries < 200; tries++)
        check_sleep_ms(5);
    CHECK_INT(check_threads(), threads);
    if (check_slowness() == 1) /* sanitizers keep what was freed */
        CHECK(check_resident_kb() < resident + 4096);
}

static void shutdown_with_work_pending(void)
{
    check_start(1);
    ray_ref *running = ray_remote(pass_gate, 1), *queued[10], *fed = ray_remote(twice, running);
    for (int i = 0; i < 10; i++)
        queued[i] = ray_remote(twice, i);
    ray_actor *actor = ray_actor_new(cell);
    ray_ref *call = ray_call(actor, cell_next);
    CHECK_AWAIT(started, 1);
    atomic_store(&gate, 1);
    check_stop();
    for (int i = 0; i < 10; i++)
        ray_release(queued[i]);
    ray_release(running), ray_release(fed), ray_release(call);
    ray_actor_release(actor);
}

static atomic_int serving;
static void *serve(void *arg)
{
    atomic_store(&serving, 1);
    CHECK_OK(ray_serve());
    atomic_store(&serving, 2);
    return arg;
}

static void serve_until_shutdown(void)
{
    pthread_t thread;
    check_start(1);
    CHECK(pthread_create(&thread, NULL, serve, NULL) == 0);
    CHECK_AWAIT(serving, 1);
    check_sleep_ms(30);
    CHECK_INT(atomic_load(&serving), 1);
    check_stop();
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_INT(atomic_load(&serving), 2);
}

static void exit_without_shutdown(void)
{
    check_start(2);
    use_everything_once();
    ray_release(ray_remote(pass_gate, 100)); /* even with work under way */
    CHECK_AWAIT(started, 1);
    exit(0);
}

static void return_without_shutdown(void)
{
    check_start(2);
    use_everything_once();
}

static void local_by_name_and_environment(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .address = "local")));
    check_stop();
    CHECK(setenv("RAY_ADDRESS", "local", 1) == 0);
    CHECK_OK(ray_init(NULL));
    check_stop();
}

/* ---- errors ---- */

static void *has_no_error(void *arg)
{
    CHECK_INT(ray_last_error()->code, 0);
    CHECK(ray_last_error()->message && ray_last_error()->size >= sizeof(ray_error));
    return arg;
}

static void last_errors(void)
{
    pthread_t thread;
    CHECK_INT(ray_last_error()->code, 0);
    check_start(1);
    ray_ref *failed = ray_remote(fail);
    CHECK_CODE(ray_get(failed, NULL), RAY_ERR_TASK_FAILED);
    CHECK_REF_INT(ray_remote(twice, 1), 2); /* a success leaves it */
    CHECK_STR(ray_last_error()->message, "as told");
    CHECK(pthread_create(&thread, NULL, has_no_error, NULL) == 0); /* it belongs to the thread */
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK_CODE(ray_cancel(NULL, 0), RAY_ERR_ARGUMENT); /* the next that fails replaces it */
    CHECK_INT(ray_last_error()->code, RAY_ERR_ARGUMENT);
    CHECK(!ray_last_error()->function);
    CHECK_CODE(ray_get(failed, NULL), RAY_ERR_TASK_FAILED);
    ray_release(failed);
    check_stop();
    CHECK_STR(ray_last_error()->message, "as told");
}

static void error_names(void)
{
#define ROW(NAME, code, text)                                                                                          \
    CHECK_STR(ray_error_name(code), "RAY_ERR_" #NAME);                                                                 \
    CHECK_STR(ray_strerror(code), text);
    RAY_ERROR_TABLE(ROW)
    CHECK_STR(ray_error_name(0), "RAY_OK");
    static const int strange[] = {1, -1, -999, -100, -114, INT32_MIN, INT32_MAX};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        CHECK(ray_strerror(strange[i]) && ray_error_name(strange[i]));
}

/* ---- log ---- */

static atomic_int logged[RAY_LOG_DEBUG + 1];
static void count_events(void *arg, const ray_log_event *event)
{
    CHECK(arg == &started && event->size >= sizeof *event && event->event && event->message);
    CHECK(event->level >= RAY_LOG_ERROR && event->level <= RAY_LOG_DEBUG);
    atomic_fetch_add(&logged[event->level], 1);
}

static void log_levels(void)
{
    CHECK_OK(ray_set_log(count_events, &started, RAY_LOG_WARNING));
    check_start(1);
    check_stop();
    CHECK(atomic_load(&logged[RAY_LOG_INFO]) == 0 && atomic_load(&logged[RAY_LOG_DEBUG]) == 0);
    CHECK_OK(ray_set_log(count_events, &started, RAY_LOG_DEBUG));
    check_start(1);
    CHECK(ray_set_log(NULL, NULL, RAY_LOG_ERROR) != 0); /* comes before ray_init */
    check_stop();
    CHECK(atomic_load(&logged[RAY_LOG_ERROR]) == 0 && atomic_load(&logged[RAY_LOG_WARNING]) == 0);
    CHECK(ray_set_log(count_events, NULL, (ray_log_level)77) == RAY_ERR_ARGUMENT);
    CHECK_OK(ray_set_log(NULL, NULL, RAY_LOG_ERROR));
}

static void allocator_comes_first(void)
{
    check_start(1);
    CHECK(ray_set_allocator(NULL) != 0);
    use_everything_once();
    CHECK(heap_live() > 0); /* it is asked */
    check_stop();
}

/* The host may take its allocator down right after shutdown. */
static void allocator_is_left_alone_after_shutdown(void)
{
    for (int i = 0; i < 500 / check_slowness(); i++) {
        check_start(2);
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
        check_stop();
        CHECK_INT(heap_live(), 0);
    }
}

/* ---- manners ---- */

static size_t count_threads_after_work(void)
{
    for (int i = 0; i < 200; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
    for (int i = 0; i < 50 && check_threads() > 3; i++)
        check_sleep_ms(10);
    return check_threads();
}

static void threads_and_descriptors(void)
{
    cpu_set_t mask;
    size_t before = check_threads();
    CHECK(sched_getaffinity(0, sizeof mask, &mask) == 0);
    CHECK_OK(ray_init(NULL));
    CHECK(count_threads_after_work() <= before + 1 + (size_t)CPU_COUNT(&mask)); /* the loop and one a CPU of the mask */
    check_stop();
    CPU_ZERO(&mask);
    CPU_SET(sched_getcpu(), &mask);
    CHECK(sched_setaffinity(0, sizeof mask, &mask) == 0);
    CHECK_OK(ray_init(NULL));
    CHECK(count_threads_after_work() <= before + 2);
    check_stop();
}

/* Signals are blocked in libray's threads, so that they reach the host's. */
static void signals(void)
{
    struct sigaction before[SIGSYS + 1], after;
    for (int i = 1; i <= SIGSYS; i++)
        CHECK(sigaction(i, NULL, &before[i]) == 0);
    check_start(2);
    use_everything_once();
    for (int i = 1; i <= SIGSYS; i++)
        CHECK(sigaction(i, NULL, &after) == 0 && after.sa_handler == before[i].sa_handler);
    DIR *dir = opendir("/proc/self/task");
    CHECK(dir);
    size_t ours = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], line[256];
        unsigned long long blocked = ~0ull;
        bool traced = false;
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
            continue;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *file = fopen(path, "re");
        while (file && fgets(line, sizeof line, file))
            traced |= sscanf(line, "SigBlk: %llx", &blocked) == 1;
        if (file)
            fclose(file);
        bool blocks_all = traced && (blocked >> (SIGTERM - 1) & 1) && (blocked >> (SIGINT - 1) & 1) &&
                          (blocked >> (SIGUSR1 - 1) & 1) && (blocked >> (SIGCHLD - 1) & 1);
        CHECK(!traced || blocks_all || check_slowness() > 1); /* a sanitizer has threads of its own */
        ours += blocks_all;
    }
    closedir(dir);
    CHECK(ours >= 1);
    check_stop();
}

static void environment_and_files(void)
{
    extern char **environ;
    char place[] = "/tmp/ray-manners-XXXXXX";
    char **before = environ;
    CHECK(mkdtemp(place) && chdir(place) == 0);
    check_start(2);
    use_everything_once();
    CHECK(environ == before);
    check_stop();
    CHECK(chdir("/") == 0);
    CHECK(rmdir(place) == 0); /* it is empty */
}

static void descriptors_are_closed_on_exec(void)
{
    check_start(2);
    use_everything_once();
    FILE *out =
        popen("ls -l /proc/self/fd | grep -c -e memfd -e eventfd -e eventpoll -e socket:", "r"); /* in a child */
    int left = -1;
    CHECK(out && fscanf(out, "%d", &left) == 1);
    pclose(out);
    CHECK_INT(left, 0);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(version), CHECK_TEST(inits_nest), CHECK_TEST(init_and_shutdown_many_times),
           CHECK_TEST(shutdown_with_work_pending), CHECK_TEST(serve_until_shutdown),
           CHECK_TEST_WITH(exit_without_shutdown, CHECK_LEAVES), CHECK_TEST_WITH(return_without_shutdown, CHECK_LEAVES),
           CHECK_TEST(local_by_name_and_environment), CHECK_TEST(last_errors), CHECK_TEST(error_names),
           CHECK_TEST_WITH(log_levels, CHECK_PLAIN), CHECK_TEST(allocator_comes_first),
           CHECK_TEST(allocator_is_left_alone_after_shutdown), CHECK_TEST(threads_and_descriptors), CHECK_TEST(signals),
           CHECK_TEST(environment_and_files), CHECK_TEST(descriptors_are_closed_on_exec))
