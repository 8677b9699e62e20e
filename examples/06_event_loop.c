/* Results in your own event loop.

   A waitset has a descriptor that is readable while one of its refs is done. Here poll() waits for it and for a pipe
   that stands for everything else the program listens to. */
#include <ray/ray.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

RAY_REMOTE(int64_t, cube, (int64_t, x))
{
    return x * x * x;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* [job */
typedef struct job { /* what the program wants to find again with each result: its tag */
    int64_t input, output;
    bool done;
} job;
/* job] */

/* [drain */
/* Takes what is done, without waiting. Returns how many jobs that were. */
static int take_results(ray_waitset *set)
{
    int taken = 0;
    void *tag;
    for (ray_ref *r; (r = ray_waitset_next(set, 0, &tag)) != NULL; ray_release(r), taken++) {
        job *j = tag;
        if (ray_get(r, &j->output) != 0) /* it is done: this does not wait */
            die("cube");
        j->done = true;
    }
    return taken;
}
/* drain] */

int main(void)
{
    int other[2];
    if (pipe(other) != 0 || write(other[1], "!", 1) != 1) {
        perror("pipe");
        return EXIT_FAILURE;
    }
    if (ray_init(NULL) != 0)
        die("ray_init");

    /* [add */
    enum { JOBS = 4 };
    job jobs[JOBS] = {{.input = 2}, {.input = 3}, {.input = 5}, {.input = 7}};
    ray_waitset *set = ray_waitset_new();
    if (!set)
        die("ray_waitset_new");
    for (int i = 0; i < JOBS; i++) {
        ray_ref *r = ray_remote(cube, jobs[i].input);
        if (ray_waitset_add(set, r, &jobs[i]) != 0)
            die("ray_waitset_add");
        ray_release(r); /* the set holds it until it is handed out */
    }
    /* add] */

    /* [loop */
    struct pollfd fds[] = {{.fd = ray_waitset_fd(set), .events = POLLIN}, {.fd = other[0], .events = POLLIN}};
    char heard = 0;
    for (int left = JOBS; left > 0 || heard == 0;) {
        if (poll(fds, 2, -1) < 0) {
            perror("poll");
            return EXIT_FAILURE;
        }
        if (fds[0].revents != 0)
            left -= take_results(set);
        if (fds[1].revents != 0 && read(other[0], &heard, 1) == 1)
            fds[1].fd = -1; /* poll passes it over from here on */
    }
    /* loop] */

    for (int i = 0; i < JOBS; i++)
        printf("%lld -> %lld%s\n", (long long)jobs[i].input, (long long)jobs[i].output, jobs[i].done ? "" : " (?)");
    printf("and from the pipe: %c\n", heard);
    ray_waitset_free(set);
    close(other[0]), close(other[1]);
    return ray_shutdown() != 0;
}
