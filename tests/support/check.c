/* The runner execs itself once a sub-test: a crash or a hang costs one sub-test, and each starts with a fresh process.
 * It is the reaper of its grandchildren, so that a worker process left behind shows up. */
#include "check.h"
#include "heap.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined __SANITIZE_THREAD__
#define CHECK_TSAN 1
#elif defined __SANITIZE_ADDRESS__
#define CHECK_ASAN 1
#elif defined __has_feature
#if __has_feature(thread_sanitizer)
#define CHECK_TSAN 1
#elif __has_feature(address_sanitizer)
#define CHECK_ASAN 1
#endif
#endif

enum { MAX_EVENTS = 256, PATIENCE_MS = 30000 };
enum { LIBUV_SIGNAL_PIPE = 2 }; /* opened with the first loop of a process, for its life */

/* ---- checks ---- */

static void explain(const char *file, int line, const char *what)
{
    const ray_error *error = ray_last_error();
    fflush(stdout);
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    if (error->code)
        fprintf(stderr, "  last error: %s: %s%s%s\n", ray_error_name(error->code),
                error->function ? error->function : "", error->function ? ": " : "", error->message);
}

_Noreturn void check_failed(const char *file, int line, const char *what)
{
    explain(file, line, what);
    _exit(1);
}

void check_code(const char *file, int line, const char *what, int got, int want)
{
    if (got == want)
        return;
    explain(file, line, what);
    fprintf(stderr, "  got %d (%s), wanted %d (%s)\n", got, ray_error_name(got), want, ray_error_name(want));
    _exit(1);
}

void check_int(const char *file, int line, const char *what, int64_t got, int64_t want)
{
    if (got == want)
        return;
    explain(file, line, what);
    fprintf(stderr, "  got %lld, wanted %lld\n", (long long)got, (long long)want);
    _exit(1);
}

void check_str(const char *file, int line, const char *what, const char *got, const char *want)
{
    if (got && strcmp(got, want) == 0)
        return;
    explain(file, line, what);
    fprintf(stderr, "  got \"%s\", wanted \"%s\"\n", got ? got : "(NULL)", want);
    _exit(1);
}

void check_has(const char *file, int line, const char *what, const char *text, const char *part)
{
    if (text && strstr(text, part))
        return;
    explain(file, line, what);
    fprintf(stderr, "  got \"%s\", which lacks \"%s\"\n", text ? text : "(NULL)", part);
    _exit(1);
}

void check_ref(const char *file, int line, const char *what, ray_ref *ref, int want)
{
    check_code(file, line, what, ray_get_timeout(ref, PATIENCE_MS * check_slowness(), NULL), want);
    ray_release(ref);
}

void check_ref_int(const char *file, int line, const char *what, ray_ref *ref, int64_t want)
{
    int64_t got = 0;
    check_code(file, line, what, ray_get_timeout(ref, PATIENCE_MS * check_slowness(), &got), 0);
    check_int(file, line, what, got, want);
    ray_release(ref);
}

void check_ref_str(const char *file, int line, const char *what, ray_ref *ref, const char *want)
{
    const char *got = NULL;
    check_code(file, line, what, ray_get_timeout(ref, PATIENCE_MS * check_slowness(), &got), 0);
    check_str(file, line, what, got, want);
    ray_release(ref);
}

/* ---- the world around ---- */

int64_t check_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void check_sleep_ms(int64_t ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

void check_await(const _Atomic int *flag, int value)
{
    int64_t end = check_now_ms() + (int64_t)PATIENCE_MS * check_slowness();
    while (atomic_load(flag) < value) {
        CHECK(check_now_ms() < end);
        check_sleep_ms(1);
    }
}

static size_t count_entries(const char *path)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

size_t check_open_fds(void)
{
    return count_entries("/proc/self/fd") - 1; /* without the one that lists them */
}
size_t check_threads(void)
{
    return count_entries("/proc/self/task");
}

size_t check_resident_kb(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    CHECK(file && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return (size_t)(pages * (sysconf(_SC_PAGESIZE) / 1024));
}

int check_slowness(void)
{
#ifdef CHECK_TSAN
    return 8;
#elif defined CHECK_ASAN
    return 4;
#else
    return 1;
#endif
}

/* ---- the log ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t count;
    struct {
        char event[64], message[1024];
        bool expected;
    } events[MAX_EVENTS];
} noted = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void note(void *arg, const ray_log_event *event)
{
    (void)arg;
    pthread_mutex_lock(&noted.lock);
    if (noted.count < MAX_EVENTS) {
        snprintf(noted.events[noted.count].event, sizeof noted.events[0].event, "%s", event->event);
        snprintf(noted.events[noted.count].message, sizeof noted.events[0].message, "%s", event->message);
        noted.count++;
    }
    pthread_cond_broadcast(&noted.changed);
    pthread_mutex_unlock(&noted.lock);
}

static bool expect_noted(const char *event, const char *part)
{
    bool found = false;
    for (size_t i = 0; i < noted.count; i++)
        if (strcmp(noted.events[i].event, event) == 0 && strstr(noted.events[i].message, part))
            found = noted.events[i].expected = true;
    return found;
}

static void print_noted(bool unexpected_only)
{
    for (size_t i = 0; i < noted.count; i++)
        if (!unexpected_only || !noted.events[i].expected)
            fprintf(stderr, "  logged: %s: %s\n", noted.events[i].event, noted.events[i].message);
}

void check_expect_log(const char *event, const char *part, int64_t timeout_ms)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += timeout_ms / 1000 + 1;
    pthread_mutex_lock(&noted.lock);
    while (!expect_noted(event, part))
        if (pthread_cond_timedwait(&noted.changed, &noted.lock, &end) != 0 && !expect_noted(event, part)) {
            fprintf(stderr, "no event \"%s\" with \"%s\" was logged\n", event, part);
            print_noted(false);
            _exit(1);
        }
    pthread_mutex_unlock(&noted.lock);
}

static size_t count_unexpected(void)
{
    size_t count = 0;
    for (size_t i = 0; i < noted.count; i++)
        count += !noted.events[i].expected;
    return count;
}

/* ---- one sub-test, in its own process ---- */

void check_start(unsigned cpus)
{
    char resources[32];
    snprintf(resources, sizeof resources, "CPU=%u", cpus);
    CHECK_OK(cpus ? ray_init(RAY_WITH(ray_config, .resources = resources, .num_threads = cpus)) : ray_init(NULL));
}

void check_stop(void)
{
    CHECK_OK(ray_shutdown());
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* Threads that were joined may still be leaving /proc. */
static size_t settled_threads(size_t wanted)
{
    for (int tries = 0; tries < 200 && check_threads() > wanted; tries++)
        check_sleep_ms(5);
    return check_threads();
}

/* How many threads there are before the library has any: the thread sanitizer starts one of its own with the first of
 * ours. */
static size_t threads_of_others(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, do_nothing, NULL) == 0 && pthread_join(thread, NULL) == 0);
#ifdef CHECK_TSAN
    return settled_threads(2);
#else
    return settled_threads(1);
#endif
}

static int run_here(const check_test *test)
{
    size_t fds = check_open_fds(), threads = threads_of_others();
    if (!(test->flags & CHECK_PLAIN)) {
        heap_install();
        CHECK_OK(ray_set_log(note, NULL, RAY_LOG_WARNING));
    }
    test->run();
    if (test->flags & CHECK_LEAVES)
        return 0;
    CHECK(!ray_is_initialized());
    CHECK_INT(settled_threads(threads), threads);
    CHECK(check_open_fds() == fds || check_open_fds() == fds + LIBUV_SIGNAL_PIPE);
    if (!(test->flags & (CHECK_PLAIN | CHECK_KEEPS))) {
        heap_forget_last_error();
        CHECK_INT(heap_left(), 0);
    }
    if (!(test->flags & CHECK_WARNINGS) && count_unexpected()) {
        fprintf(stderr, "unexpected warnings:\n");
        print_noted(true);
        return 1;
    }
    return 0;
}

/* ---- the runner ---- */

static int wait_for(pid_t pid, int64_t timeout_ms)
{
    int status = 0;
    int64_t end = check_now_ms() + timeout_ms;
    bool ended = false;
    for (int64_t nap = 1; !(ended = waitpid(pid, &status, WNOHANG) == pid) && check_now_ms() < end;
         nap = nap < 20 ? nap + 1 : 20)
        check_sleep_ms(nap);
    if (!ended) {
        fprintf(stderr, "no end after %lld s: killed\n", (long long)(timeout_ms / 1000));
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
    }
    return status;
}

/* Ends what the sub-test left behind; how many there were. */
static int reap_orphans(void)
{
    int orphans = 0;
    int64_t end = check_now_ms() + 2000;
    while (waitpid(-1, NULL, WNOHANG) >= 0 && check_now_ms() < end)
        check_sleep_ms(5);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    for (int pid; file && fscanf(file, "%d", &pid) == 1; orphans++)
        kill(pid, SIGKILL);
    if (file)
        fclose(file);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
    return orphans;
}

/* A minute, and what a stress test was asked to take on top. */
static int64_t time_limit_ms(void)
{
    const char *longer = getenv("RAY_STRESS_SECONDS");
    return (int64_t)PATIENCE_MS * 2 * check_slowness() + (longer ? atoll(longer) * 1000 : 0);
}

static bool run_apart(const char *program, const check_test *test)
{
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(STDERR_FILENO, STDOUT_FILENO); /* stdout is for TAP */
        execl("/proc/self/exe", program, "--here", test->name, (char *)NULL);
        _exit(127);
    }
    int status = wait_for(pid, time_limit_ms());
    int orphans = reap_orphans();
    if (orphans)
        fprintf(stderr, "%s left %d processes behind\n", test->name, orphans);
    if (test->flags & CHECK_ABORTS)
        return !orphans && WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s: signal %d (%s)\n", test->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
    return !orphans && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool is_wanted(const check_test *test, int argc, char **argv)
{
    bool wanted = argc < 2;
    for (int i = 1; i < argc; i++)
        wanted |= strcmp(argv[i], test->name) == 0;
    return wanted;
}

static void clean_environment(void)
{
    static const char *const names[] = {"RAY_ADDRESS", "RAY_ROLE", "RAY_KEY_FILE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

int check_main(int argc, char **argv, const check_test *tests, size_t count)
{
    clean_environment();
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++)
            puts(tests[i].name);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--here") == 0) {
        for (size_t i = 0; i < count; i++)
            if (strcmp(tests[i].name, argv[2]) == 0)
                return run_here(&tests[i]);
        return 2;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    size_t wanted = 0, number = 0;
    for (size_t i = 0; i < count; i++)
        wanted += is_wanted(&tests[i], argc, argv);
    printf("1..%zu\n", wanted);
    int failed = wanted == 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_wanted(&tests[i], argc, argv))
            continue;
        bool passed = run_apart(argv[0], &tests[i]);
        printf("%sok %zu - %s\n", passed ? "" : "not ", ++number, tests[i].name);
        failed |= !passed;
    }
    return failed;
}
