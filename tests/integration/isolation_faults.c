/* Worker processes that crash, exit, are killed, stopped or cancelled: nothing is lost, nothing is told twice, and
 * others go on. */
#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TASKS = 10000 };
typedef struct common {
    atomic_int started, ended, gate, runs, pid;
    atomic_uchar begun[TASKS], done[TASKS]; /* the ledger of a stress test */
} common;

static common *shared(void)
{
    return check_shared();
}

static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_store(&shared()->pid, getpid());
    atomic_fetch_add(&shared()->started, 1);
    CHECK_AWAIT(shared()->gate, (int)nth);
    return nth;
}
static RAY_REMOTE(int64_t, spin)
{
    atomic_store(&shared()->pid, getpid());
    atomic_fetch_add(&shared()->started, 1);
    for (;;)
        atomic_signal_fence(memory_order_seq_cst);
    return 0;
}
static RAY_REMOTE(int64_t, until_told_to_stop)
{
    atomic_store(&shared()->pid, getpid());
    atomic_fetch_add(&shared()->started, 1);
    int64_t end = check_now_ms() + 60000;
    while (!ray_cancelled())
        CHECK(check_now_ms() < end);
    atomic_fetch_add(&shared()->ended, 1);
    return 1;
}

/* ---- how it ended ---- */

static RAY_REMOTE(int64_t, crash, (int64_t, signal_number))
{
    fprintf(stderr, "one more line\nabout to be ended by %d\n", (int)signal_number);
    signal((int)signal_number, SIG_DFL);
    if (signal_number == SIGABRT)
        abort();
    kill(getpid(), (int)signal_number);
    for (;;)
        pause();
}
static RAY_REMOTE(int64_t, write_where_nothing_is)
{
    volatile char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    signal(SIGSEGV, SIG_DFL); /* the address sanitizer would catch it */
    return *page = 1;
}
static RAY_REMOTE(int64_t, leave, (int64_t, code), (bool, at_once))
{
    fprintf(stderr, "leaving with %d\n", (int)code);
    if (at_once)
        _exit((int)code);
    exit((int)code);
}

static void check_crash(ray_ref *ref, const char *function, int signal_number, const char *how, const char *last_line)
{
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_WORKER_CRASHED);
    const ray_error *error = ray_last_error();
    CHECK_STR(error->function, function);
    CHECK_HAS(error->message, function);
    CHECK_HAS(error->message, how);
    CHECK_STR(error->node_id, ray_context_get()->node_id);
    CHECK_INT(error->signal, signal_number);
    CHECK(error->pid > 0 && error->pid != getpid());
    CHECK(check_is_gone(error->pid));
    if (last_line)
        CHECK_HAS(error->output, last_line);
    ray_release(ref);
}

static void crashes_by_signal(void)
{
    check_start_workers(2);
    check_crash(ray_remote_opts(&once, crash, SIGSEGV), "crash", SIGSEGV, "SEGV", "about to be ended by 11");
    check_crash(ray_remote_opts(&once, crash, SIGABRT), "crash", SIGABRT, "ABRT", "about to be ended by 6");
    check_crash(ray_remote_opts(&once, crash, SIGKILL), "crash", SIGKILL, "KILL", "about to be ended by 9");
    check_crash(ray_remote_opts(&once, crash, SIGTERM), "crash", SIGTERM, "TERM", "about to be ended by 15");
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    check_expect_log("worker.died", "SEGV", 5000);
    check_expect_log("worker.died", "ABRT", 5000);
    check_expect_log("worker.died", "KILL", 5000);
    check_expect_log("worker.died", "TERM", 5000);
    check_stop();
}

static void a_wild_write(void)
{
    check_start_workers(2);
    check_crash(ray_remote_opts(&once, write_where_nothing_is), "write_where_nothing_is", SIGSEGV, "SEGV", NULL);
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    check_expect_log("worker.died", "SEGV", 5000);
    check_stop();
}

static void exits(void)
{
    check_start_workers(2);
    check_crash(ray_remote_opts(&once, leave, 3, true), "leave", 0, "code 3", "leaving with 3");
    check_crash(ray_remote_opts(&once, leave, 0, true), "leave", 0, "code 0", "leaving with 0");
    check_crash(ray_remote_opts(&once, leave, 4, false), "leave", 0, "code 4", "leaving with 4");
    CHECK_REF_INT(ray_remote(twice, 4), 8);
    check_expect_log("worker.died", "code 3", 5000);
    check_expect_log("worker.died", "code 0", 5000);
    check_expect_log("worker.died", "code 4", 5000);
    check_stop();
}

/* ---- retries ---- */

static RAY_REMOTE(int64_t, crash_times, (int64_t, times))
{
    uint32_t attempt = ray_context_get()->attempt;
    CHECK_INT(attempt, atomic_fetch_add(&shared()->runs, 1));
    if (attempt < times)
        kill(getpid(), SIGKILL);
    return attempt;
}

static void retry(const ray_task_options *options, int64_t times, int want_code, int want_runs)
{
    atomic_store(&shared()->runs, 0);
    ray_ref *ref = ray_remote_opts(options, crash_times, times);
    CHECK_CODE(ray_get_timeout(ref, 30000 * check_slowness(), NULL), want_code);
    CHECK_INT(atomic_load(&shared()->runs), want_runs);
    ray_release(ref);
}

static void retries_after_crashes(void)
{
    check_start_workers(2);
    retry(NULL, 1, 0, 2);
    retry(NULL, 3, 0, 4);
    retry(NULL, 4, RAY_ERR_WORKER_CRASHED, 4);
    retry(RAY_WITH(ray_task_options, .max_retries = 1), 1, 0, 2);
    retry(RAY_WITH(ray_task_options, .max_retries = 1), 2, RAY_ERR_WORKER_CRASHED, 2);
    retry(&once, 1, RAY_ERR_WORKER_CRASHED, 1);
    retry(RAY_WITH(ray_task_options, .max_retries = -1), 9, 0, 10);
    retry(RAY_WITH(ray_task_options, .max_retries = 2, .resources = "CPU=0.5"), 2, 0, 3); /* the scheduler's way */
    retry(RAY_WITH(ray_task_options, .max_retries = 2, .resources = "CPU=0.5"), 3, RAY_ERR_WORKER_CRASHED, 3);
    check_expect_logs("worker.died", "KILL", 1 + 3 + 4 + 1 + 2 + 1 + 9 + 2 + 3, 5000);
    check_stop();
}

static RAY_REMOTE(int64_t, waits_for_crashing_child, (int64_t, times))
{
    int64_t y = 0;
    ray_ref *ref = ray_remote(crash_times, times);
    if (ray_get(ref, &y) != 0)
        ray_fail("%s", ray_last_error()->message);
    ray_release(ref);
    return y;
}

static void a_child_that_crashes(void)
{
    check_start_workers(2);
    CHECK_REF_INT(ray_remote(waits_for_crashing_child, 2), 2);
    CHECK_INT(atomic_load(&shared()->runs), 3);
    atomic_store(&shared()->runs, 0);
    ray_ref *ref = ray_remote(waits_for_crashing_child, 9);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TASK_FAILED);
    CHECK_HAS(ray_last_error()->message, "crash_times");
    CHECK_INT(atomic_load(&shared()->runs), 4);
    ray_release(ref);
    check_expect_logs("worker.died", "KILL", 2 + 4, 5000);
    check_stop();
}

/* What stands in the same process's queue is run elsewhere, though it may not be repeated. */
static void those_in_the_queue_behind_it(void)
{
    enum { COUNT = 600 };
    ray_ref *refs[COUNT];
    check_start_workers(2);
    for (int i = 0; i < COUNT; i++)
        refs[i] = i % 100 == 50 ? ray_remote_opts(&once, crash, SIGKILL) : ray_remote_opts(&once, twice, i);
    for (int i = 0; i < COUNT; i++)
        if (i % 100 == 50)
            CHECK_REF(refs[i], RAY_ERR_WORKER_CRASHED);
        else
            CHECK_REF_INT(refs[i], 2 * i);
    check_expect_logs("worker.died", "KILL", 6, 5000);
    check_stop();
}

/* ---- a killer at work ---- */

static atomic_bool killer_ends;
static atomic_int kills;

/* Three kills at most while nothing gets done: else, where a start takes long, no process would ever be ready. */
static void *kill_at_random(void *arg)
{
    unsigned seed = 4711;
    int num_done = 0, in_vain = 0;
    while (!atomic_load(&killer_ends)) {
        int64_t pids[64];
        check_sleep_ms(2 + rand_r(&seed) % 20);
        int done = atomic_load(&shared()->ended);
        if (done != num_done)
            in_vain = 0;
        num_done = done;
        size_t count = in_vain < 3 ? check_children(pids, 64) : 0;
        if (count > 0 && count <= 64) {
            int64_t pid = pids[(size_t)rand_r(&seed) % count];
            if (check_is_gone(pid) || kill((pid_t)pid, SIGKILL) != 0) /* a zombie's number is nobody else's */
                continue;
            in_vain++;
            atomic_fetch_add(&kills, 1);
        }
    }
    return arg;
}

static RAY_REMOTE(int64_t, note_run, (int64_t, i))
{
    atomic_fetch_add(&shared()->begun[i], 1);
    int64_t end = check_now_ms() + (i % 64 == 0);
    while (check_now_ms() < end)
        continue;
    atomic_fetch_add(&shared()->done[i], 1);
    atomic_fetch_add(&shared()->ended, 1);
    return i;
}

static void kill_while_tasks_run(bool repeat)
{
    pthread_t killer;
    int64_t num_ok = 0, num_crashed = 0;
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    CHECK(pthread_create(&killer, NULL, kill_at_random, NULL) == 0);
    for (intptr_t i = 0; i < TASKS; i++) {
        ray_ref *ref = ray_remote_opts(repeat ? RAY_WITH(ray_task_options, .max_retries = -1) : &once, note_run, i);
        CHECK_OK(ray_waitset_add(set, ref, (void *)i));
        ray_release(ref);
    }
    static unsigned char told[TASKS];
    for (int n = 0; n < TASKS; n++) {
        void *tag;
        int64_t y = -1;
        ray_ref *ref = ray_waitset_next(set, 30000, &tag);
        CHECK(ref);
        int r = ray_get(ref, &y);
        intptr_t i = (intptr_t)tag;
        CHECK_INT(told[i]++, 0);
        if (r == 0) {
            num_ok++;
            CHECK_INT(y, i);
            CHECK(atomic_load(&shared()->done[i]) >= 1);
        } else {
            num_crashed++;
            CHECK_INT(r, RAY_ERR_WORKER_CRASHED);
            CHECK(!repeat);
        }
        if (!repeat)
            CHECK(atomic_load(&shared()->begun[i]) <= 1);
        ray_release(ref);
    }
    for (int64_t end = check_now_ms() + 30000 * check_slowness(); atomic_load(&kills) == 0;) { /* it had no turn yet */
        CHECK(check_now_ms() < end);
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = -1), twice, 1), 2);
    }
    atomic_store(&killer_ends, true);
    CHECK(pthread_join(killer, NULL) == 0);
    CHECK(!ray_waitset_next(set, 0, NULL) && ray_last_error()->code == RAY_ERR_NOT_FOUND);
    ray_waitset_free(set);
    fprintf(stderr, "%d tasks, %d kills: %lld done, %lld crashed\n", TASKS, atomic_load(&kills), (long long)num_ok,
            (long long)num_crashed);
}

static void killed_at_random_and_repeated(void)
{
    check_start_workers(2);
    kill_while_tasks_run(true);
    check_stop();
}

static void killed_at_random_and_not_repeated(void)
{
    check_start_workers(2);
    kill_while_tasks_run(false);
    check_stop();
}

/* ---- cancel ---- */

static void forced_cancel(void)
{
    int64_t fastest = INT64_MAX;
    check_start_workers(2);
    for (int i = 1; i <= 5; i++) {
        ray_ref *ref = ray_remote(spin);
        CHECK_AWAIT(shared()->started, i);
        int64_t begin = check_now_ms();
        CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE));
        CHECK_REF(ref, RAY_ERR_CANCELLED);
        check_await_gone(atomic_load(&shared()->pid), 30000 * check_slowness());
        int64_t took = check_now_ms() - begin;
        fastest = took < fastest ? took : fastest;
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
    }
    /* It waits for nothing; a busy machine may hold some of them up. */
    CHECK(fastest < 300 * check_slowness());
    CHECK_INT(atomic_load(&shared()->started), 5); /* never retried */
    ray_ref *done = ray_remote(twice, 1);
    CHECK_OK(ray_get(done, NULL));
    CHECK_OK(ray_cancel(done, RAY_CANCEL_FORCE)); /* nothing happens */
    CHECK_REF_INT(done, 2);
    check_stop();
}

static void polite_cancel(void)
{
    check_start_workers(2);
    ray_ref *ref = ray_remote(until_told_to_stop);
    CHECK_AWAIT(shared()->started, 1);
    int64_t pid = atomic_load(&shared()->pid);
    CHECK_OK(ray_cancel(ref, 0));
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    CHECK_AWAIT(shared()->ended, 1);
    CHECK(!check_is_gone(pid)); /* it was asked, not killed */
    ref = ray_remote(spin);
    CHECK_AWAIT(shared()->started, 2);
    CHECK_OK(ray_cancel(ref, 0)); /* in vain */
    CHECK_CODE(ray_get_timeout(ref, 100, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE));
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    check_stop();
}

/* Those that have not started never do, in whatever queue they stand. */
static void cancel_before_the_start(void)
{
    check_start_workers(1);
    ray_ref *first = ray_remote(pass_gate, 1), *behind[20];
    CHECK_AWAIT(shared()->started, 1);
    for (int i = 0; i < 20; i++)
        behind[i] = ray_remote(pass_gate, 1);
    check_sleep_ms(50);
    for (int i = 0; i < 20; i++)
        CHECK_OK(ray_cancel(behind[i], i % 2 ? RAY_CANCEL_FORCE : 0));
    for (int i = 0; i < 20; i++)
        CHECK_REF(behind[i], RAY_ERR_CANCELLED);
    CHECK_INT(atomic_load(&shared()->started), 1);
    atomic_store(&shared()->gate, 1);
    CHECK_REF_INT(first, 1);
    check_stop();
}

static RAY_REMOTE(int64_t, has_children, (int64_t, count))
{
    ray_ref *refs[16];
    for (int64_t i = 0; i < count; i++)
        refs[i] = ray_remote(until_told_to_stop);
    CHECK_AWAIT(shared()->started, (int)count);
    atomic_fetch_add(&shared()->started, 100);
    while (!ray_cancelled())
        check_sleep_ms(1);
    for (int64_t i = 0; i < count; i++)
        ray_release(refs[i]);
    return 1;
}

static void cancel_of_children(void)
{
    check_start_workers(4);
    ray_ref *ref = ray_remote(has_children, 3);
    CHECK_AWAIT(shared()->started, 103);
    CHECK_OK(ray_cancel(ref, 0));
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    CHECK_AWAIT(shared()->ended, 3);
    check_stop();
}

static RAY_REMOTE(int64_t, has_a_child_and_spins)
{
    ray_ref *ref = ray_remote(until_told_to_stop);
    CHECK_AWAIT(shared()->started, 1);
    ray_release(ref);
    return spin();
}

static void forced_cancel_of_a_parent(void)
{
    check_start_workers(4);
    ray_ref *ref = ray_remote(has_a_child_and_spins);
    CHECK_AWAIT(shared()->started, 2);
    CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE));
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    CHECK_AWAIT(shared()->ended, 1); /* the child heard of it */
    check_stop();
}

static RAY_REMOTE(int64_t, waits_for_spinning_child)
{
    int64_t y = 0;
    ray_ref *ref = ray_remote(until_told_to_stop);
    int r = ray_get(ref, &y);
    ray_release(ref);
    return r;
}

static void cancel_of_a_parent_that_waits(void)
{
    check_start_workers(4);
    ray_ref *ref = ray_remote(waits_for_spinning_child);
    CHECK_AWAIT(shared()->started, 1);
    CHECK_OK(ray_cancel(ref, 0)); /* the child ends, and so the wait for it */
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    CHECK_AWAIT(shared()->ended, 1);
    check_stop();
}

/* ---- deadlines ---- */

/* It is asked to end, and what it returns counts. On a busy machine it may not even have begun by its deadline: then it
 * gets more time. */
static void run_past_a_deadline(void)
{
    int64_t y = 0, ms = 100;
    int r = RAY_ERR_DEADLINE;
    for (; r == RAY_ERR_DEADLINE && atomic_load(&shared()->started) == 0 && ms < 20000; ms *= 2) {
        ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = ms), until_told_to_stop);
        r = ray_get_timeout(ref, ms + 30000 * check_slowness(), &y);
        ray_release(ref);
    }
    CHECK_OK(r);
    CHECK_INT(y, 1);
}

static void deadlines(void)
{
    check_start_workers(1);
    CHECK_REF_INT(ray_remote(twice, 1), 2); /* there is a process now */
    run_past_a_deadline();
    CHECK_INT(atomic_load(&shared()->ended), 1);
    ray_ref *first = ray_remote(pass_gate, 1);
    CHECK_AWAIT(shared()->started, 2);
    ray_ref *late = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 50), twice, 1);
    CHECK_CODE(ray_get_timeout(late, 20000, NULL), RAY_ERR_DEADLINE); /* while the CPU is still taken */
    ray_release(late);
    ray_ref *in_time = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 60000), twice, 2);
    atomic_store(&shared()->gate, 1);
    CHECK_REF_INT(first, 1);
    CHECK_REF_INT(in_time, 4);
    check_stop();
}

/* ---- stopped ---- */

static int64_t stop_the_worker(int started)
{
    CHECK_AWAIT(shared()->started, started);
    int64_t pid = atomic_load(&shared()->pid);
    CHECK(kill((pid_t)pid, SIGSTOP) == 0);
    return pid;
}

static void stopped_and_cancelled(void)
{
    check_start_workers(2);
    ray_ref *ref = ray_remote(until_told_to_stop);
    int64_t pid = stop_the_worker(1);
    for (int i = 0; i < 200; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i); /* others go on */
    CHECK_OK(ray_cancel(ref, 0));
    CHECK_CODE(ray_get_timeout(ref, 30000 * check_slowness(), NULL), RAY_ERR_CANCELLED);
    ray_release(ref);
    check_await_gone(pid, 30000 * check_slowness());
    ref = ray_remote(until_told_to_stop);
    pid = stop_the_worker(2);
    CHECK_OK(ray_cancel(ref, RAY_CANCEL_FORCE));
    CHECK_CODE(ray_get_timeout(ref, 30000 * check_slowness(), NULL), RAY_ERR_CANCELLED);
    ray_release(ref);
    check_await_gone(pid, 30000 * check_slowness());
    check_stop();
}

static void stopped_until_its_deadline(void)
{
    check_start_workers(2);
    CHECK_REF_INT(ray_remote(twice, 1), 2); /* there is a process now */
    /* Time enough for the task to begin, and for its process to be stopped, on a busy machine, too. */
    int64_t deadline_ms = 3000 * check_slowness();
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = deadline_ms), until_told_to_stop);
    int64_t pid = stop_the_worker(1);
    for (int i = 0; i < 200; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
    CHECK_CODE(ray_get_timeout(ref, deadline_ms + 20000 * check_slowness(), NULL), RAY_ERR_DEADLINE);
    ray_release(ref);
    check_await_gone(pid, 30000 * check_slowness());
    CHECK_INT(atomic_load(&shared()->started), 1);
    check_stop();
}

static void stopped_and_continued(void)
{
    check_start_workers(2);
    ray_ref *ref = ray_remote(pass_gate, 1), *behind[50];
    int64_t pid = stop_the_worker(1);
    for (int i = 0; i < 50; i++)
        behind[i] = ray_remote(twice, i);
    for (int i = 0; i < 50; i++)
        CHECK_REF_INT(behind[i], 2 * i); /* none of them stays behind it */
    atomic_store(&shared()->gate, 1);
    CHECK_CODE(ray_get_timeout(ref, 50, NULL), RAY_ERR_TIMEOUT);
    CHECK(kill((pid_t)pid, SIGCONT) == 0);
    CHECK_REF_INT(ref, 1);
    check_stop();
}

/* It has nothing to do, and gets something: that waits, or goes elsewhere, and can be cancelled. */
static void stopped_at_shutdown(void)
{
    check_start_workers(2);
    ray_ref *ref = ray_remote(pass_gate, 0);
    CHECK_OK(ray_get(ref, NULL));
    ray_release(ref);
    int64_t pid = stop_the_worker(1);
    int64_t begin = check_now_ms();
    check_stop();
    CHECK(check_now_ms() - begin < 10000 * check_slowness());
    CHECK(check_is_gone(pid));
}

CHECK_MAIN(CHECK_TEST(crashes_by_signal), CHECK_TEST(a_wild_write), CHECK_TEST(exits),
           CHECK_TEST(retries_after_crashes), CHECK_TEST(a_child_that_crashes),
           CHECK_TEST(those_in_the_queue_behind_it), CHECK_TEST_WITH(killed_at_random_and_repeated, CHECK_WARNINGS),
           CHECK_TEST_WITH(killed_at_random_and_not_repeated, CHECK_WARNINGS), CHECK_TEST(forced_cancel),
           CHECK_TEST(polite_cancel), CHECK_TEST(cancel_before_the_start), CHECK_TEST(cancel_of_children),
           CHECK_TEST(forced_cancel_of_a_parent), CHECK_TEST(cancel_of_a_parent_that_waits), CHECK_TEST(deadlines),
           CHECK_TEST(stopped_and_cancelled), CHECK_TEST(stopped_until_its_deadline), CHECK_TEST(stopped_and_continued),
           CHECK_TEST(stopped_at_shutdown))
