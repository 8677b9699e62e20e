/* Everything at once in worker processes that are killed and stopped at random meanwhile: several threads submit tasks,
 * trees of them, large values, streams, calls of actors, cancel and forget. Each ref ends, with the right value or with
 * an error that such a fate explains, and when all is over nothing is left.
 *
 * RAY_STRESS_SEED repeats a run (as far as processes allow), RAY_STRESS_SECONDS makes it longer. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { NUM_DRIVERS = 3, NUM_KEPT = 24, STORE = 64 << 20, PATIENCE_MS = 30000 };

static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};
static const ray_task_options ever = {.size = sizeof ever, .max_retries = -1};

static int pick(unsigned *seed, int below)
{
    return rand_r(seed) / 7 % below;
}

/* ---- what runs ---- */

/* So that some are killed in the middle of it. */
static void be_busy(int64_t us)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t end = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + us;
    while ((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 < end)
        clock_gettime(CLOCK_MONOTONIC, &now);
}

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    be_busy(x % 5 == 0 ? 500 : 0);
    return 2 * x;
}
static RAY_REMOTE(int64_t, tree, (int64_t, depth), (int64_t, x))
{
    ray_ref *children[3];
    int64_t sum = x, y = 0;
    int r = 0;
    for (int i = 0; depth > 0 && i < 3; i++)
        children[i] = ray_remote_opts(&ever, tree, depth - 1, x + i);
    for (int i = 0; depth > 0 && i < 3; i++) {
        int s = ray_get(children[i], &y);
        r = r ? r : s;
        sum += y;
        ray_release(children[i]);
    }
    return r ? ray_fail_with(r, "a child ended", NULL, 0) : sum;
}
static int64_t model_tree(int64_t depth, int64_t x)
{
    int64_t sum = x;
    for (int i = 0; depth > 0 && i < 3; i++)
        sum += model_tree(depth - 1, x + i);
    return sum;
}
static RAY_REMOTE(ray_buffer *, make, (uint64_t, size), (uint64_t, seed))
{
    ray_buffer *buffer = ray_create((size_t)size);
    for (size_t i = 0; buffer && i < buffer->size; i++)
        ((unsigned char *)buffer->data)[i] = (unsigned char)(seed + i);
    return buffer;
}
static RAY_REMOTE(int64_t, weigh, (ray_view, bytes), (uint64_t, seed))
{
    for (size_t i = 0; i < bytes.size; i++)
        if (((const unsigned char *)bytes.data)[i] != (unsigned char)(seed + i))
            return -1;
    return (int64_t)bytes.size;
}
static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&i) != 0)
            return;
}
static RAY_REMOTE(int64_t, linger, (int64_t, ms))
{
    int64_t end = check_now_ms() + ms;
    while (!ray_cancelled() && check_now_ms() < end)
        check_sleep_ms(1);
    return ms;
}
typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell)
{
    self->n = 0;
}
static RAY_METHOD(cell, int64_t, add, (int64_t, n))
{
    be_busy(500);
    return self->n += n;
}

/* ---- one driver ---- */

typedef struct driver {
    unsigned seed;
    int64_t end_ms;
    bool with_killer;
    ray_actor *actor;
    ray_ref *kept[NUM_KEPT]; /* made by make, of 1,000 bytes and up */
    uint64_t kept_size[NUM_KEPT];
    long num_ok, num_ended;
} driver;

/* What a run with a killer must have seen before it ends. */
enum { KILLS_LEAST = 20, CRASHED_LEAST = 3, KILLS_KEPT = 4096 };
static atomic_bool killer_ends;
static atomic_long num_kills, num_crashed; /* num_crashed: of tasks without retries, by the killer */
static atomic_int killed[KILLS_KEPT];      /* pids, the last ones */

/* Takes the code of what has just been got. A forced cancel may end others' processes as well: the killer's victims
 * are told apart. */
static void count_crash(int r)
{
    for (long i = 0; r == RAY_ERR_WORKER_CRASHED && i < atomic_load(&num_kills) && i < KILLS_KEPT; i++)
        if (atomic_load(&killed[i]) == ray_last_error()->pid) {
            atomic_fetch_add(&num_crashed, 1);
            return;
        }
}

static bool goes_on(const driver *d)
{
    return check_now_ms() < d->end_ms ||
           (d->with_killer && (atomic_load(&num_kills) < KILLS_LEAST || atomic_load(&num_crashed) < CRASHED_LEAST));
}

/* Takes the ref. The codes that may come besides a value: 0 ends the list. */
static void expect(driver *d, ray_ref *ref, int64_t want, int may, int or_may)
{
    int64_t y = want;
    int r = ray_get_timeout(ref, PATIENCE_MS * check_slowness(), &y);
    if (r != 0 && r != may && r != or_may)
        CHECK_OK(r);
    CHECK_INT(y, want);
    d->num_ok += r == 0;
    d->num_ended += r != 0;
    count_crash(r);
    ray_release(ref);
}

static void many_small_ones(driver *d)
{
    ray_ref *refs[50];
    bool repeat = pick(&d->seed, 2);
    int count = 1 + pick(&d->seed, 50);
    for (int i = 0; i < count; i++)
        refs[i] = ray_remote_opts(repeat ? &ever : &once, twice, i);
    for (int i = 0; i < count; i++)
        if (pick(&d->seed, 10) == 0)
            ray_release(refs[i]);
        else
            expect(d, refs[i], 2 * i, repeat ? 0 : RAY_ERR_WORKER_CRASHED, 0);
}

static void granted_ones(driver *d)
{
    const ray_task_options options = {.size = sizeof options, .resources = "CPU=0.5, disk=1", .max_retries = -1};
    ray_ref *refs[4];
    for (int i = 0; i < 4; i++)
        refs[i] = ray_remote_opts(&options, twice, i);
    for (int i = 0; i < 4; i++)
        expect(d, refs[i], 2 * i, 0, 0);
}

static void trees(driver *d)
{
    int64_t x = pick(&d->seed, 100);
    expect(d, ray_remote_opts(&ever, tree, 3, x), model_tree(3, x), 0, 0);
}

static void large_values(driver *d)
{
    int i = pick(&d->seed, NUM_KEPT);
    if (!d->kept[i]) {
        d->kept_size[i] = (uint64_t)1000 << pick(&d->seed, 11);
        d->kept[i] = ray_remote_opts(&ever, make, d->kept_size[i], (uint64_t)i);
    } else if (pick(&d->seed, 3) == 0) {
        ray_release(d->kept[i]);
        d->kept[i] = NULL;
    } else {
        expect(d, ray_remote_opts(&ever, weigh, d->kept[i], (uint64_t)i), (int64_t)d->kept_size[i], 0, 0);
    }
}

static void streams(driver *d)
{
    int64_t n = pick(&d->seed, 60), end = pick(&d->seed, 4) ? n : n / 2; /* some are not read to the end */
    ray_ref *stream = ray_remote_opts(&ever, count_to, n);
    for (int64_t i = 0; i < end; i++)
        expect(d, ray_next(stream), i, 0, 0);
    ray_release(stream);
}

static void calls(driver *d)
{
    ray_ref *refs[20];
    for (int i = 0; i < 20; i++)
        refs[i] = ray_call(d->actor, cell_add, 0);
    int64_t before = -1;
    for (int i = 0; i < 20; i++) {
        int64_t y = 0;
        int r = ray_get_timeout(refs[i], PATIENCE_MS * check_slowness(), &y);
        CHECK(r == 0 || r == RAY_ERR_ACTOR_UNAVAILABLE);
        CHECK(r != 0 || y == before || before < 0 || y == 0); /* as it was, or new */
        before = r == 0 ? y : before;
        d->num_ok += r == 0;
        d->num_ended += r != 0;
        ray_release(refs[i]);
    }
}

static void cancels(driver *d)
{
    ray_ref *refs[6];
    for (int i = 0; i < 6; i++)
        refs[i] = ray_remote_opts(&once, linger, pick(&d->seed, 30));
    for (int i = 0; i < 6; i++) {
        check_sleep_ms(pick(&d->seed, 3));
        if (pick(&d->seed, 2))
            CHECK_OK(ray_cancel(refs[i], pick(&d->seed, 2) ? RAY_CANCEL_FORCE : 0));
    }
    for (int i = 0; i < 6; i++) {
        int r = ray_get_timeout(refs[i], PATIENCE_MS * check_slowness(), NULL);
        CHECK(r == 0 || r == RAY_ERR_CANCELLED || r == RAY_ERR_WORKER_CRASHED);
        count_crash(r);
        ray_release(refs[i]);
    }
}

static void *drive(void *arg)
{
    static void (*const ways[])(driver *) = {many_small_ones, granted_ones, trees, large_values, large_values,
                                             large_values,    streams,      calls, cancels};
    driver *d = arg;
    d->actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1), cell);
    while (goes_on(d))
        ways[pick(&d->seed, sizeof ways / sizeof *ways)](d);
    for (int i = 0; i < NUM_KEPT; i++)
        ray_release(d->kept[i]);
    ray_actor_release(d->actor);
    return NULL;
}

/* ---- the killer ---- */

static void *kill_some(void *arg)
{
    unsigned *seed = arg;
    long num_stopped = 0;
    while (!atomic_load(&killer_ends)) {
        int64_t pids[256];
        check_sleep_ms(5 + pick(seed, 60) * check_slowness());
        size_t count = check_children(pids, 256);
        int64_t pid = count > 0 && count <= 256 ? pids[pick(seed, (int)count)] : 0;
        if (pid == 0 || check_is_gone(pid))
            continue;
        if (pick(seed, 4) > 0) {
            long number = atomic_load(&num_kills);
            atomic_store(&killed[number % KILLS_KEPT], (int)pid);
            atomic_store(&num_kills, number + 1);
            kill((pid_t)pid, SIGKILL);
        } else {
            num_stopped++;
            kill((pid_t)pid, SIGSTOP);
            check_sleep_ms(pick(seed, 20));
            kill((pid_t)pid, SIGCONT);
        }
    }
    printf("%ld killed, %ld stopped\n", atomic_load(&num_kills), num_stopped);
    return NULL;
}

/* ---- the run ---- */

static unsigned seed_of_this_run(void)
{
    const char *given = getenv("RAY_STRESS_SEED");
    return given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)time(NULL) * 2654435761u;
}

static void run(bool with_killer)
{
    static driver drivers[NUM_DRIVERS];
    pthread_t threads[NUM_DRIVERS], killer;
    const char *longer = getenv("RAY_STRESS_SECONDS");
    unsigned seed = seed_of_this_run(), killer_seed = seed + 99;
    ray_view view;
    printf("RAY_STRESS_SEED=%u\n", seed);
    fflush(stdout);
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=3, disk=2", .num_threads = 3, .store_bytes = STORE,
                               .isolation = RAY_ISOLATION_PROCESS)));
    int64_t end_ms = check_now_ms() + (longer ? atoll(longer) * 1000 : 3000);
    for (int i = 0; i < NUM_DRIVERS; i++) {
        drivers[i].seed = seed * 31 + (unsigned)i;
        drivers[i].end_ms = end_ms;
        drivers[i].with_killer = with_killer;
        CHECK(pthread_create(&threads[i], NULL, drive, &drivers[i]) == 0);
    }
    if (with_killer)
        CHECK(pthread_create(&killer, NULL, kill_some, &killer_seed) == 0);
    long num_ok = 0, num_ended = 0;
    for (int i = 0; i < NUM_DRIVERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        num_ok += drivers[i].num_ok;
        num_ended += drivers[i].num_ended;
    }
    atomic_store(&killer_ends, true);
    if (with_killer)
        CHECK(pthread_join(killer, NULL) == 0);
    printf("%ld done, %ld ended, %ld without retries crashed, %zu workers died\n", num_ok, num_ended,
           atomic_load(&num_crashed), check_count_log("worker.died", ""));
    CHECK(num_ok > 0 && (with_killer || num_ended == 0));
    CHECK(!with_killer || check_count_log("worker.died", "") > 0);
    int64_t patience = check_now_ms() + 10000 * check_slowness();
    for (bool is_empty = false; !is_empty; check_sleep_ms(10)) {
        CHECK(check_now_ms() < patience); /* objects are left that nobody holds */
        CHECK_OK(ray_state("objects", &view));
        is_empty = strstr(view.data, "\"store_objects\": 0,");
        ray_view_release(&view);
    }
    check_stop();
}

static void everything_at_once(void)
{
    run(false);
}
static void everything_while_processes_die(void)
{
    run(true);
}

CHECK_MAIN(CHECK_TEST_WITH(everything_at_once, CHECK_WARNINGS),
           CHECK_TEST_WITH(everything_while_processes_die, CHECK_WARNINGS))
