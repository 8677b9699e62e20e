#include "api/api.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

const char *ray_strerror(int code)
{
    return rayi_error_text(code);
}

const char *ray_error_name(int code)
{
    return rayi_error_label(code);
}

const ray_error *ray_last_error(void)
{
    return rayi_error_last_public();
}

static int fail_task(const ray_error *given)
{
    rayi_thread *thread = rayi_enter();
    const char *function = thread ? rayi_frame_function(thread) : NULL;
    ray_error about = *given;

    if (!thread || !function)
        return rayi_fail(RAY_ERR_NOT_HERE, "ray_fail is for running tasks; nothing runs on this thread");
    about.code = RAY_ERR_TASK_FAILED;
    about.function = function;
    about.node_id = rayi_executor_node_id(rayi_executor_of(thread));
    about.pid = getpid();
    return rayi_frame_fail(thread, rayi_error_copy(&about));
}

int ray_fail(const char *format, ...)
{
    char message[RAYI_MESSAGE_MAX + 1];
    va_list args;

    if (!rayi_check_pointer(format, "ray_fail", "a format"))
        return fail_task(&(ray_error){.message = "ray_fail was called without words"});
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return fail_task(&(ray_error){.message = message});
}

int ray_fail_again(bool again)
{
    rayi_thread *thread = rayi_enter();

    return thread ? rayi_frame_fail_again(thread, again) : rayi_error_last_public()->code;
}

/* The task fails in any case: what is wrong with the call is told, and the payload left out. */
int ray_fail_with(int user_code, const char *message, const void *payload, size_t payload_size)
{
    bool fits = payload_size <= RAYI_PAYLOAD_MAX, there = payload || payload_size == 0;
    bool carried = fits && there && payload_size > 0;
    int r = fail_task(&(ray_error){.user_code = user_code,
                                   .message = message ? message : "",
                                   .payload = carried ? payload : NULL,
                                   .payload_size = carried ? payload_size : 0});

    if (r == RAY_ERR_TASK_FAILED && !fits)
        r = rayi_fail(RAY_ERR_LIMIT, "ray_fail_with: a payload has at most %d bytes, got %zu", RAYI_PAYLOAD_MAX,
                      payload_size);
    else if (r == RAY_ERR_TASK_FAILED && !there)
        r = rayi_fail(RAY_ERR_ARGUMENT, "ray_fail_with: expected a payload of %zu bytes, got NULL", payload_size);
    return r;
}
