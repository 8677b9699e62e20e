/* The runner execs itself once a sub-test: a crash or a hang costs one sub-test, and each starts with a fresh process.
 * It is the reaper of its grandchildren, so that a worker process left behind shows up. A sub-test has a folder of its
 * own for temporary files, so that what a session leaves there shows up, too.
 *
 * A worker process of a sub-test is the same program with the same arguments: main goes straight to ray_init there, or
 * stands as the template of others before. */
#include "check.h"
#include "heap.h"
#include "nodes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
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

#ifdef CHECK_ASAN
void __sanitizer_purge_allocator(void); /* of a header that not all compilers bring */
#endif

enum { MAX_EVENTS = 1024, PATIENCE_MS = 30000, SETTLE_MS = 20000, SHARED_BYTES = 1 << 20 };
#define SHARED_NAME "CHECK_SHARED"              /* variable with the path of the file behind check_shared */
enum { LIBUV_SIGNAL_PIPE = 2, NNG_POLLER = 2 }; /* opened with the first loop, or bus, of a process, for its life */

/* ---- checks ---- */

static void explain(const char *file, int line, const char *what)
{
    const ray_error *error = ray_last_error();
    fflush(stdout);
    fprintf(stderr, "%s:%d: %s\n", file, line, what);
    if (error->code)
        fprintf(stderr, "  last error: %s: %s%s%s\n", ray_error_name(error->code),
                error->function ? error->function : "", error->function ? ": " : "", error->message);
    if (error->code && error->output)
        fprintf(stderr, "  its process printed: %s\n", error->output);
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

int64_t check_number(ray_ref *ref)
{
    int64_t y = 0;
    CHECK_OK(ray_get_timeout(ref, 30000, &y));
    ray_release(ref);
    return y;
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

bool check_has_shadows(void)
{
#ifdef CHECK_TSAN
    return true;
#else
    return false;
#endif
}

void check_await(const _Atomic int *flag, int value)
{
    int64_t end = check_now_ms() + (int64_t)PATIENCE_MS * check_slowness();
    while (atomic_load(flag) < value) {
        CHECK(check_now_ms() < end);
        check_sleep_ms(1);
    }
}

/* Names that begin with prefix and have that part. */
static size_t count_named(const char *path, const char *prefix, const char *part)
{
    size_t count = 0;
    DIR *dir = opendir(path);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0 &&
                 strstr(entry->d_name, part);
    closedir(dir);
    return count;
}

/* False: it has ended since it was listed. */
static bool name_thread(const char *task, char name[32])
{
    char path[300];
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", task);
    FILE *file = task[0] != '.' ? fopen(path, "re") : NULL;
    if (!file)
        return false;
    bool there = fgets(name, 32, file) != NULL;
    fclose(file);
    return there;
}

/* nng's threads are the process's, from the first bus on, whatever becomes of that (doc/decisions/0019). */
static size_t count_threads(bool of_nng, bool printed)
{
    size_t count = 0;
    char name[32];
    DIR *threads = opendir("/proc/self/task");
    CHECK(threads);
    for (struct dirent *entry; (entry = readdir(threads));) {
        if (!name_thread(entry->d_name, name) || (strncmp(name, "nng:", 4) == 0) != of_nng)
            continue;
        count++;
        if (printed)
            fprintf(stderr, "thread %s: %s", entry->d_name, name);
    }
    closedir(threads);
    return count;
}

size_t check_threads(void)
{
    return count_threads(false, false);
}

void *check_shared(void)
{
    static void *_Atomic mapped;
    void *page = mapped;
    if (page)
        return page;
    const char *path = getenv(SHARED_NAME);
    CHECK(path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    page = mmap(NULL, SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(page != MAP_FAILED);
    close(fd);
    mapped = page; /* of two threads that come here at once, both maps show the same file */
    return page;
}

/* Freed blocks that the address sanitizer keeps to find late uses are no growth. */
size_t check_resident_kb(void)
{
    long pages = 0;
#ifdef CHECK_ASAN
    __sanitizer_purge_allocator();
#endif
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
        ray_log_level level;
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
        noted.events[noted.count].level = event->level;
        noted.count++;
    }
    pthread_cond_broadcast(&noted.changed);
    pthread_mutex_unlock(&noted.lock);
}

/* How many there are. */
static size_t expect_noted(const char *event, const char *part)
{
    size_t found = 0;
    for (size_t i = 0; i < noted.count; i++)
        if (strcmp(noted.events[i].event, event) == 0 && strstr(noted.events[i].message, part)) {
            noted.events[i].expected = true;
            found++;
        }
    return found;
}

static bool is_unexpected(size_t i)
{
    return !noted.events[i].expected && noted.events[i].level <= RAY_LOG_WARNING;
}

static void print_noted(bool unexpected_only)
{
    for (size_t i = 0; i < noted.count; i++)
        if (!unexpected_only || is_unexpected(i))
            fprintf(stderr, "  logged: %s: %s\n", noted.events[i].event, noted.events[i].message);
}

void check_expect_logs(const char *event, const char *part, size_t count, int64_t timeout_ms)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += timeout_ms / 1000 + 1;
    pthread_mutex_lock(&noted.lock);
    while (expect_noted(event, part) < count)
        if (pthread_cond_timedwait(&noted.changed, &noted.lock, &end) != 0 && expect_noted(event, part) < count) {
            fprintf(stderr, "%zu events \"%s\" with \"%s\" were logged, wanted %zu\n", expect_noted(event, part), event,
                    part, count);
            print_noted(false);
            _exit(1);
        }
    pthread_mutex_unlock(&noted.lock);
}

void check_expect_log(const char *event, const char *part, int64_t timeout_ms)
{
    check_expect_logs(event, part, 1, timeout_ms);
}

void check_allow_log(const char *event, const char *part)
{
    pthread_mutex_lock(&noted.lock);
    (void)expect_noted(event, part);
    pthread_mutex_unlock(&noted.lock);
}

size_t check_count_log(const char *event, const char *part)
{
    size_t count = 0;
    pthread_mutex_lock(&noted.lock);
    for (size_t i = 0; i < noted.count; i++)
        count += strcmp(noted.events[i].event, event) == 0 && strstr(noted.events[i].message, part);
    pthread_mutex_unlock(&noted.lock);
    return count;
}

void check_listen(ray_log_level most)
{
    CHECK_OK(ray_set_log(note, NULL, most));
}

static size_t count_unexpected(void)
{
    size_t count = 0;
    for (size_t i = 0; i < noted.count; i++)
        count += is_unexpected(i);
    return count;
}

/* ---- one sub-test, in its own process ---- */

void check_start(unsigned cpus)
{
    char resources[32];
    snprintf(resources, sizeof resources, "CPU=%u", cpus);
    CHECK_OK(cpus ? ray_init(RAY_WITH(ray_config, .resources = resources, .num_threads = cpus)) : ray_init(NULL));
}

void check_start_workers(unsigned cpus)
{
    char resources[32];
    snprintf(resources, sizeof resources, "CPU=%u", cpus);
    CHECK_OK(
        ray_init(RAY_WITH(ray_config, .resources = resources, .num_threads = cpus, .isolation = RAY_ISOLATION_PROCESS,
                          .worker_template = getenv("CHECK_TEMPLATE") != NULL)));
}

void check_stop(void)
{
    CHECK_OK(ray_shutdown());
}

static void *do_nothing(void *arg)
{
    return arg;
}

/* When what a sub-test leaves behind must have gone: where nothing is left, nobody waits. */
static int64_t settled_by_ms(void)
{
    return check_now_ms() + (int64_t)SETTLE_MS * check_slowness();
}

/* Threads that were joined may still be leaving /proc. */
static size_t settled_threads(size_t wanted)
{
    size_t now = check_threads();
    for (int64_t end = settled_by_ms(); now > wanted && check_now_ms() < end;) {
        check_sleep_ms(5);
        now = check_threads();
    }
    if (now > wanted)
        (void)count_threads(false, true);
    return now;
}

/* A thread of nng's closes sockets a moment after their bus has ended. */
static bool settled_fds(size_t wanted)
{
    for (int64_t end = settled_by_ms(); check_now_ms() < end;) {
        size_t now = check_open_fds();
        if (now == wanted || now == wanted + LIBUV_SIGNAL_PIPE)
            return true;
        check_sleep_ms(5);
    }
    return false;
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

/* Connections that nng is never done with stay, shut down, or the closing of its socket waits for them, which is logged
 * as bus.left. */
static void check_what_is_left(const check_test *test, size_t fds, size_t threads)
{
    CHECK_INT(settled_threads(threads), threads);
    bool has_nng = count_threads(true, false) > 0;
    fds += has_nng ? NNG_POLLER : 0;
    if (!settled_fds(fds) && !(has_nng && check_shut_sockets() > 0 && settled_fds(fds + check_shut_sockets()))) {
        check_print_fds();
        CHECK_INT(check_open_fds(), fds);
    }
    if (!(test->flags & (CHECK_PLAIN | CHECK_KEEPS))) {
        heap_forget_last_error();
        CHECK_INT(heap_left(), 0);
    }
}

int check_run_here(const check_test *test)
{
    size_t fds = check_open_fds(), threads = threads_of_others();
    if (!(test->flags & CHECK_PLAIN)) {
        heap_install();
        check_listen(RAY_LOG_WARNING);
    }
    test->run();
    if (test->flags & CHECK_LEAVES)
        return 0;
    CHECK(!ray_is_initialized());
    CHECK_INT(check_children(NULL, 0), 0);
    if (check_count_log("bus.left", "") == 0)
        check_what_is_left(test, fds, threads);
    else
        printf("# %s: nng has not closed its bus, and holds what it holds\n", test->name);
    check_allow_log("bus.left", "");
    if (!(test->flags & CHECK_WARNINGS) && count_unexpected()) {
        fprintf(stderr, "unexpected warnings:\n");
        print_noted(true);
        return 1;
    }
    return 0;
}

/* ---- the runner ---- */

enum { SKIPPED = 77 };

typedef struct outcome {
    bool passed;
    const char *skipped; /* why, or NULL */
} outcome;

_Noreturn void check_skip(const char *why)
{
    char path[300];
    snprintf(path, sizeof path, "%s.skip", getenv(SHARED_NAME) ? getenv(SHARED_NAME) : "/dev/null");
    FILE *file = fopen(path, "we");
    if (file) {
        fputs(why, file);
        fclose(file);
    }
    _exit(SKIPPED);
}

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
    int64_t end = settled_by_ms();
    for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) >= 0 && check_now_ms() < end;)
        if (pid == 0) /* those that are there have not ended */
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

/* ---- what is left on disk and in memory ---- */

static char folder[] = "/tmp/check-XXXXXX"; /* of the sub-test that runs */

/* What a sanitizer finds in a worker process goes into a file there, too: its stderr is its node's. */
static void collect_reports(const char *variable)
{
    const char *given = getenv(variable);
    char options[4096];
    snprintf(options, sizeof options, "%s%slog_path=%s/report", given ? given : "", given && *given ? ":" : "", folder);
    CHECK(setenv(variable, options, 1) == 0);
}

/* Prints the files there whose names begin so; how many there are. */
static size_t print_files(const char *prefix, bool named)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[300], line[1024];
        FILE *file = NULL;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && (file = fopen(path, "re"))) {
            count++;
            if (named)
                fprintf(stderr, "%s:\n", entry->d_name);
            while (fgets(line, sizeof line, file))
                fputs(line, stderr);
            fclose(file);
        }
    }
    closedir(dir);
    return count;
}

static void make_folder(void)
{
    char path[64];
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    CHECK(mkdtemp(folder));
    CHECK(setenv("TMPDIR", folder, 1) == 0);
    snprintf(path, sizeof path, "%s/shared", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && ftruncate(fd, SHARED_BYTES) == 0);
    close(fd);
    CHECK(setenv(SHARED_NAME, path, 1) == 0);
}

static void remove_folder(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
}

/* What begins with "ray-" there, and in the user's folder of that name, which itself may stay. */
static size_t count_left_in(const char *path, const char *part)
{
    char of_user[96];
    size_t count = count_named(path, "ray-", part);
    snprintf(of_user, sizeof of_user, "%s/ray-%u", path, (unsigned)geteuid());
    if (access(of_user, F_OK) == 0)
        count += count_named(of_user, "", part) - !*part;
    return count;
}

/* Sessions, folders of spilled objects and the like that are still there. Where others put theirs, too, the name has
 * the process's number. */
static size_t count_left(pid_t pid)
{
    char part[32];
    snprintf(part, sizeof part, "-%d-", (int)pid);
    return count_left_in(folder, "") + count_left_in("/tmp", part) + count_left_in("/var/tmp", part);
}

/* The names that this user has in /dev/shm: others may be at work there. */
static size_t count_shared_memory(void)
{
    size_t count = 0;
    struct stat status;
    DIR *dir = opendir("/dev/shm");
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.' && fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                 status.st_uid == geteuid();
    closedir(dir);
    return count;
}

/* What other programs of this user put there is waited for; a name that is ours stays. */
static size_t more_shared_memory(size_t before)
{
    size_t now = count_shared_memory();
    for (int64_t end = settled_by_ms(); now > before && check_now_ms() < end;) {
        check_sleep_ms(20);
        now = count_shared_memory();
    }
    return now > before ? now - before : 0;
}

/* Why the sub-test cannot be run here. */
static const char *reason_to_skip(void)
{
    static char reason[200];
    char path[64];
    snprintf(path, sizeof path, "%s/shared.skip", folder);
    FILE *file = fopen(path, "re");
    reason[file ? fread(reason, 1, sizeof reason - 1, file) : 0] = 0;
    if (file)
        fclose(file);
    return reason;
}

static outcome run_apart(const char *program, const check_test *test)
{
    size_t shared_memory = count_shared_memory();
    fflush(stdout);
    int gate[2];
    make_folder();
    CHECK(pipe2(gate, O_CLOEXEC) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(gate[1]);
        (void)!read(gate[0], &(char){0}, 1); /* until the folders have been counted */
        collect_reports("ASAN_OPTIONS");
        collect_reports("TSAN_OPTIONS");
        dup2(STDERR_FILENO, STDOUT_FILENO); /* stdout is for TAP */
        execl("/proc/self/exe", program, "--here", test->name, (char *)NULL);
        _exit(127);
    }
    size_t folders_before = count_left(pid); /* numbers come again: nodes may have kept the logs of one with this one */
    close(gate[0]);
    close(gate[1]);
    int status = wait_for(pid, time_limit_ms());
    int orphans = reap_orphans();
    if (orphans)
        fprintf(stderr, "%s left %d processes behind\n", test->name, orphans);
    bool skipped = WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED;
    bool ended_well = skipped || (WIFEXITED(status) && WEXITSTATUS(status) == 0);
    size_t folders_now = ended_well && !(test->flags & CHECK_LEAVES) ? count_left(pid) : 0;
    size_t folders = folders_now > folders_before ? folders_now - folders_before : 0;
    if (folders)
        fprintf(stderr, "%s left %zu folders behind\n", test->name, folders);
    size_t segments = more_shared_memory(shared_memory);
    if (segments)
        fprintf(stderr, "%s left %zu names in /dev/shm\n", test->name, segments);
    size_t reports = print_files("report", false);
    if (reports)
        fprintf(stderr, "%s: %zu processes were reported by a sanitizer\n", test->name, reports);
    const char *reason = reason_to_skip();
    if (!ended_well && !(test->flags & CHECK_ABORTS))
        print_files("node-", true); /* what its nodes have logged */
    remove_folder();
    bool is_clean = !orphans && !folders && !segments && !reports;
    if (test->flags & CHECK_ABORTS)
        ended_well = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
    else if (WIFSIGNALED(status))
        fprintf(stderr, "%s: signal %d (%s)\n", test->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
    return (outcome){.passed = is_clean && ended_well, .skipped = skipped ? reason : NULL};
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
    static const char *const names[] = {"RAY_ADDRESS",    "RAY_ROLE",           "RAY_KEY_FILE",
                                        "RAY_TMPDIR",     "RAY_WORKER_COMMAND", "RAY_WORKER_WRAPPER",
                                        "RAY_DEDUP_LOGS", "RAY_CLUSTER_KEY"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unsetenv(names[i]);
}

int check_main(int argc, char **argv, const check_test *tests, size_t count)
{
    if (getenv("RAY_WORKER_OF")) {
        int r;
        if (getenv("CHECK_TEMPLATE_WAITS") && strstr(getenv("RAY_WORKER_OF"), "template"))
            pause();
        while ((r = ray_template_fork()) > 0)
            ;
        if (r < 0)
            return 1;             /* its node has gone */
        CHECK_OK(ray_init(NULL)); /* serves, and exits */
        check_failed(__FILE__, __LINE__, "a worker process came back from ray_init");
    }
    if (argc == 2 && strcmp(argv[1], NODES_ARGUMENT) == 0)
        return nodes_main();
    clean_environment();
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++)
            puts(tests[i].name);
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "--here") == 0) {
        for (size_t i = 0; i < count; i++)
            if (strcmp(tests[i].name, argv[2]) == 0)
                return check_run_here(&tests[i]);
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
        outcome end = run_apart(argv[0], &tests[i]);
        printf("%sok %zu - %s%s%s\n", end.passed ? "" : "not ", ++number, tests[i].name, end.skipped ? " # SKIP " : "",
               end.skipped ? end.skipped : "");
        failed |= !end.passed;
    }
    return failed;
}
