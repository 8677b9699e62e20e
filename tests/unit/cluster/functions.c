/* What moves objects is reached from inside a task. */
#include "functions.h"
#include "cluster/inside.h"
#include "raylet/inside.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

bool is_filled(ray_view v, int64_t seed)
{
    for (size_t i = 0; i < v.size; i += 4096)
        if (((const unsigned char *)v.data)[i] != (unsigned char)(i / 4096 + (size_t)seed))
            return false;
    return v.size == SIZE;
}

RAY_REMOTE(int64_t, own_pid)
{
    return getpid();
}

RAY_REMOTE(int64_t, ask_pid, (const char *, resources))
{
    int64_t pid = -1;
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .resources = resources), own_pid);
    if (ray_get(ref, &pid) < 0)
        ray_fail("%s", ray_last_error()->message);
    ray_release(ref);
    return pid;
}

RAY_REMOTE(bool, stay, (const char *, path))
{
    while (access(path, F_OK) == 0)
        usleep(1000);
    return true;
}

RAY_REMOTE(ray_ref *, make, (int64_t, seed))
{
    unsigned char *bytes = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (unsigned char)(i / 4096 + (size_t)seed);
    ray_ref *ref = ray_put(bytes, SIZE);
    free(bytes);
    return ref;
}

/* Reads it once that process has ended. */
RAY_REMOTE(bool, read_after, (ray_ref *, ref), (int64_t, pid), (int64_t, seed))
{
    ray_view v;
    while (kill((pid_t)pid, 0) == 0)
        usleep(1000);
    usleep(200000); /* it is known by now that it has */
    if (ray_get(ref, &v) != 0)
        return ray_fail("%s", ray_last_error()->message);
    bool is_right = is_filled(v, seed);
    ray_view_release(&v);
    return is_right;
}

static atomic_int moved = -1;

static void on_moved(void *arg, uint32_t num_failed)
{
    (void)arg;
    atomic_store(&moved, (int)num_failed);
}

static int move(rayi_node *node, void *arg)
{
    (void)arg;
    return rayi_moves_begin(node->cluster, on_moved, NULL);
}

RAY_REMOTE(int64_t, move_all)
{
    atomic_store(&moved, -1);
    if (rayi_node_ask(rayi_self, move, NULL) < 0)
        return ray_fail("%s", ray_last_error()->message);
    for (int i = 0; i < 20000 && atomic_load(&moved) < 0; i++)
        usleep(1000);
    return atomic_load(&moved);
}

typedef struct told {
    rayi_node_id id;
    int64_t times; /* -1: only looks */
    bool has_session;
} told;

static int tell(rayi_node *node, void *arg)
{
    told *t = arg;
    rayi_neighbour *n = rayi_neighbour_find(node->cluster, &t->id);
    rayi_writer writer;

    t->has_session = n != NULL;
    for (int64_t i = 0; n && i < t->times; i++) {
        rayi_between_begin(&writer, (enum rayi_between)99);
        rayi_between_say(n, &writer);
    }
    rayi_cluster_pump(node->cluster);
    return 0;
}

static bool tell_node(const char *id, int64_t times)
{
    told t = {.times = times};

    rayi_cluster_id_parse(id, &t.id);
    return rayi_node_ask(rayi_self, tell, &t) == 0 && t.has_session;
}

RAY_REMOTE(int64_t, say_rubbish, (const char *, to), (int64_t, times))
{
    return tell_node(to, times);
}

static RAY_REMOTE(int64_t, is_apart, (const char *, from))
{
    for (int i = 0; i < 10000 && tell_node(from, -1); i++)
        usleep(1000);
    return !tell_node(from, -1);
}

RAY_REMOTE(int64_t, ask_apart, (const char *, from))
{
    int64_t apart = -1;
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "a=1"), is_apart, from);
    if (ray_get(ref, &apart) < 0)
        ray_fail("%s", ray_last_error()->message);
    ray_release(ref);
    return apart;
}

RAY_REMOTE(int64_t, where, (ray_view, first), (ray_view, second))
{
    return first.size + second.size == (size_t)2 * SIZE ? getpid() : -1;
}
