/* Section 4, object.h: putting, creating and sealing, views and pins, refs inside objects, the store's limit. */
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}
static RAY_REMOTE(int64_t, sum_of_bytes, (ray_view, v))
{
    int64_t sum = 0;
    for (size_t i = 0; i < v.size; i++)
        sum += ((const unsigned char *)v.data)[i];
    return sum;
}

static void fill(unsigned char *bytes, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(seed + i * 7 + i / 251);
}

static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 102399, 102400, 102401, 1 << 20, 5000000};
enum { NUM_SIZES = sizeof sizes / sizeof *sizes, LARGEST = 5000000 };

static void put_and_view(void)
{
    check_start(2);
    unsigned char *bytes = malloc(LARGEST);
    CHECK(bytes);
    for (int i = 0; i < NUM_SIZES; i++) {
        ray_view view, again;
        fill(bytes, sizes[i], (unsigned)i);
        ray_ref *ref = ray_put(bytes, sizes[i]);
        memset(bytes, 0, sizes[i]); /* it was copied */
        CHECK_OK(ray_get(ref, &view));
        CHECK_OK(ray_get(ref, &again));
        CHECK(view.data == again.data && view.size == sizes[i]);
        ray_view_release(&again);
        CHECK(!again.data && !again.size && !again.pin);
        fill(bytes, sizes[i], (unsigned)i);
        ray_release(ref); /* the view keeps the bytes */
        CHECK(memcmp(view.data, bytes, sizes[i]) == 0);
        CHECK_INT(((const char *)view.data)[sizes[i]], 0);
        CHECK_INT((uintptr_t)view.data % 64, 0);
        ray_view_release(&view);
        ray_view_release(&view); /* cleared: nothing */
    }
    free(bytes);
    check_stop();
}

static void bytes_as_arguments(void)
{
    check_start(2);
    unsigned char *bytes = malloc(LARGEST);
    CHECK(bytes);
    for (int i = 0; i < NUM_SIZES; i++) {
        int64_t want = 0;
        fill(bytes, sizes[i], 3);
        for (size_t j = 0; j < sizes[i]; j++)
            want += bytes[j];
        ray_ref *ref = ray_remote(sum_of_bytes, ray_view_of(bytes, sizes[i])), *object = ray_put(bytes, sizes[i]);
        memset(bytes, 0, sizes[i]); /* copied before the call returned */
        CHECK_REF_INT(ref, want);
        CHECK_REF_INT(ray_remote(sum_of_bytes, object), want);
        ray_release(object);
    }
    free(bytes);
    check_stop();
}

static void pins_outlive_everything(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .store_bytes = 8 << 20, .spill_dir = "", .timeout_ms = 200)));
    unsigned char *bytes = malloc(1 << 20), *copy = malloc(1 << 20);
    CHECK(bytes && copy);
    ray_view pinned;
    fill(bytes, 1 << 20, 1);
    ray_ref *ref = ray_put(bytes, 1 << 20);
    CHECK_OK(ray_get(ref, &pinned));
    ray_release(ref);
    memset(copy, 9, 1 << 20);
    for (int i = 0; i < 50; i++) /* the space of others is used again, that of the pin is not */
        CHECK_REF_OK(ray_put(copy, 1 << 20));
    CHECK(memcmp(pinned.data, bytes, 1 << 20) == 0);
    ray_view_release(&pinned);
    free(bytes), free(copy);
    check_stop();
}

static void create_and_seal(void)
{
    check_start(2);
    ray_view view;
    for (int i = 0; i < NUM_SIZES; i++) {
        ray_buffer *buffer = ray_create(sizes[i]);
        CHECK(buffer && buffer->size == sizes[i] && (uintptr_t)buffer->data % 64 == 0);
        fill(buffer->data, sizes[i], 5);
        const void *place = buffer->data;
        if (i % 2)
            buffer->size = sizes[i] / 2;
        ray_ref *ref = ray_seal(buffer);
        CHECK_OK(ray_get(ref, &view));
        CHECK_INT(view.size, i % 2 ? sizes[i] / 2 : sizes[i]);
        CHECK(sizes[i] <= 102400 || view.data == place); /* what is in the store is not copied */
        CHECK_INT(((const char *)view.data)[view.size], 0);
        ray_view_release(&view);
        ray_release(ref);
        buffer = ray_create(sizes[i]);
        CHECK(buffer);
        ray_buffer_free(buffer);
    }
    ray_buffer *grown = ray_create(100);
    CHECK(grown);
    grown->size = 1000; /* it may be lowered, not raised */
    CHECK_REF(ray_seal(grown), RAY_ERR_ARGUMENT);
    check_stop();
}

static RAY_REMOTE(ray_buffer *, make_bytes, (size_t, n), (unsigned, seed))
{
    ray_buffer *buffer = ray_create(n);
    if (buffer)
        fill(buffer->data, n, seed);
    return buffer;
}
static RAY_REMOTE(ray_view, pass_bytes, (ray_view, v))
{
    return v;
}

static void buffers_as_results(void)
{
    check_start(2);
    unsigned char *bytes = malloc(LARGEST);
    CHECK(bytes);
    for (int i = 0; i < NUM_SIZES; i++) {
        ray_view view;
        fill(bytes, sizes[i], 11);
        ray_ref *made = ray_remote(make_bytes, sizes[i], 11), *passed = ray_remote(pass_bytes, made);
        ray_release(made);
        CHECK_OK(ray_get(passed, &view));
        CHECK(view.size == sizes[i] && memcmp(view.data, bytes, sizes[i]) == 0);
        CHECK_INT((uintptr_t)view.data % 64, 0);
        ray_view_release(&view);
        ray_release(passed);
    }
    free(bytes);
    check_stop();
}

/* ---- refs inside of objects ---- */

static RAY_REMOTE(ray_buffer *, hold_three, (int64_t, x))
{
    ray_buffer *buffer = ray_create(3 * sizeof(int64_t));
    if (!buffer)
        return NULL;
    memset(buffer->data, 0, buffer->size);
    for (int64_t i = 0; i < 3; i++) {
        ray_ref *ref = ray_remote(twice, x + i);
        CHECK_INT(ray_buffer_hold(buffer, ref), i);
        ray_release(ref);
    }
    return buffer;
}
static RAY_REMOTE(int64_t, sum_of_held, (ray_view, v))
{
    int64_t sum = 0, y = 0;
    for (size_t i = 0; i < 3; i++) {
        ray_ref *ref = ray_view_ref(&v, i);
        CHECK_OK(ray_get(ref, &y));
        ray_release(ref);
        sum += y;
    }
    return sum;
}

static void refs_inside_objects(void)
{
    check_start(2);
    ray_view view;
    ray_ref *object = ray_remote(hold_three, 10);
    CHECK_REF_INT(ray_remote(sum_of_held, object), 66);
    CHECK_OK(ray_get(object, &view));
    ray_release(object);
    CHECK_REF_INT(ray_view_ref(&view, 2), 24);
    ray_ref *none = ray_view_ref(&view, 3);
    CHECK(ray_get(none, NULL) != 0);
    ray_release(none);
    ray_ref *kept = ray_view_ref(&view, 0);
    ray_view_release(&view);
    CHECK_REF_INT(kept, 20);
    check_stop();
}

/* Objects in objects in objects: letting go of the outermost frees them all, without recursion. */
static void long_chain_of_objects(void)
{
    enum { LENGTH = 100000 };
    check_start(1);
    ray_ref *chain = ray_put("end", 3);
    for (int i = 0; i < LENGTH / check_slowness(); i++) {
        ray_buffer *buffer = ray_create(8);
        CHECK(buffer);
        CHECK_INT(ray_buffer_hold(buffer, chain), 0);
        ray_release(chain);
        chain = ray_seal(buffer);
    }
    CHECK_REF_OK(chain);
    check_stop();
}

static void thrown_away_with_refs(void)
{
    check_start(1);
    ray_ref *ref = ray_remote(twice, 4);
    for (int i = 0; i < 100; i++) {
        ray_buffer *buffer = ray_create((size_t)i * 5000);
        CHECK(buffer);
        for (int j = 0; j < i; j++)
            CHECK_INT(ray_buffer_hold(buffer, ref), j);
        ray_buffer_free(buffer);
    }
    CHECK_REF_INT(ref, 8);
    check_stop();
}

/* ---- refs ---- */

static void counts_and_ids(void)
{
    check_start(2);
    const char *text = NULL;
    ray_ref *a = ray_put("same", 4), *b = ray_put("same", 4), *c = ray_remote(twice, 1);
    char id[100];
    CHECK(ray_retain(a) == a);
    snprintf(id, sizeof id, "%s", ray_ref_id(a));
    CHECK(strlen(id) >= 16 && strspn(id, "0123456789abcdef") == strlen(id));
    CHECK_STR(ray_ref_id(a), id);
    CHECK(strcmp(ray_ref_id(b), id) != 0 && strcmp(ray_ref_id(c), id) != 0);
    ray_release(a);
    CHECK_OK(ray_get(a, &text));
    CHECK_STR(text, "same");
    ray_ref *more = ray_retain(a);
    ray_release(a);
    CHECK_STR(text, "same"); /* until the last release */
    ray_release(more), ray_release(b), ray_release(c);
    check_stop();
}

static void *retain_and_release(void *arg)
{
    for (int i = 0; i < 20000 / check_slowness(); i++) {
        ray_ref *ref = ray_retain(arg);
        if (i % 100 == 0)
            CHECK_OK(ray_get(ref, NULL));
        ray_release(ref);
    }
    return NULL;
}

static void shared_by_threads(void)
{
    pthread_t threads[4];
    check_start(2);
    ray_ref *ref = ray_remote(twice, 1);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, retain_and_release, ref) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK_REF_INT(ref, 2);
    check_stop();
}

/* ---- a store that is full ---- */

enum { STORE = 16 << 20, PART = 6 << 20 };

static void full_store(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .store_bytes = STORE, .spill_dir = "", .timeout_ms = 300)));
    static char bytes[PART];
    ray_ref *a = ray_put(bytes, PART), *b = ray_put(bytes, PART);
    CHECK_OK(ray_get(a, NULL));
    CHECK_OK(ray_get(b, NULL));
    int64_t before = check_now_ms();
    CHECK_REF(ray_put(bytes, PART), RAY_ERR_STORE_FULL);
    CHECK(check_now_ms() - before >= 250); /* it waited for somebody to let go */
    CHECK(!ray_create(PART));
    CHECK_INT(ray_last_error()->code, RAY_ERR_STORE_FULL);
    CHECK_REF(ray_remote(sum_of_bytes, ray_view_of(bytes, PART)), RAY_ERR_STORE_FULL);
    CHECK_REF_INT(ray_remote(twice, 1), 2);
    ray_release(a);
    CHECK_REF_OK(ray_put(bytes, PART));
    ray_release(b);
    check_stop();
}

static void *release_later(void *arg)
{
    check_sleep_ms(200);
    ray_release(arg);
    return NULL;
}

static void full_store_waits(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .store_bytes = STORE, .spill_dir = "", .timeout_ms = 20000)));
    static char bytes[PART];
    pthread_t thread;
    ray_ref *a = ray_put(bytes, PART), *b = ray_put(bytes, PART);
    CHECK(pthread_create(&thread, NULL, release_later, a) == 0);
    CHECK_REF_OK(ray_put(bytes, PART));
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, release_later, b) == 0);
    ray_buffer *buffer = ray_create(2 * PART);
    CHECK(buffer);
    ray_buffer_free(buffer);
    CHECK(pthread_join(thread, NULL) == 0);
    check_stop();
}

/* Far more than the store, one after the other; with pieces of many sizes. */
static void space_is_used_again(void)
{
    CHECK_OK(ray_init(RAY_WITH(ray_config, .store_bytes = STORE, .spill_dir = "", .timeout_ms = 1000)));
    for (int i = 0; i < 200 / check_slowness(); i++)
        CHECK_REF_OK(ray_remote(make_bytes, PART, 1));
    ray_ref *refs[8] = {NULL};
    unsigned seed = 12345;
    for (int i = 0; i < 2000 / check_slowness(); i++) {
        seed = seed * 1103515245 + 12345;
        ray_ref **ref = &refs[seed / 65536 % 8];
        ray_release(*ref);
        ray_buffer *buffer = ray_create(seed / 1024 % (1 << 20));
        CHECK(buffer);
        *ref = ray_seal(buffer);
        CHECK_OK(ray_get(*ref, NULL));
    }
    for (int i = 0; i < 8; i++)
        ray_release(refs[i]);
    ray_buffer *buffer = ray_create(STORE / 2); /* it is not in pieces for ever */
    CHECK(buffer);
    ray_buffer_free(buffer);
    check_stop();
}

/* Of shared memory that this process has touched. */
static size_t shared_mib(void)
{
    char line[128];
    size_t kib = SIZE_MAX;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file);
    while (kib == SIZE_MAX && fgets(line, sizeof line, file))
        (void)sscanf(line, "RssShmem: %zu", &kib);
    CHECK(fclose(file) == 0 && kib != SIZE_MAX);
    return kib / 1024;
}

/* A guest that needed much once does not keep it; no call of the library has to come for that. */
static void room_goes_back(void)
{
    enum { BIG = 96 << 20 };
    check_start(2);
    size_t before = shared_mib();
    char *bytes = calloc(1, BIG);
    CHECK(bytes);
    ray_ref *ref = ray_put(bytes, BIG), *kept = ray_put(bytes, 1 << 20);
    free(bytes);
    ray_release(ref);
    CHECK(shared_mib() >= before + 80); /* for whoever comes next */
    for (int i = 0; i < 300 * check_slowness() && shared_mib() > before + 20; i++)
        check_sleep_ms(100);
    CHECK(shared_mib() <= before + 20);
    ray_view view;
    CHECK_OK(ray_get(kept, &view));
    CHECK_INT(view.size, 1 << 20);
    ray_view_release(&view);
    ray_release(kept);
    check_stop();
}

CHECK_MAIN(CHECK_TEST(put_and_view), CHECK_TEST(bytes_as_arguments), CHECK_TEST(pins_outlive_everything),
           CHECK_TEST(create_and_seal), CHECK_TEST(buffers_as_results), CHECK_TEST(refs_inside_objects),
           CHECK_TEST(long_chain_of_objects), CHECK_TEST(thrown_away_with_refs), CHECK_TEST(counts_and_ids),
           CHECK_TEST(shared_by_threads), CHECK_TEST(full_store), CHECK_TEST(full_store_waits),
           CHECK_TEST(space_is_used_again), CHECK_TEST(room_goes_back))
