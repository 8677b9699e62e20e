/* Functions of another file, and one that nobody else sees. */
#include "kinds.h"

RAY_REMOTE(int64_t, elsewhere, (int64_t, x), (const char *, s))
{
    return x + s[0];
}
static RAY_REMOTE(int64_t, hidden, (int64_t, x))
{
    return x;
}
