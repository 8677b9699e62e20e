/* Objects that get a new home before their node leaves, nodes that have what a task wants, and nodes that do not talk
 * to each other any more: over processes. */
#include "functions.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NODES_MOST = 4 };

/* ---- nodes ---- */

static char address[64];
static pid_t nodes[NODES_MOST];
static int num_nodes;

static void silent(void *arg, const ray_log_event *event)
{
    (void)arg, (void)event;
}

static pid_t start(const char *resources, const char *head, char *out, size_t room)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], 3);
        close_range(4, ~0U, 0); /* the runner waits for all who have its pipe */
        execl(NODE, "node", resources, head, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    ssize_t size = read(ends[0], out, room);
    cr_assert(size > 0, "a node does not start");
    close(ends[0]);
    nodes[num_nodes++] = pid;
    return pid;
}

static pid_t start_worker(const char *resources)
{
    char out[16];
    return start(resources, address, out, sizeof out);
}

static void join(void)
{
    (void)start("CPU=0", NULL, address, sizeof address);
    ray_set_log(silent, NULL, RAY_LOG_ERROR);
}

static void end(pid_t pid)
{
    int status;
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    for (int i = 0; i < num_nodes; i++)
        if (nodes[i] == pid)
            nodes[i] = nodes[--num_nodes];
}

static ray_task_options *at(const char *resources)
{
    static ray_task_options options;
    options = (ray_task_options){.size = sizeof options, .resources = resources, .max_retries = RAY_NO_RETRIES};
    return &options;
}

static int64_t get_int(ray_ref *ref)
{
    int64_t value = -1;
    cr_assert_eq(ray_get(ref, &value), 0, "%s", ray_last_error()->message);
    ray_release(ref);
    return value;
}

static ray_ref *made_at(const char *resources, int64_t seed)
{
    ray_ref *outer = ray_remote_opts(at(resources), make, seed), *inner = NULL;
    cr_assert_eq(ray_get(outer, &inner), 0, "%s", ray_last_error()->message);
    ray_release(outer);
    return inner;
}

/* The driver and a third node, which has the ref from the driver, hold two objects of a node that moves them and is
 * killed. */
static void move_and_die(bool maps, bool was_read)
{
    ray_view v;
    bool is_right = false;
    if (!maps)
        setenv("RAY_MAP_NEIGHBOURS", "0", 1);
    join();
    pid_t owner = start_worker("CPU=1, a=1");
    start_worker("CPU=2, b=1, c=1"); /* room for one more beside the reader */
    cr_assert_eq(ray_init(RAY_WITH(ray_config, .address = address, .no_key = true, .timeout_ms = 20000)), 0, "%s",
                 ray_last_error()->message);
    cr_assert_eq(get_int(ray_remote_opts(at("b=1"), own_pid)) > 0, true);
    ray_ref *refs[] = {made_at("a=1", 1), made_at("a=1", 2)};
    ray_ref *reader = ray_remote_opts(at("b=1"), read_after, refs[0], (int64_t)owner, (int64_t)1);
    if (was_read) {
        cr_assert_eq(ray_get(refs[1], &v), 0);
        ray_view_release(&v);
    }
    usleep(100000);
    cr_assert_eq(get_int(ray_remote_opts(at("a=1"), move_all)), 0);
    /* That it has moved is told without an answer: by its owner, and by the driver, to those who have it from them.
     * What either asks there after that is answered once it is known. */
    cr_assert_gt(get_int(ray_remote_opts(at("a=1"), ask_pid, "c=1")), 0);
    cr_assert_gt(get_int(ray_remote_opts(at("c=1"), own_pid)), 0);
    end(owner);
    for (int64_t i = 0; i < 2; i++) {
        cr_assert_eq(ray_get(refs[i], &v), 0, "%s", ray_last_error()->message);
        cr_assert(is_filled(v, i + 1));
        ray_view_release(&v);
    }
    cr_assert_eq(ray_get(reader, &is_right), 0, "%s", ray_last_error()->message);
    cr_assert(is_right);
    ray_release(reader);
    ray_release(refs[0]);
    ray_release(refs[1]);
    ray_shutdown();
    while (num_nodes > 0)
        end(nodes[num_nodes - 1]);
}

Test(moves, copied, .timeout = 120)
{
    move_and_die(false, false);
}

Test(moves, copied_before, .timeout = 120)
{
    move_and_die(false, true);
}

Test(moves, mapped, .timeout = 120)
{
    move_and_die(true, false);
}

Test(moves, mapped_before, .timeout = 120)
{
    move_and_die(true, true);
}

/* Nothing to do is done at once, and what nobody holds is not moved. */
Test(moves, nothing, .timeout = 120)
{
    join();
    start_worker("CPU=1, a=1");
    cr_assert_eq(ray_init(RAY_WITH(ray_config, .address = address, .no_key = true, .timeout_ms = 20000)), 0, "%s",
                 ray_last_error()->message);
    cr_assert_eq(get_int(ray_remote_opts(at("a=1"), move_all)), 0);
    ray_ref *ref = made_at("a=1", 3);
    ray_release(ref);
    usleep(50000);
    cr_assert_eq(get_int(ray_remote_opts(at("a=1"), move_all)), 0);
    ray_shutdown();
    while (num_nodes > 0)
        end(nodes[num_nodes - 1]);
}

/* ---- which nodes talk to each other ---- */

/* One that says rubbish twice is not talked to any more, hears so, and goes on with the others. */
Test(rubbish, ends_it_at_both_ends, .timeout = 120)
{
    char own[40];
    join();
    start_worker("CPU=1, a=1");
    start_worker("CPU=1, b=1");
    cr_assert_eq(ray_init(RAY_WITH(ray_config, .address = address, .no_key = true, .timeout_ms = 20000)), 0, "%s",
                 ray_last_error()->message);
    snprintf(own, sizeof own, "%s", ray_context_get()->node_id);
    cr_expect_eq(get_int(ray_remote_opts(at("a=1"), say_rubbish, own, (int64_t)1)), 1);
    cr_expect_eq(get_int(ray_remote_opts(at("a=1"), own_pid)) > 0, true); /* once is forgiven */
    ray_ref *again = ray_remote_opts(at("a=1"), say_rubbish, own, (int64_t)1);
    cr_expect_eq(ray_get(again, NULL), RAY_ERR_NODE_DIED);
    cr_expect(strstr(ray_last_error()->message, "has sent what no node sends"), "%s", ray_last_error()->message);
    ray_release(again);
    cr_expect_eq(get_int(ray_remote_opts(at("b=1"), ask_apart, own)), 1);
    ray_shutdown();
    while (num_nodes > 0)
        end(nodes[num_nodes - 1]);
}

/* ---- which nodes have the arguments ---- */

/* As this node's table has it: all workers are alive, and have no CPU free, or all that they have. */
static bool are_all(bool busy)
{
    ray_cluster *cluster = ray_cluster_get();
    bool are = cluster != NULL;
    for (size_t i = 0; are && i < cluster->num_nodes; i++) {
        const ray_node *n = cluster->nodes[i];
        if (n->is_head || n->is_driver)
            continue;
        are = n->state == RAY_NODE_ALIVE;
        for (size_t j = 0; j < n->num_resources; j++)
            if (strcmp(n->resources[j].name, "CPU") == 0)
                are = are && n->resources[j].available == (busy ? 0 : n->resources[j].total);
    }
    ray_cluster_free(cluster);
    return are;
}

static void await_all(bool busy)
{
    for (int tries = 0; !are_all(busy) && tries < 30000; tries++)
        usleep(1000);
    cr_assert(are_all(busy), "%s", busy ? "never busy" : "never free");
}

/* Both workers are free, and the table says so. It may say so before they were last busy, too: so both are made busy
 * for as long as it takes to be told of it. */
static void await_free(void)
{
    char path[] = "/tmp/moves-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    ray_ref *one = ray_remote_opts(at("CPU=1, a=1"), stay, path), *two = ray_remote_opts(at("CPU=1, b=1"), stay, path);
    await_all(true);
    unlink(path);
    int r = ray_get(one, NULL);
    if (r == 0)
        r = ray_get(two, NULL);
    cr_assert_eq(r, 0, "%s", ray_last_error()->message);
    ray_release(one), ray_release(two);
    await_all(false);
}

/* A task runs where most of its bytes are, though others are as free. */
Test(holders, draw_tasks, .timeout = 120)
{
    setenv("RAY_MAP_NEIGHBOURS", "0", 1);
    join();
    pid_t one = start_worker("CPU=1, a=1"), two = start_worker("CPU=1, b=1");
    cr_assert_eq(ray_init(RAY_WITH(ray_config, .address = address, .no_key = true, .timeout_ms = 20000)), 0, "%s",
                 ray_last_error()->message);
    for (int i = 0; i < 3; i++) {
        ray_ref *a = made_at("a=1", 4), *b = made_at("b=1", 5), *c = made_at("b=1", 6), *d = made_at("a=1", 7);
        await_free();
        cr_assert_eq(get_int(ray_remote(where, b, c)), two);
        await_free();
        cr_assert_eq(get_int(ray_remote(where, a, d)), one);
        ray_release(a), ray_release(b), ray_release(c), ray_release(d);
    }
    ray_shutdown();
    while (num_nodes > 0)
        end(nodes[num_nodes - 1]);
}
