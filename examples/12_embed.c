/* libray inside a larger program: its log, its memory, and starting it more than once. */
#include <ray/ray.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, ray_last_error()->message);
    exit(EXIT_FAILURE);
}

RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return x * 2;
}

/* [log */
static atomic_int log_events;

/* libray prints nothing. What it has to say comes here, on any thread; this must not call libray. */
static void on_log(void *arg, const ray_log_event *event)
{
    atomic_fetch_add(&log_events, 1);
    if (event->level <= RAY_LOG_WARNING)
        fprintf(arg, "%s: %s\n", event->event, event->message);
}
/* log] */

/* [allocator */
typedef struct usage {
    atomic_llong allocations, blocks; /* ever made, and there now */
} usage;
static usage memory;

static void *my_alloc(void *arg, size_t size_bytes)
{
    usage *u = arg;
    void *block = malloc(size_bytes);
    if (block) {
        atomic_fetch_add(&u->allocations, 1);
        atomic_fetch_add(&u->blocks, 1);
    }
    return block;
}

static void *my_realloc(void *arg, void *block, size_t size_bytes)
{
    return block ? realloc(block, size_bytes) : my_alloc(arg, size_bytes);
}

static void my_free(void *arg, void *block)
{
    usage *u = arg;
    if (block)
        atomic_fetch_sub(&u->blocks, 1);
    free(block);
}
/* allocator] */

/* [library */
/* A library that uses libray need not know whether the program around it does: ray_init(NULL) joins the runtime that
   is there, and counts. */
static int64_t a_library_call(int64_t x)
{
    int64_t y = -1;
    if (ray_init(NULL) != 0)
        return -1;
    ray_ref *r = ray_remote(twice, x);
    ray_get(r, &y);
    ray_release(r);
    ray_shutdown(); /* ends the runtime only if this was the last init */
    return y;
}
/* library] */

int main(void)
{
    printf("libray %s\n", ray_version_string()); /* the one that was found at run time */

    /* [hooks */
    /* Both come before ray_init. */
    const ray_allocator *mine =
        RAY_WITH(ray_allocator, .arg = &memory, .alloc = my_alloc, .realloc = my_realloc, .free = my_free);
    if (ray_set_allocator(mine) != 0 || ray_set_log(on_log, stderr, RAY_LOG_DEBUG) != 0)
        die("before ray_init");
    /* hooks] */

    /* [twice */
    for (int life = 1; life <= 2; life++) { /* a runtime can be ended and started again */
        if (ray_init(NULL) != 0)
            die("ray_init");
        printf("life %d: %lld", life, (long long)a_library_call(life));
        printf(", still running: %s\n", ray_is_initialized() ? "yes" : "no");
        if (ray_shutdown() != 0)
            die("ray_shutdown");
    }
    printf("outside: %lld\n", (long long)a_library_call(3)); /* it starts and ends one of its own */
    /* twice] */

    ray_ref *r = ray_remote(twice, 4); /* without a runtime a call fails like any other */
    printf("%s\n", ray_error_name(ray_get(r, NULL)));
    ray_release(r);

    printf("memory came from here: %s\n", atomic_load(&memory.allocations) > 0 ? "yes" : "no");
    printf("blocks left: %lld\n", atomic_load(&memory.blocks)); /* all of it was given back */
    return EXIT_SUCCESS;
}
