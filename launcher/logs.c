/* raylaunch logs: the files in the logs directory of a session, of a node on this host or of another one. */
#include "logs.h"
#include "observe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <ray/ray.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "usage: raylaunch logs [NODE] [OPTION...]\n"
    "\n"
    "Prints what the worker processes of a node have printed, and the node itself with --daemon. NODE is, of those on "
    "this\n"
    "host, what raylaunch list sessions shows: head or worker, if there is one of them, a pid, an address or a path; "
    "of the\n"
    "cluster, what raylaunch list nodes shows: its node_id, as much of its beginning as is needed, or its HOST:PORT.\n"
    "Default: the head, or the only worker, of this host; with --address the head of that cluster.\n"
    "\n"
    "  --follow                   goes on with what comes, until the node ends or Ctrl-C\n"
    "  --session PATH             of the node with this session, also when it has ended and its logs were "
    "kept\n" OBSERVE_CLUSTER_HELP
    "                             With --address nodes of this host are asked like others\n"
    "  --help                     this text\n"
    "\n"
    "Exit status: 0 done, 1 there is no such node, or its logs cannot be read, 2 wrong usage.\n";

enum { LOOK_MS = 200 };

/* ---- which ---- */

static bool is_meant(json_t *row, const char *node)
{
    char pid[24];
    snprintf(pid, sizeof pid, "%" JSON_INTEGER_FORMAT, json_integer_value(json_object_get(row, "pid")));
    return strcmp(node, pid) == 0 || strcmp(node, row_text(row, "role")) == 0 ||
           strcmp(node, row_text(row, "address")) == 0 || strcmp(node, row_text(row, "path")) == 0;
}

/* How many are that; the last one's path. */
static size_t count(json_t *rows, const char *node, char path[PATH_MAX])
{
    json_t *row;
    size_t i, found = 0;
    json_array_foreach(rows, i, row)
    {
        if (!is_meant(row, node))
            continue;
        found++;
        snprintf(path, PATH_MAX, "%s", row_text(row, "path"));
    }
    return found;
}

/* Could it be the name of a node of the cluster? */
static bool is_far_name(const char *node)
{
    return strchr(node, ':') || (strlen(node) >= 4 && strspn(node, "0123456789abcdef") == strlen(node));
}

enum where { HERE, ELSEWHERE, NOWHERE };

/* NOWHERE: it has complained. */
static enum where find(const char *node, char path[PATH_MAX])
{
    json_t *rows = ask_rows(&logs_command, "sessions", LIMIT_MOST, NULL, 0);
    if (!rows)
        return NOWHERE;
    size_t found = count(rows, node ? node : "head", path);
    if (!node && found == 0)
        found = count(rows, "worker", path);
    json_decref(rows);
    if (found == 0 && node && is_far_name(node))
        return ELSEWHERE;
    if (found == 0)
        complain(&logs_command, STATUS_FAILED,
                 "no node of yours on this host is %s; raylaunch list sessions lists them",
                 node ? node : "a head or a worker");
    else if (found > 1)
        complain(&logs_command, STATUS_FAILED,
                 "%zu nodes of yours on this host are %s; raylaunch list sessions tells "
                 "their pids",
                 found, node ? node : "that");
    return found == 1 ? HERE : NOWHERE;
}

/* ---- printing ---- */

log_file *logs_find(log_printer *p, uint64_t inode, uint64_t size)
{
    log_file *file = NULL;
    for (size_t i = 0; i < p->num_files && !file; i++)
        if (p->files[i].inode == inode)
            file = &p->files[i];
    if (!file && p->num_files == LOGS_MAX)
        return NULL;
    if (!file) {
        file = &p->files[p->num_files++];
        *file = (log_file){.inode = inode};
    }
    if (file->size > size) /* another one, with an inode that was free */
        file->size = 0;
    return file;
}

bool logs_print(log_printer *p, log_file *file, const char *name, const char *bytes, size_t size)
{
    if (p->last != file->inode)
        printf("%s==> %s <==\n", p->last ? "\n" : "", name);
    p->last = file->inode;
    if (fwrite(bytes, 1, size, stdout) != size)
        return false;
    file->size += size;
    return true;
}

void logs_wait(void)
{
    nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000}, NULL);
}

static void print_more(log_printer *p, const char *name, int fd)
{
    char bytes[65536];
    struct stat status;
    if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
        return;
    log_file *file = logs_find(p, status.st_ino, (uint64_t)status.st_size);
    if (!file)
        return;
    for (ssize_t size; (size = pread(fd, bytes, sizeof bytes, (off_t)file->size)) > 0;)
        if (!logs_print(p, file, name, bytes, (size_t)size))
            return;
}

static int is_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* What is new in all of them, by name. False: the directory has gone. */
static bool print_all(log_printer *p, int dir)
{
    struct dirent **names;
    struct stat status;
    int size = scandirat(dir, ".", &names, is_file, alphasort);
    for (int i = 0; i < size; i++) {
        int fd = openat(dir, names[i]->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) {
            print_more(p, names[i]->d_name, fd);
            close(fd);
        }
        free(names[i]);
    }
    if (size >= 0)
        free(names);
    return fstat(dir, &status) == 0 && status.st_nlink > 0;
}

static int print_logs(const char *session, bool follow)
{
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/logs", session);
    log_printer *p = calloc(1, sizeof *p);
    int dir = p ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (dir < 0) {
        free(p);
        return complain(&logs_command, STATUS_FAILED, "%s: %s", path, strerror(errno));
    }
    bool goes_on;
    int status;
    do {
        goes_on = print_all(p, dir) && follow;
        status = printed();
        if (goes_on && status == 0)
            logs_wait();
    } while (goes_on && status == 0);
    if (!p->last && !follow)
        complain(&logs_command, 0, "nothing has been logged yet in %s", path);
    close(dir);
    free(p);
    return status;
}

static int print_of(const char *node, const observe_options *options, bool follow)
{
    char path[PATH_MAX];
    enum where where = ELSEWHERE;
    int status = STATUS_FAILED;
    if (!options->address) {
        where = observe_host(&logs_command) ? find(node, path) : NOWHERE;
        (void)ray_shutdown();
    }
    if (where == HERE)
        return print_logs(path, follow);
    if (where == ELSEWHERE && observe(&logs_command, options))
        status = logs_print_far(node, follow);
    (void)ray_shutdown();
    return status;
}

static int run(int argc, char **argv)
{
    enum { FOLLOW = 'f', SESSION = 's' };
    static const struct option known[] = {{"follow", no_argument, NULL, FOLLOW},
                                          {"session", required_argument, NULL, SESSION},
                                          OBSERVE_CLUSTER_OPTIONS,
                                          HELP_OPTION,
                                          {0}};
    const char *session = NULL;
    observe_options options;
    bool follow = false;
    int status, c;
    observe_options_init(&options);
    while ((c = next_option(&logs_command, argc, argv, known, &status)) > 0) {
        if (c == FOLLOW)
            follow = true;
        else if (c == SESSION)
            session = optarg;
        else if (!observe_option(&logs_command, &options, c, optarg))
            return STATUS_USAGE;
    }
    if (c < 0)
        return status;
    if (!check_arguments(&logs_command, argc, argv, 0, 1, "one NODE at most"))
        return STATUS_USAGE;
    if (session && optind < argc)
        return complain(&logs_command, STATUS_USAGE, "expected NODE or --session, got both");
    if (session && options.address)
        return complain(&logs_command, STATUS_USAGE, "expected --address or --session, got both");
    if (session)
        return print_logs(session, follow);
    return print_of(optind < argc ? argv[optind] : NULL, &options, follow);
}

const struct command logs_command = {
    .name = "logs",
    .summary = "prints what a node has logged",
    .help = help,
    .run = run,
};
