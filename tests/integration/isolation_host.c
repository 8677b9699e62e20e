/* Worker processes and the program they belong to: how they are started, limited, kept, told from it, and ended with
 * it. */
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct common {
    atomic_int started, ended, gate, pid, grandchild, interrupts;
    atomic_int num_left, left[8]; /* pids of what tasks have started */
} common;

static common *shared(void)
{
    return check_shared();
}

static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, own_pid)
{
    return getpid();
}
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_store(&shared()->pid, getpid());
    atomic_fetch_add(&shared()->started, 1);
    CHECK_AWAIT(shared()->gate, (int)nth);
    return nth;
}
static RAY_REMOTE(int64_t, sleep_for, (int64_t, ms))
{
    check_sleep_ms(ms);
    return getpid();
}

static void start_with(const ray_config *more)
{
    ray_config config = *more;
    config.size = sizeof config;
    config.isolation = RAY_ISOLATION_PROCESS;
    config.num_threads = config.num_threads ? config.num_threads : 2;
    config.resources = config.resources ? config.resources : "CPU=2";
    CHECK_OK(ray_init(&config));
}

/* ---- limits ---- */

static void *volatile last_block; /* so that no compiler finds the blocks unused */

/* A gigabyte, slowly: a limit counts from what the process has when the node gets to it, and is looked at now and then.
 * It holds by the end, or not at all. */
static void eat(void)
{
    for (int i = 0; i < 64; i++) {
        last_block = malloc(16 << 20);
        CHECK(last_block);
        memset(last_block, i | 1, 16 << 20);
        check_sleep_ms(50);
    }
    check_sleep_ms(30000);
}
static RAY_REMOTE(int64_t, allocate_too_much)
{
    eat();
    return 0;
}
/* Its own memory stays small. */
static RAY_REMOTE(int64_t, forks_an_eater)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    while (pid == 0)
        eat();
    CHECK(waitpid(pid, NULL, 0) == pid);
    return 0;
}
static RAY_REMOTE(int64_t, reads_much, (ray_view, bytes))
{
    int64_t sum = 0;
    for (size_t i = 0; i < bytes.size; i += 4096)
        sum += ((const char *)bytes.data)[i];
    return sum;
}

static void memory_limit(void)
{
    enum { SIZE = 256 << 20 };
    start_with(&(ray_config){.resources = "CPU=2, memory=4GiB"});
    ray_ref *ref =
        ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=1, memory=64MiB", .max_retries = RAY_NO_RETRIES),
                        allocate_too_much);
    CHECK_CODE(ray_get_timeout(ref, 45000 * check_slowness(), NULL), RAY_ERR_OUT_OF_MEMORY);
    CHECK_STR(ray_last_error()->function, "allocate_too_much");
    CHECK_HAS(ray_last_error()->message, "memory");
    CHECK(ray_last_error()->pid > 0);
    ray_release(ref);
    check_expect_log("worker.died", "memory", 5000);
    CHECK_REF(
        ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=1, memory=64MiB", .max_retries = RAY_NO_RETRIES),
                        forks_an_eater),
        RAY_ERR_OUT_OF_MEMORY);
    check_expect_logs("worker.died", "memory", 2, 5000);
    /* What it maps of the store is not its own. */
    ray_buffer *buffer = ray_create(SIZE);
    CHECK(buffer);
    memset(buffer->data, 1, SIZE);
    ray_ref *large = ray_seal(buffer);
    ray_task_options reader = {.size = sizeof reader,
                               .resources = check_has_shadows() ? "memory=1GiB" : "memory=64MiB",
                               .max_retries = RAY_NO_RETRIES};
    CHECK_REF_INT(ray_remote_opts(&reader, reads_much, large), SIZE / 4096);
    ray_release(large);
    CHECK_REF_INT(ray_remote(twice, 1), 2); /* the limit was the task's: it is lifted */
    check_stop();
}

static void cap_on_processes(void)
{
    ray_ref *refs[12];
    start_with(&(ray_config){.resources = "CPU=8", .num_threads = 8, .max_workers = 3});
    for (int i = 0; i < 12; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0.5"), sleep_for, 50);
    for (int i = 0; i < 12; i++) {
        CHECK(check_number(refs[i]) != getpid());
        CHECK(check_children(NULL, 0) <= 3);
    }
    check_stop();
}

static void max_calls(void)
{
    enum { CALLS = 12 };
    int64_t pids[CALLS];
    CHECK_OK(ray_function_set(&ray_fn_own_pid, RAY_WITH(ray_function_options, .max_calls = 1)));
    check_start_workers(2);
    for (int i = 0; i < CALLS; i++) {
        pids[i] = check_number(ray_remote(own_pid));
        for (int j = 0; j < i; j++)
            CHECK(pids[j] != pids[i]);
    }
    CHECK_OK(ray_function_set(&ray_fn_own_pid, RAY_WITH(ray_function_options, .max_calls = 3)));
    ray_ref *refs[CALLS];
    for (int i = 0; i < CALLS; i++)
        refs[i] = ray_remote(own_pid);
    for (int i = 0; i < CALLS; i++)
        pids[i] = check_number(refs[i]);
    for (int i = 0; i < CALLS; i++) {
        int same = 0;
        for (int j = 0; j < CALLS; j++)
            same += pids[j] == pids[i];
        CHECK(same <= 3);
    }
    check_stop();
}

static RAY_REMOTE(const char *, variable, (const char *, name))
{
    const char *value = getenv(name);
    return value ? value : "(none)";
}

static void environment(void)
{
    const char *const env[] = {"FLAVOUR=sweet", "HOME=/somewhere", NULL};
    const ray_task_options with_env = {.size = sizeof with_env, .env = env};
    CHECK(setenv("RAY_KEY_FILE", "/secret/key", 1) == 0 && setenv("OMPI_COMM_WORLD_RANK", "1", 1) == 0);
    CHECK(setenv("COLOUR", "blue", 1) == 0);
    check_start_workers(2);
    CHECK_REF_STR(ray_remote_opts(&with_env, variable, "FLAVOUR"), "sweet");
    CHECK_REF_STR(ray_remote_opts(&with_env, variable, "HOME"), "/somewhere");
    CHECK_REF_STR(ray_remote_opts(&with_env, variable, "COLOUR"), "blue");
    for (int i = 0; i < 20; i++)
        CHECK_REF_STR(ray_remote(variable, "FLAVOUR"), "(none)");
    CHECK_REF_STR(ray_remote(variable, "RAY_KEY_FILE"), "(none)");
    CHECK_REF_STR(ray_remote(variable, "OMPI_COMM_WORLD_RANK"), "(none)");
    CHECK_REF_STR(ray_remote(variable, "RAY_WORKER_OF"), "(none)");
    check_stop();
    /* On a node of threads it takes a process. */
    check_start(2);
    CHECK_REF_STR(ray_remote_opts(&with_env, variable, "FLAVOUR"), "sweet");
    CHECK_REF_STR(ray_remote(variable, "FLAVOUR"), "(none)");
    check_stop();
}

static size_t settled_children(size_t most, int64_t ms)
{
    int64_t end = check_now_ms() + ms * check_slowness();
    while (check_children(NULL, 0) > most && check_now_ms() < end)
        check_sleep_ms(5);
    return check_children(NULL, 0);
}

static void idle_processes_end(void)
{
    ray_ref *refs[6];
    start_with(&(ray_config){.resources = "CPU=6", .num_threads = 6, .worker_idle_ms = 100});
    for (int i = 0; i < 6; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0.9"), pass_gate, 1);
    CHECK_AWAIT(shared()->started, 6); /* all at once: none of them is idle yet */
    CHECK(check_children(NULL, 0) >= 6);
    atomic_store(&shared()->gate, 1);
    for (int i = 0; i < 6; i++)
        CHECK_REF_INT(refs[i], 1);
    CHECK(settled_children(2, 30000) <= 2);
    check_sleep_ms(300);
    CHECK(check_children(NULL, 0) >= 1); /* one is kept ahead of demand */
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
}

typedef struct lodger {
    int64_t pid;
} lodger;
static RAY_ACTOR(lodger)
{
    self->pid = getpid();
}
static RAY_METHOD(lodger, int64_t, pid)
{
    return self->pid;
}

static size_t index_of(int64_t pid, const int64_t *pids, size_t count)
{
    size_t i = 0;
    while (i < count && pids[i] != pid)
        i++;
    return i;
}

/* Waits for a process that is none of these. */
static void await_another(const int64_t *pids, size_t count)
{
    int64_t end = check_now_ms() + 30000 * check_slowness(), now[64];
    for (bool found = false; !found; check_sleep_ms(2)) {
        CHECK(check_now_ms() < end);
        size_t num_now = check_children(now, 64);
        for (size_t i = 0; i < num_now && i < 64; i++)
            found |= index_of(now[i], pids, count) == count;
    }
}

/* Waits until there are so many. */
static void await_children(size_t want)
{
    for (int64_t end = check_now_ms() + 30000 * check_slowness(); check_children(NULL, 0) != want; check_sleep_ms(2))
        CHECK(check_now_ms() < end);
}

/* Ahead of demand: who takes it does not wait for a start, and the next one is there for the next. One that is still
 * starting is not taken: then that actor has come too early, and goes. There may be two spare ones for a while: one
 * that ran a task, and one that was started meanwhile; the second one soon ends here. */
static void a_spare_process_is_kept(void)
{
    ray_actor *lodgers[4];
    start_with(&(ray_config){.worker_idle_ms = 100});
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    int64_t pids[64], end = check_now_ms() + 40000 * check_slowness();
    for (int num = 0; num < 4;) {
        CHECK(check_now_ms() < end);
        await_children((size_t)num + 1); /* the lodgers, and one to spare */
        size_t count = check_children(pids, 64);
        CHECK(count <= 64);
        ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .resources = "CPU=0"), lodger);
        int64_t pid = check_number(ray_call(actor, lodger_pid));
        if (index_of(pid, pids, count) < count) {
            await_another(pids, count);
            lodgers[num++] = actor;
        } else {
            ray_actor_release(actor);
            check_await_gone(pid, 30000 * check_slowness());
        }
    }
    for (int i = 0; i < 4; i++)
        ray_actor_release(lodgers[i]);
    check_stop();
}

/* ---- the start ---- */

static void wrappers(void)
{
    CHECK(setenv("RAY_WORKER_WRAPPER", "/usr/bin/env WRAPPED='by env'", 1) == 0);
    check_start_workers(2);
    CHECK_REF_STR(ray_remote(variable, "WRAPPED"), "by env");
    check_stop();
    CHECK(setenv("RAY_WORKER_WRAPPER", "/bin/sh -c 'WRAPPED=\"by a shell\" \"$@\"; exit $?' sh", 1) == 0);
    check_start_workers(2);
    CHECK_REF_STR(ray_remote(variable, "WRAPPED"), "by a shell");
    ray_ref *ref = ray_remote(pass_gate, 9);
    CHECK_AWAIT(shared()->started, 1);
    int64_t pid = atomic_load(&shared()->pid);
    CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE)); /* the process behind the wrapper ends, too */
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    check_await_gone(pid, 30000 * check_slowness());
    pid = check_number(ray_remote(own_pid));
    check_stop();
    check_await_gone(pid, 30000 * check_slowness());
}

static void expect_no_start(const char *command, const char *words)
{
    start_with(&(ray_config){.worker_command = command});
    ray_ref *ref = ray_remote(twice, 1);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_SYSTEM);
    CHECK_HAS(ray_last_error()->message, "twice");
    CHECK_HAS(ray_last_error()->message, words);
    ray_release(ref);
    check_stop();
}

static void commands_that_start_no_worker(void)
{
    expect_no_start("/no/such/program --option", "/no/such/program");
    expect_no_start("/dev/null", "/dev/null");
    expect_no_start("/bin/false", "ray_init");
    expect_no_start("/bin/sh -c 'echo cannot find my library >&2; exit 3'", "cannot find my library");
    check_expect_log("worker.start_failed", "ray_init", 5000);
}

static void a_command_of_ones_own(void)
{
    char exe[4096], command[5000];
    ssize_t size = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(size > 0);
    exe[size] = 0;
    snprintf(command, sizeof command, "'%s' --here none", exe);
    CHECK(setenv("RAY_WORKER_COMMAND", "/no/such/program", 1) == 0); /* the config wins */
    start_with(&(ray_config){.worker_command = command});
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
    CHECK(setenv("RAY_WORKER_COMMAND", command, 1) == 0);
    check_start_workers(2);
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
}

/* A program that knows other functions, or the same by another signature: says which. */
static void another_program(void)
{
    start_with(&(ray_config){.worker_command = STRANGER});
    ray_ref *ref = ray_remote(twice, 1);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_SIGNATURE);
    CHECK_STR(ray_last_error()->function, "twice");
    CHECK_HAS(ray_last_error()->message, "int64_t(int64_t)");
    CHECK_HAS(ray_last_error()->message, "double(double)");
    ray_release(ref);
    ref = ray_remote(own_pid);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_UNKNOWN_FUNCTION);
    CHECK_HAS(ray_last_error()->message, "own_pid");
    ray_release(ref);
    check_stop();
}

/* A copy of this program elsewhere finds libray where this one has found it. */
static void keep_library_path(void)
{
    char line[4200];
    FILE *maps = fopen("/proc/self/maps", "re");
    CHECK(maps);
    while (fgets(line, sizeof line, maps)) {
        char *path = strchr(line, '/'), *name = path ? strstr(path, "/libray.so") : NULL;
        if (!name)
            continue;
        *name = 0;
        CHECK(setenv("LD_LIBRARY_PATH", path, 1) == 0);
    }
    fclose(maps);
}

/* The program was installed anew while it ran: its workers are what it is itself. */
static void an_executable_that_was_replaced(void)
{
    char exe[4096], copy[4096], command[9000];
    ssize_t size = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(size > 0);
    exe[size] = 0;
    snprintf(copy, sizeof copy, "%s/copy", getenv("TMPDIR"));
    if (strcmp(exe, copy) != 0) {
        snprintf(command, sizeof command, "cp '%s' '%s'", exe, copy);
        CHECK(system(command) == 0);
        keep_library_path();
        execl(copy, copy, "--here", "an_executable_that_was_replaced", (char *)NULL);
        CHECK(!"exec");
    }
    check_start_workers(2);
    CHECK(unlink(copy) == 0);
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    snprintf(command, sizeof command, "cp /bin/false '%s'", copy);
    CHECK(system(command) == 0);
    CHECK_OK(ray_function_set(&ray_fn_own_pid, RAY_WITH(ray_function_options, .max_calls = 1)));
    for (int i = 0; i < 6; i++)
        CHECK(check_number(ray_remote(own_pid)) != getpid());
    check_stop();
}

/* ---- libraries ---- */

static void libraries(void)
{
    char path[4096];
    int64_t x = 5;
    const ray_value arg = RAY_VALUE(&x);
    check_start_workers(2);
    ray_function *triple = ray_function_get("plugin_triple");
    CHECK(triple);
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    CHECK_REF(ray_submit(triple, &arg, 1, NULL), RAY_ERR_UNKNOWN_FUNCTION);
    CHECK_CODE(ray_load("/no/such/library.so", 0), RAY_ERR_LOAD);
    CHECK_HAS(ray_last_error()->message, "/no/such/library.so");
    CHECK_CODE(ray_load("/etc/passwd", 0), RAY_ERR_LOAD);
    CHECK_HAS(ray_last_error()->message, "/etc/passwd");
    CHECK_OK(ray_load(PLUGIN, 0));
    for (int i = 0; i < 10; i++)
        CHECK_REF_INT(ray_submit(triple, &arg, 1, NULL), 15); /* in processes old and new */
    CHECK_OK(ray_load(PLUGIN, 0));
    snprintf(path, sizeof path, "%s/broken.so", getenv("TMPDIR"));
    FILE *file = fopen(path, "we");
    CHECK(file && fputs("\177ELF and nothing more", file) > 0 && fclose(file) == 0);
    CHECK_CODE(ray_load(path, 0), RAY_ERR_LOAD);
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
    check_start_workers(2);
    CHECK_REF_INT(ray_submit(triple, &arg, 1, NULL), 15); /* loaded for good */
    check_stop();
}

static RAY_REMOTE(int64_t, loads, (const char *, path))
{
    return ray_load(path, 0);
}

static void libraries_loaded_inside(void)
{
    int64_t x = 5;
    const ray_value arg = RAY_VALUE(&x);
    check_start_workers(2);
    CHECK_REF_INT(ray_remote(loads, "/no/such/library.so"), RAY_ERR_LOAD);
    CHECK_REF_INT(ray_remote(loads, PLUGIN), 0);
    for (int i = 0; i < 10; i++)
        CHECK_REF_INT(ray_submit(ray_function_get("plugin_triple"), &arg, 1, NULL), 15);
    check_stop();
}

/* ---- the end of the host ---- */

/* A program that uses workers, as a child of this one: both have the shared page. */
static pid_t fork_host(void (*run)(void))
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        run();
        _exit(0);
    }
    return pid;
}

static void host_that_waits(void)
{
    signal(SIGSEGV, SIG_DFL); /* the address sanitizer would catch it */
    check_start_workers(2);
    ray_ref *refs[2];
    for (int i = 0; i < 2; i++)
        refs[i] = ray_remote(pass_gate, 9);
    for (int i = 0; i < 2; i++)
        CHECK_REF_INT(refs[i], 9);
}

static size_t find_children_of(int64_t parent, int64_t *pids, size_t room)
{
    char command[80];
    size_t count = 0;
    snprintf(command, sizeof command, "cat /proc/%lld/task/*/children", (long long)parent);
    FILE *list = popen(command, "re");
    CHECK(list);
    for (long long pid; count < room && fscanf(list, "%lld", &pid) == 1;)
        pids[count++] = pid;
    pclose(list);
    return count;
}

/* How long it took until all of its workers were gone, in milliseconds. */
static int64_t kill_the_host(int number)
{
    int64_t pids[64];
    atomic_store(&shared()->started, 0);
    pid_t host = fork_host(host_that_waits);
    CHECK_AWAIT(shared()->started, 2);
    size_t count = find_children_of(host, pids, 64);
    CHECK(count >= 2);
    int64_t begin = check_now_ms();
    CHECK(kill(host, number) == 0);
    CHECK(waitpid(host, NULL, 0) == host);
    for (size_t i = 0; i < count; i++)
        check_await_gone(pids[i], 30000 * check_slowness());
    return check_now_ms() - begin;
}

static void note_left(pid_t pid)
{
    int i = atomic_fetch_add(&shared()->num_left, 1);
    CHECK(i < 8);
    atomic_store(&shared()->left[i], pid);
}

/* Leaves two processes in its group, one of them another program, and does not end. */
static RAY_REMOTE(void, leaves_others_and, (const char *, what))
{
    char program[] = "sleep", seconds[] = "1000", *const command[] = {program, seconds, NULL};
    sigset_t all;
    pid_t pid = fork();
    CHECK(pid >= 0);
    while (pid == 0)
        pause();
    note_left(pid);
    CHECK(posix_spawnp(&pid, program, NULL, NULL, command, environ) == 0);
    note_left(pid);
    sigfillset(&all);
    if (strcmp(what, "is deaf") == 0)
        CHECK(sigprocmask(SIG_SETMASK, &all, NULL) == 0);
    atomic_fetch_add(&shared()->started, 1);
    if (strcmp(what, "is stopped") == 0)
        raise(SIGSTOP);
    for (volatile int64_t i = 0;; i++)
        if (strcmp(what, "spins") != 0)
            pause();
}

static void host_of_those_that_fork(void)
{
    check_start_workers(3);
    ray_ref *refs[] = {ray_remote(leaves_others_and, "spins"), ray_remote(leaves_others_and, "is deaf"),
                       ray_remote(leaves_others_and, "is stopped")};
    for (int i = 0; i < 3; i++)
        CHECK_REF_OK(refs[i]);
}

/* Nobody is there to end what its workers have started: each of many times it must go with them. */
static void host_of_those_that_fork_is_killed(void)
{
    for (int round = 0; round < 40 / check_slowness(); round++) {
        int64_t pids[64];
        atomic_store(&shared()->started, 0);
        atomic_store(&shared()->num_left, 0);
        pid_t host = fork_host(host_of_those_that_fork);
        CHECK_AWAIT(shared()->started, 3);
        size_t count = find_children_of(host, pids, 64);
        CHECK(count >= 3);
        CHECK(kill(host, SIGKILL) == 0);
        CHECK(waitpid(host, NULL, 0) == host);
        for (size_t i = 0; i < count; i++)
            check_await_gone(pids[i], 30000 * check_slowness());
        for (int i = 0; i < 6; i++)
            check_await_gone(atomic_load(&shared()->left[i]), 30000 * check_slowness());
    }
    check_start_workers(2); /* clears away what those sessions have left */
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
}

static void host_that_is_killed(void)
{
    static const int numbers[] = {SIGKILL, SIGTERM, SIGSEGV};
    int64_t fastest = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t took = kill_the_host(numbers[i]);
        fastest = took < fastest ? took : fastest;
    }
    /* At once; a busy machine may hold some of them up. */
    CHECK(fastest < 1000 * check_slowness());
    check_start_workers(2); /* clears away what those sessions have left */
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    check_stop();
}

static void host_that_exits(void)
{
    int64_t pids[64];
    check_start_workers(2);
    (void)check_number(ray_remote(own_pid));
    size_t count = check_children(pids, 64);
    CHECK(count > 0 && count <= 64);
    /* without a shutdown: the runner sees whether one of them stays */
}

static void on_interrupt(int number)
{
    (void)number;
    atomic_fetch_add(&shared()->interrupts, 1);
}

static RAY_REMOTE(int64_t, own_group)
{
    return getpgrp();
}

/* Ctrl-C at a terminal goes to the process group in the foreground. */
static void interrupts_reach_the_driver_alone(void)
{
    CHECK(setpgid(0, 0) == 0);
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGINT, &action, NULL) == 0);
    check_start_workers(2);
    CHECK(check_number(ray_remote(own_group)) != getpgrp());
    ray_ref *refs[2];
    for (int i = 0; i < 2; i++)
        refs[i] = ray_remote_opts(&once, pass_gate, 1);
    CHECK_AWAIT(shared()->started, 2);
    CHECK(kill(0, SIGINT) == 0);
    CHECK_AWAIT(shared()->interrupts, 1);
    check_sleep_ms(50);
    atomic_store(&shared()->gate, 1);
    for (int i = 0; i < 2; i++)
        CHECK_REF_INT(refs[i], 1);
    CHECK_INT(atomic_load(&shared()->interrupts), 1);
    check_stop();
}

static RAY_REMOTE(int64_t, fork_and_return, (bool, is_waited_for))
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_CODE(ray_get(NULL, NULL), RAY_ERR_FORKED);
        CHECK_REF(ray_remote(twice, 1), RAY_ERR_FORKED);
        if (is_waited_for)
            _exit(7);
        atomic_store(&shared()->grandchild, getpid());
        for (;;)
            pause();
    }
    if (!is_waited_for) {
        CHECK_AWAIT(shared()->grandchild, 1);
        return pid;
    }
    int status = 0;
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void tasks_that_fork(void)
{
    check_start_workers(2);
    CHECK_REF_INT(ray_remote_opts(&once, fork_and_return, true), 7);
    int64_t pid = check_number(ray_remote_opts(&once, fork_and_return, false));
    CHECK(!check_is_gone(pid));
    for (int i = 0; i < 100; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
    CHECK(!check_is_gone(pid)); /* it goes with its worker */
    check_stop();
    check_await_gone(pid, 30000 * check_slowness());
}

/* ---- start and stop ---- */

static void shutdown_while_tasks_run(void)
{
    ray_ref *refs[100];
    check_start_workers(2);
    for (int i = 0; i < 100; i++)
        refs[i] = ray_remote(sleep_for, 20);
    check_sleep_ms(30);
    int64_t begin = check_now_ms();
    check_stop();
    CHECK(check_now_ms() - begin < 30000 * check_slowness());
    for (int i = 0; i < 100; i++)
        ray_release(refs[i]);
    check_start_workers(2);
    for (int i = 0; i < 100; i++)
        ray_release(ray_remote(twice, i));
    check_stop(); /* at once */
    check_start_workers(2);
    check_stop(); /* nothing was ever started */
}

static void twenty_times(void)
{
    size_t fds = 0, resident = 0;
    for (int i = 0; i < 20; i++) {
        check_start_workers(2);
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
        check_stop();
        CHECK_INT(check_children(NULL, 0), 0);
        if (i == 2) {
            fds = check_open_fds();
            resident = check_resident_kb();
        }
    }
    CHECK_INT(check_open_fds(), fds);
    CHECK(check_resident_kb() < resident + 8192);
}

/* ---- descriptors ---- */

static RAY_REMOTE(int64_t, own_fds)
{
    return (int64_t)check_open_fds();
}
static RAY_REMOTE(int64_t, puts_many, (int64_t, count), (uint64_t, size))
{
    char *bytes = calloc(1, (size_t)size);
    CHECK(bytes);
    for (int64_t i = 0; i < count; i++) {
        ray_view view;
        ray_ref *ref = ray_put(bytes, (size_t)size);
        CHECK_OK(ray_get(ref, &view));
        CHECK_INT(view.size, size);
        ray_view_release(&view);
        ray_release(ref);
    }
    free(bytes);
    return count;
}

static void descriptors_do_not_grow(void)
{
    start_with(&(ray_config){.num_threads = 1, .resources = "CPU=1", .max_workers = 1});
    CHECK_REF_INT(ray_remote_opts(&once, puts_many, 10, 200000), 10);
    int64_t there = check_number(ray_remote(own_fds)), here = (int64_t)check_open_fds();
    for (int i = 0; i < 1000; i++) {
        ray_ref *ref = ray_remote(twice, i);
        CHECK_REF_INT(ref, 2 * i);
        ray_release(ray_put(&i, sizeof i));
    }
    CHECK_REF_INT(ray_remote_opts(&once, puts_many, 1000, 10), 1000);
    CHECK_REF_INT(ray_remote_opts(&once, puts_many, 1000, 200000), 1000);
    CHECK(check_number(ray_remote(own_fds)) <= there + 2);
    CHECK((int64_t)check_open_fds() <= here + 2);
    check_stop();
}

/* With so few more than there are, a process cannot be started, or the loop, or maybe it all can. */
static void start_with_descriptors(rlim_t more)
{
    struct rlimit usual, tight;
    CHECK(getrlimit(RLIMIT_NOFILE, &usual) == 0);
    check_start(2); /* threads: no process so far */
    tight = usual;
    tight.rlim_cur = check_open_fds() + more;
    CHECK(setrlimit(RLIMIT_NOFILE, &tight) == 0);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS), twice, 1);
    int r = ray_get_timeout(ref, 20000, NULL);
    CHECK(r == RAY_ERR_SYSTEM || (r == 0 && more > 8));
    ray_release(ref);
    CHECK_REF_INT(ray_remote(twice, 2), 4); /* threads go on */
    CHECK(setrlimit(RLIMIT_NOFILE, &usual) == 0);
    for (int tries = 0; r && tries < 100; tries++) { /* it starts one again, after a while */
        check_sleep_ms(20);
        ref = ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS), twice, 1);
        r = ray_get_timeout(ref, 20000, NULL);
        ray_release(ref);
    }
    CHECK_OK(r);
    check_stop();
}

static void out_of_descriptors(void)
{
    for (rlim_t more = 0; more <= 32; more += more < 16 ? 1 : 4)
        start_with_descriptors(more);
}

CHECK_MAIN(CHECK_TEST(memory_limit), CHECK_TEST(cap_on_processes), CHECK_TEST_WITH(max_calls, CHECK_KEEPS),
           CHECK_TEST(environment), CHECK_TEST(idle_processes_end), CHECK_TEST(a_spare_process_is_kept),
           CHECK_TEST(wrappers), CHECK_TEST_WITH(commands_that_start_no_worker, CHECK_WARNINGS),
           CHECK_TEST(a_command_of_ones_own), CHECK_TEST(another_program),
           CHECK_TEST_WITH(an_executable_that_was_replaced, CHECK_KEEPS), CHECK_TEST_WITH(libraries, CHECK_KEEPS),
           CHECK_TEST_WITH(libraries_loaded_inside, CHECK_KEEPS), CHECK_TEST(host_that_is_killed),
           CHECK_TEST(host_of_those_that_fork_is_killed), CHECK_TEST_WITH(host_that_exits, CHECK_LEAVES),
           CHECK_TEST(interrupts_reach_the_driver_alone), CHECK_TEST(tasks_that_fork),
           CHECK_TEST(shutdown_while_tasks_run), CHECK_TEST(twenty_times), CHECK_TEST(descriptors_do_not_grow),
           CHECK_TEST_WITH(out_of_descriptors, CHECK_WARNINGS))
