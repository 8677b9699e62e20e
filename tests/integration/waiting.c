/* ray_get_timeout, ray_wait, waitsets and ray_cancel. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

static atomic_int started, ended, gate;

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_fetch_add(&started, 1);
    CHECK_AWAIT(gate, (int)nth);
    return nth;
}
static RAY_REMOTE(int64_t, fail_at_gate, (int64_t, nth))
{
    CHECK_AWAIT(gate, (int)nth);
    return ray_fail("as told");
}

static void timeouts(void)
{
    check_start(1);
    int64_t y = 5, before = check_now_ms();
    ray_ref *ref = ray_remote(pass_gate, 1);
    CHECK_CODE(ray_get_timeout(ref, 0, &y), RAY_ERR_TIMEOUT);
    CHECK(check_now_ms() - before < 20000 * check_slowness()); /* it did not wait for the gate */
    CHECK_CODE(ray_get_timeout(ref, 100, &y), RAY_ERR_TIMEOUT);
    CHECK(check_now_ms() - before >= 100);
    CHECK_INT(y, 5);
    atomic_store(&gate, 1);
    CHECK_OK(ray_get_timeout(ref, RAY_FOREVER, &y));
    CHECK_INT(y, 1);
    CHECK_OK(ray_get_timeout(ref, 0, &y));
    CHECK_OK(ray_get_timeout(ref, -7, &y));
    ray_release(ref);
    check_stop();
}

static void wait_counts(void)
{
    check_start(3);
    bool ready[4] = {true, true, true, true};
    ray_ref *refs[4] = {ray_remote(pass_gate, 2), ray_remote(twice, 1), ray_remote(pass_gate, 1), ray_put("x", 1)};
    CHECK_INT(ray_wait(refs, 4, 2, 60000, ready), 2);
    CHECK(!ready[0] && ready[1] && !ready[2] && ready[3]);
    CHECK_INT(ray_wait(refs, 4, 3, 50, ready), 2); /* time is up: no error */
    CHECK_INT(ray_wait(refs, 4, 0, RAY_FOREVER, NULL), 2);
    atomic_store(&gate, 1);
    CHECK_INT(ray_wait(refs, 4, 3, RAY_FOREVER, ready), 3);
    CHECK(!ready[0] && ready[2]);
    atomic_store(&gate, 2);
    CHECK_INT(ray_wait(refs, 4, 4, RAY_FOREVER, ready), 4);
    for (int i = 0; i < 4; i++)
        ray_release(refs[i]);
    CHECK_INT(ray_wait(refs, 0, 0, RAY_FOREVER, NULL), 0);
    check_stop();
}

static void failed_is_done(void)
{
    check_start(1);
    ray_ref *ref = ray_remote(fail_at_gate, 0), *same[3] = {ref, ref, ref};
    CHECK_INT(ray_wait(&ref, 1, 1, RAY_FOREVER, NULL), 1);
    CHECK_INT(ray_wait(same, 3, 3, RAY_FOREVER, NULL), 3); /* one ref several times */
    CHECK_REF(ref, RAY_ERR_TASK_FAILED);
    check_stop();
}

static void wait_for_many(void)
{
    enum { N = 1000 };
    check_start(2);
    static ray_ref *refs[N];
    static bool ready[N];
    for (int i = 0; i < N; i++)
        refs[i] = ray_remote(twice, i);
    for (size_t left = N; left > 0;) { /* as programs do: one more, and drop what is done */
        int done = ray_wait(refs, left, 1, RAY_FOREVER, ready);
        CHECK(done >= 1);
        size_t kept = 0;
        for (size_t i = 0; i < left; i++) {
            if (ready[i])
                ray_release(refs[i]), done--;
            else
                refs[kept++] = refs[i];
        }
        CHECK_INT(done, 0);
        left = kept;
    }
    check_stop();
}

/* ---- waitsets ---- */

static void waitset_hands_out(void)
{
    check_start(2);
    int tags[3];
    void *tag = NULL;
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    CHECK(!ray_waitset_next(set, RAY_FOREVER, &tag)); /* empty: does not wait */
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    ray_ref *late = ray_remote(pass_gate, 1), *done = ray_remote(twice, 4);
    CHECK_OK(ray_waitset_add(set, late, &tags[0]));
    CHECK_OK(ray_waitset_add(set, done, &tags[1]));
    ray_ref *out = ray_waitset_next(set, RAY_FOREVER, &tag);
    CHECK(out == done && tag == &tags[1]);
    ray_release(out);
    CHECK(!ray_waitset_next(set, 20, &tag));
    CHECK_INT(ray_last_error()->code, RAY_ERR_TIMEOUT);
    CHECK(!ray_waitset_next(set, 0, &tag));
    CHECK_INT(ray_last_error()->code, RAY_ERR_TIMEOUT);
    CHECK(tag == &tags[1]);                         /* an output is set only on success */
    CHECK_OK(ray_waitset_add(set, done, &tags[2])); /* again, and one that is done already */
    CHECK_OK(ray_waitset_add(set, done, &tags[1]));
    ray_release(done);
    for (int i = 0; i < 2; i++)
        CHECK_REF_INT(ray_waitset_next(set, RAY_FOREVER, &tag), 8);
    ray_release(late); /* the set holds it */
    atomic_store(&gate, 1);
    CHECK_REF_INT(ray_waitset_next(set, RAY_FOREVER, &tag), 1);
    CHECK(tag == &tags[0]);
    CHECK(!ray_waitset_next(set, RAY_FOREVER, &tag));
    CHECK_INT(ray_last_error()->code, RAY_ERR_NOT_FOUND);
    ray_waitset_free(set);
    check_stop();
}

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, timeout_ms) == 1 && (polled.revents & POLLIN);
}

static void waitset_descriptor(void)
{
    enum { N = 20 };
    check_start(2);
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    int fd = ray_waitset_fd(set);
    CHECK(fd >= 0 && ray_waitset_fd(set) == fd);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(!is_readable(fd, 0));
    for (int i = 1; i <= N; i++) {
        ray_ref *ref = ray_remote(pass_gate, 1);
        CHECK_OK(ray_waitset_add(set, ref, NULL));
        ray_release(ref);
    }
    CHECK(!is_readable(fd, 20));
    atomic_store(&gate, 1);
    for (int i = 1; i <= N; i++) {
        CHECK(is_readable(fd, 60000));
        ray_ref *ref = ray_waitset_next(set, 0, NULL);
        CHECK_REF_INT(ref, 1);
    }
    CHECK(!is_readable(fd, 20)); /* level triggered: none is done */
    ray_ref *ref = ray_put("x", 1);
    CHECK_OK(ray_waitset_add(set, ref, NULL)); /* done when it is added */
    CHECK(is_readable(fd, 60000));
    ray_release(ref);
    ray_waitset_free(set);
    CHECK(fcntl(fd, F_GETFD) == -1); /* closed with the set */
    check_stop();
}

static void waitset_freed_with_work_pending(void)
{
    check_start(1);
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    CHECK(ray_waitset_fd(set) >= 0);
    ray_ref *refs[3] = {ray_remote(pass_gate, 1), ray_remote(twice, 1), ray_put("x", 1)};
    for (int i = 0; i < 3; i++)
        CHECK_OK(ray_waitset_add(set, refs[i], NULL));
    ray_waitset_free(set);
    atomic_store(&gate, 1);
    for (int i = 0; i < 3; i++)
        CHECK_REF_OK(refs[i]);
    check_stop();
}

static void waitset_across_shutdown(void)
{
    check_start(1);
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    ray_ref *never = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "unobtainium=1"), twice, 1);
    CHECK_OK(ray_waitset_add(set, never, NULL));
    CHECK(ray_waitset_fd(set) >= 0);
    ray_release(never);
    check_stop();
    ray_waitset_free(set);
}

enum { ADDED = 2000 };

static void *add_to_set(void *set)
{
    for (int64_t i = 0; i < ADDED; i++) {
        ray_ref *ref = ray_remote(twice, i);
        CHECK_OK(ray_waitset_add(set, ref, (void *)(intptr_t)i));
        ray_release(ref);
    }
    return NULL;
}

static void waitset_filled_by_threads(void)
{
    check_start(2);
    pthread_t threads[2];
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, add_to_set, set) == 0);
    for (int taken = 0; taken < 2 * ADDED;) {
        void *tag = NULL;
        ray_ref *ref = ray_waitset_next(set, 1000, &tag);
        if (!ref)
            continue; /* empty for a moment */
        CHECK_REF_INT(ref, 2 * (intptr_t)tag);
        taken++;
    }
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    ray_waitset_free(set);
    check_stop();
}

/* ---- cancelling ---- */

static RAY_REMOTE(int64_t, until_cancelled)
{
    atomic_fetch_add(&started, 1);
    for (int64_t end = check_now_ms() + 60000; !ray_cancelled(); check_sleep_ms(1))
        CHECK(check_now_ms() < end);
    atomic_fetch_add(&ended, 1);
    return 1;
}
static RAY_REMOTE(int64_t, parent_of_until_cancelled)
{
    int64_t y = 0;
    ray_ref *child = ray_remote(until_cancelled);
    int r = ray_get(child, &y);
    ray_release(child);
    return r;
}
static atomic_int child_result;
static RAY_REMOTE(int64_t, parent_that_goes_on)
{
    ray_ref *child = ray_remote(pass_gate, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    atomic_store(&gate, 1);
    int64_t y = 0;
    int r = ray_get(child, &y);
    ray_release(child);
    atomic_store(&child_result, r == 0 && y == 1 ? 1 : r);
    atomic_fetch_add(&ended, 1);
    return r;
}

static void cancel_reaches_children(void)
{
    check_start(2);
    ray_ref *ref = ray_remote(parent_of_until_cancelled);
    CHECK_AWAIT(started, 1);
    CHECK_OK(ray_cancel(ref, 0));
    CHECK_AWAIT(ended, 1);
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    check_stop();
}

static void cancel_only_this(void)
{
    check_start(2);
    ray_ref *ref = ray_remote(parent_that_goes_on);
    CHECK_AWAIT(started, 1);
    CHECK_OK(ray_cancel(ref, RAY_CANCEL_ONLY_THIS));
    CHECK_AWAIT(ended, 1);
    CHECK_INT(atomic_load(&child_result), 1);
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    check_stop();
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell)
{
    self->n = 0;
}
static RAY_METHOD(cell, int64_t, wait_at_gate)
{
    atomic_fetch_add(&started, 1);
    CHECK_AWAIT(gate, 1);
    return ++self->n;
}
static RAY_METHOD(cell, int64_t, until_cancelled)
{
    atomic_fetch_add(&started, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    return ++self->n;
}

static void cancel_by_force(void)
{
    check_start(2);
    ray_ref *running = ray_remote(pass_gate, 1);
    CHECK_AWAIT(started, 1);
    CHECK_CODE(ray_cancel(running, RAY_CANCEL_FORCE), RAY_ERR_UNSUPPORTED);
    CHECK_HAS(ray_last_error()->message, "process"); /* says how one could */
    ray_actor *actor = ray_actor_new(cell);
    ray_ref *call = ray_call(actor, cell_wait_at_gate);
    CHECK_CODE(ray_cancel(call, RAY_CANCEL_FORCE), RAY_ERR_ARGUMENT);
    atomic_store(&gate, 1);
    CHECK_REF_INT(running, 1);
    CHECK_REF_INT(call, 1);
    ray_actor_release(actor);
    check_stop();
}

static void cancel_calls_of_actors(void)
{
    check_start(2);
    ray_actor *actor = ray_actor_new(cell);
    ray_ref *first = ray_call(actor, cell_wait_at_gate), *second = ray_call(actor, cell_wait_at_gate);
    CHECK_AWAIT(started, 1);
    CHECK_OK(ray_cancel(second, 0));
    CHECK_REF(second, RAY_ERR_CANCELLED); /* queued: at once */
    atomic_store(&gate, 1);
    CHECK_REF_INT(first, 1);
    ray_ref *third = ray_call(actor, cell_until_cancelled);
    CHECK_AWAIT(started, 2);
    CHECK_OK(ray_cancel(third, 0));
    CHECK_REF(third, RAY_ERR_CANCELLED);
    CHECK_REF_INT(ray_call(actor, cell_wait_at_gate), 3); /* it lives on */
    ray_actor_release(actor);
    check_stop();
}

static void cancel_while_waited_for(void)
{
    check_start(1);
    ray_ref *busy = ray_remote(pass_gate, 1), *queued = ray_remote(twice, 1), *later = ray_remote(twice, queued);
    CHECK_AWAIT(started, 1);
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    CHECK_OK(ray_waitset_add(set, later, NULL));
    CHECK_OK(ray_cancel(queued, 0));
    atomic_store(&gate, 1);
    ray_ref *out = ray_waitset_next(set, 60000, NULL); /* a failed input fails what waits for it */
    CHECK(out == later);
    CHECK_REF(out, RAY_ERR_CANCELLED);
    ray_waitset_free(set);
    CHECK_REF_INT(busy, 1);
    ray_release(queued), ray_release(later);
    check_stop();
}

/* ---- CPUs of those that wait ---- */

static pthread_t helper;
static atomic_int helped;

static RAY_REMOTE(int64_t, get_after_all, (int64_t, x))
{
    int64_t y = -1;
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=2"), twice, x);
    if (pthread_equal(pthread_self(), helper))
        atomic_fetch_add(&helped, 1);
    CHECK_OK(ray_get(ref, &y)); /* all CPUs: its own, and that of whom it is run for */
    ray_release(ref);
    return y;
}
static RAY_REMOTE(int64_t, help, (int64_t, x))
{
    int64_t y = -1;
    helper = pthread_self();
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .priority = 2), get_after_all, x);
    check_sleep_ms(20); /* there is no other thread: it is in the queue when this one looks */
    CHECK_OK(ray_get(ref, &y));
    ray_release(ref);
    return y;
}

/* A task that waits, and the one that it runs meanwhile: if that waits as well, both give back their CPUs. */
static void who_helps_gives_back_too(void)
{
    for (int64_t i = 0; i < 100 && atomic_load(&helped) == 0; i++) { /* each with one thread, until another is needed */
        CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 1)));
        CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .priority = 1), help, i), 2 * i);
        check_stop();
    }
    CHECK(atomic_load(&helped) > 0);
}

CHECK_MAIN(CHECK_TEST(timeouts), CHECK_TEST(wait_counts), CHECK_TEST(failed_is_done), CHECK_TEST(wait_for_many),
           CHECK_TEST(waitset_hands_out), CHECK_TEST(waitset_descriptor), CHECK_TEST(waitset_freed_with_work_pending),
           CHECK_TEST(waitset_across_shutdown), CHECK_TEST(waitset_filled_by_threads),
           CHECK_TEST(cancel_reaches_children), CHECK_TEST(cancel_only_this), CHECK_TEST(cancel_by_force),
           CHECK_TEST(cancel_calls_of_actors), CHECK_TEST(cancel_while_waited_for),
           CHECK_TEST(who_helps_gives_back_too))
