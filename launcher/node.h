/* What head and worker share: the options of a node, its serving, and its going on in the background. */
#ifndef NODE_H
#define NODE_H

#include "command.h"

#include <ray/ray.h>

enum { NODE_LOADS_MAX = 64 };

typedef struct node_options {
    ray_config config;
    char *resources; /* of --resources, as ray_config takes them; to free */
    uint64_t num_cpus, num_gpus, memory_bytes;
    bool has_cpus, has_gpus, has_memory;
    const char *loads[NODE_LOADS_MAX];
    size_t num_loads;
    bool daemon;
    const char *address_file;
} node_options;

/* The options that both have; their vals are from 128 on. */
#define NODE_OPTIONS                                                                                                   \
    {"num-cpus", required_argument, NULL, NODE_NUM_CPUS}, {"num-gpus", required_argument, NULL, NODE_NUM_GPUS},        \
        {"resources", required_argument, NULL, NODE_RESOURCES}, {"labels", required_argument, NULL, NODE_LABELS},      \
        {"memory", required_argument, NULL, NODE_MEMORY},                                                              \
        {"object-store-memory", required_argument, NULL, NODE_STORE}, {"load", required_argument, NULL, NODE_LOAD},    \
        {"isolation", required_argument, NULL, NODE_ISOLATION}, {"key-file", required_argument, NULL, NODE_KEY_FILE},  \
        {"address-file", required_argument, NULL, NODE_ADDRESS_FILE},                                                  \
    {                                                                                                                  \
        "daemon", no_argument, NULL, NODE_DAEMON                                                                       \
    }
enum {
    NODE_NUM_CPUS = 128,
    NODE_NUM_GPUS,
    NODE_RESOURCES,
    NODE_LABELS,
    NODE_MEMORY,
    NODE_STORE,
    NODE_LOAD,
    NODE_ISOLATION,
    NODE_KEY_FILE,
    NODE_ADDRESS_FILE,
    NODE_DAEMON
};
#define NODE_HELP                                                                                                      \
    "  --num-cpus N               default: what this process may use\n"                                                \
    "  --num-gpus N               default: those in $CUDA_VISIBLE_DEVICES\n"                                           \
    "  --resources RESOURCES      more of what it offers: disk=2,ssd=1 or '{\"disk\": 2}'\n"                           \
    "  --memory BYTES             for tasks and actors, 2000000000 or 2GiB; default: the machine's\n"                  \
    "  --object-store-memory BYTES  default: 30 % of memory\n"                                                         \
    "  --labels NAME=VALUE,...    of this node, which tasks can ask for\n"                                             \
    "  --load LIBRARY             a shared library with remote functions; may be repeated. Without a slash it is\n"    \
    "                             looked for where the system keeps libraries\n"                                       \
    "  --isolation process|thread  where functions run: in processes that may crash (default), or in the node\n"       \
    "  --key-file FILE            with the cluster key; default: $RAY_KEY_FILE, $RAY_CLUSTER_KEY, that of a head\n"    \
    "                             on this host, ~/.config/ray/cluster-key\n"                                           \
    "  --address-file FILE        where to write the address that this node listens at, once it serves\n"              \
    "  --daemon                   go on in the background; returns when it serves. Its output goes to logs/ in\n"      \
    "                             its session (raylaunch logs shows it)\n"                                             \
    "  --help                     this text\n"

void node_options_init(node_options *options);
void node_options_fini(node_options *options);
/* Takes one of NODE_OPTIONS; false: it was wrong, and has been complained about. */
bool node_option(const struct command *command, node_options *options, int option, const char *value);
/* Is it clear whether there is to be a key? False: not, and that has been complained about. */
bool node_check_key(const struct command *command, const node_options *options);

/* Becomes the node that the options describe, and serves until a signal or the cluster ends it. told(): once it serves,
 * what to print for whom. Returns the exit status. */
typedef struct node_self {
    const char *address, *head; /* where it listens, where the head does; "" unknown */
    const char *node_id;
    const char *session; /* its directory; "" unknown */
} node_self;
int node_serve(const struct command *command, node_options *options,
               void (*tell)(const node_options *options, const node_self *self));

bool load(const struct command *command, const char *library); /* false: it has complained */

/* ---- daemon.c ---- */

/* Goes on in a process in the background: true, there, with a descriptor for daemon_ready. False in the one that was
 * called, once the other serves or has ended: *status is what to return. Before anything of libray is used. */
bool daemon_fork(const struct command *command, int *out_ready, int *status);
/* It serves: who waits may go, and output goes to the file from now on (NULL: nowhere). False: nobody waits any more.
 */
bool daemon_ready(int ready, const char *log);

/* ---- signals.c ---- */

/* From now on SIGINT, SIGTERM and SIGHUP, unless the caller has them ignored, end the node in order, and when they come
 * again the process. Before other threads. false: it has complained. */
bool signals_start(const struct command *command);
bool signals_came(void); /* one did: what ends, ends as asked */

#endif
