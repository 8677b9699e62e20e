/* What a bus does to its process: no thread before the first one is opened, and none of nng's ever takes a signal. A
 * program of its own, because Criterion brings nng's threads along. */
#include "transport/transport.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static size_t num_threads, num_open;

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static unsigned long long blocked_in(const char *thread)
{
    char path[300], *line = NULL;
    unsigned long long mask = 0;
    size_t room = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", thread);
    FILE *file = fopen(path, "re");
    while (file && getline(&line, &room, file) > 0)
        sscanf(line, "SigBlk: %llx", &mask);
    if (file)
        fclose(file);
    free(line);
    return mask;
}

/* Counts the threads beside this one, and those that would take one of the signals that programs send. */
static void look(void)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD, SIGALRM, SIGPIPE};
    struct dirent *entry;
    DIR *threads = opendir("/proc/self/task");
    num_threads = num_open = 0;
    while (threads && (entry = readdir(threads))) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
            continue;
        num_threads++;
        for (size_t i = 0; i < RAYI_COUNT_OF(signals); i++)
            if (!(blocked_in(entry->d_name) & 1ULL << (signals[i] - 1))) {
                num_open++;
                break;
            }
    }
    closedir(threads);
}

int main(void)
{
    static const rayi_bus_events none = {0};
    rayi_bus_head_options options = {.host = "127.0.0.1", .events = &none};
    sigset_t before, after;
    uv_loop_t loop;
    rayi_bus *bus;
    look();
    size_t others = num_threads; /* a sanitizer's */
    if (others > 1)
        fail("there are threads before a bus was opened");
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    uv_loop_init(&loop);
    if (rayi_bus_open_head(&loop, &options, &bus) < 0)
        fail(rayi_error_last_public()->message);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int i = 1; i < SIGRTMIN; i++)
        if (sigismember(&before, i) != sigismember(&after, i))
            fail("the mask of the caller was changed");
    look();
    printf("%zu threads of nng\n", num_threads - others);
    if (num_threads == others)
        fail("no thread was started: this test sees nothing");
    rayi_bus_close(bus, NULL, NULL);
    if (num_open > others)
        fail("a thread would take signals");
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0 ? 0 : 1;
}
