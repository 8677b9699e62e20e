/* What the machine allows: each measure is the work that libray cannot avoid in the figure it stands beside. apart.c
   has what two processes allow, net.c what a connection between them does. */
#include "bench.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { RECORD = 128 }; /* the hot part of a task */

struct record {
    int64_t (*call)(int64_t x);
    int64_t x;
    char rest[RECORD - 2 * sizeof(int64_t)];
};

static int64_t twice(int64_t x)
{
    return 2 * x;
}

static int64_t (*volatile unknown)(int64_t x) = twice; /* so that no compiler inlines the call */

static struct record *record_new(int64_t x)
{
    struct record *r = malloc(sizeof *r);
    if (!r)
        bench_fail("out of memory");
    r->call = unknown;
    r->x = x;
    return r;
}

static int64_t record_run(struct record *r)
{
    int64_t result = r->call(r->x);
    free(r);
    return result;
}

/* malloc, call, free: a task or object at a time, in batches, and in a tree. */

static void one_call(size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++)
        (void)record_run(record_new((int64_t)i));
}

static void batch_of_calls(size_t n, void *arg)
{
    struct record **records = arg;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < BENCH_BATCH; i++)
            records[i] = record_new((int64_t)i);
        for (size_t i = 0; i < BENCH_BATCH; i++)
            (void)record_run(records[i]);
    }
}

static int64_t fib(int64_t n);
static int64_t (*volatile unknown_fib)(int64_t n) = fib;

static int64_t fib_call(int64_t n)
{
    struct record *r = record_new(n);
    r->call = unknown_fib;
    return record_run(r);
}

static int64_t fib(int64_t n)
{
    return n < 2 ? n : fib_call(n - 1) + fib_call(n - 2);
}

static void tree_of_calls(size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        if (fib_call(BENCH_FIB) != BENCH_FIB_RESULT)
            bench_fail("fib: wrong result");
    }
}

static void measure_call(double seconds)
{
    bench_emit("call_per_s", bench_rate(seconds, one_call, NULL));
}

static void measure_batch(double seconds)
{
    static struct record *records[BENCH_BATCH];
    double per_s = BENCH_BATCH * bench_rate(seconds, batch_of_calls, records);
    bench_emit("batch_per_s", per_s);
    bench_emit("half_batch_per_s", per_s / 2);
    bench_emit("batch_100k_s", 10 * BENCH_BATCH / per_s);
}

static void measure_tree(double seconds)
{
    bench_emit("tree_per_s", (double)bench_fib_calls() * bench_rate(seconds, tree_of_calls, NULL));
}

static void measure_million(double seconds)
{
    (void)seconds;
    struct record **records = bench_memory(BENCH_MILLION * sizeof *records);
    double rss = bench_rss_bytes(), start = bench_now();
    for (size_t i = 0; i < BENCH_MILLION; i++)
        records[i] = record_new((int64_t)i);
    double between = bench_now(), bytes = bench_rss_bytes() - rss, resume = bench_now();
    for (size_t i = 0; i < BENCH_MILLION; i++)
        (void)record_run(records[i]);
    bench_emit("million_s", bench_now() - resume + between - start);
    bench_emit("million_bytes", bytes / BENCH_MILLION);
}

/* Two threads. */

struct pair {
    _Alignas(64) _Atomic uint32_t ping;
    _Alignas(64) _Atomic uint32_t pong;
    bool sleep, yield; /* yield: with one CPU */
};

static void wait_for(struct pair *pair, _Atomic uint32_t *word, uint32_t value)
{
    while (atomic_load_explicit(word, memory_order_acquire) != value) {
        if (pair->sleep)
            syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value - 1, NULL, NULL, 0);
        else if (pair->yield)
            sched_yield();
    }
}

static void set(struct pair *pair, _Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
    if (pair->sleep)
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void *answer(void *arg)
{
    struct pair *pair = arg;
    for (uint32_t turn = 1;; turn++) {
        wait_for(pair, &pair->ping, turn);
        set(pair, &pair->pong, turn);
    }
    return NULL;
}

static double round_trip_us(void *arg)
{
    struct pair *pair = arg;
    uint32_t turn = atomic_load(&pair->ping) + 1;
    double start = bench_now();
    set(pair, &pair->ping, turn);
    wait_for(pair, &pair->pong, turn);
    return (bench_now() - start) * 1e6;
}

static void round_trips(size_t n, void *arg)
{
    struct pair *pair = arg;
    for (size_t i = 0; i < n; i++) {
        uint32_t turn = atomic_load_explicit(&pair->ping, memory_order_relaxed) + 1;
        set(pair, &pair->ping, turn);
        wait_for(pair, &pair->pong, turn);
    }
}

/* Threads that spin on one CPU would wait for the scheduler, not for each other: the first CPU allowed, and the last.
 */
static void pin(pthread_t thread, bool last)
{
    cpu_set_t allowed, one;
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (int i = 0; i < CPU_SETSIZE && (last || CPU_COUNT(&one) == 0); i++) {
        if (!CPU_ISSET(i, &allowed))
            continue;
        CPU_ZERO(&one);
        CPU_SET(i, &one);
    }
    pthread_setaffinity_np(thread, sizeof one, &one);
}

static struct pair *start_pair(bool sleep, bool apart)
{
    static struct pair pair; /* its thread ends with the process */
    pthread_t thread;
    pair.sleep = sleep;
    pair.yield = bench_num_cpus() == 1;
    if (pthread_create(&thread, NULL, answer, &pair) != 0)
        bench_fail("cannot create a thread");
    if (apart) {
        pin(thread, true);
        pin(pthread_self(), false);
    }
    return &pair;
}

static void measure_futex(double seconds)
{
    bench_emit_sleepy("futex_us", seconds, round_trip_us, start_pair(true, false));
}

static void measure_futex_apart(double seconds)
{
    bench_emit_sleepy("handoff_us", seconds, round_trip_us, start_pair(true, true));
}

static void measure_spin(double seconds)
{
    double per_s = bench_rate(seconds, round_trips, start_pair(false, true));
    bench_emit("spin_per_s", per_s);
    bench_emit("spin_us", 1e6 / per_s);
    bench_emit("spin_3k_ms", 3000 * 1e3 / per_s);
}

static void *do_nothing(void *arg)
{
    return arg;
}

static void measure_threads(double seconds)
{
    (void)seconds;
    size_t count = bench_num_cpus() + 1;
    pthread_t threads[1024];
    double start = bench_now();
    for (size_t i = 0; i < count; i++) {
        if (i == 1024 || pthread_create(&threads[i], NULL, do_nothing, NULL) != 0)
            bench_fail("cannot create a thread");
    }
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    bench_emit("threads_ms", (bench_now() - start) * 1e3);
    bench_emit("cpus_and_one", (double)count);
}

/* Memory. */

struct copies {
    char *from, *to;
};

static void copy_large(size_t n, void *arg)
{
    struct copies *c = arg;
    for (size_t i = 0; i < n; i++) {
        memcpy(c->to, c->from, BENCH_LARGE);
        __asm__ volatile("" ::"r"(c->to) : "memory");
    }
}

static void measure_memcpy(double seconds)
{
    struct copies c = {bench_memory(BENCH_LARGE), bench_memory(BENCH_LARGE)};
    bench_emit("memcpy_gib_s", bench_rate(seconds, copy_large, &c) * (double)BENCH_LARGE / BENCH_GIB);
}

static void map_large(size_t n, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        void *p = mmap(NULL, BENCH_LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || munmap(p, BENCH_LARGE) != 0)
            bench_fail("mmap failed");
    }
}

static void measure_mmap(double seconds)
{
    bench_emit("mmap_us", 1e6 / bench_rate(seconds, map_large, NULL));
}

static void retain_release(size_t n, void *arg)
{
    _Atomic int64_t *count = arg;
    for (size_t i = 0; i < n; i++) {
        atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(count, 1, memory_order_acq_rel);
    }
}

static void measure_retain(double seconds)
{
    _Atomic int64_t count = 1;
    double per_s = bench_rate(seconds, retain_release, (void *)&count);
    bench_emit("retain_us", 1e6 / per_s);
    bench_emit("retain_10k_ms", BENCH_BATCH * 1e3 / per_s);
}

/* An object that is done: is it, and what is in it. */
static void read_done(size_t n, void *arg)
{
    struct record **records = arg;
    volatile int64_t value;
    for (size_t i = 0; i < n; i++) {
        struct record *r = records[i % BENCH_BATCH];
        if (__atomic_load_n(&r->call, __ATOMIC_ACQUIRE))
            value = r->x;
    }
    (void)value;
}

static void measure_read(double seconds)
{
    struct record *records[BENCH_BATCH];
    for (size_t i = 0; i < BENCH_BATCH; i++)
        records[i] = record_new((int64_t)i);
    double many = bench_rate(seconds, read_done, records);
    for (size_t i = 1; i < BENCH_BATCH; i++) {
        free(records[i]);
        records[i] = records[0];
    }
    bench_emit("read_10k_ms", BENCH_BATCH * 1e3 / many);
    bench_emit("read_per_s", bench_rate(seconds, read_done, records));
    free(records[0]);
}

/* A round of waits on 1,000 refs is at least 1,000 records made, run, found one at a time and freed. */
static void rounds_of_1k(size_t n, void *arg)
{
    struct record **records = arg;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < 1000; i++)
            records[i] = record_new((int64_t)i);
        for (size_t left = 1000; left > 0; left--) {
            if (!__atomic_load_n(&records[0]->call, __ATOMIC_ACQUIRE))
                bench_fail("a record without a call");
            (void)record_run(records[0]);
            records[0] = records[left - 1];
        }
    }
}

static void measure_round(double seconds)
{
    struct record *records[1000];
    bench_emit("round_per_s", bench_rate(seconds, rounds_of_1k, records));
}

/* A file, as dd writes it and reads it: a MiB a call, not forced to the disk, read with nothing of it in the cache. */
static void measure_disk(double seconds)
{
    (void)seconds; /* the disk's is slow enough */
    enum { PIECE = 1 << 20, COUNT = 256 };
    char directory[256], path[300];
    void *bytes = bench_memory(PIECE);
    bench_directory(directory, sizeof directory);
    snprintf(path, sizeof path, "%s/file", directory);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    double start = bench_now();
    for (int i = 0; i < COUNT; i++)
        if (write(fd, memset(bytes, i, PIECE), PIECE) != PIECE)
            bench_fail("%s: cannot be written", path);
    bench_emit("disk_write_gib_s", (double)COUNT * PIECE / BENCH_GIB / (bench_now() - start));
    bench_forget(directory);
    close(fd);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    start = bench_now();
    for (int i = 0; i < COUNT; i++)
        if (read(fd, bytes, PIECE) != PIECE)
            bench_fail("%s: cannot be read", path);
    bench_emit("disk_read_gib_s", (double)COUNT * PIECE / BENCH_GIB / (bench_now() - start));
    close(fd);
    bench_remove(directory);
}

static void measure_pss(double seconds)
{
    (void)seconds;
    bench_emit("pss_mb", bench_pss_mb());
}

int main(int argc, char **argv)
{
    static const struct bench_measure measures[] = {
        {"call", measure_call},       {"batch", measure_batch},
        {"tree", measure_tree},       {"million", measure_million},
        {"futex", measure_futex},     {"spin", measure_spin},
        {"mmap", measure_mmap},       {"memcpy", measure_memcpy},
        {"threads", measure_threads}, {"retain", measure_retain},
        {"read", measure_read},       {"round", measure_round},
        {"pss", measure_pss},         {"handoff", measure_futex_apart},
        {"disk", measure_disk},       {NULL, NULL},
    };
    double seconds = bench_seconds(argc, argv);
    if (!bench_run(measures, argv[1], seconds) && !bench_run(apart_measures, argv[1], seconds) &&
        !bench_run(net_measures, argv[1], seconds))
        bench_fail("%s: no such measure", argv[1]);
    return 0;
}
