/* A node whose program is not that of the others: it knows one function by another signature, and one that no other
 * knows. */
#include "nodes.h"

RAY_REMOTE(double, twice, (double, x))
{
    return 2 * x;
}
RAY_REMOTE(int64_t, known_to_few, (int64_t, x))
{
    return x + 1;
}

CHECK_MAIN({0})
