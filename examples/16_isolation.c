/* Worker processes: functions that may crash, hang or eat all memory.

   A function, a call, an actor or a whole node runs its code in worker processes (isolation: process). These are this
   very program started again: each runs main up to ray_init and serves there. */
#include <ray/ray.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

/* [crash */
RAY_REMOTE(int64_t, fragile, (int64_t, x))
{
    if (x == 3) {
        fprintf(stderr, "fragile: cannot stand %lld\n", (long long)x);
        abort();
    }
    return 2 * x;
}
/* crash] */

static void crashes(void)
{
    /* [function */
    ray_function_set(&ray_fn_fragile, RAY_WITH(ray_function_options, .isolation = RAY_ISOLATION_PROCESS));
    ray_task_options *once = RAY_WITH(ray_task_options, .max_retries = RAY_NO_RETRIES);
    for (int64_t x = 2; x <= 4; x++) {
        ray_ref *ref = ray_remote_opts(once, fragile, x);
        int64_t y;
        int r = ray_get(ref, &y);
        const ray_error *e = ray_last_error();
        if (r == 0)
            printf("%lld\n", (long long)y);
        else /* the process that ran it is gone; this one is not */
            printf("%s: %s, signal %d\n  its last words: %s\n", ray_error_name(r), e->function, e->signal, e->output);
        ray_release(ref);
    }
    /* function] */
}

/* [retry */
RAY_REMOTE(int64_t, second_time_lucky)
{
    if (ray_context_get()->attempt == 0)
        abort();
    return (int64_t)ray_context_get()->attempt;
}
/* retry] */

static void retries(void)
{
    /* [options */
    ray_task_options *process = RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS);
    ray_ref *ref = ray_remote_opts(process, second_time_lucky); /* after a crash: up to 3 tries more */
    int64_t attempt;
    if (ray_get(ref, &attempt) != 0)
        die("second_time_lucky");
    printf("done at attempt %lld\n", (long long)attempt);
    ray_release(ref);
    /* options] */
}

/* [spin */
RAY_REMOTE(int64_t, spin)
{
    for (volatile int64_t i = 0;; i++)
        ;
    return 0;
}
/* spin] */

static void forced_cancel(void)
{
    /* [force */
    ray_task_options *process = RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS);
    ray_ref *ref = ray_remote_opts(process, spin);
    if (ray_get_timeout(ref, 50, NULL) == RAY_ERR_TIMEOUT && ray_cancel(ref, RAY_CANCEL_FORCE) == 0)
        printf("%s\n", ray_error_name(ray_get(ref, NULL)));
    ray_release(ref);
    /* force] */
}

/* [actor */
typedef struct account {
    int64_t balance;
} account;
RAY_ACTOR(account, (int64_t, balance))
{
    self->balance = balance;
}
RAY_METHOD(account, int64_t, pay_in, (int64_t, amount))
{
    if (amount < 0)
        abort();
    return self->balance += amount;
}
/* actor] */

static void actor_that_restarts(void)
{
    /* [restart */
    ray_actor_options *options = RAY_WITH(ray_actor_options, .isolation = RAY_ISOLATION_PROCESS, .max_restarts = 1);
    ray_actor *a = ray_actor_new_opts(options, account, 100);
    int64_t amounts[] = {10, -1, 5}, balance;
    for (int i = 0; i < 3; i++) {
        ray_ref *ref = ray_call(a, account_pay_in, amounts[i]);
        int r = ray_get(ref, &balance);
        if (r == 0)
            printf("balance %lld\n", (long long)balance);
        else
            printf("%s\n", ray_error_name(r)); /* the call that was under way */
        ray_release(ref);
    }
    ray_actor_release(a);
    /* restart] */
}

/* [env */
RAY_REMOTE(const char *, greeting)
{
    return getenv("GREETING");
}
/* env] */

static void environment(void)
{
    /* [start */
    const char *const variables[] = {"GREETING=hello", NULL};
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .env = variables), greeting);
    const char *text;
    if (ray_get(ref, &text) != 0)
        die("greeting");
    printf("%s\n", text);
    ray_release(ref);
    /* start] */
}

/* [hungry */
RAY_REMOTE(int64_t, hungry, (int64_t, megabytes))
{
    for (int64_t i = 0; i < megabytes; i++) {
        char *p = malloc(1 << 20);
        if (p)
            memset(p, 1, 1 << 20);
    }
    return megabytes;
}
/* hungry] */

static void memory_limit(void)
{
    /* [limit */
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS,
                                            .resources = "CPU=1, memory=64MiB", .max_retries = RAY_NO_RETRIES),
                                   hungry, 4096);
    printf("%s\n", ray_error_name(ray_get(ref, NULL)));
    ray_release(ref);
    /* limit] */
}

int main(void)
{
    if (ray_init(NULL) != 0)
        die("ray_init");
    crashes();
    retries();
    forced_cancel();
    actor_that_restarts();
    environment();
    memory_limit();
    return ray_shutdown() != 0;
}
