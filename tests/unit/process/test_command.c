/* Commands: wrappers, environment, this very executable, the parent's life. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void check_argv(const char *wrapper, const char *const *expected)
{
    char **argv = NULL;
    size_t i = 0;
    CHECK_OK(rayi_process_argv(wrapper, (const char *const[]){"/bin/x", "-a b", "", NULL}, &argv));
    for (; expected[i]; i++) {
        cr_assert_not_null(argv[i], "%s: only %zu words", wrapper, i);
        cr_assert_str_eq(argv[i], expected[i], "'%s': word %zu is '%s'", wrapper, i, argv[i]);
    }
    cr_assert_null(argv[i]);
    rayi_free(argv);
}

#define ARGV(wrapper, ...) check_argv(wrapper, (const char *const[]){__VA_ARGS__ "/bin/x", "-a b", "", NULL})

LOOP_TEST(command, wrapper)
{
    ARGV(NULL, );
    ARGV("", );
    ARGV(" \t ", );
    ARGV("gdb -q --args", "gdb", "-q", "--args", );
    ARGV("  a  'b  c' \"d \\\" \\\\ \\n\" e\\ f\tg'h'\"i\" ", "a", "b  c", "d \" \\ \\n", "e f", "ghi", );
    ARGV("a '' \"\" b", "a", "", "", "b", );
    ARGV("'a\\' b\\", "a\\", "b\\", );
    ARGV("a b c d e f", "a", "b", "c", "d", "e", "f", );
    char **argv = NULL;
    CHECK_FAILS(rayi_process_argv("gdb \"x", (const char *const[]){"x", NULL}, &argv), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_process_argv("gdb 'x", (const char *const[]){"x", NULL}, &argv), RAY_ERR_ARGUMENT);
    cr_assert_null(argv);
}

LOOP_TEST(command, split)
{
    char **argv = NULL;
    CHECK_OK(rayi_process_split(" python3 -c 'import ray' ", &argv));
    cr_assert_str_eq(argv[0], "python3");
    cr_assert_str_eq(argv[1], "-c");
    cr_assert_str_eq(argv[2], "import ray");
    cr_assert_null(argv[3]);
    rayi_free(argv);
    argv = NULL;
    CHECK_FAILS(rayi_process_split("", &argv), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_process_split("  ", &argv), RAY_ERR_ARGUMENT);
    CHECK_FAILS(rayi_process_split("a 'b", &argv), RAY_ERR_ARGUMENT);
    cr_assert_null(argv);
}

LOOP_TEST(command, wrapper_runs)
{
    started child = {0};
    char own[64];
    listen_to_log();
    rayi_process_options options = options_of(&child, (const char *const[]){"/proc/self/exe", "two words", NULL});
    options.wrapper = CHILD " arguments 'x  y'";
    start(&child, &options);
    wait_end(&child);
    snprintf(own, sizeof own, "[/proc/%ld/exe]", (long)getpid()); /* not the wrapper's own */
    cr_assert(logged("[arguments]") && logged("[x  y]") && logged(own) && logged("[two words]"));
    finish(&child);
    options = options_of(&child, (const char *const[]){CHILD, "environment", NULL});
    options.wrapper = "env";
    start(&child, &options);
    wait_end(&child);
    cr_assert(logged("RAY_WORKER_WRAPPER=env"));
    finish(&child);
}

/* --- environment -------------------------------------------------------------------------------------------------- */

static const char *value_of(char **variables, const char *name)
{
    const char *found = NULL;
    size_t size = strlen(name), count = 0;
    for (; *variables; variables++) {
        if (strncmp(*variables, name, size) == 0 && (*variables)[size] == '=') {
            found = *variables + size + 1;
            count++;
        }
    }
    cr_assert_leq(count, 1, "%s is there %zu times", name, count);
    return found;
}

LOOP_TEST(command, environment_is_stripped)
{
    const char *const gone[] = {"RAY_KEY_FILE",
                                "RAY_CLUSTER_KEY",
                                "RAY_ADDRESS",
                                "RAY_ROLE",
                                "RAY_WORKER_WRAPPER",
                                "OMPI_COMM_WORLD_RANK",
                                "PMI_FD",
                                "PMI_RANK",
                                "PMIX_NAMESPACE",
                                "MPI_LOCALRANKID",
                                "MV2_COMM_WORLD_RANK",
                                "I_MPI_HYDRA_HOST_FILE",
                                "HYDRA_CONTROL_FD",
                                "HYDI_CONTROL_FD",
                                "PALS_RANKID",
                                "SLURM_STEP_ID",
                                "SLURM_STEPID",
                                "SLURM_PROCID",
                                "SLURM_LOCALID",
                                "SLURM_TASK_PID"};
    const char *const stay[] = {"HOME",         "RAY_TMPDIR",           "RAY_ROLES",
                                "SLURM_JOB_ID", "SLURM_TASKS_PER_NODE", "OMP_NUM_THREADS",
                                "MPICC",        "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH_X"};
    char **variables;
    for (size_t i = 0; i < RAYI_COUNT_OF(gone); i++)
        setenv(gone[i], "secret", 1);
    for (size_t i = 0; i < RAYI_COUNT_OF(stay); i++)
        setenv(stay[i], "kept", 1);
    setenv("CHANGED", "old", 1);
    setenv("UNSET", "old", 1);
    const char *const changes[] = {"CHANGED=new", "UNSET",  "ADDED=a=b", "RAY_ADDRESS=given", "TWICE=1", "TWICE=2",
                                   "NEVER",       "EMPTY=", NULL};
    CHECK_OK(rayi_process_environment(NULL, changes, &variables));
    for (size_t i = 0; i < RAYI_COUNT_OF(gone); i++)
        if (strcmp(gone[i], "RAY_ADDRESS"))
            cr_assert_null(value_of(variables, gone[i]), "%s", gone[i]);
    for (size_t i = 0; i < RAYI_COUNT_OF(stay); i++)
        cr_assert_str_eq(value_of(variables, stay[i]), "kept", "%s", stay[i]);
    cr_assert_str_eq(value_of(variables, "CHANGED"), "new");
    cr_assert_str_eq(value_of(variables, "ADDED"), "a=b");
    cr_assert_str_eq(value_of(variables, "RAY_ADDRESS"), "given");
    cr_assert_str_eq(value_of(variables, "TWICE"), "2");
    cr_assert_str_eq(value_of(variables, "EMPTY"), "");
    cr_assert_null(value_of(variables, "UNSET"));
    cr_assert_null(value_of(variables, "NEVER"));
    cr_assert_str_eq(getenv("CHANGED"), "old", "ours stays as it is");
    cr_assert_not_null(getenv("RAY_ROLE"));
    rayi_free(variables);
    CHECK_OK(rayi_process_environment("gdb --args", NULL, &variables));
    cr_assert_str_eq(value_of(variables, "RAY_WORKER_WRAPPER"), "gdb --args");
    cr_assert_str_eq(value_of(variables, "UNSET"), "old");
    rayi_free(variables);
}

LOOP_TEST(command, environment_arrives)
{
    started child = {0};
    listen_to_log();
    clearenv();
    setenv("PMI_RANK", "0", 1);
    setenv("STAYS", "1", 1);
    rayi_process_options options = options_of(&child, (const char *const[]){CHILD, "environment", NULL});
    options.environment = (const char *const[]){"NEW=2", NULL};
    start(&child, &options);
    wait_end(&child);
    cr_assert_eq(num_lines, 2);
    cr_assert(logged("STAYS=1") && logged("NEW=2"));
    finish(&child);
}

/* --- this very executable ----------------------------------------------------------------------------------------- */

LOOP_TEST(command, own_command)
{
    char **argv = NULL, path[4096] = "", line[4096] = "";
    CHECK_OK(rayi_process_own_command(&argv));
    cr_assert_gt(readlink("/proc/self/exe", path, sizeof path - 1), 0);
    cr_assert_str_eq(argv[0], path);
    int fd = open("/proc/self/cmdline", O_RDONLY);
    ssize_t size = read(fd, line, sizeof line - 1);
    close(fd);
    const char *at = line + strlen(line) + 1;
    size_t i = 1;
    for (; at < line + size; at += strlen(at) + 1)
        cr_assert_str_eq(argv[i++], at);
    cr_assert_null(argv[i]);
    rayi_free(argv);
}

/* A copy of a program tells its own command, in a process made from it; here, with the file gone or exchanged. */
static void copy_file(const char *from, const char *to)
{
    char chunk[65536];
    ssize_t size;
    int in = open(from, O_RDONLY), out = open(to, O_CREAT | O_WRONLY, 0700);
    cr_assert(in >= 0 && out >= 0);
    while ((size = read(in, chunk, sizeof chunk)) > 0)
        cr_assert_eq(write(out, chunk, (size_t)size), size);
    close(in);
    close(out);
}

LOOP_TEST(command, own_command_of_a_deleted_file)
{
    started child = {0};
    char path[128], other[128], *folder = make_folder();
    listen_to_log();
    snprintf(path, sizeof path, "%s/program", folder);
    snprintf(other, sizeof other, "%s/program (deleted)", folder);
    copy_file(OWN, path);
    copy_file(OWN, other); /* no trap */
    rayi_process_options options = options_of(&child, (const char *const[]){path, "stay", "", "a b", NULL});
    start(&child, &options);
    wait_end(&child);
    cr_assert(logged(path), "%s", lines[0]);
    cr_assert(logged("[stay] [] [a b]"), "%s", lines[0]);
    finish(&child);
    forget_lines();
    options.command = (const char *const[]){path, "go", NULL};
    start(&child, &options);
    wait_end(&child);
    cr_assert(logged("[/proc/self/exe] [go]"), "%s", lines[0]);
    finish(&child);
    remove_folder(folder);
}

/* --- the parent's life -------------------------------------------------------------------------------------------- */

LOOP_TEST(command, bind_to_parent)
{
    int status, signal_ = 0;
    pid_t pid = fork();
    if (pid == 0) {
        bool bound = rayi_process_bind_to_parent(getppid()) == 0 && prctl(PR_GET_PDEATHSIG, &signal_) == 0;
        bool refused = rayi_process_bind_to_parent(getppid() + 1) == RAY_ERR_NODE_DIED;
        setenv("RAY_WORKER_WRAPPER", "gdb", 1);
        bool wrapped = rayi_process_bind_to_parent(getppid() + 1) == 0;
        _exit(bound && signal_ == SIGKILL && refused && wrapped ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

LOOP_TEST(command, dies_with_its_parent)
{
    int pipes[2];
    char byte;
    pid_t pid;
    cr_assert_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        pid_t node = getpid();
        if (fork() == 0) {
            bool bound = rayi_process_bind_to_parent(node) == 0;
            while (write(pipes[1], bound ? "b" : "x", 1) == 1) {
                for (;;)
                    pause();
            }
        }
        for (;;)
            pause();
    }
    close(pipes[1]);
    cr_assert_eq(read(pipes[0], &byte, 1), 1);
    cr_assert_eq(byte, 'b');
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    cr_assert_eq(read(pipes[0], &byte, 1), 0, "who held the other end has ended");
}
