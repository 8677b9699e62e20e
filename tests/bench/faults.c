/* Nodes that need much time: an object for all of them, and a network that is away for a while. */
#include "cable.h"
#include "cluster.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- One object for eight nodes ---- */

enum { RECEIVERS = 8, OBJECT = 256 << 20, MARK = 5 };

static RAY_REMOTE(int64_t, size_of, (ray_view, bytes))
{
    const char *first = bytes.data;
    return bytes.size > 0 && first[0] == MARK && first[bytes.size - 1] == MARK ? (int64_t)bytes.size : -1;
}

static ray_ref *make_object(void)
{
    ray_buffer *buffer = ray_create(OBJECT);
    if (!buffer)
        bench_fail("an object: %s", ray_last_error()->message);
    memset(buffer->data, MARK, OBJECT);
    ray_ref *object = ray_seal(buffer);
    if (!object)
        bench_fail("an object: %s", ray_last_error()->message);
    return object;
}

/* What this process has sent over connections that are open now. */
static double sent_bytes(void)
{
    double sum = 0;
    DIR *folder = opendir("/proc/self/fd");
    for (const struct dirent *entry; folder && (entry = readdir(folder));) {
        struct tcp_info info = {0};
        socklen_t size = sizeof info;
        if (getsockopt(atoi(entry->d_name), IPPROTO_TCP, TCP_INFO, &info, &size) == 0 &&
            size >= offsetof(struct tcp_info, tcpi_bytes_sent) + sizeof info.tcpi_bytes_sent)
            sum += (double)info.tcpi_bytes_sent;
    }
    if (!folder)
        bench_fail("/proc/self/fd: unreadable");
    closedir(folder);
    return sum;
}

/* A task on receiver i that has the object. */
static ray_ref *touch(ray_ref *object, int i)
{
    char resources[32];
    snprintf(resources, sizeof resources, "CPU=1, receiver%d=1", i);
    return ray_remote_opts(RAY_WITH(ray_task_options, .resources = resources), size_of, object);
}

static void expect_whole(ray_ref *ref)
{
    if (take(ref) != OBJECT)
        bench_fail("an object: wrong bytes");
}

static double single_s(int i)
{
    ray_ref *object = make_object();
    double begin = bench_now();
    expect_whole(touch(object, i));
    double took = bench_now() - begin;
    ray_release(object);
    bench_nap(0.1); /* it is freed everywhere */
    return took;
}

static double broadcast_s(double *sent)
{
    ray_ref *refs[RECEIVERS], *object = make_object();
    double begin = bench_now();
    *sent = -sent_bytes();
    for (int i = 0; i < RECEIVERS; i++)
        refs[i] = touch(object, i);
    for (int i = 0; i < RECEIVERS; i++)
        expect_whole(refs[i]);
    double took = bench_now() - begin;
    *sent += sent_bytes();
    ray_release(object);
    bench_nap(0.1);
    return took;
}

/* The first broadcast tells what the source sends: no connection is closed yet, and what it had sent forgotten. The
   second one tells the time, for the nodes' stores have their memory by then, as they have for the single ones. */
static void measure_broadcast(double seconds)
{
    double singles = 0, sent, ignored;
    (void)seconds;
    setenv("RAY_MAP_NEIGHBOURS", "0", 1);
    start_cluster(0, "");
    for (int i = 0; i < RECEIVERS; i++) {
        char resources[32];
        snprintf(resources, sizeof resources, "CPU=1, receiver%d=1", i);
        start_node("worker", head_address(), resources);
    }
    (void)broadcast_s(&sent);
    for (int i = 0; i < RECEIVERS; i++)
        singles += single_s(i);
    double took = broadcast_s(&ignored);
    bench_emit("broadcast_8_s", took);
    bench_emit("broadcast_8_ratio", took / singles);
    bench_emit("broadcast_8_sent", sent / OBJECT);
    stop_cluster();
}

/* ---- Five seconds without a network ---- */

enum { TASKS = 1000, BLACKOUT_S = 5, NODES = 4 };

/* Writes down that it ran. */
static RAY_REMOTE(int64_t, note_run, (int64_t, nth), (const char *, path))
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    if (fd < 0 || write(fd, &nth, sizeof nth) != sizeof nth)
        return ray_fail("%s: %s", path, strerror(errno));
    close(fd);
    bench_nap(0.005);
    return 2 * nth;
}

/* Tasks that did not run exactly once. */
static size_t wrong_runs(int fd)
{
    size_t runs[TASKS] = {0}, wrong = 0;
    int64_t nth;
    for (off_t at = 0; pread(fd, &nth, sizeof nth, at) == sizeof nth; at += sizeof nth)
        if (nth >= 0 && nth < TASKS)
            runs[nth]++;
    for (size_t i = 0; i < TASKS; i++)
        wrong += runs[i] != 1;
    return wrong;
}

static size_t wrong_results(ray_ref **refs)
{
    size_t wrong = 0;
    for (int64_t i = 0; i < TASKS; i++) {
        int64_t value = -1;
        wrong += ray_get_timeout(refs[i], 30000, &value) != 0 || value != 2 * i;
        ray_release(refs[i]);
    }
    return wrong;
}

static size_t lost_nodes(void)
{
    size_t alive = 0;
    ray_cluster *cluster = ray_cluster_get();
    for (size_t i = 0; cluster && i < cluster->num_nodes; i++)
        alive += cluster->nodes[i]->state != RAY_NODE_DEAD;
    ray_cluster_free(cluster);
    return NODES - (alive < NODES ? alive : NODES);
}

/* The head and a worker are on the far side, a worker and this driver on the near one. */
static void start_both_sides(const cable *sides)
{
    setenv("RAY_CLUSTER_KEY", bench_key, 1);
    if (cable_enter(sides->far) != 0)
        bench_fail("the far side: %s", strerror(errno));
    start_node("head", CABLE_FAR ":0", "CPU=0");
    start_node("worker", head_address(), "CPU=2");
    if (cable_enter(sides->near) != 0)
        bench_fail("the near side: %s", strerror(errno));
    start_node("worker", head_address(), "CPU=1");
    join_cluster();
}

static void measure_blackout(double seconds)
{
    static ray_ref *refs[TASKS];
    char path[] = "/tmp/bench-blackout-XXXXXX";
    cable sides;
    const char *why = cable_lay(&sides);
    (void)seconds;
    if (why) {
        fprintf(stderr, "blackout: skipped: %s\n", why);
        return;
    }
    int fd = mkstemp(path);
    start_both_sides(&sides);
    for (int64_t i = 0; i < TASKS; i++)
        refs[i] = ray_remote(note_run, i, path);
    bench_nap(0.3);
    if (cable_pull() != 0)
        bench_fail("the cable cannot be pulled");
    bench_nap(BLACKOUT_S);
    if (cable_plug_in() != 0)
        bench_fail("the cable cannot be plugged in");
    double begin = bench_now();
    size_t lost = wrong_results(refs);
    bench_emit("blackout_5s_back_ms", (bench_now() - begin) * 1e3);
    lost += wrong_runs(fd) + lost_nodes();
    bench_emit("blackout_5s_lost", (double)lost);
    close(fd);
    unlink(path);
    stop_cluster();
    cable_remove(&sides);
}

const struct bench_measure fault_measures[] = {
    {"broadcast", measure_broadcast},
    {"blackout", measure_blackout},
    {NULL, NULL},
};
