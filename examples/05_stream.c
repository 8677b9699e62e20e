/* Streams: a task with many results, read while it runs.

   The function yields items; the reader asks for one ref an item. A writer that is too far ahead of its reader waits
   inside ray_yield, so a stream of any length needs little memory. */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>

/* [squares */
RAY_REMOTE(ray_stream(int64_t), squares, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++) {
        int64_t item = i * i;
        if (ray_yield(&item) != 0) /* nobody reads on */
            return;
    }
}
/* squares] */

/* [divide */
RAY_REMOTE(ray_stream(int64_t), divide, (int64_t, a), (int64_t, b))
{
    if (b == 0) {
        ray_fail("%lld divided by zero", (long long)a);
        return;
    }
    int64_t quotient = a / b, rest = a % b;
    ray_yield(&quotient);
    ray_yield(&rest);
}
/* divide] */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* [read */
/* Prints all items of a stream; returns why there are no more. */
static int print_all(ray_ref *stream)
{
    for (;;) {
        ray_ref *item = ray_next(stream); /* at once, whether it is there or not */
        int64_t y;
        int r = ray_get(item, &y); /* waits for it; past the end it fails */
        ray_release(item);
        if (r != 0)
            return r;
        printf("%lld\n", (long long)y);
    }
}
/* read] */

int main(void)
{
    if (ray_init(NULL) != 0)
        die("ray_init");

    ray_ref *five = ray_remote(squares, 5);
    printf("%s\n", ray_error_name(print_all(five))); /* RAY_ERR_STREAM_END */
    ray_release(five);

    /* [several */
    ray_ref *pair = ray_remote(divide, 17, 5); /* two results: two calls of ray_next, right away */
    ray_ref *quotient = ray_next(pair), *rest = ray_next(pair);
    ray_ref *again = ray_remote(divide, quotient, rest); /* items are refs like all others: 3 / 2 */
    int64_t q, m;
    if (ray_get(quotient, &q) != 0 || ray_get(rest, &m) != 0)
        die("divide");
    printf("17 = %lld * 5 + %lld\n", (long long)q, (long long)m);
    ray_release(pair), ray_release(quotient), ray_release(rest);
    print_all(again);
    ray_release(again);
    /* several] */

    /* [failed */
    ray_ref *bad = ray_remote(divide, 1, 0);
    if (print_all(bad) != RAY_ERR_STREAM_END) /* the error comes after the last item */
        printf("%s\n", ray_last_error()->message);
    ray_release(bad);
    /* failed] */

    /* [stop */
    ray_ref *endless = ray_remote_opts(RAY_WITH(ray_task_options, .max_ahead = 4), squares, INT64_MAX);
    for (int i = 0; i < 3; i++) {
        ray_ref *item = ray_next(endless);
        int64_t y;
        if (ray_get(item, &y) == 0)
            printf("%lld\n", (long long)y);
        ray_release(item);
    }
    ray_release(endless); /* the writer's next ray_yield says RAY_ERR_CANCELLED, and it returns */
    /* stop] */
    return ray_shutdown() != 0;
}
