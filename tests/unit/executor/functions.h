/* What the node under test runs, in threads or in worker processes. */
#ifndef EXECUTOR_FUNCTIONS_H
#define EXECUTOR_FUNCTIONS_H

#include <ray/ray.h>

RAY_REMOTE_DECLARE(int64_t, sum, (ray_view, bytes));
RAY_REMOTE_DECLARE(int64_t, sum_of_two, (ray_view, a), (ray_view, b));
RAY_REMOTE_DECLARE(int64_t, sum_inside, (ray_ref *, ref));   /* gets it itself; a code if that fails */
RAY_REMOTE_DECLARE(int64_t, sum_of_held, (ray_view, bytes)); /* of what the ref holds that the object holds */

typedef struct adder {
    int64_t sum;
} adder;
RAY_ACTOR_DECLARE(adder, (ray_view, bytes));
RAY_METHOD_DECLARE(adder, int64_t, add, (ray_view, bytes));

/* The sum of the bytes. */
int64_t sum_up(const void *bytes, size_t size);

#endif
