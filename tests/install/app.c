/* A program outside of the tree, for whichever way it finds the library. */
#include <ray/ray.h>

RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return x * 2;
}

int main(void)
{
    if (ray_version() / 100 != RAY_VERSION / 100 || ray_init(NULL) != 0)
        return 1;
    ray_ref *a = ray_remote(twice, 5), *b = ray_remote(twice, a);
    int64_t y = 0;
    int r = ray_get(b, &y);
    ray_release(a), ray_release(b);
    if (ray_shutdown() != 0)
        return 2;
    return r == 0 && y == 20 ? 0 : 3;
}
