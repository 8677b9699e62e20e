/* Results that come later. A handle may outlive its runtime: then it is only given back. */
#include "api/api.h"

#include <unistd.h>

/* This thread's context in the handle's runtime; NULL: that is over. */
static rayi_thread *thread_of(const ray_later *later)
{
    rayi_lane *lane = rayi_later_lane(later);
    rayi_thread *thread = rayi_self;

    if (thread && thread->lane == lane)
        return thread;
    thread = rayi_enter();
    return thread && thread->lane == lane ? thread : NULL;
}

static bool check_later(const ray_later *later, const char *call)
{
    if (!rayi_in_forked_child())
        return rayi_check_pointer(later, call, "a handle");
    (void)rayi_fail(RAY_ERR_FORKED, "%s in a forked child", call);
    return false;
}

ray_later *ray_complete_later(void)
{
    rayi_thread *thread = rayi_enter();

    return thread ? rayi_later_new(thread) : NULL;
}

/* What a value gives away, when nobody takes it. */
static void drop_value(const ray_value *value)
{
    if (!value->data)
        return;
    if (value->kind == RAY_KIND_REF)
        ray_release(*(ray_ref **)value->data);
    else if (value->kind == RAY_KIND_ACTOR)
        ray_actor_release(*(ray_actor **)value->data);
    else if (value->kind == RAY_KIND_BUFFER)
        ray_buffer_free(*(ray_buffer **)value->data);
}

int ray_complete(ray_later *later, const ray_value *value)
{
    static const ray_value none = {.kind = RAY_KIND_NONE};
    rayi_thread *thread;

    if (!check_later(later, "ray_complete"))
        return rayi_error_last_public()->code;
    thread = thread_of(later);
    if (thread)
        return rayi_later_complete(thread, later, value ? value : &none);
    if (value)
        drop_value(value);
    rayi_later_free_late(later);
    return 0;
}

static void fail(ray_later *later, ray_error about)
{
    rayi_thread *thread = thread_of(later);

    if (!thread) {
        rayi_later_free_late(later);
        return;
    }
    about.code = RAY_ERR_TASK_FAILED;
    about.function = rayi_later_function(later);
    about.node_id = rayi_executor_node_id(rayi_executor_of(thread));
    about.pid = getpid();
    rayi_later_fail(thread, later, rayi_error_copy(&about));
}

/* As with ray_fail_with: what is wrong with the payload is told, and it is left out. */
int ray_complete_failed(ray_later *later, int user_code, const char *message, const void *payload, size_t payload_size)
{
    bool fits = payload_size <= RAYI_PAYLOAD_MAX, there = payload || payload_size == 0;
    bool carried = fits && there && payload_size > 0;

    if (!check_later(later, "ray_complete_failed"))
        return rayi_error_last_public()->code;
    fail(later, (ray_error){.user_code = user_code,
                            .message = message ? message : "",
                            .payload = carried ? payload : NULL,
                            .payload_size = carried ? payload_size : 0});
    if (!fits)
        return rayi_fail(RAY_ERR_LIMIT, "ray_complete_failed: a payload has at most %d bytes, got %zu",
                         RAYI_PAYLOAD_MAX, payload_size);
    if (!there)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_complete_failed: expected a payload of %zu bytes, got NULL",
                         payload_size);
    return 0;
}

void ray_later_free(ray_later *later)
{
    if (later && !rayi_in_forked_child())
        fail(later, (ray_error){.message = "its handle (ray_complete_later) was freed without a result"});
}

bool ray_later_cancelled(const ray_later *later)
{
    rayi_thread *thread;

    if (!later || rayi_in_forked_child())
        return false;
    thread = thread_of(later);
    return !thread || rayi_later_cancelled(thread, later);
}

int ray_later_fail_again(ray_later *later, bool again)
{
    if (!check_later(later, "ray_later_fail_again"))
        return rayi_error_last_public()->code;
    rayi_later_say_again(later, again);
    return 0;
}
