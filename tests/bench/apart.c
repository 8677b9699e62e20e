/* What the machine allows two processes: the work that libray cannot avoid between a node and its worker process. */
#include "bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CELLS = 1024, OBJECT = 100 * 1000 * 1000 };

extern char **environ;

/* ---- Shared memory: a word each way, and a ring each way ---- */

struct way {
    _Alignas(64) _Atomic uint32_t word;
    _Alignas(64) struct {
        _Alignas(64) int64_t value; /* a cache line each, as a task at least has */
    } cells[CELLS];
};

struct shared {
    struct way there, back;
    bool sleep;
};

static bool one_cpu;

static void await(struct shared *shared, _Atomic uint32_t *word, uint32_t seen)
{
    while (atomic_load_explicit(word, memory_order_acquire) == seen) {
        if (shared->sleep)
            syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
        else if (one_cpu)
            sched_yield();
    }
}

static void set(struct shared *shared, _Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
    if (shared->sleep)
        syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The other process: answers each value with its double, as many at once as have come. */
static _Noreturn void answer(struct shared *shared)
{
    for (uint32_t done = 0;; set(shared, &shared->back.word, done)) {
        await(shared, &shared->there.word, done);
        uint32_t sent = atomic_load_explicit(&shared->there.word, memory_order_acquire);
        for (; done != sent; done++)
            shared->back.cells[done % CELLS].value = 2 * shared->there.cells[done % CELLS].value;
    }
}

/* To the first CPU allowed, or to the last. */
static void pin(bool last)
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
    sched_setaffinity(0, sizeof one, &one);
}

static struct shared *start_other(bool sleep)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        bench_fail("out of memory");
    shared->sleep = sleep;
    one_cpu = bench_num_cpus() == 1;
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pin(true);
        answer(shared);
    }
    pin(false);
    return shared;
}

static void round_trips(size_t n, void *arg)
{
    struct shared *shared = arg;
    for (size_t i = 0; i < n; i++) {
        uint32_t turn = atomic_load_explicit(&shared->there.word, memory_order_relaxed);
        shared->there.cells[turn % CELLS].value = (int64_t)i;
        set(shared, &shared->there.word, turn + 1);
        await(shared, &shared->back.word, turn);
        if (shared->back.cells[turn % CELLS].value != 2 * (int64_t)i)
            bench_fail("the other process: wrong answer");
    }
}

/* Sends until the ring is full, then takes what has come back. */
static void batches(size_t n, void *arg)
{
    struct shared *shared = arg;
    uint32_t sent = atomic_load_explicit(&shared->there.word, memory_order_relaxed), taken = sent;
    for (uint32_t last = sent + (uint32_t)n; taken != last;) {
        for (; sent != last && sent - taken < CELLS; sent++)
            shared->there.cells[sent % CELLS].value = sent;
        set(shared, &shared->there.word, sent);
        await(shared, &shared->back.word, taken);
        for (uint32_t come = atomic_load_explicit(&shared->back.word, memory_order_acquire); taken != come; taken++)
            if (shared->back.cells[taken % CELLS].value != 2 * (int64_t)taken)
                bench_fail("the other process: wrong answer");
    }
}

static void measure_round_trips(double seconds)
{
    bench_emit("process_spin_per_s", bench_rate(seconds, round_trips, start_other(false)));
}

static void measure_round_trips_asleep(double seconds)
{
    bench_emit("tasks_sync_process", bench_rate(seconds, round_trips, start_other(true)));
}

static void measure_batches(double seconds)
{
    bench_emit("process_batch_per_s", bench_rate(seconds, batches, start_other(false)));
}

/* ---- An object ---- */

static void map_object(size_t n, void *arg)
{
    const int *fd = arg;
    for (size_t i = 0; i < n; i++) {
        const volatile char *p = mmap(NULL, OBJECT, PROT_READ, MAP_SHARED, *fd, 0);
        if (p == MAP_FAILED || p[0] + p[OBJECT - 1] != 2)
            bench_fail("mmap: %s", strerror(errno));
        munmap((void *)(uintptr_t)p, OBJECT);
    }
}

static void measure_map(double seconds)
{
    int fd = memfd_create("bench", MFD_CLOEXEC);
    void *p;
    if (fd < 0 || ftruncate(fd, OBJECT) != 0 ||
        (p = mmap(NULL, OBJECT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
        bench_fail("a memfd of 100 MB: %s", strerror(errno));
    memset(p, 1, OBJECT);
    bench_emit("map_us", 1e6 / bench_rate(seconds, map_object, &fd));
}

/* ---- A process that comes, and one that goes ---- */

/* This program again, as the measure `byte`, whose output is *out. */
static pid_t spawn(int *out)
{
    char program[] = "/proc/self/exe", measure[] = "byte", time[] = "1", *argv[] = {program, measure, time, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t pid;
    if (pipe(ends) != 0)
        bench_fail("pipe: %s", strerror(errno));
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    int failed = posix_spawn(&pid, program, &actions, NULL, argv, environ);
    if (failed)
        bench_fail("posix_spawn: %s", strerror(failed));
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char byte;
    if (read(ends[0], &byte, 1) != 1)
        bench_fail("the process that was started says nothing");
    *out = ends[0];
    return pid;
}

static void measure_byte(double seconds)
{
    (void)seconds;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (write(STDOUT_FILENO, "", 1) == 1)
        pause();
}

static double spawn_ms(void *arg)
{
    int out;
    (void)arg;
    double start = bench_now();
    pid_t pid = spawn(&out);
    double took = (bench_now() - start) * 1e3;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(out);
    return took;
}

/* From the signal to the news. */
static double kill_ms(void *arg)
{
    int out;
    (void)arg;
    pid_t pid = spawn(&out);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    double start = bench_now();
    kill(pid, SIGKILL);
    struct pollfd end = {.fd = fd, .events = POLLIN};
    if (fd < 0 || poll(&end, 1, -1) != 1)
        bench_fail("pidfd: %s", strerror(errno));
    double took = (bench_now() - start) * 1e3;
    waitpid(pid, NULL, 0);
    close(fd);
    close(out);
    return took;
}

static void measure_spawn(double seconds)
{
    bench_emit("spawn_ms", bench_median(seconds, spawn_ms, NULL));
}

static void measure_kill(double seconds)
{
    bench_emit("kill_ms", bench_median(seconds, kill_ms, NULL));
}

const struct bench_measure apart_measures[] = {
    {"process_spin", measure_round_trips},
    {"tasks_sync_process", measure_round_trips_asleep},
    {"process_batch", measure_batches},
    {"map", measure_map},
    {"byte", measure_byte},
    {"spawn", measure_spawn},
    {"kill", measure_kill},
    {NULL, NULL},
};
