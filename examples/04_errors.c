/* Errors: who is told what, and where.

   A call that submits never fails: what went wrong is the error of the ref, and ray_get reports it. A task whose
   argument failed is not run; it fails with that error. */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* [fail */
RAY_REMOTE(double, ratio, (double, a), (double, b))
{
    if (b == 0)
        return ray_fail("%g divided by zero", a); /* does not jump: return something */
    return a / b;
}
/* fail] */

/* [fail_with */
enum { NO_SUCH_PART = 7 };
RAY_REMOTE(int64_t, part_weight, (const char *, part))
{
    if (strcmp(part, "wheel") == 0)
        return 12;
    return ray_fail_with(NO_SUCH_PART, "no such part", part, strlen(part) + 1); /* a number and bytes of your own */
}
/* fail_with] */

/* [constructor */
typedef struct tank {
    int64_t litres;
} tank;
RAY_ACTOR(tank, (int64_t, litres))
{
    self->litres = litres;
    if (litres < 0)
        ray_fail("a tank of %lld litres", (long long)litres); /* the actor dies of it */
}
RAY_METHOD(tank, int64_t, level)
{
    return self->litres;
}
/* constructor] */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

int main(void)
{
    if (ray_init(NULL) != 0)
        die("ray_init");

    /* [chain */
    ray_ref *a = ray_remote(ratio, 1, 0);
    ray_ref *b = ray_remote(ratio, a, 2); /* needs a */
    ray_ref *c = ray_remote(ratio, b, 3); /* needs b */
    double y = -1;
    int r = ray_get(c, &y);
    const ray_error *e = ray_last_error(); /* of this thread, until the next call that fails on it */
    printf("%s in %s: %s\n", ray_error_name(r), e->function, e->message);
    printf("y is untouched: %g\n", y);
    ray_release(a), ray_release(b), ray_release(c);
    /* chain] */

    /* [payload */
    ray_ref *weight = ray_remote(part_weight, "sprocket");
    if (ray_get(weight, NULL) == RAY_ERR_TASK_FAILED && ray_last_error()->user_code == NO_SUCH_PART)
        printf("%s: %s\n", ray_last_error()->message, (const char *)ray_last_error()->payload);
    ray_release(weight);
    /* payload] */

    /* [type */
    ray_ref *half = ray_remote(ratio, 1, 2);
    const char *text;
    printf("%s\n", ray_error_name(ray_get(half, &text))); /* a number is no string: RAY_ERR_TYPE */
    if (ray_get(half, &y) == 0)                           /* the ref is as good as before */
        printf("%g\n", y);
    ray_release(half);
    /* type] */

    /* [actor */
    ray_actor *leak = ray_actor_new(tank, -5);
    ray_ref *level = ray_call(leak, tank_level);
    printf("%s\n", ray_error_name(ray_get(level, NULL))); /* RAY_ERR_ACTOR_DIED */
    ray_release(level);
    ray_actor_release(leak);
    /* actor] */

    /* [misuse */
    ray_ref *none = ray_remote(ratio, 1, (ray_ref *)NULL); /* also what is simply wrong comes through the ref */
    printf("%s\n", ray_error_name(ray_get(none, NULL)));   /* RAY_ERR_ARGUMENT */
    ray_release(none);
    /* misuse] */
    return ray_shutdown() != 0;
}
