/* The life of a process: start, end in each way, kill, close, what the child gets and what is left here. */
#include "helper.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

LOOP_TEST(process, exits)
{
    started child = {0};
    RUN(&child, "exit", "0");
    cr_assert(child.end.known);
    cr_assert_eq(child.end.exit_code, 0);
    cr_assert_eq(child.end.signal, 0);
    RUN(&child, "exit", "3");
    cr_assert(child.end.known && !child.end.core_dumped && !child.end.out_of_memory);
    cr_assert_eq(child.end.exit_code, 3);
    cr_assert_eq(child.end.signal, 0);
}

LOOP_TEST(process, crashes)
{
    started child = {0};
    RUN(&child, "crash", "plain");
    cr_assert(child.end.known && !child.end.core_dumped && !child.end.out_of_memory);
    cr_assert_eq(child.end.exit_code, -1);
    cr_assert_eq(child.end.signal, SIGSEGV);
}

LOOP_TEST(process, tells_of_a_core_dump)
{
    started child = {0};
    struct rlimit most;
    char *folder = make_folder();
    cr_assert_eq(chdir(folder), 0);
    getrlimit(RLIMIT_CORE, &most);
    RUN(&child, "crash", "core");
    cr_assert_eq(child.end.signal, SIGSEGV);
    if (most.rlim_max == 0) /* else the kernel dumps, be it into a pipe */
        cr_assert_not(child.end.core_dumped);
    else
        cr_assert(child.end.core_dumped);
    cr_assert_eq(chdir("/"), 0);
    remove_folder(folder);
}

LOOP_TEST(process, is_killed)
{
    started child = {0};
    START(&child, "sleep");
    cr_assert_not(rayi_process_ended(child.process));
    rayi_process_kill(child.process, SIGKILL);
    wait_end(&child);
    cr_assert_eq(child.end.exit_code, -1);
    cr_assert_eq(child.end.signal, SIGKILL);
    cr_assert_not(child.end.out_of_memory);
    rayi_process_kill(child.process, SIGKILL); /* may come late */
    rayi_process_kill(child.process, SIGTERM);
    finish(&child);
    START(&child, "sleep");
    rayi_process_kill(child.process, SIGTERM);
    wait_end(&child);
    cr_assert_eq(child.end.signal, SIGTERM);
    finish(&child);
}

LOOP_TEST(process, closes_from_its_end)
{
    started child = {.close_at_end = true};
    RUN(&child, "exit", "7");
    cr_assert_eq(child.end.exit_code, 7);
}

LOOP_TEST(process, closes_before_its_end)
{
    started child = {0};
    START(&child, "sleep");
    int64_t pid = rayi_process_pid(child.process);
    finish(&child);
    cr_assert_eq(child.num_ends, 0);
    cr_assert_not(is_alive(pid));
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a zombie is left");
    START(&child, "stop"); /* a stopped one is no exception */
    finish(&child);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a zombie is left");
}

LOOP_TEST(process, closes_without_being_told)
{
    started child = {0};
    START(&child, "sleep");
    rayi_process_close(child.process, NULL, NULL);
    START(&child, "exit", "0");
    wait_end(&child);
    rayi_process_close(child.process, NULL, NULL);
}

LOOP_TEST(process, is_a_zombie_until_it_is_closed)
{
    started child = {0};
    START(&child, "exit", "0");
    cr_assert_neq(rayi_process_state(child.process), 0);
    wait_end(&child);
    cr_assert_eq(rayi_process_state(child.process), 'Z');
    cr_assert_eq(rayi_process_rss_bytes(child.process), 0);
    finish(&child);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}

static bool is_stopped(void *arg)
{
    return rayi_process_state(((started *)arg)->process) == 'T';
}

LOOP_TEST(process, state_and_memory)
{
    started child = {0};
    START(&child, "stop");
    cr_assert(run_until(is_stopped, &child, 5000));
    cr_assert_gt(rayi_process_rss_bytes(child.process), 4096);
    cr_assert_eq(child.num_ends, 0, "stopped is not ended");
    rayi_process_kill(child.process, SIGCONT);
    wait_end(&child);
    cr_assert_eq(child.end.exit_code, 4);
    finish(&child);
}

static bool is_gone(void *arg)
{
    return !is_alive(*(int64_t *)arg);
}

static void wait_gone(int64_t pid)
{
    cr_assert(run_until(is_gone, &pid, 30000), "process %lld lives on", (long long)pid);
}

LOOP_TEST(process, grandchild_holds_the_pipe)
{
    started child = {0};
    int64_t grandchild;
    listen_to_log();
    START(&child, "leave");
    wait_end(&child); /* the pipe has no end */
    cr_assert(logged("grandchild "), "its output comes before its end");
    grandchild = atoll(strstr(lines[0], "grandchild ") + strlen("grandchild "));
    cr_assert(is_alive(grandchild));
    rayi_process_kill(child.process, SIGKILL);
    wait_gone(grandchild);
    finish(&child);
}

LOOP_TEST(process, close_kills_the_group)
{
    started child = {0};
    int64_t grandchild;
    listen_to_log();
    rayi_process_options options =
        options_of(&child, (const char *const[]){"sh", "-c", CHILD " leave; exec " CHILD " sleep", NULL});
    start(&child, &options);
    wait_for_line("grandchild ");
    grandchild = atoll(strstr(lines[0], "grandchild ") + strlen("grandchild "));
    cr_assert(is_alive(grandchild));
    finish(&child);
    wait_gone(grandchild);
}

static int64_t grandchild_logged(void)
{
    return logged("grandchild ") ? atoll(strstr(lines[0], "grandchild ") + strlen("grandchild ")) : 0;
}

static bool has_grandchild_and_is_stopped(void *arg)
{
    return logged("grandchild ") && is_stopped(arg);
}

/* Criterion hears nothing of this process. */
_Noreturn static void be_killed_with_a_group(int answer)
{
    started child = {0};
    rayi_process_options options =
        options_of(&child, (const char *const[]){"sh", "-c", CHILD " leave; exec " CHILD " stop", NULL});
    uv_loop_fork(&loop);
    listen_to_log();
    if (rayi_process_start(&loop, &options, &child.process) == 0 &&
        run_until(has_grandchild_and_is_stopped, &child, 5000)) {
        int64_t pids[] = {rayi_process_pid(child.process), grandchild_logged()};
        if (write(answer, pids, sizeof pids) == (ssize_t)sizeof pids)
            raise(SIGKILL);
    }
    _exit(1);
}

/* Nothing in the child sees to that: it does not even know its parent. */
LOOP_TEST(process, the_group_ends_with_this_process)
{
    int pipes[2];
    int64_t pids[2] = {0};
    cr_assert_eq(pipe(pipes), 0);
    pid_t host = fork();
    if (host == 0)
        be_killed_with_a_group(pipes[1]);
    close(pipes[1]);
    cr_assert_eq(read(pipes[0], pids, sizeof pids), (ssize_t)sizeof pids);
    cr_assert_eq(waitpid(host, NULL, 0), host);
    wait_gone(pids[0]);
    wait_gone(pids[1]);
    close(pipes[0]);
}

LOOP_TEST(process, close_after_the_end_kills_nobody)
{
    started child = {0};
    listen_to_log();
    START(&child, "leave");
    wait_end(&child);
    int64_t grandchild = grandchild_logged();
    finish(&child);
    run_for(20);
    cr_assert(is_alive(grandchild));
    cr_assert_eq(kill((pid_t)grandchild, SIGKILL), 0);
}

/* --- hosts that take the status away ------------------------------------------------------------------------------ */

LOOP_TEST(process, host_ignores_its_children)
{
    started child = {0};
    signal(SIGCHLD, SIG_IGN);
    RUN(&child, "exit", "3");
    cr_assert_not(child.end.known);
    cr_assert_eq(child.end.exit_code, -1);
    cr_assert_eq(child.end.signal, 0);
    START(&child, "sleep");
    rayi_process_kill(child.process, SIGKILL);
    wait_end(&child);
    cr_assert_not(child.end.known);
    cr_assert_eq(rayi_process_state(child.process), 0);
    finish(&child);
    START(&child, "sleep");
    finish(&child); /* killed and gone without a status */
    cr_assert_eq(child.num_ends, 0);
}

LOOP_TEST(process, host_reaps_everything)
{
    started child = {0}, other = {0};
    START(&child, "exit", "3");
    cr_assert_eq(waitpid(-1, NULL, 0), rayi_process_pid(child.process));
    wait_end(&child);
    cr_assert_not(child.end.known);
    START(&other, "sleep"); /* its pid may come back: here it does */
    pid_t pid = child.process->pid;
    child.process->pid = other.process->pid;
    rayi_process_kill(child.process, SIGKILL);
    rayi_process_kill(child.process, SIGTERM);
    cr_assert_eq(rayi_process_state(child.process), 0);
    run_for(50);
    cr_assert_eq(other.num_ends, 0, "somebody else was killed");
    child.process->pid = pid;
    finish(&child);
    finish(&other);
}

/* Without pidfd the tick tells. */
LOOP_TEST(process, without_pidfd)
{
    started child = {0};
    for (int i = 0; i < 2; i++) {
        START(&child, i == 0 ? "sleep" : "close");
        uv_poll_stop(&child.process->watch);
        child.process->polls_end = true;
        rayi_process_set_tick(child.process);
        close(child.process->pidfd);
        child.process->pidfd = -1;
        run_for(30);
        if (i == 0)
            rayi_process_kill(child.process, SIGKILL);
        wait_end(&child);
        cr_assert(child.end.known);
        cr_assert_eq(child.end.signal, i == 0 ? SIGKILL : 0);
        cr_assert_eq(child.end.exit_code, i == 0 ? -1 : 5);
        finish(&child);
    }
}

static bool polls_end(void *arg)
{
    return ((started *)arg)->process->polls_end;
}

/* A debugger keeps the zombie for itself a while: pidfd says that it ended, and nobody can wait for it. */
LOOP_TEST(process, a_debugger_holds_it)
{
    started child = {0};
    int pipes[2], hold[2];
    char byte = 0;
    START(&child, "sleep");
    cr_assert_eq(pipe(pipes), 0);
    cr_assert_eq(pipe(hold), 0);
    pid_t debugger = fork();
    if (debugger == 0) {
        close(hold[1]);
        bool seized = ptrace(PTRACE_SEIZE, (pid_t)rayi_process_pid(child.process), NULL, NULL) == 0;
        if (write(pipes[1], seized ? "y" : "n", 1) == 1)
            (void)!read(hold[0], &byte, 1); /* until the test lets go of the other end */
        _exit(0);
    }
    cr_assert_eq(read(pipes[0], &byte, 1), 1);
    rayi_process_kill(child.process, SIGKILL);
    if (byte == 'y') {
        cr_assert(run_until(polls_end, &child, 5000), "it is looked at now and then, not all the time");
        run_for(100);
        cr_assert_eq(child.num_ends, 0);
        cr_assert(child.process->polls_end);
        cr_assert_not(uv_is_active((uv_handle_t *)&child.process->watch));
    }
    close(hold[1]);
    wait_end(&child);
    cr_assert(child.end.known);
    cr_assert_eq(child.end.signal, SIGKILL);
    finish(&child);
    cr_assert_eq(waitpid(debugger, NULL, 0), debugger);
}

/* One that not even SIGKILL ends (it hangs in the kernel) is left behind. Here another one plays its part. */
LOOP_TEST(process, does_not_end)
{
    started child = {0}, other = {0};
    listen_to_log();
    START(&other, "sleep");
    START(&child, "sleep");
    pid_t pid = child.process->pid;
    rayi_process_kill(child.process, SIGSTOP);
    uv_poll_stop(&child.process->watch);
    close(child.process->pidfd);
    child.process->pidfd = -1;
    rayi_process_close(child.process, NULL, NULL);
    child.process->pid = other.process->pid;
    child.process->close_at_ms = 0;
    wait_for_line("worker.stuck");
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    finish(&other);
}

/* --- what does not start ------------------------------------------------------------------------------------------ */

static void check_not_started(int code, const char *command, const char *wrapper, const char *words)
{
    started child = {0};
    rayi_process_options options = options_of(&child, (const char *const[]){command, NULL});
    options.wrapper = wrapper;
    CHECK_FAILS(rayi_process_start(&loop, &options, &child.process), code);
    cr_assert(strstr(rayi_error_last_public()->message, words), "%s", rayi_error_last_public()->message);
    cr_assert_null(child.process);
    cr_assert_eq(child.num_ends, 0);
}

LOOP_TEST(process, cannot_start)
{
    char path[128], *folder = make_folder();
    check_not_started(RAY_ERR_LOAD, "/no/such/file", NULL, "/no/such/file");
    check_not_started(RAY_ERR_LOAD, "no-such-file-anywhere", NULL, "no-such-file-anywhere: no such file in PATH");
    check_not_started(RAY_ERR_LOAD, folder, NULL, folder);
    check_not_started(RAY_ERR_LOAD, CHILD, "no-such-wrapper -x", "no-such-wrapper");
    check_not_started(RAY_ERR_ARGUMENT, CHILD, "gdb 'x", "open quote");
    snprintf(path, sizeof path, "%s/file", folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(write(fd, "no program\n", 11), 11);
    close(fd);
    check_not_started(RAY_ERR_LOAD, path, NULL, path);
    chmod(path, 0700);
    check_not_started(RAY_ERR_LOAD, path, NULL, path);
    remove_folder(folder);
    started child = {0};
    rayi_process_options options = options_of(&child, (const char *const[]){CHILD, "exit", "0", NULL});
    options.fds = (const int[]){9999};
    options.num_fds = 1;
    CHECK_FAILS(rayi_process_start(&loop, &options, &child.process), RAY_ERR_SYSTEM);
}

static int failing_calls; /* how many allocations succeed before all fail */

static void *failing_alloc(void *arg, size_t size)
{
    (void)arg;
    return failing_calls-- > 0 ? malloc(size) : NULL;
}

static void *failing_realloc(void *arg, void *block, size_t size)
{
    (void)arg;
    return failing_calls-- > 0 ? realloc(block, size) : NULL;
}

static void plain_free(void *arg, void *block)
{
    (void)arg;
    free(block);
}

LOOP_TEST(process, out_of_memory)
{
    int r = -1, calls = 0;
    const ray_allocator failing = {
        .size = sizeof failing, .alloc = failing_alloc, .realloc = failing_realloc, .free = plain_free};
    rayi_memory_install(&failing);
    listen_to_log();
    for (; r < 0 && calls < 100; calls++) {
        started child = {0};
        rayi_process_outlet *outlet = NULL;
        rayi_process_options options =
            options_of(&child, (const char *const[]){CHILD, "print", "words\n", "rest", NULL});
        options.log_path = "/tmp";
        options.node_id = "node";
        options.wrapper = "env";
        failing_calls = calls;
        r = rayi_process_outlet_open(&loop, "node", 1000, &outlet);
        options.outlet = outlet;
        if (r == 0)
            r = rayi_process_start(&loop, &options, &child.process);
        failing_calls = 0; /* its output has none either */
        if (r == 0) {
            int64_t pid = rayi_process_pid(child.process);
            char path[64];
            wait_end(&child);
            cr_assert(logged("words") && logged("rest"));
            finish(&child);
            snprintf(path, sizeof path, "/tmp/worker-%lld.out", (long long)pid);
            cr_assert_eq(unlink(path), 0);
        } else {
            cr_assert_eq(r, RAY_ERR_NO_MEMORY, "call %d: %d", calls, r);
        }
        rayi_process_outlet_close(outlet);
        run_for(10);
    }
    cr_assert_geq(calls, 7);
    cr_assert_lt(calls, 100);
}

LOOP_TEST(process, out_of_descriptors)
{
    struct rlimit most, old;
    started child = {0};
    rayi_process_options options = options_of(&child, (const char *const[]){CHILD, "exit", "0", NULL});
    size_t before = check_open_fds();
    int r = -1, tries = 0;
    getrlimit(RLIMIT_NOFILE, &old);
    for (; r < 0 && tries < 30; tries++) {
        most = (struct rlimit){.rlim_cur = before + (size_t)tries, .rlim_max = old.rlim_max};
        setrlimit(RLIMIT_NOFILE, &most);
        r = rayi_process_start(&loop, &options, &child.process);
        if (r < 0)
            cr_assert_eq(r, RAY_ERR_SYSTEM);
        uv_run(&loop, UV_RUN_NOWAIT);
        setrlimit(RLIMIT_NOFILE, &old);
    }
    cr_assert_eq(r, 0);
    cr_assert_gt(tries, 4);
    wait_end(&child);
    cr_assert_eq(child.end.exit_code, 0);
    finish(&child);
}

/* --- what the child gets ------------------------------------------------------------------------------------------ */

LOOP_TEST(process, descriptors)
{
    started child = {0};
    int pipes[2], leaky = open("/dev/zero", O_RDONLY); /* the host's, inheritable */
    size_t before;
    char text[6] = "";
    listen_to_log();
    cr_assert_eq(pipe(pipes), 0);
    before = check_open_fds();
    rayi_process_options options = options_of(&child, (const char *const[]){CHILD, "descriptors", NULL});
    options.fds = (const int[]){pipes[1], pipes[0], pipes[1]};
    options.num_fds = 3;
    start(&child, &options);
    wait_end(&child);
    cr_assert(logged("fd 0 /dev/"));
    for (int fd = 1; fd <= 5; fd++) {
        char words[32];
        snprintf(words, sizeof words, "fd %d pipe:", fd);
        cr_assert(logged(words), "%s", words);
    }
    cr_assert_eq(times_logged("fd "), 6);
    finish(&child);
    /* Each stands where it was asked for, whatever its number here: these two change places. */
    int low = pipes[0], high = pipes[1], many[1024];
    char number[16];
    cr_assert(low < high && (size_t)high < RAYI_COUNT_OF(many));
    for (int fd = 3; fd <= high; fd++)
        many[fd - 3] = fd == low ? high : low;
    snprintf(number, sizeof number, "%d", low);
    options = options_of(&child, (const char *const[]){CHILD, "say", number, NULL});
    options.fds = many;
    options.num_fds = (size_t)high - 2;
    start(&child, &options);
    wait_end(&child);
    cr_assert_eq(child.end.exit_code, 0);
    cr_assert_eq(read(low, text, 5), 5);
    cr_assert_str_eq(text, "hello");
    finish(&child);
    cr_assert_eq(check_open_fds(), before);
    close(low);
    close(high);
    close(leaky);
}

LOOP_TEST(process, host_without_standard_descriptors)
{
    started child = {0};
    listen_to_log();
    int kept = dup(2);
    close(0);
    close(1);
    close(2);
    START(&child, "descriptors");
    int lowest = RAYI_MIN(child.process->streams[0].fd, child.process->streams[1].fd);
    wait_end(&child);
    finish(&child);
    dup2(kept, 2);
    cr_assert_geq(lowest, 3, "what the host prints must not come here");
    cr_assert_eq(times_logged("fd "), 3);
    cr_assert(logged("fd 0 /dev/") && logged("fd 1 pipe:") && logged("fd 2 pipe:"));
}

LOOP_TEST(process, signals_and_group)
{
    started child = {0};
    sigset_t all;
    listen_to_log();
    signal(SIGTERM, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    START(&child, "signals");
    wait_end(&child);
    cr_assert(logged("ignored 0 masked 0 group 1"), "%s", lines[0]);
    finish(&child);
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    cr_assert(sigismember(&now, SIGUSR1), "the host's mask stays");
}

LOOP_TEST(process, nothing_leaks)
{
    started child = {0};
    RUN(&child, "lines", "10"); /* what is made once is made */
    size_t before = check_open_fds();
    for (int i = 0; i < 10; i++) {
        START(&child, i % 2 ? "crash" : "exit", "0");
        if (i % 3) {
            wait_end(&child);
            cr_assert_leq(check_open_fds(), before + 5); /* pidfd, two pipes, the leash */
        }
        finish(&child);
        check_not_started(RAY_ERR_LOAD, "/no/such/file", NULL, "no such file");
    }
    run_for(10);
    cr_assert_eq(check_open_fds(), before);
}

static bool all_ended(void *arg)
{
    for (started *at = arg; at < (started *)arg + 200; at++)
        if (at->num_closed == 0)
            return false;
    return true;
}

LOOP_TEST(process, two_hundred)
{
    static started children[200];
    size_t before = check_open_fds();
    for (size_t i = 0; i < RAYI_COUNT_OF(children); i++) {
        char code[8];
        snprintf(code, sizeof code, "%zu", i);
        children[i].close_at_end = true;
        START(&children[i], "exit", code);
    }
    cr_assert(run_until(all_ended, children, 20000));
    for (size_t i = 0; i < RAYI_COUNT_OF(children); i++)
        cr_assert_eq(children[i].end.exit_code, (int)i);
    cr_assert_eq(check_open_fds(), before);
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
}
