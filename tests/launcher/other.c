/* A library that knows triple with another signature, and nothing else. */
#include <ray/ray.h>

RAY_REMOTE(double, triple, (double, x))
{
    return 3 * x;
}
