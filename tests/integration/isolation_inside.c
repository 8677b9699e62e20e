/* Worker processes: inside them there is the whole API. Each function here runs in one and checks what it is given;
 * what it finds wrong ends its process, and the test hears of it. */
#include "check.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct common {
    atomic_int started, ended, gate, yielded;
} common;

static common *shared(void)
{
    return check_shared();
}

/* What fails a check is not tried again: the first failure is the one to see. */
static const ray_task_options once = {.size = sizeof once, .max_retries = RAY_NO_RETRIES};

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, pass_gate, (int64_t, nth))
{
    atomic_fetch_add(&shared()->started, 1);
    CHECK_AWAIT(shared()->gate, (int)nth);
    return nth;
}
static RAY_REMOTE(int64_t, fails, (int64_t, x))
{
    return ray_fail("failed with %lld", (long long)x);
}
static RAY_REMOTE(int64_t, sum_of_bytes, (ray_view, v))
{
    int64_t sum = 0;
    for (size_t i = 0; i < v.size; i++)
        sum += ((const unsigned char *)v.data)[i];
    return sum;
}

/* ---- put, get, wait ---- */

static const size_t sizes[] = {0, 5, 102400, 102401, 3 << 20};
enum { NUM_SIZES = sizeof sizes / sizeof *sizes, LARGEST = 3 << 20 };

static RAY_REMOTE(void, puts_and_gets)
{
    char *bytes = malloc(LARGEST);
    CHECK(bytes);
    for (int i = 0; i < NUM_SIZES; i++) {
        ray_view view;
        memset(bytes, i + 1, LARGEST);
        ray_ref *ref = ray_put(bytes, sizes[i]);
        memset(bytes, 0, LARGEST);
        CHECK_OK(ray_get(ref, &view));
        CHECK_INT(view.size, sizes[i]);
        for (size_t j = 0; j < view.size; j++)
            CHECK(((const char *)view.data)[j] == i + 1);
        CHECK_REF_INT(ray_remote(sum_of_bytes, ref), (int64_t)sizes[i] * (i + 1));
        ray_release(ref); /* the view keeps the bytes */
        CHECK(view.size == 0 || ((const char *)view.data)[view.size - 1] == i + 1);
        ray_view_release(&view);
        ray_buffer *buffer = ray_create(sizes[i]);
        CHECK(buffer && buffer->size == sizes[i]);
        memset(buffer->data, 2, sizes[i]);
        buffer->size /= 2;
        ref = ray_seal(buffer);
        CHECK_REF_INT(ray_remote(sum_of_bytes, ref), (int64_t)(sizes[i] / 2) * 2);
        ray_release(ref);
        buffer = ray_create(sizes[i]);
        CHECK(buffer);
        ray_buffer_free(buffer);
    }
    free(bytes);
}

static void put_and_get_inside(void)
{
    check_start_workers(2);
    for (int i = 0; i < 3; i++)
        CHECK_REF_OK(ray_remote_opts(&once, puts_and_gets));
    check_stop();
}

static RAY_REMOTE(void, gets_and_waits)
{
    bool ready[4];
    ray_ref *refs[4] = {ray_remote(twice, 1), ray_remote(pass_gate, 1), ray_remote(fails, 2), ray_put("x", 1)};
    CHECK_INT(ray_wait(refs, 4, 3, -1, ready), 3);
    CHECK(ready[0] && !ready[1] && ready[2] && ready[3]);
    CHECK_INT(ray_wait(refs, 4, 4, 20, ready), 3);
    CHECK_CODE(ray_get_timeout(refs[1], 20, NULL), RAY_ERR_TIMEOUT);
    CHECK_CODE(ray_get_timeout(refs[1], 0, NULL), RAY_ERR_TIMEOUT);
    CHECK_CODE(ray_get(refs[2], NULL), RAY_ERR_TASK_FAILED);
    CHECK_STR(ray_last_error()->message, "failed with 2");
    CHECK_STR(ray_last_error()->function, "fails");
    CHECK(ray_last_error()->pid > 0);
    atomic_store(&shared()->gate, 1);
    CHECK_INT(ray_wait(refs, 4, 4, -1, ready), 4);
    CHECK_REF_INT(refs[1], 1);
    CHECK_REF_INT(refs[0], 2);
    ray_release(refs[2]), ray_release(refs[3]);
}

static void get_and_wait_inside(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, gets_and_waits));
    check_stop();
}

static RAY_REMOTE(void, waits_for_a_set)
{
    ray_waitset *set = ray_waitset_new();
    int64_t seen = 0;
    void *tag;
    CHECK(set);
    CHECK(!ray_waitset_next(set, 0, NULL) && ray_last_error()->code == RAY_ERR_NOT_FOUND);
    for (intptr_t i = 0; i < 50; i++) {
        ray_ref *ref = ray_remote(twice, i);
        CHECK_OK(ray_waitset_add(set, ref, (void *)i));
        ray_release(ref);
    }
    for (int i = 0; i < 50; i++) {
        struct pollfd poll_one = {.fd = ray_waitset_fd(set), .events = POLLIN};
        int64_t y;
        CHECK_INT(poll(&poll_one, 1, 20000), 1);
        ray_ref *ref = ray_waitset_next(set, 0, &tag);
        CHECK(ref);
        CHECK_OK(ray_get(ref, &y));
        CHECK_INT(y, 2 * (intptr_t)tag);
        seen += (intptr_t)tag;
        ray_release(ref);
    }
    CHECK_INT(seen, 49 * 50 / 2);
    ray_waitset_free(set);
}

static void waitset_inside(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, waits_for_a_set));
    check_stop();
}

/* ---- objects that hold refs ---- */

static RAY_REMOTE(ray_buffer *, make_holder, (int64_t, count))
{
    ray_buffer *buffer = ray_create(8);
    CHECK(buffer);
    memcpy(buffer->data, &count, sizeof count);
    for (int64_t i = 0; i < count; i++) {
        ray_ref *ref = i % 2 == 0 ? ray_remote(twice, i) : ray_put("odd", 4);
        CHECK_INT(ray_buffer_hold(buffer, ref), i);
        ray_release(ref);
    }
    return buffer;
}

static void look_into_holder(ray_ref *ref, int64_t count)
{
    ray_view view, odd;
    int64_t y;
    CHECK_OK(ray_get(ref, &view));
    memcpy(&y, view.data, sizeof y);
    CHECK_INT(y, count);
    for (int64_t i = 0; i < count; i++) {
        ray_ref *held = ray_view_ref(&view, (size_t)i);
        if (i % 2 == 0) {
            CHECK_REF_INT(held, 2 * i);
            continue;
        }
        CHECK_OK(ray_get(held, &odd));
        CHECK_STR(odd.data, "odd");
        ray_view_release(&odd);
        ray_release(held);
    }
    CHECK_REF(ray_view_ref(&view, (size_t)count), RAY_ERR_NOT_FOUND);
    ray_view_release(&view);
}

static RAY_REMOTE(void, look_into, (ray_ref *, ref), (int64_t, count))
{
    look_into_holder(ref, count);
}
static RAY_REMOTE(ray_ref *, wrap, (ray_ref *, ref))
{
    ray_buffer *buffer = ray_create(200000); /* a large one this time */
    CHECK(buffer);
    CHECK_INT(ray_buffer_hold(buffer, ref), 0);
    return ray_seal(buffer);
}

/* A ref as an argument is its value, a ref in a ref is the ref. */
static ray_ref *boxed(ray_ref *ref)
{
    return ray_submit(&ray_fn_wrap, (ray_value[]){RAY_VALUE(&ref)}, 1, NULL);
}

static void refs_in_objects(void)
{
    check_start_workers(2);
    ray_ref *made = ray_remote(make_holder, 6);
    look_into_holder(made, 6);
    ray_buffer *buffer = ray_create(8);
    CHECK(buffer);
    *(int64_t *)buffer->data = 1;
    ray_ref *two = ray_remote(twice, 0);
    CHECK_INT(ray_buffer_hold(buffer, two), 0);
    ray_release(two);
    ray_ref *mine = ray_seal(buffer);
    look_into_holder(mine, 1);
    CHECK_REF_OK(ray_remote_opts(&once, look_into, mine, 1));
    CHECK_REF_OK(ray_remote_opts(&once, look_into, made, 6));
    ray_release(mine);
    ray_ref *box = boxed(made), *inner;
    ray_view view;
    ray_release(made);
    CHECK_OK(ray_get(box, &inner));
    CHECK_OK(ray_get(inner, &view));
    CHECK_INT(view.size, 200000);
    made = ray_view_ref(&view, 0);
    ray_view_release(&view);
    ray_release(inner), ray_release(box);
    look_into_holder(made, 6);
    ray_release(made);
    check_stop();
}

/* ---- streams ---- */

static RAY_REMOTE(ray_stream(int64_t), count_to, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++) {
        int r = ray_yield(&i);
        if (r != 0) {
            CHECK_INT(r, RAY_ERR_CANCELLED);
            break;
        }
        atomic_fetch_add(&shared()->yielded, 1);
    }
    atomic_fetch_add(&shared()->ended, 1);
}
static RAY_REMOTE(ray_stream(int64_t), fail_after, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++)
        ray_yield(&i);
    ray_fail("after %lld", (long long)n);
}
static RAY_REMOTE(ray_stream(const char *), words)
{
    char text[] = "one";
    ray_yield(&(const char *){text});
    memcpy(text, "two", 3);
    ray_yield(&(const char *){text});
}
static RAY_REMOTE(ray_stream(ray_buffer *), blocks, (size_t, size))
{
    for (int i = 0; i < 3; i++) {
        ray_buffer *buffer = ray_create(size);
        CHECK(buffer);
        memset(buffer->data, 'a' + i, size);
        if (ray_yield(&buffer) != 0)
            return;
    }
}
static RAY_REMOTE(ray_stream(ray_ref *), refs_of, (int64_t, n))
{
    for (int64_t i = 0; i < n; i++) {
        ray_ref *ref = ray_remote(twice, i);
        if (ray_yield(&ref) != 0)
            return;
    }
}

static void read_numbers(ray_ref *stream, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        CHECK_REF_INT(ray_next(stream), i);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    CHECK_REF_OK(stream);
}

static void read_all_kinds(void)
{
    read_numbers(ray_remote(count_to, 500), 500);
    read_numbers(ray_remote(count_to, 0), 0);
    ray_ref *stream = ray_remote(words);
    CHECK_REF_STR(ray_next(stream), "one");
    CHECK_REF_STR(ray_next(stream), "two");
    CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
    ray_release(stream);
    for (size_t size = 10; size <= 1000000; size *= 100000) {
        stream = ray_remote(blocks, size);
        for (int i = 0; i < 3; i++) {
            ray_view view;
            ray_ref *item = ray_next(stream);
            CHECK_OK(ray_get(item, &view));
            CHECK_INT(view.size, size);
            CHECK_INT(((const char *)view.data)[size - 1], 'a' + i);
            ray_view_release(&view);
            ray_release(item);
        }
        CHECK_REF(ray_next(stream), RAY_ERR_STREAM_END);
        ray_release(stream);
    }
    stream = ray_remote(refs_of, 20);
    for (int i = 0; i < 20; i++) {
        ray_ref *item = ray_next(stream), *inner;
        CHECK_OK(ray_get(item, &inner));
        ray_release(item);
        CHECK_REF_INT(inner, 2 * i);
    }
    ray_release(stream);
    stream = ray_remote(fail_after, 3);
    for (int i = 0; i < 3; i++)
        CHECK_REF_INT(ray_next(stream), i);
    CHECK_REF(ray_next(stream), RAY_ERR_TASK_FAILED);
    CHECK_REF(stream, RAY_ERR_TASK_FAILED);
}

static RAY_REMOTE(void, reads_all_kinds)
{
    read_all_kinds();
}

static void streams_of_workers(void)
{
    check_start_workers(2);
    read_all_kinds();
    check_stop();
}

static void streams_between_workers(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, reads_all_kinds));
    check_stop();
}

static void streams_of_threads_in_workers(void)
{
    check_start(2);
    CHECK_REF_OK(ray_remote_opts(RAY_WITH(ray_task_options, .isolation = RAY_ISOLATION_PROCESS), reads_all_kinds));
    check_stop();
}

static void a_stream_waits_for_its_reader(void)
{
    check_start_workers(2);
    ray_ref *stream = ray_remote_opts(RAY_WITH(ray_task_options, .max_ahead = 4), count_to, 100);
    CHECK_AWAIT(shared()->yielded, 4);
    check_sleep_ms(50);
    CHECK_INT(atomic_load(&shared()->yielded), 4);
    CHECK_REF_INT(ray_next(stream), 0);
    CHECK_AWAIT(shared()->yielded, 5);
    check_sleep_ms(50);
    CHECK_INT(atomic_load(&shared()->yielded), 5);
    ray_release(stream); /* nobody reads on */
    CHECK_AWAIT(shared()->ended, 1);
    check_stop();
}

/* ---- where am I ---- */

static RAY_REMOTE(void, knows_where_it_runs, (const char *, node_id), (const char *, job_id))
{
    const ray_context *c = ray_context_get();
    CHECK_STR(c->node_id, node_id);
    CHECK_STR(c->job_id, job_id);
    CHECK(c->ns && c->task_id && strlen(c->task_id) == 32);
    CHECK_STR(c->function, "knows_where_it_runs");
    CHECK(!c->actor_id && !c->group_id && !c->gpus);
    CHECK_INT(c->attempt, 0);
    CHECK_STR(c->resources, "CPU=1");
    CHECK(ray_is_initialized());
    CHECK_OK(ray_init(NULL));
    CHECK_CODE(ray_init(RAY_WITH(ray_config, .num_threads = 1)), RAY_ERR_ALREADY_INITIALIZED);
    CHECK_CODE(ray_shutdown(), RAY_ERR_NOT_HERE);
    CHECK_CODE(ray_serve(), RAY_ERR_NOT_HERE);
    CHECK_CODE(ray_actor_exit(), RAY_ERR_NOT_HERE);
    CHECK(!ray_actor_self() && ray_last_error()->code == RAY_ERR_NOT_HERE);
    CHECK(!ray_cancelled());
}

static RAY_REMOTE(void, does_nothing) {}
static RAY_REMOTE(int64_t, kind_of, (ray_value, value))
{
    return value.kind;
}

/* A ref to nothing is an argument like others, wherever it is waited for. */
static void nothing_as_an_argument(void)
{
    check_start_workers(2);
    ray_ref *nothing = ray_remote(does_nothing);
    CHECK_REF_INT(ray_remote(kind_of, nothing), RAY_KIND_NONE); /* may be waited for */
    CHECK_REF_INT(ray_remote(kind_of, nothing), RAY_KIND_NONE); /* is done */
    ray_release(nothing);
    check_stop();
}

static RAY_REMOTE(const char *, own_resources)
{
    return ray_context_get()->resources;
}
static RAY_REMOTE(const char *, own_gpus)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    CHECK(visible);
    CHECK_STR(ray_context_get()->gpus, visible);
    return visible;
}
static RAY_REMOTE(const char *, own_task_id)
{
    return ray_context_get()->task_id;
}

static void context_inside(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .resources = "CPU=2, GPU=2, disk=3", .num_threads = 2,
                               .isolation = RAY_ISOLATION_PROCESS)));
    const ray_context *here = ray_context_get();
    CHECK_REF_OK(ray_remote_opts(&once, knows_where_it_runs, here->node_id, here->job_id));
    CHECK_REF_STR(ray_remote(own_resources), "CPU=1");
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=0"), own_resources), "");
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=2, disk=0.5"), own_resources),
                  "CPU=2, disk=0.5");
    CHECK_REF_STR(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "GPU=2"), own_gpus), "0,1");
    ray_ref *one = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "GPU=1"), own_gpus);
    const char *gpu;
    CHECK_OK(ray_get(one, &gpu));
    CHECK(strcmp(gpu, "0") == 0 || strcmp(gpu, "1") == 0);
    ray_release(one);
    ray_ref *ref = ray_remote(own_task_id);
    const char *id;
    CHECK_OK(ray_get(ref, &id));
    CHECK_STR(id, ray_ref_id(ref));
    ray_release(ref);
    check_stop();
}

/* ---- the tables of the cluster ---- */

static RAY_REMOTE(void, uses_kv)
{
    ray_view view;
    char *large = malloc((1 << 20) + 1);
    CHECK(large);
    memset(large, 'v', (1 << 20) + 1);
    CHECK_OK(ray_kv_get("from/main", &view));
    CHECK_STR(view.data, "hello");
    ray_view_release(&view);
    CHECK_OK(ray_kv_put("from/worker", "answer", 7, RAY_KV_NEW));
    CHECK_CODE(ray_kv_put("from/worker", "again", 6, RAY_KV_NEW), RAY_ERR_EXISTS);
    CHECK_OK(ray_kv_put("large", large, 1 << 20, 0));
    CHECK_OK(ray_kv_get("large", &view));
    CHECK_INT(view.size, 1 << 20);
    CHECK(memcmp(view.data, large, 1 << 20) == 0);
    ray_view_release(&view);
    CHECK_CODE(ray_kv_get("no/such/key", &view), RAY_ERR_NOT_FOUND);
    CHECK_CODE(ray_kv_put("k", large, (1 << 20) + 1, 0), RAY_ERR_LIMIT);
    CHECK_CODE(ray_kv_del("no/such/key"), RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_kv_list("from/", &view));
    CHECK_INT(view.size, 22);
    CHECK(memcmp(view.data, "from/main\0from/worker", 22) == 0);
    ray_view_release(&view);
    CHECK_OK(ray_kv_del("from/main"));
    free(large);
}

static void kv_inside(void)
{
    ray_view view;
    check_start_workers(2);
    CHECK_OK(ray_kv_put("from/main", "hello", 6, 0));
    CHECK_REF_OK(ray_remote_opts(&once, uses_kv));
    CHECK_OK(ray_kv_get("from/worker", &view));
    CHECK_STR(view.data, "answer");
    ray_view_release(&view);
    CHECK_CODE(ray_kv_get("from/main", &view), RAY_ERR_NOT_FOUND);
    check_stop();
}

static RAY_REMOTE(void, publishes)
{
    ray_ref *late = ray_remote(pass_gate, 1), *none;
    CHECK_REF_INT(ray_object_lookup("of/main"), 21);
    atomic_store(&shared()->gate, 1);
    CHECK_OK(ray_object_publish("of/worker", late, 0)); /* waits for it */
    CHECK_CODE(ray_object_publish("of/worker", late, 0), RAY_ERR_EXISTS);
    ray_release(late);
    ray_ref *bytes = ray_put("bytes", 6);
    CHECK_OK(ray_object_publish("bytes", bytes, 0));
    ray_release(bytes);
    none = ray_object_lookup("nothing");
    CHECK_REF(none, RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_object_unpublish("of/main"));
    CHECK_CODE(ray_object_unpublish("of/main"), RAY_ERR_NOT_FOUND);
}

static void published_objects_inside(void)
{
    ray_view view;
    int64_t pid_gone = 0;
    check_start_workers(2);
    ray_ref *ref = ray_remote(twice, 10);
    CHECK_REF_INT(ray_remote(twice, ref), 40);
    ray_release(ref);
    int64_t number = 21;
    ref = ray_put(&number, sizeof number);
    CHECK_OK(ray_object_publish("of/main", ref, 0));
    ray_release(ref);
    CHECK_REF_OK(ray_remote_opts(&once, publishes));
    CHECK_INT(check_children(&pid_gone, 1) > 0, true);
    CHECK_REF_INT(ray_object_lookup("of/worker"), 1);
    ref = ray_object_lookup("bytes");
    CHECK_OK(ray_get(ref, &view));
    CHECK_STR(view.data, "bytes");
    ray_view_release(&view);
    ray_release(ref);
    check_stop();
}

static RAY_REMOTE(const char *, own_group)
{
    return ray_context_get()->group_id;
}

static RAY_REMOTE(void, uses_groups)
{
    const char *const bundles[] = {"CPU=1", "CPU=1"};
    ray_placement_group *group =
        ray_placement_group_new(bundles, 2, RAY_WITH(ray_placement_group_options, .name = "inner"));
    CHECK(group);
    CHECK_REF_OK(ray_placement_group_ready(group));
    ray_ref *ref = ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = 2), own_group);
    const char *id;
    CHECK_OK(ray_get(ref, &id));
    CHECK(strlen(id) > 0);
    ray_release(ref);
    ray_placement_group *same = ray_placement_group_get("inner");
    CHECK(same);
    ray_placement_group_release(same);
    CHECK(!ray_placement_group_get("unknown") && ray_last_error()->code == RAY_ERR_NOT_FOUND);
    CHECK_OK(ray_placement_group_remove(group));
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .group = group), own_group), RAY_ERR_GROUP_REMOVED);
    ray_placement_group_release(group);
    CHECK(!ray_placement_group_new(NULL, 0, NULL) && ray_last_error()->code == RAY_ERR_ARGUMENT);
}

static void groups_inside(void)
{
    check_start_workers(4);
    CHECK_REF_OK(ray_remote_opts(&once, uses_groups));
    check_stop();
}

static RAY_REMOTE(void, looks_around, (const char *, node_id))
{
    ray_view view;
    ray_cluster *cluster = ray_cluster_get();
    CHECK(cluster);
    CHECK_INT(cluster->num_nodes, 1);
    CHECK_STR(cluster->nodes[0]->id, node_id);
    CHECK_STR(cluster->resources[0].name, "CPU");
    CHECK(cluster->resources[0].total == 2);
    ray_cluster_free(cluster);
    CHECK_OK(ray_state("tasks", &view));
    CHECK_HAS(view.data, "looks_around");
    ray_view_release(&view);
    CHECK_CODE(ray_state("no/such/thing", &view), RAY_ERR_NOT_FOUND);
}

static void state_inside(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, looks_around, ray_context_get()->node_id));
    check_stop();
}

/* ---- cancel from inside ---- */

static RAY_REMOTE(int64_t, until_told_to_stop)
{
    atomic_fetch_add(&shared()->started, 1);
    int64_t end = check_now_ms() + 60000;
    while (!ray_cancelled())
        CHECK(check_now_ms() < end);
    atomic_fetch_add(&shared()->ended, 1);
    return 1;
}

static RAY_REMOTE(void, cancels)
{
    ray_ref *ref = ray_remote(until_told_to_stop);
    CHECK_AWAIT(shared()->started, 1);
    CHECK_OK(ray_cancel(ref, 0));
    CHECK_REF(ref, RAY_ERR_CANCELLED);
    CHECK_AWAIT(shared()->ended, 1);
    ray_ref *put = ray_put("x", 1);
    CHECK_OK(ray_cancel(put, 0)); /* it is done */
    ray_release(put);
}

static void cancel_inside(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, cancels));
    check_stop();
}

/* ---- bad input, seen inside ---- */

static RAY_REMOTE(void, gives_bad_input)
{
    int64_t x = 1;
    CHECK_CODE(ray_get(NULL, &x), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_submit(NULL, NULL, 0, NULL), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_submit(&ray_fn_twice, NULL, 0, NULL), RAY_ERR_TYPE);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=lots"), twice, 1), RAY_ERR_ARGUMENT);
    CHECK_REF(ray_remote_opts(RAY_WITH(ray_task_options, .node_id = "0123456789abcdef"), twice, 1),
              RAY_ERR_UNSCHEDULABLE);
    ray_ref *never = ray_remote_opts(RAY_WITH(ray_task_options, .resources = "CPU=1000"), twice, 1);
    CHECK_CODE(ray_get_timeout(never, 20, NULL), RAY_ERR_TIMEOUT);
    CHECK_OK(ray_cancel(never, 0));
    CHECK_REF(never, RAY_ERR_CANCELLED);
    CHECK_REF(ray_submit(ray_function_get("nobody_knows_it"), NULL, 0, NULL), RAY_ERR_UNKNOWN_FUNCTION);
    ray_ref *text = ray_put("text", 5);
    CHECK_CODE(ray_get(text, &x), RAY_ERR_TYPE);
    CHECK_REF(ray_next(text), RAY_ERR_TYPE);
    ray_release(text);
    CHECK(!ray_create(SIZE_MAX));
    CHECK_CODE(ray_yield(&x), RAY_ERR_NOT_HERE);
}

static void bad_input_inside(void)
{
    check_start_workers(2);
    CHECK_REF_OK(ray_remote_opts(&once, gives_bad_input));
    check_stop();
}

CHECK_MAIN(CHECK_TEST(put_and_get_inside), CHECK_TEST(get_and_wait_inside), CHECK_TEST(waitset_inside),
           CHECK_TEST(refs_in_objects), CHECK_TEST(streams_of_workers), CHECK_TEST(streams_between_workers),
           CHECK_TEST(streams_of_threads_in_workers), CHECK_TEST(a_stream_waits_for_its_reader),
           CHECK_TEST(nothing_as_an_argument), CHECK_TEST(context_inside), CHECK_TEST(kv_inside),
           CHECK_TEST(published_objects_inside), CHECK_TEST(groups_inside), CHECK_TEST(state_inside),
           CHECK_TEST(cancel_inside), CHECK_TEST_WITH(bad_input_inside, CHECK_KEEPS))
