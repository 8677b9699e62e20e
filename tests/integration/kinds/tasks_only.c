/* A function for callers in other languages. */
#include <ray/ray.h>

RAY_REMOTE(int64_t, add2, (int64_t, a), (int64_t, b))
{
    return a + b;
}
