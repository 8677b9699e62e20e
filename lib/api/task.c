#include "api/api.h"

int ray_register(ray_function *function)
{
    if (rayi_in_forked_child() || !rayi_check_pointer(function, "ray_register", "a function"))
        return rayi_in_forked_child() ? rayi_fail(RAY_ERR_FORKED, "ray_register in a forked child")
                                      : rayi_error_last_public()->code;
    return rayi_function_register(rayi_current_executor(), function);
}

int ray_register_struct(ray_struct *description)
{
    if (!rayi_check_pointer(description, "ray_register_struct", "a description"))
        return RAY_ERR_ARGUMENT;
    return rayi_struct_register(rayi_current_executor(), description);
}

int ray_function_set(ray_function *function, const ray_function_options *options)
{
    ray_function_options room;

    if (rayi_in_forked_child())
        return rayi_fail(RAY_ERR_FORKED, "ray_function_set in a forked child");
    if (!rayi_check_pointer(function, "ray_function_set", "a function") ||
        !rayi_check_pointer(options, "ray_function_set", "options"))
        return RAY_ERR_ARGUMENT;
    options = rayi_full_options(options, &room, sizeof room);
    if ((unsigned)options->isolation > RAY_ISOLATION_PROCESS)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_function_set: unknown isolation %d", (int)options->isolation);
    return rayi_function_set(rayi_current_executor(), function, options);
}

ray_function *ray_function_get(const char *name)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(name, "ray_function_get", "a name"))
        return NULL;
    if (!*name) {
        (void)rayi_fail(RAY_ERR_ARGUMENT, "ray_function_get: expected a name, got \"\"");
        return NULL;
    }
    return rayi_function_get(rayi_executor_of(thread), name);
}

int ray_load(const char *path, unsigned flags)
{
    if (rayi_in_forked_child())
        return rayi_fail(RAY_ERR_FORKED, "ray_load in a forked child");
    if (!rayi_check_pointer(path, "ray_load", "a path"))
        return RAY_ERR_ARGUMENT;
    if (flags & ~RAY_LOAD_EVERYWHERE)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_load: unknown flags 0x%x", flags);
    return rayi_function_load(rayi_current_executor(), path, flags);
}

ray_ref *ray_submit(ray_function *function, const ray_value *args, size_t num_args, const ray_task_options *options)
{
    rayi_thread *thread = rayi_enter();
    ray_task_options room;

    if (__builtin_expect(!thread || !function, 0)) {
        if (thread)
            (void)rayi_check_pointer(function, "ray_submit", "a function");
        return rayi_failed_ref();
    }
    return rayi_task_submit(thread, function, args, num_args, rayi_full_options(options, &room, sizeof room));
}

int(ray_yield)(const ray_value *item)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(item, "ray_yield", "an item") ||
        (item->kind != RAY_KIND_NONE && !rayi_check_pointer(item->data, "ray_yield", "an item with data")))
        return rayi_error_last_public()->code;
    return rayi_stream_yield(thread, item);
}

bool ray_cancelled(void)
{
    rayi_thread *thread = rayi_self;

    return thread && !rayi_in_forked_child() && rayi_frame_cancelled(thread);
}

/* ---- actors ---- */

static bool check_actor(rayi_thread *thread, ray_actor *actor, const char *call)
{
    if (!actor)
        return rayi_check_pointer(actor, call, "an actor");
    if (rayi_actor_is_fixed(actor)) {
        rayi_error *error = rayi_error_plain(-(int)rayi_actor_record(actor)->size);
        rayi_error_set_last(error);
        return false;
    }
    return rayi_check_ref(thread, rayi_actor_record(actor), call);
}

ray_actor *ray_actor_create(ray_function *cls, const ray_value *args, size_t num_args, const ray_actor_options *options)
{
    rayi_thread *thread = rayi_enter();
    ray_actor_options room;
    rayi_error *error;

    if (!thread)
        return rayi_actor_fixed(rayi_error_last_public()->code);
    if (!rayi_check_pointer(cls, "ray_actor_create", "a class")) {
        error = rayi_error_last();
        return error ? rayi_actor_failed(thread, error) : rayi_actor_fixed(RAY_ERR_ARGUMENT);
    }
    return rayi_actor_new(thread, cls, args, num_args, rayi_full_options(options, &room, sizeof room));
}

ray_ref *ray_actor_submit(ray_actor *actor, ray_function *method, const ray_value *args, size_t num_args,
                          const ray_task_options *options)
{
    rayi_thread *thread = rayi_enter();
    ray_task_options room;

    if (!thread || !check_actor(thread, actor, "ray_actor_submit") ||
        !rayi_check_pointer(method, "ray_actor_submit", "a method"))
        return rayi_failed_ref();
    return rayi_actor_submit(thread, actor, method, args, num_args, rayi_full_options(options, &room, sizeof room));
}

ray_actor *ray_actor_get(const char *name)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(name, "ray_actor_get", "a name"))
        return NULL;
    return rayi_body_now()->find_actor(thread, name);
}

ray_actor *ray_actor_self(void)
{
    rayi_thread *thread = rayi_enter();

    return thread ? rayi_actor_self(thread) : NULL;
}

ray_ref *ray_actor_ready(ray_actor *actor)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !check_actor(thread, actor, "ray_actor_ready"))
        return rayi_failed_ref();
    return rayi_actor_ready(thread, actor);
}

const char *ray_actor_id(ray_actor *actor)
{
    rayi_thread *thread = rayi_enter();

    return thread && check_actor(thread, actor, "ray_actor_id") ? rayi_actor_id(actor) : NULL;
}

ray_actor *ray_actor_retain(ray_actor *actor)
{
    if (actor && rayi_is_held(rayi_actor_record(actor)))
        rayi_actor_retain(actor);
    return actor;
}

void ray_actor_release(ray_actor *actor)
{
    rayi_thread *thread = rayi_self;
    rayi_lane *lane;

    if (!actor || !rayi_is_held(rayi_actor_record(actor)))
        return;
    lane = rayi_pool_lane(rayi_actor_record(actor));
    if (!thread || thread->lane != lane) {
        thread = rayi_enter();
        if (thread && thread->lane != lane)
            thread = NULL;
    }
    if (thread)
        rayi_actor_release(thread, actor);
    else
        rayi_actor_release_late(actor);
}

int ray_kill(ray_actor *actor, bool may_restart)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !check_actor(thread, actor, "ray_kill"))
        return rayi_error_last_public()->code;
    return rayi_actor_kill(thread, actor, may_restart);
}

int ray_actor_exit(void)
{
    rayi_thread *thread = rayi_enter();

    return thread ? rayi_actor_exit(thread) : rayi_error_last_public()->code;
}

int ray_actor_threads(uint32_t most)
{
    rayi_thread *thread = rayi_enter();

    if (!thread)
        return rayi_error_last_public()->code;
    return most ? rayi_actor_threads(thread, most)
                : rayi_fail(RAY_ERR_ARGUMENT, "ray_actor_threads: an actor needs a thread, got 0");
}
