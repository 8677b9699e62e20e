/* A million requests of few shapes: time and bytes, reported, with bounds that only a wrong order of growth breaks. */
#include <time.h>

#include "told.h"

enum { MANY = 1000000 };

static double now_s(void) /* of this process: others shall not count */
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t held_bytes; /* sizes of live blocks, which counted.h does not know */

static void *sized_alloc(void *arg, size_t size_bytes)
{
    (void)arg;
    size_t *block = malloc(size_bytes + 16);
    held_bytes += size_bytes;
    block[0] = size_bytes;
    return block + 2;
}

static void sized_free(void *arg, void *block)
{
    (void)arg;
    if (!block)
        return;
    size_t *start = (size_t *)block - 2;
    held_bytes -= start[0];
    free(start);
}

static void *sized_realloc(void *arg, void *block, size_t size_bytes)
{
    void *made = sized_alloc(arg, size_bytes);
    if (block)
        memcpy(made, block, RAYI_MIN(size_bytes, ((size_t *)block - 2)[0]));
    sized_free(arg, block);
    return made;
}

static const rayi_memory sized = {sizeof sized, NULL, sized_alloc, sized_realloc, sized_free};

static rayi_scheduler *scheduler_of(const char *total)
{
    char why[256];
    rayi_scheduler *made;
    rayi_resources *resources = resources_of(total);
    rayi_scheduler_options options = {.node_id = "here", .total = resources};
    cr_assert_eq(rayi_scheduler_new(&sized, &options, &made, why, sizeof why), 0);
    rayi_resources_free(rayi_heap, resources);
    return made;
}

Test(many, a_million_requests, .timeout = 300)
{
    static const char *const texts[] = {"disk=1", "disk=2", "CPU=1, disk=1", "GPU=1", "memory=1GiB"};
    rayi_scheduler *scheduler = scheduler_of("CPU=8, disk=8, GPU=4, memory=16GiB");
    rayi_resources *shapes[RAYI_COUNT_OF(texts)];
    rayi_scheduler_action action;
    uint64_t granted = 0, running[64], count = 0;
    for (size_t i = 0; i < RAYI_COUNT_OF(texts); i++)
        shapes[i] = resources_of(texts[i]);
    size_t empty = held_bytes;
    double start = now_s();
    for (uint64_t id = 1; id <= MANY; id++) {
        rayi_scheduler_request request = {
            .id = id, .resources = shapes[id % RAYI_COUNT_OF(shapes)], .priority = (int32_t)(id % 3)};
        cr_assert_eq(rayi_scheduler_submit(scheduler, &request, (int64_t)(id / 1000)), 0);
    }
    double submitted = now_s();
    size_t bytes = (held_bytes - empty) / MANY;
    while (granted < MANY) {
        while (rayi_scheduler_next(scheduler, &action)) {
            if (action.what == RAYI_SCHEDULER_LANE_ASK)
                rayi_scheduler_lane_returned(scheduler, action.slots);
            if (action.what == RAYI_SCHEDULER_GRANT)
                running[count++] = action.id, granted++;
        }
        cr_assert_gt(count, 0);
        for (uint64_t i = 0; i < count; i++) /* each end leads to a decision of its own */
            rayi_scheduler_finish(scheduler, running[i]);
        count = 0;
    }
    double done = now_s();
    fprintf(stderr, "a million requests: %.0f ns to submit, %.0f ns to grant and finish, %zu bytes each\n",
            (submitted - start) * 1e9 / MANY, (done - submitted) * 1e9 / MANY, bytes);
    cr_assert_lt(done - start, 60);
    cr_assert_leq(bytes, 160);
    rayi_scheduler_free(scheduler);
    cr_expect_eq(held_bytes, 0);
    for (size_t i = 0; i < RAYI_COUNT_OF(texts); i++)
        rayi_resources_free(rayi_heap, shapes[i]);
}

/* One decision for each event, as the loop makes them: the queue's length must not matter. */
Test(many, a_decision_does_not_look_at_the_queue, .timeout = 300)
{
    rayi_scheduler *scheduler = scheduler_of("disk=1");
    rayi_resources *disk = resources_of("disk=1");
    double seconds[2];
    for (int round = 0; round < 2; round++) {
        rayi_scheduler_action action;
        uint64_t base = (uint64_t)round * MANY, waiting = round ? MANY / 2 : 1000, last;
        for (uint64_t i = 1; i <= waiting; i++)
            cr_assert_eq(
                rayi_scheduler_submit(scheduler, &(rayi_scheduler_request){.id = base + i, .resources = disk}, 0), 0);
        double start = now_s();
        for (int i = 0; i < 1000; i++) {
            cr_assert(rayi_scheduler_next(scheduler, &action));
            last = action.id;
            cr_assert_not(rayi_scheduler_next(scheduler, &action));
            rayi_scheduler_finish(scheduler, last);
        }
        seconds[round] = now_s() - start;
    }
    fprintf(stderr, "a decision: %.0f ns with 1,000 waiting, %.0f ns with 500,000\n", seconds[0] * 1e6,
            seconds[1] * 1e6);
    cr_assert_lt(seconds[1], 20 * seconds[0] + 0.1);
    rayi_scheduler_free(scheduler);
    rayi_resources_free(rayi_heap, disk);
}

/* Cancelled and inherited in the worst order. */
Test(many, removing_and_raising, .timeout = 300)
{
    rayi_scheduler *scheduler = scheduler_of("disk=1");
    rayi_resources *disk = resources_of("disk=1");
    double start = now_s();
    for (uint64_t id = 1; id <= MANY / 4; id++)
        cr_assert_eq(
            rayi_scheduler_submit(scheduler, &(rayi_scheduler_request){.id = id, .resources = disk}, (int64_t)id), 0);
    for (uint64_t id = MANY / 4; id > 0; id -= 2)
        cr_assert_eq(rayi_scheduler_inherit(scheduler, id, 1), 0);
    for (uint64_t id = MANY / 8; id > 0; id--)
        cr_assert(rayi_scheduler_remove(scheduler, id));
    cr_assert_lt(now_s() - start, 30);
    rayi_scheduler_free(scheduler);
    rayi_resources_free(rayi_heap, disk);
}
