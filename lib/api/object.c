#include "api/api.h"

ray_ref *ray_put(const void *data, size_t size_bytes)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || (size_bytes > 0 && !rayi_check_pointer(data, "ray_put", "data")))
        return rayi_failed_ref();
    if (rayi_lane_stopping(thread->lane))
        return rayi_object_fixed(RAY_ERR_SHUTDOWN);
    return rayi_object_put(thread, data, size_bytes);
}

ray_buffer *ray_create(size_t size_bytes)
{
    rayi_thread *thread = rayi_enter();

    return thread ? rayi_buffer_new(thread, size_bytes) : NULL;
}

static bool check_buffer(rayi_thread *thread, ray_buffer *buffer, const char *call)
{
    if (!buffer)
        return rayi_check_pointer(buffer, call, "a buffer");
    return rayi_check_ref(thread, rayi_buffer_record(buffer), call);
}

int ray_buffer_hold(ray_buffer *buffer, ray_ref *ref)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !check_buffer(thread, buffer, "ray_buffer_hold") || !rayi_check_ref(thread, ref, "ray_buffer_hold"))
        return rayi_error_last_public()->code;
    return rayi_buffer_hold(thread, buffer, ref);
}

ray_ref *ray_seal(ray_buffer *buffer)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !check_buffer(thread, buffer, "ray_seal"))
        return rayi_failed_ref();
    return rayi_buffer_seal(thread, buffer);
}

void ray_buffer_free(ray_buffer *buffer)
{
    rayi_drop(buffer ? rayi_buffer_record(buffer) : NULL);
}

static int get(ray_ref *ref, int64_t timeout_ms, ray_value *out, const char *call)
{
    rayi_thread *thread = rayi_enter();

    if (__builtin_expect(!thread || !rayi_check_ref(thread, ref, call), 0))
        return rayi_error_last_public()->code;
    if (out && out->kind != RAY_KIND_NONE && !rayi_check_pointer(out->data, call, "a place for the value"))
        return RAY_ERR_ARGUMENT;
    return rayi_record_get(thread, ref, timeout_ms, out);
}

int(ray_get)(ray_ref *ref, ray_value *out)
{
    return get(ref, RAY_FOREVER, out, "ray_get");
}

int(ray_get_timeout)(ray_ref *ref, int64_t timeout_ms, ray_value *out)
{
    return get(ref, timeout_ms, out, "ray_get_timeout");
}

ray_view ray_view_of(const void *data, size_t size_bytes)
{
    return (ray_view){.data = data, .size = size_bytes};
}

void ray_view_release(ray_view *view)
{
    if (!view)
        return;
    rayi_drop(view->pin);
    *view = (ray_view){0};
}

int ray_view_retain(const ray_view *view, ray_view *out)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(view, "ray_view_retain", "a view") ||
        !rayi_check_pointer(out, "ray_view_retain", "a view to fill") ||
        (view->pin && !rayi_check_ref(thread, view->pin, "ray_view_retain")))
        return rayi_error_last_public()->code;
    if (!view->pin)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_view_retain: these bytes are not an object's: copy them");
    return rayi_view_retain(thread, view, out);
}

ray_ref *ray_view_ref(const ray_view *view, size_t index)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(view, "ray_view_ref", "a view") ||
        (view->pin && !rayi_check_ref(thread, view->pin, "ray_view_ref")))
        return rayi_failed_ref();
    return rayi_view_ref(thread, view, index);
}

int ray_wait(ray_ref *const *refs, size_t count, size_t num_ready, int64_t timeout_ms, bool *ready)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || (count > 0 && !rayi_check_pointer((const void *)refs, "ray_wait", "an array of refs")))
        return rayi_error_last_public()->code;
    if (count > INT32_MAX)
        return rayi_fail(RAY_ERR_LIMIT, "ray_wait: at most %d refs at once, got %zu", INT32_MAX, count);
    if (num_ready > count)
        return rayi_fail(RAY_ERR_ARGUMENT, "ray_wait: num_ready is at most count (%zu), got %zu", count, num_ready);
    for (size_t i = 0; i < count; i++)
        if (!refs[i])
            return rayi_fail(RAY_ERR_ARGUMENT, "ray_wait: expected refs, got NULL at index %zu", i);
    /* The first is often done already: looking at each of thousands every time would cost more than all else. */
    for (size_t i = 0; i < count; i++) {
        if (!rayi_check_ref(thread, refs[i], "ray_wait"))
            return rayi_error_last_public()->code;
        if (num_ready == 1 && rayi_record_done(refs[i]))
            break;
    }
    return rayi_record_wait_many(thread, refs, count, num_ready, timeout_ms, ready);
}

int ray_cancel(ray_ref *ref, unsigned flags)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_ref(thread, ref, "ray_cancel"))
        return rayi_error_last_public()->code;
    return rayi_record_cancel(thread, ref, flags);
}

/* Counts go up and down also when the runtime is gone. */
ray_ref *ray_retain(ray_ref *ref)
{
    if (rayi_is_held(ref))
        rayi_record_ref(ref);
    return ref;
}

void ray_release(ray_ref *ref)
{
    rayi_drop(ref);
}

const char *ray_ref_id(ray_ref *ref)
{
    rayi_thread *thread = rayi_enter();

    return thread && rayi_check_ref(thread, ref, "ray_ref_id") ? rayi_record_id(thread, ref) : NULL;
}

ray_ref *ray_next(ray_ref *stream)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_ref(thread, stream, "ray_next"))
        return rayi_failed_ref();
    return rayi_stream_next(thread, stream);
}

int ray_object_publish(const char *name, ray_ref *ref, uint32_t copies)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(name, "ray_object_publish", "a name") ||
        !rayi_check_ref(thread, ref, "ray_object_publish"))
        return rayi_error_last_public()->code;
    return rayi_body_now()->publish(thread, name, ref, copies);
}

int ray_object_unpublish(const char *name)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(name, "ray_object_unpublish", "a name"))
        return rayi_error_last_public()->code;
    return rayi_body_now()->unpublish(thread, name);
}

ray_ref *ray_object_lookup(const char *name)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(name, "ray_object_lookup", "a name"))
        return rayi_failed_ref();
    return rayi_body_now()->lookup(thread, name);
}

/* ---- waitsets ---- */

ray_waitset *ray_waitset_new(void)
{
    rayi_thread *thread = rayi_enter();

    return thread ? rayi_waitset_new(thread) : NULL;
}

int ray_waitset_add(ray_waitset *set, ray_ref *ref, void *tag)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(set, "ray_waitset_add", "a waitset") ||
        !rayi_check_ref(thread, ref, "ray_waitset_add"))
        return rayi_error_last_public()->code;
    return rayi_waitset_add(thread, set, ref, tag);
}

ray_ref *ray_waitset_next(ray_waitset *set, int64_t timeout_ms, void **tag)
{
    rayi_thread *thread = rayi_enter();

    if (!thread || !rayi_check_pointer(set, "ray_waitset_next", "a waitset"))
        return NULL;
    return rayi_waitset_next(thread, set, timeout_ms, tag);
}

int ray_waitset_fd(ray_waitset *set)
{
    if (!rayi_enter() || !rayi_check_pointer(set, "ray_waitset_fd", "a waitset"))
        return rayi_error_last_public()->code;
    return rayi_waitset_fd(set);
}

void ray_waitset_free(ray_waitset *set)
{
    if (set && !rayi_in_forked_child())
        rayi_waitset_free(rayi_current_executor() ? rayi_enter() : rayi_self, set);
}
