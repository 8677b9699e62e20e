#include "observe.h"

#include <ctype.h>
#include <ray/ray.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const kind_names[] = {"nodes",   "jobs",      "tasks",    "actors", "objects", "placement-groups",
                                  "workers", "published", "sessions", NULL};
const kind kinds[] = {{"node", "nodes", "node_id"},
                      {"job", "jobs", "job_id"},
                      {"task", "tasks", "task_id"},
                      {"actor", "actors", "actor_id"},
                      {"object store of a node", "objects", "node_id"},
                      {"placement group", "placement_groups", "placement_group_id"},
                      {"worker", "workers", "pid"},
                      {"published object", "published", "name"},
                      {"session", "sessions", "pid"}};

/* ---- options ---- */

void observe_options_init(observe_options *options)
{
    *options = (observe_options){.limit = LIMIT_DEFAULT};
}

void observe_options_fini(observe_options *options)
{
    for (size_t i = 0; i < options->num_filters; i++)
        free(options->words[i]);
}

static bool take_filter(const struct command *command, observe_options *options, const char *value)
{
    char *words = options->num_filters < FILTERS_MAX ? strdup(value) : NULL, *equals;
    if (!words) {
        complain(command, STATUS_USAGE, "--filter: expected at most %d", FILTERS_MAX);
        return false;
    }
    equals = strchr(words, '=');
    bool differs = equals && equals > words && equals[-1] == '!';
    if (!equals || equals - differs == words) {
        complain(command, STATUS_USAGE, "--filter: expected FIELD=VALUE or FIELD!=VALUE, got \"%s\"", value);
        free(words);
        return false;
    }
    equals[-differs] = 0;
    options->words[options->num_filters] = words;
    options->filters[options->num_filters++] = (filter){.key = words, .value = equals + 1, .differs = differs};
    return true;
}

bool observe_option(const struct command *command, observe_options *options, int option, const char *value)
{
    static const char *const formats[] = {"table", "json", NULL};
    size_t which;
    switch (option) {
    case OBSERVE_ADDRESS:
        options->address = value;
        return true;
    case OBSERVE_KEY_FILE:
        options->key_file = value;
        return true;
    case OBSERVE_LIMIT:
        return read_number(command, "limit", value, LIMIT_MOST, &options->limit);
    case OBSERVE_FILTER:
        return take_filter(command, options, value);
    default:
        if (!read_choice(command, "--format", value, formats, &which))
            return false;
        options->json = which == 1;
        return true;
    }
}

/* ---- asking ---- */

enum { PATIENCE_MS = 10000 }; /* with a head that does not answer */

static bool start(const struct command *command, const char *address, const char *key_file)
{
    unsetenv("RAY_WORKER_OF"); /* whoever's task has started this: it is no worker process */
    if (ray_init(RAY_WITH(ray_config, .role = RAY_ROLE_OBSERVER, .address = address, .key_file = key_file,
                          .timeout_ms = PATIENCE_MS)) == 0)
        return true;
    complain(command, STATUS_FAILED, "%s", ray_last_error()->message);
    return false;
}

int observe_options_read(const struct command *command, observe_options *options, int argc, char **argv,
                         const struct option *known)
{
    int status, c;
    while ((c = next_option(command, argc, argv, known, &status)) > 0)
        if (!observe_option(command, options, c, optarg))
            return STATUS_USAGE;
    return c < 0 ? status : -1;
}

bool observe(const struct command *command, const observe_options *options)
{
    const char *address = options->address ? options->address : getenv("RAY_ADDRESS");
    return start(command, address && *address ? address : "auto", options->key_file);
}

bool observe_host(const struct command *command)
{
    return start(command, "local", NULL);
}

bool observe_kind(const struct command *command, const observe_options *options, const kind *which)
{
    return strcmp(which->table, "sessions") == 0 ? observe_host(command) : observe(command, options);
}

void add_part(FILE *out, const char *name, const char *value)
{
    fprintf(out, "&%s=", name);
    for (const char *c = value; *c; c++)
        fprintf(out, isalnum((unsigned char)*c) || strchr("-_.~", *c) ? "%c" : "%%%02X", (unsigned char)*c);
}

/* To free; NULL: out of memory. */
static char *write_query(const char *table, uint64_t limit, const filter *filters, size_t num_filters)
{
    char *query = NULL;
    size_t size;
    FILE *out = open_memstream(&query, &size);
    if (!out)
        return NULL;
    fprintf(out, "%s?limit=%llu", table, (unsigned long long)limit);
    for (size_t i = 0; i < num_filters; i++) {
        add_part(out, "filter_keys", filters[i].key);
        add_part(out, "filter_predicates", filters[i].differs ? "!=" : "=");
        add_part(out, "filter_values", filters[i].value);
    }
    if (fclose(out) == 0)
        return query;
    free(query);
    return NULL;
}

/* The words of the library begin with what a program would have called. */
const char *last_words(void)
{
    static const char call[] = "ray_state: ";
    const char *message = ray_last_error()->message;
    return strncmp(message, call, sizeof call - 1) == 0 ? message + sizeof call - 1 : message;
}

json_t *ask(const struct command *command, const char *table, uint64_t limit, const filter *filters, size_t num_filters)
{
    char *query = write_query(table, limit, filters, num_filters);
    json_error_t error;
    ray_view view;
    int r = query ? ray_state(query, &view) : 0;
    free(query);
    if (!query || r < 0) {
        complain(command, STATUS_FAILED, "%s", query ? last_words() : "out of memory");
        return NULL;
    }
    json_t *all = json_loadb(view.data, view.size, 0, &error);
    ray_view_release(&view);
    json_t *found = json_incref(json_object_get(json_object_get(all, "data"), "result"));
    if (!found)
        complain(command, STATUS_FAILED, "the state of %s cannot be read: %s", table,
                 all ? "it has no data.result" : error.text);
    json_decref(all);
    return found;
}

json_t *ask_rows(const struct command *command, const char *table, uint64_t limit, const filter *filters,
                 size_t num_filters)
{
    json_t *answer = ask(command, table, limit, filters, num_filters);
    json_t *rows = json_incref(json_object_get(answer, "result"));
    json_decref(answer);
    return rows;
}

/* ---- nodes ---- */

static bool is_meant(json_t *row, const char *name)
{
    return strcmp(row_text(row, "state"), "DEAD") != 0 &&
           (strcmp(row_text(row, "node_ip"), name) == 0 || strncmp(row_text(row, "node_id"), name, strlen(name)) == 0);
}

bool find_node(const struct command *command, const char *name, char id[NODE_ID_SIZE])
{
    json_t *rows = ask_rows(command, "nodes", LIMIT_MOST, NULL, 0), *row;
    size_t i, count = 0;
    if (!rows)
        return false;
    json_array_foreach(rows, i, row)
    {
        if (!is_meant(row, name))
            continue;
        snprintf(id, NODE_ID_SIZE, "%s", row_text(row, "node_id"));
        count++;
    }
    json_decref(rows);
    if (count == 0)
        complain(command, STATUS_FAILED, "there is no node %s", name);
    else if (count > 1)
        complain(command, STATUS_FAILED, "%zu nodes are %s; more of the node_id says which", count, name);
    return count == 1;
}

const char *node_role(json_t *row)
{
    return json_is_true(json_object_get(row, "is_head_node"))     ? "head"
           : json_is_true(json_object_get(row, "is_driver_node")) ? "driver"
                                                                  : "worker";
}

const char *row_text(json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}
