/* raylaunch worker-process: a worker process for a node whose own executable cannot be one, with functions that come
 * from libraries. What is wrong is said on standard error: the node hands its workers' last words on. */
#include "node.h"

#include <ray/ray.h>
#include <stdlib.h>

static const char help[] =
    "usage: raylaunch worker-process [--load LIBRARY]...\n"
    "\n"
    "What a node starts as its worker process, instead of its own executable. You do not run it: you name it in the\n"
    "program that calls ray_init, or in its environment:\n"
    "\n"
    "    RAY_WORKER_COMMAND=\"raylaunch worker-process --load ./functions.so\" ./program\n"
    "\n"
    "    ray_init(RAY_WITH(ray_config, .worker_command = \"raylaunch worker-process --load ./functions.so\"));\n"
    "\n"
    "It loads the libraries, in that order, serves the node that started it, and ends with it. A LIBRARY without a\n"
    "slash is looked for where the system keeps libraries (see dlopen); others are paths from the node's directory.\n"
    "Libraries that the program itself opens with ray_load need no --load: the worker is told of them.\n"
    "\n"
    "  --load LIBRARY  opens a shared library with remote functions; may be repeated\n"
    "  --help          this text\n"
    "\n"
    "Exit status: 0 the node has said that it is over, 1 a library cannot be loaded or the node cannot be served,\n"
    "2 wrong usage, or nobody's worker: started by hand.\n";

static int run(int argc, char **argv)
{
    static const struct option known[] = {{"load", required_argument, NULL, 'l'}, HELP_OPTION, {0}};
    const char *of = getenv("RAY_WORKER_OF");
    int status, c;
    do /* first a look whether all is right */
        c = next_option(&worker_process_command, argc, argv, known, &status);
    while (c > 0);
    if (c < 0)
        return status;
    if (!check_arguments(&worker_process_command, argc, argv, 0, 0, "options only"))
        return STATUS_USAGE;
    if (!of || !*of)
        return complain(&worker_process_command, STATUS_USAGE,
                        "a node starts this as its worker process, when ray_config.worker_command or "
                        "$RAY_WORKER_COMMAND says so; by hand it has nothing to do (--help tells more)");

    optind = 1;
    while (next_option(&worker_process_command, argc, argv, known, &status) > 0)
        if (!load(&worker_process_command, optarg))
            return STATUS_FAILED;
    if (ray_init(NULL) != 0) /* it serves, and ends the process */
        return complain(&worker_process_command, STATUS_FAILED, "%s", ray_last_error()->message);
    return complain(&worker_process_command, STATUS_FAILED, "libray took this for no worker process");
}

const struct command worker_process_command = {
    .name = "worker-process",
    .summary = "serves a node as its worker process, with functions from libraries",
    .help = help,
    .run = run,
};
