#ifndef FUNCTIONS_H
#define FUNCTIONS_H
#include <ray/ray.h>

typedef struct sums {
    int64_t total;
} sums;

RAY_REMOTE_DECLARE(int64_t, triple, (int64_t, x));
RAY_REMOTE_DECLARE(const char *, who_runs);
RAY_REMOTE_DECLARE(int64_t, triple_twice, (int64_t, x));
RAY_REMOTE_DECLARE(int64_t, give_up, (int64_t, x));
RAY_REMOTE_DECLARE(int64_t, say, (const char *, words));
RAY_ACTOR_DECLARE(sums, (int64_t, start));
RAY_METHOD_DECLARE(sums, int64_t, add, (int64_t, x));

#endif
