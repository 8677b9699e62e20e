/* What a library for `raylaunch worker-process --load` has. The test program has the same functions. */
#include "functions.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

RAY_REMOTE(int64_t, triple, (int64_t, x))
{
    return 3 * x;
}

RAY_REMOTE(const char *, who_runs)
{
    static _Thread_local char path[256];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

RAY_REMOTE(int64_t, triple_twice, (int64_t, x))
{
    ray_ref *once = ray_remote(triple, x), *twice = ray_remote(triple, once);
    int64_t y = 0;
    if (ray_get(twice, &y) != 0)
        ray_fail("%s", ray_last_error()->message);
    ray_release(once), ray_release(twice);
    return y;
}

RAY_ACTOR(sums, (int64_t, start))
{
    self->total = start;
}

RAY_METHOD(sums, int64_t, add, (int64_t, x))
{
    return self->total += x;
}

RAY_REMOTE(int64_t, give_up, (int64_t, x))
{
    return ray_fail("no %lld", (long long)x);
}

RAY_REMOTE(int64_t, say, (const char *, words))
{
    printf("%s\n", words);
    return fflush(stdout);
}
