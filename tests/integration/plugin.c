/* A library for ray_load. */
#include <ray/ray.h>

RAY_REMOTE(int64_t, plugin_triple, (int64_t, x))
{
    return 3 * x;
}
