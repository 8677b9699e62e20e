/* driver say WORDS: a worker process of each node that is no driver prints the words and the node's address.
 * driver TASKS: so many tasks on each node that is no driver, each named after its number and the node's address, every
 * third in a worker process; one that fails; an actor with as many calls. Prints when it began and ended, in µs since
 * 1970, and how many runs that were; to standard error the address of each node. */
#include "functions.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static long long now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(1);
}

static void run(const ray_node *node, int nth, int64_t wanted)
{
    char name[64];
    int64_t got = 0;
    snprintf(name, sizeof name, "%d at %s", nth, node->address);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .name = name, .node_id = node->id,
                                            .isolation = nth % 3 == 2 ? RAY_ISOLATION_PROCESS : RAY_ISOLATION_THREAD),
                                   triple, wanted);
    if (ray_get(ref, &got) < 0 || got != 3 * wanted)
        fail(name);
    ray_release(ref);
}

static void run_actor(int64_t calls)
{
    ray_actor *actor = ray_actor_new(sums, 0);
    int64_t total = 0;
    for (int64_t i = 0; i < calls; i++) {
        ray_ref *ref = ray_call(actor, sums_add, 1);
        if (ray_get(ref, &total) < 0 || total != i + 1)
            fail("sums.add");
        ray_release(ref);
    }
    ray_actor_release(actor);
}

static void print(const ray_node *node, const char *words)
{
    char line[128];
    snprintf(line, sizeof line, "%s %s", words, node->address);
    ray_ref *ref =
        ray_remote_opts(RAY_WITH(ray_task_options, .node_id = node->id, .isolation = RAY_ISOLATION_PROCESS), say, line);
    if (ray_get(ref, NULL) < 0)
        fail(line);
    ray_release(ref);
}

static void run_all(int tasks, long long began, int nodes)
{
    ray_ref *failed = ray_remote(give_up, 7);
    if (ray_get(failed, NULL) != RAY_ERR_TASK_FAILED)
        fail("give_up");
    ray_release(failed);
    run_actor(tasks);
    printf("%lld %lld %d\n", began, now_us(), nodes * tasks + 2 + tasks);
}

int main(int argc, char **argv)
{
    const char *words = argc > 2 ? argv[2] : NULL;
    int tasks = argc == 2 ? atoi(argv[1]) : 0, nodes = 0;
    long long began = now_us();
    if (ray_init(NULL) < 0)
        fail("ray_init");
    ray_cluster *cluster = ray_cluster_get();
    if (!cluster)
        fail("ray_cluster_get");
    for (size_t i = 0; i < cluster->num_nodes; i++) {
        const ray_node *node = cluster->nodes[i];
        if (node->is_driver || node->state != RAY_NODE_ALIVE)
            continue;
        nodes++;
        if (words)
            print(node, words);
        for (int nth = 0; nth < tasks; nth++)
            run(node, nth, nth);
        fprintf(stderr, "%s\n", node->address);
    }
    ray_cluster_free(cluster);
    if (!words)
        run_all(tasks, began, nodes);
    return ray_shutdown();
}
