/* Actors that do several things at once: concurrency groups, and results that come later. */
#include <pthread.h>
#include <ray/ray.h>
#include <stdio.h>
#include <stdlib.h>

/* [desk */
typedef struct desk {
    int64_t served;
} desk;

RAY_ACTOR(desk)
{
    self->served = 0;
}

RAY_METHOD(desk, int64_t, serve)
{
    return ++self->served; /* calls of no group: one at a time, in order */
}
/* desk] */

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(1);
}

/* [later */
static void *answer(void *later) /* a thread of your own: an event loop, a library that calls back */
{
    int64_t value = 42;
    ray_complete(later, &RAY_VALUE(&value)); /* takes the handle */
    return NULL;
}

RAY_METHOD(desk, int64_t, ask)
{
    (void)self;
    pthread_t thread;
    ray_later *later = ray_complete_later();
    if (!later || pthread_create(&thread, NULL, answer, later) != 0)
        return ray_fail("nobody to ask");
    pthread_detach(thread);
    return 0; /* dropped: the call ends with ray_complete */
}
/* later] */

int main(void)
{
    int64_t n, answers = 0;
    ray_ref *refs[4], *r;

    if (ray_init(NULL) != 0)
        die("ray_init");
    /* [groups */
    const ray_actor_options *options = RAY_WITH(ray_actor_options, .concurrency_groups = "questions=2, status=1");
    const ray_task_options *questions = RAY_WITH(ray_task_options, .concurrency_group = "questions");
    ray_actor *actor = ray_actor_new_opts(options, desk);
    for (int i = 0; i < 4; i++)
        refs[i] = ray_call_opts(questions, actor, desk_ask); /* two at once, beside everything else */
    r = ray_call(actor, desk_serve);                         /* does not wait for them */
    /* groups] */
    if (ray_get(r, &n) != 0)
        die("serve");
    ray_release(r);
    for (int i = 0; i < 4; i++) {
        int64_t y;
        if (ray_get(refs[i], &y) != 0)
            die("ask");
        answers += y;
        ray_release(refs[i]);
    }
    printf("served %lld, answers %lld\n", (long long)n, (long long)answers);
    ray_actor_release(actor);
    return ray_shutdown();
}
