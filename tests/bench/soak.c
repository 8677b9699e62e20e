/* Mixed work on three nodes for as long as one likes: every result is checked, a worker is killed now and then, and
   what the processes hold is watched. `bench_ray soak MINUTES`; soak.sh says what it is for. */
#include "cluster.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TASKS = 200,
    CALLS = 50,
    ITEMS = 20,
    OBJECTS = 4,
    OBJECT = 1 << 20,
    KILL_EVERY_S = 25,
    MINUTES_MOST = 7 * 24 * 60,
    WATCHED = 4, /* the driver, the head, the worker that lives, and the one that does not */
    WAIT_MS = 60000
};

static size_t checked, wrong, excused;
static double killed_at; /* the worker, the last time */

/* ---- The work ---- */

/* A result that must be `want`. A stream, or an actor's call, may be lost with its node, with an error that says so. */
static void expect(ray_ref *ref, int64_t want, bool may_be_lost, const char *what)
{
    int64_t value = -1;
    int code = ref ? ray_get_timeout(ref, WAIT_MS, &value) : ray_last_error()->code;
    ray_release(ref);
    checked++;
    if (code == 0 && value == want)
        return;
    if (code != 0 && may_be_lost && bench_now() - killed_at < 10) {
        excused++;
        return;
    }
    wrong++;
    printf("%s: expected %lld, got %lld, %s: %s\n", what, (long long)want, (long long)value, ray_error_name(code),
           code ? ray_last_error()->message : "");
}

static void do_tasks(void)
{
    ray_ref *refs[TASKS];
    for (int64_t i = 0; i < TASKS; i++)
        refs[i] = ray_remote(twice, i);
    for (int64_t i = 0; i < TASKS; i++)
        expect(refs[i], 2 * i, false, "a task");
}

typedef struct soaked {
    int64_t calls;
} soaked;
static RAY_ACTOR(soaked, (int64_t, begin))
{
    self->calls = begin;
}
static RAY_METHOD(soaked, int64_t, thrice, (int64_t, x))
{
    self->calls++;
    return 3 * x;
}

static void do_calls(ray_actor *actor)
{
    ray_ref *refs[CALLS];
    for (int64_t i = 0; i < CALLS; i++)
        refs[i] = ray_call(actor, soaked_thrice, i);
    for (int64_t i = 0; i < CALLS; i++)
        expect(refs[i], 3 * i, true, "a call");
}

static RAY_REMOTE(ray_buffer *, fill, (int64_t, seed))
{
    ray_buffer *buffer = ray_create(OBJECT);
    if (buffer)
        memset(buffer->data, (int)(seed % 100), OBJECT);
    else
        ray_fail("%s", ray_last_error()->message);
    return buffer;
}
static RAY_REMOTE(int64_t, add_up, (ray_view, bytes))
{
    const unsigned char *all = bytes.data;
    int64_t sum = 0;
    for (size_t i = 0; i < bytes.size; i++)
        sum += all[i];
    return sum;
}

static void do_objects(int64_t round)
{
    ray_ref *sums[OBJECTS], *objects[OBJECTS];
    for (int64_t i = 0; i < OBJECTS; i++) {
        objects[i] = ray_remote(fill, round + i);
        sums[i] = ray_remote(add_up, objects[i]);
    }
    for (int64_t i = 0; i < OBJECTS; i++) {
        expect(sums[i], (round + i) % 100 * OBJECT, false, "an object");
        ray_release(objects[i]);
    }
}

static RAY_REMOTE(ray_stream(int64_t), soak_count, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&i) != 0)
            return;
}

static void do_stream(void)
{
    ray_ref *stream = ray_remote(soak_count, (int64_t)ITEMS);
    for (int64_t i = 0; i < ITEMS; i++)
        expect(ray_next(stream), i, true, "an item");
    ray_release(stream);
}

static void do_keys(int64_t round)
{
    char key[32];
    ray_view value = {0};
    snprintf(key, sizeof key, "soak-%d", (int)(round % 50));
    int code = ray_kv_put(key, &round, sizeof round, 0);
    if (code == 0)
        code = ray_kv_get(key, &value);
    checked++;
    if (code != 0 || value.size != sizeof round || memcmp(value.data, &round, sizeof round) != 0) {
        wrong++;
        printf("a key: %s: %s\n", ray_error_name(code), code ? ray_last_error()->message : "another value");
    }
    if (code == 0)
        ray_view_release(&value);
    (void)ray_kv_del(key);
}

static void replace_worker(void)
{
    kill_node(&nodes[--num_nodes]);
    killed_at = bench_now();
    start_node("worker", head_address(), "CPU=2");
}

/* ---- What processes hold ---- */

struct holding {
    double pss_mb;
    size_t descriptors;
};
static struct holding history[MINUTES_MOST][WATCHED];
static const char *const watched[WATCHED] = {"driver", "head", "worker", "young"};

static struct holding holding_of(pid_t pid)
{
    char path[64];
    struct holding holds = {.pss_mb = bench_pss_mb_of(pid)};
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    if (!folder)
        bench_fail("%s: unreadable", path);
    for (const struct dirent *entry; (entry = readdir(folder));)
        holds.descriptors += entry->d_name[0] != '.';
    closedir(folder);
    return holds;
}

static void note_minute(size_t minute)
{
    struct holding *now = history[minute];
    bench_nap(1); /* what was released is freed everywhere */
    now[0] = holding_of(getpid());
    for (int i = 1; i < WATCHED; i++)
        now[i] = holding_of(nodes[i - 1].pid);
    printf("minute %zu: %zu results, %zu wrong, %zu lost with their node;", minute + 1, checked, wrong, excused);
    for (int i = 0; i < WATCHED; i++)
        printf(" %s %.1f MB %zu fds%s", watched[i], now[i].pss_mb, now[i].descriptors, i + 1 < WATCHED ? "," : "\n");
    fflush(stdout);
}

static struct holding mean(size_t from, size_t to, int who)
{
    struct holding sum = {0};
    for (size_t i = from; i < to; i++) {
        sum.pss_mb += history[i][who].pss_mb / (double)(to - from);
        sum.descriptors += history[i][who].descriptors;
    }
    sum.descriptors /= to - from;
    return sum;
}

/* The last quarter against the second; fewer minutes than four tell nothing. The young worker never grows old. */
static size_t count_grown(size_t minutes)
{
    size_t grown = 0, quarter = minutes / 4;
    for (int i = 0; quarter > 0 && i < WATCHED - 1; i++) {
        struct holding then = mean(quarter, 2 * quarter, i), now = mean(minutes - quarter, minutes, i);
        if (now.pss_mb <= then.pss_mb * 1.1 + 2 && now.descriptors <= then.descriptors + 8)
            continue;
        grown++;
        printf("the %s has grown from %.1f MB and %zu descriptors to %.1f MB and %zu\n", watched[i], then.pss_mb,
               then.descriptors, now.pss_mb, now.descriptors);
    }
    return grown;
}

/* ---- The whole ---- */

static void work_until(double end, ray_actor *actor)
{
    static int64_t round;
    static double kill_at;
    if (kill_at == 0)
        kill_at = bench_now() + KILL_EVERY_S;
    for (; bench_now() < end; round++) {
        do_tasks();
        do_calls(actor);
        do_objects(round);
        do_stream();
        do_keys(round);
        if (bench_now() < kill_at)
            continue;
        kill_at += KILL_EVERY_S;
        replace_worker();
    }
}

int bench_soak(int argc, char **argv)
{
    size_t minutes = argc == 3 ? (size_t)atoi(argv[2]) : 0;
    if (minutes < 1 || minutes > MINUTES_MOST)
        bench_fail("usage: %s soak MINUTES, from 1 to %d", argv[0], MINUTES_MOST);
    setenv("RAY_CLUSTER_KEY", bench_key, 1);
    start_node("head", "127.0.0.1:0", "CPU=1");
    start_node("worker", head_address(), "CPU=2");
    start_node("worker", head_address(), "CPU=2");
    join_cluster();
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1, .max_task_retries = -1), soaked, 0);
    if (!actor)
        bench_fail("an actor: %s", ray_last_error()->message);
    double begin = bench_now();
    for (size_t i = 0; i < minutes; i++) {
        work_until(begin + 60 * (double)(i + 1), actor);
        note_minute(i);
    }
    ray_actor_release(actor);
    stop_cluster();
    return wrong > 0 || count_grown(minutes) > 0;
}
