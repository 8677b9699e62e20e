/* Nodes: tasks, actors and objects on the other side of a network, which is this machine's loopback, and what nodes
   cost. The measuring process is a driver: it has no CPUs of its own. */
#include "cluster.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { INFEASIBLE = 100 * 1000 };

static ray_ref *refs[INFEASIBLE];

/* ---- Tasks and actors ---- */

static double one_task_us(void *arg)
{
    (void)arg;
    double begin = bench_now();
    if (take(ray_remote(twice, 21)) != 42)
        bench_fail("a task: wrong result");
    return (bench_now() - begin) * 1e6;
}

static void measure_rtt(double seconds)
{
    start_cluster(1, "CPU=1");
    bench_emit("remote_task_rtt_us", bench_median(seconds, one_task_us, NULL));
    stop_cluster();
}

static void measure_tasks_async(double seconds)
{
    start_cluster(1, "CPU=1");
    bench_emit("remote_tasks_async", BENCH_BATCH * bench_rate(seconds, tasks_at_once, NULL));
    stop_cluster();
}

static void measure_actor(double seconds)
{
    start_cluster(1, "CPU=1");
    ray_actor *actor = ray_actor_new(tally, 0);
    bench_emit("remote_actor_sync", bench_rate(seconds, call_by_call, actor));
    bench_emit("remote_actor_async", BENCH_BATCH * bench_rate(seconds, calls_at_once, actor));
    ray_actor_release(actor);
    stop_cluster();
}

/* ---- Objects ---- */

static RAY_REMOTE(ray_ref *, make, (uint64_t, size))
{
    ray_buffer *buffer = ray_create((size_t)size);
    if (!buffer) {
        ray_fail("%s", ray_last_error()->message);
        return NULL;
    }
    memset(buffer->data, 7, (size_t)size);
    return ray_seal(buffer);
}

static double fetch_gib_s(void *arg)
{
    (void)arg;
    ray_ref *outer = ray_remote(make, BENCH_LARGE), *object;
    ray_view view;
    require(ray_get(outer, &object));
    double begin = bench_now();
    require(ray_get(object, &view));
    double took = bench_now() - begin;
    if (view.size != BENCH_LARGE || ((const char *)view.data)[view.size - 1] != 7)
        bench_fail("an object: wrong bytes");
    ray_view_release(&view);
    ray_release(object);
    ray_release(outer);
    return (double)BENCH_LARGE / BENCH_GIB / took;
}

static void measure_transfer(const char *series, double seconds)
{
    setenv("RAY_MAP_NEIGHBOURS", "0", 1);
    start_cluster(1, "CPU=1");
    bench_emit(series, bench_median(seconds, fetch_gib_s, NULL));
    stop_cluster();
}

static void measure_transfer_sealed(double seconds)
{
    measure_transfer("transfer_sealed_gib_s", seconds);
}

static void measure_transfer_plain(double seconds)
{
    setenv("BENCH_PLAIN", "1", 1);
    measure_transfer("transfer_plain_gib_s", seconds);
}

static double map_us(void *arg)
{
    ray_view view;
    ray_ref *object = arg;
    double begin = bench_now();
    require(ray_get(object, &view));
    const volatile char *bytes = view.data;
    int both = bytes[0] + bytes[view.size - 1];
    double took = (bench_now() - begin) * 1e6;
    ray_view_release(&view);
    return both == 14 ? took : -1;
}

static void measure_map(double seconds)
{
    ray_ref *object, *outer;
    start_cluster(1, "CPU=1");
    outer = ray_remote(make, (uint64_t)1 << 30);
    require(ray_get(outer, &object));
    bench_emit("same_host_first_us", map_us(object));
    bench_emit("same_host_map_us", bench_median(seconds, map_us, object));
    ray_release(object);
    ray_release(outer);
    stop_cluster();
}

/* ---- Nodes: starting, losing and keeping them ---- */

static void measure_head_start(double seconds)
{
    (void)seconds;
    setenv("RAY_CLUSTER_KEY", bench_key, 1);
    double begin = bench_now();
    start_node("head", "127.0.0.1:0", "CPU=1");
    bench_emit("head_start_ms", (bench_now() - begin) * 1e3);
    kill_node(&nodes[--num_nodes]);
}

/* From the start of its process to the end of a task that only it can run. */
static void measure_join(double seconds)
{
    (void)seconds;
    start_cluster(1, "CPU=1");
    (void)take(ray_remote(twice, 1));
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "late=1"), twice, 1);
    double begin = bench_now();
    start_node("worker", head_address(), "CPU=1, late=1");
    if (take(ref) != 2)
        bench_fail("the late task: wrong result");
    bench_emit("join_ms", (bench_now() - begin) * 1e3);
    stop_cluster();
}

static RAY_REMOTE(int64_t, stay_at, (const char *, path))
{
    int64_t pid = getpid();
    FILE *file = fopen(path, "r+");
    int64_t first = 0;
    if (!file)
        return ray_fail("%s: %s", path, strerror(errno));
    if (fread(&first, sizeof first, 1, file) == 1) { /* somebody was there before */
        fclose(file);
        return 1;
    }
    rewind(file);
    if (fwrite(&pid, sizeof pid, 1, file) != 1 || fclose(file) != 0)
        return ray_fail("%s: %s", path, strerror(errno));
    for (;;)
        pause();
}

static ray_node_state state_at(const char *address)
{
    ray_node_state state = RAY_NODE_ALIVE;
    ray_cluster *cluster = ray_cluster_get();
    for (size_t i = 0; cluster && i < cluster->num_nodes; i++) {
        if (strcmp(cluster->nodes[i]->address, address) == 0)
            state = cluster->nodes[i]->state;
    }
    ray_cluster_free(cluster);
    return state;
}

static struct node *node_of(int64_t pid)
{
    for (int i = 0; i < num_nodes; i++) {
        if (nodes[i].pid == pid)
            return &nodes[i];
    }
    bench_fail("no node has the task");
}

static void measure_loss(double seconds)
{
    char path[] = "/tmp/bench-node-XXXXXX";
    int64_t pid = 0;
    int fd = mkstemp(path);
    (void)seconds;
    start_cluster(2, "CPU=1");
    ray_ref *ref = ray_remote(stay_at, path);
    while (pread(fd, &pid, sizeof pid, 0) != sizeof pid)
        bench_nap(0.001);
    bench_nap(0.3);
    struct node *n = node_of(pid);
    double begin = bench_now(), dead = 0, retried = 0;
    kill(n->pid, SIGKILL);
    while (!dead || !retried) {
        if (!dead && state_at(n->address) == RAY_NODE_DEAD)
            dead = (bench_now() - begin) * 1e3;
        int64_t value;
        if (!retried && ray_get_timeout(ref, 0, &value) == 0)
            retried = (bench_now() - begin) * 1e3;
        if (bench_now() - begin > 30)
            bench_fail("the node's death goes unnoticed");
    }
    bench_emit("node_dead_ms", dead);
    bench_emit("node_retry_ms", retried);
    ray_release(ref);
    waitpid(n->pid, NULL, 0);
    n->pid = 0;
    close(fd);
    unlink(path);
    stop_cluster();
}

static void measure_infeasible(double seconds)
{
    const ray_task_options options = {.size = sizeof options, .resources = "nowhere=1"};
    (void)seconds;
    start_cluster(1, "CPU=1");
    (void)take(ray_remote(twice, 1));
    double begin = bench_now();
    for (size_t i = 0; i < INFEASIBLE; i++)
        refs[i] = ray_remote_opts(&options, twice, i);
    if (take(ray_remote(twice, 4)) != 8) /* goes past them all */
        bench_fail("a task: wrong result");
    bench_emit("queue_infeasible_100k_s", bench_now() - begin);
    for (size_t i = 0; i < INFEASIBLE; i++) {
        ray_cancel(refs[i], 0);
        ray_release(refs[i]);
    }
    stop_cluster();
}

static void measure_pss(double seconds)
{
    (void)seconds;
    start_cluster(2, "CPU=1");
    (void)take(ray_remote(twice, 1));
    bench_nap(0.5);
    bench_emit("head_pss_mb", bench_pss_mb_of(nodes[0].pid));
    bench_emit("worker_pss_mb", bench_pss_mb_of(nodes[1].pid));
    stop_cluster();
}

const struct bench_measure remote_measures[] = {
    {"head_start", measure_head_start},
    {"join", measure_join},
    {"remote_rtt", measure_rtt},
    {"remote_tasks", measure_tasks_async},
    {"remote_actor", measure_actor},
    {"transfer_plain", measure_transfer_plain},
    {"transfer_sealed", measure_transfer_sealed},
    {"same_host_map", measure_map},
    {"infeasible", measure_infeasible},
    {"node_loss", measure_loss},
    {"nodes_pss", measure_pss},
    {NULL, NULL},
};
