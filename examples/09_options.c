/* Options: what a task needs, how urgent it is, and what to do when it fails. */
#define _POSIX_C_SOURCE 200809L
#include <ray/ray.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000L}, NULL);
}

/* Global variables are those of the process a task runs in. Here that is always this one, which is good enough to
   watch what happens; results travel as results. */
static atomic_int users, most_users, next_place;
static atomic_bool holding, let_go;

/* [scan */
RAY_REMOTE(void, scan_disk, (int64_t, ms))
{
    int now = atomic_fetch_add(&users, 1) + 1, most = atomic_load(&most_users);
    while (now > most && !atomic_compare_exchange_weak(&most_users, &most, now))
        ;
    sleep_ms((int)ms);
    atomic_fetch_sub(&users, 1);
}
/* scan] */

/* [flaky */
RAY_REMOTE(int64_t, flaky, (int64_t, failures))
{
    uint32_t attempt = ray_context_get()->attempt; /* 0: the first */
    if (attempt < failures)
        return ray_fail("attempt %u failed", attempt);
    return attempt;
}
/* flaky] */

/* [priority_functions */
RAY_REMOTE(void, hold_the_cpu, (int64_t, ms))
{
    atomic_store(&holding, true);
    while (!atomic_load(&let_go))
        sleep_ms((int)ms);
}

RAY_REMOTE(int64_t, place)
{
    return atomic_fetch_add(&next_place, 1) + 1; /* which of them came first, second … */
}
/* priority_functions] */

RAY_REMOTE(void, whoami)
{
    const ray_context *c = ray_context_get(); /* valid until the task ends */
    printf("function %s, granted %s, attempt %u, %s an actor\n", c->function, c->resources, c->attempt,
           c->actor_id ? "in" : "not in");
}

/* Waits for refs in turn, and releases them. */
static void wait_all(ray_ref **refs, int count)
{
    for (int i = 0; i < count; i++) {
        if (ray_get(refs[i], NULL) != 0)
            die("a task");
        ray_release(refs[i]);
    }
}

int main(void)
{
    /* [node */
    /* This node offers two CPUs, whatever the machine has, and one "disk": a name of ours that we count by. */
    if (ray_init(RAY_WITH(ray_config, .resources = "CPU=2, disk=1")) != 0)
        die("ray_init");
    /* node] */

    /* [resources */
    const ray_task_options *quarter = RAY_WITH(ray_task_options, .resources = "CPU=0.25");
    const ray_task_options *on_disk = RAY_WITH(ray_task_options, .resources = "CPU=0.25, disk=1");
    ray_ref *scans[8];
    for (int i = 0; i < 8; i++)
        scans[i] = ray_remote_opts(on_disk, scan_disk, 1);
    wait_all(scans, 8);
    printf("on the disk: %d at a time\n", atomic_load(&most_users)); /* there is one disk */

    atomic_store(&most_users, 0);
    for (int i = 0; i < 8; i++)
        scans[i] = ray_remote_opts(quarter, scan_disk, 1);
    wait_all(scans, 8);
    printf("elsewhere: %s\n", atomic_load(&most_users) <= 8 ? "at most 8" : "too many"); /* 8 quarters are 2 CPUs */
    /* resources] */

    /* [retries */
    const ray_task_options *stubborn = RAY_WITH(ray_task_options, .retry_failures = true, .max_retries = 5);
    ray_ref *r = ray_remote_opts(stubborn, flaky, 2);
    int64_t y;
    if (ray_get(r, &y) != 0)
        die("flaky");
    printf("went well after %lld failures\n", (long long)y);
    ray_release(r);

    r = ray_remote(flaky, 2); /* by default what a function says counts: ray_fail is not retried */
    if (ray_get(r, NULL) == RAY_ERR_TASK_FAILED)
        printf("%s\n", ray_last_error()->message);
    ray_release(r);
    /* retries] */

    /* [priority */
    const ray_task_options *both_cpus = RAY_WITH(ray_task_options, .resources = "CPU=2", .name = "the one in the way");
    const ray_task_options *urgent = RAY_WITH(ray_task_options, .resources = "CPU=2", .priority = 10);
    ray_ref *hold = ray_remote_opts(both_cpus, hold_the_cpu, 1);
    while (!atomic_load(&holding))
        sleep_ms(1);
    ray_ref *later = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=2"), place);
    ray_ref *sooner = ray_remote_opts(urgent, place); /* submitted last, started first */
    ray_ref *missed = ray_remote_opts(RAY_WITH(ray_task_options, .deadline_ms = 5), place);
    sleep_ms(20);
    atomic_store(&let_go, true);

    ray_ref *all[] = {hold, later, sooner, missed};
    ray_wait(all, 4, 4, RAY_FOREVER, NULL);
    int64_t first, second;
    if (ray_get(sooner, &first) != 0 || ray_get(later, &second) != 0)
        die("place");
    printf("urgent: %lld, not urgent: %lld\n", (long long)first, (long long)second);
    printf("too late: %s\n", ray_error_name(ray_get(missed, NULL))); /* not started in time: RAY_ERR_DEADLINE */
    for (int i = 0; i < 4; i++)
        ray_release(all[i]);
    /* priority] */

    /* [context */
    r = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0.5"), whoami);
    wait_all(&r, 1);
    /* context] */
    return ray_shutdown() != 0;
}
