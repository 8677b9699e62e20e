#include <criterion/criterion.h>

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SKIPPED = 77, PATIENCE_S = 600 };

static shim_test *first, **last = &first;

void shim_add(shim_test *test, const char *suite, const char *name, void (*run)(void))
{
    test->suite = suite, test->name = name, test->run = run;
    *last = test, last = &test->next;
}

void shim_failed(const char *file, int line, const char *what, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: %s: ", file, line, what);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(1);
}

void shim_log(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

_Noreturn void shim_skip(void)
{
    _exit(SKIPPED);
}

static void run(const shim_test *test)
{
    alarm(PATIENCE_S); /* the tests' own time limits are not for a sanitizer */
    if (test->init)
        test->init();
    test->run();
    if (test->fini)
        test->fini();
    exit(0);
}

static bool passes(const shim_test *test)
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        run(test);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return false;
    if (WIFSIGNALED(status))
        return test->signal == WTERMSIG(status);
    return !test->signal && (WEXITSTATUS(status) == test->exit_code || WEXITSTATUS(status) == SKIPPED);
}

int main(void)
{
    int failed = 0;
    for (const shim_test *test = first; test; test = test->next) {
        if (test->disabled)
            continue;
        bool passed = passes(test);
        fprintf(stderr, "%s: %s::%s\n", passed ? "passed" : "FAILED", test->suite, test->name);
        failed |= !passed;
    }
    return failed;
}
