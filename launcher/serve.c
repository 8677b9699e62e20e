/* A node from its start to its end: what head and worker do once their options are read. */
#include "node.h"
#include "observe.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TIMELINE_TASKS = 65536 };

bool load(const struct command *command, const char *library)
{
    if (ray_load(library, 0) == 0)
        return true;
    complain(command, STATUS_FAILED, "--load %s: %s%s", library, ray_last_error()->message,
             strchr(library, '/') ? "" : " (a name without a slash is no path: ./NAME is one)");
    return false;
}

/* ---- what happens meanwhile ---- */

/* Lines of the workers as they are, "(name pid=1) words", what is amiss, and why the node ends. arg: whether it goes to
 * a file, where the time matters. Called on several threads: one write a line. */
static void on_log(void *arg, const ray_log_event *event)
{
    const bool *dated = arg;
    bool is_output = strcmp(event->event, "worker.output") == 0, is_end = strcmp(event->event, "cluster.ended") == 0;
    char date[32] = "";
    if (event->level > RAY_LOG_WARNING && !is_output && !is_end)
        return;
    if (*dated) {
        time_t now = time(NULL);
        struct tm parts;
        strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S ", localtime_r(&now, &parts));
    }
    fprintf(stderr, "%s%s%s\n", date,
            is_output                         ? ""
            : is_end                          ? "raylaunch: "
            : event->level == RAY_LOG_WARNING ? "raylaunch: warning: "
                                              : "raylaunch: error: ",
            event->message);
}

/* ---- the configuration ---- */

/* "CPU=4, disk=2", to free; NULL: out of memory, or *out_none. */
static char *join_resources(const node_options *o, bool *out_none)
{
    char cpus[32] = "", gpus[32] = "", memory[48] = "", *out;
    if (o->has_cpus)
        snprintf(cpus, sizeof cpus, ", CPU=%llu", (unsigned long long)o->num_cpus);
    if (o->has_gpus)
        snprintf(gpus, sizeof gpus, ", GPU=%llu", (unsigned long long)o->num_gpus);
    if (o->has_memory)
        snprintf(memory, sizeof memory, ", memory=%llu", (unsigned long long)o->memory_bytes);
    *out_none = !*cpus && !*gpus && !*memory && !o->resources;
    if (*out_none || asprintf(&out, "%s%s%s%s%s", cpus, gpus, memory, o->resources ? ", " : "",
                              o->resources ? o->resources : "") < 0)
        return NULL;
    memmove(out, out + strlen(", "), strlen(out) - 1);
    return out;
}

/* This very program as its node's worker process, in the words of a shell; to free. */
static char *own_worker_command(void)
{
    char path[4096], *out, *to;
    ssize_t size = readlink("/proc/self/exe", path, sizeof path);
    if (size <= 0 || size == sizeof path || !(out = malloc(2 * (size_t)size + sizeof " worker-process")))
        return NULL;
    to = out;
    for (ssize_t i = 0; i < size; i++) {
        *to++ = '\\';
        *to++ = path[i];
    }
    strcpy(to, " worker-process");
    return out;
}

/* Starts the node. False: it has complained. */
static bool start(const struct command *command, node_options *options)
{
    const char *other = getenv("RAY_WORKER_COMMAND");
    bool none, done = false;
    char *resources = join_resources(options, &none);
    char *own = other && *other ? NULL : own_worker_command();
    if (!resources && !none) {
        complain(command, STATUS_FAILED, "out of memory");
        goto out;
    }
    if (!own && !(other && *other)) {
        complain(command, STATUS_FAILED, "cannot find out by which path this program was started");
        goto out;
    }
    const char *timeline = getenv("RAY_TIMELINE_TASKS");
    options->config.resources = resources;
    options->config.worker_command = own;
    options->config.timeline_tasks = timeline && *timeline ? 0 : TIMELINE_TASKS;
    unsetenv("RAY_WORKER_OF"); /* whoever's task has started this: it is no worker process */
    for (size_t i = 0; i < options->num_loads; i++)
        if (!load(command, options->loads[i]))
            goto out;
    done = ray_init(&options->config) == 0;
    if (!done)
        complain(command, STATUS_FAILED, "%s", ray_last_error()->message);
out:
    options->config.resources = options->config.worker_command = NULL;
    free(resources);
    free(own);
    return done;
}

/* ---- once it serves ---- */

typedef struct found {
    node_self self;
    ray_cluster *cluster;
    json_t *sessions;
} found;

static void find_self(const struct command *command, found *f)
{
    const char *id = ray_context_get()->node_id;
    *f = (found){.self = {.address = "", .head = "", .node_id = id ? id : "", .session = ""}};
    f->cluster = ray_cluster_get();
    for (size_t i = 0; f->cluster && i < f->cluster->num_nodes; i++) {
        const ray_node *node = f->cluster->nodes[i];
        if (node->address && strcmp(node->id, f->self.node_id) == 0)
            f->self.address = node->address;
        if (node->address && node->is_head)
            f->self.head = node->address;
    }
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    f->sessions = ask_rows(command, "sessions", LIMIT_MOST, &(filter){.key = "pid", .value = pid}, 1);
    const char *path = json_string_value(json_object_get(json_array_get(f->sessions, 0), "path"));
    if (path)
        f->self.session = path;
}

static void forget(found *f)
{
    ray_cluster_free(f->cluster);
    json_decref(f->sessions);
}

/* So that `raylaunch stop` knows what raylaunch has started. */
static bool mark_session(const struct command *command, const char *session)
{
    char path[4096];
    if (!*session)
        return true;
    snprintf(path, sizeof path, "%s/" SESSION_MARK, session);
    int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0)
        return close(fd) == 0;
    complain(command, STATUS_FAILED, "cannot make %s: %s", path, strerror(errno));
    return false;
}

/* Whole when it appears. */
static bool write_address(const struct command *command, const char *file, const char *address)
{
    char *other;
    if (!file)
        return true;
    if (asprintf(&other, "%s.%ld", file, (long)getpid()) < 0) {
        complain(command, STATUS_FAILED, "out of memory");
        return false;
    }
    FILE *out = fopen(other, "we");
    bool written = out && fprintf(out, "%s\n", address) > 0;
    if (out && fclose(out) != 0)
        written = false;
    if (written && rename(other, file) != 0)
        written = false;
    if (!written) {
        complain(command, STATUS_FAILED, "--address-file %s: %s", file, strerror(errno));
        (void)unlink(other);
    }
    free(other);
    return written;
}

static bool go_to_background(int ready, const char *session)
{
    char log[4096];
    snprintf(log, sizeof log, "%s/logs/raylaunch.log", session);
    return daemon_ready(ready, *session ? log : NULL);
}

/* All that others wait for. False: it cannot go on. */
static bool announce(const struct command *command, node_options *options, int ready,
                     void (*tell)(const node_options *options, const node_self *self))
{
    found f;
    find_self(command, &f);
    bool done = !signals_came();
    if (done)
        done = mark_session(command, f.self.session) && write_address(command, options->address_file, f.self.address);
    if (done) {
        tell(options, &f.self);
        done = printed() == 0;
    }
    if (done && options->daemon)
        done = go_to_background(ready, f.self.session);
    forget(&f);
    return done;
}

int node_serve(const struct command *command, node_options *options,
               void (*tell)(const node_options *options, const node_self *self))
{
    int ready = -1, status = STATUS_FAILED;
    if (options->daemon && !daemon_fork(command, &ready, &status))
        return status;
    if (!signals_start(command))
        return STATUS_FAILED;
    (void)ray_set_log(on_log, &options->daemon, RAY_LOG_INFO);
    if (!start(command, options))
        return STATUS_FAILED;
    if (announce(command, options, ready, tell)) {
        status = 0;
        if (ray_serve() < 0 && !signals_came())
            status = complain(command, STATUS_FAILED, "%s", ray_last_error()->message);
    } else if (signals_came()) {
        status = 0;
    }
    (void)ray_shutdown(); /* or waits for the one that a signal has begun */
    return status;
}
