/* raylaunch list: the tables of a cluster. */
#include "observe.h"

#include <ray/ray.h>
#include <stdio.h>

static const char help[] =
    "usage: raylaunch list KIND [OPTION...]\n"
    "\n"
    "Lists what a cluster has. KIND: nodes, jobs, tasks, actors, objects (the object stores of its nodes),\n"
    "placement-groups, workers (worker processes), published (objects with a name, and the nodes that keep them); or\n"
    "sessions: the nodes of this user on this host, whichever their cluster.\n"
    "\n"
    "    raylaunch list tasks --filter state=RUNNING --filter name!=fib --limit 20\n"
    "\n"
    "  --filter FIELD=VALUE       only those; FIELD!=VALUE: only others. Several: those that pass all. The fields are\n"
    "                             the columns of the table; the case of letters in VALUE makes no difference\n"
    "  --limit N                  at most so many; default: 100, at most 10000\n"
    "  --format table|json        default: table\n" OBSERVE_CLUSTER_HELP "  --help                     this text\n"
    "\n"
    "Exit status: 0 done, 1 the cluster cannot be asked, 2 wrong usage.\n";

static void say_what_is_missing(json_t *answer)
{
    json_int_t passed = json_integer_value(json_object_get(answer, "num_filtered"));
    size_t shown = json_array_size(json_object_get(answer, "result"));
    const char *warning = json_string_value(json_object_get(answer, "partial_failure_warning"));
    if (passed > (json_int_t)shown)
        complain(&list_command, 0, "%zu of %lld are shown; --limit N shows more", shown, (long long)passed);
    if (warning && *warning)
        complain(&list_command, 0, "%s", warning);
}

static int list(const observe_options *options, const kind *which)
{
    json_t *answer = ask(&list_command, which->table, options->limit, options->filters, options->num_filters);
    if (!answer)
        return STATUS_FAILED;
    json_t *rows = json_object_get(answer, "result");
    if (options->json)
        print_json(rows);
    else if (json_array_size(rows) > 0)
        print_table(rows);
    else
        printf("There are none%s.\n", options->num_filters > 0 ? " that pass the filters" : "");
    int status = printed();
    say_what_is_missing(answer);
    json_decref(answer);
    return status;
}

/* Negative: all is right. */
static int read_options(int argc, char **argv, observe_options *options, const kind **which)
{
    static const struct option known[] = {{"filter", required_argument, NULL, OBSERVE_FILTER},
                                          {"limit", required_argument, NULL, OBSERVE_LIMIT},
                                          {"format", required_argument, NULL, OBSERVE_FORMAT},
                                          OBSERVE_CLUSTER_OPTIONS,
                                          HELP_OPTION,
                                          {0}};
    int status = observe_options_read(&list_command, options, argc, argv, known);
    size_t nth;
    if (status >= 0)
        return status;
    if (!check_arguments(&list_command, argc, argv, 1, 1, "one KIND (nodes, tasks, ...)") ||
        !read_choice(&list_command, "KIND", argv[optind], kind_names, &nth))
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
        status = observe_kind(&list_command, &options, which) ? list(&options, which) : STATUS_FAILED;
        (void)ray_shutdown();
    }
    observe_options_fini(&options);
    return status;
}

const struct command list_command = {
    .name = "list",
    .summary = "lists nodes, tasks, actors and more of a cluster",
    .help = help,
    .run = run,
};
