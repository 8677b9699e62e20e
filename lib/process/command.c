/* What is run: the arguments with a wrapper's words before them, the environment, and this very executable.
 *
 * The host may change its environment while it is copied (setenv on another thread): nothing makes that safe. The copy
 * is made at one go, into room measured just before, and what does not fit into it is left out. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN_EXECUTABLE "/proc/self/exe"

extern char **environ;

/* ---- arguments ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* Copies the word at *at without its quotes; false: an open quote. A backslash keeps the next byte as it is; between
 * "…" before " and \ only, as in a shell; between '…' it is a byte like others. */
static bool take_word(const char **at, char **to)
{
    char quote = 0;
    const char *c = *at;
    for (; *c && (quote || !is_blank(*c)); c++) {
        if (quote ? *c == quote : *c == '\'' || *c == '"') {
            quote = quote ? 0 : *c;
        } else if (*c == '\\' && (quote ? quote == '"' && (c[1] == '"' || c[1] == '\\') : c[1] != 0)) {
            *(*to)++ = *++c;
        } else {
            *(*to)++ = *c;
        }
    }
    *(*to)++ = 0;
    *at = c;
    return !quote;
}

int rayi_process_argv(const char *wrapper, const char *const *command, char ***out)
{
    size_t count = 0, room = 0, num = 0, most = wrapper ? strlen(wrapper) : 0;
    char own[64];
    snprintf(own, sizeof own, "/proc/%ld/exe", (long)getpid()); /* a wrapper has a /proc/self/exe of its own */
    for (; command[count]; count++)
        room += strlen(command[count]) + 1;
    char **argv = rayi_alloc((count + most / 2 + 2) * sizeof *argv + room + 2 * most + sizeof own + 1);
    if (!argv)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the arguments of %s", command[0] ? command[0] : wrapper);
    char *to = (char *)(argv + count + most / 2 + 2);
    for (const char *at = wrapper ? wrapper : "";;) {
        while (is_blank(*at))
            at++;
        if (!*at)
            break;
        argv[num++] = to;
        if (!take_word(&at, &to)) {
            rayi_free(argv);
            return rayi_fail(RAY_ERR_ARGUMENT, "a command has an open quote: %s", wrapper);
        }
    }
    for (size_t i = 0; i < count; i++) {
        const char *word = i == 0 && num > 0 && strcmp(command[0], OWN_EXECUTABLE) == 0 ? own : command[i];
        size_t size = strlen(word) + 1;
        argv[num + i] = memcpy(to, word, size);
        to += size;
    }
    argv[num + count] = NULL;
    *out = argv;
    return 0;
}

int rayi_process_split(const char *words, char ***out_argv)
{
    const char *const nothing[] = {NULL};
    char **argv;
    int r = rayi_process_argv(words, nothing, &argv);
    if (r < 0)
        return r;
    if (!argv[0]) {
        rayi_free(argv);
        return rayi_fail(RAY_ERR_ARGUMENT, "expected a command, got \"%s\"", words);
    }
    *out_argv = argv;
    return 0;
}

/* ---- environment ---- */

/* What a launcher tells the one process that it started: ranks, sockets of its process manager, job steps. A worker
 * that inherits it takes itself for that process, and MPI_Init then hangs or joins a second time. What describes the
 * job (SLURM_JOB_ID, SLURM_CPUS_ON_NODE) stays. */
static const char *const private_prefixes[] = {
    "OMPI_",         "OPAL_",       "ORTE_",         "PRTE_",     "PMI_",         "PMI2_",        "PMIX_",
    "MPI_",          "MPIEXEC_",    "MPIR_",         "MV2_",      "MVP_",         "MPT_",         "I_MPI_",
    "HYDRA_",        "HYDI_",       "PALS_",         "ALPS_",     "JSM_",         "FLUX_TASK_",   "FLUX_PMI_",
    "SLURM_STEP_",   "SLURM_SRUN_", "SLURM_LAUNCH_", "SLURM_PMI", "SLURM_STEPID", "SLURM_PROCID", "SLURM_NODEID",
    "SLURM_LOCALID", "SLURM_GTIDS", "SLURM_TASK_",   "SLURM_MPI_"};
static const char *const private_names[] = {"RAY_KEY_FILE", "RAY_CLUSTER_KEY", "RAY_ADDRESS", "RAY_ROLE",
                                            "RAY_WORKER_WRAPPER"};

static size_t name_size(const char *variable)
{
    return strcspn(variable, "=");
}

static bool same_name(const char *a, const char *b)
{
    return name_size(a) == name_size(b) && memcmp(a, b, name_size(a)) == 0;
}

static bool is_private(const char *variable)
{
    for (size_t i = 0; i < RAYI_COUNT_OF(private_prefixes); i++)
        if (strncmp(variable, private_prefixes[i], strlen(private_prefixes[i])) == 0)
            return true;
    for (size_t i = 0; i < RAYI_COUNT_OF(private_names); i++)
        if (same_name(variable, private_names[i]))
            return true;
    return false;
}

static bool is_changed(const char *variable, const char *const *changes, size_t num_changes)
{
    for (size_t i = 0; i < num_changes; i++)
        if (same_name(variable, changes[i]))
            return true;
    return false;
}

typedef struct list {
    char **variables, *to, *end;
    size_t num, most;
} list;

static void add(list *all, const char *variable)
{
    size_t size = strlen(variable) + 1;
    if (all->num == all->most || size > (size_t)(all->end - all->to))
        return;
    all->variables[all->num++] = memcpy(all->to, variable, size);
    all->to += size;
}

int rayi_process_environment(const char *wrapper, const char *const *changes, char ***out)
{
    char wrapped[] = "RAY_WORKER_WRAPPER=";
    size_t num_changes = 0, most = 1, room = sizeof wrapped + (wrapper ? strlen(wrapper) : 0);
    for (; changes && changes[num_changes]; num_changes++)
        room += strlen(changes[num_changes]) + 1;
    for (char **at = environ; at && *at; at++, most++)
        room += strlen(*at) + 1;
    most += num_changes;
    char **variables = rayi_alloc((most + 1) * sizeof *variables + room);
    if (!variables)
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the environment of a process");
    char *texts = (char *)(variables + most + 1);
    list all = {.variables = variables, .to = texts, .end = texts + room, .most = most};
    if (wrapper && !is_changed(wrapped, changes, num_changes)) {
        add(&all, wrapped);
        all.to -= 1; /* its NUL */
        size_t size = strlen(wrapper) + 1;
        memcpy(all.to, wrapper, size);
        all.to += size;
    }
    for (size_t i = 0; i < num_changes; i++) /* of two changes the later one counts */
        if (strchr(changes[i], '=') && !is_changed(changes[i], changes + i + 1, num_changes - i - 1))
            add(&all, changes[i]);
    for (char **at = environ; at && *at; at++)
        if (!is_private(*at) && !is_changed(*at, changes, num_changes))
            add(&all, *at);
    variables[all.num] = NULL;
    *out = variables;
    return 0;
}

/* ---- this very executable ---- */

static int read_all(const char *path, rayi_text *text)
{
    char chunk[4096];
    ssize_t size;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return rayi_fail(RAY_ERR_SYSTEM, "%s cannot be read: %s", path, strerror(errno));
    while ((size = read(fd, chunk, sizeof chunk)) != 0) {
        if (size > 0)
            rayi_text_add_bytes(text, chunk, (size_t)size);
        else if (errno != EINTR)
            break;
    }
    int failed = size < 0 ? errno : 0;
    close(fd);
    if (failed)
        return rayi_fail(RAY_ERR_SYSTEM, "%s cannot be read: %s", path, strerror(failed));
    return text->failed ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: %s", path) : 0;
}

/* The path of the executable, if it is still there under that name. A deleted one's ends in " (deleted)", which is no
 * file, or not ours. */
static const char *own_path(char *path, size_t size)
{
    struct stat here, running;
    ssize_t length = readlink(OWN_EXECUTABLE, path, size - 1);
    if (length <= 0 || (size_t)length == size - 1)
        return OWN_EXECUTABLE;
    path[length] = 0;
    if (stat(path, &here) || stat(OWN_EXECUTABLE, &running) || here.st_dev != running.st_dev ||
        here.st_ino != running.st_ino)
        return OWN_EXECUTABLE;
    return path;
}

int rayi_process_own_command(char ***out_argv)
{
    char room[4096];
    const char *path = own_path(room, sizeof room);
    size_t path_size = strlen(path) + 1, count = 1;
    rayi_text line;
    rayi_text_init(&line, rayi_heap);
    int r = read_all("/proc/self/cmdline", &line);
    if (r < 0)
        goto undo_line;
    /* What follows the first NUL. A last argument without its own NUL has the text's. */
    size_t skip = line.size > 0 ? RAYI_MIN(strlen(line.data) + 1, line.size) : 0;
    for (size_t i = skip; i < line.size; i += strlen(line.data + i) + 1)
        count++;
    char **argv = rayi_alloc((count + 1) * sizeof *argv + path_size + line.size - skip + 1);
    if (!argv) {
        r = rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: the command of this process");
        goto undo_line;
    }
    char *to = (char *)(argv + count + 1);
    argv[0] = memcpy(to, path, path_size);
    to += path_size;
    if (line.size > skip)
        memcpy(to, line.data + skip, line.size - skip + 1);
    for (size_t i = 1; i < count; i++) {
        argv[i] = to;
        to += strlen(to) + 1;
    }
    argv[count] = NULL;
    *out_argv = argv;

undo_line:
    rayi_text_fini(&line);
    return r;
}

int rayi_process_bind_to_parent(int64_t parent_pid)
{
    const char *wrapper = getenv("RAY_WORKER_WRAPPER");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return rayi_fail(RAY_ERR_SYSTEM, "this process cannot be bound to its parent's life: %s", strerror(errno));
    /* Now it will be told of a death; one that came before shows in the parent. */
    if (getppid() != (pid_t)parent_pid && !(wrapper && *wrapper))
        return rayi_fail(RAY_ERR_NODE_DIED, "the node (pid %lld) that started this process has ended",
                         (long long)parent_pid);
    return 0;
}
