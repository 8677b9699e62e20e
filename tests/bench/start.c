/* What it costs to have libray: starting it, keeping it idle, shipping it. Each is the first runtime of its process. */
#include "themes.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void run_tasks(size_t n)
{
    ray_ref *refs[64];
    for (size_t i = 0; i < n; i++)
        refs[i] = ray_remote(twice, i);
    take_all(refs, n);
}

static void measure_init(double seconds)
{
    (void)seconds;
    double start = bench_now();
    require(ray_init(NULL));
    run_tasks(5);
    require(ray_shutdown());
    bench_emit("init_local_ms", (bench_now() - start) * 1e3);
}

/* The library cannot know that no more work comes: give it time to notice. */
static void settle(double seconds)
{
    bench_nap(seconds < 0.1 ? 0.1 : seconds);
}

static void measure_pss(double seconds)
{
    double before = bench_pss_mb();
    require(ray_init(NULL));
    run_tasks(5);
    settle(seconds);
    double idle = bench_pss_mb();
    bench_emit("pss_idle_mb", idle);
    bench_emit("pss_growth_mb", idle - before);
    require(ray_shutdown());
}

static void measure_threads(double seconds)
{
    size_t before = bench_num_threads();
    require(ray_init(NULL));
    for (int i = 0; i < 1000; i++)
        run_tasks(64); /* enough to start whatever starts on demand */
    settle(seconds);
    bench_emit("threads_idle", (double)(bench_num_threads() - before));
    require(ray_shutdown());
}

static void measure_size(double seconds)
{
    (void)seconds;
    Dl_info library;
    if (dladdr((const void *)(uintptr_t)ray_init, &library) == 0)
        bench_fail("cannot find the file of libray");
    char copy[] = "/tmp/libray-stripped-XXXXXX", command[4096];
    int fd = mkstemp(copy);
    if (fd < 0)
        bench_fail("cannot make a file in /tmp");
    snprintf(command, sizeof command, "strip -o '%s' '%s'", copy, library.dli_fname);
    struct stat info;
    int r = system(command);
    if (r == 0)
        r = stat(copy, &info);
    close(fd);
    unlink(copy);
    if (r != 0)
        bench_fail("%s: failed", command);
    bench_emit("lib_stripped_kb", (double)info.st_size / 1024);
}

const struct bench_measure start_measures[] = {
    {"init", measure_init}, {"pss", measure_pss}, {"threads", measure_threads}, {"size", measure_size}, {NULL, NULL},
};
