/* What comes out of worker processes: what they print and what the library logs in them reaches the program's log
 * callback, and nothing else of the program. */
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(void, prints, (const char *, line))
{
    printf("%s to stdout\n", line);
    fprintf(stderr, "%s to stderr\n", line);
    fflush(stdout);
}
static RAY_REMOTE(void, prints_and_dies)
{
    fprintf(stderr, "last words\n");
    raise(SIGKILL);
}

static void output_is_logged(void)
{
    check_listen(RAY_LOG_INFO);
    check_start_workers(2);
    for (int i = 0; i < 3; i++) {
        char line[] = "line X";
        line[5] = (char)('a' + i);
        CHECK_REF_OK(ray_remote(prints, line));
    }
    for (int i = 0; i < 3; i++) {
        char text[64];
        snprintf(text, sizeof text, "line %c to stdout", 'a' + i);
        check_expect_log("worker.output", text, 3000);
        snprintf(text, sizeof text, "line %c to stderr", 'a' + i);
        check_expect_log("worker.output", text, 3000);
    }
    check_expect_log("worker.output", "(prints pid=", 100);
    check_stop();
}

/* ---- the program's own output ---- */

static void use_and_print(void)
{
    const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};
    check_start_workers(2);
    for (int i = 0; i < 10; i++)
        CHECK_REF_OK(ray_remote(prints, "a line"));
    CHECK_REF(ray_remote_opts(&once, prints_and_dies), RAY_ERR_WORKER_CRASHED);
    CHECK_HAS(ray_last_error()->output, "last words");
    ray_release(ray_remote(prints, "one more")); /* is under way while all ends */
    check_stop();
}

static void the_program_prints_nothing(void)
{
    char path[300], text[4096];
    int status;
    snprintf(path, sizeof path, "%s/printed", getenv("TMPDIR"));
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
    CHECK(file >= 0);
    pid_t program = fork();
    CHECK(program >= 0);
    if (program == 0) {
        CHECK(dup2(file, STDOUT_FILENO) == STDOUT_FILENO && dup2(file, STDERR_FILENO) == STDERR_FILENO);
        use_and_print();
        fflush(stdout);
        _exit(0);
    }
    CHECK(waitpid(program, &status, 0) == program);
    ssize_t size = pread(file, text, sizeof text, 0);
    if (size > 0)
        fprintf(stderr, "it printed: %.*s\n", (int)size, text);
    CHECK(status == 0 && size == 0);
    close(file);
}

static void a_program_without_a_log_prints_nothing(void)
{
    the_program_prints_nothing();
}

/* ---- what the library logs in a worker process ---- */

/* It hears of a library that has gone meanwhile, and only it can say that. */
static void events_of_a_worker_arrive(void)
{
    int64_t pids[64];
    char path[300], command[5000];
    snprintf(path, sizeof path, "%s/gone.so", getenv("TMPDIR"));
    snprintf(command, sizeof command, "cp '%s' '%s'", PLUGIN, path);
    CHECK(system(command) == 0);
    check_start_workers(2);
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    size_t count = check_children(pids, 64);
    CHECK(count >= 1 && count <= 64);
    for (size_t i = 0; i < count; i++)
        CHECK(kill((pid_t)pids[i], SIGSTOP) == 0);
    CHECK_OK(ray_load(path, 0));
    CHECK(unlink(path) == 0);
    for (size_t i = 0; i < count; i++)
        CHECK(kill((pid_t)pids[i], SIGCONT) == 0);
    check_expect_log("worker.load", "gone.so", 10000);
    CHECK_REF_INT(ray_remote(twice, 2), 4); /* that is all: it goes on */
    check_stop();
}

CHECK_MAIN(CHECK_TEST(output_is_logged), CHECK_TEST(the_program_prints_nothing),
           CHECK_TEST_WITH(a_program_without_a_log_prints_nothing, CHECK_PLAIN),
           CHECK_TEST_WITH(events_of_a_worker_arrive, CHECK_KEEPS | CHECK_WARNINGS))
