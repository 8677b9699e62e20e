/* Runs the measuring programs in turn and reports medians. For each measure of libray it goes round so many times:
   libray, then what limits it, then the peers, each in a process of its own, all on the CPUs this one may run on. */
#include "bench.h"
#include "report.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_SAMPLES = 16, MAX_GROUP = 9, JOB_SECONDS = 120 };

static struct options {
    bool peers, quick;
    const char *json, *only;
    int repetitions;
    double seconds;
} options = {.repetitions = 7, .seconds = 0.15};

static bool failed; /* did anything? */

struct series {
    double samples[MAX_SAMPLES];
    size_t count;
};

struct collected {
    struct series value, limit, peers[MAX_PEERS];
};

/* Figures that one measure yields. */
struct group {
    const struct figure *figures;
    size_t count;
    struct collected collected[MAX_GROUP];
    bool broken[2 + MAX_PEERS]; /* programs that failed are not asked again */
};

/* Programs are in the folder of this one. */
static void find_program(const char *program, char path[4096])
{
    ssize_t n = readlink("/proc/self/exe", path, 4096 - 64);
    path[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(path, '/');
    snprintf(slash ? slash : path, 64, "/%s", program);
}

/* Becomes PROGRAM MEASURE SECONDS. */
static _Noreturn void job_become(const char *program, const char *measure, double seconds)
{
    char path[4096], time[32];
    find_program(program, path);
    snprintf(time, sizeof time, "%g", seconds);
    alarm(JOB_SECONDS); /* outlives exec, and ends a job that hangs */
    execl(path, program, measure, time, (char *)NULL);
    _exit(127);
}

/* What the job prints comes from *out. */
static pid_t job_start(const char *program, const char *measure, double seconds, FILE **out)
{
    int ends[2];
    if (pipe(ends) != 0)
        bench_fail("pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0)
        bench_fail("fork: %s", strerror(errno));
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        job_become(program, measure, seconds);
    }
    close(ends[1]);
    *out = fdopen(ends[0], "r");
    if (!*out)
        bench_fail("fdopen: %s", strerror(errno));
    return pid;
}

static bool job_succeeded(pid_t pid, const char *program, const char *measure)
{
    int status;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    failed = true;
    if (WIFSIGNALED(status))
        fprintf(stderr, "%s %s: ended by signal %d (%s)\n", program, measure, WTERMSIG(status),
                WTERMSIG(status) == SIGALRM ? "too slow" : strsignal(WTERMSIG(status)));
    else
        fprintf(stderr, "%s %s: failed with status %d\n", program, measure, WEXITSTATUS(status));
    return false;
}

/* The series of a figure that program `who` prints: 0 libray, 1 the limit, from 2 the peers. */
static struct series *series_of(struct group *group, size_t i, size_t who, const char *name)
{
    const struct figure *f = &group->figures[i];
    struct collected *c = &group->collected[i];
    if (who == 1)
        return f->limit_series && strcmp(f->limit_series, name) == 0 ? &c->limit : NULL;
    if (strcmp(f->name, name) != 0)
        return NULL;
    return who == 0 ? &c->value : &c->peers[who - 2];
}

static void sample(struct group *group, size_t who, const char *program, const char *measure, bool keep)
{
    FILE *out;
    if (!program || !measure || group->broken[who])
        return;
    pid_t pid = job_start(program, measure, keep ? options.seconds : 0.001, &out);
    char name[64];
    double value;
    while (fscanf(out, "%63s %lf", name, &value) == 2) {
        for (size_t i = 0; keep && i < group->count; i++) {
            struct series *series = series_of(group, i, who, name);
            if (series && series->count < MAX_SAMPLES)
                series->samples[series->count++] = value;
        }
    }
    fclose(out);
    group->broken[who] = !job_succeeded(pid, program, measure);
}

static double median(struct series *series)
{
    return series->count ? bench_percentile(series->samples, series->count, 50) : NAN;
}

/* NULL: this run does without it, or the peer is not installed. */
static const char *peer_program(const struct peer_figure *peer)
{
    char path[4096];
    bool always = peer->program && strcmp(peer->program, "bench_machine") == 0;
    if (!peer->program || !(always || options.peers))
        return NULL;
    find_program(peer->program, path);
    return access(path, X_OK) == 0 ? peer->program : NULL;
}

static void measure_group(struct group *group, struct medians *medians)
{
    const struct figure *f = group->figures;
    const char *program = f->program ? f->program : "bench_ray";
    for (int turn = f->once; turn <= (f->once ? 1 : options.repetitions); turn++) { /* turn 0 warms caches up */
        sample(group, 0, program, f->measure, turn > 0);
        sample(group, 1, "bench_machine", f->limit_measure, turn > 0);
        for (size_t p = 0; p < MAX_PEERS; p++)
            sample(group, 2 + p, peer_program(&f->peers[p]), f->measure, turn > 0);
    }
    for (size_t i = 0; i < group->count; i++) {
        medians[i].value = median(&group->collected[i].value);
        medians[i].limit = median(&group->collected[i].limit);
        for (size_t p = 0; p < MAX_PEERS; p++)
            medians[i].peers[p] = median(&group->collected[i].peers[p]);
    }
}

static bool wanted(const struct figure *figure)
{
    return !options.only || strcmp(options.only, figure->name) == 0 || strcmp(options.only, figure->measure) == 0;
}

/* Measures the figures from *f on and reports those wanted; *first: is this the first entry of the JSON? */
static void report_group(const struct figure *f, size_t count, FILE *json, bool *first)
{
    static struct group empty;
    struct group group = empty;
    struct medians medians[MAX_GROUP];
    size_t num_wanted = 0;
    for (size_t i = 0; i < count; i++)
        num_wanted += wanted(&f[i]);
    if (num_wanted == 0)
        return;
    group.figures = f;
    group.count = count;
    measure_group(&group, medians);
    for (size_t i = 0; i < count; i++) {
        if (!wanted(&f[i]))
            continue;
        report_line(stdout, &f[i], &medians[i]);
        if (json)
            report_json(json, &f[i], &medians[i], *first);
        *first = false;
    }
}

static void report(FILE *json)
{
    bool none = true;
    for (size_t i = 0, count; i < num_figures; i += count) {
        for (count = 1; i + count < num_figures && strcmp(figures[i].measure, figures[i + count].measure) == 0; count++)
            continue;
        if (count > MAX_GROUP)
            bench_fail("%s: too many figures of one measure", figures[i].measure);
        report_group(&figures[i], count, json, &none);
    }
    if (none)
        bench_fail("%s: there is no such figure", options.only);
}

static void say_where(void)
{
    cpu_set_t set;
    printf("%d repetitions of %g s, on CPUs", options.repetitions, options.seconds);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (int i = 0; i < CPU_SETSIZE; i++) {
            if (CPU_ISSET(i, &set))
                printf(" %d", i);
        }
    }
    printf("; ");
    report_head(stdout);
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char **text = strcmp(argv[i], "--json") == 0   ? &options.json
                            : strcmp(argv[i], "--only") == 0 ? &options.only
                                                             : NULL;
        if (text && i + 1 < argc)
            *text = argv[++i];
        else if (strcmp(argv[i], "--peers") == 0)
            options.peers = true;
        else if (strcmp(argv[i], "--quick") == 0)
            options.quick = true;
        else
            bench_fail("usage: bench [--peers] [--json FILE] [--quick] [--only NAME]");
    }
    if (options.quick) {
        options.repetitions = 5;
        options.seconds = 0.03;
    }
}

int main(int argc, char **argv)
{
    FILE *json = NULL;
    parse(argc, argv);
    if (options.json && !(json = fopen(options.json, "w")))
        bench_fail("%s: %s", options.json, strerror(errno));
    say_where();
    if (json)
        report_json_begin(json);
    report(json);
    if (json) {
        report_json_end(json);
        if (fclose(json) != 0)
            bench_fail("%s: %s", options.json, strerror(errno));
    }
    return failed;
}
