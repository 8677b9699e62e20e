/* A library for ray_load. */
#include <ray/ray.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

RAY_REMOTE(int64_t, plugin_triple, (int64_t, x))
{
    return 3 * x;
}

RAY_REMOTE(int64_t, plugin_process)
{
    return getpid();
}

/* The lengths of text and bytes, and what a ref is done with: it comes as a ref. */
RAY_REMOTE(int64_t, plugin_measure, (const char *, text), (ray_view, bytes), (ray_ref *, ref))
{
    int64_t x = 0;
    return ray_get(ref, &x) < 0 ? -1 : (int64_t)strlen(text) + (int64_t)bytes.size + x;
}

/* Goes on until it is asked to stop. */
RAY_REMOTE(void, plugin_goes_on, (const char *, file))
{
    FILE *started = fopen(file, "w");
    if (started)
        fclose(started);
    while (!ray_cancelled())
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

RAY_REMOTE(ray_stream(int64_t), plugin_count, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        ray_yield(&i);
}

typedef struct plugin_tally {
    int64_t n;
    char file[256];
} plugin_tally;
RAY_ACTOR(plugin_tally, (int64_t, start), (const char *, file))
{
    self->n = start;
    snprintf(self->file, sizeof self->file, "%s", file);
}
RAY_METHOD(plugin_tally, int64_t, add, (int64_t, x))
{
    return self->n += x;
}
RAY_METHOD(plugin_tally, int64_t, process)
{
    (void)self;
    return getpid();
}
/* Leaves the file. */
RAY_METHOD(plugin_tally, void, fini)
{
    FILE *left = fopen(self->file, "w");
    if (left)
        fclose(left);
}
