/* What the integration programs share: checks, a runner that gives each sub-test a process of its own, the log.
 * Every sub-test runs with a counted heap (heap.h) and a log that records warnings. When it returns it must have shut
 * the runtime down, freed every block, joined every thread, closed every descriptor and ended every worker process; a
 * warning that it did not expect fails it, and so does a process, a session directory or shared memory that it left
 * behind. */
#ifndef CHECK_H
#define CHECK_H

#include "descriptors.h"

#include <ray/ray.h>
#include <stdio.h>
#include <string.h>

/* Each prints file, line, the expression and ray_last_error(), and ends the process: usable on any thread. */
#define CHECK(condition)       ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))
#define CHECK_OK(call)         check_code(__FILE__, __LINE__, #call, (call), 0)
#define CHECK_CODE(call, code) check_code(__FILE__, __LINE__, #call, (call), (code))
#define CHECK_INT(got, want)   check_int(__FILE__, __LINE__, #got, (int64_t)(got), (int64_t)(want))
#define CHECK_STR(got, want)   check_str(__FILE__, __LINE__, #got, (got), (want))
#define CHECK_HAS(text, part)  check_has(__FILE__, __LINE__, #text, (text), (part))
/* These take a ref: they wait (half a minute at most), compare, and release it. */
#define CHECK_REF(ref, code)     check_ref(__FILE__, __LINE__, #ref, (ref), (code))
#define CHECK_REF_OK(ref)        check_ref(__FILE__, __LINE__, #ref, (ref), 0)
#define CHECK_REF_INT(ref, want) check_ref_int(__FILE__, __LINE__, #ref, (ref), (int64_t)(want))
#define CHECK_REF_STR(ref, want) check_ref_str(__FILE__, __LINE__, #ref, (ref), (want))

/* The number that a ref has become, likewise. */
int64_t check_number(ray_ref *ref);

_Noreturn void check_failed(const char *file, int line, const char *what);
void check_code(const char *file, int line, const char *what, int got, int want);
void check_int(const char *file, int line, const char *what, int64_t got, int64_t want);
void check_str(const char *file, int line, const char *what, const char *got, const char *want);
void check_has(const char *file, int line, const char *what, const char *text, const char *part);
void check_ref(const char *file, int line, const char *what, ray_ref *ref, int want);
void check_ref_int(const char *file, int line, const char *what, ray_ref *ref, int64_t want);
void check_ref_str(const char *file, int line, const char *what, ray_ref *ref, const char *want);

/* For a sub-test that finds that it cannot be run here: it ends there, and is reported as skipped. */
_Noreturn void check_skip(const char *why);

enum {
    CHECK_ABORTS = 1,    /* the sub-test ends in abort() */
    CHECK_LEAVES = 2,    /* it exits with the runtime running: no checks afterwards */
    CHECK_PLAIN = 4,     /* no allocator, no log: the library as it comes */
    CHECK_KEEPS = 8,     /* some blocks live as long as the process (ray_function_get of names unknown so far) */
    CHECK_WARNINGS = 16, /* any warning is fine */
};
typedef struct check_test {
    const char *name;
    void (*run)(void);
    unsigned flags;
} check_test;
/* clang-format off */
#define CHECK_TEST(function) {#function, function, 0}
#define CHECK_TEST_WITH(function, flags) {#function, function, flags}
/* clang-format on */
#ifdef RAYI_DEBUG
#define CHECK_ABORTS_IN_DEBUG CHECK_ABORTS
#else
#define CHECK_ABORTS_IN_DEBUG 0
#endif

/* main() of a program of sub-tests: prints TAP. Arguments: the names to run (default: all), or --list. */
int check_main(int argc, char **argv, const check_test *tests, size_t count);
/* One of them in this process, for what has a main of its own (nodes.c): its exit status. */
int check_run_here(const check_test *test);
#define CHECK_MAIN(...)                                                                                                \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        static const check_test tests[] = {__VA_ARGS__};                                                               \
        return check_main(argc, argv, tests, sizeof tests / sizeof *tests);                                            \
    }

/* Starts the runtime with so many CPUs and threads; 0: the defaults. */
void check_start(unsigned cpus);
/* Whatever is submitted runs in worker processes; where $CHECK_TEMPLATE is set these are copies of a template. */
void check_start_workers(unsigned cpus);
void check_stop(void);

/* Waits until an event of this name whose message has that part was logged, and expects it from now on. */
void check_expect_log(const char *event, const char *part, int64_t timeout_ms);
void check_expect_logs(const char *event, const char *part, size_t count, int64_t timeout_ms); /* that many */

void check_allow_log(const char *event, const char *part);   /* those that were logged so far, if any, are expected */
size_t check_count_log(const char *event, const char *part); /* so far; they stay as expected as they were */
/* Notes events up to this level; before the runtime starts. Only warnings and errors need to be expected. */
void check_listen(ray_log_level most);

/* A megabyte that the sub-test and its worker processes share, zeros at first. */
void *check_shared(void);
/* The processes that this one has started, zombies included: how many, and the first of them. */
size_t check_children(int64_t *pids, size_t room);
bool check_is_gone(int64_t pid); /* no such process, or a zombie */
void check_await_gone(int64_t pid, int64_t timeout_ms);

int64_t check_now_ms(void);
void check_sleep_ms(int64_t ms);
/* Waits until *flag is at least value; fails after half a minute. */
void check_await(const _Atomic int *flag, int value);
#define CHECK_AWAIT(flag, value) check_await(&(flag), (value))
size_t check_threads(void);
size_t check_resident_kb(void);
/* A factor for times and counts: 1, or more under a sanitizer. */
int check_slowness(void);
bool check_has_shadows(void); /* under the thread sanitizer: what is touched takes as much memory again elsewhere */

#endif
