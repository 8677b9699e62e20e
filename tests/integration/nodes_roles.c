/* One program on every node: the environment tells it what to be. */
#include "nodes.h"

#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static RAY_REMOTE(int64_t, app_pid)
{
    return getpid();
}

/* Runs the program with this role and address, its output to a pipe. */
static pid_t start_app(const char *role, const char *address, int *out)
{
    posix_spawn_file_actions_t actions;
    char name[] = "app", *arguments[] = {name, NULL}, wait[16];
    int ends[2];
    pid_t pid;
    CHECK(pipe(ends) == 0);
    CHECK(setenv("RAY_ROLE", role, 1) == 0 && setenv("RAY_ADDRESS", address, 1) == 0);
    snprintf(wait, sizeof wait, "%d", 5000 * check_slowness()); /* its join may take so long, too */
    CHECK(setenv("APP_HEAD_WAIT_MS", wait, 1) == 0);
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_addclose(&actions, ends[0]) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO) == 0);
    CHECK(posix_spawn_file_actions_addclose(&actions, ends[1]) == 0);
    CHECK(posix_spawn(&pid, APP, &actions, NULL, arguments, environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    unsetenv("RAY_ROLE");
    unsetenv("RAY_ADDRESS");
    unsetenv("APP_HEAD_WAIT_MS");
    close(ends[1]);
    *out = ends[0];
    return pid;
}

static void await_app(pid_t pid, int out, int status, const char *words)
{
    char text[8000];
    size_t size = 0;
    int got = 0;
    for (ssize_t n; (n = read(out, text + size, sizeof text - 1 - size)) > 0;)
        size += (size_t)n;
    text[size] = 0;
    close(out);
    CHECK(waitpid(pid, &got, 0) == pid && WIFEXITED(got));
    CHECK_HAS(text, words);
    CHECK_INT(WEXITSTATUS(got), status);
}

static void roles(void)
{
    int out;
    nodes_make_key();
    pid_t pid = start_app("head", "127.0.0.1:0", &out);
    await_app(pid, out, 0, "head 1");
    pid = start_app("worker", "local", &out);
    await_app(pid, out, 3, "worker");
    pid = start_app("clerk", "local", &out);
    await_app(pid, out, 3, "clerk");
    node *head = node_head("CPU=0");
    pid = start_app("driver", node_address(head), &out);
    await_app(pid, out, 0, "driver 1");
    pid = start_app("worker", node_address(head), &out);
    nodes_join(head);
    CHECK_REF_INT(ray_remote(app_pid), pid);
    check_stop();
    node_kill(head);
    await_app(pid, out, 69, "cannot reach head"); /* it never got further than ray_init */
    head = node_head("CPU=0");
    pid = start_app("worker", node_address(head), &out);
    nodes_join(head);
    CHECK_REF_INT(ray_remote(app_pid), pid);
    check_stop();
    node_stop(head);
    await_app(pid, out, 0, ""); /* nothing is amiss */
    nodes_stop();
}

CHECK_MAIN(CHECK_TEST(roles))
