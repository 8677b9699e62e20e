/* A driver that has no function: calls one by name, and prints what it comes to. */
#include <ray/ray.h>
#include <stdio.h>

int main(void)
{
    int64_t x = 7, y = 0;

    if (ray_init(NULL) < 0)
        return 1;
    ray_ref *ref = ray_submit(ray_function_get("triple"), &RAY_VALUE(&x), 1, NULL);
    int r = ray_get(ref, &y);
    if (r < 0)
        fprintf(stderr, "%s\n", ray_last_error()->message);
    else
        printf("triple of %lld is %lld\n", (long long)x, (long long)y);
    ray_release(ref);
    return ray_shutdown() < 0 || r < 0;
}
