/* Arguments of every shape a C expression has, the most parameters, functions of another file, refs inside objects. */
#include "check.h"
#include "kinds.h"

struct bits {
    unsigned b : 3;
};

RAY_REMOTE(int, lots, (int, a), (int, b), (int, c), (int, d), (int, e), (int, f), (int, g), (int, h), (int, i),
           (int, j), (int, k), (int, l), (int, m), (int, n), (int, o), (int, p), (int, a2), (int, b2), (int, c2),
           (int, d2), (int, e2), (int, f2), (int, g2), (int, h2), (int, i2), (int, j2), (int, k2), (int, l2), (int, m2),
           (int, n2), (int, o2), (int, p2))
{
    return a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + a2 + b2 + c2 + d2 + e2 + f2 + g2 + h2 + i2 +
           j2 + k2 + l2 + m2 + n2 + o2 + p2;
}

static int64_t next(int *n)
{
    return ++*n;
}

static void expressions(void)
{
    CHECK_OK(ray_init(NULL));
    struct bits s = {5};
    int n = 0;
    char text[3] = "a";
    const char *const constant = "x";
    volatile int v = 2;
    ray_ref *r = ray_remote(elsewhere, s.b + 0, text), *inner;
    int64_t y = 0;
    CHECK(ray_get(r, &y) == 0 && y == 5 + 'a');
    ray_value out = RAY_VALUE(&y);
    y = 0;
    CHECK(ray_get(r, &out) == 0 && y == 5 + 'a');
    CHECK_REF_INT(ray_remote(elsewhere, (n ? v : 7), constant), 7 + 'x');
    CHECK_REF_INT(ray_remote(elsewhere, next(&n), "a"), 1 + 'a');
    CHECK_INT(n, 1);
    CHECK_REF_INT(ray_remote(elsewhere, (inner = ray_remote(elsewhere, 1, "z")), "w"), 1 + 'z' + 'w');
    ray_release(inner);
    CHECK_REF_INT(ray_remote(elsewhere, 'c', &text[0]), 'c' + 'a');
    ray_release(r);
    CHECK_OK(ray_shutdown());
}

static void thirty_two(void)
{
    CHECK_OK(ray_init(NULL));
    ray_ref *last = ray_remote(elsewhere, 0, "a");
    CHECK_REF_INT(ray_remote(lots, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                             1, 1, 1, last),
                  31 + 'a');
    ray_release(last);
    CHECK_OK(ray_shutdown());
}

static void refs_inside(void)
{
    CHECK_OK(ray_init(NULL));
    ray_buffer *b = ray_create(64);
    ray_ref *held = ray_put("abc", 3);
    CHECK(b && (uintptr_t)b->data % 64 == 0);
    *(int64_t *)b->data = ray_buffer_hold(b, held);
    ray_release(held);
    b->size = 8;
    ray_ref *object = ray_seal(b);
    ray_view w;
    CHECK_OK(ray_get(object, &w));
    CHECK_INT(w.size, 8);
    held = ray_view_ref(&w, (size_t) * (const int64_t *)w.data);
    ray_release(object);
    CHECK_REF_STR(held, "abc");
    ray_view_release(&w);
    CHECK_OK(ray_shutdown());
}

CHECK_MAIN(CHECK_TEST(expressions), CHECK_TEST(thirty_two), CHECK_TEST(refs_inside))
