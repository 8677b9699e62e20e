/* Mistakes that must not compile, one for each value of CASE; 0 is a program without one. The comment behind a case
   holds the words that its single error must carry (or, after "warning:", its single warning). run.py reads them. */
#include <ray/ray.h>

typedef struct point {
    double x, y;
} point;
typedef struct other {
    double x, y;
} other;
typedef struct thing {
    char *p;
} thing;
typedef struct counter {
    int64_t n;
} counter;
typedef union either {
    int i;
    float f;
} either;

RAY_STRUCT(point, x, y);
RAY_REMOTE(int64_t, f, (int64_t, x))
{
    return x;
}
RAY_REMOTE(int64_t, g, (const char *, s), (point, p))
{
    (void)s;
    return (int64_t)p.x;
}
RAY_REMOTE(int64_t, none)
{
    return 1;
}
RAY_REMOTE(int64_t, watch, (ray_actor *, a), (ray_value, v))
{
    return a != NULL && v.kind;
}
RAY_ACTOR(counter, (int64_t, start))
{
    self->n = start;
}
RAY_METHOD(counter, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
int64_t plain(int64_t x);

#if CASE == 9 /* h: a parameter cannot be int * */
RAY_REMOTE(int64_t, h, (int *, x))
{
    return *x;
}
#elif CASE == 10 /* h: a result cannot be char * */
RAY_REMOTE(char *, h, (int, x))
{
    (void)x;
    return NULL;
}
#elif CASE == 11 /* thing.p: a field must be a number, a bool or an array of them */
RAY_STRUCT(thing, p);
#elif CASE == 12 /* h: a parameter cannot be ray_buffer * */
RAY_REMOTE(int64_t, h, (ray_buffer *, b))
{
    (void)b;
    return 0;
}
#elif CASE == 23 /* h: a result cannot be long double */
RAY_REMOTE(long double, h, (int, x))
{
    return x;
}
#elif CASE == 24 /* h: a result cannot be int * */
RAY_REMOTE(ray_stream(int *), h, (int, x))
{
    (void)x;
}
#elif CASE == 25 /* h: a result cannot be ray_value */
RAY_REMOTE(ray_value, h, (int, x))
{
    (void)x;
    return (ray_value){0};
}
#elif CASE == 26 /* h: a parameter cannot be either */
RAY_REMOTE(int, h, (either, e))
{
    return e.i;
}
#elif CASE == 27 /* h: a parameter cannot be ray_buffer */
RAY_REMOTE(int, h, (ray_buffer, b))
{
    return b.size != 0;
}
#elif CASE == 28 /* h: more than 32 parameters */
RAY_REMOTE(int, h, (int, a), (int, b), (int, c), (int, d), (int, e), (int, f), (int, g), (int, h), (int, i), (int, j),
           (int, k), (int, l), (int, m), (int, n), (int, o), (int, p), (int, q), (int, r), (int, s), (int, t), (int, u),
           (int, v), (int, w), (int, x), (int, y), (int, z), (int, a1), (int, b1), (int, c1), (int, d1), (int, e1),
           (int, f1), (int, g1))
{
    return 0;
}
#elif CASE == 29 /* counter_sub: a parameter cannot be const void * */
RAY_METHOD(counter, void, sub, (const void *, p))
{
    (void)p;
}
#elif CASE == 30 /* counter_sub: a result cannot be FILE * */
typedef struct FILE FILE;
RAY_METHOD(counter, FILE *, sub)
{
    return NULL;
}
#endif

void use(void);
void use(void)
{
    point p = {1, 2};
    other o = {1, 2};
    double d = 1, a[4] = {0};
    int64_t y = 0;
    const int64_t fixed = 1;
    ray_actor *c = ray_actor_new(counter, 1);
    ray_ref *r = NULL;
    (void)p, (void)o, (void)d, (void)y, (void)a, (void)fixed;
#if CASE == 1 /* struct f_has_another_number_of_arguments */
    r = ray_remote(f);
#elif CASE == 2  /* struct f_has_another_number_of_arguments */
    r = ray_remote(f, 1, 2);
#elif CASE == 3  /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote(f, "text");
#elif CASE == 4  /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote(f, 2.5);
#elif CASE == 5  /* struct g_argument_1_has_the_wrong_type */
    r = ray_remote(g, 5, p);
#elif CASE == 6  /* struct g_argument_2_has_the_wrong_type */
    r = ray_remote(g, "x", o);
#elif CASE == 7  /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote(f, p);
#elif CASE == 8  /* struct pointer_to_a_type_that_libray_does_not_know */
    ray_get(r, &a);
#elif CASE == 13 /* struct counter_add_has_another_number_of_arguments */
    r = ray_call(c, counter_add);
#elif CASE == 14 /* struct f_is_not_a_method */
    r = ray_call(c, f, 1);
#elif CASE == 15 /* warning: ignoring return value */
    ray_remote(f, 1);
#elif CASE == 16 /* struct unknown_is_not_a_remote_function */
    r = ray_remote(unknown, 1);
#elif CASE == 17 /* struct counter_argument_1_has_the_wrong_type */
    c = ray_actor_new(counter, "x");
#elif CASE == 18 /* struct pointer_to_a_type_that_libray_does_not_know */
    char *s;
    ray_get(r, &s);
#elif CASE == 19 /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote(f, &y);
#elif CASE == 20 /* struct counter_add_is_not_a_remote_function */
    r = ray_remote(counter_add, 1);
#elif CASE == 21 /* struct this_is_not_a_pointer */
    ray_get(r, y);
#elif CASE == 22 /* struct f_options_must_be_ray_task_options */
    r = ray_remote_opts(RAY_WITH(ray_actor_options, .name = "x"), f, 1);
#elif CASE == 40 /* struct countr_is_not_an_actor_class */
    c = ray_actor_new(countr, 1);
#elif CASE == 41 /* struct counter_ad_is_not_a_method */
    r = ray_call(c, counter_ad, 1);
#elif CASE == 42 /* struct plain_is_not_a_remote_function */
    r = ray_remote(plain, 1);
#elif CASE == 43 /* struct counter_options_must_be_ray_actor_options */
    c = ray_actor_new_opts(RAY_WITH(ray_task_options, .name = "x"), counter, 1);
#elif CASE == 44 /* struct counter_add_options_must_be_ray_task_options */
    r = ray_call_opts(RAY_WITH(ray_actor_options, .name = "x"), c, counter_add, 1);
#elif CASE == 45 /* struct counter_add_must_be_called_on_a_ray_actor */
    r = ray_call(r, counter_add, 1);
#elif CASE == 46 /* struct pointer_to_a_constant */
    ray_get(r, &fixed);
#elif CASE == 47 /* struct this_is_not_a_ray_ref */
    ray_get(&r, &y);
#elif CASE == 48 /* struct pointer_to_a_type_that_libray_does_not_know */
    ray_get(r, &f);
#elif CASE == 49 /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote(f, NULL);
#elif CASE == 50 /* struct g_argument_1_has_the_wrong_type */
    r = ray_remote(g, NULL, p);
#elif CASE == 51 /* struct g_argument_2_has_the_wrong_type */
    r = ray_remote(g, "x", &p);
#elif CASE == 52 /* nosuch */
    r = ray_remote(f, nosuch);
#elif CASE == 53 /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote(f, ray_remote(f, "x"));
#elif CASE == 54 /* struct counter_is_not_a_remote_function */
    r = ray_remote(counter, 1);
#elif CASE == 55 /* struct f_is_not_an_actor_class */
    c = ray_actor_new(f, 1);
#elif CASE == 56 /* struct none_has_another_number_of_arguments */
    r = ray_remote(none, 1);
#elif CASE == 57 /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote(f, ray_view_of("a", 1));
#elif CASE == 58 /* struct watch_argument_1_has_the_wrong_type */
    r = ray_remote(watch, counter_add, RAY_VALUE(&y));
#elif CASE == 59 /* struct watch_argument_2_has_the_wrong_type */
    r = ray_remote(watch, c, y);
#elif CASE == 60 /* struct f_has_another_number_of_arguments */
    r = ray_remote(f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27,
                   28, 29, 30, 31, 32, 33, 34);
#elif CASE == 61 /* struct this_is_not_a_pointer */
    ray_yield(y);
#elif CASE == 62 /* struct pointer_to_a_type_that_libray_does_not_know */
    r = ray_remote(watch, c, RAY_VALUE(&o.x == &d ? (void (*)(void))0 : use));
#elif CASE == 63 /* struct this_is_not_a_ray_ref */
    ray_get_timeout(c, 100, &y);
#elif CASE == 64 /* struct pointer_to_a_constant */
    ray_get_timeout(r, 100, &fixed);
#elif CASE == 65 /* warning: ignoring return value */
    ray_actor_new(counter, 1);
#elif CASE == 66 /* warning: ignoring return value */
    ray_call_opts(NULL, c, counter_add, 1);
#elif CASE == 67 /* warning: ignoring return value */
    ray_put("x", 1);
#elif CASE == 68 /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote(f, c);
#elif CASE == 69 /* struct _is_not_a_remote_function */
    r = ray_remote();
#elif CASE == 70 /* struct later_is_not_a_remote_function */
    r = ray_remote(later, 1);
#elif CASE == 71 /* struct counter_init_is_not_a_method */
    r = ray_call(c, counter_init, 1);
#elif CASE == 72 /* struct pointer_to_a_type_that_libray_does_not_know */
    ray_get(r, (either *)&d);
#elif CASE == 73 /* struct f_argument_1_has_the_wrong_type */
    r = ray_remote_opts(NULL, f, 1.5f);
#elif CASE == 74 /* arguments */
    ray_get(r);
#endif
    ray_release(r);
    ray_actor_release(c);
}

RAY_REMOTE(int64_t, later, (int64_t, x))
{
    return x;
}
