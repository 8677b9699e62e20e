/* Actors: state with a queue of calls.

   An actor is an object of your own that lives in the runtime. Its methods are called like tasks, but one at a time
   and in the order in which a thread made the calls, so they need no lock. */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>

/* [class */
typedef struct counter {
    int64_t n;
} counter;

RAY_ACTOR(counter, (int64_t, start)) /* the constructor; *self is all zeros */
{
    self->n = start;
}

RAY_METHOD(counter, int64_t, add, (int64_t, n)) /* the C function is counter_add */
{
    return self->n += n;
}

RAY_METHOD(counter, void, fini) /* called at an orderly end */
{
    printf("the counter ends at %lld\n", (long long)self->n);
}
/* class] */

/* [handle_in_task */
/* A handle is a value like any other: tasks and actors take it as an argument. */
RAY_REMOTE(void, visit, (ray_actor *, where), (int64_t, times))
{
    for (int64_t i = 0; i < times; i++) {
        ray_ref *r = ray_call(where, counter_add, 1);
        if (ray_get(r, NULL) != 0) /* no result wanted: only whether it failed */
            ray_fail("%s", ray_last_error()->message);
        ray_release(r);
    }
}
/* handle_in_task] */

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* Calls counter_add, waits for its result, and releases its ref. */
static long long add_now(ray_actor *actor, int64_t n)
{
    ray_ref *r = ray_call(actor, counter_add, n);
    int64_t sum;
    if (ray_get(r, &sum) != 0)
        die("counter_add");
    ray_release(r);
    return sum;
}

int main(void)
{
    if (ray_init(NULL) != 0)
        die("ray_init");

    /* [order */
    ray_actor *c = ray_actor_new(counter, 100);
    for (int i = 1; i <= 3; i++)
        ray_release(ray_call(c, counter_add, i)); /* fire and forget, */
    printf("%lld\n", add_now(c, 0));              /* but the fourth call comes after them: 106 */
    /* order] */

    /* [visit */
    ray_ref *visits[4];
    for (int i = 0; i < 4; i++)
        visits[i] = ray_remote(visit, c, 10);
    for (int i = 0; i < 4; i++) {
        if (ray_get(visits[i], NULL) != 0)
            die("visit");
        ray_release(visits[i]);
    }
    printf("%lld\n", add_now(c, 0)); /* 146 */
    /* visit] */

    /* [name */
    const ray_actor_options *named = RAY_WITH(ray_actor_options, .name = "clicks", .get_if_exists = true);
    ray_actor *clicks = ray_actor_new_opts(named, counter, 0);
    ray_actor *again = ray_actor_new_opts(named, counter, 5000); /* there is one of this name: the same */
    ray_actor *found = ray_actor_get("clicks");                  /* NULL if there is none */
    if (!found)
        die("ray_actor_get");
    add_now(clicks, 1);
    add_now(again, 1);
    printf("%lld\n", add_now(found, 1)); /* 3 */
    ray_actor_release(again), ray_actor_release(found);
    /* name] */

    /* [kill */
    ray_kill(clicks, false); /* at once and for good; no fini */
    ray_ref *r = ray_call(clicks, counter_add, 1);
    printf("%s\n", ray_error_name(ray_get(r, NULL))); /* RAY_ERR_ACTOR_DIED */
    ray_release(r);
    ray_actor_release(clicks);
    /* kill] */

    fflush(stdout);
    ray_actor_release(c); /* its last handle: it ends when its calls are done, and fini says so */
    return ray_shutdown() != 0;
}
