/* Waiting for some of many, giving up, and cancelling. */
#define _POSIX_C_SOURCE 200809L
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return x * 2;
}

/* [endless */
/* Would run for ever: it looks now and then whether somebody has cancelled it. */
RAY_REMOTE(int64_t, endless, (int64_t, x))
{
    while (!ray_cancelled())
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    return x; /* whatever it returns: the task has been cancelled */
}
/* endless] */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

int main(void)
{
    if (ray_init(NULL) != 0)
        die("ray_init");

    /* [wait */
    enum { COUNT = 4 };
    ray_ref *refs[COUNT] = {ray_remote(twice, 1), ray_remote(twice, 2), ray_remote(twice, 3), ray_remote(endless, 4)};
    bool ready[COUNT];
    int n = ray_wait(refs, COUNT, 3, RAY_FOREVER, ready); /* until three of them are done */
    if (n < 0)
        die("ray_wait");
    printf("%d are done:", n);
    for (int i = 0; i < COUNT; i++)
        printf(" %s", ready[i] ? "yes" : "no");
    printf("\n");
    n = ray_wait(refs, COUNT, COUNT, 20, NULL); /* all of them, but at most 20 ms: time up is no error */
    printf("%d are done\n", n);
    /* wait] */

    /* [timeout */
    int64_t y;
    int r = ray_get_timeout(refs[3], 20, &y); /* the task goes on */
    printf("%s\n", ray_error_name(r));        /* RAY_ERR_TIMEOUT */
    /* timeout] */

    /* [cancel */
    ray_ref *after = ray_remote(twice, refs[3]); /* waits for the endless one */
    if (ray_cancel(after, 0) != 0)               /* not started: it fails at once, and never runs */
        die("ray_cancel");
    printf("%s\n", ray_error_name(ray_get(after, &y))); /* RAY_ERR_CANCELLED */
    ray_release(after);

    if (ray_cancel(refs[3], 0) != 0) /* running: ray_cancelled() turns true in it */
        die("ray_cancel");
    printf("%s\n", ray_error_name(ray_get(refs[3], &y)));

    if (ray_cancel(refs[0], 0) != 0) /* done: nothing happens */
        die("ray_cancel");
    if (ray_get(refs[0], &y) != 0)
        die("twice");
    printf("%lld\n", (long long)y);
    /* cancel] */

    for (int i = 0; i < COUNT; i++)
        ray_release(refs[i]);
    return ray_shutdown() != 0;
}
