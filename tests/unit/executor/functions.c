#include "functions.h"

int64_t sum_up(const void *bytes, size_t size)
{
    int64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += ((const unsigned char *)bytes)[i];
    return sum;
}

static int64_t sum_of_ref(ray_ref *ref)
{
    ray_view view;
    int r = ray_get(ref, &view);
    if (r)
        return r;
    int64_t sum = sum_up(view.data, view.size);
    ray_view_release(&view);
    return sum;
}

RAY_REMOTE(int64_t, sum, (ray_view, bytes))
{
    return sum_up(bytes.data, bytes.size);
}
RAY_REMOTE(int64_t, sum_of_two, (ray_view, a), (ray_view, b))
{
    return sum_up(a.data, a.size) + sum_up(b.data, b.size);
}
RAY_REMOTE(int64_t, sum_inside, (ray_ref *, ref))
{
    return sum_of_ref(ref);
}
RAY_REMOTE(int64_t, sum_of_held, (ray_view, bytes))
{
    ray_ref *held = ray_view_ref(&bytes, 0);
    int64_t sum = sum_of_ref(held);
    ray_release(held);
    return sum;
}

RAY_ACTOR(adder, (ray_view, bytes))
{
    self->sum = sum_up(bytes.data, bytes.size);
}
RAY_METHOD(adder, int64_t, add, (ray_view, bytes))
{
    self->sum += sum_up(bytes.data, bytes.size);
    return self->sum;
}
