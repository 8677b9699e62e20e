/* What the tests of process share: a loop, a log that is kept, a process and its end. */
#ifndef TEST_PROCESS_HELPER_H
#define TEST_PROCESS_HELPER_H

#include "process/inside.h"

#include "../../support/descriptors.h"
#include "../around.h"

#define CHECK_OK(call)                                                                                                 \
    do {                                                                                                               \
        int r_ = (call);                                                                                               \
        cr_assert_eq(r_, 0, "%s: %s", #call, rayi_error_last_public()->message);                                       \
    } while (0)
#define CHECK_FAILS(call, code_)                                                                                       \
    do {                                                                                                               \
        int r_ = (call);                                                                                               \
        cr_assert_eq(r_, code_, "%s: %d", #call, r_);                                                                  \
        cr_assert_eq(rayi_error_last_public()->code, code_);                                                           \
    } while (0)

#define LOOP_TEST(suite, name) TEST_AROUND(suite, name, open_loop, close_loop)

typedef struct started {
    rayi_process *process;
    rayi_process_end end;
    int num_ends, num_closed;
    int64_t started_ns, ended_ns;
    bool close_at_end;
} started;

extern uv_loop_t loop;
extern char **lines; /* the log of worker.output, and of others as "event: message" */
extern size_t num_lines;

void open_loop(void);
void close_loop(void); /* asserts that nothing is left in it */
bool run_until(bool (*done)(void *arg), void *arg, int64_t timeout_ms);
void run_for(int64_t span_ms);
void listen_to_log(void);
void forget_lines(void);
bool logged(const char *text); /* a line that contains it */
size_t times_logged(const char *text);
void wait_for_line(const char *text);

/* The helper program with these arguments. */
rayi_process_options options_of(started *child, const char *const *arguments);
void start(started *child, const rayi_process_options *options);
#define START(child_, ...) start_child(child_, (const char *const[]){CHILD, __VA_ARGS__, NULL})
void start_child(started *child, const char *const *command);
void wait_end(started *child);
void finish(started *child); /* closes it and waits for that */
#define RUN(child_, ...)                                                                                               \
    do {                                                                                                               \
        START(child_, __VA_ARGS__);                                                                                    \
        wait_end(child_);                                                                                              \
        finish(child_);                                                                                                \
    } while (0)

bool is_alive(int64_t pid); /* and no zombie */
char *make_folder(void);    /* a new one under /tmp; static */
void remove_folder(const char *path);
size_t file_size(const char *folder, const char *name); /* (size_t)-1: none */

#endif
