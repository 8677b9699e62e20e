/* From options to a pid: posix_spawn, which costs the same however large this process is and runs no code of ours in
 * the child.
 *
 * The child's descriptors are put in place by dup2 in the order 1, 2, 3, 4 …; for none to be overwritten before it is
 * used, all sources are first doubled to numbers above the last place. Every other descriptor is closed, also those
 * that the host left inheritable. */
#include "process/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

int rayi_process_pidfd(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0); /* close-on-exec always */
}

static int out_of_descriptors(int failed)
{
    return rayi_fail(RAY_ERR_SYSTEM, "no descriptors for a new process: %s", strerror(failed));
}

int rayi_process_pipe(int fds[2])
{
    int made[2];
    if (pipe2(made, O_CLOEXEC) < 0)
        return out_of_descriptors(errno);
    fds[0] = rayi_process_lift(made[0]);
    fds[1] = made[1];
    if (fds[0] < 0) {
        int failed = errno;
        close(fds[1]);
        return out_of_descriptors(failed);
    }
    return 0;
}

typedef struct spawn_plan {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t how;
    int *sources; /* doubled: stdout, stderr, then those asked for */
    size_t num_sources;
} spawn_plan;

static void plan_fini(spawn_plan *plan)
{
    for (size_t i = 0; i < plan->num_sources; i++)
        close(plan->sources[i]);
    rayi_free(plan->sources);
    posix_spawnattr_destroy(&plan->how);
    posix_spawn_file_actions_destroy(&plan->actions);
}

/* An error number. */
static int plan_signals(spawn_plan *plan)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int r =
        posix_spawnattr_setflags(&plan->how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (!r)
        r = posix_spawnattr_setpgroup(&plan->how, 0);
    if (!r)
        r = posix_spawnattr_setsigdefault(&plan->how, &all);
    return r ? r : posix_spawnattr_setsigmask(&plan->how, &none);
}

static int plan_descriptors(spawn_plan *plan, const rayi_process_options *options, int out_fd, int err_fd)
{
    int first_free = (int)(3 + options->num_fds);
    for (size_t i = 0; i < 2 + options->num_fds; i++) {
        int fd = i == 0 ? out_fd : i == 1 ? err_fd : options->fds[i - 2];
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, first_free);
        if (copy < 0)
            return errno;
        plan->sources[plan->num_sources++] = copy;
    }
    int r = posix_spawn_file_actions_addopen(&plan->actions, 0, "/dev/null", O_RDONLY, 0);
    for (size_t i = 0; i < plan->num_sources && !r; i++)
        r = posix_spawn_file_actions_adddup2(&plan->actions, plan->sources[i], (int)i + 1);
    return r ? r : posix_spawn_file_actions_addclosefrom_np(&plan->actions, first_free);
}

static int plan_init(spawn_plan *plan, const rayi_process_options *options, int out_fd, int err_fd)
{
    int r;
    *plan = (spawn_plan){.sources = rayi_alloc((2 + options->num_fds) * sizeof *plan->sources)};
    if (!plan->sources)
        return ENOMEM;
    r = posix_spawnattr_init(&plan->how);
    if (r)
        goto undo_sources;
    r = posix_spawn_file_actions_init(&plan->actions);
    if (r)
        goto undo_how;
    r = plan_signals(plan);
    if (!r)
        r = plan_descriptors(plan, options, out_fd, err_fd);
    if (r)
        plan_fini(plan);
    return r;

undo_how:
    posix_spawnattr_destroy(&plan->how);
undo_sources:
    rayi_free(plan->sources);
    return r;
}

/* posix_spawn tells why exec failed, or a step before it: what concerns the file is told as such. */
static int not_started(const char *file, int failed)
{
    switch (failed) {
    case ENOENT:
        return rayi_fail(RAY_ERR_LOAD, "cannot start %s: no such file%s", file,
                         strchr(file, '/') ? ", or the interpreter that it names is missing" : " in PATH");
    case ENOMEM:
        return rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: cannot start %s", file);
    case EACCES:
        return rayi_fail(RAY_ERR_LOAD, "cannot start %s: not an executable file, or no permission for it", file);
    case EAGAIN:
        return rayi_fail(RAY_ERR_SYSTEM, "cannot start %s: the limit of processes is reached", file);
    case ENOEXEC:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case ENAMETOOLONG:
    case ELIBBAD:
    case EINVAL:
    case ETXTBSY:
    case EPERM:
        return rayi_fail(RAY_ERR_LOAD, "cannot start %s: %s", file, strerror(failed));
    default:
        return rayi_fail(RAY_ERR_SYSTEM, "cannot start %s: %s", file, strerror(failed));
    }
}

int rayi_process_spawn(const rayi_process_options *options, int out_fd, int err_fd, pid_t *out_pid)
{
    char **argv, **environment;
    spawn_plan plan;
    bool wraps = options->wrapper && options->wrapper[strspn(options->wrapper, " \t\n")];
    int r = rayi_process_argv(options->wrapper, options->command, &argv);
    if (r < 0)
        return r;
    r = rayi_process_environment(wraps ? options->wrapper : NULL, options->environment, &environment);
    if (r < 0)
        goto undo_argv;
    int failed = plan_init(&plan, options, out_fd, err_fd);
    if (failed) {
        r = failed == ENOMEM ? rayi_fail(RAY_ERR_NO_MEMORY, "out of memory: cannot start %s", argv[0])
                             : out_of_descriptors(failed);
        goto undo_environment;
    }
    failed = posix_spawnp(out_pid, argv[0], &plan.actions, &plan.how, argv, environment);
    if (failed)
        r = not_started(argv[0], failed);
    plan_fini(&plan);
undo_environment:
    rayi_free(environment);
undo_argv:
    rayi_free(argv);
    return r;
}
