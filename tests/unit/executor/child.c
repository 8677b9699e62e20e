/* A worker process: it serves, and ends in ray_init. */
#include <ray/ray.h>

int main(void)
{
    return ray_init(NULL) == 0 ? 0 : 2;
}
