/* A process that a node has started as the template of its worker processes: RAY_WORKER_OF says so by a third word. */
#include "process/process.h"
#include "worker/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

rayi_worker_role rayi_worker_read_role(int64_t *out_node, bool *out_wrapped)
{
    const char *of = getenv(RAYI_WORKER_ENV);
    long long node;
    int wrapped, end = 0;

    if (!of || sscanf(of, "%lld %d%n", &node, &wrapped, &end) != 2 || node <= 0)
        return RAYI_WORKER_ROLE_NONE;
    *out_node = node;
    *out_wrapped = wrapped != 0;
    if (of[end] == 0)
        return RAYI_WORKER_ROLE_WORKER;
    return strcmp(of + end, RAYI_WORKER_TEMPLATE) == 0 ? RAYI_WORKER_ROLE_TEMPLATE : RAYI_WORKER_ROLE_NONE;
}

static int announce(int64_t node)
{
    int r;

    if (fcntl(RAYI_WORKER_SOCKET, F_SETFD, FD_CLOEXEC) < 0)
        return rayi_fail(RAY_ERR_CORRUPT, "descriptor %d of a template is not its node's socket: %s",
                         RAYI_WORKER_SOCKET, strerror(errno));
    r = rayi_process_bind_to_parent(node);
    return r < 0 ? r : rayi_template_ready(RAYI_WORKER_SOCKET);
}

int rayi_worker_template_fork(void)
{
    static bool announced;
    bool wrapped;
    int64_t node;
    int r = 0;

    if (rayi_worker_read_role(&node, &wrapped) != RAYI_WORKER_ROLE_TEMPLATE)
        return 0;
    if (!announced)
        r = announce(node);
    if (r < 0)
        return r;
    announced = true;
    return rayi_template_serve(RAYI_WORKER_SOCKET);
}
