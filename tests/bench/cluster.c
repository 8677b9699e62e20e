#include "cluster.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

const char bench_key[] = "ray-cluster-key-1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
struct node nodes[NODES_MOST];
int num_nodes;

static void on_end(int signal)
{
    (void)signal;
    _exit(0);
}

int bench_node(int argc, char **argv)
{
    char address[64] = "";
    int fd = argc == 6 ? atoi(argv[5]) : -1;
    ray_config config = {.size = sizeof config,
                         .role = strcmp(argv[2], "head") == 0 ? RAY_ROLE_HEAD : RAY_ROLE_WORKER,
                         .address = argv[3],
                         .no_key = getenv("BENCH_PLAIN") != NULL,
                         .resources = argv[4]};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, on_end);
    require(ray_init(&config));
    ray_cluster *cluster = ray_cluster_get();
    for (size_t i = 0; cluster && i < cluster->num_nodes; i++) {
        if (strcmp(cluster->nodes[i]->id, ray_context_get()->node_id) == 0)
            snprintf(address, sizeof address, "%s", cluster->nodes[i]->address);
    }
    ray_cluster_free(cluster);
    if (write(fd, address, sizeof address) != sizeof address)
        return 1;
    close(fd);
    return ray_serve() != 0;
}

struct node *start_node(const char *role, const char *address, const char *resources)
{
    struct node *n = &nodes[num_nodes++];
    char self[] = "/proc/self/exe", node[] = "node", fd[16];
    char *arguments[] = {self, node, (char *)role, (char *)address, (char *)resources, fd, NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        bench_fail("pipe: %s", strerror(errno));
    int inherited = fcntl(ends[1], F_DUPFD, 10); /* not close-on-exec */
    snprintf(fd, sizeof fd, "%d", inherited);
    if (posix_spawn(&n->pid, self, NULL, NULL, arguments, environ) != 0)
        bench_fail("posix_spawn failed");
    close(inherited);
    close(ends[1]);
    if (read(ends[0], n->address, sizeof n->address) != sizeof n->address)
        bench_fail("the %s does not start", role);
    close(ends[0]);
    return n;
}

void kill_node(struct node *n)
{
    if (n->pid > 0) {
        kill(n->pid, SIGKILL);
        waitpid(n->pid, NULL, 0);
    }
    n->pid = 0;
}

const char *head_address(void)
{
    return nodes[0].address;
}

void join_cluster(void)
{
    require(ray_init(RAY_WITH(ray_config, .address = head_address(), .no_key = getenv("BENCH_PLAIN") != NULL)));
}

void start_cluster(int workers, const char *resources)
{
    if (!getenv("BENCH_PLAIN"))
        setenv("RAY_CLUSTER_KEY", bench_key, 1);
    start_node("head", "127.0.0.1:0", "CPU=0");
    for (int i = 0; i < workers; i++)
        start_node("worker", head_address(), resources);
    join_cluster();
}

void stop_cluster(void)
{
    require(ray_shutdown());
    while (num_nodes > 0)
        kill_node(&nodes[--num_nodes]);
}
