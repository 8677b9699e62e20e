/* What the programs here share: types, and functions that one file defines and others declare, C++ too. */
#ifndef KINDS_H
#define KINDS_H
#include <ray/ray.h>

typedef struct point {
    double x, y;
    int32_t tag[4];
    char label[8];
} point;
RAY_STRUCT(point, x, y, tag, label);

typedef int64_t my_index; /* a typedef is seen through, as is an enum */
typedef enum color { RED, GREEN } color;
typedef struct counter {
    int64_t n;
} counter;

RAY_REMOTE_DECLARE(int64_t, add2, (int64_t, a), (int64_t, b));
RAY_REMOTE_DECLARE(void, nothing);
RAY_REMOTE_DECLARE(point, move, (point, p), (double, dx));
RAY_REMOTE_DECLARE(ray_stream(int64_t), squares, (int32_t, n));
RAY_REMOTE_DECLARE(int64_t, elsewhere, (int64_t, x), (const char *, s));
RAY_ACTOR_DECLARE(counter, (int64_t, start));
RAY_METHOD_DECLARE(counter, int64_t, add, (int64_t, n));

#endif
