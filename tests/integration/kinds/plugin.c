/* A library for ray_load. */
#include <ray/ray.h>

RAY_REMOTE(int64_t, plugged, (int64_t, x))
{
    return x + 1000;
}
