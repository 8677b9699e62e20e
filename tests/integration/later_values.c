/* Values of all kinds as results that come later. In threads and in worker processes. */
#include "check.h"

#include <pthread.h>
#include <stdlib.h>

static bool apart;

static void start(unsigned cpus)
{
    if (apart)
        check_start_workers(cpus);
    else
        check_start(cpus);
}

typedef struct pair {
    int64_t a, b;
} pair;
RAY_STRUCT(pair, a, b);

static void *complete_kind(void *arg)
{
    void **both = arg;
    ray_later *later = both[0];
    const char *text = "some text";
    ray_view view = {.data = "bytes", .size = 5};
    pair two = {1, 2};
    double half = 0.5;
    int32_t small = 3;
    ray_ref *ref;
    ray_buffer *buffer;
    switch ((int)(intptr_t)both[1]) {
    case 0:
        CHECK_OK(ray_complete(later, NULL));
        break;
    case 1:
        CHECK_OK(ray_complete(later, &(ray_value){.kind = RAY_KIND_STRING, .size = sizeof text, .data = &text}));
        break;
    case 2:
        CHECK_OK(ray_complete(later, &(ray_value){.kind = RAY_KIND_BYTES, .size = sizeof view, .data = &view}));
        break;
    case 3:
        CHECK_OK(ray_complete(later, &(ray_value){.kind = RAY_KIND_STRUCT, .size = sizeof two, .data = &two}));
        break;
    case 4:
        CHECK_OK(ray_complete(later, &(ray_value){.kind = RAY_KIND_I32, .size = sizeof small, .data = &small}));
        break;
    case 5:
        CHECK((ref = ray_put("put", 3)));
        CHECK_OK(ray_complete(later, &(ray_value){.kind = RAY_KIND_REF, .size = sizeof ref, .data = &ref}));
        break;
    case 6:
        CHECK((buffer = ray_create(300000)));
        memset(buffer->data, 'x', 300000);
        CHECK_OK(ray_complete(later, &(ray_value){.kind = RAY_KIND_BUFFER, .size = sizeof buffer, .data = &buffer}));
        break;
    case 7:
        CHECK_CODE(ray_complete(later, NULL), RAY_ERR_TYPE);
        break;
    case 8:
        CHECK_CODE(ray_complete(later, &(ray_value){.kind = RAY_KIND_F64, .size = sizeof half, .data = &half}),
                   RAY_ERR_TYPE);
        break;
    case 9:
        CHECK_CODE(ray_complete(later, &(ray_value){.kind = RAY_KIND_I64, .size = 8, .data = NULL}), RAY_ERR_ARGUMENT);
        break;
    case 11:
        CHECK_CODE(ray_complete(later, &(ray_value){.kind = RAY_KIND_I32, .size = sizeof small, .data = &small}),
                   RAY_ERR_TYPE);
        break;
    default:
        CHECK_CODE(ray_complete_failed(later, 1, "m", NULL, 3), RAY_ERR_ARGUMENT);
    }
    free(both);
    return NULL;
}
static void complete_with(int64_t kind)
{
    void **both = malloc(2 * sizeof *both);
    pthread_t thread;
    CHECK(both);
    both[0] = ray_complete_later();
    both[1] = (void *)(intptr_t)kind;
    CHECK(both[0] && pthread_create(&thread, NULL, complete_kind, both) == 0);
    pthread_detach(thread);
}
static RAY_REMOTE(void, later_void, (int64_t, kind))
{
    complete_with(kind);
}
static RAY_REMOTE(const char *, later_text, (int64_t, kind))
{
    complete_with(kind);
    return "dropped";
}
static RAY_REMOTE(ray_view, later_bytes, (int64_t, kind))
{
    complete_with(kind);
    return (ray_view){0};
}
static RAY_REMOTE(pair, later_pair, (int64_t, kind))
{
    complete_with(kind);
    return (pair){3, 4};
}
static RAY_REMOTE(double, later_double, (int64_t, kind))
{
    complete_with(kind);
    return 7;
}
static RAY_REMOTE(int64_t, later_int, (int64_t, kind))
{
    complete_with(kind);
    return 7;
}
static RAY_REMOTE(ray_ref *, later_ref, (int64_t, kind))
{
    complete_with(kind);
    return ray_put("dropped", 7);
}
static RAY_REMOTE(ray_buffer *, later_buffer, (int64_t, kind))
{
    complete_with(kind);
    return ray_create(200000); /* dropped */
}

static void values_of_all_kinds(void)
{
    pair two = {0};
    double three = 0;
    ray_view view = {0};
    ray_ref *ref, *inner = NULL;
    start(2);
    CHECK_REF_OK(ray_remote(later_void, 0));
    CHECK_REF_STR(ray_remote(later_text, 1), "some text");
    ref = ray_remote(later_bytes, 2);
    CHECK_OK(ray_get(ref, &view));
    CHECK(view.size == 5 && memcmp(view.data, "bytes", 5) == 0);
    ray_view_release(&view), ray_release(ref);
    ref = ray_remote(later_pair, 3);
    CHECK_OK(ray_get(ref, &two));
    CHECK(two.a == 1 && two.b == 2);
    ray_release(ref);
    ref = ray_remote(later_double, 4); /* numbers are converted */
    CHECK_OK(ray_get(ref, &three));
    CHECK(three == 3);
    ray_release(ref);
    ref = ray_remote(later_ref, 5);
    CHECK_OK(ray_get(ref, &inner));
    CHECK_OK(ray_get(inner, &view));
    CHECK(view.size == 3 && memcmp(view.data, "put", 3) == 0);
    ray_view_release(&view), ray_release(inner), ray_release(ref);
    ref = ray_remote(later_buffer, 6);
    CHECK_OK(ray_get(ref, &view));
    CHECK(view.size == 300000 && ((const char *)view.data)[299999] == 'x');
    ray_view_release(&view), ray_release(ref);
    CHECK_REF(ray_remote(later_int, 7), RAY_ERR_TYPE);
    CHECK_REF(ray_remote(later_text, 8), RAY_ERR_TYPE);
    CHECK_REF(ray_remote(later_int, 8), RAY_ERR_TYPE); /* 0.5 is no integer */
    CHECK_REF(ray_remote(later_void, 11), RAY_ERR_TYPE);
    CHECK_REF(ray_remote(later_int, 9), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote(later_int, 10), RAY_ERR_TASK_FAILED);
    check_stop();
}

static void values_of_all_kinds_apart(void)
{
    apart = true;
    values_of_all_kinds();
}

CHECK_MAIN(CHECK_TEST(values_of_all_kinds), CHECK_TEST(values_of_all_kinds_apart))
