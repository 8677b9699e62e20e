// What C++ sees of a header that C defines: functions, records, types.
#include <ray/ray.h>

typedef struct point {
    double x, y;
} point;
typedef struct counter {
    int64_t n;
} counter;

RAY_STRUCT(point, x, y);
RAY_STRUCT(point, x, y);
RAY_REMOTE_DECLARE(point, move, (point, p), (double, dx));
RAY_REMOTE_DECLARE(point, move, (point, p), (double, dx));
RAY_REMOTE_DECLARE(ray_stream(int), numbers);
RAY_ACTOR_DECLARE(counter, (int64_t, start));
RAY_ACTOR_DECLARE(counter, (int64_t, start));
RAY_METHOD_DECLARE(counter, int64_t, add, (int64_t, n));
RAY_METHOD_DECLARE(counter, int64_t, add, (int64_t, n));

ray_ref *use();
ray_ref *use()
{
    point p = move({1, 2}, 3);
    ray_value arg = {RAY_KIND_STRUCT, 0, sizeof p, &p};
    ray_release(ray_submit(&ray_fn_move, &arg, 1, nullptr));
    return ray_actor_submit(ray_actor_create(&ray_fn_counter, nullptr, 0, nullptr), &ray_fn_counter_add, &arg, 1,
                            nullptr);
}
