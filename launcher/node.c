/* The options that head and worker have in common. */
#include "node.h"
#include "resources.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COUNT_MAX = 1000000 };

void node_options_init(node_options *options)
{
    *options = (node_options){.config = {.size = sizeof options->config, .isolation = RAY_ISOLATION_PROCESS}};
}

void node_options_fini(node_options *options)
{
    free(options->resources);
}

static bool take_resources(const struct command *command, node_options *options, const char *value)
{
    char why[512];
    free(options->resources);
    options->resources = read_resources(value, why, sizeof why);
    if (options->resources)
        return true;
    complain(command, STATUS_USAGE, "--resources '%s': %s", value, why);
    return false;
}

static bool take_labels(const struct command *command, node_options *options, const char *value)
{
    char why[512];
    options->config.labels = value;
    if (check_labels(value, why, sizeof why))
        return true;
    complain(command, STATUS_USAGE, "--labels '%s': %s", value, why);
    return false;
}

static bool take_load(const struct command *command, node_options *options, const char *value)
{
    if (options->num_loads < NODE_LOADS_MAX) {
        options->loads[options->num_loads++] = value;
        return true;
    }
    complain(command, STATUS_USAGE, "--load: expected at most %d libraries", NODE_LOADS_MAX);
    return false;
}

static bool take_isolation(const struct command *command, node_options *options, const char *value)
{
    static const char *const words[] = {"process", "thread", NULL};
    static const ray_isolation kinds[] = {RAY_ISOLATION_PROCESS, RAY_ISOLATION_THREAD};
    size_t which;
    if (!read_choice(command, "--isolation", value, words, &which))
        return false;
    options->config.isolation = kinds[which];
    return true;
}

bool node_check_key(const struct command *command, const node_options *options)
{
    if (!options->config.no_key || !options->config.key_file)
        return true;
    complain(command, STATUS_USAGE, "expected --key-file or --no-key, got both");
    return false;
}

bool node_option(const struct command *command, node_options *options, int option, const char *value)
{
    switch (option) {
    case NODE_NUM_CPUS:
        options->has_cpus = true;
        return read_number(command, "num-cpus", value, COUNT_MAX, &options->num_cpus);
    case NODE_NUM_GPUS:
        options->has_gpus = true;
        return read_number(command, "num-gpus", value, COUNT_MAX, &options->num_gpus);
    case NODE_RESOURCES:
        return take_resources(command, options, value);
    case NODE_LABELS:
        return take_labels(command, options, value);
    case NODE_MEMORY:
        options->has_memory = true;
        return read_bytes(command, "memory", value, &options->memory_bytes);
    case NODE_STORE:
        return read_bytes(command, "object-store-memory", value, &options->config.store_bytes);
    case NODE_LOAD:
        return take_load(command, options, value);
    case NODE_ISOLATION:
        return take_isolation(command, options, value);
    case NODE_KEY_FILE:
        options->config.key_file = value;
        return true;
    case NODE_ADDRESS_FILE:
        options->address_file = value;
        return true;
    default:
        options->daemon = true;
        return true;
    }
}
