/* Declarations may be repeated, before and after the definition, and what they declare be used before it. */
#include <ray/ray.h>

typedef struct point {
    double x, y;
} point;
typedef struct counter {
    int64_t n;
} counter;

RAY_STRUCT(point, x, y);
RAY_REMOTE_DECLARE(point, move, (point, p), (double, dx));
RAY_REMOTE_DECLARE(point, move, (point, p), (double, dx));
RAY_REMOTE_DECLARE(ray_stream(int), numbers);
RAY_REMOTE_DECLARE(ray_stream(int), numbers);
RAY_ACTOR_DECLARE(counter, (int64_t, start));
RAY_ACTOR_DECLARE(counter, (int64_t, start));
RAY_METHOD_DECLARE(counter, int64_t, add, (int64_t, n));
RAY_METHOD_DECLARE(counter, int64_t, add, (int64_t, n));

ray_ref *early(ray_actor *c, ray_function **record);
ray_ref *early(ray_actor *c, ray_function **record)
{
    *record = &ray_fn_move;
    ray_release(ray_remote(move, ((point){1, 2}), 3));
    return ray_call(c, counter_add, 1);
}

RAY_REMOTE(point, move, (point, p), (double, dx))
{
    return (point){p.x + dx, p.y};
}
RAY_REMOTE(ray_stream(int), numbers) {}
RAY_ACTOR(counter, (int64_t, start))
{
    self->n = start;
}
RAY_METHOD(counter, int64_t, add, (int64_t, n))
{
    return self->n += n;
}
RAY_REMOTE_DECLARE(point, move, (point, p), (double, dx));
