/* Section 2 of the contract: how values convert where they meet types at run time. One rule, three places: ray_get,
 * ray_submit with a value, and a ref as an argument. Numbers are tried pair by pair against a model, the rest by a
 * table. */
#include "check.h"

#include <float.h>
#include <math.h>

/* X(kind, C type, its lowest and highest) */
#define INTEGERS(X)                                                                                                    \
    X(BOOL, bool, 0, 1)                                                                                                \
    X(I8, int8_t, INT8_MIN, INT8_MAX)                                                                                  \
    X(I16, int16_t, INT16_MIN, INT16_MAX)                                                                              \
    X(I32, int32_t, INT32_MIN, INT32_MAX)                                                                              \
    X(I64, int64_t, INT64_MIN, INT64_MAX)                                                                              \
    X(U8, uint8_t, 0, UINT8_MAX)                                                                                       \
    X(U16, uint16_t, 0, UINT16_MAX)                                                                                    \
    X(U32, uint32_t, 0, UINT32_MAX)                                                                                    \
    X(U64, uint64_t, 0, UINT64_MAX)
#define NUMBERS(X) INTEGERS(X) X(F32, float, -FLT_MAX, FLT_MAX) X(F64, double, -DBL_MAX, DBL_MAX)

#define DEFINE(K, T, low, high)                                                                                        \
    static RAY_REMOTE(T, same_##K, (T, x))                                                                             \
    {                                                                                                                  \
        return x;                                                                                                      \
    }
NUMBERS(DEFINE)

typedef struct number {
    ray_kind kind;
    const char *name;
    size_t size;
    long double low, high;
    ray_function *same;
} number;

#define ROW(K, T, low, high) {RAY_KIND_##K, #K, sizeof(T), (long double)(low), (long double)(high), &ray_fn_same_##K},
static const number numbers[] = {NUMBERS(ROW)};
enum { NUM_NUMBERS = sizeof numbers / sizeof *numbers };

static bool is_float(const number *n)
{
    return n->kind >= RAY_KIND_F32;
}
static bool holds(const number *n, long double x)
{
    return x >= n->low && x <= n->high && (is_float(n) || x == floorl(x));
}

typedef union storage {
    bool b;
    int8_t i8;
    int16_t i16;
    int32_t i32;
    int64_t i64;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32;
    uint64_t u64;
    float f32;
    double f64;
} storage;

#define WRITE(K, T, low, high)                                                                                         \
    case RAY_KIND_##K:                                                                                                 \
        *(T *)to = (T)x;                                                                                               \
        break;
static ray_value write_number(const number *n, storage *to, long double x)
{
    memset(to, 0, sizeof *to);
    switch ((int)n->kind) {
        NUMBERS(WRITE)
    }
    return (ray_value){n->kind, 0, n->size, to};
}

#define READ(K, T, low, high)                                                                                          \
    case RAY_KIND_##K:                                                                                                 \
        return *(const T *)from;
static long double read_number(const number *n, const storage *from)
{
    switch ((int)n->kind) {
        NUMBERS(READ)
    }
    return 0;
}

/* What x of kind `from` is as kind `to`: whether it fits, and which number it becomes. */
static bool converts(const number *from, const number *to, long double x, long double *y)
{
    storage rounded;
    if (is_float(to) ? false : is_float(from) || !holds(to, x))
        return false;
    write_number(to, &rounded, x);
    *y = read_number(to, &rounded);
    return true;
}

static void expect(const number *from, const number *to, long double x, const char *way, int got, const storage *result)
{
    long double want;
    bool fits = converts(from, to, x, &want);
    if (fits ? got == 0 && read_number(to, result) == want : got == RAY_ERR_TYPE)
        return;
    fprintf(stderr, "%Lg from %s to %s by %s: %s, %Lg\n", x, from->name, to->name, way, ray_error_name(got),
            read_number(to, result));
    check_failed(__FILE__, __LINE__, "conversion");
}

static void try_pair(const number *from, const number *to, long double x, ray_ref *source)
{
    storage in, out = {0};
    ray_value value = write_number(from, &in, x), result = {to->kind, 0, to->size, &out};
    expect(from, to, x, "ray_get", (ray_get)(source, &result), &out);
    ray_ref *refs[] = {ray_submit(to->same, &value, 1, NULL), ray_submit(to->same, &RAY_VALUE(&source), 1, NULL)};
    for (int i = 0; i < 2; i++) {
        out = (storage){0};
        expect(from, to, x, i ? "ref" : "ray_submit", (ray_get)(refs[i], &result), &out);
        ray_release(refs[i]);
    }
}

static void numbers_among_each_other(void)
{
    static const long double tried[] = {
        0,         1,          -1,          2,         127,        128,       255,       256,
        -128,      -129,       32767,       32768,     65535,      65536,     INT32_MAX, 2147483648.0L,
        INT32_MIN, UINT32_MAX, 16777217.0L, INT64_MAX, UINT64_MAX, INT64_MIN, 0.5L,      1e30L};
    check_start(1);
    for (const number *from = numbers; from < numbers + NUM_NUMBERS; from++) {
        for (size_t i = 0; i < sizeof tried / sizeof *tried; i++) {
            storage in;
            if (!holds(from, tried[i]))
                continue;
            ray_value value = write_number(from, &in, tried[i]);
            long double x = read_number(from, &in); /* as that type has it */
            ray_ref *source = ray_submit(from->same, &value, 1, NULL);
            for (const number *to = numbers; to < numbers + NUM_NUMBERS; to++)
                try_pair(from, to, x, source);
            ray_release(source);
        }
    }
    check_stop();
}

/* ---- the other kinds ---- */

typedef struct small {
    int32_t a;
    float b;
} small;
typedef struct large {
    int64_t a[4];
} large;
RAY_STRUCT(small, a, b);
RAY_STRUCT(large, a);

static RAY_REMOTE(void, give_nothing) {}
static RAY_REMOTE(int64_t, give_number)
{
    return 7;
}
static RAY_REMOTE(const char *, give_text)
{
    return "12345678";
}
static RAY_REMOTE(ray_view, give_bytes)
{
    return ray_view_of("12345678", 8);
}
static RAY_REMOTE(ray_buffer *, give_buffer)
{
    ray_buffer *buffer = ray_create(8);
    if (buffer)
        memcpy(buffer->data, "12345678", 8);
    return buffer;
}
static RAY_REMOTE(small, give_small)
{
    return (small){1, 2};
}
static RAY_REMOTE(large, give_large)
{
    return (large){{1, 2, 3, 4}};
}
static RAY_REMOTE(ray_ref *, give_ref)
{
    return ray_put("x", 1);
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell)
{
    self->n = 1;
}
static RAY_REMOTE(ray_actor *, give_actor)
{
    return ray_actor_new(cell);
}

static RAY_REMOTE(int, take_number, (int64_t, x))
{
    return x != 0;
}
static RAY_REMOTE(int, take_fraction, (double, x))
{
    return x != 0;
}
static RAY_REMOTE(int, take_text, (const char *, x))
{
    return (int)strlen(x);
}
static RAY_REMOTE(int, take_bytes, (ray_view, x))
{
    return (int)x.size;
}
static RAY_REMOTE(int, take_small, (small, x))
{
    return (int)sizeof x;
}
static RAY_REMOTE(int, take_large, (large, x))
{
    return (int)sizeof x;
}
static RAY_REMOTE(int, take_ref, (ray_ref *, x))
{
    return x != NULL;
}
static RAY_REMOTE(int, take_actor, (ray_actor *, x))
{
    return ray_actor_id(x) != NULL;
}
static RAY_REMOTE(int, take_any, (ray_value, x))
{
    return (int)x.kind;
}

static ray_function *const givers[] = {&ray_fn_give_nothing, &ray_fn_give_number, &ray_fn_give_text,
                                       &ray_fn_give_bytes,   &ray_fn_give_buffer, &ray_fn_give_small,
                                       &ray_fn_give_large,   &ray_fn_give_ref,    &ray_fn_give_actor};
enum { NUM_GIVERS = sizeof givers / sizeof *givers, NUM_TAKERS = 9 };
static ray_function *const takers[NUM_TAKERS] = {&ray_fn_take_number, &ray_fn_take_fraction, &ray_fn_take_text,
                                                 &ray_fn_take_bytes,  &ray_fn_take_small,    &ray_fn_take_large,
                                                 &ray_fn_take_ref,    &ray_fn_take_actor,    &ray_fn_take_any};
/* A row for each giver, a column for each taker. y: fits; n: TYPE. A ref passes anything on. */
static const char *const fits_parameter[NUM_GIVERS] = {
    /*           number, fraction, text, bytes, small, large, ref, actor, any */
    /* nothing */ "nnnnnnyny",
    /* number  */ "yynnnnyny",
    /* text    */ "nnyynnyny",
    /* bytes   */ "yyyyynyny",
    /* buffer  */ "yyyyynyny",
    /* small   */ "nnnyynyny",
    /* large   */ "nnnynyyny",
    /* ref     */ "nnnnnnyny",
    /* actor   */ "nnnnnnyyy",
};

static void refs_for_parameters(void)
{
    check_start(1);
    for (int i = 0; i < NUM_GIVERS; i++) {
        ray_ref *source = ray_submit(givers[i], NULL, 0, NULL);
        for (int j = 0; j < NUM_TAKERS; j++) {
            ray_ref *ref = ray_submit(takers[j], &RAY_VALUE(&source), 1, NULL);
            int r = ray_get(ref, NULL), want = fits_parameter[i][j] == 'y' ? 0 : RAY_ERR_TYPE;
            if (r != want)
                fprintf(stderr, "%s into %s\n", givers[i]->name, takers[j]->name);
            CHECK_REF(ref, want);
        }
        ray_release(source);
    }
    check_stop();
}

static int get_into(ray_ref *ref, int column)
{
    int64_t integer;
    double fraction;
    const char *text;
    ray_view view = {0};
    small little;
    large big;
    ray_ref *inner = NULL;
    ray_actor *actor = NULL;
    ray_value any = {0};
    const ray_value into[] = {RAY_VALUE(&integer), RAY_VALUE(&fraction), RAY_VALUE(&text),
                              RAY_VALUE(&view),    RAY_VALUE(&little),   RAY_VALUE(&big),
                              RAY_VALUE(&inner),   RAY_VALUE(&actor),    any};
    ray_value out = into[column];
    int r = (ray_get)(ref, &out);
    ray_view_release(&view);
    ray_release(inner);
    ray_actor_release(actor);
    return r;
}

static void getting_every_kind(void)
{
    check_start(1);
    for (int i = 0; i < NUM_GIVERS; i++) {
        ray_ref *source = ray_submit(givers[i], NULL, 0, NULL);
        for (int j = 0; j < NUM_TAKERS; j++) {
            bool fits = fits_parameter[i][j] == 'y';
            if (takers[j] == &ray_fn_take_ref) /* here only a ref is one */
                fits = givers[i] == &ray_fn_give_ref;
            int r = get_into(source, j), want = fits ? 0 : RAY_ERR_TYPE;
            if (r != want)
                fprintf(stderr, "%s into that of %s\n", givers[i]->name, takers[j]->name);
            CHECK_CODE(r, want);
        }
        ray_release(source);
    }
    check_stop();
}

static void kinds_that_are_told(void)
{
    static const struct {
        ray_function *giver;
        ray_kind kind;
        size_t size;
    } rows[] = {{&ray_fn_give_nothing, RAY_KIND_NONE, 0},  {&ray_fn_give_number, RAY_KIND_I64, 8},
                {&ray_fn_give_text, RAY_KIND_STRING, 8},   {&ray_fn_give_bytes, RAY_KIND_BYTES, 8},
                {&ray_fn_give_buffer, RAY_KIND_BYTES, 8},  {&ray_fn_give_small, RAY_KIND_STRUCT, sizeof(small)},
                {&ray_fn_give_large, RAY_KIND_STRUCT, 32}, {&ray_fn_give_ref, RAY_KIND_REF, 8},
                {&ray_fn_give_actor, RAY_KIND_ACTOR, 8}};
    check_start(1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ray_ref *ref = ray_submit(rows[i].giver, NULL, 0, NULL);
        ray_value any = {0};
        CHECK_OK((ray_get)(ref, &any));
        CHECK_INT(any.kind, rows[i].kind);
        CHECK_INT(any.size, rows[i].size);
        CHECK_REF_INT(ray_remote(take_any, ref), rows[i].kind);
        ray_release(ref);
    }
    check_stop();
}

/* ---- bytes ---- */

static RAY_REMOTE(int64_t, alignment_of, (ray_view, v))
{
    return (int64_t)((uintptr_t)v.data % 64);
}
static RAY_REMOTE(int64_t, end_of, (ray_view, v))
{
    return ((const char *)v.data)[v.size];
}

static void texts_and_bytes(void)
{
    check_start(1);
    const char *text = NULL;
    ray_view view;
    ray_ref *ref = ray_remote(give_text);
    CHECK_OK(ray_get(ref, &view));
    CHECK(view.size == 8 && memcmp(view.data, "12345678", 9) == 0); /* with the NUL that is not counted */
    ray_view_release(&view);
    ray_release(ref);
    ref = ray_put("a\0b", 3);
    CHECK_OK(ray_get(ref, &text));
    CHECK(memcmp(text, "a\0b", 4) == 0);
    ray_release(ref);
    for (size_t size = 0; size < 300000; size = size * 3 + 1) {
        ray_buffer *buffer = ray_create(size);
        CHECK(buffer);
        memset(buffer->data, 'x', size);
        ref = ray_seal(buffer);
        CHECK_REF_INT(ray_remote(alignment_of, ref), 0);
        CHECK_REF_INT(ray_remote(end_of, ref), 0);
        ray_release(ref);
    }
    check_stop();
}

static void numbers_out_of_bytes(void)
{
    check_start(1);
    int64_t y = 0;
    int32_t narrow = 0;
    small s = {0, 0};
    small made = {5, 1.5f};
    ray_ref *eight = ray_put(&(int64_t){-9}, 8), *other = ray_put(&made, sizeof made), *seven = ray_put("1234567", 7);
    CHECK_OK(ray_get(eight, &y));
    CHECK_INT(y, -9);
    CHECK_CODE(ray_get(eight, &narrow), RAY_ERR_TYPE);
    CHECK_OK(ray_get(other, &s));
    CHECK(s.a == 5 && s.b == 1.5f);
    CHECK_CODE(ray_get(seven, &s), RAY_ERR_TYPE);
    CHECK_CODE(ray_get(seven, &y), RAY_ERR_TYPE);
    ray_release(eight), ray_release(other), ray_release(seven);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(numbers_among_each_other), CHECK_TEST(refs_for_parameters), CHECK_TEST(getting_every_kind),
           CHECK_TEST(kinds_that_are_told), CHECK_TEST(texts_and_bytes), CHECK_TEST(numbers_out_of_bytes))
