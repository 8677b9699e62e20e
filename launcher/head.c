/* raylaunch head: the node that a cluster begins with, and that keeps its tables. */
#include "node.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DEFAULT_ADDRESS "127.0.0.1:6379"

static const char help[] =
    "usage: raylaunch head [OPTION...]\n"
    "\n"
    "Starts a cluster: a node that runs tasks like others and keeps the cluster's tables. It serves until Ctrl-C, "
    "SIGTERM\n"
    "or raylaunch stop, and prints how other nodes join it. Unless there is a cluster key, it makes one.\n"
    "\n"
    "    raylaunch head --address 10.0.0.1:6379 --key-file key --load ./functions.so\n"
    "\n"
    "  --address HOST:PORT        where to listen, at an address by which the other hosts reach this one; port 0: any\n"
    "                             free one. Default: " DEFAULT_ADDRESS ", or the next port that is free\n"
    "  --no-key                   no cluster key: whoever may use this host may join. Loopback addresses only\n"
    "  --ns NAME                  namespace of names\n" NODE_HELP "\n"
    "Exit status: 0 it was ended as asked (--daemon: it serves), 1 it cannot start or go on, 2 wrong usage, 128 + N\n"
    "signal N came twice, or before it was there.\n";

/* The file with the key that others need to name, since they would not find it; NULL: none. room is for its path. */
static const char *key_file(const node_options *options, const node_self *self, char room[PATH_MAX])
{
    const char *named = options->config.key_file ? options->config.key_file : getenv("RAY_KEY_FILE");
    if (options->config.no_key)
        return NULL;
    if (named && *named)
        return realpath(named, room) ? room : named;
    snprintf(room, PATH_MAX, "%s/cluster-key", self->session);
    return *self->session && access(room, R_OK) == 0 ? room : NULL;
}

static void tell(const node_options *options, const node_self *self)
{
    char room[PATH_MAX];
    const char *key = key_file(options, self, room);
    printf("The head serves at %s\n", self->address);
    printf("Another node joins it with:\n    raylaunch worker --address %s%s%s\n", self->address,
           key ? " --key-file " : "", key ? key : "");
    if (key)
        printf("On other hosts with a copy of that file, which only its owner may read; on this one --address auto "
               "does.\n");
    else
        printf("On this host --address auto does, too.\n");
    if (*self->session)
        printf("It ends with%s:\n    raylaunch stop --session %s\n", options->daemon ? "" : " Ctrl-C, or",
               self->session);
}

/* Negative: all is right. */
static int read_options(int argc, char **argv, node_options *options)
{
    enum { ADDRESS = 'a', NO_KEY, NAMESPACE };
    static const struct option known[] = {{"address", required_argument, NULL, ADDRESS},
                                          {"no-key", no_argument, NULL, NO_KEY},
                                          {"ns", required_argument, NULL, NAMESPACE},
                                          NODE_OPTIONS,
                                          HELP_OPTION,
                                          {0}};
    int status, c;
    while ((c = next_option(&head_command, argc, argv, known, &status)) > 0) {
        if (c == ADDRESS)
            options->config.address = optarg;
        else if (c == NO_KEY)
            options->config.no_key = true;
        else if (c == NAMESPACE)
            options->config.ns = optarg;
        else if (!node_option(&head_command, options, c, optarg))
            return STATUS_USAGE;
    }
    if (c < 0)
        return status;
    if (!check_arguments(&head_command, argc, argv, 0, 0, "options only"))
        return STATUS_USAGE;
    if (!node_check_key(&head_command, options))
        return STATUS_USAGE;
    options->config.any_port = !options->config.address;
    if (!options->config.address)
        options->config.address = DEFAULT_ADDRESS;
    return -1;
}

static int run(int argc, char **argv)
{
    node_options options;
    node_options_init(&options);
    options.config.role = RAY_ROLE_HEAD;
    int status = read_options(argc, argv, &options);
    if (status < 0)
        status = node_serve(&head_command, &options, tell);
    node_options_fini(&options);
    return status;
}

const struct command head_command = {
    .name = "head",
    .summary = "starts a cluster",
    .help = help,
    .run = run,
};
