/* Worker processes where there can be no more of them, or none that starts, goes on or finds room: nothing hangs
 * without an end or a word, and the cap holds. */
#include "check.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

typedef struct common {
    atomic_int gate, waits, got;
} common;

static common *shared(void)
{
    return check_shared();
}

static void start_with(uint32_t max_workers, const char *command)
{
    CHECK_OK(
        ray_init(RAY_WITH(ray_config, .resources = "CPU=4, memory=4GiB", .num_threads = 2,
                          .isolation = RAY_ISOLATION_PROCESS, .max_workers = max_workers, .worker_command = command)));
}

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, own_pid)
{
    return getpid();
}
static RAY_REMOTE(int64_t, pass_gate)
{
    atomic_fetch_add(&shared()->waits, 1);
    CHECK_AWAIT(shared()->gate, 1);
    return 1;
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell, (int64_t, n))
{
    self->n = n;
}
static RAY_METHOD(cell, int64_t, add, (int64_t, n))
{
    return self->n += n;
}

/* What a task makes of the end of one that it waits for: its code, or what it returned. */
static int64_t outcome_of(ray_ref *ref)
{
    int64_t y = 0;
    int r = ray_get(ref, &y);
    if (r == RAY_ERR_LIMIT || r == RAY_ERR_ACTOR_DIED)
        CHECK_HAS(ray_last_error()->message, "max_workers");
    ray_release(ref);
    return r ? r : y;
}

/* ---- waits that only another process could end ---- */

static RAY_REMOTE(int64_t, use_an_actor)
{
    ray_actor *actor = ray_actor_new(cell, 1);
    int64_t outcome = outcome_of(ray_call(actor, cell_add, 1));
    ray_actor_release(actor);
    return outcome;
}
static RAY_REMOTE(int64_t, await_an_actor)
{
    ray_actor *actor = ray_actor_new(cell, 1);
    int64_t outcome = outcome_of(ray_actor_ready(actor));
    ray_actor_release(actor);
    return outcome;
}
static RAY_REMOTE(int64_t, ask_another_environment)
{
    static const char *const env[] = {"FLAVOUR=sweet", NULL};
    return outcome_of(ray_remote_opts(RAY_WITH(ray_task_options, .env = env), twice, 4));
}
static RAY_REMOTE(int64_t, ask_by_an_argument)
{
    static const char *const env[] = {"FLAVOUR=sweet", NULL};
    ray_ref *inner = ray_remote_opts(RAY_WITH(ray_task_options, .env = env), twice, 4);
    int64_t outcome = outcome_of(ray_remote(twice, inner));
    ray_release(inner);
    return outcome;
}
static RAY_REMOTE(int64_t, ask_below)
{
    return outcome_of(ray_remote(ask_another_environment));
}
static RAY_REMOTE(int64_t, ask_with_a_limit)
{
    static char *volatile block;
    block = malloc(200 * MIB);
    memset(block, 1, 200 * MIB);
    int64_t outcome =
        outcome_of(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=1, memory=64MiB"), twice, 4));
    free(block);
    return outcome;
}

static void a_wait_for_one_more_fails(void)
{
    start_with(1, NULL);
    CHECK_REF_INT(ray_remote(ask_another_environment), RAY_ERR_LIMIT);
    CHECK_REF_INT(ray_remote(ask_by_an_argument), RAY_ERR_LIMIT);
    CHECK_REF_INT(ray_remote(ask_below), RAY_ERR_LIMIT);
    CHECK_REF_INT(ray_remote(ask_with_a_limit), RAY_ERR_LIMIT);
    CHECK_REF_INT(ray_remote(use_an_actor), RAY_ERR_ACTOR_DIED);
    CHECK_REF_INT(ray_remote(await_an_actor), RAY_ERR_ACTOR_DIED);
    CHECK_REF_INT(ray_remote(twice, 2), 4);
    check_stop();
}

static void with_one_more_it_does_not(void)
{
    start_with(2, NULL);
    CHECK_REF_INT(ray_remote(ask_another_environment), 8);
    CHECK_REF_INT(ray_remote(ask_by_an_argument), 16);
    CHECK_REF_INT(ray_remote(ask_below), 8);
    CHECK_REF_INT(ray_remote(ask_with_a_limit), 8);
    CHECK_REF_INT(ray_remote(use_an_actor), 2);
    CHECK(check_children(NULL, 0) <= 2);
    check_stop();
}

static RAY_REMOTE(int64_t, await_both, (int64_t, value))
{
    static const char *const env[] = {"FLAVOUR=sweet", NULL};
    ray_ref *sweet = ray_remote_opts(RAY_WITH(ray_task_options, .env = env), twice, 4);
    atomic_fetch_add(&shared()->waits, 1);
    int64_t y = value;
    CHECK_OK(ray_get(sweet, &y));
    ray_release(sweet);
    return y;
}

/* One of two waits for what needs a process of another environment, the other for something else: it ends some time. */
static void a_wait_that_another_can_end(void)
{
    start_with(2, NULL);
    ray_ref *gate = ray_remote(pass_gate), *both = ray_remote(await_both, 1);
    CHECK_AWAIT(shared()->waits, 2);
    check_sleep_ms(600);
    CHECK_CODE(ray_get_timeout(both, 0, NULL), RAY_ERR_TIMEOUT);
    CHECK(check_children(NULL, 0) <= 2);
    atomic_store(&shared()->gate, 1);
    CHECK_REF_INT(gate, 1);
    CHECK_REF_INT(both, 8);
    check_stop();
}

/* ---- waiting for several things, or for a while ---- */

static RAY_REMOTE(int64_t, wait_for_three)
{
    ray_ref *refs[3];
    int64_t sum = 0, y;
    for (int i = 0; i < 3; i++)
        refs[i] = ray_remote(twice, i);
    CHECK_INT(ray_wait(refs, 3, 3, RAY_FOREVER, NULL), 3);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(ray_get(refs[i], &y));
        sum += y;
        ray_release(refs[i]);
    }
    return sum;
}
static RAY_REMOTE(int64_t, use_a_waitset)
{
    ray_waitset *set = ray_waitset_new();
    int64_t sum = 0, y;
    for (int i = 0; i < 3; i++) {
        ray_ref *ref = ray_remote(twice, i);
        CHECK_OK(ray_waitset_add(set, ref, NULL));
        ray_release(ref);
    }
    for (int i = 0; i < 3; i++) {
        ray_ref *ref = ray_waitset_next(set, RAY_FOREVER, NULL);
        CHECK_OK(ray_get(ref, &y));
        sum += y;
        ray_release(ref);
    }
    ray_waitset_free(set);
    return sum;
}
static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&i) != 0)
            return;
}
static RAY_REMOTE(int64_t, read_a_stream)
{
    ray_ref *stream = ray_remote(count_to, 100);
    int64_t outcome = outcome_of(ray_next(stream));
    ray_release(stream);
    return outcome;
}
static RAY_REMOTE(int64_t, ask_another_thread)
{
    return outcome_of(ray_remote_opts(RAY_WITH(ray_task_options, .own_thread = true), twice, 4));
}

static void waits_for_several(void)
{
    start_with(1, NULL);
    CHECK_REF_INT(ray_remote(wait_for_three), 6);
    CHECK_REF_INT(ray_remote(use_a_waitset), 6);
    CHECK_REF_INT(ray_remote(read_a_stream), RAY_ERR_LIMIT); /* its reader may be below it on the same stack */
    CHECK_REF_INT(ray_remote(ask_another_thread), RAY_ERR_LIMIT);
    check_stop();
    start_with(2, NULL);
    CHECK_REF_INT(ray_remote(read_a_stream), 0);
    CHECK_REF_INT(ray_remote(ask_another_thread), 8);
    ray_ref *refs[50];
    for (int i = 0; i < 50; i++)
        refs[i] = ray_remote(wait_for_three);
    for (int i = 0; i < 50; i++)
        CHECK_REF_INT(refs[i], 6);
    check_stop();
}

static RAY_REMOTE(int64_t, doze, (int64_t, ms))
{
    check_sleep_ms(ms);
    return ms;
}
static RAY_REMOTE(int64_t, wait_a_while)
{
    int64_t begun = check_now_ms();
    ray_ref *ref = ray_remote(doze, 30000);
    int r = ray_get_timeout(ref, 200, NULL);
    ray_release(ref);
    return r == RAY_ERR_TIMEOUT ? check_now_ms() - begun : -1;
}

/* What a thread waits for with a deadline does not run on top of it. */
static void a_deadline_is_kept(void)
{
    int64_t took = 0;
    start_with(1, NULL);
    ray_ref *ref = ray_remote(wait_a_while);
    CHECK_OK(ray_get_timeout(ref, 60000, &took));
    CHECK(took >= 200 && took < 15000);
    ray_release(ref);
    check_stop();
}

/* ---- turns ---- */

static void each_environment_gets_its_turn(void)
{
    static const char *const env[] = {"FLAVOUR=sweet", NULL};
    enum { FLOW = 20 };
    ray_ref *flow[FLOW], *other;
    start_with(1, NULL);
    for (int i = 0; i < FLOW; i++)
        flow[i] = ray_remote(doze, 1);
    other = ray_remote_opts(RAY_WITH(ray_task_options, .env = env), twice, 4);
    ray_actor *actor = NULL;
    ray_ref *sum = NULL;
    int64_t end = check_now_ms() + 10000 * check_slowness();
    bool both = false;
    for (int i = 0; !both && check_now_ms() < end; i = (i + 1) % FLOW) {
        CHECK_OK(ray_get_timeout(flow[i], 20000, NULL));
        ray_release(flow[i]);
        flow[i] = ray_remote(doze, 1);
        if (!actor && ray_get_timeout(other, 0, NULL) == 0) { /* it takes the process for good */
            actor = ray_actor_new(cell, 1);
            sum = ray_call(actor, cell_add, 1);
        }
        both = sum && ray_get_timeout(sum, 0, NULL) == 0;
        if (sum && ray_get_timeout(flow[i], 200, NULL) != 0)
            break; /* the actor has it */
    }
    CHECK_REF_INT(other, 8);
    CHECK_REF_INT(sum, 2);
    ray_actor_release(actor);
    for (int i = 0; i < FLOW; i++)
        CHECK_REF_INT(flow[i], 1);
    check_stop();
}

enum { STARTS = 100 };

/* How long so many starts take here where all processes are alike, in milliseconds. */
static int64_t time_of_starts(void)
{
    ray_ref *refs[STARTS];
    CHECK_OK(ray_function_set(&ray_fn_own_pid, RAY_WITH(ray_function_options, .max_calls = 1)));
    start_with(1, NULL);
    int64_t begun = check_now_ms();
    for (int i = 0; i < STARTS; i++)
        refs[i] = ray_remote(own_pid);
    for (int i = 0; i < STARTS; i++)
        (void)check_number(refs[i]);
    int64_t took = check_now_ms() - begun;
    check_stop();
    return took;
}

static void many_environments(void)
{
    ray_ref *refs[STARTS];
    int64_t alike = time_of_starts();
    start_with(1, NULL);
    int64_t begun = check_now_ms();
    for (int i = 0; i < STARTS; i++) {
        char text[32];
        const char *env[] = {text, NULL};
        snprintf(text, sizeof text, "NUMBER=%d", i);
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .env = env), twice, i);
    }
    for (int i = 0; i < STARTS; i++)
        CHECK_REF_INT(refs[i], 2 * i);
    int64_t took = check_now_ms() - begun;
    fprintf(stderr, "%d starts: %lld ms, %lld of processes alike\n", STARTS, (long long)took, (long long)alike);
    CHECK(took < alike + 5000 * check_slowness()); /* not a turn of the timer for each */
    check_stop();
}

static RAY_METHOD(cell, int64_t, ask)
{
    ray_ref *ref = ray_remote(twice, self->n++);
    return outcome_of(ref);
}

/* A call that waits runs what it waits for, also with other calls behind it. */
static void queued_calls(void)
{
    ray_ref *refs[5];
    start_with(1, NULL);
    ray_actor *actor = ray_actor_new(cell, 1);
    for (int i = 0; i < 5; i++)
        refs[i] = ray_call(actor, cell_ask);
    for (int i = 0; i < 5; i++)
        CHECK_REF_INT(refs[i], 2 * (i + 1));
    ray_actor_release(actor);
    check_stop();
}

/* A process of which something was taken back has not had that call. */
static void calls_that_were_taken_back(void)
{
    int64_t pid = 0;
    CHECK_OK(ray_function_set(&ray_fn_twice, RAY_WITH(ray_function_options, .max_calls = 1)));
    start_with(1, NULL);
    ray_ref *first = ray_remote(own_pid);
    CHECK_OK(ray_get(first, &pid));
    ray_release(first);
    CHECK(kill((pid_t)pid, SIGSTOP) == 0);
    ray_ref *offered = ray_remote(twice, 1);
    check_sleep_ms(400); /* it is taken back */
    CHECK(kill((pid_t)pid, SIGCONT) == 0 || check_is_gone(pid));
    CHECK_REF_INT(offered, 2);
    for (int i = 0; i < 10; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
    check_stop();
}

static RAY_REMOTE(int64_t, deeper, (int64_t, depth))
{
    char room[65536];
    int64_t y = 0;
    memset(room, (int)depth, sizeof room);
    if (depth == 0)
        return room[7];
    ray_ref *ref = ray_remote(deeper, depth - 1);
    int r = ray_get(ref, &y);
    ray_release(ref);
    return r ? ray_fail_with(r, "below", NULL, 0) : y + (room[9] != (char)depth);
}

static void deeper_than_the_stack(void)
{
    start_with(1, NULL);
    CHECK_REF_INT(ray_remote(deeper, 10), 0);
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), deeper, 2000);
    CHECK_CODE(ray_get_timeout(ref, 60000, NULL), RAY_ERR_TASK_FAILED);
    CHECK_INT(ray_last_error()->user_code, RAY_ERR_TASK_FAILED);
    ray_release(ref);
    CHECK_REF_INT(ray_remote(twice, 2), 4);
    check_stop();
}

static void actors_fill_the_cap(void)
{
    ray_actor *actors[3];
    start_with(2, NULL);
    for (int i = 0; i < 3; i++)
        actors[i] = ray_actor_new(cell, i);
    CHECK_REF_INT(ray_call(actors[0], cell_add, 1), 1);
    CHECK_REF_INT(ray_call(actors[1], cell_add, 1), 2);
    ray_ref *third = ray_call(actors[2], cell_add, 1), *task = ray_remote(twice, 2);
    check_expect_log("worker.cap", "1 tasks and 1 actors wait for a worker process", 15000);
    CHECK_CODE(ray_get_timeout(third, 0, NULL), RAY_ERR_TIMEOUT);
    CHECK_CODE(ray_get_timeout(task, 0, NULL), RAY_ERR_TIMEOUT);
    CHECK_INT(check_children(NULL, 0), 2);
    ray_actor_release(actors[0]);
    CHECK_REF_INT(third, 3);
    ray_actor_release(actors[1]);
    CHECK_REF_INT(task, 4);
    ray_actor_release(actors[2]);
    check_stop();
}

/* An actor that waits at the cap takes over the process of a task that has ended. */
static void an_idle_process_is_an_actors(void)
{
    start_with(1, NULL);
    ray_ref *gate = ray_remote(pass_gate);
    CHECK_AWAIT(shared()->waits, 1);
    ray_actor *actor = ray_actor_new(cell, 1);
    ray_ref *sum = ray_call(actor, cell_add, 1);
    CHECK_CODE(ray_get_timeout(sum, 200, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&shared()->gate, 1);
    CHECK_REF_INT(gate, 1);
    CHECK_REF_INT(sum, 2);
    ray_actor_release(actor);
    check_stop();
}

/* ---- processes that do not get far ---- */

static void restarts_of_what_never_starts(void)
{
    int64_t begun = check_now_ms();
    start_with(0, "/bin/false");
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1), cell, 1);
    ray_ref *sum = ray_call(actor, cell_add, 1);
    CHECK_CODE(ray_get_timeout(sum, 20000, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "no worker process can be started");
    ray_release(sum);
    ray_actor_release(actor);
    check_sleep_ms(300);
    /* A few at first, and then at most one as often as the timer forgets one. */
    CHECK((int64_t)check_count_log("worker.start_failed", "") < 12 + (check_now_ms() - begun) / 100);
    check_expect_log("worker.start_failed", "started as \"/bin/false\", exited with code 1 before it was ready", 1000);
    check_stop();
}

/* Whether it could try one of its own: where this thread is kept waiting, spare processes may have failed before, so
 * that none is started for a while. */
static bool try_a_process_that_never_starts(void)
{
    start_with(0, "/bin/false");
    ray_actor *actor = ray_actor_new(cell, 1);
    CHECK_REF(ray_call(actor, cell_add, 1), RAY_ERR_ACTOR_DIED);
    bool tried = !strstr(ray_last_error()->message, "no worker process can be started");
    if (tried) {
        CHECK_HAS(ray_last_error()->message, "actor cell: worker process ");
        CHECK_HAS(ray_last_error()->message, "started as \"/bin/false\", exited with code 1 before it was ready");
    }
    ray_actor_release(actor);
    check_stop();
    return tried;
}

static void an_actor_whose_process_never_starts(void)
{
    bool tried = false;
    for (int i = 0; i < 20 && !tried; i++)
        tried = try_a_process_that_never_starts();
    CHECK(tried);
}

/* What a stopped process was offered, and has not begun, is run by another one. */
static void an_idle_process_that_is_stopped(void)
{
    int64_t pid = 0;
    start_with(0, NULL);
    ray_ref *first = ray_remote(own_pid);
    CHECK_OK(ray_get(first, &pid));
    ray_release(first);
    check_sleep_ms(50);
    CHECK(kill((pid_t)pid, SIGSTOP) == 0);
    ray_ref *refs[20];
    for (int i = 0; i < 20; i++)
        refs[i] = ray_remote(own_pid);
    for (int i = 0; i < 20; i++) {
        int64_t other = pid;
        CHECK_OK(ray_get_timeout(refs[i], 30000 * check_slowness(), &other));
        CHECK(other != pid);
        ray_release(refs[i]);
    }
    CHECK(kill((pid_t)pid, SIGCONT) == 0);
    for (int i = 0; i < 20; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
    check_stop();
}

/* ---- limits of memory in processes that have been used ---- */

static char *volatile kept;

static RAY_REMOTE(int64_t, keep, (int64_t, mib))
{
    kept = malloc((size_t)mib * MIB);
    memset(kept, 1, (size_t)mib * MIB);
    check_sleep_ms(100);
    return mib;
}
/* A gigabyte, slowly: a limit counts from what the process has when the node gets to it, and is looked at now and then.
 * It holds by the end, or not at all. */
static RAY_REMOTE(int64_t, keep_too_much)
{
    for (int i = 0; i < 64; i++) {
        kept = malloc(16 * MIB);
        CHECK(kept);
        memset(kept, 1, 16 * MIB);
        check_sleep_ms(50);
    }
    check_sleep_ms(30000);
    return 0;
}
static RAY_REMOTE(int64_t, nap)
{
    check_sleep_ms(200);
    return getpid();
}

static void a_limit_begins_with_its_task(void)
{
    const ray_task_options *limited = RAY_WITH(ray_task_options, .resources = "CPU=1, memory=64MiB", .max_retries = -2);
    start_with(1, NULL);
    CHECK_REF_INT(ray_remote(keep, 200), 200);
    CHECK_REF_OK(ray_remote_opts(limited, nap));
    CHECK_REF_INT(ray_remote_opts(limited, keep, 32 / check_slowness() + 1), 32 / check_slowness() + 1);
    CHECK_REF(ray_remote_opts(limited, keep_too_much), RAY_ERR_OUT_OF_MEMORY);
    for (int i = 0; i < 100; i++) /* of those that end before their limit is there, the next one has nothing to bear */
        CHECK_REF_INT(ray_remote_opts(limited, twice, i), 2 * i);
    CHECK_REF_INT(ray_remote(keep, 200), 200);
    check_expect_log("worker.died", "memory", 5000);
    check_stop();
}

/* ---- a full store ---- */

static RAY_REMOTE(int64_t, read_a_key, (const char *, key))
{
    ray_view view = {0};
    atomic_fetch_add(&shared()->waits, 1);
    int r = ray_kv_get(key, &view);
    int64_t size = (int64_t)view.size;
    ray_view_release(&view);
    atomic_fetch_add(&shared()->got, 1);
    return r ? r : size;
}

/* The loop goes on while a worker waits for room for an answer. */
static void an_answer_waits_for_room(void)
{
    static char bytes[500000];
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 2, .isolation = RAY_ISOLATION_PROCESS,
                               .store_bytes = 4 * MIB, .spill_dir = "")));
    CHECK_OK(ray_kv_put("long", bytes, sizeof bytes, 0));
    CHECK_OK(ray_kv_put("short", bytes, 10, 0));
    ray_buffer *full = ray_create(4 * MIB - 65536);
    CHECK(full);
    ray_ref *size = ray_remote(read_a_key, "long");
    CHECK_AWAIT(shared()->waits, 1);
    check_sleep_ms(100);
    for (int i = 0; i < 10; i++) {
        int64_t begun = check_now_ms();
        CHECK_REF_INT(ray_remote(read_a_key, "short"), 10);
        CHECK(check_now_ms() - begun < 20000 * check_slowness()); /* else it waits until `full` is freed */
    }
    CHECK_INT(atomic_load(&shared()->got), 10);
    ray_buffer_free(full);
    CHECK_REF_INT(size, (int64_t)sizeof bytes);
    check_stop();
}

typedef struct log {
    int64_t sum, last;
} log;
static RAY_ACTOR(log, (ray_view, first))
{
    self->sum = (int64_t)first.size;
}
static RAY_METHOD(log, int64_t, take, (ray_view, bytes), (int64_t, nth))
{
    if (nth != self->last + 1)
        return ray_fail("call %lld came behind call %lld", (long long)nth, (long long)self->last);
    self->last = nth;
    for (size_t i = 0; i < bytes.size; i += 4096)
        if (((const char *)bytes.data)[i] != (char)nth)
            return ray_fail("wrong bytes");
    return self->sum += (int64_t)bytes.size;
}

/* Constructor and calls whose arguments are on disk, in order; the loop and the caller do not wait for the disk. */
static void arguments_from_disk(void)
{
    enum { COUNT = 12, SIZE = 3 * MIB };
    ray_ref *objects[COUNT], *sums[COUNT];
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 2, .isolation = RAY_ISOLATION_PROCESS,
                               .store_bytes = 16 * MIB)));
    char *bytes = malloc(SIZE);
    for (int i = 0; i < COUNT; i++) {
        memset(bytes, i, SIZE);
        objects[i] = ray_put(bytes, SIZE);
    }
    free(bytes);
    ray_actor *actor = ray_actor_new(log, objects[0]);
    for (int i = 1; i < COUNT; i++)
        sums[i] = ray_call(actor, log_take, objects[i], i);
    for (int i = 1; i < COUNT; i++)
        CHECK_REF_INT(sums[i], (i + 1) * (int64_t)SIZE);
    ray_actor_release(actor);
    for (int i = 0; i < COUNT; i++)
        ray_release(objects[i]);
    check_stop();
}

/* ---- at the door ---- */

static void what_is_refused(void)
{
    static const char *const env[] = {"RAY_WORKER_OF=1 0", NULL};
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .max_workers = 1025)), RAY_ERR_LIMIT);
    CHECK_HAS(ray_last_error()->message, "max_workers");
    start_with(0, NULL);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .env = env), twice, 1), RAY_ERR_ARGUMENT);
    CHECK_HAS(ray_last_error()->message, "RAY_WORKER_OF");
    check_stop();
}

CHECK_MAIN(CHECK_TEST(a_wait_for_one_more_fails), CHECK_TEST(with_one_more_it_does_not),
           CHECK_TEST(a_wait_that_another_can_end), CHECK_TEST(actors_fill_the_cap),
           CHECK_TEST(an_idle_process_is_an_actors), CHECK_TEST(waits_for_several), CHECK_TEST(a_deadline_is_kept),
           CHECK_TEST_WITH(each_environment_gets_its_turn, CHECK_WARNINGS),
           CHECK_TEST_WITH(many_environments, CHECK_KEEPS), CHECK_TEST(queued_calls),
           CHECK_TEST_WITH(calls_that_were_taken_back, CHECK_KEEPS), CHECK_TEST(deeper_than_the_stack),
           CHECK_TEST_WITH(restarts_of_what_never_starts, CHECK_WARNINGS),
           CHECK_TEST_WITH(an_actor_whose_process_never_starts, CHECK_WARNINGS),
           CHECK_TEST(an_idle_process_that_is_stopped), CHECK_TEST(a_limit_begins_with_its_task),
           CHECK_TEST(an_answer_waits_for_room), CHECK_TEST(arguments_from_disk), CHECK_TEST(what_is_refused))
