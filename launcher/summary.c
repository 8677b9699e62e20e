/* raylaunch summary: how many there are of what. */
#include "observe.h"

#include <ray/ray.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: raylaunch summary tasks|actors|placement-groups|objects [OPTION...]\n"
    "\n"
    "Counts tasks by name, actors by class and placement groups by strategy, each in its states; or sums up the "
    "object\n"
    "stores of all nodes.\n"
    "\n"
    "  --filter FIELD=VALUE       counts only those; FIELD!=VALUE: only others. See raylaunch list --help\n"
    "  --format table|json        default: table\n" OBSERVE_CLUSTER_HELP "  --help                     this text\n"
    "\n"
    "Exit status: 0 done, 1 the cluster cannot be asked, 2 wrong usage.\n";

static const char *const names[] = {"tasks", "actors", "placement-groups", "objects", NULL};
static const char *const tables[] = {"tasks", "actors", "placement_groups", "objects"};
static const char *const groups[] = {"name", "class_name", "strategy", NULL}; /* the field by which they are counted */

static void add_one(json_t *counts, const char *key)
{
    json_object_set_new(counts, key, json_integer(json_integer_value(json_object_get(counts, key)) + 1));
}

static const char *word_of(json_t *row, const char *key)
{
    const char *text = row_text(row, key);
    return *text ? text : "-";
}

/* [{"name": "f", "total": 3, "states": {"FINISHED": 2, "RUNNING": 1}}, …], in the order of the rows. */
static json_t *count(json_t *rows, const char *field)
{
    json_t *by_name = json_object(), *out = json_array(), *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        const char *name = word_of(row, field);
        json_t *group = json_object_get(by_name, name);
        if (!group) {
            group = json_pack("{s:s, s:i, s:{}}", field, name, "total", 0, "states");
            json_object_set(by_name, name, group);
            json_array_append_new(out, group);
        }
        add_one(group, "total");
        add_one(json_object_get(group, "states"), word_of(row, "state"));
    }
    json_decref(by_name);
    return out;
}

/* {"nodes": 2, and the sum of each number} */
static json_t *sum(json_t *rows)
{
    json_t *out = json_pack("{s:i}", "nodes", (int)json_array_size(rows)), *row, *value;
    const char *key;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        json_object_foreach(row, key, value)
        {
            if (json_is_integer(value))
                json_object_set_new(
                    out, key, json_integer(json_integer_value(json_object_get(out, key)) + json_integer_value(value)));
        }
    }
    return out;
}

static int summarize(const observe_options *options, size_t which)
{
    json_t *answer = ask(&summary_command, tables[which], LIMIT_MOST, options->filters, options->num_filters);
    if (!answer)
        return STATUS_FAILED;
    json_t *rows = json_object_get(answer, "result"), *out = groups[which] ? count(rows, groups[which]) : sum(rows);
    if (options->json)
        print_json(out);
    else if (!groups[which])
        print_object(out);
    else if (json_array_size(out) > 0)
        print_table(out);
    else
        printf("There are none%s.\n", options->num_filters > 0 ? " that pass the filters" : "");
    int status = printed();
    json_int_t passed = json_integer_value(json_object_get(answer, "num_filtered"));
    if (passed > (json_int_t)json_array_size(rows))
        complain(&summary_command, 0, "only %zu of %lld are counted", json_array_size(rows), (long long)passed);
    json_decref(out);
    json_decref(answer);
    return status;
}

/* Negative: all is right. */
static int read_options(int argc, char **argv, observe_options *options, size_t *which)
{
    static const struct option known[] = {{"filter", required_argument, NULL, OBSERVE_FILTER},
                                          {"format", required_argument, NULL, OBSERVE_FORMAT},
                                          OBSERVE_CLUSTER_OPTIONS,
                                          HELP_OPTION,
                                          {0}};
    int status = observe_options_read(&summary_command, options, argc, argv, known);
    if (status >= 0)
        return status;
    return check_arguments(&summary_command, argc, argv, 1, 1, "tasks, actors, placement-groups or objects") &&
                   read_choice(&summary_command, "KIND", argv[optind], names, which)
               ? -1
               : STATUS_USAGE;
}

static int run(int argc, char **argv)
{
    observe_options options;
    size_t which;
    observe_options_init(&options);
    int status = read_options(argc, argv, &options, &which);
    if (status < 0) {
        status = observe(&summary_command, &options) ? summarize(&options, which) : STATUS_FAILED;
        (void)ray_shutdown();
    }
    observe_options_fini(&options);
    return status;
}

const struct command summary_command = {
    .name = "summary",
    .summary = "counts tasks, actors, placement groups and objects",
    .help = help,
    .run = run,
};
