/* Actors in worker processes: order, concurrency, handles, names, ends and restarts. */
#include "check.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

enum { CALLS = 4096 };
typedef struct common {
    atomic_int started, ended, gate, running, most, constructed, finished, pid;
    atomic_uchar begun[CALLS];
} common;
static common *shared(void)
{
    return check_shared();
}
static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    CHECK_AWAIT(shared()->gate, (int)nth);
    return nth;
}

typedef struct counter {
    int64_t n;
    int64_t last; /* argument of note */
} counter;
static RAY_ACTOR(counter, (int64_t, start))
{
    CHECK(self->n == 0 && self->last == 0 && (uintptr_t)self % 64 == 0);
    self->n = start;
    atomic_fetch_add(&shared()->constructed, 1);
    atomic_store(&shared()->pid, getpid());
}
static RAY_METHOD(counter, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
static RAY_METHOD(counter, int64_t, own_pid)
{
    (void)self;
    return getpid();
}
/* Calls are to come in this order. */
static RAY_METHOD(counter, int64_t, note, (int64_t, nth))
{
    CHECK_INT(nth, self->last + 1);
    return self->last = nth;
}
static RAY_METHOD(counter, ray_stream(int64_t), upto)
{
    for (int64_t i = 0; i < self->n; i++)
        if (ray_yield(&i) != 0)
            return;
}
static RAY_METHOD(counter, int64_t, fail)
{
    self->n++;
    return ray_fail("number %lld", (long long)self->n);
}
static RAY_METHOD(counter, int64_t, pass, (int64_t, nth))
{
    atomic_fetch_add(&shared()->started, 1);
    CHECK_AWAIT(shared()->gate, (int)nth);
    return self->n;
}
static RAY_METHOD(counter, ray_actor *, me)
{
    (void)self;
    return ray_actor_self();
}
static RAY_METHOD(counter, void, crowd, (int64_t, want))
{
    (void)self;
    int now = atomic_fetch_add(&shared()->running, 1) + 1, seen = atomic_load(&shared()->most);
    while (now > seen && !atomic_compare_exchange_weak(&shared()->most, &seen, now))
        continue;
    CHECK_AWAIT(shared()->most, (int)want); /* and then a little, so that one too many would be seen */
    check_sleep_ms(20);
    atomic_fetch_sub(&shared()->running, 1);
}
static RAY_METHOD(counter, int64_t, crash_first_time, (int64_t, i))
{
    if (atomic_fetch_add(&shared()->begun[i], 1) == 0)
        kill(getpid(), SIGKILL);
    return ++self->n;
}
static RAY_METHOD(counter, int64_t, crash)
{
    fprintf(stderr, "last words of a counter\n");
    signal(SIGSEGV, SIG_DFL); /* the address sanitizer would catch it */
    kill(getpid(), SIGSEGV);
    return self->n;
}
static RAY_METHOD(counter, int64_t, spin)
{
    (void)self;
    atomic_fetch_add(&shared()->started, 1);
    for (;;)
        atomic_signal_fence(memory_order_seq_cst);
    return 0;
}
static RAY_METHOD(counter, int64_t, until_cancelled)
{
    (void)self;
    atomic_fetch_add(&shared()->started, 1);
    while (!ray_cancelled())
        check_sleep_ms(1);
    atomic_fetch_add(&shared()->ended, 1);
    return 1;
}
static RAY_METHOD(counter, int64_t, leave)
{
    CHECK_OK(ray_actor_exit());
    return self->n;
}
static RAY_METHOD(counter, void, fini)
{
    CHECK(self->n != 0);
    atomic_fetch_add(&shared()->finished, 1);
}
static RAY_METHOD(counter, void, look, (int64_t, want_restarts))
{
    const ray_context *c = ray_context_get();
    (void)self;
    CHECK(c->actor_id && c->task_id && c->node_id && c->job_id);
    CHECK_STR(c->function, "counter.look");
    CHECK_INT(c->restarts, want_restarts);
    CHECK_INT(c->attempt, 0);
    ray_actor *me = ray_actor_self();
    CHECK_STR(ray_actor_id(me), c->actor_id);
    ray_actor_release(me);
}
static RAY_METHOD(counter, const char *, resources)
{
    (void)self;
    return ray_context_get()->resources;
}
/* Waits for a call of another actor. */
static RAY_METHOD(counter, int64_t, add_to, (ray_actor *, other), (int64_t, n))
{
    int64_t y = 0;
    ray_ref *ref = ray_call(other, counter_add, n);
    if (ray_get(ref, &y) != 0)
        ray_fail("%s", ray_last_error()->message);
    ray_release(ref);
    return self->n + y;
}
static RAY_METHOD(counter, ray_actor *, make_another, (int64_t, start))
{
    (void)self;
    return ray_actor_new_opts(RAY_WITH(ray_actor_options, .isolation = RAY_ISOLATION_PROCESS), counter, start);
}
static RAY_METHOD(counter, int64_t, length, (ray_view, bytes))
{
    return self->n + (int64_t)bytes.size;
}
static RAY_METHOD(counter, ray_buffer *, bytes, (uint64_t, size))
{
    ray_buffer *buffer = ray_create((size_t)size);
    CHECK(buffer);
    memset(buffer->data, (int)self->n, buffer->size);
    return buffer;
}

/* ---- while they live ---- */
static void state_and_order(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 100);
    ray_ref *refs[500];
    CHECK_REF_OK(ray_actor_ready(actor));
    for (int i = 0; i < 500; i++)
        refs[i] = ray_call(actor, counter_add, 1);
    for (int i = 0; i < 500; i++)
        CHECK_REF_INT(refs[i], 101 + i);
    for (int i = 1; i <= 5000; i++)
        ray_release(ray_call(actor, counter_note, i));
    CHECK_REF_INT(ray_call(actor, counter_note, 5001), 5001);
    int64_t pid = 0;
    ray_ref *ref = ray_call(actor, counter_own_pid);
    CHECK_OK(ray_get(ref, &pid));
    CHECK(pid != getpid());
    ray_release(ref);
    CHECK_REF_INT(ray_call(actor, counter_own_pid), pid);
    CHECK_REF_OK(ray_call(actor, counter_look, 0));
    CHECK_REF_STR(ray_call(actor, counter_resources), "");
    ray_actor_release(actor);
    CHECK_AWAIT(shared()->finished, 1);
    check_await_gone(pid, 5000);
    check_stop();
    CHECK_INT(atomic_load(&shared()->constructed), 1);
}

static void several_actors(void)
{
    enum { COUNT = 8 };
    ray_actor *actors[COUNT];
    int64_t pids[COUNT];
    check_start_workers(2);
    for (int i = 0; i < COUNT; i++)
        actors[i] = ray_actor_new(counter, i);
    for (int n = 1; n <= 100; n++)
        for (int i = 0; i < COUNT; i++)
            ray_release(ray_call(actors[i], counter_add, 1));
    for (int i = 0; i < COUNT; i++) {
        CHECK_REF_INT(ray_call(actors[i], counter_add, 0), 100 + i);
        ray_ref *ref = ray_call(actors[i], counter_own_pid);
        CHECK_OK(ray_get(ref, &pids[i]));
        ray_release(ref);
        for (int j = 0; j < i; j++)
            CHECK(pids[i] != pids[j]);
        CHECK_REF_INT(ray_remote(twice, i), 2 * i); /* tasks go on beside them */
    }
    for (int i = 0; i < COUNT; i++)
        ray_actor_release(actors[i]);
    check_stop();
    CHECK_INT(atomic_load(&shared()->finished), COUNT);
}

static void calls_wait_for_their_refs(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 0);
    ray_ref *late = ray_remote(pass_gate, 1);
    ray_ref *first = ray_call(actor, counter_note, late), *second = ray_call(actor, counter_note, 2);
    CHECK_CODE(ray_get_timeout(second, 30, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&shared()->gate, 1);
    CHECK_REF_INT(second, 2);
    CHECK_REF_INT(first, 1);
    ray_release(late);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 1);
    ray_actor_release(actor);
    check_stop();
}

static void several_calls_at_once(void)
{
    ray_ref *refs[12];
    check_start_workers(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_concurrency = 4), counter, 1);
    for (int i = 0; i < 12; i++)
        refs[i] = ray_call(actor, counter_crowd, 4);
    for (int i = 0; i < 12; i++)
        CHECK_REF_OK(refs[i]);
    CHECK_INT(atomic_load(&shared()->most), 4);
    ray_actor_release(actor);
    actor = ray_actor_new(counter, 1);
    atomic_store(&shared()->most, 0);
    for (int i = 0; i < 12; i++)
        refs[i] = ray_call(actor, counter_crowd, 1);
    for (int i = 0; i < 12; i++)
        CHECK_REF_OK(refs[i]);
    CHECK_INT(atomic_load(&shared()->most), 1);
    ray_actor_release(actor);
    check_stop();
}

static void failures_of_methods(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 1);
    ray_ref *ref = ray_call(actor, counter_fail);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "number 2");
    CHECK_STR(ray_last_error()->function, "counter.fail");
    CHECK(ray_last_error()->pid > 0 && ray_last_error()->pid != getpid());
    ray_release(ref);
    CHECK_REF_INT(
        ray_call_opts(RAY_WITH(ray_task_options, .retry_failures = true, .max_retries = 2), actor, counter_add, 1), 3);
    ref = ray_call_opts(RAY_WITH(ray_task_options, .retry_failures = true, .max_retries = 2), actor, counter_fail);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "number 6");
    ray_release(ref);
    ray_actor_release(actor);
    check_stop();
}

static void streams_of_methods(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 100);
    ray_ref *stream = ray_call(actor, counter_upto);
    for (int i = 0; i < 100; i++)
        CHECK_REF_INT(ray_next(stream), i);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF_OK(stream);
    stream = ray_call(actor, counter_upto);
    CHECK_REF_INT(ray_next(stream), 0);
    ray_release(stream); /* nobody reads on: the actor goes on with the next call */
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 101);
    ray_actor_release(actor);
    check_stop();
}

static void large_values(void)
{
    static const size_t sizes[] = {0, 102400, 102401, 8 << 20};
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 7);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        ray_view view;
        ray_ref *ref = ray_call(actor, counter_bytes, sizes[i]);
        CHECK_REF_INT(ray_call(actor, counter_length, ref), 7 + (int64_t)sizes[i]);
        CHECK_OK(ray_get(ref, &view));
        CHECK_INT(view.size, sizes[i]);
        CHECK(view.size == 0 || ((const char *)view.data)[view.size - 1] == 7);
        ray_view_release(&view);
        ray_release(ref);
    }
    ray_actor_release(actor);
    check_stop();
}

/* ---- handles ---- */
static RAY_REMOTE(int64_t, use, (ray_actor *, actor), (int64_t, times))
{
    int64_t y = 0;
    for (int64_t i = 0; i < times; i++) {
        ray_ref *ref = ray_call(actor, counter_add, 1);
        if (ray_get(ref, &y) != 0)
            ray_fail("%s", ray_last_error()->message);
        ray_release(ref);
    }
    return y;
}
static RAY_REMOTE(ray_actor *, make, (int64_t, start))
{
    ray_actor *actor = ray_actor_new(counter, start);
    CHECK_REF_OK(ray_actor_ready(actor));
    CHECK_REF_INT(ray_call(actor, counter_add, 1), start + 1);
    return actor;
}
static RAY_REMOTE(ray_actor *, hand_back, (ray_actor *, actor))
{
    return ray_actor_retain(actor);
}

static void handles_travel(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 0), *again, *inner, *self;
    ray_ref *refs[4];
    for (int i = 0; i < 4; i++)
        refs[i] = ray_remote(use, actor, 10);
    for (int i = 0; i < 4; i++)
        CHECK_REF_OK(refs[i]);
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 40);
    ray_ref *ref = ray_remote(hand_back, actor);
    CHECK_OK(ray_get(ref, &again));
    CHECK_STR(ray_actor_id(again), ray_actor_id(actor));
    ray_release(ref);
    ray_actor_release(actor);
    CHECK_REF_INT(ray_call(again, counter_add, 1), 41);
    ref = ray_call(again, counter_me);
    CHECK_OK(ray_get(ref, &self));
    CHECK_STR(ray_actor_id(self), ray_actor_id(again));
    ray_release(ref);
    ray_actor_release(again);
    CHECK_REF_INT(ray_call(self, counter_add, 1), 42);
    ref = ray_remote(make, 7);
    CHECK_OK(ray_get(ref, &inner));
    ray_release(ref);
    CHECK_REF_INT(ray_call(inner, counter_add, 1), 9);
    CHECK_REF_INT(ray_call(self, counter_add_to, inner, 1), 52);
    ray_ref *made = ray_call(inner, counter_make_another, 70);
    CHECK_REF_INT(ray_remote(use, made, 3), 73);
    ray_release(made);
    ray_actor_release(self), ray_actor_release(inner);
    check_stop();
    CHECK_INT(atomic_load(&shared()->constructed), 3);
    CHECK_INT(atomic_load(&shared()->finished), 3);
}

/* An actor in a thread calls one in a process, and the other way round. */
static void threads_and_processes(void)
{
    check_start(2);
    ray_actor *near = ray_actor_new(counter, 1);
    ray_actor *far = ray_actor_new_opts(RAY_WITH(ray_actor_options, .isolation = RAY_ISOLATION_PROCESS), counter, 1000);
    CHECK_REF_INT(ray_call(near, counter_own_pid), getpid());
    CHECK_REF_INT(ray_call(near, counter_add_to, far, 1), 1002);
    CHECK_REF_INT(ray_call(far, counter_add_to, near, 1), 1003);
    CHECK_REF_INT(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS), use, near, 5), 7);
    ray_actor_release(near), ray_actor_release(far);
    check_stop();
}
static RAY_REMOTE(int64_t, use_by_name, (const char *, name))
{
    ray_actor *actor = ray_actor_get(name);
    int64_t y = 0;
    if (!actor)
        return ray_fail("%s", ray_last_error()->message);
    ray_ref *ref = ray_call(actor, counter_add, 1);
    CHECK_OK(ray_get(ref, &y));
    ray_release(ref);
    ray_actor_release(actor);
    return y;
}
static RAY_REMOTE(int64_t, get_or_make, (const char *, name))
{
    int64_t y = 0;
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = name, .get_if_exists = true), counter, 500);
    ray_ref *ref = ray_call(actor, counter_add, 1);
    if (ray_get(ref, &y) != 0)
        ray_fail("%s", ray_last_error()->message);
    ray_release(ref);
    ray_actor_release(actor);
    return y;
}

static void names(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "one"), counter, 10);
    CHECK_REF_INT(ray_remote(use_by_name, "one"), 11);
    CHECK_REF_INT(ray_remote(get_or_make, "one"), 12);
    CHECK_REF(ray_remote(use_by_name, "none"), RAY_ERR_TASK_FAILED);
    ray_actor *taken = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "one"), counter, 20);
    CHECK_REF(ray_call(taken, counter_add, 1), RAY_ERR_EXISTS);
    ray_actor_release(taken);
    ray_actor *kept = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "kept", .detached = true), counter, 30);
    ray_actor_release(kept);
    CHECK_REF_INT(ray_remote(use_by_name, "kept"), 31);
    kept = ray_actor_get("kept");
    CHECK(kept);
    CHECK_REF_INT(ray_call(kept, counter_add, 1), 32);
    CHECK_OK(ray_kill(kept, false));
    ray_actor_release(kept);
    CHECK_REF_INT(ray_remote(get_or_make, "kept"), 501);
    ray_actor_release(actor);
    check_stop();
}

/* ---- the end ---- */
static void exit_and_kill(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 5);
    ray_ref *last = ray_call(actor, counter_leave), *late = ray_call(actor, counter_add, 1);
    CHECK_REF_INT(last, 5);
    CHECK_REF(late, RAY_ERR_ACTOR_DIED);
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    CHECK_AWAIT(shared()->finished, 1);
    actor = ray_actor_new(counter, 5);
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 5);
    int64_t pid = atomic_load(&shared()->pid);
    ray_ref *stuck = ray_call(actor, counter_spin), *queued = ray_call(actor, counter_add, 1);
    CHECK_AWAIT(shared()->started, 1);
    CHECK_OK(ray_kill(actor, false));
    CHECK_REF(stuck, RAY_ERR_ACTOR_DIED);
    CHECK_REF(queued, RAY_ERR_ACTOR_DIED);
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ACTOR_DIED);
    check_await_gone(pid, 30000 * check_slowness()); /* it was killed: the call would spin for ever */
    CHECK_INT(atomic_load(&shared()->finished), 1);  /* without fini */
    ray_actor_release(actor);
    check_stop();
}
static RAY_REMOTE(void, kill_it, (ray_actor *, actor), (bool, may_restart))
{
    CHECK_OK(ray_kill(actor, may_restart));
}

static void kill_and_restart(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 2), counter, 5);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 6);
    int64_t pid = atomic_load(&shared()->pid);
    CHECK_OK(ray_kill(actor, true));
    CHECK_AWAIT(shared()->constructed, 2);
    CHECK_REF_INT(ray_call(actor, counter_add, 2), 7); /* built again by its constructor */
    CHECK(atomic_load(&shared()->pid) != pid);
    check_await_gone(pid, 30000 * check_slowness());
    CHECK_REF_OK(ray_call(actor, counter_look, 1));
    CHECK_REF_OK(ray_remote(kill_it, actor, true));
    CHECK_AWAIT(shared()->constructed, 3);
    CHECK_REF_OK(ray_call(actor, counter_look, 2));
    CHECK_REF_OK(ray_remote(kill_it, actor, true)); /* that was the last life */
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    check_stop();
    CHECK_INT(atomic_load(&shared()->constructed), 3);
}

/* A call sees that it is cancelled; by force it can't be. */
static void cancel_of_calls(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 5);
    ray_ref *running = ray_call(actor, counter_until_cancelled), *queued = ray_call(actor, counter_add, 1);
    CHECK_AWAIT(shared()->started, 1);
    CHECK_CODE(ray_cancel(running, RAY_CANCEL_FORCE), RAY_ERR_ARGUMENT);
    CHECK_OK(ray_cancel(queued, 0));
    CHECK_REF(queued, RAY_ERR_CANCELLED);
    CHECK_OK(ray_cancel(running, 0));
    CHECK_REF(running, RAY_ERR_CANCELLED);
    CHECK_INT(atomic_load(&shared()->ended), 1);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 6);
    ray_actor_release(actor);
    check_stop();
}

/* ---- crashes ---- */
static void a_crash_is_the_end(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 5);
    CHECK_REF_INT(ray_call(actor, counter_add, 0), 5);
    int64_t pid = atomic_load(&shared()->pid);
    ray_ref *ref = ray_call(actor, counter_crash), *behind = ray_call(actor, counter_add, 1);
    CHECK_CODE(ray_get(ref, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_INT(ray_last_error()->signal, SIGSEGV);
    CHECK_INT(ray_last_error()->pid, pid);
    CHECK_HAS(ray_last_error()->message, "counter");
    CHECK_HAS(ray_last_error()->message, "SEGV");
    CHECK_HAS(ray_last_error()->output, "last words of a counter");
    ray_release(ref);
    CHECK_REF(behind, RAY_ERR_ACTOR_DIED);
    CHECK_REF(ray_call(actor, counter_add, 1), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    check_expect_log("worker.died", "SEGV", 5000);
    check_stop();
    CHECK_INT(atomic_load(&shared()->finished), 0);
}

/* A call under way is not repeated unless asked; those behind it are run in the next life, in order. */
static void crash_and_restart(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 1), counter, 5);
    CHECK_REF_INT(ray_call(actor, counter_add, 10), 15);
    ray_ref *ref = ray_call(actor, counter_crash_first_time, 1);
    CHECK_CODE(ray_get_timeout(ref, 20000, NULL), RAY_ERR_ACTOR_UNAVAILABLE);
    CHECK_HAS(ray_last_error()->message, "KILL");
    ray_release(ref);
    CHECK_INT(atomic_load(&shared()->begun[1]), 1);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 6);
    CHECK_REF_OK(ray_call(actor, counter_look, 1));
    ref = ray_call(actor, counter_crash_first_time, 2);
    CHECK_REF(ref, RAY_ERR_ACTOR_DIED); /* no more restarts */
    ray_actor_release(actor);
    check_expect_logs("worker.died", "KILL", 2, 5000);
    check_stop();
    CHECK_INT(atomic_load(&shared()->constructed), 2);
}

static void calls_behind_a_crash_keep_their_order(void)
{
    enum { COUNT = 300 };
    ray_ref *refs[COUNT];
    check_start_workers(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1), counter, 0);
    for (int round = 0; round < 5; round++) {
        ray_ref *ref = ray_call(actor, counter_crash_first_time, round);
        for (int i = 0; i < COUNT; i++)
            refs[i] = ray_call(actor, counter_note, i + 1);
        CHECK_REF(ref, RAY_ERR_ACTOR_UNAVAILABLE);
        for (int i = 0; i < COUNT; i++)
            CHECK_REF_INT(refs[i], i + 1);
    }
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 1);
    ray_actor_release(actor);
    check_expect_logs("worker.died", "KILL", 5, 5000);
    check_stop();
    CHECK_INT(atomic_load(&shared()->constructed), 6);
}

static void calls_repeated_when_asked(void)
{
    check_start_workers(2);
    ray_actor *actor =
        ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1, .max_task_retries = 1), counter, 5);
    CHECK_REF_INT(ray_call(actor, counter_crash_first_time, 1), 6);
    CHECK_INT(atomic_load(&shared()->begun[1]), 2);
    CHECK_REF(ray_call(actor, counter_crash), RAY_ERR_ACTOR_UNAVAILABLE); /* twice */
    CHECK_AWAIT(shared()->constructed, 4);
    ray_ref *ref =
        ray_call_opts(RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES), actor, counter_crash_first_time, 2);
    CHECK_REF(ref, RAY_ERR_ACTOR_UNAVAILABLE);
    CHECK_INT(atomic_load(&shared()->begun[2]), 1);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 6);
    ray_actor_release(actor);
    check_expect_logs("worker.died", "KILL", 2, 5000);
    check_expect_logs("worker.died", "SEGV", 2, 5000);
    check_stop();
}

/* Killed from outside at random: each call is run once at most, its outcome is told once, and those that were done are
 * in the order of the calls. */
static void killed_from_outside(void)
{
    enum { COUNT = 2000 };
    static ray_ref *refs[COUNT];
    unsigned seed = 99;
    int num_ok = 0, num_lost = 0;
    check_start_workers(2);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1), counter, 1);
    for (int i = 0; i < COUNT; i++) {
        atomic_store(&shared()->begun[i], 1); /* does not crash, but counts */
        refs[i] = ray_call(actor, counter_crash_first_time, i);
        if (rand_r(&seed) % 100 == 0) {
            check_sleep_ms(rand_r(&seed) % 10);
            int64_t pid = atomic_load(&shared()->pid);
            if (pid > 0 && !check_is_gone(pid))
                kill((pid_t)pid, SIGKILL);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        int r = ray_get_timeout(refs[i], 30000, NULL);
        CHECK(r == 0 || r == RAY_ERR_ACTOR_UNAVAILABLE);
        int begun = atomic_load(&shared()->begun[i]) - 1;
        CHECK(begun <= 1 && (r != 0 || begun == 1));
        num_ok += r == 0;
        num_lost += r != 0;
        ray_release(refs[i]);
    }
    fprintf(stderr, "%d calls, %d lives: %d done, %d not known\n", COUNT, atomic_load(&shared()->constructed), num_ok,
            num_lost);
    CHECK(num_lost < atomic_load(&shared()->constructed)); /* one a death at most */
    ray_actor_release(actor);
    check_stop();
}

/* ---- constructors ---- */
typedef struct fragile {
    int64_t n;
} fragile;
static RAY_ACTOR(fragile, (int64_t, how))
{
    int life = atomic_fetch_add(&shared()->constructed, 1);
    self->n = life;
    if (how == 1)
        ray_fail("born to fail");
    if (how == 2)
        kill(getpid(), SIGKILL);
    if (how == 3 && life < 2)
        kill(getpid(), SIGKILL);
}
static RAY_METHOD(fragile, int64_t, life)
{
    return self->n;
}

static void constructors_that_fail(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(fragile, 1);
    ray_ref *call = ray_call(actor, fragile_life), *ready = ray_actor_ready(actor);
    CHECK_CODE(ray_get(ready, NULL), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "born to fail");
    ray_release(ready);
    CHECK_REF(call, RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    actor = ray_actor_new(fragile, 2);
    CHECK_REF(ray_call(actor, fragile_life), RAY_ERR_ACTOR_DIED);
    CHECK_REF(ray_actor_ready(actor), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
    atomic_store(&shared()->constructed, 0);
    actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = 2), fragile, 3);
    CHECK_REF_INT(ray_call(actor, fragile_life), 2);
    ray_actor_release(actor);
    check_expect_logs("worker.died", "KILL", 3, 5000);
    check_stop();
}

/* Its arguments are kept for restarts, large ones, too. */
typedef struct library {
    ray_view book;
} library;
static RAY_ACTOR(library, (ray_view, book), (int64_t, number))
{
    char *copy = malloc(book.size);
    CHECK(copy && number == 42);
    memcpy(copy, book.data, book.size);
    self->book = ray_view_of(copy, book.size);
}
static RAY_METHOD(library, int64_t, sum, (bool, crash))
{
    int64_t sum = 0;
    for (size_t i = 0; i < self->book.size; i++)
        sum += ((const char *)self->book.data)[i];
    if (crash)
        kill(getpid(), SIGKILL);
    return sum;
}

static void arguments_of_restarts(void)
{
    char *bytes = malloc(1 << 20);
    CHECK(bytes);
    memset(bytes, 1, 1 << 20);
    check_start_workers(2);
    ray_ref *book = ray_put(bytes, 1 << 20), *number = ray_remote(twice, 21);
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .max_restarts = -1), library, book, number);
    ray_release(book), ray_release(number);
    free(bytes);
    for (int i = 0; i < 3; i++) {
        CHECK_REF_INT(ray_call(actor, library_sum, false), 1 << 20);
        CHECK_REF(ray_call(actor, library_sum, true), RAY_ERR_ACTOR_UNAVAILABLE);
    }
    CHECK_REF_INT(ray_call(actor, library_sum, false), 1 << 20);
    ray_actor_release(actor);
    check_expect_logs("worker.died", "KILL", 3, 5000);
    check_stop();
}

/* ---- limits and surroundings ---- */
static void *volatile last_block; /* so that no compiler finds the blocks unused */

static RAY_METHOD(counter, int64_t, hoard)
{
    for (int i = 0; i < 64; i++) {
        last_block = malloc(16 << 20);
        CHECK(last_block);
        memset(last_block, i | 1, 16 << 20);
        check_sleep_ms(50); /* the limit may count from what there is when the node gets to it */
    }
    check_sleep_ms(30000); /* it holds by now, or not at all */
    return self->n;
}
static RAY_METHOD(counter, const char *, variable, (const char *, name))
{
    (void)self;
    return getenv(name);
}

static void limits_and_variables(void)
{
    const char *const env[] = {"FLAVOUR=sweet", NULL};
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2, GPU=2, memory=4GiB", .num_threads = 2,
                               .isolation = RAY_ISOLATION_PROCESS)));
    ray_actor *actor = ray_actor_new_opts(
        RAY_WITH(ray_actor_options, .resources = "memory=64MiB, GPU=1", .env = env, .max_restarts = 1), counter, 5);
    CHECK_REF_STR(ray_call(actor, counter_variable, "FLAVOUR"), "sweet");
    CHECK_REF_STR(ray_call(actor, counter_variable, "CUDA_VISIBLE_DEVICES"), "0");
    CHECK_REF_STR(ray_call(actor, counter_resources), "CPU=1, GPU=1, memory=64MiB");
    ray_ref *ref = ray_call(actor, counter_hoard);
    CHECK_CODE(ray_get_timeout(ref, 45000 * check_slowness(), NULL), RAY_ERR_ACTOR_UNAVAILABLE);
    CHECK_HAS(ray_last_error()->message, "memory");
    ray_release(ref);
    CHECK_REF_STR(ray_call(actor, counter_variable, "FLAVOUR"), "sweet"); /* in its next life, too */
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 6);
    ray_actor_release(actor);
    check_expect_log("worker.died", "memory", 5000);
    check_stop();
}

/* ---- shutdown ---- */
static void shutdown_ends_them_in_order(void)
{
    check_start_workers(2);
    ray_actor *actors[5];
    for (int i = 0; i < 5; i++) {
        actors[i] = ray_actor_new(counter, 5);
        for (int j = 0; j < 20; j++)
            ray_release(ray_call(actors[i], counter_add, 1));
    }
    check_stop();
    for (int i = 0; i < 5; i++)
        ray_actor_release(actors[i]);
    CHECK_INT(atomic_load(&shared()->finished), atomic_load(&shared()->constructed));
}
static RAY_METHOD(counter, int64_t, call_myself)
{
    int64_t y = 0;
    ray_actor *me = ray_actor_self();
    ray_ref *ref = ray_call(me, counter_add, 1);
    int r = ray_get_timeout(ref, 50, &y); /* its own call stands behind this one */
    CHECK_INT(r, RAY_ERR_TIMEOUT);
    ray_release(ref);
    ray_actor_release(me);
    return self->n;
}

static void an_actor_that_calls_itself(void)
{
    check_start_workers(2);
    ray_actor *actor = ray_actor_new(counter, 5);
    CHECK_REF_INT(ray_call(actor, counter_call_myself), 5);
    CHECK_REF_INT(ray_call(actor, counter_add, 1), 7);
    ray_actor_release(actor);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(state_and_order), CHECK_TEST(several_actors), CHECK_TEST(calls_wait_for_their_refs),
           CHECK_TEST(several_calls_at_once), CHECK_TEST(failures_of_methods), CHECK_TEST(streams_of_methods),
           CHECK_TEST(large_values), CHECK_TEST(handles_travel), CHECK_TEST(threads_and_processes), CHECK_TEST(names),
           CHECK_TEST(exit_and_kill), CHECK_TEST(kill_and_restart), CHECK_TEST(cancel_of_calls),
           CHECK_TEST(a_crash_is_the_end), CHECK_TEST(crash_and_restart),
           CHECK_TEST(calls_behind_a_crash_keep_their_order), CHECK_TEST(calls_repeated_when_asked),
           CHECK_TEST_WITH(killed_from_outside, CHECK_WARNINGS), CHECK_TEST(constructors_that_fail),
           CHECK_TEST(arguments_of_restarts), CHECK_TEST(limits_and_variables), CHECK_TEST(shutdown_ends_them_in_order),
           CHECK_TEST(an_actor_that_calls_itself))
