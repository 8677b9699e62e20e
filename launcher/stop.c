/* raylaunch stop: ends nodes of this user on this host. A session is alive as long as its process, and its path is of
 * no other one, ever: so what is signalled is looked up right before, and what is waited for is that the session is no
 * longer among those that live. */
#include "observe.h"

#include <errno.h>
#include <limits.h>
#include <ray/ray.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "usage: raylaunch stop [OPTION...]\n"
    "\n"
    "Ends the nodes that you have started with raylaunch head and raylaunch worker on this host: they end their "
    "actors,\n"
    "wait for the tasks that run, and go. Workers go before heads.\n"
    "\n"
    "  --session PATH             only the node with this session (raylaunch list sessions)\n"
    "  --all                      all your heads and workers, also those that are other programs\n"
    "  --force                    kills them: nothing is ended in order\n"
    "  --timeout SECONDS          how long to wait for their end; default: 30\n"
    "  --help                     this text\n"
    "\n"
    "Exit status: 0 they have ended, or there were none; 1 some have not, or there is no such session; 2 wrong "
    "usage.\n";

enum { LOOK_MS = 50 };

typedef struct stop_options {
    char session[PATH_MAX]; /* "": any */
    bool all, force;
    int64_t timeout_ms;
} stop_options;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- which ---- */

static bool is_marked(json_t *row)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/" SESSION_MARK, row_text(row, "path"));
    return access(path, F_OK) == 0;
}

/* The heads and workers that live, all that the options mean; others are counted. NULL: it has complained. */
static json_t *find(const stop_options *options, size_t *out_others)
{
    json_t *rows = ask_rows(&stop_command, "sessions", LIMIT_MOST, NULL, 0), *found = json_array(), *row;
    size_t i;
    *out_others = 0;
    json_array_foreach(rows, i, row)
    {
        const char *role = row_text(row, "role");
        if (strcmp(role, "head") != 0 && strcmp(role, "worker") != 0)
            continue;
        if (*options->session ? strcmp(options->session, row_text(row, "path")) == 0 : options->all || is_marked(row))
            json_array_append(found, row);
        else
            ++*out_others;
    }
    if (rows) {
        json_decref(rows);
        return found;
    }
    json_decref(found);
    return NULL;
}

/* ---- their end ---- */

static void tell(json_t *row, const char *what)
{
    printf("%s: %s %s (pid %" JSON_INTEGER_FORMAT ")\n", what, row_text(row, "role"), row_text(row, "address"),
           json_integer_value(json_object_get(row, "pid")));
}

/* False: it has complained. */
static bool send(json_t *rows, const char *role, int signal)
{
    json_t *row;
    size_t i;
    bool done = true;
    json_array_foreach(rows, i, row)
    {
        pid_t pid = (pid_t)json_integer_value(json_object_get(row, "pid"));
        if (strcmp(row_text(row, "role"), role) != 0 || kill(pid, signal) == 0 || errno == ESRCH)
            continue;
        complain(&stop_command, 0, "pid %ld: %s", (long)pid, strerror(errno));
        done = false;
    }
    return done;
}

static bool has_path(json_t *rows, const char *path)
{
    json_t *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        if (strcmp(row_text(row, "path"), path) == 0)
            return true;
    }
    return false;
}

/* How many of that role have not ended when the time is over; tells of those that have. Negative: it has complained. */
static int wait_for(json_t *rows, const char *role, int64_t end_ms)
{
    bool told[LIMIT_MOST] = {false};
    for (;;) {
        json_t *living = ask_rows(&stop_command, "sessions", LIMIT_MOST, NULL, 0), *row;
        int left = 0;
        size_t i;
        json_array_foreach(rows, i, row)
        {
            bool lives = has_path(living, row_text(row, "path"));
            if (strcmp(row_text(row, "role"), role) != 0 || told[i])
                continue;
            left += lives;
            told[i] = !lives;
            if (!lives && living)
                tell(row, "ended");
        }
        if (!living)
            return -1;
        json_decref(living);
        if (left == 0 || now_ms() >= end_ms)
            return left;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
    }
}

static int end_all(const stop_options *options, json_t *rows)
{
    static const char *const roles[] = {"worker", "head"};
    int64_t end_ms = now_ms() + options->timeout_ms;
    int left = 0;
    bool done = true;
    for (size_t i = 0; i < 2; i++) {
        done = send(rows, roles[i], options->force ? SIGKILL : SIGTERM) && done;
        int still = wait_for(rows, roles[i], end_ms);
        if (still < 0)
            return STATUS_FAILED;
        left += still;
    }
    if (left > 0)
        return complain(&stop_command, STATUS_FAILED, "%d of %zu have not ended in %.1f s%s", left,
                        json_array_size(rows), (double)options->timeout_ms / 1000,
                        options->force ? "" : "; --force kills them");
    return done ? 0 : STATUS_FAILED;
}

static int stop(const stop_options *options)
{
    size_t others;
    json_t *rows = find(options, &others);
    if (!rows)
        return STATUS_FAILED;
    int status = 0;
    if (json_array_size(rows) > 0)
        status = end_all(options, rows);
    else if (*options->session)
        status =
            complain(&stop_command, STATUS_FAILED, "no head or worker that lives has the session %s", options->session);
    else
        puts("There is nothing to stop.");
    if (others > 0 && !*options->session)
        printf("%zu other%s of yours left alone; --all stops them, too.\n", others, others == 1 ? " node" : " nodes");
    json_decref(rows);
    int written = printed();
    return status ? status : written;
}

/* ---- options ---- */

/* Negative: all is right. */
static int read_options(int argc, char **argv, stop_options *options)
{
    enum { SESSION = 's', ALL, FORCE, TIMEOUT };
    static const struct option known[] = {{"session", required_argument, NULL, SESSION},
                                          {"all", no_argument, NULL, ALL},
                                          {"force", no_argument, NULL, FORCE},
                                          {"timeout", required_argument, NULL, TIMEOUT},
                                          HELP_OPTION,
                                          {0}};
    int status, c;
    while ((c = next_option(&stop_command, argc, argv, known, &status)) > 0) {
        if (c == SESSION && !realpath(optarg, options->session))
            return complain(&stop_command, STATUS_FAILED, "--session %s: %s", optarg, strerror(errno));
        options->all = options->all || c == ALL;
        options->force = options->force || c == FORCE;
        if (c == TIMEOUT && !read_seconds(&stop_command, "timeout", optarg, &options->timeout_ms))
            return STATUS_USAGE;
    }
    if (c < 0)
        return status;
    if (!check_arguments(&stop_command, argc, argv, 0, 0, "options only"))
        return STATUS_USAGE;
    if (options->all && *options->session)
        return complain(&stop_command, STATUS_USAGE, "expected --session or --all, got both");
    return -1;
}

static int run(int argc, char **argv)
{
    stop_options options = {.timeout_ms = 30000};
    int status = read_options(argc, argv, &options);
    if (status >= 0)
        return status;
    status = observe_host(&stop_command) ? stop(&options) : STATUS_FAILED;
    (void)ray_shutdown();
    return status;
}

const struct command stop_command = {
    .name = "stop",
    .summary = "ends your nodes on this host",
    .help = help,
    .run = run,
};
