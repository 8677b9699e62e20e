/* raylaunch drain: a worker finishes what it has and leaves. */
#include "observe.h"

#include <ray/ray.h>
#include <stdio.h>

static const char help[] =
    "usage: raylaunch drain NODE [OPTION...]\n"
    "\n"
    "A worker gets no new work; when nothing of the cluster's runs there any more, no task and no actor, it leaves "
    "the\n"
    "cluster and ends. NODE: its node_id (raylaunch list nodes shows them), as much of its beginning as is needed, or "
    "its\n"
    "HOST:PORT. Returns at once; raylaunch get nodes ID shows how it gets on.\n"
    "\n" OBSERVE_CLUSTER_HELP "  --help                     this text\n"
    "\n"
    "Exit status: 0 done, 1 there is no such worker, or the cluster cannot be asked, 2 wrong usage.\n";

static int drain(const char *name)
{
    char id[NODE_ID_SIZE];
    if (!find_node(&drain_command, name, id))
        return STATUS_FAILED;
    if (ray_node_drain(id) < 0)
        return complain(&drain_command, STATUS_FAILED, "%s: %s", name, ray_last_error()->message);
    printf("Node %s is being drained: it leaves when it is done.\n", id);
    return printed();
}

static int run(int argc, char **argv)
{
    static const struct option known[] = {OBSERVE_CLUSTER_OPTIONS, HELP_OPTION, {0}};
    observe_options options;
    int status;
    observe_options_init(&options);
    status = observe_options_read(&drain_command, &options, argc, argv, known);
    if (status >= 0)
        return status;
    if (!check_arguments(&drain_command, argc, argv, 1, 1, "one NODE"))
        return STATUS_USAGE;
    status = observe(&drain_command, &options) ? drain(argv[optind]) : STATUS_FAILED;
    (void)ray_shutdown();
    return status;
}

const struct command drain_command = {
    .name = "drain",
    .summary = "has a worker finish what it has, and leave",
    .help = help,
    .run = run,
};
