/* Worker processes that are copies of a template: they are as those that are started, only sooner; and what becomes of
 * work when the template dies, hangs, or is none. The program itself is the template: check_main calls
 * ray_template_fork. */
#include "check.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

static atomic_int *shared(void)
{
    return check_shared();
}

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, own_pid)
{
    return getpid();
}
static RAY_REMOTE(int64_t, own_parent)
{
    return getppid();
}
static RAY_REMOTE(int64_t, crash)
{
    abort();
}
static RAY_REMOTE(const char *, variable)
{
    const char *value = getenv("CHECK_VARIABLE");
    return value ? value : "none";
}
static RAY_REMOTE(int64_t, wait_here)
{
    CHECK_AWAIT(*shared(), 1);
    return getpid();
}

typedef struct counter {
    int64_t count;
} counter;
static RAY_ACTOR(counter)
{
    self->count = 0;
}
static RAY_METHOD(counter, int64_t, add, (int64_t, by))
{
    return self->count += by;
}
static RAY_METHOD(counter, int64_t, pid)
{
    (void)self;
    return getpid();
}

static void start_with_most(const char *command, uint32_t max_workers)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 2, .isolation = RAY_ISOLATION_PROCESS,
                               .worker_command = command, .worker_template = true, .max_workers = max_workers)));
}

static void start_with(const char *command)
{
    start_with_most(command, 0);
}

static int threads_of(int64_t pid)
{
    char path[64], line[256];
    int threads = 0;
    snprintf(path, sizeof path, "/proc/%lld/status", (long long)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        (void)sscanf(line, "Threads: %d", &threads);
    if (file)
        fclose(file);
    return threads;
}

/* The child that has one thread alone, and for a while: each worker process has one that watches its node's end, but
 * not at once. */
static int64_t template_pid(void)
{
    int64_t pids[64], found = 0, before = 0;
    for (int64_t until = check_now_ms() + 10000; found == 0 || found != before; check_sleep_ms(30)) {
        CHECK(check_now_ms() < until);
        before = found;
        found = 0;
        size_t count = check_children(pids, 64);
        for (size_t i = 0; i < count && i < 64; i++)
            if (threads_of(pids[i]) == 1 && !check_is_gone(pids[i]))
                found = found ? -1 : pids[i];
        found = found < 0 ? 0 : found;
    }
    return found;
}

static void copies_are_worker_processes(void)
{
    start_with(NULL);
    CHECK_REF_INT(ray_remote(twice, 21), 42);
    CHECK_INT(check_number(ray_remote(own_parent)), getpid());
    CHECK_REF_STR(ray_remote(variable), "none");
    ray_ref *ref = ray_remote_opts(&once, crash);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_WORKER_CRASHED);
    CHECK_INT(ray_last_error()->signal, SIGABRT);
    ray_release(ref);
    check_expect_log("worker.died", "", 5000);
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    CHECK(template_pid() != check_number(ray_remote(own_pid)));
    check_stop();
}

/* What differs in its environment is started. */
static void an_environment_of_its_own(void)
{
    const char *const env[] = {"CHECK_VARIABLE=here", NULL};
    start_with(NULL);
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .env = env), variable), "here");
    CHECK_REF_STR(ray_remote(variable), "none");
    check_stop();
}

static void many_actors(void)
{
    enum { MANY = 24 };
    ray_actor *actors[MANY];
    int64_t pids[MANY];
    start_with(NULL);
    const ray_actor_options options = {.size = sizeof options, .resources = "CPU=0", .max_restarts = 1};
    for (int i = 0; i < MANY; i++)
        CHECK(actors[i] = ray_actor_new_opts(&options, counter));
    for (int i = 0; i < MANY; i++)
        CHECK_REF_INT(ray_call(actors[i], counter_add, i), i);
    for (int i = 0; i < MANY; i++) {
        pids[i] = check_number(ray_call(actors[i], counter_pid));
        for (int j = 0; j < i; j++)
            CHECK(pids[i] != pids[j]);
    }
    CHECK(kill((pid_t)pids[5], SIGKILL) == 0);
    check_await_gone(pids[5], 5000);
    for (int64_t until = check_now_ms() + 20000, now; check_now_ms() < until; check_sleep_ms(10)) {
        ray_ref *ref = ray_call(actors[5], counter_pid);
        if (ray_get_timeout(ref, 10000, &now) == 0 && now != pids[5])
            until = 0;
        ray_release(ref);
    }
    CHECK_REF_INT(ray_call(actors[5], counter_add, 1), 1); /* its state is rebuilt */
    check_expect_log("worker.died", "", 5000);
    for (int i = 0; i < MANY; i++)
        ray_actor_release(actors[i]);
    check_stop();
}

/* ---- what befalls a template ---- */

/* With one worker process at most, the next one is wanted as soon as that one is gone. */
static int64_t start_and_find(void)
{
    start_with_most(NULL, 1);
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    return template_pid();
}

static void use_up_the_process(void)
{
    static size_t died;
    ray_ref *ref = ray_remote_opts(&once, crash);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_WORKER_CRASHED);
    ray_release(ref);
    check_expect_logs("worker.died", "SIGABRT", ++died, 5000);
    CHECK_REF_INT(ray_remote(twice, 3), 6);
}

static void it_dies(void)
{
    int64_t template = start_and_find();
    for (int i = 0; i < 4; i++) { /* each has made copies before it dies */
        CHECK(kill((pid_t) template, SIGKILL) == 0);
        check_await_gone(template, 5000);
        use_up_the_process();
        CHECK(template != template_pid());
        template = template_pid();
    }
    check_stop();
}

static void use_up_processes(void)
{
    int64_t pids[64];
    size_t count = check_children(pids, 64);
    for (size_t i = 0; i < count && i < 64; i++)
        if (threads_of(pids[i]) > 1) /* no template */
            (void)kill((pid_t)pids[i], SIGKILL);
}

/* It says that it is ready, and then nothing: after three such ones in a row there is none. */
static void it_hangs_each_time(void)
{
    start_with(STRANGER " hangs");
    for (int64_t until = check_now_ms() + 60000; check_count_log("worker.template", "again and again") == 0;) {
        CHECK(check_now_ms() < until);
        ray_ref *ref = ray_remote_opts(&once, crash); /* a function that it does not know */
        CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_UNKNOWN_FUNCTION);
        ray_release(ref);
        use_up_processes();
    }
    check_expect_log("worker.template", "again and again", 1000);
    check_stop();
}

/* One that is killed as it starts, when another one has made copies before, is replaced like that. */
static void it_dies_as_it_starts(void)
{
    int64_t template = start_and_find();
    CHECK(kill((pid_t) template, SIGKILL) == 0);
    check_await_gone(template, 5000);
    CHECK(setenv("CHECK_TEMPLATE_WAITS", "1", 1) == 0); /* for the next one */
    ray_ref *ref = ray_remote_opts(&once, crash);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_WORKER_CRASHED);
    ray_release(ref);
    ref = ray_remote(twice, 3);
    template = template_pid(); /* it has not said that it is ready yet */
    CHECK(unsetenv("CHECK_TEMPLATE_WAITS") == 0);
    CHECK(kill((pid_t) template, SIGKILL) == 0);
    CHECK_REF_INT(ref, 6);
    CHECK(template_pid() != template);
    CHECK_INT(check_count_log("worker.template", ""), 0);
    check_expect_log("worker.died", "SIGABRT", 5000);
    check_stop();
}

static void it_is_stopped(void)
{
    int64_t template = start_and_find();
    CHECK(kill((pid_t) template, SIGSTOP) == 0);
    int64_t start = check_now_ms();
    use_up_the_process();
    use_up_the_process();
    CHECK(check_now_ms() - start < 10000 * check_slowness());
    CHECK(check_is_gone(template));
    check_stop();
}

static void a_program_that_is_none(void)
{
    start_with(STRANGER); /* goes straight to ray_init, and has another function of that name */
    ray_ref *ref = ray_remote(twice, 2);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_SIGNATURE);
    ray_release(ref);
    check_expect_log("worker.template", "ray_template_fork", 1000);
    check_stop();
    start_with("/bin/false");
    ref = ray_remote(twice, 1);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_SYSTEM);
    ray_release(ref);
    check_expect_logs("worker.template", "ray_template_fork", 2, 1000);
    check_stop();
    start_with("/no/such/program");
    ref = ray_remote(twice, 1);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_SYSTEM);
    CHECK_HAS(ray_last_error()->message, "/no/such/program");
    ray_release(ref);
    check_expect_log("worker.template", "/no/such/program", 1000);
    check_stop();
}

static void ended_while_it_starts(void)
{
    for (int ms = 0; ms < 12; ms++) {
        start_with(NULL);
        ray_ref *ref = ray_remote(twice, 1);
        check_sleep_ms(ms);
        check_stop();
        ray_release(ref);
    }
}

/* The node dies without a word: the template and its copies go with it. */
static void the_node_is_killed(void)
{
    pid_t node = fork();
    if (node == 0) {
        start_with(NULL);
        atomic_store(&shared()[2], (int)check_number(ray_remote(own_pid)));
        atomic_store(&shared()[3], (int)template_pid());
        atomic_store(&shared()[1], 1);
        (void)check_number(ray_remote(wait_here));
        _exit(1);
    }
    CHECK_AWAIT(shared()[1], 1);
    CHECK(kill(node, SIGKILL) == 0 && waitpid(node, NULL, 0) == node);
    check_await_gone(atomic_load(&shared()[2]), 5000);
    check_await_gone(atomic_load(&shared()[3]), 5000);
    check_start_workers(1); /* clears away what it has left */
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(copies_are_worker_processes), CHECK_TEST(an_environment_of_its_own), CHECK_TEST(many_actors),
           CHECK_TEST(it_dies), CHECK_TEST(it_dies_as_it_starts), CHECK_TEST_WITH(it_hangs_each_time, CHECK_WARNINGS),
           CHECK_TEST(it_is_stopped), CHECK_TEST_WITH(a_program_that_is_none, CHECK_WARNINGS),
           CHECK_TEST(ended_while_it_starts), CHECK_TEST(the_node_is_killed))
