/* Every kind of parameter, result and argument through the macros, one sub-test a group. */
#include "kinds.h"
#include "check.h"

static _Atomic int runs;

RAY_REMOTE(int64_t, add2, (int64_t, a), (int64_t, b))
{
    return a + b;
}
RAY_REMOTE(void, nothing)
{
    runs++;
}
RAY_REMOTE(point, move, (point, p), (double, dx))
{
    p.x += dx;
    p.tag[0]++;
    return p;
}
RAY_REMOTE(ray_stream(int64_t), squares, (int32_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&(int64_t){i * i}) != 0)
            return;
}
static RAY_REMOTE(bool, negate, (bool, b))
{
    return !b;
}
RAY_REMOTE(float, half, (float, f))
{
    return f / 2;
}
RAY_REMOTE(const char *, greet, (const char *, name))
{
    return name[0] ? "hello" : "nobody";
}
RAY_REMOTE(int64_t, length, (ray_view, bytes))
{
    return (int64_t)bytes.size;
}
RAY_REMOTE(my_index, pick, (my_index, i), (color, c))
{
    return i + (int)c;
}
RAY_REMOTE(ray_ref *, forward, (int64_t, x))
{
    return ray_remote(add2, x, x);
}
RAY_REMOTE(int64_t, peek, (ray_ref *, r))
{
    int64_t v = -1;
    ray_get(r, &v);
    return v;
}
RAY_REMOTE(int64_t, kind_of, (ray_value, v))
{
    return v.kind;
}
RAY_REMOTE(ray_buffer *, ones, (size_t, n))
{
    ray_buffer *b = ray_create(n * sizeof(double));
    for (size_t i = 0; b && i < n; i++)
        ((double *)b->data)[i] = 1;
    return b;
}
RAY_REMOTE(double, sum, (ray_view, v))
{
    const double *d = v.data;
    double s = 0;
    for (size_t i = 0; i < v.size / sizeof *d; i++)
        s += d[i];
    return s;
}
RAY_REMOTE(unsigned char, small, (signed char, a), (unsigned short, b), (unsigned, c), (long long, d),
           (unsigned long long, e))
{
    return (unsigned char)(a + b + c + (unsigned)d + (unsigned)e);
}
RAY_REMOTE(int, many, (int, a), (int, b), (int, c), (int, d), (int, e), (int, f), (int, g), (int, h), (int, i),
           (int, j), (int, k), (int, l), (int, m), (int, n), (int, o), (int, p))
{
    return a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p;
}
RAY_REMOTE(int, bad, (int, code))
{
    return code ? ray_fail_with(code, "told to", "xy", 2) : ray_fail("reason %d", 7);
}

RAY_ACTOR(counter, (int64_t, start))
{
    self->n = start;
    if (start < 0)
        ray_fail("negative start");
}
RAY_METHOD(counter, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
RAY_METHOD(counter, void, reset)
{
    self->n = 0;
}
RAY_METHOD(counter, ray_stream(int64_t), upto)
{
    for (int64_t i = 0; i < self->n; i++)
        if (ray_yield(&i) != 0)
            return;
}
RAY_METHOD(counter, void, quit)
{
    ray_actor_exit();
}
static _Atomic int64_t last_fini = -1;
RAY_METHOD(counter, void, fini)
{
    last_fini = self->n;
}
RAY_REMOTE(int64_t, use_actor, (ray_actor *, a))
{
    int64_t v = 0;
    ray_ref *r = ray_call(a, counter_add, 1);
    ray_get(r, &v);
    ray_release(r);
    return v;
}

static double get_double(ray_ref *r)
{
    double d = -1;
    CHECK_OK(ray_get(r, &d));
    ray_release(r);
    return d;
}

static void integers(void)
{
    CHECK_OK(ray_init(NULL));
    int64_t y = 0;
    int narrow = 0;
    double d = 0;
    const char *s = NULL;
    ray_ref *r = ray_remote(add2, 1, 2u);
    CHECK(ray_get(r, &y) == 0 && y == 3);
    CHECK(ray_get(r, &narrow) == 0 && narrow == 3);
    CHECK(ray_get(r, &d) == 0 && d == 3);
    CHECK_CODE(ray_get(r, &s), RAY_ERR_TYPE);
    CHECK(ray_last_error()->message[0]);
    CHECK_OK(ray_get(r, NULL));
    ray_value v = {0};
    CHECK(ray_get(r, &v) == 0 && v.kind == RAY_KIND_I64 && v.size == 8);
    CHECK_REF_INT(ray_remote(add2, r, r), 6);
    ray_release(r);

    int evaluated = 0, i = 4;
    CHECK_REF_INT(ray_remote(add2, (evaluated++, 5), 1), 6);
    CHECK_INT(evaluated, 1);
    CHECK_REF_INT(ray_remote(add2, i++, 0), 4);
    CHECK_INT(i, 5);
    CHECK_REF_INT(ray_remote(pick, 4, GREEN), 5);
    CHECK_REF_INT(ray_remote(small, 1, 2, 3, 4, 5), 15);
    CHECK_REF_INT(ray_remote(many, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), 136);
    CHECK_REF_INT(ray_remote(negate, 1 == 2), 1);
    CHECK(get_double(ray_remote(half, 3)) == 1.5);
    CHECK_INT(add2(1, 2), 3); /* a plain C function all the same */
    CHECK_OK(ray_shutdown());
}

static void no_result(void)
{
    CHECK_OK(ray_init(NULL));
    ray_ref *r = ray_remote(nothing);
    int64_t y;
    CHECK_OK(ray_get(r, NULL));
    CHECK_INT(runs, 1);
    CHECK_CODE(ray_get(r, &y), RAY_ERR_TYPE);
    ray_release(r), ray_release(NULL);
    CHECK_OK(ray_shutdown());
}

static void structs(void)
{
    CHECK_OK(ray_init(NULL));
    point p = {1, 2, {3}, "ab"};
    int64_t y;
    ray_ref *a = ray_remote(move, p, 2), *b = ray_remote(move, a, 1.5f);
    CHECK(ray_get(a, &p) == 0 && p.x == 3 && p.y == 2 && p.tag[0] == 4);
    CHECK_STR(p.label, "ab");
    CHECK(ray_get(b, &p) == 0 && p.x == 4.5 && p.tag[0] == 5);
    CHECK_CODE(ray_get(b, &y), RAY_ERR_TYPE);
    ray_release(a), ray_release(b);
    a = ray_remote(move, ((point){1, 2, {0}, ""}), 1);
    CHECK(ray_get(a, &p) == 0 && p.x == 2);
    ray_release(a);
    CHECK_OK(ray_shutdown());
}

static void texts(void)
{
    CHECK_OK(ray_init(NULL));
    char name[8] = "bob";
    const char *constant = name;
    CHECK_REF_STR(ray_remote(greet, "x"), "hello");
    CHECK_REF_STR(ray_remote(greet, name), "hello");
    ray_ref *r = ray_remote(greet, constant);
    ray_view view;
    CHECK(ray_get(r, &view) == 0 && view.size == 5 && memcmp(view.data, "hello", 6) == 0);
    ray_view_release(&view);
    CHECK(view.data == NULL && view.size == 0);
    CHECK_REF_INT(ray_remote(length, r), 5);
    CHECK_REF_INT(ray_remote(length, ray_view_of("abc", 3)), 3);
    ray_release(r);
    CHECK_OK(ray_shutdown());
}

static void refs(void)
{
    CHECK_OK(ray_init(NULL));
    ray_ref *r = ray_remote(forward, 21), *inner = NULL, *null_ref = NULL;
    int64_t y = 0;
    double d = 0;
    CHECK(ray_get(r, &inner) == 0 && ray_get(inner, &y) == 0 && y == 42);
    CHECK_REF_INT(ray_remote(peek, inner), 42);
    CHECK_REF_INT(ray_remote(kind_of, inner), RAY_KIND_I64);
    CHECK_REF_INT(ray_remote(kind_of, RAY_VALUE(&d)), RAY_KIND_F64);
    CHECK_REF(ray_remote(add2, null_ref, 1), RAY_ERR_ARGUMENT);
    ray_release(inner), ray_release(r);
    CHECK_OK(ray_shutdown());
}

static void buffers(void)
{
    CHECK_OK(ray_init(NULL));
    ray_ref *r = ray_remote(ones, 10);
    CHECK(get_double(ray_remote(sum, r)) == 10);
    ray_release(r);
    const int64_t nine = 9;
    int64_t y = 0;
    r = ray_put(&nine, sizeof nine);
    CHECK(ray_get(r, &y) == 0 && y == 9);
    CHECK_REF_INT(ray_remote(add2, r, 1), 10);
    ray_release(r);
    CHECK_OK(ray_shutdown());
}

static void failures(void)
{
    CHECK_OK(ray_init(NULL));
    int i;
    ray_ref *r = ray_remote(bad, 0);
    CHECK_CODE(ray_get(r, &i), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "reason 7");
    CHECK_STR(ray_last_error()->function, "bad");
    CHECK_REF(ray_remote(add2, r, 1), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "reason 7");
    ray_release(r);
    r = ray_remote(bad, 5);
    CHECK_CODE(ray_get(r, &i), RAY_ERR_TASK_FAILED);
    const ray_error *error = ray_last_error();
    CHECK(error->user_code == 5 && error->payload_size == 2 && memcmp(error->payload, "xy", 2) == 0);
    ray_release(r);
    CHECK_OK(ray_shutdown());
}

static void streams(void)
{
    CHECK_OK(ray_init(NULL));
    ray_ref *r = ray_remote_opts(RAY_WITH(ray_task_options, .max_retries = 5), squares, 4);
    int64_t y = 0;
    for (int64_t want = 0; want < 4; want++)
        CHECK_REF_INT(ray_next(r), want * want);
    CHECK_REF(ray_next(r), RAY_ERR_STREAM_END);
    CHECK_OK(ray_get(r, NULL));
    ray_release(r);
    ray_actor *c = ray_actor_new(counter, 2);
    r = ray_call(c, counter_upto);
    ray_ref *first = ray_next(r);
    CHECK(ray_get(first, &y) == 0 && y == 0);
    ray_release(first), ray_release(r), ray_actor_release(c);
    CHECK_OK(ray_shutdown());
}

static void actors(void)
{
    CHECK_OK(ray_init(NULL));
    ray_actor *c = ray_actor_new(counter, 10);
    CHECK_REF_INT(ray_call(c, counter_add, 5), 15);
    ray_ref *three = ray_remote(add2, 1, 2);
    CHECK_REF_INT(ray_call(c, counter_add, three), 18);
    ray_release(three);
    CHECK_REF_INT(ray_remote(use_actor, c), 19);
    CHECK_REF_OK(ray_call_opts(&(ray_task_options){.max_retries = 1}, c, counter_reset));
    CHECK_REF_INT(ray_call(c, counter_add, 7), 7);
    CHECK_REF_OK(ray_call(c, counter_quit));
    CHECK_REF(ray_call(c, counter_add, 5), RAY_ERR_ACTOR_DIED);
    CHECK_INT(last_fini, 7);
    ray_actor_release(c);

    c = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "failing"), counter, -1);
    CHECK_REF(ray_call(c, counter_add, 5), RAY_ERR_ACTOR_DIED);
    CHECK_HAS(ray_last_error()->message, "negative start");
    ray_actor_release(c);

    c = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "shared"), counter, 1);
    ray_actor *same = ray_actor_get("shared");
    CHECK(same);
    CHECK_REF_INT(ray_call(same, counter_add, 5), 6);
    ray_actor_release(same), ray_actor_release(c);
    CHECK(ray_actor_get("none") == NULL && ray_last_error()->code == RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_shutdown());
}

static void by_name(void)
{
    CHECK_OK(ray_init(NULL));
    ray_ref *three = ray_remote(add2, 1, 2);
    ray_function *f = ray_function_get("add2");
    CHECK(f == &ray_fn_add2);
    int32_t narrow = 7;
    double fraction = 0.5;
    CHECK_REF_INT(ray_submit(f, (ray_value[]){RAY_VALUE(&narrow), RAY_VALUE(&three)}, 2, NULL), 10);
    CHECK_REF(ray_submit(f, NULL, 0, NULL), RAY_ERR_TYPE);
    CHECK_REF(ray_submit(f, (ray_value[]){RAY_VALUE(&fraction), RAY_VALUE(&three)}, 2, NULL), RAY_ERR_TYPE);
    CHECK_REF(ray_submit(ray_function_get("absent"), NULL, 0, NULL), RAY_ERR_UNKNOWN_FUNCTION);
    CHECK_HAS(ray_last_error()->message, "absent");
    ray_release(three);
    CHECK_OK(ray_shutdown());
}

CHECK_MAIN(CHECK_TEST(integers), CHECK_TEST(no_result), CHECK_TEST(structs), CHECK_TEST(texts), CHECK_TEST(refs),
           CHECK_TEST(buffers), CHECK_TEST(failures), CHECK_TEST(streams), CHECK_TEST(actors),
           CHECK_TEST_WITH(by_name, CHECK_KEEPS))
