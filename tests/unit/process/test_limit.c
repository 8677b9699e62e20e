/* Limits of memory: the watch on real processes, control groups on a made-up tree. */
#include "helper.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

/* How long after it was seen beyond its limit its end is told; 0: it was not seen there. */
static int64_t eat_to_the_end(void)
{
    started child = {0};
    int64_t crossed_ns = 0;
    START(&child, "eat", "1048576");
    CHECK_OK(rayi_process_limit(child.process, 1024 * MIB));
    CHECK_OK(rayi_process_limit(child.process, 64 * MIB)); /* the last one counts */
    while (child.num_ends == 0 && rayi_now_ns() - child.started_ns < 10000000000) {
        if (!crossed_ns && rayi_process_rss_bytes(child.process) > (int64_t)(64 * MIB))
            crossed_ns = rayi_now_ns();
        uv_run(&loop, UV_RUN_ONCE);
    }
    wait_end(&child);
    cr_assert(child.end.known);
    cr_assert_eq(child.end.signal, SIGKILL);
    cr_assert(child.end.out_of_memory);
    CHECK_FAILS(rayi_process_limit(child.process, 64 * MIB), RAY_ERR_SYSTEM);
    finish(&child);
    return crossed_ns ? child.ended_ns - crossed_ns : 0;
}

/* Its end is soon, though not when others have the CPU meanwhile. */
LOOP_TEST(limit, eats_for_ever)
{
    int64_t span_ns = INT64_MAX;
    for (int tries = 0; tries < 10 && span_ns >= 200000000; tries++)
        span_ns = eat_to_the_end();
    cr_assert_lt(span_ns, 200000000);
}

LOOP_TEST(limit, stays_below_it)
{
    started child = {0};
    START(&child, "ready");
    CHECK_OK(rayi_process_limit(child.process, 256 * MIB));
    run_for(60);
    cr_assert_eq(child.num_ends, 0);
    rayi_process_kill(child.process, SIGKILL);
    wait_end(&child);
    cr_assert_not(child.end.out_of_memory, "killed for something else");
    finish(&child);
}

static bool is_large(void *arg)
{
    return rayi_process_rss_bytes(((started *)arg)->process) > (int64_t)(96 * MIB);
}

LOOP_TEST(limit, is_lifted)
{
    started child = {0};
    START(&child, "eat", "1048576");
    CHECK_OK(rayi_process_limit(child.process, 64 * MIB));
    CHECK_OK(rayi_process_limit(child.process, 0));
    cr_assert(run_until(is_large, &child, 5000));
    cr_assert_eq(child.num_ends, 0);
    CHECK_OK(rayi_process_limit(child.process, 64 * MIB)); /* it is beyond that already */
    wait_end(&child);
    cr_assert(child.end.out_of_memory);
    finish(&child);
}

/* What is mapped of the object store is nobody's own. */
LOOP_TEST(limit, shared_memory_does_not_count)
{
    started child = {0};
    START(&child, "share", "4194304");
    child.process->no_group = true; /* a control group counts otherwise */
    CHECK_OK(rayi_process_limit(child.process, 64 * MIB));
    cr_assert(run_until(is_large, &child, 5000));
    run_for(50);
    cr_assert_eq(child.num_ends, 0);
    cr_assert_lt(rayi_process_private_bytes(child.process), (int64_t)(32 * MIB));
    finish(&child);
}

LOOP_TEST(limit, what_it_has_forked_counts)
{
    started child = {0};
    START(&child, "forkeat", "1048576");
    CHECK_OK(rayi_process_limit(child.process, 64 * MIB));
    wait_end(&child);
    cr_assert(child.end.out_of_memory);
    finish(&child);
}

/* Pages that several processes have count once: beyond the limit are only the sums of their sizes. */
static void check_within(const char *what, const char *words)
{
    started child = {0};
    listen_to_log();
    START(&child, what, "50331648");
    child.process->no_group = true;
    CHECK_OK(rayi_process_limit(child.process, 64 * MIB));
    wait_for_line(words);
    run_for(200);
    cr_assert_eq(child.num_ends, 0);
    cr_assert_gt(rayi_process_group_bytes(child.process, INT64_MAX), (int64_t)(90 * MIB));
    cr_assert_lt(rayi_process_group_bytes(child.process, 0), (int64_t)(56 * MIB));
    cr_assert_gt(rayi_process_group_bytes(child.process, 0), (int64_t)(44 * MIB));
    finish(&child);
}

LOOP_TEST(limit, shared_pages_count_once)
{
    check_within("forks", "shares");
    check_within("vforks", "lends");
}

/* --- control groups ----------------------------------------------------------------------------------------------- */

static char *root, file[128], own[128];

static void put(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static const char *get(const char *folder, const char *name)
{
    static char text[256];
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY);
    ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    text[size > 0 ? size : 0] = 0;
    if (fd >= 0)
        close(fd);
    return text;
}

/* A hybrid system's file, and our group in the tree. */
static void make_tree(const char *controllers, const char *control)
{
    char path[128];
    root = make_folder();
    snprintf(file, sizeof file, "%s/self", root);
    put(root, "self", "4:memory:/elsewhere\n1:name=systemd:/\n0::/job/step\n");
    snprintf(path, sizeof path, "%s/job", root);
    mkdir(path, 0700);
    snprintf(own, sizeof own, "%s/job/step", root);
    mkdir(own, 0700);
    put(own, "cgroup.controllers", controllers);
    if (control)
        put(own, "cgroup.subtree_control", control);
}

/* The kernel makes these files with the group. */
static void make_group(char out[256], long node, long pid)
{
    snprintf(out, 256, "%s/ray-%ld-%ld", own, node, pid);
    mkdir(out, 0700);
    put(out, "memory.max", "max");
    put(out, "memory.oom.group", "0");
    put(out, "cgroup.procs", "");
    put(out, "memory.events", "low 0\nhigh 0\nmax 3\noom 0\noom_kill 0\noom_group_kill 0\n");
}

LOOP_TEST(limit, group)
{
    char expected[256], *group = NULL;
    make_tree("cpu memory pids\n", "cpu memory\n");
    make_group(expected, getpid(), 4711);
    CHECK_OK(rayi_process_group_make(file, root, 4711, 64 * MIB, &group));
    cr_assert_str_eq(group, expected);
    cr_assert_str_eq(get(group, "memory.max"), "67108864");
    cr_assert_str_eq(get(group, "memory.oom.group"), "1");
    cr_assert_str_eq(get(group, "cgroup.procs"), "4711");
    cr_assert_str_eq(get(own, "cgroup.subtree_control"), "cpu memory\n", "there is nothing to turn on");
    put(group, "memory.max", "");
    cr_assert_eq(rayi_process_group_limit(group, 0), 0);
    cr_assert_str_eq(get(group, "memory.max"), "max");
    cr_assert_not(rayi_process_group_killed(group));
    put(group, "memory.events", "low 0\noom 1\noom_kill 1\n");
    cr_assert(rayi_process_group_killed(group));
    put(group, "memory.events", "low 0\noom 1\nsock_oom_kill 1\n");
    cr_assert_not(rayi_process_group_killed(group));
    rayi_free(group);
    remove_folder(root);
}

LOOP_TEST(limit, group_turns_the_controller_on)
{
    char expected[256], *group = NULL;
    make_tree("memory\n", "");
    make_group(expected, getpid(), 4711);
    CHECK_OK(rayi_process_group_make(file, root, 4711, MIB, &group));
    cr_assert_str_eq(get(own, "cgroup.subtree_control"), "+memory");
    rayi_free(group);
    remove_folder(root);
}

static void check_refused(void)
{
    char *group = NULL;
    cr_assert_eq(rayi_process_group_make(file, root, 4711, MIB, &group), RAY_ERR_UNSUPPORTED);
    cr_assert_null(group);
}

LOOP_TEST(limit, group_is_refused)
{
    char path[256];
    make_tree("cpu memory_numa hugememory pids\n", "memory\n");
    make_group(path, getpid(), 4711);
    check_refused(); /* no such controller */
    remove_folder(root);
    make_tree("memory\n", NULL);
    check_refused(); /* not ours to control */
    remove_folder(root);
    make_tree("memory\n", "memory\n");
    check_refused(); /* the new group has no files: not a control group */
    snprintf(path, sizeof path, "%s/ray-%ld-4711", own, (long)getpid());
    cr_assert_neq(access(path, F_OK), 0, "the attempt is removed");
    put(root, "self", "1:name=systemd:/\n");
    check_refused(); /* no v2 at all */
    unlink(file);
    check_refused();
    remove_folder(root);
}

LOOP_TEST(limit, groups_of_dead_nodes_are_removed)
{
    char dead[256], living[256], foreign[256], expected[256], *group = NULL;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
    make_tree("memory\n", "memory\n");
    snprintf(dead, sizeof dead, "%s/ray-%ld-7", own, (long)pid);
    snprintf(living, sizeof living, "%s/ray-%ld-7", own, (long)getppid());
    snprintf(foreign, sizeof foreign, "%s/ray-%ld-7-x", own, (long)pid);
    mkdir(dead, 0700);
    mkdir(living, 0700);
    mkdir(foreign, 0700);
    make_group(expected, getpid(), 4711);
    CHECK_OK(rayi_process_group_make(file, root, 4711, MIB, &group));
    cr_assert_neq(access(dead, F_OK), 0);
    cr_assert_eq(access(living, F_OK), 0);
    cr_assert_eq(access(foreign, F_OK), 0);
    rayi_free(group);
    remove_folder(root);
}

/* A process that is in a group: the kernel's verdict counts, and the group goes with it. */
LOOP_TEST(limit, group_of_a_process)
{
    started child = {0};
    char group[256];
    for (int killed = 0; killed < 3; killed++) {
        make_tree("memory\n", "memory\n");
        START(&child, "sleep");
        make_group(group, getpid(), (long)rayi_process_pid(child.process));
        CHECK_OK(
            rayi_process_group_make(file, root, (pid_t)rayi_process_pid(child.process), MIB, &child.process->group));
        CHECK_OK(rayi_process_limit(child.process, 2 * MIB));
        cr_assert_str_eq(get(group, "memory.max"), "2097152");
        if (killed)
            put(group, "memory.events", "oom_kill 1\n");
        rayi_process_kill(child.process, killed == 2 ? SIGTERM : SIGKILL); /* the kernel's victim was another one */
        wait_end(&child);
        cr_assert_eq(child.end.out_of_memory, killed == 1);
        for (size_t i = 0; i < 4; i++) { /* the kernel's go with the folder */
            const char *const names[] = {"memory.max", "memory.oom.group", "cgroup.procs", "memory.events"};
            char path[512];
            snprintf(path, sizeof path, "%s/%s", group, names[i]);
            unlink(path);
        }
        finish(&child);
        cr_assert_neq(access(group, F_OK), 0);
        remove_folder(root);
    }
}
