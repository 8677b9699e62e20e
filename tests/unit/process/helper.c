#include "helper.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

uv_loop_t loop;
char **lines;
size_t num_lines;
static uv_timer_t pulse; /* so that waiting looks at its condition */

static void on_pulse(uv_timer_t *timer)
{
    (void)timer;
}

void open_loop(void)
{
    cr_assert_eq(uv_loop_init(&loop), 0);
    uv_timer_init(&loop, &pulse);
    uv_timer_start(&pulse, on_pulse, 5, 5);
}

void close_loop(void)
{
    uv_close((uv_handle_t *)&pulse, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0, "handles are left in the loop");
    forget_lines();
}

void forget_lines(void)
{
    for (size_t i = 0; i < num_lines; i++)
        free(lines[i]);
    free(lines);
    lines = NULL;
    num_lines = 0;
}

bool run_until(bool (*done)(void *arg), void *arg, int64_t timeout_ms)
{
    int64_t end = rayi_now_ms() + timeout_ms;
    while (!done(arg) && rayi_now_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    return done(arg);
}

static bool never(void *arg)
{
    (void)arg;
    return false;
}

void run_for(int64_t span_ms)
{
    run_until(never, NULL, span_ms);
}

static void on_log(void *arg, const ray_log_event *event)
{
    char *line;
    (void)arg;
    if (asprintf(&line, "%s%s%s", strcmp(event->event, "worker.output") ? event->event : "",
                 strcmp(event->event, "worker.output") ? ": " : "", event->message) < 0)
        abort();
    if (num_lines % 1024 == 0)
        lines = realloc(lines, (num_lines + 1024) * sizeof *lines);
    lines[num_lines++] = line;
}

void listen_to_log(void)
{
    rayi_log_install(on_log, NULL, RAY_LOG_INFO);
}

size_t times_logged(const char *text)
{
    size_t count = 0;
    for (size_t i = 0; i < num_lines; i++)
        count += strstr(lines[i], text) != NULL;
    return count;
}

bool logged(const char *text)
{
    return times_logged(text) > 0;
}

static bool has_line(void *arg)
{
    return logged(arg);
}

void wait_for_line(const char *text)
{
    cr_assert(run_until(has_line, (void *)(uintptr_t)text, 5000), "no line '%s'", text);
}

static void on_closed(void *arg)
{
    started *child = arg;
    child->num_closed++;
}

static void on_end(rayi_process *process, void *arg, const rayi_process_end *end)
{
    started *child = arg;
    cr_assert_eq(process, child->process);
    cr_assert(rayi_process_ended(process));
    child->ended_ns = rayi_now_ns();
    child->end = *end;
    child->num_ends++;
    if (child->close_at_end)
        rayi_process_close(process, on_closed, child);
}

rayi_process_options options_of(started *child, const char *const *command)
{
    return (rayi_process_options){.command = command, .on_end = on_end, .arg = child};
}

void start(started *child, const rayi_process_options *options)
{
    child->num_ends = child->num_closed = 0;
    child->started_ns = rayi_now_ns();
    CHECK_OK(rayi_process_start(&loop, options, &child->process));
    cr_assert_gt(rayi_process_pid(child->process), 1);
}

void start_child(started *child, const char *const *command)
{
    rayi_process_options options = options_of(child, command);
    start(child, &options);
}

static bool has_ended(void *arg)
{
    return ((started *)arg)->num_ends > 0;
}

static bool has_closed(void *arg)
{
    return ((started *)arg)->num_closed > 0;
}

void wait_end(started *child)
{
    cr_assert(run_until(has_ended, child, 10000), "the process does not end");
    cr_assert_eq(child->num_ends, 1);
}

void finish(started *child)
{
    if (!child->close_at_end)
        rayi_process_close(child->process, on_closed, child);
    cr_assert(run_until(has_closed, child, 5000), "the process is not closed");
    cr_assert_eq(child->num_closed, 1);
}

bool is_alive(int64_t pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    return size > 0 && !strstr(text, ") Z") && !strstr(text, ") X");
}

char *make_folder(void)
{
    static char path[64];
    strcpy(path, "/tmp/ray-test-XXXXXX");
    cr_assert_not_null(mkdtemp(path));
    return path;
}

void remove_folder(const char *path)
{
    int dir = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert(rayi_remove_at(dir, path + strlen("/tmp/")), "%s is left", path);
    close(dir);
}

size_t file_size(const char *folder, const char *name)
{
    char path[512];
    struct stat status;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return stat(path, &status) == 0 ? (size_t)status.st_size : (size_t)-1;
}
