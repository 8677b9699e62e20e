/* Worker processes, the straight way: tasks, values, objects and streams give what they give in threads. */
#include "check.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct common {
    atomic_int started, ended, gate;
} common;

static common *shared(void)
{
    return check_shared();
}

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, own_pid)
{
    return getpid();
}
static RAY_REMOTE(int64_t, sum2, (int64_t, a), (int64_t, b))
{
    return a + b;
}
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_fetch_add(&shared()->started, 1);
    CHECK_AWAIT(shared()->gate, (int)nth);
    return nth;
}

static void five_tasks(void)
{
    check_start_workers(2);
    ray_ref *refs[5];
    for (int i = 0; i < 5; i++)
        refs[i] = ray_remote(twice, i);
    for (int i = 0; i < 5; i++)
        CHECK_REF_INT(refs[i], 2 * i);
    int64_t pid = 0;
    ray_ref *ref = ray_remote(own_pid);
    CHECK_OK(ray_get(ref, &pid));
    CHECK(pid > 0 && pid != getpid());
    ray_release(ref);
    check_stop();
    CHECK(check_is_gone(pid));
}

static void many_tasks(void)
{
    enum { COUNT = 20000 };
    check_start_workers(2);
    ray_ref **refs = malloc(COUNT * sizeof(ray_ref *));
    CHECK(refs);
    for (int i = 0; i < COUNT; i++)
        refs[i] = ray_remote(sum2, i, 1);
    for (int i = 0; i < COUNT; i++)
        CHECK_REF_INT(refs[i], i + 1);
    free(refs);
    check_stop();
}

/* ---- who runs where ---- */

static int64_t pid_of(ray_ref *ref)
{
    int64_t pid = 0;
    CHECK_OK(ray_get(ref, &pid));
    ray_release(ref);
    return pid;
}

static void threads_and_processes_side_by_side(void)
{
    check_start(2);
    const ray_task_options process = {.size = sizeof process, .isolation = RAY_ISOLATION_PROCESS};
    CHECK_INT(pid_of(ray_remote(own_pid)), getpid());
    CHECK_INT(check_children(NULL, 0), 0); /* no process before the first use that needs one */
    CHECK(pid_of(ray_remote_opts(&process, own_pid)) != getpid());
    CHECK(check_children(NULL, 0) > 0);
    CHECK_INT(pid_of(ray_remote(own_pid)), getpid());
    CHECK_OK(ray_function_set(&ray_fn_own_pid, RAY_WITH(ray_function_options, .isolation = RAY_ISOLATION_PROCESS)));
    CHECK(pid_of(ray_remote(own_pid)) != getpid());
    CHECK_INT(pid_of(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_THREAD), own_pid)),
              getpid());
    CHECK_OK(ray_function_set(&ray_fn_own_pid, RAY_WITH(ray_function_options, .isolation = RAY_ISOLATION_THREAD)));
    CHECK_INT(pid_of(ray_remote(own_pid)), getpid());
    /* Results of one kind are arguments of the other. */
    ray_ref *a = ray_remote(twice, 1), *b = ray_remote_opts(&process, twice, a), *c = ray_remote(twice, b);
    CHECK_REF_INT(c, 8);
    ray_release(a), ray_release(b);
    check_stop();
}

static void threads_on_a_node_of_processes(void)
{
    check_start_workers(2);
    CHECK_INT(pid_of(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_THREAD), own_pid)),
              getpid());
    CHECK(pid_of(ray_remote(own_pid)) != getpid());
    check_stop();
}

/* ---- values ---- */

typedef struct shape {
    double corners[4];
    int32_t id;
    bool closed;
} shape;
RAY_STRUCT(shape, corners, id, closed);

typedef struct page {
    int64_t numbers[8192]; /* 64 KiB, the largest there may be */
} page;
RAY_STRUCT(page, numbers);

static RAY_REMOTE(bool, negate, (bool, x))
{
    return !x;
}
static RAY_REMOTE(double, halve, (double, x))
{
    return x / 2;
}
static RAY_REMOTE(uint8_t, narrow, (uint8_t, x))
{
    return (uint8_t)(x + 1);
}
static RAY_REMOTE(float, third, (float, x))
{
    return x / 3;
}
static RAY_REMOTE(const char *, join, (const char *, a), (const char *, b))
{
    static _Thread_local char out[64];
    snprintf(out, sizeof out, "%s%s", a, b);
    return out;
}
static RAY_REMOTE(ray_view, tail, (ray_view, bytes), (uint64_t, from))
{
    return ray_view_of((const char *)bytes.data + from, bytes.size - (size_t)from);
}
static RAY_REMOTE(shape, grow, (shape, s), (double, by))
{
    for (int i = 0; i < 4; i++)
        s.corners[i] *= by;
    s.id++;
    s.closed = !s.closed;
    return s;
}
static RAY_REMOTE(page, turn_page, (page, p))
{
    for (int i = 0; i < 8192; i++)
        p.numbers[i] = -p.numbers[i];
    return p;
}
static RAY_REMOTE(int64_t, kind_of, (ray_value, any))
{
    return any.kind;
}
static RAY_REMOTE(void, nothing) {}

static void numbers_and_texts(void)
{
    check_start_workers(2);
    bool no = true;
    double half = 0;
    float f = 0;
    uint8_t small = 0;
    ray_ref *ref = ray_remote(negate, true);
    CHECK_OK(ray_get(ref, &no));
    CHECK(!no);
    ray_release(ref);
    ref = ray_remote(halve, 5);
    CHECK_OK(ray_get(ref, &half));
    CHECK(half == 2.5);
    ray_release(ref);
    ref = ray_remote(third, 1.0f);
    CHECK_OK(ray_get(ref, &f));
    CHECK(f == 1.0f / 3);
    ray_release(ref);
    ref = ray_remote(narrow, 255);
    CHECK_OK(ray_get(ref, &small));
    CHECK_INT(small, 0);
    ray_release(ref);
    CHECK_REF_OK(ray_remote(nothing));
    CHECK_REF_STR(ray_remote(join, "", ""), "");
    CHECK_REF_STR(ray_remote(join, "uni", "cödé"), "unicödé");
    ray_ref *a = ray_remote(join, "a", "b"), *b = ray_remote(join, a, a);
    CHECK_REF_STR(ray_remote(join, b, a), "ababab");
    ray_release(a), ray_release(b);
    ray_view view;
    ref = ray_remote(tail, ray_view_of("\0binary\0bytes", 13), 1);
    CHECK_OK(ray_get(ref, &view));
    CHECK_INT(view.size, 12);
    CHECK(memcmp(view.data, "binary\0bytes", 12) == 0);
    ray_view_release(&view);
    ray_release(ref);
    check_stop();
}

static void structs_and_any_value(void)
{
    check_start_workers(2);
    shape s = {{1, 2, 3, 4}, 7, false}, got;
    ray_ref *ref = ray_remote(grow, s, 2), *again = ray_remote(grow, ref, 0.5);
    CHECK_OK(ray_get(again, &got));
    CHECK(got.corners[3] == 4 && got.id == 9 && !got.closed);
    ray_release(ref), ray_release(again);
    page *p = malloc(sizeof *p);
    CHECK(p);
    for (int i = 0; i < 8192; i++)
        p->numbers[i] = i;
    ref = ray_remote(turn_page, *p);
    CHECK_OK(ray_get(ref, p));
    CHECK_INT(p->numbers[8191], -8191);
    ray_release(ref);
    free(p);
    int64_t number = 5;
    double real = 1;
    const char *text = "text";
    CHECK_REF_INT(ray_remote(kind_of, RAY_VALUE(&number)), RAY_KIND_I64);
    CHECK_REF_INT(ray_remote(kind_of, RAY_VALUE(&real)), RAY_KIND_F64);
    CHECK_REF_INT(ray_remote(kind_of, RAY_VALUE(&text)), RAY_KIND_STRING);
    CHECK_REF_INT(ray_remote(kind_of, RAY_VALUE(&s)), RAY_KIND_STRUCT);
    ref = ray_remote(twice, 3);
    CHECK_REF_INT(ray_remote(kind_of, ref), RAY_KIND_I64);
    ray_release(ref);
    check_stop();
}

/* ---- sizes ---- */

static unsigned char byte_at(size_t i, unsigned seed)
{
    return (unsigned char)(seed + i * 7 + i / 251);
}

static void fill(unsigned char *bytes, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = byte_at(i, seed);
}

static RAY_REMOTE(int64_t, sum_of_bytes, (ray_view, v))
{
    int64_t sum = 0;
    for (size_t i = 0; i < v.size; i++)
        sum += ((const unsigned char *)v.data)[i];
    return sum;
}
static RAY_REMOTE(ray_buffer *, make_bytes, (uint64_t, size), (uint32_t, seed))
{
    ray_buffer *buffer = ray_create((size_t)size);
    if (buffer)
        fill(buffer->data, buffer->size, seed);
    return buffer;
}
static RAY_REMOTE(ray_view, same_bytes, (ray_view, v))
{
    return v;
}
static RAY_REMOTE(const char *, long_text, (uint64_t, size))
{
    static char *text;
    text = realloc(text, (size_t)size + 1);
    CHECK(text);
    memset(text, 'x', (size_t)size);
    text[size] = 0;
    return text;
}
static RAY_REMOTE(int64_t, length, (const char *, s))
{
    return (int64_t)strlen(s);
}
static RAY_REMOTE(int64_t, sum_of_four, (ray_view, a), (ray_view, b), (ray_view, c), (ray_view, d))
{
    return (int64_t)(a.size + b.size + c.size + d.size) + ((const char *)d.data)[d.size - 1];
}

static int64_t sum_wanted(size_t size, unsigned seed)
{
    int64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += byte_at(i, seed);
    return sum;
}

static void check_bytes(ray_ref *ref, size_t size, unsigned seed)
{
    ray_view view;
    CHECK_OK(ray_get(ref, &view));
    CHECK_INT(view.size, size);
    for (size_t i = 0; i < size; i++)
        if (((const unsigned char *)view.data)[i] != byte_at(i, seed))
            CHECK_INT(i, -1);
    ray_view_release(&view);
    ray_release(ref);
}

static void bytes_of_all_sizes(void)
{
    static const size_t sizes[] = {0, 1, 63, 4096, 102399, 102400, 102401, 1 << 20, 5000000};
    unsigned char *bytes = malloc(5000000);
    CHECK(bytes);
    check_start_workers(2);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fill(bytes, sizes[i], i);
        int64_t want = sum_wanted(sizes[i], i);
        CHECK_REF_INT(ray_remote(sum_of_bytes, ray_view_of(bytes, sizes[i])), want);
        ray_ref *put = ray_put(bytes, sizes[i]), *made = ray_remote(make_bytes, sizes[i], i);
        CHECK_REF_INT(ray_remote(sum_of_bytes, put), want);
        CHECK_REF_INT(ray_remote(sum_of_bytes, made), want);
        check_bytes(ray_remote(same_bytes, put), sizes[i], i);
        check_bytes(ray_remote(same_bytes, made), sizes[i], i);
        check_bytes(made, sizes[i], i);
        ray_release(put);
        ray_ref *text = ray_remote(long_text, sizes[i]);
        CHECK_REF_INT(ray_remote(length, text), sizes[i]);
        const char *seen;
        CHECK_OK(ray_get(text, &seen));
        CHECK_INT(strlen(seen), sizes[i]);
        ray_release(text);
    }
    free(bytes);
    check_stop();
}

static void a_hundred_mebibytes(void)
{
    enum { SIZE = 100 << 20 };
    check_start_workers(2);
    ray_ref *made = ray_remote(make_bytes, SIZE, 3), *copy = ray_remote(same_bytes, made);
    int64_t sum = 0, want = sum_wanted(SIZE, 3);
    ray_ref *ref = ray_remote(sum_of_bytes, copy);
    CHECK_OK(ray_get(ref, &sum));
    CHECK_INT(sum, want);
    ray_release(ref), ray_release(copy);
    check_bytes(made, SIZE, 3);
    unsigned char *bytes = malloc(SIZE);
    CHECK(bytes);
    fill(bytes, SIZE, 4);
    ref = ray_remote(sum_of_bytes, ray_view_of(bytes, SIZE));
    free(bytes);
    CHECK_REF_INT(ref, sum_wanted(SIZE, 4));
    check_stop();
}

/* Each is below what goes into the store, together they are more than one message holds. */
static void several_large_arguments(void)
{
    enum { SIZE = 60 << 10 };
    char *bytes = malloc(SIZE);
    CHECK(bytes);
    check_start_workers(2);
    memset(bytes, 5, SIZE);
    ray_view v = ray_view_of(bytes, SIZE);
    for (int i = 0; i < 20; i++)
        CHECK_REF_INT(ray_remote(sum_of_four, v, v, v, v), 4 * SIZE + 5);
    ray_ref *ref = ray_remote(same_bytes, v);
    for (int i = 0; i < 20; i++)
        CHECK_REF_INT(ray_remote(sum_of_four, ref, v, ref, ref), 4 * SIZE + 5);
    ray_release(ref);
    free(bytes);
    check_stop();
}

/* ---- tasks inside tasks ---- */

static RAY_REMOTE(int64_t, fib, (int64_t, n))
{
    if (n < 2)
        return n;
    ray_ref *a = ray_remote(fib, n - 1), *b = ray_remote(fib, n - 2);
    int64_t x = 0, y = 0;
    if (ray_get(a, &x) != 0 || ray_get(b, &y) != 0)
        ray_fail("%s", ray_last_error()->message);
    ray_release(a), ray_release(b);
    return x + y;
}
static RAY_REMOTE(int64_t, get_inside, (ray_ref *, ref))
{
    int64_t y = 0;
    if (ray_get(ref, &y) != 0)
        return ray_fail("%s", ray_last_error()->message);
    return y;
}
static RAY_REMOTE(ray_ref *, submit_and_give, (int64_t, x))
{
    return ray_remote(twice, x);
}
static RAY_REMOTE(int64_t, chain, (int64_t, depth))
{
    int64_t y = 0;
    if (depth == 0)
        return 0;
    ray_ref *ref = ray_remote(chain, depth - 1);
    CHECK_OK(ray_get(ref, &y));
    ray_release(ref);
    return y + 1;
}

static void tasks_inside_tasks(void)
{
    check_start_workers(2);
    CHECK_REF_INT(ray_remote(fib, 12), 144);
    CHECK_REF_INT(ray_remote(chain, 20), 20);
    ray_ref *ref = ray_remote(twice, 4);
    CHECK_REF_INT(ray_remote(get_inside, ref), 8); /* it is its value that is passed where an int64_t is wanted */
    ray_release(ref);
    ray_ref *outer = ray_remote(submit_and_give, 21), *inner = NULL;
    CHECK_OK(ray_get(outer, &inner));
    CHECK_REF_INT(inner, 42);
    ray_release(outer);
    check_stop();
}

/* More tasks wait for others than there may be processes. */
static void nested_waits_at_the_cap(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2", .num_threads = 2, .max_workers = 2,
                               .isolation = RAY_ISOLATION_PROCESS)));
    CHECK_REF_INT(ray_remote(chain, 30), 30);
    CHECK_REF_INT(ray_remote(fib, 10), 55);
    ray_ref *refs[6];
    for (int i = 0; i < 6; i++)
        refs[i] = ray_remote(fib, 8);
    for (int i = 0; i < 6; i++)
        CHECK_REF_INT(refs[i], 21);
    CHECK(check_children(NULL, 0) <= 2);
    check_stop();
}

static void nested_waits_in_one_process(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=1", .num_threads = 1, .max_workers = 1,
                               .isolation = RAY_ISOLATION_PROCESS)));
    CHECK_REF_INT(ray_remote(chain, 30), 30);
    CHECK_REF_INT(ray_remote(fib, 9), 34);
    check_stop();
}

/* ---- refs that are late, or fail ---- */

static RAY_REMOTE(int64_t, fails)
{
    return ray_fail("this one fails");
}

static void graphs_of_refs(void)
{
    check_start_workers(2);
    ray_ref *late = ray_remote(pass_gate, 1), *sum = ray_remote(sum2, late, late), *more = ray_remote(sum2, sum, 1);
    ray_ref *inside = ray_remote(get_inside, late);
    CHECK_CODE(ray_get_timeout(more, 30, NULL), RAY_ERR_TIMEOUT);
    atomic_store(&shared()->gate, 1);
    CHECK_REF_INT(more, 3);
    CHECK_REF_INT(inside, 1);
    ray_release(late), ray_release(sum);
    ray_ref *bad = ray_remote(fails), *fed = ray_remote(twice, bad);
    CHECK_CODE(ray_get(fed, NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "this one fails");
    CHECK_STR(ray_last_error()->function, "fails");
    ray_release(bad), ray_release(fed);
    check_stop();
}

/* ---- an event loop of the host's own ---- */

static void poll_for_results(void)
{
    enum { COUNT = 300 };
    int64_t seen = 0;
    void *tag;
    ray_waitset *set = ray_waitset_new();
    CHECK(!set); /* there is no runtime yet */
    check_start_workers(2);
    set = ray_waitset_new();
    CHECK(set);
    for (intptr_t i = 0; i < COUNT; i++) {
        ray_ref *ref = ray_remote(twice, i);
        CHECK_OK(ray_waitset_add(set, ref, (void *)i));
        ray_release(ref);
    }
    for (int i = 0; i < COUNT; i++) {
        struct pollfd poll_one = {.fd = ray_waitset_fd(set), .events = POLLIN};
        CHECK_INT(poll(&poll_one, 1, 20000), 1);
        ray_ref *ref = ray_waitset_next(set, 0, &tag);
        CHECK(ref);
        CHECK_REF_INT(ref, 2 * (intptr_t)tag);
        seen += (intptr_t)tag;
    }
    CHECK_INT(seen, (COUNT - 1) * COUNT / 2);
    ray_waitset_free(set);
    check_stop();
}

/* Nobody looks: results come all the same. */
static void results_come_while_nobody_waits(void)
{
    check_start_workers(2);
    ray_ref *ref = ray_remote(pass_gate, 1), *next = ray_remote(twice, ref);
    atomic_store(&shared()->gate, 1);
    int64_t end = check_now_ms() + 20000;
    while (ray_get_timeout(next, 0, NULL) == RAY_ERR_TIMEOUT) {
        CHECK(check_now_ms() < end);
        check_sleep_ms(5);
    }
    CHECK_REF_INT(next, 2);
    ray_release(ref);
    for (int i = 0; i < 100; i++)
        ray_release(ray_remote(pass_gate, 1)); /* nobody wants them */
    CHECK_AWAIT(shared()->started, 101);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(five_tasks), CHECK_TEST(many_tasks),
           CHECK_TEST_WITH(threads_and_processes_side_by_side, CHECK_KEEPS), CHECK_TEST(threads_on_a_node_of_processes),
           CHECK_TEST(numbers_and_texts), CHECK_TEST(structs_and_any_value), CHECK_TEST(bytes_of_all_sizes),
           CHECK_TEST(a_hundred_mebibytes), CHECK_TEST(several_large_arguments), CHECK_TEST(tasks_inside_tasks),
           CHECK_TEST(nested_waits_at_the_cap), CHECK_TEST(nested_waits_in_one_process), CHECK_TEST(graphs_of_refs),
           CHECK_TEST(poll_for_results), CHECK_TEST(results_come_while_nobody_waits))
