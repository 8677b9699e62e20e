#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const double sleepy_pause = 0.002; /* longer than anybody spins */

bool bench_run(const struct bench_measure *measures, const char *name, double seconds)
{
    for (const struct bench_measure *m = measures; m->name; m++) {
        if (strcmp(m->name, name) == 0) {
            m->run(seconds);
            return true;
        }
    }
    return false;
}

double bench_seconds(int argc, char **argv)
{
    double seconds = argc == 3 ? strtod(argv[2], NULL) : 0;
    if (!(seconds > 0))
        bench_fail("usage: %s MEASURE SECONDS", argv[0]);
    return seconds;
}

int bench_main(int argc, char **argv, const struct bench_measure *measures)
{
    double seconds = bench_seconds(argc, argv);
    if (!bench_run(measures, argv[1], seconds))
        bench_fail("%s: no such measure", argv[1]);
    return 0;
}

void bench_emit(const char *series, double value)
{
    printf("%s %.9g\n", series, value);
}

void bench_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

double bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void bench_nap(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        continue;
}

static double timed(void (*run)(size_t n, void *arg), size_t n, void *arg)
{
    double start = bench_now();
    run(n, arg);
    return bench_now() - start;
}

double bench_rate(double seconds, void (*run)(size_t n, void *arg), void *arg)
{
    size_t n = 1;
    double took = timed(run, n, arg);
    for (; took < seconds / 4; took = timed(run, n, arg))
        n *= took < seconds / 64 ? 8 : 2;
    n = (size_t)((double)n * seconds / took) + 1;
    return (double)n / timed(run, n, arg);
}

double bench_median(double seconds, double (*once)(void *arg), void *arg)
{
    double samples[1000];
    size_t count = 0;
    (void)once(arg);
    for (double end = bench_now() + seconds; count < 1000 && (count < 1 || bench_now() < end); count++)
        samples[count] = once(arg);
    return bench_percentile(samples, count, 50);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_percentile(double *samples, size_t count, double percent)
{
    qsort(samples, count, sizeof *samples, compare);
    return samples[(size_t)((double)(count - 1) * percent / 100 + 0.5)];
}

void bench_emit_sleepy(const char *series, double seconds, double (*once)(void *arg), void *arg)
{
    enum { WARM = 10, MOST = 2000 };
    static double samples[MOST];
    size_t count = 100 + (size_t)(seconds * 1500);
    if (count > MOST)
        count = MOST;
    for (size_t i = 0; i < WARM + count; i++) {
        bench_nap(sleepy_pause);
        samples[i < WARM ? 0 : i - WARM] = once(arg);
    }
    char name[64];
    for (int percent = 50; percent <= 99; percent += 49) {
        snprintf(name, sizeof name, "%s_p%d", series, percent);
        bench_emit(name, bench_percentile(samples, count, percent));
    }
    bench_emit(series, bench_percentile(samples, count, 50));
}

void bench_directory(char *out, size_t size)
{
    const char *base = getenv("TMPDIR");
    if (snprintf(out, size, "%s/ray-bench-XXXXXX", base && *base ? base : "/var/tmp") >= (int)size || !mkdtemp(out))
        bench_fail("cannot make a directory for files: %s", strerror(errno));
}

static int forget_file(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status, (void)where;
    int fd = type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    fsync(fd);
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return 0;
}

void bench_forget(const char *directory)
{
    nftw(directory, forget_file, 8, FTW_PHYS);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status, (void)type, (void)where;
    return remove(path);
}

void bench_remove(const char *directory)
{
    nftw(directory, remove_one, 8, FTW_PHYS | FTW_DEPTH);
}

size_t bench_num_cpus(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
}

void *bench_memory(size_t size_bytes)
{
    void *p = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        bench_fail("out of memory");
    return memset(p, 1, size_bytes);
}

double bench_rss_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1)
        bench_fail("/proc/self/statm: unreadable");
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

double bench_pss_mb_of(int pid)
{
    char line[256], path[64];
    long kb = -1;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "r");
    while (f && kb < 0 && fgets(line, sizeof line, f))
        (void)sscanf(line, "Pss: %ld", &kb);
    if (kb < 0)
        bench_fail("%s: unreadable", path);
    fclose(f);
    return (double)kb / 1024;
}

double bench_pss_mb(void)
{
    return bench_pss_mb_of(getpid());
}

size_t bench_num_threads(void)
{
    size_t count = 0;
    DIR *dir = opendir("/proc/self/task");
    if (!dir)
        bench_fail("/proc/self/task: unreadable");
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

size_t bench_fib_calls(void)
{
    return 2 * 121393 - 1; /* 2 fib(26) - 1 */
}
