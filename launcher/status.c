/* raylaunch status: a cluster on one screen. */
#include "observe.h"

#include <ray/ray.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: raylaunch status [OPTION...]\n"
    "\n"
    "Shows the nodes of a cluster, what is used of its resources, what tasks, actors and placement groups wait for, "
    "and\n"
    "what is amiss.\n"
    "\n"
    "  --json                     as one JSON object: nodes, resources, demand, warnings\n" OBSERVE_CLUSTER_HELP
    "  --help                     this text\n"
    "\n"
    "Exit status: 0 done, 1 the cluster cannot be asked, 2 wrong usage.\n";

/* A count, or bytes where the name says memory. */
static void print_amount(const char *name, double amount)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t size = strlen(name), unit = 0;
    if (size < 6 || strcmp(name + size - 6, "memory") != 0) {
        printf("%.10g", amount);
        return;
    }
    for (; amount >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
        amount /= 1024;
    printf(unit > 0 ? "%.1f%s" : "%.0f%s", amount, units[unit]);
}

static void print_nodes(json_t *nodes)
{
    static const char *const states[] = {"ALIVE", "SUSPECT", "DEAD"};
    json_t *node, *rows = json_array();
    size_t counts[3] = {0}, i;
    json_array_foreach(nodes, i, node)
    {
        for (size_t k = 0; k < 3; k++)
            counts[k] += strcmp(row_text(node, "state"), states[k]) == 0;
        json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:O?, s:s}", "state", row_text(node, "state"), "role",
                                              node_role(node), "node_id", row_text(node, "node_id"), "address",
                                              json_object_get(node, "node_ip"), "labels", row_text(node, "labels")));
    }
    printf("Nodes: %zu alive", counts[0]);
    if (counts[1] > 0)
        printf(", %zu late (suspect)", counts[1]);
    if (counts[2] > 0)
        printf(", %zu dead", counts[2]);
    putchar('\n');
    print_table(rows);
    json_decref(rows);
}

static void print_resources(json_t *resources)
{
    const char *name;
    json_t *amounts;
    puts("\nUsage");
    json_object_foreach(resources, name, amounts)
    {
        double total = json_number_value(json_object_get(amounts, "total"));
        if (total == 0)
            continue;
        fputs("  ", stdout);
        print_amount(name, json_number_value(json_object_get(amounts, "used")));
        putchar('/');
        print_amount(name, total);
        printf(" %s\n", name);
    }
}

static void print_demand(json_t *demand)
{
    json_t *row;
    size_t i;
    puts("\nDemand");
    json_array_foreach(demand, i, row)
    {
        const char *labels = row_text(row, "labels"), *resources = row_text(row, "resources");
        const char *function = row_text(row, "function");
        printf("  %" JSON_INTEGER_FORMAT " x {%s}%s%s%s%s, waiting for %.1f s%s\n",
               json_integer_value(json_object_get(row, "count")), resources, *labels ? " on nodes with " : "", labels,
               *function ? " and the function " : "", function,
               json_number_value(json_object_get(row, "waited_ms")) / 1000,
               json_is_true(json_object_get(row, "infeasible")) ? ": no node has that" : "");
    }
    if (i == 0)
        puts("  none");
}

static void print_warnings(json_t *warnings)
{
    json_t *words;
    size_t i;
    json_array_foreach(warnings, i, words)
    {
        char *text = print_value(words);
        printf("%s  %s\n", i == 0 ? "\nWarnings\n" : "", text ? text : "?");
        free(text);
    }
}

static int show(bool as_json)
{
    json_t *status = ask_rows(&status_command, "status", 1, NULL, 0);
    if (!status)
        return STATUS_FAILED;
    if (as_json) {
        print_json(status);
    } else {
        print_nodes(json_object_get(status, "nodes"));
        print_resources(json_object_get(status, "resources"));
        print_demand(json_object_get(status, "demand"));
        print_warnings(json_object_get(status, "warnings"));
    }
    json_decref(status);
    return printed();
}

static int run(int argc, char **argv)
{
    enum { JSON = 'j' };
    static const struct option known[] = {{"json", no_argument, NULL, JSON}, OBSERVE_CLUSTER_OPTIONS, HELP_OPTION, {0}};
    observe_options options;
    int status, c;
    observe_options_init(&options);
    while ((c = next_option(&status_command, argc, argv, known, &status)) > 0) {
        if (c == JSON)
            options.json = true;
        else if (!observe_option(&status_command, &options, c, optarg))
            return STATUS_USAGE;
    }
    if (c < 0)
        return status;
    if (!check_arguments(&status_command, argc, argv, 0, 0, "options only"))
        return STATUS_USAGE;
    status = observe(&status_command, &options) ? show(options.json) : STATUS_FAILED;
    (void)ray_shutdown();
    return status;
}

const struct command status_command = {
    .name = "status",
    .summary = "shows nodes, use and demand of a cluster",
    .help = help,
    .run = run,
};
