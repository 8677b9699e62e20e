/* Tasks: their options one by one, refs as arguments, tasks inside tasks, and helping. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_int started, running, most, gate, runs;

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, sum2, (int64_t, a), (int64_t, b))
{
    return a + b;
}
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_fetch_add(&started, 1);
    CHECK_AWAIT(gate, (int)nth);
    return nth;
}

/* Notes how many of it run at once. Waits until so many do, and then a little, so that one too many would be seen. */
static RAY_REMOTE(void, crowd, (int64_t, want))
{
    int now = atomic_fetch_add(&running, 1) + 1, seen = atomic_load(&most);
    while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
        continue;
    CHECK_AWAIT(most, (int)want);
    check_sleep_ms(20);
    atomic_fetch_sub(&running, 1);
}

static void crowd_of(int count, const ray_task_options *options, int want)
{
    ray_ref *refs[64];
    atomic_store(&most, 0);
    for (int i = 0; i < count; i++)
        refs[i] = ray_remote_opts(options, crowd, want);
    for (int i = 0; i < count; i++)
        CHECK_REF_OK(refs[i]);
    CHECK_INT(atomic_load(&most), want);
}

static void resources_limit_what_runs(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=4, disk=2, GPU=1, memory=1GiB", .num_threads = 8)));
    crowd_of(16, NULL, 4);
    crowd_of(16, RAY_WITH(ray_task_options, .resources = "CPU=2"), 2);
    crowd_of(16, RAY_WITH(ray_task_options, .resources = "CPU=0.5"), 8);
    crowd_of(12, RAY_WITH(ray_task_options, .resources = "CPU=0.5, disk=1"), 2);
    crowd_of(12, RAY_WITH(ray_task_options, .resources = "CPU=0.5, GPU=0.25"), 4);
    crowd_of(12, RAY_WITH(ray_task_options, .resources = "CPU=0, memory=512MiB"), 2);
    crowd_of(12, RAY_WITH(ray_task_options, .resources = "CPU=0.1, disk=0.6666"), 3);
    check_stop();
}

/* What waits for a resource lets those pass that need another. */
static void one_resource_does_not_block_another(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2, disk=1", .num_threads = 2)));
    ray_ref *refs[5];
    for (int i = 0; i < 5; i++)
        refs[i] = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=1, disk=1"), pass_gate, 1);
    CHECK_AWAIT(started, 1);
    for (int i = 0; i < 100; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i);
    CHECK_INT(atomic_load(&started), 1);
    atomic_store(&gate, 1);
    for (int i = 0; i < 5; i++)
        CHECK_REF_INT(refs[i], 1);
    check_stop();
}

/* Whoever comes for the first of two tasks sees to it that somebody comes for the second. */
static void no_cpu_is_left_idle(void)
{
    check_start(2);
    for (int i = 0; i < 300; i++) {
        for (int j = 0; j < 40; j++)
            CHECK_REF_INT(ray_remote(twice, j), 2 * j);
        atomic_store(&gate, 0);
        atomic_store(&started, 0);
        ray_ref *refs[2];
        for (int j = 0; j < 2; j++)
            refs[j] = ray_remote_opts(RAY_WITH(ray_task_options, .own_thread = true), pass_gate, 1);
        CHECK_AWAIT(started, 2);
        atomic_store(&gate, 1);
        for (int j = 0; j < 2; j++)
            CHECK_REF_INT(refs[j], 1);
    }
    check_stop();
}

/* ---- order ---- */

static int order[64];
static RAY_REMOTE(void, note_order, (int64_t, x))
{
    order[atomic_fetch_add(&runs, 1)] = (int)x;
}

static void higher_priority_first(void)
{
    static const int priorities[] = {0, 5, -3, 100, 5, 0, 7, -3};
    static const int want[] = {3, 6, 1, 4, 0, 5, 2, 7};
    check_start(1);
    ray_ref *first = ray_remote(pass_gate, 1), *refs[8];
    CHECK_AWAIT(started, 1);
    for (int i = 0; i < 8; i++)
        refs[i] =
            ray_remote_opts(RAY_WITH(ray_task_options, .priority = priorities[i], .own_thread = true), note_order, i);
    ray_cluster_free(ray_cluster_get()); /* an answer from the scheduler: it knows of them now */
    atomic_store(&gate, 1);
    for (int i = 0; i < 8; i++)
        CHECK_REF_OK(refs[i]);
    for (int i = 0; i < 8; i++)
        CHECK_INT(order[i], want[i]);
    CHECK_REF_INT(first, 1);
    check_stop();
}

static void deadlines(void)
{
    check_start(1);
    ray_ref *first = ray_remote(pass_gate, 1);
    CHECK_AWAIT(started, 1);
    ray_ref *late = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 30), twice, 1);
    ray_ref *fed = ray_remote(twice, late);
    ray_ref *in_time = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 60000), twice, 2);
    CHECK_CODE(ray_get_timeout(late, 20000, NULL), RAY_ERR_DEADLINE); /* while the CPU is still taken */
    atomic_store(&gate, 1);
    CHECK_REF(fed, RAY_ERR_DEADLINE);
    CHECK_REF_INT(first, 1);
    CHECK_REF_INT(in_time, 4);
    ray_release(late);
    check_stop();
}

static RAY_REMOTE(int64_t, until_told_to_stop)
{
    atomic_fetch_add(&started, 1);
    int64_t end = check_now_ms() + 60000;
    while (!ray_cancelled())
        CHECK(check_now_ms() < end);
    return 1;
}

/* It is asked to end, and what it returns counts. On a busy machine it may not even have begun by its deadline: then it
 * gets more time. */
static void deadline_of_a_running_task(void)
{
    int64_t y = 0;
    int r = RAY_ERR_DEADLINE;
    check_start(1);
    CHECK_REF_INT(ray_remote(twice, 1), 2); /* the threads run */
    for (int64_t ms = 50; r == RAY_ERR_DEADLINE && atomic_load(&started) == 0 && ms < 20000; ms *= 2) {
        ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = ms), until_told_to_stop);
        r = ray_get_timeout(ref, ms + 30000 * check_slowness(), &y);
        ray_release(ref);
    }
    CHECK_OK(r);
    CHECK_INT(y, 1);
    check_stop();
}

/* ---- retries ---- */

static RAY_REMOTE(int64_t, fail_times, (int64_t, times))
{
    uint32_t attempt = ray_context_get()->attempt;
    CHECK_INT(attempt, atomic_fetch_add(&runs, 1));
    return attempt < times ? ray_fail("attempt %u", attempt) : (int64_t)attempt;
}

static void retry(const ray_task_options *options, int64_t times, int want_code, int want_runs)
{
    atomic_store(&runs, 0);
    ray_ref *ref = ray_remote_opts(options, fail_times, times);
    CHECK_CODE(ray_get(ref, NULL), want_code);
    CHECK_INT(atomic_load(&runs), want_runs);
    ray_release(ref);
}

static void retries(void)
{
    check_start(1);
    retry(NULL, 1, RAY_ERR_TASK_FAILED, 1); /* failures are not retried unless asked */
    retry(RAY_WITH(ray_task_options, .max_retries = 5), 1, RAY_ERR_TASK_FAILED, 1);
    retry(RAY_WITH(ray_task_options, .retry_failures = true), 3, 0, 4); /* three by default */
    retry(RAY_WITH(ray_task_options, .retry_failures = true), 4, RAY_ERR_TASK_FAILED, 4);
    CHECK_STR(ray_last_error()->message, "attempt 3");
    retry(RAY_WITH(ray_task_options, .retry_failures = true, .max_retries = 1), 2, RAY_ERR_TASK_FAILED, 2);
    retry(RAY_WITH(ray_task_options, .retry_failures = true, .max_retries = RAY_NO_RETRIES), 1, RAY_ERR_TASK_FAILED, 1);
    retry(RAY_WITH(ray_task_options, .retry_failures = true, .max_retries = -1), 50, 0, 51);
    check_stop();
}

/* ---- where ---- */

static void labels_and_nodes(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=1", .labels = "zone=eu, disk=ssd, fast=yes")));
    static const char *const met[] = {"zone=eu", "zone=us|eu", "zone!=us, disk=ssd",
                                      "fast",    "!slow",      "fast, !slow, zone"};
    static const char *const unmet[] = {"zone=us", "zone!=us|eu", "slow", "!fast", "disk=ssd, zone=us"};
    for (size_t i = 0; i < sizeof met / sizeof *met; i++)
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .labels = met[i]), twice, 1), 2);
    for (size_t i = 0; i < sizeof unmet / sizeof *unmet; i++) {
        ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .labels = unmet[i]), twice, 1);
        CHECK_CODE(ray_get_timeout(ref, 5, NULL), RAY_ERR_TIMEOUT);
        CHECK_OK(ray_cancel(ref, 0));
        CHECK_REF(ref, RAY_ERR_CANCELLED);
    }
    const char *here = ray_context_get()->node_id;
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = here), twice, 1), 2);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = "0123456789abcdef"), twice, 1),
              RAY_ERR_UNSCHEDULABLE);
    CHECK_REF_INT(
        ray_remote_opts(RAY_WITH(ray_task_options, .node_id = "0123456789abcdef", .node_soft = true), twice, 1), 2);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .spread = true), twice, 1), 2);
    check_stop();
}

static RAY_REMOTE(const char *, own_resources)
{
    return ray_context_get()->resources;
}

static void names_and_grants(void)
{
    check_start(2);
    CHECK_REF_STR(ray_remote(own_resources), "CPU=1");
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0.5"), own_resources), "CPU=0.5");
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .name = "for people"), twice, 1), 2);
    const ray_task_options listed = {.size = 0, .resources = "CPU=0.25"}; /* 0: the fields listed in the contract */
    CHECK_REF_STR(ray_remote_opts(&listed, own_resources), "CPU=0.25");
    check_stop();
}

/* ---- arguments ---- */

static RAY_REMOTE(int64_t, length, (const char *, s))
{
    return (int64_t)strlen(s);
}
static RAY_REMOTE(int64_t, get_inside, (ray_ref *, ref))
{
    int64_t y = 0;
    CHECK_OK(ray_get(ref, &y));
    return y;
}
static RAY_REMOTE(ray_ref *, pass_on, (ray_ref *, ref))
{
    return ray_retain(ref);
}

static void refs_as_arguments(void)
{
    check_start(2);
    ray_ref *late = ray_remote(pass_gate, 1), *sum = ray_remote(sum2, late, late), *more = ray_remote(sum2, sum, 1);
    CHECK_CODE(ray_get_timeout(more, 20, NULL), RAY_ERR_TIMEOUT);
    ray_release(late), ray_release(sum); /* what is passed is held */
    atomic_store(&gate, 1);
    CHECK_REF_INT(more, 3);
    ray_ref *ref = ray_remote(twice, 4);
    CHECK_REF_INT(ray_remote(get_inside, ref), 8); /* a ref parameter gets the ref itself, done or not */
    ray_ref *outer = ray_remote(pass_on, ref), *inner = NULL;
    CHECK_OK(ray_get(outer, &inner));
    CHECK_STR(ray_ref_id(inner), ray_ref_id(ref));
    CHECK_REF_INT(inner, 8);
    ray_release(outer), ray_release(ref);
    char text[] = "here and gone";
    ref = ray_remote(length, text);
    text[0] = '\0'; /* it was copied */
    CHECK_REF_INT(ref, 13);
    check_stop();
}

typedef struct big {
    int64_t numbers[8192]; /* 64 KiB */
} big;
RAY_STRUCT(big, numbers);
static RAY_REMOTE(int64_t, last_of_big, (big, b))
{
    return b.numbers[8191];
}
static RAY_REMOTE(big, make_big, (int64_t, x))
{
    big b = {{0}};
    b.numbers[8191] = x;
    return b;
}

static void big_structs(void)
{
    static big b;
    static const ray_field fields = {"numbers", RAY_KIND_I64, 8193, 0};
    static ray_struct too_big = {
        .size = sizeof too_big, .name = "too_big", .value_size = 8193 * 8, .num_fields = 1, .fields = &fields};
    check_start(1);
    b.numbers[8191] = 77;
    CHECK_REF_INT(ray_remote(last_of_big, b), 77);
    ray_ref *ref = ray_remote(make_big, 78);
    CHECK_REF_INT(ray_remote(last_of_big, ref), 78);
    ray_release(ref);
    CHECK_CODE(ray_register_struct(&too_big), RAY_ERR_LIMIT);
    check_stop();
}

/* ---- tasks inside tasks ---- */

static RAY_REMOTE(int64_t, fib, (int64_t, n))
{
    if (n < 2)
        return n;
    int64_t a = 0, b = 0;
    ray_ref *left = ray_remote(fib, n - 1), *right = ray_remote(fib, n - 2);
    CHECK_OK(ray_get(left, &a));
    CHECK_OK(ray_get(right, &b));
    ray_release(left), ray_release(right);
    return a + b;
}
static RAY_REMOTE(int64_t, depth, (int64_t, n))
{
    int64_t y = 0;
    if (n == 0)
        return 0;
    ray_ref *child = ray_remote(depth, n - 1);
    CHECK_OK(ray_get(child, &y));
    ray_release(child);
    return y + 1;
}
static RAY_REMOTE(int64_t, depth_on_own_threads, (int64_t, n))
{
    int64_t y = 0;
    if (n == 0)
        return 0;
    ray_ref *child = ray_remote_opts(RAY_WITH(ray_task_options, .own_thread = true), depth_on_own_threads, n - 1);
    CHECK_OK(ray_get_timeout(child, 60000 * check_slowness(), &y));
    ray_release(child);
    return y + 1;
}

static void parents_give_their_cpu_back(void)
{
    check_start(1);
    CHECK_REF_INT(ray_remote(fib, 12), 144);
    CHECK_REF_INT(ray_remote(depth, 50), 50);
    CHECK_REF_INT(ray_remote(depth_on_own_threads, 20), 20);
    check_stop();
}

static void deep_recursion(void)
{
    check_start(2);
    CHECK_REF_INT(ray_remote(depth, 2000 / check_slowness()),
                  2000 / check_slowness()); /* bounded stack, whoever helps */
    int64_t y = 0;
    ray_ref *ref = ray_remote(depth, 2000 / check_slowness());
    CHECK_OK(ray_get(ref, &y));
    CHECK_INT(y, 2000 / check_slowness());
    ray_release(ref);
    ref = ray_remote(twice, 1);
    for (int i = 0; i < 20000 / check_slowness(); i++) { /* a long chain of refs: no recursion over it either */
        ray_ref *next = ray_remote(sum2, ref, 1);
        ray_release(ref);
        ref = next;
    }
    CHECK_REF_INT(ref, 2 + 20000 / check_slowness());
    check_stop();
}

static _Thread_local int mine;
static RAY_REMOTE(int64_t, is_mine)
{
    return mine;
}

static void own_thread_is_not_the_waiting_one(void)
{
    check_start(1);
    mine = 1;
    for (int i = 0; i < 200; i++) {
        int64_t y = 1;
        ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .own_thread = true), is_mine);
        CHECK_OK(ray_get(ref, &y));
        CHECK_INT(y, 0);
        ray_release(ref);
        ref = ray_remote(is_mine);
        CHECK_OK(ray_get(ref, &y)); /* either */
        ray_release(ref);
        ref = ray_remote(is_mine);
        CHECK_OK(ray_get_timeout(ref, 60000, &y)); /* helping is for gets without a timeout */
        CHECK_INT(y, 0);
        ray_release(ref);
    }
    check_stop();
}

/* Children that wait for a task that only a further thread can run. */
static RAY_REMOTE(int64_t, wait_for, (ray_ref *, ref))
{
    int64_t y = 0;
    CHECK_OK(ray_get_timeout(ref, 60000, &y));
    return y;
}

static void many_blocked_tasks(void)
{
    check_start(2);
    ray_ref *refs[20], *late = ray_remote(pass_gate, 1);
    for (int i = 0; i < 20; i++)
        refs[i] = ray_remote(wait_for, late);
    CHECK_AWAIT(started, 1);
    for (int i = 0; i < 50; i++)
        CHECK_REF_INT(ray_remote(twice, i), 2 * i); /* there is always somebody to run it */
    atomic_store(&gate, 1);
    for (int i = 0; i < 20; i++)
        CHECK_REF_INT(refs[i], 1);
    CHECK_REF_INT(late, 1);
    check_stop();
}

static void *submit_many(void *arg)
{
    for (int64_t i = 0; i < 5000 / check_slowness(); i++)
        CHECK_REF_INT(ray_remote(sum2, i, *(int64_t *)arg), i + *(int64_t *)arg);
    return NULL;
}

static void submitting_from_several_threads(void)
{
    pthread_t threads[4];
    int64_t added[4] = {1, 10, 100, 1000};
    check_start(2);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, submit_many, &added[i]) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    check_stop();
}

static RAY_REMOTE(void, count_run)
{
    atomic_fetch_add(&runs, 1);
}

static void fire_and_forget(void)
{
    check_start(2);
    for (int i = 0; i < 1000; i++)
        ray_release(ray_remote(count_run));
    CHECK_AWAIT(runs, 1000);
    check_stop();
    CHECK_INT(atomic_load(&runs), 1000);
}

CHECK_MAIN(CHECK_TEST(resources_limit_what_runs), CHECK_TEST(one_resource_does_not_block_another),
           CHECK_TEST(no_cpu_is_left_idle), CHECK_TEST(higher_priority_first), CHECK_TEST(deadlines),
           CHECK_TEST(deadline_of_a_running_task), CHECK_TEST(retries), CHECK_TEST(labels_and_nodes),
           CHECK_TEST(names_and_grants), CHECK_TEST(refs_as_arguments), CHECK_TEST(big_structs),
           CHECK_TEST(parents_give_their_cpu_back), CHECK_TEST(deep_recursion),
           CHECK_TEST(own_thread_is_not_the_waiting_one), CHECK_TEST(many_blocked_tasks),
           CHECK_TEST(submitting_from_several_threads), CHECK_TEST(fire_and_forget))
