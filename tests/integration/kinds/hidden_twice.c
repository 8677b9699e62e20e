/* With extra_b.c: two files of a program each keep a function named hidden, and ray_init names it. */
#include <ray/ray.h>
#include <string.h>

static RAY_REMOTE(int64_t, hidden, (int64_t, x))
{
    return -x;
}

int main(void)
{
    if (ray_init(NULL) != RAY_ERR_EXISTS)
        return 1;
    return strstr(ray_last_error()->message, "hidden") ? 0 : 2;
}
