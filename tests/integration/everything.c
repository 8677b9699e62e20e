#include "everything.h"

static RAY_REMOTE(int64_t, echo, (int64_t, x))
{
    return x;
}
static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        if (ray_yield(&i) != 0)
            return;
}

typedef struct cell {
    int64_t n;
} cell;
static RAY_ACTOR(cell, (int64_t, n))
{
    self->n = n;
}
static RAY_METHOD(cell, int64_t, value)
{
    return self->n;
}
static RAY_METHOD(cell, bool, knows_itself)
{
    (void)self;
    ray_actor *me = ray_actor_self();
    bool known = me && ray_actor_id(me);
    ray_actor_release(me);
    return known;
}
static RAY_METHOD(cell, void, leave)
{
    (void)self;
    CHECK_OK(ray_actor_exit());
}

static const char *const one_cpu[] = {"CPU=1"};

void handles_open(handles *h)
{
    *h = (handles){
        .ref = ray_remote(echo, 1),
        .stream = ray_remote(count_to, 3),
        .actor = ray_actor_new(cell, 5),
        .set = ray_waitset_new(),
        .group = ray_placement_group_new(one_cpu, 1, NULL),
        .buffer = ray_create(1000),
    };
    CHECK(h->set && h->group && h->buffer);
    ray_ref *bytes = ray_put("some bytes", 10);
    CHECK_OK(ray_get(bytes, &h->view));
    CHECK_OK(ray_waitset_add(h->set, bytes, NULL));
    ray_release(bytes);
    CHECK_OK(ray_get(h->ref, NULL));
    CHECK_REF_OK(ray_actor_ready(h->actor));
}

void handles_close(handles *h)
{
    ray_release(h->ref);
    ray_release(h->stream);
    ray_actor_release(h->actor);
    ray_waitset_free(h->set);
    ray_placement_group_release(h->group);
    ray_buffer_free(h->buffer);
    ray_view_release(&h->view);
}

/* A call that returned a pointer: NULL, with this code as the reason. */
static void fails(const void *pointer, int code)
{
    CHECK(!pointer);
    CHECK_INT(ray_last_error()->code, code);
}

/* Calls that mean nothing outside of tasks may say so instead. */
static void fails_or_not_here(int got, int code)
{
    if (got != RAY_ERR_NOT_HERE)
        CHECK_CODE(got, code);
}

static void ref_calls_fail(const handles *h, int code)
{
    int64_t y;
    bool ready;
    CHECK_CODE(ray_get(h->ref, &y), code);
    CHECK_CODE(ray_get(h->ref, NULL), code);
    CHECK_CODE(ray_get_timeout(h->ref, 0, &y), code);
    CHECK_CODE(ray_wait(&h->ref, 1, 1, 0, &ready), code);
    CHECK_CODE(ray_cancel(h->ref, 0), code);
    CHECK_CODE(ray_object_publish("name", h->ref, 0), code);
    CHECK_REF(ray_remote(echo, h->ref), code);
    if (h->stream)
        CHECK_REF(ray_next(h->stream), code);
    ray_ref *again = ray_retain(h->ref);
    ray_release(again);
}

static void object_calls_fail(const handles *h, int code)
{
    CHECK_REF(ray_put("x", 1), code);
    fails(ray_create(10), code);
    if (h->buffer)
        CHECK_CODE(ray_buffer_hold(h->buffer, h->ref), code);
    if (h->view.pin) {
        ray_view more;
        CHECK_REF(ray_view_ref(&h->view, 0), code);
        CHECK_CODE(ray_view_retain(&h->view, &more), code);
    }
    CHECK_REF(ray_object_lookup("name"), code);
    CHECK_CODE(ray_object_unpublish("name"), code);
    fails(ray_waitset_new(), code);
    if (h->set) {
        void *tag;
        CHECK_CODE(ray_waitset_add(h->set, h->ref, NULL), code);
        fails(ray_waitset_next(h->set, 0, &tag), code);
        CHECK_CODE(ray_waitset_fd(h->set), code);
    }
}

static void task_and_actor_calls_fail(const handles *h, int code)
{
    CHECK_REF(ray_remote(echo, 1), code);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .priority = 1), echo, 1), code);
    CHECK_REF(ray_submit(&ray_fn_echo, &RAY_VALUE(&(int64_t){1}), 1, NULL), code);
    ray_actor *made = ray_actor_new(cell, 1);
    CHECK(made);
    CHECK_REF(ray_call(made, cell_value), code);
    CHECK_REF(ray_actor_ready(made), code);
    ray_actor_release(made);
    fails(ray_actor_get("name"), code);
    if (h->actor) {
        CHECK_REF(ray_call(h->actor, cell_value), code);
        CHECK_REF(ray_actor_ready(h->actor), code);
        CHECK_CODE(ray_kill(h->actor, false), code);
        ray_actor *again = ray_actor_retain(h->actor);
        ray_actor_release(again);
    }
    fails_or_not_here(ray_actor_exit(), code);
    fails_or_not_here(ray_fail("no"), code);
    fails_or_not_here(ray_fail_with(1, "no", NULL, 0), code);
    fails_or_not_here(ray_fail_again(true), code);
    fails_or_not_here(ray_actor_threads(2), code);
    CHECK(!ray_complete_later());
    fails_or_not_here(ray_last_error()->code, code);
    fails_or_not_here(ray_yield(&(int64_t){1}), code);
    CHECK(!ray_actor_self());
    CHECK(!ray_cancelled());
}

static void cluster_calls_fail(const handles *h, int code)
{
    ray_view view = {0};
    CHECK(ray_context_get());
    fails(ray_cluster_get(), code);
    CHECK_CODE(ray_state("tasks", &view), code);
    CHECK_CODE(ray_node_drain("0"), code);
    fails(ray_placement_group_new(one_cpu, 1, NULL), code);
    fails(ray_placement_group_get("name"), code);
    if (h->group) {
        CHECK_REF(ray_placement_group_ready(h->group), code);
        CHECK_CODE(ray_placement_group_remove(h->group), code);
    }
    CHECK_CODE(ray_kv_put("key", "x", 1, 0), code);
    CHECK_CODE(ray_kv_get("key", &view), code);
    CHECK_CODE(ray_kv_list("", &view), code);
    CHECK_CODE(ray_kv_del("key"), code);
    CHECK(!view.data && !view.pin);
    CHECK_CODE(ray_serve(), code);
    CHECK_CODE(ray_load("/nowhere/at/all.so", 0), code == RAY_ERR_FORKED ? code : RAY_ERR_LOAD);
}

void everything_fails(const handles *h, int code)
{
    CHECK_INT(ray_version(), RAY_VERSION);
    CHECK(!ray_is_initialized());
    object_calls_fail(h, code);
    if (h->ref)
        ref_calls_fail(h, code);
    task_and_actor_calls_fail(h, code);
    cluster_calls_fail(h, code);
}

/* ---- and the other way round ---- */

static void objects_work(void)
{
    int64_t y = 0;
    ray_view view;
    ray_ref *ref = ray_put("12345678", 8);
    ray_buffer *buffer = ray_create(100);
    CHECK(buffer);
    memset(buffer->data, 7, buffer->size);
    CHECK_INT(ray_buffer_hold(buffer, ref), 0);
    ray_ref *sealed = ray_seal(buffer);
    CHECK_OK(ray_get(sealed, &view));
    CHECK_INT(view.size, 100);
    CHECK_REF_OK(ray_view_ref(&view, 0));
    ray_view more;
    CHECK_OK(ray_view_retain(&view, &more));
    ray_view_release(&view);
    CHECK(more.size == 100 && ((const char *)more.data)[99] == 7);
    ray_view_release(&more);
    ray_buffer *other = ray_create(1);
    CHECK(other);
    ray_buffer_free(other);
    CHECK_OK(ray_get_timeout(ref, 1000, &y));
    CHECK_INT(ray_wait(&ref, 1, 1, RAY_FOREVER, NULL), 1);
    CHECK_OK(ray_cancel(ref, 0));
    CHECK(ray_ref_id(ref));
    CHECK_OK(ray_object_publish("everything", sealed, 0));
    CHECK_REF_OK(ray_object_lookup("everything"));
    CHECK_OK(ray_object_unpublish("everything"));
    ray_release(ray_retain(ref));
    ray_release(ref), ray_release(sealed);
}

static void tasks_work(void)
{
    CHECK_REF_INT(ray_remote(echo, 4), 4);
    CHECK_REF_INT(ray_submit(ray_function_get("echo"), &RAY_VALUE(&(int32_t){4}), 1, NULL), 4);
    CHECK_OK(ray_register(&ray_fn_echo));
    ray_ref *stream = ray_remote(count_to, 2);
    CHECK_REF_INT(ray_next(stream), 0);
    CHECK_REF_INT(ray_next(stream), 1);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    ray_release(stream);
    void *tag = NULL;
    ray_waitset *set = ray_waitset_new();
    ray_ref *ref = ray_remote(echo, 9);
    CHECK(set && ray_waitset_fd(set) >= 0);
    CHECK_OK(ray_waitset_add(set, ref, &tag));
    ray_release(ref);
    ref = ray_waitset_next(set, RAY_FOREVER, &tag);
    CHECK(tag == &tag);
    CHECK_REF_INT(ref, 9);
    ray_waitset_free(set);
    CHECK_CODE(ray_load("/nowhere/at/all.so", 0), RAY_ERR_LOAD);
}

static void actors_work(void)
{
    ray_actor *actor = ray_actor_new_opts(RAY_WITH(ray_actor_options, .name = "everything"), cell, 3);
    CHECK_REF_INT(ray_call(actor, cell_value), 3);
    CHECK_REF_INT(ray_call(actor, cell_knows_itself), 1);
    CHECK_REF_OK(ray_actor_ready(actor));
    ray_actor *same = ray_actor_get("everything");
    CHECK(same);
    CHECK_STR(ray_actor_id(same), ray_actor_id(actor));
    ray_actor_release(same);
    ray_actor_release(ray_actor_retain(actor));
    CHECK_REF_OK(ray_call(actor, cell_leave));
    ray_actor_release(actor);
    actor = ray_actor_new(cell, 4);
    CHECK_OK(ray_kill(actor, false));
    CHECK_REF(ray_call(actor, cell_value), RAY_ERR_ACTOR_DIED);
    ray_actor_release(actor);
}

static void cluster_works(void)
{
    ray_view view;
    CHECK(ray_context_get()->node_id);
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster && cluster->num_nodes == 1);
    ray_cluster_free(cluster);
    CHECK_OK(ray_state("nodes", &view));
    ray_view_release(&view);
    CHECK_OK(ray_kv_put("everything", "x", 1, 0));
    CHECK_OK(ray_kv_get("everything", &view));
    ray_view_release(&view);
    CHECK_OK(ray_kv_list("every", &view));
    ray_view_release(&view);
    CHECK_OK(ray_kv_del("everything"));
    static const char *const none[] = {"CPU=0.01"};
    ray_placement_group *group =
        ray_placement_group_new(none, 1, RAY_WITH(ray_placement_group_options, .name = "everything"));
    CHECK(group);
    CHECK_REF_OK(ray_placement_group_ready(group));
    ray_placement_group *same = ray_placement_group_get("everything");
    CHECK(same);
    CHECK_OK(ray_placement_group_remove(same));
    ray_placement_group_release(same), ray_placement_group_release(group);
}

void everything_works(void)
{
    CHECK(ray_is_initialized());
    CHECK(ray_version_string() && ray_strerror(-101) && ray_error_name(-101) && ray_last_error());
    objects_work();
    tasks_work();
    actors_work();
    cluster_works();
}
