/* Five tasks.

     task [--isolation thread|process]

   RAY_REMOTE defines an ordinary C function that can also be called remotely. ray_remote submits one call of it, a
   task, and returns at once with a ref: a handle of the result, whether it is there or not. ray_get waits for it. */
#include "isolation.h"

#include <stdio.h>
#include <stdlib.h>

/* [function */
RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return x * 2;
}
/* function] */

/* [die */
/* Says what the last libray call that failed on this thread has to say, and ends the program. */
static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}
/* die] */

/* [main */
int main(int argc, char **argv)
{
    ray_isolation isolation = take_isolation("task", &argc, &argv, 0);
    ray_config *config = RAY_WITH(ray_config, .isolation = isolation); /* NULL will do as well */
    if (ray_init(config) != 0) /* this process becomes a node: its CPUs run tasks from here on */
        die("ray_init");

    ray_ref *results[5];
    for (int i = 0; i < 5; i++)
        results[i] = ray_remote(twice, i); /* does not wait, and never fails here */

    printf("[");
    for (int i = 0; i < 5; i++) {
        int64_t y;
        if (ray_get(results[i], &y) != 0) /* waits; a failed task is reported here */
            die("ray_get");
        printf("%s%lld", i > 0 ? ", " : "", (long long)y);
        ray_release(results[i]); /* what you obtain, you release */
    }
    printf("]\n");
    return ray_shutdown() != 0;
}
/* main] */
