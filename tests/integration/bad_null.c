/* Bad input: NULL wherever a pointer is needed, in every function of the API. None crashes, each says ARGUMENT. */
#include "check.h"

static RAY_REMOTE(int64_t, echo, (int64_t, x))
{
    return x;
}
static RAY_REMOTE(int64_t, length, (const char *, s))
{
    return (int64_t)strlen(s);
}
static RAY_REMOTE(int64_t, view_size, (ray_view, v))
{
    return (int64_t)v.size;
}
static RAY_REMOTE(int64_t, any_kind, (ray_value, v))
{
    return v.kind;
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
static RAY_REMOTE(int64_t, ask, (ray_actor *, a))
{
    int64_t n = 0;
    ray_ref *ref = ray_call(a, cell_value);
    CHECK_OK(ray_get(ref, &n));
    ray_release(ref);
    return n;
}

/* The pointer is NULL and the reason ARGUMENT. */
static void refused(const void *pointer)
{
    CHECK(!pointer);
    CHECK_INT(ray_last_error()->code, RAY_ERR_ARGUMENT);
    CHECK(ray_last_error()->message[0]);
}

static void objects(void)
{
    check_start(1);
    int64_t y = 77;
    bool ready[2];
    ray_ref *none = NULL, *ref = ray_put("x", 1), *refs[] = {ref, NULL};
    CHECK_REF(ray_put(NULL, 5), RAY_ERR_ARGUMENT);
    CHECK_REF_OK(ray_put(NULL, 0));
    CHECK_CODE(ray_get(none, &y), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_get(none, NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_get_timeout(none, 0, &y), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_get(ref, &((ray_value){RAY_KIND_I64, 0, 8, NULL})), RAY_ERR_ARGUMENT);
    CHECK_INT(y, 77);
    CHECK_CODE(ray_wait(NULL, 1, 1, 0, ready), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_wait(refs, 2, 1, 0, ready), RAY_ERR_ARGUMENT);
    CHECK_INT(ray_wait(refs, 1, 1, 0, NULL), 1);
    CHECK_INT(ray_wait(NULL, 0, 0, 0, NULL), 0);
    CHECK_CODE(ray_cancel(NULL, 0), RAY_ERR_ARGUMENT);
    CHECK(!ray_ref_id(NULL));
    CHECK_REF(ray_next(NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_retain(NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_object_publish(NULL, ref, 0), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_object_publish("name", NULL, 0), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_object_lookup(NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_object_unpublish(NULL), RAY_ERR_ARGUMENT);
    ray_release(NULL), ray_release(ref);
    check_stop();
}

static void buffers_and_views(void)
{
    check_start(1);
    ray_ref *ref = ray_put("x", 1);
    ray_buffer *buffer = ray_create(10);
    ray_view mine = ray_view_of("abc", 3);
    CHECK(buffer);
    CHECK_CODE(ray_buffer_hold(NULL, ref), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_buffer_hold(buffer, NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_seal(NULL), RAY_ERR_ARGUMENT);
    ray_buffer_free(NULL);
    ray_view_release(NULL);
    ray_view_release(&(ray_view){0});
    ray_view_release(&mine);
    CHECK_REF(ray_view_ref(NULL, 0), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_view_ref(&(ray_view){0}, 0), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_view_retain(NULL, &(ray_view){0}), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_view_retain(&(ray_view){.data = "", .size = 1}, &(ray_view){0}), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_view_retain(&(ray_view){0}, NULL), RAY_ERR_ARGUMENT);
    CHECK(ray_view_of(NULL, 0).size == 0);
    ray_buffer_free(buffer);
    ray_release(ref);
    check_stop();
}

static void waitsets(void)
{
    check_start(1);
    void *tag;
    ray_ref *ref = ray_put("x", 1);
    ray_waitset *set = ray_waitset_new();
    CHECK(set);
    CHECK_CODE(ray_waitset_add(NULL, ref, NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_waitset_add(set, NULL, NULL), RAY_ERR_ARGUMENT);
    refused(ray_waitset_next(NULL, 0, &tag));
    CHECK_CODE(ray_waitset_fd(NULL), RAY_ERR_ARGUMENT);
    CHECK_OK(ray_waitset_add(set, ref, NULL));
    ray_ref *done = ray_waitset_next(set, 0, NULL); /* nobody needs the tag */
    CHECK(done == ref);
    ray_waitset_free(NULL), ray_waitset_free(set);
    ray_release(done), ray_release(ref);
    check_stop();
}

static void submitting(void)
{
    check_start(1);
    ray_ref *none = NULL;
    ray_actor *nobody = NULL;
    const char *no_text = NULL;
    CHECK_REF(ray_submit(NULL, NULL, 0, NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_submit(&ray_fn_echo, NULL, 1, NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_submit(&ray_fn_echo, &(ray_value){RAY_KIND_I64, 0, 8, NULL}, 1, NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_submit(&ray_fn_echo, &RAY_VALUE(&none), 1, NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote(echo, none), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote(length, no_text), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote(view_size, ray_view_of(NULL, 9)), RAY_ERR_ARGUMENT);
    CHECK_REF_INT(ray_remote(view_size, ray_view_of(NULL, 0)), 0);
    CHECK_REF(ray_remote(any_kind, ((ray_value){RAY_KIND_STRING, 0, 8, NULL})), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote(ask, nobody), RAY_ERR_ARGUMENT);
    refused(ray_function_get(NULL));
    CHECK_CODE(ray_load(NULL, 0), RAY_ERR_ARGUMENT);
    CHECK_REF_INT(ray_remote_opts(NULL, echo, 3), 3);
    check_stop();
}

static void registering(void)
{
    static ray_function nameless = {.size = sizeof nameless, .signature = "void()"};
    static ray_function typeless = {.size = sizeof typeless, .name = "typeless"};
    static const ray_field field = {"a", RAY_KIND_I64, 1, 0};
    static ray_struct unnamed = {.size = sizeof unnamed, .value_size = 8, .num_fields = 1, .fields = &field};
    static ray_struct fieldless = {.size = sizeof fieldless, .name = "fieldless", .value_size = 8, .num_fields = 1};
    static ray_function headless = {.size = sizeof headless, .name = "headless", .signature = "void()"};
    check_start(1);
    CHECK_CODE(ray_register(NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_register(&nameless), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_register(&typeless), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_register(&headless), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_register_struct(NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_register_struct(&unnamed), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_register_struct(&fieldless), RAY_ERR_ARGUMENT);
    check_stop();
}

static void actors(void)
{
    check_start(1);
    ray_actor *broken = ray_actor_create(NULL, NULL, 0, NULL);
    CHECK(broken);
    CHECK_REF(ray_call(broken, cell_value), RAY_ERR_ARGUMENT);
    ray_actor_release(broken);
    broken = ray_actor_create(&ray_fn_cell, NULL, 1, NULL);
    CHECK(broken);
    CHECK_REF(ray_actor_ready(broken), RAY_ERR_ARGUMENT);
    ray_actor_release(broken);
    ray_actor *actor = ray_actor_new(cell, 1), *nobody = NULL;
    CHECK_REF(ray_actor_submit(NULL, &ray_fn_cell_value, NULL, 0, NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_actor_submit(actor, NULL, NULL, 0, NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_call(nobody, cell_value), RAY_ERR_ARGUMENT);
    refused(ray_actor_get(NULL));
    CHECK_REF(ray_actor_ready(NULL), RAY_ERR_ARGUMENT);
    CHECK(!ray_actor_id(NULL));
    CHECK(!ray_actor_retain(NULL));
    CHECK_CODE(ray_kill(NULL, false), RAY_ERR_ARGUMENT);
    CHECK_REF_INT(ray_call(actor, cell_value), 1);
    ray_actor_release(NULL), ray_actor_release(actor);
    check_stop();
}

static void cluster(void)
{
    check_start(1);
    static const char *const hole[] = {"CPU=1", NULL};
    ray_view view = {0};
    ray_cluster_free(NULL);
    CHECK_CODE(ray_state(NULL, &view), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_state("tasks", NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_node_drain(NULL), RAY_ERR_ARGUMENT);
    refused(ray_placement_group_new(NULL, 1, NULL));
    refused(ray_placement_group_new(hole, 2, NULL));
    refused(ray_placement_group_get(NULL));
    CHECK_REF(ray_placement_group_ready(NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_placement_group_remove(NULL), RAY_ERR_ARGUMENT);
    ray_placement_group_release(NULL);
    CHECK_CODE(ray_kv_put(NULL, "x", 1, 0), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_kv_put("key", NULL, 1, 0), RAY_ERR_ARGUMENT);
    CHECK_OK(ray_kv_put("empty", NULL, 0, 0));
    CHECK_CODE(ray_kv_get(NULL, &view), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_kv_get("empty", NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_kv_del(NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_kv_list(NULL, &view), RAY_ERR_ARGUMENT);
    CHECK_CODE(ray_kv_list("", NULL), RAY_ERR_ARGUMENT);
    CHECK(!view.data && !view.size && !view.pin);
    check_stop();
}

/* ---- in the places where tasks fail and yield ---- */

static RAY_REMOTE(void, fail_without_words)
{
    ray_fail_with(4, NULL, NULL, 0);
}
static RAY_REMOTE(int64_t, fail_without_payload)
{
    return ray_fail_with(4, "words", NULL, 5);
}
static RAY_REMOTE(ray_stream(int64_t), yield_nothing)
{
    CHECK_CODE((ray_yield)(NULL), RAY_ERR_ARGUMENT);
    CHECK_CODE((ray_yield)(&(ray_value){RAY_KIND_I64, 0, 8, NULL}), RAY_ERR_ARGUMENT);
    ray_yield(&(int64_t){5});
}
static RAY_REMOTE(const char *, return_no_text)
{
    return NULL;
}
static RAY_REMOTE(ray_ref *, return_no_ref)
{
    return NULL;
}
static RAY_REMOTE(ray_actor *, return_no_actor)
{
    return NULL;
}
static RAY_REMOTE(ray_buffer *, return_no_buffer)
{
    return NULL;
}

static void results(void)
{
    check_start(1);
    ray_ref *ref = ray_remote(fail_without_words);
    CHECK(ray_get(ref, NULL) != 0);
    CHECK(ray_last_error()->message);
    ray_release(ref);
    ref = ray_remote(fail_without_payload);
    CHECK(ray_get(ref, NULL) != 0);
    ray_release(ref);
    ref = ray_remote(yield_nothing);
    CHECK_REF_INT(ray_next(ref), 5);
    CHECK_REF_OK(ref);
    ray_ref *wrong[] = {ray_remote(return_no_text), ray_remote(return_no_ref), ray_remote(return_no_actor),
                        ray_remote(return_no_buffer)};
    for (int i = 0; i < 4; i++) {
        int r = ray_get(wrong[i], NULL);
        if (r == 0)
            fprintf(stderr, "NULL as result %d\n", i);
        CHECK(r != 0);
        ray_release(wrong[i]);
    }
    check_stop();
}

static void settings(void)
{
    CHECK_CODE(ray_set_allocator(&(ray_allocator){.size = sizeof(ray_allocator)}), RAY_ERR_ARGUMENT);
    CHECK_OK(ray_set_allocator(NULL));
    CHECK_OK(ray_set_log(NULL, NULL, RAY_LOG_DEBUG));
    CHECK_OK(ray_init(NULL));
    check_stop();
}

CHECK_MAIN(CHECK_TEST(objects), CHECK_TEST(buffers_and_views), CHECK_TEST(waitsets), CHECK_TEST(submitting),
           CHECK_TEST(registering), CHECK_TEST(actors), CHECK_TEST(cluster), CHECK_TEST(results),
           CHECK_TEST_WITH(settings, CHECK_PLAIN))
