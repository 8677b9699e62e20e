/* A node for tests: RESOURCES [ADDRESS of the head]; without it is one. Writes its address and its NUL to descriptor 3,
 * and serves. */
#include "functions.h"

#include <string.h>
#include <unistd.h>

static void silent(void *arg, const ray_log_event *event)
{
    (void)arg, (void)event;
}

int main(int argc, char **argv)
{
    const char *head = argc > 2 ? argv[2] : NULL;
    ray_set_log(silent, NULL, RAY_LOG_ERROR);
    if (ray_init(RAY_WITH(ray_config, .role = head ? RAY_ROLE_WORKER : RAY_ROLE_HEAD, .no_key = true,
                          .address = head ? head : "127.0.0.1:0", .resources = argv[1],
                          .isolation = RAY_ISOLATION_THREAD)) < 0)
        return 2;
    ray_cluster *cluster = ray_cluster_get();
    const char *own = head ? "a worker" : cluster->nodes[0]->address;
    if (write(3, own, strlen(own) + 1) < 0)
        return 3;
    close(3);
    ray_cluster_free(cluster);
    int r = ray_serve();
    ray_shutdown();
    return r == 0 ? 0 : 4;
}
