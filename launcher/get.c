/* raylaunch get: one row of a table. */
#include "observe.h"

#include <ray/ray.h>
#include <stdio.h>

static const char help[] =
    "usage: raylaunch get KIND ID [OPTION...]\n"
    "\n"
    "Shows one of what raylaunch list lists, a field a line. KIND as there; ID is in the column with its name: node_id "
    "of\n"
    "nodes and objects, job_id, task_id, actor_id, placement_group_id; pid of workers and sessions.\n"
    "\n"
    "  --format table|json        default: table\n" OBSERVE_CLUSTER_HELP "  --help                     this text\n"
    "\n"
    "Exit status: 0 done, 1 there is none, or the cluster cannot be asked, 2 wrong usage.\n";

static int get(const observe_options *options, const kind *which, const char *id)
{
    json_t *rows = ask_rows(&get_command, which->table, LIMIT_DEFAULT, &(filter){.key = which->id, .value = id}, 1);
    if (!rows)
        return STATUS_FAILED;
    int status;
    if (json_array_size(rows) == 0) {
        status = complain(&get_command, STATUS_FAILED, "there is no %s %s", which->name, id);
    } else {
        (options->json ? print_json : print_object)(json_array_get(rows, 0));
        status = printed();
    }
    json_decref(rows);
    return status;
}

/* Negative: all is right. */
static int read_options(int argc, char **argv, observe_options *options, const kind **which)
{
    static const struct option known[] = {
        {"format", required_argument, NULL, OBSERVE_FORMAT}, OBSERVE_CLUSTER_OPTIONS, HELP_OPTION, {0}};
    int status = observe_options_read(&get_command, options, argc, argv, known);
    size_t nth;
    if (status >= 0)
        return status;
    if (!check_arguments(&get_command, argc, argv, 2, 2, "KIND and ID") ||
        !read_choice(&get_command, "KIND", argv[optind], kind_names, &nth))
        return STATUS_USAGE;
    *which = &kinds[nth];
    return -1;
}

static int run(int argc, char **argv)
{
    observe_options options;
    const kind *which = NULL;
    observe_options_init(&options);
    int status = read_options(argc, argv, &options, &which);
    if (status < 0) {
        status = observe_kind(&get_command, &options, which) ? get(&options, which, argv[optind + 1]) : STATUS_FAILED;
        (void)ray_shutdown();
    }
    observe_options_fini(&options);
    return status;
}

const struct command get_command = {
    .name = "get",
    .summary = "shows one of them",
    .help = help,
    .run = run,
};
