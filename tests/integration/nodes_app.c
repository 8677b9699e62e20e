/* A program that is started on every node: what it is there, the environment says. It prints what it is once it has
 * control, which a worker never gets. */
#include <ray/ray.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

RAY_REMOTE(int64_t, app_pid)
{
    return getpid();
}

int main(void)
{
    const char *wait = getenv("APP_HEAD_WAIT_MS");
    if (!wait)
        return 2;
    if (ray_init(RAY_WITH(ray_config, .resources = "CPU=1", .head_wait_ms = atoll(wait))) < 0) {
        printf("%s\n", ray_last_error()->message);
        return 3;
    }
    ray_cluster *cluster = ray_cluster_get();
    const char *self = ray_context_get()->node_id, *what = "nothing";
    for (size_t i = 0; cluster && i < cluster->num_nodes; i++)
        if (cluster->nodes[i]->id && self && __builtin_strcmp(cluster->nodes[i]->id, self) == 0)
            what = cluster->nodes[i]->is_head ? "head" : "driver";
    int64_t pid = 0;
    ray_ref *ref = ray_remote(app_pid);
    int r = ray_get(ref, &pid);
    printf("%s %d\n", what, r == 0 && pid == getpid());
    ray_release(ref);
    ray_cluster_free(cluster);
    return ray_shutdown();
}
