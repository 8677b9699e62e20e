/* raylaunch worker: a node that joins a cluster and works for it. */
#include "node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: raylaunch worker --address HOST:PORT|auto [OPTION...]\n"
    "\n"
    "Joins the cluster of the head at that address (auto: the one on this host) and works for it, until Ctrl-C, "
    "SIGTERM,\n"
    "raylaunch stop or the cluster's end.\n"
    "\n"
    "    raylaunch worker --address 10.0.0.1:6379 --key-file key --load ./functions.so --num-cpus 4\n"
    "\n"
    "  --address HOST:PORT|auto   the head; default: $RAY_ADDRESS\n"
    "  --head-wait SECONDS        how long it goes on when the head cannot be reached; default: 60. forever: until it "
    "is\n"
    "                             back\n"
    "  --listen HOST:PORT         where other nodes reach this one; default: the host by which it reaches the head, "
    "any\n"
    "                             free port\n"
    "  --no-key                   join a head without a cluster key, on this host, though there is one here\n" NODE_HELP
    "\n"
    "Exit status: 0 it was ended as asked, or its head was (--daemon: it serves), 1 it cannot join or go on, 2 wrong\n"
    "usage, 128 + N signal N came twice, or before it was there.\n";

static void tell(const node_options *options, const node_self *self)
{
    printf("This node serves the cluster at %s, as %s%s%s\n", *self->head ? self->head : options->config.address,
           self->node_id, *self->address ? ", at " : "", self->address);
    if (*self->session)
        printf("It ends with%s:\n    raylaunch stop --session %s\n", options->daemon ? "" : " Ctrl-C, or",
               self->session);
}

static bool take_head_wait(node_options *options, const char *value)
{
    if (strcmp(value, "forever") == 0) {
        options->config.head_wait_ms = -1;
        return true;
    }
    if (!read_seconds(&worker_command, "head-wait", value, &options->config.head_wait_ms))
        return false;
    if (options->config.head_wait_ms == 0)
        options->config.head_wait_ms = 1; /* 0 would be the default */
    return true;
}

/* False: it has complained. */
static bool check_address(node_options *options)
{
    const char *address = options->config.address ? options->config.address : getenv("RAY_ADDRESS");
    if (address && *address && strcmp(address, "local") != 0) {
        options->config.address = address;
        return true;
    }
    complain(&worker_command, STATUS_USAGE, "expected --address HOST:PORT (the head's) or --address auto, got %s",
             address && *address ? "\"local\"" : "none, and no $RAY_ADDRESS");
    return false;
}

/* Negative: all is right. */
static int read_options(int argc, char **argv, node_options *options)
{
    enum { ADDRESS = 'a', HEAD_WAIT, LISTEN, NO_KEY };
    static const struct option known[] = {{"address", required_argument, NULL, ADDRESS},
                                          {"head-wait", required_argument, NULL, HEAD_WAIT},
                                          {"listen", required_argument, NULL, LISTEN},
                                          {"no-key", no_argument, NULL, NO_KEY},
                                          NODE_OPTIONS,
                                          HELP_OPTION,
                                          {0}};
    int status, c;
    while ((c = next_option(&worker_command, argc, argv, known, &status)) > 0) {
        if (c == ADDRESS)
            options->config.address = optarg;
        else if (c == LISTEN)
            options->config.listen = optarg;
        else if (c == NO_KEY)
            options->config.no_key = true;
        else if (c == HEAD_WAIT ? !take_head_wait(options, optarg) : !node_option(&worker_command, options, c, optarg))
            return STATUS_USAGE;
    }
    if (c < 0)
        return status;
    return check_arguments(&worker_command, argc, argv, 0, 0, "options only") &&
                   node_check_key(&worker_command, options) && check_address(options)
               ? -1
               : STATUS_USAGE;
}

static int run(int argc, char **argv)
{
    node_options options;
    node_options_init(&options);
    options.config.role = RAY_ROLE_WORKER;
    int status = read_options(argc, argv, &options);
    if (status < 0)
        status = node_serve(&worker_command, &options, tell);
    node_options_fini(&options);
    return status;
}

const struct command worker_command = {
    .name = "worker",
    .summary = "joins a cluster and works for it",
    .help = help,
    .run = run,
};
