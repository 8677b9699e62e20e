#include "base/clock.h"

#include <time.h>

int64_t rayi_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t rayi_wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t rayi_wall_ms(void)
{
    return rayi_wall_ns() / 1000000;
}

int64_t rayi_now_ms(void)
{
    return rayi_now_ns() / 1000000;
}

int64_t rayi_moment_ms(int64_t span_ms)
{
    int64_t now = rayi_now_ms();

    return span_ms > INT64_MAX - now ? INT64_MAX : span_ms < -now ? 0 : now + span_ms;
}

int64_t rayi_deadline_ns(int64_t timeout_ms)
{
    int64_t now = rayi_now_ns();

    if (timeout_ms < 0 || timeout_ms > (INT64_MAX - now) / 1000000)
        return INT64_MAX;
    return now + timeout_ms * 1000000;
}

void rayi_nap_ms(int64_t span_ms)
{
    const struct timespec span = {.tv_sec = span_ms / 1000, .tv_nsec = span_ms % 1000 * 1000000};

    (void)nanosleep(&span, NULL);
}
