/* Placement groups between a real head and a node that has joined it: parts that it has kept here, groups of the head's
 * that it watches, and a group of its own that the head borrows. Whatever block is not given, nothing is left. */
#include "stranger.h"

#include "../around.h"
#include <ray/ray.h>

enum { PART = 3, GROUP = 77, TASKS = 3 };

static RAY_REMOTE(int64_t, twice, (int64_t, x))
{
    return 2 * x;
}

static void begin(void)
{
    stranger_watch();
    cr_assert(stranger_start());
    cr_assert(stranger_join(false));
}

static void end(void)
{
    cr_expect_eq(stranger_stop(), 0);
    cr_expect_eq(stranger_left_over(), 0);
}

static void say(rayi_writer *writer)
{
    cr_assert_not(writer->failed);
    stranger_say(RAYI_FRAME_MESSAGE, writer->data, writer->size);
    rayi_writer_fini(writer);
    stranger_settle();
}

static void await_heard(enum rayi_between what, unsigned count)
{
    STRANGER_AWAIT(stranger_heard(what) >= count);
    cr_assert_eq(stranger_heard(what), count, "%u of %d", stranger_heard(what), (int)what);
}

/* ---- parts that it has kept here ---- */

static void say_reserve(uint64_t part, uint32_t count, const char *each)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_PART_RESERVE);
    rayi_put_u64(&writer, part);
    rayi_put_u64(&writer, GROUP);
    rayi_put_text(&writer, "00000000000000070000000000000007");
    rayi_put_u32(&writer, count);
    for (uint32_t i = 0; i < count; i++)
        rayi_put_text(&writer, each);
    say(&writer);
}

static void say_release(uint64_t part)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_PART_RELEASE);
    rayi_put_u64(&writer, part);
    say(&writer);
}

static void count_bundles(void *out)
{
    *(uint32_t *)out = stranger()->bundles;
}

static uint32_t bundles(void)
{
    uint32_t count;

    stranger_on_loop(count_bundles, &count);
    return count;
}

TEST_AROUND(groups, keeps_parts_until_they_are_released, begin, end)
{
    say_reserve(1, 2, "near=1");
    await_heard(RAYI_BETWEEN_PART_ANSWER, 1);
    say_reserve(2, 1, "near=1"); /* waits for room */
    cr_expect_eq(bundles(), 3);
    say_release(1);
    await_heard(RAYI_BETWEEN_PART_ANSWER, 2);
    say_release(2);
    say_release(2); /* is none any more */
    cr_expect_eq(bundles(), 0);
    say_reserve(4, 1, "near=="); /* no resources: refused */
    await_heard(RAYI_BETWEEN_PART_ANSWER, 3);
    cr_expect_eq(bundles(), 0);
    cr_expect_eq(stranger_rubbish(), 0);
    say_reserve(0, 1, "near=1");
    cr_expect_eq(stranger_rubbish(), 1);
    say_reserve(5, 1, "near=1");
    say_reserve(5, 1, "near=1"); /* twice */
    cr_expect_eq(stranger_rubbish(), 2);
}

/* An owner can have no node keep what it likes. */
TEST_AROUND(groups, keeps_so_many_bundles_of_one_owner_at_most, begin, end)
{
    say_reserve(1, 65535, "near=1");
    say_reserve(2, 65535, "near=1");
    cr_expect_eq(bundles(), 2 * 65535);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_PART_ANSWER), 0); /* they wait */
    say_reserve(3, 3, "near=1");
    await_heard(RAYI_BETWEEN_PART_ANSWER, 1); /* refused */
    cr_expect_eq(bundles(), 2 * 65535);
    say_release(2);
    say_reserve(4, 3, "near=1");
    cr_expect_eq(bundles(), 65535 + 3);
    cr_expect_eq(stranger_rubbish(), 0);
}

TEST_AROUND(groups, keeps_nothing_without_memory, begin, end)
{
    enum { TRIES = 24 };

    for (uint64_t part = 1; part <= TRIES; part++) {
        stranger_starve((long)part);
        say_reserve(part, 2, "near=1");
        stranger_starve(0);
        say_release(part);
        cr_expect_eq(bundles(), 0);
    }
    unsigned heard = stranger_heard(RAYI_BETWEEN_PART_ANSWER); /* it may be the answer that there was no memory for */
    say_reserve(TRIES + 1, 2, "near=1");
    await_heard(RAYI_BETWEEN_PART_ANSWER, heard + 1);
    cr_expect_eq(stranger_rubbish(), 0);
}

/* ---- groups of the head's that it watches ---- */

static void say_watch(uint64_t group)
{
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_GROUP_WATCH);
    rayi_put_u64(&writer, group);
    say(&writer);
}

static ray_placement_group *make(void)
{
    static const char *const here[] = {"near=1", "near=1"};
    ray_placement_group *group =
        ray_placement_group_new(here, 2, RAY_WITH(ray_placement_group_options, .name = "all/here"));
    ray_ref *ready = ray_placement_group_ready(group);

    cr_assert(group);
    cr_assert_eq(ray_get_timeout(ready, 10000, NULL), 0);
    ray_release(ready);
    return group;
}

static void count_watchers(void *out)
{
    for (const struct rayi_watcher *w = stranger_node()->watchers; w; w = *(struct rayi_watcher *const *)w)
        ++*(unsigned *)out; /* the next one comes first in it */
}

static unsigned watchers(void)
{
    unsigned count = 0;

    stranger_on_loop(count_watchers, &count);
    return count;
}

TEST_AROUND(groups, tells_who_watches_until_the_end, begin, end)
{
    ray_placement_group *group = make();

    say_watch(999); /* is none */
    await_heard(RAYI_BETWEEN_GROUP_NEWS, 1);
    cr_expect_eq(watchers(), 0);
    say_watch(group->number);
    await_heard(RAYI_BETWEEN_GROUP_NEWS, 2);
    say_watch(group->number); /* once more: it hears again, and is one watcher still */
    await_heard(RAYI_BETWEEN_GROUP_NEWS, 3);
    cr_expect_eq(watchers(), 1);
    cr_expect_eq(ray_placement_group_remove(group), 0);
    await_heard(RAYI_BETWEEN_GROUP_NEWS, 4);
    cr_expect_eq(watchers(), 0);
    ray_placement_group_release(group);
    cr_expect_eq(stranger_rubbish(), 0);
}

TEST_AROUND(groups, tells_later_what_it_has_no_memory_to_tell, begin, end)
{
    for (long nth = 1; nth <= 12; nth++) {
        ray_placement_group *group = make();
        unsigned heard = stranger_heard(RAYI_BETWEEN_GROUP_NEWS);
        stranger_starve(nth);
        say_watch(group->number);
        stranger_starve(0);
        await_heard(RAYI_BETWEEN_GROUP_NEWS, heard + 1);
        bool is_known = watchers() == 1; /* else it was told that there is no memory */
        stranger_starve(nth);
        cr_expect_eq(ray_placement_group_remove(group), 0);
        stranger_starve(0);
        await_heard(RAYI_BETWEEN_GROUP_NEWS, heard + 1 + is_known);
        ray_placement_group_release(group);
        cr_expect_eq(watchers(), 0);
    }
}

TEST_AROUND(groups, forgets_who_has_died, begin, end)
{
    ray_placement_group *group = make();

    say_watch(group->number);
    cr_expect_eq(watchers(), 1);
    stranger_leave();
    cr_expect_eq(watchers(), 0);
    cr_expect_eq(ray_placement_group_remove(group), 0);
    ray_placement_group_release(group);
}

/* ---- a group of its own, that the head borrows ---- */

typedef struct lending {
    uint64_t number;
    const char *id, *each;
    uint8_t strategy;
    int r;
    ray_placement_group *group;
} lending;

static void lend(void *arg)
{
    lending *l = arg;
    rayi_called of = {.node = stranger() ? stranger()->id : (rayi_node_id){.bytes = {7, 7, 7}}, .number = l->number};
    rayi_writer writer;
    rayi_reader reader;

    rayi_writer_init(&writer);
    rayi_put_text(&writer, "all/there");
    rayi_put_text(&writer, "there");
    rayi_put_text(&writer, l->id);
    rayi_put_u8(&writer, l->strategy);
    rayi_put_u32(&writer, 2);
    rayi_put_text(&writer, l->each);
    rayi_put_text(&writer, l->each);
    reader = rayi_reader_of(writer.data, writer.size);
    l->r = rayi_shared_borrow(stranger_node(), &of, &reader, &l->group);
    rayi_writer_fini(&writer);
}

static lending lent(uint64_t number)
{
    lending l = {.number = number, .id = "00000000000000070000000000000007", .each = "CPU=1"};

    stranger_on_loop(lend, &l);
    return l;
}

typedef struct news {
    uint64_t group;
    int64_t code;
    uint32_t count, number;
    uint64_t part;
} news;

static void say_news(const news *n)
{
    static const rayi_node_id its = {.bytes = {7, 7, 7}};
    rayi_writer writer;

    rayi_between_begin(&writer, RAYI_BETWEEN_GROUP_NEWS);
    rayi_put_u64(&writer, n->group);
    rayi_put_i64(&writer, n->code);
    if (n->code == 0) {
        rayi_put_u8(&writer, 1);
        rayi_put_u32(&writer, n->count);
    }
    for (uint32_t i = 0; n->code == 0 && i < n->count; i++) {
        rayi_put_bytes(&writer, &its, sizeof its);
        rayi_put_u64(&writer, n->part);
        rayi_put_u32(&writer, n->number + i);
    }
    say(&writer);
}

static const news placed = {.group = GROUP, .count = 2, .part = PART, .number = 1},
                  ended = {.group = GROUP, .code = RAY_ERR_GROUP_REMOVED};

static ray_ref *submit(ray_placement_group *group, uint32_t bundle)
{
    return ray_remote_opts(RAY_WITH(ray_task_options, .group = group, .bundle = bundle), twice, 3);
}

static void fails(ray_ref *ref, int code)
{
    int r = ray_get_timeout(ref, 10000, NULL);

    cr_expect_eq(r, code, "%d: %s", r, ray_last_error()->message);
    ray_release(ref);
}

TEST_AROUND(groups, are_borrowed_until_their_owner_ends_them, begin, end)
{
    ray_placement_group *group = lent(GROUP).group;
    ray_ref *ready = ray_placement_group_ready(group), *refs[TASKS];

    await_heard(RAYI_BETWEEN_GROUP_WATCH, 1);
    for (uint32_t i = 0; i < TASKS; i++)
        refs[i] = submit(group, i % 3);
    cr_expect_eq(ray_get_timeout(ready, 0, NULL), RAY_ERR_TIMEOUT);
    cr_expect_eq(stranger_heard(RAYI_BETWEEN_TASK), 0);
    say_news(&placed);
    cr_expect_eq(ray_get_timeout(ready, 10000, NULL), 0);
    STRANGER_AWAIT(stranger_heard(RAYI_BETWEEN_TASK) >= 2);
    cr_expect_geq(stranger_heard(RAYI_BETWEEN_TASK), 2); /* one in each of the two, at least */
    say_news(&ended);
    for (uint32_t i = 0; i < TASKS; i++) {
        if (i == 0) /* what runs there is to hear of it there; here it may end only with the node */
            continue;
        (void)ray_cancel(refs[i], 0);
    }
    fails(submit(group, 1), RAY_ERR_GROUP_REMOVED);
    stranger_leave();
    for (uint32_t i = 0; i < TASKS; i++) {
        cr_expect_lt(ray_get_timeout(refs[i], 10000, NULL), 0);
        ray_release(refs[i]);
    }
    ray_release(ready);
    ray_placement_group_release(group);
    cr_expect_eq(stranger_rubbish(), 0);
}

TEST_AROUND(groups, end_with_the_node_that_owns_them, begin, end)
{
    ray_placement_group *group = lent(GROUP).group;
    ray_ref *ready = ray_placement_group_ready(group), *task = submit(group, 2);

    stranger_leave();
    fails(ready, RAY_ERR_GROUP_REMOVED);
    fails(task, RAY_ERR_GROUP_REMOVED);
    fails(submit(group, 0), RAY_ERR_GROUP_REMOVED);
    ray_placement_group_release(group);
    cr_expect_eq(lent(GROUP).r, RAY_ERR_NOT_FOUND); /* and cannot be had any more */
}

TEST_AROUND(groups, are_told_what_makes_sense, begin, end)
{
    static const news wrong[] = {{.group = GROUP, .count = 1, .part = PART, .number = 1},
                                 {.group = GROUP, .count = 3, .part = PART, .number = 1},
                                 {.group = GROUP, .count = 2, .part = PART, .number = 0},
                                 {.group = GROUP, .count = 0},
                                 {.group = GROUP, .code = 1},
                                 {.group = GROUP, .code = INT64_MIN}};
    static const news other[] = {{.group = GROUP + 1, .count = 2, .part = PART, .number = 1},
                                 {.group = GROUP + 1, .code = RAY_ERR_GROUP_REMOVED}};
    lending strange = {.number = 5, .id = "00", .each = "CPU=1"};
    ray_placement_group *group = lent(GROUP).group;
    ray_ref *ready = ray_placement_group_ready(group);

    for (size_t i = 0; i < RAYI_COUNT_OF(other); i++)
        say_news(&other[i]);
    cr_expect_eq(stranger_rubbish(), 0);
    for (size_t i = 0; i < RAYI_COUNT_OF(wrong); i++) {
        say_news(&wrong[i]);
        cr_expect_eq(stranger_rubbish(), (long)i + 1, "%zu", i);
    }
    cr_expect_eq(ray_get_timeout(ready, 0, NULL), RAY_ERR_TIMEOUT);
    stranger_on_loop(lend, &strange);
    cr_expect_eq(strange.r, RAY_ERR_CORRUPT);
    strange = (lending){.number = 5, .id = "00000000000000070000000000000007", .each = "CPU=x"};
    stranger_on_loop(lend, &strange);
    cr_expect_lt(strange.r, 0);
    strange.each = "CPU=1", strange.strategy = 9;
    stranger_on_loop(lend, &strange);
    cr_expect_eq(strange.r, RAY_ERR_CORRUPT);
    say_news(&ended);
    fails(ready, RAY_ERR_GROUP_REMOVED);
    ray_placement_group_release(group);
}

/* Each block of the way that is not given: the group is not had, or it ends, or it goes on; and nothing stays. */
TEST_AROUND(groups, are_borrowed_without_memory, begin, end)
{
    int had = 0, failed = 0;

    for (long nth = 1; nth <= 40; nth++) {
        stranger_starve(nth);
        lending l = lent((uint64_t)nth);
        stranger_starve(0);
        if (l.r < 0) {
            failed++;
            continue;
        }
        had++;
        news here = placed, over = ended;
        here.group = over.group = (uint64_t)nth;
        ray_ref *ready = ray_placement_group_ready(l.group), *task = submit(l.group, 2);
        stranger_starve(nth % 12 + 1);
        say_news(&here);
        stranger_starve(0);
        say_news(&over);
        (void)ray_get_timeout(ready, 10000, NULL);
        ray_release(ready), ray_release(task);
        ray_placement_group_release(l.group);
    }
    cr_expect(had > 0 && failed > 0, "%d %d", had, failed);
    stranger_leave();
}

/* ---- groups that are made here ---- */

TEST_AROUND(groups, are_made_without_memory, begin, end)
{
    static const char *const bundles[] = {"near=1", "near=1"};
    int made = 0, failed = 0;

    for (long nth = 1; nth <= 40; nth++) {
        ray_placement_group_options options = {
            .size = sizeof options, .name = "all/here", .detached = nth % 2 == 0, .strategy = RAY_PACK};
        stranger_starve(nth);
        ray_placement_group *group = ray_placement_group_new(bundles, 2, &options);
        stranger_settle();
        stranger_starve(0);
        if (!group) {
            failed++;
            cr_expect_eq(ray_last_error()->code, RAY_ERR_NO_MEMORY);
            continue;
        }
        made++;
        ray_ref *ready = ray_placement_group_ready(group);
        cr_expect_eq(ray_get_timeout(ready, 10000, NULL), 0); /* what there was no memory for is tried again */
        ray_release(ready);
        stranger_starve(nth % 8 + 1);
        cr_expect_eq(ray_placement_group_remove(group), 0);
        stranger_starve(0);
        ray_placement_group_release(group);
    }
    cr_expect(made > 0 && failed > 0, "%d %d", made, failed);
}
