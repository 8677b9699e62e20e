/* What commands know of a cluster: they ask as an observer, and read the JSON of ray_state. */
#ifndef OBSERVE_H
#define OBSERVE_H

#include "command.h"

#include <jansson.h>
#include <stdio.h>

enum { LIMIT_DEFAULT = 100, LIMIT_MOST = 10000, FILTERS_MAX = 16 };
#define SESSION_MARK "raylaunch" /* a file in the sessions of nodes that raylaunch has started */

typedef struct filter {
    const char *key, *value;
    bool differs;
} filter;

/* Where and what to ask: options that several commands have. */
typedef struct observe_options {
    const char *address, *key_file;
    uint64_t limit;
    bool json;
    filter filters[FILTERS_MAX];
    size_t num_filters;
    char *words[FILTERS_MAX]; /* what the keys lie in; to free */
} observe_options;

enum { OBSERVE_ADDRESS = 128, OBSERVE_KEY_FILE, OBSERVE_FORMAT, OBSERVE_LIMIT, OBSERVE_FILTER };
#define OBSERVE_CLUSTER_OPTIONS                                                                                        \
    {"address", required_argument, NULL, OBSERVE_ADDRESS},                                                             \
    {                                                                                                                  \
        "key-file", required_argument, NULL, OBSERVE_KEY_FILE                                                          \
    }
#define OBSERVE_CLUSTER_HELP                                                                                           \
    "  --address HOST:PORT|auto   the cluster; default: $RAY_ADDRESS, else auto, the one on this host. local: none\n"  \
    "  --key-file FILE            with the cluster key; default: $RAY_KEY_FILE, $RAY_CLUSTER_KEY, that of a head\n"    \
    "                             on this host, ~/.config/ray/cluster-key\n"

void observe_options_init(observe_options *options);
void observe_options_fini(observe_options *options);
/* Takes all that there are, for commands that know these and --help only. Negative: all is right; else the status. */
int observe_options_read(const struct command *command, observe_options *options, int argc, char **argv,
                         const struct option *known);
/* Takes one of these; false: it was wrong, and has been complained about. */
bool observe_option(const struct command *command, observe_options *options, int option, const char *value);

/* Starts the library so that it can be asked, until ray_shutdown. false: it has complained. */
bool observe(const struct command *command, const observe_options *options);
/* The same, of this host only: sessions. */
bool observe_host(const struct command *command);

/* What ray_state has in data.result: {"total": …, "num_filtered": …, "result": …}, a reference. NULL: it has
 * complained. */
json_t *ask(const struct command *command, const char *table, uint64_t limit, const filter *filters,
            size_t num_filters);
/* Its rows alone. */
json_t *ask_rows(const struct command *command, const char *table, uint64_t limit, const filter *filters,
                 size_t num_filters);

const char *last_words(void);                                  /* of the library: why ray_state has failed */
void add_part(FILE *out, const char *name, const char *value); /* "&NAME=VALUE" of a query */

/* ---- nodes ---- */

enum { NODE_ID_SIZE = 40 };
/* The one that lives and has this address, or an id that begins so. False: it has complained. */
bool find_node(const struct command *command, const char *name, char id[NODE_ID_SIZE]);
const char *node_role(json_t *row); /* head, worker or driver */

/* ---- kinds of things ---- */

typedef struct kind {
    const char *name, *table, *id; /* of one, "placement group"; "placement_groups", "placement_group_id" */
} kind;
extern const char *const kind_names[]; /* on the command line, "placement-groups"; NULL-terminated */
extern const kind kinds[];             /* in the same order */
/* observe, or observe_host where that has them. */
bool observe_kind(const struct command *command, const observe_options *options, const kind *which);

const char *row_text(json_t *row, const char *key); /* "" if there is no text */

/* ---- table.c ---- */

void print_table(json_t *rows);    /* an array of objects, a line each */
void print_object(json_t *object); /* a line a field */
void print_json(json_t *value);
/* A value as people read it, in one line: to free. NULL: out of memory. */
char *print_value(json_t *value);

#endif
