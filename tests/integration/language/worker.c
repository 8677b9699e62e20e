/* The interpreter as a worker process: what a node starts for the language. */
#include "toy.h"

#include <stdio.h>

/* [main */
int main(void)
{
    if (toy_register(toy_run) == 0 && ray_init(NULL) == 0) /* serves, and ends the process */
        ray_shutdown();
    fprintf(stderr, "this is a worker process of the toy language; a node starts it\n");
    return 2;
}
/* main] */
