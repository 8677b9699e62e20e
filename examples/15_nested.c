/* Nested tasks: tasks that submit tasks and wait for them.

   A task that waits in ray_get gives its CPU back meanwhile, and the waiting thread helps: it runs what it waits for.
 */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* [fib */
/* The slowest way to Fibonacci's numbers, a task a call: 21,891 of them for fib(20). */
RAY_REMOTE(int64_t, fib, (int64_t, n))
{
    if (n < 2)
        return n;
    ray_ref *a = ray_remote(fib, n - 1), *b = ray_remote(fib, n - 2);
    int64_t x = 0, y = 0;
    if (ray_get(a, &x) != 0 || ray_get(b, &y) != 0)
        ray_fail("%s", ray_last_error()->message); /* pass it on */
    ray_release(a), ray_release(b);
    return x + y;
}
/* fib] */

/* [struct */
/* A struct of numbers may be an argument or a result, once RAY_STRUCT has described it. */
typedef struct climb {
    int64_t start, steps;
} climb;
RAY_STRUCT(climb, start, steps);
/* struct] */

/* [search */
/* Halve n if it is even, else make it 3 n + 1: which start below end takes the most steps to reach 1? Splits the range
   until it is small. */
RAY_REMOTE(climb, longest_climb, (int64_t, first), (int64_t, end))
{
    climb best = {0};
    if (end - first > 1000) {
        int64_t middle = first + (end - first) / 2;
        ray_ref *halves[2] = {ray_remote(longest_climb, first, middle), ray_remote(longest_climb, middle, end)};
        for (int i = 0; i < 2; i++) {
            climb c;
            if (ray_get(halves[i], &c) != 0)
                ray_fail("%s", ray_last_error()->message);
            else if (c.steps > best.steps)
                best = c;
            ray_release(halves[i]);
        }
        return best;
    }
    for (int64_t start = first; start < end; start++) {
        int64_t steps = 0;
        for (int64_t n = start; n > 1; n = n % 2 == 0 ? n / 2 : 3 * n + 1)
            steps++;
        if (steps > best.steps)
            best = (climb){start, steps};
    }
    return best;
}
/* search] */

int main(void)
{
    if (ray_init(NULL) != 0)
        die("ray_init");

    ray_ref *r = ray_remote(fib, 20);
    int64_t y;
    if (ray_get(r, &y) != 0)
        die("fib");
    printf("fib(20) = %lld\n", (long long)y);
    ray_release(r);

    r = ray_remote(longest_climb, 1, 100000);
    climb best;
    if (ray_get(r, &best) != 0)
        die("longest_climb");
    printf("from %lld it takes %lld steps\n", (long long)best.start, (long long)best.steps);
    ray_release(r);
    return ray_shutdown() != 0;
}
