/* A worker program that is not the one that started it: it knows a function by another signature, and no others. With
 * the argument "hangs" it is a template that says that it is ready, and makes no copy. */
#include <ray/ray.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

RAY_REMOTE(double, twice, (double, x))
{
    return 2 * x;
}

static void hang(void)
{
    const uint32_t protocol = 1;
    if (send(3, &protocol, sizeof protocol, 0) == sizeof protocol)
        for (;;)
            pause();
}

int main(int argc, char **argv)
{
    const char *of = getenv("RAY_WORKER_OF");
    if (argc > 1 && strcmp(argv[1], "hangs") == 0 && of && strstr(of, "template"))
        hang();
    return ray_init(NULL) != 0; /* serves, and exits */
}
