/* What the measuring programs share: a clock, rates, percentiles, and the way they are called.

   A measuring program is started once for each repetition: `PROGRAM MEASURE SECONDS` warms up, measures for about
   SECONDS and prints `SERIES VALUE` lines. The driver (driver.c) starts libray, limit and peers in turn and takes the
   medians, so none of them sees another's threads or heap, and drift of the machine meets all of them. */
#ifndef BENCH_H
#define BENCH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BENCH_BATCH = 10000, BENCH_FIB = 25, BENCH_FIB_RESULT = 75025, BENCH_MILLION = 1000000 };
#define BENCH_LARGE ((size_t)64 << 20)
#define BENCH_GIB   ((double)(1 << 30))

struct bench_measure {
    const char *name;
    void (*run)(double seconds);
};

extern const struct bench_measure apart_measures[], net_measures[]; /* of bench_machine, in apart.c and net.c */

/* Runs the measure of that name; false if the table, which ends with a NULL name, has none. */
bool bench_run(const struct bench_measure *measures, const char *name, double seconds);
/* main() of a program that needs no more than one table. */
int bench_main(int argc, char **argv, const struct bench_measure *measures);
double bench_seconds(int argc, char **argv); /* the second argument; ends the program if the arguments are wrong */

void bench_emit(const char *series, double value);
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

double bench_now(void); /* seconds */
void bench_nap(double seconds);
/* Calls run(n, arg) with growing n until it is warm, then for about so many seconds: n per second. */
double bench_rate(double seconds, void (*run)(size_t n, void *arg), void *arg);
/* Calls once() for about so many seconds, at least once after a warm-up: the median of what it returns. */
double bench_median(double seconds, double (*once)(void *arg), void *arg);
double bench_percentile(double *samples, size_t count, double percent); /* sorts them */
/* Emits SERIES, SERIES_p50 and SERIES_p99 of once(), called after a pause in which everybody falls asleep. */
void bench_emit_sleepy(const char *series, double seconds, double (*once)(void *arg), void *arg);

/* A directory of its own, on a disk if there is one ($TMPDIR, else /var/tmp); its files, and those one level below,
 * written out and dropped from the cache; and with them removed. */
void bench_directory(char *out, size_t size);
void bench_forget(const char *directory);
void bench_remove(const char *directory);

size_t bench_num_cpus(void);           /* of the affinity mask */
void *bench_memory(size_t size_bytes); /* touched */
double bench_rss_bytes(void);
double bench_pss_mb(void);
double bench_pss_mb_of(int pid);
size_t bench_num_threads(void);
size_t bench_fib_calls(void); /* of fib(BENCH_FIB), itself included */
#endif
