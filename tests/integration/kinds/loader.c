/* Loads a library before ray_init and calls what it brings by name. Argument: its path. */
#include <ray/ray.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    if (ray_load(argv[1], 0) != 0 || ray_init(NULL) != 0) {
        fprintf(stderr, "%s\n", ray_last_error()->message);
        return 1;
    }
    int64_t x = 1, y = 0;
    ray_ref *r = ray_submit(ray_function_get("plugged"), (ray_value[]){RAY_VALUE(&x)}, 1, NULL);
    int code = ray_get(r, &y);
    ray_release(r);
    if (code != 0 || y != 1001) {
        fprintf(stderr, "%d, %s, %lld\n", code, ray_last_error()->message, (long long)y);
        return 1;
    }
    return ray_load("/nowhere/nothing.so", 0) == RAY_ERR_LOAD ? ray_shutdown() : 3;
}
