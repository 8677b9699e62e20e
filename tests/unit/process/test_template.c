/* Templates: what a copy is, how it ends, and what becomes of a template that does not do what it should. */
#include "helper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static rayi_template *template;
static int num_changes, template_closed;
static int64_t template_pid;
static size_t descriptors;

static void on_change(void *arg)
{
    cr_assert_eq(arg, &template);
    num_changes++;
}

static bool has_changed(void *arg)
{
    return num_changes > *(int *)arg;
}

static void wait_for_change(void)
{
    int before = num_changes;
    cr_assert(run_until(has_changed, &before, 10000), "the template is as it was");
}

static void on_template_closed(void *arg)
{
    ++*(int *)arg;
}

static bool is_closed(void *arg)
{
    return *(int *)arg > 0;
}

static void start_template(const char *what)
{
    const char *const command[] = {MOULD, what, NULL};
    rayi_process_options options = {.command = command, .label = "template"};
    num_changes = template_closed = 0;
    CHECK_OK(rayi_template_start(&loop, &options, on_change, &template, &template));
    cr_assert_eq(rayi_template_look(template), RAYI_TEMPLATE_STARTING);
}

static void close_template(void)
{
    rayi_template_close(template, on_template_closed, &template_closed);
    cr_assert(run_until(is_closed, &template_closed, 10000));
    template = NULL;
}

static void start_ready(const char *what)
{
    start_template(what);
    wait_for_change();
    cr_assert_eq(rayi_template_look(template), RAYI_TEMPLATE_READY);
}

static void open_all(void)
{
    open_loop(); /* libuv keeps some for the process */
    close_loop();
    descriptors = check_open_fds();
    open_loop();
    listen_to_log();
}

static void close_all(void)
{
    if (template)
        close_template();
    close_loop();
    cr_assert_eq(check_open_fds(), descriptors);
}

#define TEMPLATE_TEST(name) TEST_AROUND(process_template, name, open_all, close_all)

static int copy(started *child, const char *const *environment)
{
    rayi_process_options options = options_of(child, NULL);
    int ends[2], r;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    cr_assert_eq(send(ends[0], "hello", 5, 0), 5);
    options.from = template;
    options.environment = environment;
    options.fds = &ends[1];
    options.num_fds = 1;
    options.label = "copy";
    child->num_ends = child->num_closed = 0;
    r = rayi_process_start(&loop, &options, &child->process);
    close(ends[0]);
    close(ends[1]);
    return r;
}

static int copy_that(started *child, const char *what)
{
    char text[64];
    snprintf(text, sizeof text, "DO=%s", what);
    return copy(child, (const char *const[]){text, NULL});
}

TEMPLATE_TEST(a_copy_is_a_child_as_others)
{
    const char *const environment[] = {"DO=tell", "GIVEN=a=b", "UNSET", NULL};
    char expected[128];
    started child = {0};
    start_ready("plain");
    for (int i = 0; i < 3; i++) {
        CHECK_OK(copy(&child, environment));
        cr_assert_gt(rayi_process_pid(child.process), 1);
        wait_end(&child);
        cr_assert(child.end.known);
        cr_assert_eq(child.end.exit_code, 5, "%d", child.end.exit_code);
        snprintf(expected, sizeof expected, "(copy pid=%lld) parent %d group 1 given a=b unset yes word hello",
                 (long long)rayi_process_pid(child.process), (int)getpid());
        wait_for_line(expected);
        finish(&child);
    }
    cr_assert(logged("and an error"));
}

TEMPLATE_TEST(threads_of_a_copy_find_each_other)
{
    started child = {0};
    start_ready("plain");
    CHECK_OK(copy_that(&child, "interrupt"));
    wait_end(&child);
    cr_assert_eq(child.end.exit_code, 6, "%d", child.end.exit_code);
    finish(&child);
}

/* The thread sanitizer takes the lock for one of the process that looks at it. */
#if !defined __has_feature
#define __has_feature(x) 0
#endif
#if !__has_feature(thread_sanitizer)
TEMPLATE_TEST(robust_locks_of_a_copy_are_handed_on)
{
    started child = {0};
    start_ready("plain");
    CHECK_OK(copy_that(&child, "robust"));
    wait_end(&child);
    cr_assert_eq(child.end.exit_code, 6, "%d", child.end.exit_code);
    wait_for_line("handed on");
    finish(&child);
}
#endif

TEMPLATE_TEST(ends_of_copies_are_told)
{
    started child = {0};
    start_ready("plain");
    CHECK_OK(copy_that(&child, "abort"));
    wait_end(&child);
    cr_assert(child.end.known && child.end.signal == SIGABRT);
    finish(&child);
    CHECK_OK(copy_that(&child, "sleep"));
    rayi_process_kill(child.process, SIGKILL);
    wait_end(&child);
    cr_assert(child.end.known && child.end.signal == SIGKILL);
    finish(&child);
    CHECK_OK(copy_that(&child, "sleep"));
    int64_t pid = rayi_process_pid(child.process);
    finish(&child); /* closed while it runs: killed */
    cr_assert_not(is_alive(pid));
}

TEMPLATE_TEST(many_and_they_outlive_it)
{
    enum { MANY = 30 };
    static started all[MANY];
    memset(all, 0, sizeof all);
    start_ready("plain");
    for (int i = 0; i < MANY; i++)
        CHECK_OK(copy_that(&all[i], "bound")); /* bound to us, not to it */
    for (int64_t until = rayi_now_ms() + 10000; times_logged("bound") < MANY && rayi_now_ms() < until;)
        run_for(5);
    close_template();
    run_for(50);
    for (int i = 0; i < MANY; i++)
        cr_assert(is_alive(rayi_process_pid(all[i].process)), "copy %d", i);
    for (int i = 0; i < MANY; i++)
        finish(&all[i]);
}

/* ---- what does not do what it should ---- */

TEMPLATE_TEST(it_ends_before_it_is_ready)
{
    start_template("quits");
    wait_for_change();
    cr_assert_eq(rayi_template_look(template), RAYI_TEMPLATE_ENDED);
    started child = {0};
    CHECK_FAILS(copy_that(&child, "tell"), RAY_ERR_SYSTEM);
}

TEMPLATE_TEST(it_says_rubbish)
{
    start_template("rubbish");
    wait_for_change();
    cr_assert_eq(rayi_template_look(template), RAYI_TEMPLATE_ENDED);
}

TEMPLATE_TEST(it_is_closed_while_it_starts)
{
    start_template("plain");
    close_template();
}

TEMPLATE_TEST(no_program)
{
    const char *const command[] = {"/no/such/program", NULL};
    rayi_process_options options = {.command = command};
    rayi_template *none = NULL;
    CHECK_FAILS(rayi_template_start(&loop, &options, on_change, &template, &none), RAY_ERR_LOAD);
    cr_assert_null(none);
    run_for(20);
}

TEMPLATE_TEST(with_threads_it_is_not_copied)
{
    started child = {0};
    start_ready("threads");
    CHECK_FAILS(copy_that(&child, "tell"), RAY_ERR_UNSUPPORTED);
    cr_assert_not_null(strstr(rayi_error_last_public()->message, " threads, and only"));
    cr_assert_eq(rayi_template_look(template), RAYI_TEMPLATE_READY);
}

static int64_t find_template(void)
{
    started child = {0};
    char line[64];
    CHECK_OK(copy_that(&child, "sleep"));
    int64_t pid = rayi_process_pid(child.process) - 1;
    finish(&child);
    for (;; pid--) { /* started a moment before */
        snprintf(line, sizeof line, "/proc/%lld/cmdline", (long long)pid);
        FILE *file = fopen(line, "re");
        char text[512] = "";
        size_t size = file ? fread(text, 1, sizeof text - 1, file) : 0;
        if (file)
            fclose(file);
        if (size > 0 && strcmp(text, MOULD) == 0)
            return pid;
        cr_assert_gt(pid, 1);
    }
}

TEMPLATE_TEST(it_is_killed)
{
    started child = {0};
    start_ready("plain");
    template_pid = find_template();
    kill((pid_t)template_pid, SIGKILL);
    for (int i = 0; i < 1000 && is_alive(template_pid); i++)
        usleep(1000);
    CHECK_FAILS(copy_that(&child, "tell"), RAY_ERR_SYSTEM); /* before the loop has heard of it */
    cr_assert_eq(rayi_template_look(template), RAYI_TEMPLATE_ENDED);
    wait_for_change();
    CHECK_FAILS(copy_that(&child, "tell"), RAY_ERR_SYSTEM);
}

TEMPLATE_TEST(it_is_stopped)
{
    started child = {0};
    start_ready("plain");
    template_pid = find_template();
    kill((pid_t)template_pid, SIGSTOP);
    int64_t start = rayi_now_ms();
    CHECK_FAILS(copy_that(&child, "tell"), RAY_ERR_SYSTEM);
    cr_assert_not_null(strstr(rayi_error_last_public()->message, "does not answer"));
    cr_assert_geq(rayi_now_ms() - start, 900);
    cr_assert_lt(rayi_now_ms() - start, 10000);
    wait_for_change();
    cr_assert_not(is_alive(template_pid));
}

/* The copy has been made by then: it must do nothing, since another process has been given its place. */
TEMPLATE_TEST(it_answers_late)
{
    started child = {0};
    start_ready("late");
    CHECK_FAILS(copy_that(&child, "tell"), RAY_ERR_SYSTEM);
    cr_assert_not_null(strstr(rayi_error_last_public()->message, "does not answer"));
    wait_for_change();
    close_template();
    run_for(1000);
    cr_assert_not(logged("parent"));
    cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
    cr_assert_eq(errno, ECHILD, "a child is left");
}

TEMPLATE_TEST(what_does_not_fit)
{
    static char most[RAYI_TEMPLATE_BYTES_MAX], over[RAYI_TEMPLATE_BYTES_MAX + 1];
    started child = {0};
    start_ready("plain");
    memset(most, 'x', sizeof most - 1);
    memset(over, 'x', sizeof over - 1);
    memcpy(most, "GIVEN=", 6);
    memcpy(over, "GIVEN=", 6);
    most[sizeof most - 1 - strlen("DO=abort") - 1] = 0;
    CHECK_OK(copy(&child, (const char *const[]){"DO=abort", most, NULL}));
    wait_end(&child);
    cr_assert_eq(child.end.signal, SIGABRT);
    finish(&child);
    CHECK_FAILS(copy(&child, (const char *const[]){over, NULL}), RAY_ERR_SYSTEM);
    cr_assert_eq(rayi_template_look(template), RAYI_TEMPLATE_READY, "it has not even been asked");
}

TEMPLATE_TEST(without_descriptors)
{
    struct rlimit before, low;
    started child = {0};
    start_ready("plain");
    template_pid = find_template();
    getrlimit(RLIMIT_NOFILE, &before);
    low = before;
    low.rlim_cur = 6; /* the template's: there is no room for what it is sent */
    cr_assert_eq(prlimit((pid_t)template_pid, RLIMIT_NOFILE, &low, NULL), 0);
    CHECK_FAILS(copy_that(&child, "tell"), RAY_ERR_SYSTEM);
    cr_assert_eq(prlimit((pid_t)template_pid, RLIMIT_NOFILE, &before, NULL), 0);
    for (int i = 0; i < 5; i++) { /* and it has not kept any of them */
        CHECK_OK(copy_that(&child, "abort"));
        wait_end(&child);
        finish(&child);
    }
}
